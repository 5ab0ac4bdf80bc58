"""Tables of images that should drive regions, as reports show them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_braindive import MEAN
from analysis.report import ReportTable
from neurovis.core.checks import check_path
from neurovis.core.files import read_table
from neurovis.core.types import Provenance
from tasks.braindive import MANIFEST
from tasks.braindive_experiment import ASCENT, PERMUTED, REAL, REAL_BEST, SUPPRESSED
from tasks.braindive_scores import BEST_QUARTER, GUIDED, TASK, UNGUIDED
from tasks.braindive_verdicts import ALL, region_names, score_row, strength_rows
from tasks.report_parts import p_text, value_text
from tasks.runs import SCORE_FILES, load_scores

_TABLES = ("looks.parquet", "labels.parquet", "encoders.parquet", MANIFEST)
_NAMES = {
    "guide_activation": "Guide (z)",
    "heldout_activation": "Held-out brain (z)",
    "judge_accuracy": "Judge",
    "second_judge_accuracy": "Second judge",
    "judge_confidence": "Confidence",
    "off_target_activation": "Other regions (z)",
    "saturated_share": "Saturated",
    "diversity": "Diversity",
}
_COMPARED = tuple(_NAMES)[:4]


@dataclass(frozen=True, eq=False)
class BrainDiveRun:
    """What a run left in its folder.

    Parameters
    ----------
    folder : Path
        Where it lies.
    looks : DataFrame
        One row per image and region, with all that was measured.
    labels : DataFrame
        What the judge saw.
    encoders : DataFrame
        How well encoders predict.
    manifest : DataFrame
        One row per generated image.
    scores : DataFrame
        Table of `tasks.braindive_scores.braindive_scores`.
    provenance : Provenance
        How it came about.
    """

    folder: Path
    looks: pd.DataFrame
    labels: pd.DataFrame
    encoders: pd.DataFrame
    manifest: pd.DataFrame
    scores: pd.DataFrame
    provenance: Provenance


def load_braindive_run(folder: str | Path) -> BrainDiveRun:
    """Read the tables of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run.

    Returns
    -------
    BrainDiveRun
        Its tables.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    DataCorruptError
        If one of its files is damaged.
    ValueError
        If it holds a run of another experiment.
    """
    path = check_path("results", folder, kind="folder")
    score = load_scores(path, (*_TABLES, *SCORE_FILES), TASK)
    looks, labels, encoders, manifest = (read_table(path / name) for name in _TABLES)
    return BrainDiveRun(
        folder=path,
        looks=looks,
        labels=labels,
        encoders=encoders,
        manifest=manifest,
        scores=score.table,
        provenance=score.provenance,
    )


def what_was_run(run: BrainDiveRun) -> str:
    """Return the words that keep a figure from being taken for more than it is.

    Parameters
    ----------
    run : BrainDiveRun
        A finished run.

    Returns
    -------
    str
        What was simulated, and the generator.
    """
    name = str(run.provenance.call["generator"])
    untrained = any("untrained" in note for note in run.provenance.notes)
    return f"simulated brains; {name}{' (untrained)' if untrained else ''}"


def condition_table(run: BrainDiveRun) -> ReportTable:
    """Return what was measured under all conditions.

    Parameters
    ----------
    run : BrainDiveRun
        A finished run.

    Returns
    -------
    ReportTable
        Means over regions, one row per condition and strength.
    """
    table = run.scores
    strengths = strength_rows(table, "guide_activation")
    strengths = strengths.drop_duplicates(["model", "scale"])
    guided = list(zip(strengths["model"], strengths["scale"], strict=True))
    others = [
        (name, np.nan)
        for name in (BEST_QUARTER, SUPPRESSED, PERMUTED, ASCENT)
        if (table["model"] == name).any()
    ]
    first = [(n, np.nan) for n in (REAL, REAL_BEST, UNGUIDED) if n in set(table.model)]
    rows = []
    for name, scale in [*first, *guided, *others]:
        own = table[table["model"] == name]
        own = own if np.isnan(scale) else own[own["scale"] == scale]
        regions = own[own["region"] != ALL]
        means = own[own["region"] == ALL].set_index("metric")
        row: dict[str, Any] = {
            "condition": GUIDED if not np.isnan(scale) else name,
            "scale": _scale_text(own),
            "n": _n_text(regions),
        }
        for metric in _NAMES:
            row[metric] = "–"
            if metric in _COMPARED and metric in means.index:
                row[metric] = value_text(means.loc[metric], 2)
            elif metric in means.index:
                row[metric] = number_text(float(means.loc[metric, "value"]), 2)
        distance = regions.loc[regions["metric"] == "diversity", "value"]
        if len(distance):
            row["diversity"] = number_text(float(np.mean(distance)), 2)
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"All conditions, mean of regions: {what_was_run(run)}. The guide's "
        "column is no evidence: it says how well the search for large predictions "
        "succeeded.",
        headers={
            "condition": "Condition",
            "scale": "Scale",
            "n": "Images per region",
            **_NAMES,
        },
    )


def _scale_text(own: pd.DataFrame) -> str:
    scales = own["scale"].dropna().unique()
    text = f"{scales[0]:g}" if len(scales) == 1 else "–"
    return text.replace("-", "−")


def _n_text(regions: pd.DataFrame) -> str:
    counts = regions["n"].dropna().astype(int)
    if counts.empty:
        return "–"
    least, most = counts.min(), counts.max()
    return str(least) if least == most else f"{least} to {most}"


def region_table(run: BrainDiveRun) -> ReportTable:
    """Return how guided and unguided images differ in each region.

    Parameters
    ----------
    run : BrainDiveRun
        A finished run.

    Returns
    -------
    ReportTable
        One row per measure and region.
    """
    difference = f"{GUIDED} - {UNGUIDED}"
    rows = []
    for metric in _COMPARED:
        for region in region_names(run.scores):
            gap = score_row(run.scores, difference, f"{metric}_difference", region)
            if gap is None:
                continue
            pair = [
                score_row(run.scores, model, metric, region)
                for model in (GUIDED, UNGUIDED)
            ]
            texts = ["–" if row is None else value_text(row, 2) for row in pair]
            rows.append(
                {
                    "metric": _NAMES[metric],
                    "region": region,
                    "guided": texts[0],
                    "unguided": texts[1],
                    "difference": value_text(gap, 2),
                    "p": p_text(float(gap["p_value"])),
                    "excludes": gap["excludes"],
                }
            )
    columns = {
        "metric": "Measure",
        "region": "Region",
        "guided": "Guided",
        "unguided": "Unguided",
        "difference": "Difference",
        "p": "p",
        "excludes": "Intervals exclude each other",
    }
    return ReportTable(
        pd.DataFrame(rows, columns=list(columns)),
        caption=f"Guided and unguided images, paired by seed: {what_was_run(run)}. p: "
        "Wilcoxon's signed-rank test, not corrected for the number of tests.",
        headers=columns,
    )


def encoder_scores(run: BrainDiveRun) -> ReportTable:
    """Return how well the encoders predict.

    Parameters
    ----------
    run : BrainDiveRun
        A finished run.

    Returns
    -------
    ReportTable
        One row per encoder and region.
    """
    table = run.encoders.assign(region=run.encoders["region"].replace(ALL, MEAN))
    return ReportTable(
        table.assign(share=table["test_r"] / table["ceiling"]),
        caption="How well encoders predict responses that they were not fitted to "
        f"(Pearson r, mean over voxels): {what_was_run(run)}.",
        headers={
            "encoder": "Encoder",
            "subject": "Brain",
            "region": "Region",
            "test_r": "Test r",
            "ceiling": "Ceiling",
            "share": "Share of the ceiling",
        },
        formats={"test_r": ".3f", "ceiling": ".3f", "share": ".2f"},
    )
