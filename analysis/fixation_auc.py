"""Areas under the ROC curve of fixation maps.

Positives are the values of a map at the fixations. Measures differ in the negatives
and in the points of the curve: the exact area against all, unfixated or other images'
fixated pixels (`auc`), AUC-Judd in its three public forms (`auc_judd`) and AUC-Borji
with random negatives (`auc_borji`). Maps and fixations as in `fixation_maps`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fixated_pixels import (
    FixatedPixels,
    FloatArray,
    IntArray,
    Rows,
    check_maps,
    mean_per_map,
    row_of,
    values_at,
)
from neurovis.core.checks import check_array, check_between, check_option
from neurovis.core.rng import generator

Keys = Sequence[str | int] | None

JITTER = 1e-7

# With more pixels than this per fixation, comparing all pixels with each fixated value
# is faster than sorting them.
_PIXELS_PER_FIXATION = 25_000


def auc(
    pred: Any, human: FixatedPixels, negatives: str | FixatedPixels = "unfixated"
) -> FloatArray:
    """Compute the exact area under the ROC curve.

    The probability that a fixation has a larger value than a negative, ties counting
    half. Chance is 0.5.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps.
    human : FixatedPixels
        Fixations; each counts, also on the same pixel.
    negatives : {"unfixated", "uniform"} or FixatedPixels
        The pixels without a fixation of the group, all pixels, or fixations on other
        images (shuffled AUC, sAUC): one group per map or one for all, each fixation
        counting. `FixatedPixels.rescale` brings them from images of another size.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        0..1; 0.5 for a constant map; NaN for a map with NaN, without fixations or
        without negatives.

    Raises
    ------
    ValueError
        If maps and fixations do not fit or `negatives` is unknown.

    References
    ----------
    Tatler, Baddeley and Gilchrist (2005), doi:10.1016/j.visres.2004.09.017, for
    negatives from other images.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> pixels = fixated_pixels([2, 1], [0, 0], (1, 4))
    >>> auc([[0.0, 1.0, 2.0, 1.0]], pixels)
    array([0.875])
    """
    return mean_per_map(auc_per_fixation(pred, human, negatives), human)


def auc_per_fixation(
    pred: Any, human: FixatedPixels, negatives: str | FixatedPixels = "unfixated"
) -> FloatArray:
    """Compute, for each fixation, the share of negatives below it.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps.
    human : FixatedPixels
        Fixations.
    negatives : {"unfixated", "uniform"} or FixatedPixels
        As in `auc`.

    Returns
    -------
    ndarray of float64, shape (n_fixations,)
        0..1 in the order of `human`, ties counting half.

    Raises
    ------
    ValueError
        As in `auc`.
    """
    maps = check_maps("pred", pred, human)
    if isinstance(negatives, FixatedPixels):
        below, above, n = _rank_among(maps, human, _check_other(negatives, human))
        below[np.isnan(maps.min(axis=1))[row_of(maps, human)]] = np.nan
    else:
        check_option("negatives", negatives, ("unfixated", "uniform"))
        below, above, n = pixel_ranks(maps, human)
        if negatives == "unfixated":
            fixated = _rank_among(maps, human, human.distinct())
            below, above, n = below - fixated[0], above - fixated[1], n - fixated[2]
    with np.errstate(invalid="ignore"):
        return (0.5 + 0.5 * (below - above) / n).astype(np.float64)


def _check_other(other: FixatedPixels, human: FixatedPixels) -> FixatedPixels:
    if other.shape != human.shape:
        raise ValueError(
            f"The other fixations are pixels of {other.shape[0]} x {other.shape[1]}, "
            f"`human` of {human.shape[0]} x {human.shape[1]} (height x width): use "
            "`FixatedPixels.rescale`."
        )
    if other.n_maps not in (1, human.n_maps):
        raise ValueError(
            f"The other fixations have {other.n_maps} groups but `human` has "
            f"{human.n_maps}: give one group per map, or one for all (`pool`)."
        )
    return other


Ranks = tuple[FloatArray, FloatArray, FloatArray]


def pixel_ranks(maps: Rows, human: FixatedPixels, *, above: bool = True) -> Ranks:
    """Count, for each fixation, the pixels of its map below, above, and in all.

    Parameters
    ----------
    maps : ndarray, shape (n_maps or 1, n_pixels)
        What `check_maps` returned.
    human : FixatedPixels
        Fixations.
    above : bool, default True
        False if only those below are needed, which may save half the time.

    Returns
    -------
    below, above, in_all : ndarray of float64, shape (n_fixations,)
        Whole numbers; the first two are NaN on a map with NaN.
    """
    # A map that serves all groups is sorted once.
    groups = human if len(maps) > 1 else human.pool()
    values = values_at(maps, human)
    n_below, n_above = np.empty((2, len(human)))
    for i, pixels in enumerate(maps):
        own = slice(*groups.bounds[i : i + 2])
        n_below[own], n_above[own] = _rank(values[own], pixels, above=above)
    return n_below, n_above, np.full(len(human), float(human.n_pixels))


def _rank_among(maps: Rows, human: FixatedPixels, other: FixatedPixels) -> Ranks:
    """Count, per fixation, the values at `other` below, above, and in all."""
    values = values_at(maps, human)
    below, above = np.empty((2, len(human)))
    for i in np.flatnonzero(human.n_fixations):
        own = slice(*human.bounds[i : i + 2])
        theirs = slice(*other.bounds[i : i + 2]) if other.n_maps > 1 else slice(None)
        pixels = maps[i if len(maps) > 1 else 0]
        below[own], above[own] = _rank(values[own], pixels[other.flat[theirs]])
    n = other.n_fixations[np.minimum(human.map_index, other.n_maps - 1)]
    return below, above, n.astype(np.float64)


def _rank(values: Rows, among: Rows, *, above: bool = True) -> tuple[Any, Any]:
    """Count how many of `among` are below and above each value; NaN if any is NaN."""
    if not values.size:
        return values, values
    if values.size * _PIXELS_PER_FIXATION <= among.size:
        if np.isnan(among.min()):
            return np.nan, np.nan
        below = [np.count_nonzero(among < value) for value in values]
        if not above:
            return below, np.nan
        return below, [np.count_nonzero(among > value) for value in values]
    order = np.sort(among)
    if order.size and np.isnan(order[-1]):  # NaN comes last
        return np.nan, np.nan
    return (
        np.searchsorted(order, values, "left"),
        len(order) - np.searchsorted(order, values, "right"),
    )


def auc_judd(
    pred: Any,
    human: FixatedPixels,
    *,
    variant: str = "matlab",
    jitter_seed: int | np.random.Generator | None = None,
    keys: Keys = None,
) -> FloatArray:
    """Compute AUC-Judd: the curve has points at the fixated values only.

    Between those points the curve is a straight line, so that it lies above the exact
    area (`auc`) where fixations are few.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps.
    human : FixatedPixels
        Fixations.
    variant : {"matlab", "vame", "pysaliency"}
        Hit rate and false-alarm rate at the i-th largest of n values at distinct
        fixated pixels, with a of all N pixels at or above it. "matlab" (the original):
        i / n and (a - i) / (N - n). "vame" (also in HAT): i / n and
        (a - i + 1) / (N - n), too high by one pixel. "pysaliency": shares of fixations
        and of unfixated pixels at or above, each fixation counting.
    jitter_seed : int or numpy.random.Generator, optional
        Break ties with uniform noise of 0..1e-7; by default none is added.
    keys : sequence of str or int, optional
        Identity of each map, which with an int seed decides its noise; by default its
        number.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        NaN for a map with NaN, without fixations or without unfixated pixels, and,
        but for "pysaliency" (0.5), for a constant map.

    Raises
    ------
    ValueError
        If maps, fixations and keys do not fit or the variant is unknown.

    References
    ----------
    Judd, Durand and Torralba (2012), MIT-CSAIL-TR-2012-001.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> pixels = fixated_pixels([2], [0], (1, 4))
    >>> auc_judd([[0.0, 1.0, 3.0, 4.0]], pixels).round(3)
    array([0.833])
    """
    check_option("variant", variant, ("matlab", "vame", "pysaliency"))
    maps = check_maps("pred", pred, human)
    if jitter_seed is not None:
        rngs = _generators(jitter_seed, "auc_judd", keys, len(maps))
        maps = maps.astype(np.float64)
        for row, rng in zip(maps, rngs, strict=True):
            row += rng.uniform(0, JITTER, len(row))
    positives = human if variant == "pysaliency" else human.distinct()
    below, _, n_pixels = pixel_ranks(maps, positives, above=False)
    n_own = positives.n_fixations[positives.map_index]
    # In descending order; a NaN map has NaN ranks and is undefined anyway.
    order = np.lexsort((-below, positives.map_index))
    at_or_above = (n_pixels - below)[order]
    if variant == "pysaliency":
        own_below, _, _ = _rank_among(maps, human, human)
        hits = (n_own - own_below)[order] / n_own
        fixated_below, _, n_fixated = _rank_among(maps, human, human.distinct())
        alarms = at_or_above - (n_fixated - fixated_below)[order]
        n_unfixated = n_pixels - n_fixated
    else:
        place = np.arange(len(positives)) - positives.bounds[positives.map_index] + 1.0
        hits = place / n_own
        alarms = at_or_above - place + (variant == "vame")
        n_unfixated = n_pixels - n_own
    with np.errstate(invalid="ignore", divide="ignore"):
        alarms = np.where(n_unfixated > 0, alarms / n_unfixated, np.nan)
    area = _trapezoid(alarms, hits, positives)
    if variant == "pysaliency":
        return area
    constant = (maps.min(axis=1) == maps.max(axis=1)) if len(maps) else False
    return np.where(constant, np.nan, area)


def _trapezoid(x: FloatArray, y: FloatArray, groups: FixatedPixels) -> FloatArray:
    """Area per group from (0, 0) through the points to (1, 1)."""
    first, last = groups.bounds[:-1], groups.bounds[1:] - 1
    some = groups.n_fixations > 0
    before_x, before_y = (np.concatenate([[0.0], v[:-1]]) for v in (x, y))
    for before in (before_x, before_y):
        before[first[some]] = 0
    pieces = (x - before_x) * (y + before_y) / 2
    area: FloatArray = np.zeros(groups.n_maps)
    np.add.at(area, groups.map_index, pieces)
    area[some] += (1 - x[last[some]]) * (1 + y[last[some]]) / 2
    area[~some] = np.nan
    return area


def auc_borji(
    pred: Any,
    human: FixatedPixels,
    other: FixatedPixels | None = None,
    *,
    indices: Sequence[Any] | None = None,
    seed: int | np.random.Generator = 0,
    keys: Keys = None,
    n_splits: int = 100,
    step: float = 0.1,
) -> FloatArray:
    """Compute AUC-Borji, or with `other` its shuffled form.

    The map is scaled to 0..1. Each split draws as many negatives as there are
    fixations, with replacement, and the curve has points at the thresholds 0, `step`,
    2 `step` .. 1. The splits are averaged.

    Parameters
    ----------
    pred : array-like of float, shape (H, W) or (n_maps, H, W)
        Predicted maps.
    human : FixatedPixels
        Fixations; each counts, also on the same pixel.
    other : FixatedPixels, optional
        Fixations on other images to draw negatives from (shuffled form): one group
        per map, or one for all. By default negatives are drawn from all pixels.
    indices : sequence of array-like of int, optional
        The negatives themselves, one array of shape (n_splits, n_draws) per map:
        row-major indices of pixels. Nothing is drawn then.
    seed : int or numpy.random.Generator, default 0
        Source of the draws.
    keys : sequence of str or int, optional
        Identity of each group, which with an int seed decides its draws; by default
        its number. With identities the result does not depend on the batch.
    n_splits : int, default 100
        Number of draws, >= 1.
    step : float, default 0.1
        Distance of thresholds, above 0 and at most 1.

    Returns
    -------
    ndarray of float64, shape (n_maps,)
        NaN for a constant map, a map with NaN, without fixations or without negatives.

    Raises
    ------
    ValueError
        If maps, fixations, keys and indices do not fit.

    Notes
    -----
    The MATLAB code of the shuffled form draws without replacement from the distinct
    pixels; with `indices` such draws can be given.

    References
    ----------
    Borji, Tavakoli, Sihite and Itti (2013), doi:10.1109/ICCV.2013.118.

    Examples
    --------
    >>> from analysis.fixated_pixels import fixated_pixels
    >>> pixels = fixated_pixels([2], [0], (1, 4))
    >>> auc_borji([[0.0, 1.0, 3.0, 4.0]], pixels, indices=[[[0], [3]]])
    array([0.5])
    """
    check_between("n_splits", n_splits, low=1)
    check_between("step", step, low=1e-6, high=1)
    maps = check_maps("pred", pred, human)
    if other is not None:
        _check_other(other, human)
    n = human.n_maps
    if indices is not None and len(indices) != n:
        raise ValueError(
            f"`indices` has {len(indices)} arrays but there are {n} groups "
            "of fixations: give one array (n_splits, n_draws) per group."
        )
    rngs = [] if indices is not None else _generators(seed, "auc_borji", keys, n)
    thresholds = np.arange(int(1 / step + 1e-9) + 1) * step
    limits = [(row.min(), row.max()) for row in maps]
    out = np.full(n, np.nan)
    for i in range(n):
        pixels = human.flat[slice(*human.bounds[i : i + 2])]
        if indices is not None:
            drawn = _check_indices(indices[i], i, human.n_pixels)
        else:
            drawn = _draw(rngs[i], human, other, i, (int(n_splits), len(pixels)))
        row = i if len(maps) > 1 else 0
        low, high = (float(limit) for limit in limits[row])
        if not (low < high and pixels.size and drawn.size):
            continue
        hits, alarms = (
            _shares_at_or_above(
                (maps[row, at].astype(np.float64) - low) / (high - low), thresholds
            )
            for at in (pixels[None], drawn)
        )
        widths = alarms[:, :-1] - alarms[:, 1:]
        out[i] = (widths * (hits[:, :-1] + hits[:, 1:]) / 2).sum(axis=1).mean()
    return out


def _shares_at_or_above(values: Rows, thresholds: Rows) -> FloatArray:
    """Share of each row at or above each threshold, then 0 for an infinite one."""
    n_rows, n = values.shape
    passed = np.searchsorted(thresholds, values, "right")
    key = passed + np.arange(n_rows)[:, None] * (len(thresholds) + 1)
    counts = np.bincount(key.ravel(), minlength=n_rows * (len(thresholds) + 1))
    counts = counts.reshape(n_rows, -1)[:, ::-1].cumsum(axis=1)[:, -2::-1]
    return np.column_stack([counts / n, np.zeros(n_rows)])


def _draw(
    rng: np.random.Generator,
    human: FixatedPixels,
    other: FixatedPixels | None,
    group: int,
    size: tuple[int, int],
) -> IntArray:
    if other is None:
        return rng.integers(human.n_pixels, size=size)
    bounds = other.bounds[group : group + 2] if other.n_maps > 1 else (0, len(other))
    pool = other.flat[slice(*bounds)]
    if not pool.size:
        return pool
    return pool[rng.integers(pool.size, size=size)]


def _check_indices(value: Any, group: int, n_pixels: int) -> NDArray[Any]:
    name = f"indices[{group}]"
    array = check_array(name, value, shape=(None, None))
    if array.size == 0:
        return array
    whole = np.issubdtype(array.dtype, np.integer)
    if not whole or not 0 <= array.min() <= array.max() < n_pixels:
        raise ValueError(
            f"`{name}` must be whole numbers within [0, {n_pixels - 1}], row-major "
            f"indices of pixels; got {array.min()} to {array.max()} ({array.dtype})."
        )
    return array


def _generators(
    seed: int | np.random.Generator, measure: str, keys: Keys, n: int
) -> list[np.random.Generator]:
    """One stream per map; a given Generator serves all in turn."""
    names = range(n) if keys is None else keys
    if len(names) != n:
        raise ValueError(
            f"`keys` has {len(names)} entries but {n} are needed: one identity per map."
        )
    if isinstance(seed, np.random.Generator):
        return [seed] * n
    return [generator(seed, measure, name) for name in names]
