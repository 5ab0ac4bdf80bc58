"""The only downloader: a file under its final name is whole and verified.

A download goes to ``NAME.part`` and is renamed when its size and SHA-256 are right.
A cut download is resumed, after a new start of the program too; ``NAME.part.json``
remembers which version of the file the part belongs to.
"""

import http.client
import json
import logging
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from neurovis.core.checks import check_between
from neurovis.core.disk_errors import clear_disk_errors
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    check_writable_folder,
    sha256_file,
    write_json,
)
from neurovis.core.log import progress
from neurovis.core.store import lock

logger = logging.getLogger(__name__)

WAITS_S = (1.0, 4.0, 15.0)
"""Pauses between attempts, in seconds: one attempt more than there are pauses."""

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_PASSING_FAULTS = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT_S = 60.0
_BLOCK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A public file of which every byte is known.

    Parameters
    ----------
    url : str
        Where it lies: https, or http on this machine; no user name or password.
    sha256 : str
        64 hexadecimal digits.
    n_bytes : int
        Size in bytes, >= 0.
    name : str
        Path in the folder of the data set, with "/" between folders.
    unpack : str, optional
        Folder, beside the file, into which this archive is to be unpacked.
    terms : str, default ""
        Conditions that must be accepted before the download; "" if there are none.

    Raises
    ------
    ValueError
        If a field is not of the form above.

    Examples
    --------
    >>> RemoteFile("http://example.org/a.csv", "0" * 64, 3, "a.csv")
    Traceback (most recent call last):
    ...
    ValueError: `url` must start with https://; got 'http://example.org/a.csv'.
    """

    url: str
    sha256: str
    n_bytes: int
    name: str
    unpack: str | None = None
    terms: str = ""

    def __post_init__(self) -> None:
        _check_url("url", self.url)
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(
                f"`sha256` must have 64 hexadecimal digits (0-9, a-f); got "
                f"{self.sha256!r}."
            )
        check_between("n_bytes", self.n_bytes, low=0)
        for field, value in (("name", self.name), ("unpack", self.unpack)):
            if value is not None and not _is_inside(value):
                raise ValueError(
                    f"`{field}` must be a path inside the folder of the data set, "
                    f"without '..'; got {value!r}."
                )


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name != "" and "\\" not in name and "\0" not in name
    return plain and not path.is_absolute() and ".." not in path.parts


def _check_url(what: str, url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.username is not None or parts.password is not None:
        # The message must not repeat the password.
        raise ValueError(
            f"`{what}` must have no user name or password; got one for the host "
            f"{parts.hostname!r}."
        )
    local = parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise ValueError(f"`{what}` must start with https://; got {url!r}.")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to addresses that would be accepted by themselves."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            _check_url("redirect", newurl)
            if req.type == "https" and not newurl.startswith("https://"):
                raise ValueError(f"from https to the open address {newurl}")
        except ValueError as error:
            fp.close()
            raise _Refused(f"its redirect is refused: {error}") from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Refused(Exception):
    """What came cannot be right; a new attempt would give the same."""


class _Unfit(Exception):
    """What came does not continue the part; a fresh start may succeed."""


class _Cut(Exception):
    """The connection failed; a new attempt may succeed."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


# ------------------------------------------------------------------ the verbs


def is_complete(remote: RemoteFile, folder: str | Path) -> bool:
    """Tell whether a file is there, whole and with the right content.

    Parameters
    ----------
    remote : RemoteFile
        What must be there.
    folder : str or Path
        Folder of the data set.

    Returns
    -------
    bool
        True if size and SHA-256 are right.

    Examples
    --------
    >>> is_complete(RemoteFile("https://example.org/a", "0" * 64, 3, "a"), "nowhere")
    False
    """
    return _is_whole(remote, Path(folder) / remote.name)


def _is_whole(remote: RemoteFile, path: Path) -> bool:
    right_size = path.is_file() and path.stat().st_size == remote.n_bytes
    return right_size and sha256_file(path) == remote.sha256


def fetch_file(
    remote: RemoteFile,
    folder: str | Path,
    *,
    accept_terms: bool = False,
    timeout_s: float = 30.0,
    waits_s: Sequence[float] = WAITS_S,
) -> Path:
    """Download a file, or do nothing when it is there, whole and verified.

    Parameters
    ----------
    remote : RemoteFile
        What to get.
    folder : str or Path
        Folder of the data set; made when missing.
    accept_terms : bool, default False
        Whether you accept `remote.terms`; of no effect when there are none.
    timeout_s : float, default 30
        Longest silence of the server in seconds, > 0.
    waits_s : sequence of float
        Pauses in seconds before the second, third ... attempt when the connection
        is cut or the server is busy; none for a single attempt. A server that asks
        for a longer pause gets it, up to a minute.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PermissionError
        If the terms are not accepted, or the folder cannot be written.
    DataCorruptError
        If the server has another file, or a web page, under that address; what came
        is deleted.
    ConnectionError
        If the server cannot be reached, refuses, or the attempts are used up; what
        came so far stays for the next call. ``NEUROVIS_OFFLINE=1`` forbids downloads.
    BlockingIOError
        If another process is downloading the same file.
    FileExistsError
        If another file has the name.
    OSError
        If there is no room; what came so far stays for the next call.
    """
    check_between("timeout_s", timeout_s, low=1e-3)
    for wait_s in waits_s:
        check_between("waits_s", wait_s, low=0)
    path = Path(folder) / remote.name
    if _is_there(remote, path):
        return path
    if remote.terms and not accept_terms:
        raise PermissionError(
            f"{remote.name} comes under these terms: {remote.terms} If you accept "
            "them, ask again with accept_terms=True (--accept-terms on the command "
            "line)."
        )
    if os.environ.get("NEUROVIS_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise ConnectionError(
            f"{path} is missing and downloads are off (NEUROVIS_OFFLINE is set). "
            f"Unset it, or put {remote.url} there yourself."
        )
    check_writable_folder(path.parent)
    with lock(path, wait=False):
        if not _is_there(remote, path):  # another process may have finished it
            _download(remote, path, timeout_s, waits_s)
    return path


def _is_there(remote: RemoteFile, path: Path) -> bool:
    if not path.exists():
        return False
    if _is_whole(remote, path):
        logger.info("%s is complete: nothing to download", path)
        return True
    found = sha256_file(path) if path.is_file() else "that of a folder"
    raise FileExistsError(
        f"{path} is another file: its SHA-256 is {found}, but {remote.sha256} is "
        f"expected from {remote.url}. Move it away, then fetch again."
    )


def _download(
    remote: RemoteFile, path: Path, timeout_s: float, waits_s: Sequence[float]
) -> None:
    part = path.with_name(f"{path.name}.part")
    in_pieces = part.exists()
    waits = list(waits_s)
    while True:
        try:
            _attempt(remote, part, timeout_s)
            if (found := sha256_file(part)) == remote.sha256:
                break
            raise _Unfit(
                f"it has the SHA-256 {found}, but {remote.sha256} is expected: the "
                "file was changed at its source, or on the way"
            )
        except _Unfit as error:
            _forget(part)
            # Pieces may be of different versions: once more, in one.
            if not in_pieces:
                raise _not_the_file(remote, error) from error
            in_pieces = False
            logger.info("%s (%s): again from the first byte", path.name, error)
        except _Refused as error:
            _forget(part)
            raise _not_the_file(remote, error) from error
        except _Cut as error:
            if not waits:
                raise ConnectionError(
                    f"{remote.url} could not be downloaded ({error}) in "
                    f"{len(waits_s) + 1} attempts. What came is kept: fetch again to "
                    "go on from there."
                ) from error
            in_pieces = True
            wait_s = max(waits.pop(0), min(error.wait_s, _LONGEST_WAIT_S))
            logger.info("%s (%s): again in %g s", path.name, error, wait_s)
            time.sleep(wait_s)
    part.replace(path)
    _forget(part)


def _forget(part: Path) -> None:
    for path in (part, _note(part)):
        with suppress(FileNotFoundError):
            path.unlink()


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _not_the_file(remote: RemoteFile, error: Exception) -> DataCorruptError:
    return DataCorruptError(
        f"{remote.url} did not give {remote.name}: {error}. What came was deleted. "
        "Look at the address in a browser."
    )


# ---------------------------------------------------------------- one attempt


def _attempt(remote: RemoteFile, part: Path, timeout_s: float) -> None:
    """Fill `part` to the last byte, or raise."""
    start, validator = _resumable(remote, part)
    if start == remote.n_bytes and part.exists():
        return
    headers = {"User-Agent": "neurovis", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    request = urllib.request.Request(remote.url, headers=headers)
    with closing(_open(request, timeout_s)) as response:
        if response.status == 206:
            _check_range(remote, response.headers.get("Content-Range", ""), start)
        elif response.status == 200:
            start = 0  # the server knows no ranges, or the file has changed
        else:
            raise _Refused(f"the server answered {response.status}")
        _check_length(remote, response, start)
        if start == 0:
            _remember(remote, part, response.headers)
        _receive(remote, part, response, start)


def _resumable(remote: RemoteFile, part: Path) -> tuple[int, str]:
    """Return the size of a part that may be continued, and its version."""
    try:
        note = json.loads(_note(part).read_text())
        same = (note["url"], note["sha256"]) == (remote.url, remote.sha256)
        size = part.stat().st_size
        if same and size <= remote.n_bytes:
            return size, str(note["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no part, or one of which nothing is known
    _forget(part)
    return 0, ""


def _remember(remote: RemoteFile, part: Path, headers: Any) -> None:
    tag = headers.get("ETag", "")
    # A weak tag does not promise equal bytes, so it may not guard a range.
    validator = headers.get("Last-Modified", "") if tag[:2] in ("", "W/") else tag
    note = {"url": remote.url, "sha256": remote.sha256, "validator": validator}
    _forget(part)
    write_json(_note(part), note)


def _open(
    request: urllib.request.Request, timeout_s: float
) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout_s)
        return response
    except urllib.error.HTTPError as error:
        with closing(error):
            if error.code == 416:  # the part does not fit the file of the server
                raise _Unfit("the server has a shorter file") from None
            if error.code in _PASSING_FAULTS:
                wait = error.headers.get("Retry-After", "")
                wait_s = float(wait) if wait.isdecimal() else 0.0
                raise _Cut(f"the server answered {error.code}", wait_s) from None
            raise ConnectionError(
                f"{request.full_url} cannot be downloaded: the server answered "
                f"{error.code} ({error.reason}). Look at the address in a browser; "
                "the file may have moved."
            ) from None
    except _Refused as error:
        raise ConnectionError(
            f"{request.full_url} cannot be downloaded: {error}."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, socket.gaierror | ssl.SSLCertVerificationError):
            raise ConnectionError(
                f"{request.full_url} cannot be reached ({reason}). Check the network "
                "of this computer."
            ) from error
        raise _Cut(str(reason) or type(reason).__name__) from error


def _check_range(remote: RemoteFile, answer: str, start: int) -> None:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.strip())
    known = found is not None and found[2] != "*"
    if found is None or int(found[1]) != start:
        raise _Unfit(f"the server sent the range {answer!r} for 'bytes={start}-'")
    if known and int(found[2]) != remote.n_bytes:
        raise _Unfit(f"the server has {found[2]} bytes of {remote.n_bytes}")


def _check_length(
    remote: RemoteFile, response: http.client.HTTPResponse, start: int
) -> None:
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal() or int(length) == remote.n_bytes - start:
        return
    if start:
        raise _Unfit(f"the rest has {length} of {remote.n_bytes - start} bytes")
    _refuse_web_page(response.read(_BLOCK), response.headers)
    raise _Refused(f"it has {length} bytes, but {remote.n_bytes} are expected")


def _refuse_web_page(head: bytes, headers: Any) -> None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    said = headers.get("Content-Type", "").lower().startswith("text/html")
    if text.startswith((b"<!doctype html", b"<html")) or (said and text[:1] == b"<"):
        title = re.search(rb"<title[^>]*>\s*(.*?)\s*</title>", head, re.I | re.S)
        words = f" titled {title[1].decode(errors='replace')!r}" if title else ""
        raise _Refused(
            f"the server sent a web page{words}; a log-in or a consent may be needed"
        )


def _receive(
    remote: RemoteFile, part: Path, response: http.client.HTTPResponse, start: int
) -> None:
    size = start
    with (
        clear_disk_errors(part.parent, part.name),
        part.open("ab" if start else "wb") as file,
        progress(remote.n_bytes, Path(remote.name).name, unit="B") as bar,
    ):
        bar.update(start)
        while size < remote.n_bytes or "Content-Length" not in response.headers:
            try:
                block = response.read1(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                raise _Cut(f"cut after {size} bytes: {reason}") from error
            if not block:
                break
            if size == 0:
                _refuse_web_page(block, response.headers)
            size += len(block)
            if size > remote.n_bytes:
                raise _Refused(f"it has more than the expected {remote.n_bytes} bytes")
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    if size < remote.n_bytes:
        raise _Cut(f"cut after {size} of {remote.n_bytes} bytes")
