"""Alignments of many pairs of sequences of points at once: the cheapest ways.

A recursion runs over the anti-diagonals of all pairs of a block together: the cells of
one anti-diagonal do not depend on each other, and pairs lie on the last axis, so each
step is a few operations on long contiguous rows. The shorter sequence of a pair counts
the rows. Padding stands behind the end of a sequence, recursions only look back, and
the answer of a pair is read at its own last cell: no padded value reaches it.

`pairs` are whole numbers of shape (n_pairs, 2), which pred sequence and which human
one. Pairs for which an answer is undefined are for the caller to leave out, except in
`dtw_totals` and `frechet_distances`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.scanpath_sets import ScanpathSet, pair_blocks

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Cells of an anti-diagonal, all pairs of a block: their arrays stay in the cache.
_CACHED = 2**14


@dataclass(frozen=True)
class PairPool:
    """Sequences of both sets in one array, and pairs of them, the shorter one first.

    Parameters
    ----------
    values : ndarray, shape (longest, n_layers, n_sequences)
        Elements of the sequences; sequences lie on the last axis.
    n_values : ndarray of int64, shape (n_sequences,)
        Lengths.
    short, long : ndarray of int64, shape (n_pairs,)
        Shorter and longer sequence of each pair; pred first when equally long.
    swapped : ndarray of bool, shape (n_pairs,)
        Whether the shorter one is that of human.
    """

    values: NDArray[Any]
    n_values: IntArray
    short: IntArray
    long: IntArray
    swapped: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        pred: NDArray[Any],
        human: NDArray[Any],
        n_pred: IntArray,
        n_human: IntArray,
        pairs: IntArray,
    ) -> "PairPool":
        """Join two sets.

        Parameters
        ----------
        pred, human : ndarray, shape (n_layers, n_sequences, longest)
            Elements; any padding.
        n_pred, n_human : ndarray of int64, shape (n_sequences,)
            Lengths.
        pairs : ndarray of int64, shape (n_pairs, 2)
            Which pred sequence with which human one.

        Returns
        -------
        PairPool
            Both sets and the pairs.
        """
        n = np.concatenate([n_pred, n_human])
        values = np.zeros((int(n.max(initial=0)), len(pred), len(n)), pred.dtype)
        for part, at in ((pred, slice(len(n_pred))), (human, slice(len(n_pred), None))):
            width = min(part.shape[2], len(values))
            values[:width, :, at] = part[:, :, :width].transpose(2, 0, 1)
        a, b = pairs[:, 0], pairs[:, 1] + len(n_pred)
        swapped = n[a] > n[b]
        return cls(values, n, np.where(swapped, b, a), np.where(swapped, a, b), swapped)

    def blocks(self, rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Split pairs into blocks of alike lengths and bounded anti-diagonals.

        Parameters
        ----------
        rows : ndarray of intp, shape (n_chosen,)
            Pairs to split.

        Yields
        ------
        ndarray of intp, shape (n_block,)
            Some of `rows`; together each once.
        """
        n, m = self.n_values[self.short[rows]], self.n_values[self.long[rows]]
        # An anti-diagonal is as long as the shorter sequence, so blocks of pairs with
        # longer ones may have more cells.
        doublings = np.frexp(m)[1]  # m < 2**doublings
        for power in np.unique(doublings):
            alike = np.flatnonzero(doublings == power)
            cells = _CACHED * 2 ** int(power)
            for block in pair_blocks(n[alike], m[alike], cells=cells):
                yield rows[alike[block]]

    def gather(
        self, block: NDArray[np.intp]
    ) -> tuple[NDArray[Any], NDArray[Any], IntArray, IntArray]:
        """Gather the sequences of a block of pairs.

        Parameters
        ----------
        block : ndarray of intp, shape (n_block,)
            Pairs.

        Returns
        -------
        a : ndarray, shape (longest_short, n_layers, n_block)
            Short sequences.
        b : ndarray, shape (longest_long, n_layers, n_block)
            Long sequences, elements in reverse order.
        n, m : ndarray of int64, shape (n_block,)
            Their lengths.
        """
        short, long = self.short[block], self.long[block]
        n, m = self.n_values[short], self.n_values[long]
        a = self.values[: n.max()].take(short, axis=2)
        b = self.values[: m.max()][::-1].take(long, axis=2)
        return a, b, n, m


def antidiagonals(n: int, m: int) -> Iterator[tuple[int, slice, slice, slice]]:
    """Walk over the anti-diagonals of a table.

    Parameters
    ----------
    n, m : int
        Rows and columns, 1 or more.

    Yields
    ------
    d : int
        Number of the anti-diagonal, of the cells (i, d - i).
    rows, below : slice
        Its rows i, and the rows i + 1.
    columns : slice
        Its columns, counted from the last one, in the order of the rows.

    Examples
    --------
    >>> [(d, rows) for d, rows, *_ in antidiagonals(2, 2)][1]
    (1, slice(0, 2, None))
    """
    for d in range(n + m - 1):
        first, after = max(0, d - m + 1), min(d + 1, n)
        shift = m - 1 - d
        yield (
            d,
            slice(first, after),
            slice(first + 1, after + 1),
            slice(first + shift, after + shift),
        )


def ending_pairs(n: IntArray, m: IntArray) -> dict[int, NDArray[np.intp]]:
    """Find the pairs whose last cell lies on an anti-diagonal.

    Parameters
    ----------
    n, m : ndarray of int64, shape (n_block,)
        Lengths of the sequences of each pair, 1 or more.

    Returns
    -------
    dict of int to ndarray of intp
        Pairs by number of the anti-diagonal; none without pairs.

    Examples
    --------
    >>> ending_pairs(np.array([1, 2]), np.array([2, 1]))
    {1: array([0, 1])}
    """
    last = n + m - 2
    order = np.argsort(last, kind="stable")
    numbers, first = np.unique(last[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


def _costs(
    a: FloatArray, b: FloatArray, combine: np.ufunc
) -> Iterator[tuple[int, slice, FloatArray, FloatArray, tuple[FloatArray, ...]]]:
    """Run a cheapest-path recursion over points (n, 2, size) and reversed (m, 2, size).

    `combine` joins the distance of two points with the cost of the cheapest way up to
    their cell. Yields d, the rows i of the cells (i, d - i), their costs in row i + 1
    of an array, the cheapest cost before, and its three candidates: from the step
    along a, along b, along both.
    """
    (n, _, size), m = a.shape, len(b)
    before, last, new = (np.full((n + 1, size), np.inf) for _ in range(3))
    gaps, distances, cheapest = np.empty((n, 2, size)), *np.empty((2, n, size))
    before[0] = 0  # what comes before the first cell
    for d, rows, below, columns in antidiagonals(n, m):
        gap, distance, least = gaps[rows], distances[rows], cheapest[rows]
        np.subtract(a[rows], b[columns], out=gap)
        np.multiply(gap, gap, out=gap)
        np.add(gap[:, 0], gap[:, 1], out=distance)
        np.sqrt(distance, out=distance)
        candidates = last[rows], last[below], before[rows]
        np.minimum(candidates[0], candidates[1], out=least)
        np.minimum(least, candidates[2], out=least)
        combine(distance, least, out=new[below])
        yield d, rows, new, least, candidates
        before[0] = np.inf
        before, last, new = last, new, before


def _points(paths: ScanpathSet) -> FloatArray:
    """Return x and y as layers."""
    return np.stack([paths.x_px, paths.y_px])


def _totals(
    pred: ScanpathSet, human: ScanpathSet, pairs: IntArray, combine: np.ufunc
) -> FloatArray:
    """Return the cost of the cheapest way of each pair; NaN where undefined."""
    pool = PairPool.of(
        _points(pred), _points(human), pred.n_fixations, human.n_fixations, pairs
    )
    totals = np.full(len(pairs), np.nan)
    known = np.flatnonzero(pred.defined[pairs[:, 0]] & human.defined[pairs[:, 1]])
    for block in pool.blocks(known):
        a, b, n, m = pool.gather(block)
        ending = ending_pairs(n, m)
        for d, _, costs, *_ in _costs(a, b, combine):
            if d in ending:
                here = ending[d]
                totals[block[here]] = costs[n[here], here]
    return totals


def dtw_totals(pred: ScanpathSet, human: ScanpathSet, pairs: IntArray) -> FloatArray:
    """Compute dynamic time warping distances: the smallest sum of point distances.

    Parameters
    ----------
    pred, human : ScanpathSet
        Scanpaths in pixels; durations are not looked at.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which scanpaths to compare.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        Sum of Euclidean distances along the cheapest way from the first to the last
        points, in px; NaN where a scanpath is empty or has an undefined point.

    Examples
    --------
    >>> from analysis.scanpath_sets import pack_scanpaths
    >>> paths = pack_scanpaths([[(0, 0), (10, 0)], [(0, 3), (10, 0), (10, 4)]])
    >>> dtw_totals(paths, paths, np.array([[0, 1]]))
    array([7.])
    """
    return _totals(pred, human, pairs, np.add)


def frechet_distances(
    pred: ScanpathSet, human: ScanpathSet, pairs: IntArray
) -> FloatArray:
    """Compute discrete Fréchet distances: the shortest leash that suffices.

    Parameters
    ----------
    pred, human : ScanpathSet
        Scanpaths in pixels; durations are not looked at.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which scanpaths to compare.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        Largest point distance along the way that keeps it smallest, in px; NaN where
        a scanpath is empty or has an undefined point.

    Examples
    --------
    >>> from analysis.scanpath_sets import pack_scanpaths
    >>> paths = pack_scanpaths([[(0, 0), (10, 0)], [(0, 3), (10, 0), (10, 4)]])
    >>> frechet_distances(paths, paths, np.array([[0, 1]]))
    array([4.])
    """
    return _totals(pred, human, pairs, np.maximum)


def cheapest_paths(
    pred: FloatArray,
    human: FloatArray,
    n_pred: IntArray,
    n_human: IntArray,
    pairs: IntArray,
) -> Iterator[tuple[NDArray[np.intp], IntArray, IntArray, IntArray]]:
    """Find the cheapest alignments of pairs of sequences of points, block by block.

    A path leads from the first points of both to the last ones by steps along `pred`,
    along `human` or both; its cost is the sum of the point distances where it steps to.
    Of equally cheap ways into a cell the step along both is taken, then the one along
    `pred`.

    Parameters
    ----------
    pred, human : ndarray of float64, shape (2, n_sequences, longest)
        x and y of the points; any padding.
    n_pred, n_human : ndarray of int64, shape (n_sequences,)
        Lengths, 1 or more for every sequence that is asked for.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which sequences to align.

    Yields
    ------
    block : ndarray of intp, shape (n_block,)
        Rows of `pairs`; together each row once.
    i, j : ndarray of int64, shape (n_block, longest_path)
        Points of pred and human met on the path, from the last to the first; then 0.
    n_steps : ndarray of int64, shape (n_block,)
        Number of cells on each path.

    Examples
    --------
    >>> a = np.array([[[0.0, 1.0, 5.0]], [[0.0, 0.0, 0.0]]])
    >>> n, pair = np.array([3]), np.array([[0, 0]])
    >>> _, i, j, n_steps = next(cheapest_paths(a, a[..., ::2], n, n - 1, pair))
    >>> i, j, n_steps
    (array([[2, 1, 0]]), array([[1, 0, 0]]), array([3]))
    """
    pool = PairPool.of(pred, human, n_pred, n_human, pairs)
    for swapped in (False, True):
        for block in pool.blocks(np.flatnonzero(pool.swapped == swapped)):
            a, b, n, m = pool.gather(block)
            i, j, n_steps = _backtrack(_moves(a, b, prefer_b=swapped), n, m)
            yield block, *((j, i) if swapped else (i, j)), n_steps


def _moves(a: FloatArray, b: FloatArray, *, prefer_b: bool) -> NDArray[np.int8]:
    """Return how cell (i, d - i) is entered, at [d, i]: 0 by both, 1 by a, 2 by b."""
    (n, _, size), m = a.shape, len(b)
    moves = np.empty((n + m - 1, n, size), np.int8)
    flags = np.empty((2, n, size), np.bool_)
    ones = flags.view(np.int8)
    cheaper = np.less_equal if prefer_b else np.less
    for d, rows, costs, least, (along_a, along_b, diagonal) in _costs(a, b, np.add):
        if d == 0:
            costs[1] = 0  # the start is free; adding it would break ties by rounding
        single, by_b = flags[:, rows]
        np.less(least, diagonal, out=single)
        cheaper(along_b, along_a, out=by_b)
        np.logical_and(single, by_b, out=by_b)
        np.add(ones[0, rows], ones[1, rows], out=moves[d, rows])
    moves[0, 0] = 3  # the beginning: stay
    return moves


def _backtrack(
    moves: NDArray[np.int8], n: IntArray, m: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Follow the moves of all pairs from their last cells to the first."""
    (n_diagonals, longest, size), least_steps = moves.shape, max(n.max(), m.max())
    back = np.array([2 * longest + 1, longest + 1, longest, 0]) * size
    at = ((n + m - 2) * longest + n - 1) * size + np.arange(size)
    taken = np.empty((n_diagonals, size), np.int8)
    for step, row in enumerate(taken):
        moves.reshape(-1).take(at, out=row, mode="clip")
        if step >= least_steps - 1 and (row == 3).all():
            break
        at -= back.take(row)
    taken = np.ascontiguousarray(taken[:step].T)
    i, j = np.zeros((2, size, step + 1), np.int64)
    np.cumsum((taken == 0) | (taken == 1), axis=1, out=i[:, 1:])
    np.cumsum((taken == 0) | (taken == 2), axis=1, out=j[:, 1:])
    np.subtract(n[:, None] - 1, i, out=i)
    np.subtract(m[:, None] - 1, j, out=j)
    return i, j, 1 + (taken != 3).sum(axis=1)
