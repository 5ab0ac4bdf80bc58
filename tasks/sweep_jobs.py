"""One job of a sweep, as a worker does it."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from neurovis.core.provenance import source_fingerprint
from tasks.study_calls import call_task
from tasks.sweep_keys import KeyedJob
from tasks.sweep_records import Attempt, SweepFolder, dump, log_to, now


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a job ended.

    Parameters
    ----------
    name : str
        Name of the job.
    state : str
        "finished" or "failed".
    error : str
        What it failed with, one line.
    computed : bool
        False if its result was there already.
    """

    name: str
    state: str
    error: str = ""
    computed: bool = True


def run_job(root: str, keyed: KeyedJob) -> Outcome:
    """Do a job unless its result is there, and keep the result.

    Parameters
    ----------
    root : str
        Folder of the sweep, the same for all workers.
    keyed : KeyedJob
        The job.

    Returns
    -------
    Outcome
        How it ended. A job that fails tells its error; it does not raise.

    Raises
    ------
    RuntimeError
        If the worker has other source code than the one who asks.
    OSError
        If the folder of the sweep cannot be written.
    """
    if source_fingerprint() != keyed.parts["code"]:
        raise RuntimeError(
            f"The worker on {socket.gethostname()} runs other source code of neurovis "
            "than the sweep. Install the same version in the environment of workers."
        )
    folder = SweepFolder(Path(root))
    begun = False

    def fill(work: Path) -> None:
        nonlocal begun
        begun = True
        _attempt(folder, keyed, work)

    try:
        folder.store.get_or_fill(keyed.parts, fill)
    except _Failed as failure:
        return Outcome(keyed.name, "failed", str(failure))
    return Outcome(keyed.name, "finished", computed=begun)


class _Failed(Exception):
    """The job raised an error, which is in its log."""


def _attempt(folder: SweepFolder, keyed: KeyedJob, work: Path) -> None:
    name, job = keyed.name, keyed.job
    before = folder.attempts(name)
    attempt = Attempt(now(), socket.gethostname(), os.getpid())
    folder.write_attempts(name, [*before, attempt])
    start = time.perf_counter()
    error = ""
    with log_to(folder.log(name)) as logger, _threads(job.resources.threads):
        logger.info("attempt %d: %s", len(before) + 1, dump(job.meaning()))
        _forget_peak()
        try:
            call_task(
                job,
                work,
                store=folder.features,
                device="cuda" if job.resources.gpus else "cpu",
            )
        except Exception as failure:
            logger.exception("the job failed")
            text = failure.args[0] if isinstance(failure, KeyError) else failure
            error = f"{type(failure).__name__}: {text}".splitlines()[0]
        seconds = time.perf_counter() - start
        state = "failed" if error else "finished"
        logger.info("%s after %.1f s", state, seconds)
    done = replace(
        attempt, state=state, seconds=seconds, peak_mib=_peak_mib(), error=error
    )
    folder.write_attempts(name, [*before, done])
    if error:
        raise _Failed(error)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with so many threads: sums depend on it in their last digits."""
    before = torch.get_num_threads()
    with threadpool_limits(number):
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _forget_peak() -> None:
    # Linux only; elsewhere the peak is that of all jobs of the process.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
