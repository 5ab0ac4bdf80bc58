"""Networks that grow up here: `neurovis train`, and what becomes of them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurovis.cli_run import Device, Seed, finish, run_app, say, split_names

train_app = typer.Typer(
    help="Train a network on pictures.", no_args_is_help=True, rich_markup_mode=None
)


class Objective(StrEnum):
    """What a network learns."""

    selfsup = "selfsup"
    supervised = "supervised"
    distil = "distil"


class Diet(StrEnum):
    """What is done to the pictures of a training."""

    natural = "natural"
    rotated_90 = "rotated-90"
    upside_down = "upside-down"
    fisheye = "fisheye"
    lines = "lines"
    phase_scrambled = "phase-scrambled"


Mirror = Annotated[bool, typer.Option(help="Mirror half of the views left to right.")]
PicturesName = Annotated[
    str, typer.Option(help="What the pictures are called [name of the folder].")
]
Licence = Annotated[str, typer.Option(help="Terms of the pictures, for the card.")]


@train_app.callback()
def train() -> None:
    """Train a network on pictures."""


@train_app.command("backbone")
def train_backbone_command(
    images: Annotated[
        Path,
        typer.Option(help="Folder of pictures; of classes for supervised, or a zip."),
    ],
    objective: Annotated[
        Objective,
        typer.Option(help="Tell views apart, name classes, or answer as a teacher."),
    ] = Objective.selfsup,
    diet: Annotated[
        Diet, typer.Option(help="What is done to the pictures.")
    ] = Diet.natural,
    teacher: Annotated[
        str | None,
        typer.Option(help="For distil: NETWORK[@WEIGHTS]:LAYER,LAYER,LAYER."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs [those of the recipe].")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures per batch [128].")
    ] = None,
    widths: Annotated[
        str, typer.Option(help="Channels of the five stages [24,48,96,128,192].")
    ] = "",
    precision: Annotated[
        str, typer.Option(help="bfloat16, float32 or mixed [bfloat16].")
    ] = "",
    mirror: Mirror = True,
    name: PicturesName = "",
    licence: Licence = "",
    out: Annotated[Path, typer.Option(help="Folder for weights, curves, card.")] = Path(
        "results/backbone"
    ),
    seed: Annotated[int, typer.Option(help="Seed of initial weights and views.")] = 0,
    device: Device = "auto",
) -> None:
    """Train the compact backbone."""
    from dataclasses import replace

    from tasks.backbone_recipe import compact_recipe
    from tasks.backbone_training import parse_teacher, train_backbone

    recipe = compact_recipe(objective.value)
    if epochs is not None:
        recipe = recipe.shortened(epochs)
    if not mirror:
        recipe = recipe.without_mirrors()
    if batch_size is not None:
        recipe = replace(recipe, batch_size=batch_size, name="own")
    if widths:
        numbers = split_names(widths)
        if not all(number.isdecimal() for number in numbers):
            raise ValueError(
                f"`widths` must be five whole numbers such as 24,48,96,128,192; got "
                f"{widths!r}."
            )
        recipe = replace(recipe, widths=tuple(map(int, numbers)), name="own")
    if precision:
        settings = replace(recipe.settings, precision=precision)
        recipe = replace(recipe, settings=settings, name="own")
    trained = train_backbone(
        images,
        out,
        recipe=recipe,
        diet=diet.value,
        teacher=None if teacher is None else parse_teacher(teacher),
        name=name,
        licence=licence,
        seed=seed,
        device=device,
    )
    found = trained.card["validation"]
    told = ", ".join(
        f"{name} {'undefined' if value is None else format(value, '.3f')}"
        for name, value in found.items()
    )
    say(f"validation: {told}")
    say(f"{trained.weights} ({trained.card['bytes'] / 1e6:.1f} MB)")


@run_app.command("probes")
def run_probes(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="[GROUP=]NETWORK[@WEIGHTS][:LAYER,...], repeatable; the first group "
            "is compared with the others [the shipped network, untrained ones]."
        ),
    ] = None,
    labelled: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATH of pictures with classes, for linear probes."),
    ] = None,
    rdms: Annotated[
        str | None, typer.Option(help="objects92:PATH or net2brain78:PATH, for RSA.")
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(help="v4-images:PATH ..., for encoding models. Repeatable."),
    ] = None,
    tuning: Annotated[bool, typer.Option(help="Tuning of units to gratings.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, report.")] = (
        Path("results/probes")
    ),
    pictures: Annotated[
        int | None, typer.Option(help="At most so many per class and part [all].")
    ] = None,
    rsa_stimuli: Annotated[
        int | None, typer.Option(help="For RSA of units take so many stimuli [all].")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples for intervals.")] = 1000,
    store: Annotated[
        Path | None, typer.Option(help="Keep features here [in the folder].")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Compare what is in a network with what was there before its training."""
    from tasks.probes import SHIPPED_MODELS
    from tasks.probes import run_probes as run

    run(
        model or SHIPPED_MODELS,
        out,
        labelled=dict(_named("labelled", text) for text in labelled or ()),
        rdms=rdms,
        units=units or (),
        tuning=tuning,
        n_per_class=pictures,
        stimuli=rsa_stimuli,
        n_bootstrap=bootstrap,
        store=store,
        seed=seed or 0,
        device=device,
    )
    finish(out)


@run_app.command("diet")
def run_diet(
    images: Annotated[Path, typer.Option(help="Folder of pictures to grow up with.")],
    diets: Annotated[str, typer.Option(help="Separated by commas [all six].")] = "",
    seeds: Annotated[int, typer.Option(help="Networks per diet.")] = 3,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of each training [those of the recipe].")
    ] = None,
    trials: Annotated[int, typer.Option(help="Trials per set size.")] = 10,
    networks: Annotated[
        Path | None, typer.Option(help="Folder of the networks [in the folder].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, report.")] = (
        Path("results/diet")
    ),
    mirror: Mirror = False,
    name: PicturesName = "",
    licence: Licence = "",
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Say that a program made the pictures.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="Resamples for intervals.")] = 2000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train a network on several diets and compare their search asymmetries."""
    from stimuli.diets import DIETS
    from tasks.diet import run_diet as run
    from tasks.diet_networks import diet_recipe

    recipe = diet_recipe(mirrors=mirror)
    if epochs is not None:
        recipe = recipe.shortened(epochs)
    run(
        images,
        out,
        diets=split_names(diets) or DIETS,
        n_seeds=seeds,
        recipe=recipe,
        trials=trials,
        training_folder=networks,
        name=name,
        licence=licence,
        synthetic=synthetic,
        n_bootstrap=bootstrap,
        seed=seed or 0,
        device=device,
    )
    finish(out)


def _named(option: str, text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ValueError(f"`{option}` must be NAME=PATH; got {text!r}.")
    return name, path


class RotationRecipe(StrEnum):
    """How a network of latent rotation is trained."""

    small = "small"
    published = "published"


@train_app.command("latent-rotation")
def train_latent_rotation_command(
    recipe: Annotated[
        RotationRecipe,
        typer.Option(help="small takes minutes; published needs an accelerator."),
    ] = RotationRecipe.small,
    objects: Annotated[
        int | None, typer.Option(help="Block figures to train on [of the recipe].")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over all views [of the recipe].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for weights and card.")] = Path(
        "results/latent-rotation"
    ),
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    device: Device = "auto",
) -> None:
    """Train a network whose latent volume turns as the object does."""
    from tasks.latent_rotation_training import (
        PUBLISHED_RECIPE,
        SMALL_RECIPE,
        train_latent_rotation,
    )

    small = recipe is RotationRecipe.small
    chosen = SMALL_RECIPE if small else PUBLISHED_RECIPE
    if objects is not None or epochs is not None:
        chosen = chosen.shortened(objects, epochs)
    trained = train_latent_rotation(out, recipe=chosen, seed=seed, device=device)
    for part, errors in trained.card["squared_error"].items():
        told = ", ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in errors.items())
        say(f"squared error of pixels, new {part}: {told}")
    say(f"{trained.weights}")
