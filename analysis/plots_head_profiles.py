"""Figures of attention heads: reach, strength by ring, pattern, importance.

Every function draws on the axes it is given, or on those of a new figure, and returns
the axes. Tables are those of `tasks.attention_heads`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from analysis.plot_style import (
    GREY,
    MARKERS,
    PALETTE,
    TEXT_PT,
    finish,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_array, check_columns

_KINDS = {
    "network": (PALETTE[0], "o"),
    "random": (GREY, "s"),
    "masked": (PALETTE[4], "^"),
}
_DEPTHS = "viridis"
# Numbers in cells are readable up to here.
_MOST_TEXTS = 80
_MOST_LABELS = 24


def plot_head_distances(
    heads: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the attention distance of every head against the depth of its layer.

    Parameters
    ----------
    heads : DataFrame
        `model`, `kind`, `untrained`, `depth`, `head`, `distance_patches`,
        `distance_patches_low`, `distance_patches_high`, `distance_uniform`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Points with intervals over pictures; broken lines are even attention.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    name = "distance_patches"
    check_columns(
        "heads",
        heads.columns,
        ["model", "kind", "untrained", "depth", "head", name, f"{name}_low",
         f"{name}_high", "distance_uniform"],
    )  # fmt: skip
    ax = new_axes(ax, (5.2, 3.9))
    entries: dict[str, Any] = {}
    groups = list(heads.groupby(["model", "kind"], sort=False))
    for place, ((model, kind), part) in enumerate(groups):
        colour, marker = _KINDS[str(kind)]
        middle = (len(groups) - 1) / 2
        n_heads = part["head"].max() + 1
        x = part["depth"] + 0.28 * (place - middle)
        x = x + 0.2 * (part["head"] - (n_heads - 1) / 2) / n_heads
        ax.vlines(x, part[f"{name}_low"], part[f"{name}_high"], color=colour, lw=1)
        points = ax.plot(x, part[name], marker, color=colour, ms=4.5, alpha=0.85)[0]
        told = part["untrained"].iloc[0] and "untrained" not in str(model)
        entries[f"{model} (untrained)" if told else str(model)] = points
        line = ax.axhline(part["distance_uniform"].iloc[0], color=GREY, ls="--", lw=1)
    entries["even attention"] = line
    ax.set_xlabel("Layer, first = 0")
    ax.set_ylabel("Attention distance (patches)")
    tops = heads[[f"{name}_high", name, "distance_uniform"]].to_numpy(np.float64)
    ax.set_ylim(0, 1.12 * float(np.nanmax(tops)))
    ax.set_xticks(np.unique(heads["depth"]))
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries)
    return ax


def plot_ring_profiles(
    rings: pd.DataFrame,
    *,
    even: float = 1.0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw attention against the distance from the patch that attends.

    Parameters
    ----------
    rings : DataFrame
        `depth`, `head`, `ring`, `value` of one network.
    even : float, default 1
        Share of one token in even attention, the unit of the figure.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One line per head, coloured from the first to the last layer.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("rings", rings.columns, ["depth", "head", "ring", "value"])
    ax = new_axes(ax, (5.0, 3.9))
    last = max(int(rings["depth"].max()), 1)
    colours = colormaps[_DEPTHS]
    entries: dict[str, Any] = {}
    for _, part in rings.groupby(["depth", "head"], sort=False):
        depth = int(part["depth"].iloc[0])
        colour = colours(0.92 * depth / last)
        times = part["value"] / even
        line = ax.plot(part["ring"], times, color=colour, lw=1.2, marker=".")[0]
        if depth in (0, last):
            entries.setdefault(f"layer {depth}", line)
    entries["even attention"] = ax.axhline(1, color=GREY, ls="--", lw=1)
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter("{x:g}")
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0.5), max(high, 2))  # noise stays small
    ax.set_xticks(np.unique(rings["ring"]))
    ax.set_xlabel("Ring around the patch (0 = itself)")
    ax.set_ylabel("Mean share of a patch / even share")
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=3)
    return ax


def plot_head_grid(
    heads: pd.DataFrame,
    measure: str,
    *,
    label: str = "",
    limits: tuple[float, float] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one number of every head as a table of colours.

    Parameters
    ----------
    heads : DataFrame
        `depth`, `head` and the measure, of one network.
    measure : str
        Column.
    label : str, optional
        Words for it, with the unit; its name by default.
    limits : pair of float, optional
        Ends of the colours; by default those of the numbers and 0.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Layers from top to bottom, heads side by side; undefined cells are white.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("heads", heads.columns, ["depth", "head", measure])
    table = heads.pivot_table(
        index="depth", columns="head", values=measure, dropna=False
    )
    n_layers, n_heads = table.shape
    ax = new_axes(ax, (2.4 + 0.45 * n_heads, 1.6 + 0.32 * n_layers))
    values = table.to_numpy(np.float64)
    known = values[np.isfinite(values)]
    low, high = np.min(known, initial=0.0), np.max(known, initial=0.0)
    if limits is not None:
        low, high = limits
    scale = Normalize(low, high if high > low else low + 1)
    image = ax.imshow(values, aspect="auto", cmap="cividis", norm=scale)
    if values.size <= _MOST_TEXTS:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if scale(value) < 0.5 else "black"
                ax.text(j, i, f"{value:.2g}", ha="center", va="center",
                        color=colour, fontsize=TEXT_PT - 2)  # fmt: skip
    ax.set_xticks(range(n_heads), [str(head) for head in table.columns])
    ax.set_yticks(range(n_layers), [str(depth) for depth in table.index])
    ax.set_xlabel("Head")
    ax.set_ylabel("Layer")
    if title:
        set_title(ax, title)
    finish(ax)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    figure = ax.figure
    bar = figure.colorbar(image, ax=ax)
    bar.ax.tick_params(labelsize=TEXT_PT - 1)
    bar.set_label(label or measure, fontsize=TEXT_PT)
    return ax


def plot_head_patterns(
    heads: pd.DataFrame,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw heads as points that lie close where their mean maps are alike.

    Parameters
    ----------
    heads : DataFrame
        `depth`, `head`, `x`, `y`, `cluster` of one network.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The first two axes; up to 24 heads have their layer and number beside them.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("heads", heads.columns, ["depth", "head", "x", "y", "cluster"])
    ax = new_axes(ax, (5.0, 4.3))
    entries: dict[str, Any] = {}
    for cluster, part in heads.groupby("cluster"):
        look = int(str(cluster))
        entries[f"group {look}"] = ax.plot(
            part["x"],
            part["y"],
            MARKERS[look % len(MARKERS)],
            color=PALETTE[look % len(PALETTE)],
            ms=7,
            alpha=0.85,
        )[0]
    if len(heads) <= _MOST_LABELS:
        for row in heads[["depth", "head", "x", "y"]].itertuples(index=False):
            ax.annotate(
                f"{row[0]}.{row[1]}",
                (float(str(row[2])), float(str(row[3]))),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=TEXT_PT - 2,
                color=GREY,
            )
    ax.margins(0.12)
    ax.set_xlabel("First axis of the mean maps")
    ax.set_ylabel("Second axis")
    if title:
        set_title(ax, title)
    finish(ax, grid="both")
    legend_below(ax, entries, columns=3)
    return ax


def plot_offset_map(
    attention: ArrayLike,
    grid: tuple[int, int],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw what a patch takes from patches at every step away from it.

    Parameters
    ----------
    attention : array-like of float, shape (rows * columns, rows * columns)
        A map between patches.
    grid : pair of int
        Rows and columns of patches.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Mean share of the patches at each step down and to the right; the patch itself
        is in the middle, dark is little.

    Raises
    ------
    ValueError
        If the grid does not fit.
    """
    height, width = grid
    n = height * width
    values = check_array("attention", attention, shape=(n, n))
    row, column = np.divmod(np.arange(n), width)
    down = (row - row[:, None] + height - 1).ravel()
    right = (column - column[:, None] + width - 1).ravel()
    total, count = np.zeros((2, 2 * height - 1, 2 * width - 1))
    np.add.at(total, (down, right), values.ravel())
    np.add.at(count, (down, right), 1)
    ax = new_axes(ax, (2.4, 2.6))
    reach = (-width + 0.5, width - 0.5, height - 0.5, -height + 0.5)
    # From 0, so that an even map has one colour.
    ax.imshow(total / count, cmap="cividis", extent=reach, vmin=0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    ax.tick_params(labelsize=TEXT_PT - 2, color=GREY)
    if title:
        ax.set_title(title, fontsize=TEXT_PT - 0.5, parse_math=False)
    return ax
