"""What files and tables contain, as SHA-256; large files are not read twice."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, sha256_bytes, sha256_file, write_json
from neurovis.core.log import progress

_ROWS_AT_ONCE = 65_536


def signature(path: Path) -> dict[str, Any]:
    """Return by what a change of a file is noticed without reading it.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        `path`, `size`, `mtime_ns`, `ctime_ns` and `inode`.
    """
    facts = path.stat()
    return {
        "path": str(path.resolve()),
        "size": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        # Tools that copy can set the time of a change back, but not this one.
        "ctime_ns": facts.st_ctime_ns,
        "inode": facts.st_ino,
    }


def _memory_of(path: str, store: Path) -> Path:
    return store / "hashes" / f"{sha256_bytes(path.encode())}.json"


def remember_hash(facts: Mapping[str, Any], sha: str, store: Path) -> None:
    """Remember the SHA-256 of a file.

    Parameters
    ----------
    facts : mapping
        From `signature`, before the file was read.
    sha : str
        64 hexadecimal digits.
    store : Path
        Where hashes are remembered, in a folder ``hashes``.
    """
    # It only saves time: a full disk is told of where something is lost.
    with suppress(OSError):
        write_json(_memory_of(facts["path"], store), {**facts, "sha256": sha})


def known_hash(path: Path, store: Path) -> str | None:
    """Return the remembered SHA-256 of a file that did not change since.

    Parameters
    ----------
    path : Path
        The file.
    store : Path
        Where hashes are remembered.

    Returns
    -------
    str or None
        64 hexadecimal digits, or None if it must be computed.
    """
    facts = signature(path)
    try:
        memory = read_json(_memory_of(facts["path"], store))
        sha = memory.pop("sha256")
    except (OSError, AttributeError, KeyError, TypeError):  # missing or damaged
        return None
    return sha if memory == facts else None


def hash_files(paths: Sequence[Path], store: Path) -> list[str]:
    """Return the SHA-256 of files; unchanged ones are not read again.

    Parameters
    ----------
    paths : sequence of Path
        Files.
    store : Path
        Where hashes are remembered.

    Returns
    -------
    list of str
        64 hexadecimal digits each.

    Raises
    ------
    DataCorruptError
        If a file changes meanwhile.
    """
    found = [known_hash(path, store) for path in paths]
    new = [p for p, sha in zip(paths, found, strict=True) if sha is None]
    hashes = {}
    with progress(sum(p.stat().st_size for p in new), "hashing", unit="B") as bar:
        for path in new:
            before = signature(path)
            hashes[path] = sha256_file(path)
            check_unchanged([before])
            remember_hash(before, hashes[path], store)
            bar.update(before["size"])
    return [sha or hashes[path] for path, sha in zip(paths, found, strict=True)]


def check_unchanged(before: Sequence[Mapping[str, Any]]) -> None:
    """Raise if a file is not what it was.

    Parameters
    ----------
    before : sequence of mapping
        From `signature`, one per file.

    Raises
    ------
    DataCorruptError
        If a file changed.
    """
    for facts in before:
        if signature(Path(facts["path"])) != facts:
            raise DataCorruptError(
                f"{facts['path']} changed while it was read. Wait until it is "
                "complete, then call again."
            )


def hash_table(table: pd.DataFrame) -> str:
    """Return the SHA-256 of the names and values of a table.

    Parameters
    ----------
    table : DataFrame
        Numbers, flags, and whatever has a text form.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    sha = hashlib.sha256()
    for name in table.columns:
        column = table[name]
        dtype = column.dtype
        if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
            sha.update(json.dumps([str(name), dtype.str]).encode())
            sha.update(np.ascontiguousarray(column.to_numpy()).data)
            continue
        labels = None
        if isinstance(dtype, pd.CategoricalDtype):
            labels = [str(label) for label in dtype.categories]
        sha.update(json.dumps([str(name), "text", labels]).encode())
        for start in range(0, len(column), _ROWS_AT_ONCE):
            some = column.iloc[start : start + _ROWS_AT_ONCE].astype(object)
            texts = some.where(some.notna(), None).tolist()
            sha.update(json.dumps(texts, default=str).encode())
    return sha.hexdigest()
