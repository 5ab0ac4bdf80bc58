"""The report of an attentive-probing run: three readouts of the same tokens."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.plots_attentive_probing import plot_probe_accuracies, plot_probe_gains
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from tasks.attentive_probing import TASK
from tasks.directions import direction_lines
from tasks.report_parts import NamedFigure, figure_of, save_figures, value_text
from tasks.runs import Run, load_run

_QUESTION = """\
How much does the frozen output of a network tell of the class of a picture? A linear \
probe sees one vector: the mean of the tokens, or the class token. The efficient probe \
has queries that look at tokens, each for its own part of the channels, and a linear \
classifier after them. Neighbours vote by the cosine of the mean tokens, without a \
fit. The efficient probe has many more parameters: on small sets that is no \
advantage."""
_SOURCES = """\
Psomas et al. (2025), arXiv:2506.10178; forward pass as in the public code \
billpsomas/efficient-probing. Published gains are recalled and about ImageNet-1k."""


def write_attentive_probing_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.attentive_probing.run_attentive_probing`).

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
    choices = read_table(run.folder / "choices.parquet")
    directions = read_table(run.folder / "directions.parquet")
    figures = [_accuracy_figure(run), _gain_figure(run)]
    save_figures(run.folder, figures)
    call = run.provenance.call
    n = run.trials["stimulus_id"].nunique()
    return write_report(
        run.folder / "report.html",
        title="Attentive probing: what queries gain over a linear probe",
        summary=(
            f"{n} tested pictures of {run.trials['truth'].nunique()} classes, "
            f"{call['settings']['n_queries']} queries, {call['n_seeds']} seeds of the "
            f"head; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[
            Section("The question", _QUESTION),
            Section(
                "Readouts",
                figures=[item for _, item in figures],
                tables=[_table(run)],
            ),
            Section(
                "Beside published results", "\n\n".join(direction_lines(directions))
            ),
            Section("Choices", tables=[_choice_table(choices)]),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_attentive_probing(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Accuracies, gains, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_attentive_probing_report(folder)
    run = load_run(folder, TASK)
    rows = run.scores[run.scores["metric"] == "accuracy"]
    chance = rows["chance"].iloc[0]
    lines = [f"accuracy of frozen tokens (most frequent class {chance:.2f})"]
    for row in rows.to_dict("records"):
        name = f"{_name(row)}, {row['probe']}"
        lines.append(f"  {name:<48}{value_text(row, 2)}")
    table = read_table(run.folder / "directions.parquet")
    return [*lines, *direction_lines(table), f"report {report}"]


def _name(row: Any) -> str:
    told = row["untrained"] and "untrained" not in row["model"]
    return f"{row['model']} {row['layer']}" + (" (untrained)" if told else "")


def _accuracy_figure(run: Run) -> NamedFigure:
    item = ReportFigure(
        figure_of(plot_probe_accuracies(run.scores)),
        alt="Accuracy of the readouts of every layer",
        caption="Tested pictures, 95 % intervals over pictures and seeds. The line is "
        "the share of the most frequent class.",
        wide=True,
    )
    return "accuracies", item


def _gain_figure(run: Run) -> NamedFigure:
    item = ReportFigure(
        figure_of(plot_probe_gains(run.scores)),
        alt="Gain of the efficient probe over the linear probe",
        caption="Efficient probe less linear probe of the mean token, picture by "
        "picture.",
        wide=True,
    )
    return "gains", item


def _table(run: Run) -> ReportTable:
    metrics = {
        "accuracy": ("Accuracy", 2),
        "gain_over_linear": ("Above linear", 2),
        "map_similarity": ("Cosine of maps", 3),
    }
    lines: dict[str, dict[str, Any]] = {}
    for row in run.scores.to_dict("records"):
        key = f"{_name(row)}, {row['probe']}"
        line = lines.setdefault(key, {"Readout": key})
        title, digits = metrics[row["metric"]]
        line[title] = value_text(row, digits)
        if pd.notna(row["n_parameters"]):
            line["Parameters"] = f"{int(row['n_parameters'])}"
    return ReportTable(
        pd.DataFrame(lines.values()).fillna("–"),
        caption="95 % intervals. Maps of two queries that look at the same places have "
        "a cosine of 1.",
    )


def _choice_table(choices: pd.DataFrame) -> ReportTable:
    columns = ["learning_rate", "weight_decay", "held_loss", "held_accuracy", "chosen"]
    table = choices.assign(name=[_name(row) for _, row in choices.iterrows()])
    return ReportTable(
        table[["name", *columns]],
        caption="Rates and decays that were tried on a quarter of the training "
        "pictures.",
        headers={
            "name": "Layer",
            "learning_rate": "Learning rate",
            "weight_decay": "Weight decay",
            "held_loss": "Loss (nats)",
            "held_accuracy": "Accuracy",
            "chosen": "Chosen",
        },
        formats={"held_loss": ".3f", "held_accuracy": ".2f"},
    )
