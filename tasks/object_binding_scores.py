"""Scores of an object-binding run: accuracies, ranks, ablations, directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.pair_measures import (
    PairCounts,
    count_pairs,
    pair_accuracies,
    pair_auc,
    paired_difference,
)
from analysis.stats import percentile_interval
from neurovis.fitting.same_object import PROBES
from tasks.directions import Direction, direction_row
from tasks.object_binding_data import BoundScenes, Patches
from tasks.object_binding_probes import (
    BASELINES,
    POINTWISE,
    Arrays,
    ablation_names,
    mean_loss,
)

BoolArray = NDArray[np.bool_]

BIN_PATCHES = 2
"""Width of the bins of distance."""

FAMILIES = ("self-supervised", "supervised")

_SOURCE = "Li, Salehi, Ungar & Kording (2025), arXiv:2510.24709; recalled"
ORDERS = (
    (
        ("quadratic", "diagonal"),
        Direction(
            "quadratic probe above diagonal probe",
            "pretrained vision transformers, not people: quadratic above diagonal",
            _SOURCE,
        ),
    ),
    (
        ("diagonal", "linear"),
        Direction(
            "diagonal probe above linear probe",
            "pretrained vision transformers, not people: diagonal above linear",
            _SOURCE,
        ),
    ),
)
TRAINING = Direction(
    "self-supervised above ImageNet-supervised",
    "DINO, MAE and CLIP clearly above ImageNet-supervised networks; not people",
    _SOURCE,
)


@dataclass(frozen=True, eq=False)
class PairGroups:
    """What is known of the pairs of the tested pictures, on one grid.

    Parameters
    ----------
    same : ndarray of bool, shape (n_test, n_patches, n_patches)
        Whether both patches show one object.
    diagonal : ndarray of bool, same shape
        The upper triangle with the pairs of each draw with itself.
    groups : dict of str to ndarray of bool
        Pairs that count, by the name of a condition. A patch is never paired with
        itself, also where it was drawn twice.
    distances : dict of str to ndarray of bool
        Pairs by bins of distance.
    """

    same: BoolArray
    diagonal: BoolArray
    groups: dict[str, BoolArray]
    distances: dict[str, BoolArray]


def sort_pairs(scenes: BoundScenes, patches: Patches) -> PairGroups:
    """Sort the pairs of the tested pictures.

    Parameters
    ----------
    scenes : BoundScenes
        Pictures.
    patches : Patches
        Patches drawn from them.

    Returns
    -------
    PairGroups
        Conditions: "all", those of the pictures, "objects" (neither patch is ground),
        "twins" (one patch on each of two objects that look alike) and "cut" (patches
        on different parts of the object that is cut in two).
    """
    test = scenes.is_test
    labels, parts = patches.labels[test], patches.parts[test]
    table = scenes.table[test]
    same = labels[:, :, None] == labels[:, None, :]
    upper = np.triu(np.ones(same.shape[1:], bool))
    distance = patches.distances()[test]
    off = upper & (distance > 0)
    groups = {"all": off}
    conditions = table["condition"].to_numpy(str)
    if len(set(conditions)) > 1:
        for name in dict.fromkeys(conditions.tolist()):
            groups[name] = off & (conditions == name)[:, None, None]
    objects = labels > 0
    groups["objects"] = off & objects[:, :, None] & objects[:, None, :]
    twins = np.zeros_like(same)
    for number, text in enumerate(table["twins"]):
        if text:
            first, second = (labels[number] == int(k) for k in text.split(","))
            twins[number] = np.outer(first, second) | np.outer(second, first)
    if twins.any():
        groups["twins"] = off & twins
    apart = (parts[:, :, None] != parts[:, None, :]) & same
    apart &= (parts[:, :, None] > 0) & (parts[:, None, :] > 0)
    if apart.any():
        groups["cut"] = off & apart
    edges = np.arange(0, distance.max() + BIN_PATCHES, BIN_PATCHES)
    bins = {
        f"{low:g}-{high:g}": off & (distance > low) & (distance <= high)
        for low, high in pairwise(edges)
    }
    return PairGroups(same, upper & np.ones_like(same), groups, bins)


def judge_rows(
    logits: NDArray[Any],
    pairs: PairGroups,
    weights: NDArray[np.int64],
    *,
    details: bool = True,
) -> list[dict[str, Any]]:
    """Score the answers of one probe.

    Parameters
    ----------
    logits : ndarray of float, shape (n_test, n_patches, n_patches)
        Above 0 for "the same object".
    pairs : PairGroups
        What is true.
    weights : ndarray of int64, shape (n_bootstrap, n_test)
        Samples of pictures.
    details : bool, default True
        Score conditions and distances too.

    Returns
    -------
    list of dict
        `metric`, `condition`, `value`, `ci_low`, `ci_high`, `n` (pairs).
    """
    said = logits > 0
    rows = []
    if details:
        whole = count_pairs(said, pairs.same, pairs.diagonal)
        rows.append(_row("accuracy", "all", whole, weights, 0))
    for name, counted in pairs.groups.items():
        if not details and name != "all":
            continue
        counts = count_pairs(said, pairs.same, counted)
        if name in ("twins", "cut"):
            # All pairs are of one kind: how often they are called the same.
            row = _row("called_same", name, counts, weights, 0)
            if name == "twins":
                ends = row["ci_low"], row["ci_high"]
                row |= {"ci_low": 1 - ends[1], "ci_high": 1 - ends[0]}
                row["value"] = 1 - row["value"]
            rows.append(row)
            continue
        rows.append(_row("accuracy_off_diagonal", name, counts, weights, 0))
        rows.append(_row("balanced_accuracy", name, counts, weights, 1))
        if details:
            area = pair_auc(logits, pairs.same, counted)
            blank = {"ci_low": np.nan, "ci_high": np.nan, "n": counts.n}
            rows.append({"metric": "auc", "condition": name, "value": area, **blank})
    for name, counted in pairs.distances.items() if details else ():
        counts = count_pairs(said, pairs.same, counted)
        condition = f"distance {name}"
        rows.append(_row("accuracy_off_diagonal", condition, counts, weights, 0))
        rows.append(_row("balanced_accuracy", condition, counts, weights, 1))
    return rows


def layer_rows(
    found: Mapping[str, NDArray[Any]],
    baselines: Mapping[str, NDArray[Any]],
    pairs: PairGroups,
    weights: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Score one layer: probes, truncated probes, ablations, and what is above distance.

    Parameters
    ----------
    found : mapping of str to ndarray
        From `tasks.object_binding_probes.probe_layer`.
    baselines : mapping of str to ndarray
        From `tasks.object_binding_probes.baseline_logits`, on the same grid.
    pairs : PairGroups
        What is true.
    weights : ndarray of int64, shape (n_bootstrap, n_test)
        Samples of pictures.

    Returns
    -------
    list of dict
        As `judge_rows`, with `probe`, `rank`, `ablation` and `amount`.
    """
    rows = []
    for kind in (*PROBES, *POINTWISE):
        part = judge_rows(found[f"logits {kind}"], pairs, weights)
        rows += [{"probe": kind, **row} for row in part]
    for kind in PROBES:
        value, low, high = paired_difference(
            _all_counts(found[f"logits {kind}"], pairs),
            _all_counts(baselines["logits distance"], pairs),
            weights,
        )
        rows.append(
            {
                "probe": kind,
                "metric": "balanced_accuracy_above_distance",
                "condition": "all",
                "value": value,
                "ci_low": low,
                "ci_high": high,
                "n": int(pairs.groups["all"].sum()),
            }
        )
    for key in [key for key in found if key.startswith("truncated ")]:
        part = judge_rows(found[key], pairs, weights, details=False)
        rank = int(key.partition(" ")[2])
        rows += [{"probe": "quadratic", "rank": rank, **row} for row in part]
    for name in ablation_names():
        what, _, how = name.partition(" ")
        known = {
            "probe": "quadratic",
            "ablation": f"{what} shuffled" if how == "shuffled" else what,
            "amount": 1.0 if how == "shuffled" else float(how),
        }
        part = judge_rows(found[f"pairs {name}"], pairs, weights, details=False)
        rows += [{**known, **row} for row in part]
        right = found[f"class {name}"].mean(axis=1)
        draws = weights @ right / weights.sum(axis=1)
        low, high = (float(limit) for limit in percentile_interval(draws))
        rows.append(
            {
                **known,
                "metric": "class_accuracy",
                "condition": "all",
                "value": float(right.mean()),
                "ci_low": low,
                "ci_high": high,
                "n": int(found[f"class {name}"].size),
            }
        )
    return rows


def baseline_rows(
    baselines: Mapping[str, NDArray[Any]],
    pairs: PairGroups,
    weights: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Score the baselines of one grid.

    Parameters
    ----------
    baselines : mapping of str to ndarray
        From `tasks.object_binding_probes.baseline_logits`.
    pairs : PairGroups
        What is true.
    weights : ndarray of int64, shape (n_bootstrap, n_test)
        Samples of pictures.

    Returns
    -------
    list of dict
        As `judge_rows`, with `probe`.
    """
    return [
        {"probe": name, **row}
        for name in BASELINES
        for row in judge_rows(baselines[f"logits {name}"], pairs, weights)
    ]


def trial_rows(
    answers: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    scenes: BoundScenes,
    patches: Patches,
    pairs: PairGroups,
) -> pd.DataFrame:
    """Describe every tested picture: one trial per picture and probe.

    Parameters
    ----------
    answers : mapping of str to ndarray
        Logits by "logits NAME".
    names : sequence of str
        Probes.
    scenes : BoundScenes
        Pictures.
    patches : Patches
        Patches drawn from them.
    pairs : PairGroups
        What is true.

    Returns
    -------
    DataFrame
        `trial`, `stimulus_id`, `condition`, `probe`, `truth` (share of pairs of one
        object), `response` (share that is called so), `correct` (share judged
        rightly), all off the diagonal, and `rt_or_cost` (loss over all pairs, nats).
    """
    table = scenes.table[scenes.is_test]
    labels = patches.labels[scenes.is_test]
    counted = pairs.groups["all"]
    total = counted.sum(axis=(1, 2))
    parts = []
    for name in names:
        logits = answers[f"logits {name}"]
        said = logits > 0
        parts.append(
            pd.DataFrame(
                {
                    "trial": np.arange(len(table)),
                    "stimulus_id": table["stimulus_id"].to_numpy(),
                    "condition": table["condition"].to_numpy(),
                    "probe": name,
                    "truth": (pairs.same & counted).sum(axis=(1, 2)) / total,
                    "response": (said & counted).sum(axis=(1, 2)) / total,
                    "correct": ((said == pairs.same) & counted).sum(axis=(1, 2))
                    / total,
                    "rt_or_cost": [
                        mean_loss(z, y) for z, y in zip(logits, labels, strict=True)
                    ],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def order_rows(
    found: Arrays,
    pairs: PairGroups,
    weights: NDArray[np.int64],
    *,
    model: str,
    layer: str,
    untrained: bool,
) -> list[dict[str, Any]]:
    """Hold the order of the probes of one layer against the published one.

    Parameters
    ----------
    found : dict of str to ndarray
        From `tasks.object_binding_probes.probe_layer`.
    pairs : PairGroups
        What is true.
    weights : ndarray of int64, shape (n_bootstrap, n_test)
        Samples of pictures.
    model, layer : str
        Whose tokens.
    untrained : bool
        Whether the model has random weights.

    Returns
    -------
    list of dict
        From `tasks.directions.direction_row`: differences of balanced accuracy.
    """
    rows = []
    for names, direction in ORDERS:
        first, second = (_all_counts(found[f"logits {k}"], pairs) for k in names)
        value, low, high = paired_difference(first, second, weights)
        rows.append(
            direction_row(
                direction,
                model=model,
                layer=layer,
                value=value,
                interval=(low, high),
                untrained=untrained,
                n=len(pairs.same),
            )
        )
    return rows


def family_row(
    best: Mapping[str, tuple[PairCounts, str]],
    families: Mapping[str, str],
    weights: NDArray[np.int64],
) -> dict[str, Any] | None:
    """Hold self-supervised against supervised networks, each by its best layer.

    Parameters
    ----------
    best : mapping of str to tuple
        By model: counts of the quadratic probe of the layer with the smallest
        validation loss, and its title.
    families : mapping of str to str
        One of `FAMILIES` by model.
    weights : ndarray of int64, shape (n_bootstrap, n_test)
        Samples of pictures.

    Returns
    -------
    dict or None
        From `tasks.directions.direction_row`; None unless both families are there.
        Networks are a fixed set: the interval is over pictures.
    """
    means, draws, names = [], [], []
    for family in FAMILIES:
        members = [name for name in best if families.get(name) == family]
        if not members:
            return None
        counts = [best[name][0] for name in members]
        means.append(np.mean([pair_accuracies(one)[1][0] for one in counts]))
        draws.append(np.mean([pair_accuracies(c, weights)[1] for c in counts], axis=0))
        names.append(" + ".join(members))
    low, high = percentile_interval(draws[0] - draws[1])
    return direction_row(
        TRAINING,
        model=" − ".join(names),
        value=float(means[0] - means[1]),
        interval=(float(low), float(high)),
        n=weights.shape[1],
    )


def _all_counts(logits: NDArray[Any], pairs: PairGroups) -> PairCounts:
    return count_pairs(logits > 0, pairs.same, pairs.groups["all"])


def _row(
    metric: str,
    condition: str,
    counts: PairCounts,
    weights: NDArray[np.int64],
    which: int,
) -> dict[str, Any]:
    """Return one accuracy (0 plain, 1 balanced) with its interval over pictures."""
    draws = pair_accuracies(counts, weights)[which]
    low, high = (float(limit) for limit in percentile_interval(draws))
    return {
        "metric": metric,
        "condition": condition,
        "value": float(pair_accuracies(counts)[which][0]),
        "ci_low": low,
        "ci_high": high,
        "n": counts.n,
    }
