"""One ridge problem: features decomposed once, targets taken batch by batch."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from neurovis.core.checks import check_option
from neurovis.core.device import free_memory_bytes, resolve
from neurovis.fitting.ridge_dual import DualTargets
from neurovis.fitting.ridge_eigen import Eigen, decompose_gram
from neurovis.fitting.ridge_features import (
    Features,
    finite_columns,
    prepare_features,
    tensor_of,
)
from neurovis.fitting.ridge_folds import Rows, sort_by_fold
from neurovis.fitting.ridge_primal import (
    PrimalFeatures,
    PrimalTargets,
    decompose_covariances,
)
from neurovis.fitting.ridge_search import Targets

logger = logging.getLogger(__name__)

_LOAD_AT_ONCE = 1024
# Decomposing costs about as much as this many products of two such matrices.
_EIGEN_PRODUCTS = 9
_LARGE_LOSS = 0.01


@dataclass(frozen=True)
class Problem:
    """Decomposed features, and how targets are read to match them.

    Parameters
    ----------
    features : Features
        Training features.
    solved : Eigen or PrimalFeatures
        Decomposition of the Gram matrix (dual), or of covariances (primal).
    order : Tensor of int, shape (n_samples,)
        Rows sorted by fold.
    folds : list of slice, or None
        Held-out rows of each fold among the sorted rows; None leaves out one row at
        a time.
    fit_intercept : bool
        Whether targets are centred.
    dtype : torch.dtype
        Dtype of the products with targets.
    device : torch.device
        Where they are computed.
    """

    features: Features
    solved: Eigen | PrimalFeatures
    order: Tensor
    folds: list[slice] | None
    fit_intercept: bool
    dtype: torch.dtype
    device: torch.device

    @property
    def eigen(self) -> Eigen:
        """Decomposition for all rows."""
        return self.solved if isinstance(self.solved, Eigen) else self.solved.eigen

    @property
    def is_dual(self) -> bool:
        """Whether the Gram matrix was decomposed."""
        return isinstance(self.solved, Eigen)

    @property
    def is_sorted(self) -> bool:
        """Whether sorting by fold leaves the rows as they were."""
        return bool((self.order[1:] > self.order[:-1]).all())

    def unsort(self, weights: Tensor) -> Tensor:
        """Put dual coefficients in the order of the rows; leave primal weights.

        Parameters
        ----------
        weights : Tensor, shape (n_targets, n_samples) or (n_targets, n_features)
            From a refit.

        Returns
        -------
        Tensor
            Of the same shape; itself where nothing changes.
        """
        if not self.is_dual or self.is_sorted:
            return weights
        return torch.empty_like(weights).index_copy_(1, self.order, weights)

    def targets(self, batch: "Batch") -> Targets:
        """Return a batch of targets, ready for a search.

        Parameters
        ----------
        batch : Batch
            From `read_batch`.

        Returns
        -------
        DualTargets or PrimalTargets
            Targets in the basis of the decomposition.
        """
        if isinstance(self.solved, Eigen):
            return DualTargets(self.solved, self.folds, batch.values)
        return PrimalTargets(self.solved, batch.values)

    def target_bytes(self, n_alphas: int) -> int:
        """Return the memory that one target takes during a search.

        Parameters
        ----------
        n_alphas : int
            Penalties to choose from.

        Returns
        -------
        int
            Bytes, roughly.
        """
        n, p = self.features.n_samples, self.features.n_features
        n_folds = 1 if self.folds is None else len(self.folds)
        numbers = 4 * n if self.is_dual else n + (3 + n_folds) * p
        return numbers * self.dtype.itemsize + 24 * n_alphas


def make_problem(
    parts: tuple[Any, ...],
    least_alpha: float,
    folds: tuple[Rows, ...] | None,
    *,
    fit_intercept: bool,
    standardize: bool | float,
    solver: str,
    device: str | torch.device,
    dtype: torch.dtype,
    n_targets: int,
    n_alphas: int,
) -> Problem:
    """Decompose features once.

    Parameters
    ----------
    parts : tuple of array-like, each of shape (n_samples, n_part)
        Features side by side.
    least_alpha : float
        Smallest alpha that will be used.
    folds : tuple of ndarray of int, or None
        Held-out rows of each fold; None leaves out one row at a time.
    fit_intercept : bool
        Whether features are centred.
    standardize : bool or float
        Whether they are scaled too, as
        `neurovis.fitting.ridge_features.prepare_features`.
    solver : {"auto", "dual", "primal"}
        Which matrix to decompose.
    device : str or torch.device
        Where to compute.
    dtype : torch.dtype
        Dtype of the products with targets.
    n_targets, n_alphas : int
        Size of the search, for the choice of the solver.

    Returns
    -------
    Problem
        Ready for targets.

    Raises
    ------
    TypeError, ValueError
        If features are not finite, or an option is unknown.
    """
    check_option("solver", solver, ("auto", "dual", "primal"))
    place = choose_device(device)
    n_samples = int(parts[0].shape[0])
    ready = prepare_features(
        parts, place, centre=fit_intercept, standardize=standardize
    )
    slices, order = None, np.arange(n_samples)
    if folds is not None:
        sorting = sort_by_fold(folds, n_samples)
        slices, order = sorting.slices, sorting.order
    rows = torch.from_numpy(order).to(place)
    if solver == "auto":
        n_folds = 1 if slices is None else len(slices)
        size = (n_samples, ready.n_features, n_folds, n_targets, n_alphas)
        solver = cheaper_solver(*size)
    solved: Eigen | PrimalFeatures
    if solver == "dual":
        solved = decompose_gram(ready, least_alpha, dtype, rows, centred=fit_intercept)
    else:
        solved = decompose_covariances(
            ready, least_alpha, dtype, rows, slices, centred=fit_intercept
        )
    logger.info(
        "%s solver, %s; Gram matrix and decomposition in %s",
        solver,
        str(dtype).removeprefix("torch."),
        str(solved.dtype if isinstance(solved, Eigen) else solved.eigen.dtype),
    )
    return Problem(ready, solved, rows, slices, fit_intercept, dtype, place)


def cheaper_solver(
    n_samples: int, n_features: int, n_folds: int, n_targets: int, n_alphas: int
) -> Literal["dual", "primal"]:
    """Compare the numbers of multiplications of the two solvers.

    Parameters
    ----------
    n_samples, n_features, n_folds, n_targets, n_alphas : int
        Size of the search.

    Returns
    -------
    {"dual", "primal"}
        The one with fewer; "dual" when there are no fewer features than samples.

    Examples
    --------
    >>> cheaper_solver(1000, 100, 5, 500, 10), cheaper_solver(100, 1000, 5, 500, 10)
    ('primal', 'dual')
    """
    n, p = n_samples, n_features
    if p >= n:
        return "dual"
    dual = _EIGEN_PRODUCTS * n**3 + n**2 * p / 2
    dual += n_alphas * (n**3 + (1 - 1 / (n_folds + 1)) * n**2 * n_targets)
    primal = (n_folds + 1) * (_EIGEN_PRODUCTS * p**3 + p**2 * n_targets) + 2 * n * p**2
    primal += (n_alphas + 2) * n * p * n_targets
    return "primal" if primal < dual else "dual"


def expected_loss(problem: Problem, alphas: Tensor) -> float:
    """Estimate how far rounding moves predictions.

    Parameters
    ----------
    problem : Problem
        Decomposed features.
    alphas : Tensor of float64, shape (n_targets,)
        Chosen penalties, NaN where there is none.

    Returns
    -------
    float
        Relative error of the worst target: the rounding unit times the largest
        eigenvalue over the smallest penalty. 0 with the primal solver, whose
        coefficients do not cancel.
    """
    least = float(alphas.nan_to_num(torch.inf).amin()) if len(alphas) else torch.inf
    if not problem.is_dual:
        return 0.0
    return torch.finfo(problem.dtype).eps * float(problem.eigen.values[-1]) / least


def warn_of_loss(loss: float) -> None:
    """Log a warning if rounding moves predictions by a per cent or more.

    Parameters
    ----------
    loss : float
        From `expected_loss`.

    Examples
    --------
    >>> warn_of_loss(1e-6)
    """
    if loss > _LARGE_LOSS:
        logger.warning(
            "the smallest chosen alpha is so far below the largest eigenvalue that "
            "rounding may move predictions by %.0e of their size: use larger alphas, "
            "dtype='float64', or with fewer features than samples solver='primal'",
            loss,
        )


def choose_device(device: str | torch.device) -> torch.device:
    """Return a device that has float64.

    Parameters
    ----------
    device : str or torch.device
        As `neurovis.core.device.resolve`.

    Returns
    -------
    torch.device
        CUDA or the CPU.

    Raises
    ------
    ValueError
        If the device is absent, or was asked for by name and has no float64 (MPS).

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    place = resolve(device)
    if place.type != "mps":
        return place
    if str(device) == "auto":
        return torch.device("cpu")
    raise ValueError(
        "`device` 'mps' has no float64, which ridge regression needs: use 'cpu'."
    )


@dataclass(frozen=True)
class Batch:
    """Some targets in memory.

    Parameters
    ----------
    columns : slice
        Which targets.
    values : Tensor, shape (n_targets, n_samples)
        Centred with an intercept, rows of X sorted by fold; 0 where undefined.
    mean : Tensor of float64, shape (n_targets,)
        What was subtracted.
    undefined : Tensor of bool, shape (n_targets,)
        Targets with a value that is not finite.
    constant : Tensor of bool, shape (n_targets,)
        Targets without anything to fit: constant, or without intercept 0.
    """

    columns: slice
    values: Tensor
    mean: Tensor
    undefined: Tensor
    constant: Tensor


def read_batch(problem: Problem, targets: Any, columns: slice) -> Batch:
    """Read some targets.

    Parameters
    ----------
    problem : Problem
        Says how.
    targets : array-like, shape (n_samples, n_targets)
        All targets, in memory or not.
    columns : slice
        Which ones.

    Returns
    -------
    Batch
        On the device of the problem.
    """
    n = problem.features.n_samples
    start, stop = columns.start, columns.stop
    place = problem.device
    values = torch.empty(stop - start, n, dtype=problem.dtype, device=place)
    mean = torch.zeros(stop - start, dtype=torch.float64, device=place)
    undefined = torch.zeros(stop - start, dtype=torch.bool, device=place)
    constant = torch.zeros_like(undefined)
    is_sorted = problem.is_sorted
    wide = torch.float64 if problem.fit_intercept else problem.dtype
    for a in range(start, stop, _LOAD_AT_ONCE):
        b = min(stop, a + _LOAD_AT_ONCE)
        at = slice(a - start, b - start)
        block = tensor_of(targets[:, a:b], wide, place)
        undefined[at] = ~finite_columns(block)
        first = block[:1] if problem.fit_intercept else 0
        constant[at] = (block == first).all(0)
        if problem.fit_intercept:
            mean[at] = block.mean(0)
            block = block - mean[at]
        values[at] = (block if is_sorted else block[problem.order]).T
    values[undefined | constant] = 0
    return Batch(columns, values, mean, undefined, constant)


def batches(
    problem: Problem, n_targets: int, n_alphas: int, size: int | str
) -> Iterator[slice]:
    """Cut targets into batches that fit into memory.

    Parameters
    ----------
    problem : Problem
        Says how much memory a target needs.
    n_targets, n_alphas : int
        Size of the search.
    size : int or "auto"
        Targets per batch; "auto" fills a third of the free memory.

    Returns
    -------
    iterator of slice
        Consecutive targets, batches of nearly equal size.
    """
    if isinstance(size, str):
        free = free_memory_bytes(problem.device)
        size = max(1, free // (3 * problem.target_bytes(n_alphas)))
    n_batches = -(-n_targets // size)
    edges = np.linspace(0, n_targets, n_batches + 1).round().astype(int).tolist()
    return (slice(a, b) for a, b in pairwise(edges))
