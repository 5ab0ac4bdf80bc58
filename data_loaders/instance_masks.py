"""A folder of pictures with instance masks: which object each pixel shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file, sha256_json
from neurovis.core.pictures import SUFFIXES, LazyPictures, read_image

_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True, eq=False)
class InstancePictures:
    """Pictures with the object of every pixel.

    Parameters
    ----------
    table : DataFrame
        One row per picture, sorted by name: `stimulus_id`.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Read when asked for; sizes may differ.
    masks : tuple of Path
        Label images, in the same order; see `read_instance_mask`.
    fingerprint : str
        Hash of all files.
    """

    table: pd.DataFrame
    pictures: Sequence[NDArray[np.uint8]]
    masks: tuple[Path, ...]
    fingerprint: str


def open_instance_masks(folder: str | Path) -> InstancePictures:
    """Find pictures and their masks.

    Parameters
    ----------
    folder : str or Path
        Holds ``images`` with pictures and ``masks`` with a PNG of the same name (but
        for the ending) for each.

    Returns
    -------
    InstancePictures
        All pictures.

    Raises
    ------
    FileNotFoundError
        If a folder or mask is missing, or there is no picture.
    ValueError
        If two pictures have one name.

    Examples
    --------
    >>> import tempfile
    >>> from neurovis.core.pictures import write_png
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("images", "masks"):
    ...     (root / name).mkdir()
    >>> write_png(root / "images" / "a.png", np.zeros((2, 2, 3), np.uint8))
    >>> Image.fromarray(np.eye(2, dtype=np.uint8)).save(root / "masks" / "a.png")
    >>> found = open_instance_masks(root)
    >>> read_instance_mask(found.masks[0]).tolist()
    [[1, 0], [0, 1]]
    """
    root = check_path("folder", folder, kind="folder").absolute()
    for name in ("images", "masks"):
        check_path(f"{name} of the folder", root / name, kind="folder")
    paths = sorted(
        p for p in (root / "images").iterdir() if p.suffix.lower() in SUFFIXES
    )
    if not paths:
        raise FileNotFoundError(
            f"{root / 'images'} holds no picture: files ending in "
            f"{', '.join(SUFFIXES)} are looked for."
        )
    names = [path.stem for path in paths]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"{root / 'images'} has two pictures of the name {twice[0]!r}."
        )
    masks = tuple(root / "masks" / f"{name}.png" for name in names)
    for path in masks:
        check_path("mask", path)
    files = [[path.name, sha256_file(path)] for path in (*paths, *masks)]
    return InstancePictures(
        pd.DataFrame({"stimulus_id": names}),
        LazyPictures(read_image, paths),
        masks,
        sha256_json(files),
    )


def read_instance_mask(path: str | Path) -> NDArray[np.int64]:
    """Read a label image.

    Parameters
    ----------
    path : str or Path
        PNG with one channel of 1, 8 or 16 bits, or with a palette (its indices count).

    Returns
    -------
    ndarray of int64, shape (H, W)
        Objects; 0 for the ground.

    Raises
    ------
    FileNotFoundError
        If it is missing.
    DataCorruptError
        If it is no picture, or has colours.
    """
    check_path("mask", path)
    try:
        with Image.open(path) as image:
            mode, levels = image.mode, np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataCorruptError(f"{path} cannot be read as a picture: {error}") from None
    if mode not in _MODES:
        raise DataCorruptError(
            f"{path} must have one number per pixel (grey or palette); it has {mode}."
        )
    return levels.astype(np.int64)
