"""How a compact backbone is trained, and what its losses are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.adapters.compact_vgg import (
    STAGES,
    WIDTHS,
    compact_vgg_shapes,
    stage_outputs,
)
from neurovis.adapters.trunks import INPUT_FORMATS
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.files import plain
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.view_losses import distillation, nt_xent
from neurovis.fitting.views import ViewSettings

OBJECTIVES = ("selfsup", "supervised", "distil")
"""Tell pictures apart by two views of each; name their classes; answer as a teacher."""

EMBEDDING = 128
"""Dimensions in which views are told apart."""

_HIDDEN = 256
_STRIDE = 2 ** (len(STAGES) - 1)


def _settings(max_epochs: int) -> TrainSettings:
    return TrainSettings(
        max_epochs=max_epochs,
        patience=None,
        keep="last",
        optimiser="adamw",
        learning_rate=4e-3,
        weight_decay=1e-4,
        schedule="cosine",
        warmup_steps=50,
        clip_norm=None,
        validate_every=5,
        precision="bfloat16",
    )


@dataclass(frozen=True)
class BackboneRecipe:
    """How a compact backbone is trained.

    Parameters
    ----------
    objective : {"selfsup", "supervised", "distil"}
        "selfsup" is contrastive: of all views in a batch, find the other view of the
        same place (Chen et al. 2020, arXiv:2002.05709). "supervised" names the class
        of a picture, "distil" predicts the features of a teacher.
    settings : TrainSettings
        The training loop; the last weights are kept by default.
    views : ViewSettings
        What is varied between views.
    batch_size : int, default 128
        Pictures per batch, >= 2; never more than there are.
    steps_per_epoch : int, default 50
        Batches from one point of the learning curve to the next.
    region : tuple of float or None, default (0.4, 1.0)
        For "selfsup": side of the square of a picture from which both of its views
        are cut, as a share of the short side of the picture, drawn per batch. So a
        photograph gives many places to tell apart, and not one.
    short_px : int, default 256
        Short side that pictures are reduced to.
    temperature : float, default 0.1
        Of the contrast.
    heads : tuple of str, default ("stage3", "stage4", "stage5")
        Stages whose features must solve the task, each by a head of its own.
    widths : tuple of int
        Channels of the five stages.
    name : str, default "own"
        In tables and cards.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    objective: str = "selfsup"
    settings: TrainSettings = field(default_factory=lambda: _settings(20))
    views: ViewSettings = field(default_factory=ViewSettings)
    batch_size: int = 128
    steps_per_epoch: int = 50
    region: tuple[float, float] | None = (0.4, 1.0)
    short_px: int = 256
    temperature: float = 0.1
    heads: tuple[str, ...] = STAGES[2:]
    widths: tuple[int, ...] = WIDTHS
    name: str = "own"

    def __post_init__(self) -> None:
        check_option("objective", self.objective, OBJECTIVES)
        check_whole("batch_size", self.batch_size, low=2)
        check_whole("steps_per_epoch", self.steps_per_epoch, low=1)
        check_whole("short_px", self.short_px, low=16)
        check_between("temperature", self.temperature, low=1e-3)
        # The last stage has one pixel where a view has as many as its stride.
        check_whole("views.size_px", self.views.size_px, low=_STRIDE)
        if self.region is not None:
            for share in self.region:
                check_between("region", share, low=0.05, high=1)
            if len(self.region) != 2 or self.region[0] > self.region[1]:
                raise ValueError(f"`region` must be (low, high); got {self.region}.")
        for head in self.heads:
            check_option("heads", head, STAGES)
        if not self.heads or len(set(self.heads)) < len(self.heads):
            raise ValueError(f"`heads` must be distinct stages; got {self.heads}.")
        compact_vgg_shapes(self.widths)  # raises when they are none
        known = ("loss",) if self.objective == "distil" else ("loss", "accuracy")
        check_option("monitor", self.settings.monitor, known)

    @property
    def parameters(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        return values

    def shortened(self, max_epochs: int) -> "BackboneRecipe":
        """Return the recipe with another number of epochs.

        Parameters
        ----------
        max_epochs : int
            Epochs, >= 1; the learning rate falls accordingly.

        Returns
        -------
        BackboneRecipe
            Named accordingly.
        """
        settings = replace(self.settings, max_epochs=max_epochs)
        if max_epochs == self.settings.max_epochs:
            return self
        return replace(
            self, settings=settings, name=f"{self.name}, {max_epochs} epochs"
        )

    def without_mirrors(self) -> "BackboneRecipe":
        """Return the recipe with views that are never mirrored.

        A network whose views are mirrored is taught that left and right are alike,
        whatever its pictures show; this one is not.

        Returns
        -------
        BackboneRecipe
            Named accordingly.
        """
        if not self.views.mirror:
            return self
        views = replace(self.views, mirror=0.0)
        return replace(self, views=views, name=f"{self.name}, no mirrors")


def compact_recipe(objective: str = "selfsup") -> BackboneRecipe:
    """Return the recipe of the weights that come with the suite, or its likes.

    Parameters
    ----------
    objective : {"selfsup", "supervised", "distil"}
        What is learnt.

    Returns
    -------
    BackboneRecipe
        For "selfsup" that of the shipped weights. Labels and teachers judge whole
        pictures, so views are larger there, and only the last stage has a head where
        there are labels.
    """
    if objective == "selfsup":
        return BackboneRecipe(name="compact")
    views = ViewSettings(area=(0.3, 1.0))
    heads = ("stage5",) if objective == "supervised" else STAGES[2:]
    return BackboneRecipe(objective, views=views, heads=heads, name="compact")


def normalised(views: Tensor) -> Tensor:
    """Turn views into the input of the network.

    Parameters
    ----------
    views : Tensor of float32, shape (B, 3, H, W), 0..1
        Views.

    Returns
    -------
    Tensor of float32, shape (B, 3, H, W), channels-last memory
        As `neurovis.adapters.trunks.to_pixels` gives for format "imagenet".
    """
    pixels = INPUT_FORMATS["imagenet"]
    mean, std = (
        views.new_tensor(v)[:, None, None] / 255 for v in (pixels.mean, pixels.std)
    )
    x: Tensor = (views - mean) / std
    return x.contiguous(memory_format=torch.channels_last)


class Student(nn.Module):
    """The network with the heads that it is trained by.

    Parameters
    ----------
    network : torch.nn.Sequential
        What `neurovis.adapters.compact_vgg.compact_vgg` built, normalised.
    recipe : BackboneRecipe
        Objective and heads.
    n_outputs : mapping of str to int
        Outputs of each head.
    """

    def __init__(
        self,
        network: nn.Sequential,
        recipe: BackboneRecipe,
        n_outputs: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.network = network
        width = dict(zip(STAGES, recipe.widths, strict=True))
        make = _projector if recipe.objective == "selfsup" else nn.Linear
        self.heads = nn.ModuleDict(
            {name: make(width[name], n_outputs[name]) for name in recipe.heads}
        )

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        """Return the output of every head.

        Parameters
        ----------
        views : Tensor of float32, shape (B, 3, H, W), 0..1
            Views.

        Returns
        -------
        dict of str to Tensor, shape (B, n_outputs)
            By stage.
        """
        maps = dict(
            zip(STAGES, stage_outputs(self.network, normalised(views)), strict=True)
        )
        return {
            name: head(maps[name].mean((2, 3))) for name, head in self.heads.items()
        }


def _projector(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(n_in, _HIDDEN, bias=False),
        nn.BatchNorm1d(_HIDDEN),
        nn.ReLU(inplace=True),
        nn.Linear(_HIDDEN, n_out),
    )


def contrast_loss(outputs: Mapping[str, Tensor], temperature: float) -> Tensor:
    """Return the mean contrastive loss, summed over heads.

    Parameters
    ----------
    outputs : mapping of str to Tensor, shape (2 B, n)
        First views of all pictures, then second ones.
    temperature : float
        Of the contrast.

    Returns
    -------
    Tensor
        Scalar.
    """
    pairs = [z.chunk(2) for z in outputs.values()]
    return _total([nt_xent(first, second, temperature) for first, second in pairs])


def label_loss(outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """Return the mean cross-entropy, summed over heads.

    Parameters
    ----------
    outputs : mapping of str to Tensor, shape (B, n_classes)
        Logits.
    labels : Tensor of int64, shape (B,)
        Classes.

    Returns
    -------
    Tensor
        Scalar.
    """
    return _total([F.cross_entropy(z.float(), labels) for z in outputs.values()])


def teacher_loss(
    outputs: Mapping[str, Tensor], answers: Mapping[str, Tensor]
) -> Tensor:
    """Return the distance to the teacher, summed over heads.

    Parameters
    ----------
    outputs, answers : mapping of str to Tensor, shape (B, n_features)
        Features of student and teacher by stage.

    Returns
    -------
    Tensor
        Scalar.
    """
    return _total([distillation(z, answers[name]) for name, z in outputs.items()])


def _total(losses: Sequence[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total
