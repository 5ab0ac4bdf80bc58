"""Held-out errors of every fold from covariances, for fewer features than samples.

The covariance of the training rows of a fold is that of all rows less that of the
held-out ones; each is decomposed once, whatever the number of alphas and targets.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from neurovis.fitting.ridge_dual import Chosen, chunks
from neurovis.fitting.ridge_eigen import (
    SMALLEST_SINGLE_RATIO,
    Eigen,
    decompose,
    largest_rank,
    needs_double,
)
from neurovis.fitting.ridge_features import Features
from neurovis.fitting.ridge_linalg import product
from neurovis.fitting.ridge_scores import squared_norms

# Share of the sum of squares below which a difference loses too many digits.
_CANCELS = 0.1


@dataclass(frozen=True)
class TrainingPart:
    """What is left of the features when a fold is held out.

    Parameters
    ----------
    rows : slice
        Held-out rows.
    eigen : Eigen
        Decomposition of the covariance of the training rows.
    mean : Tensor, shape (n_features,)
        Mean of the training rows; 0 without an intercept.
    held_out : Tensor, shape (n_held_out, n_features)
        Held-out rows less that mean, in the basis of the eigenvectors.
    """

    rows: slice
    eigen: Eigen
    mean: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class PrimalFeatures:
    """Features in memory, with the decompositions of their covariances.

    Parameters
    ----------
    x : Tensor, shape (n_samples, n_features)
        Features, rows sorted by fold, centred with an intercept.
    eigen : Eigen
        Decomposition of ``X' X``.
    parts : tuple of TrainingPart, or None
        One per fold; None leaves out one row at a time.
    centred : bool
        Whether there is an intercept.
    """

    x: Tensor
    eigen: Eigen
    parts: tuple[TrainingPart, ...] | None
    centred: bool


def decompose_covariances(
    features: Features,
    least_alpha: float,
    dtype: torch.dtype,
    rows: Tensor,
    folds: list[slice] | None,
    *,
    centred: bool,
) -> PrimalFeatures:
    """Decompose ``X' X`` of all rows and of the training rows of each fold.

    Parameters
    ----------
    features : Features
        Training features.
    least_alpha : float
        Smallest alpha; where it is small, covariances are computed in float64, as
        `neurovis.fitting.ridge_eigen.decompose_gram` does.
    dtype : torch.dtype
        Dtype of the targets.
    rows : Tensor of int, shape (n_samples,)
        Order of the rows.
    folds : list of slice, or None
        Held-out rows of each fold; None leaves out one row at a time.
    centred : bool
        Whether there is an intercept.

    Returns
    -------
    PrimalFeatures
        Decompositions.

    Examples
    --------
    >>> import numpy as np
    >>> x = Features((np.array([[1.0], [2.0]]),), None, None, torch.device("cpu"))
    >>> order, folds = torch.arange(2), [slice(0, 1), slice(1, 2)]
    >>> found = decompose_covariances(
    ...     x, 1.0, torch.float64, order, folds, centred=False
    ... )
    >>> found.eigen.values.item(), found.parts[0].eigen.values.item()
    (5.0, 4.0)
    """
    x = torch.cat([block for _, block in features.blocks(dtype)], dim=1)[rows]
    covariance = x.T @ x
    if needs_double(covariance, least_alpha):
        exact = [block for _, block in features.blocks(torch.float64)]
        wide = torch.cat(exact, dim=1)[rows]
        covariance = wide.T @ wide
    else:
        wide = x
    parts = None
    if folds is not None:
        parts = tuple(
            _training_part(features, wide, covariance, fold, dtype, centred)
            for fold in folds
        )
    rank = largest_rank(features, len(x), centred=centred)
    return PrimalFeatures(x, decompose(covariance, dtype, rank=rank), parts, centred)


def _training_part(
    features: Features,
    x: Tensor,
    covariance: Tensor,
    fold: slice,
    dtype: torch.dtype,
    centred: bool,
) -> TrainingPart:
    held = x[fold]
    rest = covariance - held.T @ held
    mean = torch.zeros_like(x[0])
    n_train = len(x) - len(held)
    if centred:
        mean = torch.cat([x[: fold.start], x[fold.stop :]]).mean(0)
        rest -= n_train * mean[:, None] * mean
    rank = largest_rank(features, n_train, centred=centred)
    eigen = decompose(rest, x.dtype, rank=rank)
    held = ((held - mean) @ eigen.vectors).to(dtype)
    eigen = replace(eigen, vectors=eigen.vectors.to(dtype))
    return TrainingPart(fold, eigen, mean.to(dtype), held)


class PrimalTargets:
    """A batch of targets with their covariances with the features.

    Parameters
    ----------
    features : PrimalFeatures
        Decomposed features.
    y : Tensor, shape (n_targets, n_samples)
        Targets, rows of X sorted by fold, centred with an intercept.
    """

    gives_dual = False

    def __init__(self, features: PrimalFeatures, y: Tensor) -> None:
        self.features, self.y = features, y
        self.eigen, self.n_samples = features.eigen, y.shape[1]
        together = product(y, features.x.T)
        self.z = product(together, self.eigen.vectors.T)
        self.z_train: list[Tensor] = []
        self.means: list[Tensor] = []
        for part in features.parts or ():
            held = y[:, part.rows]
            rest = together - product(held, features.x[part.rows].T)
            mean = y.new_zeros(len(y), 1)
            if features.centred:
                n_train = self.n_samples - held.shape[1]
                train = torch.cat([y[:, : part.rows.start], y[:, part.rows.stop :]], 1)
                mean = train.mean(1, keepdim=True)
                rest -= n_train * mean * part.mean
            self.z_train.append(product(rest, part.eigen.vectors.T))
            self.means.append(mean)

    @property
    def held_out(self) -> list[slice]:
        """Rows that are scored together."""
        parts = self.features.parts
        return [slice(0, self.n_samples)] if parts is None else [p.rows for p in parts]

    @cached_property
    def rotated(self) -> Tensor:
        """Features in the basis of eigenvectors, shape (n_samples, n_features)."""
        return product(self.features.x, self.eigen.vectors.T)

    @cached_property
    def is_clear(self) -> Tensor:
        """Which eigenvalues are far above their rounding, shape (n_features,)."""
        values = self.eigen.values
        if self.eigen.dtype == torch.float64:
            return values > 0
        return values > SMALLEST_SINGLE_RATIO * values[-1]

    @cached_property
    def inverse(self) -> Tensor:
        """One over such eigenvalues, 0 for others; shape (n_features,)."""
        return torch.where(self.is_clear, 1 / self.eigen.values, 0)

    @property
    def n_unreached(self) -> int:
        """Dimensions of targets that features with clear eigenvalues do not reach."""
        n_free = self.n_samples - int(self.features.centred)
        return n_free - int(self.is_clear.sum())

    def kept(self, alphas: Tensor) -> Tensor:
        """Return what is left of fitted values, of ordinary least squares if clear.

        Parameters
        ----------
        alphas : Tensor of float64, shape (n_alphas, 1)
            Penalties.

        Returns
        -------
        Tensor of float64, shape (n_alphas, n_features)
            ``a / (l + a)``; where eigenvalues are not clear ``-l / (l + a)``, which is
            taken from what is not reached.
        """
        values = self.eigen.values
        return torch.where(self.is_clear, alphas, -values) / (values + alphas)

    def unreached(self, rows: Chosen) -> Tensor:
        """Return what is left of targets by ordinary least squares.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        Tensor, shape (n_targets, n_samples)
            Residuals of features with clear eigenvalues.
        """
        if not self.n_unreached:  # what would be computed is rounding
            return torch.zeros_like(self.y[rows])
        weights = self.z[rows] * self.inverse.to(self.y.dtype)
        fitted = product(weights, self.rotated)
        return torch.sub(self.y[rows], fitted, out=fitted)

    def gcv(self, alphas: Tensor, rows: slice) -> Tensor:
        """Compute generalised cross-validation errors.

        Parameters
        ----------
        alphas : Tensor of float64, shape (n_alphas,)
            Penalties.
        rows : slice
            Targets.

        Returns
        -------
        Tensor of float64, shape (n_alphas, n_targets)
            ``n RSS / trace(R)**2``.
        """
        # Sums of what is left over: one less what is fitted would cancel.
        values, alpha = self.eigen.values, alphas[:, None]
        freedom = self.n_unreached + self.kept(alpha).sum(1)
        clear = (alpha / (values + alpha)).square() * self.inverse
        others = -(values + 2 * alpha) / (values + alpha).square()
        others[:, : self.eigen.n_null] = 0
        weights = torch.where(self.is_clear, clear, others).to(self.y.dtype)
        squares = self.z[rows].square()
        total = squared_norms(self.y[rows])
        least = total - (squares @ self.inverse.to(squares.dtype)).double()
        close = (least < _CANCELS * total).nonzero()[:, 0]
        if len(close):
            every = torch.arange(len(self.y), device=self.y.device)[rows]
            least[close] = squared_norms(self.unreached(every[close]))
        rest = ((squares @ weights.T).T.double() + least).clamp_(min=0)
        return self.n_samples * rest / freedom.square()[:, None]

    def step(self, alpha: float, n_targets: int) -> "PrimalFolds | PrimalLeaveOneOut":
        """Return what computes held-out errors for one alpha.

        Parameters
        ----------
        alpha : float
            Penalty.
        n_targets : int
            For how many targets; here it does not matter.

        Returns
        -------
        object
            With the method `errors`.
        """
        if self.features.parts is None:
            return PrimalLeaveOneOut(self, alpha)
        return PrimalFolds(self, alpha, self.features.parts)

    def refit(self, alphas: Tensor) -> Tensor:
        """Compute the weights of the features on all rows.

        Parameters
        ----------
        alphas : Tensor of float64, shape (n_targets,)
            Penalty of each target.

        Returns
        -------
        Tensor, shape (n_targets, n_features)
            ``inv(X' X + a) X' y``.
        """
        out = torch.empty_like(self.z)
        for rows in chunks(len(self.y), self.y):
            weights = shrinkage(self.eigen, alphas[rows, None])
            scaled = self.z[rows] * weights.to(self.y.dtype)
            out[rows] = product(scaled, self.eigen.vectors)
        return out


def shrinkage(eigen: Eigen, alphas: Tensor | float) -> Tensor:
    """Return what covariances with targets are multiplied by in the basis.

    Parameters
    ----------
    eigen : Eigen
        Decomposition of a covariance matrix.
    alphas : Tensor of float64, shape (..., 1), or float
        Penalties.

    Returns
    -------
    Tensor of float64, shape (..., n_features)
        ``1 / (l + a)``; 0 where l must be 0, and there is only rounding to multiply.

    Examples
    --------
    >>> eigen = decompose(torch.diag(torch.tensor([0.0, 3.0])), torch.float64, rank=1)
    >>> shrinkage(eigen, 1.0).tolist()
    [0.0, 0.25]
    """
    weights = 1 / (eigen.values + alphas)
    weights[..., : eigen.n_null] = 0
    return weights


class PrimalFolds:
    """Predictions of each fold from the decomposed covariance of its training rows.

    Parameters
    ----------
    targets : PrimalTargets
        A batch of targets.
    alpha : float
        Penalty.
    parts : tuple of TrainingPart
        One per fold.
    """

    def __init__(
        self, targets: PrimalTargets, alpha: float, parts: tuple[TrainingPart, ...]
    ) -> None:
        self.targets, self.parts = targets, parts
        weights = [shrinkage(part.eigen, alpha) for part in parts]
        self.weights = [w.to(targets.y.dtype) for w in weights]

    def predictions(self, rows: Chosen) -> list[Tensor]:
        """Return predictions of each fold.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        list of Tensor, each of shape (n_targets, n_held_out)
            Predicted from the rows that are not held out.
        """
        found = []
        for k, part in enumerate(self.parts):
            scaled = self.targets.z_train[k][rows] * self.weights[k]
            found.append(product(scaled, part.held_out))
            found[-1] += self.targets.means[k][rows]
        return found

    def errors(self, rows: Chosen) -> list[Tensor]:
        """Return errors of each fold.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        list of Tensor, each of shape (n_targets, n_held_out)
            Measured minus predicted.
        """
        y = self.targets.y[rows]
        pairs = zip(self.parts, self.predictions(rows), strict=True)
        return [torch.sub(y[:, part.rows], p, out=p) for part, p in pairs]


class PrimalLeaveOneOut:
    """Errors of each row when it alone is left out: ``(R y)_i / R_ii``.

    Parameters
    ----------
    targets : PrimalTargets
        A batch of targets.
    alpha : float
        Penalty.
    """

    def __init__(self, targets: PrimalTargets, alpha: float) -> None:
        self.targets = targets
        values = targets.eigen.values
        clear = alpha / (values + alpha) * targets.inverse
        weights = torch.where(targets.is_clear, clear, -shrinkage(targets.eigen, alpha))
        self.weights = weights.to(targets.y.dtype)
        squares = targets.rotated.square()
        self.diagonal = squares @ self.weights
        if targets.n_unreached:
            reached = squares @ targets.inverse.to(squares.dtype)
            constant = targets.features.centred / targets.n_samples
            self.diagonal += (1 - constant - reached).clamp_(min=0)

    def errors(self, rows: Chosen) -> list[Tensor]:
        """Return errors of all rows as one fold.

        Parameters
        ----------
        rows : slice or Tensor of int
            Targets.

        Returns
        -------
        list of Tensor, each of shape (n_targets, n_held_out)
            Measured minus predicted; one entry.
        """
        rest = product(self.targets.z[rows] * self.weights, self.targets.rotated)
        rest += self.targets.unreached(rows)
        return [rest.div_(self.diagonal)]
