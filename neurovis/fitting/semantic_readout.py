"""A readout whose masks and channels move with what is in the picture."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import torch_generator
from neurovis.fitting.readouts_parts import (
    by_units,
    check_positive,
    check_shape,
    check_sizes,
    make_bias,
)
from neurovis.fitting.steps import seeded

WARPS = {
    "affine": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "translation": (0.0, 0.0),
    "rotation": (0.0,),
    "scale": (1.0, 1.0),
    "none": (),
}
"""The numbers of each kind of warp that move nothing."""

MOST_PLACES = 7
"""Context is averaged to at most so many places along each axis."""


class SemanticSpatialReadout(nn.Module):
    """Weigh pixels with one mask per unit that moves with the picture's context.

    ``y_bn = sum_c a_nc sum_hw X_bchw S_bnhw + b_n``: S is the mask of the unit, divided
    by its norm (+ 1e-6) and warped by a transformation that a small network predicts
    from the context; X is the map of the channel, warped by one of its own.

    Parameters
    ----------
    in_shape : tuple of int
        Channels, height and width of the maps.
    n_units : int
        Number of units, >= 1.
    context_shape : tuple of int, default (4, 7, 7)
        Channels, height and width of the context: a feature map of a frozen network,
        as published (2048, 7, 7), the last stage of ResNet-50. What has more than 7
        places along an axis is averaged to 7 (adaptive pooling).
    n_context : int or None, default 4
        Channels to which a trainable 1 x 1 convolution brings the context; None: it
        is used as it is.
    hidden : int, default 32
        Width of the layer (with ReLU) between context and transformations.
    warp : {"affine", "translation", "rotation", "scale", "none"}
        How masks move; see Notes.
    warp_channels : bool, default True
        Whether the maps of channels are warped too (always affine).
    init_noise : float, default 1e-3
        Standard deviation of the initial masks and features, > 0.
    has_bias : bool, default True
        Whether there is a constant b.
    mean_response : array-like, shape (n_units,), optional
        Start of b; 0 by default.
    weight : float, default 1
        Factor of `regulariser`, >= 0.
    seed : int, default 0
        Seed of the initial values.

    Attributes
    ----------
    spatial : Parameter, shape (n_units, H, W)
        Masks before normalisation, clamped to >= 0 at every call.
    features : Parameter, shape (n_units, n_channels)
        Weights a.
    bias : Parameter, shape (n_units,), or None
        Constants b.
    reduce : Conv2d or None
        From the context to `n_context` channels.
    mask_warp, channel_warp : Sequential or None
        From the context to the numbers of each unit's, or channel's, transformation.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown, a number out of range, a shape does not fit, or
        nothing is warped.

    Notes
    -----
    Places are (x, y) from -1 (outer edge of the left, or upper, pixels) to 1. A
    transformation says where each pixel is read: ``(x, y) -> theta (x, y, 1)``, with
    bilinear interpolation and zeros outside. So a mask moves by the inverse, to the
    left where the shift is positive. theta is 2 x 3, row by row, for "affine";
    ``(t_x, t_y)`` for "translation"; an angle in radians, about the centre and rigid in
    pixels, for "rotation"; the two diagonal entries for "scale" (> 1 shrinks the mask).

    At the start no context moves anything: the last layers have zero weights, and
    the constants of no motion. For the restricted kinds those layers have only the
    numbers of the kind, and start at no motion too; the published model takes the
    first of six there, and these start at (1, 0).

    Units are warped in pieces of bounded memory, which are computed again in the
    backward pass. The backward pass of bilinear reading has no deterministic form on
    CUDA: `neurovis.core.device.deterministic` raises there.

    References
    ----------
    Saha, Chadha & Khosla (2024), doi:10.48550/arXiv.2410.14031.

    Examples
    --------
    >>> readout = SemanticSpatialReadout((3, 8, 8), 5)
    >>> readout(torch.ones(2, 3, 8, 8), torch.ones(2, 4, 7, 7)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_units: int,
        *,
        context_shape: Sequence[int] = (4, 7, 7),
        n_context: int | None = 4,
        hidden: int = 32,
        warp: str = "affine",
        warp_channels: bool = True,
        init_noise: float = 1e-3,
        has_bias: bool = True,
        mean_response: ArrayLike | None = None,
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.in_shape, self.n_units = check_sizes(in_shape, n_units)
        self.context_shape = _context_sizes(context_shape)
        self.warp = str(check_option("warp", warp, tuple(WARPS)))
        if warp == "none" and not warp_channels:
            raise ValueError(
                "`warp` is 'none' and `warp_channels` is False, so that nothing uses "
                "the context: warp one of the two, or use a FactorisedReadout."
            )
        self.n_context = n_context
        if n_context is not None:
            check_whole("n_context", n_context, low=1)
        check_whole("hidden", hidden, low=1)
        check_positive("init_noise", init_noise)
        self.weight = float(check_between("weight", weight, low=0))
        draw = torch_generator(seed, "semantic-spatial readout")
        n_channels, height, width = self.in_shape
        masks = torch.empty(self.n_units, height, width)
        self.spatial = nn.Parameter(masks.normal_(0, init_noise, generator=draw))
        channels = torch.empty(self.n_units, n_channels)
        self.features = nn.Parameter(channels.normal_(0, init_noise, generator=draw))
        self.bias = make_bias(has_bias, mean_response, self.n_units)
        n_from, *sides = self.context_shape
        self._places = (min(sides[0], MOST_PLACES), min(sides[1], MOST_PLACES))
        with seeded(torch.device("cpu"), seed, "semantic-spatial readout context"):
            self.reduce = None if n_context is None else nn.Conv2d(n_from, n_context, 1)
            n_numbers = (n_context or n_from) * self._places[0] * self._places[1]
            self.mask_warp = _head(n_numbers, hidden, self.n_units, WARPS[warp])
            start = WARPS["affine"] if warp_channels else ()
            self.channel_warp = _head(n_numbers, hidden, n_channels, start)

    def masks(self) -> Tensor:
        """Return the masks before they are warped.

        Returns
        -------
        Tensor, shape (n_units, H, W)
            >= 0, with norm 1 (or a little less).
        """
        # Projected, as the location of a Gaussian readout, so that a mask that is 0
        # somewhere keeps its gradient there.
        self.spatial.data.clamp_(min=0)
        norms = torch.linalg.vector_norm(self.spatial, dim=(1, 2), keepdim=True)
        return self.spatial / (norms + 1e-6)

    def warped_masks(self, context: Tensor, units: Any = None) -> Tensor:
        """Return where each unit reads each picture.

        Parameters
        ----------
        context : Tensor, shape (n_images, n_channels, h, w)
            Context.
        units : slice, or sequence of int, optional
            Which units; all by default, all at once.

        Returns
        -------
        Tensor, shape (n_images, n_units, H, W)
            Masks, >= 0.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        self._check_context(context)
        at = slice(None) if units is None else units
        masks = self.masks()[at]
        thetas = self._thetas(self.mask_warp, self._summary(context))
        if thetas is None:
            return masks.expand(len(context), -1, -1, -1)
        return _warp_masks(masks, thetas[:, at]).transpose(0, 1)

    def forward(self, maps: Tensor, context: Tensor) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        maps : Tensor, shape (n_images, n_channels, H, W)
            Feature maps.
        context : Tensor, shape (n_images, n_channels, h, w)
            Context of the same pictures.

        Returns
        -------
        Tensor, shape (n_images, n_units)
            Responses.

        Raises
        ------
        ValueError
            If a shape does not fit.
        """
        check_shape(maps, self.in_shape)
        self._check_context(context)
        if len(maps) != len(context):
            raise ValueError(
                f"`maps` has {len(maps)} images and `context` {len(context)}: give one "
                "context per image."
            )
        masks, summary = self.masks(), self._summary(context)
        maps = maps.to(masks.dtype)
        moved = self._thetas(self.channel_warp, summary)
        if moved is not None:
            maps = _warp_maps(maps, moved)
        thetas = self._thetas(self.mask_warp, summary)
        n_images, n_pixels = len(maps), maps[0, 0].numel()
        table = maps.transpose(0, 1).flatten(1)  # channels x (pictures, pixels)

        def read(at: slice) -> Tensor:
            pieces = masks[at, None]
            if thetas is not None:
                pieces = _warp_masks(masks[at], thetas[:, at])
            weighed = (self.features[at] @ table).view(-1, n_images, n_pixels)
            return (weighed * pieces.flatten(2)).sum(-1).T

        # A mask, its two coordinates and the weighed map, and their gradients.
        out = by_units(read, self.n_units, 8 * n_images * n_pixels)
        return out if self.bias is None else out + self.bias

    def regulariser(self) -> Tensor:
        """Return ``weight`` times the sum of the absolute feature weights.

        Returns
        -------
        Tensor, shape ()
            To be added to a loss.
        """
        return self.weight * self.features.abs().sum()

    def _check_context(self, context: Tensor) -> None:
        if context.ndim != 4 or tuple(context.shape[1:]) != self.context_shape:
            raise ValueError(
                "`context` must have shape (n_images, "
                f"{', '.join(map(str, self.context_shape))}), as `context_shape` said; "
                f"got {tuple(context.shape)}."
            )

    def _summary(self, context: Tensor) -> Tensor:
        """Return the numbers that transformations are predicted from."""
        context = context.to(self.spatial.dtype)
        # Before the convolution, with which it commutes: there is less to compute.
        if context.shape[2:] != self._places:
            context = functional.adaptive_avg_pool2d(context, self._places)
        return (context if self.reduce is None else self.reduce(context)).flatten(1)

    def _thetas(self, head: nn.Module | None, summary: Tensor) -> Tensor | None:
        """Predict transformations, (n_images, n, 2, 3); None: nothing moves."""
        if head is None:
            return None
        kind = self.warp if head is self.mask_warp else "affine"
        numbers = head(summary).to(self.spatial.dtype)
        numbers = numbers.view(len(summary), -1, len(WARPS[kind]))
        return _matrices(numbers, kind, self.in_shape[1] / self.in_shape[2])


def _context_sizes(context_shape: Sequence[int]) -> tuple[int, int, int]:
    shape = tuple(context_shape)
    if len(shape) != 3:
        raise ValueError(
            f"`context_shape` must be (channels, height, width); got {context_shape!r}."
        )
    channels, height, width = (check_whole("context_shape", n, low=1) for n in shape)
    return channels, height, width


def _head(
    n_from: int, hidden: int, n: int, start: Sequence[float]
) -> nn.Sequential | None:
    """Return a network that predicts `start` for each of n, whatever comes."""
    if not start:
        return None
    last = nn.Linear(hidden, n * len(start))
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor(start).repeat(n)
    return nn.Sequential(nn.Linear(n_from, hidden), nn.ReLU(), last)


def _matrices(numbers: Tensor, kind: str, height_per_width: float) -> Tensor:
    """Return theta, (..., 2, 3), from the numbers of its kind, (..., n_numbers)."""
    shape = (*numbers.shape[:-1], 2, 3)
    if kind == "affine":
        return numbers.view(shape)
    zero, one = torch.zeros_like(numbers[..., 0]), torch.ones_like(numbers[..., 0])
    if kind == "translation":
        x, y = numbers.unbind(-1)
        entries = [one, zero, x, zero, one, y]
    elif kind == "scale":
        x, y = numbers.unbind(-1)
        entries = [x, zero, zero, zero, y, zero]
    else:
        cos, sin = numbers[..., 0].cos(), numbers[..., 0].sin()
        across, down = -sin * height_per_width, sin / height_per_width
        entries = [cos, across, zero, down, cos, zero]
    return torch.stack(entries, -1).view(shape)


def _grid(matrices: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel is read: (..., 2, 3) to (..., height, width, 2)."""
    x, y = (
        (2 * torch.arange(n, device=matrices.device, dtype=matrices.dtype) + 1) / n - 1
        for n in (width, height)
    )
    across = x[:, None] * matrices[..., None, :, 0]
    down = y[:, None] * matrices[..., None, :, 1] + matrices[..., None, :, 2]
    return across[..., None, :, :] + down[..., :, None, :]


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def _warp_masks(masks: Tensor, thetas: Tensor) -> Tensor:
    """Warp each mask, (n, H, W), for all pictures: (n, n_images, H, W)."""
    n_units, height, width = masks.shape
    # Pictures lie below each other in one tall output, so that no mask is copied.
    grid = _grid(thetas.transpose(0, 1), height, width).flatten(1, 2)
    return _sample(masks[:, None], grid).view(n_units, -1, height, width)


def _warp_maps(maps: Tensor, thetas: Tensor) -> Tensor:
    """Warp each channel of each picture."""

    def warp(at: slice) -> Tensor:
        piece = maps[:, at]
        grid = _grid(thetas[:, at], *piece.shape[2:]).flatten(0, 1)
        return _sample(piece.flatten(0, 1)[:, None], grid).view(piece.shape)

    # A value, its two coordinates, and their gradients.
    return by_units(warp, maps.shape[1], 6 * maps[:, 0].numel())
