"""Scores of captions of simulated voxels: how often their concept is named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from analysis.caption_words import repeat_agreement
from analysis.stats import bootstrap_ci, wilson_interval
from neurovis.adapters.brainscuba import (
    BASELINES,
    NEAREST,
    PROJECTION,
    RAW,
    SCALED,
)
from neurovis.core.checks import check_columns, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS
from tasks.sketch_captions import CONCEPT_WORDS

TASK = "brainscuba"
SHUFFLED = "shuffled responses"
"""Voxels whose responses were shuffled over pictures before the fit."""
PICTURES = "pictures"
"""New drawings of the concept, captioned as they are: what the captioner can do."""
CHOSEN = ", chosen penalty"
"""What conditions of encoders whose penalty was chosen by cross-validation end in."""
ALL = "all"

SCUBA_COLUMNS = ("noise_sd", "inverse_temperature", "brain")
"""Columns beside those of all scores; `brain` is missing for all brains together."""

_KEYS = ["noise_sd", "condition", "inverse_temperature"]
_UNITS = {
    "naming_rate": "share",
    "naming_rate_difference": "share",
    "effective_number": "pictures",
    "cosine": "cosine",
    "repeat_agreement": "share",
}


def brainscuba_scores(
    captions: pd.DataFrame,
    *,
    inverse_temperature: float,
    stimuli: str = TASK,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every condition at every level of noise.

    Parameters
    ----------
    captions : DataFrame
        One row per voxel, noise and condition, as
        `tasks.brainscuba_experiment.run_brainscuba` leaves them.
    inverse_temperature : float
        The one that is compared with other conditions, and repeated.
    stimuli : str, default "brainscuba"
        Name of the drawings.
    n_bootstrap : int, default 2000
        Resamples of voxels, >= 2.
    seed : int, default 0
        Seed of resamples.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS` and `SCUBA_COLUMNS`. Metrics: `naming_rate` (share of voxels
        whose caption has a word of their concept) of each region and of all, of each
        brain and of all; `naming_rate_difference` of the projection and each baseline,
        paired by voxel (`condition` names the baseline; both of one encoder); medians
        of `effective_number`, means of `cosine`; and `repeat_agreement` (share of pairs
        of repeats that name the same concepts). Intervals are 95 %: Wilson's for
        rates, else percentiles of a bootstrap over voxels.

    Raises
    ------
    ValueError
        If columns are missing, or the inverse temperature does not occur.

    Notes
    -----
    Voxels of a brain share drawings and bank. Intervals over voxels do not speak of
    other drawings: the rates of each brain do.
    """
    needed = (*_KEYS, "brain", "repeat", "unit", "region", "caption", "correct")
    check_columns("captions", captions.columns, needed)
    check_whole("n_bootstrap", n_bootstrap, low=2)
    first = captions[captions["repeat"] == 0]
    is_main = (first["condition"] == PROJECTION) & (
        first["inverse_temperature"] == inverse_temperature
    )
    if not is_main.any():
        raise ValueError(
            f"`inverse_temperature` must be one that occurs; got {inverse_temperature}."
        )
    rows: list[dict[str, Any]] = []
    for key, own in first.groupby(_KEYS, sort=False, dropna=False):
        base = dict(zip(_KEYS, key, strict=True))
        rows.append({**base, "region": ALL, **_rate(own)})
        rows += [
            {**base, "region": name, **_rate(part)}
            for name, part in own.groupby("region", sort=False)
        ]
        rows += [
            {**base, "region": ALL, "brain": brain, **_rate(part)}
            for brain, part in own.groupby("brain", sort=False)
        ]
        if own["effective_number"].notna().any():
            options = (n_bootstrap, seed)
            rows.append(
                {**base, **_summary("effective_number", own, np.median, *options)}
            )
            rows.append({**base, **_summary("cosine", own, np.mean, *options)})
    for noise_sd, own in first.groupby("noise_sd", sort=False):
        main = own[is_main.loc[own.index]]
        also = own[own["condition"] == PROJECTION + CHOSEN]
        pairs = [(main, name) for name in (*BASELINES, SHUFFLED)]
        pairs += [(also, name + CHOSEN) for name in (RAW, SCALED, NEAREST)]
        for projected, name in pairs:
            other = own[own["condition"] == name]
            if len(other) and len(projected):
                found = _difference(projected, other, n_bootstrap, seed)
                rows.append({"noise_sd": noise_sd, "condition": name, **found})
    rows += _agreement(captions, inverse_temperature, n_bootstrap, seed)
    return _complete(pd.DataFrame(rows), stimuli, seed)


def _rate(own: pd.DataFrame) -> dict[str, Any]:
    hits, n = int(own["correct"].sum()), len(own)
    low, high = wilson_interval(hits, n)
    return {
        "metric": "naming_rate",
        "value": hits / n,
        "ci_low": float(low),
        "ci_high": float(high),
        "n": n,
    }


def _summary(
    metric: str,
    own: pd.DataFrame,
    centre: Callable[..., Any],
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    values = own[metric].to_numpy(np.float64)
    value, low, high = np.nan, np.nan, np.nan
    if len(values):
        value = float(centre(values))
        rng = generator(seed, TASK, metric)
        low, high = bootstrap_ci(values, centre, n_bootstrap=n_bootstrap, rng=rng)
    return {
        "region": ALL,
        "metric": metric,
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "n": len(values),
    }


def _difference(
    main: pd.DataFrame, other: pd.DataFrame, n_bootstrap: int, seed: int
) -> dict[str, Any]:
    keys = ["brain", "unit"]
    pairs = main.merge(other, on=keys, suffixes=("", "_other"), validate="1:1")
    gap = pairs["correct"].to_numpy(np.float64) - pairs["correct_other"]
    rng = generator(seed, TASK, "difference")
    low, high = bootstrap_ci(gap.to_numpy(), n_bootstrap=n_bootstrap, rng=rng)
    return {
        "region": ALL,
        "metric": "naming_rate_difference",
        "value": float(gap.mean()),
        "ci_low": low,
        "ci_high": high,
        "n": len(gap),
    }


def _agreement(
    captions: pd.DataFrame, inverse_temperature: float, n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Return how often repeats from different parts of the bank agree."""
    is_part = (captions["repeat"] > 0) & (captions["condition"] == PROJECTION)
    rows = []
    for noise_sd, own in captions[is_part].groupby("noise_sd", sort=False):
        unit = own["brain"].astype(str) + "/" + own["unit"].astype(str)
        agreed = repeat_agreement(own.assign(unit=unit), CONCEPT_WORDS)
        values = agreed["concept_agreement"].dropna()
        found = _summary(
            "repeat_agreement",
            pd.DataFrame({"repeat_agreement": values}),
            np.mean,
            n_bootstrap,
            seed,
        )
        base = {"condition": PROJECTION, "inverse_temperature": inverse_temperature}
        rows.append({"noise_sd": noise_sd, **base, **found})
    return rows


def _complete(table: pd.DataFrame, stimuli: str, seed: int) -> pd.DataFrame:
    table = table.reindex(columns=[*SCORE_COLUMNS, *SCUBA_COLUMNS])
    floats = ("value", "ci_low", "ci_high", "noise_sd", "inverse_temperature")
    return table.assign(
        model=table["condition"],
        stimuli=stimuli,
        task=TASK,
        seed=seed,
        unit=table["metric"].map(_UNITS),
        n=table["n"].astype("Int64"),
        brain=table["brain"].astype("Int64"),
        **{name: table[name].astype(np.float64) for name in floats},
    )
