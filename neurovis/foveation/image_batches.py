"""Batches of pictures as transforms take them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from neurovis.core.checks import check_whole
from neurovis.core.device import exact_float32


def check_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return a size of pictures as two whole numbers.

    Parameters
    ----------
    shape : sequence of int
        Height and width.

    Returns
    -------
    tuple of int
        Both, 1 or more.

    Raises
    ------
    TypeError, ValueError
        If it is anything else.

    Examples
    --------
    >>> check_shape([4, 5])
    (4, 5)
    """
    if not isinstance(shape, Sequence) or len(shape) != 2:
        raise ValueError(f"`shape` must be (height, width); got {shape!r}.")
    height, width = (check_whole("shape", side, low=1) for side in shape)
    return height, width


def check_images(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return `images` if they are pictures of a size, in [0, 1].

    Parameters
    ----------
    images : Tensor
        What came.
    shape : tuple of int
        Height and width that they must have.

    Returns
    -------
    Tensor of float32, shape (B, 3, H, W)
        `images`, unchanged.

    Raises
    ------
    TypeError
        If it is no tensor of float32.
    ValueError
        If the shape is another one, or a value is not within [0, 1].

    Examples
    --------
    >>> check_images(torch.zeros(2, 3, 4, 5), (4, 5)).shape
    torch.Size([2, 3, 4, 5])
    """
    if not isinstance(images, Tensor) or images.dtype != torch.float32:
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(
            f"`images` must be a tensor of float32; got {kind}. Divide 8-bit pictures "
            "by 255."
        )
    if images.ndim != 4 or images.shape[1:] != (3, *shape):
        raise ValueError(
            f"`images` must have shape (B, 3, {shape[0]}, {shape[1]}); got "
            f"{tuple(images.shape)}. Make the transform for the size of the pictures."
        )
    if len(images):
        low, high = (float(value) for value in torch.aminmax(images.detach()))
        if not (low >= 0 and high <= 1):  # NaN fails both
            raise ValueError(
                f"`images` must be within [0, 1]; got values from {low:g} to {high:g}."
            )
    return images


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 inside the block, whatever the caller's mixed precision.

    Parameters
    ----------
    device : torch.device
        Where the pictures are.

    Yields
    ------
    None
        Nothing.

    Examples
    --------
    >>> device, ones = torch.device("cpu"), torch.ones(2, 2)
    >>> with torch.autocast("cpu"), full_precision(device):
    ...     (ones @ ones).dtype
    torch.float32
    """
    with exact_float32(), torch.autocast(device.type, enabled=False):
        yield
