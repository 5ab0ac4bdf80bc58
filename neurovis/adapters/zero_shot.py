"""A judge that needs no training: CLIP, asked which text is most like an image.

References
----------
Radford et al. (2021). Learning transferable visual models from natural language
supervision. ICML. arXiv:2103.00020.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.backbones import load_open_clip
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.open_clip_models import open_clip_tokenizer
from neurovis.core.device import exact_float32, in_batches, resolve
from neurovis.core.files import plain, sha256_json
from neurovis.core.tensors import hash_state_dict

_AT_ONCE = 32

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
    def network_hash(self) -> str:
        """SHA-256 of the vision tower, as backbones have it."""
        return hash_state_dict(self.module.state_dict())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that answers depend on besides the images."""
        return sha256_json(
            plain(
                {
                    "network": self.network_hash,
                    "preprocessing": self.preprocessing.identity,
                    "classes": self.classes,
                    "texts": hash_state_dict({"texts": self.texts}),
                    "temperature": self.temperature,
                }
            )
        )

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
            If there are none, or one of them is no image.
        MemoryError
            If a single image does not fit.
        """
        if not len(images):
            raise ValueError("`images` is empty: give at least one image.")
        place = self.texts.device

        @torch.no_grad()
        def look(part: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
            ready = np.stack([self.preprocessing.prepare(image) for image in part])
            pixels = torch.from_numpy(ready).to(place)
            found = self.module(self.preprocessing.normalise(pixels))
            # Some towers give tokens beside the embedding.
            embedded = found[0] if isinstance(found, tuple | list) else found
            return list(F.normalize(embedded.float(), dim=1).cpu())

        shown: Any = images  # an array of images is as good as a sequence
        with exact_float32():
            rows = torch.stack(in_batches(look, shown, _AT_ONCE, device=place))
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
    TypeError, ValueError
        If the model is unknown or reads no texts, `names` has less than two classes, a
        template has no place for a name, or weights lack the text tower.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    MissingDependencyError
        If open_clip is not installed.
    """
    place = resolve(device)
    _check_words(names, templates)
    model, backbone = load_open_clip(name, weights)
    tokenizer = open_clip_tokenizer(name.partition(":")[2])
    with torch.no_grad(), exact_float32():
        rows = [
            _embed(
                model, tokenizer, [t.replace("{}", n) for n in own for t in templates]
            )
            for own in names.values()
        ]
    scale = getattr(model, "logit_scale", None)
    return ZeroShotJudge(
        backbone.name,
        backbone.module.requires_grad_(False).to(place),
        backbone.preprocessing,
        tuple(names),
        torch.stack(rows).to(place),
        100.0 if scale is None else float(scale.detach().exp()),
        backbone.trained,
    )


def _check_words(names: Mapping[str, Sequence[str]], templates: Sequence[str]) -> None:
    # A text alone would be taken letter by letter.
    for label, texts in [("templates", templates), *names.items()]:
        if isinstance(texts, str):
            raise TypeError(f"`{label}` must be a list of texts; got {texts!r}.")
    if len(names) < 2 or not all(len(own) for own in names.values()):
        raise ValueError(
            "`names` must name at least two classes, each at least once; got "
            f"{names!r}."
        )
    wrong = [text for text in templates if text.count("{}") != 1]
    if wrong or not len(templates):
        raise ValueError(
            "`templates` must be sentences that hold '{}' once, at least one; got "
            f"{wrong[0] if wrong else ''!r}."
        )


def _embed(
    model: Any, tokenizer: Callable[[list[str]], Tensor], texts: list[str]
) -> Tensor:
    embedded = F.normalize(model.encode_text(tokenizer(texts)).float(), dim=1)
    mean: Tensor = F.normalize(embedded.mean(0), dim=0)
    return mean
