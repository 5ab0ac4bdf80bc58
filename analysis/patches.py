"""Patches of a picture: which of them an area touches, and their mean token."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_whole

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def touched_patches(
    mask: ArrayLike, n_rows: int, n_columns: int, *, margin_px: int = 0
) -> BoolArray:
    """Return the patches that hold at least one pixel of a mask.

    Parameters
    ----------
    mask : array_like of bool, shape (H, W)
        Pixels.
    n_rows, n_columns : int
        Grid of patches; patch r covers the rows ``r H / n_rows`` to
        ``(r + 1) H / n_rows``, in part where that is no whole number.
    margin_px : int, default 0
        So many pixels around a patch count as its own.

    Returns
    -------
    ndarray of bool, shape (n_rows, n_columns)
        Patches.

    Raises
    ------
    TypeError, ValueError
        If `mask` is no matrix or a number is out of range.

    Examples
    --------
    >>> touched_patches([[1, 0, 0, 0], [0, 0, 0, 0]], 1, 2).tolist()
    [[True, False]]
    """
    pixels = check_array("mask", np.asarray(mask, bool), shape=(None, None))
    check_whole("n_rows", n_rows, low=1)
    check_whole("n_columns", n_columns, low=1)
    check_whole("margin_px", margin_px, low=0)
    by_rows = _any_within(pixels, n_rows, margin_px)
    return _any_within(by_rows.T, n_columns, margin_px).T


def _any_within(pixels: BoolArray, n: int, margin: int) -> BoolArray:
    length = len(pixels)
    parts = []
    for k in range(n):
        start = max(math.floor(k * length / n) - margin, 0)
        stop = min(math.ceil((k + 1) * length / n) + margin, length)
        parts.append(pixels[start:stop].any(axis=0))
    return np.array(parts)


def patch_shares(mask: ArrayLike, n_rows: int, n_columns: int) -> FloatArray:
    """Return which share of each patch belongs to a mask.

    Parameters
    ----------
    mask : array_like of bool, shape (H, W)
        Pixels.
    n_rows, n_columns : int
        Grid of patches, as `touched_patches` has it.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_columns)
        0..1.

    Raises
    ------
    TypeError, ValueError
        If `mask` is no matrix or a number is out of range.

    Examples
    --------
    >>> patch_shares([[1, 0, 0, 0], [1, 0, 0, 0]], 1, 2).tolist()
    [[0.5, 0.0]]
    """
    pixels = check_array("mask", np.asarray(mask, np.float64), shape=(None, None))
    check_whole("n_rows", n_rows, low=1)
    check_whole("n_columns", n_columns, low=1)
    rows, columns = (
        _overlaps(n, length)
        for n, length in zip((n_rows, n_columns), pixels.shape, strict=True)
    )
    return np.asarray(rows @ pixels @ columns.T)


def _overlaps(n: int, length: int) -> FloatArray:
    """Return the share of each patch that lies over each pixel."""
    edges = np.arange(n + 1) * length / n
    pixels = np.arange(length)
    low = np.maximum(edges[:-1, None], pixels[None])
    high = np.minimum(edges[1:, None], pixels[None] + 1)
    return np.asarray(np.maximum(high - low, 0.0) * n / length)


def mean_token(tokens: ArrayLike, weights: ArrayLike) -> FloatArray:
    """Return the mean token of some patches.

    Parameters
    ----------
    tokens : array_like of float, shape (n_rows, n_columns, n_channels)
        Tokens of one picture.
    weights : array_like of bool or float, shape (n_rows, n_columns)
        Which patches count, or how much, >= 0.

    Returns
    -------
    ndarray of float64, shape (n_channels,)
        NaN if no patch counts.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> mean_token([[[1.0], [3.0]]], [[True, True]]).tolist()
    [2.0]
    """
    x = check_array("tokens", tokens, shape=(None, None, None))
    w = check_array("weights", np.asarray(weights, np.float64), shape=x.shape[:2])
    total = float(w.sum())
    if total <= 0:
        return np.full(x.shape[2], np.nan)
    counted = w > 0
    return np.asarray(w[counted] @ x[counted].astype(np.float64) / total)
