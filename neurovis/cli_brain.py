"""The verbs of `neurovis run` about models of brains."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurovis.cli_run import Device, Subject, finish, needed, run_app, split_names


class Resize(StrEnum):
    """How pictures come to the size of the input of a network."""

    squash = "squash"
    crop = "crop"
    pad = "pad"
    own = "own"


Features = Annotated[
    list[str] | None,
    typer.Option(
        help="NETWORK[@WEIGHTS][:LAYER,...], given:NAME or file:PATH; repeatable "
        "[untrained networks and baselines]."
    ),
]
Resampled = Annotated[int, typer.Option(help="Resamples for limits and differences.")]
Permuted = Annotated[int, typer.Option(help="Exchanges of stimuli for chance.")]
Squash = Annotated[
    Resize,
    typer.Option(
        help="How pictures come to a network's size: squash keeps all of them, own is "
        "the network's rule."
    ),
]
Regions = Annotated[
    str | None, typer.Option(help="Regions of units, separated by commas [all].")
]
Sources = Annotated[
    list[str] | None,
    typer.Option(help="Published matrices, such as 'human IT'; repeatable [all]."),
]


@run_app.command("rsa")
def run_rsa(
    data: Annotated[
        str | None,
        typer.Option(help="NAME:PATH, such as objects92:PATH or v4-images:PATH."),
    ] = None,
    features: Features = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = Path("results/rsa"),
    measure: Annotated[
        str,
        typer.Option(
            help="correlation, cosine, euclidean, squared_euclidean or crossnobis."
        ),
    ] = "correlation",
    compare: Annotated[
        str,
        typer.Option(
            help="spearman, pearson, kendall_tau_a, rho_a, cosine, whitened_cosine or "
            "whitened_pearson."
        ),
    ] = "spearman",
    source: Sources = None,
    roi: Regions = None,
    subject: Subject = None,
    stimuli: Annotated[
        int | None, typer.Option(help="So many stimuli, spread evenly [all].")
    ] = None,
    resize: Squash = Resize.squash,
    bootstrap: Resampled = 1000,
    permutations: Permuted = 1000,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Compare the dissimilarities of layers with those of brain regions."""
    from tasks.brain_ranking import DEFAULT_FEATURES
    from tasks.rsa import run_rsa as run

    run(
        str(needed("rsa", data)),
        features or DEFAULT_FEATURES,
        out,
        measure=measure,
        compare=compare,
        source=source or None,
        regions=split_names(roi) if roi else None,
        subjects=split_names(subject) if subject else None,
        stimuli=stimuli,
        resize=None if resize is Resize.own else resize.value,
        n_bootstrap=bootstrap,
        n_permutations=permutations,
        seed=seed,
        device=device,
    )
    finish(out)


@run_app.command("brain-ranking")
def run_brain_ranking(
    data: Annotated[
        list[str] | None,
        typer.Option(help="NAME:PATH, such as v4-images:PATH; repeatable."),
    ] = None,
    features: Features = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = Path("results/brain-ranking"),
    source: Sources = None,
    roi: Regions = None,
    stimuli: Annotated[
        int | None, typer.Option(help="For RSA, so many stimuli [all].")
    ] = None,
    resize: Squash = Resize.squash,
    bootstrap: Resampled = 1000,
    permutations: Permuted = 1000,
    store: Annotated[
        Path | None, typer.Option(help="Folder for features of several runs.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Rank models on brain data by encoding models and RSA, in one report."""
    from tasks.brain_ranking import run_brain_ranking as run

    needed("brain-ranking", data[0] if data else None)
    run(
        data or [],
        features,
        out,
        source=source or None,
        regions=split_names(roi) if roi else None,
        stimuli=stimuli,
        resize=None if resize is Resize.own else resize.value,
        n_bootstrap=bootstrap,
        n_permutations=permutations,
        store=store,
        seed=seed,
        device=device,
    )
    finish(out)


@run_app.command("localiser")
def run_localiser(
    model: Annotated[
        list[Path],
        typer.Option(
            help="Folder of a fitted model, or of a finished fit (each model, with "
            "the layer that was chosen over all units); repeatable."
        ),
    ],
    pictures: Annotated[
        Path,
        typer.Option(help="Folder with stimuli.csv and pictures, such as fLoc."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = Path("results/localiser"),
    contrast: Annotated[
        str | None,
        typer.Option(help="Domains and categories, separated by commas [all]."),
    ] = None,
    exclude: Annotated[
        str, typer.Option(help="Domains and categories that are not shown.")
    ] = "scrambled",
    split_half: Annotated[
        bool,
        typer.Option(
            "--split-half/--no-split-half", help="Compare halves of the pictures."
        ),
    ] = True,
    permutations: Annotated[
        int, typer.Option(help="Permutations of the pictures, for chance.")
    ] = 200,
    bootstrap: Annotated[int, typer.Option(help="Resamples of units.")] = 1000,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the network, if they were moved.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Keep features here [in the folder].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Ask which categories of pictures the units of fitted models prefer."""
    from tasks.localiser import run_localiser as run

    run(
        model,
        pictures,
        out,
        contrast=split_names(contrast) if contrast else None,
        exclude=split_names(exclude),
        split_half=split_half,
        n_permutations=permutations,
        n_bootstrap=bootstrap,
        weights=weights,
        store=store,
        seed=seed,
        device=device,
    )
    finish(out)
