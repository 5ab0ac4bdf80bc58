"""Feature-weighted receptive fields: where a target looks, and for what.

One Gaussian pool per target, the same for all feature maps, turns maps into features;
ridge regression weighs them. Pool and penalty are chosen among candidates by held-out
errors. `FwRF` is the estimator; `candidate_grid` and `gaussian_pools` say what pools
are.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
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
from neurovis.fitting.fwrf_pools import (
    candidate_grid,
    check_candidates,
    check_maps,
    gaussian_pools,
)
from neurovis.fitting.fwrf_problem import ACTIVATIONS, PooledProblem
from neurovis.fitting.fwrf_search import (
    Chosen,
    Fitted,
    fit_weights,
    make_blocks,
    predict_pooled,
    search_pools,
)
from neurovis.fitting.fwrf_solve import BIASES
from neurovis.fitting.ridge_features import tensor_of
from neurovis.fitting.ridge_folds import Rows, make_folds, sort_by_fold
from neurovis.fitting.ridge_inputs import (
    check_alphas,
    check_defined,
    check_targets,
    choose_dtype,
)
from neurovis.fitting.ridge_problem import choose_device

__all__ = ["ALPHAS", "FwRF", "candidate_grid", "gaussian_pools"]

logger = logging.getLogger(__name__)

ALPHAS = tuple((10.0 ** np.linspace(3, 7, 9)).tolist())
"""Published penalties: two per decade from 1e3 to 1e7."""


class FwRF(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Feature-weighted receptive field model with one Gaussian pool per target.

    The prediction is ``b + sum_k w_k (f(sum_xy map_k(x, y) g(x, y)) - m_k) / s_k``: g
    is the pool of the target (`gaussian_pools`), f the activation, m and s mean and
    scale of the pooled feature over all rows of `fit`. For each candidate pool and
    each penalty, weights are fitted to training rows and their squared errors are
    summed over held-out rows; the pair with the least sum is taken. Of equal ones the
    first pool, then the first penalty, as given.

    Parameters
    ----------
    candidates : array-like, shape (n_candidates, 3), optional
        x, y (upwards) and sigma of pools, in the unit of `aperture`; `candidate_grid`
        with 875 pools by default.
    alphas : sequence of float, default `ALPHAS`
        Penalties to choose from, > 0, in the order that decides ties.
    cv : {"holdout"}, int, or explicit folds
        "holdout", as published, holds out the last `holdout` rows. A number of
        folds (of groups, where `fit` gets them) uses every row; also what
        `neurovis.fitting.ridge_folds.make_folds` takes.
    holdout : int, default 500
        Rows at the end that are held out by ``cv="holdout"``.
    refit : bool, optional
        Fit the chosen pool and penalty to all rows. None does so after folds; after
        "holdout" the weights stay those of the training rows, as published.
    bias : {"penalized", "free", "none"}
        Whether the constant b is penalised like a weight (as published), is free, or
        is left out.
    activation : {None, "log-tanh"} or callable
        f, from and to tensors; "log-tanh" is ``log(1 + |x|) tanh(|x|)``.
    zscore : bool, default True
        Subtract mean and divide by (population) standard deviation + 1e-6 of pooled
        features over all rows of `fit`, held-out ones included, as published.
    aperture : float, default 1
        Side of the pictures in the unit of `candidates`.
    device : str or torch.device, default "auto"
        As `neurovis.core.device.resolve`; "auto" is CUDA or the CPU.
    dtype : {None, "float32", "float64"}
        Precision of pooling and of products with targets; None takes float32 if maps
        and y have it. In float32 a system is solved in float64 where the smallest
        alpha is below 1e-4 of its norm.
    n_candidates_batch, n_targets_batch : int or "auto"
        Pools, and targets, held in memory at once; "auto" follows the free memory.
        The result does not depend on them beyond rounding.
    folder : str or Path, optional
        Where finished blocks of candidates are kept: a fit that was killed goes on
        from there with the batches it began with, and ends (on the CPU, with the same
        number of threads) with equal bits. Blocks of other data or options may lie
        beside them.
    nan : {"raise", "omit"}
        What to do with targets that have a value that is not finite: refuse, or
        return NaN for them.
    group_leakage : {"raise", "allow"}
        What to do when rows of one group are both held out and trained on.

    Attributes
    ----------
    pools_ : ndarray of float64, shape (n_targets, 3)
        x, y and sigma of the chosen pools; NaN for targets that are omitted, and for
        constant ones, which are predicted by their value.
    candidate_ : ndarray of int, shape (n_targets,)
        Their rows in `candidates`, 0-based; -1 where there is none.
    alphas_ : ndarray of float64, shape (n_targets,)
        Chosen penalty; NaN likewise.
    losses_ : ndarray of float64, shape (n_targets,)
        Sum of squared errors over held-out rows; NaN likewise.
    coef_ : ndarray, shape (n_features, n_targets)
        Weights w of pooled features, as z-scored; one per map, in the order of `fit`.
    intercept_ : ndarray, shape (n_targets,)
        Constant b.
    feature_mean_, feature_scale_ : ndarray of float64, shape (n_features, n_targets)
        m and s of the pool of each target (0 and 1 without z-scoring).
    n_at_smallest_, n_at_largest_ : int
        Targets whose alpha is an end of the grid: many say that it is too short.
    n_features_in_ : int
        Number of maps.

    Notes
    -----
    Maps are read once per block of candidates, so that memory maps and HDF5 data sets
    may be larger than the memory. Held in memory are the targets, and for each pool
    of a block all images by all features. With K-fold cross-validation features see
    mean and scale of held-out rows, never their responses.

    For tensors y, attributes are tensors on the CPU. For one target, given as a
    vector, the axis of targets is dropped.

    References
    ----------
    St-Yves & Naselaris (2018), doi:10.1016/j.neuroimage.2017.06.035.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> maps = rng.standard_normal((120, 3, 8, 8))
    >>> pool = gaussian_pools(8, [[0.2, -0.2, 0.1]])[0]
    >>> y = np.einsum("nkij,ij->nk", maps, pool).sum(1, keepdims=True)
    >>> grid = candidate_grid(2, 0.1, 0.2)
    >>> model = FwRF(grid, [0.1, 1], holdout=40, device="cpu").fit(maps, y)
    >>> model.pools_.round(2).tolist()
    [[0.24, -0.24, 0.1]]
    """

    def __init__(
        self,
        candidates: Any = None,
        alphas: Any = ALPHAS,
        *,
        cv: Any = "holdout",
        holdout: int = 500,
        refit: bool | None = None,
        bias: str = "penalized",
        activation: str | Callable[[Tensor], Tensor] | None = None,
        zscore: bool = True,
        aperture: float = 1.0,
        device: Any = "auto",
        dtype: Any = None,
        n_candidates_batch: int | str = "auto",
        n_targets_batch: int | str = "auto",
        folder: str | Path | None = None,
        nan: str = "raise",
        group_leakage: str = "raise",
    ) -> None:
        self.candidates = candidates
        self.alphas = alphas
        self.cv = cv
        self.holdout = holdout
        self.refit = refit
        self.bias = bias
        self.activation = activation
        self.zscore = zscore
        self.aperture = aperture
        self.device = device
        self.dtype = dtype
        self.n_candidates_batch = n_candidates_batch
        self.n_targets_batch = n_targets_batch
        self.folder = folder
        self.nan = nan
        self.group_leakage = group_leakage

    def fit(self, maps: Any, y: Any, groups: Any = None) -> Self:
        """Choose pools and penalties, and fit weights.

        Parameters
        ----------
        maps : sequence of array-like, each of shape (n_images, n_maps, H, H)
            Feature maps of one or more resolutions; row 0 of a map is the top.
        y : array-like, shape (n_images, n_targets) or (n_images,)
            Responses.
        groups : array-like of int or str, shape (n_images,), optional
            Group of each row, such as its stimulus: no group may be both held out and
            trained on.

        Returns
        -------
        FwRF
            The estimator.

        Raises
        ------
        TypeError, ValueError
            If an option is unknown, shapes do not fit, a value is not finite (for
            targets with ``nan="raise"``), or a group is split.
        """
        alphas, candidates, rows = self._check_options()
        parts = check_maps(maps)
        n_images = int(parts[0].shape[0])
        y = check_targets(y, n_images)
        self._is_single, self._is_tensor = len(y.shape) == 1, isinstance(y, Tensor)
        Y = y[:, None] if self._is_single else y
        check_defined(Y, self.nan)
        is_held = isinstance(self.cv, str)
        order = sort_by_fold(self._folds(n_images, groups), n_images)
        with torch.no_grad(), exact_float32():
            place = choose_device(self.device)
            dtype = choose_dtype(self.dtype, *parts, Y)
            targets = self._read_targets(Y, dtype, order.order)
            problem = PooledProblem(
                maps=parts,
                targets=targets,
                order=order,
                candidates=candidates,
                alphas=alphas,
                aperture=float(self.aperture),
                bias=self.bias,
                activation=self.activation,
                zscore=bool(self.zscore),
                refit=not is_held if self.refit is None else bool(self.refit),
                dtype=dtype,
                device=place,
            )
            blocks = make_blocks(
                problem, self.n_candidates_batch, self.n_targets_batch, self.folder
            )
            chosen = search_pools(problem, blocks)
            fitted = fit_weights(problem, blocks, chosen)
        self._candidates, self._rows, self._place = candidates, rows, place
        self.n_features_in_ = problem.n_features
        self._keep(alphas, chosen, fitted)
        return self

    def _check_options(self) -> tuple[Tensor, NDArray[Any], Tensor]:
        """Return penalties as given, distinct candidates, and their first rows."""
        check_option("bias", self.bias, BIASES)
        check_option("nan", self.nan, ("raise", "omit"))
        check_option("refit", self.refit, (None, True, False))
        if isinstance(self.cv, str):
            check_option("cv", self.cv, ("holdout",))
        elif self.refit is False:
            raise ValueError(
                "refit=False keeps the weights of the training rows, and `cv` with "
                "folds has none of its own: use refit=True, or cv='holdout'."
            )
        if not callable(self.activation):
            check_option("activation", self.activation, (None, *ACTIVATIONS))
        elif self.folder is not None:
            raise ValueError(
                "`folder` tells fits apart by their options, and a function as "
                f"`activation` has no name: use one of {(None, *ACTIVATIONS)}, or fit "
                "without `folder`."
            )
        ascending, order = check_alphas(self.alphas)
        given = torch.empty_like(ascending)
        given[order] = ascending
        grid = self.candidates
        if grid is None:
            grid = candidate_grid(aperture=self.aperture)
        candidates = check_candidates(grid)
        gaussian_pools(1, candidates[:1], self.aperture)  # raises for the aperture
        rows = np.sort(np.unique(candidates, axis=0, return_index=True)[1])
        return given, candidates[rows], torch.from_numpy(rows)

    def _folds(self, n_images: int, groups: Any) -> tuple[Rows, ...]:
        cv: Any = self.cv
        if isinstance(cv, str):
            held = check_whole("holdout", self.holdout, low=1)
            if held >= n_images:
                raise ValueError(
                    f"`holdout` holds out {held} rows, but there are {n_images}: use "
                    "fewer, or cv=5."
                )
            cv = [np.arange(n_images - held, n_images)]
        return make_folds(cv, n_images, groups, group_leakage=self.group_leakage)

    def _read_targets(self, Y: Any, dtype: torch.dtype, order: Rows) -> Tensor:
        """Return fitted targets, one per row, and keep what the others are."""
        cpu = torch.device("cpu")
        n_targets = int(Y.shape[1])
        rows = torch.from_numpy(order)
        self._constant = torch.full((n_targets,), torch.nan, dtype=torch.float64)
        fitted: list[Tensor] = []
        kept: list[Tensor] = []
        for start in range(0, n_targets, 1024):
            wide = tensor_of(Y[:, start : start + 1024], torch.float64, cpu)
            defined = wide.sum(0).isfinite()
            first = wide[:1] if self.bias != "none" else torch.zeros_like(wide[:1])
            constant = (wide == first).all(0) & defined
            at = torch.arange(start, start + wide.shape[1])
            self._constant[at[constant]] = wide[0, constant]
            good = defined & ~constant
            fitted.append(wide[:, good].T[:, rows].to(dtype))
            kept.append(at[good])
        self._fitted = torch.cat(kept)
        return torch.cat(fitted)

    def _keep(self, alphas: Tensor, chosen: Chosen, fitted: Fitted) -> None:
        n_targets, at = len(self._constant), self._fitted
        nan = torch.nan
        is_found = chosen.candidate >= 0
        losses = torch.full((n_targets,), nan, dtype=torch.float64)
        picked = losses.clone()
        losses[at] = chosen.loss.masked_fill(~is_found, nan)
        picked[at] = alphas[chosen.alpha].masked_fill(~is_found, nan)
        self._candidate = torch.full((n_targets,), -1)
        self._candidate[at] = chosen.candidate
        there = self._candidate >= 0
        pools = torch.from_numpy(self._candidates.astype(np.float64))[self._candidate]
        self.pools_ = self._give(pools.masked_fill(~there[:, None], nan), 0)
        self.candidate_ = self._give(self._rows[self._candidate].where(there, -1))
        self.alphas_, self.losses_ = self._give(picked), self._give(losses)
        self.n_at_smallest_ = int((picked == alphas.min()).sum())
        self.n_at_largest_ = int((picked == alphas.max()).sum())
        n_columns = self.n_features_in_ + 1
        weights = torch.zeros(n_targets, n_columns, dtype=fitted.weights.dtype)
        # Undefined targets stay undefined; constant ones are their value.
        weights[self._constant.isnan()] = nan
        weights[:, -1] = self._constant.to(weights.dtype)
        weights[at, : fitted.weights.shape[1]] = fitted.weights
        if fitted.weights.shape[1] < n_columns:
            weights[at, -1] = 0
        self._model = replace(fitted, weights=weights)
        n_undefined = int(weights[:, 0].isnan().sum())
        if n_undefined:
            logger.warning("%d targets are omitted: NaN or infinite", n_undefined)
        n_flat = n_targets - len(at) - n_undefined
        if n_flat:
            logger.warning("%d targets are constant and have no pool", n_flat)
        logger.info(
            "%d targets, %d pools, %d alphas: %d targets take the smallest, %d the "
            "largest",
            n_targets,
            len(self._candidates),
            len(alphas),
            self.n_at_smallest_,
            self.n_at_largest_,
        )

    def _give(self, values: Tensor, axis: int = -1) -> Any:
        """Return values as the kind that `fit` got."""
        if self._is_single:
            values = values.select(axis, 0)
        return values if self._is_tensor else values.numpy()[()]

    @property
    def coef_(self) -> Any:
        """Weights of pooled features."""
        check_is_fitted(self)
        return self._give(self._model.weights[:, :-1].T)

    @property
    def intercept_(self) -> Any:
        """Constants."""
        check_is_fitted(self)
        return self._give(self._model.weights[:, -1])

    @property
    def feature_mean_(self) -> Any:
        """What is subtracted from pooled features."""
        check_is_fitted(self)
        return self._give(self._of_targets(self._model.mean))

    @property
    def feature_scale_(self) -> Any:
        """What pooled features are divided by."""
        check_is_fitted(self)
        return self._give(self._of_targets(self._model.scale))

    @property
    def tables_(self) -> Fitted:
        """Weights of targets, and moments of the pools that some target took."""
        check_is_fitted(self)
        return self._model

    def _of_targets(self, table: Tensor) -> Tensor:
        """Gather what belongs to the pools of targets; NaN where there is none."""
        there = self._candidate >= 0
        values = torch.full((len(there), self.n_features_in_), torch.nan).double()
        at = torch.searchsorted(self._model.candidates, self._candidate[there])
        values[there] = table[at]
        return values.T

    def predict(self, maps: Any) -> Any:
        """Predict responses.

        Parameters
        ----------
        maps : sequence of array-like, each of shape (n_new, n_maps, H, H)
            Feature maps of new images, in the order of `fit`; resolutions may differ
            from there.

        Returns
        -------
        ndarray or Tensor, shape (n_new, n_targets)
            Predictions; a tensor on the CPU if `fit` got tensors.

        Raises
        ------
        ValueError
            If the number of maps differs, or a value is not finite.
        """
        check_is_fitted(self)
        parts = check_maps(maps)
        n_features = sum(int(part.shape[1]) for part in parts)
        if n_features != self.n_features_in_:
            raise ValueError(
                f"`maps` has {n_features} maps, but the model was fitted to "
                f"{self.n_features_in_}."
            )
        with torch.no_grad(), exact_float32():
            out = predict_pooled(
                parts,
                self._candidates,
                self._model,
                self._candidate,
                aperture=float(self.aperture),
                activation=self.activation,
                device=self._place,
            )
        return self._give(out)

    def score(self, maps: Any, y: Any) -> Any:
        """Compute R2 of the predictions, target by target.

        Parameters
        ----------
        maps : sequence of array-like, each of shape (n_new, n_maps, H, H)
            Feature maps of new images.
        y : array-like, shape (n_new, n_targets) or (n_new,)
            Measured responses.

        Returns
        -------
        ndarray of float64, shape (n_targets,), or float
            As `analysis.metrics.r_squared`: NaN where measured responses are constant
            or not finite.

        Raises
        ------
        TypeError, ValueError
            If shapes do not fit, or a feature is not finite.
        """
        parts = check_maps(maps)
        measured = check_targets(y, int(parts[0].shape[0]))
        pair = [
            v.detach().cpu().numpy() if isinstance(v, Tensor) else np.asarray(v)
            for v in (measured, self.predict(maps))
        ]
        if pair[0].ndim == 1:
            pair = [values.reshape(len(values), -1) for values in pair]
            return float(r_squared(*pair)[0])
        return r_squared(*pair)
