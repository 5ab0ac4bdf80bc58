"""Data sets that the suite reads: what they are, where they come from, their terms.

A file can be downloaded only where the hash of exactly that public file is known.
For the other sets `Source.by_hand` tells what to get from where.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_loaders.archives import extract_archive
from data_loaders.fetch import WAITS_S, RemoteFile, fetch_file, is_complete
from data_loaders.gaze import GazeData
from data_loaders.search_humans import load_human_rt, load_published_asymmetry
from data_loaders.source_record import Source
from data_loaders.source_table import SOURCES
from neurovis.core.checks import check_option, check_path
from neurovis.core.rdm_stack import RDMStack
from neurovis.core.types import Responses
from neurovis.core.unit_responses import UnitResponses

__all__ = [
    "SOURCES",
    "Source",
    "check_source",
    "describe_source",
    "fetch_source",
]


def describe_source(source: Source) -> list[str]:
    """Describe a data set: content, source, terms, citation, how to get it.

    Parameters
    ----------
    source : Source
        A data set.

    Returns
    -------
    list of str
        The name, then one indented line for each fact.

    Examples
    --------
    >>> describe_source(SOURCES["amazon-covers"])[-1]
    '  download: 1 file, 0.8 MB; its terms must be accepted'
    """
    files = source.remote_files()
    if source.ships:
        how = ["  download: not needed, it ships"]
    else:
        how = [f"  download: {_count(files)}" if files else "  download: none"]
        how[0] += "; its terms must be accepted" if source.restricted else ""
        how += [f"  by hand: {source.by_hand}"] if source.by_hand else []
    facts = [source.what, source.url, source.licence, f"cite: {source.citation}"]
    return [source.name, *(f"  {fact}" for fact in facts), *how]


def _count(files: Sequence[RemoteFile]) -> str:
    noun = "file" if len(files) == 1 else "files"
    return f"{len(files)} {noun}, {sum(f.n_bytes for f in files) / 1e6:.1f} MB"


def fetch_source(
    name: str,
    folder: str | Path,
    *,
    accept_terms: bool = False,
    timeout_s: float = 30.0,
    waits_s: Sequence[float] = WAITS_S,
) -> list[str]:
    """Download what can be downloaded of a data set.

    Files that are there, whole and verified, are left as they are.

    Parameters
    ----------
    name : str
        One of `SOURCES`.
    folder : str or Path
        Where its files shall lie; made when missing.
    accept_terms : bool, default False
        Whether you accept the terms of the files.
    timeout_s : float, default 30
        As in `fetch_file`.
    waits_s : sequence of float
        As in `fetch_file`.

    Returns
    -------
    list of str
        What was done and what remains to do, one line each.

    Raises
    ------
    ValueError
        If the name is unknown, or nothing of the set can be downloaded; the message
        tells what to get from where.
    PermissionError, DataCorruptError, ConnectionError, BlockingIOError, FileExistsError
        As `fetch_file`.
    """
    check_option("name", name, tuple(SOURCES))
    source, folder = SOURCES[name], Path(folder)
    files = source.remote_files()
    if source.ships:
        return [f"{name} ships with the suite: nothing to download"]
    if not files:
        raise ValueError(
            f"{name} has no automatic download, because no public file with a known "
            f"hash holds what is read. Source: {source.url}. {source.by_hand}"
        )
    n_new = 0
    for file in files:
        n_new += not is_complete(file, folder)
        path = fetch_file(
            file,
            folder,
            accept_terms=accept_terms,
            timeout_s=timeout_s,
            waits_s=waits_s,
        )
        if file.unpack is not None:
            extract_archive(path, folder / file.unpack)
    lines = [
        f"{_count(files)} in {folder}: {n_new} downloaded, {len(files) - n_new} "
        "complete already",
        f"terms: {source.licence}",
        f"cite: {source.citation}",
    ]
    return lines + ([f"still to do: {source.by_hand}"] if source.by_hand else [])


def check_source(name: str, folder: str | Path) -> list[str]:
    """Check a local folder of a data set.

    Parameters
    ----------
    name : str
        One of `SOURCES`.
    folder : str or Path
        Where its files lie; not looked at when the set ships.

    Returns
    -------
    list of str
        Counts, one line each.

    Raises
    ------
    ValueError
        If the name is unknown or a file lacks columns.
    FileNotFoundError
        If the folder or a file is missing.
    DataCorruptError
        If a file is damaged.
    """
    check_option("name", name, tuple(SOURCES))
    if SOURCES[name].ships:
        people, models = load_human_rt(), load_published_asymmetry()
        return [
            f"{len(people)} mean reaction times in {people['condition'].nunique()} "
            "conditions",
            f"{models['model'].nunique()} models with published indices",
        ]
    folder = check_path("folder", folder, kind="folder")
    module, function = SOURCES[name].loader.split(":")
    # Loaders are imported on use: a list of data sets needs none of them.
    load = getattr(importlib.import_module(f"data_loaders.{module}"), function)
    return _summary(load(folder))


def _summary(
    data: GazeData | UnitResponses | RDMStack | Responses | pd.DataFrame | list[str],
) -> list[str]:
    if isinstance(data, list):
        return data
    if isinstance(data, GazeData | UnitResponses | RDMStack):
        return data.describe()
    table = data.table if isinstance(data, Responses) else data
    by = next(c for c in ("model", "task", "subject") if c in table)
    counts = table[by].value_counts(sort=False)
    return [f"{len(table)} trials", *(f"{key}: {n}" for key, n in counts.items())]
