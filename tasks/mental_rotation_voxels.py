"""Mental rotation with the object itself in the place of what a network saw of it.

Each view becomes a volume of cubes in its pose, with noise; the first is turned in
steps until it matches the second, or half a turn is over. It tells what rotation of a
latent volume can do where the volume is right: no picture is looked at.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neurovis.adapters.latent_rotation import (
    rotation_matches,
    voxel_centres,
)
from neurovis.core.checks import check_between, check_whole
from neurovis.core.rng import generator
from stimuli.block_figures import CUBE_SIDE, bounding_radius, cube_cells
from stimuli.block_rendering import view_matrix
from stimuli.canvas import cos_sin

FloatArray = NDArray[np.float64]

STEP_DEG = 5.0
MS_AT_0 = 1000.0
MS_PER_DEG = 17.5
"""Of people, as recalled from Shepard and Metzler (1971); gives steps a time."""

_AXES = {"depth": (0.0, 1.0, 0.0), "picture-plane": (0.0, 0.0, 1.0)}
_SAMPLES = 2


@dataclass(frozen=True)
class RotationSearch:
    """How far volumes were turned before they matched.

    Parameters
    ----------
    steps : ndarray of int64, shape (n_trials,)
        Steps until the first match; the largest number where there was none.
    found : ndarray of bool, shape (n_trials,)
        Whether there was one.
    rt_ms : ndarray of float64, shape (n_trials,)
        Time of so many steps.
    """

    steps: NDArray[np.int64]
    found: NDArray[np.bool_]
    rt_ms: FloatArray


def occupancy(
    shape: str, pose: NDArray[np.float64], resolution: int = 16
) -> NDArray[np.float32]:
    """Return which part of each voxel an object fills.

    Parameters
    ----------
    shape : str
        Directions, see `stimuli.block_figures`.
    pose : ndarray of float64, shape (3, 3)
        Rotation of the object, for columns (x, y, z).
    resolution : int, default 16
        Voxels along each axis; the inscribed sphere is the sphere that holds the
        object.

    Returns
    -------
    ndarray of float32, shape (resolution, resolution, resolution)
        Share of the samples of a voxel inside a cube, axes z, y, x.

    Raises
    ------
    TypeError, ValueError
        If the string is none of an object, or `resolution` is below 4.

    Examples
    --------
    >>> cube = occupancy("u", np.eye(3), 8)
    >>> cube.shape, bool(cube[4, 1, 4] == 1), bool(cube[4, 4, 1] == 0)
    ((8, 8, 8), True, True)
    """
    side = _SAMPLES * check_whole("resolution", resolution, low=4)
    places = bounding_radius(shape) * voxel_centres(side).double().numpy()
    cells = cube_cells(shape)
    # A row times the rotation is the inverse rotation of the column.
    at = np.rint(places.reshape(-1, 3) @ pose / CUBE_SIDE + cells.mean(axis=0))
    low, extent = cells.min(axis=0) - 1, np.ptp(cells, axis=0) + 3
    filled = np.zeros(extent, np.float32)
    filled[tuple((cells - low).T)] = 1
    inside = np.clip(at.astype(np.int64) - low, 0, extent - 1)  # the rim is empty
    samples = filled[tuple(inside.T)].reshape((resolution, _SAMPLES) * 3)
    return np.asarray(samples.mean(axis=(1, 3, 5)))


def pose_of(pairs: pd.DataFrame, row: int, side: str) -> FloatArray:
    """Return how an object is turned in one view of a pair.

    Parameters
    ----------
    pairs : DataFrame
        Table of pairs.
    row : int
        0-based row.
    side : {"left", "right"}
        Which view.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        Rotation into the frame in which pairs of this kind are turned about one axis:
        that of the camera for rotations in the plane, and one that stands upright for
        those in depth.
    """
    own = pairs.iloc[row]
    in_depth = own["rotation"] == "depth"
    elevation = 0.0 if in_depth else float(own[f"{side}_elevation_deg"])
    return view_pose(
        float(own[f"{side}_azimuth_deg"]), elevation, float(own[f"{side}_roll_deg"])
    )


def view_pose(azimuth_deg: float, elevation_deg: float, roll_deg: float) -> FloatArray:
    """Return the turn from the frame of an object to that of a camera that may tilt.

    Parameters
    ----------
    azimuth_deg : float
        Of the camera, from the front towards +x.
    elevation_deg : float
        Of the camera, upwards.
    roll_deg : float
        Turn of the picture, counter-clockwise.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        Its rows point to the right, up, and towards the viewer of the picture.

    Examples
    --------
    >>> view_pose(0, 0, 90).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    cos, sin = cos_sin(roll_deg)
    roll = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(roll @ view_matrix(azimuth_deg, elevation_deg))


def voxel_matches(
    pairs: pd.DataFrame,
    *,
    resolution: int = 16,
    noise: float = 0.02,
    step_deg: float = STEP_DEG,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> FloatArray:
    """Turn the volumes of left views and correlate them with those of right views.

    Parameters
    ----------
    pairs : DataFrame
        Table of pairs.
    resolution : int, default 16
        Voxels along each axis.
    noise : float, default 0.02
        Standard deviation of what is added to each voxel, where 1 is a full one.
    step_deg : float, default 5
        Degrees of one step.
    seed : int, default 0
        Of the noise.
    device : str or torch.device, default "cpu"
        Where to compute.

    Returns
    -------
    ndarray of float64, shape (n_pairs, n_steps)
        Correlation inside the sphere after 0, 1, 2, ... steps up to 180 degrees, the
        larger one of both directions.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """
    check_between("noise", noise, low=0)
    check_between("step_deg", step_deg, low=0.1, high=180)
    found: FloatArray | None = None
    for kind, axis in _AXES.items():
        rows = np.flatnonzero(pairs["rotation"] == kind)
        if not len(rows):
            continue
        volumes = []
        for side in ("left", "right"):
            made = np.empty((len(rows), 1, *(resolution,) * 3), np.float32)
            for place, row in enumerate(rows):
                name, shape = pairs.iloc[row][["pair", f"{side}_shape"]]
                volume = occupancy(shape, pose_of(pairs, int(row), side), resolution)
                rng = generator(seed, "voxel noise", name, side)
                made[place, 0] = volume + noise * rng.standard_normal(volume.shape)
            volumes.append(torch.from_numpy(made).to(device))
        axes = torch.tensor(axis, device=device).expand(len(rows), 3)
        left, right = volumes
        part = rotation_matches(left, right, axes, step_deg=step_deg).cpu().numpy()
        if found is None:
            found = np.full((len(pairs), part.shape[1]), np.nan)
        found[rows] = part
    if found is None:
        raise ValueError("`pairs` is empty: there is nothing to turn.")
    return found


def search_rotation(
    matches: FloatArray,
    threshold: float,
    *,
    step_deg: float = STEP_DEG,
    ms_at_0: float = MS_AT_0,
    ms_per_deg: float = MS_PER_DEG,
) -> RotationSearch:
    """Stop turning at the first match.

    Parameters
    ----------
    matches : ndarray of float64, shape (n_trials, n_steps)
        Correlations step by step.
    threshold : float
        A match is above it.
    step_deg : float, default 5
        Degrees of one step.
    ms_at_0 : float, default 1000
        Time without any rotation.
    ms_per_deg : float, default 17.5
        Time of a degree.

    Returns
    -------
    RotationSearch
        ``rt_ms = ms_at_0 + steps * step_deg * ms_per_deg``.

    Examples
    --------
    >>> search = search_rotation(np.array([[0.2, 0.9], [0.1, 0.3]]), 0.5, step_deg=180)
    >>> search.steps.tolist(), search.found.tolist(), search.rt_ms.tolist()
    ([1, 1], [True, False], [4150.0, 4150.0])
    """
    above = matches > threshold
    found = np.asarray(above.any(axis=1))
    steps = np.where(found, above.argmax(axis=1), matches.shape[1] - 1)
    return RotationSearch(steps, found, ms_at_0 + steps * step_deg * ms_per_deg)
