"""ABX discrimination: how often people tell which of two pictures came again.

References
----------
Freeman and Simoncelli (2011). Metamers of the ventral stream. Nature Neuroscience
14:1195-1201. doi:10.1038/nn.2889.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from neurovis.core.checks import check_option

FloatArray = NDArray[np.float64]

DECISIONS = ("published", "signal_detection")
"""How discriminability enters the decision: as it is, or its square root."""


def discriminability(
    scale: ArrayLike, critical_scale: ArrayLike, gain: ArrayLike
) -> FloatArray:
    """Compute the squared distance of two pictures for an observer.

    ``d2(s) = gain (1 - critical_scale^2 / s^2)`` above the critical scale, 0 below.

    Parameters
    ----------
    scale : array-like of float, shape (...)
        Scale of the windows of the model that made the pictures, > 0.
    critical_scale : array-like of float, shape (...)
        Scale of the windows of the observer, >= 0.
    gain : array-like of float, shape (...)
        Value far above the critical scale, >= 0.

    Returns
    -------
    ndarray of float64, shape (...)
        Squared distance, 0..gain.

    Raises
    ------
    ValueError
        If a scale is not positive, or a parameter is negative.

    References
    ----------
    Freeman and Simoncelli (2011), doi:10.1038/nn.2889, online methods.

    Examples
    --------
    >>> discriminability([0.25, 0.5, 1.0], 0.5, 4.0).tolist()
    [0.0, 0.0, 3.0]
    """
    s, s0, a = (np.asarray(v, np.float64) for v in (scale, critical_scale, gain))
    if not (s > 0).all():
        raise ValueError("`scale` must be above 0.")
    if (s0 < 0).any() or (a < 0).any():
        raise ValueError("`critical_scale` and `gain` must be 0 or more.")
    return np.asarray(a * np.maximum(1 - (s0 / s) ** 2, 0))


def abx_proportion_correct(sensitivity: ArrayLike) -> FloatArray:
    """Compute how often an observer without bias is right in an ABX task.

    ``Phi(d / sqrt 2) Phi(d / 2) + Phi(-d / sqrt 2) Phi(-d / 2)``: the first two
    pictures are told apart, and the third is assigned, both rightly or both wrongly.

    Parameters
    ----------
    sensitivity : array-like of float, shape (...)
        Distance d of the two pictures in units of the noise, >= 0.

    Returns
    -------
    ndarray of float64, shape (...)
        Share of correct answers, 0.5..1.

    Raises
    ------
    ValueError
        If a sensitivity is negative.

    References
    ----------
    Macmillan, Kaplan and Creelman (1977). The psychophysics of categorical
    perception. Psychological Review 84:452-471. doi:10.1037/0033-295X.84.5.452.

    Examples
    --------
    >>> abx_proportion_correct([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).round(4).tolist()
    [0.5, 0.5997, 0.7877, 0.9185, 0.975, 0.9936]
    """
    d = np.asarray(sensitivity, np.float64)
    if (d < 0).any():
        raise ValueError("`sensitivity` must be 0 or more.")
    apart, same = ndtr(d / math.sqrt(2)), ndtr(d / 2)
    return np.asarray(apart * same + (1 - apart) * (1 - same))


def proportion_correct(
    scale: ArrayLike,
    critical_scale: ArrayLike,
    gain: ArrayLike,
    *,
    lapse: ArrayLike = 0.0,
    decision: str = "published",
) -> FloatArray:
    """Compute the share of correct ABX answers at a scale.

    Parameters
    ----------
    scale, critical_scale, gain : array-like of float, shape (...)
        As in `discriminability`.
    lapse : array-like of float, shape (...), default 0
        Share of trials answered by guessing, 0..1.
    decision : {"published", "signal_detection"}, default "published"
        What stands for d in `abx_proportion_correct`: the squared distance, as
        published, or its square root, as the derivation of the formula has it.

    Returns
    -------
    ndarray of float64, shape (...)
        Share of correct answers, 0.5..1.

    Raises
    ------
    ValueError
        As `discriminability`, or if `lapse` is outside 0..1 or `decision` unknown.

    Notes
    -----
    The two rules leave chance at the same scale, the second more steeply, and give
    the gain another meaning: critical scales of the literature were fitted with the
    first.

    Examples
    --------
    >>> proportion_correct([0.3, 0.6], 0.5, 4.0).round(3).tolist()
    [0.5, 0.641]
    """
    check_option("decision", decision, DECISIONS)
    share = np.asarray(lapse, np.float64)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError("`lapse` must be within [0, 1].")
    squared = discriminability(scale, critical_scale, gain)
    d = squared if decision == "published" else np.sqrt(squared)
    return np.asarray((1 - share) * abx_proportion_correct(d) + share / 2)


def slope_of_log_gain(squared: FloatArray, decision: str) -> FloatArray:
    """Compute how the share of correct answers changes with the log of the gain.

    Parameters
    ----------
    squared : ndarray of float64, shape (...)
        Squared distances, from `discriminability`.
    decision : {"published", "signal_detection"}
        As in `proportion_correct`.

    Returns
    -------
    ndarray of float64, shape (...)
        Derivative, without lapses.
    """
    root = decision != "published"
    d = np.sqrt(squared) if root else squared
    first, second = (np.exp(-((d / c) ** 2) / 2) for c in (math.sqrt(2), 2))
    by_d = (2 * ndtr(d / 2) - 1) * first / math.sqrt(2)
    by_d += (2 * ndtr(d / math.sqrt(2)) - 1) * second / 2
    return np.asarray(by_d * d / math.sqrt(2 * math.pi) / (2 if root else 1))
