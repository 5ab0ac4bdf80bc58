"""Triplets of pictures that pull low-level and high-level similarity apart.

A root picture and two others, i and j: j is the one more alike to the root in a high
layer. In a conflict triplet i is the one more alike in a low layer; in a congruent one
j is again. The search is that of the public code maytusp/triplet_search; the scores are
a choice of this suite.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from analysis.stats import percentile_interval, wilson_interval
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_whole,
)
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BINS = tuple(range(1, 11))
STEP_SD = 0.5
"""Wanted differences are so many standard deviations per bin."""

COLUMNS = ("root", "i", "j", "bin_high", "bin_low", "d_high", "d_low", "conflict")
"""Of tables of triplets."""

# Numbers, or pairs, that are looked at together.
_CHUNK = 2**22
# Steps of Newton's method, and what counts as coefficients without a limit.
_STEPS, _LARGEST = 50, 1e3


def level_similarity(features: ArrayLike) -> FloatArray:
    """Correlate the features of all pictures.

    Parameters
    ----------
    features : array-like of float, shape (n_pictures, n_features)
        Flattened activations of a layer.

    Returns
    -------
    ndarray of float64, shape (n_pictures, n_pictures)
        Pearson correlations; NaN for a picture whose features are all equal.

    Raises
    ------
    ValueError
        If `features` is no matrix or not finite.

    Examples
    --------
    >>> level_similarity([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]).round(3).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    x = check_array("features", features, shape=(None, None))
    n, size = len(x), max(1, _CHUNK // max(1, len(x)))
    blocks = [slice(start, start + size) for start in range(0, x.shape[1], size)]
    total = np.zeros(n)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    for block in blocks:
        part = np.asarray(x[:, block], np.float64)
        total += part.sum(axis=1)
        np.minimum(low, part.min(axis=1), out=low)
        np.maximum(high, part.max(axis=1), out=high)
    if not np.isfinite(total).all():
        raise ValueError("`features` must be finite.")
    mean, products = total / x.shape[1], np.zeros((n, n))
    for block in blocks:
        part = np.asarray(x[:, block], np.float64) - mean[:, None]
        products += part @ part.T
    length = np.sqrt(np.diag(products))
    # The mean of equal values can differ from them in the last bit.
    length[low == high] = np.nan
    found: FloatArray = np.clip(products / np.outer(length, length), -1.0, 1.0)
    np.fill_diagonal(found, np.where(np.isnan(length), np.nan, 1.0))
    return found


def find_level_triplets(
    high: ArrayLike,
    low: ArrayLike,
    *,
    bins: Sequence[int] = BINS,
    n_loops: int = 20,
    tolerance: float = 0.01,
    n_roots: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Search triplets with stated differences of similarity, no picture twice.

    Every loop goes through all pairs of bins (b, c). It draws a root and a coin, and
    takes one of the pairs with ``high[root, j] - high[root, i]`` within `tolerance` of
    ``0.5 b sd(high)``, and ``low[root, i] - low[root, j]`` within `tolerance` of
    ``0.5 c sd(low)`` (heads: conflict) or of minus that (tails: congruent).

    Parameters
    ----------
    high, low : array-like of float, shape (n_pictures, n_pictures)
        Similarities of the pictures in the two layers, as `level_similarity`.
    bins : sequence of int, default 1 to 10
        Bins of both differences.
    n_loops : int, default 20
        Times that all pairs of bins are gone through.
    tolerance : float, default 0.01
        How far a difference may lie from what is wanted, above 0.
    n_roots : int, default 1
        Roots that are tried for one pair of bins in one loop; more find more triplets
        in few pictures.
    seed : int, default 0
        Seed of the search.

    Returns
    -------
    DataFrame
        One row per triplet, in the order in which they were found: `root`, `i`, `j`
        (indices of pictures; i and j in a fixed order, so mix them before they are
        shown), `bin_high`, `bin_low`, `d_high` (of j above i, always positive but for
        the tolerance), `d_low` (of j above i: negative in conflict triplets) and
        `conflict` (bool). It may be empty.

    Raises
    ------
    TypeError, ValueError
        If matrices are not square, of one size, symmetric and finite, or a number is
        out of range.

    Notes
    -----
    Standard deviations are over all entries, the diagonal included. A root without a
    fitting pair stays unused. The search ends early when fewer than three pictures are
    left.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> high, low = (level_similarity(rng.standard_normal((90, 20))) for _ in "ab")
    >>> found = find_level_triplets(high, low, n_loops=1)
    >>> bool(found[["root", "i", "j"]].stack().is_unique)
    True
    """
    u, v = _square("high", high), _square("low", low)
    if len(u) != len(v):
        raise ValueError(
            f"`high` has {len(u)} pictures, but `low` has {len(v)}: both need the same."
        )
    wanted = [check_whole("bins", b, low=0) for b in bins]
    n_loops = check_whole("n_loops", n_loops, low=1)
    n_roots = check_whole("n_roots", n_roots, low=1)
    if check_between("tolerance", tolerance, low=0) == 0:
        raise ValueError("`tolerance` must be above 0; got 0.")
    rng = generator(seed, "level triplets")
    steps = STEP_SD * u.std(), STEP_SD * v.std()
    free = np.arange(len(u))
    rows: list[tuple[object, ...]] = []
    for _ in range(n_loops):
        for b in wanted:
            for c in wanted:
                if len(free) < 3:
                    return pd.DataFrame(rows, columns=list(COLUMNS))
                conflict = bool(rng.random() < 0.5)
                d_low = -c * steps[1] if conflict else c * steps[1]
                roots = rng.choice(free, size=min(n_roots, len(free)), replace=False)
                for root in roots:
                    others = free[free != root]
                    pair = _find_pair(
                        u[root, others],
                        v[root, others],
                        (b * steps[0], d_low),
                        tolerance,
                        rng,
                    )
                    if pair is None:
                        continue
                    i, j = others[list(pair)]
                    found = u[root, j] - u[root, i], v[root, j] - v[root, i]
                    rows.append((root, i, j, b, c, *found, conflict))
                    free = free[~np.isin(free, [root, i, j])]
                    break
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _find_pair(
    high: FloatArray,
    low: FloatArray,
    wanted: tuple[float, float],
    tolerance: float,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Draw one of the pairs (i, j) whose differences, j above i, are those wanted."""
    order = np.argsort(high, kind="stable")
    u, v = high[order], low[order]
    # In this order the partners of each i are one run.
    first = np.searchsorted(u, u + wanted[0] - tolerance, side="right")
    last = np.searchsorted(u, u + wanted[0] + tolerance, side="left")
    lengths = np.maximum(last - first, 0)
    counts = np.zeros(len(u), np.int64)
    ends = np.cumsum(lengths)
    start = 0
    while start < len(u):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        part = lengths[start:stop]
        if part.any():
            i = np.repeat(np.arange(start, stop), part)
            j = np.arange(len(i)) - np.repeat(ends[start:stop] - part - done, part)
            j += first[i]
            fits = _is_near(v[j] - v[i], wanted[1], tolerance) & (i != j)
            counts[start:stop] = np.bincount(i[fits] - start, minlength=stop - start)
        start = stop
    total = int(counts.sum())
    if not total:
        return None
    number = int(rng.integers(total))
    row = int(np.searchsorted(np.cumsum(counts), number, side="right"))
    partners = np.arange(first[row], last[row])
    fits = _is_near(v[partners] - v[row], wanted[1], tolerance) & (partners != row)
    column = partners[fits][number - int(counts[:row].sum())]
    return int(order[row]), int(order[column])


def _is_near(values: FloatArray, wanted: float, tolerance: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(values - wanted) <= tolerance)


def _square(name: str, values: ArrayLike) -> FloatArray:
    x = check_array(name, np.asarray(values, np.float64), shape=(None, None))
    if x.shape[0] != x.shape[1] or len(x) < 3:
        raise ValueError(
            f"`{name}` must be a square matrix of 3 pictures or more; got {x.shape}."
        )
    if not np.isfinite(x).all():
        raise ValueError(
            f"`{name}` has similarities that are not finite: a picture without any "
            "variation in that layer has none. Leave it out."
        )
    if np.abs(x - x.T).max() > 1e-8:
        raise ValueError(f"`{name}` must be symmetric.")
    return x


# ------------------------------------------------------------------ scoring


@dataclass(frozen=True)
class LevelWeights:
    """How much either level decides.

    Parameters
    ----------
    bias, high, low : float
        Coefficients of ``P(choose j) = logistic(bias + high d_high / sd(high) + low
        d_low / sd(low))``: above 0 where more similarity draws choices. NaN where the
        choices have no maximum of likelihood (the levels tell them apart without
        error, or all are the same).
    ratio : float
        `high` over `low`.
    intervals : dict of str to pair of float
        Central 95 % of bootstrap samples of trials, of each of these four; NaN where
        too many samples are undefined.
    n : int
        Trials.
    """

    bias: float
    high: float
    low: float
    ratio: float
    intervals: dict[str, tuple[float, float]]
    n: int


def fit_level_weights(
    chose_j: ArrayLike,
    d_high: ArrayLike,
    d_low: ArrayLike,
    *,
    sd_high: float,
    sd_low: float,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> LevelWeights:
    """Fit choices by a logistic regression on both differences of similarity.

    Parameters
    ----------
    chose_j : array-like of bool, shape (n_trials,)
        Whether the picture that is more alike in the high layer was chosen.
    d_high, d_low : array-like of float, shape (n_trials,)
        Similarity of j to the root less that of i, in each layer.
    sd_high, sd_low : float
        Standard deviations of the matrices of similarity, above 0.
    n_bootstrap : int, default 1000
        Bootstrap samples of trials.
    seed : int, default 0
        Seed of the samples.

    Returns
    -------
    LevelWeights
        Maximum likelihood.

    Raises
    ------
    TypeError, ValueError
        If lengths differ, there is no trial or a number is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> d_high, d_low = rng.uniform(0, 2, 4000), rng.uniform(-2, 2, 4000)
    >>> chose_j = rng.random(4000) < expit(2 * d_high + d_low - 1)
    >>> sds = {"sd_high": 1.0, "sd_low": 1.0}
    >>> weights = fit_level_weights(chose_j, d_high, d_low, **sds, n_bootstrap=20)
    >>> 1.6 < weights.high < 2.4 and 0.8 < weights.low < 1.2
    True
    """
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=1)
    chosen = check_array("chose_j", np.asarray(chose_j, bool), shape=(None,))
    n = len(chosen)
    if not n:
        raise ValueError("`chose_j` is empty: at least one trial is needed.")
    columns = [np.ones(n)]
    for name, values, sd in (("high", d_high, sd_high), ("low", d_low, sd_low)):
        if check_between(f"sd_{name}", sd, low=0) == 0:
            raise ValueError(f"`sd_{name}` must be above 0; got 0.")
        x = check_array(f"d_{name}", values, shape=(n,), finite=True)
        columns.append(np.asarray(x, np.float64) / sd)
    design = np.stack(columns, axis=1)
    best = _logistic_fits(design, chosen, np.ones((1, n)))[0]
    rng = generator(seed, "level weights")
    draws = np.empty((n_bootstrap, 3))
    size = max(1, _CHUNK // n)
    for start in range(0, n_bootstrap, size):
        count = min(size, n_bootstrap - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)
        draws[start : start + count] = _logistic_fits(design, chosen, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.append(draws[:, 1] / draws[:, 2], best[1] / best[2])
    low, high = percentile_interval(np.vstack([draws.T, ratios[:-1]]))
    names = ("bias", "high", "low", "ratio")
    limits = {
        name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)
    }
    bias, high_weight, low_weight = (float(value) for value in best)
    ratio = float(ratios[-1])
    return LevelWeights(bias, high_weight, low_weight, ratio, limits, n)


def _logistic_fits(
    design: FloatArray, chosen: NDArray[np.bool_], weights: FloatArray
) -> FloatArray:
    """Fit logistic regressions of the same trials under several weights of them."""
    n_fits, n_terms = len(weights), design.shape[1]
    beta = np.zeros((n_fits, n_terms))
    outer = design[:, :, None] * design[:, None, :]
    scale = 1e-12 * np.eye(n_terms)
    moving = np.ones(n_fits, bool)
    for _ in range(_STEPS):
        p = expit(beta[moving] @ design.T)
        own = weights[moving]
        slope = (own * (chosen - p)) @ design
        curve = np.tensordot(own * p * (1 - p), outer, axes=1) + scale * len(design)
        step = np.linalg.solve(curve, slope[:, :, None])[:, :, 0]
        # A long step overshoots where the likelihood is flat.
        length = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1.0, 5.0 / np.maximum(length, 1e-300))
        beta[moving] += step
        moving[moving] = (np.abs(step).max(axis=1) > 1e-9) & (
            np.abs(beta[moving]).max(axis=1) < _LARGEST
        )
        if not moving.any():
            break
    beta[moving | (np.abs(beta).max(axis=1) >= _LARGEST)] = np.nan
    return beta


def agreement_cells(trials: pd.DataFrame) -> pd.DataFrame:
    """Compute how often two observers choose the same picture, by pair of bins.

    Parameters
    ----------
    trials : DataFrame
        One row per trial: `bin_high`, `bin_low`, `conflict`, and `agree` (bool).

    Returns
    -------
    DataFrame
        One row per pair of bins and kind of triplet: `bin_high`, `bin_low`,
        `conflict`, `value` (0..1), `ci_low`, `ci_high` (95 %, Wilson) and `n`.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> trials = {"bin_high": [1, 1], "bin_low": [2, 2], "conflict": [True, True]}
    >>> table = agreement_cells(pd.DataFrame({**trials, "agree": [True, False]}))
    >>> float(table["value"].iloc[0])
    0.5
    """
    keys = ["bin_high", "bin_low", "conflict"]
    check_columns("trials", trials.columns, [*keys, "agree"])
    groups = trials.groupby(keys, sort=True)["agree"]
    table = groups.agg(["sum", "size"]).reset_index()
    low, high = wilson_interval(table["sum"], table["size"])
    share = table["sum"] / table["size"]
    table = table[keys].assign(value=share, ci_low=low, ci_high=high, n=table["size"])
    return table
