"""From files of single trials to aligned responses, in bounded memory.

Blocks of units are read from all sessions, z-scored within each session, averaged over
the repeats of an image and written, unit after unit.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.beta_blocks import TrialDesign, make_design, prepare_block
from data_loaders.beta_cache import (
    BetasInMemory,
    BetasOnDisk,
    check_room,
    open_entry,
    remove_entry,
    unpack,
    write_entry,
)
from data_loaders.beta_files import BetaFile
from data_loaders.beta_layouts import FlatLayout
from data_loaders.beta_recording import (
    READING_COLUMNS,
    BetaPart,
    Recording,
    tell_scales,
)
from data_loaders.content_hashes import (
    check_unchanged,
    hash_files,
    hash_table,
    signature,
)
from data_loaders.memory_plan import MemoryPlan, plan_memory
from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.checks import check_option
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import check_writable_folder, sha256_bytes, sha256_json
from neurovis.core.log import progress
from neurovis.core.pictures import LazyPictures
from neurovis.core.store import lock
from neurovis.core.unit_responses import UnitResponses, one_row_each

__all__ = ["BetaPart", "MemoryPlan", "Recording", "plan_memory", "prepare_responses"]

VERSION = 1
"""Part of every key: raised when prepared numbers change."""
INCOMPLETE = ("drop", "nan", "zero")

logger = logging.getLogger(__name__)


def prepare_responses(
    recording: Recording,
    *,
    z_score: bool = True,
    average: bool = True,
    incomplete: str = "drop",
    memory_gib: float = 4.0,
    store: str | Path | None = None,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    units_per_block: int | None = None,
) -> UnitResponses:
    """Prepare responses as the field does: z-score sessions, average repeats.

    Each unit is z-scored within each session over its used trials (population
    standard deviation), then the trials of an image are averaged; both in double
    precision. The noise-ceiling signal-to-noise ratio is computed from images with
    exactly three used trials (`neurovis.core.noise_ceiling.signal_to_noise`).

    With a `store` the result is a file that is opened, not read. It is found again
    by the content of the files, the trials, units and options. What was stopped is
    gone on with at the next call, and ends with the same bytes. Of several processes
    that ask for one result, one works and the others wait.

    Parameters
    ----------
    recording : Recording
        What is to be prepared.
    z_score : bool, default True
        Whether to z-score within sessions.
    average : bool, default True
        Whether to average the trials of an image. Rows ascend by `stimulus_id`;
        single trials stay in the order of time.
    incomplete : {"drop", "nan", "zero"}, default "drop"
        What becomes of a unit that in a session of two or more used trials is
        constant, or that is NaN or infinite in any: left out, all NaN, or 0 in
        that session. Its ncsnr is NaN in any case.
    memory_gib : float, default 4
        Memory that the whole process may use, in GiB.
    store : str or Path, optional
        Folder of prepared responses. Without one the result stays in memory.
    pictures : sequence of ndarray of uint8, shape (H, W, 3), optional
        One picture per row of `recording.trials`, read when asked for.
    units_per_block : int, optional
        Smaller blocks than memory would allow; the result is the same.

    Returns
    -------
    UnitResponses
        `stimuli`: the columns of `trials` except `file` and `row`, without those
        that differ between trials that were averaged. `units`: with the new columns
        `ncsnr`, `n_saturated` (used trials at an end of the stored integers) and
        `n_incomplete_sessions`.

    Raises
    ------
    ValueError
        If an option is unknown, `memory_gib` is too small, a session has too few
        trials, or no unit is left.
    DataCorruptError
        If a file is damaged or changes meanwhile.
    OSError
        If the disk is full; the next call goes on from there.

    References
    ----------
    Allen et al. 2022, Nat Neurosci 25, 116-126, doi:10.1038/s41593-021-00962-x.
    Z-scores: Gifford et al. 2023, The Algonauts Project 2023, arXiv:2301.03198.
    """
    check_option("incomplete", incomplete, INCOMPLETE)
    trials = recording.trials
    if pictures is not None and len(pictures) != len(trials):
        raise ValueError(
            f"`pictures` has {len(pictures)} pictures for {len(trials)} trials."
        )
    taken = {"ncsnr", "n_saturated", "n_incomplete_sessions"} & {*recording.units}
    if taken:
        raise ValueError(
            f"`units` has the columns {sorted(taken)} already, which are computed "
            "here. Rename them."
        )
    sessions = trials["session"].value_counts()
    if z_score and sessions.min() < 2:
        raise ValueError(
            f"Session {sessions.idxmin()} has one used trial, which cannot be "
            "z-scored. Leave it out, or pass z_score=False."
        )
    plan = plan_memory(
        recording,
        average=average,
        memory_gib=memory_gib,
        in_memory=store is None,
        units_per_block=units_per_block,
    )
    options = {"z_score": z_score, "average": average, "incomplete": incomplete}
    work = _Work(recording, plan, options)
    shown = None
    if pictures is not None:
        rows = work.first_trials.tolist()
        shown = LazyPictures(pictures.__getitem__, rows)
    if store is None:
        return replace(_prepare_in_memory(work), pictures=shown)
    return _prepare_in_store(work, check_writable_folder(store), shown)


@dataclass(frozen=True, eq=False)
class _Work:
    """A recording, how it is cut into blocks, and what is done with it."""

    recording: Recording
    plan: MemoryPlan
    options: dict[str, Any]

    @property
    def design(self) -> TrialDesign:
        trials = self.recording.trials
        return make_design(trials["stimulus_id"], trials["session"])

    @property
    def first_trials(self) -> NDArray[np.int64]:
        """First trial of each row of the result."""
        ids = self.recording.trials["stimulus_id"]
        if not self.options["average"]:
            return np.arange(len(ids))
        codes = pd.factorize(ids, sort=True)[0]
        return np.unique(codes, return_index=True)[1].astype(np.int64)

    @property
    def paths(self) -> list[Path]:
        return [file.path for part in self.recording.parts for file in part.files]


def _prepare_in_memory(work: _Work) -> UnitResponses:
    recording = work.recording
    grown = BetasInMemory(len(work.first_trials), len(recording.units))
    with ExitStack() as stack:
        folder = Path()
        if work.plan.work_bytes:
            made = tempfile.TemporaryDirectory(prefix="neurovis-")
            folder = Path(stack.enter_context(made))
            check_room(folder, work.plan.work_bytes)
        _prepare_blocks(work, grown, folder)
    return _to_responses(work, *grown.finish())


def _prepare_in_store(
    work: _Work, store: Path, pictures: Sequence[NDArray[np.uint8]] | None
) -> UnitResponses:
    before = [signature(path) for path in work.paths]
    parts = _key_parts(work, hash_files(work.paths, store))
    key = sha256_json(parts)
    folder = store / f"{key}.work"
    if not folder.exists():
        with suppress(KeyError, DataCorruptError):  # settled below, by one writer
            return open_entry(store, key, pictures)
    with lock(store / key):
        try:
            found = open_entry(store, key, pictures)
        except DataCorruptError as error:
            logger.warning("preparing again: %s", error)
            remove_entry(store, key)
        except KeyError:
            logger.debug("preparing %s", key)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            return found
        n_rows, n_units = len(work.first_trials), len(work.recording.units)
        with BetasOnDisk(folder, n_rows, n_units) as grown:
            if grown.n_done < n_units:
                todo = 4 * n_rows * (n_units - grown.n_done) + work.plan.work_bytes
                there = (folder / "unpacked").iterdir()
                check_room(store, todo - sum(p.stat().st_size for p in there))
            _prepare_blocks(work, grown, folder)
            check_unchanged(before)
            responses = _to_responses(work, *grown.finish())
        marks = {**responses.fingerprints, "beta_files": sha256_json(parts["files"])}
        write_entry(folder, store, parts, replace(responses, fingerprints=marks))
        shutil.rmtree(folder)
        return open_entry(store, key, pictures)


def _key_parts(work: _Work, hashes: Sequence[str]) -> dict[str, Any]:
    """Return all that a result depends on: content, and how it is read."""
    recording, place = work.recording, None
    if isinstance(recording.space, VolumeSpace):
        affine = recording.space.affine
        place = [recording.space.shape, None if affine is None else affine.tolist()]
    elif isinstance(recording.space, SurfaceSpace):
        place = [recording.space.n_vertices]
    reading = [
        [file.grid, file.n_trials, file.scale, *_plain_facts(file.layout)]
        for part in recording.parts
        for file in part.files
    ]
    return {
        "version": VERSION,
        "name": recording.name,
        "subject": recording.subject,
        "files": [[h, *r] for h, r in zip(hashes, reading, strict=True)],
        "n_files": [len(part.files) for part in recording.parts],
        "places": [sha256_bytes(part.places.tobytes()) for part in recording.parts],
        "trials": hash_table(recording.trials),
        "units": hash_table(recording.units),
        "families": recording.families,
        "space": place and [getattr(recording.space, "name", ""), *place],
        "notes": recording.notes,
        "response_unit": recording.response_unit,
        "options": work.options,
    }


def _plain_facts(layout: Any) -> list[str]:
    """Tell which array of a file is read, and how: names, offsets, axes."""
    facts = ((f.name, getattr(layout, f.name)) for f in fields(layout))
    plain = (str, int, tuple, np.dtype, FlatLayout)
    told = [f"{name} {value}" for name, value in facts if isinstance(value, plain)]
    return [type(layout).__name__, *told]


# ---------------------------------------------------------------------- blocks


def _blocks(work: _Work, n_done: int) -> Iterator[tuple[int, slice]]:
    """Yield part and places of the blocks that remain."""
    first = 0
    for number, part in enumerate(work.recording.parts):
        stop = len(part.places)
        # What a stopped call did may end anywhere: blocks had another size then.
        start = min(max(n_done - first, 0), stop)
        for i in range(start, stop, work.plan.units_per_block):
            yield number, slice(i, min(i + work.plan.units_per_block, stop))
        first += stop


def _prepare_blocks(
    work: _Work, grown: BetasInMemory | BetasOnDisk, folder: Path
) -> None:
    recording, design = work.recording, work.design
    n_trials, n_left = design.n_trials, len(recording.units) - grown.n_done
    if not n_left:
        return
    sources = _sources(work, folder / "unpacked")
    file_rows = [
        recording.trials.loc[recording.trials["file"] == f, "row"].to_numpy(np.int64)
        for f in range(len(recording.parts[0].files))
    ]
    space = np.empty(work.plan.units_per_block * n_trials, np.float32)
    with progress(4 * n_left * n_trials, "preparing betas", unit="B") as bar:
        for number, block in _blocks(work, grown.n_done):
            n_units = block.stop - block.start
            raw = space[: n_units * n_trials].reshape(n_units, n_trials)
            n_saturated = np.zeros(n_units, np.int64)
            start = 0
            for (file, places), rows in zip(sources[number], file_rows, strict=True):
                trials = raw[:, start : start + len(rows)]
                file.read_into(trials, places[block], rows)
                n_saturated += file.count_saturated(trials.T)
                start += len(rows)
                bar.update(4 * trials.size)
            betas, record = prepare_block(raw, design, **work.options)
            record["n_saturated"] = n_saturated
            grown.append(betas, record)


_Source = tuple[BetaFile, NDArray[np.int64]]


def _sources(work: _Work, folder: Path) -> list[list[_Source]]:
    """Return files and places to read; compressed files are unpacked first.

    Only the chosen units are unpacked, and only if there are several blocks.
    """
    sources = [[(f, p.places) for f in p.files] for p in work.recording.parts]
    if not work.plan.work_bytes:
        return sources
    folder.mkdir(exist_ok=True)
    paths = [file.path for part in sources for file, _ in part if file.is_sequential]
    with progress(len(paths), "unpacking", unit="file") as bar:
        for number, part in enumerate(sources):
            for f, (file, places) in enumerate(part):
                if file.is_sequential and len(places):
                    copy = unpack(file, places, folder / f"{number}-{f:04d}.npy")
                    part[f] = copy, np.arange(len(places))
                    bar.update(1)
    return sources


# ---------------------------------------------------------------------- result


def _to_responses(
    work: _Work, betas: NDArray[np.float32], record: pd.DataFrame, sha: str
) -> UnitResponses:
    recording, options = work.recording, work.options
    kept = record.pop("kept").to_numpy()
    if not kept.any():
        raise ValueError(
            "No unit is left: each is constant or undefined in a session. Choose "
            "other units or sessions, or pass incomplete='nan' or 'zero'."
        )
    notes = (*recording.notes, *_notes(work, record, kept))
    units = recording.units.reset_index(drop=True)
    units = pd.concat([units, record], axis=1)[kept].reset_index(drop=True)
    return UnitResponses(
        name=recording.name,
        subject=recording.subject,
        betas=betas,
        stimuli=_stimuli(work),
        units=units,
        families=recording.families,
        space=recording.space,
        response_unit="z-score" if options["z_score"] else recording.response_unit,
        fingerprints={"betas": sha},
        notes=notes,
    )


def _stimuli(work: _Work) -> pd.DataFrame:
    """Return one row per row of the result."""
    trials = work.recording.trials.drop(columns=[*READING_COLUMNS]).reset_index(
        drop=True
    )
    n_repeats: Any = 1
    if work.options["average"]:
        codes = pd.factorize(trials["stimulus_id"], sort=True)[0]
        trials = one_row_each(trials, codes)
        n_repeats = np.bincount(codes)
    trials.insert([*trials].index("stimulus_id") + 1, "n_repeats", n_repeats)
    return trials


def _notes(work: _Work, record: pd.DataFrame, kept: NDArray[np.bool_]) -> list[str]:
    files = [file for part in work.recording.parts for file in part.files]
    scales = work.recording.scales()
    notes = []
    if set(scales) != {1.0}:
        notes = [f"Stored numbers were divided by {tell_scales(scales)}."]
    if any((file.slope, file.intercept) != (1.0, 0.0) for file in files):
        notes.append("Slope and intercept of the NIfTI headers were applied.")
    n_bad = int((record["n_incomplete_sessions"] > 0).sum())
    if n_bad:
        became = {"drop": "left out", "nan": "set to NaN", "zero": "set to 0 there"}
        notes.append(
            f"{n_bad} of {len(record)} units are constant or undefined in a session; "
            f"they were {became[work.options['incomplete']]}."
        )
    cut = record["n_saturated"][kept]
    if cut.any():
        notes.append(
            f"{cut.sum()} responses of {(cut > 0).sum()} units lie at an end of the "
            "stored integers and may have been cut there."
        )
    triples = work.design.triples
    n_images = triples.stop - triples.start
    notes.append(
        f"ncsnr is computed from the {n_images} images with exactly three trials."
        if n_images
        else "No image has exactly three trials: ncsnr is undefined."
    )
    return notes
