"""The part of a report that tells where the queries of trained encoders look."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.plots_attention import plot_attention_regions, plot_box_guidance
from analysis.plots_encoder import plot_attention_panels
from analysis.plots_encoding import model_labels
from analysis.report import ReportFigure, ReportTable, Section
from neurovis.core.files import read_table
from tasks.brain_encoder import ATTENTION_FILE
from tasks.encoder_attention import AttentionMaps, attention_file, load_attention
from tasks.encoding_layers import file_name
from tasks.encoding_report_parts import chosen_layers, simulated_mark
from tasks.encoding_run import EncodingRun
from tasks.report_parts import NamedFigure, figure_of, p_text

_MOST_QUERIES = 50
_SHOWN_QUERIES, _SHOWN_PICTURES = 6, 4
# Of the information that there could be; below, all pictures are looked at alike.
_ROUTED = 1e-4
_ATTENTION_TEXT = """\
Shares of attention over places of the map, in the last layer, averaged over heads \
and runs, for held-out pictures; 1 is even attention. x (to the right) and y (upwards) \
of the centre and the spread are told in widths of the picture that the network sees, \
from its centre. Routing is the share of the entropy of the attended place that the \
picture explains: 0 where all pictures are looked at alike, 1 where the picture decides.

Attention is no proof of what an encoder uses. It weighs places of a feature map whose \
values already hold much of their surroundings, and what was found there is \
transformed once more before units are predicted from it: a place with much attention \
can be without effect, and one with little can decide."""
_BOXES_TEXT = """

These data are simulated, so that it is known which object a region responds to: "on \
the object" is attention inside its box over what even attention would have there, and \
p compares it with the maps of other pictures laid over the same boxes."""


def attention_section(run: EncodingRun) -> tuple[Section, list[NamedFigure]] | None:
    """Tell where the queries of the encoders of a run look.

    Parameters
    ----------
    run : EncodingRun
        A finished fit.

    Returns
    -------
    tuple of Section and list of tuple, or None
        Section of a report, on the layer of each model that was chosen over all units,
        and its figures by name; None where no attention was kept.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If maps of attention are missing or damaged.
    """
    path = run.folder / ATTENTION_FILE
    if not path.is_file():
        return None
    every = read_table(path)
    labels = model_labels(run.layers)
    tables: list[ReportTable] = []
    figures: list[NamedFigure] = []
    known = False
    for row in chosen_layers(run):
        names = ["data", "subject", "model", "layer"]
        own = every[(every[names] == row[names]).all(axis=1)]
        if own.empty:
            continue
        words = f"{row['subject']}: {labels[row['model']]} {row['layer']}".strip()
        title = f"{simulated_mark(run)}{words}"
        shown = own.iloc[:_MOST_QUERIES]
        known = known or _has_objects(shown)
        tables.append(_attention_table(shown, len(own), title))
        stem = f"{file_name(row['subject'])}_{file_name(row['model'])}"
        figures += _attention_figures(run, row, shown, title, stem)
    if not tables:
        return None
    text = _ATTENTION_TEXT + (_BOXES_TEXT if known else "")
    items = [item for _, item in figures]
    return Section("Attention", text, figures=items, tables=tables), figures


def _has_objects(shown: pd.DataFrame) -> bool:
    """Tell whether it is known where the objects were that queries should find."""
    return "mass" in shown and bool(shown["mass"].notna().any())


def _attention_table(shown: pd.DataFrame, n: int, title: str) -> ReportTable:
    columns = {
        "query": "Query",
        "x": "x",
        "y": "y",
        "spread": "Spread of the mean map",
        "spread_per_image": "Spread in a picture",
        "routing_index": "Routing",
    }
    formats = dict.fromkeys(list(columns)[1:], ".3f")
    if _has_objects(shown):
        columns |= {"ratio": "On the object", "p_value": "p"}
        formats["ratio"] = ".2f"
    table = shown[list(columns)].copy()
    numbers = list(formats)
    table[numbers] = table[numbers].round(6) + 0.0  # no -0.000
    if "p_value" in table:
        table["p_value"] = [p_text(float(p)) for p in table["p_value"]]
    some = f"; the first {len(shown)} of {n} queries" if len(shown) < n else ""
    return ReportTable(
        table.rename(columns=columns),
        caption=f"{title}{some}. All measures are in {ATTENTION_FILE}.",
        formats={columns[name]: text for name, text in formats.items()},
    )


def _attention_figures(
    run: EncodingRun, row: Any, shown: pd.DataFrame, title: str, stem: str
) -> list[NamedFigure]:
    maps = load_attention(
        attention_file(run.folder, row["subject"], row["model"], row["layer"])
    )
    n = len(shown)
    some = f"; the first {n} of {len(maps.names)}" if n < len(maps.names) else ""
    means = plot_attention_panels(maps.mean[:n], maps.names[:n], title=title)
    figures: list[NamedFigure] = [
        (
            f"attention_{stem}",
            ReportFigure(
                means,
                alt=f"Mean attention of each query, {title}",
                caption=f"{title}: mean over held-out pictures, one panel per "
                f"query{some}.",
                wide=True,
                image_format="png",
            ),
        )
    ]
    if (shown["routing_index"] > _ROUTED).any():
        figures.append(_example_figure(run, row, maps, title, stem))
    axes = plot_attention_regions(shown, title=title)
    _zoom(axes, shown)
    item = ReportFigure(
        figure_of(axes),
        alt=f"Entropy of attention of each query, {title}",
        caption=f"{title}: how widely queries look in single pictures, and what their "
        "mean map hides; the gap is what the picture decides.",
    )
    figures.append((f"attention_entropy_{stem}", item))
    if _has_objects(shown):
        axes = plot_box_guidance(shown, title=title)
        item = ReportFigure(
            figure_of(axes),
            alt=f"Attention on the objects that regions respond to, {title}",
            caption=f"{title}: attention inside the box of the object that the region "
            "responds to, and inside the same box by the maps of other pictures.",
        )
        figures.append((f"attention_objects_{stem}", item))
    return figures


def _zoom(axes: Any, shown: pd.DataFrame) -> None:
    # Entropies lie close to that of even attention; lengths of bars stay true.
    low = float(shown["entropy_bits_per_image"].min())
    high = float(shown["max_entropy_bits"].max())
    if np.isfinite(low):
        room = max(high - low, 0.1)
        axes.set_xlim(max(0.0, low - 0.15 * room), high + 0.08 * room)


def _example_figure(
    run: EncodingRun, row: Any, maps: AttentionMaps, title: str, stem: str
) -> NamedFigure:
    examples = maps.examples[:_SHOWN_PICTURES, :_SHOWN_QUERIES]
    names = maps.names[:_SHOWN_QUERIES]
    held = run.rows(row["subject"]).drop_duplicates("row").set_index("row")
    pictures = [str(held.loc[r, "stimulus_id"]) for r in maps.rows[: len(examples)]]
    figure = plot_attention_panels(
        examples.reshape(-1, *examples.shape[2:]),
        [*names, *[""] * (len(names) * (len(examples) - 1))],
        columns=len(names),
        row_names=pictures,
        title=title,
    )
    item = ReportFigure(
        figure,
        alt=f"Attention in single pictures, {title}",
        caption=f"{title}: the first {len(examples)} held-out pictures (rows) and "
        f"{len(names)} queries (columns). Pictures themselves are not kept in the run.",
        wide=True,
        image_format="png",
    )
    return f"attention_pictures_{stem}", item
