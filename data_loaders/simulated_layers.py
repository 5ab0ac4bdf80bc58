"""Simulated regions that respond to given features, such as layers of a network."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_loaders.simulated_atlas import ATLAS_FAMILIES, FAMILY_LABELS
from data_loaders.simulated_brain import SimulatedCortex
from data_loaders.simulated_features import standardised
from neurovis.core.checks import check_array, suggest
from neurovis.core.regions import region_mask
from neurovis.core.rng import generator

DRIVEN_FAMILIES = tuple(f for f in FAMILY_LABELS if f not in ATLAS_FAMILIES)
"""Families of regions whose units respond to pictures."""

_TUNED = (
    *("rf_x_deg", "rf_y_deg", "rf_size_deg"),
    *("frequency_cpd", "orientation_deg", "energy_share"),
)


def check_region_features(
    region_features: Mapping[str, ArrayLike] | None, n_pictures: int
) -> dict[str, NDArray[np.float32]]:
    """Return features by region, their columns standardised.

    Parameters
    ----------
    region_features : mapping of str to array-like of float, or None
        Shape (n_pictures, n_features) each.
    n_pictures : int
        Pictures of the simulation.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_features, n_pictures)
        Mean 0 and standard deviation 1 over the pictures; 0 where constant.

    Raises
    ------
    ValueError
        If a shape does not fit, or a value is not finite.
    """
    found = {}
    for region, values in (region_features or {}).items():
        name = f"region_features[{region!r}]"
        rows = check_array(name, values, shape=(n_pictures, None))
        if not np.isfinite(rows).all():
            raise ValueError(f"`{name}` has values that are not finite.")
        found[region] = standardised(np.ascontiguousarray(rows.T, np.float32))
    return found


def drive_by_features(
    cortex: SimulatedCortex,
    rows: NDArray[np.int64],
    signals: NDArray[np.float32],
    region_features: Mapping[str, NDArray[np.float32]],
    order: NDArray[np.int64],
    *,
    subject: str,
    seed: int,
) -> tuple[SimulatedCortex, NDArray[np.float32]]:
    """Let the units of regions respond to features instead.

    Every unit weighs the features by numbers of its own, drawn from a normal
    distribution. A unit of several of the regions belongs to the first of them.

    Parameters
    ----------
    cortex : SimulatedCortex
        The subject.
    rows : ndarray of int64, shape (20484,)
        Row of the signals of each vertex; -1 without a signal.
    signals : ndarray of float32, shape (n_signals, n_images)
        What units respond otherwise.
    region_features : mapping of str to ndarray of float32
        From `check_region_features`; regions of `DRIVEN_FAMILIES`, named as in
        `neurovis.core.regions.region_mask`.
    order : ndarray of int64, shape (n_images,)
        0-based numbers of the pictures of the subject.
    subject : str
        Such as "subj01"; other subjects have other weights.
    seed : int
        Seed of the simulation.

    Returns
    -------
    cortex : SimulatedCortex
        `vertices` has the column `features` with the region that gives the features
        of a unit ("" for none); what is known of its receptive field is taken away.
    signals : ndarray of float32, shape (n_signals, n_images)
        With mean 0 and standard deviation 1.

    Raises
    ------
    ValueError
        If a region is unknown or has no units, or its features do not vary over the
        pictures of the subject.
    """
    vertices = cortex.vertices
    labels = pd.DataFrame(
        {
            family: np.array(["", *FAMILY_LABELS[family]], object)[vertices[family]]
            for family in DRIVEN_FAMILIES
        }
    )
    source = np.full(len(vertices), "", object)
    signals = signals.copy()
    for region, features in region_features.items():
        inside = _inside(labels, region) & (rows >= 0) & (source == "")
        if not inside.any():
            raise ValueError(f"`region_features`: {region!r} has no units of its own.")
        source[inside] = region
        rng = generator(seed, subject, "weights of features", region)
        weights = rng.standard_normal((int(inside.sum()), len(features)))
        mixed = standardised(weights.astype(np.float32) @ features[:, order])
        if not mixed.any(axis=1).all():
            raise ValueError(
                f"`region_features[{region!r}]` does not vary over the pictures of "
                f"{subject}."
            )
        signals[rows[inside]] = mixed
    vertices = vertices.assign(features=source)
    vertices.loc[source != "", list(_TUNED)] = np.nan
    vertices.loc[source != "", "preferred_category"] = None
    return replace(cortex, vertices=vertices), signals


def _inside(labels: pd.DataFrame, region: str) -> NDArray[np.bool_]:
    try:
        return region_mask(labels, DRIVEN_FAMILIES, region)
    except KeyError:
        known = [*DRIVEN_FAMILIES]
        known += [name for f in DRIVEN_FAMILIES for name in FAMILY_LABELS[f]]
        raise ValueError(
            f"`region_features` names the region {region!r}, which is not one of "
            f"{', '.join(DRIVEN_FAMILIES)}.{suggest(region, known)}"
        ) from None
