"""Silhouettes of the sixteen basic categories, drawn by rule.

Simple shapes for demos and tests without data: nobody's photographs are behind them.
Coordinates run from -1 to 1 with y up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_option, check_whole
from neurovis.core.rng import generator
from stimuli.display import coverage
from stimuli.outlines import disc, rectangle, turn

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SHARE = 0.42
"""Half the side of the frame of a shape, as a share of the picture."""


@dataclass(frozen=True)
class _Shape:
    """Areas that are filled, and holes in them."""

    parts: tuple[FloatArray, ...]
    holes: tuple[FloatArray, ...] = ()


def _points(text: str) -> FloatArray:
    """Read "x y, x y, ..." in hundredths."""
    return np.array([pair.split() for pair in text.split(",")], np.float64) / 100


def _both_sides(text: str) -> FloatArray:
    """Read the right half of an outline, from top to bottom, and mirror it."""
    right = _points(text)
    return np.concatenate([right, (right * (-1, 1))[::-1]])


def _line(text: str, thick: float) -> tuple[FloatArray, ...]:
    """Read a line and give it a thickness."""
    parts = []
    for first, last in pairwise(_points(text)):
        along = (last - first) / np.hypot(*(last - first))
        side = np.array([-along[1], along[0]]) * thick / 2
        ends = (first - along * thick / 4, last + along * thick / 4)
        parts.append(
            np.array([ends[0] + side, ends[0] - side, ends[1] - side, ends[1] + side])
        )
    return tuple(parts)


def _ellipse(x: float, y: float, across: float, down: float) -> FloatArray:
    return disc(1.0) * (across, down) + (x, y)


def _keys() -> tuple[FloatArray, ...]:
    """Return the gaps between the keys of a keyboard."""
    rows = [rectangle(1.76, 0.03, y_deg=y) for y in (0.13, 0.0, -0.13)]
    columns = [
        rectangle(0.03, 0.4, x_deg=x, y_deg=0.065) for x in np.linspace(-0.7, 0.7, 9)
    ]
    ends = [rectangle(0.03, 0.13, x_deg=x, y_deg=-0.19) for x in (-0.45, 0.45)]
    return (*rows, *columns, *ends)


_SHAPES: Mapping[str, _Shape] = MappingProxyType(
    {
        "airplane": _Shape(
            (
                _both_sides(
                    "0 96, 7 88, 10 72, 10 34, 94 -14, 94 -30, 10 -8, 7 -58, "
                    "36 -78, 36 -90, 0 -82"
                ),
            )
        ),
        "bear": _Shape(
            (
                _points(
                    "-96 14, -88 28, -80 40, -76 54, -66 57, -60 47, -36 52, -8 64, "
                    "38 58, 74 42, 88 12, 86 -20, 90 -76, 62 -76, 58 -30, 44 -24, "
                    "42 -76, 18 -76, 14 -22, -18 -22, -20 -76, -46 -76, -50 -26, "
                    "-56 -76, -78 -76, -74 -10, -80 2, -92 4"
                ),
            )
        ),
        "bicycle": _Shape(
            (
                disc(0.42, x_deg=-0.52, y_deg=-0.25),
                disc(0.42, x_deg=0.52, y_deg=-0.25),
            ),
            (
                disc(0.35, x_deg=-0.52, y_deg=-0.25),
                disc(0.35, x_deg=0.52, y_deg=-0.25),
            ),
        ),
        "bird": _Shape(
            (
                _points(
                    "-96 27, -72 38, -62 52, -44 56, -30 44, -12 26, 30 16, 96 -18, "
                    "92 -32, 54 -22, 20 -40, -14 -46, -46 -30, -62 -4, -70 20"
                ),
                *_line("-8 -40, -12 -82, -30 -84", 0.06),
                *_line("10 -38, 8 -82, -10 -84", 0.06),
            )
        ),
        "boat": _Shape(
            (
                _points("-86 -38, 86 -38, 60 -76, -60 -76"),
                _points("6 94, 6 -26, 72 -26"),
                _points("-6 78, -6 -26, -58 -26"),
                *_line("0 90, 0 -40", 0.06),
            )
        ),
        "bottle": _Shape((_both_sides("13 96, 13 46, 33 16, 35 -10, 35 -95"),)),
        "car": _Shape(
            (
                _points("-96 -30, -95 0, -62 10, -36 42, 28 42, 58 10, 92 2, 96 -30"),
                disc(0.2, x_deg=-0.55, y_deg=-0.32),
                disc(0.2, x_deg=0.55, y_deg=-0.32),
            ),
            (
                _points("-50 12, -31 34, -8 34, -8 12"),
                _points("0 12, 0 34, 24 34, 44 12"),
            ),
        ),
        "cat": _Shape(
            (
                _ellipse(0, 0.48, 0.32, 0.27),
                _points("-30 55, -28 95, -5 72"),
                _points("30 55, 28 95, 5 72"),
                _ellipse(0, -0.35, 0.42, 0.6),
                *_line("25 -86, 62 -84, 80 -62, 80 -30, 70 -8", 0.12),
            )
        ),
        "chair": _Shape(
            (
                _points("-56 94, -42 94, -34 4, -48 4"),
                rectangle(0.98, 0.16, y_deg=0.0),
                _points("-48 0, -34 0, -40 -94, -54 -94"),
                _points("48 0, 34 0, 40 -94, 54 -94"),
                _points("-20 -6, -8 -6, -12 -74, -24 -74"),
            )
        ),
        "clock": _Shape(
            (
                disc(0.68, y_deg=-0.1),
                disc(0.24, x_deg=-0.48, y_deg=0.62),
                disc(0.24, x_deg=0.48, y_deg=0.62),
                *_line("-40 -60, -58 -92", 0.12),
                *_line("40 -60, 58 -92", 0.12),
            ),
            (*_line("0 -12, 0 40", 0.07), *_line("0 -10, 32 -28", 0.09)),
        ),
        "dog": _Shape(
            (
                _points(
                    "-96 36, -92 49, -70 58, -62 73, -46 72, -40 50, -24 32, 44 30, "
                    "60 42, 84 78, 93 72, 72 20, 70 -6, 79 -42, 73 -86, 58 -86, "
                    "60 -46, 45 -16, -14 -13, -20 -86, -36 -86, -41 -8, -50 10, "
                    "-60 27, -86 27"
                ),
            )
        ),
        "elephant": _Shape(
            (
                _points(
                    "-56 52, -20 64, 48 62, 84 38, 96 -12, 91 -16, 86 8, 82 -80, "
                    "55 -80, 52 -26, -4 -26, -8 -80, -36 -80, -38 -10, -55 -5, "
                    "-62 -20, -66 -60, -78 -73, -93 -67, -93 -56, -79 -58, -78 -10, "
                    "-86 20, -76 42"
                ),
            )
        ),
        "keyboard": _Shape((rectangle(1.92, 0.64),), _keys()),
        "knife": _Shape(
            (
                _points("-96 12, -30 10, -30 -10, -96 -14"),
                _points("-28 15, 58 15, 96 -8, 84 -13, -28 -13"),
            )
        ),
        "oven": _Shape(
            (
                rectangle(1.4, 1.65, y_deg=0.05),
                rectangle(0.2, 0.2, x_deg=-0.55, y_deg=-0.82),
                rectangle(0.2, 0.2, x_deg=0.55, y_deg=-0.82),
            ),
            (
                rectangle(0.96, 0.62, y_deg=-0.28),
                *(disc(0.09, x_deg=x, y_deg=0.62) for x in (-0.45, -0.15, 0.15, 0.45)),
                rectangle(0.96, 0.06, y_deg=0.28),
            ),
        ),
        "truck": _Shape(
            (
                rectangle(1.24, 0.9, x_deg=-0.34, y_deg=0.12),
                _points("34 -36, 34 32, 70 32, 95 0, 95 -36"),
                rectangle(1.9, 0.1, y_deg=-0.35),
                *(disc(0.17, x_deg=x, y_deg=-0.44) for x in (-0.68, -0.28, 0.66)),
            ),
            (_points("44 0, 44 22, 66 22, 82 0"),),
        ),
    }
)
# The frame of the bicycle crosses the holes of the wheels.
_OVER: Mapping[str, tuple[FloatArray, ...]] = MappingProxyType(
    {
        "bicycle": (
            *_line("-52 -25, -22 28, 32 28, -2 -24, -52 -25", 0.07),
            *_line("-2 -24, -28 44", 0.07),
            *_line("-40 45, -16 45", 0.09),
            *_line("52 -25, 28 50, 46 56", 0.07),
        )
    }
)

SHAPES: tuple[str, ...] = tuple(_SHAPES)
"""The sixteen categories, in alphabetical order."""


def draw_silhouette(
    category: str, *, size_px: int = 224, number: int = 0, seed: int = 0
) -> Mask:
    """Draw the silhouette of a category.

    Parameters
    ----------
    category : str
        One of `SHAPES`.
    size_px : int, default 224
        Side of the picture, 16..4096.
    number : int, default 0
        Which exemplar, >= 0: 0 stands straight in the middle; others differ in size,
        place, tilt and in which way they face.
    seed : int, default 0
        Seed of the exemplars, >= 0.

    Returns
    -------
    ndarray of bool, shape (size_px, size_px)
        True inside.

    Raises
    ------
    TypeError, ValueError
        If the category is unknown or a number is out of range.

    Examples
    --------
    >>> draw_silhouette("bottle", size_px=32).shape
    (32, 32)
    """
    check_option("category", category, SHAPES)
    side = check_whole("size_px", size_px, low=16, high=4096)
    number = check_whole("number", number, low=0)
    check_whole("seed", seed, low=0)
    scale, tilt, shift, mirrored = _SHARE, 0.0, np.zeros(2), False
    if number:
        stream = generator(seed, "silhouette", category, number)
        scale *= stream.uniform(0.8, 1.0)
        tilt = stream.normal(0, 5)
        shift = stream.uniform(-1, 1, 2) * (0.48 - scale) / 2
        mirrored = bool(stream.random() < 0.5)

    def cover(outlines: tuple[FloatArray, ...]) -> FloatArray:
        total = np.zeros((side, side))
        for outline in outlines:
            placed = turn(outline * (-1 if mirrored else 1, 1) * scale, tilt) + shift
            total = np.maximum(total, coverage(placed, total.shape, side))
        return total

    shape = _SHAPES[category]
    filled = cover(shape.parts) * (1 - cover(shape.holes))
    return np.asarray(np.maximum(filled, cover(_OVER.get(category, ()))) >= 0.5)
