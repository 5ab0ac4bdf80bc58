"""Prepared responses on disk: found by content, resumed after any interruption.

Layout of a store: ``<key>/`` is complete, ``<key>.work/`` is under way (``entry/`` will
be the complete folder, ``blocks/`` tells how far it is, ``unpacked/`` holds copies of
compressed files), and ``hashes/`` remembers the SHA-256 of large files by path, size,
times and inode.
"""

import errno
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.beta_files import BetaFile, open_beta_file
from data_loaders.content_hashes import hash_files, remember_hash, signature
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    atomic_path,
    read_json,
    read_table,
    sha256_file,
    sha256_json,
    write_json,
    write_table,
)
from neurovis.core.unit_responses import (
    BETAS_FILE,
    META_FILE,
    STIMULI_FILE,
    UNITS_FILE,
    UnitResponses,
    open_responses,
    write_tables,
)

ENTRY_FILE = "prepared.json"
_HEADER_BYTES = 128
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


# ------------------------------------------------------------------------ room


@contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """Turn what the system says when a disk is full into one clear error.

    Parameters
    ----------
    folder : Path
        What is written to.

    Yields
    ------
    None
        For the block that writes.

    Raises
    ------
    OSError
        If there is no room; what was complete is kept.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OSError(
            error.errno,
            f"There is no room left in {folder} ({os.strerror(error.errno)}). Make "
            "room and call again: what a store holds already is not done twice",
        ) from error


def check_room(folder: Path, n_bytes: int) -> None:
    """Raise if a disk has no room for so many bytes.

    Parameters
    ----------
    folder : Path
        What will be written to.
    n_bytes : int
        Bytes.

    Raises
    ------
    OSError
        If there is too little.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            errno.ENOSPC,
            f"{n_bytes / 1e6:.1f} MB are needed in {folder}, but only "
            f"{free / 1e6:.1f} MB are free. Make room, choose fewer units, or name "
            "another folder",
        )


# ------------------------------------------------------------------------ work


class BetasInMemory:
    """Prepared responses that grow in memory, unit by unit.

    Parameters
    ----------
    n_rows, n_units : int
        Largest size.
    """

    n_done = 0

    def __init__(self, n_rows: int, n_units: int) -> None:
        self._betas = np.empty((n_units, n_rows), np.float32)
        self._records: list[pd.DataFrame] = []
        self._n_kept = 0

    def append(self, betas: NDArray[np.float32], record: pd.DataFrame) -> None:
        """Take up the next units.

        Parameters
        ----------
        betas : ndarray of float32, shape (n_kept, n_rows)
            Their responses.
        record : DataFrame
            One row per unit, kept or not.
        """
        self._betas[self._n_kept : self._n_kept + len(betas)] = betas
        self._n_kept += len(betas)
        self._records.append(record)

    def finish(self) -> tuple[NDArray[np.float32], pd.DataFrame, str]:
        """Return the responses and records of all units.

        Returns
        -------
        betas : ndarray of float32, shape (n_rows, n_kept)
            In Fortran order.
        record : DataFrame
            One row per unit.
        sha : str
            SHA-256 of the file that would hold `betas`.
        """
        betas = self._betas[: self._n_kept]
        sha = hashlib.sha256(_npy_header(betas.shape[1], len(betas)))
        sha.update(betas.data)
        return betas.T, pd.concat(self._records, ignore_index=True), sha.hexdigest()


class BetasOnDisk:
    """Prepared responses that grow in a file, unit by unit, and survive any stop.

    A block counts when its record is there, which is written after the block is on
    disk. The header comes last.

    Parameters
    ----------
    folder : Path
        Work folder; what is there already is gone on with.
    n_rows, n_units : int
        Largest size.
    """

    def __init__(self, folder: Path, n_rows: int, n_units: int) -> None:
        self.folder = folder
        self._n_rows = n_rows
        self._records: list[pd.DataFrame] = []
        self.n_done = self._n_kept = 0
        for name in ("blocks", "entry", "unpacked"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            # Of a process that was killed: there is only one writer now.
            for rest in (folder / name).glob("*.part-*"):
                rest.unlink()
        path = folder / "entry" / BETAS_FILE
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._resume(n_units)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        os.close(self._handle)

    def _resume(self, n_units: int) -> None:
        n_bytes = os.fstat(self._handle).st_size
        while self.n_done < n_units:
            try:
                record = read_table(self._record_path())
            except (FileNotFoundError, DataCorruptError):
                break
            n_kept = self._n_kept + int(record["kept"].sum())
            if n_bytes < self._place(n_kept):
                break
            self._records.append(record)
            self.n_done += len(record)
            self._n_kept = n_kept

    def _record_path(self) -> Path:
        return self.folder / "blocks" / f"{self.n_done:09d}.parquet"

    def _place(self, unit: int) -> int:
        return _HEADER_BYTES + 4 * self._n_rows * unit

    def append(self, betas: NDArray[np.float32], record: pd.DataFrame) -> None:
        """Write the next units.

        Parameters
        ----------
        betas : ndarray of float32, shape (n_kept, n_rows)
            Their responses.
        record : DataFrame
            One row per unit, kept or not.

        Raises
        ------
        OSError
            If the disk is full.
        """
        with room_for(self.folder):
            if betas.size:
                _write_at(self._handle, self._place(self._n_kept), betas)
            os.fsync(self._handle)
            write_table(self._record_path(), record)
        self.n_done += len(record)
        self._n_kept += len(betas)
        self._records.append(record)

    def finish(self) -> tuple[NDArray[np.float32], pd.DataFrame, str]:
        """Complete the file and return what it holds.

        Returns
        -------
        betas : ndarray of float32, shape (n_rows, n_kept)
            In Fortran order; on disk.
        record : DataFrame
            One row per unit.
        sha : str
            SHA-256 of the file.

        Raises
        ------
        OSError
            If the disk is full.
        """
        start = np.frombuffer(_npy_header(self._n_rows, self._n_kept), np.uint8)
        with room_for(self.folder):
            _write_at(self._handle, 0, start)
            os.truncate(self._handle, self._place(self._n_kept))
            os.fsync(self._handle)
        path = self.folder / "entry" / BETAS_FILE
        betas = np.load(path, mmap_mode="r")
        record = pd.concat(self._records, ignore_index=True)
        return betas, record, sha256_file(path)


def _npy_header(n_rows: int, n_units: int) -> bytes:
    header = io.BytesIO()
    shape = (n_rows, n_units)
    facts = {"descr": "<f4", "fortran_order": True, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    found = header.getvalue()
    if len(found) != _HEADER_BYTES:
        raise RuntimeError(f"NumPy wrote a header of {len(found)} bytes.")
    return found


def _write_at(handle: int, start: int, values: NDArray[Any]) -> None:
    view = values.reshape(-1).view(np.uint8).data
    while view:
        n_written = os.pwrite(handle, view, start)
        start += n_written
        view = view[n_written:]


def unpack(file: BetaFile, places: NDArray[np.int64], target: Path) -> BetaFile:
    """Copy some units of a compressed file, so that blocks of them can be read.

    Parameters
    ----------
    file : BetaFile
        What is read from start to end.
    places : ndarray of int64, shape (n_places,)
        0-based, ascending.
    target : Path
        ``.npy`` file; one that is complete already is kept.

    Returns
    -------
    BetaFile
        With the grid (n_places,).

    Raises
    ------
    DataCorruptError
        If `file` is damaged.
    OSError
        If the disk is full.
    """
    grid = (len(places),)
    if not target.exists():
        shape = (file.n_trials, len(places))
        facts = {"descr": file.dtype.str, "fortran_order": False, "shape": shape}
        with (
            room_for(target.parent),
            atomic_path(target) as part,
            part.open("wb") as out,
        ):
            np.lib.format.write_array_header_1_0(out, facts)
            for lines in file.lines(places):
                out.write(lines.data)
    copy = open_beta_file(target, grid=grid, n_trials=file.n_trials)
    return replace(file, path=target, grid=grid, layout=copy.layout)


# --------------------------------------------------------------------- entries


def write_entry(
    work: Path, store: Path, parts: Mapping[str, Any], responses: UnitResponses
) -> None:
    """Complete a work folder and give it its name.

    Parameters
    ----------
    work : Path
        Where ``entry/betas.npy`` is complete.
    store : Path
        Folder of the store.
    parts : mapping
        The parts of its key.
    responses : UnitResponses
        What is written beside; its fingerprint "betas" is that of the file.

    Raises
    ------
    OSError
        If the disk is full.
    """
    entry, final = work / "entry", store / sha256_json(parts)
    with room_for(store):
        write_tables(entry, responses)
        names = (STIMULI_FILE, UNITS_FILE, META_FILE)
        hashes = {name: sha256_file(entry / name) for name in names}
        hashes[BETAS_FILE] = responses.fingerprints["betas"]
        write_json(entry / ENTRY_FILE, {"parts": parts, "files": hashes})
        entry.rename(final)
    remember_hash(signature(final / BETAS_FILE), hashes[BETAS_FILE], store)


def open_entry(
    store: Path,
    key: str,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
) -> UnitResponses:
    """Open prepared responses after their checksums were compared.

    Parameters
    ----------
    store : Path
        Folder of the store.
    key : str
        SHA-256 of what they were prepared from.
    pictures : sequence of ndarray of uint8, optional
        Pictures of the rows.

    Returns
    -------
    UnitResponses
        The betas stay on disk until they are indexed.

    Raises
    ------
    KeyError
        If there is no such entry.
    DataCorruptError
        If it is damaged.
    """
    folder = store / key
    if not folder.is_dir():
        raise KeyError(f"{store} has no entry {key!r}.")
    try:
        entry = read_json(folder / ENTRY_FILE)
        if not isinstance(entry, dict) or sha256_json(entry["parts"]) != key:
            raise KeyError("another key")
        for name, sha in entry["files"].items():
            is_large = name == BETAS_FILE
            path = folder / name
            found = hash_files([path], store)[0] if is_large else sha256_file(path)
            if found != sha:
                raise KeyError(f"another hash of {name}")
        return open_responses(folder, pictures=pictures)
    except (KeyError, TypeError, AttributeError, FileNotFoundError) as error:
        raise DataCorruptError(
            f"The prepared responses {folder} are damaged ({error}). Remove that "
            "folder; it will be made again."
        ) from error


def remove_entry(store: Path, key: str) -> None:
    """Remove a complete entry, damaged or not.

    Parameters
    ----------
    store : Path
        Folder of the store.
    key : str
        Its name.
    """
    for rest in store.glob(f"{key}.part-*"):
        shutil.rmtree(rest)
    if (store / key).exists():
        # Under another name first: a folder named by a key is always whole.
        shutil.rmtree((store / key).rename(store / f"{key}.part-{os.getpid()}"))
