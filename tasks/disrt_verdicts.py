"""What was published about oddity with distorted pictures, and what models do."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.disrt import (
    CHANCE,
    CHOSEN,
    choose_layer,
    shown_everywhere,
    whole_accuracy,
)
from tasks.directions import Direction, direction_row
from tasks.picture_features import PictureModel

# Names of weights, in the words of timm and open_clip.
_SELF_SUPERVISED = (".mae", ".dino", "dinov2", "clip", ".fcmae", ".ijepa", ".beit")
_SUPERVISED = ("augreg_in1k", "deit", "_ft_", ".tv_in1k", ".a1_in1k")

_PAPER = "Li et al. 2025, From local cues to global percepts (abstract)"
_FINDS = Direction(
    "intact picture found above chance",
    "people tell pictures by their global structure",
    _PAPER,
)
_SELF = Direction(
    "self-supervised above supervised",
    "published for networks: MAE and CLIP above supervised ones, at times people",
    _PAPER,
)
_TUNED = Direction(
    "not fine-tuned above fine-tuned",
    "published for networks: fine-tuning for classification lowers it",
    _PAPER,
)
_SPARSE = Direction(
    "few active units above all",
    "published for networks: Top-K sparsity brings it back",
    _PAPER,
)


def disrt_directions(
    trials: pd.DataFrame, models: Sequence[PictureModel], n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Hold accuracies against what was published.

    Parameters
    ----------
    trials : DataFrame
        Trials of all models, as `analysis.disrt.disrt_scores`.
    models : sequence of PictureModel
        The models.
    n_bootstrap : int
        Resamples of the pictures.
    seed : int
        Seed.

    Returns
    -------
    list of dict
        Rows of `tasks.directions.directions_table`: each model above chance; networks
        trained without labels above those trained with them, where the names of the
        weights tell; few active units above all.
    """
    oddity = trials[trials["kind"] == "oddity"]
    grids: dict[str, pd.DataFrame] = {}
    rows = []

    def row(direction: Direction, model: str, grid: pd.DataFrame, **told: Any) -> None:
        value, low, high = whole_accuracy(grid, n_bootstrap=n_bootstrap, seed=seed)
        told = {"layer": CHOSEN, **told}
        rows.append(
            direction_row(
                direction,
                model=model,
                value=value,
                interval=(low, high),
                n=int(grid.size),
                **told,
            )
        )

    for model in models:
        own = oddity[oddity["model"] == model.title]
        layers = _grids(own[own["top_k"].isna()])
        grids[model.title] = choose_layer(layers)[1]
        row(_FINDS, model.title, grids[model.title] - CHANCE, untrained=model.untrained)
    for first in models:
        for second in models:
            direction = _published(first, second)
            if direction is not None:
                names = f"{first.title} − {second.title}"
                row(direction, names, grids[first.title] - grids[second.title])
    for model in models:
        own = oddity[(oddity["model"] == model.title) & oddity["top_k"].notna()]
        for layer, part in own.groupby("layer", sort=False):
            whole = _grids(part[part["top_k"] == 1.0])
            for share, some in part[part["top_k"] < 1].groupby("top_k"):
                change = _grids(some)[str(layer)] - whole[str(layer)]
                name = f"{model.title} {layer}, {100 * float(share):g} %"  # type: ignore[arg-type]
                told = {"layer": str(layer), "untrained": model.untrained}
                row(_SPARSE, name, change, **told)
    return rows


def _grids(trials: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        str(layer): shown_everywhere(
            part.pivot_table(
                index="stimulus_id", columns="condition", values="correct", sort=False
            ).astype(float)
        )
        for layer, part in trials.groupby("layer", sort=False)
    }


def _published(first: PictureModel, second: PictureModel) -> Direction | None:
    """Return what is known about two networks by the names of their weights."""
    if not (first.backbone.trained and second.backbone.trained):
        return None
    names = [f"{m.backbone.name} {m.backbone.weights_name}" for m in (first, second)]
    supervised = [any(mark in name for mark in _SUPERVISED) for name in names]
    told = [any(mark in name for mark in _SELF_SUPERVISED) for name in names]
    if second.backbone.name.startswith(f"{first.backbone.name}_ft"):
        return _TUNED
    if told == [True, False] and supervised == [False, True]:
        return _SELF
    return None
