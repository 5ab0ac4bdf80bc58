"""The penalty that shrinks a solution to a fraction of its unpenalised length.

With ``X = U diag(s) V'`` ordinary least squares has the coefficients ``o = U'y / s`` in
the basis V, and ridge regression ``s**2 / (s**2 + alpha) o``, which are shorter.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurovis.fitting.ridge_linalg import product

logger = logging.getLogger(__name__)

METHODS = ("interpolated", "exact")

_SMALLEST = 1e-10
_LOW, _HIGH, _STEP = 0.01, 1e4, 0.2
_MOST_STEPS = 200
_TOLERANCE = 1e-13


def check_fracs(fracs: ArrayLike) -> NDArray[np.float64]:
    """Return fractions as a vector.

    Parameters
    ----------
    fracs : float or sequence of float
        Lengths relative to ordinary least squares, 0..1.

    Returns
    -------
    ndarray of float64, shape (n_fracs,)
        In the order given.

    Raises
    ------
    TypeError, ValueError
        If there is none, or one is no number or out of range.

    Examples
    --------
    >>> check_fracs(0.5)
    array([0.5])
    """
    try:
        values = np.atleast_1d(np.array(fracs, np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"`fracs` must be numbers, 0..1; got {fracs!r}.") from error
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"`fracs` must be one or more numbers; got shape {values.shape}."
        )
    bad = values[~((values >= 0) & (values <= 1))]
    if bad.size:
        raise ValueError(
            "`fracs` must be fractions of the length of the ordinary least squares "
            f"solution, 0..1; got {bad[0]}."
        )
    return values


@dataclass(frozen=True)
class Singular:
    """Singular value decomposition of features, without vanishing components.

    Parameters
    ----------
    left : Tensor, shape (r, n_samples)
        Left singular vectors in rows, in the dtype of the targets.
    values : Tensor of float64, shape (r,)
        Singular values, descending, > 0.
    right : Tensor, shape (n_features, r)
        Right singular vectors in columns.
    grid : Tensor of float64, shape (n_grid,)
        Penalties between which `penalties` interpolates, ascending from 0.
    """

    left: Tensor
    values: Tensor
    right: Tensor
    grid: Tensor


def decompose_features(features: Tensor, dtype: torch.dtype) -> Singular:
    """Decompose features in float64.

    Parameters
    ----------
    features : Tensor of float64, shape (n_samples, n_features)
        Centred with an intercept.
    dtype : torch.dtype
        Dtype of the products with targets.

    Returns
    -------
    Singular
        Without components whose singular value is below 1e-10 or within rounding of 0.

    Examples
    --------
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    >>> decompose_features(x, torch.float32).values.tolist()
    [2.0, 1.0]
    """
    left, values, right = torch.linalg.svd(features, full_matrices=False)
    rounding = max(features.shape) * torch.finfo(torch.float64).eps * float(values[0])
    good = values >= max(_SMALLEST, rounding)
    n_bad = int((~good).sum())
    if n_bad:
        logger.info("%d singular values of the features count as 0", n_bad)
    grid = _grid(values[good], is_complete=not n_bad).to(features.device)
    left, right = left.T[good].to(dtype), right[good].T.to(dtype).contiguous()
    return Singular(left.contiguous(), values[good], right, grid)


def _grid(values: Tensor, *, is_complete: bool) -> Tensor:
    """Return 0 and 5 penalties per decade around the squared singular values."""
    if not len(values):
        return torch.zeros(1, dtype=torch.float64)
    low = _LOW * float(values[-1]) ** 2
    if not is_complete:  # the published grid then begins at 0.01, whatever the scale
        low = min(low, _LOW)
    high = _HIGH * float(values[0]) ** 2
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)), _STEP)
    return torch.from_numpy(np.concatenate([[0.0], powers]))


def rotate_targets(features: Singular, targets: Tensor) -> Tensor:
    """Solve ordinary least squares in the basis of right singular vectors.

    Parameters
    ----------
    features : Singular
        Decomposed features.
    targets : Tensor, shape (n_targets, n_samples)
        Centred with an intercept.

    Returns
    -------
    Tensor, shape (n_targets, r)
        Coefficients of the solution of least length.

    Examples
    --------
    >>> x = 2 * torch.eye(1, dtype=torch.float64)
    >>> found = decompose_features(x, torch.float64)
    >>> rotate_targets(found, 3 * torch.ones(1, 1, dtype=torch.float64)).abs().item()
    1.5
    """
    return product(targets, features.left) / features.values.to(targets.dtype)


def kept(features: Singular, alphas: Tensor) -> Tensor:
    """Return the share of each coefficient that a penalty leaves.

    Parameters
    ----------
    features : Singular
        Decomposed features.
    alphas : Tensor of float64, shape (...,)
        Penalties, >= 0, maybe infinite.

    Returns
    -------
    Tensor of float64, shape (..., r)
        ``s**2 / (s**2 + alpha)``.

    Examples
    --------
    >>> x = decompose_features(torch.eye(1, dtype=torch.float64), torch.float64)
    >>> kept(x, torch.tensor([0.0, 1.0, torch.inf]).double())[:, 0].tolist()
    [1.0, 0.5, 0.0]
    """
    squares = features.values.square()
    return squares / (squares + alphas[..., None])


def penalties(
    features: Singular, solution: Tensor, fracs: Tensor, method: str
) -> Tensor:
    """Find the penalties that give fractions of the unpenalised length.

    Parameters
    ----------
    features : Singular
        Decomposed features.
    solution : Tensor, shape (n_targets, r)
        From `rotate_targets`.
    fracs : Tensor of float64, shape (n_fracs,)
        Fractions, 0..1.
    method : {"interpolated", "exact"}
        As `neurovis.fitting.fractional_ridge.fractional_ridge`.

    Returns
    -------
    Tensor of float64, shape (n_fracs, n_targets)
        Penalties; NaN where the solution is 0 or undefined.

    Examples
    --------
    >>> x = decompose_features(torch.eye(1, dtype=torch.float64), torch.float64)
    >>> half, one = torch.tensor([0.5]).double(), torch.ones(1, 1).double()
    >>> round(penalties(x, one, half, "exact").item(), 9)
    1.0
    """
    squares = solution.double().square()
    total = squares.sum(1)
    shares = squares / total[:, None]
    table = (kept(features, features.grid).square() @ shares.T).sqrt()
    table[0] = torch.where(total > 0, 1.0, torch.nan)
    if method == "interpolated":
        found = _interpolate(table, features.grid, fracs)
    else:
        found = torch.stack(
            [_solve(features, shares, table, frac) for frac in fracs.tolist()]
        )
    return found.masked_fill(~(total > 0), torch.nan)


def _interpolate(table: Tensor, grid: Tensor, fracs: Tensor) -> Tensor:
    """Interpolate ``log(1 + alpha)`` linearly in the length."""
    lengths = table.flip(0).T.contiguous()
    levels = grid.log1p().flip(0)
    wanted = fracs.expand(len(lengths), -1).contiguous()
    last = lengths.shape[1] - 1
    left = torch.searchsorted(lengths, wanted, right=True) - 1
    left = left.clamp(0, max(last - 1, 0))
    right = (left + 1).clamp(max=last)
    x_left, x_right = lengths.gather(1, left), lengths.gather(1, right)
    step = (wanted - x_left) / (x_right - x_left)
    found = levels[left] + step * (levels[right] - levels[left])
    found = torch.where(wanted <= lengths[:, :1], levels[0], found)
    found = torch.where(wanted >= lengths[:, -1:], levels[-1], found)
    return found.expm1().T


def _solve(features: Singular, shares: Tensor, table: Tensor, frac: float) -> Tensor:
    """Find penalties by Newton's method on 1 / length, which is nearly linear.

    As 1 / length is concave in alpha, the iterates ascend to the root from any alpha
    below it.
    """
    if frac in (0, 1):
        alpha = torch.inf if frac == 0 else 0.0
        return torch.full_like(shares[:, 0], alpha)
    below = (table >= frac).sum(0).clamp(min=1) - 1
    alphas = features.grid[below]
    squares = features.values.square()
    for _ in range(_MOST_STEPS):
        part = kept(features, alphas)
        weighted = part.square() * shares
        length = weighted.sum(1).sqrt()
        error = length / frac - 1
        if not (error.abs() > _TOLERANCE).any():
            break
        slope = (weighted * (part / squares)).sum(1) / length**3
        step = (1 / frac - 1 / length) / slope
        ahead = (alphas + step.clamp(min=0)).where(error > 0, alphas)
        if torch.equal(ahead.nan_to_num(), alphas.nan_to_num()):
            break
        alphas = ahead
    return alphas
