"""Pooling windows around the point of fixation.

A window is the product of a ring and an angular sector. In the logarithm of the
radius, and in the angle, all windows have one shape and one spacing: their width grows
in proportion to eccentricity, by the factor `scale`. Source: Freeman and Simoncelli
(2011), doi:10.1038/nn.2889.
"""

from collections.abc import Sequence

import numpy as np

from neurovis.core.checks import check_between, check_whole
from neurovis.foveation.window_geometry import (
    PoolingWindows,
    fovea_weight,
    inner_weight,
    pixel_polar,
    ring_values,
    ring_weights,
    window_matrix,
)
from neurovis.foveation.window_sizes import (
    fovea_templates,
    texture_weights,
    window_table,
)

# The one door to windows: what their users need.
__all__ = [
    "FOVEA_DEG",
    "IMAGE_DEG",
    "LARGEST_SCALE",
    "PoolingWindows",
    "check_fixation",
    "fovea_templates",
    "fovea_weight",
    "freeman_windows",
    "inner_weight",
    "pixel_polar",
    "pooling_windows",
    "published_fovea_deg",
    "ring_spacing",
    "ring_values",
    "ring_weights",
    "texture_weights",
    "window_matrix",
    "window_table",
]

IMAGE_DEG = 26.0
"""Width of a picture in degrees of visual angle, where none is given."""
FOVEA_DEG = 1.82165
"""Radius of the fovea: rings 1 to 4 and the disc inside them, of windows of scale 0.4
with a first radius of 6 px in 512 px of 26 degrees (1.822 rounded)."""
SMALLEST_SCALE = 0.01
LARGEST_SCALE = 2.0

# First radius of the published windows, and the width of the narrowest ring that their
# authors kept apart from the fovea.
_PUBLISHED_FIRST_DEG = 6 * IMAGE_DEG / 512
_NARROWEST_RING_DEG = 0.7


def pooling_windows(
    shape: Sequence[int],
    scale: float,
    *,
    px_per_deg: float | None = None,
    fixation_px: Sequence[float] | None = None,
    fovea_deg: float = FOVEA_DEG,
    aspect: float = 2.0,
    transition: float = 0.5,
) -> PoolingWindows:
    """Lay out windows around a fovea of given size: a partition of unity.

    The inner edge (at half height) of ring 1 is `fovea_deg`. The last ring is the last
    one whose inner edge is nearer than the farthest pixel centre, wherever fixation
    is; it keeps weight 1 outwards of its centre. Sectors are placed as in
    `freeman_windows`.

    Parameters
    ----------
    shape : (int, int)
        Height and width, px.
    scale : float
        Ring width over eccentricity, in [0.01, 2], or 0, which makes everything
        fovea.
    px_per_deg : float, optional
        Pixels per degree; default longer side / 26.
    fixation_px : (float, float), optional
        x and y in px from the outer corner of the top-left pixel; default the centre.
        It may lie outside of the picture.
    fovea_deg : float, default 1.82165
        Radius of the fovea at half height, degrees.
    aspect : float, default 2
        Radial over tangential width of a window; there are
        ``round(2 pi aspect / scale)`` sectors.
    transition : float, default 0.5
        Width of the cosine flank in units of the spacing, in (0, 1].

    Returns
    -------
    PoolingWindows
        With layout "neurovis".

    Raises
    ------
    TypeError, ValueError
        If an argument is out of bounds.

    Examples
    --------
    >>> windows = pooling_windows((512, 512), 0.4)
    >>> windows.n_windows, windows.ring_centres_px.round(1)
    (187, array([ 43.8,  65.1,  96.9, 144.1, 214.5, 319.1]))
    """
    height, width = _check_shape(shape)
    check_between("scale", scale, low=0, high=LARGEST_SCALE)
    if 0 < scale < SMALLEST_SCALE:
        raise ValueError(
            f"`scale` must be 0 or at least {SMALLEST_SCALE}, of which there are "
            f"thousands of windows; got {scale:g}."
        )
    check_between("fovea_deg", fovea_deg, low=1e-3)
    check_between("aspect", aspect, low=0.1, high=100)
    check_between("transition", transition, low=1e-3, high=1)
    density = _check_density(px_per_deg, (height, width))
    fixation = check_fixation(fixation_px, (height, width))
    fovea_px = fovea_deg * density
    if scale == 0:
        return PoolingWindows(
            (height, width),
            fixation,
            density,
            0.0,
            fovea_px,
            0.0,
            0,
            0.0,
            (),
            "neurovis",
            "cosine",
            float(transition),
        )
    spacing = ring_spacing(scale)
    farthest = _farthest_px((height, width), fixation)
    # Ring k begins, at half height, at fovea exp((k - 1) spacing).
    n_rings = max(int(np.ceil(np.log(farthest / fovea_px) / spacing)), 0)
    n_angles = max(int(_round(2 * np.pi * aspect / scale)), 1)
    return PoolingWindows(
        (height, width),
        fixation,
        density,
        float(scale),
        fovea_px * float(np.exp(-spacing / 2)),
        spacing,
        n_angles,
        _freeman_start(n_angles),
        tuple(range(1, n_rings + 1)),
        "neurovis",
        "cosine",
        float(transition),
    )


def freeman_windows(
    shape: Sequence[int],
    scale: float,
    *,
    px_per_deg: float | None = None,
    fixation_px: Sequence[float] | None = None,
    aspect: float = 2.0,
) -> PoolingWindows:
    """Lay out the windows of Freeman and Simoncelli (2011), doi:10.1038/nn.2889.

    The first radius is 2.5 % of half the side, in whole pixels; the fovea is the disc
    inside the first ring; rings go on to the first one whose centre lies beyond the
    farthest pixel.

    Parameters
    ----------
    shape : (int, int)
        Height and width, px.
    scale : float
        Ring width over eccentricity, in (0, 2].
    px_per_deg : float, optional
        Pixels per degree; default longer side / 26.
    fixation_px : (float, float), optional
        x and y in px from the outer corner of the top-left pixel; default the centre.
    aspect : float, default 2
        Radial over tangential width of a window.

    Returns
    -------
    PoolingWindows
        With layout "freeman".

    Raises
    ------
    TypeError, ValueError
        If an argument is out of bounds.

    Examples
    --------
    >>> windows = freeman_windows((256, 256), 0.5)
    >>> windows.first_radius_px, windows.n_angles, len(windows.rings)
    (3.0, 25, 9)
    """
    height, width = _check_shape(shape)
    check_between("scale", scale, low=1e-3, high=LARGEST_SCALE)
    check_between("aspect", aspect, low=0.1, high=100)
    density = _check_density(px_per_deg, (height, width))
    fixation = check_fixation(fixation_px, (height, width))
    spacing = ring_spacing(scale)
    first = max(float(_round(0.025 * np.sqrt(height * width) / 2)), 1.0)
    farthest = _farthest_px((height, width), fixation)
    n_rings = max(int(np.floor(np.log(farthest / first) / spacing)) + 1, 1)
    n_angles = max(int(_round(2 * np.pi * aspect / scale)), 1)
    return PoolingWindows(
        (height, width),
        fixation,
        density,
        float(scale),
        first,
        spacing,
        n_angles,
        _freeman_start(n_angles),
        tuple(range(1, n_rings + 1)),
        "freeman",
    )


def ring_spacing(scale: float) -> float:
    """Return the spacing in log radius that makes rings `scale` times e_k wide.

    Parameters
    ----------
    scale : float
        Full width at half height over eccentricity, above 0.

    Returns
    -------
    float
        ``2 arcsinh(scale / 2)``.

    Examples
    --------
    >>> round(ring_spacing(0.4), 6)
    0.39738
    """
    return float(2 * np.arcsinh(scale / 2))


def published_fovea_deg(scale: float) -> float:
    """Return the radius of the fovea that published windows of a scale had.

    In whole rings of a first radius of 6 px in 512 px of 26 degrees: the fovea takes in
    all that are narrower than 0.7 degrees.

    Parameters
    ----------
    scale : float
        Ring width over eccentricity, in (0, 2].

    Returns
    -------
    float
        Degrees, for `pooling_windows`; `FOVEA_DEG` at scale 0.4.

    Raises
    ------
    TypeError, ValueError
        If `scale` is out of bounds.

    Notes
    -----
    Inferred from the published numbers of windows at 512 px (Deza, Jonnalagadda and
    Eckstein 2019, arXiv:1705.10041): any limit from 0.673 to 0.718 degrees explains
    all. They are met at scales 0.4, 0.5 and 0.7 (187, 126, 91). At 0.25, 0.3 and 0.6
    (377, 301, 103) there are 8, 8 and 3 more here, in the corners: windows with fewer
    than about 140 pixels of a weight above 0.1 were left out.

    Examples
    --------
    >>> for scale in (0.4, 0.5, 0.7):
    ...     fovea = published_fovea_deg(scale)
    ...     windows = pooling_windows((512, 512), scale, fovea_deg=fovea)
    ...     print(round(fovea, 3), windows.n_windows)
    1.822 187
    1.723 126
    0.853 91
    """
    check_between("scale", scale, low=1e-3, high=LARGEST_SCALE)
    spacing = ring_spacing(scale)
    # Ring k is `scale` times its radius wide.
    k = np.ceil(np.log(_NARROWEST_RING_DEG / (scale * _PUBLISHED_FIRST_DEG)) / spacing)
    return float(_PUBLISHED_FIRST_DEG * np.exp((max(k, 1) - 0.5) * spacing))


def check_fixation(
    fixation_px: Sequence[float] | None, shape: tuple[int, int]
) -> tuple[float, float]:
    """Return a point of fixation as two numbers.

    Parameters
    ----------
    fixation_px : (float, float), optional
        x and y in px from the outer corner of the top-left pixel; default the centre.
    shape : (int, int)
        Height and width of the picture, px.

    Returns
    -------
    (float, float)
        x and y, which may lie outside of the picture.

    Raises
    ------
    TypeError, ValueError
        If it is not two finite numbers.

    Examples
    --------
    >>> check_fixation(None, (4, 6))
    (3.0, 2.0)
    """
    if fixation_px is None:
        return shape[1] / 2, shape[0] / 2
    try:
        point = np.asarray(fixation_px, np.float64)
    except (TypeError, ValueError):
        point = np.empty(0)
    if point.shape != (2,) or not np.isfinite(point).all():
        raise ValueError(
            f"`fixation_px` must be (x, y), two finite numbers; got {fixation_px!r}."
        )
    return float(point[0]), float(point[1])


# ------------------------------------------------------------------------ private


def _farthest_px(shape: tuple[int, int], fixation: tuple[float, float]) -> float:
    """Distance of the farthest pixel centre."""
    dx = max(abs(0.5 - fixation[0]), abs(shape[1] - 0.5 - fixation[0]))
    dy = max(abs(0.5 - fixation[1]), abs(shape[0] - 0.5 - fixation[1]))
    return float(np.hypot(dx, dy))


def _freeman_start(n_angles: int) -> float:
    # Published angles run from the left meridian and begin a quarter sector early.
    return float(np.pi - 0.25 * 2 * np.pi / n_angles)


def _round(value: float) -> float:
    return float(np.floor(value + 0.5))


def _check_shape(shape: Sequence[int]) -> tuple[int, int]:
    if isinstance(shape, int) or len(shape) != 2:
        raise ValueError(f"`shape` must be (height, width); got {shape!r}.")
    height, width = (check_whole("shape", side, low=2) for side in shape)
    return height, width


def _check_density(value: float | None, shape: tuple[int, int]) -> float:
    if value is None:
        return max(shape) / IMAGE_DEG
    return float(check_between("px_per_deg", value, low=1e-6))
