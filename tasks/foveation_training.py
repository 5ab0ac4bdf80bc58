"""Second stages, trained on what a first stage lets through."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.scene_classifier import (
    ClassifierSpec,
    SceneClassifier,
    build_classifier,
    normalise,
    to_input,
)
from neurovis.adapters.weights import read_state_dict
from neurovis.core.checks import check_option, check_whole
from neurovis.core.files import plain
from neurovis.core.rng import generator
from neurovis.fitting.checkpoints import snapshot_file
from neurovis.fitting.settings import Training, TrainSettings
from neurovis.fitting.train import train
from tasks.foveation_stimuli import batches_of

PUBLISHED = ("alexnet", "resnet18")
_IN_MEMORY_BYTES = 2**31

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ClassifierRecipe:
    """How a classifier is trained.

    Parameters
    ----------
    settings : TrainSettings
        The training loop; what is validated are "loss" and "accuracy".
    batch_size : int, default 128
        Pictures per batch, >= 2.
    mirror : bool, default False
        Mirror pictures left to right at random.
    name : str, default "own"
        In tables and reports.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    settings: TrainSettings = field(default_factory=lambda: _compact(30))
    batch_size: int = 128
    mirror: bool = False
    name: str = "own"

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size, low=2)
        check_option("monitor", self.settings.monitor, ("loss", "accuracy"))

    @property
    def parameters(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        return values


def _compact(max_epochs: int) -> TrainSettings:
    return TrainSettings(
        max_epochs=max_epochs,
        patience=None,
        keep="last",
        optimiser="sgd",
        learning_rate=0.05,
        weight_decay=5e-4,
        decay_all=True,
        betas=(0.9, 0.0),
        nesterov=True,
        schedule="cosine",
        clip_norm=None,
    )


def compact_recipe(max_epochs: int = 30) -> ClassifierRecipe:
    """Return a recipe for small sets of pictures.

    Parameters
    ----------
    max_epochs : int, default 30
        Epochs.

    Returns
    -------
    ClassifierRecipe
        SGD with Nesterov's momentum, small batches, mirrored pictures, a learning rate
        that falls along a cosine, and the last weights.
    """
    return ClassifierRecipe(_compact(max_epochs), 32, True, "compact")


def published_recipe(architecture: str) -> ClassifierRecipe:
    """Return the recipe of Deza and Konkle.

    Parameters
    ----------
    architecture : {"alexnet", "resnet18"}
        Each has its own learning rates and number of epochs.

    Returns
    -------
    ClassifierRecipe
        No augmentation; the optimiser forgets its momentum after each epoch, as in
        their code.

    Raises
    ------
    ValueError
        If the architecture is another one.

    References
    ----------
    Deza and Konkle (2020). arXiv:2006.07991; code ArturoDeza/EmergentProperties.
    """
    check_option("architecture", architecture, PUBLISHED)
    rate, factor, epochs, share = {
        "alexnet": (0.01, 0.5, 120, 0.25),
        "resnet18": (0.05, 0.25, 80, 0.2),
    }[architecture]
    settings = TrainSettings(
        max_epochs=epochs,
        patience=None,
        keep="last",
        optimiser="sgd",
        learning_rate=rate,
        weight_decay=5e-4,
        decay_all=True,
        betas=(0.9, 0.0),
        nesterov=True,
        fresh_optimiser=True,
        schedule="step",
        step_epochs=(math.ceil(share * epochs), math.ceil(2 * share * epochs)),
        step_factor=factor,
        clip_norm=None,
    )
    return ClassifierRecipe(settings, 128, False, "published")


class Pixels:
    """Pictures at the size of a network: kept in memory, or read when asked for.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.
    size_px : int
        Side of the input.
    """

    def __init__(self, pictures: Sequence[Image], size_px: int) -> None:
        self.pictures, self.size_px = pictures, size_px
        small = len(pictures) * 3 * size_px**2 <= _IN_MEMORY_BYTES
        self._all = to_input(pictures, size_px) if small else None

    def __len__(self) -> int:
        return len(self.pictures)

    def rows(self, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return some pictures.

        Parameters
        ----------
        rows : sequence of int
            Which ones.

        Returns
        -------
        Tensor of uint8, shape (n, 3, size_px, size_px)
            Pictures.
        """
        if self._all is not None:
            return self._all[torch.as_tensor(np.asarray(rows, np.int64))]
        return to_input([self.pictures[int(row)] for row in rows], self.size_px)


@dataclass(frozen=True)
class LabelledPixels:
    """Pictures and the classes they belong to.

    Parameters
    ----------
    pixels : Pixels
        Pictures.
    labels : ndarray of int64, shape (n,)
        Class of each, from 0.

    Raises
    ------
    ValueError
        If the numbers differ.
    """

    pixels: Pixels
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.labels):
            raise ValueError(
                f"There are {len(self.pixels)} pictures, but {len(self.labels)} labels."
            )


class _Batches(Sequence[tuple[Tensor, Tensor]]):
    """The batches of an epoch, the same ones for every first stage."""

    def __init__(
        self, data: LabelledPixels, recipe: ClassifierRecipe, key: tuple[Any, ...]
    ) -> None:
        self.data, self.recipe, self.key = data, recipe, key
        order = generator(*key).permutation(len(data.labels))
        size = recipe.batch_size
        self.groups = [order[i : i + size] for i in range(0, len(order), size)]
        if len(self.groups[-1]) == 1:  # nothing to normalise a batch of one by
            self.groups.pop()

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Tensor, Tensor]]: ...
    def __getitem__(
        self, index: int | slice
    ) -> tuple[Tensor, Tensor] | list[tuple[Tensor, Tensor]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        rows = self.groups[index]
        pixels = self.data.pixels.rows(rows)
        if self.recipe.mirror:
            flips = generator(*self.key, "mirror", index).random(len(rows)) < 0.5
            turned = torch.from_numpy(flips)[:, None, None, None]
            pixels = torch.where(turned, pixels.flip(3), pixels)
        return pixels, torch.from_numpy(self.data.labels[rows])


def _loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, float]:
    place = next(module.parameters()).device
    pixels, labels = (part.to(place) for part in batch)
    logits = module(normalise(pixels))
    # Some networks of torchvision have heads that help training: left out.
    logits = getattr(logits, "logits", logits)
    total = F.cross_entropy(logits.float(), labels, reduction="sum")
    return total, float(len(labels))


def _validate(data: LabelledPixels, batch_size: int) -> Any:
    def validate(module: nn.Module) -> Mapping[str, float]:
        place = next(module.parameters()).device
        loss, hits = 0.0, 0
        for rows in batches_of(len(data.labels), batch_size):
            labels = torch.from_numpy(data.labels[rows]).to(place)
            logits = module(normalise(data.pixels.rows(rows).to(place))).float()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            hits += int((logits.argmax(1) == labels).sum())
        n = len(data.labels)
        return {"loss": loss / n, "accuracy": hits / n}

    return validate


def train_classifier(
    data: LabelledPixels,
    validation: LabelledPixels,
    spec: ClassifierSpec,
    recipe: ClassifierRecipe,
    *,
    name: str,
    identity: Mapping[str, Any],
    seed: int = 0,
    run: int = 0,
    device: str = "cpu",
    folder: str | Path | None = None,
    snapshots: Sequence[int] = (),
) -> tuple[SceneClassifier, Training]:
    """Train one classifier from random weights.

    Runs of one number start from equal weights and see their pictures in equal order,
    whatever the first stage made of these.

    Parameters
    ----------
    data, validation : LabelledPixels
        Pictures to learn from, and others.
    spec : ClassifierSpec
        Architecture.
    recipe : ClassifierRecipe
        How.
    name : str
        Name of the classifier in tables.
    identity : mapping
        What the pictures are, as JSON values.
    seed, run : int, default 0
        Seed of the experiment and number of the repetition.
    device : str, default "cpu"
        Where.
    folder : str or Path, optional
        Where checkpoints and the result lie; with it a killed training goes on.
    snapshots : sequence of int, default ()
        Epochs after which weights are kept too.

    Returns
    -------
    classifier : SceneClassifier
        With its trained weights.
    training : Training
        With learning curves.

    Raises
    ------
    ValueError
        If the loss is not finite, or `folder` holds another training.
    """
    module = build_classifier(spec, seed=seed, run=run)
    key = (seed, "batches", run)
    training = train(
        module,
        lambda epoch: _Batches(data, recipe, (*key, epoch)),
        _loss,
        settings=recipe.settings,
        validate=_validate(validation, recipe.batch_size),
        seed=seed + run,
        device=device,
        folder=folder,
        identity={"spec": spec.parameters, "recipe": recipe.parameters, **identity},
        snapshots=snapshots,
        description=f"{name} {run}",
    )
    module.load_state_dict(training.state)
    about = {
        "recipe": recipe.name,
        "n_pictures": len(data.labels),
        "n_epochs": training.n_epochs,
        "validation_accuracy": float(
            training.curves["val_accuracy"][training.best_epoch]
        ),
        "seed": seed,
        "run": run,
    }
    return SceneClassifier(name, spec, module, about), training


def classifier_at(
    classifier: SceneClassifier, folder: str | Path, n_epochs: int
) -> SceneClassifier:
    """Return a classifier as it was after some epochs of its training.

    Parameters
    ----------
    classifier : SceneClassifier
        What `train_classifier` returned.
    folder : str or Path
        Folder of the training.
    n_epochs : int
        One of its `snapshots`.

    Returns
    -------
    SceneClassifier
        With these weights.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If they were not kept, or are damaged.
    """
    state = read_state_dict(Path(folder) / snapshot_file(n_epochs))
    module = build_classifier(classifier.spec)
    module.load_state_dict(state)
    about = {**classifier.training, "n_epochs": n_epochs}
    return SceneClassifier(classifier.name, classifier.spec, module, about)
