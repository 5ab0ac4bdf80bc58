"""Reaction times of people: filters, means, slopes, errors, quantiles.

A trial table has one row per trial: `subject`, `task`, `set_size` (items),
`target_present` (bool, or 0 and 1), `error` (0 or 1, or bool) and `rt_ms`. People of
different tasks are different people, whatever their labels. Undefined is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.psychophysics import search_slopes
from analysis.stats import bootstrap, percentile_interval, wilson_interval
from neurovis.core.checks import check_between, check_columns
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

CELL = ("task", "target_present", "set_size")
"""Columns that tell the cells of the design apart."""

LINE = ("task", "target_present")
"""Columns that tell the lines of reaction time on set size apart."""

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)

_TRIAL_COLUMNS = ("subject", "task", "set_size", "target_present", "error", "rt_ms")


@dataclass(frozen=True)
class FilteredRts:
    """Trials that passed a filter, and why the others did not.

    A trial counts once, under the first reason that applies, in the order below.

    Parameters
    ----------
    trials : DataFrame
        Trials that are left, rows numbered from 0.
    n_undefined : int
        Trials without a reaction time.
    n_wrong : int
        Wrong answers.
    n_fast, n_slow : int
        Reaction times below and above the limits.
    """

    trials: pd.DataFrame
    n_undefined: int
    n_wrong: int
    n_fast: int
    n_slow: int

    @property
    def n_kept(self) -> int:
        """Trials that are left."""
        return len(self.trials)

    @property
    def n_trials(self) -> int:
        """Trials before the filter."""
        dropped = self.n_undefined + self.n_wrong + self.n_fast + self.n_slow
        return self.n_kept + dropped


def filter_rts(
    trials: pd.DataFrame,
    low_ms: float = 200,
    high_ms: float = 10_000,
    correct_only: bool = True,
) -> FilteredRts:
    """Keep trials whose reaction time can be one of the task.

    Parameters
    ----------
    trials : DataFrame
        One row per trial, with `rt_ms` and `error`.
    low_ms, high_ms : float, default 200 and 10000
        Limits in ms; both are kept.
    correct_only : bool, default True
        Drop wrong answers too.

    Returns
    -------
    FilteredRts
        What is left, and how many trials were dropped for which reason.

    Raises
    ------
    ValueError
        If a column is missing, the limits are out of order, or an error is neither 0
        nor 1.

    Examples
    --------
    >>> trials = pd.DataFrame({"rt_ms": [0, 500, 700, 20000], "error": [0, 0, 1, 0]})
    >>> kept = filter_rts(trials)
    >>> kept.trials["rt_ms"].tolist(), kept.n_fast, kept.n_wrong, kept.n_slow
    ([500], 1, 1, 1)
    """
    check_columns("trials", trials.columns, ["rt_ms", "error"])
    check_between("low_ms", low_ms, low=0)
    check_between("high_ms", high_ms, low=low_ms)
    rt = trials["rt_ms"].to_numpy(np.float64)
    undefined = ~np.isfinite(rt)
    wrong = (flags("error", trials["error"]) & correct_only) & ~undefined
    rest = ~undefined & ~wrong
    fast, slow = rest & (rt < low_ms), rest & (rt > high_ms)
    kept = trials[rest & ~fast & ~slow].reset_index(drop=True)
    counts = [int(part.sum()) for part in (undefined, wrong, fast, slow)]
    return FilteredRts(kept, *counts)


def rt_summary(trials: pd.DataFrame, *, by: Sequence[str] = CELL) -> pd.DataFrame:
    """Compute mean and median reaction times over all trials of each cell.

    Trials of all subjects are pooled, so that a subject with more trials counts more.

    Parameters
    ----------
    trials : DataFrame
        Trials that count, such as ``filter_rts(trials).trials``.
    by : sequence of str, default ("task", "target_present", "set_size")
        Columns that tell the cells apart.

    Returns
    -------
    DataFrame
        One row per cell, sorted: the `by` columns, `mean_ms`, `median_ms`, `sd_ms`
        (divisor n - 1; NaN with one trial) and `n_trials`.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> trials = pd.DataFrame({"task": "a", "rt_ms": [400.0, 500.0, 900.0]})
    >>> rt_summary(trials, by=["task"])[["mean_ms", "median_ms"]].to_numpy().tolist()
    [[600.0, 500.0]]
    """
    check_columns("trials", trials.columns, [*by, "rt_ms"])
    table = trials.groupby(list(by))["rt_ms"].agg(["mean", "median", "std", "size"])
    table.columns = pd.Index(["mean_ms", "median_ms", "sd_ms", "n_trials"])
    return table.reset_index()


def error_summary(
    trials: pd.DataFrame,
    *,
    by: Sequence[str] = ("task", "set_size"),
    level: float = 0.95,
) -> pd.DataFrame:
    """Summarise misses and false alarms, with the sensitivity d'.

    Every trial counts, whatever its reaction time.

    Parameters
    ----------
    trials : DataFrame
        One row per trial, with `by`, `target_present` and `error`.
    by : sequence of str, default ("task", "set_size")
        Columns that tell the cells apart; presence is not one of them.
    level : float, default 0.95
        Coverage of the Wilson intervals.

    Returns
    -------
    DataFrame
        One row per cell, sorted: the `by` columns, `miss_rate`, `miss_ci_low`,
        `miss_ci_high`, `false_alarm_rate`, `false_alarm_ci_low`,
        `false_alarm_ci_high`, `d_prime`, `criterion` (see `d_prime`), `n_present`,
        `n_absent`. Rates without trials are NaN, and so is d' then.

    Raises
    ------
    ValueError
        If a column is missing, or a flag is neither 0 nor 1.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {"set_size": 3, "target_present": [1, 1, 0, 0], "error": [1, 0, 0, 0]}
    ... )
    >>> error_summary(trials, by=["set_size"])["miss_rate"].tolist()
    [0.5]
    """
    check_columns("trials", trials.columns, [*by, "target_present", "error"])
    present = flags("target_present", trials["target_present"])
    wrong = flags("error", trials["error"])
    counts = trials[list(by)].assign(
        n_present=present,
        n_absent=~present,
        misses=present & wrong,
        false_alarms=~present & wrong,
    )
    table = counts.groupby(list(by)).sum().reset_index()
    n_present, n_absent = (table[c].to_numpy(float) for c in ("n_present", "n_absent"))
    misses, alarms = (table[c].to_numpy(float) for c in ("misses", "false_alarms"))
    table = table[list(by)].copy()
    parts = (("miss", misses, n_present), ("false_alarm", alarms, n_absent))
    for name, errors, n in parts:
        with np.errstate(invalid="ignore"):
            table[f"{name}_rate"] = errors / n
        low, high = wilson_interval(errors, n, level=level)
        table[f"{name}_ci_low"], table[f"{name}_ci_high"] = low, high
    sensitivity, criterion = d_prime(n_present - misses, n_present, alarms, n_absent)
    return table.assign(
        d_prime=sensitivity,
        criterion=criterion,
        n_present=n_present.astype(int),
        n_absent=n_absent.astype(int),
    )


def d_prime(
    n_hits: ArrayLike,
    n_present: ArrayLike,
    n_false_alarms: ArrayLike,
    n_absent: ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Compute sensitivity d' and criterion c with the log-linear correction.

    ``d' = z(H) - z(F)`` and ``c = -(z(H) + z(F)) / 2`` with
    ``H = (hits + 0.5) / (present + 1)`` and F alike, so that perfect scores stay
    finite; they then depend on the number of trials.

    Parameters
    ----------
    n_hits, n_present, n_false_alarms, n_absent : array-like of int, shape (...)
        Counts; hits and false alarms are parts of the trials with and without target.

    Returns
    -------
    d_prime, criterion : ndarray of float64, shape (...)
        In standard deviations; NaN where there are no trials of one kind.

    Raises
    ------
    ValueError
        If a count is negative or larger than its trials.

    References
    ----------
    Hautus (1995). Behav. Res. Methods Instrum. Comput. 27, 46-51.
    doi:10.3758/BF03203619

    Examples
    --------
    >>> sensitivity, criterion = d_prime(8, 9, 0, 9)
    >>> round(float(sensitivity), 3), round(float(criterion), 3)
    (2.681, 0.304)
    """
    z = []
    pairs = (
        ("n_hits", n_hits, n_present),
        ("n_false_alarms", n_false_alarms, n_absent),
    )
    for name, part, whole in pairs:
        k, n = np.asarray(part, np.float64), np.asarray(whole, np.float64)
        if np.any(k < 0) or np.any(k > n):
            raise ValueError(f"`{name}` must be within 0 and its number of trials.")
        z.append(stats.norm.ppf(np.where(n > 0, (k + 0.5) / (n + 1), np.nan)))
    return np.asarray(z[0] - z[1]), np.asarray(-(z[0] + z[1]) / 2)


# ---------------------------------------------------------------------- subjects


def subject_means(trials: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean reaction time of each subject in each cell.

    Parameters
    ----------
    trials : DataFrame
        Trials that count: `subject`, `task`, `target_present`, `set_size`, `rt_ms`.

    Returns
    -------
    DataFrame
        `task`, `target_present`, `set_size`, `subject`, `mean_ms`, `n_trials`, sorted.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("trials", trials.columns, [*CELL, "subject", "rt_ms"])
    cells = trials.groupby([*CELL, "subject"])["rt_ms"]
    table = cells.agg(mean_ms="mean", n_trials="size")
    return table.reset_index()


def subject_slopes(trials: pd.DataFrame) -> pd.DataFrame:
    """Fit a line of mean reaction time on set size to each subject.

    Ordinary least squares on the means of the set sizes, each with the same weight.

    Parameters
    ----------
    trials : DataFrame
        Trials that count: `subject`, `task`, `target_present`, `set_size`, `rt_ms`.

    Returns
    -------
    DataFrame
        `task`, `target_present`, `subject`, `slope_ms_per_item`, `intercept_ms`,
        `n_set_sizes`, `n_trials`, sorted. With one set size the line is NaN.

    Raises
    ------
    ValueError
        If a column is missing, there are no trials, or a value is not finite.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {
    ...         "subject": "a",
    ...         "task": "t",
    ...         "target_present": True,
    ...         "set_size": [3, 6],
    ...         "rt_ms": [530.0, 560.0],
    ...     }
    ... )
    >>> subject_slopes(trials)["slope_ms_per_item"].tolist()
    [10.0]
    """
    by = [*LINE, "subject"]
    lines = search_slopes(trials, by=by, n_bootstrap=0)
    keep = ["slope_ms_per_item", "intercept_ms", "n_set_sizes", "n_trials"]
    return lines[[*by, *keep]].sort_values(by, ignore_index=True)


def mean_slopes(
    trials: pd.DataFrame,
    *,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average the lines of the subjects, with intervals about subjects.

    Parameters
    ----------
    trials : DataFrame
        As in `subject_slopes`.
    n_bootstrap : int, default 1000
        Resamples of subjects; 0 gives no interval.
    level : float, default 0.95
        Coverage of the percentile interval.
    seed : int, default 0
        Seed; each line has its own stream.

    Returns
    -------
    DataFrame
        `task`, `target_present`, `slope_ms_per_item`, `slope_ci_low`,
        `slope_ci_high`, `intercept_ms`, `intercept_ci_low`, `intercept_ci_high`,
        `n_subjects`, sorted. Subjects without a line do not count; intervals are NaN
        with fewer than two subjects.

    Raises
    ------
    ValueError
        As `subject_slopes`.
    """
    check_between("n_bootstrap", n_bootstrap, low=0)
    rows = []
    for key, part in subject_slopes(trials).groupby(list(LINE)):
        lines = part[["slope_ms_per_item", "intercept_ms"]].dropna().to_numpy()
        row: dict[str, Any] = dict(zip(LINE, key, strict=True))
        mean = lines.mean(axis=0) if len(lines) else np.full(2, np.nan)
        draws = np.full((1, 2), np.nan)
        if n_bootstrap and len(lines):
            rng = generator(seed, "subjects", *(str(k) for k in key))
            draws = bootstrap(lines, n_bootstrap=n_bootstrap, rng=rng)
        low, high = percentile_interval(draws.T, level=level)
        names = (("slope", "slope_ms_per_item"), ("intercept", "intercept_ms"))
        for i, (name, column) in enumerate(names):
            row[column] = mean[i]
            row[f"{name}_ci_low"], row[f"{name}_ci_high"] = low[i], high[i]
        rows.append(row | {"n_subjects": len(lines)})
    return pd.DataFrame(rows)


def vincentiles(
    trials: pd.DataFrame,
    *,
    by: Sequence[str] = CELL,
    quantiles: Sequence[float] = QUANTILES,
) -> pd.DataFrame:
    """Average the quantiles of the subjects: a group distribution of their shape.

    Parameters
    ----------
    trials : DataFrame
        Trials that count: `subject`, `by` and `rt_ms`.
    by : sequence of str, default ("task", "target_present", "set_size")
        Columns that tell the cells apart.
    quantiles : sequence of float, default (0.1, 0.3, 0.5, 0.7, 0.9)
        Which quantiles, 0..1; between trials they are linear.

    Returns
    -------
    DataFrame
        One row per cell and quantile, sorted: the `by` columns, `quantile`, `rt_ms`
        (mean over subjects), `sem_ms` (NaN with one subject), `n_subjects`.

    Raises
    ------
    ValueError
        If a column is missing or a quantile is out of range.

    References
    ----------
    Ratcliff (1979). Group reaction time distributions and an analysis of distribution
    statistics. Psychol. Bull. 86, 446-461. doi:10.1037/0033-2909.86.3.446

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {
    ...         "subject": list("aabb"),
    ...         "task": "t",
    ...         "rt_ms": [400.0, 600.0, 800.0, 1000.0],
    ...     }
    ... )
    >>> vincentiles(trials, by=["task"], quantiles=[0.0, 1.0])["rt_ms"].tolist()
    [600.0, 800.0]
    """
    check_columns("trials", trials.columns, [*by, "subject", "rt_ms"])
    for quantile in quantiles:
        check_between("quantiles", quantile, low=0, high=1)
    each = trials.groupby([*by, "subject"])["rt_ms"].quantile(np.asarray(quantiles))
    each.index = each.index.set_names("quantile", level=-1)
    table = each.groupby([*by, "quantile"]).agg(["mean", "sem", "count"])
    table.columns = pd.Index(["rt_ms", "sem_ms", "n_subjects"])
    return table.reset_index()


def flags(name: str, values: pd.Series) -> NDArray[np.bool_]:
    """Return a column of 0 and 1, or of booleans, as booleans.

    Parameters
    ----------
    name : str
        Name of the column for the message.
    values : Series
        The column.

    Returns
    -------
    ndarray of bool, shape (n_trials,)
        Whether each value is 1 or True.

    Raises
    ------
    ValueError
        If a value is neither.
    """
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    if not np.isin(numbers, (0, 1)).all():
        wrong = numbers[~np.isin(numbers, (0, 1))][0]
        raise ValueError(f"`{name}` must be 0 or 1 in every trial; got {wrong!r}.")
    return np.asarray(numbers == 1)
