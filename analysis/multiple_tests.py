"""Many tests at once: false discovery rate, sign flips, largest statistics.

Undefined is NaN: a test without a p value is not counted among the tests.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_option, check_whole

FloatArray = NDArray[np.float64]

ALTERNATIVES = ("two-sided", "greater", "less")

_METHODS = ("benjamini-hochberg", "benjamini-yekutieli")
_STATISTICS = ("t", "mean")
_VALUES_AT_ONCE = 2**22
# Equal arrangements differ by rounding; they count as equal.
_EQUAL = 1e-9


@dataclass(frozen=True)
class SignFlipResult:
    """Outcome of many tests of means against 0.

    Parameters
    ----------
    statistic : ndarray of float64, shape (n_tests,)
        Statistics of the data.
    p_value : ndarray of float64, shape (n_tests,)
        Of each test alone.
    p_family : ndarray of float64, shape (n_tests,)
        Probability of a statistic as large anywhere, if nothing is there: below
        alpha, the family-wise error is at most alpha.
    n_permutations : int
        Arrangements of signs used, that of the data included.
    exact : bool
        Whether every possible arrangement was used.
    """

    statistic: FloatArray
    p_value: FloatArray
    p_family: FloatArray
    n_permutations: int
    exact: bool


def fdr_adjusted(
    p_values: ArrayLike, *, method: str = "benjamini-hochberg"
) -> FloatArray:
    """Adjust p values so that those below q have a false discovery rate of q.

    Parameters
    ----------
    p_values : array-like of float, shape (...)
        p values, 0..1, all of one family; NaN where a test is undefined.
    method : str, default "benjamini-hochberg"
        - "benjamini-hochberg": for tests that are independent or depend positively on
          each other, such as neighbouring voxels;
        - "benjamini-yekutieli": for any dependence; larger by ``1 + 1/2 + ... + 1/n``.

    Returns
    -------
    ndarray of float64, shape (...)
        Adjusted p values, 0..1; NaN where `p_values` is.

    Raises
    ------
    ValueError
        If a p value is out of range or the method is unknown.

    References
    ----------
    Benjamini and Hochberg (1995). J. R. Stat. Soc. B 57, 289-300.
    doi:10.1111/j.2517-6161.1995.tb02031.x. Benjamini and Yekutieli (2001). Ann. Stat.
    29, 1165-1188. doi:10.1214/aos/1013699998

    Examples
    --------
    >>> fdr_adjusted([0.01, 0.04, 0.03, np.nan]).round(3).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    check_option("method", method, _METHODS)
    p = np.asarray(p_values, np.float64)
    adjusted = np.full(p.shape, np.nan)
    defined = ~np.isnan(p)
    known = p[defined]
    n = len(known)
    if not n:
        return adjusted
    if known.min() < 0 or known.max() > 1:
        raise ValueError(
            f"`p_values` must be within 0..1; got {known.min():g} to {known.max():g}."
        )
    order = known.argsort()
    rank = np.arange(1, n + 1)
    factor = 1.0 if method == _METHODS[0] else float(np.sum(1 / rank))
    ratio = known[order] * (n * factor / rank)
    smallest_above = np.minimum.accumulate(ratio[::-1])[::-1]
    placed = np.empty(n)
    placed[order] = np.minimum(smallest_above, 1)
    adjusted[defined] = placed
    return adjusted


def holm_adjusted(p_values: ArrayLike) -> FloatArray:
    """Adjust p values so that one false finding among all is as unlikely as alpha.

    Parameters
    ----------
    p_values : array-like of float, shape (n,)
        p values, NaN where a test is undefined (and not counted).

    Returns
    -------
    ndarray of float64, shape (n,)
        Adjusted p values, 0..1.

    References
    ----------
    Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian
    Journal of Statistics 6, 65-70. https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> holm_adjusted([0.01, 0.04, float("nan"), 0.03]).round(3).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    factor = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factor), 1)
    return adjusted


def permutation_p(
    observed: ArrayLike, null: ArrayLike, *, alternative: str = "two-sided"
) -> FloatArray:
    """Compute p values from statistics of rearranged data.

    Parameters
    ----------
    observed : array-like of float, shape (n_tests,)
        Statistics of the data.
    null : array-like of float, shape (n_permutations, n_tests)
        Statistics of rearranged data; the arrangement of the data must be among them.
    alternative : {"two-sided", "greater", "less"}, default "two-sided"
        Which statistics are as extreme: as far from 0, as large, or as small.

    Returns
    -------
    ndarray of float64, shape (n_tests,)
        Share of arrangements that are as extreme, never 0; NaN where the statistic is
        undefined.

    Raises
    ------
    ValueError
        If shapes do not fit or the alternative is unknown.

    References
    ----------
    Phipson and Smyth (2010). Stat. Appl. Genet. Mol. Biol. 9, 39.
    doi:10.2202/1544-6115.1585

    Examples
    --------
    >>> permutation_p([2.0], [[2.0], [-3.0], [0.0], [1.0]]).tolist()
    [0.5]
    """
    data, rearranged = _check_null(observed, null, alternative)
    as_far = _as_extreme(rearranged, data).mean(axis=0)
    return np.where(np.isnan(data), np.nan, as_far)


def max_statistic_p(
    observed: ArrayLike, null: ArrayLike, *, alternative: str = "two-sided"
) -> FloatArray:
    """Compute p values that hold for all tests at once.

    Each statistic is compared with the largest one of all tests in every arrangement:
    tests that go together are not corrected as if they were independent. The
    statistics need one scale, such as t or correlations.

    Parameters
    ----------
    observed : array-like of float, shape (n_tests,)
        Statistics of the data.
    null : array-like of float, shape (n_permutations, n_tests)
        Statistics of rearranged data, all tests in the same way; the arrangement of
        the data must be among them.
    alternative : {"two-sided", "greater", "less"}, default "two-sided"
        As in `permutation_p`.

    Returns
    -------
    ndarray of float64, shape (n_tests,)
        Family-wise p values, never 0; NaN where the statistic is undefined. Undefined
        statistics are never the largest.

    Raises
    ------
    ValueError
        If shapes do not fit or the alternative is unknown.

    References
    ----------
    Nichols and Holmes (2002). Hum. Brain Mapp. 15, 1-25. doi:10.1002/hbm.1058

    Examples
    --------
    >>> null = [[2.0, 1.0], [-3.0, 0.5], [0.0, 1.5], [1.0, -1.0]]
    >>> max_statistic_p([2.0, 1.0], null).tolist()
    [0.5, 1.0]
    """
    data, rearranged = _check_null(observed, null, alternative)
    rearranged = np.where(np.isnan(rearranged), -np.inf, rearranged)
    largest = rearranged.max(axis=1, initial=-np.inf, keepdims=True)
    as_far = _as_extreme(largest, data).mean(axis=0)
    return np.where(np.isnan(data), np.nan, as_far)


def sign_flip_test(
    values: ArrayLike,
    *,
    statistic: str = "t",
    alternative: str = "two-sided",
    n_permutations: int = 10_000,
    rng: np.random.Generator,
) -> SignFlipResult:
    """Test means of paired differences against 0 by flipping signs of whole rows.

    If nothing is there, the difference of a subject is as likely to be negative as
    positive, and all tests of the subject flip together. All arrangements are used
    when there are at most `n_permutations`, otherwise random ones.

    Parameters
    ----------
    values : array-like of float, shape (n_subjects, n_tests) or (n_subjects,)
        One independent row per subject (or image), such as the difference of two
        models in every voxel.
    statistic : {"t", "mean"}, default "t"
        What is compared between tests for `p_family`. Each test alone gives the same
        p value with both.
    alternative : {"two-sided", "greater", "less"}, default "two-sided"
        Mean other than, above or below 0.
    n_permutations : int, default 10000
        Largest number of arrangements.
    rng : numpy.random.Generator
        Source of random arrangements.

    Returns
    -------
    SignFlipResult
        NaN for tests that have a value that is not finite, or zeros alone.

    Raises
    ------
    ValueError
        If there are fewer than two rows or an option is unknown.

    Notes
    -----
    n rows give no p value below ``2**-n`` (one-sided) or ``2**(1-n)``: with eight
    subjects 0.008. The differences must be symmetric about 0 where nothing is there.

    References
    ----------
    Nichols and Holmes (2002). Hum. Brain Mapp. 15, 1-25. doi:10.1002/hbm.1058

    Examples
    --------
    >>> differences = np.array([[0.2, 0.1], [0.4, -0.1], [0.3, 0.1], [0.1, 0.0]])
    >>> result = sign_flip_test(differences, rng=np.random.default_rng(0))
    >>> result.p_value.tolist(), result.exact
    ([0.125, 1.0], True)
    """
    check_option("statistic", statistic, _STATISTICS)
    check_option("alternative", alternative, ALTERNATIVES)
    n_permutations = check_whole("n_permutations", n_permutations, low=1)
    x = np.asarray(values, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    check_array("values", x, shape=(None, None))
    n, n_tests = x.shape
    if n < 2:
        raise ValueError(
            f"`values` has {n} rows: a test needs at least two subjects, shape "
            "(n_subjects, n_tests)."
        )
    bad = ~np.isfinite(x).all(axis=0) | ~x.any(axis=0)
    x = np.where(bad, 0, x)
    mean_square = np.einsum("ij,ij->j", x, x) / n

    def statistics(signs: FloatArray) -> tuple[FloatArray, FloatArray]:
        means = signs @ x / n
        if statistic == "mean":
            return means, means
        spread = mean_square - means**2
        # All values equal: infinitely far from 0.
        spread = np.where(spread > _EQUAL * mean_square, spread, 0) / (n - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return means, means / np.sqrt(spread)

    exact = n < 63 and 2**n <= n_permutations
    count = 2**n if exact else n_permutations
    mean, compared = (row[0] for row in statistics(np.ones((1, n))))
    observed, observed_mean = _turned(compared, alternative), _turned(mean, alternative)
    alone, family = np.zeros(n_tests), np.zeros(n_tests)
    step = max(1, _VALUES_AT_ONCE // max(n, n_tests))
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        if exact:
            flipped = (rows[:, None] >> np.arange(n)) & 1
        else:
            flipped = rng.integers(0, 2, (len(rows), n))
            flipped[rows == 0] = 0  # the arrangement of the data
        means, others = statistics(np.where(flipped, -1.0, 1.0))
        others = np.where(bad, -np.inf, _turned(others, alternative))
        largest = others.max(axis=1, initial=-np.inf, keepdims=True)
        alone += _as_extreme(_turned(means, alternative), observed_mean).sum(axis=0)
        family += _as_extreme(largest, observed).sum(axis=0)
    shown = [
        np.where(bad, np.nan, x) for x in (compared, alone / count, family / count)
    ]
    return SignFlipResult(shown[0], shown[1], shown[2], count, exact)


def _turned(statistic: FloatArray, alternative: str) -> FloatArray:
    """Turn statistics so that larger ones speak for the alternative."""
    if alternative == "two-sided":
        return np.abs(statistic)
    return statistic if alternative == "greater" else -statistic


def _as_extreme(rearranged: FloatArray, observed: FloatArray) -> NDArray[np.bool_]:
    slack = _EQUAL * np.where(np.isfinite(observed), np.abs(observed), 0)
    return rearranged >= observed - slack


def _check_null(
    observed: ArrayLike, null: ArrayLike, alternative: str
) -> tuple[FloatArray, FloatArray]:
    check_option("alternative", alternative, ALTERNATIVES)
    data = check_array("observed", np.asarray(observed, np.float64), shape=(None,))
    rearranged = np.asarray(null, np.float64)
    check_array("null", rearranged, shape=(None, len(data)))
    if not len(rearranged):
        raise ValueError(
            "`null` is empty: it needs at least the arrangement of the data."
        )
    return _turned(data, alternative), _turned(rearranged, alternative)
