"""How well pairs of tokens are told apart, with intervals over pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.selectivity_maps import unit_auc
from analysis.stats import percentile_interval
from neurovis.core.checks import check_array, check_whole

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Judgements of the pairs of each picture.

    Parameters
    ----------
    same_hits, n_same, different_hits, n_different : ndarray of int64, shape (n,)
        Right judgements and pairs of each picture, by what is true.
    """

    same_hits: NDArray[np.int64]
    n_same: NDArray[np.int64]
    different_hits: NDArray[np.int64]
    n_different: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of pairs."""
        return int(self.n_same.sum() + self.n_different.sum())


def count_pairs(said: ArrayLike, same: ArrayLike, counted: ArrayLike) -> PairCounts:
    """Count right judgements picture by picture.

    Parameters
    ----------
    said, same : array_like of bool, shape (n_pictures, n_tokens, n_tokens)
        Whether a pair is called the same, and whether it is.
    counted : array_like of bool, shape (n_pictures, n_tokens, n_tokens)
        Pairs that count.

    Returns
    -------
    PairCounts
        One number per picture.

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> said, same = [[[True, True], [True, True]]], [[[True, False], [False, True]]]
    >>> counts = count_pairs(said, same, np.ones((1, 2, 2), bool))
    >>> counts.same_hits.tolist(), counts.different_hits.tolist()
    ([2], [0])
    """
    truth = check_array("same", np.asarray(same, bool), shape=(None, None, None))
    answer = check_array("said", np.asarray(said, bool), shape=truth.shape)
    chosen = check_array("counted", np.asarray(counted, bool), shape=truth.shape)
    axes = (1, 2)
    return PairCounts(
        (answer & truth & chosen).sum(axes),
        (truth & chosen).sum(axes),
        (~answer & ~truth & chosen).sum(axes),
        (~truth & chosen).sum(axes),
    )


def resample_pictures(
    n: int, n_bootstrap: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw how often each picture is in each bootstrap sample.

    Parameters
    ----------
    n : int
        Pictures.
    n_bootstrap : int
        Samples.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of int64, shape (n_bootstrap, n)
        Rows sum to `n`.

    Raises
    ------
    TypeError, ValueError
        If a number is below 1.
    """
    check_whole("n", n, low=1)
    check_whole("n_bootstrap", n_bootstrap, low=1)
    return np.asarray(rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap), np.int64)


def pair_accuracies(
    counts: PairCounts, weights: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """Compute accuracy and balanced accuracy over pictures, or over samples of them.

    Parameters
    ----------
    counts : PairCounts
        From `count_pairs`.
    weights : array_like of int, shape (n_samples, n_pictures), optional
        How often each picture counts; by default once.

    Returns
    -------
    accuracy : ndarray of float64, shape (n_samples,)
        Share of pairs judged rightly; NaN without pairs.
    balanced : ndarray of float64, shape (n_samples,)
        Mean of the shares among same and among different pairs; NaN where a kind is
        missing. A constant judgement has 0.5.

    Examples
    --------
    >>> counts = PairCounts(*(np.array([k]) for k in (1, 2, 6, 6)))
    >>> [float(value[0]) for value in pair_accuracies(counts)]
    [0.875, 0.75]
    """
    w = np.ones((1, len(counts.n_same))) if weights is None else np.asarray(weights)
    hits, n, other_hits, n_other = (
        np.asarray(w @ part, np.float64)
        for part in (
            counts.same_hits,
            counts.n_same,
            counts.different_hits,
            counts.n_different,
        )
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = (hits + other_hits) / (n + n_other)
        balanced = (hits / n + other_hits / n_other) / 2
    return accuracy, balanced


def pair_auc(logits: ArrayLike, same: ArrayLike, counted: ArrayLike) -> float:
    """Compute how often a pair of one object has a larger logit than another pair.

    Parameters
    ----------
    logits : array_like of float, shape (n_pictures, n_tokens, n_tokens)
        The larger, the more alike.
    same, counted : array_like of bool, shape (n_pictures, n_tokens, n_tokens)
        Whether a pair is of one object, and whether it counts.

    Returns
    -------
    float
        Area under the ROC curve over the pairs of all pictures, ties half; NaN where a
        kind is missing.

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> everything = np.ones((1, 1, 3), bool)
    >>> pair_auc([[[2.0, 1.0, 1.0]]], [[[True, True, False]]], everything)
    0.75
    """
    truth = np.asarray(same, bool)
    z = check_array("logits", np.asarray(logits, np.float64), shape=truth.shape)
    chosen = check_array("counted", np.asarray(counted, bool), shape=truth.shape)
    return unit_auc(z[chosen], truth[chosen])


def paired_difference(
    first: PairCounts, second: PairCounts, weights: ArrayLike
) -> tuple[float, float, float]:
    """Compare the balanced accuracy of two judges of the same pictures.

    Parameters
    ----------
    first, second : PairCounts
        Of the same pairs.
    weights : array_like of int, shape (n_samples, n_pictures)
        From `resample_pictures`: both are resampled together.

    Returns
    -------
    difference, low, high : float
        First minus second, with the limits of its 95 % interval.

    Examples
    --------
    >>> one = PairCounts(*(np.array([k, k]) for k in (2, 2, 2, 2)))
    >>> paired_difference(one, one, np.ones((5, 2)))
    (0.0, 0.0, 0.0)
    """
    value = pair_accuracies(first)[1] - pair_accuracies(second)[1]
    draws = pair_accuracies(first, weights)[1] - pair_accuracies(second, weights)[1]
    low, high = percentile_interval(draws)
    return float(value[0]), float(low), float(high)
