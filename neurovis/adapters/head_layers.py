"""Where the heads of a vision transformer are, and hooks to read and to weigh them.

A layer is understood when its softmax map passes through a module ``attn_drop`` and one
linear layer mixes the outputs of the heads, as in timm.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurovis.adapters.feature_models import Backbone

PROJECTIONS = ("proj", "attn_out_proj", "out_proj")
"""Names of the linear layer after the heads, the first that there is."""

_SUPPORTED = (
    "Supported are vision transformers of timm whose attention sees all tokens at once "
    "(ViT, DeiT, BEiT, EVA and the like). Convolutional networks, windows (Swin), "
    "pyramids (PVT), channel attention (XCiT), talking heads (CaiT) and differential "
    "attention have no such map."
)


@dataclass(frozen=True)
class HeadLayer:
    """The heads of one layer.

    Parameters
    ----------
    path : str
        Path of the attention in the network, such as "blocks.3.attn".
    n_heads : int
        Heads.
    head_width : int
        Channels of the output of one head.
    n_tokens : int
        Tokens of a map, those before the patches too.
    grid : tuple of int
        Rows and columns of patches.
    projection : str
        Path of the linear layer after the heads.
    """

    path: str
    n_heads: int
    head_width: int
    n_tokens: int
    grid: tuple[int, int]
    projection: str


def attention_layers(backbone: Backbone) -> list[HeadLayer]:
    """Find the layers whose attention maps can be read.

    A grey picture is sent through the network to see what its attention does.

    Parameters
    ----------
    backbone : Backbone
        Network.

    Returns
    -------
    list of HeadLayer
        In the order of the network.

    Raises
    ------
    ValueError
        If the network has no attention over all tokens, or other attention besides;
        the message says what is supported.

    Examples
    --------
    >>> from neurovis.adapters.backbones import load_backbone
    >>> layers = attention_layers(load_backbone("timm:test_vit", "seeded:0"))
    >>> len(layers), layers[0].path, layers[0].n_heads, layers[0].grid
    (6, 'blocks.0.attn', 2, (10, 10))
    """
    module = backbone.module
    found = {path: m for path, m in module.named_modules() if _is_attention(m)}
    maps: dict[str, list[Tensor]] = {path: [] for path in found}
    grey = np.full((1, *backbone.preprocessing.size_px, 3), 128, np.uint8)
    held = next(module.parameters(), torch.empty(0)).device
    with torch.inference_mode(), listening(found, lambda p, a: maps[p].append(a)):
        if found:
            pixels = torch.from_numpy(grey).to(held)
            module(backbone.preprocessing.normalise(pixels))
    layers = []
    for path, attention in found.items():
        if maps[path] and maps[path][0].ndim == 4 and maps[path][0].shape[2] == 1:
            continue  # pools tokens; not a map from tokens to tokens
        layers.append(_describe(backbone, path, attention, maps[path]))
    if not layers:
        raise ValueError(f"{backbone.name} has no self-attention. {_SUPPORTED}")
    if len({layer.n_tokens for layer in layers}) > 1:
        numbers = sorted({layer.n_tokens for layer in layers})
        raise ValueError(
            f"The layers of {backbone.name} have different numbers of tokens "
            f"({numbers}). {_SUPPORTED}"
        )
    return layers


@contextmanager
def unfused(attentions: Iterable[nn.Module]) -> Iterator[None]:
    """Let attention form its maps inside the block.

    Fused kernels never form them.

    Parameters
    ----------
    attentions : iterable of torch.nn.Module
        Attentions.

    Yields
    ------
    None
        Nothing.
    """
    fused: list[tuple[Any, Any]] = [
        (m, m.fused_attn) for m in attentions if hasattr(m, "fused_attn")
    ]
    try:
        for module, _ in fused:
            module.fused_attn = False
        yield
    finally:
        for module, before in fused:
            module.fused_attn = before


@contextmanager
def listening(
    attentions: Mapping[str, nn.Module], keep: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Hand every attention map to a function inside the block.

    Parameters
    ----------
    attentions : mapping of str to torch.nn.Module
        By path.
    keep : callable
        Takes the path and the map, shape (n_images, n_heads, n_tokens, n_tokens).

    Yields
    ------
    None
        Nothing.
    """

    def listen(path: str) -> Callable[..., None]:
        return lambda _, args: keep(path, args[0])

    with ExitStack() as stack:
        stack.enter_context(unfused(attentions.values()))
        for path, attention in attentions.items():
            dropout: Any = attention.attn_drop
            handle = dropout.register_forward_pre_hook(listen(path))
            stack.callback(handle.remove)
        yield


@contextmanager
def weighing(
    module: nn.Module, layers: Sequence[HeadLayer], weights: Mapping[str, Tensor]
) -> Iterator[None]:
    """Multiply the outputs of heads before the projection inside the block.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    layers : sequence of HeadLayer
        Layers.
    weights : mapping of str to Tensor, shape (n_heads,) or (n_images, n_heads)
        Factors by path of the attention.

    Yields
    ------
    None
        Nothing.
    """

    def weigh(layer: HeadLayer) -> Callable[..., Any]:
        own = layer.n_heads * layer.head_width

        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = args[0]
            weight = weights[layer.path].to(x)
            factors = weight.repeat_interleave(layer.head_width, dim=-1)
            # One factor for all tokens; what follows the heads is not theirs.
            mixed = x[..., :own] * factors.unsqueeze(-2)
            return torch.cat([mixed, x[..., own:]], dim=-1), *args[1:]

        return hook

    with ExitStack() as stack:
        for layer in layers:
            linear = module.get_submodule(layer.projection)
            handle = linear.register_forward_pre_hook(weigh(layer))
            stack.callback(handle.remove)
        yield


def _is_attention(module: nn.Module) -> bool:
    return (
        isinstance(getattr(module, "num_heads", None), int)
        and isinstance(getattr(module, "attn_drop", None), nn.Module)
        and _projection(module) is not None
    )


def _projection(module: nn.Module) -> str | None:
    for name in PROJECTIONS:
        if isinstance(getattr(module, name, None), nn.Linear):
            return name
    return None


def _describe(
    backbone: Backbone, path: str, attention: nn.Module, maps: list[Tensor]
) -> HeadLayer:
    """Return a layer after its map on a grey picture was looked at."""
    n_heads: Any = attention.num_heads
    name = _projection(attention)
    assert name is not None
    shapes = [tuple(one.shape) for one in maps]
    n_tokens = shapes[0][-1] if shapes else 0
    grid = None
    if n_tokens > backbone.prefix_tokens:
        grid = backbone.layout.token_grid(n_tokens - backbone.prefix_tokens)
    width: Any = getattr(attention, "head_dim", None)
    if width is None:
        width = getattr(attention, name).in_features // n_heads
    fits = (
        grid is not None
        and shapes == [(1, n_heads, n_tokens, n_tokens)]
        and bool(((maps[0].sum(dim=-1) - 1).abs() < 1e-4).all())
    )
    if not fits:
        raise ValueError(
            f"The attention {path!r} of {backbone.name} ({type(attention).__name__}, "
            f"{n_heads} heads) gave maps of shape {shapes} where (1, heads, tokens, "
            f"tokens) with rows that add up to 1 was expected. {_SUPPORTED}"
        )
    assert grid is not None
    return HeadLayer(path, n_heads, int(width), n_tokens, grid, f"{path}.{name}")
