"""What the outputs of a network's modules are: vectors, tokens or maps."""

import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ORDERS = ("channels-first", "channels-last")
"""Orders of the axes of a map."""


@dataclass(frozen=True)
class InputLayout:
    """What shapes of activations are understood by.

    Parameters
    ----------
    size_px : tuple of int
        Height and width of the network's input.
    prefix_tokens : int, default 0
        Tokens before the patch tokens: class token and registers.
    class_token : bool, default False
        Whether the first token is a class token.
    order : {"channels-first", "channels-last"}, optional
        Order of the axes of maps, when the network tells it.
    """

    size_px: tuple[int, int]
    prefix_tokens: int = 0
    class_token: bool = False
    order: str | None = None

    def is_grid(self, height: int, width: int) -> bool:
        """Tell whether a grid has the aspect ratio of the input, but for rounding.

        Parameters
        ----------
        height, width : int
            Cells.

        Returns
        -------
        bool
            True when it can be a map of the picture.
        """
        rows, columns = self.size_px
        if rows == columns:
            return height == width
        return abs(height * columns - width * rows) <= max(rows, columns)

    def token_grid(self, n_tokens: int) -> tuple[int, int] | None:
        """Return rows and columns of patches, None when they form no grid.

        Parameters
        ----------
        n_tokens : int
            Patch tokens.

        Returns
        -------
        tuple of int, or None
            The grid nearest to the aspect ratio of the input.
        """
        rows, columns = self.size_px
        grids = [
            (h, n_tokens // h)
            for h in range(1, n_tokens + 1)
            if n_tokens % h == 0 and self.is_grid(h, n_tokens // h)
        ]
        near = [(abs(math.log(h * columns / (w * rows))), (h, w)) for h, w in grids]
        return min(near)[1] if near else None


@dataclass(frozen=True)
class Activation:
    """One output of a module: where it comes from and how its axes are read.

    Parameters
    ----------
    path : str
        Module.
    call : int
        Which run of it in a pass, from 1.
    batch_axis : int
        Axis of the pictures, 0 or 1.
    shape : tuple of int
        Shape of one picture's output, without that axis.
    kind : {"vector", "tokens", "map", "other"}
        What the axes are.
    order : str, optional
        Order of the axes of a map.
    prefix : int
        Tokens before the patches.
    grid : tuple of int, optional
        Rows and columns of patches or of a map.
    class_token : bool
        Whether the first token is a class token.
    """

    path: str
    call: int
    batch_axis: int
    shape: tuple[int, ...]
    kind: str
    order: str | None = None
    prefix: int = 0
    grid: tuple[int, int] | None = None
    class_token: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """What can be asked for of it."""
        if self.grid is None:
            return ("flat",)
        largest = min(self.grid)
        grids = ("grid1",) if largest == 1 else (f"grid1..grid{largest}",)
        if self.kind == "map":
            return ("gap", *grids, "flat")
        cls = ("cls",) if self.class_token else ()
        return (*cls, "patches", "mean", *grids, "flat")

    def allows(self, choice: str) -> bool:
        """Tell whether a choice fits.

        Parameters
        ----------
        choice : str
            Such as "gap" or "grid3".

        Returns
        -------
        bool
            True when it does.
        """
        if choice.startswith("grid"):
            return self.grid is not None and int(choice[4:]) <= min(self.grid)
        return choice in self.choices

    def result_shape(self, choice: str) -> tuple[int, ...]:
        """Return the shape that the features of one picture had before flattening.

        Parameters
        ----------
        choice : str
            One that `allows` accepts.

        Returns
        -------
        tuple of int
            (channels, height, width) of maps and grids, (tokens, channels) of tokens,
            else (features,).
        """
        last = self.order == "channels-last" or self.kind == "tokens"
        channels = self.shape[-1] if last else self.shape[0]
        if choice.startswith("grid"):
            side = int(choice[4:])
            return channels, side, side
        if choice in ("gap", "mean", "cls"):
            return (channels,)
        if choice == "patches":
            return self.shape[0] - self.prefix, channels
        if self.kind == "map" and self.order == "channels-last":
            return channels, *self.shape[:2]
        return self.shape

    def pool(self, output: Tensor, choice: str) -> Tensor:
        """Turn an output into features.

        Parameters
        ----------
        output : Tensor
            What the module returned.
        choice : str
            One that `allows` accepts.

        Returns
        -------
        Tensor of float32, shape (B, n_features)
            New memory: later layers may change `output` in place.
        """
        x = output.float().movedim(self.batch_axis, 0)
        if self.kind == "map" and self.order == "channels-last":
            x = x.movedim(-1, 1)
        if choice == "gap":
            return x.mean((2, 3))
        if choice == "cls":
            return x[:, 0].clone()
        if choice == "flat":
            return x.clone(memory_format=torch.contiguous_format).flatten(1)
        if self.kind == "tokens":
            x = x[:, self.prefix :]
            if choice == "mean":
                return x.mean(1)
            if choice == "patches":
                return x.clone(memory_format=torch.contiguous_format).flatten(1)
            assert self.grid is not None
            x = x.transpose(1, 2).reshape(len(x), -1, *self.grid)
        return F.adaptive_avg_pool2d(x, int(choice[4:])).flatten(1)


def only_tensor(output: Any) -> Tensor | None:
    """Return the tensor that a module gives.

    Parameters
    ----------
    output : object
        A tensor, or a tuple with one tensor such as (output, None).

    Returns
    -------
    Tensor or None
        None when there are several tensors, or none.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list):
        tensors = [value for value in output if isinstance(value, Tensor)]
        return tensors[0] if len(tensors) == 1 else None
    return None


def _describe(
    path: str, call: int, one: Any, two: Any, layout: InputLayout
) -> Activation | str:
    """Read the axes of an output from passes of one and of two pictures."""
    if one is None or two is None:
        return "gives several tensors, or none; ask for a module inside it or around it"
    if len(one) != len(two):
        return "gives outputs of another kind for other numbers of pictures"
    axes = [i for i in range(len(one)) if one[i] != two[i]]
    if len(axes) != 1 or (one[axes[0]], two[axes[0]]) != (1, 2) or axes[0] > 1:
        return (
            "has no axis of pictures in its output (windows or heads may be merged "
            "with it); ask for a module around it"
        )
    axis = axes[0]
    shape = tuple(n for i, n in enumerate(one) if i != axis)
    if len(shape) == 1:
        return Activation(path, call, axis, shape, "vector")
    if len(shape) == 2:
        prefix = layout.prefix_tokens
        grid = layout.token_grid(shape[0] - prefix) if shape[0] > prefix else None
        if grid is None:  # before the prefix is put there, or without one
            prefix, grid = 0, layout.token_grid(shape[0])
        cls = bool(prefix and layout.class_token)
        tokens = Activation(path, call, axis, shape, "tokens", class_token=cls)
        return replace(tokens, prefix=prefix, grid=grid)
    if len(shape) == 3:
        order = _map_order(shape, layout)
        return as_map(Activation(path, call, axis, shape, "map"), order)
    return Activation(path, call, axis, shape, "other")


def _map_order(shape: tuple[int, ...], layout: InputLayout) -> str | None:
    first, last = layout.is_grid(*shape[1:]), layout.is_grid(*shape[:2])
    if first and last:
        return layout.order
    if first or last:
        return ORDERS[0] if first else ORDERS[1]
    return None


def as_map(activation: Activation, order: str | None) -> Activation:
    """Return the activation with another order of its axes.

    Parameters
    ----------
    activation : Activation
        A map.
    order : {"channels-first", "channels-last"} or None
        What the axes are.

    Returns
    -------
    Activation
        A map of that order.
    """
    if order is None:
        return replace(activation, order=None, grid=None)
    first = 1 if order == ORDERS[0] else 0
    height, width = activation.shape[first : first + 2]
    return replace(activation, order=order, grid=(height, width))


@torch.inference_mode()
def find_activations(
    module: nn.Module, layout: InputLayout, paths: Iterable[str] | None = None
) -> dict[str, list[Activation | str]]:
    """Run a network on blank pictures and describe what its modules return.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode.
    layout : InputLayout
        Size of its input and kinds of its tokens.
    paths : iterable of str, optional
        Modules to look at; by default all but the network itself.

    Returns
    -------
    dict of str to list
        Per module one entry for each time it runs in a pass; text in place of an
        `Activation` says why an output cannot be read.
    """
    modules = {path: m for path, m in module.named_modules() if path}
    chosen = modules if paths is None else {p: modules[p] for p in paths}
    found: list[dict[str, list[tuple[int, ...] | None]]] = []
    parameter = next(module.parameters(), next(module.buffers(), torch.empty(0)))

    def note(shapes: list[tuple[int, ...] | None]) -> Any:
        def hook(child: nn.Module, args: Any, output: Any) -> None:
            tensor = only_tensor(output)
            shapes.append(None if tensor is None else tuple(tensor.shape))

        return hook

    for n_images in (1, 2):
        seen: dict[str, list[tuple[int, ...] | None]] = {path: [] for path in chosen}
        with ExitStack() as hooks:
            for path, child in chosen.items():
                hooks.enter_context(child.register_forward_hook(note(seen[path])))
            module(parameter.new_zeros(n_images, 3, *layout.size_px).float())
        found.append(seen)
    activations: dict[str, list[Activation | str]] = {}
    for path in chosen:
        pairs = zip(found[0][path], found[1][path], strict=False)
        activations[path] = [
            _describe(path, call, one, two, layout)
            for call, (one, two) in enumerate(pairs, 1)
        ]
    return activations
