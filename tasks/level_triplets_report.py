"""The report of a level-triplets run: the triplets, and which level decides."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import TEXT_PT
from analysis.plots_directions import plot_directions
from analysis.plots_odd_one_out import plot_level_plane, plot_level_shares
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from tasks.directions import direction_lines
from tasks.level_triplets import open_pictures
from tasks.level_triplets_scores import TASK
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import Run, load_run

_QUESTION = """\
Pictures that are alike in their first appearance are often alike in what they show, \
so that one cannot tell which of the two people go by. A triplet has a root and two \
other pictures: j is more like the root than i in a high layer of a network. In \
conflict triplets i is the one more like it in a low layer; in congruent ones j is \
again. No picture occurs twice.

Choices are described by the share of conflict triplets that follow the high layer, \
and by a logistic regression on the differences of both levels, each in standard \
deviations of its matrix. Where the levels tell choices apart without error, as those \
of the two layers themselves, weights have no limit and are undefined."""
_SOURCES = """\
Piriyajitakonkij, Itthipuripat, Ballard & Pappas (2024), arXiv:2409.02241; search as \
in the public code maytusp/triplet_search. No choices of people are public; the \
directions are those of the abstract."""
_EXAMPLES = 4


def write_level_triplets_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.level_triplets.run_level_triplets`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its pictures are gone.
    DataCorruptError
        If one of its files is damaged.
    """
    run = load_run(folder, TASK)
    check_writable_folder(run.folder)
    triplets = read_table(run.folder / "triplets.parquet")
    cells = read_table(run.folder / "cells.parquet")
    directions = read_table(run.folder / "directions.parquet")
    found = [_example_figure(run, triplets), _plane_figure(triplets)]
    shares = _shares_figure(run)
    told = _direction_figure(directions)
    save_figures(run.folder, [*found, shares, *told])
    sections = [
        Section("The question", _QUESTION),
        Section("Triplets", figures=[item for _, item in found]),
        Section("Who follows which level", figures=[shares[1]], tables=[_table(run)]),
    ]
    if told:
        sections.append(Section("Beside people", figures=[item for _, item in told]))
    if len(cells):
        sections.append(Section("Agreement with people", tables=[_cells_table(cells)]))
    call = run.provenance.call
    return write_report(
        run.folder / "report.html",
        title="Low-level against high-level similarity",
        summary=(
            f"{len(triplets)} triplets, {int(triplets['conflict'].sum())} of them with "
            f"conflict, found in {call['network']}; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[*sections, Section("Sources", _SOURCES)],
        provenance=run.provenance.to_dict(),
    )


def finish_level_triplets(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Shares of conflict triplets, directions, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_level_triplets_report(folder)
    run = load_run(folder, TASK)
    lines = ["conflict triplets: share that follows the high layer"]
    chosen = run.scores["metric"] == "choice_high"
    rows = run.scores[chosen & (run.scores["condition"] == "conflict")]
    for row in rows.to_dict("records"):
        mark = _mark(row)
        lines.append(f"  {row['subject'] + mark:<36}{value_text(row, 2)}")
    table = read_table(run.folder / "directions.parquet")
    return [*lines, *direction_lines(table), f"report {report}"]


def _example_figure(run: Run, triplets: pd.DataFrame) -> NamedFigure:
    """Root and answers of the triplets with the largest differences."""
    call = run.provenance.call
    pictures, _, _ = open_pictures(call["pictures"], call["n_pictures"], call["seed"])
    size = sum(
        (triplets[name] / max(float(triplets[name].abs().max()), 1e-9)) ** 2
        for name in ("d_high", "d_low")
    )
    order = triplets.assign(size=size).sort_values("size", ascending=False)
    picked = pd.concat(
        [
            order[order["conflict"]].head(_EXAMPLES // 2),
            order[~order["conflict"]].head(_EXAMPLES // 2),
        ]
    )
    grid = axes_grid(3 * len(picked), 3, (1.7, 1.8))
    for number, row in enumerate(picked.to_dict("records")):
        kind = "conflict" if row["conflict"] else "congruent"
        titles = {
            "root": f"root ({kind})",
            "i": "i: more alike low" if row["conflict"] else "i: less alike",
            "j": "j: more alike high" if row["conflict"] else "j: more alike",
        }
        for place, (role, title) in enumerate(titles.items()):
            axes = grid[3 * number + place]
            axes.imshow(pictures[int(row[role])])
            axes.set_title(title, fontsize=TEXT_PT - 1)
            axes.set_axis_off()
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Examples of triplets: the root and two pictures to choose from",
        caption="Triplets with the largest differences of each kind.",
        image_format="png",
    )
    return "examples", item


def _plane_figure(triplets: pd.DataFrame) -> NamedFigure:
    item = ReportFigure(
        figure_of(plot_level_plane(triplets)),
        alt="Differences of similarity in the low and in the high layer",
        caption="All triplets, by how much more like the root j is than i.",
    )
    return "plane", item


def _shares_figure(run: Run) -> NamedFigure:
    item = ReportFigure(
        figure_of(plot_level_shares(run.scores)),
        alt="Share of conflict triplets in which observers follow the high layer",
        caption="The two layers of the search follow themselves by construction. Open "
        "marks have random weights.",
    )
    return "shares", item


def _direction_figure(directions: pd.DataFrame) -> list[NamedFigure]:
    # Choices without an interval of their weights cannot be held against anything.
    shown = directions[directions["ci_low"].notna()]
    if not len(shown):
        return []
    claims = shown["model"] + ": " + shown["claim"]
    axes = plot_directions(shown.assign(claim=claims), label="Weight (log odds per SD)")
    limits = shown[["ci_low", "ci_high"]].to_numpy(float)
    reach = 1.1 * float(np.abs(limits).max())
    axes.axvspan(0, reach, color="#EEF3F7", zorder=-1)  # people are on this side
    axes.set_xlim(-reach, reach)
    item = ReportFigure(
        figure_of(axes),
        alt="Weights of both levels with intervals, beside the direction of people",
        caption="Full marks: the 95 % interval leaves out 0.",
        wide=True,
    )
    return [("directions", item)]


def _table(run: Run) -> ReportTable:
    metrics = {
        ("choice_high", "conflict"): ("Conflict: follows high", 2),
        ("choice_high", "congruent"): ("Congruent: follows both", 2),
        ("weight_high", "all"): ("Weight high", 2),
        ("weight_low", "all"): ("Weight low", 2),
        ("weight_ratio", "all"): ("High over low", 2),
        ("agreement_people", "all"): ("Agreement with people", 2),
    }
    rows = []
    for name, part in run.scores.groupby("subject", sort=False):
        first = part.iloc[0]
        mark = _mark(first)
        line = {"Observer": f"{name}{mark}"}
        for row in part.to_dict("records"):
            known = metrics.get((row["metric"], row["condition"]))
            if known is not None:
                line[known[0]] = value_text(row, known[1])
        rows.append(line)
    return ReportTable(
        pd.DataFrame(rows).fillna("–"), caption="Shares and weights, 95 % intervals."
    )


def _cells_table(cells: pd.DataFrame) -> ReportTable:
    pooled = cells.assign(same=cells["value"] * cells["n"])
    keys = ["subject", "bin_high", "bin_low", "conflict"]
    sums = pooled.groupby(keys, sort=False)[["same", "n"]].sum().reset_index()
    table = sums.assign(value=sums["same"] / sums["n"]).drop(columns="same")
    return ReportTable(
        table[[*keys, "value", "n"]],
        caption="Share of answers of people with the same choice, by bins.",
        headers={
            "subject": "Observer",
            "bin_high": "Bin, high",
            "bin_low": "Bin, low",
            "conflict": "Conflict",
            "value": "Share",
            "n": "Answers",
        },
        formats={"value": ".2f"},
    )


def _mark(row: Any) -> str:
    told = row["untrained"] and "untrained" not in row["subject"]
    return " (untrained)" if told else ""
