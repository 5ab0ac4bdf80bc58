"""One optimiser step: seeded, accumulated, in one precision."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from neurovis.core.device import autocast_dtype
from neurovis.core.rng import torch_generator
from neurovis.fitting.checkpoints import cpu_state
from neurovis.fitting.settings import TrainSettings

LEAST_SCALE = 2.0**-24
"""Scale of a float16 loss below which its gradients will never be finite."""

Loss = Callable[[nn.Module, Any], tuple[Tensor, float]]


@contextmanager
def seeded(place: torch.device, seed: int, *keys: str | int) -> Iterator[None]:
    """Give torch's default generators a stream of their own inside the block.

    As ``torch.random.fork_rng``, but several times cheaper, and the generators of
    other devices are not touched.

    Parameters
    ----------
    place : torch.device
        Device whose generator is meant, beside that of the CPU.
    seed : int
        Seed of the run, 0 or more.
    *keys : str or int
        What the numbers are for.

    Yields
    ------
    None
        Nothing.

    Examples
    --------
    >>> cpu = torch.device("cpu")
    >>> with seeded(cpu, 0, "dropout", 3):
    ...     first = torch.rand(2)
    >>> with seeded(cpu, 0, "dropout", 3):
    ...     bool((torch.rand(2) == first).all())
    True
    """
    number = torch_generator(seed, *keys).initial_seed()
    sources: list[tuple[Any, Any, Any]] = [
        (torch.get_rng_state, torch.set_rng_state, torch.default_generator.manual_seed)
    ]
    if place.type == "cuda":
        cuda = torch.cuda.default_generators[place.index]
        sources.append((cuda.get_state, cuda.set_state, cuda.manual_seed))
    elif place.type == "mps":
        mps = torch.mps
        sources.append((mps.get_rng_state, mps.set_rng_state, mps.manual_seed))
    states = [get() for get, _, _ in sources]
    try:
        for _, _, set_seed in sources:
            set_seed(number)
        yield
    finally:
        for (_, restore, _), state in zip(sources, states, strict=True):
            restore(state)


@dataclass(frozen=True)
class Step:
    """What an optimiser step was made of; the tensors lie on the device.

    Parameters
    ----------
    epoch, batch : int
        Its epoch, and its first batch there; both count from 0.
    loss_sums : list of Tensor
        Sum of the losses of each of its batches.
    weights : list of float
        Number of items of each.
    norm : Tensor
        Norm of the gradient before clipping.
    learning_rate : float
        Of this step.
    """

    epoch: int
    batch: int
    loss_sums: list[Tensor]
    weights: list[float]
    norm: Tensor
    learning_rate: float

    def place(self, index: int = 0) -> str:
        """Return the words that say where one of its batches is.

        Parameters
        ----------
        index : int, default 0
            Which one of its batches.

        Returns
        -------
        str
            Such as "epoch 0, batch 3 (counted from 0)".
        """
        return batch_place(self.epoch, self.batch + index)


def batch_place(epoch: int, batch: int) -> str:
    """Return the words that say where a batch is.

    Parameters
    ----------
    epoch, batch : int
        Counted from 0.

    Returns
    -------
    str
        For messages.
    """
    return f"epoch {epoch}, batch {batch} (counted from 0)"


class Learner:
    """A copy of a module with its optimiser, its precision and its average.

    Parameters
    ----------
    module : torch.nn.Module
        Initial weights; it stays as it is.
    settings : TrainSettings
        How to train.
    place : torch.device
        Where.
    seed : int
        Seed of what draws in the loss.

    Attributes
    ----------
    module : torch.nn.Module
        Changed by every step.
    judged : torch.nn.Module
        What is validated: the average where there is one, else `module`.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: TrainSettings,
        place: torch.device,
        seed: int,
    ) -> None:
        self.settings, self.place, self.seed = settings, place, seed
        self.module = copy.deepcopy(module).to(place)
        averaged = settings.ema_decay is not None
        self.judged = copy.deepcopy(self.module) if averaged else self.module
        self._parameters = [p for p in self.module.parameters() if p.requires_grad]
        self._optimiser = _make_optimiser(self._parameters, settings)
        self._optimiser.zero_grad()
        self._dtype = _autocast_type(settings.precision, place)
        is_half = self._dtype == torch.float16
        self.scaler = torch.amp.GradScaler(place.type, enabled=is_half)

    def step(
        self, left: Iterator[Any], loss: Loss, *, epoch: int, batch: int, step: int
    ) -> Step | None:
        """Make one optimiser step with the next batches.

        The gradient is that of the sum of all losses over the number of all items.

        Parameters
        ----------
        left : iterator
            Batches that are left in this epoch.
        loss : callable
            As `neurovis.fitting.train.train`.
        epoch, batch, step : int
            Finished epochs, finished batches of this one, finished steps.

        Returns
        -------
        Step or None
            None when no batch was left.

        Raises
        ------
        TypeError, ValueError
            If `loss` does not return what it must.
        """
        if not batch and self.settings.fresh_optimiser:
            self._optimiser = _make_optimiser(self._parameters, self.settings)
        sums: list[Tensor] = []
        weights: list[float] = []
        for item in islice(left, self.settings.accumulate):
            index = batch + len(sums)
            with seeded(self.place, self.seed, "train", epoch, index):
                with self._autocast():
                    total, weight = _checked(*loss(self.module, item), epoch, index)
                weights.append(weight)
                # Divided already here, because sums are soon too large for float16.
                scaled: Any = self.scaler.scale(total / weights[0])
                scaled.backward()
            sums.append(total.detach())
        if not sums:
            return None
        rate = self.settings.rate(epoch, step)
        norm = self._update(weights, rate)
        self._follow(step)
        return Step(epoch, batch, sums, weights, norm, rate)

    def _autocast(self) -> Any:
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self.place.type, self._dtype)

    def _update(self, weights: list[float], rate: float) -> Tensor:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            raise ValueError(
                "No parameter got a gradient: `loss` must use the module it is given."
            )
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self._optimiser)
        if len(weights) > 1:
            for gradient in gradients:
                gradient.mul_(weights[0] / math.fsum(weights))
        clip = self.settings.clip_norm
        norm = nn.utils.clip_grad_norm_(
            self._parameters, math.inf if clip is None else clip
        )
        self.scaler.step(self._optimiser)
        self.scaler.update()
        self._optimiser.zero_grad()
        return norm

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights."""
        if self.settings.ema_decay is None:
            return
        decay = min(self.settings.ema_decay, (2 + step) / (11 + step))
        slow, fast = self.judged, self.module
        for average, value in zip(slow.parameters(), fast.parameters(), strict=True):
            average.lerp_(value, 1 - decay)
        for copied, buffer in zip(slow.buffers(), fast.buffers(), strict=True):
            copied.copy_(buffer)

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all that a step changes, on the CPU.

        Returns
        -------
        dict of str to Tensor
            Under ``module/``, ``average/`` and ``optimiser/<parameter>/``.
        """
        states = {"module": self.module.state_dict()}
        if self.judged is not self.module:
            states["average"] = self.judged.state_dict()
        for index, entries in self._optimiser.state_dict()["state"].items():
            # The momentum of plain gradient descent is None.
            kept = {k: v for k, v in entries.items() if isinstance(v, Tensor)}
            states[f"optimiser/{index}"] = kept
        return {
            f"{part}/{name}": value
            for part, state in states.items()
            for name, value in cpu_state(state).items()
        }

    def load(self, tensors: Mapping[str, Tensor], scaler: Mapping[str, Any]) -> None:
        """Go back to where `tensors` was called.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            What it returned.
        scaler : mapping
            State of `scaler`.
        """
        self.module.load_state_dict(part(tensors, "module"))
        if self.judged is not self.module:
            self.judged.load_state_dict(part(tensors, "average"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, "optimiser").items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": state, "param_groups": groups})
        if self.scaler.is_enabled() and scaler:
            self.scaler.load_state_dict(dict(scaler))


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors under ``<name>/``, without that prefix.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Tensors by path.
    name : str
        First part of the path.

    Returns
    -------
    dict of str to Tensor
        In the same order.
    """
    start = f"{name}/"
    return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}


def _checked(total: Any, weight: Any, epoch: int, batch: int) -> tuple[Tensor, float]:
    if not isinstance(total, Tensor) or total.ndim or not total.requires_grad:
        raise TypeError(
            "`loss` must return a scalar tensor that depends on the parameters of the "
            f"module it was given, and a number of items; got {total!r} at "
            f"{batch_place(epoch, batch)}."
        )
    number = float(weight)
    if not 0 < number < math.inf:
        raise ValueError(
            f"`loss` must return a number of items above 0; got {number!r} at "
            f"{batch_place(epoch, batch)}."
        )
    return total, number


def _autocast_type(precision: str, place: torch.device) -> torch.dtype | None:
    if precision == "mixed":
        return autocast_dtype(place)
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision)


def _make_optimiser(
    parameters: list[nn.Parameter], settings: TrainSettings
) -> torch.optim.Optimizer:
    decay, rate = settings.weight_decay, settings.learning_rate
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if decay and settings.decay_all:
        groups = [{"params": parameters, "weight_decay": decay}]
    elif decay:
        flat = [p for p in parameters if p.ndim <= 1]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
            {"params": flat, "weight_decay": 0.0},
        ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            groups, lr=rate, momentum=settings.betas[0], nesterov=settings.nesterov
        )
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    # The default decay of AdamW is not 0.
    return kind(groups, lr=rate, betas=settings.betas, weight_decay=0.0)
