"""How a network of latent rotation is trained: `neurovis train latent-rotation`.

Of two views of an object each is drawn from the turned volume of the other, and the
squared error of the pixels is made small (Dupont et al. 2020, arXiv:2006.07630). No
label and no answer is ever seen. Objects that are trained on are told in the weights,
so that no experiment tests with them or with their mirror images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.latent_rotation_network import (
    LatentRotation,
    build_latent_rotation,
    save_latent_rotation,
    turn_volume,
)
from neurovis.adapters.latent_rotation_settings import (
    SMALL,
    LatentRotationSettings,
)
from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_bytes, sha256_file, write_json
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.train import train
from tasks.latent_rotation_views import (
    ObjectViews,
    draw_object_views,
    training_shapes,
)
from tasks.mental_rotation_trials import N_MIRROR_PAIRS
from tasks.runs import begin_run, check_same_run

IntArray = NDArray[np.int64]
Batch = tuple[IntArray, IntArray, IntArray]

WEIGHTS_FILE = "latent_rotation.safetensors"
CARD_FILE = "card.json"

_JUDGED_AT_ONCE = 64


@dataclass(frozen=True)
class LatentRotationRecipe:
    """How a network of latent rotation is trained.

    Sizes, loss, optimiser, rate, batch and epochs are the published ones; objects and
    views are chosen here.

    Parameters
    ----------
    network : LatentRotationSettings, optional
        Sizes of the network; the published ones by default.
    n_objects : int, default 120
        Objects to train on, each with its mirror image.
    n_validation_objects : int, default 8
        Further objects that the network is judged by; none of them is trained on.
    n_views : int, default 32
        Views of each object and of each mirror image.
    n_validation_views : int, default 2
        Further views of each that the network is judged by; even.
    elevation_deg : float, default 80
        Largest elevation of a view, upwards or downwards.
    roll_deg : float, default 180
        Largest turn of a picture, either way; 0 leaves objects upright.
    epochs : int, default 100
        Passes over all views, each paired with another one at random.
    near_share : float, default 0
        Share of the epochs in which the angle between paired views is limited, 0..1.
        In the first sixth of them a view is drawn from itself; then the limit grows to
        180 degrees. Small networks find no depth without.
    batch_size : int, default 64
        Pairs of views per step.
    learning_rate : float, default 2e-4
        Of Adam.
    schedule : {"constant", "cosine"}
        How the rate falls.
    name : str, default "published"
        Name of the recipe.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    network: LatentRotationSettings = field(default_factory=LatentRotationSettings)
    n_objects: int = 120
    n_validation_objects: int = 8
    n_views: int = 32
    n_validation_views: int = 2
    elevation_deg: float = 80.0
    roll_deg: float = 180.0
    epochs: int = 100
    near_share: float = 0.0
    batch_size: int = 64
    learning_rate: float = 2e-4
    schedule: str = "constant"
    name: str = "published"

    def __post_init__(self) -> None:
        check_whole("n_objects", self.n_objects, low=1)
        check_whole("n_validation_objects", self.n_validation_objects, low=1)
        n = self.n_objects + self.n_validation_objects
        if n > N_MIRROR_PAIRS:
            raise ValueError(
                f"`n_objects` and `n_validation_objects` together must be at most "
                f"{N_MIRROR_PAIRS}, all there are; got {n}."
            )
        check_whole("n_views", self.n_views, low=2)
        check_whole("n_validation_views", self.n_validation_views, low=2)
        if self.n_validation_views % 2:
            raise ValueError(
                "`n_validation_views` must be even, they are judged in pairs; got "
                f"{self.n_validation_views}."
            )
        check_whole("batch_size", self.batch_size, low=1)
        check_between("elevation_deg", self.elevation_deg, low=0, high=90)
        check_between("roll_deg", self.roll_deg, low=0, high=180)
        check_between("near_share", self.near_share, low=0, high=1)
        check_between("learning_rate", self.learning_rate, low=0)
        _ = self.settings  # raises where a value is wrong

    @property
    def settings(self) -> TrainSettings:
        """How the trainer is to go about it."""
        return TrainSettings(
            max_epochs=self.epochs,
            patience=None,
            keep="last",
            optimiser="adam",
            learning_rate=self.learning_rate,
            schedule=self.schedule,
        )

    def limit_deg(self, epoch: int) -> float:
        """Return how far apart paired views may be.

        Parameters
        ----------
        epoch : int
            0-based epoch.

        Returns
        -------
        float
            Largest angle between them.

        Examples
        --------
        >>> recipe = LatentRotationRecipe(epochs=20, near_share=0.6)
        >>> [round(recipe.limit_deg(epoch)) for epoch in (0, 2, 7, 12)]
        [0, 0, 90, 180]
        """
        near = self.near_share * self.epochs
        if epoch >= near:
            return 180.0
        return 180 * max(0.0, 6 * epoch / near - 1) / 5

    @property
    def parameters(self) -> dict[str, Any]:
        """All values, as JSON has them."""
        return dict(plain(asdict(self)))

    def shortened(
        self, n_objects: int | None = None, epochs: int | None = None
    ) -> "LatentRotationRecipe":
        """Return the recipe with fewer objects and epochs.

        Parameters
        ----------
        n_objects : int, optional
            Objects to train on; as many by default.
        epochs : int, optional
            Passes over all views; as many by default.

        Returns
        -------
        LatentRotationRecipe
            The same in all else.
        """
        made, name = self, self.name
        if n_objects is not None:
            name = f"{name}, {n_objects} objects"
            made = replace(made, n_objects=n_objects)
        if epochs is not None:
            name = f"{name}, {epochs} epochs"
            made = replace(made, epochs=epochs)
        return replace(made, name=name)


PUBLISHED_RECIPE = LatentRotationRecipe()
"""For an accelerator."""

SMALL_RECIPE = LatentRotationRecipe(
    network=SMALL,
    n_objects=4,
    n_validation_objects=4,
    n_views=64,
    elevation_deg=45.0,
    roll_deg=0.0,
    epochs=30,
    near_share=0.7,
    n_validation_views=8,
    batch_size=8,
    learning_rate=2e-3,
    schedule="cosine",
    name="small",
)
"""For a processor: a few minutes."""


@dataclass(frozen=True, eq=False)
class TrainedLatentRotation:
    """What a training left in its folder.

    Parameters
    ----------
    weights : Path
        File for
        `neurovis.adapters.latent_rotation_network.load_latent_rotation`.
    card : dict
        What the network is, how it was trained, and how well.
    curves : DataFrame
        Learning curves.
    """

    weights: Path
    card: dict[str, Any]
    curves: pd.DataFrame


def train_latent_rotation(
    out: str | Path,
    *,
    recipe: LatentRotationRecipe | None = None,
    seed: int = 0,
    device: str = "auto",
) -> TrainedLatentRotation:
    """Train a network to draw a view of an object from another view of it.

    Interrupted, it resumes when called again and ends with equal weights.

    Parameters
    ----------
    out : str or Path
        Folder for ``latent_rotation.safetensors``, ``card.json`` and checkpoints.
    recipe : LatentRotationRecipe, optional
        How to train; `PUBLISHED_RECIPE` by default, `SMALL_RECIPE` for a processor.
    seed : int, default 0
        Seed of objects, views, initial weights and order.
    device : str, default "auto"
        Where to train.

    Returns
    -------
    TrainedLatentRotation
        Weights and card. The card holds the squared error of pixels of new views of
        the objects of the training and of new objects, beside that of two guesses:
        the mean picture of the training, and the other view as it is.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or `out` holds another training.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    recipe = PUBLISHED_RECIPE if recipe is None else recipe
    check_whole("seed", seed, low=0)
    place = resolve(device)
    arguments = {
        "task": "train-latent-rotation",
        "recipe": recipe.parameters,
        "seed": seed,
    }
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    shapes = training_shapes(recipe.n_objects + recipe.n_validation_objects, seed)
    known, new = shapes[: recipe.n_objects], shapes[recipe.n_objects :]
    limits = {"elevation_deg": recipe.elevation_deg, "roll_deg": recipe.roll_deg}
    sets = {
        part: draw_object_views(own, n, recipe.network, part=part, seed=seed, **limits)
        for part, own, n in (
            ("training", known, recipe.n_views),
            ("views", known, recipe.n_validation_views),
            ("objects", new, recipe.n_validation_views),
        )
    }
    seen = sets.pop("training")
    marks = {"pictures": sha256_bytes(seen.pictures.numpy().tobytes())}
    notes = [
        f"latent rotation: trained here on {recipe.n_views} views of each of "
        f"{recipe.n_objects} objects and their mirror images (recipe {recipe.name!r}); "
        "no published weights."
    ]
    with deterministic():
        trained = train(
            build_latent_rotation(recipe.network, seed),
            _batches(seen, recipe, seed),
            _loss(seen),
            settings=recipe.settings,
            validate=_validation(sets),
            seed=seed,
            device=place,
            folder=folder / "training",
            identity=marks,
            description="latent rotation",
        )
    # Objects that the network was judged by guide whoever changes the recipe.
    about = {"notes": notes, "recipe": recipe.name, "seed": seed, "shapes": shapes}
    path = folder / WEIGHTS_FILE
    save_latent_rotation(path, trained.state, recipe.network, {**about, **marks})
    last = trained.curves.iloc[-1]
    validation = {
        part: {
            "network": float(last["val_loss" if part == "views" else f"val_{part}"]),
            **guess_errors(seen, views),
        }
        for part, views in sets.items()
    }
    provenance = collect(
        seed, place, fingerprints=marks, call=dict(arguments), notes=notes
    )
    card = {
        "model": "network of latent rotation",
        "weights": WEIGHTS_FILE,
        "sha256": sha256_file(path),
        "notes": notes,
        "n_objects": recipe.n_objects,
        "n_views": recipe.n_views,
        "squared_error": validation,
        "provenance": provenance.to_dict(),
    }
    write_json(folder / CARD_FILE, card)
    return TrainedLatentRotation(path, card, trained.curves)


def reconstruction_error(network: LatentRotation, views: ObjectViews) -> float:
    """Judge how well views are drawn from other views.

    Parameters
    ----------
    network : LatentRotation
        A network on any device.
    views : ObjectViews
        Views; of each object the first and second, third and fourth, ... are paired.

    Returns
    -------
    float
        Mean squared error of pixels of 0..1, each view drawn from the other one.
    """
    total, n = 0.0, 0
    which, first, second = _fixed_pairs(views)
    with torch.no_grad():
        for start in range(0, len(which), _JUDGED_AT_ONCE):
            rows = slice(start, start + _JUDGED_AT_ONCE)
            batch = which[rows], first[rows], second[rows]
            errors = _errors(network, views, batch)
            total, n = total + float(errors.double().sum()), n + len(errors)
    return total / n


def guess_errors(known: ObjectViews, views: ObjectViews) -> dict[str, float]:
    """Return the errors of those who know nothing of objects.

    Parameters
    ----------
    known : ObjectViews
        Views of the training.
    views : ObjectViews
        Views that are to be drawn, paired as in `reconstruction_error`.

    Returns
    -------
    dict of str to float
        Mean squared errors: "mean_picture" draws the mean picture of the training,
        "other_view" leaves the other view as it is.
    """
    mean = known.pictures.double().mean(dim=(0, 1)) / 255
    which, first, second = _fixed_pairs(views)
    ones, others = (views.pictures[which, at].double() / 255 for at in (first, second))
    both = torch.cat([ones, others])
    return {
        "mean_picture": float((both - mean).square().mean()),
        "other_view": float((ones - others).square().mean()),
    }


def _fixed_pairs(views: ObjectViews) -> Batch:
    n_objects, n_views = views.pictures.shape[:2]
    which, first = np.divmod(np.arange(n_objects * (n_views // 2)), n_views // 2)
    return which, 2 * first, 2 * first + 1


def _batches(
    views: ObjectViews, recipe: LatentRotationRecipe, seed: int
) -> Callable[[int], Sequence[Batch]]:
    """Return every view once, with another view of the object that is near enough."""
    apart = views.apart_deg.numpy()
    n_objects, n_views = apart.shape[:2]
    own = np.eye(n_views, dtype=bool)
    which, first = np.divmod(np.arange(n_objects * n_views), n_views)

    def batches(epoch: int) -> Sequence[Batch]:
        rng = generator(seed, "latent rotation pairs", epoch)
        allowed = (apart <= recipe.limit_deg(epoch)) & ~own
        lots = np.where(allowed, rng.random(apart.shape), -1.0)
        lots[:, own] = -0.5  # where no other is near, the view itself
        second = lots.argmax(axis=2).reshape(-1)
        order = rng.permutation(len(which))
        parts = np.array_split(order, -(-len(order) // recipe.batch_size))
        return [(which[p], first[p], second[p]) for p in parts]

    return batches


def _errors(module: nn.Module, views: ObjectViews, batch: Batch) -> Tensor:
    """Return the squared error of every view, drawn from its other view."""
    network: Any = module
    place = network.inside.device
    which, first, second = batch
    there = views.turns(which, first, second).to(place)
    images = [views.images(which, view).to(place) for view in (first, second)]
    volumes = network.encode(torch.cat(images))
    turned = turn_volume(volumes, torch.cat([there, there.mT]))
    wanted = torch.cat(images[::-1])
    drawn: Tensor = network.decode(turned)
    return (drawn - wanted).square().mean(dim=(1, 2, 3))


def _loss(views: ObjectViews) -> Callable[[nn.Module, Batch], tuple[Tensor, float]]:
    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, float]:
        errors = _errors(module, views, batch)
        return errors.sum(), float(len(errors))

    return loss


def _validation(
    sets: Mapping[str, ObjectViews],
) -> Callable[[nn.Module], Mapping[str, float]]:
    def validate(module: nn.Module) -> Mapping[str, float]:
        network: Any = module
        found = {part: reconstruction_error(network, v) for part, v in sets.items()}
        return {"loss": found.pop("views"), **found}

    return validate
