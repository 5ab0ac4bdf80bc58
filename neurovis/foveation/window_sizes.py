"""Sizes of pooling windows, and what follows from them."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.core.checks import check_between, check_option
from neurovis.foveation.window_geometry import (
    Array,
    PoolingWindows,
    inner_weight,
    mother_window,
)


def window_table(windows: PoolingWindows) -> pd.DataFrame:
    """Describe every window.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.

    Returns
    -------
    DataFrame
        One row per window, in the order of `window_matrix`: `window`, `ring` (0 is the
        fovea), `angle` (-1 for the fovea), `eccentricity_deg`, `polar_deg`
        (counterclockwise from the right, in [0, 360); NaN for the fovea),
        `radial_width_deg` and `tangential_width_deg` (full width at half height; for
        the fovea its diameter), `area_px` (analytic, above half height, as if the
        picture had no border), `area_in_image_px` (counted; the last ring without
        its extension) and `weight_px` (sum of weights).

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> table = window_table(pooling_windows((512, 512), 0.4))
    >>> table.loc[[1], ["ring", "eccentricity_deg", "area_px"]].round(2)
       ring  eccentricity_deg  area_px
    1     1              2.22   150.44
    """
    number = windows.grid_numbers
    ring, angle, is_fovea = _grid_places(windows)
    centre = np.append(windows.ring_centres_px, 0.0)[ring]
    polar = np.append(windows.angle_centres_rad, np.nan)[angle]
    half = 0.5 if windows.profile == "cosine" else float(np.sqrt(2 * np.log(2)))
    diameter = 2 * windows.fovea_radius_px
    radial = 2 * np.sinh(half * windows.log_spacing) * centre
    across = 2 * half * 2 * np.pi / max(windows.n_angles, 1) * centre
    area = half_height_area(windows) * centre**2
    area[is_fovea] = np.pi * windows.fovea_radius_px**2
    weight = np.bincount(
        windows.entries.window, windows.entries.weight, minlength=len(number)
    )
    k = np.append(np.array(windows.rings, np.int64), 0)
    return pd.DataFrame(
        {
            "window": np.arange(len(number)),
            "ring": k[ring],
            "angle": angle,
            "eccentricity_deg": centre / windows.px_per_deg,
            "polar_deg": np.degrees(-polar) % 360,
            "radial_width_deg": np.where(is_fovea, diameter, radial)
            / windows.px_per_deg,
            "tangential_width_deg": np.where(is_fovea, diameter, across)
            / windows.px_per_deg,
            "area_px": area,
            "area_in_image_px": _counted_area(windows),
            "weight_px": weight,
        }
    )


def half_height_area(windows: PoolingWindows) -> float:
    """Return the area of a window above half of its peak, over its squared radius.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.

    Returns
    -------
    float
        Area in units of e_k squared; 0 without rings.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> windows = pooling_windows((512, 512), 0.4)
    >>> cell = windows.log_spacing * 2 * np.pi / windows.n_angles
    >>> round(half_height_area(windows) / cell, 3)
    0.976
    """
    if not windows.rings:
        return 0.0
    # Half of the sector is wide enough where the ring has the value f(x).
    half = 0.5 if windows.profile == "cosine" else float(np.sqrt(2 * np.log(2)))
    edges = np.linspace(-half, half, 4001)
    x = (edges[1:] + edges[:-1]) / 2
    if windows.profile == "cosine":
        rest = 0.5 / mother_window(x, windows.transition)
        reach = np.arccos(np.sqrt(rest)) * 2 * windows.transition / np.pi
        reach += (1 - windows.transition) / 2
    else:
        reach = np.sqrt(half**2 - x**2)
    # An area element in log-polar coordinates is the squared radius.
    strip = 2 * reach * np.exp(2 * windows.log_spacing * x)
    cell = windows.log_spacing * 2 * np.pi / windows.n_angles
    return float(cell * strip.sum() * (edges[1] - edges[0]))


def texture_weights(
    windows: PoolingWindows,
    d: float = 1.281,
    area: Literal["unclipped", "clipped"] = "unclipped",
) -> Array:
    """Return how far each window goes from picture (0) to texture (1).

    ``tanh(d rho / 2)`` of the radius rho in degrees of a disc of the window's area.
    Source: Deza, Jonnalagadda and Eckstein (2019), arXiv:1705.10041.

    Parameters
    ----------
    windows : PoolingWindows
        Geometry.
    d : float, default 1.281
        Slope, 1 / degree, 0 or more.
    area : {"unclipped", "clipped"}
        "unclipped": analytic, the same for a whole ring. "clipped": pixels of weight
        above 0.5 inside the picture, as published; windows of the last ring that lie
        half outside get less, down to 0.

    Returns
    -------
    ndarray of float64, shape (n_windows,)
        In [0, 1); 0 for the fovea.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of bounds.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> windows = pooling_windows((512, 512), 0.4)
    >>> texture_weights(windows)[[0, 1, -1]].round(3)
    array([0.   , 0.221, 0.928])
    """
    check_between("d", d, low=0)
    check_option("area", area, ("unclipped", "clipped"))
    ring, _, is_fovea = _grid_places(windows)
    if area == "clipped":
        pixels = _counted_area(windows).astype(np.float64)
    else:
        centre = np.append(windows.ring_centres_px, 0.0)[ring]
        pixels = half_height_area(windows) * centre**2
    rho = np.sqrt(pixels / np.pi) / windows.px_per_deg
    return np.where(is_fovea, 0.0, np.tanh(d * rho / 2))


def fovea_templates(windows: PoolingWindows, *, rounded: bool = False) -> NDArray[Any]:
    """Return growing central regions: nothing, up to each ring in turn, everything.

    Template i of 1 .. n_rings weighs 1 what lies inside of ring i: 1 minus the sum of
    rings i, i + 1, ...

    Parameters
    ----------
    windows : PoolingWindows
        Closed windows (with a fovea).
    rounded : bool, default False
        Return grey levels 0 to 255.

    Returns
    -------
    ndarray of float64 (or uint8), shape (n_rings + 2, H, W)
        Values in [0, 1]; the first is all 0 and the last all 1.

    Raises
    ------
    ValueError
        If the windows have no fovea.

    Examples
    --------
    >>> from neurovis.foveation.windows import pooling_windows
    >>> maps = fovea_templates(pooling_windows((512, 512), 0.4))
    >>> (100 * maps.mean(axis=(1, 2))).round(1)
    array([  0. ,   1.5,   3.4,   7.6,  16.8,  37.2,  80.8, 100. ])
    """
    if not windows.has_fovea:
        raise ValueError(
            f"`windows` must have a fovea; the layout {windows.layout!r} has none. "
            "Use pooling_windows or freeman_windows."
        )
    inside = [inner_weight(windows, k) for k in windows.rings]
    maps = np.stack([np.zeros(windows.shape), *inside, np.ones(windows.shape)])
    return np.floor(255 * maps + 0.5).astype(np.uint8) if rounded else maps


# ------------------------------------------------------------------------ private


def _grid_places(
    windows: PoolingWindows,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Index of ring and sector of each window, -1 for the fovea."""
    number = windows.grid_numbers - int(windows.has_fovea)
    is_fovea = number < 0
    ring, angle = np.divmod(number, max(windows.n_angles, 1))
    return np.where(is_fovea, -1, ring), np.where(is_fovea, -1, angle), is_fovea


def _counted_area(windows: PoolingWindows) -> NDArray[np.int64]:
    """Pixels above half of the peak; the last ring as it would be without an end."""
    entries = windows.entries
    n_windows = windows.n_windows
    found = np.zeros(n_windows, np.int64)
    if windows.has_fovea:
        found[0] = np.count_nonzero(entries.weight[entries.window == 0] > 0.5)
    if not windows.rings:
        return found
    # An open set has the same rings, without fovea and extension.
    bare = replace(windows, layout="lcv")
    peak = 1.0 if windows.profile == "cosine" else 1 / (2 * np.pi)
    above = bare.entries.window[bare.entries.weight > 0.5 * peak]
    grid = np.zeros(len(windows.rings) * windows.n_angles, np.int64)
    grid[bare.grid_numbers] = np.bincount(above, minlength=bare.n_windows)
    first = int(windows.has_fovea)
    found[first:] = grid[windows.grid_numbers[first:] - first]
    return found
