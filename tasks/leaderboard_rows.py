"""Scores of many runs in one form: boards, cells, and rows that come twice."""

import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.free_viewing import CENTRE_BIAS, JOINT_MODEL
from neurovis.adapters.object_baselines import OBJECT_BASELINES
from neurovis.adapters.object_tokens import TOKEN_BASELINES
from neurovis.core.errors import DataCorruptError
from neurovis.core.regions import REGION_UNIONS
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS, Score
from tasks.comparable import STIMULUS_OPTIONS, RunScore, factor_text
from tasks.encoding_scores import BASELINE, HELD_OUT, PERMUTED, WHOLE
from tasks.object_search_scores import LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW
from tasks.rsa_scores import BEST, OPTIMISTIC
from tasks.runs import SCORE_FILES, load_scores, read_call
from tasks.sweep_records import job_scores

SWEEP, LEADERBOARD = "sweep", "leaderboard"
"""Values of "task" of folders that hold many runs."""

MODEL, PEOPLE, A_BASELINE, CHANCE = "model", "people", "baseline", "chance"
"""Values of `kind`."""

BOARD = ("task", "data", "metric", "region", "condition")
"""What tells one board from another: on one, models are ranked."""

ENTRY = ("model", "layer")
"""What tells rows of one board apart."""

CELL = ("subject", "seed")
"""What tells measurements of one row apart."""

_PEOPLE = frozenset({HUMAN_MODEL, JOINT_MODEL, LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW})
_BASELINES = frozenset(
    {BASELINE, CENTRE_BIAS, "centre", *OBJECT_BASELINES, *TOKEN_BASELINES}
)
# Who stands for all people, beside single ones or alone.
_SUMMARIES = frozenset({"mean", "mean of people"})
_EVERYBODY = frozenset({"human", "human mean", "mean of observers"})
# Columns that tell rows of one experiment apart, besides those of every score.
_FACTORS = ("rule", "level", "x", "noise_sd", "inverse_temperature", "brain", "truth")
_TEXTS = (
    *("model", "subject", "stimuli", "task", "metric", "region", "layer", "condition"),
    *("unit", "ceiling_kind", "note"),
)
_NUMBERS = (
    *("value", "ci_low", "ci_high", "n", "ceiling_low", "ceiling_high"),
    *("value_over_ceiling", "chance_low", "chance_high"),
)
_ORDER = (
    *SCORE_COLUMNS,
    *("data", "kind", "untrained", "chance_low", "chance_high", "factors", "note"),
    *("run", "n_runs"),
)
# Sums in another order, on another machine, differ by less: relative, absolute.
_EQUAL = (1e-6, 1e-9)


def load_results(paths: Sequence[str | Path]) -> list[RunScore]:
    """Read the scores of runs and of sweeps.

    Parameters
    ----------
    paths : sequence of str or Path
        Folders of finished runs, and of sweeps, whose finished jobs are taken.

    Returns
    -------
    list of RunScore
        Sorted by `source`: the path without what all have in common, and for a job its
        name. A folder that is named twice counts once.

    Raises
    ------
    FileNotFoundError
        If a folder holds no run, or none that is finished.
    DataCorruptError
        If a file is damaged.
    ValueError
        If there is no folder, or one holds a leaderboard.
    """
    folders = list(dict.fromkeys(Path(path).resolve() for path in paths))
    if not folders:
        raise ValueError("`results` is empty: name the folder of a run or a sweep.")
    names = _short_names(folders)
    found: list[RunScore] = []
    for folder, name in zip(folders, names, strict=True):
        if not (folder / "run.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished run: run.json is missing. Name folders "
                "that `neurovis run`, `fit` or `sweep` was given by `--out`."
            )
        task = read_call(folder).get("task")
        if task == LEADERBOARD:
            raise ValueError(
                f"{folder} holds a leaderboard already: name the runs that it is of."
            )
        if task == SWEEP:
            jobs = job_scores(folder)
            if not jobs:
                raise FileNotFoundError(
                    f"{folder} holds no finished job. "
                    f"`neurovis sweep status {folder}` tells how its jobs stand."
                )
            prefix = f"{name}/" if len(folders) > 1 else ""
            found += [_run_score(f"{prefix}{job}", score) for job, score in jobs]
        else:
            found.append(_run_score(name, load_scores(folder, SCORE_FILES)))
    return sorted(found, key=lambda run: run.source)


def _run_score(source: str, score: Score) -> RunScore:
    tasks = score.table["task"].dropna().unique()
    task = score.provenance.call.get("task") or (tasks[0] if len(tasks) else "")
    if not task:
        raise DataCorruptError(
            f"The provenance of {source} does not tell its experiment. Run it again."
        )
    return RunScore(source, str(task), score)


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Return paths without the folders that all lie in."""
    common = Path(os.path.commonpath([folder.parent for folder in folders]))
    return [folder.relative_to(common).as_posix() for folder in folders]


def join_scores(runs: Sequence[RunScore], varying: Sequence[str] = ()) -> pd.DataFrame:
    """Bring the rows of all runs into one form.

    Parameters
    ----------
    runs : sequence of RunScore
        Runs with distinct sources.
    varying : sequence of str, optional
        Options that are factors: their values join the names of models.

    Returns
    -------
    DataFrame
        The columns of `neurovis.core.types.SCORE_COLUMNS`, and `data` (name of the data
        set, which stands before the colon of `stimuli`), `kind`, `untrained`,
        `chance_low`, `chance_high`, `factors`, `note`, `run`. Undefined text is "".

    Notes
    -----
    - `subject` is "" where the observer is the subject: a model that searches is not
      measured on somebody.
    - `region` has its family, as in "floc-faces:FFA-1". Where a run has only chosen
      regions, what they leave of others says so: "all units within V1".
    - `condition` is "" where it repeats the name of the model, and has the values of
      further factors, such as "feature [rule=exhaustive]".
    - `layer` is "" in conditions that are about the best one.
    - Permuted responses are chance, and stand beside what was held out.
    """
    parts = [_tidy(run, varying) for run in runs]
    return pd.concat(parts, ignore_index=True)


def _tidy(run: RunScore, varying: Sequence[str]) -> pd.DataFrame:
    table = run.score.table.reset_index(drop=True)
    rows = pd.DataFrame(index=table.index)
    for name in _TEXTS:
        rows[name] = _text(table, name)
    for name in _NUMBERS:
        column = table.get(name, pd.Series(np.nan, table.index))
        rows[name] = pd.to_numeric(column, errors="coerce").astype(np.float64)
    seed = pd.to_numeric(table["seed"], errors="coerce").fillna(-1)
    rows["seed"] = seed.astype(np.int64)
    rows["task"] = rows["task"].where(rows["task"] != "", run.task)
    rows["data"] = rows["stimuli"].str.partition(":")[0]
    rows["region"] = _regions(table, rows, run.score.provenance.call)
    rows["untrained"] = _untrained(table, rows, run.score.provenance.notes)
    rows["kind"] = _kinds(rows)
    people = rows["kind"] == PEOPLE
    itself = (rows["subject"] == rows["model"]) | rows["subject"].isin(_EVERYBODY)
    rows["subject"] = rows["subject"].where(~itself, "")
    rows["condition"] = _conditions(table, rows)
    best = rows["condition"].isin([BEST, OPTIMISTIC]) & (rows["layer"] != "")
    told = rows["note"] + "; layer " + rows["layer"]
    rows["note"] = rows["note"].where(~best, told.str.removeprefix("; "))
    rows["layer"] = rows["layer"].where(~best, "")
    call = run.score.provenance.call
    # How models work is nothing to people; what they see is.
    seen = factor_text(call, sorted(STIMULUS_OPTIONS & set(varying)))
    rows["factors"] = np.where(people, seen, factor_text(call, varying))
    rows["model"] = rows["model"] + rows["factors"]
    rows["run"] = run.source
    return _without_summaries(_with_chance(rows))


def _text(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        return pd.Series("", table.index, dtype="str")
    column = table[name]
    return column.where(column.notna(), "").astype(str).astype("str")


def _kinds(rows: pd.DataFrame) -> Any:
    model = rows["model"]
    is_chance = model.str.match(r"chance\b|chance_") | (rows["condition"] == PERMUTED)
    kinds = [model.isin(_PEOPLE), is_chance, model.isin(_BASELINES)]
    return np.select(kinds, [PEOPLE, CHANCE, A_BASELINE], MODEL)


def _untrained(
    table: pd.DataFrame, rows: pd.DataFrame, notes: Sequence[str]
) -> pd.Series:
    """Mark models that say so, in their rows or in the notes of the run."""
    marked = {
        model
        for model in rows["model"].unique()
        for note in notes
        if note.startswith(f"{model}: ")
        and "untrained" in note.removeprefix(f"{model}: ")
    }
    found = rows["model"].isin(marked)
    if "untrained" in table:
        found |= table["untrained"].astype(object).eq(True)  # undefined is not True
    return found


def _regions(
    table: pd.DataFrame, rows: pd.DataFrame, call: Mapping[str, Any]
) -> pd.Series:
    if "family" not in table:
        return rows["region"]
    family, chosen = _text(table, "family"), _chosen_regions(call.get("regions"))
    names: dict[tuple[str, str], str] = {}
    for group, label in {*zip(family, rows["region"], strict=True)}:
        name = f"{group}:{label}" if group and label != WHOLE else label
        whole = not chosen or any(_holds(region, group, label) for region in chosen)
        names[group, label] = name if whole else f"{name} within {', '.join(chosen)}"
    pairs = zip(family, rows["region"], strict=True)
    return pd.Series([names[pair] for pair in pairs], rows.index, dtype="str")


def _chosen_regions(value: Any) -> list[str]:
    """Return regions that a run was asked for; some calls keep them as text."""
    if isinstance(value, str) and re.match(r"[(\[]", value):
        value = ast.literal_eval(value)
    if not value:
        return []
    return [value] if isinstance(value, str) else sorted(str(name) for name in value)


def _holds(chosen: str, family: str, label: str) -> bool:
    """Return whether all units of a label lie in a chosen region."""
    name = chosen.removeprefix(f"{family}:")
    return bool(family) and (
        chosen == family or label == name or label in REGION_UNIONS.get(name, ())
    )


def _conditions(table: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    condition = rows["condition"].where(rows["condition"] != rows["model"], "")
    told = pd.Series("", rows.index, dtype="str")
    for name in _FACTORS:
        if name in table:
            value = _text(table, name)
            joined = (told + f", {name}=" + value).str.removeprefix(", ")
            told = told.where(value == "", joined)
    return condition.where(told == "", (condition + " [" + told + "]").str.strip())


def _with_chance(rows: pd.DataFrame) -> pd.DataFrame:
    """Put the interval of permuted responses beside what was held out."""
    permuted = rows["condition"] == PERMUTED
    if not permuted.any():
        return rows
    keys = ["data", "metric", "region", *ENTRY, *CELL]
    chance = rows[permuted].drop_duplicates(keys).set_index(keys)[["ci_low", "ci_high"]]
    at = pd.MultiIndex.from_frame(rows[keys])
    held = (rows["condition"] == HELD_OUT).to_numpy()
    for name, limit in (("chance_low", "ci_low"), ("chance_high", "ci_high")):
        beside = chance[limit].reindex(at).to_numpy()
        rows[name] = np.where(held & rows[name].isna(), beside, rows[name])
    return rows


def _without_summaries(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out means over subjects that are there themselves."""
    summary = rows["subject"].isin(_SUMMARIES)
    if not summary.any():
        return rows
    keys = [*BOARD, "model"]
    single = pd.MultiIndex.from_frame(rows.loc[~summary, keys])
    there = pd.MultiIndex.from_frame(rows[keys]).isin(single)
    return rows[~(summary.to_numpy() & there)]


def drop_repeats(rows: pd.DataFrame) -> pd.DataFrame:
    """Count rows that several runs have once, such as those of a baseline.

    Parameters
    ----------
    rows : DataFrame
        From `join_scores`.

    Returns
    -------
    DataFrame
        Sorted, one row per cell, with `n_runs`, the runs that have it; `run` is the
        first of them. Values that differ by rounding count as equal.

    Raises
    ------
    ValueError
        If one cell has two values; it is named, with both runs.
    """
    keys = [*BOARD, *ENTRY, *CELL]
    ordered = rows.sort_values([*keys, "run", "value"], ignore_index=True)
    first = ~ordered.duplicated(keys)
    number = first.cumsum() - 1
    kept = ordered[first].reset_index(drop=True)
    value = kept["value"].to_numpy()[number]
    other = ~np.isclose(ordered["value"].to_numpy(), value, *_EQUAL, equal_nan=True)
    if other.any():
        place = int(np.flatnonzero(other)[0])
        row, known = ordered.iloc[place], kept.iloc[number.iloc[place]]
        told = ", ".join(f"{k} {row[k]!r}" for k in keys if row[k] != "")
        more = int(other.sum()) - 1
        raise ValueError(
            f"One measurement has two values: {told} is {known['value']:.6g} in "
            f"{known['run']} and {row['value']:.6g} in {row['run']}"
            f"{f' ({more} more such)' if more else ''}. Models need names of their own "
            "(`label`), or leave one of the runs out."
        )
    kept["n_runs"] = ordered.groupby(number)["run"].nunique().to_numpy()
    return kept[list(_ORDER)]
