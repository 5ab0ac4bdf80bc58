"""Estimates of how well responses could be predicted at all, and their bias.

Trials are arrays of (images, repeats, units). Undefined is NaN. Units are taken in
blocks, so that no float64 copy of all trials is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.metrics import unit_blocks
from analysis.stats import pearson_r, spearman_r
from neurovis.core.checks import check_array, check_option, check_whole
from neurovis.core.noise_ceiling import explainable_fraction, signal_to_noise
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

_MEASURES = {"spearman": spearman_r, "pearson": pearson_r}


@dataclass(frozen=True)
class NcsnrEstimate:
    """Noise and signal of units.

    Parameters
    ----------
    noise_sd : ndarray of float64, shape (n_units,)
        Standard deviation over repeats of an image, pooled over images.
    total_variance : ndarray of float64, shape (n_units,)
        Variance over all single trials.
    ncsnr : ndarray of float64, shape (n_units,)
        Noise-ceiling signal-to-noise ratio, >= 0.
    n_images, n_repeats : int
        What it was estimated from.
    """

    noise_sd: FloatArray
    total_variance: FloatArray
    ncsnr: FloatArray
    n_images: int
    n_repeats: int

    def ceiling(self, n_repeats: ArrayLike) -> FloatArray:
        """Return the noise ceiling of evaluated images.

        Parameters
        ----------
        n_repeats : array-like of int, shape (n_evaluated,)
            Trials averaged for each evaluated image.

        Returns
        -------
        ndarray of float64, shape (n_units,)
            Share of variance, 0..1; see
            `neurovis.core.noise_ceiling.explainable_fraction`.

        Raises
        ------
        ValueError
            If a number of trials is below 1.
        """
        return explainable_fraction(self.ncsnr, n_repeats)


@dataclass(frozen=True)
class SplitHalfReliability:
    """Agreement of two halves of the repeats.

    Parameters
    ----------
    r : ndarray of float64, shape (n_units,)
        Pearson correlation of the means of the halves, mean over splits.
    spearman_brown : ndarray of float64, shape (n_units,)
        ``2 r / (1 + r)``, the reliability of the mean over all repeats; NaN at r = -1.
    n_images : ndarray of int, shape (n_units,)
        Images with trials in both halves.
    """

    r: FloatArray
    spearman_brown: FloatArray
    n_images: NDArray[np.intp]


@dataclass(frozen=True)
class LeaveOneOutCeiling:
    """Bounds for whoever predicts a single subject from what subjects share.

    Parameters
    ----------
    lower_per_subject : ndarray of float64, shape (n_subjects, ...)
        Each subject against the mean of the others.
    upper_per_subject : ndarray of float64, shape (n_subjects, ...)
        Each subject against the mean of all.
    """

    lower_per_subject: FloatArray
    upper_per_subject: FloatArray

    @property
    def lower(self) -> FloatArray:
        """Mean over subjects, shape (...)."""
        return self.lower_per_subject.mean(axis=0)

    @property
    def upper(self) -> FloatArray:
        """Mean over subjects, shape (...)."""
        return self.upper_per_subject.mean(axis=0)


def stack_trials(
    betas: ArrayLike, stimulus_id: ArrayLike
) -> tuple[NDArray[np.floating], list[str]]:
    """Gather single trials by image, whatever their numbers of repeats.

    Parameters
    ----------
    betas : array-like of float, shape (n_trials, n_units)
        Single trials in the order of time, such as `UnitResponses.betas`.
    stimulus_id : array-like of str, shape (n_trials,)
        What was shown.

    Returns
    -------
    trials : ndarray of float, shape (n_images, n_repeats_max, n_units)
        In the dtype of `betas`; NaN where an image has fewer repeats.
    ids : list of str
        The images, sorted.

    Raises
    ------
    ValueError
        If lengths differ or an identity is missing.

    Examples
    --------
    >>> trials, ids = stack_trials([[1.0], [2.0], [3.0]], ["b", "a", "b"])
    >>> ids, trials[:, :, 0].tolist()
    (['a', 'b'], [[2.0, nan], [1.0, 3.0]])
    """
    rows = check_array("betas", betas, shape=(None, None))
    names = check_array("stimulus_id", stimulus_id, shape=(len(rows),))
    codes, ids = pd.factorize(names, sort=True)
    if (codes < 0).any():
        raise ValueError("`stimulus_id` has trials without an identity.")
    repeat = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    shape = (len(ids), int(repeat.max(initial=-1)) + 1, rows.shape[1])
    trials = np.full(shape, np.nan, np.result_type(rows, np.float32))
    trials[codes, repeat] = rows
    return trials, [str(name) for name in ids]


def estimate_ncsnr(betas: ArrayLike) -> NcsnrEstimate:
    """Estimate noise and signal of units from images with equally many repeats.

    The noise variance is the variance over repeats (ddof 1), averaged over images;
    the signal variance is the variance over all trials (ddof 1) minus that, at least
    0; ncsnr is the ratio of their roots.

    Parameters
    ----------
    betas : array-like of float, shape (n_images, n_repeats, n_units)
        Single trials, such as `UnitResponses.repeats` gives; at least two images and
        two repeats. NSD uses three repeats, standardised by session.

    Returns
    -------
    NcsnrEstimate
        NaN for a unit that has a value that is not finite, or never changes; inf for
        one without noise.

    Raises
    ------
    ValueError
        If the shape does not fit.

    Notes
    -----
    What follows is exact for normal noise and 500 images of three repeats. The
    root-mean-square error of one unit is 87, 42, 19, 9 and 5 % at a true ncsnr of .1,
    .2, .3, .5 and 1. The clip at 0 takes 36, 7 and 0.1 % of the units at .1, .2 and
    .3. The median over units is 4.7 % low at .05, 1.2 % at .1 and 0.4 % at .2, though
    a median over 1000 units scatters by 5.3 % at .1 (1.4 % at .2). The mean over units
    is biased more: +47, -4, -10, -7 and -1.5 % at .05, .1, .15, .2 and .3. The mean
    *ceiling* of three repeats is 54 % too high at .1 and 1 % too low at .2. Units
    chosen for a high estimate have been lucky: it is lower in new data.

    References
    ----------
    Allen et al. (2022). Nat. Neurosci. 25, 116-126. doi:10.1038/s41593-021-00962-x

    Examples
    --------
    >>> estimate = estimate_ncsnr([[[0.0], [2.0]], [[4.0], [6.0]]])
    >>> round(float(estimate.noise_sd[0]), 3), round(float(estimate.ncsnr[0]), 3)
    (1.414, 1.528)
    """
    trials = check_array("betas", betas, shape=(None, None, None))
    n_images, n_repeats, n_units = trials.shape
    if n_images < 2 or n_repeats < 2:
        raise ValueError(
            "`betas` needs at least two images and two repeats, shape (n_images, "
            f"n_repeats, n_units); got {trials.shape}."
        )
    noise, total = np.full((2, n_units), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        for block in unit_blocks(n_images * n_repeats, n_units):
            x = np.asarray(trials[:, :, block], np.float64)
            # Differences from a trial make the variance of equal values exactly 0.
            noise[block] = (x - x[:, :1]).var(axis=1, ddof=1).mean(axis=0)
            total[block] = (x - x[:1, :1]).var(axis=(0, 1), ddof=1)
    ncsnr = signal_to_noise(noise, total)
    return NcsnrEstimate(np.sqrt(noise), total, ncsnr, n_images, n_repeats)


def split_half_reliability(
    trials: ArrayLike,
    *,
    halves: str = "even-odd",
    n_splits: int = 20,
    seed: int = 0,
) -> SplitHalfReliability:
    """Correlate the mean responses of two halves of the repeats over images.

    Parameters
    ----------
    trials : array-like of float, shape (n_images, n_repeats_max, n_units)
        Single trials; not finite (NaN) where an image has fewer.
    halves : {"even-odd", "random"}, default "even-odd"
        Even against odd repeats (by position), or random halves of the trials that
        each image has; with an odd number the first half has one more.
    n_splits : int, default 20
        Random splits, over which r is averaged; not used for even and odd.
    seed : int, default 0
        Seed of the random halves.

    Returns
    -------
    SplitHalfReliability
        NaN for units with fewer than two images that have trials in both halves, and
        for units that do not vary.

    Raises
    ------
    ValueError
        If `halves` or the shape does not fit.

    Notes
    -----
    `spearman_brown` estimates the share of explainable variance of the mean over all
    repeats, like a noise ceiling. Simulated with 500 images and normal noise, its mean
    over units is within 0.01 of the truth with 2, 4, 5 and 10 repeats. Three repeats
    make unequal halves, and it is 0.02 low at an ncsnr of 0.5 and 1 (truths 0.43 and
    0.75). Random halves scatter less (standard deviation of a unit 0.044 instead of
    0.053 there) but have the same bias. A negative r has no meaning as a reliability;
    it is kept, because leaving it out would lift means over units.

    References
    ----------
    Spearman (1910). Br. J. Psychol. 3, 271-295. Brown (1910). ibid., 296-322.

    Examples
    --------
    >>> trials = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])[:, :, None]
    >>> split_half_reliability(trials).r.tolist()
    [1.0]
    """
    array = _check_trials(trials)
    check_option("halves", halves, ("even-odd", "random"))
    check_whole("n_splits", n_splits, low=1)
    n_images, n_repeats, n_units = array.shape
    seeds = [None] if halves == "even-odd" else list(range(n_splits))
    r = np.zeros(n_units)
    n_used = np.zeros(n_units, np.intp)
    for block in unit_blocks(n_images * n_repeats, n_units):
        x = np.asarray(array[:, :, block], np.float64)
        there = np.isfinite(x)
        x = np.where(there, x, 0)
        # Most often all units miss the same trials: one pattern is enough then.
        if (there == there[:, :, :1]).all():
            there = there[:, :, :1]
        for split in seeds:
            first = _first_half(there, split, seed)
            means = [_mean_of(x, there & half) for half in (first, ~first)]
            used = np.isfinite(means[0] + means[1])
            r[block] += _correlate_used(means[0], means[1], used) / len(seeds)
            n_used[block] = used.sum(axis=0)
    # At r = -1 it is undefined.
    doubled = 2 * r / np.where(r > -1, 1 + r, np.nan)
    return SplitHalfReliability(r, doubled, n_used)


def signal_fraction(trials: ArrayLike, *, clip: bool = True) -> FloatArray:
    """Estimate the explainable share of variance of responses averaged over repeats.

    ``(variance of the mean over images - mean of sem**2) / variance of the mean``,
    with variances over images and repeats of ddof 1. Numbers of repeats may differ;
    images with a single one are left out.

    Parameters
    ----------
    trials : array-like of float, shape (n_images, n_repeats_max, n_units)
        Single trials; not finite (NaN) where an image has fewer.
    clip : bool, default True
        Put estimates below 0 to 0.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        At most 1; NaN for units with fewer than two images of two repeats, or whose
        mean does not vary.

    Raises
    ------
    ValueError
        If the shape does not fit.

    Notes
    -----
    With equal numbers of repeats this is one minus the reciprocal of F in a one-way
    analysis of variance, and for normal noise the mean of the unclipped estimate is
    ``2 (1 - truth) / (n_images - 3)`` below the truth: 0.004 at most with 500 images.
    The clip lifts the mean of units without signal to 0.029 (500 images of three
    repeats), 0.057 with 100 images.

    Examples
    --------
    >>> signal_fraction([[[0.0], [2.0]], [[4.0], [6.0]]]).tolist()
    [0.875]
    """
    array = _check_trials(trials)
    n_images, n_repeats, n_units = array.shape
    fraction = np.full(n_units, np.nan)
    for block in unit_blocks(n_images * n_repeats, n_units):
        x = np.asarray(array[:, :, block], np.float64)
        there = np.isfinite(x)
        n = there.sum(axis=1)
        used = n >= 2
        x = np.where(there, x, np.nan)
        # Differences from a trial make the variance of equal values exactly 0.
        largest = np.fmax.reduce(x, axis=(0, 1), initial=np.nan)
        x = np.where(there, x - largest, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = x.sum(axis=1) / n
            squares = (np.where(there, x - mean[:, None], 0) ** 2).sum(axis=1)
            noise = np.where(used, squares / (n - 1) / n, 0).sum(axis=0)
            k = used.sum(axis=0)
            middle = np.where(used, mean, 0).sum(axis=0) / k
            spread = (np.where(used, mean - middle, 0) ** 2).sum(axis=0) / (k - 1)
            share = (spread - noise / k) / spread
        fraction[block] = np.where(np.isfinite(share), share, np.nan)
    return np.maximum(fraction, 0) if clip else fraction


def leave_one_subject_out(
    rows: ArrayLike, *, measure: str = "spearman", squared: bool = False
) -> LeaveOneOutCeiling:
    """Bound what can be predicted of a subject from what subjects have in common.

    The lower bound correlates each subject with the mean of the others, the upper one
    with the mean of all. Means are plain: neither ranked nor standardised.

    Parameters
    ----------
    rows : array-like of float, shape (n_subjects, ..., n_values)
        One row per subject: a condensed dissimilarity matrix, or responses to the
        same images (last axis) of units that are matched between subjects.
    measure : {"spearman", "pearson"}, default "spearman"
        Correlation over the last axis.
    squared : bool, default False
        Square each subject's correlation before the mean over subjects.

    Returns
    -------
    LeaveOneOutCeiling
        Bounds per subject and their means; NaN where values are missing or constant.

    Raises
    ------
    ValueError
        If there are fewer than two subjects or the measure is unknown.

    Notes
    -----
    With normal values that correlate by c between n subjects, the best prediction
    reaches ``sqrt(c)``. The lower bound tends to ``c sqrt((n-1) / (1 + (n-2) c))``,
    which is less, because the others are few. The upper one tends to
    ``sqrt((1 + (n-1) c) / n)``, which is more, because it contains the subject:
    without anything in common it is ``1 / sqrt(n)``, .26 for 15 subjects, not 0.
    Squares lose the sign, so that both bounds of pure noise are above 0.

    References
    ----------
    Nili et al. (2014). PLoS Comput. Biol. 10, e1003553.
    doi:10.1371/journal.pcbi.1003553

    Examples
    --------
    >>> bounds = leave_one_subject_out([[1, 2, 3, 4], [1, 2, 4, 3], [2, 1, 3, 4]])
    >>> round(float(bounds.lower), 3), round(float(bounds.upper), 3)
    (0.79, 0.867)
    """
    correlate = _MEASURES[check_option("measure", measure, tuple(_MEASURES))]
    values = np.asarray(rows, np.float64)
    means = means_of_others(values)
    lower = np.concatenate([correlate(values[own], others) for own, others in means])
    everyone = values.mean(axis=0)
    upper = np.stack([correlate(row, everyone) for row in values])
    if squared:
        lower, upper = lower**2, upper**2
    return LeaveOneOutCeiling(lower, upper)


def means_of_others(
    rows: ArrayLike, subjects: ArrayLike | None = None
) -> Iterator[tuple[NDArray[np.intp], FloatArray]]:
    """Average the rows of all subjects but one, leaving each out in turn.

    Parameters
    ----------
    rows : array-like of float, shape (n_rows, ..., n_values)
        One row per subject, or more.
    subjects : array-like, shape (n_rows,), optional
        Whose each row is, such as of sessions; by default all differ.

    Yields
    ------
    own : ndarray of int
        The rows of one subject.
    mean : ndarray of float64, shape (..., n_values)
        Mean of the rows of all others; NaN when there are none.

    Raises
    ------
    ValueError
        If there are fewer than two rows or the lengths differ.

    Examples
    --------
    >>> [mean.tolist() for _, mean in means_of_others([[1], [2], [4]], ["a", "b", "b"])]
    [[3.0], [1.0]]
    """
    values = np.asarray(rows, np.float64)
    if values.ndim < 2 or len(values) < 2:
        raise ValueError(
            "`rows` needs one row for each of at least two subjects, shape "
            f"(n_subjects, ..., n_values); got {values.shape}."
        )
    names = np.arange(len(values)) if subjects is None else np.asarray(subjects)
    check_array("subjects", names, shape=(len(values),))
    for name in np.unique(names):
        own = names == name
        # Not (sum - row): rounding would break ties between ranks.
        none = np.full(values.shape[1:], np.nan)
        yield np.flatnonzero(own), none if own.all() else values[~own].mean(axis=0)


def _check_trials(trials: ArrayLike) -> NDArray[np.floating]:
    array = np.asarray(trials)
    if array.ndim != 3 or array.shape[1] < 2:
        raise ValueError(
            "`trials` needs at least two repeats, shape (n_images, n_repeats, "
            f"n_units), NaN where an image has fewer; got {array.shape}."
        )
    return array


def _first_half(
    there: NDArray[np.bool_], split: int | None, seed: int
) -> NDArray[np.bool_]:
    """Tell which trials make the first half; those that are absent do not matter."""
    n_images, n_repeats, _ = there.shape
    if split is None:
        return (np.arange(n_repeats) % 2 == 0)[None, :, None]
    # The same draw in every block of units.
    draw = generator(seed, "split-half", split).random((n_images, n_repeats, 1))
    rank = np.where(there, draw, 2).argsort(axis=1).argsort(axis=1)
    return rank % 2 == 0


def _mean_of(x: FloatArray, chosen: NDArray[np.bool_]) -> FloatArray:
    """Average chosen trials of each image; NaN without any."""
    with np.errstate(invalid="ignore"):
        return (x * chosen).sum(axis=1) / chosen.sum(axis=1)


def _correlate_used(
    a: FloatArray, b: FloatArray, used: NDArray[np.bool_]
) -> FloatArray:
    """Correlate columns over the images that each unit can use."""
    patterns, which = np.unique(used, axis=1, return_inverse=True)
    r = np.full(a.shape[1], np.nan)
    for i, rows in enumerate(patterns.T):
        units = which.reshape(-1) == i
        r[units] = pearson_r(a[rows][:, units].T, b[rows][:, units].T)
    return r
