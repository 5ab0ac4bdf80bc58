"""The command line: parse, call, print. All work is in the packages below."""

import logging
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import neurovis.cli_brain  # more commands of `run`
import neurovis.cli_encoder  # noqa: F401  more commands of `fit`
from neurovis import __version__
from neurovis.cli_data import data_app
from neurovis.cli_fit import fit_app
from neurovis.cli_run import Device, Rendering, finish, run_app, say, split_names

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
weights_app = typer.Typer(
    help="Weights of networks.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(stimuli_app, name="stimuli")
app.add_typer(run_app, name="run")
app.add_typer(fit_app, name="fit")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

EXIT_INTERRUPTED = 130


class Export(StrEnum):
    """Forms in which a set of stimuli can be written besides the plain folder."""

    psychopy = "psychopy"
    bids = "bids"


class ShelfLayout(StrEnum):
    """How objects stand on shelves."""

    grid = "grid"
    free = "free"


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
    from stimuli.search_arrays import make_search_arrays

    stimuli = make_search_arrays(
        "all" if conditions == "all" else split_names(conditions),
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
    _save_stimuli(stimuli, out, export, overwrite)


@stimuli_app.command("search-slopes")
def stimuli_search_slopes(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/search-slopes"
    ),
    tasks: Annotated[
        str,
        typer.Option(help="feature, conjunction, spatial_configuration, or all."),
    ] = "all",
    trials: Annotated[
        int, typer.Option(help="Displays per task, set size and presence.")
    ] = 40,
    set_sizes: Annotated[
        str | None, typer.Option(help="Numbers of items, separated by commas.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    px_per_deg: Annotated[float, typer.Option(help="Pixels per degree.")] = 30.0,
    equal_luminance: Annotated[
        bool, typer.Option("--equal-luminance", help="Red and green of one luminance.")
    ] = False,
    export: Annotated[
        list[Export] | None, typer.Option(help="Also write this form; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another set in the folder.")
    ] = False,
) -> None:
    """Draw feature, conjunction and 2-among-5 displays, with and without a target."""
    from stimuli.slope_arrays import SET_SIZES, make_slope_arrays

    stimuli = make_slope_arrays(
        "all" if tasks == "all" else split_names(tasks),
        set_sizes=_numbers("set_sizes", set_sizes) or SET_SIZES,
        trials=trials,
        seed=seed,
        px_per_deg=px_per_deg,
        equal_luminance=equal_luminance,
    )
    _save_stimuli(stimuli, out, export, overwrite)


@stimuli_app.command("shelves")
def stimuli_shelves(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/shelves"
    ),
    shelves: Annotated[int, typer.Option(help="Shelves.")] = 20,
    rows: Annotated[
        str, typer.Option(help="Boards: a number, or the range LOW,HIGH.")
    ] = "3,6",
    cols: Annotated[
        str, typer.Option(help="Objects on a board: a number, or LOW,HIGH.")
    ] = "7,14",
    targets: Annotated[
        int, typer.Option(help="Objects searched for on each shelf.")
    ] = 4,
    products: Annotated[
        int | None, typer.Option(help="Different products of a shelf [as needed].")
    ] = None,
    facings: Annotated[
        str, typer.Option(help="Neighbours that show one product, or LOW,HIGH.")
    ] = "1",
    layout: Annotated[
        ShelfLayout, typer.Option(help="Equal cells, or objects of varying size.")
    ] = ShelfLayout.grid,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    export: Annotated[
        list[Export] | None, typer.Option(help="Also write this form; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace another set in the folder.")
    ] = False,
) -> None:
    """Draw shelves of products, each searched for several of them in turn."""
    from stimuli.shelf_displays import make_shelves

    stimuli = make_shelves(
        shelves,
        rows=_range("rows", rows),
        cols=_range("cols", cols),
        targets_per_shelf=targets,
        n_products=products,
        facings=_range("facings", facings),
        layout=layout.value,
        seed=seed,
    )
    _save_stimuli(stimuli, out, export, overwrite)


def _save_stimuli(
    stimuli: Any, out: Path, export: list[Export] | None, overwrite: bool
) -> None:
    """Write a set in its plain form and in those asked for."""
    from stimuli.export import export_bids, export_psychopy
    from stimuli.save import save_stimuli

    save_stimuli(stimuli, out, overwrite=overwrite)
    writers: dict[Export, Callable[..., Any]] = {
        Export.psychopy: export_psychopy,
        Export.bids: export_bids,
    }
    for form in export or []:
        writers[form](stimuli, out / form.value)
    say(f"{len(stimuli)} stimuli in {out}")
    say(f"fingerprint {stimuli.fingerprint}")


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


def _range(name: str, text: str) -> int | tuple[int, int]:
    numbers = _numbers(name, text) or []
    if len(numbers) not in (1, 2):
        raise ValueError(f"`{name}` must be one number, or LOW,HIGH; got {text!r}.")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _numbers(name: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in split_names(text)]
    except ValueError:
        raise ValueError(
            f"`{name}` must be whole numbers separated by commas; got {text!r}."
        ) from None


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
) -> None:
    """Write the report of a finished run again."""
    finish(results)


@app.command()
def predict(
    model: Annotated[
        Path, typer.Option(help="Folder of one model, below `models` of a fit.")
    ],
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of pictures, with sub-folders.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="algonauts:PATH: the test pictures, and a submission."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for predictions.")] = Path(
        "results/predict"
    ),
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the network, if they were moved.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Keep features here [in the folder].")
    ] = None,
    attention: Annotated[
        bool,
        typer.Option("--attention", help="Also leave where a trained encoder looks."),
    ] = False,
    device: Device = "auto",
) -> None:
    """Predict responses to pictures by a fitted model, linear or trained."""
    from tasks.encoding_predict import predict_encoding

    predicted = predict_encoding(
        model,
        pictures,
        out,
        data=data,
        weights=weights,
        store=store,
        attention=attention,
        device=device,
    )
    say(f"{len(predicted)} pictures, {predicted.shape[1]} units: predictions in {out}")


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
        say(f"demo {each}: {(DEMOS[each].__doc__ or '').splitlines()[0]}")
        for line in DEMOS[each](out / each):
            say(line)


@weights_app.command("convert-keras")
def weights_convert_keras(
    source: Annotated[Path, typer.Argument(help="Keras VGG16 weights, .h5.")],
    destination: Annotated[Path, typer.Argument(help="New .safetensors file.")],
) -> None:
    """Convert the VGG16 weights of Keras for `--weights`."""
    from neurovis.adapters.weights import convert_keras_h5

    convert_keras_h5(source, destination)
    say(f"wrote {destination}")


@app.command()
def doctor() -> None:
    """Tell what is installed, where, and what is amiss."""
    from neurovis.core.doctor import examine

    findings = examine()
    for finding in findings:
        say(f"{'ok  ' if finding.fine else 'AMISS'} {finding.topic}: {finding.text}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def _version(show: bool) -> None:
    if show:
        say(f"neurovis {__version__}")
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


def _is_told(error: Exception) -> bool:
    # Torch reports a shortage of memory by a RuntimeError; any other is a defect.
    if not isinstance(error, RuntimeError):
        return True
    from neurovis.core.device import is_out_of_memory

    return is_out_of_memory(error)


def main() -> None:
    """Run the command line; errors become one line and an exit code above 0.

    Notes that were added to an error stand below it.
    """
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
        RuntimeError,
    ) as error:
        if "--verbose" in sys.argv or not _is_told(error):
            raise
        text = error.args[0] if isinstance(error, KeyError) else str(error)
        notes = getattr(error, "__notes__", [])
        sys.stderr.write("\n".join([f"error: {text}", *notes, ""]))
        sys.exit(1)


if __name__ == "__main__":
    main()
