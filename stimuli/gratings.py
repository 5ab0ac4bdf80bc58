"""Sinusoidal gratings: orientation, spatial frequency and phase in all combinations.

The responses to such a set tell how units are tuned (`analysis.tuning`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import (
    check_array,
    check_between,
    check_option,
    check_whole,
)
from neurovis.core.pictures import LazyPictures
from neurovis.core.types import StimulusSet, Viewing

FloatArray = NDArray[np.float64]
Row = Mapping[str, Any] | pd.Series

ORIENTATIONS_DEG: tuple[float, ...] = tuple(15.0 * i for i in range(12))
"""Twelve orientations of the bars, 0 (horizontal) to 165 degrees."""

FREQUENCIES_CPD: tuple[float, ...] = tuple(30 / (4 * 2 ** (i / 2)) for i in range(7))
"""Half octaves from 7.5 to 0.94 cycles per degree: waves of 4 to 32 px at 30 px/deg."""

WINDOWS = ("none", "disk", "gaussian")
"""The whole picture, a disk with a sharp edge, or a Gaussian (a Gabor patch)."""

# Full width at half height of a Gaussian of standard deviation 1.
_WIDTH_OF_GAUSSIAN = 2 * math.sqrt(2 * math.log(2))


def make_gratings(
    *,
    size_px: int = 96,
    px_per_deg: float = 30.0,
    orientations_deg: Sequence[float] | FloatArray = ORIENTATIONS_DEG,
    frequencies_cpd: Sequence[float] | FloatArray = FREQUENCIES_CPD,
    n_phases: int = 8,
    contrast: float = 1.0,
    mean_level: float = 127.5,
    window: str = "none",
    size_deg: float | None = None,
) -> StimulusSet:
    """Make grey gratings of all orientations, frequencies and phases.

    ``level = mean_level (1 + contrast w cos(2 pi f s - phase))`` with f the frequency,
    s the distance from the centre of the picture across the bars, and w the window.

    Parameters
    ----------
    size_px : int, default 96
        Width and height of the picture, px, >= 8.
    px_per_deg : float, default 30
        Pixels per degree of visual angle, > 0.
    orientations_deg : sequence of float, default 12 from 0 to 165
        Orientations of the bars, degrees counter-clockwise from horizontal: 0 is
        horizontal bars, 90 vertical ones. Different, 0 <= orientation < 180.
    frequencies_cpd : sequence of float, default 7 from 7.5 to 0.94
        Cycles per degree, different, > 0 and below half a cycle per px.
    n_phases : int, default 8
        Phases, equally spaced from 0; at phase 0 a bright bar lies on the centre, and
        growing phases move it to the right, or down if the bars are horizontal.
    contrast : float, default 1
        Michelson contrast, 0 < contrast <= 1.
    mean_level : float, default 127.5
        Mean grey level; ``mean_level (1 + contrast)`` must not exceed 255.
    window : {"none", "disk", "gaussian"}
        Where the grating is; outside is `mean_level`.
    size_deg : float, optional
        Width of the window at half its height, degrees, > 0: the diameter of the disk
        (default: the picture), or the full width of the Gaussian (default: a third of
        the picture).

    Returns
    -------
    StimulusSet
        Pictures, drawn when asked for, with orientation varying slowest and phase
        fastest: responses of shape (n_stimuli, n_units) become
        ``responses.reshape(n_orientations, n_frequencies, n_phases, n_units)``. The
        table has `stimulus_id`, `orientation_deg`, `frequency_cpd`,
        `frequency_cycles_per_px`, `phase_deg`, `contrast`, `px_per_deg`, `size_px`,
        `mean_level`, `window` and `size_deg` (NaN without a window).

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or comes twice, a frequency is not below the
        Nyquist limit, levels leave 0..255, or `size_deg` comes without a window.

    Examples
    --------
    >>> stimuli = make_gratings(orientations_deg=[0, 90], n_phases=4)
    >>> len(stimuli), stimuli.load(0).shape
    (56, (96, 96, 3))
    >>> stimuli.table["stimulus_id"].iloc[-1]
    'grating_o01_f06_p03'
    """
    size_px = check_whole("size_px", size_px, low=8)
    check_between("px_per_deg", px_per_deg, low=1e-6)
    angles = _check_angles(orientations_deg)
    frequencies = _check_frequencies(frequencies_cpd, px_per_deg)
    n_phases = check_whole("n_phases", n_phases, low=1)
    check_between("contrast", contrast, low=1e-6, high=1)
    _check_levels(mean_level, contrast)
    width_deg = _check_window(window, size_deg, size_px / px_per_deg)
    rows = [
        {
            "stimulus_id": f"grating_o{i:02d}_f{j:02d}_p{k:02d}",
            "orientation_deg": float(angle),
            "frequency_cpd": float(frequency),
            "frequency_cycles_per_px": float(frequency / px_per_deg),
            "phase_deg": 360.0 * k / n_phases,
            "contrast": float(contrast),
            "px_per_deg": float(px_per_deg),
            "size_px": size_px,
            "mean_level": float(mean_level),
            "window": window,
            "size_deg": width_deg,
        }
        for i, angle in enumerate(angles)
        for j, frequency in enumerate(frequencies)
        for k in range(n_phases)
    ]
    ground = math.floor(mean_level + 0.5)
    return StimulusSet(
        "gratings",
        pd.DataFrame(rows),
        Viewing(float(px_per_deg), size_px, size_px, ground),
        LazyPictures(draw_grating, rows),
    )


def draw_grating(row: Row) -> NDArray[np.uint8]:
    """Draw the grating of one row.

    Parameters
    ----------
    row : mapping or Series
        Row of the table of `make_gratings`.

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px, 3)
        The grating, rounded half up.

    Examples
    --------
    >>> stimuli = make_gratings(orientations_deg=[90], frequencies_cpd=[7.5])
    >>> draw_grating(stimuli.table.iloc[0])[0, :6, 0].tolist()
    [218, 37, 37, 218, 218, 37]
    """
    size = int(row["size_px"])
    place: FloatArray = np.arange(size, dtype=np.float64) - (size - 1) / 2
    angle = math.radians(row["orientation_deg"])
    # Across the bars; y runs down, so counter-clockwise bars rise to the right.
    across = math.sin(angle) * place + math.cos(angle) * place[:, None]
    cycles = row["frequency_cycles_per_px"] * across
    wave = np.cos(2 * np.pi * cycles - math.radians(row["phase_deg"]))
    wave *= _window(row["window"], place, row["size_deg"] * row["px_per_deg"])
    # Rounding before the last one: cosines of different machines then agree at .5.
    level = np.round(row["mean_level"] * (1 + row["contrast"] * wave), 9)
    grey = np.floor(level + 0.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _window(window: str, place: FloatArray, width_px: float) -> FloatArray | float:
    if window == "none":
        return 1.0
    radius = np.hypot(place, place[:, None])
    if window == "disk":
        # The edge is one px wide, and half-way at the radius.
        return np.clip(width_px / 2 - radius + 0.5, 0, 1)
    return np.exp(-0.5 * (radius * _WIDTH_OF_GAUSSIAN / width_px) ** 2)


# --------------------------------------------------------------------- arguments


def _check_different(name: str, values: Sequence[float] | FloatArray) -> FloatArray:
    array = check_array(
        name, np.asarray(values, np.float64), shape=(None,), finite=True
    )
    if not array.size or len(np.unique(array)) < array.size:
        raise ValueError(
            f"`{name}` must hold different numbers, at least one; got {array.tolist()}."
        )
    return array


def _check_angles(values: Sequence[float] | FloatArray) -> FloatArray:
    angles = _check_different("orientations_deg", values)
    if angles.min() < 0 or angles.max() >= 180:
        raise ValueError(
            "`orientations_deg` must be 0 or more and below 180; got "
            f"{angles.tolist()}. Take them modulo 180."
        )
    return angles


def _check_frequencies(
    values: Sequence[float] | FloatArray, px_per_deg: float
) -> FloatArray:
    frequencies = _check_different("frequencies_cpd", values)
    if frequencies.min() <= 0 or frequencies.max() >= px_per_deg / 2:
        raise ValueError(
            f"`frequencies_cpd` must be above 0 and below {px_per_deg / 2:g}, half of "
            f"`px_per_deg`={px_per_deg:g}; got {frequencies.tolist()}. Choose lower "
            "frequencies or more pixels per degree."
        )
    return frequencies


def _check_levels(mean_level: float, contrast: float) -> None:
    check_between("mean_level", mean_level, low=1, high=255)
    if mean_level * (1 + contrast) > 255:
        raise ValueError(
            "`mean_level` * (1 + `contrast`) must not exceed 255; got "
            f"{mean_level:g} * (1 + {contrast:g}). Lower one of them."
        )


def _check_window(window: str, size_deg: float | None, picture_deg: float) -> float:
    """Return the width of the window in degrees, NaN without one."""
    check_option("window", window, WINDOWS)
    if size_deg is not None:
        if window == "none":
            raise ValueError(
                "`size_deg` is the width of a window, but `window` is 'none'. Choose "
                "'disk' or 'gaussian', or leave it out."
            )
        return float(check_between("size_deg", size_deg, low=1e-6))
    return {"none": math.nan, "disk": picture_deg, "gaussian": picture_deg / 3}[window]
