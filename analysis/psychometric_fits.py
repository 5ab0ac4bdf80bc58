"""The arithmetic of psychometric functions: rates, likelihood, and its maximum.

Every function has one core G of ``y = slope (t - centre)``, with t the logarithm of the
level for the Weibull function and the level itself for the others. The rate of right
answers is ``guess + (1 - guess - lapse) G(y)``. Parameters come as arrays with the last
axis (centre, log slope, guess, lapse), many data sets at once.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]

FUNCTIONS = ("weibull", "logistic", "gaussian")
"""Psychometric functions."""

PARAMETERS = ("location", "slope", "guess", "lapse")
"""Parameters, in the order of the last axis (there as centre and log slope)."""

LARGEST_LAPSE = 0.06
"""Upper bound of a lapse rate that is fitted."""

LARGEST_GUESS = 0.6
"""Upper bound of a guess rate that is fitted."""

_TINY = 1e-12
_FLATTEST, _STEEPEST = 0.2, 200.0
_N_STEPS = 300
_GAIN = 1e-11
_N_REFINED = 5
# Without a rise, twice the gain in log likelihood is below this in 95 % of data sets.
_RISE = float(stats.chi2.ppf(0.95, 1))


def coordinate(function: str, levels: FloatArray) -> FloatArray:
    """Turn levels into the coordinate in which a function is shifted and stretched.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    levels : ndarray of float64, shape (n_levels,)
        Levels; not below 0 for the Weibull function.

    Returns
    -------
    ndarray of float64, shape (n_levels,)
        Coordinates; minus infinity for a level of 0 of the Weibull function.

    Examples
    --------
    >>> coordinate("weibull", np.array([0.0, 1.0])).tolist()
    [-inf, 0.0]
    """
    if function != "weibull":
        return levels
    with np.errstate(divide="ignore"):
        return np.log(levels)


def core(function: str, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the core of a function and its derivative.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    y : ndarray of float64, shape (...)
        Slope times distance from the centre.

    Returns
    -------
    value, derivative : ndarray of float64, shape (...)
        ``1 - exp(-exp(y))``, the logistic function, or the normal integral.

    Examples
    --------
    >>> [float(v) for v in core("logistic", np.array(0.0))]
    [0.5, 0.25]
    """
    if function == "weibull":
        grown = np.exp(np.minimum(y, 50))
        return -np.expm1(-grown), grown * np.exp(-grown)
    if function == "logistic":
        value = special.expit(y)
        return value, value * special.expit(-y)
    return special.ndtr(y), np.exp(-np.minimum(y**2, 1400) / 2) / np.sqrt(2 * np.pi)


def inverse_core(function: str, value: float) -> float:
    """Compute where the core of a function has a value.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    value : float
        Inside 0..1.

    Returns
    -------
    float
        Slope times distance from the centre.

    Examples
    --------
    >>> inverse_core("gaussian", 0.5)
    0.0
    """
    if function == "weibull":
        return float(np.log(-np.log1p(-value)))
    return float(
        special.logit(value) if function == "logistic" else special.ndtri(value)
    )


def rates(
    function: str, t: FloatArray, parameters: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Compute rates of right answers and their derivatives.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    t : ndarray of float64, shape (n_levels,)
        Coordinates of the levels.
    parameters : ndarray of float64, shape (n_sets, 4)
        Centre, log slope, guess and lapse.

    Returns
    -------
    rate : ndarray of float64, shape (n_sets, n_levels)
        Inside 0..1.
    derivative : ndarray of float64, shape (n_sets, n_levels, 4)
        By each parameter.

    Examples
    --------
    >>> rates("logistic", np.zeros(1), np.array([[0.0, 0.0, 0.5, 0.02]]))[0].tolist()
    [[0.74]]
    """
    centre, log_slope, guess, lapse = (p[:, None] for p in parameters.T)
    slope = np.exp(log_slope)
    y = np.where(np.isneginf(t), -1e4, slope * (np.maximum(t, -1e300) - centre))
    value, density = core(function, y)
    height = 1 - guess - lapse
    derivative = np.stack(
        [-height * slope * density, height * y * density, 1 - value, -value], axis=-1
    )
    return np.clip(guess + height * value, _TINY, 1 - _TINY), derivative


def natural_parameters(function: str, parameters: FloatArray) -> FloatArray:
    """Turn the parameters that are fitted into those that are reported.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    parameters : ndarray of float64, shape (n_sets, 4)
        Centre, log slope, guess and lapse.

    Returns
    -------
    ndarray of float64, shape (n_sets, 4)
        `PARAMETERS`: the location in units of the level, the slope, guess and lapse.

    Examples
    --------
    >>> natural_parameters("weibull", np.zeros((1, 4))).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    centre = parameters[:, 0]
    location = np.exp(centre) if function == "weibull" else centre
    return np.column_stack([location, np.exp(parameters[:, 1]), parameters[:, 2:]])


def levels_at(function: str, natural: FloatArray, rate: float) -> FloatArray:
    """Compute the levels at which functions have a rate of right answers.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    natural : ndarray of float64, shape (n_sets, 4)
        `PARAMETERS` in their order.
    rate : float
        Rate of right answers, 0..1.

    Returns
    -------
    ndarray of float64, shape (n_sets,)
        Levels; NaN where a function never has the rate.

    Examples
    --------
    >>> levels_at("logistic", np.array([[2.0, 1.0, 0.5, 0.0]]), 0.75).tolist()
    [2.0]
    """
    location, slope, guess, lapse = natural.T
    value = (rate - guess) / (1 - guess - lapse)
    value = np.where((value > 0) & (value < 1), value, np.nan)
    away = np.array([inverse_core(function, v) for v in value]) / slope
    if function == "weibull":
        return np.asarray(location * np.exp(np.minimum(away, 700)), np.float64)
    return np.asarray(location + away, np.float64)


def does_not_rise(
    n_correct: FloatArray, n_trials: FloatArray, likelihood: FloatArray
) -> NDArray[np.bool_]:
    """Tell whether one rate for all levels explains data nearly as well as a fit.

    Parameters
    ----------
    n_correct : ndarray of float64, shape (n_sets, n_levels)
        Right answers.
    n_trials : ndarray of float64, shape (n_levels,)
        Trials.
    likelihood : ndarray of float64, shape (n_sets,)
        Log likelihood of the fits.

    Returns
    -------
    ndarray of bool, shape (n_sets,)
        Whether twice the difference in log likelihood is below 3.84.

    Examples
    --------
    >>> counts = np.array([[5.0, 5.0]]), np.array([10.0, 10.0])
    >>> does_not_rise(*counts, log_likelihood(*counts, np.array([0.5, 0.5]))).tolist()
    [True]
    """
    n, k = n_trials.sum(), n_correct.sum(axis=-1)
    constant = special.xlogy(k, k / n) + special.xlogy(n - k, 1 - k / n)
    return np.asarray(2 * (likelihood - constant) < _RISE, np.bool_)


def log_likelihood(
    n_correct: FloatArray, n_trials: FloatArray, rate: FloatArray
) -> FloatArray:
    """Compute the log likelihood of counts, without binomial coefficients.

    Parameters
    ----------
    n_correct : ndarray of float64, shape (..., n_levels)
        Right answers.
    n_trials : ndarray of float64, shape (n_levels,)
        Trials.
    rate : ndarray of float64, shape (..., n_levels)
        Rates of right answers, 0..1.

    Returns
    -------
    ndarray of float64, shape (...)
        Sum over levels.

    Examples
    --------
    >>> counts = np.array([1.0]), np.array([2.0])
    >>> round(float(log_likelihood(*counts, np.array([0.5]))), 3)
    -1.386
    """
    wrong = n_trials - n_correct
    terms = special.xlogy(n_correct, rate) + special.xlog1py(wrong, -rate)
    return np.asarray(terms.sum(axis=-1), np.float64)


def parameter_bounds(
    t: FloatArray, guess: float | None, lapse: float | None
) -> tuple[FloatArray, FloatArray]:
    """Compute the box in which parameters are looked for.

    The centre lies within three times the range of the levels, around it; over that
    range a function may be nearly flat, and it may be a step.

    Parameters
    ----------
    t : ndarray of float64, shape (n_levels,)
        Coordinates of the levels, at least two of them finite and different.
    guess : float or None
        Guess rate; None leaves it free within 0..0.6.
    lapse : float or None
        Lapse rate; None leaves it free within 0..0.06.

    Returns
    -------
    low, high : ndarray of float64, shape (4,)
        Bounds of centre, log slope, guess and lapse.
    """
    inside = t[np.isfinite(t)]
    first, last = inside.min(), inside.max()
    span = last - first
    low = [first - span, np.log(_FLATTEST / span), guess or 0.0, lapse or 0.0]
    high = [last + span, np.log(_STEEPEST / span)]
    high.append(LARGEST_GUESS if guess is None else guess)
    high.append(LARGEST_LAPSE if lapse is None else lapse)
    return np.array(low), np.array(high)


def spread_starts(low: FloatArray, high: FloatArray) -> FloatArray:
    """Spread starting points over the box.

    Parameters
    ----------
    low : ndarray of float64, shape (4,)
        Lower bounds.
    high : ndarray of float64, shape (4,)
        Upper bounds.

    Returns
    -------
    ndarray of float64, shape (n_starts, 4)
        Five centres within the range of the levels, and four slopes.
    """
    centres = low[0] + (high[0] - low[0]) * np.linspace(0.35, 0.65, 5)
    slopes = low[1] + (high[1] - low[1]) * np.array([0.3, 0.5, 0.7, 0.85])
    guess, lapse = 0.8 * low[2:] + 0.2 * high[2:]
    grid = np.meshgrid(centres, slopes, [guess], [lapse], indexing="ij")
    return np.stack([axis.ravel() for axis in grid], axis=-1)


def maximise(
    function: str,
    t: FloatArray,
    n_correct: FloatArray,
    n_trials: FloatArray,
    starts: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Maximise the likelihood of many data sets at once, inside the box.

    Fisher scoring, damped as by Levenberg and Marquardt. Parameters that stand at a
    bound and would leave the box are held.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    t : ndarray of float64, shape (n_levels,)
        Coordinates of the levels.
    n_correct : ndarray of float64, shape (n_sets, n_levels)
        Right answers.
    n_trials : ndarray of float64, shape (n_levels,)
        Trials.
    starts : ndarray of float64, shape (n_starts, 4)
        Where each data set may start: the five most likely do, and the best end
        counts.
    low : ndarray of float64, shape (4,)
        Lower bounds.
    high : ndarray of float64, shape (4,)
        Upper bounds.

    Returns
    -------
    parameters : ndarray of float64, shape (n_sets, 4)
        Centre, log slope, guess and lapse.
    likelihood : ndarray of float64, shape (n_sets,)
        Log likelihood there.

    References
    ----------
    Levenberg (1944), doi:10.1090/qam/10666. Marquardt (1963), doi:10.1137/0111030.
    """
    begin = np.clip(starts, low, high)
    n_sets, n_starts = len(n_correct), min(len(begin), _N_REFINED)
    rate, _ = rates(function, t, begin)
    first = log_likelihood(n_correct[:, None], n_trials, rate)
    order = np.argsort(-first, axis=1, kind="stable")[:, :n_starts]
    place = begin[order].reshape(-1, begin.shape[1])
    value = np.take_along_axis(first, order, axis=1).ravel()
    counts = np.repeat(n_correct, n_starts, axis=0)
    damping = np.full(len(place), 1e-2)
    open_rows = np.arange(len(place))
    for _ in range(_N_STEPS):
        at, k = place[open_rows], counts[open_rows]
        rate, derivative = rates(function, t, at)
        variance = rate * (1 - rate)
        score = np.einsum("sl,slp->sp", (k - n_trials * rate) / variance, derivative)
        information = np.einsum(
            "sl,slp,slq->spq", n_trials / variance, derivative, derivative
        )
        held = ((at <= low) & (score <= 0)) | ((at >= high) & (score >= 0))
        step = _damped_step(score, information, damping[open_rows], held)
        tried = np.clip(at + step, low, high)
        new = log_likelihood(k, n_trials, rates(function, t, tried)[0])
        gain = new - value[open_rows]
        better = gain > 0
        rows = open_rows[better]
        place[rows], value[rows] = tried[better], new[better]
        damping[open_rows] *= np.where(better, 0.2, 5.0)
        # Done: nothing to gain any more, or no step however small gains anything.
        done = (better & (gain < _GAIN)) | (damping[open_rows] > 1e12)
        open_rows = open_rows[~done]
        if not len(open_rows):
            break
    best = value.reshape(n_sets, n_starts).argmax(axis=1)
    chosen = np.arange(n_sets) * n_starts + best
    return place[chosen], value[chosen]


def _damped_step(
    score: FloatArray,
    information: FloatArray,
    damping: FloatArray,
    held: NDArray[np.bool_],
) -> FloatArray:
    axes = np.arange(score.shape[1])
    matrix = information.copy()
    matrix[:, axes, axes] *= 1 + damping[:, None]
    matrix[:, axes, axes] += _TINY
    matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix)
    matrix[:, axes, axes] = np.where(held, 1.0, matrix[:, axes, axes])
    free = np.where(held, 0.0, score)
    return np.asarray(np.linalg.solve(matrix, free[..., None])[..., 0], np.float64)
