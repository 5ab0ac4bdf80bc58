"""Drawings of words, food and objects."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from stimuli.category_brush import CIRCLE, DARK, WHITE, Brush, Figure, hsv, shade, vivid

# -------------------------------------------------------------------------- word

_LETTERS: Mapping[str, str] = MappingProxyType(
    {
        "A": "06 20 46,14 34",
        "E": "40 00 06 46,03 33",
        "I": "20 26",
        "O": "10 30 41 45 36 16 05 01 10",
        "U": "00 05 16 36 45 40",
        "B": "03 33 44 45 36 06 00 30 41 42 33",
        "D": "00 06 26 44 42 20 00",
        "H": "00 06,40 46,03 43",
        "L": "00 06 46",
        "M": "06 00 23 40 46",
        "N": "06 00 46 40",
        "R": "06 00 30 41 42 33 03,23 46",
        "S": "41 30 10 01 02 13 33 44 45 36 16 05",
        "T": "00 40,20 26",
    }
)
"""Strokes of letters: points as column and row of a grid of 5 by 7."""

_VOWELS, _CONSONANTS = "AEIOU", "BDHLMNRST"


def _one_line(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a made-up word."""
    _words(brush, rng, hue, 1)


def _two_lines(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw two made-up words, one below the other."""
    _words(brush, rng, hue, 2)


def _words(brush: Brush, rng: np.random.Generator, hue: float, n_lines: int) -> None:
    dark, light = shade(vivid(rng, hue), 0.45), vivid(rng, rng.uniform(0, 360))
    light = (0.4 * light[0] + 0.6, 0.4 * light[1] + 0.6, 0.4 * light[2] + 0.6)
    ink, ground = (light, dark) if rng.random() < 0.5 else (dark, light)
    is_sign = rng.random() < 0.65
    if is_sign:
        half = 0.34 * n_lines + rng.uniform(0.0, 0.15)
        brush.box(-1.08, -half - 0.06, 1.08, half + 0.06, ink)
        brush.box(-1.03, -half - 0.01, 1.03, half + 0.01, ground)
    thick, slant = rng.uniform(0.1, 0.2), rng.uniform(0, 0.25)
    strokes = []
    for line in range(n_lines):
        n_letters, start = int(rng.integers(4, 7)), rng.integers(2)
        middle = (line - (n_lines - 1) / 2) * 0.68
        pitch = 1.85 / n_letters
        tall = min(0.56, 1.4 * pitch)
        for i in range(n_letters):
            pool = _CONSONANTS if (i + start) % 2 == 0 else _VOWELS
            for path in _LETTERS[pool[rng.integers(len(pool))]].split(","):
                grid = np.array([(int(p[0]), int(p[1])) for p in path.split()])
                y = (grid[:, 1] / 6 - 0.5) * tall
                x = -0.925 + (i + 0.15 + 0.7 * grid[:, 0] / 4) * pitch - slant * y
                strokes.append((np.column_stack([x, y + middle]), thick * tall))
    # Without a sign the letters have an edge, to be seen on any background.
    for wider, colour in ((0.0, ink),) if is_sign else ((0.1, ground), (0.0, ink)):
        for points, width in strokes:
            brush.stroke(points, width + wider, colour)


# -------------------------------------------------------------------------- food


def _fruit(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a fruit with a leaf."""
    skin = hsv(hue, rng.uniform(0.55, 0.9), rng.uniform(0.55, 0.95))
    wide, tall = rng.uniform(0.5, 0.65), rng.uniform(0.55, 0.75)
    for side in (-1, 1):
        brush.ellipse(side * 0.25, 0.2, wide, tall, shade(skin, 0.8))
    for side in (-1, 1):
        brush.ellipse(side * 0.22 - 0.05, 0.16, wide - 0.06, tall - 0.08, skin)
    brush.ellipse(-0.36, -0.12, 0.1, 0.17, shade(skin, 1.5), tilt_deg=-25)
    brush.stroke([(0, -0.35), (0.03, -0.65), (0.12, -0.9)], 0.08, (0.35, 0.22, 0.1))
    leaf = hsv(rng.uniform(80, 140), 0.7, rng.uniform(0.35, 0.7))
    brush.ellipse(0.36, -0.72, 0.3, 0.12, leaf, tilt_deg=rng.uniform(-10, 30))


def _pizza(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a pizza from above."""
    crust = hsv(rng.uniform(25, 38), rng.uniform(0.5, 0.75), rng.uniform(0.55, 0.85))
    brush.ellipse(0, 0, 0.98, 0.98, shade(crust, 0.75))
    brush.ellipse(0, -0.02, 0.94, 0.94, crust)
    brush.ellipse(0, 0, 0.8, 0.8, hsv(rng.uniform(5, 50), 0.7, rng.uniform(0.7, 0.95)))
    topping, leaf = hsv(hue, 0.75, rng.uniform(0.4, 0.8)), hsv(110, 0.7, 0.45)
    for i in range(rng.integers(7, 13)):
        far, turn = 0.65 * np.sqrt((i + 0.5) / 12), 2.4 * i + rng.uniform(0, 0.6)
        x, y = far * np.cos(turn), far * np.sin(turn)
        brush.ellipse(x, y, 0.14, 0.14, shade(topping, 0.7))
        brush.ellipse(x, y - 0.01, 0.115, 0.115, topping)
        brush.ellipse(-y, x, 0.1, 0.035, leaf, tilt_deg=50.0 * i)
    for turn in np.arange(3) * np.pi / 3 + rng.uniform(0, 1):
        ray = 0.97 * np.array([np.cos(turn), np.sin(turn)])
        brush.stroke([-ray, ray], 0.02, shade(crust, 0.55))


def _burger(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a burger."""
    bun = hsv(rng.uniform(22, 38), rng.uniform(0.5, 0.75), rng.uniform(0.55, 0.9))
    x = np.linspace(-0.95, 0.95, 25)
    brush.polygon(CIRCLE[:21] * (0.85, 0.35) + (0, 0.5), shade(bun, 0.9))
    brush.box(-0.85, 0.35, 0.85, 0.52, bun)
    y = 0.4
    fillings = [
        hsv(20, 0.6, rng.uniform(0.2, 0.35)),
        hsv(rng.uniform(40, 52), 0.8, 0.95),
        hsv(hue, rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.9)),
        hsv(rng.uniform(85, 120), 0.7, rng.uniform(0.5, 0.8)),
    ]
    for i in rng.permutation(4):
        wave = 0.04 * np.sin(x * rng.uniform(10, 25))
        tall = 0.2 if i == 0 else 0.1
        lower = list(zip(x, y + wave, strict=True))
        brush.polygon([*lower, (0.92, y - tall), (-0.92, y - tall)], fillings[i])
        y -= tall
    brush.polygon(CIRCLE[20:] * (0.92, 0.75) + (0, y + 0.04), shade(bun, 0.85))
    brush.polygon(CIRCLE[20:] * (0.85, 0.68) + (-0.03, y + 0.01), bun)
    for _ in range(rng.integers(5, 12)):
        place = rng.uniform((-0.6, -0.5), (0.6, -0.1))
        brush.ellipse(place[0], y + place[1], 0.045, 0.025, WHITE, tilt_deg=30)


def _cake(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a piece of cake."""
    dough = hsv(rng.uniform(20, 45), rng.uniform(0.3, 0.65), rng.uniform(0.35, 0.9))
    cream = hsv(hue, rng.uniform(0.15, 0.6), rng.uniform(0.8, 1.0))
    top, tall = -0.25, rng.uniform(0.75, 1.0)
    n_layers = 2 * rng.integers(2, 4) + 1
    for i in range(n_layers):
        upper, lower = top + tall * i / n_layers, top + tall * (i + 1) / n_layers
        colour = cream if i % 2 == 0 else dough
        front = [(-0.95, upper), (0.35, upper + 0.22), (0.35, lower + 0.22)]
        brush.polygon([*front, (-0.95, lower)], colour)
        side = [(0.35, upper + 0.22), (0.95, upper - 0.15), (0.95, lower - 0.15)]
        brush.polygon([*side, (0.35, lower + 0.22)], shade(cream, 0.8))
    brush.polygon(
        [(-0.95, top), (0.35, top + 0.22), (0.95, top - 0.15)], shade(cream, 1.1)
    )
    berry = hsv(rng.uniform(-20, 15), 0.85, rng.uniform(0.5, 0.85))
    brush.ellipse(0.3, top - 0.12, 0.19, 0.2, berry)
    brush.ellipse(0.25, top - 0.18, 0.05, 0.06, shade(berry, 1.7))
    brush.stroke([(0.3, top - 0.3), (0.4, top - 0.6)], 0.035, (0.25, 0.35, 0.12))


# ------------------------------------------------------------------------ object


def _mug(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a mug."""
    body, band = vivid(rng, hue), vivid(rng, hue + rng.uniform(90, 270))
    wide, tall = rng.uniform(0.45, 0.6), rng.uniform(0.6, 0.85)
    ring = CIRCLE * (0.3, 0.36) + (wide + 0.05, 0.0)
    brush.stroke(np.vstack([ring, ring[:1]]), 0.13, shade(body, 0.75))
    base = 0.9 * wide
    brush.polygon([(-wide, -tall), (wide, -tall), (base, tall), (-base, tall)], body)
    brush.ellipse(0, tall, base, 0.14, body)
    dark = [(0.4 * wide, -tall), (wide, -tall), (base, tall), (0.4 * base, tall + 0.12)]
    brush.polygon(dark, shade(body, 0.82))
    middle = rng.uniform(-0.2, 0.3)
    brush.box(-wide, middle - 0.1, 0.95 * wide, middle + 0.1, band)
    brush.ellipse(0, -tall, wide, 0.17, shade(body, 1.25))
    brush.ellipse(0, -tall + 0.02, wide - 0.07, 0.12, shade(body, 0.35))


def _chair(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a chair."""
    wood, seat = vivid(rng, hue), vivid(rng, hue + rng.uniform(-40, 40))
    thick, level = rng.uniform(0.08, 0.14), rng.uniform(0.05, 0.2)
    for x, y in ((-0.3, 0.75), (0.65, 0.75)):
        brush.stroke([(x, level - 0.15), (x, y)], thick, shade(wood, 0.6))
    for x in (-0.3, 0.65):
        brush.stroke([(x, level - 0.1), (x - 0.06, -0.92)], thick, shade(wood, 0.85))
    for y in np.linspace(-0.85, -0.3, rng.integers(2, 5)):
        brush.stroke([(-0.35, y), (0.62, y)], 1.3 * thick, shade(wood, 0.85))
    plane = [(-0.65, level + 0.15), (-0.35, level - 0.15), (0.75, level - 0.15)]
    brush.polygon([*plane, (0.5, level + 0.15)], seat)
    brush.box(-0.65, level + 0.14, 0.5, level + 0.26, shade(seat, 0.7))
    for x in (-0.58, 0.43):
        brush.stroke([(x, level + 0.25), (x, 0.95)], thick, wood)


def _lamp(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a table lamp."""
    stem, cloth = hsv(hue + 180, 0.3, rng.uniform(0.2, 0.6)), vivid(rng, hue)
    base, low = rng.uniform(0.3, 0.5), rng.uniform(-0.05, 0.2)
    brush.ellipse(0, 0.86, base, 0.12, shade(stem, 0.8))
    brush.stroke([(0, 0.85), (0, low)], 0.1, stem)
    brush.ellipse(0, 0.55, rng.uniform(0.1, 0.25), 0.26, stem)
    top, wide = rng.uniform(0.2, 0.45), rng.uniform(0.6, 0.8)
    brush.polygon([(-top, -0.9), (top, -0.9), (wide, low), (-wide, low)], cloth)
    light = [(-top, -0.9), (-0.2 * top, -0.9), (-0.3 * wide, low), (-wide, low)]
    brush.polygon(light, shade(cloth, 1.25))
    for y, half in ((-0.9, top), (low, wide)):
        brush.stroke([(-half, y), (half, y)], 0.07, shade(cloth, 0.6))


def _clock(brush: Brush, rng: np.random.Generator, hue: float) -> None:
    """Draw a clock."""
    rim, dial = vivid(rng, hue), hsv(hue, 0.1, rng.uniform(0.75, 1.0))
    for side in (-1, 1):
        brush.stroke([(side * 0.35, 0.6), (side * 0.55, 0.95)], 0.14, shade(rim, 0.7))
        brush.ellipse(
            side * 0.5, -0.75, 0.28, 0.2, shade(rim, 0.85), tilt_deg=side * -40
        )
    brush.ellipse(0, 0, 0.84, 0.84, shade(rim, 0.8))
    brush.ellipse(-0.02, -0.02, 0.78, 0.78, rim)
    brush.ellipse(0, 0, 0.64, 0.64, dial)
    for turn in np.arange(12) * np.pi / 6:
        ray = np.array([np.sin(turn), -np.cos(turn)])
        brush.stroke([0.5 * ray, 0.57 * ray], 0.06, DARK)
    for length, thick in ((0.3, 0.09), (0.47, 0.06)):
        turn = rng.uniform(0, 2 * np.pi)
        brush.stroke(
            [(0, 0), (length * np.sin(turn), -length * np.cos(turn))], thick, DARK
        )
    brush.ellipse(0, 0, 0.07, 0.07, rim)


WORDS: Mapping[str, Figure] = MappingProxyType(
    {"one_line": _one_line, "two_lines": _two_lines}
)
"""Words by kind."""

FOOD: Mapping[str, Figure] = MappingProxyType(
    {"fruit": _fruit, "pizza": _pizza, "burger": _burger, "cake": _cake}
)
"""Food by kind."""

OBJECTS: Mapping[str, Figure] = MappingProxyType(
    {"mug": _mug, "chair": _chair, "lamp": _lamp, "clock": _clock}
)
"""Objects by kind."""
