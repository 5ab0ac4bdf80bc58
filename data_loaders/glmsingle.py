"""Single-trial responses as GLMsingle and MATLAB save them.

GLMsingle writes one file per model, the best being ``TYPED_FITHRF_GLMDENOISE_RR``. In
Python this is a pickled dictionary (``.npy``) or HDF5 with `betasmd`, in MATLAB a
``.mat`` file with `modelmd`; both have the shape (X, Y, Z, trials), or (units, 1, 1,
trials) when the data were units x time.

Prince et al. 2022, eLife 11, e77599, doi:10.7554/eLife.77599.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import NDArray

from data_loaders.beta_files import BetaFile, open_beta_file
from data_loaders.beta_layouts import (
    BUFFER_BYTES,
    READ_ERRORS,
    FlatLayout,
    Piece,
    turn_lines,
)
from data_loaders.pickled_npy import file_offset, read_pickled_npy
from neurovis.core.checks import check_option, check_path, suggest
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import corrupt

PYTHON_BETAS = "betasmd"
"""Name of the responses in files of GLMsingle in Python."""
MATLAB_BETAS = "modelmd"
"""Name of the responses in files of GLMsingle in MATLAB."""

_MAT_ERRORS = (
    *READ_ERRORS,
    zlib.error,
    NotImplementedError,  # an unknown version of the format
    scipy.io.matlab.MatReadError,
)
_MAT_KINDS: dict[str, np.dtype[Any]] = {
    "double": np.dtype(np.float64),
    "single": np.dtype(np.float32),
    **{
        f"{u}int{n}": np.dtype(f"{u}int{n}") for u in ("", "u") for n in (8, 16, 32, 64)
    },
}


def open_trials(
    path: str | Path,
    *,
    dataset: str | None = None,
    trials_axis: str | None = None,
    scale: float = 1.0,
) -> BetaFile:
    """Open a file of trials of any format and layout that labs use.

    Parameters
    ----------
    path : str or Path
        What `data_loaders.beta_files.open_beta_file` opens, an output of GLMsingle, or
        a MATLAB file of version 7 (which is unpacked as a whole, 2 GiB at most, while
        it is read).
    dataset : str, optional
        Name of the responses in HDF5, MATLAB or pickled files; default `betasmd`,
        `modelmd`, "betas", or the only one.
    trials_axis : {"first", "last"}, optional
        Where trials are in the stored array. By default last in volumes, MATLAB files
        and outputs of GLMsingle, and first in ``.npy`` of (trials, units) and in HDF5,
        where a volume is (trials, Z, Y, X) as MATLAB's (X, Y, Z, trials) appears. With
        "last" an HDF5 volume is (X, Y, Z, trials).
    scale : float, default 1.0
        What stored numbers are divided by; 300 for integers of the Natural Scenes
        Dataset.

    Returns
    -------
    BetaFile
        To read units from.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If an option is unknown or does not fit the file.
    DataCorruptError
        If the file is damaged, or holds anything but responses.
    """
    path = check_path("betas", path)
    if trials_axis is not None:
        check_option("trials_axis", trials_axis, ("first", "last"))
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _open_npy(path, dataset, trials_axis, scale)
    if suffix == ".mat" and _is_old_mat(path):
        return _open_old_mat(path, dataset, trials_axis, scale)
    if suffix in (".h5", ".hdf5", ".mat"):
        return _open_hdf(path, dataset, trials_axis, scale)
    if trials_axis == "first":
        raise ValueError(
            f"`trials_axis` cannot be 'first' in {path.name}: its last axis are trials."
        )
    return open_beta_file(path, dataset=dataset, scale=scale)


def read_design(path: str | Path) -> pd.DataFrame:
    """Read the order of conditions that GLMsingle saved.

    Parameters
    ----------
    path : str or Path
        ``DESIGNINFO.npy`` of GLMsingle in Python.

    Returns
    -------
    DataFrame
        One row per trial: `stimulus_id` ("condition-0" for the first column of the
        design), `run` (1-based), and `session` (1-based) if GLMsingle was told.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is damaged or no design.
    """
    design = read_pickled_npy(path)
    if not isinstance(design, dict) or not {"stimorder", "numtrialrun"} <= set(design):
        raise DataCorruptError(
            f"{path} must be the DESIGNINFO.npy of GLMsingle, with `stimorder` and "
            "`numtrialrun`. Events as a table can be .tsv, .csv or .parquet."
        )
    order = np.asarray(design["stimorder"]).ravel()
    per_run = np.asarray(design["numtrialrun"]).ravel()
    whole = order.dtype.kind in "iu" and per_run.dtype.kind in "iu"
    if not whole or per_run.sum() != len(order) or (order < 0).any():
        raise DataCorruptError(
            f"{path} tells {len(order)} trials in `stimorder`, but `numtrialrun` adds "
            "up to another number."
        )
    runs = np.repeat(np.arange(len(per_run)), per_run)
    table = pd.DataFrame(
        {"stimulus_id": [f"condition-{c}" for c in order], "run": runs + 1}
    )
    params = design.get("params")
    told = params.get("sessionindicator") if isinstance(params, dict) else None
    sessions = np.ravel(told) if told is not None else np.empty(0)
    if len(sessions) == len(per_run):
        table["session"] = sessions[runs].astype(np.int64)
    return table


# ------------------------------------------------------------------------ NumPy


def _open_npy(
    path: Path, dataset: str | None, trials_axis: str | None, scale: float
) -> BetaFile:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            check_option("version", version, ((1, 0), (2, 0)))
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, is_fortran, dtype = read(file)
            offset = file.tell()
    except READ_ERRORS as error:
        raise corrupt(path, "NumPy", error) from error
    if dtype.hasobject:
        return _open_pickled(path, dataset, trials_axis, scale)
    if len(shape) == 4 and trials_axis == "first":
        raise ValueError(
            f"`trials_axis` cannot be 'first' in {path.name}: a volume must be "
            f"(X, Y, Z, trials); got {shape}. Save np.moveaxis(array, 0, -1)."
        )
    if len(shape) == 2 and trials_axis == "last":
        layout = FlatLayout(dtype, shape[1], shape[0], offset, by_trial=is_fortran)
        return _last(path, dtype, shape, layout, scale)
    return open_beta_file(path, dataset=dataset, scale=scale)


def _open_pickled(
    path: Path, dataset: str | None, trials_axis: str | None, scale: float
) -> BetaFile:
    _must_be_last(path, trials_axis)
    saved = read_pickled_npy(path)
    if not isinstance(saved, dict):
        raise DataCorruptError(
            f"{path} must hold an array of responses, or the dictionary that GLMsingle "
            f"saves; it holds a {type(saved).__name__}."
        )
    arrays = [k for k, v in saved.items() if isinstance(v, np.ndarray) and v.ndim > 1]
    name = _choose(path, dataset, arrays, (PYTHON_BETAS, "betas"))
    array = saved[name]
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    offset = file_offset(array)
    layout: Any
    if offset is None:
        layout = _MemoryLayout(array)
    else:
        layout = _flat_last(array.dtype, array.shape, offset, is_fortran)
    return _last(path, array.dtype, array.shape, layout, scale)


def _flat_last(
    dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, is_fortran: bool = False
) -> FlatLayout:
    """Tell how an array (..., trials) lies in a file, rows first or columns first."""
    n_places = math.prod(shape[:-1])
    grid = shape[:-1] if len(shape) == 4 and not is_fortran else None
    return FlatLayout(dtype, shape[-1], n_places, offset, is_fortran, grid)


def _last(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], layout: Any, scale: float
) -> BetaFile:
    """Make the BetaFile of an array whose last axis are trials."""
    if len(shape) not in (2, 4) or dtype.kind not in "iuf" or min(shape) < 1:
        raise DataCorruptError(
            f"{path} must hold real numbers, (X, Y, Z, trials) or (units, trials); it "
            f"holds {dtype} of shape {shape}."
        )
    grid = shape[:1] if shape[1:-1] == (1, 1) else shape[:-1]
    return BetaFile(path, shape[-1], grid, scale, layout)


def _must_be_last(path: Path, trials_axis: str | None) -> None:
    if trials_axis == "first":
        raise ValueError(
            f"`trials_axis` cannot be 'first' in {path.name}: GLMsingle has them last."
        )


def _choose(
    path: Path, dataset: str | None, there: list[str], defaults: tuple[str, ...]
) -> str:
    found = [dataset] if dataset is not None else [d for d in defaults if d in there]
    found = found or (there if len(there) == 1 else [])
    if not found or found[0] not in there:
        hint = suggest(dataset or defaults[0], there)
        raise ValueError(
            f"`dataset` must name the responses in {path.name}, one of {there}; got "
            f"{dataset!r}.{hint}"
        )
    return found[0]


@dataclass(frozen=True, eq=False)
class _MemoryLayout:
    """A small array (..., trials) that was read already."""

    array: NDArray[Any]
    is_sequential = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def pieces(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        flat = self.array.reshape(-1, self.array.shape[-1], order="F")
        raw = flat[places][:, rows]
        yield Piece(slice(0, len(places)), slice(0, len(rows)), raw)


# ------------------------------------------------------------------------- HDF5


def _open_hdf(
    path: Path, dataset: str | None, trials_axis: str | None, scale: float
) -> BetaFile:
    try:
        with h5py.File(path, "r") as file:
            found = {
                name: (tuple(node.shape or ()), node.dtype, node.id.get_offset())
                for name, node in file.items()
                if isinstance(node, h5py.Dataset)
            }
    except READ_ERRORS as error:
        raise corrupt(path, "HDF5", error) from error
    known = [n for n in (PYTHON_BETAS, MATLAB_BETAS) if n in found]
    name = dataset or (known[0] if known else None)
    if path.suffix.lower() == ".mat":
        is_last = trials_axis == "first"  # h5py shows the axes of MATLAB in reverse
    elif trials_axis is None:
        is_last = name == PYTHON_BETAS
    else:
        is_last = trials_axis == "last"
    if not is_last:
        return open_beta_file(path, dataset=name, scale=scale)
    name = _choose(path, name, list(found), ("betas",))
    shape, dtype, offset = found[name]
    layout: Any
    if offset is None:
        layout = _ChunkedLast(name, dtype, shape)
    else:
        layout = _flat_last(dtype, shape, offset)
        if path.stat().st_size < layout.n_bytes:
            raise DataCorruptError(
                f"{path} ends before its last trial. It is truncated: make or download "
                "it again."
            )
    return _last(path, dtype, shape, layout, scale)


@dataclass(frozen=True, eq=False)
class _ChunkedLast:
    """A chunked HDF5 dataset (X, Y, Z, trials) or (units, trials)."""

    dataset: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_sequential = False

    def pieces(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        grid, n_trials = self.shape[:-1], self.shape[-1]
        axes = np.unravel_index(places, grid, order="F")
        stored = np.ravel_multi_index(axes, grid)
        order = np.argsort(stored)
        # Slabs of the first two axes that fit the buffer; rows of them lie together.
        per_line = math.prod(grid[1:]) * n_trials * self.dtype.itemsize
        step = max(1, BUFFER_BYTES // per_line)
        first = stored[order] // math.prod(grid[1:])
        try:
            with h5py.File(path, "r") as file:
                data = file[self.dataset]
                for start in range(0, grid[0], step):
                    i, j = np.searchsorted(first, [start, start + step]).tolist()
                    if i == j:
                        continue
                    slab = data[start : start + step].reshape(-1, n_trials)
                    within = stored[order[i:j]] - start * math.prod(grid[1:])
                    raw = slab[within][:, rows]
                    yield Piece(order[i:j], slice(0, len(rows)), raw)
        except READ_ERRORS as error:
            raise corrupt(path, "HDF5", error) from error


# -------------------------------------------------------------- MATLAB, version 7


def _is_old_mat(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(10) == b"MATLAB 5.0"


def _open_old_mat(
    path: Path, dataset: str | None, trials_axis: str | None, scale: float
) -> BetaFile:
    try:
        listed = scipy.io.whosmat(path)
    except _MAT_ERRORS as error:
        raise corrupt(path, "MATLAB", error) from error
    found: dict[str, tuple[Any, str]] = {name: (s, kind) for name, s, kind in listed}
    there = [n for n, (s, kind) in found.items() if kind in _MAT_KINDS and s]
    name = _choose(path, dataset, there, (MATLAB_BETAS, PYTHON_BETAS, "betas"))
    shape = tuple(int(n) for n in found[name][0])
    dtype = _MAT_KINDS[found[name][1]]
    is_first = trials_axis == "first"
    if is_first and len(shape) != 2:
        _must_be_last(path, trials_axis)
    shape = shape[::-1] if is_first else shape
    return _last(path, dtype, shape, _OldMatLayout(name, dtype, is_first), scale)


def _read_variable(path: Path, name: str) -> NDArray[Any]:
    try:
        read = scipy.io.loadmat(path, variable_names=[name], mat_dtype=True)
        values = read[name]
    except _MAT_ERRORS as error:
        raise corrupt(path, "MATLAB", error) from error
    return np.asarray(values)


@dataclass(frozen=True, eq=False)
class _OldMatLayout:
    """A variable of a MATLAB file of version 7, which unpacks as a whole only.

    Its 2 GiB at most are held while it is read.
    """

    dataset: str
    dtype: np.dtype[Any]
    is_first: bool
    is_sequential = True

    def pieces(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        return turn_lines(self.lines(path, places, rows))

    def lines(
        self, path: Path, places: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[NDArray[Any]]:
        """Yield raw numbers as (trials, places)."""
        values = _read_variable(path, self.dataset)
        values = values.T if self.is_first else values
        flat = values.reshape(-1, values.shape[-1], order="F")
        step = max(1, BUFFER_BYTES // (len(places) * self.dtype.itemsize))
        for start in range(0, len(rows), step):
            some = flat[np.ix_(places, rows[start : start + step])].T
            yield np.ascontiguousarray(some)
