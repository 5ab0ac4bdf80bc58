"""Transformer layers with a cache of keys and values, and the pointer over objects.

Names of parameters and arithmetic are those of ``torch.nn.TransformerEncoderLayer`` and
``TransformerDecoderLayer`` with the norm last; only the cache is added.

References
----------
Vaswani et al. (2017). Attention is all you need. NeurIPS.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.adapters.attention import Attention

# Tokens by which a full cache grows.
_BLOCK = 16


@dataclass
class KeyCache:
    """Keys and values of the tokens that a decoder layer has seen.

    Parameters
    ----------
    keys, values : Tensor, shape (n_sequences, n_heads, n_places, head_width)
        Room for tokens, which grows; those from `length` on mean nothing.
    length : int
        Tokens seen.
    """

    keys: Tensor
    values: Tensor
    length: int = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add tokens and return all so far.

        Parameters
        ----------
        keys, values : Tensor, shape (n_sequences, n_heads, n_tokens, head_width)
            What is added.

        Returns
        -------
        keys, values : Tensor
            Views of all tokens so far.
        """
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            more = (0, 0, 0, end - self.length + _BLOCK)
            self.keys, self.values = F.pad(self.keys, more), F.pad(self.values, more)
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def keep(self, rows: Tensor) -> "KeyCache":
        """Return the cache of some sequences.

        Parameters
        ----------
        rows : Tensor of int64, shape (n_kept,)
            Which.

        Returns
        -------
        KeyCache
            A copy.
        """
        keys, values = (
            self.keys.index_select(0, rows),
            self.values.index_select(0, rows),
        )
        return KeyCache(keys, values, self.length)


class EncoderLayer(nn.Module):
    """Self-attention and two linear maps, each added to its input and normalised.

    Parameters
    ----------
    width, n_heads, feedforward : int
        Width of tokens, heads, width between the linear maps.
    dropout : float
        Share that is dropped in training.
    """

    def __init__(
        self, width: int, n_heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, n_heads, dropout)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        tokens : Tensor, shape (n_sequences, n_tokens, width)
            Tokens.
        mask : Tensor of bool, optional
            True where a token may be seen; shape (n_sequences, 1, 1, n_tokens).

        Returns
        -------
        Tensor
            The same shape.
        """
        query, keys, values = self.self_attn.project(tokens, 0, 3)
        seen = self.self_attn.attend(query, keys, values, mask)
        tokens = self.norm1(tokens + self.dropout(seen))
        hidden = self.dropout(F.relu(self.linear1(tokens)))
        return cast(Tensor, self.norm2(tokens + self.dropout(self.linear2(hidden))))


class DecoderLayer(nn.Module):
    """As `EncoderLayer`, causal, with attention to objects in between.

    Parameters
    ----------
    width, n_heads, feedforward : int
        As in `EncoderLayer`.
    dropout : float
        Share that is dropped in training.
    """

    def __init__(
        self, width: int, n_heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, n_heads, dropout)
        self.multihead_attn = Attention(width, n_heads, dropout)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        objects: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KeyCache | None = None,
        looks: list[Tensor] | None = None,
    ) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        tokens : Tensor, shape (n_sequences, n_tokens, width)
            All tokens of sequences; with a cache the next token of each of
            (n_displays, n_samples) sequences.
        objects : pair of Tensor, shape (n_sequences, n_heads, n_objects, head_width)
            Keys and values of the objects, from ``multihead_attn.project``; with a
            cache those of n_displays.
        mask : Tensor of bool, optional
            True where an object is there; shape (n_sequences, 1, 1, n_objects).
        cache : KeyCache, optional
            Earlier tokens of n_displays * n_samples sequences; extended.
        looks : list, optional
            The attention of tokens to objects is appended to it.

        Returns
        -------
        Tensor
            The shape of `tokens`.
        """
        if cache is None:
            query, keys, values = self.self_attn.project(tokens, 0, 3)
            seen = self.self_attn.attend(query, keys, values, causal=True)
        else:
            single = tokens.flatten(0, 1)[:, None]
            query, keys, values = self.self_attn.project(single, 0, 3)
            seen = self.self_attn.attend(query, *cache.extend(keys, values))
            seen = seen.view(tokens.shape)
        tokens = self.norm1(tokens + self.dropout(seen))
        (query,) = self.multihead_attn.project(tokens, 0)
        seen = self.multihead_attn.attend(query, *objects, mask)
        if looks is not None:
            looks.append(self.multihead_attn.weights(query, objects[0], mask))
        tokens = self.norm2(tokens + self.dropout(seen))
        hidden = self.dropout(F.relu(self.linear1(tokens)))
        return cast(Tensor, self.norm3(tokens + self.dropout(self.linear2(hidden))))


class ObjectAttention(nn.Module):
    """Scores of objects as the next to be fixated: a pointer with a few heads.

    Parameters
    ----------
    width : int
        Width of tokens.
    n_heads : int
        Heads, each with maps of its own.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.objects = nn.ModuleList(nn.Linear(width, width) for _ in range(n_heads))
        self.tokens = nn.ModuleList(nn.Linear(width, width) for _ in range(n_heads))
        self.readout = nn.Linear(n_heads, 1)

    def project(self, objects: Tensor) -> tuple[Tensor, Tensor]:
        """Return what tokens are compared with.

        A head maps token and object and takes their product, and the readout is
        linear in the products: so all maps are applied to the objects beforehand.

        Parameters
        ----------
        objects : Tensor, shape (n_displays, n_objects, width)
            Encoded objects, the target token last.

        Returns
        -------
        slopes : Tensor, shape (n_displays, n_objects, width)
            The products of a token and these,
        offsets : Tensor, shape (n_displays, n_objects)
            plus these, are the logits.
        """
        shares = self.readout.weight[0] / objects.shape[-1] ** 0.5
        slopes: list[Tensor] = []
        offsets: list[Tensor] = []
        for share, of_objects, of_tokens in zip(
            shares, self.objects, self.tokens, strict=True
        ):
            mapped = share * of_objects(objects)
            slopes.append(mapped @ of_tokens.weight)
            offsets.append(mapped @ of_tokens.bias)
        return sum(slopes[1:], slopes[0]), sum(offsets, self.readout.bias)

    def forward(
        self, tokens: Tensor, pointed: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        """Score objects, the end, and padding.

        Parameters
        ----------
        tokens : Tensor, shape (n_sequences, n_tokens, width)
            Decoded tokens.
        pointed : pair of Tensor
            From `project`, of each sequence.
        mask : Tensor of bool, shape (n_sequences, n_objects), optional
            True where an object is there.

        Returns
        -------
        Tensor, shape (n_sequences, n_tokens, n_objects + 1)
            Logits; the last is that of padding, the bias of the readout.
        """
        slopes, offsets = pointed
        logits = torch.baddbmm(offsets[:, None], tokens, slopes.transpose(1, 2))
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None], -torch.inf)
        padding = self.readout.bias.expand(*logits.shape[:2], 1)
        return torch.cat([logits, padding.to(logits.dtype)], dim=-1)


def sinusoids(first: int, n_places: int, width: int) -> Tensor:
    """Return codes of the order of tokens: sines and cosines of falling frequency.

    Parameters
    ----------
    first : int
        Place of the first, from 0.
    n_places : int
        How many.
    width : int
        Width, even.

    Returns
    -------
    Tensor of float32, shape (n_places, width)
        Sines in even columns, cosines in odd ones (Vaswani et al., 2017).

    Examples
    --------
    >>> sinusoids(0, 1, 4)
    tensor([[0., 1., 0., 1.]])
    """
    place = torch.arange(first, first + n_places, dtype=torch.float64)[:, None]
    rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    waves = torch.stack([(place * rate).sin(), (place * rate).cos()], dim=-1)
    return waves.flatten(1).float()


@dataclass(frozen=True)
class EncodedDisplays:
    """What the decoder needs of displays.

    Parameters
    ----------
    fixated : Tensor, shape (n_displays, n_objects + 1, width)
        Inputs of the decoder.
    keys : list of pair of Tensor
        Keys and values of each decoder layer.
    pointed : pair of Tensor
        What the pointer compares tokens with.
    mask : Tensor of bool or None, shape (n_displays, n_objects + 1)
        True where an object is there.
    """

    fixated: Tensor
    keys: list[tuple[Tensor, Tensor]]
    pointed: tuple[Tensor, Tensor]
    mask: Tensor | None

    def take(self, rows: Tensor) -> "EncodedDisplays":
        """Return some displays, in any order and number.

        Parameters
        ----------
        rows : Tensor of int64, shape (n,)
            Which.

        Returns
        -------
        EncodedDisplays
            Copies.
        """
        return EncodedDisplays(
            self.fixated[rows],
            [(keys[rows], values[rows]) for keys, values in self.keys],
            (self.pointed[0][rows], self.pointed[1][rows]),
            None if self.mask is None else self.mask[rows],
        )
