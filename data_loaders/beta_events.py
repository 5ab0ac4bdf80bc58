"""Which stimulus was shown in which trial: tables of events, matched with files."""

import csv
import io
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_loaders.beta_folders import SessionFile
from data_loaders.bids_files import UNDEFINED, read_tsv
from data_loaders.glmsingle import read_design
from neurovis.core.checks import check_columns, check_path
from neurovis.core.files import DECODER_ERRORS, corrupt, read_table

STIMULUS_COLUMNS = ("stimulus_id", "stim_file", "stimulus", "trial_type")
"""Columns taken for the stimulus, in this order, when none is named."""

_RESERVED = ("stimulus_id", "session", "run", "file", "row", "n_repeats")
_SESSION_VALUE = re.compile(r"(?:ses(?:s|sion)?[-_ ]?)?(\d+)(?:\.0+)?", re.IGNORECASE)

Events = str | Path | pd.DataFrame


def read_events(source: Events) -> pd.DataFrame:
    """Read a table of events.

    Parameters
    ----------
    source : str, Path or DataFrame
        ``.tsv`` or ``.tsv.gz`` (BIDS), ``.csv``, ``.parquet``, the ``DESIGNINFO.npy``
        of GLMsingle, or a table. Cells of text files are text, so that an identity
        such as "007" is kept.

    Returns
    -------
    DataFrame
        Rows numbered from 0; undefined cells are missing.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If it is of another kind.
    DataCorruptError
        If it is damaged or ragged.
    """
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True)
    path = check_path("events", source)
    if path.name.endswith((".tsv", ".tsv.gz")):
        return read_tsv(path, None, ())
    if path.suffix == ".npy":
        return read_design(path)
    if path.suffix == ".parquet":
        return read_table(path)
    if path.suffix != ".csv":
        raise ValueError(
            f"`events` must be a table (.tsv, .tsv.gz, .csv, .parquet) or the design "
            f"of GLMsingle (DESIGNINFO.npy); got {path}."
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        rows = [row for row in reader if row]
        ragged = next((i for i, row in enumerate(rows) if len(row) != len(header)), -1)
        if ragged >= 0 or len(set(header)) != len(header):
            raise ValueError(
                "a column name repeats"
                if ragged < 0
                else f"row {ragged + 1} has {len(rows[ragged])} of {len(header)} cells"
            )
    except DECODER_ERRORS as error:
        raise corrupt(path, "comma-separated text", error) from error
    table = pd.DataFrame(rows, columns=header, dtype="str")
    return table.mask(table.isin(UNDEFINED))


def match_events(
    events: Events | Sequence[Events],
    files: Sequence[SessionFile],
    n_trials: Sequence[int],
    *,
    n_units: Sequence[int] | None = None,
    stimulus_column: str | None = None,
    session_column: str | None = None,
    trial_types: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Match rows of events with trials of files.

    Parameters
    ----------
    events : table or sequence of tables
        See `read_events`. One table per file; or one for all, whose sessions stand in
        a column, or whose rows follow the trials of all files in their order.
    files : sequence of SessionFile
        In chronological order.
    n_trials : sequence of int
        Trials of each file.
    n_units : sequence of int, optional
        Units of each file, to tell when axes look swapped.
    stimulus_column : str, optional
        Column with the identity of the stimulus; default the first of
        `STIMULUS_COLUMNS` that is there.
    session_column : str, optional
        Column with the session; default "session" or "ses" if there is one.
    trial_types : sequence of str, optional
        Keep rows with these values of `trial_type` only, such as those that are no
        rest or button press.

    Returns
    -------
    trials : DataFrame
        One row per trial: `stimulus_id` (str), `session`, `file` (0-based), `row`
        (0-based in the file), and the other columns of the events.
    notes : list of str
        What was assumed.

    Raises
    ------
    ValueError
        If a column is missing, a stimulus is undefined, sessions are missing or out of
        order, trials do not ascend, or numbers differ.
    FileNotFoundError, DataCorruptError
        As `read_events`.
    """
    one_for_all = isinstance(events, str | Path | pd.DataFrame)
    if isinstance(events, str | Path | pd.DataFrame):
        tables = [read_events(events)]
    else:
        tables = [read_events(e) for e in events]
    if not one_for_all and len(tables) != len(files):
        raise ValueError(
            f"`events` has {len(tables)} tables for {len(files)} files of betas: one "
            "per file is needed, or one for all."
        )
    tables = [_of_types(table, trial_types) for table in tables]
    column = _stimulus_column(tables[0], stimulus_column)
    for table in tables:
        check_columns("events", table.columns, [column])
    if one_for_all:
        hint = _axes_hint(len(tables[0]), n_units)
        rows = _split(tables[0], files, n_trials, session_column, hint)
        parts = [tables[0].iloc[r] for r in rows]
    else:
        parts = tables
        for file, n, table in zip(files, n_trials, tables, strict=True):
            _check_table(file, n, table, _axes_hint(len(table), n_units))
    matched = [
        _trials(part, i, files[i], column, session_column)
        for i, part in enumerate(parts)
    ]
    trials = pd.concat(matched, ignore_index=True)
    notes = []
    if stimulus_column is None:
        notes.append(f"Stimuli are told by the column {column!r} of the events.")
    return _with_factors(trials), notes


def _check_table(file: SessionFile, n: int, table: pd.DataFrame, hint: str) -> None:
    """Check the events of one file."""
    if len(table) != n:
        raise _count_error(f"the events of {file}", len(table), [file], [n], hint)
    if "session" in table and file.session is not None:
        told = [_SESSION_VALUE.fullmatch(str(v)) for v in table["session"].unique()]
        others = [int(m[1]) for m in told if m and int(m[1]) != file.session]
        if others:
            raise ValueError(
                f"`events` for {file} tell of session {others[0]}. Are the tables in "
                "the order of the files?"
            )


def _of_types(table: pd.DataFrame, trial_types: Sequence[str] | None) -> pd.DataFrame:
    if trial_types is None:
        return table
    check_columns("events", table.columns, ["trial_type"])
    wanted = [trial_types] if isinstance(trial_types, str) else list(trial_types)
    have = table["trial_type"].dropna().unique().tolist()
    absent = [t for t in wanted if t not in have]
    if absent:
        raise ValueError(
            f"`trial_types` has {absent[0]!r}, which no event has; there are "
            f"{have[:12]}."
        )
    return table[table["trial_type"].isin(wanted)].reset_index(drop=True)


def _stimulus_column(table: pd.DataFrame, wish: str | None) -> str:
    if wish is not None:
        check_columns("events", table.columns, [wish])
        return wish
    found = [c for c in STIMULUS_COLUMNS if c in table and table[c].notna().any()]
    if not found:
        raise ValueError(
            f"`events` has none of the columns {list(STIMULUS_COLUMNS)}; it has "
            f"{[str(c) for c in table.columns]}. Name the one that tells the stimulus "
            "in `stimulus_column`."
        )
    return found[0]


def _session_values(
    table: pd.DataFrame, session_column: str | None
) -> pd.Series | None:
    """Return the session of each row as a whole number, if there is such a column."""
    if session_column is None:
        names = [c for c in table.columns if str(c).lower() in ("session", "ses")]
        if not names:
            return None
        column: Hashable = names[0]
    else:
        check_columns("events", table.columns, [session_column])
        column = session_column
    matches = [_SESSION_VALUE.fullmatch(str(v)) for v in table[column]]
    wrong = next((i for i, match in enumerate(matches) if match is None), None)
    if wrong is not None:
        raise ValueError(
            f"`events` must have a number of the session in {column!r}; row "
            f"{wrong + 1} has {table[column].iloc[wrong]!r}."
        )
    values = pd.Series([int(m[1]) for m in matches if m], dtype=np.int64)
    falls = np.flatnonzero(np.diff(values) < 0)
    if len(falls):
        at = int(falls[0]) + 1
        raise ValueError(
            f"`events` must be in chronological order, but row {at + 1} is of session "
            f"{values[at]} after session {values[at - 1]}. Sort the table."
        )
    return values


def _split(
    table: pd.DataFrame,
    files: Sequence[SessionFile],
    n_trials: Sequence[int],
    session_column: str | None,
    hint: str,
) -> list[np.ndarray[Any, Any]]:
    """Return the rows of one table that belong to each file."""
    sessions = _session_values(table, session_column)
    named = [file.session for file in files]
    if sessions is None or named == [None]:
        if len(table) != sum(n_trials):
            raise _count_error("`events`", len(table), files, n_trials, hint)
        return np.split(np.arange(len(table)), np.cumsum(n_trials)[:-1])
    have, wanted = set(sessions.tolist()), {s for s in named if s is not None}
    if have != wanted:
        extra, lacking = sorted(have - wanted), sorted(wanted - have)
        told = [f"trials of session {extra[0]}, for which there is no file"] * bool(
            extra
        )
        told += [f"no trial of session {lacking[0]}, of which there is a file"] * bool(
            lacking
        )
        raise ValueError(
            f"`events` has {' and '.join(told)}. Files are of sessions "
            f"{sorted(wanted)}, events of {sorted(have)}. Where names of files do not "
            "tell, give the numbers in `sessions`."
        )
    rows: list[np.ndarray[Any, Any]] = [np.empty(0, np.int64)] * len(files)
    for session in sorted(wanted):
        inside = np.flatnonzero(sessions == session)
        which = [i for i, s in enumerate(named) if s == session]
        own = [files[i] for i in which]
        numbers = [n_trials[i] for i in which]
        parts = _by_run(table, inside, own, numbers)
        if parts is None:
            if len(inside) != sum(numbers):
                what = f"session {session} of `events`"
                raise _count_error(what, len(inside), own, numbers, hint)
            parts = np.split(inside, np.cumsum(numbers)[:-1])
        for i, part in zip(which, parts, strict=True):
            rows[i] = part
    return rows


def _by_run(
    table: pd.DataFrame,
    inside: np.ndarray[Any, Any],
    files: Sequence[SessionFile],
    n_trials: Sequence[int],
) -> list[np.ndarray[Any, Any]] | None:
    """Split the rows of a session by run, if rows and files tell runs."""
    if "run" not in table or any(file.run is None for file in files):
        return None
    runs = pd.to_numeric(table["run"].iloc[inside], errors="coerce").to_numpy()
    parts = []
    for file, n in zip(files, n_trials, strict=True):
        part = inside[runs == file.run]
        if len(part) != n:
            raise _count_error(f"`events` of {file}", len(part), [file], [n])
        parts.append(part)
    if sum(map(len, parts)) != len(inside):
        raise ValueError(
            f"`events` of session {files[0].session} has runs without a file: there "
            f"are files of the runs {[file.run for file in files]}."
        )
    return parts


def _axes_hint(n_rows: int, n_units: Sequence[int] | None) -> str:
    if n_units is None or n_rows not in (sum(n_units), n_units[0]):
        return ""
    return (
        " The axes look swapped: there are as many units as events. Pass "
        "trials_axis='last', or 'first' if it was that."
    )


def _count_error(
    what: str,
    n_rows: int,
    files: Sequence[SessionFile],
    n_trials: Sequence[int],
    hint: str = "",
) -> ValueError:
    listed = ", ".join(
        f"{n} in {file}" for file, n in zip(files, n_trials, strict=True)
    )
    total = "" if len(files) == 1 else f"{sum(n_trials)} trials: "
    return ValueError(
        f"Numbers of trials differ: {n_rows} rows in {what}, but {total}{listed}. "
        "One row per trial is needed; rows that are no trials can be left out by "
        f"`trial_types`.{hint}"
    )


def _trials(
    part: pd.DataFrame,
    index: int,
    file: SessionFile,
    column: str,
    session_column: str | None,
) -> pd.DataFrame:
    part = part.reset_index(drop=True)
    missing = np.flatnonzero(part[column].isna())
    if len(missing):
        raise ValueError(
            f"`events` tells no stimulus in {column!r} for {len(missing)} trials of "
            f"{file}, such as trial {missing[0] + 1}. Rows that are no trials can be "
            "left out by `trial_types`."
        )
    _check_ascent(part, file)
    sessions: Any = file.session
    if file.session is None:
        told = _session_values(part, session_column)
        sessions = 1 if told is None else told
    kept = [c for c in part.columns if c not in (*_RESERVED, column, session_column)]
    trials = part[kept]
    where = {"session": sessions, "file": index, "row": np.arange(len(part))}
    if file.run is not None or "run" in part:
        where["run"] = part.get("run", file.run)
    ids = pd.Series([_identity(v) for v in part[column]], dtype="str")
    trials = trials.assign(stimulus_id=ids, **where)
    return trials[["stimulus_id", *where, *kept]]


def _identity(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _check_ascent(part: pd.DataFrame, file: SessionFile) -> None:
    """Check that trials, or onsets, ascend within each session and run."""
    name = next((c for c in ("trial", "onset") if c in part), None)
    if name is None:
        return
    values = pd.to_numeric(part[name], errors="coerce")
    keys = [c for c in part.columns if str(c).lower() in ("session", "ses", "run")]
    groups = (
        part.groupby(keys, sort=False).ngroup() if keys else pd.Series(0, part.index)
    )
    fall = (values.diff() < 0) & (groups.diff().fillna(0) == 0)
    # Counts may start again from one run to the next when no column tells the run.
    restarts = not keys and name == "trial" and (values[fall] <= 1).all()
    if fall.any() and not restarts:
        at = int(np.flatnonzero(fall)[0])
        raise ValueError(
            f"`events` must be in chronological order, but {name} falls from "
            f"{values[at - 1]:g} to {values[at]:g} in trial {at + 1} of {file}. Sort "
            "the table; if a run starts there, tell it in a column 'run'."
        )


def _with_factors(trials: pd.DataFrame) -> pd.DataFrame:
    """Turn factors that are numbers written as text into numbers."""
    for column in trials.columns[1:]:
        if pd.api.types.is_numeric_dtype(trials[column]):
            continue
        numbers = pd.to_numeric(trials[column], errors="coerce")
        if numbers.notna().equals(trials[column].notna()) and numbers.notna().any():
            trials[column] = numbers
    return trials
