"""One leaderboard out of many runs: means over cells, ranks, paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.paired_models import compare_cells, mean_over_cells
from analysis.scanpath_measures import MEASURES
from neurovis.core.files import sha256_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.types import Provenance, Score
from tasks.comparable import (
    RunScore,
    check_comparable,
    check_varying,
    model_marks,
)
from tasks.leaderboard_rows import (
    BOARD,
    CELL,
    CHANCE,
    ENTRY,
    LEADERBOARD,
    MODEL,
    PEOPLE,
    drop_repeats,
    join_scores,
    load_results,
)
from tasks.object_search_scores import PAIR_MEASURES
from tasks.runs import begin_run, check_same_run

LEADERBOARD_TABLE, COMPARISONS_TABLE = "leaderboard.parquet", "comparisons.parquet"
"""Tables beside the scores."""

HIGHER, LOWER = "higher", "lower"
"""Values of `better`; "" where neither is better."""

_HIGHER = frozenset(
    {
        *("r_mean", "r_median", "r2_mean", "r2_noise_normalised_median"),
        *(
            "share_significant",
            "cka_debiased",
            "encoding_r",
            "encoding_explained_share",
        ),
        *("nss", "auc", "sauc", "cc", "sim", "information_gain", "accuracy"),
        *("information_gain_calibrated", "auc_judd", "auc_borji", "judge_accuracy"),
        *("second_judge_accuracy", "naming_rate", "repeat_agreement", "TFP_AUC30"),
        *("TFP_nAUC30", "TFP10", "TFP20", "TFP30", "concept_agreement_mean"),
    }
)
_LOWER = frozenset(
    {
        *("kl", "ks_to_human", "wasserstein_to_human_ms", "found_mismatch"),
        *("saccade_wasserstein_deg", "saccade_ks", "nats_per_token", "perplexity"),
        *("delta", "prob_mismatch30"),
    }
)
_HIGHER_ENDS = ("_pearson_r", "_spearman_r", "_accuracy")
_COLUMNS = (
    *(*BOARD, "rank", *ENTRY, "kind", "untrained", "value", "ci_low", "ci_high"),
    *("over", "n_cells", "n_subjects", "n_seeds", "n_undefined", "ceiling_low"),
    *("ceiling_high", "value_over_ceiling", "chance_low", "chance_high", "unit"),
    *("ceiling_kind", "better", "note"),
)
_PAIR_COLUMNS = (
    *(*BOARD, "model_a", "layer_a", "model_b", "layer_b", "difference", "ci_low"),
    *("ci_high", "p_value", "p_fdr", "better", "over", "n_cells", "n_subjects"),
    "note",
)
_SEPARATOR = "\t"  # in no name that a command line takes
_MOST_NOTES = 3


@dataclass(frozen=True)
class Leaderboard:
    """Merged runs.

    Parameters
    ----------
    scores : DataFrame
        All rows, each once, with the column `run`
        (see `tasks.leaderboard_rows.join_scores`).
    entries : DataFrame
        One row per board, model and layer, best first.
    comparisons : DataFrame
        One row per pair of models on a board.
    provenance : Provenance
        Which runs, and what a reader must know.
    """

    scores: pd.DataFrame
    entries: pd.DataFrame
    comparisons: pd.DataFrame
    provenance: Provenance


def better_of(metric: str) -> str:
    """Return which values of a metric are better.

    Parameters
    ----------
    metric : str
        Name of the metric.

    Returns
    -------
    {"higher", "lower", ""}
        "" for what tells how models behave, such as reaction times: no value of it is
        better than another.

    Examples
    --------
    >>> better_of("rsa_cosine"), better_of("rt_rmse_ms"), better_of("mean_rt_ms")
    ('higher', 'lower', '')
    """
    known = {name: kind.more_is_better for name, kind in MEASURES.items()}
    known |= {name: more for name, (_, more) in PAIR_MEASURES.items()}
    known |= dict.fromkeys(_HIGHER, True) | dict.fromkeys(_LOWER, False)
    more = known.get(metric)
    if metric not in known:
        if metric.startswith("rsa_") or metric.endswith(_HIGHER_ENDS):
            more = True
        elif "_rmse" in metric:
            more = False
    return "" if more is None else HIGHER if more else LOWER


def merge_results(
    results: Sequence[str | Path],
    out: str | Path = "results/leaderboard",
    *,
    varying: Sequence[str] = (),
    csv: bool = False,
) -> Leaderboard:
    """Merge runs into one leaderboard and leave its tables in a folder.

    Parameters
    ----------
    results : sequence of str or Path
        Folders of finished runs, and of sweeps.
    out : str or Path, default "results/leaderboard"
        Folder for ``scores``, ``leaderboard`` and ``comparisons``, all ``.parquet``,
        and ``provenance.json``. A leaderboard of the same folders is written anew.
    varying : sequence of str, optional
        Options that may differ: each value of them is a model of its own, such as
        "resnet50 [method=banded]".
    csv : bool, default False
        Write the leaderboard and the comparisons as ``.csv`` too.

    Returns
    -------
    Leaderboard
        Its tables.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If a folder holds no finished run, or a damaged one.
    ValueError
        If runs are not comparable (what differs is told, with both runs), one
        measurement has two values, or `out` is one of `results` or another run.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.
    """
    home = Path(out).resolve()
    folders = sorted({str(Path(path).resolve()) for path in results})
    if str(home) in folders:
        raise ValueError(
            f"`out` is {out}, one of the results that are merged: name another folder."
        )
    call = {"task": LEADERBOARD, "results": folders, "varying": sorted(set(varying))}
    check_same_run(out, call)
    merged = merge_scores(load_results(results), varying)
    folder = begin_run(out, call)
    tables = {LEADERBOARD_TABLE: merged.entries, COMPARISONS_TABLE: merged.comparisons}
    for name, table in tables.items():
        write_table(folder / name, table)
        if csv:
            write_table((folder / name).with_suffix(".csv"), table)
    Score(merged.scores, merged.provenance).save(folder)
    return merged


def merge_scores(runs: Sequence[RunScore], varying: Sequence[str] = ()) -> Leaderboard:
    """Merge the scores of runs.

    Parameters
    ----------
    runs : sequence of RunScore
        Runs with distinct sources; their order does not matter.
    varying : sequence of str, optional
        As `merge_results`.

    Returns
    -------
    Leaderboard
        Its tables.

    Raises
    ------
    ValueError
        As `merge_results`.

    Notes
    -----
    A row of the leaderboard is the mean over cells, subject x seed, as
    `analysis.paired_models.mean_over_cells` has it; ceilings and shares of them are
    means too, and shares may exceed 1. Models are ranked where a direction is known
    (`better_of`); people and chance stand beside them without a rank. p values of all
    pairs of models of one metric, on one data set, are adjusted together.
    """
    runs = sorted(runs, key=lambda run: run.source)
    factors = check_varying(runs, varying)
    rows = join_scores(runs, factors)
    check_comparable(runs, rows, factors)
    scores = drop_repeats(rows)
    entries = _entries(scores)
    comparisons = _comparisons(scores)
    marks = {run.source: sha256_json(run.score.provenance.to_dict()) for run in runs}
    provenance = collect(
        None,
        fingerprints={f"run {source}": mark for source, mark in marks.items()},
        call={"task": LEADERBOARD, "varying": list(factors), "n_runs": len(runs)},
        notes=_notes(runs, scores, entries),
    )
    columns = scores.drop(columns="factors")
    return Leaderboard(columns, entries, comparisons, provenance)


def _entries(scores: pd.DataFrame) -> pd.DataFrame:
    keys = [*BOARD, *ENTRY]
    means = mean_over_cells(scores, keys)
    groups = scores.groupby(keys, as_index=False)
    chance = groups[["chance_low", "chance_high"]].mean()
    marks = groups.agg(
        untrained=("untrained", "any"),
        kind=("kind", "first"),
        unit=("unit", "first"),
        ceiling_kind=("ceiling_kind", "max"),
        factors=("factors", "first"),
    )
    table = means.merge(marks, on=keys).merge(chance, on=keys)
    table["better"] = table["metric"].map(better_of)
    table["note"] = _entry_notes(table, scores)
    ranked = ~table["kind"].isin([PEOPLE, CHANCE]) & (table["better"] != "")
    # The best value is the largest one of this column.
    table["merit"] = table["value"] * np.where(table["better"] == LOWER, -1.0, 1.0)
    merit = table["merit"].where(ranked)
    groups_of = [table[name] for name in BOARD]
    table["rank"] = merit.groupby(groups_of).rank(ascending=False, method="min")
    table = table.sort_values(
        [*BOARD, "merit", *ENTRY],
        ascending=[*[True] * len(BOARD), False, True, True],
        na_position="last",
        ignore_index=True,
    )
    return table[list(_COLUMNS)]


def _entry_notes(table: pd.DataFrame, scores: pd.DataFrame) -> list[str]:
    keys = [*BOARD, *ENTRY]
    # All subjects and seeds that a model of the board has.
    models = scores[scores["kind"] == MODEL]
    cells = models.drop_duplicates([*BOARD, *CELL]).groupby(list(BOARD)).size()
    wanted = cells.reindex(pd.MultiIndex.from_frame(table[list(BOARD)])).to_numpy()
    bad = scores[scores["value"].isna() & (scores["note"] != "")]
    reasons = {key: part.unique() for key, part in bad.groupby(keys)["note"]}
    found = []
    for row, most in zip(table.to_dict("records"), wanted, strict=True):
        parts = []
        if row["n_undefined"]:
            why = reasons.get(tuple(row[k] for k in keys), ())
            told = f" ({' / '.join(sorted(why)[:_MOST_NOTES])})" if len(why) else ""
            parts.append(f"{row['n_undefined']} undefined{told}")
        here = row["n_cells"] + row["n_undefined"]
        if row["kind"] == MODEL and here < most:
            parts.append(f"{here} of {int(most)} cells of this board")
        if row["n_cells"] and row["interval_note"]:
            parts.append(row["interval_note"])
        found.append("; ".join(parts))
    return found


def _comparisons(scores: pd.DataFrame) -> pd.DataFrame:
    unlike = scores["kind"].eq(PEOPLE) | _is_chance_condition(scores)
    cells = scores[~unlike]
    cells = cells.assign(model=cells["model"] + _SEPARATOR + cells["layer"])
    table = compare_cells(cells, board=BOARD, family=("task", "data", "metric"))
    for side in ("a", "b"):
        names = [name.split(_SEPARATOR) for name in table[f"model_{side}"]]
        table[f"model_{side}"] = pd.Series([n[0] for n in names], dtype="str")
        table[f"layer_{side}"] = pd.Series([n[1] for n in names], dtype="str")
    table["better"] = table["metric"].map(better_of).astype("str")
    table = table.rename(columns={"interval_note": "note"})
    return table[list(_PAIR_COLUMNS)]


def _is_chance_condition(scores: pd.DataFrame) -> pd.Series:
    """Return rows of permuted data; a model that acts at random is a model here."""
    groups = scores.groupby(list(BOARD))["kind"]
    return groups.transform("nunique").eq(1) & scores["kind"].eq(CHANCE)


def _notes(
    runs: Sequence[RunScore], scores: pd.DataFrame, entries: pd.DataFrame
) -> list[str]:
    """Say what a reader must know, and what differs without being refused."""
    notes = [
        f"{model}: untrained weights"
        for model in sorted(scores.loc[scores["untrained"], "model"].unique())
    ]
    origins = [run.score.provenance for run in runs]
    for what, values in (
        ("code", [each.code for each in origins]),
        ("device", [each.device for each in origins]),
        ("precision", [each.dtype for each in origins]),
        ("packages", [_packages(each) for each in origins]),
    ):
        notes += _unlike_note(what, values, [run.source for run in runs])
    notes += _other_weights(runs)
    if (entries["note"].str.contains("cells of this board")).any():
        notes.append(
            "Some models lack cells that others have: their means are over other "
            "subjects or seeds. Differences of pairs are over common cells alone."
        )
    if (entries["n_undefined"] > 0).any():
        notes.append("Undefined values are left out of means, and counted.")
    return notes + _own_notes(runs)


def _packages(provenance: Provenance) -> str:
    hosts = ("platform", "cpu")
    kept = {k: v for k, v in provenance.versions.items() if k not in hosts}
    return ", ".join(f"{name} {version}" for name, version in sorted(kept.items()))


def _unlike_note(what: str, values: list[str], sources: list[str]) -> list[str]:
    kinds = sorted(set(values))
    if len(kinds) < 2:
        return []
    told = [
        f"{kind or 'unknown'} ({sources[values.index(kind)]} ...)" for kind in kinds
    ]
    rest = f", and {len(told) - _MOST_NOTES} more" if len(told) > _MOST_NOTES else ""
    return [f"Runs differ in {what}: {'; '.join(told[:_MOST_NOTES])}{rest}."]


def _other_weights(runs: Sequence[RunScore]) -> list[str]:
    """Name models that are others under other seeds: meant, or a mistake."""
    seen: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for name, mark in model_marks(run).items():
            seen.setdefault((run.task, name), set()).add(mark)
    names = sorted(name for (_, name), marks in seen.items() if len(marks) > 1)
    return [f"{name}: other weights or settings under other seeds." for name in names]


def _own_notes(runs: Sequence[RunScore]) -> list[str]:
    """Return the notes of the runs, each once, those on untrained weights left out."""
    every: dict[str, Any] = {}
    for run in runs:
        every |= dict.fromkeys(run.score.provenance.notes)
    return [note for note in sorted(every) if "untrained" not in note]
