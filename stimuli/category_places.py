"""Drawings of places, which fill the picture."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from stimuli.category_brush import WHITE, Brush, Figure, hsv, shade, vivid


def _room(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a room."""
    wall = hsv(hue, rng.uniform(0.05, 0.5), rng.uniform(0.5, 0.9))
    floor = hsv(rng.uniform(15, 45), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.7))
    x, y = rng.uniform(-0.35, 0.35), rng.uniform(-0.2, 0.15)
    half = rng.uniform(0.3, 0.5)
    left, right, top, bottom = x - half, x + half, y - 0.7 * half, y + 0.6 * half

    def at(depth: float, height: float, side: int) -> tuple[float, float]:
        """Return a point of a side wall, from the front to the back."""
        back, front = (left if side < 0 else right), float(side)
        upper, lower = top * depth - (1 - depth), bottom * depth + (1 - depth)
        return front + (back - front) * depth, lower + (upper - lower) * height

    brush.box(-1, -1, 1, 1, shade(wall, 1.15))
    for side, light in ((-1, 0.85), (1, 0.7)):
        outline = [at(0, 0, side), at(1, 0, side), at(1, 1, side), at(0, 1, side)]
        brush.polygon(outline, shade(wall, light))
    brush.polygon([(left, bottom), (right, bottom), (1, 1), (-1, 1)], floor)
    for share in np.linspace(0, 1, rng.integers(5, 10)):
        ends = [(left + (right - left) * share, bottom), (2 * share - 1, 1)]
        brush.stroke(ends, 0.012, shade(floor, 0.7))
    brush.box(left, top, right, bottom, wall)
    window = hsv(rng.uniform(190, 230), rng.uniform(0.1, 0.5), 0.95)
    for side in (-1, 1):
        low, high = (0.0, 0.75) if rng.random() < 0.4 else (0.38, 0.8)
        pane = shade(floor, 0.6) if low == 0 else window
        start = rng.uniform(0.2, 0.45)
        stop = start + rng.uniform(0.25, 0.4)
        corners = [(start, low), (stop, low), (stop, high), (start, high)]
        brush.polygon([at(*corner, side) for corner in corners], pane)
    middle = x + rng.uniform(-0.1, 0.1)
    brush.box(middle - 0.14, top + 0.1, middle + 0.14, (top + bottom) / 2, WHITE)
    picture = vivid(rng, hue + 180)
    brush.box(
        middle - 0.11, top + 0.13, middle + 0.11, (top + bottom) / 2 - 0.03, picture
    )


def _street(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a street between houses."""
    x, y = rng.uniform(-0.35, 0.35), rng.uniform(-0.15, 0.3)
    _sky(brush, rng, y)
    ground = hsv(rng.uniform(20, 110), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.6))
    road = hsv(rng.uniform(0, 360), 0.08, rng.uniform(0.25, 0.55))
    brush.box(-1, y, 1, 1, ground)
    brush.polygon([(x - 0.03, y), (x + 0.03, y), (0.75, 1), (-0.75, 1)], road)
    for start in (0.15, 0.35, 0.6):
        nearer = start + 0.12
        dash = [(start, -0.02), (start, 0.02), (nearer, 0.02), (nearer, -0.02)]
        ends = [(x + (d * w * 2 - x) * d, y + (1 - y) * d) for d, w in dash]
        brush.polygon(ends, WHITE)
    for side in (-1, 1):
        for depth in (0.35, 0.6, 1.0):  # far houses first
            colour = vivid(rng, hue + rng.uniform(-60, 60))
            tall, low = rng.uniform(0.5, 1.1) * depth, y + 0.55 * depth * (1 - y)
            outer, inner = (
                x + side * 1.5 * depth,
                x + side * rng.uniform(0.7, 0.9) * depth,
            )
            edges = sorted((outer, inner))
            brush.box(edges[0], y - tall, edges[1], low, colour)
            pane = shade(colour, 0.4) if rng.random() < 0.6 else WHITE
            step = 0.2 * depth
            for row in range(int(tall / step)):
                for column in range(4):
                    corner = inner + side * (0.06 * depth + column * step)
                    level = y - tall + 0.07 * depth + row * step
                    ends_x = sorted((corner, corner + side * 0.1 * depth))
                    brush.box(ends_x[0], level, ends_x[1], level + 0.11 * depth, pane)


def _landscape(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw hills under a sky."""
    y = rng.uniform(-0.3, 0.3)
    _sky(brush, rng, y + 0.2)
    if rng.random() < 0.5:
        sun = hsv(rng.uniform(30, 60), 0.3, 1.0)
        brush.ellipse(
            rng.uniform(-0.8, 0.8), y - rng.uniform(0.3, 0.6), 0.12, 0.12, sun
        )
    x = np.linspace(-1, 1, 33)
    for layer in range(3):
        # Ridges become smoother, lower and darker towards the front.
        rough = 0.32 / (layer + 1)
        waves = [
            rough / k * np.sin(k * 2.2 * x + rng.uniform(0, 6.3))
            for k in (1, 2, 3, 5, 8)
        ]
        ridge = y + 0.28 * layer - 0.12 + np.sum(waves, axis=0)
        tone = hsv(hue + 25 * layer, 0.2 + 0.2 * layer, 0.75 - 0.15 * layer)
        brush.polygon([*zip(x, ridge, strict=True), (1, 1), (-1, 1)], tone)
        if layer > 0:
            for _ in range(rng.integers(2, 6)):
                place = rng.integers(2, 31)
                _tree(brush, rng, x[place], ridge[place] + 0.05, 0.16 * layer)


def _sky(brush: Brush, rng: np.random.Generator, horizon: float) -> None:
    above = hsv(rng.uniform(190, 240), rng.uniform(0.2, 0.8), rng.uniform(0.35, 0.9))
    below = hsv(rng.uniform(20, 220), rng.uniform(0.05, 0.3), rng.uniform(0.75, 1.0))
    edges = np.linspace(-1, max(horizon, 0.3), 17)
    for i, (start, stop) in enumerate(pairwise(edges)):
        red, green, blue = (
            a + (b - a) * i / 15 for a, b in zip(above, below, strict=True)
        )
        brush.box(-1, start, 1, stop + 0.01, (red, green, blue))


def _tree(
    brush: Brush, rng: np.random.Generator, x: float, y: float, size: float
) -> None:
    green = hsv(rng.uniform(70, 150), rng.uniform(0.4, 0.7), rng.uniform(0.2, 0.5))
    brush.box(x - 0.12 * size, y - 0.6 * size, x + 0.12 * size, y, (0.3, 0.2, 0.12))
    if rng.random() < 0.5:
        top = y - rng.uniform(1.7, 2.3) * size
        brush.polygon(
            [
                (x - 0.6 * size, y - 0.4 * size),
                (x, top),
                (x + 0.6 * size, y - 0.4 * size),
            ],
            green,
        )
    else:
        brush.ellipse(x, y - 1.1 * size, 0.6 * size, 0.7 * size, green)


PLACES: Mapping[str, Figure] = MappingProxyType(
    {"room": _room, "street": _street, "landscape": _landscape}
)
"""Places by kind."""
