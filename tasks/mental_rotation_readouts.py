"""How a model answers "same" or "different" to two pictures of block figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from analysis.choices import similarity
from neurovis.core.checks import check_array
from neurovis.core.files import plain, sha256_bytes
from neurovis.core.rng import generator, own_torch_stream
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.train import train
from stimuli.block_figures import canonical_key

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

N_HIDDEN = 256
DROPOUT = 0.1
_BATCH = 64
_WARMUP_EPOCHS = 5


@dataclass(frozen=True)
class Threshold:
    """Where "different" becomes "same".

    Parameters
    ----------
    value : float
        The answer is "same" above it.
    balanced_accuracy : float
        On what it was fitted to.
    """

    value: float
    balanced_accuracy: float


def fit_threshold(evidence: ArrayLike, same: ArrayLike) -> Threshold:
    """Find the threshold with the best balanced accuracy.

    Parameters
    ----------
    evidence : array_like of float, shape (n_trials,)
        Larger for pairs that look the same.
    same : array_like of bool, shape (n_trials,)
        Whether they are.

    Returns
    -------
    Threshold
        Half-way between the two values that it separates; of several equally good ones
        the middle one.

    Raises
    ------
    ValueError
        If a value is not finite, or all trials are of one kind.

    Examples
    --------
    >>> fit_threshold([0.1, 0.3, 0.7, 0.9], [False, False, True, True])
    Threshold(value=0.5, balanced_accuracy=1.0)
    """
    x, is_same = _both_kinds(evidence, same)
    levels = np.unique(x)
    cuts = np.concatenate(
        [[levels[0] - 1.0], (levels[1:] + levels[:-1]) / 2, [levels[-1] + 1.0]]
    )
    hits = np.searchsorted(np.sort(x[is_same]), cuts, side="right") / is_same.sum()
    rejections = np.searchsorted(np.sort(x[~is_same]), cuts, side="right")
    balanced = (1 - hits + rejections / (~is_same).sum()) / 2
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    middle = best[len(best) // 2]
    return Threshold(float(cuts[middle]), float(balanced[middle]))


def threshold_at(value: float, evidence: ArrayLike, same: ArrayLike) -> Threshold:
    """Return a given threshold with its balanced accuracy.

    Parameters
    ----------
    value : float
        The answer is "same" above it.
    evidence : array_like of float, shape (n_trials,)
        Larger for pairs that look the same.
    same : array_like of bool, shape (n_trials,)
        Whether they are.

    Returns
    -------
    Threshold
        The threshold.

    Raises
    ------
    ValueError
        If a value is not finite, or all trials are of one kind.
    """
    x, is_same = _both_kinds(evidence, same)
    right = (x > value) == is_same
    balanced = float((right[is_same].mean() + right[~is_same].mean()) / 2)
    return Threshold(value, balanced)


def _both_kinds(evidence: ArrayLike, same: ArrayLike) -> tuple[FloatArray, BoolArray]:
    x = check_array(
        "evidence", np.asarray(evidence, np.float64), shape=(None,), finite=True
    )
    is_same = check_array("same", np.asarray(same, bool), shape=x.shape)
    if is_same.all() or not is_same.any():
        raise ValueError("`same` must hold trials of both kinds: nothing to separate.")
    return x, is_same


def embedding_evidence(left: ArrayLike, right: ArrayLike) -> FloatArray:
    """Return how alike the embeddings of two pictures are.

    Parameters
    ----------
    left : array_like of float, shape (n_trials, n_features)
        Embeddings of the left pictures.
    right : array_like of float, shape (n_trials, n_features)
        Embeddings of the right ones.

    Returns
    -------
    ndarray of float64, shape (n_trials,)
        Cosines; 0 where an embedding is all zeros, which says nothing.
    """
    return np.nan_to_num(similarity(left, right, "cosine"), nan=0.0)


class SiameseHead(nn.Module):
    """Compares two embeddings: LayerNorm, 256 ReLU units, dropout, one number.

    Parameters
    ----------
    n_features : int
        Length of one embedding.
    n_hidden : int, default 256
        Units.
    """

    def __init__(self, n_features: int, n_hidden: int = N_HIDDEN) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(2 * n_features),
            nn.Linear(2 * n_features, n_hidden),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(n_hidden, 1),
        )

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the logit of "same".

        Parameters
        ----------
        left : Tensor of float, shape (n, n_features)
            First embeddings.
        right : Tensor of float, shape (n, n_features)
            Second embeddings.

        Returns
        -------
        Tensor of float, shape (n,)
            Above 0 for "same".
        """
        logits: Tensor = self.layers(torch.cat([left, right], dim=1))
        return logits[:, 0]


def siamese_evidence(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    same: BoolArray,
    training: BoolArray,
    *,
    epochs: int = 100,
    seed: int = 0,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
) -> FloatArray:
    """Train a head that compares embeddings, and ask it.

    Stochastic gradient descent with momentum 0.9, rate 0.01 with warm-up in five
    epochs and cosine decay, and weight decay 2e-5, on the training trials and the same
    with the pictures exchanged.

    Parameters
    ----------
    left : ndarray of float32, shape (n_trials, n_features)
        Embeddings of the left pictures.
    right : ndarray of float32, shape (n_trials, n_features)
        Embeddings of the right ones.
    same : ndarray of bool, shape (n_trials,)
        Whether the object is the same; looked at for training trials only.
    training : ndarray of bool, shape (n_trials,)
        Which trials to train on.
    epochs : int, default 100
        Passes over the training trials.
    seed : int, default 0
        Of initial weights, order and dropout.
    device : str or torch.device, default "cpu"
        Where to train.
    folder : str or Path, optional
        Folder of checkpoints and result.

    Returns
    -------
    ndarray of float64, shape (n_trials,)
        Logits of "same", the mean of both orders of the pictures.

    Raises
    ------
    ValueError
        If there is no training trial, or features are not finite.
    """
    rows = np.flatnonzero(training)
    if not len(rows):
        raise ValueError("`training` names no trial: nothing to train on.")
    # Both orders; one scale for all, so that the size of features does not matter.
    both = np.stack([left, right]).astype(np.float32)
    check_array("features", both, finite=True)
    scale = float(np.sqrt(np.mean(np.square(both[:, rows], dtype=np.float64))))
    features = torch.from_numpy(both / np.float32(scale or 1.0))
    wanted = torch.from_numpy(same.astype(np.float32))
    items = np.concatenate([np.column_stack([rows, np.full(len(rows), s)])
                            for s in (0, 1)])  # fmt: skip

    def batches(epoch: int) -> list[Tensor]:
        order = generator(seed, "siamese", epoch).permutation(len(items))
        parts = np.array_split(items[order], -(-len(items) // _BATCH))
        return [torch.from_numpy(part) for part in parts]

    def loss(module: nn.Module, batch: Tensor) -> tuple[Tensor, float]:
        place = next(module.parameters()).device
        trial, side = batch.T
        shown = (features[side, trial].to(place), features[1 - side, trial].to(place))
        logits = module(*shown)
        errors = F.binary_cross_entropy_with_logits(
            logits, wanted[trial].to(place), reduction="sum"
        )
        return errors, float(len(trial))

    settings = siamese_settings(epochs, len(batches(0)))
    with own_torch_stream(seed, "siamese head"):
        head = SiameseHead(both.shape[2])
    content = [array.tobytes() for array in (both[:, rows], same[rows])]
    fitted = train(
        head,
        batches,
        loss,
        settings=settings,
        seed=seed,
        device=device,
        folder=folder,
        identity={"trials": sha256_bytes(b"".join(content))},
        description="siamese",
    )
    head.load_state_dict(fitted.state)
    head.eval()
    with torch.no_grad():
        logits = (head(features[0], features[1]) + head(features[1], features[0])) / 2
    return np.asarray(logits.double().numpy())


def siamese_settings(epochs: int, n_batches: int) -> TrainSettings:
    """Return how the comparing head is trained.

    Parameters
    ----------
    epochs : int
        Passes over the training trials.
    n_batches : int
        Batches of an epoch.

    Returns
    -------
    TrainSettings
        The published settings of the siamese baselines.
    """
    return TrainSettings(
        max_epochs=epochs,
        patience=None,
        keep="last",
        optimiser="sgd",
        learning_rate=0.01,
        weight_decay=2e-5,
        schedule="cosine",
        warmup_steps=_WARMUP_EPOCHS * n_batches,
        checkpoint_every=epochs,
    )


def ideal_answers(pairs: pd.DataFrame) -> NDArray[Any]:
    """Answer by the objects themselves: the ceiling.

    Parameters
    ----------
    pairs : DataFrame
        Table of pairs.

    Returns
    -------
    ndarray of str, shape (n_pairs,)
        "same" where the canonical keys of both strings agree.
    """
    keys = [[canonical_key(s) for s in pairs[f"{side}_shape"]]
            for side in ("left", "right")]  # fmt: skip
    return np.array(
        ["same" if a == b else "different" for a, b in zip(*keys, strict=True)], object
    )


def chance_answers(pairs: Sequence[str], seed: int) -> NDArray[Any]:
    """Answer by the toss of a coin.

    Parameters
    ----------
    pairs : sequence of str
        Identities of the pairs.
    seed : int
        Of the tosses.

    Returns
    -------
    ndarray of str, shape (n_pairs,)
        "same" or "different", each as likely.
    """
    tosses = [int(generator(seed, "chance", pair).integers(2)) for pair in pairs]
    return np.array(["different", "same"], object)[tosses]


def settings_of(epochs: int) -> dict[str, Any]:
    """Return all that the comparing head depends on, as JSON values.

    Parameters
    ----------
    epochs : int
        Passes over the training trials.

    Returns
    -------
    dict
        For keys of what is kept.
    """
    values: dict[str, Any] = plain(asdict(siamese_settings(epochs, 1)))
    return {**values, "n_hidden": N_HIDDEN, "dropout": DROPOUT, "batch": _BATCH}
