"""Odd-one-out choices of embeddings: which of three objects fits the others least.

A triplet is a row (i, j, k) of indices of objects. In data the third one is what was
chosen as the odd one, so that (i, j) was the most similar pair. Pairs stand in the
order (ij, ik, jk) everywhere.

References
----------
Hebart, Zheng, Pereira and Baker (2020). Revealing the multidimensional mental
representations of natural objects underlying human similarity judgements. Nature Human
Behaviour 4, 1173-1185. doi:10.1038/s41562-020-00951-3
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from analysis.choices import pick_largest, similarity
from neurovis.core.checks import check_array, check_between, check_whole

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHANCE = 1 / 3
"""Accuracy of guessing."""

CHANCE_NLL = float(np.log(3))
"""Negative log likelihood of guessing, nats."""

# Numbers of the features that are looked up at once: 32 MiB in each of three arrays.
_CHUNK = 2**22
# Side of the blocks of the similarity matrix: three of them stay in a cache of 1 MiB.
_BLOCK = 128
# Logarithms of similarities may differ by so much before sums of them are not exact.
_LARGEST_RANGE = 600.0


def check_triplets(triplets: ArrayLike, n_objects: int | None = None) -> IntArray:
    """Return triplets as whole numbers, three different objects each.

    Parameters
    ----------
    triplets : array-like of int, shape (n_triplets, 3)
        Indices of objects, from 0.
    n_objects : int, optional
        Number of objects that there are.

    Returns
    -------
    ndarray of int64, shape (n_triplets, 3)
        The triplets, at least one.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or out of range, an object repeats within a triplet,
        or there is no triplet.

    Examples
    --------
    >>> check_triplets([[0, 1, 2]]).tolist()
    [[0, 1, 2]]
    """
    rows = check_array("triplets", triplets, shape=(None, 3))
    if rows.dtype.kind not in "iu":
        raise TypeError(
            f"`triplets` must hold whole numbers, indices of objects; got {rows.dtype}."
        )
    if not len(rows):
        raise ValueError("`triplets` is empty: at least one triplet is needed.")
    high = None if n_objects is None else n_objects - 1
    if rows.min() < 0 or (high is not None and rows.max() > high):
        limits = "0 or more" if high is None else f"within 0 and {high}"
        raise ValueError(
            f"`triplets` must hold indices {limits}; got {rows.min()} to {rows.max()}."
        )
    i, j, k = rows.T
    same = (i == j) | (i == k) | (j == k)
    if same.any():
        first = int(np.flatnonzero(same)[0])
        raise ValueError(
            f"`triplets` must have three different objects each; row {first} is "
            f"{rows[first].tolist()}."
        )
    return rows.astype(np.int64)


def pair_similarities(
    embedding: ArrayLike, triplets: ArrayLike, kind: str = "dot"
) -> FloatArray:
    """Compare the objects of each triplet with each other.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object.
    triplets : array-like of int, shape (n_triplets, 3)
        Indices of objects.
    kind : {"dot", "cosine", "pearson", "neg_euclidean"}
        Measure of similarity, see `analysis.choices.similarity`.

    Returns
    -------
    ndarray of float64, shape (n_triplets, 3)
        Similarities of (ij, ik, jk); NaN where undefined.

    Raises
    ------
    TypeError, ValueError
        If the embedding is not finite, the measure is unknown or a triplet is wrong.
    """
    x = check_array("embedding", embedding, shape=(None, None), finite=True)
    rows = check_triplets(triplets, len(x))
    size = max(1, _CHUNK // max(1, x.shape[1]))
    parts = []
    for start in range(0, len(rows), size):
        first, second, third = (x[c] for c in rows[start : start + size].T)
        pairs = ((first, second), (first, third), (second, third))
        parts.append(np.stack([similarity(a, b, kind) for a, b in pairs], axis=1))
    return np.concatenate(parts)


def odd_one_out_choices(
    embedding: ArrayLike, triplets: ArrayLike, similarity: str = "dot"
) -> IntArray:
    """Choose the object outside the most similar pair of each triplet.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object.
    triplets : array-like of int, shape (n_triplets, 3)
        Indices of objects.
    similarity : {"dot", "cosine", "pearson", "neg_euclidean"}
        Measure of similarity.

    Returns
    -------
    ndarray of int64, shape (n_triplets,)
        Position of the odd object, 0, 1 or 2; -1 where the largest similarity is not
        the only one (all three equal, or the two best), or one is undefined.

    Raises
    ------
    TypeError, ValueError
        As `pair_similarities`.

    Notes
    -----
    A tie is no choice and counts as wrong; of two equal best pairs published code
    takes the first one. Embeddings of real numbers have no such ties.

    Examples
    --------
    >>> odd_one_out_choices([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]], [[0, 1, 2]])
    array([1])
    """
    pairs = pick_largest(pair_similarities(embedding, triplets, similarity)).picked
    return np.where(pairs < 0, -1, 2 - pairs)


def odd_one_out_accuracy(
    embedding: ArrayLike, triplets: ArrayLike, similarity: str = "dot"
) -> float:
    """Compute the share of triplets whose odd one an embedding chooses too.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object.
    triplets : array-like of int, shape (n_triplets, 3)
        The third object is the odd one.
    similarity : {"dot", "cosine", "pearson", "neg_euclidean"}
        Measure of similarity.

    Returns
    -------
    float
        0..1; guessing gives 1/3. Ties are wrong.

    Raises
    ------
    TypeError, ValueError
        As `pair_similarities`.

    Examples
    --------
    >>> odd_one_out_accuracy(np.eye(3), [[0, 1, 2]])
    0.0
    """
    return float((odd_one_out_choices(embedding, triplets, similarity) == 2).mean())


def choice_probabilities(
    embedding: ArrayLike, triplets: ArrayLike, temperature: float = 1.0
) -> FloatArray:
    """Compute the probability that each pair is the most similar one.

    The softmax of the three inner products over the temperature.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object.
    triplets : array-like of int, shape (n_triplets, 3)
        Indices of objects.
    temperature : float, default 1
        Above 0; the larger, the more alike are the probabilities.

    Returns
    -------
    ndarray of float64, shape (n_triplets, 3)
        For (ij, ik, jk), so that the first is the probability that k is the odd one.

    Raises
    ------
    TypeError, ValueError
        As `pair_similarities`, or if the temperature is not above 0.

    Examples
    --------
    >>> choice_probabilities(np.eye(3), [[0, 1, 2]]).round(3).tolist()
    [[0.333, 0.333, 0.333]]
    """
    scale = _temperature(temperature)
    values: FloatArray = softmax(pair_similarities(embedding, triplets) / scale, axis=1)
    return values


def choice_nll(
    embedding: ArrayLike, triplets: ArrayLike, temperature: float = 1.0
) -> float:
    """Compute the mean negative log likelihood of choices.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object.
    triplets : array-like of int, shape (n_triplets, 3)
        The third object is the odd one.
    temperature : float, default 1
        As `choice_probabilities`.

    Returns
    -------
    float
        Nats per triplet; guessing gives log 3 = 1.0986.

    Raises
    ------
    TypeError, ValueError
        As `choice_probabilities`.

    Examples
    --------
    >>> round(choice_nll(np.eye(3), [[0, 1, 2]]), 4)
    1.0986
    """
    scale = _temperature(temperature)
    return _mean_nll(pair_similarities(embedding, triplets) / scale)


def fit_temperature(embedding: ArrayLike, triplets: ArrayLike) -> float:
    """Find the temperature under which choices are most likely.

    Fit it on other triplets than those on which it is judged.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object.
    triplets : array-like of int, shape (n_triplets, 3)
        The third object is the odd one.

    Returns
    -------
    float
        Above 0, from 1e-4 to 1e4 times the spread of the similarities within
        triplets; NaN where all of these are equal.

    Raises
    ------
    TypeError, ValueError
        As `pair_similarities`.

    Examples
    --------
    >>> x = np.array([[0.2, 0.0], [0.1, 0.3], [2.0, 1.0], [0.3, 0.4]])
    >>> 0 < fit_temperature(x, [[0, 2, 1], [1, 2, 0], [0, 1, 2], [2, 3, 1]]) < 10
    True
    """
    pairs = pair_similarities(embedding, triplets)
    pairs -= pairs.mean(axis=1, keepdims=True)
    spread = float(np.sqrt((pairs**2).mean()))
    if spread == 0:
        return float("nan")
    # The loss has one minimum: it is convex in the reciprocal of the temperature.
    found = minimize_scalar(
        lambda power: _mean_nll(pairs / (spread * np.exp(power))),
        bounds=(np.log(1e-4), np.log(1e4)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(spread * np.exp(found.x))


def calibration_error(probabilities: ArrayLike, *, n_bins: int = 15) -> float:
    """Compute the expected calibration error of odd-one-out choices.

    Triplets are put into bins of equal width by the probability of the most likely
    pair; the error is the mean of ``|share right - mean probability|`` over the bins,
    weighted with their triplets.

    Parameters
    ----------
    probabilities : array-like of float, shape (n_triplets, 3)
        Of `choice_probabilities`; the first pair is the one that was observed.
    n_bins : int, default 15
        Bins between 0 and 1.

    Returns
    -------
    float
        0..1; 0 where choices are as likely as the model says.

    Raises
    ------
    TypeError, ValueError
        If rows are no probabilities or the number of bins is out of range.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017). On calibration of modern neural networks.
    ICML. arXiv:1706.04599

    Examples
    --------
    >>> round(calibration_error([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]]), 6)
    0.2
    """
    p = check_array("probabilities", probabilities, shape=(None, 3), finite=True)
    n_bins = check_whole("n_bins", n_bins, low=1)
    if not len(p) or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-6:
        raise ValueError(
            "`probabilities` must hold rows of three probabilities that sum to 1."
        )
    largest = p.max(axis=1)
    right = pick_largest(p).picked == 0
    bins = np.clip(np.ceil(largest * n_bins).astype(int) - 1, 0, n_bins - 1)
    sums = np.bincount(bins, weights=right - largest, minlength=n_bins)
    return float(np.abs(sums).sum() / len(p))


def predicted_similarity(
    embedding: ArrayLike, *, temperature: float = 1.0
) -> FloatArray:
    """Compute how often each pair is chosen as the most similar one.

    ``R_ij`` is the mean over all other objects k of ``e_ij / (e_ij + e_ik + e_jk)``
    with ``e = exp(s / temperature)`` and the inner products s.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object, at least three.
    temperature : float, default 1
        As `choice_probabilities`.

    Returns
    -------
    ndarray of float64, shape (n_objects, n_objects)
        Symmetric, 0..1, diagonal 1.

    Raises
    ------
    TypeError, ValueError
        If the embedding is not finite, has fewer than three objects, or the
        temperature is not above 0.

    Notes
    -----
    The three pairs of a triplet share one denominator, so that each of the
    ``n (n - 1) (n - 2) / 6`` triplets is visited once, in blocks: beside three matrices
    of n by n the memory does not grow.

    Examples
    --------
    >>> predicted_similarity(np.eye(4)).round(3)[0].tolist()
    [1.0, 0.333, 0.333, 0.333]
    """
    x = check_array("embedding", embedding, shape=(None, None), finite=True)
    x = x.astype(np.float64)
    n = len(x)
    if n < 3:
        raise ValueError(f"`embedding` must hold 3 objects or more; got {n}.")
    logits = x @ x.T / _temperature(temperature)
    logits = (logits + logits.T) / 2
    outside = logits[~np.eye(n, dtype=bool)]
    low, high = float(outside.min()), float(outside.max())
    if high - low > _LARGEST_RANGE:
        return _from_logits(logits)
    np.fill_diagonal(logits, low)
    # A common factor cancels; this one keeps sums within the range of float64.
    weights = np.exp(logits - (low + high) / 2)
    sums = _reciprocal_sums(weights)
    return _finished(weights * sums / (n - 2))


def _reciprocal_sums(weights: FloatArray) -> FloatArray:
    """Return for each pair the sum over k of ``1 / (w_ij + w_ik + w_jk)``."""
    n = len(weights)
    sums, ones = np.zeros((n, n)), np.ones(_BLOCK)
    for rows, columns in _block_pairs(n):
        total = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
        inner = np.empty_like(total)
        part = np.ascontiguousarray(weights[rows, columns])
        for i in range(rows.stop):
            # Triplets i < j < k with j in `rows` and k in `columns`.
            skip = max(i + 1 - rows.start, 0)
            if skip == len(part):
                continue
            across = slice(skip, None) if rows == columns else slice(None)
            j = slice(rows.start + skip, rows.stop)
            k = columns if rows != columns else j
            found = inner[skip:, across]
            np.add(part[skip:, across], weights[i, j, None], out=found)
            found += weights[i, k]
            np.reciprocal(found, out=found)
            if rows == columns:
                np.fill_diagonal(found, 0.0)
            else:
                sums[i, k] += ones[skip : len(part)] @ found
            sums[i, j] += found @ ones[: found.shape[1]]
            total[skip:, across] += found
        if rows == columns:
            total = np.triu(total, 1)
        sums[rows, columns] += total
    return sums + sums.T


def _block_pairs(n: int) -> Iterator[tuple[slice, slice]]:
    starts = range(0, n, _BLOCK)
    blocks = [slice(start, min(start + _BLOCK, n)) for start in starts]
    for number, rows in enumerate(blocks):
        for columns in blocks[number:]:
            yield rows, columns


def _from_logits(logits: FloatArray) -> FloatArray:
    """Compute the matrix where exponentials leave the range of float64."""
    n = len(logits)
    found = np.zeros((n, n))
    for i in range(1, n):
        own = logits[i, :i, None]
        # Overflow to infinity is right here: the probability is then 0.
        with np.errstate(over="ignore"):
            ratio = np.exp(logits[i] - own) + np.exp(logits[:i] - own)
        chosen = 1 / (1 + ratio)
        chosen[:, i] = 0.0
        np.fill_diagonal(chosen, 0.0)
        found[i, :i] = found[:i, i] = chosen.sum(axis=1) / (n - 2)
    return _finished(found)


def _finished(found: FloatArray) -> FloatArray:
    np.fill_diagonal(found, 1.0)
    return np.minimum(found, 1.0)


def _mean_nll(scaled: FloatArray) -> float:
    return float(-log_softmax(scaled, axis=1)[:, 0].mean())


def _temperature(value: float) -> float:
    if check_between("temperature", value, low=0) == 0:
        raise ValueError("`temperature` must be above 0; got 0.")
    return float(value)
