"""Figures of trained encoders: models side by side in regions, panels of attention."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALETTE,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    set_title,
)
from analysis.plots_attention import plot_attention_map
from analysis.plots_encoding import model_labels
from neurovis.core.checks import check_array, check_columns, check_whole

_COLUMNS = ("model", "subject", "family", "region", "n_units", "value", "ci_low")
_BOUNDS = ("ci_high", "ceiling_low", "chance_low", "chance_high", "untrained")
_CHANCE_COLOUR = "#F3E3C3"
_BROKEN = (0, (4, 2.2))
# Told apart where colours come twice.
_HATCHES = ("", "//", "..", "xx")
_GROUP = 0.82  # of the distance from one region to the next
_SLANTED = 9  # letters of a name from which it is written at a slant
_PANEL_IN = 1.3
_SCALE_LABEL = "Attention (share ÷ share of area; 1 = even)"


def plot_region_bars(
    scores: pd.DataFrame,
    *,
    ylabel: str,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the scores of several models in each region, beside ceiling and chance.

    Parameters
    ----------
    scores : DataFrame
        One row per subject, region and model: `model`, `subject`, `family`, `region`,
        `n_units`, `value`, `ci_low`, `ci_high`, `untrained`; `ceiling_low`,
        `chance_low` and `chance_high` are drawn where they are known.
    ylabel : str
        Name of the score, with unit.
    labels : mapping of str to str, optional
        Printed names of models; `analysis.plots_encoding.model_labels` by default.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure, as wide as there are bars, by default.

    Returns
    -------
    Axes
        One group of bars per region, in the order of the table, with the number of its
        units; bars of untrained networks are open. Of one subject with intervals; of
        several their mean, and a dot for each. A broken line is the mean ceiling of a
        region, the band behind its bars chance. An undefined score is a cross.

    Raises
    ------
    ValueError
        If a column is missing, there are no rows, or a row comes twice.
    """
    check_columns("scores", scores.columns, [*_COLUMNS, *_BOUNDS])
    if scores.empty:
        raise ValueError("`scores` has no rows.")
    if scores.duplicated(["subject", "family", "region", "model"]).any():
        raise ValueError(
            "`scores` has several rows of one subject, region and model: choose one "
            "layer, metric and condition."
        )
    told = model_labels(scores) | dict(labels or {})
    models = list(dict.fromkeys(scores["model"]))
    places = list(dict.fromkeys(zip(scores["family"], scores["region"], strict=True)))
    width = _GROUP / len(models)
    n_bars = len(places) * len(models)
    ax = new_axes(ax, (min(12.0, max(4.6, 1.5 + 0.3 * n_bars + 0.2 * len(places))), 4))
    ax.axhline(0, color=GREY, linewidth=1, zorder=1)
    entries: dict[str, Any] = {}
    for k, model in enumerate(models):
        colour = PALETTE[k % len(PALETTE)]
        own = scores[scores["model"] == model]
        is_open = bool(own["untrained"].any())
        look: dict[str, Any] = {
            "facecolor": "white" if is_open else colour,
            "edgecolor": colour if is_open else "white",
            "hatch": _HATCHES[k // len(PALETTE) % len(_HATCHES)],
            "linewidth": 1.4 if is_open else 0.4,
        }
        entries[told[model]] = Patch(**look)
        for number, place in enumerate(places):
            here = own[(own["family"] == place[0]) & (own["region"] == place[1])]
            at = number + (k - (len(models) - 1) / 2) * width
            _draw_bar(ax, at, 0.92 * width, here, colour, look)
    for number, (family, region) in enumerate(places):
        here = scores[(scores["family"] == family) & (scores["region"] == region)]
        _draw_bounds(ax, number, here, entries)
    names = [_region_text(scores, *place) for place in places]
    slant = len(places) > 5 and max(len(r) for _, r in places) > _SLANTED
    more: Any = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(places)), names, parse_math=False, **more if slant else {})
    ax.set_xlim(-0.6, len(places) - 0.4)
    ax.set_ylabel(ylabel)
    if title:
        set_title(ax, title)
    finish(ax)
    ax.tick_params(axis="x", length=0)
    legend_below(ax, entries, columns=3 if n_bars > 12 else 2)
    return ax


def _draw_bar(
    ax: Axes,
    at: float,
    width: float,
    rows: pd.DataFrame,
    colour: str,
    look: dict[str, Any],
) -> None:
    values = rows["value"].to_numpy(np.float64)
    known = values[np.isfinite(values)]
    if not len(known):
        ax.plot(at, 0, "x", color=colour, zorder=3, clip_on=False)
        return
    ax.bar(at, known.mean(), width, zorder=2, **look)
    if len(rows) > 1:
        spread = np.linspace(-0.25, 0.25, len(values)) * width
        ax.plot(
            at + spread,
            values,
            "o",
            color=HUMAN_COLOUR,
            markerfacecolor="white",
            markersize=3.2,
            linestyle="none",
            zorder=4,
        )
        return
    bars = interval_bars(rows)
    if bars is not None:
        ax.errorbar(
            at, values[0], yerr=bars, fmt="none", color=HUMAN_COLOUR, lw=1.3, zorder=4
        )


def _draw_bounds(
    ax: Axes, number: int, rows: pd.DataFrame, entries: dict[str, Any]
) -> None:
    left, right = number - _GROUP / 2 - 0.03, number + _GROUP / 2 + 0.03
    low, high = rows["chance_low"].min(), rows["chance_high"].max()
    if np.isfinite(low) and np.isfinite(high):
        band = Rectangle(
            (left, low), right - left, high - low, fc=_CHANCE_COLOUR, lw=0, zorder=0.6
        )
        entries["chance (95 %)"] = ax.add_patch(band)
    ceiling = rows["ceiling_low"].mean()
    if np.isfinite(ceiling):
        entries["noise ceiling"] = ax.hlines(
            ceiling, left, right, color=HUMAN_COLOUR, lw=1.4, linestyles=_BROKEN
        )


def _region_text(scores: pd.DataFrame, family: str, region: str) -> str:
    here = scores[(scores["family"] == family) & (scores["region"] == region)]
    n = here.groupby("subject")["n_units"].first().sum()
    return f"{region}\n({n:.0f})"


def plot_attention_panels(
    maps: ArrayLike,
    titles: Sequence[str],
    *,
    columns: int = 8,
    row_names: Sequence[str] = (),
    largest: float | None = None,
    title: str = "",
) -> Figure:
    """Draw many maps of attention with one scale of colours.

    Parameters
    ----------
    maps : array-like of float, shape (n_maps, h, w)
        Shares that add up to 1 over the grid; a map with NaN is blank.
    titles : sequence of str
        Text above each panel, perhaps "".
    columns : int, default 8
        Panels side by side.
    row_names : sequence of str, optional
        Text on the left of each row of panels.
    largest : float, optional
        Upper end of the colours, in multiples of even attention; the largest value, but
        at least 2, by default: maps that are nearly even look so.
    title : str, optional
        Text above all.

    Returns
    -------
    matplotlib.figure.Figure
        Panels row by row.

    Raises
    ------
    TypeError, ValueError
        If maps do not hold shares, or numbers of maps, titles and rows do not fit.

    Examples
    --------
    >>> figure = plot_attention_panels(np.full((3, 2, 2), 0.25), ["a", "b", "c"])
    >>> [ax.get_title(loc="left") for ax in figure.axes[:3]]
    ['a', 'b', 'c']
    """
    shares = check_array("maps", maps, shape=(None, None, None))
    check_whole("columns", columns, low=1)
    n, height, width = shares.shape
    if n == 0 or len(titles) != n:
        raise ValueError(
            f"`titles` has {len(titles)} entries for {n} maps: give one or more maps, "
            "each with a title."
        )
    columns = min(columns, n)
    n_rows = -(-n // columns)
    if row_names and len(row_names) != n_rows:
        raise ValueError(f"`row_names` needs {n_rows} entries; got {len(row_names)}.")
    if largest is None:
        largest = max(2.0, float(np.nanmax(shares, initial=0.0)) * height * width)
    named = sum(any(titles[at : at + columns]) for at in range(0, n, columns))
    across = max(3.0, _PANEL_IN * columns + 1.1)
    down = max(1.9, _PANEL_IN * height / width * n_rows + 0.25 * named + 0.3)
    down += 0.3 if title else 0
    figure = Figure((across, down), layout="constrained")
    if title:
        heading = figure.suptitle(title, x=0.01, ha="left", fontsize=TEXT_PT + 1.5)
        heading.set_parse_math(False)
    grid = np.atleast_1d(figure.subplots(n_rows, columns)).ravel()
    for ax, map_, text in zip(grid, shares, titles, strict=False):
        plot_attention_map(map_, largest=largest, bar=False, ax=ax)
        ax.set_title(text, loc="left", fontsize=TEXT_PT - 1, parse_math=False)
    for ax in grid[n:]:
        ax.set_axis_off()
    for ax, text in zip(grid[::columns], row_names, strict=False):
        ax.text(
            -0.06,
            0.5,
            text,
            transform=ax.transAxes,
            rotation=90,
            ha="right",
            va="center",
            fontsize=TEXT_PT - 1.5,
            color=GREY,
            parse_math=False,
        )
    scale = figure.colorbar(
        grid[0].images[0], ax=list(grid), fraction=0.04, pad=0.01, aspect=18
    )
    label = _SCALE_LABEL if down > 2.6 else "Attention (1 = even)"
    scale.set_label(label, fontsize=TEXT_PT - 1)
    scale.ax.tick_params(labelsize=TEXT_PT - 1.5, color=GREY)
    scale.outline.set_visible(False)
    scale.ax.axhline(1, color="white", lw=1.2)
    return figure
