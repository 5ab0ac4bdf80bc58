"""The report of a recognition run: shape bias, error consistency, accuracy, ranks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plot_style import Look, number_text
from analysis.plots_directions import plot_directions
from analysis.plots_recognition import (
    plot_condition_curves,
    plot_confusion,
    plot_consistency_by_experiment,
    plot_kappa_matrix,
    plot_shape_bias_by_category,
    recognition_looks,
)
from analysis.report import ReportFigure, Section, write_report
from analysis.sixteen_classes import CATEGORIES
from data_loaders.model_vs_human import EXPERIMENTS
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import HUMAN_MODEL
from tasks.recognition_models import CUE_CONFLICT
from tasks.recognition_parts import ALL, PEOPLE
from tasks.recognition_report_tables import (
    agreement_table,
    bias_table,
    direction_tables,
    group_rows,
    rank_tables,
)
from tasks.recognition_scores import TASK
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import Run, load_run

_QUESTION = """\
People and networks name the same pictures with one of 16 categories. Do networks fail \
where people fail, and do they go by shape or by texture?

Error consistency is Cohen's kappa of being right: 0 if two observers err \
independently, whatever their accuracies, 1 if they err on the same pictures. Shape \
bias is the share of decisions for the shape among decisions for the shape or the \
texture of pictures in which the two belong to different categories.

Whoever answered to a part of the pictures is compared on this part, and so are people \
with each other."""
_SOURCES = """\
People and published networks: Geirhos et al. (2018, NeurIPS), Geirhos et al. (2019, \
ICLR), Geirhos et al. (2021, NeurIPS), as gathered in model-vs-human. Error \
consistency: Geirhos, Meding and Wichmann (2020, NeurIPS). Probabilities of the 1000 \
classes of a network are combined within each category, and the largest one is the \
response."""
_BENCHMARK = """\
Averaged over the conditions that count (undistorted ones, and those of which people \
recognise less than a fifth, are left out), then over people, then over experiments. \
Intervals are over pictures. Ranks are over accuracy difference, observed consistency \
and error consistency; baselines and people have none. A copy of a person agrees with \
the others as people do, and once with itself."""


def write_recognition_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.recognition.run_recognition`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    run = load_run(folder, TASK)
    check_writable_folder(run.folder)
    names = ("observers", "benchmark", "shape_bias", "pairs", "confusion", "directions")
    tables = {name: read_table(run.folder / f"{name}.parquet") for name in names}
    observers = tables["observers"]
    looks = recognition_looks(observers.replace({"model": {PEOPLE: HUMAN_MODEL}}))
    bias = _bias_figures(tables["shape_bias"], looks)
    agreement = _agreement_figures(run, tables["pairs"], looks)
    curves = _curve_figures(run, looks)
    confusion = _confusion_figures(tables["confusion"], observers, looks)
    verdicts = _direction_figures(tables["directions"])
    save_figures(run.folder, [*bias, *agreement, *curves, *confusion, *verdicts])
    people = run.trials[run.trials["is_human"]]
    n_others = int((~observers["kind"].isin(("people", "baseline"))).sum())
    return write_report(
        run.folder / "report.html",
        title="Recognition: networks beside people",
        summary=(
            f"{len(people)} trials of people in {people['experiment'].nunique()} "
            f"experiments, {n_others} networks; seed {run.provenance.seed}."
            + (" Simulated." if observers["simulated"].any() else "")
        ),
        warnings=run.provenance.notes,
        sections=[
            Section("The question", _QUESTION),
            Section(
                "Shape or texture",
                figures=[item for _, item in bias],
                tables=[bias_table(run, looks)] if bias else [],
            ),
            Section(
                "Do they err on the same pictures?",
                figures=[item for _, item in agreement],
                tables=[agreement_table(run, looks)],
            ),
            Section(
                "Nearness to people",
                _BENCHMARK,
                tables=rank_tables(tables["benchmark"], looks),
            ),
            Section("Distortions", figures=[item for _, item in curves]),
            Section("What is taken for what", figures=[item for _, item in confusion]),
            Section(
                "What was published, and holds here",
                "Differences with 95 % intervals over pictures. A claim holds if the "
                "interval lies on its side of 0.",
                figures=[item for _, item in verdicts],
                tables=direction_tables(tables["directions"]),
            ),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_recognition(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Shape biases, error consistencies, directions, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_recognition_report(folder)
    run = load_run(folder, TASK)
    lines = ["recognition: networks beside people (95 % over pictures)"]
    rows = group_rows(run.scores)
    for metric, title in (
        ("shape_bias", "shape bias"),
        ("error_consistency", "error consistency with people (kappa)"),
    ):
        part = rows[(rows["metric"] == metric) & (rows["kind"] != "baseline")]
        # Experiments of people alone stand in the report.
        size = part.groupby(["stimuli", "part"])["model"].transform("size")
        part = part[size > 1]
        for row in part.to_dict("records"):
            who = "people" if row["model"] == HUMAN_MODEL else run.mark(row["model"])
            lines.append(f"  {title}, {row['stimuli']}: {who} {value_text(row, 3)}")
    benchmark = read_table(run.folder / "benchmark.parquet")
    whole = benchmark[benchmark["model"] == PEOPLE].iloc[0]
    lines.append(
        f"  people with each other, mean of {whole['scope']}: "
        f"{number_text(whole['error_consistency'], 3)}"
    )
    directions = read_table(run.folder / "directions.parquet")
    counts = directions["verdict"].value_counts()
    told = ", ".join(f"{counts[name]} {name}" for name in counts.index)
    lines.append(f"  published directions: {told or 'none to compare'}")
    return [*lines, f"report {report}"]


# ------------------------------------------------------------------------- figures


def _bias_figures(bias: pd.DataFrame, looks: Mapping[str, Look]) -> list[NamedFigure]:
    figures = []
    for number, (part, rows) in enumerate(bias.groupby("part", sort=False), 1):
        rows = rows.replace({"model": {PEOPLE: HUMAN_MODEL}})
        told = "all pictures" if part == ALL else f"{part} pictures"
        axes = plot_shape_bias_by_category(rows, looks, title=told)
        item = ReportFigure(
            figure_of(axes),
            alt=f"Shape bias by category of the shape, {told}",
            caption=f"Cue conflicts, {told}: decisions for the shape by category. "
            "Upright lines are means over categories. People pooled.",
        )
        figures.append((f"shape_bias_{number}", item))
    return figures


def _agreement_figures(
    run: Run, pairs: pd.DataFrame, looks: Mapping[str, Look]
) -> list[NamedFigure]:
    rows = group_rows(run.scores)
    rows = rows[(rows["metric"] == "error_consistency") & rows["model"].isin(looks)]
    titles = rows["stimuli"].tolist()
    rows = rows.assign(title=titles)
    with_networks = rows.groupby("title")["model"].transform("size") > 1
    order = pd.concat([rows[with_networks], rows[~with_networks]])
    axes = plot_consistency_by_experiment(order, looks)
    figures = [
        (
            "error_consistency",
            ReportFigure(
                figure_of(axes),
                alt="Error consistency with people in each experiment",
                caption="Mean kappa with people; people: with each other, the grey "
                "band is their 95 % interval over pictures. Light grey lines: 95 % of "
                "what independent errors give (the widest of the row).",
                wide=True,
            ),
        )
    ]
    conflicts = pairs[pairs["experiment"] == CUE_CONFLICT]
    for number, (part, own) in enumerate(conflicts.groupby("part", sort=False), 1):
        kept = own[own["first"].isin(_shown(own, looks))]
        kept = kept[kept["second"].isin(_shown(own, looks))]
        names, kappa, n_people = _matrix(kept, looks)
        if len(names) < 3:
            continue
        labels = [looks[name].label if name in looks else name for name in names]
        told = "all pictures" if part == ALL else f"{part} pictures"
        axes = plot_kappa_matrix(labels, kappa, n_people=n_people, title=told)
        item = ReportFigure(
            figure_of(axes),
            alt=f"Error consistency of every pair of observers, cue conflicts, {told}",
            caption=f"Cue conflicts, {told}: error consistency of every pair, people "
            "above and left of the white lines.",
        )
        figures.append((f"kappa_matrix_{number}", item))
    return figures


def _shown(pairs: pd.DataFrame, looks: Mapping[str, Look]) -> list[str]:
    names = pd.unique(pd.concat([pairs["first"], pairs["second"]]))
    return [n for n in names if n in looks or n.startswith("subject-")]


def _matrix(
    pairs: pd.DataFrame, looks: Mapping[str, Look]
) -> tuple[list[str], NDArray[np.float64], int]:
    names = _shown(pairs, looks)
    people = sorted(n for n in names if n not in looks)
    others = [n for n in looks if n in names]
    order = [*people, *others]
    place = {name: i for i, name in enumerate(order)}
    kappa = np.full((len(order), len(order)), np.nan)
    for row in pairs.to_dict("records"):
        i, j = place[row["first"]], place[row["second"]]
        kappa[i, j] = kappa[j, i] = row["kappa"]
    return order, kappa, len(people)


def _curve_figures(run: Run, looks: Mapping[str, Look]) -> list[NamedFigure]:
    scores = run.scores[run.scores["part"] == ALL]
    names = [n for n in EXPERIMENTS if len(EXPERIMENTS[n].conditions) > 1]
    names = [n for n in names if (scores["stimuli"] == n).any()]
    figures = []
    for metric, label, chance, name in (
        ("accuracy", "Accuracy", 1 / len(CATEGORIES), "accuracy_curves"),
        ("error_consistency", "Error consistency", 0.0, "consistency_curves"),
    ):
        if not names:
            continue
        grid = axes_grid(len(names), 4, (2.9, 2.6))
        for axes, experiment in zip(grid, names, strict=True):
            own = scores[
                (scores["stimuli"] == experiment) & (scores["metric"] == metric)
            ]
            known = EXPERIMENTS[experiment]
            plot_condition_curves(
                own,
                looks,
                conditions=known.conditions,
                excluded=known.excluded,
                chance=chance,
                label=label,
                title=experiment,
                ax=axes,
            )
            axes.set_ylim(*((0, 1) if metric == "accuracy" else (-0.15, 1)))
        item = ReportFigure(
            figure_of(grid[0]),
            alt=f"{label} against conditions of {len(names)} experiments",
            caption=f"{label} in each condition (black diamonds: people"
            + (" pooled" if metric == "accuracy" else ", mean over pairs")
            + "; other marks: networks whose decisions are at hand). Conditions in "
            "grey are left out of means; dotted: chance.",
            wide=True,
        )
        figures.append((name, item))
    return figures


def _confusion_figures(
    confusion: pd.DataFrame, observers: pd.DataFrame, looks: Mapping[str, Look]
) -> list[NamedFigure]:
    """Cue conflicts: people and the first networks, on the same pictures."""
    own = confusion[confusion["experiment"] == CUE_CONFLICT]
    if own.empty:
        return []
    kinds = observers.set_index("model")["kind"]
    ran = [n for n in observers["model"] if kinds[n] in ("network", "decisions")]
    others = [n for n in observers["model"] if kinds[n] in ("published", "simulated")]
    sizes = own.groupby("part", sort=False)["model"].agg(set)
    wanted = (ran or others)[:3]
    part = next((p for p in reversed(sizes.index) if {*wanted[:1]} <= sizes[p]), ALL)
    names = [PEOPLE, *(n for n in wanted if n in sizes[part])]
    grid = axes_grid(len(names), 4, (3.5, 4.7))
    for axes, name in zip(grid, names, strict=True):
        rows = own[(own["part"] == part) & (own["model"] == name)]
        square = rows.pivot_table(index="response", columns="truth", values="percent")
        order = [n for n in ("na", *CATEGORIES) if n in square.index]
        label = PEOPLE if name == PEOPLE else looks[name].label
        plot_confusion(
            square.loc[order], axis_labels=axes is grid[0], title=label, ax=axes
        )
    told = "all pictures" if part == ALL else f"{part} pictures"
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"Responses by category of the shape, cue conflicts, {told}",
        caption=f"Cue conflicts, {told}: responses (rows) to each shape (columns), "
        "white 0 to black 100 %.",
        wide=True,
    )
    return [("confusion", item)]


def _direction_figures(directions: pd.DataFrame) -> list[NamedFigure]:
    if directions.empty:
        return []
    # One row per claim and network is a long table; drawn are the extremes.
    rows = []
    for _, own in directions.groupby("claim", sort=False):
        signed = (own["difference"] * own["expected"]).to_numpy(np.float64)
        worst = own.iloc[int(np.argmin(signed))]
        name = str(worst["model"]).partition("@")[0]
        rows.append(worst.to_dict() | {"claim": f"{worst['claim']} ({name})"})
    axes = plot_directions(pd.DataFrame(rows), label="Difference", equal_within=0.02)
    item = ReportFigure(
        figure_of(axes),
        alt="Differences beside published directions, the weakest case of each",
        caption="For each claim the network for which it holds least; pale: the side "
        "that was published.",
        wide=True,
    )
    return [("directions", item)]
