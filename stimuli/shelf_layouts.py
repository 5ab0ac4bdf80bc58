"""Where objects stand on a shelf, and which product each of them is.

Objects are numbered from 0, board by board from the top, along each from the left.
Boxes are whole pixels, do not overlap and lie inside the display; a cover stands on
its board. All sizes are choices made here.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from neurovis.core.checks import check_option

SHELF_LAYOUTS = ("grid", "free")

SMALLEST_COVER_PX = 8
"""Least width and height of a cover on a shelf."""

# Left, top, right and bottom, px.
Box = tuple[int, int, int, int]

# Of a cell, or of the space of a board: its thickness, and what covers may fill.
_BOARD = 0.08
_FILLED = 0.86
# Least and largest width of a cover, in heights.
_ASPECTS = (0.4, 1.1)
# Free layout: ranges of relative widths and gaps along a board, and of heights.
_WIDTHS = (0.6, 1.4)
_GAPS = (0.1, 0.5)
_BOARD_HEIGHTS = (0.8, 1.2)
_COVER_HEIGHTS = (0.6, 1.0)


def check_fits(layout: str, rows: int, cols: int, size_px: tuple[int, int]) -> None:
    """Raise if the smallest cover that can come is too small to draw.

    Parameters
    ----------
    layout : {"grid", "free"}
        How objects are placed.
    rows, cols : int
        Most boards, and most objects on one.
    size_px : pair of int
        Width and height of the display.

    Raises
    ------
    ValueError
        If a cover could have less than `SMALLEST_COVER_PX`.

    Examples
    --------
    >>> check_fits("free", 6, 14, (1680, 1050))
    """
    check_option("layout", layout, SHELF_LAYOUTS)
    width, height = size_px
    wide, tall = width / cols * _FILLED, height / rows * _FILLED
    if layout == "free":
        others = (cols - 1) * _WIDTHS[1] + (cols + 1) * _GAPS[1]
        wide = width * _WIDTHS[0] / (_WIDTHS[0] + others)
        low, high = _BOARD_HEIGHTS
        tall = height * low / (low + (rows - 1) * high) * _FILLED * _COVER_HEIGHTS[0]
    # 2 px may be lost where edges are rounded.
    if min(_cover_size(wide - 2, tall - 2)) < SMALLEST_COVER_PX:
        raise ValueError(
            f"`size_px` of {width} x {height} is too small for {rows} `rows` of {cols} "
            f"`cols` in the {layout} layout: covers could have less than "
            f"{SMALLEST_COVER_PX} px. Use a larger `size_px`, or fewer rows or columns."
        )


def board_thickness(n_boards: int, height_px: int) -> int:
    """Return the thickness of the boards.

    Parameters
    ----------
    n_boards : int
        Boards.
    height_px : int
        Height of the display.

    Returns
    -------
    int
        Thickness in pixels, >= 1.

    Examples
    --------
    >>> board_thickness(4, 1050)
    21
    """
    return max(1, math.floor(_BOARD * height_px / n_boards))


def grid_boxes(n_rows: int, n_cols: int, size_px: tuple[int, int]) -> list[Box]:
    """Place covers of one size in equal cells.

    Cells have whole pixels; what they leave over is around the grid.

    Parameters
    ----------
    n_rows, n_cols : int
        The grid.
    size_px : pair of int
        Width and height of the display.

    Returns
    -------
    list of tuple of 4 int
        Left, top, right and bottom of every cover.

    Examples
    --------
    >>> grid_boxes(1, 2, (100, 100))
    [(3, 6, 46, 92), (53, 6, 96, 92)]
    """
    board = board_thickness(n_rows, size_px[1])
    wide, tall = size_px[0] // n_cols, size_px[1] // n_rows
    left, top = (size_px[0] - n_cols * wide) // 2, (size_px[1] - n_rows * tall) // 2
    width, height = _cover_size(wide * _FILLED, tall * _FILLED)
    boxes = []
    for row in range(n_rows):
        bottom = top + (row + 1) * tall - board
        for col in range(n_cols):
            x = left + col * wide + (wide - width) // 2
            boxes.append((x, bottom - height, x + width, bottom))
    return boxes


def free_boxes(
    rng: np.random.Generator, per_board: Sequence[int], size_px: tuple[int, int]
) -> list[Box]:
    """Place covers of varying size with varying gaps on boards of varying height.

    Drawn in this order: heights of all boards; for each board the widths, the gaps and
    the heights of its covers.

    Parameters
    ----------
    rng : numpy.random.Generator
        Stream of the shelf.
    per_board : sequence of int
        Objects on each board, from the top.
    size_px : pair of int
        Width and height of the display.

    Returns
    -------
    list of tuple of 4 int
        Left, top, right and bottom of every cover.

    Examples
    --------
    >>> len(free_boxes(np.random.default_rng(0), [3, 5], (300, 200)))
    8
    """
    board = board_thickness(len(per_board), size_px[1])
    boxes: list[Box] = []
    floor = 0.0
    for n, tall in zip(per_board, _board_heights(rng, per_board, size_px), strict=True):
        floor += tall
        bottom = math.floor(floor) - board
        widths = rng.uniform(*_WIDTHS, n).tolist()
        gaps = rng.uniform(*_GAPS, n + 1).tolist()
        heights = rng.uniform(*_COVER_HEIGHTS, n).tolist()
        unit = size_px[0] / math.fsum([*widths, *gaps])
        x = 0.0
        for width, height, gap in zip(widths, heights, gaps[:-1], strict=True):
            x += gap * unit
            left, right = math.ceil(x), math.floor(x + width * unit)
            wide, high = _cover_size(right - left, tall * _FILLED * height)
            left += (right - left - wide) // 2
            boxes.append((left, bottom - high, left + wide, bottom))
            x += width * unit
    return boxes


def group_facings(
    rng: np.random.Generator,
    per_board: Sequence[int],
    targets: Collection[int],
    facings: tuple[int, int],
) -> list[list[int]]:
    """Group neighbours on a board that show one product.

    Parameters
    ----------
    rng : numpy.random.Generator
        Stream of the shelf; one number is drawn for each group without a target.
    per_board : sequence of int
        Objects on each board, from the top.
    targets : collection of int
        Objects that stand alone.
    facings : pair of int
        Fewest and most objects of a group; fewer where a target or the end of the
        board comes first.

    Returns
    -------
    list of list of int
        Groups from the top left; every object is in one.

    Examples
    --------
    >>> group_facings(np.random.default_rng(0), [3, 4], [4], (2, 2))
    [[0, 1], [2], [3], [4], [5, 6]]
    """
    groups: list[list[int]] = []
    start = 0
    for n in per_board:
        room = 0  # for more of the product at hand
        for cell in range(start, start + n):
            if room == 0 or cell in targets:
                groups.append([])
                room = 1
                if cell not in targets:
                    room = int(rng.integers(facings[0], facings[1] + 1))
            groups[-1].append(cell)
            room -= 1
        start += n
    return groups


def choose_products(
    rng: np.random.Generator,
    groups: Sequence[Sequence[int]],
    targets: Sequence[int],
    n_products: int | None,
) -> list[int]:
    """Choose the product of every object.

    Parameters
    ----------
    rng : numpy.random.Generator
        Stream of the shelf; used if `n_products` is given.
    groups : sequence of sequence of int
        What `group_facings` returned.
    targets : sequence of int
        Objects that are searched for; their products come once.
    n_products : int or None
        Products, targets included: others come in random order, and in a new one when
        all were used. None gives each group its own.

    Returns
    -------
    list of int
        Number of the product, by object.

    Examples
    --------
    >>> choose_products(np.random.default_rng(0), [[0, 1], [2], [3]], [2], None)
    [0, 0, 1, 2]
    >>> choose_products(np.random.default_rng(0), [[0, 1], [2], [3]], [2], 2)
    [1, 1, 0, 1]
    """
    if n_products is None:
        return [number for number, group in enumerate(groups) for _ in group]
    n_targets = len(targets)
    deck: list[int] = []
    products: list[int] = []
    for group in groups:
        if group[0] in targets:
            products.append(targets.index(group[0]))
            continue
        if not deck:
            deck = [n_targets + int(p) for p in rng.permutation(n_products - n_targets)]
        products += [deck.pop()] * len(group)
    return products


def _cover_size(wide: float, tall: float) -> tuple[int, int]:
    """Largest width and height of a cover in a space, by `_ASPECTS`."""
    width = math.floor(min(wide, tall * _ASPECTS[1]))
    return width, math.floor(min(tall, width / _ASPECTS[0]))


def _board_heights(
    rng: np.random.Generator, per_board: Sequence[int], size_px: tuple[int, int]
) -> list[float]:
    shares = rng.uniform(*_BOARD_HEIGHTS, len(per_board)).tolist()
    return [size_px[1] * share / math.fsum(shares) for share in shares]
