"""How trials x units lie in a file, and how some units are read out of it.

Every layout yields raw numbers in pieces of bounded size; a piece is valid until the
next one is asked for. Places are 0-based and flat, x fastest, which for HDF5 written by
MATLAB is the C order of its last axes.
"""

import gzip
import itertools
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt

BUFFER_BYTES = 2**25
"""Raw bytes that are held at once while a file is read."""
_GAP_BYTES = 2**16  # what lies between two wanted places is read too up to this
_UNITS_AT_ONCE = 1000  # of a piece that is turned over: small enough for the cache
_TAIL_BYTES = 2**20
READ_ERRORS = (*DECODER_ERRORS, RuntimeError, MemoryError, OverflowError)

Where = slice | NDArray[np.int64]


class Piece(NamedTuple):
    """Some raw numbers of a file.

    Parameters
    ----------
    units : slice or ndarray of int64
        Which of the wanted units.
    trials : slice
        Which of the wanted trials.
    raw : ndarray, shape (n_units, n_trials)
        The numbers as they are stored.
    """

    units: Where
    trials: slice
    raw: NDArray[Any]


def _spans(places: NDArray[np.int64], gap: int, longest: int) -> list[tuple[int, int]]:
    """Cut ascending places where they lie far apart, or reach too far."""
    cuts = np.flatnonzero(np.diff(places) > gap) + 1
    spans = []
    edges = [0, *cuts.tolist(), len(places)]
    for start, stop in itertools.pairwise(edges):
        while start < stop:
            end = int(np.searchsorted(places[start:stop], places[start] + longest))
            spans.append((start, start + end))
            start += end
    return spans


def _short(path: Path) -> DataCorruptError:
    return DataCorruptError(
        f"{path} ends before its last trial. It is truncated: delete it, then make or "
        "download it again."
    )


@dataclass(frozen=True)
class FlatLayout:
    """One array of numbers in a plain file.

    Parameters
    ----------
    dtype : dtype
        Of the stored numbers, with their byte order.
    n_trials, n_places : int
        Its size.
    offset : int
        Bytes before the array.
    by_trial : bool
        Whether all places of a trial lie together; otherwise all trials of a place.
    z_fastest : tuple of int, optional
        (X, Y, Z) where the places of a volume are stored with z fastest.
    """

    dtype: np.dtype[Any]
    n_trials: int
    n_places: int
    offset: int
    by_trial: bool = True
    z_fastest: tuple[int, ...] | None = None
    is_sequential = False

    @property
    def n_bytes(self) -> int:
        """Bytes that the file must have at least."""
        return self.offset + self.n_trials * self.n_places * self.dtype.itemsize

    def pieces(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        """Yield the raw numbers of ascending places and trials.

        Parameters
        ----------
        path : Path
            The file.
        places, rows : ndarray of int64
            Ascending.

        Yields
        ------
        tuple
            See `Piece`.

        Raises
        ------
        DataCorruptError
            If the file ends too early.
        """
        with path.open("rb", buffering=0) as file:
            if self.by_trial:
                yield from self._by_trial(path, file, places, rows)
            else:
                yield from self._by_unit(path, file, places, rows)

    def _by_trial(
        self,
        path: Path,
        file: BinaryIO,
        places: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> Iterator[Piece]:
        size = self.dtype.itemsize
        # At least 32 trials of a span fit the buffer, so that a unit gets many at once.
        longest = max(1, BUFFER_BYTES // (32 * size))
        for i, j in _spans(places, _GAP_BYTES // size, longest):
            first, length = int(places[i]), int(places[j - 1] - places[i]) + 1
            within = places[i:j] - first
            n_rows = max(1, min(len(rows), BUFFER_BYTES // (length * size)))
            buffer = np.empty((n_rows, length), self.dtype)
            for t in range(0, len(rows), n_rows):
                some = rows[t : t + n_rows].tolist()
                for line, row in zip(buffer, some, strict=False):
                    start = self.offset + (row * self.n_places + first) * size
                    _read_at(path, file, start, line)
                trials = slice(t, t + len(some))
                yield from turn_over(buffer[: len(some)], within, i, trials)

    def _by_unit(
        self,
        path: Path,
        file: BinaryIO,
        places: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> Iterator[Piece]:
        stored, order = places, np.arange(len(places))
        if self.z_fastest is not None:
            axes = np.unravel_index(places, self.z_fastest, order="F")
            stored = np.ravel_multi_index(axes, self.z_fastest)
            order = np.argsort(stored)
            stored = stored[order]
        size = self.dtype.itemsize * self.n_trials
        longest = max(1, BUFFER_BYTES // size)
        for i, j in _spans(stored, max(1, _GAP_BYTES // size), longest):
            first, length = int(stored[i]), int(stored[j - 1] - stored[i]) + 1
            buffer = np.empty((length, self.n_trials), self.dtype)
            _read_at(path, file, self.offset + first * size, buffer)
            raw = buffer if length == j - i else buffer[stored[i:j] - first]
            if len(rows) < self.n_trials:
                raw = raw[:, rows]
            where = slice(i, j) if self.z_fastest is None else order[i:j]
            yield Piece(where, slice(0, len(rows)), raw)


def _read_at(path: Path, file: BinaryIO, start: int, into: NDArray[Any]) -> None:
    view = into.reshape(-1).view(np.uint8).data
    while view:
        # Linux reads at most 2 GiB at once.
        n_read = os.preadv(file.fileno(), [view], start)
        if not n_read:
            raise _short(path)
        start += n_read
        view = view[n_read:]


def turn_over(
    block: NDArray[Any], within: NDArray[np.int64], first: int, trials: slice
) -> Iterator[Piece]:
    """Yield trials x places as units x trials, in parts that fit the cache.

    Parameters
    ----------
    block : ndarray, shape (n_some, n_there)
        Trials of neighbouring places.
    within : ndarray of int64, shape (n_units,)
        Which of these places are wanted.
    first : int
        Number of the first wanted unit.
    trials : slice
        Which trials they are.

    Yields
    ------
    tuple
        See `Piece`.
    """
    for s in range(0, len(within), _UNITS_AT_ONCE):
        some = within[s : s + _UNITS_AT_ONCE]
        # A copy, so that what is turned over lies close together.
        if (np.diff(some) == 1).all():
            copy = block[:, some[0] : some[-1] + 1].copy()
        else:
            copy = block[:, some]
        yield Piece(slice(first + s, first + s + len(some)), trials, copy.T)


@dataclass(frozen=True)
class GzipLayout:
    """One array, trial by trial, in a gzip file: it can only be read from the start.

    Parameters
    ----------
    flat : FlatLayout
        Of the unpacked file.
    """

    flat: FlatLayout
    is_sequential = True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Kind of the stored numbers."""
        return self.flat.dtype

    def pieces(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        """Yield raw numbers, trial after trial; see `FlatLayout.pieces`.

        Parameters
        ----------
        path : Path
            The file.
        places, rows : ndarray of int64
            Ascending.

        Yields
        ------
        tuple
            See `Piece`.

        Raises
        ------
        DataCorruptError
            If the file is truncated or damaged.
        """
        yield from turn_lines(self.lines(path, places, rows))

    def lines(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[NDArray[Any]]:
        """Yield raw numbers as (trials, places); see `FlatLayout.pieces`.

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
        flat = self.flat
        wanted = np.zeros(flat.n_trials, np.bool_)
        wanted[rows] = True
        line = np.empty(flat.n_places, flat.dtype)
        n_held = max(1, BUFFER_BYTES // (len(places) * flat.dtype.itemsize))
        held = np.empty((min(n_held, len(rows)), len(places)), flat.dtype)
        n = 0
        with gzip.open(path) as file:
            _fill(path, file, np.empty(flat.offset, np.uint8))
            # To the end even when the last trials are not wanted: there the
            # checksum of the file is compared.
            for is_wanted in wanted:
                _fill(path, file, line)
                if is_wanted:
                    np.take(line, places, out=held[n], mode="clip")
                    n += 1
                if n == len(held):
                    yield held
                    n = 0
            _drain(path, file)
        if n:
            yield held[:n]


def turn_lines(lines: Iterator[NDArray[Any]]) -> Iterator[Piece]:
    """Yield lines of trials as pieces.

    Parameters
    ----------
    lines : iterator of ndarray, shape (n_some, n_places)
        Trials of all wanted places.

    Yields
    ------
    tuple
        See `Piece`.
    """
    done = 0
    for some in lines:
        trials = slice(done, done + len(some))
        yield from turn_over(some, np.arange(some.shape[1]), 0, trials)
        done += len(some)


def _fill(path: Path, file: Any, into: NDArray[Any]) -> None:
    view = into.reshape(-1).view(np.uint8).data
    try:
        while view:
            n_read = file.readinto(view)
            if not n_read:
                raise _short(path)
            view = view[n_read:]
    except DataCorruptError:
        raise
    except READ_ERRORS as error:
        raise corrupt(path, "gzip", error) from error


def _drain(path: Path, file: Any) -> None:
    try:
        while file.read(2**20):
            pass
    except READ_ERRORS as error:
        raise corrupt(path, "gzip", error) from error


def check_gzip_end(path: Path, n_bytes: int) -> None:
    """Raise if a gzip file cannot hold so many bytes; mostly without unpacking it.

    Parameters
    ----------
    path : Path
        The file.
    n_bytes : int
        Least size of what it holds.

    Raises
    ------
    DataCorruptError
        If it is truncated or damaged.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        stated = int.from_bytes(file.read(4), "little")
    # The last four bytes tell the size; a little may follow the array.
    if (stated - n_bytes) % 2**32 < _TAIL_BYTES:
        return
    # Or it is that of the last of several members: only unpacking can tell.
    n_found = 0
    try:
        with gzip.open(path) as unpacked:
            while some := unpacked.read(2**20):
                n_found += len(some)
    except (*READ_ERRORS, zlib.error) as error:
        raise corrupt(path, "gzip", error) from error
    if n_found < n_bytes:
        raise _short(path)
