"""Figures of displays of objects: a number per object, steps of a model, scanpaths.

Axes-level, as in `analysis.plots`: each function draws on the axes it is given, or on
those of a new figure, and returns the axes. Fixations are numbered from 0. Those on one
object stand beside each other in its box; a ring marks one that stays on the object of
the fixation before it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALE,
    PALETTE,
    TEXT_PT,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from analysis.plots_gaze import colours_of, plot_scanpaths
from neurovis.core.checks import check_array, check_between, check_image, check_whole
from neurovis.core.object_displays import Display, FloatArray, IntArray
from neurovis.core.object_scanpaths import check_cells

PRESENT_COLOUR = PALETTE[1]
"""Mark of the present fixation, and outline of the object that is fixated next."""

_MAP = colormaps["Blues"]
_HALO = withStroke(linewidth=2.6, foreground="white")
_HATCH = "/////"
_ALPHA = 0.75
_NUMBER: dict[str, Any] = {"color": "white", "fontsize": 6.5, "ha": "center",
                           "va": "center_baseline", "zorder": 5}  # fmt: skip
_NEXT: dict[str, Any] = {"fill": False, "ec": PRESENT_COLOUR, "lw": 1.8,
                         "ls": (0, (2.5, 1.2))}  # fmt: skip
_MARK_PT2, _SMALL_PT2, _RING = 78.0, 22.0, 2.25
# As in plots_gaze: numbers would hide longer paths, and more marks on one object.
_NUMBERED = 20
_ON_ONE_OBJECT = 5
_MOST_STEPS = 4


def plot_object_values(
    display: Display,
    values: ArrayLike,
    *,
    picture: NDArray[np.uint8] | None = None,
    path: ArrayLike | None = None,
    label: str = "",
    vmax: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Paint one number per object over a display.

    Parameters
    ----------
    display : ObjectDisplay or FreeDisplay
        What is looked at; its target has a green box.
    values : array-like of float, shape (n_cells,)
        Such as attention or the probability of the next fixation, >= 0. Objects with
        NaN are hatched.
    picture : ndarray of uint8, shape (H, W, 3), optional
        The display as it is seen: stretched over the frame, in grey, below the paint.
    path : array-like of int, shape (n_fixations,), optional
        Objects fixated so far, in order; the last one is the present fixation.
    label : str, optional
        What the values are, beside the colour bar.
    vmax : float, optional
        Value of the darkest paint, > 0; by default the largest one. The colour bar
        ends in a point where values lie above.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The frame in pixels, y down. Boxes without NaN are its first collection.

    Raises
    ------
    TypeError, ValueError
        If values, path or picture do not suit the display.

    Examples
    --------
    >>> from neurovis.core.object_displays import regular_display
    >>> grid = regular_display("a", rows=1, cols=2, size_px=(40, 20), target_cell=0)
    >>> ax = plot_object_values(grid, [0.1, 0.9], label="P(next)")
    >>> ax.collections[0].get_array().tolist()
    [0.1, 0.9]
    """
    numbers = _check_values("values", values, (display.n_cells,))
    cells = _check_path("path", path, display)
    if vmax is not None:
        check_between("vmax", vmax, low=1e-300)
    norm = _norm(numbers, vmax)
    ax = _draw_display(display, picture, title, ax)
    boxes = _paint(ax, display, numbers, norm, picture is not None)
    _draw_path_so_far(ax, display, cells)
    _colour_bar([ax], boxes, numbers, norm, label)
    return ax


def plot_attention_steps(
    display: Display,
    attention: ArrayLike,
    probability: ArrayLike,
    cells: ArrayLike,
    *,
    steps: Sequence[int] | None = None,
    picture: NDArray[np.uint8] | None = None,
) -> list[Axes]:
    """Draw what a model attends to, and what it predicts, at steps of a scanpath.

    Parameters
    ----------
    display : ObjectDisplay or FreeDisplay
        What is looked at.
    attention : array-like of float, shape (n_fixations + 1, n_cells + 1)
        Attention before each token of the scanpath, >= 0; the last column is that to
        the target picture, drawn below the display.
    probability : array-like of float, shape (n_fixations + 1, n_cells + 1)
        Probability of each next token in [0, 1]; the last column is the end.
    cells : array-like of int, shape (n_fixations,)
        The scanpath.
    steps : sequence of int, optional
        Which steps, each in 0..n_fixations: the number of fixations before it. By
        default at most four, spread from the first to the last.
    picture : ndarray of uint8, shape (H, W, 3), optional
        As in `plot_object_values`.

    Returns
    -------
    list of Axes
        Of a new figure: attention at each step, then probability at each step. The
        colours of a row mean the same in all its columns.

    Raises
    ------
    TypeError, ValueError
        If an array does not suit display and scanpath, or a step is none of it.
    """
    path = check_cells("cells", cells, display.n_cells)
    shape = (len(path) + 1, display.n_cells + 1)
    tables = [
        _check_values("attention", attention, shape),
        _check_values("probability", probability, shape, high=1 + 1e-9),
    ]
    shown = _check_steps(steps, len(path))
    if picture is not None:
        check_image("picture", picture)
    width = 3.5
    height = width * display.height_px / display.width_px + 0.55
    size = (width * len(shown) + 0.9, 2 * height + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False)
    labels = ("Attention to objects", "Probability of next")
    for row, (table, label) in enumerate(zip(tables, labels, strict=True)):
        here = table[shown]
        norm = _norm(here[:, :-1], None)
        for ax, step in zip(grid[row], shown, strict=True):
            _draw_display(display, picture, "", ax)
            boxes = _paint(ax, display, table[step, :-1], norm, picture is not None)
            _draw_path_so_far(ax, display, path[:step])
            _outline_next(ax, display, path, step)
            if row == 0:
                end = float(tables[1][step, -1])
                _title_step(ax, display, path, step, end)
                alpha = boxes.get_alpha()
                _paint_target_picture(ax, float(table[step, -1]), norm, alpha)
        # The end is in the titles, the target picture is painted.
        _colour_bar(list(grid[row]), boxes, here[:, : here.shape[1] - row], norm, label)
    _steps_legend(grid[0][0], figure)
    return [ax for row in grid for ax in row]


def plot_object_scanpaths(
    display: Display,
    scanpaths: Mapping[str, ArrayLike],
    *,
    picture: NDArray[np.uint8] | None = None,
    colours: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw scanpaths over objects, so that fixations on one object can be told apart.

    Parameters
    ----------
    display : ObjectDisplay or FreeDisplay
        What was looked at; its target has a green box.
    scanpaths : mapping of str to array-like of int, shape (n_fixations,)
        Objects fixated by each observer, in order, at least one. A legend tells the
        observers apart where there are several.
    picture : ndarray of uint8, shape (H, W, 3), optional
        The display as it is seen; without one the objects are empty boxes.
    colours : mapping of str to str, optional
        Colours of observers; by default as by `analysis.plots_gaze.colours_of`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The frame in pixels, y down. Numbers are left out on paths of more than 20
        fixations, and on objects with more than five.

    Raises
    ------
    TypeError, ValueError
        If a scanpath names an object that is not there, or the picture is none.
    """
    paths = {
        name: check_cells(f"scanpath of {name}", cells, display.n_cells)
        for name, cells in scanpaths.items()
    }
    ax = _draw_display(display, picture, title, ax)
    if picture is None:
        for left, top, right, bottom in display.boxes_px:
            gap_x, gap_y = 0.05 * (right - left), 0.05 * (bottom - top)
            size = right - left - 2 * gap_x, bottom - top - 2 * gap_y
            corner = (left + gap_x, top + gap_y)
            ax.add_patch(Rectangle(corner, *size, fc="white", ec=PALE, lw=0.6))
    chosen = colours_of(list(paths)) | dict(colours or {})
    spots = _spread(display, list(paths.values()))
    for (name, cells), at in zip(paths.items(), spots, strict=True):
        _draw_path(ax, cells, at, [chosen[name]] * len(cells))
    if len(paths) > 1:
        entries = {
            name: Line2D([], [], color=chosen[name], marker="o", mec="white", ms=8)
            for name in paths
        }
        legend_below(ax, entries, columns=2)
    return ax


# ---------------------------------------------------------------------- arguments


def _check_values(
    name: str, values: ArrayLike, shape: tuple[int, ...], high: float = np.inf
) -> FloatArray:
    """Return numbers of objects; NaN is allowed."""
    array = check_array(name, np.asarray(values, np.float64), shape=shape)
    # Comparisons with NaN are false.
    if (array < 0).any() or (array > high).any() or np.isinf(array).any():
        bound = "must be finite" if high == np.inf else "must be at most 1"
        raise ValueError(
            f"`{name}` must not be negative and {bound}, or NaN where undefined; got "
            f"{np.nanmin(array):g} to {np.nanmax(array):g}."
        )
    return array


def _check_path(name: str, path: ArrayLike | None, display: Display) -> IntArray:
    if path is None or not np.size(path):
        return np.zeros(0, np.int64)
    return check_cells(name, path, display.n_cells)


def _check_steps(steps: Sequence[int] | None, last: int) -> list[int]:
    if steps is None:
        n = min(last + 1, _MOST_STEPS)
        return [int(step) for step in np.linspace(0, last, n).round()]
    if not len(steps):
        raise ValueError("`steps` is empty: name at least one step, or leave it out.")
    return [check_whole("steps", step, low=0, high=last) for step in steps]


# ------------------------------------------------------------------------- layers


def _draw_display(
    display: Display, picture: NDArray[np.uint8] | None, title: str, ax: Axes | None
) -> Axes:
    """Draw frame, picture, target box above the objects to come, and title."""
    ratio = display.height_px / display.width_px
    ax = plot_scanpaths(
        picture,
        {},
        width_px=display.width_px,
        height_px=display.height_px,
        target_box=display.boxes_px[display.target_cell],
        ax=new_axes(ax, (5.2, 4.8 * ratio + 0.4)),
    )
    ax.patches[-1].set_zorder(2.5)
    if title:
        set_title(ax, title)
    return ax


def _norm(values: FloatArray, vmax: float | None) -> Normalize:
    """Colours from 0 to the largest value, or to 1 where there is none."""
    largest = float(np.nanmax(values, initial=0.0)) if vmax is None else float(vmax)
    return Normalize(0.0, largest or 1.0)


def _paint(
    ax: Axes, display: Display, values: FloatArray, norm: Normalize, over_picture: bool
) -> PatchCollection:
    """Fill boxes by value; hatch those without one."""
    if over_picture:
        # Colours of the objects would mix with those of the values.
        image = ax.images[-1]
        image.set_data(np.asarray(image.get_array()).mean(-1))
        image.set_cmap("gray")
        image.set_clim(-255, 255)  # pale, for the paint to show
    known = np.isfinite(values)
    painted = PatchCollection(
        [_box(box) for box in display.boxes_px[known]],
        cmap=_MAP,
        norm=norm,
        edgecolor=PALE,
        linewidth=0.5,
        alpha=_ALPHA if over_picture else None,
        zorder=1.5,
    )
    painted.set_array(values[known])
    ax.add_collection(painted)
    if not known.all():
        blank = PatchCollection(
            [_box(box) for box in display.boxes_px[~known]],
            facecolor="white",
            edgecolor=PALE,
            hatch=_HATCH,
            linewidth=0.5,
            alpha=_ALPHA if over_picture else None,
            zorder=1.4,
        )
        ax.add_collection(blank)
    return painted


def _box(box: FloatArray) -> Rectangle:
    left, top, right, bottom = box
    return Rectangle((left, top), right - left, bottom - top)


def _colour_bar(
    axes: list[Axes],
    painted: PatchCollection,
    values: FloatArray,
    norm: Normalize,
    label: str,
) -> None:
    """Put a bar at the right; a point at its end tells that values lie above."""
    figure = axes[0].figure
    assert norm.vmax is not None  # as `_norm` makes them
    above = bool((values > norm.vmax).any())
    place: dict[str, Any] = {"fraction": 0.05, "shrink": 0.8, "aspect": 18, "pad": 0.02}
    end = "max" if above else "neither"
    bar = figure.colorbar(painted, ax=axes, extend=end, **place)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    bar.ax.tick_params(labelsize=TEXT_PT - 1, color=GREY)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=TEXT_PT, parse_math=False)


# -------------------------------------------------------------------------- paths


def _spread(display: Display, paths: Sequence[IntArray]) -> list[FloatArray]:
    """Give all fixations on an object places of their own in its box.

    One alone stands in the middle; several stand on an ellipse, clockwise from the
    upper left; those too many for numbers on a spiral.

    Returns
    -------
    list of ndarray of float64, shape (n_fixations, 3)
        Of each path: x and y in px, and 1 where there is no space for a number.
    """
    every = np.concatenate([np.zeros(0, np.int64), *paths])
    at = np.column_stack([display.centres_px[every], np.zeros(len(every))])
    for cell in np.unique(every):
        (visits,) = np.nonzero(every == cell)
        n = len(visits)
        if n == 1:
            continue
        left, top, right, bottom = display.boxes_px[cell]
        order = np.arange(n)
        turn, radius = 2 * np.pi / n, np.ones(n)
        if n > _ON_ONE_OBJECT:
            at[visits, 2] = 1
            turn, radius = np.pi * (3 - np.sqrt(5)), np.sqrt((order + 0.5) / n)
        angle = 1.25 * np.pi + turn * order
        at[visits, 0] += 0.29 * (right - left) * radius * np.cos(angle)
        at[visits, 1] += 0.29 * (bottom - top) * radius * np.sin(angle)
    ends = np.cumsum([len(path) for path in paths])[:-1]
    return list(np.split(at, ends)) if paths else []


def _draw_path(
    ax: Axes, cells: IntArray, at: FloatArray, colours: Sequence[str]
) -> None:
    """Draw a scanpath with a colour per mark; the first one is that of the line."""
    x, y, crowded = at.T
    numbered = (crowded == 0) & (len(cells) <= _NUMBERED)
    areas = np.where(numbered, _MARK_PT2, _SMALL_PT2)
    ax.plot(x, y, color=colours[0], lw=1.5, zorder=3, path_effects=[_HALO])
    stays = np.diff(cells, prepend=-1) == 0
    if stays.any():
        edges, sizes = np.array(colours)[stays], _RING * areas[stays]
        rings = ax.scatter(x[stays], y[stays], s=sizes, fc="none", ec=edges, zorder=3.5)
        rings.set(linewidth=1.2, path_effects=[_HALO])
    ax.scatter(x, y, s=areas, c=list(colours), ec="white", lw=0.8, zorder=4)
    for number in np.flatnonzero(numbered):
        spot = (float(x[number]), float(y[number]))
        ax.annotate(str(number), spot, **_NUMBER)


def _draw_path_so_far(ax: Axes, display: Display, cells: IntArray) -> None:
    """Draw fixations in black, the last one in the colour of the present."""
    if not len(cells):
        return
    (at,) = _spread(display, [cells])
    _draw_path(ax, cells, at, [HUMAN_COLOUR] * (len(cells) - 1) + [PRESENT_COLOUR])
    ax.lines[-1].set_color(HUMAN_COLOUR)


# -------------------------------------------------------------------------- steps


def _outline_next(ax: Axes, display: Display, path: IntArray, step: int) -> None:
    if step == len(path):
        return
    outline = _box(display.boxes_px[path[step]])
    outline.set(**_NEXT, zorder=2.6)
    ax.add_patch(outline)


def _title_step(
    ax: Axes, display: Display, path: IntArray, step: int, end: float
) -> None:
    then = "the end" if step == len(path) else f"object {path[step]}"
    if step < len(path) and path[step] == display.target_cell:
        then += " (target)"
    text = f"Step {step}, then {then}\nP(end) {number_text(end, 3)}"
    ax.set_title(text, loc="left", fontsize=TEXT_PT + 0.5)


def _paint_target_picture(
    ax: Axes, value: float, norm: Normalize, alpha: float | None
) -> None:
    """Show attention to the target picture as a cell below the display."""
    unknown = np.isnan(value)
    cell = Rectangle(
        (0.0, -0.12),
        0.06,
        0.085,
        transform=ax.transAxes,
        fc="white" if unknown else _MAP(norm(value)),
        ec=PALE,
        alpha=alpha,
        hatch=_HATCH if unknown else None,
        lw=0.8,
        clip_on=False,
    )
    ax.add_patch(cell)
    ax.text(
        0.08,
        -0.078,
        f"to the target picture {number_text(value, 3)}",
        transform=ax.transAxes,
        fontsize=TEXT_PT - 0.5,
        va="center_baseline",
    )


def _steps_legend(ax: Axes, figure: Figure) -> None:
    target = next(p for p in ax.patches if p.get_zorder() == 2.5)
    entries = {
        "target": Rectangle((0, 0), 1, 1, fill=False, ec=target.get_edgecolor(), lw=2),
        "fixated next": Rectangle((0, 0), 1, 1, **_NEXT),
        "present fixation": Line2D([], [], color=PRESENT_COLOUR, marker="o", ls=""),
        "fixations before": Line2D([], [], color=HUMAN_COLOUR, marker="o", lw=1.5),
    }
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=2 if len(figure.axes) < 5 else 4,
        frameon=False,
        fontsize=TEXT_PT - 0.5,
    )
