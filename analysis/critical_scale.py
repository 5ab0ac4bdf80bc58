"""Critical scale: how large pooling windows may grow until people see a difference.

Pictures that share the pooled statistics of a model look alike as long as its windows
are no larger, relative to eccentricity, than those of the observer. The scale at which
discrimination departs from chance estimates the windows of the observer.

References
----------
Freeman and Simoncelli (2011). Metamers of the ventral stream. Nature Neuroscience
14:1195-1201. doi:10.1038/nn.2889.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlog1py, xlogy
from scipy.stats import chi2

from analysis.abx_discrimination import (
    DECISIONS,
    discriminability,
    proportion_correct,
    slope_of_log_gain,
)
from analysis.stats import percentile_interval
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_option,
    check_whole,
)
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

_GAINS = (0.05, 40.0)  # from nothing to see to a step
_MOST_LAPSE = 0.2
_COARSE, _FINE, _ROUNDS, _SCORING = 60, 9, 9, 6
_MARGIN = 1e-3  # parts of the range within which an estimate lies at its edge


@dataclass(frozen=True)
class CriticalScale:
    """A fitted critical scale.

    Parameters
    ----------
    critical_scale : float
        Largest scale without a visible difference, in the unit of the tested scales;
        NaN where the counts do not tell it.
    ci_low, ci_high : float
        Limits of its percentile bootstrap interval; NaN where undefined.
    gain : float
        Discriminability far above the critical scale; NaN as `critical_scale`.
    lapse : float
        Share of trials answered by guessing, as given or fitted, 0..1.
    log_likelihood : float
        Of the counts at the best parameters, in nats, without binomial factors.
    n_trials : int
        Trials in all.
    note : str
        Why the critical scale is undefined, or "".
    """

    critical_scale: float
    ci_low: float
    ci_high: float
    gain: float
    lapse: float
    log_likelihood: float
    n_trials: int
    note: str = ""


def fit_critical_scale(
    scale: ArrayLike,
    n_correct: ArrayLike,
    n_trials: ArrayLike,
    *,
    lapse: float | None = 0.0,
    decision: str = "published",
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> CriticalScale:
    """Fit the critical scale of one observer in one comparison, by maximum likelihood.

    Parameters
    ----------
    scale : array-like of float, shape (n_scales,)
        Tested scales, > 0, two or more different ones.
    n_correct, n_trials : array-like of int, shape (n_scales,)
        Correct answers and trials at each scale.
    lapse : float or None, default 0
        Share of trials answered by guessing; None fits it, up to 0.2.
    decision : {"published", "signal_detection"}, default "published"
        As in `proportion_correct`.
    n_bootstrap : int, default 1000
        Resamples of the trials of each scale; 0 gives no interval.
    level : float, default 0.95
        Coverage of the percentile interval, 0..1.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    CriticalScale
        NaN with a note when the counts do not tell the critical scale: when the curve
        is not better than chance or than a constant (likelihood ratios, 5 %), or when
        it is a step between two of the tested scales.

    Raises
    ------
    TypeError, ValueError
        If the counts cannot be, or an argument is out of range.

    Notes
    -----
    The likelihood is searched on a grid that is refined around its best point, which
    copes with the kinks that it has at the tested scales.

    References
    ----------
    Freeman and Simoncelli (2011), doi:10.1038/nn.2889.

    Examples
    --------
    >>> scales = [0.25, 0.4, 0.5, 0.7, 1.0]
    >>> expected = proportion_correct(scales, 0.45, 3.0)
    >>> counts = np.rint(10_000 * expected)
    >>> found = fit_critical_scale(scales, counts, [10_000] * 5, n_bootstrap=0)
    >>> round(found.critical_scale, 2), round(found.gain, 1)
    (0.45, 3.0)
    """
    counts = _check_counts(scale, n_correct, n_trials)
    options = _check_options(lapse, decision, n_bootstrap, level)
    rng = generator(seed, "critical scale")
    return _fit_together([counts], *options, rng)[0]


def fit_critical_scales(
    trials: pd.DataFrame,
    *,
    by: Sequence[str] = ("subject",),
    lapse: float | None = None,
    decision: str = "published",
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit the critical scales of observers, one for each comparison.

    Two samples of a model are compared with each other, or one with its original
    picture; the critical scale of the second comparison is usually the smaller one.

    Parameters
    ----------
    trials : DataFrame
        One row per trial: `by`, `comparison` (such as "original-sample"), `scale` and
        `correct` (bool).
    by : sequence of str, default ("subject",)
        Columns that tell observers apart; () pools all trials.
    lapse : float or None, default None
        Share of guesses; None fits one per observer, shared by the comparisons.
    decision : {"published", "signal_detection"}, default "published"
        As in `analysis.abx_discrimination.proportion_correct`.
    n_bootstrap : int, default 1000
        Resamples of the trials of each scale; 0 gives no intervals.
    level : float, default 0.95
        Coverage of the percentile intervals, 0..1.
    seed : int, default 0
        Seed of the draws; every observer has a stream of its own.

    Returns
    -------
    DataFrame
        One row per observer and comparison, in order of appearance: `by`,
        `comparison` and the fields of `CriticalScale`.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, or as `fit_critical_scale`.
    """
    needed = [*by, "comparison", "scale", "correct"]
    check_columns("trials", trials.columns, needed)
    if trials.empty or trials[needed].isna().to_numpy().any():
        raise ValueError("`trials` must have rows, and no undefined value.")
    options = _check_options(lapse, decision, n_bootstrap, level)
    rows = []
    keys: list[str] = list(by)
    groups = trials.groupby(keys, sort=False) if keys else [((), trials)]
    for key, observer in groups:
        names, counts = [], []
        for name, part in observer.groupby("comparison", sort=False):
            cells = part.groupby("scale")["correct"].agg(["sum", "size"])
            names.append(name)
            counts.append(_check_counts(cells.index, cells["sum"], cells["size"]))
        rng = generator(seed, "critical scale", *map(str, key))
        fits = _fit_together(counts, *options, rng)
        for name, fit in zip(names, fits, strict=True):
            who = dict(zip(keys, key, strict=True))
            rows.append({**who, "comparison": name, **vars(fit)})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ the counts


@dataclass(frozen=True)
class _Counts:
    """Scales, and correct answers and trials of resamples, (n_resamples, n_scales)."""

    scale: FloatArray
    correct: FloatArray
    n: FloatArray

    def resample(self, n_bootstrap: int, rng: np.random.Generator) -> "_Counts":
        share = self.correct[0] / self.n[0]
        drawn = rng.binomial(self.n[0].astype(int), share, (n_bootstrap, len(share)))
        correct = np.concatenate([self.correct, drawn])
        return _Counts(self.scale, correct, np.broadcast_to(self.n, correct.shape))

    def log_likelihood(self, p: FloatArray) -> FloatArray:
        """Of probabilities of shape (n_resamples, ..., n_scales)."""
        extra = p.ndim - 2
        k, n = (
            v.reshape(len(v), *[1] * extra, v.shape[1]) for v in (self.correct, self.n)
        )
        return np.asarray((xlogy(k, p) + xlog1py(n - k, -p)).sum(axis=-1))


def _check_counts(
    scale: ArrayLike, n_correct: ArrayLike, n_trials: ArrayLike
) -> _Counts:
    s = np.asarray(scale, np.float64)
    check_array("scale", s, shape=(None,), finite=True)
    k, n = (np.asarray(v, np.float64) for v in (n_correct, n_trials))
    check_array("n_correct", k, shape=s.shape, finite=True)
    check_array("n_trials", n, shape=s.shape, finite=True)
    if (s <= 0).any() or len(np.unique(s)) < 2:
        raise ValueError(
            f"`scale` must have two or more different values above 0; got {s.tolist()}."
        )
    whole = (k == np.rint(k)).all() and (n == np.rint(n)).all()
    if not whole or (k < 0).any() or (k > n).any() or (n < 1).any():
        raise ValueError(
            "`n_correct` must count answers, 0 to `n_trials`, and `n_trials` must be 1 "
            f"or more; got {k.tolist()} of {n.tolist()}."
        )
    return _Counts(s, k[None], n[None])


def _check_options(
    lapse: float | None, decision: str, n_bootstrap: int, level: float
) -> tuple[float | None, str, int, float]:
    if lapse is not None:
        check_between("lapse", lapse, low=0, high=0.99)
    check_option("decision", decision, DECISIONS)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    check_between("level", level, low=0, high=1)
    return lapse, decision, n_bootstrap, level


# ------------------------------------------------------------------ the search


def _fit_together(
    counts: Sequence[_Counts],
    lapse: float | None,
    decision: str,
    n_bootstrap: int,
    level: float,
    rng: np.random.Generator,
) -> list[CriticalScale]:
    """Fit comparisons of one observer, which share the share of lapses."""
    drawn = [one.resample(n_bootstrap, rng) for one in counts]
    n_fits = n_bootstrap + 1
    if lapse is None:
        shares = _search_lapse(drawn, n_fits, decision)
    else:
        shares = np.full(n_fits, float(lapse))
    fits = []
    for one in drawn:
        best, s0, gain = _search(one, shares, decision)
        reasons = [
            _reason(one, i, best[i], s0[i], gain[i], shares[i]) for i in range(n_fits)
        ]
        defined = np.array([not reason for reason in reasons])
        known = np.where(defined, s0, np.nan)
        low, high = (
            percentile_interval(known[1:], level=level) if n_bootstrap else [np.nan] * 2
        )
        fits.append(
            CriticalScale(
                critical_scale=float(known[0]),
                ci_low=float(low) if defined[0] else math.nan,
                ci_high=float(high) if defined[0] else math.nan,
                gain=float(gain[0]) if defined[0] else math.nan,
                lapse=float(shares[0]),
                log_likelihood=float(best[0]),
                n_trials=int(one.n[0].sum()),
                note=reasons[0],
            )
        )
    return fits


def _search_lapse(counts: Sequence[_Counts], n_fits: int, decision: str) -> FloatArray:
    """Return the best common lapse of each resample."""
    step = _MOST_LAPSE / 8
    tried = np.repeat(np.arange(9)[:, None] * step, n_fits, axis=1)
    for _ in range(4):
        total = np.zeros_like(tried)
        for one in counts:
            for i in range(len(tried)):
                total[i] += _search(one, tried[i], decision)[0]
        best = np.take_along_axis(tried, total.argmax(axis=0)[None], axis=0)[0]
        step /= 2
        tried = np.clip(best + np.array([[-step], [0], [step]]), 0, _MOST_LAPSE)
    return best


def _coarse(
    counts: _Counts, lapse: float, decision: str
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best log-likelihood, scale and gain on the coarse grid."""
    scales = np.linspace(0, counts.scale.max(), _COARSE)
    s0 = np.repeat(scales, _COARSE)
    gain = np.tile(np.geomspace(*_GAINS, _COARSE), _COARSE)
    p = proportion_correct(
        counts.scale, s0[:, None], gain[:, None], lapse=lapse, decision=decision
    )
    p = np.clip(p, 0, 1 - 1e-12)
    missed = counts.n - counts.correct
    values = counts.correct @ np.log(p).T + missed @ np.log1p(-p).T
    best = values.argmax(axis=1)
    rows = np.arange(len(values))
    return values[rows, best], s0[best], gain[best]


def _search(
    counts: _Counts, lapse: FloatArray, decision: str
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best log-likelihood, scale and gain for a lapse of each resample."""
    s0, gain = np.empty(len(lapse)), np.empty(len(lapse))
    # The coarse start may come from a lapse near by.
    for share in np.unique(np.round(lapse, 2)):
        these = np.round(lapse, 2) == share
        some = _Counts(counts.scale, counts.correct[these], counts.n[these])
        _, s0[these], gain[these] = _coarse(some, float(share), decision)
    top = counts.scale.max()
    steps = np.linspace(-1, 1, _FINE)
    width = top / (_COARSE - 1)
    rows = np.arange(len(lapse))
    best = np.full(len(lapse), -np.inf)
    for _ in range(_ROUNDS):
        tried = np.clip(s0[:, None] + steps * width, 0, top)
        start = np.broadcast_to(gain[:, None], tried.shape)
        values, gains = _best_gain(counts, tried, start, lapse[:, None], decision)
        place = values.argmax(axis=1)
        best, s0, gain = values[rows, place], tried[rows, place], gains[rows, place]
        width /= 2.5
    return best, s0, gain


def _best_gain(
    counts: _Counts,
    s0: FloatArray,
    gain: FloatArray,
    lapse: FloatArray,
    decision: str,
) -> tuple[FloatArray, FloatArray]:
    """Return the best log-likelihood and gain for scales of (n_resamples, n)."""
    # On its own the gain is smooth; together with the scale it forms narrow ridges.
    k, n = counts.correct[:, None], counts.n[:, None]
    log_gain = np.log(gain)
    low, high = np.log(_GAINS)
    for i in range(_SCORING + 1):
        parameters = (s0[..., None], np.exp(log_gain)[..., None])
        p = proportion_correct(
            counts.scale, *parameters, lapse=lapse[..., None], decision=decision
        )
        p = np.clip(p, 0, 1 - 1e-12)
        if i == _SCORING:
            break
        squared = discriminability(counts.scale, *parameters)
        slope = (1 - lapse[..., None]) * slope_of_log_gain(squared, decision)
        weight = slope / (p * (1 - p))
        information = (n * slope * weight).sum(axis=-1)
        score = ((k - n * p) * weight).sum(axis=-1)
        step = score / np.maximum(information, 1e-12)
        log_gain = np.clip(log_gain + np.clip(step, -1, 1), low, high)
    return counts.log_likelihood(p), np.exp(log_gain)


def _reason(
    counts: _Counts, row: int, best: float, s0: float, gain: float, lapse: float
) -> str:
    """Say why the critical scale is undefined, or ""."""
    k, n = counts.correct[row].sum(), counts.n[row].sum()
    if 2 * (best + n * math.log(2)) < chi2.ppf(0.95, 2):
        return "answers are not better than chance"
    if row > 0:
        return ""  # a resample: what its scale is not sure of, the interval shows
    if gain >= _GAINS[1] * (1 - _MARGIN):
        return "answers are a step between two scales: try scales between them"
    if s0 >= counts.scale.max() * (1 - _MARGIN):
        return "answers leave chance at the largest scale only"
    p = np.clip(k / n, 0.5, 1 - max(lapse / 2, 1e-12))
    constant = xlogy(k, p) + xlog1py(n - k, -p)
    if 2 * (best - constant) < chi2.ppf(0.95, 1):
        return "answers do not fall towards chance within the tested scales"
    return ""
