"""Search in natural scenes: how fast, with what saccades, and where it is hard.

Models and people are told apart by the column `model` of the tables ("human" for
people). Trials of people may have been stopped early (`max_saccades` of the trial):
what a stopped trial says about later saccades is nothing, so the share found by each
saccade is the Kaplan-Meier estimate.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.saccades import saccade_table, share_left
from analysis.scanpath_sets import scanpaths_from_table
from analysis.stats import percentile_interval
from neurovis.core.checks import check_between, check_columns
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS

TRIAL_COLUMNS = (
    "model",
    "subject",
    "stimulus_id",
    "trial",
    "found",
    "n_saccades",
    "max_saccades",
)
UNITS = {
    "found_by_saccade": "share",
    "found_rate": "share",
    "found_auc": "share",
    "found_mismatch": "share",
    "difficulty_spearman_r": "r",
    "saccade_mean_deg": "deg",
    "saccade_median_deg": "deg",
    "saccade_wasserstein_deg": "deg",
    "saccade_ks": "share",
}
"""Unit of each metric."""

_STOPPED = "Kaplan-Meier: trials stopped early count as long as they lasted"


def scene_search_scores(
    trials: pd.DataFrame,
    fixations: pd.DataFrame,
    *,
    px_per_deg: float,
    n_saccades: int,
    aligned: bool = True,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Score search in scenes, models beside people.

    Parameters
    ----------
    trials : DataFrame
        One row per trial with the columns of `TRIAL_COLUMNS`: `n_saccades` made,
        `max_saccades` allowed, `found` (bool).
    fixations : DataFrame
        Long table with `model`, `subject`, `stimulus_id`, `trial`, `fixation`,
        `x_px`, `y_px`, `duration_ms`; fixation 0 was given.
    px_per_deg : float
        Pixels per degree of visual angle, > 0.
    n_saccades : int
        Saccades up to which curves are compared, >= 1.
    aligned : bool, default True
        Whether `found` and `n_saccades` of people belong to the display of their
        row; otherwise they count for all displays together, and the difficulty of
        displays is undefined.
    seed : int, default 0
        Seed of the bootstrap and of split halves.
    n_bootstrap : int, default 1000
        Resamples of displays for 95 % intervals.

    Returns
    -------
    DataFrame
        The columns of `neurovis.core.types.SCORE_COLUMNS` and `note`. Metrics:
        `found_by_saccade` (condition = saccade), `found_rate` (by the last saccade
        compared), `found_auc` (mean of the curve over saccades 1 to `n_saccades`),
        `found_mismatch` (mean absolute difference of the curve to that of people),
        `difficulty_spearman_r` (over displays: share found within `n_saccades` by
        people against the model's), mean and median amplitude of saccades, and the
        Wasserstein and Kolmogorov-Smirnov distances of amplitudes to people's. The
        ceiling is people against people: random halves of observers (mismatch,
        difficulty, distances); NaN with fewer than two observers.

    Raises
    ------
    ValueError
        If a column is missing or a number out of range.
    """
    check_columns("trials", trials.columns, TRIAL_COLUMNS)
    check_between("px_per_deg", px_per_deg, low=1e-6)
    check_between("n_saccades", n_saccades, low=1)
    names = list(dict.fromkeys(trials["model"]))
    people = trials[trials["model"] == HUMAN_MODEL]
    curves = {
        name: found_curve(trials[trials["model"] == name], n_saccades) for name in names
    }
    sizes = saccade_sizes(fixations, px_per_deg)
    by_model = {name: sizes.loc[sizes["model"] == name] for name in names}
    difficulty = {
        name: display_rates(trials[trials["model"] == name], n_saccades)
        for name in names
    }
    halves = _human_halves(trials, sizes, n_saccades, seed)
    rows: list[dict[str, Any]] = []

    def add(name: str, metric: str, value: float, **more: Any) -> None:
        rows.append({"model": name, "metric": metric, "value": value, **more})

    for name in names:
        own = trials[trials["model"] == name]
        draws = _curve_draws(own, n_saccades, seed, n_bootstrap)
        low, high = percentile_interval(draws.T) if len(draws) else (None, None)
        for step, value in enumerate(curves[name]):
            more: dict[str, Any] = {"condition": str(step), "n": len(own)}
            if low is not None and high is not None:
                more |= {"ci_low": low[step], "ci_high": high[step]}
            add(name, "found_by_saccade", value, **more)
        steps = slice(1, n_saccades + 1)
        add(
            name,
            "found_rate",
            curves[name][-1],
            n=len(own),
            **_span(draws[:, -1] if len(draws) else None),
        )
        add(
            name,
            "found_auc",
            float(curves[name][steps].mean()),
            n=len(own),
            **_span(draws[:, steps].mean(1) if len(draws) else None),
        )
        own_sizes = by_model[name]["amplitude_deg"].dropna().to_numpy()
        spread = _size_draws(by_model[name], seed, n_bootstrap)
        for metric, column, function in (
            ("saccade_mean_deg", 0, np.mean),
            ("saccade_median_deg", 1, np.median),
        ):
            value = float(function(own_sizes)) if len(own_sizes) else np.nan
            add(name, metric, value, n=len(own_sizes), **_span(spread[:, column]))
        if name == HUMAN_MODEL or len(people) == 0:
            continue
        gap = np.abs(curves[name] - curves[HUMAN_MODEL])[steps].mean()
        add(name, "found_mismatch", float(gap), ceiling_low=halves["found_mismatch"])
        value, n = np.nan, 0
        if aligned:
            value, n = _rank_agreement(difficulty[name], difficulty[HUMAN_MODEL])
        add(
            name,
            "difficulty_spearman_r",
            value,
            n=n,
            ceiling_low=halves["difficulty_spearman_r"],
        )
        theirs = by_model[HUMAN_MODEL]["amplitude_deg"].dropna().to_numpy()
        for metric, distance in _DISTANCES.items():
            known = len(own_sizes) and len(theirs)
            value = distance(own_sizes, theirs) if known else np.nan
            more = {"n": len(own_sizes), "ceiling_low": halves[metric]}
            add(name, metric, value, **more)
    table = pd.DataFrame(rows)
    table["unit"] = table["metric"].map(UNITS)
    table["seed"] = seed
    if "ceiling_low" in table:
        has = table["ceiling_low"].notna()
        table.loc[has, "ceiling_kind"] = "halves of observers, mean of 20 splits"
        share = table["value"] / table["ceiling_low"]
        is_rank = table["metric"] == "difficulty_spearman_r"
        table["value_over_ceiling"] = share.where(is_rank)
    curve_metrics = table["metric"].str.startswith("found")
    table["note"] = pd.Series(_STOPPED, index=table.index).where(curve_metrics)
    return table.reindex(columns=[*SCORE_COLUMNS, "note"])


def found_curve(trials: pd.DataFrame, n_saccades: int) -> NDArray[np.float64]:
    """Return the share found by each saccade.

    Parameters
    ----------
    trials : DataFrame
        `found`, `n_saccades`, `max_saccades`.
    n_saccades : int
        Last saccade wanted.

    Returns
    -------
    ndarray of float64, shape (n_saccades + 1,)
        Share found by saccade 0, 1, ...; NaN beyond the last saccade of a trial,
        unless all targets were found. The same as
        `analysis.saccades.kaplan_meier_found`, for many groups at once.

    Raises
    ------
    ValueError
        If there is no trial.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {"found": [True, False], "n_saccades": [1, 2], "max_saccades": [2, 2]}
    ... )
    >>> found_curve(trials, 2).tolist()
    [0.0, 0.5, 0.5]
    """
    if len(trials) == 0:
        raise ValueError("`trials` is empty: at least one trial is needed.")
    one = np.zeros(len(trials), np.intp)
    return _found_curves(*_events(trials, one, 1, n_saccades))[0]


def saccade_sizes(fixations: pd.DataFrame, px_per_deg: float) -> pd.DataFrame:
    """Return the amplitude of every saccade with its trial.

    Parameters
    ----------
    fixations : DataFrame
        Long table with `model`, `subject`, `stimulus_id` and `trial`.
    px_per_deg : float
        Pixels per degree, > 0.

    Returns
    -------
    DataFrame
        `model`, `subject`, `stimulus_id`, `trial`, `saccade`, `amplitude_px`,
        `amplitude_deg`.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    keys = ["model", "subject", "stimulus_id", "trial"]
    paths, names = scanpaths_from_table(fixations, keys)
    table = saccade_table(paths, px_per_deg=px_per_deg)
    rows = names.iloc[table["scanpath"]].reset_index(drop=True)
    columns = ["saccade", "amplitude_px", "amplitude_deg"]
    return pd.concat([rows, table[columns].reset_index(drop=True)], axis=1)


def saccade_histograms(
    sizes: pd.DataFrame,
    *,
    width_deg: float = 0.5,
    limit_deg: float = 30.0,
    seed: int = 0,
    n_bootstrap: int = 200,
) -> pd.DataFrame:
    """Return the distribution of amplitudes of each observer.

    Parameters
    ----------
    sizes : DataFrame
        What `saccade_sizes` returned.
    width_deg, limit_deg : float
        Width of a bin, and upper end of the last one, degrees.
    seed : int, default 0
        Seed of the bootstrap.
    n_bootstrap : int, default 200
        Resamples of displays.

    Returns
    -------
    DataFrame
        `model`, `amplitude_deg` (middle of the bin), `value` (share of all
        saccades), `ci_low`, `ci_high`.

    Raises
    ------
    ValueError
        If a width is not above 0.
    """
    check_between("width_deg", width_deg, low=1e-6)
    n_bins = round(check_between("limit_deg", limit_deg, low=width_deg) / width_deg)
    parts = []
    for name, part in sizes.groupby("model", sort=False):
        codes, displays = pd.factorize(part["stimulus_id"])
        bins = np.minimum(part["amplitude_deg"].to_numpy() / width_deg, n_bins)
        known = ~np.isnan(bins)
        counts = np.zeros((len(displays), n_bins + 1))
        np.add.at(counts, (codes[known], bins[known].astype(int)), 1)
        draw = generator(seed, "saccade histogram", str(name))
        picks = draw.integers(len(displays), size=(n_bootstrap, len(displays)))
        weights = np.stack([np.bincount(p, minlength=len(displays)) for p in picks])
        sums = weights @ counts
        with np.errstate(invalid="ignore"):
            shares = sums / sums.sum(1, keepdims=True)
            value = counts.sum(0) / counts.sum()
        low, high = percentile_interval(shares.T)
        parts.append(
            pd.DataFrame(
                {
                    "model": name,
                    "amplitude_deg": (np.arange(n_bins) + 0.5) * width_deg,
                    "value": value[:-1],
                    "ci_low": low[:-1],
                    "ci_high": high[:-1],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def display_rates(trials: pd.DataFrame, n_saccades: int) -> pd.Series:
    """Return the share found within some saccades, for each display.

    Parameters
    ----------
    trials : DataFrame
        `stimulus_id`, `found`, `n_saccades`, `max_saccades`.
    n_saccades : int
        Saccades that count.

    Returns
    -------
    Series of float64
        Mean over saccades 1 to `n_saccades` of the Kaplan-Meier share found, by
        `stimulus_id`: a display is easy when its target is found often and early.
    """
    codes, displays = pd.factorize(trials["stimulus_id"])
    curves = _found_curves(*_events(trials, codes, len(displays), n_saccades))[:, 1:]
    known = ~np.isnan(curves)
    n_known = known.sum(1)
    rates = np.full(len(displays), np.nan)
    sums = np.where(known, curves, 0.0).sum(1)
    np.divide(sums, n_known, out=rates, where=n_known > 0)
    return pd.Series(rates, index=pd.Index(displays, name="stimulus_id"))


def _events(
    trials: pd.DataFrame, codes: NDArray[np.intp], n_groups: int, n_saccades: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count finds and ends of trials per group and saccade, (n_groups, n + 2)."""
    allowed = trials["max_saccades"].to_numpy()
    made = trials["n_saccades"].to_numpy()
    found = trials["found"].to_numpy(bool) & (made <= allowed)
    end = np.minimum(np.minimum(made, allowed), n_saccades + 1).astype(int)
    hits = np.zeros((n_groups, n_saccades + 2))
    ends = np.zeros_like(hits)
    np.add.at(hits, (codes[found], end[found]), 1)
    np.add.at(ends, (codes, end), 1)
    return hits, ends


def _found_curves(
    hits: NDArray[np.float64], ends: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share found by each saccade per row; NaN where no trial went so far."""
    at_risk = ends[:, ::-1].cumsum(1)[:, ::-1]
    return 1 - share_left(hits, at_risk)[:, :-1]


def _wasserstein(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(stats.wasserstein_distance(a, b))


def _kolmogorov(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    grid = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


_DISTANCES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "saccade_wasserstein_deg": _wasserstein,
    "saccade_ks": _kolmogorov,
}


def _rank_agreement(one: pd.Series, two: pd.Series) -> tuple[float, int]:
    """Spearman correlation over shared displays; NaN where it is undefined."""
    both = pd.concat([one, two], axis=1, join="inner").dropna()
    n = len(both)
    if n < 3 or both.nunique().min() < 2:
        return np.nan, n
    return float(stats.spearmanr(both.iloc[:, 0], both.iloc[:, 1]).statistic), n


def _span(draws: NDArray[np.float64] | None) -> dict[str, float]:
    if draws is None or len(draws) == 0:
        return {}
    low, high = percentile_interval(draws)
    return {"ci_low": float(low), "ci_high": float(high)}


def _curve_draws(
    trials: pd.DataFrame, n_saccades: int, seed: int, n_bootstrap: int
) -> NDArray[np.float64]:
    """Kaplan-Meier curves of resampled displays, (n_bootstrap, n_saccades + 1)."""
    codes, displays = pd.factorize(trials["stimulus_id"])
    if len(displays) < 2 or n_bootstrap < 2:
        return np.zeros((0, n_saccades + 1))
    hits, ends = _events(trials, codes, len(displays), n_saccades)
    draw = generator(seed, "found curve")
    picks = draw.integers(len(displays), size=(n_bootstrap, len(displays)))
    weights = np.stack([np.bincount(p, minlength=len(displays)) for p in picks])
    curves = _found_curves(weights @ hits, weights @ ends)
    # Beyond the longest trial of a resample its share is held.
    held: NDArray[np.float64] = np.fmax.accumulate(curves, axis=1)
    return held


def _size_draws(
    sizes: pd.DataFrame, seed: int, n_bootstrap: int
) -> NDArray[np.float64]:
    """Mean and median amplitude of resampled displays, (n_bootstrap, 2)."""
    known = sizes.dropna(subset=["amplitude_deg"])
    groups = [g.to_numpy() for _, g in known.groupby("stimulus_id")["amplitude_deg"]]
    if len(groups) < 2 or n_bootstrap < 2:
        return np.zeros((0, 2))
    draw = generator(seed, "saccade sizes")
    # Medians are dear: fewer draws.
    draws = np.empty((min(n_bootstrap, 300), 2))
    for row in draws:
        picks = draw.integers(len(groups), size=len(groups))
        values = np.concatenate([groups[i] for i in picks])
        row[:] = values.mean(), np.median(values)
    return draws


def _human_halves(
    trials: pd.DataFrame, sizes: pd.DataFrame, n_saccades: int, seed: int
) -> dict[str, float]:
    """People against people: mean over random halves of observers."""
    people = trials[trials["model"] == HUMAN_MODEL]
    own = sizes[sizes["model"] == HUMAN_MODEL]
    subjects = np.array(sorted(people["subject"].unique()))
    metrics = ("found_mismatch", "difficulty_spearman_r", *_DISTANCES)
    if len(subjects) < 2:
        return dict.fromkeys(metrics, np.nan)
    draw = generator(seed, "halves of observers")
    values: dict[str, list[float]] = {metric: [] for metric in metrics}
    for _ in range(20):
        first = draw.permutation(subjects)[: len(subjects) // 2]
        parts = [
            people[people["subject"].isin(first) == side] for side in (True, False)
        ]
        curves = [found_curve(part, n_saccades)[1:] for part in parts]
        values["found_mismatch"].append(float(np.abs(curves[0] - curves[1]).mean()))
        rates = [display_rates(part, n_saccades) for part in parts]
        values["difficulty_spearman_r"].append(_rank_agreement(*rates)[0])
        chosen = own["subject"].isin(first)
        two = [
            own.loc[chosen == side, "amplitude_deg"].dropna().to_numpy()
            for side in (True, False)
        ]
        for metric, distance in _DISTANCES.items():
            enough = len(two[0]) and len(two[1])
            values[metric].append(distance(*two) if enough else np.nan)
    return {
        metric: float(np.nanmean(v)) if np.isfinite(v).any() else np.nan
        for metric, v in values.items()
    }
