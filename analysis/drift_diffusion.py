"""Proportional-rate diffusion: choices and reaction times from strength of motion.

Evidence drifts at a rate of k C, with C the coherence and unit variance per second,
until it reaches A or -A. Then

    P = 1 / (1 + exp(-2 A k C)),    mean RT = A / (k C) tanh(A k C) + t_nd,

and at C = 0 the mean RT is A**2 + t_nd. Times are in seconds inside, milliseconds at
the doors: A is in s**0.5 and k in s**-0.5 per unit of coherence.

References
----------
Palmer, Huk and Shadlen (2005). The effect of stimulus strength on the speed and
accuracy of a perceptual decision. Journal of Vision 5(5), 1. doi:10.1167/5.5.1
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy.special import log_expit

from analysis.stats import percentile_interval
from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

PARAMETERS = ("bound", "sensitivity", "residual_ms")

_SMALL = 1e-4
# Decision times beyond this multiple of the time scale A**2 are as good as never.
_LONGEST, _TABLE = 40.0, 4096


@dataclass(frozen=True)
class DiffusionFit:
    """Parameters of the diffusion that make choices and times most likely.

    Parameters
    ----------
    bound : float
        A, in s**0.5; NaN where the data do not tell it.
    sensitivity : float
        k, in s**-0.5 per unit of coherence.
    residual_ms : float
        Time that is not decision, t_nd.
    log_likelihood : float
        Of choices and mean times at the best parameters, in nats, without constants.
    n_trials : int
        Trials in all.
    intervals : mapping of str to pair of float
        Percentile bootstrap intervals by name of the parameter; NaN where undefined.
    """

    bound: float
    sensitivity: float
    residual_ms: float
    log_likelihood: float
    n_trials: int
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def choice_probability(
    coherence: ArrayLike, bound: float, sensitivity: float
) -> FloatArray:
    """Compute the probability of a right choice: ``1 / (1 + exp(-2 A k C))``.

    Parameters
    ----------
    coherence : array_like of float, shape (...)
        Strength of motion, 0..1; negative for the other direction.
    bound : float
        A, above 0.
    sensitivity : float
        k, >= 0.

    Returns
    -------
    ndarray of float64, shape (...)
        Probabilities; 0.5 at coherence 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> choice_probability([0.0, 0.128], 0.8, 12.0).round(3).tolist()
    [0.5, 0.921]
    """
    drift = _drift(coherence, bound, sensitivity)
    return np.asarray(np.exp(log_expit(2 * bound * drift)))


def mean_rt_ms(
    coherence: ArrayLike, bound: float, sensitivity: float, residual_ms: float
) -> FloatArray:
    """Compute the mean reaction time: ``A / (k C) tanh(A k C) + t_nd``.

    Parameters
    ----------
    coherence : array_like of float, shape (...)
        Strength of motion.
    bound : float
        A, above 0.
    sensitivity : float
        k, >= 0.
    residual_ms : float
        t_nd in ms.

    Returns
    -------
    ndarray of float64, shape (...)
        Milliseconds; ``1000 A**2 + t_nd`` at coherence 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> mean_rt_ms([0.0, 0.512], 0.8, 12.0, 350.0).round(1).tolist()
    [990.0, 480.2]
    """
    drift = np.abs(_drift(coherence, bound, sensitivity))
    scaled = bound * drift
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.tanh(scaled) / scaled
    # tanh(x) / x = 1 - x**2 / 3 + ...
    ratio = np.where(scaled < _SMALL, 1 - scaled**2 / 3, ratio)
    return np.asarray(1000 * bound**2 * ratio + residual_ms)


def rt_variance_ms2(
    coherence: ArrayLike, bound: float, sensitivity: float
) -> FloatArray:
    """Compute the variance of the decision time.

    ``A / m**3 (tanh(A m) - A m sech(A m)**2)`` with m = k C; ``2/3 A**4`` at 0.

    Parameters
    ----------
    coherence : array_like of float, shape (...)
        Strength of motion.
    bound : float
        A, above 0.
    sensitivity : float
        k, >= 0.

    Returns
    -------
    ndarray of float64, shape (...)
        Squared milliseconds.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> float(rt_variance_ms2(0.0, 1.0, 10.0).round(-3))
    667000.0
    """
    drift = np.abs(_drift(coherence, bound, sensitivity))
    scaled = bound * drift
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        whole = (np.tanh(scaled) - scaled / np.cosh(scaled) ** 2) / scaled**3
    # The difference of two nearly equal numbers loses its digits below this.
    near = 2 / 3 - 8 / 15 * scaled**2 + 34 / 105 * scaled**4
    return np.asarray(1e6 * bound**4 * np.where(scaled < 0.02, near, whole))


def simulate_diffusion(
    coherence: ArrayLike,
    bound: float,
    sensitivity: float,
    residual_ms: float,
    *,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Draw choices and reaction times.

    Parameters
    ----------
    coherence : array_like of float, shape (n_trials,)
        Strength of motion of each trial.
    bound : float
        A, above 0.
    sensitivity : float
        k, >= 0.
    residual_ms : float
        t_nd in ms.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    correct : ndarray of bool, shape (n_trials,)
        Whether the bound on the side of the motion was reached.
    rt_ms : ndarray of float64, shape (n_trials,)
        Reaction times.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    From the middle between two bounds, the time of the first passage and the bound that
    is passed are independent. Times are drawn from their distribution by its inverse on
    a fine grid, not by steps of a random walk, which would be late.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> correct, rt_ms = simulate_diffusion(np.zeros(1000), 1.0, 10.0, 300.0, rng=rng)
    >>> bool(abs(rt_ms.mean() - 1300) < 80)
    True
    """
    level = check_array("coherence", np.asarray(coherence, np.float64), shape=(None,))
    drift = np.abs(_drift(level, bound, sensitivity))
    right = choice_probability(level, bound, sensitivity)
    correct = rng.random(len(level)) < right
    share = rng.random(len(level))
    decision_s = np.empty(len(level))
    for value in np.unique(drift):
        mine = drift == value
        time_s, reached = _passage_times(bound, float(value))
        decision_s[mine] = np.interp(share[mine], reached, time_s)
    return correct, 1000 * decision_s + residual_ms


def fit_diffusion(
    coherence: ArrayLike,
    correct: ArrayLike,
    rt_ms: ArrayLike,
    *,
    residual_variation: float = 0.1,
    n_bootstrap: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> DiffusionFit:
    """Fit bound, sensitivity and residual time to trials, by maximum likelihood.

    Parameters
    ----------
    coherence : array_like of float, shape (n_trials,)
        Strength of motion of each trial, 0..1, at least two different levels.
    correct : array_like of bool, shape (n_trials,)
        Whether the choice was right; at coherence 0 it does not matter.
    rt_ms : array_like of float, shape (n_trials,)
        Reaction times, above 0.
    residual_variation : float, default 0.1
        Standard deviation of the residual time in parts of it, >= 0.
    n_bootstrap : int, default 0
        Resamples of the trials of each level, for intervals; 0 gives none.
    level : float, default 0.95
        Coverage of the intervals.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DiffusionFit
        NaN where the data do not tell a parameter: when choices do not depend on the
        coherence, or are all right.

    Raises
    ------
    ValueError
        If lengths differ, a number is out of range, or there is one level only.

    Notes
    -----
    The likelihood is that of the number of right choices (binomial) and of the mean
    reaction time of each level (normal), as in the paper. The variance of the mean is
    that of the diffusion and of the residual time over the number of trials: measured
    variances would give weight to levels that came out short by chance.

    References
    ----------
    Palmer, Huk and Shadlen (2005). doi:10.1167/5.5.1

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> levels = np.repeat([0.0, 0.032, 0.064, 0.128, 0.256, 0.512], 400)
    >>> choices = simulate_diffusion(levels, 0.8, 12.0, 350.0, rng=rng)
    >>> fit = fit_diffusion(levels, *choices)
    >>> round(fit.bound, 1), round(fit.sensitivity), round(fit.residual_ms, -1)
    (0.8, 12, 350.0)
    """
    strength = check_array(
        "coherence", np.asarray(coherence, np.float64), shape=(None,), finite=True
    )
    n = len(strength)
    right = check_array("correct", np.asarray(correct), shape=(n,)).astype(bool)
    times = check_array("rt_ms", np.asarray(rt_ms, np.float64), shape=(n,), finite=True)
    check_between("residual_variation", residual_variation, low=0)
    check_between("level", level, low=0, high=1)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=0)
    if n and (strength.min() < 0 or strength.max() > 1):
        raise ValueError(
            f"`coherence` must lie within 0..1; got {strength.min():g} to "
            f"{strength.max():g}. Give its size, and whether the choice was right."
        )
    if n and times.min() <= 0:
        raise ValueError(f"`rt_ms` must be above 0; got {times.min():g}.")
    levels, of_level = np.unique(strength, return_inverse=True)
    if len(levels) < 2:
        raise ValueError(
            f"`coherence` has {len(levels)} levels: two or more are needed."
        )
    rows = [np.flatnonzero(of_level == i) for i in range(len(levels))]
    best, value = _best(levels, right, times, rows, residual_variation)
    intervals = {}
    if n_bootstrap:
        rng = generator(seed, "drift-diffusion", "bootstrap")
        draws = [
            _best(
                levels,
                right,
                times,
                [rng.choice(own, len(own)) for own in rows],
                residual_variation,
            )[0]
            for _ in range(n_bootstrap)
        ]
        low, high = percentile_interval(np.array(draws).T, level=level)
        intervals = {
            name: (float(a), float(b))
            for name, a, b in zip(PARAMETERS, low, high, strict=True)
        }
    return DiffusionFit(*best, value, n, intervals)


def _best(
    levels: FloatArray,
    right: NDArray[np.bool_],
    times: FloatArray,
    rows: list[NDArray[np.intp]],
    residual_variation: float,
) -> tuple[tuple[float, float, float], float]:
    """Return the best parameters and the log-likelihood of some trials."""
    counts = np.array([len(r) for r in rows])
    hits = np.array([right[r].sum() for r in rows])
    means = np.array([times[r].mean() for r in rows])
    shown = levels > 0
    undefined = ((math.nan,) * 3, math.nan)
    if hits[shown].sum() == counts[shown].sum():
        return undefined

    def loss(point: FloatArray) -> float:
        bound, sensitivity = np.exp(point[:2])
        drift = 2 * bound * sensitivity * levels
        log_right, log_wrong = log_expit(drift), log_expit(-drift)
        choice = hits * log_right + (counts - hits) * log_wrong
        expected = mean_rt_ms(levels, bound, sensitivity, point[2])
        variance = rt_variance_ms2(levels, bound, sensitivity)
        variance = (variance + (residual_variation * point[2]) ** 2) / counts
        time = -0.5 * (means - expected) ** 2 / variance - 0.5 * np.log(variance)
        return -float(choice[shown].sum() + time.sum())

    slow, fast = float(means.max()), float(means.min())
    starts = [
        (math.log(math.sqrt(max(slow - share * fast, 50.0) / 1000)), k, share * fast)
        for share in (0.5, 0.9)
        for k in (math.log(3.0), math.log(15.0))
    ]
    # Within what a bound, a sensitivity and a residual time can be at all.
    bounds = [(-4.0, 3.0), (-5.0, 7.0), (0.0, fast)]
    found = []
    for start in starts:
        coarse = optimize.minimize(
            loss, start, method="Nelder-Mead", bounds=bounds,
            options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 4000},
        )  # fmt: skip
        found.append(coarse)
    best = min(found, key=lambda fit: float(fit.fun))
    bound, sensitivity = (float(v) for v in np.exp(best.x[:2]))
    if best.x[1] <= -5.0 + 1e-3:
        return undefined
    return (bound, sensitivity, float(best.x[2])), -float(best.fun)


def _drift(coherence: ArrayLike, bound: float, sensitivity: float) -> FloatArray:
    check_between("bound", bound, low=1e-9)
    check_between("sensitivity", sensitivity, low=0)
    return sensitivity * np.asarray(coherence, np.float64)


def _passage_times(bound: float, drift: float) -> tuple[FloatArray, FloatArray]:
    """Return times in seconds, and the share of passages before each.

    In units of A**2: the density with drift is ``cosh(m) exp(-m**2 t / 2)`` times that
    without, where m = A k C.
    """
    scaled = bound * drift
    # Fine steps from the start, then coarser ones.
    edges = np.concatenate([[0.0], np.geomspace(1e-3, _LONGEST, _TABLE)])
    middle = (edges[1:] + edges[:-1]) / 2
    tilt = np.logaddexp(scaled, -scaled) - math.log(2) - scaled**2 * middle / 2
    mass = np.exp(tilt) * _undrifted_density(middle) * np.diff(edges)
    reached = np.concatenate([[0.0], np.cumsum(mass)])
    reached /= reached[-1]
    keep = np.concatenate([[True], np.diff(reached) > 0])
    return bound**2 * edges[keep], reached[keep]


def _undrifted_density(time: FloatArray) -> FloatArray:
    """Density of the first passage of -1 or 1 from 0 by a unit random walk."""
    odd = 2 * np.arange(12)[:, None] + 1
    sign = np.where(np.arange(12) % 2, -1.0, 1.0)[:, None]
    # One series converges for long times, the other for short ones.
    long = (math.pi / 2 * sign * odd * np.exp(-((odd * math.pi) ** 2) * time / 8)).sum(
        0
    )
    early = 2 * sign * odd / np.sqrt(2 * math.pi * time**3)
    short = (early * np.exp(-(odd**2) / (2 * time))).sum(0)
    return np.asarray(np.maximum(np.where(time > 0.5, long, short), 0.0))
