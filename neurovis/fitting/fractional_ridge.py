"""Ridge regression by the length of the solution instead of a penalty.

A fraction of 0.3 asks for weights 0.3 times as long as those of ordinary least squares:
such a grid suits every target, whatever the scale of features and noise. The penalty
that does it is found target by target.
"""

import logging
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from neurovis.core.checks import check_option
from neurovis.core.device import exact_float32
from neurovis.fitting.fractional_ridge_base import (
    FractionalBase,
    centred_rows,
    read_targets,
    whole_features,
)
from neurovis.fitting.fractional_ridge_solve import (
    Singular,
    check_fracs,
    decompose_features,
    kept,
    penalties,
    rotate_targets,
)
from neurovis.fitting.ridge_dual import chunks
from neurovis.fitting.ridge_folds import Rows, make_folds
from neurovis.fitting.ridge_inputs import all_or_nothing
from neurovis.fitting.ridge_linalg import product
from neurovis.fitting.ridge_scores import SCORINGS, correlation_score, error_score

logger = logging.getLogger(__name__)

FRACS = tuple(k / 10 for k in range(1, 11))
"""Default fractions: 0.1, 0.2, ..., 1."""


class FractionalRidge(FractionalBase):
    """Ridge regression with solutions of given fractional lengths.

    Parameters
    ----------
    fracs : float or sequence of float, default `FRACS`
        Lengths of the weights relative to ordinary least squares (the solution of least
        length, where there are several), 0..1.
    method : {"interpolated", "exact"}
        How penalties are found, see `fractional_ridge`.
    fit_intercept : bool, default True
        Fit a constant that is not penalised. Without it, neither features nor targets
        are centred.
    standardize, device : optional
        As `neurovis.fitting.ridge.RidgeCV`.
    dtype : {None, "float32", "float64"}
        Precision of products with targets; None takes float32 if X and Y have it.
        Features are decomposed in float64.
    n_targets_batch, nan : optional
        As `neurovis.fitting.ridge.RidgeCV`.

    Attributes
    ----------
    alphas_ : ndarray of float64, shape (n_fracs, n_targets)
        Penalties; NaN for targets without anything to fit, such as constant ones,
        which are predicted by their mean.
    coef_ : ndarray, shape (n_features, n_fracs, n_targets)
        Weights of the features as given; computed when asked for.
    intercept_ : ndarray, shape (n_fracs, n_targets)
        Constant; 0 without an intercept, but for what `standardize` centres.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    For a single number as `fracs`, and a vector of targets, these axes are dropped.
    With `standardize` it is the length of the weights of scaled features that counts.

    References
    ----------
    Rokem and Kay (2020). GigaScience 9, giaa133. doi:10.1093/gigascience/giaa133

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((50, 5)), rng.standard_normal((50, 2))
    >>> model = FractionalRidge([0.25, 0.5, 1], method="exact", device="cpu").fit(X, Y)
    >>> lengths = np.linalg.norm(model.coef_, axis=0)
    >>> (lengths / lengths[-1])[:, 0].round(6).tolist()
    [0.25, 0.5, 1.0]
    """

    # Named here, so that the reference lists them with this class.
    coef_ = FractionalBase.coef_
    intercept_ = FractionalBase.intercept_

    def __init__(
        self,
        fracs: Any = FRACS,
        *,
        method: str = "interpolated",
        fit_intercept: bool = True,
        standardize: bool | float = False,
        device: Any = "auto",
        dtype: Any = None,
        n_targets_batch: int | str = "auto",
        nan: str = "raise",
    ) -> None:
        self.fracs = fracs
        self.method = method
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.device = device
        self.dtype = dtype
        self.n_targets_batch = n_targets_batch
        self.nan = nan

    def fit(self, X: Any, y: Any) -> Self:
        """Fit all rows.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features), or list of such
            Features.
        y : array-like, shape (n_samples, n_targets) or (n_samples,)
            Targets.

        Returns
        -------
        FractionalRidge
            The estimator.

        Raises
        ------
        TypeError, ValueError
            If an option is unknown, shapes do not fit, features are not finite, or
            targets are not finite and ``nan="raise"``.
        """
        fracs = torch.from_numpy(check_fracs(self.fracs))
        with all_or_nothing(self):
            return self._fit(X, y, fracs)

    def _fit(self, X: Any, y: Any, fracs: Tensor) -> Self:
        features, Y, dtype = self._prepare(X, y)
        with torch.no_grad(), exact_float32():
            self._solve(features, whole_features(features), Y, dtype)
            self._penalties = self._all_penalties(fracs)
        self._has_one = np.ndim(self.fracs) == 0
        self.alphas_ = self._give(self._penalties)
        return self


class FractionalRidgeCV(FractionalBase):
    """Ridge regression with one cross-validated fractional length per target.

    Parameters
    ----------
    fracs : sequence of float, default `FRACS`
        Lengths to choose from, relative to ordinary least squares, 0..1.
    method : {"interpolated", "exact"}
        How penalties are found, see `fractional_ridge`.
    cv : int or explicit folds, default 5
        Number of consecutive folds (of groups, where `fit` gets them), or what
        `neurovis.fitting.ridge_folds.make_folds` takes.
    fit_intercept, scoring, standardize, device : optional
        As `neurovis.fitting.ridge.RidgeCV`.
    dtype : {None, "float32", "float64"}
        As `FractionalRidge`.
    n_targets_batch, nan, group_leakage : optional
        As `neurovis.fitting.ridge.RidgeCV`.

    Attributes
    ----------
    fracs_ : ndarray of float64, shape (n_targets,)
        Chosen fraction, the smaller one of equals; NaN for targets that are omitted or
        have no score, such as constant ones, which are predicted by their mean.
    alphas_ : ndarray of float64, shape (n_targets,)
        Penalty for that fraction on all rows; NaN likewise.
    cv_scores_ : ndarray of float64, shape (n_targets,)
        Mean score over folds at that fraction; NaN likewise.
    coef_ : ndarray, shape (n_features, n_targets)
        Weights of the features as given; computed when asked for.
    intercept_ : ndarray, shape (n_targets,)
        Constant; 0 without an intercept, but for what `standardize` centres.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    In each fold a fraction is relative to ordinary least squares of the training rows,
    so that each fold has penalties of its own: the features are decomposed once per
    fold and once more.

    References
    ----------
    Rokem and Kay (2020). GigaScience 9, giaa133. doi:10.1093/gigascience/giaa133

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((50, 5))
    >>> Y = X[:, :2] + [0.1, 10] * rng.standard_normal((50, 2))
    >>> model = FractionalRidgeCV(device="cpu").fit(X, Y)
    >>> bool(model.fracs_[0] > model.fracs_[1])
    True
    """

    # Named here, so that the reference lists them with this class.
    coef_ = FractionalBase.coef_
    intercept_ = FractionalBase.intercept_

    def __init__(
        self,
        fracs: Any = FRACS,
        *,
        method: str = "interpolated",
        cv: Any = 5,
        fit_intercept: bool = True,
        scoring: str = "mse",
        standardize: bool | float = False,
        device: Any = "auto",
        dtype: Any = None,
        n_targets_batch: int | str = "auto",
        nan: str = "raise",
        group_leakage: str = "raise",
    ) -> None:
        self.fracs = fracs
        self.method = method
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.standardize = standardize
        self.device = device
        self.dtype = dtype
        self.n_targets_batch = n_targets_batch
        self.nan = nan
        self.group_leakage = group_leakage

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Choose fractions and fit all rows.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features), or list of such
            Features.
        y : array-like, shape (n_samples, n_targets) or (n_samples,)
            Targets.
        groups : array-like of int or str, shape (n_samples,), optional
            Group of each row, such as its stimulus: rows of one group are held out
            together.

        Returns
        -------
        FractionalRidgeCV
            The estimator.

        Raises
        ------
        TypeError, ValueError
            If an option is unknown, shapes do not fit, features are not finite,
            targets are not finite and ``nan="raise"``, or a group is split by explicit
            folds.
        """
        check_option("scoring", self.scoring, SCORINGS)
        fracs = torch.from_numpy(np.sort(check_fracs(self.fracs)))
        with all_or_nothing(self):
            return self._fit(X, y, groups, fracs)

    def _fit(self, X: Any, y: Any, groups: Any, fracs: Tensor) -> Self:
        features, Y, dtype = self._prepare(X, y)
        n_samples = features.n_samples
        folds = make_folds(self.cv, n_samples, groups, group_leakage=self.group_leakage)
        with torch.no_grad(), exact_float32():
            x = whole_features(features)
            mean = self._mean_scores(x, Y, fracs, folds, dtype)
            self._solve(features, x, Y, dtype)
            index = mean.nan_to_num(-torch.inf).argmax(0)
            found = self._all_penalties(fracs).gather(0, index[None])
        flat = mean.isnan().all(0)
        self._penalties = found.masked_fill(flat, torch.nan)
        self._solution[flat & ~self._mean.isnan()] = 0
        self._has_one = True
        score = mean.gather(0, index[None]).masked_fill(flat, torch.nan)
        self.alphas_, self.cv_scores_ = self._give(self._penalties), self._give(score)
        chosen = fracs[index].masked_fill(flat, torch.nan)
        self.fracs_ = self._give(chosen[None])
        n_flat = int(flat.sum()) - int(self._mean.isnan().sum())
        if n_flat:
            logger.warning("%d targets have no score and are not fitted", n_flat)
        return self

    def _mean_scores(
        self,
        x: Tensor,
        Y: Any,
        fracs: Tensor,
        folds: tuple[Rows, ...],
        dtype: torch.dtype,
    ) -> Tensor:
        """Return mean scores over folds, shape (n_fracs, n_targets)."""
        n_targets, centre = int(Y.shape[1]), self.fit_intercept
        total = torch.zeros(len(fracs), n_targets, dtype=torch.float64)
        for held_out in folds:
            held = torch.from_numpy(held_out).to(x.device)
            train = torch.ones(len(x), dtype=torch.bool, device=x.device)
            train[held] = False
            x_train, x_mean = centred_rows(x[train].T, centre=centre)
            part = decompose_features(x_train.T, dtype)
            seen = (x[held] - x_mean).to(dtype) @ part.right
            for columns in self._batches(len(x), len(part.values), n_targets):
                batch = read_targets(Y, columns, x.device, centre=centre)
                for rows in chunks(len(batch.values), x):
                    y = batch.values[rows]
                    y_train, y_mean = centred_rows(y[:, train], centre=centre)
                    scores = _score_fold(
                        part,
                        y_train.to(dtype),
                        seen,
                        (y[:, held] - y_mean[:, None]).to(dtype),
                        fracs.to(x.device),
                        self.method,
                        self.scoring,
                    )
                    scores[:, (batch.undefined | batch.constant)[rows]] = torch.nan
                    at = slice(columns.start + rows.start, columns.start + rows.stop)
                    total[:, at] += scores.cpu()
        return total / len(folds)


@dataclass(frozen=True)
class FractionalSolutions:
    """Ridge solutions of fractional lengths.

    Parameters
    ----------
    coef : ndarray or Tensor, shape (n_features, n_fracs, n_targets)
        Weights of the features.
    alphas : ndarray or Tensor of float64, shape (n_fracs, n_targets)
        Penalties; NaN where a target has nothing to fit.
    intercept : ndarray or Tensor, shape (n_fracs, n_targets)
        Constants.
    """

    coef: Any
    alphas: Any
    intercept: Any


def fractional_ridge(
    X: Any,
    Y: Any,
    fracs: Any = FRACS,
    *,
    method: str = "interpolated",
    fit_intercept: bool = True,
    device: Any = "auto",
    dtype: Any = None,
) -> FractionalSolutions:
    """Find ridge solutions whose weights have fractions of the unpenalised length.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features), or list of such
        Features.
    Y : array-like, shape (n_samples, n_targets)
        Targets, finite.
    fracs : float or sequence of float
        Lengths relative to ordinary least squares, 0..1.
    method : {"interpolated", "exact"}
        "interpolated" is the published method: log(1 + alpha) is linear in the length
        between penalties that stand five per decade, so that lengths are met within
        some per cent where squared singular values of X are well above 1 (far less
        well for features of small scale), and the largest penalty stands for a fraction
        of 0. "exact" solves for the penalty by Newton's method; 0 needs an infinite
        one.
    fit_intercept : bool, default True
        Fit a constant that is not penalised; the published method has none.
    device, dtype : optional
        As `FractionalRidge`.

    Returns
    -------
    FractionalSolutions
        Weights, penalties and constants, fractions in the order given; without the
        axis of fractions for a single number, and of targets for a vector.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown, shapes do not fit, or values are not finite.

    References
    ----------
    Rokem and Kay (2020). GigaScience 9, giaa133. doi:10.1093/gigascience/giaa133

    Examples
    --------
    >>> X, Y = np.eye(3), np.array([[3.0], [4.0], [0.0]])
    >>> found = fractional_ridge(X, Y, 0.5, method="exact", fit_intercept=False)
    >>> found.alphas.round(6).tolist(), np.abs(found.coef).round(6).tolist()
    ([1.0], [[1.5], [2.0], [0.0]])
    """
    model = FractionalRidge(
        fracs, method=method, fit_intercept=fit_intercept, device=device, dtype=dtype
    ).fit(X, Y)
    return FractionalSolutions(model.coef_, model.alphas_, model.intercept_)


def _score_fold(
    features: Singular,
    train: Tensor,
    seen: Tensor,
    measured: Tensor,
    fracs: Tensor,
    method: str,
    scoring: str,
) -> Tensor:
    """Score all fractions on held-out rows, shape (n_fracs, n_targets)."""
    solution = rotate_targets(features, train)
    alphas = penalties(features, solution, fracs, method)
    alphas = torch.where(alphas.isnan(), 0, alphas)
    found = []
    for each in alphas:
        weights = solution * kept(features, each).to(solution.dtype)
        predicted = product(weights, seen)
        if scoring == "correlation":
            found.append(correlation_score(measured, predicted))
        else:
            found.append(error_score(measured, measured - predicted, scoring))
    return torch.stack(found)
