"""Random search over weights of feature spaces, for all targets at once.

For each row of weights gamma one Gram matrix ``sum_g gamma_g X_g X_g'`` is decomposed
once and scored exactly by cross-validation for every alpha. A target keeps the row and
the alpha that are best for it, and is fitted with them as soon as they are found.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurovis.core.log import progress
from neurovis.fitting.banded_spaces import (
    SpaceParts,
    join_spaces,
    prepare_spaces,
    space_grams,
    weighted_gram,
)
from neurovis.fitting.ridge_eigen import (
    SMALLEST_SINGLE_RATIO,
    decompose,
    largest_eigenvalue,
    largest_rank,
    selectable,
)
from neurovis.fitting.ridge_features import Features
from neurovis.fitting.ridge_folds import Rows, sort_by_fold
from neurovis.fitting.ridge_linalg import product
from neurovis.fitting.ridge_primal import (
    PrimalTargets,
    decompose_covariances,
    shrinkage,
)
from neurovis.fitting.ridge_problem import (
    Batch,
    Problem,
    batches,
    cheaper_solver,
    expected_loss,
    read_batch,
    warn_of_loss,
)
from neurovis.fitting.ridge_search import (
    Evaluation,
    Scores,
    Targets,
    gcv_scores,
    search_full,
    search_window,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidates:
    """What is tried, and how it is scored.

    Parameters
    ----------
    gammas : Tensor of float64, shape (n_iter, n_spaces)
        Weights of spaces.
    alphas : Tensor of float64, shape (n_alphas,)
        Penalties, ascending.
    cv : object
        "gcv", or anything else for held-out rows.
    scoring : {"mse", "r2", "correlation"}
        Score of a fold.
    search : {"full", "window"}
        Which alphas are scored for each row of weights.
    """

    gammas: Tensor
    alphas: Tensor
    cv: Any
    scoring: str
    search: str


@dataclass(frozen=True)
class SpaceProblem:
    """Feature spaces, ready to be weighted and decomposed.

    Parameters
    ----------
    features : tuple of Features
        Training rows of each space.
    grams : list of Tensor, or None
        Gram matrix of each space for the dual solver; None for the primal one.
    order : Tensor of int, shape (n_samples,)
        Rows sorted by fold.
    folds : list of slice, or None
        Held-out rows of each fold among the sorted rows; None leaves out one row at
        a time.
    fit_intercept : bool
        Whether targets are centred.
    least_alpha : float
        Smallest penalty.
    dtype : torch.dtype
        Dtype of the products with targets.
    device : torch.device
        Where they are computed.
    """

    features: tuple[Features, ...]
    grams: list[Tensor] | None
    order: Tensor
    folds: list[slice] | None
    fit_intercept: bool
    least_alpha: float
    dtype: torch.dtype
    device: torch.device

    def weighted(self, gamma: Tensor) -> Problem:
        """Decompose the features for one row of weights.

        Parameters
        ----------
        gamma : Tensor of float64, shape (n_spaces,)
            Weights of spaces.

        Returns
        -------
        Problem
            Ready for targets.
        """
        joint = join_spaces(self.features, gamma)
        rest = (self.order, self.folds, self.fit_intercept, self.dtype, self.device)
        centred = self.fit_intercept
        if self.grams is not None:
            gram = weighted_gram(self.grams, gamma)
            rank = largest_rank(joint, joint.n_samples, centred=centred)
            eigen = decompose(gram, self.dtype, self.order, centred=centred, rank=rank)
            return Problem(joint, eigen, *rest)
        solved = decompose_covariances(
            joint,
            self.least_alpha,
            self.dtype,
            self.order,
            self.folds,
            centred=centred,
        )
        return Problem(joint, solved, *rest)


def make_space_problem(
    spaces: SpaceParts,
    candidates: Candidates,
    folds: tuple[Rows, ...] | None,
    *,
    fit_intercept: bool,
    standardize: bool | float,
    solver: str,
    device: torch.device,
    dtype: torch.dtype,
    n_targets: int,
) -> SpaceProblem:
    """Compute what all rows of weights have in common.

    Parameters
    ----------
    spaces : SpaceParts
        Feature spaces.
    candidates : Candidates
        Weights and penalties that will be tried.
    folds : tuple of ndarray of int, or None
        Held-out rows of each fold; None leaves out one row at a time.
    fit_intercept : bool
        Whether features are centred.
    standardize : bool or float
        Whether they are scaled too, as
        `neurovis.fitting.ridge_features.prepare_features`.
    solver : {"auto", "dual", "primal"}
        Which matrices to decompose.
    device : torch.device
        Where to compute.
    dtype : torch.dtype
        Dtype of the products with targets.
    n_targets : int
        Size of the search, for the choice of the solver.

    Returns
    -------
    SpaceProblem
        With the Gram matrices of all spaces for the dual solver, in float64 where the
        smallest alpha is too small for float32 with some row of weights.

    Raises
    ------
    ValueError
        If features are not finite.
    """
    n_samples, n_features = spaces.n_samples, sum(spaces.widths)
    features = prepare_spaces(
        spaces, device, centre=fit_intercept, standardize=standardize
    )
    slices, order = None, np.arange(n_samples)
    if folds is not None:
        sorting = sort_by_fold(folds, n_samples)
        slices, order = sorting.slices, sorting.order
    least = float(candidates.alphas[0])
    if solver == "auto":
        n_folds = 1 if slices is None else len(slices)
        n_alphas = len(candidates.alphas)
        size = (n_samples, n_features, n_folds, n_targets, n_alphas)
        solver = cheaper_solver(*size)
    grams = None
    if solver == "dual":
        grams = space_grams(features, spaces.names, dtype)
        if dtype == torch.float32 and _too_small(grams, candidates.gammas, least):
            del grams
            grams = space_grams(features, spaces.names, torch.float64)
    rows = torch.from_numpy(order).to(device)
    return SpaceProblem(
        features, grams, rows, slices, fit_intercept, least, dtype, device
    )


def _too_small(grams: list[Tensor], gammas: Tensor, least_alpha: float) -> bool:
    """Tell whether float32 loses too much for some row of weights."""
    for gamma in gammas:
        largest = largest_eigenvalue(weighted_gram(grams, gamma))
        if least_alpha < SMALLEST_SINGLE_RATIO * largest:
            logger.info(
                "smallest alpha is %.1e of the largest eigenvalue of a weighted Gram "
                "matrix: Gram matrices and decompositions in float64",
                least_alpha / largest,
            )
            return True
    return False


class Best:
    """The best weights, penalty and fit of each target so far.

    Parameters
    ----------
    n_iter, n_targets, n_weights : int
        Rows of gammas, targets, and coefficients per target.
    dtype : torch.dtype
        Dtype of the coefficients.
    """

    def __init__(
        self, n_iter: int, n_targets: int, n_weights: int, dtype: torch.dtype
    ) -> None:
        double = torch.float64
        self.scores = torch.full((n_iter, n_targets), torch.nan, dtype=double)
        self.top = torch.full((n_targets,), -torch.inf, dtype=double)
        self.row = torch.full((n_targets,), -1)
        self.alphas = torch.full((n_targets,), torch.nan, dtype=double)
        self.mean = torch.zeros(n_targets, dtype=double)
        self.weights = torch.zeros(n_targets, n_weights, dtype=dtype)
        self.margin = torch.finfo(dtype).eps
        self.gram_dtype = dtype
        self.loss = 0.0

    def update(
        self, i: int, problem: Problem, batch: Batch, candidates: Candidates
    ) -> None:
        """Score a batch of targets with one row of weights; keep what is better.

        Parameters
        ----------
        i : int
            Which row.
        problem : Problem
            Features with these weights.
        batch : Batch
            Targets.
        candidates : Candidates
            What is tried.
        """
        at = batch.columns
        place = problem.device
        bar = self.top[at].to(place) + self.margin
        targets = problem.targets(batch)
        scores = _score(targets, problem, candidates, bar)
        empty = batch.undefined | batch.constant
        mean = scores.mean.nan_to_num(-torch.inf).amax(0).masked_fill(empty, -torch.inf)
        self.scores[i, at] = mean.masked_fill(mean == -torch.inf, torch.nan).cpu()
        if problem.eigen.dtype == torch.float64:
            self.gram_dtype = torch.float64
        if i == 0:
            nan = torch.nan
            self.mean[at] = batch.mean.masked_fill(batch.undefined, nan).cpu()
            undefined = batch.undefined.nonzero()[:, 0].cpu() + at.start
            self.weights[undefined] = nan
        better = (mean > bar).nonzero()[:, 0]
        if not len(better):
            return
        alphas = candidates.alphas.to(place)[scores.best[better]]
        self.loss = max(self.loss, expected_loss(problem, alphas))
        if scores.dual is None:
            weights = _refit(targets, alphas, better)
        else:
            weights = scores.dual[better]
        found = better.cpu() + at.start
        self.top[found] = mean[better].cpu()
        self.row[found] = i
        self.alphas[found] = alphas.cpu()
        self.weights[found] = _unscaled(problem, weights).cpu()


def _score(
    targets: Targets, problem: Problem, candidates: Candidates, bar: Tensor
) -> Scores:
    alphas = candidates.alphas.to(problem.device)
    allowed = selectable(problem.eigen, alphas)
    if isinstance(candidates.cv, str) and candidates.cv == "gcv":
        return gcv_scores(targets, alphas, allowed)
    is_full = candidates.search == "full"
    evaluation = Evaluation(targets, alphas, candidates.scoring, keep_dual=is_full)
    if not is_full:
        return search_window(evaluation, allowed)
    # Only what passes the bar is worth coefficients; a tie does not pass.
    evaluation.top = torch.nextafter(bar, torch.full_like(bar, torch.inf))
    return search_full(evaluation, allowed)


def _refit(targets: Targets, alphas: Tensor, rows: Tensor) -> Tensor:
    """Compute coefficients of some targets on all rows of X."""
    if isinstance(targets, PrimalTargets):
        weights = shrinkage(targets.eigen, alphas[:, None])
    else:
        weights = 1 / (targets.eigen.values + alphas[:, None])
    scaled = targets.z[rows] * weights.to(targets.y.dtype)
    return product(scaled, targets.eigen.vectors)


def _unscaled(problem: Problem, weights: Tensor) -> Tensor:
    """Return weights of the features as given, or dual ones in the order of rows."""
    if problem.is_dual:
        return problem.unsort(weights)
    scale = problem.features.scale
    return weights if scale is None else weights / scale.to(weights.dtype)


def search_gammas(
    problem: SpaceProblem,
    targets: Any,
    candidates: Candidates,
    n_targets_batch: int | str,
) -> Best:
    """Try all weights of spaces on all targets.

    Parameters
    ----------
    problem : SpaceProblem
        Feature spaces.
    targets : array-like, shape (n_samples, n_targets)
        Targets, in memory or not; read once if they fit into memory, else once per
        row of weights.
    candidates : Candidates
        What is tried.
    n_targets_batch : int or "auto"
        Targets in memory at once.

    Returns
    -------
    Best
        With dual coefficients ``inv(K + alpha) y``, or with the primal solver weights
        of the features as given.
    """
    n_targets = int(targets.shape[1])
    best: Best | None = None
    pieces: list[slice] = []
    kept: list[Batch] = []

    def read(weighted: Problem) -> Iterator[Batch]:
        if kept:
            yield from kept
            return
        for columns in pieces:
            batch = read_batch(weighted, targets, columns)
            if len(pieces) == 1:
                kept.append(batch)
            yield batch

    description, unit = "weights of spaces", "row"
    for i, gamma in enumerate(
        progress(list(candidates.gammas), description, unit=unit)
    ):
        weighted = problem.weighted(gamma)
        if best is None:
            n_alphas = len(candidates.alphas)
            pieces = list(batches(weighted, n_targets, n_alphas, n_targets_batch))
            features = weighted.features
            width = features.n_samples if weighted.is_dual else features.n_features
            n_iter = len(candidates.gammas)
            best = Best(n_iter, n_targets, width, problem.dtype)
        for batch in read(weighted):
            best.update(i, weighted, batch, candidates)
    if best is None:
        raise ValueError("`gammas` has no rows.")
    warn_of_loss(best.loss)
    return best
