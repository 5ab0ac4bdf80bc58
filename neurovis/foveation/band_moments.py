"""Second moments of oriented bands, with gradients written out by hand."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

Size = tuple[int, int]


@dataclass(frozen=True)
class LagWaves:
    """Waves that take half power spectra to the lags of a neighbourhood, and back.

    Parameters
    ----------
    rows : Tensor, shape (W, 2 h)
        Cosines, then negative sines, of each lag along the columns.
    columns : Tensor, shape (w // 2 + 1, 2 W)
        Cosines, then sines, of each lag along the rows, times how often a frequency
        counts, over the square of the number of pixels.
    kernel : Tensor, shape (2 W, w // 2 + 1)
        Cosines, then sines, along the rows, for gradients.
    """

    rows: Tensor
    columns: Tensor
    kernel: Tensor


def lag_waves(
    size: Size, neighbourhood: int, dtype: torch.dtype, device: torch.device
) -> LagWaves:
    """Return the waves for images of a size.

    Parameters
    ----------
    size : tuple of int
        (h, w) in pixels.
    neighbourhood : int
        Lags along one axis, W; no shift is number W // 2.
    dtype : torch.dtype
        float32 or float64.
    device : torch.device
        Where the images are.

    Returns
    -------
    LagWaves
        See there.
    """
    pixels = math.prod(size)
    lags = np.arange(neighbourhood) - neighbourhood // 2
    down = 2 * np.pi / size[0] * np.outer(lags, np.arange(size[0]))
    right = 2 * np.pi / size[1] * np.outer(lags, np.arange(size[1] // 2 + 1))
    columns = np.concatenate([np.cos(right), np.sin(right)])

    def put(values: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(values).to(dtype=dtype, device=device).contiguous()

    return LagWaves(
        rows=put(np.concatenate([np.cos(down), -np.sin(down)], 1)),
        columns=put((columns * half_weights(size)).T / pixels**2),
        kernel=put(columns * 2 / pixels),
    )


def half_weights(size: Size) -> NDArray[np.float64]:
    """Count how often each column of a half spectrum occurs in the whole one.

    Parameters
    ----------
    size : tuple of int
        (h, w) of the images in pixels.

    Returns
    -------
    ndarray of float64, shape (w // 2 + 1,)
        1 for the mean and for half a cycle per pixel, else 2.

    Examples
    --------
    >>> half_weights((4, 6))
    array([1., 2., 2., 1.])
    """
    columns = np.arange(size[1] // 2 + 1)
    return np.where((columns == 0) | (2 * columns == size[1]), 1.0, 2.0)


def power(spectrum: Tensor) -> Tensor:
    """Return the squared modulus of spectra.

    Parameters
    ----------
    spectrum : Tensor
        Complex, any shape.

    Returns
    -------
    Tensor
        Real, of the same shape.
    """
    return spectrum.real.square() + spectrum.imag.square()


def lags_of(power: Tensor, waves: LagWaves) -> Tensor:
    """Return autocovariances at the lags of a neighbourhood.

    Few lags are wanted, so products with few waves replace an inverse transform.

    Parameters
    ----------
    power : Tensor, shape (..., h, w // 2 + 1)
        Half power spectra, of transforms that are not normalised.
    waves : LagWaves
        For that size.

    Returns
    -------
    Tensor, shape (..., W, W)
        Means of products of pixels, boundaries wrapping around.
    """
    along = power @ waves.columns
    return waves.rows @ torch.cat(along.chunk(2, -1), -2)


def band_moments(
    bands: Tensor, n: int, waves: LagWaves
) -> tuple[Tensor, Tensor, Tensor]:
    """Return second moments of the bands of a scale, and of the next coarser one.

    Parameters
    ----------
    bands : Tensor, shape (B, C, M, h, w)
        Complex; first the n bands of the scale itself, then none (M is n), or those
        of the coarser scale at the same size (M is 2 n).
    n : int
        Number of bands of the scale.
    waves : LagWaves
        For the size of the bands.

    Returns
    -------
    autocovariances : Tensor, shape (B, C, n, W, W)
        Of the magnitudes of the first n bands.
    covariances : Tensor, shape (B, C, M, M)
        Of the magnitudes of all.
    products : Tensor, shape (B, C, 3 n, 3 n)
        Means of products of the real parts of the first n bands, then the real, then
        the imaginary parts of the others with their phase doubled, ``z²/|z|``; empty
        when M is n.

    Notes
    -----
    Gradients pass, of first order.
    """
    return _BandMoments.apply(bands, n, waves)


class _BandMoments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, bands: Tensor, n: int, waves: LagWaves
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the moments."""
        pixels = bands.shape[-2] * bands.shape[-1]
        magnitude = bands.real.square().addcmul_(bands.imag, bands.imag)
        # Keeps quotients finite where a band vanishes.
        magnitude.clamp_(min=torch.finfo(magnitude.dtype).tiny).sqrt_()
        mean = magnitude.mean((-2, -1), keepdim=True)
        centred = magnitude - mean
        spectrum = torch.fft.rfft2(centred[:, :, :n])
        flat = centred.flatten(3)
        covariance = flat @ flat.mT / pixels
        products = parts = magnitude.new_empty(0)
        if bands.shape[2] > n:
            coarse, length = bands[:, :, n:], magnitude[:, :, n:]
            doubled = coarse * coarse
            shape = (*bands.shape[:2], 3 * n, *bands.shape[3:])
            parts = magnitude.new_empty(shape)
            parts[:, :, :n] = bands[:, :, :n].real
            torch.div(doubled.real, length, out=parts[:, :, n : 2 * n])
            torch.div(doubled.imag, length, out=parts[:, :, 2 * n :])
            flat = parts.flatten(3)
            products = flat @ flat.mT / pixels
        ctx.save_for_backward(bands, magnitude, mean, spectrum, parts)
        ctx.n, ctx.waves = n, waves
        return lags_of(power(spectrum), waves), covariance, products

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_lags: Tensor, of_covariance: Tensor, of_products: Tensor
    ) -> tuple[Tensor, None, None]:
        """Pass the gradients of the moments on to the bands."""
        bands, magnitude, mean, spectrum, parts = ctx.saved_tensors
        n, size = ctx.n, bands.shape[-2:]
        pixels = size[0] * size[1]
        weights = (of_covariance + of_covariance.mT) / pixels
        radial = weights @ magnitude.flatten(3)
        radial = radial.sub_(weights @ mean.flatten(3)).unflatten(-1, size)
        # Autocorrelations: the magnitudes filtered by a symmetric kernel.
        waves = (ctx.waves.rows.mT @ of_lags).chunk(2, -2)
        kernel = torch.cat(waves, -1) @ ctx.waves.kernel
        radial[:, :, :n] += torch.fft.irfft2(spectrum * kernel, s=size)
        unit = bands * magnitude.reciprocal()
        if bands.shape[2] == n:
            return unit.mul_(radial), None, None
        weights = (of_products + of_products.mT) / pixels
        weights[:, :, 2 * n :] *= -1
        of_parts = (weights @ parts.flatten(3)).unflatten(-1, size)
        gradient = torch.empty_like(bands)
        torch.mul(unit[:, :, :n], radial[:, :, :n], out=gradient[:, :, :n])
        gradient[:, :, :n].real.add_(of_parts[:, :, :n])
        # Doubling a phase turns its gradient back once, and counts along the phase
        # twice; here in the frame of the doubled phase, conjugate.
        unit = unit[:, :, n:]
        turned = torch.complex(of_parts[:, :, n : 2 * n], of_parts[:, :, 2 * n :])
        turned.mul_(unit).mul_(unit)
        turned.real.add_(radial[:, :, n:])
        turned.imag.mul_(-2)
        torch.mul(turned, unit, out=gradient[:, :, n:])
        return gradient, None, None
