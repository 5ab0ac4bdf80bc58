"""Low- and high-pass versions of pictures, for tests of spatial frequency sensitivity.

Both families are made with a truncated Gaussian kernel and end as 8-bit pictures.
Level 1 is the picture itself; levels 2 to 8 leave less and less of it. Standard
deviations were published for pictures of 256 px and scale with the picture.

References
----------
Deza and Konkle (2020). Emergent properties of foveated perceptual systems.
arXiv:2006.07991.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from neurovis.core.checks import check_array, check_between, check_option, check_whole

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]

LOW_SIGMAS_PX = (1.0, 3.0, 5.0, 7.0, 9.0, 15.0, 40.0)
"""Standard deviations of low-pass levels 2 to 8, in px of a picture of 256 px."""

HIGH_SIGMAS_PX = (3.0, 1.5, 1.0, 0.7, 0.55, 0.45, 0.4)
"""Standard deviations of high-pass levels 2 to 8, in px of a picture of 256 px."""

PUBLISHED_SIZE_PX = 256
"""Side of the pictures for which the standard deviations were published."""

FAMILIES = ("low", "high")
"""What the filters let pass."""

_SIGMAS_PX = {"low": LOW_SIGMAS_PX, "high": HIGH_SIGMAS_PX}
# Luminance weights of ITU-R BT.601 as MATLAB's rgb2gray has them.
_GREY_WEIGHTS = np.array([0.298936, 0.587043, 0.114021])
# Frequency at which a Gaussian of standard deviation 1 px passes half, in cycles/px.
_HALF_AMPLITUDE = math.sqrt(2 * math.log(2)) / (2 * math.pi)


def frequency_levels(
    family: str, *, size_px: int = PUBLISHED_SIZE_PX, px_per_deg: float | None = None
) -> pd.DataFrame:
    """List the levels of a family, with the cut-off of each.

    Parameters
    ----------
    family : {"low", "high"}
        What the filter lets pass.
    size_px : int, default 256
        Shorter side of the pictures, >= 1.
    px_per_deg : float, optional
        Pixels per degree of visual angle, > 0.

    Returns
    -------
    DataFrame
        One row per level 1..8: `family`, `level`, `sigma_px`,
        `cutoff_cycles_per_image` and `cutoff_cycles_per_deg`. NaN for level 1, which
        is not filtered, and without `px_per_deg`.

    Raises
    ------
    ValueError
        If `family` is unknown or a number is out of range.

    Examples
    --------
    >>> table = frequency_levels("low")
    >>> table["cutoff_cycles_per_image"].round(1).tolist()
    [nan, 48.0, 16.0, 9.6, 6.9, 5.3, 3.2, 1.2]
    """
    published = _SIGMAS_PX[check_option("family", family, FAMILIES)]
    size_px = check_whole("size_px", size_px, low=1)
    scale = size_px / PUBLISHED_SIZE_PX
    sigmas = np.array([math.nan, *(s * scale for s in published)])
    per_px = _HALF_AMPLITUDE / sigmas
    per_deg = np.full_like(per_px, np.nan)
    if px_per_deg is not None:
        per_deg = per_px * check_between("px_per_deg", px_per_deg, low=1e-6)
    return pd.DataFrame(
        {
            "family": family,
            "level": np.arange(1, len(sigmas) + 1),
            "sigma_px": sigmas,
            "cutoff_cycles_per_image": per_px * size_px,
            "cutoff_cycles_per_deg": per_deg,
        }
    )


def cutoff_cycles_per_px(sigma_px: float) -> float:
    """Compute where a Gaussian low-pass filter lets half of the amplitude pass.

    Parameters
    ----------
    sigma_px : float
        Standard deviation of the kernel, px, > 0.

    Returns
    -------
    float
        ``sqrt(2 ln 2) / (2 pi sigma)`` in cycles per px; times the side of the picture
        it is in cycles per picture, times px per degree in cycles per degree. The
        high-pass filter of the same kernel has its cut-off there too.

    Raises
    ------
    TypeError, ValueError
        If `sigma_px` is not a number above 0.

    Notes
    -----
    It holds for a kernel without truncation: those below about 1 px are truncated
    so much that their true cut-off is another one.

    Examples
    --------
    >>> round(256 * cutoff_cycles_per_px(1.0), 2)
    47.97
    """
    return _HALF_AMPLITUDE / check_between("sigma_px", sigma_px, low=1e-6)


def grey_of(images: Picture) -> Picture:
    """Compute the luminance of 8-bit pictures, rounded to 8 bits.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., H, W, 3)
        Pictures.

    Returns
    -------
    ndarray of uint8, shape (..., H, W, 3)
        ``0.298936 R + 0.587043 G + 0.114021 B`` in each of the three channels.

    Raises
    ------
    TypeError, ValueError
        If dtype or shape differ.

    Examples
    --------
    >>> grey_of(np.array([[[255, 0, 0]]], np.uint8)).tolist()
    [[[76, 76, 76]]]
    """
    checked = _check_pictures("images", images)
    grey = _to_8_bit(checked @ _GREY_WEIGHTS)
    return np.repeat(grey[..., None], 3, axis=-1)


def mean_rgb(pictures: Sequence[Picture]) -> FloatArray:
    """Average the colour of pictures: what high-pass pictures get as their mean.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures of the same kind as those to filter, but not the same ones: the
        validation set. Each counts alike, whatever its size.

    Returns
    -------
    ndarray of float64, shape (3,)
        Means of red, green and blue, 0..1.

    Raises
    ------
    TypeError, ValueError
        If there is no picture, or something is not a picture.

    Examples
    --------
    >>> mean_rgb([np.full((2, 2, 3), v, np.uint8) for v in (0, 255)]).tolist()
    [0.5, 0.5, 0.5]
    """
    if not len(pictures):
        raise ValueError("`pictures` is empty: at least one picture is needed.")
    total = np.zeros(3)
    for i, picture in enumerate(pictures):
        shown = _check_pictures(f"pictures[{i}]", picture)
        total += shown.mean(axis=tuple(range(shown.ndim - 1)), dtype=np.float64)
    return total / (255.0 * len(pictures))


def filter_frequencies(
    images: Picture,
    family: str,
    sigma_px: float | None,
    *,
    mean_rgb: Sequence[float] | FloatArray | None = None,
    grey: bool = False,
) -> Picture:
    """Filter pictures with a Gaussian: low-pass, or what low-pass takes away.

    With G the Gaussian, truncated at ``ceil(2 sigma)`` px, normalised, and with the
    border repeated outside: ``low = G x`` and ``high = (x - G x) - mean(x - G x) +
    255 mean_rgb``, the mean taken per picture and channel.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., H, W, 3)
        One picture or a stack of them.
    family : {"low", "high"}
        What passes.
    sigma_px : float or None
        Standard deviation in px, > 0; None is level 1, no filter.
    mean_rgb : sequence of float, shape (3,), optional
        Mean of red, green and blue that high-pass pictures get, 0..1; see the
        function `mean_rgb`. Needed for "high" with a `sigma_px`.
    grey : bool, default False
        Return the luminance of the 8-bit result, in all three channels.

    Returns
    -------
    ndarray of uint8, shape (..., H, W, 3)
        Filtered pictures, rounded half up and saturated.

    Raises
    ------
    TypeError, ValueError
        If the pictures are no pictures, an option is unknown, or `mean_rgb` is
        missing or out of range.

    Notes
    -----
    The kernel is that of MATLAB's ``imgaussfilt``. Its truncation makes small
    high-pass kernels deviate from ideal filters.

    References
    ----------
    Deza and Konkle (2020), arXiv:2006.07991.

    Examples
    --------
    >>> flat = np.full((8, 8, 3), 90, np.uint8)
    >>> filter_frequencies(flat, "high", 1.0, mean_rgb=[0.5, 0.4, 0.2])[0, 0].tolist()
    [128, 102, 51]
    """
    shown = _check_pictures("images", images)
    check_option("family", family, FAMILIES)
    if sigma_px is None:
        return grey_of(shown) if grey else shown.copy()
    check_between("sigma_px", sigma_px, low=1e-6)
    if family == "low":
        filtered = _to_8_bit(_blur(shown, sigma_px))
    else:
        level = _check_mean(mean_rgb)
        detail = shown - _blur(shown, sigma_px)
        # In the published order: flat parts may lie right between two grey levels.
        detail -= detail.mean(axis=(-3, -2), keepdims=True)
        filtered = _to_8_bit(detail + 255 * level)
    return grey_of(filtered) if grey else filtered


def filter_level(
    images: Picture,
    family: str,
    level: int,
    *,
    mean_rgb: Sequence[float] | FloatArray | None = None,
    grey: bool = False,
) -> Picture:
    """Filter pictures as one of the eight levels, scaled to their shorter side.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., H, W, 3)
        One picture or a stack of them.
    family : {"low", "high"}
        What passes.
    level : int
        1 (not filtered) to 8 (least is left).
    mean_rgb : sequence of float, shape (3,), optional
        Mean of red, green and blue that high-pass pictures get, 0..1.
    grey : bool, default False
        Return the luminance, in all three channels.

    Returns
    -------
    ndarray of uint8, shape (..., H, W, 3)
        Filtered pictures.

    Raises
    ------
    TypeError, ValueError
        As `filter_frequencies`, or if there is no such level.

    Examples
    --------
    >>> picture = np.zeros((256, 256, 3), np.uint8)
    >>> bool((filter_level(picture, "low", 8) == picture).all())
    True
    """
    shown = _check_pictures("images", images)
    table = frequency_levels(family, size_px=min(shown.shape[-3:-1]))
    level = check_whole("level", level, low=1, high=len(table))
    sigma = None if level == 1 else float(table["sigma_px"].iloc[level - 1])
    return filter_frequencies(shown, family, sigma, mean_rgb=mean_rgb, grey=grey)


def _blur(images: Picture, sigma_px: float) -> FloatArray:
    radius = math.ceil(2 * sigma_px)
    kernel = np.exp(-0.5 / sigma_px**2 * np.arange(-radius, radius + 1) ** 2)
    kernel /= kernel.sum()
    rows = correlate1d(images, kernel, axis=-3, output=np.float64, mode="nearest")
    return np.asarray(correlate1d(rows, kernel, axis=-2, mode="nearest"), np.float64)


def _to_8_bit(values: FloatArray) -> Picture:
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)


def _check_pictures(name: str, value: Picture) -> Picture:
    array = np.asarray(value)
    if array.ndim < 3 or array.shape[-1] != 3 or not array.size:
        raise ValueError(
            f"`{name}` must have shape (..., H, W, 3) and not be empty; got "
            f"{array.shape}."
        )
    return check_array(name, array, dtype=np.uint8)


def _check_mean(mean_rgb: Sequence[float] | FloatArray | None) -> FloatArray:
    if mean_rgb is None:
        raise ValueError(
            "`mean_rgb` is needed for family='high': the mean colour that the "
            "filtered pictures get. Compute it from the validation pictures with "
            "the function `mean_rgb`."
        )
    mean = np.asarray(mean_rgb, np.float64)
    check_array("mean_rgb", mean, shape=(3,), finite=True)
    if mean.min() < 0 or mean.max() > 1:
        raise ValueError(
            f"`mean_rgb` must be within [0, 1]; got {mean.tolist()}. Divide 8-bit "
            "values by 255."
        )
    return mean
