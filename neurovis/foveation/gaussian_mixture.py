"""Gaussian blurs of a picture, restricted to boxes and mixed by weights.

A blur with a border that repeats is a matrix for rows and one for columns. Products of
matrices cost the same whatever the standard deviation, and little for boxes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.foveation.image_batches import full_precision

FloatArray = NDArray[np.float64]

TRUNCATE = 4.0
"""Gaussians end at this many standard deviations, rounded to whole pixels."""

HALF_AMPLITUDE = float(np.sqrt(np.log(2) / 2) / np.pi)
"""Frequency of half amplitude of a Gaussian, in cycles over its standard deviation."""

# Outputs are made in strips of this many: a narrow kernel then reads few inputs.
_STRIP_PX = 64


class Box(NamedTuple):
    """A part of a picture.

    Parameters
    ----------
    top, bottom : int
        First row, and the one after the last.
    left, right : int
        First column, and the one after the last.
    """

    top: int
    bottom: int
    left: int
    right: int


class _Strip(NamedTuple):
    """Some outputs along an axis: a matrix times the inputs `first` to `last`."""

    first: int
    last: int
    matrix: Tensor


@dataclass(frozen=True)
class BlurLayer:
    """A blurred picture, seen through weights inside a box.

    Parameters
    ----------
    box : Box
        Where it is seen.
    rows, columns : tuple
        Matrices that blur down and across.
    weight : Tensor of float32, shape (h, w), or None
        Weights inside the box; None for 1.
    """

    box: Box
    rows: tuple[_Strip, ...]
    columns: tuple[_Strip, ...]
    weight: Tensor | None

    def to(self, device: torch.device) -> "BlurLayer":
        """Return a copy on a device.

        Parameters
        ----------
        device : torch.device
            Where.

        Returns
        -------
        BlurLayer
            With all tensors there.
        """
        rows, columns = (
            tuple(s._replace(matrix=s.matrix.to(device)) for s in strips)
            for strips in (self.rows, self.columns)
        )
        weight = None if self.weight is None else self.weight.to(device)
        return BlurLayer(self.box, rows, columns, weight)

    def blur(self, image: Tensor) -> Tensor:
        """Blur pictures inside the box and weigh the result.

        Parameters
        ----------
        image : Tensor of float32, shape (..., H, W)
            Whole pictures.

        Returns
        -------
        Tensor of float32, shape (..., h, w)
            The box of each.
        """
        top, bottom = self.rows[0].first, self.rows[-1].last
        image = image[..., top:bottom, :]
        parts = [image[..., s.first : s.last] @ s.matrix.T for s in self.columns]
        image = torch.cat(parts, -1)
        parts = [
            s.matrix @ image[..., s.first - top : s.last - top, :] for s in self.rows
        ]
        blurred = torch.cat(parts, -2)
        return blurred if self.weight is None else blurred * self.weight


def blur_layer(
    shape: tuple[int, int], sigma_px: float, weight: FloatArray | None = None
) -> BlurLayer:
    """Prepare one blur, where its weight is not 0.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the pictures, pixels.
    sigma_px : float
        Standard deviation, 0 or more.
    weight : ndarray of float64, shape (H, W), optional
        Weight of the blurred picture, not 0 everywhere; 1 by default.

    Returns
    -------
    BlurLayer
        On the CPU.
    """
    height, width = shape
    box = Box(0, height, 0, width)
    if weight is not None:
        rows, columns = (np.flatnonzero(weight.any(axis)) for axis in (1, 0))
        box = Box(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        weight = weight[box.top : box.bottom, box.left : box.right]
    return BlurLayer(
        box,
        _strips(height, sigma_px, box.top, box.bottom),
        _strips(width, sigma_px, box.left, box.right),
        None if weight is None else torch.from_numpy(weight.astype(np.float32)),
    )


def _strips(n: int, sigma_px: float, start: int, stop: int) -> tuple[_Strip, ...]:
    """Matrices that blur outputs `start` to `stop` of `n` samples.

    Beyond the ends the outermost sample is repeated, so its weights add up.
    """
    kernel = gaussian_kernel(sigma_px)
    reach = len(kernel) // 2
    strips = []
    for begin in range(start, stop, _STRIP_PX):
        outputs = np.arange(begin, min(begin + _STRIP_PX, stop))
        inputs = np.clip(outputs[:, None] + np.arange(-reach, reach + 1), 0, n - 1)
        first, last = int(inputs[0, 0]), int(inputs[-1, -1]) + 1
        matrix = np.zeros((len(outputs), last - first))
        np.add.at(matrix, ((outputs - begin)[:, None], inputs - first), kernel)
        strips.append(_Strip(first, last, torch.from_numpy(matrix.astype(np.float32))))
    return tuple(strips)


def gaussian_kernel(sigma_px: float) -> FloatArray:
    """Return a sampled Gaussian that ends at `TRUNCATE` standard deviations.

    Parameters
    ----------
    sigma_px : float
        Standard deviation, 0 or more.

    Returns
    -------
    ndarray of float64, shape (2 n + 1,)
        Weights with the sum 1; a single 1 below 1/8 px.

    Examples
    --------
    >>> gaussian_kernel(0.5).round(3)
    array([0.   , 0.106, 0.787, 0.106, 0.   ])
    """
    reach = int(TRUNCATE * sigma_px + 0.5)
    if reach == 0:
        return np.ones(1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    return kernel / kernel.sum()


# Device, weight of the picture itself, blurs.
_Placed = tuple[torch.device, Tensor | None, tuple[BlurLayer, ...]]


class BlurMixture:
    """Weights times the picture itself, plus weighted blurs of it.

    Parameters
    ----------
    own : ndarray of float64, shape (H, W), or None
        Weight of the picture itself; None for 0 everywhere.
    layers : iterable of BlurLayer
        The blurs; exactly one if `own` is None.
    """

    def __init__(self, own: FloatArray | None, layers: Iterable[BlurLayer]) -> None:
        weight = None if own is None else torch.from_numpy(own.astype(np.float32))
        self._placed: _Placed = torch.device("cpu"), weight, tuple(layers)

    def __call__(self, images: Tensor) -> Tensor:
        """Blur and mix.

        Parameters
        ----------
        images : Tensor of float32, shape (B, 3, H, W)
            At least one picture in [0, 1], on any device.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            In [0, 1], on the same device.
        """
        placed = self._on(images.device)
        # Plane by plane on the CPU, from fresh copies: products of matrices round by
        # size and alignment, and neither a batch nor another channel must matter.
        with full_precision(images.device):
            if images.device.type != "cpu":
                return _mix(images, placed)
            planes = [_mix(plane.clone(), placed) for plane in images.flatten(0, 1)]
        return torch.stack(planes).reshape(images.shape)

    def _on(self, device: torch.device) -> "_Placed":
        # Replaced as a whole: another thread may come with another device.
        last, own, layers = placed = self._placed
        if device != last:
            moved = tuple(layer.to(device) for layer in layers)
            placed = device, None if own is None else own.to(device), moved
            self._placed = placed
        return placed


def _mix(image: Tensor, placed: "_Placed") -> Tensor:
    _, own, layers = placed
    if own is None:
        return layers[0].blur(image).clamp(0, 1)
    out = image * own
    for layer in layers:
        top, bottom, left, right = layer.box
        out[..., top:bottom, left:right] += layer.blur(image)
    return out.clamp(0, 1)
