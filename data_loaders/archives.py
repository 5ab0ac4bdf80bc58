"""Unpack archives that nobody vouches for.

Nothing is written outside the folder, no link or device is made, and counts and sizes
are limited while unpacking: what an archive says of itself is not believed.
"""

import errno
import logging
import lzma
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from neurovis.core.checks import check_between, check_path
from neurovis.core.files import (
    DECODER_ERRORS,
    atomic_folder,
    corrupt,
    read_json,
    sha256_file,
    write_json,
)
from neurovis.core.store import lock

logger = logging.getLogger(__name__)

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_MEMBERS = 200_000
MAX_BYTES = 64 << 30
"""Default limits: members of an archive, and bytes that it may unpack to."""

_DONE = ".unpacked.json"
_BLOCK = 1 << 20
_END_OF_ZIP = b"PK\x05\x06"
_LONGEST_END = 22 + 0xFFFF
_DAMAGE = (
    *DECODER_ERRORS,
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    OverflowError,  # a position beyond any file
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,
)


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    open: Callable[[], IO[bytes]]


def extract_archive(
    path: str | Path,
    folder: str | Path,
    *,
    max_members: int = MAX_MEMBERS,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Unpack an archive into a new folder, wholly or not at all.

    The files are written into a temporary folder, which is renamed at the end and
    holds the SHA-256 of its archive in ``.unpacked.json``.

    Parameters
    ----------
    path : str or Path
        Archive with one of the `SUFFIXES`.
    folder : str or Path
        Folder to make. When it was made from this very archive before, nothing is
        done.
    max_members : int
        Most files and folders, >= 1.
    max_bytes : int
        Most bytes of all files together, counted as they are unpacked, >= 0.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If there is no archive.
    ValueError
        If the suffix is another one; if a member would land outside the folder,
        repeats a name, is a link, a device or encrypted; or if a limit is exceeded.
    DataCorruptError
        If the archive is truncated or damaged.
    FileExistsError
        If the folder exists and was not made from this archive.
    BlockingIOError
        If another process is unpacking into the folder.

    Notes
    -----
    Rights, owners and times of members are not kept. This is stricter than the "data"
    filter of Python's tarfile (PEP 706), which counts no bytes and lets links pass
    that stay inside the folder. A plain ``.tar`` has no checksum: damage inside its
    files is not noticed.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(folder / "set.zip", "w") as archive:
    ...     archive.writestr("images/1.txt", "one")
    >>> extract_archive(folder / "set.zip", folder / "set").joinpath(
    ...     "images/1.txt"
    ... ).read_text()
    'one'
    """
    path, folder = check_path("path", path), Path(folder)
    if not path.name.lower().endswith(SUFFIXES):
        raise ValueError(
            f"`path` must be an archive with one of the suffixes {SUFFIXES}; got "
            f"{path.name}."
        )
    check_between("max_members", max_members, low=1)
    check_between("max_bytes", max_bytes, low=0)
    sha256 = sha256_file(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder, wait=False):
        if _is_done(folder, sha256):
            logger.info("%s is unpacked already: nothing to do", folder)
            return folder
        if folder.exists():
            raise FileExistsError(
                f"{folder} exists and was not unpacked from {path.name}. Move it away, "
                "then try again."
            )
        _remove_leftovers(folder)
        with atomic_folder(folder) as part:
            n_members = _unpack(path, part, max_members, max_bytes)
            write_json(part / _DONE, {"sha256": sha256, "n_members": n_members})
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed calls unpacked; who holds the lock knows that they are."""
    begin = f"{folder.name}.part-"
    for path in folder.parent.iterdir():
        number = path.name.removeprefix(begin)
        if path.name.startswith(begin) and number.isdecimal() and path.is_dir():
            shutil.rmtree(path)


def _is_done(folder: Path, sha256: str) -> bool:
    if not (folder / _DONE).is_file():
        return False
    note = read_json(folder / _DONE)
    return isinstance(note, dict) and note.get("sha256") == sha256


def _unpack(path: Path, folder: Path, max_members: int, max_bytes: int) -> int:
    n_members = n_bytes = 0
    used: set[str] = set()
    with _reading(path), _members(path, max_bytes) as members:
        for member in members:
            n_members += 1
            if n_members > max_members:
                raise _Unsafe(f"it has more than {max_members} members (`max_members`)")
            name = _safe_name(member, used)
            target = folder / name
            try:
                (target if member.is_folder else target.parent).mkdir(
                    parents=True, exist_ok=True
                )
            except (FileExistsError, NotADirectoryError):
                raise _Unsafe(f"the member {member.name!r} lies below a file") from None
            if member.is_folder:
                continue
            with member.open() as source, target.open("xb") as file:
                while block := source.read(_BLOCK):
                    n_bytes += len(block)
                    if n_bytes > max_bytes:
                        raise _Unsafe(
                            f"it unpacks to more than {max_bytes} bytes (`max_bytes`)"
                        )
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
    return n_members


class _Unsafe(Exception):
    """What an archive must not hold."""


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell damage and danger apart from faults of this computer."""
    try:
        yield
    except _Unsafe as error:
        raise ValueError(
            f"{path.name} is refused: {error}. Nothing was kept. If you trust it, "
            "unpack it yourself."
        ) from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # no space, no right to write: the archive is not to blame
        raise corrupt(path, "archive", error) from error


def _safe_name(member: _Member, used: set[str]) -> str:
    name, plain = member.name, PurePosixPath(member.name)
    windows = PureWindowsPath(name)
    outside = (
        plain.is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in plain.parts
        or "\\" in name
        or "\0" in name
    )
    path = plain.as_posix()
    if outside or (path == "." and not member.is_folder):
        raise _Unsafe(f"the member {name!r} lies outside the folder")
    # Some file systems know neither case nor forms of accents: one would hide another.
    key = unicodedata.normalize("NFC", path).casefold()
    if key == _DONE or (key in used and not member.is_folder):
        raise _Unsafe(f"the member {name!r} has a name that is taken")
    used.add(key)
    return path


@contextmanager
def _members(path: Path, max_bytes: int) -> Iterator[Iterator[_Member]]:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as zipped:
            _check_count(path, len(zipped.infolist()))
            yield _zip_members(zipped)
    else:
        with tarfile.open(path) as tape:
            yield _tar_members(tape, max_bytes)


def _check_count(path: Path, found: int) -> None:
    """Compare the members found with the number in the last record of a zip."""
    # zipfile does not: a damaged directory would hide members.
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, _LONGEST_END), os.SEEK_END)
        end = file.read().rpartition(_END_OF_ZIP)[2]
    said = int.from_bytes(end[6:8], "little")
    if said not in (found, 0xFFFF):  # the larger number means: look elsewhere
        raise zipfile.BadZipFile(f"its directory shows {found} of {said} members")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _Unsafe(f"the member {info.filename!r} is a link or a device")
        if info.flag_bits & 0x1:
            raise _Unsafe(f"the member {info.filename!r} is encrypted")

        def opened(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return archive.open(info)

        # The original name: ZipFile cuts what follows a NUL.
        yield _Member(info.orig_filename, info.is_dir(), opened)


def _tar_members(archive: tarfile.TarFile, max_bytes: int) -> Iterator[_Member]:
    for info in archive:
        if not (info.isreg() or info.isdir()):
            raise _Unsafe(f"the member {info.name!r} is a link or a device")

        def opened(info: tarfile.TarInfo = info) -> IO[bytes]:
            source = archive.extractfile(info)
            if source is None:
                raise tarfile.ReadError(f"{info.name!r} has no content")
            return source

        yield _Member(info.name, info.isdir(), opened)
    _check_end(archive, max_bytes)


def _check_end(archive: tarfile.TarFile, max_bytes: int) -> None:
    """Look for the end mark, then read on: the checksum of gzip comes last."""
    rest = archive.fileobj
    if rest is None:
        raise tarfile.ReadError("it is closed")
    rest.seek(archive.offset)
    if rest.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("it ends before its end mark")
    n_bytes = 0
    while block := rest.read(_BLOCK):
        n_bytes += len(block)
        if n_bytes > max(max_bytes, _BLOCK):
            raise _Unsafe("it goes on behind its end mark")
