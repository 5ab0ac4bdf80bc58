"""Simulated brains: which unit lies where, what it responds to, how noisy it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.simulated_atlas import (
    ATLAS_FAMILIES,
    FAMILY_LABELS,
    N_VERTICES,
    atlas_labels,
    eccentricity_labels,
    place_discs,
    place_early_areas,
)
from data_loaders.simulated_features import FREQUENCIES_CPD, ORIENTATIONS_DEG
from neurovis.core.brain_space import HEMISPHERES
from neurovis.core.checks import check_between, check_option
from neurovis.core.rng import generator

PREPARATIONS = (
    "betas_assumehrf",
    "betas_fithrf",
    "betas_fithrf_GLMdenoise_RR",
)
"""Preparations of NSD, noisiest first."""

SHORT_NAMES = dict(zip(("b1", "b2", "b3"), PREPARATIONS, strict=True))
"""What the preparations are called for short."""

_SELECTIVE = ("bodies", "faces", "places", "words")
# Slope and intercept of receptive field size over eccentricity, degrees, V1 to hV4.
_SIZE_DEG = ((0.10, 0.25), (0.15, 0.35), (0.22, 0.50), (0.35, 0.80))

_NAMES = {
    "bodies": ("body", "bodies", "limb", "limbs", "person", "people"),
    "faces": ("face", "faces", "adult", "child", "portrait"),
    "places": (
        *("place", "places", "scene", "scenes", "house", "houses", "corridor"),
        *("landscape", "building", "interior", "outdoor", "indoor"),
    ),
    "words": ("word", "words", "text", "letter", "letters", "number", "numbers"),
}


@dataclass(frozen=True)
class SimulatedBrain:
    """Declared parameters of simulated brains.

    Parameters
    ----------
    ncsnr : float or tuple of float, default (0.2, 1.0)
        True noise-ceiling signal-to-noise ratio of units in retinotopic and
        category-selective regions, for the preparation
        "betas_fithrf_GLMdenoise_RR": one number for all, or the bounds of a uniform
        distribution over cortex. It is 0 elsewhere.
    relative_ncsnr : mapping of str to float, optional
        By how much the true ncsnr of each preparation is multiplied, 0..1: other
        preparations have the same signal and additional noise.
    mean_percent : float, default 1.0
        Mean response, percent signal change; its standard deviation over units is
        half of it.
    noise_percent : float, default 2.0
        Median over units of the standard deviation of noise, percent signal change.
    drift_share : float, default 0.1
        Part of the noise variance that drifts slowly within a session, 0..1.
    session_gain : float, default 0.1
        Standard deviation over sessions of the logarithm of a gain that multiplies
        all responses of a session.
    session_offset : float, default 0.25
        Standard deviation over sessions of an offset added to all responses of a unit
        in a session, as a multiple of its noise.
    energy_share : float, default 0.2
        Part of the signal variance of category-selective units that comes from
        contrast energy, 0..1.
    other_categories : float, default 0.3
        Largest mean response of a category-selective region to other categories,
        where its preferred one gives 1.
    jitter : float, default 3.0
        Standard deviation over subjects of the position of regions, on a sphere of
        radius 100.
    preferred : mapping of str to tuple of str, optional
        Names of the categories that "bodies", "faces", "places" and "words" regions
        prefer. Of each, those that occur are taken; where none occurs, a category
        that no other prefers stands in.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> SimulatedBrain(ncsnr=0.5).relative_ncsnr["betas_fithrf_GLMdenoise_RR"]
    1.0
    """

    ncsnr: float | tuple[float, float] = (0.2, 1.0)
    relative_ncsnr: Mapping[str, float] = field(
        default_factory=lambda: dict(zip(PREPARATIONS, (0.6, 0.75, 1.0), strict=True))
    )
    mean_percent: float = 1.0
    noise_percent: float = 2.0
    drift_share: float = 0.1
    session_gain: float = 0.1
    session_offset: float = 0.25
    energy_share: float = 0.2
    other_categories: float = 0.3
    jitter: float = 3.0
    preferred: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(_NAMES))

    def __post_init__(self) -> None:
        for name in ("relative_ncsnr", "preferred"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        low, high = self.ncsnr_range
        check_between("ncsnr", low, low=0, high=10)
        check_between("ncsnr", high, low=low, high=10)
        for name, factor in self.relative_ncsnr.items():
            check_between(f"relative_ncsnr[{name!r}]", factor, low=0.01, high=1)
        for name in ("drift_share", "energy_share", "other_categories"):
            check_between(name, getattr(self, name), low=0, high=1)
        for name in ("session_gain", "session_offset", "jitter"):
            check_between(name, getattr(self, name), low=0, high=10)
        check_between("mean_percent", self.mean_percent, low=0, high=20)
        check_between("noise_percent", self.noise_percent, low=0.1, high=20)
        for name in self.preferred:
            check_option("preferred", name, _SELECTIVE)

    @property
    def ncsnr_range(self) -> tuple[float, float]:
        """Smallest and largest true ncsnr of units with a signal."""
        low, high = np.broadcast_to(np.asarray(self.ncsnr, float), 2)
        return float(low), float(high)


def preferred_categories(
    brain: SimulatedBrain, categories: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return which of the categories of the pictures each kind of region prefers.

    Parameters
    ----------
    brain : SimulatedBrain
        Declares names.
    categories : sequence of str
        Categories that occur.

    Returns
    -------
    dict of str to tuple of str
        For "bodies", "faces", "places" and "words" at least one category each.

    Examples
    --------
    >>> found = preferred_categories(SimulatedBrain(), ["face", "house", "shoe", "toy"])
    >>> found["faces"], found["places"], found["bodies"], found["words"]
    (('face',), ('house',), ('shoe',), ('toy',))
    """
    found = {
        kind: tuple(
            c for c in categories if c.lower() in set(brain.preferred.get(kind, ()))
        )
        for kind in _SELECTIVE
    }
    taken = {c for names in found.values() for c in names}
    free = [c for c in categories if c not in taken] or list(categories)
    for kind in _SELECTIVE:
        if not found[kind]:
            found[kind] = (free[0],)
            free = free[1:] or free
    return found


@dataclass(frozen=True)
class SimulatedCortex:
    """The cortex of one subject, at the vertices of fsaverage5.

    Parameters
    ----------
    vertices : DataFrame
        20484 rows, left before right: `hemisphere`; one column of numbers of labels
        (0 none) per family; `rf_x_deg`, `rf_y_deg` (x right, y down from fixation),
        `rf_size_deg`, `frequency_cpd`, `orientation_deg`, `energy_share`,
        `preferred_category` and `ncsnr` of vertices with a signal (NaN, None and 0
        elsewhere); `mean_percent`, `noise_percent`.
    weights : ndarray of float32, shape (20484, n_categories)
        Response to each category, 0 outside category-selective regions.
    """

    vertices: pd.DataFrame
    weights: NDArray[np.float32]


def draw_cortex(
    brain: SimulatedBrain, subject: str, categories: Sequence[str], seed: int
) -> SimulatedCortex:
    """Draw the cortex of one subject.

    Parameters
    ----------
    brain : SimulatedBrain
        Declared parameters.
    subject : str
        Such as "subj01"; other subjects are other draws.
    categories : sequence of str
        Categories of the pictures.
    seed : int
        Seed of the simulation.

    Returns
    -------
    SimulatedCortex
        Depends on the arguments only.
    """
    halves = [
        _draw_hemisphere(brain, subject, hemisphere, categories, seed)
        for hemisphere in HEMISPHERES
    ]
    vertices = pd.concat([table for table, _ in halves], ignore_index=True)
    return SimulatedCortex(vertices, np.concatenate([w for _, w in halves]))


def _draw_hemisphere(
    brain: SimulatedBrain,
    subject: str,
    hemisphere: str,
    categories: Sequence[str],
    seed: int,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    rng = generator(seed, subject, hemisphere, "regions")
    early = place_early_areas(hemisphere, jitter=brain.jitter, rng=rng)
    labels = {
        "prf-visualrois": early.area,
        "prf-eccrois": eccentricity_labels(early.eccentricity_deg),
    }
    for kind in _SELECTIVE:
        family = f"floc-{kind}"
        labels[family] = place_discs(family, hemisphere, jitter=brain.jitter, rng=rng)
    labels |= {name: atlas_labels(name, hemisphere) for name in ATLAS_FAMILIES}
    table = pd.DataFrame({family: labels[family] for family in FAMILY_LABELS})
    table.insert(0, "hemisphere", hemisphere)
    weights = _draw_weights(
        brain, labels, categories, generator(seed, subject, hemisphere, "categories")
    )
    retinotopic = early.area > 0
    selective = weights.any(axis=1)
    tuning = generator(seed, subject, hemisphere, "tuning")
    side = -1 if hemisphere == "rh" else 1  # each half sees the opposite side
    angle = np.deg2rad(early.angle_deg)
    area = np.array([0, 0, 0, 1, 1, 2, 2, 3])[early.area]
    slope, intercept = np.array(_SIZE_DEG)[area].T
    wobble = np.exp(0.1 * tuning.standard_normal(N_VERTICES))
    x = side * early.eccentricity_deg * np.cos(angle)
    y = -early.eccentricity_deg * np.sin(angle)
    size = (intercept + slope * early.eccentricity_deg) * wobble
    # Beyond the retinotopic areas fields are large and reach across fixation.
    broad_x = side * np.abs(1 + 0.5 * tuning.standard_normal(N_VERTICES))
    broad_y = 0.5 * tuning.standard_normal(N_VERTICES)
    frequency = tuning.choice(FREQUENCIES_CPD, N_VERTICES)
    orientation = tuning.choice(ORIENTATIONS_DEG, N_VERTICES)
    low, high = brain.ncsnr_range
    ncsnr = tuning.uniform(low, high, N_VERTICES)
    responsive = retinotopic | selective
    table["rf_x_deg"] = np.where(retinotopic, x, broad_x)
    table["rf_y_deg"] = np.where(retinotopic, y, broad_y)
    table["rf_size_deg"] = np.where(retinotopic, size, 2 * wobble)
    table["frequency_cpd"] = frequency
    table["orientation_deg"] = orientation
    table["energy_share"] = np.where(selective, brain.energy_share, 1.0)
    tuned = list(table.columns[-6:])
    table[tuned] = table[tuned].where(pd.Series(responsive), np.nan)
    best = pd.Series(categories, dtype=object)[weights.argmax(axis=1)]
    table["preferred_category"] = best.to_numpy()
    table.loc[~selective, "preferred_category"] = None
    table["ncsnr"] = np.where(responsive, ncsnr, 0.0)
    spread = tuning.standard_normal((2, N_VERTICES))
    table["mean_percent"] = brain.mean_percent * (1 + 0.5 * spread[0])
    table["noise_percent"] = brain.noise_percent * np.exp(0.3 * spread[1])
    return table, weights


def _draw_weights(
    brain: SimulatedBrain,
    labels: Mapping[str, NDArray[np.int64]],
    categories: Sequence[str],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return responses to categories; where families overlap, the larger one each."""
    weights = np.zeros((N_VERTICES, len(categories)))
    for kind, preferred in preferred_categories(brain, categories).items():
        family = f"floc-{kind}"
        prefers = np.isin(categories, preferred)
        for number in range(1, len(FAMILY_LABELS[family]) + 1):
            mean = rng.uniform(0, brain.other_categories, len(categories))
            mean = np.where(prefers, 1.0, mean)
            noise = 0.05 * rng.standard_normal((N_VERTICES, len(categories)))
            inside = labels[family][:, None] == number
            weights = np.where(inside, np.maximum(weights, mean + noise), weights)
    return weights.astype(np.float32)
