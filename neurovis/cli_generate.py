"""Images that drive a brain: `neurovis generate`, and what belongs to it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from neurovis.cli_fit import Resize, fit_app, split_floats, split_subjects
from neurovis.cli_run import (
    Bootstrap,
    Device,
    FitStore,
    HeldOutPictures,
    Permutations,
    Regions,
    Seed,
    Subject,
    finish,
    run_app,
    say,
    split_names,
)
from neurovis.cli_train import train_app

generate_app = typer.Typer(
    help="Generate images.", no_args_is_help=True, rich_markup_mode=None
)


class Sampler(StrEnum):
    """Ways from noise to an image."""

    dpm_solver = "dpm-solver++"
    ddim = "ddim"
    ddpm = "ddpm"


class ModelPrecision(StrEnum):
    """Types of the weights of a generator."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class Kind(StrEnum):
    """What a small generator denoises."""

    latent = "latent"
    pixel = "pixel"


class ClipRecipe(StrEnum):
    """Published ways to train a linear map of embeddings."""

    braindive = "braindive"
    brainscuba = "brainscuba"


class ClipPrecision(StrEnum):
    """Precision of the frozen network that embeds pictures."""

    float32 = "float32"
    autocast = "autocast"


Generator = Annotated[
    str,
    typer.Option(
        help="sketch:latent, sketch:pixel, sketch:FILE, a folder of diffusers, or "
        "OWNER/NAME of the hub."
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(help="Images at once [as memory allows].")
]


def batch(size: int | None) -> int | Literal["auto"]:
    """Return how many at once: as many as memory allows, if nobody told.

    Parameters
    ----------
    size : int or None
        What was asked for.

    Returns
    -------
    int or "auto"
        The same, or "auto".
    """
    return "auto" if size is None else size


@generate_app.callback()
def generate() -> None:
    """Generate images."""


@generate_app.command("braindive")
def generate_braindive(
    encoder: Annotated[
        Path, typer.Option(help="Folder of a fitted model, below `models` of a fit.")
    ],
    region: Annotated[str, typer.Option(help="Region to drive.")],
    generator: Generator = "sketch:latent",
    against: Annotated[
        str | None, typer.Option(help="Region whose mean is subtracted.")
    ] = None,
    ratio: Annotated[float, typer.Option(help="Factor of that mean.")] = 1.0,
    images: Annotated[int, typer.Option(help="Images with and without guidance.")] = 96,
    first_seed: Annotated[int, typer.Option(help="Seed of the first image.")] = 0,
    scale: Annotated[
        float, typer.Option(help="Strength; below 0 it suppresses.")
    ] = 130.0,
    relative: Annotated[
        bool,
        typer.Option("--relative", help="Strength as a share of the predicted noise."),
    ] = False,
    start: Annotated[float, typer.Option(help="Guide from this share of steps.")] = 0.0,
    stop: Annotated[float, typer.Option(help="Guide up to this share of steps.")] = 1.0,
    copies: Annotated[int, typer.Option(help="Copies to average gradients over.")] = 1,
    shift: Annotated[int, typer.Option(help="Shift copies by up to so many px.")] = 0,
    noise: Annotated[float, typer.Option(help="Noise of copies, levels of 0..1.")] = 0,
    fixed_noise: Annotated[
        bool,
        typer.Option(
            "--fixed-noise", help="No gradient through the denoiser: saves memory."
        ),
    ] = False,
    steps: Annotated[int, typer.Option(help="Steps from noise to image.")] = 50,
    sampler: Annotated[
        Sampler, typer.Option(help="How to sample.")
    ] = Sampler.dpm_solver,
    self_attention: Annotated[
        float, typer.Option(help="Self-attention guidance; the paper has 0.75.")
    ] = 0.0,
    precision: Annotated[
        ModelPrecision, typer.Option(help="Weights of the generator.")
    ] = ModelPrecision.auto,
    save_memory: Annotated[
        bool, typer.Option("--save-memory", help="Gradient checkpointing: slower.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Let the hub be asked.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the encoder's network, if moved.")
    ] = None,
    heldout: Annotated[
        Path | None, typer.Option(help="Folder of a model of another brain.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="open_clip:NAME.TAG@FILE: a judge that is not the guide."),
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(help="What the judge should see: face, place, body, word, food."),
    ] = None,
    real: Annotated[
        str | None,
        typer.Option(help="NAME:PATH of the fit, nsd or v4-images: real pictures too."),
    ] = None,
    real_images: Annotated[
        int, typer.Option(help="Random real pictures, and as many of the best.")
    ] = 24,
    store: Annotated[
        Path | None, typer.Option(help="Keep prepared trials of --real here (nsd).")
    ] = None,
    batch_size: BatchSize = None,
    bootstrap: Bootstrap = 2000,
    out: Annotated[Path, typer.Option(help="Folder for images and tables.")] = Path(
        "results/drive"
    ),
    device: Device = "auto",
) -> None:
    """Generate images that drive a region of a fitted encoder."""
    from neurovis.adapters.image_generators import load_image_generator
    from neurovis.adapters.zero_shot import load_zero_shot
    from neurovis.generation.sampling import SamplingSettings
    from tasks.braindive_drive import GuideSettings, drive_region
    from tasks.picture_gradients import load_gradient_encoder
    from tasks.real_pictures import load_measured_trials

    judging = None
    if judge is not None:
        name, at, file = judge.partition("@")
        if not at:
            raise ValueError(f"`judge` must be open_clip:NAME.TAG@FILE; got {judge!r}.")
        judging = load_zero_shot(name, file, device=device)
    other = None if heldout is None else load_gradient_encoder(heldout, device=device)
    measured = None
    if real is not None:
        driven = (region,) if against is None else (region, against)
        measured = load_measured_trials(real, encoder, regions=driven, store=store)
    drive_region(
        load_image_generator(
            generator,
            device=device,
            precision=precision.value,
            gradient_checkpointing=save_memory,
            local_files_only=not download,
        ),
        load_gradient_encoder(encoder, weights=weights, device=device),
        out,
        region=region,
        against=against,
        ratio=ratio,
        seeds=range(first_seed, first_seed + images),
        guide=GuideSettings(
            scale=scale,
            scale_kind="relative" if relative else "absolute",
            through_denoiser=not fixed_noise,
            start=start,
            stop=stop,
            copies=copies,
            shift_px=shift,
            noise_sd=noise,
        ),
        sampling=SamplingSettings(steps, sampler.value, self_attention),
        heldout=other,
        judge=judging,
        category=category,
        measured=measured,
        n_real=real_images,
        batch_size=batch(batch_size),
        n_bootstrap=bootstrap,
    )
    finish(out)


@generate_app.command("pairs")
def generate_pairs(
    run: Annotated[
        Path, typer.Argument(help="Folder of `neurovis generate braindive`.")
    ],
    first: Annotated[str, typer.Option(help="Folder below images.")] = "guided",
    second: Annotated[
        str, typer.Option(help="Another one, such as unguided or real-best.")
    ] = "unguided",
    trials: Annotated[int | None, typer.Option(help="Trials [one per pair].")] = None,
    question: Annotated[
        str, typer.Option(help="What people are asked.")
    ] = "Which of the two pictures shows more of {region}?",
    out: Annotated[
        Path | None, typer.Option(help="Folder for pairs and key [pairs in RUN].")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write pairs of images for a forced choice by people."""
    from tasks.forced_choice import KEY_FILE, PAIRS_FILE, export_forced_choice

    key = export_forced_choice(
        run,
        out,
        first=first,
        second=second,
        n_trials=trials,
        question=question,
        seed=seed or 0,
    )
    home = run / "pairs" if out is None else out
    n_left = int((key["side_of_first"] == "left").sum())
    say(f"{len(key)} trials, {key['pair'].nunique()} pairs; {first} left in {n_left}")
    say(f"for the experiment {home / PAIRS_FILE}")
    say(f"key {home / KEY_FILE}")


@generate_app.command("anagram")
def generate_anagram(
    views: Annotated[
        str, typer.Option(help="Two views, such as identity,rotate-180.")
    ] = "identity,rotate-180",
    regions: Annotated[
        str, typer.Option(help="Two of face, place, body, word, food.")
    ] = "face,place",
    generator: Generator = "sketch:pixel",
    images: Annotated[int, typer.Option(help="Pictures per condition.")] = 48,
    scale: Annotated[float, typer.Option(help="Strength of each guidance.")] = 10.0,
    balance: Annotated[
        bool, typer.Option("--balance", help="More weight to views that are behind.")
    ] = False,
    segregation: Annotated[
        float,
        typer.Option(help="Rate of anti-segregation, 0 for none; the paper has 5."),
    ] = 0.0,
    steps: Annotated[int, typer.Option(help="Steps from noise to image.")] = 25,
    batch_size: BatchSize = None,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, report.")] = (
        Path("results/anagrams")
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Make pictures that show two things in two views, for a simulated brain."""
    from neurovis.adapters.image_generators import load_image_generator
    from neurovis.generation.sampling import SamplingSettings
    from tasks.anagrams import AnagramSettings, run_anagrams

    run_anagrams(
        load_image_generator(generator, device=device),
        out,
        settings=AnagramSettings(
            views=tuple(split_names(views)),
            regions=tuple(split_names(regions)),
            n_images=images,
            scale=scale,
            sampling=SamplingSettings(steps, "ddim"),
            balance=balance,
            segregation=segregation,
        ),
        seed=seed or 0,
        device=device,
        batch_size=batch(batch_size),
    )
    finish(out)


@run_app.command("braindive")
def run_braindive(
    generator: Generator = "sketch:latent",
    images: Annotated[int, typer.Option(help="Images per region, guided or not.")] = 96,
    controls: Annotated[int, typer.Option(help="Images per control, strength.")] = 48,
    scale: Annotated[float, typer.Option(help="Strength of guidance.")] = 100.0,
    scales: Annotated[
        str, typer.Option(help="Further strengths, separated by commas.")
    ] = "1,10,1e3,1e4,1e5,1e6",
    steps: Annotated[int, typer.Option(help="Steps from noise to image.")] = 25,
    sampler: Annotated[Sampler, typer.Option(help="How to sample.")] = Sampler.ddim,
    batch_size: BatchSize = None,
    bootstrap: Bootstrap = 2000,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, report.")] = (
        Path("results/braindive")
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Drive regions of a simulated brain, and let others judge the images."""
    from neurovis.adapters.image_generators import load_image_generator
    from tasks.braindive_experiment import DiveSettings
    from tasks.braindive_experiment import run_braindive as run

    run(
        load_image_generator(generator, device=device),
        out,
        settings=DiveSettings(
            n_images=images,
            n_controls=controls,
            scale=scale,
            scales=tuple(split_floats("scales", scales)),
            n_steps=steps,
            sampler=sampler.value,
        ),
        seed=seed or 0,
        device=device,
        batch_size=batch(batch_size),
        n_bootstrap=bootstrap,
    )
    finish(out)


@train_app.command("generator")
def train_generator_command(
    kind: Annotated[
        Kind, typer.Option(help="Denoise latents of an autoencoder, or pixels.")
    ] = Kind.latent,
    pictures: Annotated[
        int | None, typer.Option(help="Drawings to train on [24000].")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of the denoiser [16].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for weights and card.")] = Path(
        "results/generator"
    ),
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    device: Device = "auto",
) -> None:
    """Train a small generator of drawings."""
    from tasks.sketch_training import SketchRecipe, train_generator

    recipe = SketchRecipe(kind.value)
    if pictures is not None or epochs is not None:
        recipe = recipe.shortened(
            recipe.n_pictures if pictures is None else pictures,
            recipe.denoiser.max_epochs if epochs is None else epochs,
        )
    trained = train_generator(out, recipe=recipe, seed=seed, device=device)
    say(f"validation: loss {trained.card['val_loss']:.3f}")
    say(f"{trained.weights} ({trained.card['bytes'] / 1e6:.1f} MB)")


@fit_app.command("clip-encoder")
def fit_clip_encoder_command(
    data: Annotated[
        str,
        typer.Option(help="NAME:PATH: nsd, algonauts, v4-images, objects-fmri, ..."),
    ],
    backbone: Annotated[
        str | None,
        typer.Option(help="NETWORK[@WEIGHTS] [ViT-B/16 of LAION-2B; its weights]."),
    ] = None,
    layer: Annotated[
        str, typer.Option(help="What is the embedding: output, or LAYER.")
    ] = "output",
    recipe: Annotated[
        ClipRecipe, typer.Option(help="How to train.")
    ] = ClipRecipe.braindive,
    epochs: Annotated[int | None, typer.Option(help="Epochs [100].")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Rate before the first epoch; raise it for few pictures [0.0003]."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures per step [64, brainscuba: 32].")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of AdamW [0.02, brainscuba: 0.015].")
    ] = None,
    no_augment: Annotated[
        bool,
        typer.Option(
            "--no-augment",
            help="Pictures as they are, embedded once: much faster.",
        ),
    ] = False,
    precision: Annotated[
        ClipPrecision, typer.Option(help="Of the frozen network; autocast is for GPUs.")
    ] = ClipPrecision.float32,
    resize: Annotated[
        Resize | None, typer.Option(help="Pictures to input [the network's own rule].")
    ] = None,
    subject: Subject = None,
    regions: Regions = None,
    min_ncsnr: Annotated[
        float | None, typer.Option(help="Leave out units below this ncsnr (nsd).")
    ] = None,
    test: HeldOutPictures = "auto",
    store: FitStore = None,
    permutations: Permutations = 1000,
    bootstrap: Bootstrap = 1000,
    out: Annotated[Path, typer.Option(help="Folder for tables, models, report.")] = (
        Path("results/fit-clip-encoder")
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train the voxel encoder of BrainDiVE or BrainSCUBA on embeddings."""
    from dataclasses import replace

    from tasks.clip_encoder import BACKBONE, fit_clip_encoder
    from tasks.clip_encoder_recipe import published_recipe

    how = published_recipe(recipe.value)
    wishes: dict[str, Any] = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "weight_decay": weight_decay,
    }
    wishes = {name: value for name, value in wishes.items() if value is not None}
    if no_augment:
        wishes |= {"gain": 0.0, "shift_px": 0, "noise_sd": 0.0}
    told = replace(how, **wishes, precision=precision.value)
    if told != how:
        told = replace(told, name=f"{how.name}, changed")
    fit_clip_encoder(
        data,
        backbone or BACKBONE,
        out,
        layer=layer,
        recipe=told,
        resize=None if resize is None else resize.value,
        subjects=split_subjects(subject) if subject else None,
        regions=split_names(regions) if regions else None,
        min_ncsnr=min_ncsnr,
        test=test,
        store=store,
        n_permutations=permutations,
        n_bootstrap=bootstrap,
        seed=seed or 0,
        device=device,
    )
    finish(out)
