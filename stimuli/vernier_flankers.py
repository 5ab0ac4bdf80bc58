"""A vernier among shapes: crowding, and its release by grouping ("uncrowding").

Two upright bars, one above the other; the observer tells whether the lower one is to
the left or to the right. A square around the vernier makes this hard; more squares
beside it make it easier again for people, but not when every second one is a star. In
the papers of Doerig and others, feedforward networks do worse with every further
flanker.

Shapes and configurations are those of the published models (1 square, 2 circle, 3
hexagon, 4 octagon, 5 diamond, 6 star with seven tips, 7 irregular polygon; grids of up
to 3 x 7 places); sizes in degrees are about those of the experiments with people,
recalled. All outlines are as thick as the vernier.

References
----------
Manassi, Sayim and Herzog (2013). When crowding of crowding leads to uncrowding. Journal
of Vision 13(13), 10. doi:10.1167/13.13.10. Doerig, Bornet, Rosenholtz, Francis, Clarke
and Herzog (2019). Beyond Bouma's window. PLoS Computational Biology 15, e1006580.
doi:10.1371/journal.pcbi.1006580. Doerig, Bornet, Choung and Herzog (2020). Crowding
reveals fundamental differences in local vs. global processing in humans and machines.
Vision Research 167, 39-45. doi:10.1016/j.visres.2019.12.006
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.types import StimulusSet
from stimuli.display import (
    PX_PER_DEG,
    Display,
    display_set,
    ground,
    lay,
)
from stimuli.glyphs import union_coverage
from stimuli.outlines import disc, rectangle
from stimuli.vernier_shapes import (
    SHAPES,
    Grid,
    check_grid,
    free_reach,
    shape_outlines,
    vernier_configurations,
)

OFFSETS = ("left", "right")
"""Where the lower bar is."""

VIEWS = ("fixation", "target")

_ARGUMENTS = (
    *("offset", "grid", "offset_arcmin", "bar_length_arcmin", "gap_arcmin"),
    *("width_arcmin", "shape_deg", "spacing_deg", "eccentricity_deg", "luminance"),
    *("background", "view", "fixation_mark", "size_deg", "px_per_deg", "seed"),
)


def draw_vernier(
    offset: str = "left",
    grid: str | Sequence[Sequence[int]] = ((1,),),
    *,
    offset_arcmin: float = 4.0,
    bar_length_arcmin: float = 40.0,
    gap_arcmin: float = 4.0,
    width_arcmin: float = 1.8,
    shape_deg: float = 2.0,
    spacing_deg: float = 2.4,
    eccentricity_deg: float = 9.0,
    luminance: float = 1.0,
    background: float = 0.0,
    view: str = "target",
    fixation_mark: bool = False,
    size_deg: tuple[float, float] | str = (18.0, 8.0),
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> Display:
    """Draw a vernier among shapes.

    Parameters
    ----------
    offset : {"left", "right"}
        Where the lower bar is, seen from the upper one.
    grid : sequence of sequence of int, or str, default ((1,),)
        Numbers of shapes (`SHAPES`) by row and place, or the same as JSON; rows of
        odd length, an odd number of them. Empty for the vernier alone.
    offset_arcmin : float, default 4
        Horizontal distance of the two bars.
    bar_length_arcmin, gap_arcmin : float, default 40 and 4
        Length of each bar and vertical gap between them.
    width_arcmin : float, default 1.8
        Thickness of all lines.
    shape_deg : float, default 2
        Side of the square; the other shapes fit into it (the square is its sides).
    spacing_deg : float, default 2.4
        From centre to centre of neighbours.
    eccentricity_deg : float, default 9
        Distance of the vernier to the right of fixation.
    luminance : float, default 1
        Of all lines, 0..1.
    background : float, default 0
        Of the ground, 0..1.
    view : {"fixation", "target"}
        What is in the middle of the picture.
    fixation_mark : bool, default False
        Draw a dot at fixation, where it is in the picture.
    size_deg : pair of float or str, default (18, 8)
        Width and height of the picture in degrees, or the same as JSON.
    px_per_deg : float, default 32
        Pixels per degree. The lines are 1 px thick at 33.
    seed : int, default 0
        Seed of the irregular polygons; all in a picture are the same.

    Returns
    -------
    Display
        Masks "vernier" and "flankers" (where there are any): pixels covered by a third
        or more.

    Raises
    ------
    ValueError
        If a name or shape is unknown, a number is out of range, shapes overlap or
        leave the picture, or the vernier touches the shape around it.

    Examples
    --------
    >>> draw_vernier("right", ((1, 6, 1, 6, 1),)).image.shape
    (256, 576)
    """
    check_option("offset", offset, OFFSETS)
    check_option("view", view, VIEWS)
    cells = check_grid(json.loads(grid) if isinstance(grid, str) else grid)
    extent = json.loads(size_deg) if isinstance(size_deg, str) else size_deg
    for name, value in (
        ("bar_length_arcmin", bar_length_arcmin),
        ("width_arcmin", width_arcmin),
        ("shape_deg", shape_deg),
        ("spacing_deg", spacing_deg),
    ):
        check_between(name, value, low=1e-3)
    for name, value in (("offset_arcmin", offset_arcmin), ("gap_arcmin", gap_arcmin)):
        check_between(name, value, low=0)
    check_between("eccentricity_deg", eccentricity_deg, low=0)
    check_between("luminance", luminance, low=0, high=1)
    _check_room(
        cells, offset_arcmin, bar_length_arcmin, gap_arcmin, width_arcmin, shape_deg,
        spacing_deg, eccentricity_deg if view == "fixation" else 0.0, extent,
    )  # fmt: skip
    width = width_arcmin / 60
    middle = eccentricity_deg if view == "fixation" else 0.0
    image = ground((float(extent[0]), float(extent[1])), px_per_deg, background)

    length, gap = bar_length_arcmin / 60, gap_arcmin / 60
    half = (offset_arcmin if offset == "right" else -offset_arcmin) / 120
    bars = [
        rectangle(width, length, x_deg=middle - half, y_deg=(gap + length) / 2),
        rectangle(width, length, x_deg=middle + half, y_deg=-(gap + length) / 2),
    ]
    covers = {"vernier": union_coverage(bars, image.shape, px_per_deg)}
    shapes = np.zeros(image.shape)
    for number, x, y in _places(cells, spacing_deg, middle):
        place = np.array([x, y])
        pieces, holes = shape_outlines(SHAPES[number], shape_deg, width, seed)
        own = [
            union_coverage([one + place for one in part], image.shape, px_per_deg)
            for part in (pieces, holes)
        ]
        np.maximum(shapes, own[0] - own[1], out=shapes)
    if cells:
        covers["flankers"] = shapes
    for cover in covers.values():
        lay(image, cover, luminance)
    if fixation_mark:
        dot = disc(0.06, x_deg=middle - eccentricity_deg)
        lay(image, union_coverage([dot], image.shape, px_per_deg), luminance)
    geometry = {"x_deg": middle, "y_deg": 0.0, "offset": offset, "grid": cells}
    # Lines can be thinner than a pixel.
    masks = {name: cover >= 1 / 3 for name, cover in covers.items()}
    return Display(image, px_per_deg, geometry, masks)


def make_vernier_flankers(
    configurations: Sequence[str] | Mapping[str, Sequence[Sequence[int]]] = (
        *("vernier", "square_1", "square_3", "square_5", "square_7"),
        *("square_star_7", "circle_7", "lines_7"),
    ),
    *,
    offsets_arcmin: Sequence[float] = (2.0, 4.0, 8.0),
    repeats: int = 1,
    bar_length_arcmin: float = 40.0,
    gap_arcmin: float = 4.0,
    shape_deg: float = 2.0,
    spacing_deg: float = 2.4,
    eccentricity_deg: float = 9.0,
    width_arcmin: float = 1.8,
    luminance: float = 1.0,
    background: float = 0.0,
    view: str = "target",
    fixation_mark: bool = False,
    size_deg: tuple[float, float] = (18.0, 8.0),
    seed: int = 0,
    px_per_deg: float = PX_PER_DEG,
) -> StimulusSet:
    """Make verniers among shapes, left and right.

    Parameters
    ----------
    configurations : sequence of str, or mapping of str to grid
        Names of `vernier_configurations`, or grids of numbers by own names.
    offsets_arcmin : sequence of float, default (2, 4, 8)
        Horizontal distances of the two bars.
    repeats : int, default 1
        Pictures of each; they differ in irregular polygons only.
    bar_length_arcmin, gap_arcmin : float, default 40 and 4
        Length of each bar and vertical gap between them. Inside stars and irregular
        polygons of 2 degrees, bars can be 28 arcmin long.
    shape_deg : float, default 2
        Side of the square.
    spacing_deg : float, default 2.4
        From centre to centre of neighbours.
    eccentricity_deg : float, default 9
        Distance of the vernier from fixation.
    width_arcmin : float, default 1.8
        Thickness of all lines.
    luminance : float, default 1
        Of all lines, 0..1.
    background : float, default 0
        Of the ground, 0..1.
    view : {"fixation", "target"}
        What is in the middle of the picture.
    fixation_mark : bool, default False
        Draw a dot at fixation, where it is in the picture.
    size_deg : pair of float, default (18, 8)
        Width and height of the picture in degrees.
    seed : int, default 0
        Seed, >= 0.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    StimulusSet
        One row per picture: `condition` (the configuration), `offset` (what is
        asked), `n_flankers`, `grid` as JSON, and the arguments of `draw_vernier`.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, or something leaves the
        picture.

    Examples
    --------
    >>> stimuli = make_vernier_flankers(["square_1", "square_7"], offsets_arcmin=[4])
    >>> stimuli.table["n_flankers"].tolist()
    [1, 1, 7, 7]
    """
    repeats = check_whole("repeats", repeats, low=1)
    seed = check_whole("seed", seed, low=0)
    known = vernier_configurations()
    chosen: dict[str, Any] = (
        dict(configurations)
        if isinstance(configurations, Mapping)
        else {
            name: known[check_option("configurations", name, tuple(known))]
            for name in configurations
        }
    )
    if not chosen:
        raise ValueError("`configurations` is empty: name at least one.")
    rows = []
    for name, grid in chosen.items():
        cells = check_grid(grid)
        _check_room(
            cells, max(offsets_arcmin), bar_length_arcmin, gap_arcmin, width_arcmin,
            shape_deg, spacing_deg, eccentricity_deg if view == "fixation" else 0.0,
            size_deg,
        )  # fmt: skip
        for step, offset, repeat in itertools.product(
            offsets_arcmin, OFFSETS, range(repeats)
        ):
            rows.append(
                {
                    "stimulus_id": f"{name}_{step:g}_{offset}_r{repeat:03d}",
                    "condition": name,
                    "offset": offset,
                    "offset_arcmin": float(step),
                    "n_flankers": sum(n > 0 for row in cells for n in row),
                    "grid": json.dumps(cells),
                    "repeat": repeat,
                    "bar_length_arcmin": bar_length_arcmin,
                    "gap_arcmin": gap_arcmin,
                    "width_arcmin": width_arcmin,
                    "shape_deg": shape_deg,
                    "spacing_deg": spacing_deg,
                    "eccentricity_deg": eccentricity_deg,
                    "luminance": luminance,
                    "background": background,
                    "view": view,
                    "fixation_mark": fixation_mark,
                    "size_deg": json.dumps([float(v) for v in size_deg]),
                    "px_per_deg": px_per_deg,
                    "seed": seed + repeat,
                }
            )
    return display_set(
        "vernier_flankers",
        pd.DataFrame(rows),
        _draw_row,
        size_deg=(float(size_deg[0]), float(size_deg[1])),
        px_per_deg=px_per_deg,
        background=background,
    )


def _draw_row(row: Mapping[str, Any]) -> Display:
    return draw_vernier(**{name: row[name] for name in _ARGUMENTS})


# ------------------------------------------------------------------------- checks


def _check_room(
    cells: Grid,
    offset_arcmin: float,
    bar_length_arcmin: float,
    gap_arcmin: float,
    width_arcmin: float,
    shape_deg: float,
    spacing_deg: float,
    x_deg: float,
    size_deg: Sequence[float],
) -> None:
    """Refuse what touches or leaves the picture."""
    if cells and spacing_deg < shape_deg + width_arcmin / 60:
        raise ValueError(
            f"Shapes of {shape_deg:.3g} deg touch at a `spacing_deg` of "
            f"{spacing_deg:.3g}. Use {shape_deg + width_arcmin / 60:.3g} or more."
        )
    half_height = (bar_length_arcmin + gap_arcmin / 2) / 60
    half_width = (offset_arcmin + width_arcmin) / 120
    extents = [(abs(x_deg) + half_width, half_height)]
    extents += [
        (abs(x) + shape_deg / 2, abs(y) + shape_deg / 2)
        for _, x, y in _places(cells, spacing_deg, x_deg)
    ]
    wide, high = (2 * max(pair[k] for pair in extents) for k in (0, 1))
    if wide > size_deg[0] + 1e-9 or high > size_deg[1] + 1e-9:
        raise ValueError(
            f"Vernier and shapes take {wide:.3g} x {high:.3g} deg about the middle of "
            f"a picture of {size_deg[0]:g} x {size_deg[1]:g}. Use a larger `size_deg`, "
            "or view='target'."
        )
    around = cells[len(cells) // 2][len(cells[0]) // 2] if cells else 0
    free = free_reach(SHAPES[around], shape_deg, width_arcmin / 60, half_width)
    if half_height >= free:
        raise ValueError(
            f"A vernier of {2 * half_height:.3g} deg touches the {SHAPES[around]} of "
            f"{shape_deg:.3g} deg around it. Use a smaller `bar_length_arcmin` or a "
            "larger `shape_deg`."
        )


def _places(
    cells: Grid, spacing_deg: float, x_deg: float
) -> list[tuple[int, float, float]]:
    """Return number and centre of every shape."""
    return [
        (
            number,
            x_deg + (column - (len(numbers) - 1) / 2) * spacing_deg,
            ((len(cells) - 1) / 2 - row) * spacing_deg,
        )
        for row, numbers in enumerate(cells)
        for column, number in enumerate(numbers)
        if number > 0
    ]
