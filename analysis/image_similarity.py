"""How alike two pictures are: squared error, structural similarity, information.

All measures take grey pictures, one or a stack of any shape; `grey` makes them from
colour. Sums are in float64.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_between, check_option, check_whole

FloatArray = NDArray[np.float64]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

WINDOW_PX = 11
"""Side of the window of `ssim`."""

WINDOW_SD_PX = 1.5
"""Standard deviation of the window of `ssim`."""

# Below these, cells of a histogram count as empty (published program).
_EMPTY = 1e-12


def grey(images: ArrayLike, *, channel_axis: int = -1) -> FloatArray:
    """Weigh red, green and blue to grey, without rounding.

    Parameters
    ----------
    images : array-like, shape (..., 3) or with the 3 at `channel_axis`
        RGB pictures of any range.
    channel_axis : int, default -1
        Axis of the channels: -1 for (H, W, 3), -3 for (B, 3, H, W).

    Returns
    -------
    ndarray of float64
        `images` without the axis of the channels, in the same range.

    Raises
    ------
    ValueError
        If there is no such axis or it has not three entries.

    Examples
    --------
    >>> grey([[[255, 255, 255], [255, 0, 0]]]).round(3).tolist()
    [[255.0, 76.245]]
    """
    values = np.asarray(images)
    if not -values.ndim <= channel_axis < values.ndim:
        raise ValueError(
            f"`channel_axis` must be an axis of `images`, whose shape is "
            f"{values.shape}; got {channel_axis}."
        )
    if values.shape[channel_axis] != 3:
        raise ValueError(
            f"`images` must have 3 channels on axis {channel_axis}; got shape "
            f"{values.shape}. Say where they are with `channel_axis`."
        )
    red, green, blue = np.moveaxis(values, channel_axis, 0)
    out = LUMA[0] * red.astype(np.float64)
    out += LUMA[1] * green
    out += LUMA[2] * blue
    return out


def mse(a: ArrayLike, b: ArrayLike) -> FloatArray | float:
    """Mean squared difference of the pixels.

    Parameters
    ----------
    a, b : array-like, shape (..., H, W)
        Grey pictures in the same range.

    Returns
    -------
    float, or ndarray of float64 of shape (...)
        Squared units of the pictures, >= 0; NaN where a pixel is not finite.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> mse([[0, 3]], [[0, 1]])
    2.0
    """
    x, y = _pair(a, b)
    with np.errstate(invalid="ignore"):
        values = np.square(x - y).mean((-2, -1))
    known = np.isfinite(x).all((-2, -1)) & np.isfinite(y).all((-2, -1))
    return _plain(np.where(known, values, np.nan))


def ssim(
    a: ArrayLike,
    b: ArrayLike,
    *,
    data_range: float | None = None,
    k: tuple[float, float] = (0.01, 0.03),
) -> FloatArray | float:
    """Structural similarity: agreement of local mean, contrast and structure.

    Local moments are weighted by a Gaussian window of `WINDOW_PX` pixels with a
    standard deviation of `WINDOW_SD_PX`; the map is averaged over the places where
    the window lies inside the picture.

    Parameters
    ----------
    a, b : array-like, shape (..., H, W)
        Grey pictures in the same range, at least `WINDOW_PX` on each side. For the
        mean over the channels of colour pictures give (..., 3, H, W) and average.
    data_range : float, optional
        Largest minus smallest possible value. By default 255 for 8-bit pictures, and
        1 for floating point, whose values must then be within 0..1.
    k : pair of float, default (0.01, 0.03)
        Constants that keep the ratio stable, relative to `data_range`, >= 0.

    Returns
    -------
    float, or ndarray of float64 of shape (...)
        -1..1; 1 for equal pictures. NaN where a pixel is not finite, and, with
        constants of 0, where both pictures are flat.

    Raises
    ------
    ValueError
        If shapes differ, pictures are smaller than the window, or `data_range` is
        not given and does not follow from the dtype.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli (2004). IEEE Trans. Image Process. 13, 600-612.
    doi:10.1109/TIP.2003.819861.

    Examples
    --------
    >>> ramp = np.tile(np.linspace(0, 1, 16), (16, 1))
    >>> ssim(ramp, ramp)
    1.0
    >>> round(ssim(ramp, 1 - ramp), 3)
    -0.827
    """
    x, y = _pair(a, b)
    if min(x.shape[-2:]) < WINDOW_PX:
        raise ValueError(
            f"`a` and `b` must have at least {WINDOW_PX} x {WINDOW_PX} pixels, the "
            f"size of the window; got {x.shape[-2:]}."
        )
    span = _data_range(np.asarray(a), np.asarray(b), x, y, data_range)
    c1, c2 = (
        (check_between(f"k[{i}]", value, low=0) * span) ** 2
        for i, value in enumerate(k)
    )
    pairs = zip(x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:]), strict=True)
    values = [_ssim_of_one(one, other, c1, c2) for one, other in pairs]
    return _plain(np.array(values).reshape(x.shape[:-2]))


def _ssim_of_one(x: FloatArray, y: FloatArray, c1: float, c2: float) -> float:
    # Products of deviations from the mean keep small variances exact.
    shift = (x.mean() + y.mean()) / 2
    u, v = x - shift, y - shift
    mean_u, mean_v = _windowed(u), _windowed(v)
    covariance = _windowed(u * v) - mean_u * mean_v
    variances = _windowed(u * u + v * v) - mean_u * mean_u - mean_v * mean_v
    mean_u += shift
    mean_v += shift
    ratio = (2 * mean_u * mean_v + c1) * (2 * covariance + c2)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio /= (mean_u * mean_u + mean_v * mean_v + c1) * (variances + c2)
    return float(ratio.mean())


def _windowed(image: FloatArray) -> FloatArray:
    """Average (H, W) in the window, where it lies inside the picture."""
    half = WINDOW_PX // 2
    weights = np.exp(-0.5 * (np.arange(half + 1) / WINDOW_SD_PX) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    # Shifted sums: twice as fast as a filter that also makes borders.
    n = image.shape[0] - 2 * half
    rows = weights[0] * image[half : half + n]
    for i in range(1, half + 1):
        above, below = half - i, half + i
        rows += weights[i] * (image[above : above + n] + image[below : below + n])
    n = image.shape[1] - 2 * half
    out = weights[0] * rows[:, half : half + n]
    for i in range(1, half + 1):
        left, right = half - i, half + i
        out += weights[i] * (rows[:, left : left + n] + rows[:, right : right + n])
    return out


def mutual_information(
    a: ArrayLike, b: ArrayLike, *, n_bins: int = 256, binning: str = "consistent"
) -> FloatArray | float:
    """Information that the grey level of a pixel in one picture gives of the other.

    Parameters
    ----------
    a, b : array-like, shape (..., H, W)
        Grey pictures; each may have a range of its own.
    n_bins : int, default 256
        Levels between the minimum and the maximum of each picture, >= 2.
    binning : {"consistent", "published"}
        "consistent" takes equal bins, closed on the right, and the single
        distributions as sums of the joint one: never negative, and the entropy of a
        picture for the picture with itself. "published" takes these bins for the
        single distributions but rounds to the nearest of `n_bins` levels for the
        joint one, which may come out negative or above the entropy.

    Returns
    -------
    float, or ndarray of float64 of shape (...)
        Bits per pixel; NaN where a pixel is not finite.

    Raises
    ------
    ValueError
        If shapes differ, or an option or number is out of range.

    Notes
    -----
    The estimate is biased upwards when there are few pixels per cell of the joint
    distribution (`n_bins` squared). Compare pictures of one size only.

    References
    ----------
    Deza and Konkle (2020). arXiv:2006.07991 (the "published" binning is that of the
    program of that study).

    Examples
    --------
    >>> halves = np.repeat([[0, 1]], 4, axis=0)
    >>> mutual_information(halves, halves)
    1.0
    >>> mutual_information(halves, np.repeat([[0], [0], [1], [1]], 2, axis=1))
    0.0
    """
    check_whole("n_bins", n_bins, low=2)
    check_option("binning", binning, ("consistent", "published"))
    x, y = _pair(a, b)
    n_pixels = x.shape[-2] * x.shape[-1]
    pairs = zip(x.reshape(-1, n_pixels), y.reshape(-1, n_pixels), strict=True)
    values = [_information(one, other, n_bins, binning) for one, other in pairs]
    return _plain(np.array(values).reshape(x.shape[:-2]))


def _information(x: FloatArray, y: FloatArray, n_bins: int, binning: str) -> float:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    bins = [_equal_bins(values, n_bins) for values in (x, y)]
    cells = bins
    if binning == "published":
        cells = [_nearest_levels(values, n_bins) for values in (x, y)]
    joint = np.bincount(cells[0] * n_bins + cells[1], minlength=n_bins**2) / len(x)
    joint = joint.reshape(n_bins, n_bins)
    single = [np.bincount(each, minlength=n_bins) / len(x) for each in bins]
    independent = np.outer(*single)
    kept = (joint > _EMPTY) & (independent > _EMPTY)
    return float((joint[kept] * np.log2(joint[kept] / independent[kept])).sum())


def _equal_bins(values: FloatArray, n_bins: int) -> NDArray[np.intp]:
    """Return bins of equal width between the extremes, closed on the right."""
    low, high = values.min(), values.max()
    if high == low:
        return np.zeros(len(values), np.intp)
    bins = np.ceil((values - low) / (high - low) * n_bins) - 1
    return np.clip(bins, 0, n_bins - 1).astype(np.intp)


def _nearest_levels(values: FloatArray, n_levels: int) -> NDArray[np.intp]:
    """Round to the nearest of levels that include the extremes; halves go up."""
    low, high = values.min(), values.max()
    scaled = (values - low) * (n_levels - 1) / (high - low + np.finfo(np.float64).eps)
    whole = np.floor(scaled)
    return (whole + (scaled - whole >= 0.5)).astype(np.intp)


# ------------------------------------------------------------------------ arguments


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        raise ValueError(
            f"`a` and `b` must have one shape; got {x.shape} and {y.shape}. Compare "
            "each picture with its own counterpart."
        )
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ValueError(
            f"`a` and `b` must have shape (..., H, W), H and W > 0; got {x.shape}."
        )
    return x, y


def _data_range(
    a: NDArray[Any],
    b: NDArray[Any],
    x: FloatArray,
    y: FloatArray,
    data_range: float | None,
) -> float:
    if data_range is not None:
        if check_between("data_range", data_range, low=0) == 0:
            raise ValueError("`data_range` must be above 0; got 0.")
        return float(data_range)
    if a.dtype == b.dtype == np.uint8:
        return 255.0
    # NaN pixels pass: their result is NaN.
    inside = not any((v < 0).any() or (v > 1).any() for v in (x, y))
    if np.issubdtype(a.dtype, np.floating) and a.dtype.kind == b.dtype.kind and inside:
        return 1.0
    raise ValueError(
        f"`data_range` must be given for pictures of dtype {a.dtype} and {b.dtype} "
        f"with values {np.nanmin([x.min(), y.min()]):g} to "
        f"{np.nanmax([x.max(), y.max()]):g}: 255 for 8-bit levels, 1 for 0..1."
    )


def _plain(values: FloatArray) -> FloatArray | float:
    return float(values) if values.ndim == 0 else values
