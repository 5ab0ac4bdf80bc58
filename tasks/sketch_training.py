"""How the small generators that ship were trained: `neurovis train generator`.

Drawings of five categories are made, an autoencoder learns to shorten them (for the
"latent" kind), and a network learns to take noise away (Ho et al. 2020,
arXiv:2006.11239; v-prediction of Salimans & Ho 2022, arXiv:2202.00512).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.adapters.sketch_generator import (
    CATEGORIES,
    KINDS,
    SCHEDULER,
    build_sketch_networks,
    save_sketch_generator,
)
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_bytes, sha256_file, write_json
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.rng import generator, own_torch_stream
from neurovis.fitting.settings import Training, TrainSettings
from neurovis.fitting.train import train
from neurovis.generation.sketch_networks import (
    SIDE_PX,
    SketchDecoder,
    SketchEncoder,
)
from stimuli.category_pictures import make_category_pictures
from tasks.runs import begin_run, check_same_run

WEIGHTS_FILE, CARD_FILE = "generator.safetensors", "card.json"

_LATENT_NOISE, _LATENT_PENALTY = 0.1, 1e-3


def _settings(epochs: int, rate: float, **more: Any) -> TrainSettings:
    return TrainSettings(
        max_epochs=epochs,
        patience=None,
        keep="last",
        optimiser="adamw",
        learning_rate=rate,
        weight_decay=1e-4,
        schedule="cosine",
        precision="bfloat16",
        **more,
    )


@dataclass(frozen=True)
class SketchRecipe:
    """How a small generator is trained.

    Parameters
    ----------
    kind : {"latent", "pixel"}
        What it denoises.
    n_pictures : int, default 24000
        Drawings to train on.
    n_validation : int, default 500
        Further drawings that the losses are measured on too.
    autoencoder : TrainSettings, optional
        How the autoencoder is trained, for "latent".
    denoiser : TrainSettings, optional
        How the denoiser is trained.
    batch_size : int, default 64
        Drawings per step.
    name : str, default "shipped"
        Name of the recipe.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    kind: str = "latent"
    n_pictures: int = 24_000
    n_validation: int = 500
    autoencoder: TrainSettings = field(
        default_factory=lambda: _settings(4, 2e-3, warmup_steps=50)
    )
    denoiser: TrainSettings = field(
        default_factory=lambda: _settings(
            16, 1.5e-3, warmup_steps=200, ema_decay=0.999, validate_every=4
        )
    )
    batch_size: int = 64
    name: str = "shipped"

    def __post_init__(self) -> None:
        check_option("kind", self.kind, KINDS)
        check_whole("n_pictures", self.n_pictures, low=2)
        check_whole("n_validation", self.n_validation, low=2)
        check_whole("batch_size", self.batch_size, low=1, high=self.n_pictures)

    @property
    def parameters(self) -> dict[str, Any]:
        """All values, as JSON has them."""
        return dict(plain(asdict(self)))

    def shortened(self, n_pictures: int, epochs: int) -> "SketchRecipe":
        """Return the recipe with fewer drawings and epochs.

        Parameters
        ----------
        n_pictures : int
            Drawings to train on.
        epochs : int
            Epochs of the denoiser, and of the autoencoder if it has more.

        Returns
        -------
        SketchRecipe
            The same in all else.
        """
        fewer = min(epochs, self.autoencoder.max_epochs)
        return replace(
            self,
            n_pictures=n_pictures,
            autoencoder=replace(self.autoencoder, max_epochs=fewer),
            denoiser=replace(self.denoiser, max_epochs=epochs),
            name=f"{self.name}, {n_pictures} drawings, {epochs} epochs",
        )


@dataclass(frozen=True, eq=False)
class TrainedGenerator:
    """What a training left in its folder.

    Parameters
    ----------
    weights : Path
        The file, for `neurovis.adapters.sketch_generator.load_sketch_generator`.
    card : dict
        What it is, how it was trained, and how well.
    curves : DataFrame
        Learning curves of the denoiser.
    """

    weights: Path
    card: dict[str, Any]
    curves: pd.DataFrame


def draw_sketches(n: int, *, seed: int) -> tuple[Tensor, pd.DataFrame]:
    """Draw coloured pictures of the five categories on smooth backgrounds.

    Parameters
    ----------
    n : int
        Number of pictures.
    seed : int
        Seed of the drawings.

    Returns
    -------
    pictures : Tensor of uint8, shape (n, 3, 32, 32)
        Drawings, categories in turn.
    table : DataFrame
        One row per picture, as `stimuli.category_pictures.make_category_pictures`
        has them.
    """
    # Grey drawings and noisy backgrounds are left out: small networks learn to draw
    # the noise before they learn to draw the things.
    n_made, each_n = 6 * n + 60, -(-n // len(CATEGORIES))
    each: list[pd.Index[int]] = []
    while min(map(len, each), default=0) < each_n:
        found = make_category_pictures(
            n_made, size_px=SIDE_PX, categories=CATEGORIES, seed=seed
        )
        table = found.table
        plain_ones = table[
            table["background"].isin(["gradient", "scene"])
            & ~table["grey"].astype(bool)
        ]
        each = [
            plain_ones[plain_ones["category"] == category].index[:each_n]
            for category in CATEGORIES
        ]
        n_made *= 2  # few drawings can lack a category; the first ones stay the same
    rows = np.stack([index.to_numpy() for index in each], axis=1).ravel()[:n]
    kept = [
        torch.from_numpy(found.load(int(row)).copy()).permute(2, 0, 1)
        for row in progress(rows, "drawing", unit="picture")
    ]
    return torch.stack(kept), table.loc[rows].reset_index(drop=True)


def to_signed(pictures: Tensor) -> Tensor:
    """Return pictures of 0..255 as float32 of -1..1.

    Parameters
    ----------
    pictures : Tensor of uint8
        Pictures.

    Returns
    -------
    Tensor of float32
        The same shape.
    """
    return pictures.float() / 127.5 - 1


class Autoencoder(nn.Module):
    """Encoder and decoder, trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = SketchEncoder(), SketchDecoder()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Shorten pictures and show them again.

        Parameters
        ----------
        pictures : Tensor of float32, shape (n, 3, 32, 32), -1..1
            Drawings.

        Returns
        -------
        latents : Tensor of float32, shape (n, 8, 8, 8)
            What they are shortened to.
        seen : Tensor of float32, shape (n, 3, 32, 32)
            What is seen of them, with noise added in training.
        """
        latents = self.encoder(pictures)
        noisy = latents
        if self.training:
            noisy = latents + _LATENT_NOISE * torch.randn_like(latents)
        return latents, self.decoder.from_raw(noisy)


def train_generator(
    out: str | Path,
    *,
    recipe: SketchRecipe | None = None,
    seed: int = 0,
    device: str = "auto",
) -> TrainedGenerator:
    """Train a small generator and leave it in a folder.

    Interrupted, it resumes when called again and ends with equal weights.

    Parameters
    ----------
    out : str or Path
        Folder for ``generator.safetensors`` (16 bits), ``card.json`` and checkpoints.
    recipe : SketchRecipe, optional
        How to train; that of the shipped "latent" weights by default.
    seed : int, default 0
        Seed of drawings, initial weights and noise.
    device : str, default "auto"
        Where to train.

    Returns
    -------
    TrainedGenerator
        Weights and card.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or `out` holds another training.
    MissingDependencyError
        If diffusers is not installed.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    recipe = SketchRecipe() if recipe is None else recipe
    check_whole("seed", seed, low=0)
    place = resolve(device)
    with own_torch_stream(seed, "generator", recipe.kind):
        denoiser, decoder = build_sketch_networks(recipe.kind)
        autoencoder = Autoencoder()
    arguments = {
        "task": "train-generator",
        "recipe": recipe.parameters,
        "seed": seed,
    }
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    total = recipe.n_pictures + recipe.n_validation
    drawn, _ = draw_sketches(total, seed=seed)
    pictures = sha256_bytes(drawn.numpy().tobytes())
    known, other = drawn[: recipe.n_pictures], drawn[recipe.n_pictures :]
    identity = {"pictures": pictures, "kind": recipe.kind}
    options: dict[str, Any] = {"seed": seed, "device": place, "identity": identity}
    told: dict[str, Any] = {}
    with deterministic():
        if recipe.kind == "latent":
            done = train(
                autoencoder,
                _batches(recipe, "autoencoder"),
                _reconstruction_loss(known),
                settings=recipe.autoencoder,
                validate=lambda module: _reconstruction(module, other),
                folder=folder / "autoencoder",
                description="autoencoder",
                **options,
            )
            autoencoder.load_state_dict(done.state)
            told["psnr_db"] = float(done.curves["val_psnr_db"].iloc[-1])
            # As it will be read: with 16 bits.
            autoencoder = autoencoder.half().float().eval()
            decoder = autoencoder.decoder
            inputs, checks = (_latents(autoencoder, x) for x in (known, other))
            with torch.no_grad():
                mean, scale = inputs.mean((0, 2, 3)), inputs.std((0, 2, 3))
                decoder.mean.copy_(mean.half().float())
                decoder.scale.copy_(scale.half().float())
            spread = [decoder.mean[:, None, None], decoder.scale[:, None, None]]
            inputs, checks = ((x - spread[0]) / spread[1] for x in (inputs, checks))
        else:
            inputs, checks = (
                F.pixel_unshuffle(to_signed(x), 2) for x in (known, other)
            )
        trained = train(
            denoiser,
            _batches(recipe, "denoiser"),
            _denoising_loss(inputs),
            settings=recipe.denoiser,
            validate=_denoising(checks, seed),
            folder=folder / "denoiser",
            description=f"{recipe.kind} denoiser",
            **options,
        )
    return _keep(folder, trained, decoder, recipe, arguments, told, place, pictures)


def _batches(recipe: SketchRecipe, name: str) -> Callable[[int], Sequence[Any]]:
    def batches(epoch: int) -> Sequence[Any]:
        n = recipe.n_pictures
        order = generator(0, "sketches", name, epoch).permutation(n)
        order = order[: n - n % recipe.batch_size]
        return list(order.reshape(-1, recipe.batch_size))

    return batches


def _reconstruction_loss(
    pictures: Tensor,
) -> Callable[[nn.Module, Any], tuple[Tensor, float]]:
    def loss(module: nn.Module, rows: Any) -> tuple[Tensor, float]:
        place = next(module.parameters()).device
        shown = to_signed(pictures[rows]).to(place)
        latents, seen = module(shown)
        value = F.l1_loss(seen.float(), shown) + F.mse_loss(seen.float(), shown)
        value = value + _LATENT_PENALTY * latents.float().square().mean()
        return len(rows) * value, float(len(rows))

    return loss


def _reconstruction(module: nn.Module, pictures: Tensor) -> Mapping[str, float]:
    place = next(module.parameters()).device
    shown = to_signed(pictures).to(place)
    _, seen = module(shown)
    # Levels of 0..1: half of the range -1..1.
    error = float((seen.clamp(-1, 1) - shown).square().mean()) / 4
    return {"loss": error, "psnr_db": float(-10 * np.log10(error))}


@torch.no_grad()
def _latents(autoencoder: Autoencoder, pictures: Tensor) -> Tensor:
    parts = torch.split(pictures, 500)
    return torch.cat([autoencoder.encoder(to_signed(part)) for part in parts])


def noise_shares() -> Tensor:
    """Return the share of the picture that is left at each step of the noise.

    Returns
    -------
    Tensor of float32, shape (1000,)
        Cumulative alpha.
    """
    from diffusers import DDIMScheduler

    shares: Tensor = DDIMScheduler(**SCHEDULER).alphas_cumprod.float()
    return shares


def velocity_loss(
    module: nn.Module, clean: Tensor, steps: Tensor, noise: Tensor, shares: Tensor
) -> Tensor:
    """Return the mean squared error of the predicted velocity.

    Parameters
    ----------
    module : torch.nn.Module
        The denoiser.
    clean : Tensor of float32, shape (n, C, h, w)
        What was drawn.
    steps : Tensor of int64, shape (n,)
        Steps of the noise.
    noise : Tensor of float32, shape (n, C, h, w)
        Standard normal noise.
    shares : Tensor of float32, shape (n_steps,)
        Cumulative alpha.

    Returns
    -------
    Tensor of float32, shape ()
        Mean over everything.
    """
    share = shares[steps][:, None, None, None]
    signal, spread = share.sqrt(), (1 - share).sqrt()
    found = module(signal * clean + spread * noise, steps).sample
    return F.mse_loss(found.float(), signal * noise - spread * clean)


def _denoising_loss(
    clean: Tensor,
) -> Callable[[nn.Module, Any], tuple[Tensor, float]]:
    shares = noise_shares()

    def loss(module: nn.Module, rows: Any) -> tuple[Tensor, float]:
        place = next(module.parameters()).device
        shown = clean[rows]
        steps = torch.randint(0, len(shares), (len(rows),))
        noise = torch.randn(shown.shape)
        parts = (x.to(place) for x in (shown, steps, noise, shares))
        value = velocity_loss(module, *parts)
        return len(rows) * value, float(len(rows))

    return loss


def _denoising(clean: Tensor, seed: int) -> Callable[[nn.Module], Mapping[str, float]]:
    shares = noise_shares()
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=draw)
    steps = (torch.arange(len(clean)) * len(shares)) // len(clean)

    def validate(module: nn.Module) -> Mapping[str, float]:
        place = next(module.parameters()).device
        parts = (x.to(place) for x in (clean, steps, noise, shares))
        return {"loss": float(velocity_loss(module, *parts))}

    return validate


def _keep(
    folder: Path,
    trained: Training,
    decoder: nn.Module,
    recipe: SketchRecipe,
    arguments: Mapping[str, Any],
    told: Mapping[str, Any],
    place: torch.device,
    pictures: str,
) -> TrainedGenerator:
    notes = [
        f"A small generator ({recipe.kind}), trained here on {recipe.n_pictures} "
        "drawings made by a program: no photographs."
    ]
    about = {
        "notes": notes,
        "recipe": recipe.parameters,
        "seed": arguments["seed"],
        "pictures": pictures,
    }
    path = folder / WEIGHTS_FILE
    save_sketch_generator(path, recipe.kind, trained.state, decoder.state_dict(), about)
    provenance = collect(
        int(arguments["seed"]),
        place,
        fingerprints={"pictures": pictures},
        call=dict(arguments),
        notes=notes,
    )
    last = trained.curves.iloc[-1]
    card = {
        "model": f"sketch generator, {recipe.kind}",
        "weights": WEIGHTS_FILE,
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
        "notes": notes,
        "n_training": recipe.n_pictures,
        "n_validation": recipe.n_validation,
        "loss": float(last["loss"]),
        "val_loss": float(last["val_loss"]),
        **told,
        "provenance": provenance.to_dict(),
    }
    write_json(folder / CARD_FILE, card)
    return TrainedGenerator(path, card, trained.curves)
