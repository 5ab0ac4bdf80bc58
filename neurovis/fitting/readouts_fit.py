"""Fit a readout to stored maps and responses."""

from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from neurovis.fitting.network_fit import fit_network, split_groups
from neurovis.fitting.readouts import FactorisedReadout, GaussianReadout
from neurovis.fitting.ridge_features import tensor_of
from neurovis.fitting.settings import Training, TrainSettings

__all__ = ["fit_readout", "split_groups"]

Readout = TypeVar("Readout", GaussianReadout, FactorisedReadout)


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
    fit = fit_network(
        readout,
        maps,
        _check_data(readout, maps, responses),
        groups=groups,
        validation=validation,
        loss="sum",
        penalty=penalty,
        batch_size=batch_size,
        settings=settings or TrainSettings(learning_rate=0.01),
        seed=seed,
        device=device,
        folder=folder,
        description="readout",
    )
    return cast(Readout, fit.module), fit.training


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
