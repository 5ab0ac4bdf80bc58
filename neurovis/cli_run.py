"""The verbs of `neurovis run`: one command per experiment."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

run_app = typer.Typer(
    help="Run an experiment.", no_args_is_help=True, rich_markup_mode=None
)


class Rendering(StrEnum):
    """How search displays are drawn."""

    published = "published"
    smooth = "smooth"


class Layout(StrEnum):
    """Folders of natural scenes that are known."""

    auto = "auto"
    interiors = "interiors"
    kreimanlab = "kreimanlab"


class Quitting(StrEnum):
    """When a model ends a search in vain."""

    both = "both"
    exhaustive = "exhaustive"
    matched_misses = "matched_misses"


class Folds(StrEnum):
    """What the people of an object search are left out by."""

    fold10 = "fold10"
    fold_target = "fold_target"
    observer = "observer"
    trial = "trial"
    published = "published"


class Appearance(StrEnum):
    """What displays of objects look like."""

    none = "none"
    synthetic = "synthetic"


class TargetPosition(StrEnum):
    """Whether a model of object search is told where the target is."""

    none = "none"
    true = "true"


def say(text: str) -> None:
    """Print one line; signs that the terminal has not are printed as escapes.

    Parameters
    ----------
    text : str
        The line.
    """
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def split_names(text: str) -> list[str]:
    """Return names that are separated by commas.

    Parameters
    ----------
    text : str
        What came from the command line.

    Returns
    -------
    list of str
        Names without blanks; empty ones are left out.

    Examples
    --------
    >>> split_names("eccnet, chance,")
    ['eccnet', 'chance']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


Models = Annotated[
    str | None, typer.Option(help="Observers, separated by commas [see the manual].")
]
Config = Annotated[Path | None, typer.Option(help="TOML file with the same options.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Weights of networks: shipped, seeded:N, imagenet-caffe, a file ... "
        "[the network that comes with the suite]."
    ),
]
Backbone = Annotated[
    str | None, typer.Option(help="compact_vgg, vgg16, squeezenet1_0, darknet_tiny.")
]
Preprocessing = Annotated[
    str | None, typer.Option(help="Pixels of a VGG16 file with torchvision names.")
]
Seed = Annotated[int | None, typer.Option(help="Seed [0].")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Subject = Annotated[
    str | None, typer.Option(help="Subjects, separated by commas [all].")
]
Regions = Annotated[
    str | None, typer.Option(help="Regions, separated by commas [all units].")
]
Space = Annotated[
    str | None, typer.Option(help="Space of nsd: func1pt8mm, fsaverage, ...")
]
Preparation = Annotated[
    str | None, typer.Option(help="Preparation of nsd: b1, b2, b3.")
]
HeldOutPictures = Annotated[
    str,
    typer.Option(
        help="Held out: shared, shared-515, every-5, folds-5, leave-one-out; auto "
        "is what the data come with."
    ),
]
FitStore = Annotated[
    Path | None,
    typer.Option(help="Keep features and prepared responses here, for other fits."),
]
Permutations = Annotated[
    int, typer.Option(help="Permutations of pictures, for chance.")
]
Bootstrap = Annotated[int, typer.Option(help="Samples of pictures, for limits.")]


def _out(name: str) -> Path:
    return Path("results") / name


@run_app.command("search-asymmetry")
def run_search_asymmetry(
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = _out("search-asymmetry"),
    models: Models = None,
    config: Config = None,
    weights: Weights = None,
    backbone: Backbone = None,
    preprocessing: Preprocessing = None,
    conditions: Annotated[
        str | None, typer.Option(help="Conditions, separated by commas [all].")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials per set size [published number].")
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    rendering: Annotated[
        Rendering | None, typer.Option(help="How displays are drawn [published].")
    ] = None,
    jpeg: Annotated[
        bool | None, typer.Option("--jpeg/--no-jpeg", help="JPEG, as published [no].")
    ] = None,
    stimuli: Annotated[
        Path | None, typer.Option(help="Folder of saved displays to use instead.")
    ] = None,
) -> None:
    """Compare models with people in six search-asymmetry experiments."""
    from tasks.search_asymmetry import run_search_asymmetry as run

    options = _run_options(
        "search-asymmetry",
        config,
        models=models,
        weights=weights,
        backbone=backbone,
        preprocessing=preprocessing,
        conditions=conditions,
        trials=trials,
        seed=seed,
        rendering=rendering.value if rendering else None,
        jpeg=jpeg,
        stimuli=str(stimuli) if stimuli else None,
    )
    run(out=out, device=device, **options)
    finish(out)


@run_app.command("search-natural")
def run_search_natural(
    data: Annotated[
        Path | None, typer.Option(help="Folder of pictures and people.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = _out("search-natural"),
    models: Models = None,
    config: Config = None,
    weights: Weights = None,
    backbone: Backbone = None,
    preprocessing: Preprocessing = None,
    layout: Annotated[
        Layout | None, typer.Option(help="What kind of folder it is [auto].")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name of the set in the kreimanlab layout.")
    ] = None,
    displays: Annotated[
        int | None, typer.Option(help="So many displays, spread evenly [all].")
    ] = None,
    max_saccades: Annotated[
        int | None, typer.Option(help="Most saccades of a search [12 or published].")
    ] = None,
    px_per_deg: Annotated[
        float | None, typer.Option(help="Pixels of the screen per degree.")
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
) -> None:
    """Compare models with people who search natural scenes."""
    from tasks.search_natural import run_search_natural as run

    options = _run_options(
        "search-natural",
        config,
        models=models,
        weights=weights,
        backbone=backbone,
        preprocessing=preprocessing,
        data=str(data) if data else None,
        layout=layout.value if layout else None,
        dataset=dataset,
        displays=displays,
        max_saccades=max_saccades,
        px_per_deg=px_per_deg,
        seed=seed,
    )
    run(out=out, device=device, **options)
    finish(out)


@run_app.command("search-slopes")
def run_search_slopes(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the trials of people.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = _out("search-slopes"),
    models: Models = None,
    config: Config = None,
    weights: Weights = None,
    backbone: Backbone = None,
    preprocessing: Preprocessing = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="feature, conjunction, spatial_configuration [all]."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Displays per task, set size, presence [20].")
    ] = None,
    quitting: Annotated[
        Quitting | None, typer.Option(help="When models answer absent [both].")
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
) -> None:
    """Compare models with people in feature, conjunction and 2-among-5 search."""
    from tasks.search_slopes import run_search_slopes as run

    options = _run_options(
        "search-slopes",
        config,
        models=models,
        weights=weights,
        backbone=backbone,
        preprocessing=preprocessing,
        data=str(data) if data else None,
        tasks=tasks,
        trials=trials,
        quitting=quitting.value if quitting else None,
        seed=seed,
    )
    run(out=out, device=device, **options)
    finish(out)


@run_app.command("free-viewing")
def run_free_viewing(
    data: Annotated[
        Path | None, typer.Option(help="Folder of OSIE with its pictures.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = _out("free-viewing"),
    models: Annotated[
        str, typer.Option(help="Saliency models, separated by commas.")
    ] = "saliency,spectral-residual,centre",
    images: Annotated[
        str | None, typer.Option(help="So many pictures, or test70 [all].")
    ] = None,
    extra: Annotated[
        str, typer.Option(help="Further measures: auc_judd, auc_borji.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
) -> None:
    """Compare saliency maps with the fixations of people who look at pictures."""
    from tasks.free_viewing import run_free_viewing as run

    is_number = images is not None and images.isdecimal()
    run(
        split_names(models),
        needed("free-viewing", data),
        out,
        images=int(str(images)) if is_number else images,
        optional_metrics=split_names(extra),
        seed=seed,
    )
    finish(out)


@run_app.command("object-search")
def run_object_search(
    data: Annotated[
        str | None,
        typer.Option(help="Folder of the book covers, or the word simulated."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = _out("object-search"),
    models: Annotated[
        str,
        typer.Option(
            help="Separated by commas: baselines, single heuristics, oat, oat-small, "
            "oat-tuned, oat-shipped; add -greedy to an oat for its likeliest path."
        ),
    ] = "baselines",
    folds: Annotated[
        Folds,
        typer.Option(help="What is left out in turn; trial and published LEAK."),
    ] = Folds.fold10,
    splits: Annotated[
        int | None, typer.Option(help="Use the first so many splits only.")
    ] = None,
    appearance: Annotated[
        Appearance, typer.Option(help="What displays look like, for OAT.")
    ] = Appearance.none,
    target_position: Annotated[
        TargetPosition, typer.Option(help="Whether OAT is told where the target is.")
    ] = TargetPosition.none,
    samples: Annotated[
        int, typer.Option(help="Scanpaths per display of models that draw.")
    ] = 10,
    epochs: Annotated[
        int | None, typer.Option(help="The most epochs of training.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Compare OAT and heuristics with people who search shelves of objects."""
    from tasks.object_search import run_object_search as run
    from tasks.simulated_search import SimulatedSearch

    source = needed("object-search", data)
    run(
        SimulatedSearch(seed=seed) if source == "simulated" else source,
        out,
        models=split_names(models),
        folds=folds.value,
        n_splits=splits,
        appearance=appearance.value,
        target_position=target_position.value,
        n_samples=samples,
        epochs=epochs,
        seed=seed,
        device=device,
    )
    finish(out)


def _run_options(task: str, config: Path | None, **flags: Any) -> dict[str, Any]:
    """Merge a TOML file and flags, and ask for data where an experiment needs them."""
    from tasks.run_config import run_options

    options = run_options(task, config, **flags)
    if "data" in flags:
        needed(task, options.get("data"))
    return options


def needed(task: str, data: Path | str | None) -> Path | str:
    """Return `data`, or say that it is needed.

    Parameters
    ----------
    task : str
        Name of the experiment.
    data : Path or str or None
        What came from the command line.

    Returns
    -------
    Path or str
        `data`.

    Raises
    ------
    ValueError
        If there is none.
    """
    if data is None:
        raise ValueError(
            f"`--data` is needed: the folder with the data of {task}. See `neurovis "
            "data list` for where they come from."
        )
    return data


def finish(folder: Path) -> None:
    """Write the report of a run and print its main figures.

    Parameters
    ----------
    folder : Path
        Folder of a finished run.
    """
    from tasks.reports import finish_run

    for line in finish_run(folder):
        say(line)
