"""Views of block figures for a network of latent rotation, and turns between them.

A view is a picture and a pose: the turn from the frame of the object to that of the
camera. Two views of an object are related by a turn in the frame of the camera, which
is all that the network is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.adapters.latent_rotation_settings import LatentRotationSettings
from neurovis.core.checks import check_between, check_whole
from neurovis.core.log import progress
from neurovis.core.rng import generator
from stimuli.block_figures import mirror_shape
from stimuli.block_rendering import OUTLINE_PX, draw_block_figure
from stimuli.block_survey import draw_block_shapes
from stimuli.display import PX_PER_DEG
from tasks.mental_rotation_trials import N_MIRROR_PAIRS
from tasks.mental_rotation_voxels import view_pose

_OVERSAMPLE = 4


@dataclass(frozen=True, eq=False)
class ObjectViews:
    """Pictures of objects with their poses.

    Parameters
    ----------
    pictures : Tensor of uint8, shape (n_objects, n_views, size_px, size_px)
        Grey pictures; an object and its mirror image are two objects here.
    poses : Tensor of float32, shape (n_objects, n_views, 3, 3)
        From the frame of the object to that of the camera.
    """

    pictures: Tensor
    poses: Tensor

    def images(self, which: NDArray[np.int64], view: NDArray[np.int64]) -> Tensor:
        """Return pictures as the network takes them.

        Parameters
        ----------
        which : ndarray of int64, shape (n,)
            Objects.
        view : ndarray of int64, shape (n,)
            Views of them.

        Returns
        -------
        Tensor of float32, shape (n, 3, size_px, size_px), 0..1
            Pictures.
        """
        return as_images(self.pictures[which, view])

    def turns(
        self,
        which: NDArray[np.int64],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
    ) -> Tensor:
        """Return how first views must be turned to become second ones.

        Parameters
        ----------
        which : ndarray of int64, shape (n,)
            Objects.
        first : ndarray of int64, shape (n,)
            Views that are turned.
        second : ndarray of int64, shape (n,)
            Views that they become.

        Returns
        -------
        Tensor of float32, shape (n, 3, 3)
            Rotation matrices for (x, y, z) of the camera.
        """
        return self.poses[which, second] @ self.poses[which, first].mT

    @property
    def apart_deg(self) -> Tensor:
        """Angles between views, float32, shape (n_objects, n_views, n_views)."""
        trace = torch.einsum("oaij,obij->oab", self.poses, self.poses)
        return torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))


def as_images(pictures: Tensor) -> Tensor:
    """Return grey pictures as the network takes them.

    Parameters
    ----------
    pictures : Tensor of uint8, shape (n, size_px, size_px)
        Grey pictures.

    Returns
    -------
    Tensor of float32, shape (n, 3, size_px, size_px), 0..1
        The same in three channels.
    """
    return (pictures.float() / 255)[:, None].expand(-1, 3, -1, -1)


def draw_view(
    shape: str,
    azimuth_deg: float,
    elevation_deg: float,
    roll_deg: float,
    settings: LatentRotationSettings,
) -> NDArray[np.uint8]:
    """Draw an object as the pictures of the experiment show it, at another resolution.

    Parameters
    ----------
    shape : str
        Directions, see `stimuli.block_figures`.
    azimuth_deg : float
        Of the camera, from the front towards +x.
    elevation_deg : float
        Of the camera, upwards.
    roll_deg : float
        Turn of the picture, counter-clockwise.
    settings : LatentRotationSettings
        Pixels and degrees of the picture.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px)
        Grey picture; edges are as wide in degrees as in the experiment.

    Raises
    ------
    TypeError, ValueError
        As `stimuli.block_rendering.draw_block_figure`.
    """
    px_per_deg = settings.size_px / settings.size_deg
    display = draw_block_figure(
        shape,
        azimuth_deg=azimuth_deg,
        elevation_deg=elevation_deg,
        roll_deg=roll_deg,
        outline_px=OUTLINE_PX * px_per_deg / PX_PER_DEG,
        size_deg=settings.size_deg,
        px_per_deg=px_per_deg,
        oversample=_OVERSAMPLE,
    )
    return np.asarray(np.rint(255 * display.image), np.uint8)


def draw_object_views(
    shapes: Sequence[str],
    n_views: int,
    settings: LatentRotationSettings,
    *,
    elevation_deg: float = 80.0,
    roll_deg: float = 180.0,
    part: str = "training",
    seed: int = 0,
) -> ObjectViews:
    """Draw objects and their mirror images from random sides.

    Azimuth is uniform over the circle, elevation and roll within their limits.

    Parameters
    ----------
    shapes : sequence of str
        Directions of objects.
    n_views : int
        Views of each object and of each mirror image, at least 2.
    settings : LatentRotationSettings
        Pixels and degrees of the pictures.
    elevation_deg : float, default 80
        Largest elevation, upwards or downwards.
    roll_deg : float, default 180
        Largest turn of the picture, either way.
    part : str, default "training"
        What the views are for: another word gives other views.
    seed : int, default 0
        Of the views.

    Returns
    -------
    ObjectViews
        Twice as many objects as `shapes`: each is followed by its mirror image.

    Raises
    ------
    TypeError, ValueError
        If a string is none of an object, or a number is out of range.
    """
    check_whole("n_views", n_views, low=2)
    check_between("elevation_deg", elevation_deg, low=0, high=90)
    check_between("roll_deg", roll_deg, low=0, high=180)
    high = np.array([180.0, elevation_deg, roll_deg])
    both = [hand for shape in shapes for hand in (shape, mirror_shape(shape))]
    pictures, poses = [], []
    for shape in progress(both, f"drawing ({part})"):
        rng = generator(seed, "latent rotation views", part, shape)
        angles = rng.uniform(-high, high, size=(n_views, 3))
        pictures.append(
            np.stack(
                [draw_view(shape, row[0], row[1], row[2], settings) for row in angles]
            )
        )
        poses.append(np.stack([view_pose(*row) for row in angles]))
    return ObjectViews(
        torch.from_numpy(np.stack(pictures)),
        torch.from_numpy(np.stack(poses).astype(np.float32)),
    )


def training_shapes(n: int, seed: int = 0) -> list[str]:
    """Draw objects to train on, from the end of the list of the experiment.

    An experiment with the same seed takes its objects from the beginning.

    Parameters
    ----------
    n : int
        Objects, at most `N_MIRROR_PAIRS`.
    seed : int, default 0
        Of the draw.

    Returns
    -------
    list of str
        Objects of different mirror pairs.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    check_whole("n", n, low=1, high=N_MIRROR_PAIRS)
    return draw_block_shapes(N_MIRROR_PAIRS, seed)[::-1][:n]


def pair_views(pairs: pd.DataFrame, settings: LatentRotationSettings) -> Tensor:
    """Draw both views of pairs as a network of latent rotation takes them.

    Parameters
    ----------
    pairs : DataFrame
        Table of `stimuli.block_sets.plan_rotation_pairs`.
    settings : LatentRotationSettings
        Pixels and degrees of the pictures.

    Returns
    -------
    Tensor of uint8, shape (2, n_pairs, size_px, size_px)
        Left and right views.
    """
    views = [
        draw_view(
            row[f"{side}_shape"],
            row[f"{side}_azimuth_deg"],
            row[f"{side}_elevation_deg"],
            row[f"{side}_roll_deg"],
            settings,
        )
        for side in ("left", "right")
        for row in progress(pairs.to_dict("records"), f"drawing ({side})")
    ]
    size = settings.size_px
    return torch.from_numpy(np.stack(views)).view(2, len(pairs), size, size)
