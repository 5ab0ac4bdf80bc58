"""Pictures on disk: read as 8-bit RGB whatever they are, written without loss."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from neurovis.core.checks import check_between, check_image, check_option
from neurovis.core.files import DECODER_ERRORS, atomic_path, corrupt

MAX_PIXELS = 80_000_000
"""Largest picture that `read_image` decodes, in pixels (width times height)."""


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of the files that count as pictures in a folder."""


class LazyPictures(Sequence[NDArray[np.uint8]]):
    """Pictures that are drawn or read each time they are asked for.

    Nothing is kept, so that a large set costs no memory.

    Parameters
    ----------
    make : callable
        Makes one picture, uint8 of shape (H, W, 3), from one source.
    sources : sequence
        One source per picture: a row of a table, or the path of a file.

    Examples
    --------
    >>> def grey(level):
    ...     return np.full((2, 2, 3), level, np.uint8)
    >>> LazyPictures(grey, [0, 128, 255])[1][0, 0].tolist()
    [128, 128, 128]
    """

    def __init__(
        self, make: Callable[[Any], NDArray[np.uint8]], sources: Sequence[Any]
    ) -> None:
        self._make = make
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, index: slice) -> "LazyPictures": ...

    def __getitem__(self, index: int | slice) -> "NDArray[np.uint8] | LazyPictures":
        if isinstance(index, slice):
            return LazyPictures(self._make, self._sources[index])
        return self._make(self._sources[index])

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self._make(source) for source in self._sources)


def _decode(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.verify()  # PNG: every checksum, and the end chunk
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image)


def _beginning(data: bytes) -> str:
    """Say how a file begins that is no picture."""
    if not data:
        return "it is empty"
    if data.lstrip().startswith(b"<"):
        return "it begins as a web page does"
    return f"of no kind that is known; it begins with {data[:12]!r}"


def _to_rgb(image: Image.Image, background: int) -> Image.Image:
    if image.mode.startswith("I;16"):
        high_byte = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(high_byte).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        grey = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(grey, image)
    return image.convert("RGB")


def read_image(path: str | Path, *, background: int = 128) -> NDArray[np.uint8]:
    """Read a picture as 8-bit RGB, upright.

    Grey is replicated to three channels. Of 16-bit samples the high byte is
    taken. Palettes are looked up. CMYK is inverted without a colour profile, and
    colour profiles are not applied. Transparent parts show `background`. The
    EXIF orientation is applied. Of an animation the first frame is read.

    Parameters
    ----------
    path : str or Path
        Any format that Pillow reads.
    background : int, default 128
        Grey level behind transparent parts, 0..255.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The picture.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is truncated or not a picture.
    ValueError
        If it has more than `MAX_PIXELS` pixels, or samples without a fixed
        range (32-bit integer or floating point).
    """
    check_between("background", background, low=0, high=255)
    return decode_image(Path(path).read_bytes(), path, background=background)


def decode_image(
    data: bytes, path: str | Path, *, background: int = 128
) -> NDArray[np.uint8]:
    """Decode a picture that was read already, as `read_image` does.

    Parameters
    ----------
    data : bytes
        All bytes of the file.
    path : str or Path
        Where they come from, for messages.
    background : int, default 128
        Grey level behind transparent parts, 0..255.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        The picture.

    Raises
    ------
    DataCorruptError, ValueError
        As `read_image`.
    """
    path = Path(path)
    try:
        image = _decode(data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{path} has more than {MAX_PIXELS} pixels and may be a decompression "
            "bomb. Make a smaller copy of it first."
        ) from error
    except UnidentifiedImageError as error:
        raise corrupt(path, "picture", ValueError(_beginning(data))) from error
    except DECODER_ERRORS as error:
        raise corrupt(path, "picture", error) from error
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{path} has samples of mode {image.mode!r}, whose range is not fixed. "
            "Save it with 8 or 16 bits per channel."
        )
    return np.array(_to_rgb(image, background), np.uint8)


def write_png(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write a picture as PNG, atomically and without loss.

    Parameters
    ----------
    path : str or Path
        File to write or replace; the suffix must be ``.png``.
    image : ndarray of uint8, shape (H, W, 3)
        The picture.

    Raises
    ------
    TypeError, ValueError
        If `image` is not a picture or the suffix is another one.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "grey.png"
    >>> write_png(path, np.full((2, 3, 3), 128, np.uint8))
    >>> read_image(path).shape
    (2, 3, 3)
    """
    path = Path(path)
    check_option("suffix of the picture file", path.suffix, (".png",))
    check_image("image", image)
    with atomic_path(path) as part:
        Image.fromarray(image).save(part, format="PNG")
