"""The folder of a sweep: finished work in a store, and a record and log of each job."""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, sha256_bytes, sha256_file, write_json
from neurovis.core.provenance import source_fingerprint
from neurovis.core.store import Store
from neurovis.core.types import Score
from tasks.study import Job, Resources, Study

STATES = ("finished", "failed", "running", "interrupted", "waiting")
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


@dataclass(frozen=True)
class Attempt:
    """One time that a job was begun.

    Parameters
    ----------
    started : str
        When, in UTC.
    host : str
        Where.
    pid : int
        Process.
    state : str
        "running" (it may also have been killed), "finished" or "failed".
    seconds : float, optional
        How long it took.
    peak_mib : float, optional
        Most memory that its process held.
    error : str
        What it failed with.
    """

    started: str
    host: str
    pid: int
    state: str = "running"
    seconds: float | None = None
    peak_mib: float | None = None
    error: str = ""


@dataclass(frozen=True)
class SweepFolder:
    """Where a sweep keeps what.

    Parameters
    ----------
    root : Path
        Folder of the sweep.
    """

    root: Path

    @property
    def store(self) -> Store:
        """Finished jobs: the folders of their runs."""
        return Store(self.root / "store")

    @property
    def features(self) -> Path:
        """Features that several jobs need."""
        return self.root / "features"

    def log(self, name: str) -> Path:
        """Return the log of a job.

        Parameters
        ----------
        name : str
            Name of the job.

        Returns
        -------
        Path
            Text file; all attempts one below the other.
        """
        return self.root / "jobs" / f"{name}.log"

    def record(self, name: str) -> Path:
        """Return the file of attempts at a job.

        Parameters
        ----------
        name : str
            Name of the job.

        Returns
        -------
        Path
            JSON file.
        """
        return self.root / "jobs" / f"{name}.json"

    def attempts(self, name: str) -> list[Attempt]:
        """Read the attempts at a job.

        Parameters
        ----------
        name : str
            Name of the job.

        Returns
        -------
        list of Attempt
            Oldest first; empty if it was never begun.

        Raises
        ------
        DataCorruptError
            If the record is damaged.
        """
        path = self.record(name)
        if not path.is_file():
            return []
        try:
            return [Attempt(**each) for each in read_json(path)]
        except TypeError as error:
            raise DataCorruptError(
                f"{path} is no record of a job. Remove it; only the count of attempts "
                "is lost."
            ) from error

    def write_attempts(self, name: str, attempts: list[Attempt]) -> None:
        """Write the attempts at a job; only who works at it may.

        Parameters
        ----------
        name : str
            Name of the job.
        attempts : list of Attempt
            Oldest first.
        """
        write_json(self.record(name), [asdict(attempt) for attempt in attempts])

    def state(self, keyed: KeyedJob) -> str:
        """Return how a job stands, from what lies on disk.

        Parameters
        ----------
        keyed : KeyedJob
            The job.

        Returns
        -------
        str
            One of `STATES`. A job that is "interrupted" was begun and lost with its
            process; a sweep takes it up again.
        """
        store = self.store
        if keyed.key in store:
            return "finished"
        if is_held(store.root / keyed.key):
            return "running"
        attempts = self.attempts(keyed.name)
        if not attempts:
            return "waiting"
        return "failed" if attempts[-1].state == "failed" else "interrupted"


def is_held(target: Path) -> bool:
    """Return whether a living process holds the lock of a target.

    Parameters
    ----------
    target : Path
        What `neurovis.core.store.lock` was given.

    Returns
    -------
    bool
        True if one does.
    """
    try:
        handle = os.open(target.with_name(f"{target.name}.lock"), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def count_others(folder: SweepFolder, keyed: Sequence[KeyedJob]) -> int:
    """Count finished jobs in the folder that are none of these.

    Parameters
    ----------
    folder : SweepFolder
        Folder of a sweep.
    keyed : sequence of KeyedJob
        Jobs of its study.

    Returns
    -------
    int
        Results of other jobs, other data or other source code.
    """
    return len(set(folder.store.keys()) - {each.key for each in keyed})


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


def write_sweep(
    folder: SweepFolder, study: Study, keyed: Sequence[KeyedJob], engine: str
) -> None:
    """Write what a sweep is to do, for `read_sweep` and `job_scores`.

    Parameters
    ----------
    folder : SweepFolder
        Its folder.
    study : Study
        The study.
    keyed : sequence of KeyedJob
        Its jobs.
    engine : str
        Where it computes.
    """
    call = {
        "task": "sweep",
        "name": study.name,
        "engine": engine,
        "jobs": [asdict(job) for job in study.jobs],
        "keys": [each.key for each in keyed],
        "profiles": study.profiles,
    }
    write_json(folder.root / "run.json", call)


def read_sweep(root: str | Path) -> tuple[SweepFolder, Study, str]:
    """Read what a sweep is to do.

    Parameters
    ----------
    root : str or Path
        Folder of a sweep.

    Returns
    -------
    SweepFolder
        Its folder.
    Study
        Its study.
    str
        Where it computed last.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no sweep, or a damaged one.
    """
    path = Path(root) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{root} holds no sweep: run.json is missing. Begin one by `neurovis sweep "
            f"STUDY.toml --out {root}`."
        )
    call = read_json(path)
    try:
        if call["task"] != "sweep":
            raise FileNotFoundError(
                f"{root} holds a run of {call['task']}, no sweep. Name the folder that "
                "`neurovis sweep` was given by `--out`."
            )
        jobs = tuple(
            Job(**{**each, "resources": Resources(**each["resources"])})
            for each in call["jobs"]
        )
        if len(call["keys"]) != len(jobs):
            raise KeyError("keys")
        study = Study(call["name"], jobs, call["profiles"])
        return SweepFolder(Path(root).absolute()), study, call["engine"]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataCorruptError(
            f"{path} is not the call of a sweep. Begin it again by `neurovis sweep "
            f"STUDY.toml --out {root}`: finished jobs are kept."
        ) from error


def job_scores(root: str | Path) -> list[tuple[str, Score]]:
    """Read the scores of all finished jobs of a sweep.

    Parameters
    ----------
    root : str or Path
        Folder of a sweep.

    Returns
    -------
    list of tuple of str and Score
        Name of the job and what it left, in the order of the study.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no sweep, or a finished job is damaged.
    """
    folder, jobs = recorded_jobs(root)
    store = folder.store
    finished = [each for each in jobs if each.key in store]
    return [(each.name, Score.load(store.get_folder(each.key))) for each in finished]


def recorded_jobs(root: str | Path) -> tuple[SweepFolder, list[KeyedJob]]:
    """Read the jobs of a sweep with the keys that they were computed under.

    Parameters
    ----------
    root : str or Path
        Folder of a sweep.

    Returns
    -------
    SweepFolder
        Its folder.
    list of KeyedJob
        In the order of the study, without `parts`: data and source code may have
        changed since then.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no sweep, or a damaged one.
    """
    folder, study, _ = read_sweep(root)
    keys = read_json(folder.root / "run.json")["keys"]
    pairs = zip(study.jobs, keys, strict=True)
    return folder, [KeyedJob(job, {}, key) for job, key in pairs]


@contextmanager
def log_to(path: Path) -> Iterator[logging.Logger]:
    """Let a file have all log messages and warnings inside the block.

    Parameters
    ----------
    path : Path
        Text file; what it has stays.

    Yields
    ------
    Logger
        For messages of the caller.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) if level else logging.INFO)
    logging.captureWarnings(True)
    try:
        yield logging.getLogger(__name__)
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def now() -> str:
    """Return the time in UTC.

    Returns
    -------
    str
        To the second.
    """
    return datetime.now(UTC).isoformat(timespec="seconds")


def dump(value: Any) -> str:
    """Return a value as readable JSON, for logs.

    Parameters
    ----------
    value : object
        JSON value.

    Returns
    -------
    str
        One line.
    """
    return json.dumps(value, ensure_ascii=False, default=str)
