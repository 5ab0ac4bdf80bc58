"""Arrays in one file: by name, as safetensors; a single one, as npy."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from neurovis.core.files import atomic_path

_SYSTEM_CODE = re.compile(r"\(os error (\d+)\)")


def write_arrays(
    path: str | Path,
    arrays: Mapping[str, NDArray[Any]],
    entries: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays atomically, with the permissions of other new files.

    Unlike `safetensors.numpy.save` with `neurovis.core.files.write_bytes` it does not
    hold the whole file in memory.

    Parameters
    ----------
    path : str or Path
        ``.safetensors`` file to write or replace.
    arrays : mapping of str to ndarray
        C-contiguous, of numbers or booleans.
    entries : mapping of str to str, optional
        Text to keep beside them. One entry only, if equal arrays are to give equal
        bytes: several are written in any order.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with atomic_path(path) as part:
        part.touch()
        mode = part.stat().st_mode
        try:
            # It renames a file that only its owner may read.
            save_file(dict(arrays), part, None if entries is None else dict(entries))
        except SafetensorError as error:  # such as a full disk
            if code := _SYSTEM_CODE.search(str(error)):
                raise OSError(int(code[1]), str(error)) from None
            raise OSError(f"{path} was not written: {error}") from None
        part.chmod(mode)


def write_array(path: str | Path, array: NDArray[Any]) -> None:
    """Write one array atomically, with the bytes of `numpy.save`.

    When `numpy.save` itself writes to a file it does not notice that the disk has no
    room for the last bytes.

    Parameters
    ----------
    path : str or Path
        ``.npy`` file to write or replace.
    array : ndarray
        Numbers, booleans or text, in C or Fortran order.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npy"
    >>> write_array(path, np.arange(3))
    >>> np.load(path)
    array([0, 1, 2])
    """
    with atomic_path(path) as part, part.open("wb") as file:
        # What has no file number is written by its own method, block by block.
        np.save(cast(Any, SimpleNamespace(write=file.write)), array)
