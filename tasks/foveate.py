"""A folder of pictures as a fixating eye has them, picture by picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_loaders.picture_folder import open_picture_folder
from neurovis.adapters.foveated_texture import (
    make_stage,
    resized,
    to_bytes,
    to_unit,
)
from neurovis.core.checks import check_columns, check_whole
from neurovis.core.device import exact_float32, in_batches, resolve
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    plain,
    read_table,
    sha256_json,
    write_json,
    write_table,
)
from neurovis.core.log import progress
from neurovis.core.pictures import read_image, write_png
from neurovis.core.provenance import collect
from neurovis.core.types import Provenance
from neurovis.foveation.transforms import (
    FoveationSettings,
    ImageTransform,
    geometry,
)
from stimuli.save import picture_hash
from tasks.runs import begin_run

TASK = "foveate"
VERSION = 1
"""Raised when the same call gives other pictures."""

TABLE, ABOUT, PICTURES = "pictures.csv", "foveated.json", "pictures"
_GUESSED = (
    "The viewing distance was not given: the longer side of every picture is taken to "
    "span 26 degrees, as published."
)

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Foveated:
    """A folder of transformed pictures.

    Parameters
    ----------
    folder : Path
        Holds ``pictures/``, ``pictures.csv`` and ``foveated.json``.
    table : DataFrame
        One row per picture, as ``pictures.csv``.
    fingerprint : str
        Hash of all pictures and their names.
    provenance : Provenance
        How they came about.
    """

    folder: Path
    table: pd.DataFrame
    fingerprint: str
    provenance: Provenance


def foveate_folder(
    folder: str | Path,
    out: str | Path,
    settings: FoveationSettings | None = None,
    *,
    fixations: str | Path | pd.DataFrame | None = None,
    size_px: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 4,
) -> Foveated:
    """Transform every picture of a folder; run again after an interruption.

    Parameters
    ----------
    folder : str or Path
        Pictures, in sub-folders too (see
        `data_loaders.picture_folder.open_picture_folder`).
    out : str or Path
        Where to write; made when missing.
    settings : FoveationSettings, optional
        Transform and viewing geometry; those of the published systems by default.
    fixations : str, Path or DataFrame, optional
        A fixation per picture: a table (``.csv`` or ``.parquet``) with the columns
        `stimulus_id` (path below the folder), `x_px`, `y_px`.
    size_px : int, optional
        Side of square results; by default pictures keep their size.
    seed : int, default 0
        Seed of the random numbers; every picture has its own ones.
    device : str, default "auto"
        Where to compute.
    batch_size : int, default 4
        Pictures of one size at once; it does not change the result.

    Returns
    -------
    Foveated
        The finished folder. Its table has `stimulus_id`, `category`, `path` (below
        `out`), `width_px`, `height_px` (of the result), `source_width_px`,
        `source_height_px`, `transform`, `x_px`, `y_px` (fixation in the source),
        `px_per_deg`, `source_sha256` and `sha256` (of shape and levels).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a fixation lies outside its picture, two pictures
        would get one name, or `out` holds another run.
    FileNotFoundError, DataCorruptError
        If the folder or a picture is missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError, OSError
        If `out` cannot be written.
    """
    pictures, labels = open_picture_folder(folder)
    if Path(out).resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(
            f"`out` must not lie in the folder of pictures, {folder}, as its pictures "
            f"would count as more of these; got {out}."
        )
    return foveate_pictures(
        pictures,
        labels,
        out,
        settings,
        fixations=fixations,
        size_px=size_px,
        seed=seed,
        device=device,
        batch_size=batch_size,
    )


def foveate_pictures(
    pictures: Sequence[Image],
    labels: pd.DataFrame,
    out: str | Path,
    settings: FoveationSettings | None = None,
    *,
    fixations: str | Path | pd.DataFrame | None = None,
    size_px: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 4,
) -> Foveated:
    """Transform pictures from anywhere, as `foveate_folder` those of a folder.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures; read when they are asked for.
    labels : DataFrame
        One row per picture with `stimulus_id` (a relative path names the result) and
        `category`.
    out : str or Path
        Where to write; made when missing.
    settings : FoveationSettings, optional
        Transform and viewing geometry.
    fixations : str, Path or DataFrame, optional
        A fixation per picture, as for `foveate_folder`.
    size_px : int, optional
        Side of square results; by default pictures keep their size.
    seed : int, default 0
        Seed of the random numbers; every picture has its own ones.
    device : str, default "auto"
        Where to compute.
    batch_size : int, default 4
        Pictures of one size at once; it does not change the result.

    Returns
    -------
    Foveated
        The finished folder.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, DataCorruptError, OSError
        As `foveate_folder`.
    """
    settings = settings or FoveationSettings()
    if size_px is not None:
        check_whole("size_px", size_px, low=8)
    check_whole("seed", seed, low=0)
    check_whole("batch_size", batch_size, low=1)
    place = resolve(device)
    check_columns("labels", labels.columns, ["stimulus_id", "category"])
    if len(labels) != len(pictures) or not len(labels):
        raise ValueError(
            f"`labels` has {len(labels)} rows for {len(pictures)} pictures: one row "
            "per picture, and at least one, is needed."
        )
    if fixations is not None and settings.fixation_px is not None:
        raise ValueError(
            "Give either a fixation for all pictures (`fixation_px`) or one for each "
            "(`fixations`)."
        )
    identities = labels["stimulus_id"].tolist()
    names = _result_names(identities)
    where = _fixations(fixations, identities)
    own = [
        replace(settings, fixation_px=where[name]) if where else settings
        for name in identities
    ]
    hashes = []
    for index in progress(range(len(pictures)), "checking", unit="picture"):
        picture = pictures[index]
        try:
            geometry(own[index], (picture.shape[0], picture.shape[1]))
        except ValueError as error:
            raise ValueError(f"{identities[index]}: {error}") from None
        hashes.append(picture_hash(picture))
    arguments = plain(
        {
            "task": TASK,
            "version": VERSION,
            "source": sha256_json([identities, hashes]),
            **settings.parameters,
            "fixations": sha256_json(where) if where else None,
            "size_px": size_px,
            "seed": seed,
        }
    )
    made: dict[Any, ImageTransform] = {}
    # Made before the folder is: what it refuses leaves nothing behind.
    _stage(own[0], pictures[0].shape[:2], made)
    home = begin_run(out, arguments)
    finished = _hashes(home / TABLE)
    rows: list[dict[str, Any]] = []
    with progress(len(pictures), settings.transform, unit="picture") as bar:
        for start in range(0, len(pictures), batch_size):
            group = [
                _Item(identities[i], names[i], pictures[i], own[i])
                for i in range(start, min(start + batch_size, len(pictures)))
            ]
            rows += _render(group, home, size_px, seed, place, made, finished)
            bar.update(len(group))
    table = pd.DataFrame(rows)
    table.insert(1, "category", labels["category"].to_numpy())
    table["source_sha256"] = hashes
    fingerprint = sha256_json(table[["stimulus_id", "sha256"]].to_numpy().tolist())
    write_table(home / TABLE, table)
    notes = () if settings.px_per_deg is not None else (_GUESSED,)
    provenance = collect(
        seed,
        device=place,
        fingerprints={"source": arguments["source"], "pictures": fingerprint},
        call=arguments,
        notes=notes,
    )
    write_json(home / ABOUT, {"fingerprint": fingerprint, **provenance.to_dict()})
    return Foveated(home, table, fingerprint, provenance)


@dataclass(frozen=True)
class _Item:
    """One picture to do."""

    name: str
    result: str
    source: Image
    settings: FoveationSettings


def _result_names(names: Sequence[str]) -> list[str]:
    """Return the files of the results; two sources must not share one."""
    results = [
        f"{PICTURES}/{Path(name).with_suffix('.png').as_posix()}" for name in names
    ]
    found: dict[str, str] = {}
    for name, result in zip(names, results, strict=True):
        if ".." in Path(name).parts:
            raise ValueError(
                f"{name!r} would be written outside of the folder: `stimulus_id` must "
                "be a path without '..'."
            )
        if result.lower() in found:
            raise ValueError(
                f"{name!r} and {found[result.lower()]!r} would both become {result!r}: "
                "rename one."
            )
        found[result.lower()] = name
    return results


def _fixations(
    table: str | Path | pd.DataFrame | None, names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    if table is None:
        return {}
    if not isinstance(table, pd.DataFrame):
        table = read_table(table)
    check_columns("fixations", table.columns, ["stimulus_id", "x_px", "y_px"])
    keys = table["stimulus_id"].astype(str)
    columns = [pd.to_numeric(table[k], errors="coerce") for k in ("x_px", "y_px")]
    points = np.stack([column.to_numpy(np.float64) for column in columns], axis=1)
    found = {k: (float(x), float(y)) for k, (x, y) in zip(keys, points, strict=True)}
    if len(found) != len(table):
        raise ValueError(
            "`fixations` has a picture twice: give one row each, and make one folder "
            "per fixation."
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"`fixations` lacks {len(missing)} of {len(names)} pictures, the first is "
            f"{missing[0]!r}: name each as its path below the folder."
        )
    undefined = [k for k, v in found.items() if not np.isfinite(v).all()]
    if undefined:
        raise ValueError(f"`fixations` has no numbers for {undefined[0]!r}.")
    return found


def _render(
    group: Sequence[_Item],
    home: Path,
    size_px: int | None,
    seed: int,
    place: torch.device,
    made: dict[Any, ImageTransform],
    finished: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Transform the pictures that are not there yet, and describe all."""
    done = [_finished(home, item.result, finished) for item in group]
    todo: dict[Any, list[int]] = {}
    for index, item in enumerate(group):
        if done[index] is None:
            key = (item.source.shape[:2], item.settings.fixation_px)
            todo.setdefault(key, []).append(index)
    for key, indices in todo.items():
        transform = _stage(group[indices[0]].settings, key[0], made)

        def apply(some: Any, transform: ImageTransform = transform) -> list[Image]:
            images = to_unit([group[i].source for i in some]).to(place)
            keys = [group[i].name for i in some]
            with exact_float32(), torch.inference_mode():
                found = transform(images, keys=keys, seed=seed)
                return to_bytes(resized(found, size_px))

        results = in_batches(apply, indices, len(indices), device=place)
        for index, picture in zip(indices, results, strict=True):
            write_png(home / group[index].result, picture)
            done[index] = picture
    pairs = zip(group, done, strict=True)
    return [_row(item, picture) for item, picture in pairs if picture is not None]


def _stage(
    settings: FoveationSettings, shape: Any, made: dict[Any, ImageTransform]
) -> ImageTransform:
    key = (shape, settings.fixation_px)
    if key not in made:
        # Operators are large: only the last ones are kept.
        made.clear()
        made[key] = make_stage(settings, shape)
    return made[key]


def _hashes(table: Path) -> dict[str, str]:
    """Return what the pictures of a finished folder were."""
    if not table.is_file():
        return {}
    try:
        known = read_table(table)
        return dict(zip(known["path"], known["sha256"], strict=True))
    except (DataCorruptError, KeyError):
        return {}


def _finished(home: Path, name: str, finished: Mapping[str, str]) -> Image | None:
    """Return a result that is there, unless it was damaged or changed."""
    if not (home / name).is_file():
        return None
    try:
        picture = read_image(home / name)
    except (DataCorruptError, ValueError):
        return None
    known = finished.get(name)
    return picture if known is None or known == picture_hash(picture) else None


def _row(item: _Item, picture: Image) -> dict[str, Any]:
    height, width = item.source.shape[:2]
    px_per_deg, (x, y) = geometry(item.settings, (height, width))
    return {
        "stimulus_id": item.name,
        "path": item.result,
        "width_px": picture.shape[1],
        "height_px": picture.shape[0],
        "source_width_px": width,
        "source_height_px": height,
        "transform": item.settings.transform,
        "x_px": x,
        "y_px": y,
        "px_per_deg": px_per_deg,
        "sha256": picture_hash(picture),
    }
