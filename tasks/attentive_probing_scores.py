"""Scores of an attentive-probing run, with intervals over pictures and seeds."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import percentile_interval
from neurovis.core.rng import generator
from neurovis.fitting.efficient_probe import EfficientProbeSettings
from tasks.directions import Direction, direction_row

PROBES = ("efficient", "linear", "linear, class token", "nearest neighbours")
"""Readouts; the second and the last see the mean of the tokens."""

GAIN = Direction(
    "efficient probe above linear probe",
    "large for networks trained by masked image modelling, small for DINO and CLIP; "
    "not people",
    "Psomas et al. (2025), arXiv:2506.10178; recalled",
)


def probe_scores(
    trials: pd.DataFrame,
    looks: pd.DataFrame,
    settings: EfficientProbeSettings,
    n_classes: int,
    n_bootstrap: int,
    seed: int,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Score all layers.

    Parameters
    ----------
    trials : DataFrame
        One row per tested picture, readout and seed: `model`, `layer`, `kind`,
        `untrained`, `n_channels`, `probe`, `head_seed`, `trial` and `correct`.
    looks : DataFrame
        `model`, `layer`, `head_seed`, `trial` and `map_similarity`.
    settings : EfficientProbeSettings
        Of the head.
    n_classes : int
        Number of classes.
    n_bootstrap : int
        Bootstrap samples.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    scores : DataFrame
        `model`, `layer`, `kind`, `untrained`, `probe`, `metric`, `value`, `ci_low`,
        `ci_high`, `n` and `n_parameters`.
    directions : list of dict
        The gain of every layer, from `tasks.directions.direction_row`.
    """
    rows, lines = [], []
    for _, part in trials.groupby(["model", "layer"], sort=False):
        first = part.iloc[0]
        keys = str(first["model"]), str(first["layer"])
        known = {
            "model": keys[0],
            "layer": keys[1],
            "kind": first["kind"],
            "untrained": bool(first["untrained"]),
        }
        hits = {
            str(name): _by_seed(one, "correct")
            for name, one in part.groupby("probe", sort=False)
        }
        channels = int(first["n_channels"])
        for name, hit in hits.items():
            size = _n_parameters(name, channels, n_classes, settings)
            own = {**known, "probe": name, "n_parameters": size, "n": hit.size}
            rows.append(
                {**own, "metric": "accuracy", **_interval(hit, n_bootstrap, seed)}
            )
            if name in ("efficient", "nearest neighbours"):
                gain = _interval(hit - hits["linear"], n_bootstrap, seed)
                rows.append({**own, "metric": "gain_over_linear", **gain})
                if name == "efficient":
                    lines.append(
                        direction_row(
                            GAIN,
                            model=keys[0],
                            layer=keys[1],
                            value=gain["value"],
                            interval=(gain["ci_low"], gain["ci_high"]),
                            untrained=known["untrained"],
                            n=hit.shape[1],
                        )
                    )
        mine = looks[(looks["model"] == keys[0]) & (looks["layer"] == keys[1])]
        maps = _by_seed(mine, "map_similarity")
        rows.append(
            {
                **known,
                "probe": "efficient",
                "metric": "map_similarity",
                "n": maps.size,
                **_interval(maps, n_bootstrap, seed),
            }
        )
    return pd.DataFrame(rows), lines


def _interval(
    values: NDArray[np.float64], n_bootstrap: int, seed: int
) -> dict[str, float]:
    """Return the mean over seeds and pictures, both resampled."""
    rng = generator(seed, "seeds and pictures")
    n_seeds, n = values.shape
    draws = np.empty(n_bootstrap)
    for k in range(n_bootstrap):
        drawn = values[rng.integers(n_seeds, size=n_seeds)]
        draws[k] = drawn[:, rng.integers(n, size=n)].mean()
    low, high = percentile_interval(draws)
    return {"value": float(values.mean()), "ci_low": float(low), "ci_high": float(high)}


def _n_parameters(
    probe: str, n_channels: int, n_classes: int, settings: EfficientProbeSettings
) -> int:
    """Return how many numbers are fitted; none for neighbours."""
    if probe == "nearest neighbours":
        return 0
    if probe != "efficient":
        return n_classes * (n_channels + 1)
    n_values = n_channels // settings.reduction
    head = settings.n_queries * n_channels + n_values * n_channels
    return head + n_classes * (n_values + 1)


def _by_seed(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return values as seeds x pictures; rows come in this order."""
    n_seeds = rows["head_seed"].nunique()
    return rows[column].to_numpy(float).reshape(n_seeds, -1)
