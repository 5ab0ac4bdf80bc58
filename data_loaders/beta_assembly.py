"""From opened files, trials, masks and labels to prepared responses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from data_loaders.beta_files import BetaFile
from data_loaders.beta_masks import Image, Names, UnitPlaces, label_units, place_units
from data_loaders.beta_preparation import BetaPart, Recording, prepare_responses
from data_loaders.picture_folder import open_picture_folder
from neurovis.core.brain_space import BrainSpace, SurfaceSpace, VolumeSpace
from neurovis.core.pictures import LazyPictures
from neurovis.core.unit_responses import UnitResponses

Regions = Mapping[str, Image | tuple[Image, Names]]


@dataclass(frozen=True, eq=False)
class PartFiles:
    """Files of a volume or of one hemisphere, and the images that belong to them.

    Parameters
    ----------
    hemisphere : str
        "lh" or "rh"; "" for a volume.
    files : tuple of BetaFile
        Of one grid, in chronological order.
    mask : path, array or None
        See `data_loaders.betas.load_betas`.
    regions : mapping or None
        See `data_loaders.betas.load_betas`.
    """

    hemisphere: str
    files: tuple[BetaFile, ...]
    mask: Image | None = None
    regions: Regions | None = None


def prepare_betas(
    parts: Sequence[PartFiles],
    trials: pd.DataFrame,
    *,
    name: str,
    subject: str,
    space: str,
    mask_order: str,
    pictures: str | Path | None,
    notes: Sequence[str],
    response_unit: str,
    z_score: bool,
    average: bool,
    incomplete: str,
    memory_gib: float,
    store: str | Path | None,
) -> UnitResponses:
    """Prepare responses whose trials are known; see `data_loaders.betas.load_betas`.

    Parameters
    ----------
    parts : sequence of PartFiles
        A volume, or the left and the right hemisphere.
    trials : DataFrame
        From `data_loaders.beta_events.match_events`.
    name, subject, space : str
        See `data_loaders.betas.load_betas`.
    mask_order : {"C", "F"}
        See `data_loaders.betas.load_betas`.
    pictures : path or None
        See `data_loaders.betas.load_betas`.
    notes : sequence of str
        What was assumed so far.
    response_unit : str
        See `data_loaders.betas.load_betas`.
    z_score, average : bool
        See `data_loaders.betas.load_betas`.
    incomplete : {"drop", "nan", "zero"}
        See `data_loaders.betas.load_betas`.
    memory_gib : float
        See `data_loaders.betas.load_betas`.
    store : path or None
        See `data_loaders.betas.load_betas`.

    Returns
    -------
    UnitResponses
        See `data_loaders.betas.load_betas`.

    Raises
    ------
    FileNotFoundError, ValueError, DataCorruptError
        See `data_loaders.betas.load_betas`.
    """
    placed = []
    for part in parts:
        first = part.files[0]
        placed.append(
            place_units(
                first.grid, first.affine, part.mask, name=space, mask_order=mask_order
            )
        )
    units, place = placed[0].units, placed[0].space
    whole: BrainSpace | None = place
    if len(parts) == 2:
        if any(where.space is not None for where in placed):
            raise ValueError("`mask` of a hemisphere must hold one number per vertex.")
        left, right = (part.files[0].grid[0] for part in parts)
        whole = SurfaceSpace(space, (left, right))
        units = whole.locate(
            np.concatenate([placed[0].places, left + placed[1].places])
        )
    units, families = _with_labels(units, parts, placed)
    notes = [*notes, *_reading_notes(parts, place, mask_order)]
    return prepare_responses(
        Recording(
            name=name,
            subject=subject,
            parts=tuple(
                BetaPart(part.files, where.places)
                for part, where in zip(parts, placed, strict=True)
            ),
            trials=trials,
            units=units,
            families=families,
            space=whole,
            notes=tuple(notes),
            response_unit=response_unit,
        ),
        z_score=z_score,
        average=average,
        incomplete=incomplete,
        memory_gib=memory_gib,
        store=store,
        pictures=None if pictures is None else _find_pictures(pictures, trials),
    )


def _with_labels(
    units: pd.DataFrame, parts: Sequence[PartFiles], placed: Sequence[UnitPlaces]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add a column of labels per family."""
    families = tuple(parts[0].regions or ())
    if any(set(part.regions or ()) != set(families) for part in parts):
        raise ValueError("`regions` must have the same families in both hemispheres.")
    for family in families:
        if family in units:
            raise ValueError(f"`regions` must not be named {family!r}: it is a column.")
        labels = []
        for part, where in zip(parts, placed, strict=True):
            given = (part.regions or {})[family]
            image, names = given if isinstance(given, tuple) else (given, None)
            first = part.files[0]
            labels.append(
                label_units(family, image, names, first.grid, first.affine, where)
            )
        joined = union_categoricals(labels) if len(labels) > 1 else labels[0]
        units = units.assign(**{family: joined})
    return units, families


def _reading_notes(
    parts: Sequence[PartFiles], place: VolumeSpace | None, mask_order: str
) -> list[str]:
    files = [file for part in parts for file in part.files]
    notes = []
    if len(files[0].grid) == 1 and place is not None and len(parts) == 1:
        order = "x fastest" if mask_order == "F" else "z fastest"
        notes.append(f"Units are the voxels of the mask in the order {order}.")
    plain = [f for f in files if (f.slope, f.intercept, f.scale) == (1.0, 0.0, 1.0)]
    if any(file.dtype.kind in "iu" for file in plain):
        notes.append("Stored integers were taken as they are (scale 1).")
    return notes


def _find_pictures(folder: str | Path, trials: pd.DataFrame) -> LazyPictures:
    """Find the picture of each trial by its identity."""
    pictures, table = open_picture_folder(folder)
    paths = table["stimulus_id"].tolist()
    index: dict[str, list[int]] = {}
    for i, text in enumerate(paths):
        path = Path(text)
        for key in {text, path.name, path.stem, path.with_suffix("").as_posix()}:
            index.setdefault(key, []).append(i)
    rows = []
    lacking: list[str] = []
    for identity in trials["stimulus_id"]:
        found = index.get(identity) or index.get(Path(identity).name, [])
        exact = [i for i in found if paths[i] == identity]
        if len(found) > 1 and not exact:
            raise ValueError(
                f"`pictures` has several pictures for {identity!r}: "
                f"{paths[found[0]]} and {paths[found[1]]}. Leave one of them there."
            )
        if not found:
            lacking.append(identity)
            continue
        rows.append((exact or found)[0])
    if lacking:
        distinct = sorted(set(lacking))
        raise ValueError(
            f"`pictures` ({folder}) lacks {len(distinct)} of "
            f"{trials['stimulus_id'].nunique()} stimuli, such as {distinct[0]!r}. It "
            f"holds {len(paths)} pictures, such as {paths[0]!r}."
        )
    return LazyPictures(pictures.__getitem__, rows)
