"""Models that were measured on the same cells: means and paired differences.

A cell is one subject under one seed. Subjects are independent; seeds of one subject
are not independent subjects, so that they are averaged within each subject first. Only
where all is of one subject are seeds what is drawn.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from analysis.multiple_tests import fdr_adjusted, sign_flip_test
from analysis.stats import ROUNDING
from neurovis.core.checks import check_columns, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

SUBJECTS, SEEDS, WITHIN = "subjects", "seeds", "within the run"
"""Values of `over`: what an interval is about."""

_LEVEL = 0.95
_ALPHA = 0.05
_MEANS = ("ceiling_low", "ceiling_high", "value_over_ceiling")
_CELL_COLUMNS = ("subject", "seed", "value", "ci_low", "ci_high", *_MEANS)
_SUMMARY = (
    *("value", "ci_low", "ci_high", "over", "n_cells", "n_subjects", "n_seeds"),
    *("n_undefined", *_MEANS, "interval_note"),
)
_PAIR_COLUMNS = (
    *("model_a", "model_b", "difference", "ci_low", "ci_high", "p_value", "p_fdr"),
    *("over", "n_cells", "n_subjects", "interval_note"),
)


def mean_over_cells(cells: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Average each group over its subjects, each subject over its seeds.

    Parameters
    ----------
    cells : DataFrame
        One row per cell: the columns `by`, `subject`, `seed`, `value` (NaN where
        undefined), `ci_low`, `ci_high`, `ceiling_low`, `ceiling_high` and
        `value_over_ceiling`.
    by : sequence of str
        What tells groups apart, such as board and model.

    Returns
    -------
    DataFrame
        One row per group, sorted: `by`, `value` and the ceilings (means over subjects
        of means over seeds), `ci_low` and `ci_high` (95 %), `over`, `n_cells` (those
        that are defined), `n_subjects`, `n_seeds`, `n_undefined`, `interval_note`.

    Raises
    ------
    ValueError
        If a column is missing or a cell occurs twice.

    Notes
    -----
    The interval is that of Student's t over the means of subjects: their spread has
    that between seeds in it. It is about subjects like these. With one subject it is
    over its seeds, and about other seeds. With one cell, or where seeds changed
    nothing, it is what the run itself found (`over` is "within the run").

    A bootstrap of few subjects is too narrow: with four, a nominal 95 % interval of
    percentiles holds about 80 %.

    Examples
    --------
    >>> cells = pd.DataFrame({"model": "a", "subject": ["x", "y"], "value": [1.0, 3.0]})
    >>> cells = cells.assign(seed=0, ci_low=np.nan, ci_high=np.nan)
    >>> cells = cells.assign(ceiling_low=4.0, ceiling_high=4.0, value_over_ceiling=0.5)
    >>> mean_over_cells(cells, ["model"])[["value", "over", "n_cells"]].to_numpy()
    array([[2.0, 'subjects', 2]], dtype=object)
    """
    by = list(by)
    check_columns("cells", cells.columns, [*by, *_CELL_COLUMNS])
    _check_cells(cells, by)
    known = cells[cells["value"].notna()].sort_values(["subject", "seed"])
    # Groups without any value keep their row.
    found = cells.groupby(by, dropna=False).agg(n_undefined=("value", _count_nan))
    if len(known):
        found = found.join(_means(known, by))
    found = found.reindex(columns=["n_undefined", *_WORKING]).reset_index()
    for name in ("n_cells", "n_subjects", "n_seeds"):
        found[name] = found[name].fillna(0).astype(np.int64)
    of_seeds = (found["n_subjects"] == 1) & (found["n_cells"] > 1)
    drawn = of_seeds & (found["seed_sd"] > ROUNDING * found["value"].abs())
    n = found["n_subjects"].where(~drawn, found["n_cells"]).where(found["n_cells"] > 0)
    spread = found["subject_sd"].where(~drawn, found["seed_sd"])
    # Where all agree, nothing is known of how others would differ.
    spread = spread.where(spread > ROUNDING * found["value"].abs())
    half = _half_width(spread.to_numpy(np.float64), n.to_numpy(np.float64))
    own = (found["n_subjects"] <= 1) & ~drawn
    found["ci_low"] = found["own_low"].where(own, found["value"] - half)
    found["ci_high"] = found["own_high"].where(own, found["value"] + half)
    over = np.where(drawn, SEEDS, np.where(own, WITHIN, SUBJECTS))
    found["over"] = np.where(found["n_cells"] > 0, over, "")
    columns = [found[name].tolist() for name in ("over", "n_cells", "ci_low")]
    found["interval_note"] = [
        _interval_note(*row) for row in zip(*columns, strict=True)
    ]
    return found[[*by, *_SUMMARY]]


_WORKING = (
    *("value", "n_cells", "n_subjects", "n_seeds", "subject_sd", "seed_sd"),
    *("own_low", "own_high", *_MEANS),
)


def _means(known: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    per_subject = known.groupby([*by, "subject"], dropna=False, as_index=False)[
        ["value", *_MEANS]
    ].mean()
    groups = per_subject.groupby(by, dropna=False)
    every = known.groupby(by, dropna=False)
    first = known.drop_duplicates(by).set_index(by)
    return (
        groups[["value", *_MEANS]]
        .mean()
        .assign(
            subject_sd=groups["value"].std(ddof=1),
            seed_sd=every["value"].std(ddof=1),
            n_subjects=groups.size(),
            n_cells=every.size(),
            n_seeds=every["seed"].nunique(),
            own_low=first["ci_low"],
            own_high=first["ci_high"],
        )
    )


def _count_nan(values: pd.Series) -> int:
    return int(values.isna().sum())


def _half_width(spread: FloatArray, n: FloatArray) -> FloatArray:
    """Return half of an interval of a mean of n values; NaN for fewer than two."""
    n = np.where(n >= 2, n, np.nan)
    half: FloatArray = stdtrit(n - 1, (1 + _LEVEL) / 2) * spread / np.sqrt(n)
    return half


def _interval_note(over: str, n_cells: int, low: float) -> str:
    if n_cells == 0:
        return "no defined value"
    if over != WITHIN:
        return f"all {over} gave one value: no interval" if np.isnan(low) else ""
    text = "one cell" if n_cells == 1 else f"{n_cells} seeds gave one value"
    return f"{text}: {'no interval' if np.isnan(low) else 'interval of the run'}"


def compare_cells(
    cells: pd.DataFrame,
    *,
    board: Sequence[str],
    family: Sequence[str],
    n_permutations: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every two models of a board on the cells that both have.

    Parameters
    ----------
    cells : DataFrame
        One row per cell of a model: the columns `board`, `model`, `subject`, `seed`
        and `value` (NaN where undefined).
    board : sequence of str
        What tells boards apart; only models of one are compared.
    family : sequence of str
        Columns of `board` within which p values are adjusted together.
    n_permutations : int, default 10000
        Largest number of arrangements of signs; all are used when there are no more.
    seed : int, default 0
        Seed of random arrangements.

    Returns
    -------
    DataFrame
        One row per pair, sorted: `board`, `model_a`, `model_b` (in the order of their
        names), `difference` (a minus b, mean over subjects of means over seeds),
        `ci_low`, `ci_high` (95 %, as `mean_over_cells`), `p_value`, `p_fdr`
        (Benjamini and Hochberg), `over`, `n_cells`, `n_subjects`, `interval_note`.

    Raises
    ------
    ValueError
        If a column is missing or a cell occurs twice.

    Notes
    -----
    p is the share of all ways to exchange the two models whose mean difference is as
    far from 0. They are exchanged subject by subject; with one subject, seed by seed.
    Of n cells no p is below ``2**(1 - n)``: `interval_note` says where that is above
    0.05. Seeds that changed neither model count once.

    Examples
    --------
    >>> cells = pd.DataFrame({"board": "r", "model": list("aabb"), "seed": 0})
    >>> cells = cells.assign(subject=list("xyxy"), value=[3.0, 4.0, 1.0, 1.0])
    >>> found = compare_cells(cells, board=["board"], family=["board"])
    >>> found[["difference", "p_value", "n_subjects"]].to_numpy().tolist()
    [[2.5, 0.5, 2.0]]
    """
    board = list(board)
    n_permutations = check_whole("n_permutations", n_permutations, low=1)
    needed = [*board, "model", "subject", "seed", "value"]
    check_columns("cells", cells.columns, needed)
    check_columns("board", board, family)
    _check_cells(cells, [*board, "model"])
    ordered = cells.sort_values([*board, "model", "subject", "seed"])
    models = ordered["model"].to_numpy(str)
    subjects = ordered["subject"].to_numpy(str)
    seeds = ordered["seed"].to_numpy(np.int64)
    values = ordered["value"].to_numpy(np.float64)
    keys: list[tuple[Any, ...]] = []
    rows: list[dict[str, Any]] = []
    for key, at in ordered.groupby(board).indices.items():
        place = key if isinstance(key, tuple) else (key,)
        texts = "/".join(str(part) for part in place)
        rng = partial(generator, seed, "sign flips", texts)
        grid = _grid(models[at], subjects[at], seeds[at], values[at])
        found = _pairs_of_board(*grid, n_permutations, rng)
        rows += found
        keys += [place] * len(found)
    if not rows:
        kinds = dict.fromkeys((*board, *_PAIR_COLUMNS), "str")
        numbers = dict.fromkeys(_PAIR_COLUMNS[2:7], "float64")
        counts = dict.fromkeys(("n_cells", "n_subjects"), "int64")
        return pd.DataFrame(columns=list(kinds)).astype(kinds | numbers | counts)
    places = pd.DataFrame(keys, columns=board)
    table = pd.concat([places, pd.DataFrame(rows)], axis=1)
    groups = table.groupby(list(family), dropna=False)["p_value"]
    table["p_fdr"] = groups.transform(lambda p: fdr_adjusted(p.to_numpy(np.float64)))
    ordered_by = [*board, "model_a", "model_b"]
    table = table.sort_values(ordered_by, ignore_index=True)
    return table[[*ordered_by, *_PAIR_COLUMNS[2:]]]


def _grid(
    models: NDArray[Any],
    subjects: NDArray[Any],
    seeds: NDArray[np.int64],
    values: FloatArray,
) -> tuple[NDArray[Any], NDArray[Any], FloatArray]:
    """Return names, the subject of each cell, and values by cell and name."""
    names, column = np.unique(models, return_inverse=True)
    _, who = np.unique(subjects, return_inverse=True)
    both = np.stack([who, seeds])
    _, first, row = np.unique(both, axis=1, return_index=True, return_inverse=True)
    table = np.full((len(first), len(names)), np.nan)
    table[row.ravel(), column] = values
    return names, subjects[first], table


def _pairs_of_board(
    names: NDArray[Any],
    subjects: NDArray[Any],
    values: FloatArray,
    n_permutations: int,
    rng: Callable[[str], np.random.Generator],
) -> list[dict[str, Any]]:
    """Compare all pairs of a board, those with the same common cells at once."""
    pairs = np.array(list(combinations(range(len(names)), 2)), np.intp).reshape(-1, 2)
    known = np.isfinite(values)
    common = known[:, pairs[:, 0]] & known[:, pairs[:, 1]]
    patterns, which = np.unique(common.T, axis=0, return_inverse=True)
    rows: list[dict[str, Any]] = [{} for _ in pairs]
    for number, pattern in enumerate(patterns):
        mine = np.flatnonzero(which.ravel() == number)
        a, b = (values[np.ix_(pattern, pairs[mine, side])] for side in (0, 1))
        stream = rng("".join("01"[int(x)] for x in pattern))
        found = _differences(a, b, subjects[pattern], n_permutations, stream)
        for place, row in zip(mine, found, strict=True):
            two = [str(names[i]) for i in pairs[place]]
            rows[place] = {"model_a": two[0], "model_b": two[1], **row}
    return rows


def _differences(
    a: FloatArray,
    b: FloatArray,
    subjects: NDArray[Any],
    n_permutations: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Return what is known of differences of pairs, all with the same cells."""
    n_cells, n_pairs = a.shape
    people, codes = np.unique(subjects.astype(str), return_inverse=True)
    over, units = SUBJECTS, a - b
    alone = np.zeros(n_pairs, bool)
    if len(people) > 1:
        weight = np.eye(len(people))[codes]
        units = (weight / weight.sum(axis=0)).T @ units
    else:
        over = SEEDS
        # Seeds that change nothing are one measurement, however many they are.
        alone = _is_constant(a) & _is_constant(b)
    n = len(units)
    low = high = p = np.full(n_pairs, np.nan)
    mean = units.mean(axis=0) if n else p
    if n > 1:
        half = _half_width(units.std(axis=0, ddof=1), np.full(n_pairs, float(n)))
        low, high = (np.where(alone, np.nan, mean + s * half) for s in (-1, 1))
        flipped = sign_flip_test(
            units, statistic="mean", n_permutations=n_permutations, rng=rng
        )
        # All arrangements of zeros are as far from 0.
        p = np.where(units.any(axis=0), flipped.p_value, 1.0)
        p = np.where(alone, np.nan, p)
    return [
        {
            "difference": float(mean[i]),
            "ci_low": float(low[i]),
            "ci_high": float(high[i]),
            "p_value": float(p[i]),
            "over": over if n > 1 and not alone[i] else "",
            "n_cells": n_cells,
            "n_subjects": len(people),
            "interval_note": _test_note(n_cells, 1 if alone[i] else n, over),
        }
        for i in range(n_pairs)
    ]


def _is_constant(values: FloatArray) -> NDArray[np.bool_]:
    if not len(values):
        return np.zeros(values.shape[1], bool)
    span = values.max(axis=0) - values.min(axis=0)
    return np.asarray(span <= ROUNDING * np.abs(values).max(axis=0))


def _test_note(n_cells: int, n: int, over: str) -> str:
    """Say what so few cells cannot show."""
    if n_cells == 0:
        return "no common cell"
    if n == 1:
        cells = "one common cell" if n_cells == 1 else f"{n_cells} seeds, one value"
        return f"{cells}: no interval and no test"
    least = 2.0 ** (1 - n)
    return f"{n} {over}: p cannot be below {least:.3g}" if least > _ALPHA else ""


def _check_cells(cells: pd.DataFrame, by: list[str]) -> None:
    keys = [*by, "subject", "seed"]
    twice = cells.duplicated(keys)
    if twice.any():
        told = ", ".join(str(value) for value in cells.loc[twice, keys].iloc[0])
        raise ValueError(f"`cells` has several rows of {told}: one per cell is needed.")
