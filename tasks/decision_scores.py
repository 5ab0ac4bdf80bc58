"""Scores of decisions: accuracy, sensitivity, shared errors, times, thresholds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aligned_trials import consistencies
from analysis.error_consistency import consistency_table
from analysis.psychometric import fit_psychometric
from analysis.psychometric_intervals import bootstrap_psychometric
from analysis.signal_detection import criterion, d_prime
from analysis.stats import bootstrap_ci, pearson_r, percentile_interval, wilson_interval
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS

TASK = "decisions"
PEOPLE = "mean of people"
CHANCE = "chance"
ALL = "all"
ACCURACY, KAPPA = "accuracy", "error_consistency"
FEW_SHARED = 10
"""With fewer pictures that all observers answered, errors are not compared."""

_CEILING = "people with each other, same pictures"


def condition_names(trials: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Return the condition of each trial as text.

    Parameters
    ----------
    trials : DataFrame
        Trials.
    by : sequence of str
        Columns that tell conditions apart.

    Returns
    -------
    Series of str
        ``name=value`` of every column, separated by commas; "all" without columns.
    """
    if not by:
        return pd.Series(ALL, index=trials.index)
    parts = [name + "=" + trials[name].astype(str) for name in by]
    text = parts[0]
    for part in parts[1:]:
        text = text + ", " + part
    return text


def accuracy_rows(
    trials: pd.DataFrame, *, n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Score the share of right answers.

    Parameters
    ----------
    trials : DataFrame
        `subject`, `model`, `condition` and `correct` (NaN: nothing is right or wrong).
    n_bootstrap : int
        Resamples of people.
    seed : int
        Of the resamples.

    Returns
    -------
    list of dict
        One per observer and condition, and over all trials, with Wilson intervals;
        then people on average, with a bootstrap over people.
    """
    known = trials[trials["correct"].notna()]
    rows = []
    for condition, cell in _cells(known):
        for (subject, model), own in cell.groupby(["subject", "model"], sort=False):
            n, right = len(own), int(own["correct"].sum())
            low, high = wilson_interval(right, n)
            rows.append(
                _row(model, subject, ACCURACY, right / n, (low, high), n, condition)
            )
        people = cell[cell["model"] == HUMAN_MODEL].groupby("subject")["correct"].mean()
        if len(people) > 1:
            rng = generator(seed, TASK, "accuracy", condition)
            interval = bootstrap_ci(people, n_bootstrap=n_bootstrap, rng=rng)
            n = len(people)
            rows.append(
                _row(
                    HUMAN_MODEL, PEOPLE, ACCURACY, people.mean(), interval, n, condition
                )
            )
    return rows


def sensitivity_rows(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Score d' and criterion where there are two right answers in all.

    Parameters
    ----------
    trials : DataFrame
        `subject`, `model`, `condition`, `truth` and `response`.

    Returns
    -------
    list of dict
        One per observer, condition and measure; of the two answers the one that comes
        later in the alphabet is the signal. Empty unless there are two.
    """
    if "truth" not in trials:
        return []
    known = trials[trials["truth"].notna()]
    answers = sorted(known["truth"].unique())
    if len(answers) != 2:
        return []
    rows = []
    for condition, cell in _cells(known):
        for (subject, model), own in cell.groupby(["subject", "model"], sort=False):
            signal = own["truth"] == answers[1]
            yes = own["response"] == answers[1]
            counts = [(yes & signal).sum(), signal.sum()]
            counts += [(yes & ~signal).sum(), (~signal).sum()]
            for name, measure in (("d_prime", d_prime), ("criterion", criterion)):
                value = float(measure(*counts))
                rows.append(
                    _row(model, subject, name, value, None, len(own), condition)
                )
    return rows


def consistency_rows(
    trials: pd.DataFrame, *, n_bootstrap: int, seed: int
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Score how far observers err on the same pictures as people.

    Parameters
    ----------
    trials : DataFrame
        `subject`, `model`, `stimulus_id`, `showing` and `correct`. Of repeated
        pictures the first showing counts.
    n_bootstrap : int
        Resamples of pictures.
    seed : int
        Of the resamples.

    Returns
    -------
    rows : list of dict
        Mean kappa of each observer with people (of a person: with the others), with an
        interval over pictures; the ceiling is the mean over pairs of people. Empty if
        fewer than ten pictures were answered by all.
    pairs : DataFrame
        What `analysis.error_consistency.consistency_table` says of each pair.
    """
    first = trials[(trials["showing"] == 0) & trials["correct"].notna()]
    wide = first.pivot_table(
        index="stimulus_id", columns="subject", values="correct", sort=False
    ).dropna()
    models = dict(zip(first["subject"], first["model"], strict=True))
    subjects = [str(name) for name in wide.columns]
    people = [name for name in subjects if models[name] == HUMAN_MODEL]
    if len(wide) < FEW_SHARED or len(wide.columns) < 2:
        return [], pd.DataFrame()
    shared = first[first["stimulus_id"].isin(wide.index)]
    pairs = consistency_table(
        shared.assign(
            image_id=shared["stimulus_id"], correct=shared["correct"].astype(bool)
        ),
        by=(),
        n_bootstrap=n_bootstrap,
        n_null=n_bootstrap,
        seed=seed,
    )
    if not people:
        return [], pairs
    right = wide.to_numpy(np.float64)
    draws = generator(seed, TASK, "consistency").integers(
        len(right), size=(n_bootstrap, len(right))
    )
    samples = np.stack([_kappas(right[rows]) for rows in draws])
    kappas = _kappas(right)
    places = [subjects.index(name) for name in people]
    ceiling = float(_mean_of_pairs(kappas, places)) if len(people) > 1 else np.nan
    rows = []
    for place, subject in enumerate(subjects):
        others = [k for k in places if k != place]
        if not others:
            continue
        value = float(kappas[place, others].mean())
        interval = percentile_interval(samples[:, place, others].mean(axis=1))
        row = _row(models[subject], subject, KAPPA, value, interval, len(wide))
        if models[subject] != HUMAN_MODEL and np.isfinite(ceiling):
            row |= {
                "ceiling_low": ceiling,
                "ceiling_high": ceiling,
                "value_over_ceiling": value / ceiling if ceiling > 0 else np.nan,
                "ceiling_kind": _CEILING,
            }
        rows.append(row)
    if len(people) > 1:
        drawn = percentile_interval([_mean_of_pairs(one, places) for one in samples])
        rows.append(_row(HUMAN_MODEL, PEOPLE, KAPPA, ceiling, drawn, len(wide)))
    return rows, pairs


def time_rows(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Score reaction times of people, and costs of models beside them.

    Parameters
    ----------
    trials : DataFrame
        `subject`, `model`, `condition`, `correct`, `rt_ms` and `cost`.

    Returns
    -------
    list of dict
        Median time of right answers (of all where nothing is right or wrong) by person
        and condition; and, with three conditions or more, the correlation of a model's
        mean cost with the median time of people.
    """
    right = trials[trials["correct"].isna() | (trials["correct"] == 1)]
    timed = right[(right["model"] == HUMAN_MODEL) & right["rt_ms"].notna()]
    rows = []
    for condition, cell in _cells(timed):
        for person, own in cell.groupby("subject", sort=False):
            value, n = float(own["rt_ms"].median()), len(own)
            rows.append(
                _row(HUMAN_MODEL, person, "median_rt_ms", value, None, n, condition)
            )
    medians = timed.groupby("condition", sort=False)["rt_ms"].median()
    for (subject, model), own in trials.groupby(["subject", "model"], sort=False):
        if model == HUMAN_MODEL or len(medians) < 3 or own["cost"].isna().all():
            continue
        costs = own.groupby("condition")["cost"].mean().reindex(medians.index)
        value = float(pearson_r(costs.to_numpy(), medians.to_numpy()))
        rows.append(_row(model, subject, "cost_rt_r", value, None, len(medians)))
    return rows


def psychometric_rows(
    trials: pd.DataFrame,
    level: str,
    *,
    guess: float,
    n_bootstrap: int,
    seed: int,
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Fit a psychometric function to each observer.

    Parameters
    ----------
    trials : DataFrame
        `subject`, `model`, `correct` and the column `level`.
    level : str
        Column with the level, a number.
    guess : float
        Rate of right answers by guessing, 0..1.
    n_bootstrap : int
        Samples of the parametric bootstrap.
    seed : int
        Of the samples.

    Returns
    -------
    rows : list of dict
        "threshold" and "slope" per observer; NaN where undefined. The Weibull function
        for levels above 0, else the logistic one.
    curves : DataFrame
        Per observer: `subject`, `model`, `untrained`, `level`, `n`, `rate` (right
        answers), and the parameters of the fit.
    """
    known = trials[trials["correct"].notna() & trials[level].notna()]
    function = "weibull" if (known[level] > 0).all() else "logistic"
    rows, curves = [], []
    for (subject, model), own in known.groupby(["subject", "model"], sort=False):
        counted = own.groupby(level)["correct"].agg(["sum", "size"])
        fit = fit_psychometric(
            counted.index.to_numpy(np.float64),
            counted["sum"].to_numpy(np.float64),
            counted["size"].to_numpy(np.float64),
            function=function,
            guess=guess,
        )
        limits = bootstrap_psychometric(fit, n_bootstrap=n_bootstrap, seed=seed)
        limits = limits.set_index("parameter")
        for name in ("threshold", "slope"):
            value = float(getattr(fit, name)) if not np.isnan(fit.threshold) else np.nan
            interval = None
            if np.isfinite(value):
                interval = limits.loc[name, ["ci_low", "ci_high"]].astype(float)
            rows.append(_row(model, subject, name, value, interval, len(own)))
        curves.append(
            pd.DataFrame(
                {
                    "subject": subject,
                    "model": model,
                    "untrained": bool(own["untrained"].any()),
                    "level": counted.index.to_numpy(np.float64),
                    "n": counted["size"].to_numpy(),
                    "rate": (counted["sum"] / counted["size"]).to_numpy(),
                    "function": function,
                    "location": fit.location,
                    "slope": fit.slope,
                    "guess": fit.guess,
                    "lapse": fit.lapse,
                    "threshold": fit.threshold,
                    "note": fit.note,
                }
            )
        )
    return rows, pd.concat(curves, ignore_index=True)


def _cells(trials: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """All trials, then those of each condition if there are several."""
    cells: list[tuple[str, pd.DataFrame]] = [(ALL, trials)] if len(trials) else []
    if len(trials["condition"].unique()) > 1:
        cells += [
            (str(name), cell) for name, cell in trials.groupby("condition", sort=False)
        ]
    return cells


def _row(
    model: Any,
    subject: Any,
    metric: str,
    value: float,
    interval: Any,
    n: int,
    condition: str = ALL,
) -> dict[str, Any]:
    low, high = (np.nan, np.nan) if interval is None else interval
    found = dict.fromkeys(SCORE_COLUMNS, np.nan) | {
        "model": str(model),
        "subject": str(subject),
        "task": TASK,
        "metric": metric,
        "region": "",
        "layer": "",
        "condition": condition,
        "value": float(value),
        "ci_low": float(low),
        "ci_high": float(high),
        "n": int(n),
        "unit": "ms" if metric.endswith("_ms") else "",
        "ceiling_kind": "",
    }
    return found


def _kappas(right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of all pairs of columns."""
    counts = right.sum(axis=0)
    first, second = np.broadcast_arrays(counts[:, None], counts[None, :])
    return consistencies(first, second, right.T @ right, len(right))[2]


def _mean_of_pairs(kappas: NDArray[np.float64], places: list[int]) -> float:
    rows, columns = np.triu_indices(len(places), 1)
    chosen = np.asarray(places)
    return float(kappas[chosen[rows], chosen[columns]].mean())
