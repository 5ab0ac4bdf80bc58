"""The verbs of metamers: pictures that share statistics, and who tells them apart."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurovis.cli_run import Device, finish, run_app, say, split_names
from neurovis.cli_stimuli import stimuli_app


class PoolingModel(StrEnum):
    """Whose statistics samples share."""

    texture = "texture"
    energy = "energy"
    luminance = "luminance"


class Start(StrEnum):
    """What samples are made of."""

    texture = "texture"
    noise = "noise"


class Optimiser(StrEnum):
    """How samples descend."""

    adam = "adam"
    lbfgs = "lbfgs"


class Program(StrEnum):
    """What trials are exported for."""

    psychopy = "psychopy"
    jspsych = "jspsych"


class Decision(StrEnum):
    """How discriminability enters the decision."""

    published = "published"
    signal_detection = "signal_detection"


Seed = Annotated[int, typer.Option(help="Seed of all draws.")]


@stimuli_app.command("metamers")
def stimuli_metamers(
    folder: Annotated[Path, typer.Argument(help="Folder of base pictures.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/metamers"
    ),
    scales: Annotated[
        str, typer.Option(help="Widths of windows over eccentricity.")
    ] = "0.3,0.4,0.6",
    model: Annotated[
        PoolingModel, typer.Option(help="Whose statistics are shared.")
    ] = PoolingModel.texture,
    samples: Annotated[int, typer.Option(help="Samples per picture and scale.")] = 2,
    start: Annotated[
        Start, typer.Option(help="The fast texture of the picture, or noise.")
    ] = Start.texture,
    steps: Annotated[
        int, typer.Option(help="Most steps; 0: the fast texture, approximate.")
    ] = 200,
    optimiser: Annotated[
        Optimiser, typer.Option(help="How samples descend.")
    ] = Optimiser.adam,
    size_px: Annotated[int, typer.Option(help="Side of the square pictures.")] = 256,
    px_per_deg: Annotated[
        float | None,
        typer.Option(help="Pixels of the squares per degree [26 degrees in all]."),
    ] = None,
    fixation: Annotated[
        str | None, typer.Option(help="Fixation x,y in the squares [the centre].")
    ] = None,
    fovea_deg: Annotated[
        float | None, typer.Option(help="Radius of what stays original [1.82].")
    ] = None,
    colour: Annotated[
        bool, typer.Option("--colour", help="Keep colours, channel by channel.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Relative error up to which a sample converged.")
    ] = 0.1,
    per_pair: Annotated[int, typer.Option(help="Trials per pair of pictures.")] = 4,
    export: Annotated[
        list[Program] | None,
        typer.Option(help="Also write trials for this program; repeatable."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Make metamers of a model of pooling, and ABX trials with them."""
    from tasks.metamer_design import MetamerDesign
    from tasks.metamers import convergence, make_metamers

    own: dict[str, Any] = {} if fovea_deg is None else {"fovea_deg": fovea_deg}
    design = MetamerDesign(
        scales=_numbers("scales", scales),
        model=model.value,
        n_samples=samples,
        start=start.value,
        n_steps=steps,
        optimiser=optimiser.value,
        size_px=size_px,
        px_per_deg=px_per_deg,
        fixation_px=_point(fixation),
        grey=not colour,
        tolerance=tolerance,
        n_per_pair=per_pair,
        seed=seed,
        **own,
    )
    exports = [each.value for each in export or []]
    made = make_metamers(folder, out, design, exports=exports, device=device)
    for row in convergence(made).itertuples():
        say(
            f"scale {row.scale:g}: {row.n_converged} of {row.n_samples} samples "
            f"converged; median error {100 * float(str(row.median_error)):.1f} %, "
            f"farthest off: {row.worst_statistic}"
        )
    for note in made.provenance.notes:
        say(note)
    say(f"{len(made.stimuli)} pictures, {len(made.trials)} trials in {made.folder}")
    say(f"fingerprint {made.stimuli.fingerprint}")


@run_app.command("metamers")
def run_metamers(
    responses: Annotated[
        Path | None,
        typer.Option(help="ABX answers: subject, comparison, scale, correct."),
    ] = None,
    stimuli: Annotated[
        Path | None, typer.Option(help="What `neurovis stimuli metamers` made.")
    ] = None,
    observers: Annotated[
        str | None,
        typer.Option(help="Scales of the windows of simulated observers."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, report.")] = (
        Path("results/metamers")
    ),
    noise: Annotated[
        float, typer.Option(help="Of simulated observers, a relative error.")
    ] = 0.2,
    repeats: Annotated[
        int, typer.Option(help="How often simulated observers answer each trial.")
    ] = 1,
    lapse: Annotated[
        float | None, typer.Option(help="Share of guesses [fitted].")
    ] = None,
    decision: Annotated[
        Decision, typer.Option(help="How discriminability enters the decision.")
    ] = Decision.published,
    bootstrap: Annotated[int, typer.Option(help="Resamples for intervals.")] = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Fit critical scales of people and of simulated observers."""
    from tasks.metamer_discrimination import run_metamers as run

    run(
        responses,
        out,
        stimuli=stimuli,
        observers=_numbers("observers", observers or ""),
        noise=noise,
        n_repeats=repeats,
        lapse=lapse,
        decision=decision.value,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
    )
    finish(out)


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in split_names(text))
    except ValueError:
        raise ValueError(
            f"`{name}` must be numbers separated by commas; got {text!r}."
        ) from None


def _point(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    numbers = _numbers("fixation", text)
    if len(numbers) != 2:
        raise ValueError(f"`fixation` must be two numbers, x,y; got {text!r}.")
    return numbers[0], numbers[1]
