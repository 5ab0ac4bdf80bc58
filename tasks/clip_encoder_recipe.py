"""How encoders of embeddings are trained: settings, views, batches."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurovis.adapters.trunks import InputFormat
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.files import plain
from neurovis.core.rng import generator
from neurovis.fitting.settings import TrainSettings
from tasks.backbone_views import Batch

RECIPES = ("braindive", "brainscuba")
"""Published encoders."""

PRECISIONS = ("float32", "autocast")


@dataclass(frozen=True)
class ClipEncoderRecipe:
    """How a linear map of embeddings is trained.

    Parameters
    ----------
    epochs : int, default 100
        Epochs; the learning rate halves over them.
    batch_size : int, default 64
        Pictures per step.
    learning_rate : float, default 3e-4
        Rate before the first epoch: epoch e = 1, 2, ... has
        ``learning_rate * 0.5 ** (e / epochs)``.
    weight_decay : float, default 0.02
        Of AdamW, for weights and biases.
    gain : float, default 0.05
        Levels of each picture are multiplied by 1 - `gain` to 1 + `gain`.
    shift_px : int, default 4
        All pictures of a batch are shifted by up to so many pixels of the network's
        input along each axis; edges are repeated.
    noise_sd : float, default 0.05
        Standard deviation of the noise added to the normalised input.
    standardise : bool, default True
        Shift and divide the responses of each unit by mean and standard deviation over
        training rows; published responses are z-scores already. Predictions are in
        the unit of the responses either way.
    precision : {"float32", "autocast"}
        "autocast" lets the frozen network compute parts in 16 bits, as published; the
        map has 32.
    name : str, default "braindive"
        Name of the recipe.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.

    Examples
    --------
    >>> settings = ClipEncoderRecipe().settings
    >>> [f"{settings.rate(epoch, 0):.3e}" for epoch in (0, 99)]
    ['2.979e-04', '1.500e-04']
    """

    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 3e-4
    weight_decay: float = 2e-2
    gain: float = 0.05
    shift_px: int = 4
    noise_sd: float = 0.05
    standardise: bool = True
    precision: str = "float32"
    name: str = "braindive"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            check_whole(name, getattr(self, name), low=1)
        check_whole("shift_px", self.shift_px, low=0)
        check_between("gain", self.gain, low=0, high=1)
        check_between("noise_sd", self.noise_sd, low=0)
        check_option("precision", self.precision, PRECISIONS)
        self.settings  # noqa: B018  refuses the rest

    @property
    def settings(self) -> TrainSettings:
        """How the shared trainer is told."""
        factor = 0.5 ** (1 / self.epochs)
        check_between("learning_rate", self.learning_rate, low=0)
        return TrainSettings(
            max_epochs=self.epochs,
            patience=None,
            keep="last",
            optimiser="adamw",
            # The trainer counts epochs from 0.
            learning_rate=self.learning_rate * factor,
            weight_decay=self.weight_decay,
            decay_all=True,
            schedule="step",
            step_epochs=1,
            step_factor=factor,
            clip_norm=None,
        )

    @property
    def is_augmented(self) -> bool:
        """Whether the network sees other views in every epoch."""
        return bool(self.gain or self.shift_px or self.noise_sd)

    @property
    def parameters(self) -> dict[str, Any]:
        """All values, as JSON has them."""
        return dict(plain(asdict(self)))


def published_recipe(name: str = "braindive") -> ClipEncoderRecipe:
    """Return how a published encoder was trained.

    Parameters
    ----------
    name : {"braindive", "brainscuba"}
        Which one.

    Returns
    -------
    ClipEncoderRecipe
        Batches of 64 and weight decay 0.02, or 32 and 0.015.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    check_option("recipe", name, RECIPES)
    if name == "braindive":
        return ClipEncoderRecipe()
    return ClipEncoderRecipe(batch_size=32, weight_decay=1.5e-2, name=name)


def augment_views(
    pixels: Tensor, rule: InputFormat, recipe: ClipEncoderRecipe, *keys: int
) -> Tensor:
    """Return what the network sees of a batch in training.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (n, h, w, 3)
        RGB pictures of the size of the input.
    rule : InputFormat
        How the network normalises them, for the unit of the noise.
    recipe : ClipEncoderRecipe
        Gain, shift and noise.
    *keys : int
        Seed, then what tells batches apart: equal keys give equal views.

    Returns
    -------
    Tensor of float32, shape (n, h, w, 3)
        Levels, about 0..255: not cut.
    """
    seed, *place = keys
    draw = generator(seed, "clip encoder views", *place)
    gains = draw.uniform(1 - recipe.gain, 1 + recipe.gain, len(pixels))
    reach = recipe.shift_px
    down, right = draw.integers(-reach, reach + 1, 2).tolist()
    factors = torch.from_numpy(gains.astype(np.float32)).to(pixels.device)
    views = pixels * factors[:, None, None, None]
    # Rows and columns beyond the edge are those of the edge.
    rows, columns = (
        (torch.arange(n, device=views.device) - step).clamp(0, n - 1)
        for n, step in zip(views.shape[1:3], (down, right), strict=True)
    )
    views = views[:, rows][:, :, columns]
    if recipe.noise_sd:
        noise = draw.standard_normal(tuple(views.shape), np.float32)
        spread = rule.std if rule.order == "rgb" else rule.std[::-1]
        scale = recipe.noise_sd * torch.tensor(spread, device=views.device)
        views = views + torch.from_numpy(noise).to(views.device) * scale
    return views


def batches_of(
    recipe: ClipEncoderRecipe, n_rows: int, seed: int
) -> Callable[[int], Sequence[Batch]]:
    """Return batches of an epoch: every row once, in random order.

    Parameters
    ----------
    recipe : ClipEncoderRecipe
        Size of batches; the last one may be smaller.
    n_rows : int
        Training rows.
    seed : int
        Seed of the order.

    Returns
    -------
    callable
        From an epoch, counted from 0, to its batches.

    Examples
    --------
    >>> batches = batches_of(ClipEncoderRecipe(batch_size=2), 3, 0)(0)
    >>> sorted(row for batch in batches for row in batch.rows)
    [0, 1, 2]
    """

    def batches(epoch: int) -> list[Batch]:
        order = generator(seed, "clip encoder batches", epoch).permutation(n_rows)
        starts = range(0, n_rows, recipe.batch_size)
        return [
            Batch(epoch, number, tuple(order[at : at + recipe.batch_size].tolist()))
            for number, at in enumerate(starts)
        ]

    return batches
