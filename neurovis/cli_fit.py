"""The verbs of `neurovis fit`: one command per kind of trained model."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurovis.cli_run import Appearance, Device, TargetPosition, say, split_names

fit_app = typer.Typer(
    help="Train a model and keep it.", no_args_is_help=True, rich_markup_mode=None
)


class Size(StrEnum):
    """Architectures of OAT."""

    small = "small"
    published = "published"


class Precision(StrEnum):
    """Precision of training."""

    float32 = "float32"
    mixed = "mixed"


@fit_app.callback()
def fit() -> None:
    """Train a model and keep it."""


@fit_app.command("oat")
def fit_oat(
    out: Annotated[Path, typer.Option(help="Folder for weights, curves, card.")] = Path(
        "results/fit-oat"
    ),
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of the book covers, or the word simulated; without it, "
            "searchers of random rules."
        ),
    ] = None,
    size: Annotated[Size, typer.Option(help="Architecture.")] = Size.small,
    start: Annotated[
        str, typer.Option(help="none, shipped, or a file of weights.")
    ] = "none",
    appearance: Annotated[
        Appearance, typer.Option(help="What displays look like.")
    ] = Appearance.synthetic,
    target_position: Annotated[
        TargetPosition, typer.Option(help="Whether it is told where the target is.")
    ] = TargetPosition.none,
    fold: Annotated[
        int, typer.Option(help="Of ten folds of displays, the one left out.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(help="The most epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    mirrors: Annotated[
        str, typer.Option(help="Mirror displays at random: horizontal, vertical.")
    ] = "",
    precision: Annotated[
        Precision, typer.Option(help="mixed is for GPUs.")
    ] = Precision.float32,
    accumulate: Annotated[int, typer.Option(help="Batches per step.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    device: Device = "auto",
) -> None:
    """Train OAT, which foretells scanpaths object by object."""
    from tasks.fit_oat import WEIGHTS_FILE, fit_oat_observer
    from tasks.simulated_search import SimulatedSearch

    observer = fit_oat_observer(
        out,
        SimulatedSearch(seed=seed) if data == "simulated" else data,
        size=size.value,
        start=start,
        appearance=appearance.value,
        target_position=target_position.value,
        fold=fold,
        epochs=epochs,
        learning_rate=learning_rate,
        mirrors=split_names(mirrors),
        precision=precision.value,
        accumulate=accumulate,
        seed=seed,
        device=device,
    )
    n = sum(p.numel() for p in observer.network.parameters())
    say(f"{n} parameters, told of the target: {observer.knows}")
    say(f"weights {out / WEIGHTS_FILE}, curves {out / 'curves.png'}")
