"""Held-out errors of every fold from covariances, for fewer features than samples.

The covariance of the training rows of a fold is that of all rows less that of the
held-out ones; each is decomposed once, whatever the number of alphas and targets.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from neurovis.fitting.ridge_dual import Chosen, chunks
from neurovis.fitting.ridge_eigen import Eigen, decompose, needs_double
from neurovis.fitting.ridge_features import Features
from neurovis.fitting.ridge_linalg import product


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
            _training_part(wide, covariance, fold, dtype, centred) for fold in folds
        )
    return PrimalFeatures(x, decompose(covariance, dtype), parts, centred)


def _training_part(
    x: Tensor, covariance: Tensor, fold: slice, dtype: torch.dtype, centred: bool
) -> TrainingPart:
    held = x[fold]
    rest = covariance - held.T @ held
    mean = torch.zeros_like(x[0])
    if centred:
        n_train = len(x) - len(held)
        mean = torch.cat([x[: fold.start], x[fold.stop :]]).mean(0)
        rest -= n_train * mean[:, None] * mean
    eigen = decompose(rest, x.dtype)
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
        if features.parts is None:
            self.rotated = product(features.x, self.eigen.vectors.T)
            return
        for part in features.parts:
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
        values, alpha = self.eigen.values, alphas[:, None]
        n_free = self.n_samples - int(self.features.centred)
        freedom = n_free - (values / (values + alpha)).sum(1)
        weights = ((values + 2 * alpha) / (values + alpha) ** 2).to(self.y.dtype)
        total = torch.linalg.vector_norm(self.y[rows], dim=1, dtype=torch.float64)
        rest = total.square() - (self.z[rows].square() @ weights.T).T.double()
        return self.n_samples * rest.clamp_(min=0) / freedom.square()[:, None]

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
            weights = 1 / (self.eigen.values + alphas[rows, None])
            scaled = self.z[rows] * weights.to(self.y.dtype)
            out[rows] = product(scaled, self.eigen.vectors)
        return out


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
        weights = [1 / (part.eigen.values + alpha) for part in parts]
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
        self.weights = (1 / (targets.eigen.values + alpha)).to(targets.y.dtype)
        taken = targets.rotated.square() @ self.weights
        constant = targets.features.centred / targets.n_samples
        self.diagonal = 1 - constant - taken

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
        fitted = product(self.targets.z[rows] * self.weights, self.targets.rotated)
        return [torch.sub(self.targets.y[rows], fitted, out=fitted) / self.diagonal]
