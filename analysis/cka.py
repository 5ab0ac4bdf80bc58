"""Centred kernel alignment (CKA): how alike two spaces arrange the same stimuli.

Linear CKA is computed from products of stimuli (Gram matrices) or of features,
whichever are fewer; both give the same number. Features are read in blocks of columns,
so that memory maps are never copied whole, and summed in float64. Undefined is NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.metrics import unit_blocks
from analysis.row_correlations import correlate_rows
from analysis.stats import ROUNDING
from neurovis.core.checks import check_array, check_between

FloatArray = NDArray[np.float64]


def linear_cka(x: ArrayLike, y: ArrayLike, *, debiased: bool = False) -> float:
    """Compare two feature spaces of the same stimuli.

    ``|X'Y|^2 / (|X'X| |Y'Y|)`` of features with their means removed, with the norms of
    Frobenius. It does not change when features are rotated, or all scaled together.

    Parameters
    ----------
    x, y : array-like of float, shape (n_stimuli, ...)
        One row per stimulus in one order; further axes are flattened. May be memory
        maps.
    debiased : bool, default False
        Use the unbiased estimator of the Hilbert-Schmidt independence criterion, which
        leaves products of stimuli with themselves out. It needs four stimuli.

    Returns
    -------
    float
        0..1, or about 0 for unrelated spaces and possibly negative when debiased; NaN
        where a space does not vary between stimuli.

    Raises
    ------
    ValueError
        If shapes do not fit or values are not finite.

    Notes
    -----
    Without debiasing, unrelated spaces with many features have a CKA far above 0: 0.91
    for two times 1000 independent features of 100 stimuli, for any two spaces.

    References
    ----------
    Kornblith, Norouzi, Lee and Hinton (2019). ICML, 3519-3529. arXiv:1905.00414.
    Song et al. (2012). J. Mach. Learn. Res. 13, 1393-1434 (unbiased estimator).

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 3.0], [1.0, 5.0]])
    >>> round(linear_cka(x, 10 * x[:, ::-1] + 3), 6)
    1.0
    """
    a, b = _flat("x", x), _flat("y", y)
    if len(a) != len(b):
        raise ValueError(
            f"`x` has {len(a)} rows, but `y` has {len(b)}: both need one row per "
            "stimulus, in one order."
        )
    if a.shape[1] * b.shape[1] < len(a) ** 2:
        return _cka_of_features(a, b, debiased=debiased)
    grams = [linear_gram(a)[None], linear_gram(b)[None]]
    return float(cka_matrix(*grams, debiased=debiased)[0, 0])


def cka_matrix(
    grams: ArrayLike | Sequence[ArrayLike],
    others: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    debiased: bool = False,
) -> FloatArray:
    """Compare every Gram matrix of one stack with every one of another.

    Parameters
    ----------
    grams : array-like of float, shape (m, n_stimuli, n_stimuli)
        Symmetric matrices of products (or kernels) of stimuli, such as `linear_gram`
        gives; they need not be centred.
    others : array-like of float, shape (k, n_stimuli, n_stimuli), optional
        Matrices of the same stimuli; by default `grams` again.
    debiased : bool, default False
        As in `linear_cka`.

    Returns
    -------
    ndarray of float64, shape (m, k)
        CKA; NaN where undefined, and with fewer than two stimuli (four if debiased).

    Raises
    ------
    ValueError
        If shapes do not fit or values are not finite.

    Examples
    --------
    >>> layers = [np.eye(5), np.diag([1.0, 2.0, 3.0, 4.0, 5.0])]
    >>> cka_matrix([linear_gram(layer) for layer in layers]).round(3).tolist()
    [[1.0, 0.827], [0.827, 1.0]]
    """
    centre = _centre_without_diagonal if debiased else _centre
    rows = centre(_check_grams("grams", grams))
    if others is None:
        return correlate_rows(rows, rows, "cosine")
    columns = _check_grams("others", others)
    n = round(rows.shape[1] ** 0.5)
    check_array("others", columns, shape=(None, n, n))
    return correlate_rows(rows, centre(columns), "cosine")


def linear_gram(features: ArrayLike) -> FloatArray:
    """Multiply the features of all pairs of stimuli, with the means removed.

    Parameters
    ----------
    features : array-like of float, shape (n_stimuli, ...)
        One row per stimulus; further axes are flattened. May be a memory map.

    Returns
    -------
    ndarray of float64, shape (n_stimuli, n_stimuli)
        Products; rows and columns have the sum 0.

    Raises
    ------
    ValueError
        If the shape does not fit or values are not finite.

    Examples
    --------
    >>> linear_gram([[0.0], [2.0]]).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    x = _flat("features", features)
    gram = np.zeros((len(x), len(x)))
    for block in unit_blocks(*x.shape):
        centred = _read("features", x, block)
        gram += centred @ centred.T
    return gram


def gaussian_gram(features: ArrayLike, *, bandwidth: float = 0.5) -> FloatArray:
    """Compute the Gaussian (RBF) kernel of all pairs of stimuli.

    ``exp(-d**2 / (2 (bandwidth median)**2))``, d the Euclidean distance and median
    that of all pairs: scaling features does not change it.

    Parameters
    ----------
    features : array-like of float, shape (n_stimuli, ...)
        One row per stimulus; further axes are flattened. May be a memory map.
    bandwidth : float, default 0.5
        Width of the kernel in medians of the distance, above 0.

    Returns
    -------
    ndarray of float64, shape (n_stimuli, n_stimuli)
        Kernel, 0..1; NaN where more than half of the distances are 0.

    Raises
    ------
    ValueError
        If the shape does not fit, values are not finite or `bandwidth` is not above
        0.

    References
    ----------
    Kornblith, Norouzi, Lee and Hinton (2019). ICML, 3519-3529. arXiv:1905.00414

    Examples
    --------
    >>> gaussian_gram([[0.0], [2.0]], bandwidth=1).round(3).tolist()
    [[1.0, 0.607], [0.607, 1.0]]
    """
    check_between("bandwidth", bandwidth, low=0)
    if bandwidth == 0:
        raise ValueError("`bandwidth` must be above 0; got 0.")
    gram = linear_gram(features)
    squares = gram.diagonal()
    distance = np.maximum(squares[:, None] + squares - 2 * gram, 0)
    pairs = np.triu_indices(len(gram), 1)
    median = float(np.median(np.sqrt(distance[pairs]))) if len(pairs[0]) else 0.0
    if median**2 <= ROUNDING * abs(squares).max(initial=0):
        return np.full_like(gram, np.nan)
    kernel = np.exp(-distance / (2 * (bandwidth * median) ** 2))
    kernel[np.arange(len(gram)), np.arange(len(gram))] = 1
    return kernel


def _cka_of_features(
    a: NDArray[np.generic], b: NDArray[np.generic], *, debiased: bool
) -> float:
    """Compute CKA from products of features: `|X'Y|^2` is the sum of `K * L`."""
    n = len(a)
    if n < (4 if debiased else 2):
        return float("nan")
    own_a, own_b = _row_squares("x", a), _row_squares("y", b)
    square = _feature_products("x", a, "y", b)
    squares = _feature_products("x", a, "x", a), _feature_products("y", b, "y", b)
    if debiased:
        # What leaving out the diagonal means for centred products.
        def corrected(total: float, s: FloatArray, t: FloatArray) -> float:
            outer = float(s.sum() * t.sum()) / ((n - 1) * (n - 2))
            return total - float(s @ t) * n / (n - 2) + outer

        square = corrected(square, own_a, own_b)
        squares = (
            corrected(squares[0], own_a, own_a),
            corrected(squares[1], own_b, own_b),
        )
    scales = own_a.sum() ** 2, own_b.sum() ** 2
    for found, scale in zip(squares, scales, strict=True):
        if not found > ROUNDING * scale:
            return float("nan")
    return float(np.clip(square / np.sqrt(squares[0] * squares[1]), -1, 1))


def _feature_products(
    name_x: str, x: NDArray[np.generic], name_y: str, y: NDArray[np.generic]
) -> float:
    """Add up the squared products of all features of x with all of y."""
    total = 0.0
    for block in unit_blocks(*x.shape):
        left = _read(name_x, x, block).T
        for other in unit_blocks(*y.shape):
            products = left @ _read(name_y, y, other)
            total += float(np.vdot(products, products))
    return total


def _row_squares(name: str, x: NDArray[np.generic]) -> FloatArray:
    total = np.zeros(len(x))
    for block in unit_blocks(*x.shape):
        centred = _read(name, x, block)
        total += np.einsum("ij,ij->i", centred, centred)
    return total


def _centre(grams: FloatArray) -> FloatArray:
    """Remove the means of rows and columns, shape (m, n_stimuli**2)."""
    rows = grams.mean(axis=2, keepdims=True)
    columns = grams.mean(axis=1, keepdims=True)
    centred = grams - rows - columns + rows.mean(axis=1, keepdims=True)
    return _without_rounding(centred, grams)


def _centre_without_diagonal(grams: FloatArray) -> FloatArray:
    """Do the same without products of stimuli with themselves (U-centring)."""
    n = grams.shape[1]
    if n < 4:
        return np.full((len(grams), n * n), np.nan)
    own = np.arange(n)
    hollow = grams.copy()
    hollow[:, own, own] = 0
    sums = hollow.sum(axis=2, keepdims=True)
    total = sums.sum(axis=1, keepdims=True)
    centred = hollow - (sums + sums.transpose(0, 2, 1)) / (n - 2)
    centred += total / ((n - 1) * (n - 2))
    centred[:, own, own] = 0
    return _without_rounding(centred, grams)


def _without_rounding(centred: FloatArray, grams: FloatArray) -> FloatArray:
    """Flatten matrices; those with nothing but rounding errors become zeros."""
    size = np.abs(centred).max(axis=(1, 2), initial=0)
    scale = np.abs(grams).max(axis=(1, 2), initial=0)
    centred[size <= ROUNDING * scale] = 0
    return centred.reshape(len(centred), -1)


def _flat(name: str, values: ArrayLike) -> NDArray[np.generic]:
    x = np.asanyarray(values)
    if x.ndim < 2:
        raise ValueError(
            f"`{name}` needs one row per stimulus, shape (n_stimuli, n_features); got "
            f"{x.shape}."
        )
    return x.reshape(len(x), -1)


def _read(name: str, x: NDArray[np.generic], block: slice) -> FloatArray:
    """Read columns in float64 and remove their means."""
    values = np.asarray(x[:, block], np.float64)
    check_array(name, values, finite=True)
    centred: FloatArray = values - values.mean(axis=0)
    return centred


def _check_grams(name: str, grams: ArrayLike | Sequence[ArrayLike]) -> FloatArray:
    square = np.asarray(grams, np.float64)
    check_array(name, square, shape=(None, None, None), finite=True)
    if square.shape[1] != square.shape[2]:
        raise ValueError(
            f"`{name}` must hold square matrices, shape (m, n_stimuli, n_stimuli); got "
            f"{square.shape}."
        )
    return square
