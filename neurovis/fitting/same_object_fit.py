"""Fits of the probes of object binding, and of probes that see one token alone.

Defaults are those of the public code liyihao0302/vit-object-binding, see
`neurovis.fitting.same_object`. Tokens are expected with channels of about one size:
standardise them on the training pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from neurovis.core.checks import check_array, check_between, check_option, check_whole
from neurovis.core.device import exact_float32, resolve
from neurovis.core.rng import generator
from neurovis.fitting.same_object import PROBES, PairProbe, tensor_logits

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

N_QUERIES = 100
"""Of the identity probe, as published."""

MASK_WEIGHT = 5.0
"""Of the cross-entropy and of the Dice loss of masks, as published."""


@dataclass(frozen=True)
class PairProbeSettings:
    """How probes are fitted: Adam with a rate that falls in steps.

    Parameters
    ----------
    n_epochs : int, default 8
        Passes over the training pictures.
    batch_size : int, default 256
        Pictures per step. With few pictures take fewer, or there are hardly any steps.
    learning_rate : float, default 0.001
        At the start, > 0.
    step_epochs : int, default 16
        Epochs after which the rate falls; never within the published 8.
    gamma : float, default 0.2
        Factor by which it falls, above 0 and at most 1.
    validation_share : float, default 0.2
        The last pictures, by order, that choose the epoch, within 0..0.9. With 0 the
        last epoch stays.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    n_epochs: int = 8
    batch_size: int = 256
    learning_rate: float = 1e-3
    step_epochs: int = 16
    gamma: float = 0.2
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("n_epochs", "batch_size", "step_epochs"):
            check_whole(name, getattr(self, name), low=1)
        check_between("learning_rate", self.learning_rate, low=1e-12)
        check_between("gamma", self.gamma, low=1e-12, high=1)
        check_between("validation_share", self.validation_share, low=0, high=0.9)


@dataclass(frozen=True, eq=False)
class PairProbeFit:
    """A fitted probe.

    Parameters
    ----------
    probe : PairProbe
        Of the best epoch.
    curves : DataFrame
        One row per epoch: `epoch` (from 0), `loss` (mean over batches, nats) and
        `val_loss` (NaN without validation).
    best_epoch : int
        The first with the smallest validation loss.
    """

    probe: PairProbe
    curves: pd.DataFrame
    best_epoch: int


@dataclass(frozen=True, eq=False)
class TokenProbe:
    """A linear map from tokens to classes or queries.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_outputs, n_channels)
        Rows are outputs.
    bias : ndarray of float64, shape (n_outputs,)
        Added.
    curves : DataFrame
        As `PairProbeFit.curves`.
    """

    weights: FloatArray
    bias: FloatArray
    curves: pd.DataFrame

    def logits(self, tokens: ArrayLike) -> FloatArray:
        """Return the output of every token.

        Parameters
        ----------
        tokens : array_like of float, shape (..., n_channels)
            Tokens.

        Returns
        -------
        ndarray of float64, shape (..., n_outputs)
            Logits.
        """
        return np.asarray(np.asarray(tokens, np.float64) @ self.weights.T + self.bias)

    def predict(self, tokens: ArrayLike) -> IntArray:
        """Return the largest output of every token.

        Parameters
        ----------
        tokens : array_like of float, shape (..., n_channels)
            Tokens.

        Returns
        -------
        ndarray of int64, shape (...)
            0-based; of equal ones the first. Two tokens with the same one are said to
            belong together.
        """
        return np.asarray(self.logits(tokens).argmax(axis=-1), np.int64)


def fit_pair_probe(
    tokens: ArrayLike,
    labels: ArrayLike,
    *,
    kind: str = "quadratic",
    settings: PairProbeSettings | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> PairProbeFit:
    """Fit a probe that tells whether two tokens belong to one object.

    The binary cross-entropy over all ordered pairs of each picture is minimised.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens, drawn from each picture.
    labels : array_like of int, shape (n_pictures, n_tokens)
        Objects within the picture; the ground counts as one.
    kind : {"linear", "diagonal", "quadratic"}
        Formula, see `neurovis.fitting.same_object.pair_logits`.
    settings : PairProbeSettings, optional
        How to fit.
    seed : int, default 0
        Seed of the start (as that of ``torch.nn.Linear``) and of the batches.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    PairProbeFit
        The probe of the epoch with the smallest validation loss.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the loss is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(2, size=(40, 12))
    >>> tokens = np.eye(2)[labels] * 4 - 2
    >>> fast = PairProbeSettings(n_epochs=40, batch_size=8, learning_rate=0.02)
    >>> fit = fit_pair_probe(tokens, labels, kind="diagonal", settings=fast)
    >>> float(
    ...     (
    ...         (fit.probe.logits(tokens[0]) > 0) == (labels[0] == labels[0][:, None])
    ...     ).mean()
    ... )
    1.0
    """
    check_option("kind", kind, PROBES)
    x, y = _check_tokens(tokens, labels)
    channels = x.shape[-1]
    shape = (channels, channels) if kind == "quadratic" else (channels,)
    reach = 1 / np.sqrt(channels)
    rng = generator(seed, "pair probe", kind)
    start = [rng.uniform(-reach, reach, shape), rng.uniform(-reach, reach, ())]

    def loss(parts: Sequence[Tensor], rows: Tensor, marks: Tensor) -> Tensor:
        same = marks.unsqueeze(-1) == marks.unsqueeze(-2)
        logits = tensor_logits(kind, rows, parts[0], parts[1])
        return functional.binary_cross_entropy_with_logits(logits, same.to(logits))

    found, curves, best = _fit(x, y, start, loss, settings, seed, device)
    return PairProbeFit(PairProbe(kind, found[0], float(found[1])), curves, best)


def fit_class_probe(
    tokens: ArrayLike,
    classes: ArrayLike,
    n_classes: int,
    *,
    settings: PairProbeSettings | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> TokenProbe:
    """Fit a linear map from each token to its class, by cross-entropy.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens, drawn from each picture.
    classes : array_like of int, shape (n_pictures, n_tokens)
        0-based classes.
    n_classes : int
        Number of classes, >= 2.
    settings : PairProbeSettings, optional
        How to fit.
    seed : int, default 0
        Seed of the start and of the batches.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    TokenProbe
        Of the epoch with the smallest validation loss.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the loss is not finite.
    """
    n = check_whole("n_classes", n_classes, low=2)
    x, y = _check_tokens(tokens, classes)
    if y.min() < 0 or y.max() >= n:
        raise ValueError(
            f"`classes` must lie within 0..{n - 1}; got {y.min()} to {y.max()}."
        )

    def loss(parts: Sequence[Tensor], rows: Tensor, marks: Tensor) -> Tensor:
        logits = rows @ parts[0].mT + parts[1]
        return functional.cross_entropy(logits.flatten(0, 1), marks.flatten())

    return _fit_token_probe(x, y, n, loss, settings, seed, device)


def fit_identity_probe(
    tokens: ArrayLike,
    labels: ArrayLike,
    *,
    n_queries: int = N_QUERIES,
    settings: PairProbeSettings | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> TokenProbe:
    """Fit a linear map from each token to queries that stand for objects.

    In every picture each object is given the query whose mask costs least (Hungarian
    matching); the cost, and the loss of what was matched, is 5 times the sigmoid
    cross-entropy plus 5 times the Dice loss of the masks.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens, drawn from each picture.
    labels : array_like of int, shape (n_pictures, n_tokens)
        Objects within the picture.
    n_queries : int, default 100
        At least as many as the most objects of a picture.
    settings : PairProbeSettings, optional
        How to fit.
    seed : int, default 0
        Seed of the start and of the batches.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    TokenProbe
        Of the epoch with the smallest validation loss.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, there are too few queries, or the loss is not finite.
    """
    x, y = _check_tokens(tokens, labels)
    most = max(len(np.unique(row)) for row in y)
    n = check_whole("n_queries", n_queries, low=1)
    if n < most:
        raise ValueError(
            f"`n_queries` is {n}, but a picture has {most} objects: give as many."
        )

    def loss(parts: Sequence[Tensor], rows: Tensor, marks: Tensor) -> Tensor:
        logits = (rows @ parts[0].mT + parts[1]).mT  # queries first
        return _matched_loss(logits, marks)

    return _fit_token_probe(x, y, n, loss, settings, seed, device)


def mask_costs(logits: Tensor, masks: Tensor) -> Tensor:
    """Compute what it costs to let each query stand for each object.

    Parameters
    ----------
    logits : Tensor, shape (..., n_queries, n_tokens)
        Masks of the queries as logits.
    masks : Tensor, shape (..., n_objects, n_tokens)
        1 inside an object, 0 elsewhere.

    Returns
    -------
    Tensor, shape (..., n_queries, n_objects)
        5 times the mean sigmoid cross-entropy plus 5 times the Dice loss
        ``1 - (2 sum(p m) + 1) / (sum(p) + sum(m) + 1)``.
    """
    n_tokens = logits.shape[-1]
    # Cross-entropy of a logit z and a mask m is softplus(z) - m z.
    entropy = (
        functional.softplus(logits).sum(-1, keepdim=True) - logits @ masks.mT
    ) / (n_tokens)
    p = logits.sigmoid()
    shared = 2 * (p @ masks.mT)
    total = p.sum(-1, keepdim=True) + masks.sum(-1).unsqueeze(-2)
    return MASK_WEIGHT * (entropy + 1 - (shared + 1) / (total + 1))


def _matched_loss(logits: Tensor, marks: Tensor) -> Tensor:
    objects = [torch.unique(row) for row in marks]
    most = max(len(one) for one in objects)
    # Rows of pictures with fewer objects are filled up, and left out of the matching.
    names = torch.stack(
        [functional.pad(one, (0, most - len(one)), value=-1) for one in objects]
    )
    costs = mask_costs(logits, (marks[:, None, :] == names[..., None]).to(logits))
    known = costs.detach().cpu().numpy()
    losses = []
    for number, one in enumerate(objects):
        queries, matched = linear_sum_assignment(known[number, :, : len(one)])
        losses.append(costs[number, queries, matched].mean())
    return torch.stack(losses).mean()


# -------------------------------------------------------------------- fitting

_Loss = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]


def _fit_token_probe(
    x: FloatArray,
    y: IntArray,
    n_outputs: int,
    loss: _Loss,
    settings: PairProbeSettings | None,
    seed: int,
    device: str | torch.device,
) -> TokenProbe:
    reach = 1 / np.sqrt(x.shape[-1])
    rng = generator(seed, "token probe", n_outputs)
    shapes = (n_outputs, x.shape[-1]), (n_outputs,)
    start = [rng.uniform(-reach, reach, shape) for shape in shapes]
    found, curves, _ = _fit(x, y, start, loss, settings, seed, device)
    return TokenProbe(found[0], found[1], curves)


def _fit(
    x: FloatArray,
    y: IntArray,
    start: Sequence[NDArray[np.float64] | float],
    loss: _Loss,
    settings: PairProbeSettings | None,
    seed: int,
    device: str | torch.device,
) -> tuple[list[FloatArray], pd.DataFrame, int]:
    """Minimise a loss; return the parts of the best epoch, curves, and that epoch."""
    how = settings or PairProbeSettings()
    place = resolve(device)
    n_held = round(how.validation_share * len(x))
    n = len(x) - n_held
    if n < 1 or (how.validation_share > 0 and n_held < 1):
        raise ValueError(
            f"{len(x)} pictures are too few for a validation share of "
            f"{how.validation_share}: give more, or set it to 0."
        )
    rows = torch.from_numpy(x.astype(np.float32)).to(place)
    marks = torch.from_numpy(y).to(place)
    parts = [
        torch.tensor(np.asarray(one, np.float32), device=place, requires_grad=True)
        for one in start
    ]
    optimiser = torch.optim.Adam(parts, how.learning_rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, how.step_epochs, how.gamma)
    lines: list[dict[str, float]] = []
    best, kept = 0, [one.detach().clone() for one in parts]
    with exact_float32():
        for epoch in range(how.n_epochs):
            order = generator(seed, "probe batches", epoch).permutation(n)
            sums = 0.0
            batches = torch.split(torch.from_numpy(order).to(place), how.batch_size)
            for batch in batches:
                optimiser.zero_grad()
                value = loss(parts, rows[batch], marks[batch])
                value.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                sums += float(value.detach())
            schedule.step()
            mean, held = sums / len(batches), float("nan")
            if n_held:
                with torch.no_grad():
                    held = float(loss(parts, rows[n:], marks[n:]))
            if not np.isfinite(mean) or (n_held and not np.isfinite(held)):
                raise ValueError(
                    f"The loss is not finite in epoch {epoch} (counted from 0). "
                    "Standardise the tokens, or lower `learning_rate`."
                )
            lines.append({"epoch": epoch, "loss": mean, "val_loss": held})
            if not n_held or epoch == 0 or held < lines[best]["val_loss"]:
                best, kept = epoch, [one.detach().clone() for one in parts]
    found = [one.double().cpu().numpy() for one in kept]
    return found, pd.DataFrame(lines), best


def _check_tokens(tokens: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    x = check_array(
        "tokens",
        np.asarray(tokens, np.float64),
        shape=(None, None, None),
        finite=True,
    )
    y = check_array("labels", np.asarray(labels), shape=x.shape[:2])
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"`labels` must be whole numbers; got {y.dtype}.")
    if not x.size:
        raise ValueError(f"`tokens` is empty: shape {x.shape}.")
    return x, y.astype(np.int64)
