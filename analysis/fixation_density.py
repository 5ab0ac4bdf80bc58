"""Maps from fixations, and maps as densities.

Counts of fixations, Gaussian densities, the density of all other observers, and the
rule that makes any map a density.
"""

from typing import Any

import numpy as np

from analysis.fixated_pixels import (
    FixatedPixels,
    FloatArray,
    IntArray,
    check_maps,
    map_blocks,
    row_of,
    values_at,
)
from neurovis.core.checks import check_between


def fixation_counts(human: FixatedPixels) -> FloatArray:
    """Count the fixations on each pixel.

    Parameters
    ----------
    human : FixatedPixels
        Fixations.

    Returns
    -------
    ndarray of float64, shape (n_maps, H, W)
        Whole numbers.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> fixation_counts(fixated_pixels([1, 1], [0, 0], (1, 3)))
    array([[[0., 2., 0.]]])
    """
    key = human.map_index * human.n_pixels + human.flat
    counts = np.bincount(key, minlength=human.n_maps * human.n_pixels)
    return counts.astype(np.float64).reshape(human.n_maps, *human.shape)


def fixation_density(
    human: FixatedPixels, sigma_px: float, *, uniform: float = 0.0
) -> FloatArray:
    """Estimate the density of fixations with a Gaussian kernel.

    The kernel is sampled at pixel centres without truncation. What of it falls beyond
    the edge is put back by scaling each kernel to a sum of 1 inside, so that every
    fixation weighs the same.

    Parameters
    ----------
    human : FixatedPixels
        Fixations.
    sigma_px : float
        Standard deviation of the kernel in pixels, > 0.
    uniform : float, default 0
        Share of a uniform density that is mixed in, 0..1.

    Returns
    -------
    ndarray of float64, shape (n_maps, H, W)
        Densities with sum 1 per map; NaN for a map without fixations. Without
        `uniform` the density is 0 beyond about 38 `sigma_px` from all fixations.

    Raises
    ------
    ValueError
        If a number is out of range.

    See Also
    --------
    leave_one_out_density : The density of all other groups.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> pixels = fixated_pixels([0], [0], (1, 3))
    >>> fixation_density(pixels, 0.5).round(3)
    array([[[0.881, 0.119, 0.   ]]])
    """
    _check_kernel(sigma_px, uniform)
    density = np.empty((human.n_maps, *human.shape))
    for i, total in enumerate(density):
        _add_kernels(human.select([i]), sigma_px, total)
    return _finish(density, human.n_fixations, uniform)


def leave_one_out_density(
    human: FixatedPixels, sigma_px: float, *, uniform: float = 0.0
) -> FloatArray:
    """Estimate, for each group, the density of the fixations of all other groups.

    With one group per observer of a picture this is the prediction of an observer
    from the other observers. The kernel is that of `fixation_density`.

    Parameters
    ----------
    human : FixatedPixels
        Fixations, one group per observer.
    sigma_px : float
        Standard deviation of the kernel in pixels, > 0.
    uniform : float, default 0
        Share of a uniform density that is mixed in, 0..1.

    Returns
    -------
    ndarray of float64, shape (n_maps, H, W)
        Densities with sum 1; NaN where the other groups have no fixations.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> pixels = fixated_pixels([0, 2], [0, 0], (1, 3), map_index=[0, 1])
    >>> leave_one_out_density(pixels, 0.5).round(3)
    array([[[0.   , 0.119, 0.881]],
    <BLANKLINE>
           [[0.881, 0.119, 0.   ]]])
    """
    _check_kernel(sigma_px, uniform)
    density = np.empty((human.n_maps, *human.shape))
    own = np.empty(human.shape)
    # Sums from both ends. Subtracting the own map from the sum of all would leave
    # rounding noise, even below 0, where only the own fixations are near.
    before, after = np.zeros(human.shape), np.zeros(human.shape)
    for i in range(human.n_maps):
        density[i] = before
        before += _add_kernels(human.select([i]), sigma_px, own)
    for i in reversed(range(human.n_maps)):
        density[i] += after
        after += _add_kernels(human.select([i]), sigma_px, own)
    return _finish(density, len(human) - human.n_fixations, uniform)


def _check_kernel(sigma_px: float, uniform: float) -> None:
    check_between("sigma_px", sigma_px, low=1e-3)
    check_between("uniform", uniform, low=0, high=1)


def _add_kernels(group: FixatedPixels, sigma_px: float, out: FloatArray) -> FloatArray:
    """Write the sum of the kernels of one group, each with sum 1, to `out`."""
    height, width = group.shape
    # The kernel is separable: a sum over fixations is a product of two matrices.
    if len(group) <= height + width:
        rows = _kernels(group.row, height, sigma_px)
        columns = _kernels(group.column, width, sigma_px)
        return np.matmul(rows.T, columns, out=out)
    rows = _kernels(np.arange(height), height, sigma_px)
    columns = _kernels(np.arange(width), width, sigma_px)
    return np.matmul(rows.T @ fixation_counts(group)[0], columns, out=out)


def _kernels(centre: IntArray, size: int, sigma_px: float) -> FloatArray:
    """One kernel with sum 1 per row, shape (len(centre), size)."""
    distance = (np.arange(size) - centre[:, None]) / sigma_px
    kernel = np.exp(-0.5 * distance**2)
    return kernel / kernel.sum(axis=1, keepdims=True)


def _finish(density: FloatArray, n_fixations: IntArray, uniform: float) -> FloatArray:
    """Divide sums of kernels by their number and mix, in place."""
    n = np.where(n_fixations > 0, n_fixations, np.nan)
    density *= ((1 - uniform) / n)[:, None, None]
    if uniform:
        density += uniform / (density.shape[1] * density.shape[2])
    return density


def to_density(maps: Any) -> FloatArray:
    """Turn maps into densities: sum 1, nothing negative.

    The minimum is subtracted where it is negative, then the map is divided by its
    sum; a map with sum 0 becomes uniform.

    Parameters
    ----------
    maps : array-like of float, shape (H, W) or (n_maps, H, W)
        One map or a stack.

    Returns
    -------
    ndarray of float64, same shape
        Densities; NaN for a map with NaN.

    Examples
    --------
    >>> to_density([[-1.0, 0.0, 2.0]])
    array([[0.  , 0.25, 0.75]])
    """
    rows = check_maps("maps", maps)
    out = np.empty(rows.shape)
    for part, block in map_blocks(rows):
        out[part] = density_rows(block)
    return out.reshape(np.shape(maps))


def density_rows(rows: FloatArray, *, minimum: float = 0.0) -> FloatArray:
    """Turn rows of pixels into densities, as `to_density`.

    Parameters
    ----------
    rows : ndarray of float64, shape (n_maps, n_pixels)
        Maps.
    minimum : float, default 0
        Added to each value once the negative ones are gone.

    Returns
    -------
    ndarray of float64, same shape
        Densities.
    """
    low = rows.min(axis=1, keepdims=True)
    if (low < 0).any():
        rows = rows - np.minimum(low, 0)
    if minimum:
        rows = rows + minimum
    total = rows.sum(axis=1, keepdims=True)
    empty = total == 0
    if empty.any():
        rows = np.where(empty, 1.0, rows)
        total = np.where(empty, rows.shape[1], total)
    with np.errstate(invalid="ignore"):
        return rows / total


def density_at(name: str, maps: Any, human: FixatedPixels) -> FloatArray:
    """Return the density of its map, as of `to_density`, at each fixation.

    Parameters
    ----------
    name : str
        Argument name for a message.
    maps : array-like of float, shape (H, W) or (n_maps, H, W)
        Maps.
    human : FixatedPixels
        Fixations.

    Returns
    -------
    ndarray of float64, shape (n_fixations,)
        Probability per pixel.

    Raises
    ------
    ValueError
        If map and fixations do not fit.
    """
    rows = check_maps(name, maps, human)
    low, total = np.empty((2, len(rows)))
    for part, block in map_blocks(rows):
        low[part] = np.minimum(block.min(axis=1), 0)
        shifted = block - low[part, None] if (low[part] < 0).any() else block
        total[part] = shifted.sum(axis=1)
    index = row_of(rows, human)
    values = values_at(rows, human) - low[index]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[index] == 0, 1 / rows.shape[1], values / total[index])
