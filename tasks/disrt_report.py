"""The report of an oddity experiment: example trials, accuracies, directions."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.disrt import CHOSEN
from analysis.plots_directions import plot_directions
from analysis.plots_disrt import (
    plot_oddity_layers,
    plot_oddity_strength,
    plot_oddity_trials,
    shares_text,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Score
from tasks.directions import direction_lines
from tasks.disrt import TASK
from tasks.disrt_pictures import DISTORTIONS, disrt_pictures, distort
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import SCORE_FILES, load_scores

_QUESTION = """\
A picture stands beside two versions of it that keep its parts and lose its structure: \
patches of a grid exchanged, exchanged and blended at the seams, or taken from nearby; \
or a texture with its local statistics. Who goes by the whole names the intact picture \
as the odd one. Who goes by parts cannot.

In control trials the intact picture comes twice, once a little brighter or darker, \
and a distorted version is odd: whoever always names what is intact fails there. The \
picture whose features are least similar to those of the others is the answer."""
_SOURCES = """\
Li et al. (2025), From local cues to global percepts; no code was found, and the paper \
shows other pictures. No people are in this report. Textures: Portilla & Simoncelli \
(2000), doi:10.1023/A:1026553619983."""


def write_disrt_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of `tasks.disrt.run_disrt`.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its pictures are gone.
    """
    root = Path(folder)
    score = _load(root)
    directions = read_table(root / "directions.parquet")
    check_writable_folder(root)
    call = score.provenance.call
    chosen = _chosen(score.table)
    layers = {
        str(row["model"]): str(row["chosen_layer"]).split(" / ")[0]
        for row in chosen.to_dict("records")
    }
    figures = [_examples(score)]
    figures += [
        (f"strength_{name}", _strength_figure(score.table, name, layers))
        for name in call["distortions"]
        if len(DISTORTIONS[name]) > 1
    ]
    figures += [
        ("layers", _layer_figure(score.table)),
        ("directions", _direction_figure(directions)),
    ]
    save_figures(root, figures)
    shown = [figure for _, figure in figures]
    return write_report(
        root / "report.html",
        title="Oddity with distorted pictures",
        summary=(
            f"{len(chosen)} models, {call['n_pictures']} pictures of "
            f"{call['size_px']} px, {', '.join(call['distortions'])}; seed "
            f"{score.provenance.seed}. Chance is 1/3."
        ),
        warnings=score.provenance.notes,
        sections=[
            Section("The question", _QUESTION, figures=shown[:1]),
            Section(
                "Strength of the distortion",
                "The layer of each model is one that was chosen on one half of the "
                "pictures. Dotted: chance; broken: the threshold of 2/3. Below chance "
                "the two versions differ more from each other than from the intact "
                "picture.",
                figures=shown[1:-2],
                tables=[_threshold_table(score.table, layers)],
            ),
            Section(
                "Layers", figures=shown[-2:-1], tables=[_accuracy_table(score.table)]
            ),
            Section(
                "Directions",
                "What was published, as the sign of a number. Networks without "
                "training and pixels stand beside as baselines.",
                figures=shown[-1:],
                tables=[_direction_table(directions)],
            ),
            Section("Sources", _SOURCES),
        ],
        provenance=score.provenance.to_dict(),
    )


def finish_disrt(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        A title, accuracies of the models, directions, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_disrt_report(folder)
    score = _load(Path(folder))
    lines = ["intact picture found among distorted ones (chance 33 %)"]
    for _, row in _chosen(score.table).iterrows():
        lines.append(f"  {_label(row)}: {shares_text(row)}")
    directions = direction_lines(read_table(Path(folder) / "directions.parquet"))
    return [*lines, *(f"  {line}" for line in directions), f"report {report}"]


def _load(folder: Path) -> Score:
    needed = ("trials.parquet", "directions.parquet", *SCORE_FILES)
    return load_scores(folder, needed, TASK)


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["layer"] == CHOSEN) & (table["metric"] == "accuracy")]


def _examples(score: Score) -> NamedFigure:
    """One trial of each distortion, at its middle strength."""
    call = score.provenance.call
    ids, pictures = disrt_pictures(
        call["images"],
        n=call["n_pictures"],
        size_px=call["size_px"],
        seed=call["seed"],
    )
    rows = []
    for name in call["distortions"]:
        strength = DISTORTIONS[name][len(DISTORTIONS[name]) // 2]
        made = [
            distort(
                pictures[0],
                name,
                strength,
                key=f"{ids[0]} {version}",
                steps=call["texture_steps"],
                seed=call["seed"],
            )
            for version in (1, 2)
        ]
        label = name if len(DISTORTIONS[name]) == 1 else f"{name} {strength:g}"
        rows.append((label, [pictures[0], *made]))
    figure = figure_of(plot_oddity_trials(rows))
    return "trials", ReportFigure(
        figure,
        alt="An intact picture and two distorted versions, for each distortion",
        caption="The intact picture and two versions, one oddity trial per row.",
        image_format="png",
    )


def _strength_figure(
    table: pd.DataFrame, distortion: str, layers: dict[str, str]
) -> ReportFigure:
    grid = axes_grid(1, 1, (4.6, 3.0 + 0.25 * len(layers)))
    axes = plot_oddity_strength(table, distortion=distortion, layers=layers, ax=grid[0])
    words = distortion.replace("_", " ")
    return ReportFigure(
        figure_of(axes),
        alt=f"Share correct against the strength of {words}",
        caption=f"{words.capitalize()}: oddity trials with 95 % intervals.",
    )


def _layer_figure(table: pd.DataFrame) -> ReportFigure:
    return ReportFigure(
        figure_of(plot_oddity_layers(table)),
        alt="Share correct of every layer, oddity and control trials",
        caption="Every layer: mean over conditions that show all pictures.",
        wide=True,
    )


def _direction_figure(directions: pd.DataFrame) -> ReportFigure:
    told = directions.assign(claim=directions["model"] + ": " + directions["claim"])
    axes = plot_directions(told, label="Difference in share correct")
    return ReportFigure(
        figure_of(axes),
        alt="Differences in share correct beside published directions",
        caption="Pale areas are what was published; open marks are undecided.",
        wide=True,
    )


def _threshold_table(table: pd.DataFrame, layers: dict[str, str]) -> ReportTable:
    part = table[(table["metric"] == "threshold_strength") & table["top_k"].isna()]
    rows = []
    for model, own in part.groupby("model", sort=False):
        row = {"model": _label(own.iloc[0]), "layer": layers[str(model)]}
        for _, each in own[own["layer"] == layers[str(model)]].iterrows():
            text = value_text(each, 2)
            if each["censored"]:
                text = {"above": "not reached"}.get(each["censored"], f"≤ {text}")
            row[str(each["distortion"]).replace("_", " ")] = text
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption="Strength at which two of three trials are correct, with 95 % "
        "intervals; smaller: less of the structure has to be lost.",
        headers={"model": "Model", "layer": "Layer"},
    )


def _accuracy_table(table: pd.DataFrame) -> ReportTable:
    part = table[(table["metric"] == "accuracy") & (table["condition"] == "all")]
    rows = []
    for keys, own in part.groupby(
        ["model", "layer", "top_k"], sort=False, dropna=False
    ):
        told: Any = keys
        _, layer, share = told
        kinds = own.set_index("kind")
        rows.append(
            {
                "model": _label(own.iloc[0]),
                "layer": f"{layer} ({own.iloc[0]['chosen_layer']})"
                if layer == CHOSEN
                else layer,
                "active": "all" if pd.isna(share) else f"{100 * share:g} %",
                **{
                    str(kind): shares_text(kinds.iloc[place])
                    for place, kind in enumerate(kinds.index)
                },
            }
        )
    return ReportTable(
        pd.DataFrame(rows),
        caption="Share correct, mean over conditions that show all pictures.",
        headers={
            **{"model": "Model", "layer": "Layer", "active": "Active units"},
            **{"oddity": "Oddity", "control": "Control"},
        },
    )


def _direction_table(directions: pd.DataFrame) -> ReportTable:
    columns = ["model", "claim", "people", "verdict", "source"]
    headers = {name: name.capitalize() for name in columns}
    return ReportTable(
        directions[columns],
        caption="What was published and what the models do.",
        headers={**headers, "people": "Published"},
    )


def _label(row: pd.Series) -> str:
    name = str(row["model"])
    return f"{name} (untrained)" if row["untrained"] and name != "untrained" else name
