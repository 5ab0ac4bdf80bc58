"""OAT as a model of object search: trained anew for every split."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.oat import OAT, knowledge, load_oat, shipped_name
from neurovis.adapters.oat_network import OATConfig, published_config, small_config
from neurovis.core.checks import check_option, check_whole
from neurovis.core.files import sha256_file, sha256_json
from neurovis.core.object_scanpaths import ObjectScanpathModel, ObjectTrial
from neurovis.fitting.train import TrainSettings
from tasks import oat_training
from tasks.oat_looks import APPEARANCES, N_FEATURES, synthetic_looks
from tasks.oat_training import OATRecipe, check_start, fit_oat

OAT_MODELS = ("oat", "oat-small", "oat-tuned", "oat-shipped")
"""The published network; a small one; the same, starting from the shipped weights;
these weights as they are."""
SIZES = ("small", "published")
"""Architectures."""
GREEDY = "-greedy"
"""Ending of the names of models that take the most probable token always."""
# Read once: what a model is must not change while it runs.
_CODE = sha256_file(oat_training.__file__)


@dataclass(frozen=True)
class OATModel:
    """OAT before it has seen data.

    Parameters
    ----------
    name : str
        Name in tables.
    config : OATConfig
        Architecture.
    recipe : OATRecipe, optional
        How to train; None takes the weights of `start` as they are.
    start : str or Path, optional
        Weights to start from, as `neurovis.adapters.oat.load_oat` takes them.
    looks_seed : int, optional
        Seed of generated covers that dress every display of every training batch
        anew; None leaves displays as they are.
    greedy : bool, default False
        Take the most probable token always.
    folder : str or Path, optional
        Where fits are kept, each in a folder of its own, so that they resume and are
        shared by models that differ only in how they decode.
    device : str, default "cpu"
        Where to compute.
    notes : tuple of str
        What a reader must know.

    Raises
    ------
    ValueError
        If there is neither a recipe nor a start, or the start has another
        architecture.
    FileNotFoundError, DataCorruptError
        If the weights to start from are missing or damaged.
    """

    name: str
    config: OATConfig
    recipe: OATRecipe | None = None
    start: str | Path | None = None
    looks_seed: int | None = None
    greedy: bool = False
    folder: str | Path | None = None
    device: str = "cpu"
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.recipe is None and self.start is None:
            raise ValueError(f"{self.name} needs a `recipe`, a `start`, or both.")
        if self._loaded is not None:
            check_start(self._loaded, self.config)

    @cached_property
    def _loaded(self) -> OAT | None:
        if self.start is None:
            return None
        return load_oat(self.name, weights=self.start, device=self.device)

    @cached_property
    def _looks(self) -> NDArray[np.float32] | None:
        return None if self.looks_seed is None else synthetic_looks(self.looks_seed)

    @property
    def knows(self) -> str:
        """What it is told of the target, one of `KNOWLEDGE`."""
        return knowledge(self.config)

    @property
    def stochastic(self) -> bool:
        """Whether samples differ."""
        return not self.greedy

    @property
    def _recipe_parts(self) -> dict[str, Any]:
        start = self._loaded
        return {
            "config": asdict(self.config),
            "recipe": None if self.recipe is None else asdict(self.recipe),
            "start": None if start is None else start.identity,
            "looks_seed": self.looks_seed,
            "code": _CODE,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """All that its responses depend on besides training data, display and seed."""
        return {"model": "OAT", **self._recipe_parts, "greedy": self.greedy}

    def fit(
        self,
        training: Sequence[ObjectTrial],
        validation: Sequence[ObjectTrial] = (),
        *,
        seed: int = 0,
    ) -> OAT:
        """Train on scanpaths, or take the weights as they are without a recipe.

        Parameters
        ----------
        training : sequence of ObjectTrial
            Scanpaths to learn from.
        validation : sequence of ObjectTrial
            Scanpaths that decide which weights are kept.
        seed : int
            Seed of weights, batches and dropout.

        Returns
        -------
        OAT
            The observer.

        Raises
        ------
        ValueError
            If there is no training trial, or a display does not suit the network.
        DataCorruptError
            If the folder of this fit is damaged.
        """
        if self.recipe is None:
            assert self._loaded is not None
            return replace(self._loaded, greedy=self.greedy)
        observer, _ = fit_oat(
            _ordered(training),
            _ordered(validation),
            config=self.config,
            recipe=self.recipe,
            seed=seed,
            start=self._loaded,
            looks=self._looks,
            identity=self._data(training, validation),
            folder=self.fit_folder(training, validation, seed),
            device=self.device,
            name=self.name,
            notes=self.notes,
        )
        return replace(observer, greedy=self.greedy)

    def fit_folder(
        self,
        training: Sequence[ObjectTrial],
        validation: Sequence[ObjectTrial],
        seed: int,
    ) -> Path | None:
        """Return where the fit to some data is kept.

        Parameters
        ----------
        training, validation : sequence of ObjectTrial
            As `fit` gets them.
        seed : int
            Seed of the fit.

        Returns
        -------
        Path or None
            The folder; None when nothing is kept.
        """
        if self.folder is None:
            return None
        key = sha256_json([self._data(training, validation), seed])
        return Path(self.folder) / key[:16]

    def _data(
        self, training: Sequence[ObjectTrial], validation: Sequence[ObjectTrial]
    ) -> dict[str, Any]:
        return {
            **self._recipe_parts,
            "training": sorted(t.fingerprint for t in training),
            "validation": sorted(t.fingerprint for t in validation),
        }


def has_drawing_twin(
    model: ObjectScanpathModel, models: Sequence[ObjectScanpathModel]
) -> bool:
    """Tell whether a model is the greedy form of another one, which draws.

    How tokens are chosen is all that differs: networks, training curves, attention and
    probabilities are the same.

    Parameters
    ----------
    model : ObjectScanpathModel
        The model.
    models : sequence of ObjectScanpathModel
        Where to look for the other one.

    Returns
    -------
    bool
        False for all that are no greedy `OATModel`.
    """
    if not isinstance(model, OATModel) or not model.greedy:
        return False
    drawing = model.identity | {"greedy": False}
    return any(
        isinstance(other, OATModel) and other.identity == drawing for other in models
    )


def _ordered(trials: Sequence[ObjectTrial]) -> list[ObjectTrial]:
    """Sort trials: the order of the data must not matter."""
    return sorted(
        trials, key=lambda t: (t.display.stimulus_id, t.subject, t.fingerprint)
    )


def oat_config(size: str, appearance: str, target_position: str) -> OATConfig:
    """Return the architecture for displays with or without generated covers.

    Parameters
    ----------
    size : {"small", "published"}
        How large the network is.
    appearance : {"none", "synthetic"}
        What displays look like: nothing, or features of generated covers.
    target_position : {"none", "true"}
        Whether the network is told where the target is.

    Returns
    -------
    OATConfig
        The architecture.

    Raises
    ------
    ValueError
        If an option is unknown.

    Examples
    --------
    >>> oat_config("small", "synthetic", "none").n_features
    120
    """
    check_option("size", size, SIZES)
    check_option("appearance", appearance, APPEARANCES)
    dressed = appearance == "synthetic"
    make = small_config if size == "small" else published_config
    return make(
        appearance="features" if dressed else "none",
        n_features=N_FEATURES if dressed else 0,
        target_position=target_position,
    )


def published_recipe(**changes: Any) -> OATRecipe:
    """Return the published recipe, with changes of its settings.

    Adam, 20 trials per batch in any order, the norm of gradients cut at 1, at most 500
    epochs, stop after 30 without a better `delta`. Unlike the published code, which
    evaluates the last weights, the best ones are kept.

    Parameters
    ----------
    **changes : object
        Fields of `TrainSettings`.

    Returns
    -------
    OATRecipe
        The recipe.

    Raises
    ------
    TypeError, ValueError
        If a field is unknown or its value out of range.
    """
    settings = TrainSettings(
        max_epochs=500,
        patience=30,
        monitor="delta",
        optimiser="adam",
        learning_rate=1e-4,
        clip_norm=1.0,
    )
    return OATRecipe(replace(settings, **changes), trials_per_batch=20)


def published_size_recipe(**changes: Any) -> OATRecipe:
    """Return the published optimiser for batches of four displays.

    Trials in any order would encode a display for nearly each of them.

    Parameters
    ----------
    **changes : object
        Fields of `TrainSettings`.

    Returns
    -------
    OATRecipe
        As `published_recipe`; the best nats per token are kept.

    Raises
    ------
    TypeError, ValueError
        If a field is unknown or its value out of range.
    """
    recipe = published_recipe(**{"monitor": "nats", **changes})
    return replace(recipe, trials_per_batch=0)


def tuned_recipe(**changes: Any) -> OATRecipe:
    """Return the recipe for some hundred scanpaths, with changes of its settings.

    AdamW with a cosine schedule, four displays per batch with all their trials; the
    weights with the best nats per token of the validation are kept.

    Parameters
    ----------
    **changes : object
        Fields of `TrainSettings`.

    Returns
    -------
    OATRecipe
        The recipe.

    Raises
    ------
    TypeError, ValueError
        If a field is unknown or its value out of range.
    """
    settings = TrainSettings(
        monitor="nats",
        max_epochs=60,
        patience=15,
        learning_rate=1e-3,
        optimiser="adamw",
        weight_decay=0.01,
        schedule="cosine",
        warmup_steps=50,
    )
    return OATRecipe(replace(settings, **changes))


def oat_model(
    name: str,
    *,
    appearance: str = "synthetic",
    target_position: str = "none",
    folder: str | Path | None = None,
    device: str = "cpu",
    epochs: int | None = None,
) -> OATModel:
    """Build one of the OAT models by name.

    Parameters
    ----------
    name : str
        One of `OAT_MODELS`, with "-greedy" at its end for greedy decoding.
    appearance : {"synthetic", "none"}
        What displays look like: generated covers by their features, drawn anew for
        every training batch; or nothing, and the target is known by nothing.
    target_position : {"none", "true"}
        Whether the network is told where the target is.
    folder : str or Path, optional
        Where fits are kept.
    device : str, default "cpu"
        Where to compute.
    epochs : int, optional
        The most epochs of training, instead of those of the recipe.

    Returns
    -------
    OATModel
        The model.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, a number is out of range, or shipped weights are asked
        for without appearance.
    """
    if epochs is not None:
        check_whole("epochs", epochs, low=1)
    base = name.removesuffix(GREEDY)
    check_option("models", base, OAT_MODELS)
    config = oat_config(
        "published" if base == "oat" else "small", appearance, target_position
    )
    dressed = appearance == "synthetic"
    shipped = base in ("oat-tuned", "oat-shipped")
    if shipped and not dressed:
        raise ValueError(
            f"{name} starts from weights that were trained with appearance: use "
            "appearance='synthetic', or oat-small."
        )
    changes = {} if epochs is None else {"max_epochs": epochs}
    recipe: OATRecipe | None = None
    if base == "oat":
        recipe = published_size_recipe(**changes)
    elif base == "oat-small":
        recipe = tuned_recipe(**changes)
    elif base == "oat-tuned":
        recipe = tuned_recipe(learning_rate=3e-4, **changes)
    return OATModel(
        name,
        config,
        recipe,
        start=shipped_name(target_position) if shipped else None,
        looks_seed=0 if dressed else None,
        greedy=name.endswith(GREEDY),
        folder=folder,
        device=device,
        notes=_notes(name, base, target_position, dressed),
    )


def _notes(
    name: str, base: str, target_position: str, dressed: bool
) -> tuple[str, ...]:
    made = {
        "oat": "the published architecture, trained on the training folds",
        "oat-small": "a small architecture, trained on the training folds",
        "oat-tuned": "a small architecture, trained on simulated searchers and then on "
        "the training folds",
        "oat-shipped": "a small architecture, trained on simulated searchers only",
    }[base]
    told = {
        "true": "is told where the target is, so that it is no model of search",
        "none": "finds the target by its look, which it sees everywhere at once"
        if dressed
        else "is told nothing of the target",
    }[target_position]
    decoded = "the most probable token" if name.endswith(GREEDY) else "samples"
    return (f"{name}: OAT, {made}; {told}; {decoded}.",)
