"""Which rows are held out together when a penalty is chosen."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_option, check_whole

Rows = NDArray[np.intp]


def contiguous_folds(n_samples: int, n_folds: int) -> tuple[Rows, ...]:
    """Cut rows into consecutive folds; the first ``n mod K`` have one row more.

    Parameters
    ----------
    n_samples : int
        Number of rows, >= `n_folds`.
    n_folds : int
        Number of folds K, >= 2.

    Returns
    -------
    tuple of ndarray of int
        Held-out rows of each fold, 0-based, ascending.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or out of range.

    Examples
    --------
    >>> [fold.tolist() for fold in contiguous_folds(5, 2)]
    [[0, 1, 2], [3, 4]]
    """
    check_whole("n_samples", n_samples, low=2)
    check_whole("n_folds", n_folds, low=2)
    if n_folds > n_samples:
        raise ValueError(
            f"`cv` asks for {n_folds} folds, but there are {n_samples} samples: use at "
            "most one fold per sample, or cv='loo'."
        )
    return tuple(np.array_split(np.arange(n_samples), n_folds))


def grouped_folds(groups: ArrayLike, n_folds: int) -> tuple[Rows, ...]:
    """Put all rows of one group, such as a stimulus, into one fold.

    Groups are cut into consecutive folds in the order in which they first appear, as
    `contiguous_folds` does with rows; with one row per group the two agree.

    Parameters
    ----------
    groups : array-like of int or str, shape (n_samples,)
        Group of each row, such as the stimulus it answers to.
    n_folds : int
        Number of folds, >= 2 and at most the number of groups.

    Returns
    -------
    tuple of ndarray of int
        Held-out rows of each fold, 0-based, ascending.

    Raises
    ------
    TypeError, ValueError
        If `groups` is no vector, or there are fewer groups than folds.

    Examples
    --------
    >>> [f.tolist() for f in grouped_folds(["b", "a", "b", "c"], 2)]
    [[0, 1, 2], [3]]
    """
    number = group_numbers(groups)
    n_groups = int(number.max()) + 1
    check_whole("n_folds", n_folds, low=2)
    if n_folds > n_groups:
        raise ValueError(
            f"`cv` asks for {n_folds} folds, but `groups` has {n_groups} distinct "
            "groups, and the rows of one group stay together: use fewer folds."
        )
    folds = contiguous_folds(n_groups, n_folds)
    return tuple(np.flatnonzero(np.isin(number, fold)) for fold in folds)


def group_numbers(groups: ArrayLike) -> NDArray[np.intp]:
    """Give groups the numbers 0, 1, ... in the order of their first rows.

    Parameters
    ----------
    groups : array-like of int or str, shape (n_samples,)
        Group of each row.

    Returns
    -------
    ndarray of int, shape (n_samples,)
        Number of the group of each row.

    Raises
    ------
    ValueError
        If `groups` is no vector, is empty, or has an undefined entry.

    Examples
    --------
    >>> group_numbers([7, 3, 7]).tolist()
    [0, 1, 0]
    """
    values = np.asarray(groups)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"`groups` must have one entry per sample, shape (n_samples,); got shape "
            f"{values.shape}."
        )
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError("`groups` has undefined entries (NaN): name every group.")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(g, len(numbers)) for g in values.tolist()])


def make_folds(
    cv: Any,
    n_samples: int,
    groups: ArrayLike | None = None,
    *,
    group_leakage: str = "raise",
) -> tuple[Rows, ...]:
    """Return the held-out rows of each fold, and refuse leakage between them.

    Parameters
    ----------
    cv : int, sequence, array of int, or splitter
        Number of folds: consecutive ones, of groups where `groups` are given. Or the
        held-out rows of each fold; or pairs of training and held-out rows; or one
        fold number per row as an array, -1 for rows that are never held out; or an
        object with scikit-learn's ``split(X, y, groups)``.
    n_samples : int
        Number of rows.
    groups : array-like of int or str, shape (n_samples,), optional
        Group of each row, such as its stimulus.
    group_leakage : {"raise", "allow"}
        What to do when one group is on both sides of a fold.

    Returns
    -------
    tuple of ndarray of int
        Held-out rows of each fold, 0-based; each row in at most one fold.

    Raises
    ------
    TypeError, ValueError
        If a row is in two folds, is out of range, or is neither trained on nor held
        out; a fold is empty or holds all rows; a group is on both sides of a fold.

    Examples
    --------
    >>> [f.tolist() for f in make_folds(np.array([0, 1, 0, -1]), 4)]
    [[0, 2], [1]]
    >>> [f.tolist() for f in make_folds(2, 4, ["cat", "dog", "cat", "owl"])]
    [[0, 1, 2], [3]]
    """
    check_option("group_leakage", group_leakage, ("raise", "allow"))
    if groups is not None and len(np.asarray(groups)) != n_samples:
        raise ValueError(
            f"`groups` must have one entry per sample; got {len(np.asarray(groups))} "
            f"entries for {n_samples} samples."
        )
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if cv < 2:
            raise ValueError(f"`cv` must be 2 folds or more; got {cv}.")
        if groups is None:
            return contiguous_folds(n_samples, int(cv))
        return grouped_folds(groups, int(cv))
    if isinstance(cv, str | bytes | float | bool) or cv is None:
        raise TypeError(
            "`cv` must be a number of folds, the held-out rows of each fold, one fold "
            f"number per row, or a splitter; got {cv!r}."
        )
    if hasattr(cv, "detach"):  # a tensor, whose `split` is another thing
        cv = cv.detach().cpu().numpy()
    folds = _explicit_folds(cv, n_samples, groups)
    _check_rows(folds, n_samples)
    if groups is not None and group_leakage == "raise":
        check_leakage(folds, groups)
    return folds


def _explicit_folds(
    cv: Any, n_samples: int, groups: ArrayLike | None
) -> tuple[Rows, ...]:
    if isinstance(cv, np.ndarray) and cv.ndim == 1 and cv.dtype.kind in "iu":
        if len(cv) != n_samples:
            raise ValueError(
                f"`cv` as an array gives the fold of each sample: {n_samples} numbers "
                f"are needed; got {len(cv)}."
            )
        return tuple(np.flatnonzero(cv == k) for k in np.unique(cv[cv >= 0]))
    if hasattr(cv, "split") and not isinstance(cv, np.ndarray):
        cv = list(cv.split(np.zeros((n_samples, 1)), None, groups))
    if not isinstance(cv, Iterable):
        raise TypeError(f"`cv` must say which rows are held out; got {cv!r}.")
    return tuple(_held_out(k, fold, n_samples) for k, fold in enumerate(cv))


def _held_out(k: int, fold: Any, n_samples: int) -> Rows:
    if isinstance(fold, tuple) and len(fold) == 2 and np.ndim(fold[0]) == 1:
        train, held = (_row_numbers(k, part) for part in fold)
        rest = np.setdiff1d(np.arange(n_samples), held)
        if not np.array_equal(np.sort(train), rest):
            raise ValueError(
                f"Fold {k} of `cv` trains on {len(train)} rows, but the solver trains "
                f"on all {len(rest)} rows that are not held out. Drop the unused rows "
                "from X and Y."
            )
        return held
    return _row_numbers(k, fold)


def _row_numbers(k: int, rows: Any) -> Rows:
    values = np.asarray(rows)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise TypeError(
            f"Fold {k} of `cv` must be a vector of row numbers; got {values.dtype} of "
            f"shape {values.shape}."
        )
    return values.astype(np.intp)


def _check_rows(folds: Sequence[Rows], n_samples: int) -> None:
    if not folds:
        raise ValueError("`cv` has no folds.")
    count = np.zeros(n_samples, int)
    for k, fold in enumerate(folds):
        if not 0 < len(fold) < n_samples:
            raise ValueError(
                f"Fold {k} of `cv` holds out {len(fold)} of {n_samples} rows: some "
                "must be held out and some be left to train on."
            )
        if fold.min() < 0 or fold.max() >= n_samples:
            raise ValueError(
                f"Fold {k} of `cv` has rows from {fold.min()} to {fold.max()}, but the "
                f"rows are 0 to {n_samples - 1}."
            )
        np.add.at(count, fold, 1)
    if count.max() > 1:
        raise ValueError(
            f"Row {int(count.argmax())} is held out {int(count.max())} times: folds of "
            "`cv` must not overlap. For repeated folds fit once per repetition."
        )


def check_leakage(folds: Sequence[Rows], groups: ArrayLike) -> None:
    """Raise if a group is both held out and trained on in some fold.

    Parameters
    ----------
    folds : sequence of ndarray of int
        Held-out rows of each fold.
    groups : array-like of int or str, shape (n_samples,)
        Group of each row.

    Raises
    ------
    ValueError
        If the rows of a group are in two folds, or only some of them in one; the
        first such group is named.

    Examples
    --------
    >>> check_leakage([np.array([0, 2]), np.array([1])], ["cat", "dog", "cat"])
    """
    names = np.asarray(groups).tolist()
    number = group_numbers(groups)
    place = np.full(len(number), -1)
    for k, fold in enumerate(folds):
        place[fold] = k
    first = np.full(int(number.max()) + 1, -2)
    first[number[::-1]] = place[::-1]  # the last one written is the first row
    wrong = np.flatnonzero(place != first[number])
    if wrong.size:
        row = int(wrong[0])
        here, there = (
            f"in fold {k}" if k >= 0 else "in no fold (always trained on)"
            for k in (int(first[number[row]]), int(place[row]))
        )
        n_leaks = len(np.unique(number[wrong]))
        raise ValueError(
            f"Group {names[row]!r} has rows {here} and {there}; {n_leaks} groups are "
            "split so, and scores would reward remembering them. Give cv as a number "
            "to keep groups together, or group_leakage='allow' if that is meant."
        )


@dataclass(frozen=True)
class FoldOrder:
    """Rows sorted by fold, those that are never held out last.

    Parameters
    ----------
    order : ndarray of int, shape (n_samples,)
        Row at each sorted place.
    bounds : tuple of int
        Where folds begin and end among the sorted rows; K + 1 numbers from 0.
    """

    order: Rows
    bounds: tuple[int, ...]

    @property
    def slices(self) -> list[slice]:
        """Sorted places of each fold."""
        pairs = zip(self.bounds[:-1], self.bounds[1:], strict=True)
        return [slice(a, b) for a, b in pairs]

    @property
    def is_identity(self) -> bool:
        """Whether sorting changes nothing."""
        return bool((self.order == np.arange(len(self.order))).all())


def sort_by_fold(folds: Sequence[Rows], n_samples: int) -> FoldOrder:
    """Sort rows so that each fold is one block.

    Parameters
    ----------
    folds : sequence of ndarray of int
        Held-out rows of each fold, disjoint.
    n_samples : int
        Number of rows.

    Returns
    -------
    FoldOrder
        Order and bounds.

    Examples
    --------
    >>> sort_by_fold([np.array([2]), np.array([0])], 3)
    FoldOrder(order=array([2, 0, 1]), bounds=(0, 1, 2))
    """
    held = np.concatenate(folds)
    rest = np.setdiff1d(np.arange(n_samples), held)
    bounds = np.cumsum([0, *map(len, folds)])
    return FoldOrder(np.concatenate([held, rest]), tuple(bounds.tolist()))
