"""Small generators of drawings, which were trained here and come with the suite.

Both are unconditional diffusion models of pictures of `CATEGORIES`, 32 x 32 pixels:
"latent" is Stable Diffusion in miniature, "pixel" works on the pixels themselves, which
visual anagrams need.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from neurovis.adapters.described_weights import read_described_weights
from neurovis.adapters.weights import check_state_dict
from neurovis.core.checks import check_option, check_path
from neurovis.core.errors import MissingDependencyError
from neurovis.core.files import canonical_json, write_bytes
from neurovis.core.rng import own_torch_stream
from neurovis.generation.sketch_networks import (
    PixelShuffleDecoder,
    SketchDecoder,
    latent_denoiser_config,
    pixel_denoiser_config,
)

KINDS = ("latent", "pixel")

CATEGORIES = ("face", "place", "body", "word", "food")
"""What the drawings show."""

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
}
"""Noise of the training, as ``diffusers.DDIMScheduler`` takes it."""

SHIPPED = {
    "latent": (
        "sketch_latent.safetensors",
        "69a7c96820c586472e7f1bcf9d76eda2f6e21e06f93ca9e2cf907460ad4078bd",
    ),
    "pixel": (
        "sketch_pixel.safetensors",
        "c6770368e43af0fec7246331e8dbf33deb8ab882151d3d1733860dc548427284",
    ),
}
"""Files that come with the suite, and their SHA-256."""

_ABOUT = "sketch_generator"


@dataclass(frozen=True, eq=False)
class SketchWeights:
    """Weights of a small generator and how they came about.

    Parameters
    ----------
    kind : {"latent", "pixel"}
        What it denoises.
    denoiser : torch.nn.Module
        ``diffusers.UNet2DModel``, in evaluation mode, float32.
    decoder : torch.nn.Module
        From what was denoised to pictures, -1..1.
    about : mapping
        What the file tells: `kind`, `notes`, and the training as JSON values.
    """

    kind: str
    denoiser: nn.Module
    decoder: nn.Module
    about: Mapping[str, Any]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know."""
        return tuple(self.about.get("notes", ()))


def build_sketch_networks(kind: str) -> tuple[nn.Module, nn.Module]:
    """Build denoiser and decoder with weights from torch's default generator.

    Parameters
    ----------
    kind : {"latent", "pixel"}
        What is denoised.

    Returns
    -------
    denoiser, decoder : torch.nn.Module
        In training mode.

    Raises
    ------
    ValueError
        If `kind` is unknown.
    MissingDependencyError
        If diffusers is not installed.
    """
    check_option("kind", kind, KINDS)
    UNet = _unet_class()
    if kind == "pixel":
        return UNet(**pixel_denoiser_config()), PixelShuffleDecoder()
    return UNet(**latent_denoiser_config()), SketchDecoder()


def _unet_class() -> Any:
    try:
        from diffusers import UNet2DModel
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Generators of images need the package diffusers: run "
            "`pip install 'neurovis[generate]'`."
        ) from error
    return UNet2DModel


def save_sketch_generator(
    path: str | Path,
    kind: str,
    denoiser: Mapping[str, Tensor],
    decoder: Mapping[str, Tensor],
    about: Mapping[str, Any],
) -> None:
    """Write weights with 16 bits each; equal weights give equal bytes.

    Parameters
    ----------
    path : str or Path
        File that ends in ``.safetensors``.
    kind : {"latent", "pixel"}
        What is denoised.
    denoiser, decoder : mapping of str to Tensor
        State dictionaries of what `build_sketch_networks` gives.
    about : mapping
        JSON values: `notes`, and how the weights came about.

    Raises
    ------
    ValueError
        If the suffix is another one, names do not fit, or a weight is too large for
        16 bits.
    """
    path = Path(path)
    check_option("suffix of path", path.suffix, (".safetensors",))
    state = {f"denoiser.{name}": value for name, value in denoiser.items()}
    state |= {f"decoder.{name}": value for name, value in decoder.items()}
    check_state_dict(state, _shapes(kind), "`denoiser` and `decoder`")
    half = {name: value.half().contiguous() for name, value in state.items()}
    for name, value in half.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds values that 16 bits cannot: {path}.")
    text = canonical_json({**about, "kind": kind})
    write_bytes(path, save(dict(sorted(half.items())), {_ABOUT: text}))


def _shapes(kind: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        parts = dict(
            zip(("denoiser", "decoder"), build_sketch_networks(kind), strict=True)
        )
    return {
        f"{part}.{name}": tuple(value.shape)
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def load_sketch_generator(
    weights: str | Path = "shipped-latent", *, sha256: str | None = None
) -> SketchWeights:
    """Read weights, or draw random ones.

    Parameters
    ----------
    weights : str or Path, default "shipped-latent"
        ``"shipped-latent"`` or ``"shipped-pixel"`` for those that come with the suite;
        ``"seeded:KIND:N"``, such as "seeded:latent:0", for random ones; or a file that
        ``neurovis train generator`` wrote.
    sha256 : str, optional
        Hash that the file must have; those of the shipped files are always checked.

    Returns
    -------
    SketchWeights
        On the CPU, float32, in evaluation mode, without gradients for weights.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    DataCorruptError
        If it is damaged or has another hash.
    ValueError
        If it holds something else.
    MissingDependencyError
        If diffusers is not installed.

    Examples
    --------
    >>> load_sketch_generator("seeded:pixel:3").kind
    'pixel'
    """
    asked = str(weights)
    if asked.startswith("seeded:"):
        found = re.fullmatch(r"seeded:(latent|pixel):(\d{1,9})", asked, re.ASCII)
        if found is None:
            raise ValueError(
                "`weights` must look like 'seeded:latent:0' or 'seeded:pixel:0' (at "
                f"most nine digits); got {asked!r}."
            )
        return _seeded(found[1], int(found[2]))
    if asked.startswith("shipped-"):
        kind = check_option("weights", asked, [f"shipped-{k}" for k in KINDS])[8:]
        name, known = SHIPPED[kind]
        with resources.as_file(resources.files("neurovis.adapters") / name) as path:
            if not path.is_file():
                raise FileNotFoundError(
                    f"The weights {name} do not come with this version. Train some "
                    f"with `neurovis train generator --kind {kind}` and give the file, "
                    f"or use 'seeded:{kind}:0' (random weights)."
                )
            return _read(path, known)
    return _read(check_path("weights", weights), sha256)


def _seeded(kind: str, seed: int) -> SketchWeights:
    # The stream of a training: its denoiser starts from these weights.
    with own_torch_stream(seed, "generator", kind):
        denoiser, decoder = build_sketch_networks(kind)
    note = f"A small generator ({kind}) with random weights (seed {seed})."
    about = {"kind": kind, "seed": seed, "notes": [note]}
    return SketchWeights(kind, _frozen(denoiser), _frozen(decoder), about)


def _frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def _read(path: Path, sha256: str | None) -> SketchWeights:
    def understand(about: dict[str, Any]) -> tuple[dict[str, Any], str]:
        return about, str(check_option("kind", about["kind"], KINDS))

    state, (about, kind) = read_described_weights(
        path,
        _ABOUT,
        understand,
        what="a small generator",
        writer="`neurovis train generator`",
        sha256=sha256,
    )
    check_state_dict(state, _shapes(kind), str(path))
    # What they draw is replaced; the caller's generator must not notice.
    with own_torch_stream(0, "not used"):
        parts = dict(
            zip(("denoiser", "decoder"), build_sketch_networks(kind), strict=True)
        )
    for part, module in parts.items():
        start = f"{part}."
        module.load_state_dict(
            {n.removeprefix(start): v for n, v in state.items() if n.startswith(start)}
        )
    return SketchWeights(
        kind, _frozen(parts["denoiser"]), _frozen(parts["decoder"]), about
    )
