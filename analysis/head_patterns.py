"""Which attention heads have maps alike: two axes and a few groups."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]

MOST_ROWS = 16
"""Rows and columns of patches that maps are brought to, if they have more."""

_STARTS = 20
_MOST_STEPS = 300


def shrink_pattern(
    maps: ArrayLike, grid: tuple[int, int], *, most: int = MOST_ROWS
) -> FloatArray:
    """Bring maps between patches to a coarser grid.

    Parameters
    ----------
    maps : array-like of float, shape (..., P, P)
        Attention from patches to patches, P = rows * columns.
    grid : pair of int
        Rows and columns of patches.
    most : int, default 16
        Most rows and columns afterwards. Smaller grids stay as they are.

    Returns
    -------
    ndarray of float64, shape (..., p, p)
        What goes to the patches of a block is added up, and the patches of a block are
        averaged: rows keep their sum. Blocks have equal numbers of patches but for one.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> shrink_pattern(np.eye(4), (2, 2), most=1).tolist()
    [[1.0]]
    """
    check_whole("most", most, low=1)
    n = grid[0] * grid[1]
    values = np.asarray(maps, np.float64)
    if values.ndim < 2 or values.shape[-2:] != (n, n):
        raise ValueError(
            f"`maps` must have shape (..., {n}, {n}) for a grid of {grid}; got "
            f"{values.shape}."
        )
    if max(grid) <= most:
        return values
    by_row, by_column = (np.arange(side) * min(side, most) // side for side in grid)
    columns = min(grid[1], most)
    block = (by_row[:, None] * columns + by_column).ravel()
    member = (block == np.arange(min(grid[0], most) * columns)[:, None]).astype(float)
    averaging = member / member.sum(axis=1, keepdims=True)
    shrunk: FloatArray = averaging @ values @ member.T
    return shrunk


def principal_axes(
    rows: ArrayLike, *, n_axes: int = 2
) -> tuple[FloatArray, FloatArray]:
    """Return rows as points along the axes of their largest variance.

    Parameters
    ----------
    rows : array-like of float, shape (n, n_features)
        One row per head.
    n_axes : int, default 2
        Axes.

    Returns
    -------
    points : ndarray of float64, shape (n, n_axes)
        Coordinates around the mean; 0 on axes that the rows have not. The sign is such
        that the largest coordinate in size is above 0.
    shares : ndarray of float64, shape (n_axes,)
        Share of the variance along each axis; NaN when there is no variance.

    Raises
    ------
    ValueError
        If there is no row or a value is not finite.

    Examples
    --------
    >>> points, shares = principal_axes([[0.0, 0.0], [2.0, 0.0]], n_axes=1)
    >>> np.abs(points).round(6).tolist(), shares.tolist()
    ([[1.0], [1.0]], [1.0])
    """
    check_whole("n_axes", n_axes, low=1)
    values = np.asarray(rows, np.float64)
    check_array("rows", values, shape=(None, None), finite=True)
    if not len(values):
        raise ValueError("`rows` is empty: at least one is needed.")
    centred = values - values.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    found = left * sizes
    points, shares = np.zeros((len(values), n_axes)), np.full(n_axes, np.nan)
    kept = min(n_axes, len(sizes))
    points[:, :kept] = found[:, :kept]
    largest = np.abs(points).argmax(axis=0)
    signs = np.where(points[largest, np.arange(n_axes)] < 0, -1.0, 1.0)
    total = float((sizes**2).sum())
    if total > 0:
        shares[:] = 0
        shares[:kept] = sizes[:kept] ** 2 / total
    return points * signs, shares


def cluster_points(
    points: ArrayLike, *, n_clusters: int = 6, seed: int = 0
) -> NDArray[np.int64]:
    """Group points around means (k-means).

    Parameters
    ----------
    points : array-like of float, shape (n, n_axes)
        Points.
    n_clusters : int, default 6
        Groups; fewer when there are not as many different points.
    seed : int, default 0
        Seed of the twenty starts, the best of which is kept.

    Returns
    -------
    ndarray of int64, shape (n,)
        0-based group of each point, in the order in which groups first appear.

    Raises
    ------
    ValueError
        If there is no point or a value is not finite.

    Notes
    -----
    Lloyd's algorithm with the starts of k-means++.

    References
    ----------
    Arthur and Vassilvitskii (2007). k-means++: the advantages of careful seeding. SODA,
    1027-1035.

    Examples
    --------
    >>> cluster_points([[0.0], [9.0], [0.1]], n_clusters=2).tolist()
    [0, 1, 0]
    """
    check_whole("n_clusters", n_clusters, low=1)
    values = np.asarray(points, np.float64)
    check_array("points", values, shape=(None, None), finite=True)
    if not len(values):
        raise ValueError("`points` is empty: at least one is needed.")
    n_clusters = min(n_clusters, len(np.unique(values, axis=0)))
    best, lowest = np.zeros(len(values), np.int64), np.inf
    for start in range(_STARTS):
        labels, error = _lloyd(values, n_clusters, generator(seed, "k-means", start))
        if error < lowest:
            best, lowest = labels, error
    _, first, inverse = np.unique(best, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    ordered: NDArray[np.int64] = place[inverse.ravel()]
    return ordered


def _lloyd(
    values: FloatArray, n_clusters: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], float]:
    """Return groups and their squared error from one start."""
    means = values[[rng.integers(len(values))]]
    while len(means) < n_clusters:
        near = _squares(values, means).min(axis=1)
        chosen = rng.choice(len(values), p=near / near.sum())
        means = np.vstack([means, values[chosen]])
    labels = _squares(values, means).argmin(axis=1)
    for _ in range(_MOST_STEPS):
        for group in np.unique(labels):  # an empty group keeps its place
            means[group] = values[labels == group].mean(axis=0)
        now = _squares(values, means).argmin(axis=1)
        if (now == labels).all():
            break
        labels = now
    return labels, float(_squares(values, means).min(axis=1).sum())


def _squares(values: FloatArray, means: FloatArray) -> FloatArray:
    gaps = values[:, None, :] - means
    squares: FloatArray = (gaps**2).sum(axis=-1)
    return squares
