"""Geometry of Kanizsa figures: corners, inducers, and the contour between them."""

import math

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_whole
from stimuli.canvas import cos_sin
from stimuli.outlines import sector, turn

FloatArray = NDArray[np.float64]

INDUCERS = ("pacman", "line-ends", "arcs")
"""Discs without a wedge, lines that end at the contour, arcs that end there."""

_LINES = 4  # lines or arcs of one inducer


def kanizsa_outline(
    n_vertices: int = 4,
    side_deg: float = 4.0,
    support_ratio: float = 0.5,
    *,
    tilt_deg: float = 0.0,
    rotation_deg: float = 0.0,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
) -> tuple[FloatArray, list[FloatArray]]:
    """Return the figure that inducers suggest.

    Parameters
    ----------
    n_vertices : int, default 4
        Corners, 3..8.
    side_deg : float, default 4
        Distance of neighbouring corners.
    support_ratio : float, default 0.5
        Part of a side that inducers cover, 0..1.
    tilt_deg : float, default 0
        Turn of the inducers, with the other sign at neighbours, so that n must be even.
        Above 0 the left and right sides of the square bulge ("fat"), below 0 they are
        pinched ("thin").
    rotation_deg : float, default 0
        Turn of the figure, counter-clockwise. Unturned it stands on a side.
    x_deg, y_deg : float
        Its centre.

    Returns
    -------
    outline : ndarray of float64, shape (n_points, 2)
        Points (x, y) in degrees, counter-clockwise.
    gaps : list of ndarray of float64, shape (n_points, 2)
        The part of each side that no inducer covers: an arc of a circle that goes on
        in the direction of the inducers' edges, a straight line without tilt.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> outline, gaps = kanizsa_outline(4, 2.0, 0.5)
    >>> gaps[0][[0, -1]].round(6).tolist()  # the middle half of the upper side
    [[0.5, 1.0], [-0.5, 1.0]]
    """
    n = check_whole("n_vertices", n_vertices, low=3, high=8)
    check_between("side_deg", side_deg, low=1e-6)
    check_between("support_ratio", support_ratio, low=0, high=1)
    check_between("tilt_deg", tilt_deg, low=-30, high=30)
    for name, number in (("rotation_deg", rotation_deg), ("x_deg", x_deg)):
        check_between(name, number)
    check_between("y_deg", y_deg)
    if tilt_deg and n % 2:
        raise ValueError(
            f"`tilt_deg` needs an even `n_vertices`, so that neighbours turn in "
            f"opposite ways; got {n}."
        )
    corners = corners_of(n, side_deg)
    radius = support_ratio * side_deg / 2
    gaps = []
    for k in range(n):
        first, last = corners[k], corners[(k + 1) % n]
        gaps.append(_gap(first, last, radius, float(side_signs(n)[k]) * tilt_deg))
    place = np.array([x_deg, y_deg])
    gaps = [turn(gap, rotation_deg) + place for gap in gaps]
    corners = turn(corners, rotation_deg) + place
    parts: list[FloatArray] = []
    for corner, gap in zip(corners, gaps, strict=True):
        parts += [corner[None], gap]
    return np.vstack(parts), gaps


def corner_directions(n: int) -> FloatArray:
    """Return directions of the corners from the centre.

    Parameters
    ----------
    n : int
        Corners.

    Returns
    -------
    ndarray of float64, shape (n,)
        Degrees, counter-clockwise from the right; the first corner of an even number
        is the right end of the upper side, that of an odd number is straight up.
    """
    first = 90 - 180 / n if n % 2 == 0 else 90
    return np.array([first + 360 * k / n for k in range(n)])


def corners_of(n: int, side_deg: float) -> FloatArray:
    """Return the corners of the polygon.

    Parameters
    ----------
    n : int
        Corners.
    side_deg : float
        Distance of neighbours.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        Corners (x, y) in degrees about the origin.
    """
    radius = side_deg / (2 * math.sin(math.pi / n))
    return radius * np.array([cos_sin(float(angle)) for angle in corner_directions(n)])


def side_signs(n: int) -> FloatArray:
    """Return which sides bulge in a fat figure.

    Parameters
    ----------
    n : int
        Corners.

    Returns
    -------
    ndarray of float64, shape (n,)
        Side k goes from corner k to the next: 1 if it bulges, -1 if it is pinched.
    """
    return np.where(np.arange(n) % 2 == 0, -1.0, 1.0)


def inducer_outlines(
    inducer: str, n: int, radius: float, line_width_deg: float
) -> list[FloatArray]:
    """Return the outlines of an inducer whose wedge points to the right.

    Parameters
    ----------
    inducer : {"pacman", "line-ends", "arcs"}
        What it is made of.
    n : int
        Corners of the figure, which give the angle of the wedge.
    radius : float
        Radius in degrees.
    line_width_deg : float
        Of lines and arcs.

    Returns
    -------
    list of ndarray of float64, shape (n_points, 2)
        Outlines (x, y) in degrees about the corner.
    """
    half = 90 - 180 / n  # of the angle of the polygon
    if inducer == "pacman":
        return [sector(radius, half, 360 - half)]
    if inducer == "arcs":
        radii = [radius * (k + 1) / _LINES for k in range(_LINES)]
        return [
            _ring_part(r, min(line_width_deg, radius / _LINES / 2), half, 360 - half)
            for r in radii
        ]
    lines = []
    for sign in (1, -1):
        for k in range(_LINES):
            place = radius * (k + 0.5) / _LINES
            length = math.sqrt(radius**2 - place**2)
            w = line_width_deg / 2
            line = np.array(
                [[place - w, 0], [place + w, 0], [place + w, length],
                 [place - w, length]]
            )  # fmt: skip
            upper = turn(line, half)
            lines.append(upper * np.array([1.0, float(sign)]))
    return lines


def mouth_outline(n: int, radius: float, line_width_deg: float) -> FloatArray:
    """Return the arc that closes the wedge of a disc.

    Parameters
    ----------
    n : int
        Corners of the figure.
    radius : float
        Radius in degrees.
    line_width_deg : float
        Of the arc.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        Outline (x, y) in degrees about the corner.
    """
    half = 90 - 180 / n
    return _ring_part(radius, min(line_width_deg, radius / 2), -half, half)


def _gap(
    first: FloatArray, last: FloatArray, radius: float, bulge_deg: float
) -> FloatArray:
    """Return the arc between the ends of two edges that turn outward by an angle."""
    along = last - first
    side = float(np.hypot(*along))
    along = along / side
    # The outline runs counter-clockwise: outward is to the right of the way.
    outward = np.array([along[1], -along[0]])
    cos, sin = cos_sin(bulge_deg)
    start = first + radius * (cos * along + sin * outward)
    chord = side - 2 * radius * cos
    if bulge_deg == 0:
        return np.array([start, start + chord * along])
    steps = np.linspace(-1, 1, 17)
    turns = np.array([cos_sin(float(bulge_deg * step)) for step in steps])
    arc_radius = chord / 2 / sin
    across = arc_radius * (turns[:, 0] - cos)
    lengthwise = chord / 2 + arc_radius * turns[:, 1]
    return start + lengthwise[:, None] * along + across[:, None] * outward


def _ring_part(
    radius: float, width_deg: float, start_deg: float, stop_deg: float
) -> FloatArray:
    """Return a part of a ring whose outer radius is given."""
    outer = sector(radius, start_deg, stop_deg)[1:]
    inner = sector(radius - width_deg, start_deg, stop_deg)[1:]
    return np.vstack([outer, inner[::-1]])
