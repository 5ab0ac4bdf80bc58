"""Gabor patches: gratings under a Gaussian."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_array, check_between
from stimuli.canvas import cos_sin
from stimuli.display import (
    GREY,
    PX_PER_DEG,
    SIZE_DEG,
    Display,
    ground,
    pixel_centres,
)

FloatArray = NDArray[np.float64]

_REACH = 4.0  # standard deviations at which a patch ends: below 1/2900 of its contrast


def draw_gabors(
    x_deg: ArrayLike,
    y_deg: ArrayLike,
    theta_deg: ArrayLike = 0.0,
    *,
    wavelength_deg: float = 0.25,
    sigma_deg: float = 0.18,
    phase_deg: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    background: float = GREY,
    size_deg: float | tuple[float, float] = SIZE_DEG,
    px_per_deg: float = PX_PER_DEG,
) -> Display:
    """Draw Gabor patches.

    ``L = background (1 + c exp(-(dx^2 + dy^2) / (2 sigma^2)) cos(2 pi x' / lambda +
    phase))`` with ``x' = dx cos theta + dy sin theta``, at the centres of pixels.

    Parameters
    ----------
    x_deg, y_deg : array_like of float, shape (n,) or ()
        Centres in degrees.
    theta_deg : array_like of float, shape (n,) or (), default 0
        Direction across the bars, counter-clockwise from the right: 0 has vertical
        bars, 90 horizontal ones.
    wavelength_deg : float, default 0.25
        Period of the grating: 4 cycles per degree.
    sigma_deg : float, default 0.18
        Standard deviation of the envelope, which is cut off at 4 of them.
    phase_deg : array_like of float, shape (n,) or (), default 0
        Phase; at 0 the centre is brightest.
    contrast : array_like of float, shape (n,) or (), default 1
        Weber contrast of the peak, 0..1.
    background : float, default 0.5
        Luminance of the ground, 0..1.
    size_deg : float or tuple of float, default 7
        Side, or width and height, of the picture.
    px_per_deg : float, default 32
        Pixels per degree; at least two pixels per period.

    Returns
    -------
    Display
        Overlapping patches add; luminance can leave 0..1 where they do.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit together, a number is out of range, or pixels are too
        coarse for the grating.

    Examples
    --------
    >>> display = draw_gabors(0.0, 0.0, size_deg=(1.03125, 1.03125))
    >>> display.image.shape, float(display.image[16, 16])
    ((33, 33), 1.0)
    """
    check_between("wavelength_deg", wavelength_deg, low=1e-6)
    check_between("sigma_deg", sigma_deg, low=1e-6)
    check_between("background", background, low=0, high=1)
    image = ground(size_deg, px_per_deg, background)
    if wavelength_deg * px_per_deg < 2:
        raise ValueError(
            f"One period is {wavelength_deg * px_per_deg:.2f} pixels: raise "
            "`wavelength_deg` or `px_per_deg`, so that it is 2 at least."
        )
    places = np.atleast_1d(np.asarray(x_deg, np.float64))
    n = len(places)
    columns = [places]
    named = (
        ("y_deg", y_deg),
        ("theta_deg", theta_deg),
        ("phase_deg", phase_deg),
        ("contrast", contrast),
    )
    for name, given in named:
        values = np.asarray(given, np.float64)
        values = np.full(n, values) if values.ndim == 0 else values
        columns.append(check_array(name, values, shape=(n,), finite=True))
    if len(columns[4]) and not 0 <= columns[4].min() <= columns[4].max() <= 1:
        raise ValueError("`contrast` must lie within 0..1.")
    x, y = pixel_centres(image.shape, px_per_deg)
    reach = _REACH * sigma_deg
    for cx, cy, theta, phase, strength in np.column_stack(columns):
        near_x = np.flatnonzero(np.abs(x[0] - cx) <= reach)
        near_y = np.flatnonzero(np.abs(y[:, 0] - cy) <= reach)
        dx, dy = x[:, near_x] - cx, y[near_y] - cy
        cos, sin = cos_sin(float(theta))
        wave = np.cos(
            2 * math.pi * (dx * cos + dy * sin) / wavelength_deg + math.radians(phase)
        )
        envelope = np.exp(-(dx**2 + dy**2) / (2 * sigma_deg**2))
        image[np.ix_(near_y, near_x)] += background * strength * envelope * wave
    geometry = {
        "x_deg": columns[0],
        "y_deg": columns[1],
        "theta_deg": columns[2],
        "wavelength_deg": wavelength_deg,
        "sigma_deg": sigma_deg,
    }
    return Display(image, px_per_deg, geometry)
