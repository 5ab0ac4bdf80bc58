"""Rows of the score table of the level-triplets experiment."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.level_triplets import agreement_cells, fit_level_weights
from analysis.stats import wilson_interval
from neurovis.core.types import SCORE_COLUMNS
from tasks.directions import Direction, direction_row, directions_table

TASK = "level-triplets"

_PAPER = "Piriyajitakonkij et al. (2024), arXiv:2409.02241"
_DIRECTIONS = {
    "weight_high": Direction(
        "choices follow high-level similarity",
        "they do; features of CORnet-S explain this better than those of VGG-16",
        _PAPER,
    ),
    "weight_low": Direction(
        "choices follow low-level similarity",
        "they do; features of VGG-16 explain this better than those of CORnet-S",
        _PAPER,
    ),
}
_WEIGHTS = {
    "bias": "bias",
    "high": "weight_high",
    "low": "weight_low",
    "ratio": "weight_ratio",
}


def _row(part: pd.DataFrame, metric: str, value: float, **known: Any) -> dict[str, Any]:
    first = part.iloc[0]
    words = ("region", "condition", "unit", "ceiling_kind")
    row: dict[str, Any] = dict.fromkeys(SCORE_COLUMNS, np.nan)
    row |= dict.fromkeys(words, "") | {"task": TASK, "metric": metric, "value": value}
    names = ("model", "subject", "layer", "kind", "untrained")
    return row | {name: first[name] for name in names} | {"n": len(part)} | known


def observer_rows(
    part: pd.DataFrame, sds: dict[str, float], n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Score the choices of one observer.

    Parameters
    ----------
    part : DataFrame
        Its trials.
    sds : dict of str to float
        `sd_high` and `sd_low` of the matrices of similarity.
    n_bootstrap : int
        Bootstrap samples of trials.
    seed : int
        Seed of the samples.

    Returns
    -------
    list of dict
        Shares by kind of triplet, and weights of both levels.
    """
    rows = []
    conflict = part["conflict"].to_numpy(bool)
    chose_j = (part["response"] == "j").to_numpy()
    for condition, used in (
        ("conflict", conflict),
        ("congruent", ~conflict),
        ("all", np.ones(len(part), bool)),
    ):
        n, k = int(used.sum()), int(chose_j[used].sum())
        low, high = wilson_interval(k, n)
        limits = {"ci_low": float(low), "ci_high": float(high), "n": n}
        share = k / n if n else np.nan
        rows.append(
            _row(part, "choice_high", share, condition=condition, unit="share") | limits
        )
    decided = (part["response"] != "").to_numpy()  # ties say nothing about weights
    if not decided.any():
        return rows
    fit = fit_level_weights(
        chose_j[decided],
        part["d_high"].to_numpy()[decided],
        part["d_low"].to_numpy()[decided],
        **sds,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    for name, metric in _WEIGHTS.items():
        ci_low, ci_high = fit.intervals[name]
        limits = {"ci_low": ci_low, "ci_high": ci_high, "n": fit.n}
        rows.append(_row(part, metric, getattr(fit, name), condition="all") | limits)
    return rows


def _agreements(trials: pd.DataFrame) -> list[pd.DataFrame]:
    """Join every observer with the answers of people to the same triplets."""
    is_person = trials["kind"] == "people"
    people = trials[is_person][["triplet", "response", "subject"]]
    found = []
    for _, part in trials[~is_person].groupby(["subject", "layer"], sort=False):
        both = part.merge(people, on="triplet", suffixes=("", "_of_people"))
        if len(both):
            same = both["response"] == both["response_of_people"]
            found.append(both.assign(agree=same))
    for name, part in trials[is_person].groupby("subject", sort=False):
        rest = people[people["subject"] != name]
        both = part.merge(rest, on="triplet", suffixes=("", "_of_people"))
        if len(both):
            same = both["response"] == both["response_of_people"]
            found.append(both.assign(agree=same))
    return found


def agreement_rows(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Score how often observers choose as people do; people, as the others do.

    Parameters
    ----------
    trials : DataFrame
        Of all observers.

    Returns
    -------
    list of dict
        One row per observer; none without people.
    """
    rows = []
    for both in _agreements(trials):
        low, high = wilson_interval(both["agree"].sum(), len(both))
        limits = {"ci_low": float(low), "ci_high": float(high), "condition": "all"}
        value = float(both["agree"].mean())
        rows.append(_row(both, "agreement_people", value, **limits))
    return rows


def cell_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Compute agreement with people by pair of bins.

    Parameters
    ----------
    trials : DataFrame
        Of all observers.

    Returns
    -------
    DataFrame
        As `analysis.level_triplets.agreement_cells`, with the observer; no rows
        without people.
    """
    parts = []
    for both in _agreements(trials):
        table = agreement_cells(both)
        first = both.iloc[0]
        names = ("model", "subject", "layer", "kind", "untrained")
        parts.append(table.assign(**{name: first[name] for name in names}))
    columns = ["bin_high", "bin_low", "conflict", "value", "ci_low", "ci_high", "n"]
    columns += ["model", "subject", "layer", "kind", "untrained"]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True)[columns]


def level_directions(scores: pd.DataFrame) -> pd.DataFrame:
    """Hold the weights of both levels against what is known of people.

    Parameters
    ----------
    scores : DataFrame
        Of all observers.

    Returns
    -------
    DataFrame
        See `tasks.directions`.
    """
    rows = []
    for metric, direction in _DIRECTIONS.items():
        mine = scores[(scores["metric"] == metric) & scores["value"].notna()]
        rows += [
            direction_row(
                direction,
                model=row["subject"],
                layer=row["layer"],
                value=row["value"],
                interval=(row["ci_low"], row["ci_high"]),
                untrained=row["untrained"],
                n=row["n"],
            )
            for row in mine.to_dict("records")
        ]
    return directions_table(rows)
