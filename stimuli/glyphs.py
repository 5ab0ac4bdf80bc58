"""Letters and signs of strokes on a lattice of 5 x 5 points.

A glyph is a set of lines between lattice points. Its strokes are a fifth of its height
thick, as in the letters of Sloan, and it is as wide as high. Upright and lying strokes
end squarely and meet in square corners; oblique ones are rounded.

References
----------
Sloan (1959). New test charts for the measurement of visual acuity at far and near
distances. American Journal of Ophthalmology 48, 807-813.
doi:10.1016/0002-9394(59)90626-9 (the ten letters; their drawing here is our own).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    BoolArray,
    Display,
    FloatArray,
    coverage,
    ground,
    lay,
    outline_px,
)
from stimuli.outlines import regular_polygon, turn

Line = tuple[tuple[float, float], ...]

LATTICE = 5
"""Points per side of the lattice on which glyphs are defined."""

SLOAN_LETTERS = tuple("CDHKNORSVZ")

_RING: Line = ((1, 0), (3, 0), (4, 1), (4, 3), (3, 4), (1, 4), (0, 3), (0, 1), (1, 0))

# Lines between lattice points, (0, 0) at the lower left.
GLYPHS: Mapping[str, tuple[Line, ...]] = {
    "C": (((4, 3), (3, 4), (1, 4), (0, 3), (0, 1), (1, 0), (3, 0), (4, 1)),),
    "D": (((0, 0), (0, 4), (3, 4), (4, 3), (4, 1), (3, 0), (0, 0)),),
    "E": (((4, 4), (0, 4), (0, 0), (4, 0)), ((0, 2), (3, 2))),
    "F": (((4, 4), (0, 4), (0, 0)), ((0, 2), (3, 2))),
    "H": (((0, 0), (0, 4)), ((4, 0), (4, 4)), ((0, 2), (4, 2))),
    "K": (((0, 0), (0, 4)), ((4, 4), (2, 2), (4, 0)), ((0, 2), (2, 2))),
    "L": (((0, 4), (0, 0), (4, 0)),),
    "N": (((0, 0), (0, 4), (4, 0), (4, 4)),),
    "O": (_RING,),
    "Q": (_RING, ((2, 2), (4, 0))),
    "R": (
        ((0, 0), (0, 4), (3, 4), (4, 3), (3, 2), (0, 2)),
        ((2, 2), (4, 0)),
    ),
    "S": (((4, 4), (1, 4), (0, 3), (1, 2), (3, 2), (4, 1), (3, 0), (0, 0)),),
    "T": (((0, 4), (4, 4)), ((2, 4), (2, 0))),
    "V": (((0, 4), (2, 0), (4, 4)),),
    "X": (((0, 0), (4, 4)), ((0, 4), (4, 0))),
    "Z": (((0, 4), (4, 4), (0, 0), (4, 0)),),
    "2": (((0, 4), (4, 4), (4, 2), (0, 2), (0, 0), (4, 0)),),
    "5": (((4, 4), (0, 4), (0, 2), (4, 2), (4, 0), (0, 0)),),
    "+": (((0, 2), (4, 2)), ((2, 0), (2, 4))),
    "square": (((0, 0), (0, 4), (4, 4), (4, 0), (0, 0)),),
}
"""Lines of each glyph; x to the right and y up, in steps of the lattice."""

# Of the polygon that rounds a joint: right within 2 % of half a stroke.
_JOINT_CORNERS = 16


def stroke_outlines(lines: Iterable[Line], width: float) -> list[FloatArray]:
    """Return outlines whose union is a set of thick lines.

    Parameters
    ----------
    lines : iterable of tuple of pair of float
        Corners (x, y) of each line, in order.
    width : float
        Thickness, in the unit of the corners.

    Returns
    -------
    list of ndarray of float64, shape (n_points, 2)
        Pieces and round joints. Upright and lying pieces end squarely, half a
        thickness beyond the last corner, and so do right angles between them; all
        other ends and corners are round.

    Examples
    --------
    >>> len(stroke_outlines([((0, 0), (4, 0))], 1.0))
    1
    """
    outlines: list[FloatArray] = []
    joints: dict[tuple[float, float], None] = {}
    for line in lines:
        points = np.asarray(line, np.float64)
        steps = np.diff(points, axis=0)
        straight = [bool((step == 0).any()) for step in steps]
        closed = bool((points[0] == points[-1]).all())
        n = len(steps)
        for i, step in enumerate(steps):
            # The neighbours at both ends; None where the line ends.
            before = i - 1 if i or closed else None
            after = (i + 1) % n if i < n - 1 or closed else None
            along = step / np.hypot(*step) * width / 2
            side = np.array([-along[1], along[0]])
            ends = []
            for point, neighbour, sign in (
                (points[i], before, -1),
                (points[i + 1], after, 1),
            ):
                square = straight[i] and (neighbour is None or straight[neighbour])
                if not square:
                    joints[float(point[0]), float(point[1])] = None
                ends.append(point + sign * square * along)
            first, last = ends
            outlines.append(
                np.array([first + side, first - side, last - side, last + side])
            )
    return outlines + [_disc(x, y, width / 2) for x, y in joints]


def glyph_outlines(
    name: str,
    height_deg: float,
    *,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
    angle_deg: float = 0.0,
) -> list[FloatArray]:
    """Return outlines whose union is a glyph.

    Parameters
    ----------
    name : str
        Key of `GLYPHS`.
    height_deg : float
        Height of its box in degrees, strokes included; the box is square.
    x_deg, y_deg : float
        Centre of the box.
    angle_deg : float, default 0
        Turn, counter-clockwise.

    Returns
    -------
    list of ndarray of float64, shape (n_points, 2)
        Outlines in degrees, as `stimuli.display.coverage` takes them.

    Raises
    ------
    ValueError
        If the glyph is unknown or `height_deg` is not above 0.

    Examples
    --------
    >>> outlines = glyph_outlines("T", 1.0)
    >>> np.vstack(outlines).min(axis=0).tolist()
    [-0.5, -0.5]
    """
    check_option("name", name, tuple(GLYPHS))
    check_between("height_deg", height_deg, low=1e-6)
    step = height_deg / LATTICE
    middle = (LATTICE - 1) / 2
    centre = np.array([x_deg, y_deg])
    return [
        turn((outline - middle) * step, angle_deg) + centre
        for outline in stroke_outlines(GLYPHS[name], 1.0)
    ]


def union_coverage(
    outlines: Sequence[FloatArray], shape: tuple[int, ...], px_per_deg: float
) -> FloatArray:
    """Return how much of each pixel lies inside a union of outlines.

    Parameters
    ----------
    outlines : sequence of ndarray of float64, shape (n_points, 2)
        Outlines in degrees.
    shape : tuple of int
        Shape of the picture.
    px_per_deg : float
        Pixels per degree.

    Returns
    -------
    ndarray of float64, shape (H, W)
        0 outside to 1 inside. Where outlines meet within a pixel the largest share
        counts.
    """
    whole = np.zeros(tuple(shape[:2]))
    limits = np.array([shape[1], shape[0]])
    for outline in outlines:
        # Each is filled in the smallest window of whole pixels that holds it.
        points = outline_px(outline, shape, px_per_deg)
        low = np.clip(np.floor(points.min(axis=0)), 0, limits).astype(int)
        high = np.clip(np.ceil(points.max(axis=0)), 0, limits).astype(int)
        columns, rows = (int(side) for side in high - low)
        if min(columns, rows) < 1:
            continue
        middle = (low + high - limits) / 2 / px_per_deg
        shift = middle * np.array([1.0, -1.0])
        part = coverage(outline - shift, (rows, columns), px_per_deg)
        window = whole[low[1] : high[1], low[0] : high[0]]
        np.maximum(window, part, out=window)
    return whole


def glyph_coverage(
    name: str,
    height_deg: float,
    shape: tuple[int, ...],
    px_per_deg: float,
    *,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
    angle_deg: float = 0.0,
) -> FloatArray:
    """Return how much of each pixel a glyph covers.

    Parameters
    ----------
    name : str
        Key of `GLYPHS`.
    height_deg : float
        Height of its box in degrees.
    shape : tuple of int
        Shape of the picture.
    px_per_deg : float
        Pixels per degree.
    x_deg, y_deg : float
        Centre of the box.
    angle_deg : float, default 0
        Turn, counter-clockwise.

    Returns
    -------
    ndarray of float64, shape (H, W)
        0 outside to 1 inside.

    Raises
    ------
    ValueError
        If the glyph is unknown or `height_deg` is not above 0.
    """
    outlines = glyph_outlines(
        name, height_deg, x_deg=x_deg, y_deg=y_deg, angle_deg=angle_deg
    )
    return union_coverage(outlines, shape, px_per_deg)


def draw_glyph(
    name: str,
    *,
    height_deg: float = 0.6,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
    angle_deg: float = 0.0,
    luminance: float = 0.0,
    background: float = GREY,
    size_deg: float | tuple[float, float] = 2.0,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw a single glyph.

    Parameters
    ----------
    name : str
        Key of `GLYPHS`.
    height_deg : float, default 0.6
        Height of its box in degrees.
    x_deg, y_deg : float
        Centre of the box.
    angle_deg : float, default 0
        Turn, counter-clockwise.
    luminance : float, default 0
        Of the strokes, 0..1.
    background : float, default 0.5
        Of the ground, 0..1.
    size_deg : float or tuple of float, default 2
        Side, or width and height, of the picture in degrees.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Mask "glyph": pixels covered by half or more.

    Raises
    ------
    ValueError
        If the glyph is unknown or a number is out of range.

    Examples
    --------
    >>> display = draw_glyph("H", height_deg=1.0)
    >>> rows = np.flatnonzero(display.masks["glyph"].any(axis=1))
    >>> len(rows)
    32
    """
    check_between("luminance", luminance, low=0, high=1)
    image = ground(size_deg, px_per_deg, background)
    cover = glyph_coverage(
        name,
        height_deg,
        image.shape,
        px_per_deg,
        x_deg=x_deg,
        y_deg=y_deg,
        angle_deg=angle_deg,
    )
    lay(image, cover, luminance)
    geometry = {
        "name": name,
        "height_deg": height_deg,
        "stroke_deg": height_deg / LATTICE,
        "x_deg": x_deg,
        "y_deg": y_deg,
        "angle_deg": angle_deg,
    }
    return Display(image, px_per_deg, geometry, {"glyph": cover >= 0.5})


def glyph_cells(name: str, n: int = LATTICE) -> BoolArray:
    """Return which points of a lattice the lines of a glyph pass.

    Parameters
    ----------
    name : str
        Key of `GLYPHS`.
    n : int, default 5
        Points per side, 3 or more.

    Returns
    -------
    ndarray of bool, shape (n, n)
        Row 0 is at the top.

    Raises
    ------
    ValueError
        If the glyph is unknown or `n` is too small.

    Examples
    --------
    >>> print(glyph_cells("T").astype(int))
    [[1 1 1 1 1]
     [0 0 1 0 0]
     [0 0 1 0 0]
     [0 0 1 0 0]
     [0 0 1 0 0]]
    """
    check_option("name", name, tuple(GLYPHS))
    n = check_whole("n", n, low=3)
    cells: NDArray[np.bool_] = np.zeros((n, n), np.bool_)
    half = (n - 1) / 2
    scale = half / ((LATTICE - 1) / 2)
    for line in GLYPHS[name]:
        # Counted from the centre, so that symmetric lines stay symmetric.
        corners = _whole((np.asarray(line, np.float64) - 2) * scale, half)
        for first, last in pairwise(corners):
            # As many points as the line has rows or columns.
            steps = max(1, round(float(np.abs(last - first).max())))
            share = np.arange(steps + 1)[:, None] / steps
            points = _whole(first + share * (last - first), half) + half
            column, row = np.rint(points).astype(int).T
            cells[n - 1 - row, column] = True
    return cells


def _whole(offsets: FloatArray, half: float) -> FloatArray:
    """Round offsets from the centre to points of the lattice, halves outwards."""
    odd = half % 1  # an even lattice has no point at its centre
    steps = np.floor(np.abs(offsets) - odd + 0.5 + 1e-9) + odd
    return np.asarray(np.where(offsets < 0, -steps, np.maximum(steps, odd)))


def _disc(x: float, y: float, radius: float) -> FloatArray:
    # Of the same area as the disc.
    angle = 2 * math.pi / _JOINT_CORNERS
    stretch = math.sqrt(angle / math.sin(angle))
    return regular_polygon(_JOINT_CORNERS, radius * stretch, x_deg=x, y_deg=y)
