"""Odd-one-out choices of several observers: agreement, noise ceiling, categories.

Triplets are rows of three indices of objects; the third one was chosen as the odd one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.odd_one_out import check_triplets
from analysis.stats import percentile_interval
from neurovis.core.checks import check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """A share of triplets with its interval.

    Parameters
    ----------
    value : float
        0..1; NaN without triplets.
    ci_low, ci_high : float
        Central 95 % of bootstrap samples of triplets; NaN with fewer than two.
    n : int
        Triplets.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int


@dataclass(frozen=True)
class TripletCeiling:
    """How well the choices of people could be predicted at best.

    Parameters
    ----------
    low : float
        Share of answers that are the most frequent one among the other answers to the
        same triplet; equal frequencies share a point. A model that knows people only
        from other answers reaches about this.
    high : float
        Share of answers that are the most frequent one to their triplet, these
        included: too high with few repeats.
    n_triplets, n_answers : int
        Triplets with two answers or more, and their answers.
    """

    low: float
    high: float
    n_triplets: int
    n_answers: int


def share_of(right: ArrayLike, *, n_bootstrap: int = 1000, seed: int = 0) -> Agreement:
    """Compute a share with a bootstrap interval.

    Parameters
    ----------
    right : array-like of bool, shape (n_triplets,)
        What is counted.
    n_bootstrap : int, default 1000
        Bootstrap samples.
    seed : int, default 0
        Seed of the samples.

    Returns
    -------
    Agreement
        The share of true values.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    The number of true values in a bootstrap sample of n has a binomial distribution:
    it is drawn as such.

    Examples
    --------
    >>> share_of([True, False]).value
    0.5
    """
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=1)
    flags = np.asarray(right, bool)
    n = flags.size
    value = float(flags.mean()) if n else float("nan")
    if n < 2:
        return Agreement(value, float("nan"), float("nan"), n)
    rng = generator(seed, "triplet bootstrap")
    low, high = percentile_interval(rng.binomial(n, value, n_bootstrap) / n)
    return Agreement(value, float(low), float(high), n)


def choice_agreement(
    triplets: ArrayLike, others: ArrayLike, *, n_bootstrap: int = 1000, seed: int = 0
) -> Agreement:
    """Compute how often two observers choose the same object.

    Parameters
    ----------
    triplets, others : array-like of int, shape (n_triplets, 3)
        Choices of two observers; row by row the same three objects. The order of the
        first two does not matter.
    n_bootstrap : int, default 1000
        Bootstrap samples of triplets.
    seed : int, default 0
        Seed of the samples.

    Returns
    -------
    Agreement
        Share of triplets with the same odd one; guessing gives 1/3.

    Raises
    ------
    TypeError, ValueError
        If the rows are not the same triplets.

    Examples
    --------
    >>> choice_agreement([[0, 1, 2], [3, 4, 5]], [[1, 0, 2], [3, 5, 4]]).value
    0.5
    """
    a, b = check_triplets(triplets), check_triplets(others)
    check_same_objects({"triplets": a, "others": b})
    return share_of(a[:, 2] == b[:, 2], n_bootstrap=n_bootstrap, seed=seed)


def check_same_objects(observers: dict[str, IntArray]) -> None:
    """Raise unless all observers saw the same triplets, row by row.

    Parameters
    ----------
    observers : dict of str to ndarray of int64, shape (n_triplets, 3)
        Triplets by name.

    Raises
    ------
    ValueError
        If numbers of rows differ, or the objects of a row.
    """
    names = list(observers)
    first = np.sort(observers[names[0]], axis=1)
    for name in names[1:]:
        other = np.sort(observers[name], axis=1)
        if len(other) != len(first):
            raise ValueError(
                f"`{names[0]}` has {len(first)} triplets, but `{name}` has "
                f"{len(other)}: row by row both need the same objects."
            )
        differs = (first != other).any(axis=1)
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise ValueError(
                f"Row {row} of `{names[0]}` has the objects {first[row].tolist()}, "
                f"but that of `{name}` has {other[row].tolist()}: row by row both need "
                "the same objects."
            )


def triplet_ceiling(triplets: ArrayLike) -> TripletCeiling:
    """Compute the noise ceiling from triplets that were answered several times.

    Parameters
    ----------
    triplets : array-like of int, shape (n_answers, 3)
        Answers, the odd one third; the same three objects may come again in any order.

    Returns
    -------
    TripletCeiling
        Means over triplets with two answers or more; NaN where there is none.

    Raises
    ------
    TypeError, ValueError
        If a triplet is wrong.

    Examples
    --------
    >>> triplet_ceiling([[0, 1, 2], [1, 0, 2], [0, 2, 1], [0, 1, 2]]).high
    0.75
    """
    rows = check_triplets(triplets)
    ordered = np.sort(rows, axis=1)
    _, which = np.unique(ordered, axis=0, return_inverse=True)
    position = (ordered == rows[:, 2:]).argmax(axis=1)
    counts = np.zeros((which.max() + 1, 3))
    np.add.at(counts, (which.reshape(-1), position), 1)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return TripletCeiling(float("nan"), float("nan"), 0, 0)
    n = counts.sum(axis=1)
    low = np.zeros(len(counts))
    for answer in range(3):
        rest = counts.copy()
        rest[:, answer] -= 1
        is_mode = rest == rest.max(axis=1, keepdims=True)
        low += counts[:, answer] * is_mode[:, answer] / is_mode.sum(axis=1)
    high = counts.max(axis=1) / n
    means = float((low / n).mean()), float(high.mean())
    return TripletCeiling(*means, len(counts), int(n.sum()))


def category_choices(labels: Sequence[str], triplets: ArrayLike) -> IntArray:
    """Choose the object without a category in common with the other two.

    Parameters
    ----------
    labels : sequence of str, length n_objects
        Category of each object, compared as a whole; an empty one matches nothing.
    triplets : array-like of int, shape (n_triplets, 3)
        Indices of objects.

    Returns
    -------
    ndarray of int64, shape (n_triplets,)
        Position of the odd object where exactly one pair shares its category; -1
        where categories tell nothing.

    Raises
    ------
    TypeError, ValueError
        If a triplet is wrong.

    Examples
    --------
    >>> category_choices(["animal", "", "animal", "tool"], [[0, 1, 2], [0, 1, 3]])
    array([ 1, -1])
    """
    names = np.asarray(list(labels), dtype=str)
    rows = check_triplets(triplets, len(names))
    i, j, k = names[rows].T
    same = np.stack([(a == b) & (a != "") for a, b in ((i, j), (i, k), (j, k))], axis=1)
    return np.where(same.sum(axis=1) == 1, 2 - same.argmax(axis=1), -1)


def category_embedding(labels: Sequence[str]) -> FloatArray:
    """Return categories as an embedding: one dimension each, 1 for its members.

    Parameters
    ----------
    labels : sequence of str, length n_objects
        Category of each object; an empty one is none.

    Returns
    -------
    ndarray of float64, shape (n_objects, n_categories)
        Categories in the order of their names; a row of zeros for no category.

    Raises
    ------
    ValueError
        If no object has a category.

    Examples
    --------
    >>> category_embedding(["tool", "", "animal"]).tolist()
    [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    names = np.asarray(list(labels), dtype=str)
    kinds = np.unique(names[names != ""])
    if not len(kinds):
        raise ValueError("`labels` names no category: all are empty.")
    return np.asarray(names[:, None] == kinds, np.float64)
