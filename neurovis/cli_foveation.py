"""The verbs of foveation: foveated pictures, foveated systems, metamers."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurovis.cli_run import Device, finish, run_app, say, split_names
from neurovis.cli_stimuli import stimuli_app


class Transform(StrEnum):
    """What a picture can go through."""

    texture = "texture"
    foveated_blur = "foveated-blur"
    uniform_blur = "uniform-blur"
    acuity_blur = "acuity-blur"
    reference = "reference"
    style_codec = "style-codec"
    style_codec_reference = "style-codec-reference"


class Quality(StrEnum):
    """How long the texture is worked on."""

    fast = "fast"
    fine = "fine"


class Pairing(StrEnum):
    """How the pictures of cue conflicts are paired."""

    balanced = "balanced"
    published = "published"


class Recipe(StrEnum):
    """How second stages are trained."""

    published = "published"
    compact = "compact"


PxPerDeg = Annotated[
    float | None,
    typer.Option(help="Pixels per degree [the longer side spans 26 degrees]."),
]
FoveaDeg = Annotated[
    float | None, typer.Option(help="Radius of what stays as it is [1.82 degrees].")
]
Scale = Annotated[
    float, typer.Option(help="Width of pooling windows over eccentricity.")
]
Seed = Annotated[int, typer.Option(help="Seed of all draws.")]


def _point(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    parts = split_names(text)
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        raise ValueError(
            f"`fixation` must be two numbers, x,y in pixels; got {text!r}."
        ) from None
    return x, y


def _settings(**values: Any) -> Any:
    from neurovis.foveation.transforms import FoveationSettings

    return FoveationSettings(**{k: v for k, v in values.items() if v is not None})


@stimuli_app.command("foveate")
def stimuli_foveate(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path(
        "results/stimuli/foveated"
    ),
    transform: Annotated[
        Transform, typer.Option(help="What pictures go through.")
    ] = Transform.texture,
    px_per_deg: PxPerDeg = None,
    fixation: Annotated[
        str | None, typer.Option(help="Fixation x,y in pixels [the centre].")
    ] = None,
    fixations: Annotated[
        Path | None,
        typer.Option(help="Table of a fixation per picture: stimulus_id, x_px, y_px."),
    ] = None,
    fovea_deg: FoveaDeg = None,
    scale: Scale = 0.4,
    quality: Annotated[Quality, typer.Option(help="Of the texture.")] = Quality.fast,
    strength: Annotated[
        float | None,
        typer.Option(help="Weight of the texture, 0 to 1 [grows with the windows]."),
    ] = None,
    sigma_px: Annotated[
        float | None,
        typer.Option(help="Width of the uniform blur [matched to the texture]."),
    ] = None,
    factor: Annotated[
        float | None,
        typer.Option(help="Blur over radius of windows [matched to the texture]."),
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Weights of VGG-19, for the style codec.")
    ] = None,
    decoder: Annotated[
        Path | None, typer.Option(help="Weights of its decoder.")
    ] = None,
    size_px: Annotated[
        int | None, typer.Option(help="Side of square results [as the pictures].")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Pictures at once.")] = 4,
) -> None:
    """Show a folder of pictures as a fixating eye has them."""
    from tasks.foveate import foveate_folder
    from tasks.foveation_systems import match_folder

    values = {
        "transform": transform.value,
        "px_per_deg": px_per_deg,
        "fixation_px": _point(fixation),
        "fovea_deg": fovea_deg,
        "scale": scale,
        "quality": quality.value,
        "strength": strength,
        "sigma_px": sigma_px,
        "factor": factor,
        "codec": (str(encoder), str(decoder)) if encoder and decoder else None,
    }
    needed = {"uniform-blur": sigma_px, "foveated-blur": factor}
    if transform.value in needed and needed[transform.value] is None:
        values["transform"] = "texture"
        settings, told = match_folder(
            folder, transform.value, _settings(**values), seed=seed, device=device
        )
        say(told)
    else:
        settings = _settings(**values)
    made = foveate_folder(
        folder,
        out,
        settings,
        fixations=fixations,
        size_px=size_px,
        seed=seed,
        device=device,
        batch_size=batch_size,
    )
    for note in made.provenance.notes:
        say(note)
    say(f"{len(made.table)} pictures in {made.folder}")
    say(f"fingerprint {made.fingerprint}")


@run_app.command("foveation")
def run_foveation(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder or zip file: train/CLASS/..., test/CLASS/...; or drawings:N."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, report.")] = (
        Path("results/foveation")
    ),
    systems: Annotated[
        str | None,
        typer.Option(help="reference, texture, uniform-blur, foveated-blur [all]."),
    ] = None,
    experiments: Annotated[
        str | None,
        typer.Option(
            help="generalisation, spatial-frequency, occlusion, window-conflict, "
            "square-conflict [all]."
        ),
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="Classifier: resnet18, alexnet, timm:NAME.")
    ] = "resnet18",
    architecture_options: Annotated[
        str | None, typer.Option(help="Arguments of its constructor, as JSON.")
    ] = None,
    recipe: Annotated[
        Recipe, typer.Option(help="As published, or for small sets.")
    ] = Recipe.published,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of the compact recipe [30].")
    ] = None,
    test_epochs: Annotated[
        str | None, typer.Option(help="Also test after these epochs [the last].")
    ] = None,
    runs: Annotated[int, typer.Option(help="Repetitions of every system.")] = 10,
    render_px: Annotated[
        int, typer.Option(help="Side of pictures before the first stage.")
    ] = 512,
    size_px: Annotated[int, typer.Option(help="Side of pictures after it.")] = 256,
    px_per_deg: PxPerDeg = None,
    fovea_deg: FoveaDeg = None,
    scale: Scale = 0.4,
    sigma_px: Annotated[
        float | None, typer.Option(help="Width of the uniform blur [matched].")
    ] = None,
    factor: Annotated[
        float | None, typer.Option(help="Of the foveated blur [matched].")
    ] = None,
    calibration: Annotated[
        int, typer.Option(help="Training pictures on which blurs are matched.")
    ] = 32,
    pairing: Annotated[
        Pairing, typer.Option(help="Pairs of the cue conflicts.")
    ] = Pairing.balanced,
    bootstrap: Annotated[
        int, typer.Option(help="Samples of runs and pictures, for limits.")
    ] = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train foveated systems and controls, and test what they learnt."""
    from tasks.foveation import run_foveation as run
    from tasks.foveation_design import FoveationDesign
    from tasks.foveation_training import compact_recipe

    options: dict[str, Any] = {
        "systems": split_names(systems) if systems else None,
        "experiments": split_names(experiments) if experiments else None,
    }
    if epochs is not None and recipe is Recipe.published:
        raise ValueError(
            "`epochs` is for `--recipe compact`; the published recipe has its own."
        )
    own = compact_recipe(epochs) if epochs is not None else recipe.value
    design = FoveationDesign(
        **{k: v for k, v in options.items() if v is not None},
        architecture=architecture,
        architecture_options=_mapping(architecture_options),
        recipe=own,
        n_runs=runs,
        epochs=_epochs(test_epochs),
        render_px=render_px,
        size_px=size_px,
        texture=_settings(px_per_deg=px_per_deg, fovea_deg=fovea_deg, scale=scale),
        sigma_px=sigma_px,
        factor=factor,
        n_calibration=calibration,
        pairing=pairing.value,
        n_bootstrap=bootstrap,
        seed=seed,
    )
    run(data, out, design, device=device)
    finish(out)


def _mapping(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ValueError(
            "`architecture_options` must be a JSON object such as "
            f"""'{{"drop_rate": 0.5}}'; got {text!r}."""
        )
    return values


def _epochs(text: str | None) -> tuple[int, ...]:
    parts = split_names(text or "")
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"`test_epochs` must be whole numbers; got {text!r}.")
    return tuple(int(part) for part in parts)
