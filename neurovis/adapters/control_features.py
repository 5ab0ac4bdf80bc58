"""Features without learning: contrast energy, steerable pyramid, colour.

They are read like networks. What a network explains beyond them is not owed to its
training.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.feature_inputs import Preprocessing, ResizeRule
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.trunks import INPUT_FORMATS
from neurovis.core.checks import check_between, check_option, check_whole

_Array = NDArray[np.float64]
# Luma of ITU-R BT.601, from red, green and blue.
_LUMA = (0.299, 0.587, 0.114)
# Linear sRGB to CIE XYZ (IEC 61966-2-1), divided by the white of D65.
_TO_XYZ = (
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)
_PERCENTILES = (5, 25, 50, 75, 95)


class _Same(nn.Module):
    """Returns what it gets: a place to listen to."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def _luma(images: Tensor) -> Tensor:
    """Return luma without its mean, shape (B, H, W), from RGB of 0..1."""
    luma = torch.einsum("bchw,c->bhw", images, images.new_tensor(_LUMA))
    return luma - luma.mean((1, 2), keepdim=True)


def _mirror(x: Tensor, margin: int) -> Tensor:
    """Continue pictures (B, H, W) beyond their borders as in mirrors."""
    if not margin:
        return x
    padded: Tensor = nn.functional.pad(x[:, None], [margin] * 4, mode="reflect")[:, 0]
    return padded


def _crop_spectrum(spectrum: Tensor, side: int) -> Tensor:
    """Keep the lowest frequencies of unshifted spectra (..., N, N)."""
    if side == spectrum.shape[-1]:
        return spectrum
    half = side // 2
    rows = torch.cat([spectrum[..., :half, :], spectrum[..., -half:, :]], -2)
    return torch.cat([rows[..., :half], rows[..., -half:]], -1)


class GaborEnergy(nn.Module):
    """Squared magnitude of complex Gabor responses to luma, one layer per frequency.

    Gabor filters are Gaussians in frequency, with a standard deviation of `bandwidth`
    times their preferred frequency; the energy is that of a pair in quadrature
    (Adelson & Bergen 1985, J Opt Soc Am A 2, 284-299, doi:10.1364/JOSAA.2.000284).
    Layer ``cyclesF`` has one channel per orientation and 8 F x 8 F positions (as many
    as the picture has pixels, if that is fewer), which loses nothing of the energy.

    Parameters
    ----------
    side_px : int
        Side of the pictures, divisible by 8.
    frequencies : sequence of int, default (4, 8, 16, 32)
        Cycles per picture, divisors of ``side_px / 2`` and at most that.
    n_orientations : int, default 8
        Orientations of bars, from horizontal on counter-clockwise.
    bandwidth : float, default 0.35
        Standard deviation relative to the frequency.
    border : {"mirror", "wrap"}
        What stands beyond the borders of a picture: itself in a mirror, a quarter of
        its width, or its other side.
    """

    def __init__(
        self,
        side_px: int,
        *,
        frequencies: Sequence[int] = (4, 8, 16, 32),
        n_orientations: int = 8,
        bandwidth: float = 0.35,
        border: str = "mirror",
    ) -> None:
        super().__init__()
        check_option("border", border, ("mirror", "wrap"))
        self.side = check_whole("side_px", side_px, low=8)
        check_whole("n_orientations", n_orientations, low=1)
        check_between("bandwidth", bandwidth, low=0.05, high=0.5)
        self.margin = side_px // 4 if border == "mirror" else 0
        self.frequencies = tuple(int(f) for f in frequencies)
        scale = (side_px + 2 * self.margin) / side_px
        for frequency in self.frequencies:
            check_whole("frequency", frequency, low=1, high=side_px // 2)
            side = min(8 * frequency, side_px)
            if side_px % 8 or side_px % side:
                raise ValueError(
                    f"`side_px` must be a multiple of 8 and of 8 times each frequency "
                    f"below an eighth of it; got {side_px} and {frequency}."
                )
            angles = np.pi * (np.arange(n_orientations) / n_orientations + 0.5)
            n = round(side * scale)
            cycles = np.fft.fftfreq(n, 1 / n) / scale  # per picture
            # The grating varies at right angles to its bars; y points down.
            right = cycles[None, None, :] - frequency * np.cos(angles)[:, None, None]
            down = cycles[None, :, None] + frequency * np.sin(angles)[:, None, None]
            squared = (right**2 + down**2) / (2 * (bandwidth * frequency) ** 2)
            transfer = torch.from_numpy(np.exp(-squared).astype(np.float32))
            self.register_buffer(f"transfer{frequency}", transfer)
            self.add_module(f"cycles{frequency}", _Same())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute all layers.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, side_px, side_px)
            RGB, 0..1.

        Returns
        -------
        list of Tensor, shape (B, n_orientations, n, n)
            Energy by frequency, in units of squared contrast (mean removed).
        """
        spectrum = torch.fft.fft2(_mirror(_luma(images), self.margin))
        n = spectrum.shape[-1]
        layers = []
        for frequency in self.frequencies:
            transfer = self.get_buffer(f"transfer{frequency}")
            side = transfer.shape[-1]
            low = _crop_spectrum(spectrum, side)[:, None] * (transfer * (side / n) ** 2)
            energy = torch.fft.ifft2(low).abs().square()
            cut = self.margin * side // n
            energy = energy[..., cut : side - cut, cut : side - cut]
            layers.append(self.get_submodule(f"cycles{frequency}")(energy))
        return layers


class SteerablePyramid(nn.Module):
    """Magnitude of a complex steerable pyramid of luma, one layer per level.

    Tight frame in the Fourier domain (Portilla & Simoncelli 2000, Int J Comput Vis 40,
    49-71, doi:10.1023/A:1026553619983), an octave per level. Layers ``level1`` (finest)
    to ``levelN`` have one channel per orientation and half as many positions along each
    side at every level; ``highpass`` has the magnitude, ``lowpass`` the values of what
    is left.

    Parameters
    ----------
    side_px : int
        Side of the pictures, divisible by 2 to the power of `n_levels` + 2.
    n_levels : int, default 4
        Octaves.
    n_orientations : int, default 4
        Orientations, from vertical bars on.
    border : {"mirror", "wrap"}
        As `GaborEnergy`.
    """

    def __init__(
        self,
        side_px: int,
        *,
        n_levels: int = 4,
        n_orientations: int = 4,
        border: str = "mirror",
    ) -> None:
        super().__init__()
        check_option("border", border, ("mirror", "wrap"))
        check_whole("n_levels", n_levels, low=1)
        check_whole("n_orientations", n_orientations, low=2)
        side = check_whole("side_px", side_px, low=8)
        if side % 2 ** (n_levels + 2):
            raise ValueError(
                f"`side_px` must be a multiple of {2 ** (n_levels + 2)} for "
                f"{n_levels} levels; got {side}."
            )
        self.n_levels = n_levels
        self.margin = side // 4 if border == "mirror" else 0
        n = side + 2 * self.margin
        radius, angle = _polar(n)
        high = _high_mask(radius, 0)
        self._keep("mask_highpass", high)
        low = np.sqrt(1 - high**2)
        for level in range(1, n_levels + 1):
            high = _high_mask(radius, level)
            bands = _angular_masks(angle, n_orientations) * (low * high)
            self._keep(f"mask_level{level}", bands)
            self.add_module(f"level{level}", _Same())
            low = low * np.sqrt(1 - high**2)
            # Nothing is left beyond half of the frequencies.
            keep = np.r_[0 : len(low) // 4, len(low) * 3 // 4 : len(low)]
            low, radius, angle = (m[np.ix_(keep, keep)] for m in (low, radius, angle))
        self._keep("mask_lowpass", low)
        self.highpass = _Same()
        self.lowpass = _Same()

    def _keep(self, name: str, mask: _Array) -> None:
        self.register_buffer(name, torch.from_numpy(mask.astype(np.float32)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute all layers.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, side_px, side_px)
            RGB, 0..1.

        Returns
        -------
        list of Tensor, shape (B, n, height, width)
            ``highpass``, the levels from fine to coarse, ``lowpass``.
        """
        x = _mirror(_luma(images), self.margin)
        spectrum = torch.fft.fft2(x, norm="ortho")
        high = self._band(spectrum, "mask_highpass")
        layers = [self.highpass(high.real.abs())]
        for level in range(1, self.n_levels + 1):
            band = self._band(spectrum, f"mask_level{level}")
            layers.append(self.get_submodule(f"level{level}")(band.abs()))
        low = self._band(spectrum, "mask_lowpass")
        return [*layers, self.lowpass(low.real.contiguous())]

    def _band(self, spectrum: Tensor, name: str) -> Tensor:
        mask = self.get_buffer(name)
        mask = mask if mask.ndim == 3 else mask[None]
        side = mask.shape[-1]
        low = _crop_spectrum(spectrum, side)[:, None] * mask
        cut = self.margin * side // spectrum.shape[-1]
        band = torch.fft.ifft2(low, norm="ortho")
        inner: Tensor = band[..., cut : side - cut, cut : side - cut]
        return inner


def _polar(n: int) -> tuple[_Array, _Array]:
    """Return radius (1 at Nyquist, never 0) and angle of unshifted frequencies."""
    cycles = np.fft.fftfreq(n) * 2
    radius = np.hypot(cycles[:, None], cycles[None, :])
    radius[0, 0] = radius[0, 1]
    return radius, np.arctan2(cycles[:, None], cycles[None, :])


def _high_mask(radius: _Array, octave: int) -> _Array:
    """Return the raised cosine that rises within one octave."""
    position = np.clip(np.log2(radius) + octave, -1, 0)
    mask: _Array = np.abs(np.cos(np.pi / 2 * position))
    return mask


def _angular_masks(angle: _Array, n: int) -> _Array:
    """Return the analytic masks of n orientations, shape (n, *angle.shape)."""
    order = n - 1
    gain = math.sqrt(
        2 ** (2 * order) * math.factorial(order) ** 2 / (n * math.factorial(2 * order))
    )
    away = angle[None] - np.pi * np.arange(n)[:, None, None] / n
    away = (away + np.pi) % (2 * np.pi) - np.pi
    half = np.abs(away) < np.pi / 2
    # Doubled on half of the plane, then divided by the root of 2: a tight frame.
    return math.sqrt(2) * gain * np.where(half, np.cos(away), 0) ** order


class ColourStatistics(nn.Module):
    """Colours in CIE L*a*b* (D65), as a map and as numbers per picture.

    Layer ``lab`` is a map of L* (0..100), a* (green to red) and b* (blue to yellow).
    Layer ``statistics`` has 28 numbers: of L*, of a*, of b* and of chroma each the
    mean, the standard deviation, and the percentiles 5, 25, 50, 75 and 95. All are
    defined for any picture.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lab = _Same()
        self.statistics = _Same()
        self.register_buffer("to_xyz", torch.tensor(_TO_XYZ))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute both layers.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W)
            sRGB, 0..1.

        Returns
        -------
        list of Tensor
            ``lab``, shape (B, 3, H, W), and ``statistics``, shape (B, 28).
        """
        linear = torch.where(
            images <= 0.04045,
            images / 12.92,
            ((images.clamp(min=0) + 0.055) / 1.055) ** 2.4,
        )
        xyz = torch.einsum("bchw,dc->bdhw", linear, self.get_buffer("to_xyz"))
        edge = 6 / 29
        root = torch.where(
            xyz > edge**3,
            xyz.clamp(min=edge**3) ** (1 / 3),
            xyz / (3 * edge**2) + 4 / 29,
        )
        x, y, z = root.unbind(1)
        lab = self.lab(torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1))
        chroma = torch.hypot(lab[:, 1], lab[:, 2])
        values = torch.cat([lab, chroma[:, None]], 1).flatten(2)
        numbers = [values.mean(2), values.std(2, correction=0)]
        # Not torch.quantile, which takes no large batches.
        ranked = values.sort(2).values
        for percentile in _PERCENTILES:
            place = percentile / 100 * (ranked.shape[2] - 1)
            below, above = math.floor(place), math.ceil(place)
            numbers.append(
                torch.lerp(ranked[:, :, below], ranked[:, :, above], place - below)
            )
        return [lab, self.statistics(torch.stack(numbers, 2).flatten(1))]


class Pixels(nn.Module):
    """The picture itself: what a network trained from scratch begins with.

    Layers: "pixels" (3, H, W), red, green and blue from 0 to 1.

    Examples
    --------
    >>> Pixels()(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 3, 8, 8])
    """

    def __init__(self) -> None:
        super().__init__()
        self.pixels = _Same()

    def forward(self, images: Tensor) -> Tensor:
        """Return pictures as they are.

        Parameters
        ----------
        images : Tensor, shape (B, 3, H, W)
            Pictures.

        Returns
        -------
        Tensor, shape (B, 3, H, W)
            The same.
        """
        return cast(Tensor, self.pixels(images))


CONTROLS: dict[str, Callable[[int], nn.Module]] = {
    "gabor": GaborEnergy,
    "pyramid": SteerablePyramid,
    "colour": lambda side_px: ColourStatistics(),
    "pixels": lambda side_px: Pixels(),
}


def load_control(
    kind: str,
    *,
    size_px: int = 128,
    resize: ResizeRule = "crop",
    module: nn.Module | None = None,
) -> Backbone:
    """Build features without learning.

    Parameters
    ----------
    kind : {"gabor", "pyramid", "colour", "pixels"}
        `GaborEnergy`, `SteerablePyramid`, `ColourStatistics` or `Pixels`.
    size_px : int, default 128
        Side of the pictures that they are computed from.
    resize : {"crop", "squash", "pad", "none"}
        How pictures come to that size.
    module : torch.nn.Module, optional
        One of these classes with other settings, for pictures of `size_px`.

    Returns
    -------
    Backbone
        On the CPU.

    Raises
    ------
    ValueError
        If the kind is unknown or the size does not fit.

    Examples
    --------
    >>> load_control("gabor").module.frequencies
    (4, 8, 16, 32)
    """
    check_option("kind", kind, tuple(CONTROLS))
    network = CONTROLS[kind](size_px) if module is None else module
    rule = Preprocessing((size_px, size_px), resize, pixels=INPUT_FORMATS["unit"])
    return Backbone(
        f"control:{kind}",
        network.eval(),
        rule,
        f"control:{kind}",
        "fixed",
        trained=True,
        order="channels-first",
    )
