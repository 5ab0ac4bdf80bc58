"""A judge that needs no training: CLIP, asked which text is most like an image.

References
----------
Radford et al. (2021). Learning transferable visual models from natural language
supervision. ICML. arXiv:2103.00020.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.open_clip_models import (
    create_open_clip,
    import_open_clip,
    published_config,
)
from neurovis.adapters.weights import read_state_dict
from neurovis.core.checks import check_path
from neurovis.core.device import exact_float32, in_batches
from neurovis.core.rng import own_torch_stream
from neurovis.core.tensors import hash_state_dict

TEMPLATES = (
    "a photo of {}.",
    "a picture of {}.",
    "an image showing {}.",
    "a close-up photo of {}.",
)
"""Sentences that names are put into; embeddings are averaged over them."""

CATEGORY_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "face": ("a face", "a person's face", "a portrait"),
        "place": ("a place", "a landscape", "a room", "a building"),
        "body": ("a body", "a person", "arms and legs"),
        "word": ("a word", "text", "letters"),
        "food": ("food", "a meal", "a dish"),
    }
)
"""What the five categories of localisers are called."""


@dataclass(frozen=True, eq=False)
class ZeroShotJudge:
    """Vision tower and embedded texts.

    Parameters
    ----------
    name : str
        Network, such as "open_clip:coca_ViT-L-14.laion2b_s13b_b90k".
    module : torch.nn.Module
        Its vision tower.
    preprocessing : Preprocessing
        How images become its input.
    classes : tuple of str
        What can be answered.
    texts : Tensor of float32, shape (n_classes, n_features)
        Mean embedding of the texts of each class, of length 1.
    temperature : float
        What cosines are multiplied by before the softmax.
    trained : bool
        False for random weights.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    texts: Tensor
    temperature: float
    trained: bool

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the tower and the texts."""
        return hash_state_dict({**self.module.state_dict(), "texts": self.texts})

    def name_classes(
        self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return what is seen in images.

        Parameters
        ----------
        images : sequence of ndarray of uint8, shape (H, W, 3)
            RGB.

        Returns
        -------
        shares : ndarray of float64, shape (n, n_classes)
            Softmax over classes.
        embedding : ndarray of float32, shape (n, n_features)
            Of length 1.

        Raises
        ------
        TypeError, ValueError
            If one of them is no image.
        """
        place = self.texts.device

        @torch.no_grad()
        def look(part: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
            ready = np.stack([self.preprocessing.prepare(image) for image in part])
            pixels = torch.from_numpy(ready).to(place)
            found = self.module(self.preprocessing.normalise(pixels))
            # Some towers give tokens beside the embedding.
            embedded = found[0] if isinstance(found, tuple | list) else found
            return list(F.normalize(embedded.float(), dim=1).cpu())

        with exact_float32():
            rows = torch.stack(in_batches(look, list(images), 32, device=place))
            logits = self.temperature * rows.double() @ self.texts.cpu().double().T
        return logits.softmax(1).numpy(), rows.numpy()


def load_zero_shot(
    name: str,
    weights: str | Path,
    *,
    names: Mapping[str, Sequence[str]] = CATEGORY_NAMES,
    templates: Sequence[str] = TEMPLATES,
    device: str | torch.device = "cpu",
) -> ZeroShotJudge:
    """Load a judge that answers with one of some classes.

    Parameters
    ----------
    name : str
        Model of open_clip, such as "open_clip:ViT-B-32.openai". It must not be the
        network that guides.
    weights : str or Path
        File of the whole model (both towers), or ``"seeded:N"`` for random weights.
    names : mapping of str to sequence of str, default `CATEGORY_NAMES`
        What each class is called.
    templates : sequence of str, default `TEMPLATES`
        Sentences with "{}" for the name.
    device : str or torch.device, default "cpu"
        Where to look.

    Returns
    -------
    ZeroShotJudge
        Ready to look.

    Raises
    ------
    ValueError
        If the model is unknown, `names` has less than two classes, or a template has
        no place for a name.
    FileNotFoundError, DataCorruptError
        If the file is missing, damaged, or lacks the text tower.
    MissingDependencyError
        If open_clip is not installed.
    """
    if len(names) < 2 or not all(len(own) for own in names.values()):
        raise ValueError(
            "`names` must name at least two classes, each at least once; got "
            f"{names!r}."
        )
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(
                f"Each of `templates` must hold '{{}}' once; got {template!r}."
            )
    source, _, model_name = name.partition(":")
    if source != "open_clip":
        raise ValueError(
            f"`name` must be 'open_clip:...', whose networks read texts; got {name!r}."
        )
    seeded = str(weights).startswith("seeded:")
    backbone = load_backbone(name, weights)
    with own_torch_stream(0, "zero-shot texts"):
        model: Any = create_open_clip(model_name).eval().requires_grad_(False)
    tokenizer = import_open_clip().get_tokenizer(published_config(model_name)[0])
    if not seeded:
        path = check_path("weights", weights)
        state = read_state_dict(path)
        if not any(key.startswith("visual.") for key in state):
            raise ValueError(
                f"{path} holds a vision tower alone; a judge needs the whole model, "
                "with the tower that reads texts."
            )
        model.load_state_dict(state)
    with torch.no_grad(), exact_float32():
        rows = [
            _embed(model, tokenizer, [t.format(one) for one in own for t in templates])
            for own in names.values()
        ]
    scale = getattr(model, "logit_scale", None)
    tower = backbone.module.requires_grad_(False).to(device)
    return ZeroShotJudge(
        backbone.name,
        tower,
        backbone.preprocessing,
        tuple(names),
        torch.stack(rows).to(device),
        100.0 if scale is None else float(scale.detach().exp()),
        backbone.trained,
    )


def _embed(model: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    embedded = F.normalize(model.encode_text(tokenizer(texts)).float(), dim=1)
    mean: Tensor = F.normalize(embedded.mean(0), dim=0)
    return mean
