"""Shelves of products, each searched for several targets, one at a time.

A shelf holds made-up covers (`stimuli.shelf_covers`) on boards: in a grid, or with
sizes and gaps that vary. A target stands on its shelf once; other products may have
several facings. One row of the table is one shelf with one target, and the display is a
function of its row. Rows of one shelf show the same objects: a split must keep them
together, by the column `shelf`.

Sizes, gaps and levels are choices made here. 1680 x 1050 px is the size of pictures in
common studies of search on shelves and in scenes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_columns, check_option, check_whole
from neurovis.core.object_displays import (
    Appearance,
    Display,
    FreeDisplay,
    ObjectDisplay,
)
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import spawn_for_item
from neurovis.core.types import StimulusSet, Viewing
from stimuli.shelf_covers import (
    COVER_PX,
    check_size_px,
    cover_features,
    draw_cover,
    draw_covers,
)
from stimuli.shelf_layouts import (
    SHELF_LAYOUTS,
    Box,
    board_thickness,
    check_fits,
    choose_products,
    free_boxes,
    grid_boxes,
    group_facings,
)

APPEARANCES = ("features", "pictures", None)

_NEEDED = ("stimulus_id", "layout", "width_px", "height_px", "target_cell")
_NEEDED_TO_DRAW = ("shelf_seed", "background", "board_px", "boxes", "products")

Row = Mapping[str, Any] | pd.Series
Range = int | tuple[int, int]


def make_shelves(
    n_shelves: int = 20,
    *,
    rows: Range = (3, 6),
    cols: Range = (7, 14),
    targets_per_shelf: int = 4,
    n_products: int | None = None,
    facings: Range = 1,
    layout: str = "grid",
    seed: int = 0,
    size_px: tuple[int, int] = (1680, 1050),
    px_per_deg: float = 30.0,
    background: int = 232,
) -> StimulusSet:
    """Make shelves and the targets that are searched for on them.

    Every shelf draws from its own stream, keyed by `seed` and its name, in this order:
    seed of its covers, rows, columns, sizes (free layout), order in which objects
    become targets, numbers of facings, products. So a shelf does not depend on how
    many others are made; with one facing per product and `n_products` None nor on the
    number of targets.

    Parameters
    ----------
    n_shelves : int, default 20
        Shelves, >= 1.
    rows : int or pair of int, default (3, 6)
        Boards, or the range from which their number is drawn for each shelf.
    cols : int or pair of int, default (7, 14)
        Objects on a board, or the range: drawn for each shelf, in the free layout for
        each board.
    targets_per_shelf : int, default 4
        Objects that are searched for, chosen without replacement.
    n_products : int, optional
        Products of a shelf, targets included; those that are no targets come again
        when all were used. By default there are as many as needed.
    facings : int or pair of int, default 1
        Neighbours on a board that show one product, or the range from which it is
        drawn for each; fewer where a target or the end of the board comes first.
        Targets have one.
    layout : {"grid", "free"}, default "grid"
        Equal cells, or objects of varying size with gaps of varying size on boards of
        varying height.
    seed : int, default 0
        Seed, >= 0.
    size_px : pair of int, default (1680, 1050)
        Width and height of the display.
    px_per_deg : float, default 30
        Pixels per degree.
    background : int, default 232
        Grey level of the back of the shelf, 0..255; boards are darker, or lighter if
        it is dark.

    Returns
    -------
    StimulusSet
        Displays (drawn when asked for), target pictures (the target as it is shown),
        and one row per shelf and target: `shelf`, `layout`, `target` (0..),
        `target_cell`, `rows`, `cols` (of the fullest board), `n_cells`, `n_products`
        (different ones on the shelf), `seed`, `shelf_seed`; geometry in pixels from
        the top-left corner, `target_*_px` of the target's box; `boxes` and
        `products`, JSON lists in order of the objects: row by row from the top left.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a number is out of range, a range is reversed, there are
        more targets than objects, too few products, or objects too small to draw.

    Examples
    --------
    >>> stimuli = make_shelves(2, rows=2, cols=3, targets_per_shelf=2)
    >>> stimuli.table["stimulus_id"].tolist()
    ['grid_0000_t00', 'grid_0000_t01', 'grid_0001_t00', 'grid_0001_t01']
    >>> stimuli.load(0).shape
    (1050, 1680, 3)
    """
    n_shelves = check_whole("n_shelves", n_shelves, low=1)
    row_range, col_range = _check_range("rows", rows), _check_range("cols", cols)
    n_targets = check_whole("targets_per_shelf", targets_per_shelf, low=1)
    facing_range = _check_range("facings", facings)
    check_option("layout", layout, SHELF_LAYOUTS)
    seed = check_whole("seed", seed, low=0)
    width, height = check_size_px("size_px", size_px)
    ground = check_whole("background", background, low=0, high=255)
    viewing = Viewing(float(px_per_deg), width, height, ground)
    fewest, most = row_range[0] * col_range[0], row_range[1] * col_range[1]
    if n_targets > fewest:
        raise ValueError(
            f"`targets_per_shelf` is {n_targets}, but the smallest shelf has "
            f"{row_range[0]} x {col_range[0]} objects (`rows`, `cols`). Use fewer "
            "targets or larger shelves."
        )
    if n_products is not None:
        least = n_targets + (most > n_targets)
        n_products = check_whole("n_products", n_products, low=1)
        if n_products < least:
            raise ValueError(
                f"`n_products` must be at least {least}, one for each of {n_targets} "
                f"targets and one for the other objects; got {n_products}."
            )
    check_fits(layout, row_range[1], col_range[1], (width, height))
    shared = {
        "seed": seed,
        "px_per_deg": viewing.px_per_deg,
        "width_px": width,
        "height_px": height,
        "width_deg": viewing.size_deg(width),
        "background": ground,
    }
    made = [
        row
        for k in range(n_shelves)
        for row in _shelf_rows(
            f"{layout}_{k:04d}",
            shared | {"layout": layout},
            (row_range, col_range, facing_range),
            n_targets,
            n_products,
        )
    ]
    return StimulusSet(
        "shelves",
        pd.DataFrame(made),
        viewing,
        LazyPictures(draw_shelf, made),
        LazyPictures(draw_shelf_target, made),
    )


def draw_shelf(row: Row) -> NDArray[np.uint8]:
    """Draw the shelf of one row.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_shelves`.

    Returns
    -------
    ndarray of uint8, shape (height_px, width_px, 3)
        The shelf.

    Raises
    ------
    ValueError
        If the row lacks a column.

    Examples
    --------
    >>> stimuli = make_shelves(1, rows=2, cols=3, targets_per_shelf=1)
    >>> bool((draw_shelf(stimuli.table.iloc[0]) == stimuli.load(0)).all())
    True
    """
    boxes, products = _objects(row)
    ground = int(row["background"])
    shape = (int(row["height_px"]), int(row["width_px"]), 3)
    shelf = np.full(shape, ground, np.uint8)
    step = -1 if ground >= 128 else 1
    thick = int(row["board_px"])
    for bottom in sorted({box[3] for box in boxes}):
        # Its upper face catches the light, its front does not.
        shelf[bottom : bottom + thick] = ground + step * 100
        shelf[bottom : bottom + max(1, thick // 4)] = ground + step * 50
    seed = int(row["shelf_seed"])
    for (left, top, right, bottom), product in zip(boxes, products, strict=True):
        size = (right - left, bottom - top)
        shelf[top:bottom, left:right] = draw_cover(product, seed=seed, size_px=size)
    return shelf


def draw_shelf_target(row: Row) -> NDArray[np.uint8]:
    """Draw the picture of what must be found: the target as it is on the shelf.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_shelves`.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        Its cover, without anything around it.

    Raises
    ------
    ValueError
        If the row lacks a column.

    Examples
    --------
    >>> stimuli = make_shelves(1, rows=3, cols=7, targets_per_shelf=1)
    >>> draw_shelf_target(stimuli.table.iloc[0]).shape
    (301, 206, 3)
    """
    boxes, products = _objects(row)
    cell = int(row["target_cell"])
    left, top, right, bottom = boxes[cell]
    size = (right - left, bottom - top)
    return draw_cover(products[cell], seed=int(row["shelf_seed"]), size_px=size)


def shelf_display(
    row: Row,
    *,
    appearance: str | None = "features",
    size_px: tuple[int, int] = COVER_PX,
) -> Display:
    """Return the objects of one row as models of scanpaths take them.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_shelves`.
    appearance : {"features", "pictures", None}, default "features"
        What is known of the looks of objects: `cover_features` of their pictures, the
        pictures, or nothing.
    size_px : pair of int, default (93, 150)
        Width and height of the pictures. All covers are drawn at this size, whatever
        their shape on the shelf, as if the shelf were cropped and the crops resized.

    Returns
    -------
    ObjectDisplay or FreeDisplay
        The grid with the centres of the covers, or the boxes of the covers.

    Raises
    ------
    ValueError
        If the row lacks a column or an argument is unknown.

    Examples
    --------
    >>> stimuli = make_shelves(1, rows=2, cols=3, targets_per_shelf=1)
    >>> display = shelf_display(stimuli.table.iloc[0], size_px=(10, 16))
    >>> display.n_cells, display.appearance.shape
    (6, (6, 120))
    """
    check_option("appearance", appearance, APPEARANCES)
    return _display(
        row, _appearance(row, appearance, check_size_px("size_px", size_px))
    )


def shelf_displays(
    stimuli: StimulusSet,
    *,
    appearance: str | None = "features",
    size_px: tuple[int, int] = COVER_PX,
) -> list[Display]:
    """Return the objects of every row.

    Parameters
    ----------
    stimuli : StimulusSet
        What `make_shelves` made, or a saved copy.
    appearance : {"features", "pictures", None}, default "features"
        As in `shelf_display`. Rows of one shelf share one array.
    size_px : pair of int, default (93, 150)
        Width and height of the pictures.

    Returns
    -------
    list of (ObjectDisplay or FreeDisplay)
        Displays in the order of the table.

    Raises
    ------
    ValueError
        If the table lacks a column or an argument is unknown.

    Examples
    --------
    >>> stimuli = make_shelves(1, rows=2, cols=3, targets_per_shelf=2)
    >>> one, other = shelf_displays(stimuli, size_px=(10, 16))
    >>> one.appearance is other.appearance
    True
    """
    check_option("appearance", appearance, APPEARANCES)
    size_px = check_size_px("size_px", size_px)
    check_columns("stimuli.table", stimuli.table.columns, _NEEDED + _NEEDED_TO_DRAW)
    looks: dict[tuple[int, str], Appearance | None] = {}
    displays = []
    for _, row in stimuli.table.iterrows():
        covers = (int(row["shelf_seed"]), str(row["products"]))
        if covers not in looks:
            looks[covers] = _appearance(row, appearance, size_px)
        displays.append(_display(row, looks[covers]))
    return displays


# ----------------------------------------------------------------------- displays


def _objects(row: Row) -> tuple[list[Box], list[int]]:
    check_columns("row", row.keys(), _NEEDED + _NEEDED_TO_DRAW)
    return json.loads(row["boxes"]), json.loads(row["products"])


def _appearance(
    row: Row, appearance: str | None, size_px: tuple[int, int]
) -> Appearance | None:
    if appearance is None:
        return None
    _, products = _objects(row)
    # Each product once; features of facings are copies.
    different = sorted(set(products))
    pictures = draw_covers(different, seed=int(row["shelf_seed"]), size_px=size_px)
    looks = pictures if appearance == "pictures" else cover_features(pictures)
    return looks[np.searchsorted(different, products)]


def _display(row: Row, looks: Appearance | None) -> Display:
    boxes = np.array(_objects(row)[0], np.float64)
    identity, target = str(row["stimulus_id"]), int(row["target_cell"])
    width, height = float(row["width_px"]), float(row["height_px"])
    if row["layout"] == "free":
        return FreeDisplay(identity, boxes, width, height, target, looks)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    x, y = (np.unique(centres[:, axis]) for axis in (0, 1))
    return ObjectDisplay(identity, x, y, width, height, target, looks)


# ---------------------------------------------------------------------- arguments


def _check_range(name: str, value: Any) -> tuple[int, int]:
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        low = high = check_whole(name, value, low=1)
        return low, high
    if len(value) != 2:
        raise ValueError(
            f"`{name}` must be a whole number or a pair, lowest and highest; got "
            f"{value!r}."
        )
    low, high = (check_whole(name, v, low=1) for v in value)
    if low > high:
        raise ValueError(
            f"`{name}` must run from the lowest to the highest; got {value!r}. Swap "
            "the two."
        )
    return low, high


# ------------------------------------------------------------------------- layout


def _shelf_rows(
    name: str,
    shared: Mapping[str, Any],
    ranges: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    n_targets: int,
    n_products: int | None,
) -> list[dict[str, Any]]:
    """Draw one shelf and describe it with each of its targets."""
    rng = spawn_for_item(shared["seed"], name)
    shelf_seed = int(rng.integers(2**48))
    size_px = (shared["width_px"], shared["height_px"])
    rows, cols, facings = ranges
    n_boards = int(rng.integers(rows[0], rows[1] + 1))
    in_grid = shared["layout"] == "grid"
    drawn = rng.integers(cols[0], cols[1] + 1, size=1 if in_grid else n_boards)
    per_board = [int(n) for n in drawn] * (n_boards if in_grid else 1)
    if in_grid:
        boxes = grid_boxes(n_boards, per_board[0], size_px)
    else:
        boxes = free_boxes(rng, per_board, size_px)
    targets = [int(c) for c in rng.permutation(len(boxes))[:n_targets]]
    runs = group_facings(rng, per_board, targets, facings)
    products = choose_products(rng, runs, targets, n_products)
    row = {
        "shelf": name,
        "rows": n_boards,
        "cols": max(per_board),
        "n_cells": len(boxes),
        "n_products": len(set(products)),
        **shared,
        "shelf_seed": shelf_seed,
        "board_px": board_thickness(n_boards, size_px[1]),
        "boxes": json.dumps(boxes, separators=(",", ":")),
        "products": json.dumps(products, separators=(",", ":")),
    }
    edges = ("target_left_px", "target_top_px", "target_right_px", "target_bottom_px")
    return [
        {
            "stimulus_id": f"{name}_t{t:02d}",
            "target": t,
            "target_cell": cell,
            **dict(zip(edges, boxes[cell], strict=True)),
            **row,
        }
        for t, cell in enumerate(targets)
    ]
