"""The report of an object-search run: curves, tables, scanpaths, provenance."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.plot_style import PALE
from analysis.plots_gaze import plot_curves, plot_scanpaths, plot_scores
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.object_displays import Display
from neurovis.core.object_scanpaths import KNOWLEDGE
from neurovis.core.types import HUMAN_MODEL
from tasks.object_models import MODELS
from tasks.object_search import load_object_run
from tasks.object_search_data import load_object_search
from tasks.object_search_scores import LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW
from tasks.report_parts import NamedFigure, axes_grid, figure_of, save_figures
from tasks.runs import Run

N_DISPLAYS, N_MODELS = 3, 3
# Heuristics whose scanpaths are worth a look, when no other models are there.
_SHOWN = ("human_nearest_target", "nearest_unvisited_oracle_stop", "saccade_markov")
_TOLD = {
    "none": "nothing of the target",
    "recognition": "whether the fixated object is the target",
    "position": "where the target is",
}
_QUESTION = """\
People looked for one book cover among 84. Which covers do they look at, in which \
order, and when do they stop? Each model learnt from some displays, made scanpaths on \
others, and each of these was compared with every human scanpath there.

All trials on a display stay together, in training or in test: observers share \
displays and targets. Standard errors come from resampling displays. People are \
compared with the other observers of the same display. The pictures of the displays \
are not part of the data: they are drawn here as empty grids, and no model has seen a \
cover unless its note says so."""
_READING = """\
SS is the longest common subsequence over the greater length; nFED the edit distance \
over the greater length; ScanMatch has threshold 3.5 cells and no durations; MM is the \
mean of the vector, direction, length and position of MultiMatch.

Read SS and ScanMatch together with the curves and the nats: MultiMatch is higher for \
reading row by row than for people, STDE and raw edit distances favour short \
scanpaths, and delta is small for human scanpaths from other displays. Compare a model \
only with those that know as much."""
_SOURCES = """\
Eye movements: Sattar, Müller, Fritz & Bulling (2015), CVPR. Boxes: Stauden, Barz & \
Sonntag (2018), KI. Licence of the data: CC BY-NC-SA 4.0. Behaviour and delta: Fang, \
Yu, Zhang, van der Lans & Shi (2024), ECCV. Sequence score and target fixation \
probability: Yang et al. (2020), CVPR. ScanMatch: Cristino et al. (2010). MultiMatch: \
Dewhurst et al. (2012)."""
_SCANPATHS = {
    "SS": ("SS", 3),
    "nFED": ("nFED (less is better)", 3),
    "ScanMatch": ("ScanMatch", 3),
    "MM_avg": ("MM", 3),
    "STDE": ("STDE", 3),
}
_SEARCH = {
    "delta": ("delta (less is better)", 3),
    "TFP_nAUC30": ("Mean of the curve to step 30", 3),
    "prob_mismatch30": ("Mismatch with people (less is better)", 2),
    "nats_per_token": ("Nats per token (less is better)", 3),
    "perplexity": ("Perplexity", 1),
}
_BEHAVIOUR = {
    "correct": ("Ends on target", 3),
    "length": ("Fixations", 2),
    "search": ("New object", 3),
    "refix": ("Same object", 3),
    "revisit": ("Seen before", 3),
}


def write_object_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.object_search.run_object_search`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its data are gone.
    """
    run = load_object_run(folder)
    check_writable_folder(run.folder)
    models = read_table(check_path("models.csv", run.folder / "models.csv"))
    curves = _curve_figures(run, models)
    bars = [
        _bar_figure(run, metric, name)
        for metric, name in (("SS", "Sequence score"), ("ScanMatch", "ScanMatch"))
    ]
    paths = _scanpath_figure(run, models)
    save_figures(run.folder, [*curves, *bars, paths])
    call = run.provenance.call
    people = run.trials[run.trials["model"] == LEAVE_ONE_OUT]
    return write_report(
        run.folder / "report.html",
        title="Search among objects: models and people",
        summary=(
            f"{len(call['models'])} models, {people['stimulus_id'].nunique()} "
            f"displays, {len(people)} trials of {people['subject'].nunique()} people; "
            f"left out in turn: {call['folds']}; {call['n_samples']} scanpaths per "
            "display; "
            f"seed {call['seed']}."
        ),
        warnings=[note for note in run.provenance.notes if not _is_baseline(note)],
        sections=[
            Section("The question", _QUESTION),
            Section(
                "Baselines",
                "\n\n".join(n for n in run.provenance.notes if _is_baseline(n)),
            ),
            Section(
                "How soon the target is fixated",
                "Share of scanpaths that have been on the target by each step. Models "
                "are told different things of the target: one figure for each.",
                figures=[item for _, item in curves],
            ),
            Section(
                "Agreement with people",
                _READING,
                figures=[item for _, item in bars],
                tables=[
                    _table(models, _SCANPATHS, "Scanpaths"),
                    _table(models, _SEARCH, "Search, and the surprise of tokens"),
                ],
            ),
            Section(
                "Behaviour",
                "Shares of fixations: on an object not seen before, again on the same "
                "object, on one seen before.",
                tables=[_table(models, _BEHAVIOUR, "Behaviour")],
            ),
            Section(
                "Scanpaths",
                "The first scanpath of each on displays spread over the set; the green "
                "box is the target. Models look at the centres of objects.",
                figures=[paths[1]],
            ),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_object_search(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Sequence score, ScanMatch, delta, mean of the curve and nats per token of
        each model, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its data are gone.
    """
    report = write_object_report(folder)
    models = read_table(Path(folder) / "models.csv")
    columns = {
        "SS": "SS",
        "ScanMatch": "ScanMatch",
        "delta": "delta",
        "TFP_nAUC30": "nAUC30",
        "nats_per_token": "nats",
    }
    lines = [f"{'':<32}{'knows':>13}" + "".join(f"{c:>11}" for c in columns.values())]
    for row in models.to_dict("records"):
        values = "".join(
            f"{'-' if pd.isna(row[c]) else format(row[c], '.3f'):>11}" for c in columns
        )
        lines.append(f"  {row['baseline']:<30}{row['knows']:>13}{values}")
    return [*lines, f"report {report}"]


def _is_baseline(note: str) -> bool:
    return note.split(":")[0] in MODELS


# --------------------------------------------------------------------- figures


def _curve_figures(run: Run, models: pd.DataFrame) -> list[NamedFigure]:
    """One figure for each kind of knowledge, people in all."""
    curves = read_table(check_path("curves.parquet", run.folder / "curves.parquet"))
    figures = []
    for knows in KNOWLEDGE:
        names = list(models.loc[models["knows"] == knows, "baseline"])
        part = curves[curves["model"].isin(names)]
        if part.empty:
            continue
        axes = plot_curves(
            pd.concat([part, curves[curves["model"] == HUMAN_MODEL]]),
            x="n",
            xlabel="Fixation",
            ylabel="Target fixated by then",
            labels={HUMAN_MODEL: "people"},
            title=f"Told {_TOLD[knows]}",
        )
        axes.set_ylim(0, 1.02)
        item = ReportFigure(
            figure_of(axes),
            alt=f"Target fixation probability of models told {_TOLD[knows]}",
            caption=f"Models that are told {_TOLD[knows]}, and people. Bands are 95 % "
            "intervals over displays.",
        )
        figures.append((f"curves_{knows}", item))
    return figures


def _bar_figure(run: Run, metric: str, name: str) -> NamedFigure:
    rows = run.scores[run.scores["metric"] == metric]
    rows = rows[rows["model"] != LEAVE_ONE_OUT_RAW]
    axes = plot_scores(
        rows.replace({"model": {LEAVE_ONE_OUT: HUMAN_MODEL}}),
        metric=metric,
        label=name,
        labels={HUMAN_MODEL: "people"},
    )
    item = ReportFigure(
        figure_of(axes),
        alt=f"{name} of models and people",
        caption=f"{name} with human scanpaths; bars are 95 % intervals over displays.",
    )
    return f"bars_{metric}", item


def _scanpath_figure(run: Run, models: pd.DataFrame) -> NamedFigure:
    """People and a few models, side by side on empty grids."""
    data = load_object_search(run.provenance.call["data"])
    displays = {t.display.stimulus_id: t.display for t in data.trials}
    step = max(len(displays) // N_DISPLAYS, 1)
    chosen = [displays[name] for name in sorted(displays)[::step][:N_DISPLAYS]]
    names = [HUMAN_MODEL, *_shown_models(run, models)]
    grid = axes_grid(len(chosen) * len(names), len(names), (4.3, 3.1))
    for place, axes in enumerate(grid):
        display, name = chosen[place // len(names)], names[place % len(names)]
        paths = run.fixations
        paths = paths[
            (paths["model"] == name) & (paths["stimulus_id"] == display.stimulus_id)
        ]
        first = paths[["subject", "trial", "split"]].iloc[0]
        path = paths[(paths[list(first.index)] == first).all(axis=1)]
        _draw(axes, display, name, path)
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"Scanpaths of people and {', '.join(names[1:])} on empty grids",
        caption="Empty grids: the pictures are not part of the data. Long scanpaths "
        "have no numbers.",
        wide=True,
    )
    return "scanpaths", item


def _shown_models(run: Run, models: pd.DataFrame) -> list[str]:
    """Models that are no baselines first."""
    there = set(run.fixations["model"])
    names = [name for name in models["baseline"] if name in there]
    own = [name for name in names if name not in MODELS]
    return [*own, *(name for name in _SHOWN if name in names)][:N_MODELS]


def _draw(axes: Axes, display: Display, name: str, path: pd.DataFrame) -> None:
    label = f"person {path['subject'].iloc[0]}" if name == HUMAN_MODEL else name
    plot_scanpaths(
        None,
        {name: path},
        width_px=display.width_px,
        height_px=display.height_px,
        target_box=display.boxes_px[display.target_cell],
        title=f"{display.stimulus_id}: {label}, {len(path)} fixations",
        ax=axes,
    )
    for left, top, right, bottom in display.boxes_px:
        gap_x, gap_y = 0.05 * (right - left), 0.05 * (bottom - top)
        corner = left + gap_x, top + gap_y
        size = right - left - 2 * gap_x, bottom - top - 2 * gap_y
        axes.add_patch(Rectangle(corner, *size, fc="white", ec=PALE, lw=0.6))


def _table(
    models: pd.DataFrame, columns: dict[str, tuple[str, int]], title: str
) -> ReportTable:
    """Values with standard errors, models in their order."""
    rows = []
    for row in models.to_dict("records"):
        if all(pd.isna(row[name]) for name in columns):
            continue
        texts = {
            header: _with_error(row[name], row[f"{name}_se"], digits)
            for name, (header, digits) in columns.items()
        }
        rows.append({"Model": row["baseline"], "Knows": row["knows"], **texts})
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"{title}: mean over human trials ± standard error over displays.",
    )


def _with_error(value: float, error: float, digits: int) -> str:
    if pd.isna(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text if pd.isna(error) else f"{text} ± {error:.{digits}f}"
