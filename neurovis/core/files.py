"""Files: whole or absent, never half written, and checked when read."""

import csv
import hashlib
import io
import json
import math
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from neurovis.core.checks import check_option
from neurovis.core.disk_errors import clear_disk_errors
from neurovis.core.errors import DataCorruptError

# What decoders are known to raise on damaged bytes.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    csv.Error,
    pa.ArrowException,
    struct.error,
    zlib.error,
    UserWarning,  # for who turns warnings into errors
)


# From 3.1 on pandas reads every float exactly, and warns when it is asked to.
_PANDAS = tuple(int(n) for n in pd.__version__.split(".")[:2])
_EXACT_FLOATS: Any = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}


# ------------------------------------------------------------------ writing


def _make_folder(path: Path) -> None:
    try:
        with clear_disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        blocker = next(p for p in (path, *path.parents) if p.exists())
        raise NotADirectoryError(
            f"`{path}` must be a folder, but {blocker} is a file. Move that file "
            "away or choose another folder."
        ) from error


def check_writable_folder(path: str | Path) -> Path:
    """Return `path` as a folder into which a file could be written just now.

    The folder is made when missing. Call it before a long computation.

    Parameters
    ----------
    path : str or Path
        Folder for results.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    NotADirectoryError
        If a file stands where the folder, or one above it, must be.
    PermissionError
        If the folder cannot be made or written.
    OSError
        If there is no room.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "results"
    >>> check_writable_folder(folder) == folder and folder.is_dir()
    True
    """
    path = Path(path)
    _make_folder(path)
    probe = path / f".probe.part-{os.getpid()}"
    try:
        with clear_disk_errors(path):
            probe.write_bytes(b"\0")
    finally:
        _remove(probe)
    return path


def _remove(part: Path) -> None:
    # Tidying up must not hide the error that made it necessary.
    with suppress(OSError):
        part.unlink()


def _sync_folder(path: Path) -> None:
    # A rename is on disk only when its folder is; Windows has no such call.
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path whose file becomes `path` when the block ends well.

    The temporary file is ``name.part-<pid>`` in the same folder. It is flushed to
    disk and renamed at the end, or removed on any error; `path` is then what it
    was before. Missing folders are made.

    Parameters
    ----------
    path : str or Path
        File to write; an existing file is replaced.

    Yields
    ------
    Path
        Where the block must write, completely and closed.

    Raises
    ------
    IsADirectoryError
        If `path` is a folder.
    FileNotFoundError
        If the block wrote nothing.
    NotADirectoryError, PermissionError
        If the folder cannot be made or written.
    OSError
        If there is no room, or the name is too long.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_path(target) as part:
    ...     _ = part.write_text("done")
    >>> target.read_text()
    'done'
    """
    path = Path(path)
    with clear_disk_errors(path.parent, path.name):
        if path.is_dir():
            raise IsADirectoryError(f"`path` must be a file; {path} is a folder.")
        _make_folder(path.parent)
        part = path.with_name(f"{path.name}.part-{os.getpid()}")
        _remove(part)
        try:
            yield part
            if not part.is_file():
                raise FileNotFoundError(f"Nothing was written to {part}.")
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            _remove(part)
            raise
        _sync_folder(path.parent)


def remove_leftovers(folder: str | Path, name: str) -> None:
    """Remove the temporary files that killed calls of `atomic_path` left.

    Only who holds the lock that all writers of these files take may call it: the file
    of another writer looks like that of a killed one.

    Parameters
    ----------
    folder : str or Path
        Where; it need not exist. Folders inside stay as they are.
    name : str
        Name of the files that were to be written, or a pattern such as ``*.png``.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for file in ("1.png", "1.png.part-71", "2.png.part-b", "note.txt.part-71"):
    ...     write_text(folder / file, "")
    >>> remove_leftovers(folder, "*.png")
    >>> sorted(path.name for path in folder.iterdir())
    ['1.png', '2.png.part-b', 'note.txt.part-71']
    """
    for path in Path(folder).glob(f"{name}.part-*"):
        number = path.name.rpartition(".part-")[2]
        if number.isascii() and number.isdigit() and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well.

    Files inside must be written by the functions of this module, which flush
    them to disk. On any error the temporary folder is removed.

    Parameters
    ----------
    path : str or Path
        Folder to make; nothing may be there yet.

    Yields
    ------
    Path
        An empty folder, ``name.part-<pid>``, beside `path`.

    Raises
    ------
    FileExistsError
        If something is at `path` already.
    NotADirectoryError, PermissionError
        If the folder cannot be made or written.
    OSError
        If there is no room, or the name is too long.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "set"
    >>> with atomic_folder(target) as part:
    ...     write_text(part / "note.txt", "done")
    >>> [p.name for p in target.iterdir()]
    ['note.txt']
    """
    path = Path(path)
    with clear_disk_errors(path.parent, path.name):
        if path.exists():
            raise FileExistsError(
                f"{path} exists already. Remove it or choose another folder."
            )
        _make_folder(path.parent)
        part = path.with_name(f"{path.name}.part-{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            _sync_folder(part)
            part.rename(path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        _sync_folder(path.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes atomically.

    Parameters
    ----------
    path : str or Path
        File to write or replace.
    data : bytes
        Content.
    """
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write text atomically, as UTF-8 with the line ends that `text` has.

    Parameters
    ----------
    path : str or Path
        File to write or replace.
    text : str
        Content.
    """
    write_bytes(path, text.encode())


# --------------------------------------------------------------------- JSON


def plain(value: Any) -> Any:
    """Return `value` as plain JSON values.

    NumPy numbers and arrays, tuples and paths become numbers, lists and text.

    Parameters
    ----------
    value : object
        None, bool, int, finite float, str, Path, NumPy scalar or array, or a
        list, tuple or mapping of such, with str keys.

    Returns
    -------
    object
        None, bool, int, float, str, list or dict.

    Raises
    ------
    TypeError
        If a value has no JSON form, or a key is not text.
    ValueError
        If a number is NaN or infinite: JSON has none; use None.

    Examples
    --------
    >>> plain({"sigma": np.float32(0.5), "size": (2, 3)})
    {'sigma': 0.5, 'size': [2, 3]}
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no number {value!r}; use None for undefined.")
        return value
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        wrong = [k for k in value if not isinstance(k, str)]
        if wrong:
            raise TypeError(f"JSON keys must be text; got the key {wrong[0]!r}.")
        return {str(k): plain(v) for k, v in value.items()}
    raise TypeError(f"{type(value).__name__} has no JSON form; got {value!r}.")


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, ASCII.

    Equal values give equal text whatever the order of their keys. ``1`` and
    ``1.0`` are different values, as are ``1`` and ``True``.

    Parameters
    ----------
    value : object
        What `plain` accepts.

    Returns
    -------
    str
        JSON text.

    Raises
    ------
    TypeError, ValueError
        As `plain`.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": (True, None)})
    '{"a":[true,null],"b":1}'
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically, keys in their order.

    Parameters
    ----------
    path : str or Path
        File to write or replace.
    value : object
        What `plain` accepts.

    Raises
    ------
    TypeError, ValueError
        As `plain`; nothing is written then.
    """
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    write_text(path, text + "\n")


def corrupt(path: Path, kind: str, error: BaseException) -> DataCorruptError:
    """Return the error for a file that cannot be decoded.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        What it was taken for.
    error : BaseException
        What the decoder raised.

    Returns
    -------
    DataCorruptError
        Names the file and says what to do.
    """
    return DataCorruptError(
        f"{path} is not a readable {kind} file ({type(error).__name__}: {error}). It "
        "is truncated or damaged: delete it, then make or download it again."
    )


def read_json(path: str | Path) -> Any:
    """Read a UTF-8 JSON file.

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
        If the file is not JSON.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise corrupt(path, "JSON", error) from error


# ------------------------------------------------------------------- tables


def _table_kind(path: Path) -> str:
    check_option("suffix of the table file", path.suffix, (".parquet", ".csv"))
    return path.suffix


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    r"""Write a table atomically; equal tables give equal bytes.

    Parameters
    ----------
    path : str or Path
        ``.parquet`` (Zstandard, page checksums; keeps the kinds of columns) or
        ``.csv`` (UTF-8, "\n" line ends, an empty cell for undefined).
    table : DataFrame
        Columns with unique text names. An unnamed index of whole numbers only
        numbers the rows and is not kept.

    Raises
    ------
    ValueError
        If the suffix is another one, a column name is repeated, or the index
        carries meaning (``table.reset_index()`` makes it a column).
    TypeError
        If a column name is not text.

    Notes
    -----
    Text is data, and written as it is. A spreadsheet takes a cell of a CSV file that
    begins with "=", "+", "-" or "@" for a formula: let it import such columns as text.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "trials.parquet"
    >>> write_table(path, pd.DataFrame({"rt_ms": [512.5]}))
    >>> read_table(path)["rt_ms"].tolist()
    [512.5]
    """
    path = Path(path)
    kind = _table_kind(path)
    names = list(table.columns)
    not_text = [n for n in names if not isinstance(n, str)]
    if not_text:
        raise TypeError(f"Column names must be text; got {not_text[0]!r}.")
    if len(set(names)) != len(names):
        repeated = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"`table` has the column {repeated!r} more than once.")
    named = table.index.names != [None]
    # An empty table has an index of objects that carries nothing.
    numbered = pd.api.types.is_integer_dtype(table.index) or table.empty
    if named or not numbered:
        raise ValueError(
            f"`table` has an index that carries meaning (names "
            f"{list(table.index.names)}). Call `table.reset_index()` to make it a "
            "column, or `table.reset_index(drop=True)` to drop it."
        )
    with atomic_path(path) as part:
        if kind == ".csv":
            text = table.to_csv(index=False, lineterminator="\n")
            if "\r" in text:  # not quoted by itself, it would end a line
                text = table.to_csv(
                    index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
                )
            part.write_bytes(text.encode())
        else:
            bare = table.reset_index(drop=True)
            bare.attrs = {}
            # One chunk per column: the bytes must not tell how it was put together.
            arrow = pa.Table.from_pandas(bare, preserve_index=False).combine_chunks()
            # Open, for pyarrow takes a relative path such as "day:1/a" for an address.
            with part.open("wb") as file:
                pq.write_table(
                    arrow, file, compression="zstd", write_page_checksum=True
                )


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path : str or Path
        ``.parquet`` or ``.csv``. In CSV an empty cell, "NaN" and "nan" are
        undefined, any other text ("NA", "None") is itself, and the kinds of
        columns are guessed.

    Returns
    -------
    DataFrame
        Rows numbered from 0.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file cannot be parsed or a checksum differs.
    ValueError
        If the suffix is another one.
    """
    path = Path(path)
    kind = _table_kind(path)
    data = path.read_bytes()
    try:
        return _parse_csv(data) if kind == ".csv" else _parse_parquet(data)
    except DECODER_ERRORS as error:
        raise corrupt(path, kind.removeprefix("."), error) from error


def _parse_parquet(data: bytes) -> pd.DataFrame:
    source = pa.BufferReader(data)
    return pq.ParquetFile(source, page_checksum_verification=True).read().to_pandas()


def _parse_csv(data: bytes) -> pd.DataFrame:
    # pandas fills short rows and shifts long ones without a word.
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    width = len(next(rows, []))
    for row in rows:
        if row and len(row) != width:
            raise ValueError(f"line {rows.line_num} has {len(row)} of {width} cells")
    return pd.read_csv(
        io.BytesIO(data),
        keep_default_na=False,
        na_values=["", "NaN", "nan"],
        low_memory=False,
        **_EXACT_FLOATS,
    )


# ----------------------------------------------------------------- checksums


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes.

    Parameters
    ----------
    data : bytes
        Content.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> sha256_bytes(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : str or Path
        File to read.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`.

    Parameters
    ----------
    value : object
        What `plain` accepts.

    Returns
    -------
    str
        64 hexadecimal digits, the same for any order of keys.

    Raises
    ------
    TypeError, ValueError
        As `plain`.

    Examples
    --------
    >>> sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})
    True
    """
    return sha256_bytes(canonical_json(value).encode())
