"""One trainer for all trained models: seeded, resumable, best weights by validation."""

import math
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import exact_float32, is_out_of_memory, resolve
from neurovis.core.files import check_writable_folder, plain
from neurovis.core.log import progress
from neurovis.core.rng import torch_generator
from neurovis.core.store import lock
from neurovis.core.tensors import hash_state_dict
from neurovis.fitting.checkpoints import (
    check_same_run,
    cpu_state,
    read_checkpoint,
    read_result,
    snapshot_file,
    write_checkpoint,
    write_result,
    write_weights,
)
from neurovis.fitting.settings import Training, TrainSettings
from neurovis.fitting.steps import LEAST_SCALE, Learner, Step, part, seeded

__all__ = ["TrainSettings", "Training", "train"]

Batch = TypeVar("Batch")

# Reading a number makes an accelerator wait: there the numbers of so many steps are
# read at once.
_READ_EVERY = 16


@dataclass
class _Position:
    """Where a run stands, between two optimiser steps, and the sums of its epoch."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    weight: float = 0.0
    norm_sum: float = 0.0
    n_norms: int = 0
    learning_rate: float = 0.0
    best_epoch: int | None = None
    waited: int = 0


def train(
    module: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    loss: Callable[[nn.Module, Batch], tuple[Tensor, float]],
    *,
    settings: TrainSettings,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
    identity: Mapping[str, Any] | None = None,
    snapshots: Collection[int] = (),
    description: str = "training",
) -> Training:
    """Train a copy of a module.

    With a `folder` a run that was killed at any moment goes on when it is called
    again, and ends as if nothing had happened: on the CPU with equal bits. A run that
    is finished is read from there.

    Parameters
    ----------
    module : torch.nn.Module
        Architecture and initial weights; it stays as it is. Parameters that need no
        gradient stay fixed.
    batches : callable
        ``batches(epoch)`` returns the batches of an epoch (the first is 0): any
        objects. It must depend on nothing else, so that a run can go on inside an
        epoch; with a sequence the batches before that are not made again.
    loss : callable
        ``loss(module, batch)`` returns the sum of the losses of a batch, a scalar,
        and the number of items that it sums, > 0. It must use the module that it
        is given, and move the batch to the device of that.
    settings : TrainSettings
        How to train.
    validate : callable, optional
        ``validate(module)`` returns values by name, called in evaluation mode,
        without gradients and in float32. The first epoch with the best value of
        ``settings.monitor`` wins; NaN is never best.
    seed : int, default 0
        Seed of dropout and of whatever else draws from torch's default generator
        in `loss` and `validate`. Every batch has a stream of its own; the state of
        the caller's generators is neither used nor changed.
    device : str or torch.device, default "cpu"
        Where to train; as `neurovis.core.device.resolve`.
    folder : str or Path, optional
        Folder of this one run, made when missing: checkpoints, then
        ``model.safetensors``, ``curves.csv`` and ``training.json``.
    identity : mapping, optional
        What else the result depends on, as JSON values: fingerprints of data, version
        of the code. Settings, seed and initial weights are added.
    snapshots : collection of int, default ()
        Numbers of epochs, 1 to `max_epochs`, after which the weights are kept in
        `folder` under the name that `snapshot_file` gives; 0 keeps the initial ones.
    description : str, default "training"
        Word before the progress bar.

    Returns
    -------
    Training
        Best weights and learning curves.

    Raises
    ------
    ValueError
        If the module has nothing to train, `folder` holds another run, loss or
        gradient is not finite (the last good checkpoint stays), or the validation
        lacks the monitored value.
    TypeError
        If `identity` has no JSON form, or what `loss` returns is of another kind.
    DataCorruptError
        If a file of `folder` is damaged.
    PermissionError, NotADirectoryError
        If `folder` cannot be written.

    Notes
    -----
    Ctrl-C writes a checkpoint after the optimiser step under way; a second one ends at
    once. What `loss` changes in the module must be in its state dict. On CUDA equal
    bits need `neurovis.core.device.deterministic` around the call.

    Examples
    --------
    >>> line = nn.Linear(1, 1)
    >>> x = torch.linspace(-1, 1, 8)[:, None]
    >>> result = train(
    ...     line,
    ...     lambda epoch: [x],
    ...     lambda module, batch: ((module(batch) - 3 * batch).square().sum(), 8),
    ...     settings=TrainSettings(max_epochs=300, learning_rate=0.05),
    ... )
    >>> round(result.state["weight"].item(), 2)
    3.0
    """
    place = resolve(device)
    _check_module(module)
    if identity is not None and not isinstance(identity, Mapping):
        raise TypeError(f"`identity` must be a mapping; got {identity!r}.")
    torch_generator(seed)  # raises when it is no seed
    depends = {
        "identity": plain(identity or {}),
        "settings": _result_settings(settings),
        "seed": int(seed),
        "initial_weights": hash_state_dict(module.state_dict()),
    }
    kept = [
        check_whole("snapshots", n, low=0, high=settings.max_epochs) for n in snapshots
    ]
    if kept:
        if folder is None:
            raise ValueError("`snapshots` are kept in `folder`: give one.")
        depends["snapshots"] = sorted(set(kept))

    def start() -> _Run:
        return _Run(
            Learner(module, settings, place, seed), batches, loss, validate, kept
        )

    if folder is None:
        with exact_float32():
            return start().train(description)
    folder = check_writable_folder(Path(folder).absolute())
    with lock(folder), exact_float32():
        for rest in folder.glob("*.part-*"):  # of killed writers, or a probe
            rest.unlink(missing_ok=True)
        done = read_result(folder, depends)
        if done is not None:
            state, curves, meta = done
            ends = (meta[k] for k in ("best_epoch", "n_epochs", "stopped"))
            return Training(state, curves, *ends)
        run = start()
        run.resume(folder, depends)
        training = run.train(description)
        result = {
            "identity": depends,
            "best_epoch": training.best_epoch,
            "n_epochs": training.n_epochs,
            "stopped": training.stopped,
        }
        write_result(folder, training.state, training.curves, result)
        return training


def _check_module(module: nn.Module) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module; got {module!r}.")
    if not any(p.requires_grad for p in module.parameters()):
        raise ValueError("`module` has no parameter that needs a gradient.")
    strange = [k for k, v in module.state_dict().items() if not isinstance(v, Tensor)]
    if strange:
        raise ValueError(
            "The state dict of `module` must hold tensors only; "
            f"{strange[0]!r} is none."
        )


def _result_settings(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings on which the result depends."""
    values: dict[str, Any] = plain(asdict(settings))
    del values["checkpoint_every"], values["checkpoint_s"]
    return values


@contextmanager
def _whole() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended; a second one does not wait."""
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(before):
        yield
        return
    caught: list[tuple[int, Any]] = []

    def note(number: int, frame: Any) -> None:
        if caught:
            before(number, frame)
        caught.append((number, frame))

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        before(*caught[0])


class _Run:
    """A training under way."""

    def __init__(
        self,
        learner: Learner,
        batches: Callable[[int], Iterable[Any]],
        loss: Callable[[nn.Module, Any], tuple[Tensor, float]],
        validate: Callable[[nn.Module], Mapping[str, float]] | None,
        snapshots: Collection[int] = (),
    ) -> None:
        self.learner, self.settings = learner, learner.settings
        self.batches, self.loss, self.validate = batches, loss, validate
        self.snapshots = snapshots
        self.folder: Path | None = None
        self.depends: dict[str, Any] = {}
        self.position = _Position()
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.unread: list[Step] = []
        self.read_every = 1 if learner.place.type == "cpu" else _READ_EVERY
        self.is_whole = True
        self.saved_s = self.shown_s = time.monotonic()

    def train(self, description: str) -> Training:
        """Train until the end."""
        position = self.position
        with progress(self.settings.max_epochs, description, unit="epoch") as bar:
            bar.update(position.epoch)
            if not position.step:
                self._keep_snapshot()
            try:
                while (stopped := self._stopped()) is None:
                    self._train_epoch(bar)
                    self._end_epoch()
                    self._keep_snapshot()
                    bar.set_postfix(self._last_values(), refresh=False)
                    bar.update()
                    if position.epoch % self.settings.checkpoint_every == 0:
                        self._save()
            except KeyboardInterrupt:
                if self.is_whole:
                    self._save()
                raise
            except (MemoryError, RuntimeError) as error:
                if is_out_of_memory(error):
                    error.add_note(
                        "Make the batches smaller and raise `accumulate` by the same "
                        "factor: the gradient stays the same."
                    )
                raise
        return self._training(stopped)

    @contextmanager
    def _undivided(self) -> Iterator[None]:
        """Hold Ctrl-C back, and know when another error left the block half done."""
        with _whole():
            self.is_whole = False
            yield
            self.is_whole = True

    def _stopped(self) -> str | None:
        patience = self.settings.patience
        if patience is not None and self.position.waited >= patience:
            return "patience"
        done = self.position.epoch >= self.settings.max_epochs
        return "max_epochs" if done else None

    def _last_values(self) -> dict[str, float]:
        shown = ("loss", f"val_{self.settings.monitor}")
        return {k: v for k, v in self.rows[-1].items() if k in shown}

    def _train_epoch(self, bar: Any) -> None:
        position = self.position
        items = self.batches(position.epoch)
        left: Iterator[Any]
        if isinstance(items, Sequence):
            left = (items[i] for i in range(position.batch, len(items)))
        else:
            left = islice(items, position.batch, None)
        self.learner.module.train()
        while self._step(left):
            self._show(bar)
        if not position.batch:
            raise ValueError(f"`batches({position.epoch})` gave no batch.")

    def _show(self, bar: Any) -> None:
        if time.monotonic() - self.shown_s >= 1 and not self.unread:
            mean = self.position.loss_sum / self.position.weight
            bar.set_postfix(batch=self.position.batch, loss=mean)
            self.shown_s = time.monotonic()

    def _step(self, left: Iterator[Any]) -> bool:
        """Make one optimiser step; return False when no batch was left."""
        position = self.position
        at = {k: getattr(position, k) for k in ("epoch", "batch", "step")}
        with self._undivided():
            step = self.learner.step(left, self.loss, **at)
            if step is None:
                self._read()
                return False
            self.unread.append(step)
            position.batch += len(step.weights)
            position.step += 1
            position.learning_rate = step.learning_rate
            due_s = self.saved_s + self.settings.checkpoint_s
            is_due = self.folder is not None and time.monotonic() >= due_s
            if is_due or len(self.unread) >= self.read_every:
                self._read()
        if is_due:
            self._save()
        return True

    def _read(self) -> None:
        """Add the numbers of the last steps to the sums of the epoch."""
        steps, position, scaler = self.unread, self.position, self.learner.scaler
        if not steps:
            return
        tensors = [v.reshape(()) for s in steps for v in (*s.loss_sums, s.norm)]
        numbers = iter(torch.stack(tensors).tolist())
        for step in steps:
            for i, weight in enumerate(step.weights):
                total = next(numbers)
                if not math.isfinite(total):
                    raise self._diverged("loss", total, step.place(i))
                position.loss_sum += total
                position.weight += weight
            norm = next(numbers)
            if math.isfinite(norm):
                position.norm_sum += norm
                position.n_norms += 1
            elif not scaler.is_enabled():  # else the step was left out
                raise self._diverged("norm of the gradient", norm, step.place())
        if scaler.is_enabled() and scaler.get_scale() < LEAST_SCALE:
            where = steps[-1].place()
            raise self._diverged("gradient in float16", math.inf, where)
        steps.clear()

    def _diverged(self, what: str, value: float, where: str) -> ValueError:
        stays = "" if self.folder is None else " The last good checkpoint stays."
        return ValueError(
            f"The {what} is {value} at {where}. Lower `learning_rate` or `clip_norm`, "
            "use precision='float32', or look for undefined values in that batch."
            f"{stays}"
        )

    def _end_epoch(self) -> None:
        position = self.position
        n_norms = position.n_norms
        row = {
            "epoch": position.epoch,
            "step": position.step,
            "learning_rate": position.learning_rate,
            "loss": position.loss_sum / position.weight,
            "grad_norm": position.norm_sum / n_norms if n_norms else math.nan,
        }
        found = self._validated()
        is_best = bool(found) and self._is_better(found[f"val_{self.settings.monitor}"])
        with self._undivided():
            self.rows.append({**row, **found})
            if is_best:
                self.best = cpu_state(self.learner.judged.state_dict())
                position.best_epoch, position.waited = position.epoch, 0
            elif found:
                position.waited += 1
            position.epoch, position.batch = position.epoch + 1, 0
            position.loss_sum = position.weight = position.norm_sum = 0.0
            position.n_norms = 0

    def _keep_snapshot(self) -> None:
        # Before the checkpoint, so that what it has passed is there.
        if self.folder is not None and self.position.epoch in self.snapshots:
            path = self.folder / snapshot_file(self.position.epoch)
            write_weights(path, cpu_state(self.learner.judged.state_dict()))

    def _validated(self) -> dict[str, float]:
        epoch, settings = self.position.epoch, self.settings
        last = epoch + 1 == settings.max_epochs
        if self.validate is None or (
            (epoch + 1) % settings.validate_every and not last
        ):
            return {}
        judged, place = self.learner.judged, self.learner.place
        judged.eval()
        with torch.no_grad(), seeded(place, self.learner.seed, "validate", epoch):
            found = self.validate(judged)
        judged.train()
        check_option("monitor", settings.monitor, tuple(found))
        return {f"val_{name}": float(value) for name, value in found.items()}

    def _is_better(self, value: float) -> bool:
        if math.isnan(value) or self.position.best_epoch is None:
            return not math.isnan(value)
        best = self.rows[self.position.best_epoch][f"val_{self.settings.monitor}"]
        return value > best if self.settings.more_is_better else value < best

    def _training(self, stopped: str) -> Training:
        n_epochs, state = self.position.epoch, self.best
        best_epoch = self.position.best_epoch
        if self.validate is None or self.settings.keep == "last":
            best_epoch = n_epochs - 1
            state = cpu_state(self.learner.judged.state_dict())
        if best_epoch is None:
            raise ValueError(
                f"`validate` gave NaN for {self.settings.monitor!r} each time, so that "
                "no weights are best. Monitor another value, or validate on data for "
                "which it is defined."
            )
        curves = pd.DataFrame(self.rows)
        curves["best"] = curves["epoch"] == best_epoch
        return Training(state, curves, best_epoch, n_epochs, stopped)

    def _save(self) -> None:
        """Write a checkpoint."""
        if self.folder is None:
            return
        self._read()
        curves = pd.DataFrame(self.rows)
        tensors = self.learner.tensors()
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        # As a tensor, because NaN and infinities have no JSON form.
        numbers = np.ascontiguousarray(curves.to_numpy(np.float64))
        tensors["curves"] = torch.from_numpy(numbers)
        meta = {
            "identity": self.depends,
            "position": asdict(self.position),
            "columns": list(curves.columns),
            "scaler": self.learner.scaler.state_dict(),
        }
        write_checkpoint(self.folder, tensors, meta)
        self.saved_s = time.monotonic()

    def resume(self, folder: Path, depends: dict[str, Any]) -> None:
        """Use a folder; go on from its checkpoint when there is one."""
        self.folder, self.depends = folder, depends
        found = read_checkpoint(folder)
        if found is None:
            return
        tensors, meta = found
        check_same_run(folder, meta["identity"], depends)
        self.learner.load(tensors, meta["scaler"])
        self.best = part(tensors, "best")
        self.position = _Position(**meta["position"])
        curves = pd.DataFrame(tensors["curves"].numpy(), columns=meta["columns"])
        if len(curves):
            curves = curves.astype({"epoch": int, "step": int})
        rows = curves.to_dict("records")
        self.rows = [{str(k): v for k, v in row.items()} for row in rows]
