"""Writers of the file formats of NSD, for simulated data.

The beta writers take the responses of a run of places at a time, all trials of a
session, so that no session need fit into memory.
"""

import gzip
import io
import os
import re
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

INTEGER_SCALE = 300
"""Integers in files are percent signal change times this."""


def to_integers(percent: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return responses as they are stored, saturated at the ends of 16 bits.

    Parameters
    ----------
    percent : ndarray of float32
        Percent signal change.

    Returns
    -------
    ndarray of int16
        Times 300, rounded.
    """
    scaled = np.rint(percent * np.float32(INTEGER_SCALE))
    limits = np.iinfo(np.int16)
    stored: NDArray[np.int16] = scaled.clip(limits.min, limits.max).astype(np.int16)
    return stored


class BetaWriter(Protocol):
    """One file of trials x places."""

    def write(self, start: int, values: NDArray[Any]) -> None:
        """Write consecutive places.

        Parameters
        ----------
        start : int
            0-based place of the first one in the file.
        values : ndarray, shape (n_places, n_trials)
            As they are stored.
        """

    def close(self) -> None:
        """Finish the file."""


@contextmanager
def numbered_hdf5_errors() -> Iterator[None]:
    """Let errors of HDF5 carry the number that the system gave them.

    Yields
    ------
    None
        For the block that writes.

    Raises
    ------
    OSError
        If the system refuses, as when a disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # from write, close, create
        if (code := re.search(r"errno = (\d+)", str(error))) is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


class HDF5Writer:
    """HDF5 file with the dataset ``betas``, int16, one chunk per place.

    Parameters
    ----------
    path : Path
        File to make.
    n_trials : int
        First axis.
    grid : tuple of int
        (X, Y, Z), stored as (trials, Z, Y, X); or (n_vertices,).
    matlab : bool, default False
        Write the header that MATLAB puts in front of its version 7.3 files.
    """

    def __init__(
        self, path: Path, n_trials: int, grid: tuple[int, ...], *, matlab: bool = False
    ) -> None:
        self._path, self._grid, self._matlab = path, grid, matlab
        self._file = h5py.File(path, "w", userblock_size=512 if matlab else 0)
        shape = (n_trials, *grid[::-1])
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((n_trials,) + (1,) * len(grid))
        # Chunks lie in order of place, however many files grow at once.
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_obj_track_times(False)  # equal data, equal bytes
        space = h5py.h5s.create_simple(shape)
        kind = h5py.h5t.STD_I16LE
        self._data = h5py.h5d.create(self._file.id, b"betas", kind, space, layout)
        if matlab:
            self._file["betas"].attrs["MATLAB_class"] = np.bytes_(b"int16")

    def write(self, start: int, values: NDArray[np.int16]) -> None:
        """Write consecutive places; those that are all zero are left as they are.

        Parameters
        ----------
        start : int
            0-based place of the first one in the file.
        values : ndarray, shape (n_places, n_trials)
            As they are stored.
        """
        flat = start + np.flatnonzero(values.any(axis=1))
        index = np.unravel_index(flat, self._grid, order="F")
        rows = values.astype("<i2")
        for place, *where in zip(flat, *index[::-1], strict=True):
            data = rows[place - start].tobytes()
            self._data.write_direct_chunk((0, *(int(w) for w in where)), data)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        if self._matlab:
            text = b"MATLAB 7.3 MAT-file, Platform: simulated, HDF5 schema 1.00 ."
            head = text.ljust(124) + b"\x00\x02IM"
            with self._path.open("r+b") as file:
                file.write(head)
        _flush(self._path)


class RowWriter:
    """File that stores all places of one trial after another, x fastest.

    Parameters
    ----------
    path : Path
        File to make; ``.nii.gz`` is compressed at the end.
    head, tail : bytes
        What stands before and after the values.
    n_trials, n_places : int
        Size.
    dtype : str
        How values are stored.
    """

    def __init__(
        self,
        path: Path,
        head: bytes,
        tail: bytes,
        n_trials: int,
        n_places: int,
        dtype: str,
    ) -> None:
        self._path, self._start = path, len(head)
        self._dtype, self._row = np.dtype(dtype), n_places * np.dtype(dtype).itemsize
        packed = path.suffix == ".gz"
        # A name of its own: "x.nii" may be written beside "x.nii.gz".
        self._plain = path.with_name(f"{path.name}.plain") if packed else path
        self._file = self._plain.open("w+b")
        self._file.write(head)
        self._file.truncate(self._start + n_trials * self._row)
        self._file.seek(0, os.SEEK_END)
        self._file.write(tail)
        self._file.flush()

    def write(self, start: int, values: NDArray[Any]) -> None:
        """Write consecutive places.

        Parameters
        ----------
        start : int
            0-based place of the first one in the file.
        values : ndarray, shape (n_places, n_trials)
            As they are stored.
        """
        rows = np.ascontiguousarray(values.T.astype(self._dtype))
        offset = self._start + start * self._dtype.itemsize
        handle = self._file.fileno()
        for trial, row in enumerate(rows):
            os.pwrite(handle, row.data, offset + trial * self._row)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        if self._plain != self._path:
            with (
                self._plain.open("rb") as source,
                self._path.open("wb") as sink,
                gzip.GzipFile("", "wb", 1, sink, mtime=0) as packed,
            ):
                shutil.copyfileobj(source, packed, 1 << 20)
            self._plain.unlink()
        _flush(self._path)


def write_new(path: Path, data: bytes) -> None:
    """Write a file of a folder that is not at its place yet, and flush it to disk.

    Parameters
    ----------
    path : Path
        File to write; missing folders are made.
    data : bytes
        Content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    _flush(path)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


# ----------------------------------------------------------------- NIfTI, MGH

_NIFTI_KINDS = {"i2": 4, "f4": 16}
_MGH_KINDS = {"i4": 1, "f4": 3}


def _nifti_header(
    shape: tuple[int, ...], dtype: str, affine: NDArray[np.float64]
) -> bytes:
    """Return the header of a single little-endian NIfTI-1 file."""
    kind = np.dtype(dtype)
    head = bytearray(352)
    dim = (len(shape), *shape, *(1,) * (7 - len(shape)))
    size = np.linalg.norm(affine[:3, :3], axis=0)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, *dim)
    struct.pack_into("<2h", head, 70, _NIFTI_KINDS[kind.str[1:]], 8 * kind.itemsize)
    struct.pack_into("<8f", head, 76, 1, *size, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, 352, 1, 0)  # start, slope and intercept
    head[123] = 2  # mm
    struct.pack_into("<h", head, 254, 1)  # the affine is given by its rows
    struct.pack_into("<12f", head, 280, *affine[:3].ravel())
    head[344:348] = b"n+1\0"
    return bytes(head)


def nifti_writer(
    path: Path, n_trials: int, grid: tuple[int, int, int], affine: NDArray[np.float64]
) -> RowWriter:
    """Return the writer of an int16 NIfTI file of shape (X, Y, Z, trials).

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``.
    n_trials : int
        Last axis.
    grid : tuple of int
        Voxels along x, y and z.
    affine : ndarray of float64, shape (4, 4)
        From 0-based indices to mm.

    Returns
    -------
    RowWriter
        Its values are integers.
    """
    head = _nifti_header((*grid, n_trials), "<i2", affine)
    return RowWriter(path, head, b"", n_trials, int(np.prod(grid)), "<i2")


def write_nifti(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write a volume as ``.nii.gz``; equal volumes give equal bytes.

    Parameters
    ----------
    path : Path
        File to write.
    values : ndarray of int16 or float32, shape (X, Y, Z) or (X, Y, Z, n)
        The volume.
    affine : ndarray of float64, shape (4, 4)
        From 0-based indices to mm.
    """
    dtype = values.dtype.newbyteorder("<")
    head = _nifti_header(values.shape, dtype.str, affine)
    data = values.astype(dtype).tobytes(order="F")
    write_new(path, gzip.compress(head + data, 6, mtime=0))


def _mgh_header(shape: tuple[int, int, int, int], kind: str) -> bytes:
    fields = struct.pack(">7ih", 1, *shape, _MGH_KINDS[kind], 0, 0)
    return fields.ljust(284, b"\0")


def mgh_writer(path: Path, n_trials: int, n_vertices: int) -> RowWriter:
    """Return the writer of a big-endian float32 MGH file (vertices, 1, 1, trials).

    Parameters
    ----------
    path : Path
        ``.mgh``.
    n_trials, n_vertices : int
        Size.

    Returns
    -------
    RowWriter
        Its values are percent signal change.
    """
    head = _mgh_header((n_vertices, 1, 1, n_trials), "f4")
    return RowWriter(path, head, bytes(20), n_trials, n_vertices, ">f4")


def write_mgh(path: Path, values: NDArray[Any]) -> None:
    """Write numbers of vertices as MGH.

    Parameters
    ----------
    path : Path
        ``.mgh``, or ``.mgz`` (compressed).
    values : ndarray of int32 or float32, shape (n_vertices,) or (n_vertices, n)
        One row per vertex, stored as (n_vertices, 1, 1, n).
    """
    n_frames = values.shape[1] if values.ndim == 2 else 1
    kind = values.dtype.str[1:]
    head = _mgh_header((len(values), 1, 1, n_frames), kind)
    data = head + values.astype(f">{kind}").tobytes(order="F") + bytes(20)
    packed = gzip.compress(data, 6, mtime=0) if path.suffix == ".mgz" else data
    write_new(path, packed)


# ------------------------------------------------------------------- MATLAB


def write_mat(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a MATLAB 5 file; equal arrays give equal bytes.

    Parameters
    ----------
    path : Path
        ``.mat``.
    arrays : mapping of str to ndarray
        Matrices by name; MATLAB keeps numbers as doubles.
    """
    file = io.BytesIO()
    doubles = {name: np.asarray(a, np.float64) for name, a in arrays.items()}
    savemat(file, doubles, do_compression=True)
    data = bytearray(file.getvalue())
    data[:116] = b"MATLAB 5.0 MAT-file, simulated".ljust(116)  # in place of the time
    write_new(path, bytes(data))
