"""Simulated scenes: objects of known categories at known places, in maps and pictures.

The maps are those of an imagined network: background that varies smoothly over space,
and in the box of each object a code that tells its category and which one it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from neurovis.core.checks import (
    check_array,
    check_between,
    check_option,
    check_whole,
)
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator

CATEGORIES = (
    *("disc", "square", "triangle", "diamond"),
    *("cross", "ring", "star", "hourglass"),
)
"""What scenes can hold: the shapes that are drawn."""

# Corners in units of the box, x right and y down.
_STAR = tuple(
    (0.5 + r * np.sin(np.pi * k / 5), 0.5 - r * np.cos(np.pi * k / 5))
    for k, r in enumerate((0.5, 0.2) * 5)
)
_CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)),
    "triangle": ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "diamond": ((0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)),
    "cross": (
        *((0.35, 0.0), (0.65, 0.0), (0.65, 0.35), (1.0, 0.35), (1.0, 0.65)),
        *((0.65, 0.65), (0.65, 1.0), (0.35, 1.0), (0.35, 0.65), (0.0, 0.65)),
        *((0.0, 0.35), (0.35, 0.35)),
    ),
    "star": _STAR,
    "hourglass": ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)),
}
_N_STROKES = 24  # of clutter


@dataclass(frozen=True)
class SceneStyle:
    """How scenes look.

    Parameters
    ----------
    max_objects : int, default 3
        A scene has 1 to `max_objects` objects, each number equally often.
    object_cells : tuple of int, default (3, 4)
        Smallest and largest side of the square box of an object, cells of the maps.
    n_code : int, default 3
        Numbers that tell objects of one category apart; the first three are the
        colour of the object in the picture.
    category_gain, code_gain : float, default 5.0 and 3.0
        Length of the code of the category, and standard deviation of each number of
        the code of the object, in the maps; the standard deviation of the background
        is 1.
    smoothness : float, default 1.5
        Standard deviation of the Gaussian that smooths the background, cells; >= 0.
    cell_px : int, default 8
        Width and height of a cell in the picture, pixels.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    max_objects: int = 3
    object_cells: tuple[int, int] = (3, 4)
    n_code: int = 3
    category_gain: float = 5.0
    code_gain: float = 3.0
    smoothness: float = 1.5
    cell_px: int = 8

    def __post_init__(self) -> None:
        check_whole("max_objects", self.max_objects, low=1)
        check_array("object_cells", self.object_cells, shape=(2,))
        small, large = self.object_cells
        check_whole("object_cells", small, low=1)
        check_whole("object_cells", large, low=small)
        check_whole("n_code", self.n_code, low=1)
        for name in ("category_gain", "code_gain", "smoothness"):
            check_between(name, getattr(self, name), low=0)
        check_whole("cell_px", self.cell_px, low=1)


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes, and all that is in them.

    Parameters
    ----------
    categories : tuple of str
        Names, some of `CATEGORIES`.
    maps : ndarray of float32, shape (n_images, n_channels, H, W)
        Features.
    boxes : ndarray of float64, shape (n_images, n_categories, 4)
        Left, top, right and bottom edge of the object of each category, pixels of the
        picture; NaN where there is none. An object covers whole cells.
    codes : ndarray of float64, shape (n_images, n_categories, n_code)
        What tells the object from others of its category; NaN where there is none.
    category_codes : ndarray of float64, shape (n_categories, n_channels)
        Direction of each category in the channels.
    code_axes : ndarray of float64, shape (n_code, n_channels)
        Directions of the numbers of a code, the same in all categories. These and the
        directions of categories are unit vectors at right angles.
    pictures : sequence of ndarray of uint8, shape (H * cell_px, W * cell_px, 3)
        The same scenes, drawn when asked for.
    style : SceneStyle
        How they were made.
    """

    categories: tuple[str, ...]
    maps: NDArray[np.float32]
    boxes: NDArray[np.float64]
    codes: NDArray[np.float64]
    category_codes: NDArray[np.float64]
    code_axes: NDArray[np.float64]
    pictures: Sequence[NDArray[np.uint8]]
    style: SceneStyle = field(default_factory=SceneStyle)

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which categories each scene holds, shape (n_images, n_categories)."""
        return ~np.isnan(self.boxes[:, :, 0])


def make_scenes(
    n_images: int,
    *,
    grid: tuple[int, int] = (12, 12),
    n_channels: int = 32,
    n_categories: int = 4,
    style: SceneStyle | None = None,
    seed: int = 0,
) -> Scenes:
    """Make scenes with objects of different categories at random places.

    A scene depends on the seed and its number only, not on how many there are.

    Parameters
    ----------
    n_images : int
        Number of scenes, >= 1.
    grid : tuple of int, default (12, 12)
        Height and width of the maps, cells.
    n_channels : int, default 32
        Channels of the maps; at least as many as categories and numbers of a code.
    n_categories : int, default 4
        How many of `CATEGORIES`, 1..8.
    style : SceneStyle, optional
        How scenes look; ``SceneStyle()`` by default.
    seed : int, default 0
        Seed.

    Returns
    -------
    Scenes
        Maps, boxes, codes and pictures.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or the objects might fill more than half a scene.

    Examples
    --------
    >>> scenes = make_scenes(5, grid=(10, 10), n_channels=8)
    >>> scenes.maps.shape, scenes.pictures[0].shape
    ((5, 8, 10, 10), (80, 80, 3))
    """
    style = style or SceneStyle()
    check_whole("n_images", n_images, low=1)
    check_array("grid", grid, shape=(2,))
    height, width = (check_whole("grid", side, low=1) for side in grid)
    check_whole("n_categories", n_categories, low=1, high=len(CATEGORIES))
    check_whole("n_channels", n_channels, low=1)
    _check_room(height, width, n_categories, n_channels, style)
    axes = generator(seed, "scenes", "axes").standard_normal(
        (n_channels, n_categories + style.n_code)
    )
    axes = np.linalg.qr(axes)[0].T
    category_codes, code_axes = axes[:n_categories], axes[n_categories:]
    blur = [_blur_matrix(side, style.smoothness) for side in (height, width)]
    maps = np.empty((n_images, n_channels, height, width), np.float32)
    cells = np.full((n_images, n_categories, 4), np.nan)
    codes = np.full((n_images, n_categories, style.n_code), np.nan)
    for i in range(n_images):
        rng = generator(seed, "scenes", i)
        n_objects = int(rng.integers(1, style.max_objects + 1))
        found = rng.permutation(n_categories)[:n_objects]
        sides = rng.integers(*style.object_cells, endpoint=True, size=n_objects)
        cells[i, found] = _place(sides, height, width, rng)
        codes[i, found] = rng.standard_normal((n_objects, style.n_code))
        white = rng.standard_normal((n_channels, height, width), dtype=np.float32)
        maps[i] = blur[0] @ white @ blur[1].T
        for k in found:
            x0, y0, x1, y1 = cells[i, k].astype(int)
            written = style.category_gain * category_codes[k]
            written = written + style.code_gain * (codes[i, k] @ code_axes)
            maps[i, :, y0:y1, x0:x1] += written.astype(np.float32)[:, None, None]
    boxes = cells * style.cell_px
    size_px = (height * style.cell_px, width * style.cell_px)
    draw = partial(_draw_scene, boxes=boxes, codes=codes, size_px=size_px, seed=seed)
    return Scenes(
        CATEGORIES[:n_categories],
        maps,
        boxes,
        codes,
        category_codes,
        code_axes,
        LazyPictures(draw, range(n_images)),
        style,
    )


def pool_boxes(scenes: Scenes, category: str) -> NDArray[np.float32]:
    """Return the mean of the maps over the box of the object of a category.

    This is what an observer knows who always attends to that object.

    Parameters
    ----------
    scenes : Scenes
        Maps and boxes.
    category : str
        One of ``scenes.categories``.

    Returns
    -------
    ndarray of float32, shape (n_images, n_channels)
        NaN where there is no such object.

    Raises
    ------
    ValueError
        If there is no such category.
    """
    check_option("category", category, scenes.categories)
    boxes = scenes.boxes[:, scenes.categories.index(category)] / scenes.style.cell_px
    pooled = np.full(scenes.maps.shape[:2], np.nan, np.float32)
    for i in np.flatnonzero(~np.isnan(boxes[:, 0])):
        x0, y0, x1, y1 = boxes[i].astype(int)
        pooled[i] = scenes.maps[i, :, y0:y1, x0:x1].mean(axis=(1, 2))
    return pooled


def _check_room(
    height: int, width: int, n_categories: int, n_channels: int, style: SceneStyle
) -> None:
    if style.max_objects > n_categories:
        raise ValueError(
            f"`max_objects` must be at most `n_categories`, {n_categories}, because no "
            f"two objects have one category; got {style.max_objects}."
        )
    if n_channels < n_categories + style.n_code:
        raise ValueError(
            f"`n_channels` must be at least {n_categories + style.n_code}: one for "
            f"each of {n_categories} categories and {style.n_code} numbers of a code; "
            f"got {n_channels}."
        )
    side = style.object_cells[1]
    # With half of the scene free there is a place for all of them.
    full = 2 * style.max_objects * side**2 > height * width
    if full or side > min(height, width):
        raise ValueError(
            f"`grid` {height} x {width} is too small: {style.max_objects} objects of "
            f"{side} x {side} cells must fit into half of it. Enlarge it, or lower "
            "`max_objects` or `object_cells`."
        )


def _blur_matrix(side: int, smoothness: float) -> NDArray[np.float32]:
    """Return a Gaussian that wraps around; white noise of variance 1 keeps it."""
    if smoothness == 0:
        return np.eye(side, dtype=np.float32)
    shift = np.arange(side)
    shift = np.minimum(shift, side - shift)
    kernel: NDArray[np.float64] = np.exp(-(shift**2) / (2 * smoothness**2))
    kernel /= np.sqrt((kernel**2).sum())
    index = (np.arange(side)[:, None] - np.arange(side)) % side
    matrix: NDArray[np.float64] = kernel[index]
    return matrix.astype(np.float32)


def _place(
    sides: NDArray[np.int64], height: int, width: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return boxes (x0, y0, x1, y1) in cells that do not overlap, uniform over them."""
    while True:
        x0 = rng.integers(0, width - sides + 1)
        y0 = rng.integers(0, height - sides + 1)
        x1, y1 = x0 + sides, y0 + sides
        beside = (x1[:, None] <= x0) | (y1[:, None] <= y0)
        if (beside | beside.T | np.eye(len(sides), dtype=bool)).all():
            return np.stack([x0, y0, x1, y1], axis=1).astype(np.float64)


# ------------------------------------------------------------------- pictures


def _draw_scene(
    index: int,
    *,
    boxes: NDArray[np.float64],
    codes: NDArray[np.float64],
    size_px: tuple[int, int],
    seed: int,
) -> NDArray[np.uint8]:
    """Draw clutter of grey strokes, and the objects of one scene over it."""
    height, width = size_px
    rng = generator(seed, "scenes", "clutter", int(index))
    image = Image.new("RGB", (width, height), (128, 128, 128))
    pen = ImageDraw.Draw(image)
    ends = rng.uniform(0, 1, (_N_STROKES, 2, 2)) * (width, height)
    shades = rng.integers(70, 190, _N_STROKES)
    for (start, end), shade in zip(ends, shades, strict=True):
        line = [*start, *(start + 0.3 * (end - start))]
        pen.line(line, fill=(int(shade),) * 3, width=max(1, width // 60))
    for k in np.flatnonzero(~np.isnan(boxes[index, :, 0])):
        _draw_object(pen, CATEGORIES[k], boxes[index, k], _colour(codes[index, k]))
    return np.array(image, np.uint8)


def _colour(code: ArrayLike) -> tuple[int, int, int]:
    """Return the colour of an object; missing numbers are neutral."""
    first = np.zeros(3)
    given = np.asarray(code)[:3]
    first[: len(given)] = given
    red, green, blue = np.rint(128 + 110 * np.tanh(first / 1.5)).astype(int).tolist()
    return red, green, blue


def _draw_object(
    pen: ImageDraw.ImageDraw,
    category: str,
    box: NDArray[np.float64],
    colour: tuple[int, int, int],
) -> None:
    x0, y0, x1, y1 = box.tolist()
    edge = max(1, round((x1 - x0) / 16))
    inside = [x0, y0, x1 - 1, y1 - 1]
    black = (0, 0, 0)
    if category == "disc":
        pen.ellipse(inside, fill=colour, outline=black, width=edge)
    elif category == "ring":
        band = max(2, round((x1 - x0) / 4))
        pen.ellipse(inside, outline=black, width=band)
        inner = [x0 + edge, y0 + edge, x1 - 1 - edge, y1 - 1 - edge]
        pen.ellipse(inner, outline=colour, width=max(1, band - 2 * edge))
    else:
        size = np.array([x1 - x0 - 1, y1 - y0 - 1])
        corners = np.array(_CORNERS[category]) * size + (x0, y0)
        points = [(float(x), float(y)) for x, y in corners]
        pen.polygon(points, fill=colour, outline=black, width=edge)
