"""`neurovis fit brain-encoder`: trained readouts of feature maps."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurovis.cli_fit import Precision, fit_app, split_floats, split_subjects
from neurovis.cli_run import (
    Bootstrap,
    Device,
    FitStore,
    HeldOutPictures,
    Permutations,
    Preparation,
    Regions,
    Space,
    Subject,
    finish,
    split_names,
)


class Queries(StrEnum):
    """What the queries of a transformer stand for."""

    regions = "regions"
    hemispheres = "hemispheres"
    units = "units"


class Core(StrEnum):
    """Networks that are trained from pictures, together with a readout."""

    small = "small"
    rotation = "rotation"
    published = "published"


class Norm(StrEnum):
    """Whether tokens are normalised before each part of a layer, or after."""

    first = "first"
    last = "last"


class Scale(StrEnum):
    """What is done to the channels of maps."""

    channels = "channels"
    none = "none"


class Recipe(StrEnum):
    """How encoders are trained, unless other options tell otherwise."""

    default = "default"
    published = "published"


@fit_app.command("brain-encoder")
def fit_brain_encoder(
    data: Annotated[
        str,
        typer.Option(
            help="NAME:PATH: nsd, algonauts, v4-images, objects-fmri or responses; or "
            "simulated:content, simulated:fixed."
        ),
    ] = "simulated:content",
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="NETWORK[@WEIGHTS]:LAYER,... with layers of maps (LAYER:flat), "
            "patches (LAYER:patches, LAYER:q.patches) or vectors (LAYER:cls); "
            "given:NAME; control:pixels for a core. Repeatable; simulated data come "
            "with theirs."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for tables, models, maps, report.")
    ] = Path("results/fit-brain-encoder"),
    readout: Annotated[
        str,
        typer.Option(
            help="Separated by commas: transformer, masks, factorised, gaussian, "
            "semantic-spatial, linear, vector, ridge."
        ),
    ] = "transformer,ridge",
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="published: 15 epochs of AdamW to the end, on maps as they are. "
            "Options below come before it."
        ),
    ] = Recipe.default,
    queries: Annotated[
        Queries, typer.Option(help="What queries stand for (transformer, masks).")
    ] = Queries.regions,
    query_regions: Annotated[
        str | None,
        typer.Option(
            help="Regions with a query, separated by commas, or published [all]."
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            help="One layer, as in --features, that moves the fields of "
            "semantic-spatial [the maps themselves]."
        ),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One encoder for all subjects.")
    ] = False,
    core: Annotated[
        Core, typer.Option(help="What looks at control:pixels.")
    ] = Core.small,
    width: Annotated[
        int | None,
        typer.Option(
            help="Bring maps to so many channels [64 up to 512 channels, as they are "
            "up to 1024, else 768; as they are if published]."
        ),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(help="Heads of attention; they divide the width [16, narrow: 4]."),
    ] = None,
    feedforward: Annotated[
        int | None,
        typer.Option(
            help="Width between the linear maps of a layer [1024, narrow: 128]."
        ),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Share dropped in training [0.1, narrow: 0.2].")
    ] = None,
    norm: Annotated[Norm, typer.Option(help="Norms of layers.")] = Norm.first,
    encoder_layers: Annotated[
        int, typer.Option(help="Layers of self-attention among patches.")
    ] = 0,
    decoder_layers: Annotated[
        int, typer.Option(help="Layers in which queries look at patches.")
    ] = 1,
    scale: Annotated[
        Scale | None,
        typer.Option(
            help="channels: mean 0 and standard deviation 1 over training pictures "
            "[channels; none if published]."
        ),
    ] = None,
    penalty: Annotated[
        str | None,
        typer.Option(
            help="Penalties that validation pictures choose from, separated by commas "
            "(not transformer, masks)."
        ),
    ] = None,
    validation: Annotated[
        float, typer.Option(help="Share of training stimuli for validation.")
    ] = 0.1,
    batch_size: Annotated[int, typer.Option(help="Pictures per batch.")] = 16,
    runs: Annotated[
        int, typer.Option(help="Networks with other first weights, averaged.")
    ] = 1,
    epochs: Annotated[
        int | None, typer.Option(help="The most epochs [100; 15 if published].")
    ] = None,
    patience: Annotated[
        str | None,
        typer.Option(
            help="Epochs without improvement before the end, or none [15; none if "
            "published]."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate [0.0005 or 0.001].")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay [0.0001 or 0].")
    ] = None,
    clip_norm: Annotated[
        str | None, typer.Option(help="Largest norm of the gradient, or none.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="mixed is for GPUs [float32].")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Batches per step [1].")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Sharpness of the weights of layers.")
    ] = 50.0,
    subject: Subject = None,
    roi: Regions = None,
    min_ncsnr: Annotated[
        float | None, typer.Option(help="Leave out units below this ncsnr.")
    ] = None,
    space: Space = None,
    preparation: Preparation = None,
    test: HeldOutPictures = "auto",
    cv: Annotated[int, typer.Option(help="Folds for the penalties of ridge.")] = 5,
    models: Annotated[
        bool, typer.Option(help="Keep the fitted weights; attention needs them.")
    ] = True,
    store: FitStore = None,
    permutations: Permutations = 1000,
    bootstrap: Bootstrap = 1000,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    device: Device = "auto",
) -> None:
    """Train transformers and other readouts of feature maps, and compare them."""
    from neurovis.adapters.brain_encoder import BrainEncoderConfig
    from neurovis.fitting.network_fit import published_settings
    from tasks.brain_encoder import fit_brain_encoder as fit
    from tasks.encoder_options import EncoderOptions

    published = recipe is Recipe.published
    given: dict[str, Any] = {
        "max_epochs": epochs,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "precision": precision.value if precision else None,
        "accumulate": accumulate,
    }
    settings = asdict(published_settings()) if published else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    if patience is not None:
        settings["patience"] = _number_or_none("patience", patience, whole=True)
    if clip_norm is not None:
        settings["clip_norm"] = _number_or_none("clip_norm", clip_norm)
    layers = {
        "width": width,
        "n_heads": heads,
        "feedforward": feedforward,
        "dropout": dropout,
    }
    changes: dict[str, Any] = {k: v for k, v in layers.items() if v is not None}
    changes |= {
        "norm_first": norm is Norm.first,
        "n_encoder_layers": encoder_layers,
        "n_decoder_layers": decoder_layers,
    }
    options = EncoderOptions(
        "transformer",
        BrainEncoderConfig() if published else None,
        changes,
        queries=queries.value,
        query_regions=_names("query_regions", query_regions),
        core=core.value,
        scale=scale.value if scale else ("none" if published else "channels"),
        penalties=None if penalty is None else tuple(split_floats("penalty", penalty)),
        validation=validation,
        batch_size=batch_size,
        n_runs=runs,
    )
    wishes = {"space": space, "preparation": preparation}
    fit(
        data,
        features or (),
        out,
        readouts=split_names(readout),
        options=options,
        settings=settings,
        context=context,
        together=together,
        temperature=temperature,
        subjects=None if subject is None else split_subjects(subject),
        regions=_names("roi", roi),
        min_ncsnr=min_ncsnr,
        test=test,
        cv=cv,
        keep_models=models,
        store=store,
        n_permutations=permutations,
        n_bootstrap=bootstrap,
        seed=seed,
        device=device,
        **{name: value for name, value in wishes.items() if value is not None},
    )
    finish(out)


def _names(name: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    found = tuple(split_names(text))
    if not found:
        raise ValueError(f"`{name}` is empty: name at least one, or leave it out.")
    return found


def _number_or_none(name: str, text: str, *, whole: bool = False) -> float | None:
    if text == "none":
        return None
    try:
        return int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"`{name}` must be {kind}, or none; got {text!r}.") from None
