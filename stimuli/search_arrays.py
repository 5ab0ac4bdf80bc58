"""Search-asymmetry displays: six experiments, twelve conditions.

The displays follow the generator that was published with eccNET. A display is a
function of its row in the table of the set: the layout (where items stand) is drawn
at random once, and the rendering (how they are drawn) does not change it.

References
----------
Gupta, Zhang, Wu, Wolfe & Kreiman (2021), Visual search asymmetry: deep nets and humans
share similar inherent biases, NeurIPS 34, arXiv:2106.02953.
"""

import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.search_conditions import SEARCH_CONDITIONS, SearchCondition
from stimuli.search_items import ITEM_PX, RENDERINGS, Colour, draw_item
from stimuli.search_layouts import (
    PUBLISHED_PX_PER_DEG,
    SearchLayout,
    plan_layout,
)

__all__ = [
    "SEARCH_CONDITIONS",
    "SearchCondition",
    "draw_search_array",
    "draw_target",
    "item_areas",
    "make_search_arrays",
    "target_area",
]

JPEG_QUALITY = 95

Row = Mapping[str, Any] | pd.Series


def make_search_arrays(
    conditions: str | Sequence[str] = "all",
    *,
    set_sizes: Sequence[int] | None = None,
    trials: int | None = None,
    seed: int = 0,
    rendering: str = "published",
    jpeg: bool = False,
    px_per_deg: float = PUBLISHED_PX_PER_DEG,
    view_deg: float | None = None,
    grid: int | None = None,
    item_deg: float | None = None,
    eccentricity_deg: float | None = None,
    jitter_deg: float | None = None,
    foreground: int | Colour | None = None,
    background: int | Colour | None = None,
) -> StimulusSet:
    """Make search displays, each with exactly one target.

    Every trial draws from its own stream, keyed by `seed`, condition, set size and
    trial, in this order: cells (or rotation of the ring), which item is the target,
    versions of the items, jitter of the items (row before column). So a trial does
    not depend on what else is made, nor on the rendering.

    Parameters
    ----------
    conditions : str or sequence of str, default "all"
        Names from `SEARCH_CONDITIONS`, or "all" for the twelve.
    set_sizes : sequence of int, optional
        Numbers of items, target included; the published ones by default.
    trials : int, optional
        Trials per set size; the published number by default.
    seed : int, default 0
        Seed, >= 0.
    rendering : {"published", "smooth"}, default "published"
        "published": the raster of the published generator, pixel for pixel, at 30
        pixels per degree. "smooth": the same shapes anti-aliased. Only "smooth"
        takes the options below `jpeg`.
    jpeg : bool, default False
        Send display and target picture through grey JPEG of quality 95, as the
        published files were.
    px_per_deg : float, default 30
        Pixels per degree.
    view_deg : float, optional
        Side of the square display in degrees.
    grid : int, optional
        Cells per side of the display.
    item_deg : float, optional
        Side of the square box of an item in degrees; the item scales with it.
        Published: bar 2.3, curve and line 1.6, strokes 5.9, disk 31/30.
    eccentricity_deg : float, optional
        Put the items on a circle of this radius around the centre, at equal steps
        from a random angle, instead of on a grid.
    jitter_deg : float, optional
        On a grid: range of the random shift, centred in the cell; the published one,
        as far as the cell has room, by default. On a ring: largest shift to each
        side, 0 by default.
    foreground, background : int or tuple of 3 int, optional
        Colours of items and ground, grey or RGB levels 0..255. Shaded disks run from
        black to `foreground`.

    Returns
    -------
    StimulusSet
        Displays (drawn when asked for), targets, and one row per display: condition
        and set size; geometry in pixels from the top-left corner and in degrees from
        the centre, y up; `area_*_px`, where a landing counts as found; `items`, a
        JSON list of all items in order of placement. `background` is a grey level
        (the luma of a coloured ground). Undefined is NaN.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a number is out of range, items do not fit, or an
        option does not go with the published rendering.

    Notes
    -----
    Items never overlap or leave the display: on a grid the box and its shift stay
    within the cell, on a ring the layout is refused when boxes could touch.

    Examples
    --------
    >>> stimuli = make_search_arrays("cross", set_sizes=[3], trials=2)
    >>> stimuli.table["stimulus_id"].tolist()
    ['cross_n03_t000', 'cross_n03_t001']
    >>> stimuli.load(0).shape
    (615, 615, 3)
    """
    chosen = _choose_conditions(conditions)
    check_option("rendering", rendering, RENDERINGS)
    check_between("px_per_deg", px_per_deg, low=1)
    seed = check_whole("seed", seed, low=0)
    if trials is not None:
        trials = check_whole("trials", trials, low=1)
    sizes = None if set_sizes is None else _check_set_sizes(set_sizes)
    free: dict[str, Any] = {
        "view_deg": view_deg,
        "grid": grid,
        "item_deg": item_deg,
        "eccentricity_deg": eccentricity_deg,
        "jitter_deg": jitter_deg,
        "foreground": foreground,
        "background": background,
    }
    if rendering == "published":
        given = [f"`{name}`" for name, value in free.items() if value is not None]
        given += ["`px_per_deg`"] * (px_per_deg != PUBLISHED_PX_PER_DEG)
        if given:
            raise ValueError(
                f"The published displays have a fixed {', '.join(given)}. Use "
                "`rendering='smooth'` to change it."
            )

    layouts = [plan_layout(c, float(px_per_deg), **free) for c in chosen]
    if jpeg and any(layout.has_colour for layout in layouts):
        raise ValueError(
            "`jpeg=True` makes grey pictures; choose a grey `foreground` and "
            "`background`, or `jpeg=False`."
        )
    rows = []
    for condition, layout in zip(chosen, layouts, strict=True):
        for set_size in condition.set_sizes if sizes is None else sizes:
            layout.check_set_size(set_size)
            rows += [
                _trial_row(condition, layout, set_size, trial, seed, rendering, jpeg)
                for trial in range(condition.trials if trials is None else trials)
            ]
    return StimulusSet(
        f"search_arrays_{rendering}",
        pd.DataFrame(rows),
        max((layout.viewing for layout in layouts), key=lambda v: v.width_px),
        LazyPictures(draw_search_array, rows),
        LazyPictures(draw_target, rows),
    )


def draw_search_array(row: Row) -> NDArray[np.uint8]:
    """Draw the display of one row.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_search_arrays`.

    Returns
    -------
    ndarray of uint8, shape (height_px, width_px, 3)
        The display.

    Examples
    --------
    >>> stimuli = make_search_arrays("top_down", set_sizes=[6], trials=1)
    >>> bool((draw_search_array(stimuli.table.iloc[0]) == stimuli.load(0)).all())
    True
    """
    ground = np.array(_parse_colour(row["background_rgb"]), np.uint8)
    shape = (int(row["height_px"]), int(row["width_px"]), 3)
    display = np.broadcast_to(ground, shape).copy()
    for item in json.loads(row["items"]):
        top, left = item["top"], item["left"]
        box = (slice(top, top + item["height"]), slice(left, left + item["width"]))
        display[box] = _draw_item(row, item["kind"], item["version"])
    return _grey_jpeg(display) if row["jpeg"] else display


def draw_target(row: Row) -> NDArray[np.uint8]:
    """Draw the target picture of one row: the target alone on its box.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_search_arrays`.

    Returns
    -------
    ndarray of uint8, shape (target_height_px, target_width_px, 3)
        The target.

    Examples
    --------
    >>> stimuli = make_search_arrays("Ls", set_sizes=[3], trials=1)
    >>> draw_target(stimuli.table.iloc[0]).shape
    (177, 177, 3)
    """
    target = _draw_item(row, row["target_kind"], int(row["target_version"]))
    return _grey_jpeg(target) if row["jpeg"] else target


def item_areas(row: Row) -> NDArray[np.bool_]:
    """Return the areas that belong to items.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_search_arrays`.

    Returns
    -------
    ndarray of bool, shape (n_areas, height_px, width_px)
        On a grid every cell, occupied or not, row by row; on a ring the box of every
        item in order of placement.

    Examples
    --------
    >>> stimuli = make_search_arrays("curve_in_lines", set_sizes=[8], trials=1)
    >>> item_areas(stimuli.table.iloc[0]).sum(axis=(1, 2))[:3].tolist()
    [3136, 3136, 3136]
    """
    if row["layout"] == "grid":
        grid, cell = int(row["grid"]), int(row["cell_px"])
        corners = [(r * cell, c * cell) for r in range(grid) for c in range(grid)]
        sides = [(cell, cell)] * len(corners)
    else:
        items = json.loads(row["items"])
        corners = [(item["top"], item["left"]) for item in items]
        sides = [(item["height"], item["width"]) for item in items]
    shape = (int(row["height_px"]), int(row["width_px"]))
    areas = np.zeros((len(corners), *shape), np.bool_)
    for area, (top, left), (height, width) in zip(areas, corners, sides, strict=True):
        area[top : top + height, left : left + width] = True
    return areas


def target_area(row: Row) -> NDArray[np.bool_]:
    """Return where a landing counts as found.

    On a grid it is the target's cell. For the direction of lighting it is, as in the
    published files, a square of the size of a cell that starts at the jittered
    *item*: it reaches into neighbouring cells. On a ring it is the target's box.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_search_arrays`.

    Returns
    -------
    ndarray of bool, shape (height_px, width_px)
        True where found.

    Examples
    --------
    >>> stimuli = make_search_arrays("curve_in_lines", set_sizes=[8], trials=1)
    >>> int(target_area(stimuli.table.iloc[0]).sum())
    3136
    """
    area = np.zeros((int(row["height_px"]), int(row["width_px"])), np.bool_)
    rows = slice(int(row["area_top_px"]), int(row["area_bottom_px"]))
    area[rows, int(row["area_left_px"]) : int(row["area_right_px"])] = True
    return area


# --------------------------------------------------------------------- arguments


def _choose_conditions(conditions: str | Sequence[str]) -> list[SearchCondition]:
    if conditions == "all":
        return list(SEARCH_CONDITIONS.values())
    names = [conditions] if isinstance(conditions, str) else list(conditions)
    if not names:
        raise ValueError("`conditions` is empty: name at least one, or use 'all'.")
    for name in names:
        check_option("conditions", name, tuple(SEARCH_CONDITIONS))
        if names.count(name) > 1:
            raise ValueError(f"`conditions` names {name!r} more than once.")
    return [SEARCH_CONDITIONS[name] for name in names]


def _check_set_sizes(set_sizes: Sequence[int]) -> list[int]:
    if isinstance(set_sizes, str) or not isinstance(set_sizes, Sequence | np.ndarray):
        raise TypeError(
            f"`set_sizes` must be a sequence such as [8, 16]; got {set_sizes!r}."
        )
    sizes = [check_whole("set_sizes", size, low=1) for size in set_sizes]
    if not sizes or len(set(sizes)) != len(sizes):
        raise ValueError(
            f"`set_sizes` must name at least one size and none twice; got {sizes}."
        )
    return sizes


def _parse_colour(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


# ------------------------------------------------------------------------ trials


def _trial_row(
    condition: SearchCondition,
    layout: SearchLayout,
    set_size: int,
    trial: int,
    seed: int,
    rendering: str,
    jpeg: bool,
) -> dict[str, Any]:
    """Draw the layout of one trial and describe it as a row of the table."""
    rng = generator(seed, condition.name, set_size, trial)
    origins = layout.draw_origins(set_size, rng)
    target = int(rng.integers(set_size))
    versions = _versions(condition, set_size, target, rng)
    corners = origins + layout.draw_shifts(set_size, rng)
    side = layout.item_px
    items = [
        {
            "kind": condition.target_kind if i == target else condition.distractor_kind,
            "version": versions[i],
            "left": int(left),
            "top": int(top),
            "width": side,
            "height": side,
            "role": "target" if i == target else "distractor",
        }
        for i, (top, left) in enumerate(corners)
    ]
    top, left = (int(corner) for corner in corners[target])
    area_top, area_left, area_side = top, left, side
    if layout.is_grid:
        cell = area_side = layout.cell_px
        # In the published files of this paradigm the area starts at the item.
        if condition.paradigm != "lightning_dir":
            area_top, area_left = top // cell * cell, left // cell * cell
    viewing = layout.viewing
    x_deg, y_deg = viewing.to_deg(left + side / 2, top + side / 2)
    return {
        "stimulus_id": f"{condition.name}_n{set_size:02d}_t{trial:03d}",
        "experiment": condition.experiment,
        "experiment_name": condition.experiment_name,
        "paradigm": condition.paradigm,
        "condition": condition.name,
        "label": condition.label,
        "set_size": set_size,
        "trial": trial,
        "seed": seed,
        "rendering": rendering,
        "jpeg": jpeg,
        "px_per_deg": viewing.px_per_deg,
        "width_px": viewing.width_px,
        "height_px": viewing.height_px,
        "width_deg": viewing.size_deg(viewing.width_px),
        "background": viewing.background,
        "foreground_rgb": "#" + bytes(layout.foreground).hex(),
        "background_rgb": "#" + bytes(layout.background).hex(),
        "layout": "grid" if layout.is_grid else "ring",
        "grid": layout.grid if layout.is_grid else math.nan,
        "cell_px": layout.cell_px if layout.is_grid else math.nan,
        "eccentricity_deg": layout.eccentricity_deg,
        "item_deg": layout.item_deg,
        "target_kind": condition.target_kind,
        "target_version": versions[target],
        "target_left_px": left,
        "target_top_px": top,
        "target_width_px": side,
        "target_height_px": side,
        "target_x_deg": x_deg,
        "target_y_deg": y_deg,
        "area_left_px": area_left,
        "area_top_px": area_top,
        "area_right_px": min(area_left + area_side, viewing.width_px),
        "area_bottom_px": min(area_top + area_side, viewing.height_px),
        "items": json.dumps(items, separators=(",", ":")),
    }


def _versions(
    condition: SearchCondition, set_size: int, target: int, rng: np.random.Generator
) -> list[int]:
    """Version of each item in order of placement."""
    choices = [condition.distractor_versions] * set_size
    choices[target] = condition.target_versions
    if condition.version_order == "random":
        return [versions[int(rng.integers(len(versions)))] for versions in choices]
    if condition.version_order == "cycle":
        return [versions[i % len(versions)] for i, versions in enumerate(choices)]
    # Each distractor version once before any comes twice, in random order.
    pool = condition.distractor_versions
    rounds, rest = divmod(set_size - 1, len(pool))
    extra = rng.choice(pool, size=rest, replace=False).tolist()
    spread = rng.permutation([*pool * rounds, *extra]).astype(int).tolist()
    spread.insert(target, condition.target_versions[0])
    return spread


# ----------------------------------------------------------------------- drawing


def _draw_item(row: Row, kind: str, version: int) -> NDArray[np.uint8]:
    if row["rendering"] == "published":
        return draw_item(kind, version)
    return draw_item(
        kind,
        version,
        rendering="smooth",
        scale=float(row["item_deg"]) * float(row["px_per_deg"]) / ITEM_PX[kind],
        foreground=_parse_colour(row["foreground_rgb"]),
        background=_parse_colour(row["background_rgb"]),
    )


def _grey_jpeg(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Send a grey picture through a JPEG file and back."""
    buffer = io.BytesIO()
    grey = Image.fromarray(np.ascontiguousarray(picture[..., 0]))
    grey.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as image:
        return np.repeat(np.asarray(image)[..., None], 3, axis=2)
