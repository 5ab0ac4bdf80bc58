"""Regions side by side, in turn with convex and with concave edges."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.canvas import cos_sin
from stimuli.display import (
    PX_PER_DEG,
    SIZE_DEG,
    Display,
    coverage,
    display_set,
    ground,
    lay,
)
from stimuli.figure_ground import LUMINANCES

FloatArray = NDArray[np.float64]

COLOURS = ("homogeneous", "heterogeneous")
"""Regions of one kind have one luminance, or each its own."""

_STEPS = 24  # chords of an arc


def draw_convex_regions(
    n_regions: int = 4,
    *,
    colour: str = "homogeneous",
    convex_first: bool = True,
    convex_light: bool = True,
    n_lobes: int = 3,
    luminances: tuple[float, float] = LUMINANCES,
    width_deg: float = 6.4,
    height_deg: float = 4.8,
    background: float = 0.5,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> Display:
    """Draw upright regions side by side, in turn with convex and with concave edges.

    Parameters
    ----------
    n_regions : int, default 4
        Regions, an even number from 2; half of them are convex. All have equal areas.
    colour : {"homogeneous", "heterogeneous"}
        One luminance for the convex regions and one for the concave ones; or for each
        region another one, near that of its kind. Mean luminance is the same.
    convex_first : bool, default True
        The leftmost region is convex.
    convex_light : bool, default True
        Convex regions are the lighter ones.
    n_lobes : int, default 3
        Arcs of an edge.
    luminances : tuple of float, default (0.3, 0.7)
        Of darker and lighter regions, 0..1.
    width_deg, height_deg : float
        Of all regions together.
    background : float, default 0.5
        Luminance around them, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the luminances of heterogeneous regions, and of the heights of lobes.

    Returns
    -------
    Display
        Masks "convex" and "concave".

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Peterson and Salvagio (2008). J. Vis. 8(16), 4. doi:10.1167/8.16.4

    Examples
    --------
    >>> masks = draw_convex_regions(2).masks
    >>> bool((masks["convex"] & masks["concave"]).any())
    False
    """
    n = check_whole("n_regions", n_regions, low=2, high=16)
    if n % 2:
        raise ValueError(f"`n_regions` must be even; got {n}.")
    check_option("colour", colour, COLOURS)
    check_whole("n_lobes", n_lobes, low=1, high=8)
    dark, light = luminances
    check_between("luminances", dark, low=0, high=light)
    check_between("luminances", light, low=dark, high=1)
    check_between("background", background, low=0, high=1)
    check_between("width_deg", width_deg, low=1e-3, high=size_deg)
    check_between("height_deg", height_deg, low=1e-3, high=size_deg)
    rng = generator(seed, "convex regions")
    edge_x, edge_y = _lobed_edge(rng, n_lobes, width_deg / n, height_deg)
    image = ground(size_deg, px_per_deg, background)
    convex = np.arange(n) % 2 == (0 if convex_first else 1)
    levels = np.where(convex == convex_light, light, dark)
    if colour == "heterogeneous":
        levels = _own_levels(levels, convex, dark, light, rng)
    edges = []
    for k in range(n + 1):
        x = np.full_like(edge_x, -width_deg / 2 + k * width_deg / n)
        if 0 < k < n:
            # Lobes swell away from the convex region: to the right of it, or the left.
            x = x + (edge_x if convex[k - 1] else -edge_x)
        edges.append(np.column_stack([x, edge_y]))
    masks = {name: np.zeros(image.shape, bool) for name in ("convex", "concave")}
    for k in range(n):
        outline = np.vstack([edges[k], edges[k + 1][::-1]])
        cover = coverage(outline, image.shape, px_per_deg)
        lay(image, cover, levels[k])
        masks["convex" if convex[k] else "concave"] |= cover >= 0.5
    geometry = {"n_regions": n, "convex": convex, "luminance": levels}
    return Display(image, px_per_deg, geometry, masks)


def convex_display(row: Mapping[str, Any]) -> Display:
    """Draw the picture of a row of a set.

    Parameters
    ----------
    row : mapping
        A row of the table of `make_convex_regions`.

    Returns
    -------
    Display
        With masks and geometry.
    """
    left_out = ("stimulus_id", "display", "dark", "light")
    own = {k: v for k, v in row.items() if k not in left_out}
    return draw_convex_regions(luminances=(row["dark"], row["light"]), **own)


def make_convex_regions(
    *,
    numbers: Sequence[int] = (2, 4, 6, 8),
    colours: Sequence[str] = COLOURS,
    n_displays: int = 4,
    luminances: tuple[float, float] = LUMINANCES,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make displays of convex and concave regions.

    Parameters
    ----------
    numbers : sequence of int, default (2, 4, 6, 8)
        Regions.
    colours : sequence of str
        As `draw_convex_regions`.
    n_displays : int, default 4
        Displays of each combination; best a multiple of 4: the same edges are shown
        with light and with dark convex regions, and from convex and from concave on.
    luminances : tuple of float, default (0.3, 0.7)
        As `draw_convex_regions`.
    size_deg : float, default 7
        Side of the pictures.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of all draws.

    Returns
    -------
    StimulusSet
        One row per picture, with the arguments of `draw_convex_regions` as columns and
        `display` (the same for both contrasts of the same edges).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there is no picture.
    """
    check_whole("n_displays", n_displays, low=1)
    rows = []
    for n, colour, k in product(numbers, colours, range(n_displays)):
        own = generator(
            seed, "convex display", check_whole("numbers", n), colour, k // 4
        )
        row = {
            "n_regions": n,
            "colour": colour,
            "convex_first": k // 2 % 2 == 0,
            "convex_light": k % 2 == 0,
            "display": k // 2,
            "seed": int(own.integers(2**31)),
        }
        rows.append(row)
    if not rows:
        raise ValueError("There is no picture: give `numbers` and `colours`.")
    dark, light = (float(level) for level in luminances)
    shared = {"dark": dark, "light": light, "size_deg": float(size_deg)}
    table = pd.DataFrame(
        [
            {
                "stimulus_id": f"convex_{i:04d}",
                **row,
                **shared,
                "px_per_deg": px_per_deg,
            }
            for i, row in enumerate(rows)
        ]
    )
    few: list[Any] = table.drop_duplicates(["n_regions", "colour"]).to_dict("records")
    for row in few:
        convex_display({**row, "px_per_deg": 4.0})
    return display_set(
        "convex-regions",
        table,
        convex_display,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
    )


def _lobed_edge(
    rng: np.random.Generator, n_lobes: int, region_deg: float, height_deg: float
) -> tuple[FloatArray, FloatArray]:
    """Return an upright edge of arcs that swell to the right, with mean x of 0."""
    shares = rng.uniform(0.8, 1.2, n_lobes)
    heights = height_deg * shares / shares.sum()
    depth = min(0.35 * region_deg, 0.45 * float(heights.min()))
    xs, ys, bottom = [], [], -height_deg / 2
    for height in heights:
        for k in range(_STEPS):
            cos, sin = cos_sin(-90 + 180 * k / _STEPS)
            xs.append(depth * cos)
            ys.append(bottom + height / 2 * (1 + sin))
        bottom += float(height)
    xs.append(0.0)
    ys.append(height_deg / 2)
    x, y = np.array(xs), np.array(ys)
    area = float(np.sum((x[1:] + x[:-1]) / 2 * np.diff(y)))
    return x - area / height_deg, y


def _own_levels(
    levels: FloatArray,
    convex: NDArray[np.bool_],
    dark: float,
    light: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Give every region its own luminance; each kind keeps its mean."""
    own = levels.astype(np.float64)
    spread = min((light - dark) / 4, dark, 1 - light)
    for kind in (True, False):
        places = np.flatnonzero(convex == kind)
        shifts = np.linspace(-spread, spread, len(places)) if len(places) > 1 else [0.0]
        own[places] += rng.permutation(shifts)
    return own
