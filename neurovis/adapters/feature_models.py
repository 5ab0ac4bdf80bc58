"""A network together with what is needed to read its layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from torch import Tensor, nn

from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_layers import (
    attention_source,
    plan_readings,
    read_layers,
)
from neurovis.adapters.feature_shapes import InputLayout, find_activations
from neurovis.core.tensors import hash_state_dict


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network with its preprocessing, ready to be read layer by layer.

    Parameters
    ----------
    name : str
        Name in tables and figures, such as "timm:resnet50".
    module : torch.nn.Module
        The network, on the CPU and in evaluation mode.
    preprocessing : Preprocessing
        How pictures become its input.
    architecture : str
        What the weights belong to.
    weights_name : str
        What the user asked for, such as "seeded:0".
    trained : bool
        False for random weights.
    prefix_tokens : int, default 0
        Tokens before those of the patches: class token and registers.
    class_token : bool, default False
        Whether the first token is a class token.
    order : {"channels-first", "channels-last"}, optional
        Order of the axes of maps, when the network tells it.
    remarks : tuple of str, default ()
        What else a reader of results must know about the weights.

    Raises
    ------
    ValueError
        If the network is in training mode.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    architecture: str
    weights_name: str
    trained: bool
    prefix_tokens: int = 0
    class_token: bool = False
    order: str | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(module.training for module in self.module.modules()):
            raise ValueError(
                f"The network {self.name} must be in evaluation mode: call "
                "`module.eval()` first."
            )

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the state dictionary."""
        return hash_state_dict(self.module.state_dict())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        if self.trained:
            return tuple(f"{self.name}: {remark}" for remark in self.remarks)
        return (f"{self.name}: untrained weights ({self.weights_name})",)

    @property
    def identity(self) -> dict[str, Any]:
        """All that its features depend on besides the pictures and the layer."""
        return {
            "architecture": self.architecture,
            "weights": self.weights_hash,
            "preprocessing": self.preprocessing.identity,
        }

    @property
    def layout(self) -> InputLayout:
        """What shapes of activations are understood by."""
        size = self.preprocessing.size_px
        return InputLayout(size, self.prefix_tokens, self.class_token, self.order)

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return features of pictures in memory; gradients can flow.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, h, w), 0..1
            Pictures of the size of the network's input, on its device.
        layers : sequence of str
            Requests as `neurovis.adapters.feature_layers` describes them.

        Returns
        -------
        dict of str to Tensor of float32, shape (B, n_features)
            One entry per layer.

        Raises
        ------
        TypeError, ValueError
            If a layer or the shape of `images` does not fit.
        """
        size = self.preprocessing.size_px
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, *size):
            raise ValueError(
                f"`images` must have shape (B, 3, {size[0]}, {size[1]}); got "
                f"{tuple(images.shape)}."
            )
        readings = plan_readings(self.module, self.layout, layers, self.name)
        pixels = 255 * images.permute(0, 2, 3, 1)
        rows = read_layers(self.module, self.preprocessing.normalise(pixels), readings)
        return dict(zip(layers, rows, strict=True))


def list_layers(backbone: Backbone) -> pd.DataFrame:
    """Return all layers of a network, in order of its module tree.

    Parameters
    ----------
    backbone : Backbone
        Network.

    Returns
    -------
    DataFrame
        `layer` (name to ask for), `module` (its class), `shape` (of the output for one
        picture; empty when it cannot be read), `choices` (what can follow after a
        colon) and `note` (why a layer cannot be read).

    Examples
    --------
    >>> from neurovis.adapters.backbones import load_backbone
    >>> table = list_layers(load_backbone("squeezenet1_0", "seeded:0"))
    >>> table.set_index("layer").loc["fire9", ["shape", "choices"]].tolist()
    [(512, 13, 13), 'gap, grid1..grid13, flat']
    """
    modules = dict(backbone.module.named_modules())
    rows: list[tuple[Any, ...]] = []
    activations = find_activations(backbone.module, backbone.layout)
    for path, calls in activations.items():
        kind = type(modules[path]).__name__
        if not calls:
            rows.append((path, kind, (), "", "does not run in a forward pass"))
        sources = attention_source(backbone.module, path)
        source = activations[sources[0]] if len(sources) == 1 else []
        readable = len(source) == 1 and not isinstance(source[0], str)
        attention = ("q", "k", "v") if readable else ()
        for number, found in enumerate(calls, 1):
            name = path if len(calls) == 1 else f"{path}@{number}"
            if isinstance(found, str):
                rows.append((name, kind, (), ", ".join(attention), found))
            else:
                choices = ", ".join((*found.choices, *attention))
                rows.append((name, kind, found.shape, choices, ""))
    return pd.DataFrame(rows, columns=["layer", "module", "shape", "choices", "note"])
