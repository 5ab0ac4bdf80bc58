"""One file of responses, trials x units: opened by its header, read where asked.

Formats: HDF5 (``.hdf5``, ``.h5``, MATLAB ``.mat`` of version 7.3), NIfTI (``.nii``,
``.nii.gz``), FreeSurfer (``.mgh``, ``.mgz``) and NumPy (``.npy``).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_loaders.beta_formats import BetaHeader, Layout, read_beta_header
from data_loaders.beta_layouts import FlatLayout
from neurovis.core.checks import check_between, check_path, check_whole
from neurovis.core.errors import DataCorruptError

INTEGER_SCALE = 300.0
"""Integers of the Natural Scenes Dataset are percent signal change times this."""

_NUMBERS_AT_ONCE = 2**17  # small enough for the cache


@dataclass(frozen=True, eq=False)
class BetaFile:
    """A file of responses whose header was checked; nothing else is read before `read`.

    Parameters
    ----------
    path : Path
        The file.
    n_trials : int
        Trials it holds.
    grid : tuple of int
        (X, Y, Z) voxels, or (n_vertices,).
    scale : float
        Stored numbers are divided by this, after they became float: 300 for integers
        (percent signal change times 300), 1 for floats and for what a NIfTI header
        scales itself.
    layout : FlatLayout, GzipLayout or HdfLayout
        How the numbers lie in the file.
    affine : ndarray of float64, shape (4, 4), optional
        From 0-based voxels to millimetres; of NIfTI files only.
    slope, intercept : float
        Of a NIfTI header; 1 and 0 where there is none.
    """

    path: Path
    n_trials: int
    grid: tuple[int, ...]
    scale: float
    layout: Layout
    affine: NDArray[np.float64] | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Kind of the stored numbers."""
        return self.layout.dtype

    @property
    def n_places(self) -> int:
        """Voxels or vertices of the whole grid."""
        return math.prod(self.grid)

    @property
    def is_sequential(self) -> bool:
        """Whether any few units cost as much as the whole file, as in ``.nii.gz``."""
        return self.layout.is_sequential

    @property
    def is_by_trial(self) -> bool:
        """Whether all units of a trial lie together, as in NIfTI and MGH."""
        by_trial = isinstance(self.layout, FlatLayout) and self.layout.by_trial
        return by_trial or self.is_sequential

    @property
    def limits(self) -> tuple[float, float] | None:
        """Least and largest response that the stored integers can hold.

        None for floats. What reached an end may have been cut there. The least of
        unsigned integers is minus infinity, because 0 is no sign of that.
        """
        if self.dtype.kind not in "iu":
            return None
        info = np.iinfo(self.dtype)
        ends = np.array([[info.min, info.max]], self.dtype.newbyteorder("="))
        low, high = np.sort(self._to_float(ends, np.empty((1, 2), np.float32))[0])
        return (-math.inf if info.min == 0 else float(low)), float(high)

    def read(self, places: ArrayLike) -> NDArray[np.float32]:
        """Read some units; only what is needed of the file.

        Parameters
        ----------
        places : array_like of int, shape (n_places,)
            0-based, ascending; of a volume x fastest: ``x + X * (y + Y * z)``.

        Returns
        -------
        ndarray of float32, shape (n_trials, n_places)
            Responses, in Fortran order.

        Raises
        ------
        ValueError
            If a place lies outside the grid or they do not ascend.
        DataCorruptError
            If the file is damaged.
        """
        wanted = check_places(places, self.n_places, self.path)
        out = np.empty((len(wanted), self.n_trials), np.float32)
        self.read_into(out, wanted)
        return out.T

    def read_into(
        self,
        out: NDArray[np.float32],
        places: NDArray[np.int64],
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Read some units and trials into an array.

        Parameters
        ----------
        out : ndarray of float32, shape (n_places, n_rows)
            Filled here.
        places : ndarray of int64, shape (n_places,)
            As `check_places` returns them.
        rows : ndarray of int64, shape (n_rows,), optional
            Trials, 0-based and ascending; all when left out.

        Raises
        ------
        DataCorruptError
            If the file is damaged.
        """
        if not out.size:
            return
        rows = np.arange(self.n_trials) if rows is None else rows
        # Doubles beyond the largest float32 become infinite, and count as undefined.
        with np.errstate(over="ignore", invalid="ignore"):
            for units, trials, raw in self.layout.pieces(self.path, places, rows):
                if isinstance(units, slice):
                    self._to_float(raw, out[units, trials])
                else:
                    numbers = np.empty(raw.shape, np.float32)
                    out[units, trials] = self._to_float(raw, numbers)

    def lines(self, places: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Yield the stored numbers of a sequential file, trial after trial.

        Parameters
        ----------
        places : ndarray of int64, shape (n_places,)
            As `check_places` returns them.

        Yields
        ------
        ndarray, shape (n_some, n_places)
            Numbers of the next trials, not scaled.

        Raises
        ------
        TypeError
            If the file is not sequential.
        DataCorruptError
            If the file is damaged.
        """
        if isinstance(self.layout, FlatLayout):
            raise TypeError(f"{self.path} need not be read trial by trial.")
        yield from self.layout.lines(self.path, places, np.arange(self.n_trials))

    def _to_float(
        self, raw: NDArray[Any], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        step = max(1, _NUMBERS_AT_ONCE // raw.shape[1])
        for start in range(0, len(raw), step):
            some = raw[start : start + step]
            if (self.slope, self.intercept) != (1.0, 0.0):
                some = some.astype(np.float64) * self.slope + self.intercept
            # In the order that `raw` has in memory; only then turned over.
            numbers = some.astype(np.float32)
            if self.scale != 1.0:
                numbers /= np.float32(self.scale)
            out[start : start + step] = numbers
        return out

    def count_saturated(self, betas: NDArray[np.float32]) -> NDArray[np.int64]:
        """Count the responses at an end of the stored integers.

        Parameters
        ----------
        betas : ndarray of float32, shape (n_trials, n_places)
            What `read` returned.

        Returns
        -------
        ndarray of int64, shape (n_places,)
            Responses that may have been cut; 0 for files of floats.
        """
        none = np.zeros(betas.shape[1], np.int64)
        if self.limits is None or not betas.size:
            return none
        low, high = np.array(self.limits, np.float32)
        if betas.min() > low and betas.max() < high:
            return none
        n_cut: NDArray[np.int64] = ((betas <= low) | (betas >= high)).sum(axis=0)
        return n_cut


def check_places(
    places: ArrayLike, n_places: int, path: Path | str
) -> NDArray[np.int64]:
    """Return flat places as ascending int64.

    Parameters
    ----------
    places : array_like of int, shape (n_wanted,)
        0-based.
    n_places : int
        Size of the grid.
    path : Path or str
        Whose grid it is, for the message.

    Returns
    -------
    ndarray of int64, shape (n_wanted,)
        The places.

    Raises
    ------
    TypeError, ValueError
        If they are no whole numbers, do not ascend, or lie outside.
    """
    wanted = np.asarray(places)
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise TypeError(
            "`places` must be a vector of whole numbers; got shape "
            f"{wanted.shape} of {wanted.dtype}. Turn a mask into places with "
            'np.flatnonzero(mask.ravel(order="F")).'
        )
    wanted = wanted.astype(np.int64)
    if (np.diff(wanted) <= 0).any():
        raise ValueError("`places` must ascend, none twice; sort them first.")
    if wanted.size and not 0 <= wanted[0] <= wanted[-1] < n_places:
        raise ValueError(
            f"`places` reach from {wanted[0]} to {wanted[-1]}, but {path} has the "
            f"places 0 to {n_places - 1}."
        )
    return wanted


# --------------------------------------------------------------------- opening


def open_beta_file(
    path: str | Path,
    *,
    dataset: str | None = None,
    grid: Sequence[int] | None = None,
    n_trials: int | None = None,
    scale: float | None = None,
) -> BetaFile:
    """Read the header of a file of responses and check it.

    Parameters
    ----------
    path : str or Path
        ``.hdf5``, ``.h5``, ``.mat`` (version 7.3): (trials, Z, Y, X) or (trials,
        vertices) in the order of h5py, which is the reverse of MATLAB's. ``.nii``,
        ``.nii.gz``, ``.mgh``, ``.mgz``: (X, Y, Z, trials), where (n, 1, 1, trials) is
        a surface. ``.npy``: (trials, units) or (X, Y, Z, trials).
    dataset : str, optional
        Which dataset of an HDF5 file; "betas", or the only one there.
    grid : sequence of int, optional
        What (X, Y, Z) or (n_vertices,) must be.
    n_trials : int, optional
        What the number of trials must be.
    scale : float, optional
        What stored numbers are divided by. By default 300 for integers, as in the
        Natural Scenes Dataset, and 1 for floats. A slope in a NIfTI header is applied
        instead of the default.

    Returns
    -------
    BetaFile
        To read units from.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is truncated or damaged, holds no real numbers, or its shape is
        another one.
    ValueError
        If the suffix or `dataset` is unknown.

    References
    ----------
    Formats: Allen et al. 2022, Nat Neurosci 25, 116-126,
    doi:10.1038/s41593-021-00962-x.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "betas.npy"
    >>> np.save(path, np.array([[300, 600], [0, -150]], np.int16))
    >>> betas = open_beta_file(path)
    >>> betas.n_trials, betas.grid, betas.scale
    (2, (2,), 300.0)
    >>> betas.read([1]).tolist()
    [[2.0], [-0.5]]
    """
    path = check_path("path", path)
    if scale is not None:
        check_between("scale", scale)
        if scale == 0:
            raise ValueError("`scale` must not be 0: numbers are divided by it.")
    wanted = None if grid is None else tuple(check_whole("grid", n) for n in grid)
    if wanted is not None and wanted[1:] == (1, 1):
        wanted = wanted[:1]
    header = read_beta_header(path, dataset)
    _check_shape(header, wanted, n_trials)
    dtype = header.dtype
    if scale is None:
        stated = (header.slope, header.intercept) != (1.0, 0.0)
        scale = INTEGER_SCALE if dtype.kind in "iu" and not stated else 1.0
    return BetaFile(
        path=path,
        n_trials=header.shape[header.trial_axis],
        grid=header.grid,
        scale=float(scale),
        layout=header.make_layout(),
        affine=header.affine,
        slope=header.slope,
        intercept=header.intercept,
    )


def _check_shape(
    header: BetaHeader, grid: tuple[int, ...] | None, n_trials: int | None
) -> None:
    """Compare the shape with what is expected, and look for swapped axes."""
    found = header.shape[header.trial_axis]
    right_grid = grid is None or grid == header.grid
    if right_grid and n_trials in (None, found):
        return
    shape, expected = list(header.shape), list(header.shape)
    if n_trials is not None:
        expected[header.trial_axis] = n_trials
    if grid is not None and len(grid) == len(header.spatial):
        for axis, side in zip(header.spatial, grid, strict=True):
            expected[axis] = side
    unit = "voxels" if len(header.grid) == 3 else "vertices"
    message = (
        f"{header.path} holds {found} trials of {header.grid} {unit}, but "
        f"{n_trials or found} trials of {grid or header.grid} were expected."
    )
    orders = itertools.permutations(range(len(shape)))
    fits = [o for o in orders if [shape[i] for i in o] == expected]
    if fits and shape != expected:
        raise DataCorruptError(
            f"{message} Its axes {tuple(shape)} are swapped: "
            f"np.transpose(array, {fits[0]}) would fit. Write the file again so."
        )
    raise DataCorruptError(
        f"{message} It is not the file of this subject, space or session, or it is "
        "incomplete: get the right one."
    )
