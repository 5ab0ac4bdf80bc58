"""Accuracy of classifiers: by class, over runs, and compared on the same pictures.

A table of predictions has one row per picture and run: `system` (what was trained),
`run`, `condition` (such as the test set), `level` (of a distortion, NaN without one),
`stimulus_id`, `label` (true class), `predicted` and, for more than the first guess,
`rank` (place of the true class among the guesses, from 1).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.crossed_runs import (
    bootstrap_hits,
    check_options,
    crossed_values,
    paired_values,
)
from neurovis.core.checks import (
    check_array,
    check_columns,
    check_option,
    check_whole,
)
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

PREDICTION_COLUMNS = (
    "system",
    "run",
    "condition",
    "level",
    "stimulus_id",
    "label",
    "predicted",
)
"""Columns of a table of predictions."""

CELL = ("system", "condition", "level")
"""Columns that tell apart what is averaged over runs and pictures."""


def rank_of_label(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Find at which place the true class comes among the scores of a classifier.

    Parameters
    ----------
    scores : array-like of float, shape (n_pictures, n_classes)
        What the classifier gives to each class; the largest is its guess.
    labels : array-like of int, shape (n_pictures,)
        True classes, 0-based columns of `scores`.

    Returns
    -------
    ndarray of int64, shape (n_pictures,)
        1 if the guess is right; of equal scores that of the lower class comes first.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a score is not finite, or a label is no column.

    Examples
    --------
    >>> rank_of_label([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], [2, 0]).tolist()
    [2, 1]
    """
    values = check_array("scores", scores, shape=(None, None), finite=True)
    own = check_array("labels", labels, shape=(len(values),))
    if own.dtype.kind not in "iu":
        raise TypeError(f"`labels` must be whole numbers; got {own.dtype}.")
    if len(own) and (own.min() < 0 or own.max() >= values.shape[1]):
        raise ValueError(
            f"`labels` must be columns of `scores`, 0 to {values.shape[1] - 1}; got "
            f"{own.min()} to {own.max()}."
        )
    true = np.take_along_axis(values, own[:, None], axis=1)
    earlier = np.arange(values.shape[1]) < own[:, None]
    ahead = (values > true) | ((values == true) & earlier)
    return np.asarray(1 + ahead.sum(axis=1), np.int64)


def make_predictions(
    scores: ArrayLike,
    labels: ArrayLike,
    stimulus_ids: Sequence[str],
    *,
    system: str,
    run: int,
    condition: str = "",
    level: float = np.nan,
) -> pd.DataFrame:
    """Make the table of predictions of one run from the scores of its classifier.

    Parameters
    ----------
    scores : array-like of float, shape (n_pictures, n_classes)
        What the classifier gives to each class.
    labels : array-like of int, shape (n_pictures,)
        True classes, 0-based.
    stimulus_ids : sequence of str, shape (n_pictures,)
        Identities of the pictures.
    system : str
        Value of this column.
    run : int
        Likewise.
    condition : str, default ""
        Likewise.
    level : float, default NaN
        Likewise; NaN where there is none.

    Returns
    -------
    DataFrame
        The columns of `PREDICTION_COLUMNS` and `rank`.

    Raises
    ------
    TypeError, ValueError
        As `rank_of_label`, or if the lengths differ.

    Examples
    --------
    >>> table = make_predictions(
    ...     [[0.1, 0.9], [0.8, 0.2]], [1, 1], ["a", "b"], system="net", run=1
    ... )
    >>> table["predicted"].tolist(), table["rank"].tolist()
    ([1, 0], [1, 2])
    """
    ranks = rank_of_label(scores, labels)
    if len(stimulus_ids) != len(ranks):
        raise ValueError(
            f"`stimulus_ids` has {len(stimulus_ids)} identities for {len(ranks)} rows "
            "of `scores`."
        )
    return pd.DataFrame(
        {
            "system": system,
            "run": run,
            "condition": condition,
            "level": level,
            "stimulus_id": list(stimulus_ids),
            "label": np.asarray(labels),
            "predicted": np.argmax(np.asarray(scores), axis=1),
            "rank": ranks,
        }
    )


def hits_at(predictions: pd.DataFrame, k: int = 1) -> NDArray[np.bool_]:
    """Tell for which rows the true class is among the first k guesses.

    Parameters
    ----------
    predictions : DataFrame
        Table of predictions.
    k : int, default 1
        Number of guesses, >= 1; more than one needs the column `rank`.

    Returns
    -------
    ndarray of bool, shape (n_rows,)
        Whether it is.

    Raises
    ------
    TypeError, ValueError
        If a column is missing or `k` is out of range.

    Examples
    --------
    >>> hits_at(pd.DataFrame({"label": [0, 1], "predicted": [0, 0]})).tolist()
    [True, False]
    """
    k = check_whole("k", k, low=1)
    if k == 1 and "rank" not in predictions:
        check_columns("predictions", predictions.columns, ["label", "predicted"])
        return predictions["label"].to_numpy() == predictions["predicted"].to_numpy()
    check_columns("predictions", predictions.columns, ["rank"])
    ranks = predictions["rank"].to_numpy()
    if len(ranks) and not np.min(ranks) >= 1:
        raise ValueError("`rank` counts from 1 and must be known for every row.")
    return ranks <= k


def chance_level(n_classes: int, k: int = 1) -> float:
    """Compute the accuracy of guessing: ``k / n_classes``.

    Parameters
    ----------
    n_classes : int
        Number of classes, >= 1.
    k : int, default 1
        Number of guesses, 1..n_classes.

    Returns
    -------
    float
        Share of pictures, 0..1.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> chance_level(20, 5)
    0.25
    """
    n_classes = check_whole("n_classes", n_classes, low=1)
    return check_whole("k", k, low=1, high=n_classes) / n_classes


def accuracy_by_run(
    predictions: pd.DataFrame, *, k: int = 1, by: Sequence[str] = CELL
) -> pd.DataFrame:
    """Compute the accuracy of every run.

    Parameters
    ----------
    predictions : DataFrame
        Table of predictions.
    k : int, default 1
        Guesses that count.
    by : sequence of str, default `CELL`
        Columns that tell cells apart; with "label", accuracies of classes.

    Returns
    -------
    DataFrame
        One row per cell and run, in order of appearance: `by`, `run`, `accuracy`
        (0..1) and `n_images`.

    Raises
    ------
    TypeError, ValueError
        If a column is missing or a picture comes twice in a run.
    """
    checked = _check_predictions(predictions, by)
    table = checked.assign(hit=hits_at(checked, k))
    groups = table.groupby([*by, "run"], sort=False, dropna=False)["hit"]
    return groups.agg(accuracy="mean", n_images="size").reset_index()


def accuracy_table(
    predictions: pd.DataFrame,
    *,
    k: int = 1,
    n_classes: int | None = None,
    by: Sequence[str] = CELL,
    over: str = "both",
    n_bootstrap: int = 1000,
    coverage: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average accuracies over runs, with what new runs and new pictures would change.

    Parameters
    ----------
    predictions : DataFrame
        Table of predictions; within a cell every run has the same pictures.
    k : int, default 1
        Guesses that count.
    n_classes : int, optional
        Number of classes, for the chance level.
    by : sequence of str, default `CELL`
        Columns that tell cells apart; with "label", accuracies of classes.
    over : {"both", "images", "runs"}, default "both"
        To what the interval generalises; with a single run only "images" is defined.
    n_bootstrap : int, default 1000
        Resamples of each cell; 0 gives no intervals.
    coverage : float, default 0.95
        Coverage of the intervals, 0..1.
    seed : int, default 0
        Seed; every cell has its own stream.

    Returns
    -------
    DataFrame
        One row per cell, in order of appearance: `by`, `accuracy` (mean over runs),
        `ci_low`, `ci_high` (not clipped; NaN where undefined), `sd_runs_published`
        (standard deviation over runs with divisor n), `chance`, `n_images`, `n_runs`.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, a picture comes twice in a run, runs differ in their
        pictures, or an argument is out of range.

    References
    ----------
    Schütt et al. (2023), eLife 12, e82566, doi:10.7554/eLife.82566 (crossed
    bootstrap).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> parts = [
    ...     make_predictions(
    ...         rng.normal(size=(40, 4)),
    ...         np.arange(40) % 4,
    ...         [f"{i}" for i in range(40)],
    ...         system="net",
    ...         run=run,
    ...     )
    ...     for run in range(3)
    ... ]
    >>> row = accuracy_table(pd.concat(parts), n_classes=4).iloc[0]
    >>> bool(row.ci_low < row.chance < row.ci_high)
    True
    """
    checked = _check_predictions(predictions, by)
    check_options(over, n_bootstrap, coverage)
    chance = np.nan if n_classes is None else chance_level(n_classes, k)
    table = checked.assign(hit=hits_at(checked, k))
    rows = []
    for key, group in table.groupby(list(by), sort=False, dropna=False):
        values = crossed_values(group, "hit")
        mean, low, high = float(values.mean()), np.nan, np.nan
        if n_bootstrap:
            rng = generator(seed, "accuracy", *map(str, key))
            found = bootstrap_hits(values, over, n_bootstrap, rng)
            low, high = (float(v) for v in found.interval(level=coverage))
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "accuracy": mean,
                "ci_low": low,
                "ci_high": high,
                "sd_runs_published": float(values.mean(axis=0).std()),
                "chance": chance,
                "n_images": values.shape[0],
                "n_runs": values.shape[1],
            }
        )
    return pd.DataFrame(rows)


def accuracy_differences(
    predictions: pd.DataFrame,
    first: str,
    second: str,
    *,
    k: int = 1,
    by: Sequence[str] = ("condition", "level"),
    over: str = "both",
    n_bootstrap: int = 1000,
    coverage: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two systems on the same pictures, and run by run.

    Run r of both started from the same weights, so runs are pairs.

    Parameters
    ----------
    predictions : DataFrame
        Table of predictions with both systems.
    first, second : str
        Names in the column `system`.
    k : int, default 1
        Guesses that count.
    by : sequence of str, default ("condition", "level")
        Columns that tell cells apart; a cell that only one system has is an error.
    over : {"both", "images", "runs"}, default "both"
        As in `accuracy_table`.
    n_bootstrap : int, default 1000
        Resamples of each cell, at least 1.
    coverage : float, default 0.95
        Coverage of the intervals, 0..1.
    seed : int, default 0
        Seed; every cell has its own stream.

    Returns
    -------
    DataFrame
        One row per cell: `by`, `first`, `second`, `difference` (accuracy of the first
        minus that of the second), `ci_low`, `ci_high`, `p_value` (two-sided, of no
        difference), `n_images`, `n_runs`.

    Raises
    ------
    TypeError, ValueError
        As `accuracy_table`, or if the systems differ in pictures or runs.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "system": np.repeat(["a", "b"], 8),
    ...         "run": np.tile(np.repeat([1, 2], 4), 2),
    ...         "condition": "",
    ...         "level": np.nan,
    ...         "stimulus_id": np.tile(["p", "q", "r", "s"], 4),
    ...         "label": 0,
    ...         "predicted": [0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1],
    ...     }
    ... )
    >>> float(accuracy_differences(table, "a", "b")["difference"].iloc[0])
    0.5
    """
    checked = _check_predictions(predictions, [*by, "system"])
    check_options(over, n_bootstrap, coverage, least=1)
    known = checked["system"].unique().tolist()
    for name, system in (("first", first), ("second", second)):
        check_option(name, system, known)
    table = checked.assign(hit=hits_at(checked, k))
    table = table[table["system"].isin([first, second])]
    rows = []
    for key, group in table.groupby(list(by), sort=False, dropna=False):
        pair = paired_values(group, "hit", (first, second))
        rng = generator(seed, "accuracy difference", *map(str, key))
        found = bootstrap_hits(pair, over, n_bootstrap, rng).contrast([1, -1])
        low, high = found.interval(level=coverage)
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "first": first,
                "second": second,
                "difference": float(found.estimate),
                "ci_low": float(low),
                "ci_high": float(high),
                "p_value": float(found.p_value()),
                "n_images": pair.shape[0],
                "n_runs": pair.shape[1],
            }
        )
    return pd.DataFrame(rows)


def confusion_matrix(
    predictions: pd.DataFrame, classes: Sequence[Any], *, share: bool = False
) -> FloatArray:
    """Count which classes are taken for which.

    Parameters
    ----------
    predictions : DataFrame
        Rows to count, with `label` and `predicted`.
    classes : sequence
        All classes, in the order of rows and columns.
    share : bool, default False
        Divide each row by its sum; NaN for classes that do not occur.

    Returns
    -------
    ndarray of float64, shape (n_classes, n_classes)
        Rows are true classes, columns predicted ones.

    Raises
    ------
    ValueError
        If a column is missing, `classes` repeats, or a class is not among `classes`.

    Examples
    --------
    >>> table = pd.DataFrame({"label": [0, 0, 1], "predicted": [0, 1, 1]})
    >>> confusion_matrix(table, [0, 1]).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    check_columns("predictions", predictions.columns, ["label", "predicted"])
    index = pd.Index(list(classes))
    if not index.is_unique:
        raise ValueError(f"`classes` repeats {index[index.duplicated()][0]!r}.")
    places = [index.get_indexer(predictions[c]) for c in ("label", "predicted")]
    for name, place in zip(("label", "predicted"), places, strict=True):
        if (place < 0).any():
            strange = predictions[name].iloc[int(np.argmax(place < 0))]
            raise ValueError(f"`{name}` has {strange!r}, which is not in `classes`.")
    n = len(index)
    counts = np.bincount(places[0] * n + places[1], minlength=n * n).reshape(n, n)
    matrix = counts.astype(np.float64)
    if not share:
        return matrix
    total = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, total, out=np.full_like(matrix, np.nan), where=total > 0)


def _check_predictions(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    needed = dict.fromkeys([*by, "run", "stimulus_id", "label", "predicted"])
    check_columns("predictions", table.columns, needed)
    if table.empty:
        raise ValueError("`predictions` has no rows.")
    return table.reset_index(drop=True)
