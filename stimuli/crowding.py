"""Crowded letters: a letter in the periphery between others.

The target stands at some eccentricity; flankers stand on the line through fixation and
target ("radial": the inner one nearer to fixation, the outer one farther away) or at
right angles to it ("tangential"). Bouma's law, recalled: flankers hurt within about
half the eccentricity; with criteria in use today the critical spacing is 0.2 to 0.35
of it. It is about twice as large for radial as for tangential flankers, an outer
flanker hurts more than an inner one, and the size of the letters does not matter.

References
----------
Bouma (1970). Nature 226, 177-178. doi:10.1038/226177a0. Pelli, Palomares and Majaj
(2004). Journal of Vision 4(12), 12. doi:10.1167/4.12.12. Kurzawski et al. (2023).
Journal of Vision 23(8), 6. doi:10.1167/jov.23.8.6
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
from stimuli.canvas import cos_sin
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    Display,
    display_set,
    ground,
    lay,
    stroke,
)
from stimuli.glyphs import GLYPHS, SLOAN_LETTERS, glyph_coverage

# Places of flankers in spacings: outwards from fixation, and counter-clockwise.
_PLACES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "none": (),
    "inner": ((-1, 0),),
    "outer": ((1, 0),),
    "radial": ((-1, 0), (1, 0)),
    "tangential": ((0, -1), (0, 1)),
    "all": ((-1, 0), (1, 0), (0, -1), (0, 1)),
}
ARRANGEMENTS = tuple(_PLACES)

VIEWS = ("fixation", "target")
"""What is in the middle of the picture."""

_ARGUMENTS = (
    *("target", "flankers", "arrangement", "eccentricity_deg", "meridian_deg"),
    *("spacing_deg", "height_deg", "shift_x_deg", "shift_y_deg", "luminance"),
    *("background", "view", "fixation_mark", "size_deg", "px_per_deg"),
)


def draw_crowded_letter(
    target: str = "H",
    flankers: str | Sequence[str] = ("C", "D"),
    *,
    arrangement: str = "radial",
    eccentricity_deg: float = 5.0,
    meridian_deg: float = 0.0,
    spacing_deg: float = 1.5,
    height_deg: float = 0.6,
    shift_x_deg: float = 0.0,
    shift_y_deg: float = 0.0,
    luminance: float = 0.0,
    background: float = GREY,
    view: str = "fixation",
    fixation_mark: bool = False,
    size_deg: float = 16.0,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw a letter with flankers.

    Parameters
    ----------
    target : str, default "H"
        Key of `stimuli.glyphs.GLYPHS`.
    flankers : str or sequence of str, default ("C", "D")
        One per place of the arrangement, or all in one text with spaces between:
        inner, outer, then clockwise, counter-clockwise.
    arrangement : str, default "radial"
        "none", "inner", "outer", "radial", "tangential" or "all".
    eccentricity_deg : float, default 5
        Distance of the target from fixation.
    meridian_deg : float, default 0
        Direction of the target from fixation, counter-clockwise from the right.
    spacing_deg : float, default 1.5
        From the centre of the target to that of each flanker.
    height_deg : float, default 0.6
        Height and width of the letters.
    shift_x_deg, shift_y_deg : float, default 0
        Moves target and flankers together.
    luminance : float, default 0
        Of the letters, 0..1.
    background : float, default 0.5
        Of the ground, 0..1.
    view : {"fixation", "target"}
        What is in the middle of the picture. "target" is a window on the periphery,
        for observers that see equally well everywhere.
    fixation_mark : bool, default False
        Draw a small cross at fixation.
    size_deg : float, default 16
        Side of the picture in degrees.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Masks "target" and "flanker_0", "flanker_1" ...: pixels covered by half or
        more. Geometry: `x_deg`, `y_deg` of the target in the picture, and
        `flankers`, a list of glyph, x and y.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, letters overlap, or one leaves
        the picture.

    Examples
    --------
    >>> display = draw_crowded_letter("H", "C D", spacing_deg=1.0)
    >>> display.geometry["flankers"]
    [('C', 4.0, 0.0), ('D', 6.0, 0.0)]
    """
    names = flankers.split() if isinstance(flankers, str) else list(flankers)
    check_option("arrangement", arrangement, ARRANGEMENTS)
    check_option("view", view, VIEWS)
    check_between("luminance", luminance, low=0, high=1)
    places = _PLACES[arrangement]
    if len(names) != len(places):
        raise ValueError(
            f"`flankers` must name {len(places)} letters for the arrangement "
            f"{arrangement!r}; got {names}."
        )
    for name in (target, *names):
        check_option("target and flankers", name, tuple(GLYPHS))
    cos, sin = _check_geometry(
        arrangement, eccentricity_deg, meridian_deg, spacing_deg, height_deg
    )
    x = shift_x_deg + (eccentricity_deg * cos if view == "fixation" else 0.0)
    y = shift_y_deg + (eccentricity_deg * sin if view == "fixation" else 0.0)
    letters = [
        (
            name,
            x + spacing_deg * (out * cos - around * sin),
            y + spacing_deg * (out * sin + around * cos),
        )
        for name, (out, around) in zip(names, places, strict=True)
    ]
    image = ground(size_deg, px_per_deg, background)
    masks = {}
    for i, (name, left, up) in enumerate([(target, x, y), *letters]):
        if max(abs(left), abs(up)) + height_deg / 2 > size_deg / 2 + 1e-9:
            raise ValueError(
                f"The letter {name} at ({left:.3g}, {up:.3g}) deg leaves the picture "
                f"of {size_deg:.3g} deg. Use a larger `size_deg`, or view='target'."
            )
        cover = glyph_coverage(
            name, height_deg, image.shape, px_per_deg, x_deg=left, y_deg=up
        )
        lay(image, cover, luminance)
        masks[f"flanker_{i - 1}" if i else "target"] = cover >= 0.5
    if fixation_mark and view == "fixation":
        for line in (((-0.15, 0), (0.15, 0)), ((0, -0.15), (0, 0.15))):
            stroke(image, line, 0.06, luminance, px_per_deg)
    geometry = {"x_deg": x, "y_deg": y, "flankers": letters}
    return Display(image, px_per_deg, geometry, masks)


def make_crowded_letters(
    letters: Sequence[str] = SLOAN_LETTERS,
    *,
    arrangements: Sequence[str] = ("none", "radial", "tangential"),
    spacings_deg: Sequence[float] = (0.7, 1.0, 1.5, 2.0, 2.5),
    eccentricities_deg: Sequence[float] = (5.0,),
    meridians_deg: Sequence[float] = (0.0,),
    heights_deg: Sequence[float] = (0.6,),
    repeats: int = 1,
    jitter_deg: float = 0.0,
    contrast_range: tuple[float, float] = (1.0, 1.0),
    background: float = GREY,
    view: str = "fixation",
    fixation_mark: bool = False,
    size_deg: float = 16.0,
    name: str = "crowded_letters",
    seed: int = 0,
    px_per_deg: float = PX_PER_DEG,
) -> StimulusSet:
    """Make letters with and without flankers.

    Parameters
    ----------
    letters : sequence of str, default the ten Sloan letters
        Targets, each as often; flankers are drawn from the others, all different.
    arrangements : sequence of str, default ("none", "radial", "tangential")
        Of `ARRANGEMENTS`. Single letters ("none") have no spacing.
    spacings_deg : sequence of float
        From centre to centre.
    eccentricities_deg : sequence of float, default (5,)
        Distances from fixation.
    meridians_deg : sequence of float, default (0,)
        Directions from fixation, counter-clockwise from the right.
    heights_deg : sequence of float, default (0.6,)
        Heights of the letters.
    repeats : int, default 1
        Pictures of each letter in each condition.
    jitter_deg : float, default 0
        Largest random shift of target and flankers, along both axes.
    contrast_range : pair of float, default (1, 1)
        Weber contrast below the ground is drawn from this range, 0 < contrast <= 1: a
        contrast of 1 is black.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    view : {"fixation", "target"}
        What is in the middle of the picture.
    fixation_mark : bool, default False
        Draw a small cross at fixation.
    size_deg : float, default 16
        Side of the picture in degrees.
    name : str, default "crowded_letters"
        Name of the set; other names give other flankers, shifts and contrasts.
    seed : int, default 0
        Seed, >= 0.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    StimulusSet
        One row per picture: `condition`, `target` (what is asked), `flankers` (text
        with spaces), `spacing_over_eccentricity`, `contrast`, and the arguments of
        `draw_crowded_letter`.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, letters overlap, or one could
        leave the picture.

    Examples
    --------
    >>> stimuli = make_crowded_letters("CDHKN", spacings_deg=[1.0])
    >>> len(stimuli), stimuli.load(0).shape
    (15, (512, 512, 3))
    """
    targets = list(dict.fromkeys(letters))
    for letter in targets:
        check_option("letters", letter, tuple(GLYPHS))
    repeats = check_whole("repeats", repeats, low=1)
    seed = check_whole("seed", seed, low=0)
    check_between("jitter_deg", jitter_deg, low=0)
    check_option("view", view, VIEWS)
    low, high = contrast_range
    check_between("contrast_range", low, low=1e-3, high=1)
    check_between("contrast_range", high, low=low, high=1)
    cells: list[tuple[str, float, float, float, float]] = []
    for arrangement in arrangements:
        check_option("arrangements", arrangement, ARRANGEMENTS)
        if len(targets) <= len(_PLACES[arrangement]):
            raise ValueError(
                f"`letters` has {len(targets)}: the arrangement {arrangement!r} needs "
                f"{len(_PLACES[arrangement]) + 1} or more, target and flankers."
            )
        spacings = spacings_deg if arrangement != "none" else (math.nan,)
        cells += itertools.product(
            [arrangement], eccentricities_deg, meridians_deg, heights_deg, spacings
        )
    rows = []
    for arrangement, eccentricity, meridian, height, spacing in cells:
        _check_in_view(
            arrangement, eccentricity, meridian, height, spacing, jitter_deg, view,
            size_deg,
        )  # fmt: skip
        condition = arrangement
        if arrangement != "none":
            condition += f"_{spacing:g}"
        for letter in targets:
            for repeat in range(repeats):
                identity = (
                    f"{letter}_{condition}_e{eccentricity:g}_m{meridian:g}"
                    f"_h{height:g}_r{repeat:03d}"
                )
                rng = generator(seed, name, identity)
                others = [other for other in targets if other != letter]
                drawn = rng.permutation(others)[: len(_PLACES[arrangement])]
                shift = rng.uniform(-jitter_deg, jitter_deg, 2)
                contrast = rng.uniform(low, high)
                rows.append(
                    {
                        "stimulus_id": identity,
                        "condition": condition,
                        "arrangement": arrangement,
                        "target": letter,
                        "flankers": " ".join(drawn),
                        "spacing_deg": float(spacing),
                        "spacing_over_eccentricity": spacing / eccentricity
                        if eccentricity > 0
                        else math.nan,
                        "eccentricity_deg": float(eccentricity),
                        "meridian_deg": float(meridian),
                        "height_deg": float(height),
                        "repeat": repeat,
                        "shift_x_deg": float(shift[0]),
                        "shift_y_deg": float(shift[1]),
                        "contrast": float(contrast),
                        "luminance": background * (1 - contrast),
                        "background": background,
                        "view": view,
                        "fixation_mark": fixation_mark,
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
    return draw_crowded_letter(**{name: row[name] for name in _ARGUMENTS})


def _check_geometry(
    arrangement: str,
    eccentricity_deg: float,
    meridian_deg: float,
    spacing_deg: float,
    height_deg: float,
) -> tuple[float, float]:
    """Refuse letters that overlap; return the direction of the target."""
    check_between("eccentricity_deg", eccentricity_deg, low=0)
    check_between("meridian_deg", meridian_deg)
    check_between("height_deg", height_deg, low=1e-3)
    cos, sin = cos_sin(meridian_deg)
    if arrangement == "none":
        return cos, sin
    check_between("spacing_deg", spacing_deg, low=1e-3)
    # Upright boxes are apart when their centres are by a side along x or y.
    apart = spacing_deg * max(abs(cos), abs(sin))
    if apart < height_deg * (1 - 1e-9):
        least = height_deg / max(abs(cos), abs(sin))
        raise ValueError(
            f"Letters of {height_deg:.3g} deg overlap at a spacing of "
            f"{spacing_deg:.3g} deg in the direction of {meridian_deg:g} deg. Use a "
            f"spacing of {math.ceil(1000 * least) / 1000} deg or more, or smaller "
            "letters."
        )
    return cos, sin


def _check_in_view(
    arrangement: str,
    eccentricity_deg: float,
    meridian_deg: float,
    height_deg: float,
    spacing_deg: float,
    jitter_deg: float,
    view: str,
    size_deg: float,
) -> None:
    cos, sin = _check_geometry(
        arrangement, eccentricity_deg, meridian_deg, spacing_deg, height_deg
    )
    away = eccentricity_deg if view == "fixation" else 0.0
    places = [(0, 0), *_PLACES[arrangement]]
    step = 0.0 if arrangement == "none" else spacing_deg
    centres = np.array(
        [
            (
                (away + out * step) * cos - around * step * sin,
                (away + out * step) * sin + around * step * cos,
            )
            for out, around in places
        ]
    )
    needed = 2 * float(np.abs(centres).max() + height_deg / 2 + jitter_deg)
    if needed > size_deg + 1e-9:
        raise ValueError(
            f"Letters reach beyond a picture of {size_deg:.3g} deg (arrangement "
            f"{arrangement!r}, spacing {step:.3g} deg, eccentricity "
            f"{eccentricity_deg:.3g} deg). Use a `size_deg` of "
            f"{math.ceil(100 * needed) / 100} or more, or view='target'."
        )
