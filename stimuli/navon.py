"""Navon figures: a large letter made of small ones.

The small letters stand where the lines of the large one pass a lattice. Asked for the
large ("global") or the small ("local") letter, people, as recalled from Navon, are 50
to 100 ms faster for the large one when it is smaller than about 7 degrees, are slowed
by about 50 ms by another large letter when asked for the small one, and hardly the
other way round; sparse or very large figures reverse the advantage.

References
----------
Navon (1977). Forest before trees. Cognitive Psychology 9, 353-383.
doi:10.1016/0010-0285(77)90012-3
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    SIZE_DEG,
    Display,
    display_set,
    ground,
    lay,
)
from stimuli.glyphs import GLYPHS, glyph_cells, glyph_coverage

LEVELS = ("global", "local")
NEUTRAL = "square"
"""A glyph that is no letter: stands at the level that is not asked for."""

_ARGUMENTS = (
    *("global_letter", "local_letter", "n", "global_height_deg", "local_height_deg"),
    *("shift_x_deg", "shift_y_deg", "luminance", "background", "size_deg"),
    "px_per_deg",
)


def draw_navon(
    global_letter: str = "H",
    local_letter: str = "S",
    *,
    n: int = 7,
    global_height_deg: float = 5.0,
    local_height_deg: float = 0.45,
    shift_x_deg: float = 0.0,
    shift_y_deg: float = 0.0,
    luminance: float = 0.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw a large letter made of small ones, or one of the two alone.

    Parameters
    ----------
    global_letter, local_letter : str
        Keys of `stimuli.glyphs.GLYPHS`. Without a local letter ("") the large one is
        drawn with strokes, a fifth of its height thick; without a global one the small
        letter stands alone in the middle.
    n : int, default 7
        Small letters per side of the lattice, 5 or more for legible letters.
    global_height_deg : float, default 5
        Height and width of the large letter, from edge to edge.
    local_height_deg : float, default 0.45
        Height and width of the small letters. Their spacing is
        ``(global_height_deg - local_height_deg) / (n - 1)``, 0.76 degrees by default.
    shift_x_deg, shift_y_deg : float, default 0
        Centre of the figure.
    luminance : float, default 0
        Of the letters, 0..1.
    background : float, default 0.5
        Of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture in degrees.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Mask "figure": pixels covered by half or more. Geometry: `spacing_deg` and
        `places`, centres (x, y) of the small letters in degrees.

    Raises
    ------
    ValueError
        If a letter is unknown or both are missing, a number is out of range, small
        letters overlap, or the figure leaves the picture.

    Examples
    --------
    >>> display = draw_navon("T", "L", n=5)
    >>> len(display.geometry["places"])
    9
    """
    _check_sizes(n, global_height_deg, local_height_deg)
    check_between("luminance", luminance, low=0, high=1)
    for name, letter in (("global", global_letter), ("local", local_letter)):
        if letter:
            check_option(f"{name}_letter", letter, tuple(GLYPHS))
    if not (global_letter or local_letter):
        raise ValueError("Give a `global_letter`, a `local_letter`, or both.")
    _check_in_view(
        global_height_deg if global_letter else local_height_deg,
        max(abs(shift_x_deg), abs(shift_y_deg)),
        size_deg,
    )
    image = ground(size_deg, px_per_deg, background)
    spacing = (global_height_deg - local_height_deg) / (n - 1)
    places = [(shift_x_deg, shift_y_deg)]
    if global_letter and local_letter:
        row, column = np.nonzero(glyph_cells(global_letter, n))
        x = shift_x_deg + (column - (n - 1) / 2) * spacing
        y = shift_y_deg + ((n - 1) / 2 - row) * spacing
        places = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    letter = local_letter or global_letter
    height = local_height_deg if local_letter else global_height_deg
    cover = np.zeros(image.shape)
    for left, up in places:
        own = glyph_coverage(
            letter, height, image.shape, px_per_deg, x_deg=left, y_deg=up
        )
        np.maximum(cover, own, out=cover)
    lay(image, cover, luminance)
    geometry = {"spacing_deg": spacing, "places": places}
    return Display(image, px_per_deg, geometry, {"figure": cover >= 0.5})


def make_navon(
    letters: Sequence[str] = ("H", "S", "T", "X"),
    *,
    levels: Sequence[str] = ("compound",),
    neutral: bool = False,
    repeats: int = 1,
    n: int = 7,
    global_height_deg: float = 5.0,
    local_height_deg: float = 0.45,
    jitter_deg: float = 0.0,
    contrast_range: tuple[float, float] = (1.0, 1.0),
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    name: str = "navon",
    seed: int = 0,
    px_per_deg: float = PX_PER_DEG,
) -> StimulusSet:
    """Make Navon figures of all pairs of letters, or single letters of both sizes.

    Parameters
    ----------
    letters : sequence of str, default ("H", "S", "T", "X")
        Letters of both levels, two or more.
    levels : sequence of str, default ("compound",)
        "compound" for the figures, "global" and "local" for single large and small
        letters. A single small letter stands at a random place of the lattice.
    neutral : bool, default False
        Add figures with a square at one of the levels.
    repeats : int, default 1
        Pictures of each letter or pair.
    n : int, default 7
        Small letters per side of the lattice.
    global_height_deg : float, default 5
        Height of large letters.
    local_height_deg : float, default 0.45
        Height of small letters.
    jitter_deg : float, default 0
        Largest random shift of the whole figure, along both axes.
    contrast_range : pair of float, default (1, 1)
        Weber contrast below the ground is drawn from this range; 1 is black.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture in degrees.
    name : str, default "navon"
        Name of the set; other names give other shifts and contrasts.
    seed : int, default 0
        Seed, >= 0.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    StimulusSet
        One row per picture: `level` (as `levels`), `condition` ("congruent",
        "incongruent", "neutral_global", "neutral_local" or "single"), `spacing_deg`,
        `contrast`, and the arguments of `draw_navon`.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, small letters overlap, or a
        figure could leave the picture.

    Examples
    --------
    >>> make_navon("HS").table["condition"].tolist()
    ['congruent', 'incongruent', 'incongruent', 'congruent']
    """
    used = list(dict.fromkeys(letters))
    for letter in used:
        check_option("letters", letter, tuple(GLYPHS))
    if len(used) < 2:
        raise ValueError(f"`letters` must name two letters or more; got {used}.")
    for level in levels:
        check_option("levels", level, ("compound", *LEVELS))
    repeats = check_whole("repeats", repeats, low=1)
    seed = check_whole("seed", seed, low=0)
    check_between("jitter_deg", jitter_deg, low=0)
    low, high = contrast_range
    check_between("contrast_range", low, low=1e-3, high=1)
    check_between("contrast_range", high, low=low, high=1)
    _check_sizes(n, global_height_deg, local_height_deg)
    _check_in_view(global_height_deg, jitter_deg, size_deg)
    figures: list[tuple[str, str, str, str]] = []
    for level in levels:
        if level == "global":
            figures += [(level, "single", letter, "") for letter in used]
        elif level == "local":
            figures += [(level, "single", "", letter) for letter in used]
        else:
            figures += [
                (level, "congruent" if a == b else "incongruent", a, b)
                for a, b in itertools.product(used, used)
            ]
            if neutral:
                figures += [(level, "neutral_local", a, NEUTRAL) for a in used]
                figures += [(level, "neutral_global", NEUTRAL, b) for b in used]
    spacing = (global_height_deg - local_height_deg) / (n - 1)
    rows = []
    for (level, condition, large, small), repeat in itertools.product(
        figures, range(repeats)
    ):
        identity = f"{large or 'none'}_of_{small or 'strokes'}_r{repeat:03d}"
        rng = generator(seed, name, identity)
        shift = rng.uniform(-jitter_deg, jitter_deg, 2)
        contrast = rng.uniform(low, high)
        cell = rng.integers(0, n, 2) - (n - 1) / 2
        if level == "local":
            shift = shift + cell * spacing
        rows.append(
            {
                "stimulus_id": identity,
                "level": level,
                "condition": condition,
                "global_letter": large,
                "local_letter": small,
                "repeat": repeat,
                "n": n,
                "global_height_deg": global_height_deg,
                "local_height_deg": local_height_deg,
                "spacing_deg": spacing if level == "compound" else math.nan,
                "shift_x_deg": float(shift[0]),
                "shift_y_deg": float(shift[1]),
                "contrast": float(contrast),
                "luminance": background * (1 - contrast),
                "background": background,
                "size_deg": size_deg,
                "px_per_deg": px_per_deg,
                "seed": seed,
            }
        )
    return display_set(
        name,
        pd.DataFrame(rows),
        _draw_row,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
        background=background,
    )


def _draw_row(row: Mapping[str, Any]) -> Display:
    return draw_navon(**{name: row[name] for name in _ARGUMENTS})


def _check_sizes(n: int, global_height_deg: float, local_height_deg: float) -> None:
    check_whole("n", n, low=3)
    check_between("local_height_deg", local_height_deg, low=1e-3)
    check_between("global_height_deg", global_height_deg, low=local_height_deg)
    spacing = (global_height_deg - local_height_deg) / (n - 1)
    if spacing < local_height_deg:
        raise ValueError(
            f"Small letters of {local_height_deg:.3g} deg overlap at a spacing of "
            f"{spacing:.3g} deg. Use a larger `global_height_deg`, or a smaller "
            "`local_height_deg` or `n`."
        )


def _check_in_view(height_deg: float, shift_deg: float, size_deg: float) -> None:
    check_between("size_deg", size_deg, low=1e-3)
    if height_deg + 2 * shift_deg > size_deg + 1e-9:
        raise ValueError(
            f"A figure of {height_deg:.3g} deg that is moved by up to {shift_deg:.3g} "
            f"deg leaves the picture of {size_deg:.3g} deg. Use a larger `size_deg`."
        )
