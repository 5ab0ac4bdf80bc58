"""Simulated voxels that prefer a category, by declaration: ground truth for judges."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.core.files import sha256_bytes
from neurovis.core.rng import generator
from neurovis.core.unit_responses import UnitResponses

NUISANCES = ("luminance", "contrast", "red_green", "edges")
"""What else voxels respond to: properties of pixels."""

FAMILY = "region"
"""Column of the units that names their region."""

_OWN, _SPREAD, _OVERLAP = (0.8, 1.6), 0.3, 0.4
_NEIGHBOURS = {"face": "body", "body": "face"}
_NUISANCE_SD = 0.25


def picture_nuisances(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Measure properties of pixels.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, H, W, 3)
        RGB.

    Returns
    -------
    ndarray of float64, shape (n, 4)
        Columns as `NUISANCES`: mean and standard deviation of the luminance, mean of
        red minus green, and mean absolute difference of neighbouring pixels; levels
        of 0..1.
    """
    check_array("pictures", pictures, shape=(None, None, None, 3), dtype=np.uint8)
    levels = pictures.astype(np.float64) / 255
    grey = levels @ [0.299, 0.587, 0.114]
    across = np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    down = np.abs(np.diff(grey, axis=1)).mean(axis=(1, 2))
    return np.stack(
        [
            grey.mean(axis=(1, 2)),
            grey.std(axis=(1, 2)),
            (levels[..., 0] - levels[..., 1]).mean(axis=(1, 2)),
            (across + down) / 2,
        ],
        axis=1,
    )


def simulate_selective_units(
    pictures: NDArray[np.uint8],
    categories: Sequence[str],
    *,
    regions: Sequence[str],
    subject: str = "sim01",
    n_units: int = 40,
    n_repeats: int = 3,
    nuisance_sd: float = _NUISANCE_SD,
    noise_sd: float = 1.0,
    seed: int = 0,
) -> UnitResponses:
    """Simulate regions whose voxels prefer one category each.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, H, W, 3)
        What is shown.
    categories : sequence of str, length n
        What each picture truly shows.
    regions : sequence of str
        Preferred category of each region; it has that name.
    subject : str, default "sim01"
        Whose brain: other subjects have other voxels.
    n_units : int, default 40
        Voxels per region.
    n_repeats : int, default 3
        Trials that were averaged.
    nuisance_sd : float, default 0.25
        Standard deviation over voxels of the weight of each of `NUISANCES`.
    noise_sd : float, default 1
        Standard deviation of the noise of one trial.
    seed : int, default 0
        Seed of voxels and noise. Other pictures meet the same voxels with other noise.

    Returns
    -------
    UnitResponses
        Responses in standard deviations of each voxel. `units` has the columns
        `region`, ``selectivity_CATEGORY`` for each region (the declared truth) and
        `noise_ceiling` (share of the variance that is no noise).

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a region occurs in no picture, or a number is out of
        range.

    Notes
    -----
    A voxel adds up: .8 to 1.6 for its own category, -.3 to .3 for each category, .4
    for a body in the face region and for a face in the body region, properties of
    pixels, and normal noise with a standard deviation of
    ``noise_sd / sqrt(n_repeats)``.
    """
    check_array("pictures", pictures, shape=(None, None, None, 3), dtype=np.uint8)
    check_whole("n_units", n_units, low=1)
    check_whole("n_repeats", n_repeats, low=1)
    check_between("nuisance_sd", nuisance_sd, low=0)
    check_between("noise_sd", noise_sd, low=0)
    shown = np.array([str(name) for name in categories])
    if shown.shape != (len(pictures),):
        raise ValueError(
            f"`categories` must name what each of {len(pictures)} pictures shows; got "
            f"{len(shown)} names."
        )
    missing = [name for name in regions if name not in shown]
    if missing or not len(regions) or len(set(regions)) < len(regions):
        raise ValueError(
            f"`regions` must be different categories that occur in the pictures "
            f"({', '.join(sorted(set(shown)))}); got {list(regions)}."
        )
    rng = generator(seed, "selective units", subject)
    own = np.repeat(list(regions), n_units)
    total = len(own)
    selectivity = rng.uniform(-_SPREAD, _SPREAD, (total, len(regions)))
    for column, name in enumerate(regions):
        selectivity[own == name, column] += rng.uniform(*_OWN, n_units)
        neighbour = _NEIGHBOURS.get(name)
        selectivity[own == neighbour, column] += _OVERLAP
    is_shown = shown[:, None] == np.array(list(regions))
    nuisance = picture_nuisances(pictures)
    spread = nuisance.std(axis=0)
    nuisance = (nuisance - nuisance.mean(axis=0)) / np.where(spread > 0, spread, 1)
    weights = rng.normal(0, nuisance_sd, (total, len(NUISANCES)))
    signal = is_shown @ selectivity.T + nuisance @ weights.T
    mean_noise_sd = noise_sd * n_repeats**-0.5
    # Other pictures are other trials, of the same voxels.
    content = sha256_bytes(np.ascontiguousarray(pictures).tobytes())
    trials = generator(seed, "selective trials", subject, content)
    betas = signal + trials.normal(0, mean_noise_sd, signal.shape)
    betas = (betas - betas.mean(axis=0)) / betas.std(axis=0)
    variance = signal.var(axis=0)
    units = pd.DataFrame(
        {
            "unit_id": [f"{subject}-{i:04d}" for i in range(total)],
            FAMILY: own,
            **{
                f"selectivity_{name}": selectivity[:, column]
                for column, name in enumerate(regions)
            },
            "noise_ceiling": variance / (variance + mean_noise_sd**2),
        }
    )
    stimuli = pd.DataFrame(
        {
            "stimulus_id": [f"{name}-{i:05d}" for i, name in enumerate(shown)],
            "n_repeats": n_repeats,
            "category": shown,
        }
    )
    return UnitResponses(
        "simulated-selectivity",
        subject,
        betas.astype(np.float32),
        stimuli,
        units,
        families=(FAMILY,),
        response_unit="z-score",
        pictures=list(pictures),
        notes=("Simulated responses: voxels prefer categories by declaration.",),
    )
