"""The report of images that were drawn from captions of voxels."""

import textwrap
from pathlib import Path

import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_braindive import plot_contact_sheet
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Score
from tasks.braindive import MANIFEST, load_generated
from tasks.caption_images import (
    BANK,
    BANK_BEST,
    BEST,
    CONDITIONS,
    DRAWN,
    TASK,
    UNPROMPTED,
)
from tasks.report_parts import NamedFigure, figure_of, save_figures, value_text
from tasks.runs import SCORE_FILES, load_scores

_TABLES = ("drawn.parquet", MANIFEST)
_N_SHOWN = 6

_QUESTION = """\
Do the words lead back? Captions of a region are drawn by a generator, and the encoder \
that the captions came from predicts what the region would give to the images. They \
stand between images of the generator without a caption and the pictures of the bank \
that the encoder predicts the most for.

What is measured is the encoder and not a brain: images can drive an encoder for \
reasons that no brain shares."""


def write_caption_images_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.caption_images.draw_captions` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    path, score, drawn = _load(folder)
    sheets = _sheets(path, drawn)
    check_writable_folder(path)
    save_figures(path, sheets)
    regions = list(dict.fromkeys(score.table["region"]))
    simulated = any(note.startswith("Simulated") for note in score.provenance.notes)
    return write_report(
        path / "report.html",
        title="Simulated: images from captions"
        if simulated
        else "Images from captions",
        summary=(
            f"{len(regions)} regions; generator {score.provenance.call['generator']}; "
            f"seed {score.provenance.seed}."
        ),
        warnings=score.provenance.notes,
        sections=[
            Section("The question", _QUESTION),
            Section(
                "What the encoder predicts",
                "\n\n".join(_conclusions(score.table)),
                tables=[_table(score.table)],
            ),
            Section(
                "Images",
                "Rows are captions; the first row has none. Below each image: "
                "predicted activation of the region. Nobody chose the images.",
                figures=[item for _, item in sheets],
            ),
        ],
        provenance=score.provenance.to_dict(),
    )


def finish_caption_images(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.caption_images.draw_captions` wrote.

    Returns
    -------
    list of str
        What limits the run, what was found, and the path of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_caption_images_report(folder)
    _, score, _ = _load(folder)
    told = _conclusions(score.table)
    return [*score.provenance.notes, *told, f"report {report}"]


def _load(folder: str | Path) -> tuple[Path, Score, pd.DataFrame]:
    path = check_path("results", folder, kind="folder")
    score = load_scores(path, (*_TABLES, *SCORE_FILES), TASK)
    return path, score, read_table(path / "drawn.parquet")


def _conclusions(scores: pd.DataFrame) -> list[str]:
    wide = scores.pivot_table(index="region", columns="condition", values="value")
    low = scores.pivot_table(index="region", columns="condition", values="ci_low")
    high = scores.pivot_table(index="region", columns="condition", values="ci_high")
    n = len(wide)
    above = low[DRAWN] > high[UNPROMPTED]
    told = [
        f"Images from captions: mean predicted activation "
        f"{number_text(float(wide[DRAWN].mean()), 2)} over {n} regions, "
        f"{number_text(float(wide[UNPROMPTED].mean()), 2)} without a caption; limits "
        f"lie above those without in {int(above.sum())} of {n} regions."
    ]
    if BANK_BEST in wide:
        told.append(
            f"The quarter that the encoder prefers has "
            f"{number_text(float(wide[BEST].mean()), 2)}; as many pictures of the "
            f"bank, the best of all, {number_text(float(wide[BANK_BEST].mean()), 2)}; "
            f"all pictures of the bank {number_text(float(wide[BANK].mean()), 2)}."
        )
    return told


def _table(scores: pd.DataFrame) -> ReportTable:
    there = [name for name in CONDITIONS if (scores["condition"] == name).any()]
    rows = []
    for region, own in scores.groupby("region", sort=False):
        values = own.set_index("condition")
        row = {"region": region}
        for name in there:
            row[name] = value_text(values.loc[name], 2)
        rows.append(row)
    return ReportTable(
        pd.DataFrame(rows),
        caption="Predicted activation, mean over the units of each region, with 95 % "
        f"limits over images. Best pictures of the bank: as many as {BEST!r}.",
        headers={"region": "Region", **{name: name.capitalize() for name in there}},
    )


def _sheets(folder: Path, drawn: pd.DataFrame) -> list[NamedFigure]:
    found = []
    for number, (region, own) in enumerate(drawn.groupby("region", sort=False)):
        mine = own[own["caption"].isna() | (own["caption_of"] == region)]
        mine = mine.fillna({"caption": "no caption"})
        pictures, texts, names = [], [], []
        for caption, part in mine.groupby("caption", sort=False):
            some = part.head(_N_SHOWN)
            pictures.append(list(load_generated(folder, some)))
            texts.append([number_text(float(v), 2) for v in some["activation"]])
            names.append("\n".join(textwrap.wrap(str(caption), 20)))
        n = min(map(len, pictures))
        axes = plot_contact_sheet(
            [row[:n] for row in pictures],
            rows=names,
            texts=[row[:n] for row in texts],
            title=f"{region}: predicted by an encoder",
        )
        item = ReportFigure(
            figure_of(axes),
            alt=f"Images from captions of the region {region}",
            caption=f"Region {region}: one row per caption, the same seeds in each.",
            image_format="png",
        )
        found.append((f"images-{number:02d}", item))
    return found
