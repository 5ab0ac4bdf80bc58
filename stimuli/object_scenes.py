"""Scenes of objects that hide each other, with the object of every pixel known.

Shape, hue and texture of an object are drawn independently, and none of them alone
tells which object a pixel belongs to; in "identical" scenes all of them together do
not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import label as connected_parts

from neurovis.core.checks import check_array, check_option, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.canvas import cos_sin
from stimuli.category_brush import hsv
from stimuli.display import (
    SIZE_DEG,
    Display,
    coverage,
    display_set,
    ground,
    lay,
    pixel_centres,
)
from stimuli.outlines import disc, rectangle, regular_polygon, turn

FloatArray = NDArray[np.float64]
LabelImage = NDArray[np.int16]

CONDITIONS = ("distinct", "identical", "occluded")
"""All objects differ; two are alike in all but place; one is cut in two by another."""

SHAPES = ("rectangle", "ellipse", "polygon")
TEXTURES = ("plain", "stripes", "checks", "dots")

LEAST_VISIBLE_PX = 0.012
"""Every object shows this share of the picture; a part of a cut one a third of it."""

_HUES = 12
_TRIES = 400
_REACH = 0.5 * SIZE_DEG


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object of a scene.

    Parameters
    ----------
    shape : {"rectangle", "ellipse", "polygon"}
        Kind of outline.
    outline_deg : ndarray of float64, shape (n_points, 2)
        Corners (x, y) in degrees.
    centre_deg : tuple of float
        Where it is.
    colour : tuple of float
        Red, green and blue, 0..1.
    texture : {"plain", "stripes", "checks", "dots"}
        Pattern of lighter and darker places.
    period_deg : float
        Of the pattern.
    angle_deg : float
        Turn of outline and pattern, counter-clockwise.
    """

    shape: str
    outline_deg: FloatArray
    centre_deg: tuple[float, float]
    colour: tuple[float, float, float]
    texture: str
    period_deg: float
    angle_deg: float


@dataclass(frozen=True, eq=False)
class Scene:
    """What a scene holds.

    Parameters
    ----------
    objects : tuple of SceneObject
        From the back to the front; the label of the first is 1.
    ground_hue : float
        Hue of the ground, degrees.
    twins : tuple of int
        Labels of two objects that are alike; empty elsewhere.
    cut : int
        Label of the object that another one cuts in two; 0 elsewhere.
    """

    objects: tuple[SceneObject, ...]
    ground_hue: float
    twins: tuple[int, ...] = ()
    cut: int = 0


def make_object_scenes(
    n_per_condition: int = 4,
    *,
    conditions: str | Sequence[str] = CONDITIONS,
    size_px: int = 224,
    n_objects: tuple[int, int] = (3, 6),
    seed: int = 0,
    first: int = 0,
) -> StimulusSet:
    """Make scenes of objects that hide each other.

    Parameters
    ----------
    n_per_condition : int, default 4
        Scenes of each condition, >= 1.
    conditions : str or sequence of str, default all of `CONDITIONS`
        Which conditions; they take turns.
    size_px : int, default 224
        Width and height, 32..1024. Scenes of all sizes have the same objects.
    n_objects : tuple of int, default (3, 6)
        Fewest and most objects, within 3..8.
    seed : int, default 0
        Seed of the set. A scene depends on the seed, its condition and its number.
    first : int, default 0
        Number of the first scene of each condition: sets that share no number share
        no scene.

    Returns
    -------
    StimulusSet
        Scenes are drawn when asked for. The table has `stimulus_id`
        ("occluded-00012"), `condition`, `number`, `n_objects`, `shapes` (from the
        back to the front, with commas), `twins` (labels of the two that are alike,
        with a comma, or empty), `cut` (label of the object in two parts, or 0),
        `n_low`, `n_high`, `size_px` and `seed`.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or a condition is unknown or repeats.

    Examples
    --------
    >>> scenes = make_object_scenes(1, size_px=64)
    >>> scenes.table["condition"].tolist()
    ['distinct', 'identical', 'occluded']
    >>> scenes.load(0).shape, scene_labels(scenes.table.iloc[0]).dtype.name
    ((64, 64, 3), 'int16')
    """
    n = check_whole("n_per_condition", n_per_condition, low=1)
    size_px = check_whole("size_px", size_px, low=32, high=1024)
    first = check_whole("first", first, low=0)
    listed = [conditions] if isinstance(conditions, str) else list(conditions)
    for name in listed:
        check_option("conditions", name, CONDITIONS)
    if not listed or len(set(listed)) != len(listed):
        raise ValueError(f"`conditions` must be different names; got {conditions!r}.")
    low, high = (check_whole("n_objects", k, low=3, high=8) for k in n_objects)
    if low > high:
        raise ValueError(f"`n_objects` must be (fewest, most); got {n_objects}.")
    rows = []
    for number in range(first, first + n):
        for condition in listed:
            row: dict[str, Any] = {
                "stimulus_id": f"{condition}-{number:05d}",
                "condition": condition,
                "number": number,
                "n_low": low,
                "n_high": high,
                "size_px": size_px,
                "seed": seed,
            }
            scene = plan_scene(row)
            row["n_objects"] = len(scene.objects)
            row["shapes"] = ",".join(one.shape for one in scene.objects)
            row["twins"] = ",".join(str(k) for k in scene.twins)
            row["cut"] = scene.cut
            rows.append(row)
    return display_set(
        "object-scenes",
        pd.DataFrame(rows),
        draw_object_scene,
        px_per_deg=size_px / SIZE_DEG,
    )


def plan_scene(row: Mapping[str, Any] | pd.Series) -> Scene:
    """Draw the objects of a scene by lot.

    Parameters
    ----------
    row : mapping or Series
        `condition`, `number`, `n_low`, `n_high` and `seed`, as in the table of
        `make_object_scenes`.

    Returns
    -------
    Scene
        The first of its stream in which every object shows enough of itself, a cut one
        in two parts or more, and no other one in parts.

    Raises
    ------
    ValueError
        If none is found.
    """
    condition = str(row["condition"])
    rng = generator(int(row["seed"]), "scene", condition, int(row["number"]))
    for _ in range(_TRIES):
        n = int(rng.integers(int(row["n_low"]), int(row["n_high"]) + 1))
        scene = _throw(rng, condition, n)
        if _is_good(scene):
            return scene
    raise ValueError(
        f"No scene with {row['n_low']} to {row['n_high']} objects was found in "
        f"{_TRIES} tries: ask for fewer objects."
    )


def draw_object_scene(row: Mapping[str, Any] | pd.Series) -> Display:
    """Draw one scene.

    Parameters
    ----------
    row : mapping or Series
        A row of the table of `make_object_scenes`.

    Returns
    -------
    Display
        In colour. `geometry` has `labels` (see `scene_labels`), `shapes`, `twins` and
        `cut`; the masks "object 1", "object 2" and so on cover what is visible of
        each.
    """
    scene = plan_scene(row)
    side = int(row["size_px"])
    scale = side / SIZE_DEG
    image = ground(SIZE_DEG, scale, _ground_colour(scene.ground_hue))
    x, y = pixel_centres(image.shape, scale)
    waves = np.sin(2.1 * x + 1.3 * y) + np.sin(0.9 * x - 2.6 * y + 1)
    image *= (1 + 0.06 * waves)[..., None]
    labels = np.zeros(image.shape[:2], np.int16)
    for mark, one in enumerate(scene.objects, start=1):
        cover = coverage(one.outline_deg, image.shape, scale)
        rows, columns = (np.flatnonzero(cover.any(axis=k)) for k in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        lay(image[box], cover[box], _surface(one, x[:, box[1]], y[box[0]]))
        labels[cover >= 0.5] = mark
    masks = {f"object {k}": labels == k for k in range(1, len(scene.objects) + 1)}
    geometry = {
        "labels": labels,
        "shapes": [one.shape for one in scene.objects],
        "twins": list(scene.twins),
        "cut": scene.cut,
    }
    return Display(np.clip(image, 0, 1), scale, geometry, masks)


def scene_labels(row: Mapping[str, Any] | pd.Series) -> LabelImage:
    """Return which object each pixel of a scene shows.

    Parameters
    ----------
    row : mapping or Series
        A row of the table of `make_object_scenes`.

    Returns
    -------
    ndarray of int16, shape (H, W)
        0 for the ground, then 1, 2 ... from the back to the front. A pixel belongs to
        the frontmost object that covers half of it.
    """
    return _labels(plan_scene(row), int(row["size_px"]))


def patch_labels(labels: ArrayLike, grid: tuple[int, int]) -> NDArray[np.int64]:
    """Return the label that most pixels of each patch have.

    Parameters
    ----------
    labels : array_like of int, shape (H, W)
        Label of every pixel, >= 0.
    grid : tuple of int
        Rows and columns of patches, at most one per pixel. A pixel belongs to the
        patch that holds its upper left corner, so that sides need not be multiples.

    Returns
    -------
    ndarray of int64, shape (rows, columns)
        The mode of each patch; of equally frequent labels the smallest, so that the
        ground wins a tie.

    Raises
    ------
    TypeError, ValueError
        If labels are not whole, negative, or there are more patches than pixels.

    Examples
    --------
    >>> patch_labels([[0, 2, 1, 1], [2, 0, 1, 3]], (1, 2)).tolist()
    [[0, 1]]
    """
    image = check_array("labels", labels, shape=(None, None))
    if not np.issubdtype(image.dtype, np.integer):
        raise TypeError(f"`labels` must be whole numbers; got {image.dtype}.")
    if image.size and image.min() < 0:
        raise ValueError(f"`labels` must be 0 or more; got {image.min()}.")
    patch = patch_of_pixels((image.shape[0], image.shape[1]), grid)
    names, codes = np.unique(image, return_inverse=True)
    counts = np.zeros((grid[0] * grid[1], len(names)), np.int64)
    np.add.at(counts, (patch.ravel(), codes.ravel()), 1)
    return np.asarray(names[counts.argmax(axis=1)].reshape(grid), np.int64)


def patch_of_pixels(shape: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.int64]:
    """Return the patch that each pixel belongs to.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of pixels.
    grid : tuple of int
        Rows and columns of patches.

    Returns
    -------
    ndarray of int64, shape (H, W)
        ``row * columns + column`` of the patch.

    Raises
    ------
    TypeError, ValueError
        If there are more patches than pixels along a side.

    Examples
    --------
    >>> patch_of_pixels((2, 3), (1, 2)).tolist()
    [[0, 0, 1], [0, 0, 1]]
    """
    places = []
    for pixels, patches in zip(shape, grid, strict=True):
        check_whole("grid", patches, low=1, high=pixels)
        places.append(np.arange(pixels) * patches // pixels)
    return np.asarray(places[0][:, None] * grid[1] + places[1][None, :], np.int64)


# -------------------------------------------------------------------- choices


def _throw(rng: np.random.Generator, condition: str, n: int) -> Scene:
    """Draw the objects of a scene, which may turn out to be hidden."""
    looks = [_look(rng) for _ in range(n)]
    places = [tuple(rng.uniform(-0.72, 0.72, 2) * _REACH) for _ in range(n)]
    objects = [_put(look, place) for look, place in zip(looks, places, strict=True)]
    twins: tuple[int, ...] = ()
    cut = 0
    if condition == "identical":
        first, second = sorted(rng.permutation(n)[:2].tolist())
        objects[second] = _put(looks[first], places[second])
        twins = (first + 1, second + 1)
    elif condition == "occluded":
        # A long object at the back of a bar that crosses it.
        angle = rng.uniform(0, 180)
        place = (float(rng.uniform(-0.8, 0.8)), float(rng.uniform(-0.8, 0.8)))
        long = {**looks[0], "angle_deg": angle, "aspect": rng.uniform(0.42, 0.55)}
        long["radius"] = rng.uniform(1.9, 2.2)
        long["shape"] = str(rng.choice(["rectangle", "ellipse"]))
        bar = {**looks[1], "shape": "rectangle", "radius": rng.uniform(1.5, 1.8)}
        bar |= {"aspect": 0.3, "angle_deg": angle + 90 + rng.uniform(-15, 15)}
        objects[0], objects[1] = _put(long, place), _put(bar, place)
        order = [*range(2, n), 0, 1] if rng.random() < 0.5 else [0, 1, *range(2, n)]
        objects = [objects[k] for k in order]
        cut = order.index(0) + 1
    return Scene(tuple(objects), float(360 * rng.random()), twins, cut)


def _look(rng: np.random.Generator) -> dict[str, Any]:
    """Draw all of an object but its place."""
    hue = 360 / _HUES * int(rng.integers(_HUES))
    level = float(rng.uniform(0.55, 0.85))
    return {
        "shape": str(rng.choice(SHAPES)),
        "radius": float(rng.uniform(0.75, 1.35)),
        "aspect": float(rng.uniform(0.6, 1.0)),
        "corners": int(rng.integers(3, 7)),
        "dents": bool(rng.random() < 0.5),
        "angle_deg": float(rng.uniform(0, 360)),
        "colour": hsv(hue, float(rng.uniform(0.45, 0.85)), level),
        "texture": str(rng.choice(TEXTURES)),
        "period_deg": float(rng.uniform(0.35, 0.6)),
    }


def _put(look: Mapping[str, Any], place: tuple[float, ...]) -> SceneObject:
    radius, aspect = look["radius"], look["aspect"]
    if look["shape"] == "rectangle":
        outline = rectangle(2 * radius, 2 * radius * aspect)
    elif look["shape"] == "ellipse":
        outline = disc(1.0)[::4] * np.array([radius, radius * aspect])
    else:
        inner = 0.55 * radius if look["dents"] else None
        outline = regular_polygon(look["corners"], radius, inner_radius_deg=inner)
    outline = turn(outline, look["angle_deg"]) + np.array(place)
    red, green, blue = (float(level) for level in look["colour"])
    return SceneObject(
        look["shape"],
        outline,
        (float(place[0]), float(place[1])),
        (red, green, blue),
        look["texture"],
        look["period_deg"],
        look["angle_deg"],
    )


def _is_good(scene: Scene) -> bool:
    """Whether objects differ and can be seen, in as many parts as they should be."""
    kinds = {(one.shape, one.colour, one.texture) for one in scene.objects}
    if len(kinds) < len(scene.objects) - bool(scene.twins):
        return False
    labels = _labels(scene, 56)
    for mark in range(1, len(scene.objects) + 1):
        seen, n_parts = connected_parts(labels == mark)
        sizes = np.sort(np.bincount(seen.ravel())[1:])[::-1] / labels.size
        if sizes.sum() < LEAST_VISIBLE_PX:
            return False
        large = int((sizes > LEAST_VISIBLE_PX / 3).sum())
        if (large >= 2) != (mark == scene.cut) or (mark != scene.cut and n_parts > 1):
            return False
    return True


# -------------------------------------------------------------------- drawing


def _labels(scene: Scene, side: int) -> LabelImage:
    scale = side / SIZE_DEG
    labels = np.zeros((side, side), np.int16)
    for mark, one in enumerate(scene.objects, start=1):
        labels[coverage(one.outline_deg, labels.shape, scale) >= 0.5] = mark
    return labels


def _ground_colour(hue: float) -> tuple[float, float, float]:
    red, green, blue = (float(level) for level in hsv(hue, 0.15, 0.55))
    return red, green, blue


def _surface(one: SceneObject, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the colour of an object at every pixel, as if it filled the picture."""
    cos, sin = cos_sin(one.angle_deg)
    dx, dy = x - one.centre_deg[0], y - one.centre_deg[1]
    u = 2 * np.pi / one.period_deg * (cos * dx + sin * dy)
    v = 2 * np.pi / one.period_deg * (cos * dy - sin * dx)
    pattern = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    if one.texture == "stripes":
        pattern = np.tanh(3 * np.sin(u))
    elif one.texture == "checks":
        pattern = np.tanh(4 * np.sin(u / 1.5) * np.sin(v / 1.5))
    elif one.texture == "dots":
        pattern = np.tanh(4 * (np.cos(u) + np.cos(v) - 0.8))
    shade = (1 + 0.3 * pattern)[..., None] * np.array(one.colour)
    return np.asarray(np.clip(shade, 0, 1), np.float64)
