"""Parts into which predicted noise is split, for hybrid pictures.

A hybrid shows one thing in its coarse structure and another in its fine one: each part
of the noise is predicted under its own guidance, and the parts sum to the whole.

References
----------
Geng, Park and Owens (2024). Factorized diffusion: perceptual illusions by noise
decomposition. ECCV. arXiv:2404.11615.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neurovis.core.checks import check_option, check_whole
from neurovis.generation.views import check_levels, check_size

PARTS = {
    "frequency": ("low", "high"),
    "three-bands": ("low", "middle", "high"),
    "colour": ("grey", "colour"),
    "motion": ("blurred", "sharp"),
    "scale": ("first", "second"),
}
"""Families of parts, as `make_parts` takes them, and the names of their parts."""

_PUBLISHED_PX = 64  # side of the pictures for which widths of blurs were given


@dataclass(frozen=True, eq=False)
class NoisePart:
    """A part of noise, of parts that sum to the whole; for hybrid pictures.

    Parameters
    ----------
    name : str
        Name in tables.
    size_px : int
        Side of its pictures.
    fine, coarse : callable, optional
        Linear filters from samples to samples: the part is what `fine` leaves and
        `coarse` does not. Without them all, or nothing.

    Raises
    ------
    TypeError, ValueError
        If the size is no whole number of 1 or more.

    Notes
    -----
    The network sees the whole noisy picture; of the noise that it predicts under one
    guidance only this part is kept.
    """

    name: str
    size_px: int
    fine: Callable[[Tensor], Tensor] | None = None
    coarse: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        check_whole("size_px", self.size_px, low=1)

    @property
    def parameters(self) -> dict[str, Any]:
        """What it is, as JSON values: its name stands for its filters."""
        return {"name": self.name, "size_px": self.size_px}

    def apply(self, x: Tensor) -> Tensor:
        """Return samples as they are: the network sees all of them.

        Parameters
        ----------
        x : Tensor, shape (n, C, size_px, size_px)
            Samples.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            Itself.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        check_size(x, self.size_px, self.name)
        return x

    def map_noise_back(self, output: Tensor) -> Tensor:
        """Return the part of predicted noise; gradients can flow.

        Parameters
        ----------
        output : Tensor, shape (n, C, size_px, size_px)
            Predicted noise.

        Returns
        -------
        Tensor, shape (n, C, size_px, size_px)
            The part.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        check_size(output, self.size_px, self.name)
        part = output if self.fine is None else self.fine(output)
        return part if self.coarse is None else part - self.coarse(output)

    def apply_to_images(self, images: Tensor) -> Tensor:
        """Return the part of pictures around middle grey; gradients can flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, C, size_px, size_px), 0..1
            Pictures.

        Returns
        -------
        Tensor of float32, shape (n, C, size_px, size_px)
            About 0..1: not cut.

        Raises
        ------
        TypeError, ValueError
            If they are not of floats, or the shape is another one.
        """
        check_levels(images)
        return self.map_noise_back(images - 0.5) + 0.5


def make_parts(family: str, size_px: int) -> tuple[NoisePart, ...]:
    """Make the parts of a family; they sum to the whole.

    Parameters
    ----------
    family : str
        One of `PARTS`: "frequency" (below and above a blur of 2 px), "three-bands"
        (blurs of 1 px and then 2 px), "colour" (mean of the channels and the rest),
        "motion" (a diagonal blur of 7 px and the rest) or "scale" (twice one half).
        These widths are for pictures of 64 px; others have them in proportion.
    size_px : int
        Side of the pictures, large enough for the blur.

    Returns
    -------
    tuple of NoisePart
        In the order of `PARTS`.

    Raises
    ------
    TypeError, ValueError
        If the family is unknown, or pictures are too small.

    Notes
    -----
    Blurs are mirrored at the edges. Combine parts with the rule "sum".

    Examples
    --------
    >>> [part.name for part in make_parts("frequency", 64)]
    ['low', 'high']
    """
    check_option("family", family, tuple(PARTS))
    size_px = check_whole("size_px", size_px, low=2)
    filters = _filters(family, size_px)
    fine, coarse = [*filters, None], [None, *filters]
    return tuple(
        NoisePart(name, size_px, fine[i], coarse[i])
        for i, name in enumerate(PARTS[family])
    )


def _filters(family: str, size_px: int) -> list[Callable[[Tensor], Tensor]]:
    """Return filters from coarse to fine; parts are their differences."""
    ratio = size_px / _PUBLISHED_PX
    if family == "colour":
        return [_grey]
    if family == "scale":
        return [_half]
    if family == "motion":
        reach = _reach(7, size_px)
        diagonal = torch.eye(2 * reach + 1, dtype=torch.float64) / (2 * reach + 1)
        return [partial(_filter, kernels=(diagonal,))]
    if family == "frequency":
        return [partial(_filter, kernels=(_gaussian(2 * ratio, _reach(33, size_px)),))]
    fine = _gaussian(ratio, _reach(25, size_px))
    coarse = _gaussian(2 * ratio, _reach(25, size_px))
    return [
        partial(_filter, kernels=(fine, coarse)),
        partial(_filter, kernels=(fine,)),
    ]


def _reach(width_px: int, size_px: int) -> int:
    reach = width_px * size_px // (2 * _PUBLISHED_PX)
    if not reach:
        least = -(-2 * _PUBLISHED_PX // width_px)
        raise ValueError(
            f"`size_px` must be at least {least} for this blur; got {size_px}."
        )
    return reach


def _gaussian(sigma_px: float, reach: int) -> Tensor:
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    profile = torch.exp(-0.5 * (places / sigma_px) ** 2)
    kernel = torch.outer(profile, profile)
    return kernel / kernel.sum()


def _filter(x: Tensor, kernels: tuple[Tensor, ...]) -> Tensor:
    for kernel in kernels:
        reach = len(kernel) // 2
        flat = F.pad(x.flatten(0, 1)[:, None], (reach,) * 4, mode="reflect")
        x = F.conv2d(flat, kernel.to(x)[None, None]).reshape(x.shape)
    return x


def _grey(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True).expand_as(x)


def _half(x: Tensor) -> Tensor:
    return x / 2
