"""Foveated systems: a fixed transform of the picture, then a trained classifier.

Deza and Konkle (2020), "Emergent properties of foveated perceptual systems",
arXiv:2006.07991. The transforms need no weights: see `neurovis.foveation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.scene_classifier import (
    SceneClassifier,
    load_classifier_folder,
    save_classifier,
    to_input,
)
from neurovis.adapters.vgg_codec import load_vgg_codec
from neurovis.core.checks import check_image
from neurovis.core.device import resolve
from neurovis.foveation.style_codec import StyleCodecTexture
from neurovis.foveation.transforms import (
    CODECS,
    FoveationSettings,
    ImageTransform,
    geometry,
    make_transform,
)

Image = NDArray[np.uint8]


def to_unit(images: Sequence[Image]) -> Tensor:
    """Stack pictures of one size as the transforms take them.

    Parameters
    ----------
    images : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures.

    Returns
    -------
    Tensor of float32, shape (B, 3, H, W)
        In [0, 1].
    """
    stacked = np.stack([check_image("image", image) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div_(255).contiguous()


def to_bytes(images: Tensor) -> list[Image]:
    """Turn what a transform returns into 8-bit pictures.

    Parameters
    ----------
    images : Tensor of float32, shape (B, 3, H, W)
        In [0, 1].

    Returns
    -------
    list of ndarray of uint8, shape (H, W, 3)
        Rounded; pictures that were not changed come back with equal bytes.
    """
    levels = images.mul(255).round().clamp(0, 255).to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).cpu().numpy())


def resized(images: Tensor, size_px: int | None) -> Tensor:
    """Bring transformed pictures to a square of another size.

    Parameters
    ----------
    images : Tensor of float32, shape (B, 3, H, W)
        In [0, 1].
    size_px : int or None
        Side of the result, bilinear with anti-aliasing; None: as they are.

    Returns
    -------
    Tensor of float32, shape (B, 3, size_px, size_px)
        In [0, 1].
    """
    if size_px is None or tuple(images.shape[2:]) == (size_px, size_px):
        return images
    size = (size_px, size_px)
    return F.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)


def make_stage(settings: FoveationSettings, shape: tuple[int, int]) -> ImageTransform:
    """Make a first stage, also one that needs files of weights.

    Parameters
    ----------
    settings : FoveationSettings
        Which one, and how the eye looks.
    shape : tuple of int
        Height and width of the pictures, pixels.

    Returns
    -------
    ImageTransform
        A callable that keeps its operators: make it once.

    Raises
    ------
    ValueError
        As `neurovis.foveation.transforms.make_transform`, or if the weights do not
        fit.
    FileNotFoundError, DataCorruptError
        If a file of weights is missing or damaged.
    """
    if settings.transform not in CODECS:
        return make_transform(settings, shape)
    assert settings.codec is not None
    codec = load_vgg_codec(*settings.codec)
    px_per_deg, fixation_px = geometry(settings, shape)
    area: Any = settings.strength  # a word, as the settings have seen to
    return StyleCodecTexture(
        shape,
        codec.encoder,
        codec.decoder,
        scale=settings.scale,
        px_per_deg=px_per_deg,
        fixation_px=fixation_px,
        fovea_deg=settings.fovea_deg,
        area=area,
        reference=settings.transform != CODECS[0],
        notes=codec.notes,
    )


@dataclass(frozen=True)
class TwoStageSystem:
    """An observer that sees every picture through a transform.

    Parameters
    ----------
    name : str
        In tables, such as "texture".
    settings : FoveationSettings
        The first stage.
    classifier : SceneClassifier
        The second stage.
    render_px : int, optional
        Side of the square to which pictures are brought before the first stage, the
        settings of which are in its pixels; by default they keep their size.
    """

    name: str
    settings: FoveationSettings
    classifier: SceneClassifier
    render_px: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """All that its answers depend on, as JSON values."""
        stages = {"transform": self.settings.parameters, **self.classifier.identity}
        return {"observer": "two-stage", "render_px": self.render_px, **stages}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return tuple(
            note.replace(f"{self.classifier.name}: ", f"{self.name}: ", 1)
            for note in self.classifier.notes
        )

    def classify(
        self,
        images: Sequence[Image],
        *,
        keys: Sequence[str | int] | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> Tensor:
        """Look at pictures and name them.

        Parameters
        ----------
        images : sequence of ndarray of uint8, shape (H, W, 3)
            Pictures of any sizes.
        keys : sequence of (str or int), optional
            Identity of each picture, for random numbers of its own.
        seed : int, default 0
            Seed of the first stage.
        device : str, default "cpu"
            Where both stages compute.

        Returns
        -------
        Tensor of float32, shape (n_images, n_classes)
            Logits, on the CPU.

        Raises
        ------
        TypeError, ValueError
            If a picture is none, or the fixation lies outside it.
        """
        place = resolve(device)
        made: dict[tuple[int, int], ImageTransform] = {}
        seen = []
        for index, image in enumerate(images):
            check_image("image", image)
            if self.render_px is not None:
                squared = to_input([image], self.render_px)[0]
                image = np.ascontiguousarray(squared.permute(1, 2, 0).numpy())
            shape = image.shape[:2]
            if shape not in made:
                made = {shape: make_stage(self.settings, shape)}
            key = None if keys is None else [keys[index]]
            looked = made[shape](to_unit([image]).to(place), keys=key, seed=seed)
            seen += to_bytes(resized(looked, self.classifier.spec.size_px))
        pixels = to_input(seen, self.classifier.spec.size_px)
        return self.classifier.logits(pixels, device=device)


def save_system(system: TwoStageSystem, folder: str | Path) -> Path:
    """Write both stages of a system.

    Parameters
    ----------
    system : TwoStageSystem
        What to keep.
    folder : str or Path
        A folder that does not exist yet.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If it exists.
    """
    extra = {
        "system": system.name,
        "transform": system.settings.parameters,
        "render_px": system.render_px,
    }
    return save_classifier(system.classifier, folder, extra)


def load_system(
    folder: str | Path, *, codec: tuple[str, str] | None = None
) -> TwoStageSystem:
    """Read what `save_system` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder.
    codec : tuple of str, optional
        Files of encoder and decoder, for a first stage that needs them.

    Returns
    -------
    TwoStageSystem
        On the CPU.

    Raises
    ------
    FileNotFoundError
        If the folder holds no system.
    DataCorruptError
        If a file was changed or damaged.
    ValueError
        If it is a classifier without a first stage, or `codec` is not what it was
        trained with.
    """
    classifier, extra = load_classifier_folder(folder)
    if "transform" not in extra:
        raise ValueError(f"{folder} holds a classifier without a first stage.")
    values = dict(extra["transform"])
    if values["fixation_px"] is not None:
        values["fixation_px"] = tuple(values["fixation_px"])
    trained_with, values["codec"] = values["codec"], codec
    settings = FoveationSettings(**values)
    if settings.parameters["codec"] != trained_with:
        raise ValueError(
            f"`codec` must be the files with which {folder} was trained: their SHA-256 "
            f"are {trained_with}."
        )
    return TwoStageSystem(extra["system"], settings, classifier, extra["render_px"])
