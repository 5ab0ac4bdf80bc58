"""Asymmetry of networks on the same displays, with draws that stay paired.

Networks of one seed start from equal weights, and all search the same displays: seeds
and trials are resampled alike for all diets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.crossed_bootstrap import CrossedBootstrap
from analysis.psychophysics import asymmetry_index, bootstrap_slopes, search_slopes
from analysis.search_asymmetry import human_slopes
from analysis.stats import pearson_r
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

MEAN_INDEX, DEFINED_INDEX = "mean_asymmetry_index", "mean_defined_index"
"""Mean indices: undefined ones count as 0, as published, or are left out."""

SUMMARIES = (
    MEAN_INDEX,
    DEFINED_INDEX,
    "n_defined_experiments",
    "polarity_agreement",
    "slope_pearson_r",
)
"""Measures over all experiments."""

_LINE = ("experiment", "condition")


@dataclass(frozen=True, eq=False)
class NetworkMeasures:
    """What was measured of every observer, with draws that are paired by display.

    Parameters
    ----------
    names : tuple of str
        Observers.
    keys : tuple of (str, int)
        Metric and experiment of each measure; 0 for those of all experiments.
    observed : ndarray of float64, shape (n_observers, n_measures)
        Of all trials.
    draws : ndarray of float64, shape (n_observers, n_bootstrap, n_measures)
        Of resampled trials, the same ones for all observers.
    n_trials : int
        Least number of trials of a condition and set size.
    """

    names: tuple[str, ...]
    keys: tuple[tuple[str, int], ...]
    observed: FloatArray
    draws: FloatArray
    n_trials: int


def measure_networks(
    trials: pd.DataFrame, human: pd.DataFrame, *, n_bootstrap: int, seed: int
) -> NetworkMeasures:
    """Measure every observer, with resamples of trials that all observers share.

    Parameters
    ----------
    trials, human : DataFrame
        As in `diet_scores`.
    n_bootstrap : int
        Resamples within each condition and set size.
    seed : int
        Seed of these.

    Returns
    -------
    NetworkMeasures
        Values and draws.

    Raises
    ------
    ValueError
        If observers differ in their displays, or an experiment lacks a condition.
    """
    names = tuple(str(name) for name in trials["subject"].unique())
    lines = human_slopes(human).set_index(list(_LINE))["slope_ms_per_item"]
    options: dict[str, Any] = {"by": _LINE, "n_bootstrap": n_bootstrap, "seed": seed}
    values, draws, first = [], [], None
    n_trials = 0
    for name in names:
        own = trials[trials["subject"] == name].sort_values("stimulus_id")
        displays = tuple(own["stimulus_id"])
        first = first or displays
        if displays != first:
            raise ValueError(
                f"{names[0]!r} and {name!r} must have searched the same displays: "
                f"{len(first)} and {len(displays)}, of which "
                f"{len(set(first) & set(displays))} are shared. Keep what both have."
            )
        fitted = search_slopes(own, by=_LINE, n_bootstrap=0)
        sampled = bootstrap_slopes(own, **options)
        index = pd.MultiIndex.from_frame(fitted[list(_LINE)])
        values.append(fitted["slope_ms_per_item"].to_numpy(np.float64))
        draws.append(sampled.T)
        n_trials = int(own.groupby([*_LINE, "set_size"]).size().min())
    people = lines.reindex(index)
    hard, easy, experiments = _pairs(people)
    reference = people.to_numpy(np.float64)
    keys = (
        *((metric, 0) for metric in SUMMARIES),
        *(("asymmetry_index", e) for e in experiments),
    )
    whole, resampled = (
        _measures(np.stack(slopes), reference, hard, easy) for slopes in (values, draws)
    )
    return NetworkMeasures(names, keys, whole, resampled, n_trials)


def _pairs(people: pd.Series) -> tuple[list[int], list[int], list[int]]:
    """Return places of the harder and easier lines of people, and experiments."""
    experiments = people.index.get_level_values("experiment")
    hard, easy, known = [], [], []
    for experiment in sorted(set(experiments)):
        places = np.flatnonzero(experiments == experiment)
        slopes = people.to_numpy(np.float64)[places]
        if len(places) != 2 or np.isnan(slopes).any() or slopes[0] == slopes[1]:
            raise ValueError(
                f"Experiment {experiment} needs its two conditions, both known of "
                f"people; got {people.index[places].get_level_values(1).tolist()}."
            )
        hard.append(int(places[slopes.argmax()]))
        easy.append(int(places[slopes.argmin()]))
        known.append(int(experiment))
    return hard, easy, known


def _measures(
    slopes: FloatArray, people: FloatArray, hard: Sequence[int], easy: Sequence[int]
) -> FloatArray:
    """Return all measures of slopes, shape (..., n_lines) to (..., n_measures)."""
    steep, flat = slopes[..., hard], slopes[..., easy]
    index = asymmetry_index(steep, flat)
    as_published = asymmetry_index(steep, flat, undefined="zero").mean(axis=-1)
    # A line that is not determined leaves nothing to count.
    lost = np.isnan(as_published)
    defined = ~np.isnan(index)
    count = defined.sum(axis=-1)
    total = np.where(defined, index, 0).sum(axis=-1)
    of_defined = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    polarity = (np.where(defined, index, 0) > 0).mean(axis=-1)
    rows = [
        as_published,
        np.where(lost, np.nan, of_defined),
        np.where(lost, np.nan, count),
        np.where(lost, np.nan, polarity),
        pearson_r(slopes, people),
    ]
    return np.concatenate([np.stack(rows, axis=-1), index], axis=-1)


def crossed_seeds(
    found: NetworkMeasures,
    roles: pd.DataFrame,
    systems: Sequence[str],
    seeds: Sequence[int],
    *,
    seed: int,
) -> CrossedBootstrap:
    """Resample seeds crossed with trials, alike for all diets.

    Parameters
    ----------
    found : NetworkMeasures
        Values and draws of trials.
    roles : DataFrame
        `subject`, `diet` and `seed` of every observer.
    systems : sequence of str
        Diets, in the order of the last axis of the result.
    seeds : sequence of int
        Seeds that each of them has.
    seed : int
        Seed of the resamples.

    Returns
    -------
    CrossedBootstrap
        Means over seeds, shape (n_measures, n_systems): its "images" are trials, its
        "subjects" seeds. Undefined values are left out of a mean.
    """
    place = {name: i for i, name in enumerate(found.names)}
    rows = roles.set_index(["diet", "seed"])["subject"]
    chosen = np.array([[place[rows[(d, s)]] for s in seeds] for d in systems])
    values = found.observed[chosen]  # systems, seeds, measures
    draws = found.draws[chosen]  # systems, seeds, draws, measures
    n_draws, n_seeds = draws.shape[2], len(seeds)
    even = np.ones((n_draws, n_seeds))
    estimate = _mean_over_seeds(values[:, :, None], np.ones((1, n_seeds)))[0]
    kept = {"images": _mean_over_seeds(draws, even)}
    if n_seeds == 1:
        return CrossedBootstrap(estimate, kept, found.n_trials, 1, "images")
    picks = generator(seed, "diet", "seeds").integers(0, n_seeds, (n_draws, n_seeds))
    times = (picks[..., None] == np.arange(n_seeds)).sum(axis=1).astype(np.float64)
    kept["subjects"] = _mean_over_seeds(values[:, :, None], times)
    kept["both"] = _mean_over_seeds(draws, times)
    # Seeds are few, and are only a part of the variance.
    return CrossedBootstrap(
        estimate, kept, found.n_trials, n_seeds, "both", freedom="satterthwaite"
    )


def _mean_over_seeds(values: FloatArray, times: FloatArray) -> FloatArray:
    """Average (systems, seeds, draws or 1, measures) to (draws, measures, systems).

    `times` tells how often each seed counts in each draw, shape (n_draws, n_seeds).
    """
    defined = ~np.isnan(values)
    weights = times.T[None, :, :, None] * defined
    total = (np.where(defined, values, 0) * weights).sum(axis=1)
    count = weights.sum(axis=1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean.transpose(1, 2, 0)
