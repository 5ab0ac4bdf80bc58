"""Odd-one-out choices over 1854 objects: people and two language models.

References
----------
Hebart et al. (2019). THINGS: a database of 1,854 object concepts and more than 26,000
naturalistic object images. PLoS ONE 14, e0223792. doi:10.1371/journal.pone.0223792.
Hebart, Zheng, Pereira and Baker (2020). Nature Human Behaviour 4, 1173-1185.
doi:10.1038/s41562-020-00951-3. Du et al. (2024). Human-like object concept
representations emerge naturally in multimodal large language models. arXiv:2407.01067
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.source_files import content_of, read_arrays
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt, sha256_file

IntArray = NDArray[np.int64]

OBSERVERS: Mapping[str, str] = {
    "people": "triplets_humans.txt",
    "gpt4": "triplets_gpt4.txt",
    "chatgpt3.5": "triplets_chatgpt3.5.txt",
}
"""Whose choices there are, and in which file."""

CATEGORIES: Mapping[str, str] = {
    "bottom_up": "Bottom-up Category (Human Raters)",
    "wordnet": "Top-down Category (WordNet)",
    "manual": "Top-down Category (manual selection)",
}
"""Columns of categories, and what they are called in the file."""

CONCEPTS = "concepts.tsv"
_COLUMNS = {
    "Word": "word",
    "uniqueID": "unique_id",
    "Concreteness (M)": "concreteness",
    **{there: here for here, there in CATEGORIES.items()},
}


@dataclass(frozen=True)
class ThingsTriplets:
    """Choices of several observers on the same triplets of objects.

    Parameters
    ----------
    observers : dict of str to ndarray of int64, shape (n_triplets, 3)
        Indices of objects, row by row the same three of every observer; the third one
        is the odd one out.
    concepts : DataFrame
        One row per object, in the order of the indices: `word`, `unique_id`,
        `concreteness` (mean rating of 1..5, NaN where there is none), and the
        categories `bottom_up` (people named it), `wordnet` and `manual` ("" for none).
    fingerprints : dict of str to str
        SHA-256 of each file.
    """

    observers: dict[str, IntArray]
    concepts: pd.DataFrame
    fingerprints: dict[str, str]


def load_things_triplets(folder: str | Path) -> ThingsTriplets:
    """Load the choices and the objects.

    Parameters
    ----------
    folder : str or Path
        Folder with ``triplets_humans.txt``, ``triplets_gpt4.txt``,
        ``triplets_chatgpt3.5.txt`` and ``concepts.tsv``.

    Returns
    -------
    ThingsTriplets
        2171 triplets over 1854 objects as published.

    Raises
    ------
    FileNotFoundError
        If the folder or a file is not there.
    DataCorruptError
        If a file is damaged, an index names no object, or observers did not answer
        to the same triplets.
    """
    folder = check_path("folder", folder, kind="folder")
    concepts = _read_concepts(folder / CONCEPTS)
    files = {name: folder / file for name, file in OBSERVERS.items()}
    observers = {
        name: read_triplets(path, n_objects=len(concepts))
        for name, path in files.items()
    }
    first = np.sort(observers["people"], axis=1)
    for name, rows in observers.items():
        with content_of(files[name]):
            if len(rows) != len(first):
                raise ValueError(
                    f"It has {len(rows)} triplets; {OBSERVERS['people']} has "
                    f"{len(first)}."
                )
            differs = (np.sort(rows, axis=1) != first).any(axis=1)
            if differs.any():
                row = int(np.flatnonzero(differs)[0])
                raise ValueError(
                    f"Line {row + 1} has other objects than that of "
                    f"{OBSERVERS['people']}: {rows[row].tolist()}."
                )
    paths = (*files.values(), folder / CONCEPTS)
    return ThingsTriplets(
        observers, concepts, {path.name: sha256_file(path) for path in paths}
    )


def check_things_triplets(folder: str | Path) -> list[str]:
    """Check a folder of the choices and tell what it holds.

    Parameters
    ----------
    folder : str or Path
        As `load_things_triplets`.

    Returns
    -------
    list of str
        Counts, one line each.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        As `load_things_triplets`.
    """
    data = load_things_triplets(folder)
    n_triplets, n_objects = len(data.observers["people"]), len(data.concepts)
    shown = len(np.unique(data.observers["people"]))
    lines = [
        f"{n_triplets} triplets of {n_objects} objects, {shown} of them shown",
        f"choices of {', '.join(data.observers)}",
    ]
    for name in CATEGORIES:
        used = data.concepts[name][data.concepts[name] != ""]
        lines.append(f"{name}: {used.nunique()} categories of {len(used)} objects")
    return lines


def read_triplets(path: str | Path, *, n_objects: int | None = None) -> IntArray:
    r"""Read odd-one-out choices.

    Parameters
    ----------
    path : str or Path
        Text with three whole numbers per line, apart by spaces (``.txt``), or an array
        of shape (n_triplets, 3) (``.npy``): indices of objects from 0, the odd one
        third.
    n_objects : int, optional
        Number of objects that there are.

    Returns
    -------
    ndarray of int64, shape (n_triplets, 3)
        The choices, at least one.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file holds anything else, an index is out of range, or an object repeats
        within a triplet.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "choices.txt"
    >>> _ = path.write_text("4 0 7\n1 2 3\n")
    >>> read_triplets(path).tolist()
    [[4, 0, 7], [1, 2, 3]]
    """
    path = check_path("path", path)
    if path.suffix == ".npy":
        rows = read_arrays(path, ["triplets"])["triplets"]
    else:
        rows = _read_numbers(path)
    with content_of(path):
        if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind not in "iu":
            raise ValueError(
                "Choices are whole numbers of shape (n_triplets, 3); it has "
                f"{rows.dtype} of shape {rows.shape}."
            )
        high = np.inf if n_objects is None else n_objects - 1
        outside = (rows < 0) | (rows > high)
        if outside.any():
            row = int(np.flatnonzero(outside.any(axis=1))[0])
            raise ValueError(
                f"Row {row + 1} is {rows[row].tolist()}; indices are from 0"
                + ("." if n_objects is None else f" to {n_objects - 1}.")
            )
        ordered = np.sort(rows, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            raise ValueError(f"Row {row + 1} has an object twice: {rows[row].tolist()}")
    return rows.astype(np.int64)


def _read_numbers(path: Path) -> NDArray[np.int64]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        strange = re.search(r"[^0-9 \t\r\n]", text)
        if strange:
            line = text.count("\n", 0, strange.start()) + 1
            raise ValueError(f"line {line} has the sign {strange.group()!r}")
        if not text.strip():
            raise ValueError("it is empty")
        return np.loadtxt(io.StringIO(text), np.int64, comments=None, ndmin=2)
    except (*DECODER_ERRORS, OverflowError) as error:
        raise corrupt(path, "triplet", error) from error


def _read_concepts(path: Path) -> pd.DataFrame:
    path = check_path(CONCEPTS, path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))
        table = pd.DataFrame(lines[1:], columns=lines[0], dtype=str)
    except (*DECODER_ERRORS, AssertionError) as error:
        raise corrupt(path, "tab-separated", error) from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing or not len(table):
        raise DataCorruptError(
            f"{path} must have the columns {list(_COLUMNS)} and one row per object; it "
            f"lacks {missing or 'rows'}."
        )
    table = table[list(_COLUMNS)].rename(columns=_COLUMNS)
    with content_of(path):
        if table["unique_id"].duplicated().any():
            raise ValueError("An object repeats.")
        if table.isna().any(axis=None):
            raise ValueError("A line is too short.")
        ratings = [float(text or "nan") for text in table["concreteness"]]
        table["concreteness"] = np.array(ratings)
    return table
