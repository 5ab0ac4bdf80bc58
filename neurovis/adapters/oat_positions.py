"""Position codes whose similarity falls with the distance of rows or columns.

The cosine between the codes of two places is a Gaussian of their distance. The
published tables were fitted by gradient descent to that target; here it is met exactly,
by a Cholesky factor, and the codes extend to places between the rows of a grid.

References
----------
Fang, Yu, Zhang, van der Lans & Shi (2024). Oat: Object-level attention transformer for
gaze scanpath prediction. ECCV.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

SIGMA = 2.0
"""Distance, in rows or columns, at which the similarity has fallen to exp(-1/2)."""
ROW_NORM = 8.764
"""Length of every code, as in the published table of 14 places."""
TABLE_WIDTH = 86
"""Width of the published tables."""


def position_table(
    n_places: int,
    *,
    width: int = TABLE_WIDTH,
    sigma: float = SIGMA,
    norm: float = ROW_NORM,
    seed: int = 0,
) -> FloatArray:
    """Return codes of the places 0, 1, ... of one axis.

    The first codes do not depend on how many there are.

    Parameters
    ----------
    n_places : int
        How many, 1..width.
    width : int, default 86
        Numbers of a code.
    sigma : float, default 2
        Width of the Gaussian, in places, 0.5..3: above, the target is singular in
        double precision.
    norm : float, default 8.764
        Length of every code, > 0.
    seed : int, default 0
        Seed of the rotation that spreads the codes over all columns.

    Returns
    -------
    ndarray of float64, shape (n_places, width)
        The cosine of rows i and j is exp(-(i - j)² / (2 sigma²)).

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> table = position_table(14)
    >>> cosine = table[3] @ table[5] / np.linalg.norm(table[3]) ** 2
    >>> bool(np.isclose(cosine, np.exp(-0.5)))
    True
    """
    check_whole("n_places", n_places, low=1, high=width)
    return place_codes(
        np.arange(n_places), width=width, sigma=sigma, norm=norm, seed=seed
    )


def place_codes(
    places: ArrayLike,
    *,
    width: int = TABLE_WIDTH,
    sigma: float = SIGMA,
    norm: float = ROW_NORM,
    seed: int = 0,
) -> FloatArray:
    """Return codes of places along one axis, whole numbers or between.

    Parameters
    ----------
    places : array-like of float, shape (n,)
        Places, 0..width - 1.
    width, sigma, norm, seed : int, float, float, int
        As in `position_table`, whose rows these are at whole numbers.

    Returns
    -------
    ndarray of float64, shape (n, width)
        Between whole numbers the cosine follows the Gaussian to about 1e-5 for a
        sigma of 2 or more (from a width of 11 on); for narrower ones it does not.

    Raises
    ------
    ValueError
        If a place or another number is out of range.

    Examples
    --------
    >>> bool(np.allclose(place_codes([5.0])[0], position_table(6)[5]))
    True
    """
    check_whole("width", width, low=1)
    check_between("sigma", sigma, low=0.5, high=3.0)
    check_between("norm", norm, low=1e-6)
    at = check_array("places", np.asarray(places, np.float64), shape=(None,))
    if len(at) and not (at.min() >= 0 and at.max() <= width - 1):
        raise ValueError(
            f"`places` must lie in 0..{width - 1}; got {at.min():g} to {at.max():g}. "
            "The display has too many rows or columns for codes of this width."
        )
    codes = _table(width, float(sigma), seed)[np.floor(at).astype(np.int64)]
    between = at != np.floor(at)
    if between.any():
        distance = np.arange(width)[:, None] - at[between]
        similarity = np.exp(-(distance**2) / (2 * sigma**2))
        found = solve_triangular(_factor(width, float(sigma)), similarity, lower=True)
        found /= np.linalg.norm(found, axis=0)
        codes[between] = found.T @ _rotation(width, seed)
    return np.asarray(norm * codes, np.float64)


@cache
def _factor(width: int, sigma: float) -> FloatArray:
    place = np.arange(width)
    distance = place[:, None] - place
    return np.linalg.cholesky(np.exp(-(distance**2) / (2 * sigma**2)))


@cache
def _table(width: int, sigma: float, seed: int) -> FloatArray:
    """Codes of all whole numbers, of length 1."""
    factor = _factor(width, sigma)
    rows = factor / np.linalg.norm(factor, axis=1, keepdims=True)
    return np.asarray(rows @ _rotation(width, seed), np.float64)


@cache
def _rotation(width: int, seed: int) -> FloatArray:
    draw = generator(seed, "position table").standard_normal((width, width))
    rotation, triangle = np.linalg.qr(draw)
    return np.asarray(rotation * np.sign(np.diag(triangle)), np.float64)


def position_codes(
    coordinates: ArrayLike,
    flags: ArrayLike,
    *,
    width: int = 256,
    sigma: float = SIGMA,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return the codes of objects: row, column and a flag, one after the other.

    Parameters
    ----------
    coordinates : array-like of float, shape (n, 2)
        Row and column (see `neurovis.core.object_displays.ObjectDisplay`).
    flags : array-like of int, shape (n,)
        1 for what is marked as the target, else 0.
    width : int, default 256
        Numbers of a code. Each of the three parts has a third, rounded up; what is
        too long is cut off the flag's code.
    sigma, seed : float, int
        As in `position_table`.

    Returns
    -------
    ndarray of float32, shape (n, width)
        Codes, not of unit length.

    Raises
    ------
    ValueError
        If a coordinate is outside the table, or a flag neither 0 nor 1.

    Examples
    --------
    >>> position_codes([[0, 1], [2, 3]], [0, 1]).shape
    (2, 256)
    """
    check_whole("width", width, low=3)
    at = check_array("coordinates", np.asarray(coordinates, float), shape=(None, 2))
    marks = check_array("flags", np.asarray(flags), shape=(len(at),))
    if not np.isin(marks, (0, 1)).all():
        raise ValueError(f"`flags` must be 0 or 1; got {sorted(set(marks.tolist()))}.")
    part = -(-width // 3)
    codes = [
        place_codes(axis, width=part, sigma=sigma, seed=seed)
        for axis in (at[:, 0], at[:, 1], marks)
    ]
    return np.hstack(codes)[:, :width].astype(np.float32)
