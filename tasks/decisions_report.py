"""The report of decisions: people and models side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_decisions import (
    plot_decision_accuracy,
    plot_psychometric,
    plot_shared_errors,
    plot_times_and_costs,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import HUMAN_MODEL, Score
from tasks.decision_scores import ACCURACY, CHANCE, KAPPA, PEOPLE, TASK
from tasks.report_parts import NamedFigure, figure_of, save_figures, value_text
from tasks.runs import SCORE_FILES, load_scores

_NEEDED = (*SCORE_FILES, "trials.parquet", "pairs.parquet")
_CURVES = "psychometric.parquet"

_QUESTION = """\
People and models answer the same questions about the same pictures. How often is each \
right, in which conditions, on which pictures does it err, and how long does it take?

A model that learns its answers does so from other pictures than those that it is \
asked about: the pictures are cut into parts, and layer and penalty of its readout are \
chosen within the parts that it learns from. Its cost is the entropy of its \
probabilities; a model that picks the odd picture learns nothing, and its cost is 1 \
minus the margin."""
_ERRORS = """\
Two observers who are right equally often can err on the same pictures or on different \
ones. Error consistency (Cohen's kappa; Geirhos, Meding & Wichmann 2020) is 0 for \
independent errors and 1 for the same errors. The band is what people reach with each \
other on these pictures, which is the most that can be asked of a model."""
_LIMITS = """\
Limits hold 95 %: for one observer over other such trials (Wilson), for people on \
average over other people (bootstrap), for error consistency over other pictures, for \
thresholds by parametric bootstrap. Nothing was corrected for the number of \
comparisons."""


def write_decisions_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.decisions.run_decisions` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    path, score = _read(folder)
    check_writable_folder(path)
    scores = score.table
    trials = read_table(path / "trials.parquet")
    level = score.provenance.call.get("level") or "level"
    accuracy = _accuracy_figures(scores)
    errors = _error_figures(scores)
    curves = _curve_figures(path, str(level))
    times = _time_figures(scores, trials)
    save_figures(path, [*accuracy, *errors, *curves, *times])
    sections = [
        Section("The question", _QUESTION),
        Section(
            "Right answers",
            _LIMITS,
            figures=[item for _, item in accuracy],
            tables=[_accuracy_table(scores)],
        ),
    ]
    if errors:
        sections.append(
            Section("Errors on the same pictures", _ERRORS, [f for _, f in errors])
        )
    if curves:
        text = "Right answers as a function of the level (Weibull or logistic)."
        sections.append(
            Section("Thresholds", text, [f for _, f in curves], [_fits_table(scores)])
        )
    if times:
        text = "Medians of right answers of people, and mean costs of models."
        sections.append(Section("Time and cost", text, [f for _, f in times]))
    people = trials[trials["model"] == HUMAN_MODEL]
    n_models = trials.loc[trials["model"] != HUMAN_MODEL, "subject"].nunique()
    return write_report(
        path / "report.html",
        title="Decisions: people and models",
        summary=(
            f"{people['subject'].nunique()} people, {n_models} models, "
            f"{trials['stimulus_id'].nunique()} stimuli, {len(trials)} trials; seed "
            f"{score.provenance.seed}."
        ),
        warnings=score.provenance.notes,
        sections=sections,
        provenance=score.provenance.to_dict(),
    )


def finish_decisions(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Accuracy and error consistency of people and models, and the path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_decisions_report(folder)
    _, score = _read(folder)
    table = score.table[score.table["condition"] == "all"]
    simulated = bool(score.table["simulated"].any())
    lines = ["right answers, and error consistency with people (kappa)"]
    for subject in [PEOPLE, *_models(score.table), CHANCE]:
        own = table[table["subject"] == subject].set_index("metric")
        if ACCURACY not in own.index:
            continue
        text = value_text(own.loc[ACCURACY], 2)
        kappa = value_text(own.loc[KAPPA], 2) if KAPPA in own.index else ""
        untrained = bool(own["untrained"].any()) and "untrained" not in subject
        mark = " (untrained)" if untrained else ""
        mark = " (simulated)" if subject == PEOPLE and simulated else mark
        lines.append(f"  {subject + mark:<32}{text:<22}{kappa}".rstrip())
    return [*lines, f"report: {report}"]


def _read(folder: str | Path) -> tuple[Path, Score]:
    path = Path(check_path("folder", folder, kind="folder"))
    return path, load_scores(path, _NEEDED, TASK)


def _models(scores: pd.DataFrame) -> list[str]:
    rows = scores[(scores["model"] != HUMAN_MODEL) & (scores["subject"] != CHANCE)]
    return list(dict.fromkeys(rows["subject"]))


def _accuracy_figures(scores: pd.DataFrame) -> list[NamedFigure]:
    if not (scores["metric"] == ACCURACY).any():
        return []
    axes = plot_decision_accuracy(scores)
    item = ReportFigure(
        figure_of(axes),
        alt="Share of right answers of people and models, by condition",
        caption="Broken line: guessing.",
        wide=True,
    )
    return [("accuracy", item)]


def _error_figures(scores: pd.DataFrame) -> list[NamedFigure]:
    if not (scores["metric"] == KAPPA).any():
        return []
    item = ReportFigure(
        figure_of(plot_shared_errors(scores)),
        alt="Error consistency with people, of each model and each person",
        caption="Grey band: people with each other; broken line: independent errors.",
    )
    return [("error_consistency", item)]


def _curve_figures(path: Path, level: str) -> list[NamedFigure]:
    if not (path / _CURVES).is_file():
        return []
    axes = plot_psychometric(read_table(path / _CURVES), level=level.replace("_", " "))
    item = ReportFigure(
        figure_of(axes),
        alt="Psychometric functions of people and models",
        caption="Points: shares of right answers; no line where they do not rise.",
    )
    return [("psychometric", item)]


def _time_figures(scores: pd.DataFrame, trials: pd.DataFrame) -> list[NamedFigure]:
    rows = scores[scores["metric"] == "cost_rt_r"]
    right = trials[trials["correct"].isna() | (trials["correct"] == 1)]
    people = right[right["model"] == HUMAN_MODEL]
    medians = people.groupby("condition", sort=False)["rt_ms"].median()
    figures = []
    for number, row in enumerate(rows.to_dict("records")):
        own = trials[trials["subject"] == row["subject"]]
        costs = own.groupby("condition")["cost"].mean()
        table = pd.DataFrame({"rt_ms": medians, "cost": costs}).reset_index()
        r = number_text(row["value"], 2)
        item = ReportFigure(
            figure_of(plot_times_and_costs(table, cost=f"Cost of {row['subject']}")),
            alt=f"Cost of {row['subject']} against the time of people",
            caption=f"One point per condition; r = {r}.",
        )
        figures.append((f"cost_{number}", item))
    return figures


def _accuracy_table(scores: pd.DataFrame) -> ReportTable:
    rows = scores[(scores["metric"] == ACCURACY)]
    table = pd.DataFrame(
        {
            "observer": rows["subject"].to_numpy(),
            "kind": [_kind(row) for row in rows.to_dict("records")],
            "condition": rows["condition"].to_numpy(),
            "right": [value_text(row, 2) for row in rows.to_dict("records")],
            "n": rows["n"].to_numpy(),
        }
    )
    return ReportTable(
        table,
        "Share of right answers.",
        headers={"right": "Right answers", "n": "Trials (people: persons)"},
        formats={"n": ".0f"},
    )


def _fits_table(scores: pd.DataFrame) -> ReportTable:
    rows = scores[scores["metric"].isin(("threshold", "slope"))]
    table = pd.DataFrame(
        {
            "observer": rows["subject"].to_numpy(),
            "measure": rows["metric"].to_numpy(),
            "value": [value_text(row, 2) for row in rows.to_dict("records")],
        }
    )
    table = table.pivot_table(
        index="observer", columns="measure", values="value", aggfunc="first", sort=False
    ).reset_index()
    return ReportTable(table, "Thresholds and slopes.")


def _kind(row: Mapping[Any, Any]) -> str:
    if row["subject"] == CHANCE:
        return "guessing"
    if row["model"] == HUMAN_MODEL:
        return "simulated person" if row["simulated"] else "person"
    return "untrained model" if row["untrained"] else "model"
