"""The small networks with a module for every layer, named as in the files.

`trunk_weights` has their weights; here each layer can be listened to. A layer is a
convolution together with its rectification.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.adapters.trunk_weights import (
    DARKNET_TINY,
    SQUEEZENET,
    darknet_tiny_shapes,
    fold_batch_norm,
    seeded_state,
    squeezenet_shapes,
)
from neurovis.adapters.weights import check_state_dict, read_state_dict
from neurovis.core.checks import check_option, check_path


class _Layer(nn.Conv2d):
    """A convolution, then a rectification; a leak of 1 leaves all as it is."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        leak: float = 0.0,
    ) -> None:
        super().__init__(n_in, n_out, kernel, stride, padding)
        self.leak = leak

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), self.leak)


class _Fire(nn.Module):
    """A narrow layer, then two wide ones side by side."""

    def __init__(self, n_in: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = _Layer(n_in, squeeze, 1)
        self.expand1x1 = _Layer(squeeze, expand, 1)
        self.expand3x3 = _Layer(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze1x1(x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1)


class _Mean(nn.Module):
    """Mean over positions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def squeezenet() -> nn.Module:
    """Return SqueezeNet 1.0 as it was trained in Caffe.

    Returns
    -------
    torch.nn.Module
        Layers ``conv1``, ``pool1``, ``fire2`` to ``fire9``, ``conv10`` and ``logits``,
        with the weights that the constructor draws.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = _Layer(3, 96, 7, stride=2)
    n_in = 96
    for number, fires in enumerate(SQUEEZENET, 1):
        layers[f"pool{number}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
        for name, squeeze, expand in fires:
            layers[name] = _Fire(n_in, squeeze, expand)
            n_in = 2 * expand
    layers["conv10"] = _Layer(n_in, 1000, 1, padding=1)
    layers["logits"] = _Mean()
    return nn.Sequential(layers)


def darknet_tiny() -> nn.Module:
    """Return Darknet tiny, with its batch normalisation folded into convolutions.

    Returns
    -------
    torch.nn.Module
        Layers ``conv1`` to ``conv16``, ``pool1`` to ``pool4`` and ``logits``, with the
        weights that the constructor draws.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    n_in, index = 3, 0
    for number, stage in enumerate(DARKNET_TINY):
        if number:
            layers[f"pool{number}"] = nn.MaxPool2d(2, 2)
        for width, kernel in stage:
            index += 1
            layer = _Layer(n_in, width, kernel, padding=kernel // 2, leak=0.1)
            layers[f"conv{index}"] = layer
            n_in = width
    layers[f"conv{index + 1}"] = _Layer(n_in, 1000, 1, leak=1.0)
    layers["logits"] = _Mean()
    return nn.Sequential(layers)


def load_small_network(name: str, weights: str) -> nn.Module:
    """Build SqueezeNet or Darknet tiny and load its weights.

    Parameters
    ----------
    name : {"squeezenet1_0", "darknet_tiny"}
        Architecture.
    weights : str
        ``"seeded:N"``, or the path of a ``.safetensors`` file with the layer names of
        `trunk_weights`.

    Returns
    -------
    torch.nn.Module
        On the CPU, in evaluation mode.

    Raises
    ------
    ValueError
        If the names or shapes in the file do not fit.
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.

    Examples
    --------
    >>> network = load_small_network("darknet_tiny", "seeded:0")
    >>> network.get_submodule("conv1").weight.shape
    torch.Size([16, 3, 3, 3])
    """
    check_option("name", name, ("squeezenet1_0", "darknet_tiny"))
    is_squeezenet = name == "squeezenet1_0"
    shapes = squeezenet_shapes() if is_squeezenet else darknet_tiny_shapes()
    if weights.startswith("seeded:"):
        plain = {n: s for n, s in shapes.items() if not n.startswith("bn")}
        state = seeded_state(plain, int(weights.removeprefix("seeded:")))
    else:
        path = check_path("weights", Path(weights))
        state = {n: v.float() for n, v in read_state_dict(path).items()}
        check_state_dict(state, shapes, weights)
    if not is_squeezenet:
        state = _fold(state)
    network = squeezenet() if is_squeezenet else darknet_tiny()
    network.load_state_dict(state)
    return network.eval()


def _fold(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    folded = {n: v for n, v in state.items() if not n.startswith("bn")}
    for index in range(1, 16):
        if f"bn{index}.weight" in state:
            kernel, bias = fold_batch_norm(state, index)
            folded[f"conv{index}.weight"] = kernel
            folded[f"conv{index}.bias"] = bias
    return folded
