"""Train a network to predict responses of units, some of which may be missing."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import exact_float32, resolve
from neurovis.core.rng import generator
from neurovis.fitting.fwrf_problem import fingerprint
from neurovis.fitting.network_batches import (
    Batch,
    Batches,
    InputBatches,
    ReadAhead,
    are_small,
)
from neurovis.fitting.network_losses import (
    LOSSES,
    call,
    join_scores,
    make_loss,
    score_block,
)
from neurovis.fitting.network_parts import (
    Rows,
    Targets,
    check_inputs,
    check_targets,
    describe,
    mark,
    row_blocks,
)
from neurovis.fitting.ridge_folds import group_numbers
from neurovis.fitting.settings import Training, TrainSettings
from neurovis.fitting.train import train


@dataclass(frozen=True)
class NetworkFit:
    """A network that was fitted.

    Parameters
    ----------
    module : torch.nn.Module
        A copy with the best weights, on the CPU, in evaluation mode.
    training : Training
        State and learning curves.
    trained, held : ndarray of int
        Rows that it was trained on and rows that chose the epoch, ascending, from 0.
    """

    module: nn.Module
    training: Training
    trained: Rows
    held: Rows


def published_settings() -> TrainSettings:
    """Return how the transformer brain encoder is trained.

    Returns
    -------
    TrainSettings
        15 epochs of AdamW with learning rate 5e-4, halved every 100 epochs, weight
        decay 1e-4 and gradients clipped to norm 0.1; the epoch with the best mean
        correlation wins.

    Notes
    -----
    As everywhere in the suite, biases and norms have no weight decay; published, they
    have.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), doi:10.48550/arXiv.2505.17329.

    Examples
    --------
    >>> published_settings().monitor
    'r'
    """
    return TrainSettings(
        max_epochs=15,
        patience=None,
        monitor="r",
        more_is_better=True,
        optimiser="adamw",
        learning_rate=5e-4,
        weight_decay=1e-4,
        schedule="step",
        step_epochs=100,
        step_factor=0.5,
        clip_norm=0.1,
    )


def fit_network(
    module: nn.Module,
    inputs: Any,
    responses: Any,
    *,
    groups: ArrayLike | None = None,
    validation: float = 0.1,
    parts: ArrayLike | None = None,
    loss: str = "mean",
    penalty: float = 0.0,
    batch_size: int = 16,
    settings: TrainSettings | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
    identity: Mapping[str, Any] | None = None,
    description: str = "network",
) -> NetworkFit:
    """Train a network on stored inputs; held-out groups choose the epoch.

    Parameters
    ----------
    module : torch.nn.Module
        ``module(*inputs)`` returns (n_images, n_units); it stays as it is.
    inputs : array-like, shape (n_images, ...), or tuple or list of such
        What the module takes. Each is read batch by batch with ascending rows, as
        float32: an array, tensor, memory map or HDF5 data set, or any object with
        `shape` that can be indexed with an array of rows. Unless all are in memory
        and small, one thread reads the next batch while a step is made.
    responses : array-like, shape (n_images, n_units), or ResponseBlocks
        Responses. NaN: this unit was not measured with this picture; it counts
        neither in the loss nor in scores. So several subjects can stand side by side;
        as `ResponseBlocks` they need no room for what was not measured. float32 is
        not copied, and a memory map is read row by row.
    groups : array-like of int or str, shape (n_images,), optional
        Group of each row, such as its stimulus: rows of one group are on one side.
    validation : float, default 0.1
        Share of groups that are held out, above 0 and below 1; at least one group.
    parts : array-like of int, shape (n_units,), optional
        Part of each unit, such as its hemisphere, for the loss; one by default.
    loss : {"mean", "mean+ccc", "sum"}
        See Notes.
    penalty : float, default 0
        Factor of ``module.regulariser()``, which is added to the loss; >= 0.
    batch_size : int, default 16
        Pictures per batch; four times as many for validation.
    settings : TrainSettings, optional
        How to train; `published_settings` by default. The validation gives "loss"
        (mean squared error of measured entries) and "r" (mean over units of Pearson's
        r, without undefined ones).
    seed : int, default 0
        Seed of the split, of the order of batches and of dropout or other noise.
    device : str or torch.device, default "cpu"
        As `neurovis.core.device.resolve`.
    folder : str or Path, optional
        Folder of this one run, to go on after a kill. All inputs are read once for
        their fingerprint; one with an own `fingerprint` (text) is not.
    identity : mapping, optional
        What else the result depends on, as JSON values.
    description : str, default "network"
        Word before the progress bar.

    Returns
    -------
    NetworkFit
        Network, curves and split.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a number is out of range, a response is infinite, a
        unit or a picture has no response, or a unit has none to be trained on.

    Notes
    -----
    "mean" is, for one optimiser step, the sum over parts of the mean squared error of
    all entries of the part that were measured in the step; a part of which nothing was
    measured adds 0. A step has ``settings.accumulate`` batches, and every one divides
    by the entries of the step, so that the gradient is that of one large batch. For
    the curve a step counts with its number of pictures. Where nothing is missing, it
    is the mean over pictures of the sum over parts of the picture's mean squared error.

    "mean+ccc" adds 1 - CCC (`neurovis.fitting.network_losses.discordance`) of each
    batch, weighted by pictures where a step has several. It depends on how pictures
    fall into batches.

    "sum" is the squared error summed over measured units, per picture; parts change
    nothing there.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), doi:10.48550/arXiv.2505.17329; Saha, Chadha &
    Khosla (2024), doi:10.48550/arXiv.2410.14031.

    Examples
    --------
    >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    >>> y = (2 * x[:, :2]).numpy()
    >>> y[:5, 0] = np.nan
    >>> fit = fit_network(nn.Linear(3, 2), x, y)
    >>> fit.training.n_epochs, len(fit.trained), len(fit.held)
    (15, 36, 4)
    """
    settings = settings or published_settings()
    check_option("loss", loss, LOSSES)
    check_whole("batch_size", batch_size, low=1)
    if identity is not None and not isinstance(identity, Mapping):
        raise TypeError(f"`identity` must be a mapping; got {identity!r}.")
    _check_module(module, penalty)
    several = check_inputs(inputs)
    targets = check_targets(responses, int(several[0].shape[0]), parts)
    trained, held = split_groups(len(targets), groups, validation, seed)
    _check_trained(targets, trained)
    is_threaded = not are_small(several, len(targets))
    pin = is_threaded and resolve(device).type == "cuda"

    def batches(epoch: int) -> Sequence[Batch]:
        order = generator(seed, "readout batches", epoch).permutation(trained)
        every = settings.accumulate
        return ahead.over(Batches(several, targets, order, batch_size, every, pin))

    def validate(network: nn.Module) -> Mapping[str, float]:
        found = []
        for at, own, units, block in targets.pieces(held):
            reads = ahead.over(InputBatches(several, held[at], 4 * batch_size, pin))
            predicted = _predict(network, reads, len(at), units)
            measured = torch.from_numpy(np.take(block, own, axis=0))
            found.append(score_block(predicted, measured))
        return join_scores(found)

    depends = None
    if folder is not None:
        depends = {
            "fit": "network",
            "given": dict(identity or {}),
            "module": describe(module),
            "inputs": [mark(values) for values in several],
            "responses": [fingerprint(v) for v in (*targets.blocks, targets.parts)],
            "rows": [fingerprint(trained), fingerprint(held)],
            "loss": loss,
            "penalty": float(penalty),
            "batch_size": int(batch_size),
        }
    with ReadAhead(is_threaded=is_threaded) as ahead:
        result = train(
            module,
            batches,
            make_loss(loss, penalty),
            settings=settings,
            validate=validate,
            seed=seed,
            device=device,
            folder=folder,
            identity=depends,
            description=description,
        )
    fitted = copy.deepcopy(module).cpu()
    fitted.load_state_dict(result.state)
    return NetworkFit(fitted.eval(), result, trained, held)


def predict_network(
    module: nn.Module,
    inputs: Any,
    *,
    rows: ArrayLike | None = None,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> NDArray[np.float32]:
    """Predict responses, batch by batch, in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Network; it stays as it is.
    inputs : array-like, shape (n_images, ...), or tuple or list of such
        As `fit_network`.
    rows : array-like of int, optional
        Rows to predict, from 0, in any order; all by default.
    batch_size : int, default 64
        Pictures at once.
    device : str or torch.device, default "cpu"
        As `neurovis.core.device.resolve`.

    Returns
    -------
    ndarray of float32, shape (n_rows, n_units)
        Predictions, in the order of `rows`.

    Raises
    ------
    TypeError, ValueError
        If inputs differ in length, or rows are not whole numbers of theirs.

    Examples
    --------
    >>> predict_network(nn.Linear(3, 2), np.zeros((5, 3)), rows=[4, 0]).shape
    (2, 2)
    """
    check_whole("batch_size", batch_size, low=1)
    _check_module(module)
    several = check_inputs(inputs)
    wanted = _check_rows(rows, int(several[0].shape[0]))
    ascending, back = np.unique(wanted, return_inverse=True)
    place = resolve(device)
    network = copy.deepcopy(module).to(place).eval()
    is_threaded = not are_small(several, len(ascending))
    pin = is_threaded and place.type == "cuda"
    with torch.no_grad(), exact_float32(), ReadAhead(is_threaded=is_threaded) as ahead:
        reads = ahead.over(InputBatches(several, ascending, batch_size, pin))
        found = _predict(network, reads, len(ascending)).numpy()
    back = back.reshape(-1)
    in_order = np.array_equal(back, np.arange(len(back)))
    return found if in_order else found[back]


def _predict(
    network: nn.Module,
    reads: Sequence[tuple[Tensor, ...]],
    n_rows: int,
    units: slice | None = None,
) -> Tensor:
    """Return predictions on the CPU, of all units or some."""
    found, start = torch.empty(0), 0
    for inputs in reads:
        out = call(network, inputs)[:, units or slice(None)]
        if not start:  # only now the number of units is known
            found = torch.empty((n_rows, out.shape[1]))
        found[start : start + len(out)] = out
        start += len(out)
    return found


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


def _check_module(module: nn.Module, penalty: float = 0.0) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module; got {module!r}.")
    check_between("penalty", penalty, low=0)
    if penalty and not callable(getattr(module, "regulariser", None)):
        raise ValueError(
            f"`penalty` is {penalty!r}, but {type(module).__name__} has no "
            "`regulariser()`: use penalty=0."
        )


def _check_trained(targets: Targets, trained: Rows) -> None:
    has_value = np.zeros(len(targets.parts), bool)
    for _, own, units, block in targets.pieces(trained):
        is_trained = np.zeros(len(block), bool)
        is_trained[own] = True
        for rows in row_blocks(block):
            finite = np.isfinite(block[rows]) & is_trained[rows, None]
            has_value[units] |= finite.any(0)
    if not has_value.all():
        missing = ~has_value
        raise ValueError(
            f"{int(missing.sum())} units were measured for held-out pictures only (the "
            f"first: unit {int(missing.argmax())}), so that nothing trains them. "
            "Leave those units out, or choose another `seed` or `validation`."
        )


def _check_rows(rows: ArrayLike | None, n_rows: int) -> Rows:
    if rows is None:
        rows = np.arange(n_rows)
    array = np.asarray(rows)
    if array.dtype.kind not in "iu" or array.ndim != 1 or not array.size:
        raise TypeError(
            "`rows` must be a vector of at least one whole number; got shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    if array.min() < 0 or array.max() >= n_rows:
        raise ValueError(
            f"`rows` must be within [0, {n_rows - 1}]; got {array.min()} to "
            f"{array.max()}."
        )
    return array.astype(np.intp)
