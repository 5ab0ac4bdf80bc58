"""The verbs of `neurovis run` about decisions: people and models choose."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurovis.cli_run import Device, finish, run_app, split_names
from neurovis.core.call_options import check_kinds, read_assignments


class Sizing(StrEnum):
    """How pictures come to the input of a network of 1000 classes."""

    whole = "whole"
    published = "published"
    own = "own"


Out = Annotated[Path, typer.Option(help="Folder for tables, figures, report.")]
Looking = Annotated[
    list[str] | None,
    typer.Option(
        help="[TITLE=]NETWORK[@WEIGHTS]:LAYER,...; repeatable; default is a trained "
        "network, the same untrained, and pixels."
    ),
]
WithPlaces = Annotated[
    list[str] | None,
    typer.Option(help="[TITLE=]NETWORK[@WEIGHTS]:LAYER,... with places; repeatable."),
]
Further = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another option of the experiment, NAME=VALUE."),
]
Seed = Annotated[int, typer.Option(help="Seed of all draws.")]
Resampled = Annotated[int, typer.Option(help="Resamples for limits.")]
Store = Annotated[Path | None, typer.Option(help="Keep features here, for other runs.")]


@run_app.command("recognition")
def run_recognition(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of model-vs-human [simulated observers]."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of texture-shape, for --models.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(help="[TITLE=]NETWORK[@WEIGHTS] of 1000 classes; repeatable."),
    ] = None,
    decisions: Annotated[
        list[Path] | None,
        typer.Option(help="CSV with decisions of a model; repeatable."),
    ] = None,
    experiments: Annotated[
        str, typer.Option(help="Experiments, separated by commas, or all.")
    ] = "all",
    sizing: Annotated[
        Sizing,
        typer.Option(help="whole picture, published crop, or the network's own rule."),
    ] = Sizing.whole,
    out: Out = Path("results/recognition"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Hold networks against people who name distorted and conflicting pictures."""
    from tasks.recognition import run_recognition as run

    run(
        data,
        out,
        images=images,
        models=models or (),
        experiments="all" if experiments == "all" else split_names(experiments),
        decisions=decisions or (),
        sizing=sizing.value,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
    )
    finish(out)


@run_app.command("decisions")
def run_decisions(
    trials: Annotated[
        list[Path] | None,
        typer.Option(help="Table of trials; repeatable [simulated people]."),
    ] = None,
    stimuli: Annotated[
        Path | None, typer.Option(help="Saved set that was shown.")
    ] = None,
    models: Looking = None,
    answer: Annotated[
        str | None, typer.Option(help="Column of the set with right answers.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="Columns that tell conditions apart, by commas.")
    ] = "",
    level: Annotated[
        str | None, typer.Option(help="Column of numbers for psychometric functions.")
    ] = None,
    guess: Annotated[
        float | None, typer.Option(help="Rate of right guesses [1 / answers].")
    ] = None,
    groups: Annotated[
        str | None, typer.Option(help="Column of pictures that are held out together.")
    ] = None,
    out: Out = Path("results/decisions"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Compare people and models that answer the same questions."""
    from tasks.decisions import run_decisions as run

    run(
        trials,
        out,
        stimuli=stimuli,
        models=models or (),
        answer=answer,
        by=split_names(by),
        level=level,
        guess=guess,
        groups=groups,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
    )
    finish(out)


@run_app.command("odd-one-out")
def run_odd_one_out(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of things-triplets [simulated triplets]."),
    ] = None,
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(help=".npy, .npz or .csv, one row per object; repeatable."),
    ] = None,
    spose: Annotated[
        bool, typer.Option("--spose", help="Fit an embedding to the triplets.")
    ] = False,
    align: Annotated[
        bool, typer.Option("--align", help="Fit a linear map of each embedding.")
    ] = False,
    options: Further = None,
    out: Out = Path("results/odd-one-out"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Hold embeddings against people who choose the odd one of three."""
    from tasks.odd_one_out import run_odd_one_out as run

    more = _further(run, "odd-one-out", options)
    run(
        out,
        data=data,
        embeddings=embeddings or (),
        spose=spose,
        align=align,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **more,
    )
    finish(out)


@run_app.command("level-triplets")
def run_level_triplets(
    network: Annotated[
        str | None,
        typer.Option(help="NETWORK[@WEIGHTS]:LOW,HIGH, two layers [shipped]."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of pictures [drawn ones].")
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="Table of trials of people.")
    ] = None,
    options: Further = None,
    out: Out = Path("results/level-triplets"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Set low-level against high-level similarity in triplets of pictures."""
    from tasks.level_triplets import run_level_triplets as run

    more = _further(run, "level-triplets", options)
    if network is not None:
        more["network"] = network
    run(
        out,
        pictures=pictures,
        people=people,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **more,
    )
    finish(out)


@run_app.command("mental-rotation")
def run_mental_rotation(
    models: Looking = None,
    people: Annotated[
        Path | None, typer.Option(help="Table of trials of people.")
    ] = None,
    latent: Annotated[
        str | None,
        typer.Option(help="Weights of `train latent-rotation`, or seeded:N [none]."),
    ] = None,
    readouts: Annotated[
        str, typer.Option(help="embedding, siamese, voxel, latent, ideal; or all.")
    ] = "all",
    options: Further = None,
    out: Out = Path("results/mental-rotation"),
    store: Store = None,
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Tell whether turned block figures are the same or mirrored."""
    from tasks.mental_rotation import run_mental_rotation as run

    more = _further(run, "mental-rotation", options)
    run(
        models or ["default"],
        out,
        people=people,
        latent=latent,
        readouts="all" if readouts == "all" else split_names(readouts),
        store=store,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **more,
    )
    finish(out)


@run_app.command("gestalt")
def run_gestalt(
    models: Looking = None,
    tests: Annotated[
        str, typer.Option(help="Tests of the battery, separated by commas, or all.")
    ] = "all",
    people: Annotated[
        Path | None, typer.Option(help="Table of trials of people.")
    ] = None,
    options: Further = None,
    out: Out = Path("results/gestalt"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Test perceptual organisation: illusory contours, grouping, figure and ground."""
    from tasks.gestalt import run_gestalt as run

    more = _further(run, "gestalt", options)
    run(
        out,
        models=models or "default",
        tests="all" if tests == "all" else split_names(tests),
        people=people,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **more,
    )
    finish(out)


@run_app.command("disrt")
def run_disrt(
    models: Looking = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures [drawn ones].")
    ] = None,
    distortions: Annotated[
        str, typer.Option(help="Distortions, separated by commas, or all.")
    ] = "all",
    pictures: Annotated[int, typer.Option(help="Number of pictures.")] = 16,
    options: Further = None,
    out: Out = Path("results/disrt"),
    store: Store = None,
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Find the intact picture among two whose global structure is broken."""
    from tasks.disrt import run_disrt as run

    more = _further(run, "disrt", options)
    run(
        out,
        models=models or "default",
        images=images,
        distortions="all" if distortions == "all" else split_names(distortions),
        n_pictures=pictures,
        store=store,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **more,
    )
    finish(out)


@run_app.command("letter-identification")
def run_letter_identification(
    models: Looking = None,
    tests: Annotated[str, typer.Option(help="crowding, navon.")] = "crowding,navon",
    options: Further = None,
    out: Out = Path("results/letter-identification"),
    store: Store = None,
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Read crowded letters and letters made of letters, as single ones are read."""
    from tasks.letter_identification import run_letter_identification as run

    more = _further(run, "letter-identification", options)
    run(
        out,
        models=models or "default",
        tests=split_names(tests),
        store=store,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **more,
    )
    finish(out)


@run_app.command("object-binding")
def run_object_binding(
    models: WithPlaces = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures with masks of objects [drawn scenes]."),
    ] = None,
    options: Further = None,
    out: Out = Path("results/object-binding"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Ask whether tokens tell which patches belong to one object."""
    from tasks.object_binding import run_object_binding as run

    more = _further(run, "object-binding", options)
    if models:
        more["models"] = models
    run(out, data=data, n_bootstrap=bootstrap, seed=seed, device=device, **more)
    finish(out)


@run_app.command("attentive-probing")
def run_attentive_probing(
    models: WithPlaces = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures in folders of classes [drawings]."),
    ] = None,
    options: Further = None,
    out: Out = Path("results/attentive-probing"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Compare attentive, linear and nearest-neighbour probes of frozen tokens."""
    from tasks.attentive_probing import run_attentive_probing as run

    more = _further(run, "attentive-probing", options)
    if models:
        more["models"] = models
    run(out, data=data, n_bootstrap=bootstrap, seed=seed, device=device, **more)
    finish(out)


@run_app.command("attention-heads")
def run_attention_heads(
    model: Annotated[
        str | None, typer.Option(help="timm:NAME[@WEIGHTS] [a tiny untrained one].")
    ] = None,
    masked: Annotated[
        str | None, typer.Option(help="The same, trained as a masked autoencoder.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of pictures [drawings].")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Table of the classes of the pictures.")
    ] = None,
    options: Further = None,
    out: Out = Path("results/attention-heads"),
    bootstrap: Resampled = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Tell importance, reach and pattern of every attention head of a transformer."""
    from tasks.attention_heads import run_attention_heads as run

    more = _further(run, "attention-heads", options)
    if model is not None:
        more["model"] = model
    run(
        out,
        masked=masked,
        pictures=pictures,
        labels=labels,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **more,
    )
    finish(out)


def _further(function: Any, name: str, texts: list[str] | None) -> dict[str, Any]:
    """Read further options, and check them against the experiment's function."""
    from typing import get_type_hints

    found = read_assignments(texts or [])
    filled = ("out", "models", "seed", "device", "n_bootstrap", "store", "return")
    known = {k: v for k, v in get_type_hints(function).items() if k not in filled}
    check_kinds(found, known, of=name, where="--set")
    return found
