"""The command line: parse, call, print. All work is in the packages below."""

import logging
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurovis import __version__

app = typer.Typer(
    help="Models as observers: human vision experiments, encoding models, stimuli.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
stimuli_app = typer.Typer(
    help="Make stimulus sets.", no_args_is_help=True, rich_markup_mode=None
)
run_app = typer.Typer(
    help="Run an experiment.", no_args_is_help=True, rich_markup_mode=None
)
data_app = typer.Typer(
    help="Human and brain data.", no_args_is_help=True, rich_markup_mode=None
)
weights_app = typer.Typer(
    help="Weights of networks.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(stimuli_app, name="stimuli")
app.add_typer(run_app, name="run")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

EXIT_INTERRUPTED = 130


class Export(StrEnum):
    """Forms in which a set of stimuli can be written besides the plain folder."""

    psychopy = "psychopy"
    bids = "bids"


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


def _say(text: str) -> None:
    typer.echo(text)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@stimuli_app.command("search-asymmetry")
def stimuli_search_asymmetry(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/search-asymmetry"
    ),
    conditions: Annotated[
        str, typer.Option(help="Conditions, separated by commas, or all.")
    ] = "all",
    trials: Annotated[
        int | None, typer.Option(help="Trials per set size [published number].")
    ] = None,
    set_sizes: Annotated[
        str | None, typer.Option(help="Numbers of items, separated by commas.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    rendering: Annotated[
        Rendering, typer.Option(help="As published, or anti-aliased.")
    ] = Rendering.published,
    jpeg: Annotated[
        bool, typer.Option(help="Pass pictures through JPEG, as published.")
    ] = False,
    px_per_deg: Annotated[
        float, typer.Option(help="Pixels per degree (smooth rendering).")
    ] = 30.0,
    item_deg: Annotated[
        float | None, typer.Option(help="Side of an item in degrees (smooth).")
    ] = None,
    eccentricity_deg: Annotated[
        float | None, typer.Option(help="Items on a ring of this radius (smooth).")
    ] = None,
    jitter_deg: Annotated[
        float | None, typer.Option(help="Random shift of items in degrees.")
    ] = None,
    foreground: Annotated[
        str | None, typer.Option(help="Grey level 0..255 or #rrggbb (smooth).")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="Grey level 0..255 or #rrggbb (smooth).")
    ] = None,
    export: Annotated[
        list[Export] | None, typer.Option(help="Also write this form; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another set in the folder.")
    ] = False,
) -> None:
    """Draw the six search-asymmetry paradigms, or variants of them."""
    from stimuli.export import export_bids, export_psychopy
    from stimuli.save import save_stimuli
    from stimuli.search_arrays import make_search_arrays

    stimuli = make_search_arrays(
        "all" if conditions == "all" else _split(conditions),
        set_sizes=_numbers("set_sizes", set_sizes),
        trials=trials,
        seed=seed,
        rendering=rendering.value,
        jpeg=jpeg,
        px_per_deg=px_per_deg,
        item_deg=item_deg,
        eccentricity_deg=eccentricity_deg,
        jitter_deg=jitter_deg,
        foreground=_colour("foreground", foreground),
        background=_colour("background", background),
    )
    save_stimuli(stimuli, out, overwrite=overwrite)
    writers: dict[Export, Callable[..., Any]] = {
        Export.psychopy: export_psychopy,
        Export.bids: export_bids,
    }
    for form in export or []:
        writers[form](stimuli, out / form.value)
    _say(f"{len(stimuli)} stimuli in {out}")
    _say(f"fingerprint {stimuli.fingerprint}")


def _colour(name: str, text: str | None) -> int | tuple[int, int, int] | None:
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))
    except ValueError:
        raise ValueError(
            f"`{name}` must be a grey level 0..255 or #rrggbb; got {text!r}."
        ) from None
    return red, green, blue


def _numbers(name: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in _split(text)]
    except ValueError:
        raise ValueError(
            f"`{name}` must be whole numbers separated by commas; got {text!r}."
        ) from None


Models = Annotated[
    str | None, typer.Option(help="Observers, separated by commas [see the manual].")
]
Config = Annotated[Path | None, typer.Option(help="TOML file with the same options.")]
Weights = Annotated[
    str | None,
    typer.Option(help="Weights of networks: seeded:N, imagenet-caffe, a file ..."),
]
Backbone = Annotated[
    str | None, typer.Option(help="vgg16, squeezenet1_0 or darknet_tiny.")
]
Preprocessing = Annotated[
    str | None, typer.Option(help="Pixels of a VGG16 file with torchvision names.")
]
Seed = Annotated[int | None, typer.Option(help="Seed [0].")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]


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
    _finish(out)


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
    _finish(out)


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
    _finish(out)


@run_app.command("free-viewing")
def run_free_viewing(
    data: Annotated[Path, typer.Option(help="Folder of OSIE with its pictures.")],
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
        _split(models),
        data,
        out,
        images=int(str(images)) if is_number else images,
        optional_metrics=_split(extra),
        seed=seed,
    )
    _finish(out)


@run_app.command("object-search")
def run_object_search(
    data: Annotated[Path, typer.Option(help="Folder of the book covers.")],
    out: Annotated[
        Path, typer.Option(help="Folder for tables, figures, report.")
    ] = _out("object-search"),
    models: Annotated[
        str | None, typer.Option(help="Heuristics, separated by commas [all].")
    ] = None,
    folds: Annotated[
        Folds, typer.Option(help="What is left out in turn.")
    ] = Folds.fold10,
    samples: Annotated[
        int, typer.Option(help="Scanpaths per display of models that draw.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
) -> None:
    """Compare heuristics with people who search shelves of objects."""
    from tasks.object_search import MODELS
    from tasks.object_search import run_object_search as run

    run(
        data,
        out,
        models=MODELS if models is None else _split(models),
        folds=folds.value,
        n_samples=samples,
        seed=seed,
    )
    _finish(out)


def _run_options(task: str, config: Path | None, **flags: Any) -> dict[str, Any]:
    """Merge a TOML file and flags, and ask for data where an experiment needs them."""
    from tasks.run_config import run_options

    options = run_options(task, config, **flags)
    if "data" in flags and "data" not in options:
        raise ValueError(
            f"`--data` is needed: the folder with the data of {task}. See `neurovis "
            "data list` for where they come from."
        )
    return options


def _finish(folder: Path) -> None:
    from tasks.reports import finish_run

    for line in finish_run(folder):
        _say(line)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
) -> None:
    """Write the report of a finished run again."""
    _finish(results)


@app.command()
def demo(
    name: Annotated[
        str, typer.Argument(help="Which capability; all by default.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path(
        "results/demo"
    ),
) -> None:
    """Run embedded defaults of every capability, offline, in minutes."""
    from neurovis.core.checks import check_option
    from tasks.demo import DEMOS

    check_option("name", name, ("all", *DEMOS))
    for each in DEMOS if name == "all" else [name]:
        _say(f"demo {each}: {(DEMOS[each].__doc__ or '').splitlines()[0]}")
        for line in DEMOS[each](out / each):
            _say(line)


@data_app.command("list")
def data_list() -> None:
    """List the data sets that the suite can read, and what ships with it."""
    from data_loaders.sources import SOURCES, describe_source

    for source in SOURCES.values():
        for line in describe_source(source):
            _say(line)


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="Data set, see `neurovis data list`.")],
    folder: Annotated[Path, typer.Argument(help="Where its files lie.")],
) -> None:
    """Check a local folder of a data set and print counts."""
    from data_loaders.sources import check_source

    for line in check_source(name, folder):
        _say(line)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Data set, see `neurovis data list`.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder for its files [data/NAME].")
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the terms of its files.")
    ] = False,
) -> None:
    """Download a data set, verified; what is there already is left as it is."""
    from data_loaders.sources import fetch_source

    folder = Path("data") / name if to is None else to
    for line in fetch_source(name, folder, accept_terms=accept_terms):
        _say(line)


@weights_app.command("convert-keras")
def weights_convert_keras(
    source: Annotated[Path, typer.Argument(help="Keras VGG16 weights, .h5.")],
    destination: Annotated[Path, typer.Argument(help="New .safetensors file.")],
) -> None:
    """Convert the VGG16 weights of Keras for `--weights`."""
    from neurovis.adapters.weights import convert_keras_h5

    convert_keras_h5(source, destination)
    _say(f"wrote {destination}")


@app.command()
def doctor() -> None:
    """Tell what is installed, where, and what is amiss."""
    from neurovis.core.doctor import examine

    findings = examine()
    for finding in findings:
        _say(f"{'ok  ' if finding.fine else 'AMISS'} {finding.topic}: {finding.text}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def _version(show: bool) -> None:
    if show:
        _say(f"neurovis {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Version."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log what is done; full tracebacks.")
    ] = False,
) -> None:
    """Set up logging."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """Run the command line; errors become one line and an exit code above 0."""
    try:
        app()
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code
            sys.stderr.write(
                "interrupted: run the same command again to resume where it stopped\n"
            )
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        OSError,
        ImportError,
        MemoryError,
    ) as error:
        if "--verbose" in sys.argv:
            raise
        text = error.args[0] if isinstance(error, KeyError) else str(error)
        sys.stderr.write(f"error: {text}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
