"""Doubts about a psychometric function: goodness of fit, and bootstrap intervals.

References
----------
Wichmann and Hill (2001). The psychometric function: I. Fitting, sampling, and goodness
of fit; II. Bootstrap-based confidence intervals and sampling. Perception &
Psychophysics 63:1293-1313, doi:10.3758/BF03194544, and 63:1314-1329,
doi:10.3758/BF03194545.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.psychometric import PsychometricFit, psychometric_rate, threshold_at
from analysis.psychometric_fits import (
    PARAMETERS,
    FloatArray,
    coordinate,
    does_not_rise,
    levels_at,
    log_likelihood,
    maximise,
    natural_parameters,
    parameter_bounds,
    spread_starts,
)
from analysis.stats import percentile_interval
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator

KINDS = ("parametric", "nonparametric")
"""What a bootstrap draws from: the fitted function, or the trials."""


@dataclass(frozen=True)
class GoodnessOfFit:
    """How unusual the deviance of a fit is.

    Parameters
    ----------
    deviance : float
        Of the fit.
    p_value : float
        Share of data sets, drawn from the fit and fitted alike, whose deviance is at
        least as large; the data count as one of them.
    n_samples : int
        Data sets drawn.
    """

    deviance: float
    p_value: float
    n_samples: int


def goodness_of_fit(
    fit: PsychometricFit, *, n_samples: int = 1000, seed: int = 0
) -> GoodnessOfFit:
    """Test by simulation whether the data stray from the fit more than chance would.

    Parameters
    ----------
    fit : PsychometricFit
        A fit.
    n_samples : int, default 1000
        Data sets to draw from the fit and fit alike, >= 1.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    GoodnessOfFit
        A small p value speaks against the function, or against equal trials.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from analysis.psychometric import fit_psychometric
    >>> level = [0.02, 0.05, 0.1, 0.2, 0.4]
    >>> fit = fit_psychometric(level, [21, 24, 34, 39, 40], [40] * 5, guess=0.5)
    >>> goodness_of_fit(fit, n_samples=200).p_value > 0.05
    True
    """
    n_samples = check_whole("n_samples", n_samples, low=1)
    rng = generator(seed, "psychometric goodness of fit")
    drawn = _draw(fit, "parametric", n_samples, rng)
    _, value = _refit(fit, drawn)
    saturated = log_likelihood(drawn, fit.n_trials, drawn / fit.n_trials)
    # Deviances of equal data must count as equal.
    larger = 2 * (saturated - value) >= fit.deviance - 1e-6
    return GoodnessOfFit(
        fit.deviance, float((1 + larger.sum()) / (1 + n_samples)), n_samples
    )


def bootstrap_psychometric(
    fit: PsychometricFit,
    *,
    kind: str = "parametric",
    rate: float | None = None,
    n_bootstrap: int = 1000,
    coverage: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Bootstrap intervals of the parameters and of the threshold.

    Parameters
    ----------
    fit : PsychometricFit
        A fit.
    kind : {"parametric", "nonparametric"}, default "parametric"
        Draw answers from the fitted function, or the trials of each level with
        replacement.
    rate : float, optional
        Rate of right answers at the threshold, 0..1; by default the threshold is the
        location.
    n_bootstrap : int, default 1000
        Data sets to draw and fit, >= 1.
    coverage : float, default 0.95
        Coverage of the percentile intervals, 0..1.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    DataFrame
        Rows "threshold", "slope", and "guess" and "lapse" if they were fitted:
        `parameter`, `value`, `ci_low`, `ci_high` and `note`. A limit of the threshold
        beyond the levels tested is NaN, and the note says on which side; draws that do
        not rise are undefined, and so is the interval if there are too many of them.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from analysis.psychometric import fit_psychometric
    >>> level = [0.02, 0.05, 0.1, 0.2, 0.4]
    >>> fit = fit_psychometric(level, [21, 24, 34, 39, 40], [40] * 5, guess=0.5)
    >>> row = bootstrap_psychometric(fit, n_bootstrap=200).iloc[0]
    >>> bool(row["ci_low"] < row["value"] < row["ci_high"])
    True
    """
    check_option("kind", kind, KINDS)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=1)
    check_between("coverage", coverage, low=0, high=1)
    rng = generator(seed, "psychometric bootstrap", kind)
    drawn = _draw(fit, kind, n_bootstrap, rng)
    found, value = _refit(fit, drawn)
    natural = natural_parameters(fit.function, found)
    threshold = fit.threshold if rate is None else threshold_at(fit, rate)
    at = natural[:, 0] if rate is None else levels_at(fit.function, natural, rate)
    at = np.where(does_not_rise(drawn, fit.n_trials, value), np.nan, at)
    rows = [("threshold", threshold, *_limits(fit, at, coverage))]
    for column, name in enumerate(PARAMETERS):
        if name in fit.free and name != "location":
            low, high = percentile_interval(natural[:, column], level=coverage)
            rows.append((name, getattr(fit, name), float(low), float(high), ""))
    return pd.DataFrame(
        rows, columns=["parameter", "value", "ci_low", "ci_high", "note"]
    )


def _draw(
    fit: PsychometricFit, kind: str, n: int, rng: np.random.Generator
) -> FloatArray:
    if kind == "nonparametric":
        chance = fit.n_correct / fit.n_trials
    else:
        chance = psychometric_rate(
            fit.levels,
            location=fit.location,
            slope=fit.slope,
            guess=fit.guess,
            lapse=fit.lapse,
            function=fit.function,
        )
    size = (n, len(fit.levels))
    drawn = rng.binomial(fit.n_trials.astype(np.int64), np.clip(chance, 0, 1), size)
    return drawn.astype(np.float64)


def _refit(fit: PsychometricFit, drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit drawn data sets as the data were, from the same starts and from the fit."""
    t = coordinate(fit.function, fit.levels)
    low, high = parameter_bounds(
        t,
        None if "guess" in fit.free else fit.guess,
        None if "lapse" in fit.free else fit.lapse,
    )
    centre = np.log(fit.location) if fit.function == "weibull" else fit.location
    own = np.array([[centre, np.log(fit.slope), fit.guess, fit.lapse]])
    starts = np.concatenate([own, spread_starts(low, high)])
    return maximise(fit.function, t, drawn, fit.n_trials, starts, low, high)


def _limits(
    fit: PsychometricFit, draws: FloatArray, coverage: float
) -> tuple[float, float, str]:
    """Limits of a threshold; those beyond the levels tested are not known."""
    limits = [float(limit) for limit in percentile_interval(draws, level=coverage)]
    notes = []
    if np.isnan(limits[0]):
        notes.append("too many draws have no threshold")
    for side, limit in zip(("lower", "upper"), limits, strict=True):
        if limit < fit.levels[0] or limit > fit.levels[-1]:
            limits[side == "upper"] = np.nan
            notes.append(f"the {side} limit lies beyond the levels tested")
    return limits[0], limits[1], "; ".join(notes)
