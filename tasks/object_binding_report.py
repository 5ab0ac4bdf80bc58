"""The report of an object-binding run: probes, distance, rank, ablation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import TEXT_PT
from analysis.plots_object_binding import (
    plot_binding_ablation,
    plot_binding_distance,
    plot_binding_probes,
    plot_binding_rank,
    plot_binding_spectrum,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from neurovis.fitting.same_object import PROBES
from stimuli.object_scenes import draw_object_scene, make_object_scenes
from tasks.directions import direction_lines
from tasks.object_binding import BASELINE, TASK
from tasks.object_binding_probes import BASELINES, POINTWISE
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import Run, load_run

_QUESTION = """\
Does the token of a patch tell which other patches show the same object? A probe gets \
two tokens and answers "same" or "different"; the ground counts as one object. The \
linear probe adds up what each token says alone, so that it can tell objects from the \
ground but not one object from another; the quadratic ones compare tokens. Two more \
probes name each token alone, by its class or by a query that stands for an object, \
and call pairs with one name the same.

Regressions on the distance of the patches and on their mean colours see no network. \
Where mean colour does better than a network, the network's answers are no evidence \
for more than colour. "Twins" are two objects that look alike: to call their patches \
the same is to go by looks. The parts of a "cut" object are apart: to call their \
patches the same takes more than nearness."""
_ABLATION = """\
Eigenvectors of S with the largest eigenvalues span what the quadratic probe reads. \
They are taken out of the tokens of tested pictures, and as many random directions for \
comparison; probes are not fitted anew. As tokens are not centred, the first \
eigenvectors hold part of their mean, which all readouts lean on: where what lies in \
them is exchanged among the patches of a picture, the mean stays."""
_SOURCES = """\
Li, Salehi, Ungar & Kording (2025), arXiv:2510.24709; formulas as in the public code \
liyihao0302/vit-object-binding. Published results stand as directions, recalled."""


def write_object_binding_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.object_binding.run_object_binding`).

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
    run = load_run(folder, TASK)
    check_writable_folder(run.folder)
    spectrum = read_table(run.folder / "spectrum.parquet")
    directions = read_table(run.folder / "directions.parquet")
    call = run.provenance.call
    shown = [_scene_figure(run)] if call["data"] is None else []
    probes = [_probe_figure(run, "all"), _probe_figure(run, "objects")]
    distance = _distance_figure(run)
    rank = _rank_figures(run, spectrum)
    ablation = _ablation_figures(run)
    save_figures(run.folder, [*shown, *probes, distance, *rank, *ablation])
    tests = run.trials["stimulus_id"].nunique()
    return write_report(
        run.folder / "report.html",
        title="Object binding: which tokens belong together",
        summary=(
            f"{tests} tested pictures, {call['n_patches']} patches drawn from each; "
            f"seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[
            Section("The question", _QUESTION, figures=[item for _, item in shown]),
            Section(
                "Probes",
                figures=[item for _, item in probes],
                tables=[_probe_table(run), _case_table(run)],
            ),
            Section("By distance", figures=[distance[1]]),
            Section("Rank", figures=[item for _, item in rank]),
            Section("Ablation", _ABLATION, figures=[item for _, item in ablation]),
            Section("Beside published results", tables=[_direction_table(directions)]),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_object_binding(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Balanced accuracies, directions, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_object_binding_report(folder)
    run = load_run(folder, TASK)
    lines = ["same object or not: balanced accuracy of pairs (chance 0.50)"]
    rows = _whole(run.scores)
    rows = rows[
        (rows["metric"] == "balanced_accuracy")
        & (rows["condition"] == "all")
        & rows["probe"].isin([*PROBES, "distance", "colour"])
    ]
    for row in rows.to_dict("records"):
        name = f"{_name(row)}, {row['probe']}"
        lines.append(f"  {name:<44}{value_text(row, 2)}")
    table = read_table(run.folder / "directions.parquet")
    table = table.assign(model=table["model"] + " " + table["layer"])
    return [*lines, *direction_lines(table), f"report {report}"]


def _whole(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["rank"].isna() & scores["ablation"].isna()]


def _name(row: Mapping[Any, Any]) -> str:
    if row["model"] == BASELINE:
        return f"{BASELINE} {row['grid']}"
    told = row["untrained"] and "untrained" not in row["model"]
    return f"{row['model']} {row['layer']}" + (" (untrained)" if told else "")


def _scene_figure(run: Run) -> NamedFigure:
    call = run.provenance.call
    scenes = make_object_scenes(
        2, size_px=call["size_px"], seed=call["seed"], first=call["n_train"]
    )
    grid = axes_grid(2 * len(scenes), len(scenes), (1.35, 1.45))
    for number, (_, row) in enumerate(scenes.table.iterrows()):
        display = draw_object_scene(row)
        above, below = grid[number], grid[number + len(scenes)]
        above.imshow(np.clip(display.image, 0, 1))
        above.set_title(row["condition"], fontsize=TEXT_PT)
        labels = np.ma.masked_equal(display.geometry["labels"], 0)
        below.set_facecolor("#E4E4E4")
        below.imshow(labels, cmap="tab10", vmin=1, vmax=10, interpolation="nearest")
        above.set_axis_off()
        below.set_xticks([])
        below.set_yticks([])
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Scenes of overlapping objects, and the object of every pixel",
        caption="Scenes of the three conditions, and which object each pixel shows.",
        image_format="png",
        wide=True,
    )
    return "scenes", item


def _probe_figure(run: Run, condition: str) -> NamedFigure:
    words = "all pairs" if condition == "all" else "pairs of objects without the ground"
    axes = plot_binding_probes(run.scores, condition=condition)
    item = ReportFigure(
        figure_of(axes),
        alt=f"Balanced accuracy of probes by layer, {words}",
        caption=f"{words.capitalize()}, 95 % intervals over pictures. Grey lines: "
        "regressions that see no network.",
        wide=True,
    )
    return f"probes_{condition}", item


def _shown_layer(run: Run) -> tuple[str, str]:
    """Return the first network and the last of its layers."""
    quadratic = run.trials[run.trials["probe"] == "quadratic"]
    first = quadratic["model"].iloc[0]
    mine = quadratic[quadratic["model"] == first]
    return str(first), str(mine["layer"].iloc[-1])


def _distance_figure(run: Run) -> NamedFigure:
    model, layer = _shown_layer(run)
    axes = plot_binding_distance(run.scores, model=model, layer=layer)
    item = ReportFigure(
        figure_of(axes),
        alt="Share of pairs judged rightly by the distance of the patches",
        caption=f"{model} {layer}: pairs of different patches, in bins of two patches.",
    )
    return "distance", item


def _rank_figures(run: Run, spectrum: pd.DataFrame) -> list[NamedFigure]:
    kept = ReportFigure(
        figure_of(plot_binding_rank(run.scores)),
        alt="Balanced accuracy of the quadratic probe by its rank",
        caption="The quadratic probe with its largest eigenvalues only.",
    )
    values = ReportFigure(
        figure_of(plot_binding_spectrum(spectrum)),
        alt="Eigenvalues of the quadratic probes",
        caption="Eigenvalues of S. Negative ones speak for different objects. Fits "
        "start at random: small eigenvalues are what is left of the start.",
    )
    return [("rank", kept), ("spectrum", values)]


def _ablation_figures(run: Run) -> list[NamedFigure]:
    classes = ReportFigure(
        figure_of(plot_binding_ablation(run.scores)),
        alt="Share of patches whose class is named, after ablation",
        caption="Downstream: the class of a patch by a linear readout. Open marks, "
        "dashed: random directions.",
    )
    pairs = ReportFigure(
        figure_of(
            plot_binding_ablation(
                run.scores,
                metric="balanced_accuracy",
                label="Balanced accuracy of pairs",
            )
        ),
        alt="Balanced accuracy of the quadratic probe after ablation",
        caption="The quadratic probe itself, on the same tokens.",
    )
    return [("ablation_class", classes), ("ablation_pairs", pairs)]


def _probe_table(run: Run) -> ReportTable:
    metrics = {
        "accuracy": "Accuracy, with diagonal",
        "accuracy_off_diagonal": "without",
        "balanced_accuracy": "Balanced",
        "auc": "AUC",
        "balanced_accuracy_above_distance": "Balanced, above distance",
    }
    rows = _whole(run.scores)
    rows = rows[rows["metric"].isin(metrics) & (rows["condition"] == "all")]
    return _wide(rows, rows["metric"].map(metrics), "All pairs, 95 % intervals.")


def _case_table(run: Run) -> ReportTable:
    rows = _whole(run.scores)
    told = rows["metric"] == "called_same"
    others = (rows["metric"] == "balanced_accuracy") & ~rows[
        "condition"
    ].str.startswith("distance")
    rows = rows[told | others]
    called = rows["condition"] + ": called the same"
    names = rows["condition"].where(rows["metric"] != "called_same", called)
    return _wide(
        rows,
        names,
        "Balanced accuracy by pictures and pairs. Twins should not be called the same, "
        "parts of a cut object should.",
    )


def _wide(rows: pd.DataFrame, what: pd.Series, caption: str) -> ReportTable:
    lines: dict[str, dict[str, str]] = {}
    known = (*PROBES, *POINTWISE, *BASELINES)
    for row, name in zip(rows.to_dict("records"), what, strict=True):
        if row["probe"] in known:
            key = f"{_name(row)}, {row['probe']}"
            line = lines.setdefault(key, {"Probe": key})
            line[str(name)] = value_text(row, 2)
    return ReportTable(pd.DataFrame(lines.values()).fillna("–"), caption=caption)


def _direction_table(directions: pd.DataFrame) -> ReportTable:
    told = directions.rename(columns={"difference": "value"})
    table = pd.DataFrame(
        {
            "Layer": [_name(row) for row in told.to_dict("records")],
            "Claim": told["claim"],
            "Published": told["people"],
            "Difference": [value_text(row, 2) for row in told.to_dict("records")],
            "Verdict": told["verdict"],
        }
    )
    return ReportTable(
        table, caption="Differences of balanced accuracy, paired by picture."
    )
