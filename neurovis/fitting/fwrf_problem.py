"""One search for receptive fields: maps, targets, options, and pooled features."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.fitting.fwrf_pools import pool_maps
from neurovis.fitting.fwrf_solve import Design, make_design, standardize
from neurovis.fitting.ridge_folds import FoldOrder

_VERSION = 1
_HASH_BYTES = 2**26


def log_tanh(pooled: Tensor) -> Tensor:
    """Compress features: ``log(1 + |x|) tanh(|x|)``.

    Parameters
    ----------
    pooled : Tensor
        Pooled features.

    Returns
    -------
    Tensor
        Of the same shape, >= 0.

    Examples
    --------
    >>> [round(value, 3) for value in log_tanh(torch.tensor([-1.0, 0.0])).tolist()]
    [0.528, 0.0]
    """
    size = pooled.abs()
    return size.log1p() * size.tanh()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"log-tanh": log_tanh}
"""What pooled features may go through, by name."""


@dataclass(frozen=True)
class PooledProblem:
    """Maps, targets and options of one search.

    Parameters
    ----------
    maps : tuple of array-like, each of shape (n_images, n_maps, H, H)
        Feature maps.
    targets : Tensor, shape (n_targets, n_images)
        Defined targets on the CPU, rows sorted by fold.
    order : FoldOrder
        How rows are sorted.
    candidates : ndarray, shape (n_candidates, 3)
        x, y, sigma.
    alphas : Tensor of float64, shape (n_alphas,)
        Penalties, in the order that decides ties.
    aperture : float
        Side of the maps in the unit of the candidates.
    bias : {"penalized", "free", "none"}
        What the constant is.
    activation : str, callable or None
        What pooled features go through.
    zscore, refit : bool
        Whether features are standardised, and weights fitted to all rows.
    dtype : torch.dtype
        Precision.
    device : torch.device
        Where.
    """

    maps: tuple[Any, ...]
    targets: Tensor
    order: FoldOrder
    candidates: NDArray[Any]
    alphas: Tensor
    aperture: float
    bias: str
    activation: Any
    zscore: bool
    refit: bool
    dtype: torch.dtype
    device: torch.device

    @property
    def n_features(self) -> int:
        """Number of maps."""
        return sum(int(part.shape[1]) for part in self.maps)

    def identity(self) -> dict[str, Any]:
        """Return all that a search depends on.

        Returns
        -------
        dict
            JSON values; arrays are told by their hashes.
        """
        arrays = [*self.maps, self.targets, self.candidates, self.alphas]
        return {
            "kind": "feature-weighted receptive fields",
            "version": _VERSION,
            "arrays": [fingerprint(array) for array in arrays],
            "order": fingerprint(self.order.order),
            "bounds": list(self.order.bounds),
            "aperture": self.aperture,
            "bias": self.bias,
            "activation": self.activation,
            "zscore": self.zscore,
            "dtype": str(self.dtype),
            "device": self.device.type,
        }

    def designs(
        self, numbers: NDArray[np.intp]
    ) -> Iterator[tuple[int, Design, Tensor, Tensor]]:
        """Pool maps for some candidates and yield what the solver sees.

        Parameters
        ----------
        numbers : ndarray of int
            Candidates.

        Yields
        ------
        int
            Candidate.
        Design
            Its features, rows sorted by fold.
        Tensor of float64, shape (n_features,)
            Mean that was subtracted.
        Tensor of float64, shape (n_features,)
            Scale that was divided by.
        """
        pooled = pooled_features(
            self.maps,
            self.candidates[numbers],
            self.aperture,
            self.activation,
            self.dtype,
            self.device,
        )
        order = torch.from_numpy(self.order.order).to(self.device)
        for number, features in zip(numbers.tolist(), pooled, strict=True):
            features = features if self.order.is_identity else features[order]
            mean = torch.zeros(self.n_features, dtype=torch.float64)
            scale = torch.ones_like(mean)
            if self.zscore:
                features, mean, scale = standardize(features)
            yield number, make_design(features, self.bias), mean.cpu(), scale.cpu()


def pooled_features(
    maps: tuple[Any, ...],
    candidates: NDArray[Any],
    aperture: float,
    activation: Any,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Pool maps and apply the activation.

    Parameters
    ----------
    maps : tuple of array-like, each of shape (n_images, n_maps, H, H)
        Feature maps.
    candidates : ndarray, shape (n_candidates, 3)
        x, y, sigma.
    aperture : float
        Side of the maps in the unit of the candidates.
    activation : str, callable or None
        What pooled features go through.
    dtype : torch.dtype
        Precision.
    device : torch.device
        Where.

    Returns
    -------
    Tensor, shape (n_candidates, n_images, n_features)
        Features.

    Raises
    ------
    ValueError
        If a map has values that are not finite, or the activation changes the shape or
        gives such values.
    """
    pooled = pool_maps(maps, candidates, aperture, dtype, device)
    if activation is None:
        return pooled
    function = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    out = function(pooled)
    good = isinstance(out, Tensor) and out.shape == pooled.shape
    if not good or not torch.isfinite(out.sum(dtype=torch.float64)):
        found = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else repr(out)
        raise ValueError(
            "`activation` must return a tensor of finite values in the shape of its "
            f"argument, {tuple(pooled.shape)}; got {found}"
            f"{' with NaN or infinite values' if good else ''}."
        )
    return out.to(dtype)


def fingerprint(values: Any) -> str:
    """Return the SHA-256 over dtype, shape and values, read in blocks of rows.

    Parameters
    ----------
    values : array-like or Tensor
        What has `shape` and `dtype` and can be sliced.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> fingerprint(np.zeros(2)) == fingerprint(np.zeros((2, 1)))
    False
    """
    shape = [int(n) for n in values.shape]
    sha = hashlib.sha256(f"{values.dtype} {shape}".encode())
    row_bytes = 8 * int(np.prod(shape[1:]))
    at_once = max(1, _HASH_BYTES // max(1, row_bytes))
    for start in range(0, shape[0], at_once):
        block = values[start : start + at_once]
        if isinstance(block, Tensor):
            block = block.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            block = block.numpy()
        sha.update(np.ascontiguousarray(block).data)
    return sha.hexdigest()
