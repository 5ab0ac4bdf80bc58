"""Single-trial responses in a BIDS derivative, found by their names.

Files of responses are 4-D images (trials last) with the suffix "statmap" or "betas",
such as ``sub-01_ses-02_task-images_space-T1w_desc-single_statmap.nii.gz``; the mask
is ``..._desc-brain_mask.nii.gz``; stimuli stand in ``..._events.tsv`` of the raw data.

Brain Imaging Data Structure 1.10, "Derivatives: imaging data types".
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.beta_assembly import PartFiles, Regions, prepare_betas
from data_loaders.beta_events import match_events
from data_loaders.beta_folders import (
    SUFFIXES,
    SessionFile,
    natural_key,
    session_notes,
)
from data_loaders.beta_masks import Image, read_mask_volume, same_place
from data_loaders.betas import open_files
from data_loaders.bids_files import BidsFile, find_files, parse_name, read_tsv
from data_loaders.nsd_maps import map_shape
from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.errors import DataCorruptError
from neurovis.core.unit_responses import UnitResponses

BETA_SUFFIXES = ("statmap", "betas", "beta")
"""Suffixes of files of responses."""

_ORDER = ("ses", "run")
_SAME = ("sub", *_ORDER)  # what may differ between the files of one recording


def load_bids_betas(
    root: str | Path,
    subject: str,
    task: str,
    *,
    raw: str | Path | None = None,
    space: str | None = None,
    desc: str | None = None,
    stimulus_column: str | None = None,
    trial_types: Sequence[str] | None = None,
    mask: Image | str | None = "auto",
    regions: Regions | None = None,
    pictures: str | Path | None = None,
    scale: float = 1.0,
    response_unit: str = "",
    z_score: bool | str = True,
    average: bool = True,
    incomplete: str = "drop",
    memory_gib: float = 4.0,
    store: str | Path | None = None,
) -> UnitResponses:
    """Load responses of single trials from a BIDS derivative.

    What is not told here is as in `data_loaders.betas.load_betas`.

    Parameters
    ----------
    root : path
        The derivative, or a BIDS data set with derivatives below it.
    subject, task : str
        Labels, such as "01" (or "sub-01") and "images".
    raw : path, optional
        The data set with the events, if it is not `root` or above it.
    space, desc : str, optional
        Labels that the files of responses must have, where several kinds are there.
    stimulus_column : str, optional
        Column of the events with the identity of the stimulus; default `stimulus_id`,
        `stim_file` or `trial_type`.
    trial_types : sequence of str, optional
        Rows of events that are trials, by their `trial_type`.
    mask : "auto", path, array or None
        "auto" takes voxels inside all brain masks of the recording.
    regions : mapping, optional
        Family of regions to its label image, or to (image, names).
    pictures : path, optional
        Folder of the stimuli.
    scale : float, default 1.0
        What stored numbers are divided by.
    response_unit : str, default ""
        Unit of responses that are not z-scored.
    z_score : bool or "session", default True
        Whether each unit is z-scored within each session.
    average : bool, default True
        Whether repeats of a stimulus become one row.
    incomplete : {"drop", "nan", "zero"}
        What becomes of units that are constant or undefined in a session.
    memory_gib : float, default 4.0
        Most memory to use, in GiB.
    store : path, optional
        Folder for prepared responses.

    Returns
    -------
    UnitResponses
        See `data_loaders.betas.load_betas`. Sessions are those of the names; runs of
        one session are z-scored together.

    Raises
    ------
    FileNotFoundError
        If there are no responses or no events.
    ValueError
        If several kinds of responses are there, sessions cannot be ordered, or files
        do not fit each other.
    DataCorruptError
        If a file is damaged.
    """
    if z_score not in (True, False):
        check_option("z_score", z_score, ("session", True, False))
    root = check_path("root", root, kind="folder")
    subject = subject.removeprefix("sub-")
    found = _find_responses(root, subject, task, space, desc)
    files = _in_order(found)
    spaces = {f.entities.get("space", "native") for f in found}
    events = _find_events(root, raw, subject, task, files, trial_types)
    opened = open_files(files, scale=scale)
    trials, assumed = match_events(
        events,
        files,
        [file.n_trials for file in opened],
        stimulus_column=stimulus_column,
    )
    notes = [*session_notes(files), *assumed]
    inside: Image | None = mask
    if isinstance(mask, str) and mask == "auto":
        inside, more = _find_mask(root, subject, task, found, opened[0])
        notes += more
    return prepare_betas(
        [PartFiles("", tuple(opened), inside, regions)],
        trials,
        name=root.name or "bids",
        subject=f"sub-{subject}",
        space=spaces.pop(),
        mask_order="C",
        pictures=pictures,
        notes=notes,
        response_unit=response_unit,
        z_score=bool(z_score),
        average=average,
        incomplete=incomplete,
        memory_gib=memory_gib,
        store=store,
    )


def _of_subject(root: Path, subject: str) -> list[BidsFile]:
    """Return the files of a subject that BIDS names, sorted by name."""
    paths = sorted(root.rglob(f"sub-{subject}_*"), key=lambda p: natural_key(p.name))
    parsed = (parse_name(p) for p in paths if p.is_file())
    return [f for f in parsed if f is not None and f.entities.get("sub") == subject]


def _find_responses(
    root: Path, subject: str, task: str, space: str | None, desc: str | None
) -> list[BidsFile]:
    there = [
        f
        for f in _of_subject(root, subject)
        if f.suffix in BETA_SUFFIXES and f.extension in SUFFIXES
    ]
    wanted = {"task": task, "space": space, "desc": desc}
    fitting = there
    for key, value in wanted.items():
        if value is None:
            continue
        have = sorted({f.entities[key] for f in fitting if key in f.entities})
        fitting = [f for f in fitting if f.entities.get(key) == value]
        if not fitting and have:
            check_option(key, value, have)
    if not fitting:
        raise FileNotFoundError(
            f"{root} holds no responses of sub-{subject}: files such as "
            f"sub-{subject}_task-{task}_desc-singletrial_statmap.nii.gz, with the "
            f"suffix {' or '.join(BETA_SUFFIXES)}, are looked for in all sub-folders."
        )
    kinds: dict[str, set[str]] = {}
    for file in fitting:
        for key in ("suffix", "extension"):
            kinds.setdefault(key, set()).add(getattr(file, key))
        for key in {k for f in fitting for k in f.entities} - set(_SAME):
            kinds.setdefault(key, set()).add(file.entities.get(key, "none"))
    for key, labels in kinds.items():
        if len(labels) > 1:
            advice = (
                f"Choose one by `{key}`."
                if key in ("space", "desc")
                else "Use `load_betas` with a pattern that fits one kind only."
            )
            raise ValueError(
                f"{root} holds several kinds of responses of sub-{subject}, which "
                f"differ in {key}: {', '.join(sorted(labels))}. {advice}"
            )
    return fitting


def _in_order(found: Sequence[BidsFile]) -> list[SessionFile]:
    """Return the files by session and run, as numbers."""
    numbers = []
    for file in found:
        labels = [file.entities.get(key) for key in _ORDER]
        if any(label is not None and not label.isdigit() for label in labels):
            raise ValueError(
                f"{file.path.name} has a session or run that is no number, which tells "
                "no order. Use `load_betas` with a list of files and `sessions`."
            )
        numbers.append([None if label is None else int(label) for label in labels])
    files = [
        SessionFile(file.path, check_whole("session", session or 1, low=1), run)
        for file, (session, run) in zip(found, numbers, strict=True)
    ]
    files.sort(key=lambda f: (f.session or 0, f.run or 0))
    for one, other in itertools.pairwise(files):
        if (one.session, one.run) == (other.session, other.run):
            raise ValueError(
                f"Two files are of one session and run: {one.path} and {other.path}. "
                "Name the derivative that holds one of them as `root`."
            )
    return files


# ------------------------------------------------------------------------ events


def _find_events(
    root: Path,
    raw: str | Path | None,
    subject: str,
    task: str,
    files: Sequence[SessionFile],
    trial_types: Sequence[str] | None,
) -> list[pd.DataFrame]:
    """Return one table of events per file; runs of a session are joined."""
    if raw is not None:
        folders = [check_path("raw", raw, kind="folder")]
    else:
        folders = [p for p in (root, *root.resolve().parents[:3]) if p.is_dir()]
    tables: list[BidsFile] = []
    for folder in folders:
        beside = [p for p in folder.glob(f"sub-{subject}") if p.is_dir()]
        inside = find_files(folder, ["events"]) if beside else []
        tables = [
            f
            for f in inside
            if f.entities.get("sub") == subject and f.entities.get("task") == task
        ]
        if tables:
            break
    if not tables:
        raise FileNotFoundError(
            f"There are no events of sub-{subject} and the task {task!r} "
            f"(sub-{subject}_task-{task}_events.tsv) in {folders[0]} or above. Name "
            "the data set that holds them in `raw`."
        )
    return [_events_of(file, tables, trial_types) for file in files]


def _events_of(
    file: SessionFile, tables: Sequence[BidsFile], trial_types: Sequence[str] | None
) -> pd.DataFrame:
    numbers = {}
    for table in tables:
        labels = [table.entities.get("ses", "1"), table.entities.get("run", "0")]
        if not all(label.isdigit() for label in labels):
            continue
        session, run = map(int, labels)
        if session == file.session and file.run in (None, run):
            numbers[run] = table
    if not numbers:
        raise FileNotFoundError(
            f"There are no events for {file}; those of the task are "
            f"{', '.join(t.path.name for t in tables[:6])}."
        )
    parts = []
    for run, table in sorted(numbers.items()):
        rows = read_tsv(table.path, None, ("onset", "duration"))
        if trial_types is not None:
            wanted = [trial_types] if isinstance(trial_types, str) else trial_types
            if "trial_type" not in rows:
                raise ValueError(
                    f"`trial_types` needs a column 'trial_type', which "
                    f"{table.path.name} lacks; it has {list(rows)}."
                )
            rows = rows[rows["trial_type"].isin(list(wanted))]
        parts.append(rows.assign(run=run) if run else rows)
    joined = pd.concat(parts, ignore_index=True)
    if joined.empty:
        raise ValueError(f"No event of {file} has one of the types {trial_types}.")
    return joined


# -------------------------------------------------------------------------- mask


def _find_mask(
    root: Path, subject: str, task: str, found: Sequence[BidsFile], first: object
) -> tuple[NDArray[np.bool_] | None, list[str]]:
    """Join the brain masks of the recording: inside all of them."""
    space = found[0].entities.get("space")
    grid = getattr(first, "grid", ())
    masks = [
        f
        for f in _of_subject(root, subject)
        if f.suffix == "mask"
        and f.extension in (".nii", ".nii.gz")
        and f.entities.get("space") == space
        and f.entities.get("desc", "brain") == "brain"
        and f.entities.get("task", task) == task
    ]
    # The mask of an anatomical image has another grid.
    of_task = [f for f in masks if "task" in f.entities]
    masks = of_task or [f for f in masks if map_shape(f.path) == grid]
    sessions = {f.entities.get("ses") for f in found}
    masks = [f for f in masks if f.entities.get("ses") in (None, *sessions)]
    if not masks:
        return None, ["No brain mask was found: all voxels are taken."]
    joined = None
    affine = getattr(first, "affine", None)
    for file in masks:
        inside, own = read_mask_volume(file.path)
        if inside.shape != grid or not same_place(own, affine):
            raise DataCorruptError(
                f"{file.path} has another grid or place than the responses, of which "
                f"it should be the mask: {inside.shape} instead of {grid}. Name one in "
                "`mask`, or pass None."
            )
        joined = inside if joined is None else joined & inside
    names = f"{len(masks)} brain mask" + ("s" if len(masks) > 1 else "")
    return joined, [f"Voxels inside {names} are taken ({masks[0].path.name})."]
