"""Contours at the ends of lines: abutting gratings and Ehrenstein figures."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option, check_whole
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
from stimuli.outlines import disc, rectangle, turn

FloatArray = NDArray[np.float64]

PATTERNS = ("abutting-grating", "ehrenstein")


def draw_abutting_grating(
    *,
    period_deg: float = 0.5,
    line_width_deg: float = 0.06,
    border_deg: float = 0.0,
    shift: float = 0.5,
    rotation_deg: float = 0.0,
    contrast: float = 1.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw two gratings of lines that meet shifted: an edge without a step.

    Parameters
    ----------
    period_deg : float, default 0.5
        Distance of neighbouring lines.
    line_width_deg : float, default 0.06
        Of lines.
    border_deg : float, default 0
        Angle of the border to the normal of the lines, -60..60, counter-clockwise.
    shift : float, default 0.5
        Of one grating against the other, in periods, 0..0.5. Without shift the lines
        go on across the border: the control.
    rotation_deg : float, default 0
        Turn of the whole; unturned, lines are horizontal.
    contrast : float, default 1
        Weber contrast of the lines, 0..1; they are darker than the ground.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Masks: "edge" (a band of 0.1 degrees about the border) and "left" (what lies on
        the left of the border, before the turn).

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    Soriano, Spillmann and Bach (1996). Vision Res. 36, 109-116.
    doi:10.1016/0042-6989(95)00107-B

    Examples
    --------
    >>> draw_abutting_grating(shift=0.0).masks["edge"].shape
    (224, 224)
    """
    check_between("period_deg", period_deg, low=1e-3)
    check_between("line_width_deg", line_width_deg, low=1e-3, high=period_deg / 2)
    check_between("border_deg", border_deg, low=-60, high=60)
    check_between("shift", shift, low=0, high=0.5)
    check_between("rotation_deg", rotation_deg)
    check_between("contrast", contrast, low=0, high=1)
    image = ground(size_deg, px_per_deg, background)
    reach = size_deg  # beyond every corner of the picture, however it is turned
    cos, sin = cos_sin(border_deg)
    luminance = background * (1 - contrast)
    n_lines = int(np.ceil(reach / period_deg)) + 1
    for k in range(-n_lines, n_lines):
        for side in (-1, 1):
            middle = (k + 0.5 + side * shift / 2) * period_deg
            y = np.array([middle - line_width_deg / 2, middle + line_width_deg / 2])
            x = -y * sin / cos  # of the border
            outline = np.array(
                [[side * reach, y[0]], [x[0], y[0]], [x[1], y[1]], [side * reach, y[1]]]
            )
            fill(image, turn(outline, rotation_deg), luminance, px_per_deg)
    x_deg, y_deg = pixel_centres(image.shape, px_per_deg)
    cos, sin = cos_sin(border_deg + rotation_deg)
    across = x_deg * cos + y_deg * sin
    masks = {
        "edge": np.abs(across) <= max(0.1, 1 / px_per_deg) / 2,
        "left": across < 0,
    }
    geometry = {"pattern": PATTERNS[0], "shift": shift, "period_deg": period_deg}
    return Display(image, px_per_deg, geometry, masks)


def draw_ehrenstein(
    *,
    n_lines: int = 16,
    gap_radius_deg: float = 1.0,
    line_length_deg: float = 1.5,
    line_width_deg: float = 0.06,
    kind: str = "illusory",
    rotation_deg: float = 0.0,
    contrast: float = 1.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw radial lines that end on a circle, which looks like a bright disc.

    Parameters
    ----------
    n_lines : int, default 16
        Lines, at least 3.
    gap_radius_deg : float, default 1
        Radius of the circle on which they end.
    line_length_deg : float, default 1.5
        Length of the lines.
    line_width_deg : float, default 0.06
        Width of the lines.
    kind : {"illusory", "ring", "staggered"}
        "ring" draws the circle too, which destroys the brightness of the disc.
        "staggered" moves the lines outward by 0 to 0.75 of the radius in turn, so that
        their ends lie on no circle.
    rotation_deg : float, default 0
        Turn.
    contrast : float, default 1
        Weber contrast of the lines, 0..1; they are darker than the ground.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    Display
        Masks: "figure" (the disc) and "edge" (a band of 0.1 degrees about its rim).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the lines leave the picture.

    References
    ----------
    Ehrenstein (1941). Z. Psychol. 150, 83-91.

    Examples
    --------
    >>> float(draw_ehrenstein().image[112, 112])
    0.5
    """
    check_option("kind", kind, ("illusory", "ring", "staggered"))
    n = check_whole("n_lines", n_lines, low=3)
    check_between("gap_radius_deg", gap_radius_deg, low=1e-3)
    check_between("line_length_deg", line_length_deg, low=1e-3)
    check_between("line_width_deg", line_width_deg, low=1e-3, high=gap_radius_deg)
    check_between("rotation_deg", rotation_deg)
    check_between("contrast", contrast, low=0, high=1)
    stagger = [0.25 * (k % 4) if kind == "staggered" else 0.0 for k in range(n)]
    reach = gap_radius_deg * (1 + max(stagger)) + line_length_deg
    if reach > size_deg / 2:
        raise ValueError(
            f"The lines reach {reach:.2f} degrees from the centre, the picture only "
            f"{size_deg / 2:.2f}: shorten them, or raise `size_deg`."
        )
    image = ground(size_deg, px_per_deg, background)
    luminance = background * (1 - contrast)
    if kind == "ring":
        fill(image, disc(gap_radius_deg + line_width_deg), luminance, px_per_deg)
        fill(image, disc(gap_radius_deg), background, px_per_deg)
    for k in range(n):
        start = gap_radius_deg * (1 + stagger[k])
        line = rectangle(
            line_length_deg, line_width_deg, x_deg=start + line_length_deg / 2
        )
        fill(image, turn(line, rotation_deg + 360 * k / n), luminance, px_per_deg)
    x, y = pixel_centres(image.shape, px_per_deg)
    distance = np.hypot(x, y)
    band = max(0.1, 1 / px_per_deg) / 2
    masks = {
        "figure": distance <= gap_radius_deg,
        "edge": np.abs(distance - gap_radius_deg) <= band,
    }
    geometry = {"pattern": PATTERNS[1], "kind": kind, "radius_deg": gap_radius_deg}
    return Display(image, px_per_deg, geometry, masks)


def make_line_contours(
    *,
    shifts: Sequence[float] = (0.0, 0.5),
    borders_deg: Sequence[float] = (0.0, 30.0),
    kinds: Sequence[str] = ("illusory", "ring", "staggered"),
    n_lines: Sequence[int] = (8, 16),
    rotations_deg: Sequence[float] = (0.0,),
    contrasts: Sequence[float] = (1.0,),
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
) -> StimulusSet:
    """Make abutting gratings and Ehrenstein figures.

    Parameters
    ----------
    shifts, borders_deg : sequence of float
        Of abutting gratings, all combinations; empty for none.
    kinds : sequence of str
        Of Ehrenstein figures.
    n_lines : sequence of int, default (8, 16)
        Of Ehrenstein figures, with all `kinds`; empty for none.
    rotations_deg, contrasts : sequence of float
        Of both patterns.
    background : float, default 0.5
        Luminance of the ground.
    size_deg : float, default 7
        Side of the pictures.
    px_per_deg : float, default 32
        Pixels per degree.

    Returns
    -------
    StimulusSet
        One row per picture: `pattern`, `kind` ("shifted" or "aligned" for gratings),
        `shift`, `border_deg`, `n_lines` (0 for gratings), `rotation_deg`, `contrast`
        and more; NaN where a number does not belong to the pattern.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there is no combination.

    Examples
    --------
    >>> make_line_contours().table["pattern"].value_counts().to_dict()
    {'ehrenstein': 6, 'abutting-grating': 4}
    """
    common = {
        "background": float(background),
        "size_deg": float(size_deg),
        "px_per_deg": float(px_per_deg),
    }
    rows: list[dict[str, Any]] = [
        {
            "pattern": PATTERNS[0],
            "kind": "shifted" if shift else "aligned",
            "shift": float(shift),
            "border_deg": float(border),
            "n_lines": 0,
            "rotation_deg": float(rotation),
            "contrast": float(contrast),
        }
        for shift, border, rotation, contrast in product(
            shifts, borders_deg, rotations_deg, contrasts
        )
    ]
    rows += [
        {
            "pattern": PATTERNS[1],
            "kind": kind,
            "shift": np.nan,
            "border_deg": np.nan,
            "n_lines": n,
            "rotation_deg": float(rotation),
            "contrast": float(contrast),
        }
        for kind, n, rotation, contrast in product(
            kinds, n_lines, rotations_deg, contrasts
        )
    ]
    if not rows:
        raise ValueError("There is no picture: give `shifts` or `n_lines`.")
    for row in rows:  # cheap at so few pixels, and every fault is told now
        _draw({**row, **common, "px_per_deg": 4.0})
    table = pd.DataFrame(
        [{"stimulus_id": f"lines_{i:04d}", **r, **common} for i, r in enumerate(rows)]
    )
    return display_set(
        "line-contours",
        table,
        _draw,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
        background=background,
    )


def _draw(row: Mapping[str, Any]) -> Display:
    both = ("rotation_deg", "contrast", "background", "size_deg", "px_per_deg")
    shared = {name: row[name] for name in both}
    if row["pattern"] == PATTERNS[0]:
        return draw_abutting_grating(
            shift=row["shift"], border_deg=row["border_deg"], **shared
        )
    return draw_ehrenstein(kind=row["kind"], n_lines=row["n_lines"], **shared)
