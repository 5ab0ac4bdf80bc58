"""The report of an attention-heads run: reach, pattern and importance of heads."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from analysis.plots_directions import plot_directions
from analysis.plots_head_profiles import (
    plot_head_distances,
    plot_head_grid,
    plot_head_patterns,
    plot_offset_map,
    plot_ring_profiles,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.core.checks import check_path
from neurovis.core.files import check_writable_folder, read_table
from tasks.attention_heads_scores import LEAST_ENTROPY, MOST_OFF, TASK
from tasks.directions import direction_lines
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    value_text,
)
from tasks.runs import load_run

_QUESTION = """\
In every layer of a vision transformer several heads decide side by side which patches \
take from which. How far does a head look, how evenly, at what pattern of places, and \
what is lost without it?

The attention distance is the mean distance, in patches, of what a patch takes from; \
the class token and other tokens before the patches are left out for it. Entropy is \
that of whole rows, as a share of its largest value. The agnostic index is the mean \
cosine of rows: 1 says that all tokens look at the same places."""
_IMPORTANCE = """\
A head is left out by putting its output to 0 before the output projection. Alone \
means that all others of its layer are left out. The gradient is the mean absolute \
derivative of the loss by a factor at the head. Heads are left out one at a time: \
those that can stand in for each other all look unimportant."""
_SOURCES = """\
Li et al. (2023), IEEE Trans. Vis. Comput. Graph. 29:2888-2900, \
doi:10.1109/TVCG.2023.3261935; no code was found, definitions are choices of this \
suite. Gradient: Michel, Levy & Neubig (2019), arXiv:1905.10650. Directions: Raghu et \
al. (2021), arXiv:2108.08810, and others in the table; all are recalled."""
_MOST_MAPS = 6
_TEMPLATE = "template_"

_IMPORTANT = {
    "d_js": "Without: divergence (bits)",
    "d_loss": "Without: loss (nats)",
    "d_prob": "Without: drop of probability",
    "d_cls": "Without: class token",
    "d_js_alone": "Alone: divergence (bits)",
    "gradient": "Gradient (nats)",
}
_PROFILE = {
    "distance_patches": "Distance (patches)",
    "distance_px": "Distance (px)",
    "entropy_nats": "Entropy (nats)",
    "entropy_share": "Entropy / log N",
    "cls_share": "Class token",
    "agnostic_index": "Agnostic index",
}


def write_attention_heads_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of `tasks.attention_heads.run_attention_heads`.

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
    heads = read_table(run.folder / "heads.parquet")
    rings = read_table(run.folder / "rings.parquet")
    checks = read_table(run.folder / "checks.parquet")
    directions = read_table(run.folder / "directions.parquet")
    own = heads[heads["kind"] == "network"].reset_index(drop=True)
    reach = [
        _distance_figure(heads),
        _ring_figure(rings, 1 / float(own["n_tokens"].iloc[0])),
    ]
    even = [_grid_figure(own, "entropy_share", "Entropy / log N", (0.0, 1.0))]
    patterns = [_pattern_figure(own), *_offset_figures(run.folder, own)]
    lost = [_grid_figure(own, name, text) for name, text in _IMPORTANT.items()
            if own[name].notna().any()]  # fmt: skip
    told = _direction_figure(directions)
    save_figures(run.folder, [*reach, *even, *patterns, *lost, *told])
    sections = [
        Section("The question", _QUESTION),
        Section(
            "How far and how evenly heads look",
            figures=_items([*reach, *even]),
            tables=[
                _measure_table(own, _PROFILE, "Means over pictures, 95 % intervals.")
            ],
        ),
        Section(
            "Patterns",
            "Mean maps between patches on the two axes of their largest variance, in "
            "groups by k-means; and projections on ideal maps, 1 for a map that is the "
            "ideal one.",
            figures=_items(patterns),
            tables=[_template_table(own)],
        ),
        Section(
            "Importance",
            _IMPORTANCE,
            figures=_items(lost),
            tables=[
                _measure_table(own, _IMPORTANT, "Means over pictures, 95 % intervals.")
            ],
        ),
    ]
    if len(checks):
        sections.append(Section("Random weights", tables=[_check_table(checks)]))
    if len(directions):
        text = "Published results on networks; none of them is about people."
        sections.append(
            Section(
                "Directions",
                text,
                figures=_items(told),
                tables=[_direction_table(directions)],
            )
        )
    return write_report(
        run.folder / "report.html",
        title="Attention heads",
        summary=(
            f"{_name(own.iloc[0])}: {own['layer'].nunique()} layers, {len(own)} heads; "
            f"{run.trials['stimulus_id'].nunique()} pictures; seed "
            f"{run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[*sections, Section("Sources", _SOURCES)],
        provenance=run.provenance.to_dict(),
    )


def finish_attention_heads(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Most important heads, reach by layer, directions, and the path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_attention_heads_report(folder)
    run = load_run(folder, TASK)
    heads = read_table(run.folder / "heads.parquet")
    own = heads[heads["kind"] == "network"]
    name = "d_js" if own["d_js"].notna().any() else "d_cls"
    lines = [f"attention heads of {_name(own.iloc[0])}"]
    if own[name].notna().any():
        lines.append(f"most important heads ({_IMPORTANT[name]})")
        for row in own.nlargest(3, name).to_dict("records"):
            text = value_text(_interval(row, name), 5)
            lines.append(f"  {row['layer']} head {row['head']}: {text}")
    for model, part in heads.groupby("model", sort=False):
        by_layer = part.groupby("depth")["distance_patches"].mean()
        even = part["distance_uniform"].iloc[0]
        lines.append(
            f"{model}: distance {by_layer.iloc[0]:.2f} patches in the first layer, "
            f"{by_layer.iloc[-1]:.2f} in the last; even attention {even:.2f}"
        )
    checks = read_table(run.folder / "checks.parquet")
    if len(checks):
        held = int(checks["holds"].sum())
        lines.append(f"random weights near even attention: {held}/{len(checks)} layers")
    table = read_table(run.folder / "directions.parquet")
    return [*lines, *direction_lines(table), f"report {report}"]


# ----------------------------------------------------------------------------- figures


def _items(figures: list[NamedFigure]) -> list[ReportFigure]:
    return [item for _, item in figures]


def _distance_figure(heads: pd.DataFrame) -> NamedFigure:
    item = ReportFigure(
        figure_of(plot_head_distances(heads)),
        alt="Attention distance of every head against its layer",
        caption="Every head, with the 95 % interval over pictures.",
    )
    return "distances", item


def _ring_figure(rings: pd.DataFrame, even: float) -> NamedFigure:
    own = rings[rings["kind"] == "network"]
    item = ReportFigure(
        figure_of(plot_ring_profiles(own, even=even)),
        alt="Attention by the ring around the patch, one line per head",
        caption="Mean share that a patch takes from one patch of each ring, rings "
        "within the picture only.",
    )
    return "rings", item


def _grid_figure(
    own: pd.DataFrame,
    name: str,
    label: str,
    limits: tuple[float, float] | None = None,
) -> NamedFigure:
    item = ReportFigure(
        figure_of(plot_head_grid(own, name, label=label, limits=limits)),
        alt=f"{label}, by layer and head",
        caption=f"{label}.",
    )
    return name, item


def _pattern_figure(own: pd.DataFrame) -> NamedFigure:
    item = ReportFigure(
        figure_of(plot_head_patterns(own)),
        alt="Heads as points, close where their mean maps are alike",
        caption="Heads as layer.head.",
    )
    return "patterns", item


def _offset_figures(folder: Path, own: pd.DataFrame) -> list[NamedFigure]:
    """Draw the head in the middle of each group."""
    path = check_path("mean_maps.safetensors", folder / "mean_maps.safetensors")
    maps = load_file(path)["maps"]
    grid = (int(own["map_rows"].iloc[0]), int(own["map_columns"].iloc[0]))
    chosen = []
    for cluster, part in own.groupby("cluster"):
        points = part[["x", "y"]].to_numpy(np.float64)
        away = np.linalg.norm(points - points.mean(axis=0), axis=1)
        chosen.append((cluster, int(part.index[away.argmin()])))
    chosen = chosen[:_MOST_MAPS]
    places = axes_grid(len(chosen), 3, (2.3, 2.5))
    for (cluster, index), ax in zip(chosen, places, strict=True):
        row = own.loc[index]
        title = f"group {cluster}: {row['depth']}.{row['head']}"
        plot_offset_map(maps[index], grid, title=title, ax=ax)
    item = ReportFigure(
        figure_of(places[0]),
        alt="Where a patch looks, relative to itself, for one head of each group",
        caption="One head of each group (layer.head): mean share by the step from the "
        "patch, in patches. Each picture has its own scale.",
        image_format="png",
    )
    return [("offsets", item)]


def _direction_figure(directions: pd.DataFrame) -> list[NamedFigure]:
    shown = directions[directions["ci_low"].notna()]
    if not len(shown):
        return []
    claims = [
        textwrap.fill(f"{row['model']}: {row['claim']}", 52)
        for row in shown.to_dict("records")
    ]
    axes = plot_directions(shown.assign(claim=claims), label="% of the even distance")
    limits = shown[["ci_low", "ci_high", "difference"]].to_numpy(float)
    reach = 1.1 * max(float(np.abs(limits).max()), 1.0)
    axes.axvspan(0, reach, color="#EEF3F7", zorder=-1)  # what was published
    axes.set_xlim(-reach, reach)
    item = ReportFigure(
        figure_of(axes),
        alt="Numbers of networks beside the published directions",
        caption="Slope over depth and differences between layers; full marks: the "
        "95 % interval over pictures leaves out 0.",
        wide=True,
    )
    return [("directions", item)]


# ------------------------------------------------------------------------------ tables


def _name(row: Any) -> str:
    return f"{row['model']} (untrained)" if row["untrained"] else str(row["model"])


def _interval(row: Any, name: str) -> dict[str, Any]:
    return {
        "value": row[name],
        "ci_low": row[f"{name}_low"],
        "ci_high": row[f"{name}_high"],
    }


def _measure_table(
    own: pd.DataFrame, measures: dict[str, str], caption: str
) -> ReportTable:
    rows = []
    for row in own.to_dict("records"):
        line = {"Head": f"{row['layer']} {row['head']}"}
        for name, text in measures.items():
            # Numbers of very different size: four digits that say something.
            digits = _digits(own[name])
            line[text] = value_text(_interval(row, name), digits)
        rows.append(line)
    return ReportTable(pd.DataFrame(rows), caption=caption)


def _digits(values: pd.Series) -> int:
    """Return decimals that show three figures of the median."""
    size = float(values.abs().median())
    if not np.isfinite(size) or size == 0:
        return 3
    return int(np.clip(2 - np.floor(np.log10(size)), 0, 6))


def _template_table(own: pd.DataFrame) -> ReportTable:
    columns = [str(c) for c in own.columns]
    names = [c for c in columns if c.startswith(_TEMPLATE) and f"{c}_low" in columns]
    return _measure_table(
        own,
        {name: name.removeprefix(_TEMPLATE) for name in names},
        "Projections on ideal maps, means over pictures, 95 % intervals.",
    )


def _check_table(checks: pd.DataFrame) -> ReportTable:
    verdict = checks["holds"].map({True: "yes", False: "no"})
    return ReportTable(
        checks.assign(holds=verdict),
        caption="Heads of random weights look almost evenly: on average entropy above "
        f"{LEAST_ENTROPY} of log N and distance within {100 * MOST_OFF:.0f} % of that "
        "of even attention.",
        headers={
            "model": "Network",
            "layer": "Layer",
            "entropy_share": "Entropy / log N",
            "distance_ratio": "Distance / even",
            "distance_ratio_low": "Least head",
            "distance_ratio_high": "Farthest head",
            "holds": "Near even",
        },
        formats={
            "entropy_share": ".4f",
            "distance_ratio": ".4f",
            "distance_ratio_low": ".4f",
            "distance_ratio_high": ".4f",
        },
    )


def _direction_table(directions: pd.DataFrame) -> ReportTable:
    rows = [
        {
            "Network": _name(row),
            "Claim": row["claim"],
            "Published for": row["people"],
            "Source": row["source"],
            "Number (%)": value_text({**row, "value": row["difference"]}, 2),
            "Verdict": row["verdict"],
        }
        for row in directions.to_dict("records")
    ]
    return ReportTable(pd.DataFrame(rows), caption="Directions, all recalled.")
