"""Stimulus sets on disk: pictures as PNG, one table, one description.

A folder holds ``images/<stimulus_id>.png``, ``targets/<content>.png`` (each distinct
target once), ``stimuli.csv`` and ``stimuli.json``. The last is written at the end: a
folder that has it is complete. Until then ``stimuli.part.json`` marks the folder as
begun.
"""

import hashlib
import importlib.metadata
import io
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import neurovis
from neurovis.core import log
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    check_writable_folder,
    read_json,
    sha256_bytes,
    write_bytes,
    write_json,
)
from neurovis.core.pictures import LazyPictures, read_image, write_png
from neurovis.core.types import PATH_COLUMNS, StimulusSet, Viewing

FORMAT = 1
"""Version of the folder layout, in ``stimuli.json``."""

_TABLE, _DONE, _BEGUN = "stimuli.csv", "stimuli.json", "stimuli.part.json"

logger = logging.getLogger(__name__)


def save_stimuli(
    stimuli: StimulusSet,
    folder: str | Path,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write a stimulus set; run again after an interruption to complete it.

    Pictures that are there already with the right content are kept. Equal sets give
    equal bytes with the same versions of the libraries.

    Parameters
    ----------
    stimuli : StimulusSet
        What to save. Names of pictures are made from `stimulus_id`.
    folder : str or Path
        Where; made when missing. Must be empty or hold this set.
    overwrite : bool, default False
        Replace another stimulus set that was saved there.
    progress : bool, default True
        Show a bar when standard error is a terminal.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds something else, or another set and `overwrite` is False.
    FileNotFoundError
        If the folder is removed while it is written.
    TypeError, ValueError
        If an identity cannot name a file, or a column cannot be kept in CSV.
    NotADirectoryError, PermissionError
        If the folder cannot be made or written.

    Examples
    --------
    >>> import tempfile
    >>> from stimuli.search_arrays import make_search_arrays
    >>> made = make_search_arrays("top_down", set_sizes=[6], trials=2)
    >>> folder = save_stimuli(made, Path(tempfile.mkdtemp()) / "displays")
    >>> load_stimuli(folder).fingerprint == made.fingerprint
    True
    """
    identities = stimuli.table["stimulus_id"].tolist()
    check_file_names(identities)
    values = stimuli.table.drop(columns=list(PATH_COLUMNS), errors="ignore")
    kinds = _column_kinds(values)
    folder = check_writable_folder(folder)
    fingerprint = stimuli.fingerprint
    replacing = _check_free(folder, fingerprint, overwrite)
    if replacing:
        (folder / _DONE).unlink(missing_ok=True)
    if not (folder / _DONE).exists():
        write_json(folder / _BEGUN, {"fingerprint": fingerprint})

    paths, target_paths = [], []
    steps: Iterable[int] = range(len(stimuli))
    n_written = 0
    for i in log.progress(steps, "saving", unit="picture") if progress else steps:
        paths.append(f"images/{identities[i]}.png")
        n_written += _write_picture(folder / paths[-1], stimuli.load(i))
        if stimuli.targets is not None:
            target = stimuli.targets[i]
            target_paths.append(f"targets/{picture_hash(target)[:16]}.png")
            n_written += _write_picture(folder / target_paths[-1], target)
    if not (folder / _BEGUN).exists() and not (folder / _DONE).exists():
        write_json(folder / _BEGUN, {"fingerprint": fingerprint})
        raise FileNotFoundError(
            f"{folder} was removed while it was written: pictures are missing. Save "
            "the set again to complete it."
        )
    columns = {"path": paths}
    if target_paths:
        columns["target_path"] = target_paths
    table = _csv_bytes(values.assign(**columns))
    write_bytes(folder / _TABLE, table)
    if replacing:
        _remove_others(folder, {*paths, *target_paths})
    write_json(
        folder / _DONE,
        {
            "format": FORMAT,
            "name": stimuli.name,
            "n_stimuli": len(stimuli),
            "viewing": asdict(stimuli.viewing),
            "fingerprint": fingerprint,
            "table_sha256": sha256_bytes(table),
            "columns": kinds | dict.fromkeys(columns, "str"),
            "parameters": _shared_values(values),
            "versions": {"neurovis": neurovis.__version__}
            | {p: importlib.metadata.version(p) for p in ("numpy", "pandas", "pillow")},
        },
    )
    (folder / _BEGUN).unlink(missing_ok=True)
    logger.info("%s: %d pictures written, the others were there", folder, n_written)
    return folder


def load_stimuli(folder: str | Path, *, verify: bool = False) -> StimulusSet:
    """Open a saved stimulus set; pictures are read when asked for.

    Parameters
    ----------
    folder : str or Path
        Folder that `save_stimuli` completed.
    verify : bool, default False
        Read everything and compare with the stored fingerprint.

    Returns
    -------
    StimulusSet
        With the same fingerprint as the set that was saved. Its table has the
        columns `path` and, for search, `target_path`, relative to the folder.

    Raises
    ------
    FileNotFoundError
        If the folder, its description or a picture is missing.
    DataCorruptError
        If the table was changed, or (with `verify`, or when it is read) a picture is
        damaged.
    ValueError
        If the folder was written by a later version.
    """
    folder = check_path("folder", folder, kind="folder")
    if not (folder / _DONE).is_file():
        begun = (folder / _BEGUN).is_file()
        raise FileNotFoundError(
            f"{folder} has no {_DONE}: "
            + (
                "saving was interrupted. Run `save_stimuli` again to complete it."
                if begun
                else "it is no folder of `save_stimuli`."
            )
        )
    about = read_json(folder / _DONE)
    if not isinstance(about, dict) or "format" not in about:
        raise DataCorruptError(f"{folder / _DONE} does not describe a stimulus set.")
    if about["format"] != FORMAT:
        raise ValueError(
            f"{folder} has the format {about['format']!r}, but this version reads "
            f"{FORMAT}: update neurovis."
        )
    data = check_path(_TABLE, folder / _TABLE).read_bytes()
    if sha256_bytes(data) != about["table_sha256"]:
        raise DataCorruptError(
            f"{folder / _TABLE} is not the table that was saved: it is damaged or was "
            "edited. To change a set, change `table` and save it to another folder."
        )
    table = _read_csv(data, about["columns"])
    pictures = [
        _existing_pictures(folder, table[column])
        for column in PATH_COLUMNS
        if column in table
    ]
    stimuli = StimulusSet(
        about["name"],
        table,
        Viewing(**about["viewing"]),
        *(LazyPictures(read_image, paths) for paths in pictures),
    )
    if verify and stimuli.fingerprint != about["fingerprint"]:
        raise DataCorruptError(
            f"{folder} has the fingerprint {stimuli.fingerprint}, but "
            f"{about['fingerprint']} was saved: a picture was changed. Save the set "
            "again."
        )
    return stimuli


def check_file_names(identities: Iterable[str]) -> None:
    """Raise unless each identity can name a file on every system.

    Parameters
    ----------
    identities : iterable of str
        Values of `stimulus_id`.

    Raises
    ------
    ValueError
        If one has other signs than ASCII letters, digits, ``.``, ``_``, ``-``,
        starts with a dot, is longer than 200, or differs from another in case only.

    Examples
    --------
    >>> check_file_names(["cross_n03_t000"])
    """
    seen: dict[str, str] = {}
    for identity in identities:
        bare = str(identity).replace("_", "").replace("-", "").replace(".", "")
        plain = bare.isascii() and bare.isalnum() and len(str(identity)) <= 200
        if not plain or str(identity).startswith("."):
            raise ValueError(
                f"`stimulus_id` {identity!r} cannot name a file: use letters, digits, "
                "'_', '-' and '.', at most 200, not '.' first."
            )
        other = seen.setdefault(str(identity).lower(), str(identity))
        if other != identity:
            raise ValueError(
                f"`stimulus_id` {identity!r} and {other!r} differ in case only, which "
                "is one file on some systems: rename one."
            )


def picture_hash(picture: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the shape and levels of a picture.

    Parameters
    ----------
    picture : ndarray of uint8
        The picture.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> picture_hash(np.zeros((1, 2, 3), np.uint8))[:8]
    '4b2f0376'
    """
    sha = hashlib.sha256(str(picture.shape).encode())
    sha.update(np.ascontiguousarray(picture).tobytes())
    return sha.hexdigest()


# --------------------------------------------------------------------- folder


def _check_free(folder: Path, fingerprint: str, overwrite: bool) -> bool:
    """Return whether another set is replaced; raise if it must not be."""
    for name in (_DONE, _BEGUN):
        if (folder / name).is_file():
            there = read_json(folder / name)
            old = there.get("fingerprint") if isinstance(there, dict) else None
            if old is None:
                break
            if old != fingerprint and not overwrite:
                raise FileExistsError(
                    f"{folder} holds another stimulus set (fingerprint {old[:12]}..., "
                    f"this one is {fingerprint[:12]}...). Choose another folder, or "
                    "give `overwrite` to replace it."
                )
            return bool(old != fingerprint)
    others = [p.name for p in folder.iterdir() if ".part-" not in p.name]
    if others:
        raise FileExistsError(
            f"{folder} is not empty and holds no stimulus set (it has "
            f"{sorted(others)[0]!r}). Choose an empty or new folder."
        )
    return False


def _write_picture(path: Path, picture: NDArray[np.uint8]) -> bool:
    """Write unless the same picture is there; return whether it was written."""
    if path.is_file():
        try:
            if np.array_equal(read_image(path), picture):
                return False
        except DataCorruptError:
            logger.warning("%s is damaged and is written again", path)
    write_png(path, picture)
    return True


def _remove_others(folder: Path, keep: set[str]) -> None:
    for name in ("images", "targets"):
        for path in (folder / name).glob("*.png"):
            if f"{name}/{path.name}" not in keep:
                path.unlink()


def _existing_pictures(folder: Path, paths: pd.Series) -> list[Path]:
    root = folder.resolve()
    found = []
    for relative in paths:
        path = (root / str(relative)).resolve()
        if not path.is_relative_to(root):
            raise DataCorruptError(
                f"{folder / _TABLE} names {relative!r}, which lies outside the folder."
            )
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder / str(relative)} is missing. Save the set again, or copy the "
                "whole folder."
            )
        found.append(path)
    return found


# ---------------------------------------------------------------------- table


def _column_kinds(table: pd.DataFrame) -> dict[str, str]:
    """Return the dtype of each column; raise if CSV cannot give it back."""
    kinds = {}
    for name, column in table.items():
        is_text = pd.api.types.infer_dtype(column, skipna=True) in ("string", "empty")
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
            kinds[str(name)] = str(column.dtype)
        elif is_text:
            kinds[str(name)] = "str"
        else:
            raise TypeError(
                f"The column {name!r} has dtype {column.dtype}, which CSV does not "
                "keep. Use numbers, True and False, or text (NaN for undefined)."
            )
    back = _read_csv(_csv_bytes(table), kinds)
    for name in kinds:
        before, after = (
            t[name].astype(object).where(t[name].notna(), None).tolist()
            for t in (table, back)
        )
        if before != after:
            raise ValueError(
                f"The column {name!r} has values that CSV does not keep, such as empty "
                "text (use NaN for undefined)."
            )
    return kinds


def _csv_bytes(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def _read_csv(data: bytes, kinds: dict[str, str]) -> pd.DataFrame:
    """Read text cells and convert them here: pandas would guess and round."""
    try:
        table = pd.read_csv(
            io.BytesIO(data), dtype=str, keep_default_na=False, na_values=[""]
        )
        for name, kind in kinds.items():
            if kind == "bool":
                table[name] = table[name] == "True"
            elif kind != "str":
                table[name] = table[name].astype(np.dtype(kind))
    except (ValueError, KeyError) as error:
        raise DataCorruptError(f"The table cannot be read: {error}.") from error
    return table


def _shared_values(table: pd.DataFrame) -> dict[str, Any]:
    """Return what is the same in all rows; NaN equals nothing."""
    return {
        str(name): column.iloc[0]
        for name, column in table.items()
        if len(column) and (column == column.iloc[0]).all()
    }
