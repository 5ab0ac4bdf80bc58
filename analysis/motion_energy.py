"""Motion energy: in which direction a movie moves, from filters in space and time.

A pair of Gabor filters in quadrature in space and time responds to one direction of
motion; the sum of their squares, the energy, does not depend on phase. The difference
to the energy of the opposite direction is the opponent energy.

References
----------
Adelson and Bergen (1985). Spatiotemporal energy models for the perception of motion.
Journal of the Optical Society of America A 2, 284-299. doi:10.1364/JOSAA.2.000284
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from analysis.choices import Choices, pick_largest
from neurovis.core.checks import check_array, check_between

FloatArray = NDArray[np.float64]

_CUT = 3.0  # filters end at so many standard deviations


@dataclass(frozen=True)
class MotionFilter:
    """A pair of spatiotemporal Gabor filters in quadrature.

    The filter prefers a grating of `frequency_cpd` that drifts at `speed_deg_per_s`.
    In space it is a Gaussian of `sd_deg` times a grating, in time a Gaussian of `sd_s`
    around the frame times an oscillation of ``frequency_cpd * speed_deg_per_s`` Hz.

    Parameters
    ----------
    frequency_cpd : float, default 1
        Cycles per degree.
    speed_deg_per_s : float, default 5
        Preferred speed.
    sd_deg : float, default 0.4
        Standard deviation in space.
    sd_s : float, default 0.08
        Standard deviation in time, seconds.

    Raises
    ------
    ValueError
        If a number is not above 0.
    """

    frequency_cpd: float = 1.0
    speed_deg_per_s: float = 5.0
    sd_deg: float = 0.4
    sd_s: float = 0.08

    def __post_init__(self) -> None:
        for name in ("frequency_cpd", "speed_deg_per_s", "sd_deg", "sd_s"):
            check_between(name, getattr(self, name), low=1e-9)


@dataclass(frozen=True, eq=False)
class MotionEnergy:
    """Energy of a movie in a direction and in the opposite one.

    Parameters
    ----------
    preferred, opposite : ndarray of float64, shape (n_frames,)
        Mean over the picture of the squared responses in each frame.
    """

    preferred: FloatArray
    opposite: FloatArray

    @property
    def opponent(self) -> float:
        """Sum of the differences over frames, in parts of the whole energy: -1..1.

        NaN where there is no energy.
        """
        total = float((self.preferred + self.opposite).sum())
        if total == 0:
            return math.nan
        return float((self.preferred - self.opposite).sum()) / total


def motion_energy(
    movie: ArrayLike,
    direction_deg: float = 0.0,
    *,
    px_per_deg: float,
    rate_hz: float,
    filters: MotionFilter | None = None,
) -> MotionEnergy:
    """Compute the energy of motion in a direction and against it.

    Parameters
    ----------
    movie : array_like of float or uint8, shape (n_frames, H, W)
        Luminance; row 0 is at the top. The mean is taken off, and the ground around
        the movie is taken as the mean.
    direction_deg : float, default 0
        Direction, counter-clockwise from the right.
    px_per_deg : float
        Pixels per degree.
    rate_hz : float
        Frames per second.
    filters : MotionFilter, optional
        The filters; `MotionFilter()` by default.

    Returns
    -------
    MotionEnergy
        One number per frame and direction, in squared units of the movie.

    Raises
    ------
    ValueError
        If the movie has another shape or is not finite, or its grating or flicker is
        too fast for the pixels or frames.

    References
    ----------
    Adelson and Bergen (1985). doi:10.1364/JOSAA.2.000284

    Examples
    --------
    >>> x = np.arange(32) / 8
    >>> time_s = np.arange(24)[:, None, None] / 60
    >>> drifting = np.cos(2 * np.pi * (x - 5 * time_s)) * np.ones((1, 32, 1))
    >>> energy = motion_energy(drifting, px_per_deg=8, rate_hz=60)
    >>> energy.opponent > 0.9
    True
    """
    used = MotionFilter() if filters is None else filters
    frames = check_array(
        "movie", np.asarray(movie, np.float64), shape=(None, None, None), finite=True
    )
    check_between("direction_deg", direction_deg)
    check_between("px_per_deg", px_per_deg, low=1e-6)
    check_between("rate_hz", rate_hz, low=1e-6)
    flicker_hz = used.frequency_cpd * used.speed_deg_per_s
    if used.frequency_cpd > px_per_deg / 2 or flicker_hz > rate_hz / 2:
        raise ValueError(
            f"A filter of {used.frequency_cpd:g} cycles/deg at "
            f"{used.speed_deg_per_s:g} deg/s ({flicker_hz:g} Hz) is too fast for "
            f"{px_per_deg:g} px/deg and {rate_hz:g} frames/s. Lower `frequency_cpd` or "
            "`speed_deg_per_s`."
        )
    angle = math.radians(direction_deg)
    spatial = 2 * math.pi * used.frequency_cpd
    # Rows run downwards, y upwards.
    waves = (spatial * math.cos(angle), -spatial * math.sin(angle))
    # The mean of equal values can differ from them in the last bit.
    mean = frames.flat[0] if np.ptp(frames) == 0 else frames.mean()
    response = (frames - mean).astype(np.complex128)
    for axis, wave in ((2, waves[0]), (1, waves[1])):
        response = _filtered(response, axis, used.sd_deg, wave, px_per_deg)
    turn = 2 * math.pi * flicker_hz
    preferred = _filtered(response, 0, used.sd_s, -turn, rate_hz)
    opposite = _filtered(response, 0, used.sd_s, turn, rate_hz)
    return MotionEnergy(
        (np.abs(preferred) ** 2).mean(axis=(1, 2)),
        (np.abs(opposite) ** 2).mean(axis=(1, 2)),
    )


def opponent_energies(
    movies: Sequence[ArrayLike],
    directions_deg: Sequence[float] = (0.0,),
    *,
    px_per_deg: float,
    rate_hz: float,
    filters: MotionFilter | None = None,
) -> FloatArray:
    """Compute the opponent energy of movies in several directions.

    Parameters
    ----------
    movies : sequence of array_like of float, shape (n_frames, H, W)
        Movies.
    directions_deg : sequence of float, default (0,)
        Directions, counter-clockwise from the right.
    px_per_deg : float
        Pixels per degree.
    rate_hz : float
        Frames per second.
    filters : MotionFilter, optional
        The filters.

    Returns
    -------
    ndarray of float64, shape (n_movies, n_directions)
        -1..1; NaN for movies without any energy.

    Raises
    ------
    ValueError
        As `motion_energy`.
    """
    return np.array(
        [
            [
                motion_energy(
                    movie,
                    direction,
                    px_per_deg=px_per_deg,
                    rate_hz=rate_hz,
                    filters=filters,
                ).opponent
                for direction in directions_deg
            ]
            for movie in movies
        ]
    ).reshape(len(movies), len(directions_deg))


def choose_directions(
    movies: Sequence[ArrayLike],
    directions_deg: Sequence[float] = (0.0, 180.0),
    *,
    px_per_deg: float,
    rate_hz: float,
    filters: MotionFilter | None = None,
) -> Choices:
    """Choose for each movie the direction with the largest opponent energy.

    Parameters
    ----------
    movies : sequence of array_like of float, shape (n_frames, H, W)
        Movies.
    directions_deg : sequence of float, default (0, 180)
        What there is to choose.
    px_per_deg : float
        Pixels per degree.
    rate_hz : float
        Frames per second.
    filters : MotionFilter, optional
        The filters.

    Returns
    -------
    Choices
        `picked` is the index of the direction; -1 where two are the same or movies
        have no energy.

    Raises
    ------
    ValueError
        As `motion_energy`, or with fewer than two directions.
    """
    return pick_largest(
        opponent_energies(
            movies,
            directions_deg,
            px_per_deg=px_per_deg,
            rate_hz=rate_hz,
            filters=filters,
        )
    )


def _filtered(
    values: NDArray[np.complex128],
    axis: int,
    sd: float,
    wave: float,
    per_unit: float,
) -> NDArray[np.complex128]:
    """Correlate along an axis with a Gaussian times a complex oscillation."""
    reach = max(1, math.ceil(_CUT * sd * per_unit))
    at = np.arange(-reach, reach + 1) / per_unit
    envelope = np.exp(-(at**2) / (2 * sd**2))
    kernel = envelope / envelope.sum() * np.exp(1j * wave * at)
    return np.asarray(ndimage.correlate1d(values, kernel, axis, mode="constant"))
