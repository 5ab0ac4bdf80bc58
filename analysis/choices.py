"""Choices from similarities: what an observer picks whose features are known.

The larger of two similarities wins. Ties are no choice (-1) and count as wrong.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_option

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SIMILARITIES = ("cosine", "pearson", "neg_euclidean", "dot")
"""Cosine, correlation, negative Euclidean distance, and inner product."""


@dataclass(frozen=True)
class Choices:
    """What was picked, and how clearly.

    Parameters
    ----------
    picked : ndarray of int64, shape (n_trials,)
        Index of the option; -1 for a tie, or where a similarity is undefined.
    margin : ndarray of float64, shape (n_trials,)
        Best similarity minus the second best, >= 0; NaN where undefined.
    """

    picked: IntArray
    margin: FloatArray


def similarity(first: ArrayLike, second: ArrayLike, kind: str = "cosine") -> FloatArray:
    """Compare feature vectors along the last axis.

    Parameters
    ----------
    first, second : array_like of float, shape (..., n_features)
        Vectors; leading axes broadcast.
    kind : {"cosine", "pearson", "neg_euclidean", "dot"}
        Measure of similarity.

    Returns
    -------
    ndarray of float64, shape (...)
        NaN where a measure is undefined: a vector of zeros (cosine), or of one value
        (Pearson).

    Raises
    ------
    ValueError
        If `kind` is another one or the vectors do not fit together.

    Examples
    --------
    >>> float(similarity([1.0, 0.0], [1.0, 1.0]).round(4))
    0.7071
    """
    check_option("kind", kind, SIMILARITIES)
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape[-1:] != b.shape[-1:]:
        raise ValueError(
            f"`first` and `second` must have as many features; got {a.shape[-1:]} and "
            f"{b.shape[-1:]}."
        )
    if kind == "neg_euclidean":
        return np.asarray(-np.linalg.norm(a - b, axis=-1))
    if kind != "dot":
        a, b = _unit(a, kind), _unit(b, kind)
    return np.einsum("...d,...d->...", a, b)


def similarity_matrix(rows: ArrayLike, kind: str = "cosine") -> FloatArray:
    """Compare all vectors with each other.

    Parameters
    ----------
    rows : array_like of float, shape (n, n_features)
        Vectors.
    kind : {"cosine", "pearson", "neg_euclidean", "dot"}
        Measure of similarity.

    Returns
    -------
    ndarray of float64, shape (n, n)
        Symmetric; NaN where undefined.

    Raises
    ------
    ValueError
        If `kind` is another one or `rows` is no matrix.
    """
    check_option("kind", kind, SIMILARITIES)
    x = check_array("rows", np.asarray(rows, np.float64), shape=(None, None))
    if kind in ("cosine", "pearson"):
        x = _unit(x, kind)
    products = x @ x.T
    if kind != "neg_euclidean":
        return np.asarray((products + products.T) / 2)
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares - 2 * products, 0.0)
    np.fill_diagonal(distances, 0.0)
    return np.asarray(-np.sqrt((distances + distances.T) / 2))


def choose_option(
    probe: ArrayLike, options: ArrayLike, kind: str = "cosine"
) -> Choices:
    """Pick the option that is most similar to a probe.

    Parameters
    ----------
    probe : array_like of float, shape (n_trials, n_features)
        What is compared.
    options : array_like of float, shape (n_trials, n_options, n_features)
        What there is to pick, at least two.
    kind : {"cosine", "pearson", "neg_euclidean", "dot"}
        Measure of similarity.

    Returns
    -------
    Choices
        One per trial.

    Raises
    ------
    ValueError
        If shapes do not fit together.

    Examples
    --------
    >>> choose_option([[1.0, 0.0]], [[[0.0, 1.0], [1.0, 0.1]]]).picked
    array([1])
    """
    x = check_array("probe", np.asarray(probe, np.float64), shape=(None, None))
    y = np.asarray(options, np.float64)
    check_array("options", y, shape=(len(x), None, x.shape[1]))
    return pick_largest(similarity(x[:, None, :], y, kind))


def choose_odd(items: ArrayLike, kind: str = "cosine") -> Choices:
    """Pick the item that is least similar to the others.

    Parameters
    ----------
    items : array_like of float, shape (n_trials, n_items, n_features)
        What is shown, at least three items.
    kind : {"cosine", "pearson", "neg_euclidean", "dot"}
        Measure of similarity.

    Returns
    -------
    Choices
        The item with the smallest mean similarity to the others.

    Raises
    ------
    ValueError
        If there are fewer than three items.

    Examples
    --------
    >>> choose_odd([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]]).picked
    array([1])
    """
    x = check_array("items", np.asarray(items, np.float64), shape=(None, None, None))
    n = x.shape[1]
    if n < 3:
        raise ValueError(f"`items` must hold 3 items per trial or more; got {n}.")
    pairs = similarity(x[:, :, None, :], x[:, None, :, :], kind)
    pairs[:, np.arange(n), np.arange(n)] = 0.0
    return pick_largest(-pairs.sum(axis=2) / (n - 1))


def pick_largest(values: ArrayLike) -> Choices:
    """Pick the largest value of each row.

    Parameters
    ----------
    values : array_like of float, shape (n_trials, n_options)
        At least two options.

    Returns
    -------
    Choices
        A row with two largest values, or with NaN, is no choice.

    Raises
    ------
    ValueError
        If there are fewer than two options.

    Examples
    --------
    >>> pick_largest([[0.1, 0.5], [0.5, 0.5]]).picked
    array([ 1, -1])
    """
    x = check_array("values", np.asarray(values, np.float64), shape=(None, None))
    if x.shape[1] < 2:
        raise ValueError(f"`values` must hold 2 options or more; got {x.shape[1]}.")
    ordered = np.sort(x, axis=1)  # NaN last
    margin = ordered[:, -1] - ordered[:, -2]
    margin[np.isnan(x).any(axis=1)] = np.nan
    picked: Any = np.where(margin > 0, np.argmax(x, axis=1), -1)
    return Choices(picked.astype(np.int64), margin)


def _unit(rows: FloatArray, kind: str) -> FloatArray:
    if kind == "pearson":
        constant = (rows == rows[..., :1]).all(axis=-1, keepdims=True)
        # The mean of equal values can differ from them in the last bit.
        rows = np.where(constant, 0.0, rows - rows.mean(axis=-1, keepdims=True))
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, np.nan))
