"""Averages in pooling windows, and back to pixels, at every level of a pyramid."""

from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from neurovis.core.checks import check_whole
from neurovis.foveation.windows import PoolingWindows, window_matrix

# Longest run of terms that is summed at once: short runs keep float32 sums accurate
# and give a GPU enough of them to work on side by side.
_RUN = 512


class PoolingOperators:
    """Window averages (`pool`) and smooth interpolation (`spread`) per pyramid level.

    Sample i of level l lies at pixel ``2**l * i``, as it does in a pyramid that crops
    spectra. The weight of a window at that sample is its mean over the pixels that are
    nearest to it, so windows keep their places at every level.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry, for the shape of level 0.
    n_levels : int
        Number of levels; each halves height and width (rounded up).

    Raises
    ------
    TypeError, ValueError
        If `n_levels` is not a whole number of at least 1, or a level would vanish.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> operators = PoolingOperators(pooling_windows((64, 64), 0.5), n_levels=2)
    >>> means = operators.pool(0, torch.ones(1, 3, 64, 64))
    >>> bool(torch.allclose(means, torch.ones(1, 3, operators.n_windows)))
    True
    >>> operators.spread(1, means).shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(self, windows: PoolingWindows, n_levels: int = 1) -> None:
        check_whole("n_levels", n_levels, low=1)
        sides = [windows.shape]
        for _ in range(n_levels - 1):
            height, width = sides[-1]
            sides.append(((height + 1) // 2, (width + 1) // 2))
        if n_levels > 1 and min(sides[-2]) < 2:
            raise ValueError(
                f"`n_levels` {n_levels} is too many for windows of shape "
                f"{windows.shape}: a side would be halved below 1. Use fewer."
            )
        self.windows = windows
        self.n_levels = n_levels
        self.shapes = tuple(sides)
        self._levels = _level_matrices(windows, self.shapes)
        self._maps: dict[tuple[Any, ...], _Pair] = {}

    @property
    def n_windows(self) -> int:
        """Number of windows, the fovea included."""
        return self.windows.n_windows

    @cached_property
    def window_sums(self) -> NDArray[np.float64]:
        """Sum of the weights of each window, samples, shape (n_levels, n_windows)."""
        return np.stack([np.asarray(m.sum(axis=1)).ravel() for m in self._levels])

    @cached_property
    def window_squares(self) -> NDArray[np.float64]:
        """Sum of the squared weights, shape (n_levels, n_windows)."""
        squares = [m.multiply(m).sum(axis=1) for m in self._levels]
        return np.stack([np.asarray(each).ravel() for each in squares])

    def to(
        self, device: str | torch.device, dtype: torch.dtype = torch.float32
    ) -> "PoolingOperators":
        """Put the weights on a device now rather than at the first use.

        Parameters
        ----------
        device : str or torch.device
            Where the maps will be.
        dtype : torch.dtype, default torch.float32
            Which kind they will have.

        Returns
        -------
        PoolingOperators
            This object.
        """
        for level in range(self.n_levels):
            for kind in ("pool", "spread"):
                self._pair(kind, level, torch.device(device), dtype)
        return self

    def pool(self, level: int, maps: Tensor) -> Tensor:
        """Average maps in every window.

        Parameters
        ----------
        level : int
            Pyramid level, 0-based.
        maps : Tensor of float32 or float64, shape (B, C, h, w)
            Maps of that level's shape, on any device.

        Returns
        -------
        Tensor, shape (B, C, n_windows)
            Weighted means. Gradients of any order flow.

        Raises
        ------
        ValueError
            If the level does not exist or the maps have another shape.
        """
        self._check_level(level)
        if maps.ndim != 4 or tuple(maps.shape[2:]) != self.shapes[level]:
            raise ValueError(
                f"`maps` of level {level} must have shape (B, C, "
                f"{self.shapes[level][0]}, {self.shapes[level][1]}); got "
                f"{tuple(maps.shape)}. Make the windows for the shape of the images."
            )
        pair = self._pair("pool", level, maps.device, maps.dtype)
        return _apply(pair, maps.flatten(2))

    def spread(self, level: int, values: Tensor) -> Tensor:
        """Interpolate window values to samples: each is a weighted mean of windows.

        Parameters
        ----------
        level : int
            Pyramid level, 0-based.
        values : Tensor of float32 or float64, shape (B, C, n_windows)
            One value per window, on any device.

        Returns
        -------
        Tensor, shape (B, C, h, w)
            Maps; 0 where no window has any weight (open layouts).

        Raises
        ------
        ValueError
            If the level does not exist or the number of windows differs.
        """
        self._check_level(level)
        if values.ndim != 3 or values.shape[2] != self.n_windows:
            raise ValueError(
                f"`values` must have shape (B, C, {self.n_windows}), one per window; "
                f"got {tuple(values.shape)}."
            )
        pair = self._pair("spread", level, values.device, values.dtype)
        return _apply(pair, values).reshape(*values.shape[:2], *self.shapes[level])

    def _check_level(self, level: int) -> None:
        if not 0 <= level < self.n_levels:
            raise ValueError(
                f"`level` must be within [0, {self.n_levels - 1}]; got {level!r}."
            )

    def _pair(
        self, kind: str, level: int, device: torch.device, dtype: torch.dtype
    ) -> "_Pair":
        key = (kind, level, device, dtype)
        if key not in self._maps:
            if dtype not in (torch.float32, torch.float64):
                raise TypeError(f"Maps must be float32 or float64; got {dtype}.")
            matrix = self._levels[level]
            if kind == "pool":
                matrix = _rows_to_one(matrix)
            else:
                matrix = _rows_to_one(matrix.T.tocsr())
            # Kept for calls that want gradients, too.
            with torch.inference_mode(False):
                self._maps[key] = _Pair(
                    _sums(matrix, device, dtype),
                    _sums(matrix.T.tocsr(), device, dtype),
                )
        return self._maps[key]


# --------------------------------------------------------------------- matrices


def _level_matrices(
    windows: PoolingWindows, shapes: tuple[tuple[int, int], ...]
) -> list[sparse.csr_matrix]:
    """Weights at every level, (n_windows, h * w) each, float64."""
    full = window_matrix(windows, np.float64)
    entries = full.tocoo()
    rows, columns = np.divmod(entries.col, windows.shape[1])
    found = [full]
    for level, (height, width) in enumerate(shapes[1:], start=1):
        half = 2 ** (level - 1)
        y = np.minimum((np.arange(windows.shape[0]) + half) >> level, height - 1)
        x = np.minimum((np.arange(windows.shape[1]) + half) >> level, width - 1)
        size = np.outer(
            np.bincount(y, minlength=height), np.bincount(x, minlength=width)
        )
        sample = y[rows] * width + x[columns]
        found.append(
            sparse.csr_matrix(
                (entries.data / size.ravel()[sample], (entries.row, sample)),
                shape=(full.shape[0], height * width),
            )
        )
    return found


def _rows_to_one(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    scaled = matrix.copy()
    scaled.data = scaled.data * np.repeat(scale, np.diff(matrix.indptr))
    return scaled


# ----------------------------------------------------------------- linear maps


class _Sums(NamedTuple):
    """Rows of a sparse matrix, cut into runs; `total` adds the runs of a row."""

    columns: Tensor
    weight: Tensor
    start: Tensor
    total_start: Tensor | None


class _Pair(NamedTuple):
    """A matrix and its transpose."""

    forward: _Sums
    backward: _Sums

    def swapped(self) -> "_Pair":
        return _Pair(self.backward, self.forward)


def _sums(matrix: sparse.csr_matrix, device: torch.device, dtype: torch.dtype) -> _Sums:
    lengths = np.diff(matrix.indptr)
    n_runs = np.maximum(-(-lengths // _RUN), 1)
    total_start = np.concatenate([[0], np.cumsum(n_runs)])
    start, total = matrix.indptr, None
    if (n_runs > 1).any():
        within = np.arange(total_start[-1]) - np.repeat(total_start[:-1], n_runs)
        start = np.repeat(matrix.indptr[:-1], n_runs) + _RUN * within
        start = np.append(start, matrix.indptr[-1])
        total = torch.from_numpy(total_start.astype(np.int32)).to(device)
    return _Sums(
        torch.from_numpy(matrix.indices.astype(np.int32)).to(device),
        torch.from_numpy(matrix.data).to(device, dtype),
        torch.from_numpy(start.astype(np.int32)).to(device),
        total,
    )


def _multiply(sums: _Sums, table: Tensor) -> Tensor:
    """Product with (n_columns, K): shape (n_rows, K)."""
    found = torch.nn.functional.embedding_bag(
        sums.columns,
        table,
        sums.start,
        mode="sum",
        per_sample_weights=sums.weight,
        include_last_offset=True,
    )
    if sums.total_start is None:
        return found
    runs = torch.arange(len(found), dtype=torch.int32, device=found.device)
    return torch.nn.functional.embedding_bag(
        runs, found, sums.total_start, mode="sum", include_last_offset=True
    )


class _Product(torch.autograd.Function):
    """A fixed sparse matrix times (n, K); its gradient is the same by the transpose."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, pair: _Pair) -> Tensor:
        ctx.pair = pair
        return _multiply(pair.forward, table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _product(grads[0].contiguous(), ctx.pair.swapped()), None


def _product(table: Tensor, pair: _Pair) -> Tensor:
    return cast(Tensor, _Product.apply(table, pair))


def _apply(pair: _Pair, values: Tensor) -> Tensor:
    """Matrix applied to the last axis of (B, C, n)."""
    rows = values.flatten(0, 1)
    # One column takes another path through the CPU kernel, with other last bits: two
    # keep the result of a map the same in any company.
    lone = len(rows) == 1
    table = (rows.expand(2, -1) if lone else rows).t().contiguous()
    found = _product(table, pair).t()
    found = found[:1] if lone else found
    return found.reshape(*values.shape[:2], -1)
