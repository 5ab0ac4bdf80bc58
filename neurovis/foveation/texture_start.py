"""Starts of the texture transform: a picture moved about at random, coloured noise.

Random numbers are drawn on the CPU from a seed and a key of the picture, so that they
depend on neither batch nor device.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from neurovis.core.rng import torch_generator

# Cells of the field in degrees (6, 12, 24 and 48 px of a 256-pixel picture that is 26
# degrees wide); each adds the same variance.
CELLS_DEG = (0.609375, 1.21875, 2.4375, 4.875)
# Finer cells would look the same, and fill the memory where degrees are tiny.
SMALLEST_CELL_PX = 0.25


def _kernel(length: int, cell_px: float) -> NDArray[np.float64]:
    # Gaussian weights of the nodes of a grid at each pixel; the squares of a row sum
    # to one, so that white numbers on the grid give unit variance at every pixel.
    centres = (np.arange(math.ceil(length / cell_px) + 4) - 1.5) * cell_px
    places = np.arange(length) + 0.5
    weight = np.exp(-0.5 * ((places[:, None] - centres) / (0.6 * cell_px)) ** 2)
    return weight / np.sqrt((weight**2).sum(axis=1, keepdims=True))


def displacement_field(
    shape: tuple[int, int], *, px_per_deg: float, seed: int = 0, key: str | int = 0
) -> torch.Tensor:
    """Draw a smooth random field: where each pixel is moved to.

    The sum of Gaussian fields with cells of 0.6, 1.2, 2.4 and 4.9 degrees, so that
    parts, objects and their surrounds move apart from one another.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    px_per_deg : float
        Pixels per degree of visual angle, > 0.
    seed : int, default 0
        Seed of the run.
    key : str or int, default 0
        Identity of the picture.

    Returns
    -------
    Tensor of float32, shape (2, H, W)
        x and y parts, each with mean 0 and variance 1 at every pixel.

    Examples
    --------
    >>> displacement_field((48, 64), px_per_deg=2.5).shape
    torch.Size([2, 48, 64])
    """
    generator = torch_generator(seed, "texture jitter", key)
    field = np.zeros((2, *shape))
    for cell_deg in CELLS_DEG:
        cell_px = max(cell_deg * px_per_deg, SMALLEST_CELL_PX)
        rows, columns = (_kernel(side, cell_px) for side in shape)
        size = (2, rows.shape[1], columns.shape[1])
        nodes = torch.randn(size, generator=generator).double().numpy()
        field += rows @ nodes @ columns.T
    field /= math.sqrt(len(CELLS_DEG))
    return torch.from_numpy(field.astype(np.float32))


def sampling_grid(field: torch.Tensor, amplitude_px: torch.Tensor) -> torch.Tensor:
    """Turn a field into places to sample, as ``grid_sample`` wants them.

    Parameters
    ----------
    field : Tensor of float32, shape (2, H, W)
        As `displacement_field`.
    amplitude_px : Tensor of float32, shape (H, W)
        Root mean square of either part of the displacement, pixels.

    Returns
    -------
    Tensor, shape (1, H, W, 2)
        x and y in [-1, 1], edge to edge.
    """
    _, height, width = field.shape
    x = torch.arange(width, device=field.device) + 0.5
    y = torch.arange(height, device=field.device) + 0.5
    columns = x + field[0] * amplitude_px
    rows = y[:, None] + field[1] * amplitude_px
    grid = torch.stack([2 * columns / width - 1, 2 * rows / height - 1], dim=-1)
    return grid[None]


def move(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample pictures at other places: bilinear, mirrored at the edges.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
        Pictures.
    grid : Tensor, shape (1 or B, H, W, 2)
        As `sampling_grid`.

    Returns
    -------
    Tensor, shape (B, C, H, W)
        Moved.

    Examples
    --------
    >>> ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    >>> grid = sampling_grid(torch.ones(2, 4, 4), torch.ones(4, 4))
    >>> move(ramp, grid)[0, 0, 0]
    tensor([1., 2., 3., 3.])
    """
    return torch.nn.functional.grid_sample(
        images,
        grid.expand(len(images), -1, -1, -1),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )


def coloured_noise(
    images: torch.Tensor, *, seed: int = 0, keys: Sequence[str | int]
) -> torch.Tensor:
    """Draw white noise with the mean and the covariance of the colours of pictures.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
        Pictures, in any colour space.
    seed : int, default 0
        Seed of the run.
    keys : sequence of str or int
        Identity of each picture.

    Returns
    -------
    Tensor
        Gaussian noise, same shape, dtype and device; channels that are equal, or zero,
        in the picture are so in the noise up to rounding.

    Examples
    --------
    >>> flat = torch.full((1, 3, 4, 4), 0.5)
    >>> bool((coloured_noise(flat, keys=[0]) == 0.5).all())
    True
    """
    n_images, n_channels, height, width = images.shape
    drawn = [
        torch.randn(
            (n_channels, height * width),
            generator=torch_generator(seed, "texture noise", key),
        )
        for key in keys
    ]
    white = torch.stack(drawn).to(images)
    pixels = images.reshape(n_images, n_channels, -1).double()
    mean = pixels.mean(dim=-1, keepdim=True)
    centred = pixels - mean
    covariance = centred @ centred.mT / pixels.shape[-1]
    values, vectors = torch.linalg.eigh(covariance)
    # Rounding leaves crumbs where a colour does not vary at all.
    floor = 1e-12 * values[:, -1:].clamp_min(0)
    values = torch.where(values > floor, values, 0.0)
    root = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
    noise = root.to(images) @ white + mean.to(images)
    return noise.reshape(images.shape)
