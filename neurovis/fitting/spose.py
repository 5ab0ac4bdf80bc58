"""SPoSE: sparse embeddings without negative numbers, from odd-one-out choices.

References
----------
Zheng, Pereira, Baker and Hebart (2019). Revealing interpretable object representations
from human behavior. ICLR. arXiv:1901.02915. Hebart, Zheng, Pereira and Baker (2020).
Nature Human Behaviour 4, 1173-1185. doi:10.1038/s41562-020-00951-3
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from analysis.odd_one_out import check_triplets, choice_nll, odd_one_out_accuracy
from neurovis.core.device import exact_float32, resolve
from neurovis.core.files import check_writable_folder, plain, sha256_bytes
from neurovis.core.log import progress
from neurovis.core.rng import generator
from neurovis.core.store import lock
from neurovis.fitting.checkpoints import (
    check_same_run,
    cpu_state,
    read_checkpoint,
    read_result,
    write_checkpoint,
    write_result,
)
from neurovis.fitting.spose_loss import (
    NEGATIVE_PENALTY,
    SposeSettings,
    has_converged,
    pair_logits,
    pair_members,
    prune_dimensions,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

START_MEAN, START_SD = 0.1, 0.01
"""Of the normal distribution that all numbers are drawn from first."""

# Triplets that are judged at once.
_JUDGED = 2**16
_VERSION = 1


@dataclass(frozen=True, eq=False)
class SposeFit:
    """A fitted embedding.

    Parameters
    ----------
    embedding : ndarray of float64, shape (n_objects, n_kept)
        Dimensions that were kept, the one with the largest sum first.
    weights : ndarray of float64, shape (n_objects, n_dimensions)
        All dimensions as they were fitted; single numbers may lie a little below 0.
    curves : DataFrame
        One row per epoch: `epoch` (from 0), `loss` (mean over its batches), `nll` (the
        part of the choices, nats), `n_dimensions` (with a number above
        `least_maximum`), and with a validation `val_nll` and `val_accuracy`.
    stopped : {"converged", "max_epochs"}
        Why it ended.
    """

    embedding: FloatArray
    weights: FloatArray
    curves: pd.DataFrame
    stopped: str


def fit_spose(
    triplets: ArrayLike,
    *,
    n_objects: int | None = None,
    settings: SposeSettings | None = None,
    validation: ArrayLike | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
) -> SposeFit:
    """Fit an embedding whose inner products predict odd-one-out choices.

    Adam minimises `neurovis.fitting.spose_loss.spose_loss` over shuffled batches until
    the loss falls no longer.

    Parameters
    ----------
    triplets : array-like of int, shape (n_triplets, 3)
        Choices to learn from, the odd one third.
    n_objects : int, optional
        Number of objects; by default as many as the indices need.
    settings : SposeSettings, optional
        How to fit.
    validation : array-like of int, shape (n_validation, 3), optional
        Other choices, judged after every epoch; they change nothing in the fit.
    seed : int, default 0
        Seed of the start and of the batches.
    device : str or torch.device, default "cpu"
        Where to fit; as `neurovis.core.device.resolve`.
    folder : str or Path, optional
        Folder of this one fit: with it a fit that was killed goes on when it is called
        again, and one that is finished is read.

    Returns
    -------
    SposeFit
        Embedding and learning curves.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, `folder` holds another fit, or the loss is not finite.
    DataCorruptError
        If a file of `folder` is damaged.
    PermissionError, NotADirectoryError
        If `folder` cannot be written.

    Notes
    -----
    Equal seeds give equal bits on the CPU; on CUDA inside
    `neurovis.core.device.deterministic`. An epoch that was interrupted is repeated.

    Examples
    --------
    >>> rows = [[0, 1, 2], [0, 1, 3], [2, 3, 0], [2, 3, 1]]
    >>> fast = SposeSettings(n_dimensions=4, learning_rate=0.05, penalty=0.001)
    >>> fit = fit_spose(rows, settings=fast)
    >>> odd_one_out_accuracy(fit.embedding, rows)
    1.0
    """
    settings = settings or SposeSettings()
    rows = check_triplets(triplets, n_objects)
    n = int(rows.max()) + 1 if n_objects is None else n_objects
    judged = None if validation is None else check_triplets(validation, n)
    generator(seed)  # raises when it is no seed
    place = resolve(device)
    kept = asdict(settings)
    del kept["checkpoint_every"]
    depends = plain(
        {
            "fit": "spose",
            "version": _VERSION,
            "settings": kept,
            "seed": int(seed),
            "n_objects": n,
            "triplets": _hash(rows),
            "validation": None if judged is None else _hash(judged),
        }
    )
    path = None
    if folder is not None:
        path = check_writable_folder(Path(folder).absolute())
    with nullcontext() if path is None else lock(path), exact_float32():
        done = None if path is None else read_result(path, depends)
        if done is not None:
            state, curves, meta = done
            return _fit_of(state["weights"], curves, meta["stopped"], settings)
        run = _Run(rows, n, settings, seed, place, judged)
        run.resume(path, depends)
        stopped = run.train()
        weights = cpu_state({"weights": run.weights})
        curves = pd.DataFrame(run.rows)
        if path is not None:
            n_epochs = len(curves)
            result = {
                "identity": depends,
                "best_epoch": n_epochs - 1,
                "n_epochs": n_epochs,
                "stopped": stopped,
            }
            write_result(path, weights, curves, result)
        return _fit_of(weights["weights"], curves, stopped, settings)


def choose_penalty(
    triplets: ArrayLike,
    validation: ArrayLike,
    penalties: Sequence[float] = (0.005, 0.01, 0.02, 0.05, 0.1),
    *,
    n_objects: int | None = None,
    settings: SposeSettings | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
) -> tuple[SposeFit, pd.DataFrame]:
    """Fit with several penalties and take the one that predicts other choices best.

    Parameters
    ----------
    triplets, validation : array-like of int, shape (n, 3)
        Choices to learn from, and those that decide.
    penalties : sequence of float, default (0.005, 0.01, 0.02, 0.05, 0.1)
        Penalties to try.
    n_objects : int, optional
        As `fit_spose`.
    settings : SposeSettings, optional
        How to fit otherwise.
    seed : int, default 0
        Seed of every fit.
    device : str or torch.device, default "cpu"
        Where to fit.
    folder : str or Path, optional
        Holds one folder per penalty; see `fit_spose`.

    Returns
    -------
    fit : SposeFit
        That with the smallest negative log likelihood of `validation`.
    table : DataFrame
        One row per penalty: `penalty`, `val_nll` (nats) and `val_accuracy` of the
        dimensions that were kept, `n_dimensions`, `n_epochs`, `stopped`, `chosen`.

    Raises
    ------
    TypeError, ValueError
        If no penalty is given, or as `fit_spose`.
    """
    if not len(penalties):
        raise ValueError("`penalties` is empty: give one or more.")
    base = settings or SposeSettings()
    rows = check_triplets(triplets, n_objects)
    judged = check_triplets(validation, n_objects)
    n = int(max(rows.max(), judged.max())) + 1 if n_objects is None else n_objects
    tried = [SposeSettings(**{**asdict(base), "penalty": p}) for p in penalties]
    fits, lines = [], []
    for one in tried:
        own = None if folder is None else Path(folder) / f"penalty-{one.penalty:g}"
        fit = fit_spose(
            rows,
            n_objects=n,
            settings=one,
            validation=judged,
            seed=seed,
            device=device,
            folder=own,
        )
        fits.append(fit)
        lines.append(
            {
                "penalty": one.penalty,
                "val_nll": choice_nll(fit.embedding, judged),
                "val_accuracy": odd_one_out_accuracy(fit.embedding, judged),
                "n_dimensions": fit.embedding.shape[1],
                "n_epochs": len(fit.curves),
                "stopped": fit.stopped,
            }
        )
    table = pd.DataFrame(lines)
    best = int(table["val_nll"].to_numpy().argmin())
    return fits[best], table.assign(chosen=np.arange(len(table)) == best)


class _Run:
    """A fit under way."""

    def __init__(
        self,
        triplets: IntArray,
        n_objects: int,
        settings: SposeSettings,
        seed: int,
        place: torch.device,
        validation: IntArray | None,
    ) -> None:
        self.settings, self.seed = settings, seed
        self.triplets = torch.from_numpy(triplets).to(place)
        self.validation = None
        if validation is not None:
            self.validation = torch.from_numpy(validation).to(place)
        shape = n_objects, settings.n_dimensions
        start = generator(seed, "spose start").normal(START_MEAN, START_SD, shape)
        self.weights = torch.from_numpy(start.astype(np.float32)).to(place)
        self.weights.grad = torch.zeros_like(self.weights)
        self.optimiser = torch.optim.Adam(
            [self.weights], settings.learning_rate, fused=place.type in ("cpu", "cuda")
        )
        self.observed = self.weights.new_tensor([1.0, 0.0, 0.0])
        self.rows: list[dict[str, float]] = []
        self.folder: Path | None = None
        self.depends: dict[str, Any] = {}

    def train(self) -> str:
        """Go on until the end; return why it came."""
        settings = self.settings
        with progress(settings.max_epochs, "SPoSE", unit="epoch") as bar:
            bar.update(len(self.rows))
            while not (stopped := self._stopped()):
                self.rows.append(self._epoch(len(self.rows)))
                shown = ("loss", "val_accuracy", "n_dimensions")
                last = {k: v for k, v in self.rows[-1].items() if k in shown}
                bar.set_postfix(last, refresh=False)
                bar.update()
                if len(self.rows) % settings.checkpoint_every == 0:
                    self._save()
        return stopped

    def _stopped(self) -> str:
        if has_converged([r["loss"] for r in self.rows], self.settings.window):
            return "converged"
        return "max_epochs" if len(self.rows) >= self.settings.max_epochs else ""

    def _epoch(self, epoch: int) -> dict[str, float]:
        rng = generator(self.seed, "spose batches", epoch)
        order = torch.from_numpy(rng.permutation(len(self.triplets)))
        shuffled = self.triplets[order.to(self.triplets.device)]
        sums = torch.zeros(2, dtype=torch.float64, device=self.weights.device)
        size = self.settings.batch_size
        first, second = pair_members(shuffled)
        starts = range(0, len(shuffled), size)
        for start in starts:
            part = slice(start, start + size)
            sums += self._step(first[part], second[part])
        loss, nll = (sums / len(starts)).tolist()
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss is {loss} in epoch {epoch} (counted from 0). Lower "
                "`learning_rate`."
            )
        above = self.weights.amax(dim=0) > self.settings.least_maximum
        row = {"epoch": epoch, "loss": loss, "nll": nll}
        row["n_dimensions"] = int(above.sum())
        if self.validation is not None:
            row |= _judge(self.weights, self.validation)
        return row

    def _step(self, first: Tensor, second: Tensor) -> Tensor:
        """Make one step; return the loss and its part of the choices.

        The gradient is written down: it takes a fraction of the time of autograd.
        """
        weights, gradient = self.weights, self.weights.grad
        assert gradient is not None  # made with the weights
        rate = self.settings.penalty / len(weights)
        logits, left, right = pair_logits(weights, first, second)
        log_p = torch.log_softmax(logits, dim=1)
        signs = torch.sign(weights, out=gradient)
        absolute = torch.dot(weights.view(-1), signs.view(-1))
        below = (absolute - weights.sum()) / 2
        # The slope of what lies below 0 is (sign - sign²) / 2, also at 0.
        half = NEGATIVE_PENALTY / 2
        gradient.mul_(rate + half - half * signs)
        slopes = ((log_p.exp() - self.observed) / len(first)).unsqueeze(2)
        gradient.index_add_(0, first.view(-1), right.mul_(slopes).flatten(0, 1))
        gradient.index_add_(0, second.view(-1), left.mul_(slopes).flatten(0, 1))
        self.optimiser.step()
        nll = -log_p[:, 0].mean()
        return torch.stack([nll + NEGATIVE_PENALTY * below + rate * absolute, nll])

    def resume(self, folder: Path | None, depends: dict[str, Any]) -> None:
        """Use a folder; go on from its checkpoint when there is one."""
        self.folder, self.depends = folder, depends
        found = None if folder is None else read_checkpoint(folder)
        if folder is None or found is None:
            return
        tensors, meta = found
        check_same_run(folder, meta["identity"], depends)
        with torch.no_grad():
            self.weights.copy_(tensors["weights"])
        names = ("step", "exp_avg", "exp_avg_sq")
        state = {0: {name: tensors[name] for name in names}}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        curves = pd.DataFrame(tensors["curves"].numpy(), columns=meta["columns"])
        self.rows = _typed_rows(curves)

    def _save(self) -> None:
        if self.folder is None:
            return
        curves = pd.DataFrame(self.rows)
        state = self.optimiser.state_dict()["state"][0]
        tensors = cpu_state({"weights": self.weights, **state})
        numbers = np.ascontiguousarray(curves.to_numpy(np.float64))
        tensors["curves"] = torch.from_numpy(numbers)
        meta = {"identity": self.depends, "columns": list(curves.columns)}
        write_checkpoint(self.folder, tensors, meta)


def _typed_rows(curves: pd.DataFrame) -> list[dict[str, float]]:
    typed = curves.astype({"epoch": int, "n_dimensions": int})
    return [{str(k): v for k, v in row.items()} for row in typed.to_dict("records")]


def _judge(weights: Tensor, triplets: Tensor) -> dict[str, float]:
    nll = right = 0.0
    for start in range(0, len(triplets), _JUDGED):
        rows = triplets[start : start + _JUDGED]
        logits = pair_logits(weights, *pair_members(rows))[0].double()
        nll -= float(torch.log_softmax(logits, dim=1)[:, 0].sum())
        right += float((logits[:, 0] > logits[:, 1:].amax(dim=1)).sum())
    return {"val_nll": nll / len(triplets), "val_accuracy": right / len(triplets)}


def _fit_of(
    weights: Tensor, curves: pd.DataFrame, stopped: str, settings: SposeSettings
) -> SposeFit:
    values = weights.numpy().astype(np.float64)
    pruned = prune_dimensions(values, settings.least_maximum)
    return SposeFit(pruned, values, curves, stopped)


def _hash(rows: IntArray) -> str:
    return sha256_bytes(np.ascontiguousarray(rows).tobytes())
