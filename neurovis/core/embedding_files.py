"""Files of embedding banks: mapped, checked and written.

A bank of ours is a folder: ``shard-00000.npy`` and so on hold the embeddings as the
network gave them, ``images.parquet`` names their images, ``failed.csv`` those that were
left out. ``bank.json``, written last, tells the rest, and SHA-256 of the others.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.array_files import write_array
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    DECODER_ERRORS,
    canonical_json,
    corrupt,
    read_json,
    sha256_file,
    write_json,
    write_table,
)
from neurovis.core.log import progress

VERSION = 1
BANK_FILE = "bank.json"
IMAGES_FILE = "images.parquet"
FAILED_FILE = "failed.csv"

_SHARD = re.compile(r"shard-\d{5}\.npy")
_ENDS = 2**20  # bytes at either end of a file that tell it from others
_KEYS = ("version", "name", "embedding", "n_images", "n_features", "shards", "notes")


def map_shard(file: Path) -> NDArray[Any]:
    """Map embeddings on disk; they are read when they are indexed.

    Parameters
    ----------
    file : Path
        ``.npy`` file; nothing but arrays of numbers is opened.

    Returns
    -------
    ndarray
        Read-only.

    Raises
    ------
    DataCorruptError
        If the file is missing, no ``.npy`` file, or of another length than its header
        tells.
    """
    if not file.is_file():
        raise DataCorruptError(f"{file} is missing. Build or download it again.")
    try:
        found = np.lib.format.open_memmap(file, mode="r")
    except DECODER_ERRORS as error:
        raise corrupt(file, "npy", error) from error
    if found.offset + found.nbytes != file.stat().st_size:
        raise corrupt(file, "npy", ValueError("it is longer than its header tells"))
    return found


def read_card(folder: Path, *, verify: bool) -> dict[str, Any]:
    """Read ``bank.json``.

    Parameters
    ----------
    folder : Path
        Folder of a bank of ours.
    verify : bool
        Compare the SHA-256 of all other files.

    Returns
    -------
    dict
        What `write_bank` wrote.

    Raises
    ------
    DataCorruptError
        If it is damaged, or with `verify` another file is.
    ValueError
        If another version wrote it.
    """
    card = read_json(folder / BANK_FILE)
    if not isinstance(card, dict) or not {*_KEYS, "sha256"} <= set(card):
        raise damaged_bank(folder, f"{BANK_FILE} is not that of a bank")
    if card["version"] != VERSION:
        raise ValueError(
            f"{folder} was written in version {card['version']} of the format; this is "
            f"version {VERSION}. Install a newer neurovis."
        )
    if verify:
        hashes = {entry["file"]: entry["sha256"] for entry in card["shards"]}
        hashes |= card["sha256"]
        for name, sha in progress(list(hashes.items()), "verifying", unit="file"):
            file = folder / name
            if not file.is_file() or sha256_file(file) != sha:
                raise damaged_bank(folder, f"{name} is missing or has another hash")
    return card


def damaged_bank(folder: Path, reason: str) -> DataCorruptError:
    """Return the error for a bank of ours that is not what it was.

    Parameters
    ----------
    folder : Path
        Its folder.
    reason : str
        What is wrong.

    Returns
    -------
    DataCorruptError
        Says what to do.
    """
    return DataCorruptError(
        f"The bank in {folder} is damaged: {reason}. Build it again into the same "
        "folder: shards that are sound are kept."
    )


def _natural(path: Path) -> list[str | int]:
    """Return what sorts the name of a file by the numbers in it."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdecimal() else part for part in parts]


def foreign_files(path: Path) -> list[Path]:
    """Find the embeddings of a bank of others.

    Parameters
    ----------
    path : Path
        A ``.npy`` file, a folder of such, or one with them in a folder ``img_emb``.

    Returns
    -------
    list of Path
        In the order of the numbers in their names.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If the folder is a bank of ours that is not complete.
    """
    if not path.is_dir():
        return [path]
    inside = path / "img_emb"
    nested = inside.is_dir() and not any(path.glob("*.npy"))
    files = sorted((inside if nested else path).glob("*.npy"), key=_natural)
    if any(_SHARD.fullmatch(file.name) for file in files):
        raise ValueError(
            f"The bank in {path} is not complete: it has shards but no {BANK_FILE}. "
            "Build it again into the same folder: finished shards are kept."
        )
    if not files:
        raise FileNotFoundError(
            f"The bank is empty: {path} holds neither {BANK_FILE} nor a `.npy` file."
        )
    return files


def foreign_fingerprint(files: Sequence[Path], shards: Sequence[NDArray[Any]]) -> str:
    """Return a hash of large files without reading all of them.

    Parameters
    ----------
    files : sequence of Path
        Files.
    shards : sequence of ndarray
        What `map_shard` returned for them.

    Returns
    -------
    str
        SHA-256 over the names, shapes, sizes, and first and last MiB of the files.
    """
    sha = hashlib.sha256()
    for file, shard in zip(files, shards, strict=True):
        size = file.stat().st_size
        sha.update(canonical_json([file.name, shard.shape, size]).encode())
        with file.open("rb") as content:
            sha.update(content.read(_ENDS))
            content.seek(max(size - _ENDS, 0))
            sha.update(content.read(_ENDS))
    return sha.hexdigest()


def shard_name(number: int) -> str:
    """Return the name of the file of a shard.

    Parameters
    ----------
    number : int
        Place of the shard, 0 or more.

    Returns
    -------
    str
        Such as ``shard-00000.npy``.
    """
    return f"shard-{number:05d}.npy"


def write_shard(folder: Path, number: int, rows: NDArray[Any]) -> dict[str, Any]:
    """Write one shard of a bank atomically.

    Parameters
    ----------
    folder : Path
        Folder of the bank.
    number : int
        Place of the shard, 0 or more.
    rows : ndarray of float16 or float32, shape (n, n_features)
        Embeddings.

    Returns
    -------
    dict
        `file`, `rows` and `sha256`, for `write_bank`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    file = folder / shard_name(number)
    write_array(file, rows)
    return {"file": file.name, "rows": len(rows), "sha256": sha256_file(file)}


def write_bank(
    folder: Path,
    shards: Sequence[Mapping[str, Any]],
    images: pd.DataFrame,
    failed: pd.DataFrame,
    *,
    name: str,
    embedding: Mapping[str, Any],
    n_features: int,
    dtype: str,
    notes: Sequence[str],
) -> None:
    """Complete a bank whose shards are written.

    Parameters
    ----------
    folder : Path
        Folder of the bank.
    shards : sequence of mapping
        From `write_shard`, in the order of their rows.
    images : DataFrame
        One row per embedding: `image` and `sha256`.
    failed : DataFrame
        One row per image that was left out: `image` and `reason`.
    name : str
        Name of the bank.
    embedding : mapping
        What made the embeddings, as JSON values.
    n_features : int
        Numbers per embedding.
    dtype : {"float32", "float16"}
        In which they are stored.
    notes : sequence of str
        What a reader must know.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    write_table(folder / IMAGES_FILE, images)
    write_table(folder / FAILED_FILE, failed)
    tables = (IMAGES_FILE, FAILED_FILE)
    card = {
        "version": VERSION,
        "name": name,
        "embedding": embedding,
        "n_images": len(images),
        "n_failed": len(failed),
        "n_features": n_features,
        "dtype": dtype,
        "shards": list(shards),
        "sha256": {table: sha256_file(folder / table) for table in tables},
        "notes": list(notes),
    }
    write_json(folder / BANK_FILE, card)
