"""Distributions of reaction times: ex-Gaussian and shifted Wald, and distances.

Fits are by maximum likelihood on single trials. A fit that data cannot determine is
all NaN: fewer than ten trials, fewer than three distinct times, or a time that is not
finite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from analysis.reaction_times import QUANTILES
from neurovis.core.checks import check_array, check_between, check_columns, check_option

FloatArray = NDArray[np.float64]

FAMILIES = ("ex-Gaussian", "shifted Wald")
MIN_TRIALS = 10
MIN_DISTINCT = 3

# Bounds of sigma and tau in standard deviations of the data, and the least that can be
# told from nothing: below it the likelihood is all but flat.
_LEAST, _MOST, _VISIBLE = 1e-3, 10.0, 0.02
# Share of the variance that is exponential, for the starts of the optimiser.
_START_SHARES = (0.2, 0.5, 0.8)
# Trial shifts of the Wald: distances from the fastest trial, in standard deviations.
_SHIFT_GRID = np.geomspace(1e-4, 1e3, 141)


@dataclass(frozen=True)
class RtFit:
    """A distribution fitted to reaction times.

    Parameters
    ----------
    family : {"ex-Gaussian", "shifted Wald"}
        What was fitted.
    parameters : dict of str to float
        ``mu_ms``, ``sigma_ms``, ``tau_ms`` of an ex-Gaussian; ``drift`` (per square
        root of a second), ``threshold`` (square root of a second) and ``shift_ms`` of
        a shifted Wald. NaN when undefined.
    log_likelihood : float
        Natural logarithm of the density of all trials, per ms.
    aic : float
        Akaike's criterion, 6 - 2 log likelihood.
    n : int
        Trials.
    converged : bool
        Whether the maximum lies inside the bounds. Otherwise one part has vanished:
        sigma or tau below 2 % of the standard deviation, or a shift of 0.
    """

    family: str
    parameters: dict[str, float]
    log_likelihood: float
    aic: float
    n: int
    converged: bool

    @property
    def distribution(self) -> Any:
        """The fitted distribution in ms, as SciPy freezes it; None if undefined."""
        values = list(self.parameters.values())
        if not np.isfinite(values).all():
            return None
        if self.family == "ex-Gaussian":
            mu, sigma, tau = values
            return stats.exponnorm(tau / sigma, loc=mu, scale=sigma)
        drift, threshold, shift = values
        scale = 1000 * threshold**2
        return stats.invgauss(1 / (drift * threshold), loc=shift, scale=scale)


def fit_exgaussian(rt_ms: ArrayLike) -> RtFit:
    """Fit an ex-Gaussian: a normal and an independent exponential part.

    Parameters
    ----------
    rt_ms : array-like of float, shape (n,)
        Reaction times in ms.

    Returns
    -------
    RtFit
        ``mu_ms``, ``sigma_ms`` (normal part) and ``tau_ms`` (exponential part).

    Raises
    ------
    ValueError
        If `rt_ms` has not one axis.

    Notes
    -----
    The likelihood is maximised over the mean and the logarithms of sigma and tau,
    with its gradient, from starts that match mean and variance.

    References
    ----------
    Palmer, Horowitz, Torralba and Wolfe (2011). What are the shapes of response time
    distributions in visual search? J. Exp. Psychol. Hum. Percept. Perform. 37, 58-71.
    doi:10.1037/a0020747

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rt_ms = rng.normal(400, 40, 2000) + rng.exponential(150, 2000)
    >>> fit = fit_exgaussian(rt_ms)
    >>> [round(v, -1) for v in fit.parameters.values()]
    [400.0, 40.0, 150.0]
    """
    names = ("mu_ms", "sigma_ms", "tau_ms")
    rt = check_array("rt_ms", np.asarray(rt_ms, np.float64), shape=(None,))
    if not _determined(rt):
        return _undefined("ex-Gaussian", names, len(rt))
    centre, scale = rt.mean(), rt.std()
    y = (rt - centre) / scale
    widest = float(np.ptp(y))
    limit = (math.log(_LEAST), math.log(_MOST))
    bounds = [(-widest - _MOST, widest), limit, limit]
    fits = [
        optimize.minimize(
            _exgaussian_loss,
            [-math.sqrt(share), 0.5 * math.log(1 - share), 0.5 * math.log(share)],
            (y,),
            "L-BFGS-B",
            jac=True,
            bounds=bounds,
        )
        for share in _START_SHARES
    ]
    best = min(fits, key=lambda fit: fit.fun)
    mu, log_sigma, log_tau = best.x
    inside = min(log_sigma, log_tau) > math.log(_VISIBLE)
    sigma, tau = scale * math.exp(log_sigma), scale * math.exp(log_tau)
    loglik = -float(best.fun) * len(y) - len(y) * math.log(scale)
    return _fit(
        "ex-Gaussian", names, (centre + scale * mu, sigma, tau), loglik, len(y), inside
    )


def exgaussian_log_density(
    rt_ms: ArrayLike, mu_ms: float, sigma_ms: float, tau_ms: float
) -> FloatArray:
    """Compute the logarithm of the ex-Gaussian density.

    Parameters
    ----------
    rt_ms : array-like of float, shape (...)
        Reaction times in ms.
    mu_ms, sigma_ms, tau_ms : float
        Mean and standard deviation of the normal part, mean of the exponential part;
        the last two above 0.

    Returns
    -------
    ndarray of float64, shape (...)
        Natural logarithm of the density per ms; finite far into both tails.

    Raises
    ------
    ValueError
        If `sigma_ms` or `tau_ms` is not above 0.

    Examples
    --------
    >>> round(float(exgaussian_log_density(450, 400, 40, 100)), 4)
    -5.2454
    """
    check_between("sigma_ms", sigma_ms, low=1e-300)
    check_between("tau_ms", tau_ms, low=1e-300)
    z = (np.asarray(rt_ms, np.float64) - mu_ms) / sigma_ms
    return _log_density(z, sigma_ms / tau_ms) - math.log(tau_ms)


def fit_wald(rt_ms: ArrayLike) -> RtFit:
    """Fit a shifted Wald: the time at which a noisy sum first reaches a threshold.

    The sum drifts at `drift` with unit diffusion per second; reaction time is the
    time of the first passage plus `shift_ms`. The density is
    ``a / sqrt(2 pi t**3) * exp(-(a - d t)**2 / (2 t))`` with threshold a, drift d and
    t in seconds after the shift.

    Parameters
    ----------
    rt_ms : array-like of float, shape (n,)
        Reaction times in ms.

    Returns
    -------
    RtFit
        ``drift``, ``threshold`` and ``shift_ms``, 0 or more.

    Raises
    ------
    ValueError
        If `rt_ms` has not one axis.

    Notes
    -----
    Given the shift, the other two have a closed form (Tweedie 1957); the likelihood
    that is left has one variable and is searched on a grid, then refined. Data whose
    tail is no longer than that of a normal distribution push the shift to 0, and
    `converged` is False.

    References
    ----------
    Heathcote (2004). Fitting Wald and ex-Wald distributions to response time data.
    Behav. Res. Methods Instrum. Comput. 36, 678-694. doi:10.3758/BF03206550
    Anders, Alario and Van Maanen (2016). The shifted Wald distribution for response
    time data analysis. Psychol. Methods 21, 309-327. doi:10.1037/met0000066

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rt_ms = 200 + 1000 * rng.wald(0.4, 1.44, 5000)  # drift 3, threshold 1.2
    >>> [round(v, 1) for v in fit_wald(rt_ms).parameters.values()][:2]
    [3.0, 1.2]
    """
    names = ("drift", "threshold", "shift_ms")
    rt = check_array("rt_ms", np.asarray(rt_ms, np.float64), shape=(None,))
    if not _determined(rt) or rt.min() <= 0:
        return _undefined("shifted Wald", names, len(rt))
    seconds = rt / 1000
    first, spread = float(seconds.min()), float(seconds.std())
    gaps = _SHIFT_GRID * spread
    gaps = np.append(gaps[gaps < first], first)

    def loss(log_gap: float) -> float:
        return -_wald_profile(seconds, first - math.exp(log_gap))[0]

    logs = np.log(gaps)
    values = [loss(v) for v in logs]
    i = int(np.argmin(values))
    log_gap = float(logs[i])
    if len(logs) > 1:
        around = (float(logs[max(i - 1, 0)]), float(logs[min(i + 1, len(logs) - 1)]))
        refined = optimize.minimize_scalar(loss, bounds=around, method="bounded")
        log_gap = float(refined.x) if refined.fun < values[i] else log_gap
    gap = math.exp(log_gap)
    inside = gaps[0] * 1.001 < gap < first * 0.999
    loglik, mean, shape = _wald_profile(seconds, first - gap)
    threshold = math.sqrt(shape)
    found = (threshold / mean, threshold, max(1000 * (first - gap), 0.0))
    loglik -= len(rt) * math.log(1000)
    return _fit("shifted Wald", names, found, loglik, len(rt), inside)


def fit_rts(
    trials: pd.DataFrame, by: Sequence[str], *, family: str = "ex-Gaussian"
) -> pd.DataFrame:
    """Fit a distribution to the reaction times of each cell.

    Parameters
    ----------
    trials : DataFrame
        Trials that count: `by` and `rt_ms`.
    by : sequence of str
        Columns that tell the cells apart, such as subject and cell of the design.
    family : {"ex-Gaussian", "shifted Wald"}, default "ex-Gaussian"
        What to fit.

    Returns
    -------
    DataFrame
        One row per cell, sorted: the `by` columns, the three parameters,
        `log_likelihood`, `aic`, `n`, `converged`.

    Raises
    ------
    ValueError
        If a column is missing or the family is unknown.

    Examples
    --------
    >>> trials = pd.DataFrame({"subject": "a", "rt_ms": [500.0] * 20})
    >>> fit_rts(trials, ["subject"])[["tau_ms", "n"]].to_numpy().tolist()
    [[nan, 20.0]]
    """
    check_columns("trials", trials.columns, [*by, "rt_ms"])
    check_option("family", family, FAMILIES)
    fit_one = fit_exgaussian if family == "ex-Gaussian" else fit_wald
    kept = ("log_likelihood", "aic", "n", "converged")
    rows = []
    for key, part in trials.groupby(list(by)):
        fit = fit_one(part["rt_ms"].to_numpy(np.float64))
        cell = dict(zip(by, key, strict=True)) | fit.parameters
        rows.append(cell | {name: getattr(fit, name) for name in kept})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class GoodnessOfFit:
    """How far a fitted distribution is from its data.

    Parameters
    ----------
    quantiles : ndarray of float64, shape (n_quantiles,)
        Which quantiles, 0..1.
    residual_ms : ndarray of float64, shape (n_quantiles,)
        Quantile of the data minus that of the fit in ms.
    rmse_ms : float
        Root mean square of the residuals in ms.
    ks : float
        Largest distance between the cumulative distributions, 0..1. Its usual p
        values do not hold: the distribution was fitted to these data.
    """

    quantiles: FloatArray
    residual_ms: FloatArray
    rmse_ms: float
    ks: float


def goodness_of_fit(
    rt_ms: ArrayLike, fit: RtFit, *, quantiles: Sequence[float] = QUANTILES
) -> GoodnessOfFit:
    """Compare data with the distribution fitted to them.

    Parameters
    ----------
    rt_ms : array-like of float, shape (n,)
        Reaction times in ms.
    fit : RtFit
        What was fitted.
    quantiles : sequence of float, default (0.1, 0.3, 0.5, 0.7, 0.9)
        Where to compare, above 0 and below 1.

    Returns
    -------
    GoodnessOfFit
        NaN when there are no data or the fit is undefined.

    Raises
    ------
    ValueError
        If a quantile is out of range or a time is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rt_ms = rng.normal(400, 40, 2000) + rng.exponential(150, 2000)
    >>> goodness_of_fit(rt_ms, fit_exgaussian(rt_ms)).ks < 0.02
    True
    """
    rt = np.asarray(rt_ms, np.float64)
    check_array("rt_ms", rt, shape=(None,), finite=True)
    for quantile in quantiles:
        check_between("quantiles", quantile, low=1e-12, high=1 - 1e-12)
    shares = np.asarray(quantiles, np.float64)
    distribution = fit.distribution
    if distribution is None or not len(rt):
        return GoodnessOfFit(shares, np.full(len(shares), np.nan), math.nan, math.nan)
    residual = np.quantile(rt, shares) - distribution.ppf(shares)
    rmse = float(np.sqrt(np.mean(residual**2)))
    fitted, steps = distribution.cdf(np.sort(rt)), np.arange(len(rt) + 1) / len(rt)
    ks = max(np.max(steps[1:] - fitted), np.max(fitted - steps[:-1]))
    return GoodnessOfFit(shares, residual, rmse, float(ks))


def ks_distance(first_ms: ArrayLike, second_ms: ArrayLike) -> float:
    """Compute the largest distance between two cumulative distributions.

    Parameters
    ----------
    first_ms, second_ms : array-like of float, shape (n,) and (m,)
        Reaction times in ms.

    Returns
    -------
    float
        Kolmogorov-Smirnov distance, 0..1; NaN when one sample is empty.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> ks_distance([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    first, second = _samples(first_ms, second_ms)
    if not len(first) or not len(second):
        return float("nan")
    places = np.concatenate([first, second])
    shares = [
        np.searchsorted(np.sort(sample), places, side="right") / len(sample)
        for sample in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def wasserstein_ms(first_ms: ArrayLike, second_ms: ArrayLike) -> float:
    """Compute the area between two cumulative distributions.

    It is the mean distance in ms over which trials of one must be moved to give the
    other.

    Parameters
    ----------
    first_ms, second_ms : array-like of float, shape (n,) and (m,)
        Reaction times in ms.

    Returns
    -------
    float
        First Wasserstein distance in ms, >= 0; NaN when one sample is empty.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> wasserstein_ms([400, 500], [450, 550])
    50.0
    """
    first, second = _samples(first_ms, second_ms)
    if not len(first) or not len(second):
        return float("nan")
    return float(stats.wasserstein_distance(first, second))


def _samples(
    first_ms: ArrayLike, second_ms: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    first, second = (
        check_array(name, np.asarray(value, np.float64), shape=(None,), finite=True)
        for name, value in (("first_ms", first_ms), ("second_ms", second_ms))
    )
    return first, second


# ---------------------------------------------------------------------- likelihood


def _log_density(z: FloatArray, ratio: float) -> FloatArray:
    """Log density of the ex-Gaussian times tau; z in sigmas, ratio = sigma / tau."""
    u = z - ratio
    # Each form is exact where the other one loses its digits or overflows.
    left = -0.5 * z**2 + np.log(special.erfcx(-np.minimum(u, 0) / math.sqrt(2)) / 2)
    right = 0.5 * ratio**2 - z * ratio + special.log_ndtr(np.maximum(u, 0))
    return np.where(u < 0, left, right)


def _exgaussian_loss(parameters: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    """Negative mean log density and its gradient by mean, log sigma and log tau."""
    mu, sigma, tau = parameters[0], math.exp(parameters[1]), math.exp(parameters[2])
    z, ratio = (y - mu) / sigma, sigma / tau
    loss = math.log(tau) - float(np.mean(_log_density(z, ratio)))
    u = z - ratio
    # phi(u) / Phi(u): by erfcx it is finite however small Phi is.
    hazard = math.sqrt(2 / math.pi) / special.erfcx(-u / math.sqrt(2))
    by_mu = 1 / tau - hazard / sigma
    by_sigma = sigma / tau**2 - hazard * (z / sigma + 1 / tau)
    by_tau = -1 / tau - sigma**2 / tau**3 + (y - mu) / tau**2 + hazard * ratio / tau
    gradient = [-by_mu.mean(), -sigma * by_sigma.mean(), -tau * by_tau.mean()]
    return loss, np.array(gradient)


def _wald_profile(seconds: FloatArray, shift: float) -> tuple[float, float, float]:
    """Best log likelihood at a shift, with mean and shape of the Wald, in seconds."""
    t = seconds - shift
    mean = float(t.mean())
    excess = float(np.mean(1 / t) - 1 / mean)
    if not excess > 0:
        return -math.inf, mean, math.inf
    n, shape = len(t), 1 / excess
    loglik = n / 2 * (math.log(shape) - math.log(2 * math.pi) - 1)
    return loglik - 1.5 * float(np.log(t).sum()), mean, shape


def _determined(rt: FloatArray) -> bool:
    if len(rt) < MIN_TRIALS or not np.isfinite(rt).all():
        return False
    return len(np.unique(rt)) >= MIN_DISTINCT


def _fit(
    family: str,
    names: Sequence[str],
    values: Sequence[float],
    loglik: float,
    n: int,
    inside: bool,
) -> RtFit:
    parameters = {k: float(v) for k, v in zip(names, values, strict=True)}
    return RtFit(family, parameters, loglik, 6 - 2 * loglik, n, bool(inside))


def _undefined(family: str, names: Sequence[str], n: int) -> RtFit:
    return _fit(family, names, [math.nan] * 3, math.nan, n, False)
