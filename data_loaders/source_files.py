"""Files as their authors published them: read whole and typed, or refused.

A loader names the columns and their kinds; damage, another encoding, a missing column
or a value of another kind end in one `DataCorruptError` that names the file.
"""

import csv
import gzip
import io
import json
import math
import os
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_option, check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt, read_table
from neurovis.core.pictures import decode_image

_SOURCE_ERRORS = (
    *DECODER_ERRORS,
    zipfile.BadZipFile,
    RuntimeError,  # encrypted member, or JSON nested too deeply
    NotImplementedError,  # unknown compression
    MemoryError,  # a header that claims a huge array
)
_UNDEFINED = ("", "NaN", "nan", "NA")
_FLAGS = {"0": False, "1": True, "False": False, "True": True}
_MEMBER_BYTES = 64 * 2**20


@contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Turn the ValueError of a check into damage of a file.

    Parameters
    ----------
    path : Path
        Where the checked values come from.

    Yields
    ------
    None
        For the block that checks.

    Raises
    ------
    DataCorruptError
        If the block raises ValueError; the message names the file.
    """
    try:
        yield
    except ValueError as error:
        raise DataCorruptError(f"{path} holds what cannot be. {error}") from error


# -------------------------------------------------------------------- tables


def read_columns(path: str | Path, columns: Mapping[str, str]) -> pd.DataFrame:
    r"""Read the named columns of a table, each as the kind it must be.

    Parameters
    ----------
    path : str or Path
        ``.csv`` or ``.csv.gz`` (UTF-8 text, comma-separated, with a header), or
        ``.parquet``.
    columns : mapping of str to {"text", "whole", "number", "flag"}
        Columns that the file must have. Text becomes str, whole numbers int64,
        numbers float64 (empty, "NA" and "NaN" are NaN), flags (0 or 1, True or
        False) bool. Other columns of the file are left out.

    Returns
    -------
    DataFrame
        The columns in the order of `columns`, rows in the order of the file.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file cannot be decoded, lacks a column, has rows of different
        lengths, or has a value of another kind.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "points.csv"
    >>> _ = path.write_text("x,who\n1.5,a\n,b\n")
    >>> read_columns(path, {"who": "text", "x": "number"})["x"].tolist()
    [1.5, nan]
    """
    path = check_path("path", path)
    for kind in columns.values():
        check_option("columns", kind, tuple(_KINDS))
    if path.suffix == ".parquet":
        table = read_table(path)
        names = [name for name in columns if name in table]
        cells: Mapping[str, Sequence[Any]] = {n: table[n].tolist() for n in names}
    else:
        cells = _read_cells(path)
    missing = [name for name in columns if name not in cells]
    if missing:
        raise DataCorruptError(
            f"{path} must have the columns {list(columns)}; it lacks {missing}. Get it "
            "again from its source."
        )
    typed = {name: _typed(path, name, cells[name], columns[name]) for name in columns}
    return pd.DataFrame(typed)


def _read_cells(path: Path) -> dict[str, Sequence[Any]]:
    """Return the cells of a CSV file as text, by column."""
    try:
        reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
        header = next(reader, [])
        rows = []
        for row in reader:
            if row and len(row) != len(header):
                raise ValueError(
                    f"line {reader.line_num} has {len(row)} of {len(header)} cells"
                )
            if row:
                rows.append(row)
        if len(set(header)) != len(header):
            raise ValueError("a column name repeats")
    except _SOURCE_ERRORS as error:
        raise corrupt(path, "comma-separated text", error) from error
    if not rows:
        return {name: [] for name in header}
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".gz":
        # An empty file would pass as an empty text.
        data = gzip.decompress(data or b"\0")
    return data.decode("utf-8-sig")


def _typed(path: Path, name: str, cells: Sequence[Any], kind: str) -> Any:
    convert, words, dtype = _KINDS[kind]
    values = []
    for i, cell in enumerate(cells):
        try:
            values.append(convert(cell))
        except (KeyError, TypeError, ValueError) as error:
            raise DataCorruptError(
                f"{path} must have {words} in the column `{name}`; row {i + 1} has "
                f"{cell!r}. Get it again from its source."
            ) from error
    return pd.array(values, dtype="str") if kind == "text" else np.array(values, dtype)


def _text(cell: Any) -> str:
    if not isinstance(cell, str) or cell == "":
        raise ValueError
    return cell


def _whole(cell: Any) -> int:
    value = int(cell)
    if isinstance(cell, float) and value != cell:
        raise ValueError
    return value


def _number(cell: Any) -> float:
    value = math.nan if cell is None or cell in _UNDEFINED else float(cell)
    if math.isinf(value):
        raise ValueError
    return value


def _flag(cell: Any) -> bool:
    return _FLAGS[str(cell)]


_KINDS: Mapping[str, tuple[Callable[[Any], Any], str, Any]] = {
    "text": (_text, "text", None),
    "whole": (_whole, "whole numbers", np.int64),
    "number": (_number, "finite numbers", np.float64),
    "flag": (_flag, "0 or 1", np.bool_),
}


# ------------------------------------------------------------ JSON and arrays


def read_source_json(path: str | Path) -> Any:
    """Read a UTF-8 JSON file, ``.json`` or ``.json.gz``.

    Parameters
    ----------
    path : str or Path
        File to read.

    Returns
    -------
    object
        Plain values.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is not whole JSON, or a key repeats within one object.
    """
    path = check_path("path", path)
    try:
        return json.loads(_read_text(path), object_pairs_hook=_once)
    except _SOURCE_ERRORS as error:
        raise corrupt(path, "JSON", error) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # The last of two equal keys would win without a word.
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r}")
    return value


def read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of numbers from an ``.npz`` or ``.npy`` file.

    Parameters
    ----------
    path : str or Path
        File to read; objects in it are refused.
    names : sequence of str
        Members of the ``.npz`` file; for ``.npy`` one name for the array.

    Returns
    -------
    dict of str to ndarray
        One entry per name.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is damaged, lacks a member, or holds anything but numbers.
    """
    path = check_path("path", path)
    try:
        with path.open("rb") as file:
            if path.suffix == ".npy":
                arrays = {names[0]: np.lib.format.read_array(file)}
                if file.read(1):
                    raise ValueError("it is longer than its header tells")
            else:
                with zipfile.ZipFile(file) as members:
                    have = set(members.namelist())
                    absent = [n for n in names if f"{n}.npy" not in have]
                    if absent:
                        raise ValueError(f"it lacks the arrays {absent}")
                    arrays = {n: _read_member(members, f"{n}.npy") for n in names}
    except _SOURCE_ERRORS as error:
        raise corrupt(path, "NumPy", error) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise DataCorruptError(
                f"{path} must hold numbers in {name}; it holds {array.dtype}."
            )
    return arrays


def _read_member(members: zipfile.ZipFile, name: str) -> NDArray[Any]:
    # Read to the end first: only then is the checksum of the member compared.
    return np.lib.format.read_array(io.BytesIO(members.read(name)))


# ------------------------------------------------------------------ pictures


class _OpenZip(NamedTuple):
    """A zip file that one process has open."""

    pid: int
    archive: zipfile.ZipFile
    lock: threading.Lock


@dataclass(frozen=True)
class ZipPictures(Sequence[NDArray[np.uint8]]):
    """Pictures in a zip file, decoded when asked for as `read_image` decodes files.

    The file stays open from the first picture on, once in each process. Threads may
    share it, processes may be forked, and copies and pickles open it for themselves.

    Parameters
    ----------
    path : Path
        The zip file.
    members : tuple of str
        Names inside it, one per picture.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is not a whole zip file or lacks a member.
    """

    path: Path
    members: tuple[str, ...]
    _held: list["_OpenZip"] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        path = check_path("path", self.path)
        try:
            with zipfile.ZipFile(path) as archive:
                absent = set(self.members) - set(archive.namelist())
        except _SOURCE_ERRORS as error:
            raise corrupt(path, "zip", error) from error
        if absent:
            raise DataCorruptError(
                f"{path} lacks {len(absent)} of {len(self.members)} pictures, such as "
                f"{min(absent)}. Get it again from its source."
            )

    def __reduce__(self) -> tuple[type["ZipPictures"], tuple[Path, tuple[str, ...]]]:
        return ZipPictures, (self.path, self.members)

    def __len__(self) -> int:
        return len(self.members)

    def _read(self, name: str) -> bytes:
        held = next(iter(self._held), None)
        if held is None or held.pid != os.getpid():
            # A forked child shares the place in the file with its parent, and maybe a
            # lock that nobody there will release: it opens the file for itself.
            held = _OpenZip(os.getpid(), zipfile.ZipFile(self.path), threading.Lock())
            self._held[:] = [held]
        with held.lock:
            if held.archive.getinfo(name).file_size > _MEMBER_BYTES:
                raise ValueError(f"{name} has more than {_MEMBER_BYTES} bytes")
            return held.archive.read(name)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, index: slice) -> "ZipPictures": ...

    def __getitem__(self, index: int | slice) -> "NDArray[np.uint8] | ZipPictures":
        """Return one picture, uint8 of shape (H, W, 3), or a part of the pictures."""
        if isinstance(index, slice):
            return ZipPictures(self.path, self.members[index])
        name = self.members[index]
        try:
            data = self._read(name)
        except _SOURCE_ERRORS as error:
            raise corrupt(self.path / name, "picture", error) from error
        return decode_image(data, self.path / name)
