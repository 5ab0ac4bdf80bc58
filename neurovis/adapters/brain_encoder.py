"""The transformer brain encoder: learned queries that look at a feature map.

Each query stands for a brain region (or a hemisphere, or a unit). It attends to the
patches of a frozen network, and units are linear in what their queries found.

References
----------
Adeli, Sun & Kriegeskorte (2025). Transformer brain encoders explain human high-level
visual responses. NeurIPS. doi:10.48550/arXiv.2505.17329.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from neurovis.adapters.brain_encoder_layers import (
    MapEncoderLayer,
    QueryDecoderLayer,
    TokenReadout,
    flatten_maps,
    in_blocks,
    sine_positions,
)
from neurovis.adapters.unit_queries import UnitQueries
from neurovis.core.checks import check_between, check_whole
from neurovis.core.rng import torch_generator

_QUERIES_AT_ONCE = 4096


@dataclass(frozen=True)
class BrainEncoderConfig:
    """Architecture of a transformer brain encoder.

    Parameters
    ----------
    width : int, optional
        Width of tokens. If given, a 1 x 1 convolution brings the maps to it, as
        published for CNNs; None: maps are used as they are.
    n_heads : int, default 16
        Heads of attention; must divide the width.
    feedforward : int, default 1024
        Width between the linear maps of a layer.
    dropout : float, default 0.1
        Share that is dropped in training, below 1.
    norm_first : bool, default True
        Whether tokens are normalised before each part of a layer, or after.
    n_encoder_layers : int, default 0
        Layers of self-attention among patches.
    n_decoder_layers : int, default 1
        Layers in which queries look at the patches, >= 1.
    encoder_output : int, default -1
        Which layer of self-attention the queries look at, counted as in a list.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    width: int | None = None
    n_heads: int = 16
    feedforward: int = 1024
    dropout: float = 0.1
    norm_first: bool = True
    n_encoder_layers: int = 0
    n_decoder_layers: int = 1
    encoder_output: int = -1

    def __post_init__(self) -> None:
        if self.width is not None:
            check_whole("width", self.width, low=2)
        for name in ("n_heads", "feedforward", "n_decoder_layers"):
            check_whole(name, getattr(self, name), low=1)
        n = check_whole("n_encoder_layers", self.n_encoder_layers, low=0)
        if check_between("dropout", self.dropout, low=0, high=1) == 1:
            raise ValueError("`dropout` must be below 1; got 1.")
        if n:
            check_whole("encoder_output", self.encoder_output, low=-n, high=n - 1)


class _Layers(nn.Module):
    """A stack of layers with a norm at its end."""

    def __init__(self, layers: list[nn.Module], norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm


class BrainEncoder(nn.Module):
    """Predict responses of units from a feature map, by attention of learned queries.

    Parameters
    ----------
    in_shape : tuple of int
        Channels, height and width of the maps.
    queries : UnitQueries
        Queries, and the units that they drive.
    config : BrainEncoderConfig, optional
        Architecture; as published by default.
    queries_at_once : int, default 4096
        Queries that are decoded at once; more are decoded block by block, and in
        training computed again in the backward pass, which saves memory.
    seed : int, default 0
        Seed of the initial weights.

    Attributes
    ----------
    query_embed : Parameter, shape (n_queries, width)
        The queries.
    readout : TokenReadout
        Weights of units.

    Raises
    ------
    TypeError, ValueError
        If a size does not fit.

    Notes
    -----
    Names of weights are those of the public model without ``transformer.``; the two
    linear maps of the hemispheres are one, `readout`. Its unused weights (attention
    between queries) do not exist here.

    Examples
    --------
    >>> queries = UnitQueries(("V1", "FFA"), 3, [[1, 1, 0], [0, 1, 1]])
    >>> config = BrainEncoderConfig(n_heads=4, feedforward=32)
    >>> encoder = BrainEncoder((16, 5, 5), queries, config).eval()
    >>> maps = torch.zeros(2, 16, 5, 5)
    >>> encoder(maps).shape, encoder.attention(maps).shape
    (torch.Size([2, 3]), torch.Size([1, 2, 2, 5, 5]))
    """

    positions: Tensor

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        queries: UnitQueries,
        config: BrainEncoderConfig | None = None,
        *,
        queries_at_once: int = _QUERIES_AT_ONCE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = config = config or BrainEncoderConfig()
        n_channels, height, width_px = (
            check_whole("in_shape", n, low=1) for n in in_shape
        )
        self.in_shape, self.queries = (n_channels, height, width_px), queries
        self.n_units = queries.n_units
        self.queries_at_once = check_whole("queries_at_once", queries_at_once, low=1)
        width = config.width or n_channels
        if width % config.n_heads or width % 2:
            raise ValueError(
                f"The width of tokens must be even, and {config.n_heads} heads "
                f"(`n_heads`) must divide it; got {width}. Give another `width`."
            )
        codes = sine_positions(height, width_px, width)
        self.register_buffer("positions", codes, persistent=False)
        # Layers of torch draw weights when they are made: not from the caller's stream.
        with torch.random.fork_rng(devices=[]):
            self._build(width)
        self.query_embed = nn.Parameter(torch.empty(queries.n_queries, width))
        self.readout = TokenReadout(queries, width)
        self._draw(seed)

    def _build(self, width: int) -> None:
        config = self.config
        self.input_proj = self.encoder = None
        if config.width is not None:
            self.input_proj = nn.Conv2d(self.in_shape[0], width, 1)
        sizes: tuple[Any, ...] = (width, config.n_heads, config.feedforward)
        sizes += (config.dropout, config.norm_first)
        if config.n_encoder_layers:
            stack = [MapEncoderLayer(*sizes) for _ in range(config.n_encoder_layers)]
            norm = nn.LayerNorm(width) if config.norm_first else None
            self.encoder = _Layers([*stack], norm)
        self.decoder = _Layers(
            [QueryDecoderLayer(*sizes) for _ in range(config.n_decoder_layers)],
            nn.LayerNorm(width),
        )

    def _draw(self, seed: int) -> None:
        """Draw initial weights: those of the public code, from a generator."""
        draw = torch_generator(seed, "brain encoder")
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                is_layer = name.startswith(("encoder.", "decoder."))
                if is_layer and parameter.ndim > 1:
                    nn.init.xavier_uniform_(parameter, generator=draw)
                elif is_layer and "linear" in name:
                    owner = self.get_submodule(name.rpartition(".")[0])
                    assert isinstance(owner, nn.Linear)
                    _uniform(parameter, owner.in_features, draw)
            self.query_embed.normal_(generator=draw)
            width = self.query_embed.shape[1]
            for parameter in (self.readout.weight, self.readout.bias):
                _uniform(parameter, width, draw)
            if self.input_proj is not None:
                for parameter in self.input_proj.parameters():
                    _uniform(parameter, self.in_shape[0], draw)

    def patches(self, maps: Tensor) -> Tensor:
        """Return the patches that queries look at.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor, shape (B, H * W, width)
            Row by row; after the layers of self-attention, if there are any.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        tokens = flatten_maps(maps, self.in_shape, self.input_proj)
        if self.encoder is None:
            return tokens
        outputs = []
        for layer in self.encoder.layers:
            tokens = layer(tokens, self.positions)
            outputs.append(tokens)
        chosen = outputs[self.config.encoder_output]
        norm = self.encoder.norm
        return chosen if norm is None else cast(Tensor, norm(chosen))

    def tokens(self, maps: Tensor) -> Tensor:
        """Return what each query found.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor, shape (B, n_queries, width)
            From these the units are read.
        """
        memory = self._memory(self.patches(maps))
        return in_blocks(
            lambda queries: self._decode_block(queries, memory),
            (self.query_embed,),
            self.queries_at_once,
            is_trained=self.training,
        )

    def _memory(self, patches: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [
            layer.memory(patches, self.positions)  # type: ignore[operator]
            for layer in self.decoder.layers
        ]

    def _decode_block(
        self, queries: Tensor, memory: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        tokens = torch.zeros_like(queries)[None]
        for layer, (keys, values) in zip(self.decoder.layers, memory, strict=True):
            tokens = layer(tokens, queries, keys, values)
        assert self.decoder.norm is not None
        found: Tensor = self.decoder.norm(tokens)
        return found

    def forward(self, maps: Tensor) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor, shape (B, n_units)
            Responses.
        """
        if self.queries.mask is not None:
            found: Tensor = self.readout(self.tokens(maps))
            return found
        return self._read_one_each(self.patches(maps))

    def _read_one_each(self, patches: Tensor) -> Tensor:
        """Predict units with a query each."""
        memory = self._memory(patches)

        def read(queries: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            tokens = self._decode_block(queries, memory)
            return (tokens * weight).sum(dim=-1) + bias

        parts = self.query_embed, self.readout.weight, self.readout.bias
        return in_blocks(read, parts, self.queries_at_once, is_trained=self.training)

    @torch.no_grad()
    def attention(self, maps: Tensor) -> Tensor:
        """Return where queries look, averaged over heads.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor of float32, shape (n_decoder_layers, B, n_queries, H, W)
            Each map sums to 1. Map i belongs to query i of ``queries.names``.
        """
        patches = self.patches(maps)
        memory = self._memory(patches)
        found = []
        tokens = torch.zeros_like(self.query_embed)[None]
        for layer, (keys, values) in zip(self.decoder.layers, memory, strict=True):
            assert isinstance(layer, QueryDecoderLayer)
            found.append(layer.weights(tokens, self.query_embed, keys))
            tokens = layer(tokens, self.query_embed, keys, values)
        maps_of = torch.stack(found).float()
        return maps_of.view(*maps_of.shape[:-1], *self.in_shape[1:])

    @torch.no_grad()
    def patch_attention(self, maps: Tensor) -> Tensor:
        """Return how the layers of self-attention mix patches, averaged over heads.

        Parameters
        ----------
        maps : Tensor, shape (B, n_channels, H, W)
            Feature maps.

        Returns
        -------
        Tensor of float32, shape (n_encoder_layers, B, H * W, H * W)
            Rows sum to 1.
        """
        tokens = flatten_maps(maps, self.in_shape, self.input_proj)
        if self.encoder is None:
            places = tokens.shape[1]
            return tokens.new_zeros((0, len(maps), places, places)).float()
        found = []
        for layer in self.encoder.layers:
            assert isinstance(layer, MapEncoderLayer)
            found.append(layer.weights(tokens, self.positions))
            tokens = layer(tokens, self.positions)
        return torch.stack(found).float()


def _uniform(parameter: nn.Parameter, n_inputs: int, draw: torch.Generator) -> None:
    """Draw as torch does for linear layers and convolutions."""
    bound = 1 / math.sqrt(n_inputs)
    parameter.uniform_(-bound, bound, generator=draw)


def load_published_state(
    state: Mapping[str, Tensor],
    in_shape: tuple[int, int, int],
    queries: UnitQueries,
    *,
    n_heads: int = 16,
    norm_first: bool = True,
    encoder_output: int = -1,
) -> BrainEncoder:
    """Build an encoder from weights of the public code.

    Parameters
    ----------
    state : mapping of str to Tensor
        State dict of the public model, without its backbone.
    in_shape : tuple of int
        Channels, height and width of the maps.
    queries : UnitQueries
        Queries in their order; units of the left hemisphere first. The public masks
        become queries by `neurovis.adapters.unit_queries.queries_from_masks`.
    n_heads : int, default 16
        Heads, which weights do not tell.
    norm_first : bool, default True
        Order of norms, which weights do not tell.
    encoder_output : int, default -1
        As `BrainEncoderConfig`.

    Returns
    -------
    BrainEncoder
        In evaluation mode.

    Raises
    ------
    ValueError
        If a weight is missing, unknown, or has another shape.

    Examples
    --------
    >>> from safetensors.torch import load_file  # doctest: +SKIP
    >>> state = load_file("tbe.safetensors")  # doctest: +SKIP
    >>> load_published_state(state, (768, 31, 31), queries)  # doctest: +SKIP
    """
    left = {name.removeprefix("transformer."): v for name, v in state.items()}
    if "query_embed.weight" in left:
        left["query_embed"] = left.pop("query_embed.weight")
    ends = [k for k in left if k.endswith("layers.0.linear1.weight")]
    if not ends or "query_embed" not in left:
        raise ValueError(
            "`state` must hold the weights of a transformer brain encoder, such as "
            f"'query_embed.weight'; got {sorted(state)[:3]}."
        )

    def depth(stack: str) -> int:
        return len({k.split(".")[2] for k in left if k.startswith(f"{stack}.layers.")})

    config = BrainEncoderConfig(
        width=len(left["input_proj.weight"]) if "input_proj.weight" in left else None,
        n_heads=n_heads,
        feedforward=len(left[ends[0]]),
        norm_first=norm_first,
        n_encoder_layers=depth("encoder"),
        n_decoder_layers=depth("decoder"),
        encoder_output=encoder_output,
    )
    encoder = BrainEncoder(in_shape, queries, config)
    width = left["query_embed"].shape[-1]
    units, broken = [], []
    for side in ("lh", "rh"):
        names = [f"{side}_embed.0.{part}" for part in ("weight", "bias")]
        weight, bias = (left.pop(name, None) for name in names)
        if weight is None or bias is None or weight.shape != (len(bias), width):
            broken += [] if weight is None and bias is None else names[:1]
        else:
            units.append((weight, bias))
    own = encoder.state_dict()
    # The published decoder has weights that it never uses.
    unused = ("self_attn.", "norm2.")
    left = {
        name: value
        for name, value in left.items()
        if name in own
        or not (name.startswith("decoder.") and any(u in name for u in unused))
    }
    wanted = {k: v.shape for k, v in own.items() if not k.startswith("readout.")}
    wrong = broken + sorted(
        k for k in {*wanted, *left} if k not in left or wanted.get(k) != left[k].shape
    )
    n_units = sum(len(bias) for _, bias in units)
    if wrong or n_units != queries.n_units:
        problem = wrong[0] if wrong else f"{n_units} units for {queries.n_units}"
        raise ValueError(
            "`state` does not fit the maps, the queries or the options: "
            f"{problem!r} is missing, unknown, or has another shape."
        )
    rest = {k: v for k, v in own.items() if k.startswith("readout.")}
    encoder.load_state_dict({**left, **rest})
    weight, bias = (torch.cat(part) for part in zip(*units, strict=True))
    encoder.readout.load_units(weight, bias)
    return encoder.eval()
