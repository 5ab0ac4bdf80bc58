"""Efficient probing: queries that look at tokens, and a linear classifier after them.

References
----------
Psomas et al. (2025). Attention, please! Revisiting attentive probing through the lens
of efficiency. ICLR. arXiv:2506.10178. Forward pass as in the public code
billpsomas/efficient-probing (``poolings/ep.py``). Fitting is in
`neurovis.fitting.efficient_probe_fit`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurovis.core.checks import check_array, check_between, check_whole

FloatArray = NDArray[np.float64]

N_QUERIES = 32
"""Queries of the published head."""


@dataclass(frozen=True)
class EfficientProbeSettings:
    """How a head is built and fitted.

    Parameters
    ----------
    n_queries : int, default 32
        M; must divide the channels after the value projection.
    reduction : int, default 1
        The value projection has C / `reduction` channels ("d_out").
    n_epochs : int, default 60
        Passes over the training pictures.
    batch_size : int, default 64
        Pictures per step.
    learning_rate : float, default 0.001
        Of AdamW; falls to 0 along half a cosine.
    weight_decay : float, default 0.01
        Of AdamW, for all weights but the bias of the classifier.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    n_queries: int = N_QUERIES
    reduction: int = 1
    n_epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("n_queries", "reduction", "n_epochs", "batch_size"):
            check_whole(name, getattr(self, name), low=1)
        check_between("learning_rate", self.learning_rate, low=1e-12)
        check_between("weight_decay", self.weight_decay, low=0)


def efficient_attention(tokens: ArrayLike, queries: ArrayLike) -> FloatArray:
    """Compute where each query looks, ``softmax_n(q x_n / sqrt(C))``.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens.
    queries : array_like of float, shape (n_queries, n_channels)
        Queries; there is no projection of keys.

    Returns
    -------
    ndarray of float64, shape (n_pictures, n_queries, n_tokens)
        Weights that sum to 1 over tokens.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is not finite.

    Examples
    --------
    >>> efficient_attention(np.zeros((1, 4, 2)), np.ones((1, 2))).tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """
    x, q = _check_queries(tokens, queries)
    return np.asarray(attend(torch.from_numpy(x), torch.from_numpy(q)).numpy())


def efficient_pool(
    tokens: ArrayLike, queries: ArrayLike, values: ArrayLike
) -> FloatArray:
    """Pool tokens by the attention of queries, each for its own group of channels.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens.
    queries : array_like of float, shape (n_queries, n_channels)
        Queries.
    values : array_like of float, shape (n_values, n_channels)
        Projection, rows are outputs: ``v = V x``. `n_values` is a multiple of
        `n_queries`; group m of equal size is pooled by the attention of query m.

    Returns
    -------
    ndarray of float64, shape (n_pictures, n_values)
        Groups side by side.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is not finite.

    Examples
    --------
    >>> tokens = [[[1.0, 5.0], [3.0, 7.0]]]
    >>> efficient_pool(tokens, np.zeros((2, 2)), np.eye(2)).tolist()
    [[2.0, 6.0]]
    """
    x, q = _check_queries(tokens, queries)
    v = check_array(
        "values",
        np.ascontiguousarray(values, np.float64),
        shape=(None, x.shape[-1]),
        finite=True,
    )
    check_groups(len(v), len(q))
    pooled = pool_tokens(*(torch.from_numpy(one) for one in (x, q, v)))
    return np.asarray(pooled.numpy())


def map_similarity(attention: ArrayLike) -> FloatArray:
    """Compute how alike the maps of different queries are.

    Parameters
    ----------
    attention : array_like of float, shape (n_pictures, n_queries, n_tokens)
        Of `efficient_attention`.

    Returns
    -------
    ndarray of float64, shape (n_pictures,)
        Mean cosine over pairs of queries: 1 where all look at the same places, near 0
        where they share none. NaN with one query.

    Raises
    ------
    ValueError
        If the shape is another.

    Examples
    --------
    >>> map_similarity([[[1.0, 0.0], [0.0, 1.0]]]).tolist()
    [0.0]
    """
    maps = check_array(
        "attention", np.asarray(attention, np.float64), shape=(None, None, None)
    )
    n = maps.shape[1]
    if n < 2:
        return np.full(len(maps), np.nan)
    unit = maps / np.linalg.norm(maps, axis=-1, keepdims=True)
    # The square of the sum holds every pair twice, and each map with itself.
    whole = (unit.sum(axis=1) ** 2).sum(axis=-1)
    return np.asarray((whole - n) / (n * (n - 1)))


# ----------------------------------------------------------------- the probe


@dataclass(frozen=True, eq=False)
class EfficientProbe:
    """A fitted head and its classifier.

    Parameters
    ----------
    classes : tuple
        Labels, sorted.
    queries : ndarray of float64, shape (n_queries, n_channels)
        Queries, for standardised tokens.
    values : ndarray of float64, shape (n_values, n_channels)
        Value projection.
    weights : ndarray of float64, shape (n_classes, n_values)
        Classifier.
    bias : ndarray of float64, shape (n_classes,)
        Of the classifier.
    centre, scale : ndarray of float64, shape (n_channels,)
        Mean and standard deviation of channels over all training tokens.
    curves : DataFrame
        One row per epoch: `epoch` (from 0) and `loss` (nats).
    settings : EfficientProbeSettings
        How it was fitted.
    """

    classes: tuple[Any, ...]
    queries: FloatArray
    values: FloatArray
    weights: FloatArray
    bias: FloatArray
    centre: FloatArray
    scale: FloatArray
    curves: pd.DataFrame
    settings: EfficientProbeSettings

    def attention(self, tokens: ArrayLike) -> FloatArray:
        """Return where the queries look.

        Parameters
        ----------
        tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
            Tokens.

        Returns
        -------
        ndarray of float64, shape (n_pictures, n_queries, n_tokens)
            As `efficient_attention`.
        """
        return efficient_attention(self._standard(tokens), self.queries)

    def logits(self, tokens: ArrayLike) -> FloatArray:
        """Return the logits of the classes.

        Parameters
        ----------
        tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
            Tokens.

        Returns
        -------
        ndarray of float64, shape (n_pictures, n_classes)
            The larger, the more likely.
        """
        pooled = efficient_pool(self._standard(tokens), self.queries, self.values)
        return np.asarray(pooled @ self.weights.T + self.bias)

    def predict(self, tokens: ArrayLike) -> NDArray[Any]:
        """Return the likeliest class of every picture.

        Parameters
        ----------
        tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
            Tokens.

        Returns
        -------
        ndarray of object, shape (n_pictures,)
            Labels; of equally likely ones the first.
        """
        labels = np.empty(len(self.classes), object)
        labels[:] = self.classes
        return np.asarray(labels[self.logits(tokens).argmax(axis=1)])

    def _standard(self, tokens: ArrayLike) -> FloatArray:
        shape = (None, None, len(self.centre))
        x = check_array("tokens", np.asarray(tokens, np.float64), shape=shape)
        return np.asarray((x - self.centre) / self.scale)


# ---------------------------------------------------------------------- parts


def attend(tokens: Tensor, queries: Tensor) -> Tensor:
    """Compute `efficient_attention` of tensors, with gradients.

    Parameters
    ----------
    tokens : Tensor, shape (n_pictures, n_tokens, n_channels)
        Tokens.
    queries : Tensor, shape (n_queries, n_channels)
        Queries.

    Returns
    -------
    Tensor, shape (n_pictures, n_queries, n_tokens)
        Weights.
    """
    return (queries / math.sqrt(queries.shape[-1]) @ tokens.mT).softmax(dim=-1)


def pool_tokens(tokens: Tensor, queries: Tensor, values: Tensor) -> Tensor:
    """Compute `efficient_pool` of tensors, with gradients.

    Parameters
    ----------
    tokens : Tensor, shape (n_pictures, n_tokens, n_channels)
        Tokens.
    queries : Tensor, shape (n_queries, n_channels)
        Queries.
    values : Tensor, shape (n_values, n_channels)
        Projection.

    Returns
    -------
    Tensor, shape (n_pictures, n_values)
        Groups side by side.
    """
    # Pooling comes first: the projection is linear, and this is cheaper.
    attended = attend(tokens, queries) @ tokens
    groups = values.reshape(len(queries), -1, values.shape[-1])
    return torch.einsum("bmc,mdc->bmd", attended, groups).flatten(1)


def check_groups(n_values: int, n_queries: int) -> None:
    """Refuse a number of queries that does not divide the channels.

    Parameters
    ----------
    n_values : int
        Channels of the value projection.
    n_queries : int
        Queries.

    Raises
    ------
    ValueError
        If a rest is left.
    """
    if n_values % n_queries:
        raise ValueError(
            f"{n_queries} queries must divide the {n_values} channels of the value "
            "projection: give another number of queries."
        )


def _check_queries(
    tokens: ArrayLike, queries: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    x = check_array(
        "tokens",
        np.ascontiguousarray(tokens, np.float64),
        shape=(None, None, None),
        finite=True,
    )
    q = check_array(
        "queries",
        np.ascontiguousarray(queries, np.float64),
        shape=(None, x.shape[-1]),
        finite=True,
    )
    if not q.size or not x.shape[1]:
        raise ValueError("`queries` and `tokens` must not be empty.")
    return x, q
