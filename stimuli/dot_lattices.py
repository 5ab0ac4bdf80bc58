"""Dot lattices, which are seen as rows of what is near or alike; and stripes.

Kubovy and Wagemans (1995), Psychol. Sci. 6, 225-234,
doi:10.1111/j.1467-9280.1995.tb00597.x
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    SIZE_DEG,
    Display,
    coverage,
    display_set,
    fill,
    ground,
)
from stimuli.outlines import disc, rectangle, regular_polygon, turn

FloatArray = NDArray[np.float64]

ASPECTS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
"""Longer distance of a lattice over the shorter one."""

SIMILARITIES = ("none", "luminance", "shape")

_CORNERS = 24  # of a dot, which is as large as the disc


def draw_dot_lattice(
    aspect: float = 1.2,
    *,
    orientation_deg: float = 0.0,
    spacing_deg: float = 0.8,
    dot_radius_deg: float = 0.12,
    aperture_deg: float = 6.4,
    similarity: str = "none",
    difference: float = 0.0,
    contrast: float = 1.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> Display:
    """Draw a rectangular lattice of dots in a round aperture.

    Parameters
    ----------
    aspect : float, default 1.2
        ``|b| / |a|``, at least 1: dots are nearer along a.
    orientation_deg : float, default 0
        Direction of a, counter-clockwise from the right; b is at right angles.
    spacing_deg : float, default 0.8
        ``sqrt(|a| |b|)``: the density does not depend on the aspect.
    dot_radius_deg : float, default 0.12
        Radius of dots; squares have the same area.
    aperture_deg : float, default 6.4
        Diameter of the circle in which the centres of dots lie.
    similarity : {"none", "luminance", "shape"}
        Whether every second column along b differs: by luminance, or by shape (squares
        among dots). Dots that are alike then lie along b, against proximity.
    difference : float, default 0
        For "luminance": share of the contrast that the other columns lose, 0..1. Of
        "shape" there is only 0 (none) and above.
    contrast : float, default 1
        Weber contrast of dots, which are darker than the ground, 0..1.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the place of the lattice under the aperture.

    Returns
    -------
    Display
        Geometry: "a_deg" and "b_deg" (distances), "x_deg", "y_deg", "column" (of each
        dot, along b).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or dots overlap or leave the picture.

    Examples
    --------
    >>> geometry = draw_dot_lattice(1.44).geometry
    >>> round(geometry["a_deg"], 3), round(geometry["b_deg"], 3)
    (0.667, 0.96)
    """
    check_between("aspect", aspect, low=1)
    check_between("orientation_deg", orientation_deg)
    check_between("spacing_deg", spacing_deg, low=1e-3)
    check_between("dot_radius_deg", dot_radius_deg, low=1e-3)
    check_between("aperture_deg", aperture_deg, low=2 * dot_radius_deg)
    check_option("similarity", similarity, SIMILARITIES)
    check_between("difference", difference, low=0, high=1)
    check_between("contrast", contrast, low=0, high=1)
    a, b = spacing_deg / math.sqrt(aspect), spacing_deg * math.sqrt(aspect)
    if 2 * dot_radius_deg >= a:
        raise ValueError(
            f"Dots of diameter {2 * dot_radius_deg:.3g} at a distance of {a:.3g} would "
            "overlap: lower `dot_radius_deg` or `aspect`, or raise `spacing_deg`."
        )
    if aperture_deg / 2 + dot_radius_deg > size_deg / 2:
        raise ValueError(
            "Dots would leave the picture: lower `aperture_deg`, or raise `size_deg`."
        )
    image = ground(size_deg, px_per_deg, background)
    shift = generator(seed, "lattice place").uniform(0, 1, 2)
    reach = math.ceil(aperture_deg / a) + 1
    steps = np.arange(-reach, reach + 1)
    i, j = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    points = np.column_stack([(i + shift[0]) * a, (j + shift[1]) * b])
    points = turn(points, orientation_deg)
    inside = np.hypot(*points.T) <= aperture_deg / 2
    points, column = points[inside], i[inside]
    side = math.sqrt(math.pi) * dot_radius_deg
    corner = dot_radius_deg * math.sqrt(
        2 * math.pi / _CORNERS / math.sin(2 * math.pi / _CORNERS)
    )
    for (x, y), own in zip(points, column, strict=True):
        other = bool(own % 2) and similarity != "none" and difference > 0
        outline = regular_polygon(_CORNERS, corner, x_deg=x, y_deg=y)
        if other and similarity == "shape":
            outline = rectangle(side, side, x_deg=x, y_deg=y, angle_deg=orientation_deg)
        strength = contrast
        if other and similarity == "luminance":
            strength *= 1 - difference
        fill(image, outline, background * (1 - strength), px_per_deg)
    geometry = {
        "a_deg": a,
        "b_deg": b,
        "x_deg": points[:, 0],
        "y_deg": points[:, 1],
        "column": column,
        "similarity": similarity,
    }
    return Display(image, px_per_deg, geometry)


def draw_stripes(
    orientation_deg: float = 0.0,
    *,
    spacing_deg: float = 0.8,
    width_deg: float = 0.12,
    aperture_deg: float = 6.4,
    phase: float = 0.0,
    contrast: float = 1.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw stripes in a round aperture: a grouping that nobody doubts.

    Parameters
    ----------
    orientation_deg : float, default 0
        Direction of the stripes, counter-clockwise from the right.
    spacing_deg : float, default 0.8
        Distance of neighbouring stripes.
    width_deg : float, default 0.12
        Of a stripe.
    aperture_deg : float, default 6.4
        Diameter of the aperture.
    phase : float, default 0
        Shift across the stripes in units of `spacing_deg`; at 0 one goes through the
        centre.
    contrast : float, default 1
        Weber contrast; stripes are darker than the ground, 0..1.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        The picture.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    check_between("orientation_deg", orientation_deg)
    check_between("spacing_deg", spacing_deg, low=1e-3)
    check_between("width_deg", width_deg, low=1e-3, high=spacing_deg)
    check_between("aperture_deg", aperture_deg, low=1e-3, high=size_deg)
    check_between("phase", phase)
    check_between("contrast", contrast, low=0, high=1)
    image = ground(size_deg, px_per_deg, background)
    stripes = np.zeros(image.shape)
    reach = math.ceil(aperture_deg / 2 / spacing_deg) + 1
    for k in range(-reach, reach + 1):
        y = (k + phase % 1) * spacing_deg
        bar = rectangle(2 * aperture_deg, width_deg, y_deg=y)
        stripes += coverage(turn(bar, orientation_deg), image.shape, px_per_deg)
    window = coverage(disc(aperture_deg / 2), image.shape, px_per_deg)
    image -= background * contrast * np.clip(stripes, 0, 1) * window
    return Display(image, px_per_deg, {"orientation_deg": orientation_deg})


def lattice_display(row: Mapping[str, Any]) -> Display:
    """Draw the picture of a row of a set.

    Parameters
    ----------
    row : mapping
        A row of the table of `make_dot_lattices`.

    Returns
    -------
    Display
        With masks and geometry.
    """
    left_out = ("stimulus_id", "lattice")
    return draw_dot_lattice(**{k: v for k, v in row.items() if k not in left_out})


def make_dot_lattices(
    *,
    aspects: Sequence[float] = ASPECTS,
    n_lattices: int = 4,
    similarity: str = "none",
    differences: Sequence[float] = (0.0,),
    spacing_deg: float = 0.8,
    dot_radius_deg: float = 0.12,
    contrast: float = 1.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make dot lattices of all aspects, each at several orientations.

    Parameters
    ----------
    aspects : sequence of float, default 1 to 1.5
        As `draw_dot_lattice`.
    n_lattices : int, default 4
        Orientations, equally spaced over 180 degrees from 0; the same for all aspects.
    similarity : {"none", "luminance", "shape"}
        As `draw_dot_lattice`.
    differences : sequence of float, default (0,)
        As `draw_dot_lattice`.
    spacing_deg, dot_radius_deg, contrast, background : float
        As `draw_dot_lattice`.
    size_deg : float, default 7
        Side of the pictures; the aperture leaves 0.3 degrees to each side.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the places of lattices.

    Returns
    -------
    StimulusSet
        One row per picture, with the arguments of `draw_dot_lattice` as columns and
        `lattice` (0-based orientation).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there is no picture.

    Examples
    --------
    >>> len(make_dot_lattices(aspects=[1, 1.5], n_lattices=3))
    6
    """
    check_whole("n_lattices", n_lattices, low=1)
    rows: list[dict[str, Any]] = []
    for aspect, difference, k in product(aspects, differences, range(n_lattices)):
        own = generator(seed, "lattice", round(1000 * aspect), k)
        rows.append(
            {
                "stimulus_id": f"lattice_{len(rows):04d}",
                "lattice": k,
                "aspect": float(aspect),
                "orientation_deg": 180.0 * k / n_lattices,
                "similarity": similarity,
                "difference": float(difference),
                "spacing_deg": float(spacing_deg),
                "dot_radius_deg": float(dot_radius_deg),
                "aperture_deg": float(size_deg) - 0.6,
                "contrast": float(contrast),
                "background": float(background),
                "size_deg": float(size_deg),
                "px_per_deg": float(px_per_deg),
                "seed": int(own.integers(2**31)),
            }
        )
    if not rows:
        raise ValueError("There is no lattice: give `aspects` and `differences`.")
    table = pd.DataFrame(rows)
    few: list[Any] = table.drop_duplicates(["aspect", "difference"]).to_dict("records")
    for row in few:
        lattice_display({**row, "px_per_deg": 4.0})
    return display_set(
        "dot-lattices",
        table,
        lattice_display,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
        background=background,
    )
