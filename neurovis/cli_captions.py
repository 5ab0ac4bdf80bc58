"""What voxels mean, in words: `neurovis bank`, and captions of `generate` and `run`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurovis.cli_fit import split_floats
from neurovis.cli_generate import (
    BatchSize,
    ModelPrecision,
    Sampler,
    batch,
    generate_app,
)
from neurovis.cli_run import (
    Bootstrap,
    Device,
    Permutations,
    Regions,
    Seed,
    finish,
    run_app,
    say,
    split_names,
)
from neurovis.cli_train import train_app

bank_app = typer.Typer(
    help="Embeddings of many pictures.", no_args_is_help=True, rich_markup_mode=None
)


class Stored(StrEnum):
    """Types that embeddings are kept in."""

    float32 = "float32"
    float16 = "float16"


Words = Annotated[
    str, typer.Option(help="Captioner: sketch, a folder, or OWNER/NAME of the hub.")
]


@bank_app.callback()
def bank() -> None:
    """Embeddings of many pictures."""


@bank_app.command("build")
def bank_build(
    pictures: Annotated[
        Path, typer.Argument(help="Folder of pictures, with sub-folders.")
    ],
    backbone: Annotated[
        str, typer.Option(help="NETWORK[@WEIGHTS] of the encoder, or sketch_clip.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the bank.")] = Path(
        "results/bank"
    ),
    layer: Annotated[
        str, typer.Option(help="What is the embedding: output, or LAYER.")
    ] = "output",
    stored: Annotated[Stored, typer.Option(help="Type of numbers on disk.")] = (
        Stored.float32
    ),
    shard: Annotated[int, typer.Option(help="Pictures per file.")] = 65_536,
    name: Annotated[str, typer.Option(help="Name in tables [that of OUT].")] = "",
    batch_size: BatchSize = None,
    device: Device = "auto",
) -> None:
    """Embed all pictures of a folder, shard by shard; run again to resume."""
    from neurovis.adapters.backbones import load_backbone
    from tasks.bank_build import build_bank

    network, _, weights = backbone.partition("@")
    built = build_bank(
        pictures,
        out,
        backbone=load_backbone(network, weights or None),
        layer=layer,
        precision=stored.value,
        shard_rows=shard,
        batch_size=batch(batch_size),
        name=name or None,
        device=device,
    )
    say(f"{built.n_images} pictures, {built.n_features} values each: {out}")
    for note in built.notes:
        say(note)


@generate_app.command("captions")
def generate_captions(
    encoder: Annotated[
        Path, typer.Option(help="Folder of `fit clip-encoder`, below `models`.")
    ],
    bank: Annotated[
        Path, typer.Option(help="Folder of `bank build`, or .npy files of embeddings.")
    ],
    captioner: Words = "sketch",
    regions: Regions = None,
    least_r: Annotated[
        float | None, typer.Option(help="Leave out units predicted worse than this.")
    ] = None,
    inverse_temperature: Annotated[
        float, typer.Option(help="The larger, the fewer pictures count.")
    ] = 150.0,
    repeats: Annotated[int, typer.Option(help="Captions, each of its own part.")] = 5,
    images: Annotated[
        int | None, typer.Option(help="Pictures of each part [bank / repeats].")
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Caption raw weights, nearest, random images too.")
    ] = True,
    drop_failed: Annotated[
        bool,
        typer.Option("--drop-failed", help="Leave out rows of 0 or NaN of the bank."),
    ] = False,
    beam: Annotated[int, typer.Option(help="Beams.")] = 5,
    tokens: Annotated[int, typer.Option(help="Longest caption, in tokens.")] = 67,
    tagger: Annotated[
        str | None,
        typer.Option(help="Nouns by parts of speech: nltk, or a folder [tables]."),
    ] = None,
    localiser: Annotated[
        Path | None, typer.Option(help="Folder of pictures of a localiser.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the encoder's network, if moved.")
    ] = None,
    batch_size: BatchSize = None,
    permutations: Permutations = 1000,
    bootstrap: Bootstrap = 1000,
    out: Annotated[Path, typer.Option(help="Folder for tables, maps, report.")] = Path(
        "results/captions"
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Say in words what makes the units of an encoder respond (BrainSCUBA)."""
    from neurovis.adapters.brainscuba import BASELINES
    from tasks.voxel_captions import CaptionSettings, caption_voxels

    caption_voxels(
        encoder,
        bank,
        captioner,
        out,
        settings=CaptionSettings(
            inverse_temperature=inverse_temperature,
            n_repeats=repeats,
            n_images=images,
            baselines=BASELINES if baselines else (),
            drop_failed=drop_failed,
            beam=beam,
            max_tokens=tokens,
        ),
        regions=split_names(regions) if regions else None,
        least_r=least_r,
        tagger=tagger,
        localiser=localiser,
        weights=weights,
        batch_size=batch(batch_size),
        n_permutations=permutations,
        n_bootstrap=bootstrap,
        seed=seed or 0,
        device=device,
    )
    finish(out)


@generate_app.command("from-captions")
def generate_from_captions(
    run: Annotated[Path, typer.Argument(help="Folder of `generate captions`.")],
    encoder: Annotated[Path, typer.Option(help="Folder of the encoder of that run.")],
    generator: Annotated[
        str,
        typer.Option(
            help="sketch:latent, sketch:pixel, a folder of Stable Diffusion, or "
            "OWNER/NAME of the hub."
        ),
    ] = "sketch:latent",
    bank: Annotated[
        Path | None, typer.Option(help="Bank of that run, to compare with.")
    ] = None,
    regions: Regions = None,
    captions: Annotated[int, typer.Option(help="Captions per region.")] = 4,
    images: Annotated[int, typer.Option(help="Images per caption.")] = 6,
    scale: Annotated[
        float | None, typer.Option(help="Strength of captions [7.5; sketch: 100].")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps from noise to image.")] = 50,
    sampler: Annotated[
        Sampler, typer.Option(help="How to sample.")
    ] = Sampler.dpm_solver,
    precision: Annotated[
        ModelPrecision, typer.Option(help="Weights of the generator.")
    ] = ModelPrecision.auto,
    download: Annotated[
        bool, typer.Option("--download", help="Let the hub be asked.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the encoder's network, if moved.")
    ] = None,
    batch_size: BatchSize = None,
    bootstrap: Bootstrap = 1000,
    out: Annotated[Path, typer.Option(help="Folder for images and tables.")] = Path(
        "results/caption-images"
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draw what captions of regions say, and show it to their encoder."""
    from neurovis.generation.sampling import SamplingSettings
    from tasks.caption_images import CaptionImageSettings, draw_captions

    draw_captions(
        run,
        encoder,
        generator,
        out,
        regions=split_names(regions) if regions else None,
        bank=bank,
        settings=CaptionImageSettings(
            captions, images, scale, SamplingSettings(steps, sampler.value)
        ),
        weights=weights,
        precision=precision.value,
        batch_size=batch(batch_size),
        n_bootstrap=bootstrap,
        seed=seed or 0,
        device=device,
        local_files_only=not download,
    )
    finish(out)


@run_app.command("brainscuba")
def run_brainscuba(
    brains: Annotated[int, typer.Option(help="Simulated brains.")] = 3,
    noise: Annotated[
        str, typer.Option(help="Noise of voxels, separated by commas.")
    ] = "0.3,1,3",
    temperatures: Annotated[
        str, typer.Option(help="Inverse temperatures, separated by commas.")
    ] = "1,10,50,150,1000",
    voxels: Annotated[int, typer.Option(help="Voxels per category.")] = 20,
    pictures: Annotated[int, typer.Option(help="Drawings to fit to.")] = 2000,
    bank: Annotated[int, typer.Option(help="Drawings of the bank.")] = 2000,
    repeats: Annotated[int, typer.Option(help="Parts of the bank.")] = 5,
    backbone: Annotated[
        str, typer.Option(help="NETWORK[@WEIGHTS] that embeds 32 x 32 px.")
    ] = "sketch_clip",
    captioner: Words = "sketch",
    bootstrap: Bootstrap = 2000,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures, report.")] = (
        Path("results/brainscuba")
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Name the concepts of simulated voxels, beside baselines."""
    from neurovis.adapters.backbones import load_backbone
    from neurovis.adapters.captioner import load_captioner
    from tasks.brainscuba_experiment import ScubaSettings
    from tasks.brainscuba_experiment import run_brainscuba as run

    network, _, weights = backbone.partition("@")
    run(
        load_backbone(network, weights or None),
        load_captioner(captioner),
        out,
        settings=ScubaSettings(
            noise_sds=tuple(split_floats("noise", noise)),
            inverse_temperatures=tuple(split_floats("temperatures", temperatures)),
            n_voxels=voxels,
            n_training=pictures,
            n_bank=bank,
            n_repeats=repeats,
            n_brains=brains,
        ),
        seed=seed or 0,
        device=device,
        n_bootstrap=bootstrap,
    )
    finish(out)


@train_app.command("captioner")
def train_captioner_command(
    pictures: Annotated[
        int | None, typer.Option(help="Drawings to train on [those of the recipe].")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of both networks [those of the recipe].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for weights and card.")] = Path(
        "results/captioner"
    ),
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    device: Device = "auto",
) -> None:
    """Train a small CLIP and a captioner on drawings."""
    from tasks.captioner_training import CaptionerRecipe, train_captioner

    recipe = CaptionerRecipe()
    if pictures is not None or epochs is not None:
        recipe = recipe.shortened(pictures, epochs)
    trained = train_captioner(out, recipe=recipe, seed=seed, device=device)
    for name, value in trained.card["validation"].items():
        say(f"{name}: {value:.3f}")
    say(f"{trained.weights}, {trained.captioner}")
