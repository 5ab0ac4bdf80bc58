"""Rows of scores of probes: accuracy, rankings, tuning, and what marks a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import wilson_interval
from analysis.tuning import tuning_summary
from neurovis.core.types import SCORE_COLUMNS, StimulusSet
from tasks.probes_models import ModelFacts, ProbedModel
from tasks.rsa_scores import BEST, LAYER, OPTIMISTIC, PACKAGED

FloatArray = NDArray[np.float64]

PROBE, TUNING = "probe", "tuning"
"""Values of `measure`; the others are those of `analysis` in a ranking."""

ACCURACY = "accuracy"
WHOLE_NETWORK = "all layers"
"""`layer` of the tuning of all units."""

_UNITS = {"share": "share of units", "octaves": "octaves", "deg": "deg"}
_COUNTS = ("n_units", "n_responsive")
_EXTRA = (
    *("measure", "group", "data", "kind", "depth", "untrained", "simulated"),
    *("standard_error", "degrees_of_freedom", "chosen_share", "chance_low"),
    *("chance_high", "p_value", "n_units", "over", "alpha", "cv_error"),
)


def brain_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows of a ranking, those without choice by the scored data.

    Parameters
    ----------
    table : DataFrame
        Scores of `tasks.brain_ranking.run_brain_ranking`.

    Returns
    -------
    DataFrame
        With `measure`. Largest values of all layers, which are optimistic, are gone,
        and so are models whose dissimilarities came with the data.
    """
    left_out = table["condition"].eq(OPTIMISTIC) | table["kind"].eq(PACKAGED)
    kept = table[~left_out]
    return kept.assign(measure=kept["analysis"])


def probe_rows(
    predictions: pd.DataFrame, marks: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[tuple[str, str, str], FloatArray]]:
    """Score linear probes.

    Parameters
    ----------
    predictions : DataFrame
        `tasks.probe_measures.probe_predictions` with `data` and `model`.
    marks : mapping of str to str
        Content hash of the pictures of each `data`.

    Returns
    -------
    rows : DataFrame
        One per model and layer, and one for the layer with the smallest error of
        cross-validation within training (condition "best"; the first of equals).
    hits : dict of (str, str, str) to ndarray of float64, shape (n_stimuli,)
        By data, model and layer, the chosen one being "": 1 for a right answer.
    """
    rows: list[dict[str, Any]] = []
    hits: dict[tuple[str, str, str], FloatArray] = {}
    for (data, model), part in predictions.groupby(["data", "model"], sort=False):
        own = []
        for layer, found in part.groupby("layer", sort=False):
            right = found["predicted"].eq(found["label"]).to_numpy().astype(np.float64)
            hits[str(data), str(model), str(layer)] = right
            own.append(_accuracy(right, found))
        best = min(own, key=lambda row: row["cv_error"])
        hits[str(data), str(model), ""] = hits[str(data), str(model), best["layer"]]
        base = {"measure": PROBE, "data": data, "model": model}
        base["stimuli"] = f"{data}:{marks[str(data)][:12]}"
        rows += [{**base, **row, "condition": LAYER} for row in own]
        rows.append({**base, **best, "condition": BEST})
    return pd.DataFrame(rows), hits


def _accuracy(right: FloatArray, found: pd.DataFrame) -> dict[str, Any]:
    n = len(right)
    low, high = wilson_interval(right.sum(), n)
    # Whoever always names the most frequent class is right so often.
    chance = float(found["label"].value_counts(normalize=True).iloc[0])
    return {
        "layer": str(found["layer"].iloc[0]),
        "metric": ACCURACY,
        "value": float(right.mean()),
        "ci_low": float(low),
        "ci_high": float(high),
        "n": n,
        "unit": "share correct",
        "standard_error": float(right.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan,
        "degrees_of_freedom": n - 1,
        "chance_low": chance,
        "chance_high": chance,
        "over": "images",
        "alpha": float(found["alpha"].iloc[0]),
        "cv_error": float(found["cv_error"].iloc[0]),
    }


def tuning_rows(tuned: pd.DataFrame, gratings: StimulusSet) -> pd.DataFrame:
    """Summarise the tuning of each layer, and of all units of a network.

    Parameters
    ----------
    tuned : DataFrame
        `tasks.probe_measures.tuning_of` with `model`.
    gratings : StimulusSet
        What was shown.

    Returns
    -------
    DataFrame
        One row per model, layer and entry of `analysis.tuning.tuning_summary`,
        without limits: gratings and units are not drawn.
    """
    rows: list[dict[str, Any]] = []
    for model, part in tuned.groupby("model", sort=False):
        layers = [(str(k), own) for k, own in part.groupby("layer", sort=False)]
        layers.append((WHOLE_NETWORK, part))
        for layer, own in layers:
            summary = tuning_summary(own).iloc[0].drop(list(_COUNTS))
            for name, value in summary.items():
                row = {
                    "measure": TUNING,
                    "data": "gratings",
                    "model": model,
                    "layer": layer,
                    "condition": LAYER,
                    "metric": str(name),
                    "value": float(value),
                    "n": len(gratings),
                    "n_units": len(own),
                    "unit": _unit_of(str(name)),
                    "over": "none",
                    "stimuli": f"gratings:{gratings.fingerprint[:12]}",
                }
                rows.append(row)
    return pd.DataFrame(rows)


def _unit_of(metric: str) -> str:
    return next((unit for part, unit in _UNITS.items() if part in metric), "")


def finished_rows(
    tables: Sequence[pd.DataFrame],
    models: Sequence[ProbedModel],
    facts: Mapping[str, ModelFacts],
    task: str,
    seed: int,
) -> pd.DataFrame:
    """Join the rows of all measures, and mark models and groups.

    Parameters
    ----------
    tables : sequence of DataFrame
        From `brain_rows`, `probe_rows` and `tuning_rows`.
    models : sequence of ProbedModel
        All models.
    facts : mapping of str to ModelFacts
        By title.
    task : str
        Name of the experiment.
    seed : int
        Seed of all draws.

    Returns
    -------
    DataFrame
        With the columns that `tasks.probes.run_probes` tells.
    """
    table = pd.concat([t.dropna(axis=1, how="all") for t in tables], ignore_index=True)
    by_title = {model.title: model for model in models}
    table = table.reindex(columns=list(dict.fromkeys((*SCORE_COLUMNS, *_EXTRA))))
    titles = table["model"].astype(str)
    depths = [
        facts[title].depths.get(layer, np.nan)
        for title, layer in zip(titles, table["layer"].astype(str), strict=True)
    ]
    known = table["depth"].astype(float)
    return table.assign(
        group=[by_title[title].group for title in titles],
        kind=[by_title[title].kind for title in titles],
        untrained=[facts[title].untrained for title in titles],
        depth=known.where(known.notna(), np.asarray(depths, np.float64)),
        # Only responses of units can be simulated.
        simulated=table["simulated"].eq(other=True),
        task=task,
        seed=seed,
        subject=table["subject"].astype(object).fillna("").astype(str),
        region=table["region"].astype(object).fillna("").astype(str),
    )
