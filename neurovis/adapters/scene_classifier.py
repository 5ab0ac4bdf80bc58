"""Any classifier of torchvision or timm, from random weights, for any classes.

The second stage of a foveated system: an ordinary network that is trained on what the
first stage lets through.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from neurovis.core.checks import (
    check_array,
    check_option,
    check_path,
    check_whole,
    suggest,
)
from neurovis.core.device import exact_float32, in_batches, resolve
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    atomic_folder,
    plain,
    read_json,
    sha256_file,
    sha256_json,
    write_bytes,
    write_json,
)
from neurovis.core.rng import own_torch_stream
from neurovis.core.tensors import hash_state_dict

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WEIGHTS, _ABOUT = "model.safetensors", "classifier.json"

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ClassifierSpec:
    """Architecture and input of a classifier.

    Parameters
    ----------
    architecture : str
        ``"torchvision:NAME"`` (or the bare name) or ``"timm:NAME"``.
    classes : tuple of str
        Names of the classes in the order of the outputs, at least 2.
    size_px : int, default 256
        Side of the square pictures that the network gets; others are resized, not
        cropped.
    options : mapping
        Further arguments of the constructor, as JSON values.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range or names repeat.
    """

    architecture: str
    classes: tuple[str, ...]
    size_px: int = 256
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        source, _, name = self.architecture.rpartition(":")
        check_option("source of the architecture", source, ("", "torchvision", "timm"))
        if not name:
            raise ValueError(
                "`architecture` must look like 'resnet18' or 'timm:resnet10t'; got "
                f"{self.architecture!r}."
            )
        check_whole("size_px", self.size_px, low=8)
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise ValueError(
                f"`classes` must be at least 2 distinct names; got {self.classes}."
            )
        plain(dict(self.options))

    @property
    def parameters(self) -> dict[str, Any]:
        """The specification as JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        return values


def build_classifier(spec: ClassifierSpec, *, seed: int = 0, run: int = 0) -> nn.Module:
    """Build a network with random weights.

    Parameters
    ----------
    spec : ClassifierSpec
        What to build.
    seed : int, default 0
        Seed of the experiment.
    run : int, default 0
        Number of the repetition. Networks of equal specification, seed and run start
        from equal weights, whatever they are going to see.

    Returns
    -------
    torch.nn.Module
        From (B, 3, `size_px`, `size_px`), normalised, to logits (B, n_classes).

    Raises
    ------
    ValueError
        If the architecture is unknown or refuses the options.
    """
    source, _, name = spec.architecture.rpartition(":")
    make = _timm_network if source == "timm" else _torchvision_network
    with own_torch_stream(seed, "weights", run):
        try:
            module = make(name, len(spec.classes), dict(spec.options))
        except TypeError as error:
            raise ValueError(
                f"{spec.architecture} cannot be built with `options` "
                f"{dict(spec.options)}: {error}."
            ) from error
    if getattr(module, "aux_logits", False):
        raise ValueError(
            f"{spec.architecture} has other outputs in training: give it the option "
            "'aux_logits': false."
        )
    module.eval()
    size = (1, 3, spec.size_px, spec.size_px)
    try:
        with torch.inference_mode():
            found = tuple(module(torch.zeros(size)).shape)
    except RuntimeError as error:
        raise ValueError(
            f"{spec.architecture} does not take pictures of {spec.size_px} px: {error}"
        ) from error
    if found != (1, len(spec.classes)):
        raise ValueError(
            f"{spec.architecture} is no classifier: its output has shape {found}, not "
            f"(1, {len(spec.classes)})."
        )
    return module


def _timm_network(name: str, n_classes: int, options: dict[str, Any]) -> nn.Module:
    import timm  # slow to import

    if not timm.is_model(name):
        hint = suggest(name, timm.list_models())
        raise ValueError(f"`architecture` must be a model of timm; got {name!r}.{hint}")
    module: nn.Module = timm.create_model(name, num_classes=n_classes, **options)
    return module


def _torchvision_network(
    name: str, n_classes: int, options: dict[str, Any]
) -> nn.Module:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        hint = suggest(name, names)
        raise ValueError(
            f"`architecture` must be a classifier of torchvision; got {name!r}.{hint}"
        )
    module: nn.Module = models.get_model(
        name, weights=None, num_classes=n_classes, **options
    )
    return module


def to_input(images: Sequence[Image] | NDArray[np.uint8], size_px: int) -> Tensor:
    """Bring pictures to the size of a network; values stay 8-bit.

    Parameters
    ----------
    images : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures of any sizes.
    size_px : int
        Side of the square result; the ratio of the sides is not kept.

    Returns
    -------
    Tensor of uint8, shape (B, 3, size_px, size_px)
        Resized with anti-aliasing (bilinear) where the size differs.

    Raises
    ------
    TypeError, ValueError
        If a picture has another dtype or shape.

    Examples
    --------
    >>> to_input([np.full((4, 6, 3), 7, np.uint8)], 8).unique()
    tensor([7], dtype=torch.uint8)
    """
    found = torch.empty((len(images), 3, size_px, size_px), dtype=torch.uint8)
    for row, image in zip(found, images, strict=True):
        check_array("image", image, shape=(None, None, 3), dtype=np.uint8)
        values = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if values.shape[1:] != (size_px, size_px):
            size = (size_px, size_px)
            values = F.interpolate(
                values[None].float(), size, mode="bilinear", antialias=True
            )[0]
            values = values.round().clamp(0, 255).to(torch.uint8)
        row.copy_(values)
    return found


def normalise(pixels: Tensor) -> Tensor:
    """Scale 8-bit pictures as networks of ImageNet expect them.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (B, 3, H, W)
        Pictures on any device.

    Returns
    -------
    Tensor of float32, shape (B, 3, H, W)
        ``(pixels / 255 - MEAN) / STD`` per channel.
    """
    mean, std = (pixels.new_tensor(v, dtype=torch.float32) for v in (MEAN, STD))
    scaled = pixels.to(torch.float32) / 255
    return (scaled - mean[:, None, None]) / std[:, None, None]


@dataclass(frozen=True)
class SceneClassifier:
    """A network that names scenes.

    Parameters
    ----------
    name : str
        In tables.
    spec : ClassifierSpec
        Architecture, classes and input.
    network : torch.nn.Module
        What `build_classifier` made, with any weights.
    training : mapping
        How the weights came about, as JSON values; empty for random weights.
    """

    name: str
    spec: ClassifierSpec
    network: nn.Module
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """All that its answers depend on, as JSON values."""
        weights = hash_state_dict(self.network.state_dict())
        return {"classifier": self.spec.parameters, "weights": weights}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return () if self.training else (f"{self.name}: untrained weights",)

    def logits(
        self, pixels: Tensor, *, batch_size: int = 128, device: str = "cpu"
    ) -> Tensor:
        """Classify pictures.

        Parameters
        ----------
        pixels : Tensor of uint8, shape (B, 3, size_px, size_px)
            What `to_input` returns.
        batch_size : int, default 128
            Pictures at once.
        device : str, default "cpu"
            Where; the network is moved there.

        Returns
        -------
        Tensor of float32, shape (B, n_classes)
            On the CPU.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape differ.
        """
        side = self.spec.size_px
        if pixels.dtype != torch.uint8 or pixels.shape[1:] != (3, side, side):
            raise TypeError(
                f"`pixels` must be uint8 of shape (B, 3, {side}, {side}), as "
                f"`to_input` makes them; got {pixels.dtype} of shape "
                f"{tuple(pixels.shape)}."
            )
        place = resolve(device)
        network = self.network.to(place).eval()

        def answer(some: Sequence[Tensor]) -> list[Tensor]:
            with torch.inference_mode(), exact_float32():
                stacked = torch.stack(list(some)).to(place)
                return list(network(normalise(stacked)).float().cpu())

        rows = in_batches(answer, list(pixels), batch_size, device=place)
        return torch.stack(rows) if rows else torch.empty((0, len(self.spec.classes)))


def save_classifier(
    classifier: SceneClassifier,
    folder: str | Path,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a classifier: weights as safetensors beside a description.

    Parameters
    ----------
    classifier : SceneClassifier
        What to keep.
    folder : str or Path
        A folder that does not exist yet.
    extra : mapping, optional
        What else the description is to hold, as JSON values.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If it exists.
    """
    with atomic_folder(folder) as part:
        state = classifier.network.state_dict()
        on_cpu = {name: value.cpu().contiguous() for name, value in state.items()}
        write_bytes(part / _WEIGHTS, save(on_cpu))
        about = {
            "name": classifier.name,
            "spec": classifier.spec.parameters,
            "training": plain(dict(classifier.training)),
            "sha256": sha256_file(part / _WEIGHTS),
        }
        about["extra"] = plain(dict(extra or {}))
        write_json(part / _ABOUT, {**about, "check": sha256_json(about)})
    return Path(folder)


def load_classifier_folder(
    folder: str | Path,
) -> tuple[SceneClassifier, dict[str, Any]]:
    """Read what `save_classifier` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder.

    Returns
    -------
    classifier : SceneClassifier
        On the CPU.
    extra : dict
        What else was kept.

    Raises
    ------
    FileNotFoundError
        If the folder holds no classifier.
    DataCorruptError
        If a file was changed or damaged.
    """
    folder = check_path("folder", folder, kind="folder")
    path = check_path(_ABOUT, folder / _ABOUT)
    weights = check_path(_WEIGHTS, folder / _WEIGHTS)
    about = read_json(path)
    known = isinstance(about, dict)
    rest = {k: v for k, v in about.items() if k != "check"} if known else {}
    if not rest or about.get("check") != sha256_json(rest):
        raise DataCorruptError(f"{path} was changed or is damaged: make it again.")
    if sha256_file(weights) != about["sha256"]:
        raise DataCorruptError(f"{weights} was changed or is damaged: train again.")
    values = about["spec"]
    spec = ClassifierSpec(**{**values, "classes": tuple(values["classes"])})
    network = build_classifier(spec)
    try:
        network.load_state_dict(load_file(weights))
    except (RuntimeError, json.JSONDecodeError, safetensors.SafetensorError) as error:
        raise DataCorruptError(
            f"{weights} does not fit {spec.architecture}: {error}"
        ) from error
    found = SceneClassifier(about["name"], spec, network, about["training"])
    return found, dict(about["extra"])
