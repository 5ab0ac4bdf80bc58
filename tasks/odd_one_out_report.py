"""The report of an odd-one-out run: agreement, likelihood, fits, similarities."""

from pathlib import Path

import pandas as pd

from analysis.plots_directions import plot_directions
from analysis.plots_odd_one_out import (
    plot_choice_likelihood,
    plot_odd_one_out,
    plot_spose_curves,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from tasks.directions import direction_lines
from tasks.odd_one_out_scores import TASK
from tasks.report_parts import NamedFigure, figure_of, save_figures, value_text
from tasks.runs import Run, load_run

_QUESTION = """\
Of three objects, which one fits the others least? The two that are left are the most \
similar pair, so that many such choices tell how alike all objects are to somebody.

An embedding chooses the object outside the pair with the largest similarity; a tie \
is no choice, and wrong. The likelihood of choices takes the softmax of the three \
inner products; the temperature of the second value was fitted on one half of the \
triplets and judged on the other. Guessing gives a third, and log 3 = 1.099 nats.

Categories choose only where exactly one pair shares one. Intervals are over \
triplets: they hold for new triplets of the same objects."""
_SPOSE = """\
The embedding starts with random numbers around 0.1 and is fitted to 70 % of the \
triplets; 10 % chose the penalty, and 20 % judge. With few answers per object it \
learns little: published embeddings rest on millions of choices."""
_SOURCES = """\
Hebart, Zheng, Pereira & Baker (2020), Nature Human Behaviour 4:1173-1185. Zheng et \
al. (2019), ICLR, arXiv:1901.02915 (SPoSE). Muttenthaler et al. (2023), ICLR, \
arXiv:2211.01201 (choices of networks, alignment). Du et al. (2024), arXiv:2407.01067 \
(choices of language models). Guo et al. (2017), arXiv:1706.04599 (calibration)."""


def write_odd_one_out_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.odd_one_out.run_odd_one_out`).

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
    reference = _reference(run)
    agreement = [_agreement_figure(run, name) for name in dict.fromkeys(_observed(run))]
    likelihood = _likelihood_figures(run, reference)
    directions = read_table(run.folder / "directions.parquet")
    told = _direction_figures(directions)
    fitted, fit_tables = _fit_parts(run)
    save_figures(run.folder, [*agreement, *likelihood, *told, *fitted])
    n_triplets = int(run.scores.loc[run.scores["metric"] == "accuracy", "n"].max())
    sections = [
        Section("The question", _QUESTION),
        Section(
            "Agreement",
            figures=[item for _, item in agreement],
            tables=[_agreement_table(run)],
        ),
        Section(
            "Likelihood",
            figures=[item for _, item in likelihood],
            tables=[_likelihood_table(run, reference)],
        ),
    ]
    if fitted:
        figures = [item for _, item in fitted]
        sections.append(Section("Fitted embedding", _SPOSE, figures, fit_tables))
    if (run.scores["metric"] == "rsa_spearman").any():
        sections.append(Section("Similarities", tables=[_rsa_table(run)]))
    if told:
        sections.append(
            Section("Beside what is known", figures=[item for _, item in told])
        )
    return write_report(
        run.folder / "report.html",
        title="Odd one out: embeddings and observers",
        summary=(
            f"{n_triplets} triplets, held against {reference}; seed "
            f"{run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[*sections, Section("Sources", _SOURCES)],
        provenance=run.provenance.to_dict(),
    )


def finish_odd_one_out(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Agreement and accuracy, directions, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_odd_one_out_report(folder)
    run = load_run(folder, TASK)
    reference = _reference(run)
    mine = run.scores[run.scores["subject"] == reference]
    shown = ["agreement", "agreement_informative", "accuracy"]
    lines = [f"share of triplets with the choice of: {reference}"]
    for row in mine[mine["metric"].isin(shown)].to_dict("records"):
        note = row["condition"] or row["metric"].replace("_", " ")
        name = run.mark(str(row["model"]))
        lines.append(f"  {name:<28}{value_text(row, 3)}  {note}, n={row['n']}")
    table = read_table(run.folder / "directions.parquet")
    return [*lines, *direction_lines(table), f"report {report}"]


def _reference(run: Run) -> str:
    """Return the observer that all are held against: guessing is, too."""
    rows = run.scores[run.scores["kind"] == "chance"]
    return str(rows["subject"].iloc[0])


def _observed(run: Run) -> list[str]:
    shown = run.scores["metric"].isin(["agreement", "accuracy"])
    rows = run.scores[shown & (run.scores["kind"] != "chance")]
    return [str(name) for name in rows["subject"]]


def _agreement_figure(run: Run, subject: str) -> NamedFigure:
    axes = plot_odd_one_out(run.scores, subject=subject, title=subject)
    item = ReportFigure(
        figure_of(axes),
        alt=f"Share of triplets in which others choose as {subject} does",
        caption=f"Choices of {subject}: shares with 95 % intervals.",
    )
    return f"agreement_{_file_name(subject)}", item


def _likelihood_figures(run: Run, subject: str) -> list[NamedFigure]:
    rows = run.scores[
        (run.scores["metric"] == "nll") & (run.scores["kind"] != "chance")
    ]
    if not (rows["subject"] == subject).any():
        return []
    axes = plot_choice_likelihood(run.scores, subject=subject)
    item = ReportFigure(
        figure_of(axes),
        alt=f"Negative log likelihood of the choices of {subject}",
        caption="Likelihood of the choices, with the temperature 1 and with one that "
        "was fitted on other triplets. Values beyond the scale stand at its end.",
    )
    return [("likelihood", item)]


def _direction_figures(directions: pd.DataFrame) -> list[NamedFigure]:
    if not len(directions):
        return []
    shown = directions.assign(claim=directions["model"] + ": " + directions["claim"])
    axes = plot_directions(shown, label="Difference of shares")
    item = ReportFigure(
        figure_of(axes),
        alt="Differences beside what is known of people",
        caption="Full marks: the 95 % interval leaves out 0.",
        wide=True,
    )
    return [("directions", item)]


def _fit_parts(run: Run) -> tuple[list[NamedFigure], list[ReportTable]]:
    path = run.folder / "spose_curves.parquet"
    if not path.exists():
        return [], []
    axes = plot_spose_curves(read_table(path))
    item = ReportFigure(
        figure_of(axes),
        alt="Negative log likelihood and number of dimensions by epoch",
        caption="The fit with the penalty that was chosen. Broken line: guessing.",
    )
    table = ReportTable(
        read_table(run.folder / "spose_penalties.parquet"),
        caption="Penalties, judged by the triplets that choose.",
        headers={
            "penalty": "Penalty",
            "val_nll": "NLL (nats)",
            "val_accuracy": "Accuracy",
            "n_dimensions": "Dimensions",
            "n_epochs": "Epochs",
            "stopped": "Ended",
            "chosen": "Chosen",
        },
        formats={"penalty": "g", "val_nll": ".3f", "val_accuracy": ".3f"},
    )
    return [("spose", item)], [table]


def _agreement_table(run: Run) -> ReportTable:
    metrics = {
        "agreement": "same choice",
        "agreement_informative": "where categories tell",
        "accuracy": "accuracy",
        "noise_ceiling": "noise ceiling",
    }
    part = run.scores[run.scores["metric"].isin(metrics)]
    rows = [
        {
            "who": run.mark(str(row["model"])),
            "whose": row["subject"],
            "what": metrics[row["metric"]],
            "how": row["condition"],
            "share": value_text(row, 3),
            "n": row["n"],
        }
        for row in part.to_dict("records")
    ]
    names = {"who": "Who", "whose": "Choices of", "what": "Measure", "how": "Condition"}
    return ReportTable(
        pd.DataFrame(rows),
        caption="Shares with 95 % intervals.",
        headers={**names, "share": "Share", "n": "Triplets"},
    )


def _likelihood_table(run: Run, subject: str) -> ReportTable:
    metrics = {"nll": 3, "calibration_error": 3, "temperature": 2}
    part = run.scores[run.scores["metric"].isin(metrics)]
    part = part[part["subject"] == subject]
    rows = [
        {
            "who": run.mark(str(row["model"])),
            "what": row["metric"].replace("_", " ").replace("nll", "NLL (nats)"),
            "how": row["condition"],
            "value": value_text(row, metrics[row["metric"]]),
        }
        for row in part.to_dict("records")
    ]
    names = {"who": "Who", "what": "Measure", "how": "Condition", "value": "Value"}
    return ReportTable(
        pd.DataFrame(rows, columns=list(names)),
        caption=f"Likelihood and calibration of the choices of {subject}.",
        headers=names,
    )


def _rsa_table(run: Run) -> ReportTable:
    part = run.scores[run.scores["metric"] == "rsa_spearman"]
    table = part[["model", "condition", "value", "n"]].reset_index(drop=True)
    return ReportTable(
        table,
        caption="Similarities that choices would show (predicted, or as given), "
        "compared over pairs of objects.",
        headers={
            "model": "One",
            "condition": "Other",
            "value": "Spearman r",
            "n": "Pairs",
        },
        formats={"value": ".3f"},
    )


def _file_name(text: str) -> str:
    return "".join(sign if sign.isalnum() else "_" for sign in text)
