"""Eidolons: pictures whose parts are moved about, scale by scale.

A picture is cut into slices of scale that add to the whole, and each slice is warped
by a random field. Fields that belong together over scales ("coherent") leave edges
sharp and bend them; fields of their own for each slice smear them.

References
----------
Koenderink, Valsecchi, van Doorn, Wagemans & Gegenfurtner (2017). Eidolons: novel
stimuli for vision research. Journal of Vision 17(2), 7. doi:10.1167/17.2.7
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import fft

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator
from stimuli.manipulations import rgb_to_grey

FloatArray = NDArray[np.float64]

MIXTURES = ("convex", "snapshot")

WORK_PX = 256
"""Side to which pictures were brought in the recognition experiments."""

MAX_SIGMA_PX = 64.0
"""Largest scale of the recognition experiments."""

_FRAME_SHARE = 1.5


def disarray(
    image: ArrayLike,
    reach_px: float,
    coherence: float,
    *,
    grain_px: float = 10.0,
    mixture: str = "convex",
    work_px: int | None = WORK_PX,
    max_sigma_px: float = MAX_SIGMA_PX,
    seed: int = 0,
) -> FloatArray:
    """Make an eidolon by partially coherent disarray.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    reach_px : float
        Standard deviation of displacements where only one kind of field counts, >= 0.
        With 0 the picture is blurred a little, see Notes.
    coherence : float
        Share c of the coherent field, 0..1.
    grain_px : float, default 10
        Standard deviation of the blur of incoherent fields, > 0.
    mixture : {"convex", "snapshot"}
        "convex" moves by ``(1 - c) I + c C``. "snapshot" moves by ``c I + C``, as the
        public snapshot of the original program does, where larger numbers are less
        coherent.
    work_px : int or None, default 256
        Side to which the picture is brought first; None keeps its size.
    max_sigma_px : float, default 64
        Largest scale, > 1.
    seed : int, default 0
        Seed, >= 0. Fields are the same for every reach, coherence and mixture.

    Returns
    -------
    ndarray of float64, shape (work_px, work_px), or (H, W)
        Luminance clipped to 0..1.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, or an argument is out of range.

    Notes
    -----
    The grey picture is rounded to 8 bits and mirrored around until each side is the
    next power of two of 1.5 times its length; that frame is periodic. Scales are
    ``s_k = 2**((k - 1) / 2)`` for k = 0..K-1 with ``K = ceil(2 log2(max_sigma_px))``.
    Slice k is the picture blurred at s_k minus that blurred at s_(k+1), the last one
    the picture blurred at s_(K-1): they add to the picture blurred at 0.71 px, which
    is the result for a reach of 0. Each slice is read at ``row + reach d`` and
    ``column + reach d'``, cut to whole numbers and to the frame. I is white noise of
    the slice, blurred with `grain_px`; C is the sum over scales j >= k of white noise
    blurred with s_j times ``s_j / max_sigma_px``: coarse scales take finer ones along.
    Blurred noise is brought to mean 0 and variance 1.

    The mixture "convex" is a choice: with "snapshot" a coherence of 1 scatters most,
    but people recognise such pictures at larger reaches. Neither was compared with
    pictures of the experiments.

    References
    ----------
    Koenderink et al. (2017), doi:10.1167/17.2.7. Geirhos et al. (2018),
    arXiv:1808.08750.

    Examples
    --------
    >>> picture = np.linspace(0, 1, 1024).reshape(32, 32)
    >>> disarray(picture, 4, 1.0, work_px=None).shape
    (32, 32)
    """
    reach = check_between("reach_px", reach_px, low=0)
    share = check_between("coherence", coherence, low=0, high=1)
    grain = check_between("grain_px", grain_px, low=1e-6)
    check_option("mixture", mixture, MIXTURES)
    check_between("max_sigma_px", max_sigma_px, low=1 + 1e-6)
    check_whole("seed", seed, low=0)
    frame, middle = embed(_grey_levels(image, work_px))
    slices = scale_slices(frame, max_sigma_px)
    weight = 1 - share if mixture == "convex" else share
    coherent_weight = share if mixture == "convex" else 1.0
    rows, columns = np.ogrid[: frame.shape[0], : frame.shape[1]]
    total = np.zeros_like(frame)
    # From coarse to fine: a coherent field is that of the next coarser slice and more.
    fields = _coherent_fields(frame.shape, max_sigma_px, seed, bool(coherent_weight))
    for k, coherent in zip(reversed(range(len(slices))), fields, strict=True):
        moved = coherent_weight * coherent
        if weight:
            stream = generator(seed, "eidolon", "incoherent", k)
            moved = moved + weight * _blurred_noise(stream, frame.shape, grain)
        at = [
            np.clip((place + reach * move).astype(np.intp), 0, side - 1)
            for place, move, side in zip(
                (rows, columns), (moved.real, moved.imag), frame.shape, strict=True
            )
        ]
        total += slices[k][at[0], at[1]]
    return np.clip(total[middle], 0, 255) / 255


def embed(levels: FloatArray) -> tuple[FloatArray, tuple[slice, slice]]:
    """Mirror a picture around itself until its sides are powers of two.

    Parameters
    ----------
    levels : ndarray of float64, shape (H, W)
        Picture.

    Returns
    -------
    frame : ndarray of float64, shape (H', W')
        Sides are the next powers of two of 1.5 H and 1.5 W.
    middle : tuple of slice
        Where the picture lies in the frame.

    Examples
    --------
    >>> embed(np.zeros((256, 200)))[0].shape
    (512, 512)
    """
    sides = [2 ** math.ceil(math.log2(_FRAME_SHARE * side)) for side in levels.shape]
    before = [(side - own) // 2 for side, own in zip(sides, levels.shape, strict=True)]
    margins = [
        (first, side - own - first)
        for first, side, own in zip(before, sides, levels.shape, strict=True)
    ]
    top, left = (
        slice(first, first + own)
        for first, own in zip(before, levels.shape, strict=True)
    )
    return np.pad(levels, margins, mode="symmetric"), (top, left)


def scale_slices(
    frame: FloatArray, max_sigma_px: float = MAX_SIGMA_PX
) -> list[FloatArray]:
    """Cut a periodic picture into slices of scale.

    Parameters
    ----------
    frame : ndarray of float64, shape (H, W)
        Picture.
    max_sigma_px : float, default 64
        Largest scale, > 1.

    Returns
    -------
    list of ndarray of float64, shape (H, W)
        From fine to coarse; they add to the picture blurred with 0.71 px.

    Examples
    --------
    >>> len(scale_slices(np.zeros((8, 8))))
    12
    """
    check_between("max_sigma_px", max_sigma_px, low=1 + 1e-6)
    scales = _scales(max_sigma_px)
    spectrum = fft.rfft2(frame)
    gains = [_gain(frame.shape, scale, real=True) for scale in scales]
    steps = [fine - coarse for fine, coarse in pairwise(gains)]
    return [fft.irfft2(spectrum * part, s=frame.shape) for part in (*steps, gains[-1])]


def _grey_levels(image: ArrayLike, work_px: int | None) -> FloatArray:
    """Return luminance as whole numbers of 0..255, at the size of the work."""
    grey = np.floor(255 * rgb_to_grey(image) + 0.5)
    if work_px is None:
        return grey
    side = check_whole("work_px", work_px, low=8, high=4096)
    if grey.shape == (side, side):
        return grey
    picture = Image.fromarray(grey.astype(np.uint8))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC), float)


def _scales(max_sigma_px: float) -> FloatArray:
    n_scales = math.ceil(2 * math.log2(max_sigma_px))
    return np.asarray(2 ** ((np.arange(n_scales) - 1) / 2), np.float64)


def _gain(shape: tuple[int, ...], sigma_px: float, *, real: bool) -> FloatArray:
    """Return what a periodic Gaussian blur lets pass of each frequency."""
    rows = fft.fftfreq(shape[0])
    columns = fft.rfftfreq(shape[1]) if real else fft.fftfreq(shape[1])
    down, along = (
        np.exp(-2 * (np.pi * sigma_px * frequency) ** 2)
        for frequency in (rows, columns)
    )
    return np.asarray(down[:, None] * along)


def _blurred_noise(
    stream: np.random.Generator, shape: tuple[int, ...], sigma_px: float
) -> NDArray[np.complex128]:
    """Return two fields of blurred noise, for rows (real) and columns (imaginary)."""
    drawn = stream.standard_normal((*shape, 2)).view(np.complex128)[..., 0]
    spectrum = fft.fft2(drawn) * _gain(shape, sigma_px, real=False)
    spectrum[0, 0] = 0  # the mean
    field = fft.ifft2(spectrum, overwrite_x=True)
    for part in (field.real, field.imag):
        part /= part.std()
    return field


def _coherent_fields(
    shape: tuple[int, ...], max_sigma_px: float, seed: int, wanted: bool
) -> Iterator[NDArray[np.complex128]]:
    """Yield the coherent fields from the coarsest slice to the finest."""
    scales = _scales(max_sigma_px)
    field = np.zeros(shape, np.complex128)
    for k in reversed(range(len(scales))):
        if wanted:
            stream = generator(seed, "eidolon", "coherent", k)
            noise = _blurred_noise(stream, shape, scales[k])
            field = field + scales[k] / max_sigma_px * noise
        yield field
