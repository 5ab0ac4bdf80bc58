"""Feature spaces of banded ridge regression and the weights they are tried with."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurovis.core.checks import check_whole, suggest
from neurovis.fitting.ridge_features import (
    Features,
    gram_matrix,
    prepare_features,
)
from neurovis.fitting.ridge_inputs import feature_parts

CONCENTRATIONS = (0.1, 1.0)
"""Of the Dirichlet distributions that gammas are drawn from: sparse, and uniform."""


def draw_gammas(n_iter: int, n_spaces: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw weights of feature spaces from the simplex.

    Rows are in turn from a distribution that prefers few spaces (concentration 0.1)
    and from the uniform one (1); the first row has equal weights instead.

    Parameters
    ----------
    n_iter : int
        Number of rows, >= 1.
    n_spaces : int
        Number of feature spaces, >= 1.
    seed : int, default 0
        Seed, from 0 to 2**32 - 1.

    Returns
    -------
    ndarray of float64, shape (n_iter, n_spaces)
        Rows that sum to 1.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or out of range.

    Notes
    -----
    Numbers come from ``numpy.random.RandomState(seed)``, in the order in which himalaya
    draws them, so that published searches can be repeated: first ``ceil(n_iter / 2)``
    rows with concentration 0.1, then as many with 1, which are interleaved.

    References
    ----------
    Dupré la Tour, Eickenberg, Nunez-Elizalde and Gallant (2022). NeuroImage 264,
    119728. doi:10.1016/j.neuroimage.2022.119728

    Examples
    --------
    >>> draw_gammas(3, 2).round(3).tolist()
    [[0.5, 0.5], [0.873, 0.127], [0.42, 0.58]]
    """
    check_whole("n_iter", n_iter, low=1)
    check_whole("n_spaces", n_spaces, low=1)
    check_whole("seed", seed, low=0, high=2**32 - 1)
    draw = np.random.RandomState(seed)
    n_each = -(-n_iter // len(CONCENTRATIONS))
    rows = [draw.dirichlet([c] * n_spaces, n_each) for c in CONCENTRATIONS]
    gammas = np.stack(rows, axis=1).reshape(-1, n_spaces)[:n_iter]
    gammas[0] = 1 / n_spaces
    return gammas


def check_gammas(gammas: ArrayLike, n_spaces: int) -> NDArray[np.float64]:
    """Return given weights of feature spaces.

    Parameters
    ----------
    gammas : array-like of float, shape (n_iter, n_spaces)
        Weights, finite and >= 0, some above 0 in each row.
    n_spaces : int
        Number of feature spaces.

    Returns
    -------
    ndarray of float64, shape (n_iter, n_spaces)
        A copy.

    Raises
    ------
    ValueError
        If the shape differs, or a row is not as above.

    Examples
    --------
    >>> check_gammas([[1, 0], [0.5, 0.5]], 2).shape
    (2, 2)
    """
    values = np.array(gammas, np.float64)
    if values.ndim != 2 or values.shape[1] != n_spaces or not len(values):
        raise ValueError(
            f"`gammas` must have shape (n_iter, {n_spaces}), one column per feature "
            f"space; got {values.shape}."
        )
    bad = ~(np.isfinite(values) & (values >= 0)).all(1) | ~(values > 0).any(1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            "`gammas` must be finite, 0 or more, and above 0 for some space; row "
            f"{row} is {values[row].tolist()}."
        )
    return values


@dataclass(frozen=True)
class SpaceParts:
    """Feature spaces as they were given.

    Parameters
    ----------
    names : tuple of str
        Names; "0", "1", ... for a list.
    is_named : bool
        Whether they came as a mapping.
    parts : tuple of tuple of array-like
        Arrays of each space that stand side by side.
    """

    names: tuple[str, ...]
    is_named: bool
    parts: tuple[tuple[Any, ...], ...]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.parts[0][0].shape[0])

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of features of each space."""
        return tuple(sum(int(p.shape[1]) for p in parts) for parts in self.parts)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say in errors which feature space they are about.

    Parameters
    ----------
    name : str
        Name of the space.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    TypeError, ValueError
        As raised inside, with the name.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"Feature space {name!r}: {error}") from error


def check_spaces(spaces: Any) -> SpaceParts:
    """Return feature spaces with their names.

    Parameters
    ----------
    spaces : sequence or mapping of array-like, each of shape (n_samples, n_features)
        Features by space; a space may be a list of arrays side by side.

    Returns
    -------
    SpaceParts
        Nothing is copied.

    Raises
    ------
    TypeError, ValueError
        If there is no list of spaces, a space has no rows and columns of numbers, or
        the rows differ.

    Examples
    --------
    >>> x = np.ones((3, 2))
    >>> check_spaces({"edges": x, "objects": [x, x]}).widths
    (2, 4)
    """
    is_named = isinstance(spaces, Mapping)
    if not (is_named or isinstance(spaces, list | tuple)):
        raise TypeError(
            "`Xs` must be a list of feature spaces, or a mapping from names to them, "
            "each an array of shape (n_samples, n_features); got "
            f"{type(spaces).__name__}. For one space use [X]."
        )
    if not spaces:
        raise ValueError("`Xs` has no feature spaces: give at least one.")
    named = spaces if is_named else {str(i): x for i, x in enumerate(spaces)}
    if not all(isinstance(name, str) for name in named):
        raise TypeError(f"Names of feature spaces must be text; got {list(named)}.")
    found = {}
    for name, features in named.items():
        with naming(name):
            found[name] = feature_parts(features)
    n_rows = {name: int(parts[0].shape[0]) for name, parts in found.items()}
    if len(set(n_rows.values())) > 1:
        raise ValueError(
            f"The feature spaces of `Xs` must have one number of samples; got {n_rows}."
        )
    return SpaceParts(tuple(found), is_named, tuple(found.values()))


def match_spaces(spaces: Any, fitted: SpaceParts) -> SpaceParts:
    """Return new rows of the feature spaces of a fit, in its order.

    Parameters
    ----------
    spaces : sequence or mapping of array-like, each of shape (n_new, n_features)
        Features by space, with names if the fit had names.
    fitted : SpaceParts
        Spaces of the fit.

    Returns
    -------
    SpaceParts
        Spaces in the order of the fit.

    Raises
    ------
    TypeError, ValueError
        If names or numbers of features differ.

    Examples
    --------
    >>> a, b = np.ones((3, 1)), np.ones((3, 2))
    >>> fitted = check_spaces({"a": a, "b": b})
    >>> match_spaces({"b": b, "a": a}, fitted).names
    ('a', 'b')
    """
    found = check_spaces(spaces)
    if found.is_named != fitted.is_named:
        kinds = ("a list", f"a mapping with the names {list(fitted.names)}")
        raise TypeError(
            f"`Xs` must be {kinds[fitted.is_named]}, as it was for `fit`; got "
            f"{'a mapping' if found.is_named else 'a list'}."
        )
    if set(found.names) != set(fitted.names):
        raise ValueError(_difference(found, fitted))
    parts = dict(zip(found.names, found.parts, strict=True))
    found = replace(
        found, names=fitted.names, parts=tuple(parts[n] for n in fitted.names)
    )
    triples = zip(fitted.names, fitted.widths, found.widths, strict=True)
    for name, width, new in triples:
        if width != new:
            raise ValueError(
                f"Feature space {name!r} has {new} features, but had {width} in `fit`."
            )
    return found


def _difference(found: SpaceParts, fitted: SpaceParts) -> str:
    if not fitted.is_named:
        return (
            f"`Xs` has {len(found.names)} feature spaces, but had "
            f"{len(fitted.names)} in `fit`."
        )
    other = [name for name in found.names if name not in fitted.names]
    hint = suggest(other[0], fitted.names) if other else ""
    return (
        f"`Xs` has the feature spaces {list(found.names)}, but `fit` had "
        f"{list(fitted.names)}.{hint}"
    )


def prepare_spaces(
    spaces: SpaceParts, device: torch.device, *, centre: bool, standardize: bool | float
) -> tuple[Features, ...]:
    """Compute means and standard deviations of the features of each space.

    Parameters
    ----------
    spaces : SpaceParts
        Training rows.
    device : torch.device
        Where blocks go.
    centre : bool
        Subtract means.
    standardize : bool or float
        As `neurovis.fitting.ridge_features.prepare_features`.

    Returns
    -------
    tuple of Features
        One per space; nothing is copied.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    ready = []
    for name, parts in zip(spaces.names, spaces.parts, strict=True):
        with naming(name):
            ready.append(
                prepare_features(parts, device, centre=centre, standardize=standardize)
            )
    return tuple(ready)


def space_grams(
    features: tuple[Features, ...], names: tuple[str, ...], dtype: torch.dtype
) -> list[Tensor]:
    """Compute the Gram matrix of each space.

    Parameters
    ----------
    features : tuple of Features
        Training rows.
    names : tuple of str
        Names of the spaces, for messages.
    dtype : torch.dtype
        Dtype of products and sums.

    Returns
    -------
    list of Tensor, each of shape (n_samples, n_samples)
        ``X X'`` of each space.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    grams = []
    for name, space in zip(names, features, strict=True):
        with naming(name):
            grams.append(gram_matrix(space, dtype))
    return grams


def weighted_gram(grams: list[Tensor], gamma: Tensor) -> Tensor:
    """Sum Gram matrices with weights.

    Parameters
    ----------
    grams : list of Tensor, each of shape (n_samples, n_samples)
        One per space.
    gamma : Tensor of float64, shape (n_spaces,)
        Weights.

    Returns
    -------
    Tensor, shape (n_samples, n_samples)
        New matrix.

    Examples
    --------
    >>> gamma = torch.tensor([2.0, 0.0])
    >>> weighted_gram([torch.eye(1), torch.eye(1)], gamma).item()
    2.0
    """
    total = torch.zeros_like(grams[0])
    for gram, weight in zip(grams, gamma.tolist(), strict=True):
        if weight:
            total.add_(gram, alpha=weight)
    return total


def join_spaces(features: tuple[Features, ...], gamma: Tensor) -> Features:
    """Put spaces side by side, each multiplied by the root of its weight.

    Parameters
    ----------
    features : tuple of Features
        Training rows of each space.
    gamma : Tensor of float64, shape (n_spaces,)
        Weights; 0 makes all features of a space 0.

    Returns
    -------
    Features
        Nothing is copied.

    Examples
    --------
    >>> cpu = torch.device("cpu")
    >>> spaces = [Features((np.ones((1, 1)),), None, None, cpu) for _ in range(2)]
    >>> joint = join_spaces(tuple(spaces), torch.tensor([4.0, 0.0]))
    >>> torch.cat([block for _, block in joint.blocks(torch.float64)], 1).tolist()
    [[2.0, 0.0]]
    """
    centres, scales = [], []
    for space, weight in zip(features, gamma.tolist(), strict=True):
        none = torch.zeros(space.n_features, dtype=torch.float64, device=space.device)
        centres.append(none if space.centre is None else space.centre)
        scale = none + 1 if space.scale is None else space.scale
        scales.append(scale / np.sqrt(weight) if weight else none + torch.inf)
    parts = tuple(part for space in features for part in space.parts)
    centre, scale = torch.cat(centres), torch.cat(scales)
    return Features(parts, centre, scale, features[0].device)
