"""Eye tracking in the Brain Imaging Data Structure (BIDS).

Reads ``*_physio.tsv.gz`` with ``"PhysioType": "eyetrack"`` as of BIDS 1.11, with
``*_physioevents.tsv.gz`` and ``*_events.tsv``, and the ``*_eyetrack.tsv[.gz]`` of
earlier drafts.

References
----------
Gorgolewski et al. (2016). The brain imaging data structure, a format for organizing
and describing outputs of neuroimaging experiments. Scientific Data 3:160044.
doi:10.1038/sdata.2016.44. The section "Eye-tracking" of version 1.11 of the
specification, "Physiological recordings".
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_loaders.bids_files import (
    BidsFile,
    applicable,
    find_files,
    read_sidecar,
    read_tsv,
)
from data_loaders.bids_recording import Recording, Screen, read_recording, read_screen
from data_loaders.fixation_detection import VelocityThreshold, detect_fixations
from data_loaders.gaze import GazeData, make_gaze_data
from neurovis.core.checks import check_between, check_columns, check_option, check_path

_FACTORS = ("ses", "task", "run")


@dataclass(frozen=True)
class _Run:
    """Trials and fixations of one run, times in seconds of the events' clock."""

    subject: str
    trials: pd.DataFrame
    fixations: pd.DataFrame
    screen: Screen
    n_outside: int
    notes: tuple[str, ...]


def load_gaze_bids(
    folder: str | Path,
    *,
    task: str | None = None,
    recording: str | None = None,
    fixations: str = "auto",
    rule: VelocityThreshold | None = None,
    stimulus_column: str = "stim_file",
    trial_types: Collection[str] | None = None,
    screen_px: tuple[float, float] | None = None,
    px_per_deg: float | None = None,
    position_unit: str | None = None,
    duration_unit: str | None = None,
    start_time_s: float | None = None,
    name: str | None = None,
) -> GazeData:
    """Load the fixations of a BIDS data set.

    Parameters
    ----------
    folder : str or Path
        Data set, or a part of it.
    task : str, optional
        Only this task; by default all.
    recording : str, optional
        Which eye: the label of ``recording-<label>``, such as "eye2". By default the
        first label of each run, and a note tells when there were several. Eyes are
        never averaged.
    fixations : {"auto", "events", "samples"}
        Where fixations come from: the rows "fixation" of the physioevents (the
        detector of the eye tracker), or `detect_fixations` on the samples. "auto"
        takes the events of each run that has them.
    rule : VelocityThreshold, optional
        Parameters of `detect_fixations`.
    stimulus_column : str, default "stim_file"
        Column of ``*_events.tsv`` that names the stimulus; rows without one are no
        trials.
    trial_types : collection of str, optional
        Only events with these values of `trial_type` are trials.
    screen_px : tuple of float, optional
        Width and height in pixels, > 0, instead of the metadata's.
    px_per_deg : float, optional
        Pixels per degree, > 0; by default from the metadata of the screen, at its
        centre.
    position_unit : {"px", "fraction"}, optional
        Unit of the coordinates, instead of the metadata's.
    duration_unit : {"s", "ms"}, optional
        Unit of the durations of physioevents, instead of the metadata's.
    start_time_s : float, optional
        Time of the first sample on the clock of the events, instead of the metadata's
        `StartTime`.
    name : str, optional
        Name of the data set; by default that of the folder.

    Returns
    -------
    GazeData
        `stimulus_id` is what `stimulus_column` says; the frame is the screen.
        Trials are numbered through the sessions and runs of a subject and have the
        factors `ses`, `task`, `run` (str, where names have them), `trial_type`,
        `onset_s`; `rt_ms` is the `response_time` of the event. Fixations also have
        `start_ms`, from the onset of their trial. Without any ``*_events.tsv`` each
        run is one trial, and a note says so.

    Raises
    ------
    FileNotFoundError
        If there is no folder.
    DataCorruptError
        If a file is truncated, damaged or ragged, or its metadata contradict it.
    ValueError
        If there is no eye tracking, metadata that are needed are missing, coordinates
        are not on a screen, or no fixation falls into a trial.

    Notes
    -----
    A fixation belongs to the trial in which it starts: onset <= start < onset +
    duration. An event without duration lasts until the next trial. The position of an
    event fixation is in its columns `x_coordinate` and `y_coordinate` if it has them,
    and the mean of the valid samples of its time otherwise. Samples with a pupil of
    size 0 are lost, and those in blinks of the physioevents are left out of detection.
    """
    folder = check_path("folder", folder, kind="folder")
    check_option("fixations", fixations, ("auto", "events", "samples"))
    check_option("position_unit", position_unit, (None, "px", "fraction"))
    check_option("duration_unit", duration_unit, (None, "s", "ms"))
    for side in screen_px or ():
        check_between("screen_px", side, low=1)
    if px_per_deg is not None:
        check_between("px_per_deg", px_per_deg, low=1e-6)
    chosen, choice_note = _choose(folder, task, recording)
    runs = []
    for file in chosen:
        screen = read_screen(folder, file, screen_px, px_per_deg)
        gaze = read_recording(
            folder, file, screen, recording, position_unit, duration_unit, start_time_s
        )
        found, source = _fixations(file, gaze, screen, fixations, rule)
        trials, whole = _trials(folder, file, gaze, stimulus_column, trial_types)
        inside = _assign(file, found, trials)
        runs.append(
            _Run(
                file.entities["sub"],
                trials,
                inside,
                screen,
                len(found) - len(inside),
                (*gaze.notes, *screen.notes, source, *whole),
            )
        )
    return _gather(folder.resolve().name if name is None else name, runs, choice_note)


def _choose(
    folder: Path, task: str | None, recording: str | None
) -> tuple[list[BidsFile], list[str]]:
    """Return one eye of each run."""
    by_run: dict[tuple[Any, ...], dict[str, BidsFile]] = {}
    others = 0
    for file in find_files(folder, ("physio", "eyetrack")):
        if task is not None and file.entities.get("task") != task:
            continue
        if file.suffix == "physio" and not _is_gaze(
            read_sidecar(folder, file, "physio")
        ):
            others += 1
            continue
        run = {k: v for k, v in file.entities.items() if k != "recording"}
        eyes = by_run.setdefault((file.path.parent, *run.items()), {})
        eyes[file.entities.get("recording", "")] = file
    if not by_run:
        which = "" if task is None else f" of the task {task!r}"
        raise ValueError(
            f"{folder} has no eye tracking{which}: no *_eyetrack.tsv, and no "
            '*_physio.tsv.gz with "PhysioType": "eyetrack" in its JSON file; '
            f"{others} files hold other recordings."
        )
    chosen, several = [], 0
    for eyes in by_run.values():
        drafts = "" in eyes  # the eyes are columns of one file
        if recording is not None and recording not in eyes and not drafts:
            some = next(iter(eyes.values())).path
            raise ValueError(
                f"`recording` must be one of {sorted(eyes)} for {some}; got "
                f"{recording!r}."
            )
        several += len(eyes) > 1 and recording is None
        chosen.append(eyes[recording if recording in eyes else min(eyes)])
    note = (
        f"{several} of {len(chosen)} runs have several eyes; the first was read. "
        "Choose with `recording`."
    )
    return chosen, [note] if several else []


def _is_gaze(sidecar: dict[str, Any]) -> bool:
    if "PhysioType" in sidecar:
        return bool(sidecar["PhysioType"] == "eyetrack")
    columns = sidecar.get("Columns", [])  # drafts did not have the type
    return {"x_coordinate", "y_coordinate"} <= set(columns)


# ------------------------------------------------------------------ one run


def _fixations(
    file: BidsFile,
    gaze: Recording,
    screen: Screen,
    wanted: str,
    rule: VelocityThreshold | None,
) -> tuple[pd.DataFrame, str]:
    """Return `start_s`, `duration_ms`, `x_px`, `y_px`, and where they come from."""
    events = gaze.events
    if wanted != "samples" and events is not None:
        rows = events[events["kind"] == "fixation"]
        if len(rows) or wanted == "events":
            note = "Fixations are those of the eye tracker."
            return _place(gaze, rows.reset_index(drop=True)), note
    if wanted == "events":
        raise ValueError(
            f"{file.path} has no *_physioevents.tsv.gz beside it, so there are no "
            "fixations of the eye tracker. Give fixations='samples' to detect them."
        )
    if screen.px_per_deg is None:
        raise ValueError(
            f"Fixations of {file.path} must be detected by velocity, for which the "
            "size of a degree is needed: give `px_per_deg`, or ScreenSize and "
            "ScreenDistance (m) as StimulusPresentation in *_events.json."
        )
    rule = rule or VelocityThreshold()
    x_px = np.where(gaze.in_blink, np.nan, gaze.x_px)
    t_ms = (gaze.t_s - gaze.t_s[:1]) * 1000
    found = detect_fixations(
        t_ms, x_px, gaze.y_px, px_per_deg=screen.px_per_deg, rule=rule
    )
    start_s = found["start_ms"] / 1000 + (gaze.t_s[0] if len(gaze.t_s) else 0.0)
    return found.assign(start_s=start_s), f"Fixations were detected with {rule}."


def _place(gaze: Recording, rows: pd.DataFrame) -> pd.DataFrame:
    """Return event fixations with the mean of their valid samples as position."""
    fixations = rows[["start_s", "duration_ms"]].copy()
    if "x_px" in rows:
        return fixations.assign(x_px=rows["x_px"], y_px=rows["y_px"])
    seen = np.isfinite(gaze.x_px) & np.isfinite(gaze.y_px)
    # Half a microsecond: times that are equal in the files differ by rounding.
    ends = rows["start_s"] + rows["duration_ms"].fillna(0) / 1000
    first, last = (
        np.searchsorted(gaze.t_s, edge.to_numpy() - 5e-7)
        for edge in (rows["start_s"], ends)
    )

    def total(values: Any) -> Any:
        sums = np.concatenate([[0.0], np.cumsum(np.where(seen, values, 0.0))])
        return sums[last] - sums[first]

    n = total(1.0)
    with np.errstate(invalid="ignore"):  # no valid sample: no position
        return fixations.assign(x_px=total(gaze.x_px) / n, y_px=total(gaze.y_px) / n)


def _trials(
    folder: Path,
    file: BidsFile,
    gaze: Recording,
    stimulus_column: str,
    trial_types: Collection[str] | None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return `stimulus_id`, `onset_s`, `end_s` and factors of the trials of a run."""
    tables = applicable(folder, file, "events", ".tsv")
    factors = {key: file.entities[key] for key in _FACTORS if key in file.entities}
    last_s = float(gaze.t_s[-1]) if len(gaze.t_s) else 0.0
    if not tables:
        stimulus = "_".join(f"{k}-{v}" for k, v in factors.items()) or "recording"
        first_s = float(gaze.t_s[0]) if len(gaze.t_s) else 0.0
        whole = {"stimulus_id": stimulus, "onset_s": first_s, "end_s": np.inf}
        note = "A run without *_events.tsv is one trial: what was shown is not known."
        return pd.DataFrame([whole | factors]), [note]
    path = tables[-1].path
    table = read_tsv(path, None, ("onset", "duration", "response_time"))
    needed = ["onset", "duration", stimulus_column]
    needed += ["trial_type"] if trial_types is not None else []
    check_columns(path.name, table.columns, needed)
    table = table[table[stimulus_column].notna() & table["onset"].notna()]
    if trial_types is not None:
        table = table[table["trial_type"].isin(list(trial_types))]
    table = table.sort_values("onset", kind="stable", ignore_index=True)
    repeated = table["onset"].duplicated()
    if repeated.any():
        onset = table["onset"][repeated].iloc[0]
        raise ValueError(
            f"{path} has two stimuli at {onset:g} s, so that fixations have two "
            "trials. Choose with `trial_types`, or another `stimulus_column`."
        )
    onset = table["onset"]
    following = onset.shift(-1, fill_value=max(last_s, onset.max()) + 1e-6)
    lasting = onset + table["duration"]
    trials = pd.DataFrame(
        {
            "stimulus_id": table[stimulus_column],
            "onset_s": onset,
            "end_s": lasting.where(table["duration"] > 0, following),
        }
    ).assign(**factors)
    if "trial_type" in table:
        trials["trial_type"] = table["trial_type"]
    if "response_time" in table:
        times = table["response_time"] * 1000
        trials["rt_ms"] = times.where(times >= 0)  # negative: pressed too early
    return trials, []


def _assign(
    file: BidsFile, fixations: pd.DataFrame, trials: pd.DataFrame
) -> pd.DataFrame:
    """Return the fixations that start in a trial, with its row and `start_ms`."""
    start_s = fixations["start_s"].to_numpy(np.float64)
    onset_s, end_s = (trials[c].to_numpy(np.float64) for c in ("onset_s", "end_s"))
    # Half a microsecond, as above.
    row = np.searchsorted(onset_s, start_s + 5e-7, side="right") - 1
    inside = row >= 0
    inside[inside] = start_s[inside] < end_s[row[inside]] - 5e-7
    if len(start_s) and len(trials) and not inside.any():
        raise ValueError(
            f"No fixation of {file.path} starts in a trial: fixations start from "
            f"{start_s.min():g} to {start_s.max():g} s, trials from {onset_s[0]:g} to "
            f"{onset_s[-1]:g} s. Look at StartTime in its JSON file, or give "
            "`start_time_s`."
        )
    kept = fixations[inside].assign(row=row[inside])
    kept["start_ms"] = (start_s[inside] - onset_s[row[inside]]) * 1000
    return kept.sort_values("start_s", kind="stable", ignore_index=True)


# ------------------------------------------------------------------ together


def _gather(name: str, runs: list[_Run], notes: list[str]) -> GazeData:
    sizes = {run.screen.size_px for run in runs}
    if len(sizes) > 1:
        raise ValueError(
            f"The screens have different sizes: {sorted(sizes)} px. Load the parts one "
            "by one."
        )
    trials, fixations = [], []
    n_trials: dict[str, int] = {}
    for run in runs:
        before = n_trials.get(run.subject, 0)
        n_trials[run.subject] = before + len(run.trials)
        numbers = before + np.arange(len(run.trials))
        table = run.trials.drop(columns="end_s")
        trials.append(table.assign(subject=run.subject, trial=numbers))
        table = run.fixations
        order = table.groupby("row").cumcount()
        number = before + table["row"]
        fixations.append(
            table[["start_ms", "duration_ms", "x_px", "y_px"]].assign(
                subject=run.subject, trial=number, fixation=order
            )
        )
    together = pd.concat(trials, ignore_index=True)
    if together.empty:
        raise ValueError(
            f"{name} has no trial: no event has a stimulus. Look at `stimulus_column` "
            "and `trial_types`."
        )
    stimuli = pd.DataFrame({"stimulus_id": together["stimulus_id"].unique()})
    width_px, height_px = next(iter(sizes))
    n_outside = sum(run.n_outside for run in runs)
    n_all = n_outside + sum(len(f) for f in fixations)
    counts: dict[str, int] = {}
    for note in (note for run in runs for note in run.notes):
        counts[note] = counts.get(note, 0) + 1
    notes += [
        n if k == len(runs) else f"{k} of {len(runs)} runs: {n}"
        for n, k in counts.items()
    ]
    if n_outside:
        notes.append(
            f"{n_outside} of {n_all} fixations start in no trial and were left out."
        )
    scales = [run.screen.px_per_deg for run in runs]
    known = [s for s in scales if s is not None]
    one_scale = len(known) == len(runs) and max(known) <= 1.01 * min(known)
    if known and not one_scale:
        notes.append("Pixels per degree differ between runs.")
    return make_gaze_data(
        name,
        trials=together,
        fixations=pd.concat(fixations, ignore_index=True),
        stimuli=stimuli.assign(width_px=width_px, height_px=height_px),
        px_per_deg=float(np.median(known)) if one_scale else None,
        notes=notes,
    )
