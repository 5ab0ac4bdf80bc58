"""Search displays with items of many kinds, on a grid, a ring, or at random places.

Six classic searches, target present and absent: a bar of another colour ("feature"),
a bar that differs from each distractor in colour or orientation ("conjunction"), a T
among Ls ("TvsL"), a tilted Gabor patch ("gabor_tilt"), a 2 among 5s ("2vs5") and a Q
among Os ("QvsO"). The published displays of Wolfe, Palmer and Horowitz are in
`stimuli.slope_arrays`; here sizes, numbers, layouts and colours are free.

What people do, recalled: 3 ms per item with a target and 25 without for colours, 29
and 67 for conjunctions (Treisman and Gelade 1980), about 20 to 25 and 40 to 60 for a T
among Ls (Wolfe 1998).

References
----------
Treisman and Gelade (1980). Cognitive Psychology 12, 97-136.
doi:10.1016/0010-0285(80)90005-5. Wolfe (1998). Psychological Science 9, 33-39.
doi:10.1111/1467-9280.00006
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.canvas import cos_sin
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    Display,
    FloatArray,
    display_set,
    ground,
    lay,
    pixel_centres,
    to_8_bit,
)
from stimuli.glyphs import glyph_outlines, union_coverage
from stimuli.item_layouts import LAYOUTS, place_items
from stimuli.outlines import rectangle, turn
from stimuli.search_items import Colour
from stimuli.slope_items import equalise_luminance, parse_rgb, rgb_text

SEARCHES = ("feature", "conjunction", "TvsL", "gabor_tilt", "2vs5", "QvsO")
SET_SIZES = (1, 4, 8, 16, 24, 32)

BAR_DEG = (0.25, 1.0)
"""Width and height of an upright bar."""

ITEM_DEG = 1.0
"""Height of letters and digits, and length of the strokes of T and L."""

STROKE_DEG = 0.2
GABOR_SD_DEG = 0.18
GABOR_CYCLES_PER_DEG = 4.0

RED: Colour = (255, 120, 120)
GREEN: Colour = (0, 255, 0)
"""Brighter than red; made equal in luminance, (0, 189, 0)."""

TARGET_MARGIN_DEG = 0.1
"""Ground around the target in its picture."""

_REACH_DEG = {"gabor_tilt": 3 * GABOR_SD_DEG}
_LETTERS = {"2vs5": ("2", "5"), "QvsO": ("Q", "O")}

Row = Mapping[str, Any] | pd.Series


def draw_item_array(row: Row) -> Display:
    """Draw the display of one row.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_item_arrays`.

    Returns
    -------
    Display
        Red, green and blue. Masks "item_00", "item_01" ... in the order of `items`
        (pixels covered by half or more; of a Gabor patch all of it), and "target"
        where there is one; geometry `items`.

    Examples
    --------
    >>> stimuli = make_item_arrays("TvsL", set_sizes=[4], trials=1)
    >>> sorted(draw_item_array(stimuli.table.iloc[0]).masks)
    ['item_00', 'item_01', 'item_02', 'item_03', 'target']
    """
    scale = float(row["px_per_deg"])
    background = float(row["background"])
    image = ground(float(row["size_deg"]), scale, (background,) * 3)
    items = json.loads(row["items"])
    masks: dict[str, NDArray[np.bool_]] = {}
    for i, item in enumerate(items):
        mask = _draw_item(image, item, scale, background)
        masks[f"item_{i:02d}"] = mask
        if item["role"] == "target":
            masks["target"] = mask
    return Display(image, scale, {"items": items}, masks)


def draw_item_target(row: Row) -> NDArray[np.uint8]:
    """Draw the picture of what must be found: the target in the middle of a square.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_item_arrays`.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        The target, in the orientation that the row tells, with `TARGET_MARGIN_DEG`
        of ground around its longer extent.
    """
    scale = float(row["px_per_deg"])
    background = float(row["background"])
    side = 2 * (float(row["item_reach_deg"]) + TARGET_MARGIN_DEG)
    image = ground(math.ceil(side * scale) / scale, scale, (background,) * 3)
    _draw_item(image, json.loads(row["target_item"]), scale, background)
    return to_8_bit(image)


def make_item_arrays(
    searches: str | Sequence[str] = "all",
    *,
    set_sizes: Sequence[int] = (4, 8, 16),
    trials: int = 2,
    present: Sequence[bool] = (True, False),
    layout: str = "grid",
    size_deg: float = 12.0,
    cell_deg: float = 2.0,
    jitter_deg: float = 0.4,
    ring_radius_deg: float = 4.5,
    min_spacing_deg: float = 1.5,
    junction_offset: float = 0.15,
    tilt_deg: float = 15.0,
    red: Colour = RED,
    green: Colour = GREEN,
    equal_luminance: bool = True,
    letter_luminance: float = 0.0,
    gabor_contrast: float = 0.8,
    background: float = GREY,
    seed: int = 0,
    px_per_deg: float = PX_PER_DEG,
) -> StimulusSet:
    """Make search displays with and without a target.

    A display depends on its identity and `seed` only, not on what else is made.

    Parameters
    ----------
    searches : str or sequence of str, default "all"
        Of `SEARCHES`.
    set_sizes : sequence of int, default (4, 8, 16)
        Numbers of items, target included.
    trials : int, default 2
        Displays per search, set size and presence.
    present : sequence of bool, default (True, False)
        Displays with a target, without, or both.
    layout : {"grid", "ring", "random"}
        Cells of a grid with a random shift, equal steps on a ring from a random
        angle, or random places.
    size_deg : float, default 12
        Side of the display.
    cell_deg, jitter_deg : float, default 2 and 0.4
        Side of a cell of the grid and largest shift along both axes.
    ring_radius_deg : float, default 4.5
        Radius of the ring.
    min_spacing_deg : float, default 1.5
        Least distance of the centres of items on a ring or at random.
    junction_offset : float, default 0.15
        Distance of the stem of an L from the end of its bar, both at the middle of
        the line, in parts of the bar, 0.1 (flush) to 0.4; larger is harder.
    tilt_deg : float, default 15
        Orientation of the target among upright Gabor patches, degrees
        counter-clockwise.
    red, green : tuple of 3 int
        Colours of bars as sRGB levels.
    equal_luminance : bool, default True
        Scale the brighter of the two down to the luminance of the other, as near as
        8 bits allow.
    letter_luminance : float, default 0
        Of letters and digits, 0..1.
    gabor_contrast : float, default 0.8
        Michelson contrast of Gabor patches.
    background : float, default 0.5
        Of the ground, 0..1.
    seed : int, default 0
        Seed, >= 0.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    StimulusSet
        Displays, target pictures, and one row per display: `task` (the search),
        `condition`, `set_size`, `target_present`, `trial`; `items`, a JSON list with
        place, look, role and box in pixels of each; `target_x_deg`, `target_y_deg`
        and `target_*_px` (its box), NaN without one; colours and sizes.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a number is out of range, or items do not fit.

    Examples
    --------
    >>> stimuli = make_item_arrays("feature", set_sizes=[4], trials=1)
    >>> stimuli.table["stimulus_id"].tolist()
    ['feature_grid_n04_present_t000', 'feature_grid_n04_absent_t000']
    >>> stimuli.load(0).shape, stimuli.targets[0].shape
    ((384, 384, 3), (39, 39, 3))
    """
    names = (
        list(SEARCHES)
        if isinstance(searches, str) and searches == "all"
        else ([searches] if isinstance(searches, str) else list(searches))
    )
    for name in names:
        check_option("searches", name, SEARCHES)
    sizes = [check_whole("set_sizes", v, low=1) for v in set_sizes]
    trials = check_whole("trials", trials, low=1)
    for there in present:
        check_option("present", there, (True, False))
    check_option("layout", layout, LAYOUTS)
    seed = check_whole("seed", seed, low=0)
    check_between("junction_offset", junction_offset, low=0.1, high=0.4)
    check_between("tilt_deg", tilt_deg, low=-90, high=90)
    check_between("letter_luminance", letter_luminance, low=0, high=1)
    check_between("gabor_contrast", gabor_contrast, low=0, high=1)
    check_between("background", background, low=0, high=1)
    colours = equalise_luminance(red, green) if equal_luminance else (red, green)
    shared = {
        "junction_offset": junction_offset,
        "tilt_deg": tilt_deg,
        "red_rgb": rgb_text(colours[0]),
        "green_rgb": rgb_text(colours[1]),
        "letter_luminance": letter_luminance,
        "gabor_contrast": gabor_contrast,
        "background": background,
        "size_deg": size_deg,
        "px_per_deg": px_per_deg,
        "seed": seed,
    }
    where = {
        "layout": layout,
        "size_deg": size_deg,
        "cell_deg": cell_deg,
        "jitter_deg": jitter_deg,
        "ring_radius_deg": ring_radius_deg,
        "min_spacing_deg": min_spacing_deg,
    }
    rows = [
        _trial_row(name, size, there, trial, shared, where)
        for name, size, there, trial in itertools.product(
            names, sizes, present, range(trials)
        )
    ]
    stimuli = display_set(
        "item_arrays",
        pd.DataFrame(rows),
        draw_item_array,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
        background=background,
    )
    return replace(stimuli, targets=LazyPictures(draw_item_target, rows))


def item_areas(row: Row) -> NDArray[np.bool_]:
    """Return where a look counts as a look at each item.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_item_arrays`.

    Returns
    -------
    ndarray of bool, shape (set_size, H, W)
        The box of every item, in the order of `items`.

    Examples
    --------
    >>> stimuli = make_item_arrays("QvsO", set_sizes=[4], trials=1)
    >>> item_areas(stimuli.table.iloc[0]).shape
    (4, 384, 384)
    """
    items = json.loads(row["items"])
    side = round(float(row["size_deg"]) * float(row["px_per_deg"]))
    areas = np.zeros((len(items), side, side), np.bool_)
    for area, item in zip(areas, items, strict=True):
        left, top, right, bottom = item["box_px"]
        area[top:bottom, left:right] = True
    return areas


def target_area(row: Row) -> NDArray[np.bool_]:
    """Return where a landing counts as found.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_item_arrays`.

    Returns
    -------
    ndarray of bool, shape (H, W)
        The area of the target; nowhere when there is none.
    """
    roles = [item["role"] == "target" for item in json.loads(row["items"])]
    return np.asarray(item_areas(row)[roles].any(axis=0))


# ------------------------------------------------------------------------- trials


def _trial_row(
    search: str,
    set_size: int,
    present: bool,
    trial: int,
    shared: Mapping[str, Any],
    where: Mapping[str, Any],
) -> dict[str, Any]:
    presence = "present" if present else "absent"
    layout = where["layout"]
    identity = f"{search}_{layout}_n{set_size:02d}_{presence}_t{trial:03d}"
    rng = generator(shared["seed"], "item-arrays", identity)
    reach = _REACH_DEG.get(search, ITEM_DEG / 2)
    places = place_items(
        set_size,
        reach_deg=reach,
        round_items=search == "gabor_tilt",
        rng=rng,
        **where,
    )
    target = _target(search, shared, rng)
    distractors = [_distractor(search, i, shared, rng) for i in range(set_size)]
    at = int(rng.integers(set_size))
    # Both kinds of distractors are as many; which one is one more is drawn.
    order = rng.permutation(set_size)
    scale, side = shared["px_per_deg"], shared["size_deg"]
    items = []
    for i, (x, y) in enumerate(places):
        is_target = present and i == at
        look = target if is_target else distractors[int(order[i])]
        middle = (x + side / 2, side / 2 - y)
        starts = [math.floor((v - reach) * scale + 0.5) for v in middle]
        extent = math.floor(2 * reach * scale + 0.5)
        box = [*starts, *(start + extent for start in starts)]
        role = "target" if is_target else "distractor"
        items.append({**look, "x_deg": x, "y_deg": y, "box_px": box, "role": role})
    found = items[at] if present else {}
    edges = found.get("box_px", [math.nan] * 4)
    names = ("left", "top", "right", "bottom")
    return {
        "stimulus_id": identity,
        "task": search,
        "condition": f"{search}_{presence}",
        "set_size": set_size,
        "target_present": present,
        "trial": trial,
        "target_x_deg": found.get("x_deg", math.nan),
        "target_y_deg": found.get("y_deg", math.nan),
        **{f"target_{n}_px": float(v) for n, v in zip(names, edges, strict=True)},
        "item_reach_deg": reach,
        "target_item": json.dumps({**target, "x_deg": 0.0, "y_deg": 0.0}),
        "items": json.dumps(items),
        **where,
        **shared,
    }


def _target(
    search: str, shared: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """Return the look of a target."""
    letter = {"luminance": shared["letter_luminance"]}
    if search in ("feature", "conjunction"):
        return {"kind": "bar", "angle_deg": 0.0, "rgb": shared["red_rgb"]}
    if search == "TvsL":
        return {"kind": "T", "angle_deg": 90.0 * rng.integers(4), **letter}
    if search == "gabor_tilt":
        return _gabor(shared, shared["tilt_deg"])
    return {"kind": _LETTERS[search][0], "angle_deg": 0.0, **letter}


def _distractor(
    search: str, number: int, shared: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """Return the look of a distractor; in conjunctions every second one is red."""
    letter = {"luminance": shared["letter_luminance"]}
    if search == "feature" or (search == "conjunction" and number % 2 == 0):
        return {"kind": "bar", "angle_deg": 0.0, "rgb": shared["green_rgb"]}
    if search == "conjunction":
        return {"kind": "bar", "angle_deg": 90.0, "rgb": shared["red_rgb"]}
    if search == "TvsL":
        look = {"kind": "L", "angle_deg": 90.0 * rng.integers(4), **letter}
        return {**look, "offset": shared["junction_offset"]}
    if search == "gabor_tilt":
        return _gabor(shared, 0.0)
    return {"kind": _LETTERS[search][1], "angle_deg": 0.0, **letter}


def _gabor(shared: Mapping[str, Any], angle_deg: float) -> dict[str, Any]:
    contrast = shared["gabor_contrast"]
    return {"kind": "gabor", "angle_deg": angle_deg, "contrast": contrast}


# ------------------------------------------------------------------------ drawing


def _draw_item(
    image: FloatArray, item: Mapping[str, Any], scale: float, background: float
) -> NDArray[np.bool_]:
    """Draw an item and return where it is."""
    # Drawn in a window of whole pixels that holds it.
    limits = np.array([image.shape[1], image.shape[0]])
    centre = np.array([item["x_deg"], -item["y_deg"]]) * scale + limits / 2
    reach = (ITEM_DEG / 2 + TARGET_MARGIN_DEG) * math.sqrt(2) * scale + 1
    low = np.clip(np.floor(centre - reach), 0, limits).astype(int)
    high = np.clip(np.ceil(centre + reach), 0, limits).astype(int)
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    x, y = (centre - (low + high) / 2) / scale * (1, -1)
    mask = np.zeros(image.shape[:2], np.bool_)
    if item["kind"] == "gabor":
        add = _gabor_patch(image[window].shape, item, float(x), float(y), scale)
        image[window] += background * add[..., None]
        mask[window] = add != 0
        return mask
    outlines = _item_outlines(item, float(x), float(y))
    cover = union_coverage(outlines, image[window].shape, scale)
    bar = item["kind"] == "bar"
    ink = np.array(parse_rgb(item["rgb"])) / 255 if bar else item["luminance"]
    lay(image[window], cover, ink)
    mask[window] = cover >= 0.5
    return mask


def _item_outlines(item: Mapping[str, Any], x: float, y: float) -> list[FloatArray]:
    kind, angle = item["kind"], item["angle_deg"]
    if kind == "bar":
        return [rectangle(*BAR_DEG, x_deg=x, y_deg=y, angle_deg=angle)]
    if kind in ("T", "L"):
        upright = _junction(kind, item.get("offset", 0.0))
        return [turn(outline, angle) + np.array([x, y]) for outline in upright]
    return glyph_outlines(kind, ITEM_DEG, x_deg=x, y_deg=y, angle_deg=angle)


def _junction(kind: str, offset: float) -> list[FloatArray]:
    """Return an upright T, or an L whose stem stands `offset` from the end."""
    half, stem = (ITEM_DEG - STROKE_DEG) / 2, ITEM_DEG - STROKE_DEG
    bar = rectangle(ITEM_DEG, STROKE_DEG, y_deg=half if kind == "T" else -half)
    x = 0.0 if kind == "T" else (offset - 0.5) * ITEM_DEG
    y = -STROKE_DEG / 2 if kind == "T" else STROKE_DEG / 2
    return [bar, rectangle(STROKE_DEG, stem, x_deg=x, y_deg=y)]


def _gabor_patch(
    shape: tuple[int, ...],
    item: Mapping[str, Any],
    left: float,
    up: float,
    scale: float,
) -> FloatArray:
    """Return the contrast of a patch, cut off at three standard deviations."""
    x, y = pixel_centres(shape, scale)
    dx, dy = x - left, y - up
    cos, sin = cos_sin(item["angle_deg"])
    wave = np.cos(2 * math.pi * GABOR_CYCLES_PER_DEG * (dx * cos + dy * sin))
    square = dx**2 + dy**2
    inside = square <= (3 * GABOR_SD_DEG) ** 2
    window = np.exp(-square / (2 * GABOR_SD_DEG**2)) * inside
    return np.asarray(item["contrast"] * window * wave)
