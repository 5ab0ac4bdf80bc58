"""A linear map of features under which their inner products predict choices.

The map is a square matrix, learned from odd-one-out choices and judged on objects that
it has not seen.

References
----------
Muttenthaler, Dippel, Linhardt, Vandermeulen and Kornblith (2023). Human alignment of
neural network representations. ICLR. arXiv:2211.01201
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from analysis.odd_one_out import check_triplets, choice_nll, odd_one_out_accuracy
from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.core.device import resolve
from neurovis.core.rng import generator
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.train import train

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
SETTINGS = TrainSettings(
    max_epochs=200, patience=20, learning_rate=1e-3, clip_norm=None
)
_BATCH = 256
# Every so many triplets one decides about the penalty and the number of epochs.
_HELD_BACK = 5


@dataclass(frozen=True, eq=False)
class Alignment:
    """A map of features.

    Parameters
    ----------
    mean : ndarray of float64, shape (n_features,)
        Subtracted first.
    scale : float
        Root of the mean squared length after that; features are divided by it.
    matrix : ndarray of float64, shape (n_features, n_features)
        Multiplied from the right.
    penalty : float
        Weight of the squared Frobenius norm of the matrix in the loss.
    val_nll : float
        Negative log likelihood of the held-back triplets that chose it, nats.
    """

    mean: FloatArray
    scale: float
    matrix: FloatArray
    penalty: float
    val_nll: float

    def apply(self, features: ArrayLike) -> FloatArray:
        """Map features of any objects.

        Parameters
        ----------
        features : array-like of float, shape (n_objects, n_features)
            As those that the map was learned from.

        Returns
        -------
        ndarray of float64, shape (n_objects, n_features)
            An embedding for `analysis.odd_one_out`.

        Raises
        ------
        ValueError
            If the number of features is another one.
        """
        shape = (None, len(self.mean))
        x = check_array("features", np.asarray(features, np.float64), shape=shape)
        return np.asarray((x - self.mean) / self.scale @ self.matrix)


def fit_alignment(
    features: ArrayLike,
    triplets: ArrayLike,
    *,
    penalties: Sequence[float] = PENALTIES,
    settings: TrainSettings = SETTINGS,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Alignment:
    """Learn a square matrix from choices.

    The loss is the mean of ``-log softmax`` of the three inner products at the pair
    that was observed, plus ``penalty * ||A||_F^2``. A fifth of the triplets is held
    back; on it the penalty and the number of epochs are chosen.

    Parameters
    ----------
    features : array-like of float, shape (n_objects, n_features)
        Features; mean and scale are taken over the objects of `triplets`.
    triplets : array-like of int, shape (n_triplets, 3)
        Choices, the odd one third; five or more.
    penalties : sequence of float, default (0.0001, 0.001, 0.01, 0.1)
        Penalties to try, >= 0.
    settings : TrainSettings
        How to train.
    seed : int, default 0
        Seed of what is held back and of the batches.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    Alignment
        That with the smallest loss on what was held back.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or there are fewer than five triplets.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((6, 2))
    >>> rows = [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [0, 2, 4]]
    >>> few = TrainSettings(max_epochs=1)
    >>> fit_alignment(x, rows, penalties=[0.01], settings=few).apply(x).shape
    (6, 2)
    """
    x = check_array("features", features, shape=(None, None), finite=True)
    rows = check_triplets(triplets, len(x))
    if len(rows) < _HELD_BACK:
        raise ValueError(
            f"`triplets` must hold {_HELD_BACK} triplets or more, because every fifth "
            f"is held back; got {len(rows)}."
        )
    if not len(penalties):
        raise ValueError("`penalties` is empty: give one or more.")
    for value in penalties:
        check_between("penalties", value, low=0)
    place = resolve(device)
    seen = np.asarray(x[np.unique(rows)], np.float64)
    mean = seen.mean(axis=0)
    scale = float(np.sqrt(((seen - mean) ** 2).sum(axis=1).mean()))
    if scale == 0:
        raise ValueError("`features` are the same for all objects of `triplets`.")
    scaled = ((np.asarray(x, np.float64) - mean) / scale).astype(np.float32)
    known = torch.from_numpy(scaled).to(place)
    order = generator(seed, "alignment split").permutation(len(rows))
    held = rows[order[::_HELD_BACK]]
    used = rows[np.delete(order, np.s_[::_HELD_BACK])]
    found = []
    for penalty in penalties:
        training = train(
            _Map(x.shape[1]),
            partial(_batches, used, seed),
            partial(_loss, known, float(penalty)),
            settings=settings,
            validate=partial(_validate, known, torch.from_numpy(held).to(place)),
            seed=seed,
            device=place,
            description="aligning",
        )
        best = training.curves.loc[training.curves["best"], "val_loss"].iloc[0]
        matrix = training.state["matrix"].numpy().astype(np.float64)
        found.append(Alignment(mean, scale, matrix, float(penalty), float(best)))
    return min(found, key=lambda one: one.val_nll)


def cross_validate_alignment(
    features: ArrayLike,
    triplets: ArrayLike,
    *,
    n_folds: int = 3,
    penalties: Sequence[float] = PENALTIES,
    settings: TrainSettings = SETTINGS,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> pd.DataFrame:
    """Judge an alignment on objects that it has not seen.

    Objects are divided into folds. Triplets within a fold are the test; those without
    any object of the fold are learned from; all others are left out.

    Parameters
    ----------
    features : array-like of float, shape (n_objects, n_features)
        Features.
    triplets : array-like of int, shape (n_triplets, 3)
        Choices, the odd one third.
    n_folds : int, default 3
        Folds, two or more.
    penalties : sequence of float, default (0.0001, 0.001, 0.01, 0.1)
        As `fit_alignment`.
    settings : TrainSettings
        How to train.
    seed : int, default 0
        Seed of the folds and the fits.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    DataFrame
        One row per fold: `fold`, `n_train`, `n_test`, `penalty`, `accuracy` and `nll`
        (nats) of the test, `accuracy_before` (inner products of the features as they
        are). NaN without test triplets, or with fewer than five to learn from.

    Raises
    ------
    TypeError, ValueError
        As `fit_alignment`.

    Notes
    -----
    With three folds a third of the objects is tested, but only one in 27 triplets of
    random objects lies within it: few triplets of many objects tell little.
    """
    x = check_array("features", features, shape=(None, None), finite=True)
    rows = check_triplets(triplets, len(x))
    n_folds = check_whole("n_folds", n_folds, low=2, high=len(x))
    fold_of = generator(seed, "alignment folds").permutation(len(x)) % n_folds
    lines = []
    for fold in range(n_folds):
        inside = (fold_of[rows] == fold).sum(axis=1)
        learned, tested = rows[inside == 0], rows[inside == 3]
        line = {"fold": fold, "n_train": len(learned), "n_test": len(tested)}
        names = ("penalty", "accuracy", "nll", "accuracy_before")
        values = [float("nan")] * len(names)
        if len(tested) and len(learned) >= _HELD_BACK:
            fit = fit_alignment(
                x,
                learned,
                penalties=penalties,
                settings=settings,
                seed=seed,
                device=device,
            )
            mapped = fit.apply(x)
            values = [
                fit.penalty,
                odd_one_out_accuracy(mapped, tested),
                choice_nll(mapped, tested),
                odd_one_out_accuracy(x, tested),
            ]
        lines.append(line | dict(zip(names, values, strict=True)))
    return pd.DataFrame(lines)


class _Map(nn.Module):
    """A square matrix that begins as the identity."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(n_features))


def _batches(rows: IntArray, seed: int, epoch: int) -> list[Tensor]:
    order = generator(seed, "alignment batches", epoch).permutation(len(rows))
    shuffled = torch.from_numpy(rows[order])
    return [shuffled[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]


def _nll(features: Tensor, matrix: Tensor, rows: Tensor) -> Tensor:
    mapped = features[rows] @ matrix
    first, second, third = mapped.unbind(1)
    pairs = ((first, second), (first, third), (second, third))
    logits = torch.stack([(a * b).sum(dim=1) for a, b in pairs], dim=1)
    return -torch.log_softmax(logits, dim=1)[:, 0].sum()


def _loss(
    features: Tensor, penalty: float, module: nn.Module, rows: Tensor
) -> tuple[Tensor, float]:
    matrix = module.get_parameter("matrix")
    nll = _nll(features, matrix, rows.to(features.device))
    return nll + len(rows) * penalty * matrix.square().sum(), float(len(rows))


def _validate(features: Tensor, rows: Tensor, module: nn.Module) -> dict[str, float]:
    nll = _nll(features, module.get_parameter("matrix"), rows)
    return {"loss": float(nll) / len(rows)}
