"""How a quantity, such as a reaction time, changes with a parameter of the display."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neurovis.core.checks import check_array


@dataclass(frozen=True)
class ParameterSlope:
    """A line through points.

    Parameters
    ----------
    slope : float
        Change per unit of the parameter.
    intercept : float
        Value at 0.
    r_squared : float
        Share of the variance that the line explains, 0..1; NaN if all values agree.
    n : int
        Points.
    """

    slope: float
    intercept: float
    r_squared: float
    n: int


def parameter_slope(x: ArrayLike, y: ArrayLike) -> ParameterSlope:
    """Fit a line by ordinary least squares.

    Parameters
    ----------
    x : array-like of float, shape (n_points,)
        The parameter, such as a set size or an angle.
    y : array-like of float, shape (n_points,)
        Means of the quantity, such as those of correct reaction times or costs; pairs
        with NaN are left out.

    Returns
    -------
    ParameterSlope
        NaN with fewer than two different values of `x`.

    Raises
    ------
    ValueError
        If the lengths differ, or a value is infinite.

    Notes
    -----
    For slopes over set size, with intervals, see `analysis.psychophysics`.

    Examples
    --------
    >>> line = parameter_slope([0, 60, 120, 180], [1.0, 2.0, 3.0, 4.0])
    >>> round(60 * line.slope, 6), round(line.intercept, 6), round(line.r_squared, 6)
    (1.0, 1.0, 1.0)
    """
    at = check_array("x", np.asarray(x, np.float64), shape=(None,))
    value = check_array("y", np.asarray(y, np.float64), shape=at.shape)
    known = ~(np.isnan(at) | np.isnan(value))
    at = check_array("x", at[known], finite=True)
    value = check_array("y", value[known], finite=True)
    n = len(at)
    if n < 2 or np.ptp(at) == 0:
        return ParameterSlope(np.nan, np.nan, np.nan, n)
    centred, away = at - at.mean(), value - value.mean()
    slope = float(centred @ away / (centred @ centred))
    intercept = float(value.mean() - slope * at.mean())
    if np.ptp(value) == 0:
        return ParameterSlope(0.0, float(value[0]), np.nan, n)
    explained = float((centred @ away) ** 2 / (centred @ centred) / (away @ away))
    return ParameterSlope(slope, intercept, min(explained, 1.0), n)
