"""Mental rotation by a network whose latent volume is turned.

Each view becomes a volume; the first is turned in steps about the axis of the trial
until it matches the second, or half a turn is over. The network sees both pictures; the
axis it is told, as the surrogate with volumes of the objects is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.latent_rotation import rotation_matches, sphere_mask
from neurovis.adapters.latent_rotation_network import (
    LatentRotation,
    load_latent_rotation,
)
from neurovis.core.log import progress
from neurovis.core.tensors import hash_state_dict
from stimuli.block_figures import mirror_pair_key
from stimuli.canvas import cos_sin
from tasks.latent_rotation_views import as_images, pair_views
from tasks.mental_rotation_voxels import STEP_DEG

FloatArray = NDArray[np.float64]

_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class LatentModel:
    """A network of latent rotation with what tells it from others.

    Parameters
    ----------
    network : LatentRotation
        The network.
    weights_hash : str
        Content hash of its weights.
    """

    network: LatentRotation
    weights_hash: str

    @property
    def shapes(self) -> tuple[str, ...]:
        """Objects that it has seen, one per mirror pair."""
        return self.network.shapes

    @property
    def untrained(self) -> bool:
        """Whether its weights are random."""
        return not self.network.trained


def load_latent_model(weights: str | Path) -> LatentModel:
    """Read a network of latent rotation.

    Parameters
    ----------
    weights : str or Path
        As `neurovis.adapters.latent_rotation_network.load_latent_rotation`.

    Returns
    -------
    LatentModel
        The network, on the CPU.

    Raises
    ------
    FileNotFoundError, DataCorruptError, ValueError
        If the file is missing, damaged, or holds something else.
    """
    network = load_latent_rotation(weights)
    return LatentModel(network, hash_state_dict(network.state_dict()))


def check_unseen(shapes: Sequence[str], network: LatentRotation) -> None:
    """Refuse objects that a network was trained on, or their mirror images.

    Parameters
    ----------
    shapes : sequence of str
        Objects of the trials.
    network : LatentRotation
        A network.

    Raises
    ------
    ValueError
        If one is of a mirror pair of the training.
    """
    known = network.mirror_pair_keys
    seen = [s for s in sorted(set(shapes)) if mirror_pair_key(s) in known]
    if seen:
        raise ValueError(
            f"The network of latent rotation was trained on {seen[0]!r} or its mirror "
            f"image ({len(seen)} of {len(set(shapes))} strings): draw trials apart "
            "from its objects (`apart_from`)."
        )


def turn_axes(pairs: pd.DataFrame) -> Tensor:
    """Return the axis about which the views of pairs differ, as the camera sees it.

    Parameters
    ----------
    pairs : DataFrame
        Table of pairs.

    Returns
    -------
    Tensor of float32, shape (n_pairs, 3)
        Directions (x, y, z) of length 1: the line of sight for turns in the plane of
        the picture, the vertical of the object for turns in depth.
    """
    rows = []
    for kind, elevation in zip(
        pairs["rotation"], pairs["left_elevation_deg"], strict=True
    ):
        cos, sin = cos_sin(float(elevation))
        rows.append((0.0, cos, sin) if kind == "depth" else (0.0, 0.0, 1.0))
    return torch.tensor(rows, dtype=torch.float32).reshape(len(pairs), 3)


def latent_matches(
    pairs: pd.DataFrame,
    network: LatentRotation,
    *,
    step_deg: float = STEP_DEG,
    device: str | torch.device = "cpu",
) -> FloatArray:
    """Turn the volumes of left views and correlate them with those of right views.

    What all voxels of a channel have in common does not turn, and is left out: the
    mean of a channel inside the sphere is subtracted before.

    Parameters
    ----------
    pairs : DataFrame
        Table of pairs.
    network : LatentRotation
        A network.
    step_deg : float, default 5
        Degrees of one step.
    device : str or torch.device, default "cpu"
        Where to compute.

    Returns
    -------
    ndarray of float64, shape (n_pairs, n_steps)
        Correlation inside the sphere after 0, 1, 2, ... steps up to 180 degrees, the
        larger one of both directions.

    Raises
    ------
    ValueError
        If an object of the pairs, or its mirror image, was trained on.
    """
    shown = pd.concat([pairs["left_shape"], pairs["right_shape"]])
    check_unseen(list(shown), network)
    views, axes = pair_views(pairs, network.settings), turn_axes(pairs)
    moved = network.to(device)
    found = []
    starts = range(0, len(pairs), _AT_ONCE)
    with torch.no_grad():
        for start in progress(starts, "turning", unit="batch"):
            rows = slice(start, start + _AT_ONCE)
            left, right = (
                _centred(moved.encode(as_images(side[rows]).to(device)))
                for side in views
            )
            axis = axes[rows].to(device)
            found.append(rotation_matches(left, right, axis, step_deg=step_deg).cpu())
    return np.asarray(torch.cat(found).numpy(), np.float64)


def _centred(volume: Tensor) -> Tensor:
    inside = sphere_mask(volume.shape[-1]).to(volume.device)
    mean = volume[..., inside].mean(dim=2)[..., None, None, None]
    return (volume - mean) * inside
