"""Diets of pictures: what a network sees while it grows up.

Networks that were trained on rotated, warped or crossed-out pictures tell which of
their habits come from natural pictures. Each diet alters every picture in the same
way, and the labels stay.

References
----------
Gupta, Zhang, Wu, Wolfe & Kreiman (2021). Visual search asymmetry: deep nets and humans
share similar inherent biases. NeurIPS 34, arXiv:2106.02953.
"""

import math

import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import (
    check_between,
    check_image,
    check_option,
    check_whole,
)
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]

DIETS: tuple[str, ...] = (
    "natural",
    "rotated-90",
    "upside-down",
    "fisheye",
    "lines",
    "phase-scrambled",
)
"""Names that `feed` takes."""

PUBLISHED_SIDE_PX = 256
"""Short side of the pictures for which the lines were published."""

LINE_SPACING_PX, FIRST_LINE_PX, LINE_WIDTH_PX = 50, 45, 5

MAX_DENSITY_RATIO = 10.0
"""How many times denser the samples are in the centre than at the border."""

_SMALLEST_PX = 8


def feed(image: Picture, diet: str, *, key: int | str = 0, seed: int = 0) -> Picture:
    """Show one picture as it is in a diet.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture, at least 8 x 8 px.
    diet : {"natural", "rotated-90", "upside-down", "fisheye", "lines", \
"phase-scrambled"}
        "natural": as it is; the others as `rotate_90`, `upside_down`, `fisheye`,
        `draw_lines`, `scramble_phase`. The three numbers of the lines scale with the
        short side over 256, rounded half up; each is at least 1, the spacing at least
        2 px.
    key : int or str, default 0
        Identity of the picture; only "phase-scrambled" draws random numbers.
    seed : int, default 0
        Seed of the diet, >= 0.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3), or (W, H, 3) for "rotated-90"
        A new, contiguous picture.

    Raises
    ------
    TypeError, ValueError
        If the picture is no picture or too small, the diet is unknown, or the seed is
        no whole number >= 0.

    Examples
    --------
    >>> picture = np.full((64, 96, 3), 200, np.uint8)
    >>> {diet: feed(picture, diet).shape[:2] for diet in DIETS[:3]}
    {'natural': (64, 96), 'rotated-90': (96, 64), 'upside-down': (64, 96)}
    """
    check_option("diet", diet, DIETS)
    shown = _check_picture(image)
    if diet == "rotated-90":
        return rotate_90(shown)
    if diet == "upside-down":
        return upside_down(shown)
    if diet == "fisheye":
        return fisheye(shown)
    if diet == "lines":
        scale = min(shown.shape[:2]) / PUBLISHED_SIDE_PX
        return draw_lines(
            shown,
            spacing_px=max(2, _round(LINE_SPACING_PX * scale)),
            first_px=max(1, _round(FIRST_LINE_PX * scale)),
            width_px=max(1, _round(LINE_WIDTH_PX * scale)),
        )
    if diet == "phase-scrambled":
        return scramble_phase(shown, key=key, seed=seed)
    return shown.copy()


def rotate_90(image: Picture) -> Picture:
    """Turn a picture by 90 degrees, counter-clockwise.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture, at least 8 x 8 px.

    Returns
    -------
    ndarray of uint8, shape (W, H, 3)
        What was at the right is above.

    Raises
    ------
    TypeError, ValueError
        If it is no picture or too small.

    Examples
    --------
    >>> picture = np.zeros((8, 12, 3), np.uint8)
    >>> picture[:, -1] = 255
    >>> rotate_90(picture)[0].min()
    np.uint8(255)
    """
    return np.rot90(_check_picture(image)).copy()


def upside_down(image: Picture) -> Picture:
    """Turn a picture by 180 degrees.

    That is what studies of inversion show. A picture whose rows are reversed is its
    mirror image; where training mirrors pictures at random the two diets are one.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture, at least 8 x 8 px.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        What was above is below, what was left is right.

    Raises
    ------
    TypeError, ValueError
        If it is no picture or too small.

    Examples
    --------
    >>> picture = np.zeros((8, 8, 3), np.uint8)
    >>> picture[0, 0] = 255
    >>> upside_down(picture)[7, 7].tolist()
    [255, 255, 255]
    """
    return _check_picture(image)[::-1, ::-1].copy()


def draw_lines(
    image: Picture,
    *,
    spacing_px: int = LINE_SPACING_PX,
    first_px: int = FIRST_LINE_PX,
    width_px: int = LINE_WIDTH_PX,
) -> Picture:
    """Cross a picture out with black lines, horizontal and vertical.

    Row and column i are black if ``i >= first_px`` and ``(i - first_px) mod
    spacing_px < width_px``, over the whole picture. The defaults are those published
    for pictures with a short side of 256 px.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture, at least 8 x 8 px.
    spacing_px : int, default 50
        From the start of a line to that of the next, px, >= 2.
    first_px : int, default 45
        Row and column at which the first line starts, 0-based.
    width_px : int, default 5
        Width of a line, px, 1 to ``spacing_px - 1``.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The picture behind the lines.

    Raises
    ------
    TypeError, ValueError
        If it is no picture or too small, or a number is out of range.

    References
    ----------
    Gupta et al. (2021), arXiv:2106.02953.

    Examples
    --------
    >>> lined = draw_lines(np.full((256, 256, 3), 255, np.uint8))
    >>> np.flatnonzero(lined[0, :, 0] == 0)[:6].tolist()
    [45, 46, 47, 48, 49, 95]
    """
    lined = _check_picture(image).copy()
    spacing = check_whole("spacing_px", spacing_px, low=2)
    first = check_whole("first_px", first_px, low=0)
    width = check_whole("width_px", width_px, low=1, high=spacing - 1)
    for axis, size in enumerate(lined.shape[:2]):
        place = np.arange(size) - first
        black = np.flatnonzero((place >= 0) & (place % spacing < width))
        if axis == 0:
            lined[black] = 0
        else:
            lined[:, black] = 0
    return lined


def fisheye_radius(
    radius_px: FloatArray | float, half_px: float, *, max_ratio: float = 10.0
) -> FloatArray:
    """Compute where the fisheye warp looks in the original.

    The density of samples falls exponentially with the distance r from the centre of
    the original, ``density = exp(-a r)`` with ``a = ln(max_ratio) / R``, so their
    spacing grows as ``dr / dr' = s exp(a r / 2)``. With r(0) = 0 and r(R) = R::

        r(r") = -(2 / a) ln(1 - (1 - max_ratio**-0.5) r" / R)

    Parameters
    ----------
    radius_px : float or ndarray
        Distance r' from the centre of the warped picture, px, >= 0.
    half_px : float
        Half the side R of the square, px, > 0.
    max_ratio : float, default 10
        Density in the centre over that at R, >= 1; 1 leaves all in place.

    Returns
    -------
    ndarray of float64
        Distance r from the centre of the original, px; infinite where r' lies beyond
        everything.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    One px of the warped picture covers ``s = 2 (1 - max_ratio**-0.5) / ln(max_ratio)``
    px of the original in the centre and ``s max_ratio**0.5`` at R: 0.59 and 1.88 by
    default.

    Examples
    --------
    >>> fisheye_radius(np.array([0.0, 64.0, 128.0]), 128.0).round(2).tolist()
    [0.0, 46.51, 128.0]
    """
    half = check_between("half_px", half_px, low=1e-6)
    ratio = check_between("max_ratio", max_ratio, low=1.0)
    radius = np.asarray(radius_px, np.float64)
    if ratio == 1:
        return radius.copy()
    rate = math.log(ratio) / half
    passed = radius * (1 - 1 / math.sqrt(ratio)) / half
    inside = passed < 1
    logarithm = np.log1p(-np.where(inside, passed, 0.0))
    # Adding 0.0 turns -0.0 into 0.0.
    return np.where(inside, -2 / rate * logarithm + 0.0, np.inf)


def fisheye(image: Picture, *, max_ratio: float = MAX_DENSITY_RATIO) -> Picture:
    """Warp a picture as if through a fisheye: a large centre, a small surround.

    The warp of `fisheye_radius` on the square of the long side, black around the
    picture, cropped to the picture again. The centre of pixel i of n lies at
    ``i - (n - 1) / 2``, and R is half the long side.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture, at least 8 x 8 px.
    max_ratio : float, default 10
        Density of samples in the centre over that at the border, >= 1.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The warped picture, rounded half up; black where the original ends, which is
        in the corners.

    Raises
    ------
    TypeError, ValueError
        If it is no picture or too small, or `max_ratio` is below 1.

    Notes
    -----
    The published program steps outwards from sample to sample, fits a quadratic to the
    radii it reaches, and takes the nearest pixel. Here the radii are solved in closed
    form and pixels are interpolated bilinearly; nothing is smoothed before the
    surround is made smaller.

    References
    ----------
    Bashivan, Kar & DiCarlo (2019). Neural population control via deep image synthesis.
    Science 364, eaav9436. doi:10.1126/science.aav9436

    Examples
    --------
    >>> warped = fisheye(np.full((64, 64, 3), 90, np.uint8))
    >>> warped[32, 0].tolist(), warped[0, 0].tolist()
    ([90, 90, 90], [0, 0, 0])
    """
    shown = _check_picture(image)
    height, width = shown.shape[:2]
    y = (np.arange(height) - (height - 1) / 2)[:, None]
    x = np.arange(width) - (width - 1) / 2
    half = max(height, width) / 2
    # Of odd sizes one pixel has radius 0, where the slope cannot be a quotient.
    radius = np.maximum(np.hypot(y, x), 1e-6)
    zoom = fisheye_radius(radius, half, max_ratio=max_ratio) / radius
    # Far enough to be outside, and finite: 0 times infinity is undefined.
    zoom = np.minimum(zoom, 1e6)
    return _sample(shown, zoom * y + (height - 1) / 2, zoom * x + (width - 1) / 2)


def scramble_phase(image: Picture, *, key: int | str = 0, seed: int = 0) -> Picture:
    """Scramble where things are and keep how much there is of each frequency.

    The phases of one picture of white noise are added to those of all three channels.
    The amplitude spectrum and the mean of each channel stay, and so do the relations
    between channels: grey pictures stay grey.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The picture, at least 8 x 8 px.
    key : int or str, default 0
        Identity of the picture: each has noise of its own.
    seed : int, default 0
        Seed, >= 0.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The scrambled picture, rounded half up and clipped to 0..255.

    Raises
    ------
    TypeError, ValueError
        If it is no picture or too small, or the seed is no whole number >= 0.

    Notes
    -----
    Scrambled values are nearly Gaussian, so some leave the range and are clipped: 7 %
    of the values on average (median 6 %, at most 21 %) in 39 colour photographs of
    800 x 600 px (OSIE), 5 % (3 %, 27 %) in 53 grey ones of 128 x 128 px (15 scenes).
    That takes 4 to 6 % of the contrast (standard deviation), and alters the spectrum
    accordingly. Opposite borders count as neighbours: where they differ, horizontal and
    vertical streaks arise. Machines can differ in single levels.

    References
    ----------
    Oppenheim & Lim (1981). The importance of phase in signals. Proceedings of the IEEE
    69, 529-541. doi:10.1109/PROC.1981.12022

    Prins (2007). Re: phase spectrum scrambling. Visionlist, 1 June 2007
    (http://visionscience.com/pipermail/visionlist/2007/002181.html): one noise for all
    channels.

    Examples
    --------
    >>> picture = np.full((16, 16, 3), 90, np.uint8)
    >>> picture[4:12, 4:12] = 160
    >>> scrambled = scramble_phase(picture, key="box")
    >>> bool((scrambled == scramble_phase(picture, key="box")).all())
    True
    """
    shown = _check_picture(image)
    height, width = shown.shape[:2]
    stream = generator(seed, "phase-scrambled", key)
    # Noise is real, so its spectrum has the symmetry that keeps pictures real.
    noise = np.fft.rfft2(stream.standard_normal((height, width)))
    turn = noise / np.abs(noise)
    turn[0, 0] = 1
    spectrum = np.fft.rfft2(shown, axes=(0, 1)) * turn[..., None]
    return _to_8_bit(np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1)))


def _sample(image: Picture, rows: FloatArray, columns: FloatArray) -> Picture:
    """Interpolate bilinearly; the outer half pixel repeats the border."""
    height, width = image.shape[:2]
    inside = (np.abs(rows - (height - 1) / 2) <= height / 2) & (
        np.abs(columns - (width - 1) / 2) <= width / 2
    )
    rows = np.clip(rows, 0, height - 1)
    columns = np.clip(columns, 0, width - 1)
    top = np.minimum(rows.astype(np.intp), height - 2)
    left = np.minimum(columns.astype(np.intp), width - 2)
    down = (rows - top)[..., None]
    right = (columns - left)[..., None]
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    warped = _to_8_bit(upper * (1 - down) + lower * down)
    warped[~inside] = 0
    return warped


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _to_8_bit(values: FloatArray) -> Picture:
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)


def _check_picture(value: Picture) -> Picture:
    shown = check_image("image", value)
    if min(shown.shape[:2]) < _SMALLEST_PX:
        raise ValueError(
            f"`image` must be at least {_SMALLEST_PX} x {_SMALLEST_PX} px; got "
            f"{shown.shape[:2]}. Take a larger picture."
        )
    return shown
