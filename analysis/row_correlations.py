"""Correlations of every row of one array with every row of another.

`analysis.stats` correlates pairs of rows; here all of m rows meet all of k rows, as
when many models are compared with many subjects. Each row is prepared once. Undefined
is NaN, and so is all that involves a row with NaN.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics import unit_blocks
from analysis.stats import ROUNDING
from neurovis.core.checks import check_option

FloatArray = NDArray[np.float64]
Codes = NDArray[np.integer]

# Kendall's tau is fastest where its arrays stay in the cache.
_COPIES = 16
# Blocks of the merge sort that are compared value by value.
_SMALL_BLOCK = 32


def correlate_rows(x: ArrayLike, y: ArrayLike, measure: str = "pearson") -> FloatArray:
    """Correlate every row of x with every row of y.

    Parameters
    ----------
    x : array-like of float, shape (m, n)
        Rows of paired values; one row may come as shape (n,).
    y : array-like of float, shape (k, n)
        Rows in the same order of values.
    measure : str, default "pearson"
        - "pearson", "spearman" (ties get mean ranks);
        - "kendall_tau_a": concordant minus discordant pairs of values, divided by all
          pairs; what is tied counts as neither;
        - "rho_a": the mean of Spearman's correlation when ties are broken at random,
          ``12 sum((ranks_x - mean) (ranks_y - mean)) / (n**3 - n)``;
        - "cosine": of the angle between the rows as they are.

    Returns
    -------
    ndarray of float64, shape (m, k)
        -1..1; NaN where a row has NaN, with n < 2, for "pearson" and "spearman" of a
        constant row, and for "cosine" of a row of zeros. For "kendall_tau_a" and
        "rho_a" a constant row gives 0: guessing its order is right as often as wrong.

    Raises
    ------
    ValueError
        If the rows differ in length or the measure is unknown.

    Notes
    -----
    "pearson" and "spearman" of a row with ties reach 1 where a finer row cannot, so
    that a model with few distinct values is favoured; "kendall_tau_a" and "rho_a" are
    fair to both. Kendall's tau takes ``n log(n)`` steps for each pair of rows and is
    counted in whole numbers; all others are matrix products.

    References
    ----------
    Nili et al. (2014). PLoS Comput. Biol. 10, e1003553.
    doi:10.1371/journal.pcbi.1003553. Schütt et al. (2023). eLife 12, e82566.
    doi:10.7554/eLife.82566. Knight (1966). J. Am. Stat. Assoc. 61, 436-439.
    doi:10.1080/01621459.1966.10480879

    Examples
    --------
    >>> correlate_rows([1, 2, 3], [[1, 5, 9], [3, 2, 1]]).tolist()
    [[1.0, -1.0]]
    >>> correlate_rows([1, 2, 3], [1, 1, 2], "kendall_tau_a").round(3).tolist()
    [[0.667]]
    >>> correlate_rows([1, 2, 3], [1, 1, 2], "rho_a").tolist()
    [[0.75]]
    """
    check_option("measure", measure, tuple(_MEASURES))
    a, b = np.atleast_2d(x), np.atleast_2d(y)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            "`x` and `y` need rows of one length, shapes (m, n) and (k, n); got "
            f"{a.shape} and {b.shape}."
        )
    if a.shape[1] < 2:
        return np.full((len(a), len(b)), np.nan)
    return _MEASURES[measure](a, b)


def rank_codes(rows: ArrayLike) -> Codes:
    """Replace values by whole numbers of the same order.

    Parameters
    ----------
    rows : array-like of float, shape (n_rows, n)
        Values; small whole numbers from 0 (such as codes of which some were taken
        out) are returned as they are.

    Returns
    -------
    ndarray of int, shape (n_rows, n)
        From 0 for the smallest of the row; equal values share one. -1 everywhere in a
        row with NaN.

    Examples
    --------
    >>> rank_codes([[0.5, -1.0, 0.5], [0.0, np.nan, 1.0]]).tolist()
    [[1, 0, 1], [-1, -1, -1]]
    """
    values = np.asarray(rows)
    n = values.shape[1]
    whole = values.dtype.kind in "iu" and values.size
    if whole and values.min() >= 0 and values.max() < 4 * n:
        return values
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    codes = np.empty(values.shape, np.int32)
    steps = np.zeros(values.shape, np.int32)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=steps[:, 1:])
    np.put_along_axis(codes, order, steps, axis=1)
    if n:
        codes[np.isnan(ordered[:, -1])] = -1  # NaN is sorted to the end
    return codes


def midranks(rows: ArrayLike) -> FloatArray:
    """Rank the values of each row; ties get the mean of their ranks.

    Parameters
    ----------
    rows : array-like of float, shape (n_rows, n)
        Values, or codes of `rank_codes`.

    Returns
    -------
    ndarray of float64, shape (n_rows, n)
        Ranks, 1..n; NaN in a row with NaN.

    Examples
    --------
    >>> midranks([[0.5, -1.0, 0.5, 3.0]]).tolist()
    [[2.5, 1.0, 2.5, 4.0]]
    """
    codes = rank_codes(rows)
    if not codes.size:
        return codes.astype(np.float64)
    inside = np.maximum(codes, 0)
    counts = _count_codes(inside)
    middle = counts.cumsum(axis=1) - (counts - 1) / 2
    ranks = np.take_along_axis(middle, inside, axis=1)
    ranks[codes[:, 0] < 0] = np.nan
    return ranks


def unit_rows(rows: ArrayLike, *, centred: bool) -> FloatArray:
    """Scale rows to length 1.

    Parameters
    ----------
    rows : array-like of float, shape (n_rows, n)
        Values.
    centred : bool
        Subtract the mean of the row first.

    Returns
    -------
    ndarray of float64, shape (n_rows, n)
        Rows whose products are cosines or, when centred, Pearson correlations. NaN
        for a row of zeros or, when centred, one that is constant up to rounding.

    Examples
    --------
    >>> unit_rows([[3.0, 4.0], [0.0, 0.0]], centred=False).tolist()
    [[0.6, 0.8], [nan, nan]]
    """
    values, squares = _with_squares(rows, centred=centred)
    return values / np.sqrt(squares)[:, None]


def _with_squares(rows: ArrayLike, *, centred: bool) -> tuple[FloatArray, FloatArray]:
    """Return rows, centred or not, and their sums of squares; NaN where undefined."""
    values = np.asarray(rows, np.float64)
    squares = scale = np.einsum("ij,ij->i", values, values)
    if centred:
        values = values - values.mean(axis=1, keepdims=True)
        squares = np.einsum("ij,ij->i", values, values)
    return values, np.where(squares > ROUNDING**2 * scale, squares, np.nan)


def _cosines(a: ArrayLike, b: ArrayLike, *, centred: bool) -> FloatArray:
    x, squares_x = _with_squares(a, centred=centred)
    y, squares_y = _with_squares(b, centred=centred)
    return np.clip(x @ y.T / np.sqrt(np.outer(squares_x, squares_y)), -1.0, 1.0)


def _centred_ranks(rows: ArrayLike) -> FloatArray:
    """Return twice the ranks minus their mean: whole numbers, whose sums are exact."""
    return 2 * midranks(rows) - (np.shape(rows)[1] + 1)


def _pearson(a: NDArray[np.generic], b: NDArray[np.generic]) -> FloatArray:
    return _cosines(a, b, centred=True)


def _cosine(a: NDArray[np.generic], b: NDArray[np.generic]) -> FloatArray:
    return _cosines(a, b, centred=False)


def _spearman(a: NDArray[np.generic], b: NDArray[np.generic]) -> FloatArray:
    return _cosines(_centred_ranks(a), _centred_ranks(b), centred=False)


def _rho_a(a: NDArray[np.generic], b: NDArray[np.generic]) -> FloatArray:
    n = a.shape[1]
    return _centred_ranks(a) @ _centred_ranks(b).T * (3 / (n * (n * n - 1)))


def _kendall_tau_a(a: NDArray[np.generic], b: NDArray[np.generic]) -> FloatArray:
    x, y = rank_codes(a), rank_codes(b)
    n = x.shape[1]
    undefined = np.logical_or.outer(x[:, 0] < 0, y[:, 0] < 0)
    x, y = np.maximum(x, 0).astype(np.int64), np.maximum(y, 0).astype(np.int64)
    bits = int(y.max()).bit_length()
    n_pairs = n * (n - 1) // 2
    tied_x, tied_y = _tied_pairs(_count_codes(x)), _tied_pairs(_count_codes(y))
    tau = np.empty((len(x), len(y)))
    for i, row in enumerate(x << bits):
        for block in unit_blocks(_COPIES * n, len(y)):
            # Sorted by x, and by y within ties of x: no tie of x looks discordant.
            both = np.sort(row | y[block], axis=1)
            tied: NDArray[np.intp] | int = 0
            if tied_x[i] and tied_y[block].any():
                tied = _tied_pairs_of_sorted(both)
            discordant = _inversions((both & (2**bits - 1)).astype(np.int32))
            concordant = n_pairs - tied_x[i] - tied_y[block] + tied - discordant
            tau[i, block] = (concordant - discordant) / n_pairs
    tau[undefined] = np.nan
    return tau


_MEASURES: dict[
    str, Callable[[NDArray[np.generic], NDArray[np.generic]], FloatArray]
] = {
    "pearson": _pearson,
    "spearman": _spearman,
    "kendall_tau_a": _kendall_tau_a,
    "rho_a": _rho_a,
    "cosine": _cosine,
}


def _count_codes(codes: Codes) -> NDArray[np.intp]:
    """Count how often each code occurs in a row, shape (n_rows, n_codes)."""
    n_rows, n_codes = len(codes), int(codes.max(initial=0)) + 1
    shifted = codes + np.arange(n_rows)[:, None] * n_codes
    counts = np.bincount(shifted.reshape(-1), minlength=n_rows * n_codes)
    return counts.reshape(n_rows, n_codes)


def _tied_pairs(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    return (counts * (counts - 1) // 2).sum(axis=1)


def _tied_pairs_of_sorted(rows: Codes) -> NDArray[np.intp]:
    """Count pairs of equal values in sorted rows."""
    place = np.arange(rows.shape[1])
    first = np.zeros(rows.shape, np.intp)
    first[:, 1:] = np.where(rows[:, 1:] != rows[:, :-1], place[1:], 0)
    # The n-th of a run of equal values makes n - 1 pairs with those before it.
    return (place - np.maximum.accumulate(first, axis=1)).sum(axis=1)


def _inversions(rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """Count the pairs of a row in which the larger value stands first.

    Neighbouring sorted blocks are merged level by level. When the values of the later
    block take the places p of the merged one, the values of the earlier block that
    are larger follow from the sum of p. `rows` must be 0..2**30 and is not kept.
    """
    n_rows, n = rows.shape
    n_levels = max(0, int(np.ceil(np.log2(n / _SMALL_BLOCK))))
    length = -(-n // 2**n_levels)
    blocks = np.full((n_rows, length * 2**n_levels), np.iinfo(np.int32).max >> 1)
    blocks = blocks.astype(np.int32)
    blocks[:, :n] = rows  # what stands behind is larger: no inversions
    blocks = blocks.reshape(n_rows, -1, length)
    count = np.zeros(n_rows, np.int64)
    for lag in range(1, length):
        count += (blocks[:, :, :-lag] > blocks[:, :, lag:]).sum(axis=(1, 2))
    if n_levels:
        blocks.sort(axis=2)
    while blocks.shape[1] > 1:
        marked = blocks.reshape(n_rows, -1, 2, length) << 1
        marked[:, :, 1] |= 1  # of two equal values the earlier one stays in front
        length *= 2
        marked = np.sort(marked.reshape(n_rows, -1, length), axis=2)
        later = (marked & 1).astype(np.float64)
        half = length // 2
        places = (later @ np.arange(float(length))).sum(axis=1)
        without = marked.shape[1] * (half * half + half * (half - 1) / 2)
        count += (without - places).astype(np.int64)
        blocks = marked >> 1
    return count
