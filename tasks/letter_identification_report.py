"""The report of a letter-identification run: crowding, Navon figures, directions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.plots_directions import plot_directions
from analysis.plots_letters import plot_crowding, plot_letter_layers, plot_navon
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Score
from stimuli.crowding import make_crowded_letters
from stimuli.navon import make_navon
from tasks.directions import direction_lines
from tasks.encoding_layers import file_name
from tasks.letter_identification import TASK
from tasks.letter_scores import CHANCE_MODEL
from tasks.letter_sets import NAVON_LETTERS
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import SCORE_FILES, load_scores

_NEEDED = (*SCORE_FILES, "trials.parquet", "directions.parquet")
_QUESTION = """\
A linear readout learns single letters from the embeddings of a model: ten Sloan \
letters of one size, or four letters, large and small. It is then shown letters with \
flankers, and large letters made of small ones, and names what it was trained to \
name. It was not trained to leave out what stands beside, so that what it loses tells \
how far flankers reach into what the layer says about the target.

Penalty and layer were chosen by cross-validation on the training pictures. Chance, \
the pictures themselves and untrained networks stand beside."""
_CROWDING = """\
The critical spacing is where accuracy is half-way between chance and that of single \
letters. People, recalled: 0.2 to 0.5 of the eccentricity, depending on the \
criterion; about twice as large along the radius as across it; an outer flanker hurts \
more than an inner one. A model without a fovea has no eccentricity: its critical \
spacing is one in the picture."""
_NAVON = """\
Precedence is the accuracy with the large letter minus that with the small ones, in \
incongruent figures; interference is congruent minus incongruent accuracy. People, \
recalled: the large letter is named 50 to 100 ms faster and slows naming of the small \
ones when it is another one, with hardly any effect the other way round. Accuracies \
stand for times here."""
_DIRECTIONS = """\
Differences of accuracies beside what people do, for the layer of each model that was \
chosen on training pictures. A verdict needs an interval (other pictures of the same \
kinds) that leaves out 0."""
_SOURCES = """\
Bouma (1970), Nature 226:177-178. Pelli, Palomares & Majaj (2004), J. Vision \
4(12):12. Kurzawski et al. (2023), J. Vision 23(8):6. Navon (1977), Cogn. Psychol. \
9:353-383. Results of people are recalled from these papers, not taken from data."""


def write_letter_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.letter_identification.run_letter_identification`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    DataCorruptError
        If one of its files is damaged.
    """
    folder = Path(folder)
    score = load_scores(folder, _NEEDED, TASK)
    check_writable_folder(folder)
    table, call = score.table, score.provenance.call
    directions = read_table(folder / "directions.parquet")
    every: list[NamedFigure] = []
    sections = [Section("The question", _QUESTION)]
    for test, text in (("crowding", _CROWDING), ("navon", _NAVON)):
        if test not in call["tests"]:
            continue
        figures = [_pictures(test, score), *_curves(test, table)]
        every += figures
        sections.append(
            Section(
                "Crowding" if test == "crowding" else "Navon figures",
                text,
                figures=[item for _, item in figures],
                tables=[_table(test, table)],
            )
        )
    figure = _direction_figure(directions)
    every.append(figure)
    sections += [
        Section("Beside what people do", _DIRECTIONS, figures=[figure[1]]),
        Section("Sources", _SOURCES),
    ]
    save_figures(folder, every)
    n_models = table.loc[table["model"] != CHANCE_MODEL, "model"].nunique()
    return write_report(
        folder / "report.html",
        title="Letter identification: crowding and Navon figures",
        summary=(
            f"{n_models} models; {call['n_train']} training pictures per letter, "
            f"{call['n_test']} test pictures per letter and condition; seed "
            f"{score.provenance.seed}."
        ),
        warnings=score.provenance.notes,
        sections=sections,
        provenance=score.provenance.to_dict(),
    )


def finish_letter_identification(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        A title, critical spacings and precedence of the chosen layers, directions, and
        the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_letter_report(folder)
    table = Score.load(folder).table
    lines = ["letter identification, layers chosen on training pictures"]
    chosen = table[table["chosen"].astype(bool)]
    for metric, condition, words in (
        ("critical_spacing_deg", "radial", "critical spacing, radial (deg)"),
        ("precedence", "", "precedence of the large letter"),
    ):
        rows = chosen[(chosen["metric"] == metric) & (chosen["condition"] == condition)]
        for row in rows.to_dict("records"):
            name = _marked(row["model"], row["untrained"])
            lines.append(f"  {name}, {row['layer']}: {words} {_text(row)}")
    directions = read_table(Path(folder) / "directions.parquet")
    lines += [f"  {line}" for line in direction_lines(directions)]
    return [*lines, f"report {report}"]


def _marked(model: str, untrained: bool) -> str:
    """Return the name of a model, with a word when its weights are random."""
    return f"{model} (untrained)" if untrained and "untrained" not in model else model


def _text(row: Mapping[Any, Any], digits: int = 2) -> str:
    """Tell a value; one outside the tested spacings in words."""
    words = {"below": "below all tested", "above": "above all tested"}
    return words.get(str(row["side"])) or value_text(row, digits)


def _pictures(test: str, score: Score) -> NamedFigure:
    """Show one picture of each kind."""
    call = score.provenance.call
    if test == "crowding":
        spacing = call["spacings_deg"][len(call["spacings_deg"]) // 2]
        reach = max(call["spacings_deg"]) + call["height_deg"]
        if call["view"] == "fixation":
            reach += call["eccentricity_deg"]
        stimuli = make_crowded_letters(
            "HCDKN",
            arrangements=["none", *call["arrangements"]],
            spacings_deg=[spacing],
            eccentricities_deg=[call["eccentricity_deg"]],
            heights_deg=[call["height_deg"]],
            view=call["view"],
            size_deg=2 * reach,
            px_per_deg=call["px_per_deg"],
        )
        rows = stimuli.table.index[stimuli.table["target"] == "H"]
        titles = (
            stimuli.table.loc[rows, "arrangement"].replace("none", "single").tolist()
        )
        caption = f"The letter H alone, and with flankers {spacing:g} degrees away."
    else:
        stimuli = make_navon(
            NAVON_LETTERS[:2], neutral=True, px_per_deg=call["px_per_deg"]
        )
        table = stimuli.table.drop_duplicates("condition")
        rows, titles = table.index, table["condition"].str.replace("_", " ").tolist()
        caption = "Navon figures; a square is neutral."
    grid = axes_grid(len(rows), 5, (2.3, 2.5))
    for axes, index, title in zip(grid, rows, titles, strict=True):
        axes.imshow(stimuli.load(int(index)), interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    item = ReportFigure(
        figure_of(grid[0]), alt=caption, caption=caption, wide=True, image_format="png"
    )
    return f"{test}_pictures", item


def _curves(test: str, table: pd.DataFrame) -> list[NamedFigure]:
    """Draw all models, and the layers beside each other."""
    mine = table[(table["test"] == test) & (table["model"] != CHANCE_MODEL)]
    draw = plot_crowding if test == "crowding" else plot_navon
    figures = []
    for model in mine["model"].unique():
        axes = draw(table, model=str(model))
        words = "with flankers" if test == "crowding" else "with Navon figures"
        item = ReportFigure(
            figure_of(axes),
            alt=f"Accuracy of {model} {words}",
            caption=f"Accuracy of {model} {words}, with 95 % intervals.",
        )
        figures.append((f"{test}_{file_name(str(model))}", item))
    for metric, condition, label in (
        ("critical_spacing_deg", "radial", "Critical spacing, radial (degrees)"),
        ("precedence", "", "Accuracy, large minus small letters"),
    ):
        wanted = (mine["metric"] == metric) & (mine["condition"] == condition)
        if not wanted.any():
            continue
        axes = plot_letter_layers(mine, metric=metric, condition=condition, label=label)
        item = ReportFigure(
            figure_of(axes),
            alt=f"{label} of all layers",
            caption=f"{label} of all layers; filled: chosen on training pictures.",
        )
        figures.append((metric, item))
    return figures


def _table(test: str, table: pd.DataFrame) -> ReportTable:
    mine = table[(table["test"] == test) & (table["model"] != CHANCE_MODEL)]
    if test == "crowding":
        keys = {("accuracy", "single"): "Single letters"}
        keys |= {
            ("critical_spacing_deg", str(a)): f"Critical spacing, {a} (deg)"
            for a in mine["arrangement"].dropna().unique()
        }
    else:
        keys = {
            ("accuracy", "single, global"): "Large alone",
            ("accuracy", "single, local"): "Small alone",
            ("precedence", ""): "Precedence",
            ("interference_global", ""): "Interference, large",
            ("interference_local", ""): "Interference, small",
        }
    rows = []
    for (model, layer), part in mine.groupby(["model", "layer"], sort=False):
        first = part.iloc[0]
        row = {
            "model": _marked(str(model), first["untrained"]),
            "layer": f"{layer}{' *' if first['chosen'] else ''}",
        }
        for (metric, condition), name in keys.items():
            own = part[(part["metric"] == metric) & (part["condition"] == condition)]
            row[name] = _text(own.iloc[0].to_dict()) if len(own) else "–"
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption="All layers, with 95 % intervals; * chosen on training pictures.",
        headers={"model": "Model", "layer": "Layer"},
    )


def _direction_figure(directions: pd.DataFrame) -> NamedFigure:
    names = [
        _marked(model, untrained)
        for model, untrained in zip(
            directions["model"], directions["untrained"], strict=True
        )
    ]
    told = directions.assign(claim=pd.Series(names) + ": " + directions["claim"])
    axes = plot_directions(told, label="Difference of accuracies")
    item = ReportFigure(
        figure_of(axes),
        alt="Differences of accuracies beside what people do",
        caption="Differences of accuracies with 95 % intervals; the pale side is that "
        "of people (recalled).",
        wide=True,
    )
    return "directions", item
