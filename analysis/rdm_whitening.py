"""Dissimilarities decorrelated by the covariance of their errors.

Two dissimilarities that share a stimulus have correlated errors. Without signal the
covariance V of estimated squared distances is, up to a factor, the square of every
element of ``C S C'``: C has a row ``e_i - e_j`` for each pair of stimuli, S is the
covariance of the noise of stimuli (Diedrichsen et al. 2020, arXiv:2007.02789). V has as
many rows as there are pairs, yet its inverse can be applied with matrices of stimuli.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve

from analysis.stats import ROUNDING
from neurovis.core.checks import check_array

FloatArray = NDArray[np.float64]
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def solve_whitening(
    rows: ArrayLike, pairs: Pairs, noise_covariance: ArrayLike | None = None
) -> FloatArray:
    """Multiply dissimilarities by the inverse of their error covariance.

    Parameters
    ----------
    rows : array-like of float, shape (n_rdms, n_pairs)
        Dissimilarities.
    pairs : tuple of two ndarray of int, shape (n_pairs,)
        The stimuli of each pair, counted from 0. Without `noise_covariance` pairs may
        be missing.
    noise_covariance : array-like of float, shape (n_stimuli, n_stimuli) or \
(n_stimuli,), optional
        Covariance, or variances, of the noise of stimuli, such as the reciprocals of
        numbers of repeats. By default all are equal and independent. Its scale does
        not matter where rows are compared.

    Returns
    -------
    ndarray of float64, shape (n_rdms, n_pairs)
        ``V^-1 row`` for each row.

    Raises
    ------
    ValueError
        If the noise covariance does not fit, is not positive definite, or comes with
        missing pairs.

    Notes
    -----
    With B of shape (n_stimuli, n_pairs), 1 where a stimulus belongs to a pair, equal
    noise gives ``V = 2 I + B' B`` and ``V^-1 = (I - B' (2 I + B B')^-1 B) / 2``. For
    any S, ``V y`` holds the squared distances of the products ``S L S``, where L is
    the graph Laplacian of the weights y: solved for L, and read off its elements.

    Examples
    --------
    >>> pairs = np.triu_indices(3, 1)
    >>> solve_whitening([[6.0, 6.0, 6.0]], pairs).round(6).tolist()
    [[1.0, 1.0, 1.0]]
    """
    values = np.asarray(rows, np.float64)
    i, j = pairs
    n = int(max(i.max(initial=0), j.max(initial=0))) + 1
    if noise_covariance is not None:
        return _solve_any_noise(values, pairs, n, noise_covariance)
    graph = np.zeros((n, n))
    graph[i, j] = graph[j, i] = 1
    graph[np.arange(n), np.arange(n)] = graph.sum(axis=1) + 2
    sums = np.array([np.bincount(i, r, n) + np.bincount(j, r, n) for r in values])
    parts = cho_solve(cho_factor(graph), sums.reshape(len(values), n).T).T
    return (values - parts[:, i] - parts[:, j]) / 2


def _solve_any_noise(
    values: FloatArray, pairs: Pairs, n: int, noise_covariance: ArrayLike
) -> FloatArray:
    i, j = pairs
    if len(i) != n * (n - 1) // 2:
        raise ValueError(
            f"`noise_covariance` needs all pairs of stimuli, {n * (n - 1) // 2} for "
            f"{n} stimuli; got {len(i)}. Leave out stimuli with missing "
            "dissimilarities, or leave out `noise_covariance`."
        )
    noise = np.asarray(noise_covariance, np.float64)
    if noise.ndim == 1:
        check_array("noise_covariance", noise, shape=(n,), finite=True)
        noise = np.diag(noise)
    check_array("noise_covariance", noise, shape=(n, n), finite=True)
    centred = noise - noise.mean(axis=0) - noise.mean(axis=1)[:, None] + noise.mean()
    size, vectors = np.linalg.eigh((centred + centred.T) / 2)
    # Only differences between stimuli count: one direction is always lost.
    size, vectors = size[1:], vectors[:, 1:]
    if len(size) and not size[0] > ROUNDING * abs(noise).max():
        raise ValueError(
            "`noise_covariance` is not positive definite for differences between "
            "stimuli."
        )
    inverse = (vectors / size) @ vectors.T
    solved = np.empty_like(values)
    square = np.zeros((n, n))
    for row, out in zip(values, solved, strict=True):
        square[i, j] = square[j, i] = row
        # The inverse centres rows and columns: distances turn into products.
        out[:] = (inverse @ square @ inverse)[i, j] / 2
    return solved
