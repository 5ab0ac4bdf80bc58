"""Psychometric functions: how the rate of right answers rises with the level.

``P(x) = guess + (1 - guess - lapse) F(x)``, with a core F that rises from 0 to 1 and
has two parameters, the location a and the slope b:

- "weibull": ``F = 1 - exp(-(x / a)^b)``, for levels of at least 0, such as contrast;
- "logistic": ``F = 1 / (1 + exp(-b (x - a)))``;
- "gaussian": the normal integral of ``b (x - a)``.

Performance that falls with the level (such as noise) rises with its negative or, for
the Weibull function, its inverse.

References
----------
Wichmann and Hill (2001). The psychometric function: I. Fitting, sampling, and goodness
of fit. Perception & Psychophysics 63:1293-1313. doi:10.3758/BF03194544.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.aligned_trials import check_true_or_false
from analysis.psychometric_fits import (
    FUNCTIONS,
    FloatArray,
    coordinate,
    core,
    does_not_rise,
    levels_at,
    log_likelihood,
    maximise,
    natural_parameters,
    parameter_bounds,
    spread_starts,
)
from neurovis.core.checks import check_array, check_between, check_option


@dataclass(frozen=True, eq=False)
class PsychometricFit:
    """A psychometric function with maximum likelihood.

    Parameters
    ----------
    function : str
        "weibull", "logistic" or "gaussian".
    location : float
        a, in units of the level, wherever it lies.
    slope : float
        b, > 0; per unit of the level, without unit for "weibull".
    guess : float
        Rate of right answers far below the threshold, 0..1.
    lapse : float
        Rate of wrong answers far above it, 0..1.
    threshold : float
        The location; NaN if the rate does not rise, or the location lies beyond the
        levels tested.
    free : tuple of str
        Names of the parameters that were fitted.
    log_likelihood : float
        Without binomial coefficients.
    deviance : float
        Twice the log likelihood ratio of rates that are free at each level to the fit.
    levels : ndarray of float64, shape (n_levels,)
        Levels, rising.
    n_correct : ndarray of float64, shape (n_levels,)
        Right answers.
    n_trials : ndarray of float64, shape (n_levels,)
        Trials.
    note : str
        What a reader must know, "" if nothing.
    """

    function: str
    location: float
    slope: float
    guess: float
    lapse: float
    threshold: float
    free: tuple[str, ...]
    log_likelihood: float
    deviance: float
    levels: FloatArray
    n_correct: FloatArray
    n_trials: FloatArray
    note: str = ""


def psychometric_rate(
    level: ArrayLike,
    *,
    location: float,
    slope: float,
    guess: float,
    lapse: float = 0.0,
    function: str = "weibull",
) -> FloatArray:
    """Compute the rate of right answers.

    Parameters
    ----------
    level : array-like of float, shape (...)
        Levels x; at least 0 for "weibull".
    location : float
        a; > 0 for "weibull".
    slope : float
        b, > 0.
    guess : float
        Lower asymptote, 0..1; 1 / m with m alternatives.
    lapse : float, default 0
        1 minus the upper asymptote, 0..1.
    function : {"weibull", "logistic", "gaussian"}, default "weibull"
        The core.

    Returns
    -------
    ndarray of float64, shape (...)
        Rates, 0..1.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> rate = psychometric_rate([0.0, 0.1], location=0.1, slope=3, guess=0.5)
    >>> rate.round(3).tolist()
    [0.5, 0.816]
    """
    check_option("function", function, FUNCTIONS)
    low = 0.0 if function == "weibull" else None
    x = check_array("level", np.asarray(level, np.float64), finite=True)
    if low is not None and np.any(x < low):
        raise ValueError(f"`level` must be at least 0 for 'weibull'; got {x.min():g}.")
    check_between("location", location, low=low)
    check_between("slope", slope, low=0)
    _check_rates(guess, lapse)
    if slope == 0 or (low is not None and location == 0):
        raise ValueError("`slope`, and `location` for 'weibull', must be above 0.")
    if function == "weibull":
        value = -np.expm1(-((x / location) ** slope))
    else:
        value = core(function, slope * (x - location))[0]
    return np.asarray(guess + (1 - guess - lapse) * value, np.float64)


def count_levels(
    level: ArrayLike, correct: ArrayLike
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Count right answers and trials at each level.

    Parameters
    ----------
    level : array-like of float, shape (n_trials,)
        Level of each trial.
    correct : array-like of bool, shape (n_trials,)
        Whether the answer was right.

    Returns
    -------
    levels : ndarray of float64, shape (n_levels,)
        Levels that occur, rising.
    n_correct, n_trials : ndarray of int64, shape (n_levels,)
        Counts.

    Raises
    ------
    ValueError
        If lengths differ, a level is not finite, or an answer is neither true nor
        false.

    Examples
    --------
    >>> [v.tolist() for v in count_levels([2, 1, 2], [True, False, False])]
    [[1.0, 2.0], [0, 1], [1, 2]]
    """
    x = np.asarray(level, np.float64)
    check_array("level", x, shape=(None,), finite=True)
    right = check_true_or_false("correct", correct)
    check_array("correct", right, shape=x.shape)
    levels, place = np.unique(x, return_inverse=True)
    n_correct = np.bincount(place[right], minlength=len(levels))
    return levels, n_correct, np.bincount(place, minlength=len(levels))


def fit_psychometric(
    level: ArrayLike,
    n_correct: ArrayLike,
    n_trials: ArrayLike,
    *,
    guess: float | None,
    lapse: float | None = None,
    function: str = "weibull",
) -> PsychometricFit:
    """Fit a psychometric function by maximum likelihood.

    Parameters
    ----------
    level : array-like of float, shape (n_levels,)
        Levels in any order; at least 0 for "weibull". Equal ones are joined.
    n_correct : array-like of int, shape (n_levels,)
        Right answers at each level.
    n_trials : array-like of int, shape (n_levels,)
        Trials at each level; levels without any are left out.
    guess : float or None
        Guess rate: 1 / m with m alternatives; None fits it within 0..0.6.
    lapse : float, optional
        Lapse rate; fitted within 0..0.06 by default.
    function : {"weibull", "logistic", "gaussian"}, default "weibull"
        The core.

    Returns
    -------
    PsychometricFit
        Its `threshold` is NaN, and `note` says why, if a rate that is the same at all
        levels explains the data nearly as well (twice the difference in log likelihood
        below 3.84), or if the location lies beyond the levels tested.

    Raises
    ------
    TypeError, ValueError
        If lengths differ, counts are no whole numbers or above their trials, there
        are fewer than two levels (above 0 for "weibull"), or an argument is out of
        range.

    Notes
    -----
    The maximum is looked for from many starts, with the location within three times
    the range of the levels (of their logarithms for "weibull") and slopes from nearly
    flat to a step. Data that a step fits as well as any slope do not limit the slope,
    and tell only between which levels the threshold lies; `note` says so.

    Examples
    --------
    >>> level = [0.02, 0.05, 0.1, 0.2, 0.4]
    >>> fit = fit_psychometric(level, [21, 24, 34, 39, 40], [40] * 5, guess=0.5)
    >>> 0.07 < fit.threshold < 0.12, fit.note
    (True, '')
    """
    check_option("function", function, FUNCTIONS)
    _check_rates(0.0 if guess is None else guess, 0.0 if lapse is None else lapse)
    levels, correct, trials = _check_counts(level, n_correct, n_trials)
    if function == "weibull" and np.any(levels < 0):
        raise ValueError(
            f"`level` must be at least 0 for 'weibull'; got {levels.min():g}. Take "
            "another function, or levels on another scale."
        )
    t = coordinate(function, levels)
    if np.isfinite(t).sum() < 2:
        raise ValueError(
            f"At least two levels{' above 0' * (function == 'weibull')} with trials "
            f"are needed; got {levels.tolist()}."
        )
    low, high = parameter_bounds(t, guess, lapse)
    starts = spread_starts(low, high)
    found, value = maximise(function, t, correct[None], trials, starts, low, high)
    saturated = log_likelihood(correct, trials, correct / trials)
    location, slope, lower, missed = natural_parameters(function, found)[0].tolist()
    flat = bool(does_not_rise(correct[None], trials, value)[0])
    inside = bool(levels[0] <= location <= levels[-1])
    notes = []
    if flat:
        notes.append("the rate does not rise with the level: no threshold")
    elif not inside:
        notes.append("the threshold lies beyond the levels tested")
    steepest = np.r_[low[0], high[1], low[2:]]
    step = maximise(function, t, correct[None], trials, starts, steepest, high)[1]
    if not flat and step[0] > value[0] - 1e-3:
        notes.append("the data rise in one step: the slope has no upper limit")
    fitted = {"location": True, "slope": True}
    fitted |= {"guess": guess is None, "lapse": lapse is None}
    return PsychometricFit(
        function,
        location,
        slope,
        lower,
        missed,
        location if inside and not flat else np.nan,
        tuple(name for name, free in fitted.items() if free),
        float(value[0]),
        max(0.0, float(2 * (saturated - value[0]))),
        levels,
        correct,
        trials,
        "; ".join(notes),
    )


def threshold_at(fit: PsychometricFit, rate: float) -> float:
    """Compute the level at which a fitted function has a rate of right answers.

    Parameters
    ----------
    fit : PsychometricFit
        A fit.
    rate : float
        Rate of right answers, 0..1.

    Returns
    -------
    float
        The level; NaN if the function does not reach the rate, the data do not rise,
        or the level lies beyond those tested.

    Raises
    ------
    TypeError, ValueError
        If `rate` is not within 0..1.

    Examples
    --------
    >>> level = [0.02, 0.05, 0.1, 0.2, 0.4]
    >>> fit = fit_psychometric(level, [21, 24, 34, 39, 40], [40] * 5, guess=0.5)
    >>> threshold_at(fit, 0.75) < fit.threshold, threshold_at(fit, 0.4)
    (True, nan)
    """
    check_between("rate", rate, low=0, high=1)
    natural = np.array([[fit.location, fit.slope, fit.guess, fit.lapse]])
    at = float(levels_at(fit.function, natural, rate)[0])
    likelihood = np.array([fit.log_likelihood])
    flat = does_not_rise(fit.n_correct[None], fit.n_trials, likelihood)[0]
    inside = fit.levels[0] <= at <= fit.levels[-1]
    return at if inside and not flat else np.nan


# --------------------------------------------------------------------------- parts


def _check_rates(guess: float, lapse: float) -> None:
    check_between("guess", guess, low=0, high=1)
    check_between("lapse", lapse, low=0, high=1)
    if guess + lapse >= 1:
        raise ValueError(
            f"`guess` and `lapse` must leave room for a rise; got {guess} and {lapse}."
        )


def _check_counts(
    level: ArrayLike, n_correct: ArrayLike, n_trials: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    x = np.asarray(level, np.float64)
    check_array("level", x, shape=(None,), finite=True)
    counts = []
    for name, values in (("n_correct", n_correct), ("n_trials", n_trials)):
        count = np.asarray(values, np.float64)
        check_array(name, count, shape=x.shape, finite=True)
        if np.any((count < 0) | (count != np.round(count))):
            raise ValueError(f"`{name}` must be whole numbers of at least 0.")
        counts.append(count)
    if np.any(counts[0] > counts[1]):
        worst = int(np.argmax(counts[0] > counts[1]))
        raise ValueError(
            f"`n_correct` must not be above `n_trials`; got {counts[0][worst]:g} of "
            f"{counts[1][worst]:g} at the level {x[worst]:g}."
        )
    used = counts[1] > 0
    levels, place = np.unique(x[used], return_inverse=True)
    joined = [
        np.bincount(place, count[used], minlength=len(levels)).astype(np.float64)
        for count in counts
    ]
    return levels, joined[0], joined[1]
