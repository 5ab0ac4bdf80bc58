"""Files of a BIDS data set: names, inherited metadata, tables.

Follows the Brain Imaging Data Structure 1.11: "File names", "The Inheritance
Principle", "Tabular files".
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt, read_json

UNDEFINED = ("n/a", "", "NaN", "nan")
"""Cells without a value; BIDS writes "n/a"."""

_NOT_RAW = ("derivatives", "sourcedata", "code")


@dataclass(frozen=True)
class BidsFile:
    """A file named ``key-value_key-value_suffix.extension``.

    Parameters
    ----------
    path : Path
        Where it is.
    entities : dict of str to str
        Keys and values of the name, in their order.
    suffix : str
        Last part of the name.
    extension : str
        From the first dot on, ".tsv.gz".
    """

    path: Path
    entities: dict[str, str]
    suffix: str
    extension: str


def parse_name(path: Path) -> BidsFile | None:
    """Take a file name apart.

    Parameters
    ----------
    path : Path
        File, which need not exist.

    Returns
    -------
    BidsFile or None
        None if the name has another form.

    Examples
    --------
    >>> parse_name(Path("sub-01_task-rest_recording-eye1_physio.tsv.gz")).entities
    {'sub': '01', 'task': 'rest', 'recording': 'eye1'}
    """
    stem, dot, extension = path.name.partition(".")
    *pairs, suffix = stem.split("_")
    if not all(pair.count("-") == 1 for pair in pairs) or not suffix or "-" in suffix:
        return None
    return BidsFile(path, dict(p.split("-") for p in pairs), suffix, dot + extension)


def find_files(root: Path, suffixes: Sequence[str]) -> list[BidsFile]:
    """Find the tables of subjects with one of the suffixes.

    Parameters
    ----------
    root : Path
        Folder of the data set; derivatives and source data below it are left out.
    suffixes : sequence of str
        Suffixes such as "physio".

    Returns
    -------
    list of BidsFile
        Files ``.tsv`` and ``.tsv.gz`` with a subject in their name, sorted by path.
    """
    found = []
    for path in sorted(root.rglob("*.tsv*")):
        file = parse_name(path)
        raw = path.relative_to(root).parts[0] not in _NOT_RAW
        if file is not None and raw and "sub" in file.entities:
            is_table = file.extension in (".tsv", ".tsv.gz") and path.is_file()
            found += [file] if is_table and file.suffix in suffixes else []
    return found


def applicable(
    root: Path, file: BidsFile, suffix: str, extension: str
) -> list[BidsFile]:
    """Find the files that hold for a file by inheritance.

    They lie beside it or above, up to the root, and their names have no entity that
    the file does not have.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    file : BidsFile
        The file below it.
    suffix, extension : str
        What the others must have.

    Returns
    -------
    list of BidsFile
        The most general first: what a later one says counts.
    """
    folder = file.path.parent
    folders = [folder, *(p for p in folder.parents if p.is_relative_to(root))]
    found = []
    for level in reversed(folders):
        here = (parse_name(p) for p in level.glob(f"*{suffix}{extension}"))
        fitting = [
            other
            for other in here
            if other is not None
            and (other.suffix, other.extension) == (suffix, extension)
            and other.entities.items() <= file.entities.items()
        ]
        found += sorted(fitting, key=lambda f: (len(f.entities), f.path.name))
    return found


def read_sidecar(root: Path, file: BidsFile, suffix: str) -> dict[str, Any]:
    """Read the metadata that hold for a file, inherited and own.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    file : BidsFile
        The file below it.
    suffix : str
        Suffix of the metadata: that of the file, or of one beside it.

    Returns
    -------
    dict
        Merged JSON objects; empty if there is none.

    Raises
    ------
    DataCorruptError
        If one is no JSON object.
    """
    merged: dict[str, Any] = {}
    for other in applicable(root, file, suffix, ".json"):
        values = read_json(other.path)
        if not isinstance(values, dict):
            raise DataCorruptError(
                f"{other.path} must hold a JSON object; it holds a "
                f"{type(values).__name__}."
            )
        merged |= values
    return merged


def read_tsv(
    path: Path, columns: Sequence[str] | None, numbers: Sequence[str]
) -> pd.DataFrame:
    """Read a table with or without a header.

    Parameters
    ----------
    path : Path
        UTF-8 text between tabs; gzipped when it ends in ``.gz``.
    columns : sequence of str or None
        Names of the columns of a table without a header (one that repeats exactly
        these names is passed over); None if the first line has the names.
    numbers : sequence of str
        Columns that must hold numbers.

    Returns
    -------
    DataFrame
        `numbers` as float64, NaN where undefined; the others as str, missing where
        undefined. Rows numbered from 0.

    Raises
    ------
    DataCorruptError
        If the file is truncated, damaged, in another encoding or ragged, or has text
        among its numbers.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(
            "utf-8-sig"
        )
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise corrupt(path, "UTF-8 or gzip", error) from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lines = lines[:-1] if lines[-1] == "" else lines
    first = lines[0].split("\t") if lines else []
    if columns is None or first == list(columns):
        columns, lines = first, lines[1:]
    for number, line in _ragged(lines, len(columns)):
        raise DataCorruptError(
            f"{path} must have {len(columns)} columns {list(columns)}; row {number} "
            f"{line[:60]!r} has {line.count(chr(9)) + 1}. The file is cut, or its "
            "names of columns are wrong."
        )
    kinds = {c: "float64" if c in numbers else "str" for c in columns}
    try:
        # Quotation marks are text: messages of eye trackers hold single ones.
        return pd.read_csv(
            io.StringIO("\n".join(lines)),
            sep="\t",
            header=None,
            names=list(columns),
            dtype=kinds,
            na_values=list(UNDEFINED),
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=list(columns)).astype(kinds)
    except DECODER_ERRORS as error:
        raise corrupt(path, "tab-separated", error) from error


def _ragged(lines: Sequence[str], width: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        if line.count("\t") != width - 1:
            yield number, line
