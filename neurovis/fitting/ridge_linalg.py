"""Matrix products and inverses of the ridge solvers."""

from functools import cache

import torch
from torch import Tensor

# Below this the overhead of a call is larger than what oneDNN gains.
_SMALLEST_SIDE = 32
_BLOCK = 256


@cache
def _has_onednn_product() -> bool:
    # torch.compile emits this operator for the same purpose; it has no public name.
    try:
        one = torch.ones(2, 2)
        return bool((_onednn_product(one, one) == 2).all())
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


def _onednn_product(x: Tensor, w: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")


def product(x: Tensor, w: Tensor) -> Tensor:
    """Multiply ``x @ w.T``.

    Parameters
    ----------
    x : Tensor, shape (m, k)
        Left factor.
    w : Tensor, shape (n, k)
        Right factor, transposed.

    Returns
    -------
    Tensor, shape (m, n)
        The product, in the dtype of the factors.

    Notes
    -----
    In float32 on the CPU oneDNN multiplies. Where the BLAS of torch (MKL) leaves the
    widest vectors of a processor unused, as it does on AMD, this is twice as fast;
    elsewhere it is as fast.

    Examples
    --------
    >>> product(torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    is_plain = (
        x.dtype != torch.float32
        or x.device.type != "cpu"
        or min(*x.shape, len(w)) < _SMALLEST_SIDE
    )
    if is_plain or not _has_onednn_product():
        return x @ w.T
    if not (w.is_contiguous() or w.T.is_contiguous()):
        w = w.contiguous()  # oneDNN has only a reference loop for other strides
    if x.stride(1) != 1:
        x = x.contiguous()
    return _onednn_product(x, w)


def add_symmetric_product(out: Tensor, x: Tensor, w: Tensor) -> None:
    """Add ``x @ w.T``, known to be symmetric, to a symmetric matrix in place.

    Only blocks on and below the diagonal are multiplied.

    Parameters
    ----------
    out : Tensor, shape (n, n)
        Where it is added.
    x, w : Tensor, shape (n, k)
        Factors whose product is symmetric.

    Examples
    --------
    >>> out, x = torch.zeros(2, 2), torch.tensor([[1.0], [2.0]])
    >>> add_symmetric_product(out, x, x)
    >>> out.tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    n = len(out)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        out[start:stop, :stop] += product(x[start:stop], w[:stop])
        out[:start, start:stop] = out[start:stop, :start].T


def inverse(matrix: Tensor, what: str) -> Tensor:
    """Invert a symmetric positive definite matrix.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
        What to invert.
    what : str
        Its name for the message.

    Returns
    -------
    Tensor, shape (n, n)
        The inverse.

    Raises
    ------
    ValueError
        If it is not positive definite within its precision.

    Examples
    --------
    >>> inverse(4 * torch.eye(1), "the matrix").item()
    0.25
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) == 0:
        return torch.cholesky_inverse(factor)
    factor, info = torch.linalg.cholesky_ex(matrix.double())
    if int(info) != 0:
        raise ValueError(
            f"{what} is not positive definite within the precision of the "
            "computation. Use larger alphas, or dtype='float64'."
        )
    return torch.cholesky_inverse(factor).to(matrix.dtype)
