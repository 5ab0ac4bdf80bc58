"""The report of pictures that show two things in two views."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.plot_style import number_text
from analysis.plots_braindive import plot_contact_sheet
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import Score
from neurovis.generation.views import make_view
from tasks.anagrams import BOTH, FIRST, NEITHER, SECOND, TASK, turn
from tasks.braindive import load_generated
from tasks.report_parts import figure_of, save_figures, value_text
from tasks.runs import load_scores

_N_PICTURES = 8
_MEASURES = {
    "judge_accuracy": "Judge sees it (share)",
    "heldout_activation": "Held-out brain (z)",
    "guide_activation": "Guide (z)",
}
_QUESTION = """\
Can one picture show one thing upright and another in another view? Two regions of a \
simulated brain guide it, each in its view; what is predicted for both views is \
combined at every step. A judge, a network that guided nothing, names what each view \
shows.

Controls: guidance of one view alone, and none. A picture counts as an anagram if the \
judge names both views as meant: at chance 1 in 25 for five categories."""
_SOURCES = """\
Visual anagrams: Geng, Park & Owens (2024), CVPR, arXiv:2311.17919. Balancing and \
anti-segregation: WACV (2025), arXiv:2412.02693. Guidance: Luo et al. (2023), NeurIPS \
36, arXiv:2306.03089. Interval of a share: Wilson (1927), J. Am. Stat. Assoc. \
22:209-212."""


def write_anagrams_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.anagrams.run_anagrams` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    home, score, looks = _read(folder)
    check_writable_folder(home)
    settings = score.provenance.call["settings"]
    sheet = ReportFigure(
        figure_of(_sheet(home, looks, settings)),
        alt="Pictures in both views, the ones that the judge named first",
        caption="Each picture in both views, below it what the judge sees. Pictures "
        "that were named as meant in both views come first, then the others by seed: "
        "a choice of the best. Brains are simulated.",
        wide=True,
        image_format="png",
    )
    save_figures(home, [("anagrams", sheet)])
    sections = [
        Section("The question", _QUESTION),
        Section("What was found", "\n\n".join(_told(score)), tables=[_table(score)]),
        Section("Pictures", figures=[sheet]),
        Section("Sources", _SOURCES),
    ]
    return write_report(
        home / "report.html",
        title="Anagrams of two regions",
        summary=(
            f"{settings['regions'][0]} ({settings['views'][0]}) and "
            f"{settings['regions'][1]} ({settings['views'][1]}); "
            f"{settings['n_images']} pictures per condition; {_moved(settings)}seed "
            f"{score.provenance.seed}."
        ),
        warnings=score.provenance.notes,
        sections=sections,
        provenance=score.provenance.to_dict(),
    )


def finish_anagrams(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        What `tasks.anagrams.run_anagrams` wrote.

    Returns
    -------
    list of str
        Share of pictures that the judge names in both views, for each condition; path
        of the report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_anagrams_report(folder)
    _, score, _ = _read(folder)
    return [*score.provenance.notes, *_told(score), f"report {report}"]


def _read(folder: str | Path) -> tuple[Path, Score, pd.DataFrame]:
    home = Path(folder)
    score = load_scores(home, ["looks.parquet", "manifest.csv"], TASK)
    return home, score, read_table(home / "looks.parquet")


def _moved(settings: dict[str, Any]) -> str:
    rate = settings["segregation"]
    return f"anti-segregation {rate:g}; " if rate else ""


def _told(score: Score) -> list[str]:
    table = score.table
    rows = table[(table["view"] == "both") & (table["metric"] == "judge_accuracy")]
    shares = rows.set_index("model")
    lines = [
        f"Named as meant in both views: {name} {value_text(shares.loc[name], 2)}."
        for name in (BOTH, FIRST, SECOND, NEITHER)
    ]
    controls = shares.loc[[FIRST, SECOND, NEITHER]]
    if shares["ci_low"][BOTH] > controls["ci_high"].max():
        lines.append("Guiding both views makes more anagrams than any control.")
    else:
        lines.append("Guiding both views is not distinguishable from every control.")
    return lines


def _table(score: Score) -> ReportTable:
    keys = ["model", "view", "region", "n"]
    records = score.table.to_dict("records")
    texts = score.table.assign(text=[value_text(x, 2) for x in records])
    wide = texts.pivot_table("text", keys, "metric", aggfunc="first", dropna=False)
    order = score.table.drop_duplicates(keys).set_index(keys).index
    # Both views together have a share of pictures, and no activation.
    wide = wide.loc[order, list(_MEASURES)].fillna("").reset_index()
    return ReportTable(
        wide[["model", "view", "region", *_MEASURES, "n"]],
        "Shares have Wilson's 95 % intervals; activations (standard deviations) normal "
        "ones over pictures.",
        headers={
            "model": "Guided",
            "view": "View",
            "region": "Region",
            **_MEASURES,
        },
    )


def _sheet(home: Path, looks: pd.DataFrame, settings: dict[str, Any]) -> Axes:
    own = looks[looks["condition"] == BOTH]
    hits = own.groupby("seed")["judge_accuracy"].sum()
    order = hits.sort_values(ascending=False, kind="stable").index[:_N_PICTURES]
    first = own[own["view_number"] == 1].set_index("seed").loc[order]
    manifest = read_table(home / "manifest.csv")
    chosen = manifest.set_index("file").loc[first["file"]].reset_index()
    shown = load_generated(home, chosen)
    rows, texts, names = [], [], []
    for number, name in enumerate(settings["views"]):
        seen = own[own["view_number"] == number + 1].set_index("seed").loc[order]
        rows.append(list(turn(shown, make_view(name, shown.shape[1]))))
        texts.append([str(label) for label in seen["judge_label"]])
        names.append(f"{name}: {settings['regions'][number]}")
    n = number_text(float((hits == 2).sum()), 0)
    return plot_contact_sheet(
        rows,
        rows=names,
        texts=texts,
        title=f"{n} of {len(hits)} named in both views (simulated brain)",
    )
