"""The report of images that should drive simulated regions."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plot_style import number_text
from analysis.plots_braindive import (
    MEAN,
    condition_legend,
    plot_conditions,
    plot_contact_sheet,
    plot_label_matrix,
    plot_strength,
)
from analysis.report import ReportFigure, Section, write_report
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import check_writable_folder
from tasks.braindive import MANIFEST, load_generated
from tasks.braindive_experiment import (
    ASCENT,
    PERMUTED,
    REAL,
    REAL_BEST,
    SUPPRESSED,
    condition_name,
)
from tasks.braindive_observers import to_pixels
from tasks.braindive_scores import BEST_QUARTER, GUIDED, UNGUIDED
from tasks.braindive_tables import (
    BrainDiveRun,
    condition_table,
    encoder_scores,
    load_braindive_run,
    region_table,
    what_was_run,
)
from tasks.braindive_verdicts import (
    ALL,
    conclusions,
    region_names,
    score_row,
    strength_rows,
)
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
)
from tasks.sketch_training import draw_sketches

Pictures = NDArray[np.uint8]

_SHOWN = (
    *(UNGUIDED, GUIDED, BEST_QUARTER, SUPPRESSED),
    *(PERMUTED, ASCENT, REAL, REAL_BEST),
)
_N_PICTURES = 6
# Drawings that no network and no brain has seen.
_EXAMPLES = 707

_QUESTION = """\
Does guiding a generator by the gradient of an encoder make images that drive the \
region which the encoder predicts, or images that fool the encoder? Who guides cannot \
tell. So others look at the images: a second simulated brain, whose encoder reads \
another network, and a judge, a classifier that neither encoder uses.

Every region of the simulated brains prefers one category, by declaration: here the \
truth is known. Guided and unguided images of one seed start from equal noise. \
Controls are guidance with the sign turned, regions of permuted voxels, pixels that \
climb the encoder without a generator, and real drawings."""
_HOW = """\
Activations are predictions in standard deviations of each voxel, means over the \
voxels of a region. Judges: share of images in which the preferred category is named; \
the second judge is the network that the held-out encoder reads. Other regions: \
held-out activation of all but the target. Saturated: share of levels at an end of \
the scale. Diversity: mean distance of two images by the judge's features, mean over \
regions. Intervals are 95 %, over images.

Unguided and random real images are the same for all regions: each has one label, so \
the mean of the judge over regions is chance by construction."""
_SOURCES = """\
Method: Luo, Henderson, Wehbe & Tarr (2023), Brain Diffusion for Visual Exploration, \
NeurIPS 36, arXiv:2306.03089. Difference of pairs: Wilcoxon (1945), Biometrics \
Bulletin 1:80-83. Interval of a share: Wilson (1927), J. Am. Stat. Assoc. 22:209-212.

Predicted activation is a statement of a model. Here the brains are simulated as \
well. Whether an image drives cortex can be claimed only from new measurements."""


def write_braindive_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.braindive_experiment.run_braindive` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    run = load_braindive_run(folder)
    check_writable_folder(run.folder)
    # First, because it reads files that may be damaged.
    sheets = _contact_sheets(run)
    conditions, strength = _condition_figure(run), _strength_figure(run)
    matrix = _label_figure(run)
    save_figures(run.folder, [conditions, *strength, matrix, *sheets])
    call = run.provenance.call
    regions = region_names(run.scores)
    n = score_row(run.scores, GUIDED, "guide_activation", regions[0])
    sections = [
        Section("The question", _QUESTION),
        Section(
            "What the data allow to say",
            "\n\n".join(conclusions(run.scores, run.labels)),
        ),
        Section(
            "Conditions",
            _HOW,
            figures=[conditions[1]],
            tables=[condition_table(run), region_table(run)],
        ),
        Section(
            "Strength of guidance",
            "" if strength else "Only one strength was tried.",
            figures=[item for _, item in strength],
        ),
        Section("What the judge sees", figures=[matrix[1]]),
        Section("Pictures", _choice_text(), figures=[item for _, item in sheets]),
        Section("Encoders", tables=[encoder_scores(run)]),
        Section("Sources", _SOURCES),
    ]
    each = "" if n is None else f"{int(n['n'])} guided images each; "
    return write_report(
        run.folder / "report.html",
        title="Images that drive a region",
        summary=(
            f"Simulated brains: {len(regions)} regions, {each}generator "
            f"{call['generator']}; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_braindive(folder: str | Path) -> list[str]:
    """Write the report of a run and tell what the data allow to say.

    Parameters
    ----------
    folder : str or Path
        What `tasks.braindive_experiment.run_braindive` wrote.

    Returns
    -------
    list of str
        What limits the run, `tasks.braindive_verdicts.conclusions`, and the path of
        the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_braindive_report(folder)
    run = load_braindive_run(folder)
    told = conclusions(run.scores, run.labels)
    return [*run.provenance.notes, *told, f"report {report}"]


def _title(run: BrainDiveRun) -> str:
    text = what_was_run(run)
    return text[:1].upper() + text[1:]


def _condition_figure(run: BrainDiveRun) -> NamedFigure:
    table = run.scores
    known = [name for name in _SHOWN if (table["model"] == name).any()]
    rows = table[table["model"].isin(known)].assign(condition=table["model"])
    rows = rows.sort_values("model", key=lambda x: x.map(known.index), kind="stable")
    rows["region"] = rows["region"].replace(ALL, MEAN)
    chance = 1 / len(region_names(table))
    panels = (
        ("heldout_activation", "Held-out activation (z)", None),
        ("judge_accuracy", "Judge sees the category (share)", chance),
        ("guide_activation", "The guide's own prediction (z)", None),
    )
    height = 1.2 + (len(region_names(table)) + 1) * (0.2 + 0.125 * len(known))
    grid = axes_grid(len(panels), len(panels), (4.3, height))
    for axes, (metric, label, line) in zip(grid, panels, strict=True):
        plot_conditions(
            rows[rows["metric"] == metric],
            label=label,
            chance=line,
            legend=False,
            title=_title(run) if axes is grid[0] else "",
            ax=axes,
        )
    condition_legend(figure_of(grid[0]), known)
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Held-out activation, judge and guide by condition and region",
        caption="What others than the guide measure, and the guide itself (right), "
        f"with 95 % intervals over images: {what_was_run(run)}. Broken line: chance. "
        "The quarter of guided images is the one that the guide prefers; best measured "
        "are real drawings with the largest simulated responses.",
        wide=True,
    )
    return "conditions", item


def _strength_figure(run: BrainDiveRun) -> list[NamedFigure]:
    panels = (
        ({"heldout_activation": "held-out brain"}, "Held-out activation (z)", None),
        (
            {"heldout_activation": "held-out brain", "guide_activation": "guide"},
            "Predicted activation (z)",
            None,
        ),
        (
            {"judge_accuracy": "judge"},
            "Judge sees the category (share)",
            1 / len(region_names(run.scores)),
        ),
    )
    if strength_rows(run.scores, "heldout_activation")["scale"].nunique() < 2:
        return []
    grid = axes_grid(len(panels), len(panels), (4.6, 4.6))
    unguided = run.scores[
        (run.scores["model"] == UNGUIDED) & (run.scores["region"] == ALL)
    ]
    for axes, (metrics, label, chance) in zip(grid, panels, strict=True):
        rows = pd.concat([strength_rows(run.scores, metric) for metric in metrics])
        plot_strength(
            rows.assign(region=rows["region"].replace(ALL, MEAN)),
            metrics=metrics,
            unguided=unguided,
            chance=chance,
            label=label,
            title=_title(run) if axes is grid[0] else "",
            ax=axes,
        )
    item = ReportFigure(
        figure_of(grid[0]),
        alt="Held-out activation, guide and judge against the scale of guidance",
        caption="What stronger guidance does, with 95 % bands over images: "
        f"{what_was_run(run)}. Broken: unguided images, mean of regions.",
        wide=True,
    )
    return [("strength", item)]


def _label_figure(run: BrainDiveRun) -> NamedFigure:
    labels, regions = run.labels, region_names(run.scores)
    prior = labels[labels["condition"] == UNGUIDED]
    prior = prior[prior["region"] == regions[0]].assign(name=UNGUIDED)
    guided = labels[labels["condition"] == GUIDED]
    guided = guided.assign(name=guided["region"])
    axes = plot_label_matrix(
        pd.concat([prior, guided], ignore_index=True),
        n_references=1 if len(prior) else 0,
        title=_title(run),
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Share of images by guided region and category that the judge sees",
        caption="What the judge sees in images that are guided by each region (share "
        f"of images, rows sum to 1): {what_was_run(run)}. First row: what the "
        "generator draws unguided. Framed: the category that the region prefers.",
    )
    return "labels", item


def _contact_sheets(run: BrainDiveRun) -> list[NamedFigure]:
    regions = region_names(run.scores)
    drawn, table = draw_sketches(
        len(regions) * _N_PICTURES,
        seed=_EXAMPLES + 1000 * int(run.provenance.seed or 0),
    )
    pixels, categories = to_pixels(drawn), table["category"].to_numpy()
    sheets = []
    for region in regions:
        ranked = _ranked(run, GUIDED, region).dropna(subset=["heldout_activation"])
        if ranked.empty:
            continue
        n = min(_N_PICTURES, len(ranked))
        plain = _ranked(run, UNGUIDED, region).set_index("seed")
        pictures, texts, names = [], [], []
        for part, word in ((ranked[:n], "best"), (ranked[::-1][:n], "worst")):
            seeds = [int(seed) for seed in part["seed"]]
            same = plain.loc[seeds].reset_index()
            folder = condition_name(GUIDED, region, float(part["scale"].iloc[0]))
            pictures += [
                _pictures(run, folder, seeds),
                _pictures(run, UNGUIDED, seeds),
            ]
            texts += [_words(part), _words(same)]
            names += [f"guided,\n{word} held-out", "unguided,\nsame noise"]
        real = pixels[categories == region][:n]
        if len(real) == n:
            pictures.append(real)
            texts.append([""] * n)
            names.append("real\ndrawings")
        axes = plot_contact_sheet(
            pictures, rows=names, texts=texts, title=f"{region}: {what_was_run(run)}"
        )
        item = ReportFigure(
            figure_of(axes),
            alt=f"Guided, unguided and real pictures of the region {region}",
            caption=f"Region {region}: {what_was_run(run)}. Below each picture: "
            "held-out activation (z) and what the judge sees.",
            image_format="png",
        )
        sheets.append((f"pictures-{region}", item))
    return sheets


def _choice_text() -> str:
    return (
        f"Not typical pictures: of all guided images of a region, the {_N_PICTURES} "
        "with the largest and the smallest activation of the held-out brain, which did "
        "not guide. Below them, the unguided images that start from equal noise. Real: "
        "the first drawings of the preferred category in a set that no network and no "
        "simulated brain has seen; nobody chose them."
    )


def _ranked(run: BrainDiveRun, condition: str, region: str) -> pd.DataFrame:
    """Return the images of a condition, those that drive the held-out brain first."""
    is_own = (run.looks["condition"] == condition) & (run.looks["region"] == region)
    return run.looks[is_own].sort_values(
        "heldout_activation", ascending=False, kind="stable"
    )


def _pictures(run: BrainDiveRun, condition: str, seeds: list[int]) -> list[Pictures]:
    own = run.manifest[run.manifest["condition"] == condition].set_index("seed")
    if not set(seeds) <= set(own.index):
        raise DataCorruptError(
            f"{run.folder / MANIFEST} lacks images of {condition!r}: run the "
            "experiment again to finish it."
        )
    return list(load_generated(run.folder, own.loc[seeds].reset_index()))


def _words(looks: pd.DataFrame) -> list[str]:
    return [
        f"{number_text(float(value), 2)} {label}"
        for value, label in zip(
            looks["heldout_activation"], looks["judge_label"], strict=True
        )
    ]
