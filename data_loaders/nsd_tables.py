"""Tables of the Natural Scenes Dataset: its pictures, and the answers of a subject.

The files count from different bases: ``nsd_stim_info_merged.csv`` counts pictures from
0, but trials from 1 with 0 for "never"; ``responses.tsv`` counts all from 1. Here
everything counts from 0, except subjects and sessions.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from data_loaders.nsd_files import TRIALS_PER_SESSION, subject_name, subject_number
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt, read_table

STIMULI_FILE = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
BEHAVIOUR_FILE = "nsddata/ppdata/{subject}/behav/responses.tsv"

_BEHAVIOUR = MappingProxyType(
    {
        "SUBJECT": "subject",
        "SESSION": "session",
        "RUN": "run",
        "TRIAL": "trial_in_run",
        "73KID": "nsd_id",
        "10KID": "position",
        "TIME": "time_days",
        "ISOLD": "is_old",
        "ISCORRECT": "is_correct",
        "RT": "rt_ms",
        "CHANGEMIND": "change_mind",
        "MEMORYRECENT": "memory_recent",
        "MEMORYFIRST": "memory_first",
        "ISOLDCURRENT": "is_old_current",
        "ISCORRECTCURRENT": "is_correct_current",
        "TOTAL1": "n_buttons_1",
        "TOTAL2": "n_buttons_2",
        "BUTTON": "button",
        "MISSINGDATA": "missing_data",
    }
)
_SIDES = ("top", "bottom", "left", "right")
_CROP_BOX = r"\(" + ", *".join([r"([\d.eE+-]+)"] * 4) + r"\)"
_WHOLE = ("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID")


def read_stimulus_info(path: str | Path) -> pd.DataFrame:
    """Read ``nsd_stim_info_merged.csv``.

    Parameters
    ----------
    path : str or Path
        The file, or the root of the data set.

    Returns
    -------
    DataFrame
        One row per picture: `nsd_id` (0-based), `shared` (bool), per subject k
        `subject{k}_rep0` and so on (0-based trial; <NA> where it was never shown),
        and where the file has them `coco_id`, `coco_split`, and `crop_top`,
        `crop_bottom`, `crop_left`, `crop_right` (share of the COCO picture that was
        cut off at each side).

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If it cannot be parsed, lacks a column, or numbers are impossible.
    """
    path = Path(path)
    path = path / STIMULI_FILE if path.is_dir() else path
    table = read_table(check_path("nsd_stim_info_merged.csv", path))
    _need(path, table, ("nsdId", "shared1000", "subject1_rep0"))
    shared = table["shared1000"].astype(str).map({"True": True, "False": False})
    shared = shared.fillna(table["shared1000"].astype(str).map({"1": True, "0": False}))
    if shared.isna().any():
        raise DataCorruptError(f"{path} must have True or False in `shared1000`.")
    nsd_id = _whole(path, table, "nsdId", low=0)
    if not nsd_id.is_unique:
        raise DataCorruptError(f"{path} repeats an `nsdId`.")
    info: dict[str, Any] = {"nsd_id": nsd_id, "shared": shared.astype(bool)}
    for ours, theirs in (("coco_id", "cocoId"), ("coco_split", "cocoSplit")):
        if theirs in table:
            info[ours] = table[theirs]
    if "cropBox" in table:
        box = table["cropBox"].astype(str).str.extract(_CROP_BOX).astype(np.float64)
        info |= {f"crop_{side}": box[i] for i, side in enumerate(_SIDES)}
    for column in table.columns:
        if str(column).startswith("subject") and "_rep" in str(column):
            trial = _whole(path, table, column, low=0)
            info[column] = trial.astype("Int64").where(trial > 0) - 1
    return pd.DataFrame(info)


def read_behaviour(path: str | Path, subject: int | str | None = None) -> pd.DataFrame:
    """Read ``responses.tsv``, what a subject did trial by trial.

    Parameters
    ----------
    path : str or Path
        The file, or the root of the data set.
    subject : int or str, optional
        1-based number, or "subj01"; needed with a root, and otherwise checked.

    Returns
    -------
    DataFrame
        One row per trial, chronological: `subject` and `session` (1-based), `run`,
        `trial_in_run`, `nsd_id`, `position` (0-based), `trial` (0-based), and what
        the file has of `time_days`, `is_old`, `is_correct`, `rt_ms`, ... (float64,
        NaN where there was no answer).

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If it cannot be parsed, lacks a column, belongs to another subject, is not
        chronological, or a session does not have its 750 trials.
    """
    path = Path(path)
    if path.is_dir():
        if subject is None:
            raise ValueError("`subject` must be given when `path` is a folder.")
        path = path / BEHAVIOUR_FILE.format(subject=subject_name(subject))
    path = check_path("responses.tsv", path)
    table = _read_tsv(path)
    _need(path, table, _WHOLE)
    # In the file a subject, like all else, is counted from 1.
    columns: dict[str, Any] = {}
    for theirs, ours in _BEHAVIOUR.items():
        if theirs in _WHOLE:
            numbers = _whole(path, table, theirs, low=1)
            is_label = theirs in ("SUBJECT", "SESSION")
            columns[ours] = numbers if is_label else numbers - 1
        elif theirs in table:
            columns[ours] = pd.to_numeric(table[theirs], errors="coerce").astype(float)
    behaviour = pd.DataFrame(columns)
    if subject is not None and (behaviour["subject"] != subject_number(subject)).any():
        raise DataCorruptError(
            f"{path} must be of {subject_name(subject)}; its column SUBJECT holds "
            f"{sorted(set(behaviour['subject']))}."
        )
    place = behaviour[["session", "run", "trial_in_run"]].to_numpy()
    late = np.flatnonzero(np.diff(place @ [1_000_000, 1000, 1]) <= 0) + 1
    if len(late):
        session, run, trial = place[late[0]].tolist()
        raise DataCorruptError(
            f"{path} is not chronological: row {late[0] + 1} is session {session}, run "
            f"{run + 1}, trial {trial + 1}, which should come earlier or comes twice. "
            "Get it again from its source."
        )
    counts = behaviour["session"].value_counts().sort_index()
    wanted = list(range(1, len(counts) + 1))
    if list(counts.index) != wanted or (counts != TRIALS_PER_SESSION).any():
        other = counts.index[counts != TRIALS_PER_SESSION].tolist()
        what = (
            f"sessions {other} have other numbers of trials"
            if other
            else (f"its sessions are {counts.index.tolist()}")
        )
        raise DataCorruptError(
            f"{path} must have {TRIALS_PER_SESSION} trials in each of the sessions "
            f"from 1 on; {what}. Get it again from its source."
        )
    behaviour.insert(2, "trial", np.arange(len(behaviour)))
    return behaviour


def count_behaviour_sessions(path: Path) -> int:
    """Return the number of sessions in ``responses.tsv``, quickly.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    int
        Its last session.

    Raises
    ------
    DataCorruptError
        If it cannot be parsed or lacks the column.
    """
    table = _read_tsv(path)
    _need(path, table, ("SESSION",))
    return int(_whole(path, table, "SESSION", low=1).max())


def _read_tsv(path: Path) -> pd.DataFrame:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = text.splitlines()
        width = lines[0].count("\t") if lines else 0
        # pandas fills short lines and shifts long ones without a word.
        for number, line in enumerate(lines, 1):
            if line and line.count("\t") != width:
                raise ValueError(
                    f"line {number} has {line.count(chr(9)) + 1} of {width + 1} cells"
                )
        if len(lines) < 2:
            raise ValueError("it has no rows")
        return pd.read_csv(io.StringIO(text), sep="\t", low_memory=False)
    except DECODER_ERRORS as error:
        raise corrupt(path, "tab-separated text", error) from error


def _need(path: Path, table: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [n for n in names if n not in table]
    if missing:
        raise DataCorruptError(
            f"{path} must have the columns {list(names)}; it lacks {missing}. Get it "
            "again from its source."
        )


def _whole(path: Path, table: pd.DataFrame, name: str, *, low: int) -> pd.Series:
    numbers = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
    wrong = ~((numbers >= low) & (numbers == np.floor(numbers)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataCorruptError(
            f"{path} must have whole numbers from {low} in `{name}`; row {row + 1} has "
            f"{table[name].tolist()[row]!r}. Get it again from its source."
        )
    return numbers.astype(np.int64)
