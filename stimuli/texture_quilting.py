"""More of a texture than there is: tiles, mirrored tiles, and quilts of patches.

References
----------
Efros & Freeman (2001). Image quilting for texture synthesis and transfer. SIGGRAPH,
341-346. doi:10.1145/383259.383296
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_option, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

FILLS = ("quilt", "mirror", "tile")
"""Patches cut to fit, mirrored repetitions, plain repetitions."""


def extend_texture(
    texture: ArrayLike,
    shape: tuple[int, int],
    *,
    fill: str = "quilt",
    patch_px: int | None = None,
    n_candidates: int = 100,
    seed: int = 0,
) -> FloatArray:
    """Make a texture of any size from an exemplar.

    Parameters
    ----------
    texture : array_like of float, shape (h, w, 3)
        Exemplar, 0..1.
    shape : tuple of int
        Rows and columns wanted.
    fill : {"quilt", "mirror", "tile"}
        "quilt" lays patches of random places, each the best of `n_candidates` for its
        overlap with what lies there, along the path of least difference. The others
        repeat the exemplar from the top left corner.
    patch_px : int, optional
        Side of the patches of a quilt; a third of the shorter side of the exemplar by
        default. A sixth of it overlaps.
    n_candidates : int, default 100
        Places that are tried for each patch, >= 1.
    seed : int, default 0
        Of the quilt, >= 0.

    Returns
    -------
    ndarray of float64, shape (rows, columns, 3)
        Pixels of the exemplar.

    Raises
    ------
    TypeError, ValueError
        If the exemplar is no picture, too small for the patches, or a number is out
        of range.

    Examples
    --------
    >>> exemplar = np.zeros((16, 16, 3))
    >>> extend_texture(exemplar, (40, 50)).shape
    (40, 50, 3)
    """
    exemplar = np.asarray(texture, np.float64)
    check_array("texture", exemplar, shape=(None, None, 3), finite=True)
    if not exemplar.size or exemplar.min() < 0 or exemplar.max() > 1:
        raise ValueError(
            "`texture` must have pixels within 0..1. Divide 8-bit levels by 255."
        )
    rows, columns = (check_whole("shape", side, low=1) for side in shape)
    check_option("fill", fill, FILLS)
    if fill == "quilt":
        patch = _patch_px(exemplar.shape, patch_px)
        check_whole("n_candidates", n_candidates, low=1)
        check_whole("seed", seed, low=0)
        return _quilt(exemplar, (rows, columns), patch, n_candidates, seed)
    height, width = exemplar.shape[:2]
    margins = ((0, max(rows - height, 0)), (0, max(columns - width, 0)), (0, 0))
    if fill == "mirror":
        return np.pad(exemplar, margins, mode="symmetric")[:rows, :columns]
    return np.pad(exemplar, margins, mode="wrap")[:rows, :columns]


def _patch_px(shape: tuple[int, ...], patch_px: int | None) -> int:
    shorter = min(shape[:2])
    if patch_px is None:
        return max(shorter // 3, min(shorter, 2))
    return check_whole("patch_px", patch_px, low=2, high=shorter)


def _quilt(
    exemplar: FloatArray, shape: tuple[int, int], patch: int, n: int, seed: int
) -> FloatArray:
    stream = generator(seed, "quilt")
    overlap = max(patch // 6, 1)
    step = patch - overlap
    counts = [-(-max(side - overlap, 1) // step) for side in shape]
    canvas = np.zeros((*(count * step + overlap for count in counts), 3))
    highest = np.array(exemplar.shape[:2]) - patch
    for i in range(counts[0]):
        for j in range(counts[1]):
            at = (slice(i * step, i * step + patch), slice(j * step, j * step + patch))
            there = canvas[at]
            shared = np.zeros((patch, patch), bool)
            shared[:overlap] |= i > 0
            shared[:, :overlap] |= j > 0
            places = stream.integers(0, highest + 1, (n, 2))
            candidates = [exemplar[r : r + patch, c : c + patch] for r, c in places]
            errors = [((own - there)[shared] ** 2).sum() for own in candidates]
            own = candidates[int(np.argmin(errors))]
            squares = ((own - there) ** 2).sum(axis=2)
            taken = np.ones((patch, patch), bool)
            if j > 0:
                taken[:, :overlap] &= _beyond_cut(squares[:, :overlap])
            if i > 0:
                taken[:overlap] &= _beyond_cut(squares[:overlap].T).T
            canvas[at] = np.where(taken[..., None], own, there)
    return canvas[: shape[0], : shape[1]]


def _beyond_cut(error: FloatArray) -> NDArray[np.bool_]:
    """Return what lies right of the path of least error from the top to the bottom."""
    cost = error.copy()
    for row in range(1, len(cost)):
        above = np.pad(cost[row - 1], 1, constant_values=np.inf)
        cost[row] += np.minimum(np.minimum(above[:-2], above[1:-1]), above[2:])
    beyond = np.zeros(error.shape, bool)
    column = int(np.argmin(cost[-1]))
    for row in reversed(range(len(cost))):
        low = max(column - 1, 0)
        if row < len(cost) - 1:
            column = low + int(np.argmin(cost[row, low : column + 2]))
        beyond[row, column:] = True
    return beyond
