"""Images with the pooled statistics of others, by descent: metamers of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.log import progress
from neurovis.core.rng import torch_generator
from neurovis.foveation.image_batches import full_precision
from neurovis.foveation.pooled_errors import Values, statistics_errors
from neurovis.foveation.pooled_statistics import PooledStatistics
from neurovis.foveation.windows import fovea_weight

Optimiser = Literal["adam", "lbfgs"]
Rows = list[dict[str, float]]
Outcome = tuple[Tensor, Rows]

LEARNING_RATES: dict[str, float] = {"adam": 0.01, "lbfgs": 1.0}
_LBFGS_HISTORY = 20


@dataclass(frozen=True)
class Refinement:
    """What `refine` returns.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
        Best images found, in [0, 1].
    curve : DataFrame
        One row per image and step: `image`, `step`, `loss` (before the step),
        `gradient_norm`, `change` (largest change of a pixel), and one column
        `loss_<statistic>` per family.
    errors : DataFrame
        One row per image and family: `image`, `statistic`, `start`, `final`: relative
        squared errors of the start and of `images`.
    """

    images: Tensor
    curve: pd.DataFrame
    errors: pd.DataFrame


def refine(
    images: Tensor,
    statistics: PooledStatistics,
    *,
    start: Tensor | None = None,
    n_steps: int = 200,
    optimiser: Optimiser = "adam",
    learning_rate: float | None = None,
    range_penalty: float = 1.0,
    keep_fovea: bool = True,
    tolerance: float = 1e-3,
    patience: int = 25,
    keys: Sequence[str | int] | None = None,
    seed: int = 0,
) -> Refinement:
    """Change a start until it has the pooled statistics of the images.

    The loss is the sum over families of relative squared errors
    (`statistics_errors`), plus a penalty on values outside of [0, 1]. Descent ends
    after `n_steps`, or when the best loss fell by less than the share `tolerance`
    during the last `patience` steps, or when a gradient is not finite, or when L-BFGS
    finds nothing lower along the gradient. Each image is
    treated by itself. Cost: about three evaluations of the statistics per step of
    Adam, somewhat more for L-BFGS.

    Parameters
    ----------
    images : Tensor of float32 or float64, shape (B, C, H, W)
        Targets in [0, 1], on any device.
    statistics : PooledStatistics
        Model whose values are matched; channels are matched one by one.
    start : Tensor, optional
        Same shape; default: in each window, noise of the image's local mean and
        variance.
    n_steps : int, default 200
        Largest number of steps, 0 or more.
    optimiser : {"adam", "lbfgs"}
        Adam with clamping after every step, or L-BFGS with a strong Wolfe search.
    learning_rate : float, optional
        Default 0.01 (Adam), 1 (L-BFGS).
    range_penalty : float, default 1
        Weight of the squared excess over [0, 1], summed over pixels.
    keep_fovea : bool, default True
        Mix the original in by the weight of the fovea; pixels of weight 1 stay exact.
        Without rings there is no fovea to keep.
    tolerance : float, default 1e-3
        Smallest relative fall of the loss to go on for; 0 never stops early.
    patience : int, default 25
        Steps over which it is measured.
    keys : sequence of str or int, optional
        One per image, for the noise; default the same noise for every image.
    seed : int, default 0
        Seed of the noise.

    Returns
    -------
    Refinement
        Images, curve and errors. Of all images met, that of least loss.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of bounds.

    References
    ----------
    Freeman and Simoncelli (2011), doi:10.1038/nn.2889.
    """
    check_whole("n_steps", n_steps, low=0)
    check_option("optimiser", optimiser, ("adam", "lbfgs"))
    rate = LEARNING_RATES[optimiser] if learning_rate is None else learning_rate
    check_between("learning_rate", rate, low=1e-12)
    check_between("range_penalty", range_penalty, low=0)
    check_between("tolerance", tolerance, low=0, high=1)
    check_whole("patience", patience, low=1)
    targets = _check_images("images", images, statistics)
    if start is not None and not isinstance(start, Tensor):
        raise TypeError(
            f"`start` must be a tensor like `images`; got {type(start).__name__}."
        )
    if start is not None and (
        start.shape != images.shape
        or start.dtype != images.dtype
        or start.device != images.device
    ):
        raise ValueError(
            f"`start` must be like `images`, {tuple(images.shape)} {images.dtype} on "
            f"{images.device}; got {tuple(start.shape)} {start.dtype} on "
            f"{start.device}."
        )
    names = [0] * len(images) if keys is None else list(keys)
    if len(names) != len(images):
        raise ValueError(
            f"`keys` must have one entry per image, {len(images)}; got {len(names)}."
        )
    results = []
    with (
        # Descent needs gradients, whatever the mode of the caller.
        torch.inference_mode(False),
        torch.enable_grad(),
        full_precision(images.device),
        progress(n_steps * len(images), "refining") as bar,
    ):
        for i, key in enumerate(names):
            target = targets[i : i + 1].clone()
            first = (
                noise_start(target, statistics, key=key, seed=seed)
                if start is None
                else _check_images("start", start[i : i + 1], statistics).clone()
            )
            search = _Search(target, statistics, keep_fovea, range_penalty)
            descend = _adam if optimiser == "adam" else _lbfgs
            best, rows = descend(
                search, first, n_steps, rate, (tolerance, patience), bar.update
            )
            results.append((best, rows, search.errors(first), search.errors(best)))
    return _gathered(results)


def noise_start(
    images: Tensor, statistics: PooledStatistics, *, key: str | int = 0, seed: int = 0
) -> Tensor:
    """Draw noise that has the local mean and variance of the images.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
        In [0, 1].
    statistics : PooledStatistics
        Its windows are used.
    key : str or int, default 0
        Of the stream of numbers; the same for all images.
    seed : int, default 0
        Seed.

    Returns
    -------
    Tensor, shape (B, C, H, W)
        In [0, 1]; drawn on the CPU, so that the device does not matter.
    """
    operators = statistics.operators
    mean, square = (operators.pool(0, x) for x in (images, images * images))
    deviation = (square - mean * mean).clamp(min=0).sqrt()
    generator = torch_generator(seed, "refine", key)
    noise = torch.randn(images.shape[1:], generator=generator, dtype=torch.float64)
    rough = operators.spread(0, deviation) * noise.to(images.device, images.dtype)
    return (operators.spread(0, mean) + rough).clamp(0, 1)


# ------------------------------------------------------------------------ private


class _Search:
    """One image to be matched."""

    def __init__(
        self,
        target: Tensor,
        statistics: PooledStatistics,
        keep_fovea: bool,
        range_penalty: float,
    ) -> None:
        self.target, self.statistics = target, statistics
        self.range_penalty = range_penalty
        windows = statistics.windows
        self.fovea: Tensor | None = None
        if keep_fovea and windows.has_fovea and windows.rings:
            weight = torch.from_numpy(fovea_weight(windows))
            self.fovea = weight.to(target.device, target.dtype)
        with torch.no_grad():
            self.values = statistics(target)

    def mixed(self, free: Tensor) -> Tensor:
        """Put the original into the fovea."""
        if self.fovea is None:
            return free
        mixture = self.fovea * self.target + (1 - self.fovea) * free
        return torch.where(self.fovea == 1, self.target, mixture)

    def losses(self, free: Tensor) -> tuple[Tensor, Values]:
        """Loss, and the errors that it sums."""
        errors = statistics_errors(self.values, self.statistics(self.mixed(free)))
        excess = (free - free.clamp(0, 1)).square().sum()
        loss = torch.stack([each.sum() for each in errors.values()]).sum()
        return loss + self.range_penalty * excess, errors

    def errors(self, image: Tensor) -> dict[str, float]:
        """Error of each family of a finished image."""
        with torch.no_grad():
            found = self.statistics(image)
            return {
                name: float(error)
                for name, error in statistics_errors(self.values, found).items()
            }


class _Record:
    """The best image so far, the curve, and when to stop."""

    def __init__(self, search: _Search, stop: tuple[float, int]) -> None:
        self.search, (self.tolerance, self.patience) = search, stop
        self.best: Tensor | None = None
        self.lowest = float("inf")
        self.rows: Rows = []
        self._history: list[float] = []

    def see(self, free: Tensor, loss: Tensor, errors: Values, norm: float) -> bool:
        """Note one evaluation; tell whether to go on."""
        value = float(loss)
        if value < self.lowest:
            self.lowest, self.best = value, free.detach().clone()
        row = {"step": len(self.rows), "loss": value, "gradient_norm": norm}
        row |= {f"loss_{name}": float(e.detach()) for name, e in errors.items()}
        self.rows.append(row)
        self._history.append(self.lowest)
        if not (value < float("inf") and norm < float("inf")):
            return False
        if self.tolerance == 0 or len(self._history) <= self.patience:
            return True
        before = self._history[-1 - self.patience]
        return before - self.lowest >= self.tolerance * before


def _adam(
    search: _Search,
    start: Tensor,
    n_steps: int,
    rate: float,
    stop: tuple[float, int],
    tick: Callable[[], Any],
) -> Outcome:
    free = start.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([free], lr=rate)
    record = _Record(search, stop)
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss, errors = search.losses(free)
        loss.backward()  # type: ignore[no-untyped-call]
        if not record.see(free, loss.detach(), errors, _norm(free)):
            break
        before = free.detach().clone()
        optimiser.step()
        with torch.no_grad():
            free.clamp_(0, 1)
        record.rows[-1]["change"] = float((free.detach() - before).abs().max())
        tick()
    return _finished(search, free, record)


def _lbfgs(
    search: _Search,
    start: Tensor,
    n_steps: int,
    rate: float,
    stop: tuple[float, int],
    tick: Callable[[], Any],
) -> Outcome:
    free = start.detach().clone().requires_grad_()
    optimiser, is_fresh = _new_lbfgs(free, rate), True
    record = _Record(search, stop)
    seen: list[tuple[Tensor, Values, float]] = []

    def evaluate() -> Tensor:
        optimiser.zero_grad()
        loss, errors = search.losses(free)
        loss.backward()  # type: ignore[no-untyped-call]
        seen.append((loss.detach(), errors, _norm(free)))
        return loss

    for _ in range(n_steps):
        before = free.detach().clone()
        seen.clear()
        optimiser.step(evaluate)  # type: ignore[no-untyped-call]
        # The first evaluation of a step is at the image that the last one left.
        if not record.see(before, *seen[0]):
            break
        change = float((free.detach() - before).abs().max())
        record.rows[-1]["change"] = change
        tick()
        if change > 0:
            is_fresh = False
        elif is_fresh:
            break
        else:
            # The search found nothing lower along the direction of its memory, as can
            # be where a statistic turns undefined: go on from the gradient alone.
            optimiser, is_fresh = _new_lbfgs(free, rate), True
    return _finished(search, free, record)


def _new_lbfgs(free: Tensor, rate: float) -> torch.optim.LBFGS:
    return torch.optim.LBFGS(
        [free],
        lr=rate,
        max_iter=1,
        history_size=_LBFGS_HISTORY,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )


def _norm(free: Tensor) -> float:
    return float("nan") if free.grad is None else float(free.grad.norm())


def _finished(search: _Search, free: Tensor, record: _Record) -> Outcome:
    with torch.no_grad():
        loss, _ = search.losses(free)
        if record.best is None or float(loss) < record.lowest:
            record.best = free.detach().clone()
        return search.mixed(record.best.clamp(0, 1)), record.rows


def _gathered(
    results: list[
        tuple[Tensor, list[dict[str, float]], dict[str, float], dict[str, float]]
    ],
) -> Refinement:
    curves, errors = [], []
    for i, (_, rows, first, last) in enumerate(results):
        curves += [{"image": i} | row for row in rows]
        errors += [
            {"image": i, "statistic": name, "start": first[name], "final": value}
            for name, value in last.items()
        ]
    columns = ["image", "step", "loss", "gradient_norm", "change"]
    curve = pd.DataFrame(curves)
    rest = [name for name in curve.columns if name not in columns]
    return Refinement(
        torch.cat([best for best, *_ in results]),
        curve.reindex(columns=[*columns, *rest]),
        pd.DataFrame(errors),
    )


def _check_images(name: str, images: Tensor, statistics: PooledStatistics) -> Tensor:
    statistics.check_images(images, name)
    if len(images) == 0:
        raise ValueError(f"`{name}` is empty.")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"`{name}` must be within [0, 1]; got [{low:g}, {high:g}].")
    return images.detach()
