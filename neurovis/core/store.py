"""A folder of expensive results, found again by what they were computed from.

Layout: ``<key>/meta.json`` beside ``<key>/table.parquet``,
``<key>/arrays.safetensors``, or any files that a job left. A folder named by a key is
complete, because it is written under another name and renamed.
"""

import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from neurovis.core.array_files import write_arrays
from neurovis.core.disk_errors import clear_disk_errors
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    atomic_folder,
    check_writable_folder,
    plain,
    read_json,
    read_table,
    remove_leftovers,
    sha256_file,
    sha256_json,
    write_json,
    write_table,
)

Value = TypeVar("Value", pd.DataFrame, dict[str, NDArray[Any]])
Found = TypeVar("Found")

logger = logging.getLogger(__name__)

META = "meta.json"
TABLE = "table.parquet"
ARRAYS = "arrays.safetensors"


@contextmanager
def lock(target: str | Path, *, wait: bool = True) -> Iterator[None]:
    """Hold ``<target>.lock`` inside the block: one process or thread at a time.

    The file tells process and host of the holder. The lock itself is kept by the
    operating system, so that of a killed process is free at once.

    Parameters
    ----------
    target : str or Path
        What is going to be written; its folder must exist.
    wait : bool, default True
        Wait for another holder; otherwise raise.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    BlockingIOError
        If another process holds the lock and `wait` is False.
    OSError
        If the file system cannot lock files.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "table.parquet"
    >>> with lock(target):
    ...     target.with_name("table.parquet.lock").exists()
    True
    """
    target = Path(target)
    path = target.with_name(f"{target.name}.lock")
    with clear_disk_errors(path.parent, path.name):
        handle = _acquire(path, wait)
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        with clear_disk_errors(path.parent, path.name):
            os.truncate(handle, 0)
            os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        # A forked child may have the handle open too: unlock before closing.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _acquire(path: Path, wait: bool) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 200, 0).decode(errors="replace")
                if not wait:
                    raise BlockingIOError(
                        f"{path} is held by another writer: {holder}. Wait until it "
                        "ends, or end it."
                    ) from None
                logger.warning("waiting for %s, held by %s", path, holder)
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_still(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    # The last holder removes the file: what we locked may be gone, or another's.
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


class Store:
    """Results on disk, keyed by the content that they were computed from.

    Parameters
    ----------
    root : str or Path
        Folder of the store; made by the first write. It must be on a file system
        with file locks (Linux or macOS).

    Examples
    --------
    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> parts = {"stimuli": "3f2a", "layer": "block5", "version": 1}
    >>> compute = lambda: {"mean": np.array([1.0, 2.0])}
    >>> store.get_or_compute(parts, compute)["mean"]
    array([1., 2.])
    >>> store.keys() == [store.key(**parts)]
    True
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @staticmethod
    def key(**parts: Any) -> str:
        """Return the key of a result: the SHA-256 of the canonical JSON of `parts`.

        Parameters
        ----------
        **parts : object
            Everything that the result depends on, as JSON values: fingerprints of
            stimuli and weights, layer, preprocessing, dtype, version of the code.
            Names and paths say nothing about content; give hashes.

        Returns
        -------
        str
            64 hexadecimal digits.

        Raises
        ------
        TypeError, ValueError
            If there are no parts, or one has no JSON form.
        """
        if not parts:
            raise ValueError("A key needs at least one part; got none.")
        return sha256_json(parts)

    def keys(self) -> list[str]:
        """Return the keys of all complete entries, sorted.

        Returns
        -------
        list of str
            64 hexadecimal digits each.
        """
        if not self.root.is_dir():
            return []
        names = (p.name for p in self.root.iterdir() if p.is_dir())
        return sorted(n for n in names if len(n) == 64 and "." not in n)

    def parts(self, key: str) -> dict[str, Any]:
        """Return what an entry was computed from.

        Parameters
        ----------
        key : str
            One of `keys`.

        Returns
        -------
        dict
            The parts of its key.

        Raises
        ------
        KeyError
            If there is no such entry.
        DataCorruptError
            If its metadata are damaged.
        """
        return cast(dict[str, Any], self._meta(key)["parts"])

    def get(self, key: str) -> pd.DataFrame | dict[str, NDArray[Any]]:
        """Return an entry after its checksum was verified.

        Parameters
        ----------
        key : str
            One of `keys`.

        Returns
        -------
        DataFrame or dict of str to ndarray
            What was put.

        Raises
        ------
        KeyError
            If there is no such entry.
        DataCorruptError
            If its files are damaged or incomplete. `get_or_compute` and `put`
            replace such an entry.
        """
        with self._not_replaced(key):
            meta = self._meta(key, "file", "sha256")
            path = self.root / key / meta["file"]
            if not path.is_file() or sha256_file(path) != meta["sha256"]:
                reason = f"{meta['file']} is missing or has another hash"
                raise self._damaged(key, reason)
            return read_table(path) if path.name == TABLE else load_file(path)

    def put(self, parts: Mapping[str, Any], value: Value) -> str:
        """Write an entry; an older one with this key is replaced.

        Parameters
        ----------
        parts : mapping
            The parts of its key.
        value : DataFrame or dict of str to ndarray
            A table as `write_table` takes it, or arrays of numbers or booleans.

        Returns
        -------
        str
            Its key.

        Raises
        ------
        TypeError, ValueError
            If `value` or a part cannot be stored.
        """
        key = self.key(**parts)
        check_writable_folder(self.root)
        with lock(self.root / key):
            self._write(key, parts, value)
        return key

    def get_or_compute(
        self, parts: Mapping[str, Any], compute: Callable[[], Value]
    ) -> Value:
        """Return the entry of `parts`; compute and store it when there is none.

        Of several processes that ask for one entry at once, one computes and the
        others wait and read. A damaged entry is logged, removed and computed again.
        What is returned was read from disk, the first time too.

        Parameters
        ----------
        parts : mapping
            The parts of its key.
        compute : callable
            Called without arguments when needed; returns what `put` takes.

        Returns
        -------
        DataFrame or dict of str to ndarray
            The entry.

        Raises
        ------
        TypeError, ValueError
            If a part, or what `compute` returns, cannot be stored.
        """
        key = self.key(**parts)

        def read() -> Value:
            return cast(Value, self.get(key))

        def make() -> Value:
            self._write(key, parts, compute())
            return read()

        return self._read_or_make(key, read, make)

    def get_folder(self, key: str) -> Path:
        """Return the folder of an entry of files, after every checksum was verified.

        Parameters
        ----------
        key : str
            One of `keys`.

        Returns
        -------
        Path
            Folder; what lies in it must not be changed.

        Raises
        ------
        KeyError
            If there is no such entry.
        DataCorruptError
            If a file is damaged, missing, or too many.
        """
        with self._not_replaced(key):
            files = self._meta(key, "files")["files"]
            folder = self.root / key
            if _hash_files(folder) != files:
                raise self._damaged(key, "its files are not those that were written")
            return folder

    def get_or_fill(
        self, parts: Mapping[str, Any], fill: Callable[[Path], None]
    ) -> Path:
        """Return the folder of an entry; let it be filled when there is none.

        As `get_or_compute`, for work that leaves files and may be interrupted: `fill`
        gets the same folder, with what it has left there, until it has returned once.

        Parameters
        ----------
        parts : mapping
            The parts of its key.
        fill : callable
            Called with a folder when needed; it may find there what an earlier call
            left that was interrupted.

        Returns
        -------
        Path
            Folder; what lies in it must not be changed.

        Raises
        ------
        TypeError, ValueError
            If a part has no JSON form.
        PermissionError, FileExistsError, NotADirectoryError
            If the store cannot be written.
        """
        key = self.key(**parts)

        def make() -> Path:
            self._remove(key)
            work = self.work_folder(key)
            work.mkdir(exist_ok=True)
            fill(work)
            (work / META).unlink(missing_ok=True)  # left by a kill after the next lines
            for folder in (work, *(path for path in work.rglob("*") if path.is_dir())):
                remove_leftovers(folder, "*")
            files = _hash_files(work)
            write_json(work / META, {"parts": plain(parts), "files": files})
            return work.rename(self.root / key)

        return self._read_or_make(key, lambda: self.get_folder(key), make)

    def _read_or_make(
        self, key: str, read: Callable[[], Found], make: Callable[[], Found]
    ) -> Found:
        """Return an entry; of several processes that ask at once, one makes it."""
        with suppress(KeyError, DataCorruptError):  # settled below, by one writer
            return read()
        check_writable_folder(self.root)
        with lock(self.root / key):
            try:
                return read()
            except DataCorruptError as error:
                logger.warning("computing again: %s", error)
            except KeyError:
                logger.debug("computing %s", key)
            return make()

    def work_folder(self, key: str) -> Path:
        """Return where `get_or_fill` has an entry filled.

        Parameters
        ----------
        key : str
            Key of the entry.

        Returns
        -------
        Path
            Folder; it exists while work is going on, or was interrupted.
        """
        return self.root / f"{key}.work"

    def __contains__(self, key: str) -> bool:
        """Return whether there is an entry, without verifying it.

        Parameters
        ----------
        key : str
            Key.

        Returns
        -------
        bool
            True if it was completed.
        """
        return len(key) == 64 and (self.root / key / META).is_file()

    def _meta(self, key: str, *needed: str) -> dict[str, Any]:
        folder = self.root / key
        if len(key) != 64 or not folder.is_dir():
            raise KeyError(f"{self.root} has no entry {key!r}.")
        path = folder / META
        if not path.is_file():
            raise self._damaged(key, f"{META} is missing")
        meta = read_json(path)
        complete = isinstance(meta, dict) and {"parts", *needed} <= set(meta)
        if not complete or meta.get("file", TABLE) not in (TABLE, ARRAYS):
            raise self._damaged(key, f"{META} is not that of an entry")
        if sha256_json(meta["parts"]) != key:
            raise self._damaged(key, "its parts do not give its key")
        return meta

    @contextmanager
    def _not_replaced(self, key: str) -> Iterator[None]:
        # Who reads holds no lock: a writer may take the files away meanwhile.
        try:
            yield
        except FileNotFoundError as error:
            raise self._damaged(key, f"{error.filename or error} is gone") from error

    def _damaged(self, key: str, reason: str) -> DataCorruptError:
        return DataCorruptError(
            f"The entry {key} of {self.root} is damaged: {reason}. Remove the folder "
            "of that name; it will be computed again."
        )

    def _write(self, key: str, parts: Mapping[str, Any], value: Value) -> None:
        self._remove(key)
        with atomic_folder(self.root / key) as part:
            if isinstance(value, pd.DataFrame):
                file = part / TABLE
                write_table(file, value)
            else:
                file = part / ARRAYS
                _write_arrays(file, value)
            meta = {"parts": plain(parts), "file": file.name}
            write_json(part / META, meta | {"sha256": sha256_file(file)})

    def _remove(self, key: str) -> None:
        entry = self.root / key
        # Left by a process that was killed while it wrote or removed this entry.
        for rest in self.root.glob(f"{key}.part-*"):
            shutil.rmtree(rest)
        if entry.exists():
            old = entry.rename(self.root / f"{key}.part-{os.getpid()}")
            shutil.rmtree(old)


def _hash_files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in found]
    return {
        name: sha256_file(path)
        for name, path in zip(names, found, strict=True)
        if name != META
    }


def _write_arrays(path: Path, value: dict[str, NDArray[Any]]) -> None:
    if not isinstance(value, dict):
        raise TypeError(
            "`value` must be a DataFrame or a dict of arrays; got "
            f"{type(value).__name__}."
        )
    arrays = {}
    for name, array in value.items():
        # Not ascontiguousarray, which turns a single number into a vector.
        arrays[name] = np.asarray(array, order="C")
        dtype = arrays[name].dtype
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise TypeError(
                f"`value[{name!r}]` must hold booleans or numbers of up to 64 bits; "
                f"got dtype {dtype}. Put text into a DataFrame."
            )
    write_arrays(path, arrays)
