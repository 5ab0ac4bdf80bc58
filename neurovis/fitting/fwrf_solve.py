"""Held-out errors and weights of ridge regressions on the features of one pool."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neurovis.fitting.ridge_linalg import product
from neurovis.fitting.ridge_scores import squared_norms

BIASES = ("penalized", "free", "none")
"""What a constant is: a feature like others, outside of the penalty, or absent."""

# Below this share of the largest eigenvalue, float32 loses three digits or more.
_SINGLE_SHARE = 1e-4
_SCALE_FLOOR = 1e-6


def standardize(pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bring features to mean 0 and deviation 1 over rows, in float64.

    Parameters
    ----------
    pooled : Tensor, shape (n_rows, n_features)
        Features.

    Returns
    -------
    Tensor, shape (n_rows, n_features)
        Features less their mean, divided by scale; of the dtype of `pooled`.
    Tensor of float64, shape (n_features,)
        Mean.
    Tensor of float64, shape (n_features,)
        Scale: the population standard deviation + 1e-6, as published.

    Examples
    --------
    >>> values, mean, _ = standardize(torch.tensor([[1.0], [3.0]]))
    >>> values.round(decimals=4).tolist(), mean.item()
    ([[-1.0], [1.0]], 2.0)
    """
    mean = pooled.mean(0, dtype=torch.float64)
    centred = pooled.double() - mean
    scale = centred.square().mean(0).sqrt_().add_(_SCALE_FLOOR)
    return centred.div_(scale).to(pooled.dtype), mean, scale


@dataclass(frozen=True)
class Design:
    """Features of one pool with a column of ones where there is a constant.

    Parameters
    ----------
    X : Tensor, shape (n_rows, n_columns)
        Features; the last column is 1 unless `bias` is "none".
    bias : {"penalized", "free", "none"}
        What the constant is.
    """

    X: Tensor
    bias: str

    def is_dual(self, n_rows: int) -> bool:
        """Tell whether so many training rows are fewer than columns.

        Parameters
        ----------
        n_rows : int
            Training rows.

        Returns
        -------
        bool
            True when the system of the rows is the smaller one.
        """
        return n_rows < self.X.shape[1]


def make_design(features: Tensor, bias: str) -> Design:
    """Append the constant.

    Parameters
    ----------
    features : Tensor, shape (n_rows, n_features)
        Features as the solver sees them.
    bias : {"penalized", "free", "none"}
        What the constant is.

    Returns
    -------
    Design
        For `HeldOut` and `ridge_weights`.

    Examples
    --------
    >>> make_design(torch.zeros(1, 2), "free").X.tolist()
    [[0.0, 0.0, 1.0]]
    """
    if bias == "none":
        return Design(features, bias)
    return Design(torch.cat([features, torch.ones_like(features[:, :1])], 1), bias)


def _penalized_gram(X: Tensor, alphas: Tensor, bias: str) -> tuple[Tensor, Tensor]:
    """Return ``X'X`` and the diagonal that alpha multiplies, in a safe precision."""
    gram = _gram(X, alphas)
    penalty = gram.new_ones(len(gram))
    if bias == "free":
        penalty[-1] = 0
    return gram, penalty


def _gram(X: Tensor, alphas: Tensor) -> Tensor:
    """Multiply ``X'X``, in float64 if the least alpha needs that."""
    gram = product(X.T, X.T)
    # The Frobenius norm is at least the largest eigenvalue.
    large = float(torch.linalg.vector_norm(gram))
    if X.dtype == torch.float64 or float(alphas.min()) >= _SINGLE_SHARE * large:
        return gram
    wide = X.double()
    return wide.T @ wide


def _cholesky(gram: Tensor, diagonal: Tensor) -> Tensor:
    """Factor ``gram + diag(diagonal)``, in float64 where float32 is too coarse."""
    for dtype in (gram.dtype, torch.float64):
        shifted = gram.to(dtype, copy=True)
        shifted.diagonal().add_(diagonal)
        factor, info = torch.linalg.cholesky_ex(shifted)
        if int(info) == 0:
            return factor
    raise ValueError(
        "A matrix X'X + alpha I is not positive definite within the precision of the "
        "computation. Use larger alphas, or dtype='float64'."
    )


def _solve(gram: Tensor, diagonal: Tensor, right: Tensor) -> Tensor:
    """Solve ``(gram + diag(diagonal)) z = right`` in the precision of the factor."""
    factor = _cholesky(gram, diagonal)
    return torch.cholesky_solve(right.to(factor.dtype), factor)


def _free_constant(inverse: Tensor, cross: Tensor) -> Tensor:
    """Return the smoother of new rows with a constant outside of the penalty.

    `inverse` is ``M = (K + alpha I)^-1``, `cross` the kernel of new rows.
    """
    weight = inverse.sum(0)
    smoother = cross @ inverse
    rest = 1 - smoother.sum(1)
    return smoother + rest[:, None] * (weight / weight.sum())[None]


class HeldOut:
    """Held-out squared errors of targets, for every alpha and one pool.

    Targets enter through few products with them: what depends on alpha is folded into
    small matrices first.

    Parameters
    ----------
    design : Design
        All rows, sorted so that each fold is one block from the first row on.
    folds : sequence of slice
        Held-out rows of each fold.
    alphas : Tensor of float64, shape (n_alphas,)
        Penalties, > 0.
    """

    def __init__(self, design: Design, folds: Sequence[slice], alphas: Tensor) -> None:
        self.design, self.folds, self.alphas = design, folds, alphas
        n_held = max(fold.stop - fold.start for fold in folds)
        self.is_dual = design.is_dual(len(design.X) - n_held)
        self._parts = [self._part(fold) for fold in folds]

    def _part(self, fold: slice) -> tuple[Tensor, Tensor | None]:
        """Return operators (n_alphas, q, m) and the basis (h, q) of a fold."""
        X, bias = self.design.X, self.design.bias
        train, held = _without(X, fold), X[fold]
        if self.is_dual:
            return self._smoothers(train, held), None
        basis = None
        if len(held) > X.shape[1]:
            # Predictions lie in the span of the held-out rows: compare them there.
            basis, held = torch.linalg.qr(held)
        gram, penalty = _penalized_gram(train, self.alphas, bias)
        maps = [_solve(gram, alpha * penalty, held.T).T for alpha in self.alphas]
        return torch.stack([m.to(X.dtype) for m in maps]), basis

    def _smoothers(self, train: Tensor, held: Tensor) -> Tensor:
        """Return what maps training targets to held-out predictions."""
        bias, dtype = self.design.bias, train.dtype
        if bias == "free":
            train, held = train[:, :-1], held[:, :-1]
        kernel = _gram(train.T, self.alphas)
        cross = product(held, train).to(kernel.dtype)
        out = []
        for alpha in self.alphas:
            diagonal = alpha.to(kernel).expand(len(kernel))
            if bias == "free":
                unit = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
                inverse = _solve(kernel, diagonal, unit)
                smoother = _free_constant(inverse, cross.to(inverse.dtype))
            else:
                smoother = _solve(kernel, diagonal, cross.T).T
            out.append(smoother.to(dtype))
        return torch.stack(out)

    def losses(self, targets: Tensor) -> Tensor:
        """Sum squared errors over all held-out rows.

        Parameters
        ----------
        targets : Tensor, shape (n_targets, n_rows)
            Rows sorted as those of the design.

        Returns
        -------
        Tensor of float64, shape (n_alphas, n_targets)
            Sums of squares; the prediction of each row is that of a model that was
            fitted without its fold.
        """
        total = targets.new_zeros(len(self.alphas), len(targets), dtype=torch.float64)
        pairs = zip(self.folds, self._parts, self._inputs(targets), strict=True)
        for fold, (operators, basis), inputs in pairs:
            held = targets[:, fold]
            rest = torch.zeros_like(total[0])
            if basis is not None:
                whole = squared_norms(held)
                held = product(held, basis.T)
                rest = (whole - squared_norms(held)).clamp_(min=0)
            for row, operator in zip(total, operators, strict=True):
                error = product(inputs, operator).sub_(held)
                row += rest + squared_norms(error)
        return total

    def _inputs(self, targets: Tensor) -> Iterator[Tensor]:
        """Yield what the operators of each fold multiply, (n_targets, m)."""
        X = self.design.X
        if self.is_dual:
            for fold in self.folds:
                yield _without(targets, fold, 1)
        elif len(self.folds) == 1:
            yield product(targets[:, self.folds[0].stop :], X[self.folds[0].stop :].T)
        else:
            whole = product(targets, X.T)
            for fold in self.folds:
                yield whole - product(targets[:, fold], X[fold].T)


def _without(values: Tensor, fold: slice, axis: int = 0) -> Tensor:
    """Return all rows (or columns) but those of a fold."""
    before = values.narrow(axis, 0, fold.start)
    after = values.narrow(axis, fold.stop, values.shape[axis] - fold.stop)
    return torch.cat([before, after], axis) if fold.start else after


def ridge_weights(design: Design, targets: Tensor, alphas: Tensor) -> Tensor:
    """Fit all rows of a design, each target with its own alpha.

    Parameters
    ----------
    design : Design
        Training rows.
    targets : Tensor, shape (n_targets, n_rows)
        Their responses.
    alphas : Tensor of float64, shape (n_targets,)
        Penalty of each, > 0.

    Returns
    -------
    Tensor, shape (n_targets, n_columns)
        Weights of the columns of the design.

    Examples
    --------
    >>> design = make_design(torch.tensor([[1.0], [-1.0]]), "free")
    >>> two = torch.full((1,), 2.0, dtype=torch.float64)
    >>> weights = ridge_weights(design, torch.tensor([[5.0, 1.0]]), two)
    >>> [round(weight, 3) for weight in weights[0].tolist()]
    [1.0, 3.0]
    """
    X, bias = design.X, design.bias
    if design.is_dual(len(X)):
        return _dual_weights(design, targets, alphas)
    gram, penalty = _penalized_gram(X, alphas, bias)
    inputs = product(targets, X.T)
    out = inputs.new_empty(len(targets), X.shape[1])
    for alpha in torch.unique(alphas):
        at = alphas == alpha
        out[at] = _solve(gram, alpha * penalty, inputs[at].T).T.to(out.dtype)
    return out


def _dual_weights(design: Design, targets: Tensor, alphas: Tensor) -> Tensor:
    X, bias = design.X, design.bias
    seen = X[:, :-1] if bias == "free" else X
    kernel = _gram(seen.T, alphas)
    one = kernel.new_ones(len(X), 1)
    out = targets.new_empty(len(targets), X.shape[1])
    for alpha in torch.unique(alphas):
        at = alphas == alpha
        right = targets[at].T.to(kernel.dtype)
        diagonal = alpha.to(kernel).expand(len(X))
        dual = _solve(kernel, diagonal, torch.cat([right, one], 1))
        dual, ones = dual[:, :-1], dual[:, -1:]
        if bias != "free":
            out[at] = (dual.T @ X.to(dual.dtype)).to(out.dtype)
            continue
        constant = dual.sum(0) / ones.sum()
        dual = dual - ones * constant
        weights = dual.T @ seen.to(dual.dtype)
        out[at] = torch.cat([weights, constant[:, None]], 1).to(out.dtype)
    return out
