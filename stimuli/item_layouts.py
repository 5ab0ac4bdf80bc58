"""Places of items in a search display: a jittered grid, a ring, or at random."""

import math

import numpy as np

from neurovis.core.checks import check_between, check_option, check_whole
from stimuli.canvas import cos_sin

LAYOUTS = ("grid", "ring", "random")

_ATTEMPTS = 2000
_RESTARTS = 50


def place_items(
    n: int,
    *,
    layout: str = "grid",
    size_deg: float = 12.0,
    cell_deg: float = 2.0,
    jitter_deg: float = 0.4,
    ring_radius_deg: float = 4.5,
    min_spacing_deg: float = 1.5,
    reach_deg: float = 0.5,
    round_items: bool = False,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    """Place items so that they neither overlap nor leave the display.

    Parameters
    ----------
    n : int
        Number of items, >= 1.
    layout : {"grid", "ring", "random"}
        Random cells of a grid about the centre, with a random shift; equal steps on a
        ring about the centre, from a random angle; or random places.
    size_deg : float, default 12
        Side of the display.
    cell_deg, jitter_deg : float, default 2 and 0.4
        Side of a cell and largest shift along both axes.
    ring_radius_deg : float, default 4.5
        Radius of the ring.
    min_spacing_deg : float, default 1.5
        Least distance of centres on a ring or at random.
    reach_deg : float, default 0.5
        Half the side of the square box of an item.
    round_items : bool, default False
        Whether items are discs in their boxes.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    list of pair of float
        Centres (x, y) in degrees, in random order.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, or items do not fit.

    Examples
    --------
    >>> len(place_items(5, rng=np.random.default_rng(0)))
    5
    """
    n = check_whole("n", n, low=1)
    check_option("layout", layout, LAYOUTS)
    check_between("reach_deg", reach_deg, low=1e-3)
    check_between("size_deg", size_deg, low=2 * reach_deg)
    if layout == "grid":
        return _on_grid(n, size_deg, cell_deg, jitter_deg, reach_deg, rng)
    # Any two upright boxes are apart when centres are sqrt(2) sides apart.
    least = 2 * reach_deg * (1.0 if round_items else math.sqrt(2))
    if n > 1 and min_spacing_deg < least - 1e-9:
        raise ValueError(
            f"`min_spacing_deg` is {min_spacing_deg:.3g}, but items of "
            f"{2 * reach_deg:.3g} deg can overlap below {least:.3g}."
        )
    if layout == "ring":
        return _on_ring(n, size_deg, ring_radius_deg, min_spacing_deg, reach_deg, rng)
    return _at_random(n, size_deg, min_spacing_deg, reach_deg, rng)


def _on_grid(
    n: int,
    size_deg: float,
    cell_deg: float,
    jitter_deg: float,
    reach_deg: float,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    check_between("cell_deg", cell_deg, low=1e-3)
    check_between("jitter_deg", jitter_deg, low=0)
    if cell_deg < 2 * (reach_deg + jitter_deg) - 1e-9:
        raise ValueError(
            f"Cells of {cell_deg:.3g} deg do not hold items of {2 * reach_deg:.3g} deg "
            f"with shifts of {jitter_deg:.3g} deg. Use a larger `cell_deg` or a "
            "smaller `jitter_deg`."
        )
    side = math.floor(size_deg / cell_deg + 1e-9)
    if n > side**2:
        raise ValueError(
            f"`set_sizes` has {n}, but {size_deg:.3g} deg hold {side} x {side} cells "
            f"of {cell_deg:.3g} deg. Use fewer items, a larger `size_deg` or smaller "
            "cells."
        )
    cells = rng.permutation(side**2)[:n]
    shifts = rng.uniform(-jitter_deg, jitter_deg, (n, 2))
    middle = (side - 1) / 2
    return [
        (
            float((cell % side - middle) * cell_deg + right),
            float((middle - cell // side) * cell_deg + up),
        )
        for cell, (right, up) in zip(cells, shifts, strict=True)
    ]


def _on_ring(
    n: int,
    size_deg: float,
    radius_deg: float,
    spacing_deg: float,
    reach_deg: float,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    check_between("ring_radius_deg", radius_deg, low=0, high=size_deg / 2 - reach_deg)
    if n > 1 and 2 * radius_deg * math.sin(math.pi / n) < spacing_deg - 1e-9:
        least = spacing_deg / (2 * math.sin(math.pi / n))
        raise ValueError(
            f"`set_sizes` has {n}: neighbours on a ring of {radius_deg:.3g} deg are "
            f"less than {spacing_deg:.3g} deg apart. Use fewer items, or a "
            f"`ring_radius_deg` of {math.ceil(100 * least) / 100} or more."
        )
    first = 360 * rng.random()
    turns = [cos_sin(first + 360 * i / n) for i in rng.permutation(n)]
    return [(radius_deg * cos, radius_deg * sin) for cos, sin in turns]


def _at_random(
    n: int,
    size_deg: float,
    spacing_deg: float,
    reach_deg: float,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    edge = size_deg / 2 - reach_deg
    for _ in range(_RESTARTS):
        places = np.zeros((0, 2))
        for candidate in rng.uniform(-edge, edge, (_ATTEMPTS, 2)):
            if (np.hypot(*(places - candidate).T) >= spacing_deg).all():
                places = np.vstack([places, candidate])
                if len(places) == n:
                    return [(float(x), float(y)) for x, y in places]
    raise ValueError(
        f"{n} items that are {spacing_deg:.3g} deg apart do not fit into "
        f"{size_deg:.3g} deg (in {_RESTARTS} attempts). Use fewer items, a larger "
        "`size_deg`, or a smaller `min_spacing_deg`."
    )
