"""Parts of images that texture statistics compare, and products of neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurovis.foveation.pyramid_masks import (
    Masks,
    Size,
    fourier_masks,
    half,
    hermitian,
    padded,
)
from neurovis.foveation.steerable_pyramid import crop


@dataclass(frozen=True)
class ScaleParts:
    """What one scale of a complex steerable pyramid holds.

    Parameters
    ----------
    bands : Tensor, shape (B, C, n, h, w), complex
        Bands of this scale, then those of the next coarser one at the same size;
        empty at the low-pass residual.
    low : Tensor, shape (B, C, h, w)
        Image up to this scale, without its mean, with amplitudes of the pyramid
        (4 times larger from scale to scale).
    """

    bands: Tensor
    low: Tensor


class PyramidParts:
    """Filter images into the parts of all scales.

    Parameters
    ----------
    shape : (int, int)
        (H, W) of the images, each divisible by ``2**n_scales``.
    n_scales, n_orientations : int
        As of `SteerablePyramid`.
    masks : {"exact", "table"}
        As of `SteerablePyramid`.
    """

    def __init__(
        self, shape: Size, n_scales: int, n_orientations: int, masks: Masks
    ) -> None:
        self.sizes = [(shape[0] >> i, shape[1] >> i) for i in range(n_scales + 1)]
        planes = fourier_masks(shape, n_scales, n_orientations, masks)
        pairs = [
            low * high for low, high in zip(planes.lows, planes.highs, strict=False)
        ]
        analytic = zip(pairs, planes.angular, planes.half_planes, strict=True)
        bands = [
            2 * (-1j) ** (n_orientations - 1) * pair * angular * inside
            for pair, angular, inside in analytic
        ]
        # A scale, and after it the next coarser one at the same size.
        self._bands = [
            np.concatenate([fine, padded(coarse)]) for fine, coarse in pairwise(bands)
        ] + bands[-1:]
        whole = planes.lows[-1] ** 2
        # Without the mean, nothing of the images' level is left in any low pass.
        whole[0, 0] = 0
        lows = [whole]
        for pair, angular, inside in zip(
            pairs[::-1], planes.angular[::-1], planes.half_planes[::-1], strict=True
        ):
            gain = (2 * angular**2 * inside).sum(0) * pair**2
            whole = padded(whole) + hermitian(gain)
            lows.insert(0, whole)
        self._lows = [half(hermitian(low)) for low in lows]
        self._highpass = half(hermitian(planes.residual))
        self._masks: dict[tuple[torch.device, torch.dtype], list[list[Tensor]]] = {}

    def highpass(self, images: Tensor) -> Tensor:
        """Return the high-pass residual.

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
            Real.

        Returns
        -------
        Tensor, shape (B, C, H, W)
            Real.
        """
        mask = self._on(images)[2][0]
        spectrum = torch.fft.rfft2(images) * mask
        return torch.fft.irfft2(spectrum, s=self.sizes[0])

    def scales(
        self, images: Tensor, *, is_oriented_only: bool = False
    ) -> Iterator[ScaleParts]:
        """Yield the parts scale by scale, fine to coarse.

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
            Real.
        is_oriented_only : bool, default False
            Leave out coarser bands, low-pass images and the residual.

        Yields
        ------
        ScaleParts
            ``n_scales + 1`` items, or `n_scales` of oriented bands only.
        """
        bands, lows, _ = self._on(images)
        spectrum = torch.fft.fft2(images)
        for scale, size in enumerate(self.sizes):
            spectrum = crop(spectrum, size, is_half=False)
            is_last = scale == len(bands)
            if is_oriented_only:
                if is_last:
                    return
                masks = bands[scale][: len(bands[-1])]
            else:
                masks = bands[-1][:0, :1, :1] if is_last else bands[scale]
            oriented = torch.fft.ifft2(spectrum.unsqueeze(2) * masks)
            low = oriented.real[:, :, :0]
            if not is_oriented_only:
                columns = spectrum[..., : size[1] // 2 + 1]
                low = torch.fft.irfft2(columns * lows[scale], s=size)
            yield ScaleParts(oriented, low)

    def _on(self, images: Tensor) -> list[list[Tensor]]:
        key = (images.device, images.dtype)
        if key not in self._masks:
            kind = (
                torch.complex64 if images.dtype == torch.float32 else torch.complex128
            )
            groups = (
                (self._bands, kind),
                (self._lows, images.dtype),
                ([self._highpass], images.dtype),
            )
            # Kept for calls that want gradients, too.
            with torch.inference_mode(False):
                self._masks[key] = [
                    [torch.from_numpy(m).to(images.device, dtype) for m in masks]
                    for masks, dtype in groups
                ]
        return self._masks[key]


# ----------------------------------------------------------------------- rounding


def rounding_energy(images: Tensor) -> Tensor:
    """Return a bound on the errors that filtering leaves at the finest scale.

    Parameters
    ----------
    images : Tensor of float32 or float64, shape (B, C, H, W)
        Real.

    Returns
    -------
    Tensor of float64, shape (B, C, 1)
        Mean square, in proportion to that of the images; 16 times as large from scale
        to scale.
    """
    eps = 64 * torch.finfo(images.dtype).eps
    return images.detach().double().square().mean((-2, -1))[..., None] * eps**2


def above_rounding(squares: Tensor, noise: Tensor) -> Tensor:
    """Return squares as they are, but 0 where they are rounding; NaN stays.

    Parameters
    ----------
    squares : Tensor
        Variances or energies.
    noise : Tensor
        What rounding may be, of a shape that fits.

    Returns
    -------
    Tensor
        Of the shape and dtype of `squares`.

    Examples
    --------
    >>> above_rounding(torch.tensor([1e-20, 1.0]), torch.tensor(1e-12))
    tensor([0., 1.])
    """
    return squares.where(~(squares <= noise), 0.0)


# --------------------------------------------------------------------- neighbours


def half_neighbourhood(side: int) -> list[tuple[int, int]]:
    """Return one lag of every opposite pair, row by row.

    Parameters
    ----------
    side : int
        Odd side of the neighbourhood, samples.

    Returns
    -------
    list of (int, int)
        ``(side**2 - 1) / 2`` lags (rows, columns), each half a neighbourhood at most.

    Examples
    --------
    >>> half_neighbourhood(3)
    [(-1, -1), (0, -1), (1, -1), (1, 0)]
    """
    reach = side // 2
    lags = range(-reach, reach + 1)
    return [(i, j) for i in lags for j in lags if j < i or (i == j and i < 0)]


def lag_products(maps: Tensor, lags: list[tuple[int, int]]) -> Tensor:
    """Multiply maps with themselves shifted, around the borders.

    Parameters
    ----------
    maps : Tensor, shape (n, h, w)
        Real.
    lags : list of (int, int)
        Rows and columns to shift by, in samples.

    Returns
    -------
    Tensor, shape (n, len(lags), h, w)
        The value at x times that at x + lag. Gradients flow, and shifted copies are
        not kept for them.

    Examples
    --------
    >>> lag_products(torch.tensor([[[1.0, 2.0, 3.0]]]), [(0, 1)])
    tensor([[[[2., 6., 3.]]]])
    """
    return cast(Tensor, _LagProducts.apply(maps, lags))


class _LagProducts(torch.autograd.Function):
    """Products of maps with themselves shifted; see `lag_products`."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, lags: list[tuple[int, int]]) -> Tensor:
        """Multiply."""
        ctx.save_for_backward(maps)
        ctx.lags = lags
        wide, views = _shifted(maps, lags)
        found = maps.new_empty(len(maps), len(lags), *maps.shape[1:])
        for i, view in enumerate(views):
            torch.mul(maps, wide[view], out=found[:, i])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor, None]:
        """Add what each product says about both of its factors."""
        (maps,) = ctx.saved_tensors
        wide, views = _shifted(maps, ctx.lags)
        total, onto = torch.zeros_like(maps), torch.zeros_like(wide)
        for i, view in enumerate(views):
            total.addcmul_(grads[:, i], wide[view])
            onto[view].addcmul_(grads[:, i], maps)
        # The padding stands for samples of the opposite border.
        reach = (wide.shape[1] - maps.shape[1]) // 2
        if reach:
            onto[:, -2 * reach : -reach] += onto[:, :reach]
            onto[:, reach : 2 * reach] += onto[:, -reach:]
            onto = onto[:, reach:-reach]
            onto[..., -2 * reach : -reach] += onto[..., :reach]
            onto[..., reach : 2 * reach] += onto[..., -reach:]
            onto = onto[..., reach:-reach]
        return total + onto, None


def _shifted(
    maps: Tensor, lags: list[tuple[int, int]]
) -> tuple[Tensor, list[tuple[slice, ...]]]:
    """Wrap maps around their borders, and tell where each shifted copy lies."""
    reach = max((max(abs(i), abs(j)) for i, j in lags), default=0)
    padding = (reach, reach, reach, reach)
    wide = torch.nn.functional.pad(maps[None], padding, mode="circular")[0]
    height, width = maps.shape[1:]
    return wide, [
        (
            slice(None),
            slice(reach + i, reach + i + height),
            slice(reach + j, reach + j + width),
        )
        for i, j in lags
    ]
