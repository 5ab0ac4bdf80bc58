"""Who looks at generated drawings: encoders of two simulated brains, and a judge."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_loaders.simulated_selectivity import FAMILY, simulate_selective_units
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.unit_responses import UnitResponses
from neurovis.generation.image_generator import ImageGenerator
from tasks.braindive_scores import METRICS
from tasks.sketch_observers import (
    EmbeddingEncoder,
    SketchNetwork,
    fit_embedding_encoder,
    name_classes,
    train_sketch_network,
)
from tasks.sketch_training import draw_sketches

LEAST_RATIO = 0.85
"""Least mean correlation of an encoder, as a share of its ceiling, without a note."""

_SEEDS = {"guide": 101, "judge": 202, "brain": 303}
_SHOWN = {"sim01": 404, "sim02": 505}


@dataclass(frozen=True, eq=False)
class Observers:
    """Who looks at the images.

    Parameters
    ----------
    guide : EmbeddingEncoder
        Encoder of the first brain: guidance follows its gradients.
    heldout : EmbeddingEncoder
        Encoder of the second brain, through another network.
    judge : SketchNetwork
        Names categories; a third network.
    responses : tuple of UnitResponses
        Of the first and the second brain.
    """

    guide: EmbeddingEncoder
    heldout: EmbeddingEncoder
    judge: SketchNetwork
    responses: tuple[UnitResponses, UnitResponses]


def make_observers(
    folder: Path,
    *,
    n_drawn: int,
    epochs: int,
    seed: int,
    device: str | torch.device,
) -> Observers:
    """Train three networks, simulate two brains, and fit an encoder to each.

    Parameters
    ----------
    folder : Path
        Where the networks are kept.
    n_drawn : int
        Drawings to train each network on, and to show each brain.
    epochs : int
        Epochs of each network.
    seed : int
        Seed of all.
    device : str or torch.device
        Where to train and to look.

    Returns
    -------
    Observers
        On `device`.
    """
    networks = {}
    for role, offset in _SEEDS.items():
        drawn, table = draw_sketches(n_drawn, seed=offset + 1000 * seed)
        labels = table["category"].map(CATEGORIES.index).to_numpy(np.int64)
        networks[role] = train_sketch_network(
            role,
            drawn,
            labels,
            epochs=epochs,
            seed=offset + 1000 * seed,
            device=device,
            folder=folder / role,
        ).to(device)
    encoders, responses = [], []
    for role, (subject, offset) in zip(("guide", "brain"), _SHOWN.items(), strict=True):
        drawn, table = draw_sketches(n_drawn, seed=offset + 1000 * seed)
        pictures = to_pixels(drawn)
        found = simulate_selective_units(
            pictures,
            table["category"].tolist(),
            regions=CATEGORIES,
            subject=subject,
            seed=seed,
        )
        encoders.append(
            fit_embedding_encoder(networks[role], found, pictures, n_test=n_drawn // 5)
        )
        responses.append(found)
    return Observers(
        encoders[0], encoders[1], networks["judge"], (responses[0], responses[1])
    )


def encoder_table(seen: Observers) -> pd.DataFrame:
    """Return how well each encoder predicts new responses of its brain.

    Parameters
    ----------
    seen : Observers
        Fitted encoders.

    Returns
    -------
    DataFrame
        `encoder`, `subject`, `region` ("all": mean over regions), `test_r`, `ceiling`
        (the root of the share of the variance that is no noise).
    """
    rows = []
    for name, encoder, found in (
        ("guide", seen.guide, seen.responses[0]),
        ("held-out", seen.heldout, seen.responses[1]),
    ):
        table = pd.DataFrame(
            {
                "region": found.units[FAMILY],
                "test_r": encoder.test_r,
                "ceiling": np.sqrt(found.units["noise_ceiling"]),
            }
        )
        means = table.groupby("region", sort=False).mean().reset_index()
        means.loc[len(means)] = ["all", *means[["test_r", "ceiling"]].mean()]
        rows.append(means.assign(encoder=name, subject=found.subject))
    columns = ["encoder", "subject", "region", "test_r", "ceiling"]
    return pd.concat(rows, ignore_index=True)[columns]


def weak_encoders(seen: Observers) -> list[str]:
    """Say which encoders reach less than `LEAST_RATIO` of their ceiling.

    Parameters
    ----------
    seen : Observers
        Fitted encoders.

    Returns
    -------
    list of str
        One sentence each.
    """
    table = encoder_table(seen)
    whole = table[table["region"] == "all"]
    return [
        f"The {row['encoder']} encoder reaches {row['test_r'] / row['ceiling']:.2f} of "
        f"its ceiling, less than {LEAST_RATIO}."
        for row in whole.to_dict("records")
        if row["test_r"] < LEAST_RATIO * row["ceiling"]
    ]


def simulation_notes(image_generator: ImageGenerator, seen: Observers) -> list[str]:
    """Say what a reader must know of images for simulated brains.

    Parameters
    ----------
    image_generator : ImageGenerator
        What made them.
    seen : Observers
        Who looked at them.

    Returns
    -------
    list of str
        One sentence each.
    """
    notes = [
        "Simulated brains and drawings: a test of the method, and nothing about a "
        "brain.",
        *image_generator.notes,
        *weak_encoders(seen),
    ]
    if not image_generator.trained:
        notes.append(f"{image_generator.name}: untrained weights")
    return notes


def region_columns(responses: UnitResponses) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of the voxels of each region.

    Parameters
    ----------
    responses : UnitResponses
        Of a simulated brain.

    Returns
    -------
    dict of str to ndarray of bool, shape (n_units,)
        By name of the region.
    """
    labels = responses.units[FAMILY]
    return {str(name): (labels == name).to_numpy() for name in labels.unique()}


def to_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """Return drawings as other tools have pictures.

    Parameters
    ----------
    pictures : Tensor of uint8, shape (n, 3, h, w)
        Drawings.

    Returns
    -------
    ndarray of uint8, shape (n, h, w, 3)
        The same levels.
    """
    return np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy())


def look_at(
    shown: NDArray[np.uint8], region: str, seen: Observers
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Let all observers look at images that are meant for a region.

    Parameters
    ----------
    shown : ndarray of uint8, shape (n, 32, 32, 3)
        Images.
    region : str
        What they should drive.
    seen : Observers
        Who looks.

    Returns
    -------
    table : DataFrame
        One row per image: `tasks.braindive_scores.METRICS` and `judge_label`.
    embedding : ndarray of float32, shape (n, 64)
        What the judge makes of them.
    """
    masks = region_columns(seen.responses[0]), region_columns(seen.responses[1])
    guide, heldout = seen.guide.predict(shown), seen.heldout.predict(shown)
    shares, embedding = name_classes(seen.judge, shown)
    second, _ = name_classes(seen.heldout.network, shown)
    category = CATEGORIES.index(region)
    others = [name for name in CATEGORIES if name != region]
    off = np.mean([heldout[:, masks[1][name]].mean(axis=1) for name in others], axis=0)
    ends = ((shown == 0) | (shown == 255)).mean(axis=(1, 2, 3))
    table = pd.DataFrame(
        {
            "guide_activation": guide[:, masks[0][region]].mean(axis=1),
            "heldout_activation": heldout[:, masks[1][region]].mean(axis=1),
            "judge_accuracy": shares.argmax(axis=1) == category,
            "second_judge_accuracy": second.argmax(axis=1) == category,
            "judge_confidence": shares.max(axis=1),
            "off_target_activation": off,
            "saturated_share": ends,
        }
    ).astype(np.float64)
    labels = np.array(CATEGORIES)[shares.argmax(axis=1)]
    return table[list(METRICS)].assign(judge_label=labels), embedding
