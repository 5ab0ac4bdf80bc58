"""Pictures in pieces: local texture stays, what lies where does not.

Three ways to lose the global structure of a picture. Strengths are numbers of patches
along a side, or how far patches move.
"""

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_image, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Picture = NDArray[np.uint8]

OVERLAP = 0.25
"""Share of the side of a patch over which neighbours are blended."""


def patch_shuffle(
    image: Picture, n_patches: int, *, seed: int = 0, key: str | int = 0
) -> Picture:
    """Exchange the patches of a square grid.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Picture; `n_patches` must divide both sides.
    n_patches : int
        Patches along a side, >= 2.
    seed : int, default 0
        Seed, >= 0.
    key : str or int, default 0
        Identity of the picture or version: each has an order of its own.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The same pixels; at least one patch has moved.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, or its sides do not fit the grid.

    Examples
    --------
    >>> picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> sorted(patch_shuffle(picture, 2).ravel().tolist()) == list(range(48))
    True
    """
    shown, height, width = _check_grid(image, n_patches)
    order = _moved(n_patches**2, seed, "patch shuffle", key)
    cut = shown.reshape(n_patches, height, n_patches, width, 3).swapaxes(1, 2)
    patches = cut.reshape(-1, height, width, 3)[order]
    grid = patches.reshape(n_patches, n_patches, height, width, 3)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(shown.shape))


def blend_shuffle(
    image: Picture,
    n_patches: int,
    *,
    overlap: float = OVERLAP,
    seed: int = 0,
    key: str | int = 0,
) -> Picture:
    """Exchange the patches of a square grid and blend them at their seams.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Picture; `n_patches` must divide both sides.
    n_patches : int
        Patches along a side, >= 2.
    overlap : float, default 0.25
        Share of the side of a patch over which neighbours are blended with a raised
        cosine, 0..1.
    seed : int, default 0
        Seed, >= 0. The order is that of `patch_shuffle` with the same seed and key.
    key : str or int, default 0
        Identity of the picture or version.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Patches take what lies around them along; beyond the picture it is mirrored.
        Rounded half up.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, its sides do not fit the grid, or a number is out of
        range.
    """
    shown, height, width = _check_grid(image, n_patches)
    share = check_between("overlap", overlap, low=0, high=1)
    order = _moved(n_patches**2, seed, "patch shuffle", key)
    rows, row_weight = _window(height, share)
    columns, column_weight = _window(width, share)
    weight = (row_weight[:, None] * column_weight)[..., None]
    reach = (len(rows) - height) // 2, (len(columns) - width) // 2
    margins = ((reach[0], reach[0]), (reach[1], reach[1]), (0, 0))
    around = np.pad(shown, margins, mode="symmetric").astype(np.float64)
    canvas = np.zeros_like(around)
    for place, source in enumerate(order.tolist()):
        to, start = (
            ((index // n_patches) * height, (index % n_patches) * width)
            for index in (place, source)
        )
        piece = around[
            start[0] : start[0] + len(rows), start[1] : start[1] + len(columns)
        ]
        canvas[to[0] : to[0] + len(rows), to[1] : to[1] + len(columns)] += (
            weight * piece
        )
    # At the border of the picture the neighbour that would add the rest is missing.
    total = _border_weight(row_weight, n_patches, height)[:, None]
    total = (total * _border_weight(column_weight, n_patches, width))[..., None]
    inner = (
        slice(reach[0], reach[0] + shown.shape[0]),
        slice(reach[1], reach[1] + shown.shape[1]),
    )
    return _to_8_bit(canvas[inner] / total[inner])


def local_shuffle(
    image: Picture,
    jitter: float,
    *,
    n_patches: int = 8,
    seed: int = 0,
    key: str | int = 0,
) -> Picture:
    """Fill each patch of a square grid from nearby.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Picture; `n_patches` must divide both sides.
    jitter : float
        Most that a patch is displaced along each axis, in patches, >= 0; uniform
        within it.
    n_patches : int, default 8
        Patches along a side, >= 2.
    seed : int, default 0
        Seed, >= 0. The same draws serve every jitter.
    key : str or int, default 0
        Identity of the picture or version.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Displacements are rounded to pixels; beyond the picture it is mirrored. Parts
        can come twice or not at all.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, its sides do not fit the grid, or a number is out of
        range.

    Examples
    --------
    >>> picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> bool((local_shuffle(picture, 0.0, n_patches=2) == picture).all())
    True
    """
    shown, height, width = _check_grid(image, n_patches)
    reach = check_between("jitter", jitter, low=0, high=n_patches)
    check_whole("seed", seed, low=0)
    draws = generator(seed, "local shuffle", key).uniform(
        -1, 1, (n_patches, n_patches, 2)
    )
    steps = np.rint(reach * draws * (height, width)).astype(np.int64)
    result = np.empty_like(shown)
    for i in range(n_patches):
        for j in range(n_patches):
            rows = np.arange(i * height, (i + 1) * height)
            columns = np.arange(j * width, (j + 1) * width)
            from_rows = _mirrored(rows + steps[i, j, 0], shown.shape[0])
            from_columns = _mirrored(columns + steps[i, j, 1], shown.shape[1])
            result[np.ix_(rows, columns)] = shown[np.ix_(from_rows, from_columns)]
    return result


def _check_grid(image: Picture, n_patches: int) -> tuple[Picture, int, int]:
    shown = check_image("image", image)
    count = check_whole("n_patches", n_patches, low=2)
    height, width = shown.shape[:2]
    if height % count or width % count:
        raise ValueError(
            f"`n_patches` {count} must divide the sides of the picture; got {height} x "
            f"{width} px. Resize the picture or take another grid."
        )
    return shown, height // count, width // count


def _moved(n: int, seed: int, name: str, key: str | int) -> IntArray:
    """Return a random order that is not the one there is."""
    check_whole("seed", seed, low=0)
    stream = generator(seed, name, key)
    order = stream.permutation(n)
    while (order == np.arange(n)).all():
        order = stream.permutation(n)
    return order


def _window(side: int, share: float) -> tuple[IntArray, FloatArray]:
    """Return the pixels of a patch with its seams, from its start, and their weight."""
    width = share * side
    reach = int(np.ceil(width / 2))
    pixels = np.arange(-reach, side + reach)
    if width == 0:
        return pixels, np.ones(side)
    centre = pixels + 0.5
    rise = np.clip((centre + width / 2) / width, 0, 1)
    fall = np.clip((side + width / 2 - centre) / width, 0, 1)
    weight = (1 - np.cos(np.pi * rise)) * (1 - np.cos(np.pi * fall)) / 4
    return pixels, weight


def _border_weight(weight: FloatArray, n_patches: int, side: int) -> FloatArray:
    """Return the sum of the weights of all patches along one axis."""
    total = np.zeros(n_patches * side + len(weight) - side)
    for k in range(n_patches):
        total[k * side : k * side + len(weight)] += weight
    return total


def _mirrored(places: IntArray, side: int) -> IntArray:
    """Fold places beyond a picture back into it; the border pixel comes twice."""
    folded = places % (2 * side)
    return np.asarray(np.where(folded < side, folded, 2 * side - 1 - folded))


def _to_8_bit(values: FloatArray) -> Picture:
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)
