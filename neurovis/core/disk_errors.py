"""What a disk refuses, in words that name the file and say what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a used quota, and a limit on the size of files."""

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def clear_disk_errors(folder: Path, name: str = "") -> Iterator[None]:
    """Turn what the system says of a disk inside the block into one clear error.

    Parameters
    ----------
    folder : Path
        What is written to.
    name : str, default ""
        File or folder in it that is being written; "" for `folder` itself.

    Yields
    ------
    None
        For the block that writes.

    Raises
    ------
    OSError
        If there is no room, or a name is too long.
    PermissionError
        If the folder cannot be written.

    Examples
    --------
    >>> with clear_disk_errors(Path("results"), "a.csv"):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    ...
    OSError: [Errno 28] results/a.csv was not written: there is no room left on its \
disk (No space left on device). Make room and call again.
    """
    try:
        yield
    except OSError as error:
        path = folder / name
        # The block may also read, elsewhere.
        own = not name or str(error.filename or path).startswith(str(path))
        reason = os.strerror(error.errno or 0)
        if error.errno in NO_ROOM:
            raise OSError(
                error.errno,
                f"{path} was not written: there is no room left on its disk "
                f"({reason}). Make room and call again.",
            ) from error
        if error.errno == errno.ENAMETOOLONG and own:
            raise OSError(
                error.errno,
                f"{path} was not written: its name, or that of its temporary file "
                f"(up to 16 bytes more), is too long for the disk ({reason}). Choose a "
                "shorter one.",
            ) from error
        if error.errno in _REFUSED and own:
            raise PermissionError(
                f"The folder {folder} cannot be written ({reason}). Choose another "
                "folder or change its permissions."
            ) from error
        raise
