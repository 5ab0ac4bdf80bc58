"""Which penalty each target takes: the full grid, or a window around GCV's choice."""

from dataclasses import dataclass

import torch
from torch import Tensor

from neurovis.fitting.ridge_dual import (
    Blocks,
    Chosen,
    DualTargets,
    LeaveOneOut,
    Rotated,
    chunks,
)
from neurovis.fitting.ridge_primal import (
    PrimalFolds,
    PrimalLeaveOneOut,
    PrimalTargets,
)
from neurovis.fitting.ridge_scores import correlation_score, error_score

Targets = DualTargets | PrimalTargets
GIVES_DUAL = Blocks | Rotated | LeaveOneOut
Step = GIVES_DUAL | PrimalFolds | PrimalLeaveOneOut

TIE = 1e-10
"""Times ln(alpha), added to mean scores so that equal ones go to the larger alpha."""

_SAMPLE = 64


@dataclass(frozen=True)
class Scores:
    """Cross-validated scores of a batch of targets.

    Parameters
    ----------
    mean : Tensor of float64, shape (n_alphas, n_targets)
        Mean over folds plus the tie term; NaN where undefined or not evaluated.
    best : Tensor of int, shape (n_targets,)
        Which alpha has the best mean; -1 where none is defined.
    folds : Tensor of float64, shape (n_folds, n_alphas, n_targets), or None
        Score of each fold, if asked for.
    dual : Tensor, shape (n_targets, n_samples), or None
        Dual coefficients at the best alpha, rows sorted by fold, if asked for and
        known.
    """

    mean: Tensor
    best: Tensor
    folds: Tensor | None
    dual: Tensor | None


class Evaluation:
    """Scores under way.

    Parameters
    ----------
    targets : DualTargets or PrimalTargets
        A batch of targets.
    alphas : Tensor of float64, shape (n_alphas,)
        Penalties, ascending.
    scoring : {"mse", "r2", "correlation"}
        Score of a fold.
    keep_folds : bool
        Keep the score of each fold.
    keep_dual : bool
        Keep the dual coefficients at the best alpha, where errors tell them.
    """

    def __init__(
        self,
        targets: Targets,
        alphas: Tensor,
        scoring: str,
        *,
        keep_folds: bool = False,
        keep_dual: bool = False,
    ) -> None:
        self.targets, self.alphas, self.scoring = targets, alphas, scoring
        shape = (len(alphas), len(targets.y))
        y = targets.y
        self.mean = y.new_full(shape, torch.nan, dtype=torch.float64)
        self.top = y.new_full(shape[1:], -torch.inf, dtype=torch.float64)
        self.best = y.new_full(shape[1:], -1, dtype=torch.int64)
        self.folds: Tensor | None = None
        if keep_folds:
            n_folds = len(targets.held_out)
            self.folds = self.mean.expand(n_folds, *shape).clone()
        self.dual: Tensor | None = None
        if keep_dual and targets.gives_dual:
            self.dual = torch.zeros_like(y)

    def evaluate(self, i: int, rows: Tensor | None = None) -> None:
        """Score one alpha.

        Parameters
        ----------
        i : int
            Which alpha.
        rows : Tensor of int, optional
            Which targets; all by default.
        """
        n_targets = len(self.targets.y) if rows is None else len(rows)
        if not n_targets:
            return
        step = self.targets.step(float(self.alphas[i]), n_targets)
        for part in chunks(n_targets, self.targets.y):
            chosen: Chosen = part if rows is None else rows[part]
            errors, scores = self._scores(step, chosen)
            mean = scores.mean(0) + TIE * torch.log(self.alphas[i])
            self.mean[i, chosen] = mean
            if self.folds is not None:
                self.folds[:, i, chosen] = scores
            top, best = self.top[chosen], self.best[chosen]
            better = (mean > top) | ((mean == top) & (i > best))
            self.top[chosen] = torch.where(better, mean, top)
            self.best[chosen] = torch.where(better, i, best)
            if self.dual is not None and isinstance(step, GIVES_DUAL) and better.any():
                found = better.nonzero()[:, 0]
                at = found + part.start if rows is None else rows[part][found]
                self.dual[at] = step.dual(errors, found)

    def _scores(self, step: Step, rows: Chosen) -> tuple[list[Tensor], Tensor]:
        y, held_out = self.targets.y[rows], self.targets.held_out
        if self.scoring == "correlation" and isinstance(step, Blocks | PrimalFolds):
            predictions = step.predictions(rows)
            pairs = [(y[:, f], p) for f, p in zip(held_out, predictions, strict=True)]
            scores = [correlation_score(*pair) for pair in pairs]
            errors = [measured - p for measured, p in pairs]
        else:
            errors = step.errors(rows)
            pairs = [(y[:, f], e) for f, e in zip(held_out, errors, strict=True)]
            if self.scoring == "correlation":
                scores = [correlation_score(m, m - e) for m, e in pairs]
            else:
                scores = [error_score(*pair, self.scoring) for pair in pairs]
        return errors, torch.stack(scores)

    def finish(self) -> Scores:
        """Refine coefficients and return what was found.

        Returns
        -------
        Scores
            Of all targets.
        """
        if self.dual is not None and isinstance(self.targets, DualTargets):
            self.targets.refine(self.dual, self.alphas[self.best.clamp(min=0)])
        return Scores(self.mean, self.best, self.folds, self.dual)


def search_full(evaluation: Evaluation, allowed: Tensor) -> Scores:
    """Score every alpha on every target.

    Parameters
    ----------
    evaluation : Evaluation
        At its start.
    allowed : Tensor of bool, shape (n_alphas,)
        Which alphas to score.

    Returns
    -------
    Scores
        Complete but for alphas that are not allowed.
    """
    for i in _order(evaluation, allowed):
        evaluation.evaluate(i)
    return evaluation.finish()


def _order(evaluation: Evaluation, allowed: Tensor) -> list[int]:
    """Put alphas first that are likely best: then coefficients are kept once."""
    indices = torch.nonzero(allowed)[:, 0].tolist()
    targets = evaluation.targets
    if evaluation.dual is None or not isinstance(targets, DualTargets):
        return indices
    sample = targets.y[:: max(1, len(targets.y) // _SAMPLE)]
    z = sample @ targets.eigen.vectors
    guess = targets.gcv_of(z, evaluation.alphas).nan_to_num(torch.inf).argmin(0)
    counts = torch.bincount(guess, minlength=len(evaluation.alphas)).tolist()
    return sorted(indices, key=lambda i: -counts[i])


def search_window(evaluation: Evaluation, allowed: Tensor) -> Scores:
    """Score each target around its GCV choice until the best alpha is interior.

    The alpha with the smallest generalised cross-validation error and its two
    neighbours are scored; while the best of them is at an end of what was scored, the
    next alpha on that side is scored too. The result is a local maximum of the exact
    scores: the best of the full grid wherever they have one maximum.

    Parameters
    ----------
    evaluation : Evaluation
        At its start.
    allowed : Tensor of bool, shape (n_alphas,)
        Which alphas to score.

    Returns
    -------
    Scores
        NaN where a target was not scored.
    """
    indices = torch.nonzero(allowed)[:, 0].tolist()
    start = _gcv_choice(evaluation, indices)
    for place in range(len(indices) + 1):
        if place < len(indices):  # upwards, with what moves upwards
            rows = (start - place).abs() <= 1
            if place:
                rows |= evaluation.best == indices[place - 1]
            evaluation.evaluate(indices[place], rows.nonzero()[:, 0])
        # What moves downwards goes at once, while the last steps are at hand.
        for lower in range(place - 3, -1, -1):
            rows = (evaluation.best == indices[lower + 1]) & (start < place)
            rows &= evaluation.mean[indices[lower]].isnan()
            if not rows.any():
                break
            evaluation.evaluate(indices[lower], rows.nonzero()[:, 0])
    return evaluation.finish()


def _gcv_choice(evaluation: Evaluation, indices: list[int]) -> Tensor:
    targets = evaluation.targets
    choice = torch.empty_like(evaluation.best)
    for rows in chunks(len(targets.y), targets.y):
        found = targets.gcv(evaluation.alphas[indices], rows)
        choice[rows] = found.nan_to_num(torch.inf).argmin(0)
    return choice


def gcv_scores(targets: Targets, alphas: Tensor, allowed: Tensor) -> Scores:
    """Score every alpha by generalised cross-validation.

    Parameters
    ----------
    targets : DualTargets or PrimalTargets
        A batch of targets.
    alphas : Tensor of float64, shape (n_alphas,)
        Penalties, ascending.
    allowed : Tensor of bool, shape (n_alphas,)
        Which alphas can be chosen.

    Returns
    -------
    Scores
        Minus the GCV error, an estimate of the mean squared error.
    """
    found = [-targets.gcv(alphas, rows) for rows in chunks(len(targets.y), targets.y)]
    mean = torch.cat(found, 1) + TIE * alphas.log()[:, None]
    mean[~allowed] = torch.nan
    best = mean.nan_to_num(-torch.inf).flip(0).argmax(0)
    best = len(alphas) - 1 - best
    best[mean.isnan().all(0)] = -1
    return Scores(mean, best, None, None)


def choose_shared(mean: Tensor) -> int:
    """Return the alpha with the best score over all targets.

    Parameters
    ----------
    mean : Tensor of float64, shape (n_alphas, n_targets)
        Mean scores; targets without any are left out.

    Returns
    -------
    int
        Which alpha; -1 if no target has a score.

    Examples
    --------
    >>> choose_shared(torch.tensor([[0.0, 0.9], [0.5, 0.5]]))
    1
    """
    together = mean.nanmean(1)
    if together.isnan().all():
        return -1
    return int(together.nan_to_num(-torch.inf).argmax())


def choose_conservative(scores: Scores) -> Tensor:
    """Return the largest alpha less than one deviation over folds below the best.

    Parameters
    ----------
    scores : Scores
        With the scores of folds.

    Returns
    -------
    Tensor of int, shape (n_targets,)
        Which alpha; -1 where no score is defined.
    """
    if scores.folds is None:
        raise ValueError("Scores of the folds are needed.")
    best = scores.best.clamp(min=0)[None]
    deviation = scores.folds.std(0, correction=0)
    bar = (scores.mean - deviation).gather(0, best)
    beats = scores.mean > bar
    index = torch.arange(len(beats), device=beats.device)[:, None]
    largest = torch.where(beats, index, -1).amax(0)
    return torch.where(largest < 0, scores.best, largest)
