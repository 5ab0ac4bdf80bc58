"""Figures of a leaderboard: models from best to worst, with all their cells."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALE,
    PALETTE,
    TEXT_PT,
    check_once,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from neurovis.core.checks import check_columns

_COLOURS = {"model": PALETTE[0], "baseline": GREY, "chance": GREY}
_COLUMNS = (
    *("label", "kind", "untrained", "value", "ci_low", "ci_high"),
    *("ceiling_low", "ceiling_high", "chance_low", "chance_high"),
)
_LABEL_LENGTH = 38
# Of the range of values, how much an interval may add on one side.
_MOST_MARGIN = 0.6
_CHANCE_COLOUR = "#F3E3C3"


def plot_leaderboard(
    entries: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    xlabel: str,
    title: str = "",
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the entries of one board, the first on top.

    Parameters
    ----------
    entries : DataFrame
        One row per entry, best first: `label` (printed name, unique), `kind` ("model",
        "baseline", "chance" or "people"), `untrained`, `value`, `ci_low`, `ci_high`,
        `ceiling_low`, `ceiling_high`, `chance_low`, `chance_high`; NaN where undefined.
        People are a line across the others, unless there are no others.
    cells : DataFrame
        Values of single cells: `label` and `value`.
    xlabel : str
        Name of the score, with unit.
    title : str, optional
        Text above.
    legend : bool, default True
        Whether to say what marks mean.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Marks with 95 % intervals, and a small ring for each cell. The bands are the
        range of ceilings and that of chance. Intervals far beyond all values are cut.

    Raises
    ------
    ValueError
        If a column is missing, a label occurs twice, or there is no entry.
    """
    check_columns("entries", entries.columns, _COLUMNS)
    check_columns("cells", cells.columns, ["label", "value"])
    check_once("entries", entries, ["label"])
    if entries.empty:
        raise ValueError("`entries` has no rows.")
    people = entries["kind"] == "people"
    shown = entries[~people] if (~people).any() else entries
    ax = new_axes(ax, (6.4, 1.5 + 0.36 * len(shown)))
    marks = _draw_bands(ax, shown)
    places = {str(label): -i for i, label in enumerate(shown["label"])}
    own = cells[cells["label"].isin(places) & np.isfinite(cells["value"])]
    # A single cell is its own mean.
    own = own[own.groupby("label")["value"].transform("size") > 1]
    if len(own):
        ax.scatter(
            own["value"],
            [places[str(label)] - 0.24 for label in own["label"]],
            s=15,
            facecolors="none",
            edgecolors=GREY,
            linewidths=0.8,
            zorder=2.5,
        )
        marks["one subject or seed"] = _mark(GREY, "none", size=4)
    bars = interval_bars(shown)
    for i, row in enumerate(shown.to_dict("records")):
        colour = _COLOURS.get(str(row["kind"]), HUMAN_COLOUR)
        if not np.isfinite(row["value"]):
            _write_undefined(ax, -i)
            continue
        width = None if bars is None else bars[:, i : i + 1]
        ax.errorbar(
            [row["value"]],
            [-i],
            xerr=None if width is None or np.isnan(width).any() else width,
            fmt="s" if row["kind"] in ("baseline", "chance") else "o",
            ms=6.5,
            color=colour,
            mfc="white" if row["untrained"] else colour,
            mew=1.4,
            elinewidth=1.6,
            zorder=3,
        )
    marks |= _kinds_of_marks(shown)
    if people.any() and not people.all():
        for value in entries.loc[people, "value"].dropna():
            ax.axvline(value, color=HUMAN_COLOUR, lw=1.4, ls=(0, (4, 2)), zorder=2)
            marks["people"] = Line2D([], [], color=HUMAN_COLOUR, lw=1.4, ls=(0, (4, 2)))
    _label_entries(ax, shown)
    _limit_axis(ax, entries, own)
    ax.set_xlabel(textwrap.fill(xlabel, _LABEL_LENGTH), parse_math=False)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0, labelsize=TEXT_PT - 0.5)
    if legend and marks:
        legend_below(ax, marks, columns=3)
    return ax


def leaderboard_labels(entries: pd.DataFrame) -> list[str]:
    """Return printed names of entries.

    Parameters
    ----------
    entries : DataFrame
        `model`, `layer` ("" for none), `kind` and `untrained`.

    Returns
    -------
    list of str
        Model and layer, with "(untrained)" where weights are random; "people" for
        the model "human".

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> row = {"model": "a", "layer": "conv1", "kind": "model", "untrained": True}
    >>> leaderboard_labels(pd.DataFrame([row]))
    ['a conv1 (untrained)']
    """
    columns = ["model", "layer", "kind", "untrained"]
    check_columns("entries", entries.columns, columns)
    found = []
    for model, layer, kind, untrained in entries[columns].itertuples(index=False):
        text = f"{model} {layer}".strip()
        if kind == "people" and model == "human":
            text = "people"
        marked = untrained and "untrained" not in text.lower()
        found.append(f"{text} (untrained)" if marked else text)
    return found


def _draw_bands(ax: Axes, rows: pd.DataFrame) -> dict[str, Any]:
    marks: dict[str, Any] = {}
    low, high = rows["ceiling_low"].min(), rows["ceiling_high"].max()
    if np.isnan(high):
        high = rows["ceiling_low"].max()
    if np.isfinite(low) and np.isfinite(high):
        if high - low > 1e-3 * abs(high):
            ax.axvspan(low, high, color=PALE, alpha=0.6, lw=0, zorder=0.5)
            marks["noise ceiling"] = Patch(facecolor=PALE, alpha=0.6)
        else:
            ax.axvline(high, color=GREY, lw=1.6, zorder=0.5)
            marks["noise ceiling"] = Line2D([], [], color=GREY, lw=1.6)
    low, high = rows["chance_low"].min(), rows["chance_high"].max()
    if np.isfinite(low) and np.isfinite(high):
        if high > low:
            ax.axvspan(low, high, color=_CHANCE_COLOUR, alpha=0.7, lw=0, zorder=0.4)
            marks["chance"] = Patch(facecolor=_CHANCE_COLOUR, alpha=0.7)
        else:
            ax.axvline(high, color=_CHANCE_COLOUR, lw=2.5, zorder=0.4)
            marks["chance"] = Line2D([], [], color=_CHANCE_COLOUR, lw=2.5)
    return marks


def _mark(colour: str, inside: str, *, marker: str = "o", size: float = 6) -> Line2D:
    return Line2D(
        [], [], marker=marker, ls="none", color=colour, mfc=inside, mew=1.2, ms=size
    )


def _kinds_of_marks(rows: pd.DataFrame) -> dict[str, Any]:
    marks: dict[str, Any] = {}
    model = _COLOURS["model"]
    if (rows["kind"] == "model").any():
        marks["model"] = _mark(model, model)
    if rows["untrained"].any():
        marks["untrained"] = _mark(model, "white")
    if rows["kind"].isin(["baseline", "chance"]).any():
        marks["baseline"] = _mark(GREY, GREY, marker="s")
    return marks


def _write_undefined(ax: Axes, place: int) -> None:
    ax.annotate(
        "undefined",
        (0.01, place),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=TEXT_PT - 1.5,
        color=GREY,
        style="italic",
    )


def _label_entries(ax: Axes, rows: pd.DataFrame) -> None:
    labels = [_shortened(str(label)) for label in rows["label"]]
    ax.set_yticks(-np.arange(len(rows)), labels, parse_math=False)
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    for i, value in enumerate(rows["value"].astype(float)):
        ax.annotate(
            number_text(value, 3 if abs(value) < 10 else 1),
            (1.0, -i),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT_PT - 1,
            color=GREY,
        )


def _limit_axis(ax: Axes, entries: pd.DataFrame, cells: pd.DataFrame) -> None:
    """Cut intervals that reach far beyond all values: those of two subjects do."""
    columns = ("value", "ceiling_low", "ceiling_high", "chance_low", "chance_high")
    every = np.concatenate([*(entries[c] for c in columns), cells["value"]])
    known = every[np.isfinite(every)].astype(np.float64)
    if len(known) < 2 or known.max() == known.min():
        return
    low, high = known.min(), known.max()
    margin = _MOST_MARGIN * (high - low)
    left, right = ax.get_xlim()
    ax.set_xlim(max(left, low - margin), min(right, high + margin))


def _shortened(text: str) -> str:
    """Cut text in the middle: names differ at their ends too."""
    if len(text) <= _LABEL_LENGTH:
        return text
    half = _LABEL_LENGTH // 2 - 1
    return f"{text[:half]} … {text[-half:]}"
