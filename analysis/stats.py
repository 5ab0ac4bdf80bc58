"""Intervals and tests: bootstrap, permutation, jackknife.

Undefined is NaN everywhere. Every draw comes from a generator that the caller seeds,
so results do not depend on the order of calls.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from neurovis.core.checks import check_array, check_between

FloatArray = NDArray[np.float64]

ROUNDING = 1e-12
"""Deviations below this part of the values are rounding error, not variance."""


@dataclass(frozen=True)
class PermutationResult:
    """Outcome of a permutation test.

    Parameters
    ----------
    statistic : float
        Statistic of the data as they are.
    p_value : float
        Two-sided: share of arrangements whose statistic is at least as far from 0.
    n_permutations : int
        Arrangements used, the one of the data included.
    exact : bool
        Whether every possible arrangement was used.
    """

    statistic: float
    p_value: float
    n_permutations: int
    exact: bool


def percentile_interval(
    draws: ArrayLike, *, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Compute central percentile intervals over the last axis.

    Undefined draws are left out. When more than ``1 - level`` of the draws are
    undefined, they could move a limit anywhere, and the interval is undefined too.

    Parameters
    ----------
    draws : array-like of float, shape (..., n_draws)
        Bootstrap statistics; NaN where undefined.
    level : float, default 0.95
        Coverage aimed at, 0..1.

    Returns
    -------
    low, high : ndarray of float64, shape (...)
        Limits in the unit of `draws`; NaN where undefined.

    Raises
    ------
    ValueError
        If `level` is not within 0..1.

    Examples
    --------
    >>> low, high = percentile_interval(np.arange(101.0), level=0.5)
    >>> float(low), float(high)
    (25.0, 75.0)
    """
    check_between("level", level, low=0, high=1)
    values = np.array(draws, np.float64)
    share_undefined = np.ones(values.shape[:-1])
    if values.shape[-1]:
        share_undefined = np.isnan(values).mean(axis=-1)
    usable = share_undefined <= 1 - level + 1e-12
    values = values.reshape(share_undefined.size, values.shape[-1])
    limits = np.full((2, len(values)), np.nan)
    rows = usable.reshape(-1)
    if rows.any():
        tail = (1 - level) / 2
        limits[:, rows] = np.nanquantile(values[rows], [tail, 1 - tail], axis=-1)
    low, high = limits.reshape(2, *usable.shape)
    return low, high


def bootstrap(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    *,
    n_bootstrap: int = 1000,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw bootstrap statistics: resample the first axis with replacement.

    Parameters
    ----------
    values : array-like of float, shape (n, ...)
        One entry (or row) per independent unit.
    statistic : callable, default numpy.mean
        Called once as ``statistic(resamples, axis=1)`` with an array of shape
        (n_bootstrap, n, ...).
    n_bootstrap : int, default 1000
        Number of resamples.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of float64, shape (n_bootstrap, ...)
        One statistic per resample; NaN when n < 2, where resampling tells nothing.

    Raises
    ------
    ValueError
        If `values` is empty or not finite, or `n_bootstrap` is below 1.

    Examples
    --------
    >>> draws = bootstrap([3.0, 3.0], n_bootstrap=4, rng=np.random.default_rng(0))
    >>> draws.tolist()
    [3.0, 3.0, 3.0, 3.0]
    """
    check_between("n_bootstrap", n_bootstrap, low=1)
    units = check_array("values", np.asarray(values, np.float64), finite=True)
    n = len(units)
    if n == 0:
        raise ValueError("`values` is empty: at least one unit is needed.")
    index = rng.integers(0, n, size=(n_bootstrap, n))
    draws = np.asarray(statistic(units[index], axis=1), np.float64)
    return draws if n > 1 else np.full_like(draws, np.nan)


def bootstrap_ci(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    *,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Compute a percentile bootstrap interval of one number.

    Parameters
    ----------
    values : array-like of float, shape (n, ...)
        One entry (or row) per independent unit.
    statistic : callable, default numpy.mean
        As in `bootstrap`; gives one number per resample.
    n_bootstrap : int, default 1000
        Number of resamples.
    level : float, default 0.95
        Coverage aimed at, 0..1.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    low, high : float
        Limits in the unit of the statistic; NaN when there are fewer than two units.

    Raises
    ------
    ValueError
        If `values` is empty or not finite, or `level` is not within 0..1.

    Notes
    -----
    With few units the interval is too narrow: its variance is that of the sample with
    divisor n. Thirty units give about 94 % for a nominal 95 %.

    References
    ----------
    Efron and Tibshirani (1993). An introduction to the bootstrap. Chapman & Hall.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> low, high = bootstrap_ci(np.arange(100.0), rng=rng)
    >>> low < 49.5 < high
    True
    """
    draws = bootstrap(values, statistic, n_bootstrap=n_bootstrap, rng=rng)
    low, high = percentile_interval(draws, level=level)
    return float(low), float(high)


def wilson_interval(
    n_successes: ArrayLike, n_trials: ArrayLike, *, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Compute Wilson score intervals of proportions.

    Unlike a bootstrap it does not collapse when all trials agree.

    Parameters
    ----------
    n_successes, n_trials : array-like of int, shape (...)
        Counts, ``0 <= n_successes <= n_trials``.
    level : float, default 0.95
        Coverage aimed at, 0..1.

    Returns
    -------
    low, high : ndarray of float64, shape (...)
        Limits, 0..1; NaN where there are no trials.

    Raises
    ------
    ValueError
        If a count is negative or larger than its number of trials.

    References
    ----------
    Wilson (1927). J. Am. Stat. Assoc. 22, 209-212. doi:10.1080/01621459.1927.10502953

    Examples
    --------
    >>> low, high = wilson_interval(10, 10)
    >>> round(float(low), 3), round(float(high), 3)
    (0.722, 1.0)
    """
    check_between("level", level, low=0, high=1)
    k = np.asarray(n_successes, np.float64)
    n = np.asarray(n_trials, np.float64)
    if np.any(k < 0) or np.any(k > n):
        raise ValueError(
            "`n_successes` must be within 0 and `n_trials`; got counts outside."
        )
    z = stats.norm.ppf((1 + level) / 2)
    n = np.where(n > 0, n, np.nan)
    centre = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def pearson_r(x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Compute Pearson correlations over the last axis.

    Parameters
    ----------
    x, y : array-like of float, shape (..., n)
        Paired values; leading axes broadcast.

    Returns
    -------
    ndarray of float64, shape (...)
        Correlations, -1..1; NaN where x or y is constant or n < 2.

    Raises
    ------
    ValueError
        If the last axes differ in length.

    Examples
    --------
    >>> pearson_r([1, 2, 3], [[2, 4, 6], [3, 2, 1]]).tolist()
    [1.0, -1.0]
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"`x` has {a.shape[-1]} values but `y` has {b.shape[-1]}: they must be "
            "pairs."
        )
    if a.shape[-1] < 2:
        return np.full(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), np.nan)
    deviations_a, squares_a = _deviations(a)
    deviations_b, squares_b = _deviations(b)
    products = np.sum(deviations_a * deviations_b, axis=-1)
    return np.clip(products / np.sqrt(squares_a * squares_b), -1.0, 1.0)


def spearman_r(x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Compute Spearman rank correlations over the last axis; ties get mean ranks.

    Parameters
    ----------
    x, y : array-like of float, shape (..., n)
        Paired values; leading axes broadcast.

    Returns
    -------
    ndarray of float64, shape (...)
        Correlations, -1..1; NaN where x or y is constant or n < 2.

    Raises
    ------
    ValueError
        If the last axes differ in length.

    Examples
    --------
    >>> float(spearman_r([1, 2, 3], [1, 10, 100]))
    1.0
    """
    return pearson_r(stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1))


def pearson_p(r: float, n: int) -> float:
    """Compute the two-sided p value of a correlation of n independent normal pairs.

    Parameters
    ----------
    r : float
        Pearson correlation, -1..1.
    n : int
        Number of pairs.

    Returns
    -------
    float
        p value from the t distribution with n - 2 degrees of freedom; NaN when r is
        undefined or n < 3.

    Examples
    --------
    >>> round(pearson_p(0.5, 12), 4)
    0.0979
    """
    if n < 3 or not np.isfinite(r):
        return math.nan
    if abs(r) == 1:
        return 0.0
    t = r * math.sqrt((n - 2) / (1 - r * r))
    return float(2 * stats.t.sf(abs(t), n - 2))


def jackknife_pearson_ci(
    x: ArrayLike, y: ArrayLike, clusters: ArrayLike, *, level: float = 0.95
) -> tuple[float, float]:
    """Compute an interval of a correlation whose pairs come in clusters.

    Each cluster is left out in turn, the standard error is that of Fisher's z of the
    remaining pairs, and the quantile is of t with one degree of freedom less than
    there are clusters.

    Parameters
    ----------
    x, y : array-like of float, shape (n,)
        Paired values.
    clusters : array-like, shape (n,)
        Which pairs belong together, such as the conditions of one experiment.
    level : float, default 0.95
        Coverage aimed at, 0..1.

    Returns
    -------
    low, high : float
        Limits, -1..1; NaN with fewer than three clusters, or when the correlation is
        +1, -1 or undefined with any one of them left out.

    Raises
    ------
    ValueError
        If the lengths differ.

    Notes
    -----
    With 6 clusters of 2 or 7 pairs and correlations from 0 to 0.8 (normal and
    log-normal values, correlated and not within clusters) 91 to 97 % of nominal 95 %
    intervals cover in simulation. Fisher's z with n - 3 falls to 71 % (12 pairs) and
    53 % (42 pairs), and the percentile bootstrap over clusters to 82 %.

    References
    ----------
    MacKinnon, Nielsen and Webb (2023). J. Econometrics 232, 272-299.
    doi:10.1016/j.jeconom.2022.04.001

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=12)
    >>> y = x + rng.normal(size=12)
    >>> low, high = jackknife_pearson_ci(x, y, np.repeat(np.arange(6), 2))
    >>> low < pearson_r(x, y) < high
    np.True_
    """
    check_between("level", level, low=0, high=1)
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    labels = check_array("clusters", np.asarray(clusters), shape=a.shape)
    kinds = np.unique(labels)
    count = len(kinds)
    if count < 3:
        return math.nan, math.nan
    left_out = [float(pearson_r(a[labels != k], b[labels != k])) for k in kinds]
    r = np.array([float(pearson_r(a, b)), *left_out])
    if not (np.abs(r) < 1).all():
        return math.nan, math.nan
    z, z_left_out = np.arctanh(r[0]), np.arctanh(r[1:])
    spread = np.sum((z_left_out - z_left_out.mean()) ** 2)
    error = math.sqrt((count - 1) / count * spread)
    half = stats.t.ppf((1 + level) / 2, count - 1) * error
    return math.tanh(z - half), math.tanh(z + half)


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    statistic: Callable[[FloatArray, FloatArray], FloatArray] = pearson_r,
    *,
    units: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_permutations: int = 10_000,
    rng: np.random.Generator,
) -> PermutationResult:
    """Test whether y goes with x, by exchanging the units of y.

    All arrangements are used when there are at most `n_permutations`, otherwise
    random ones.

    Parameters
    ----------
    x, y : array-like of float, shape (n,)
        Paired values.
    statistic : callable, default pearson_r
        ``statistic(x, ys)`` with ys of shape (n_arrangements, n); 0 means no relation.
    units : array-like, shape (n,), optional
        Values of one unit move together and in order; the units of a group must be
        of one length. By default each value is a unit.
    groups : array-like, shape (n,), optional
        Units are exchanged only within a group. By default all are one group.
    n_permutations : int, default 10000
        Largest number of arrangements.
    rng : numpy.random.Generator
        Source of random arrangements.

    Returns
    -------
    PermutationResult
        Two-sided p value, never 0; NaN when the statistic is undefined.

    Raises
    ------
    ValueError
        If lengths differ, or units that would be exchanged differ in length.

    References
    ----------
    Phipson and Smyth (2010). Stat. Appl. Genet. Mol. Biol. 9, 39.
    doi:10.2202/1544-6115.1585

    Examples
    --------
    >>> x = np.arange(4.0)
    >>> permutation_test(x, x, rng=np.random.default_rng(0)).p_value == 2 / 24
    True
    """
    check_between("n_permutations", n_permutations, low=1)
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    check_array("y", b, shape=a.shape)
    unit = np.arange(len(a)) if units is None else np.asarray(units)
    group = np.zeros(len(a), int) if groups is None else np.asarray(groups)
    check_array("units", unit, shape=a.shape)
    check_array("groups", group, shape=a.shape)
    observed = float(statistic(a, b[None])[0])
    if not np.isfinite(observed):
        return PermutationResult(math.nan, math.nan, 0, exact=False)
    places = _units_by_group(unit, group)
    count = math.prod(math.factorial(len(p)) for p in places)
    exact = count <= n_permutations
    if exact:
        order = _all_arrangements(places, len(a), count)
    else:
        order = _random_arrangements(places, len(a), n_permutations - 1, rng)
    values = np.abs(statistic(a, b[order]))
    # Equal arrangements differ by rounding; they count as equal.
    as_far = int(np.sum(values >= abs(observed) * (1 - 1e-9)))
    if not exact:
        as_far, count = as_far + 1, n_permutations
    return PermutationResult(observed, as_far / count, count, exact)


def _deviations(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return deviations from the mean and their sum of squares; NaN if constant."""
    deviations = values - values.mean(axis=-1, keepdims=True)
    squares = np.sum(deviations**2, axis=-1)
    scale = np.sum(values**2, axis=-1)
    return deviations, np.where(squares > ROUNDING**2 * scale, squares, np.nan)


def _units_by_group(unit: NDArray[Any], group: NDArray[Any]) -> list[NDArray[np.intp]]:
    """Return the places of each unit: one array (n_units, length) a group."""
    places = []
    for kind in np.unique(group):
        inside = np.flatnonzero(group == kind)
        rows = [inside[unit[inside] == u] for u in np.unique(unit[inside])]
        lengths = sorted({len(r) for r in rows})
        if len(lengths) > 1:
            raise ValueError(
                f"`units` of the group {kind!r} have the lengths {lengths}: only units "
                "of one length can be exchanged."
            )
        places.append(np.stack(rows))
    return places


def _all_arrangements(
    places: list[NDArray[np.intp]], n: int, count: int
) -> NDArray[np.intp]:
    """Return every way to exchange units within groups, shape (count, n)."""
    order = np.tile(np.arange(n), (count, 1))
    choices = [list(itertools.permutations(range(len(p)))) for p in places]
    for i, choice in enumerate(itertools.product(*choices)):
        for rows, permuted in zip(places, choice, strict=True):
            order[i, rows] = rows[list(permuted)]
    return order


def _random_arrangements(
    places: list[NDArray[np.intp]], n: int, count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Draw ways to exchange units within groups, shape (count, n)."""
    order = np.tile(np.arange(n), (count, 1))
    for rows in places:
        shuffled = rng.permuted(np.tile(np.arange(len(rows)), (count, 1)), axis=1)
        order[:, rows] = rows[shuffled]
    return order
