"""Features of any size as centred blocks of columns, and what is summed over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurovis.core.checks import check_between
from neurovis.fitting.ridge_linalg import add_symmetric_product, product

_BLOCK_BYTES = 2**27


def tensor_of(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return values as a tensor; it may share memory with them.

    Parameters
    ----------
    values : array-like or Tensor
        Numbers.
    dtype : torch.dtype
        Dtype wanted.
    device : torch.device
        Place wanted.

    Returns
    -------
    Tensor
        Not to be written to.

    Examples
    --------
    >>> tensor_of([1, 2], torch.float32, torch.device("cpu"))
    tensor([1., 2.])
    """
    if isinstance(values, Tensor):
        return values.detach().to(device=device, dtype=dtype)
    array = np.asarray(values)
    if array.dtype.kind == "b" or not array.dtype.isnative:
        array = array.astype(np.float64)
    if not array.flags.writeable or any(s < 0 for s in array.strides):
        array = array.copy()  # torch warns of, or refuses, such memory
    return torch.from_numpy(array).to(device=device, dtype=dtype)


@dataclass(frozen=True)
class Features:
    """Training features with the statistics that centre and scale them.

    Parameters
    ----------
    parts : tuple of array-like, each of shape (n_samples, n_part)
        Features side by side.
    centre : Tensor of float64, shape (n_features,), or None
        Subtracted from each column.
    scale : Tensor of float64, shape (n_features,), or None
        Each column is divided by it.
    device : torch.device
        Where blocks go.
    """

    parts: tuple[Any, ...]
    centre: Tensor | None
    scale: Tensor | None
    device: torch.device

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.parts[0].shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return sum(int(part.shape[1]) for part in self.parts)

    def blocks(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Yield columns and their centred and scaled values.

        Parameters
        ----------
        dtype : torch.dtype
            Dtype of the values.

        Yields
        ------
        slice
            Columns.
        Tensor, shape (n_samples, n_columns)
            Values, not to be written to.

        Raises
        ------
        ValueError
            If a value is not finite.
        """
        for columns, values in raw_blocks(self.parts, self.n_samples):
            if self.centre is None:
                block = tensor_of(values, dtype, self.device)
                check_finite(columns, block)
            else:
                block = tensor_of(values, torch.float64, self.device)
                block = self.standardized(columns, block).to(dtype)
            yield columns, block

    def standardized(self, columns: slice, values: Tensor) -> Tensor:
        """Centre and scale rows with the statistics of the training rows.

        Parameters
        ----------
        columns : slice
            Columns of the values.
        values : Tensor of float64, shape (n_rows, n_columns)
            Rows as they were given.

        Returns
        -------
        Tensor of float64, shape (n_rows, n_columns)
            Rows as the solver sees them.
        """
        if self.centre is not None:
            values = values - self.centre[columns]
        if self.scale is not None:
            values = values / self.scale[columns]
        return values


def raw_blocks(parts: tuple[Any, ...], n_rows: int) -> Iterator[tuple[slice, Any]]:
    """Cut features into blocks of columns of bounded memory.

    Parameters
    ----------
    parts : tuple of array-like
        Features side by side.
    n_rows : int
        Rows that set the width of a block: the same for training and new rows.

    Yields
    ------
    slice
        Columns, counted over all parts.
    array-like
        Their values.

    Examples
    --------
    >>> [columns for columns, _ in raw_blocks((np.ones((2, 3)), np.ones((2, 1))), 2)]
    [slice(0, 3, None), slice(3, 4, None)]
    """
    width = max(1, _BLOCK_BYTES // (8 * max(1, n_rows)))
    offset = 0
    for part in parts:
        n_columns = int(part.shape[1])
        for start in range(0, n_columns, width):
            stop = min(n_columns, start + width)
            yield slice(offset + start, offset + stop), part[:, start:stop]
        offset += n_columns


def prepare_features(
    parts: tuple[Any, ...],
    device: torch.device,
    *,
    centre: bool,
    standardize: bool | float,
) -> Features:
    """Compute means and standard deviations of training features, in float64.

    Parameters
    ----------
    parts : tuple of array-like, each of shape (n_samples, n_part)
        Features side by side, two-dimensional.
    device : torch.device
        Where blocks go.
    centre : bool
        Subtract the mean of each column.
    standardize : bool or float
        Subtract it, and divide by the (population) standard deviation; constant
        columns become 0. A number, 0..1: no column is divided by less than this share
        of the root mean square of the standard deviations of those that vary.

    Returns
    -------
    Features
        Nothing is copied.

    Raises
    ------
    TypeError, ValueError
        If a value is not finite, or `standardize` is out of range.

    Examples
    --------
    >>> cpu = torch.device("cpu")
    >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
    >>> ready = prepare_features((x,), cpu, centre=True, standardize=True)
    >>> next(ready.blocks(torch.float64))[1].tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    has_floor = not isinstance(standardize, bool | np.bool_)
    if has_floor and not 0 < check_between("standardize", standardize) < 1:
        raise ValueError(
            "`standardize` must be True, False, or a share above 0 and below 1 such as "
            f"1e-3; got {standardize!r}."
        )
    if not (centre or standardize):
        return Features(parts, None, None, device)
    means, scales = [], []
    for columns, values in raw_blocks(parts, int(parts[0].shape[0])):
        block = tensor_of(values, torch.float64, device)
        check_finite(columns, block)
        mean = block.mean(0)
        means.append(mean)
        if standardize:
            deviation = (block - mean).square().mean(0).sqrt()
            # What rounding leaves of a constant column is no variation.
            varies = deviation > 1e-12 * block.abs().amax(0)
            scales.append(torch.where(varies, deviation, torch.inf))
    scale = torch.cat(scales) if scales else None
    if scale is not None and has_floor:
        varying = scale.isfinite()
        floor = float(standardize) * scale[varying].square().mean().sqrt()
        scale = torch.where(varying, scale.clamp(min=floor), torch.inf)
    return Features(parts, torch.cat(means), scale, device)


def finite_columns(values: Tensor) -> Tensor:
    """Tell which columns have finite values only.

    Parameters
    ----------
    values : Tensor, shape (n_rows, n_columns)
        Numbers.

    Returns
    -------
    Tensor of bool, shape (n_columns,)
        False where a value is NaN or infinite.

    Examples
    --------
    >>> finite_columns(torch.tensor([[1.0, 1e38], [torch.nan, 3e38]])).tolist()
    [False, True]
    """
    # A finite sum has finite terms only, and needs no memory; the reverse is not true.
    finite = values.sum(0).isfinite()
    return finite if finite.all() else values.isfinite().all(0)


def check_finite(columns: slice, block: Tensor) -> None:
    """Raise if a feature is not finite.

    Parameters
    ----------
    columns : slice
        Columns of the block.
    block : Tensor, shape (n_rows, n_columns)
        Features.

    Raises
    ------
    ValueError
        With the number of bad values and the first column.

    Examples
    --------
    >>> check_finite(slice(0, 1), torch.ones(1, 1))
    """
    if finite_columns(block).all():
        return
    bad = ~torch.isfinite(block)
    column = columns.start + int(bad.any(0).int().argmax())
    raise ValueError(
        f"`X` has {int(bad.sum())} values that are NaN or infinite (the first in "
        f"column {column}): every feature must be finite. Drop those samples or "
        "features."
    )


def gram_matrix(features: Features, dtype: torch.dtype) -> Tensor:
    """Sum ``X X'`` over blocks of features.

    Parameters
    ----------
    features : Features
        Training features.
    dtype : torch.dtype
        Dtype of products and sum.

    Returns
    -------
    Tensor, shape (n_samples, n_samples)
        Symmetric matrix.

    Examples
    --------
    >>> x = Features((np.array([[1.0], [2.0]]),), None, None, torch.device("cpu"))
    >>> gram_matrix(x, torch.float64).tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    n = features.n_samples
    gram = torch.zeros(n, n, dtype=dtype, device=features.device)
    for _, block in features.blocks(dtype):
        add_symmetric_product(gram, block, block)
    return gram


def cross_gram(
    features: Features, parts: tuple[Any, ...], dtype: torch.dtype
) -> Tensor:
    """Sum ``X_new X'`` over blocks of features.

    Parameters
    ----------
    features : Features
        Training features.
    parts : tuple of array-like
        New rows of the same features, cut in any way.
    dtype : torch.dtype
        Dtype of products and sum.

    Returns
    -------
    Tensor, shape (n_new, n_samples)
        Products of new and training rows.

    Examples
    --------
    >>> x = Features((np.array([[1.0], [2.0]]),), None, None, torch.device("cpu"))
    >>> cross_gram(x, (np.array([[3.0]]),), torch.float64).tolist()
    [[3.0, 6.0]]
    """
    n_new = int(parts[0].shape[0])
    out = torch.zeros(n_new, features.n_samples, dtype=dtype, device=features.device)
    for columns, block in features.blocks(dtype):
        out += product(new_block(features, parts, columns).to(dtype), block)
    return out


def new_block(features: Features, parts: tuple[Any, ...], columns: slice) -> Tensor:
    """Return columns of new rows, centred and scaled as the training rows were.

    Parameters
    ----------
    features : Features
        Training features.
    parts : tuple of array-like
        New rows of the same features, cut in any way.
    columns : slice
        Which columns, counted over all parts.

    Returns
    -------
    Tensor of float64, shape (n_new, n_columns)
        New rows as the solver sees them.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> seen = Features((np.ones((1, 1)),), one, 2 * one, torch.device("cpu"))
    >>> new_block(seen, (np.array([[5.0]]),), slice(0, 1)).item()
    2.0
    """
    pieces = [
        tensor_of(v, torch.float64, features.device) for v in _cut(parts, columns)
    ]
    block = torch.cat(pieces, dim=1)
    check_finite(columns, block)
    return features.standardized(columns, block)


def _cut(parts: tuple[Any, ...], columns: slice) -> Iterator[Any]:
    """Yield the values of columns that are counted over all parts."""
    offset = 0
    for part in parts:
        width = int(part.shape[1])
        start, stop = max(columns.start - offset, 0), min(columns.stop - offset, width)
        if start < stop:
            yield part[:, start:stop]
        offset += width


def primal_weights(features: Features, dual: Tensor) -> Tensor:
    """Compute ``X' c``, the weights of the features as they were given.

    Parameters
    ----------
    features : Features
        Training features.
    dual : Tensor, shape (n_targets, n_samples)
        Dual coefficients, one row per target.

    Returns
    -------
    Tensor, shape (n_features, n_targets)
        Weights of the unscaled features, on the CPU.

    Examples
    --------
    >>> x = Features((np.array([[1.0], [2.0]]),), None, None, torch.device("cpu"))
    >>> primal_weights(x, torch.tensor([[1.0, 1.0]])).tolist()
    [[3.0]]
    """
    out = torch.empty(features.n_features, len(dual), dtype=dual.dtype)
    for columns, block in features.blocks(dual.dtype):
        weights = product(block.T.contiguous(), dual.to(block.device))
        if features.scale is not None:
            weights /= features.scale[columns, None]
        out[columns] = weights
    return out


def centre_weights(features: Features, is_dual: bool) -> Tensor:
    """Compute what coefficients are multiplied by to predict the mean row.

    Parameters
    ----------
    features : Features
        Training features.
    is_dual : bool
        Whether coefficients are dual, or weights of the scaled features.

    Returns
    -------
    Tensor of float64, shape (n_samples,) or (n_features,)
        ``X (centre / scale)``, or ``centre / scale``; on the CPU.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> x = Features((np.array([[1.0], [3.0]]),), 2 * one, one, torch.device("cpu"))
    >>> centre_weights(x, is_dual=True).tolist()
    [-2.0, 2.0]
    """
    weights = torch.zeros(features.n_features, dtype=torch.float64)
    if features.centre is not None:
        weights = features.centre
    if features.scale is not None:
        weights = weights / features.scale
    if not is_dual:
        return weights.cpu()
    out = torch.zeros(features.n_samples, dtype=torch.float64)
    for columns, block in features.blocks(torch.float64):
        out += (block @ weights[columns].to(block.device)).cpu()
    return out
