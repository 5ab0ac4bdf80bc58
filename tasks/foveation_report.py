"""The report of a comparison of foveated systems."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis.plot_style import GREY, number_text
from analysis.plots_cue_conflict import plot_picture_grid
from analysis.plots_directions import plot_directions
from analysis.plots_foveation import (
    DASHED,
    plot_generalisation,
    plot_own_accuracy,
    plot_training_runs,
    system_legend,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder
from tasks.foveation_report_parts import (
    Part,
    conflict_part,
    conflict_words,
    confusions_part,
    epochs_part,
    frequencies_part,
    occlusion_part,
    picture_figure,
)
from tasks.foveation_scores import CONFLICTS, EQUAL_WITHIN
from tasks.foveation_systems import PUBLISHED_NAMES
from tasks.foveation_tables import FoveationRun, read_foveation_run
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    p_text,
    save_figures,
    value_text,
)

_FEW_RUNS = 5
_EXPECTED = {1: "larger", -1: "smaller", 0: "equal"}
_QUESTION = """\
What does a network learn when its input is foveated, as that of the eye is? A fixed \
first stage changes the pictures; a network of one architecture is then trained on \
these to name the class of a scene. "reference" changes nothing. "texture" keeps the \
centre and pools local image statistics in windows that grow with eccentricity, as \
texture models of peripheral vision do. "uniform-blur" and "foveated-blur" are \
controls that lose as much by the measure SSIM: the same blur everywhere, and a blur \
that grows with eccentricity.

Runs of one number start from equal weights, and see pictures in equal order, in all \
systems. Every test changes what the first stage let through. Intervals are 95 % over \
runs and pictures (over pictures alone if there is one run); those of accuracies are \
cut at 0 and 1."""
_SOURCES = """\
The experiment: Deza & Konkle (2020), Emergent properties of foveated perceptual \
systems, arXiv:2006.07991; names in brackets are theirs. Their first stage was a \
trained style-transfer network; "texture" has no weights. SSIM: Wang et al. (2004), \
IEEE Trans. Image Process. 13:600-612. False discovery rates: Benjamini & Hochberg \
(1995), J. R. Stat. Soc. B 57:289-300."""


def write_foveation_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.foveation.run_foveation` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    run = read_foveation_run(folder)
    check_writable_folder(run.folder)
    parts = [
        _stages(run),
        _training(run),
        _generalisation(run),
        frequencies_part(run),
        occlusion_part(run),
        *(conflict_part(run, name) for name in CONFLICTS),
        epochs_part(run),
        _directions(run),
        confusions_part(run),
    ]
    found = [part for part in parts if part is not None]
    save_figures(run.folder, [item for _, figures in found for item in figures])
    call = run.call
    epochs = ", ".join(str(epoch) for epoch in call["epochs"])
    return write_report(
        run.folder / "report.html",
        title=f"Foveated systems: {call['data']}",
        summary=(
            f"{len(run.systems)} systems, {call['n_runs']} runs each of "
            f"{call['architecture']}, tested after {epochs} epochs; pictures of "
            f"{call['size_px']} px; {len(call['classes'])} classes; seed "
            f"{run.provenance.seed}."
        ),
        warnings=[*run.provenance.notes, *_warnings(run)],
        sections=[
            Section("The question", _QUESTION),
            *(section for section, _ in found),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_foveation(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.foveation.run_foveation` wrote.

    Returns
    -------
    list of str
        For each system its accuracy on pictures of its own kind and its cross-overs;
        how many published directions hold; the path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_foveation_report(folder)
    run = read_foveation_run(folder)
    own = run.own_accuracy()
    lines = []
    if len(own):
        chance = number_text(float(own["chance"].iloc[0]), 3)
        lines.append(f"correct on own test pictures (guessing: {chance})")
        lines += [
            f"  {run.names[str(row['system'])]:<38}{_accuracy_text(row)}"
            for _, row in own.iterrows()
        ]
    for experiment in CONFLICTS:
        bias = run.bias_of(experiment)
        if len(bias):
            lines.append(
                f"cross-over, {conflict_words(experiment)} (smaller: the centre wins)"
            )
            for row in bias.to_dict("records"):
                text = value_text({**row, "value": row["cross_over"]}, 3)
                lines.append(f"  {run.names[row['system']]:<38}{text}")
    if run.directions is not None:
        lines.append(f"published directions, {_verdicts(run.directions)}")
    return [*lines, *_warnings(run), f"report {report}"]


def _accuracy_text(row: Any) -> str:
    return value_text({**row, "value": row["accuracy"]}, 3)


def _verdicts(directions: pd.DataFrame) -> str:
    counts = directions["verdict"].value_counts()
    words = ("holds", "reversed", "fails", "undecided")
    some = [f"{word} {counts[word]}" for word in words if counts.get(word)]
    unequal = directions[directions["expected"] != 0]
    n_left = int((unequal["p_fdr"] <= 0.05).sum())
    return (
        f"{len(directions)} comparisons: {', '.join(some)}; {n_left} differences are "
        "left after correction for their number"
    )


def _warnings(run: FoveationRun) -> list[str]:
    """Say what limits the reading of this run."""
    found = []
    if run.last == 0:
        found.append("Networks are untrained: they were tested before any training.")
    n_runs = int(run.accuracy["n_runs"].max())
    if n_runs == 1:
        found.append(
            "One run per system: intervals are over pictures, and say nothing about "
            "other runs."
        )
    elif n_runs < _FEW_RUNS:
        found.append(f"Only {n_runs} runs per system: intervals over runs are wide.")
    own = run.own_accuracy()
    weak = own.loc[~(own["ci_low"] > own["chance"]), "system"].tolist()
    if weak:
        found.append(
            f"Not shown to be better than guessing: {', '.join(weak)}. Tests of a "
            "network that cannot do its task tell nothing about its first stage."
        )
    blurs = run.stages[run.stages["parameter"].isin(["sigma_px", "factor"])]
    given = blurs.loc[~blurs["matched"].astype(bool), "system"].tolist()
    if given:
        found.append(
            f"Not matched to the texture, its width was given: {', '.join(given)}."
        )
    return found


def _stages(run: FoveationRun) -> Part:
    figures: list[NamedFigure] = []
    if run.pictures is not None:
        shown = run.pictures.examples(3)
        grid = [
            [run.pictures.make(system, np.array([row]))[0] for system in run.systems]
            for row in shown
        ]
        titles = [f"{name}\n{PUBLISHED_NAMES[name]}" for name in run.systems]
        classes = [run.call["classes"][run.pictures.labels[row]] for row in shown]
        figure = plot_picture_grid(grid, columns=titles, rows=classes)
        alt = f"Test pictures of {len(shown)} classes as each first stage left them"
        caption = "What the networks see: test pictures after each first stage."
        figures.append(("first_stages", picture_figure(figure, alt, caption)))
    table = run.stages.set_index("system").loc[run.systems].reset_index()
    unit = {"sigma_px": "SD {} px", "factor": "SD {} radii of a window"}
    table["stage"] = [
        unit.get(str(name), "–").format(number_text(float(value), 3))
        for name, value in zip(table["parameter"], table["value"], strict=True)
    ]
    told = {True: "yes", False: "no, given"}
    table["matched"] = [
        told[bool(matched)] if name in unit else "–"
        for name, matched in zip(table["parameter"], table["matched"], strict=True)
    ]
    table["paper"] = [PUBLISHED_NAMES[name] for name in table["system"]]
    size_px = int(run.call["render_px"])
    tables = [
        ReportTable(
            table[
                ["system", "paper", "stage", "ssim", "ssim_sd", "n_images", "matched"]
            ],
            caption=(
                f"First stages, at {size_px} px. SSIM to the unchanged picture: mean "
                "and standard deviation over training pictures, 1 = equal. Matched: "
                "one width for all pictures, at which the mean is that of the texture."
            ),
            headers={
                "system": "System",
                "paper": "In the paper",
                "stage": "Blur",
                "ssim": "SSIM",
                "ssim_sd": "SD",
                "n_images": "Pictures",
                "matched": "Matched",
            },
            formats={"ssim": ".3f", "ssim_sd": ".3f"},
        )
    ]
    items = [item for _, item in figures]
    return Section("First stages", figures=items, tables=tables), figures


def _training(run: FoveationRun) -> Part:
    if run.curves.empty:
        return None
    order = {name: i for i, name in enumerate(run.systems)}
    curves = run.curves.sort_values(
        "system", key=lambda names: names.map(order), kind="stable"
    )
    measures = {"loss": "Training loss (nats)", "val_accuracy": "Correct (share)"}
    titles = ["Training", "Validation pictures"]
    there = [name for name in measures if name in curves]
    chance = 1 / len(run.call["classes"])
    grid = axes_grid(len(there), 2, (4.4, 3.6))
    for axes, name, title in zip(grid, there, titles, strict=False):
        level = chance if name == "val_accuracy" else None
        plot_training_runs(
            curves, measure=name, label=measures[name], chance=level, title=title,
            ax=axes,
        )  # fmt: skip
    figure = figure_of(grid[0])
    dashes = {"guessing": Line2D([], [], color=GREY, ls=DASHED)}
    system_legend(figure, run.names, others=dashes)
    item = ReportFigure(
        figure,
        alt="Loss of the training and accuracy on validation pictures by epoch",
        caption="Learning: thin lines are runs, thick ones their means.",
        wide=True,
    )
    return Section("Training", figures=[item]), [("training", item)]


def _generalisation(run: FoveationRun) -> Part:
    cells = run.cells("generalisation")
    if cells.empty:
        return None
    tested = cells["condition"].isin(run.systems)
    cells = cells[tested]
    own = run.own_accuracy()
    majority = None
    if run.pictures is not None:
        labels = run.pictures.labels
        majority = float(np.bincount(labels).max() / len(labels))
    bars = ReportFigure(
        figure_of(plot_own_accuracy(own, majority=majority)),
        alt="Accuracy of each system on test pictures of its own kind",
        caption="Test pictures of the kind a system was trained on.",
    )
    matrix = ReportFigure(
        figure_of(plot_generalisation(cells)),
        alt="Accuracy of each system on test pictures of every kind",
        caption="Trained on rows, tested on columns. Framed: same kind (i.i.d.); the "
        "others show how far a system generalises to input it was not trained on.",
    )
    figures = [("own_accuracy", bars), ("generalisation", matrix)]
    rows = []
    for row in own.to_dict("records"):
        rows.append({"system": row["system"], "top1": _accuracy_text(row)})
        for wide in run.own_accuracy(k=5).to_dict("records"):
            if wide["system"] == row["system"]:
                rows[-1]["top5"] = _accuracy_text(wide)
        rows[-1] |= {"chance": row["chance"], "sd": row["sd_runs_published"]}
        rows[-1] |= {"n_images": row["n_images"], "n_runs": row["n_runs"]}
    table = pd.DataFrame(rows)
    headers = {"system": "System", "top1": "Correct", "top5": "Among five guesses",
               "chance": "Guessing", "sd": "SD over runs", "n_images": "Pictures",
               "n_runs": "Runs"}  # fmt: skip
    told = ReportTable(
        table,
        caption="Own test pictures: share correct with its interval; the SD has "
        "divisor n, as published.",
        headers={k: text for k, text in headers.items() if k in table},
        formats={"chance": ".3f", "sd": ".3f"},
    )
    section = Section("Generalisation", figures=[bars, matrix], tables=[told])
    return section, figures


def _directions(run: FoveationRun) -> Part:
    table = run.directions
    if table is None or table.empty:
        return None
    figures: list[NamedFigure] = []
    bias = table["measure"] == "cross-over"
    for name, rows, label in (
        ("accuracy", table[~bias], "Difference of shares correct, first minus second"),
        ("cross_over", table[bias], "Difference of cross-overs, first minus second"),
    ):
        if rows.empty:
            continue
        axes = plot_directions(rows, equal_within=EQUAL_WITHIN, label=label)
        item = ReportFigure(
            figure_of(axes),
            alt=f"Differences of {name.replace('_', '-')} between systems",
            caption="Pale: where a published direction lies. Green dots hold, crosses "
            "are reversed or fail, open dots are undecided. Differences of losses are "
            "those of accuracies, filtered minus unfiltered."
            if name == "accuracy"
            else "Pale: where a published direction lies; below 0 the first system has "
            "the stronger central bias.",
            wide=True,
        )
        figures.append((f"directions_{name}", item))
    shown = table.rename(columns={"difference": "value"})
    told = table.assign(
        size=[value_text(row, 3) for row in shown.to_dict("records")],
        p=[p_text(float(p)) for p in table["p_value"]],
        q=[p_text(float(p)) for p in table["p_fdr"]],
        published=table["expected"].map(_EXPECTED),
    )
    columns = ["number", "claim", "published", "size", "p", "q", "verdict"]
    headers = ["", "What was published", "First is", "Difference", "p", "p (FDR)",
               "Here"]  # fmt: skip
    text = (
        f"{_verdicts(table)}. A direction holds, or is reversed, if the "
        "95 % interval of the difference lies on one side of 0; equality holds if the "
        f"interval lies within {EQUAL_WITHIN:g} of 0. Each comparison is judged alone; "
        "p (FDR) allows for their number.\n\n"
        "What this run cannot say: " + " ".join(run.provenance.notes)
    )
    listed = ReportTable(
        told[columns],
        caption="Published directions and differences here, first minus second system.",
        headers=dict(zip(columns, headers, strict=True)),
    )
    title = "Which published directions hold here"
    items = [figure for _, figure in figures]
    return Section(title, text, items, [listed]), figures
