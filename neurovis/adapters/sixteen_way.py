"""ImageNet networks as observers that answer with one of 16 everyday categories.

In a recognition experiment a person chooses one of 16 categories for each picture. A
network of 1000 classes answers the same question when the probabilities of the classes
of each category are averaged and the largest average is taken.

References
----------
Geirhos, Temme, Rauber, Schütt, Bethge and Wichmann (2018). Generalisation in humans and
deep neural networks. NeurIPS 31. arXiv:1808.08750.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.sixteen_classes import (
    CATEGORIES,
    N_CLASSES,
    RULES,
    sixteen_class_probabilities,
)
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_models import Backbone
from neurovis.core.checks import check_option
from neurovis.core.device import in_batches, resolve
from neurovis.core.types import Responses, StimulusSet

Sizing = Literal["whole", "published", "own"]
SIZINGS: tuple[Sizing, ...] = ("whole", "published", "own")
"""How a picture comes to the size of the input, see `load_sixteen_way`."""

PROBABILITY_COLUMNS = tuple(f"p_{category}" for category in CATEGORIES)
"""Columns of the 16 scores of a response."""

# Sides of the published protocol: pictures of 224 enter as they are, others are scaled
# to 256 and cut.
_SIDE_PX, _SCALED_PX = 224, 256
# Trained at 227, but with a mean over positions at the end: 224 is as good to it.
_SIZELESS = ("squeezenet1_0", "darknet_tiny")


@dataclass(frozen=True, eq=False)
class SixteenWayDecider:
    """A network of 1000 ImageNet classes that chooses among 16 categories.

    Parameters
    ----------
    name : str
        Name in tables and figures.
    backbone : Backbone
        Network whose output is 1000 logits in the order of ImageNet, on `device`.
    rule : {"mean", "sum", "max"}
        How the probabilities of the classes of a category become one number.
    sizing : {"whole", "published", "own"}
        How pictures come to the size of the input.
    device : torch.device
        Where the network computes.
    batch_size : int or "auto"
        Pictures that go through the network at once.
    """

    name: str
    backbone: Backbone
    rule: str
    sizing: Sizing
    device: torch.device
    batch_size: int | Literal["auto"] = "auto"

    @property
    def trained(self) -> bool:
        """False for random weights."""
        return self.backbone.trained

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know, such as "untrained weights"."""
        if not self.trained:
            told = self.backbone.weights_name
            return (f"{self.name}: untrained weights ({told})",)
        return tuple(f"{self.name}: {remark}" for remark in self.backbone.remarks)

    @property
    def identity(self) -> dict[str, Any]:
        """All that its responses depend on besides the pictures."""
        return {
            **self.backbone.identity,
            "classes": "sixteen",
            "rule": self.rule,
            "sizing": self.sizing,
        }

    def probabilities(
        self, pictures: Sequence[NDArray[np.uint8]]
    ) -> NDArray[np.float64]:
        """Compute the probabilities of the 1000 classes.

        Parameters
        ----------
        pictures : sequence of ndarray of uint8, shape (H, W, 3)
            RGB pictures of any size.

        Returns
        -------
        ndarray of float64, shape (n_pictures, 1000)
            Softmax of the logits; each row sums to 1.
        """

        @torch.inference_mode()
        def classify(some: Sequence[int]) -> list[NDArray[np.float64]]:
            rule = self.backbone.preprocessing
            prepared = [self._prepare(pictures[i]) for i in some]
            batch = torch.from_numpy(np.stack(prepared)).to(self.device)
            logits = self.backbone.module(rule.normalise(batch))
            return list(torch.softmax(logits.double().cpu(), dim=1).numpy())

        found = in_batches(
            classify, range(len(pictures)), self.batch_size, device=self.device
        )
        return np.stack(found) if found else np.empty((0, N_CLASSES))

    def decide(self, stimuli: StimulusSet, *, seed: int = 0) -> Responses:
        """Choose one of 16 categories for every picture.

        Parameters
        ----------
        stimuli : StimulusSet
            Pictures; the column `truth`, if there is one, tells the right category.
        seed : int, default 0
            Not used: the choice does not depend on chance.

        Returns
        -------
        Responses
            One trial per picture: `subject` (the name), `stimulus_id`, `trial`,
            `response`, `rt_ms` (NaN), `correct` (missing without `truth`), and the 16
            scores `p_airplane` to `p_truck`, which need not sum to 1.
        """
        scores = sixteen_class_probabilities(
            self.probabilities(stimuli.images), self.rule
        )
        response = np.asarray(CATEGORIES, object)[scores.argmax(axis=1)]
        correct = pd.array([pd.NA] * len(stimuli), "boolean")
        if "truth" in stimuli.table:
            right = response == stimuli.table["truth"].to_numpy(object)
            correct = pd.array(right, "boolean")
        table = pd.DataFrame(
            {
                "subject": self.name,
                "stimulus_id": stimuli.table["stimulus_id"].to_numpy(object),
                "trial": np.arange(len(stimuli)),
                "response": response,
                "rt_ms": np.nan,
                "correct": correct,
            }
        )
        table[list(PROBABILITY_COLUMNS)] = scores
        return Responses(table)

    def _prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rule = self.backbone.preprocessing
        if self.sizing == "published" and picture.shape[:2] == tuple(rule.size_px):
            return picture
        return rule.prepare(picture)


def load_sixteen_way(
    name: str,
    weights: str | Path | None = None,
    *,
    label: str | None = None,
    sizing: Sizing = "whole",
    rule: str = "mean",
    device: str | torch.device = "auto",
    batch_size: int | Literal["auto"] = "auto",
) -> SixteenWayDecider:
    """Build a network with 1000 ImageNet classes that answers with 16 categories.

    Parameters
    ----------
    name : str
        Network, as `neurovis.adapters.backbones.load_backbone` takes it:
        "squeezenet1_0", "darknet_tiny", "timm:NAME" or "torchvision:NAME".
    weights : str or Path, optional
        File of weights, or ``"seeded:N"`` for random ones; see there.
    label : str, optional
        Name in tables and figures; by default made of `name` and `weights`.
    sizing : {"whole", "published", "own"}, default "whole"
        How a picture comes to the size of the input. "whole": it is scaled to it
        (Pillow, bicubic), nothing is cut away: the network gets all that people saw.
        "published": pictures of 224 x 224 (or of the side of the network's input, if
        that is fixed) enter as they are, others are scaled to 256 along the shorter
        side (or 256/224 of the input) and the centre is cut out, as in the published
        comparisons with people. "own": by the rule that the network was tested with.
        For a picture of the size of the input the first two are the same.
    rule : {"mean", "sum", "max"}, default "mean"
        How the probabilities of the classes of a category become one number.
    device : str or torch.device, default "auto"
        Where the network computes.
    batch_size : int or "auto", default "auto"
        Pictures that go through the network at once.

    Returns
    -------
    SixteenWayDecider
        The observer.

    Raises
    ------
    ValueError
        If an option or name is unknown, or the network does not give 1000 logits.
    FileNotFoundError, DataCorruptError
        If weights are missing or damaged.
    MissingDependencyError
        If a package is needed and not installed.

    Examples
    --------
    >>> observer = load_sixteen_way("timm:test_vit", "seeded:0", device="cpu")
    >>> observer.notes
    ('timm:test_vit@seeded:0: untrained weights (seeded:0)',)
    """
    check_option("sizing", sizing, SIZINGS)
    check_option("rule", rule, RULES)
    place = resolve(device)
    backbone = load_backbone(name, weights)
    backbone = replace(backbone, preprocessing=_sized(backbone, sizing))
    _check_classes(backbone)
    backbone.module.to(place)
    title = label or _title(name, weights)
    return SixteenWayDecider(title, backbone, rule, sizing, place, batch_size)


def _title(name: str, weights: str | Path | None) -> str:
    if weights is None:
        return name
    text = str(weights)
    return f"{name}@{text if text.startswith('seeded:') else Path(text).stem}"


def _sized(backbone: Backbone, sizing: Sizing) -> Preprocessing:
    """Return the preprocessing of a protocol."""
    rule = backbone.preprocessing
    if sizing == "own":
        return rule
    if sizing == "whole":
        return replace(
            rule, resize="squash", resize_px=rule.size_px, interpolation="bicubic"
        )
    sizeless = backbone.architecture in _SIZELESS
    sides = (_SIDE_PX, _SIDE_PX) if sizeless else rule.size_px
    height, width = (round(side * _SCALED_PX / _SIDE_PX) for side in sides)
    return replace(
        rule,
        size_px=sides,
        resize="crop",
        resize_px=(height, width),
        interpolation="bilinear",
    )


@torch.inference_mode()
def _check_classes(backbone: Backbone) -> None:
    """Raise unless the output is one row of 1000 numbers per picture."""
    rule = backbone.preprocessing
    blank = torch.zeros((1, *rule.size_px, 3), dtype=torch.uint8)
    found = backbone.module(rule.normalise(blank))
    shape = tuple(getattr(found, "shape", ()))
    if shape != (1, N_CLASSES):
        raise ValueError(
            f"{backbone.name} must give {N_CLASSES} ImageNet logits per picture; its "
            f"output has shape {shape}. Take a network with the classifier that was "
            "trained on the 1000 classes."
        )
