"""How a module is trained, and what that gives."""

import math
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from neurovis.core.checks import check_between, check_option, check_whole

PRECISIONS = ("float32", "mixed", "bfloat16", "float16")


@dataclass(frozen=True)
class TrainSettings:
    """How a module is trained.

    Parameters
    ----------
    max_epochs : int, default 500
        Largest number of epochs, >= 1.
    patience : int or None, default 30
        Validations in a row without improvement after which training stops; None:
        never.
    keep : {"best", "last"}
        Which weights are returned: those with the best validation or, as with no
        validation, the last ones.
    monitor : str, default "loss"
        Which value of the validation says which weights are best.
    more_is_better : bool, default False
        Whether a larger value of the monitor is better.
    optimiser : {"adam", "adamw", "sgd"}
        The one of ``torch.optim``.
    learning_rate : float, default 1e-4
        Learning rate before schedule and warm-up, > 0.
    weight_decay : float, default 0
        Of matrices and kernels; tensors of one dimension (biases, norms) have none.
        A penalty in the gradient for "adam" and "sgd", decoupled for "adamw".
    decay_all : bool, default False
        Biases and norms decay too, as with the optimisers of torch by themselves.
    betas : tuple of two float, default (0.9, 0.999)
        Decay rates of Adam; for "sgd" the first one is the momentum.
    nesterov : bool, default False
        For "sgd": momentum as Nesterov's.
    fresh_optimiser : bool, default False
        The optimiser forgets all moments after each epoch, as in some published code
        that makes a new one for every epoch.
    schedule : {"constant", "cosine", "step"}
        How the learning rate falls, epoch by epoch: see `rate`.
    step_epochs : int or tuple of int, default 1
        For "step": epochs with one learning rate, or the epochs (the first is 0) from
        which on there is the next one.
    step_factor : float, default 1
        For "step": factor from one learning rate to the next, > 0.
    warmup_steps : int, default 0
        Optimiser steps in which the learning rate rises linearly from 0.
    clip_norm : float or None, default 1
        Largest norm of the gradient of all parameters together; None: any.
    accumulate : int, default 1
        Batches per optimiser step; the gradient is that of one large batch.
    validate_every : int, default 1
        Epochs from one validation to the next; there is one after the last epoch too.
    checkpoint_every : int, default 1
        Epochs from one checkpoint to the next.
    checkpoint_s : float, default 60
        Seconds after which a checkpoint is written inside an epoch too. When there
        are checkpoints does not change the result.
    precision : {"float32", "mixed", "bfloat16", "float16"}
        "float32" is exact (no TF32). "mixed" computes the loss in the 16-bit type
        of the device (`neurovis.core.device.autocast_dtype`), with float32 weights
        and, for float16, a scaled loss; the other two name the type.
    ema_decay : float or None, default None
        If given, an exponential moving average of the weights over optimiser steps
        is validated and returned instead of the weights. After n steps its decay is
        ``min(ema_decay, (1 + n) / (10 + n))``, so that it forgets the start.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    max_epochs: int = 500
    patience: int | None = 30
    keep: str = "best"
    monitor: str = "loss"
    more_is_better: bool = False
    optimiser: str = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    decay_all: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    nesterov: bool = False
    fresh_optimiser: bool = False
    schedule: str = "constant"
    step_epochs: int | tuple[int, ...] = 1
    step_factor: float = 1.0
    warmup_steps: int = 0
    clip_norm: float | None = 1.0
    accumulate: int = 1
    validate_every: int = 1
    checkpoint_every: int = 1
    checkpoint_s: float = 60.0
    precision: str = "float32"
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_epochs", "accumulate", "validate_every", "checkpoint_every"):
            check_whole(name, getattr(self, name), low=1)
        epochs = self.step_epochs
        for number in epochs if isinstance(epochs, tuple) else (epochs,):
            check_whole("step_epochs", number, low=1)
        if self.patience is not None:
            check_whole("patience", self.patience, low=1)
        check_whole("warmup_steps", self.warmup_steps, low=0)
        for name in ("weight_decay", "checkpoint_s"):
            check_between(name, getattr(self, name), low=0)
        positive = {
            "learning_rate": self.learning_rate,
            "step_factor": self.step_factor,
        }
        if self.clip_norm is not None:
            positive["clip_norm"] = self.clip_norm
        for name, value in positive.items():
            if check_between(name, value, low=0) == 0:
                raise ValueError(f"`{name}` must be above 0; got {value!r}.")
        shares = dict(zip(("betas[0]", "betas[1]"), self.betas, strict=True))
        if self.ema_decay is not None:
            shares["ema_decay"] = self.ema_decay
        for name, value in shares.items():
            if check_between(name, value, low=0, high=1) == 1:
                raise ValueError(f"`{name}` must be below 1; got {value!r}.")
        check_option("optimiser", self.optimiser, ("adam", "adamw", "sgd"))
        check_option("schedule", self.schedule, ("constant", "cosine", "step"))
        check_option("precision", self.precision, PRECISIONS)
        check_option("keep", self.keep, ("best", "last"))
        if self.nesterov and (self.optimiser != "sgd" or not self.betas[0]):
            raise ValueError(
                "`nesterov` needs the optimiser 'sgd' with a momentum above 0; got "
                f"{self.optimiser!r} with {self.betas[0]!r}."
            )

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of an optimiser step.

        Parameters
        ----------
        epoch : int
            Epochs finished before it.
        step : int
            Optimiser steps made before it.

        Returns
        -------
        float
            `learning_rate`, times ``(1 + cos(π epoch / max_epochs)) / 2`` for
            "cosine" or ``step_factor ** (epoch // step_epochs)`` for "step" (or the
            power of the number of steps that are past), times ``(step + 1) /
            warmup_steps`` during warm-up.

        Examples
        --------
        >>> settings = TrainSettings(learning_rate=1.0, schedule="cosine", max_epochs=4)
        >>> [round(settings.rate(epoch, 0), 3) for epoch in range(4)]
        [1.0, 0.854, 0.5, 0.146]
        """
        rate = self.learning_rate
        if self.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * epoch / self.max_epochs)) / 2
        elif self.schedule == "step":
            steps = self.step_epochs
            past = (
                sum(epoch >= first for first in steps)
                if isinstance(steps, tuple)
                else epoch // steps
            )
            rate *= self.step_factor**past
        return rate * min(1.0, (step + 1) / max(self.warmup_steps, 1))


@dataclass(frozen=True)
class Training:
    """What a training gave.

    Parameters
    ----------
    state : dict of str to Tensor
        State dict with the best weights, on the CPU; the last ones where nothing
        was validated.
    curves : DataFrame
        One row per epoch: `epoch` (the first is 0), `step` (optimiser steps made by
        its end), `learning_rate` (of its last step), `loss` (weighted mean over its
        batches), `grad_norm` (mean over its steps, before clipping), ``val_<name>``
        for every value of the validation (NaN where there was none), and `best`
        (true for the epoch whose weights are returned).
    best_epoch : int
        That epoch.
    n_epochs : int
        Epochs trained.
    stopped : str
        "patience" or "max_epochs".
    """

    state: dict[str, Tensor]
    curves: pd.DataFrame
    best_epoch: int
    n_epochs: int
    stopped: str
