"""Scores of networks that grew up on different pictures: diets beside people.

Networks that start from the same weights (the same seed) and search the same displays
differ in their diet alone. Seeds and trials are resampled together, and diets stay
paired by both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.crossed_bootstrap import CrossedBootstrap
from analysis.multiple_tests import holm_adjusted
from analysis.search_scores import EXTRA_COLUMNS, search_scores
from analysis.stats import percentile_interval
from neurovis.core.checks import check_columns, check_whole
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS
from tasks.diet_measures import (
    DEFINED_INDEX,
    MEAN_INDEX,
    NetworkMeasures,
    crossed_seeds,
    measure_networks,
)
from tasks.diet_verdicts import (
    DIFFERENCES,
    NATURAL,
    UNTRAINED,
    verdict_of,
)

FloatArray = NDArray[np.float64]

TASK = "diet"
PUBLISHED_MODELS = {
    "natural": "eccNET",
    "rotated-90": "eccNET_Rot90",
    "fisheye": "eccNET_fisheye",
    "lines": "eccNET_lines",
}
"""Diets and the published networks that had them."""

FEWER_CLASSES = ("fisheye", "lines")
"""Diets whose published networks learnt 100 classes; that of "natural" learnt 1000."""

OTHER_ROTATION = ("eccNET_places365", "eccNET_places365_90")
"""The published comparison of natural and rotated pictures of another set."""

DIET_COLUMNS = (
    *EXTRA_COLUMNS,
    "level",
    "network_seed",
    "n_networks",
    "seed_low",
    "seed_high",
    "freedom",
    "published",
    "p_holm",
    "verdict",
)
"""Columns of `diet_scores` after those of every score table."""

_UNITS = {
    MEAN_INDEX: "index",
    DEFINED_INDEX: "index",
    "n_defined_experiments": "experiments",
    "polarity_agreement": "share",
    "slope_pearson_r": "r",
    "asymmetry_index": "index",
    "found_rate": "share",
    "mean_fixations": "fixations",
    **dict.fromkeys(DIFFERENCES, "index"),
}
# Errors of indices that are 0 but for rounding.
_ROUNDING = 1e-9
# Where values can lie; limits of intervals are cut there.
_RANGES = {
    MEAN_INDEX: (-1.0, 1.0),
    DEFINED_INDEX: (-1.0, 1.0),
    "polarity_agreement": (0.0, 1.0),
    "slope_pearson_r": (-1.0, 1.0),
    "asymmetry_index": (-1.0, 1.0),
    **dict.fromkeys(DIFFERENCES, (-2.0, 2.0)),
}
_LINE = ("experiment", "condition")
_NEEDED = ("subject", "stimulus_id", "diet", "seed", "set_size", "rt_ms", *_LINE)


def diet_scores(
    trials: pd.DataFrame,
    human: pd.DataFrame,
    published: pd.DataFrame,
    *,
    stimuli: str = TASK,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score networks, diets, and differences between diets.

    Parameters
    ----------
    trials : DataFrame
        As `analysis.search_scores.search_scores` takes them, with `stimulus_id`,
        `diet` ("untrained" for networks before training, "" for other observers) and
        `seed` (that of the network; missing for other observers). Every diet must
        have the same seeds, and every observer the same displays.
    human : DataFrame
        Mean reaction times of people, see `search_scores`.
    published : DataFrame
        `model`, `metric`, `experiment`, `value`, as
        `data_loaders.search_humans.load_published_asymmetry` gives.
    stimuli : str, default "diet"
        Name of the stimulus set.
    n_bootstrap : int, default 2000
        Resamples, >= 2.
    seed : int, default 0
        Seed of resamples.

    Returns
    -------
    DataFrame
        The columns of `neurovis.core.types.SCORE_COLUMNS`, then `DIET_COLUMNS`. The
        column `level` tells what a row is about:

        - "people", "network", "baseline": what `search_scores` gives, and the
          measures below. `model` is the diet, `subject` the network.
        - "diet": means over the networks (seeds) of a diet, with 95 % intervals over
          networks and trials, and the range over networks (`seed_low`, `seed_high`).
        - "difference": first minus second diet ("natural - lines"), with `p_value`,
          `p_holm` (over the comparisons with one diet) and `verdict`.

        The measures are "mean_asymmetry_index" (undefined indices count as 0, as
        published), "mean_defined_index" (undefined ones are left out),
        "n_defined_experiments", "polarity_agreement" (share of all experiments with
        an index above 0), "slope_pearson_r" (slopes beside those of people),
        "asymmetry_index" of each experiment, "found_rate" and "mean_fixations"
        (without intervals).

    Raises
    ------
    ValueError
        If columns are missing, or diets differ in seeds or observers in displays.

    Notes
    -----
    Intervals come from the standard error of a bootstrap of seeds crossed with
    trials, corrected for small numbers (Schütt et al. 2023), and the t distribution
    with degrees of freedom by Satterthwaite (`freedom`), from the shares of seeds and
    of trials. With one network per diet they are over trials alone. Limits are cut
    where values end. What is equal in all resamples has no interval and no p value.

    References
    ----------
    Schütt et al. (2023). eLife 12, e82566. doi:10.7554/eLife.82566
    """
    check_columns("trials", trials.columns, _NEEDED)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=2)
    roles = trials[["subject", "diet", "seed", "untrained"]].drop_duplicates(
        ignore_index=True
    )
    systems = [str(d) for d in roles["diet"].unique() if d]
    seeds = _shared_seeds(roles, systems)
    found = measure_networks(trials, human, n_bootstrap=n_bootstrap, seed=seed)
    single = search_scores(
        trials, human, stimuli=stimuli, n_bootstrap=n_bootstrap, seed=seed
    )
    told = _published_values(published, {e for _, e in found.keys if e})
    people = single[single["model"] == HUMAN_MODEL]
    parts = [
        _with_roles(single, roles),
        _with_roles(_network_rows(found, trials), roles),
    ]
    if systems:
        spread = crossed_seeds(found, roles, systems, seeds, seed=seed)
        parts += [
            _diet_rows(found, roles, systems, seeds, spread, told),
            _plain_rows(trials, systems),
            _difference_rows(found, systems, spread, told, len(seeds)),
        ]
    table = pd.concat([p for p in parts if len(p)], ignore_index=True)
    table = _add_people(table, people)
    return _complete(table, stimuli, seed)


def _shared_seeds(roles: pd.DataFrame, systems: Sequence[str]) -> list[int]:
    """Return the seeds of every diet; each must have the same."""
    seeds = [
        sorted(int(s) for s in roles.loc[roles["diet"] == d, "seed"]) for d in systems
    ]
    for diet, own in zip(systems, seeds, strict=True):
        if own != seeds[0] or len(set(own)) < len(own):
            raise ValueError(
                f"Every diet needs one network per seed, and the same seeds: "
                f"{systems[0]!r} has {seeds[0]}, {diet!r} has {own}."
            )
    return seeds[0] if seeds else []


def _published_values(
    published: pd.DataFrame, experiments: set[int]
) -> dict[tuple[str, int], float]:
    """Return published values by model and experiment; 0 for the mean."""
    experiment = published["experiment"].fillna(0).astype(int)
    keys = zip(published["model"].astype(str), experiment.tolist(), strict=True)
    known = dict(zip(keys, published["value"].astype(float), strict=True))
    # The published mean is over all experiments: nothing to put beside fewer.
    partial = experiments != set(experiment) - {0}
    return {k: v for k, v in known.items() if k[1] or not partial}


def _with_roles(table: pd.DataFrame, roles: pd.DataFrame) -> pd.DataFrame:
    """Tell diet, seed and level of rows about single observers."""
    known = roles.set_index("subject")
    diet = table["subject"].map(known["diet"]).fillna("").astype(str)
    people = table["model"] == HUMAN_MODEL if "model" in table else False
    level = np.where(people, "people", np.where(diet == "", "baseline", "network"))
    model = table["model"] if "model" in table else table["subject"]
    return table.assign(
        level=level,
        model=diet.where(diet != "", model),
        network_seed=table["subject"].map(known["seed"]).astype("Int64"),
        untrained=table["subject"].map(known["untrained"]).eq(True),
    )


def _row(key: tuple[str, int]) -> dict[str, Any]:
    metric, experiment = key
    return {
        "metric": metric,
        "condition": f"experiment {experiment}" if experiment else "all",
        "experiment": experiment or None,
    }


def _network_rows(found: NetworkMeasures, trials: pd.DataFrame) -> pd.DataFrame:
    """Return what `search_scores` does not tell of single observers."""
    rows = []
    new = (DEFINED_INDEX, "n_defined_experiments", "polarity_agreement")
    low, high = percentile_interval(np.moveaxis(found.draws, 1, -1))
    for i, name in enumerate(found.names):
        for m, key in enumerate(found.keys):
            if key[0] in new:
                limits = {"ci_low": low[i, m], "ci_high": high[i, m]}
                row = {"subject": name, "value": found.observed[i, m], **limits}
                rows.append({**_row(key), **row})
        own = trials[trials["subject"] == name]
        for metric, column in _PLAIN.items():
            value = float(own[column].mean())
            rows.append({**_row((metric, 0)), "subject": name, "value": value})
    return pd.DataFrame(rows)


_PLAIN = {"found_rate": "found", "mean_fixations": "n_fixations"}


def _plain_rows(trials: pd.DataFrame, systems: Sequence[str]) -> pd.DataFrame:
    """Return means of diets that have a range over networks and no interval."""
    rows = []
    for system in systems:
        own = trials[trials["diet"] == system].groupby("subject")
        for metric, column in _PLAIN.items():
            means = own[column].mean()
            rows.append(
                {
                    **_row((metric, 0)),
                    **_about(system, len(means)),
                    "value": float(means.mean()),
                    "seed_low": float(means.min()),
                    "seed_high": float(means.max()),
                }
            )
    return pd.DataFrame(rows)


def _about(system: str, n_networks: int) -> dict[str, Any]:
    return {
        "level": "diet",
        "model": system,
        "subject": "",
        "untrained": system == UNTRAINED,
        "n": n_networks,
        "n_networks": n_networks,
    }


def _interval(spread: CrossedBootstrap) -> tuple[FloatArray, FloatArray]:
    """Return limits, NaN where nothing varies in the resamples.

    Equal values throughout, such as an index of 1 wherever the easier line is flat, do
    not mean that no other could be found.
    """
    low, high = spread.interval(level=0.95)
    still = _still(spread)
    return np.where(still, np.nan, low), np.where(still, np.nan, high)


def _still(spread: CrossedBootstrap) -> NDArray[np.bool_]:
    return np.asarray(spread.standard_error <= _ROUNDING)


def _cut(metric: str, low: float, high: float) -> dict[str, float]:
    least, most = _RANGES.get(metric, (np.nan, np.nan))  # a count has no interval
    limits = np.clip([low, high], least, most)
    return {"ci_low": float(limits[0]), "ci_high": float(limits[1])}


def _diet_rows(
    found: NetworkMeasures,
    roles: pd.DataFrame,
    systems: Sequence[str],
    seeds: Sequence[int],
    spread: CrossedBootstrap,
    told: Mapping[tuple[str, int], float],
) -> pd.DataFrame:
    low, high = _interval(spread)
    still = _still(spread)
    freedom = np.broadcast_to(spread.degrees_of_freedom, spread.estimate.shape)
    rows = []
    for s, system in enumerate(systems):
        names = set(roles.loc[roles["diet"] == system, "subject"])
        own = found.observed[[name in names for name in found.names]]
        model = PUBLISHED_MODELS.get(system, "")
        for m, key in enumerate(found.keys):
            values = own[:, m][~np.isnan(own[:, m])]
            is_index = key[0] in (MEAN_INDEX, "asymmetry_index")
            rows.append(
                {
                    **_row(key),
                    **_about(system, len(seeds)),
                    "value": spread.estimate[m, s],
                    **_cut(key[0], low[m, s], high[m, s]),
                    "n": len(values),
                    "seed_low": values.min() if len(values) else np.nan,
                    "seed_high": values.max() if len(values) else np.nan,
                    "freedom": freedom[m, s],
                    "published": told.get((model, key[1])) if is_index else None,
                    "note": _over(spread, bool(still[m, s])),
                }
            )
    return pd.DataFrame(rows)


def _over(spread: CrossedBootstrap, still: bool) -> str:
    if spread.n_images < 2:
        return "no interval: one trial per condition and set size"
    if still:
        return "no interval: equal in all resamples"
    if spread.over == "images":
        return "interval over trials alone: one network"
    return f"interval over {spread.n_subjects} networks and trials"


def _difference_rows(
    found: NetworkMeasures,
    systems: Sequence[str],
    spread: CrossedBootstrap,
    told: Mapping[tuple[str, int], float],
    n_networks: int,
) -> pd.DataFrame:
    """Compare natural with every other diet, and every diet with no training."""
    diets = [system for system in systems if system != UNTRAINED]
    families = []
    if NATURAL in diets:
        families.append([(NATURAL, other) for other in diets if other != NATURAL])
    if UNTRAINED in systems:
        families.append([(diet, UNTRAINED) for diet in diets])
    rows: list[dict[str, Any]] = []
    for metric, name in zip((MEAN_INDEX, DEFINED_INDEX), DIFFERENCES, strict=True):
        m = found.keys.index((metric, 0))
        for family in families:
            own = [
                _compare(spread, m, name, pair, systems, told, n_networks)
                for pair in family
            ]
            adjusted = holm_adjusted([row["p_value"] for row in own])
            for row, p in zip(own, adjusted, strict=True):
                row["p_holm"] = float(p)
                row["n"] = len(own)
                row["verdict"] = verdict_of(row)
            rows += own
    return pd.DataFrame(rows)


def _compare(
    spread: CrossedBootstrap,
    m: int,
    name: str,
    pair: tuple[str, str],
    systems: Sequence[str],
    told: Mapping[tuple[str, int], float],
    n_networks: int,
) -> dict[str, Any]:
    weights = np.zeros(len(systems))
    weights[systems.index(pair[0])], weights[systems.index(pair[1])] = 1, -1
    found = spread.contrast(weights)
    low, high = _interval(found)
    first, second = (told.get((PUBLISHED_MODELS.get(s, ""), 0)) for s in pair)
    known = np.nan if first is None or second is None else first - second
    note = _over(spread, bool(_still(found)[m]))
    if pair == (NATURAL, "rotated-90"):
        others = [told.get((model, 0)) for model in OTHER_ROTATION]
        if None not in others:
            value = float(others[0] or 0) - float(others[1] or 0)
            note += f"; published with Places365: {value:+.2f}"
    if pair[0] == NATURAL and pair[1] in FEWER_CLASSES and not np.isnan(known):
        note += "; published networks differ in classes too: 1000 and 100"
    return {
        **_row((name, 0)),
        "level": "difference",
        "model": " - ".join(pair),
        "subject": "",
        "untrained": UNTRAINED in pair,
        "value": float(found.estimate[m]),
        **_cut(name, float(low[m]), float(high[m])),
        "p_value": np.nan if _still(found)[m] else float(found.p_value()[m]),
        "n_networks": n_networks,
        "freedom": np.broadcast_to(found.degrees_of_freedom, low.shape)[m],
        "published": known,
        "note": note,
    }


def _add_people(table: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Put the value of people beside rows that have none yet."""
    keys = list(zip(people["metric"], people["condition"], strict=True))
    known = dict(zip(keys, people["value"], strict=True))
    own = pd.Series(
        [known.get(k) for k in zip(table["metric"], table["condition"], strict=True)],
        index=table.index,
        dtype=np.float64,
    )
    return table.assign(human_value=table["human_value"].fillna(own))


def _complete(table: pd.DataFrame, stimuli: str, seed: int) -> pd.DataFrame:
    """Fill what all rows share, and put columns in order."""
    columns = [*SCORE_COLUMNS, *DIET_COLUMNS]
    table = table.reindex(columns=columns)
    units = table["metric"].map(_UNITS)
    whole = ("n", "experiment", "set_size", "network_seed", "n_networks")
    floats = (
        *("published", "p_holm", "seed_low", "seed_high", "p_value", "value"),
        "freedom",
    )
    return table.assign(
        stimuli=stimuli,
        task=TASK,
        seed=seed,
        unit=table["unit"].fillna(units),
        **{name: _text(table[name]) for name in ("verdict", "note")},
        untrained=table["untrained"].eq(True),
        **{name: table[name].astype("Int64") for name in whole},
        **{name: table[name].astype(np.float64) for name in floats},
    )


def _text(column: pd.Series) -> pd.Series:
    """Return a column as text, also where no row has any."""
    known = column.astype(object).where(column.notna(), "")
    return known.astype(str)
