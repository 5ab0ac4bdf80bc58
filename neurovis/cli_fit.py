"""The verbs of `neurovis fit`: one command per kind of trained model."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurovis.cli_run import (
    Appearance,
    Bootstrap,
    Device,
    FitStore,
    HeldOutPictures,
    Permutations,
    Preparation,
    Regions,
    Space,
    Subject,
    TargetPosition,
    finish,
    say,
    split_names,
)

fit_app = typer.Typer(
    help="Train a model and keep it.", no_args_is_help=True, rich_markup_mode=None
)


class Size(StrEnum):
    """Architectures of OAT."""

    small = "small"
    published = "published"


class Method(StrEnum):
    """How encoding models are fitted."""

    ridge = "ridge"
    fractional = "fractional"
    banded = "banded"
    fwrf = "fwrf"


class Search(StrEnum):
    """Which penalties are compared."""

    window = "window"
    full = "full"


class Projection(StrEnum):
    """How layers with many features are made smaller."""

    pca = "pca"
    sparse = "sparse"


class Resize(StrEnum):
    """How pictures come to the size of a network's input."""

    crop = "crop"
    squash = "squash"
    pad = "pad"
    none = "none"


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


@fit_app.command("encoding")
def fit_encoding(
    data: Annotated[
        str,
        typer.Option(
            help="NAME:PATH: nsd, algonauts, v4-images, objects-fmri or responses."
        ),
    ],
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="NETWORK[@WEIGHTS][:LAYER,LAYER...], such as "
            "timm:resnet50:layer3:gap,layer4:gap; given:NAME; file:PATH. Repeatable "
            "[compact_vgg, the network that comes with the suite]."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, models, maps, report.")
    ] = Path("results/fit-encoding"),
    method: Annotated[
        Method,
        typer.Option(
            help="banded: one model of all layers together; fwrf: receptive fields, "
            "with layers as LAYER:flat."
        ),
    ] = Method.ridge,
    subject: Subject = None,
    roi: Regions = None,
    min_ncsnr: Annotated[
        float | None, typer.Option(help="Leave out units below this ncsnr (nsd).")
    ] = None,
    space: Space = None,
    preparation: Preparation = None,
    test: HeldOutPictures = "auto",
    alphas: Annotated[
        str | None,
        typer.Option(help="Penalties, separated by commas [p/1000 to 10000 p]."),
    ] = None,
    cv: Annotated[
        str,
        typer.Option(
            help="Folds within the training pictures, loo, gcv; for fwrf also holdout, "
            "as published."
        ),
    ] = "5",
    search: Annotated[
        Search, typer.Option(help="Near the likely penalty, or all of them.")
    ] = Search.window,
    weightings: Annotated[
        int, typer.Option(help="Weightings of feature spaces to try (banded).")
    ] = 50,
    components: Annotated[
        int | None, typer.Option(help="Project layers with more features to so many.")
    ] = None,
    projection: Annotated[
        Projection, typer.Option(help="Components of training pictures, or random.")
    ] = Projection.pca,
    maps: Annotated[
        int, typer.Option(help="Most maps of each layer, by variance (fwrf).")
    ] = 512,
    sigmas: Annotated[
        int, typer.Option(help="Sizes of receptive fields to try (fwrf).")
    ] = 8,
    smallest_sigma: Annotated[
        float, typer.Option(help="Smallest of them, in sides of the picture (fwrf).")
    ] = 0.04,
    resize: Annotated[
        Resize | None, typer.Option(help="Pictures to input [the network's own rule].")
    ] = None,
    models: Annotated[bool, typer.Option(help="Keep the fitted weights.")] = True,
    store: FitStore = None,
    memory_gib: Annotated[
        float | None, typer.Option(help="Memory for preparing responses, in GiB [4].")
    ] = None,
    permutations: Permutations = 1000,
    bootstrap: Bootstrap = 1000,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Predict responses of voxels or neurons from features of pictures."""
    from tasks.encoding import fit_encoding as fit
    from tasks.feature_specs import SHIPPED_FEATURES, parse_features

    wishes = {"space": space, "preparation": preparation, "memory_gib": memory_gib}
    fit(
        data,
        [
            parse_features(text, resize=resize.value if resize else None)
            for text in features or [SHIPPED_FEATURES]
        ],
        out,
        method=method.value,
        subjects=None if subject is None else split_subjects(subject),
        regions=None if roi is None else split_names(roi),
        min_ncsnr=min_ncsnr,
        test=test,
        alphas=None if alphas is None else split_floats("alphas", alphas),
        cv=int(cv) if cv.isdecimal() else cv,
        search=search.value,
        n_iter=weightings,
        n_components=components,
        projection=projection.value,
        n_maps=maps,
        n_sigmas=sigmas,
        smallest_sigma=smallest_sigma,
        keep_models=models,
        store=store,
        n_permutations=permutations,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **{name: value for name, value in wishes.items() if value is not None},
    )
    finish(out)


def split_subjects(text: str) -> list[str | int]:
    """Return subjects that are separated by commas.

    Parameters
    ----------
    text : str
        What came from the command line.

    Returns
    -------
    list of str or int
        Names, or numbers.

    Examples
    --------
    >>> split_subjects("1, subj02")
    [1, 'subj02']
    """
    return [int(name) if name.isdecimal() else name for name in split_names(text)]


def split_floats(name: str, text: str) -> list[float]:
    """Return numbers that are separated by commas.

    Parameters
    ----------
    name : str
        Option, for the message.
    text : str
        What came from the command line.

    Returns
    -------
    list of float
        Numbers.

    Raises
    ------
    ValueError
        If one is none.
    """
    try:
        return [float(part) for part in split_names(text)]
    except ValueError:
        raise ValueError(
            f"`{name}` must be numbers separated by commas; got {text!r}."
        ) from None
