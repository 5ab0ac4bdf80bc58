"""The one eigendecomposition of a ridge problem, and what follows from it alone."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from neurovis.fitting.ridge_features import Features, gram_matrix
from neurovis.fitting.ridge_linalg import product

logger = logging.getLogger(__name__)

SMALLEST_SINGLE_RATIO = 1e-4
"""Smallest alpha over the largest eigenvalue for which float32 is used throughout."""

_POWER_STEPS = 30
_N_LARGEST = 64


@dataclass(frozen=True)
class Eigen:
    """Eigenvalues and eigenvectors of a Gram or covariance matrix.

    Parameters
    ----------
    values : Tensor of float64, shape (n,)
        Eigenvalues, ascending; 0 where they are within rounding of it.
    vectors : Tensor, shape (n, n)
        Eigenvectors in columns, in the dtype of the targets; less their means, if
        centred.
    norms : Tensor of float64, shape (n,)
        Squared norm of each eigenvector: 1, or what centring left.
    smallest : float
        Smallest eigenvalue as it was computed, maybe below 0 by rounding.
    dtype : torch.dtype
        Precision in which matrix and decomposition were computed.
    is_centred : bool
        Whether the eigenvectors are centred.
    images : Tensor, shape (n, n_largest)
        The matrix times the last of the eigenvectors, those of its largest
        eigenvalues; in the dtype of the targets.
    n_null : int
        How many eigenvalues must be 0, as the matrix cannot have a larger rank.
    """

    values: Tensor
    vectors: Tensor
    norms: Tensor
    smallest: float
    dtype: torch.dtype
    is_centred: bool
    images: Tensor
    n_null: int = 0


def decompose(
    matrix: Tensor,
    dtype: torch.dtype,
    rows: Tensor | None = None,
    *,
    centred: bool = False,
    rank: int | None = None,
) -> Eigen:
    """Decompose a symmetric matrix.

    Eigenvalues that must be 0, or would be above 0 but came out below, tell how much
    rounding there is. What is not twice as large is set to 0: a penalty of such a size
    would otherwise be mixed with it.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
        Gram or covariance matrix.
    dtype : torch.dtype
        Dtype of the eigenvectors that are returned.
    rows : Tensor of int, shape (n,), optional
        Order of the rows of the eigenvectors.
    centred : bool, default False
        Take their means from the eigenvectors.
    rank : int, optional
        Largest rank that the matrix can have; n by default.

    Returns
    -------
    Eigen
        The decomposition.

    Examples
    --------
    >>> decompose(torch.diag(torch.tensor([2.0, 1.0])), torch.float32).values.tolist()
    [1.0, 2.0]
    """
    values, vectors = torch.linalg.eigh(matrix)
    norms = torch.ones_like(values, dtype=torch.float64)
    if centred:
        mean = vectors.mean(0, dtype=torch.float64)
        norms -= len(matrix) * mean.square()
        vectors -= mean.to(vectors.dtype)
    images = (matrix @ vectors[:, -_N_LARGEST:]).to(dtype)
    vectors = vectors.to(dtype)
    if rows is not None:
        vectors, images = vectors[rows], images[rows]
    smallest = float(values[0])
    n_null = 0 if rank is None else max(0, len(values) - rank)
    exact = values.double()
    rounding = max(0.0, -smallest)
    if n_null:
        rounding = max(rounding, float(exact[:n_null].abs().max()))
    exact = exact.where(exact > 2 * rounding, 0)
    exact[:n_null] = 0
    images[:, (exact == 0)[-_N_LARGEST:]] = 0
    vectors = vectors.contiguous()
    rest = (smallest, matrix.dtype, centred, images, n_null)
    return Eigen(exact, vectors, norms, *rest)


def largest_eigenvalue(matrix: Tensor) -> float:
    """Estimate the largest eigenvalue of a positive semidefinite matrix from below.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
        Gram or covariance matrix.

    Returns
    -------
    float
        Rayleigh quotient after some power iterations; a few per cent low at worst
        where no eigenvalue stands out.

    Examples
    --------
    >>> largest_eigenvalue(torch.diag(torch.tensor([1.0, 3.0])))
    3.0
    """
    # A row could belong to a block of small eigenvalues, such as a category of few
    # samples; multiples of an irrational number fit no block.
    steps = torch.arange(1, len(matrix) + 1, dtype=torch.float64) * 0.6180339887498949
    vector = (steps % 1 + 0.5).to(matrix)
    for _ in range(_POWER_STEPS):
        norm = vector.norm()
        if norm == 0:
            return 0.0
        vector = matrix @ (vector / norm)
    return float(vector.norm())


def decompose_gram(
    features: Features,
    least_alpha: float,
    dtype: torch.dtype,
    rows: Tensor,
    *,
    centred: bool,
) -> Eigen:
    """Decompose ``X X'`` in the precision that the alphas need.

    Float32 loses the small eigenvalues below about 1e-7 of the largest. Where the
    smallest alpha is below `SMALLEST_SINGLE_RATIO` of that, Gram matrix and
    decomposition are computed in float64 and only the products with targets stay in
    float32.

    Parameters
    ----------
    features : Features
        Training features.
    least_alpha : float
        Smallest alpha.
    dtype : torch.dtype
        Dtype of the targets.
    rows : Tensor of int, shape (n_samples,)
        Order of the rows of the eigenvectors.
    centred : bool
        Whether there is an intercept.

    Returns
    -------
    Eigen
        The decomposition.

    Examples
    --------
    >>> import numpy as np
    >>> x = Features((np.eye(2, dtype="f4"),), None, None, torch.device("cpu"))
    >>> rows = torch.arange(2)
    >>> decompose_gram(x, 1e-6, torch.float32, rows, centred=False).dtype
    torch.float64
    """
    gram = gram_matrix(features, dtype)
    if needs_double(gram, least_alpha):
        del gram
        gram = gram_matrix(features, torch.float64)
    rank = largest_rank(features, features.n_samples, centred=centred)
    return decompose(gram, dtype, rows, centred=centred, rank=rank)


def largest_rank(features: Features, n_samples: int, *, centred: bool) -> int:
    """Return the rank that features cannot exceed.

    Parameters
    ----------
    features : Features
        Those whose scale is infinite do not count.
    n_samples : int
        Number of rows.
    centred : bool
        Whether their mean is taken from the rows.

    Returns
    -------
    int
        Largest possible rank.

    Examples
    --------
    >>> import numpy as np
    >>> x = Features((np.eye(3),), None, None, torch.device("cpu"))
    >>> largest_rank(x, 3, centred=True)
    2
    """
    n_features = features.n_features
    if features.scale is not None:
        n_features = int(features.scale.isfinite().sum())
    return min(n_features, n_samples - int(centred))


def needs_double(matrix: Tensor, least_alpha: float) -> bool:
    """Tell whether a matrix must be computed anew in float64, and log it.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
        Gram or covariance matrix.
    least_alpha : float
        Smallest alpha.

    Returns
    -------
    bool
        Whether it is in float32 and the smallest alpha is too small for that.

    Examples
    --------
    >>> needs_double(torch.eye(2), 1e-6), needs_double(torch.eye(2), 0.1)
    (True, False)
    """
    if matrix.dtype == torch.float64:
        return False
    largest = largest_eigenvalue(matrix)
    if least_alpha >= SMALLEST_SINGLE_RATIO * largest:
        return False
    logger.info(
        "smallest alpha is %.1e of the largest eigenvalue: Gram matrix and "
        "decomposition in float64",
        least_alpha / largest,
    )
    return True


def selectable(eigen: Eigen, alphas: Tensor) -> Tensor:
    """Tell which alphas exceed what rounding did to the smallest eigenvalue.

    Parameters
    ----------
    eigen : Eigen
        Decomposition of the Gram or covariance matrix.
    alphas : Tensor of float64, shape (n_alphas,)
        Penalties.

    Returns
    -------
    Tensor of bool, shape (n_alphas,)
        False where alpha is below twice the size of a negative smallest eigenvalue.

    Raises
    ------
    ValueError
        If no alpha is left.

    Examples
    --------
    >>> eigen = decompose(torch.tensor([[-0.1]]), torch.float32)
    >>> selectable(eigen, torch.tensor([0.1, 1.0])).tolist()
    [False, True]
    """
    good = alphas >= -2 * eigen.smallest
    if not good.any():
        raise ValueError(
            f"All `alphas` are below {-2 * eigen.smallest:.1e}, the rounding error of "
            "the smallest eigenvalue. Use larger alphas, or dtype='float64'."
        )
    if not good.all():
        n_bad = int((~good).sum())
        logger.warning(
            "%d alphas are below %.1e, the rounding error of the smallest eigenvalue, "
            "and are not selected",
            n_bad,
            -2 * eigen.smallest,
        )
    return good


def rotate(eigen: Eigen, values: Tensor) -> Tensor:
    """Express rows in the basis of eigenvectors.

    Parameters
    ----------
    eigen : Eigen
        Decomposition.
    values : Tensor, shape (n_targets, n)
        Rows.

    Returns
    -------
    Tensor, shape (n_targets, n)
        ``values @ vectors``.

    Examples
    --------
    >>> eigen = decompose(torch.diag(torch.tensor([2.0, 1.0])), torch.float32)
    >>> rotate(eigen, torch.tensor([[5.0, 7.0]])).abs().tolist()
    [[7.0, 5.0]]
    """
    return product(values, eigen.vectors.T)
