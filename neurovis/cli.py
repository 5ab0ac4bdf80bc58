"""The command line: parse, call, print. All work is in the packages below."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

import neurovis.cli_brain  # more commands of `run`
import neurovis.cli_decisions  # more commands of `run`
import neurovis.cli_encoder  # more commands of `fit`
import neurovis.cli_foveation  # more commands of `run` and `stimuli`
import neurovis.cli_metamers  # noqa: F401  more commands of `run` and `stimuli`
from neurovis import __version__
from neurovis.cli_captions import bank_app
from neurovis.cli_data import data_app
from neurovis.cli_fit import fit_app
from neurovis.cli_generate import generate_app
from neurovis.cli_people import export_app, import_app
from neurovis.cli_run import Device, run_app, say
from neurovis.cli_stimuli import stimuli_app
from neurovis.cli_sweep import sweep_app
from neurovis.cli_train import train_app

app = typer.Typer(
    help="Models as observers: human vision experiments, encoding models, stimuli.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
weights_app = typer.Typer(
    help="Weights of networks.", no_args_is_help=True, rich_markup_mode=None
)
stimuli_app.add_typer(export_app, name="export")
data_app.add_typer(import_app, name="import")
app.add_typer(stimuli_app, name="stimuli")
app.add_typer(run_app, name="run")
app.add_typer(sweep_app, name="sweep")
app.add_typer(fit_app, name="fit")
app.add_typer(train_app, name="train")
app.add_typer(generate_app, name="generate")
app.add_typer(bank_app, name="bank")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

EXIT_INTERRUPTED = 130


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="Folders of finished runs, or of sweeps."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the leaderboard of several runs.")
    ] = Path("results/leaderboard"),
    varying: Annotated[
        list[str] | None,
        typer.Option(
            help="Option that may differ between runs: each of its values is a model "
            "of its own. Repeatable."
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Write the leaderboard as .csv too.")
    ] = False,
) -> None:
    """Write the report of a finished run again, or merge runs into a leaderboard."""
    from tasks.leaderboard_report import report_results

    for line in report_results(results, out, varying=varying or (), csv=csv):
        say(line)


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
        str,
        typer.Argument(
            help="search, scanpaths, encoding, foveation (all by default), or "
            "braindive, brainscuba, which need neurovis[generate]."
        ),
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path(
        "results/demo"
    ),
) -> None:
    """Run embedded defaults of every capability, offline, in minutes."""
    from neurovis.core.checks import check_option
    from tasks.demo import DEMOS, FURTHER_DEMOS

    known = {**DEMOS, **FURTHER_DEMOS}
    check_option("name", name, ("all", *known))
    for each in DEMOS if name == "all" else [name]:
        say(f"demo {each}: {(known[each].__doc__ or '').splitlines()[0]}")
        for line in known[each](out / each):
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


@weights_app.command("convert-clipcap")
def weights_convert_clipcap(
    source: Annotated[Path, typer.Argument(help="Checkpoint of CLIPCap, .pt.")],
    destination: Annotated[Path, typer.Argument(help="New folder.")],
    language_model: Annotated[
        str, typer.Option(help="Folder of GPT-2, or its name on the hub.")
    ] = "openai-community/gpt2",
    download: Annotated[
        bool, typer.Option("--download", help="Let the hub be asked.")
    ] = False,
) -> None:
    """Convert a captioner of CLIPCap for `generate captions --captioner`."""
    from neurovis.adapters.clipcap import convert_clipcap

    convert_clipcap(
        source,
        destination,
        language_model=language_model,
        local_files_only=not download,
    )
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


def _text_of(error: Exception) -> str:
    if isinstance(error, KeyError):
        return str(error.args[0])
    # Torch's words for a shortage of memory name no remedy, and Python has no words.
    if isinstance(error, RuntimeError) or (
        isinstance(error, MemoryError) and not str(error)
    ):
        reason = str(error).split("\n")[0].rstrip(".") or "MemoryError"
        return (
            f"memory is short ({reason}). Take smaller batches or fewer inputs, end "
            "what else uses the memory, or take another device."
        )
    return str(error) or type(error).__name__


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
        FloatingPointError,
        RuntimeError,
    ) as error:
        if "--verbose" in sys.argv or not _is_told(error):
            raise
        notes = getattr(error, "__notes__", [])
        sys.stderr.write("\n".join([f"error: {_text_of(error)}", *notes, ""]))
        sys.exit(1)


if __name__ == "__main__":
    main()
