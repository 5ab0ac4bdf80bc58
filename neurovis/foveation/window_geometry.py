"""Geometry and weights of log-polar pooling windows.

A window is the product of a ring and an angular sector. In the logarithm of the
radius, and in the angle, all windows have one shape and one spacing: their width grows
in proportion to eccentricity, by the factor `scale`. Source: Freeman and Simoncelli
(2011), doi:10.1038/nn.2889.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Array = NDArray[np.float64]
Layout = Literal["neurovis", "freeman", "lcv"]
Profile = Literal["cosine", "gaussian"]

# The sum of unit-spaced Gaussians of standard deviation 1: their common divisor.
_GAUSSIAN_SUM = float(np.sqrt(2 * np.pi))
# Less than this is rounding; of a Gaussian, less than this share of its peak is
# nothing to float32 sums, which is so from the sixth neighbour on.
_FOOT = 1e-12
_GAUSSIAN_FOOT = 1e-7
_GAUSSIAN_REACH = 6


class Entries(NamedTuple):
    """Non-zero weights of all windows: one item per window and pixel.

    Parameters
    ----------
    window, pixel : ndarray of int64, shape (n,)
        Row of the window; number of the pixel, by rows.
    weight : ndarray of float64, shape (n,)
        Above 0, at most 1.
    """

    window: NDArray[np.int64]
    pixel: NDArray[np.int64]
    weight: Array


@dataclass(frozen=True)
class PoolingWindows:
    """Geometry of a set of pooling windows; build it by `pooling_windows`.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the pictures, px.
    fixation_px : (float, float)
        x and y from the outer corner of the top-left pixel, whose centre is (0.5, 0.5).
    px_per_deg : float
        Pixels per degree of visual angle.
    scale : float
        Full width at half height of a ring over its eccentricity. 0: one window that
        weighs every pixel by 1.
    first_radius_px : float
        e_0: ring k has its centre at ``e_0 exp(k log_spacing)``.
    log_spacing : float
        Distance of two rings in the natural logarithm of the radius.
    n_angles : int
        Windows per ring.
    angle_start_rad : float
        Centre of window 0 of each ring, as ``arctan2(dy, dx)`` with y down.
    rings : tuple of int
        The consecutive numbers k of the rings.
    layout : {"neurovis", "freeman", "lcv"}
        The first two are closed: a central window, the fovea, holds what the rings
        leave, and the outermost ring keeps weight 1 outwards of its centre, so that
        the weights of each pixel sum to 1. "lcv" is open at both ends.
    profile : {"cosine", "gaussian"}
        Shape of rings and sectors.
    transition : float
        Width of a cosine flank in units of the spacing, in (0, 1].
    """

    shape: tuple[int, int]
    fixation_px: tuple[float, float]
    px_per_deg: float
    scale: float
    first_radius_px: float
    log_spacing: float
    n_angles: int
    angle_start_rad: float
    rings: tuple[int, ...]
    layout: Layout
    profile: Profile = "cosine"
    transition: float = 0.5

    @property
    def has_fovea(self) -> bool:
        """Whether window 0 is the fovea."""
        return self.layout != "lcv"

    @property
    def ring_centres_px(self) -> Array:
        """Eccentricity of each ring, px, shape (n_rings,)."""
        k = np.array(self.rings, np.float64)
        return self.first_radius_px * np.exp(k * self.log_spacing)

    @property
    def angle_centres_rad(self) -> Array:
        """Polar angle of each sector in [0, 2 pi), y down, shape (n_angles,)."""
        steps = np.arange(self.n_angles) / max(self.n_angles, 1)
        return (self.angle_start_rad + 2 * np.pi * steps) % (2 * np.pi)

    @property
    def fovea_radius_px(self) -> float:
        """Where the fovea has half height; infinite where nothing lies around it."""
        if not self.rings:
            return float("inf")
        step = (self.rings[0] - 0.5) * self.log_spacing
        return float(self.first_radius_px * np.exp(step))

    @property
    def identity(self) -> dict[str, Any]:
        """All that the weights depend on, as JSON values."""
        return {
            "shape": list(self.shape),
            "fixation_px": list(self.fixation_px),
            "px_per_deg": self.px_per_deg,
            "scale": self.scale,
            "first_radius_px": self.first_radius_px,
            "log_spacing": self.log_spacing,
            "n_angles": self.n_angles,
            "angle_start_rad": self.angle_start_rad,
            "rings": list(self.rings),
            "layout": self.layout,
            "profile": self.profile,
            "transition": self.transition,
        }

    @cached_property
    def grid_numbers(self) -> NDArray[np.int64]:
        """Place of each window in the full grid, ascending, shape (n_windows,).

        The fovea, if there is one, is 0; ring i (0-based) and angle j are number
        ``i * n_angles + j``, plus 1 after a fovea. Windows that reach no pixel are
        left out.
        """
        return np.unique(self._grid_entries.window)

    @property
    def n_windows(self) -> int:
        """Windows that weigh at least one pixel, the fovea included."""
        return len(self.grid_numbers)

    @cached_property
    def entries(self) -> Entries:
        """Non-zero weights; pixels are numbered by rows."""
        grid = self._grid_entries
        number = np.full(int(grid.window.max(initial=0)) + 1, -1)
        number[self.grid_numbers] = np.arange(self.n_windows)
        return Entries(number[grid.window], grid.pixel, grid.weight)

    @cached_property
    def _grid_entries(self) -> Entries:
        return _grid_entries(self)


# ------------------------------------------------------------------------- values


def mother_window(x: ArrayLike, transition: float = 0.5) -> Array:
    """Return the flat-topped window whose translates by 1 sum to 1.

    Parameters
    ----------
    x : array-like
        Position in units of the spacing.
    transition : float, default 0.5
        Width of the squared-cosine flank, in (0, 1].

    Returns
    -------
    ndarray of float64, same shape
        1 near 0, 0.5 at ±0.5, 0 beyond ``(1 + transition) / 2``.

    Examples
    --------
    >>> mother_window([0, 0.5, 0.75])
    array([1. , 0.5, 0. ])
    """
    distance = np.abs(np.asarray(x, np.float64)) - (1 - transition) / 2
    value = np.cos(np.pi / 2 * np.clip(distance / transition, 0, 1)) ** 2
    # What rounding leaves at the foot is no support.
    return np.where(value < _FOOT, 0.0, value)


def pixel_polar(windows: PoolingWindows) -> tuple[Array, Array]:
    """Return radius and polar angle of all pixel centres.

    Parameters
    ----------
    windows : PoolingWindows
        Shape and fixation.

    Returns
    -------
    radius_px, angle_rad : ndarray of float64, shape (H * W,)
        Distance from fixation; ``arctan2(dy, dx)`` with y down.
    """
    height, width = windows.shape
    dx = np.arange(width) + 0.5 - windows.fixation_px[0]
    dy = (np.arange(height) + 0.5 - windows.fixation_px[1])[:, None]
    return np.hypot(dx, dy).ravel(), np.arctan2(dy, dx).ravel()


def ring_values(windows: PoolingWindows, radius_px: ArrayLike) -> Array:
    """Return the radial factor of each ring.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.
    radius_px : array-like of float, shape (...)
        Distances from fixation, px, 0 or more.

    Returns
    -------
    ndarray of float64, shape (..., n_rings)
        Values in [0, 1].
    """
    u = _log_radius(windows, np.asarray(radius_px, np.float64))[..., None]
    k = np.array(windows.rings, np.float64)
    if windows.has_fovea and windows.rings:
        u = np.minimum(u, k[-1])
    return _profile(windows, u - k)


def angle_values(windows: PoolingWindows, angle_rad: ArrayLike) -> Array:
    """Return the angular factor of each sector.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.
    angle_rad : array-like of float, shape (...)
        ``arctan2(dy, dx)`` with y down.

    Returns
    -------
    ndarray of float64, shape (..., n_angles)
        Values in [0, 1].
    """
    angle = np.asarray(angle_rad, np.float64)[..., None]
    turn = angle - windows.angle_centres_rad
    turn -= 2 * np.pi * np.round(turn / (2 * np.pi))
    return _profile(windows, turn * windows.n_angles / (2 * np.pi))


def fovea_weight(windows: PoolingWindows) -> Array:
    """Return the weight of the fovea at each pixel: what the rings leave.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.

    Returns
    -------
    ndarray of float64, shape (H, W)
        Values in [0, 1]; exactly 1 inside of ring 1. Without a fovea, what the open
        rings leave in the centre.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> float(fovea_weight(pooling_windows((64, 64), 0.5)).max())
    1.0
    """
    if not windows.rings:
        return np.ones(windows.shape)
    return inner_weight(windows, windows.rings[0])


def inner_weight(windows: PoolingWindows, ring: int) -> Array:
    """Return the summed weight of all that lies inside of a ring.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.
    ring : int
        Number of the ring; it and all further ones are left out.

    Returns
    -------
    ndarray of float64, shape (H, W)
        1 minus the sum of rings `ring`, `ring` + 1 and so on, in [0, 1].
    """
    radius, _ = pixel_polar(windows)
    return _inner_values(windows, radius, ring).reshape(windows.shape)


def ring_weights(windows: PoolingWindows) -> Array:
    """Return the weight of each whole ring at each pixel.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.

    Returns
    -------
    ndarray of float64, shape (n_rings, H, W)
        Values in [0, 1]; with the fovea they sum to 1.
    """
    radius, _ = pixel_polar(windows)
    return ring_values(windows, radius).T.reshape(-1, *windows.shape)


def window_matrix(
    windows: PoolingWindows, dtype: type[np.floating[Any]] = np.float32
) -> sparse.csr_matrix:
    """Return the weight of every window at every pixel.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.
    dtype : type, default float32
        Kind of number.

    Returns
    -------
    csr_matrix, shape (n_windows, H * W)
        At most 4 entries per pixel (cosine). Row 0 is the fovea, where there is one;
        then rings outwards, sectors within a ring.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> matrix = window_matrix(pooling_windows((64, 64), 0.5))
    >>> bool(np.allclose(matrix.sum(axis=0), 1))
    True
    """
    entries = windows.entries
    n_pixels = windows.shape[0] * windows.shape[1]
    return sparse.csr_matrix(
        (entries.weight.astype(dtype), (entries.window, entries.pixel)),
        shape=(windows.n_windows, n_pixels),
    )


# ------------------------------------------------------------------------ private


def _grid_entries(windows: PoolingWindows) -> Entries:
    """Weights of the few rings and sectors that reach each pixel."""
    n_pixels = windows.shape[0] * windows.shape[1]
    pixels = np.arange(n_pixels)
    if not windows.rings:
        return Entries(np.zeros(n_pixels, np.int64), pixels, np.ones(n_pixels))
    radius, angle = pixel_polar(windows)
    first, last = windows.rings[0], windows.rings[-1]
    u = _log_radius(windows, radius)
    if windows.has_fovea:
        u = np.minimum(u, last)
    v = (angle - windows.angle_start_rad) * windows.n_angles / (2 * np.pi)
    rings = [
        (number, weight, (weight > 0) & (number >= first) & (number <= last))
        for number, weight in _neighbours(windows, u)
    ]
    sectors = list(_neighbours(windows, v))
    offset = 1 if windows.has_fovea else 0
    parts = []
    if windows.has_fovea:
        fovea = _inner_values(windows, radius, first)
        inside = np.flatnonzero(fovea)
        parts.append((np.zeros(len(inside), np.int64), inside, fovea[inside]))
    for ring, ring_weight, ring_used in rings:
        for sector, sector_weight in sectors:
            used = np.flatnonzero(ring_used & (sector_weight > 0))
            number = (ring[used] - first) * windows.n_angles
            number += sector[used] % windows.n_angles + offset
            parts.append((number, used, ring_weight[used] * sector_weight[used]))
    window, pixel, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Entries(window, pixel, weight)


def _neighbours(
    windows: PoolingWindows, position: Array
) -> list[tuple[NDArray[np.int64], Array]]:
    """Numbers and values of the translates that reach each position."""
    reach = 1 if windows.profile == "cosine" else _GAUSSIAN_REACH
    low = np.floor(position).astype(np.int64)
    found = []
    for step in range(1 - reach, reach + 1):
        number = low + step
        value = _profile(windows, position - number)
        if windows.profile == "gaussian":
            # It ends somewhere: where float32 sums no longer see it.
            value = np.where(value < _GAUSSIAN_FOOT * value.max(), 0.0, value)
        found.append((number, value))
    return found


def _profile(windows: PoolingWindows, x: Array) -> Array:
    if windows.profile == "gaussian":
        return np.exp(-(x**2) / 2) / _GAUSSIAN_SUM
    return mother_window(x, windows.transition)


def _inner_values(windows: PoolingWindows, radius: Array, ring: int) -> Array:
    """Sum of all rings inside of `ring`, those that are not kept included."""
    u = np.minimum(_log_radius(windows, radius), ring)
    if windows.profile == "cosine":
        return 1 - mother_window(u - ring, windows.transition)
    outer = np.arange(ring, ring + _GAUSSIAN_REACH)
    return 1 - _profile(windows, u[:, None] - outer).sum(axis=1)


def _log_radius(windows: PoolingWindows, radius: Array) -> Array:
    """Radius in ring numbers."""
    # The pixel under a fixation has radius 0.
    safe = np.maximum(radius, 1e-6 * windows.first_radius_px)
    return np.log(safe / windows.first_radius_px) / windows.log_spacing
