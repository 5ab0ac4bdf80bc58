"""What is to be prepared of the Natural Scenes Dataset: trials, units and files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_loaders.beta_files import BetaFile, open_beta_file
from data_loaders.beta_recording import BetaPart, Recording
from data_loaders.nsd_design import (
    NSDDesign,
    check_behaviour,
    check_stimulus_info,
    read_design,
    repeats_in_all,
    stimulus_ids,
    trial_table,
)
from data_loaders.nsd_files import (
    PUBLISHED_SESSIONS,
    SIMULATION_FILE,
    TRIALS_PER_SESSION,
    SessionFiles,
    check_root,
    find_beta_files,
    find_preparations,
    find_sessions,
    subject_name,
    subject_number,
    write_ranges,
)
from data_loaders.nsd_maps import (
    check_map_shape,
    map_shape,
    read_map,
    read_map_and_affine,
)
from data_loaders.nsd_regions import RegionLabels, find_families, read_regions
from data_loaders.nsd_tables import (
    BEHAVIOUR_FILE,
    STIMULI_FILE,
    count_behaviour_sessions,
    read_behaviour,
    read_stimulus_info,
)
from neurovis.core.brain_space import BrainSpace, SurfaceSpace, VolumeSpace
from neurovis.core.checks import check_array, check_between
from neurovis.core.errors import DataCorruptError
from neurovis.core.regions import region_mask


def _by_subject(grids: str) -> Mapping[str, tuple[int, int, int]]:
    sizes = [tuple(map(int, grid.split())) for grid in grids.split(",")]
    return {f"subj{i:02d}": (x, y, z) for i, (x, y, z) in enumerate(sizes, 1)}


PUBLISHED_GRIDS: Mapping[str, Mapping[str, tuple[int, int, int]]] = MappingProxyType(
    {
        "func1pt8mm": _by_subject(
            "81 104 83, 82 106 84, 81 106 82, 85 99 80, 79 97 78, 85 113 83, "
            "78 95 81, 80 103 78"
        ),
        "func1mm": _by_subject(
            "145 186 148, 146 190 150, 145 190 146, 152 177 143, 141 173 139, "
            "152 202 148, 139 170 145, 143 184 139"
        ),
    }
)
"""Voxels along X, Y and Z, by space and subject."""


@dataclass(frozen=True)
class NSDRecording:
    """A subject of NSD, chosen and checked; no betas were read.

    Parameters
    ----------
    recording : Recording
        For `prepare_responses`.
    files : SessionFiles
        The files of betas.
    design : NSDDesign
        The order of pictures.
    has_published_ncsnr : bool
        Whether `units` has the column `ncsnr_published`.
    """

    recording: Recording
    files: SessionFiles
    design: NSDDesign
    has_published_ncsnr: bool


def plan_recording(
    root: str | Path,
    subject: int | str,
    *,
    space: str = "func1pt8mm",
    preparation: str = "b3",
    volume_format: str | None = None,
    sessions: Iterable[int] | None = None,
    families: Sequence[str] | str | None = None,
    regions: Sequence[str] | str | None = None,
    mask: ArrayLike | str | Path | None = None,
    min_ncsnr: float | None = None,
) -> NSDRecording:
    """Choose trials and units of a subject; the headers of all betas are checked.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    subject : int or str
        1-based number, or "subj01".
    space, preparation, volume_format : str, optional
        As `data_loaders.nsd.load_nsd`.
    sessions, families, regions, mask, min_ncsnr : optional
        As `data_loaders.nsd.load_nsd`.

    Returns
    -------
    NSDRecording
        What is to be prepared.

    Raises
    ------
    FileNotFoundError, DataCorruptError, KeyError, ValueError
        As `data_loaders.nsd.load_nsd`.
    """
    root = check_root(root)
    if min_ncsnr is not None:
        check_between("min_ncsnr", min_ncsnr, low=0)
    files = find_sessions(
        root,
        subject,
        space=space,
        preparation=preparation,
        volume_format=volume_format,
        sessions=sessions,
    )
    design = read_design(root)
    trials, notes = _read_trials(root, design, files)
    place = _open_space(root, files)
    labels = _read_labels(root, files, place.space, families, regions)
    published, ncsnr_notes = _published_ncsnr(files, place.space, min_ncsnr)
    keep, mask_notes = _read_mask(root, files, place.space, mask, regions is None)
    notes += [*files.notes, *labels.notes, *ncsnr_notes, *mask_notes]
    if published is not None and min_ncsnr is not None:
        keep &= published >= min_ncsnr
    if regions is not None:
        keep &= _in_regions(labels, regions)
    places = np.flatnonzero(keep)
    if not len(places):
        raise ValueError(
            f"No unit of {files.subject} {space} is left by `regions`, `mask` and "
            "`min_ncsnr`. Ask for less."
        )
    units = place.space.locate(places)
    if labels.hemisphere is not None:
        units["hemisphere"] = labels.hemisphere[places]
    for family, column in labels.columns.items():
        units[family] = column[places]
    if published is not None:
        units["ncsnr_published"] = published[places]
    recording = Recording(
        name="nsd",
        subject=files.subject,
        parts=_to_parts(place, places),
        trials=trials,
        units=units,
        families=tuple(labels.columns),
        space=place.space,
        notes=tuple(notes),
        response_unit="percent signal change",
    )
    return NSDRecording(recording, files, design, published is not None)


# -------------------------------------------------------------------- trials


def known_sessions(root: str | Path, design: NSDDesign) -> list[int]:
    """Return the sessions that each subject is known to have.

    The last session in ``responses.tsv``, or without that file the published number
    if the design is the published one; more if betas of a later one are there, those
    of the resting state aside. All planned ones when nothing tells.

    Parameters
    ----------
    root : str or Path
        Folder of the data set.
    design : NSDDesign
        From `read_design`.

    Returns
    -------
    list of int
        One number per subject of the design.
    """
    root = check_root(root)
    published = _published_sessions(root, design)
    known = []
    for number in range(1, design.n_subjects + 1):
        path = root / BEHAVIOUR_FILE.format(subject=subject_name(number))
        last = published[number - 1]
        if path.is_file():
            last = count_behaviour_sessions(path)
        for space, names in find_preparations(root, number).items():
            folder = root / "nsddata_betas" / "ppdata" / subject_name(number) / space
            for name in names:
                if not name.startswith("resting"):
                    by_format = find_beta_files(folder / name).values()
                    last = max(last, *(max(files) for files in by_format))
        known.append(min(last, design.n_sessions) or design.n_sessions)
    return known


def _published_sessions(root: Path, design: NSDDesign) -> Sequence[int]:
    """Return the published numbers, or 0 for a design that is not the published."""
    plan = (design.n_subjects, design.n_sessions)
    if plan == (8, 40) and not (root / SIMULATION_FILE).is_file():
        return PUBLISHED_SESSIONS
    return [0] * design.n_subjects


def _read_trials(
    root: Path, design: NSDDesign, files: SessionFiles
) -> tuple[pd.DataFrame, list[str]]:
    """Return the trials of the sessions, compared with all tables that there are."""
    notes = []
    if (root / SIMULATION_FILE).is_file():
        notes.append(f"Simulated data: {SIMULATION_FILE} tells the truth.")
    path = root / BEHAVIOUR_FILE.format(subject=files.subject)
    behaviour = None
    if path.is_file():
        behaviour = read_behaviour(path, files.subject)
        check_behaviour(design, behaviour, path)
    trials = trial_table(
        design, files.subject, sessions=files.sessions, behaviour=behaviour
    )
    known = known_sessions(root, design)
    nsd_id = trials["nsd_id"].to_numpy()
    trials.insert(0, "stimulus_id", stimulus_ids(nsd_id))
    trials["file"] = np.searchsorted(files.sessions, trials["session"])
    trials["n_repeats_all"] = repeats_in_all(design, known)[nsd_id]
    path = root / STIMULI_FILE
    if path.is_file():
        info = read_stimulus_info(path)
        check_stimulus_info(design, info, path)
        by_id = info.set_index("nsd_id").reindex(nsd_id)
        for column in ("coco_id", "coco_split"):
            if column in info:
                trials[column] = by_id[column].to_numpy()
    number = subject_number(files.subject) - 1
    own = max(known[number], _published_sessions(root, design)[number])
    missing = set(range(1, own + 1)) - set(files.sessions)
    if missing:
        withheld = missing == set(range(own - 2, own + 1))
        hint = " (NSD withheld the last three until August 2023)" if withheld else ""
        notes.append(f"Sessions not used: {write_ranges(missing)} of {own}{hint}.")
    notes.append(
        f"n_repeats_all counts sessions of the subjects: {', '.join(map(str, known))}."
    )
    return trials, notes


# --------------------------------------------------------------------- space


@dataclass(frozen=True)
class _OpenFiles:
    """A space, and its files of betas part by part (volume, or hemispheres)."""

    space: BrainSpace
    parts: tuple[tuple[BetaFile, ...], ...]


def _open_space(root: Path, files: SessionFiles) -> _OpenFiles:
    brain = brainmask_file(root, files.subject, files.space)
    grids: list[tuple[int, ...] | None] = [None] * (1 + files.is_surface)
    if not files.is_surface:
        grids = [map_shape(brain) if brain.is_file() else _swapped_grid(files)]
    parts = []
    for part, grid in enumerate(grids):
        opened: list[BetaFile] = []
        for paths in files.files.values():
            wanted = opened[0].grid if opened else grid
            file = open_beta_file(paths[part], grid=wanted, n_trials=TRIALS_PER_SESSION)
            opened.append(file)
        parts.append(tuple(opened))
    first = [part[0].grid for part in parts]
    for path, grid in zip(paths, first, strict=True):
        if len(grid) != (1 if files.is_surface else 3):
            raise DataCorruptError(
                f"{path} has the grid {grid}; expected "
                f"{'one number of vertices' if files.is_surface else '(X, Y, Z)'}."
            )
    if files.is_surface:
        left, right = (grid[0] for grid in first)
        return _OpenFiles(SurfaceSpace(files.space, (left, right)), tuple(parts))
    affine = parts[0][0].affine
    if affine is None and brain.is_file():
        affine = read_map_and_affine(brain)[1]
    x, y, z = first[0]
    return _OpenFiles(VolumeSpace(files.space, (x, y, z), affine), tuple(parts))


def _swapped_grid(files: SessionFiles) -> tuple[int, ...] | None:
    """Return the published grid when that of the first file is it, axes swapped."""
    published = PUBLISHED_GRIDS.get(files.space, {}).get(files.subject)
    path = next(iter(files.files.values()))[0]
    grid = open_beta_file(path).grid if published else ()
    return published if published and sorted(grid) == sorted(published) else None


def brainmask_file(root: Path, subject: str, space: str) -> Path:
    """Return where the brainmask of a volume lies, if there is one.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    subject : str
        Such as "subj01".
    space : str
        Such as "func1pt8mm".

    Returns
    -------
    Path
        The file.
    """
    return root / "nsddata" / "ppdata" / subject / space / "brainmask.nii.gz"


def _to_parts(place: _OpenFiles, places: NDArray[np.int64]) -> tuple[BetaPart, ...]:
    if isinstance(place.space, VolumeSpace):
        return (BetaPart(place.parts[0], places),)
    n_left = place.space.n_vertices[0]
    left, right = places[places < n_left], places[places >= n_left] - n_left
    both = (BetaPart(place.parts[0], left), BetaPart(place.parts[1], right))
    return tuple(part for part in both if len(part.places))


# ----------------------------------------------------------------- selection


def _read_labels(
    root: Path,
    files: SessionFiles,
    space: BrainSpace,
    families: Sequence[str] | str | None,
    regions: Sequence[str] | str | None,
) -> RegionLabels:
    labels = read_regions(root, files.subject, space, families)
    if regions is None or families is not None:
        return labels
    # A region of a family that was not asked for is found all the same.
    have = find_families(root, files.subject, space.name)
    asked = [n for name in _names(regions) for n in (name, name.partition(":")[0])]
    more = [f for f in have if f in asked and f not in labels.columns]
    if not more:
        return labels
    return read_regions(root, files.subject, space, [*labels.columns, *more])


def _names(regions: Sequence[str] | str) -> list[str]:
    return [regions] if isinstance(regions, str) else list(regions)


def _in_regions(
    labels: RegionLabels, regions: Sequence[str] | str
) -> NDArray[np.bool_]:
    table = pd.DataFrame(labels.columns)
    masks = [region_mask(table, tuple(labels.columns), r) for r in _names(regions)]
    if not masks:
        raise ValueError("`regions` must name at least one region; it is empty.")
    return np.asarray(np.stack(masks).any(axis=0), np.bool_)


def _published_ncsnr(
    files: SessionFiles, space: BrainSpace, min_ncsnr: float | None
) -> tuple[NDArray[np.float64] | None, list[str]]:
    paths = files.companion("ncsnr")
    if not paths:
        if min_ncsnr is None:
            return None, []
        return None, [
            "There is no ncsnr file: min_ncsnr was applied to values computed from "
            "these trials."
        ]
    return _read_flat(paths, space).astype(np.float64), []


def _read_flat(paths: Sequence[Path], space: BrainSpace) -> NDArray[Any]:
    """Return a map of all places, x fastest, left before right."""
    values = [read_map(path) for path in paths]
    grids: list[tuple[int, ...]]
    if isinstance(space, VolumeSpace):
        grids = [space.shape]
    else:
        grids = [(n,) for n in space.n_vertices]
    for path, value, grid in zip(paths, values, grids, strict=True):
        check_map_shape(path, value.shape, grid, f"the space {space.name} of the betas")
    return np.concatenate([value.ravel(order="F") for value in values])


def _read_mask(
    root: Path,
    files: SessionFiles,
    space: BrainSpace,
    mask: ArrayLike | str | Path | None,
    is_default: bool,
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return the places of `mask`; without one those of the brain, or all."""
    if mask is None:
        brain = brainmask_file(root, files.subject, files.space)
        if is_default and not files.is_surface and brain.is_file():
            return _read_flat([brain], space) > 0, ["Units are those of the brainmask."]
        return np.ones(space.n_units, np.bool_), []
    if isinstance(mask, str | Path):
        values = _read_flat([Path(mask)], space)
    else:
        is_volume = isinstance(space, VolumeSpace)
        shape = space.shape if isinstance(space, VolumeSpace) else (space.n_units,)
        values = check_array("mask", mask, shape=shape)
        values = values.ravel(order="F") if is_volume else values
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            "`mask` must hold 0 and 1 or False and True only; it holds "
            f"{values[~np.isin(values, (0, 1))][0]}."
        )
    return values.astype(np.bool_), []
