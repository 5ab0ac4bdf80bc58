"""Maps on the cortical surface as figures; `analysis.surface_page` makes pages.

Each vertex is drawn as a cell with the colour of its own value: nothing is averaged,
and undefined values show the cortex, sulci darker than gyri.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from analysis.brain_colours import (
    cortex_colours,
    draw_colour_bar,
    legend_lines,
    make_colour_scale,
    region_legend,
    region_lines,
    write_heading,
)
from analysis.plot_style import TEXT_PT
from analysis.surface_mesh import (
    Cortex,
    HemisphereMesh,
    check_cortex_maps,
    load_cortex,
)
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_option

VIEWS = ("lateral", "medial", "ventral", "dorsal", "posterior", "anterior", "flat")
_SIDES = {"lh": "left", "rh": "right"}
_IN_PER_MM = 0.0115
_GAP_IN = 0.12
_ASIDE_IN = {"left": 0.3, "right": 1.02, "title": 0.34, "heads": 0.24, "line": 0.24}
# Places of an outline between a vertex inside (0) and one outside (1): nearer to the
# inside, so that the lines of two neighbours run side by side.
_OUTLINE_AT = 0.38
_N_NEAR_FACES = 40


def plot_cortex_map(
    maps: Mapping[str, ArrayLike],
    *,
    views: Sequence[str] = ("lateral", "medial", "ventral", "posterior"),
    hemispheres: Sequence[str] = HEMISPHERES,
    surface: str = "inflated",
    outlines: Mapping[str, Mapping[str, ArrayLike]] | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    symmetric: bool = False,
    threshold: float = 0.0,
    label: str = "",
    title: str = "",
    note: str = "",
    cortex: Cortex | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw a map on both hemispheres of fsaverage5, one row each.

    Parameters
    ----------
    maps : mapping of str to array_like of float, shape (10242,)
        Values of "lh" and "rh", see `analysis.surface_mesh.to_fsaverage5`; NaN is
        undefined and shows the cortex.
    views : sequence of str, default lateral, medial, ventral, posterior
        Columns, from `VIEWS`. Ventral, dorsal and flat views lie as the lateral view
        does: the front is at the left for the left hemisphere, at the right for the
        right one.
    hemispheres : sequence of str, default ("lh", "rh")
        Rows.
    surface : {"inflated", "pial", "white"}, default "inflated"
        Shape of the cortex.
    outlines : mapping of str to mapping of str to array_like of bool, optional
        Regions to be outlined: masks of "lh" and "rh", shape (10242,) each, see
        `analysis.surface_mesh.region_outlines`; at most twelve.
    cmap : str or Colormap, optional
        "viridis", or "RdBu_r" when `symmetric`, by default.
    vmin, vmax : float, optional
        Ends of the colours; those of the shown values by default.
    symmetric : bool, default False
        Centre the colours on 0.
    threshold : float, default 0
        Values nearer to 0 are not shown.
    label : str, optional
        What the values are, with unit; beside the colour bar.
    title : str, optional
        Above the figure.
    note : str, optional
        What must not be overlooked, such as "simulated data"; framed.
    cortex : Cortex, optional
        Already loaded surfaces.
    figure : Figure, optional
        Where to draw; its size is changed. A new one without a window by default.

    Returns
    -------
    Figure
        One axes per hemisphere and view, labelled such as "lh lateral" (in mm), then
        that of the colour bar.

    Raises
    ------
    ValueError
        If a shape or option is wrong, or there are too many outlines.
    """
    for view in views:
        check_option("views", view, VIEWS)
    for hemisphere in hemispheres:
        check_option("hemispheres", hemisphere, HEMISPHERES)
    if not views or not hemispheres:
        raise ValueError("`views` and `hemispheres` must name at least one.")
    check_option("surface", surface, ("inflated", "pial", "white"))
    values = check_cortex_maps("maps", maps, hemispheres)
    masks = {
        name: check_cortex_maps(f"outlines[{name!r}]", sides, hemispheres)
        for name, sides in (outlines or {}).items()
    }
    looks = region_lines(list(masks))
    scale = make_colour_scale(
        np.concatenate(list(values.values())),
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
        symmetric=symmetric,
        threshold=threshold,
    )
    cortex = cortex or load_cortex()
    panels = {
        (h, view): _project(cortex[h], h, view, surface)
        for h in hemispheres
        for view in views
    }
    figure = Figure() if figure is None else figure
    axes = _lay_out(figure, panels, legend_lines(len(masks)))
    for (h, view), (screen, faces) in panels.items():
        ax = axes[h, view]
        colours = cortex_colours(scale, values[h], cortex[h].sulcal_depth)
        _draw_cells(ax, screen, faces, colours, scale.shown(values[h]))
        for look, sides in zip(looks, masks.values(), strict=True):
            _draw_outline(ax, screen, faces, sides[h] > 0, look)
    hidden = np.concatenate([~scale.shown(v) for v in values.values()]).any()
    below = f"\nor nearer to 0\nthan {threshold:g}" if threshold else ""
    draw_colour_bar(
        axes["bar", ""], scale, label, f"grey: undefined{below}" if hidden else ""
    )
    region_legend(figure, list(masks), 0.01)
    write_heading(figure, title, note, 1 - 0.09 / figure.get_size_inches()[1])
    return figure


def _project(
    mesh: HemisphereMesh, hemisphere: str, view: str, surface: str
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Turn a hemisphere, so that x is right, y up and z towards the viewer."""
    if view == "flat":
        return mesh.surfaces["flat"].astype(np.float64), mesh.flat_faces
    s = -1 if hemisphere == "lh" else 1
    right_up_near = {
        "lateral": [[0, s, 0], [0, 0, 1], [s, 0, 0]],
        "medial": [[0, -s, 0], [0, 0, 1], [-s, 0, 0]],
        "ventral": [[0, s, 0], [s, 0, 0], [0, 0, -1]],
        "dorsal": [[0, s, 0], [-s, 0, 0], [0, 0, 1]],
        "posterior": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
        "anterior": [[-1, 0, 0], [0, 0, 1], [0, 1, 0]],
    }[view]
    return mesh.surfaces[surface] @ np.array(right_up_near, np.float64).T, mesh.faces


def _lay_out(
    figure: Figure,
    panels: Mapping[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.int32]]],
    n_legend_lines: int,
) -> dict[tuple[str, str], Axes]:
    """Fill a figure with panels of one scale, hemispheres below each other."""
    rows = list(dict.fromkeys(h for h, _ in panels))
    columns = list(dict.fromkeys(view for _, view in panels))
    boxes = {}
    for key, (screen, faces) in panels.items():
        drawn = screen[np.unique(faces), :2]
        boxes[key] = drawn.min(axis=0), drawn.max(axis=0)
    sizes = {key: (high - low) * _IN_PER_MM for key, (low, high) in boxes.items()}
    widths = [max(sizes[h, v][0] for h in rows) + _GAP_IN for v in columns]
    heights = [max(sizes[h, v][1] for v in columns) + _GAP_IN for h in rows]
    below = 0.06 + _ASIDE_IN["line"] * n_legend_lines
    total_in = np.array(
        [
            _ASIDE_IN["left"] + sum(widths) + _ASIDE_IN["right"],
            below + sum(heights) + _ASIDE_IN["heads"] + _ASIDE_IN["title"],
        ]
    )
    figure.set_size_inches(float(total_in[0]), float(total_in[1]))
    axes = {}
    top = total_in[1] - _ASIDE_IN["heads"] - _ASIDE_IN["title"]
    for i, h in enumerate(rows):
        for j, view in enumerate(columns):
            left = _ASIDE_IN["left"] + sum(widths[:j])
            corner = np.array([left, top - sum(heights[: i + 1])])
            size = np.array([widths[j], heights[i]])
            place = (*(corner / total_in), *(size / total_in))
            ax = axes[h, view] = figure.add_axes(place, label=f"{h} {view}")
            low, high = boxes[h, view]
            half = size / _IN_PER_MM / 2
            centre = (low + high) / 2
            ax.set_xlim(centre[0] - half[0], centre[0] + half[0])
            ax.set_ylim(centre[1] - half[1], centre[1] + half[1])
            ax.set_axis_off()
            if i == 0:
                x, y = (corner + size * (0.5, 1)) / total_in
                figure.text(x, y, view, ha="center", fontsize=TEXT_PT)
        figure.text(
            0.1 / total_in[0],
            (top - sum(heights[:i]) - heights[i] / 2) / total_in[1],
            _SIDES[h],
            rotation=90,
            va="center",
            fontsize=TEXT_PT,
        )
    bar_in = min(1.6, 0.7 * sum(heights))
    bottom = top - (sum(heights) - 0.25) / 2 - bar_in / 2
    corner = np.array([total_in[0] - _ASIDE_IN["right"] + 0.1, bottom])
    place = (*(corner / total_in), *(np.array([0.13, bar_in]) / total_in))
    axes["bar", ""] = figure.add_axes(place, label="colour bar")
    return axes


def _draw_cells(
    ax: Axes,
    screen: NDArray[np.float64],
    faces: NDArray[np.int32],
    colours: NDArray[np.float64],
    shown: NDArray[np.bool_],
) -> None:
    """Draw the vertices that face the viewer, far ones first."""
    corners = screen[faces]
    facing = _facing(corners)
    corners, faces = corners[facing], faces[facing]
    order = np.argsort(corners[..., 2].mean(axis=1), kind="stable")
    corners, faces = corners[order, :, :2], faces[order]
    # Each corner of a triangle gets the third that is nearest to it.
    after = (corners + np.roll(corners, -1, axis=1)) / 2
    before = np.roll(after, 1, axis=1)
    middle = np.broadcast_to(corners.mean(axis=1, keepdims=True), corners.shape)
    cells: Any = np.stack([corners, after, middle, before], axis=2)
    paint = colours[faces]
    # Bare cortex needs no thirds: one triangle, its last corner named twice, is faster.
    bare = ~shown[faces].any(axis=1)
    cells[bare, 0] = corners[bare][:, [0, 1, 2, 2]]
    paint[bare, 0] = paint[bare].mean(axis=1)
    drawn = np.stack([np.ones_like(bare), ~bare, ~bare], axis=1)
    ax.add_collection(
        PolyCollection(
            cells[drawn],
            facecolors=paint[drawn],
            edgecolors="none",
            antialiaseds=False,
            rasterized=True,
        ),
        autolim=False,
    )


def _facing(corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which triangles, shape (n, 3, 3), are seen from outside."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0] > 0


def _draw_outline(
    ax: Axes,
    screen: NDArray[np.float64],
    faces: NDArray[np.int32],
    mask: NDArray[np.bool_],
    look: dict[str, Any],
) -> None:
    """Draw the visible part of the border of a region."""
    corners = screen[faces]
    facing = _facing(corners)
    n_inside = mask[faces].sum(axis=1)
    crossed = np.flatnonzero(facing & (n_inside > 0) & (n_inside < 3))
    inside, ends = mask[faces[crossed]], corners[crossed]
    # One corner is parted from the two others; the border cuts its two edges.
    alone_inside = n_inside[crossed] == 1
    first = np.argmax(inside == alone_inside[:, None], axis=1)
    turn = (first[:, None] + np.arange(3)) % 3
    ends = np.take_along_axis(ends, turn[..., None], axis=1)
    share = np.where(alone_inside, _OUTLINE_AT, 1 - _OUTLINE_AT)[:, None, None]
    segments = ends[:, :1] + share * (ends[:, 1:] - ends[:, :1])
    seen = ~_covered(segments.mean(axis=1), corners[facing])
    lines = LineCollection(
        list(segments[seen, :, :2]),
        capstyle="round",
        zorder=3,
        **look,
    )
    ax.add_collection(lines, autolim=False)


def _covered(
    points: NDArray[np.float64], corners: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which points, shape (n, 3), lie behind a triangle, shape (m, 3, 3)."""
    if not len(points):
        return np.zeros(0, np.bool_)
    tree = KDTree(corners[..., :2].mean(axis=1))
    near = corners[tree.query(points[:, :2], k=min(_N_NEAR_FACES, len(corners)))[1]]
    a, b, c = near[:, :, 0], near[:, :, 1], near[:, :, 2]
    p = points[:, None]
    area = _cross(b - a, c - a)
    u, v = _cross(p - a, c - a) / area, _cross(b - a, p - a) / area
    depth = a[..., 2] + u * (b - a)[..., 2] + v * (c - a)[..., 2]
    over = (u >= 0) & (v >= 0) & (u + v <= 1) & (depth > points[:, None, 2] + 0.5)
    return np.asarray(over.any(axis=1))


def _cross(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]
    return product
