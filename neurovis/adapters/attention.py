"""Attention with several heads, whose parts can be used one by one.

Names of parameters and arithmetic are those of ``torch.nn.MultiheadAttention``.

References
----------
Vaswani et al. (2017). Attention is all you need. NeurIPS.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Attention with several heads.

    Parameters
    ----------
    width : int
        Width of tokens.
    n_heads : int
        Heads; must divide `width`.
    dropout : float
        Share of attention weights that is dropped in training.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def _heads(self, tokens: Tensor) -> Tensor:
        n_sequences, n_tokens, width = tokens.shape
        shape = n_sequences, n_tokens, self.n_heads, width // self.n_heads
        return tokens.view(shape).transpose(1, 2)

    def project(self, tokens: Tensor, part: int, n_parts: int = 1) -> list[Tensor]:
        """Return queries (part 0), keys (1), values (2) of tokens.

        Parameters
        ----------
        tokens : Tensor, shape (n_sequences, n_tokens, width)
            Tokens.
        part, n_parts : int
            The first, and how many.

        Returns
        -------
        list of Tensor, shape (n_sequences, n_heads, n_tokens, head_width)
            One per part.
        """
        width = tokens.shape[-1]
        rows = slice(part * width, (part + n_parts) * width)
        weight, bias = self.in_proj_weight[rows], self.in_proj_bias[rows]
        projected = F.linear(tokens, weight, bias)
        return [self._heads(each) for each in projected.chunk(n_parts, dim=-1)]

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Mix values by the similarity of query and keys.

        Parameters
        ----------
        query, keys, values : Tensor, shape (n_sequences, n_heads, n, head_width)
            From `project`.
        mask : Tensor of bool, optional
            True where attention is allowed; must broadcast.
        causal : bool, default False
            Let token i see tokens 0..i only.

        Returns
        -------
        Tensor, shape (n_sequences, n_tokens, width)
            The mixture, projected.
        """
        mixed = F.scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return cast(Tensor, self.out_proj(mixed.transpose(1, 2).flatten(2)))

    def weights(
        self, query: Tensor, keys: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Return how much each query attends to each key, averaged over heads.

        Parameters
        ----------
        query, keys : Tensor
            As in `attend`.
        mask : Tensor of bool, optional
            As in `attend`.

        Returns
        -------
        Tensor, shape (n_sequences, n_queries, n_keys)
            Rows sum to 1.
        """
        scores = query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        shares: Tensor = scores.softmax(dim=-1)
        return shares.mean(dim=1)
