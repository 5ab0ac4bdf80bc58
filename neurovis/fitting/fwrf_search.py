"""The search over candidate pools, block by block, kept on disk where wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import free_memory_bytes
from neurovis.core.files import sha256_json
from neurovis.core.log import progress
from neurovis.core.store import Store
from neurovis.fitting.fwrf_problem import PooledProblem, pooled_features
from neurovis.fitting.fwrf_solve import Design, HeldOut, ridge_weights
from neurovis.fitting.ridge_linalg import product

# More pools at once make no product faster.
_MOST_CANDIDATES = 32
_MOST_TARGETS = 8192


@dataclass(frozen=True)
class Blocks:
    """How candidates and targets are cut, and where finished blocks are kept.

    Parameters
    ----------
    edges : tuple of int
        Where blocks of candidates begin and end.
    n_targets : int
        Targets at once.
    store : Store or None
        Where results are kept.
    parts : dict
        What a kept result depends on.
    """

    edges: tuple[int, ...]
    n_targets: int
    store: Store | None
    parts: dict[str, Any]

    def get(
        self, stage: str, number: int, compute: Callable[[], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """Return the result of a block; compute and keep it when there is none.

        Parameters
        ----------
        stage : str
            What is computed.
        number : int
            Which block.
        compute : callable
            Gives arrays by name.

        Returns
        -------
        dict of str to ndarray
            The result.
        """
        if self.store is None:
            return compute()
        parts = {**self.parts, "stage": stage, "block": number}
        return self.store.get_or_compute(parts, compute)


def make_blocks(
    problem: PooledProblem,
    n_candidates: int | str,
    n_targets: int | str,
    folder: str | Path | None,
) -> Blocks:
    """Cut the work to the free memory, or as a run in `folder` was cut before.

    Parameters
    ----------
    problem : PooledProblem
        Its sizes.
    n_candidates, n_targets : int or "auto"
        Pools, and targets, at once.
    folder : str or Path, optional
        Where results are kept.

    Returns
    -------
    Blocks
        Consecutive candidates.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    sizes = np.array(
        [
            _size(
                "n_candidates_batch", n_candidates, lambda: _auto_candidates(problem)
            ),
            _size("n_targets_batch", n_targets, lambda: _auto_targets(problem)),
        ]
    )
    store, parts = None, {}
    if folder is not None:
        store = Store(folder)
        wish = [n if isinstance(n, str) else int(n) for n in (n_candidates, n_targets)]
        parts = {"search": sha256_json(problem.identity())}
        # The first run decides, so that a later one with less memory sums alike.
        plan = {**parts, "stage": "plan", "wish": wish}
        sizes = store.get_or_compute(plan, lambda: {"sizes": sizes})["sizes"]
        parts["sizes"] = sizes.tolist()
    total = len(problem.candidates)
    edges = (*range(0, total, int(sizes[0])), total)
    return Blocks(edges, int(sizes[1]), store, parts)


def _size(name: str, wish: int | str, auto: Callable[[], int]) -> int:
    if isinstance(wish, str):
        check_option(name, wish, ("auto",))
        return auto()
    return check_whole(name, wish, low=1)


def _auto_candidates(problem: PooledProblem) -> int:
    n_images = int(problem.maps[0].shape[0])
    pool_bytes = n_images * (problem.n_features + 1) * problem.dtype.itemsize
    # An activation needs the pooled features twice; one design needs four of them.
    free = free_memory_bytes(problem.device) // 4
    most = min(_MOST_CANDIDATES, free // (2 * pool_bytes) - 4)
    n_blocks = -(-len(problem.candidates) // max(1, most))
    return -(-len(problem.candidates) // n_blocks)  # blocks of nearly equal size


def _auto_targets(problem: PooledProblem) -> int:
    n_images = int(problem.maps[0].shape[0])
    n_held = int(np.diff(problem.order.bounds).max())
    numbers = 2 * (n_images + 2 * (problem.n_features + 1) + 2 * n_held)
    free = free_memory_bytes(problem.device) // 8
    fits = free // (numbers * problem.dtype.itemsize)
    return int(max(1, min(_MOST_TARGETS, fits)))


@dataclass(frozen=True)
class Chosen:
    """The best pool and penalty of each target.

    Parameters
    ----------
    loss : Tensor of float64, shape (n_targets,)
        Sum of squared errors over held-out rows; infinite where nothing was found.
    candidate, alpha : Tensor of int, shape (n_targets,)
        Their numbers; -1 where nothing was found.
    """

    loss: Tensor
    candidate: Tensor
    alpha: Tensor

    def improve(self, other: "Chosen") -> None:
        """Take over what is strictly better.

        Parameters
        ----------
        other : Chosen
            For the same targets.
        """
        better = other.loss < self.loss
        for name in ("loss", "candidate", "alpha"):
            getattr(self, name)[better] = getattr(other, name)[better]


def _nothing(n_targets: int, device: torch.device) -> Chosen:
    loss = torch.full((n_targets,), torch.inf, dtype=torch.float64, device=device)
    number = torch.full((n_targets,), -1, device=device)
    return Chosen(loss, number, number.clone())


def search_pools(problem: PooledProblem, blocks: Blocks) -> Chosen:
    """Try all candidates with all penalties.

    Parameters
    ----------
    problem : PooledProblem
        What to search.
    blocks : Blocks
        How to cut it.

    Returns
    -------
    Chosen
        On the CPU.
    """
    cpu = torch.device("cpu")
    best = _nothing(len(problem.targets), cpu)
    if not len(problem.targets):
        return best
    targets = _near(problem)
    with progress(len(problem.candidates), "receptive fields", unit="pool") as bar:
        for number, (start, stop) in enumerate(pairwise(blocks.edges)):
            at = np.arange(start, stop)
            arguments = (problem, targets, blocks.n_targets, at, bar)
            before = bar.n
            kept = blocks.get("losses", number, partial(_search_block, *arguments))
            best.improve(Chosen(**{k: torch.from_numpy(v) for k, v in kept.items()}))
            bar.update(stop - start - int(bar.n - before))
    return best


def _near(problem: PooledProblem) -> Tensor:
    """Return the targets on the device when they fit there."""
    free = free_memory_bytes(problem.device)
    bytes_ = problem.targets.numel() * problem.targets.element_size()
    return problem.targets.to(problem.device) if 4 * bytes_ < free else problem.targets


def _search_block(
    problem: PooledProblem,
    targets: Tensor,
    at_once: int,
    candidates: NDArray[np.intp],
    bar: Any,
) -> dict[str, NDArray[Any]]:
    """Return the best of some candidates, as arrays by the names of `Chosen`."""
    best = _nothing(len(targets), problem.device)
    folds, alphas = problem.order.slices, problem.alphas.to(problem.device)
    for number, design, _, _ in problem.designs(candidates):
        held_out = HeldOut(design, folds, alphas)
        for start in range(0, len(targets), at_once):
            at = slice(start, start + at_once)
            losses = held_out.losses(targets[at].to(problem.device))
            least, alpha = losses.min(0)  # of equal ones the first
            there = Chosen(least, torch.full_like(alpha, number), alpha)
            Chosen(best.loss[at], best.candidate[at], best.alpha[at]).improve(there)
        bar.update()
    return {k: v.cpu().numpy() for k, v in vars(best).items()}


@dataclass(frozen=True)
class Fitted:
    """Weights of the chosen pools.

    Parameters
    ----------
    weights : Tensor, shape (n_targets, n_columns)
        Weights of features, then the constant where there is one.
    candidates : Tensor of int, shape (n_used,)
        Candidates that some target took, ascending.
    mean, scale : Tensor of float64, shape (n_used, n_features)
        Of their features.
    """

    weights: Tensor
    candidates: Tensor
    mean: Tensor
    scale: Tensor


def fit_weights(problem: PooledProblem, blocks: Blocks, chosen: Chosen) -> Fitted:
    """Fit each target with its pool and penalty.

    Parameters
    ----------
    problem : PooledProblem
        What was searched.
    blocks : Blocks
        How it was cut.
    chosen : Chosen
        Result of `search_pools`.

    Returns
    -------
    Fitted
        On the CPU.
    """
    used = torch.unique(chosen.candidate[chosen.candidate >= 0])
    n_columns = problem.n_features + (problem.bias != "none")
    weights = torch.full(
        (len(problem.targets), n_columns), torch.nan, dtype=problem.dtype
    )
    shape = (len(used), problem.n_features)
    mean, scale = (torch.empty(shape, dtype=torch.float64) for _ in range(2))
    stage = f"weights, refit {problem.refit}"
    with progress(len(used), "weights", unit="pool") as bar:
        for number, (start, stop) in enumerate(pairwise(blocks.edges)):
            here = (used >= start) & (used < stop)
            if not here.any():
                continue
            compute = partial(_fit_block, problem, chosen, used[here].numpy())
            kept = blocks.get(stage, number, compute)
            found = (chosen.candidate >= start) & (chosen.candidate < stop)
            weights[found] = torch.from_numpy(kept["weights"])
            mean[here] = torch.from_numpy(kept["mean"])
            scale[here] = torch.from_numpy(kept["scale"])
            bar.update(int(here.sum()))
    return Fitted(weights, used, mean, scale)


def _fit_block(
    problem: PooledProblem, chosen: Chosen, numbers: NDArray[np.intp]
) -> dict[str, NDArray[Any]]:
    """Return weights of all targets whose pools are among `numbers`."""
    inside = torch.isin(chosen.candidate, torch.from_numpy(numbers))
    first = 0 if problem.refit else problem.order.bounds[-1]
    weights: Tensor | None = None
    means, scales = [], []
    for number, design, mean, scale in problem.designs(numbers):
        means.append(mean)
        scales.append(scale)
        at = torch.nonzero(chosen.candidate == number)[:, 0]
        rows = problem.targets[at][:, first:].to(problem.device)
        alphas = problem.alphas[chosen.alpha[at]].to(problem.device)
        part = Design(design.X[first:], design.bias)
        found = ridge_weights(part, rows, alphas).cpu()
        if weights is None:
            weights = found.new_empty(len(problem.targets), found.shape[1])
        weights[at] = found
    assert weights is not None
    return {
        "weights": weights[inside].numpy(),
        "mean": torch.stack(means).numpy(),
        "scale": torch.stack(scales).numpy(),
    }


def predict_pooled(
    maps: tuple[Any, ...],
    candidates: NDArray[Any],
    fitted: Fitted,
    candidate: Tensor,
    *,
    aperture: float,
    activation: Any,
    device: torch.device,
) -> Tensor:
    """Predict targets from new maps.

    Parameters
    ----------
    maps : tuple of array-like, each of shape (n_new, n_maps, H, H)
        Feature maps.
    candidates : ndarray, shape (n_candidates, 3)
        x, y, sigma.
    fitted : Fitted
        Weights with a constant in the last column.
    candidate : Tensor of int, shape (n_targets,)
        Pool of each target; -1 for those that are their constant.
    aperture : float
        Side of the maps in the unit of the candidates.
    activation : str, callable or None
        What pooled features go through.
    device : torch.device
        Where.

    Returns
    -------
    Tensor, shape (n_new, n_targets)
        Predictions on the CPU.
    """
    dtype = fitted.weights.dtype
    n_new = int(maps[0].shape[0])
    out = fitted.weights[:, -1].repeat(n_new, 1)
    n_features = fitted.weights.shape[1] - 1
    free = free_memory_bytes(device) // 8
    at_once = free // (n_new * n_features * dtype.itemsize)
    at_once = int(max(1, min(_MOST_CANDIDATES, at_once)))
    for start in range(0, len(fitted.candidates), at_once):
        numbers = fitted.candidates[start : start + at_once].tolist()
        some = candidates[numbers]
        pooled = pooled_features(maps, some, aperture, activation, dtype, device)
        for k, number in enumerate(numbers, start):
            mean, scale = (table[k].to(device) for table in (fitted.mean, fitted.scale))
            seen = ((pooled[k - start].double() - mean) / scale).to(dtype)
            at = torch.nonzero(candidate == number)[:, 0]
            weights = fitted.weights[at, :-1].to(device)
            out[:, at] += product(seen, weights.contiguous()).cpu()
    return out
