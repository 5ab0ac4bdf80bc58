"""What attention heads of vision transformers do: strength, reach, spread, pattern.

A map A has one row per token: A[i, j] is the share that token i takes from token j, and
rows add up to 1. The first `prefix` tokens (class token, registers) are no patches; the
others lie on a grid, row by row. Measures that need places use the rows of patches;
entropy and the agnostic index use all rows. Undefined is NaN.

References
----------
Li et al. (2023). How does attention work in vision transformers? A visual analytics
attempt. IEEE Trans. Vis. Comput. Graph. 29, 2888-2900. doi:10.1109/TVCG.2023.3261935
Raghu et al. (2021). Do vision transformers see like convolutional neural networks?
NeurIPS. arXiv:2108.08810
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from neurovis.core.checks import check_array, check_between, check_whole

FloatArray = NDArray[np.float64]

# Maps are float32, and some are kept as float16.
_ROUNDING = 2e-3

MEASURES = (
    *("distance_patches", "distance_px", "entropy_nats", "entropy_share"),
    *("cls_share", "agnostic_index"),
)
"""Names of the measures of `profile_heads`, besides templates."""

RINGS = (1, 2)
"""Rings that are templates by default."""


def strength_by_ring(
    attention: ArrayLike, grid: tuple[int, int], *, prefix: int = 1
) -> FloatArray:
    """Return the mean attention to patches at each distance from one's own.

    Parameters
    ----------
    attention : array-like of float, shape (..., N, N)
        Maps; N = `prefix` + rows * columns.
    grid : pair of int
        Rows and columns of patches.
    prefix : int, default 1
        Tokens before the patches.

    Returns
    -------
    ndarray of float64, shape (..., n_rings)
        Entry k: mean of A[i, j] over all patches j at Chebyshev distance k from i
        (0 is i itself), averaged over the patches i whose ring k lies within the grid.
        ``n_rings = (min(grid) - 1) // 2 + 1``: beyond that no ring is full.

    Raises
    ------
    ValueError
        If maps are negative, rows do not add up to 1, or the grid does not fit.

    Examples
    --------
    >>> strength_by_ring(np.full((9, 9), 1 / 9), (3, 3), prefix=0).round(3).tolist()
    [0.111, 0.111]
    """
    maps = _check_maps(attention, grid, prefix)
    height, width = grid
    patches = maps[..., prefix:, prefix:]
    steps = np.maximum(*(np.abs(gap) for gap in _gaps(grid)))
    row, column = np.divmod(np.arange(height * width), width)
    room = np.minimum(
        np.minimum(row, height - 1 - row), np.minimum(column, width - 1 - column)
    )
    profile = []
    for k in range((min(grid) - 1) // 2 + 1):
        inside = room >= k
        ring = (steps == k) & inside[:, None]
        profile.append((patches * ring).sum(axis=(-2, -1)) / ring.sum())
    return np.stack(profile, axis=-1)


def attention_distance(
    attention: ArrayLike,
    grid: tuple[int, int],
    *,
    prefix: int = 1,
    patch_size: tuple[float, float] = (1, 1),
) -> FloatArray:
    """Return how far away patches look, on average.

    Parameters
    ----------
    attention : array-like of float, shape (..., N, N)
        Maps; N = `prefix` + rows * columns.
    grid : pair of int
        Rows and columns of patches.
    prefix : int, default 1
        Tokens before the patches. What goes to them is left out, and the rest of each
        row is brought to a sum of 1.
    patch_size : pair of float, default (1, 1)
        Height and width of a patch in the unit of the result, such as pixels; by
        default distances are in patches.

    Returns
    -------
    ndarray of float64, shape (...)
        Mean over patches i of ``sum_j A[i, j] * |position i - position j|``
        (Euclidean). Patches that look at no patch are left out; NaN if all are.

    Raises
    ------
    ValueError
        As `strength_by_ring`, or if `patch_size` is not above 0.

    References
    ----------
    Dosovitskiy et al. (2021). An image is worth 16x16 words. ICLR. arXiv:2010.11929

    Examples
    --------
    >>> ahead = np.roll(np.eye(3), 1, axis=1)  # 0 looks at 1, 1 at 2, 2 at 0
    >>> float(attention_distance(ahead, (1, 3), prefix=0)) == (1 + 1 + 2) / 3
    True
    """
    maps = _check_maps(attention, grid, prefix)
    sizes = _check_patch(patch_size)
    down, right = _gaps(grid)
    far = np.hypot(down * sizes[0], right * sizes[1])
    patches = maps[..., prefix:, prefix:]
    total = patches.sum(axis=-1)
    seen = total > 0
    reach = np.divide(
        (patches * far).sum(axis=-1), total, out=np.zeros_like(total), where=seen
    )
    n = seen.sum(axis=-1)
    return np.divide(
        reach.sum(axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0
    )  # fmt: skip


def uniform_distance(
    grid: tuple[int, int], *, patch_size: tuple[float, float] = (1, 1)
) -> float:
    """Return the attention distance of a head that looks everywhere alike.

    Parameters
    ----------
    grid : pair of int
        Rows and columns of patches.
    patch_size : pair of float, default (1, 1)
        Height and width of a patch in the unit of the result.

    Returns
    -------
    float
        Mean distance of all pairs of patches, each with itself too.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> uniform_distance((1, 2))
    0.5
    """
    for side in grid:
        check_whole("grid", side, low=1)
    sizes = _check_patch(patch_size)
    down, right = _gaps(grid)
    return float(np.hypot(down * sizes[0], right * sizes[1]).mean())


def attention_entropy(attention: ArrayLike, *, share: bool = False) -> FloatArray:
    """Return the mean entropy of the rows of maps.

    Parameters
    ----------
    attention : array-like of float, shape (..., n_rows, N)
        Shares that add up to 1 in each row.
    share : bool, default False
        Divide by log(N), the entropy of even attention.

    Returns
    -------
    ndarray of float64, shape (...)
        Nats, 0..log(N); with `share` 0..1, NaN for N = 1.

    Raises
    ------
    ValueError
        If values are negative or rows do not add up to 1.

    Examples
    --------
    >>> float(attention_entropy([[0.5, 0.5], [1.0, 0.0]], share=True))
    0.5
    """
    maps = _check_rows(attention)
    nats: FloatArray = entr(maps).sum(axis=-1).mean(axis=-1)
    if not share:
        return nats
    most = np.log(maps.shape[-1])
    return nats / most if most > 0 else np.full_like(nats, np.nan)


def cls_share(attention: ArrayLike, *, prefix: int = 1) -> FloatArray:
    """Return the share of attention of patches that goes to the class token.

    Parameters
    ----------
    attention : array-like of float, shape (..., N, N)
        Maps whose first token is the class token.
    prefix : int, default 1
        Tokens before the patches, at least 1.

    Returns
    -------
    ndarray of float64, shape (...)
        Mean of A[i, 0] over patches i, 0..1.

    Raises
    ------
    ValueError
        If maps do not fit.

    Examples
    --------
    >>> float(cls_share(np.full((5, 5), 0.2)))
    0.2
    """
    maps = _check_rows(attention)
    check_whole("prefix", prefix, low=1, high=maps.shape[-2] - 1)
    found: FloatArray = maps[..., prefix:, 0].mean(axis=-1)
    return found


def agnostic_index(attention: ArrayLike) -> FloatArray:
    """Return how much alike the rows of maps are.

    Parameters
    ----------
    attention : array-like of float, shape (..., n_rows, N)
        Shares that add up to 1 in each row.

    Returns
    -------
    ndarray of float64, shape (...)
        Mean cosine of all pairs of different rows, 0..1: 1 says that every token looks
        at the same places, whatever it is itself. NaN for a single row.

    Raises
    ------
    ValueError
        If values are negative or rows do not add up to 1.

    Examples
    --------
    >>> float(agnostic_index(np.eye(3))), float(agnostic_index([[1.0, 0.0]] * 3))
    (0.0, 1.0)
    """
    maps = _check_rows(attention)
    n = maps.shape[-2]
    if n < 2:
        return np.full(maps.shape[:-2], np.nan)
    units = maps / np.linalg.norm(maps, axis=-1, keepdims=True)
    # The squared length of their sum has all pairs, and each row with itself.
    pairs = (units.sum(axis=-2) ** 2).sum(axis=-1) - n
    return np.clip(pairs / (n * (n - 1)), 0, 1)


def attention_templates(
    grid: tuple[int, int],
    *,
    prefix: int = 1,
    class_token: bool = True,
    rings: Sequence[int] = RINGS,
) -> dict[str, FloatArray]:
    """Return ideal maps that heads can be held against.

    Parameters
    ----------
    grid : pair of int
        Rows and columns of patches.
    prefix : int, default 1
        Tokens before the patches.
    class_token : bool, default True
        Whether the first of them is a class token.
    rings : sequence of int, default (1, 2)
        Chebyshev distances of rings; those that no patch has are left out.

    Returns
    -------
    dict of str to ndarray of float64, shape (rows * columns, N)
        Rows of patches that add up to 1, even attention to: "self" (the patch), "ring1"
        and so on (what there is of the ring, so that corners have a part), "row",
        "column" (with the patch itself), "global" (all patches), "cls". A patch without
        a ring of that size has a row of zeros.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> attention_templates((1, 2), prefix=0, class_token=False)["row"].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    for side in grid:
        check_whole("grid", side, low=1)
    check_whole("prefix", prefix, low=int(class_token))
    down, right = _gaps(grid)
    steps = np.maximum(np.abs(down), np.abs(right))
    cells = {"self": steps == 0}
    for k in rings:
        check_whole("rings", k, low=1)
        if (steps == k).any():
            cells[f"ring{k}"] = steps == k
    cells |= {"row": down == 0, "column": right == 0, "global": steps >= 0}
    n = len(steps)
    templates = {}
    for name, where in cells.items():
        size = np.maximum(where.sum(axis=1, keepdims=True), 1)
        templates[name] = np.hstack([np.zeros((n, prefix)), where / size])
    if class_token:
        first = np.zeros((n, n + prefix))
        first[:, 0] = 1
        templates["cls"] = first
    return templates


def template_projections(
    attention: ArrayLike,
    grid: tuple[int, int],
    *,
    prefix: int = 1,
    class_token: bool = True,
    rings: Sequence[int] = RINGS,
) -> dict[str, FloatArray]:
    """Project maps on ideal ones.

    Parameters
    ----------
    attention : array-like of float, shape (..., N, N)
        Maps; N = `prefix` + rows * columns.
    grid : pair of int
        Rows and columns of patches.
    prefix : int, default 1
        Tokens before the patches.
    class_token : bool, default True
        Whether the first of them is a class token.
    rings : sequence of int, default (1, 2)
        As `attention_templates`.

    Returns
    -------
    dict of str to ndarray of float64, shape (...)
        By name of the template: product of both maps over the product of their norms
        (rows of patches), 0..1; 1 for a map that is the template.

    Raises
    ------
    ValueError
        If maps or another argument do not fit.

    Examples
    --------
    >>> found = template_projections(np.eye(4), (2, 2), prefix=0, class_token=False)
    >>> float(found["self"]), float(found["global"])
    (1.0, 0.5)
    """
    maps = _check_maps(attention, grid, prefix)[..., prefix:, :]
    templates = attention_templates(
        grid, prefix=prefix, class_token=class_token, rings=rings
    )
    size = np.sqrt((maps**2).sum(axis=(-2, -1)))
    return {
        name: np.clip(
            (maps * one).sum(axis=(-2, -1)) / size / np.linalg.norm(one), 0, 1
        )
        for name, one in templates.items()
    }


def profile_heads(
    attention: ArrayLike,
    grid: tuple[int, int],
    *,
    prefix: int = 1,
    class_token: bool = True,
    patch_size: tuple[float, float] = (16, 16),
) -> dict[str, FloatArray]:
    """Measure maps in every way but by ring.

    Parameters
    ----------
    attention : array-like of float, shape (..., N, N)
        Maps; N = `prefix` + rows * columns.
    grid : pair of int
        Rows and columns of patches.
    prefix : int, default 1
        Tokens before the patches.
    class_token : bool, default True
        Whether the first of them is a class token; without one its share is NaN.
    patch_size : pair of float, default (16, 16)
        Height and width of a patch in pixels.

    Returns
    -------
    dict of str to ndarray of float64, shape (...)
        Those of `MEASURES`, and ``template_NAME`` of `template_projections`.

    Raises
    ------
    ValueError
        If maps or another argument do not fit.

    Examples
    --------
    >>> found = profile_heads(np.full((5, 5), 0.2), (2, 2))
    >>> round(float(found["entropy_share"]), 6), float(found["cls_share"])
    (1.0, 0.2)
    """
    maps = _check_maps(attention, grid, prefix)
    nothing = np.full(maps.shape[:-2], np.nan)
    found = {
        "distance_patches": attention_distance(maps, grid, prefix=prefix),
        "distance_px": attention_distance(
            maps, grid, prefix=prefix, patch_size=patch_size
        ),
        "entropy_nats": attention_entropy(maps),
        "entropy_share": attention_entropy(maps, share=True),
        "cls_share": cls_share(maps, prefix=prefix) if class_token else nothing,
        "agnostic_index": agnostic_index(maps),
    }
    projections = template_projections(
        maps, grid, prefix=prefix, class_token=class_token
    )
    return found | {f"template_{name}": p for name, p in projections.items()}


# ----------------------------------------------------------------------------- checks


def _check_rows(attention: ArrayLike) -> FloatArray:
    maps = check_array("attention", np.asarray(attention, np.float64), finite=True)
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise ValueError(
            f"`attention` must have shape (..., n_rows, n_tokens); got {maps.shape}."
        )
    off = float(np.max(np.abs(maps.sum(axis=-1) - 1), initial=0))
    if (maps < 0).any() or off > _ROUNDING:
        raise ValueError(
            "Rows of `attention` must be 0 or more and add up to 1; the lowest value "
            f"is {maps.min():.3g} and a row is off by {off:.3g}. Give maps after the "
            "softmax."
        )
    return maps


def _check_maps(attention: ArrayLike, grid: tuple[int, int], prefix: int) -> FloatArray:
    for side in grid:
        check_whole("grid", side, low=1)
    check_whole("prefix", prefix, low=0)
    maps = _check_rows(attention)
    n = prefix + grid[0] * grid[1]
    if maps.shape[-2:] != (n, n):
        raise ValueError(
            f"`attention` must have shape (..., {n}, {n}) for a grid of {grid} and "
            f"{prefix} tokens before it; got {maps.shape}."
        )
    return maps


def _check_patch(patch_size: tuple[float, float]) -> tuple[float, float]:
    height, width = patch_size
    for side in (height, width):
        if not check_between("patch_size", side, low=0) > 0:
            raise ValueError(f"`patch_size` must be above 0; got {patch_size}.")
    return height, width


def _gaps(grid: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return steps down and to the right between all pairs of patches."""
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return row - row[:, None], column - column[:, None]
