"""Displays for search slopes: feature, conjunction and spatial configuration search.

The three classic tasks, target present and absent, after Wolfe, Palmer and Horowitz
(2010): a red vertical bar among green verticals; the same bar among green verticals
and red horizontals; a digital 2 among digital 5s. A display is a function of its row
in the table of the set.

What is known of the geometry. Field (22.5 x 22.5 degrees), invisible 5 x 5 grid, bars
(1.0 x 3.5 degrees), digits (1.5 x 2.7 degrees) and black ground are *recalled* from
the paper and agree with a public re-implementation of the experiment; the paper's own
text was not at hand. Shift within the cell, thickness of strokes, levels of colours
and equal numbers of both distractors of a conjunction are choices made here.

References
----------
Wolfe, Palmer & Horowitz (2010). Reaction time distributions constrain models of visual
search. Vision Research 50, 1304-1311. doi:10.1016/j.visres.2009.11.002
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import spawn_for_item
from neurovis.core.types import StimulusSet, Viewing
from stimuli.search_items import Colour
from stimuli.search_layouts import PUBLISHED_PX_PER_DEG, check_colour
from stimuli.slope_items import (
    check_item_sizes,
    draw_slope_item,
    equalise_luminance,
    item_size_deg,
    parse_rgb,
    rgb_text,
)

SLOPE_TASKS = ("feature", "conjunction", "spatial_configuration")
SET_SIZES = (3, 6, 12, 18)

FIELD_DEG = 22.5
GRID = 5
BAR_DEG = (1.0, 3.5)
DIGIT_DEG = (1.5, 2.7)
STROKE_DEG = 0.3
JITTER_DEG = 0.8
TARGET_MARGIN_DEG = 0.15
"""Ground around the target in its picture, to each side of its longer extent."""

RED: Colour = (255, 0, 0)
GREEN: Colour = (0, 255, 0)
WHITE: Colour = (255, 255, 255)

# Kind of item and column of its colour.
_TARGETS = {
    "feature": ("vertical", "red_rgb"),
    "conjunction": ("vertical", "red_rgb"),
    "spatial_configuration": ("digit_2", "digit_rgb"),
}
_DISTRACTORS = {
    "feature": (("vertical", "green_rgb"),),
    "conjunction": (("vertical", "green_rgb"), ("horizontal", "red_rgb")),
    "spatial_configuration": (("digit_5", "digit_rgb"),),
}
_TARGET_PLACE = (
    "target_left_px",
    "target_top_px",
    "target_x_deg",
    "target_y_deg",
    "area_left_px",
    "area_top_px",
    "area_right_px",
    "area_bottom_px",
)

Row = Mapping[str, Any] | pd.Series


def make_slope_arrays(
    tasks: str | Sequence[str] = "all",
    *,
    set_sizes: Sequence[int] = SET_SIZES,
    trials: int = 40,
    present: bool | Sequence[bool] = (True, False),
    seed: int = 0,
    px_per_deg: float = PUBLISHED_PX_PER_DEG,
    field_deg: float = FIELD_DEG,
    grid: int = GRID,
    bar_deg: tuple[float, float] = BAR_DEG,
    digit_deg: tuple[float, float] = DIGIT_DEG,
    stroke_deg: float = STROKE_DEG,
    jitter_deg: float = JITTER_DEG,
    red: int | Colour = RED,
    green: int | Colour = GREEN,
    digit_colour: int | Colour = WHITE,
    equal_luminance: bool = False,
    background: int = 0,
) -> StimulusSet:
    """Make search displays with and without a target.

    Every display draws from its own stream, keyed by `seed` and its identity, in this
    order: cells, which item is the target (drawn but not used when absent), kinds of
    the distractors, shifts within the cells (down before right). So a display does
    not depend on what else is made.

    Parameters
    ----------
    tasks : str or sequence of str, default "all"
        Names from `SLOPE_TASKS`, or "all" for the three.
    set_sizes : sequence of int, default (3, 6, 12, 18)
        Numbers of items, target included; at most the cells of the grid.
    trials : int, default 40
        Displays per task, set size and presence.
    present : bool or sequence of bool, default (True, False)
        Displays with a target, without, or both.
    seed : int, default 0
        Seed, >= 0.
    px_per_deg : float, default 30
        Pixels per degree.
    field_deg : float, default 22.5
        Side of the square display in degrees.
    grid : int, default 5
        Cells per side; what the cells leave over is at the right and below.
    bar_deg, digit_deg : pair of float, default (1.0, 3.5) and (1.5, 2.7)
        Width and height of an upright bar and of a digit in degrees.
    stroke_deg : float, default 0.3
        Thickness of the strokes of a digit in degrees.
    jitter_deg : float, default 0.8
        Range of the random shift, centred in the cell, along both axes. The default
        keeps bars at least 0.2 degrees apart.
    red, green : int or tuple of 3 int, default (255, 0, 0) and (0, 255, 0)
        Colours of bars as sRGB levels; as they are, green has 3.4 times the luminance
        of red.
    digit_colour : int or tuple of 3 int, default white
        Colour of digits.
    equal_luminance : bool, default False
        Scale the brighter of `red` and `green` down to the luminance of the other,
        as near as 8 bits allow: (0, 148, 0) for the default green.
    background : int, default 0
        Grey level of the ground, 0..255.

    Returns
    -------
    StimulusSet
        Displays (drawn when asked for), target pictures (for all displays), and one
        row per display: `task`, `condition` ("feature_present"), `set_size`,
        `target_present` (bool), `trial`; geometry in pixels from the top-left corner;
        place of the target and `area_*_px` (its cell, where a landing counts as
        found), NaN without one; `items`, a JSON list in order of placement.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a number is out of range, items do not fit into cells,
        or an item has the colour of the ground or of the other bars.

    Examples
    --------
    >>> stimuli = make_slope_arrays("feature", set_sizes=[3], trials=1)
    >>> stimuli.table["stimulus_id"].tolist()
    ['feature_n03_present_t000', 'feature_n03_absent_t000']
    >>> stimuli.load(0).shape, stimuli.targets[0].shape
    ((675, 675, 3), (113, 113, 3))
    """
    names = _choose_tasks(tasks)
    sizes = [
        check_whole("set_sizes", v, low=1) for v in _distinct("set_sizes", set_sizes)
    ]
    trials = check_whole("trials", trials, low=1)
    present = _distinct("present", [present] if isinstance(present, bool) else present)
    for value in present:
        check_option("present", value, (True, False))
    seed = check_whole("seed", seed, low=0)
    check_between("px_per_deg", px_per_deg, low=1)
    check_between("field_deg", field_deg, low=0.1, high=180)
    grid = check_whole("grid", grid, low=1)
    if max(sizes) > grid**2:
        raise ValueError(
            f"`set_sizes` has {max(sizes)}, but a grid of {grid} x {grid} has "
            f"{grid**2} cells. Use fewer items or a larger `grid`."
        )
    ground = check_whole("background", background, low=0, high=255)
    side = math.floor(field_deg * px_per_deg + 0.5)
    viewing = Viewing(float(px_per_deg), side, side, ground)
    check_item_sizes(bar_deg, digit_deg, stroke_deg)
    check_between("jitter_deg", jitter_deg, low=0, high=180)
    inks = [check_colour("red", red), check_colour("green", green)]
    if equal_luminance:
        inks = list(equalise_luminance(*inks))
    inks.append(check_colour("digit_colour", digit_colour))
    for name, ink in zip(("red", "green", "digit_colour"), inks, strict=True):
        if ink == (ground,) * 3:
            raise ValueError(
                f"`{name}` and `background` are both {ink}: nothing would be visible. "
                "Change one."
            )
    if inks[0] == inks[1]:
        raise ValueError(f"`red` and `green` are both {inks[0]}: give two colours.")
    shared = {
        "seed": seed,
        "px_per_deg": viewing.px_per_deg,
        "width_px": side,
        "height_px": side,
        "width_deg": viewing.size_deg(side),
        "background": ground,
        "layout": "grid",
        "grid": grid,
        "cell_px": side // grid,
        "bar_width_deg": bar_deg[0],
        "bar_height_deg": bar_deg[1],
        "digit_width_deg": digit_deg[0],
        "digit_height_deg": digit_deg[1],
        "stroke_deg": stroke_deg,
        "red_rgb": rgb_text(inks[0]),
        "green_rgb": rgb_text(inks[1]),
        "digit_rgb": rgb_text(inks[2]),
    }
    shifts = {task: _largest_shift(task, shared, jitter_deg) for task in names}
    rows = [
        _trial_row(task, size, there, trial, shared, shifts[task])
        for task in names
        for size in sizes
        for there in present
        for trial in range(trials)
    ]
    return StimulusSet(
        "slope_arrays",
        pd.DataFrame(rows),
        viewing,
        LazyPictures(draw_slope_array, rows),
        LazyPictures(draw_slope_target, rows),
    )


def draw_slope_array(row: Row) -> NDArray[np.uint8]:
    """Draw the display of one row.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_slope_arrays`.

    Returns
    -------
    ndarray of uint8, shape (height_px, width_px, 3)
        The display.

    Examples
    --------
    >>> stimuli = make_slope_arrays("conjunction", set_sizes=[6], trials=1)
    >>> bool((draw_slope_array(stimuli.table.iloc[0]) == stimuli.load(0)).all())
    True
    """
    shape = (int(row["height_px"]), int(row["width_px"]), 3)
    display = np.full(shape, int(row["background"]), np.uint8)
    for item in json.loads(row["items"]):
        top, left = item["top"], item["left"]
        box = (slice(top, top + item["height"]), slice(left, left + item["width"]))
        display[box] = _draw(row, item["kind"], item["rgb"], display[box])
    return display


def draw_slope_target(row: Row) -> NDArray[np.uint8]:
    """Draw the picture of what must be found: the target in the middle of a square.

    A margin of `TARGET_MARGIN_DEG` shows where the target ends, as in the pictures of
    the search-asymmetry experiments.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_slope_arrays`.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        The target on the ground; the side is its longer extent and two margins. As
        in a display, its box starts at a whole pixel.

    Examples
    --------
    >>> stimuli = make_slope_arrays("spatial_configuration", set_sizes=[3], trials=1)
    >>> draw_slope_target(stimuli.table.iloc[0]).shape
    (89, 89, 3)
    """
    height, width = int(row["target_height_px"]), int(row["target_width_px"])
    margin = math.floor(float(row["px_per_deg"]) * TARGET_MARGIN_DEG)
    side = max(height, width) + 2 * margin
    picture = np.full((side, side, 3), int(row["background"]), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    box = (slice(top, top + height), slice(left, left + width))
    picture[box] = _draw(row, row["target_kind"], row["target_rgb"], picture[box])
    return picture


def item_areas(row: Row) -> NDArray[np.bool_]:
    """Return the cells that hold items.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_slope_arrays`.

    Returns
    -------
    ndarray of bool, shape (set_size, height_px, width_px)
        The cell of every item, in order of placement; empty cells are left out, so
        that an observer who inspects one area per fixation makes at most `set_size`.

    Examples
    --------
    >>> stimuli = make_slope_arrays("feature", set_sizes=[3], trials=1)
    >>> item_areas(stimuli.table.iloc[0]).sum(axis=(1, 2)).tolist()
    [18225, 18225, 18225]
    """
    items = json.loads(row["items"])
    cell = int(row["cell_px"])
    shape = (len(items), int(row["height_px"]), int(row["width_px"]))
    areas = np.zeros(shape, np.bool_)
    for area, item in zip(areas, items, strict=True):
        top, left = item["row"] * cell, item["column"] * cell
        area[top : top + cell, left : left + cell] = True
    return areas


def target_area(row: Row) -> NDArray[np.bool_]:
    """Return where a landing counts as found: the target's cell.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_slope_arrays`.

    Returns
    -------
    ndarray of bool, shape (height_px, width_px)
        True where found; nowhere when there is no target.

    Examples
    --------
    >>> stimuli = make_slope_arrays("feature", set_sizes=[3], trials=1)
    >>> [int(target_area(row).sum()) for _, row in stimuli.table.iterrows()]
    [18225, 0]
    """
    area = np.zeros((int(row["height_px"]), int(row["width_px"])), np.bool_)
    if row["target_present"]:
        rows = slice(int(row["area_top_px"]), int(row["area_bottom_px"]))
        area[rows, int(row["area_left_px"]) : int(row["area_right_px"])] = True
    return area


# --------------------------------------------------------------------- arguments


def _choose_tasks(tasks: str | Sequence[str]) -> list[str]:
    if isinstance(tasks, str):
        tasks = SLOPE_TASKS if tasks == "all" else [tasks]
    names = _distinct("tasks", tasks)
    for name in names:
        check_option("tasks", name, SLOPE_TASKS)
    return names


def _distinct(name: str, values: Any) -> list[Any]:
    """Return a sequence as a list; raise when it is empty or repeats a value."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise TypeError(f"`{name}` must be a sequence; got {values!r}.")
    found = list(values)
    if not found or len(set(found)) != len(found):
        raise ValueError(
            f"`{name}` must name at least one value and none twice; got {found}."
        )
    return found


def _largest_shift(task: str, shared: Mapping[str, Any], jitter_deg: float) -> int:
    """Largest shift from the middle of the cell in pixels, to each side."""
    scale = shared["px_per_deg"]
    shift = math.floor(jitter_deg * scale / 2 + 1e-6)
    kinds = [kind for kind, _ in (_TARGETS[task], *_DISTRACTORS[task])]
    longest = max(max(_box_px(kind, shared)) for kind in kinds)
    if longest < 2 or (shared["cell_px"] - longest) // 2 < shift:
        raise ValueError(
            f"Cells of {shared['cell_px'] / scale:.3g} deg (`field_deg` / `grid`) do "
            f"not hold {task} items of {longest / scale:.3g} deg with a jitter of "
            f"{jitter_deg:.3g} deg. Use a larger `field_deg`, or a smaller `grid`, "
            "`jitter_deg`, `bar_deg` or `digit_deg`."
        )
    return shift


# ------------------------------------------------------------------------ trials


def _size_deg(kind: str, row: Row) -> tuple[float, float]:
    bar = (float(row["bar_width_deg"]), float(row["bar_height_deg"]))
    digit = (float(row["digit_width_deg"]), float(row["digit_height_deg"]))
    return item_size_deg(kind, bar, digit)


def _box_px(kind: str, row: Row) -> tuple[int, int]:
    """Height and width of the box of an item in whole pixels, rounded up."""
    width, height = _size_deg(kind, row)
    scale = float(row["px_per_deg"])
    # The tolerance keeps 105.0000001 px at 105.
    return math.ceil(height * scale - 1e-6), math.ceil(width * scale - 1e-6)


def _trial_row(
    task: str,
    set_size: int,
    present: bool,
    trial: int,
    shared: Mapping[str, Any],
    largest_shift: int,
) -> dict[str, Any]:
    """Draw the layout of one display and describe it as a row of the table."""
    presence = "present" if present else "absent"
    identity = f"{task}_n{set_size:02d}_{presence}_t{trial:03d}"
    rng = spawn_for_item(shared["seed"], identity)
    grid, cell = shared["grid"], shared["cell_px"]
    cells = rng.choice(grid**2, size=set_size, replace=False)
    target = int(rng.integers(set_size))
    looks = _looks(task, set_size, target if present else None, rng)
    shifts = rng.integers(-largest_shift, largest_shift + 1, size=(set_size, 2))
    items = []
    for i, (kind, ink) in enumerate(looks):
        height, width = _box_px(kind, shared)
        row, column = divmod(int(cells[i]), grid)
        down, right = (int(s) for s in shifts[i])
        items.append(
            {
                "kind": kind,
                "rgb": shared[ink],
                "row": row,
                "column": column,
                "left": column * cell + (cell - width) // 2 + right,
                "top": row * cell + (cell - height) // 2 + down,
                "width": width,
                "height": height,
                "role": "target" if present and i == target else "distractor",
            }
        )
    kind, ink = _TARGETS[task]
    height, width = _box_px(kind, shared)
    place = dict.fromkeys(_TARGET_PLACE, math.nan)
    if present:
        item = items[target]
        left, top = item["column"] * cell, item["row"] * cell
        viewing = Viewing(shared["px_per_deg"], shared["width_px"], shared["height_px"])
        centre = viewing.to_deg(item["left"] + width / 2, item["top"] + height / 2)
        edges = (left, top, left + cell, top + cell)
        numbers = map(float, (item["left"], item["top"], *centre, *edges))
        place = dict(zip(_TARGET_PLACE, numbers, strict=True))
    return {
        "stimulus_id": identity,
        "task": task,
        "condition": f"{task}_{presence}",
        "set_size": set_size,
        "target_present": present,
        "trial": trial,
        **shared,
        "target_kind": kind,
        "target_rgb": shared[ink],
        "target_width_px": width,
        "target_height_px": height,
        **place,
        "items": json.dumps(items, separators=(",", ":")),
    }


def _looks(
    task: str, set_size: int, target: int | None, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Kind and column of the colour of each item in order of placement."""
    n = set_size - (target is not None)
    kinds = _DISTRACTORS[task]
    # Equal numbers of both kinds; which has one more when n is odd is drawn.
    first = n if len(kinds) == 1 else n // 2 + (n % 2) * int(rng.integers(2))
    ordered = [kinds[0]] * first + [kinds[-1]] * (n - first)
    looks = [ordered[i] for i in rng.permutation(n)]
    if target is not None:
        looks.insert(target, _TARGETS[task])
    return looks


def _draw(
    row: Row, kind: str, rgb: str, ground: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    return draw_slope_item(
        ground,
        kind,
        _size_deg(kind, row),
        parse_rgb(rgb),
        px_per_deg=float(row["px_per_deg"]),
        stroke_deg=float(row["stroke_deg"]),
    )
