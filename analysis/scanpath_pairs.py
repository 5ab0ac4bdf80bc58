"""Points of many pairs of scanpaths at once, in blocks that fit the cache.

Measures of points (`analysis.scanpath_distances`, `analysis.recurrence`) say what to
do with a `PairBlock`; `measure_pairs` does it for all pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.scanpath_sets import (
    Pairs,
    ScanpathSet,
    check_pairs,
    pack_scanpaths,
    pair_blocks,
)

FloatArray = NDArray[np.float64]

# Work arrays of half a MB stay in the cache: twice as fast as 30 MB.
_CELLS = 2**16


@dataclass(frozen=True)
class PairBlock:
    """Points of some pairs of scanpaths, padded to the longest of them.

    Parameters
    ----------
    place : ndarray of intp, shape (n_block,)
        Place of each pair in the list of pairs.
    pred : ndarray of float64, shape (2, n_block, longest_pred)
        x and y in pixels; what lies beyond the end of a scanpath has no meaning.
    human : ndarray of float64, shape (2, n_block, longest_human)
        Likewise.
    n_pred, n_human : ndarray of int64, shape (n_block,)
        Lengths, 1 or more.
    """

    place: NDArray[np.intp]
    pred: FloatArray
    human: FloatArray
    n_pred: NDArray[np.int64]
    n_human: NDArray[np.int64]

    @property
    def in_pred(self) -> NDArray[np.bool_]:
        """Places that are fixations of pred, shape (n_block, longest_pred)."""
        return np.arange(self.pred.shape[2]) < self.n_pred[:, None]

    @property
    def in_human(self) -> NDArray[np.bool_]:
        """Places that are fixations of human, shape (n_block, longest_human)."""
        return np.arange(self.human.shape[2]) < self.n_human[:, None]

    def squared_distances(self) -> FloatArray:
        """Return the squared distance of each point of pred to each of human.

        Returns
        -------
        ndarray of float64, shape (n_block, longest_pred, longest_human)
            Square pixels; infinite beyond the end of either scanpath.
        """
        squared = self.pred[0][:, :, None] - self.human[0][:, None, :]
        squared *= squared
        dy = self.pred[1][:, :, None] - self.human[1][:, None, :]
        dy *= dy
        squared += dy
        in_pred, in_human = self.in_pred, self.in_human
        if not (in_pred.all() and in_human.all()):
            squared[~(in_pred[:, :, None] & in_human[:, None, :])] = np.inf
        return squared

    def nearest_squared(self) -> tuple[FloatArray, FloatArray]:
        """Return how far the nearest point of the other scanpath is, squared.

        Returns
        -------
        of_pred : ndarray of float64, shape (n_block, longest_pred)
            Square pixels; 0 beyond the end.
        of_human : ndarray of float64, shape (n_block, longest_human)
            Likewise.
        """
        squared = self.squared_distances()
        return (
            np.where(self.in_pred, squared.min(axis=2), 0.0),
            np.where(self.in_human, squared.min(axis=1), 0.0),
        )


def measure_pairs(
    pred: Any,
    human: Any,
    pairs: Pairs,
    measure: Callable[[PairBlock], FloatArray],
    *,
    values: int | None = None,
    cells: int = _CELLS,
) -> FloatArray:
    """Apply a measure of blocks of pairs to all pairs.

    Parameters
    ----------
    pred, human : ScanpathSet or what `pack_scanpaths` takes
        The two sets.
    pairs : int array-like, shape (n_pairs, 2), or None
        Rows (index of pred, index of human); None is every pred with every human.
    measure : callable
        Takes a `PairBlock`; returns (n_block,), or (n_block, values).
    values : int, optional
        Numbers per pair; None gives no last axis.
    cells : int
        Size of the blocks, as in `pair_blocks`.

    Returns
    -------
    ndarray of float64, shape (n_pairs[, values]) or (n_pred, n_human[, values])
        NaN for pairs with a scanpath that is empty or has an undefined coordinate.

    Raises
    ------
    ValueError
        If `pairs` does not index the two sets.
    """
    one, two = pack_scanpaths(pred), pack_scanpaths(human)
    index = check_pairs(pairs, len(one), len(two))
    each = () if values is None else (values,)
    result = np.full((len(index), *each), np.nan)
    usable = np.flatnonzero(one.defined[index[:, 0]] & two.defined[index[:, 1]])
    n_one, n_two = one.n_fixations[index[:, 0]], two.n_fixations[index[:, 1]]
    for some in pair_blocks(n_one[usable], n_two[usable], cells=cells):
        place = usable[some]
        block = PairBlock(
            place,
            _points(one, index[place, 0]),
            _points(two, index[place, 1]),
            n_one[place],
            n_two[place],
        )
        result[place] = measure(block)
    return result.reshape(len(one), len(two), *each) if pairs is None else result


def _points(paths: ScanpathSet, rows: NDArray[np.int64]) -> FloatArray:
    """Return x and y of some scanpaths, as wide as the longest of them."""
    longest = int(paths.n_fixations[rows].max())
    return np.stack([paths.x_px[rows, :longest], paths.y_px[rows, :longest]])


def per_pair(
    name: str,
    value: ArrayLike,
    pred: Any,
    human: Any,
    pairs: Pairs,
    *,
    values: int | None = None,
) -> FloatArray:
    """Return lengths in pixels, once per pair.

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : array-like of float, shape (..., [values])
        One number (or `values` of them) for all pairs, or an array that broadcasts
        to the pairs, for screens that differ.
    pred, human : sequence
        The two sets.
    pairs : int array-like, shape (n_pairs, 2), or None
        As in `measure_pairs`.
    values : int, optional
        Numbers per pair; None gives no last axis.

    Returns
    -------
    ndarray of float64, shape (number of pairs[, values])
        The numbers of each pair.

    Raises
    ------
    ValueError
        If it does not broadcast, or a number is not finite and above 0.
    """
    array = np.asarray(value, np.float64)
    each = () if values is None else (values,)
    shape = (len(pred), len(human)) if pairs is None else (len(pairs),)
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"`{name}` must be finite and above 0 px; got {value!r}.")
    fits = array.shape[-1:] == each if each else True
    try:
        full = np.broadcast_to(array, (*shape, *each)) if fits else None
    except ValueError:
        full = None
    if full is None:
        raise ValueError(
            f"`{name}` must have shape {each} or broadcast to {(*shape, *each)}, the "
            f"pairs; got shape {array.shape}."
        )
    return full.reshape(-1, *each)
