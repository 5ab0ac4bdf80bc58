"""What OAT sees of objects: pictures, features of a network, or nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.adapters.oat_positions import ROW_NORM
from neurovis.adapters.weights import (
    check_state_dict,
    read_state_dict,
    timm_state_dict,
)
from neurovis.core.checks import check_array, suggest
from neurovis.core.device import in_batches, resolve
from neurovis.core.object_displays import Display

APPEARANCES = ("crops", "features", "none")
CROP_HEIGHT, CROP_WIDTH = 150, 93
# The length of the codes of row, column and flag together.
FEATURE_NORM = ROW_NORM * 3**0.5


class AppearanceCNN(nn.Module):
    """Two convolutions and a linear map, as published.

    Parameters
    ----------
    width : int, default 256
        Numbers per picture.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.linear = nn.Linear(32 * 9 * 5, width)

    def forward(self, pictures: Tensor) -> Tensor:
        """Describe pictures.

        Parameters
        ----------
        pictures : Tensor, shape (n, 3, 150, 93)
            Pictures.

        Returns
        -------
        Tensor, shape (n, width)
            One row per picture.
        """
        hidden = F.max_pool2d(F.relu(self.conv1(pictures)), 5)
        hidden = F.max_pool2d(F.relu(self.conv2(hidden)), 3)
        described: Tensor = self.linear(hidden.flatten(1))
        return described


class FeatureMap(nn.Module):
    """A linear map of features that were brought to one length.

    That length is the one of position codes: else these, being longer, would hide what
    objects look like, and a target is hardly ever found by its look.

    Parameters
    ----------
    n_features : int
        Features of an object.
    width : int
        Numbers per object.
    """

    def __init__(self, n_features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map features.

        Parameters
        ----------
        features : Tensor, shape (n, n_features)
            Features.

        Returns
        -------
        Tensor, shape (n, width)
            One row per object.
        """
        mapped: Tensor = self.linear(FEATURE_NORM * F.normalize(features, dim=-1))
        return mapped


def display_appearance(display: Display, kind: str, n_features: int) -> Tensor:
    """Return what a network gets of the objects of a display.

    Parameters
    ----------
    display : ObjectDisplay or FreeDisplay
        The display.
    kind : {"crops", "features"}
        What is asked for.
    n_features : int
        How many features the network takes.

    Returns
    -------
    Tensor of float32, shape (n_cells, 3, 150, 93) or (n_cells, n_features)
        Pictures scaled to that size, 0..1; or features.

    Raises
    ------
    ValueError
        If the display has another appearance, or none.
    """
    looks = display.appearance
    has = "none"
    if looks is not None:
        has = "crops" if looks.dtype == np.uint8 else "features"
    if has != kind:
        raise ValueError(
            f"The network takes {kind} of objects; {display.stimulus_id!r} has "
            f"{has}. Give the display an `appearance`, or use a network that was "
            "trained without."
        )
    array = torch.from_numpy(np.ascontiguousarray(looks))
    if kind == "features":
        if array.shape[1] != n_features:
            raise ValueError(
                f"The network takes {n_features} features per object; "
                f"{display.stimulus_id!r} has {array.shape[1]}."
            )
        return array
    pictures = array.permute(0, 3, 1, 2).float() / 255.0
    if pictures.shape[2:] != (CROP_HEIGHT, CROP_WIDTH):
        pictures = F.interpolate(
            pictures, (CROP_HEIGHT, CROP_WIDTH), mode="bilinear", antialias=True
        ).clamp(0, 1)
    return pictures


def timm_features(
    pictures: NDArray[np.uint8],
    name: str,
    *,
    weights: str | Path | None = None,
    device: str = "cpu",
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Describe pictures by the pooled features of a timm model.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, h, w, 3)
        Pictures of objects.
    name : str
        A model of timm.
    weights : str or Path, optional
        A checkpoint with the weights of that model; by default the published ones,
        which are downloaded once.
    device : str, default "cpu"
        Where to compute.
    batch_size : int, default 32
        Pictures at a time.

    Returns
    -------
    ndarray of float32, shape (n, n_features)
        Features, for the `appearance` of a display.

    Raises
    ------
    TypeError, ValueError
        If these are no pictures, timm has no such model, or the weights do not fit.
    FileNotFoundError, DataCorruptError
        If the weights are missing or damaged.
    """
    # Slow to import, and needed here only.
    import timm
    from timm.data.config import resolve_model_data_config

    where = resolve(device)
    check_array("pictures", pictures, shape=(None, None, None, 3), dtype=np.uint8)
    if pictures.size == 0:
        raise ValueError(f"`pictures` is empty: shape {pictures.shape}.")
    if not timm.is_model(name):
        hint = suggest(name, timm.list_models())
        raise ValueError(f"`name` must be a model of timm; got {name!r}.{hint}")
    state = timm_state_dict(name) if weights is None else read_state_dict(weights)
    network = timm.create_model(name, pretrained=False, num_classes=0)
    # A classifier on top may be there, and is not needed.
    needed = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    state = {key: value for key, value in state.items() if key in needed}
    check_state_dict(state, needed, name if weights is None else str(weights))
    network.load_state_dict(state)
    network = network.eval().to(where)
    data = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    size = tuple(data["input_size"][1:])
    mean = torch.tensor(data["mean"], device=where)[:, None, None]
    std = torch.tensor(data["std"], device=where)[:, None, None]

    def describe(some: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        images = torch.from_numpy(np.stack(some)).to(where)
        images = images.permute(0, 3, 1, 2).float() / 255.0
        # Objects fill their pictures: they are scaled, not cropped.
        images = F.interpolate(images, size, mode="bicubic", antialias=True)
        with torch.inference_mode():
            found = network((images.clamp(0, 1) - mean) / std)
        return list(found.flatten(1).float().cpu().numpy())

    return np.stack(in_batches(describe, list(pictures), batch_size, device=where))
