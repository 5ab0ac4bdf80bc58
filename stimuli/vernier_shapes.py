"""Shapes around a vernier, and how the published batteries arrange them.

A configuration is a grid of numbers of shapes; the vernier is in the middle.

References
----------
Doerig, Bornet, Choung and Herzog (2020). Crowding reveals fundamental differences in
local vs. global processing in humans and machines. Vision Research 167, 39-45.
doi:10.1016/j.visres.2019.12.006
"""

import math
from collections.abc import Sequence

import numpy as np

from neurovis.core.checks import check_whole
from neurovis.core.rng import generator
from stimuli.canvas import cos_sin
from stimuli.display import FloatArray
from stimuli.glyphs import stroke_outlines
from stimuli.outlines import rectangle, regular_polygon

SHAPES = (
    *("empty", "square", "circle", "hexagon", "octagon", "diamond", "star"),
    *("irregular", "lines"),
)
"""Shapes by their number; "lines" are the two upright sides of a square."""

STAR_TIPS = 7
STAR_RATIO = 1.7
"""Distance of a tip from the centre over that of the corner between tips."""

_IRREGULAR_CORNERS = 15
# Corners are 2/3 of the reach away or more, and at most 64 degrees apart.
_LEAST_IRREGULAR = 2 / 3 * math.cos(math.radians(32))

Grid = tuple[tuple[int, ...], ...]


def vernier_configurations() -> dict[str, Grid]:
    """Return the configurations of the published batteries by name.

    Returns
    -------
    dict of str to tuple of tuple of int
        Numbers of shapes by row from the top and place from the left; the vernier is
        in the middle. "vernier" has none; "SHAPE_1", "_3", "_5" and "_7" are rows of
        one shape; "square_star_5" and "_7" alternate and have a square in the middle;
        and so for every pair of different shapes of numbers 1 to 7. For stars and
        circles among squares there are three rows: "columns", "checkerboard",
        "scrambled", "cross" (one square above and below the row), "pompom" (rows
        with an empty middle above and below) and "checkerboard_odd" (one shape of the
        checkerboard exchanged).

    Examples
    --------
    >>> vernier_configurations()["square_star_5"]
    ((1, 6, 1, 6, 1),)
    """
    found: dict[str, Grid] = {"vernier": ()}
    for number, shape in enumerate(SHAPES[1:], start=1):
        for n in (1, 3, 5, 7):
            found[f"{shape}_{n}"] = ((number,) * n,)
    for first, shape in enumerate(SHAPES[1:8], start=1):
        for second, other in enumerate(SHAPES[1:8], start=1):
            if second == first:
                continue
            for n in (5, 7):
                places = range(n)
                mixed = tuple(second if (i - n // 2) % 2 else first for i in places)
                found[f"{shape}_{other}_{n}"] = (mixed,)
    for x in (6, 2):
        row = (x, 1, x, 1, x, 1, x)
        shifted = (1, x, 1, x, 1, x, 1)
        odd = (1, x, 2, x, 1, x, 1) if x == 6 else (1, x, 1, x, 6, x, 1)
        one = (0, 0, 0, 1, 0, 0, 0)
        hollow = (x, 1, x, 0, x, 1, x)
        grids: dict[str, Grid] = {
            "columns": (row, row, row),
            "checkerboard": (shifted, row, shifted),
            "scrambled": ((1, x, 1, x, x, 1, 1), row, (1, 1, x, x, 1, x, 1)),
            "cross": (one, row, one),
            "pompom": (hollow, row, hollow),
            "checkerboard_odd": (shifted, row, odd),
        }
        found |= {f"square_{SHAPES[x]}_{kind}": grid for kind, grid in grids.items()}
    return found


def check_grid(grid: Sequence[Sequence[int]]) -> Grid:
    """Return a grid of numbers of shapes as tuples of int.

    Parameters
    ----------
    grid : sequence of sequence of int
        Numbers of shapes by row from the top and place from the left; may be empty.

    Returns
    -------
    tuple of tuple of int
        The same.

    Raises
    ------
    TypeError, ValueError
        If a number is no shape, or no place is in the middle.

    Examples
    --------
    >>> check_grid([[1, 6, 1]])
    ((1, 6, 1),)
    """
    cells = tuple(
        tuple(check_whole("grid", n, low=0, high=len(SHAPES) - 1) for n in row)
        for row in grid
    )
    lengths = {len(row) for row in cells}
    if cells and (len(lengths) != 1 or len(cells) % 2 == 0 or min(lengths) % 2 == 0):
        raise ValueError(
            f"`grid` must have an odd number of rows, all with the same odd number of "
            f"places, so that one is in the middle; got rows of {sorted(lengths)} "
            f"places, {len(cells)} of them."
        )
    return cells


def shape_outlines(
    shape: str, side_deg: float, width_deg: float, seed: int = 0
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return outlines of a shape about 0: what they cover, and holes in it.

    Parameters
    ----------
    shape : str
        One of `SHAPES` but "empty".
    side_deg : float
        Side of the square that the outer edge of the lines touches.
    width_deg : float
        Thickness of the lines.
    seed : int, default 0
        Seed of the irregular polygon.

    Returns
    -------
    pieces, holes : list of ndarray of float64, shape (n_points, 2)
        Outlines in degrees.

    Examples
    --------
    >>> pieces, holes = shape_outlines("square", 2.0, 0.1)
    >>> pieces[0].max().round(6), holes[0].max().round(6)
    (np.float64(1.0), np.float64(0.9))
    """
    outer, inner = side_deg / 2, side_deg / 2 - width_deg
    middle = (outer + inner) / 2
    if shape == "lines":
        sides = (-middle, middle)
        return [rectangle(width_deg, side_deg, x_deg=x) for x in sides], []
    if shape == "star":
        star = regular_polygon(STAR_TIPS, middle, inner_radius_deg=middle / STAR_RATIO)
        return _stroked(star, width_deg), []
    if shape == "irregular":
        rng = generator(seed, "irregular-polygon")
        steps = rng.uniform(0.5, 1.5, _IRREGULAR_CORNERS)
        turns = 360 * np.cumsum(steps) / steps.sum()
        radii = middle * rng.uniform(2 / 3, 1.0, _IRREGULAR_CORNERS)
        corners = np.array([cos_sin(float(turn)) for turn in turns]) * radii[:, None]
        return _stroked(corners, width_deg), []
    n, turn_deg, to_corner = {
        "square": (4, 45.0, math.sqrt(2)),
        "circle": (180, 0.0, 1.0),
        "hexagon": (6, 30.0, 1.0),
        "octagon": (8, 22.5, 1 / math.cos(math.pi / 8)),
        "diamond": (4, 0.0, 1.0),
    }[shape]
    # The inner edge is parallel to the outer one.
    thinner = width_deg / math.cos(math.pi / n)
    radius = outer * to_corner
    return (
        [regular_polygon(n, radius, angle_deg=turn_deg)],
        [regular_polygon(n, radius - thinner, angle_deg=turn_deg)],
    )


def _stroked(corners: FloatArray, width_deg: float) -> list[FloatArray]:
    points = [(float(x), float(y)) for x, y in corners]
    return stroke_outlines([(*points, points[0])], width_deg)


def free_reach(
    shape: str, side_deg: float, width_deg: float, half_width_deg: float
) -> float:
    """Return how far up and down a vernier in a shape may go.

    Parameters
    ----------
    shape : str
        One of `SHAPES`.
    side_deg : float
        Side of the square that the outer edge of the lines touches.
    width_deg : float
        Thickness of the lines.
    half_width_deg : float
        Half the width of the vernier.

    Returns
    -------
    float
        Degrees from the centre to the inner edge of the nearest line; infinite where
        there is none.

    Examples
    --------
    >>> round(free_reach("square", 2.0, 0.1, 0.05), 6)
    0.9
    """
    middle = (side_deg - width_deg) / 2
    if half_width_deg >= middle:
        return 0.0
    centre_line = {
        "empty": math.inf,
        "lines": math.inf,
        "square": middle,
        "octagon": middle,
        "circle": math.sqrt(middle**2 - half_width_deg**2),
        "hexagon": middle * math.sqrt(3) / 2,
        "diamond": middle - half_width_deg - (math.sqrt(2) - 1) * width_deg / 2,
        "star": middle / STAR_RATIO,
        "irregular": middle * _LEAST_IRREGULAR,
    }[shape]
    return centre_line - width_deg / 2
