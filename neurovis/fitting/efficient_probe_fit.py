"""Fits of efficient probes, the rates chosen within the training pictures.

The optimiser is AdamW with a rate that falls along half a cosine; the published
benchmark trains in large batches with another one.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from neurovis.core.checks import check_array, check_between
from neurovis.core.device import exact_float32, resolve
from neurovis.core.rng import generator
from neurovis.fitting.efficient_probe import (
    EfficientProbe,
    EfficientProbeSettings,
    check_groups,
    pool_tokens,
)

FloatArray = NDArray[np.float64]

QUERY_SD = 0.02
"""Of the normal distribution that queries are drawn from first."""

RATES = (1e-2, 3e-3, 1e-3)
DECAYS = (1e-3, 1e-1)
"""Learning rates and weight decays to choose from."""

# Of the median standard deviation of channels.
_LEAST_SPREAD = 1e-2


def fit_efficient_probe(
    tokens: ArrayLike,
    labels: ArrayLike,
    *,
    settings: EfficientProbeSettings | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> EfficientProbe:
    """Fit queries, value projection and classifier by cross-entropy.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens of a frozen network; each channel is brought to mean 0 and standard
        deviation 1 over all of them.
    labels : array_like, shape (n_pictures,)
        Classes, at least two.
    settings : EfficientProbeSettings, optional
        How to build and fit it.
    seed : int, default 0
        Seed of the start and of the batches.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    EfficientProbe
        After the last epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the loss is not finite.

    Notes
    -----
    Parameters besides the classifier: ``M C + C C / reduction``.
    """
    how = settings or EfficientProbeSettings()
    x, codes, classes = _check_training(tokens, labels)
    n, n_channels = len(x), x.shape[-1]
    if n_channels % how.reduction:
        raise ValueError(
            f"`reduction` {how.reduction} must divide the {n_channels} channels."
        )
    n_values = n_channels // how.reduction
    check_groups(n_values, how.n_queries)
    place = resolve(device)
    flat = x.reshape(-1, n_channels)
    centre, scale = flat.mean(axis=0), flat.std(axis=0)
    # A channel that hardly varies would be blown up where it does.
    least = _LEAST_SPREAD * float(np.median(scale))
    scale = np.maximum(scale, least if least > 0 else max(float(scale.max()), 1e-12))
    rows = torch.from_numpy(((x - centre) / scale).astype(np.float32)).to(place)
    marks = torch.from_numpy(codes).to(place)
    rng = generator(seed, "efficient probe")
    reach, width = 1 / math.sqrt(n_channels), 1 / math.sqrt(n_values)
    start = (
        rng.normal(0, QUERY_SD, (how.n_queries, n_channels)),
        rng.uniform(-reach, reach, (n_values, n_channels)),
        rng.uniform(-width, width, (len(classes), n_values)),
        np.zeros(len(classes)),
    )
    parts = [
        torch.tensor(one.astype(np.float32), device=place, requires_grad=True)
        for one in start
    ]
    groups = [
        {"params": parts[:3], "weight_decay": how.weight_decay},
        {"params": parts[3:], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, how.learning_rate)
    lines = []
    with exact_float32():
        for epoch in range(how.n_epochs):
            fallen = 0.5 * (1 + math.cos(math.pi * epoch / how.n_epochs))
            for group in optimiser.param_groups:
                group["lr"] = how.learning_rate * fallen
            order = generator(seed, "probe batches", epoch).permutation(n)
            sums = 0.0
            for batch in torch.split(torch.from_numpy(order).to(place), how.batch_size):
                optimiser.zero_grad()
                logits = pool_tokens(rows[batch], *parts[:2]) @ parts[2].mT + parts[3]
                loss = functional.cross_entropy(logits, marks[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                sums += float(loss.detach()) * len(batch)
            if not math.isfinite(sums):
                raise ValueError(
                    f"The loss is not finite in epoch {epoch} (counted from 0). Lower "
                    "`learning_rate`."
                )
            lines.append({"epoch": epoch, "loss": sums / n})
    q, v, w, b = (one.detach().double().cpu().numpy() for one in parts)
    curves = pd.DataFrame(lines)
    return EfficientProbe(classes, q, v, w, b, centre, scale, curves, how)


def choose_efficient_probe(
    tokens: ArrayLike,
    labels: ArrayLike,
    *,
    rates: Sequence[float] = RATES,
    decays: Sequence[float] = DECAYS,
    settings: EfficientProbeSettings | None = None,
    held_share: float = 0.25,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> tuple[EfficientProbe, pd.DataFrame]:
    """Choose learning rate and weight decay within the training pictures, and fit.

    Each pair is fitted without a share of each class and judged on it; the head with
    the best pair is then fitted to all.

    Parameters
    ----------
    tokens : array_like of float, shape (n_pictures, n_tokens, n_channels)
        Tokens of training pictures.
    labels : array_like, shape (n_pictures,)
        Classes, at least two.
    rates, decays : sequence of float
        Learning rates and weight decays to try.
    settings : EfficientProbeSettings, optional
        All else.
    held_share : float, default 0.25
        Share of each class that judges, within 0.05..0.5.
    seed : int, default 0
        Seed of the draw and of every fit.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    probe : EfficientProbe
        Fitted to all training pictures.
    table : DataFrame
        One row per pair: `learning_rate`, `weight_decay`, `held_loss` (nats),
        `held_accuracy` and `chosen` (the smallest loss).

    Raises
    ------
    TypeError, ValueError
        If nothing is to be tried, a class has fewer than two pictures, or as
        `fit_efficient_probe`.
    """
    if not len(rates) or not len(decays):
        raise ValueError("`rates` and `decays` must each have one value or more.")
    check_between("held_share", held_share, low=0.05, high=0.5)
    base = settings or EfficientProbeSettings()
    tried = [replace(base, learning_rate=r, weight_decay=d)
             for r in rates for d in decays]  # fmt: skip
    x, codes, _ = _check_training(tokens, labels)
    names = np.asarray(labels)
    held = np.zeros(len(x), bool)
    for code in range(int(codes.max()) + 1):
        mine = np.flatnonzero(codes == code)
        if len(mine) < 2:
            raise ValueError(
                "Every class needs two pictures or more, one of them to judge."
            )
        rng = generator(seed, "held pictures", code)
        count = min(max(1, round(held_share * len(mine))), len(mine) - 1)
        held[rng.permutation(mine)[:count]] = True
    lines = []
    for one in tried:
        fit = fit_efficient_probe(
            x[~held], names[~held], settings=one, seed=seed, device=device
        )
        logits = fit.logits(x[held])
        own = logits[np.arange(len(logits)), codes[held]]
        loss = float((np.logaddexp.reduce(logits, axis=1) - own).mean())
        lines.append(
            {
                "learning_rate": one.learning_rate,
                "weight_decay": one.weight_decay,
                "held_loss": loss,
                "held_accuracy": float((logits.argmax(1) == codes[held]).mean()),
            }
        )
    table = pd.DataFrame(lines)
    best = int(table["held_loss"].to_numpy().argmin())
    probe = fit_efficient_probe(
        x, names, settings=tried[best], seed=seed, device=device
    )
    return probe, table.assign(chosen=np.arange(len(table)) == best)


def _check_training(
    tokens: ArrayLike, labels: ArrayLike
) -> tuple[FloatArray, NDArray[np.int64], tuple[Any, ...]]:
    x = check_array(
        "tokens", np.asarray(tokens, np.float64), shape=(None, None, None), finite=True
    )
    if not x.size:
        raise ValueError(f"`tokens` is empty: shape {x.shape}.")
    names = check_array("labels", np.asarray(labels), shape=(len(x),))
    classes, codes = np.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("`labels` must name two classes or more; there is one only.")
    return x, codes.astype(np.int64), tuple(classes.tolist())
