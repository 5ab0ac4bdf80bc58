"""The loss of SPoSE, when a fit ends, and which of its dimensions stay.

The algorithm is that of Zheng et al. (2019, arXiv:1901.02915); the fit itself is in
`neurovis.fitting.spose`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import linregress
from torch import Tensor

from neurovis.core.checks import check_array, check_between, check_whole

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NEGATIVE_PENALTY = 0.01
"""Weight of the sum of what lies below 0 in the loss."""


@dataclass(frozen=True)
class SposeSettings:
    """How an embedding is fitted.

    Parameters
    ----------
    n_dimensions : int, default 90
        Dimensions at the start.
    penalty : float, default 0.008
        Weight of the sum of absolute numbers over the number of objects, >= 0; choose
        it by validation (`choose_penalty`).
    learning_rate : float, default 0.001
        Of Adam, > 0.
    batch_size : int, default 100
        Triplets per step.
    max_epochs : int, default 1000
        Most epochs.
    window : int, default 50
        Epochs over which the loss must fall: see `has_converged`.
    least_maximum : float, default 0.1
        Dimensions whose largest number is not above this are left out at the end.
    checkpoint_every : int, default 10
        Epochs from one checkpoint to the next; it does not change the result.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    n_dimensions: int = 90
    penalty: float = 0.008
    learning_rate: float = 0.001
    batch_size: int = 100
    max_epochs: int = 1000
    window: int = 50
    least_maximum: float = 0.1
    checkpoint_every: int = 10

    def __post_init__(self) -> None:
        for name in ("n_dimensions", "batch_size", "max_epochs", "checkpoint_every"):
            check_whole(name, getattr(self, name), low=1)
        check_whole("window", self.window, low=3)
        check_between("penalty", self.penalty, low=0)
        check_between("least_maximum", self.least_maximum, low=0)
        if check_between("learning_rate", self.learning_rate, low=0) == 0:
            raise ValueError("`learning_rate` must be above 0; got 0.")


def spose_loss(weights: Tensor, triplets: Tensor, penalty: float) -> Tensor:
    """Compute the loss of an embedding on a batch of choices.

    The mean of ``-log softmax(x_i x_j, x_i x_k, x_j x_k)`` at the first pair, plus
    ``0.01 sum(relu(-W)) + penalty / n_objects sum(abs(W))``.

    Parameters
    ----------
    weights : Tensor, shape (n_objects, n_dimensions)
        The embedding W.
    triplets : Tensor of int64, shape (n_batch, 3)
        Choices, the odd one third.
    penalty : float
        Weight of the absolute numbers.

    Returns
    -------
    Tensor
        A scalar.

    Examples
    --------
    >>> rows = torch.tensor([[0, 1, 2]])
    >>> round(spose_loss(torch.zeros(3, 2), rows, 0.01).item(), 4)
    1.0986
    """
    nll = -torch.log_softmax(pair_logits(weights, *pair_members(triplets))[0], dim=1)[
        :, 0
    ].mean()
    negative = NEGATIVE_PENALTY * torch.relu(-weights).sum()
    return nll + negative + penalty / len(weights) * weights.abs().sum()


def has_converged(losses: Sequence[float], window: int = 50) -> bool:
    """Tell whether the loss falls no longer.

    A straight line is fitted to the losses of the last epochs.

    Parameters
    ----------
    losses : sequence of float
        Loss of each epoch so far.
    window : int, default 50
        Epochs of the line.

    Returns
    -------
    bool
        True where the line rises or its slope has p > 0.1; False before `window`
        epochs.

    Examples
    --------
    >>> has_converged([1 / (1 + epoch) for epoch in range(50)])
    False
    >>> has_converged([0.5] * 50)
    True
    """
    if len(losses) < window:
        return False
    line = linregress(np.arange(window), np.asarray(losses[-window:]))
    # Of equal losses the p value is undefined.
    return not (line.slope < 0 and line.pvalue <= 0.1)


def order_dimensions(embedding: ArrayLike) -> IntArray:
    """Return the order of dimensions from the largest to the smallest L1 norm.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_dimensions)
        An embedding.

    Returns
    -------
    ndarray of int64, shape (n_dimensions,)
        Indices of dimensions; of equal ones the first comes first.

    Raises
    ------
    ValueError
        If the embedding is no matrix or not finite.

    Examples
    --------
    >>> order_dimensions([[1.0, -3.0], [0.5, 0.0]]).tolist()
    [1, 0]
    """
    x = check_array("embedding", embedding, shape=(None, None), finite=True)
    return np.argsort(-np.abs(x).sum(axis=0), kind="stable").astype(np.int64)


def prune_dimensions(embedding: ArrayLike, least_maximum: float = 0.1) -> FloatArray:
    """Sort the dimensions and leave out those without a large number.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_dimensions)
        An embedding.
    least_maximum : float, default 0.1
        A dimension stays if its largest number is above this.

    Returns
    -------
    ndarray of float64, shape (n_objects, n_kept)
        In the order of `order_dimensions`; there may be none.

    Raises
    ------
    TypeError, ValueError
        If the embedding is no matrix or not finite, or the limit no number.

    Examples
    --------
    >>> prune_dimensions([[0.1, 0.0, 0.5], [0.0, 1.0, 0.4]]).tolist()
    [[0.0, 0.5], [1.0, 0.4]]
    """
    check_between("least_maximum", least_maximum)
    x = np.asarray(embedding, np.float64)
    x = x[:, order_dimensions(x)]
    return np.asarray(x[:, x.max(axis=0) > least_maximum])


def pair_members(triplets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objects of the pairs (ij, ik, jk) of triplets.

    Parameters
    ----------
    triplets : Tensor of int64, shape (n_batch, 3)
        Indices of objects.

    Returns
    -------
    first, second : Tensor of int64, shape (n_batch, 3)
        The first and the second object of each pair.

    Examples
    --------
    >>> [rows.tolist() for rows in pair_members(torch.tensor([[4, 5, 6]]))]
    [[[4, 4, 5]], [[5, 6, 6]]]
    """
    i, j, k = triplets.unbind(1)
    return torch.stack([i, i, j], dim=1), torch.stack([j, k, k], dim=1)


def pair_logits(
    weights: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the inner products of pairs of objects.

    Parameters
    ----------
    weights : Tensor, shape (n_objects, n_dimensions)
        An embedding.
    first, second : Tensor of int64, shape (n_batch, 3)
        Of `pair_members`.

    Returns
    -------
    logits : Tensor, shape (n_batch, 3)
        For (ij, ik, jk).
    left, right : Tensor, shape (n_batch, 3, n_dimensions)
        Rows of the embedding.
    """
    left, right = weights[first], weights[second]
    return (left * right).sum(dim=2), left, right
