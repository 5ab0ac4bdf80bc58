"""Train a compact backbone on a folder of pictures, and keep it with its card."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from analysis.plots_training import plot_learning_curves
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.compact_vgg import (
    compact_vgg,
    folded_state,
    load_compact,
    save_compact,
    seeded_compact,
)
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import atomic_path, sha256_file, write_json
from neurovis.core.provenance import collect
from neurovis.core.rng import own_torch_stream
from neurovis.fitting.settings import Training
from neurovis.fitting.train import train
from neurovis.fitting.view_losses import retrieval_accuracy
from neurovis.fitting.views import centre_views
from stimuli.diets import DIETS
from tasks.backbone_pictures import (
    GrowthPictures,
    check_growth_folder,
    load_growth_pictures,
)
from tasks.backbone_recipe import (
    EMBEDDING,
    BackboneRecipe,
    Student,
    compact_recipe,
    contrast_loss,
    label_loss,
    teacher_loss,
)
from tasks.backbone_views import Batch, batches_of, one_view, two_views
from tasks.feature_specs import parse_features
from tasks.report_parts import figure_of
from tasks.runs import begin_run, check_same_run

WEIGHTS_FILE, CARD_FILE = "backbone.safetensors", "card.json"
# Validation sees at most so many pictures.
_MOST_VALIDATION = 512

Loss = Callable[[nn.Module, Any], tuple[Tensor, float]]


@dataclass(frozen=True)
class TrainedBackbone:
    """What a training left.

    Parameters
    ----------
    weights : Path
        Its ``backbone.safetensors``.
    sha256 : str
        Of that file.
    card : mapping
        As ``card.json`` has it.
    curves : DataFrame
        Learning curves, as ``Training.curves``.
    """

    weights: Path
    sha256: str
    card: Mapping[str, Any]
    curves: pd.DataFrame


@dataclass(frozen=True)
class Teacher:
    """A network whose features a smaller one is to predict.

    Parameters
    ----------
    name : str
        As `neurovis.adapters.backbones.load_backbone` takes it.
    weights : str or None
        Likewise.
    layers : tuple of str
        One request with one value per feature for each head of the recipe, such as
        "fire5:gap".

    Raises
    ------
    ValueError
        If there is no layer, or several are to stand side by side.
    """

    name: str
    weights: str | None
    layers: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.layers or {"=", "+"} & set("".join(self.layers)):
            raise ValueError(
                "`layers` of a teacher must be one request per head, such as "
                f"'fire5:gap', without titles and sums; got {self.layers}."
            )


def parse_teacher(text: str) -> Teacher:
    """Read a teacher as features are asked for.

    Parameters
    ----------
    text : str
        ``NETWORK[@WEIGHTS]:LAYER,LAYER``, as `tasks.feature_specs.parse_features`.

    Returns
    -------
    Teacher
        The network and its layers.

    Raises
    ------
    ValueError
        If it is no network.

    Examples
    --------
    >>> parse_teacher("squeezenet1_0@seeded:0:fire3:gap,fire9:gap").layers
    ('fire3:gap', 'fire9:gap')
    """
    spec = parse_features(text)
    if spec.source != "network":
        raise ValueError(f"`teacher` must be a network with layers; got {text!r}.")
    return Teacher(spec.name, spec.weights, spec.layers)


def train_backbone(
    images: str | Path,
    out: str | Path,
    *,
    recipe: BackboneRecipe | None = None,
    diet: str = "natural",
    teacher: Teacher | None = None,
    name: str = "",
    licence: str = "",
    seed: int = 0,
    device: str = "auto",
) -> TrainedBackbone:
    """Train a compact backbone and leave it in a folder.

    Interrupted, it resumes when called again and ends with equal weights.

    Parameters
    ----------
    images : str or Path
        Folder of pictures; for "supervised" folders of classes, see
        `data_loaders.class_folders.open_class_folder`.
    out : str or Path
        Folder for ``backbone.safetensors`` (16 bits), ``card.json``, ``curves.csv``,
        ``curves.png`` and the checkpoints.
    recipe : BackboneRecipe, optional
        How to train; that of the shipped weights by default.
    diet : str, default "natural"
        What is done to the pictures, one of `stimuli.diets.DIETS`.
    teacher : Teacher, optional
        For "distil".
    name : str, optional
        What the pictures are called in notes; the name of the folder by default.
    licence : str, optional
        Terms of the pictures, for the card.
    seed : int, default 0
        Seed of initial weights and views; the order of pictures is that of all seeds.
    device : str, default "auto"
        Where to train.

    Returns
    -------
    TrainedBackbone
        Weights and card.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, pictures are too few, or `out` holds another
        training.
    FileNotFoundError, DataCorruptError
        If pictures or the weights of the teacher are missing or damaged.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    recipe = compact_recipe() if recipe is None else recipe
    check_whole("seed", seed, low=0)
    check_option("diet", diet, DIETS)
    place = resolve(device)
    root = check_growth_folder(images, out=Path(out))
    if (recipe.objective == "distil") != (teacher is not None):
        raise ValueError(
            f"A `teacher` belongs to the objective 'distil'; got {recipe.objective!r} "
            f"with {'no' if teacher is None else 'a'} teacher."
        )
    if teacher is not None and len(teacher.layers) != len(recipe.heads):
        raise ValueError(
            f"The teacher has {len(teacher.layers)} layers for {len(recipe.heads)} "
            f"heads ({', '.join(recipe.heads)}): name one layer per head."
        )
    arguments: dict[str, Any] = {
        "task": "train-backbone",
        "images": str(root),
        "diet": diet,
        "recipe": recipe.parameters,
        "teacher": teacher and [teacher.name, teacher.weights, [*teacher.layers]],
        "name": name or root.stem,
        "licence": licence,
        "seed": seed,
    }
    check_same_run(out, arguments)
    known = _Answers(teacher, recipe, place) if teacher is not None else None
    pictures = load_growth_pictures(
        root,
        diet=diet,
        labelled=recipe.objective == "supervised",
        short_px=recipe.short_px,
    )
    folder = begin_run(out, arguments)
    student = _student(recipe, pictures, known, seed)
    with deterministic():
        done = train(
            student,
            batches_of(recipe, len(pictures.training)),
            _loss(recipe, pictures, known, seed),
            settings=recipe.settings,
            validate=_validation(recipe, pictures, known),
            seed=seed,
            device=place,
            folder=folder / "training",
            identity={
                "pictures": pictures.fingerprint,
                "diet": diet,
                "recipe": recipe.parameters,
                "teacher": None if known is None else known.hash,
            },
            description=f"{recipe.objective}, {diet} {arguments['name']}",
        )
    return _keep(folder, student, done, pictures, recipe, arguments, place)


class _Answers:
    """Features of the teacher for views."""

    def __init__(
        self, teacher: Teacher, recipe: BackboneRecipe, place: torch.device
    ) -> None:
        backbone = load_backbone(
            teacher.name, teacher.weights, size_px=recipe.views.size_px, resize="squash"
        )
        self.hash = backbone.weights_hash
        self.layers, self.heads = teacher.layers, recipe.heads
        backbone.module.requires_grad_(False).to(place)
        self.backbone = backbone
        size = recipe.views.size_px
        probe = self(torch.zeros(2, 3, size, size, device=place))
        self.n_outputs = {name: x.shape[1] for name, x in probe.items()}

    def __call__(self, views: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            found = self.backbone.features(views.contiguous(), self.layers)
        rows = (found[layer].detach() for layer in self.layers)
        return dict(zip(self.heads, rows, strict=True))


def _student(
    recipe: BackboneRecipe,
    pictures: GrowthPictures,
    known: _Answers | None,
    seed: int,
) -> Student:
    state = seeded_compact(seed, recipe.widths)
    network = compact_vgg(state, recipe.widths, normalised=True)
    if known is not None:
        n_outputs = known.n_outputs
    else:
        labelled = recipe.objective == "supervised"
        n = len(pictures.classes) if labelled else EMBEDDING
        n_outputs = dict.fromkeys(recipe.heads, n)
    with own_torch_stream(seed, "heads"):
        return Student(network, recipe, n_outputs)


def _loss(
    recipe: BackboneRecipe,
    pictures: GrowthPictures,
    known: _Answers | None,
    seed: int,
) -> Loss:
    labels = torch.from_numpy(pictures.training_labels)

    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, float]:
        place = next(module.parameters()).device
        keys = (batch.epoch, batch.number)
        n = len(batch.rows)
        if recipe.objective == "selfsup":
            views = two_views(
                recipe, pictures.training, batch.rows, seed, *keys, diet=pictures.diet
            )
            outputs = module(views.to(place))
            return n * contrast_loss(outputs, recipe.temperature), float(n)
        views = one_view(
            recipe, pictures.training, batch.rows, seed, *keys, diet=pictures.diet
        ).to(place)
        outputs = module(views)
        if known is not None:
            return n * teacher_loss(outputs, known(views)), float(n)
        return n * label_loss(outputs, labels[list(batch.rows)].to(place)), float(n)

    return loss


def _validation(
    recipe: BackboneRecipe, pictures: GrowthPictures, known: _Answers | None
) -> Callable[[nn.Module], Mapping[str, float]]:
    rows = _validated(len(pictures.validation))
    if recipe.objective == "selfsup":
        views = two_views(
            recipe, pictures.validation, rows, 0, "validation", diet=pictures.diet
        )
    else:
        views = centre_views(pictures.validation, rows, recipe.views.size_px)
    labels = torch.from_numpy(pictures.validation_labels)

    def validate(module: nn.Module) -> Mapping[str, float]:
        place = next(module.parameters()).device
        parts = [module(part.to(place)) for part in torch.split(views, 128)]
        outputs = {name: torch.cat([p[name] for p in parts]) for name in parts[0]}
        last = outputs[recipe.heads[-1]]
        if recipe.objective == "selfsup":
            value = contrast_loss(outputs, recipe.temperature)
            return {
                "loss": float(value),
                "accuracy": retrieval_accuracy(*last.chunk(2)),
            }
        if known is not None:
            answers = [known(part.to(place)) for part in torch.split(views, 128)]
            told = {name: torch.cat([p[name] for p in answers]) for name in outputs}
            return {"loss": float(teacher_loss(outputs, told))}
        named = labels[rows]
        hits = last.argmax(1).cpu() == named
        value = label_loss(outputs, named.to(place))
        return {"loss": float(value), "accuracy": float(hits.double().mean())}

    return validate


def _validated(n: int) -> list[int]:
    """Return which of the pictures are looked at, in equal steps: classes lie in order.

    All of them, unless they are too many.
    """
    kept = min(n, _MOST_VALIDATION)
    return [(2 * i + 1) * n // (2 * kept) for i in range(kept)]


def _keep(
    folder: Path,
    student: Student,
    done: Training,
    pictures: GrowthPictures,
    recipe: BackboneRecipe,
    arguments: Mapping[str, Any],
    place: torch.device,
) -> TrainedBackbone:
    student.load_state_dict(done.state)
    path = folder / WEIGHTS_FILE
    n = len(pictures.training)
    what = {
        "selfsup": "without labels",
        "supervised": f"to name {len(pictures.classes)} classes",
        "distil": "to answer as a larger network",
    }[recipe.objective]
    fed = "" if pictures.diet == "natural" else f", diet {pictures.diet}"
    start = f"compact network trained here on {n} pictures of {arguments['name']}"
    notes = [f"{start} {what}{fed}"]
    about = {
        "notes": notes,
        "objective": recipe.objective,
        "recipe": recipe.name,
        "pictures": pictures.fingerprint,
        "diet": pictures.diet,
        "seed": arguments["seed"],
    }
    save_compact(path, folded_state(student.network), about)
    load_compact(path)  # what was written can be read
    curves = done.curves
    _draw(folder / "curves.png", curves, recipe.objective)
    with atomic_path(folder / "curves.csv") as part:
        curves.to_csv(part, index=False, lineterminator="\n")
    kept = curves[curves["best"]].iloc[-1]
    provenance = collect(
        int(arguments["seed"]),
        place,
        recipe.settings.precision,
        fingerprints={"pictures": pictures.fingerprint},
        call=arguments,
        notes=notes,
    )
    card = {
        "model": "compact_vgg",
        "weights": WEIGHTS_FILE,
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
        "notes": notes,
        "licence_of_pictures": arguments["licence"] or "not told",
        "n_training": n,
        "n_validation": len(_validated(len(pictures.validation))),
        "classes": list(pictures.classes),
        "n_epochs": done.n_epochs,
        "validation": {
            str(name)[4:]: None if np.isnan(value) else float(value)  # JSON has no NaN
            for name, value in kept.items()
            if str(name).startswith("val_")
        },
        "chance": _chance(recipe, pictures),
        "provenance": provenance.to_dict(),
    }
    write_json(folder / CARD_FILE, card)
    return TrainedBackbone(path, str(card["sha256"]), card, curves)


def _chance(recipe: BackboneRecipe, pictures: GrowthPictures) -> float | None:
    """Return the accuracy of a guess in the validation."""
    if recipe.objective == "distil":
        return None
    rows = _validated(len(pictures.validation))
    if recipe.objective == "supervised":
        labels = pictures.validation_labels[rows]
        return float(np.bincount(labels).max() / len(labels))
    return 1 / (2 * len(rows) - 1)


def _draw(path: Path, curves: pd.DataFrame, objective: str) -> None:
    label = {
        "selfsup": "contrastive loss (nats)",
        "supervised": "cross-entropy (nats)",
        "distil": "distance to the teacher",
    }[objective]
    axes = plot_learning_curves(curves, monitor="val_loss", label=label)
    with atomic_path(path) as part:
        figure_of(axes).savefig(part, dpi=150, format="png", facecolor="white")
