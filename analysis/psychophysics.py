"""Search slopes, condition means and asymmetry from tables of trials.

A trial table has one row per trial with `set_size` (items) and `rt_ms` (ms); other
columns say who searched for what. Times are in milliseconds, slopes in milliseconds
per item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.stats import bootstrap, percentile_interval
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_option,
)
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

FIXATION_MS = 252.359
"""Time per fixation after the initial one, in ms (Gupta et al. 2021)."""

RESIDUAL_MS = 376.271
"""Time of a search that does not depend on fixations, in ms (Gupta et al. 2021)."""

# Rounding of means of equal numbers must not pass for a slope: a change over the
# range of set sizes below this part of the mean RT is no change.
_ROUNDING = 1e-12


def fixations_to_rt_ms(n_fixations: ArrayLike) -> FloatArray:
    """Convert fixation counts to reaction times: ``252.359 n + 376.271``.

    Parameters
    ----------
    n_fixations : array-like of float, shape (...)
        Fixations after the initial one, >= 0.

    Returns
    -------
    ndarray of float64, shape (...)
        Reaction times in ms.

    Raises
    ------
    ValueError
        If a count is negative.

    References
    ----------
    Gupta et al. (2021), NeurIPS 34, arXiv:2106.02953; they fitted the line to people
    who looked for a T among Ls while their eyes were tracked.

    Examples
    --------
    >>> fixations_to_rt_ms([0, 1]).tolist()
    [376.271, 628.63]
    """
    count = np.asarray(n_fixations, np.float64)
    if np.any(count < 0):
        raise ValueError(
            f"`n_fixations` counts fixations after the initial one and must be >= 0; "
            f"got {np.nanmin(count):g}."
        )
    return FIXATION_MS * count + RESIDUAL_MS


def condition_means(
    trials: pd.DataFrame,
    *,
    by: Sequence[str] = ("subject", "condition"),
    value: str = "rt_ms",
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average the trials of each condition and set size.

    Parameters
    ----------
    trials : DataFrame
        One row per trial, with `by`, `set_size` and `value`.
    by : sequence of str, default ("subject", "condition")
        Columns that tell the conditions of each observer apart.
    value : str, default "rt_ms"
        Column to average; must be finite. Leave out what must not count, such as
        wrong answers, before the call.
    n_bootstrap : int, default 1000
        Resamples of trials; 0 gives no interval.
    level : float, default 0.95
        Coverage of the percentile interval.
    seed : int, default 0
        Seed; each cell has its own stream, so other cells do not matter.

    Returns
    -------
    DataFrame
        One row per cell, in the order of first appearance with set sizes sorted: the
        `by` columns, `set_size`, `mean`, `sem` (standard deviation with divisor n,
        over the square root of n, as published), `ci_low`, `ci_high` (NaN with fewer
        than two trials) in the unit of `value`, and `n_trials`.

    Raises
    ------
    ValueError
        If a column is missing, there are no trials, or a value is not finite.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"subject": "a", "condition": "T", "set_size": 3, "rt_ms": [500.0, 700.0]}
    ... )
    >>> row = condition_means(table).iloc[0]
    >>> float(row["mean"]), round(float(row["sem"]), 3)
    (600.0, 70.711)
    """
    cells, draws = _cell_draws(trials, by, value, n_bootstrap, seed)
    low, high = percentile_interval(draws, level=level)
    return cells.assign(ci_low=low, ci_high=high)[
        [*by, "set_size", "mean", "sem", "ci_low", "ci_high", "n_trials"]
    ]


def search_slopes(
    trials: pd.DataFrame,
    *,
    by: Sequence[str] = ("subject", "condition"),
    value: str = "rt_ms",
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit a line to the mean reaction time as a function of set size.

    Ordinary least squares on the means of the set sizes, each with the same weight.

    Parameters
    ----------
    trials : DataFrame
        One row per trial (or one row per mean), with `by`, `set_size` and `value`.
    by : sequence of str, default ("subject", "condition")
        Columns that tell the lines apart.
    value : str, default "rt_ms"
        Column to fit, in ms.
    n_bootstrap : int, default 1000
        Resamples of trials within each set size; 0 gives no interval.
    level : float, default 0.95
        Coverage of the percentile interval.
    seed : int, default 0
        Seed; each cell has its own stream, so other cells do not matter.

    Returns
    -------
    DataFrame
        One row per line, in the order of first appearance: the `by` columns,
        `slope_ms_per_item`, `slope_ci_low`, `slope_ci_high`, `slope_se`,
        `intercept_ms`, `intercept_ci_low`, `intercept_ci_high`, `n_set_sizes` and
        `n_trials`. With one set size the line is NaN; with one trial at any set size
        the interval is.

    Raises
    ------
    ValueError
        If a column is missing, there are no trials, or a value is not finite.

    Notes
    -----
    Two sources of doubt are kept apart. The interval is about trials: how far the
    line would move with other trials of the same displays and set sizes. `slope_se`
    is the classical standard error of the line through the means, with n_set_sizes -
    2 degrees of freedom: how far the means are from a line. It needs three set sizes.
    The interval has no width when all trials of each set size agree, as those of a
    deterministic model may.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"subject": "a", "condition": "T", "set_size": [3, 6], "rt_ms": [541, 583]}
    ... )
    >>> float(search_slopes(table)["slope_ms_per_item"].iloc[0])
    14.0
    """
    table, slope_draws, intercept_draws = _slopes(trials, by, value, n_bootstrap, seed)
    for name, draws in (("slope", slope_draws), ("intercept", intercept_draws)):
        low, high = percentile_interval(draws, level=level)
        table = table.assign(**{f"{name}_ci_low": low, f"{name}_ci_high": high})
    return table[
        [
            *by,
            "slope_ms_per_item",
            "slope_ci_low",
            "slope_ci_high",
            "slope_se",
            "intercept_ms",
            "intercept_ci_low",
            "intercept_ci_high",
            "n_set_sizes",
            "n_trials",
        ]
    ]


def bootstrap_slopes(
    trials: pd.DataFrame,
    *,
    by: Sequence[str] = ("subject", "condition"),
    value: str = "rt_ms",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> FloatArray:
    """Draw the slopes whose percentiles `search_slopes` gives.

    Parameters
    ----------
    trials : DataFrame
        As in `search_slopes`.
    by : sequence of str
        As in `search_slopes`.
    value : str
        As in `search_slopes`.
    n_bootstrap : int
        As in `search_slopes`.
    seed : int
        As in `search_slopes`.

    Returns
    -------
    ndarray of float64, shape (n_lines, n_bootstrap)
        Slopes in ms per item, rows in the order of `search_slopes`.

    Raises
    ------
    ValueError
        As in `search_slopes`.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"subject": "a", "condition": "T", "set_size": [3, 3, 6, 6], "rt_ms": 500.0}
    ... )
    >>> bootstrap_slopes(table, n_bootstrap=2).tolist()
    [[0.0, 0.0]]
    """
    return _slopes(trials, by, value, n_bootstrap, seed)[1]


def asymmetry_index(
    slope_harder: ArrayLike, slope_easier: ArrayLike, *, undefined: str = "nan"
) -> FloatArray:
    """Compute the asymmetry of two search slopes: ``(h - e) / (h + e)``.

    Slopes below 0 count as 0, so the index is within -1..1. It is positive when the
    condition that is harder for people is harder for the observer too.

    Parameters
    ----------
    slope_harder, slope_easier : array-like of float, shape (...)
        Slopes in ms per item; "harder" is the condition with the larger slope of
        people.
    undefined : {"nan", "zero"}, default "nan"
        Value when neither slope is above 0. Both searches are then as efficient as
        can be and the ratio has no value: NaN, the default. The published indices
        have 0 there; take "zero" to reproduce them or to average as they did.

    Returns
    -------
    ndarray of float64, shape (...)
        Asymmetry indices; NaN where a slope is NaN.

    Raises
    ------
    ValueError
        If `undefined` is another word.

    References
    ----------
    Gupta et al. (2021), NeurIPS 34, arXiv:2106.02953.

    Examples
    --------
    >>> asymmetry_index([30.0, 10.0, -1.0], [10.0, -5.0, 0.0]).tolist()
    [0.5, 1.0, nan]
    """
    check_option("undefined", undefined, ("nan", "zero"))
    harder = np.maximum(np.asarray(slope_harder, np.float64), 0)
    easier = np.maximum(np.asarray(slope_easier, np.float64), 0)
    total = harder + easier
    with np.errstate(invalid="ignore"):
        index = (harder - easier) / total
    fill = 0.0 if undefined == "zero" else np.nan
    return np.where(total == 0, fill, index)


@dataclass(frozen=True)
class FTest:
    """Outcome of an F test of two nested linear models.

    Parameters
    ----------
    f : float
        F statistic; NaN where undefined, infinite when the larger model fits exactly.
    df_numerator, df_denominator : int
        Degrees of freedom.
    p_value : float
        Upper tail probability.
    """

    f: float
    df_numerator: int
    df_denominator: int
    p_value: float


def nested_f_test(set_size: ArrayLike, rt_ms: ArrayLike, task: ArrayLike) -> FTest:
    """Test whether two search tasks have different lines, over trials.

    ``RT ~ 1 + set_size`` is compared with ``RT ~ 1 + set_size + task + set_size:task``
    by ordinary least squares, so the numerator has two degrees of freedom.

    Parameters
    ----------
    set_size : array-like of float, shape (n_trials,)
        Items in the display.
    rt_ms : array-like of float, shape (n_trials,)
        Reaction times in ms.
    task : array-like, shape (n_trials,)
        Which of two tasks; any two labels.

    Returns
    -------
    FTest
        NaN when a line is not determined (a task with one set size), with fewer than
        five trials, or when no trial differs from one common line.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, or there are not two tasks.

    Notes
    -----
    The test takes the spread of trials to be normal and equal in all cells. Fixation
    counts are neither, so small p values are orders of magnitude rather than odds.

    Examples
    --------
    >>> result = nested_f_test([1, 2, 3, 1, 2, 3], [1, 2, 4, 6, 5, 7], list("aaabbb"))
    >>> round(result.f, 3), result.df_numerator, result.df_denominator
    (12.7, 2, 2)
    """
    y = check_array("rt_ms", np.asarray(rt_ms, np.float64), finite=True)
    x = np.asarray(set_size, np.float64)
    check_array("set_size", x, shape=y.shape, finite=True)
    labels = check_array("task", np.asarray(task), shape=y.shape)
    kinds = np.unique(labels)
    if len(kinds) != 2:
        raise ValueError(
            f"`task` must have two labels; got {len(kinds)}: {list(kinds[:5])}."
        )
    second = (labels == kinds[1]).astype(np.float64)
    full = np.column_stack([np.ones_like(x), x, second, second * x])
    df = len(y) - 4
    if df < 1 or np.linalg.matrix_rank(full) < 4:
        return FTest(np.nan, 2, max(df, 0), np.nan)
    restricted_ss, full_ss = _residual_ss(full[:, :2], y), _residual_ss(full, y)
    if restricted_ss == 0:
        return FTest(np.nan, 2, df, np.nan)
    if full_ss == 0:
        return FTest(np.inf, 2, df, 0.0)
    f = (restricted_ss - full_ss) / 2 / (full_ss / df)
    return FTest(float(f), 2, df, float(stats.f.sf(f, 2, df)))


def _residual_ss(design: FloatArray, y: FloatArray) -> float:
    """Residual sum of squares; 0 when it is no more than rounding."""
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    total = float(residual @ residual)
    return total if total > (_ROUNDING**2) * float(y @ y) else 0.0


def _cell_draws(
    trials: pd.DataFrame,
    by: Sequence[str],
    value: str,
    n_bootstrap: int,
    seed: int,
) -> tuple[pd.DataFrame, FloatArray]:
    """Means of the cells and their bootstrap draws, shape (n_cells, n_bootstrap).

    Cells are in the order of first appearance of their line, set sizes sorted.
    """
    check_columns("trials", trials.columns, [*by, "set_size", value])
    check_between("n_bootstrap", n_bootstrap, low=0)
    if trials.empty:
        raise ValueError("`trials` has no rows: at least one trial is needed.")
    keys = [*by, "set_size"]
    numbers = trials[["set_size", value]].to_numpy(np.float64)
    if not np.isfinite(numbers).all() or trials[keys].isna().any(axis=None):
        raise ValueError(
            f"`trials` has undefined values in {[*keys, value]}. Leave those trials "
            "out, or fill them, before the call."
        )
    line = trials.groupby(list(by), sort=False).ngroup().to_numpy()
    sizes, measured = numbers.T
    # Rows of a cell stand together, in their order.
    order = np.lexsort((sizes, line))
    changes = (np.diff(line[order]) != 0) | (np.diff(sizes[order]) != 0)
    starts = np.r_[0, np.flatnonzero(changes) + 1]
    firsts = trials[keys].iloc[order[starts]].to_numpy().tolist()
    rows, draws = [], []
    for names, places in zip(firsts, np.split(order, starts[1:]), strict=True):
        first = dict(zip(keys, names, strict=True))
        values = measured[places]
        n = len(values)
        mean = values[0] if np.ptp(values) == 0 else values.mean()
        sem = values.std() / np.sqrt(n)
        rows.append(first | {"mean": mean, "sem": sem, "n_trials": n})
        if n_bootstrap:
            identity = [str(first[c]) for c in by] + [f"{first['set_size']:g}"]
            rng = generator(seed, "bootstrap", *identity)
            draws.append(bootstrap(values, n_bootstrap=n_bootstrap, rng=rng))
    if not n_bootstrap:
        return pd.DataFrame(rows), np.full((len(rows), 1), np.nan)
    return pd.DataFrame(rows), np.stack(draws)


def _slopes(
    trials: pd.DataFrame,
    by: Sequence[str],
    value: str,
    n_bootstrap: int,
    seed: int,
) -> tuple[pd.DataFrame, FloatArray, FloatArray]:
    """Lines with their bootstrap slopes and intercepts, each (n_lines, n_bootstrap)."""
    cells, draws = _cell_draws(trials, by, value, n_bootstrap, seed)
    # Cells of a line stand together.
    number = np.asarray(cells.groupby(list(by), sort=False).ngroup())
    starts = np.r_[0, np.flatnonzero(np.diff(number)) + 1]
    firsts = np.asarray(cells[list(by)].iloc[starts]).tolist()
    sizes = np.asarray(cells["set_size"], np.float64)
    of_cells = np.asarray(cells["mean"], np.float64)
    counts = np.asarray(cells["n_trials"])
    rows, slopes, intercepts = [], [], []
    for names, places in zip(
        firsts, np.split(np.arange(len(cells)), starts[1:]), strict=True
    ):
        x, means = sizes[places], of_cells[places]
        # The line of the means and those of all resamples in one go.
        slope, intercept = _fit_lines(x, np.vstack([means, draws[places].T]))
        rows.append(
            dict(zip(by, names, strict=True))
            | {
                "slope_ms_per_item": slope[0],
                "intercept_ms": intercept[0],
                "slope_se": _slope_se(x, means, slope[0], intercept[0]),
                "n_set_sizes": len(x),
                "n_trials": int(counts[places].sum()),
            }
        )
        slopes.append(slope[1:])
        intercepts.append(intercept[1:])
    return pd.DataFrame(rows), np.stack(slopes), np.stack(intercepts)


def _fit_lines(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least-squares slope and intercept of each row of y, shape (n_rows,)."""
    if len(x) < 2:
        undefined = np.full(len(y), np.nan)
        return undefined, undefined
    centred = x - x.mean()
    slope = y @ centred / (centred @ centred)
    scale = np.abs(y).max(axis=1)
    slope[np.abs(slope) * np.ptp(x) <= _ROUNDING * scale] = 0.0
    return slope, y.mean(axis=1) - slope * x.mean()


def _slope_se(x: FloatArray, y: FloatArray, slope: float, intercept: float) -> float:
    """Classical standard error of a slope; NaN with fewer than three points."""
    if len(x) < 3:
        return float("nan")
    residual = y - intercept - slope * x
    centred = x - x.mean()
    return float(np.sqrt(residual @ residual / (len(x) - 2) / (centred @ centred)))
