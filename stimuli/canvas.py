"""Anti-aliased shapes, the same to the last grey level on every machine.

An outline is rounded to 1/256 pixel and filled with whole-number arithmetic, so no
rounding of a mathematics library reaches a pixel. The coverage of a pixel is right
within 0.01.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUBPIXELS = 256
"""Steps per pixel to which outlines are rounded."""

_SHIFT = 8  # SUBPIXELS = 2**8

FULL_COVERAGE = SUBPIXELS * SUBPIXELS
"""Value of `polygon_coverage` in a pixel that lies inside the outline."""


def cos_sin(angle_deg: float) -> tuple[float, float]:
    """Return cosine and sine, rounded to a multiple of 2**-30.

    Mathematics libraries differ in the last bit; the rounded values do not.

    Parameters
    ----------
    angle_deg : float
        Angle in degrees.

    Returns
    -------
    tuple of float
        ``(cos, sin)``.

    Examples
    --------
    >>> cos_sin(90)
    (0.0, 1.0)
    """
    angle = math.radians(angle_deg)
    unit = 1 << 30
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return (
        round(math.cos(angle) * unit) / unit + 0.0,
        round(math.sin(angle) * unit) / unit + 0.0,
    )


def rectangle_outline(
    left_px: float, top_px: float, right_px: float, bottom_px: float
) -> NDArray[np.float64]:
    """Return the corners of an upright rectangle.

    Parameters
    ----------
    left_px, top_px, right_px, bottom_px : float
        Edges in pixels.

    Returns
    -------
    ndarray of float64, shape (4, 2)
        Corners as (x, y) in pixels.

    Examples
    --------
    >>> rectangle_outline(0, 0, 2, 1)[2].tolist()
    [2.0, 1.0]
    """
    x = (left_px, right_px, right_px, left_px)
    y = (top_px, top_px, bottom_px, bottom_px)
    return np.column_stack([x, y]).astype(np.float64)


def arc_points(
    x_px: float, y_px: float, radius_px: float, start_deg: float, stop_deg: float
) -> NDArray[np.float64]:
    """Return points on a circle, at most one degree apart.

    A chord of one degree leaves the circle by less than 4e-5 of the radius.

    Parameters
    ----------
    x_px, y_px : float
        Centre of the circle in pixels.
    radius_px : float
        Radius in pixels.
    start_deg, stop_deg : float
        First and last angle, counter-clockwise as seen, from the positive x axis.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        Points as (x, y) in pixels, from start to stop.

    Examples
    --------
    >>> arc_points(0, 0, 2, 0, 90)[-1].tolist()
    [0.0, -2.0]
    """
    steps = max(1, math.ceil(abs(stop_deg - start_deg)))
    span = stop_deg - start_deg
    turns = [cos_sin(start_deg + span * i / steps) for i in range(steps + 1)]
    return np.array([(x_px + radius_px * c, y_px - radius_px * s) for c, s in turns])


def disk_outline(x_px: float, y_px: float, radius_px: float) -> NDArray[np.float64]:
    """Return the outline of a disk.

    Parameters
    ----------
    x_px, y_px : float
        Centre in pixels.
    radius_px : float
        Radius in pixels.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        Points as (x, y) in pixels.

    Examples
    --------
    >>> disk_outline(10, 10, 4)[0].tolist()
    [14.0, 10.0]
    """
    return arc_points(x_px, y_px, radius_px, 0, 360)[:-1]


def arc_outline(
    x_px: float,
    y_px: float,
    radius_px: float,
    thickness_px: float,
    start_deg: float,
    stop_deg: float,
) -> NDArray[np.float64]:
    """Return the outline of a circular stroke with round ends.

    Parameters
    ----------
    x_px, y_px : float
        Centre of the circle in pixels.
    radius_px : float
        Radius of the middle of the stroke in pixels.
    thickness_px : float
        Thickness of the stroke in pixels.
    start_deg, stop_deg : float
        Ends of the middle of the stroke, ``start_deg < stop_deg``,
        counter-clockwise as seen, from the positive x axis.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        Points as (x, y) in pixels.

    Examples
    --------
    >>> outline = arc_outline(0, 0, 10, 2, 0, 90)
    >>> outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
    ([-1.0, -11.0], [11.0, 1.0])
    """
    half = thickness_px / 2
    outer = arc_points(x_px, y_px, radius_px + half, start_deg, stop_deg)
    inner = arc_points(x_px, y_px, radius_px - half, stop_deg, start_deg)
    ends = []
    for angle_deg, turn_deg in ((stop_deg, stop_deg), (start_deg, start_deg + 180)):
        cos, sin = cos_sin(angle_deg)
        middle = (x_px + radius_px * cos, y_px - radius_px * sin)
        ends.append(arc_points(*middle, half, turn_deg, turn_deg + 180))
    return np.concatenate([outer, ends[0], inner, ends[1]])


def rotate_outline(
    outline_px: NDArray[np.float64], angle_deg: float, x_px: float, y_px: float
) -> NDArray[np.float64]:
    """Rotate an outline, counter-clockwise as seen.

    Parameters
    ----------
    outline_px : ndarray of float64, shape (n_points, 2)
        Points as (x, y) in pixels, y down.
    angle_deg : float
        Angle in degrees.
    x_px, y_px : float
        The point that stays where it is, in pixels.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        The rotated points.

    Examples
    --------
    >>> rotate_outline(np.array([[1.0, 0.0]]), 90, 0, 0).tolist()
    [[0.0, -1.0]]
    """
    cos, sin = cos_sin(angle_deg)
    x = outline_px[:, 0] - x_px
    y = outline_px[:, 1] - y_px
    return np.column_stack([x_px + cos * x + sin * y, y_px - sin * x + cos * y])


def polygon_coverage(
    outline_px: NDArray[np.float64], height_px: int, width_px: int
) -> NDArray[np.int64]:
    """Return how much of each pixel lies inside an outline.

    Corners are rounded to 1/256 pixel. Each pixel row is cut into 256 strips, and
    the length of the outline's inside on the middle of each strip is summed.

    Parameters
    ----------
    outline_px : ndarray of float64, shape (n_points, 2)
        Corners as (x, y) in pixels, in order, the last joined to the first. The
        outline must not cross itself; parts beyond the canvas are cut off.
    height_px, width_px : int
        Size of the canvas.

    Returns
    -------
    ndarray of int64, shape (height_px, width_px)
        0 outside to `FULL_COVERAGE` inside; right within 0.01 of it.

    Examples
    --------
    >>> coverage = polygon_coverage(rectangle_outline(0.5, 0, 2, 1), 1, 3)
    >>> (coverage / FULL_COVERAGE).tolist()
    [[0.5, 1.0, 0.0]]
    """
    corners = np.floor(outline_px * SUBPIXELS + 0.5).astype(np.int64)
    x0, y0 = corners.T
    x1, y1 = np.roll(corners, -1, axis=0).T
    # The strips that each edge crosses, all edges behind each other.
    first = np.maximum(np.minimum(y0, y1), 0)
    last = np.minimum(np.maximum(y0, y1), height_px * SUBPIXELS)
    n = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(n)), n)
    strips = np.arange(len(edge)) + np.repeat(first - np.cumsum(n) + n, n)
    # Rounded crossing of the edge with the middle of each strip.
    run = 2 * (y1 - y0)
    slope = 2 * (x1 - x0)
    offset = x1 - x0 + run // 2 - y0 * slope
    x = x0[edge] + (strips * slope[edge] + offset[edge]) // np.where(run, run, 1)[edge]
    x = np.clip(x, 0, width_px * SUBPIXELS)
    column, part = x >> _SHIFT, x & (SUBPIXELS - 1)
    # Each edge covers everything to its right, with the sign of its direction; the
    # signs of a closed outline cancel outside. Sums run along the row at the end.
    # They are whole numbers far below 2**53, so that floats are exact.
    place = (strips >> _SHIFT) * (width_px + 2) + column
    sign = np.sign(run)[edge]
    size = height_px * (width_px + 2)
    steps = np.bincount(place, sign * (SUBPIXELS - part), size)
    steps += np.bincount(place + 1, sign * part, size)[:size]
    rows = steps.astype(np.int64).reshape(height_px, width_px + 2)
    coverage: NDArray[np.int64] = np.abs(np.cumsum(rows, axis=1)[:, :width_px])
    return coverage


def paint(
    canvas: NDArray[np.uint8], coverage: NDArray[np.int64], colour: NDArray[Any]
) -> NDArray[np.uint8]:
    """Return a canvas with a colour laid over it in proportion to coverage.

    Levels are mixed as they are, without gamma.

    Parameters
    ----------
    canvas : ndarray of uint8, shape (H, W, 3)
        What is there.
    coverage : ndarray of int64, shape (H, W)
        0 leaves the canvas, `FULL_COVERAGE` gives the colour.
    colour : ndarray of int, broadcast to (H, W, 3)
        Levels, 0..255.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        A new canvas.

    Examples
    --------
    >>> canvas = np.zeros((1, 1, 3), np.uint8)
    >>> paint(canvas, np.array([[FULL_COVERAGE // 2]]), np.array([200, 100, 0]))
    array([[[100,  50,   0]]], dtype=uint8)
    """
    share = coverage[..., None]
    mixed = canvas.astype(np.int64) * (FULL_COVERAGE - share) + colour * share
    return ((mixed + FULL_COVERAGE // 2) // FULL_COVERAGE).astype(np.uint8)
