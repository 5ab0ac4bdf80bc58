"""The report of a search-slopes run: slopes, errors, distributions, provenance."""

from pathlib import Path

import pandas as pd

from analysis.plots import plot_search_display
from analysis.plots_slopes import (
    plot_error_rates,
    plot_rt_distribution,
    plot_rt_slopes,
)
from analysis.reaction_times import filter_rts
from analysis.report import ReportFigure, ReportTable, Section, write_report
from analysis.rt_fits import fit_exgaussian, fit_wald
from analysis.search_slopes import quit_searches
from neurovis.core.files import check_writable_folder
from stimuli.slope_arrays import make_slope_arrays
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import Run, load_run
from tasks.search_slopes import TASK, human_slope_trials

_QUESTION = """\
How much longer does a search take with each further item? People find a red bar among \
green ones at once; for a red upright bar among green upright and red lying ones, and \
for a 2 among 5s, each item costs time, about twice as much when there is no target.

Models visit items until they find the target; each fixation costs a fixed time. They \
recognise perfectly and cannot say "present" wrongly. Two rules end a search in vain. \
"Exhaustive": every item is inspected. "Matched misses": the search ends after so many \
fixations that the model misses as often as people do; the limit is fitted on one half \
of the displays and applied to the other."""
_SOURCES = """\
People: Wolfe, Palmer & Horowitz (2010), Vision Research 50:1304-1311, as published \
by Lin, Heinke & Humphreys (2015), Atten. Percept. Psychophys. 77:985-1010. Reaction \
times of correct answers within 200 to 10000 ms; error rates over all trials. \
Fixations to milliseconds: Gupta et al. (2021). Ex-Gaussian and shifted Wald \
densities are fitted by maximum likelihood."""


def write_slopes_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.search_slopes.run_search_slopes`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or the trials of people are gone.
    """
    run = load_run(folder, TASK)
    check_writable_folder(run.folder)
    people = human_slope_trials(run.provenance.call["data"])
    names = list(run.trials["task"].unique())
    rules = list(run.scores["rule"].dropna().unique())
    displays = _display_figure(run)
    slopes = [_slope_figure(run, task, rule) for rule in rules for task in names]
    errors = [_error_figure(run, task) for task in names if "matched_misses" in rules]
    times = [_time_figure(run, people, task, rules[-1]) for task in names]
    save_figures(run.folder, [displays, *slopes, *errors, *times])
    n_models = run.trials["model"].nunique()
    per_cell = run.trials.groupby(
        ["model", "task", "set_size", "target_present"]
    ).size()
    return write_report(
        run.folder / "report.html",
        title="Search slopes: models and people",
        summary=(
            f"{n_models} models, {per_cell.min()} displays per task, set size and "
            f"presence; {len(people)} trials of {people['subject'].nunique()} "
            f"observers; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[
            Section("The question", _QUESTION),
            Section("Displays", figures=[displays[1]]),
            Section(
                "Slopes",
                figures=[item for _, item in slopes],
                tables=[_slope_table(run), _agreement_table(run)],
            ),
            Section("Errors", figures=[item for _, item in errors]),
            Section(
                "Distributions of reaction times",
                "Correct answers with a target at the largest set size, all observers "
                "pooled, with densities fitted to them. The times of a model are few "
                "distinct values: the lines at the right axis.",
                figures=[item for _, item in times],
            ),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_slopes_run(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Slopes with and without a target, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_slopes_report(folder)
    run = load_run(folder, TASK)
    rows = run.scores[run.scores["metric"] == "slope_ms_per_item"]
    lines = ["slopes in ms per item (present / absent)"]
    for _, part in rows.groupby(["model", "rule"], sort=False, dropna=False):
        name = _observer(run, part.iloc[0])
        cells = part.set_index(["search_task", "target_present"])["value"]
        texts = [
            f"{task} {cells.get((task, True), float('nan')):.1f}/"
            f"{cells.get((task, False), float('nan')):.1f}"
            for task in part["search_task"].unique()
        ]
        lines.append(f"  {name:<36}{'  '.join(texts)}")
    return [*lines, f"report {report}"]


def _display_figure(run: Run) -> NamedFigure:
    """One display of each task with the path of the first model."""
    call = run.provenance.call
    stimuli = make_slope_arrays(call["tasks"], trials=call["trials"], seed=call["seed"])
    table = stimuli.table
    rows = []
    for _, part in table[table["target_present"]].groupby("task", sort=False):
        sizes = sorted(part["set_size"].unique())
        rows.append(int(part.index[part["set_size"] == sizes[-2]][0]))
    model = str(run.trials["model"].iloc[0])
    grid = axes_grid(len(rows), 3, (3.6, 4.0))
    for axes, index in zip(grid, rows, strict=True):
        row = table.iloc[index]
        mine = run.fixations["subject"] == model
        mine &= run.fixations["stimulus_id"] == row["stimulus_id"]
        plot_search_display(
            stimuli.load(index),
            run.fixations[mine],
            target_box=row[[f"area_{e}_px" for e in _EDGES]].to_numpy(float),
            px_per_deg=float(row["px_per_deg"]),
            title=f"{str(row['task']).replace('_', ' ')}, n={row['set_size']}",
            ax=axes,
        )
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"One display of each task with the fixations of {run.mark(model)}",
        caption=f"Displays with the fixations of {run.mark(model)}; the green box is "
        "the cell of the target.",
        wide=True,
        image_format="png",
    )
    return "displays", item


_EDGES = ("left", "top", "right", "bottom")


def _slope_figure(run: Run, task: str, rule: str) -> NamedFigure:
    axes = plot_rt_slopes(run.scores, task=task, rule=rule)
    words = task.replace("_", " ")
    item = ReportFigure(
        figure_of(axes),
        alt=f"Reaction time against set size, {words} search, rule {rule}",
        caption=f"{words.capitalize()} search, models under the rule {rule}.",
    )
    return f"slopes_{task}_{rule}", item


def _error_figure(run: Run, task: str) -> NamedFigure:
    axes = plot_error_rates(run.scores, task=task, rule="matched_misses")
    words = task.replace("_", " ")
    item = ReportFigure(
        figure_of(axes),
        alt=f"Error rates against set size, {words} search",
        caption=f"Errors, {words} search, models under the rule matched_misses.",
    )
    return f"errors_{task}", item


def _time_figure(run: Run, people: pd.DataFrame, task: str, rule: str) -> NamedFigure:
    size = run.trials["set_size"].max()
    kept = filter_rts(people).trials
    is_cell = (kept["task"] == task) & (kept["set_size"] == size)
    rt = kept.loc[is_cell & kept["target_present"], "rt_ms"].to_numpy(float)
    model = str(run.trials["model"].iloc[0])
    own = run.trials[run.trials["model"] == model]
    seed = run.provenance.seed or 0
    answered = quit_searches(own, people, rule=rule, seed=seed)
    is_cell = (answered["task"] == task) & (answered["set_size"] == size)
    right = is_cell & answered["target_present"] & (answered["error"] == 0)
    words = task.replace("_", " ")
    axes = plot_rt_distribution(
        rt,
        fits=(fit_exgaussian(rt), fit_wald(rt)),
        searcher_ms=answered.loc[right, "rt_ms"].to_numpy(float),
        searcher=run.mark(model),
        title=f"{words}, n={size}, target present",
    )
    item = ReportFigure(
        figure_of(axes),
        alt=f"Distribution of reaction times, {words} search, {size} items",
        caption=f"{words.capitalize()} search, {size} items: people, fits, and "
        f"{run.mark(model)}.",
    )
    return f"times_{task}", item


def _observer(run: Run, row: pd.Series) -> str:
    if row["model"] == "human":
        return "people"
    return f"{run.mark(str(row['model']))}, {row['rule']}"


def _slope_table(run: Run) -> ReportTable:
    part = run.scores[run.scores["metric"].isin(["slope_ms_per_item", "slope_ratio"])]
    part = part.assign(
        observer=[_observer(run, row) for _, row in part.iterrows()],
        text=[
            value_text(row, 2 if row["metric"] == "slope_ratio" else 1)
            for _, row in part.iterrows()
        ],
        what=part["condition"].str.replace("_", " ")
        + part["metric"].map({"slope_ratio": ": ratio"}).fillna(""),
    )
    wide = part.pivot_table(
        index="observer", columns="what", values="text", aggfunc="first", sort=False
    )
    return ReportTable(
        wide.reset_index(),
        caption="Slopes in ms per item and their ratio absent to present, with 95 % "
        "intervals.",
        headers={"observer": "Observer"},
    )


def _agreement_table(run: Run) -> ReportTable:
    metrics = {
        "rt_pearson_r": ("RTs: r with people", 2),
        "rt_rmse_ms": ("RTs: RMSE (ms)", 0),
        "slope_pearson_r": ("Slopes: r with people", 2),
    }
    part = run.scores[
        run.scores["metric"].isin(metrics) & (run.scores["condition"] == "all")
    ]
    rows = []
    for _, group in part.groupby(["model", "rule"], sort=False, dropna=False):
        row = {"observer": _observer(run, group.iloc[0])}
        for _, each in group.iterrows():
            name, digits = metrics[each["metric"]]
            row[name] = value_text(each, digits)
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption="Agreement over all cells with 95 % intervals. The row of people is "
        "the agreement of random halves of the observers: the ceiling.",
        headers={"observer": "Observer"},
    )
