"""Fit a readout to stored maps and responses."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from neurovis.core.checks import check_between, check_whole
from neurovis.core.rng import generator
from neurovis.fitting.fwrf_problem import fingerprint
from neurovis.fitting.readouts import FactorisedReadout, GaussianReadout
from neurovis.fitting.ridge_features import tensor_of
from neurovis.fitting.ridge_folds import group_numbers
from neurovis.fitting.settings import Training, TrainSettings
from neurovis.fitting.train import train

Readout = TypeVar("Readout", GaussianReadout, FactorisedReadout)

Rows = NDArray[np.intp]
_AT_ONCE = 256


def fit_readout(
    readout: Readout,
    maps: Any,
    responses: Any,
    *,
    groups: ArrayLike | None = None,
    validation: float = 0.2,
    penalty: float = 0.0,
    batch_size: int = 64,
    settings: TrainSettings | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
) -> tuple[Readout, Training]:
    """Train a readout on stored maps, and stop when held-out groups get no better.

    The loss of a picture is the squared error summed over units, plus `penalty` times
    ``readout.regulariser()``.

    Parameters
    ----------
    readout : GaussianReadout or FactorisedReadout
        Initial values; it stays as it is.
    maps : array-like, shape (n_images, n_channels, H, W)
        Feature maps: array, tensor or memory map; read batch by batch.
    responses : array-like, shape (n_images, n_units)
        Responses, finite.
    groups : array-like of int or str, shape (n_images,), optional
        Group of each row, such as its stimulus: rows of one group are on one side.
    validation : float, default 0.2
        Share of groups that are held out, above 0 and below 1; at least one group.
    penalty : float, default 0
        Factor of the regulariser, >= 0.
    batch_size : int, default 64
        Pictures per batch.
    settings : TrainSettings, optional
        How to train; ``TrainSettings(learning_rate=0.01)`` by default. The validation
        gives "loss" (mean squared error of responses) and "r" (mean over units of
        Pearson's r, without undefined ones).
    seed : int, default 0
        Seed of the split, of the order of batches and of the noise.
    device : str or torch.device, default "cpu"
        As `neurovis.core.device.resolve`.
    folder : str or Path, optional
        Folder of this one run, to go on after a kill.

    Returns
    -------
    GaussianReadout or FactorisedReadout
        A copy with the best weights, on the CPU, in evaluation mode.
    Training
        State and learning curves.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a number is out of range or a value not finite.

    Examples
    --------
    >>> maps = torch.rand(40, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    >>> few = TrainSettings(max_epochs=2)
    >>> readout, training = fit_readout(
    ...     FactorisedReadout((2, 5, 5), 3), maps, maps[:, 0, 0, :3], settings=few
    ... )
    >>> training.n_epochs
    2
    """
    settings = settings or TrainSettings(learning_rate=0.01)
    check_between("penalty", penalty, low=0)
    check_whole("batch_size", batch_size, low=1)
    y = _check_data(readout, maps, responses)
    training, held = split_groups(len(y), groups, validation, seed)

    def batches(epoch: int) -> "_Batches":
        order = generator(seed, "readout batches", epoch).permutation(training)
        return _Batches(maps, y, order, batch_size)

    def loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, float]:
        x, measured = _on_device(module, batch)
        total = (module(x) - measured).square().sum()
        if penalty:
            total = total + penalty * len(x) * module.regulariser()  # type: ignore[operator]
        return total, len(x)

    def validate(module: nn.Module) -> Mapping[str, float]:
        pairs = _Batches(maps, y, held, _AT_ONCE)
        out = [module(_on_device(module, pair)[0]).cpu() for pair in pairs]
        return _scores(torch.cat(out).double(), y[held].double())

    identity = None
    if folder is not None:
        identity = {
            "fit": "readout",
            "readout": _options(readout),
            "data": [fingerprint(maps), fingerprint(y)],
            "rows": [fingerprint(training), fingerprint(held)],
            "penalty": float(penalty),
            "batch_size": int(batch_size),
        }
    result = train(
        readout,
        batches,
        loss,
        settings=settings,
        validate=validate,
        seed=seed,
        device=device,
        folder=folder,
        identity=identity,
        description="readout",
    )
    fitted = copy.deepcopy(readout).cpu()
    fitted.load_state_dict(result.state)
    return fitted.eval(), result


def _options(readout: nn.Module) -> dict[str, Any]:
    """Return the options of a readout, which its state dict does not hold."""
    kinds = (bool, int, float, str, tuple, type(None))
    values = {
        name: value
        for name, value in sorted(vars(readout).items())
        if not name.startswith("_") and name != "training" and isinstance(value, kinds)
    }
    return {"class": type(readout).__name__, **values}


def split_groups(
    n_rows: int, groups: ArrayLike | None, share: float, seed: int
) -> tuple[Rows, Rows]:
    """Hold out some groups, drawn at random.

    Parameters
    ----------
    n_rows : int
        Number of rows, >= 2.
    groups : array-like of int or str, shape (n_rows,), optional
        Group of each row; each row is one by default.
    share : float
        Share of groups that are held out, above 0 and below 1; at least one group
        is, and at least one is not.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray of int
        Rows to train on, 0-based, ascending.
    ndarray of int
        Rows that are held out.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or there are fewer than two groups.

    Examples
    --------
    >>> [rows.tolist() for rows in split_groups(5, list("aabbb"), 0.5, 0)]
    [[0, 1], [2, 3, 4]]
    """
    check_between("validation", share, low=0, high=1)
    if not 0 < share < 1:
        raise ValueError(f"`validation` must be above 0 and below 1; got {share!r}.")
    if groups is not None and len(np.asarray(groups)) != n_rows:
        raise ValueError(
            f"`groups` must have one entry per image; got {len(np.asarray(groups))} "
            f"entries for {n_rows} images."
        )
    number = np.arange(n_rows) if groups is None else group_numbers(groups)
    n_groups = int(number.max()) + 1
    if n_groups < 2:
        raise ValueError(
            f"There is {n_groups} group, and one must be held out: give at least two."
        )
    n_held = min(max(1, round(share * n_groups)), n_groups - 1)
    order = generator(seed, "readout validation").permutation(n_groups)
    is_held = np.isin(number, order[:n_held])
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


@dataclass(frozen=True)
class _Batches(Sequence[tuple[Tensor, Tensor]]):
    """Pairs of maps and responses, read when asked for."""

    maps: Any
    responses: Tensor
    rows: Rows
    size: int

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __getitem__(self, index: Any) -> Any:
        rows = self.rows[index * self.size : (index + 1) * self.size]
        ascending = np.sort(rows)  # HDF5 reads no other order
        x = tensor_of(self.maps[ascending], torch.float32, torch.device("cpu"))
        return x, self.responses[torch.from_numpy(ascending)]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[index] for index in range(len(self)))


def _check_data(readout: nn.Module, maps: Any, responses: Any) -> Tensor:
    """Return responses as a tensor on the CPU, after all checks."""
    if not isinstance(readout, GaussianReadout | FactorisedReadout):
        raise TypeError(
            "`readout` must be a GaussianReadout or a FactorisedReadout; got "
            f"{type(readout).__name__}."
        )
    shape = tuple(getattr(maps, "shape", ()))
    if len(shape) != 4 or shape[1:] != readout.in_shape or shape[0] < 2:
        raise ValueError(
            "`maps` must be an array of shape (n_images, "
            f"{', '.join(map(str, readout.in_shape))}) with at least two images, as "
            f"the readout expects; got shape {shape}."
        )
    y = tensor_of(responses, torch.float32, torch.device("cpu"))
    if tuple(y.shape) != (shape[0], readout.n_units):
        raise ValueError(
            f"`responses` must have shape ({shape[0]}, {readout.n_units}), one row per "
            f"image and one column per unit; got {tuple(y.shape)}."
        )
    bad = ~y.isfinite().all(0)
    if bad.any():
        raise ValueError(
            f"`responses` of {int(bad.sum())} units have NaN or infinite values (the "
            f"first is unit {int(bad.int().argmax())}). Leave those units out."
        )
    return y


def _on_device(
    module: nn.Module, batch: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    place = next(module.parameters()).device
    return batch[0].to(place), batch[1].to(place)


def _scores(predicted: Tensor, measured: Tensor) -> dict[str, float]:
    error = (predicted - measured).square().mean()
    x, y = (v - v.mean(0) for v in (predicted, measured))
    r = (x * y).sum(0) / (x.norm(dim=0) * y.norm(dim=0))  # 0 / 0 is NaN
    return {"loss": float(error), "r": float(r.nanmean())}
