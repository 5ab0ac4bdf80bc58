"""What the result of a job is found by: all that it depends on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurovis.core.files import sha256_bytes, sha256_file
from neurovis.core.provenance import source_fingerprint
from neurovis.core.store import Store
from tasks.study import Job, Study

# Larger files are known by their size and by what stands at both ends.
_WHOLE_BYTES = 64 * 2**20
_END_BYTES = 2**20


@dataclass(frozen=True)
class KeyedJob:
    """A job of a sweep, with what its result is found by.

    Parameters
    ----------
    job : Job
        The job.
    parts : mapping
        All that its result depends on: what the study says, hashes of the files that
        it names, and the source code.
    key : str
        Key of `parts` in the store.
    """

    job: Job
    parts: Mapping[str, Any]
    key: str

    @property
    def name(self) -> str:
        """Unique short text, for names of files."""
        return f"{self.job.title}-{self.key[:8]}"


def key_jobs(study: Study) -> list[KeyedJob]:
    """Give every job of a study the key of its result.

    Parameters
    ----------
    study : Study
        The study.

    Returns
    -------
    list of KeyedJob
        In the order of the study.
    """
    code = source_fingerprint()
    hashes: dict[str, str] = {}
    found = []
    for job in study.jobs:
        meaning = _with_hashes(job.meaning(), hashes)
        parts = {"job": meaning, "code": code}
        found.append(KeyedJob(job, parts, Store.key(**parts)))
    return found


def _with_hashes(value: Any, hashes: dict[str, str]) -> Any:
    """Put the hash of its content for each absolute path: names mean nothing."""
    if isinstance(value, Mapping):
        return {name: _with_hashes(item, hashes) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_hashes(item, hashes) for item in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    start = value.index("/")
    ends = [len(value), *(i for i, sign in enumerate(value) if sign == ":")]
    for end in sorted((end for end in ends if end > start), reverse=True):
        path = value[start:end]
        if Path(path).exists():
            if path not in hashes:
                hashes[path] = hash_content(Path(path))
            return f"{value[:start]}sha256={hashes[path]}{value[end:]}"
    return value


def hash_content(path: Path) -> str:
    """Return a hash of a file, or of all files of a folder with their names.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    str
        64 hexadecimal digits. Files above 64 MiB count with their size and with the
        first and last MiB.
    """
    if path.is_file():
        return _hash_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [
        f"{file.relative_to(path).as_posix()} {_hash_file(file)}" for file in files
    ]
    return sha256_bytes("\n".join(lines).encode())


def _hash_file(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE_BYTES:
        return sha256_file(path)
    with path.open("rb") as file:
        first = file.read(_END_BYTES)
        file.seek(-_END_BYTES, os.SEEK_END)
        return sha256_bytes(str(size).encode() + first + file.read())
