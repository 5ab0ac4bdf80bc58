"""Trials of several observers with the same pictures, side by side as arrays.

A table of trials has one row per observer and picture: `subject`, `image_id`,
`correct` (bool), and columns that tell experiments and conditions apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_columns

FloatArray = NDArray[np.float64]

NO_RESPONSE = "na"
"""How data sets write that nobody answered in time; it counts as an error."""


@dataclass(frozen=True, eq=False)
class AlignedTrials:
    """Who was right on which picture, within one condition.

    Parameters
    ----------
    key : tuple
        Values of the columns that tell conditions apart.
    subjects : tuple of str
        Observers, in order of appearance in the whole table.
    images : tuple of str
        Pictures that any of them saw, sorted.
    correct : ndarray of float64, shape (n_subjects, n_images)
        1 where right, 0 where wrong or not seen.
    seen : ndarray of bool, shape (n_subjects, n_images)
        Whether there is a trial.
    """

    key: tuple[Any, ...]
    subjects: tuple[str, ...]
    images: tuple[str, ...]
    correct: FloatArray
    seen: NDArray[np.bool_]

    def check_same_images(
        self, first: NDArray[np.intp], second: NDArray[np.intp]
    ) -> None:
        """Raise unless both observers of each pair saw the same pictures.

        Parameters
        ----------
        first : ndarray of int, shape (n_pairs,)
            Rows of the first observers.
        second : ndarray of int, shape (n_pairs,)
            Rows of the second observers.

        Raises
        ------
        ValueError
            If a picture was seen by one of two only; names both and the picture.
        """
        seen = self.seen.astype(np.float64)
        n_seen = seen.sum(axis=1)
        shared = (seen @ seen.T)[first, second]
        wrong = np.flatnonzero((shared != n_seen[first]) | (shared != n_seen[second]))
        if not len(wrong):
            return
        rows = first[wrong[0]], second[wrong[0]]
        alone = np.flatnonzero(self.seen[rows[0]] != self.seen[rows[1]])
        names = [self.subjects[row] for row in rows]
        who = names[0] if self.seen[rows[0], alone[0]] else names[1]
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} did not see the same pictures"
            f"{where(self.key)}: {len(alone)} were seen by one of them only, such as "
            f"{self.images[alone[0]]!r} ({who!r}). Keep the pictures that both saw."
        )


def where(key: tuple[Any, ...]) -> str:
    """Name a condition in a message.

    Parameters
    ----------
    key : tuple
        Values of the columns that tell conditions apart.

    Returns
    -------
    str
        " in 'a', 'b'", or nothing if there is one condition only.

    Examples
    --------
    >>> where(("contrast", "c10"))
    " in 'contrast', 'c10'"
    """
    return f" in {', '.join(repr(value) for value in key)}" if key else ""


def align_trials(trials: pd.DataFrame, by: Sequence[str]) -> Iterator[AlignedTrials]:
    """Yield the trials of each condition, aligned by picture.

    Parameters
    ----------
    trials : DataFrame
        Table of trials, in any order.
    by : sequence of str
        Columns that tell conditions apart; none for one condition.

    Yields
    ------
    AlignedTrials
        One per condition, in order of first appearance.

    Raises
    ------
    ValueError
        If a column is missing, a value undefined, or an observer saw a picture twice
        within a condition.
    """
    check_columns("trials", trials.columns, ["subject", "image_id", "correct", *by])
    correct = check_true_or_false("correct", trials["correct"])
    for name in ("subject", "image_id"):
        if trials[name].isna().any():
            raise ValueError(f"`trials` has a missing {name}: name all of them.")
    order = {name: i for i, name in enumerate(trials["subject"].astype(str).unique())}
    table = pd.DataFrame(
        {
            "subject": trials["subject"].astype(str).map(order).to_numpy(),
            "image": trials["image_id"].astype(str).to_numpy(),
            "correct": correct,
        }
    )
    names = list(order)
    if by:
        groups = trials[list(by)].reset_index(drop=True)
        number = groups.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()
        keys = groups.drop_duplicates().itertuples(index=False, name=None)
    else:
        number, keys = np.zeros(len(table), int), iter([()] if len(table) else [])
    rows_of = table.groupby(number, sort=True).indices
    for place, key in enumerate(keys):
        yield _aligned(tuple(key), table.iloc[rows_of[place]], names)


def _aligned(
    key: tuple[Any, ...], table: pd.DataFrame, names: list[str]
) -> AlignedTrials:
    repeated = table.duplicated(["subject", "image"])
    if repeated.any():
        row = table[repeated].iloc[0]
        raise ValueError(
            f"{names[row['subject']]!r} saw the picture {row['image']!r} more than "
            f"once{where(key)}: pictures are matched by identity, so each may come "
            "once. Tell the repetitions apart by a column of `by`."
        )
    present, subject = np.unique(table["subject"].to_numpy(), return_inverse=True)
    image, images = pd.factorize(table["image"], sort=True)
    correct = np.zeros((len(present), len(images)))
    seen = np.zeros(correct.shape, np.bool_)
    correct[subject, image] = table["correct"].to_numpy()
    seen[subject, image] = True
    subjects = tuple(names[place] for place in present)
    return AlignedTrials(key, subjects, tuple(images), correct, seen)


def check_true_or_false(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    """Return values that are true or false, or 1 or 0.

    Parameters
    ----------
    name : str
        Argument name for the message.
    values : array-like of bool, shape (n,)
        What came.

    Returns
    -------
    ndarray of bool, shape (n,)
        The values.

    Raises
    ------
    ValueError
        If there are more axes than one, or a value is missing or something else.

    Examples
    --------
    >>> check_true_or_false("correct", [1, 0]).tolist()
    [True, False]
    """
    given = np.asarray(values)
    if given.ndim != 1:
        raise ValueError(f"`{name}` must have shape (any); got {given.shape}.")
    if given.dtype == np.bool_:
        return given
    strange = [v for v in given.tolist() if v is pd.NA or v not in (True, False)]
    if strange:
        raise ValueError(
            f"`{name}` must be true or false for every trial; got {strange[0]!r}. An "
            "answer that is missing counts as wrong."
        )
    return given.astype(np.bool_)


def consistencies(
    right_first: FloatArray,
    right_second: FloatArray,
    right_both: FloatArray,
    n: float | FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Compute expected consistency, observed consistency and kappa from counts.

    Parameters
    ----------
    right_first : ndarray of float64, shape (...)
        Trials in which the first observer was right.
    right_second : ndarray of float64, shape (...)
        Trials in which the second one was.
    right_both : ndarray of float64, shape (...)
        Trials in which both were.
    n : float or ndarray of float64, shape (...)
        Trials, >= 1.

    Returns
    -------
    expected, observed, kappa : ndarray of float64, shape (...)
        Shares of trials, and Cohen's kappa, 1 where the observed consistency is.

    Examples
    --------
    >>> counts = np.array([8.0]), np.array([8.0]), np.array([7.0])
    >>> [round(float(value[0]), 3) for value in consistencies(*counts, 10)]
    [0.68, 0.8, 0.375]
    """
    p1, p2 = right_first / n, right_second / n
    expected = p1 * p2 + (1 - p1) * (1 - p2)
    observed = (n - right_first - right_second + 2 * right_both) / n
    kappa = np.ones_like(observed)
    np.divide(observed - expected, 1 - expected, out=kappa, where=observed < 1)
    return expected, observed, kappa
