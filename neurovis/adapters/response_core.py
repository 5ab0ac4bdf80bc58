"""A convolutional network that learns its features from responses, not from a task.

Pictures go in, maps for a readout come out; nothing is pretrained. With more than one
orientation each filter is learnt once and used in all of them
(`neurovis.adapters.rotation_filters`): there is less to learn from few recordings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from neurovis.adapters.feature_inputs import Preprocessing, ResizeRule
from neurovis.adapters.rotation_filters import (
    RotationConv,
    check_filters,
    check_kernel,
)
from neurovis.adapters.trunks import InputFormat
from neurovis.core.checks import check_option, check_whole

NONLINEARITIES = ("relu", "elu")
"""What follows each convolution, pointwise."""

ORIENTATION_POOLING = ("none", "max", "mean")
"""How the orientations of a field are joined at the end."""

# Mid-grey is 0.
_PIXELS = InputFormat("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
_N_COLOURS = 3
# 1 / root mean square of what they make of standard normal numbers.
_GAINS = {"relu": math.sqrt(2), "elu": 1.2452}
# Of the Gaussian before every second pixel is taken, in pixels.
_HALVING_SIGMA = 0.66


@dataclass(frozen=True)
class CoreConfig:
    """Architecture of a `ResponseCore`.

    Parameters
    ----------
    kernels : tuple of int
        Side of the kernels of each layer in pixels, odd, 1..15.
    n_fields : tuple of int
        Fields of each layer, >= 1; a layer has ``n_fields * n_orientations`` channels.
    n_orientations : int, default 8
        Orientations of each filter, >= 1; 1 is a plain network, an ordinary one with
        filters="pixels".
    halve_after : tuple of int, default ()
        Layers, counted from 0 and ascending, after which maps are halved.
    has_batch_norm : bool, default True
        Whether each field is normalised, with one mean and variance for all of its
        orientations; if not, it has a constant.
    nonlinearity : {"relu", "elu"}
        What follows each convolution.
    orientation_pooling : {"none", "max", "mean"}
        How the orientations of a field are joined at the end; "none" keeps all.
    filters : {"steerable", "pixels"}
        What filters are made of: circular harmonics, or single pixels (for 1, 2 or 4
        orientations).

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, an option is unknown, or two do not fit together.

    Examples
    --------
    >>> config = CoreConfig((5, 3), (4, 6), halve_after=(0,))
    >>> config.n_layers, config.n_channels, config.map_shape(32)
    (2, 48, (48, 16, 16))
    """

    kernels: tuple[int, ...]
    n_fields: tuple[int, ...]
    n_orientations: int = 8
    halve_after: tuple[int, ...] = ()
    has_batch_norm: bool = True
    nonlinearity: str = "relu"
    orientation_pooling: str = "none"
    filters: str = "steerable"

    def __post_init__(self) -> None:
        # Kept as tuples of int: what was read from JSON equals what was written.
        sides = _numbers("kernels", self.kernels, low=1)
        object.__setattr__(self, "kernels", sides)
        if not sides:
            raise ValueError("`kernels` must name at least one layer; got none.")
        for size in sides:
            check_kernel("kernels", size)
        fields = _numbers("n_fields", self.n_fields, low=1)
        object.__setattr__(self, "n_fields", fields)
        if len(fields) != len(sides):
            raise ValueError(
                f"`n_fields` must have one number per layer, {len(sides)} as `kernels` "
                f"has; got {fields}."
            )
        last = len(sides) - 1
        halved = _numbers("halve_after", self.halve_after, low=0, high=last)
        object.__setattr__(self, "halve_after", halved)
        if list(halved) != sorted(set(halved)):
            raise ValueError(
                "`halve_after` must name each layer once, in ascending order; got "
                f"{halved}."
            )
        number = check_filters(self.filters, self.n_orientations)
        object.__setattr__(self, "n_orientations", number)
        check_option("nonlinearity", self.nonlinearity, NONLINEARITIES)
        pooling = self.orientation_pooling
        check_option("orientation_pooling", pooling, ORIENTATION_POOLING)

    @property
    def n_layers(self) -> int:
        """Number of convolutions."""
        return len(self.kernels)

    @property
    def n_channels(self) -> int:
        """Channels of the maps that come out."""
        kept = self.n_orientations if self.orientation_pooling == "none" else 1
        return self.n_fields[-1] * kept

    @property
    def reduction(self) -> int:
        """Pixels of the picture per pixel of the maps, along one side."""
        return int(2 ** len(self.halve_after))

    def map_shape(self, side_px: int) -> tuple[int, int, int]:
        """Return the shape of the maps of a square picture.

        Parameters
        ----------
        side_px : int
            Side of the picture in pixels, a multiple of `reduction`.

        Returns
        -------
        tuple of int
            Channels, height and width: what a readout takes as `in_shape`.

        Raises
        ------
        TypeError, ValueError
            If `side_px` is no whole number, or no multiple.

        Examples
        --------
        >>> published_core().map_shape(224)
        (384, 28, 28)
        """
        check_whole("side_px", side_px, low=1)
        if side_px % self.reduction:
            raise ValueError(
                f"`side_px` must be a multiple of {self.reduction}, because maps are "
                f"halved {len(self.halve_after)} times; got {side_px}."
            )
        side = side_px // self.reduction
        return self.n_channels, side, side


def _numbers(
    name: str, value: Any, low: int, high: int | None = None
) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(
            f"`{name}` must be a tuple of whole numbers, such as (5, 3); got {value!r}."
        )
    return tuple(check_whole(name, number, low=low, high=high) for number in value)


def published_core() -> CoreConfig:
    """Return the architecture that was published for responses to natural scenes.

    Eight layers of 48 fields in 8 orientations, kernels of 5, 5 and then 3 pixels,
    batch norm, ReLU, halved after each of the first three pairs of layers. For
    pictures of 224 pixels its maps have 384 channels and 28 x 28 pixels.

    Returns
    -------
    CoreConfig
        The architecture.

    Notes
    -----
    Sizes, normalisation, nonlinearity and the Gaussian of 0.66 pixels before halving
    are as in the published code. Different are the padding of the first two layers (2
    pixels, not 1: there sides became odd), that the Gaussian lies between pixels
    (quarter turns are exact), that maps are not smoothed once more at the end, and the
    scale of pictures (there mean and standard deviation of ImageNet). Rings and
    frequencies of filters and initial values are not told there, but left to a
    library; here they are those of `RotationConv`.

    References
    ----------
    Saha, Chadha & Khosla (2024), arXiv:2410.14031.

    Examples
    --------
    >>> config = published_core()
    >>> config.n_layers, config.n_channels
    (8, 384)
    """
    kernels = (5, 5, 3, 3, 3, 3, 3, 3)
    return CoreConfig(kernels, (48,) * 8, n_orientations=8, halve_after=(1, 3, 5))


def small_core(
    n_fields: int = 8, n_orientations: int = 8, *, n_layers: int = 4
) -> CoreConfig:
    """Return an architecture for a laptop and for few pictures.

    The first kernels have 5 pixels, the others 3; maps are halved after the first two
    layers: pictures of 112 pixels become maps of 28 x 28.

    Parameters
    ----------
    n_fields : int, default 8
        Fields of each layer, >= 1.
    n_orientations : int, default 8
        Orientations of each filter, >= 1; with 1 it is an ordinary network, with
        filters of single pixels.
    n_layers : int, default 4
        Number of layers, >= 2.

    Returns
    -------
    CoreConfig
        The architecture; change other options with ``dataclasses.replace``.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or too small.

    Examples
    --------
    >>> small_core().map_shape(112)
    (64, 28, 28)
    """
    n_layers = check_whole("n_layers", n_layers, low=2)
    kernels = (5,) + (3,) * (n_layers - 1)
    filters = "pixels" if n_orientations == 1 else "steerable"
    fields = (n_fields,) * n_layers
    return CoreConfig(kernels, fields, n_orientations, (0, 1), filters=filters)


def to_input(
    pictures: Sequence[NDArray[np.uint8]],
    side_px: int,
    *,
    resize: ResizeRule = "squash",
) -> Tensor:
    """Return pictures as a core takes them: -1 is black, 0 mid-grey, 1 white.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        RGB pictures of any sizes.
    side_px : int
        Side of the square that they are resampled to (bicubic, antialiased), >= 1.
    resize : {"squash", "crop", "pad", "none"}
        What becomes of pictures that are not square; see
        `neurovis.adapters.feature_inputs.Preprocessing`. "pad" fills up with mid-grey.

    Returns
    -------
    Tensor of float32, shape (n_images, 3, side_px, side_px)
        Values within [-1, 1].

    Raises
    ------
    TypeError, ValueError
        If there is no picture, one is none, an option is unknown, or `side_px` is no
        whole number >= 1.

    Examples
    --------
    >>> x = to_input([np.full((10, 10, 3), 255, np.uint8)], 4)
    >>> x.shape, x.unique().tolist()
    (torch.Size([1, 3, 4, 4]), [1.0])
    """
    if len(pictures) == 0:
        raise ValueError("`pictures` must hold at least one picture; got none.")
    side = check_whole("side_px", side_px, low=1)
    rule = Preprocessing((side, side), resize, pixels=_PIXELS, fill=(128, 128, 128))
    stack = torch.from_numpy(np.stack([rule.prepare(p) for p in pictures]))
    return rule.normalise(stack).contiguous()


def halve(maps: Tensor) -> Tensor:
    """Return maps of half the size: a Gaussian average around each 2 x 2 pixels.

    Its standard deviation is 0.66 pixels, over 4 x 4 pixels; at the border only pixels
    of the map count. On even sides, blocks of 2 x 2 pixels fall on such blocks when the
    map is turned by 90 degrees. Every second pixel does not fall on every second pixel,
    which is why no convolution has a stride; and the Gaussian takes away much of what
    half the pixels cannot show, so that other rotations are kept better too.

    Parameters
    ----------
    maps : Tensor, shape (B, C, H, W)
        Maps of even sides.

    Returns
    -------
    Tensor, shape (B, C, H / 2, W / 2)
        Smaller maps.

    Raises
    ------
    ValueError
        If a side is odd.

    Examples
    --------
    >>> halve(torch.ones(1, 2, 4, 6)).shape
    torch.Size([1, 2, 2, 3])
    """
    if maps.ndim != 4 or maps.shape[-2] % 2 or maps.shape[-1] % 2:
        raise ValueError(
            "`maps` must have shape (n_images, n_channels, height, width) and even "
            f"sides; got {tuple(maps.shape)}."
        )
    profile = [math.exp(-((t / _HALVING_SIGMA) ** 2) / 2) for t in (-1.5, -0.5)]
    taps = maps.new_tensor([*profile, *profile[::-1]])
    window = torch.outer(taps, taps)[None, None]
    inside = functional.conv2d(
        maps.new_ones(1, 1, *maps.shape[-2:]), window, stride=2, padding=1
    )
    n_channels = maps.shape[1]
    each = window.expand(n_channels, -1, -1, -1)
    sums = functional.conv2d(maps, each, stride=2, padding=1, groups=n_channels)
    return sums / inside


class ResponseCore(nn.Module):
    """From pictures to maps, learnt together with a readout.

    Each layer is a convolution, batch norm (if any), the nonlinearity, and halving
    where the architecture says so. Turning the picture by ``360 / n_orientations``
    degrees turns the maps and moves the orientations of each field on by one: exactly
    for quarter turns of square pictures if `n_orientations` is a multiple of 4 (without
    orientations to move if they are pooled), else as well as pixels allow.

    Parameters
    ----------
    config : CoreConfig
        Architecture; see `published_core` and `small_core`.
    seed : int, default 0
        Seed of the initial weights.

    Attributes
    ----------
    convolutions : ModuleList of RotationConv
        One per layer.
    norms : ModuleList
        Batch norms, one per layer; empty without.

    Raises
    ------
    TypeError, ValueError
        If `config` is none, or `seed` is no whole number >= 0.

    Notes
    -----
    Channel ``field * n_orientations + g`` has orientation g, counted counter-clockwise.
    The filters are computed once per call, not per picture. Initial ones keep the mean
    square of white noise and of uniform maps, so that networks without batch norm start
    well too.

    References
    ----------
    Ecker et al. (2019), arXiv:1809.10504.

    Examples
    --------
    >>> core = ResponseCore(small_core(n_fields=2))
    >>> core(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 16, 8, 8])
    """

    def __init__(self, config: CoreConfig, *, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(config, CoreConfig):
            raise TypeError(
                f"`config` must be a CoreConfig, such as small_core(); got {config!r}."
            )
        self.config = config
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        n_before = _N_COLOURS
        for layer, n_fields in enumerate(config.n_fields):
            convolution = RotationConv(
                n_before,
                n_fields,
                config.kernels[layer],
                config.n_orientations,
                sees_picture=layer == 0,
                filters=config.filters,
                has_bias=not config.has_batch_norm,
                gain=_GAINS[config.nonlinearity] if layer else 1.0,
                seed=seed,
                key=layer,
            )
            self.convolutions.append(convolution)
            if config.has_batch_norm:
                self.norms.append(nn.BatchNorm3d(n_fields))
            n_before = n_fields

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the maps of pictures.

        Parameters
        ----------
        pictures : Tensor of float, shape (B, 3, H, W)
            Pictures, such as `to_input` returns; sides are multiples of
            ``config.reduction``.

        Returns
        -------
        Tensor of float, shape (B, n_channels, H / reduction, W / reduction)
            Maps; see the notes of the class for their order.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape differ.
        """
        self._check(pictures)
        config, maps = self.config, pictures
        is_relu = config.nonlinearity == "relu"
        act = functional.relu if is_relu else functional.elu
        for layer, convolution in enumerate(self.convolutions):
            maps = convolution(maps)
            # In place, because what comes before is not needed again.
            if config.has_batch_norm:
                by_field = self.norms[layer](self._by_field(maps))
                maps = act(by_field, inplace=True).flatten(1, 2)
            else:
                maps = act(maps, inplace=True)
            if layer in config.halve_after:
                maps = halve(maps)
        if config.orientation_pooling == "none":
            return maps
        is_max = config.orientation_pooling == "max"
        by_field = self._by_field(maps)
        return by_field.amax(2) if is_max else by_field.mean(2)

    def _by_field(self, maps: Tensor) -> Tensor:
        n_images, _, height, width = maps.shape
        return maps.reshape(n_images, -1, self.config.n_orientations, height, width)

    def _check(self, pictures: Tensor) -> None:
        if not pictures.is_floating_point():
            raise TypeError(
                "`pictures` must be floats, mid-grey 0; got "
                f"{pictures.dtype}. `to_input` makes them from uint8 pictures."
            )
        step = self.config.reduction
        shape = tuple(pictures.shape)
        fits = len(shape) == 4 and shape[1] == _N_COLOURS and 0 not in shape
        if not fits or shape[2] % step or shape[3] % step:
            raise ValueError(
                f"`pictures` must have shape (n_images, {_N_COLOURS}, height, width) "
                f"with sides that are multiples of {step}, because maps are halved "
                f"{len(self.config.halve_after)} times; got {shape}."
            )
