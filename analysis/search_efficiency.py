"""How directly a scanpath reaches its target, and how people and models differ in it.

First say which fixations are on the target (`in_target_boxes`, `in_target_cells`);
steps, the share found, and path lengths follow from that. `behaviour_vectors` describes
scanpaths over objects by five numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.scanpath_sets import pack_scanpaths
from neurovis.core.checks import check_array, check_between

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

BEHAVIOURS = ("correct", "length", "search", "refix", "revisit")
"""The last axis of `behaviour_vectors`."""


def in_target_boxes(
    paths: Any, boxes_px: ArrayLike, *, edges: bool = False
) -> BoolArray:
    """Say which fixations are inside the box of the target.

    Parameters
    ----------
    paths : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    boxes_px : array-like of float, shape (n_scanpaths, 4) or (4,)
        Left, top, right and bottom edge of the target of each scanpath.
    edges : bool, default False
        Whether a fixation on an edge is inside; by default it is not.

    Returns
    -------
    ndarray of bool, shape (n_scanpaths, longest)
        False beyond the end of a scanpath and where a coordinate is undefined.

    Raises
    ------
    ValueError
        If the boxes do not fit the scanpaths, are not finite, or end before they begin.

    Examples
    --------
    >>> in_target_boxes([[(50, 50), (10, 12)], [(5, 7)]], (8, 8, 20, 20))
    array([[False,  True],
           [False, False]])
    """
    paths = pack_scanpaths(paths)
    boxes = np.asarray(boxes_px, np.float64)
    if boxes.ndim == 1:
        boxes = np.broadcast_to(boxes, (len(paths), *boxes.shape))
    check_array("boxes_px", boxes, shape=(len(paths), 4))
    left, top, right, bottom = boxes.T[:, :, None]
    ordered = (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
    wrong = np.flatnonzero(~(ordered & np.isfinite(boxes).all(axis=1)))
    if len(wrong):
        raise ValueError(
            "`boxes_px` must be left, top, right, bottom with left <= right and "
            f"top <= bottom; row {wrong[0]} is {boxes[wrong[0]].tolist()}. Leave out "
            "scanpaths without a target."
        )
    x, y = paths.x_px[:, : paths.longest], paths.y_px[:, : paths.longest]
    before = np.less_equal if edges else np.less
    inside = before(left, x) & before(x, right) & before(top, y) & before(y, bottom)
    return inside & (np.arange(paths.longest) < paths.n_fixations[:, None])


def in_target_cells(cells: Sequence[ArrayLike], targets: ArrayLike) -> BoolArray:
    """Say which fixations are on the cell (or object) of the target.

    Parameters
    ----------
    cells : sequence of int array-like, each of shape (n_fixations,)
        Cells looked at, one sequence per scanpath.
    targets : array-like of int, shape (n_scanpaths,) or ()
        Cell of the target of each scanpath.

    Returns
    -------
    ndarray of bool, shape (n_scanpaths, longest)
        False beyond the end of a scanpath.

    Raises
    ------
    TypeError, ValueError
        If cells are not whole numbers, or the lengths differ.

    Examples
    --------
    >>> in_target_cells([[3, 5, 3], [4]], 3)
    array([[ True, False,  True],
           [False, False, False]])
    """
    ids, lengths = _pack_cells(cells)
    target = _targets(targets, len(lengths))
    return (ids == target[:, None]) & (np.arange(ids.shape[1]) < lengths[:, None])


def _pack_cells(cells: Sequence[ArrayLike]) -> tuple[IntArray, IntArray]:
    """Return padded cells, -1 beyond the end of a scanpath, and lengths."""
    rows = [np.asarray(row) for row in cells]
    for i, row in enumerate(rows):
        if row.ndim != 1 or (len(row) and not np.issubdtype(row.dtype, np.integer)):
            raise TypeError(
                f"`cells[{i}]` must be a sequence of whole numbers, one per fixation; "
                f"got {row.dtype} of shape {row.shape}."
            )
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.full((len(rows), int(lengths.max(initial=0))), -1, np.int64)
    for each, row in zip(ids, rows, strict=True):
        each[: len(row)] = row
    return ids, lengths


def _targets(targets: ArrayLike, n: int) -> IntArray:
    """Return the cell of the target of each scanpath."""
    array = np.asarray(targets)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"`targets` must be whole numbers; got {array.dtype}.")
    if array.ndim == 0:
        array = np.broadcast_to(array, (n,))
    return check_array("targets", array, shape=(n,)).astype(np.int64)


def steps_to_target(on_target: ArrayLike, *, initial: bool = True) -> FloatArray:
    """Count the fixations up to the first one on the target.

    Parameters
    ----------
    on_target : array-like of bool, shape (n_scanpaths, longest)
        Which fixations are on the target.
    initial : bool, default True
        Whether fixation 0 is a step: steps are then 1 + its index, as in
        COCO-Search18, where fixation 0 is the given start at the centre. With False it
        is neither counted nor can it find the target, and the first saccade is step 1.

    Returns
    -------
    ndarray of float64, shape (n_scanpaths,)
        1, 2, ...; NaN when no fixation is on the target.

    Raises
    ------
    ValueError
        If `on_target` is not two-dimensional.

    References
    ----------
    Yang, Huang, Chen, Wei, Ahn, Zelinsky, Samaras and Hoai (2020). Predicting
    goal-directed human attention using inverse reinforcement learning. CVPR.
    doi:10.1109/CVPR42600.2020.00027

    Examples
    --------
    >>> steps_to_target([[False, True, True], [False, False, False]])
    array([ 2., nan])
    """
    hits = check_array("on_target", on_target, shape=(None, None)).astype(bool)
    if not initial:
        hits = hits[:, 1:]
    if not hits.shape[1]:
        return np.full(len(hits), np.nan)
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.nan)


def found_by_step(
    steps: ArrayLike, *, n_steps: int, groups: ArrayLike | None = None
) -> FloatArray:
    """Compute the share of scanpaths that have found the target by each step.

    Parameters
    ----------
    steps : array-like of float, shape (n_scanpaths,)
        As `steps_to_target` gives them; NaN is not found.
    n_steps : int
        Steps 1..n_steps, >= 1.
    groups : array-like, shape (n_scanpaths,), optional
        Such as the category of the target: the share is computed per group and
        averaged over groups, so that each counts alike.

    Returns
    -------
    ndarray of float64, shape (n_steps,)
        Shares, 0..1, that do not fall; NaN when there is no scanpath.

    Raises
    ------
    ValueError
        If `n_steps` is below 1, the lengths differ, or a group is undefined.

    Examples
    --------
    >>> found_by_step([1, 3, np.nan, 3], n_steps=3)
    array([0.25, 0.25, 0.75])
    >>> found_by_step(
    ...     [1, 3, np.nan, 3], n_steps=3, groups=["cup", "fork", "fork", "fork"]
    ... )
    array([0.5       , 0.5       , 0.83333333])
    """
    n = int(check_between("n_steps", n_steps, low=1))
    array = check_array("steps", np.asarray(steps, np.float64), shape=(None,))
    if not len(array):
        return np.full(n, np.nan)
    found = array[:, None] <= np.arange(1, n + 1)
    if groups is None:
        return found.mean(axis=0)
    labels = check_array("groups", np.asarray(groups), shape=array.shape)
    number, kinds = pd.factorize(labels)
    if (number < 0).any():
        raise ValueError("`groups` has undefined values: name the group of each.")
    shares = np.zeros((len(kinds), n))
    np.add.at(shares, number, found)
    return (shares / np.bincount(number)[:, None]).mean(axis=0)


def tfp_auc(found: ArrayLike, *, normalise: bool = False) -> float:
    """Sum the curve of target fixation probability.

    Parameters
    ----------
    found : array-like of float, shape (n_steps,)
        As `found_by_step` gives it.
    normalise : bool, default False
        Divide by the number of steps.

    Returns
    -------
    float
        0..n_steps, or 0..1; higher is faster.

    Raises
    ------
    ValueError
        If `found` is not one-dimensional.

    Examples
    --------
    >>> tfp_auc([0.0, 0.5, 1.0]), tfp_auc([0.0, 0.5, 1.0], normalise=True)
    (1.5, 0.5)
    """
    curve = check_array("found", np.asarray(found, np.float64), shape=(None,))
    if not len(curve):
        return float("nan")
    return float(curve.mean() if normalise else curve.sum())


def probability_mismatch(pred: ArrayLike, human: ArrayLike) -> float:
    """Compute the area between two curves of target fixation probability.

    Parameters
    ----------
    pred, human : array-like of float, shape (n_steps,)
        As `found_by_step` gives them, over the same steps.

    Returns
    -------
    float
        ``sum_i |pred_i - human_i|``, 0..n_steps; lower is better.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> probability_mismatch([0.0, 0.5, 1.0], [0.25, 0.25, 1.0])
    0.5
    """
    one = check_array("pred", np.asarray(pred, np.float64), shape=(None,))
    two = check_array("human", np.asarray(human, np.float64), shape=one.shape)
    return float(np.abs(one - two).sum())


def scanpath_ratio(
    paths: Any, on_target: ArrayLike, target_px: ArrayLike
) -> FloatArray:
    """Compute how direct the way to the target was: 1 is straight.

    Distance of the first fixation from the target, divided by the length of the path
    up to the first fixation on the target, and at most 1.

    Parameters
    ----------
    paths : ScanpathSet, or sequence of Scanpath or of array-like (n_fixations, 2)
        Scanpaths in pixels.
    on_target : array-like of bool, shape (n_scanpaths, longest)
        Which fixations are on the target.
    target_px : array-like of float, shape (n_scanpaths, 2) or (2,)
        x and y of the centre of the target.

    Returns
    -------
    ndarray of float64, shape (n_scanpaths,)
        0..1; NaN when the target was not found or found by the first fixation, or a
        coordinate on the way is undefined.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Yang, Huang, Chen, Wei, Ahn, Zelinsky, Samaras and Hoai (2020). CVPR.
    doi:10.1109/CVPR42600.2020.00027

    Examples
    --------
    >>> path = [(0, 0), (30, 0), (30, 40)]
    >>> hit = in_target_boxes([path], (20, 30, 40, 50))
    >>> scanpath_ratio([path], hit, (30, 40)).round(3)
    array([0.714])
    """
    paths = pack_scanpaths(paths)
    n, longest = len(paths), paths.longest
    hits = check_array("on_target", on_target, shape=(n, longest)).astype(bool)
    target = np.asarray(target_px, np.float64)
    if target.ndim == 1:
        target = np.broadcast_to(target, (n, *target.shape))
    check_array("target_px", target, shape=(n, 2))
    if longest < 2:
        return np.full(n, np.nan)
    x, y = paths.x_px[:, :longest], paths.y_px[:, :longest]
    last = hits.argmax(axis=1)
    saccades = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    before = np.arange(longest - 1) < last[:, None]
    length = np.where(before, saccades, 0.0).sum(axis=1)
    direct = np.hypot(x[:, 0] - target[:, 0], y[:, 0] - target[:, 1])
    length[length == 0] = np.nan
    return np.minimum(direct / length, 1.0)


def behaviour_vectors(cells: Sequence[ArrayLike], targets: ArrayLike) -> FloatArray:
    """Describe scanpaths over objects by five numbers.

    A scanpath falls into runs of the same object. `correct` is 1 when it ends on the
    target; `length` counts its fixations; of these `search` is the share that opens
    the first run on an object, `revisit` the share that opens a later run on it, and
    `refix` the share that stays in a run. The three shares sum to 1.

    Parameters
    ----------
    cells : sequence of int array-like, each of shape (n_fixations,)
        Objects looked at, one sequence per scanpath, none empty.
    targets : array-like of int, shape (n_scanpaths,) or ()
        Object that was searched for.

    Returns
    -------
    ndarray of float64, shape (n_scanpaths, 5)
        The `BEHAVIOURS`.

    Raises
    ------
    TypeError
        If objects are not whole numbers.
    ValueError
        If a scanpath is empty: it has no last fixation and no shares.

    References
    ----------
    Fang, Yu, Zhang, van der Lans and Shi (2024). OAT: object-level attention
    transformer for gaze scanpath prediction. ECCV.

    Examples
    --------
    >>> behaviour_vectors([[5, 5, 4, 5, 3]], 3).tolist()
    [[1.0, 5.0, 0.6, 0.2, 0.2]]
    """
    ids, lengths = _pack_cells(cells)
    target = _targets(targets, len(lengths))
    if (lengths == 0).any():
        rows = np.flatnonzero(lengths == 0).tolist()
        raise ValueError(
            f"`cells` has {len(rows)} empty scanpaths, the first in row {rows[0]}: "
            "they have no behaviour. Leave them out, and say how many there were."
        )
    inside = np.arange(ids.shape[1]) < lengths[:, None]
    last = ids[np.arange(len(ids)), lengths - 1]
    opens = inside.copy()
    opens[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    n_runs = opens.sum(axis=1)
    n_objects = _count_distinct(ids, inside)
    return np.column_stack(
        [
            last == target,
            lengths,
            n_objects / lengths,
            (lengths - n_runs) / lengths,
            (n_runs - n_objects) / lengths,
        ]
    )


def _count_distinct(ids: IntArray, inside: BoolArray) -> IntArray:
    """Count the different values among the inside ones of each row."""
    # Beyond the end the first object is repeated, which adds none.
    ordered = np.sort(np.where(inside, ids, ids[:, :1]), axis=1)
    return 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)


def behaviour_terms(pred: ArrayLike, human: ArrayLike) -> FloatArray:
    """Compute how far the mean behaviour is from that of people, term by term.

    Parameters
    ----------
    pred, human : array-like of float, shape (n_scanpaths, 5) or (5,)
        As `behaviour_vectors` gives them; they are averaged over scanpaths.

    Returns
    -------
    ndarray of float64, shape (5,)
        ``|pred_k - human_k| / human_k`` for the `BEHAVIOURS`; NaN where people have 0.

    Raises
    ------
    ValueError
        If a vector does not have five numbers, or there is none.

    Examples
    --------
    >>> behaviour_terms([1, 5, 0.6, 0.2, 0.2], [1, 4, 0.75, 0.25, 0])
    array([0.  , 0.25, 0.2 , 0.2 ,  nan])
    """
    means = []
    for name, value in (("pred", pred), ("human", human)):
        rows = np.atleast_2d(np.asarray(value, np.float64))
        check_array(name, rows, shape=(None, len(BEHAVIOURS)))
        if not len(rows):
            raise ValueError(f"`{name}` has no scanpath: at least one is needed.")
        means.append(rows.mean(axis=0))
    model, people = means
    return np.abs(model - people) / np.where(people == 0, np.nan, people)


def behaviour_delta(pred: ArrayLike, human: ArrayLike) -> float:
    """Compute the mean relative distance of behaviour from that of people.

    Parameters
    ----------
    pred, human : array-like of float, shape (n_scanpaths, 5) or (5,)
        As `behaviour_vectors` gives them; they are averaged over scanpaths.

    Returns
    -------
    float
        Mean of `behaviour_terms`, 0 for equal behaviour; NaN when people have 0 in
        one of the five, where its term is undefined. `behaviour_terms` says which.

    Raises
    ------
    ValueError
        If a vector does not have five numbers, or there is none.

    Notes
    -----
    The published code leaves undefined terms out of the sum but divides by five, which
    makes such a delta look better than it is. Weak alone: human scanpaths from other
    displays get a small delta.

    References
    ----------
    Fang, Yu, Zhang, van der Lans and Shi (2024). OAT: object-level attention
    transformer for gaze scanpath prediction. ECCV.

    Examples
    --------
    >>> round(behaviour_delta([1, 5, 0.6, 0.2, 0.2], [1, 4, 0.6, 0.2, 0.2]), 3)
    0.05
    """
    return float(behaviour_terms(pred, human).mean())
