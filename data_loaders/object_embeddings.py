"""Embeddings and similarity matrices of objects in files: one row per object."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_loaders.source_files import content_of, read_arrays
from neurovis.core.checks import check_option, check_path
from neurovis.core.files import DECODER_ERRORS, corrupt

SUFFIXES = (".npy", ".npz", ".csv", ".txt")
"""Of files that can be read."""


def read_object_rows(path: str | Path) -> NDArray[np.float64]:
    r"""Read numbers with one row per object, in the order of the indices.

    Parameters
    ----------
    path : str or Path
        ``.npy``; ``.npz`` with one array; ``.csv`` (numbers apart by commas) or
        ``.txt`` (by spaces), without a header.

    Returns
    -------
    ndarray of float64, shape (n_objects, n_columns)
        All finite, at least three rows.

    Raises
    ------
    ValueError
        If the suffix is another one.
    FileNotFoundError
        If nothing is there.
    DataCorruptError
        If the file is damaged or holds something else.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "embedding.csv"
    >>> _ = path.write_text("0.5,0\n0,1\n2,1e-1\n")
    >>> read_object_rows(path).tolist()
    [[0.5, 0.0], [0.0, 1.0], [2.0, 0.1]]
    """
    path = check_path("path", path)
    check_option("suffix of the embedding", path.suffix, SUFFIXES)
    if path.suffix in (".npy", ".npz"):
        name = "embedding" if path.suffix == ".npy" else _only_member(path)
        rows = read_arrays(path, [name])[name]
    else:
        rows = _read_text(path)
    with content_of(path):
        if rows.ndim != 2 or len(rows) < 3 or not rows.shape[1]:
            raise ValueError(
                "One row per object is needed, of three objects or more; it has shape "
                f"{rows.shape}."
            )
        if not np.isfinite(rows).all():
            raise ValueError("It has numbers that are not finite.")
    return np.asarray(rows, np.float64)


def _only_member(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as members:
            names = members.namelist()
        if len(names) != 1:
            raise ValueError(f"it must hold one array; it has {names}")
    except (*DECODER_ERRORS, zipfile.BadZipFile) as error:
        raise corrupt(path, "NumPy", error) from error
    return names[0].removesuffix(".npy")


def _read_text(path: Path) -> NDArray[np.float64]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if not text.strip():
            raise ValueError("it is empty")
        apart = "," if path.suffix == ".csv" else None
        return np.loadtxt(
            io.StringIO(text), np.float64, delimiter=apart, comments=None, ndmin=2
        )
    except DECODER_ERRORS as error:
        raise corrupt(path, "number", error) from error
