"""Ridge regression with one penalty per feature space and target.

For every target y the weights b_g of feature spaces X_g and the intercept c minimise
``|y - sum_g X_g b_g - c|**2 + sum_g |b_g|**2 exp(-delta_g)``, where exp(delta_g) is
gamma_g / alpha. Rows of gammas are drawn at random, alphas come from a grid, and both
are chosen target by target by exact cross-validation.
"""

import logging
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (  # type: ignore[import-untyped]
    BaseEstimator,
    MultiOutputMixin,
    RegressorMixin,
)
from sklearn.utils.validation import check_is_fitted  # type: ignore[import-untyped]
from torch import Tensor

from analysis.metrics import pearson_r, r_squared
from analysis.variance import split_pearson_r, split_r_squared
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import exact_float32
from neurovis.fitting.banded_search import (
    Best,
    Candidates,
    make_space_problem,
    search_gammas,
)
from neurovis.fitting.banded_spaces import (
    SpaceParts,
    check_gammas,
    check_spaces,
    draw_gammas,
    match_spaces,
    naming,
)
from neurovis.fitting.ridge import ALPHAS
from neurovis.fitting.ridge_features import (
    centre_weights,
    cross_gram,
    new_block,
    primal_weights,
)
from neurovis.fitting.ridge_inputs import (
    all_or_nothing,
    check_defined,
    check_folds,
    check_intercept,
    check_targets,
    choose_dtype,
    distinct_alphas,
)
from neurovis.fitting.ridge_linalg import product
from neurovis.fitting.ridge_problem import choose_device
from neurovis.fitting.ridge_scores import SCORINGS

logger = logging.getLogger(__name__)

_AT_ONCE = 4096


class BandedRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression with weighted feature spaces, chosen per target.

    Parameters
    ----------
    alphas : sequence of float, default `neurovis.fitting.ridge.ALPHAS`
        Penalties to choose from, > 0.
    n_iter : int, default 100
        Rows of gammas to draw.
    gammas : array-like of float, shape (n_iter, n_spaces), optional
        Weights of feature spaces to try instead, >= 0; a space with weight 0 is left
        out. They multiply the Gram matrices, so need not sum to 1.
    seed : int, default 0
        Of the draw, see `neurovis.fitting.banded_spaces.draw_gammas`.
    cv, fit_intercept, scoring : optional
        As `neurovis.fitting.ridge.RidgeCV`.
    search : {"full", "window"}
        As `neurovis.fitting.ridge.RidgeCV`, for each row of gammas.
    solver : {"auto", "dual", "primal"}
        Decompose Gram matrices (n_samples, n_samples), one per row of gammas, or
        covariances of all features, one more per fold; "auto" takes what needs fewer
        operations.
    standardize, device, dtype, n_targets_batch, nan, group_leakage : optional
        As `neurovis.fitting.ridge.RidgeCV`.

    Attributes
    ----------
    deltas_ : ndarray of float64, shape (n_spaces, n_targets)
        ``ln(gamma / alpha)`` as chosen; -inf for spaces left out. NaN for targets that
        are omitted or have no score, such as constant ones, which are predicted by
        their mean.
    gammas_ : ndarray of float64, shape (n_spaces, n_targets)
        Chosen weights of spaces; NaN likewise.
    alphas_ : ndarray of float64, shape (n_targets,)
        Chosen penalties; NaN likewise.
    best_iter_ : ndarray of int, shape (n_targets,)
        Chosen row of `searched_gammas_`; -1 where there is none.
    cv_scores_ : ndarray of float64, shape (n_targets,)
        Mean score over folds of the choice, 1e-10 ln(alpha) included; NaN likewise.
    cv_scores_per_iter_ : ndarray of float64, shape (n_iter, n_targets)
        The best such score of each row of gammas.
    searched_gammas_ : ndarray of float64, shape (n_iter, n_spaces)
        What was tried.
    dual_coef_ : ndarray, shape (n_samples, n_targets)
        c in ``prediction = sum_g exp(delta_g) (X_new,g X_g') c``, of the features as
        centred and scaled: the residuals of the fit. Only with the dual solver.
    coef_ : list or dict of ndarray, each of shape (n_features_g, n_targets)
        Weights of the features as given, by space as in `fit`; computed when asked
        for.
    intercept_ : ndarray, shape (n_targets,)
        Constant; 0 without an intercept, but for what `standardize` centres.
    n_at_smallest_, n_at_largest_ : int
        Targets whose alpha is an end of the grid.
    spaces_ : tuple of str
        Names of the feature spaces; "0", "1", ... for a list.
    solver_ : {"dual", "primal"}
        What was decomposed.
    gram_dtype_ : {"float32", "float64"}
        Precision of the decompositions.
    n_features_in_ : int
        Number of features of all spaces.

    Notes
    -----
    A later row replaces an earlier one only if its score is higher by more than the
    rounding unit of `dtype`. With n_iter rows the work is that of n_iter ridge
    regressions, but for the Gram matrix of each space, which is computed once; the
    dual solver keeps those, n_spaces times n_samples**2 numbers.

    References
    ----------
    Nunez-Elizalde, Huth and Gallant (2019). NeuroImage 197, 482-492.
    doi:10.1016/j.neuroimage.2019.04.012. Dupré la Tour, Eickenberg, Nunez-Elizalde and
    Gallant (2022). NeuroImage 264, 119728. doi:10.1016/j.neuroimage.2022.119728

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> edges, objects = rng.standard_normal((2, 80, 30))
    >>> Y = edges @ rng.standard_normal((30, 4)) + rng.standard_normal((80, 4))
    >>> spaces = {"edges": edges, "objects": objects}
    >>> model = BandedRidgeCV(n_iter=10, device="cpu").fit(spaces, Y)
    >>> bool((model.gammas_[0] > 0.9).all())
    True
    """

    def __init__(
        self,
        alphas: Any = ALPHAS,
        *,
        n_iter: int = 100,
        gammas: Any = None,
        seed: int = 0,
        cv: Any = 5,
        fit_intercept: bool = True,
        scoring: str = "mse",
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
        self.n_iter = n_iter
        self.gammas = gammas
        self.seed = seed
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.search = search
        self.solver = solver
        self.standardize = standardize
        self.device = device
        self.dtype = dtype
        self.n_targets_batch = n_targets_batch
        self.nan = nan
        self.group_leakage = group_leakage

    def fit(self, Xs: Any, y: Any, groups: Any = None) -> Self:
        """Choose weights and penalties, and fit all rows.

        Parameters
        ----------
        Xs : list or mapping of array-like, each of shape (n_samples, n_features_g)
            Feature spaces, such as the layers of a network; what is on disk is read in
            blocks, and not copied.
        y : array-like, shape (n_samples, n_targets) or (n_samples,)
            Targets.
        groups : array-like of int or str, shape (n_samples,), optional
            Group of each row, such as its stimulus: rows of one group are held out
            together.

        Returns
        -------
        BandedRidgeCV
            The estimator.

        Raises
        ------
        TypeError, ValueError
            If an option is unknown, shapes do not fit, features are not finite,
            targets are not finite and ``nan="raise"``, a group is split by explicit
            folds, or no alpha is large enough for the precision.
        """
        with all_or_nothing(self):
            return self._fit(Xs, y, groups)

    def _fit(self, Xs: Any, y: Any, groups: Any) -> Self:
        alphas = self._check_options()
        spaces = check_spaces(Xs)
        n_spaces, n_samples = len(spaces.names), spaces.n_samples
        if self.gammas is None:
            gammas = draw_gammas(self.n_iter, n_spaces, self.seed)
        else:
            gammas = check_gammas(self.gammas, n_spaces)
        y = check_targets(y, n_samples)
        is_single, is_tensor = len(y.shape) == 1, isinstance(y, Tensor)
        Y = y[:, None] if is_single else y
        check_defined(Y, self.nan)
        folds = check_folds(self.cv, n_samples, groups, self.group_leakage)
        candidates = Candidates(
            torch.from_numpy(gammas), alphas, self.cv, self.scoring, self.search
        )
        every = [part for parts in spaces.parts for part in parts]
        with torch.no_grad(), exact_float32():
            problem = make_space_problem(
                spaces,
                candidates,
                folds,
                fit_intercept=self.fit_intercept,
                standardize=self.standardize,
                solver=self.solver,
                device=choose_device(self.device),
                dtype=choose_dtype(self.dtype, *every, Y),
                n_targets=int(Y.shape[1]),
            )
            best = search_gammas(problem, Y, candidates, self.n_targets_batch)
        self._is_single, self._is_tensor = is_single, is_tensor
        self._spaces, self._features = spaces, problem.features
        self.solver_ = "primal" if problem.grams is None else "dual"
        self.gram_dtype_ = str(best.gram_dtype).removeprefix("torch.")
        self.spaces_, self.n_features_in_ = spaces.names, sum(spaces.widths)
        self._keep(best, candidates)
        return self

    def _check_options(self) -> Tensor:
        check_option("scoring", self.scoring, SCORINGS)
        check_intercept(self.fit_intercept)
        check_option("search", self.search, ("full", "window"))
        check_option("solver", self.solver, ("auto", "dual", "primal"))
        if isinstance(self.cv, str):
            check_option("cv", self.cv, ("loo", "gcv"))
            if self.cv == "gcv" and self.scoring != "mse":
                raise ValueError(
                    "cv='gcv' estimates the mean squared error; `scoring` "
                    f"{self.scoring!r} needs held-out rows: use cv=5 or 'loo'."
                )
        size = self.n_targets_batch
        if isinstance(size, str):
            check_option("n_targets_batch", size, ("auto",))
        else:
            check_whole("n_targets_batch", size, low=1)
        return distinct_alphas(self.alphas)

    def _keep(self, best: Best, candidates: Candidates) -> None:
        """Store what a search found."""
        chosen = candidates.gammas[best.row.clamp(min=0)].T
        gammas = chosen.masked_fill(best.row < 0, torch.nan)
        self._weights, self._mean, self._alphas = best.weights, best.mean, best.alphas
        self._gammas = chosen
        top = best.top.masked_fill(best.row < 0, torch.nan)
        give = self._give
        self.gammas_, self.alphas_ = give(gammas), give(best.alphas)
        self.deltas_ = give((gammas / best.alphas).log())
        self.best_iter_, self.cv_scores_ = give(best.row), give(top)
        self.cv_scores_per_iter_ = give(best.scores)
        self.searched_gammas_ = candidates.gammas.numpy()
        ends = (candidates.alphas[0], candidates.alphas[-1])
        self.n_at_smallest_, self.n_at_largest_ = (
            int((best.alphas == end).sum()) for end in ends
        )
        n_undefined = int(best.mean.isnan().sum())
        if n_undefined:
            logger.warning("%d targets are omitted: NaN or infinite", n_undefined)
        n_flat = int((best.row < 0).sum()) - n_undefined
        if n_flat:
            logger.warning("%d targets have no score and are not fitted", n_flat)
        logger.info(
            "%d targets, %d rows of gammas, of which %d are chosen; %d targets take "
            "the smallest alpha, %d the largest",
            len(best.row),
            len(candidates.gammas),
            int((torch.bincount(best.row + 1)[1:] > 0).sum()),
            self.n_at_smallest_,
            self.n_at_largest_,
        )

    def _give(self, values: Tensor) -> Any:
        """Return values, targets on the last axis, as the kind that `fit` got."""
        if self._is_single:
            values = values[..., 0]
        return values if self._is_tensor else values.numpy()[()]

    def _columns(self, space: int) -> slice:
        start = sum(self._spaces.widths[:space])
        return slice(start, start + self._spaces.widths[space])

    def _space_weights(self, space: int, targets: slice) -> Tensor:
        """Return what predicts a space's share: dual, or of the features as given."""
        if self.solver_ == "primal":
            return self._weights[targets, self._columns(space)]
        gamma = self._gammas[space, targets, None].to(self._weights.dtype)
        return self._weights[targets] * gamma

    @property
    def dual_coef_(self) -> Any:
        """Dual coefficients; only with the dual solver."""
        check_is_fitted(self)
        if self.solver_ != "dual":
            raise AttributeError(
                "dual_coef_ belongs to the dual solver; here solver_ is 'primal'. Use "
                "coef_, or solver='dual'."
            )
        alphas = self._alphas.nan_to_num(1)[:, None].to(self._weights.dtype)
        return self._give((self._weights * alphas).T)

    @property
    def coef_(self) -> Any:
        """Weights of the features as given, by space; computed now."""
        check_is_fitted(self)
        everything = slice(0, len(self._weights))
        found = []
        with torch.no_grad(), exact_float32():
            for k, features in enumerate(self._features):
                weights = self._space_weights(k, everything)
                is_dual = self.solver_ == "dual"
                weights = primal_weights(features, weights) if is_dual else weights.T
                found.append(self._give(weights))
        return dict(zip(self.spaces_, found, strict=True)) if self._named else found

    @property
    def _named(self) -> bool:
        return self._spaces.is_named

    @property
    def intercept_(self) -> Any:
        """Constants; computed now."""
        check_is_fitted(self)
        constants = self._mean.clone()
        is_dual = self.solver_ == "dual"
        for k, features in enumerate(self._features):
            if features.centre is None:
                continue
            unit = features if is_dual else replace(features, scale=None)
            centre = centre_weights(unit, is_dual)
            for start in range(0, len(constants), _AT_ONCE):
                at = slice(start, start + _AT_ONCE)
                # In float64: dual coefficients may be large and cancel.
                constants[at] -= self._space_weights(k, at).double() @ centre
        return self._give(constants.to(self._weights.dtype))

    def predict(self, Xs: Any, *, split: bool = False) -> Any:
        """Predict targets.

        Parameters
        ----------
        Xs : list or mapping of array-like, each of shape (n_new, n_features_g)
            Feature spaces, a mapping if `fit` got one.
        split : bool, default False
            Return what each space adds: their sum and the mean of the training targets
            (0 without an intercept) make the prediction.

        Returns
        -------
        ndarray or Tensor, shape (n_new, n_targets) or (n_spaces, n_new, n_targets)
            Predictions; a tensor on its device if the first space is one.

        Raises
        ------
        TypeError, ValueError
            If spaces or their numbers of features differ, or a feature is not finite.
        """
        check_is_fitted(self)
        new = match_spaces(Xs, self._spaces)
        n_targets, dtype = len(self._weights), self._weights.dtype
        place = self._features[0].device
        shape = (len(new.names) if split else 1, new.n_samples, n_targets)
        out = torch.zeros(shape, dtype=dtype, device=place)
        with torch.no_grad(), exact_float32():
            for k in range(len(new.names)):
                seen = self._seen(new, k)
                for start in range(0, n_targets, _AT_ONCE):
                    at = slice(start, start + _AT_ONCE)
                    weights = self._space_weights(k, at).to(place)
                    out[k * split, :, at] += product(seen, weights)
            if not split:
                out += self._mean.to(out)
        out = out if split else out[0]
        out = out[..., 0] if self._is_single else out
        first = new.parts[0][0]
        return out.to(first.device) if isinstance(first, Tensor) else out.cpu().numpy()

    def _seen(self, new: SpaceParts, space: int) -> Tensor:
        """Return new rows of a space as products with training rows, or as they are."""
        features, parts = self._features[space], new.parts[space]
        with naming(new.names[space]):
            if self.solver_ == "dual":
                return cross_gram(features, parts, self._weights.dtype)
            everything = slice(0, features.n_features)
            block = new_block(replace(features, scale=None), parts, everything)
            return block.to(self._weights.dtype)

    def score(
        self, Xs: Any, y: Any, *, metric: str = "r2", split: str | None = None
    ) -> Any:
        """Score predictions, target by target.

        Parameters
        ----------
        Xs : list or mapping of array-like, each of shape (n_new, n_features_g)
            Feature spaces.
        y : array-like, shape (n_new, n_targets) or (n_new,)
            Measured values.
        metric : {"r2", "correlation"}
            R2 or Pearson's r.
        split : {None, "product"}
            "product" divides the score among the spaces by the product measure; shares
            add up to the score of the prediction, for R2 once its mean is moved to the
            measured one. See `analysis.variance.split_r_squared`.

        Returns
        -------
        ndarray of float64, shape (n_targets,) or (n_spaces, n_targets), or float
            As `analysis.metrics.r_squared` and `analysis.variance.split_r_squared`:
            NaN where undefined.

        Raises
        ------
        TypeError, ValueError
            If an option is unknown, shapes do not fit, or a feature is not finite.
        """
        check_is_fitted(self)
        check_option("metric", metric, ("r2", "correlation"))
        check_option("split", split, (None, "product"))
        new = match_spaces(Xs, self._spaces)
        measured = _plain(check_targets(y, new.n_samples))
        predicted = _plain(self.predict(Xs, split=split is not None))
        if self._is_single:
            predicted = predicted[..., None]
            measured = measured.reshape(len(measured), -1)
        if split is None:
            found = (r_squared if metric == "r2" else pearson_r)(measured, predicted)
        else:
            divide = split_r_squared if metric == "r2" else split_pearson_r
            found = divide(measured, predicted)
        found = found[..., 0] if self._is_single else found
        return float(found) if found.ndim == 0 else found


def _plain(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values[...])
