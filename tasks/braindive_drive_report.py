"""The report of images that should drive a region of the user's own encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_braindive import (
    condition_legend,
    plot_conditions,
    plot_contact_sheet,
    plot_label_matrix,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Provenance
from tasks.braindive import MANIFEST, load_generated
from tasks.braindive_drive import MEASURED, TASK
from tasks.braindive_experiment import REAL, REAL_BEST
from tasks.braindive_scores import BEST_QUARTER, GUIDED, UNGUIDED
from tasks.braindive_verdicts import compare_rows, score_row
from tasks.real_pictures import REAL_FILE
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    p_text,
    save_figures,
    value_text,
)
from tasks.runs import SCORE_FILES, load_scores

_CONDITIONS = (UNGUIDED, GUIDED, BEST_QUARTER, REAL, REAL_BEST)
_METRICS = {
    "heldout_activation": "Held-out encoder",
    "judge_accuracy": "Judge",
    "guide_activation": "Guide",
    MEASURED: "Measured",
}
_OTHERS = {
    "judge_confidence": "Confidence of the judge",
    "saturated_share": "Saturated",
    "diversity": "Diversity",
}
_N_PICTURES = 6

_QUESTION = """\
Does guiding {generator} by the gradient of {encoder} make images that drive \
{driven}? The guide itself cannot tell: it predicts large responses to whatever climbs \
its gradient. {others}

Guided and unguided images of one seed start from equal noise. Differences are taken \
seed by seed, with 95 % intervals over images and Wilcoxon's signed-rank test, not \
corrected for the number of tests. Intervals of shares are Wilson's. The best quarter \
is the one that the guide prefers."""
_REAL = """\
Real pictures are those that the brain of the guide has seen: random ones, and those \
with the largest responses. One half of the trials of a picture chose it, and the \
response told here is that of the other half, so that luck in the trials that chose is \
not counted. Generated images were never shown to a brain."""
_SOURCES = """\
Luo, Henderson, Wehbe & Tarr (2023), Brain Diffusion for Visual Exploration, NeurIPS \
36, arXiv:2306.03089. Wilcoxon (1945), Biometrics Bulletin 1:80-83. Wilson (1927), \
J. Am. Stat. Assoc. 22:209-212.

Predicted activation is a statement of a model. Whether an image drives cortex can be \
claimed only from new measurements."""


@dataclass(frozen=True, eq=False)
class _DriveRun:
    """What `tasks.braindive_drive.drive_region` left."""

    folder: Path
    looks: pd.DataFrame
    manifest: pd.DataFrame
    labels: pd.DataFrame | None
    real: pd.DataFrame | None
    scores: pd.DataFrame
    provenance: Provenance

    @property
    def call(self) -> Mapping[str, Any]:
        return self.provenance.call

    @property
    def driven(self) -> str:
        """What was driven, in words."""
        region, against = self.call["region"], self.call["against"]
        if against is None:
            return str(region)
        ratio = float(self.call["ratio"])
        factor = "" if ratio == 1 else f"{ratio:g} times "
        return f"{region} minus {factor}{against}"

    @property
    def mark(self) -> str:
        """What keeps a figure from being taken for more than it is."""
        notes = " ".join(self.provenance.notes).lower()
        marks = {"untrained": "with untrained networks", "simulated": "simulated data"}
        told = [text for word, text in marks.items() if word in notes]
        parts = [f"{self.driven}, {self.call['encoder']}", self.call["generator"]]
        return "; ".join([*parts, *told])

    def row(self, model: str, metric: str) -> dict[str, Any] | None:
        """Return a score of the region; None where it is undefined."""
        found = score_row(self.scores, model, metric, str(self.call["region"]))
        return None if found is None or pd.isna(found["value"]) else found

    @property
    def conditions(self) -> list[str]:
        """Sets of images, in the order of tables."""
        return [name for name in _CONDITIONS if name in set(self.scores["model"])]

    def metrics(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return measures that were taken, and their names with units."""
        found = {}
        for metric, name in names.items():
            # Only real pictures were shown to a brain.
            row = self.row(REAL if metric == MEASURED else UNGUIDED, metric)
            if row is not None:
                unit = row["unit"] if metric.endswith("activation") else ""
                found[metric] = f"{name} ({unit})" if unit else name
        return found


def write_drive_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.braindive_drive.drive_region` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    ValueError
        If it holds a run of another experiment.
    """
    run = _load(folder)
    check_writable_folder(run.folder)
    # First, because it reads files that may be damaged.
    sheet, conditions = _contact_sheet(run), _condition_figure(run)
    labels = [] if run.labels is None else [_label_figure(run, run.labels)]
    real = [] if run.real is None else [_real_sheet(run, run.real)]
    save_figures(run.folder, [conditions, *labels, sheet, *real])
    sections = [
        Section("The question", _question(run)),
        Section("What the data allow to say", "\n\n".join(_conclusions(run))),
        Section(
            "Guided and unguided images",
            figures=[conditions[1]],
            tables=[_condition_table(run), _difference_table(run)],
        ),
    ]
    if labels:
        sections.append(Section("What the judge sees", figures=[labels[0][1]]))
    sections.append(Section("Pictures", _choice_text(run), figures=[sheet[1]]))
    if real:
        sections.append(Section("Real pictures", _REAL, figures=[real[0][1]]))
    sections += [
        Section("Settings", tables=[_setting_table(run)]),
        Section("Sources", _SOURCES),
    ]
    n = len(run.call["seeds"])
    return write_report(
        run.folder / "report.html",
        title=f"Images that drive {run.driven}",
        summary=(
            f"Encoder {run.call['encoder']}; generator {run.call['generator']}; "
            f"{n} guided and {n} unguided images."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_drive(folder: str | Path) -> list[str]:
    """Write the report of a run and tell what the data allow to say.

    Parameters
    ----------
    folder : str or Path
        What `tasks.braindive_drive.drive_region` wrote.

    Returns
    -------
    list of str
        What limits the run, how guided images differ from unguided ones, and the path
        of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_drive_report(folder)
    run = _load(folder)
    return [*run.provenance.notes, *_conclusions(run), f"report {report}"]


def _load(folder: str | Path) -> _DriveRun:
    path = check_path("results", folder, kind="folder")
    needed = ("looks.parquet", MANIFEST, *SCORE_FILES)
    absent = [name for name in needed if not (path / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{path} holds no finished run: {absent[0]} is missing. Run `neurovis "
            f"generate braindive --out {path}` (again) to finish it."
        )
    score = load_scores(path, needed, TASK)
    labels = None
    if score.provenance.call["judge"] is not None:
        labels = read_table(check_path("labels", path / "labels.parquet"))
    real = None
    if score.provenance.call.get("real") is not None:
        real = read_table(check_path("real pictures", path / REAL_FILE))
    return _DriveRun(
        path,
        read_table(path / "looks.parquet"),
        read_table(path / MANIFEST),
        labels,
        real,
        score.table,
        score.provenance,
    )


def _question(run: _DriveRun) -> str:
    heldout, judge = run.call["heldout"], run.call["judge"]
    others = []
    if heldout is not None:
        others.append(f"{heldout}, the encoder of another brain, looks at the images.")
    if judge is not None:
        others.append(
            f"{judge}, a judge that does not guide, says whether it sees "
            f"{run.call['category']!r}."
        )
    told = " ".join(others) or (
        "Here nobody else looked at the images, so that the question stays open: give "
        "the encoder of another brain, or a judge."
    )
    return _QUESTION.format(
        generator=run.call["generator"],
        encoder=run.call["encoder"],
        driven=run.driven,
        others=told,
    )


def _conclusions(run: _DriveRun) -> list[str]:
    lines = []
    for metric, name in run.metrics(_METRICS).items():
        pair = [run.row(model, metric) for model in (GUIDED, UNGUIDED)]
        gap = run.row(f"{GUIDED} - {UNGUIDED}", f"{metric}_difference")
        if gap is None or pair[0] is None or pair[1] is None:
            continue
        word = "not told apart from unguided ones"
        if gap["ci_low"] > 0:
            word = "above unguided ones"
        elif gap["ci_high"] < 0:
            word = "below unguided ones"
        lines.append(
            f"{name}: guided images are {word}, {value_text(pair[0], 2)} against "
            f"{value_text(pair[1], 2)}; difference {value_text(gap, 2)}, "
            f"p {_p_words(float(gap['p_value']))}, {int(gap['n'])} pairs."
        )
    lines = lines or ["A single pair of images allows no comparison."]
    return lines + _about_real(run)


def _about_real(run: _DriveRun) -> list[str]:
    """Compare guided images with the best real ones, and these with random ones."""
    lines = []
    for metric, name in run.metrics(_METRICS).items():
        pair, told = (GUIDED, REAL_BEST), ("guided images", "the best real pictures")
        if metric == MEASURED:
            pair, told = (REAL_BEST, REAL), ("the best real pictures", "random ones")
        first, second = (run.row(model, metric) for model in pair)
        if first is None or second is None:
            continue
        order = {1: "above", -1: "below"}.get(compare_rows(first, second) or 0)
        word = f"are {order}" if order else "are not told apart from"
        lines.append(
            f"{name}: {told[0]} {word} {told[1]}, {value_text(first, 2)} against "
            f"{value_text(second, 2)}."
        )
    return lines


def _p_words(p: float) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"


def _condition_table(run: _DriveRun) -> ReportTable:
    compared, others = run.metrics(_METRICS), run.metrics(_OTHERS)
    rows = []
    for model in run.conditions:
        row: dict[str, Any] = {"Images": model, "n": 0}
        for metric, name in compared.items():
            found = run.row(model, metric)
            row[name] = "–" if found is None else value_text(found, 2)
            row["n"] = row["n"] if found is None else int(found["n"])
        for metric, name in others.items():
            found = run.row(model, metric)
            value = float("nan") if found is None else float(found["value"])
            row[name] = number_text(value, 2)
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"Means with 95 % intervals: {run.mark}. The guide's column is no "
        "evidence: it says how well the search for large predictions succeeded.",
    )


def _difference_table(run: _DriveRun) -> ReportTable:
    rows = []
    for metric, name in run.metrics(_METRICS).items():
        gap = run.row(f"{GUIDED} - {UNGUIDED}", f"{metric}_difference")
        if gap is not None:
            rows.append(
                {
                    "Measure": name,
                    "Difference": value_text(gap, 2),
                    "p": p_text(float(gap["p_value"])),
                    "Pairs": int(gap["n"]),
                    "Intervals exclude each other": gap["excludes"],
                }
            )
    columns = ["Measure", "Difference", "p", "Pairs", "Intervals exclude each other"]
    return ReportTable(
        pd.DataFrame(rows, columns=columns),
        caption=f"Guided minus unguided images of the same seed: {run.mark}.",
    )


def _setting_table(run: _DriveRun) -> ReportTable:
    told = {**run.call["guide"], **run.call["sampling"]}
    rows = [(name.replace("_", " "), str(value)) for name, value in told.items()]
    return ReportTable(
        pd.DataFrame(rows, columns=["Setting", "Value"]),
        caption="How images were guided and sampled.",
    )


def _condition_figure(run: _DriveRun) -> NamedFigure:
    metrics = run.metrics(_METRICS)
    table = run.scores.assign(condition=run.scores["model"])
    table = table[table["region"] == run.call["region"]]
    table = table[table["model"].isin(_CONDITIONS)]
    # Only real pictures were shown to a brain.
    table = table[(table["metric"] != MEASURED) | table["value"].notna()]
    order = table["model"].map(_CONDITIONS.index)
    table = table.loc[order.sort_values(kind="stable").index]
    columns = 2 if len(metrics) == 4 else len(metrics)
    grid = axes_grid(len(metrics), columns, (4.3, 2.4))
    for axes, (metric, label) in zip(grid, metrics.items(), strict=True):
        plot_conditions(
            table[table["metric"] == metric],
            label=f"{label}, share" if metric == "judge_accuracy" else label,
            legend=False,
            title=run.driven if axes is grid[0] else "",
            ax=axes,
        )
    condition_legend(figure_of(grid[0]), run.conditions)
    item = ReportFigure(
        figure_of(grid[0]),
        alt="What was measured of unguided and guided images",
        caption=f"Means with 95 % intervals over images: {run.mark}.",
        wide=True,
    )
    return "conditions", item


def _label_figure(run: _DriveRun, labels: pd.DataFrame) -> NamedFigure:
    # Rows are called by what was done, so that no cell is taken for the right one.
    axes = plot_label_matrix(
        labels.assign(name=labels["condition"]),
        n_references=1,
        title=f"{run.driven}; the category asked for is {run.call['category']}",
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Share of unguided and guided images by category that the judge sees",
        caption="What the judge sees (share of images, rows sum to 1), first in what "
        f"the generator draws unguided: {run.mark}.",
    )
    return "labels", item


def _observer(run: _DriveRun) -> str:
    """Return the column that chooses pictures: not the guide, where that can be."""
    heldout = run.call["heldout"] is not None
    return "heldout_activation" if heldout else "guide_activation"


def _choice_text(run: _DriveRun) -> str:
    who = (
        "of the held-out encoder, which did not guide"
        if _observer(run) == "heldout_activation"
        else "of the guide itself, because there is no held-out encoder: the best are "
        "those that please it most"
    )
    return (
        f"Not typical pictures: of all guided images the {_N_PICTURES} with the "
        f"largest and the smallest activation {who}. Below them, the unguided images "
        "that start from equal noise."
    )


def _contact_sheet(run: _DriveRun) -> NamedFigure:
    column = _observer(run)
    guided = run.looks[run.looks["condition"] == GUIDED]
    guided = guided.sort_values(column, ascending=False, kind="stable")
    unguided = run.looks[run.looks["condition"] == UNGUIDED].set_index("seed")
    n = min(_N_PICTURES, len(guided))
    pictures, texts, names = [], [], []
    for part, word in ((guided[:n], "best"), (guided[::-1][:n], "worst")):
        same = unguided.loc[part["seed"]].reset_index()
        for rows, name in (
            (part, f"guided,\n{word}"),
            (same, "unguided,\nsame noise"),
        ):
            chosen = rows[["condition", "seed"]].merge(
                run.manifest, on=["condition", "seed"], how="left"
            )
            if chosen["file"].isna().any():
                raise DataCorruptError(
                    f"{run.folder / MANIFEST} lacks images: generate again."
                )
            pictures.append(list(load_generated(run.folder, chosen)))
            texts.append(_words(rows, column))
            names.append(name)
    axes = plot_contact_sheet(
        pictures, rows=names, texts=texts, side_in=1.1, title=run.driven
    )
    sees = "" if run.labels is None else " and what the judge sees"
    who = "held-out encoder" if column == "heldout_activation" else "guide"
    item = ReportFigure(
        figure_of(axes),
        alt="Best and worst guided pictures, and unguided ones from the same noise",
        caption=f"Pictures that should drive {run.mark}. Below each: activation of the "
        f"{who}{sees}.",
        image_format="png",
        wide=True,
    )
    return "pictures", item


def _real_sheet(run: _DriveRun, real: pd.DataFrame) -> NamedFigure:
    """Return real pictures with what was measured; their size is their own."""
    pictures, texts, names = [], [], []
    looks = run.looks[["condition", "seed", "judge_label"]]
    for condition, name in ((REAL_BEST, "best\nmeasured"), (REAL, "random")):
        rows = real[real["condition"] == condition][:_N_PICTURES]
        rows = rows.merge(looks, on=["condition", "seed"], how="left")
        pictures.append(list(load_generated(run.folder, rows)))
        texts.append(_words(rows, MEASURED))
        names.append(name)
    axes = plot_contact_sheet(
        pictures, rows=names, texts=texts, side_in=1.1, title=run.driven
    )
    sees = "" if run.labels is None else " and what the judge sees"
    item = ReportFigure(
        figure_of(axes),
        alt="Real pictures with the largest responses, and random ones",
        caption=f"Real pictures, shown to the brain of the guide: {run.mark}. Below "
        f"each: its response in trials that did not choose it{sees}.",
        image_format="png",
        wide=True,
    )
    return "real_pictures", item


def _words(rows: pd.DataFrame, column: str) -> list[str]:
    return [
        f"{number_text(float(value), 2)} {label}".strip()
        for value, label in zip(rows[column], rows["judge_label"], strict=True)
    ]
