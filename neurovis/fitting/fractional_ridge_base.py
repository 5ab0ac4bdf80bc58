"""Reading, batches and predictions that estimators of fractional ridge share."""

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.base import (  # type: ignore[import-untyped]
    BaseEstimator,
    MultiOutputMixin,
    RegressorMixin,
)
from sklearn.utils.validation import check_is_fitted  # type: ignore[import-untyped]
from torch import Tensor

from analysis.metrics import r_squared
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import exact_float32, free_memory_bytes
from neurovis.fitting.fractional_ridge_solve import (
    METHODS,
    decompose_features,
    kept,
    penalties,
    rotate_targets,
)
from neurovis.fitting.ridge_dual import chunks
from neurovis.fitting.ridge_features import (
    Features,
    new_block,
    prepare_features,
    tensor_of,
)
from neurovis.fitting.ridge_inputs import (
    check_defined,
    check_features,
    check_intercept,
    check_targets,
    choose_dtype,
)
from neurovis.fitting.ridge_linalg import product
from neurovis.fitting.ridge_problem import choose_device

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FractionalTargets:
    """Some targets.

    Parameters
    ----------
    values : Tensor of float64, shape (n_targets, n_samples)
        Values as given; 0 for undefined targets.
    undefined : Tensor of bool, shape (n_targets,)
        Targets with a value that is not finite.
    constant : Tensor of bool, shape (n_targets,)
        Targets without anything to fit: constant, or without intercept 0.
    """

    values: Tensor
    undefined: Tensor
    constant: Tensor


class FractionalBase(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What both estimators share: reading, and what follows from a solution."""

    def _prepare(self, X: Any, y: Any) -> tuple[Features, Any, torch.dtype]:
        """Check inputs; return features, targets as a matrix, and the precision."""
        check_option("method", self.method, METHODS)
        check_intercept(self.fit_intercept)
        check_option("nan", self.nan, ("raise", "omit"))
        if not isinstance(self.n_targets_batch, str):
            check_whole("n_targets_batch", self.n_targets_batch, low=1)
        else:
            check_option("n_targets_batch", self.n_targets_batch, ("auto",))
        parts = check_features(self, X, reset=True)
        y = check_targets(y, int(parts[0].shape[0]))
        self._is_single, self._is_tensor = len(y.shape) == 1, isinstance(y, Tensor)
        Y = y[:, None] if self._is_single else y
        check_defined(Y, self.nan)
        dtype = choose_dtype(self.dtype, *parts, Y)
        place, scaled = choose_device(self.device), self.standardize
        ready = prepare_features(
            parts, place, centre=self.fit_intercept, standardize=scaled
        )
        return ready, Y, dtype

    def _solve(self, features: Features, x: Tensor, Y: Any, dtype: torch.dtype) -> None:
        """Decompose all rows, and solve least squares for all targets."""
        self._features = features
        self._singular = decompose_features(x, dtype)
        n_targets, rank = int(Y.shape[1]), len(self._singular.values)
        self._solution = torch.empty(n_targets, rank, dtype=dtype)
        self._mean = torch.zeros(n_targets, dtype=torch.float64)
        for columns in self._batches(len(x), rank, n_targets):
            batch = read_targets(Y, columns, features.device, centre=self.fit_intercept)
            values, mean = centred_rows(batch.values, centre=self.fit_intercept)
            values[batch.constant] = 0  # also what rounding leaves of them
            solution = rotate_targets(self._singular, values.to(dtype))
            solution[batch.undefined] = torch.nan
            mean[batch.undefined] = torch.nan
            self._solution[columns], self._mean[columns] = solution.cpu(), mean.cpu()
        if n_undefined := int(self._mean.isnan().sum()):
            logger.warning("%d targets are omitted: NaN or infinite", n_undefined)

    def _batches(self, n_samples: int, rank: int, n_targets: int) -> list[slice]:
        size = self.n_targets_batch
        if isinstance(size, str):
            n_bytes = 8 * (4 * n_samples + 6 * rank + 256)
            free = free_memory_bytes(choose_device(self.device))
            size = max(1, free // (3 * n_bytes))
        edges = [*range(0, n_targets, size), n_targets]
        return [slice(a, b) for a, b in pairwise(edges)]

    def _all_penalties(self, fracs: Tensor) -> Tensor:
        """Return the penalties of all targets, shape (n_fracs, n_targets)."""
        found = torch.empty(len(fracs), len(self._solution), dtype=torch.float64)
        place = self._features.device
        for rows in chunks(len(self._solution), self._singular.right):
            solution = self._solution[rows].to(place)
            at = penalties(self._singular, solution, fracs.to(place), self.method)
            found[:, rows] = at.cpu()
        return found

    def _rotated(self, index: int, rows: slice) -> Tensor:
        """Return coefficients in the basis of right singular vectors."""
        # Targets without a solution have coefficients 0, whatever the penalty.
        place = self._features.device
        alphas = self._penalties[index, rows].to(place)
        alphas = torch.where(alphas.isnan(), 0, alphas)
        solution = self._solution[rows].to(place)
        return solution * kept(self._singular, alphas).to(solution.dtype)

    def _give(self, values: Tensor) -> Any:
        """Return values (..., n_fracs, n_targets) as the kind that `fit` got."""
        values = values[..., 0, :] if self._has_one else values
        values = values[..., 0] if self._is_single else values
        return values if self._is_tensor else values.numpy()[()]

    def _each(self, left: Tensor) -> Tensor:
        """Multiply rows in the basis of singular vectors with all coefficients."""
        shape = (len(left), *self._penalties.shape)
        out = torch.empty(shape, dtype=left.dtype, device=left.device)
        for i in range(len(self._penalties)):
            for rows in chunks(shape[2], left):
                out[:, i, rows] = product(left, self._rotated(i, rows))
        return out

    @property
    def coef_(self) -> Any:
        """Weights of the features as given; computed now."""
        check_is_fitted(self)
        with torch.no_grad(), exact_float32():
            right = self._singular.right
            if self._features.scale is not None:
                right = right / self._features.scale[:, None].to(right.dtype)
            return self._give(self._each(right).cpu())

    @property
    def intercept_(self) -> Any:
        """Constants; computed now."""
        check_is_fitted(self)
        constants = self._mean.expand_as(self._penalties).clone()
        features = self._features
        if features.centre is not None:
            centre = (
                features.centre
                if features.scale is None
                else (features.centre / features.scale)
            )
            rotated = centre @ self._singular.right.double()
            for i in range(len(constants)):
                for rows in chunks(constants.shape[1], rotated):
                    weights = self._rotated(i, rows).double()
                    constants[i, rows] -= (weights @ rotated).cpu()
        return self._give(constants.to(self._solution.dtype))

    def predict(self, X: Any) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : array-like, shape (n_new, n_features), or list of such
            Features, in the order of `fit`.

        Returns
        -------
        ndarray or Tensor, shape (n_new, n_fracs, n_targets) or (n_new, n_targets)
            Predictions; without the axis of fractions where there is one fraction per
            target. A tensor on its device if X is one.

        Raises
        ------
        TypeError, ValueError
            If the number of features differs, or one is not finite.
        """
        check_is_fitted(self)
        parts = check_features(self, X, reset=False)
        with torch.no_grad(), exact_float32():
            new = new_block(self._features, parts, slice(0, self._features.n_features))
            left = new.to(self._singular.right.dtype) @ self._singular.right
            out = self._each(left)
            out += self._mean.to(out)
        out = out[:, 0] if self._has_one else out
        out = out[..., 0] if self._is_single else out
        is_tensor = isinstance(parts[0], Tensor)
        return out.to(parts[0].device) if is_tensor else out.cpu().numpy()

    def score(self, X: Any, y: Any) -> Any:
        """Compute R2 of the predictions, target by target.

        Parameters
        ----------
        X : array-like, shape (n_new, n_features), or list of such
            Features.
        y : array-like, shape (n_new, n_targets) or (n_new,)
            Measured values.

        Returns
        -------
        ndarray of float64, shape (n_fracs, n_targets) or (n_targets,), or float
            As `analysis.metrics.r_squared`: NaN where a measured target is constant
            or not finite.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, or a feature is not finite.
        """
        parts = check_features(self, X, reset=False)
        measured = as_array(check_targets(y, int(parts[0].shape[0])))
        measured = measured.reshape(len(measured), -1)
        shape = (len(measured), len(self._penalties), -1)
        predicted = as_array(self.predict(X)).reshape(shape)
        found = [r_squared(measured, part) for part in predicted.transpose(1, 0, 2)]
        scores = np.stack(found)
        scores = scores[0] if self._has_one else scores
        return scores[..., 0][()] if self._is_single else scores


def whole_features(features: Features) -> Tensor:
    """Return all features in memory.

    Parameters
    ----------
    features : Features
        Training features.

    Returns
    -------
    Tensor of float64, shape (n_samples, n_features)
        Centred and scaled.

    Examples
    --------
    >>> x = Features((np.eye(1), np.ones((1, 1))), None, None, torch.device("cpu"))
    >>> whole_features(x).tolist()
    [[1.0, 1.0]]
    """
    blocks = [block for _, block in features.blocks(torch.float64)]
    return torch.cat(blocks, dim=1)


def read_targets(
    targets: Any, columns: slice, device: torch.device, *, centre: bool
) -> FractionalTargets:
    """Read some targets as rows.

    Parameters
    ----------
    targets : array-like, shape (n_samples, n_targets)
        All targets, in memory or not.
    columns : slice
        Which ones.
    device : torch.device
        Where they go.
    centre : bool
        Whether there is an intercept.

    Returns
    -------
    FractionalTargets
        In float64.

    Examples
    --------
    >>> y = np.array([[1.0, 2.0], [1.0, 3.0]])
    >>> found = read_targets(y, slice(0, 2), torch.device("cpu"), centre=True)
    >>> found.constant.tolist()
    [True, False]
    """
    block = tensor_of(targets[:, columns], torch.float64, device)
    values = block.T.contiguous().clone()
    undefined = ~values.isfinite().all(1)
    values[undefined] = 0
    first = values[:, :1] if centre else 0
    return FractionalTargets(values, undefined, (values == first).all(1))


def centred_rows(rows: Tensor, *, centre: bool) -> tuple[Tensor, Tensor]:
    """Return rows less their means, and the means.

    Parameters
    ----------
    rows : Tensor, shape (m, n)
        Values.
    centre : bool
        Without it rows are returned as they are.

    Returns
    -------
    Tensor, shape (m, n)
        Centred rows; may be `rows`.
    Tensor, shape (m,)
        What was subtracted.

    Examples
    --------
    >>> centred_rows(torch.tensor([[1.0, 3.0]]), centre=True)
    (tensor([[-1.,  1.]]), tensor([2.]))
    """
    if not centre:
        return rows, torch.zeros_like(rows[:, 0])
    mean = rows.mean(1)
    return rows - mean[:, None], mean


def as_array(values: Any) -> Any:
    """Return a tensor or an array-like as an array.

    Parameters
    ----------
    values : Tensor or array-like
        What can be indexed.

    Returns
    -------
    ndarray
        On the CPU.

    Examples
    --------
    >>> as_array(torch.ones(1))
    array([1.], dtype=float32)
    """
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values[...]
