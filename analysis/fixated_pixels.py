"""Fixations as pixels of maps, in groups.

A measure of fixation maps gets maps and the pixels that were fixated. The pixels come
in groups, one group per map: the fixations of one observer on one picture, of all
observers on it, or the next fixation of one step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_array, check_between, check_option

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rows = NDArray[Any]

# Values worked on at once: 2 MB of float64, which stay in the cache.
_BLOCK_VALUES = 262_144


@dataclass(frozen=True)
class FixatedPixels:
    """Fixated pixels of several maps of one size, grouped by map.

    Made by `fixated_pixels`.

    Parameters
    ----------
    map_index : ndarray of int64, shape (n_fixations,)
        Map of each fixation, 0..n_maps - 1, ascending.
    row, column : ndarray of int64, shape (n_fixations,)
        Pixel of each fixation, from the top and from the left.
    shape : tuple of int
        Height and width of the maps in pixels.
    n_dropped : ndarray of int64, shape (n_maps,)
        Fixations of each map that were left out.
    source : ndarray of int64, shape (n_fixations,)
        Position of each fixation in the arrays it came from.

    Raises
    ------
    ValueError
        If lengths differ, an index is out of range or the maps are out of order.

    Examples
    --------
    >>> pixels = fixated_pixels([3.9, 0.2, 9.0], [0, 1, 1], (2, 4), map_index=[1, 0, 1])
    >>> pixels.row, pixels.column, pixels.n_fixations, pixels.n_dropped
    (array([1, 0]), array([0, 3]), array([1, 1]), array([0, 1]))
    """

    map_index: IntArray
    row: IntArray
    column: IntArray
    shape: tuple[int, int]
    n_dropped: IntArray
    source: IntArray

    def __post_init__(self) -> None:
        n = check_array("map_index", self.map_index, shape=(None,)).shape
        ranges = zip(
            ("map_index", "row", "column"), (self.n_maps, *self.shape), strict=True
        )
        for name, size in ranges:
            values = check_array(name, getattr(self, name), shape=n)
            if values.size and not 0 <= values.min() <= values.max() < size:
                raise ValueError(
                    f"`{name}` must be within [0, {size - 1}]; got {values.min()} to "
                    f"{values.max()}."
                )
        check_array("source", self.source, shape=n)
        if (np.diff(self.map_index) < 0).any():
            raise ValueError(
                "`map_index` must ascend: make the pixels with `fixated_pixels`."
            )

    def __len__(self) -> int:
        return len(self.map_index)

    @property
    def n_maps(self) -> int:
        """Number of groups, empty ones included."""
        return len(self.n_dropped)

    @property
    def n_pixels(self) -> int:
        """Pixels of one map."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def n_fixations(self) -> IntArray:
        """Fixations of each map, shape (n_maps,)."""
        return np.bincount(self.map_index, minlength=self.n_maps).astype(np.int64)

    @cached_property
    def bounds(self) -> IntArray:
        """Fixations of map i are those from bounds[i] to bounds[i + 1]."""
        return np.concatenate([[0], np.cumsum(self.n_fixations)]).astype(np.int64)

    @cached_property
    def flat(self) -> IntArray:
        """Row-major index of each pixel in its map, shape (n_fixations,)."""
        return self.row * self.shape[1] + self.column

    def select(self, maps: Any) -> "FixatedPixels":
        """Return some of the groups.

        Parameters
        ----------
        maps : array of int or bool, or slice
            Groups, in the order wanted; they are numbered anew from 0.

        Returns
        -------
        FixatedPixels
            The groups.
        """
        index = np.atleast_1d(np.arange(self.n_maps)[maps])
        counts = self.n_fixations[index]
        first = np.cumsum(counts) - counts
        rows = np.repeat(self.bounds[index] - first, counts) + np.arange(counts.sum())
        number = np.repeat(np.arange(len(index)), counts)
        return self._take(rows, number, self.n_dropped[index])

    def pool(self) -> "FixatedPixels":
        """Return all fixations as one group.

        Returns
        -------
        FixatedPixels
            One group; a pixel that was fixated twice is in it twice.
        """
        dropped = self.n_dropped.sum(keepdims=True)
        return self._take(np.arange(len(self)), np.zeros(len(self), np.int64), dropped)

    def distinct(self) -> "FixatedPixels":
        """Return each pixel once per map: the binary fixation map.

        Returns
        -------
        FixatedPixels
            As many groups, each in row-major order.
        """
        key = self.map_index * self.n_pixels + self.flat
        rows = np.unique(key, return_index=True)[1]
        return self._take(rows, self.map_index[rows], self.n_dropped)

    def rescale(self, shape: tuple[int, int]) -> "FixatedPixels":
        """Return the pixels of maps of another size.

        Parameters
        ----------
        shape : tuple of int
            Height and width in pixels. The centre of an old pixel decides.

        Returns
        -------
        FixatedPixels
            The same groups, such as fixations on other pictures as negatives.
        """
        shape = _check_shape(shape)
        row, column = (
            ((index + 0.5) * (new / old)).astype(np.int64).clip(0, new - 1)
            for index, new, old in zip(
                (self.row, self.column), shape, self.shape, strict=True
            )
        )
        return FixatedPixels(
            self.map_index, row, column, shape, self.n_dropped, self.source
        )

    def _take(
        self, rows: NDArray[Any], map_index: NDArray[Any], dropped: IntArray
    ) -> "FixatedPixels":
        return FixatedPixels(
            map_index.astype(np.int64),
            self.row[rows],
            self.column[rows],
            self.shape,
            dropped,
            self.source[rows],
        )


def fixated_pixels(
    x_px: Any,
    y_px: Any,
    shape: tuple[int, int],
    *,
    map_index: Any = None,
    n_maps: int | None = None,
    off_screen: str = "drop",
) -> FixatedPixels:
    """Return the pixels that fixations hit: the only conversion from positions.

    A position x hits the column floor(x); whole numbers are therefore taken as pixel
    indices.

    Parameters
    ----------
    x_px, y_px : array-like of float, shape (n_fixations,)
        Positions in pixels from the top-left corner, x right, y down; NaN where
        unknown.
    shape : tuple of int
        Height and width of the maps in pixels.
    map_index : array-like of int, shape (n_fixations,), optional
        Map that each fixation belongs to, in any order; by default all belong to one.
        For a table, ``table.groupby(by).ngroup()``.
    n_maps : int, optional
        Number of maps, where the last ones have no fixations.
    off_screen : {"drop", "clip"}
        Leave out what lies beyond the edge, or move it to the nearest pixel. NaN is
        always left out. What was left out is counted in `n_dropped`.

    Returns
    -------
    FixatedPixels
        The pixels, ordered by map, within a map as they came.

    Raises
    ------
    ValueError
        If lengths differ, an index is out of range or an option is unknown.

    Examples
    --------
    >>> fixated_pixels([0.99, 1.0], [2.5, 2.5], (3, 2)).column
    array([0, 1])
    """
    shape = _check_shape(shape)
    check_option("off_screen", off_screen, ("drop", "clip"))
    x = check_array("x_px", np.asarray(x_px, np.float64), shape=(None,))
    y = check_array("y_px", np.asarray(y_px, np.float64), shape=x.shape)
    index = np.zeros(len(x), np.int64) if map_index is None else np.asarray(map_index)
    index = check_array("map_index", index, shape=x.shape).astype(np.int64)
    if n_maps is None:
        n_maps = 1 if map_index is None else int(index.max(initial=-1)) + 1
    check_between("n_maps", n_maps, low=0)
    if len(index) and not 0 <= index.min() <= index.max() < n_maps:
        raise ValueError(
            f"`map_index` must be within [0, {n_maps - 1}], one of {n_maps} maps; got "
            f"{index.min()} to {index.max()}."
        )
    row, column = np.floor(y), np.floor(x)
    if off_screen == "clip":
        row, column = row.clip(0, shape[0] - 1), column.clip(0, shape[1] - 1)
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    kept = np.flatnonzero(inside)
    kept = kept[np.argsort(index[kept], kind="stable")]
    return FixatedPixels(
        index[kept],
        row[kept].astype(np.int64),
        column[kept].astype(np.int64),
        shape,
        np.bincount(index[~inside], minlength=n_maps).astype(np.int64),
        kept.astype(np.int64),
    )


def _check_shape(shape: Any) -> tuple[int, int]:
    size = check_array("shape", shape, shape=(2,))
    if not np.issubdtype(size.dtype, np.integer) or size.min() < 1:
        raise ValueError(
            f"`shape` must be the height and width in whole pixels, 1 or more; got "
            f"{shape!r}."
        )
    return int(size[0]), int(size[1])


def check_maps(name: str, maps: Any, human: FixatedPixels | None = None) -> Rows:
    """Return maps as rows of pixels.

    Parameters
    ----------
    name : str
        Argument name for the message.
    maps : array-like of real numbers, shape (H, W) or (n_maps, H, W)
        One map or a stack.
    human : FixatedPixels, optional
        Fixations that the maps must fit: the same size, and one map per group or one
        map for all groups.

    Returns
    -------
    ndarray, shape (n_maps, H * W)
        The maps, row-major, in their own dtype; one row for a single map.

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If number or size of the maps do not fit.

    Examples
    --------
    >>> check_maps("pred", np.zeros((2, 3))).shape
    (1, 6)
    """
    array = np.asarray(maps)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"`{name}` must hold real numbers; got dtype {array.dtype}.")
    if array.ndim not in (2, 3) or 0 in array.shape[-2:]:
        raise ValueError(
            f"`{name}` must have shape (H, W), one map, or (n_maps, H, W); got "
            f"{array.shape}."
        )
    size = array.shape[-2:]
    rows = array.reshape(-1, size[0] * size[1])
    if human is None:
        return rows
    if size != human.shape:
        raise ValueError(
            f"`{name}` has maps of {size[0]} x {size[1]} pixels (height x width), the "
            f"fixations are pixels of {human.shape[0]} x {human.shape[1]}: resample "
            "the maps, or scale positions before `fixated_pixels`."
        )
    if len(rows) not in (1, human.n_maps):
        raise ValueError(
            f"`{name}` has {len(rows)} maps but there are {human.n_maps} groups of "
            "fixations: give one map per group, or one map for all."
        )
    return rows


def map_blocks(*stacks: Rows) -> Iterator[tuple[Any, ...]]:
    """Go through stacks in parts that stay in the cache.

    Parameters
    ----------
    *stacks : ndarray, shape (n_maps or 1, n_pixels)
        What `check_maps` returned; a single map goes with every part.

    Yields
    ------
    part : slice
        Consecutive maps; together each map once.
    *blocks : ndarray of float64, shape (n_part or 1, n_pixels)
        These maps of each stack.

    Examples
    --------
    >>> [part for part, block in map_blocks(np.zeros((3, 200_000)))]
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    """
    lengths = [len(rows) for rows in stacks]
    n_maps = max(lengths) if min(lengths) else 0
    step = max(1, _BLOCK_VALUES // stacks[0].shape[1])
    for start in range(0, n_maps, step):
        part = slice(start, min(start + step, n_maps))
        yield (
            part,
            *(
                (rows[part] if len(rows) > 1 else rows).astype(np.float64, copy=False)
                for rows in stacks
            ),
        )


def row_of(maps: Rows, human: FixatedPixels) -> IntArray:
    """Return the row of `maps` that each fixation lies on.

    Parameters
    ----------
    maps : ndarray, shape (n_maps or 1, n_pixels)
        What `check_maps` returned.
    human : FixatedPixels
        Fixations.

    Returns
    -------
    ndarray of int64, shape (n_fixations,)
        0 throughout where one map serves all groups.
    """
    return human.map_index if len(maps) > 1 else np.zeros(len(human), np.int64)


def values_at(maps: Rows, human: FixatedPixels) -> Rows:
    """Return the value of its map at each fixation.

    Parameters
    ----------
    maps : ndarray, shape (n_maps or 1, n_pixels)
        What `check_maps` returned.
    human : FixatedPixels
        Fixations.

    Returns
    -------
    ndarray, shape (n_fixations,)
        The values.
    """
    return maps[row_of(maps, human), human.flat]


def mean_per_map(values: NDArray[Any], human: FixatedPixels) -> FloatArray:
    """Average values of fixations within each map.

    Parameters
    ----------
    values : ndarray of float, shape (n_fixations,)
        One value per fixation.
    human : FixatedPixels
        The fixations.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        Means; NaN for a map without fixations.
    """
    total = np.bincount(human.map_index, weights=values, minlength=human.n_maps)
    with np.errstate(invalid="ignore"):
        return total / human.n_fixations
