"""Parts of the report of a comparison of foveated systems: tables, and its tests."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.cue_conflict import conflict_curves
from analysis.plot_style import GREY, HUMAN_COLOUR, TEXT_PT, number_text
from analysis.plots_cue_conflict import (
    plot_conflict_curves,
    plot_cross_overs,
    plot_picture_grid,
)
from analysis.plots_foveation import (
    DASHED,
    DOTTED,
    plot_confusion,
    plot_system_curves,
    system_legend,
)
from analysis.report import ReportFigure, ReportTable, Section
from neurovis.foveation.windows import IMAGE_DEG
from stimuli.occluders import KINDS
from tasks.foveation_examples import (
    SHOWN_FREQUENCIES,
    conflict_examples,
    frequency_examples,
    occlusion_examples,
)
from tasks.foveation_scores import CONFLICTS, PLOTTED_OCCLUSION, as_conflicts
from tasks.foveation_systems import PUBLISHED_NAMES
from tasks.foveation_tables import FoveationRun
from tasks.report_parts import NamedFigure, axes_grid, figure_of, value_text

_FAMILIES = ("low-pass", "high-pass", "low-pass, grey", "high-pass, grey")
_OCCLUDERS = {
    "scotoma": "centre hidden",
    "glaucoma": "surround hidden",
    "left2right": "hidden from the left",
    "top2bottom": "hidden from above",
}


Part = tuple[Section, list[NamedFigure]] | None
"""A section of the report with its figures; None where there is nothing to tell."""


def conflict_words(experiment: str) -> str:
    """Return what borders the centre in a cue conflict.

    Parameters
    ----------
    experiment : str
        Its name.

    Returns
    -------
    str
        "windows" or "squares".
    """
    return "windows" if experiment.startswith("window") else "squares"


def picture_figure(figure: Figure, alt: str, caption: str) -> ReportFigure:
    """Return a figure that consists of pictures.

    Parameters
    ----------
    figure : Figure
        The figure.
    alt, caption : str
        Words that it needs.

    Returns
    -------
    ReportFigure
        As wide as the page, in pixels.
    """
    return ReportFigure(figure, alt=alt, caption=caption, wide=True, image_format="png")


def frequencies_part(run: FoveationRun) -> Part:
    """Return how accuracy depends on spatial frequencies.

    Parameters
    ----------
    run : FoveationRun
        A finished run.

    Returns
    -------
    tuple of Section and list of tuple, or None
        Section and its figures; None without this test.
    """
    cells = run.cells("spatial-frequency")
    if cells.empty:
        return None
    figures: list[NamedFigure] = []
    if run.pictures is not None:
        row = run.pictures.examples(3)[-1:]
        shown = frequency_examples(run.pictures.make(run.systems[0], row)[0])
        figure = plot_picture_grid(
            list(shown.values()),
            rows=list(shown),
            columns=[f"level {level}" for level in SHOWN_FREQUENCIES],
            side_in=2.0,
        )
        alt = "One picture after low-pass and high-pass filters of growing strength"
        caption = "One test picture after filters of both families, mild to strong."
        figures.append(("frequency_examples", picture_figure(figure, alt, caption)))
    families = [name for name in _FAMILIES if (cells["condition"] == name).any()]
    grid = axes_grid(len(families), 2, (4.8, 3.3))
    top = _top(cells)
    finest = int(run.call["size_px"]) / 2
    for axes, family in zip(grid, families, strict=True):
        low = family.startswith("low")
        plot_system_curves(
            cells[cells["condition"] == family],
            x="value",
            x_label=f"{'Passes below' if low else 'Passes above'} (cycles per picture)",
            logarithmic=True,
            unchanged="right" if low else "left",
            top=top,
            title=family,
            ax=axes,
        )
        start, stop = axes.get_xlim()
        if not low and finest < stop:
            axes.axvspan(finest, stop, color="#F0F0F0", lw=0, zorder=0)
            axes.set_xlim(start, stop)
    system_legend(figure_of(grid[0]), run.names, others=_guessing())
    note = ""
    if finest < cells["value"].max():
        note = " Grey: finer than the pixels, where a filter leaves little."
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Accuracy of all systems against the cut-off of low-pass and high-pass",
        caption="Accuracy against the frequency at which the filter passes half; "
        f"open marks: not filtered. {_degrees(run)}{note}",
        wide=True,
    )
    figures.append(("spatial_frequency", item))
    items = [item for _, item in figures]
    return Section("Spatial frequencies", figures=items), figures


def occlusion_part(run: FoveationRun) -> Part:
    """Return how accuracy depends on what is hidden.

    Parameters
    ----------
    run : FoveationRun
        A finished run.

    Returns
    -------
    tuple of Section and list of tuple, or None
        Section and its figures; None without this test.
    """
    cells = run.cells("occlusion")
    if cells.empty:
        return None
    picture = None
    if run.pictures is not None:
        row = run.pictures.examples(3)[:1]
        picture = run.pictures.make(run.systems[0], row)[0]
    shown = occlusion_examples(picture)
    there = [kind for kind in KINDS if (cells["condition"] == kind).any()]
    figure = Figure(figsize=(2.85 * len(there), 4.6), layout="constrained")
    grid = figure.subplots(2, len(there), height_ratios=[1, 2.5], squeeze=False)
    top = _top(cells)
    plotted = cells.loc[cells["level"].isin(PLOTTED_OCCLUSION), "value"]
    for column, kind in enumerate(there):
        above, axes = grid[:, column]
        above.imshow(shown[kind])
        above.set_xticks([])
        above.set_yticks([])
        above.set_title(_OCCLUDERS[kind], fontsize=TEXT_PT + 1)
        rows = cells[cells["condition"] == kind].assign(
            hidden=lambda table: 100 * table["value"]
        )
        plot_system_curves(
            rows, x="hidden", x_label="Hidden (% of the picture)", top=top, ax=axes
        )
        axes.set_xlim(-2, 102)
        axes.axvspan(
            100 * plotted.min(), 100 * plotted.max(), color="#EEF3F7", lw=0, zorder=0
        )
        if column:
            axes.set_ylabel("")
    pale = {"compared below": Patch(color="#E3ECF3")} if len(plotted) else {}
    system_legend(figure, run.names, others={**_guessing(), **pale})
    item = ReportFigure(
        figure,
        alt="Accuracy of all systems against the hidden share, for four occluders",
        caption="Accuracy against the hidden share of the picture; examples hide a "
        "quarter. Pale: the levels that the paper shows, whose mean is compared.",
        wide=True,
        image_format="png",
    )
    return Section("Occlusion", figures=[item]), [("occlusion", item)]


def conflict_part(run: FoveationRun, experiment: str) -> Part:
    """Return whether centre or surround decides, in one cue conflict.

    Parameters
    ----------
    run : FoveationRun
        A finished run.
    experiment : {"window-conflict", "square-conflict"}
        Which one.

    Returns
    -------
    tuple of Section and list of tuple, or None
        Section and its figures; None without this test.
    """
    bias = run.bias_of(experiment)
    if bias.empty:
        return None
    words = conflict_words(experiment)
    figures: list[NamedFigure] = []
    if run.pictures is not None:
        row = int(run.pictures.examples(3)[0])
        shown = conflict_examples(
            run.pictures, run.systems[0], experiment, run.call, row
        )
        figure = plot_picture_grid(
            [[picture for _, picture in shown]],
            columns=[f"{number_text(100 * weight, 1)} %" for weight, _ in shown],
            side_in=1.25,
        )
        alt = f"One pair of pictures at growing sizes of the centre, {words}"
        caption = "Pictures of two classes, from nothing but surround to nothing but "
        caption += "centre; numbers are the weight of the centre."
        item = picture_figure(figure, alt, caption)
        figures.append((f"{experiment}_examples", item))
    curves = conflict_curves(as_conflicts(run.answers(experiment)))
    shown_systems = [name for name in run.systems if name in set(bias["system"])]
    grid = axes_grid(len(shown_systems), 4, (2.9, 3.1))
    highest = float(curves[["peripheral", "foveal"]].to_numpy().max())
    chance = 1 / len(run.call["classes"])
    for axes, system in zip(grid, shown_systems, strict=True):
        plot_conflict_curves(
            curves[curves["system"] == system],
            bias=bias[bias["system"] == system].iloc[0],
            chance=chance,
            top=min(1.0, 1.06 * max(highest, chance)),
            ax=axes,
        )
        name = f"{system}\n{PUBLISHED_NAMES[system]}"
        axes.set_title(name, loc="left", fontsize=TEXT_PT)
        if system != shown_systems[0]:
            axes.set_ylabel("")
    figure = figure_of(grid[0])
    lines = {
        "class of the centre": Line2D([], [], color=GREY, lw=2),
        "class of the surround": Line2D([], [], color=GREY, lw=2, ls=DASHED),
        "cross-over, 95 %": Line2D(
            [], [], color=HUMAN_COLOUR, lw=1.6, marker="D", mec="white", ms=7
        ),
        "guessing": Line2D([], [], color=GREY, lw=1.1, ls=DOTTED),
    }
    figure.legend(list(lines.values()), list(lines), loc="outside lower center",
                  ncols=4, frameon=False, fontsize=TEXT_PT)  # fmt: skip
    item = ReportFigure(
        figure,
        alt=f"Answers for centre and surround against the size of the centre, {words}",
        caption="How often a system names the class of the centre or that of the "
        "surround; thin lines are runs. The cross-over is where the centre begins to "
        "win.",
        wide=True,
    )
    figures.append((f"{experiment}_curves", item))
    forest = ReportFigure(
        figure_of(plot_cross_overs(bias)),
        alt=f"Cross-over of each system with its interval, {words}",
        caption="Cross-overs: the smaller, the more the centre weighs; "
        "an interval is told if at least 95 % of the resamples have a cross-over.",
    )
    figures.append((f"{experiment}_cross_overs", forest))
    table = bias.assign(
        size=[
            value_text({**row, "value": row["cross_over"]}, 3)
            for row in bias.to_dict("records")
        ]
    )
    columns = {
        "system": "System",
        "size": "Cross-over",
        "share_undefined": "Resamples without",
        "foveal_mean": "Mean for the centre",
        "peripheral_mean": "Mean for the surround",
    }
    told = ReportTable(
        table[list(columns)],
        caption="Cross-overs, and mean shares of answers over all sizes of the centre.",
        headers=columns,
        formats={"share_undefined": ".2f", "foveal_mean": ".3f",
                 "peripheral_mean": ".3f"},
    )  # fmt: skip
    items = [item for _, item in figures]
    title = f"Cue conflict: {words}"
    return Section(title, figures=items, tables=[told]), figures


def epochs_part(run: FoveationRun) -> Part:
    """Return how accuracy and central bias change with training.

    Parameters
    ----------
    run : FoveationRun
        A finished run.

    Returns
    -------
    tuple of Section and list of tuple, or None
        Section and its figures; None if only one epoch was tested.
    """
    tables = {
        "own test pictures": (run.own_accuracy(final=False), "accuracy"),
        **{
            f"cross-over, {conflict_words(name)}": (
                run.bias_of(name, final=False),
                "cross_over",
            )
            for name in CONFLICTS
        },
    }
    there = {
        title: (table, measure)
        for title, (table, measure) in tables.items()
        if len(set(table["epoch"])) > 1
    }
    if not there:
        return None
    grid = axes_grid(len(there), 3, (3.9, 3.4))
    labels = {"accuracy": "Correct (share)", "cross_over": "Cross-over (share)"}
    for axes, (title, (table, measure)) in zip(grid, there.items(), strict=True):
        top = _top(table) if measure == "accuracy" else 1.0
        plot_system_curves(
            table,
            x="epoch",
            x_label="Epochs of training",
            measure=measure,
            label=labels[measure],
            top=top,
            title=title,
            ax=axes,
        )
    system_legend(figure_of(grid[0]), run.names, others=_guessing())
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Accuracy and cross-over of all systems against epochs of training",
        caption="The tests during training. A cross-over is missing where the centre "
        "never begins to win.",
        wide=True,
    )
    return Section("During training", figures=[item]), [("epochs", item)]


def confusions_part(run: FoveationRun) -> Part:
    """Return which classes are taken for which.

    Parameters
    ----------
    run : FoveationRun
        A finished run.

    Returns
    -------
    tuple of Section and list of tuple, or None
        Section and its figures; None without test of generalisation.
    """
    table = run.confusion
    if table is None:
        return None
    own = table[(table["condition"] == table["system"]) & (table["epoch"] == run.last)]
    n = len(run.call["classes"])
    side = 2.0 + 0.17 * n if n > 10 else 1.6 + 0.34 * n
    there = [name for name in run.systems if (own["system"] == name).any()]
    if not there:
        return None
    grid = axes_grid(len(there), 2, (max(side, 3.4), max(side, 3.2)))
    top = float(own["share"].max()) or 1.0
    for axes, system in zip(grid, there, strict=True):
        rows = own[own["system"] == system]
        plot_confusion(rows, top=top, title=run.names[system], ax=axes)
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Confusion matrix of each system on its own test pictures",
        caption="Share of the pictures of each class (rows) by answer (columns), all "
        f"runs together; the darkest is {number_text(100 * top, 0)} %.",
        wide=True,
    )
    return Section("Confusions", figures=[item]), [("confusions", item)]


def _guessing() -> dict[str, Any]:
    return {"guessing": Line2D([], [], color=GREY, lw=1.1, ls=DASHED)}


def _top(cells: pd.DataFrame) -> float:
    """Return where ordinates end: bands of few runs may reach further."""
    highest = float(np.nanmax(cells["accuracy"].to_numpy(np.float64)))
    chance = float(cells["chance"].iloc[0])
    band = float(np.nanmedian(cells["ci_high"].fillna(0).to_numpy(np.float64)))
    usual = max(highest, chance)
    return min(1.0, 1.1 * max(usual, min(band, 1.5 * usual)))


def _degrees(run: FoveationRun) -> str:
    scale = run.call["texture"]["px_per_deg"]
    wide = IMAGE_DEG if scale is None else int(run.call["render_px"]) / float(scale)
    return f"A picture is {wide:g} degrees wide: divide for cycles per degree."
