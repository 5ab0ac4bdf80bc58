"""Gaussian pools over feature maps: candidate receptive fields and what they see."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf
from torch import Tensor

from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.fitting.ridge_features import tensor_of
from neurovis.fitting.ridge_linalg import product

_READ_BYTES = 2**27


def candidate_grid(
    n_sigmas: int = 8,
    smallest: float = 0.04,
    largest: float = 0.4,
    *,
    extent: float = 1.1,
    spacing: float = 1.4,
    aperture: float = 1.0,
) -> NDArray[np.float64]:
    """Return a pyramid of candidate pools: the smaller they are, the denser they lie.

    For each sigma (logarithmic steps) centres form a square lattice over `extent`,
    with ``ceil(extent / (spacing sigma))`` of them along each side.

    Parameters
    ----------
    n_sigmas : int, default 8
        Number of sizes, >= 1; one alone is `smallest`.
    smallest, largest : float
        Smallest and largest sigma, in sides of the picture, > 0.
    extent : float, default 1.1
        Side of the lattice, in sides of the picture: outer centres may lie outside.
    spacing : float, default 1.4
        Largest distance of neighbours, about, in sigmas.
    aperture : float, default 1
        Side of the picture, in any unit (such as degrees); scales all three columns.

    Returns
    -------
    ndarray of float64, shape (n_candidates, 3)
        x (to the right), y (upwards) and sigma, in the unit of `aperture`, from the
        centre of the picture. Sigma varies slowest, then y, both ascending; x varies
        fastest. A lattice of one pool has it in the centre.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    References
    ----------
    St-Yves & Naselaris (2018), doi:10.1016/j.neuroimage.2017.06.035.

    Examples
    --------
    >>> candidate_grid().shape
    (875, 3)
    >>> candidate_grid(2, 0.5, 2).round(2).tolist()[:2]
    [[-0.55, -0.55, 0.5], [0.55, -0.55, 0.5]]
    """
    n_sigmas = check_whole("n_sigmas", n_sigmas, low=1)
    numbers = {
        "smallest": smallest,
        "largest": largest,
        "extent": extent,
        "spacing": spacing,
        "aperture": aperture,
    }
    for name, value in numbers.items():
        if check_between(name, value, low=0) == 0:
            raise ValueError(f"`{name}` must be above 0; got {value!r}.")
    if largest < smallest:
        raise ValueError(
            f"`largest` must not be below `smallest`; got {largest!r} < {smallest!r}."
        )
    levels = []
    for sigma in np.geomspace(smallest, largest, n_sigmas):
        side = int(np.ceil(extent / (spacing * sigma)))
        line = np.linspace(-extent / 2, extent / 2, side) if side > 1 else np.zeros(1)
        y, x = (part.ravel() for part in np.meshgrid(line, line, indexing="ij"))
        levels.append(np.column_stack([x, y, np.full(side * side, sigma)]))
    return aperture * np.concatenate(levels)


def gaussian_pools(
    n_px: int, candidates: ArrayLike, aperture: float = 1.0
) -> NDArray[np.float64]:
    """Return how much of each Gaussian falls on each pixel of a square map.

    A Gaussian at least as wide as a pixel is taken at the centre of the pixel, times
    its area; a narrower one is integrated over the pixel. Mass outside the map is
    lost: nothing is renormalised.

    Parameters
    ----------
    n_px : int
        Pixels along each side of the map, >= 1.
    candidates : array-like, shape (n_candidates, 3)
        x, y and sigma, in the unit of `aperture`, from the centre of the map; y
        upwards. A pool with ``sigma <= 0`` is empty. Sigma is compared with the side
        of a pixel in the dtype of this array.
    aperture : float, default 1
        Side of the map, > 0.

    Returns
    -------
    ndarray of float64, shape (n_candidates, n_px, n_px)
        Mass, >= 0; row 0 is the top (largest y), column 0 the left.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, not finite, or the shape differs.

    References
    ----------
    St-Yves & Naselaris (2018), doi:10.1016/j.neuroimage.2017.06.035.

    Examples
    --------
    >>> gaussian_pools(3, [[1, 1, 0.1]], aperture=3)[0].round(3).tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    n_px = check_whole("n_px", n_px, low=1)
    if check_between("aperture", aperture, low=0) == 0:
        raise ValueError(f"`aperture` must be above 0; got {aperture!r}.")
    given = check_candidates(candidates)
    pixel = float(aperture) / n_px
    narrow = given[:, 2] < given.dtype.type(pixel)
    x, y, sigma = np.asarray(given.T, np.float64)
    centre = -aperture / 2 + pixel * (np.arange(n_px, dtype=np.float64) + 0.5)
    # Both rules are products of a factor of x and a factor of y.
    across = _mass(centre, x, sigma, narrow, pixel)
    down = _mass(-centre, y, sigma, narrow, pixel)
    pools: NDArray[np.float64] = down[:, :, None] * across[:, None, :]
    return pools


def _mass(
    centre: NDArray[np.float64],
    mean: NDArray[np.float64],
    sigma: NDArray[np.float64],
    narrow: NDArray[np.bool_],
    pixel: float,
) -> NDArray[np.float64]:
    """Return the mass of one-dimensional Gaussians on pixels, (n, n_px)."""
    mass = np.zeros((len(mean), len(centre)))
    distance = centre - mean[:, None]
    at = narrow & (sigma > 0)
    width = np.sqrt(2) * sigma[at, None]
    ends = (distance[at] + pixel / 2) / width, (distance[at] - pixel / 2) / width
    mass[at] = (erf(ends[0]) - erf(ends[1])) / 2
    wide = ~narrow
    width = np.sqrt(2) * sigma[wide, None]
    mass[wide] = (
        pixel / (np.sqrt(np.pi) * width) * np.exp(-((distance[wide] / width) ** 2))
    )
    return mass


def check_candidates(candidates: ArrayLike) -> NDArray[Any]:
    """Return candidate pools as a table of float32 or float64.

    Parameters
    ----------
    candidates : array-like, shape (n_candidates, 3)
        x, y, sigma.

    Returns
    -------
    ndarray, shape (n_candidates, 3)
        float32 where it was, else float64.

    Raises
    ------
    ValueError
        If the shape differs, there is none, or a number is not finite.

    Examples
    --------
    >>> check_candidates([[0, 0, 1]])
    array([[0., 0., 1.]])
    """
    array = np.asarray(candidates)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    array = check_array("candidates", array, shape=(None, 3), finite=True)
    if not len(array):
        raise ValueError("`candidates` has no row: give at least one (x, y, sigma).")
    return array


def check_maps(maps: Any) -> tuple[Any, ...]:
    """Return feature maps as a tuple of four-dimensional array-likes.

    Parameters
    ----------
    maps : sequence of array-like, each of shape (n_images, n_maps, H, H)
        Square maps of one or more resolutions, or a single such array. What has
        `shape` and can be sliced (memory maps, HDF5 data sets, tensors) stays as it
        is.

    Returns
    -------
    tuple of array-like
        At least one.

    Raises
    ------
    ValueError
        If there is none, maps are not square, or numbers of images differ.

    Examples
    --------
    >>> [m.shape for m in check_maps([np.ones((2, 3, 4, 4)), np.ones((2, 1, 7, 7))])]
    [(2, 3, 4, 4), (2, 1, 7, 7)]
    """
    parts = tuple(maps) if isinstance(maps, list | tuple) else (maps,)
    if not parts:
        raise ValueError("`maps` is empty: give at least one array of feature maps.")
    lazy = [hasattr(part, "shape") and hasattr(part, "dtype") for part in parts]
    parts = tuple(p if ok else np.asarray(p) for p, ok in zip(parts, lazy, strict=True))
    for k, part in enumerate(parts):
        shape = tuple(part.shape)
        if len(shape) != 4 or 0 in shape or shape[2] != shape[3]:
            raise ValueError(
                f"`maps[{k}]` must have shape (n_images, n_maps, H, H), square maps "
                f"of at least one pixel; got {shape}. Crop or pad the pictures to "
                "squares before the features are computed; features without place "
                "have H = 1."
            )
    n_images = [int(part.shape[0]) for part in parts]
    if len(set(n_images)) > 1:
        raise ValueError(f"`maps` must have one number of images; got {n_images}.")
    return parts


def pool_maps(
    maps: tuple[Any, ...],
    candidates: NDArray[Any],
    aperture: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Weigh maps with pools and sum over pixels.

    Parameters
    ----------
    maps : tuple of array-like, each of shape (n_images, n_maps, H, H)
        From `check_maps`; read in blocks of images.
    candidates : ndarray, shape (n_candidates, 3)
        x, y, sigma.
    aperture : float
        Side of the maps, in the unit of the candidates.
    dtype : torch.dtype
        Dtype of products and result.
    device : torch.device
        Where they are computed.

    Returns
    -------
    Tensor, shape (n_candidates, n_images, n_features)
        One feature per map, in the order of the maps.

    Raises
    ------
    ValueError
        If a map has values that are not finite.

    Examples
    --------
    >>> maps, pool = np.ones((1, 2, 5, 5)), np.array([[0.0, 0.0, 0.1]])
    >>> pool_maps((maps,), pool, 1.0, torch.float64, torch.device("cpu")).round(
    ...     decimals=2
    ... )
    tensor([[[1., 1.]]], dtype=torch.float64)
    """
    n_images = int(maps[0].shape[0])
    n_features = sum(int(part.shape[1]) for part in maps)
    n_pools = len(candidates)
    out = torch.empty(n_pools, n_images, n_features, dtype=dtype, device=device)
    offset = 0
    for k, part in enumerate(maps):
        n_maps, n_px = int(part.shape[1]), int(part.shape[2])
        pools = gaussian_pools(n_px, candidates, aperture).reshape(n_pools, -1)
        weights = tensor_of(pools, dtype, device)
        at_once = max(1, _READ_BYTES // (8 * n_maps * n_px * n_px))
        for start in range(0, n_images, at_once):
            rows = slice(start, min(n_images, start + at_once))
            block = tensor_of(part[rows], dtype, device).reshape(-1, n_px * n_px)
            pooled = product(block, weights).reshape(-1, n_maps, n_pools)
            _check_finite(k, rows, block, pooled)
            out[:, rows, offset : offset + n_maps] = pooled.permute(2, 0, 1)
        offset += n_maps
    return out


def _check_finite(k: int, rows: slice, block: Tensor, pooled: Tensor) -> None:
    # A sum is finite only if each number is; a pool of mass 0 keeps NaN too.
    if torch.isfinite(pooled.sum(dtype=torch.float64)):
        return
    bad = ~torch.isfinite(block.reshape(rows.stop - rows.start, -1))
    first = rows.start + int(bad.any(1).int().argmax())
    raise ValueError(
        f"`maps[{k}]` has {int(bad.sum())} values that are NaN, infinite or too large "
        f"for {str(block.dtype).removeprefix('torch.')} among images {rows.start} to "
        f"{rows.stop - 1} (the first in image {first}). "
        "Drop those images, or repair the features."
    )
