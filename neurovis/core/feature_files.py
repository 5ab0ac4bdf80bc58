"""Large matrices on disk, written row by row: a killed writer goes on where it was.

Layout: ``<key>/features.npy`` beside ``<key>/meta.json``, found again by the SHA-256 of
what the matrix was computed from. While rows are missing the folder is called
``<key>.partial``, so that a folder named by a key is complete. Rows are grouped into
shards; those listed in ``meta.json`` are on disk and have a checksum each.
"""

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_whole
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import plain, read_json, sha256_json, write_json

logger = logging.getLogger(__name__)

MATRIX_FILE = "features.npy"
META_FILE = "meta.json"
_FLOAT_BYTES = 4
_READ_BYTES = 2**24
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def read_features(root: str | Path, key: str) -> NDArray[np.float32]:
    """Open a complete matrix after its checksums were verified.

    Parameters
    ----------
    root : str or Path
        Folder of all matrices.
    key : str
        Which one.

    Returns
    -------
    ndarray of float32, shape (n_rows, n_features)
        Memory-mapped and read-only: rows are read when they are indexed.

    Raises
    ------
    KeyError
        If there is no such matrix, or it is not complete.
    DataCorruptError
        If its files are damaged.
    """
    folder = Path(root) / key
    if not folder.is_dir():
        raise KeyError(f"{root} has no complete features {key!r}.")
    meta = _read_meta(folder)
    if sha256_json(meta["parts"]) != key:
        raise _damaged(folder, "its parts do not give its key")
    if sum(rows for rows, _ in meta["shards"]) != meta["n_rows"]:
        raise _damaged(folder, "rows are missing")
    if _count_sound_shards(folder, meta) != len(meta["shards"]):
        raise _damaged(folder, "a checksum differs")
    return _open_matrix(folder)


def _open_matrix(folder: Path) -> NDArray[np.float32]:
    matrix: NDArray[np.float32] = np.load(folder / MATRIX_FILE, mmap_mode="r")
    return matrix


def features_meta(root: str | Path, key: str) -> dict[str, Any]:
    """Return what is known about a complete matrix.

    Parameters
    ----------
    root : str or Path
        Folder of all matrices.
    key : str
        Which one.

    Returns
    -------
    dict
        `parts` of the key, `n_rows`, `n_features`, `shards`, and `sources`: one
        entry per process that wrote rows.

    Raises
    ------
    KeyError
        If there is no such matrix, or it is not complete.
    DataCorruptError
        If ``meta.json`` is damaged.
    """
    folder = Path(root) / key
    if not folder.is_dir():
        raise KeyError(f"{root} has no complete features {key!r}.")
    return _read_meta(folder)


class FeatureWriter:
    """Writes the rows of one matrix in their order, shard by shard.

    One writer at a time: hold `neurovis.core.store.lock` of ``<root>/<key>`` around
    it. What a killed writer finished is verified and kept, and so is what comes before
    the first damaged shard of a matrix that was complete.

    Parameters
    ----------
    root : str or Path
        Folder of all matrices; it must exist.
    parts : mapping
        Everything that the matrix depends on, as JSON values; the SHA-256 of it is
        the key.
    n_rows, n_features : int
        Shape of the matrix.
    shard_rows : int, default 256
        After so many rows all is flushed to disk and the checksum noted.
    source : mapping, optional
        How the rows of this writer came about, as JSON values.

    Raises
    ------
    ValueError
        If a number is out of range.
    OSError
        If the disk has no room for the matrix.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> with FeatureWriter(root, {"layer": "conv1"}, 3, 2) as writer:
    ...     writer.append(np.ones((3, 2), np.float32))
    ...     matrix = writer.finish()
    >>> read_features(root, writer.key).sum() == matrix.sum()
    np.True_
    >>> matrix.sum()
    np.float32(6.0)
    """

    def __init__(
        self,
        root: str | Path,
        parts: Mapping[str, Any],
        n_rows: int,
        n_features: int,
        *,
        shard_rows: int = 256,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        check_whole("n_rows", n_rows, low=1)
        check_whole("n_features", n_features, low=1)
        self.shard_rows = check_whole("shard_rows", shard_rows, low=1)
        self.shape = (n_rows, n_features)
        self.key = sha256_json(parts)
        self.folder = Path(root) / self.key
        self._part = Path(root) / f"{self.key}.partial"
        with self._room():
            self._meta = self._resume() or self._start(parts)
        source = plain(source or {})
        if source not in self._meta["sources"]:
            self._meta["sources"].append(source)
        self.n_done = sum(rows for rows, _ in self._meta["shards"])
        self._row_bytes = n_features * _FLOAT_BYTES
        self._file: BinaryIO = (self._part / MATRIX_FILE).open("rb+")
        self._file.seek(self._meta["offset"] + self.n_done * self._row_bytes)
        self._sha = hashlib.sha256()
        self._n_open = 0  # rows since the last shard

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise OSError(
                error.errno,
                f"There is no room left in {self.folder.parent} "
                f"({os.strerror(error.errno)}). Make room and call again: the shards "
                "that are complete are kept",
            ) from error

    def _resume(self) -> dict[str, Any] | None:
        if not self._part.is_dir():
            if not self.folder.is_dir():
                return None
            self.folder.rename(self._part)
        try:
            for rest in self._part.glob("*.part-*"):  # of a killed writer
                rest.unlink()
            meta = _read_meta(self._part)
            found = sha256_json(meta["parts"]), meta["n_rows"], meta["n_features"]
            if found != (self.key, *self.shape):
                raise _damaged(self._part, "it belongs to another key or shape")
            sound = _count_sound_shards(self._part, meta)
        except DataCorruptError as error:
            logger.warning("starting again: %s", error)
            return None
        if sound < len(meta["shards"]):
            logger.warning(
                "%s: a checksum differs, going on from shard %d", self._part, sound
            )
        del meta["shards"][sound:]
        return meta

    def _start(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        needed = self.shape[0] * self.shape[1] * _FLOAT_BYTES
        if self._part.exists():
            shutil.rmtree(self._part)
        free = shutil.disk_usage(self._part.parent).free
        if needed > free:
            raise OSError(
                f"Features of {needed / 1e6:.1f} MB do not fit on the disk of "
                f"{self._part.parent}, which has {free / 1e6:.1f} MB free. Pool or "
                "project the layer, free space, or choose another folder.",
            )
        self._part.mkdir()
        # Makes header and length only: no disk space is used yet.
        matrix = np.lib.format.open_memmap(
            self._part / MATRIX_FILE, mode="w+", dtype=np.float32, shape=self.shape
        )
        return {
            "parts": plain(parts),
            "n_rows": self.shape[0],
            "n_features": self.shape[1],
            "offset": int(cast("np.memmap[Any, Any]", matrix).offset),
            "shards": [],
            "sources": [],
        }

    def append(self, rows: NDArray[np.float32]) -> None:
        """Write the next rows.

        Parameters
        ----------
        rows : ndarray of float32, shape (n, n_features)
            Features.

        Raises
        ------
        ValueError
            If the width or the dtype differ, or there are too many rows.
        OSError
            If the disk is full; the shards that are complete are kept.
        """
        total, width = self.shape
        if rows.ndim != 2 or rows.shape[1] != width or rows.dtype != np.float32:
            raise ValueError(
                f"`rows` must be float32 of shape (n, {width}); got {rows.dtype} of "
                f"shape {rows.shape}."
            )
        if self.n_done + self._n_open + len(rows) > total:
            raise ValueError(f"There are more rows than the {total} announced.")
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + self.shard_rows - self._n_open)
            data = np.ascontiguousarray(rows[start:stop]).data
            with self._room():
                self._file.write(data)
            self._sha.update(data)
            self._n_open += stop - start
            if self._n_open == self.shard_rows:
                self._close_shard()
            start = stop

    def _close_shard(self) -> None:
        # The rows first, then the note that they are there.
        with self._room():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._meta["shards"].append([self._n_open, self._sha.hexdigest()])
            write_json(self._part / META_FILE, self._meta)
        self.n_done += self._n_open
        self._n_open = 0
        self._sha = hashlib.sha256()

    def finish(self) -> NDArray[np.float32]:
        """Give the complete matrix its name; a damaged one of that name goes.

        Returns
        -------
        ndarray of float32, shape (n_rows, n_features)
            As `read_features` returns it.

        Raises
        ------
        ValueError
            If rows are missing.
        """
        if self._n_open:
            self._close_shard()
        if self.n_done != self.shape[0]:
            raise ValueError(
                f"{self.shape[0]} rows were announced; {self.n_done} were written."
            )
        with self._room():
            self._file.close()
            write_json(self._part / META_FILE, self._meta)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self._part.rename(self.folder)
        return _open_matrix(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # On a full disk closing tries to write again: the first error is what counts.
        with suppress(OSError) if error else self._room():
            self._file.close()


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / META_FILE
    if not path.is_file():
        raise _damaged(folder, f"{META_FILE} is missing")
    meta = read_json(path)
    needed = {"parts", "n_rows", "n_features", "offset", "shards", "sources"}
    if not isinstance(meta, dict) or not needed <= set(meta):
        raise _damaged(folder, f"{META_FILE} is not that of features")
    return meta


def _count_sound_shards(folder: Path, meta: Mapping[str, Any]) -> int:
    """Return how many shards, from the first on, have their checksum."""
    path = folder / MATRIX_FILE
    row_bytes = meta["n_features"] * _FLOAT_BYTES
    length = meta["offset"] + meta["n_rows"] * row_bytes
    if not path.is_file() or path.stat().st_size != length:
        raise _damaged(folder, f"{MATRIX_FILE} is missing or has another length")
    try:
        header = np.load(path, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(folder, f"{MATRIX_FILE} has no header: {error}") from error
    if header.shape != (meta["n_rows"], meta["n_features"]) or header.dtype != "<f4":
        raise _damaged(folder, f"the header of {MATRIX_FILE} differs")
    with path.open("rb") as file:
        file.seek(meta["offset"])
        for number, (rows, checksum) in enumerate(meta["shards"]):
            sha = hashlib.sha256()
            left = rows * row_bytes
            while left and (block := file.read(min(left, _READ_BYTES))):
                sha.update(block)
                left -= len(block)
            if sha.hexdigest() != checksum:
                return number
    return len(meta["shards"])


def _damaged(folder: Path, reason: str) -> DataCorruptError:
    return DataCorruptError(
        f"The features in {folder} are damaged: {reason}. Remove the folder; they will "
        "be computed again."
    )
