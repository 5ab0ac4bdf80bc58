"""Covers of made-up products: drawn by rule, so that anyone may copy them.

A cover has three zones, one above the other in any order: a title, a picture and small
print. Text is bars, no font. Zones may be filled, a spine may run along one side. All
lengths are shares of the cover, so that the same cover can be drawn at any size.

Only sums, products, quotients and roots are computed, which are rounded alike on every
machine: so are the levels.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_whole
from neurovis.core.rng import generator

COVER_PX = (93, 150)
"""Width and height of the pictures that models of search on shelves read."""

FEATURE_GRID = (5, 8)
"""Columns and rows of the thumbnail of `cover_features`."""

PICTURE_KINDS = (
    "disc",
    "ring",
    "triangle",
    "diamond",
    "columns",
    "stripes",
    "checks",
    "two_discs",
)

_FRAME = 0.015
"""Thickness of the dark line around a cover, as a share of its shorter side."""

Rgb = tuple[float, float, float]
Edges = tuple[float, float, float, float]
Floats = NDArray[np.float32]


def draw_cover(
    key: str | int, *, seed: int = 0, size_px: tuple[int, int] = COVER_PX
) -> NDArray[np.uint8]:
    """Draw the cover of one product.

    Parameters
    ----------
    key : str or int
        Which product.
    seed : int, default 0
        Seed of the assortment, >= 0.
    size_px : pair of int, default (93, 150)
        Width and height, 1..10000.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        The cover; edges are anti-aliased.

    Raises
    ------
    TypeError, ValueError
        If `key` is neither text nor a whole number, or a number is out of range.

    Examples
    --------
    >>> draw_cover("tea").shape
    (150, 93, 3)
    >>> bool((draw_cover("tea") == draw_cover("coffee")).all())
    False
    """
    width, height = check_size_px("size_px", size_px)
    cover = _design(generator(seed, "cover", key))
    top, bottom = (np.array(c, np.float32) for c in (cover.top, cover.bottom))
    depth = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None, None]
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = top + (bottom - top) * depth
    for shape in cover.shapes:
        if isinstance(shape, _Blocks):
            _paint_blocks(canvas, shape)
        else:
            _paint_round_or_pointed(canvas, shape)
    _darken_border(canvas)
    return (canvas * 255 + 0.5).astype(np.uint8)


def draw_covers(
    keys: Sequence[str | int],
    *,
    seed: int = 0,
    size_px: tuple[int, int] = COVER_PX,
) -> NDArray[np.uint8]:
    """Draw the covers of several products.

    Parameters
    ----------
    keys : sequence of str or int
        Which products; those that repeat are drawn once.
    seed : int, default 0
        Seed of the assortment, >= 0.
    size_px : pair of int, default (93, 150)
        Width and height, 1..10000.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)
        Covers in the order of `keys`.

    Raises
    ------
    TypeError, ValueError
        As `draw_cover`.

    Examples
    --------
    >>> draw_covers([3, 1, 3], size_px=(6, 10)).shape
    (3, 10, 6, 3)
    """
    width, height = check_size_px("size_px", size_px)
    covers = np.empty((len(keys), height, width, 3), np.uint8)
    first: dict[str | int, int] = {}
    for i, key in enumerate(keys):
        there = first.setdefault(key, i)
        covers[i] = (
            covers[there]
            if there < i
            else draw_cover(key, seed=seed, size_px=(width, height))
        )
    return covers


def cover_features(
    pictures: ArrayLike, *, grid: tuple[int, int] = FEATURE_GRID
) -> NDArray[np.float32]:
    """Compute thumbnails: the mean colour of each cell of a coarse grid.

    This is a description of appearance and no model of vision: it knows where which
    colour is, and neither shapes nor text.

    Parameters
    ----------
    pictures : array-like of uint8, shape (n, height, width, 3)
        Pictures of objects.
    grid : pair of int, default (5, 8)
        Columns and rows; pixels on a border count to both cells by area.

    Returns
    -------
    ndarray of float32, shape (n, rows * columns * 3)
        Means from -1 (level 0) to 1 (level 255); cells row by row from the top left,
        red, green and blue of each.

    Raises
    ------
    TypeError, ValueError
        If `pictures` are no pictures, or the grid is empty.

    Examples
    --------
    >>> grey = np.full((1, 150, 93, 3), 255, np.uint8)
    >>> cover_features(grey).shape, float(cover_features(grey).min())
    ((1, 120), 1.0)
    """
    array = check_array("pictures", pictures, shape=(None, None, None, 3))
    check_array("pictures", array, dtype=np.uint8)
    if 0 in array.shape[1:]:
        raise ValueError(f"`pictures` are empty: shape {array.shape}.")
    columns, rows = check_size_px("grid", grid)
    n, height, width = array.shape[:3]
    across, down = _shared_lengths(width, columns), _shared_lengths(height, rows)
    features = np.empty((n, rows, columns, 3), np.float32)
    for i, picture in enumerate(array):
        # Sums of whole numbers below 2**53: exact in whatever order they are made.
        lines = (down @ picture.reshape(height, -1)).reshape(rows, width, 3)
        sums = np.einsum("rwc,kw->rkc", lines, across)
        features[i] = sums * 2 / (255 * width * height) - 1
    return features.reshape(n, rows * columns * 3)


def check_size_px(name: str, size: Any) -> tuple[int, int]:
    """Return a pair of whole numbers, 1..10000, such as width and height.

    Parameters
    ----------
    name : str
        Argument name for the message.
    size : pair of int
        What came.

    Returns
    -------
    tuple of int
        The pair.

    Raises
    ------
    TypeError, ValueError
        If it is no such pair.

    Examples
    --------
    >>> check_size_px("size_px", (93, 150))
    (93, 150)
    """
    if not isinstance(size, Sequence | np.ndarray) or len(size) != 2:
        raise ValueError(f"`{name}` must be two whole numbers; got {size!r}.")
    first, second = (check_whole(name, v, low=1, high=10_000) for v in size)
    return first, second


# ------------------------------------------------------------------------ design


@dataclass(frozen=True)
class _Blocks:
    """Rectangles of one colour that do not overlap; edges in shares of the cover."""

    edges: tuple[Edges, ...]
    colour: Rgb


@dataclass(frozen=True)
class _Figure:
    """A disc, ring, triangle or diamond.

    Its radius is the smaller of a share of the width and a share of the height.
    """

    kind: str
    x: float
    y: float
    radius_x: float
    radius_y: float
    colour: Rgb


@dataclass(frozen=True)
class _Cover:
    """What is drawn, from the ground up; colours from 0 to 1."""

    top: Rgb
    bottom: Rgb
    shapes: tuple[_Blocks | _Figure, ...]


def _design(rng: np.random.Generator) -> _Cover:
    ground, *accents = _palette(rng)
    fade = 0.55 if rng.random() < 0.4 else 1.0
    bottom = (ground[0] * fade, ground[1] * fade, ground[2] * fade)
    shapes: list[_Blocks | _Figure] = []

    left, right = 0.0, 1.0
    if rng.random() < 0.3:
        spine = _between(rng, 0.1, 0.22)
        if rng.random() < 0.5:
            left, edges = spine, (0.0, 0.0, spine, 1.0)
        else:
            right, edges = 1 - spine, (1 - spine, 0.0, 1.0, 1.0)
        shapes.append(_Blocks((edges,), accents[1]))

    zones = _zones(rng)
    names = list(zones)
    # One to three zones are filled; which one surely is, is drawn.
    sure = names[int(rng.random() * 3)]
    for place, (name, (top, below)) in enumerate(zones.items()):
        filled = name == sure or rng.random() < 0.4
        inset = _between(rng, 0.02, 0.07) if rng.random() < 0.3 else 0.0
        fill = accents[(place + (name == "title")) % 2]
        under = ground if fade == 1.0 or below < 0.6 else bottom
        if filled:
            # A little below neighbours, so that no ground shines through the seam.
            lap = 0.01 if inset == 0 else -inset
            low, high = max(0.0, left - lap), min(1.0, right + lap)
            lap = max(lap, -inset / 2)
            edges = (low, top + inset / 2, high, min(1.0, below + lap))
            shapes.append(_Blocks((edges,), fill))
            under = fill
        box = (left + 0.07, top + 0.03, right - 0.07, below - 0.03)
        if name == "picture":
            colours = [c for c in (*accents, ground) if _apart(c, under)]
            colours.append(_ink(under))
            shapes += _picture(rng, box, colours[0], colours[-1])
        else:
            lines = 1 + int(rng.random() * 2) if name == "title" else 0
            edges_of_text = _text(rng, box, lines or 2 + int(rng.random() * 3))
            shapes.append(_Blocks(edges_of_text, _ink(under)))
    return _Cover(ground, bottom, tuple(shapes))


def _palette(rng: np.random.Generator) -> tuple[Rgb, Rgb, Rgb, Rgb]:
    """Ground and three accents."""
    hue, kind = rng.random(), rng.random()
    if kind < 0.15:  # pale
        ground = _rgb(hue, _between(rng, 0.02, 0.15), _between(rng, 0.9, 0.98))
    elif kind < 0.27:  # dark
        ground = _rgb(hue, _between(rng, 0.2, 0.8), _between(rng, 0.12, 0.28))
    else:
        ground = _rgb(hue, _between(rng, 0.5, 0.95), _between(rng, 0.45, 0.95))
    turn = (0.5, 0.33, 0.17, 0.08)[int(rng.random() * 4)]
    first = _rgb(hue + turn, _between(rng, 0.5, 1.0), _between(rng, 0.55, 1.0))
    second = _rgb(hue - turn, _between(rng, 0.1, 0.9), _between(rng, 0.3, 1.0))
    third = _rgb(hue + 0.5 + turn, _between(rng, 0.4, 0.9), _between(rng, 0.6, 1.0))
    return ground, first, second, third


def _zones(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Upper and lower edge of title, picture and small print, from the top down."""
    tall = {
        "title": _between(rng, 0.2, 0.36),
        "picture": _between(rng, 0.34, 0.6),
        "print": _between(rng, 0.14, 0.26),
    }
    ranks = rng.random(3).tolist()
    order = [name for _, name in sorted(zip(ranks, tall, strict=True))]
    total, top, zones = sum(tall.values()), 0.0, {}
    for name in order:
        zones[name] = (top, top + tall[name] / total)
        top = zones[name][1]
    return zones


def _text(rng: np.random.Generator, box: Edges, n_lines: int) -> tuple[Edges, ...]:
    """Words as bars, in lines of equal height."""
    left, top, right, bottom = box
    pitch = (bottom - top) / n_lines
    centred = rng.random() < 0.5
    thick, fewest = (0.6, 1) if n_lines > 1 else (0.45, 2)
    words = []
    for line in range(n_lines):
        length = (right - left) * _between(rng, 0.6, 1.0)
        start = left + (right - left - length) / 2 if centred else left
        upper = top + (line + (1 - thick) / 2) * pitch
        widths = [
            _between(rng, 0.4, 1.0) for _ in range(fewest + int(rng.random() * 3))
        ]
        gap = 0.07 * length
        unit = (length - gap * (len(widths) - 1)) / sum(widths)
        for width in widths:
            words.append((start, upper, start + width * unit, upper + thick * pitch))
            start += width * unit + gap
    return tuple(words)


def _picture(
    rng: np.random.Generator, box: Edges, colour: Rgb, second: Rgb
) -> Iterator[_Blocks | _Figure]:
    left, top, right, bottom = box
    wide, tall = right - left, bottom - top
    kind = PICTURE_KINDS[int(rng.random() * len(PICTURE_KINDS))]
    n = 3 + int(rng.random() * 3)
    if kind == "columns":
        bars = []
        for i in range(n):
            x, y = left + (i + 0.1) * wide / n, bottom - tall * _between(rng, 0.3, 1.0)
            bars.append((x, y, x + 0.8 * wide / n, bottom))
        yield _Blocks(tuple(bars), colour)
    elif kind == "stripes":
        tops = [top + i * tall / n for i in range(n)]
        bars = [(left, y, right, y + 0.5 * tall / n) for y in tops]
        yield _Blocks(tuple(bars), colour)
    elif kind == "checks":
        xs = [left + i * wide / n for i in range(n + 1)]
        ys = [top + i * tall / n for i in range(n + 1)]
        places = [(i, j) for i in range(n) for j in range(n) if (i + j) % 2 == 0]
        squares = [(xs[i], ys[j], xs[i + 1], ys[j + 1]) for i, j in places]
        yield _Blocks(tuple(squares), colour)
    elif kind == "two_discs":
        x, y = left + wide * _between(rng, 0.3, 0.4), (top + bottom) / 2
        yield _Figure("disc", x, y, 0.3 * wide, 0.45 * tall, colour)
        yield _Figure("disc", x + 0.24 * wide, y, 0.21 * wide, 0.32 * tall, second)
    else:
        size = _between(rng, 0.75, 1.0)
        across, down = size * wide / 2, size * tall / 2
        x, y = left + wide * _between(rng, 0.4, 0.6), (top + bottom) / 2
        yield _Figure(kind, x, y, across, down, colour)
        if kind in ("disc", "diamond") and rng.random() < 0.5:
            yield _Figure(kind, x, y, 0.45 * across, 0.45 * down, second)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


# ----------------------------------------------------------------------- colours


def _rgb(hue: float, saturation: float, value: float) -> Rgb:
    """Red, green and blue of a colour that is given by hue (1 is a full turn)."""

    def channel(turn: float) -> float:
        along = (hue + turn) % 1.0 * 6
        share = max(0.0, min(1.0, along, 4 - along))
        return value * (1 - saturation * share)

    return channel(5 / 6), channel(0.5), channel(1 / 6)


def _light(colour: Rgb) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _ink(under: Rgb) -> Rgb:
    """White on dark colours, nearly black on light ones."""
    return (0.97, 0.97, 0.97) if _light(under) < 0.5 else (0.08, 0.08, 0.1)


def _apart(one: Rgb, other: Rgb) -> bool:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 0.5


# ---------------------------------------------------------------------- painting


def _spans(n: int, low: Floats, high: Floats) -> Floats:
    """Return how much of each of n pixels lies between low and high, (k, n)."""
    at = np.arange(n, dtype=np.float32)
    inside = np.minimum(high[:, None], at + 1) - np.maximum(low[:, None], at)
    return np.maximum(inside, 0)


def _mix(area: Floats, coverage: Floats, colour: Rgb) -> None:
    area += coverage[..., None] * (np.array(colour, np.float32) - area)


def _paint_blocks(canvas: Floats, blocks: _Blocks) -> None:
    height, width = canvas.shape[:2]
    scale = np.array([width, height, width, height], np.float32)
    left, top, right, bottom = (np.array(blocks.edges, np.float32) * scale).T
    x0, x1 = math.floor(left.min()), math.ceil(right.max())
    y0, y1 = math.floor(top.min()), math.ceil(bottom.max())
    across = _spans(x1 - x0, left - x0, right - x0)
    down = _spans(y1 - y0, top - y0, bottom - y0)
    coverage = down[0][:, None] * across[0]
    for y, x in zip(down[1:], across[1:], strict=True):
        coverage += y[:, None] * x
    # Rounded edges of neighbours may meet by a little more than a pixel.
    np.minimum(coverage, 1, out=coverage)
    area = canvas[y0:y1, x0:x1]
    _mix(area, coverage[: area.shape[0], : area.shape[1]], blocks.colour)


def _paint_round_or_pointed(canvas: Floats, figure: _Figure) -> None:
    height, width = canvas.shape[:2]
    radius = min(figure.radius_x * width, figure.radius_y * height)
    middle_x, middle_y = figure.x * width, figure.y * height
    x0, x1 = _around(middle_x, radius, width)
    y0, y1 = _around(middle_y, radius, height)
    x = np.arange(x0, x1, dtype=np.float32) + (0.5 - middle_x)
    y = (np.arange(y0, y1, dtype=np.float32) + (0.5 - middle_y))[:, None]
    if figure.kind == "triangle":
        # Base at the bottom, sides with slope 2.
        side = (y + radius - 2 * np.abs(x)) / math.sqrt(5)
        depth = np.minimum(side, radius - y)
    elif figure.kind == "diamond":
        depth = (radius - np.abs(x) - np.abs(y)) / math.sqrt(2)
    else:
        distance = np.sqrt(x * x + y * y)
        depth = radius - distance
        if figure.kind == "ring":
            depth = np.minimum(depth, distance - 0.55 * radius)
    coverage = np.clip(depth + 0.5, 0, 1)
    _mix(canvas[y0:y1, x0:x1], coverage, figure.colour)


def _around(middle: float, radius: float, size: int) -> tuple[int, int]:
    """First and last pixel that a figure can touch."""
    return (
        max(0, math.floor(middle - radius - 1)),
        min(size, math.ceil(middle + radius + 1)),
    )


def _darken_border(canvas: Floats) -> None:
    height, width = canvas.shape[:2]
    line = _FRAME * min(height, width)
    inner = [
        _spans(n, np.array([line], np.float32), np.array([n - line], np.float32))[0]
        for n in (height, width)
    ]
    canvas *= (0.5 + 0.5 * inner[0][:, None] * inner[1])[..., None]


def _shared_lengths(n_pixels: int, n_cells: int) -> NDArray[np.float64]:
    """Overlap of each cell with each pixel, whole numbers of 1 / n_cells pixel."""
    pixel = np.arange(n_pixels) * n_cells
    cell = (np.arange(n_cells) * n_pixels)[:, None]
    shared = np.minimum(pixel + n_cells, cell + n_pixels) - np.maximum(pixel, cell)
    return np.maximum(shared, 0).astype(np.float64)
