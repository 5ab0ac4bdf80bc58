"""The folder of a sweep: finished work in a store, and a record and log of each job."""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import read_json, write_json
from neurovis.core.store import Store
from neurovis.core.types import Score
from tasks.study import Job, Resources, Study
from tasks.sweep_keys import KeyedJob

STATES = ("finished", "failed", "running", "interrupted", "waiting")


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
