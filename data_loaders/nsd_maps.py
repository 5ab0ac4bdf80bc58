"""Small maps of numbers beside the betas: masks, labels, ceilings, warps."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt

_MAP_ERRORS = (
    *DECODER_ERRORS,
    zlib.error,
    MemoryError,  # a header that claims a huge array
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)


def read_map(path: str | Path) -> NDArray[Any]:
    """Read a small map of numbers: a volume, or the vertices of a hemisphere.

    Parameters
    ----------
    path : str or Path
        NIfTI (``.nii``, ``.nii.gz``) or FreeSurfer (``.mgh``, ``.mgz``).

    Returns
    -------
    ndarray, shape (X, Y, Z, ...) or (n_vertices,) or (n_vertices, n)
        The numbers as they are stored. Axes of length 1 after the first are left
        out for FreeSurfer files, and after the third for NIfTI.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is truncated or damaged.
    """
    return read_map_and_affine(path)[0]


def read_map_and_affine(path: str | Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read a map and the matrix from its voxels to millimetres.

    Parameters
    ----------
    path : str or Path
        As `read_map`.

    Returns
    -------
    values : ndarray
        As `read_map`.
    affine : ndarray of float64, shape (4, 4)
        From 0-based voxels; without meaning for vertices.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        As `read_map`.
    """
    path = check_path("path", path)
    try:
        image = _open(path)
        values = np.array(np.asarray(image.dataobj))
        affine = np.asarray(image.affine, np.float64)
    except _MAP_ERRORS as error:
        raise corrupt(path, "brain map", error) from error
    keep = 3 if path.name.endswith((".nii", ".nii.gz")) else 1
    spare = [a for a in range(keep, values.ndim) if values.shape[a] == 1]
    return np.squeeze(values, tuple(spare)), affine


def map_shape(path: str | Path) -> tuple[int, ...]:
    """Return the shape that `read_map` would give, from the header alone.

    Parameters
    ----------
    path : str or Path
        As `read_map`.

    Returns
    -------
    tuple of int
        Its shape.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        As `read_map`.
    """
    path = check_path("path", path)
    try:
        shape = tuple(int(n) for n in _open(path).shape)
    except _MAP_ERRORS as error:
        raise corrupt(path, "brain map", error) from error
    keep = 3 if path.name.endswith((".nii", ".nii.gz")) else 1
    return shape[:keep] + tuple(n for n in shape[keep:] if n != 1)


def _open(path: Path) -> Any:
    if path.suffix not in (".mgh", ".mgz"):
        return nib.load(path)
    # nibabel leaves the files of this format open.
    data = path.read_bytes()
    if path.suffix == ".mgz":
        data = gzip.decompress(data or b"\0")  # an empty file would pass as empty
    return nib.MGHImage.from_bytes(data)


def check_map_shape(
    path: Path, shape: tuple[int, ...], wanted: tuple[int, ...], what: str
) -> None:
    """Raise unless a map has the shape of the betas.

    Parameters
    ----------
    path : Path
        File of the map.
    shape : tuple of int
        Its shape.
    wanted : tuple of int
        Shape that it must have.
    what : str
        What has the wanted shape.

    Raises
    ------
    DataCorruptError
        If they differ; swapped axes are named.
    """
    if shape == wanted:
        return
    swapped = sorted(shape) == sorted(wanted) and len(shape) == 3
    hint = " Its axes are swapped: (X, Y, Z) are needed." if swapped else ""
    raise DataCorruptError(
        f"{path} has the grid {shape}, but {what} has {wanted}.{hint} Is it of another "
        "subject or space? Get it again from its source."
    )
