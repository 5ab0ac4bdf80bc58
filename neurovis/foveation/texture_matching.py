"""Local statistics of pyramid coefficients, and coefficients moved to given ones.

This is adaptive instance normalisation (doi:10.1109/ICCV.2017.167) with a pooling
window in place of the whole map and the magnitudes of a steerable pyramid in place of
the features of a network.
"""

from dataclasses import dataclass

import torch

from neurovis.foveation.pooling import PoolingOperators
from neurovis.foveation.steerable_pyramid import Coefficients

# Variance of rounding to 8 bits: what is flatter than this has no texture to match.
ROUNDING_VARIANCE = 1 / (12 * 255**2)
_TINY_MAGNITUDE = 1e-6


@dataclass(frozen=True)
class Moments:
    """Mean and variance of maps in every window.

    Parameters
    ----------
    mean, variance : Tensor, shape (B, K, n_windows)
        Of K maps; the variance divides by the weight of the window.
    """

    mean: torch.Tensor
    variance: torch.Tensor


@dataclass(frozen=True)
class LocalStatistics:
    """What a picture and its texture have in common in every window.

    Parameters
    ----------
    pixels, highpass, lowpass : Moments
        Of the C channels, and of both residuals of their pyramid.
    magnitudes : tuple of Moments
        One per scale; maps are channel-major, orientations within.
    covariances : tuple of Tensor, each (B, C, n_windows, O, O)
        Of magnitudes across orientations; empty when orientations are not matched.
    """

    pixels: Moments
    highpass: Moments
    lowpass: Moments
    magnitudes: tuple[Moments, ...]
    covariances: tuple[torch.Tensor, ...]


def local_moments(
    operators: PoolingOperators, level: int, maps: torch.Tensor
) -> Moments:
    """Return the window-weighted mean and variance of maps.

    Parameters
    ----------
    operators : PoolingOperators
        Of the windows.
    level : int
        Level of the pyramid that the maps belong to.
    maps : Tensor, shape (B, K, h, w)
        Real maps.

    Returns
    -------
    Moments
        In every window.
    """
    pooled = operators.pool(level, torch.cat([maps, maps * maps], dim=1))
    mean, square = pooled.chunk(2, dim=1)
    return Moments(mean, (square - mean * mean).clamp_min(0))


def match_moments(
    operators: PoolingOperators, level: int, maps: torch.Tensor, target: Moments
) -> torch.Tensor:
    """Give maps the local mean and variance of others.

    Parameters
    ----------
    operators : PoolingOperators
        Of the windows.
    level : int
        Level of the pyramid that the maps belong to.
    maps : Tensor, shape (B, K, h, w)
        Real maps.
    target : Moments
        Wanted.

    Returns
    -------
    Tensor, shape (B, K, h, w)
        A gain and an offset per window, spread smoothly over its pixels.
    """
    found = local_moments(operators, level, maps)
    gain = torch.sqrt(
        (target.variance + ROUNDING_VARIANCE) / (found.variance + ROUNDING_VARIANCE)
    )
    offset = target.mean - gain * found.mean
    spread = operators.spread(level, torch.cat([gain, offset], dim=1))
    gain_map, offset_map = spread.chunk(2, dim=1)
    return torch.addcmul(offset_map, gain_map, maps)


def local_covariance(
    operators: PoolingOperators, level: int, magnitudes: torch.Tensor
) -> torch.Tensor:
    """Return the covariance of magnitudes across orientations in every window.

    Parameters
    ----------
    operators : PoolingOperators
        Of the windows.
    level : int
        Level of the pyramid that the maps belong to.
    magnitudes : Tensor, shape (B, C, O, h, w)
        Of one scale.

    Returns
    -------
    Tensor, shape (B, C, n_windows, O, O)
        Symmetric; noisy in windows of few samples, hence see `orientation_maps`.
    """
    n_images, n_channels, n_orientations, height, width = magnitudes.shape
    rows, columns = torch.tril_indices(n_orientations, n_orientations)
    products = magnitudes[:, :, rows] * magnitudes[:, :, columns]
    maps = torch.cat([magnitudes, products], dim=2)
    pooled = operators.pool(level, maps.reshape(n_images, -1, height, width))
    pooled = pooled.reshape(n_images, n_channels, -1, pooled.shape[-1]).mT
    mean, product = pooled[..., :n_orientations], pooled[..., n_orientations:]
    found = product - mean[..., rows] * mean[..., columns]
    covariance = found.new_zeros((*found.shape[:-1], n_orientations, n_orientations))
    covariance[..., rows, columns] = found
    covariance[..., columns, rows] = found
    return covariance


def _powers(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # Square root and inverse square root of positive definite matrices.
    values, vectors = torch.linalg.eigh(matrices)
    root = values.clamp_min(1e-30).sqrt()
    return (
        vectors * root[..., None, :] @ vectors.mT,
        vectors / root[..., None, :] @ vectors.mT,
    )


def orientation_maps(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the symmetric matrices that turn one covariance into another.

    Of all linear maps with T A T = B the symmetric positive one moves magnitudes
    least: ``T = A^(-1/2) (A^(1/2) B A^(1/2))^(1/2) A^(-1/2)``.

    Parameters
    ----------
    found, wanted : Tensor, shape (..., O, O)
        Covariances A and B; a hundredth of the mean variance is added to either
        diagonal, as few samples give singular ones.

    Returns
    -------
    Tensor, shape (..., O, O)
        T.

    Examples
    --------
    >>> a, b = torch.diag(torch.tensor([1.0, 4.0])), torch.eye(2)
    >>> (orientation_maps(a, b).diagonal() ** 2 * a.diagonal()).round(decimals=1)
    tensor([1., 1.])
    """
    eye = torch.eye(found.shape[-1], dtype=torch.float64, device=found.device)
    both = []
    for matrices in (found.double(), wanted.double()):
        ridge = 1e-2 * matrices.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
        both.append(
            matrices + (ridge.clamp_min(0) + ROUNDING_VARIANCE)[..., None, None] * eye
        )
    root, inverse = _powers(both[0])
    middle, _ = _powers(root @ both[1] @ root)
    return (inverse @ middle @ inverse).to(found.dtype)


def _match_covariance(
    operators: PoolingOperators,
    level: int,
    magnitudes: torch.Tensor,
    wanted: torch.Tensor,
    mean: torch.Tensor,
) -> torch.Tensor:
    n_images, n_channels, n_orientations, height, width = magnitudes.shape
    found = operators.pool(level, magnitudes.flatten(1, 2))
    found = found.view(n_images, n_channels, n_orientations, -1).mT
    matrices = orientation_maps(local_covariance(operators, level, magnitudes), wanted)
    offset = mean.view(n_images, n_channels, n_orientations, -1).mT - (
        matrices @ found[..., None]
    ).squeeze(-1)
    rows, columns = torch.tril_indices(n_orientations, n_orientations)
    values = torch.cat([matrices[..., rows, columns], offset], dim=-1)
    spread = operators.spread(level, values.mT.flatten(1, 2))
    spread = spread.view(n_images, n_channels, -1, height, width)
    mixed = spread[:, :, len(rows) :].clone()
    for entry, (row, column) in enumerate(
        zip(rows.tolist(), columns.tolist(), strict=True)
    ):
        mixed[:, :, row].addcmul_(spread[:, :, entry], magnitudes[:, :, column])
        if row != column:
            mixed[:, :, column].addcmul_(spread[:, :, entry], magnitudes[:, :, row])
    return mixed


def local_statistics(
    operators: PoolingOperators,
    pixels: torch.Tensor,
    coefficients: Coefficients,
    *,
    orientation_matching: bool = False,
) -> LocalStatistics:
    """Measure a picture and its pyramid in every window.

    Parameters
    ----------
    operators : PoolingOperators
        Of the windows, with one level more than the pyramid has scales.
    pixels : Tensor, shape (B, C, H, W)
        The picture.
    coefficients : Coefficients
        Of its complex pyramid.
    orientation_matching : bool, default False
        Covariances of magnitudes too.

    Returns
    -------
    LocalStatistics
        Targets for `match_statistics`.
    """
    magnitudes = [band.abs() for band in coefficients.bands]
    covariances: tuple[torch.Tensor, ...] = ()
    if orientation_matching:
        covariances = tuple(
            local_covariance(operators, level, magnitude)
            for level, magnitude in enumerate(magnitudes)
        )
    return LocalStatistics(
        local_moments(operators, 0, pixels),
        local_moments(operators, 0, coefficients.highpass),
        local_moments(operators, len(magnitudes), coefficients.lowpass),
        tuple(
            local_moments(operators, level, magnitude.flatten(1, 2))
            for level, magnitude in enumerate(magnitudes)
        ),
        covariances,
    )


def match_statistics(
    operators: PoolingOperators, coefficients: Coefficients, target: LocalStatistics
) -> Coefficients:
    """Give the coefficients of a pyramid the local statistics of another picture.

    Residuals get their local mean and variance; oriented bands keep their phase and
    get the mean and variance of their magnitude, after its covariance across
    orientations where `target` has that.

    Parameters
    ----------
    operators : PoolingOperators
        Of the windows.
    coefficients : Coefficients
        To be changed; left as they are.
    target : LocalStatistics
        Wanted.

    Returns
    -------
    Coefficients
        New ones.
    """
    bands = []
    for level, (band, moments) in enumerate(
        zip(coefficients.bands, target.magnitudes, strict=True)
    ):
        magnitude = band.abs()
        if target.covariances:
            wanted = _match_covariance(
                operators, level, magnitude, target.covariances[level], moments.mean
            )
        else:
            maps = magnitude.flatten(1, 2)
            wanted = match_moments(operators, level, maps, moments).view_as(band)
        ratio = wanted.clamp_min(0) / (magnitude + _TINY_MAGNITUDE)
        bands.append(band.real * ratio)
    return Coefficients(
        match_moments(operators, 0, coefficients.highpass, target.highpass),
        tuple(bands),
        match_moments(operators, len(bands), coefficients.lowpass, target.lowpass),
    )
