"""Ridge regression of many targets as functions: arrays in, arrays out."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurovis.core.checks import check_option
from neurovis.core.device import exact_float32
from neurovis.fitting.ridge_eigen import selectable
from neurovis.fitting.ridge_features import Features, primal_weights
from neurovis.fitting.ridge_inputs import (
    check_alphas,
    check_defined,
    check_folds,
    check_intercept,
    check_targets,
    choose_dtype,
    feature_parts,
)
from neurovis.fitting.ridge_problem import (
    Batch,
    Problem,
    expected_loss,
    make_problem,
    read_batch,
    warn_of_loss,
)
from neurovis.fitting.ridge_scores import SCORINGS
from neurovis.fitting.ridge_search import (
    Evaluation,
    Scores,
    Targets,
    gcv_scores,
    search_full,
    search_window,
)


def fold_scores(
    X: Any,
    Y: Any,
    alphas: Any,
    *,
    cv: Any = 5,
    groups: Any = None,
    fit_intercept: bool = True,
    scoring: str = "mse",
    solver: str = "auto",
    device: Any = "auto",
    dtype: Any = None,
    group_leakage: str = "raise",
) -> Any:
    """Score ridge models, fitted without each fold, on that fold.

    With ``b, c = argmin |y - X b - c|**2 + alpha |b|**2`` over the rows that are not
    held out, the score of ``X b + c`` on those that are; for every fold, alpha and
    target, exactly, from one eigendecomposition.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features), or list of such
        Features.
    Y : array-like, shape (n_samples, n_targets)
        Targets, finite.
    alphas : float or sequence of float, length n_alphas
        Penalties, > 0.
    cv : int, "loo", or explicit folds
        As `neurovis.fitting.ridge_folds.make_folds`; with "loo" all left-out rows are
        scored together, as one fold.
    groups : array-like, shape (n_samples,), optional
        Group of each row; rows of a group are held out together.
    fit_intercept : bool, default True
        Fit c; else it is 0.
    scoring : {"mse", "r2", "correlation"}
        Minus the mean squared error, R2, or Pearson's r.
    solver : {"auto", "dual", "primal"}
        As `neurovis.fitting.ridge.RidgeCV`.
    device, dtype : optional
        As `neurovis.fitting.ridge.RidgeCV`.
    group_leakage : {"raise", "allow"}
        What to do when a group is on both sides of a fold.

    Returns
    -------
    ndarray (Tensor if Y is one) of float64, shape (n_folds, n_alphas, n_targets)
        Scores; NaN where undefined.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, values are not finite, or an option is unknown.

    Notes
    -----
    Held-out errors are ``inv(R_ff) (R y)_f`` with R the matrix that takes targets to
    the residuals of a fit to all rows.

    Examples
    --------
    >>> x = np.arange(6.0)[:, None]
    >>> fold_scores(x, 2 * x + 1, [1e-9], cv=3).round(6).ravel().tolist()
    [-0.0, -0.0, -0.0]
    """
    check_option("scoring", scoring, SCORINGS)
    if isinstance(cv, str) and cv == "gcv":
        raise ValueError(
            "cv='gcv' holds out no rows that could be scored: use `gcv_errors`, or "
            "cv='loo' or a number of folds."
        )
    options = {"fit_intercept": fit_intercept, "solver": solver, "device": device}
    checked = _Inputs(X, Y, alphas, cv, groups, group_leakage)
    with torch.no_grad(), exact_float32():
        _, targets = checked.load(dtype, **options)
        evaluation = Evaluation(targets, checked.alphas, scoring, keep_folds=True)
        everything = torch.ones(len(checked.alphas), dtype=torch.bool)
        scores = search_full(evaluation, everything).folds
    return checked.give(scores, 1)


def loo_residuals(
    X: Any,
    Y: Any,
    alphas: Any,
    *,
    fit_intercept: bool = True,
    solver: str = "auto",
    device: Any = "auto",
    dtype: Any = None,
) -> Any:
    """Predict each row from a ridge model fitted to all others.

    ``(R y)_i / R_ii`` with R the matrix that takes targets to the residuals of a fit
    to all rows: exact, intercept included.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features), or list of such
        Features.
    Y : array-like, shape (n_samples, n_targets)
        Targets, finite.
    alphas : float or sequence of float, length n_alphas
        Penalties, > 0.
    fit_intercept : bool, default True
        Fit an intercept.
    solver, device, dtype : optional
        As `neurovis.fitting.ridge.RidgeCV`.

    Returns
    -------
    ndarray (Tensor if Y is one), shape (n_alphas, n_samples, n_targets)
        Measured minus predicted.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, values are not finite, or an option is unknown.

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> abs(loo_residuals(x, 2 * x + 1, 1e-9)).max() < 1e-6
    np.True_
    """
    options = {"fit_intercept": fit_intercept, "solver": solver, "device": device}
    checked = _Inputs(X, Y, alphas, "loo", None, "raise")
    checked.need_rows(2)
    with torch.no_grad(), exact_float32():
        _, targets = checked.load(dtype, **options)
        n = len(targets.y)
        everything = slice(0, n)
        found = [
            targets.step(float(alpha), n).errors(everything)[0].T
            for alpha in checked.alphas
        ]
    return checked.give(torch.stack(found), 0)


def gcv_errors(
    X: Any,
    Y: Any,
    alphas: Any,
    *,
    fit_intercept: bool = True,
    solver: str = "auto",
    device: Any = "auto",
    dtype: Any = None,
) -> Any:
    """Compute generalised cross-validation errors of ridge models.

    ``n RSS / trace(R)**2``, where R takes targets to residuals and RSS is the sum of
    squared residuals; the intercept takes one degree of freedom.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features), or list of such
        Features.
    Y : array-like, shape (n_samples, n_targets)
        Targets, finite.
    alphas : float or sequence of float, length n_alphas
        Penalties, > 0.
    fit_intercept : bool, default True
        Fit an intercept.
    solver, device, dtype : optional
        As `neurovis.fitting.ridge.RidgeCV`.

    Returns
    -------
    ndarray (Tensor if Y is one) of float64, shape (n_alphas, n_targets)
        Estimates of the mean squared error of new rows.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, values are not finite, or an option is unknown.

    References
    ----------
    Golub, Heath, Wahba (1979). Technometrics 21, 215-223.
    https://doi.org/10.1080/00401706.1979.10489751

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> gcv_errors(x, x**2, [1.0, 100.0]).shape
    (2, 1)
    """
    options = {"fit_intercept": fit_intercept, "solver": solver, "device": device}
    checked = _Inputs(X, Y, alphas, "gcv", None, "raise")
    checked.need_rows(2)
    with torch.no_grad(), exact_float32():
        _, targets = checked.load(dtype, **options)
        found = targets.gcv(checked.alphas, slice(0, len(targets.y)))
    return checked.give(found, 0)


def solve_ridge(
    X: Any,
    Y: Any,
    alpha: Any,
    *,
    fit_intercept: bool = True,
    solver: str = "auto",
    device: Any = "auto",
    dtype: Any = None,
) -> tuple[Any, Any]:
    """Fit ridge models with given penalties.

    ``b, c = argmin |y - X b - c|**2 + alpha |b|**2`` for each target.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features), or list of such
        Features.
    Y : array-like, shape (n_samples, n_targets)
        Targets, finite.
    alpha : float or sequence of float, length n_targets
        Penalty of all targets, or of each.
    fit_intercept : bool, default True
        Fit c; else it is 0.
    solver, device, dtype : optional
        As `neurovis.fitting.ridge.RidgeCV`.

    Returns
    -------
    ndarray (Tensor if Y is one), shape (n_features, n_targets)
        Weights b.
    ndarray (Tensor if Y is one), shape (n_targets,)
        Intercepts c.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, values are not finite, or an option is unknown.

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> weights, intercept = solve_ridge(x, 2 * x + 1, 5.0)
    >>> weights.round(6).tolist(), intercept.round(6).tolist()
    ([[1.0]], [2.5])
    """
    options = {"fit_intercept": fit_intercept, "solver": solver, "device": device}
    checked = _Inputs(X, Y, alpha, "gcv", None, "raise")
    n_targets = int(checked.targets.shape[1])
    penalties = np.atleast_1d(np.asarray(alpha, np.float64))
    if len(penalties) not in (1, n_targets):
        raise ValueError(
            f"`alpha` must be one number or one per target ({n_targets}); got "
            f"{len(penalties)}."
        )
    with torch.no_grad(), exact_float32():
        problem, targets = checked.load(dtype, **options)
        each = torch.from_numpy(np.broadcast_to(penalties, n_targets).copy())
        found = problem.unsort(targets.refit(each.to(problem.device))).cpu()
        warn_of_loss(expected_loss(problem, each))
        weights = feature_weights(problem.features, found, problem.is_dual)
        intercept = checked.batch.mean.cpu()
        if problem.features.centre is not None:
            centre = problem.features.centre.cpu()
            intercept = intercept - centre @ weights.double()
    dtype_ = weights.dtype
    return checked.plain(weights), checked.plain(intercept.to(dtype_))


def feature_weights(features: Features, weights: Tensor, is_dual: bool) -> Tensor:
    """Return weights of the features as given.

    Parameters
    ----------
    features : Features
        Training features.
    weights : Tensor, shape (n_targets, n_samples) or (n_targets, n_features)
        Dual coefficients, or weights of the scaled features.
    is_dual : bool
        Which of the two.

    Returns
    -------
    Tensor, shape (n_features, n_targets)
        On the CPU.

    Examples
    --------
    >>> x = Features((np.ones((2, 1)),), None, None, torch.device("cpu"))
    >>> feature_weights(x, torch.ones(1, 2), is_dual=True).item()
    2.0
    """
    if is_dual:
        return primal_weights(features, weights)
    if features.scale is None:
        return weights.T
    return weights.T / features.scale.cpu()[:, None].to(weights.dtype)


def search_batch(
    problem: Problem,
    batch: Batch,
    alphas: Tensor,
    *,
    cv: Any,
    scoring: str,
    search: str,
    keep_folds: bool = False,
    keep_dual: bool = False,
) -> tuple[Targets, Scores]:
    """Score a batch of targets.

    Parameters
    ----------
    problem : Problem
        Decomposed features.
    batch : Batch
        Targets.
    alphas : Tensor of float64, shape (n_alphas,)
        Penalties, ascending.
    cv : object
        "gcv", or anything else for held-out rows.
    scoring : {"mse", "r2", "correlation"}
        Score of a fold.
    search : {"full", "window"}
        Which alphas to score.
    keep_folds, keep_dual : bool
        What to keep.

    Returns
    -------
    DualTargets or PrimalTargets
        Targets in the basis of the decomposition.
    Scores
        Their scores; NaN for targets that are undefined or constant.
    """
    targets = problem.targets(batch)
    alphas = alphas.to(problem.device)
    allowed = selectable(problem.eigen, alphas)
    if isinstance(cv, str) and cv == "gcv":
        scores = gcv_scores(targets, alphas, allowed)
    else:
        evaluation = Evaluation(
            targets, alphas, scoring, keep_folds=keep_folds, keep_dual=keep_dual
        )
        find = search_full if search == "full" else search_window
        scores = find(evaluation, allowed)
    empty = batch.undefined | batch.constant
    scores.mean[:, empty] = torch.nan
    scores.best[empty] = -1
    return targets, scores


class _Inputs:
    """Checked inputs of a function, and the way back to their kind and order."""

    def __init__(
        self, X: Any, Y: Any, alphas: Any, cv: Any, groups: Any, group_leakage: str
    ) -> None:
        self.parts = feature_parts(X)
        n_samples = int(self.parts[0].shape[0])
        self.targets = check_targets(Y, n_samples)
        if len(self.targets.shape) != 2:
            raise ValueError(
                "`Y` must have shape (n_samples, n_targets); got "
                f"{tuple(self.targets.shape)}. For one target use Y[:, None]."
            )
        check_defined(self.targets, "raise")
        self.alphas, self.order = check_alphas(alphas)
        self.folds = check_folds(cv, n_samples, groups, group_leakage)

    def need_rows(self, least: int) -> None:
        """Raise if there are fewer samples."""
        n_samples = int(self.parts[0].shape[0])
        if n_samples < least:
            raise ValueError(f"`X` needs {least} samples or more; got {n_samples}.")

    def load(self, dtype: Any, **options: Any) -> tuple[Problem, Targets]:
        """Decompose the features and read all targets."""
        check_intercept(options["fit_intercept"])
        n_targets = int(self.targets.shape[1])
        problem = make_problem(
            self.parts,
            float(self.alphas[0]),
            self.folds,
            standardize=False,
            dtype=choose_dtype(dtype, *self.parts, self.targets),
            n_targets=n_targets,
            n_alphas=len(self.alphas),
            **options,
        )
        self.alphas = self.alphas.to(problem.device)
        self.batch = read_batch(problem, self.targets, slice(0, n_targets))
        return problem, problem.targets(self.batch)

    def give(self, values: Tensor | None, axis: int) -> Any:
        """Return values in the order of `alphas`."""
        if values is None:
            raise ValueError("Nothing was computed.")
        back = torch.argsort(self.order).to(values.device)
        return self.plain(values.index_select(axis, back))

    def plain(self, values: Tensor) -> Any:
        """Return a tensor for tensors, else an array."""
        return (
            values.cpu() if isinstance(self.targets, Tensor) else values.cpu().numpy()
        )
