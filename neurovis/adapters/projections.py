"""Fewer numbers than a huge layer has: sparse random projection, principal components.

A random projection knows nothing of pictures. Principal components are fitted: give
them the pictures that a model is trained on, and no others, or what is tested has been
seen. See `neurovis.adapters.features.fit_principal_components`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from scipy import sparse

from neurovis.core.array_files import write_arrays
from neurovis.core.checks import (
    check_array,
    check_between,
    check_option,
    check_path,
    check_whole,
)
from neurovis.core.files import DECODER_ERRORS, canonical_json, corrupt
from neurovis.core.rng import generator
from neurovis.core.tensors import hash_state_dict

_ENTRY = "projection"
_SPARSE_ARRAYS = ("signs", "columns", "starts")
_COMPONENT_ARRAYS = ("mean", "components", "variances")


class Projection(Protocol):
    """A linear map from many features to few."""

    @property
    def n_features(self) -> int:
        """Features that come in."""

    @property
    def n_components(self) -> int:
        """Features that go out."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that it depends on."""

    @property
    def source(self) -> Mapping[str, str]:
        """Hashes of network and layer that it was fitted to; empty when to none."""

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project features.

        Parameters
        ----------
        rows : ndarray of float32, shape (n, n_features)
            Features, one row per picture.

        Returns
        -------
        ndarray of float32, shape (n, n_components)
            One row per picture; it depends on that picture only.
        """


@dataclass(frozen=True, eq=False)
class SparseProjection:
    """A random matrix, mostly zeros, that nearly keeps distances.

    Parameters
    ----------
    signs : ndarray of int8, shape (n_nonzero,)
        +1 or -1.
    columns : ndarray of int32, shape (n_nonzero,)
        Feature that each sign stands at, in order within a component.
    starts : ndarray of int64, shape (n_components + 1,)
        Where each component begins.
    n_features : int
        Features that come in.
    density : float
        Expected share of features with a sign, in each component.
    """

    signs: NDArray[np.int8]
    columns: NDArray[np.int32]
    starts: NDArray[np.int64]
    n_features: int
    density: float

    @property
    def n_components(self) -> int:
        """Features that go out."""
        return len(self.starts) - 1

    @property
    def source(self) -> dict[str, str]:
        """Empty: it is fitted to nothing."""
        return {}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that it depends on."""
        arrays = _hash({name: getattr(self, name) for name in _SPARSE_ARRAYS})
        return {"projection": "sparse", "arrays": arrays, "density": self.density}

    @cached_property
    def _matrix(self) -> sparse.csr_array:
        scale = 1 / np.sqrt(self.density * self.n_components)
        values = (self.signs * scale).astype(np.float32)
        shape = (self.n_components, self.n_features)
        return sparse.csr_array((values, self.columns, self.starts), shape=shape)

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project features.

        Parameters
        ----------
        rows : ndarray of float32, shape (n, n_features)
            Features, one row per picture.

        Returns
        -------
        ndarray of float32, shape (n, n_components)
            One row per picture; squared lengths are kept in expectation.

        Raises
        ------
        TypeError, ValueError
            If shape or dtype differ.
        """
        shape = (None, self.n_features)
        rows = check_array("rows", rows, shape=shape, dtype=np.float32)
        return np.ascontiguousarray((self._matrix @ np.ascontiguousarray(rows.T)).T)


def sparse_projection(
    n_features: int, n_components: int, *, density: float | None = None, seed: int = 0
) -> SparseProjection:
    """Draw a sparse random projection.

    Each entry is 0, or with probability `density` plus or minus 1, scaled (Li, Hastie &
    Church 2006, KDD, 287-296, doi:10.1145/1150402.1150436).

    Parameters
    ----------
    n_features : int
        Features that come in.
    n_components : int
        Features that go out, fewer than `n_features`. Distances are kept within
        a share e with high probability from about ``8 ln(n_images) / e**2`` on.
    density : float, optional
        Share of entries that are not 0, within (0, 1]; by default one over the root
        of `n_features`.
    seed : int, default 0
        Seed.

    Returns
    -------
    SparseProjection
        The same for the same arguments.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> projection = sparse_projection(10_000, 100)
    >>> rows = np.ones((2, 10_000), np.float32)
    >>> projection.transform(rows).shape
    (2, 100)
    """
    check_whole("n_features", n_features, low=2)
    check_whole("n_components", n_components, low=1, high=n_features - 1)
    if density is None:
        density = 1 / float(np.sqrt(n_features))
    check_between("density", density, low=1e-9, high=1)
    draw = generator(seed, "sparse projection", n_features, n_components)
    counts = draw.binomial(n_features, density, size=n_components)
    columns = [
        np.sort(draw.choice(n_features, size=count, replace=False, shuffle=False))
        for count in counts
    ]
    return SparseProjection(
        draw.choice(np.array([-1, 1], np.int8), size=int(counts.sum())),
        np.concatenate(columns).astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        n_features,
        density,
    )


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Directions of largest variance of features.

    Parameters
    ----------
    mean : ndarray of float32, shape (n_features,)
        Mean over the pictures that it was fitted to.
    components : ndarray of float32, shape (n_components, n_features)
        Directions of unit length; the largest entry of each is positive.
    variances : ndarray of float64, shape (n_components,)
        Variance along each, with n_images - 1, descending.
    total_variance : float
        Sum of the variances of all features.
    n_images : int
        Pictures that it was fitted to.
    source : mapping of str to str, optional
        Hashes of network, layer and pictures that it was fitted to.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variances: NDArray[np.float64]
    total_variance: float
    n_images: int
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """Features that come in."""
        return int(self.components.shape[1])

    @property
    def n_components(self) -> int:
        """Features that go out."""
        return int(self.components.shape[0])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that it depends on."""
        arrays = _hash({name: getattr(self, name) for name in _COMPONENT_ARRAYS})
        return {"projection": "principal components", "arrays": arrays}

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project features.

        Parameters
        ----------
        rows : ndarray of float32, shape (n, n_features)
            Features, one row per picture.

        Returns
        -------
        ndarray of float32, shape (n, n_components)
            One row per picture.

        Raises
        ------
        TypeError, ValueError
            If shape or dtype differ.
        """
        shape = (None, self.n_features)
        rows = check_array("rows", rows, shape=shape, dtype=np.float32)
        away: NDArray[np.float32] = rows - self.mean
        return away @ self.components.T


# ----------------------------------------------------------------------- files


def save_projection(path: str | Path, projection: Projection) -> None:
    """Write a projection, atomically.

    Parameters
    ----------
    path : str or Path
        ``.safetensors`` file to write or replace.
    projection : SparseProjection or PrincipalComponents
        What to keep.

    Raises
    ------
    TypeError, ValueError
        If it is another kind of projection, or the suffix is another one.
    """
    check_option("suffix of the file", Path(path).suffix, (".safetensors",))
    settings: dict[str, Any]
    if isinstance(projection, SparseProjection):
        names = _SPARSE_ARRAYS
        settings = {"kind": "sparse", "density": projection.density}
        settings["n_features"] = projection.n_features
    elif isinstance(projection, PrincipalComponents):
        names = _COMPONENT_ARRAYS
        settings = {"kind": "principal components", "n_images": projection.n_images}
        settings["total_variance"] = projection.total_variance
        settings["source"] = projection.source
    else:
        raise TypeError(
            "`projection` must be a SparseProjection or PrincipalComponents; got "
            f"{type(projection).__name__}."
        )
    arrays = {name: np.ascontiguousarray(getattr(projection, name)) for name in names}
    # Safetensors has no checksum of its own, and keeps one entry of text in order.
    settings["sha256"] = _hash(arrays)
    write_arrays(path, arrays, {_ENTRY: canonical_json(settings)})


def load_projection(path: str | Path) -> SparseProjection | PrincipalComponents:
    """Read what `save_projection` wrote.

    Parameters
    ----------
    path : str or Path
        ``.safetensors`` file.

    Returns
    -------
    SparseProjection or PrincipalComponents
        With equal arrays.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is cut, changed, or no projection.
    """
    path = check_path("path", path)
    try:
        with safetensors.safe_open(path, "np") as file:
            settings = json.loads((file.metadata() or {})[_ENTRY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if settings.pop("sha256") != _hash(arrays):
            raise ValueError("the checksum differs")
        sparse_kind = settings.pop("kind") == "sparse"
        if sparse_kind:
            return SparseProjection(**arrays, **settings)
        return PrincipalComponents(**arrays, **settings)
    except (safetensors.SafetensorError, *DECODER_ERRORS) as error:
        raise corrupt(path, "projection", error) from error


def _hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    return hash_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
