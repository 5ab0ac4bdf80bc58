"""Scores of images that should drive a region, by observers that did not guide them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.stats import bootstrap, percentile_interval, wilson_interval
from neurovis.core.checks import check_columns, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS

FloatArray = NDArray[np.float64]

TASK = "braindive"
UNGUIDED, GUIDED = "unguided", "guided"
BEST_QUARTER = "guided, best quarter"
"""The quarter of the guided images that the guide itself prefers."""

METRICS = (
    "guide_activation",
    "heldout_activation",
    "judge_accuracy",
    "second_judge_accuracy",
    "judge_confidence",
    "off_target_activation",
    "saturated_share",
)
"""What is measured of each image. Accuracies ask whether a classifier sees the
category that the region prefers; off target are the other regions of the held-out
brain."""

SHARES = ("judge_accuracy", "second_judge_accuracy")
"""Measures that are yes or no for each image."""

BRAINDIVE_COLUMNS = ("scale", "p_value", "excludes", "note")
"""Columns beside those of all scores: strength of guidance; Wilcoxon's test of a
difference; whether the intervals of both conditions exclude each other."""

_UNITS = {
    "guide_activation": "z",
    "heldout_activation": "z",
    "off_target_activation": "z",
    "judge_accuracy": "share",
    "second_judge_accuracy": "share",
    "judge_confidence": "probability",
    "saturated_share": "share",
    "diversity": "distance",
}


def braindive_scores(
    images: pd.DataFrame,
    embeddings: NDArray[np.float32],
    *,
    regions: Sequence[str],
    stimuli: str = TASK,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every condition for every region, and compare guided with unguided images.

    Parameters
    ----------
    images : DataFrame
        One row per image and region it is scored for: `condition`, `region`, `seed`,
        `scale`, and the columns `METRICS`; undefined is NaN.
    embeddings : ndarray of float32, shape (n_rows, n_features)
        What the judge makes of the image of each row, for diversity.
    regions : sequence of str
        Regions, in the order of tables.
    stimuli : str, default "braindive"
        Name of the set of images.
    n_bootstrap : int, default 2000
        Resamples of images, >= 2.
    seed : int, default 0
        Seed of resamples.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS` and `BRAINDIVE_COLUMNS`. `model` is the condition, `region`
        the region or "all" (mean over regions). Intervals are 95 %: percentiles of a
        bootstrap over images, for shares of one region Wilson's. Rows whose metric
        ends in "_difference" compare the condition "guided" with "unguided", paired
        by seed. The condition "guided, best quarter" is made here.

    Raises
    ------
    ValueError
        If columns are missing, lengths differ, or a condition has a seed twice for a
        region.

    Notes
    -----
    Whoever guides is no judge: `guide_activation` says how well the search for large
    predictions succeeded, and nothing of a brain.
    """
    keys = ["condition", "region", "seed"]
    check_columns("images", images.columns, (*keys, "scale", *METRICS))
    check_whole("n_bootstrap", n_bootstrap, low=2)
    if len(images) != len(embeddings):
        raise ValueError(
            f"`embeddings` must have one row per row of `images` ({len(images)}); got "
            f"{len(embeddings)}."
        )
    images = images.reset_index(drop=True)
    if images.duplicated(keys).any():
        twice = images.loc[images.duplicated(keys), keys].iloc[0].to_dict()
        raise ValueError(
            f"`images` must have one row per condition, region and seed; got two of "
            f"{twice}."
        )
    best = _best_quarter(images)
    table = pd.concat([images, best.assign(condition=BEST_QUARTER)])
    rows: list[dict[str, Any]] = []
    options = {"n_bootstrap": n_bootstrap, "seed": seed}
    for condition in table["condition"].drop_duplicates():
        own = table[table["condition"] == condition]
        parts = {name: own[own["region"] == name] for name in regions}
        parts = {name: part for name, part in parts.items() if len(part)}
        draws: dict[str, list[FloatArray]] = {metric: [] for metric in METRICS}
        for region, part in parts.items():
            base = {"model": condition, "region": region, "n": len(part)}
            base["scale"] = float(part["scale"].iloc[0])
            for metric in METRICS:
                values = part[metric].to_numpy(np.float64)
                drawn = _resample(values, condition, **options)
                draws[metric].append(drawn)
                rows.append({**base, **_summary(metric, values, drawn)})
            distance = _diversity(embeddings[part.index])
            rows.append({**base, "metric": "diversity", "value": distance})
        if set(parts) == set(regions):
            rows += _means(condition, parts, draws)
    rows += _differences(table, regions, **options)
    return _complete(pd.DataFrame(rows), stimuli, seed)


def label_shares(
    images: pd.DataFrame, labels: Sequence[str], regions: Sequence[str]
) -> pd.DataFrame:
    """Return how often the judge sees each category in each set of images.

    Parameters
    ----------
    images : DataFrame
        `condition`, `region`, `judge_label`.
    labels : sequence of str
        Categories.
    regions : sequence of str
        Regions.

    Returns
    -------
    DataFrame
        `condition`, `region`, `label`, `share`; rows of a condition and region sum
        to 1.
    """
    rows = []
    for (condition, region), part in images.groupby(
        ["condition", "region"], sort=False
    ):
        if region not in regions:
            continue
        shares = part["judge_label"].value_counts(normalize=True)
        rows += [
            {
                "condition": condition,
                "region": region,
                "label": label,
                "share": float(shares.get(label, 0.0)),
            }
            for label in labels
        ]
    return pd.DataFrame(rows, columns=["condition", "region", "label", "share"])


def _best_quarter(images: pd.DataFrame) -> pd.DataFrame:
    guided = images[images["condition"] == GUIDED]
    kept = []
    for _, part in guided.groupby("region", sort=False):
        n = max(len(part) // 4, 1)
        kept.append(part.nlargest(n, "guide_activation"))
    return pd.concat(kept) if kept else guided


def _resample(
    values: FloatArray, condition: str, *, n_bootstrap: int, seed: int
) -> FloatArray:
    # Equal draws for all metrics of a set of images, and for all regions: their images
    # start from the same noise, and unguided ones are the same images.
    rng = generator(seed, TASK, condition)
    picks = rng.integers(0, len(values), (n_bootstrap, len(values)))
    return np.asarray(values[picks].mean(axis=1))


def _summary(metric: str, values: FloatArray, drawn: FloatArray) -> dict[str, Any]:
    value = float(values.mean())
    if np.isnan(value):
        return {"metric": metric, "value": value, "ci_low": np.nan, "ci_high": np.nan}
    limits: Sequence[Any] = (np.nan, np.nan)
    if metric in SHARES:
        limits = wilson_interval(round(float(values.sum())), len(values))
    elif len(values) > 1:
        limits = percentile_interval(drawn)
    return {
        "metric": metric,
        "value": value,
        "ci_low": float(limits[0]),
        "ci_high": float(limits[1]),
    }


def _means(
    condition: str,
    parts: Mapping[str, pd.DataFrame],
    draws: Mapping[str, Sequence[FloatArray]],
) -> list[dict[str, Any]]:
    n = sum(len(part) for part in parts.values())
    scales = {float(part["scale"].iloc[0]) for part in parts.values()}
    base = {"model": condition, "region": "all", "n": n}
    base["scale"] = scales.pop() if len(scales) == 1 else np.nan
    rows = []
    for metric in METRICS:
        # Not the means of pandas, which leave out what is undefined.
        each = [part[metric].to_numpy(np.float64).mean() for part in parts.values()]
        value = float(np.mean(each))
        low, high = percentile_interval(np.mean(draws[metric], axis=0))
        rows.append(
            {
                **base,
                "metric": metric,
                "value": value,
                "ci_low": float(low),
                "ci_high": float(high),
            }
        )
    return rows


def _differences(
    table: pd.DataFrame, regions: Sequence[str], *, n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Compare guided with unguided images of the same seeds."""
    rows = []
    for region in regions:
        own = table[table["region"] == region]
        first, second = (
            own[own["condition"] == name].set_index("seed")
            for name in (GUIDED, UNGUIDED)
        )
        shared = first.index.intersection(second.index)
        if len(shared) < 2:
            continue
        for metric in METRICS:
            pair = [x.loc[shared, metric].to_numpy(np.float64) for x in (first, second)]
            gap = pair[0] - pair[1]
            row = {
                "model": f"{GUIDED} - {UNGUIDED}",
                "region": region,
                "metric": f"{metric}_difference",
                "value": float(gap.mean()),
                "n": len(shared),
            }
            if np.isnan(gap).any():
                rows.append(row)
                continue
            drawn = bootstrap(
                gap, n_bootstrap=n_bootstrap, rng=generator(seed, TASK, region, metric)
            )
            low, high = percentile_interval(drawn)
            sides = [
                _summary(
                    metric,
                    values,
                    _resample(values, name, n_bootstrap=n_bootstrap, seed=seed),
                )
                for values, name in zip(pair, (GUIDED, UNGUIDED), strict=True)
            ]
            apart = (
                sides[0]["ci_low"] > sides[1]["ci_high"]
                or sides[0]["ci_high"] < sides[1]["ci_low"]
            )
            row |= {
                "ci_low": float(low),
                "ci_high": float(high),
                "p_value": _wilcoxon(gap),
                "excludes": bool(apart),
            }
            rows.append(row)
    return rows


def _wilcoxon(gap: FloatArray) -> float:
    if not np.any(gap):
        return float("nan")
    return float(stats.wilcoxon(gap).pvalue)


def _diversity(embedding: NDArray[np.float32]) -> float:
    """Return the mean distance of two images."""
    n = len(embedding)
    if n < 2 or np.isnan(embedding).any():
        return float("nan")
    rows = embedding.astype(np.float64)
    squares = (rows**2).sum(axis=1)
    gram = squares[:, None] + squares - 2 * rows @ rows.T
    distance = np.sqrt(np.maximum(gram, 0))
    return float(distance[np.triu_indices(n, 1)].mean())


def _complete(table: pd.DataFrame, stimuli: str, seed: int) -> pd.DataFrame:
    table = table.reindex(columns=[*SCORE_COLUMNS, *BRAINDIVE_COLUMNS])
    metric = table["metric"].str.removesuffix("_difference")
    floats = ("value", "ci_low", "ci_high", "scale", "p_value")
    return table.assign(
        stimuli=stimuli,
        task=TASK,
        condition=table["model"],
        seed=seed,
        unit=metric.map(_UNITS),
        excludes=table["excludes"].astype("boolean"),
        note="",
        n=table["n"].astype("Int64"),
        **{name: table[name].astype(np.float64) for name in floats},
    )
