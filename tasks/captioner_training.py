"""How the small CLIP and captioner that ship were trained: `neurovis train captioner`.

Drawings of five categories get captions by template. A network with two towers learns
which belong together, with the contrastive loss of CLIP (Radford et al. 2021,
arXiv:2103.00020); then a small GPT-2 learns to write the caption after a prefix made
from the embedding of the drawing (Mokady et al. 2021, arXiv:2111.09734).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.captioner import Captioner, save_captioner
from neurovis.adapters.sketch_clip import (
    N_FEATURES,
    build_sketch_clip,
    load_sketch_clip,
    save_sketch_clip,
)
from neurovis.core.checks import check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_bytes, sha256_file, write_json
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.core.tensors import hash_state_dict
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.train import train
from tasks.captioner_parts import (
    CaptionedDrawings,
    CaptionModel,
    build_caption_model,
    contrastive_loss,
    draw_captioned,
    embed_pictures,
    judge_captions,
    judge_clip,
    mark_words,
    token_loss,
)
from tasks.runs import begin_run, check_same_run
from tasks.sketch_captions import STOP, VOCABULARY, caption_tokenizer

CLIP_FILE, CAPTIONER_FOLDER = "sketch_clip.safetensors", "captioner"
CARD_FILE = "card.json"

_SHIFT_PX = 2


def _settings(epochs: int, rate: float, **more: Any) -> TrainSettings:
    return TrainSettings(
        max_epochs=epochs,
        patience=None,
        keep="last",
        optimiser="adamw",
        learning_rate=rate,
        weight_decay=1e-2,
        schedule="cosine",
        **more,
    )


@dataclass(frozen=True)
class CaptionerRecipe:
    """How a small CLIP and its captioner are trained.

    Parameters
    ----------
    n_pictures : int, default 20000
        Drawings to train on.
    n_validation : int, default 1000
        Further drawings that both are judged by.
    n_wordings : int, default 6
        Captions that are drawn for each drawing.
    clip : TrainSettings, optional
        How the two towers are trained.
    captioner : TrainSettings, optional
        How prefix mapper and language model are trained.
    batch_size : int, default 128
        Drawings per step.
    name : str, default "shipped"
        Name of the recipe.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    n_pictures: int = 20_000
    n_validation: int = 1_000
    n_wordings: int = 6
    clip: TrainSettings = field(
        default_factory=lambda: _settings(20, 2e-3, warmup_steps=100)
    )
    captioner: TrainSettings = field(
        default_factory=lambda: _settings(10, 2e-3, warmup_steps=200)
    )
    batch_size: int = 128
    name: str = "shipped"

    def __post_init__(self) -> None:
        check_whole("n_pictures", self.n_pictures, low=2)
        check_whole("n_validation", self.n_validation, low=2)
        check_whole("n_wordings", self.n_wordings, low=1)
        check_whole("batch_size", self.batch_size, low=2, high=self.n_pictures)

    @property
    def parameters(self) -> dict[str, Any]:
        """All values, as JSON has them."""
        return dict(plain(asdict(self)))

    def shortened(
        self, n_pictures: int | None = None, epochs: int | None = None
    ) -> "CaptionerRecipe":
        """Return the recipe with fewer drawings and epochs.

        Parameters
        ----------
        n_pictures : int, optional
            Drawings to train on; as many by default.
        epochs : int, optional
            Epochs of both trainings; as many by default.

        Returns
        -------
        CaptionerRecipe
            The same in all else.
        """
        made, name = self, self.name
        if n_pictures is not None:
            name = f"{name}, {n_pictures} drawings"
            made = replace(made, n_pictures=n_pictures)
        if epochs is not None:
            name = f"{name}, {epochs} epochs"
            both = (replace(x, max_epochs=epochs) for x in (made.clip, made.captioner))
            clip, captioner = both
            made = replace(made, clip=clip, captioner=captioner)
        return replace(made, name=name)


@dataclass(frozen=True, eq=False)
class TrainedCaptioner:
    """What a training left in its folder.

    Parameters
    ----------
    weights : Path
        File for `neurovis.adapters.sketch_clip.load_sketch_clip`.
    captioner : Path
        Folder for `neurovis.adapters.captioner.load_captioner`.
    card : dict
        What they are, how they were trained, and how well.
    clip_curves, curves : DataFrame
        Learning curves of the two towers and of the captioner.
    """

    weights: Path
    captioner: Path
    card: dict[str, Any]
    clip_curves: pd.DataFrame
    curves: pd.DataFrame


def train_captioner(
    out: str | Path,
    *,
    recipe: CaptionerRecipe | None = None,
    seed: int = 0,
    device: str = "auto",
) -> TrainedCaptioner:
    """Train a small CLIP of drawings and a captioner of its embeddings.

    Interrupted, it resumes when called again and ends with equal weights.

    Parameters
    ----------
    out : str or Path
        Folder for ``sketch_clip.safetensors``, the folder ``captioner``, ``card.json``
        and checkpoints.
    recipe : CaptionerRecipe, optional
        How to train; that of the shipped weights by default.
    seed : int, default 0
        Seed of drawings, captions, initial weights, order and shifts.
    device : str, default "auto"
        Where to train.

    Returns
    -------
    TrainedCaptioner
        Weights and card.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or `out` holds another training.
    MissingDependencyError
        If transformers is not installed.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    recipe = CaptionerRecipe() if recipe is None else recipe
    check_whole("seed", seed, low=0)
    place = resolve(device)
    model = build_caption_model(seed)
    arguments = {"task": "train-captioner", "recipe": recipe.parameters, "seed": seed}
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    total = recipe.n_pictures + recipe.n_validation
    drawn = draw_captioned(total, n_wordings=recipe.n_wordings, seed=seed)
    known = drawn.part(slice(None, recipe.n_pictures))
    other = drawn.part(slice(recipe.n_pictures, None))
    pictures = sha256_bytes(drawn.pictures.numpy().tobytes())
    captions = sha256_bytes(drawn.tokens.numpy().tobytes())
    marks = {"pictures": pictures, "captions": captions}
    options: dict[str, Any] = {"seed": seed, "device": place}
    notes = [
        f"A small CLIP and captioner, trained here on {recipe.n_pictures} drawings "
        "made by a program, with captions by template: no photographs, no language "
        "of people."
    ]

    def validate(module: Any) -> Mapping[str, float]:
        return judge_clip(module, other)

    with deterministic():
        towers = train(
            build_sketch_clip(VOCABULARY, seed),
            _batches(recipe, "clip", seed),
            _clip_loss(known),
            settings=recipe.clip,
            validate=validate,
            folder=folder / "clip_training",
            identity=marks,
            description="clip",
            **options,
        )
        about = {"notes": notes, "recipe": recipe.parameters, "seed": seed, **marks}
        path = folder / CLIP_FILE
        save_sketch_clip(path, towers.state, VOCABULARY, about)
        clip = load_sketch_clip(path)
        marks = {"clip": hash_state_dict(clip.state_dict()), **marks}
        inputs, checks = (embed_pictures(clip, x.pictures) for x in (known, other))
        words = train(
            model,
            _batches(recipe, "captioner", seed),
            _caption_loss(inputs, known.tokens),
            settings=recipe.captioner,
            validate=lambda module: _caption_validation(module, checks, other.tokens),
            folder=folder / "language_training",
            identity=marks,
            description="captioner",
            **options,
        )
    model.load_state_dict(words.state)
    captioner = _as_captioner(model.eval().requires_grad_(False), marks["clip"], notes)
    save_captioner(folder / CAPTIONER_FOLDER, captioner)
    norms = checks.norm(dim=1)
    validation = {
        **{f"clip_{name}": v for name, v in judge_clip(clip, other).items()},
        "captioner_loss": float(words.curves["val_loss"].iloc[-1]),
        "norm_mean": float(norms.mean()),
        "norm_sd": float(norms.std()),
        **judge_captions(captioner.caption(checks.numpy())["caption"], other.seen),
    }
    provenance = collect(
        seed, place, fingerprints=marks, call=dict(arguments), notes=notes
    )
    card = {
        "model": "small CLIP and captioner of drawings",
        "clip": CLIP_FILE,
        "captioner": CAPTIONER_FOLDER,
        "sha256": _hashes(folder),
        "notes": notes,
        "n_training": recipe.n_pictures,
        "n_validation": recipe.n_validation,
        "validation": validation,
        "provenance": provenance.to_dict(),
    }
    write_json(folder / CARD_FILE, card)
    return TrainedCaptioner(
        path, folder / CAPTIONER_FOLDER, card, towers.curves, words.curves
    )


def _as_captioner(model: CaptionModel, clip: str, notes: Sequence[str]) -> Captioner:
    tokenizer = caption_tokenizer()
    embedding = {
        "network": "sketch_clip",
        "architecture": "sketch_clip",
        "layer": "output",
        "n_features": N_FEATURES,
        "weights_hash": clip,
    }
    return Captioner(
        name="sketch",
        mapper=model.mapper,
        language_model=model.language_model,
        tokenizer=tokenizer,
        stop_token=VOCABULARY.index(STOP),
        embedding=embedding,
        trained=True,
        notes=tuple(notes),
    )


def _hashes(folder: Path) -> dict[str, str]:
    files = [folder / CLIP_FILE, *sorted((folder / CAPTIONER_FOLDER).iterdir())]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def _batches(
    recipe: CaptionerRecipe, name: str, seed: int
) -> Callable[[int], Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Return rows of drawings and the wordings that are shown of them."""

    def batches(epoch: int) -> Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        rng = generator(seed, "captioned sketches", name, epoch)
        n, size = recipe.n_pictures, recipe.batch_size
        rows = rng.permutation(n)[: n - n % size].reshape(-1, size)
        return list(
            zip(rows, rng.integers(recipe.n_wordings, size=rows.shape), strict=True)
        )

    return batches


def _clip_loss(drawn: CaptionedDrawings) -> Callable[[Any, Any], tuple[Tensor, float]]:
    def loss(module: Any, batch: Any) -> tuple[Tensor, float]:
        rows, wordings = batch
        place = next(module.parameters()).device
        shown = drawn.pictures[rows].float() / 255
        # What is generated need not lie where drawn things do.
        padded = F.pad(shown, 4 * (_SHIFT_PX,), mode="replicate")
        top, left = torch.randint(0, 2 * _SHIFT_PX + 1, (2,)).tolist()
        size = shown.shape[-1]
        shown = padded[..., top : top + size, left : left + size]
        tokens = drawn.tokens[wordings, rows].to(place)
        value = contrastive_loss(
            module.embed_images(shown.to(place)),
            module.embed_tokens(tokens, mark_words(tokens)),
            drawn.content[rows].to(place),
            module.scale,
        )
        return len(rows) * value, float(len(rows))

    return loss


def _caption_loss(
    embeddings: Tensor, tokens: Tensor
) -> Callable[[nn.Module, Any], tuple[Tensor, float]]:
    def loss(module: nn.Module, batch: Any) -> tuple[Tensor, float]:
        rows, wordings = batch
        place = next(module.parameters()).device
        shown, wanted = embeddings[rows].to(place), tokens[wordings, rows].to(place)
        value = token_loss(module(shown, wanted), wanted)
        return len(rows) * value, float(len(rows))

    return loss


def _caption_validation(
    module: nn.Module, embeddings: Tensor, tokens: Tensor
) -> Mapping[str, float]:
    place = next(module.parameters()).device
    shown, wanted = embeddings.to(place), tokens[0].to(place)
    return {"loss": float(token_loss(module(shown, wanted), wanted))}
