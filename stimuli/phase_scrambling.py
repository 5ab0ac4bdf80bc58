"""Scrambled phases and equalised amplitudes of grey pictures.

Where things are lies mostly in the phases of the Fourier transform, how much there is
of each frequency in its amplitudes. Pictures are floats of 0..1. Sets for training
with scrambled phases in colour are those of `stimuli.diets`.

References
----------
Geirhos et al. (2018). Generalisation in humans and deep neural networks. NeurIPS 31,
arXiv:1808.08750.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between, check_option, check_whole
from neurovis.core.rng import generator
from stimuli.manipulations import rgb_to_grey

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

VARIANTS = ("reference", "symmetric")


def scramble_phase(
    image: ArrayLike,
    width_deg: float,
    *,
    variant: str = "reference",
    seed: int = 0,
    draws: ArrayLike | None = None,
) -> FloatArray:
    """Add random angles to the phases of the luminance.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    width_deg : float
        Angles are uniform within -width..width, degrees, 0..180.
    variant : {"reference", "symmetric"}
        "reference" is what the study did; "symmetric" keeps pictures real, see Notes.
    seed : int, default 0
        Of NumPy's legacy generator, as in the study, 0..2³² - 1.
    draws : array_like of float, shape (n,), optional
        Numbers of 0..1 instead of random ones; n is `count_draws` of the shape.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Clipped to 0..1.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, or an argument is out of range.

    Notes
    -----
    Frequencies are taken row by row with the zero frequency in the middle, without the
    first row and column of even sides, which have no opposite. The first half gets the
    angles d. A real picture needs -d in reversed order in the other half:
    "symmetric". The published program has them in the same order: only the real part
    of what arises is the picture, and contrast is lost. With w the width in radians the
    standard deviation falls to about ``sqrt((1 + sinc(w)^2) / 2)`` with ``sinc(w) =
    sin(w) / w``: 0.92 at 60 degrees, 0.71 at 180. Single pictures scatter around
    that, as few low frequencies have most of the contrast. Both variants clip.

    Examples
    --------
    >>> picture = np.linspace(0, 1, 64).reshape(8, 8)
    >>> bool(np.allclose(scramble_phase(picture, 0), picture))
    True
    """
    width = np.deg2rad(check_between("width_deg", width_deg, low=0, high=180))
    check_option("variant", variant, VARIANTS)
    grey = rgb_to_grey(image)
    n_draws = count_draws(grey.shape)
    if draws is None:
        seed = check_whole("seed", seed, low=0, high=2**32 - 1)
        drawn = np.random.RandomState(seed).random_sample(n_draws)
    else:
        drawn = np.asarray(draws, np.float64)
        check_array("draws", drawn, shape=(n_draws,), finite=True)
        if n_draws and (drawn.min() < 0 or drawn.max() > 1):
            raise ValueError("`draws` must lie within 0..1.")
    first = (2 * drawn - 1) * width
    second = first[::-1] if variant == "symmetric" else first
    paired = tuple(slice(1 - side % 2, None) for side in grey.shape)
    spectrum = np.fft.fftshift(np.fft.fft2(grey))
    part = spectrum[paired]
    turn = np.concatenate([first, [0.0], -second]).reshape(part.shape)
    spectrum[paired] = part * np.exp(1j * turn)
    return np.clip(_picture(spectrum), 0, 1)


def count_draws(shape: tuple[int, ...]) -> int:
    """Count the random numbers that `scramble_phase` needs.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.

    Returns
    -------
    int
        Half of the frequencies that have an opposite, without the zero frequency.

    Examples
    --------
    >>> count_draws((224, 224))
    24864
    """
    rows, columns = (side - 1 + side % 2 for side in shape[:2])
    return (rows * columns) // 2


def equalise_power(image: ArrayLike, mean_amplitude: ArrayLike) -> FloatArray:
    """Give the luminance the amplitudes of a whole set, and keep its phases.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    mean_amplitude : array_like of float, shape (H, W)
        Amplitudes with the zero frequency in the middle: those of the study (see
        `data_loaders.stimulus_constants`), or of `mean_amplitude_spectrum`.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Clipped to 0..1.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, shapes differ, or an amplitude is negative.
    """
    grey = rgb_to_grey(image)
    wanted = np.asarray(mean_amplitude, np.float64)
    check_array("mean_amplitude", wanted, shape=grey.shape, finite=True)
    if wanted.min() < 0:
        raise ValueError("`mean_amplitude` must not be negative.")
    phase = np.angle(np.fft.fftshift(np.fft.fft2(grey)))
    return np.clip(_picture(wanted * np.exp(1j * phase)), 0, 1)


def mean_amplitude_spectrum(images: Iterable[ArrayLike]) -> FloatArray:
    """Average the amplitudes of the luminance of pictures.

    Parameters
    ----------
    images : iterable of array_like of float, shape (H, W, 3) or (H, W)
        Pictures of one size, 0..1.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Not squared; the zero frequency is in the middle.

    Raises
    ------
    ValueError
        If there is no picture, or sizes differ.

    Examples
    --------
    >>> mean_amplitude_spectrum([np.full((2, 2), 0.5)]).tolist()
    [[0.0, 0.0], [0.0, 2.0]]
    """
    total, count = np.zeros(()), 0
    for image in images:
        amplitude = np.abs(np.fft.fft2(rgb_to_grey(image)))
        if count and amplitude.shape != total.shape:
            raise ValueError(
                f"`images` must be of one size; got {total.shape} and "
                f"{amplitude.shape}."
            )
        total, count = total + amplitude, count + 1
    if not count:
        raise ValueError("`images` is empty: at least one picture is needed.")
    return np.fft.fftshift(total) / count


def match_noise(image: ArrayLike, *, seed: int = 0) -> FloatArray:
    """Make noise with the amplitudes and the mean of a picture's luminance.

    Parameters
    ----------
    image : array_like of float, shape (H, W, 3) or (H, W)
        Picture, 0..1.
    seed : int, default 0
        Seed, >= 0.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Phases are those of white noise; clipped to 0..1.

    Raises
    ------
    TypeError, ValueError
        If the picture is none, or the seed is no whole number >= 0.
    """
    grey = rgb_to_grey(image)
    noise = np.fft.rfft2(generator(seed, "matched noise").standard_normal(grey.shape))
    phase = np.angle(noise)
    phase[0, 0] = 0
    spectrum = np.abs(np.fft.rfft2(grey)) * np.exp(1j * phase)
    return np.clip(np.fft.irfft2(spectrum, s=grey.shape), 0, 1)


def _picture(shifted: ComplexArray) -> FloatArray:
    return np.asarray(np.fft.ifft2(np.fft.ifftshift(shifted)).real, np.float64)
