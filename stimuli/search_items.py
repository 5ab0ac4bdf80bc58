"""Items of the search-asymmetry displays, drawn from their geometry.

Eight kinds of items, each with versions:

bar
    Dark bar; the version is its tilt in degrees, counter-clockwise.
curve, line
    Bright arc and bright bar; versions 0..3 are turned by -45, -90, -135 and 180
    degrees counter-clockwise.
cross, non_cross, T, L
    Two crossing strokes; a stroke with two offset halves; the letters. Versions 0..3
    are as drawn, flipped top to bottom, transposed, and transposed and flipped left
    to right.
shaded_disk
    Disk shaded from dark to bright; versions 0..3 are bright at the bottom, top, right
    and left (the same four as above).

In the rendering "published" an item is the raster of the published generator, pixel
for pixel, at 30 pixels per degree. In the rendering "smooth" the nominal shape is
centred in its box and anti-aliased at any scale; whole-pixel rounding of the
published raster (bars up to 1 px off centre, strokes of 16 or 17 px for 16.5 px, 16
steps of grey in a disk) is undone.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option
from stimuli.canvas import (
    FULL_COVERAGE,
    arc_outline,
    disk_outline,
    paint,
    polygon_coverage,
    rectangle_outline,
    rotate_outline,
)

ITEM_PX = {
    "bar": 69,
    "curve": 48,
    "line": 48,
    "cross": 177,
    "non_cross": 177,
    "T": 177,
    "L": 177,
    "shaded_disk": 31,
}
"""Side of the square box of each kind of item at 30 pixels per degree."""

RENDERINGS = ("published", "smooth")

Colour = tuple[int, int, int]

# Rotation of the four versions of curve and line, degrees counter-clockwise.
_TURNS_DEG = (-45, -90, -135, 180)

# Rows of the published arc: (row, first column, one past the last column). It is
# OpenCV's ellipse((24, -2), (30, 30), 0, 52, 127, thickness=5) without smoothing.
_CURVE_RUNS = (
    (19, 6, 7),
    (19, 8, 9),
    (19, 41, 43),
    (20, 4, 10),
    (20, 40, 45),
    (21, 4, 12),
    (21, 38, 45),
    (22, 3, 14),
    (22, 35, 46),
    (23, 4, 16),
    (23, 33, 45),
    (24, 4, 20),
    (24, 30, 45),
    (25, 5, 44),
    (26, 6, 43),
    (27, 8, 41),
    (28, 10, 39),
    (29, 12, 37),
    (30, 14, 35),
    (31, 19, 30),
)

# Strokes in the 165 px square inside the margin: (left, top, right, bottom).
_STROKE_MARGIN_PX = 6
_STROKE_SQUARE_PX = 165
_PUBLISHED_STROKES = {
    "cross": ((74, 0, 90, 165), (0, 49, 165, 66)),
    "non_cross": ((74, 0, 90, 165), (0, 49, 82, 66), (82, 99, 165, 115)),
    "T": ((74, 0, 90, 165), (0, 0, 165, 16)),
    "L": ((0, 0, 16, 165), (0, 148, 165, 165)),
}
# The shapes behind them, in fractions of the square, cut so that none overlap.
_SMOOTH_STROKES = {
    "cross": ((0.45, 0, 0.55, 1), (0, 0.3, 0.45, 0.4), (0.55, 0.3, 1, 0.4)),
    "non_cross": ((0.45, 0, 0.55, 1), (0, 0.3, 0.45, 0.4), (0.55, 0.6, 1, 0.7)),
    "T": ((0.45, 0.1, 0.55, 1), (0, 0, 1, 0.1)),
    "L": ((0, 0, 0.1, 0.9), (0, 0.9, 1, 1)),
}


def draw_item(
    kind: str,
    version: int,
    *,
    rendering: str = "published",
    scale: float = 1.0,
    foreground: Colour | None = None,
    background: Colour | None = None,
) -> NDArray[np.uint8]:
    """Draw one item on its square box.

    Parameters
    ----------
    kind : str
        One of `ITEM_PX`.
    version : int
        Tilt in degrees for bars, 0..3 for the other kinds (see the module).
    rendering : {"published", "smooth"}, default "published"
        Published raster, or anti-aliased shape.
    scale : float, default 1
        Pixels drawn per published pixel; 1 is 30 pixels per degree at the published
        size. Must be 1 when `rendering` is "published".
    foreground, background : tuple of 3 int, optional
        Colours of item and ground, RGB levels 0..255; the published ones by default.
        A shaded disk runs from black to `foreground`. The published rendering has
        the published colours only.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        ``side = ceil(ITEM_PX[kind] * scale)``. In the rendering "smooth" the extent
        is right within 1/128 pixel and the area within 0.01 pixel per pixel of
        contour, besides the rounding of levels.

    Raises
    ------
    ValueError
        If an option is unknown, or does not go with the published rendering.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe & Kreiman (2021), Visual search asymmetry: deep nets and
    humans share similar inherent biases, NeurIPS 34, arXiv:2106.02953.

    Examples
    --------
    >>> draw_item("shaded_disk", 1)[[3, 27], 15, 0].tolist()
    [221, 17]
    >>> draw_item("bar", -20, rendering="smooth", scale=0.5).shape
    (35, 35, 3)
    """
    check_option("kind", kind, tuple(ITEM_PX))
    check_option("rendering", rendering, RENDERINGS)
    check_between("scale", scale, low=1e-3)
    if kind == "bar":
        check_between("version", version, low=-180, high=180)
    else:
        check_option("version", int(version), (0, 1, 2, 3))
    if rendering == "published":
        if scale != 1 or foreground is not None or background is not None:
            raise ValueError(
                "The published rendering has one scale and its own colours; got "
                f"`scale`={scale}, `foreground`={foreground}, `background`="
                f"{background}. Use `rendering='smooth'` to change them."
            )
        grey = _published_item(kind, int(version))
        return np.repeat(grey[..., None], 3, axis=2)
    default_foreground, default_background = published_colours(kind)
    return _smooth_item(
        kind,
        int(version),
        float(scale),
        default_foreground if foreground is None else foreground,
        default_background if background is None else background,
    ).copy()


def published_colours(kind: str) -> tuple[Colour, Colour]:
    """Return foreground and background of an item in the published displays.

    Parameters
    ----------
    kind : str
        One of `ITEM_PX`.

    Returns
    -------
    tuple of (tuple of 3 int)
        ``(foreground, background)``, RGB levels 0..255.

    Examples
    --------
    >>> published_colours("bar")
    ((0, 0, 0), (255, 255, 255))
    """
    black, white = (0, 0, 0), (255, 255, 255)
    if kind in ("curve", "line"):
        return white, black
    if kind == "shaded_disk":
        return white, (27, 27, 27)
    return black, white


# ------------------------------------------------------------- published raster


@lru_cache(maxsize=64)
def _published_item(kind: str, version: int) -> NDArray[np.uint8]:
    """Grey raster of the published generator; treat as read-only."""
    if kind == "bar":
        upright = np.zeros((69, 69), np.uint8)
        upright[4:64, 30:39] = 255
        return 255 - _rotate_raster(upright, version, 34.5)
    if kind == "curve":
        arc = np.zeros((48, 48), np.uint8)
        for row, start, stop in _CURVE_RUNS:
            arc[row, start:stop] = 255
        return _rotate_raster(arc, _TURNS_DEG[version], 24)
    if kind == "line":
        line = np.zeros((48, 48), np.uint8)
        line[21:27, 6:42] = 255
        return _rotate_raster(line, _TURNS_DEG[version], 24)
    if kind == "shaded_disk":
        y, x = np.mgrid[:31, :31]
        inside = (x - 15) ** 2 + (y - 15) ** 2 < 15**2
        return _flip(np.where(inside, 17 * (y // 2), 27).astype(np.uint8), version)
    box = np.full((177, 177), 255, np.uint8)
    for left, top, right, bottom in _PUBLISHED_STROKES[kind]:
        rows = slice(top + _STROKE_MARGIN_PX, bottom + _STROKE_MARGIN_PX)
        columns = slice(left + _STROKE_MARGIN_PX, right + _STROKE_MARGIN_PX)
        box[rows, columns] = 0
    return _flip(box, version)


def _flip(image: NDArray[np.uint8], version: int) -> NDArray[np.uint8]:
    if version == 0:
        return image
    if version == 1:
        return image[::-1]
    return image.T if version == 2 else image.T[:, ::-1]


def _rotate_raster(
    image: NDArray[np.uint8], angle_deg: float, centre: float
) -> NDArray[np.uint8]:
    """Rotate as OpenCV before version 5 does: `warpAffine`, bilinear, zero outside.

    The centre is in pixel indices (0 is the *centre* of the first pixel). Source
    coordinates are kept in 1/1024, then 1/32 pixel.
    """
    cos = math.cos(math.radians(angle_deg))
    sin = math.sin(math.radians(angle_deg))
    # Inverse of [cos, sin, u; -sin, cos, v], in the order of operations of OpenCV.
    u = (1 - cos) * centre - sin * centre
    v = sin * centre + (1 - cos) * centre
    scale = 1 / (cos * cos + sin * sin)
    m00, m01, m10, m11 = cos * scale, -sin * scale, sin * scale, cos * scale
    m02 = -m00 * u - m01 * v
    m12 = -m10 * u - m11 * v

    side = image.shape[0]
    index = np.arange(side)
    along_x = np.rint(m00 * index * 1024).astype(np.int64)
    along_y = np.rint((m01 * index + m02) * 1024).astype(np.int64)
    x = (along_y[:, None] + 16 + along_x) >> 5
    along_x = np.rint(m10 * index * 1024).astype(np.int64)
    along_y = np.rint((m11 * index + m12) * 1024).astype(np.int64)
    y = (along_y[:, None] + 16 + along_x) >> 5

    # A frame of zeros two pixels wide stands for everything outside.
    framed = np.pad(image.astype(np.int64), 2)
    column = np.clip((x >> 5) + 2, 0, side + 2)
    row = np.clip((y >> 5) + 2, 0, side + 2)
    right, below = x & 31, y & 31
    total = (
        framed[row, column] * (32 - right) * (32 - below)
        + framed[row, column + 1] * right * (32 - below)
        + framed[row + 1, column] * (32 - right) * below
        + framed[row + 1, column + 1] * right * below
    )
    return ((total + 512) >> 10).astype(np.uint8)


# ----------------------------------------------------------------- smooth shapes


@lru_cache(maxsize=64)
def _smooth_item(
    kind: str, version: int, scale: float, foreground: Colour, background: Colour
) -> NDArray[np.uint8]:
    """Anti-aliased item; treat as read-only."""
    # The tolerance keeps 69.0000001 px, from degrees times px/deg, at 69.
    side = math.ceil(ITEM_PX[kind] * scale - 1e-6)
    coverage = np.zeros((side, side), np.int64)
    for outline in _outlines(kind, version, scale, side):
        coverage += polygon_coverage(outline, side, side)
    colour = np.array(foreground, np.int64)
    if kind == "shaded_disk":
        shade = _shade(side, 30 * scale, version)
        colour = (colour * shade[..., None] + FULL_COVERAGE // 2) // FULL_COVERAGE
    ground = np.broadcast_to(np.array(background, np.uint8), (side, side, 3))
    return paint(ground, np.minimum(coverage, FULL_COVERAGE), colour)


def _outlines(
    kind: str, version: int, scale: float, side: int
) -> list[NDArray[np.float64]]:
    """Outlines that do not overlap, in pixels of a box of `side` pixels."""
    middle = side / 2
    if kind == "bar":
        bar = _centred_rectangle(middle, 9 * scale, 60 * scale)
        return [rotate_outline(bar, version, middle, middle)]
    if kind == "line":
        line = _centred_rectangle(middle, 36 * scale, 6 * scale)
        return [rotate_outline(line, _TURNS_DEG[version], middle, middle)]
    if kind == "curve":
        # The circle's centre is 26 px above: the arc bulges downwards. What OpenCV
        # calls a thickness of 5 is 7 px thick on the screen.
        arc = arc_outline(
            middle, middle - 26 * scale, 30 * scale, 7 * scale, -127.5, -52.5
        )
        return [rotate_outline(arc, _TURNS_DEG[version], middle, middle)]
    if kind == "shaded_disk":
        return [disk_outline(middle, middle, 15 * scale)]
    square = _STROKE_SQUARE_PX * scale
    corner = middle - square / 2
    outlines = []
    for stroke in _SMOOTH_STROKES[kind]:
        outline = rectangle_outline(*stroke)
        x, y = outline[:, 0], outline[:, 1]
        if version == 1:
            y = 1 - y
        elif version == 2:
            x, y = y, x
        elif version == 3:
            x, y = 1 - y, x
        outlines.append(corner + square * np.column_stack([x, y]))
    return outlines


def _centred_rectangle(
    middle_px: float, width_px: float, height_px: float
) -> NDArray[np.float64]:
    return rectangle_outline(
        middle_px - width_px / 2,
        middle_px - height_px / 2,
        middle_px + width_px / 2,
        middle_px + height_px / 2,
    )


def _shade(side: int, diameter_px: float, version: int) -> NDArray[np.int64]:
    """Share of the bright end in each pixel, 0..FULL_COVERAGE, (side, side)."""
    # Distances in units of 1/1024 pixel, so that the division is one of integers.
    diameter = round(diameter_px * 1024)
    top = side * 512 - diameter // 2
    along = np.arange(side, dtype=np.int64) * 1024 + 512 - top
    ramp = np.clip(along, 0, diameter) * FULL_COVERAGE // diameter
    down = np.repeat(ramp[:, None], side, axis=1)
    if version == 0:
        return down
    if version == 1:
        return down[::-1]
    return down.T if version == 2 else down.T[:, ::-1]
