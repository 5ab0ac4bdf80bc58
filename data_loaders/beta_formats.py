"""Headers of files of responses: shape, kind of numbers, and how they lie there."""

import gzip
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from data_loaders.beta_chunks import HdfLayout
from data_loaders.beta_layouts import (
    READ_ERRORS,
    FlatLayout,
    GzipLayout,
    check_gzip_end,
)
from neurovis.core.checks import check_option
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import corrupt

DATASET = "betas"
_DEEPEST = 8
Layout = FlatLayout | GzipLayout | HdfLayout
_MGH_OFFSET = 284
_MGH_KINDS = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}
_HEADER_ERRORS = (*READ_ERRORS, ImageFileError, HeaderDataError)


@dataclass(frozen=True)
class BetaHeader:
    """What the header of a file of responses tells.

    Parameters
    ----------
    path : Path
        The file.
    dtype : dtype
        Kind of the stored numbers.
    shape : tuple of int
        As the format tells it.
    trial_axis : int
        Which axis of `shape` are trials.
    spatial : tuple of int
        Which axes are X, Y and Z, or the one of vertices.
    make_layout : callable
        Tells how the numbers lie in the file; checks its size.
    affine : ndarray of float64, shape (4, 4), optional
        From 0-based voxels to millimetres.
    slope, intercept : float
        Stored numbers are multiplied and increased by these.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    trial_axis: int
    spatial: tuple[int, ...]
    make_layout: Callable[[], Layout]
    affine: NDArray[np.float64] | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def grid(self) -> tuple[int, ...]:
        """(X, Y, Z) voxels, or (n_vertices,)."""
        sides = tuple(self.shape[axis] for axis in self.spatial)
        return sides[:1] if sides[1:] == (1, 1) else sides


def _header(
    path: Path,
    dtype: np.dtype[Any],
    shape: Sequence[int],
    axes: str,
    make_layout: Callable[[], Layout],
    **more: Any,
) -> BetaHeader:
    """Check what every format has in common; `axes` names them, such as "tzyx"."""
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        kinds = {"c": "complex numbers", "O": "objects", "V": "records or complex ones"}
        raise DataCorruptError(
            f"{path} must hold real numbers of up to 64 bits; it holds "
            f"{kinds.get(dtype.kind, 'other values')} ({dtype}). Save the real "
            "responses as int16 or float32."
        )
    sizes = tuple(int(n) for n in shape)
    if min(sizes) < 1:
        raise DataCorruptError(
            f"{path} holds an empty array, of shape {sizes}. Make or download it again."
        )
    spatial = tuple(axes.index(a) for a in ("xyz" if "x" in axes else "v"))
    return BetaHeader(path, dtype, sizes, axes.index("t"), spatial, make_layout, **more)


def _check_size(path: Path, layout: FlatLayout, *, is_last: bool = False) -> FlatLayout:
    """Compare the size of a file with its header; `is_last`: nothing may follow."""
    n_bytes = path.stat().st_size
    if n_bytes < layout.n_bytes:
        raise DataCorruptError(
            f"{path} has {n_bytes} bytes, but its header tells of {layout.n_bytes}. It "
            "is truncated: delete it, then make or download it again."
        )
    if is_last and n_bytes > layout.n_bytes:
        raise DataCorruptError(
            f"{path} has {n_bytes} bytes, but its header tells of {layout.n_bytes}. It "
            "is damaged or of another array: make or download it again."
        )
    return layout


# ------------------------------------------------------------------------ HDF5


def _hdf_header(path: Path, dataset: str | None) -> BetaHeader:
    with path.open("rb") as start:
        is_old = start.read(10) == b"MATLAB 5.0"
    if is_old:
        raise DataCorruptError(
            f"{path} is a MATLAB file of an older version, not HDF5. Save it in MATLAB "
            "with the option '-v7.3'."
        )
    try:
        with h5py.File(path, "r") as file:
            name = dataset or DATASET
            is_there = isinstance(file.get(name), h5py.Dataset)
            there = [] if is_there else _dataset_names(file)
            if dataset is None and len(there) == 1:
                name, is_there = there[0], True
            if is_there:
                return _dataset_header(path, name, file[name])
    except DataCorruptError:
        raise
    except READ_ERRORS as error:
        raise corrupt(path, "HDF5", error) from error
    raise ValueError(f"`dataset` must be one of {there} in {path}; got {name!r}.")


def _dataset_names(group: Any, before: str = "") -> list[str]:
    # Not `visititems`, which reads the index of all chunks.
    names = []
    for name in group:
        kind = group.get(name, None, getclass=True)
        if kind is h5py.Dataset:
            names.append(before + name)
        # MATLAB keeps what cells refer to under "#refs#". A group may hold itself.
        elif kind is h5py.Group and name[0] != "#" and before.count("/") < _DEEPEST:
            names += _dataset_names(group[name], f"{before}{name}/")
    return names


def _dataset_header(path: Path, name: str, data: Any) -> BetaHeader:
    offset, dtype = data.id.get_offset(), data.dtype
    shape: tuple[int, ...] = data.shape or ()
    if len(shape) not in (2, 4):
        raise DataCorruptError(
            f"{path} must hold (trials, Z, Y, X) or (trials, vertices) in {name!r}; "
            f"it has the shape {shape}. Write it again so."
        )
    is_filtered = data.id.get_create_plist().get_nfilters() > 0
    chunks = data.chunks or shape

    def make_layout() -> Layout:
        if offset is None:
            return HdfLayout(name, dtype, shape, chunks, is_filtered)
        n_places = math.prod(shape[1:])
        return _check_size(path, FlatLayout(dtype, shape[0], n_places, offset))

    return _header(path, dtype, shape, "tzyx" if data.ndim == 4 else "tv", make_layout)


# -------------------------------------------------------- NIfTI and FreeSurfer


def _nifti_header(path: Path, dataset: str | None) -> BetaHeader:
    try:
        image: Any = nib.load(path)
        dtype = image.header.get_data_dtype()
        shape = [int(n) for n in image.shape]
        offset = int(image.dataobj.offset)
        # Not those of `image.header`, which nibabel resets.
        slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
        affine = np.asarray(image.affine, np.float64)
    except _HEADER_ERRORS as error:
        raise corrupt(path, "NIfTI", error) from error
    if len(shape) == 5 and shape[3] == 1:  # some programs keep time apart
        shape = [*shape[:3], shape[4]]
    return _volume_header(
        path,
        dtype,
        shape,
        offset,
        affine=affine,
        slope=slope,
        intercept=intercept,
    )


def _mgh_header(path: Path, dataset: str | None) -> BetaHeader:
    # nibabel would unpack a whole .mgz, because more of its header is at the end.
    try:
        with gzip.open(path) if path.suffix.lower() == ".mgz" else path.open("rb") as f:
            version, *shape, kind = struct.unpack(">6i", f.read(24))
        if version != 1 or min(shape) < 0 or kind not in _MGH_KINDS:
            raise ValueError(f"version {version}, shape {shape}, kind {kind}")
    except READ_ERRORS as error:
        raise corrupt(path, "FreeSurfer MGH", error) from error
    return _volume_header(path, np.dtype(_MGH_KINDS[kind]), shape, _MGH_OFFSET)


def _volume_header(
    path: Path, dtype: np.dtype[Any], shape: list[int], offset: int, **more: Any
) -> BetaHeader:
    if len(shape) != 4:
        raise DataCorruptError(
            f"{path} must hold (X, Y, Z, trials); it has the shape {tuple(shape)}. "
            "Join the trials along a fourth axis."
        )

    def make_layout() -> Layout:
        flat = FlatLayout(dtype, shape[3], math.prod(shape[:3]), offset)
        if path.suffix.lower() in (".gz", ".mgz"):
            check_gzip_end(path, flat.n_bytes)
            return GzipLayout(flat)
        return _check_size(path, flat)

    return _header(path, dtype, shape, "xyzt", make_layout, **more)


# ----------------------------------------------------------------------- NumPy


def _npy_header(path: Path, dataset: str | None) -> BetaHeader:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            check_option("version of the file", version, ((1, 0), (2, 0)))
            if version == (1, 0):
                found = np.lib.format.read_array_header_1_0(file)
            else:
                found = np.lib.format.read_array_header_2_0(file)
            offset = file.tell()
    except READ_ERRORS as error:
        raise corrupt(path, "NumPy", error) from error
    shape, is_fortran, dtype = found
    if len(shape) not in (2, 4):
        raise DataCorruptError(
            f"{path} must hold (trials, units) or (X, Y, Z, trials); it has the shape "
            f"{shape}. Write it again so."
        )
    is_volume = len(shape) == 4
    n_trials = shape[3] if is_volume else shape[0]
    by_trial = is_fortran == is_volume
    layout = FlatLayout(
        dtype,
        n_trials,
        math.prod(shape) // max(1, n_trials),
        offset,
        by_trial,
        shape[:3] if is_volume and not by_trial else None,
    )
    axes = "xyzt" if is_volume else "tv"

    def make_layout() -> Layout:
        return _check_size(path, layout, is_last=True)

    return _header(path, dtype, shape, axes, make_layout)


_FORMATS = {
    ".hdf5": _hdf_header,
    ".h5": _hdf_header,
    ".mat": _hdf_header,
    ".nii": _nifti_header,
    ".nii.gz": _nifti_header,
    ".mgh": _mgh_header,
    ".mgz": _mgh_header,
    ".npy": _npy_header,
}


def read_beta_header(path: Path, dataset: str | None = None) -> BetaHeader:
    """Read the header of a file of responses.

    Parameters
    ----------
    path : Path
        The file; its suffix tells the format.
    dataset : str, optional
        Which dataset of an HDF5 file.

    Returns
    -------
    BetaHeader
        What it tells.

    Raises
    ------
    DataCorruptError
        If the header is damaged, or tells of anything but real numbers.
    ValueError
        If the suffix or `dataset` is unknown.
    """
    suffixes = [s.lower() for s in path.suffixes[-2:]]
    suffix = "".join(suffixes if suffixes[-1:] == [".gz"] else suffixes[-1:])
    check_option(f"suffix of {path.name}", suffix, tuple(_FORMATS))
    read = _FORMATS[suffix]
    if dataset is not None and read is not _hdf_header:
        raise ValueError(f"`dataset` is for HDF5 files only; {path.name} is none.")
    return read(path, dataset)
