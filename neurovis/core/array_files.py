"""Arrays by name in one file, as safetensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from neurovis.core.files import atomic_path


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
            raise OSError(f"{path} was not written: {error}") from None
        part.chmod(mode)
