"""Masks of the steerable pyramid in Fourier space."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_whole

Masks = Literal["exact", "table"]
Size = tuple[int, int]

# Samples per octave and per half turn of the tables of the reference code.
_RADIAL_SAMPLES = 256
_ANGULAR_SAMPLES = 1024


def pyramid_sizes(shape: Size, n_scales: int) -> tuple[Size, ...]:
    """Return the sizes of the bands of a pyramid.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the images in pixels.
    n_scales : int
        Number of scales, 0 to floor(log2(min(H, W))) - 2.

    Returns
    -------
    tuple of tuple of int
        (h, w) of each scale, fine to coarse, then of the low-pass residual.

    Raises
    ------
    TypeError, ValueError
        If there are not two sides of whole pixels, or too many scales for them.

    Examples
    --------
    >>> pyramid_sizes((64, 96), 2)
    ((64, 96), (32, 48), (16, 24))
    """
    if not isinstance(shape, Sequence) or len(shape) != 2:
        raise ValueError(f"`shape` must be (height, width); got {shape!r}.")
    height, width = (check_whole("shape", side, low=4) for side in shape)
    highest = int(math.log2(min(height, width))) - 2
    if check_whole("n_scales", n_scales, low=0) > highest:
        raise ValueError(
            f"`n_scales` must be at most {highest} for images of {height} by {width} "
            f"pixels; got {n_scales}. Use fewer scales or larger images."
        )
    sizes = [(height, width)]
    for _ in range(int(n_scales)):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return tuple(sizes)


@dataclass(frozen=True)
class FourierMasks:
    """Masks of a pyramid in Fourier space, zero frequency first.

    Parameters
    ----------
    residual : ndarray of float64, shape (H, W)
        Mask of the high-pass residual.
    lows : tuple of ndarray, n_scales + 1 of shape (h, w)
        Product of the low-pass masks before each scale; the last is that of the
        low-pass residual.
    highs : tuple of ndarray, n_scales of shape (h, w)
        High-pass mask of each scale.
    angular : tuple of ndarray, n_scales of shape (n_orientations, h, w)
        Angular masks, not doubled.
    half_planes : tuple of ndarray, n_scales of shape (n_orientations, h, w)
        1 within a quarter turn of the direction of the band, else 0.
    """

    residual: NDArray[np.float64]
    lows: tuple[NDArray[np.float64], ...]
    highs: tuple[NDArray[np.float64], ...]
    angular: tuple[NDArray[np.float64], ...]
    half_planes: tuple[NDArray[np.float64], ...]


def fourier_masks(
    shape: Size, n_scales: int, n_orientations: int, masks: Masks
) -> FourierMasks:
    """Return the masks of all scales.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the images in pixels.
    n_scales, n_orientations : int
        As of `SteerablePyramid`.
    masks : {"exact", "table"}
        As of `SteerablePyramid`.

    Returns
    -------
    FourierMasks
        Masks cropped to the size of their scale.
    """
    rows, columns = (_frequencies(n, masks) for n in shape)
    radius: NDArray[np.float64] = np.hypot(rows[:, None], columns)
    # The logarithm needs a radius at zero frequency; any low one gives the same mask.
    radius[0, 0] = radius[0, -1]
    octave: NDArray[np.float64] = np.log2(radius)
    angle: NDArray[np.float64] = np.arctan2(rows[:, None], columns)
    residual, low = _radial(octave, masks)
    offsets = np.arange(n_orientations) * np.pi / n_orientations
    cosines, inside = _angular(angle, offsets, masks)
    lows, highs, angular, half_planes = [low], [], [], []
    for scale in range(n_scales):
        high, _ = _radial(octave + scale + 1, masks)
        highs.append(high)
        angular.append(cosines)
        half_planes.append(inside)
        size = ((octave.shape[0] + 1) // 2, (octave.shape[1] + 1) // 2)
        octave, cosines, inside = (
            _crop_array(each, size) for each in (octave, cosines, inside)
        )
        _, low = _radial(octave + scale + 1, masks)
        lows.append(_crop_array(lows[-1], size) * low)
    return FourierMasks(
        residual, tuple(lows), tuple(highs), tuple(angular), tuple(half_planes)
    )


def _frequencies(n: int, masks: Masks) -> NDArray[np.float64]:
    if masks == "table":
        return np.fft.ifftshift(np.linspace(-1, 1, n + 1)[:-1])
    return np.asarray(2 * np.fft.fftfreq(n), np.float64)


def _radial(
    octave: NDArray[np.float64], masks: Masks
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the high-pass mask with cut-off at octave 0, and its complement."""
    if masks == "exact":
        phase = np.pi / 2 * np.clip(octave, -1, 0)
        return np.cos(phase), np.abs(np.sin(phase))
    nodes = np.arange(-_RADIAL_SAMPLES, 1) / _RADIAL_SAMPLES
    high = np.abs(np.cos(np.pi / 2 * nodes))
    tables = high, np.sqrt(1 - high**2)
    high, low = (_rounded(np.interp(octave, nodes, table)) for table in tables)
    return high, low


def _angular(
    angle: NDArray[np.float64], offsets: NDArray[np.float64], masks: Masks
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return angular masks, and where they lie within a quarter turn."""
    order = len(offsets) - 1
    norm = 2**order * math.factorial(order)
    norm /= math.sqrt(len(offsets) * math.factorial(2 * order))
    if masks == "exact":
        cosine = np.cos(angle - offsets[:, None, None])
        return norm * cosine**order, (cosine > 0).astype(np.float64)
    n = _ANGULAR_SAMPLES
    steps = np.arange(-2 * n - 1, n + 2)
    nodes = np.pi * steps / n
    values = norm * np.cos(nodes) ** order
    # Whole steps tell the quarter turn without rounding.
    inside = np.abs((steps + n) % (2 * n) - n) < n // 2
    both = []
    for table in (values, values * inside):
        each = [np.interp(angle, nodes + offset, table) for offset in offsets]
        both.append(_rounded(np.stack(each)))
    whole, cut = both
    # A sample beside the edge of the half plane is interpolated towards zero.
    ratio = np.divide(cut, whole, out=np.zeros_like(cut), where=whole != 0)
    return whole, ratio


def _rounded(mask: NDArray[np.float64]) -> NDArray[np.float64]:
    return mask.astype(np.float32).astype(np.float64)


def half(mask: NDArray[Any]) -> NDArray[Any]:
    """Return the columns of frequencies >= 0; the others follow in real images.

    Parameters
    ----------
    mask : ndarray, shape (..., H, W)
        In Fourier space, zero frequency first.

    Returns
    -------
    ndarray, shape (..., H, W // 2 + 1)
        A view.
    """
    return mask[..., : mask.shape[-1] // 2 + 1]


def hermitian(mask: NDArray[Any]) -> NDArray[Any]:
    """Return the part of a mask that keeps real images real.

    Parameters
    ----------
    mask : ndarray, shape (..., H, W)
        In Fourier space, zero frequency first.

    Returns
    -------
    ndarray, shape (..., H, W)
        Mean of M(k) and the conjugate of M(-k): filtering a real image by it gives
        the real part of filtering by M.
    """
    mirrored = np.roll(mask[..., ::-1, ::-1], (1, 1), (-2, -1))
    return (mask + np.conj(mirrored)) / 2


def padded(plane: NDArray[Any]) -> NDArray[Any]:
    """Put zeros around masks, to twice their size.

    Parameters
    ----------
    plane : ndarray, shape (..., H, W)
        In Fourier space, zero frequency first.

    Returns
    -------
    ndarray, shape (..., 2 H, 2 W)
        Zero frequency first.

    Examples
    --------
    >>> padded(np.array([[1.0, 2.0], [3.0, 4.0]])).astype(int).tolist()
    [[1, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    """
    *leading, height, width = plane.shape
    wide = np.zeros((*leading, 2 * height, 2 * width), plane.dtype)
    rows = np.r_[0 : (height + 1) // 2, 2 * height - height // 2 : 2 * height]
    columns = np.r_[0 : (width + 1) // 2, 2 * width - width // 2 : 2 * width]
    wide[..., rows[:, None], columns] = plane
    return wide


def _crop_array(plane: NDArray[np.float64], size: Size) -> NDArray[np.float64]:
    rows, columns = (
        np.r_[0 : (n + 1) // 2, whole - n // 2 : whole]
        for n, whole in zip(size, plane.shape[-2:], strict=True)
    )
    return plane[..., rows[:, None], columns]
