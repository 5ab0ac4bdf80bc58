"""The report of a run of the Gestalt battery: curves, verdicts, tables."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.plots_gestalt import plot_by_level, plot_verdicts
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.files import check_writable_folder, read_table
from stimuli.bracket_search import draw_bracket_search
from stimuli.convex_regions import draw_convex_regions
from stimuli.display import Display
from stimuli.dot_lattices import draw_dot_lattice
from stimuli.figure_ground import draw_lower_region, draw_owned_edge
from stimuli.gabor_fields import draw_contour_field
from stimuli.illusory_contours import draw_kanizsa
from tasks.gestalt import TASK
from tasks.gestalt_measures import TESTS
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    p_text,
    save_figures,
    value_text,
)
from tasks.runs import SCORE_FILES, load_scores

_QUESTION = """\
People see more than what is drawn: contours and surfaces between inducers, rows of \
dots that are near or alike, outlines that are closed, paths through noise, and \
figures on a ground. The battery asks layer by layer whether a network represents \
pictures as if it did too.

Every number is held against a direction only: what people do was measured with \
other pictures, and is recalled from the literature. Untrained networks and pixels \
stand beside: what they do as well needs no learning."""
_SOURCES = """\
Illusory contours: Kanizsa (1979); Shipley & Kellman (1992), Percept. Psychophys. \
52:106; Ringach & Shapley (1996), Vision Res. 36:3037. Grouping: Kubovy & Wagemans \
(1995), Psychol. Sci. 6:225; Elder & Zucker (1993), Vision Res. 33:981. Contours: \
Field, Hayes & Hess (1993), Vision Res. 33:173. Figure and ground: Peterson & \
Salvagio (2008), J. Vis. 8(16):4; Vecera, Vogel & Woodman (2002), J. Exp. Psychol. \
Gen. 131:194; Zhou, Friedman & von der Heydt (2000), J. Neurosci. 20:6594. All human \
numbers are recalled."""

_TEXTS = {
    "illusory-contours": (
        "Illusory contours",
        "How much more the patches that an illusory edge crosses resemble those of a "
        "real outline than with inducers turned outward, -1 to 1. Patches that an "
        "inducer touches do not count; a layer whose patches are larger than the gaps "
        "has no value. Raw tokens share much of their activation whatever is shown, "
        "which makes the index small; "
        '"evoked" takes away the tokens of an empty picture.',
    ),
    "fill-in": (
        "Fill-in of the surface",
        "How much more inside and outside differ with an illusory figure than with "
        "inducers turned outward. Outside are the mirrored places on the other half of "
        "the picture. Discs turned outward have their whole side towards the inside, "
        "so that large receptive fields push the index below 0.",
    ),
    "fat-thin": (
        "Fat and thin figures",
        "Which of two figures is fat, by a readout that was trained on real outlines.",
    ),
    "proximity": (
        "Grouping by proximity",
        "Dot lattices are compared with stripes along the shorter and the longer "
        "distance. s is the slope of the attraction law; its temperature is that of "
        "the spread over lattices with equal distances. A network without noise has "
        "far steeper slopes than people.",
    ),
    "similarity": (
        "Grouping by similarity",
        "Columns along the longer distance are alike. The shift is the change of the "
        "evidence against the same lattices without differences.",
    ),
    "closure": (
        "Closure",
        "Finding the outline of another shape, with closed and with open outlines of "
        "the same brackets.",
    ),
    "contours": (
        "Contours among patches",
        "Which of two fields has a path, by a readout of other fields. Both fields "
        "have patches at the same places.",
    ),
    "convexity": (
        "Convexity",
        "A probe that was trained on discs is asked for convex and concave regions.",
    ),
    "lower-region": ("Lower region", "The same probe for two halves of a square."),
    "border-ownership": (
        "Border ownership",
        "On which side of an edge the figure lies, from the token at the edge; the "
        "edge itself looks the same.",
    ),
}
_CURVES = {
    "illusory-contours": [("ic_index", "tokens"), ("ic_index", "evoked")],
    "fill-in": [("fill_in_index", "surface")],
    "fat-thin": [("accuracy", "illusory 0.5"), ("accuracy", "local 0.5")],
    "proximity": [("chose_nearer", "dots")],
    "closure": [("accuracy", "closed"), ("accuracy", "open")],
    "contours": [("accuracy", "open")],
    "convexity": [("chose_convex", "homogeneous"), ("chose_convex", "heterogeneous")],
    "border-ownership": [("accuracy", "square")],
}
_LABELS = {
    "ic_index": "Index",
    "fill_in_index": "Index",
    "accuracy": "Right answers",
    "chose_nearer": "Chose the shorter distance",
    "chose_convex": "Chose convex",
}


def write_gestalt_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.gestalt.run_gestalt`).

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
    folder = Path(folder)
    score = load_scores(folder, (*SCORE_FILES, "directions.parquet"), TASK)
    check_writable_folder(folder)
    scores = score.table
    directions = read_table(folder / "directions.parquet")
    pictures = _pictures()
    verdicts = (
        "verdicts",
        ReportFigure(
            figure_of(plot_verdicts(directions)),
            alt="Which layers of which models do as people do",
            caption="Differences as people have them (green), reversed (orange), or "
            "undecided (grey: the 95 % interval includes 0).",
            wide=True,
        ),
    )
    sections, every = [], [pictures, verdicts]
    names = [name for name in TESTS if (scores["test"] == name).any()]
    for name in names:
        own = scores[scores["test"] == name]
        figures = [_curve(own, name, *which) for which in _CURVES.get(name, [])]
        every += figures
        title, text = _TEXTS[name]
        sections.append(
            Section(
                title,
                text,
                figures=[item for _, item in figures],
                tables=[_table(own, title)],
            )
        )
    save_figures(folder, every)
    n_models = scores.loc[scores["kind"] != "people", "model"].nunique()
    return write_report(
        folder / "report.html",
        title="Gestalt battery",
        summary=(
            f"{n_models} models, {len(names)} tests; seed {score.provenance.seed}."
        ),
        warnings=score.provenance.notes,
        sections=[
            Section("The question", _QUESTION, figures=[pictures[1]]),
            Section(
                "Beside people", figures=[verdicts[1]], tables=[_claims(directions)]
            ),
            *sections,
            Section("Sources", _SOURCES),
        ],
        provenance=score.provenance.to_dict(),
    )


def finish_gestalt(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        How many claims hold for each layer, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_gestalt_report(folder)
    directions = read_table(Path(folder) / "directions.parquet")
    lines = [
        "Gestalt battery: claims about people that hold / are reversed / undecided"
    ]
    for (model, layer), part in directions.groupby(["model", "layer"], sort=False):
        counts = part["verdict"].value_counts()
        mark = ""
        if part["untrained"].iloc[0] and "untrained" not in str(model):
            mark = " (untrained)"
        told = " / ".join(
            str(counts.get(word, 0)) for word in ("holds", "reversed", "undecided")
        )
        lines.append(f"  {f'{model}{mark} {layer}':<44}{told}")
    return [*lines, f"report {report}"]


def _pictures() -> NamedFigure:
    """One picture of each test."""
    displays: dict[str, Display] = {
        "illusory": draw_kanizsa(side_deg=3.5),
        "turned outward": draw_kanizsa(side_deg=3.5, kind="outward"),
        "fat": draw_kanizsa(side_deg=3.5, tilt_deg=8),
        "lattice, 1.3": draw_dot_lattice(1.3),
        "closed": draw_bracket_search(6),
        "open": draw_bracket_search(6, closed=False),
        "path, 15 deg": draw_contour_field(grid=8, path_length=6, px_per_deg=28),
        "4 regions": draw_convex_regions(4),
        "lower region": draw_lower_region(),
        "edge of a figure": draw_owned_edge(),
    }
    axes = axes_grid(len(displays), 5, (1.9, 2.15))
    for one, (name, display) in zip(axes, displays.items(), strict=True):
        one.imshow(display.image, cmap="gray", vmin=0, vmax=1)
        one.set_title(name, fontsize=9)
        one.set_axis_off()
    item = ReportFigure(
        figure_of(axes[0]),
        alt="One picture of each test of the battery",
        caption="What is shown.",
        wide=True,
        image_format="png",
    )
    return "pictures", item


def _curve(own: pd.DataFrame, test: str, metric: str, condition: str) -> NamedFigure:
    rows = own[(own["metric"] == metric) & (own["condition"] == condition)]
    if test == "proximity":
        rows = rows[rows["level"] != 1]
    chance = rows["chance"].dropna().unique()
    axes = plot_by_level(
        rows,
        level=TESTS[test].level_name.capitalize(),
        label=_LABELS[metric],
        title=f"{_TEXTS[test][0]}: {condition}",
        chance=float(chance[0]) if len(chance) == 1 else None,
        log=test == "fat-thin",
    )
    words = condition.replace(" ", "_").replace(".", "_")
    item = ReportFigure(
        figure_of(axes),
        alt=f"{_TEXTS[test][0]}, {condition}: {_LABELS[metric].lower()} by level",
        caption=f"{_TEXTS[test][0]}, {condition}, with 95 % intervals; dashed: chance.",
    )
    return f"{test.replace('-', '_')}_{words}", item


def _table(own: pd.DataFrame, title: str) -> ReportTable:
    """Values of all levels together, and p values where there are some."""
    whole = own[own["level"].isna() | own["p_value"].notna()]
    rows: list[dict[str, Any]] = []
    for row in whole.to_dict("records"):
        mark = ""
        if row["untrained"] and "untrained" not in str(row["model"]):
            mark = " (untrained)"
        metric = str(row["metric"]).replace("_", " ")
        level = "" if pd.isna(row["level"]) else f", {row['level']:g}"
        p = "" if pd.isna(row["p_value"]) else f"; p {p_text(float(row['p_value']))}"
        rows.append(
            {
                "observer": f"{row['model']}{mark} {row['layer']}",
                "what": f"{metric}: {row['condition']}{level}",
                "text": value_text(row, 3) + p,
            }
        )
    table = pd.DataFrame(rows, columns=["observer", "what", "text"])
    wide = table.pivot_table(
        index="what", columns="observer", values="text", aggfunc="first", sort=False
    )
    return ReportTable(
        wide.reset_index(),
        caption=f"{title}: values with 95 % intervals.",
        headers={"what": "Measure"},
    )


def _claims(directions: pd.DataFrame) -> ReportTable:
    table = directions[["claim", "people", "source"]].drop_duplicates()
    return ReportTable(
        table,
        caption="What people do, and who found it.",
        headers={"claim": "Claim", "people": "People", "source": "Source"},
    )
