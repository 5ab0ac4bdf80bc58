"""Steerable pyramid of images: oriented bands of several scales, in Fourier space."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import resolve
from neurovis.foveation.pyramid_masks import (
    Masks,
    Size,
    fourier_masks,
    half,
    hermitian,
    pyramid_sizes,
)

# From this size on, images are filtered one by one: it stays in the processor's cache.
_LARGE_BYTES = 2**24


def filter_bank(spectrum: Tensor, masks: Tensor, norm: str) -> Tensor:
    """Filter images, given by their spectra, with several masks.

    Parameters
    ----------
    spectrum : Tensor, shape (B, C, h, w)
        Zero frequency first.
    masks : Tensor, shape (M, h, w)
        Complex.
    norm : {"backward", "ortho"}
        Of the Fourier transforms, as in torch.

    Returns
    -------
    Tensor, shape (B, C, M, h, w)
        Complex images; gradients pass, of first order.
    """
    return _FilterBank.apply(spectrum, masks, norm)


class _FilterBank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spectrum: Tensor, masks: Tensor, norm: str) -> Tensor:
        """Filter, and go back to pixels."""
        ctx.masks, ctx.norm = masks, norm
        n_bytes = spectrum[..., 0, 0].numel() * masks.numel() * masks.element_size()
        if n_bytes < _LARGE_BYTES or spectrum.is_cuda:
            return torch.fft.ifft2(spectrum.unsqueeze(2) * masks, norm=norm)
        bands = spectrum.new_empty((*spectrum.shape[:2], *masks.shape))
        for each, into in zip(spectrum.flatten(0, 1), bands.flatten(0, 1), strict=True):
            torch.fft.ifft2(each * masks, norm=norm, out=into)
        return bands

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Filter with the conjugate masks, and sum."""
        norm = "ortho" if ctx.norm == "ortho" else "forward"
        spectra = torch.fft.fft2(gradient, norm=norm)
        return spectra.mul_(ctx.masks.conj()).sum(2), None, None


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of a steerable pyramid.

    Parameters
    ----------
    highpass : Tensor, shape (B, C, H, W)
        Residual of the highest frequencies, real.
    bands : tuple of Tensor, each of shape (B, C, n_orientations, h, w)
        One tensor per scale, fine to coarse; complex in a complex pyramid.
    lowpass : Tensor, shape (B, C, h, w)
        Residual of the lowest frequencies, real.
    """

    highpass: Tensor
    bands: tuple[Tensor, ...]
    lowpass: Tensor


class SteerablePyramid:
    """Split images into oriented bands of several scales, and join them again.

    A band is the image filtered by G_b(angle) h(rho) in Fourier space, with

    - ``h(rho) = |cos(pi/2 log2 rho)|`` within an octave below its cut-off, 1 above, 0
      below; the low pass is sqrt(1 - h²), rho = 1 being half a cycle per pixel;
    - G_b = c cos(angle - pi b / n_orientations)^K, K = n_orientations - 1, times
      (-i)^K, so that the squares of all masks sum to one.

    A complex pyramid keeps the half plane around the direction of a band, doubled:
    its real part is the band of the real pyramid, its imaginary part the same in
    quadrature. After every scale the spectrum is cropped to half its size.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the images in pixels; they need not be square.
    n_scales : int, default 4
        Number of scales, 0 to floor(log2(min(H, W))) - 2.
    n_orientations : int, default 4
        Number of orientations, 1 to 16; 2 to 16 in a complex pyramid.
    is_complex : bool, default True
        Complex (analytic) bands rather than real ones.
    tight_frame : bool, default False
        Orthonormal Fourier transforms, and complex bands divided by sqrt(2): the
        energy of the coefficients is that of the image. Otherwise the transforms
        are not normalised, and amplitudes grow about fourfold per scale.
    masks : {"exact", "table"}
        "exact" evaluates the formulas, "table" interpolates them in tables rounded
        to float32, as the reference code does (error of reconstruction 2e-6).
    dtype : torch.dtype, default torch.float32
        Of the images, float32 or float64.
    device : str or torch.device, default "cpu"
        Of the images.

    Attributes
    ----------
    sizes : tuple of tuple of int
        (h, w) of the bands of each scale, then of the low-pass residual.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of range.

    Notes
    -----
    A side that 2^n_scales does not divide is halved rounding up. Odd sides are
    sampled at their true frequencies by "exact"; "table" keeps the grid of the
    reference code, which is half a sample off, and reconstruction is imperfect.

    References
    ----------
    Simoncelli & Freeman (1995), doi:10.1109/ICIP.1995.537667; Portilla & Simoncelli
    (2000), doi:10.1023/A:1026553619983.

    Examples
    --------
    >>> pyramid = SteerablePyramid((32, 48), n_scales=2, dtype=torch.float64)
    >>> image = torch.linspace(0, 1, 32 * 48, dtype=torch.float64).reshape(1, 1, 32, 48)
    >>> coefficients = pyramid.analyse(image)
    >>> [tuple(band.shape) for band in coefficients.bands]
    [(1, 1, 4, 32, 48), (1, 1, 4, 16, 24)]
    >>> bool((pyramid.synthesise(coefficients) - image).abs().max() < 1e-12)
    True
    """

    def __init__(
        self,
        shape: Size,
        *,
        n_scales: int = 4,
        n_orientations: int = 4,
        is_complex: bool = True,
        tight_frame: bool = False,
        masks: Masks = "exact",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.sizes = pyramid_sizes(shape, n_scales)
        self.shape, self.n_scales = self.sizes[0], len(self.sizes) - 1
        self.n_orientations = check_whole(
            "n_orientations", n_orientations, low=2 if is_complex else 1, high=16
        )
        self.is_complex = bool(is_complex)
        self.tight_frame = bool(tight_frame)
        self.masks: Masks = check_option("masks", masks, ("exact", "table"))
        self.dtype = check_option("dtype", dtype, (torch.float32, torch.float64))
        self.device = resolve(device)
        self.norm = "ortho" if self.tight_frame else "backward"
        self._set_masks()

    def _set_masks(self) -> None:
        """Multiply the masks on the way to each band; keep the halves that count."""
        planes = fourier_masks(
            self.shape, self.n_scales, self.n_orientations, self.masks
        )
        order = self.n_orientations - 1
        amplitude = math.sqrt(2) if self.tight_frame and self.is_complex else 1.0
        analysis, synthesis = [], []
        for low, high, angular, half_plane in zip(
            planes.lows, planes.highs, planes.angular, planes.half_planes, strict=False
        ):
            bands = (low * high) * angular
            synthesis.append(half(hermitian(1j**order * amplitude * bands)))
            if self.is_complex:
                bands = bands * half_plane * (2 / amplitude)
                analysis.append((-1j) ** order * bands)
            else:
                analysis.append(half(hermitian((-1j) ** order * bands)))
        self._analysis = [self._put(mask) for mask in analysis]
        self._synthesis = [self._put(mask) for mask in synthesis]
        self._highpass = self._put(half(hermitian(planes.residual)))
        self._lowpass = self._put(half(hermitian(planes.lows[-1])))

    def _put(self, mask: NDArray[Any]) -> Tensor:
        # Complex masks: torch would turn real ones into complex at every product.
        kind = torch.complex64 if self.dtype == torch.float32 else torch.complex128
        return torch.as_tensor(mask).to(device=self.device, dtype=kind)

    def to(self, device: str | torch.device) -> "SteerablePyramid":
        """Return the pyramid on a device.

        Parameters
        ----------
        device : str or torch.device
            Where the images are.

        Returns
        -------
        SteerablePyramid
            This one if it is there already, else a copy.

        Raises
        ------
        ValueError
            If the device is unknown or absent.
        """
        if resolve(device) == self.device:
            return self
        return SteerablePyramid(
            self.shape,
            n_scales=self.n_scales,
            n_orientations=self.n_orientations,
            is_complex=self.is_complex,
            tight_frame=self.tight_frame,
            masks=self.masks,
            dtype=self.dtype,
            device=device,
        )

    def analyse(self, images: Tensor) -> Coefficients:
        """Split images into coefficients.

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
            Real, of the shape, dtype and device of the pyramid; any range.

        Returns
        -------
        Coefficients
            Fine to coarse; the graph of gradients is kept.

        Raises
        ------
        TypeError, ValueError
            If shape, dtype or device of the images differ.
        """
        check_images("images", images, self.shape, self.dtype, self.device)
        height, width = self.shape
        if self.is_complex:
            spectrum = torch.fft.fft2(images, norm=self.norm)
            reals = spectrum[..., : width // 2 + 1]
        else:
            spectrum = reals = torch.fft.rfft2(images, norm=self.norm)
        highpass = self._inverse(reals * self._highpass, (height, width))
        bands = []
        for mask, size in zip(self._analysis, self.sizes, strict=False):
            spectrum = crop(spectrum, size, is_half=not self.is_complex)
            if self.is_complex:
                bands.append(filter_bank(spectrum, mask, self.norm))
            else:
                bands.append(self._inverse(spectrum.unsqueeze(2) * mask, size))
        if self.is_complex:
            spectrum = spectrum[..., : spectrum.shape[-1] // 2 + 1]
        size = self.sizes[-1]
        low = crop(spectrum, size, is_half=True) * self._lowpass
        return Coefficients(highpass, tuple(bands), self._inverse(low, size))

    def synthesise(self, coefficients: Coefficients) -> Tensor:
        """Join coefficients to images.

        Only the real part of complex bands counts, as their imaginary part holds the
        same in quadrature.

        Parameters
        ----------
        coefficients : Coefficients
            As from `analyse`, on the device of the pyramid.

        Returns
        -------
        Tensor, shape (B, C, H, W)
            Images, real.

        Raises
        ------
        ValueError
            If a coefficient has another shape than `analyse` gives.
        """
        self._check_coefficients(coefficients)
        spectrum = self._forward(coefficients.lowpass) * self._lowpass
        for scale in reversed(range(self.n_scales)):
            bands = coefficients.bands[scale]
            reals = bands.real if bands.is_complex() else bands
            parts = self._forward(reals) * self._synthesis[scale]
            spectrum = paste(spectrum, parts.sum(2), self.sizes[scale])
        highpass = self._forward(coefficients.highpass) * self._highpass
        return self._inverse(spectrum + highpass, self.shape)

    def _forward(self, images: Tensor) -> Tensor:
        return torch.fft.rfft2(images, norm=self.norm)

    def _inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        return torch.fft.irfft2(spectrum, s=size, norm=self.norm)

    def _check_coefficients(self, coefficients: Coefficients) -> None:
        batch = tuple(coefficients.highpass.shape[:2])
        found = [tuple(coefficients.highpass.shape)]
        found += [tuple(band.shape) for band in coefficients.bands]
        found += [tuple(coefficients.lowpass.shape)]
        expected: list[tuple[int, ...]] = [(*batch, *self.shape)]
        expected += [(*batch, self.n_orientations, *size) for size in self.sizes[:-1]]
        expected += [(*batch, *self.sizes[-1])]
        if found != expected:
            raise ValueError(
                f"`coefficients` must have the shapes {expected} (high pass, bands "
                f"fine to coarse, low pass); got {found}. Take them from `analyse` of "
                "the same pyramid."
            )


def crop(spectrum: Tensor, size: Size, *, is_half: bool) -> Tensor:
    """Keep the low frequencies of spectra.

    Parameters
    ----------
    spectrum : Tensor, shape (..., H, W) or (..., H, W // 2 + 1)
        Zero frequency first.
    size : tuple of int
        (h, w) of the images that remain.
    is_half : bool
        The spectrum has only the columns of frequencies >= 0.

    Returns
    -------
    Tensor, shape (..., h, w) or (..., h, w // 2 + 1)
        `spectrum` itself if it has that size.
    """
    height, width = size
    columns = width // 2 + 1 if is_half else width
    if is_half:
        spectrum = spectrum[..., :columns]
    elif columns < spectrum.shape[-1]:
        right = spectrum.shape[-1] - width // 2
        parts = [spectrum[..., : (width + 1) // 2], spectrum[..., right:]]
        spectrum = torch.cat(parts, -1)
    if height < spectrum.shape[-2]:
        bottom = spectrum.shape[-2] - height // 2
        parts = [spectrum[..., : (height + 1) // 2, :], spectrum[..., bottom:, :]]
        spectrum = torch.cat(parts, -2)
    return spectrum


def paste(low: Tensor, spectrum: Tensor, size: Size) -> Tensor:
    """Add half spectra of small images into those of larger ones, in place.

    Parameters
    ----------
    low : Tensor, shape (..., h, w // 2 + 1)
        Frequencies >= 0 along the columns, zero first; its highest are zero.
    spectrum : Tensor, shape (..., H, W // 2 + 1)
        Changed in place.
    size : tuple of int
        (H, W).

    Returns
    -------
    Tensor, shape (..., H, W // 2 + 1)
        `spectrum`.
    """
    rows, columns = low.shape[-2:]
    top = (rows + 1) // 2
    spectrum[..., :top, :columns] += low[..., :top, :]
    spectrum[..., size[0] - rows // 2 :, :columns] += low[..., top:, :]
    return spectrum


def check_images(
    name: str, images: Tensor, shape: Size, dtype: torch.dtype, device: torch.device
) -> None:
    """Raise unless images are a real tensor of the expected kind.

    Parameters
    ----------
    name : str
        Argument name for the message.
    images : Tensor
        What came.
    shape : tuple of int
        Expected (H, W).
    dtype : torch.dtype
        Expected dtype.
    device : torch.device
        Expected device.

    Raises
    ------
    TypeError
        If it is no tensor or of another dtype.
    ValueError
        If its shape or device differ.
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f"`{name}` must be a torch.Tensor; got {type(images).__name__}. Use "
            "torch.as_tensor."
        )
    if images.ndim != 4 or tuple(images.shape[2:]) != shape:
        raise ValueError(
            f"`{name}` must have shape (B, C, {shape[0]}, {shape[1]}); got "
            f"{tuple(images.shape)}. Resize them, or build the operator for their size."
        )
    if images.dtype != dtype:
        raise TypeError(
            f"`{name}` must have dtype {dtype}; got {images.dtype}. Convert them, or "
            "build the operator with that `dtype`."
        )
    if images.device != device:
        raise ValueError(
            f"`{name}` must be on {device}; they are on {images.device}. Use "
            "`.to(device)` of the operator or of the images."
        )
