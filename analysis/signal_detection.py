"""Signal detection: how well signal is told from noise, and where the criterion lies.

References
----------
Green and Swets (1966). Signal detection theory and psychophysics. Wiley. Hautus (1995).
Corrections for extreme proportions and their biasing effects on estimated values of d'.
Behavior Research Methods, Instruments & Computers 27:46-51. doi:10.3758/BF03203619 (the
log-linear correction). Hacker and Ratcliff (1979). A revised table of d' for
M-alternative forced choice. Perception & Psychophysics 26:168-170.
doi:10.3758/BF03208311.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from neurovis.core.checks import check_option, check_whole

FloatArray = NDArray[np.float64]

CORRECTIONS = ("log-linear", "none")
"""What is done about rates of 0 and 1, whose z is infinite."""

# The trapezoid rule is exact to rounding for integrands that vanish so smoothly.
_GRID = np.linspace(-9.0, 9.0, 721)
_DENSITY = np.exp(-(_GRID**2) / 2) / np.sqrt(2 * np.pi) * (_GRID[1] - _GRID[0])
_LIMIT = 20.0


def d_prime(
    n_hits: ArrayLike,
    n_signal: ArrayLike,
    n_false_alarms: ArrayLike,
    n_noise: ArrayLike,
    *,
    correction: str = "log-linear",
) -> FloatArray:
    """Compute d', the distance of signal from noise: ``z(hits) - z(false alarms)``.

    Parameters
    ----------
    n_hits : array-like of int, shape (...)
        Signal trials answered "yes".
    n_signal : array-like of int, shape (...)
        Signal trials.
    n_false_alarms : array-like of int, shape (...)
        Noise trials answered "yes".
    n_noise : array-like of int, shape (...)
        Noise trials.
    correction : {"log-linear", "none"}, default "log-linear"
        Add 0.5 to the counts and 1 to the totals, always, or nothing: d' is then
        infinite at rates of 0 and 1.

    Returns
    -------
    ndarray of float64, shape (...)
        In standard deviations; 0 for guessing. NaN without trials of either kind.

    Raises
    ------
    ValueError
        If a count is negative or above its total.

    Examples
    --------
    >>> float(d_prime(84, 100, 16, 100, correction="none").round(3))
    1.989
    """
    hit, false = _rates(n_hits, n_signal, n_false_alarms, n_noise, correction)
    with np.errstate(invalid="ignore"):  # both rates 0, or both 1
        return np.asarray(special.ndtri(hit) - special.ndtri(false), np.float64)


def criterion(
    n_hits: ArrayLike,
    n_signal: ArrayLike,
    n_false_alarms: ArrayLike,
    n_noise: ArrayLike,
    *,
    correction: str = "log-linear",
) -> FloatArray:
    """Compute the criterion c: ``-(z(hits) + z(false alarms)) / 2``.

    Parameters
    ----------
    n_hits : array-like of int, shape (...)
        As for `d_prime`.
    n_signal : array-like of int, shape (...)
        Likewise.
    n_false_alarms : array-like of int, shape (...)
        Likewise.
    n_noise : array-like of int, shape (...)
        Likewise.
    correction : {"log-linear", "none"}, default "log-linear"
        Likewise.

    Returns
    -------
    ndarray of float64, shape (...)
        In standard deviations from the middle between noise and signal; above 0 for
        observers who rarely say yes. NaN without trials of either kind.

    Raises
    ------
    ValueError
        As `d_prime`.

    Examples
    --------
    >>> float(criterion(50, 100, 2, 100).round(2))
    0.98
    """
    hit, false = _rates(n_hits, n_signal, n_false_alarms, n_noise, correction)
    with np.errstate(invalid="ignore"):
        return np.asarray(-(special.ndtri(hit) + special.ndtri(false)) / 2, np.float64)


def forced_choice_accuracy(d_prime: ArrayLike, n_alternatives: int = 2) -> FloatArray:
    """Compute the share of right choices among alternatives of which one is signal.

    ``integral of phi(x - d') Phi(x)^(m - 1)``: the signal is chosen if it looks more
    like signal than each of the others.

    Parameters
    ----------
    d_prime : array-like of float, shape (...)
        Distance of signal from noise, in standard deviations.
    n_alternatives : int, default 2
        m, >= 2.

    Returns
    -------
    ndarray of float64, shape (...)
        0..1; ``1 / m`` at 0.

    Raises
    ------
    TypeError, ValueError
        If `n_alternatives` is no whole number of at least 2.

    Examples
    --------
    >>> forced_choice_accuracy([0.0, 1.0], 4).round(3).tolist()
    [0.25, 0.552]
    """
    m = check_whole("n_alternatives", n_alternatives, low=2)
    distance = np.asarray(d_prime, np.float64)
    below = special.ndtr(_GRID + distance[..., None]) ** (m - 1)
    return np.asarray(below @ _DENSITY, np.float64)


def forced_choice_d_prime(accuracy: ArrayLike, n_alternatives: int = 2) -> FloatArray:
    """Compute d' from the share of right choices among alternatives.

    Parameters
    ----------
    accuracy : array-like of float, shape (...)
        Share of right choices, 0..1.
    n_alternatives : int, default 2
        m, >= 2.

    Returns
    -------
    ndarray of float64, shape (...)
        In standard deviations; below 0 under ``1 / m``, infinite at 0 and 1, NaN
        where the accuracy is.

    Raises
    ------
    TypeError, ValueError
        If an accuracy is not within 0..1, or `n_alternatives` is no whole number of
        at least 2.

    Examples
    --------
    >>> forced_choice_d_prime([0.6, 0.76]).round(2).tolist()
    [0.36, 1.0]
    """
    m = check_whole("n_alternatives", n_alternatives, low=2)
    share = np.asarray(accuracy, np.float64)
    if np.any((share < 0) | (share > 1)):
        raise ValueError(
            f"`accuracy` must be within 0..1; got {np.nanmin(share):g} to "
            f"{np.nanmax(share):g}."
        )
    low, high = (np.full(share.shape, sign * _LIMIT) for sign in (-1, 1))
    for _ in range(60):
        middle = (low + high) / 2
        above = forced_choice_accuracy(middle, m) >= share
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    found = np.where(share == 1, np.inf, np.where(share == 0, -np.inf, high))
    return np.where(np.isnan(share), np.nan, found)


def _rates(
    n_hits: ArrayLike,
    n_signal: ArrayLike,
    n_false_alarms: ArrayLike,
    n_noise: ArrayLike,
    correction: str,
) -> tuple[FloatArray, FloatArray]:
    check_option("correction", correction, CORRECTIONS)
    add = 0.5 if correction == "log-linear" else 0.0
    rates = []
    for name, yes, of in (
        ("n_hits", n_hits, n_signal),
        ("n_false_alarms", n_false_alarms, n_noise),
    ):
        count, total = np.asarray(yes, np.float64), np.asarray(of, np.float64)
        if not np.all((count >= 0) & (count <= total)):
            raise ValueError(
                f"`{name}` must be within 0 and its number of trials; got "
                f"{np.asarray(yes).tolist()} of {np.asarray(of).tolist()}."
            )
        with np.errstate(invalid="ignore"):
            rate = (count + add) / (total + 2 * add)
        rates.append(np.where(total > 0, rate, np.nan))
    return rates[0], rates[1]
