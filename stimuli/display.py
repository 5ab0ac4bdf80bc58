"""Displays in degrees of visual angle: luminance in floats, with their geometry.

A display is drawn at any number of pixels per degree from the same numbers in degrees.
Degrees have their origin at the centre of the picture, x to the right and y up;
luminance runs from 0 to 1. Coverage of a pixel is right within 0.01 (see
`stimuli.canvas`), and the same on every machine.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_between, check_columns
from neurovis.core.pictures import LazyPictures
from neurovis.core.types import StimulusSet, Viewing
from stimuli.canvas import FULL_COVERAGE, polygon_coverage
from stimuli.outlines import disc

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PX_PER_DEG = 32.0
"""Pixels per degree unless told otherwise: 7 degrees are 224 pixels."""

SIZE_DEG = 7.0
"""Side of a picture unless told otherwise."""

GREY = 0.5
"""Luminance of the ground unless told otherwise."""

_LARGEST_PX = 8192
_STRAY = 1e-9


@dataclass(frozen=True, eq=False)
class Display:
    """One picture in floats, and all that is known of what it shows.

    Parameters
    ----------
    image : ndarray of float64, shape (H, W) or (H, W, 3)
        Luminance, or red, green and blue, 0..1.
    px_per_deg : float
        Pixels per degree.
    geometry : mapping of str to object
        Numbers and texts: positions and sizes in degrees, what is where.
    masks : mapping of str to ndarray of bool, shape (H, W)
        Areas by name, such as "target".
    """

    image: FloatArray
    px_per_deg: float
    geometry: Mapping[str, Any] = field(default_factory=dict)
    masks: Mapping[str, BoolArray] = field(default_factory=dict)

    @property
    def size_deg(self) -> tuple[float, float]:
        """Width and height in degrees."""
        height, width = self.image.shape[:2]
        return width / self.px_per_deg, height / self.px_per_deg


# ---------------------------------------------------------------------- ground


def size_px(
    size_deg: float | tuple[float, float], px_per_deg: float
) -> tuple[int, int]:
    """Return height and width of a picture in pixels.

    Parameters
    ----------
    size_deg : float or tuple of float
        Side, or width and height, in degrees.
    px_per_deg : float
        Pixels per degree.

    Returns
    -------
    tuple of int
        Rows and columns, rounded to the nearest whole number.

    Raises
    ------
    ValueError
        If a number is not above 0, or a side would have no pixel or more than 8192.

    Examples
    --------
    >>> size_px((10, 5), 32)
    (160, 320)
    """
    check_between("px_per_deg", px_per_deg, low=1e-6)
    width, height = size_deg if isinstance(size_deg, tuple) else (size_deg, size_deg)
    for side in (width, height):
        check_between("size_deg", side, low=1e-6)
    rows, columns = round(height * px_per_deg), round(width * px_per_deg)
    if min(rows, columns) < 1 or max(rows, columns) > _LARGEST_PX:
        raise ValueError(
            f"`size_deg` {size_deg} at {px_per_deg} px/deg makes {columns} x {rows} "
            f"pixels: a side must have 1 to {_LARGEST_PX}. Change one of them."
        )
    return rows, columns


def ground(
    size_deg: float | tuple[float, float] = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    luminance: float | Sequence[float] = GREY,
) -> FloatArray:
    """Return an empty picture.

    Parameters
    ----------
    size_deg : float or tuple of float, default 7
        Side, or width and height, in degrees.
    px_per_deg : float, default 32
        Pixels per degree.
    luminance : float or sequence of three float, default 0.5
        Of every pixel, 0..1; three for red, green and blue.

    Returns
    -------
    ndarray of float64, shape (H, W) or (H, W, 3)
        A new array.

    Raises
    ------
    ValueError
        If a size or luminance is out of range.

    Examples
    --------
    >>> ground().shape
    (224, 224)
    """
    shape = size_px(size_deg, px_per_deg)
    level = np.asarray(luminance, np.float64)
    for value in np.atleast_1d(level):
        check_between("luminance", float(value), low=0, high=1)
    if level.shape not in ((), (3,)):
        raise ValueError(
            f"`luminance` must be one number or three; got shape {level.shape}."
        )
    return np.broadcast_to(level, (*shape, *level.shape)).copy()


def pixel_centres(
    shape: tuple[int, ...], px_per_deg: float
) -> tuple[FloatArray, FloatArray]:
    """Return where the centres of pixels lie.

    Parameters
    ----------
    shape : tuple of int
        Shape of a picture; rows and columns come first.
    px_per_deg : float
        Pixels per degree.

    Returns
    -------
    x_deg : ndarray of float64, shape (1, W)
        Degrees to the right of the centre.
    y_deg : ndarray of float64, shape (H, 1)
        Degrees above the centre.

    Examples
    --------
    >>> x, y = pixel_centres((2, 4), 2)
    >>> x.tolist(), y.tolist()
    ([[-0.75, -0.25, 0.25, 0.75]], [[0.25], [-0.25]])
    """
    rows, columns = shape[:2]
    x = np.asarray((np.arange(columns) - (columns - 1) / 2) / px_per_deg, np.float64)
    y = np.asarray(((rows - 1) / 2 - np.arange(rows)) / px_per_deg, np.float64)
    return x[None, :], y[:, None]


# -------------------------------------------------------------------- painting


def outline_px(
    outline_deg: ArrayLike, shape: tuple[int, ...], px_per_deg: float
) -> FloatArray:
    """Convert points from degrees to pixels from the top left corner, y down.

    Parameters
    ----------
    outline_deg : array_like, shape (n_points, 2)
        Points (x, y) in degrees.
    shape : tuple of int
        Shape of the picture.
    px_per_deg : float
        Pixels per degree.

    Returns
    -------
    ndarray of float64, shape (n_points, 2)
        Points (x, y) in pixels.

    Examples
    --------
    >>> outline_px([[0, 0]], (10, 20), 2).tolist()
    [[10.0, 5.0]]
    """
    points = np.asarray(outline_deg, np.float64)
    x = points[:, 0] * px_per_deg + shape[1] / 2
    y = shape[0] / 2 - points[:, 1] * px_per_deg
    return np.column_stack([x, y])


def coverage(
    outline_deg: ArrayLike, shape: tuple[int, ...], px_per_deg: float
) -> FloatArray:
    """Return how much of each pixel lies inside an outline.

    Parameters
    ----------
    outline_deg : array_like, shape (n_points, 2)
        Corners (x, y) in degrees, in order; the outline must not cross itself. What
        lies beyond the picture is cut off.
    shape : tuple of int
        Shape of the picture.
    px_per_deg : float
        Pixels per degree.

    Returns
    -------
    ndarray of float64, shape (H, W)
        0 outside to 1 inside.

    Examples
    --------
    >>> from stimuli.outlines import rectangle
    >>> float(coverage(rectangle(1, 1), (20, 20), 10).sum())
    100.0
    """
    whole = np.zeros(tuple(shape[:2]))
    box, part = _covered_box(outline_deg, shape, px_per_deg)
    whole[box] = part
    return whole


def stroke_coverage(
    points_deg: ArrayLike,
    width_deg: float,
    shape: tuple[int, ...],
    px_per_deg: float,
    *,
    closed: bool = False,
) -> FloatArray:
    """Return how much of each pixel lies inside a line of some thickness.

    Parameters
    ----------
    points_deg : array_like, shape (n_points, 2)
        Corners of the line (x, y) in degrees, in order.
    width_deg : float
        Thickness.
    shape : tuple of int
        Shape of the picture.
    px_per_deg : float
        Pixels per degree.
    closed : bool, default False
        Join the last point to the first.

    Returns
    -------
    ndarray of float64, shape (H, W)
        0 outside to 1 inside; ends are cut straight at the points, corners are round.
        Where pieces meet the largest coverage counts.
    """
    points = np.asarray(points_deg, np.float64)
    pieces = list(pairwise(points))
    if closed:
        pieces.append((points[-1], points[0]))
    whole = np.zeros(tuple(shape[:2]))
    joints = points if closed else points[1:-1]
    outlines = [_segment(first, last, width_deg) for first, last in pieces]
    outlines += [disc(width_deg / 2, x_deg=x, y_deg=y) for x, y in joints]
    for outline in outlines:
        box, part = _covered_box(outline, shape, px_per_deg)
        whole[box] = np.maximum(whole[box], part)
    return whole


def lay(
    image: FloatArray, cover: FloatArray, luminance: ArrayLike | FloatArray
) -> None:
    """Lay a luminance over a picture in proportion to coverage, in place.

    Parameters
    ----------
    image : ndarray of float64, shape (H, W) or (H, W, 3)
        What is there; changed.
    cover : ndarray of float64, shape (H, W)
        0 leaves the picture, 1 gives the luminance.
    luminance : float or array_like, broadcast to the picture
        Level, 0..1; three numbers for a colour.
    """
    share = cover[..., None] if image.ndim == 3 else cover
    image += share * (np.asarray(luminance, np.float64) - image)


def fill(
    image: FloatArray, outline_deg: ArrayLike, luminance: ArrayLike, px_per_deg: float
) -> None:
    """Fill an outline with a luminance, in place.

    Parameters
    ----------
    image : ndarray of float64, shape (H, W) or (H, W, 3)
        What is there; changed.
    outline_deg : array_like, shape (n_points, 2)
        Corners (x, y) in degrees; must not cross itself.
    luminance : float or array_like of three float
        Level, 0..1.
    px_per_deg : float
        Pixels per degree.

    Examples
    --------
    >>> picture = ground(2, 10)
    >>> fill(picture, disc(0.5), 0.0, 10)
    >>> round(float((0.5 - picture).sum() / 0.5 / 100), 3)  # pi / 4 square degrees
    0.785
    """
    box, part = _covered_box(outline_deg, image.shape, px_per_deg)
    lay(image[box], part, luminance)


def stroke(
    image: FloatArray,
    points_deg: ArrayLike,
    width_deg: float,
    luminance: ArrayLike,
    px_per_deg: float,
    *,
    closed: bool = False,
) -> None:
    """Draw a line of some thickness, in place.

    Parameters
    ----------
    image : ndarray of float64, shape (H, W) or (H, W, 3)
        What is there; changed.
    points_deg : array_like, shape (n_points, 2)
        Corners (x, y) in degrees, in order.
    width_deg : float
        Thickness.
    luminance : float or array_like of three float
        Level, 0..1.
    px_per_deg : float
        Pixels per degree.
    closed : bool, default False
        Join the last point to the first.
    """
    cover = stroke_coverage(
        points_deg, width_deg, image.shape, px_per_deg, closed=closed
    )
    lay(image, cover, luminance)


def _segment(first: FloatArray, last: FloatArray, width_deg: float) -> FloatArray:
    along = last - first
    length = float(np.hypot(*along))
    if length == 0:
        return disc(width_deg / 2, x_deg=float(first[0]), y_deg=float(first[1]))
    side = np.array([-along[1], along[0]]) / length * (width_deg / 2)
    return np.array([first + side, first - side, last - side, last + side])


def _covered_box(
    outline_deg: ArrayLike, shape: tuple[int, ...], px_per_deg: float
) -> tuple[tuple[slice, slice], FloatArray]:
    """Return coverage where an outline can be, and where that is."""
    points = outline_px(outline_deg, shape, px_per_deg)
    rows, columns = shape[:2]
    limits = (columns, rows)
    low = [min(max(math.floor(points[:, k].min()), 0), limits[k]) for k in (0, 1)]
    high = [min(max(math.ceil(points[:, k].max()) + 1, 0), limits[k]) for k in (0, 1)]
    box = (slice(low[1], max(high[1], low[1])), slice(low[0], max(high[0], low[0])))
    inner = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    if 0 in inner:
        return box, np.zeros(inner)
    return box, polygon_coverage(points - low, *inner) / FULL_COVERAGE


# ------------------------------------------------------------------------ sets


def to_8_bit(image: ArrayLike) -> NDArray[np.uint8]:
    """Round luminance to 8-bit red, green and blue.

    Parameters
    ----------
    image : array_like, shape (H, W) or (H, W, 3)
        Luminance or colour, 0..1.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        ``floor(255 L + 0.5)``.

    Raises
    ------
    ValueError
        If a value is not finite or outside 0..1.

    Examples
    --------
    >>> to_8_bit(np.full((1, 1), 0.5))[0, 0].tolist()
    [128, 128, 128]
    """
    levels = np.asarray(image, np.float64)
    low, high = float(levels.min()), float(levels.max())
    if not (low >= -_STRAY and high <= 1 + _STRAY):
        raise ValueError(
            f"Luminance must lie within 0..1; got {low:.4g} to {high:.4g}. Lower the "
            "contrast, or clip."
        )
    rounded = np.floor(255 * np.clip(levels, 0, 1) + 0.5).astype(np.uint8)
    return rounded if rounded.ndim == 3 else np.repeat(rounded[..., None], 3, axis=2)


def display_set(
    name: str,
    table: pd.DataFrame,
    draw: Callable[[Mapping[str, Any]], Display],
    *,
    size_deg: float | tuple[float, float] = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
    background: float = GREY,
) -> StimulusSet:
    """Return a set whose pictures are drawn from the rows of its table when needed.

    Parameters
    ----------
    name : str
        Name of the set.
    table : DataFrame
        One row per picture: `stimulus_id` and all that `draw` needs.
    draw : callable
        Draws the display of one row, given as a mapping; the same row always gives the
        same display.
    size_deg : float or tuple of float, default 7
        Side, or width and height, of every picture in degrees.
    px_per_deg : float, default 32
        Pixels per degree.
    background : float, default 0.5
        Luminance around the picture, 0..1.

    Returns
    -------
    StimulusSet
        8-bit pictures.

    Raises
    ------
    ValueError
        If `stimulus_id` is missing or a size is out of range.
    """
    check_columns("table", table.columns, ["stimulus_id"])
    check_between("background", background, low=0, high=1)
    rows, columns = size_px(size_deg, px_per_deg)
    viewing = Viewing(
        px_per_deg=px_per_deg,
        width_px=columns,
        height_px=rows,
        background=int(to_8_bit(np.full((1, 1), background))[0, 0, 0]),
    )
    table = table.reset_index(drop=True)
    records: list[Any] = table.to_dict("records")

    def picture(index: int) -> NDArray[np.uint8]:
        return to_8_bit(draw(records[index]).image)

    return StimulusSet(name, table, viewing, LazyPictures(picture, range(len(records))))
