"""Kanizsa figures: contours that are seen where nothing is drawn, and their controls.

Inducers stand at the corners of a regular polygon; what is drawn of the polygon's sides
ends where the inducers end. The part that is drawn is the support ratio (Shipley and
Kellman 1992, Percept. Psychophys. 52, 106-120, doi:10.3758/BF03206762).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
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
    ground,
    lay,
    pixel_centres,
)
from stimuli.kanizsa_geometry import (
    INDUCERS,
    corner_directions,
    corners_of,
    inducer_outlines,
    kanizsa_outline,
    mouth_outline,
    side_signs,
)
from stimuli.outlines import turn

FloatArray = NDArray[np.float64]

KINDS = ("illusory", "outward", "random", "closed", "outline", "surface")
"""The figure; inducers turned outward, or by chance; mouths closed by an arc; and the
real figure without inducers, as a line or as a surface."""

POLARITIES = ("same", "mixed")

CONTRASTS = (0.01, 0.02, 0.04, 0.08, 0.16)
"""Of real figures, Weber."""

TILTS_DEG = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Of inducers, for fat and thin figures."""

_BAND_DEG = 0.1  # width of the area that counts as contour
_SMALLEST_TURN_DEG = 20.0  # away from the figure, for inducers turned by chance


def draw_kanizsa(
    n_vertices: int = 4,
    side_deg: float = 4.0,
    support_ratio: float = 0.5,
    *,
    kind: str = "illusory",
    inducer: str = "pacman",
    polarity: str = "same",
    tilt_deg: float = 0.0,
    rotation_deg: float = 0.0,
    contrast: float = 1.0,
    real_contrast: float = 0.16,
    line_width_deg: float = 0.06,
    x_deg: float = 0.0,
    y_deg: float = 0.0,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> Display:
    """Draw an illusory figure, one of its controls, or the real figure.

    Parameters
    ----------
    n_vertices : int, default 4
        Corners of the figure, 3..8.
    side_deg : float, default 4
        Side of the figure.
    support_ratio : float, default 0.5
        Diameter of the inducers over the side, 0 < ratio < 1.
    kind : {"illusory", "outward", "random", "closed", "outline", "surface"}
        "outward" turns every inducer by 180 degrees, "random" by 20 to 340 degrees;
        "closed" completes every mouth with a thin arc on the rim. "outline" and
        "surface" are the real figure, without inducers.
    inducer : {"pacman", "line-ends", "arcs"}
        Discs without the wedge that belongs to the figure; four lines that end at
        right angles on each edge of the wedge; or four concentric arcs that end there.
    polarity : {"same", "mixed"}
        All inducers darker than the ground, or every second one brighter.
    tilt_deg : float, default 0
        Fat (> 0) and thin (< 0) figures, see `kanizsa_outline`.
    rotation_deg : float, default 0
        Turn of the figure.
    contrast : float, default 1
        Weber contrast of inducers: luminance is ``background (1 - contrast)``, and
        ``background (1 + contrast)`` where it is brighter.
    real_contrast : float, default 0.16
        Weber contrast of the real figure, -1..1; above 0 it is brighter.
    line_width_deg : float, default 0.06
        Of lines and arcs, and of the outline.
    x_deg, y_deg : float
        Centre of the figure.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the turns of kind "random".

    Returns
    -------
    Display
        Masks: "inducers" (every pixel that they touch; without a real figure they would
        stand there), "figure", "edge" (a band of 0.1 degrees about the sides where no
        inducer is) and "contour" (a band about the whole figure).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the figure leaves the picture.

    Notes
    -----
    Without tilt, all kinds with inducers but "closed" have equal mean luminance up to
    the anti-aliasing.

    References
    ----------
    Kanizsa (1979). Organization in vision. Praeger. Ringach and Shapley (1996). Vision
    Res. 36, 3037-3050. doi:10.1016/0042-6989(96)00062-4 (fat and thin figures).

    Examples
    --------
    >>> display = draw_kanizsa()
    >>> display.image.shape, float(display.image[112, 112])
    ((224, 224), 0.5)
    """
    _check_figure(
        kind=kind,
        inducer=inducer,
        polarity=polarity,
        n_vertices=n_vertices,
        side_deg=side_deg,
        support_ratio=support_ratio,
        contrast=contrast,
        real_contrast=real_contrast,
        line_width_deg=line_width_deg,
        x_deg=x_deg,
        y_deg=y_deg,
        rotation_deg=rotation_deg,
        background=background,
        size_deg=size_deg,
    )
    outline, gaps = kanizsa_outline(
        n_vertices,
        side_deg,
        support_ratio,
        tilt_deg=tilt_deg,
        rotation_deg=rotation_deg,
        x_deg=x_deg,
        y_deg=y_deg,
    )
    place = np.array([x_deg, y_deg])
    corners = turn(corners_of(n_vertices, side_deg), rotation_deg) + place
    radius = support_ratio * side_deg / 2
    image = ground(size_deg, px_per_deg, background)
    shape = image.shape
    turns = _turns(n_vertices, kind, tilt_deg, seed)
    covers = []
    for corner, angle, direction in zip(
        corners, turns, corner_directions(n_vertices), strict=True
    ):
        parts = inducer_outlines(inducer, n_vertices, radius, line_width_deg)
        if kind == "closed":
            parts.append(mouth_outline(n_vertices, radius, line_width_deg))
        cover = np.zeros(shape)
        for part in parts:
            # Wedges point to the right; they must point to the centre of the figure.
            shown = turn(part, direction + 180 + rotation_deg + angle) + corner
            np.maximum(cover, coverage(shown, shape, px_per_deg), out=cover)
        covers.append(cover)
    figure = coverage(outline, shape, px_per_deg)
    if kind == "surface":
        lay(image, figure, background * (1 + real_contrast))
    elif kind == "outline":
        line = _line(outline, line_width_deg, shape, px_per_deg)
        lay(image, line, background * (1 + real_contrast))
    else:
        for k, cover in enumerate(covers):
            bright = polarity == "mixed" and k % 2
            lay(image, cover, background * (1 + (contrast if bright else -contrast)))
    masks = {
        "inducers": np.any([cover > 0 for cover in covers], axis=0),
        "figure": figure >= 0.5,
        "edge": np.any([_band(gap, shape, px_per_deg) for gap in gaps], axis=0),
        "contour": _band(outline, shape, px_per_deg, closed=True),
    }
    geometry = {
        "kind": kind,
        "corners_deg": corners,
        "outline_deg": outline,
        "gaps_deg": gaps,
        "radius_deg": radius,
        "support_ratio": support_ratio,
        "turns_deg": tuple(turns),
    }
    return Display(image, px_per_deg, geometry, masks)


def kanizsa_display(row: Mapping[str, Any]) -> Display:
    """Draw the picture of a row of a set.

    Parameters
    ----------
    row : mapping
        A row of the table of `make_illusory_contours`.

    Returns
    -------
    Display
        With masks and geometry.
    """
    left_out = ("stimulus_id", "place")
    return draw_kanizsa(**{k: v for k, v in row.items() if k not in left_out})


def make_illusory_contours(
    *,
    kinds: Sequence[str] = ("illusory", "outward", "outline"),
    inducers: Sequence[str] = ("pacman",),
    polarities: Sequence[str] = ("same",),
    support_ratios: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
    sides_deg: Sequence[float] = (3.5,),
    tilts_deg: Sequence[float] = (0.0,),
    rotations_deg: Sequence[float] = (0.0,),
    n_vertices: Sequence[int] = (4,),
    contrasts: Sequence[float] = (1.0,),
    real_contrasts: Sequence[float] = (0.16,),
    n_places: int = 1,
    jitter_deg: float = 0.0,
    line_width_deg: float = 0.06,
    background: float = GREY,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make Kanizsa figures of all combinations of factors.

    Parameters
    ----------
    kinds, inducers, polarities : sequence of str
        As `draw_kanizsa`.
    support_ratios, sides_deg, tilts_deg, rotations_deg : sequence of float
        As `draw_kanizsa`.
    n_vertices : sequence of int, default (4,)
        Corners.
    contrasts : sequence of float, default (1,)
        Of inducers.
    real_contrasts : sequence of float, default (0.16,)
        Of real figures; for kinds with inducers there is one picture for all of them.
    n_places : int, default 1
        Pictures of each combination, each at its own place: the same places for all.
    jitter_deg : float, default 0
        Largest shift of the centre, to each side.
    line_width_deg : float, default 0.06
        Of lines, arcs and outlines.
    background : float, default 0.5
        Luminance of the ground.
    size_deg : float, default 7
        Side of the pictures.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of places, and of inducers that are turned by chance.

    Returns
    -------
    StimulusSet
        One row per picture, with all arguments of `draw_kanizsa` as columns and `place`
        (0-based): `draw_kanizsa(**row)` with them draws it.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, there is no combination, or a figure would leave
        its picture.

    Examples
    --------
    >>> stimuli = make_illusory_contours(kinds=["illusory"], support_ratios=[0.5])
    >>> len(stimuli), stimuli.load(0).shape
    (1, (224, 224, 3))
    """
    check_whole("n_places", n_places, low=1)
    check_between("jitter_deg", jitter_deg, low=0)
    places = [
        generator(seed, "kanizsa place", place).uniform(-jitter_deg, jitter_deg, 2)
        for place in range(n_places)
    ]
    rows: list[dict[str, Any]] = []
    for values in product(
        kinds, n_vertices, sides_deg, support_ratios, inducers, polarities, tilts_deg,
        rotations_deg, contrasts, real_contrasts, range(n_places),
    ):  # fmt: skip
        row: dict[str, Any] = dict(zip(_FACTORS, values, strict=True))
        if row["kind"] not in ("outline", "surface"):
            row["real_contrast"] = float(real_contrasts[0])
            if values[-2] != real_contrasts[0]:
                continue
        x, y = places[row["place"]]
        row |= {
            "x_deg": float(x),
            "y_deg": float(y),
            "line_width_deg": float(line_width_deg),
            "background": float(background),
            "size_deg": float(size_deg),
            "px_per_deg": float(px_per_deg),
            "seed": seed,
        }
        rows.append({"stimulus_id": f"kanizsa_{len(rows):04d}", **row})
    if not rows:
        raise ValueError("There is no picture: every factor needs a value.")
    table = pd.DataFrame(rows)
    for row in rows:
        _check_figure(**{name: row[name] for name in _CHECKED})
    return display_set(
        "illusory-contours",
        table,
        kanizsa_display,
        size_deg=size_deg,
        px_per_deg=px_per_deg,
        background=background,
    )


_FACTORS = (
    *("kind", "n_vertices", "side_deg", "support_ratio", "inducer", "polarity"),
    *("tilt_deg", "rotation_deg", "contrast", "real_contrast", "place"),
)
_CHECKED = (
    *("kind", "inducer", "polarity", "n_vertices", "side_deg", "support_ratio"),
    *("contrast", "real_contrast", "line_width_deg", "x_deg", "y_deg"),
    *("rotation_deg", "background", "size_deg"),
)


def _check_figure(
    *,
    kind: str,
    inducer: str,
    polarity: str,
    n_vertices: int,
    side_deg: float,
    support_ratio: float,
    contrast: float,
    real_contrast: float,
    line_width_deg: float,
    x_deg: float,
    y_deg: float,
    rotation_deg: float,
    background: float,
    size_deg: float,
) -> None:
    check_option("kind", kind, KINDS)
    check_option("inducer", inducer, INDUCERS)
    check_option("polarity", polarity, POLARITIES)
    check_whole("n_vertices", n_vertices, low=3, high=8)
    check_between("side_deg", side_deg, low=1e-3)
    check_between("support_ratio", support_ratio, low=1e-3, high=1 - 1e-3)
    check_between("contrast", contrast, low=0, high=1)
    check_between("real_contrast", real_contrast, low=-1, high=1)
    check_between("line_width_deg", line_width_deg, low=1e-3, high=side_deg / 4)
    check_between("background", background, low=0, high=1)
    rise = max(real_contrast, contrast if polarity == "mixed" else 0.0)
    if background * (1 + rise) > 1:
        raise ValueError(
            f"The brightest luminance would be {background * (1 + rise):.3g}: lower "
            "`background`, `contrast` or `real_contrast` so that it is 1 at most."
        )
    corners = turn(corners_of(n_vertices, side_deg), rotation_deg)
    corners = corners + np.array([x_deg, y_deg])
    reach = float(np.abs(corners).max()) + support_ratio * side_deg / 2
    if reach > size_deg / 2:
        raise ValueError(
            f"The inducers reach {reach:.2f} degrees from the centre, the picture only "
            f"{size_deg / 2:.2f}: lower `side_deg` or `support_ratio`, or raise "
            "`size_deg`."
        )


def _turns(n: int, kind: str, tilt_deg: float, seed: int) -> FloatArray:
    turns = -tilt_deg * side_signs(n) if tilt_deg else np.zeros(n)
    if kind == "outward":
        turns = turns + 180
    if kind == "random":
        rng = generator(seed, "kanizsa turns", n)
        limit = _SMALLEST_TURN_DEG
        turns = turns + rng.uniform(limit, 360 - limit, n)
    return turns


def _distance(
    points: FloatArray,
    shape: tuple[int, ...],
    px_per_deg: float,
    reach_deg: float,
    *,
    closed: bool = False,
) -> FloatArray:
    """Return how far pixels lie from a line, infinite beyond the reach."""
    corners = np.vstack([points, points[:1]]) if closed else points
    x, y = pixel_centres(shape, px_per_deg)
    nearest = np.full(shape, np.inf)
    for first, last in pairwise(corners):
        low = np.minimum(first, last) - reach_deg
        high = np.maximum(first, last) + reach_deg
        columns = np.flatnonzero((x[0] >= low[0]) & (x[0] <= high[0]))
        rows = np.flatnonzero((y[:, 0] >= low[1]) & (y[:, 0] <= high[1]))
        box = np.ix_(rows, columns)
        along = last - first
        dx, dy = x[:, columns] - first[0], y[rows] - first[1]
        share = (dx * along[0] + dy * along[1]) / float(along @ along)
        share = np.clip(share, 0, 1)
        distance = np.hypot(dx - share * along[0], dy - share * along[1])
        nearest[box] = np.minimum(nearest[box], distance)
    return nearest


def _line(
    points: FloatArray, width_deg: float, shape: tuple[int, ...], px_per_deg: float
) -> FloatArray:
    """Return how much of each pixel a closed line covers, by its distance.

    The edge of the line is a ramp of one pixel: exact along rows and columns.
    """
    reach = width_deg / 2 + 1 / px_per_deg
    distance = _distance(points, shape, px_per_deg, reach, closed=True)
    inner = np.clip((width_deg / 2 - distance) * px_per_deg + 0.5, 0, 1)
    # Of a line thinner than a pixel, that much.
    return np.asarray(np.minimum(inner, width_deg * px_per_deg))


def _band(
    points: FloatArray,
    shape: tuple[int, ...],
    px_per_deg: float,
    *,
    closed: bool = False,
) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie near a line."""
    reach = max(_BAND_DEG, 1 / px_per_deg) / 2
    distance = _distance(points, shape, px_per_deg, reach, closed=closed)
    return np.asarray(distance <= reach)
