"""Diffusion models: the small ones of the suite, and checkpoints in diffusers' layout.

Checkpoints are read from a local folder, or from the Hugging Face hub where that is
allowed. Weights are read from safetensors only.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neurovis.adapters.hub_folders import (
    describe,
    find_hub_folder,
    import_generate,
    is_hub_name,
    load_pretrained,
    loader_errors,
    unfit,
    weights_variant,
)
from neurovis.adapters.scheduler_files import check_betas, read_scheduler
from neurovis.adapters.sketch_generator import SCHEDULER as SKETCH_SCHEDULER
from neurovis.adapters.sketch_generator import load_sketch_generator
from neurovis.core.checks import check_option
from neurovis.core.device import autocast_dtype, exact_float32, resolve
from neurovis.core.tensors import hash_state_dict
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.sketch_networks import SIDE_PX

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "float16", "bfloat16", "auto")

LAYOUT = """\
A generator is a folder in the layout of diffusers:
  unet/          config.json, diffusion_pytorch_model.safetensors
  scheduler/     scheduler_config.json
with latents also:
  vae/ (vqvae/)  config.json, diffusion_pytorch_model.safetensors
with a text, as Stable Diffusion 1 and 2, also:
  text_encoder/  config.json, model.safetensors
  tokenizer/     tokenizer.json, or vocab.json and merges.txt"""
"""Files of a checkpoint."""

_DENOISERS = ("UNet2DConditionModel", "UNet2DModel")
_AUTOENCODERS = ("AutoencoderKL", "VQModel")

# Embeddings beside the step and the text.
_FURTHER_INPUTS = ("addition_embed_type", "class_embed_type", "num_class_embeds")

_SKETCH_LIMITS = {"latent": 2.5, "pixel": 1.0}

_WHAT = "Generators of images"
_WEIGHTS, _TEXT_WEIGHTS = "diffusion_pytorch_model", "model"
# What is needed of a model of the hub, which may hold variants of its weights.
_WANTED = (
    "*.json",
    "tokenizer/*",
    f"*{_WEIGHTS}.safetensors",
    f"*{_WEIGHTS}-0*.safetensors",
    f"text_encoder/{_TEXT_WEIGHTS}.safetensors",
    f"text_encoder/{_TEXT_WEIGHTS}-0*.safetensors",
)


def load_image_generator(
    source: str | Path,
    *,
    device: str = "cpu",
    precision: str = "float32",
    gradient_checkpointing: bool = False,
    local_files_only: bool = True,
) -> ImageGenerator:
    """Load a diffusion model with its decoder and the noise of its training.

    Parameters
    ----------
    source : str or Path
        ``"sketch:latent"`` or ``"sketch:pixel"`` for the small generators of the suite,
        ``"sketch:FILE"`` for one of ``neurovis train generator``,
        ``"sketch:seeded:latent:0"`` for random weights; a folder in the layout of
        diffusers (`LAYOUT`); or a name on the Hugging Face hub, "owner/name".
    device : str, default "cpu"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision : {"float32", "float16", "bfloat16", "auto"}, default "float32"
        Type of the weights. "auto" takes 16 bits on a GPU, except for the small
        generators. Samples, decoded images and all that follows are float32 always.
    gradient_checkpointing : bool, default False
        Compute activations again in the backward pass, which saves memory, where the
        network can (all but VQ decoders and the decoders of the small generators).
    local_files_only : bool, default True
        Take a model of the hub from the cache on disk only; False lets it be
        downloaded, unless ``NEUROVIS_OFFLINE=1`` or ``HF_HUB_OFFLINE=1`` forbids it.

    Returns
    -------
    ImageGenerator
        On the device, in evaluation mode, without gradients for weights. Pixel models
        are cut at ± 1; latent ones where their scheduler's file says so.

    Raises
    ------
    FileNotFoundError
        If the folder or parts of it are missing (all are named), or the model is not in
        the cache and cannot be downloaded.
    DataCorruptError
        If files are damaged, or weights do not fit their description.
    TypeError, ValueError
        If an argument is wrong, or the model is of a kind that is not supported.
    MissingDependencyError
        If diffusers or transformers is not installed.

    Notes
    -----
    Decoders never work in tiles: seams would show in images and in gradients, and at
    the size that a model was trained with there is one tile only.

    References
    ----------
    Rombach, Blattmann, Lorenz, Esser and Ommer (2022). High-resolution image synthesis
    with latent diffusion models. CVPR. arXiv:2112.10752.

    Examples
    --------
    >>> generator = load_image_generator("sketch:seeded:latent:0")
    >>> generator.shape, generator.size_px, generator.trained
    ((8, 8, 8), (32, 32), False)
    """
    check_option("precision", precision, PRECISIONS)
    place = resolve(device)
    small = str(source).startswith("sketch:")
    if small:
        parts = _sketch(str(source))
    else:
        folder, name = find_generator(source, local_files_only=local_files_only)
        parts = {"name": name, **_from_folder(folder)}
    state: dict[str, Tensor] = {}
    for part in ("denoiser", "decoder"):
        module = parts[part]
        if module is None:
            continue
        # The `to` of diffusers warns of modules that are not there.
        nn.Module.to(module, _dtype(precision, place, small))
        module.eval().requires_grad_(False)
        inner: Any = module.inner if isinstance(module, _LatentDecoder) else module
        able = getattr(inner, "_supports_gradient_checkpointing", False)
        if gradient_checkpointing and able:
            inner.enable_gradient_checkpointing()
        state |= {f"{part}.{n}": v for n, v in module.state_dict().items()}
    if parts.get("condition") is not None:
        state["condition"] = parts["condition"]
    return ImageGenerator(**parts, fingerprint=hash_state_dict(state)).to(place)


def _dtype(precision: str, place: torch.device, small: bool) -> torch.dtype:
    if precision == "auto":
        return torch.float32 if small or place.type == "cpu" else autocast_dtype(place)
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


# ------------------------------------------------------------- small generators


def _sketch(source: str) -> dict[str, Any]:
    asked = source.removeprefix("sketch:")
    shipped = asked in _SKETCH_LIMITS
    found = load_sketch_generator(f"shipped-{asked}" if shipped else asked)
    config: Any = found.denoiser.config
    return {
        "name": source,
        "denoiser": found.denoiser,
        "decoder": found.decoder,
        "shape": (config.in_channels, config.sample_size, config.sample_size),
        "scheduler": dict(SKETCH_SCHEDULER),
        "clean_limit": _SKETCH_LIMITS[found.kind],
        "size_px": (SIDE_PX, SIDE_PX),
        "trained": not asked.startswith("seeded:"),
        "notes": found.notes,
    }


# ------------------------------------------------------------------- finding


def find_generator(
    source: str | Path, *, local_files_only: bool = True
) -> tuple[Path, str]:
    """Return the folder of a checkpoint.

    Parameters
    ----------
    source : str or Path
        A folder, or a name on the Hugging Face hub, "owner/name".
    local_files_only : bool, default True
        As `load_image_generator`.

    Returns
    -------
    folder : Path
        Where its files are; some may be missing.
    name : str
        What it is called.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the model is not in the cache and cannot be
        downloaded.
    MissingDependencyError
        If huggingface_hub is needed and not installed.
    """
    path = Path(source)
    if path.is_dir():
        return path, path.resolve().name
    name = str(source)
    if not is_hub_name(source):
        raise FileNotFoundError(
            f"`source` must be an existing folder, a name on the hub such as "
            f"'owner/name', or 'sketch:...'; {path} is not there.\n{LAYOUT}"
        )
    folder = find_hub_folder(
        name, _WANTED, LAYOUT, what=_WHAT, local_files_only=local_files_only
    )
    return folder, name


# ------------------------------------------------------------------- reading


class _LatentDecoder(nn.Module):
    """The decoder of an autoencoder of diffusers; `shift` follows the scale."""

    def __init__(self, inner: nn.Module, shift: float = 0.0) -> None:
        super().__init__()
        self.inner, self.shift = inner, shift

    def forward(self, latents: Tensor) -> Tensor:
        autoencoder: Any = self.inner
        pictures: Tensor = autoencoder.decode(latents + self.shift).sample
        return pictures


def _from_folder(folder: Path) -> dict[str, Any]:
    # Old pixel models have no folders inside.
    flat = not (folder / "unet").is_dir() and (folder / "config.json").is_file()
    unet = folder if flat else folder / "unet"
    noise = (folder if flat else folder / "scheduler") / "scheduler_config.json"
    scheduler, index = describe(noise), describe(folder / "model_index.json")
    known = read_scheduler(scheduler, noise) if noise.is_file() else {}
    kind = describe(unet / "config.json").get("_class_name")
    with_text = kind == "UNet2DConditionModel" or "text_encoder" in index
    autoencoder = folder / "vae" if with_text else None
    for name in ("vae", "vqvae"):
        if name in index or (folder / name).is_dir():
            autoencoder = folder / name
    _check_whole(folder, unet, noise, autoencoder, with_text)
    check_option(f"_class_name of {unet / 'config.json'}", kind, _DENOISERS)
    diffusers = import_generate("diffusers", _WHAT)
    check_betas(known, noise)
    denoiser = load_pretrained(getattr(diffusers, str(kind)), unet, _WEIGHTS)
    config = denoiser.config
    _check_inputs(config, unet)
    side = config.sample_size
    shape = (config.in_channels, *((side, side) if isinstance(side, int) else side))
    parts = {"denoiser": denoiser, "shape": shape, "scheduler": known}
    if autoencoder is None:
        if config.in_channels != 3:
            raise ValueError(
                f"{folder} has no autoencoder, so its network must denoise pixels (3 "
                f"channels); it denoises {config.in_channels}.\n{LAYOUT}"
            )
        return parts | {"decoder": None, "clean_limit": 1.0, "size_px": shape[1:]}
    parts |= _load_decoder(diffusers, autoencoder, shape)
    if scheduler.get("clip_sample"):
        parts["clean_limit"] = float(scheduler.get("clip_sample_range", 1.0))
    if with_text:
        condition = encode_prompts(folder, [""])
        if condition.shape[-1] != config.cross_attention_dim:
            raise ValueError(
                f"{unet} takes embeddings of {config.cross_attention_dim} numbers, but "
                f"the text encoder gives {condition.shape[-1]}: they belong to "
                "different models."
            )
        parts["condition"] = condition
    return parts


def _check_whole(
    folder: Path, unet: Path, noise: Path, autoencoder: Path | None, with_text: bool
) -> None:
    models = [(unet, _WEIGHTS)]
    if autoencoder is not None:
        models.append((autoencoder, _WEIGHTS))
    if with_text:
        models.append((folder / "text_encoder", _TEXT_WEIGHTS))
    needed = [path / "config.json" for path, _ in models] + [noise]
    lacking = [path for path in needed if not path.is_file()]
    for path, stem in models:
        if weights_variant(path, stem) is None:
            lacking.append(path / f"{stem}.safetensors")
    words = [folder / "tokenizer" / n for n in ("tokenizer.json", "vocab.json")]
    if with_text and not any(path.is_file() for path in words):
        lacking.append(words[0])
    if not lacking:
        return
    names = ", ".join(str(path.relative_to(folder)) for path in lacking)
    advice = ""
    if any([*path.glob("*.bin")] for path, _ in models):
        advice = (
            " Weights in .bin files could run code and are not read: convert them, "
            "where you trust them, with the save_pretrained of diffusers."
        )
    raise FileNotFoundError(
        f"{folder} is no whole generator: it lacks {names}.{advice}\n{LAYOUT}"
    )


def _check_inputs(config: Any, folder: Path) -> None:
    for name in _FURTHER_INPUTS:
        if (value := config.get(name)) is not None:
            raise ValueError(
                f"{folder} is a network that needs more than a noisy sample and the "
                f"embedding of a text ({name}={value!r}): Stable Diffusion 1 and 2, "
                "and unconditional models, are supported."
            )
    if config.in_channels != config.out_channels:
        raise ValueError(
            f"{folder} takes {config.in_channels} channels and gives "
            f"{config.out_channels}: networks for filling in, or with learned "
            "variances, are not supported."
        )
    if config.sample_size is None:
        raise ValueError(f"{folder / 'config.json'} must tell the sample_size.")


def _load_decoder(diffusers: Any, folder: Path, shape: Sequence[int]) -> dict[str, Any]:
    kind = describe(folder / "config.json").get("_class_name")
    check_option(f"_class_name of {folder / 'config.json'}", kind, _AUTOENCODERS)
    autoencoder = load_pretrained(getattr(diffusers, str(kind)), folder, _WEIGHTS)
    config = autoencoder.config
    if config["latent_channels"] != shape[0]:
        raise ValueError(
            f"{folder} decodes latents of {config['latent_channels']} channels, but "
            f"the network denoises {shape[0]}: they belong to different models."
        )
    # Only the way back to pictures is needed.
    del autoencoder.encoder, autoencoder.quant_conv
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    return {
        "decoder": _LatentDecoder(autoencoder, float(config.get("shift_factor") or 0)),
        "scaling": float(config["scaling_factor"]),
        "size_px": (factor * shape[1], factor * shape[2]),
    }


def encode_prompts(
    folder: Path, texts: Sequence[str], *, device: str = "cpu"
) -> Tensor:
    """Return the embeddings of texts, by the text encoder of a checkpoint.

    Parameters
    ----------
    folder : Path
        Checkpoint, see `find_generator`.
    texts : sequence of str
        What to embed, at least one. What has too many tokens is cut, as in the
        training of the model, and a warning is logged.
    device : str, default "cpu"
        Where the encoder runs: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Returns
    -------
    Tensor of float32, shape (n_texts, n_tokens, n_features)
        On the CPU. Texts are encoded one by one, so that none depends on others.

    Raises
    ------
    ValueError
        If the text encoder is of a kind that is not supported.
    DataCorruptError
        If files are damaged, or weights do not fit their description.
    MissingDependencyError
        If transformers is not installed.
    """
    path, place = folder / "text_encoder", resolve(device)
    names = describe(path / "config.json").get("architectures") or [None]
    check_option(f"architectures of {path}", names[0], ("CLIPTextModel",))
    transformers = import_generate("transformers", _WHAT)
    encoder = load_pretrained(transformers.CLIPTextModel, path, _TEXT_WEIGHTS)
    encoder = encoder.float().eval().to(place)
    given = _tokenise(transformers, folder / "tokenizer", texts, encoder.config)
    masked = getattr(encoder.config, "use_attention_mask", False)
    found = []
    with torch.no_grad(), exact_float32():
        for tokens in given:
            mask = tokens.attention_mask.to(place) if masked else None
            numbers = tokens.input_ids.to(place)
            found.append(encoder(numbers, attention_mask=mask)[0].cpu())
    return torch.cat(found)


def _tokenise(
    transformers: Any, folder: Path, texts: Sequence[str], config: Any
) -> list[Any]:
    given = []
    try:
        load = transformers.AutoTokenizer.from_pretrained
        tokenizer = load(folder, local_files_only=True)
        most = min(tokenizer.model_max_length, config.max_position_embeddings)
        rule = {"padding": "max_length", "max_length": most, "truncation": True}
        for text in texts:
            n_tokens = len(tokenizer(text, verbose=False).input_ids)
            if n_tokens > most:
                logger.warning(
                    "the end of a text is cut off: it has %d tokens, and the text "
                    "encoder reads %d: %r",
                    *(n_tokens, most, text),
                )
            tokens = tokenizer(text, return_tensors="pt", **rule)
            if int(tokens.input_ids.max()) >= config.vocab_size:
                raise ValueError(f"it has more than {config.vocab_size} tokens")
            given.append(tokens)
    except loader_errors() as error:
        raise unfit(folder, "a tokenizer for text_encoder", error) from error
    return given
