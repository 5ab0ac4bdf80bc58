"""The pictures of the Natural Scenes Dataset, read one by one from their file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurovis.core.checks import check_path
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, corrupt

PICTURES_FILE = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
DATASET = "imgBrick"


class NSDPictures(Sequence[NDArray[np.uint8]]):
    """Pictures of ``nsd_stimuli.hdf5``, by their number.

    The file is opened by the first picture that is asked for, in each process anew,
    so that pictures can be handed to worker processes.

    Parameters
    ----------
    path : str or Path
        The file, or the root of the data set.
    nsd_id : array_like of int, optional
        0-based number (of 73,000) of each picture; default all in their order.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file holds no pictures, or ends before one of them.
    ValueError
        If a number is negative.
    """

    def __init__(self, path: str | Path, nsd_id: ArrayLike | None = None) -> None:
        path = Path(path)
        found = check_path(
            "nsd_stimuli.hdf5", path / PICTURES_FILE if path.is_dir() else path
        )
        # Opened later, perhaps from another working folder.
        self.path = found.absolute()
        self._file: Any = None
        self._process = 0
        self.n_stored = count_pictures(self.path)
        ids = np.arange(self.n_stored) if nsd_id is None else np.asarray(nsd_id)
        self.nsd_id: NDArray[np.int64] = ids.astype(np.int64).ravel()
        if len(self.nsd_id) and self.nsd_id.min() < 0:
            raise ValueError(f"`nsd_id` must be 0 or more; got {self.nsd_id.min()}.")
        absent = np.unique(self.nsd_id[self.nsd_id >= self.n_stored])
        if len(absent):
            raise DataCorruptError(
                f"{self.path} has {self.n_stored} pictures, but {len(absent)} of those "
                f"wanted come later, the first with the 0-based number {absent[0]}. Is "
                "it of another data set? Get it again, or load without pictures."
            )

    def __len__(self) -> int:
        return len(self.nsd_id)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, index: slice) -> "NSDPictures": ...

    def __getitem__(self, index: int | slice) -> "NDArray[np.uint8] | NSDPictures":
        """Return one picture, uint8 of shape (H, W, 3), or a part of the pictures."""
        if isinstance(index, slice):
            return NSDPictures(self.path, self.nsd_id[index])
        number = int(self.nsd_id[index])
        try:
            return np.asarray(self._open()[DATASET][number], np.uint8)
        except (FileNotFoundError, PermissionError):
            raise
        except DECODER_ERRORS as error:
            raise corrupt(self.path, "HDF5", error) from error

    def __enter__(self) -> "NSDPictures":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # An open file cannot be sent to another process.
        return self.__dict__ | {"_file": None, "_process": 0}

    def close(self) -> None:
        """Close the file; the next picture opens it again."""
        # A file of the parent process is not ours to close.
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def _open(self) -> Any:
        if self._file is None or self._process != os.getpid():
            self._file = None  # let go of that of the parent process first
            self._file = h5py.File(self.path, "r")
            self._process = os.getpid()
        return self._file


def count_pictures(path: str | Path) -> int:
    """Return the number of pictures in ``nsd_stimuli.hdf5``.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    int
        73,000 in the published file.

    Raises
    ------
    DataCorruptError
        If it holds no pictures.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            brick = file[DATASET]
            shape, kind = brick.shape, brick.dtype
    except DECODER_ERRORS as error:
        raise corrupt(path, "HDF5", error) from error
    if len(shape) != 4 or shape[3] != 3 or kind != np.uint8:
        raise DataCorruptError(
            f"{path} must hold `{DATASET}` of shape (n, H, W, 3) and dtype uint8; it "
            f"has {shape} and {kind}."
        )
    return int(shape[0])
