"""Figures of gaze: scanpaths over pictures, densities, distributions, curves, scores.

Axes-level, as in `analysis.plots`: each function draws on the axes it is given, or on
those of a new figure, and returns the axes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    MARKERS,
    PALE,
    PALETTE,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from neurovis.core.checks import check_array, check_columns, check_image
from neurovis.core.types import HUMAN_MODEL

_HALO = withStroke(linewidth=3.2, foreground="white")
_TARGET_COLOUR = "#00C853"
# Marks longer than this many fixations get no numbers: they would hide the path.
_NUMBERED = 20


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Give each observer a colour; people are black, chance is grey.

    Parameters
    ----------
    names : sequence of str
        Observers, in the order of the tables.

    Returns
    -------
    dict of str to str
        Colours as matplotlib has them.

    Examples
    --------
    >>> colours_of(["human", "eccnet"])["human"]
    '#1A1A1A'
    """
    colours, used = {}, 0
    for name in dict.fromkeys(names):
        if name == HUMAN_MODEL or name.startswith("people"):
            colours[name] = HUMAN_COLOUR
        elif name.startswith("chance"):
            colours[name] = GREY
        else:
            colours[name] = PALETTE[used % len(PALETTE)]
            used += 1
    return colours


def _dash_of(name: str, names: Sequence[str]) -> str:
    """Return the line of an observer: dotted when its colour is used again."""
    if name.startswith("chance"):
        return "--"
    colours = colours_of(names)
    first = next(n for n in colours if colours[n] == colours[name])
    return "-" if first == name else ":"


def plot_scanpaths(
    picture: NDArray[np.uint8] | None,
    scanpaths: Mapping[str, pd.DataFrame],
    *,
    width_px: float,
    height_px: float,
    target_box: ArrayLike | None = None,
    colours: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw scanpaths over a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, 3), or None
        Picture, stretched over the frame; without one the frame is drawn alone.
    scanpaths : mapping of str to DataFrame
        Fixations (`x_px`, `y_px` in the order of time, `duration_ms`) by observer.
        Areas of the marks grow with the durations where these are known.
    width_px, height_px : float
        Frame of the coordinates in pixels.
    target_box : array-like of float, shape (4,), optional
        Left, top, right, bottom in pixels.
    colours : mapping of str to str, optional
        Colours of observers; by default as by `colours_of`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The frame in pixels, y down.

    Raises
    ------
    ValueError
        If a column is missing, or the picture is none.
    """
    for name, path in scanpaths.items():
        columns = ["x_px", "y_px", "duration_ms"]
        check_columns(f"scanpath of {name}", path.columns, columns)
    ax = new_axes(ax, (4.2, 4.2 * height_px / width_px + 0.5))
    frame = (0.0, float(width_px), float(height_px), 0.0)
    if picture is not None:
        ax.imshow(check_image("picture", picture), extent=frame, aspect="equal")
    else:
        ax.add_patch(Rectangle((0, 0), width_px, height_px, fc="#F4F4F4", ec=PALE))
        ax.set_aspect("equal")
    if target_box is not None:
        left, top, right, bottom = check_array("target_box", target_box, shape=(4,))
        size = (right - left, bottom - top)
        box = Rectangle((left, top), *size, fill=False, ec=_TARGET_COLOUR, lw=2)
        ax.add_patch(box)
    colours = colours_of(list(scanpaths)) | dict(colours or {})
    for name, path in scanpaths.items():
        _draw_path(ax, path, colours[name])
    ax.set_xlim(frame[0], frame[1])
    ax.set_ylim(frame[2], frame[3])
    ax.set_axis_off()
    if title:
        set_title(ax, title)
    return ax


def _draw_path(ax: Axes, path: pd.DataFrame, colour: str) -> None:
    """Draw one scanpath with numbered fixations."""
    x, y = path["x_px"].to_numpy(float), path["y_px"].to_numpy(float)
    times = path["duration_ms"].to_numpy(float)
    known = bool(len(times)) and not np.isnan(times).any() and times.mean() > 0
    sizes = 110 * times / times.mean() if known else np.full(len(x), 110.0)
    ax.plot(x, y, color=colour, lw=1.6, path_effects=[_HALO], clip_on=True, zorder=3)
    ax.scatter(x, y, s=np.clip(sizes, 20, 500), c=colour, ec="white", lw=0.9, zorder=4)
    if len(x) <= _NUMBERED:
        for number, (column, row) in enumerate(zip(x, y, strict=True)):
            ax.annotate(
                str(number),
                (column, row),
                color="white",
                fontsize=6.5,
                ha="center",
                va="center",
                zorder=5,
                annotation_clip=True,
            )


def plot_density(
    density: NDArray[np.float64],
    *,
    picture: NDArray[np.uint8] | None = None,
    x_px: ArrayLike | None = None,
    y_px: ArrayLike | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a fixation density or saliency map over its picture.

    Parameters
    ----------
    density : ndarray of float64, shape (H, W)
        Map of the size of the frame in pixels.
    picture : ndarray of uint8, shape (H, W, 3), optional
        Picture below the map.
    x_px, y_px : array-like of float, optional
        Fixations to mark, pixels.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The frame in pixels, y down.

    Raises
    ------
    ValueError
        If the map is not two-dimensional.
    """
    values = check_array("density", density, shape=(None, None))
    height, width = values.shape
    ax = new_axes(ax, (4.2, 4.2 * height / width + 0.5))
    frame = (0.0, float(width), float(height), 0.0)
    if picture is not None:
        grey = check_image("picture", picture).mean(-1)
        ax.imshow(grey, extent=frame, cmap="gray", vmin=0, vmax=255)
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0, 0)
    scaled = np.where(known, 0.0, np.nan)
    if high > low:
        scaled[known] = (values[known] - low) / (high - low)
    shown = 0.8 * np.sqrt(np.nan_to_num(scaled)) if picture is not None else 1.0
    ax.imshow(scaled, extent=frame, cmap="inferno", alpha=shown, vmin=0, vmax=1)
    if x_px is not None and y_px is not None:
        ax.scatter(x_px, y_px, s=9, c="#56B4E9", ec="white", lw=0.4, zorder=3)
    ax.set_xlim(frame[0], frame[1])
    ax.set_ylim(frame[2], frame[3])
    ax.set_axis_off()
    if title:
        set_title(ax, title)
    return ax


def plot_curves(
    table: pd.DataFrame,
    *,
    x: str,
    xlabel: str,
    ylabel: str,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    steps: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw one curve per observer with its interval as a band.

    Parameters
    ----------
    table : DataFrame
        `model`, `value`, `ci_low`, `ci_high` and the column `x`.
    x : str
        Column of the abscissa.
    xlabel, ylabel : str
        Names of the axes, with units.
    labels : mapping of str to str, optional
        Printed names of observers.
    title : str, optional
        Text above.
    steps : bool, default False
        Draw steps around each value, as for histograms.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The curves, people on top.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("table", table.columns, ["model", "value", "ci_low", "ci_high", x])
    names = list(dict.fromkeys(table["model"]))
    colours = colours_of(names)
    ax = new_axes(ax, (4.6, 3.1 + 0.2 * len(names)))
    entries = {}
    for place, name in enumerate(sorted(names, key=lambda n: n == HUMAN_MODEL)):
        part = table[table["model"] == name].sort_values(x)
        at, value = part[x].to_numpy(float), part["value"].to_numpy(float)
        style = "steps-mid" if steps else "default"
        mark = "D" if name == HUMAN_MODEL else MARKERS[place % len(MARKERS)]
        (line,) = ax.plot(
            at,
            value,
            color=colours[name],
            lw=2.2 if name == HUMAN_MODEL else 1.7,
            ls=_dash_of(name, names),
            drawstyle=style,
            marker=None if steps or len(at) > 25 else mark,
            ms=4.5,
        )
        low, high = part["ci_low"].to_numpy(float), part["ci_high"].to_numpy(float)
        ax.fill_between(
            at,
            low,
            high,
            color=colours[name],
            alpha=0.18,
            lw=0,
            step="mid" if steps else None,
        )
        entries[(labels or {}).get(name, name)] = line
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, {k: entries[k] for k in sorted(entries)}, columns=2)
    return ax


def plot_scores(
    scores: pd.DataFrame,
    *,
    metric: str,
    label: str,
    labels: Mapping[str, str] | None = None,
    ceiling_text: str = "people, leave one out",
    ax: Axes | None = None,
) -> Axes:
    """Draw one measure of all observers as points with intervals, largest on top.

    The ceiling is a broken line; chance has open grey marks.

    Parameters
    ----------
    scores : DataFrame
        Score table with the rows of `metric`.
    metric : str
        Measure to draw.
    label : str
        Its name on the axis, with unit.
    labels : mapping of str to str, optional
        Printed names of observers.
    ceiling_text : str
        What the broken line is.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One line per observer.

    Raises
    ------
    ValueError
        If a column is missing, or no row has the metric.
    """
    columns = ["model", "metric", "value", "ci_low", "ci_high", "ceiling_low"]
    check_columns("scores", scores.columns, columns)
    rows = scores[scores["metric"] == metric]
    if rows.empty:
        raise ValueError(f"`scores` has no row with metric {metric!r}.")
    rows = rows.sort_values("value", na_position="first")
    colours = colours_of(list(scores["model"]))
    ax = new_axes(ax, (4.6, 1.1 + 0.32 * len(rows)))
    bars = interval_bars(rows)
    for place, (name, value) in enumerate(
        zip(rows["model"], rows["value"], strict=True)
    ):
        is_chance = name.startswith("chance")
        ax.errorbar(
            value,
            place,
            xerr=None if bars is None else bars[:, place : place + 1],
            fmt="D" if name == HUMAN_MODEL else "o",
            color=colours[name],
            mfc="white" if is_chance else colours[name],
            ms=6,
            elinewidth=1.5,
        )
        ax.annotate(
            number_text(float(value), 3),
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT_PT - 1,
            color=GREY,
        )
    ceiling = rows["ceiling_low"].dropna()
    if len(ceiling):
        ax.axvline(ceiling.iloc[0], color=HUMAN_COLOUR, lw=1.1, ls=(0, (4, 2.2)))
        ax.set_title(f"broken line: {ceiling_text}", fontsize=TEXT_PT - 1, loc="right")
    shown = [(labels or {}).get(name, name) for name in rows["model"]]
    ax.set_yticks(range(len(rows)), shown, parse_math=False)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(label)
    finish(ax, grid="x")
    return ax
