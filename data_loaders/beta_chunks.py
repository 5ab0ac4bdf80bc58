"""How trials x units lie in a chunked dataset of an HDF5 file."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_loaders.beta_layouts import (
    BUFFER_BYTES,
    READ_ERRORS,
    Piece,
    turn_lines,
    turn_over,
)
from neurovis.core.files import corrupt

_BOX_PLACES = 512  # more at once no longer fit the cache


@dataclass(frozen=True)
class HdfLayout:
    """A chunked dataset of an HDF5 file, (trials, Z, Y, X) or (trials, vertices).

    Parameters
    ----------
    dataset : str
        Its name.
    dtype : dtype
        Of the stored numbers.
    shape, chunks : tuple of int
        As h5py tells them.
    is_compressed : bool
        Whether a chunk can only be read whole.
    """

    dataset: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    is_compressed: bool

    @property
    def is_sequential(self) -> bool:
        """Whether any few units need most of the file."""
        share = math.prod(self.chunks[1:]) / max(1, math.prod(self.shape[1:]))
        return self.is_compressed and share > 0.25

    def pieces(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        """Yield raw numbers; see `FlatLayout.pieces`.

        With the chunks (trials, 1, 1, 1) of the Natural Scenes Dataset these are runs
        of neighbours along x, so that no voxel is read that was not asked for.

        Parameters
        ----------
        path : Path
            The file.
        places, rows : ndarray of int64
            Ascending.

        Yields
        ------
        tuple
            See `Piece`. Of a sequential layout pieces come in the order of trials.

        Raises
        ------
        DataCorruptError
            If the file is truncated or damaged.
        """
        try:
            with h5py.File(path, "r") as file:
                data = file[self.dataset]
                if self.is_sequential:
                    yield from turn_lines(self._planes(data, places, rows))
                else:
                    yield from self._boxes(data, places, rows)
        except READ_ERRORS as error:
            raise corrupt(path, "HDF5", error) from error

    def lines(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[NDArray[Any]]:
        """Yield raw numbers as (trials, places); see `GzipLayout.lines`.

        Parameters
        ----------
        path : Path
            The file.
        places, rows : ndarray of int64
            Ascending.

        Yields
        ------
        ndarray, shape (n_some, n_places)
            The next trials.

        Raises
        ------
        DataCorruptError
            If the file is truncated or damaged.
        """
        try:
            with h5py.File(path, "r") as file:
                yield from self._planes(file[self.dataset], places, rows)
        except READ_ERRORS as error:
            raise corrupt(path, "HDF5", error) from error

    def _planes(
        self, data: Any, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[NDArray[Any]]:
        n_places = math.prod(self.shape[1:])
        for trials, start, stop in self._trial_steps(rows, n_places):
            planes = data[start:stop].reshape(stop - start, n_places)
            yield planes[(rows[trials] - start)[:, None], places]

    def _trial_steps(
        self, rows: NDArray[np.int64], n_places: int
    ) -> Iterator[tuple[slice, int, int]]:
        """Cut the trials so that few enough of them are read at once."""
        fit = BUFFER_BYTES // (n_places * self.dtype.itemsize)
        step = max(1, fit // self.chunks[0]) * self.chunks[0]
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            i, j = np.searchsorted(rows, [start, stop]).tolist()
            if i < j:
                yield slice(i, j), start, stop

    def _boxes(
        self, data: Any, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        order, boxes, index = _boxes_of(places, self.shape[1:], self.chunks[1:])
        n_held = max(1, BUFFER_BYTES // (2 * len(rows) * self.dtype.itemsize))
        held = np.empty((min(n_held, len(order)), len(rows)), self.dtype)
        first = 0
        in_order = bool((np.diff(order) == 1).all())
        for i, j, box, is_whole in boxes:
            n_box = math.prod(side.stop - side.start for side in box)
            is_large = 2 * n_box * self.shape[0] * self.dtype.itemsize > BUFFER_BYTES
            if first < i and (is_large or j - first > len(held)):
                where = slice(first, i) if in_order else order[first:i]
                yield Piece(where, slice(0, len(rows)), held[: i - first])
                first = i
            if is_large:
                for trials, start, stop in self._trial_steps(rows, n_box):
                    some = data[(slice(start, stop), *box)].reshape(-1, n_box)
                    some = some[rows[trials] - start]
                    for where, trials_here, raw in turn_over(
                        some, index[i:j], i, trials
                    ):
                        yield Piece(order[where], trials_here, raw)
                first = j
                continue
            some = data[(slice(None), *box)].reshape(-1, n_box)
            if len(rows) < self.shape[0]:
                some = some[rows]
            held[i - first : j - first] = (some if is_whole else some[:, index[i:j]]).T
        if first < len(order):
            where = slice(first, None) if in_order else order[first:]
            yield Piece(where, slice(0, len(rows)), held[: len(order) - first])


_Boxes = list[tuple[int, int, tuple[slice, ...], bool]]


def _boxes_of(
    places: NDArray[np.int64], dims: tuple[int, ...], chunks: tuple[int, ...]
) -> tuple[NDArray[np.int64], _Boxes, NDArray[np.int64]]:
    """Gather places into boxes of chunks that touch along the last axis.

    Returns
    -------
    order : ndarray of int64, shape (n_places,)
        Places, box by box.
    boxes : list of (int, int, tuple of slice, bool)
        Which part of `order` lies in a box, the least box around it, and whether
        these are all of its places in their order.
    index : ndarray of int64, shape (n_places,)
        Where in its box each place of `order` lies.
    """
    axes = np.stack(np.unravel_index(places, dims))
    sides = np.array(chunks)[:, None]
    n_chunks = tuple(math.ceil(d / c) for d, c in zip(dims, chunks, strict=True))
    chunk = np.ravel_multi_index(tuple(axes // sides), n_chunks)
    order = np.argsort(chunk, kind="stable")
    axes, chunk = axes[:, order], chunk[order]
    line, along = np.divmod(chunk, n_chunks[-1])
    far = (np.diff(chunk) > 1) | (np.diff(line) > 0)
    # Long runs are cut, because a box of many places no longer fits the cache.
    most = max(1, _BOX_PLACES // math.prod(chunks))
    far |= np.diff(along // most) > 0
    starts = np.flatnonzero(np.concatenate([[True], far]))
    stops = np.append(starts[1:], len(order))
    lows = np.minimum.reduceat(axes, starts, axis=1)
    highs = np.maximum.reduceat(axes, starts, axis=1) + 1
    box = np.repeat(np.arange(len(starts)), stops - starts)
    index = np.zeros(len(order), np.int64)
    for axis, low, high in zip(axes, lows, highs, strict=True):
        index = index * (high - low)[box] + axis - low[box]
    in_order = index == np.arange(len(order)) - starts[box]
    sizes = np.prod(highs - lows, axis=0)
    is_whole = np.logical_and.reduceat(in_order, starts) & (sizes == stops - starts)
    columns = [a.tolist() for a in (starts, stops, lows.T, highs.T, is_whole)]
    boxes = [
        (i, j, tuple(slice(a, b) for a, b in zip(low, high, strict=True)), whole)
        for i, j, low, high, whole in zip(*columns, strict=True)
    ]
    return order, boxes, index
