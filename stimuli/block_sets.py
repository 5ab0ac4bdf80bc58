"""Sets of block figures: single pictures, and pairs for mental rotation.

A pair shows an object and the same object, or its mirror image, turned by an angle: in
the plane of the picture, or in depth about the vertical axis. Views keep `MARGIN_DEG`
away from straight ahead along an axis, where arms hide behind each other.

References
----------
Shepard and Metzler (1971). Mental rotation of three-dimensional objects. Science 171,
701-703. doi:10.1126/science.171.3972.701
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neurovis.core.checks import check_between, check_columns, check_option, check_whole
from neurovis.core.rng import generator, spawn_for_item
from neurovis.core.types import StimulusSet
from stimuli.block_figures import check_shape, is_chiral, mirror_pair_key, mirror_shape
from stimuli.block_rendering import (
    DIAMETER_DEG,
    OUTLINE_PX,
    PROJECTIONS,
    STEREO_DEG,
    draw_block_figure,
)
from stimuli.block_survey import draw_block_shapes
from stimuli.display import GREY, PX_PER_DEG, SIZE_DEG, Display, display_set

ROTATIONS = ("depth", "picture-plane")
"""About the vertical axis, and in the plane of the picture."""

ANGLES_DEG = tuple(range(0, 181, 20))
AZIMUTHS_DEG = (30.0, 120.0, 210.0, 300.0)

MARGIN_DEG = 10.0
"""Least angle between an azimuth and the axes of the object."""

ELEVATIONS_DEG: Mapping[str, tuple[float, float]] = {
    "depth": (10.0, 45.0),
    "picture-plane": (10.0, 80.0),
}
"""Range of the elevation, upwards or downwards, by kind of rotation."""

TRUTHS = ("same", "different")
_SIDES = ("left", "right")
_VIEW = ("shape", "azimuth_deg", "elevation_deg", "roll_deg")

PAIR_COLUMNS = (
    *("pair", "rotation", "angle_deg", "truth", "object", "direction"),
    *(f"{side}_{name}" for side in _SIDES for name in _VIEW),
)
"""Of a table of pairs."""


def make_block_figures(
    n_shapes: int = 5,
    *,
    shapes: Sequence[str] | None = None,
    mirrors: bool = True,
    azimuths_deg: Sequence[float] = AZIMUTHS_DEG,
    elevation_deg: float = 25.0,
    roll_deg: float = 0.0,
    stereo: bool = False,
    projection: str = "orthographic",
    shading: bool = True,
    outline_px: float = OUTLINE_PX,
    background: float = GREY,
    diameter_deg: float = DIAMETER_DEG,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make pictures of block figures, one object each.

    Parameters
    ----------
    n_shapes : int, default 5
        Objects that are drawn at random where `shapes` are not given, as
        `stimuli.block_survey.draw_block_shapes`.
    shapes : sequence of str, optional
        Directions of chosen objects; they may be achiral.
    mirrors : bool, default True
        Show the mirror image of each object too.
    azimuths_deg : sequence of float, default (30, 120, 210, 300)
        Views of each object.
    elevation_deg : float, default 25
        Of the camera.
    roll_deg : float, default 0
        Turn of the pictures, counter-clockwise.
    stereo : bool, default False
        Two pictures per view, one for each eye.
    projection : {"orthographic", "perspective"}
        As `stimuli.block_rendering.draw_block_figure`, and so the next five.
    shading : bool, default True
        Shaded faces, or white ones.
    outline_px : float, default 1.25
        Width of edges in pixels.
    background : float, default 0.5
        Luminance of the ground.
    diameter_deg : float, default 4.5
        Diameter of the sphere that holds an object.
    size_deg : float, default 7
        Side of the picture.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of the objects.

    Returns
    -------
    StimulusSet
        One row per picture: `stimulus_id`, `object` (number), `shape` (as shown),
        `mirrored`, `chiral`, `azimuth_deg`, `elevation_deg`, `roll_deg`, `eye`
        ("both", "left" or "right").

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or an object comes twice.

    Examples
    --------
    >>> stimuli = make_block_figures(2, azimuths_deg=[30])
    >>> stimuli.table["mirrored"].tolist()
    [False, True, False, True]
    """
    check_whole("seed", seed, low=0)
    listed = draw_block_shapes(n_shapes, seed) if shapes is None else list(shapes)
    _check_objects(listed, chiral=False)
    azimuths = [float(check_between("azimuths_deg", a)) for a in azimuths_deg]
    if not azimuths:
        raise ValueError("`azimuths_deg` is empty: give at least one view.")
    style = _style(projection, shading, outline_px, background, diameter_deg)
    eyes = {"left": -STEREO_DEG, "right": STEREO_DEG} if stereo else {"both": 0.0}
    rows = []
    for number, shape in enumerate(listed):
        chiral = is_chiral(shape)
        for mirrored in (False, True) if mirrors else (False,):
            for view, azimuth in enumerate(azimuths):
                for eye, shift in eyes.items():
                    name = f"block{number:03d}{'m' if mirrored else 'o'}_v{view:02d}"
                    rows.append(
                        {
                            "stimulus_id": name + ("" if eye == "both" else f"_{eye}"),
                            "object": number,
                            "shape": mirror_shape(shape) if mirrored else shape,
                            "mirrored": mirrored,
                            "chiral": chiral,
                            "azimuth_deg": azimuth + shift,
                            "elevation_deg": elevation_deg,
                            "roll_deg": roll_deg,
                            "eye": eye,
                        }
                    )
    geometry: dict[str, Any] = {"size_deg": size_deg, "px_per_deg": px_per_deg}

    def draw(row: Mapping[str, Any]) -> Display:
        return _draw_view(row, "", style, geometry)

    draw(rows[0])  # raises before anything is asked for
    return display_set(
        "block_figures", pd.DataFrame(rows), draw, background=background, **geometry
    )


def plan_rotation_pairs(
    shapes: Sequence[str],
    *,
    rotations: str | Sequence[str] = ROTATIONS,
    angles_deg: Sequence[float] = ANGLES_DEG,
    pairs_per_angle: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """Plan pairs of views for mental rotation, without drawing them.

    Every pair draws from a stream of its own, keyed by `seed` and its identity. For
    each kind and angle half of the pairs are the same object; objects take turns.

    Parameters
    ----------
    shapes : sequence of str
        Directions of chiral objects, no two of them mirror images.
    rotations : str or sequence of str, default ("depth", "picture-plane")
        Kinds of rotation, of `ROTATIONS`.
    angles_deg : sequence of float, default (0, 20, ..., 180)
        Angles between the two views, 0 to 180.
    pairs_per_angle : int, default 16
        Pairs per kind and angle; even.
    seed : int, default 0
        Of views, sides and handedness.

    Returns
    -------
    DataFrame
        One row per pair: `pair` (identity), `rotation`, `angle_deg`, `truth` ("same"
        or "different"), `object` (number in `shapes`), `direction` (1
        counter-clockwise, seen from the front or from above; -1 the other way), and,
        for the sides "left" and "right", `SIDE_shape`, `SIDE_azimuth_deg`,
        `SIDE_elevation_deg` and `SIDE_roll_deg`. The right view is the left one
        turned; either side shows either hand.

    Raises
    ------
    TypeError, ValueError
        If an object is achiral (its mirror image is itself, so that the question has
        no answer), comes twice, or a number is out of range.

    Examples
    --------
    >>> pairs = plan_rotation_pairs(
    ...     ["uuubbrrrd"], angles_deg=[0, 90], pairs_per_angle=2
    ... )
    >>> pairs["truth"].value_counts().to_dict()
    {'same': 4, 'different': 4}
    """
    listed = [shapes] if isinstance(shapes, str) else list(shapes)
    _check_objects(listed, chiral=True)
    kinds = [rotations] if isinstance(rotations, str) else list(rotations)
    for kind in kinds:
        check_option("rotations", kind, ROTATIONS)
    angles = [
        float(check_between("angles_deg", a, low=0, high=180)) for a in angles_deg
    ]
    for name, values in (("rotations", kinds), ("angles_deg", angles)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f"`{name}` is empty or has one twice; got {values}.")
    check_whole("seed", seed, low=0)
    n = check_whole("pairs_per_angle", pairs_per_angle, low=2)
    if n % 2:
        raise ValueError(f"`pairs_per_angle` must be even: half are the same; got {n}.")
    rows = []
    for kind in kinds:
        for truth in TRUTHS:
            numbers = _take_turns(len(listed), seed, kind, truth)
            for angle in angles:
                for k, number in zip(range(n // 2), numbers, strict=False):
                    rows.append(
                        _pair_row(listed[number], number, kind, angle, truth, k, seed)
                    )
    return pd.DataFrame(rows)


def make_rotation_pairs(
    pairs: pd.DataFrame | None = None,
    *,
    n_shapes: int = 8,
    rotations: str | Sequence[str] = ROTATIONS,
    angles_deg: Sequence[float] = ANGLES_DEG,
    pairs_per_angle: int = 16,
    side_by_side: bool = False,
    gap_deg: float = 0.5,
    projection: str = "orthographic",
    shading: bool = True,
    outline_px: float = OUTLINE_PX,
    background: float = GREY,
    diameter_deg: float = DIAMETER_DEG,
    size_deg: float = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    seed: int = 0,
) -> StimulusSet:
    """Make the pictures of mental rotation trials.

    Parameters
    ----------
    pairs : DataFrame, optional
        What `plan_rotation_pairs` returned; planned here by default.
    n_shapes : int, default 8
        Where planned here: objects, drawn as `stimuli.block_survey.draw_block_shapes`.
    rotations : str or sequence of str, default ("depth", "picture-plane")
        Where planned here: kinds of rotation.
    angles_deg : sequence of float, default (0, 20, ..., 180)
        Where planned here: angles between the two views.
    pairs_per_angle : int, default 16
        Where planned here: pairs per kind and angle.
    side_by_side : bool, default False
        One picture per pair with both views, for people; otherwise one per view.
    gap_deg : float, default 0.5
        Side by side: ground between the two squares of `size_deg`.
    projection : {"orthographic", "perspective"}
        As `stimuli.block_rendering.draw_block_figure`, and so the next five.
    shading : bool, default True
        Shaded faces, or white ones.
    outline_px : float, default 1.25
        Width of edges in pixels.
    background : float, default 0.5
        Luminance of the ground.
    diameter_deg : float, default 4.5
        Diameter of the sphere that holds an object.
    size_deg : float, default 7
        Side of the picture of a view.
    px_per_deg : float, default 32
        Pixels per degree.
    seed : int, default 0
        Of objects and pairs.

    Returns
    -------
    StimulusSet
        Side by side, one row per pair: `stimulus_id` (the same as `pair`) and the
        columns of `plan_rotation_pairs`. Otherwise one row per view, the two of a pair
        one after the other: `stimulus_id`, `pair`, `side`, `shape`, `azimuth_deg`,
        `elevation_deg`, `roll_deg`, and `rotation`, `angle_deg`, `truth`, `object`,
        `direction` of the pair.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.

    Examples
    --------
    >>> options = {"n_shapes": 1, "angles_deg": [40], "pairs_per_angle": 2}
    >>> stimuli = make_rotation_pairs(rotations="depth", **options)
    >>> stimuli.table[["side", "truth"]].to_numpy().tolist()[:2]
    [['left', 'same'], ['right', 'same']]
    """
    check_whole("seed", seed, low=0)
    check_between("gap_deg", gap_deg, low=0)
    if pairs is None:
        pairs = plan_rotation_pairs(
            draw_block_shapes(n_shapes, seed),
            rotations=rotations,
            angles_deg=angles_deg,
            pairs_per_angle=pairs_per_angle,
            seed=seed,
        )
    check_columns("pairs", pairs.columns, PAIR_COLUMNS)
    style = _style(projection, shading, outline_px, background, diameter_deg)
    geometry: dict[str, Any] = {"size_deg": size_deg, "px_per_deg": px_per_deg}

    def draw_view(row: Mapping[str, Any]) -> Display:
        return _draw_view(row, "", style, geometry)

    def draw_both(row: Mapping[str, Any]) -> Display:
        views = [_draw_view(row, f"{side}_", style, geometry) for side in _SIDES]
        gap = np.full((len(views[0].image), round(gap_deg * px_per_deg)), background)
        image = np.hstack([views[0].image, gap, views[1].image])
        return Display(image, px_per_deg, {"pair": row["pair"]})

    if not side_by_side:
        return display_set(
            "rotation_pairs",
            _views(pairs),
            draw_view,
            background=background,
            **geometry,
        )
    table = pairs.assign(stimulus_id=pairs["pair"])
    width_px = 2 * round(size_deg * px_per_deg) + round(gap_deg * px_per_deg)
    return display_set(
        "rotation_pairs_side_by_side",
        table[["stimulus_id", *pairs.columns]],
        draw_both,
        size_deg=(width_px / px_per_deg, size_deg),
        px_per_deg=px_per_deg,
        background=background,
    )


def _check_objects(shapes: list[str], *, chiral: bool) -> None:
    if not shapes:
        raise ValueError("`shapes` is empty: give at least one object.")
    keys: dict[Any, str] = {}
    for shape in shapes:
        check_shape("shapes", shape)
        if chiral and not is_chiral(shape):
            raise ValueError(
                f"`shapes` has {shape!r}, whose mirror image is the same object: a "
                "'different' trial with it has no answer. Use chiral objects, such as "
                "those of `draw_block_shapes`."
            )
        key = mirror_pair_key(shape)
        if key in keys:
            raise ValueError(
                f"`shapes` has {keys[key]!r} and {shape!r}, the same object or mirror "
                "images: keep one of them."
            )
        keys[key] = shape


def _style(
    projection: str,
    shading: bool,
    outline_px: float,
    background: float,
    diameter_deg: float,
) -> dict[str, Any]:
    check_option("projection", projection, PROJECTIONS)
    check_between("outline_px", outline_px, low=0)
    check_between("background", background, low=0, high=1)
    check_between("diameter_deg", diameter_deg, low=1e-6)
    return {
        "projection": projection,
        "shading": shading,
        "outline_px": outline_px,
        "background": background,
        "diameter_deg": diameter_deg,
    }


def _draw_view(
    row: Mapping[str, Any],
    prefix: str,
    style: Mapping[str, Any],
    geometry: Mapping[str, Any],
) -> Display:
    angles: dict[str, Any] = {
        name: float(row[prefix + name])
        for name in ("azimuth_deg", "elevation_deg", "roll_deg")
    }
    return draw_block_figure(str(row[f"{prefix}shape"]), **angles, **style, **geometry)


def _take_turns(n: int, seed: int, kind: str, truth: str) -> Iterator[int]:
    """Yield numbers of objects; nobody comes again before all have come."""
    rng = generator(seed, "rotation pairs", kind, truth)
    while True:
        yield from (int(number) for number in rng.permutation(n))


def _pair_row(
    shape: str, number: int, kind: str, angle: float, truth: str, k: int, seed: int
) -> dict[str, Any]:
    pair = f"{kind}_{angle:03g}_{truth}_{k:02d}_{shape}"
    rng = spawn_for_item(seed, pair)
    mirrored, direction, above = rng.integers(2, size=3)
    turn = angle * (1 if direction else -1)
    low, high = ELEVATIONS_DEG[kind]
    elevation = float(rng.uniform(low, high)) * (1 if above else -1)
    in_depth = kind == "depth"
    azimuth = _free_azimuth(rng, turn if in_depth else 0.0)
    first = mirror_shape(shape) if mirrored else shape
    views = {
        "left": (first, azimuth, 0.0),
        "right": (
            first if truth == "same" else mirror_shape(first),
            # The camera goes round the other way than the object seems to turn.
            (azimuth - turn) % 360 if in_depth else azimuth,
            0.0 if in_depth else turn,
        ),
    }
    row: dict[str, Any] = {
        "pair": pair,
        "rotation": kind,
        "angle_deg": angle,
        "truth": truth,
        "object": number,
        "direction": 1 if direction else -1,
    }
    for side, (shown, at, roll) in views.items():
        row[f"{side}_shape"] = shown
        row[f"{side}_azimuth_deg"] = at
        row[f"{side}_elevation_deg"] = elevation
        row[f"{side}_roll_deg"] = roll
    return row


def _free_azimuth(rng: np.random.Generator, turn_deg: float) -> float:
    """Draw an azimuth that is off the axes, before and after the turn."""
    while True:
        azimuth = float(rng.uniform(0, 360))
        places = np.array([azimuth, azimuth - turn_deg]) % 90
        if (np.minimum(places, 90 - places) >= MARGIN_DEG).all():
            return azimuth


def _views(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per view."""
    shared = ["rotation", "angle_deg", "truth", "object", "direction"]
    rows = []
    for row in pairs.to_dict("records"):
        for side in _SIDES:
            view = {
                "stimulus_id": f"{row['pair']}_{side}",
                "pair": row["pair"],
                "side": side,
            }
            view |= {name: row[f"{side}_{name}"] for name in _VIEW}
            rows.append({**view, **{name: row[name] for name in shared}})
    return pd.DataFrame(rows)
