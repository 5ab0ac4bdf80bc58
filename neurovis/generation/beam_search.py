"""Beam search: the likeliest texts under a model that foretells the next token.

Texts are ranked by the mean log-probability of their tokens, as published for captions
from prefixes. All items are searched at once; only texts that can still grow are shown
to the model, so that an item whose texts have all ended costs nothing more.

References
----------
Mokady, Hertz and Bermano (2021). ClipCap: CLIP prefix for image captioning.
arXiv:2111.09734.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_whole


class TokenModel(Protocol):
    """What foretells tokens, and keeps what it has read in rows of a cache."""

    def start(self) -> Tensor:
        """Return how likely each token is to be the first; forget what was read.

        Returns
        -------
        Tensor of float, shape (n, n_tokens)
            Log-probabilities, one row per item; -inf for what cannot be.
        """
        ...

    def advance(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Read one token more in some of the rows, and drop the other rows.

        Parameters
        ----------
        rows : Tensor of int64, shape (n_rows,), on the CPU
            Rows of the last answer that go on, each any number of times: they are the
            rows of the next one.
        tokens : Tensor of int64, shape (n_rows,), on the CPU
            What each reads.

        Returns
        -------
        Tensor of float, shape (n_rows, n_tokens)
            Log-probabilities of the token that follows.
        """
        ...


@dataclass(frozen=True, eq=False)
class Continuations:
    """The best text of each item.

    Parameters
    ----------
    tokens : tuple of tuple of int
        Tokens, with the stop token where there is one.
    log_prob : ndarray of float64, shape (n,)
        Mean log-probability per token, natural logarithm.
    finished : ndarray of bool, shape (n,)
        Whether the stop token was reached.
    """

    tokens: tuple[tuple[int, ...], ...]
    log_prob: NDArray[np.float64]
    finished: NDArray[np.bool_]

    @property
    def n_tokens(self) -> NDArray[np.int64]:
        """Number of tokens of each."""
        return np.array([len(text) for text in self.tokens], np.int64)


def search_beams(
    model: TokenModel, *, stop_token: int, beam: int = 5, max_tokens: int = 67
) -> Continuations:
    """Search the text with the highest mean log-probability per token.

    Parameters
    ----------
    model : TokenModel
        Foretells tokens for one or more items.
    stop_token : int
        Ends a text, as its last token.
    beam : int, default 5
        Texts that are kept of each item; 1 takes the likeliest token at every step. It
        may be larger than the number of tokens.
    max_tokens : int, default 67
        Longest text.

    Returns
    -------
    Continuations
        One text per item.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or log-probabilities have another shape, are NaN,
        or leave no token that can follow.

    Notes
    -----
    At every step each text that has not ended is tried with every token, while one that
    has ended stays as it is and keeps its length; the `beam` best by the mean go on.
    The search of an item ends when all of them have ended. Of equal ones, that from the
    better beam comes first, then that with the lower token. Sums are float64.

    Examples
    --------
    >>> class Coin:  # heads (0) three times in four, tails (1) ends
    ...     def start(self):
    ...         return torch.tensor([[0.75, 0.25]]).log()
    ...
    ...     def advance(self, rows, tokens):
    ...         return self.start().expand(len(rows), 2)
    >>> found = search_beams(Coin(), stop_token=1, beam=2, max_tokens=3)
    >>> found.tokens, bool(found.finished[0])
    (((0, 0, 0),), False)
    """
    check_whole("beam", beam, low=1)
    check_whole("max_tokens", max_tokens, low=1)
    log_probs = model.start()
    n_items = len(log_probs)
    check_whole("stop_token", stop_token, low=0, high=log_probs.shape[-1] - 1)
    item = np.arange(n_items)[:, None]
    # One empty text each; beams at -inf do not exist.
    total = np.full((n_items, beam), -np.inf)
    total[:, 0] = 0
    length = np.zeros((n_items, beam), np.int64)
    ended = np.zeros((n_items, beam), bool)
    texts = np.empty((n_items, beam, 0), np.int64)
    n_rows = n_items  # of the model: one per text that grows, in order of item and beam
    for step in range(max_tokens):
        grows = np.isfinite(total) & ~ended
        value, token = _likeliest(log_probs, n_rows, beam)
        width = value.shape[1]
        sums = np.full((n_items, beam, width), -np.inf)
        sums[grows] = total[grows][:, None] + value
        sums[ended, 0] = total[ended]
        tokens = np.full((n_items, beam, width), stop_token)
        tokens[grows] = token
        length = length + grows
        mean = sums / np.maximum(length, 1)[..., None]
        # Stable: equal ones keep the order of beams and, within one, of tokens.
        order = np.argsort(-mean.reshape(n_items, -1), axis=1, kind="stable")[:, :beam]
        source, rank = np.divmod(order, width)
        row = np.full((n_items, beam), -1)
        row[grows] = np.arange(n_rows)
        row, length = row[item, source], length[item, source]
        total = sums[item, source, rank]
        added = tokens[item, source, rank]
        ended = (ended[item, source] | (added == stop_token)) & np.isfinite(total)
        texts = np.concatenate([texts[item, source], added[..., None]], axis=2)
        grows = np.isfinite(total) & ~ended
        n_rows = int(grows.sum())
        if n_rows == 0 or step == max_tokens - 1:
            break
        rows, last = torch.from_numpy(row[grows]), torch.from_numpy(added[grows])
        log_probs = model.advance(rows, last)
    return Continuations(
        tuple(
            tuple(text[:n].tolist())
            for text, n in zip(texts[:, 0], length[:, 0], strict=True)
        ),
        total[:, 0] / length[:, 0],
        ended[:, 0],
    )


def _likeliest(
    log_probs: Tensor, n_rows: int, most: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the likeliest tokens of each row, best first; ties by lowest token."""
    if log_probs.ndim != 2 or len(log_probs) != n_rows:
        raise ValueError(
            f"Log-probabilities must have shape ({n_rows}, n_tokens); the model gave "
            f"{tuple(log_probs.shape)}."
        )
    n_kept = min(most, log_probs.shape[1])
    value, token = log_probs.topk(n_kept, dim=1)
    if not torch.isfinite(value[:, 0]).all():  # NaN counts as largest
        raise ValueError(
            "The log-probabilities of the model are NaN, or leave no token that can "
            "follow: check its weights and what it was given."
        )
    # Of equal ones at the edge, topk takes any.
    tied = (log_probs >= value[:, -1:]).sum(1) > n_kept
    if tied.any():
        everything = log_probs[tied].sort(dim=1, descending=True, stable=True)
        value[tied] = everything.values[:, :n_kept]
        token[tied] = everything.indices[:, :n_kept]
    token, order = token.sort(dim=1)
    value, order = value.gather(1, order).sort(dim=1, descending=True, stable=True)
    token = token.gather(1, order)
    return value.cpu().double().numpy(), token.cpu().numpy()
