"""The report of a search-asymmetry run: figures, tables, provenance."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots import (
    plot_asymmetry_indices,
    plot_mean_asymmetry,
    plot_rt_by_set_size,
    plot_search_display,
    plot_slope_scatter,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from data_loaders.search_humans import load_published_asymmetry
from neurovis.core.files import check_writable_folder
from tasks.report_parts import figure_of, save_figures, value_text
from tasks.runs import Run
from tasks.search_asymmetry import load_search_run, make_run_stimuli

# Observers whose scanpaths are drawn: more make a report nobody scrolls.
MAX_SHOWN = 2
# Observers in one figure of reaction times.
MAX_LINES = 6
_QUESTION = """\
Some targets are found at once among many distractors, others only slowly, and \
swapping target and distractor can change which: people find a tilted line among \
upright ones faster than the reverse. Does a model show the same asymmetries?

Every observer below searched the same displays. A saccade costs a fixed time, so \
that fixations become reaction times; the slope of reaction time against set size \
tells how hard the search is; the asymmetry index of an experiment compares the two \
slopes and is positive when the order is that of people."""
_REFERENCES = """\
Model, displays, people and published values: Gupta, Zhang, Wu, Wolfe & Kreiman \
(2021), NeurIPS, arXiv:2106.02953. Reaction times of people are means read from \
published figures and regressions, without single trials: no noise ceiling of theirs \
can be computed. The people's own index is shown as reference instead."""


def write_search_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.search_asymmetry.run_search_asymmetry`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    folder = Path(folder)
    run = load_search_run(folder)
    check_writable_folder(folder)
    published = load_published_asymmetry()
    displays = _display_figures(run)
    experiments = sorted(int(e) for e in run.scores["experiment"].dropna().unique())
    groups = _groups(run)
    times = [
        _time_figure(run, experiment, number, models)
        for number, models in enumerate(groups, 1)
        for experiment in experiments
    ]
    asymmetry = _asymmetry_figures(run, published)
    slopes = _slope_figures(run)
    save_figures(folder, [*displays, *times, *asymmetry, *slopes])
    sections = [
        Section("The question", _QUESTION),
        Section(
            "Displays and where models looked",
            "The first trial of each condition at its middle set size. Fixation 0 is "
            "given; the green box is the area in which a landing counts as found.",
            figures=[item for _, item in displays],
        ),
        Section("Reaction times", figures=[item for _, item in times]),
        Section(
            "Asymmetry",
            figures=[item for _, item in asymmetry],
            tables=[_summary_table(run)],
        ),
        Section(
            "Search slopes",
            figures=[item for _, item in slopes],
            tables=[_slope_table(run)],
        ),
        Section("Sources", _REFERENCES),
    ]
    call = run.provenance.call
    n_trials = run.trials.groupby(["model", "condition", "set_size"]).size()
    summary = (
        f"{run.trials['model'].nunique()} observers, "
        f"{run.trials['condition'].nunique()} conditions, "
        f"{_span(n_trials.min(), n_trials.max())} trials per observer, condition "
        f"and set size; seed {call['seed']}, rendering {call['rendering']!r}."
    )
    return write_report(
        folder / "report.html",
        title="Search asymmetry: models and people",
        summary=summary,
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_search_run(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Mean asymmetry indices (untrained models marked), and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_search_report(folder)
    run = load_search_run(folder)
    lines = ["mean asymmetry index (95 % interval over trials; above 0: as people)"]
    rows = run.scores[run.scores["metric"] == "mean_asymmetry_index"]
    for row in rows.to_dict("records"):
        model = row["model"] if row["model"] == "human" else run.mark(row["model"])
        interval = ""
        if not np.isnan(row["ci_low"]):
            interval = f"  [{row['ci_low']:6.3f}, {row['ci_high']:6.3f}]"
        lines.append(f"  {model:<28}{row['value']:7.3f}{interval}")
    return [*lines, f"report {report}"]


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _display_figures(run: Run) -> list[tuple[str, ReportFigure]]:
    """One sheet of displays with fixations for each of the first observers."""
    stimuli = make_run_stimuli(run.provenance.call)
    chosen = []
    for _, rows in stimuli.table.groupby("condition", sort=False):
        sizes = sorted(rows["set_size"].unique())
        middle = rows[rows["set_size"] == sizes[len(sizes) // 2]]
        chosen.append(int(middle.index[0]))
    models = _networks_first(run)[:MAX_SHOWN]
    figures = []
    for number, model in enumerate(models, 1):
        n_columns = min(4, len(chosen))
        n_rows = -(-len(chosen) // n_columns)
        figure = Figure(figsize=(3.2 * n_columns, 3.7 * n_rows), layout="constrained")
        grid = np.atleast_1d(figure.subplots(n_rows, n_columns)).ravel()
        for axes, index in zip(grid, chosen, strict=False):
            row = stimuli.table.iloc[index]
            is_path = run.fixations["subject"] == model
            is_path &= run.fixations["stimulus_id"] == row["stimulus_id"]
            plot_search_display(
                stimuli.load(index),
                run.fixations[is_path],
                target_box=row[[f"area_{e}_px" for e in _EDGES]].to_numpy(float),
                px_per_deg=float(row["px_per_deg"]),
                title=f"{row['experiment']}. {row['label']}, n={row['set_size']}",
                ax=axes,
            )
        for axes in grid[len(chosen) :]:
            axes.set_axis_off()
        name = run.mark(model)
        item = ReportFigure(
            figure,
            alt=f"Displays of {len(chosen)} conditions with the fixations of {name}",
            caption=f"Scanpaths of {name}.",
            wide=True,
        )
        figures.append((f"displays_{number}", item))
    return figures


_EDGES = ("left", "top", "right", "bottom")


def _networks_first(run: Run) -> list[str]:
    names = list(run.trials["model"].unique())
    kinds = {
        spec["label"] or spec["name"]: spec for spec in run.provenance.call["models"]
    }
    baselines = {"chance", "pixel-match", "saliency"}
    return sorted(names, key=lambda n: kinds.get(n, {}).get("name") in baselines)


def _groups(run: Run) -> list[list[str]]:
    """Split many observers into figures that can be read."""
    names = list(run.trials["model"].unique())
    n_groups = -(-len(names) // MAX_LINES)
    size = -(-len(names) // n_groups)
    return [names[i : i + size] for i in range(0, len(names), size)]


def _time_figure(
    run: Run, experiment: int, number: int, models: list[str]
) -> tuple[str, ReportFigure]:
    scores = run.scores[run.scores["model"].isin(["human", *models])]
    axes = plot_rt_by_set_size(scores, experiment=experiment)
    is_here = run.scores["experiment"] == experiment
    name = run.scores.loc[is_here, "experiment_name"].iloc[0]
    item = ReportFigure(
        figure_of(axes),
        alt=f"Reaction time against set size, experiment {experiment}, {name}: "
        f"{', '.join(models)} and people",
        caption=f"Experiment {experiment}: {name}. {', '.join(models)}, and people. "
        "Bars are 95 % intervals over trials.",
    )
    return f"rt_experiment_{experiment}_{number}", item


def _asymmetry_figures(
    run: Run, published: pd.DataFrame
) -> list[tuple[str, ReportFigure]]:
    mean = plot_mean_asymmetry(run.scores, published=published)
    single = plot_asymmetry_indices(run.scores, published=published)
    return [
        (
            "asymmetry_mean",
            ReportFigure(
                figure_of(mean),
                alt="Mean asymmetry index of observers, people and published models",
                caption="Mean asymmetry index over experiments; bars are 95 % "
                "bootstrap intervals over trials. Published values: Gupta et al. 2021.",
            ),
        ),
        (
            "asymmetry_experiments",
            ReportFigure(
                figure_of(single),
                alt="Asymmetry index of each experiment, observers beside people",
                caption="Asymmetry index of each experiment. Where neither slope is "
                "above 0 the index is undefined and nothing is drawn.",
                wide=True,
            ),
        ),
    ]


def _slope_figures(run: Run) -> list[tuple[str, ReportFigure]]:
    figures = []
    for number, model in enumerate(run.trials["model"].unique(), 1):
        axes = plot_slope_scatter(run.scores, subject=model)
        item = ReportFigure(
            figure_of(axes),
            alt=f"Search slopes of {run.mark(model)} against those of people",
            caption=f"Slopes of {run.mark(model)} against people's; lines join the "
            "two conditions of an experiment.",
        )
        figures.append((f"slopes_{number}", item))
    return figures


def _summary_table(run: Run) -> ReportTable:
    metrics = {
        "mean_asymmetry_index": "Mean asymmetry index",
        "slope_pearson_r": "Slopes: r with people",
        "rt_pearson_r": "RTs: r with people",
        "rt_rmse_ms": "RTs: RMSE (ms)",
    }
    rows: list[dict[str, Any]] = []
    for model in ["human", *run.trials["model"].unique()]:
        part = run.scores[run.scores["model"] == model].set_index("metric")
        row: dict[str, Any] = {"observer": model}
        if model != "human":
            trials = run.trials[run.trials["model"] == model]
            row["observer"] = run.mark(model)
            row["found"] = float(trials["found"].mean())
            row["n"] = len(trials)
        for metric, name in metrics.items():
            if metric in part.index:
                row[name] = value_text(part.loc[metric], _digits(metric))
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption="Summary, with 95 % intervals. Ceiling: none can be computed, as the "
        "published data of people are means.",
        headers={"observer": "Observer", "found": "Targets found", "n": "Trials"},
        formats={"found": ".3f"},
    )


def _digits(metric: str) -> int:
    return 0 if metric.endswith("_ms") else 2


def _slope_table(run: Run) -> ReportTable:
    part = run.scores[run.scores["metric"] == "slope_ms_per_item"]
    part = part.assign(
        observer=[m if m == "human" else run.mark(m) for m in part["model"]],
        text=[value_text(row, 0) for _, row in part.iterrows()],
        target=part["experiment_name"] + ": " + part["label"],
    )
    wide = part.pivot_table(
        index="target", columns="observer", values="text", aggfunc="first", sort=False
    )
    return ReportTable(
        wide.reset_index(),
        caption="Search slopes in ms per item, with 95 % intervals.",
        headers={"target": "Experiment: target"},
    )
