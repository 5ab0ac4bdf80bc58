"""Convolutional trunks as plain stages: geometry and weights, nothing hidden.

A trunk is a list of stages; each stage is a list of "same"-padded convolutions with
their activation, and between stages stands a stride-2 pooling that the user of the
trunk chooses (ordinary, or eccentricity dependent). `trunk_weights` builds them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from neurovis.adapters.eccentric_pooling import (
    PoolingRule,
    PoolKind,
    eccentric_pool,
    stage_rule,
)


@dataclass(frozen=True)
class InputFormat:
    """What a network expects: channel order, mean and scale of 0..255 pixels.

    Parameters
    ----------
    order : {"rgb", "bgr"}
        Order of the channels.
    mean : tuple of float
        Subtracted, in the order above.
    std : tuple of float
        Divided by, after the mean.
    """

    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


INPUT_FORMATS = {
    "caffe-bgr": InputFormat("bgr", (103.939, 116.779, 123.68)),
    "caffe-rgb": InputFormat("rgb", (0.48235 * 255, 0.45882 * 255, 0.40784 * 255)),
    "imagenet": InputFormat("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "squeezenet": InputFormat("bgr", (104.0, 117.0, 123.0)),
    "unit": InputFormat("rgb", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
}


def to_pixels(images: Tensor, pixels: InputFormat) -> Tensor:
    """Turn pictures into what a network expects.

    Parameters
    ----------
    images : Tensor of uint8, shape (B, H, W, 3)
        RGB pictures.
    pixels : InputFormat
        Channel order, mean and scale.

    Returns
    -------
    Tensor of float32, shape (B, 3, H, W), channels-last memory
        Network input on the device of `images`.
    """
    x = images.float()
    if pixels.order == "bgr":
        x = x.flip(-1)
    x = x - x.new_tensor(pixels.mean)
    if set(pixels.std) != {1.0}:
        x = x / x.new_tensor(pixels.std)
    return x.permute(0, 3, 1, 2)


def fold_normalisation(
    kernel: Tensor, norm: Mapping[str, Tensor], eps: float
) -> tuple[Tensor, Tensor]:
    """Fold a batch normalisation into the convolution before it.

    Parameters
    ----------
    kernel : Tensor, shape (out, in, k, k)
        Convolution without a bias.
    norm : mapping of str to Tensor, shape (out,)
        `weight`, `bias`, `running_mean` and `running_var`.
    eps : float
        Added to the variance.

    Returns
    -------
    tuple of Tensor of float32
        Kernel (out, in, k, k) and bias (out,); computed in float64.
    """
    part = {name: value.double() for name, value in norm.items()}
    gain = part["weight"] / torch.sqrt(part["running_var"] + eps)
    folded = kernel.double() * gain[:, None, None, None]
    return folded.float(), (part["bias"] - part["running_mean"] * gain).float()


@dataclass(frozen=True)
class ConvLayer:
    """Parallel convolutions of one input, concatenated, then (leaky) rectified.

    Parameters
    ----------
    weights : tuple of Tensor, shape (C_out, C_in, k, k)
        One kernel stack per branch, odd k.
    biases : tuple of Tensor, shape (C_out,)
        One per branch.
    stride : int, default 1
        Step of the windows.
    leak : float, default 0.0
        Slope for negative values.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    stride: int = 1
    leak: float = 0.0

    @property
    def halo(self) -> int:
        """Pixels of context that the widest branch needs on each side."""
        return max(w.shape[-1] for w in self.weights) // 2

    def __call__(self, x: Tensor) -> Tensor:
        """Apply without padding: the output loses `halo` pixels on each side.

        Parameters
        ----------
        x : Tensor, shape (B, C_in, H, W)
            Input with its context.

        Returns
        -------
        Tensor, shape (B, C_out, ceil((H - 2 halo) / stride), ...)
            Rectified output.
        """
        parts = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            cut = self.halo - weight.shape[-1] // 2
            view = x[..., cut : x.shape[-2] - cut, cut : x.shape[-1] - cut]
            parts.append(F.conv2d(view, weight, bias, self.stride))
        out = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return F.leaky_relu_(out, self.leak) if self.leak else out.relu_()


@dataclass(frozen=True)
class Trunk:
    """Stages of a convolutional network with what is needed to feed them.

    Parameters
    ----------
    name : str
        Name of the architecture.
    stages : tuple of tuple of ConvLayer
        Layers of each stage; a stride-2 pooling stands between stages.
    pool_window : int
        The network's own pooling window.
    pixels : InputFormat
        What the first layer expects.
    weights_name : str
        What the user asked for, such as ``"seeded:0"``.
    weights_hash : str
        SHA-256 of the state dictionary.
    trained : bool
        False for random weights: said in every table and figure.
    remarks : tuple of str, default ()
        What else a reader of results must know about the weights.
    """

    name: str
    stages: tuple[tuple[ConvLayer, ...], ...]
    pool_window: int
    pixels: InputFormat
    weights_name: str
    weights_hash: str
    trained: bool
    remarks: tuple[str, ...] = ()

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Picture pixels per pixel of each stage's output."""
        strides, stride = [], 1
        for index, stage in enumerate(self.stages):
            stride *= 1 if index == 0 else 2
            for layer in stage:
                stride *= layer.stride
            strides.append(stride)
        return tuple(strides)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.stages[0][0].weights[0].device

    def preprocess(self, images: Tensor) -> Tensor:
        """Turn pictures into what the first layer expects.

        Parameters
        ----------
        images : Tensor of uint8, shape (B, H, W, 3)
            RGB pictures.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W), channels-last memory
            Network input on the device of `images`.
        """
        return to_pixels(images, self.pixels)

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        """Run one stage on whole maps with zero padding.

        Parameters
        ----------
        index : int
            0-based stage.
        x : Tensor, shape (B, C, H, W)
            Preprocessed pictures, or the pooled output of the stage before.

        Returns
        -------
        Tensor, shape (B, C_out, H', W')
            Output of the last layer of the stage.
        """
        for layer in self.stages[index]:
            x = layer(F.pad(x, [layer.halo] * 4))
        return x

    def to(self, device: torch.device) -> "Trunk":
        """Return the trunk with its weights on `device`.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        Trunk
            A copy.
        """

        def move(layer: ConvLayer) -> ConvLayer:
            fast = torch.channels_last
            weights = tuple(
                w.to(device).contiguous(memory_format=fast) for w in layer.weights
            )
            return replace(
                layer, weights=weights, biases=tuple(b.to(device) for b in layer.biases)
            )

        stages = tuple(tuple(move(layer) for layer in stage) for stage in self.stages)
        return replace(self, stages=stages)


def pooling_rules(
    trunk: Trunk,
    *,
    eccentric: bool = True,
    kind: PoolKind = "average",
    px_per_deg: float = 30.0,
) -> tuple[PoolingRule, ...]:
    """Return the rule of the pooling after each stage of a trunk.

    Parameters
    ----------
    trunk : Trunk
        Network.
    eccentric : bool, default True
        Whether windows grow with eccentricity.
    kind : {"average", "max"}
        What is taken of each window.
    px_per_deg : float, default 30.0
        Picture pixels per degree.

    Returns
    -------
    tuple of PoolingRule
        One per stage; the last one belongs to the target network.
    """
    return tuple(
        stage_rule(
            stride,
            window=trunk.pool_window,
            kind=kind,
            eccentric=eccentric,
            px_per_deg=px_per_deg,
        )
        for stride in trunk.strides
    )


def full_pass(
    trunk: Trunk, images: Tensor, rules: Sequence[PoolingRule]
) -> tuple[list[Tensor], list[Tensor]]:
    """Run all stages on whole pictures, pooling around the picture centre.

    Parameters
    ----------
    trunk : Trunk
        Network.
    images : Tensor of uint8, shape (B, H, W, 3)
        Pictures on the trunk's device.
    rules : sequence of PoolingRule
        One per stage.

    Returns
    -------
    tuple of list of Tensor
        Output of each stage, and of the pooling after each stage.
    """
    stages, pooled = [], []
    x = trunk.preprocess(images)
    for stage, rule in enumerate(rules):
        stages.append(trunk.run_stage(stage, x))
        x = eccentric_pool(stages[-1], rule)
        pooled.append(x)
    return stages, pooled
