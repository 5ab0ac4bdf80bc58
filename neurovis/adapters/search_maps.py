"""From features to the next fixation: matching, weighting, sharpening, enlarging.

Pure functions of small maps. Definitions follow Gupta et al. (2021, NeurIPS,
arXiv:2106.02953); blurring and enlarging have the semantics of OpenCV, in which the
model was published (reflect-101 borders, area-style enlargement).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from neurovis.core.checks import check_option

# OpenCV's small kernels for sigma <= 0.
_BINOMIAL = {
    1: (1.0,),
    3: (0.25, 0.5, 0.25),
    5: (0.0625, 0.25, 0.375, 0.25, 0.0625),
    7: (0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125),
}
SHARPENING_PASSES = 3


def match_map(features: Tensor, target: Tensor) -> Tensor:
    """Correlate a feature map with the features of the target.

    Parameters
    ----------
    features : Tensor, shape (C, M, M)
        Features of what is seen.
    target : Tensor, shape (C, h, w)
        Features of the target; the kernel.

    Returns
    -------
    Tensor, shape (M, M)
        "Same"-padded cross-correlation summed over channels; an even kernel has
        the larger padding at the end.
    """
    height, width = target.shape[-2:]
    matched = F.conv2d(features[None], target[None], padding=(height // 2, width // 2))
    # An even kernel was padded by one too many at the start.
    return matched[0, 0, -features.shape[-2] :, -features.shape[-1] :]


def normalise_map(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a map to [0, 1] in float32; a constant map becomes 0.

    Parameters
    ----------
    values : ndarray of float32, shape (M, M)
        Raw match.

    Returns
    -------
    ndarray of float32, shape (M, M)
        ``(values - min) / (max - min)``.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros_like(values)
    scale = 1.0 / (high - low)
    return (values * scale - low * scale).astype(np.float32)


def combine_maps(
    raw: NDArray[np.float32], layers: Sequence[float], weighting: str = "max"
) -> NDArray[np.float64]:
    """Weigh and add the normalised match maps of several layers.

    Parameters
    ----------
    raw : ndarray of float32, shape (n_layers, M, M)
        Raw match of each layer.
    layers : sequence of float
        0 drops a layer, 1 keeps it.
    weighting : {"max", "equal"}
        Weights proportional to the raw maximum of each layer, or equal.

    Returns
    -------
    ndarray of float64, shape (M, M)
        Weighted sum; weights add up to 1.

    Raises
    ------
    ValueError
        If `weighting` is unknown.
    """
    check_option("weighting", weighting, ("max", "equal"))
    peaks = raw.reshape(len(raw), -1).max(1).astype(np.float64)
    weights = (peaks if weighting == "max" else np.ones(len(raw))) * np.asarray(layers)
    if weights.sum() == 0:  # nothing matches anywhere: no layer knows better
        weights = np.asarray(layers, np.float64)
    weights = weights / weights.sum()
    total = np.zeros(raw.shape[1:])
    for weight, values in zip(weights, raw, strict=True):
        if weight:
            total += weight * normalise_map(values)
    return total


def gaussian_kernel(size: int, sigma: float) -> NDArray[np.float64]:
    """Return OpenCV's one-dimensional Gaussian kernel.

    Parameters
    ----------
    size : int
        Odd number of taps.
    sigma : float
        Standard deviation in pixels; <= 0 takes the fixed kernel of that size, or
        a sigma derived from the size above 7 taps.

    Returns
    -------
    ndarray of float64, shape (size,)
        Taps that add up to 1.

    Raises
    ------
    ValueError
        If `size` is even or < 1.

    Examples
    --------
    >>> gaussian_kernel(3, 0).tolist()
    [0.25, 0.5, 0.25]
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"`size` must be odd and positive; got {size}.")
    if sigma <= 0 and size in _BINOMIAL:
        return np.array(_BINOMIAL[size])
    if sigma <= 0:
        sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    taps = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    kernel: NDArray[np.float64] = taps / taps.sum()
    return kernel


def gaussian_blur(
    values: NDArray[np.float64], size: int, sigma: float
) -> NDArray[np.float64]:
    """Blur with reflect-101 borders.

    Parameters
    ----------
    values : ndarray of float64, shape (H, W)
        Map.
    size : int
        Odd number of taps.
    sigma : float
        See `gaussian_kernel`.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Blurred map.
    """
    kernel = gaussian_kernel(size, sigma)
    rows = ndimage.correlate1d(values, kernel, 0, mode="mirror")
    blurred: NDArray[np.float64] = ndimage.correlate1d(rows, kernel, 1, mode="mirror")
    return blurred


def sharpen_map(
    values: NDArray[np.float64],
    kernels: tuple[tuple[int, float], tuple[int, float]],
) -> NDArray[np.float64]:
    """Add the difference of a small and a large Gaussian, three times.

    Parameters
    ----------
    values : ndarray of float64, shape (M, M)
        Attention map.
    kernels : pair of (int, float)
        Size and sigma of the small and of the large Gaussian.

    Returns
    -------
    ndarray of float64, shape (M, M)
        Sharpened map.
    """
    small, large = kernels
    for _ in range(SHARPENING_PASSES):
        values = values + gaussian_blur(values, *small) - gaussian_blur(values, *large)
    return values


def enlargement(
    n_in: int, n_out: int, part: tuple[int, int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return where each enlarged pixel reads from, and how it blends.

    Parameters
    ----------
    n_in, n_out : int
        Length before and after, ``n_out >= n_in``.
    part : tuple of int, optional
        Half-open range of the outputs wanted; all by default.

    Returns
    -------
    tuple of ndarray
        Index of the first source, index of the second, share of the second.

    Raises
    ------
    ValueError
        If the map would shrink.
    """
    if n_out < n_in:
        raise ValueError(f"`n_out` must be at least n_in={n_in}; got {n_out}.")
    scale = n_out / n_in
    x = np.arange(*(part or (0, n_out)))
    # Rounded as in OpenCV: it decides which cell a pixel on a border belongs to.
    first = np.floor(x * (1 / scale)).astype(np.int64)
    share = ((x + 1) - (first + 1) * scale).astype(np.float32)
    share = np.where(share <= 0, 0.0, share - np.floor(share)).astype(np.float64)
    last = first >= n_in - 1
    first[last] = n_in - 1
    share[last] = 0.0
    return first, np.minimum(first + 1, n_in - 1), share


def enlarge_map(
    values: NDArray[np.float64],
    side: int,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> NDArray[np.float64]:
    """Enlarge a square map: replication, blended where a pixel straddles two cells.

    Parameters
    ----------
    values : ndarray of float64, shape (M, M)
        Map.
    side : int
        Side of the enlarged map in pixels, at least M.
    rows, columns : tuple of int, optional
        Half-open ranges of the part wanted; the whole map by default.

    Returns
    -------
    ndarray of float64
        The part, or (side, side).
    """
    first, second, share = enlargement(len(values), side, rows)
    tall = values[first] * (1 - share)[:, None] + values[second] * share[:, None]
    first, second, share = enlargement(values.shape[1], side, columns)
    return tall[:, first] * (1 - share) + tall[:, second] * share


def to_numpy(maps: Sequence[Tensor]) -> NDArray[np.float32]:
    """Stack small maps on the CPU.

    Parameters
    ----------
    maps : sequence of Tensor, shape (M, M)
        Maps of one glance.

    Returns
    -------
    ndarray of float32, shape (n, M, M)
        Stacked.
    """
    return torch.stack(list(maps)).float().cpu().numpy()
