"""People in a search-slope experiment: numbers of single subjects, cell by cell.

A number of people is the mean over subjects; its draws resample subjects. Undefined is
NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.reaction_times import CELL, error_summary, filter_rts, flags
from analysis.rt_fits import fit_exgaussian, ks_distance, wasserstein_ms
from analysis.slope_samples import CELL_METRICS, CellSamples, fit_lines
from analysis.stats import pearson_r
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class People:
    """Trials of people, cell by cell.

    Parameters
    ----------
    cells : DataFrame
        As from `design_cells`.
    rt_ms : list of ndarray of float64
        Sorted reaction times of each cell, all subjects together: those that passed
        the filter.
    subjects : mapping of str to ndarray of float64, shape (n_subjects, n_cells)
        For each task and metric (``task, metric``) the numbers of the single
        subjects; NaN in cells of other tasks. Distances are those of one subject to
        all others.
    """

    cells: pd.DataFrame
    rt_ms: list[FloatArray]
    subjects: Mapping[tuple[str, str], FloatArray]


def measure_people(
    human: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    low_ms: float = 200,
    high_ms: float = 10_000,
) -> People:
    """Compute the numbers of single subjects.

    Parameters
    ----------
    human : DataFrame
        Trials of people (see `analysis.reaction_times`).
    cells : DataFrame
        Cells to use, as from `design_cells`.
    low_ms, high_ms : float, default 200 and 10000
        Filter of reaction times; errors count over all trials.

    Returns
    -------
    People
        Numbers of single subjects.

    Raises
    ------
    ValueError
        If people have no trial in a cell.
    """
    present = flags("target_present", human["target_present"])
    human = human.assign(target_present=present)
    kept = filter_rts(human, low_ms, high_ms).trials
    all_trials = {key: part for key, part in human.groupby(list(CELL))}
    good_trials = {key: part for key, part in kept.groupby(list(CELL))}
    subjects: dict[tuple[str, str], FloatArray] = {}
    pooled: list[FloatArray] = []
    for task, rows in cells.groupby("task", sort=False):
        labels = sorted(human.loc[human["task"] == task, "subject"].unique(), key=str)
        place = {label: i for i, label in enumerate(labels)}
        shape = (len(labels), len(cells))
        table = {metric: np.full(shape, np.nan) for metric in CELL_METRICS}
        for column, key in zip(rows.index, rows.itertuples(index=False), strict=True):
            if tuple(key) not in good_trials:
                raise ValueError(
                    f"`human` has no usable trials in the cell {tuple(key)} (task, "
                    "target_present, set_size)."
                )
            wrong = all_trials[tuple(key)].groupby("subject")["error"].mean()
            for label, rate in wrong.items():
                table["error_rate"][place[label], column] = rate
            rt = good_trials[tuple(key)]["rt_ms"].to_numpy(np.float64)
            owner = good_trials[tuple(key)]["subject"].map(place).to_numpy()
            pooled.append(np.sort(rt))
            for i in range(len(labels)):
                mine, others = rt[owner == i], rt[owner != i]
                for metric, value in _subject_numbers(mine, others).items():
                    table[metric][i, column] = value
        table["d_prime"] = _subject_d_primes(human, cells, str(task), place)
        subjects |= {(str(task), metric): table[metric] for metric in CELL_METRICS}
    return People(cells, pooled, subjects)


def _subject_numbers(mine: FloatArray, others: FloatArray) -> dict[str, float]:
    if not len(mine):
        return {}
    parameters = fit_exgaussian(mine).parameters
    return {
        "mean_rt_ms": float(mine.mean()),
        "ks_to_human": ks_distance(mine, others),
        "wasserstein_to_human_ms": wasserstein_ms(mine, others),
    } | {f"exgaussian_{name}": value for name, value in parameters.items()}


def _subject_d_primes(
    human: pd.DataFrame, cells: pd.DataFrame, task: str, place: Mapping[str, int]
) -> FloatArray:
    """Put d' of each subject into the columns of the cells with a target."""
    values = np.full((len(place), len(cells)), np.nan)
    mine = human[human["task"] == task]
    table = error_summary(mine, by=["set_size", "subject"])
    there = (cells["task"] == task) & cells["target_present"]
    for size, label, value in table[["set_size", "subject", "d_prime"]].to_numpy():
        values[place[label], there & (cells["set_size"] == size)] = value
    return values


def sample_people(people: People, *, n_bootstrap: int, seed: int) -> CellSamples:
    """Average over subjects, and resample them.

    Parameters
    ----------
    people : People
        Numbers of single subjects.
    n_bootstrap : int
        Resamples; 0 gives none.
    seed : int
        Seed; each task has its own stream.

    Returns
    -------
    CellSamples
        Means over the subjects whose number is defined.
    """
    n_cells = len(people.cells)
    shape = (n_cells, 1 + max(n_bootstrap, 1))
    table = {metric: np.full(shape, np.nan) for metric in CELL_METRICS}
    n = np.zeros(n_cells, np.int64)
    for task, rows in people.cells.groupby("task", sort=False):
        columns = rows.index.to_numpy()
        n_subjects = len(people.subjects[str(task), "mean_rt_ms"])
        rng = generator(seed, "slope subjects", str(task))
        index = rng.integers(n_subjects, size=(n_bootstrap, n_subjects))
        n[columns] = n_subjects
        for metric in CELL_METRICS:
            numbers = people.subjects[str(task), metric][:, columns]
            table[metric][columns, 0] = mean_defined(numbers[None])[0]
            if n_bootstrap and n_subjects > 1:
                table[metric][columns, 1:] = mean_defined(numbers[index]).T
    return CellSamples(people.cells, table, n)


def mean_defined(values: FloatArray) -> FloatArray:
    """Average over the second axis, leaving out what is undefined.

    Parameters
    ----------
    values : ndarray of float64, shape (n, n_units, n_cells)
        Numbers; NaN where undefined.

    Returns
    -------
    ndarray of float64, shape (n, n_cells)
        Means; NaN where nothing is defined.

    Examples
    --------
    >>> mean_defined(np.array([[[1.0, np.nan], [3.0, np.nan]]])).tolist()
    [[2.0, nan]]
    """
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.asarray(total / np.where(count, count, np.nan))


def split_half_agreement(
    people: People, *, n_splits: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Compare random halves of the subjects of each task.

    Parameters
    ----------
    people : People
        Numbers of single subjects.
    n_splits : int, default 1000
        Random splits; the first half of an odd number has one subject less.
    seed : int, default 0
        Seed.

    Returns
    -------
    dict of str to (float, float)
        For mean times ("all", "present", "absent" cells) and "slope": mean Pearson
        correlation between halves, and root mean square difference in ms (per item).
        NaN when a task has fewer than two subjects.
    """
    cells = people.cells
    halves = np.full((2, len(cells), n_splits), np.nan)
    for task, rows in cells.groupby("task", sort=False):
        columns = rows.index.to_numpy()
        numbers = people.subjects[str(task), "mean_rt_ms"][:, columns]
        rng = generator(seed, "slope halves", str(task))
        order = rng.permuted(np.tile(np.arange(len(numbers)), (n_splits, 1)), axis=1)
        middle = len(numbers) // 2
        if middle:
            halves[0, columns] = mean_defined(numbers[order[:, :middle]]).T
            halves[1, columns] = mean_defined(numbers[order[:, middle:]]).T
    there = cells["target_present"].to_numpy(bool)
    slopes = [fit_lines(cells, half)[1] for half in halves]
    pairs = {
        "all": (halves[0], halves[1]),
        "present": (halves[0, there], halves[1, there]),
        "absent": (halves[0, ~there], halves[1, ~there]),
        "slope": (slopes[0], slopes[1]),
    }
    result = {}
    for name, (first, second) in pairs.items():
        r = pearson_r(first.T, second.T).mean()
        rmse = (
            np.sqrt(np.mean((first - second) ** 2, axis=0)).mean()
            if len(first)
            else np.nan
        )
        result[name] = (float(r), float(rmse))
    return result
