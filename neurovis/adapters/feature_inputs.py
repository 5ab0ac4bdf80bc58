"""How pictures of any size become the input of a network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from neurovis.adapters.trunks import INPUT_FORMATS, InputFormat
from neurovis.core.checks import check_image, check_option, check_whole

ResizeRule = Literal["crop", "squash", "pad", "none"]
RESIZE_RULES: tuple[ResizeRule, ...] = ("crop", "squash", "pad", "none")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """Size, resampling and pixel format of the input of a network.

    Pictures are resampled with Pillow (with antialiasing, rounded to 8 bits), as those
    were that most published networks were trained and tested on.

    Parameters
    ----------
    size_px : tuple of int
        Height and width of the input.
    resize : {"crop", "squash", "pad", "none"}
        "crop" scales until `resize_px` is covered and takes the centre; "squash"
        scales to `resize_px` whatever the aspect ratio and takes the centre; "pad"
        scales until all fits into `resize_px` and fills up around it; "none" takes
        pictures of exactly `size_px`.
    resize_px : tuple of int, optional
        Height and width that are scaled to; `size_px` by default.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}
        How pictures are resampled.
    pixels : InputFormat
        Channel order, mean and scale.
    fill : tuple of int, default (0, 0, 0)
        Red, green and blue, 0..255, around pictures that are padded.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number >= 1, an option is unknown, or `resize_px` is
        smaller than what is cut out of it.

    Examples
    --------
    >>> rule = Preprocessing((4, 4), "squash")
    >>> rule.prepare(np.zeros((10, 30, 3), np.uint8)).shape
    (4, 4, 3)
    """

    size_px: tuple[int, int]
    resize: ResizeRule = "crop"
    resize_px: tuple[int, int] | None = None
    interpolation: str = "bicubic"
    pixels: InputFormat = INPUT_FORMATS["imagenet"]
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        check_option("resize", self.resize, RESIZE_RULES)
        check_option("interpolation", self.interpolation, tuple(INTERPOLATIONS))
        for side in (*self.size_px, *self.scaled_px):
            check_whole("size in pixels", side, low=1)
        small = any(s < c for s, c in zip(self.scaled_px, self.size_px, strict=True))
        if small and self.resize != "pad":
            raise ValueError(
                f"`resize_px` {self.scaled_px} is smaller than `size_px` "
                f"{self.size_px}: there would be nothing to cut out."
            )

    @property
    def scaled_px(self) -> tuple[int, int]:
        """Height and width that pictures are scaled to before cutting."""
        return self.resize_px or self.size_px

    @property
    def identity(self) -> dict[str, Any]:
        """All that the input depends on besides the picture."""
        return asdict(self) | {"resize_px": self.scaled_px}

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring a picture to the size of the input.

        Parameters
        ----------
        picture : ndarray of uint8, shape (H, W, 3)
            RGB picture.

        Returns
        -------
        ndarray of uint8, shape (h, w, 3)
            RGB picture of `size_px`.

        Raises
        ------
        TypeError, ValueError
            If `picture` is none, or has another size and `resize` is "none".
        """
        check_image("picture", picture)
        size = picture.shape[:2]
        if self.resize == "none":
            if size != tuple(self.size_px):
                raise ValueError(
                    f"Pictures must have {self.size_px} pixels because `resize` is "
                    f"'none'; got {size}. Use 'crop', 'squash' or 'pad'."
                )
            return picture
        scaled = self.scaled_size(size)
        if scaled != size:
            resampling = INTERPOLATIONS[self.interpolation]
            image = Image.fromarray(picture).resize(scaled[::-1], resampling)
            picture = np.array(image)
        return _centre(picture, self.size_px, self.fill)

    def scaled_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Return what a picture is scaled to before the centre is taken.

        Parameters
        ----------
        size : tuple of int
            Height and width of the picture.

        Returns
        -------
        tuple of int
            Height and width; meaningless where `resize` is "none".

        Examples
        --------
        >>> Preprocessing((4, 4), "crop").scaled_size((10, 30))
        (4, 12)
        """
        height, width = self.scaled_px
        if self.resize == "squash":
            return height, width
        if self.resize == "crop" and height == width:
            # As torchvision: the longer side is rounded down.
            short = min(size)
            return (
                height if size[0] == short else int(height * size[0] / short),
                width if size[1] == short else int(width * size[1] / short),
            )
        # As timm: to the nearest pixel.
        ratios = (size[0] / height, size[1] / width)
        ratio = min(ratios) if self.resize == "crop" else max(ratios)
        return round(size[0] / ratio), round(size[1] / ratio)

    def normalise(self, images: Tensor) -> Tensor:
        """Turn pictures of the right size into the input of the first layer.

        Parameters
        ----------
        images : Tensor of uint8 or float32, shape (B, h, w, 3)
            RGB, 0..255.

        Returns
        -------
        Tensor of float32, shape (B, 3, h, w), channels-last memory
            Network input on the device of `images`.
        """
        rule = self.pixels
        x = images if rule.order == "rgb" else images.flip(-1)
        width = x.shape[2]
        # Whole rows, not three channels at a time, keep the processor busy; the bits
        # are the same.
        rows = x.flatten(2) - _by_row(rule.mean, width, x.device)
        if set(rule.std) != {1.0}:
            rows = rows.div_(_by_row(rule.std, width, x.device))
        return rows.reshape(x.shape).permute(0, 3, 1, 2)


def to_format(mean: Sequence[float], std: Sequence[float]) -> InputFormat:
    """Return the format of networks that take RGB values of 0..1.

    Parameters
    ----------
    mean, std : sequence of float
        Red, green and blue, for values of 0..1.

    Returns
    -------
    InputFormat
        The same for values of 0..255.

    Examples
    --------
    >>> to_format((0.5, 0.5, 0.5), (1, 1, 1)).mean
    (127.5, 127.5, 127.5)
    """
    red, green, blue = (255.0 * m for m in mean)
    scales = [255.0 * s for s in std]
    return InputFormat("rgb", (red, green, blue), (scales[0], scales[1], scales[2]))


def _by_row(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).repeat(width)


def _centre(
    picture: NDArray[np.uint8], size: tuple[int, int], fill: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Cut out the centre; fill up where the picture is smaller."""
    height, width = picture.shape[:2]
    if height < size[0] or width < size[1]:
        top, left = max(size[0] - height, 0) // 2, max(size[1] - width, 0) // 2
        canvas = np.empty((max(size[0], height), max(size[1], width), 3), np.uint8)
        canvas[:] = fill
        canvas[top : top + height, left : left + width] = picture
        picture = canvas
    top = round((picture.shape[0] - size[0]) / 2)
    left = round((picture.shape[1] - size[1]) / 2)
    return picture[top : top + size[0], left : left + size[1]]
