"""Texture statistics of Portilla and Simoncelli: correlations of oriented bands."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import resolve
from neurovis.foveation.band_moments import (
    band_moments,
    half_weights,
    lag_waves,
    lags_of,
    power,
)
from neurovis.foveation.image_batches import full_precision
from neurovis.foveation.pyramid_masks import (
    Masks,
    Size,
    fourier_masks,
    half,
    hermitian,
    padded,
    pyramid_sizes,
)
from neurovis.foveation.steerable_pyramid import check_images, crop, filter_bank
from neurovis.foveation.texture_statistics import TextureStatistics, kept_entries


class PortillaSimoncelli:
    """Compute the texture statistics of images of one shape.

    A complex steerable pyramid (not a tight frame) splits the image. Everything but
    the nonlinear steps stays in Fourier space: the low-pass images are the spectrum
    times one mask each, and a band of the next coarser scale is brought to the size
    of a scale by its inverse transform at that size.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the images in pixels, both divisible by 2^n_scales, and by that
        division at least `neighbourhood` wide.
    n_scales : int, default 4
        Number of scales, 1 or more.
    n_orientations : int, default 4
        Number of orientations, 2 to 16.
    neighbourhood : int, default 7
        Lags of the autocorrelations along one axis, in pixels of their scale.
    masks : {"exact", "table"}
        As of `SteerablePyramid`; "table" agrees with the reference code.
    dtype : torch.dtype, default torch.float32
        Of the images, float32 or float64.
    device : str or torch.device, default "cpu"
        Of the images.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of range.

    Notes
    -----
    Boundaries wrap around. Correlations, skew and kurtosis of a constant image, and
    correlations of a band without energy, are NaN, and all of an image with a pixel
    that is not finite. Skew and kurtosis of a low-pass
    image are 0 and 3, and its autocorrelation is NaN, where its variance is below
    1e-6 (float64: 1e-15) of that of the pixels. Where the low-pass residual has an odd
    side, the reference code loses one column of it; here it is whole.

    References
    ----------
    Portilla & Simoncelli (2000), doi:10.1023/A:1026553619983.

    Examples
    --------
    >>> model = PortillaSimoncelli((64, 64), n_scales=3, neighbourhood=5)
    >>> image = torch.rand(2, 3, 64, 64)
    >>> model(image).vector().shape
    torch.Size([2, 3, 337])
    """

    def __init__(
        self,
        shape: Size,
        *,
        n_scales: int = 4,
        n_orientations: int = 4,
        neighbourhood: int = 7,
        masks: Masks = "exact",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_scales = check_whole("n_scales", n_scales, low=1)
        self.n_orientations = check_whole(
            "n_orientations", n_orientations, low=2, high=16
        )
        self.neighbourhood = check_whole("neighbourhood", neighbourhood, low=1)
        self._sizes = pyramid_sizes(shape, n_scales)
        self.shape = self._sizes[0]
        self.masks: Masks = check_option("masks", masks, ("exact", "table"))
        self.dtype = check_option("dtype", dtype, (torch.float32, torch.float64))
        self.device = resolve(device)
        divisor = 2**self.n_scales
        if any(side % divisor for side in self.shape):
            raise ValueError(
                f"`shape` must be divisible by 2^n_scales = {divisor}; got "
                f"{self.shape}. Crop or pad the images, or use fewer scales."
            )
        if min(self._sizes[-1]) < self.neighbourhood:
            raise ValueError(
                f"`shape` {self.shape} leaves {self._sizes[-1]} pixels after "
                f"{self.n_scales} scales, fewer than the neighbourhood of "
                f"{self.neighbourhood}. Use larger images, fewer scales or a smaller "
                "neighbourhood."
            )
        self._set_masks()

    def _set_masks(self) -> None:
        o, n_scales = self.n_orientations, self.n_scales
        planes = fourier_masks(self.shape, n_scales, o, self.masks)
        kept = [
            low * high * angular
            for low, high, angular in zip(
                planes.lows, planes.highs, planes.angular, strict=False
            )
        ]
        # Doubled within the half plane, as in the complex pyramid.
        bands = [
            2 * mask * inside
            for mask, inside in zip(kept, planes.half_planes, strict=True)
        ]
        # The bands of each scale, and after them the next coarser ones at its size.
        coarser = [*([padded(each)] for each in bands[1:]), []]
        self._bands = [
            self._complex((-1j) ** (o - 1) * np.concatenate([fine, *coarse]))
            for fine, coarse in zip(bands, coarser, strict=True)
        ]
        # What analysis and synthesis leave of the spectrum: of the low pass, whose
        # mean is removed, then with one scale more at a time.
        whole = planes.lows[-1] ** 2
        whole[0, 0] = 0
        lows = [whole]
        for mask, band in zip(reversed(kept), reversed(bands), strict=True):
            whole = padded(whole) + hermitian((mask * band).sum(0))
            lows.insert(0, whole)
        self._lows = [self._complex(half(hermitian(low))) for low in lows]
        energy = half(hermitian(planes.residual) ** 2) * half_weights(self.shape)
        self._highpass = self._real(energy / math.prod(self.shape) ** 2)
        self._lags = [
            lag_waves(size, self.neighbourhood, self.dtype, self.device)
            for size in self._sizes
        ]
        names = kept_entries(n_scales, o, self.neighbourhood)
        self._kept = {
            name: torch.from_numpy(mask).to(self.device) for name, mask in names.items()
        }

    def _complex(self, mask: NDArray[Any]) -> Tensor:
        kind = torch.complex64 if self.dtype == torch.float32 else torch.complex128
        return torch.as_tensor(mask).to(device=self.device, dtype=kind)

    def _real(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values).to(device=self.device, dtype=self.dtype)

    def to(self, device: str | torch.device) -> "PortillaSimoncelli":
        """Return the operator on a device.

        Parameters
        ----------
        device : str or torch.device
            Where the images are.

        Returns
        -------
        PortillaSimoncelli
            This one if it is there already, else a copy.

        Raises
        ------
        ValueError
            If the device is unknown or absent.
        """
        if resolve(device) == self.device:
            return self
        return PortillaSimoncelli(
            self.shape,
            n_scales=self.n_scales,
            n_orientations=self.n_orientations,
            neighbourhood=self.neighbourhood,
            masks=self.masks,
            dtype=self.dtype,
            device=device,
        )

    def __call__(self, images: Tensor) -> TextureStatistics:
        """Compute the statistics.

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
            Real, of the shape, dtype and device of the operator; any range.

        Returns
        -------
        TextureStatistics
            Statistics of each channel by itself; gradients pass.

        Raises
        ------
        TypeError, ValueError
            If shape, dtype or device of the images differ.
        """
        check_images("images", images, self.shape, self.dtype, self.device)
        with full_precision(images.device):
            return self._statistics(images)

    def _statistics(self, images: Tensor) -> TextureStatistics:
        pixels = _pixel_statistics(images)
        spectrum = torch.fft.fft2(images)
        highpass = (power(half_spectrum(spectrum)) * self._highpass).sum((-2, -1))
        oriented, lowpass = [], []
        for scale, size in enumerate(self._sizes):
            spectrum = crop(spectrum, size, is_half=False)
            low = half_spectrum(spectrum) * self._lows[scale]
            lowpass.append(self._lowpass_statistics(low, scale, pixels[..., 1]))
            if scale < self.n_scales:
                bands = filter_bank(spectrum, self._bands[scale], "backward")
                oriented.append(self._oriented_statistics(bands, scale))
        low_stats = [torch.stack(each, -1) for each in zip(*lowpass, strict=True)]
        within = [torch.stack([each[k] for each in oriented], -1) for k in range(3)]
        if self.n_scales > 1:
            finer = oriented[:-1]
            across = [torch.stack([each[k] for each in finer], -1) for k in (3, 4)]
        else:
            o, batch = self.n_orientations, images.shape[:2]
            across = [images.new_empty(*batch, o, k * o, 0) for k in (1, 2)]
        statistics = TextureStatistics(
            pixel_statistics=pixels,
            auto_correlation_magnitude=self._keep(
                "auto_correlation_magnitude", within[0]
            ),
            skew_reconstructed=low_stats[0],
            kurtosis_reconstructed=low_stats[1],
            auto_correlation_reconstructed=self._keep(
                "auto_correlation_reconstructed", low_stats[2]
            ),
            std_reconstructed=low_stats[3],
            cross_orientation_correlation_magnitude=self._keep(
                "cross_orientation_correlation_magnitude", within[1]
            ),
            magnitude_std=within[2],
            cross_scale_correlation_magnitude=across[0],
            cross_scale_correlation_real=across[1],
            var_highpass_residual=highpass[..., None],
        )
        constant = pixels[..., 4] == pixels[..., 5]
        statistics = _undefined(statistics, constant) if constant.any() else statistics
        known = pixels[..., 0].isfinite()
        return statistics if known.all() else _known(statistics, known)

    def _keep(self, name: str, values: Tensor) -> Tensor:
        return values.where(self._kept[name], torch.nan)

    def _lowpass_statistics(
        self, spectrum: Tensor, scale: int, pixel_variance: Tensor
    ) -> Sequence[Tensor]:
        image = torch.fft.irfft2(spectrum, s=self._sizes[scale])
        square = image * image
        variance = square.mean((-2, -1))
        defined = variance / pixel_variance >= torch.finfo(self.dtype).resolution
        safe = variance.where(defined, 1)  # keeps gradients free of NaN
        skew = (square * image).mean((-2, -1)) / safe**1.5
        kurtosis = (square * square).mean((-2, -1)) / safe**2
        lags = lags_of(power(spectrum), self._lags[scale])
        return (
            skew.where(defined, 0),
            kurtosis.where(defined, 3),
            _where(defined, lags / safe[..., None, None]),
            _root(variance),
        )

    def _oriented_statistics(self, bands: Tensor, scale: int) -> Sequence[Tensor]:
        o = self.n_orientations
        lags, covariance, products = band_moments(bands, o, self._lags[scale])
        correlation, deviation = _correlation(covariance)
        variance = covariance.diagonal(dim1=-2, dim2=-1)[:, :, :o]
        defined = variance > torch.finfo(self.dtype).tiny
        lags = _where(defined, lags / variance.where(defined, 1)[..., None, None])
        within = lags.movedim(2, -1), correlation[:, :, :o, :o], deviation[:, :, :o]
        if bands.shape[2] == o:
            return within
        real, _ = _correlation(products)
        return (*within, correlation[:, :, :o, o:], real[:, :, :o, o:])


def portilla_simoncelli(
    images: Tensor,
    *,
    n_scales: int = 4,
    n_orientations: int = 4,
    neighbourhood: int = 7,
    masks: Masks = "exact",
) -> TextureStatistics:
    """Compute the texture statistics of images.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
        Real, float32 or float64, on any device; any range.
    n_scales, n_orientations, neighbourhood : int
        As of `PortillaSimoncelli`.
    masks : {"exact", "table"}
        As of `PortillaSimoncelli`.

    Returns
    -------
    TextureStatistics
        Statistics of each channel by itself; gradients pass.

    Raises
    ------
    TypeError, ValueError
        As `PortillaSimoncelli`; keep such an object for many calls.

    Examples
    --------
    >>> statistics = portilla_simoncelli(torch.rand(1, 1, 128, 128))
    >>> statistics.vector().shape
    torch.Size([1, 1, 710])
    """
    if not isinstance(images, Tensor) or images.ndim != 4:
        shape = getattr(images, "shape", None)
        raise ValueError(
            "`images` must be a tensor of shape (B, C, H, W); got "
            f"{type(images).__name__} of shape {shape and tuple(shape)}."
        )
    model = PortillaSimoncelli(
        (images.shape[2], images.shape[3]),
        n_scales=n_scales,
        n_orientations=n_orientations,
        neighbourhood=neighbourhood,
        masks=masks,
        dtype=images.dtype,
        device=images.device,
    )
    return model(images)


def _undefined(statistics: TextureStatistics, constant: Tensor) -> TextureStatistics:
    """Put NaN where images have no variance: rounding would tell something else."""
    arrays = statistics.arrays()
    moments = arrays["pixel_statistics"].clone()
    moments[constant, 2:4] = torch.nan
    arrays["pixel_statistics"] = moments
    for name, values in arrays.items():
        if "correlation" in name or name.startswith(("skew", "kurtosis")):
            shape = (*constant.shape, *(1,) * (values.ndim - 2))
            arrays[name] = values.where(~constant.reshape(shape), torch.nan)
    return TextureStatistics(**arrays)


def _known(statistics: TextureStatistics, known: Tensor) -> TextureStatistics:
    """Put NaN for images with pixels that are not finite."""
    arrays = statistics.arrays()
    for name, values in arrays.items():
        shape = (*known.shape, *(1,) * (values.ndim - 2))
        arrays[name] = values.where(known.reshape(shape), torch.nan)
    return TextureStatistics(**arrays)


def half_spectrum(spectrum: Tensor) -> Tensor:
    """Return the columns of frequencies >= 0 of spectra.

    Parameters
    ----------
    spectrum : Tensor, shape (..., H, W)
        Zero frequency first.

    Returns
    -------
    Tensor, shape (..., H, W // 2 + 1)
        A view.
    """
    return spectrum[..., : spectrum.shape[-1] // 2 + 1]


def _pixel_statistics(images: Tensor) -> Tensor:
    mean = images.mean((-2, -1), keepdim=True)
    centred = images - mean
    square = centred * centred
    n = images.shape[-2] * images.shape[-1]
    variance = square.sum((-2, -1)) / (n - 1)
    return torch.stack(
        [
            mean[..., 0, 0],
            variance,
            (square * centred).mean((-2, -1)) / variance**1.5,
            (square * square).mean((-2, -1)) / variance**2,
            images.amin((-2, -1)),
            images.amax((-2, -1)),
        ],
        -1,
    )


def _root(variance: Tensor) -> Tensor:
    # The gradient of the root at zero is infinite: keep away from it.
    tiny = torch.finfo(variance.dtype).tiny
    return variance.clamp(min=tiny).sqrt().where(variance > tiny, 0)


def _where(defined: Tensor, values: Tensor) -> Tensor:
    return values.where(defined[..., None, None], torch.nan)


def _correlation(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return correlations, NaN without variance, and standard deviations."""
    deviation = _root(covariance.diagonal(dim1=-2, dim2=-1))
    safe = deviation.where(deviation > 0, 1)
    correlation = covariance / (safe.unsqueeze(-1) * safe.unsqueeze(-2))
    defined = (deviation > 0).unsqueeze(-1) & (deviation > 0).unsqueeze(-2)
    return correlation.where(defined, torch.nan), deviation
