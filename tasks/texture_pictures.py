"""Pictures as textures: local statistics are kept, what lies where is not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurovis.core.checks import check_array, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.foveation.portilla_simoncelli import portilla_simoncelli
from neurovis.foveation.texture_synthesis import synthesise_texture

FloatArray = NDArray[np.float64]

_NEIGHBOURHOOD = 7
_MOST_SCALES = 4
# Share of the variance below which a direction of colour counts as empty.
_EMPTY = 1e-6


def synthesise_pictures(
    image: FloatArray,
    seeds: Sequence[int],
    *,
    shape: tuple[int, int] | None = None,
    n_steps: int = 5,
    device: Any = "cpu",
) -> list[FloatArray]:
    """Make textures with the statistics of a colour picture.

    Colours are turned to their principal axes, along which they do not correlate; each
    axis gets the statistics of Portilla and Simoncelli, from noise of its own.

    Parameters
    ----------
    image : ndarray of float64, shape (h, w, 3)
        Exemplar, 0..1; sides of at least 56 px that 8 divides.
    seeds : sequence of int
        One texture each, >= 0.
    shape : tuple of int, optional
        Rows and columns of the textures, of the same kind; those of the exemplar by
        default.
    n_steps : int, default 5
        Steps of `neurovis.foveation.texture_synthesis.synthesise_texture`.
    device : str or torch.device, default "cpu"
        Where to compute.

    Returns
    -------
    list of ndarray of float64, shape (H, W, 3)
        Clipped to 0..1; opposite borders fit.

    Raises
    ------
    TypeError, ValueError
        If the exemplar is no picture, sides do not fit, or a number is out of range.

    Notes
    -----
    What depends on several axes at once, such as an edge between two colours, is kept
    only as far as each axis tells it.

    References
    ----------
    Portilla & Simoncelli (2000), doi:10.1023/A:1026553619983.
    """
    exemplar = np.asarray(image, np.float64)
    check_array("image", exemplar, shape=(None, None, 3), finite=True)
    check_whole("n_steps", n_steps, low=1)
    rows, columns = exemplar.shape[:2] if shape is None else shape
    n_scales = check_sides([*exemplar.shape[:2], rows, columns])
    place = resolve(device)
    mean = exemplar.mean(axis=(0, 1))
    axes, kept = _colour_axes(exemplar - mean)
    if not kept:
        flat = np.broadcast_to(mean, (rows, columns, 3))
        return [np.clip(flat, 0, 1) for _ in seeds]
    channels = ((exemplar - mean) @ axes[:, :kept]).transpose(2, 0, 1)[None]
    # In single precision, with a spread of about that of grey values.
    spread = channels.std()
    images = torch.as_tensor(channels / spread, dtype=torch.float32, device=place)
    made = []
    with deterministic():
        target = portilla_simoncelli(
            images, n_scales=n_scales, neighbourhood=_NEIGHBOURHOOD
        )
        for seed in seeds:
            texture, _ = synthesise_texture(
                target, (rows, columns), n_steps=n_steps, seed=seed
            )
            found = texture[0].cpu().numpy().astype(np.float64) * spread
            colours = mean + found.transpose(1, 2, 0) @ axes[:, :kept].T
            made.append(np.clip(colours, 0, 1))
    return made


def check_sides(sides: Sequence[int]) -> int:
    """Return how many scales pictures of some sides have.

    Parameters
    ----------
    sides : sequence of int
        Rows and columns of all pictures.

    Returns
    -------
    int
        3 or 4.

    Raises
    ------
    ValueError
        If a side is too small, or 8 does not divide it.

    Examples
    --------
    >>> check_sides([224, 224]), check_sides([64, 72])
    (4, 3)
    """
    for n_scales in range(_MOST_SCALES, 2, -1):
        step = 2**n_scales
        if all(side % step == 0 and side // step >= _NEIGHBOURHOOD for side in sides):
            return n_scales
    raise ValueError(
        f"Texture synthesis needs sides of at least {_NEIGHBOURHOOD * 8} px "
        f"that 8 divides; got {list(sides)}. Resize them."
    )


def _colour_axes(centred: FloatArray) -> tuple[FloatArray, int]:
    """Return the principal axes of colours, and how many have any variance."""
    pixels = centred.reshape(-1, 3)
    variance, axes = np.linalg.eigh(pixels.T @ pixels / len(pixels))
    order = np.argsort(variance)[::-1]
    kept = int((variance > max(_EMPTY * variance.max(), 1e-12)).sum())
    # The sign of an axis is free: the same on every machine.
    axes = axes[:, order]
    axes = axes * np.where(axes.sum(axis=0) < 0, -1, 1)
    return axes, kept
