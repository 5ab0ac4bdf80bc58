"""Slices of a volume of voxels, with outlines of regions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import ArrayLike, NDArray

from analysis.brain_colours import (
    draw_colour_bar,
    legend_lines,
    make_colour_scale,
    region_legend,
    region_lines,
    write_heading,
)
from analysis.plot_style import TEXT_PT
from neurovis.core.checks import check_array, check_option, check_whole

PLANES = ("sagittal", "coronal", "axial")
_ENDS = {"sagittal": ("P", "A"), "coronal": ("L", "R"), "axial": ("L", "R")}
_UNDEFINED_COLOUR = "#E2E2E2"
_SLICES_IN_ROW = 6
_SLICE_IN = 1.45
_MARGIN_VOXELS = 2
_ASIDE_IN = {"left": 0.12, "right": 1.02, "title": 0.34, "head": 0.22, "line": 0.24}


def plot_volume_map(
    volume: ArrayLike,
    affine: ArrayLike | None = None,
    *,
    plane: str = "axial",
    n_slices: int = 12,
    background: ArrayLike | None = None,
    regions: Mapping[str, ArrayLike] | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    symmetric: bool = False,
    threshold: float = 0.0,
    label: str = "",
    title: str = "",
    note: str = "",
    figure: Figure | None = None,
) -> Figure:
    """Draw slices of a volume side by side.

    For volumes in any space, such as the native one of a subject. Slices are spread
    evenly over what is defined, and cut to it.

    Parameters
    ----------
    volume : array_like of float, shape (X, Y, Z)
        Values; NaN is undefined and shows the background.
    affine : array_like of float, shape (4, 4), optional
        From 0-based voxel indices to millimetres (x right, y anterior, z superior):
        left is then drawn at the left. Without it the stored axes are taken to be x, y
        and z, voxels to be cubes, and no side is named.
    plane : {"axial", "coronal", "sagittal"}, default "axial"
        Across z, y or x.
    n_slices : int, default 12
        At most so many slices.
    background : array_like of float, shape (X, Y, Z), optional
        Anatomy or mean image, drawn in grey.
    regions : mapping of str to array_like of bool, shape (X, Y, Z), optional
        Regions to be outlined, at most twelve.
    cmap : str or Colormap, optional
        "viridis", or "RdBu_r" when `symmetric`, by default.
    vmin, vmax : float, optional
        Ends of the colours; those of the values by default.
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
    figure : Figure, optional
        Where to draw; its size is changed. A new one without a window by default.

    Returns
    -------
    Figure
        One axes per slice, labelled by stored axis and 0-based index in `volume`, such
        as "z 9", then that of the colour bar.

    Raises
    ------
    ValueError
        If a shape or option is wrong, or nothing is defined.
    """
    values = check_array("volume", volume, shape=(None, None, None)).astype(np.float64)
    check_option("plane", plane, PLANES)
    check_whole("n_slices", n_slices, low=1)
    names = list(regions or {})
    layers: list[tuple[str, ArrayLike]]
    layers = [("volume", values), *(regions or {}).items()]
    layers += [] if background is None else [("background", background)]
    stack = [
        check_array(name, array, shape=values.shape).astype(np.float64)
        for name, array in layers
    ]
    turn, axis_mm = _orientation(affine)
    looks = region_lines(names)
    scale = make_colour_scale(
        values,
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
        symmetric=symmetric,
        threshold=threshold,
    )
    # Slices first, then rows upwards, then columns to the right.
    across = PLANES.index(plane)
    columns, rows = (axis for axis in range(3) if axis != across)
    turned = [
        np.transpose(
            apply_orientation(array, turn),  # type: ignore[no-untyped-call]
            (across, rows, columns),
        )
        for array in stack
    ]
    drawn = ~np.isnan(turned[0])
    for mask in turned[1 : 1 + len(names)]:
        drawn |= mask > 0
    if not drawn.any():
        raise ValueError("`volume` has no defined value: there is nothing to draw.")
    places, *windows = _extents(drawn, n_slices)
    cut = [array[places][:, windows[0]][:, :, windows[1]] for array in turned]
    voxel_mm = axis_mm[[rows, columns]]
    size_mm = voxel_mm * cut[0].shape[1:]
    figure = Figure() if figure is None else figure
    axes, bar = _lay_out(figure, len(places), size_mm, legend_lines(len(names)))
    stored = int(np.flatnonzero(turn[:, 0] == across)[0])
    flipped = turn[stored, 1] < 0
    grey = _grey_range(stack[-1]) if background is not None else None
    for i, (ax, place) in enumerate(zip(axes, places, strict=True)):
        number = values.shape[stored] - 1 - place if flipped else place
        _name_slice(ax, f"{'xyz'[stored]} {number}")
        if grey is not None:
            _show(ax, cut[-1][i], size_mm, cmap="gray", vmin=grey[0], vmax=grey[1])
        colours = scale.colours(cut[0][i].ravel()).reshape(*cut[0][i].shape, 4)
        _show(ax, colours, size_mm)
        for look, mask in zip(looks, cut[1:], strict=False):
            _outline(ax, mask[i] > 0, voxel_mm, look)
    if affine is not None:
        for share, text in zip((0.03, 0.97), _ENDS[plane], strict=True):
            axes[0].text(
                share,
                0.02,
                text,
                transform=axes[0].transAxes,
                ha="left" if share < 0.5 else "right",
                fontsize=TEXT_PT,
                fontweight="bold",
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
    hidden = f"\nor nearer to 0\nthan {threshold:g}" if threshold else ""
    absent = "grey" if grey is None else "no colour"
    draw_colour_bar(bar, scale, label, f"{absent}: undefined{hidden}")
    region_legend(figure, names, 0.01)
    write_heading(figure, title, note, 1 - 0.09 / figure.get_size_inches()[1])
    return figure


def _orientation(
    affine: ArrayLike | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how axes turn to right, anterior, superior, and their steps in mm."""
    if affine is None:
        return np.array([[0.0, 1], [1, 1], [2, 1]]), np.ones(3)
    matrix = check_array("affine", affine, shape=(4, 4), finite=True)
    turn = io_orientation(matrix)  # type: ignore[no-untyped-call]
    if np.isnan(turn).any():
        raise ValueError("`affine` cannot be inverted: its axes must span space.")
    steps = np.ones(3)
    steps[turn[:, 0].astype(int)] = np.linalg.norm(matrix[:3, :3], axis=0)
    return turn, steps


def _extents(
    drawn: NDArray[np.bool_], n_slices: int
) -> tuple[NDArray[np.int64], slice, slice]:
    """Choose slices along the first axis, and the rows and columns to be shown."""
    ends = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        there = np.flatnonzero(drawn.any(axis=others))
        ends.append((int(there[0]), int(there[-1])))
    # The middles of equal parts: the outermost slices would show next to nothing.
    (first, last), *sides = ends
    parts = (np.arange(n_slices) + 0.5) / n_slices
    places = np.unique((first + parts * (last - first + 1)).astype(np.int64))
    rows, columns = (
        slice(max(low - _MARGIN_VOXELS, 0), high + 1 + _MARGIN_VOXELS)
        for low, high in sides
    )
    return places, rows, columns


def _grey_range(background: NDArray[np.float64]) -> tuple[float, float]:
    known = background[np.isfinite(background)]
    low, high = np.percentile(known, [1, 99]) if len(known) else (0.0, 1.0)
    return float(low), float(high)


def _lay_out(
    figure: Figure, n_slices: int, size_mm: NDArray[np.float64], n_legend_lines: int
) -> tuple[list[Axes], Axes]:
    """Fill a figure with equal panels, row by row."""
    n_columns = min(n_slices, _SLICES_IN_ROW)
    n_rows = -(-n_slices // n_columns)
    panel = np.array([size_mm[1], size_mm[0]]) * _SLICE_IN / size_mm.max()
    pitch = panel + np.array([0.07, _ASIDE_IN["head"]])
    below = 0.12 + _ASIDE_IN["line"] * n_legend_lines
    # A narrow mosaic still needs room for its heading.
    width = max(pitch[0] * n_columns, 3.2)
    total = np.array(
        [
            _ASIDE_IN["left"] + width + _ASIDE_IN["right"],
            max(below + pitch[1] * n_rows + _ASIDE_IN["title"], 2.4),
        ]
    )
    figure.set_size_inches(float(total[0]), float(total[1]))
    axes = []
    for i in range(n_slices):
        row, column = divmod(i, n_columns)
        top = total[1] - _ASIDE_IN["title"] - pitch[1] * (row + 1)
        corner = np.array([_ASIDE_IN["left"] + pitch[0] * column, top])
        axes.append(figure.add_axes((*(corner / total), *(panel / total))))
    height = min(1.6, 0.75 * (total[1] - below - _ASIDE_IN["title"]))
    corner = np.array(
        [
            total[0] - _ASIDE_IN["right"] + 0.1,
            (below + total[1] - _ASIDE_IN["title"] - height) / 2 + 0.15,
        ]
    )
    place = (*(corner / total), *(np.array([0.13, height]) / total))
    return axes, figure.add_axes(place, label="colour bar")


def _name_slice(ax: Axes, name: str) -> None:
    ax.set_label(name)
    ax.set_title(name, fontsize=TEXT_PT - 1, pad=2)
    ax.set_facecolor(_UNDEFINED_COLOUR)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _show(
    ax: Axes, picture: NDArray[np.float64], size_mm: NDArray[np.float64], **look: Any
) -> None:
    """Draw one slice, first row at the bottom."""
    extent = (0.0, size_mm[1], 0.0, size_mm[0])
    ax.imshow(picture, origin="lower", extent=extent, interpolation="nearest", **look)


def _outline(
    ax: Axes,
    mask: NDArray[np.bool_],
    voxel_mm: NDArray[np.float64],
    look: dict[str, Any],
) -> None:
    """Draw the edges between voxels inside and outside of a region."""
    padded = np.pad(mask, 1).astype(np.int8)
    row, column = np.nonzero(np.diff(padded, axis=1))
    upright = [[column, row - 1], [column, row]]
    row, column = np.nonzero(np.diff(padded, axis=0))
    level = [[column - 1, row], [column, row]]
    ends = np.concatenate([upright, level], axis=2).transpose(2, 0, 1)
    if len(ends):
        lines = list(ends * voxel_mm[::-1])
        ax.add_collection(LineCollection(lines, capstyle="projecting", **look))
