"""Bootstrap of images and subjects that are crossed: every subject saw every image.

A conclusion about new subjects and new images needs the variation of both. Resampling
both at once counts the noise of single measurements three times; the correction here
takes the excess away.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.stats import percentile_interval
from neurovis.core.checks import check_between, check_option, check_whole

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]

OVER = ("both", "images", "subjects")
"""What can be resampled."""

# Share of undefined draws from which on a variance is undefined too.
_MOST_UNDEFINED = 0.05


@dataclass(frozen=True)
class CrossedBootstrap:
    """A statistic of images and subjects, and its bootstrap draws.

    Parameters
    ----------
    estimate : ndarray of float64, shape (...)
        Statistic of the data.
    draws : mapping of str to ndarray of float64, shape (n_bootstrap, ...)
        Statistics of resamples: of "images", "subjects" or "both". All three are
        there when both were resampled, made from the same draws.
    n_images, n_subjects : int
        How many there are.
    over : {"both", "images", "subjects"}
        To what the conclusions generalise.
    freedom : {"smallest", "satterthwaite"}, default "smallest"
        Degrees of freedom of limits and tests: units of the scarcer kind minus one,
        which is cautious, or by Satterthwaite from the shares of the variance.
    """

    estimate: FloatArray
    draws: dict[str, FloatArray]
    n_images: int
    n_subjects: int
    over: str
    freedom: str = "smallest"

    @property
    def variance(self) -> FloatArray:
        """Variance of the estimate, corrected for small numbers, shape (...).

        With I images and S subjects, ``images = I / (I - 1) var`` and ``subjects = S
        / (S - 1) var`` of the draws of one kind, and ``noise = I S / (I - 1) / (S -
        1) (var_both - var_images - var_subjects)``; for both it is ``images +
        subjects - noise``, not below either of the two, nor above their sum. NaN with
        a single unit or when more than 5 % of the draws are undefined.
        """
        parts = self._parts
        if self.over != "both":
            return parts[self.over]
        return parts["images"] + parts["subjects"] - parts["noise"]

    @property
    def _parts(self) -> dict[str, FloatArray]:
        """Corrected shares of the variance: of images, subjects, noise."""
        factors = {
            "images": _correction(self.n_images),
            "subjects": _correction(self.n_subjects),
        }
        raw = {key: _variance(draws) for key, draws in self.draws.items()}
        parts = {key: raw[key] * factors[key] for key in raw if key != "both"}
        if self.over == "both":
            excess = raw["both"] - raw["images"] - raw["subjects"]
            noise = excess * factors["images"] * factors["subjects"]
            most = np.minimum(parts["images"], parts["subjects"])
            parts["noise"] = np.minimum(np.maximum(noise, 0), most)
        return parts

    @property
    def standard_error(self) -> FloatArray:
        """Root of `variance`, shape (...)."""
        return np.sqrt(self.variance)

    @property
    def degrees_of_freedom(self) -> int | FloatArray:
        """Degrees of freedom of limits and tests: a number, or shape (...).

        Units resampled minus one, the fewer of both: an int. With `freedom`
        "satterthwaite" and both resampled, those of ``images + subjects - noise``
        (see `variance`): its square over the sum of ``images**2 / (I - 1)``,
        ``subjects**2 / (S - 1)`` and ``noise**2 / (I - 1) / (S - 1)``; NaN where
        nothing varies.
        """
        counts = {"images": self.n_images, "subjects": self.n_subjects}
        smallest = counts.get(self.over, min(counts.values())) - 1
        if self.freedom == "smallest" or self.over != "both" or smallest < 1:
            return smallest
        n, m = self.n_images - 1, self.n_subjects - 1
        by = {"images": n, "subjects": m, "noise": n * m}
        spread = sum(part**2 / by[key] for key, part in self._parts.items())
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.variance**2 / spread)

    def interval(self, *, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Return limits from the standard error and the t distribution.

        Parameters
        ----------
        level : float, default 0.95
            Coverage aimed at, 0..1.

        Returns
        -------
        low, high : ndarray of float64, shape (...)
            Limits; NaN where undefined.

        Raises
        ------
        ValueError
            If `level` is not within 0..1.
        """
        check_between("level", level, low=0, high=1)
        half = self._quantile((1 + level) / 2) * self.standard_error
        return self.estimate - half, self.estimate + half

    def percentiles(self, *, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Return percentiles of the draws, without any correction.

        Parameters
        ----------
        level : float, default 0.95
            Coverage aimed at, 0..1; that of "both" is larger.

        Returns
        -------
        low, high : ndarray of float64, shape (...)
            Limits; NaN where undefined.

        Raises
        ------
        ValueError
            If `level` is not within 0..1.
        """
        draws = np.moveaxis(self.draws[self.over], 0, -1)
        return percentile_interval(draws, level=level)

    def p_value(self, null: ArrayLike = 0.0) -> FloatArray:
        """Test two-sided whether the statistic differs from a number.

        Parameters
        ----------
        null : float or array-like, default 0
            What it would be if nothing were there.

        Returns
        -------
        ndarray of float64, shape (...)
            p values of the t distribution; NaN where undefined.
        """
        distance = np.abs(self.estimate - np.asarray(null, np.float64))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = distance / self.standard_error
        # scipy gives NaN where there are no degrees of freedom.
        return np.asarray(2 * stats.t.sf(t, self.degrees_of_freedom))

    def _quantile(self, share: float) -> FloatArray:
        return np.asarray(stats.t.ppf(share, self.degrees_of_freedom))

    def contrast(self, weights: ArrayLike) -> "CrossedBootstrap":
        """Combine the statistics of the last axis, such as into differences.

        Parameters
        ----------
        weights : array-like of float, shape (n_statistics, ...)
            ``[1, -1]`` gives the first minus the second.

        Returns
        -------
        CrossedBootstrap
            The same draws, combined. An undefined statistic matters where its weight
            is not 0.
        """
        by = np.asarray(weights, np.float64)
        draws = {key: _combine(values, by) for key, values in self.draws.items()}
        return replace(self, estimate=_combine(self.estimate, by), draws=draws)


def mean_over_subjects(values: Any, subjects: Index) -> FloatArray:
    """Average the values of chosen subjects.

    Parameters
    ----------
    values : ndarray of float, shape (n_subjects, ...)
        One value, or array, per subject.
    subjects : ndarray of int, shape (n_chosen,)
        Subjects, some perhaps more than once.

    Returns
    -------
    ndarray of float64, shape (...)
        Their mean.

    Examples
    --------
    >>> mean_over_subjects(np.array([1.0, 4.0]), np.array([0, 0, 1])).tolist()
    2.0
    """
    return np.asarray(np.asarray(values, np.float64)[subjects].mean(axis=0))


def bootstrap_crossed(
    statistic: Callable[[Index], Any],
    n_images: int,
    n_subjects: int,
    *,
    combine: Callable[[Any, Index], FloatArray] = mean_over_subjects,
    over: str = "both",
    n_bootstrap: int = 1000,
    rng: np.random.Generator,
) -> CrossedBootstrap:
    """Resample images, subjects or both; statistics of models stay paired.

    Parameters
    ----------
    statistic : callable
        ``statistic(images)`` gives, for an index array of images (some more than
        once), the values of all subjects, shape (n_subjects, ...): for instance the
        scores of several models, or anything that `combine` takes.
    n_images, n_subjects : int
        How many there are.
    combine : callable, default `mean_over_subjects`
        ``combine(values, subjects)`` makes one array, shape (...), of what
        `statistic` gave, for an index array of subjects.
    over : {"both", "images", "subjects"}, default "both"
        What to resample: that to which conclusions shall generalise.
    n_bootstrap : int, default 1000
        Number of resamples.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    CrossedBootstrap
        Estimate, draws and what follows from them.

    Raises
    ------
    ValueError
        If a number is below 1 or `over` is unknown.

    Notes
    -----
    For means over images and subjects the corrected variance is free of bias, and
    that of resampling both without correction holds the noise of single measurements
    three times. The limits use ``min(n_images, n_subjects) - 1`` degrees of freedom,
    which is cautious; ``dataclasses.replace(found, freedom="satterthwaite")`` has
    those of the variance, which matter where one kind is few and varies little.

    References
    ----------
    Schütt et al. (2023). eLife 12, e82566. doi:10.7554/eLife.82566

    Examples
    --------
    Accuracies of two models, for 30 images and 8 subjects:

    >>> rng = np.random.default_rng(0)
    >>> accuracy = rng.random((30, 8, 2)) + [0.3, 0.0]
    >>> found = bootstrap_crossed(
    ...     lambda images: accuracy[images].mean(axis=0), 30, 8, rng=rng
    ... )
    >>> low, high = found.contrast([1, -1]).interval()
    >>> bool(low < 0.3 < high)
    True
    """
    check_option("over", over, OVER)
    n_images = check_whole("n_images", n_images, low=1)
    n_subjects = check_whole("n_subjects", n_subjects, low=1)
    n_bootstrap = check_whole("n_bootstrap", n_bootstrap, low=1)
    every = np.arange(n_subjects)
    whole = statistic(np.arange(n_images))
    estimate = np.asarray(combine(whole, every), np.float64)
    kinds = ("images", "subjects", "both") if over == "both" else (over,)
    draws = {kind: np.empty((n_bootstrap, *estimate.shape)) for kind in kinds}
    for i in range(n_bootstrap):
        # The same draws for all: the correction is a difference of their variances.
        images = rng.integers(0, n_images, n_images)
        subjects = rng.integers(0, n_subjects, n_subjects)
        if over != "subjects":
            values = statistic(images)
        if "images" in draws:
            draws["images"][i] = combine(values, every)
        if "subjects" in draws:
            draws["subjects"][i] = combine(whole, subjects)
        if "both" in draws:
            draws["both"][i] = combine(values, subjects)
    return CrossedBootstrap(estimate, draws, n_images, n_subjects, over)


def _combine(values: FloatArray, weights: FloatArray) -> FloatArray:
    undefined = np.isnan(values)
    total = np.where(undefined, 0, values) @ weights
    lost = undefined.astype(float) @ (weights != 0)
    return np.where(lost > 0, np.nan, total)


def _correction(n: int) -> float:
    return n / (n - 1) if n > 1 else math.nan


def _variance(draws: FloatArray) -> FloatArray:
    """Compute variances over draws; NaN when many are undefined."""
    defined = ~np.isnan(draws)
    n = defined.sum(axis=0)
    usable = (n > 1) & (1 - n / len(draws) <= _MOST_UNDEFINED)
    n = np.where(usable, n, 2)
    mean = np.where(defined, draws, 0).sum(axis=0) / n
    squares = np.where(defined, (draws - mean) ** 2, 0).sum(axis=0)
    return np.where(usable, squares / (n - 1), np.nan)
