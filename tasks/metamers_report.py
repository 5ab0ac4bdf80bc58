"""The report of an experiment with metamers: curves, critical scales, pictures."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_metamers import (
    plot_abx_curves,
    plot_critical_scales,
    plot_descent,
    plot_picture_rows,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.pictures import read_image
from neurovis.core.types import HUMAN_MODEL, Provenance
from tasks.metamer_discrimination import (
    CONVERGENCE,
    CURVES,
    EXAMPLES,
    FITS,
    MEAN,
    PSYCHOMETRIC,
    TASK,
)
from tasks.report_parts import NamedFigure, figure_of, save_figures, value_text
from tasks.runs import SCORE_FILES, load_scores

_NEEDED = (*SCORE_FILES, PSYCHOMETRIC, FITS)
_QUESTION = """\
How large may the pooling windows of a model grow, relative to eccentricity, until \
observers tell apart pictures that share its statistics? In each ABX trial two \
pictures are shown, then one of them again: which one was it? Guessing is right in \
half of the trials.

"sample-sample" compares two pictures that were made to share the statistics of one \
original; "original-sample" compares one of them with that original. The critical \
scale is the largest scale at which answers stay at chance. It is undefined where the \
answers do not tell it.

For reference only: Freeman and Simoncelli (2011, doi:10.1038/nn.2889) found about \
0.5 for people, their mid-ventral model, and samples compared with each other. Other \
pictures, models or comparisons give other scales."""


def write_metamers_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.metamer_discrimination.run_metamers` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    run = _read(folder)
    check_writable_folder(run.folder)
    curves = _curve_figures(run)
    forest = _forest(run)
    sections = [
        Section("The question", _QUESTION),
        Section(
            "Critical scales", figures=[forest[1]], tables=[_summary(run), _fits(run)]
        ),
        Section("Answers", figures=[item for _, item in curves]),
    ]
    figures = [forest, *curves]
    pictures = _picture_figures(run)
    if pictures:
        figures += pictures
        sections.append(
            Section(
                "Pictures",
                figures=[item for _, item in pictures],
                tables=[_convergence(run)],
            )
        )
    save_figures(run.folder, figures)
    return write_report(
        run.folder / "report.html",
        title="Discrimination of metamers",
        summary=_counts(run),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_metamers(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.metamer_discrimination.run_metamers` wrote.

    Returns
    -------
    list of str
        Critical scales of people and simulated observers; path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_metamers_report(folder)
    run = _read(folder)
    lines = ["critical scale [95 % interval]"]
    for label, row in _rows(run):
        lines.append(f"  {label}, {row['condition']}: {value_text(row, 3)}")
    lines += [f"note: {note}" for note in run.provenance.notes]
    return [*lines, f"report {report}"]


@dataclass(frozen=True, eq=False)
class _Run:
    """Tables of a finished run."""

    folder: Path
    psychometric: pd.DataFrame
    fits: pd.DataFrame
    scores: pd.DataFrame
    provenance: Provenance

    @property
    def n_people(self) -> int:
        """Number of people."""
        people = self.fits["model"] == HUMAN_MODEL
        return len(self.fits.loc[people, "subject"].unique())


def _read(folder: str | Path) -> _Run:
    folder = check_path("results", folder, kind="folder")
    score = load_scores(folder, _NEEDED, TASK)
    shares, fits = (read_table(folder / name) for name in _NEEDED[-2:])
    return _Run(folder, shares, fits, score.table, score.provenance)


def _rows(run: _Run) -> list[tuple[str, pd.Series]]:
    """Return the critical scales of the group of people, or of one, and of models."""
    scores = run.scores[run.scores["metric"] == "critical_scale"]
    human, mean = scores["model"] == HUMAN_MODEL, scores["subject"] == MEAN
    shown = scores[~human | (mean if run.n_people > 1 else ~mean)]
    rows = []
    for _, row in shown.iterrows():
        is_mean = row["subject"] == MEAN
        label = f"{MEAN} (n = {row['n']:.0f})" if is_mean else str(row["subject"])
        rows.append((label, row))
    return sorted(rows, key=lambda each: each[1]["model"] != HUMAN_MODEL)


def _counts(run: _Run) -> str:
    n = run.n_people
    k = len(run.fits["model"].unique()) - (n > 0)
    trials = run.fits["n_trials"].sum()
    return (
        f"{n} {'person' if n == 1 else 'people'}, {k} simulated "
        f"observer{'s' * (k != 1)}, {trials} answers; seed {run.provenance.seed}."
    )


def _forest(run: _Run) -> NamedFigure:
    scores = run.scores
    means = scores[(scores["subject"] == MEAN) & (scores["metric"] == "critical_scale")]
    names = {"condition": "comparison", "value": "critical_scale"}
    groups = means.rename(columns=names) if run.n_people > 1 else None
    ax = plot_critical_scales(run.fits, means=groups)
    return "critical_scales", ReportFigure(
        figure_of(ax),
        alt="Critical scale of every observer, with intervals",
        caption="Critical scales with 95 % bootstrap intervals over trials; that of "
        "the mean over people.",
    )


def _curve_figures(run: _Run) -> list[NamedFigure]:
    decision = str(run.provenance.call["decision"])
    found = []
    for comparison in run.psychometric["comparison"].unique():
        ax = plot_abx_curves(
            run.psychometric, run.fits, str(comparison), decision=decision
        )
        item = ReportFigure(
            figure_of(ax),
            alt=f"Share of correct answers against scale, {comparison}",
            caption="Answers with 95 % Wilson intervals, those of all people "
            "together, and the fitted curves of each person and observer. Dotted: "
            "chance.",
        )
        found.append((f"psychometric_{comparison}", item))
    return found


def _picture_figures(run: _Run) -> list[NamedFigure]:
    file = run.folder / EXAMPLES / "examples.csv"
    if not file.is_file():
        return []
    table = read_table(file)
    rows, labels = [], []
    for image, part in table.groupby("image", sort=False):
        samples = part[part["kind"] == "sample"].sort_values(["scale", "sample"])
        for number in sorted(samples["sample"].unique()):
            names, texts = [str(image)], [f"{image}: original"]
            for _, one in samples[samples["sample"] == number].iterrows():
                names.append(str(one["stimulus_id"]))
                far = "" if one["converged"] else " (not converged)"
                texts.append(f"scale {one['scale']:g}, sample {number}{far}")
            if number > 1:
                names, texts = [*names[1:]], [*texts[1:]]
            pictures = [
                read_image(run.folder / EXAMPLES / f"{name}.png") for name in names
            ]
            gap = int(number > 1)
            rows.append([*([None] * gap), *pictures])
            labels.append([*([""] * gap), *texts])
    figures = [
        (
            "pictures",
            ReportFigure(
                plot_picture_rows(rows, labels),
                alt="Originals, and samples at every scale",
                caption="Originals, and samples of them at every scale. Only those "
                "that converged are metamers of the model; whether people tell them "
                "apart depends on where they look.",
                wide=True,
                image_format="png",
            ),
        )
    ]
    curves = read_table(run.folder / CURVES)
    if len(curves):
        item = ReportFigure(
            figure_of(plot_descent(curves)),
            alt="Loss against step, one line per sample",
            caption="How near the statistics of each sample came to those of its "
            "original while it was refined.",
        )
        figures.append(("descent", item))
    return figures


def _summary(run: _Run) -> ReportTable:
    rows = [
        {
            "who": label,
            "comparison": row["condition"],
            "critical_scale": value_text(row, 3),
        }
        for label, row in _rows(run)
    ]
    return ReportTable(
        pd.DataFrame(rows),
        caption="Critical scales. The mean leaves out people whose critical scale is "
        "undefined; its interval is over people, and undefined for one.",
        headers={
            "who": "Observer",
            "comparison": "Comparison",
            "critical_scale": "Critical scale",
        },
    )


def _fits(run: _Run) -> ReportTable:
    rows = []
    for _, row in run.fits.iterrows():
        note = row["note"]
        rows.append(
            {
                "subject": row["subject"],
                "comparison": row["comparison"],
                "value": value_text(row.rename({"critical_scale": "value"}), 3),
                "gain": number_text(row["gain"], 2),
                "lapse": number_text(row["lapse"], 3),
                "n": row["n_trials"],
                "note": "" if pd.isna(note) else note,
            }
        )
    return ReportTable(
        pd.DataFrame(rows),
        caption="Fits of every observer.",
        headers={
            "subject": "Observer",
            "comparison": "Comparison",
            "value": "Critical scale",
            "gain": "Gain",
            "lapse": "Lapses",
            "n": "Trials",
            "note": "Why undefined",
        },
    )


def _convergence(run: _Run) -> ReportTable:
    table = read_table(run.folder / CONVERGENCE)
    for name in ("median_error", "largest_error"):
        table[name] = [f"{number_text(100 * v, 1)} %" for v in table[name]]
    return ReportTable(
        table,
        caption="How near the samples of each scale came to the statistics of their "
        "originals: relative error of the family that is farthest off, in the 8-bit "
        "pictures. Samples that did not converge are not metamers of the model.",
        headers={
            "scale": "Scale",
            "n_samples": "Samples",
            "n_converged": "Converged",
            "median_error": "Median error",
            "largest_error": "Largest error",
            "worst_statistic": "Farthest off",
        },
    )
