"""Queries as a spatial readout of responses: where a region looks, and at what.

That of a region is ``sum_n a_n (w x_n) + b`` with ``a = softmax(q x / sqrt(C))``,
the head of `neurovis.fitting.efficient_probe` with one query and one value.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.core.device import exact_float32, resolve
from neurovis.core.rng import generator
from neurovis.fitting.efficient_probe import attend, efficient_attention

FloatArray = NDArray[np.float64]

_START_SD = 0.02


@dataclass(frozen=True, eq=False)
class SpatialReadout:
    """A query and a vector of weights for every region.

    Parameters
    ----------
    queries, weights : ndarray of float64, shape (n_regions, n_channels)
        Where a region looks, and what it takes, for standardised tokens.
    bias : ndarray of float64, shape (n_regions,)
        Added.
    centre, scale : ndarray of float64, shape (n_channels,)
        Of the training tokens.
    """

    queries: FloatArray
    weights: FloatArray
    bias: FloatArray
    centre: FloatArray
    scale: FloatArray

    @property
    def n_parameters(self) -> int:
        """Fitted numbers of one region."""
        return 2 * self.queries.shape[1] + 1

    def attention(self, tokens: ArrayLike) -> FloatArray:
        """Return where the regions look.

        Parameters
        ----------
        tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
            Tokens.

        Returns
        -------
        ndarray of float64, shape (n_pictures, n_regions, n_tokens)
            Weights that sum to 1 over tokens.
        """
        return efficient_attention(self._standard(tokens), self.queries)

    def predict(self, tokens: ArrayLike) -> FloatArray:
        """Return the responses of the regions.

        Parameters
        ----------
        tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
            Tokens.

        Returns
        -------
        ndarray of float64, shape (n_pictures, n_regions)
            In the unit of the responses.
        """
        x = self._standard(tokens)
        pooled = efficient_attention(x, self.queries) @ x
        return np.asarray((pooled * self.weights).sum(axis=-1) + self.bias)

    def _standard(self, tokens: ArrayLike) -> FloatArray:
        shape = (None, None, len(self.centre))
        x = check_array("tokens", np.asarray(tokens, np.float64), shape=shape)
        return np.asarray((x - self.centre) / self.scale)


def fit_spatial_readout(
    tokens: ArrayLike,
    responses: ArrayLike,
    *,
    n_epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 0.02,
    weight_decay: float = 1e-3,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> SpatialReadout:
    """Fit queries and weights to responses by squared error.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens of training pictures; channels are standardised.
    responses : array_like of float, shape (n_pictures, n_regions)
        Responses; regions are fitted side by side and do not touch each other.
    n_epochs : int, default 100
        Passes over the pictures.
    batch_size : int, default 64
        Pictures per step.
    learning_rate : float, default 0.02
        Of AdamW; falls to 0 along half a cosine.
    weight_decay : float, default 0.001
        Of AdamW, for queries and weights. Choose it on training pictures.
    seed : int, default 0
        Seed of the start and of the batches.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    SpatialReadout
        After the last epoch, with ``2 C + 1`` numbers per region.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """
    x = check_array(
        "tokens", np.asarray(tokens, np.float64), shape=(None, None, None), finite=True
    )
    y = check_array(
        "responses",
        np.asarray(responses, np.float64),
        shape=(len(x), None),
        finite=True,
    )
    check_whole("n_epochs", n_epochs, low=1)
    check_whole("batch_size", batch_size, low=1)
    check_between("learning_rate", learning_rate, low=1e-12)
    check_between("weight_decay", weight_decay, low=0)
    if len(x) < 2 or not x.size:
        raise ValueError(f"`tokens` must hold two pictures or more; got {x.shape}.")
    place = resolve(device)
    flat = x.reshape(-1, x.shape[-1])
    centre, scale = flat.mean(axis=0), flat.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    mean, spread = y.mean(axis=0), y.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    rows = torch.from_numpy(((x - centre) / scale).astype(np.float32)).to(place)
    aims = torch.from_numpy(((y - mean) / spread).astype(np.float32)).to(place)
    rng = generator(seed, "spatial readout")
    shape = (y.shape[1], x.shape[-1])
    start = [rng.normal(0, _START_SD, shape) for _ in range(2)] + [np.zeros(shape[0])]
    parts = [
        torch.tensor(one.astype(np.float32), device=place, requires_grad=True)
        for one in start
    ]
    groups = [
        {"params": parts[:2], "weight_decay": weight_decay},
        {"params": parts[2:], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, learning_rate)
    with exact_float32():
        for epoch in range(n_epochs):
            for group in optimiser.param_groups:
                fallen = 0.5 * (1 + math.cos(math.pi * epoch / n_epochs))
                group["lr"] = learning_rate * fallen
            order = generator(seed, "readout batches", epoch).permutation(len(x))
            order_here = torch.from_numpy(order).to(place)
            for batch in torch.split(order_here, batch_size):
                optimiser.zero_grad()
                pooled = attend(rows[batch], parts[0]) @ rows[batch]
                found = (pooled * parts[1]).sum(-1) + parts[2]
                # Summed over regions, so that one does not slow the others.
                loss = ((found - aims[batch]) ** 2).mean(0).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    q, w, b = (one.detach().double().cpu().numpy() for one in parts)
    return SpatialReadout(q, w * spread[:, None], b * spread + mean, centre, scale)
