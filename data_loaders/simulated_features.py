"""What drives simulated responses: local contrast energy and category of pictures."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import fft
from scipy.special import ndtr

from neurovis.core.checks import check_image

PICTURE_DEG = 8.4
"""Width and height of the pictures of NSD, degrees of visual angle."""

SIDE_PX = 64
"""Width and height of the pictures that energy is computed from."""

FREQUENCIES_CPD = (1.9, 0.95, 0.48)
"""Preferred spatial frequencies, cycles per degree."""

ORIENTATIONS_DEG = (0.0, 45.0, 90.0, 135.0)
"""Preferred orientations of bars, counter-clockwise from horizontal."""

_GRID = 32  # cells along each side over which energy is pooled
_AT_ONCE = 64


def square_picture(picture: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return the central square of a picture, resampled.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, 3)
        Any picture.
    side_px : int
        Width and height of the result.

    Returns
    -------
    ndarray of uint8, shape (side_px, side_px, 3)
        `picture` itself when it has that size.
    """
    check_image("pictures", picture)
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    if side == side_px:
        return square
    size = (side_px, side_px)
    return np.asarray(Image.fromarray(square).resize(size, Image.Resampling.BICUBIC))


def luminance(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey levels of a picture at the size that energy is computed from.

    Parameters
    ----------
    picture : ndarray of uint8, shape (side, side, 3)
        A square picture.

    Returns
    -------
    ndarray of uint8, shape (64, 64)
        Luma of ITU-R BT.601.
    """
    grey = Image.fromarray(picture).convert("L")
    size = (SIDE_PX, SIDE_PX)
    if grey.size != size:
        grey = grey.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(grey)


def _gabor_transfers() -> NDArray[np.float32]:
    """Return the transfer functions, shape (frequencies, orientations, 64, 64)."""
    cpd = np.fft.fftfreq(SIDE_PX, PICTURE_DEG / SIDE_PX)
    right, down = cpd[None, :], cpd[:, None]
    bank = np.empty((len(FREQUENCIES_CPD), len(ORIENTATIONS_DEG), SIDE_PX, SIDE_PX))
    for i, frequency in enumerate(FREQUENCIES_CPD):
        for j, orientation in enumerate(ORIENTATIONS_DEG):
            # The grating varies at right angles to its bars; y points down.
            angle = np.deg2rad(orientation + 90)
            x, y = frequency * np.cos(angle), -frequency * np.sin(angle)
            squared = (right - x) ** 2 + (down - y) ** 2
            bank[i, j] = np.exp(-squared / (2 * (0.35 * frequency) ** 2))
    return bank.astype(np.float32)


def gabor_energy(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return contrast energy: squared magnitude of complex Gabor responses.

    Gabor filters are Gaussians in frequency with a standard deviation of 0.35 of
    their preferred frequency. Pictures wrap around at their borders.

    Parameters
    ----------
    grey : ndarray of uint8, shape (n, 64, 64)
        Grey levels.

    Returns
    -------
    ndarray of float32, shape (n, 3, 4, 32, 32)
        Mean over cells of 2 x 2 pixels, by frequency and orientation; in units of
        squared contrast (grey levels / 255, mean of the picture removed).
    """
    contrast = grey.astype(np.float32) / 255
    contrast -= contrast.mean(axis=(1, 2), keepdims=True)
    spectra = fft.fft2(contrast)[:, None, None]
    energy = np.abs(fft.ifft2(spectra * _gabor_transfers())) ** 2
    step = SIDE_PX // _GRID
    cells = energy.reshape(*energy.shape[:3], _GRID, step, _GRID, step)
    means: NDArray[np.float32] = cells.mean(axis=(4, 6)).astype(np.float32)
    return means


def receptive_fields(
    x_deg: NDArray[np.float64],
    y_deg: NDArray[np.float64],
    size_deg: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return Gaussians integrated over the cells of the picture.

    Parameters
    ----------
    x_deg, y_deg : ndarray of float64, shape (n,)
        Centres from the middle of the picture; x right, y down.
    size_deg : ndarray of float64, shape (n,)
        Standard deviations.

    Returns
    -------
    ndarray of float32, shape (n, 32 * 32)
        Weights of the cells, row by row from the top; what falls outside the picture
        is lost.
    """
    edges = np.linspace(-PICTURE_DEG / 2, PICTURE_DEG / 2, _GRID + 1)
    along_x, along_y = (
        np.diff(ndtr((edges - centre[:, None]) / size_deg[:, None]), axis=1)
        for centre in (x_deg, y_deg)
    )
    weights = along_y[:, :, None] * along_x[:, None, :]
    flat: NDArray[np.float32] = weights.reshape(len(x_deg), -1).astype(np.float32)
    return flat


def standardised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows with mean 0 and standard deviation 1; constant rows become 0.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, n_images)
        One signal per row.

    Returns
    -------
    ndarray of float32, shape (n, n_images)
        Population standard deviation.
    """
    mean = rows.mean(axis=1, dtype=np.float64)[:, None]
    spread = rows.std(axis=1, dtype=np.float64)[:, None]
    varies = spread > 1e-6 * np.maximum(np.abs(mean), 1e-12)
    return np.where(varies, (rows - mean) / np.where(varies, spread, 1), 0).astype(
        np.float32
    )


def energy_signals(
    units: pd.DataFrame, grey: NDArray[np.uint8], rows: Sequence[int] | NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the response of units to the contrast of pictures, standardised.

    A unit pools the energy of its preferred frequency, half of it from its preferred
    orientation and half from all, over its receptive field, and takes the root
    (a compressive sum, as in Kay et al. 2013, J Neurophysiol 110, 481-494,
    doi:10.1152/jn.00105.2013).

    Parameters
    ----------
    units : DataFrame
        `rf_x_deg`, `rf_y_deg`, `rf_size_deg`, `frequency_cpd`, `orientation_deg`.
    grey : ndarray of uint8, shape (n_pictures, 64, 64)
        From `luminance`.
    rows : sequence of int, shape (n_images,)
        Which pictures, in which order.

    Returns
    -------
    ndarray of float32, shape (n_units, n_images)
        Mean 0, standard deviation 1 over the images; 0 where a response is constant.
    """
    x, y, size, frequency, orientation = (
        units[column].to_numpy(np.float64)
        for column in (
            *("rf_x_deg", "rf_y_deg", "rf_size_deg"),
            *("frequency_cpd", "orientation_deg"),
        )
    )
    fields = receptive_fields(x, y, size)
    groups = [
        (i, j, np.flatnonzero((frequency == f) & (orientation == o)))
        for i, f in enumerate(FREQUENCIES_CPD)
        for j, o in enumerate(ORIENTATIONS_DEG)
    ]
    signals = np.zeros((len(units), len(rows)), np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        energy = gabor_energy(grey[np.asarray(rows[block])])
        energy = energy.reshape(*energy.shape[:3], -1)
        mixed = (energy + energy.mean(axis=2, keepdims=True)) / 2
        for i, j, members in groups:
            signals[members, block] = fields[members] @ mixed[:, i, j].T
    return standardised(np.sqrt(np.maximum(signals, 0)))


def picture_signals(
    units: pd.DataFrame,
    weights: NDArray[np.float32],
    grey: NDArray[np.uint8],
    category: NDArray[np.int64],
    rows: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return the noiseless responses of units to pictures, standardised.

    Parameters
    ----------
    units : DataFrame
        As `energy_signals`, and `energy_share`: which part of the variance comes from
        contrast energy, 0..1; the other comes from the category.
    weights : ndarray of float32, shape (n_units, n_categories)
        Response to each category.
    grey : ndarray of uint8, shape (n_pictures, 64, 64)
        From `luminance`.
    category : ndarray of int64, shape (n_pictures,)
        Category of each picture, a column of `weights`.
    rows : ndarray of int, shape (n_images,)
        Which pictures, in which order.

    Returns
    -------
    ndarray of float32, shape (n_units, n_images)
        Mean 0, standard deviation 1 over the images; 0 where a response is constant.
    """
    signals = energy_signals(units, grey, rows)
    share = units["energy_share"].to_numpy(np.float32)[:, None]
    selective = np.flatnonzero(share < 1)
    by_category = standardised(weights[selective][:, category[rows]])
    signals[selective] *= np.sqrt(share[selective])
    signals[selective] += np.sqrt(1 - share[selective]) * by_category
    signals[selective] = standardised(signals[selective])
    return signals
