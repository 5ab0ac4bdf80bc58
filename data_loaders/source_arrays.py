"""Arrays of numbers and of names with a stated shape, and the pictures they belong to.

What differs from the published description is refused with one `DataCorruptError`
that names the file: rows of another length would be responses to other pictures.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_loaders.source_files import ZipPictures, content_of, read_arrays
from neurovis.core.checks import check_array, check_path
from neurovis.core.files import DECODER_ERRORS, corrupt

_ERRORS = (*DECODER_ERRORS, zipfile.BadZipFile, NotImplementedError, MemoryError)


def read_floats(
    path: str | Path,
    shapes: Mapping[str, tuple[int | None, ...]],
    *,
    finite: bool = True,
) -> dict[str, NDArray[Any]]:
    """Read arrays of floating-point numbers from an ``.npz`` file.

    Parameters
    ----------
    path : str or Path
        File to read; objects in it are refused.
    shapes : mapping of str to tuple of (int or None)
        Expected shape of each array; None matches any length.
    finite : bool, default True
        Refuse NaN; infinities are refused in any case.

    Returns
    -------
    dict of str to ndarray
        One entry per name, in the precision of the file.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is damaged, lacks an array, or an array has another shape, is not
        of floating-point numbers, or holds NaN or infinities.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data.npz"
    >>> np.savez(path, betas=np.ones((2, 3)))
    >>> read_floats(path, {"betas": (2, None)})["betas"].shape
    (2, 3)
    """
    path = Path(path)
    arrays = read_arrays(path, list(shapes))
    with content_of(path):
        for name, array in arrays.items():
            if array.dtype.kind != "f":
                raise ValueError(
                    f"`{name}` must hold floating-point numbers; it holds "
                    f"{array.dtype}."
                )
            check_array(name, array, shape=shapes[name], finite=finite)
            if np.isinf(array).any():
                raise ValueError(f"`{name}` has infinite values.")
    return arrays


def read_texts(path: str | Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Read lists of text from an ``.npz`` file.

    Parameters
    ----------
    path : str or Path
        File to read; objects in it are refused.
    names : sequence of str
        Arrays of one dimension that hold text.

    Returns
    -------
    dict of str to list of str
        One entry per name.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is damaged, lacks an array, or an array is no list of distinct
        texts.
    """
    path = check_path("path", path)
    texts = {}
    try:
        with zipfile.ZipFile(path) as members:
            for name in names:
                # Whole, so that the checksum of the member is compared.
                data = io.BytesIO(members.read(f"{name}.npy"))
                texts[name] = np.lib.format.read_array(data)
    except _ERRORS as error:
        raise corrupt(path, "NumPy", error) from error
    with content_of(path):
        for name, array in texts.items():
            if array.ndim != 1 or array.dtype.kind != "U":
                raise ValueError(
                    f"`{name}` must be a list of text; it has dtype {array.dtype} and "
                    f"shape {array.shape}."
                )
            if len(set(array)) != len(array) or "" in array:
                raise ValueError(f"`{name}` must hold distinct names; they repeat.")
    return {name: [str(text) for text in array] for name, array in texts.items()}


def open_all_pictures(path: str | Path, members: Sequence[str]) -> ZipPictures:
    """Open a zip file that must hold these pictures and no others.

    Parameters
    ----------
    path : str or Path
        The zip file.
    members : sequence of str
        Names inside it, in the order of the stimuli.

    Returns
    -------
    ZipPictures
        Decoded when asked for.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is no whole zip file, lacks a picture, or holds others too.
    """
    path = check_path("path", path)
    pictures = ZipPictures(path, tuple(members))
    with zipfile.ZipFile(path) as archive:
        inside = {name for name in archive.namelist() if not name.endswith("/")}
    with content_of(path):
        more = inside - set(members)
        if more:
            raise ValueError(
                f"{len(more)} of its files, such as {min(more)}, belong to no stimulus."
            )
    return pictures


def check_all_pictures(path: str | Path, size_px: tuple[int, int]) -> None:
    """Raise unless all files of a zip file are whole pictures of one size.

    Checksums and headers are compared; pixels are not decoded.

    Parameters
    ----------
    path : str or Path
        The zip file.
    size_px : tuple of int
        Width and height that every picture must have.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If a picture is damaged or of another size.
    """
    path = check_path("path", path)
    name = ""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                if name.endswith("/"):
                    continue
                with Image.open(io.BytesIO(data)) as image:
                    if image.size != size_px:
                        raise ValueError(f"{image.size} instead of {size_px} px")
    except _ERRORS as error:
        raise corrupt(path / name, "picture", error) from error
