"""Shapes and colours of which the drawings of categories are made.

A figure is drawn in its own frame: x to the right, y down, from -1 to 1.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

Rgb = tuple[float, float, float]
Figure = Callable[["Brush", np.random.Generator, float], None]
"""Draws itself with a brush, a stream of random numbers and a hue in degrees."""

_TURN = np.linspace(0, 2 * np.pi, 41)[:-1]
CIRCLE = np.column_stack([np.cos(_TURN), np.sin(_TURN)])
"""Outline of the unit circle, shape (40, 2); the first half lies below the centre."""

_SMALL_CIRCLE = CIRCLE[::4]
WHITE: Rgb = (0.95, 0.95, 0.93)
DARK: Rgb = (0.1, 0.09, 0.1)


class Brush:
    """Draws filled shapes on a picture, in the frame of a figure.

    Parameters
    ----------
    image : Image
        RGB picture; drawn on in place. Edges are hard: draw larger, then shrink.
    x_px, y_px : float
        Where the origin of the frame lies, from the top left corner.
    unit_px : float
        Length of 1 in the frame.
    tilt_deg : float, default 0
        Rotation of the frame, counter-clockwise as seen.
    mirrored : bool, default False
        Exchange left and right.
    """

    def __init__(
        self,
        image: Image.Image,
        x_px: float,
        y_px: float,
        unit_px: float,
        *,
        tilt_deg: float = 0.0,
        mirrored: bool = False,
    ) -> None:
        self._draw = ImageDraw.Draw(image)
        self._origin = np.array([x_px, y_px])
        angle = np.deg2rad(tilt_deg)
        x_axis = np.array([np.cos(angle), -np.sin(angle)])
        y_axis = np.array([np.sin(angle), np.cos(angle)])
        self._axes = unit_px * np.stack([-x_axis if mirrored else x_axis, y_axis])

    def polygon(self, points: ArrayLike, colour: Rgb) -> None:
        """Fill an outline.

        Parameters
        ----------
        points : array_like of float, shape (n_points, 2)
            Corners (x, y).
        colour : tuple of float
            Red, green and blue, 0..1; clipped.
        """
        at = np.asarray(points, np.float64) @ self._axes + self._origin
        level = tuple(int(255 * min(max(c, 0.0), 1.0) + 0.5) for c in colour)
        self._draw.polygon(at.ravel().tolist(), fill=level)

    def ellipse(
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        colour: Rgb,
        *,
        tilt_deg: float = 0.0,
    ) -> None:
        """Fill an ellipse.

        Parameters
        ----------
        x, y : float
            Centre.
        across, down : float
            Half axes.
        colour : tuple of float
            Red, green and blue, 0..1.
        tilt_deg : float, default 0
            Rotation, counter-clockwise as seen.
        """
        angle = np.deg2rad(tilt_deg)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        self.polygon((CIRCLE * (across, down)) @ turn + (x, y), colour)

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: Rgb
    ) -> None:
        """Fill a rectangle.

        Parameters
        ----------
        left, top, right, bottom : float
            Edges.
        colour : tuple of float
            Red, green and blue, 0..1.
        """
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.polygon(corners, colour)

    def stroke(self, points: ArrayLike, thick: float, colour: Rgb) -> None:
        """Draw a line with round ends and bends.

        Parameters
        ----------
        points : array_like of float, shape (n_points, 2)
            Points (x, y) of its middle.
        thick : float
            Thickness.
        colour : tuple of float
            Red, green and blue, 0..1.
        """
        path = np.asarray(points, np.float64)
        for start, stop in pairwise(path):
            along = stop - start
            length = np.hypot(*along)
            if length > 0:
                side = np.array([-along[1], along[0]]) * (thick / 2 / length)
                outline = [start + side, stop + side, stop - side, start - side]
                self.polygon(outline, colour)
        for point in path:
            self.polygon(_SMALL_CIRCLE * (thick / 2) + point, colour)


def hsv(hue_deg: float, saturation: float, value: float) -> Rgb:
    """Return a colour as red, green and blue.

    Parameters
    ----------
    hue_deg : float
        Hue in degrees: 0 red, 120 green, 240 blue.
    saturation, value : float
        0..1.

    Returns
    -------
    tuple of float
        Red, green and blue, 0..1.

    Examples
    --------
    >>> hsv(120, 1, 0.5)
    (0.0, 0.5, 0.0)
    """

    def channel(turn: float) -> float:
        along = (hue_deg / 60 + turn) % 6
        share = max(0.0, min(1.0, along, 4 - along))
        return value * (1 - saturation * share)

    return channel(5), channel(3), channel(1)


def shade(colour: Rgb, factor: float) -> Rgb:
    """Return a darker or lighter colour.

    Parameters
    ----------
    colour : tuple of float
        Red, green and blue, 0..1.
    factor : float
        Below 1 darkens, above 1 lightens.

    Returns
    -------
    tuple of float
        Red, green and blue, 0..1.

    Examples
    --------
    >>> shade((0.5, 1.0, 0.0), 0.5)
    (0.25, 0.5, 0.0)
    """
    red, green, blue = (min(1.0, factor * c) for c in colour)
    return red, green, blue


def vivid(rng: np.random.Generator, hue_deg: float) -> Rgb:
    """Draw a colour of a hue, neither grey nor dark.

    Parameters
    ----------
    rng : Generator
        Stream of random numbers.
    hue_deg : float
        Hue in degrees.

    Returns
    -------
    tuple of float
        Red, green and blue, 0..1.
    """
    return hsv(hue_deg, rng.uniform(0.3, 0.9), rng.uniform(0.4, 0.95))
