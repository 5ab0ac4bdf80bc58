"""Simulated observers of triplets: known embeddings, drawn triplets, drawn choices."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.odd_one_out import check_triplets, choice_probabilities
from neurovis.core.checks import check_between, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def sparse_embedding(
    n_objects: int,
    n_dimensions: int,
    *,
    share: float = 0.3,
    mean: float = 1.2,
    seed: int = 0,
) -> FloatArray:
    """Draw a sparse embedding without negative numbers.

    Parameters
    ----------
    n_objects, n_dimensions : int
        Its shape, 1 or more.
    share : float, default 0.3
        Share of the numbers that are not 0, 0..1.
    mean : float, default 1.2
        Mean of these, above 0; they have a gamma distribution with the shape 4.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    ndarray of float64, shape (n_objects, n_dimensions)
        Numbers of 0 or more.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> x = sparse_embedding(200, 5)
    >>> bool((x >= 0).all()), bool(0.2 < (x > 0).mean() < 0.4)
    (True, True)
    """
    shape = (
        check_whole("n_objects", n_objects, low=1),
        check_whole("n_dimensions", n_dimensions, low=1),
    )
    check_between("share", share, low=0, high=1)
    check_between("mean", mean, low=1e-9)
    rng = generator(seed, "sparse embedding", *shape)
    values = rng.gamma(4.0, mean / 4.0, shape)
    return np.where(rng.random(shape) < share, values, 0.0)


def draw_triplets(n_objects: int, n_triplets: int, *, seed: int = 0) -> IntArray:
    """Draw triplets of different objects, each triplet independent of the others.

    Parameters
    ----------
    n_objects : int
        Objects, three or more.
    n_triplets : int
        Triplets, one or more; the same one may come again.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    ndarray of int64, shape (n_triplets, 3)
        Indices of objects in random order.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> sorted(draw_triplets(3, 1)[0].tolist())
    [0, 1, 2]
    """
    n = check_whole("n_objects", n_objects, low=3)
    size = check_whole("n_triplets", n_triplets, low=1)
    rng = generator(seed, "triplets", n)
    first = rng.integers(n, size=size)
    second = rng.integers(n - 1, size=size)
    third = rng.integers(n - 2, size=size)
    # Each number counts the objects that are left, in order.
    second += second >= first
    low, high = np.minimum(first, second), np.maximum(first, second)
    third += third >= low
    third += third >= high
    return np.stack([first, second, third], axis=1)


def simulate_choices(
    embedding: ArrayLike,
    triplets: ArrayLike,
    *,
    temperature: float = 1.0,
    seed: int = 0,
) -> IntArray:
    """Draw the choices of an observer with an embedding.

    Parameters
    ----------
    embedding : array-like of float, shape (n_objects, n_features)
        One row per object.
    triplets : array-like of int, shape (n_triplets, 3)
        Objects in any order.
    temperature : float, default 1
        As `analysis.odd_one_out.choice_probabilities`.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    ndarray of int64, shape (n_triplets, 3)
        The same objects, with the odd one third.

    Raises
    ------
    TypeError, ValueError
        As `analysis.odd_one_out.choice_probabilities`.

    Examples
    --------
    >>> simulate_choices([[9.0], [9.0], [0.0]], [[2, 0, 1]]).tolist()
    [[0, 1, 2]]
    """
    rows = check_triplets(triplets)
    p = choice_probabilities(embedding, rows, temperature)
    draws = generator(seed, "odd-one-out choices").random(len(rows))
    pair = (draws[:, None] >= p.cumsum(axis=1)[:, :2]).sum(axis=1)
    order = np.array([[0, 1, 2], [0, 2, 1], [1, 2, 0]])[pair]
    return np.take_along_axis(rows, order, axis=1)
