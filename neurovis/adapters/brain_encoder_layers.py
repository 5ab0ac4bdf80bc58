"""Layers of the transformer brain encoder, and its readout of units.

Learned queries attend to the patches of a feature map. Queries do not see each other:
each is decoded as if it were alone, so that they can be computed in blocks.

References
----------
Adeli, Sun & Kriegeskorte (2025), doi:10.48550/arXiv.2505.17329.
Carion et al. (2020). End-to-end object detection with transformers. ECCV.
doi:10.1007/978-3-030-58452-8_13 (positions and layers)
"""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from neurovis.adapters.attention import Attention
from neurovis.adapters.unit_queries import UnitQueries

_TEMPERATURE = 10_000.0
_EPSILON = 1e-6


def sine_positions(height: int, width: int, n_features: int) -> Tensor:
    """Return the code of each place of a grid.

    Parameters
    ----------
    height, width : int
        Size of the grid.
    n_features : int
        Length of a code; even.

    Returns
    -------
    Tensor of float32, shape (height * width, n_features)
        Row by row. The first half tells the row, the second the column, each by sines
        and cosines of places that run from 2 pi / n to 2 pi.

    Examples
    --------
    >>> sine_positions(2, 3, 8).shape
    torch.Size([6, 8])
    """
    half = n_features // 2
    step = torch.arange(half, dtype=torch.float32)
    period = _TEMPERATURE ** (2 * torch.div(step, 2, rounding_mode="floor") / half)

    def code(n: int) -> Tensor:
        place = torch.arange(1, n + 1, dtype=torch.float32)
        angle = (place / (n + _EPSILON) * 2 * torch.pi)[:, None] / period
        return torch.where(step % 2 == 0, angle.sin(), angle.cos())

    rows = code(height)[:, None].expand(height, width, half)
    columns = code(width)[None].expand(height, width, half)
    return torch.cat([rows, columns], dim=-1).reshape(height * width, n_features)


def flatten_maps(
    maps: Tensor, in_shape: tuple[int, int, int], projection: nn.Module | None = None
) -> Tensor:
    """Return the places of maps as a list.

    Parameters
    ----------
    maps : Tensor, shape (B, n_channels, H, W)
        Feature maps.
    in_shape : tuple of int
        The shape that a map must have.
    projection : Module, optional
        What brings the maps to the width of tokens.

    Returns
    -------
    Tensor, shape (B, H * W, width)
        Row by row.

    Raises
    ------
    ValueError
        If the shape does not fit.

    Examples
    --------
    >>> flatten_maps(torch.zeros(1, 3, 2, 2), (3, 2, 2)).shape
    torch.Size([1, 4, 3])
    """
    if tuple(maps.shape[1:]) != in_shape:
        raise ValueError(
            f"`maps` must have shape (B, {', '.join(map(str, in_shape))}); "
            f"got {tuple(maps.shape)}."
        )
    maps = maps if projection is None else projection(maps)
    return maps.flatten(2).transpose(1, 2)


def in_blocks(
    read: Callable[..., Tensor],
    parts: tuple[Tensor, ...],
    size: int,
    *,
    is_trained: bool,
) -> Tensor:
    """Compute queries block by block: all at once would be large.

    Parameters
    ----------
    read : callable
        Takes a block of each part, and returns (B, n_queries, ...).
    parts : tuple of Tensor, each of shape (n_queries, ...)
        What belongs to each query.
    size : int
        Queries at once.
    is_trained : bool
        Whether a backward pass may come, in which blocks are computed again.

    Returns
    -------
    Tensor, shape (B, n_queries, ...)
        As from all at once.
    """
    if len(parts[0]) <= size:
        return read(*parts)
    again = is_trained and torch.is_grad_enabled()
    blocks = [
        checkpoint(read, *block, use_reentrant=False) if again else read(*block)
        for block in zip(*(torch.split(part, size) for part in parts), strict=True)
    ]
    return torch.cat(blocks, dim=1)


class _FeedForward(nn.Module):
    """Two linear maps with a rectifier between; the names are those of torch."""

    def __init__(self, width: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.dropout = nn.Dropout(dropout)

    def _feed(self, tokens: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(self.linear1(tokens)))
        return cast(Tensor, self.dropout(self.linear2(hidden)))


class MapEncoderLayer(_FeedForward):
    """Self-attention among the patches of a map.

    Parameters
    ----------
    width, n_heads, feedforward : int
        Width of tokens, heads, width between the linear maps.
    dropout : float
        Share that is dropped in training.
    norm_first : bool
        Whether tokens are normalised before each part, or after.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        feedforward: int,
        dropout: float,
        norm_first: bool,
    ) -> None:
        super().__init__(width, feedforward, dropout)
        self.self_attn = Attention(width, n_heads, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_first = norm_first

    def _parts(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values."""
        source = self.norm1(tokens) if self.norm_first else tokens
        query, keys = self.self_attn.project(source + positions, 0, 2)
        (values,) = self.self_attn.project(source, 2)
        return query, keys, values

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Mix tokens.

        Parameters
        ----------
        tokens : Tensor, shape (B, n_places, width)
            Patches.
        positions : Tensor, shape (n_places, width)
            Their codes, which queries and keys see.

        Returns
        -------
        Tensor, shape (B, n_places, width)
            Patches.
        """
        attended = self.self_attn.attend(*self._parts(tokens, positions))
        tokens = tokens + self.dropout(attended)
        if self.norm_first:
            return tokens + self._feed(self.norm2(tokens))
        tokens = self.norm1(tokens)
        return cast(Tensor, self.norm2(tokens + self._feed(tokens)))

    def weights(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return attention averaged over heads.

        Parameters
        ----------
        tokens, positions : Tensor
            As `forward`.

        Returns
        -------
        Tensor, shape (B, n_places, n_places)
            Rows sum to 1.
        """
        query, keys, _ = self._parts(tokens, positions)
        return self.self_attn.weights(query, keys)


class QueryDecoderLayer(_FeedForward):
    """Attention of queries to the patches of a map.

    Parameters
    ----------
    width, n_heads, feedforward : int
        Width of tokens, heads, width between the linear maps.
    dropout : float
        Share that is dropped in training.
    norm_first : bool
        Whether tokens are normalised before each part, or after.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        feedforward: int,
        dropout: float,
        norm_first: bool,
    ) -> None:
        super().__init__(width, feedforward, dropout)
        self.multihead_attn = Attention(width, n_heads, dropout)
        self.norm1, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)
        # With the norm first the published layer never uses its second norm.
        self.norm2 = None if norm_first else nn.LayerNorm(width)
        self.norm_first = norm_first

    def memory(self, patches: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of patches.

        Parameters
        ----------
        patches : Tensor, shape (B, n_places, width)
            Map.
        positions : Tensor, shape (n_places, width)
            Codes of places, which keys see and values do not.

        Returns
        -------
        keys, values : Tensor, shape (B, n_heads, n_places, head_width)
            The same for all queries.
        """
        (keys,) = self.multihead_attn.project(patches + positions, 1)
        (values,) = self.multihead_attn.project(patches, 2)
        return keys, values

    def _ask(self, tokens: Tensor, queries: Tensor, n_images: int) -> Tensor:
        """Return what queries look for.

        Tokens of the first layer are the same for all pictures, with a batch of 1.
        """
        source = self.norm1(tokens) if self.norm_first else tokens
        (asked,) = self.multihead_attn.project(source + queries, 0)
        return asked.expand(n_images, -1, -1, -1)

    def forward(
        self, tokens: Tensor, queries: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Let queries look at the map once.

        Parameters
        ----------
        tokens : Tensor, shape (B or 1, n_queries, width)
            What they know.
        queries : Tensor, shape (n_queries, width)
            What they are.
        keys, values : Tensor
            From `memory`.

        Returns
        -------
        Tensor, shape (B, n_queries, width)
            What they know then.
        """
        if not self.norm_first:
            tokens = self.norm1(tokens)
        asked = self._ask(tokens, queries, len(keys))
        tokens = tokens + self.dropout(self.multihead_attn.attend(asked, keys, values))
        if self.norm2 is None:
            return tokens + self._feed(self.norm3(tokens))
        tokens = self.norm2(tokens)
        return cast(Tensor, self.norm3(tokens + self._feed(tokens)))

    def weights(self, tokens: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """Return attention averaged over heads.

        Parameters
        ----------
        tokens, queries, keys : Tensor
            As `forward`.

        Returns
        -------
        Tensor, shape (B, n_queries, n_places)
            Rows sum to 1.
        """
        if not self.norm_first:
            tokens = self.norm1(tokens)
        asked = self._ask(tokens, queries, len(keys))
        return self.multihead_attn.weights(asked, keys)


class TokenReadout(nn.Module):
    """Read every unit from the tokens of its queries.

    ``y_v = w_v . (sum of the tokens of v) + m_v b_v`` with m_v tokens. Tokens are
    summed once for all units with the same queries, so that neither a prediction of
    every query for every unit nor a mask is ever held.

    Parameters
    ----------
    queries : UnitQueries
        Which queries drive which units.
    width : int
        Width of tokens.

    Attributes
    ----------
    weight : Parameter, shape (n_units, width)
        Units with the same queries side by side; see `order`.
    bias : Parameter, shape (n_units,)
        Constants b.
    order : Tensor of int64, shape (n_units,)
        The unit of each row of `weight`.
    """

    order: Tensor
    inverse: Tensor
    sets: Tensor
    n_tokens: Tensor

    def __init__(self, queries: UnitQueries, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(queries.n_units, width))
        self.bias = nn.Parameter(torch.empty(queries.n_units))
        self.one_each = queries.mask is None
        if self.one_each:
            order = np.arange(queries.n_units)
            sets, self.sizes = np.zeros((0, 0), np.bool_), []
        else:
            sets, pattern = queries.patterns()
            order = np.argsort(pattern, kind="stable")
            self.sizes = np.bincount(pattern).tolist()
        self.register_buffer("order", torch.from_numpy(order), persistent=False)
        inverse = torch.from_numpy(np.argsort(order, kind="stable"))
        self.register_buffer("inverse", inverse, persistent=False)
        self.register_buffer(
            "sets", torch.from_numpy(sets.astype(np.float32)), persistent=False
        )
        n_tokens = torch.from_numpy(queries.per_unit[order].astype(np.float32))
        self.register_buffer("n_tokens", n_tokens, persistent=False)
        self.is_sorted = bool((order == np.arange(len(order))).all())

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict responses.

        Parameters
        ----------
        tokens : Tensor, shape (B, n_queries, width)
            What each query found.

        Returns
        -------
        Tensor, shape (B, n_units)
            In the order of units.
        """
        if self.one_each:
            return (tokens * self.weight).sum(dim=-1) + self.bias
        summed = torch.einsum("pq,bqd->pbd", self.sets.to(tokens.dtype), tokens)
        parts = [
            F.linear(one, weight)
            for one, weight in zip(
                summed.unbind(0), torch.split(self.weight, self.sizes), strict=True
            )
        ]
        out = torch.cat(parts, dim=1) + self.n_tokens * self.bias
        return out if self.is_sorted else out[:, self.inverse]

    def load_units(self, weight: Tensor, bias: Tensor) -> None:
        """Take weights in the order of units.

        Parameters
        ----------
        weight : Tensor, shape (n_units, width)
            Weights.
        bias : Tensor, shape (n_units,)
            Constants.
        """
        with torch.no_grad():
            self.weight.copy_(weight[self.order])
            self.bias.copy_(bias[self.order])
