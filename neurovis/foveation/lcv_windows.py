"""Windows of the package pooling-windows: layout, normalisation, pooling.

Its windows cover a ring of eccentricities and leave the centre open; averages are
normalised by one ring and the growth of area with eccentricity. Source: Broderick,
Rufo, Winawer and Simoncelli (2025), doi:10.7554/eLife.90554.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from neurovis.core.checks import (
    check_array,
    check_between,
    check_option,
    check_whole,
)
from neurovis.foveation.window_geometry import (
    Array,
    PoolingWindows,
    Profile,
    angle_values,
    pixel_polar,
    ring_values,
)
from neurovis.foveation.windows import LARGEST_SCALE, ring_spacing


def lcv_windows(
    size: int,
    scale: float,
    *,
    min_eccentricity_deg: float = 0.5,
    max_eccentricity_deg: float = 13.0,
    profile: Profile = "cosine",
) -> PoolingWindows:
    """Lay out windows as the package pooling-windows does: open at both ends.

    Parameters
    ----------
    size : int
        Side of the square picture, px.
    scale : float
        Ring width over eccentricity, in (0, 2].
    min_eccentricity_deg : float, default 0.5
        First radius e_0.
    max_eccentricity_deg : float, default 13
        Half the side in degrees.
    profile : {"cosine", "gaussian"}
        Shape of rings and sectors. Gaussians have a standard deviation of one spacing.

    Returns
    -------
    PoolingWindows
        With layout "lcv"; no fovea.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of bounds.

    Examples
    --------
    >>> windows = lcv_windows(64, 0.5)
    >>> windows.n_angles, len(windows.rings)
    (25, 8)
    >>> len(lcv_windows(64, 0.5, profile="gaussian").rings)
    23
    """
    size = check_whole("size", size, low=2)
    check_between("scale", scale, low=1e-3, high=LARGEST_SCALE)
    check_between("max_eccentricity_deg", max_eccentricity_deg, low=1e-3)
    check_between(
        "min_eccentricity_deg",
        min_eccentricity_deg,
        low=1e-6,
        high=max_eccentricity_deg,
    )
    check_option("profile", profile, ("cosine", "gaussian"))
    density = size / (2 * max_eccentricity_deg)
    spacing, extra = ring_spacing(scale), 0
    if profile == "gaussian":
        spacing, extra = spacing / (2 * float(np.sqrt(2 * np.log(2)))), 5
    reach = np.log(np.sqrt(2) * max_eccentricity_deg / min_eccentricity_deg)
    n_rings = int(np.ceil(reach / spacing)) + extra
    windows = PoolingWindows(
        (size, size),
        (size / 2, size / 2),
        density,
        float(scale),
        min_eccentricity_deg * density,
        spacing,
        int(np.floor(4 * np.pi / spacing + 0.5)),
        0.0,
        tuple(range(1, n_rings + 1)),
        "lcv",
        profile,
    )
    # Rings that weigh no pixel are dropped.
    rings = ring_values(windows, pixel_polar(windows)[0]).any(axis=0)
    kept = tuple(np.array(windows.rings)[rings].tolist())
    return replace(windows, rings=kept)


def smallest_eccentricity_deg(scale: float, px_per_deg: float) -> float:
    """Return the eccentricity where a window has the area of one pixel.

    Parameters
    ----------
    scale : float
        Ring width over eccentricity, above 0.
    px_per_deg : float
        Pixels per degree.

    Returns
    -------
    float
        Degrees: an ellipse of width ``scale e`` and half that height holds 1 px.

    Examples
    --------
    >>> round(smallest_eccentricity_deg(0.5, 64 / 26), 4)
    1.2966
    """
    check_between("scale", scale, low=1e-3, high=LARGEST_SCALE)
    check_between("px_per_deg", px_per_deg, low=1e-6)
    return float(np.sqrt(8 / np.pi) / scale / px_per_deg)


def ring_widths(windows: PoolingWindows) -> pd.DataFrame:
    """Report the sizes of the windows of each ring.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.

    Returns
    -------
    DataFrame
        One row per ring: `ring`, `eccentricity_deg`, and for each of `top` (where the
        window is flat; 0 for a Gaussian), `half` (half height; the nominal widths
        ``scale e`` and ``scale e / 2``) and `full` (all; 3 standard deviations) the
        columns `radial_<name>_deg`, `angular_<name>_deg` and `area_<name>_deg2` (of
        the ellipse).
    """
    centre = windows.ring_centres_px / windows.px_per_deg
    columns = {"ring": np.array(windows.rings), "eccentricity_deg": centre}
    flank = windows.transition / 2
    reach = {"top": 0.5 - flank, "full": 0.5 + flank}
    if windows.profile == "gaussian":
        reach = {"top": 0.0, "full": 3.0}
    sector = 2 * np.pi / max(windows.n_angles, 1)
    for name in ("top", "half", "full"):
        if name == "half":
            radial, angular = windows.scale * centre, windows.scale * centre / 2
        else:
            radial = 2 * np.sinh(reach[name] * windows.log_spacing) * centre
            angular = 2 * reach[name] * sector * centre
        columns[f"radial_{name}_deg"] = radial
        columns[f"angular_{name}_deg"] = angular
        columns[f"area_{name}_deg2"] = np.pi / 4 * radial * angular
    return pd.DataFrame(columns)


def ring_norms(windows: PoolingWindows) -> Array:
    """Return the factor of each ring that makes its window weights sum to about 1.

    Exact, on average over angles, for one ring at a third of the way out; the others
    follow from it, as areas grow with the square of eccentricity.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry with at least one ring.

    Returns
    -------
    ndarray of float64, shape (n_rings,)
        Factors, 1 / px.

    Raises
    ------
    ValueError
        If there is no ring, or the ring of reference weighs no pixel.
    """
    if not windows.rings:
        raise ValueError("`windows` must have at least one ring; it has none.")
    radius, angle = pixel_polar(windows)
    reference = len(windows.rings) // 3
    ring = ring_values(windows, radius)[:, reference]
    total = float((ring @ angle_values(windows, angle)).mean())
    if total == 0:
        raise ValueError(
            f"`windows`: ring {windows.rings[reference]} weighs no pixel, so norms are "
            "not defined. Choose a larger first radius or picture."
        )
    centre = windows.ring_centres_px
    # A Gaussian ring counts where it is one standard deviation further out; the
    # common factor cancels.
    return 1 / ((centre / centre[reference]) ** 2 * total)


def lcv_pool(windows: PoolingWindows, images: ArrayLike) -> Array:
    """Average pictures in all windows, with the norms of `ring_norms`.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.
    images : array-like, shape (B, C, H, W)
        Pictures of the windows' shape.

    Returns
    -------
    ndarray of float64, shape (B, C, n_rings * n_angles)
        Ring by ring.

    Raises
    ------
    ValueError
        If the shape differs.

    Examples
    --------
    >>> lcv_pool(lcv_windows(64, 0.5), np.ones((1, 1, 64, 64))).shape
    (1, 1, 200)
    """
    pictures = check_array(
        "images", images, shape=(None, None, *windows.shape), finite=True
    ).astype(np.float64)
    radius, angle = pixel_polar(windows)
    rings = (ring_values(windows, radius) * ring_norms(windows)).T
    sectors = angle_values(windows, angle)
    flat = pictures.reshape(*pictures.shape[:2], 1, -1)
    # One picture at a time: the products are n_rings pictures large.
    pooled = [[(rings * x) @ sectors for x in channels] for channels in flat]
    return np.reshape(pooled, (*pictures.shape[:2], -1))


def lcv_project(windows: PoolingWindows, pooled: ArrayLike) -> Array:
    """Put window values back on the pixels, by weights without norms.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.
    pooled : array-like, shape (B, C, n_rings * n_angles)
        One value per window.

    Returns
    -------
    ndarray of float64, shape (B, C, H, W)
        At each pixel, the sum over windows of weight times value.

    Raises
    ------
    ValueError
        If the number of windows differs.
    """
    n_windows = len(windows.rings) * windows.n_angles
    values = check_array("pooled", pooled, shape=(None, None, n_windows))
    values = values.astype(np.float64).reshape(
        *values.shape[:2], len(windows.rings), windows.n_angles
    )
    radius, angle = pixel_polar(windows)
    rings, sectors = ring_values(windows, radius), angle_values(windows, angle)
    found = np.einsum("bcea,pa,pe->bcp", values, sectors, rings, optimize=True)
    return found.reshape(*values.shape[:2], *windows.shape)
