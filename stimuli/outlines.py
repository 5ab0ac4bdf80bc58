"""Outlines of simple shapes in degrees of visual angle, x to the right and y up.

What `stimuli.display` fills. Angles go through `stimuli.canvas.cos_sin`, so that
corners are the same on every machine.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stimuli.canvas import cos_sin

FloatArray = NDArray[np.float64]


def rectangle(
    width_deg: float,
    height_deg: float,
    *,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
    angle_deg: float = 0.0,
) -> FloatArray:
    """Return the corners of a rectangle, such as a bar.

    Parameters
    ----------
    width_deg, height_deg : float
        Sides before it is turned.
    x_deg, y_deg : float
        Its centre.
    angle_deg : float, default 0
        Turn, counter-clockwise.

    Returns
    -------
    ndarray of float64, shape (4, 2)
        Corners (x, y) in degrees.

    Examples
    --------
    >>> rectangle(2, 1, angle_deg=90).tolist()[0]
    [-0.5, 1.0]
    """
    w, h = width_deg / 2, height_deg / 2
    corners = np.array([(w, h), (-w, h), (-w, -h), (w, -h)], np.float64)
    return turn(corners, angle_deg) + np.array([x_deg, y_deg])


def sector(
    radius_deg: float,
    start_deg: float,
    stop_deg: float,
    *,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
) -> FloatArray:
    """Return the outline of a part of a disc, counter-clockwise from start to stop.

    Parameters
    ----------
    radius_deg : float
        Radius.
    start_deg, stop_deg : float
        Directions of the edges, from the positive x axis; ``start < stop``. With 360
        degrees or more between them it is the whole disc.
    x_deg, y_deg : float
        Centre of the disc.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        Points (x, y) in degrees, at most one degree of the circle apart.

    Examples
    --------
    >>> sector(1, 0, 90)[[0, 1, -1]].tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    whole = stop_deg - start_deg >= 360
    span = min(stop_deg - start_deg, 360.0)
    n = max(1, math.ceil(span))
    turns = [cos_sin(start_deg + span * i / n) for i in range(n if whole else n + 1)]
    arc = radius_deg * np.array(turns)
    points = arc if whole else np.vstack([np.zeros((1, 2)), arc])
    return points + np.array([x_deg, y_deg])


def disc(radius_deg: float, *, x_deg: float = 0.0, y_deg: float = 0.0) -> FloatArray:
    """Return the outline of a disc.

    Parameters
    ----------
    radius_deg : float
        Radius.
    x_deg, y_deg : float
        Its centre.

    Returns
    -------
    ndarray of float64, shape (360, 2)
        Points (x, y) in degrees.
    """
    return sector(radius_deg, 0, 360, x_deg=x_deg, y_deg=y_deg)


def regular_polygon(
    n_corners: int,
    radius_deg: float,
    *,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
    angle_deg: float = 0.0,
    inner_radius_deg: float | None = None,
) -> FloatArray:
    """Return the corners of a regular polygon, or of a star.

    Parameters
    ----------
    n_corners : int
        Corners of the polygon, or tips of the star.
    radius_deg : float
        From the centre to a corner or tip.
    x_deg, y_deg : float
        Its centre.
    angle_deg : float, default 0
        Direction of the first corner, counter-clockwise from straight up.
    inner_radius_deg : float, optional
        From the centre to the corners between tips; makes a star.

    Returns
    -------
    ndarray of float64, shape (n_corners or 2 n_corners, 2)
        Corners (x, y) in degrees, counter-clockwise.

    Examples
    --------
    >>> regular_polygon(4, 1.0)[0].tolist()
    [0.0, 1.0]
    """
    radii = [radius_deg] if inner_radius_deg is None else [radius_deg, inner_radius_deg]
    n = n_corners * len(radii)
    turns = np.array([cos_sin(90 + angle_deg + 360 * i / n) for i in range(n)])
    return turns * np.resize(radii, n)[:, None] + np.array([x_deg, y_deg])


def turn(
    points_deg: FloatArray, angle_deg: float, *, x_deg: float = 0.0, y_deg: float = 0.0
) -> FloatArray:
    """Turn points counter-clockwise.

    Parameters
    ----------
    points_deg : ndarray of float64, shape (n_points, 2)
        Points (x, y) in degrees.
    angle_deg : float
        Angle.
    x_deg, y_deg : float
        The point that stays where it is.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        The turned points.
    """
    cos, sin = cos_sin(angle_deg)
    x, y = points_deg[:, 0] - x_deg, points_deg[:, 1] - y_deg
    return np.column_stack([x_deg + cos * x - sin * y, y_deg + sin * x + cos * y])
