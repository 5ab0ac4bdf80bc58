"""Losses and scores of networks that predict units, some of them not measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from neurovis.fitting.network_batches import Batch

LOSSES = ("mean", "mean+ccc", "sum")

_NUMBERS_AT_ONCE = 2**20


def call(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Call a network with inputs on its device.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    inputs : tuple of Tensor
        Inputs.

    Returns
    -------
    Tensor of float32, shape (n_images, n_units)
        Prediction.

    Raises
    ------
    TypeError, ValueError
        If the module gives something else.
    """
    tensors = chain(module.parameters(), module.buffers())
    place = next((values.device for values in tensors), torch.device("cpu"))
    out = module(*(to_device(values, place) for values in inputs))
    if not isinstance(out, Tensor):
        raise TypeError(
            "`module` must return one tensor (n_images, n_units); got "
            f"{type(out).__name__}."
        )
    if out.ndim != 2 or len(out) != len(inputs[0]):
        raise ValueError(
            f"`module` must return (n_images, n_units); for {len(inputs[0])} images it "
            f"gave shape {tuple(out.shape)}."
        )
    return out.float()


def to_device(values: Tensor, place: torch.device) -> Tensor:
    """Move a tensor; from pinned memory to CUDA while the computation goes on.

    Parameters
    ----------
    values : Tensor
        On the CPU, or on `place`.
    place : torch.device
        Where it is needed.

    Returns
    -------
    Tensor
        There.
    """
    return values.to(place, non_blocking=place.type == "cuda")


def make_loss(
    kind: str, penalty: float
) -> Callable[[nn.Module, Batch], tuple[Tensor, float]]:
    """Return a loss for `neurovis.fitting.train.train`.

    Parameters
    ----------
    kind : {"mean", "mean+ccc", "sum"}
        As `neurovis.fitting.network_fit.fit_network`.
    penalty : float
        Factor of ``module.regulariser()``.

    Returns
    -------
    callable
        ``loss(module, batch)`` returns a sum and the number of pictures.
    """

    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, float]:
        predicted, n_images = call(module, batch.inputs), len(batch.measured)
        measured = to_device(batch.measured, predicted.device)
        if predicted.shape != measured.shape:
            raise ValueError(
                f"`module` predicts {predicted.shape[1]} units, and `responses` have "
                f"{measured.shape[1]}: the two must be equal."
            )
        errors = predicted - measured
        if not batch.is_whole:
            errors = torch.where(measured.isfinite(), errors, 0)
        errors = errors.square()
        if kind == "sum":
            total = errors.sum()
        else:
            total = (errors.sum(0) * to_device(batch.scale, errors.device)).sum()
        if kind == "mean+ccc":
            total = total + n_images * discordance(predicted, measured)
        if penalty:
            total = total + penalty * n_images * module.regulariser()  # type: ignore[operator]
        return total, n_images

    return loss


def discordance(predicted: Tensor, measured: Tensor) -> Tensor:
    """Return 1 minus the concordance correlation, over all measured entries at once.

    ``CCC = 2 cov / (var_x + var_y + (mean_x - mean_y)**2)`` with the covariance over
    n and the variances over n - 1, as published.

    Parameters
    ----------
    predicted, measured : Tensor of float32, same shape
        NaN in `measured` is left out.

    Returns
    -------
    Tensor, shape ()
        From 0 (equal, up to the factor (n - 1) / n) to 2; 0, without a gradient, where
        it is not defined: fewer than two entries, or all of one value.

    References
    ----------
    Lin (1989), doi:10.2307/2532051; Saha, Chadha & Khosla (2024),
    doi:10.48550/arXiv.2410.14031.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0], [3.0, torch.nan]])
    >>> round(discordance(x.nan_to_num(9), x).item(), 4)
    0.3333
    """
    is_measured = measured.isfinite()
    n = is_measured.sum()

    def centred(values: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.where(is_measured, values, 0)
        mean = values.sum() / n.clamp(min=1)
        return mean, torch.where(is_measured, values - mean, 0)

    (mean_x, x), (mean_y, y) = centred(predicted), centred(measured)
    covariance = (x * y).sum() / n.clamp(min=1)
    variances = (x.square().sum() + y.square().sum()) / (n - 1).clamp(min=1)
    whole = variances + (mean_x - mean_y).square()
    is_defined = (n > 1) & (whole > 0)
    ratio = 2 * covariance / torch.where(is_defined, whole, 1)
    return torch.where(is_defined, 1 - ratio, 0)


def validation_scores(predicted: Tensor, measured: Tensor) -> dict[str, float]:
    """Score predictions of held-out pictures, in float64.

    Parameters
    ----------
    predicted, measured : Tensor, shape (n_images, n_units)
        NaN in `measured` is left out.

    Returns
    -------
    dict
        "loss", the mean squared error of measured entries, and "r", the mean over
        units of Pearson's r; units for which it is not defined (constant, or fewer
        than two pictures) are left out, and NaN comes where all are.

    Examples
    --------
    >>> y = torch.tensor([[1.0, 1.0], [2.0, torch.nan], [4.0, torch.nan]])
    >>> validation_scores(2 * torch.nan_to_num(y), y)
    {'loss': 5.5, 'r': 1.0}
    """
    return join_scores([score_block(predicted, measured)])


@dataclass(frozen=True)
class BlockScores:
    """Scores of some units.

    Parameters
    ----------
    squares : float
        Sum of squared errors.
    n : int
        Measured entries.
    r : Tensor of float64, shape (n_units,)
        Pearson's r; NaN where it is not defined.
    """

    squares: float
    n: int
    r: Tensor


def score_block(predicted: Tensor, measured: Tensor) -> BlockScores:
    """Score units whose pictures are all here, in float64.

    Parameters
    ----------
    predicted, measured : Tensor, shape (n_images, n_units)
        As `validation_scores`.

    Returns
    -------
    BlockScores
        For `join_scores`.
    """
    squares, n, correlations = 0.0, 0, []
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, len(predicted)))
    pieces = (torch.split(v, at_once, 1) for v in (predicted, measured))
    for x, y in zip(*pieces, strict=True):
        is_measured = y.isfinite()
        x, y = (torch.where(is_measured, v.double(), 0) for v in (x, y))
        squares += float((x - y).square().sum())
        n += int(is_measured.sum())
        correlations.append(_correlations(x, y, is_measured))
    return BlockScores(squares, n, torch.cat(correlations))


def join_scores(blocks: Sequence[BlockScores]) -> dict[str, float]:
    """Return the scores of all units.

    Parameters
    ----------
    blocks : sequence of BlockScores
        At least one.

    Returns
    -------
    dict
        As `validation_scores`.
    """
    n, r = sum(block.n for block in blocks), torch.cat([block.r for block in blocks])
    squares = sum(block.squares for block in blocks)
    return {"loss": squares / n if n else float("nan"), "r": float(r.nanmean())}


def _correlations(x: Tensor, y: Tensor, is_measured: Tensor) -> Tensor:
    n = is_measured.sum(0)
    varies, centred = n > 1, []
    for v in (x, y):
        high = v.masked_fill(~is_measured, -torch.inf).amax(0)
        # The mean of equal numbers is not always that number.
        varies = varies & (high > v.masked_fill(~is_measured, torch.inf).amin(0))
        centred.append(torch.where(is_measured, v - v.sum(0) / n.clamp(min=1), 0))
    a, b = centred
    r = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))
    return torch.where(varies, r.clamp(-1, 1), torch.nan)
