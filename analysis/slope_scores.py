"""The score table of a search-slope experiment, searchers beside people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.search_slopes import (
    QUITTING_RULES,
    check_searches,
    halve_displays,
    human_miss_rates,
    slope_ratio,
)
from analysis.slope_people import (
    People,
    measure_people,
    sample_people,
    split_half_agreement,
)
from analysis.slope_samples import (
    CELL_METRICS,
    PAIR_METRICS,
    CellSamples,
    design_cells,
    fit_lines,
    sample_searcher,
)
from analysis.stats import pearson_r, percentile_interval, wilson_interval
from neurovis.core.checks import check_between, check_columns, check_option
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS

FloatArray = NDArray[np.float64]

EXTRA_COLUMNS = (
    "search_task",
    "target_present",
    "set_size",
    "rule",
    "human_value",
    "untrained",
    "note",
)
"""Columns of `slope_scores` after those of every score table."""

TASK = "search-slopes"
HUMAN_SUBJECT = "human mean"
UNITS = {
    "mean_rt_ms": "ms",
    "error_rate": "share",
    "d_prime": "sd",
    "ks_to_human": "share",
    "wasserstein_to_human_ms": "ms",
    "exgaussian_mu_ms": "ms",
    "exgaussian_sigma_ms": "ms",
    "exgaussian_tau_ms": "ms",
    "quitting_limit": "fixations",
    "slope_ms_per_item": "ms/item",
    "intercept_ms": "ms",
    "slope_ratio": "ratio",
    "rt_pearson_r": "r",
    "rt_rmse_ms": "ms",
    "slope_pearson_r": "r",
    "slope_rmse_ms_per_item": "ms/item",
}
"""Unit of each metric."""

_CEILING = "split halves of the subjects; high: corrected to all subjects"
_NO_ALARMS = "no false alarms by construction"
_NO_FIT = "undefined: fewer than 10 times, or fewer than 3 distinct ones"
_NO_RATIO = "undefined: slope with a target not above 0"
_ONE_TO_OTHERS = "one subject to all others, mean over subjects"
_HALVES = "one half of the subjects to the other"


def slope_scores(
    trials: pd.DataFrame,
    human: pd.DataFrame,
    *,
    rules: Sequence[str] = QUITTING_RULES,
    stimuli: str = TASK,
    low_ms: float = 200,
    high_ms: float = 10_000,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Score searchers in search-slope experiments, people included.

    Parameters
    ----------
    trials : DataFrame
        Trials of searchers that do not give up (see `analysis.search_slopes`), with
        `model` and `untrained` (bool).
    human : DataFrame
        Trials of people (see `analysis.reaction_times`). Only cells (task, set size,
        presence) that `trials` has are used.
    rules : sequence of str, default ("exhaustive", "matched_misses")
        Quitting rules; each searcher is scored under each of them.
    stimuli : str, default "search-slopes"
        Name of the stimulus set.
    low_ms, high_ms : float, default 200 and 10000
        Filter of the reaction times of people; wrong answers are left out too. Times
        of searchers are not filtered, only misses are left out.
    n_bootstrap : int, default 1000
        Resamples; 0 gives no intervals.
    level : float, default 0.95
        Coverage of the intervals.
    seed : int, default 0
        Seed of halves, splits and resamples.

    Returns
    -------
    DataFrame
        One row per observer, rule, condition and metric: the columns of
        `neurovis.core.types.SCORE_COLUMNS`, then `EXTRA_COLUMNS`. People come first,
        without a `rule`. `condition` is "feature/present/n=3" for a cell,
        "feature/n=3" for d' and the quitting limit, "feature/present" for a line,
        "feature" for a slope ratio (absent by present), and "all", "present" or
        "absent" (cells) for an agreement. `human_value` is the value of people for
        the same metric and condition; `n` counts subjects or displays (agreements:
        cells or lines).

    Raises
    ------
    ValueError
        If a column is missing, a rule is unknown, a subject has two models or the
        label of people, or people have no trials in a cell.

    Notes
    -----
    A value of people is a mean over subjects and its interval resamples subjects. A
    value of a searcher comes from its displays and its interval resamples displays,
    each time with new quitting limits; the interval of a miss rate is Wilson's. Both
    are about one side: intervals of agreements and distances take the numbers of
    people as fixed, miss rates of people included. A limit is an order statistic:
    where people miss less than the displays can tell, it is the longest search, and
    its resamples can only be shorter.

    Distances (`ks_to_human`, `wasserstein_to_human_ms`) of a searcher are to the
    trials of all subjects; those of people are of one subject to all others. The
    value of people for an agreement is that of random halves of the subjects. Its
    correlation r is the low ceiling; the high one, sqrt(2 r / (1 + r)), is what the
    true means would reach with those of all subjects (Spearman-Brown).

    Examples
    --------
    >>> cells = pd.DataFrame({"task": "t", "set_size": [3, 3, 6, 6]})
    >>> cells["target_present"] = [True, False, True, False]
    >>> trials = cells.assign(
    ...     subject="m", model="m", untrained=False, stimulus_id=list("abcd")
    ... ).assign(n_fixations=[1, 3, 2, 6], found=cells["target_present"])
    >>> human = cells.assign(subject=1, error=0, rt_ms=[500, 600, 530, 660])
    >>> table = slope_scores(trials, human, rules=["exhaustive"], n_bootstrap=0)
    >>> slopes = table.query("metric == 'slope_ms_per_item'")
    >>> slopes[["subject", "condition", "value"]].round(1).to_numpy().tolist()[:2]
    [['human mean', 't/present', 10.0], ['human mean', 't/absent', 20.0]]
    """
    check_columns("trials", trials.columns, ["model", "untrained"])
    check_searches(trials)
    check_between("n_bootstrap", n_bootstrap, low=0)
    check_between("level", level, low=0, high=1)
    for rule in rules:
        check_option("rules", rule, QUITTING_RULES)
    observers = _observers(trials)
    cells = design_cells(trials)
    people = measure_people(human, cells, low_ms=low_ms, high_ms=high_ms)
    sampling: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed}
    samples = sample_people(people, **sampling)
    halves = split_half_agreement(people, seed=seed)
    parts = [
        _numbers(samples, level).assign(subject=HUMAN_SUBJECT),
        _human_agreement(people, halves).assign(subject=HUMAN_SUBJECT),
    ]
    misses = human_miss_rates(human).set_index(["task", "set_size"])["miss_rate"]
    halved = trials.assign(half=halve_displays(trials, seed=seed))
    for rule in rules:
        rates: Any = misses.to_dict() if rule == "matched_misses" else None
        for subject, part in halved.groupby("subject", sort=False):
            own = sample_searcher(
                part, cells, people.rt_ms, miss_rates=rates, **sampling
            )
            rows = _wilson_errors(_numbers(own, level, add="sum"), level)
            tables = (rows, _agreement(own, samples, level))
            parts += [t.assign(subject=subject, rule=rule) for t in tables]
    scores = pd.concat([p for p in parts if len(p)], ignore_index=True)
    scores = scores.merge(observers, on="subject", how="left", validate="many_to_one")
    return _complete(_add_human(scores, halves), stimuli, seed)


def _observers(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per subject with its model, people first."""
    columns = ["subject", "model", "untrained"]
    observers = trials[columns].drop_duplicates(ignore_index=True)
    repeated = observers["subject"][observers["subject"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"`trials` has the subject {repeated.iloc[0]!r} with more than one `model` "
            "or `untrained`: give each observer its own label."
        )
    if (observers["subject"] == HUMAN_SUBJECT).any():
        raise ValueError(
            f"`trials` has the subject {HUMAN_SUBJECT!r}, which is the label of "
            "people: give the observer another label."
        )
    people = {"subject": HUMAN_SUBJECT, "model": HUMAN_MODEL, "untrained": False}
    return pd.concat([pd.DataFrame([people]), observers], ignore_index=True)


# ------------------------------------------------------------------ one observer


def _numbers(samples: CellSamples, level: float, *, add: str = "max") -> pd.DataFrame:
    """Rows of cells, lines and slope ratios.

    `add` says how the units of cells come together in a line: displays are summed,
    subjects are the same ones.
    """
    cells = samples.cells.rename(columns={"task": "search_task"}).assign(n=samples.n)
    presence = np.where(cells["target_present"], "present", "absent")
    size = "/n=" + cells["set_size"].astype(str)
    parts = []
    for metric in CELL_METRICS:
        condition = cells["search_task"] + "/" + presence + size
        rows = cells.assign(metric=metric, condition=condition)
        rows = _with_interval(rows, samples.numbers[metric], level)
        if metric in PAIR_METRICS:
            rows = rows.assign(condition=cells["search_task"] + size)
            rows = rows[cells["target_present"]].drop(columns="target_present")
        unknown = metric == "quitting_limit" and rows["value"].isna().all()
        parts += [] if unknown else [rows]
    lines, slope, intercept = fit_lines(samples.cells, samples.numbers["mean_rt_ms"])
    lines = lines.rename(columns={"task": "search_task"})
    groups = cells.groupby(["search_task", "target_present"], sort=False)
    lines["n"] = groups["n"].agg(add).to_numpy()
    where = np.where(lines["target_present"], "present", "absent")
    for metric, fits in (("slope_ms_per_item", slope), ("intercept_ms", intercept)):
        rows = lines.assign(metric=metric, condition=lines["search_task"] + "/" + where)
        parts.append(_with_interval(rows, fits, level))
    parts.append(_ratio_rows(lines, slope, level, add))
    return pd.concat(parts, ignore_index=True)


def _with_interval(rows: pd.DataFrame, fits: FloatArray, level: float) -> pd.DataFrame:
    """Add value (first column) and interval (the others) to rows."""
    low, high = percentile_interval(fits[:, 1:], level=level)
    return rows.assign(value=fits[:, 0], ci_low=low, ci_high=high)


def _ratio_rows(
    lines: pd.DataFrame, slope: FloatArray, level: float, add: str
) -> pd.DataFrame:
    """Rows of the slopes without by the slopes with a target."""
    tasks, ratios = [], []
    for task, rows in lines.groupby("search_task", sort=False):
        there = rows["target_present"].to_numpy(bool)
        if there.any() and not there.all():
            index = rows.index.to_numpy()
            tasks.append(
                {"search_task": task, "condition": task, "n": rows["n"].agg(add)}
            )
            ratios.append(slope_ratio(slope[index[~there][0]], slope[index[there][0]]))
    if not tasks:
        return pd.DataFrame()
    table = pd.DataFrame(tasks).assign(metric="slope_ratio")
    return _with_interval(table, np.stack(ratios), level)


def _wilson_errors(rows: pd.DataFrame, level: float) -> pd.DataFrame:
    """Give miss rates intervals that do not collapse when all displays agree."""
    misses = (rows["metric"] == "error_rate") & rows["target_present"].eq(True)
    n, rate = rows["n"].where(misses, 0), rows["value"].where(misses, 0.0)
    known = rate.notna()
    k = np.rint((rate * n).where(known, 0.0))
    low, high = wilson_interval(k, n.where(known, 0), level=level)
    return rows.assign(
        ci_low=np.where(misses, low, rows["ci_low"]),
        ci_high=np.where(misses, high, rows["ci_high"]),
    )


# -------------------------------------------------------------------- agreement


def _groups(cells: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Cells over which mean times are compared."""
    there = cells["target_present"].to_numpy(bool)
    groups = {"all": np.ones(len(cells), bool), "present": there, "absent": ~there}
    return {name: rows for name, rows in groups.items() if rows.any()}


def _agreement(samples: CellSamples, people: CellSamples, level: float) -> pd.DataFrame:
    """Rows that compare means and slopes with those of people."""
    metric = "mean_rt_ms"
    mine, theirs = samples.numbers[metric], people.numbers[metric][:, :1]
    pairs = [
        ("rt_pearson_r", "rt_rmse_ms", name, mine[rows], theirs[rows])
        for name, rows in _groups(samples.cells).items()
    ]
    slopes = [fit_lines(samples.cells, values)[1] for values in (mine, theirs)]
    names = ("slope_pearson_r", "slope_rmse_ms_per_item", "all")
    pairs.append((*names, slopes[0], slopes[1]))
    parts = []
    for r_name, rmse_name, condition, own, other in pairs:
        r = pearson_r(own.T, other.T)
        rmse = np.sqrt(np.mean((own - other) ** 2, axis=0))
        rows = pd.DataFrame(
            {"metric": [r_name, rmse_name], "condition": condition, "n": len(own)}
        )
        parts.append(_with_interval(rows, np.stack([r, rmse]), level))
    return pd.concat(parts, ignore_index=True)


def _human_agreement(
    people: People, halves: dict[str, tuple[float, float]]
) -> pd.DataFrame:
    """Rows of the agreement between halves of the subjects."""
    counts = {name: int(rows.sum()) for name, rows in _groups(people.cells).items()}
    rows = []
    for name, n in counts.items():
        r, rmse = halves[name]
        rows += [("rt_pearson_r", name, r, n), ("rt_rmse_ms", name, rmse, n)]
    n_lines = len(people.cells[["task", "target_present"]].drop_duplicates())
    r, rmse = halves["slope"]
    rows.append(("slope_pearson_r", "all", r, n_lines))
    rows.append(("slope_rmse_ms_per_item", "all", rmse, n_lines))
    return pd.DataFrame(rows, columns=["metric", "condition", "value", "n"])


# ------------------------------------------------------------------------- table


def _add_human(
    scores: pd.DataFrame, halves: dict[str, tuple[float, float]]
) -> pd.DataFrame:
    """Put the value of people beside each row, and ceilings beside correlations."""
    keys = ["metric", "condition"]
    human = scores[scores["subject"] == HUMAN_SUBJECT]
    known = human[[*keys, "value"]].rename(columns={"value": "human_value"})
    scores = scores.merge(known, on=keys, how="left", validate="many_to_one")
    is_r = scores["metric"].str.endswith("_pearson_r") & (
        scores["subject"] != HUMAN_SUBJECT
    )
    names = scores["condition"].where(scores["metric"] != "slope_pearson_r", "slope")
    r = np.array([halves[name][0] if name in halves else np.nan for name in names])
    low = np.where(is_r, r, np.nan)
    high = np.sqrt(np.where(low > 0, 2 * low / (1 + low), np.nan))
    return scores.assign(
        ceiling_low=low,
        ceiling_high=high,
        value_over_ceiling=scores["value"] / high,
        ceiling_kind=pd.Series(_CEILING, scores.index, dtype="str").where(is_r),
    )


def _notes(scores: pd.DataFrame) -> pd.Series:
    """Say what a reader must know of single rows."""
    metric, people = scores["metric"], scores["subject"] == HUMAN_SUBJECT
    undefined = scores["value"].isna()
    distance = metric.isin(["ks_to_human", "wasserstein_to_human_ms"])
    agreement = metric.str.contains("pearson_r|rmse")
    alarms = metric.isin(["error_rate", "d_prime"]) & ~(
        scores["target_present"].fillna(False).astype(bool)
    )
    cases = [
        (undefined & metric.str.startswith("exgaussian"), _NO_FIT),
        (undefined & (metric == "slope_ratio"), _NO_RATIO),
        (alarms & ~people, _NO_ALARMS),
        (distance & people, _ONE_TO_OTHERS),
        (agreement & people, _HALVES),
    ]
    note = np.select([rows for rows, _ in cases], [text for _, text in cases], "")
    untrained = np.where(scores["untrained"], "untrained weights", "")
    separator = np.where((note != "") & (untrained != ""), "; ", "")
    return pd.Series(note, scores.index) + separator + untrained


def _complete(scores: pd.DataFrame, stimuli: str, seed: int) -> pd.DataFrame:
    """Fill what all rows share, and put rows and columns in order."""
    empty = pd.array([None] * len(scores), dtype="str")
    scores = scores.reindex(columns=[*scores.columns.union(["rule"])])
    scores = scores.assign(
        stimuli=stimuli,
        task=TASK,
        region=empty,
        layer=empty,
        seed=seed,
        unit=[UNITS[metric] for metric in scores["metric"]],
        target_present=scores["target_present"].astype("boolean"),
        set_size=scores["set_size"].astype("Int64"),
        n=scores["n"].astype("Int64"),
        rule=scores["rule"].astype("str"),
        untrained=scores["untrained"].astype(bool),
        note=_notes(scores),
    )
    rank = {s: i for i, s in enumerate(scores["subject"].unique())}
    order = scores["subject"].map(rank).sort_values(kind="stable").index
    columns = [*SCORE_COLUMNS, *EXTRA_COLUMNS]
    return scores.loc[order, columns].reset_index(drop=True)
