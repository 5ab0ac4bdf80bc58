"""Centre bias and calibration of maps, fitted on the pictures of other folds.

A map of saliency is no density. It becomes one when each of its ranks gets the weight
that makes people's fixations most likely, on top of where people look in any picture.
Fixations are pixels (`analysis.fixated_pixels`), one group per picture; all pictures
have one size. What serves a fold never depends on the fixations on that fold.

References
----------
Kümmerer, Wallis and Bethge (2015). Information-theoretic model comparison unifies
saliency metrics. PNAS 112, 16054-16059. doi:10.1073/pnas.1510393112.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from analysis.fixated_pixels import FixatedPixels, FloatArray, IntArray, fixated_pixels
from analysis.fixation_density import fixation_density, leave_one_out_density
from neurovis.core.checks import check_array, check_between
from neurovis.core.rng import generator

N_FOLDS = 10
N_BINS = 32
CENTRE_SIGMAS_PX = (12.0, 16.0, 24.0, 32.0, 48.0)
"""Widths of the centre bias that are tried on the training folds."""

UNIFORM_SHARE = 0.001
"""Share of the uniform density in the centre bias: no fixation is impossible."""


def picture_folds(
    n_pictures: int, *, first: Sequence[int] = (), seed: int = 0
) -> IntArray:
    """Deal pictures out to ten folds of equal size at random.

    Parameters
    ----------
    n_pictures : int
        Number of pictures, >= 1; with fewer than ten each is a fold.
    first : sequence of int, optional
        Pictures that are dealt first, so that they too are spread evenly.
    seed : int, default 0
        Seed.

    Returns
    -------
    ndarray of int64, shape (n_pictures,)
        Folds, 0..9.

    Raises
    ------
    ValueError
        If there is no picture.

    Examples
    --------
    >>> np.bincount(picture_folds(25, first=[3, 4, 5])).tolist()
    [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]
    """
    check_between("n_pictures", n_pictures, low=1)
    order = generator(seed, "folds").permutation(n_pictures)
    is_first = np.isin(order, first)
    folds = np.empty(n_pictures, np.int64)
    folds[np.concatenate([order[is_first], order[~is_first]])] = np.arange(
        n_pictures
    ) % min(N_FOLDS, n_pictures)
    return folds


def fit_centre_bias(human: FixatedPixels, fold: Any) -> tuple[FloatArray, FloatArray]:
    """Estimate for each fold where people look on the pictures of all other folds.

    The Gaussian kernel density of all fixations on the other folds with a share of
    0.001 of the uniform density. Its width is the one of 12, 16, 24, 32, 48 px under
    which each of the other folds is most likely, given the rest of them.

    Parameters
    ----------
    human : FixatedPixels
        Fixations, one group per picture.
    fold : array-like of int, shape (n_pictures,)
        Folds from 0, such as of `picture_folds`.

    Returns
    -------
    bias : ndarray of float64, shape (n_folds, H, W)
        Densities with sum 1; NaN where no other fold has fixations.
    sigma_px : ndarray of float64, shape (n_folds,)
        Widths in pixels.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    folds = check_array("fold", fold, shape=(human.n_maps,)).astype(np.int64)
    n_folds = int(folds.max(initial=0)) + 1
    index = folds[human.map_index]
    grouped = fixated_pixels(
        human.column, human.row, human.shape, map_index=index, n_maps=n_folds
    )
    chosen = _choose_sigmas(grouped)
    bias = np.empty((n_folds, *human.shape))
    for sigma in np.unique(chosen):
        density = leave_one_out_density(grouped, float(sigma), uniform=UNIFORM_SHARE)
        bias[chosen == sigma] = density[chosen == sigma]
    return bias, chosen


def _choose_sigmas(grouped: FixatedPixels) -> FloatArray:
    """For each fold, the width under which the other folds predict each other best."""
    n = grouped.n_maps
    counts = grouped.n_fixations
    # Log likelihood of all folds j but the fold k, for each k and width.
    total = np.zeros((n, len(CENTRE_SIGMAS_PX)))
    for column, sigma in enumerate(CENTRE_SIGMAS_PX):
        sums = fixation_density(grouped, sigma) * counts[:, None, None]
        rows = np.nan_to_num(sums).reshape(n, -1)  # a fold without fixations
        for j in range(n):
            at = rows[:, grouped.flat[slice(*grouped.bounds[j : j + 2])]]
            for k in range(n):
                used = ~np.isin(np.arange(n), (j, k))
                if j == k or not counts[used].any():
                    continue
                density = at[used].sum(axis=0) / counts[used].sum()
                density *= 1 - UNIFORM_SHARE
                density += UNIFORM_SHARE / grouped.n_pixels
                total[k, column] += np.log(density).sum()
    widths = np.array(CENTRE_SIGMAS_PX)
    # With nothing to choose by, all are 0: the middle one.
    return widths[np.where(total.any(axis=1), total.argmax(axis=1), len(widths) // 2)]


def rank_bins(saliency: Any, n_bins: int = N_BINS) -> NDArray[np.uint8]:
    """Return the bin of the rank of each pixel within its map.

    Parameters
    ----------
    saliency : array-like of float, shape (H, W)
        Map without NaN.
    n_bins : int, default 32
        Number of bins, 1..255.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        0..n_bins - 1: the share of pixels below, equal ones counting half, in equal
        steps. Equal values share a bin; those of a constant map are in the middle.

    Raises
    ------
    ValueError
        If the map is not two-dimensional, or has values that are not finite.

    Examples
    --------
    >>> rank_bins([[0.1, 0.7], [0.2, 0.9]], 4)
    array([[0, 2],
           [1, 3]], dtype=uint8)
    """
    values = check_array("saliency", saliency, shape=(None, None), finite=True)
    check_between("n_bins", n_bins, low=1, high=255)
    order = np.sort(values, axis=None)
    wanted = np.arange(1, n_bins) * (values.size / n_bins)
    at = order[wanted.astype(np.intp)]
    first = np.searchsorted(order, at, "left")
    last = np.searchsorted(order, at, "right")
    # The smallest value of which the rank reaches the bin: this one or the next.
    following = np.append(order, np.inf)[last]
    edges = np.where((first + last) / 2 >= wanted, at, following)
    return np.searchsorted(edges, values, "right").astype(np.uint8)


def bin_statistics(
    saliency: Any, human: FixatedPixels, bias: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return all that calibration needs of the map of one picture.

    Parameters
    ----------
    saliency : array-like of float, shape (H, W)
        Map of a model.
    human : FixatedPixels
        Fixations on the picture, one group.
    bias : ndarray of float64, shape (n_folds, H, W)
        Centre biases.

    Returns
    -------
    counts : ndarray of float64, shape (n_bins,)
        Fixations in each bin of `rank_bins`.
    masses : ndarray of float64, shape (n_folds, n_bins)
        Probability of each bin under each centre bias. Both are NaN for a map with a
        value that is not finite.
    """
    if not np.isfinite(saliency).all():
        return np.full(N_BINS, np.nan), np.full((len(bias), N_BINS), np.nan)
    bins = rank_bins(saliency).ravel().astype(np.intp)
    counts = np.bincount(bins[human.flat], minlength=N_BINS).astype(np.float64)
    sums = np.stack([np.bincount(bins, b.ravel(), minlength=N_BINS) for b in bias])
    return counts, sums / sums.sum(axis=1, keepdims=True)


def fit_calibration(counts: Any, masses: Any) -> FloatArray:
    """Fit how much more likely than under the centre bias each rank is looked at.

    The density of a picture is w(bin) times the centre bias, divided by its sum. The
    weights w do not fall with the rank and make the fixations of all pictures together,
    and one more per bin that are spread as the centre bias, most likely.

    Parameters
    ----------
    counts, masses : array-like of float, shape (n_pictures, n_bins)
        Fixations, and probability under the centre bias, of each bin. Pictures with
        NaN are left out.

    Returns
    -------
    ndarray of float64, shape (n_bins,)
        Weights, > 0, with mean 1 under the centre bias; NaN without pictures.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Minorise and maximise: the log of the sum is bounded by its tangent, and what
    remains is an isotonic regression.

    Examples
    --------
    >>> fit_calibration([[100.0, 300.0]], [[0.5, 0.5]]).round(2)
    array([0.5, 1.5])
    """
    n = check_array("counts", counts, shape=(None, None)).astype(np.float64)
    m = check_array("masses", masses, shape=n.shape).astype(np.float64)
    defined = np.isfinite(n).all(axis=1) & np.isfinite(m).all(axis=1)
    n, m = n[defined], m[defined]
    if not len(n):
        return np.full(n.shape[1], np.nan)
    mean = m.mean(axis=0)
    n = np.vstack([n, n.shape[1] * mean])
    m = np.vstack([m, mean])
    there = np.flatnonzero(mean > 0)
    total, size, m = n.sum(axis=0)[there], n.sum(axis=1), m[:, there]
    weights = np.ones(len(there))
    for _ in range(1000):
        expected = (size / (m @ weights)) @ m
        fitted = isotonic_regression(total / expected, weights=expected).x
        fitted /= fitted @ mean[there]
        change = np.abs(fitted / weights - 1).max()
        weights = fitted
        if change < 1e-9:
            break
    return np.interp(np.arange(n.shape[1]), there, weights)


def fit_calibrations(counts: Any, masses: Any, fold: Any) -> FloatArray:
    """Fit the weights of ranks for each fold on the pictures of the other folds.

    Parameters
    ----------
    counts : array-like of float, shape (n_pictures, n_bins)
        Fixations per bin, as of `bin_statistics`.
    masses : array-like of float, shape (n_pictures, n_folds, n_bins)
        Probabilities of the bins under the centre bias of each fold.
    fold : array-like of int, shape (n_pictures,)
        Fold of each picture.

    Returns
    -------
    ndarray of float64, shape (n_folds, n_bins)
        Weights as of `fit_calibration`; NaN where no other fold has pictures.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    n = check_array("counts", counts, shape=(None, None))
    m = check_array("masses", masses, shape=(len(n), None, n.shape[1]))
    folds = check_array("fold", fold, shape=(len(n),))
    fitted = [
        fit_calibration(n[folds != k], m[folds != k, k]) for k in range(m.shape[1])
    ]
    return np.stack(fitted)


def calibrated_gains(counts: Any, masses: Any, fold: Any, weights: Any) -> FloatArray:
    """Compute the information gain of calibrated maps over the centre bias.

    Parameters
    ----------
    counts : array-like of float, shape (n_pictures, n_bins)
        Fixations per bin, as of `bin_statistics`.
    masses : array-like of float, shape (n_pictures, n_folds, n_bins)
        Probabilities of the bins under the centre bias of each fold.
    fold : array-like of int, shape (n_pictures,)
        Fold of each picture.
    weights : array-like of float, shape (n_folds, n_bins)
        What `fit_calibrations` returned.

    Returns
    -------
    ndarray of float64, shape (n_pictures,)
        Bits per fixation; NaN for a picture without fixations, or where weights are
        NaN.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    n = check_array("counts", counts, shape=(None, None)).astype(np.float64)
    m = check_array("masses", masses, shape=(len(n), None, n.shape[1]))
    folds = check_array("fold", fold, shape=(len(n),))
    w = check_array("weights", weights, shape=m.shape[1:])[folds]
    total = (m[np.arange(len(n)), folds] * w).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (n * np.log2(w)).sum(axis=1) / n.sum(axis=1) - np.log2(total)


def calibrated_density(saliency: Any, weights: Any, bias: Any) -> FloatArray:
    """Return the density that a calibrated map predicts.

    Parameters
    ----------
    saliency : array-like of float, shape (H, W)
        Map of a model, without NaN.
    weights : array-like of float, shape (n_bins,)
        What `fit_calibration` returned.
    bias : array-like of float, shape (H, W)
        Centre bias.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Sum 1.

    Raises
    ------
    ValueError
        If the shapes differ, or the map has values that are not finite.

    Examples
    --------
    >>> calibrated_density([[3.0, 1.0]], [0.5, 1.5], [[0.5, 0.5]])
    array([[0.75, 0.25]])
    """
    w = check_array("weights", weights, shape=(None,))
    bins = rank_bins(saliency, len(w))
    density: FloatArray = w[bins] * check_array("bias", bias, shape=bins.shape)
    density /= density.sum()
    return density
