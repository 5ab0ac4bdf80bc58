"""Grey occluders over pictures: the centre, all but the centre, or one side.

Seventeen levels hide 0 to 16 sixteenths of the picture. For pictures of 256 px the
masks are the published ones; other sizes follow the same rule.

References
----------
Deza and Konkle (2020). Emergent properties of foveated perceptual systems.
arXiv:2006.07991.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_array, check_option, check_whole

Mask = NDArray[np.bool_]

KINDS = ("scotoma", "glaucoma", "left2right", "top2bottom")
"""The centre, all but the centre, from the left, from above."""

N_LEVELS = 17
"""Levels 1..17 hide ``(level - 1) / 16`` of the picture, nominally."""


def square_half_px(level: int, size_px: int, *, kind: str = "scotoma") -> float:
    """Compute half the side of the central square of a level.

    The side is the smallest one that covers the nominal area, among those that lie
    symmetrically on whole pixels.

    Parameters
    ----------
    level : int
        1..17.
    size_px : int
        Side of the picture, >= 1.
    kind : {"scotoma", "glaucoma"}
        Whether the square is what is hidden or what stays visible.

    Returns
    -------
    float
        Half the side in px, 0..size_px / 2; a whole number if `size_px` is even.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or `kind` is another one.

    Examples
    --------
    >>> [square_half_px(level, 256) for level in (1, 3, 9, 17)]
    [0.0, 46.0, 91.0, 128.0]
    """
    level = check_whole("level", level, low=1, high=N_LEVELS)
    size_px = check_whole("size_px", size_px, low=1)
    check_option("kind", kind, KINDS[:2])
    sixteenths = level - 1 if kind == "scotoma" else N_LEVELS - level
    if sixteenths == 0:
        return 0.0
    # In whole numbers: a root that is a little too large would add a pixel.
    side = math.isqrt(sixteenths * size_px**2 // 16)
    side += 16 * side**2 < sixteenths * size_px**2
    side += (side - size_px) % 2
    return side / 2


def square_mask(
    half_px: float | tuple[float, float],
    shape: tuple[int, int],
    *,
    point_px: tuple[float, float] | None = None,
) -> Mask:
    """Make the mask of a square: pixels with centres nearer than `half_px` to a point.

    Parameters
    ----------
    half_px : float or tuple of float
        Half the side, px, >= 0; ``(x, y)`` gives a rectangle.
    shape : tuple of int
        ``(H, W)`` of the picture.
    point_px : tuple of float, optional
        Centre ``(x, y)`` of the square, px from the outer corner of the top-left
        pixel, y down; the centre of the picture by default. What lies outside the
        picture is cut off.

    Returns
    -------
    ndarray of bool, shape (H, W)
        True inside.

    Raises
    ------
    TypeError, ValueError
        If a size is not positive, or the point is not finite.

    Examples
    --------
    >>> square_mask(1, (4, 4)).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    height, width = _check_shape(shape)
    halves = np.broadcast_to(np.asarray(half_px, np.float64), (2,))
    if not (np.isfinite(halves).all() and (halves >= 0).all()):
        raise ValueError(f"`half_px` must be 0 or more; got {half_px!r}.")
    point = (width / 2, height / 2) if point_px is None else point_px
    x, y = check_array("point_px", np.asarray(point, float), shape=(2,), finite=True)
    columns = np.abs(np.arange(width) + 0.5 - x) < halves[0]
    rows = np.abs(np.arange(height) + 0.5 - y) < halves[1]
    return rows[:, None] & columns


def occlusion_mask(
    kind: str,
    level: int,
    shape: tuple[int, int],
    *,
    point_px: tuple[float, float] | None = None,
) -> Mask:
    """Make the mask of what an occluder hides.

    Parameters
    ----------
    kind : {"scotoma", "glaucoma", "left2right", "top2bottom"}
        A square at the centre; all but such a square; columns from the left; rows
        from above.
    level : int
        1 (nothing is hidden) to 17 (all is hidden).
    shape : tuple of int
        ``(H, W)`` of the picture. If it is no square, the square is a rectangle of
        the same proportions.
    point_px : tuple of float, optional
        Centre ``(x, y)`` of the square, px, such as the fixation; the centre of the
        picture by default. What lies outside the picture is cut off, so that a
        scotoma hides less, and a glaucoma more, than at the centre.

    Returns
    -------
    ndarray of bool, shape (H, W)
        True where hidden; its mean is the true share of the area, which differs a
        little from the nominal ``(level - 1) / 16``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or `point_px` is given for an occluder that
        has no centre.

    Examples
    --------
    >>> float(occlusion_mask("scotoma", 3, (256, 256)).mean())
    0.129150390625
    >>> occlusion_mask("left2right", 9, (2, 4)).astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    check_option("kind", kind, KINDS)
    level = check_whole("level", level, low=1, high=N_LEVELS)
    height, width = _check_shape(shape)
    if kind in ("left2right", "top2bottom"):
        if point_px is not None:
            raise ValueError(
                f"`point_px` is the centre of a square; {kind!r} has none. Leave it "
                "out."
            )
        side = width if kind == "left2right" else height
        hidden = np.arange(side) < ((level - 1) * side + 8) // 16
        rows = hidden if kind == "left2right" else hidden[:, None]
        return np.broadcast_to(rows, (height, width)).copy()
    half = (
        square_half_px(level, width, kind=kind),
        square_half_px(level, height, kind=kind),
    )
    inside = square_mask(half, (height, width), point_px=point_px)
    return inside if kind == "scotoma" else ~inside


def occlusion_levels(
    shape: tuple[int, int], *, point_px: tuple[float, float] | None = None
) -> pd.DataFrame:
    """List how much of a picture each occluder truly hides.

    Parameters
    ----------
    shape : tuple of int
        ``(H, W)`` of the picture.
    point_px : tuple of float, optional
        Centre of the squares, as in `occlusion_mask`.

    Returns
    -------
    DataFrame
        One row per kind and level: `kind`, `level` (1..17), `nominal_share` and
        `share` of the area that is hidden, 0..1.

    Raises
    ------
    TypeError, ValueError
        As `occlusion_mask`.

    Examples
    --------
    >>> occlusion_levels((256, 256)).query("level == 5")["share"].round(4).tolist()
    [0.25, 0.248, 0.25, 0.25]
    """
    rows = []
    for kind in KINDS:
        point = point_px if kind in KINDS[:2] else None
        for level in range(1, N_LEVELS + 1):
            mask = occlusion_mask(kind, level, shape, point_px=point)
            rows.append((kind, level, (level - 1) / 16, float(mask.mean())))
    return pd.DataFrame(rows, columns=["kind", "level", "nominal_share", "share"])


def occlude(
    images: NDArray[np.uint8], mask: Mask, *, grey_level: int = 128
) -> NDArray[np.uint8]:
    """Cover a part of pictures with grey.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., H, W, 3)
        One picture or a stack of them; it is not changed.
    mask : ndarray of bool, shape (H, W)
        True where grey comes.
    grey_level : int, default 128
        Grey, 0..255.

    Returns
    -------
    ndarray of uint8, shape (..., H, W, 3)
        Copies with the grey part.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit or a value is out of range.

    Examples
    --------
    >>> mask = np.array([[True, False]])
    >>> occlude(np.zeros((1, 2, 3), np.uint8), mask)[0, :, 0].tolist()
    [128, 0]
    """
    shown = check_array("images", images, dtype=np.uint8)
    hidden = check_array("mask", mask, shape=(None, None), dtype=np.bool_)
    if shown.ndim < 3 or shown.shape[-1] != 3 or shown.shape[-3:-1] != hidden.shape:
        raise ValueError(
            f"`images` must have shape (..., H, W, 3) with (H, W) = {hidden.shape} "
            f"of `mask`; got {shown.shape}."
        )
    level = check_whole("grey_level", grey_level, low=0, high=255)
    return np.where(hidden[..., None], np.uint8(level), shown)


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(f"`shape` must be (height, width); got {shape!r}.")
    return check_whole("height", shape[0], low=1), check_whole("width", shape[1], low=1)
