"""Figure and ground: the lower of two regions, and the owner of an edge."""

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
from stimuli.outlines import rectangle, turn

FloatArray = NDArray[np.float64]

LUMINANCES = (0.3, 0.7)
"""Of the two kinds of regions."""


def draw_lower_region(
    *,
    lower_light: bool = True,
    n_waves: int = 3,
    amplitude_deg: float = 0.5,
    luminances: tuple[float, float] = LUMINANCES,
    side_deg: float = 5.0,
    background: float = 0.5,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> Display:
    """Draw a square that a wavy edge divides into an upper and a lower region.

    Parameters
    ----------
    lower_light : bool, default True
        The lower region is the lighter one.
    n_waves : int, default 3
        Periods of the slowest sine of the edge; the edge is odd about the centre, so
        that both regions have the same shape, one turned by 180 degrees.
    amplitude_deg : float, default 0.5
        Largest distance of the edge from the middle.
    luminances : tuple of float, default (0.3, 0.7)
        Of the darker and the lighter region, 0..1.
    side_deg : float, default 5
        Side of the square.
    background : float, default 0.5
        Luminance around it, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the form of the edge.

    Returns
    -------
    Display
        Masks "lower" and "upper".

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    Vecera, Vogel and Woodman (2002). J. Exp. Psychol. Gen. 131, 194-205.
    doi:10.1037/0096-3445.131.2.194

    Examples
    --------
    >>> masks = draw_lower_region().masks
    >>> int(masks["lower"].sum()) == int(masks["upper"].sum())
    True
    """
    check_whole("n_waves", n_waves, low=1, high=12)
    check_between("side_deg", side_deg, low=1e-3, high=size_deg)
    check_between("amplitude_deg", amplitude_deg, low=0, high=side_deg / 3)
    dark, light = luminances
    check_between("luminances", dark, low=0, high=light)
    check_between("luminances", light, low=dark, high=1)
    check_between("background", background, low=0, high=1)
    rng = generator(seed, "lower region")
    steps = np.arange(-96, 97)
    weights = rng.uniform(-1, 1, 3)
    wave = np.zeros(len(steps))
    for harmonic, weight in enumerate(weights):
        turns = [cos_sin(180 * (n_waves + harmonic) * float(s) / 96)[1] for s in steps]
        wave += weight * np.array(turns)
    largest = float(np.abs(wave).max())
    edge = np.column_stack(
        [steps * side_deg / 2 / 96, wave * (amplitude_deg / largest if largest else 0)]
    )
    h = side_deg / 2
    lower = np.vstack([edge, [[h, -h], [-h, -h]]])
    image = ground(size_deg, px_per_deg, background)
    upper_level, lower_level = (dark, light) if lower_light else (light, dark)
    whole = coverage(rectangle(side_deg, side_deg), image.shape, px_per_deg)
    lay(image, whole, upper_level)
    square = whole >= 0.5
    cover = coverage(lower, image.shape, px_per_deg)
    lay(image, cover, lower_level)
    masks = {"lower": square & (cover >= 0.5), "upper": square & (cover < 0.5)}
    return Display(image, px_per_deg, {"edge_deg": edge}, masks)


def draw_owned_edge(
    *,
    figure_left: bool = True,
    light_left: bool = True,
    figure_deg: float = 2.5,
    shift_deg: float = 0.0,
    rotation_deg: float = 0.0,
    shape: str = "square",
    luminances: tuple[float, float] = LUMINANCES,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw a figure whose right or left edge goes through the centre.

    The same contrast at the centre belongs to a light figure on one side, or to a dark
    one on the other.

    Parameters
    ----------
    figure_left : bool, default True
        The figure lies to the left of the centre, and owns the edge from there.
    light_left : bool, default True
        Left of the edge is the lighter side.
    figure_deg : float, default 2.5
        Side of the figure.
    shift_deg : float, default 0
        Of the figure along the edge, less than half its side.
    rotation_deg : float, default 0
        Turn of the whole about the centre.
    shape : {"square", "c"}
        "c" has a notch a third as high on the side away from the edge.
    luminances : tuple of float, default (0.3, 0.7)
        Of the darker and the lighter part, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Mask "figure".

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the figure leaves the picture.

    References
    ----------
    Zhou, Friedman and von der Heydt (2000). J. Neurosci. 20, 6594-6611.
    doi:10.1523/JNEUROSCI.20-17-06594.2000

    Examples
    --------
    >>> left, right = (
    ...     draw_owned_edge(figure_left=side).image for side in (True, False)
    ... )
    >>> centre = slice(96, 128)
    >>> bool((left[centre, centre] == right[centre, centre]).all())
    True
    """
    check_option("shape", shape, ("square", "c"))
    check_between("figure_deg", figure_deg, low=1e-3)
    check_between("shift_deg", shift_deg, low=-figure_deg / 2, high=figure_deg / 2)
    check_between("rotation_deg", rotation_deg)
    dark, light = luminances
    check_between("luminances", dark, low=0, high=light)
    check_between("luminances", light, low=dark, high=1)
    s, h = figure_deg, figure_deg / 2
    points = [(0.0, -h), (0.0, h), (-s, h), (-s, -h)]
    if shape == "c":
        points = [*points[:3], (-s, h / 3), (-h, h / 3), (-h, -h / 3), (-s, -h / 3),
                  points[3]]  # fmt: skip
    outline = np.array(points) + np.array([0.0, shift_deg])
    if not figure_left:
        outline = outline * np.array([-1.0, 1.0])
    outline = turn(outline, rotation_deg)
    if float(np.abs(outline).max()) > size_deg / 2:
        raise ValueError(
            f"A figure of {figure_deg} degrees leaves the picture: lower `figure_deg` "
            "or `shift_deg`, or raise `size_deg`."
        )
    figure_light = light_left == figure_left
    level, around = (light, dark) if figure_light else (dark, light)
    image = ground(size_deg, px_per_deg, around)
    cover = coverage(outline, image.shape, px_per_deg)
    lay(image, cover, level)
    geometry = {"outline_deg": outline, "figure_left": figure_left}
    return Display(image, px_per_deg, geometry, {"figure": cover >= 0.5})


def make_lower_regions(
    *,
    n_displays: int = 8,
    luminances: tuple[float, float] = LUMINANCES,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make squares with an upper and a lower region.

    Parameters
    ----------
    n_displays : int, default 8
        Pictures; the lower region is lighter and darker in turn, each edge twice.
    luminances : tuple of float, default (0.3, 0.7)
        As `draw_lower_region`.
    size_deg : float, default 7
        Side of the pictures.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the edges.

    Returns
    -------
    StimulusSet
        One row per picture, with the arguments of `draw_lower_region` as columns and
        `display` (the same for both contrasts of an edge).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.
    """
    check_whole("n_displays", n_displays, low=1)
    rows = [
        {
            "display": k // 2,
            "lower_light": k % 2 == 0,
            "seed": int(generator(seed, "lower display", k // 2).integers(2**31)),
        }
        for k in range(n_displays)
    ]
    return _set("lower-regions", rows, draw_lower_region, luminances, size_deg,
                px_per_deg, ["lower_light"])  # fmt: skip


def make_owned_edges(
    *,
    figures_deg: Sequence[float] = (1.5, 2.5, 3.2),
    shapes: Sequence[str] = ("square",),
    n_displays: int = 4,
    luminances: tuple[float, float] = LUMINANCES,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make edges that belong to a figure on the left or on the right.

    Parameters
    ----------
    figures_deg : sequence of float, default (1.5, 2.5, 3.2)
        Sides of figures.
    shapes : sequence of str, default ("square",)
        As `draw_owned_edge`.
    n_displays : int, default 4
        Shifts of each figure along the edge, up to a quarter of its side; of each there
        are four pictures: both sides with both contrasts.
    luminances : tuple of float, default (0.3, 0.7)
        As `draw_owned_edge`.
    size_deg : float, default 7
        Side of the pictures.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the shifts.

    Returns
    -------
    StimulusSet
        One row per picture, with the arguments of `draw_owned_edge` as columns and
        `display` (the same for the four pictures of a shift).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there is no picture.
    """
    check_whole("n_displays", n_displays, low=1)
    rows = []
    for side, shape, k in product(figures_deg, shapes, range(n_displays)):
        own = generator(seed, "owned edge", round(1000 * side), shape, k)
        shift = float(own.uniform(-side / 4, side / 4))
        rows += [
            {
                "display": k,
                "figure_deg": float(side),
                "shape": shape,
                "shift_deg": shift,
                "figure_left": left,
                "light_left": light,
            }
            for left, light in product((True, False), repeat=2)
        ]
    return _set("owned-edges", rows, draw_owned_edge, luminances, size_deg,
                px_per_deg, ["figure_deg", "shape"])  # fmt: skip


def _set(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    draw: Any,
    luminances: tuple[float, float],
    size_deg: float,
    px_per_deg: float,
    factors: list[str],
) -> StimulusSet:
    if not rows:
        raise ValueError("There is no picture: every factor needs a value.")
    dark, light = (float(level) for level in luminances)
    shared = {"dark": dark, "light": light, "size_deg": float(size_deg)}
    table = pd.DataFrame(
        [
            {
                "stimulus_id": f"{name}_{i:04d}",
                **row,
                **shared,
                "px_per_deg": px_per_deg,
            }
            for i, row in enumerate(rows)
        ]
    )

    def draw_row(row: Mapping[str, Any]) -> Display:
        left_out = ("stimulus_id", "display", "dark", "light")
        own = {k: v for k, v in row.items() if k not in left_out}
        return draw(luminances=(row["dark"], row["light"]), **own)

    few: list[Any] = table.drop_duplicates(factors).to_dict("records")
    for row in few:
        draw_row({**row, "px_per_deg": 4.0})
    return display_set(name, table, draw_row, size_deg=size_deg, px_per_deg=px_per_deg)
