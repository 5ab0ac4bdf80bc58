"""Many scanpaths in padded arrays: what every measure of pairs works on.

Measures of scanpaths are asked for hundreds of scanpaths at once, each against each.
They get a `ScanpathSet`, choose pairs, and work through them in blocks of similar
length, so that memory is bounded and little is spent on padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_array, check_columns
from neurovis.core.types import FIXATION_COLUMNS, Scanpath

Pairs = NDArray[np.int64] | Sequence[tuple[int, int]] | None

# Cells of a block of pairs: about 30 MB per float64 work array.
CELLS_PER_BLOCK = 4_000_000


@dataclass(frozen=True)
class ScanpathSet:
    """Scanpaths of any lengths in padded arrays.

    Parameters
    ----------
    x_px, y_px : ndarray of float64, shape (n_scanpaths, longest)
        Positions in pixels, x right, y down; NaN beyond the end of a scanpath.
    duration_ms : ndarray of float64, shape (n_scanpaths, longest)
        Fixation durations; NaN where unknown and beyond the end.
    n_fixations : ndarray of int64, shape (n_scanpaths,)
        Length of each scanpath, 0 or more.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> paths = pack_scanpaths([[(1, 2), (3, 4)], [(5, 6)]])
    >>> paths.n_fixations
    array([2, 1])
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    duration_ms: NDArray[np.float64]
    n_fixations: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = check_array("x_px", self.x_px, shape=(None, None)).shape
        check_array("y_px", self.y_px, shape=shape)
        check_array("duration_ms", self.duration_ms, shape=shape)
        check_array("n_fixations", self.n_fixations, shape=shape[:1])
        if len(self) and not 0 <= self.n_fixations.min() <= self.longest <= shape[1]:
            raise ValueError(
                f"`n_fixations` must be within [0, {shape[1]}], the width of the "
                f"arrays; got {self.n_fixations.min()} to {self.longest}."
            )

    def __len__(self) -> int:
        return len(self.n_fixations)

    @property
    def longest(self) -> int:
        """Fixations of the longest scanpath; 0 for an empty set."""
        return int(self.n_fixations.max(initial=0))

    @cached_property
    def defined(self) -> NDArray[np.bool_]:
        """Scanpaths with at least one fixation, all at finite coordinates."""
        inside = np.arange(self.x_px.shape[1]) < self.n_fixations[:, None]
        unknown = ~(np.isfinite(self.x_px) & np.isfinite(self.y_px))
        return ~np.any(unknown & inside, axis=1) & (self.n_fixations > 0)

    @cached_property
    def timed(self) -> NDArray[np.bool_]:
        """Scanpaths of which every duration is known."""
        inside = np.arange(self.x_px.shape[1]) < self.n_fixations[:, None]
        unknown = np.isnan(self.duration_ms)
        return ~np.any(unknown & inside, axis=1) & (self.n_fixations > 0)

    def select(self, index: Any) -> "ScanpathSet":
        """Return some of the scanpaths.

        Parameters
        ----------
        index : array of int or bool, or slice
            Rows, in the order wanted.

        Returns
        -------
        ScanpathSet
            The rows.
        """
        return ScanpathSet(
            self.x_px[index],
            self.y_px[index],
            self.duration_ms[index],
            self.n_fixations[index],
        )

    def cut(self, n_fixations: int) -> "ScanpathSet":
        """Return the scanpaths without what follows the first fixations.

        Parameters
        ----------
        n_fixations : int
            Most fixations that are kept, >= 0.

        Returns
        -------
        ScanpathSet
            The beginnings.
        """
        n = max(int(n_fixations), 0)
        return ScanpathSet(
            self.x_px[:, :n],
            self.y_px[:, :n],
            self.duration_ms[:, :n],
            np.minimum(self.n_fixations, n),
        )


def pack_scanpaths(paths: Any) -> ScanpathSet:
    """Put scanpaths into padded arrays.

    Parameters
    ----------
    paths : ScanpathSet, or sequence of Scanpath or of array-like
        An array-like has shape (n_fixations, 2), x and y in pixels, or
        (n_fixations, 3) with the duration in milliseconds; `[]` is a scanpath
        without fixations.

    Returns
    -------
    ScanpathSet
        The same scanpaths; a ScanpathSet is returned as it is.

    Raises
    ------
    ValueError
        If an element is no list of points.

    Examples
    --------
    >>> pack_scanpaths([[(1, 2, 200), (3, 4, 250)], []]).duration_ms
    array([[200., 250.],
           [ nan,  nan]])
    """
    if isinstance(paths, ScanpathSet):
        return paths
    points = [_points(path, i) for i, path in enumerate(paths)]
    lengths = np.array([len(p) for p in points], np.int64)
    packed = np.full((3, len(points), int(lengths.max(initial=0))), np.nan)
    for i, each in enumerate(points):
        packed[:, i, : len(each)] = each.T
    return ScanpathSet(packed[0], packed[1], packed[2], lengths)


def _points(path: Any, index: int) -> NDArray[np.float64]:
    """Return one scanpath as rows of x, y, duration."""
    if isinstance(path, Scanpath):
        return np.column_stack([path.x_px, path.y_px, path.duration_ms])
    array = np.asarray(path, np.float64)
    if array.size == 0:
        return np.empty((0, 3))
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise ValueError(
            f"Scanpath {index} must have shape (n_fixations, 2) or (n_fixations, 3): "
            f"x, y in pixels and the duration in ms; got {array.shape}."
        )
    if array.shape[1] == 2:
        array = np.column_stack([array, np.full(len(array), np.nan)])
    return array


def scanpaths_from_table(
    table: pd.DataFrame, by: Sequence[str] = ("subject", "stimulus_id")
) -> tuple[ScanpathSet, pd.DataFrame]:
    """Gather the rows of a fixation table into scanpaths.

    Parameters
    ----------
    table : DataFrame
        Long table with the columns of `neurovis.core.types.FIXATION_COLUMNS`.
    by : sequence of str, default ("subject", "stimulus_id")
        Columns that together name one scanpath; add "trial" where a subject saw a
        stimulus more than once.

    Returns
    -------
    paths : ScanpathSet
        One scanpath per distinct key, in the order of first appearance; fixations
        are ordered by the column `fixation`.
    keys : DataFrame
        The columns `by`, one row per scanpath.

    Raises
    ------
    ValueError
        If a column is missing, a key or fixation number is undefined, or a number
        repeats within a scanpath.
    """
    check_columns("table", table.columns, [*FIXATION_COLUMNS, *by])
    named = [*by, "fixation"]
    unknown = [name for name in named if table[name].isna().any()]
    if unknown:
        raise ValueError(
            f"`table` has rows without a value in {unknown}: every fixation needs its "
            "scanpath and its number. Drop these rows or fill them in."
        )
    number = table.groupby(list(by), sort=False, observed=True).ngroup().to_numpy()
    order = np.lexsort((table["fixation"].to_numpy(), number))
    number = number[order]
    fixation = table["fixation"].to_numpy()[order]
    again = np.flatnonzero((np.diff(number) == 0) & (np.diff(fixation) == 0))
    if len(again):
        row = table.iloc[order[again[0]]]
        key = ", ".join(f"{name} {row[name]}" for name in named)
        raise ValueError(
            f"`table` has more than one row for {key}: a scanpath needs one row per "
            "fixation. Add a column such as `trial` to `by`, or drop duplicates."
        )
    lengths = np.bincount(number) if len(number) else np.zeros(0, np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    place = np.arange(len(number)) - np.repeat(starts, lengths)
    packed = np.full((3, len(lengths), int(lengths.max(initial=0))), np.nan)
    for layer, name in zip(packed, ("x_px", "y_px", "duration_ms"), strict=True):
        layer[number, place] = table[name].to_numpy(np.float64)[order]
    keys = table[list(by)].drop_duplicates().reset_index(drop=True)
    return ScanpathSet(packed[0], packed[1], packed[2], lengths.astype(np.int64)), keys


def check_pairs(pairs: Pairs, n_pred: int, n_human: int) -> NDArray[np.int64]:
    """Return pairs of scanpaths as an array; all pairs when none are given.

    Parameters
    ----------
    pairs : int array-like, shape (n_pairs, 2), or None
        Rows (index of pred, index of human); None is every pred with every human.
    n_pred, n_human : int
        Sizes of the two sets.

    Returns
    -------
    ndarray of int64, shape (n_pairs, 2)
        The pairs; all pairs run over `human` fastest.

    Raises
    ------
    ValueError
        If the shape is wrong or an index is out of range.
    TypeError
        If the indices are no whole numbers.

    Examples
    --------
    >>> check_pairs(None, 1, 2)
    array([[0, 0],
           [0, 1]])
    """
    if pairs is None:
        grid = np.indices((n_pred, n_human), dtype=np.int64)
        return grid.reshape(2, -1).T
    if len(pairs) == 0:
        return np.zeros((0, 2), np.int64)
    array = check_array("pairs", pairs, shape=(None, 2))
    if array.dtype.kind not in "iu":
        raise TypeError(f"`pairs` must be whole numbers; got {array.dtype}.")
    array = array.astype(np.int64, copy=False)
    limits = np.array([n_pred, n_human])
    if ((array < 0) | (array >= limits)).any():
        raise ValueError(
            f"`pairs` must index {n_pred} pred and {n_human} human scanpaths; got "
            f"{array.min(0).tolist()} to {array.max(0).tolist()}."
        )
    return array


def pair_blocks(
    n_pred: NDArray[np.int64],
    n_human: NDArray[np.int64],
    *,
    cells: int = CELLS_PER_BLOCK,
) -> Iterator[NDArray[np.intp]]:
    """Split pairs into blocks of similar lengths and bounded memory.

    Parameters
    ----------
    n_pred, n_human : ndarray of int64, shape (n_pairs,)
        Length of the two scanpaths of each pair.
    cells : int
        Most cells (longest pred x longest human x pairs) of a block; a single pair
        may have more.

    Yields
    ------
    ndarray of intp, shape (n_block,)
        Positions in the list of pairs; together each position once.

    Examples
    --------
    >>> [b.tolist() for b in pair_blocks(np.array([3, 9, 3]), np.array([3, 9, 3]))]
    [[0, 2, 1]]
    """
    order = np.lexsort((n_human, n_pred))
    n, m = n_pred[order], n_human[order]
    start = 0
    while start < len(order):
        most = max(cells // max(int(n[start] * m[start]), 1), 1)
        window = slice(start, start + most)
        used = n[window] * np.maximum.accumulate(m[window])
        used = used * np.arange(1, len(used) + 1)
        end = start + max(int(np.searchsorted(used, cells, side="right")), 1)
        yield order[start:end]
        start = end
