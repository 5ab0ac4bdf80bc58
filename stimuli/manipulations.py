"""Degraded photographs: less contrast, noise, fewer frequencies, turned pictures.

Pictures are floats of 0..1 and stay so: nothing is rounded to 8 bits here. With
`stimuli.phase_scrambling`, `stimuli.colour_opponency` and `stimuli.eidolons` these are
the twelve manipulations on which people and networks were compared;
`stimuli.manipulated_sets` makes whole sets of them.

References
----------
Geirhos, Medina Temme, Rauber, Schütt, Bethge & Wichmann (2018). Generalisation in
humans and deep neural networks. NeurIPS 31, arXiv:1808.08750.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from neurovis.core.checks import check_array, check_between, check_option, check_whole
from stimuli.frequency_filters import cutoff_cycles_per_px

FloatArray = NDArray[np.float64]

MEAN_GREY = 0.4423
"""Mean of the grey photographs of the study: the ground of filtered pictures."""

NOISE_CONTRAST = 0.3
"""Contrast to which pictures are reduced before noise is added."""

TURNS_DEG = (0, 90, 180, 270)

# Luminance of linear Rec. 709 red, green and blue.
_GREY_WEIGHTS = np.array([0.2125, 0.7154, 0.0721])
_STRAY = 1e-9


def rgb_to_grey(image: ArrayLike) -> FloatArray:
    """Compute the luminance of a picture.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Red, green and blue, 0..1; what is grey already stays as it is.

    Returns
    -------
    ndarray of float64, shape (H, W)
        ``0.2125 R + 0.7154 G + 0.0721 B``.

    Raises
    ------
    ValueError
        If it has another shape or leaves 0..1, as 8-bit levels do.

    Examples
    --------
    >>> rgb_to_grey([[[1.0, 0.0, 0.0]]]).tolist()
    [[0.2125]]
    """
    levels = np.asarray(image, np.float64)
    is_picture = levels.ndim == 2 or (levels.ndim == 3 and levels.shape[2] == 3)
    if not is_picture or not levels.size:
        raise ValueError(
            "`image` must have shape (H, W, 3) or (H, W) and not be empty; got "
            f"{levels.shape}."
        )
    check_array("image", levels, finite=True)
    low, high = float(levels.min()), float(levels.max())
    if low < -_STRAY or high > 1 + _STRAY:
        raise ValueError(
            f"`image` must lie within 0..1; got {low:.4g} to {high:.4g}. Divide 8-bit "
            "levels by 255."
        )
    return levels.copy() if levels.ndim == 2 else levels @ _GREY_WEIGHTS


def reduce_contrast(image: ArrayLike, contrast: float) -> FloatArray:
    """Bring luminance nearer to mid-grey.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    contrast : float
        Share c of the contrast that stays, 0..1.

    Returns
    -------
    ndarray of float64, shape (H, W)
        ``c Y + (1 - c) / 2``.

    Raises
    ------
    TypeError, ValueError
        If the picture is none or `contrast` is out of range.

    Examples
    --------
    >>> reduce_contrast([[0.0, 1.0]], 0.5).tolist()
    [[0.25, 0.75]]
    """
    share = check_between("contrast", contrast, low=0, high=1)
    return share * rgb_to_grey(image) + (1 - share) / 2


def add_uniform_noise(
    image: ArrayLike,
    width: float,
    *,
    contrast: float = NOISE_CONTRAST,
    seed: int = 0,
) -> FloatArray:
    """Add white noise with a uniform distribution, at low contrast.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    width : float
        Noise lies within -width..width, >= 0.
    contrast : float, default 0.3
        Of the picture, see `reduce_contrast`.
    seed : int, default 0
        Of NumPy's legacy generator, as in the study, 0..2³² - 1.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Clipped to 0..1.

    Raises
    ------
    TypeError, ValueError
        If the picture is none or a number is out of range.
    """
    width = check_between("width", width, low=0)
    grey = reduce_contrast(image, contrast)
    noise = _legacy(seed).uniform(-width, width, size=grey.shape)
    return np.clip(grey + noise, 0, 1)


def add_salt_and_pepper(
    image: ArrayLike,
    share: float,
    *,
    contrast: float = NOISE_CONTRAST,
    seed: int = 0,
) -> FloatArray:
    """Turn a share of the pixels white or black, at low contrast.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    share : float
        Share of the pixels, 0..1; one half of them turns white, the other black.
    contrast : float, default 0.3
        Of the picture, see `reduce_contrast`.
    seed : int, default 0
        Of NumPy's legacy generator, 0..2³² - 1.

    Returns
    -------
    ndarray of float64, shape (H, W)
        With u uniform in 0..1: white where ``u >= 1 - share / 2``, black where
        ``u < share / 2``.

    Raises
    ------
    TypeError, ValueError
        If the picture is none or a number is out of range.
    """
    share = check_between("share", share, low=0, high=1)
    grey = reduce_contrast(image, contrast)
    draw = _legacy(seed).uniform(size=grey.shape)
    grey = np.where(draw >= 1 - share / 2, grey + 1, grey)
    return np.clip(np.where(draw < share / 2, grey - 1, grey), 0, 1)


def low_pass(image: ArrayLike, sigma_px: float) -> FloatArray:
    """Blur the luminance with a Gaussian.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    sigma_px : float
        Standard deviation in px, >= 0; 0 leaves the grey picture. `cutoff_sigma_px`
        gives it for a cut-off in cycles per degree.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Around the picture lies `MEAN_GREY`; the kernel ends at 4 sigma.

    Raises
    ------
    TypeError, ValueError
        If the picture is none or `sigma_px` is out of range.

    Examples
    --------
    >>> low_pass([[0.0, 1.0]], 0).tolist()
    [[0.0, 1.0]]
    """
    sigma = check_between("sigma_px", sigma_px, low=0)
    return np.clip(_blur(rgb_to_grey(image), sigma), 0, 1)


def high_pass(image: ArrayLike, sigma_px: float) -> FloatArray:
    """Take the blurred luminance away from the picture.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    sigma_px : float
        Standard deviation of the blur in px, > 0; infinity leaves the grey picture.

    Returns
    -------
    ndarray of float64, shape (H, W)
        What `low_pass` takes away, with the mean `MEAN_GREY`, clipped to 0..1.

    Raises
    ------
    TypeError, ValueError
        If the picture is none or `sigma_px` is out of range.

    Examples
    --------
    >>> float(high_pass(np.full((4, 4), 0.2), 0.5).mean().round(4))
    0.4423
    """
    grey = rgb_to_grey(image)
    if sigma_px == math.inf:
        return grey
    sigma = check_between("sigma_px", sigma_px, low=1e-6)
    detail = grey - _blur(grey, sigma)
    return np.clip(detail + (MEAN_GREY - detail.mean()), 0, 1)


def band_pass(
    image: ArrayLike,
    centre_cycles_per_deg: float,
    px_per_deg: float,
    *,
    octaves: float = 1.0,
) -> FloatArray:
    """Keep the frequencies of the luminance around one, at all orientations.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    centre_cycles_per_deg : float
        Frequency that passes whole, > 0.
    px_per_deg : float
        Pixels per degree, > 0.
    octaves : float, default 1
        Full width of the pass band at half its height, > 0.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Band around the mean of the picture, clipped to 0..1.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, a number is out of range, or the centre lies above the
        highest frequency of the pixels.

    Notes
    -----
    The gain is ``(1 + cos(pi log2(f / f0) / octaves)) / 2`` within ``octaves`` of f0
    and 0 outside: bands one width apart add to 1. Opposite borders count as
    neighbours.

    References
    ----------
    Peli (1990). Contrast in complex images. J. Opt. Soc. Am. A 7, 2032-2040.
    doi:10.1364/JOSAA.7.002032
    """
    grey = rgb_to_grey(image)
    check_between("px_per_deg", px_per_deg, low=1e-6)
    width = check_between("octaves", octaves, low=1e-3)
    centre = check_between("centre_cycles_per_deg", centre_cycles_per_deg, low=1e-6)
    if centre > px_per_deg / 2:
        raise ValueError(
            f"`centre_cycles_per_deg` must be at most {px_per_deg / 2:g}, half the "
            f"pixels per degree; got {centre:g}."
        )
    rows, columns = grey.shape
    frequency = px_per_deg * np.hypot(
        np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)
    )
    frequency[0, 0] = centre  # replaced below: the logarithm of 0 is undefined
    steps = np.log2(frequency / centre) / width
    gain = np.where(np.abs(steps) < 1, (1 + np.cos(np.pi * steps)) / 2, 0.0)
    gain[0, 0] = 1
    return np.clip(np.fft.irfft2(np.fft.rfft2(grey) * gain, s=grey.shape), 0, 1)


def cutoff_sigma_px(cutoff_cycles_per_deg: float, px_per_deg: float) -> float:
    """Compute the Gaussian that passes half of the amplitude at a frequency.

    Parameters
    ----------
    cutoff_cycles_per_deg : float
        Frequency, > 0.
    px_per_deg : float
        Pixels per degree, > 0.

    Returns
    -------
    float
        Standard deviation in px, ``sqrt(2 ln 2) / (2 pi f)`` with f in cycles per px;
        for `low_pass` and `high_pass`.

    Raises
    ------
    TypeError, ValueError
        If a number is not above 0.

    Examples
    --------
    >>> round(cutoff_sigma_px(4, 32), 3)
    1.499
    """
    cutoff = check_between("cutoff_cycles_per_deg", cutoff_cycles_per_deg, low=1e-6)
    scale = check_between("px_per_deg", px_per_deg, low=1e-6)
    return cutoff_cycles_per_px(1.0) * scale / cutoff


def rotate_quarter(image: ArrayLike, angle_deg: int) -> FloatArray:
    """Turn the luminance counter-clockwise by quarters.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    angle_deg : {0, 90, 180, 270}
        Angle.

    Returns
    -------
    ndarray of float64, shape (H, W), or (W, H) for 90 and 270
        The pixels in other places.

    Raises
    ------
    ValueError
        If the picture is none or the angle is another one.

    Examples
    --------
    >>> rotate_quarter([[0.1, 0.2]], 90).tolist()
    [[0.2], [0.1]]
    """
    check_option("angle_deg", angle_deg, TURNS_DEG)
    return np.ascontiguousarray(np.rot90(rgb_to_grey(image), angle_deg // 90))


def _blur(grey: FloatArray, sigma_px: float) -> FloatArray:
    if sigma_px == 0:
        return grey
    return np.asarray(
        gaussian_filter(grey, sigma_px, mode="constant", cval=MEAN_GREY), np.float64
    )


def _legacy(seed: int) -> np.random.RandomState:
    # Published noise can be had again from its seed only with this generator.
    return np.random.RandomState(check_whole("seed", seed, low=0, high=2**32 - 1))
