"""Textures of small elements, one area of which differs from the rest.

Elements stand on a jittered grid of cells; those of a rectangular area have another
form or orientation. Which way the area lies, or in which quarter of the picture, is
what an observer tells. Elements never touch: shifts that would make them touch are
drawn again.

What people do, recalled from the papers: with random orientations a + among Ls is easy
and an L among Ts hard; size and contrast of the elements can reverse the order. With
bars, the difference in orientation that is needed is about 10 to 20 degrees and grows
with the spread of orientations.

References
----------
Bergen and Julesz (1983). Nature 303, 696-698. doi:10.1038/303696a0. Bergen and Adelson
(1988). Nature 333, 363-364. doi:10.1038/333363a0. Nothdurft (1991). Vision Research 31,
1073-1078. doi:10.1016/0042-6989(91)90211-M
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.canvas import cos_sin
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    Display,
    FloatArray,
    coverage,
    display_set,
    ground,
    lay,
)
from stimuli.glyphs import union_coverage
from stimuli.outlines import rectangle

ELEMENTS = ("bar", "+", "L", "T", "X")
TASKS = ("orientation", "location")
"""Whether the area lies or stands; in which quarter of the picture it is."""

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "orientation": ("vertical", "horizontal"),
    "location": ("upper_left", "upper_right", "lower_left", "lower_right"),
}

# Strokes of unit length in a unit box: from, to; upright elements.
_STROKES: Mapping[str, tuple[tuple[tuple[float, float], tuple[float, float]], ...]] = {
    "bar": (((-0.5, 0.0), (0.5, 0.0)),),
    "+": (((-0.5, 0.0), (0.5, 0.0)), ((0.0, -0.5), (0.0, 0.5))),
    "L": (((-0.5, -0.5), (0.5, -0.5)), ((-0.5, -0.5), (-0.5, 0.5))),
    "T": (((-0.5, 0.5), (0.5, 0.5)), ((0.0, 0.5), (0.0, -0.5))),
    "X": (
        ((-0.5 / math.sqrt(2),) * 2, (0.5 / math.sqrt(2),) * 2),
        (
            (-0.5 / math.sqrt(2), 0.5 / math.sqrt(2)),
            (0.5 / math.sqrt(2), -0.5 / math.sqrt(2)),
        ),
    ),
}

_ROUNDS = 200
_COLUMNS = (
    *("element", "region_element", "orientation_deg", "orientation_difference_deg"),
    *("orientation_sd_deg", "n_cells", "cell_deg", "jitter_deg", "length_deg"),
    *("line_deg", "region_columns", "region_rows", "region_column", "region_row"),
    *("luminance", "background", "px_per_deg", "seed", "stimulus_id"),
)


def draw_texture(
    *,
    element: str = "L",
    region_element: str = "+",
    orientation_deg: float = math.nan,
    orientation_difference_deg: float = 0.0,
    orientation_sd_deg: float = 0.0,
    n_cells: int = 14,
    cell_deg: float = 0.7,
    jitter_deg: float = 0.15,
    length_deg: float = 0.4,
    line_deg: float = 0.05,
    region_columns: int = 4,
    region_rows: int = 8,
    region_column: int = 5,
    region_row: int = 3,
    luminance: float = 0.0,
    background: float = GREY,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
    stimulus_id: str = "",
) -> Display:
    """Draw a texture with an area that differs.

    Parameters
    ----------
    element, region_element : {"bar", "+", "L", "T", "X"}
        Elements outside and inside the area.
    orientation_deg : float, default NaN
        Mean orientation of the elements outside, degrees counter-clockwise (of a bar:
        0 is lying); NaN for orientations drawn from the whole circle.
    orientation_difference_deg : float, default 0
        What is added to the orientation inside the area.
    orientation_sd_deg : float, default 0
        Standard deviation of normal noise on the orientation of each element.
    n_cells : int, default 14
        Cells per side, 2 to 40.
    cell_deg : float, default 0.7
        Side of a cell in degrees; the picture is as wide as its cells.
    jitter_deg : float, default 0.15
        Largest shift along both axes.
    length_deg : float, default 0.4
        Length of every stroke of an element.
    line_deg : float, default 0.05
        Its thickness.
    region_columns, region_rows : int, default 4 and 8
        Size of the area in cells; 0 for none.
    region_column, region_row : int, default 5 and 3
        Its first cell from the left and from the top, 0-based.
    luminance : float, default 0
        Of the elements, 0..1.
    background : float, default 0.5
        Of the ground, 0..1.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Seed of orientations and shifts.
    stimulus_id : str, optional
        Gives the texture a stream of its own.

    Returns
    -------
    Display
        Masks "region" (the cells of the area) and "elements" (pixels covered by half
        or more); geometry `x_deg`, `y_deg`, `angle_deg` and `inside`, arrays of shape
        (n_cells**2,), row by row.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, the area leaves the grid, or
        elements cannot be kept apart.
    """
    for name, value in (("element", element), ("region_element", region_element)):
        check_option(name, value, ELEMENTS)
    _check_texture(n_cells, cell_deg, jitter_deg, length_deg, line_deg)
    check_between("orientation_difference_deg", orientation_difference_deg)
    check_between("orientation_sd_deg", orientation_sd_deg, low=0)
    check_between("luminance", luminance, low=0, high=1)
    if not math.isnan(orientation_deg):
        check_between("orientation_deg", orientation_deg)
    inside = _inside(n_cells, region_columns, region_rows, region_column, region_row)
    rng = generator(seed, "texture-segmentation", stimulus_id)
    n = n_cells**2
    spread, noise = rng.random(n), rng.standard_normal(n)
    mean = 360 * spread if math.isnan(orientation_deg) else orientation_deg
    angle_deg = mean + orientation_sd_deg * noise + orientation_difference_deg * inside
    kinds = np.where(inside, region_element, element)
    centres = (np.arange(n_cells) - (n_cells - 1) / 2) * cell_deg
    grid = np.column_stack([np.tile(centres, n_cells), np.repeat(-centres, n_cells)])
    strokes = _strokes(kinds, angle_deg, length_deg)
    side = n_cells * cell_deg
    places = grid + _shifts(grid, strokes, side, jitter_deg, line_deg, rng)
    image = ground(side, px_per_deg, background)
    pieces = [
        _bar(first + place, last + place, line_deg)
        for place, own in zip(places, strokes, strict=True)
        for first, last in own
    ]
    cover = union_coverage(pieces, image.shape, px_per_deg)
    lay(image, cover, luminance)
    geometry = {
        "x_deg": places[:, 0],
        "y_deg": places[:, 1],
        "angle_deg": angle_deg,
        "kind": kinds,
        "inside": inside,
    }
    area = _region_mask(
        image.shape, px_per_deg, n_cells, cell_deg, inside.reshape(n_cells, n_cells)
    )
    masks = {"region": area, "elements": cover >= 0.5}
    return Display(image, px_per_deg, geometry, masks)


def make_textures(
    pairs: Sequence[tuple[str, str]] = (("L", "+"), ("T", "L"), ("bar", "bar")),
    *,
    task: str = "orientation",
    orientation_differences_deg: Sequence[float] = (5.0, 10.0, 20.0, 40.0, 90.0),
    orientation_sds_deg: Sequence[float] = (0.0, 15.0),
    repeats: int = 1,
    n_cells: int = 14,
    cell_deg: float = 0.7,
    jitter_deg: float = 0.15,
    length_deg: float = 0.4,
    line_deg: float = 0.05,
    region_cells: tuple[int, int] = (4, 8),
    luminance: float = 0.0,
    background: float = GREY,
    seed: int = 0,
    px_per_deg: float = PX_PER_DEG,
) -> StimulusSet:
    """Make textures with an area that differs in form or orientation.

    Parameters
    ----------
    pairs : sequence of pair of str
        Elements outside and inside. With ("bar", "bar") the area differs by each of
        `orientation_differences_deg`; all others have random orientations.
    task : {"orientation", "location"}
        What is asked, see `ANSWERS`. Areas of orientation lie in the middle, those of
        location in the middle of a quarter.
    orientation_differences_deg : sequence of float
        Between bars inside and outside, degrees.
    orientation_sds_deg : sequence of float
        Spreads of the orientations of bars, degrees.
    repeats : int, default 1
        Pictures of each answer.
    n_cells : int, default 14
        Cells per side.
    cell_deg : float, default 0.7
        Side of a cell in degrees.
    jitter_deg : float, default 0.15
        Largest shift along both axes.
    length_deg : float, default 0.4
        Length of the strokes.
    line_deg : float, default 0.05
        Their thickness.
    region_cells : pair of int, default (4, 8)
        Shorter and longer side of the area in cells. In a quarter it is a square of
        the shorter side.
    luminance : float, default 0
        Of the elements, 0..1.
    background : float, default 0.5
        Of the ground, 0..1.
    seed : int, default 0
        Seed, >= 0.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    StimulusSet
        One row per picture: `condition`, `answer`, and the arguments of
        `draw_texture`. The mean orientation of bars is drawn for each picture.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, or the area leaves the grid.

    Examples
    --------
    >>> stimuli = make_textures([("L", "+")])
    >>> stimuli.table["answer"].tolist()
    ['vertical', 'horizontal']
    """
    check_option("task", task, tuple(ANSWERS))
    repeats = check_whole("repeats", repeats, low=1)
    seed = check_whole("seed", seed, low=0)
    _check_texture(n_cells, cell_deg, jitter_deg, length_deg, line_deg)
    short, long = (check_whole("region_cells", v, low=1) for v in region_cells)
    if not pairs:
        raise ValueError("`pairs` is empty: name at least one pair of elements.")
    rows = []
    for outer, inner in pairs:
        bars = (outer, inner) == ("bar", "bar")
        steps = orientation_differences_deg if bars else (0.0,)
        spreads = orientation_sds_deg if bars else (0.0,)
        for name in (outer, inner):
            check_option("pairs", name, ELEMENTS)
        for step in steps:
            for spread in spreads:
                for answer in ANSWERS[task]:
                    for repeat in range(repeats):
                        condition = f"{inner}_in_{outer}"
                        if bars:
                            condition += f"_d{step:g}_sd{spread:g}"
                        identity = f"{condition}_{answer}_r{repeat:03d}"
                        mean = generator(seed, "texture-mean", identity).random() * 180
                        area = _region(task, answer, n_cells, short, long)
                        _inside(n_cells, *area)
                        rows.append(
                            {
                                "stimulus_id": identity,
                                "task": task,
                                "condition": condition,
                                "answer": answer,
                                "repeat": repeat,
                                "element": outer,
                                "region_element": inner,
                                "orientation_deg": mean if bars else math.nan,
                                "orientation_difference_deg": float(step),
                                "orientation_sd_deg": float(spread),
                                "n_cells": n_cells,
                                "cell_deg": cell_deg,
                                "jitter_deg": jitter_deg,
                                "length_deg": length_deg,
                                "line_deg": line_deg,
                                "region_columns": area[0],
                                "region_rows": area[1],
                                "region_column": area[2],
                                "region_row": area[3],
                                "luminance": luminance,
                                "background": background,
                                "px_per_deg": px_per_deg,
                                "seed": seed,
                            }
                        )
    return display_set(
        "textures",
        pd.DataFrame(rows),
        _draw_row,
        size_deg=n_cells * cell_deg,
        px_per_deg=px_per_deg,
        background=background,
    )


def _draw_row(row: Mapping[str, Any]) -> Display:
    return draw_texture(**{name: row[name] for name in _COLUMNS})


# ------------------------------------------------------------------------- checks


def _check_texture(
    n_cells: int,
    cell_deg: float,
    jitter_deg: float,
    length_deg: float,
    line_deg: float,
) -> None:
    check_whole("n_cells", n_cells, low=2, high=40)
    check_between("cell_deg", cell_deg, low=1e-3)
    check_between("jitter_deg", jitter_deg, low=0, high=cell_deg)
    check_between("length_deg", length_deg, low=1e-3)
    check_between("line_deg", line_deg, low=1e-4, high=length_deg)


def _region(
    task: str, answer: str, n_cells: int, short: int, long: int
) -> tuple[int, int, int, int]:
    """Columns and rows of the area, and its first column and row."""
    if task == "orientation":
        columns, rows = (short, long) if answer == "vertical" else (long, short)
        return columns, rows, (n_cells - columns) // 2, (n_cells - rows) // 2
    half = n_cells // 2
    near, far = (half - short) // 2, n_cells - half + (half - short) // 2
    column = near if answer.endswith("left") else far
    return short, short, column, near if answer.startswith("upper") else far


def _inside(
    n_cells: int, columns: int, rows: int, column: int, row: int
) -> NDArray[np.bool_]:
    """Return which cells belong to the area, row by row."""
    for name, value in (("region_columns", columns), ("region_rows", rows)):
        check_whole(name, value, low=0)
    starts = (column, row)
    ends = (column + columns, row + rows)
    if min(starts) < 0 or max(ends) > n_cells:
        raise ValueError(
            f"The area of {columns} x {rows} cells from column {column}, row {row} "
            f"leaves the grid of {n_cells} x {n_cells}. Use a larger `n_cells`."
        )
    cells = np.zeros((n_cells, n_cells), np.bool_)
    cells[row : row + rows, column : column + columns] = True
    return cells.ravel()


# ----------------------------------------------------------------------- geometry


def _strokes(
    kinds: NDArray[Any], angle_deg: FloatArray, length_deg: float
) -> list[FloatArray]:
    """Return the ends of the strokes of each element, (n_strokes, 2, 2), about 0."""
    ends = []
    for kind, angle in zip(kinds, angle_deg, strict=True):
        cos, sin = cos_sin(float(angle))
        turned = np.array([[cos, sin], [-sin, cos]])
        ends.append(np.array(_STROKES[str(kind)]) * length_deg @ turned)
    return ends


def _bar(first: FloatArray, last: FloatArray, width_deg: float) -> FloatArray:
    """Return the outline of a stroke; it ends half its thickness beyond both ends."""
    along = (last - first) / np.hypot(*(last - first))
    side = np.array([-along[1], along[0]])
    half = width_deg / 2
    first, last = first - half * along, last + half * along
    side = half * side
    return np.array([first + side, first - side, last - side, last + side])


def _shifts(
    grid: FloatArray,
    strokes: Sequence[FloatArray],
    side_deg: float,
    jitter_deg: float,
    line_deg: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw shifts until no two elements touch and none leaves the picture."""
    n = len(grid)
    n_cells = math.isqrt(n)
    # Where one has fewer strokes, its first one counts twice.
    most = max(len(own) for own in strokes)
    ends = np.array([[*own, *([own[0]] * (most - len(own)))] for own in strokes])
    number = np.arange(n).reshape(n_cells, n_cells)
    pairs = np.concatenate(
        [
            np.column_stack([number[:, :-1].ravel(), number[:, 1:].ravel()]),
            np.column_stack([number[:-1].ravel(), number[1:].ravel()]),
            np.column_stack([number[:-1, :-1].ravel(), number[1:, 1:].ravel()]),
            np.column_stack([number[:-1, 1:].ravel(), number[1:, :-1].ravel()]),
        ]
    )
    # The corners of square ends are sqrt(1/2) of a stroke beyond the line; a gap of one
    # stroke is left.
    reach = line_deg * (1 + math.sqrt(2))
    edge = side_deg / 2 - 1.5 * line_deg
    shifts = rng.uniform(-jitter_deg, jitter_deg, (n, 2))
    for _ in range(_ROUNDS):
        placed = ends + (grid + shifts)[:, None, None, :]
        near = _distances(placed[pairs[:, 0]], placed[pairs[:, 1]]) < reach
        out = (np.abs(placed) > edge).any(axis=(1, 2, 3))
        again = np.union1d(pairs[near].ravel(), np.flatnonzero(out))
        if not len(again):
            return np.asarray(shifts)
        shifts[again] = rng.uniform(-jitter_deg, jitter_deg, (len(again), 2))
    raise ValueError(
        f"Elements touch each other or the edge in all of {_ROUNDS} draws of their "
        "shifts. Use a smaller `length_deg` or `jitter_deg`, or a larger `cell_deg`."
    )


def _distances(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the distance of the nearest strokes of pairs of elements.

    Both have shape (n_pairs, n_strokes, 2, 2); 0 where strokes cross.
    """
    a, b = (part[:, :, None] for part in (first[:, :, 0], first[:, :, 1]))
    c, d = (part[:, None] for part in (second[:, :, 0], second[:, :, 1]))
    a, b, c, d = np.broadcast_arrays(a, b, c, d)
    crossing = (_side(a, b, c) * _side(a, b, d) < 0) & (
        _side(c, d, a) * _side(c, d, b) < 0
    )
    ends = [_to_line(a, c, d), _to_line(b, c, d), _to_line(c, a, b), _to_line(d, a, b)]
    nearest = np.where(crossing, 0.0, np.min(ends, axis=0))
    return np.asarray(nearest.min(axis=(1, 2)))


def _side(first: FloatArray, last: FloatArray, point: FloatArray) -> FloatArray:
    """Return on which side of a line a point lies, as a signed area."""
    along, other = last - first, point - first
    return np.asarray(along[..., 0] * other[..., 1] - along[..., 1] * other[..., 0])


def _to_line(point: FloatArray, first: FloatArray, last: FloatArray) -> FloatArray:
    """Return the distance of a point from a piece of a line."""
    along = last - first
    square = (along**2).sum(-1)
    share = np.clip(((point - first) * along).sum(-1) / square, 0, 1)
    return np.asarray(np.linalg.norm(point - first - share[..., None] * along, axis=-1))


def _region_mask(
    shape: tuple[int, ...],
    px_per_deg: float,
    n_cells: int,
    cell_deg: float,
    cells: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    if not len(rows):
        return np.zeros(shape, np.bool_)
    width, height = len(columns) * cell_deg, len(rows) * cell_deg
    left = (columns[0] - n_cells / 2) * cell_deg
    top = (n_cells / 2 - rows[0]) * cell_deg
    outline = rectangle(width, height, x_deg=left + width / 2, y_deg=top - height / 2)
    return coverage(outline, shape, px_per_deg) >= 0.5
