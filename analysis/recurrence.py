"""Recurrence of scanpaths: places visited again, and in what order.

Two fixations recur when they lie within a radius. `cross_recurrence` compares two
scanpaths, `self_recurrence` a scanpath with itself.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.scanpath_pairs import PairBlock, measure_pairs, per_pair
from analysis.scanpath_sets import Pairs, pack_scanpaths
from neurovis.core.checks import check_between

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MEASURES = ("REC", "DET", "LAM", "CORM")
"""The last axis of the results: recurrence, determinism, laminarity, centre of mass."""


def cross_recurrence(
    pred: Any,
    human: Any,
    *,
    radius_px: ArrayLike,
    min_line: int = 2,
    pairs: Pairs = None,
) -> FloatArray:
    """Quantify where two scanpaths recur: REC, DET, LAM and CORM in per cent.

    Both are cut to the N fixations of the shorter one. Fixation i of human and j of
    pred recur (c_ij = 1) when they are at most `radius_px` apart; C is their number.

    - REC, ``100 C / N²``: how often both look at one place.
    - DET: share of recurrences on diagonals, where both follow one sequence.
    - LAM: share on horizontal and on vertical lines, where one dwells at or returns
      at once to a place of the other; the mean of both.
    - CORM, ``100 sum (j - i) c_ij / ((N - 1) C)``: above 0 when pred is at the common
      places later than human, below 0 when it is there earlier, within -100..100.

    Parameters
    ----------
    pred, human : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    radius_px : float, or array-like that broadcasts to the pairs
        Largest distance of a recurrence, > 0 px.
    min_line : int, default 2
        Shortest line, >= 2 points.
    pairs : int array-like, shape (n_pairs, 2), optional
        Rows (index of pred, index of human); by default every pred with every human.

    Returns
    -------
    ndarray of float64, shape (n_pred, n_human, 4) or (n_pairs, 4)
        The `MEASURES`, in per cent. Without any recurrence REC is 0 and the others are
        NaN; CORM is NaN for N = 1; all are NaN where a scanpath is empty or has an
        undefined coordinate.

    Raises
    ------
    ValueError
        If `radius_px` is not above 0, `min_line` is below 2, or `pairs` does not index
        the two sets.

    Notes
    -----
    Exchanging pred and human changes the sign of CORM and nothing else.

    References
    ----------
    Anderson, Anderson, Kingstone and Bischof (2015). A comparison of scanpath
    comparison methods. Behav. Res. Methods 47, 1377-1392.
    doi:10.3758/s13428-014-0550-3

    Examples
    --------
    >>> human = [[(0, 0), (50, 0), (90, 0)]]
    >>> pred = [[(90, 40), (0, 0), (50, 0)]]
    >>> cross_recurrence(pred, human, radius_px=10).round(1)
    array([[[ 22.2, 100. ,   0. ,  50. ]]])
    """
    pred, human = pack_scanpaths(pred), pack_scanpaths(human)
    radius = per_pair("radius_px", radius_px, pred, human, pairs)
    shortest = int(check_between("min_line", min_line, low=2))

    def measure(block: PairBlock) -> FloatArray:
        n = np.minimum(block.n_pred, block.n_human)
        recur = _recurrences(block, radius, n)
        lags = _lag_sums(recur)
        return _per_cent(recur, n, n**2, lags, shortest)

    return measure_pairs(pred, human, pairs, measure, values=len(MEASURES))


def self_recurrence(
    paths: Any, *, radius_px: ArrayLike, min_line: int = 2
) -> FloatArray:
    """Quantify how a scanpath returns to its places: REC, DET, LAM, CORM in per cent.

    As `cross_recurrence` of a scanpath with itself, counting only each later fixation
    against each earlier one (R recurrences of N (N - 1) / 2).

    - REC, ``200 R / (N (N - 1))``.
    - DET, LAM: share of recurrences on diagonals; on horizontal and vertical lines.
    - CORM, ``100 sum (j - i) r_ij / ((N - 1) R)``: small when returns are soon, within
      0..100.

    Parameters
    ----------
    paths : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    radius_px : float, or array-like that broadcasts to (n_scanpaths,)
        Largest distance of a recurrence, > 0 px.
    min_line : int, default 2
        Shortest line, >= 2 points.

    Returns
    -------
    ndarray of float64, shape (n_scanpaths, 4)
        The `MEASURES`, in per cent. Without any recurrence REC is 0 and the others are
        NaN; all are NaN for scanpaths with fewer than two fixations or an undefined
        coordinate.

    Raises
    ------
    ValueError
        If `radius_px` is not above 0, or `min_line` is below 2.

    References
    ----------
    Anderson, Bischof, Laidlaw, Risko and Kingstone (2013). Recurrence quantification
    analysis of eye movements. Behav. Res. Methods 45, 842-856.
    doi:10.3758/s13428-012-0299-5

    Examples
    --------
    >>> self_recurrence([[(0, 0), (50, 0), (0, 0), (50, 0)]], radius_px=10).round(1)
    array([[ 33.3, 100. ,   0. ,  66.7]])
    """
    paths = pack_scanpaths(paths)
    same = np.repeat(np.arange(len(paths))[:, None], 2, axis=1)
    radius = per_pair("radius_px", radius_px, paths, paths, same)
    shortest = int(check_between("min_line", min_line, low=2))

    def measure(block: PairBlock) -> FloatArray:
        n = block.n_pred
        recur = np.triu(_recurrences(block, radius, n), k=1)
        result = _per_cent(recur, n, n * (n - 1) / 2, _lag_sums(recur), shortest)
        result[n < 2] = np.nan
        return result

    return measure_pairs(paths, paths, same, measure, values=len(MEASURES))


def _recurrences(
    block: PairBlock, radius: FloatArray, n: NDArray[np.int64]
) -> BoolArray:
    """Return c[pair, i of human, j of pred], False beyond the first n of both."""
    longest = int(n.max())
    squared = block.squared_distances().swapaxes(1, 2)[:, :longest, :longest]
    inside = np.arange(longest) < n[:, None]
    near = np.sqrt(squared) <= radius[block.place, None, None]
    return near & inside[:, :, None] & inside[:, None, :]


def _lag_sums(recur: BoolArray) -> FloatArray:
    """Sum j - i over the recurrences of each pair."""
    steps = np.arange(recur.shape[1])
    lags: FloatArray = recur.sum(axis=1) @ steps - recur.sum(axis=2) @ steps
    return lags.astype(np.float64)


def _per_cent(
    recur: BoolArray,
    n: NDArray[np.int64],
    n_possible: NDArray[Any],
    lags: FloatArray,
    shortest: int,
) -> FloatArray:
    """Return the four measures of each pair, NaN where nothing is divided by 0."""
    count = recur.sum(axis=(1, 2))
    diagonal = _on_lines(recur, (1, 1), shortest)
    straight = _on_lines(recur, (0, 1), shortest) + _on_lines(recur, (1, 0), shortest)
    some = np.where(count > 0, count, np.nan)
    span = np.where(n > 1, n - 1, np.nan)
    return 100 * np.column_stack(
        [
            count / np.maximum(n_possible, 1),
            diagonal / some,
            straight / (2 * some),
            lags / (span * some),
        ]
    )


def _on_lines(
    recur: BoolArray, step: tuple[int, int], shortest: int
) -> NDArray[np.int64]:
    """Count recurrences on lines of at least `shortest` points in one direction."""
    n = recur.shape[1]
    if n < shortest:
        return np.zeros(len(recur), np.int64)
    # A point starts a line when the next ones recur too; a line covers what follows.
    reach = shortest - 1
    rows, columns = (n - s * reach for s in step)
    starts = np.ones((len(recur), rows, columns), np.bool_)
    places = [
        (slice(None), slice(s, s + rows), slice(t, t + columns))
        for s, t in ((step[0] * k, step[1] * k) for k in range(shortest))
    ]
    for place in places:
        starts &= recur[place]
    covered = np.zeros_like(recur)
    for place in places:
        covered[place] |= starts
    return covered.sum(axis=(1, 2))
