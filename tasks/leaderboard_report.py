"""The report of a leaderboard: models from best to worst, and paired differences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_leaderboard import leaderboard_labels, plot_leaderboard
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Provenance
from tasks.encoding_layers import file_name
from tasks.encoding_scores import HELD_OUT, PERMUTED, WHOLE
from tasks.leaderboard import (
    COMPARISONS_TABLE,
    LEADERBOARD_TABLE,
    LOWER,
    better_of,
    merge_results,
)
from tasks.leaderboard_rows import BOARD, LEADERBOARD, PEOPLE, SWEEP
from tasks.report_parts import (
    NamedFigure,
    figure_of,
    p_text,
    save_figures,
    value_text,
)
from tasks.reports import finish_run
from tasks.rsa_scores import BEST, LAYER, OPTIMISTIC
from tasks.runs import SCORE_FILES, load_scores, read_call

TEXT = """\
Each entry is the mean over subjects of means over seeds. Its 95 % interval is that of \
Student's t over subjects and tells of other subjects; with one subject it is over \
seeds, and with one cell it is what the run itself found: column "Over". Values are \
never cut at the ceiling. People and chance stand beside the models without a rank, \
and metrics that tell how models behave (reaction times, slopes) have no best value.

Differences are paired: over the subjects and seeds that both models have. p is that \
of exchanging the two models, subject by subject (with one subject, seed by seed); q \
is the false discovery rate over all pairs of the metric. Of n subjects no p is below \
2^(1 − n): with five or fewer, none is below 0.05, however large the difference. Seeds \
that changed nothing count as one."""
_SOURCES = """\
Nichols & Holmes (2002), Hum. Brain Mapp. 15:1 (sign flips). Benjamini & Hochberg \
(1995), J. R. Stat. Soc. B 57:289 (false discovery rate)."""
_NEEDED = (*SCORE_FILES, LEADERBOARD_TABLE, COMPARISONS_TABLE)
_MAIN_CONDITIONS = frozenset({"", "all", BEST, HELD_OUT})
# Further boards and pairs are in the tables of the folder.
_MOST_BOARDS, _MOST_OF_METRIC = 12, 6
_MOST_PAIRS, _MOST_WARNINGS = 15, 12
# What the command line tells: boards of an experiment, models of a board.
_MOST_TOLD, _MOST_LINES = 4, 5


def report_results(
    results: Sequence[str | Path],
    out: str | Path = "results/leaderboard",
    *,
    varying: Sequence[str] = (),
    csv: bool = False,
) -> list[str]:
    """Write the report of one run, or merge several into a leaderboard.

    Parameters
    ----------
    results : sequence of str or Path
        One folder of a finished run, or of a leaderboard: its report is written again.
        Several folders, or that of a sweep: they are merged.
    out : str or Path, default "results/leaderboard"
        As `tasks.leaderboard.merge_results`, for several.
    varying : sequence of str, optional
        As `tasks.leaderboard.merge_results`, for several.
    csv : bool, default False
        As `tasks.leaderboard.merge_results`, for several.

    Returns
    -------
    list of str
        Main figures in words, and the path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If a folder holds no finished run, or a damaged one.
    ValueError
        If runs do not belong on one leaderboard, or an option is for several.
    """
    alone = Path(results[0]) if len(results) == 1 else None
    if alone is not None and (alone / "run.json").is_file():
        task = read_call(alone).get("task")
        if task != SWEEP:
            if varying or csv:
                raise ValueError(
                    "`--varying` and `--csv` are for a leaderboard: name several "
                    "folders, or that of a sweep."
                )
            again = finish_leaderboard if task == LEADERBOARD else finish_run
            return again(alone)
    elif alone is not None:
        return finish_run(alone)
    merge_results(results, out, varying=varying, csv=csv)
    return finish_leaderboard(out)


def write_leaderboard_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a leaderboard.

    Parameters
    ----------
    folder : str or Path
        What `tasks.leaderboard.merge_results` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no leaderboard.
    DataCorruptError
        If one of its files is damaged.
    """
    folder = Path(folder)
    score = load_scores(folder, _NEEDED, LEADERBOARD)
    check_writable_folder(folder)
    entries = read_table(folder / LEADERBOARD_TABLE)
    comparisons = read_table(folder / COMPARISONS_TABLE)
    sections, every = [Section("How to read it", TEXT)], []
    for task, data in entries[["task", "data"]].drop_duplicates().to_numpy(str):
        mine = entries[(entries["task"] == task) & (entries["data"] == data)]
        section, figures = _section(task, data, mine, comparisons, score.table)
        sections.append(section)
        every += figures
    notes = score.provenance.notes
    if len(notes) > _MOST_WARNINGS:
        sections.append(Section("Further notes", "\n\n".join(notes[_MOST_WARNINGS:])))
    save_figures(folder, every)
    return write_report(
        folder / "report.html",
        title="Leaderboard",
        summary=_summary(entries, score.provenance),
        warnings=notes[:_MOST_WARNINGS],
        sections=[*sections, Section("Sources", _SOURCES)],
        provenance=score.provenance.to_dict(),
    )


def finish_leaderboard(folder: str | Path) -> list[str]:
    """Write the report of a leaderboard and tell the best models in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.leaderboard.merge_results` wrote.

    Returns
    -------
    list of str
        The first models of the main boards; path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no leaderboard.
    """
    report = write_leaderboard_report(folder)
    entries = read_table(Path(folder) / LEADERBOARD_TABLE)
    lines: list[str] = []
    told: dict[tuple[str, ...], int] = {}
    for board in main_boards(entries):
        rows = _of(entries, board)
        ranked = rows[rows["rank"].notna()]
        if ranked.empty or told.get(board[:2], 0) == _MOST_TOLD:
            continue
        told[board[:2]] = told.get(board[:2], 0) + 1
        lines.append(_title(board))
        labels = leaderboard_labels(ranked)[:_MOST_LINES]
        for label, row in zip(labels, ranked.to_dict("records"), strict=False):
            lines.append(f"  {row['rank']:.0f}. {label}: {value_text(row, 3)}")
    return [*lines, f"report {report}"]


def main_boards(entries: pd.DataFrame) -> list[tuple[str, ...]]:
    """Choose the boards that a report shows.

    Parameters
    ----------
    entries : DataFrame
        `tasks.leaderboard.Leaderboard.entries`.

    Returns
    -------
    list of tuple of str
        Values of `tasks.leaderboard_rows.BOARD`: of each metric the boards over all
        regions and conditions, or the first ones where there are none; metrics with a
        direction first. At most 12 of an experiment and data set.
    """
    found: list[tuple[str, ...]] = []
    boards = entries[list(BOARD)].drop_duplicates()
    odd = boards["condition"].isin([PERMUTED, OPTIMISTIC, LAYER])
    for _, part in boards[~odd].groupby(["task", "data"]):
        chosen = []
        for metric, rows in part.groupby("metric"):
            of_all = rows["region"].isin(["", "all"]) | rows["region"].str.startswith(
                WHOLE
            )
            main = rows[of_all & rows["condition"].isin(_MAIN_CONDITIONS)]
            if main.empty and better_of(str(metric)):
                main = rows
            chosen += [tuple(row) for row in main.to_numpy(str)[:_MOST_OF_METRIC]]
        chosen.sort(key=lambda board: (better_of(board[2]) == "", board))
        found += chosen[:_MOST_BOARDS]
    return found


def _of(table: pd.DataFrame, board: Sequence[str]) -> pd.DataFrame:
    mine = pd.Series(True, table.index)
    for name, value in zip(BOARD, board, strict=True):
        mine &= table[name] == value
    return table[mine]


def _title(board: Sequence[str]) -> str:
    task, data, metric, region, condition = board
    place = ", ".join(part for part in (region, condition) if part)
    return f"{task} {data}: {metric}{f' ({place})' if place else ''}".replace(" :", ":")


def _summary(entries: pd.DataFrame, provenance: Provenance) -> str:
    models = entries[entries["kind"] != PEOPLE][["task", "model"]].drop_duplicates()
    tasks = entries["task"].nunique()
    factors = provenance.call["varying"]
    told = f" Factors: {', '.join(factors)}." if factors else ""
    return (
        f"{provenance.call['n_runs']} runs of {tasks} experiment{'s' * (tasks > 1)}, "
        f"{models['model'].nunique()} models.{told}"
    )


def _section(
    task: str,
    data: str,
    entries: pd.DataFrame,
    comparisons: pd.DataFrame,
    scores: pd.DataFrame,
) -> tuple[Section, list[NamedFigure]]:
    boards = main_boards(entries)
    figures, tables = [], []
    for board in boards:
        rows = _of(entries, board)
        labelled = rows.assign(label=leaderboard_labels(rows))
        figures.append((_name(board), _figure(board, labelled, _of(scores, board))))
        tables.append(_table(board, labelled))
        pairs = _pairs(board, labelled, _of(comparisons, board))
        if pairs is not None:
            tables.append(pairs)
    n_boards = len(entries[list(BOARD)].drop_duplicates())
    text = (
        f"{len(boards)} of {n_boards} boards are shown; all are in "
        f"{LEADERBOARD_TABLE} and {COMPARISONS_TABLE}, single cells in scores.parquet."
    )
    title = f"{task}: {data}" if data else task
    section = Section(title, text, [item for _, item in figures], tables)
    return section, figures


def _name(board: Sequence[str]) -> str:
    return file_name("_".join(part for part in board if part))


def _figure(
    board: Sequence[str], rows: pd.DataFrame, scores: pd.DataFrame
) -> ReportFigure:
    cells = scores.assign(label=leaderboard_labels(_like_entries(scores, rows)))
    unit = str(rows["unit"].iloc[0])
    better = better_of(board[2])
    direction = f"; {better} is better" if better else ""
    axes = plot_leaderboard(
        rows.drop_duplicates("label"),
        cells[["label", "value"]],
        xlabel=f"{board[2]}{f' ({unit})' if unit else ''}{direction}",
        title=_title(board),
    )
    first = rows.iloc[0]
    return ReportFigure(
        figure_of(axes),
        alt=f"{_title(board)}: {len(rows)} entries, first {first['label']} with "
        f"{number_text(float(first['value']), 3)}",
        caption="Means with 95 % intervals; rings are single subjects or seeds. "
        "Intervals that would make all else small are cut; the table has them.",
    )


def _like_entries(scores: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Give cells the marks of their entries: one run can know what others do not."""
    keys = ["model", "layer"]
    marks = rows[[*keys, "kind", "untrained"]]
    return scores[keys].merge(marks, on=keys, how="left", sort=False)


def _table(board: Sequence[str], rows: pd.DataFrame) -> ReportTable:
    shown = pd.DataFrame(
        {
            "rank": rows["rank"],
            "label": rows["label"],
            "value": [value_text(row, 3) for row in rows.to_dict("records")],
            "over": rows["over"],
            "cells": [
                f"{row['n_cells']} ({row['n_subjects']} x {row['n_seeds']})"
                for row in rows.to_dict("records")
            ],
            "ceiling": rows["ceiling_low"],
            "share": rows["value_over_ceiling"],
            "note": rows["note"],
        }
    )
    names = [str(name) for name in shown]
    kept = [n for n in names if n in ("rank", "label") or _says_something(shown[n])]
    headers = {
        "rank": "Rank",
        "label": "Model",
        "value": "Mean [95 %]",
        "over": "Over",
        "cells": "Cells (subjects x seeds)",
        "ceiling": "Ceiling",
        "share": "Of ceiling",
        "note": "Note",
    }
    formats = {"rank": ".0f", "ceiling": ".3f", "share": ".3f"}
    kinds = [kind for kind in rows["ceiling_kind"].unique() if kind]
    told = f" Ceiling: {'; '.join(kinds)}." if "ceiling" in kept and kinds else ""
    return ReportTable(
        shown[kept],
        caption=f"{_title(board)}.{told}",
        headers={name: headers[name] for name in kept},
        formats={name: spec for name, spec in formats.items() if name in kept},
    )


def _says_something(column: pd.Series) -> bool:
    return bool((column.notna() & (column != "")).any())


def _pairs(
    board: Sequence[str], rows: pd.DataFrame, pairs: pd.DataFrame
) -> ReportTable | None:
    """Return all pairs of a board, or those of its best model if they are many."""
    known = pairs[pairs["n_cells"] > 0]
    which = "all pairs"
    if len(known) > _MOST_PAIRS:
        best = rows[rows["kind"] != PEOPLE].iloc[0]
        sides = [
            (known[f"model_{s}"] == best["model"])
            & (known[f"layer_{s}"] == best["layer"])
            for s in ("a", "b")
        ]
        known = known[sides[0] | sides[1]]
        which = f"pairs of {best['label']}"
    if known.empty:
        return None
    sign = -1 if better_of(board[2]) == LOWER else 1
    columns = [rows[name].tolist() for name in ("model", "layer", "label")]
    names = {
        (model, layer): label for model, layer, label in zip(*columns, strict=True)
    }
    shown = [_pair_row(row, names) for row in known.to_dict("records")]
    table = pd.DataFrame(shown)
    order = (sign * table["size"]).sort_values(ascending=False, kind="stable").index
    table = table.loc[order].drop(columns="size")
    if len(table) > _MOST_PAIRS:
        table, which = table.iloc[:_MOST_PAIRS], f"first {_MOST_PAIRS} {which}"
    if not _says_something(table["Note"]):
        table = table.drop(columns="Note")
    return ReportTable(
        table, caption=f"Paired differences, {which}: {_title(board)}. First − second."
    )


def _pair_row(row: dict[Any, Any], names: dict[Any, str]) -> dict[str, Any]:
    a, b = (names[row[f"model_{s}"], row[f"layer_{s}"]] for s in ("a", "b"))
    value = {"value": row["difference"], **{k: row[k] for k in ("ci_low", "ci_high")}}
    return {
        "First": a,
        "Second": b,
        "Difference [95 %]": value_text(value, 3),
        "p": p_text(float(row["p_value"])),
        "q": p_text(float(row["p_fdr"])),
        "Cells": row["n_cells"],
        "Note": row["note"],
        "size": row["difference"],
    }
