"""Cells of a search-slope experiment, and numbers of a searcher with bootstrap draws.

A cell is a task, a set size and a presence. The draws of a searcher resample its
displays and fit the quitting limits anew. Undefined is NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.psychophysics import fixations_to_rt_ms
from analysis.reaction_times import CELL, d_prime, flags
from analysis.rt_fits import fit_exgaussian
from analysis.search_slopes import quitting_limit
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

CELL_METRICS = (
    "mean_rt_ms",
    "error_rate",
    "d_prime",
    "quitting_limit",
    "ks_to_human",
    "wasserstein_to_human_ms",
    "exgaussian_mu_ms",
    "exgaussian_sigma_ms",
    "exgaussian_tau_ms",
)
"""Numbers of a cell."""

PAIR_METRICS = ("d_prime", "quitting_limit")
"""Those of a cell with a target and the one without it; they stand in the former."""


@dataclass(frozen=True)
class CellSamples:
    """Numbers of the cells of one observer.

    Parameters
    ----------
    cells : DataFrame
        `task`, `target_present` (bool), `set_size`: one row per cell.
    numbers : mapping of str to ndarray of float64, shape (n_cells, 1 + n_draws)
        One entry per name in `CELL_METRICS`: the number, then its bootstrap draws;
        without resamples one draw, NaN.
    n : ndarray of int64, shape (n_cells,)
        Units that were resampled: subjects or displays.
    """

    cells: pd.DataFrame
    numbers: Mapping[str, FloatArray]
    n: NDArray[np.int64]


def design_cells(trials: pd.DataFrame) -> pd.DataFrame:
    """List the cells of a table of trials.

    Parameters
    ----------
    trials : DataFrame
        `task`, `set_size`, `target_present`.

    Returns
    -------
    DataFrame
        `task`, `target_present` (bool), `set_size`: tasks in order of appearance,
        with a target first, set sizes sorted.

    Examples
    --------
    >>> trials = pd.DataFrame(
    ...     {"task": "t", "set_size": [6, 3, 3], "target_present": [1, 1, 0]}
    ... )
    >>> design_cells(trials)[["target_present", "set_size"]].to_numpy().tolist()
    [[True, 3], [True, 6], [False, 3]]
    """
    table = trials[list(CELL)].assign(
        target_present=flags("target_present", trials["target_present"])
    )
    rank = {task: i for i, task in enumerate(table["task"].unique())}
    table = table.drop_duplicates().assign(_task=lambda t: t["task"].map(rank))
    order = ["_task", "target_present", "set_size"]
    table = table.sort_values(order, ascending=[True, False, True], ignore_index=True)
    return table[list(CELL)]


def sample_searcher(
    trials: pd.DataFrame,
    cells: pd.DataFrame,
    human_rt_ms: Sequence[FloatArray],
    *,
    miss_rates: Mapping[tuple[str, int], float] | None,
    n_bootstrap: int,
    seed: int,
) -> CellSamples:
    """Compute the numbers of one searcher, and resample its displays.

    Displays are resampled within the half of their cell; a limit that is fitted on
    the displays of a half is fitted anew on each resample of it.

    Parameters
    ----------
    trials : DataFrame
        Trials of one searcher that does not give up: `task`, `set_size`,
        `target_present`, `stimulus_id`, `n_fixations`, `found`, `half` (0 or 1).
    cells : DataFrame
        Cells to use, as from `design_cells`.
    human_rt_ms : sequence of ndarray of float64
        Sorted reaction times of people in each cell.
    miss_rates : mapping of (str, int) to float, or None
        Share of targets that people miss for each task and set size, for the rule
        "matched_misses"; None for "exhaustive" (see
        `analysis.search_slopes.quit_searches`).
    n_bootstrap : int
        Resamples; 0 gives none.
    seed : int
        Seed; each cell has its own stream, the same for all searchers, so that
        searchers of the same displays are resampled alike.

    Returns
    -------
    CellSamples
        NaN in cells without trials or without a limit; no draws with fewer than four
        displays. The ex-Gaussian is fitted to the displays as they are.
    """
    present = flags("target_present", trials["target_present"])
    trials = trials.assign(target_present=present).sort_values("stimulus_id")
    parts = {key: part for key, part in trials.groupby(list(CELL))}
    n_draws = max(n_bootstrap, 1)
    shape = (len(cells), 1 + n_draws)
    table = {metric: np.full(shape, np.nan) for metric in CELL_METRICS}
    n = np.zeros(len(cells), np.int64)
    for i, (task, there, size) in enumerate(cells.to_numpy().tolist()):
        part = parts.get((task, there, size))
        if part is None:
            continue
        n[i] = len(part)
        targets = parts.get((task, True, size))
        if miss_rates is None:
            limits = np.full((2, 1 + n_draws), float(size))
        elif targets is None:
            continue
        else:
            limits = _limits(targets, miss_rates[task, size], n_draws, seed)
        weights = _weights(part, n_draws, seed)
        own = limits[part["half"].to_numpy()].T
        times, counts, errors = _tally(part, own, weights)
        table["error_rate"][i] = errors
        if there:
            table["quitting_limit"][i] = (weights * own).sum(axis=1) / len(part)
        for metric, row in _weighted_numbers(times, counts, human_rt_ms[i]).items():
            table[metric][i] = row
        made = np.repeat(times, np.nan_to_num(counts[0]).astype(int))
        for name, value in fit_exgaussian(made).parameters.items():
            table[f"exgaussian_{name}"][i, 0] = value
    table["d_prime"] = _searcher_d_primes(cells, table["error_rate"], n)
    for metric in CELL_METRICS:
        # With fewer than four displays a half has fewer than two to resample.
        table[metric][(n < 4) | (n_bootstrap == 0), 1:] = np.nan
    return CellSamples(cells, table, n)


def _weights(part: pd.DataFrame, n_draws: int, seed: int) -> FloatArray:
    """How often each display of a cell is drawn; the first row is the data."""
    half = part["half"].to_numpy()
    weights = np.ones((1 + n_draws, len(part)))
    key = [str(part[name].iloc[0]) for name in CELL]
    for side in (0, 1):
        place = np.flatnonzero(half == side)
        if len(place):
            rng = generator(seed, "slope displays", *key, side)
            drawn = rng.integers(len(place), size=(n_draws, len(place)))
            counts = np.zeros((n_draws, len(place)))
            np.add.at(counts, (np.arange(n_draws)[:, None], drawn), 1)
            weights[1:, place] = counts
    return weights


def _limits(
    targets: pd.DataFrame, miss_rate: float, n_draws: int, seed: int
) -> FloatArray:
    """Limits that hold for each half, fitted on the other one, (2, 1 + n_draws)."""
    weights = _weights(targets, n_draws, seed)
    half = targets["half"].to_numpy()
    count = targets["n_fixations"].to_numpy(np.float64)
    found = flags("found", targets["found"])
    limits = [
        quitting_limit(count[rows], found[rows], miss_rate, weights=weights[:, rows])
        for rows in (half == 1, half == 0)
    ]
    return np.stack(limits)


def _tally(
    part: pd.DataFrame, limits: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Correct answers at each possible time, and error rates.

    `limits` and `weights` have shape (1 + n_draws, n_displays). Returned are the times
    in ms, how many correct answers come at each, (1 + n_draws, n_times), and the error
    rate of each draw. NaN where the limit of a display is.
    """
    count = np.broadcast_to(part["n_fixations"].to_numpy(np.float64), limits.shape)
    found = np.broadcast_to(flags("found", part["found"]), limits.shape)
    hit = found & (count <= limits)
    made = np.where(hit, count, limits)
    right = hit if part["target_present"].iloc[0] else ~found
    support, place = np.unique(np.nan_to_num(made, nan=-1.0), return_inverse=True)
    counts = np.zeros((len(limits), len(support)))
    draw = np.broadcast_to(np.arange(len(limits))[:, None], limits.shape)
    np.add.at(counts, (draw, place.reshape(limits.shape)), weights * right)
    errors = 1 - counts.sum(axis=1) / weights.sum(axis=1)
    undefined = np.isnan(limits).any(axis=1)
    counts[undefined], errors[undefined] = np.nan, np.nan
    known = support >= 0
    return fixations_to_rt_ms(support[known]), counts[:, known], errors


def _weighted_numbers(
    times: FloatArray, counts: FloatArray, people: FloatArray
) -> dict[str, FloatArray]:
    """Mean and distances to people (sorted times) for each row of counts."""
    total = counts.sum(axis=1, keepdims=True)
    total = np.where(total > 0, total, np.nan)
    # Share of the searcher below the first time, then from each time on.
    steps = np.hstack([0 * total, np.cumsum(counts, axis=1) / total])
    below = np.searchsorted(people, times, side="left") / len(people)
    up_to = np.searchsorted(people, times, side="right") / len(people)
    before, after = np.abs(steps[:, :-1] - below), np.abs(steps[:, 1:] - up_to)
    grid = np.unique(np.concatenate([times, people]))
    share = np.searchsorted(people, grid[:-1], side="right") / len(people)
    step = np.searchsorted(times, grid[:-1], side="right")
    return {
        "mean_rt_ms": counts @ times / total[:, 0],
        "ks_to_human": np.maximum(before, after).max(axis=1, initial=0)
        + 0 * total[:, 0],
        "wasserstein_to_human_ms": np.abs(steps[:, step] - share) @ np.diff(grid),
    }


def _searcher_d_primes(
    cells: pd.DataFrame, error_rate: FloatArray, n: NDArray[np.int64]
) -> FloatArray:
    """Put d' into the rows of the cells with a target."""
    values = np.full(error_rate.shape, np.nan)
    for i, cell in enumerate(cells.itertuples(index=False)):
        same = (cells["task"] == cell.task) & (cells["set_size"] == cell.set_size)
        other = np.flatnonzero(same & ~cells["target_present"])
        if cell.target_present and len(other) and n[i] and n[other[0]]:
            hits = np.rint((1 - error_rate[i]) * n[i])
            alarms = np.rint(error_rate[other[0]] * n[other[0]])
            values[i] = d_prime(hits, n[i], alarms, n[other[0]])[0]
    return values


def fit_lines(
    cells: pd.DataFrame, values: FloatArray
) -> tuple[pd.DataFrame, FloatArray, FloatArray]:
    """Fit lines on set size through numbers of cells, each with the same weight.

    Parameters
    ----------
    cells : DataFrame
        As from `design_cells`.
    values : ndarray of float64, shape (n_cells, n)
        Numbers, and draws of them.

    Returns
    -------
    lines : DataFrame
        `task`, `target_present`.
    slope, intercept : ndarray of float64, shape (n_lines, n)
        NaN with one set size, or where a number is undefined.

    Examples
    --------
    >>> trials = pd.DataFrame({"task": "t", "set_size": [3, 6], "target_present": 1})
    >>> fit_lines(design_cells(trials), np.array([[30.0], [60.0]]))[1].tolist()
    [[10.0]]
    """
    keys, slopes, intercepts = [], [], []
    for key, rows in cells.groupby(["task", "target_present"], sort=False):
        x = rows["set_size"].to_numpy(np.float64)
        y = values[rows.index.to_numpy()]
        centred = x - x.mean()
        spread = centred @ centred
        slope = centred @ (y - y.mean(axis=0)) / (spread if spread > 0 else np.nan)
        keys.append(key)
        slopes.append(slope)
        intercepts.append(y.mean(axis=0) - slope * x.mean())
    lines = pd.DataFrame(keys, columns=["task", "target_present"])
    return lines, np.stack(slopes), np.stack(intercepts)
