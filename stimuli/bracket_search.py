"""Outlines made of two brackets: closed or open, the same lines at other places."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.canvas import cos_sin
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    SIZE_DEG,
    Display,
    display_set,
    fill,
    ground,
    pixel_centres,
)
from stimuli.outlines import rectangle

FloatArray = NDArray[np.float64]


def draw_bracket_search(
    n_items: int = 4,
    *,
    closed: bool = True,
    gap_deg: float = 0.3,
    target: int = 0,
    target_present: bool = True,
    target_tall: bool = True,
    item_deg: tuple[float, float] = (0.6, 0.9),
    line_width_deg: float = 0.06,
    ring_deg: float = 2.3,
    contrast: float = 1.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> Display:
    """Draw outlines of two brackets on a ring; one has another shape.

    Parameters
    ----------
    n_items : int, default 4
        Outlines, 2..8.
    closed : bool, default True
        ``[ ]``, whose gaps are in the middle of the upper and lower side, or ``] [``:
        the same two brackets in each other's place.
    gap_deg : float, default 0.3
        Width of the gap, from 0; the same for both kinds.
    target : int, default 0
        Place of the target on the ring, 0..`n_items` - 1.
    target_present : bool, default True
        Whether there is one.
    target_tall : bool, default True
        The target is tall among wide outlines, or wide among tall ones.
    item_deg : tuple of float, default (0.6, 0.9)
        Shorter and longer side of an outline.
    line_width_deg : float, default 0.06
        Of the lines.
    ring_deg : float, default 2.3
        Radius of the ring.
    contrast : float, default 1
        Weber contrast of lines, which are darker than the ground, 0..1.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the turn of the ring.

    Returns
    -------
    Display
        Masks "item 0", "item 1" and so on: the square cells of the items.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or items overlap or leave the picture.

    References
    ----------
    Elder and Zucker (1993). Vision Res. 33, 981-991.
    doi:10.1016/0042-6989(93)90080-G

    Examples
    --------
    >>> sorted(draw_bracket_search(2).masks)
    ['item 0', 'item 1']
    """
    n = check_whole("n_items", n_items, low=2, high=8)
    check_whole("target", target, low=0, high=n - 1)
    short, long = item_deg
    check_between("item_deg", short, low=1e-3)
    check_between("item_deg", long, low=short)
    check_between("line_width_deg", line_width_deg, low=1e-3, high=short / 3)
    check_between("gap_deg", gap_deg, low=0, high=short - 2 * line_width_deg)
    check_between("contrast", contrast, low=0, high=1)
    check_between("ring_deg", ring_deg, low=1e-3)
    cell = 1.25 * long
    # Two squares cannot overlap when their centres are a diagonal apart.
    if 2 * ring_deg * math.sin(math.pi / n) < cell * math.sqrt(2):
        raise ValueError(
            f"{n} items of {long} degrees overlap on a ring of {ring_deg}: use "
            "fewer or smaller items, or a wider ring."
        )
    if ring_deg + cell / 2 > size_deg / 2:
        raise ValueError("Items leave the picture: lower `ring_deg` or `item_deg`.")
    image = ground(size_deg, px_per_deg, background)
    start = float(generator(seed, "bracket ring").uniform(0, 360))
    x, y = pixel_centres(image.shape, px_per_deg)
    masks = {}
    for k in range(n):
        cos, sin = cos_sin(start + 360 * k / n)
        place = np.array([ring_deg * cos, ring_deg * sin])
        tall = target_tall == (target_present and k == target)
        width, height = (short, long) if tall else (long, short)
        for outline in _brackets(width, height, gap_deg, line_width_deg, closed):
            fill(image, outline + place, background * (1 - contrast), px_per_deg)
        inside = np.maximum(np.abs(x - place[0]), np.abs(y - place[1])) <= cell / 2
        masks[f"item {k}"] = inside
    geometry = {
        "target": target if target_present else None,
        "closed": closed,
        "cell_deg": cell,
        "start_deg": start,
    }
    return Display(image, px_per_deg, geometry, masks)


def bracket_display(row: Mapping[str, Any]) -> Display:
    """Draw the picture of a row of a set.

    Parameters
    ----------
    row : mapping
        A row of the table of `make_bracket_search`.

    Returns
    -------
    Display
        With masks and geometry.
    """
    left_out = ("stimulus_id", "display")
    return draw_bracket_search(**{k: v for k, v in row.items() if k not in left_out})


def make_bracket_search(
    *,
    set_sizes: Sequence[int] = (3, 4, 6, 8),
    closed: Sequence[bool] = (True, False),
    target_present: Sequence[bool] = (True,),
    gaps_deg: Sequence[float] = (0.3,),
    n_displays: int = 4,
    contrast: float = 1.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make displays of closed and of open outlines.

    Parameters
    ----------
    set_sizes : sequence of int, default (3, 4, 6, 8)
        Items, 2..8.
    closed, target_present : sequence of bool
        As `draw_bracket_search`.
    gaps_deg : sequence of float, default (0.3,)
        Gaps.
    n_displays : int, default 4
        Displays of each combination; tall and wide targets in turn. Closed and open
        displays have the same places.
    contrast, background : float
        As `draw_bracket_search`.
    size_deg : float, default 7
        Side of the pictures.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of places.

    Returns
    -------
    StimulusSet
        One row per picture, with the arguments of `draw_bracket_search` as columns and
        `display` (0-based).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there is no picture.

    Examples
    --------
    >>> len(make_bracket_search(set_sizes=[4], n_displays=2))
    4
    """
    check_whole("n_displays", n_displays, low=1)
    rows: list[dict[str, Any]] = []
    for n, ring, gap, there, k in product(
        set_sizes, closed, gaps_deg, target_present, range(n_displays)
    ):
        own = generator(seed, "bracket display", check_whole("set_sizes", n, low=2), k)
        rows.append(
            {
                "stimulus_id": f"brackets_{len(rows):04d}",
                "display": k,
                "n_items": n,
                "closed": bool(ring),
                "gap_deg": float(gap),
                "target": int(own.integers(n)),
                "target_present": bool(there),
                "target_tall": k % 2 == 0,
                "contrast": float(contrast),
                "background": float(background),
                "size_deg": float(size_deg),
                "px_per_deg": float(px_per_deg),
                "seed": int(own.integers(2**31)),
            }
        )
    if not rows:
        raise ValueError("There is no display: every factor needs a value.")
    table = pd.DataFrame(rows)
    few: list[Any] = table.drop_duplicates(["n_items", "gap_deg"]).to_dict("records")
    for row in few:
        bracket_display({**row, "px_per_deg": 4.0})
    return display_set(
        "bracket-search",
        table,
        bracket_display,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
        background=background,
    )


def _brackets(
    width: float, height: float, gap: float, line: float, closed: bool
) -> list[FloatArray]:
    """Return the six bars of two brackets about the origin, which do not overlap."""
    arm = (width - gap) / 2
    outlines = []
    for side in (-1, 1):
        # The upright stands at the outer end of the arms, or at the inner one.
        upright = side * ((width - line) / 2 if closed else (gap + line) / 2)
        outlines.append(rectangle(line, height, x_deg=upright))
        rest = arm - line
        middle = side * (gap / 2 + rest / 2 + (0 if closed else line))
        if rest > 0:
            outlines += [
                rectangle(rest, line, x_deg=middle, y_deg=up * (height - line) / 2)
                for up in (-1, 1)
            ]
    return outlines
