"""Whether two observers err on the same pictures, beyond what their accuracies explain.

Observers are people or networks. A table of trials has one row per observer and
picture: `subject`, `image_id`, `correct` (bool) and columns that tell experiments and
conditions apart. Two observers are compared on the same pictures, never by their place
in a table.

References
----------
Geirhos, Meding and Wichmann (2020). Beyond accuracy: quantifying trial-by-trial
behaviour of CNNs and humans by measuring error consistency. NeurIPS 33.
arXiv:2006.16736.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.aligned_trials import (
    NO_RESPONSE,
    AlignedTrials,
    align_trials,
    check_true_or_false,
    consistencies,
)
from analysis.stats import percentile_interval
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_whole,
    suggest,
)
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

CONSISTENCY_COLUMNS = (
    "first",
    "second",
    "n",
    "accuracy_first",
    "accuracy_second",
    "expected",
    "observed",
    "kappa",
    "ci_low",
    "ci_high",
    "null_low",
    "null_high",
)
"""Columns of `consistency_table` behind those that tell its groups apart."""


# ------------------------------------------------------------------ two observers


def accuracy(response: ArrayLike, truth: ArrayLike) -> float:
    """Compute the share of right answers; no answer is a wrong one.

    Parameters
    ----------
    response : array-like of str, shape (n_trials,)
        What was answered; "na" or a missing value is no answer.
    truth : array-like of str, shape (n_trials,)
        What was right.

    Returns
    -------
    float
        0..1; NaN without trials.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> accuracy(["cat", "dog", "na", None], ["cat", "cat", "cat", "cat"])
    0.25
    """
    right = check_array("truth", np.asarray(truth, dtype=object), shape=(None,))
    given = np.asarray(response, dtype=object)
    check_array("response", given, shape=right.shape)
    # pandas' NA would answer a comparison with NA.
    given = np.where(pd.isna(given), NO_RESPONSE, given)
    hits = (given == right) & (given != NO_RESPONSE)
    return float(np.mean(hits)) if len(hits) else np.nan


def expected_consistency(accuracy_first: float, accuracy_second: float) -> float:
    """Compute how often independent observers would agree in being right or wrong.

    ``p1 p2 + (1 - p1)(1 - p2)``.

    Parameters
    ----------
    accuracy_first, accuracy_second : float
        Shares of right answers, 0..1.

    Returns
    -------
    float
        Expected share of trials, 0..1.

    Raises
    ------
    TypeError, ValueError
        If an accuracy is not within 0..1.

    Examples
    --------
    >>> expected_consistency(0.5, 0.9)
    0.5
    """
    p1, p2 = _check_accuracies(accuracy_first, accuracy_second)
    return p1 * p2 + (1 - p1) * (1 - p2)


def observed_consistency(correct_first: ArrayLike, correct_second: ArrayLike) -> float:
    """Compute how often both observers are right or both wrong.

    Which wrong answer they gave does not matter.

    Parameters
    ----------
    correct_first, correct_second : array-like of bool, shape (n_trials,)
        Whether each observer was right, on the same pictures in the same order.

    Returns
    -------
    float
        Share of trials, 0..1; NaN without trials.

    Raises
    ------
    TypeError, ValueError
        If lengths differ or values are not true or false.

    Examples
    --------
    >>> observed_consistency([True, True, False], [True, False, False])
    0.6666666666666666
    """
    first, second = _check_correct(correct_first, correct_second)
    return float(np.mean(first == second)) if len(first) else np.nan


def error_consistency(correct_first: ArrayLike, correct_second: ArrayLike) -> float:
    """Compute Cohen's kappa of being right: ``(observed - expected) / (1 - expected)``.

    Parameters
    ----------
    correct_first, correct_second : array-like of bool, shape (n_trials,)
        Whether each observer was right, on the same pictures in the same order.

    Returns
    -------
    float
        0 for independent observers, 1 for those who err on the same pictures (by
        definition also when neither ever errs), below 0 when they disagree more than
        chance; NaN without trials.

    Raises
    ------
    TypeError, ValueError
        If lengths differ or values are not true or false.

    Notes
    -----
    Near the ceiling there are few errors to compare, and kappa is very noisy: look at
    `kappa_under_independence`.

    References
    ----------
    Cohen (1960). A coefficient of agreement for nominal scales. Educational and
    Psychological Measurement 20:37-46. doi:10.1177/001316446002000104.

    Examples
    --------
    >>> error_consistency([True, True, False, False], [True, True, False, True])
    0.5
    """
    first, second = _check_correct(correct_first, correct_second)
    if not len(first):
        return np.nan
    one, other, both = (
        np.array(right.sum(), np.float64) for right in (first, second, first & second)
    )
    return float(consistencies(one, other, both, len(first))[2])


def consistency_bounds(
    accuracy_first: float, accuracy_second: float
) -> tuple[float, float]:
    """Compute the smallest and largest observed consistency that accuracies allow.

    ``|p1 + p2 - 1|`` and ``1 - |p1 - p2|``.

    Parameters
    ----------
    accuracy_first, accuracy_second : float
        Shares of right answers, 0..1.

    Returns
    -------
    low, high : float
        Shares of trials, 0..1.

    Raises
    ------
    TypeError, ValueError
        If an accuracy is not within 0..1.

    Examples
    --------
    >>> consistency_bounds(0.75, 0.5)
    (0.25, 0.75)
    """
    p1, p2 = _check_accuracies(accuracy_first, accuracy_second)
    return abs(p1 + p2 - 1), 1 - abs(p1 - p2)


def kappa_under_independence(
    accuracy_first: float,
    accuracy_second: float,
    n: int,
    *,
    n_samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Simulate which error consistencies independent observers would show.

    Parameters
    ----------
    accuracy_first, accuracy_second : float
        Chances of a right answer, 0..1.
    n : int
        Trials, >= 1.
    n_samples : int, default 10 000
        Simulated experiments, >= 1.
    seed : int, default 0
        Seed of the draws.
    level : float, default 0.95
        Share of the experiments inside the interval, 0..1.

    Returns
    -------
    low, high : float
        Central interval of kappa. An observed kappa inside it is no evidence that
        the observers share more than their accuracy.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> low, high = kappa_under_independence(0.8, 0.8, 160)
    >>> -0.2 < low < 0 < high < 0.2
    True
    """
    p1, p2 = _check_accuracies(accuracy_first, accuracy_second)
    n = check_whole("n", n, low=1)
    n_samples = check_whole("n_samples", n_samples, low=1)
    check_between("level", level, low=0, high=1)
    rng = generator(seed, "kappa under independence", repr(p1), repr(p2), n)
    cells = [p1 * p2, p1 * (1 - p2), (1 - p1) * p2, (1 - p1) * (1 - p2)]
    draws = _drawn_kappas(rng, n, np.array(cells), n_samples)
    low, high = percentile_interval(draws, level=level)
    return float(low), float(high)


# ------------------------------------------------------------------ many observers


def consistency_table(
    trials: pd.DataFrame,
    *,
    by: Sequence[str] = ("experiment", "condition"),
    first: Sequence[str] | None = None,
    second: Sequence[str] | None = None,
    n_bootstrap: int = 0,
    n_null: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare pairs of observers in each condition.

    Parameters
    ----------
    trials : DataFrame
        One row per observer and picture, in any order: `subject`, `image_id`,
        `correct` and the columns `by`.
    by : sequence of str, default ("experiment", "condition")
        Columns that tell conditions apart. Observers are compared within each.
    first, second : sequence of str, optional
        Subjects to compare: each of `first` with each of `second`, or with all others
        if `second` is not given. By default all with all. A pair is taken once.
    n_bootstrap : int, default 0
        Resamples of the trials for the interval of kappa; 0 for none.
    n_null : int, default 0
        Simulated experiments for `kappa_under_independence`; 0 for none.
    level : float, default 0.95
        Coverage of the intervals, 0..1.
    seed : int, default 0
        Seed; each pair has its own stream, so other pairs do not matter.

    Returns
    -------
    DataFrame
        One row per condition and pair: the columns `by` and `CONSISTENCY_COLUMNS`, in
        order of appearance. `ci_low` and `ci_high` (other such trials) and `null_low`
        and `null_high` (independent observers of these accuracies) are limits of
        kappa, NaN if not asked for.

    Raises
    ------
    TypeError, ValueError
        If a column is missing; if a subject is unknown; if no two observers share a
        condition; if one of a pair saw a picture that the other did not, or one saw a
        picture twice (the message names them and the picture).

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {
    ...         "subject": ["ann"] * 4 + ["bob"] * 4,
    ...         "image_id": list("abcd") * 2,
    ...         "correct": [True, True, False, False, True, True, False, True],
    ...     }
    ... )
    >>> row = consistency_table(trials, by=()).iloc[0]
    >>> row["first"], row["second"], float(row["observed"]), float(row["kappa"])
    ('ann', 'bob', 0.75, 0.5)
    """
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=0)
    n_null = check_whole("n_null", n_null, low=0)
    check_between("level", level, low=0, high=1)
    taken = set(by) & {*CONSISTENCY_COLUMNS, "subject", "image_id", "correct"}
    if taken:
        raise ValueError(f"`by` must name other columns than {sorted(taken)}.")
    check_columns("trials", trials.columns, ["subject"])
    _check_subjects(trials["subject"], first=first, second=second)
    parts = []
    for cell in align_trials(trials, by):
        pairs = _pairs(cell.subjects, first, second)
        if len(pairs[0]):
            table = _compare(cell, *pairs)
            keys = pd.DataFrame([cell.key] * len(table), columns=list(by))
            parts.append(pd.concat([keys, table], axis=1))
    if not parts:
        raise ValueError(
            "`trials` holds no two of the observers to compare in one condition of "
            f"{list(by)}."
        )
    table = pd.concat(parts, ignore_index=True)
    names = table[[*by, "first", "second"]].astype(str).to_numpy().tolist()
    limits = np.full((len(table), 4), np.nan)
    counts = table[["n", "_right_first", "_right_second", "_right_both"]].to_numpy()
    for row, (n, right_first, right_second, both) in enumerate(counts):
        if n_bootstrap:
            # Trials differ only in who was right: four counts tell all of a resample.
            one, other = right_first - both, right_second - both
            share = np.array([both, one, other, n - both - one - other]) / n
            rng = generator(seed, "error consistency", *names[row])
            draws = _drawn_kappas(rng, int(n), share, n_bootstrap)
            limits[row, :2] = percentile_interval(draws, level=level)
        if n_null:
            limits[row, 2:] = kappa_under_independence(
                right_first / n,
                right_second / n,
                int(n),
                n_samples=n_null,
                seed=seed,
                level=level,
            )
    table[["ci_low", "ci_high", "null_low", "null_high"]] = limits
    return table[[*by, *CONSISTENCY_COLUMNS]]


def _compare(cell: AlignedTrials, first: IntArray, second: IntArray) -> pd.DataFrame:
    """Compare pairs within a condition; keeps the counts for the intervals."""
    cell.check_same_images(first, second)
    n = cell.seen.sum(axis=1)[first].astype(np.float64)
    right = cell.correct.sum(axis=1)
    both = (cell.correct @ cell.correct.T)[first, second]
    expected, observed, kappa = consistencies(right[first], right[second], both, n)
    subjects = np.array(cell.subjects, dtype=object)
    return pd.DataFrame(
        {
            "first": subjects[first],
            "second": subjects[second],
            "n": n.astype(int),
            "accuracy_first": right[first] / n,
            "accuracy_second": right[second] / n,
            "expected": expected,
            "observed": observed,
            "kappa": kappa,
            "_right_first": right[first],
            "_right_second": right[second],
            "_right_both": both,
        }
    )


def _pairs(
    subjects: Sequence[str],
    first: Sequence[str] | None,
    second: Sequence[str] | None,
) -> tuple[IntArray, IntArray]:
    """Rows of the pairs to compare among the observers of a condition."""
    place = {name: row for row, name in enumerate(subjects)}
    if first is None and second is None:
        pairs = list(combinations(range(len(subjects)), 2))
    else:
        ones = [place[s] for s in (subjects if first is None else first) if s in place]
        others = [
            place[s] for s in (subjects if second is None else second) if s in place
        ]
        each: dict[frozenset[int], tuple[int, int]] = {}
        for i, j in product(ones, others):
            if i != j:
                each.setdefault(frozenset((i, j)), (i, j))
        pairs = list(each.values())
    rows = np.array(pairs, np.intp).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _check_subjects(known: pd.Series, **asked: Sequence[str] | None) -> None:
    names = set(known.astype(str))
    for argument, subjects in asked.items():
        if isinstance(subjects, str):
            raise TypeError(f"`{argument}` must be a sequence of names; got text.")
        for subject in subjects or ():
            if subject not in names:
                raise ValueError(
                    f"`{argument}` names {subject!r}, who is no subject of `trials`."
                    f"{suggest(subject, sorted(names))}"
                )


def _drawn_kappas(
    rng: np.random.Generator, n: int, share: FloatArray, n_draws: int
) -> FloatArray:
    """Kappas of drawn experiments; shares: both right, only one or the other, none."""
    # Rounding may leave the shares a little above 1.
    draws = rng.multinomial(n, share / share.sum(), size=n_draws).astype(np.float64)
    both, one, other, _ = draws.T
    return consistencies(both + one, both + other, both, n)[2]


def _check_accuracies(*accuracies: float) -> tuple[float, float]:
    for name, value in zip(
        ("accuracy_first", "accuracy_second"), accuracies, strict=True
    ):
        check_between(name, value, low=0, high=1)
    first, second = map(float, accuracies)
    return first, second


def _check_correct(
    correct_first: ArrayLike, correct_second: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first = check_true_or_false("correct_first", correct_first)
    second = check_true_or_false("correct_second", correct_second)
    if len(first) != len(second):
        raise ValueError(
            f"`correct_first` has {len(first)} trials but `correct_second` has "
            f"{len(second)}: both observers must have seen the same pictures."
        )
    return first, second
