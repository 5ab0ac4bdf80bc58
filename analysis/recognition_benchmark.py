"""How near a recogniser comes to people, over conditions, people and experiments.

A table of trials has one row per observer and picture: `subject`, `is_human` (bool),
`experiment`, `condition`, `excluded` (bool: conditions that the benchmark leaves out),
`image_id` and `correct` (bool). The decision makers are the people together and each
subject who is none.

References
----------
Geirhos et al. (2021). Partial success in closing the gap between human and machine
vision. NeurIPS 34. arXiv:2106.07411.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.aligned_trials import (
    AlignedTrials,
    align_trials,
    check_true_or_false,
    consistencies,
)
from analysis.stats import percentile_interval
from neurovis.core.checks import (
    check_between,
    check_columns,
    check_option,
    check_whole,
    suggest,
)
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

HUMANS = "humans"
"""Name of the people as one decision maker."""

WHOLE = "all"
"""Value of `experiment` in rows that average over experiments."""

METRICS = (
    "ood_accuracy",
    "accuracy_difference",
    "observed_consistency",
    "error_consistency",
)
"""Values of the benchmark; only the second is better when smaller."""

OVER = ("images", "humans", "both")
"""To what an interval of a benchmark value generalises."""

_COLUMNS = ("subject", "is_human", "experiment", "condition", "image_id", "correct")
_CELL = ("experiment", "condition")


def benchmark_summary(
    trials: pd.DataFrame,
    *,
    decision_makers: Sequence[str] | None = None,
    over: str = "images",
    n_bootstrap: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute the benchmark values of people and networks beside people.

    Consistencies and the squared difference of accuracies are taken for each condition
    and each pair of the decision maker with a person (for people: each pair of two),
    averaged over conditions, then over people or pairs, then over experiments. The
    accuracy pools the trials of an experiment (for people: of all of them), then
    averages over experiments.

    Parameters
    ----------
    trials : DataFrame
        Table of trials of people and, perhaps, networks, in any order.
    decision_makers : sequence of str, optional
        "humans" and names of networks; all by default. Experiments without a pair to
        compare (one person alone for "humans", nobody for a network) are left out.
    over : {"images", "humans", "both"}, default "images"
        What is drawn with replacement for the intervals: pictures, within each
        condition and alike for all observers; people, within each experiment; or
        both. Two copies of one person are no pair, and draws of one person only are
        drawn again.
    n_bootstrap : int, default 0
        Resamples; 0 for no intervals.
    level : float, default 0.95
        Coverage of the percentile intervals, 0..1.
    seed : int, default 0
        Seed; each experiment and condition has its own stream.

    Returns
    -------
    DataFrame
        Rows for each decision maker, its experiments (in order of appearance; then
        "all", their mean) and `METRICS`: `decision_maker`, `experiment`, `metric`,
        `value`, `ci_low`, `ci_high`, `n_experiments`, `n_conditions` and `n_pairs`
        (with people; for "all" their sums).

    Raises
    ------
    TypeError, ValueError
        If a column is missing; if nobody is human; if a decision maker is unknown or
        lacks conditions of an experiment that it has; if it saw other pictures than a
        person.

    Notes
    -----
    Chance differences raise the mean of a squared difference, and resampling adds
    some: the interval of "accuracy_difference" lies a little high.

    Examples
    --------
    >>> def answers(subject, correct, is_human):
    ...     columns = {"image_id": list("abcd"), "correct": correct}
    ...     return pd.DataFrame(columns).assign(subject=subject, is_human=is_human)
    >>> ann = answers("ann", [True, True, False, False], True)
    >>> net = answers("net", [True, True, False, True], False)
    >>> trials = pd.concat([ann, net]).assign(experiment="e", condition="0")
    >>> table = benchmark_summary(trials.assign(excluded=False))
    >>> table[table["experiment"] == "all"].set_index("metric")["value"].to_dict()
    ... # doctest: +NORMALIZE_WHITESPACE
    {'ood_accuracy': 0.75, 'accuracy_difference': 0.0625,
     'observed_consistency': 0.75, 'error_consistency': 0.5}
    """
    check_option("over", over, OVER)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=0)
    check_between("level", level, low=0, high=1)
    check_columns("trials", trials.columns, [*_COLUMNS, "excluded"])
    left_out = check_true_or_false("excluded", trials["excluded"])
    used = trials[~left_out]
    people, networks = _observers(used)
    makers = [HUMANS, *networks] if decision_makers is None else list(decision_makers)
    for name in makers:
        if name not in (HUMANS, *networks):
            raise ValueError(
                f"`decision_makers` names {name!r}, who is neither {HUMANS!r} nor a "
                f"subject that is no person.{suggest(name, [HUMANS, *networks])}"
            )
    needed = used["is_human"].to_numpy(bool) | used["subject"].isin(makers).to_numpy()
    cells: dict[str, list[AlignedTrials]] = {}
    for cell in align_trials(used[needed], _CELL):
        cells.setdefault(str(cell.key[0]), []).append(cell)
    rows = []
    for maker in makers:
        found = {}
        for experiment, own in cells.items():
            value = _experiment(own, maker, people, over, n_bootstrap, seed)
            if value is not None:
                found[experiment] = value
        if not found and decision_makers is None and maker == HUMANS:
            continue  # one person alone
        if not found:
            raise ValueError(
                f"{maker!r} shares no experiment with a person (for {HUMANS!r}: two "
                "people): nothing to compare."
            )
        found[WHOLE] = _Values(
            np.mean([value.draws for value in found.values()], axis=0),
            sum(value.n_conditions for value in found.values()),
            sum(value.n_pairs for value in found.values()),
        )
        for experiment, value in found.items():
            n_experiments = len(found) - 1 if experiment == WHOLE else 1
            for metric, draws in zip(METRICS, value.draws, strict=True):
                low, high = percentile_interval(draws[1:], level=level)
                rows.append(
                    {
                        "decision_maker": maker,
                        "experiment": experiment,
                        "metric": metric,
                        "value": draws[0],
                        "ci_low": float(low),
                        "ci_high": float(high),
                        "n_experiments": n_experiments,
                        "n_conditions": value.n_conditions,
                        "n_pairs": value.n_pairs,
                    }
                )
    return pd.DataFrame(rows)


def benchmark_ranks(summary: pd.DataFrame) -> pd.DataFrame:
    """Rank decision makers by their benchmark values.

    Parameters
    ----------
    summary : DataFrame
        Table of `benchmark_summary`; leave out "humans" to rank networks only.

    Returns
    -------
    DataFrame
        One row per decision maker, best first: `decision_maker`, the `METRICS`,
        `rank_accuracy_difference` (1 for the smallest), `rank_observed_consistency`
        and `rank_error_consistency` (1 for the largest), and `mean_rank`, their mean.
        Equal values share the mean of their ranks.

    Raises
    ------
    ValueError
        If a column is missing, or decision makers differ in their experiments: ranks
        would compare easy experiments with hard ones.

    Examples
    --------
    >>> rows = [("a", 0.1, 0.5, 0.2), ("b", 0.2, 0.6, 0.3)]
    >>> wide = pd.DataFrame(rows, columns=["decision_maker", *METRICS[1:]])
    >>> summary = wide.assign(ood_accuracy=0.5).melt(
    ...     "decision_maker", var_name="metric"
    ... )
    >>> benchmark_ranks(summary.assign(experiment="all"))["mean_rank"].round(2).tolist()
    [1.33, 1.67]
    """
    check_columns(
        "summary",
        summary.columns,
        ["decision_maker", "experiment", "metric", "value"],
    )
    single = summary[summary["experiment"] != WHOLE]
    sets = single.groupby("decision_maker", sort=False)["experiment"].agg(frozenset)
    for maker, experiments in sets.items():
        lone = sorted(sets.iloc[0] ^ experiments)
        if lone:
            raise ValueError(
                f"{sets.index[0]!r} and {maker!r} have other experiments (only one has "
                f"{lone[0]!r}): make the summary from the experiments that all have."
            )
    values = summary[summary["experiment"] == WHOLE].set_index(
        ["decision_maker", "metric"]
    )["value"]
    makers = summary["decision_maker"].unique()
    table = pd.DataFrame({"decision_maker": makers})
    for metric in METRICS:
        table[metric] = [values.loc[maker, metric] for maker in makers]
    ranks = []
    for metric in METRICS[1:]:
        sign = 1 if metric == "accuracy_difference" else -1
        ranks.append(stats.rankdata(sign * table[metric].to_numpy(), nan_policy="omit"))
        table[f"rank_{metric}"] = ranks[-1]
    table["mean_rank"] = np.mean(ranks, axis=0)
    return table.sort_values("mean_rank", kind="stable", ignore_index=True)


def consistency_by_condition(trials: pd.DataFrame) -> pd.DataFrame:
    """Average consistency with people in each condition, excluded ones included.

    Parameters
    ----------
    trials : DataFrame
        Table of trials; `excluded` is not needed.

    Returns
    -------
    DataFrame
        One row per condition and decision maker: `experiment`, `condition`,
        `decision_maker`, `accuracy` (pooled for people), `observed_consistency`,
        `error_consistency` (means over people; for people, over observers of their
        means to the others, which is the mean over pairs), `n_images` and `n_pairs`.
        NaN for one person alone.

    Raises
    ------
    ValueError
        As `benchmark_summary`.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {
    ...         "subject": ["ann"] * 4 + ["bob"] * 4,
    ...         "image_id": list("abcd") * 2,
    ...         "correct": [True, True, False, False, True, True, False, True],
    ...     }
    ... ).assign(is_human=True, experiment="e", condition="0")
    >>> row = consistency_by_condition(trials).iloc[0]
    >>> float(row["accuracy"]), float(row["error_consistency"])
    (0.625, 0.5)
    """
    check_columns("trials", trials.columns, _COLUMNS)
    people, networks = _observers(trials)
    rows = []
    for cell in align_trials(trials, _CELL):
        for maker in (HUMANS, *networks):
            pairs = _pairs(cell, maker, people)
            if not len(pairs) and maker not in (HUMANS, *cell.subjects):
                continue
            own = _rows_of(cell, maker, people)
            pair = _pair_values(cell, pairs, np.ones((1, len(cell.images))))
            observed, kappa = (
                float(np.mean(pair[i])) if len(pairs) else np.nan for i in (1, 2)
            )
            n_seen = cell.seen[own].sum()
            rows.append(
                {
                    "experiment": cell.key[0],
                    "condition": cell.key[1],
                    "decision_maker": maker,
                    "accuracy": cell.correct[own].sum() / n_seen if n_seen else np.nan,
                    "observed_consistency": observed,
                    "error_consistency": kappa,
                    "n_images": int(cell.seen[own].any(axis=0).sum()),
                    "n_pairs": len(pairs),
                }
            )
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class _Values:
    """Benchmark values of a decision maker: (n_metrics, 1 + n_bootstrap)."""

    draws: FloatArray
    n_conditions: int
    n_pairs: int


def _observers(trials: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names of people, and of networks in order of appearance."""
    human = check_true_or_false("is_human", trials["is_human"])
    names = trials["subject"].astype(str)
    people = names[human].unique().tolist()
    networks = names[~human].unique().tolist()
    if not people:
        raise ValueError("`trials` has no person (`is_human`): nobody to compare with.")
    both = {*people, HUMANS} & set(networks)
    if both:
        raise ValueError(
            f"{min(both)!r} is the name of a network and of people: give the network "
            "another."
        )
    return people, networks


def _rows_of(cell: AlignedTrials, maker: str, people: list[str]) -> list[int]:
    names = set(people) if maker == HUMANS else {maker}
    return [row for row, name in enumerate(cell.subjects) if name in names]


def _pairs(cell: AlignedTrials, maker: str, people: list[str]) -> NDArray[np.intp]:
    """Rows of the decision maker and a person, (n_pairs, 2)."""
    humans = _rows_of(cell, HUMANS, people)
    if maker == HUMANS:
        pairs = list(combinations(humans, 2))
    else:
        pairs = [(i, j) for i in _rows_of(cell, maker, people) for j in humans]
    rows = np.array(pairs, np.intp).reshape(-1, 2)
    cell.check_same_images(rows[:, 0], rows[:, 1])
    return rows


def _pair_values(
    cell: AlignedTrials, pairs: NDArray[np.intp], weights: FloatArray
) -> FloatArray:
    """Accuracy difference and consistencies, (3, n_pairs, n_draws).

    Weights tell how often each picture is in each draw.
    """
    first, second = cell.correct[pairs[:, 0]], cell.correct[pairs[:, 1]]
    seen = cell.seen[pairs[:, 0]].astype(np.float64)
    n, right_first, right_second, both = (
        counts @ weights.T for counts in (seen, first, second, first * second)
    )
    _, observed, kappa = consistencies(right_first, right_second, both, n)
    return np.stack([((right_first - right_second) / n) ** 2, observed, kappa])


def _experiment(
    cells: list[AlignedTrials],
    maker: str,
    people: list[str],
    over: str,
    n_bootstrap: int,
    seed: int,
) -> _Values | None:
    """Values of a decision maker in one experiment; None if it has no part in it."""
    experiment = str(cells[0].key[0])
    rows = [_rows_of(cell, maker, people) for cell in cells]
    if not any(rows):
        return None
    absent = [cell.key[1] for cell, own in zip(cells, rows, strict=True) if not own]
    if absent:
        raise ValueError(
            f"{maker!r} has no trials in the condition {absent[0]!r} of "
            f"{experiment!r}, but in others: give all of them, or leave the "
            "experiment out."
        )
    by_pair: dict[tuple[str, str], list[FloatArray]] = {}
    right: dict[str, FloatArray] = {}
    total: dict[str, FloatArray] = {}
    for cell, own in zip(cells, rows, strict=True):
        weights = _image_weights(cell, over, n_bootstrap, seed)
        pairs = _pairs(cell, maker, people)
        values = _pair_values(cell, pairs, weights)
        for place, (i, j) in enumerate(pairs):
            names = cell.subjects[i], cell.subjects[j]
            by_pair.setdefault(names, []).append(values[:, place])
        for row in own:
            name = cell.subjects[row]
            right[name] = right.get(name, 0.0) + weights @ cell.correct[row]
            total[name] = total.get(name, 0.0) + weights @ cell.seen[row]
    if not by_pair:
        return None
    people_weights = _human_weights(experiment, people, cells, over, n_bootstrap, seed)
    # Conditions first, then people: a person with fewer conditions weighs the same.
    means = np.stack([np.mean(values, axis=0) for values in by_pair.values()])
    of_pair = np.stack(
        [
            people_weights[second] * people_weights.get(first, 1.0)
            for first, second in by_pair
        ]
    )
    of_maker = {name: people_weights.get(name, 1.0) for name in right}
    n_right, n_total = (
        np.sum([of_maker[name] * counts[name] for name in right], axis=0)
        for counts in (right, total)
    )
    with np.errstate(invalid="ignore"):  # the people drawn may share no condition
        averages = (means * of_pair[:, None]).sum(axis=0) / of_pair.sum(axis=0)
    draws = np.concatenate([(n_right / n_total)[None], averages])
    return _Values(draws, len(cells), len(by_pair))


def _image_weights(
    cell: AlignedTrials, over: str, n_bootstrap: int, seed: int
) -> FloatArray:
    """How often each picture is in each draw, (1 + n_bootstrap, n_images)."""
    n = len(cell.images)
    weights = np.ones((1 + n_bootstrap, n))
    if over != "humans" and n_bootstrap:
        rng = generator(seed, "benchmark images", *map(str, cell.key))
        weights[1:] = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    return weights


def _human_weights(
    experiment: str,
    people: list[str],
    cells: list[AlignedTrials],
    over: str,
    n_bootstrap: int,
    seed: int,
) -> dict[str, FloatArray]:
    """How often each person of an experiment is in each draw."""
    there = [p for p in people if any(p in cell.subjects for cell in cells)]
    n = len(there)
    weights = np.ones((1 + n_bootstrap, n))
    if over != "images" and n_bootstrap:
        rng = generator(seed, "benchmark people", experiment)
        lone = np.ones(len(weights), np.bool_)
        lone[0] = False
        while lone.any() and n > 1:
            weights[lone] = rng.multinomial(n, np.full(n, 1 / n), size=lone.sum())
            lone &= (weights > 0).sum(axis=1) < 2
    return dict(zip(there, weights.T, strict=True))
