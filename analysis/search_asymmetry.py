"""Search asymmetry: whether models find hard what people find hard.

Six experiments of two conditions each (Gupta et al. 2021). People are given as a
table of mean reaction times, one row per condition and set size; observers as tables
of trials. From both come indices of asymmetry, agreement with people, and scores.

References
----------
Gupta, Zhang, Wu, Wolfe and Kreiman (2021). Visual search asymmetry: deep nets and
humans share similar inherent biases. NeurIPS 34. arXiv:2106.02953.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.psychophysics import (
    asymmetry_index,
    nested_f_test,
    search_slopes,
)
from analysis.stats import (
    jackknife_pearson_ci,
    pearson_p,
    pearson_r,
    percentile_interval,
    permutation_test,
    spearman_r,
)
from neurovis.core.checks import check_array, check_columns
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

_LINE = ("subject", "experiment", "condition")


def human_slopes(human: pd.DataFrame) -> pd.DataFrame:
    """Fit the lines of people through their mean reaction times.

    Parameters
    ----------
    human : DataFrame
        One row per condition and set size: `experiment`, `condition`, `set_size`
        (items) and `rt_ms` (ms).

    Returns
    -------
    DataFrame
        One row per condition: `experiment`, `condition`, `slope_ms_per_item`,
        `intercept_ms`.

    Raises
    ------
    ValueError
        If a column is missing or a value is not finite.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "experiment": 4,
    ...         "condition": "Ts",
    ...         "set_size": [3, 6],
    ...         "rt_ms": [541, 583],
    ...     }
    ... )
    >>> float(human_slopes(table)["slope_ms_per_item"].iloc[0])
    14.0
    """
    lines = search_slopes(human, by=("experiment", "condition"), n_bootstrap=0)
    return lines[["experiment", "condition", "slope_ms_per_item", "intercept_ms"]]


def asymmetry_indices(
    slopes: pd.DataFrame,
    human: pd.DataFrame,
    *,
    draws: FloatArray | None = None,
    level: float = 0.95,
    undefined: str = "nan",
) -> pd.DataFrame:
    """Compute the asymmetry index of each observer in each experiment.

    Parameters
    ----------
    slopes : DataFrame
        One row per line, as from `search_slopes`: `subject`, `experiment`,
        `condition`, `slope_ms_per_item`.
    human : DataFrame
        The lines of people, as from `human_slopes`, two per experiment. They decide
        which condition is the harder one.
    draws : ndarray of float64, shape (n_lines, n_bootstrap), optional
        Slopes as from `bootstrap_slopes`, rows as in `slopes`; without them there is
        no interval.
    level : float, default 0.95
        Coverage of the percentile interval.
    undefined : {"nan", "zero"}, default "nan"
        As in `analysis.psychophysics.asymmetry_index`.

    Returns
    -------
    DataFrame
        One row per observer and experiment: `subject`, `experiment`, `harder`,
        `easier` (conditions), `asymmetry_index`, `ci_low`, `ci_high`. NaN where one
        of the two lines is missing or not determined.

    Raises
    ------
    ValueError
        If an experiment of people has not two conditions, or equal slopes.

    Notes
    -----
    Slopes below 0 count as 0 in every resample, so an index near 1 or -1 has an
    interval that ends there and may have no width.

    Examples
    --------
    >>> human = pd.DataFrame(
    ...     {"experiment": 4, "condition": ["Ts", "Ls"], "slope_ms_per_item": [14, 33]}
    ... )
    >>> model = human.assign(subject="a", slope_ms_per_item=[10.0, 30.0])
    >>> asymmetry_indices(model, human)["asymmetry_index"].tolist()
    [0.5]
    """
    table, index_draws = _indices(slopes, human, draws, undefined)
    low, high = percentile_interval(index_draws, level=level)
    return table.assign(ci_low=low, ci_high=high)


def mean_asymmetry_indices(
    slopes: pd.DataFrame,
    human: pd.DataFrame,
    *,
    draws: FloatArray | None = None,
    level: float = 0.95,
    undefined: str = "zero",
) -> pd.DataFrame:
    """Average the asymmetry index of each observer over its experiments.

    Parameters
    ----------
    slopes : DataFrame
        As in `asymmetry_indices`.
    human : DataFrame
        As in `asymmetry_indices`.
    draws : ndarray of float64, shape (n_lines, n_bootstrap), optional
        As in `asymmetry_indices`.
    level : float, default 0.95
        As in `asymmetry_indices`.
    undefined : {"zero", "nan"}, default "zero"
        By default an undefined index counts as 0, as in the published means with
        which these are compared; with "nan" it makes the mean undefined.

    Returns
    -------
    DataFrame
        One row per observer: `subject`, `mean_asymmetry_index`, `ci_low`, `ci_high`,
        `n_experiments`, and `n_undefined`, how many of them have no index.

    Raises
    ------
    ValueError
        As in `asymmetry_indices`.

    Notes
    -----
    The interval is about trials; the experiments are taken as they are.

    Examples
    --------
    >>> human = pd.DataFrame(
    ...     {"experiment": 4, "condition": ["Ts", "Ls"], "slope_ms_per_item": [14, 33]}
    ... )
    >>> model = human.assign(subject="a", slope_ms_per_item=[10.0, 30.0])
    >>> mean_asymmetry_indices(model, human)["mean_asymmetry_index"].tolist()
    [0.5]
    """
    table, index_draws = _indices(slopes, human, draws, undefined)
    strict = _indices(slopes, human, None, "nan")[0]["asymmetry_index"]
    rows = []
    for subject, part in table.groupby("subject", sort=False):
        low, high = percentile_interval(index_draws[part.index].mean(0), level=level)
        rows.append(
            {
                "subject": subject,
                "mean_asymmetry_index": part["asymmetry_index"].mean(skipna=False),
                "ci_low": float(low),
                "ci_high": float(high),
                "n_experiments": len(part),
                "n_undefined": int(strict[part.index].isna().sum()),
            }
        )
    return pd.DataFrame(rows)


def slope_agreement(
    slopes: pd.DataFrame,
    human: pd.DataFrame,
    *,
    n_permutations: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the search slopes of observers with those of people, over conditions.

    Parameters
    ----------
    slopes : DataFrame
        One row per line: `subject`, `experiment`, `condition`, `slope_ms_per_item`.
    human : DataFrame
        The lines of people, as from `human_slopes`.
    n_permutations : int, default 10000
        Largest number of arrangements in the permutation tests.
    level : float, default 0.95
        Coverage of the interval of Pearson's r.
    seed : int, default 0
        Seed of random arrangements.

    Returns
    -------
    DataFrame
        One row per observer: `subject`, `pearson_r`, `ci_low`, `ci_high`,
        `pearson_p` (t distribution, as published), `p_conditions` (all conditions
        exchanged), `p_within` (only the conditions of an experiment exchanged),
        `spearman_r`, `regression_slope`, `regression_intercept` (observer on people),
        `rmse` (ms per item) and `n`.

    Raises
    ------
    ValueError
        If a column is missing or a condition is unknown to `human`.

    Notes
    -----
    The conditions are pairs: those of one experiment share displays and set sizes.
    The interval therefore leaves out whole experiments
    (`analysis.stats.jackknife_pearson_ci`); `pearson_p` and `p_conditions` take the
    conditions as independent. `p_within` is valid with pairs and asks less: given how
    hard each experiment is, is its harder condition the one of people? Six pairs have
    64 arrangements, so it cannot be below 1/64.

    Examples
    --------
    >>> human = pd.DataFrame(
    ...     {
    ...         "experiment": [1, 1, 2, 2],
    ...         "condition": list("abcd"),
    ...         "slope_ms_per_item": [1.0, 5.0, 2.0, 8.0],
    ...     }
    ... )
    >>> model = human.assign(subject="m", slope_ms_per_item=[2.0, 10.0, 4.0, 16.0])
    >>> slope_agreement(model, human)["regression_slope"].round(6).tolist()
    [2.0]
    """
    pairs = _join(slopes, human, ["experiment", "condition"], "slope_ms_per_item")
    rows = [
        _agreement(subject, part, n_permutations, level, seed)
        for subject, part in pairs.groupby("subject", sort=False)
    ]
    return pd.DataFrame(rows)


def rt_agreement(
    means: pd.DataFrame,
    human: pd.DataFrame,
    *,
    n_permutations: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare mean reaction times with those of people, over conditions and set sizes.

    Parameters
    ----------
    means : DataFrame
        One row per mean, as from `condition_means`: `subject`, `experiment`,
        `condition`, `set_size`, `mean` (ms).
    human : DataFrame
        Mean reaction times of people: `experiment`, `condition`, `set_size`, `rt_ms`.
    n_permutations : int, default 10000
        As in `slope_agreement`.
    level : float, default 0.95
        As in `slope_agreement`.
    seed : int, default 0
        As in `slope_agreement`.

    Returns
    -------
    DataFrame
        As `slope_agreement` without `p_conditions`; `rmse` is in ms.

    Raises
    ------
    ValueError
        If a column is missing or a mean is unknown to `human`.

    Notes
    -----
    The points of a condition hang together, so `pearson_p`, which takes all points as
    independent, is far too small. In `p_within` the conditions of an experiment are
    exchanged whole; it is NaN when they have different set sizes.

    Examples
    --------
    >>> human = pd.DataFrame(
    ...     {
    ...         "experiment": 4,
    ...         "condition": ["Ts", "Ts", "Ls", "Ls"],
    ...         "set_size": [3, 6, 3, 6],
    ...         "rt_ms": [541.0, 583.0, 573.0, 672.0],
    ...     }
    ... )
    >>> model = human.assign(subject="m", mean=human["rt_ms"] + 50)
    >>> rt_agreement(model, human)[["pearson_r", "rmse"]].round(6).to_numpy().tolist()
    [[1.0, 50.0]]
    """
    known = human.rename(columns={"rt_ms": "mean"})
    pairs = _join(means, known, ["experiment", "condition", "set_size"], "mean")
    rows = [
        _agreement(subject, part, n_permutations, level, seed)
        for subject, part in pairs.groupby("subject", sort=False)
    ]
    return pd.DataFrame(rows).drop(columns="p_conditions")


def task_tests(trials: pd.DataFrame) -> pd.DataFrame:
    """Test in each experiment whether its two conditions have different lines.

    Parameters
    ----------
    trials : DataFrame
        One row per trial: `subject`, `experiment`, `condition`, `set_size` (items),
        `rt_ms` (ms).

    Returns
    -------
    DataFrame
        One row per observer and experiment with two conditions: `subject`,
        `experiment`, `f`, `df_numerator`, `df_denominator`, `p_value`; see
        `analysis.psychophysics.nested_f_test`.

    Raises
    ------
    ValueError
        If a column is missing or a value is not finite.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "subject": "m",
    ...         "experiment": 1,
    ...         "condition": list("aaabbb"),
    ...         "set_size": [1, 2, 3, 1, 2, 3],
    ...         "rt_ms": [1.0, 2.0, 4.0, 6.0, 5.0, 7.0],
    ...     }
    ... )
    >>> task_tests(table)["f"].round(3).tolist()
    [12.7]
    """
    check_columns("trials", trials.columns, [*_LINE, "set_size", "rt_ms"])
    rows = []
    for (subject, experiment), part in trials.groupby(["subject", "experiment"]):
        if part["condition"].nunique() == 2:
            test = nested_f_test(part["set_size"], part["rt_ms"], part["condition"])
            rows.append(
                {
                    "subject": subject,
                    "experiment": experiment,
                    "f": test.f,
                    "df_numerator": test.df_numerator,
                    "df_denominator": test.df_denominator,
                    "p_value": test.p_value,
                }
            )
    names = ["f", "df_numerator", "df_denominator", "p_value"]
    return pd.DataFrame(rows, columns=["subject", "experiment", *names])


def _indices(
    slopes: pd.DataFrame,
    human: pd.DataFrame,
    draws: FloatArray | None,
    undefined: str,
) -> tuple[pd.DataFrame, FloatArray]:
    """Return indices of all observers and their draws, shape (n_rows, n_bootstrap)."""
    check_columns("slopes", slopes.columns, [*_LINE, "slope_ms_per_item"])
    columns = ["experiment", "condition", "slope_ms_per_item"]
    check_columns("human", human.columns, columns)
    if draws is None:
        draws = np.full((len(slopes), 1), np.nan)
    check_array("draws", draws, shape=(len(slopes), None))
    # The last row stands for a line that an observer has not.
    values = np.append(slopes["slope_ms_per_item"].to_numpy(np.float64), np.nan)
    draws = np.vstack([draws, np.full(draws.shape[1], np.nan)])
    lines = slopes[list(_LINE)].to_numpy(object)
    place: dict[tuple[Any, ...], int] = {tuple(k): i for i, k in enumerate(lines)}
    pairs: dict[Any, tuple[str, str]] = {
        e: _by_difficulty(e, part) for e, part in human.groupby("experiment")
    }
    rows, hard, easy = [], [], []
    for subject, e in dict.fromkeys(line[:2] for line in place):
        if e not in pairs:
            raise ValueError(
                f"`human` has no experiment {e}; it has {list(pairs)}. Give both the "
                "same experiments."
            )
        harder, easier = pairs[e]
        rows.append(
            {"subject": subject, "experiment": e, "harder": harder, "easier": easier}
        )
        hard.append(place.get((subject, e, harder), -1))
        easy.append(place.get((subject, e, easier), -1))
    index = asymmetry_index(values[hard], values[easy], undefined=undefined)
    index_draws = asymmetry_index(draws[hard], draws[easy], undefined=undefined)
    return pd.DataFrame(rows).assign(asymmetry_index=index), index_draws


def _by_difficulty(experiment: Any, human: pd.DataFrame) -> tuple[str, str]:
    """Return the two conditions of an experiment of people, the harder one first."""
    ordered = human.sort_values("slope_ms_per_item", ascending=False)
    names, slopes = list(ordered["condition"]), list(ordered["slope_ms_per_item"])
    if len(slopes) != 2 or not slopes[0] > slopes[1]:
        raise ValueError(
            f"`human` must have two conditions with different slopes in experiment "
            f"{experiment}; it has {dict(zip(names, slopes, strict=True))}."
        )
    return names[0], names[1]


def _join(
    table: pd.DataFrame, human: pd.DataFrame, keys: list[str], value: str
) -> pd.DataFrame:
    """Return pairs of observer and human values, one row per row of `table`."""
    check_columns("the table of observers", table.columns, ["subject", *keys, value])
    check_columns("human", human.columns, [*keys, value])
    known = human[[*keys, value]].rename(columns={value: "human"})
    pairs = table[["subject", *keys, value]].merge(
        known, on=keys, how="left", validate="many_to_one"
    )
    unknown = pairs[pairs["human"].isna()]
    if len(unknown):
        raise ValueError(
            f"`human` has no value for {len(unknown)} rows, such as "
            f"{unknown[keys].iloc[0].to_dict()}. Give both the same conditions."
        )
    # Values of both conditions of an experiment must stand in the same order.
    return pairs.rename(columns={value: "observer"}).sort_values(
        keys, kind="stable", ignore_index=True
    )


def _agreement(
    subject: Any, pairs: pd.DataFrame, n_permutations: int, level: float, seed: int
) -> dict[str, Any]:
    """Compute the agreement of one observer with people over rows of pairs."""
    x, y = pairs["human"].to_numpy(), pairs["observer"].to_numpy()
    experiment = pairs["experiment"].to_numpy()
    r = float(pearson_r(x, y))
    low, high = jackknife_pearson_ci(x, y, experiment, level=level)
    rng = generator(seed, "permutation", str(subject))
    options: dict[str, Any] = {"n_permutations": n_permutations, "rng": rng}
    p_within = float("nan")
    if _exchangeable(pairs):
        unit = pairs["condition"].to_numpy()
        p_within = permutation_test(
            x, y, units=unit, groups=experiment, **options
        ).p_value
    slope, intercept = _regression(x, y)
    return {
        "subject": subject,
        "pearson_r": r,
        "ci_low": low,
        "ci_high": high,
        "pearson_p": pearson_p(r, len(x)),
        "p_conditions": permutation_test(x, y, **options).p_value,
        "p_within": p_within,
        "spearman_r": float(spearman_r(x, y)),
        "regression_slope": slope,
        "regression_intercept": intercept,
        "rmse": float(np.sqrt(np.mean((y - x) ** 2))),
        "n": len(x),
    }


def _exchangeable(pairs: pd.DataFrame) -> bool:
    """Tell whether the conditions of each experiment have the same set sizes."""
    if "set_size" not in pairs:
        return True
    return all(
        len({tuple(c["set_size"]) for _, c in part.groupby("condition")}) == 1
        for _, part in pairs.groupby("experiment")
    )


def _regression(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Fit the least-squares line of y on x; NaN when x is constant."""
    centred = x - x.mean()
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan"), float("nan")
    slope = float(centred @ y / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())
