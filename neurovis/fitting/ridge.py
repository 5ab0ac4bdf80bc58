"""Ridge regression of many targets, each with its own cross-validated penalty.

For every target y (a voxel, a neuron) the weights b and the intercept c minimise
``|y - X b - c|**2 + alpha |b|**2``. The penalty alpha is chosen by cross-validation
that is exact and needs the features decomposed once. The functions take arrays and
return arrays; `RidgeCV` is the estimator.
"""

import logging
from typing import Any, Self

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
from neurovis.core.device import exact_float32
from neurovis.fitting.ridge_features import centre_weights, cross_gram, new_block
from neurovis.fitting.ridge_inputs import (
    all_or_nothing,
    check_defined,
    check_features,
    check_folds,
    check_intercept,
    check_targets,
    choose_dtype,
    distinct_alphas,
)
from neurovis.fitting.ridge_linalg import product
from neurovis.fitting.ridge_problem import (
    Batch,
    Problem,
    batches,
    expected_loss,
    make_problem,
    read_batch,
    warn_of_loss,
)
from neurovis.fitting.ridge_scores import SCORINGS
from neurovis.fitting.ridge_search import (
    Targets,
    choose_conservative,
    choose_shared,
)
from neurovis.fitting.ridge_solve import (
    feature_weights,
    fold_scores,
    gcv_errors,
    loo_residuals,
    search_batch,
    solve_ridge,
)

__all__ = [
    "ALPHAS",
    "RidgeCV",
    "fold_scores",
    "gcv_errors",
    "loo_residuals",
    "solve_ridge",
]

logger = logging.getLogger(__name__)

ALPHAS = tuple(10.0 ** (k / 2) for k in range(-2, 11))
"""Default penalties: two per decade from 0.1 to 1e5."""

_PREDICT_AT_ONCE = 4096

SELECTIONS = ("per-target", "shared", "conservative")


class RidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression with one cross-validated penalty per target.

    Scores of held-out rows are those of models refitted without them, intercept
    included, computed from one eigendecomposition. Folds count equally whatever their
    size, and 1e-10 ln(alpha) is added to mean scores so that equal ones go to the
    larger alpha.

    Parameters
    ----------
    alphas : sequence of float, default `ALPHAS`
        Penalties to choose from, > 0: they multiply the sum of squared weights, next
        to the sum (not the mean) of squared errors.
    cv : int, "loo", "gcv", or explicit folds, default 5
        Number of consecutive folds (of groups, where `fit` gets them); leave-one-out;
        generalised cross-validation; or what
        `neurovis.fitting.ridge_folds.make_folds` takes.
    fit_intercept : bool, default True
        Fit a constant that is not penalised. Without it, neither features nor targets
        are centred.
    scoring : {"mse", "r2", "correlation"}
        Score of a fold: minus the mean squared error, R2, or Pearson's r. With "loo"
        all left-out rows are scored together; "gcv" knows "mse" only.
    selection : {"per-target", "shared", "conservative"}
        The best alpha of each target; the one best for the mean score of all targets;
        or, per target, the largest one whose mean score is above the best less its
        standard deviation over folds.
    search : {"full", "window"}
        "full" scores every alpha. "window" scores each target at the alpha that
        generalised cross-validation prefers and at its neighbours, and goes on while
        the best is at an end: a third of the work or less, and the same alpha unless
        the scores of a target have several maxima over the grid.
    solver : {"auto", "dual", "primal"}
        Decompose the Gram matrix (n_samples, n_samples), or covariances (n_features,
        n_features), one more per fold; "auto" takes what needs fewer operations.
    standardize : bool or float, default False
        Centre features and divide them by their standard deviation over all training
        rows. A number such as 1e-3: the same, but standard deviations below this share
        of their root mean square over features are raised to it. A unit of a network
        that hardly moves in training may move a lot later; divided by next to nothing,
        it alone would decide predictions.
    device : str or torch.device, default "auto"
        As `neurovis.core.device.resolve`; "auto" is CUDA or the CPU.
    dtype : {None, "float32", "float64"}
        Precision of products with targets; None takes float32 if X and Y have it. In
        float32 the decomposition is in float64 where the smallest alpha is below 1e-4
        of the largest eigenvalue (`gram_dtype_`).
    n_targets_batch : int or "auto"
        Targets held in memory at once; "auto" fills a third of the free memory.
        The result does not depend on it beyond rounding.
    nan : {"raise", "omit"}
        What to do with targets that have a value that is not finite: refuse, or
        return NaN for them.
    group_leakage : {"raise", "allow"}
        What to do when rows of one group are both held out and trained on.

    Attributes
    ----------
    alphas_ : ndarray of float64, shape (n_targets,)
        Chosen penalty; NaN for targets that are omitted or have no score, such as
        constant ones, which are predicted by their mean.
    cv_scores_ : ndarray of float64, shape (n_targets,)
        Mean score over folds at that alpha, tie term included; NaN likewise.
    dual_coef_ : ndarray, shape (n_samples, n_targets)
        c in ``prediction = (X_new X') c``, of the features as centred and scaled.
        Only with the dual solver.
    coef_ : ndarray, shape (n_features, n_targets)
        Weights of the features as given. Computed when asked for (dual solver).
    intercept_ : ndarray, shape (n_targets,)
        Constant; 0 without an intercept, but for what `standardize` centres.
    n_at_smallest_, n_at_largest_ : int
        Targets whose alpha is an end of the grid: many say that it is too short.
    solver_ : {"dual", "primal"}
        What was decomposed.
    gram_dtype_ : {"float32", "float64"}
        Precision of the decomposition.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    Features may be arrays, tensors, memory maps, HDF5 data sets, or a list of those
    that stand side by side: they are read in blocks of columns, and the dual solver
    keeps a reference to them for predictions, not a copy. For tensors, attributes are
    tensors on the CPU. For one target, given as a vector, the last axis is dropped.

    In float32 predictions lose about 1e-7 times the ratio of the largest eigenvalue
    to alpha, relatively.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 20))
    >>> Y = X @ rng.standard_normal((20, 3)) + rng.standard_normal((100, 3))
    >>> model = RidgeCV(alphas=[0.1, 1, 10], device="cpu").fit(X[:80], Y[:80])
    >>> model.alphas_.shape, bool((model.score(X[80:], Y[80:]) > 0.8).all())
    ((3,), True)
    """

    def __init__(
        self,
        alphas: Any = ALPHAS,
        *,
        cv: Any = 5,
        fit_intercept: bool = True,
        scoring: str = "mse",
        selection: str = "per-target",
        search: str = "full",
        solver: str = "auto",
        standardize: bool | float = False,
        device: Any = "auto",
        dtype: Any = None,
        n_targets_batch: int | str = "auto",
        nan: str = "raise",
        group_leakage: str = "raise",
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.selection = selection
        self.search = search
        self.solver = solver
        self.standardize = standardize
        self.device = device
        self.dtype = dtype
        self.n_targets_batch = n_targets_batch
        self.nan = nan
        self.group_leakage = group_leakage

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Choose penalties and fit all rows.

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
        RidgeCV
            The estimator.

        Raises
        ------
        TypeError, ValueError
            If an option is unknown, shapes do not fit, features are not finite,
            targets are not finite and ``nan="raise"``, a group is split by explicit
            folds, or no alpha is large enough for the precision.
        """
        with all_or_nothing(self):
            return self._fit(X, y, groups)

    def _fit(self, X: Any, y: Any, groups: Any) -> Self:
        self._check_options()
        alphas = distinct_alphas(self.alphas)
        parts = check_features(self, X, reset=True)
        n_samples = int(parts[0].shape[0])
        y = check_targets(y, n_samples)
        self._is_single, self._is_tensor = len(y.shape) == 1, isinstance(y, Tensor)
        Y = y[:, None] if self._is_single else y
        check_defined(Y, self.nan)
        folds = check_folds(self.cv, n_samples, groups, self.group_leakage)
        with torch.no_grad(), exact_float32():
            problem = make_problem(
                parts,
                float(alphas[0]),
                folds,
                fit_intercept=self.fit_intercept,
                standardize=self.standardize,
                solver=self.solver,
                device=self.device,
                dtype=choose_dtype(self.dtype, *parts, Y),
                n_targets=int(Y.shape[1]),
                n_alphas=len(alphas),
            )
            self._fit_targets(problem, Y, alphas)
        self._features = problem.features
        self.solver_ = "dual" if problem.is_dual else "primal"
        self.gram_dtype_ = str(problem.eigen.dtype).removeprefix("torch.")
        return self

    def _check_options(self) -> None:
        check_option("scoring", self.scoring, SCORINGS)
        check_intercept(self.fit_intercept)
        check_option("selection", self.selection, SELECTIONS)
        check_option("search", self.search, ("full", "window"))
        check_option("nan", self.nan, ("raise", "omit"))
        if isinstance(self.n_targets_batch, str):
            check_option("n_targets_batch", self.n_targets_batch, ("auto",))
        else:
            check_whole("n_targets_batch", self.n_targets_batch, low=1)
        is_name = isinstance(self.cv, str)
        if is_name:
            check_option("cv", self.cv, ("loo", "gcv"))
        if is_name and self.cv == "gcv" and self.scoring != "mse":
            raise ValueError(
                "cv='gcv' estimates the mean squared error; `scoring` "
                f"{self.scoring!r} needs held-out rows: use cv=5 or 'loo'."
            )
        if self.selection == "conservative" and is_name:
            raise ValueError(
                "selection='conservative' compares folds, and cv="
                f"{self.cv!r} has none: give a number of folds."
            )
        if self.selection != "per-target" and self.search == "window":
            raise ValueError(
                "search='window' follows each target on its own; selection="
                f"{self.selection!r} needs all scores: use search='full'."
            )

    def _fit_targets(self, problem: Problem, Y: Any, alphas: Tensor) -> None:
        """Search and fit batch by batch."""
        n_targets = int(Y.shape[1])
        pieces = list(batches(problem, n_targets, len(alphas), self.n_targets_batch))
        self._alphas = torch.empty(n_targets, dtype=torch.float64)
        self._scores, self._mean = self._alphas.clone(), self._alphas.clone()
        self._weights = torch.empty(0)
        self._coef: Tensor | None = None
        tables: list[Tensor] = []
        for columns in pieces:
            batch = read_batch(problem, Y, columns)
            targets, scores = search_batch(
                problem,
                batch,
                alphas,
                cv=self.cv,
                scoring=self.scoring,
                search=self.search,
                keep_folds=self.selection == "conservative",
                keep_dual=self.selection == "per-target",
            )
            if self.selection == "shared":
                tables.append(scores.mean.cpu())
                continue
            index = scores.best
            if self.selection == "conservative":
                index = choose_conservative(scores)
            self._keep(problem, batch, targets, alphas, index, scores.mean, scores.dual)
        if tables:
            shared = choose_shared(torch.cat(tables, 1))
        for columns, mean in zip(pieces, tables, strict=False):
            batch = read_batch(problem, Y, columns)
            index = torch.where(mean.isnan().all(0), -1, shared).to(problem.device)
            targets = problem.targets(batch)
            self._keep(problem, batch, targets, alphas, index, mean, None)
        ends = (alphas[0], alphas[-1])
        self.n_at_smallest_, self.n_at_largest_ = (
            int((self._alphas == end).sum()) for end in ends
        )
        self.alphas_ = self._give(self._alphas)
        self.cv_scores_ = self._give(self._scores)
        self._log(len(alphas))
        warn_of_loss(expected_loss(problem, self._alphas))

    def _keep(
        self,
        problem: Problem,
        batch: Batch,
        targets: Targets,
        alphas: Tensor,
        index: Tensor,
        mean: Tensor,
        dual: Tensor | None,
    ) -> None:
        """Fit a batch with chosen penalties, unless that is done; store the result."""
        alphas, mean = alphas.to(index.device), mean.to(index.device)
        chosen = index.clamp(min=0)
        is_chosen = index >= 0
        weights = targets.refit(alphas[chosen]) if dual is None else dual
        weights[~is_chosen] = 0
        weights[batch.undefined] = torch.nan
        at = batch.columns
        nan, score = torch.nan, mean.gather(0, chosen[None])[0]
        self._alphas[at] = torch.where(is_chosen, alphas[chosen], nan).cpu()
        self._scores[at] = torch.where(is_chosen, score, nan).cpu()
        self._mean[at] = batch.mean.masked_fill(batch.undefined, nan).cpu()
        weights = problem.unsort(weights).cpu()
        if len(weights) == len(self._alphas):
            self._weights = weights  # no copy of what may fill half of the memory
            return
        if not len(self._weights):
            self._weights = weights.new_empty(len(self._alphas), weights.shape[1])
        self._weights[at] = weights

    def _log(self, n_alphas: int) -> None:
        n_undefined = int(self._mean.isnan().sum())
        if n_undefined:
            logger.warning("%d targets are omitted: NaN or infinite", n_undefined)
        n_flat = int(self._alphas.isnan().sum()) - n_undefined
        if n_flat:
            logger.warning("%d targets have no score and are not fitted", n_flat)
        logger.info(
            "%d targets, %d alphas: %d targets take the smallest, %d the largest",
            len(self._alphas),
            n_alphas,
            self.n_at_smallest_,
            self.n_at_largest_,
        )

    def _give(self, values: Tensor) -> Any:
        """Return values, targets on the last axis, as the kind that `fit` got."""
        if self._is_single:
            values = values[..., 0]
        return values if self._is_tensor else values.numpy()[()]

    @property
    def dual_coef_(self) -> Any:
        """Dual coefficients; only with the dual solver."""
        check_is_fitted(self)
        if self.solver_ != "dual":
            raise AttributeError(
                "dual_coef_ belongs to the dual solver; here solver_ is 'primal'. Use "
                "coef_, or solver='dual'."
            )
        return self._give(self._weights.T)

    @property
    def coef_(self) -> Any:
        """Weights of the features as given; with the dual solver computed now."""
        return self._give(self._primal())

    @property
    def intercept_(self) -> Any:
        """Constants; with the dual solver computed now."""
        check_is_fitted(self)
        constants = self._mean.clone()
        if self._features.centre is not None:
            # In float64 target by target: dual coefficients may be large and cancel.
            weights = centre_weights(self._features, self.solver_ == "dual")
            constants = self._mean - torch.stack(
                [row.double() @ weights for row in self._weights]
            )
        return self._give(constants.to(self._weights.dtype))

    def _primal(self) -> Tensor:
        check_is_fitted(self)
        if self._coef is None:
            with torch.no_grad(), exact_float32():
                is_dual = self.solver_ == "dual"
                self._coef = feature_weights(self._features, self._weights, is_dual)
        return self._coef

    def predict(self, X: Any) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : array-like, shape (n_new, n_features), or list of such
            Features, in the order of `fit`.

        Returns
        -------
        ndarray or Tensor, shape (n_new, n_targets)
            Predictions; a tensor on its device if X is one, or if X is on disk or a
            list and `fit` got tensors.

        Raises
        ------
        TypeError, ValueError
            If the number of features differs, or one is not finite.
        """
        check_is_fitted(self)
        parts = check_features(self, X, reset=False)
        with torch.no_grad(), exact_float32():
            if self.solver_ == "dual":
                seen = cross_gram(self._features, parts, self._weights.dtype)
            else:
                everything = slice(0, self._features.n_features)
                seen = new_block(self._features, parts, everything)
                seen = seen.to(self._weights.dtype)
            out = seen.new_empty(len(seen), len(self._weights))
            for start in range(0, len(self._weights), _PREDICT_AT_ONCE):
                at = slice(start, start + _PREDICT_AT_ONCE)
                out[:, at] = product(seen, self._weights[at].to(seen.device))
                out[:, at] += self._mean[at].to(seen)
        out = out[:, 0] if self._is_single else out
        if isinstance(parts[0], Tensor):
            return out.to(parts[0].device)
        return out.cpu().numpy()

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
        ndarray of float64, shape (n_targets,), or float
            As `analysis.metrics.r_squared`: NaN where a measured target is constant
            or not finite.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, or a feature is not finite.
        """
        parts = check_features(self, X, reset=False)
        measured = check_targets(y, int(parts[0].shape[0]))
        predicted = self.predict(X)
        pair = [_array(measured), _array(predicted)]
        if len(pair[0].shape) == 1:
            pair = [values.reshape(len(values), -1) for values in pair]
            return float(r_squared(*pair)[0])
        return r_squared(*pair)


def _array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values[...]
