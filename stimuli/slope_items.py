"""Items of the displays for search slopes: upright and lying bars, digital 2 and 5.

Sizes are in degrees; edges are anti-aliased where they do not meet pixels. Digits are
those of a seven-segment display: the 5 is the mirror image of the 2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option
from stimuli.canvas import paint, polygon_coverage, rectangle_outline
from stimuli.search_items import Colour

ITEM_KINDS = ("vertical", "horizontal", "digit_2", "digit_5")

# Relative luminance of the sRGB primaries (IEC 61966-2-1).
_LUMINANCE = (0.2126, 0.7152, 0.0722)

# Segments that a digit lacks: half of the height (upper 0, lower 1) and side.
_MISSING = {
    "digit_2": ((0, "left"), (1, "right")),
    "digit_5": ((0, "right"), (1, "left")),
}


def check_item_sizes(bar_deg: Any, digit_deg: Any, stroke_deg: float) -> None:
    """Raise unless bars and digits can be drawn.

    Parameters
    ----------
    bar_deg, digit_deg : pair of float
        Width and height of an upright bar and of a digit in degrees.
    stroke_deg : float
        Thickness of the strokes of a digit in degrees: at most a third of its width
        and a fifth of its height, so that there are gaps.

    Raises
    ------
    TypeError, ValueError
        If a size is not a pair, or a number is out of range.

    Examples
    --------
    >>> check_item_sizes((1.0, 3.5), (1.5, 2.7), 0.3)
    """
    for name, pair in (("bar_deg", bar_deg), ("digit_deg", digit_deg)):
        if not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
            raise ValueError(f"`{name}` must be width and height; got {pair!r}.")
        for value in pair:
            check_between(name, value, low=0.01, high=180)
    thickest = min(digit_deg[0] / 3, digit_deg[1] / 5)
    check_between("stroke_deg", stroke_deg, low=0.01, high=thickest)


def item_size_deg(
    kind: str, bar_deg: tuple[float, float], digit_deg: tuple[float, float]
) -> tuple[float, float]:
    """Return width and height of an item.

    Parameters
    ----------
    kind : str
        One of `ITEM_KINDS`.
    bar_deg, digit_deg : pair of float
        Width and height of an upright bar and of a digit in degrees.

    Returns
    -------
    tuple of float
        Width and height in degrees.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> item_size_deg("horizontal", (1.0, 3.5), (1.5, 2.7))
    (3.5, 1.0)
    """
    check_option("kind", kind, ITEM_KINDS)
    if kind == "vertical":
        return bar_deg
    return (bar_deg[1], bar_deg[0]) if kind == "horizontal" else digit_deg


def draw_slope_item(
    ground: NDArray[np.uint8],
    kind: str,
    size_deg: tuple[float, float],
    colour: Colour,
    *,
    px_per_deg: float,
    stroke_deg: float,
) -> NDArray[np.uint8]:
    """Lay an item over the pixels of its box, from the top-left corner.

    Parameters
    ----------
    ground : ndarray of uint8, shape (height_px, width_px, 3)
        What is there.
    kind : str
        One of `ITEM_KINDS`.
    size_deg : pair of float
        Width and height of the item in degrees.
    colour : tuple of 3 int
        RGB levels, 0..255.
    px_per_deg : float
        Pixels per degree.
    stroke_deg : float
        Thickness of the strokes of a digit in degrees; bars ignore it.

    Returns
    -------
    ndarray of uint8, shape (height_px, width_px, 3)
        A new picture.

    Raises
    ------
    ValueError
        If the kind is unknown or strokes are too thick for gaps between them.

    Examples
    --------
    >>> ground = np.zeros((5, 3, 3), np.uint8)
    >>> picture = draw_slope_item(
    ...     ground, "digit_2", (3, 5), (1, 1, 1), px_per_deg=1, stroke_deg=1
    ... )
    >>> print(picture[..., 0])
    [[1 1 1]
     [0 0 1]
     [1 1 1]
     [1 0 0]
     [1 1 1]]
    """
    check_option("kind", kind, ITEM_KINDS)
    width, height = size_deg
    strokes = [(0.0, 0.0, width, height)]
    if kind in _MISSING:
        check_item_sizes(size_deg, size_deg, stroke_deg)
        strokes = _digit_strokes(kind, width, height, stroke_deg)
    box = ground.shape[:2]
    coverage = np.zeros(box, np.int64)
    for stroke in strokes:
        outline = rectangle_outline(*(edge * px_per_deg for edge in stroke))
        coverage += polygon_coverage(outline, box[0], box[1])
    return paint(ground, coverage, np.array(colour, np.int64))


def _digit_strokes(
    kind: str, width: float, height: float, stroke: float
) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of the strokes of a digit; none overlap."""
    middle = (height - stroke) / 2
    strokes = [(0.0, y, width, y + stroke) for y in (0.0, middle, height - stroke)]
    halves = ((stroke, middle), (middle + stroke, height - stroke))
    for half, (top, bottom) in enumerate(halves):
        for side, left in (("left", 0.0), ("right", width - stroke)):
            if (half, side) not in _MISSING[kind]:
                strokes.append((left, top, left + stroke, bottom))
    return strokes


# ----------------------------------------------------------------------- colours


def luminance(colour: Colour) -> float:
    """Compute the relative luminance of sRGB levels.

    Parameters
    ----------
    colour : tuple of 3 int
        RGB levels, 0..255.

    Returns
    -------
    float
        0 for black to 1 for white, by IEC 61966-2-1.

    Examples
    --------
    >>> luminance((0, 255, 0)), luminance((255, 255, 255))
    (0.7152, 1.0)
    """
    return sum(w * _linear(c) for w, c in zip(_LUMINANCE, colour, strict=True))


def equalise_luminance(first: Colour, second: Colour) -> tuple[Colour, Colour]:
    """Scale the brighter of two colours down to the luminance of the other.

    Parameters
    ----------
    first, second : tuple of 3 int
        RGB levels, 0..255, as sRGB.

    Returns
    -------
    tuple of (tuple of 3 int)
        Both colours, as near in luminance as whole levels allow.

    Raises
    ------
    ValueError
        If one is black.

    Examples
    --------
    >>> equalise_luminance((255, 0, 0), (0, 255, 0))
    ((255, 0, 0), (0, 148, 0))
    """
    low, high = sorted((luminance(first), luminance(second)))
    if low == 0:
        raise ValueError(
            f"Equal luminance needs two colours with light; got {first} and {second}."
        )

    def scaled(colour: Colour) -> Colour:
        if luminance(colour) == low:
            return colour
        red, green, blue = (_encode(_linear(v) * low / high) for v in colour)
        return red, green, blue

    return scaled(first), scaled(second)


def _linear(level: int) -> float:
    share = level / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _encode(share: float) -> int:
    if share <= 0.0031308:
        return round(255 * 12.92 * share)
    return round(255 * (1.055 * share ** (1 / 2.4) - 0.055))


def rgb_text(colour: Colour) -> str:
    """Write a colour as text.

    Parameters
    ----------
    colour : tuple of 3 int
        RGB levels, 0..255.

    Returns
    -------
    str
        Such as ``"#00ff00"``.

    Examples
    --------
    >>> rgb_text((0, 255, 0))
    '#00ff00'
    """
    return "#" + bytes(colour).hex()


def parse_rgb(text: Any) -> Colour:
    """Read what `rgb_text` wrote.

    Parameters
    ----------
    text : str
        Such as ``"#00ff00"``.

    Returns
    -------
    tuple of 3 int
        RGB levels, 0..255.

    Examples
    --------
    >>> parse_rgb("#00ff00")
    (0, 255, 0)
    """
    red, green, blue = bytes.fromhex(str(text).removeprefix("#"))
    return red, green, blue
