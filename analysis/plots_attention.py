"""Figures of attention: over pictures, centres, spread over images, objects.

Axes-level: each function draws on the axes it is given, or on those of a new figure,
and returns the axes. Measures are those of `analysis.attention_maps` and
`analysis.attention_boxes`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from analysis.attention_maps import upsample_attention
from analysis.plot_style import (
    GREY,
    MARKERS,
    PALE,
    PALETTE,
    TEXT_PT,
    finish,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_image,
    check_option,
)

_SHARE_LABEL = "Attention (share ÷ share of area; 1 = even)"
_BOX_COLOUR = "#56B4E9"
_HALO = withStroke(linewidth=2.2, foreground="white")
_DARK_HALO = withStroke(linewidth=3.4, foreground="black")
# Side by side centres get no names when there are more: they would hide each other.
_NAMED = 16


def plot_attention_map(
    attention: ArrayLike,
    picture: NDArray[np.uint8] | None = None,
    *,
    size: tuple[int, int] | None = None,
    pad: tuple[int, int] = (0, 0),
    boxes: ArrayLike | None = None,
    method: str = "nearest",
    largest: float | None = None,
    title: str = "",
    bar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw one attention map, alone or over its picture.

    Parameters
    ----------
    attention : array-like of float, shape (h, w)
        Shares that add up to 1 over the grid; of one query and image, or a mean.
    picture : ndarray of uint8, shape (H, W, 3), optional
        Drawn in grey below; where attention is weak it shows through.
    size : pair of int, optional
        Height and width in pixels, without padding; those of the picture, or 14 pixels
        per cell, by default.
    pad : pair of int, default (0, 0)
        Pixels that were added at the bottom and on the right; they are cut off.
    boxes : array-like of float, shape (4,) or (n_boxes, 4), optional
        Left, top, right, bottom in pixels of the picture; rows of NaN are left out.
    method : {"nearest", "linear"}
        See `analysis.attention_maps.upsample_attention`.
    largest : float, optional
        Upper end of the colours, in multiples of even attention; the largest value by
        default. Give one number to panels that are to be compared.
    title : str, optional
        Text above.
    bar : bool, default True
        Draw the bar of colours.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The picture in pixels, y down. Colours start at 0; a map with NaN is blank.

    Raises
    ------
    TypeError, ValueError
        If the map does not hold shares, or sizes of the picture, the boxes or
        `largest` do not fit.
    """
    shares = check_array("attention", attention, shape=(None, None))
    if picture is not None:
        height, width = check_image("picture", picture).shape[:2]
        if size is not None and tuple(size) != (height, width):
            raise ValueError(
                f"`size` is {tuple(size)}, but `picture` has {(height, width)} pixels: "
                "leave one of them out."
            )
    elif size is not None:
        height, width = size
    else:
        height = 14 * shares.shape[0] - pad[0]
        width = 14 * shares.shape[1] - pad[1]
    values = upsample_attention(shares, (height, width), pad=pad, method=method)
    top = float(np.nanmax(values, initial=0.0))
    if largest is not None and not check_between("largest", largest, low=0) > 0:
        raise ValueError(f"`largest` must be above 0; got {largest!r}.")
    top = largest or top or 1.0
    ax = new_axes(ax, (4.2, 4.2 * height / width + 0.4))
    frame = (0.0, float(width), float(height), 0.0)
    cmap: Colormap = colormaps["inferno"]
    if picture is not None:
        grey = picture.mean(-1)
        ax.imshow(grey, extent=frame, cmap="gray", vmin=0, vmax=255)
        cmap = _fading_colours()
    image = ax.imshow(
        values, extent=frame, cmap=cmap, norm=Normalize(0, top), aspect="equal"
    )
    if boxes is not None:
        sides = np.atleast_2d(np.asarray(boxes, np.float64))
        check_array("boxes", sides, shape=(None, 4))
        for left, above, right, below in sides[~np.isnan(sides).any(axis=1)]:
            place = ((left, above), right - left, below - above)
            box = Rectangle(*place, fill=False, ec=_BOX_COLOUR, lw=1.8)
            box.set_path_effects([_DARK_HALO])
            ax.add_patch(box)
    ax.set_xlim(frame[0], frame[1])
    ax.set_ylim(frame[2], frame[3])
    ax.set_axis_off()
    figure = ax.get_figure()
    if bar and figure is not None:
        scale = figure.colorbar(image, ax=ax, shrink=0.85, pad=0.02)
        scale.set_label(_SHARE_LABEL, fontsize=TEXT_PT - 0.5)
        scale.ax.tick_params(labelsize=TEXT_PT - 1, color=GREY)
        scale.outline.set_visible(False)
        if picture is not None:  # as over a picture of medium brightness
            scale.ax.set_facecolor("#7F7F7F")
        if top > 1:
            scale.ax.axhline(1, color="white", lw=1.2)
    if title:
        set_title(ax, title)
    return ax


def plot_attention_centres(
    summary: pd.DataFrame,
    *,
    groups: Mapping[str, str] | None = None,
    side: float = 1.0,
    unit: str = "widths",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw where queries look on average, and how widely.

    Parameters
    ----------
    summary : DataFrame
        `query`, `x`, `y`, `spread_per_image` and `centre_scatter`, as
        `analysis.attention_maps.attention_summary` gives. Undefined ones are left out.
    groups : mapping of str to str, optional
        Group of each query, such as its hemisphere, shown by colour and mark.
    side : float, default 1
        Width and height of the (square) picture in the unit of `summary`.
    unit : str, default "widths"
        Name of that unit for the axes.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Marks at the centres of the mean maps; filled circles of one `centre_scatter`
        (how far images move the centre) and thin ones of one `spread_per_image` (how
        wide a map is). The square is the picture. Up to 16 queries are named.

    Raises
    ------
    ValueError
        If a column or the group of a query is missing, or `side` is not above 0.
    """
    columns = ["query", "x", "y", "spread_per_image", "centre_scatter"]
    check_columns("summary", summary.columns, columns)
    if not check_between("side", side, low=0) > 0:
        raise ValueError(f"`side` must be above 0; got {side!r}.")
    rows = summary[columns].dropna()
    names = [str(q) for q in rows["query"]]
    lost = [name for name in names if groups is not None and name not in groups]
    if lost:
        raise ValueError(f"`groups` lacks the queries {lost}.")
    kinds = list(dict.fromkeys(groups[name] for name in names)) if groups else []
    ax = new_axes(ax, (4.4, 4.6))
    half = side / 2
    ax.add_patch(Rectangle((-half, -half), side, side, fc="#FAFAFA", ec=GREY, zorder=0))
    entries: dict[str, Any] = {}
    numbers = rows[columns[1:]].to_numpy(np.float64)
    for name, (x, y, wide, moved) in zip(names, numbers, strict=True):
        k = kinds.index(groups[name]) if groups else 0
        colour = PALETTE[k % len(PALETTE)]
        at = (x, y)
        ax.add_patch(Circle(at, wide, fill=False, ec=colour, lw=0.7, alpha=0.45))
        ax.add_patch(Circle(at, moved, fc=colour, alpha=0.18, lw=0))
        (mark,) = ax.plot(
            *at,
            MARKERS[k % len(MARKERS)],
            color=colour,
            markersize=5.5,
            markeredgecolor="white",
            linestyle="none",
            zorder=3,
        )
        if kinds:
            entries.setdefault(kinds[k], mark)
        if len(names) <= _NAMED:
            text = ax.annotate(
                name,
                at,
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=TEXT_PT - 2,
                zorder=4,
                parse_math=False,
            )
            text.set_path_effects([_HALO])
    ax.set(xlim=(-1.06 * half, 1.06 * half), ylim=(-1.06 * half, 1.06 * half))
    ax.set_aspect("equal")
    ax.set_xlabel(f"Right of the centre ({unit})")
    ax.set_ylabel(f"Above the centre ({unit})")
    if title:
        set_title(ax, title)
    finish(ax, grid="both")
    if entries:
        legend_below(ax, entries, columns=len(entries))
    return ax


def plot_attention_regions(
    summary: pd.DataFrame,
    *,
    measure: str = "entropy_bits",
    unit: str = "widths",
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how wide the attention of each query is, in single images and on average.

    The gap between both says how much the image decides where a query looks.

    Parameters
    ----------
    summary : DataFrame
        `query`, the measure, the measure with the ending ``_per_image`` and
        `max_entropy_bits`, as `analysis.attention_maps.attention_summary` gives.
    measure : {"entropy_bits", "spread"}
        What to draw. The gap of "entropy_bits" is `routing_bits`.
    unit : str, default "widths"
        Name of the unit of "spread".
    labels : mapping of str to str, optional
        Printed names of queries.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are queries, by default.

    Returns
    -------
    Axes
        One line per query, in the order of the table from above: a filled mark for
        single images, an open one for the mean map, a bar between. A broken line is at
        the entropy of even attention. Undefined queries have an empty line.

    Raises
    ------
    ValueError
        If a column is missing or the measure is unknown.
    """
    check_option("measure", measure, ("entropy_bits", "spread"))
    columns = ["query", measure, f"{measure}_per_image", "max_entropy_bits"]
    check_columns("summary", summary.columns, columns)
    ax = new_axes(ax, (5.0, 1.5 + 0.24 * len(summary)))
    at = np.arange(len(summary))
    single = summary[f"{measure}_per_image"].to_numpy(np.float64)
    mean = summary[measure].to_numpy(np.float64)
    ax.hlines(at, single, mean, color=PALE, linewidth=4.5, zorder=1)
    (filled,) = ax.plot(
        single, at, "o", color=PALETTE[0], markersize=6, linestyle="none", zorder=3
    )
    (open_mark,) = ax.plot(
        mean,
        at,
        "D",
        color=PALETTE[1],
        markerfacecolor="white",
        markeredgewidth=1.5,
        markersize=5.5,
        linestyle="none",
        zorder=2,
    )
    entries: dict[str, Any] = {
        "map of an image (mean)": filled,
        "mean map of all images": open_mark,
    }
    if measure == "entropy_bits":
        entries["even attention"] = ax.axvline(
            float(summary["max_entropy_bits"].max()),
            color=GREY,
            linestyle=(0, (5, 2)),
            linewidth=1.2,
        )
        ax.set_xlabel("Entropy of the attended place (bits)")
    else:
        ax.set_xlabel(f"Spread of attention ({unit})")
    _name_lines(ax, summary["query"].tolist(), labels)
    ax.set_xlim(left=0)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    legend_below(ax, entries)
    return ax


def plot_box_guidance(
    guidance: pd.DataFrame,
    *,
    level: float = 0.05,
    p_column: str = "p_value",
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how much attention each query has on objects, against other images.

    Parameters
    ----------
    guidance : DataFrame
        `query`, `mass`, `area`, `mass_other` and the column of p values, as
        `analysis.attention_boxes.box_guidance` gives.
    level : float, default 0.05
        Marks are filled where p is at most this.
    p_column : str, default "p_value"
        Column of p values, such as corrected ones.
    labels : mapping of str to str, optional
        Printed names of queries.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are queries, by default.

    Returns
    -------
    Axes
        One line per query, in the order of the table from above, in multiples of the
        share of area: a round mark for the maps of the same image, a tick for those of
        other images. The line at 1 is even attention.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["query", "mass", "area", "mass_other", p_column]
    check_columns("guidance", guidance.columns, columns)
    check_between("level", level, low=0, high=1)
    ax = new_axes(ax, (5.0, 1.5 + 0.24 * len(guidance)))
    at = np.arange(len(guidance))
    area = guidance["area"].to_numpy(np.float64)
    area = np.where(area > 0, area, np.nan)
    own = guidance["mass"].to_numpy(np.float64) / area
    other = guidance["mass_other"].to_numpy(np.float64) / area
    certain = guidance[p_column].to_numpy(np.float64) <= level
    ax.axvline(1, color=GREY, linewidth=1, zorder=1)
    ax.hlines(at, other, own, color=PALE, linewidth=4.5, zorder=1)
    entries: dict[str, Any] = {}
    for chosen, face, word in (
        (certain, PALETTE[0], f"same image, p ≤ {level:g}"),
        (~certain, "white", f"same image, p > {level:g}"),
    ):
        (entries[word],) = ax.plot(
            own[chosen],
            at[chosen],
            "o",
            color=PALETTE[0],
            markerfacecolor=face,
            markeredgewidth=1.5,
            markersize=6,
            linestyle="none",
            zorder=3,
        )
    (entries["maps of other images"],) = ax.plot(
        other,
        at,
        "|",
        color="#1A1A1A",
        markersize=11,
        markeredgewidth=2,
        linestyle="none",
        zorder=2,
    )
    _name_lines(ax, guidance["query"].tolist(), labels)
    ax.set_xlim(left=0)
    ax.set_xlabel("Attention on the object (share ÷ share of area; 1 = even)")
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    legend_below(ax, entries)
    return ax


def _fading_colours() -> ListedColormap:
    """Return colours that let a picture through where values are small."""
    share = np.linspace(0, 1, 256)
    colours = colormaps["inferno"](0.25 + 0.73 * share)
    colours[:, 3] = 0.85 * share**0.6
    return ListedColormap(colours, "fading inferno")


def _name_lines(
    ax: Axes, queries: Sequence[object], labels: Mapping[str, str] | None
) -> None:
    shown = [(labels or {}).get(str(q), str(q)) for q in queries]
    ax.set_yticks(range(len(shown)), shown, parse_math=False)
    ax.set_ylim(len(shown) - 0.4, -0.6)
