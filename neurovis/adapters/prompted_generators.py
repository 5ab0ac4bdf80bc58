"""From words to images: generators under a prompt, and guidance by CLIP for others.

Models that were trained with texts follow a prompt by classifier-free guidance. Models
that were not are steered as by a brain (`neurovis.adapters.braindive`): what guides is
how like the embedding of the image is to that of the text.

References
----------
Ho and Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598.

Radford et al. (2021). Learning transferable visual models from natural language
supervision. ICML. arXiv:2103.00020.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.adapters.braindive import BrainGuidance
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.image_generators import (
    encode_prompts,
    find_generator,
    load_image_generator,
)
from neurovis.core.checks import check_between
from neurovis.core.files import plain, sha256_json
from neurovis.core.tensors import hash_state_dict
from neurovis.generation.image_generator import ImageGenerator

GUIDANCE_SCALE = 7.5
"""Strength of prompts that is usual with Stable Diffusion."""


def load_prompted(
    source: str | Path,
    prompts: Sequence[str],
    *,
    guidance_scale: float = GUIDANCE_SCALE,
    device: str = "cpu",
    precision: str = "float32",
    gradient_checkpointing: bool = False,
    local_files_only: bool = True,
) -> tuple[ImageGenerator, ...]:
    """Load a model that was trained with texts, once for each of some prompts.

    Parameters
    ----------
    source : str or Path
        Folder in the layout of Stable Diffusion, or a name on the Hugging Face hub,
        as `neurovis.adapters.image_generators.load_image_generator` takes it.
    prompts : sequence of str
        What images are to show, at least one. A prompt with more tokens than the text
        encoder reads, 77 in Stable Diffusion, is cut, and a warning is logged.
    guidance_scale : float, default 7.5
        Strength of the prompts: 0 leaves them out, 1 predicts under the prompt alone.
    device : str, default "cpu"
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision : {"float32", "float16", "bfloat16", "auto"}, default "float32"
        Type of the weights of the generator. Texts are encoded in float32.
    gradient_checkpointing : bool, default False
        Compute activations again in the backward pass, which saves memory.
    local_files_only : bool, default True
        Take a model of the hub from the cache on disk only.

    Returns
    -------
    tuple of ImageGenerator
        One per prompt, in their order. They share the networks; fingerprints differ.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the model takes no texts.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        As `load_image_generator`.
    """
    texts = _check_texts("prompts", prompts)
    check_between("guidance_scale", guidance_scale)
    if str(source).startswith("sketch:"):
        raise _no_text(str(source))
    generator = load_image_generator(
        source,
        device=device,
        precision=precision,
        gradient_checkpointing=gradient_checkpointing,
        local_files_only=local_files_only,
    )
    if generator.condition is None:
        raise _no_text(generator.name)
    folder, _ = find_generator(source, local_files_only=local_files_only)
    # Captions of many voxels are often the same.
    different = list(dict.fromkeys(texts))
    rows = encode_prompts(folder, different, device=device)
    found = with_prompts(generator, rows, guidance_scale=guidance_scale)
    by_text = dict(zip(different, found, strict=True))
    return tuple(by_text[text] for text in texts)


def with_prompts(
    generator: ImageGenerator,
    embeddings: Tensor,
    *,
    guidance_scale: float = GUIDANCE_SCALE,
) -> tuple[ImageGenerator, ...]:
    """Return a generator under each of some prompts.

    Parameters
    ----------
    generator : ImageGenerator
        One that looks at texts.
    embeddings : Tensor of float32, shape (n_prompts, n_tokens, n_features)
        By the text encoder of its folder: see
        `neurovis.adapters.image_generators.encode_prompts`.
    guidance_scale : float, default 7.5
        Strength of the prompts, as `ImageGenerator` has it.

    Returns
    -------
    tuple of ImageGenerator
        They share its networks. Their fingerprints tell prompt and strength apart.

    Raises
    ------
    TypeError, ValueError
        If the strength is no number, the generator looks at no text, or embeddings
        have another shape than it takes.
    """
    check_between("guidance_scale", guidance_scale)
    if generator.condition is None:
        raise _no_text(generator.name)
    wanted = tuple(generator.condition.shape[1:])
    if embeddings.ndim != 3 or tuple(embeddings.shape[1:]) != wanted:
        raise ValueError(
            f"`embeddings` must have the shape (n_prompts, {wanted[0]}, {wanted[1]}) "
            f"for {generator.name}; got {tuple(embeddings.shape)}. Take the text "
            "encoder of the same folder."
        )
    found = []
    for row in embeddings.detach().float():
        mark = {
            "generator": generator.fingerprint,
            "prompt": hash_state_dict({"prompt": row}),
            "prompt_scale": float(guidance_scale),
        }
        prompted = replace(
            generator,
            prompt=row[None].to(generator.device),
            prompt_scale=float(guidance_scale),
            fingerprint=sha256_json(mark),
        )
        found.append(prompted)
    return tuple(found)


def _no_text(name: str) -> ValueError:
    return ValueError(
        f"{name} was trained without texts, so it takes no prompts: steer it with "
        "`text_guidance`, or take a model such as Stable Diffusion."
    )


def _check_texts(name: str, texts: Any) -> list[str]:
    # A text alone would be taken letter by letter.
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"`{name}` must be a list of texts; got {texts!r}.")
    if not len(texts):
        raise ValueError(f"`{name}` must hold at least one text; got none.")
    return list(texts)


# ------------------------------------------------------------- guidance by a text


class TextImageModel(Protocol):
    """What embeds images and texts into one space: a network, or `ClipTowers`."""

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, H, W), 0..1
            RGB.

        Returns
        -------
        Tensor, shape (n, n_features)
            Of any length.
        """
        ...

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Embed texts.

        Parameters
        ----------
        texts : list of str
            What to embed.

        Returns
        -------
        Tensor, shape (n_texts, n_features)
            Of any length.
        """
        ...


@dataclass(frozen=True, eq=False)
class ClipTowers:
    """A vision tower and a text tower as one `TextImageModel`.

    Parameters
    ----------
    backbone : Backbone
        The vision tower, on the device of the images; what it returns is the
        embedding.
    read_texts : callable
        From n texts to embeddings, Tensor (n, n_features).
    fit : callable, optional
        From images and the preprocessing of the backbone to images of its size, so
        that gradients flow; by default images must have that size.
    """

    backbone: Backbone
    read_texts: Callable[[list[str]], Tensor]
    fit: Callable[[Tensor, Preprocessing], Tensor] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of weights and preprocessing of the vision tower."""
        return sha256_json(plain(self.backbone.identity))

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, H, W), 0..1
            RGB.

        Returns
        -------
        Tensor of float32, shape (n, n_features)
            Not of length 1.

        Raises
        ------
        ValueError
            If images have another size than the tower takes.
        """
        rule = self.backbone.preprocessing
        shown = images if self.fit is None else self.fit(images, rule)
        if shown.ndim != 4 or tuple(shown.shape[1:]) != (3, *rule.size_px):
            height, width = rule.size_px
            raise ValueError(
                f"{self.backbone.name} looks at images of shape (n, 3, {height}, "
                f"{width}); got {tuple(shown.shape)}. Give `fit` to bring them there."
            )
        found = self.backbone.module(rule.normalise(255 * shown.permute(0, 2, 3, 1)))
        # Some towers give tokens beside the embedding.
        embedded: Tensor = found[0] if isinstance(found, tuple | list) else found
        return embedded.float()

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Embed texts.

        Parameters
        ----------
        texts : list of str
            What to embed.

        Returns
        -------
        Tensor, shape (n_texts, n_features)
            Not of length 1.
        """
        return self.read_texts(texts)


@dataclass(frozen=True, eq=False)
class TextSimilarity:
    """An encoder whose units are texts: each responds to images that are like it.

    Made by `text_similarity`; `BrainGuidance` takes it as its encoder.

    Parameters
    ----------
    model : TextImageModel
        What embeds: a network of torch, or what tells a `fingerprint`.
    texts : tuple of str
        One per unit.
    directions : Tensor of float32, shape (n_texts, n_features)
        Embeddings of the texts, of length 1.
    """

    model: TextImageModel
    texts: tuple[str, ...]
    directions: Tensor

    @property
    def fingerprint(self) -> str:
        """Hash of all that responses depend on besides the images."""
        model: Any = self.model
        own = isinstance(model, nn.Module)
        mark = hash_state_dict(model.state_dict()) if own else model.fingerprint
        rows = hash_state_dict({"directions": self.directions})
        return sha256_json({"model": mark, "texts": rows})

    def __call__(self, images: Tensor) -> Tensor:
        """Return how like images are to the texts; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, H, W), 0..1
            RGB.

        Returns
        -------
        Tensor of float32, shape (n, n_texts)
            Cosines, -1..1.

        Raises
        ------
        ValueError
            If embeddings of images have another shape than those of texts.
        """
        seen = self.model.embed_images(images)
        n_features = self.directions.shape[1]
        if seen.shape != (len(images), n_features):
            raise ValueError(
                f"`embed_images` must return the shape ({len(images)}, {n_features}), "
                f"as the texts have it; got {tuple(seen.shape)}."
            )
        rows = F.normalize(seen.float(), dim=1)
        return rows @ self.directions.to(rows).T


def text_similarity(model: TextImageModel, texts: Sequence[str]) -> TextSimilarity:
    """Return an encoder that compares images with texts.

    Parameters
    ----------
    model : TextImageModel
        What embeds both, on the device of the images: a network with both methods, or
        `ClipTowers`.
    texts : sequence of str
        One per unit, at least one.

    Returns
    -------
    TextSimilarity
        From images to cosines.

    Raises
    ------
    TypeError, ValueError
        If there are no texts, or their embeddings have another shape, are not finite
        or 0.
    """
    words = _check_texts("texts", texts)
    with torch.no_grad():
        rows = model.embed_texts(words).detach().float().cpu()
    if rows.ndim != 2 or len(rows) != len(words):
        raise ValueError(
            f"`embed_texts` must return the shape ({len(words)}, n_features); got "
            f"{tuple(rows.shape)}."
        )
    usable = torch.isfinite(rows).all(1) & (rows != 0).any(1)
    if not usable.all():
        wrong = words[int((~usable).nonzero()[0])]
        raise ValueError(f"The embedding of {wrong!r} is not finite, or 0.")
    return TextSimilarity(model, tuple(words), F.normalize(rows, dim=1))


def text_guidance(
    model: TextImageModel, text: str, *, scale: float = 130.0, **options: Any
) -> BrainGuidance:
    """Return guidance towards images that are like a text.

    Parameters
    ----------
    model : TextImageModel
        What embeds images and texts.
    text : str
        What images are to show.
    scale : float, default 130
        Strength, in units of the cosine; negative values lead away from the text.
    **options
        Other parameters of `neurovis.adapters.braindive.BrainGuidance`.

    Returns
    -------
    BrainGuidance
        Its encoder is a `TextSimilarity` with one unit; its `fingerprint` names the
        text.

    Raises
    ------
    TypeError, ValueError
        As `text_similarity` and `BrainGuidance`.
    """
    return BrainGuidance(
        text_similarity(model, [text]), torch.ones(1), scale, **options
    )
