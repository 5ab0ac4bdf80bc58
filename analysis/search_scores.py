"""The score table of a search asymmetry experiment, models beside people."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.psychophysics import bootstrap_slopes, condition_means, search_slopes
from analysis.search_asymmetry import (
    asymmetry_indices,
    human_slopes,
    mean_asymmetry_indices,
    rt_agreement,
    slope_agreement,
    task_tests,
)
from analysis.stats import wilson_interval
from neurovis.core.checks import check_columns
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS

EXTRA_COLUMNS = (
    "experiment",
    "experiment_name",
    "label",
    "set_size",
    "human_value",
    "p_value",
    "untrained",
    "note",
)
"""Columns of `search_scores` after those of every score table."""

TASK = "search-asymmetry"
UNITS = {
    "mean_rt_ms": "ms",
    "mean_fixations": "fixations",
    "found_rate": "share",
    "slope_ms_per_item": "ms/item",
    "intercept_ms": "ms",
    "task_f": "F",
    "asymmetry_index": "index",
    "mean_asymmetry_index": "index",
    "slope_pearson_r": "r",
    "slope_spearman_r": "r",
    "slope_rmse_ms_per_item": "ms/item",
    "rt_pearson_r": "r",
    "rt_rmse_ms": "ms",
}
"""Unit of each metric."""

HUMAN_SUBJECT = "human mean"

_FACTORS = ("experiment", "experiment_name", "condition", "label")
_OBSERVER = ("subject", "model", "untrained")
_TRIAL_COLUMNS = (*_OBSERVER, *_FACTORS, "set_size", "rt_ms", "n_fixations", "found")
_LINE = ("subject", "experiment", "condition")
_NO_CEILING = (
    "no noise ceiling: the published data of people are means without single trials"
)
_NO_INDEX = "undefined: no slope above 0, or a line is not determined"


def search_scores(
    trials: pd.DataFrame,
    human: pd.DataFrame,
    *,
    stimuli: str = TASK,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Score observers in search asymmetry experiments, people included.

    Parameters
    ----------
    trials : DataFrame
        One row per trial: `subject` (label of the observer), `model`, `untrained`
        (bool), `experiment`, `experiment_name`, `condition`, `label`, `set_size`
        (items), `rt_ms` (ms), `n_fixations` (after the initial one; when not found
        the largest set size of the condition) and `found` (bool).
    human : DataFrame
        Mean reaction times of people: `experiment`, `experiment_name`, `condition`,
        `label`, `set_size`, `rt_ms`.
    stimuli : str, default "search-asymmetry"
        Name of the stimulus set.
    n_bootstrap : int, default 1000
        Resamples of trials; 0 gives no intervals for means, slopes and indices.
    level : float, default 0.95
        Coverage of the intervals.
    seed : int, default 0
        Seed of resamples and permutations.

    Returns
    -------
    DataFrame
        One row per observer, condition and metric: the columns of
        `neurovis.core.types.SCORE_COLUMNS`, then `EXTRA_COLUMNS`. `condition` is
        "name/n=8" for a set size, the name for a line, "experiment 1" for an
        experiment and "all" for a summary. The metrics are `mean_rt_ms`,
        `mean_fixations`, `found_rate` (Wilson interval), `slope_ms_per_item`,
        `intercept_ms`, `task_f` (F test of two lines against one; `p_value`),
        `asymmetry_index`, `mean_asymmetry_index`, `slope_pearson_r`,
        `slope_spearman_r`, `slope_rmse_ms_per_item`, `rt_pearson_r` and `rt_rmse_ms`.
        `human_value` is the value of people for the same metric and condition. The
        `p_value` of both correlations is that of exchanging the conditions of an
        experiment. Ceilings are NaN, and `note` says why.

    Raises
    ------
    ValueError
        If a column is missing, a value is not finite, a subject has two models, or a
        condition is unknown to `human`.

    Notes
    -----
    An `asymmetry_index` is NaN when neither slope is above 0; in
    `mean_asymmetry_index` it counts as 0, as published. Intervals of means, slopes
    and indices are about trials, those of correlations about experiments.

    Examples
    --------
    >>> human = pd.DataFrame(
    ...     {
    ...         "experiment": 4,
    ...         "experiment_name": "T and L",
    ...         "condition": ["Ts", "Ts", "Ls", "Ls"],
    ...         "label": ["T", "T", "L", "L"],
    ...         "set_size": [3, 6, 3, 6],
    ...         "rt_ms": [541.0, 583.0, 573.0, 672.0],
    ...     }
    ... )
    >>> trials = human.assign(
    ...     subject="m", model="m", untrained=False, n_fixations=1, found=True
    ... )
    >>> table = search_scores(trials, human, n_bootstrap=0)
    >>> index = table.query("metric == 'asymmetry_index'")[["subject", "value"]]
    >>> index.round(3).to_numpy().tolist()
    [['human mean', 0.404], ['m', 0.404]]
    """
    check_columns("trials", trials.columns, _TRIAL_COLUMNS)
    check_columns("human", human.columns, [*_FACTORS, "set_size", "rt_ms"])
    observers = _observers(trials)
    people = human.assign(subject=HUMAN_SUBJECT)
    options: dict[str, Any] = {"level": level, "seed": seed}
    sampling: dict[str, Any] = {"by": _LINE, "n_bootstrap": n_bootstrap, "seed": seed}

    means = condition_means(trials, **sampling, level=level)
    slopes = search_slopes(trials, **sampling, level=level)
    draws = bootstrap_slopes(trials, **sampling) if n_bootstrap else None
    lines = human_slopes(human)
    people_lines = lines.assign(subject=HUMAN_SUBJECT)
    parts = [
        _mean_rows("mean_rt_ms", means),
        _mean_rows("mean_rt_ms", people.rename(columns={"rt_ms": "mean"})),
        _mean_rows(
            "mean_fixations",
            condition_means(trials, value="n_fixations", **sampling, level=level),
        ),
        _found_rows(trials, level),
        *_line_rows(slopes),
        *_line_rows(people_lines),
        _task_rows(task_tests(trials)),
        _index_rows(asymmetry_indices(slopes, lines, draws=draws, level=level)),
        _index_rows(asymmetry_indices(people_lines, lines)),
        _mean_index_rows(
            mean_asymmetry_indices(slopes, lines, draws=draws, level=level), lines
        ),
        _mean_index_rows(mean_asymmetry_indices(people_lines, lines), lines),
        *_agreement_rows("slope", slope_agreement(slopes, lines, **options)),
        *_agreement_rows("rt", rt_agreement(means, human, **options)),
    ]
    table = pd.concat([p for p in parts if len(p)], ignore_index=True)
    table = table.merge(observers, on="subject", how="left", validate="many_to_one")
    table = _add_names(_add_human_value(table), human)
    return _complete(table, stimuli, seed)


def _observers(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per subject with its model, people first."""
    observers = trials[list(_OBSERVER)].drop_duplicates(ignore_index=True)
    repeated = observers["subject"][observers["subject"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"`trials` has the subject {repeated.iloc[0]!r} with more than one `model` "
            "or `untrained`: give each observer its own label."
        )
    if (observers["subject"] == HUMAN_SUBJECT).any():
        raise ValueError(
            f"`trials` has the subject {HUMAN_SUBJECT!r}, which is the label of people "
            "in `human`: give the observer another label."
        )
    people = {"subject": HUMAN_SUBJECT, "model": HUMAN_MODEL, "untrained": False}
    return pd.concat([pd.DataFrame([people]), observers], ignore_index=True)


def _mean_rows(metric: str, means: pd.DataFrame) -> pd.DataFrame:
    rows = means.assign(
        metric=metric, condition=_cell_name(means), line=means["condition"]
    )
    rows = rows.rename(columns={"mean": "value", "n_trials": "n"})
    names = ["subject", "experiment", "line", "condition", "set_size", "metric"]
    return rows[names + [c for c in ("value", "ci_low", "ci_high", "n") if c in rows]]


def _cell_name(table: pd.DataFrame) -> pd.Series:
    return table["condition"] + "/n=" + table["set_size"].astype(str)


def _found_rows(trials: pd.DataFrame, level: float) -> pd.DataFrame:
    cells = trials.groupby([*_LINE, "set_size"], sort=False)["found"]
    counts = cells.agg(k="sum", n_trials="size").reset_index()
    low, high = wilson_interval(counts["k"], counts["n_trials"], level=level)
    rate = counts["k"] / counts["n_trials"]
    rates = counts.assign(mean=rate.astype(np.float64), ci_low=low, ci_high=high)
    return _mean_rows("found_rate", rates)


def _line_rows(slopes: pd.DataFrame) -> list[pd.DataFrame]:
    parts = []
    for metric, name in (("slope_ms_per_item", "slope"), ("intercept_ms", "intercept")):
        rows = slopes.assign(
            metric=metric, value=slopes[metric], line=slopes["condition"]
        )
        rows = rows.rename(
            columns={
                f"{name}_ci_low": "ci_low",
                f"{name}_ci_high": "ci_high",
                "n_trials": "n",
            }
        )
        names = ["subject", "experiment", "line", "condition", "metric", "value"]
        parts.append(rows[names + [c for c in ("ci_low", "ci_high", "n") if c in rows]])
    return parts


def _task_rows(tests: pd.DataFrame) -> pd.DataFrame:
    degrees = (
        tests["df_numerator"].astype(str) + ", " + tests["df_denominator"].astype(str)
    )
    return pd.DataFrame(
        {
            "subject": tests["subject"],
            "experiment": tests["experiment"],
            "condition": "experiment " + tests["experiment"].astype(str),
            "metric": "task_f",
            "value": tests["f"],
            "n": tests["df_denominator"] + 4,
            "p_value": tests["p_value"],
            "note": "degrees of freedom " + degrees,
        }
    )


def _index_rows(indices: pd.DataFrame) -> pd.DataFrame:
    undefined = indices["asymmetry_index"].isna()
    return pd.DataFrame(
        {
            "subject": indices["subject"],
            "experiment": indices["experiment"],
            "condition": "experiment " + indices["experiment"].astype(str),
            "metric": "asymmetry_index",
            "value": indices["asymmetry_index"],
            "ci_low": indices["ci_low"],
            "ci_high": indices["ci_high"],
            "n": 2,
            "note": np.where(undefined, _NO_INDEX, ""),
        }
    )


def _mean_index_rows(means: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    n_all = lines["experiment"].nunique()
    notes = []
    for count, n_undefined in means[["n_experiments", "n_undefined"]].to_numpy():
        note = f"mean over {count} of {n_all} experiments"
        notes.append(note + (f"; {n_undefined} counted as 0" if n_undefined else ""))
    return pd.DataFrame(
        {
            "subject": means["subject"],
            "condition": "all",
            "metric": "mean_asymmetry_index",
            "value": means["mean_asymmetry_index"],
            "ci_low": means["ci_low"],
            "ci_high": means["ci_high"],
            "n": means["n_experiments"],
            "note": notes,
        }
    )


def _agreement_rows(name: str, agreement: pd.DataFrame) -> list[pd.DataFrame]:
    units = {"slope": "slope_rmse_ms_per_item", "rt": "rt_rmse_ms"}
    metrics = {"pearson_r": f"{name}_pearson_r", "rmse": units[name]}
    if name == "slope":
        metrics["spearman_r"] = "slope_spearman_r"
    parts = []
    for column, metric in metrics.items():
        rows = agreement[["subject", "n"]].assign(
            condition="all", metric=metric, value=agreement[column]
        )
        if column == "pearson_r":
            rows = rows.assign(
                ci_low=agreement["ci_low"],
                ci_high=agreement["ci_high"],
                p_value=agreement["p_within"],
                note="p_value: conditions exchanged within experiments",
            )
        parts.append(rows)
    return parts


def _add_human_value(table: pd.DataFrame) -> pd.DataFrame:
    """Put the value of people for the same metric and condition beside each row."""
    keys = ["metric", "condition"]
    people = table[table["subject"] == HUMAN_SUBJECT]
    known = people[[*keys, "value"]].rename(columns={"value": "human_value"})
    return table.merge(known, on=keys, how="left", validate="many_to_one")


def _add_names(table: pd.DataFrame, human: pd.DataFrame) -> pd.DataFrame:
    """Add the printed names of experiments and conditions."""
    experiments = human[["experiment", "experiment_name"]].drop_duplicates()
    lines = human[["condition", "label"]].drop_duplicates()
    table = table.merge(
        experiments, on="experiment", how="left", validate="many_to_one"
    )
    lines = lines.rename(columns={"condition": "line"})
    return table.merge(lines, on="line", how="left", validate="many_to_one")


def _complete(table: pd.DataFrame, stimuli: str, seed: int) -> pd.DataFrame:
    """Fill what all rows share, and put rows and columns in order."""
    missing = table["note"].isna() | (table["note"] == "")
    note = table["note"].where(~missing, "")
    separator = np.where(missing, "", "; ")
    untrained = np.where(table["untrained"], "; untrained weights", "")
    table = table.assign(
        stimuli=stimuli,
        task=TASK,
        region=pd.array([None] * len(table), dtype="str"),
        layer=pd.array([None] * len(table), dtype="str"),
        ceiling_low=np.nan,
        ceiling_high=np.nan,
        value_over_ceiling=np.nan,
        seed=seed,
        unit=[UNITS[metric] for metric in table["metric"]],
        ceiling_kind=pd.array([None] * len(table), dtype="str"),
        note=note + separator + _NO_CEILING + untrained,
        experiment=table["experiment"].astype("Int64"),
        set_size=table["set_size"].astype("Int64"),
        n=table["n"].astype("Int64"),
        untrained=table["untrained"].astype(bool),
    )
    rank = {s: i for i, s in enumerate(table["subject"].unique())} | {HUMAN_SUBJECT: -1}
    order = table["subject"].map(rank).sort_values(kind="stable").index
    columns = [*SCORE_COLUMNS, *EXTRA_COLUMNS]
    return table.loc[order, columns].reset_index(drop=True)
