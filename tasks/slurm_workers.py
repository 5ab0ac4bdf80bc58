"""Workers as jobs of Slurm, through dask-jobqueue: replaced when Slurm ends them."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neurovis.core.errors import MissingDependencyError
from neurovis.core.files import write_text
from tasks.engine_workers import (
    SCRATCH,
    WorkerNeeds,
    last_lines,
    make_encryption,
    repeated,
    security_of,
)
from tasks.slurm_profile import SlurmProfile, check_profile, job_script

_CHECK_S = 5.0
# After so many jobs in a row that no worker answered from, something is wrong.
_MAX_SILENT = 3
_MAX_PAUSE_S = 600.0
_COMMAND_S = 60


@contextmanager
def slurm_scheduler(
    profile: SlurmProfile,
    needs: WorkerNeeds,
    folder: Path,
    on_event: Callable[[str], None],
) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Run a scheduler here and workers as jobs of Slurm.

    A job that ended (its walltime, a lost node, ``scancel``) is replaced by a new one.
    All jobs are cancelled when the block ends, also by Ctrl-C; when this process is
    killed, they end by themselves.

    Parameters
    ----------
    profile : SlurmProfile
        What is asked of Slurm.
    needs : WorkerNeeds
        The largest that a job of the study needs.
    folder : Path
        Folder of the sweep: logs go to ``slurm``.
    on_event : callable
        Takes sentences for the user.

    Yields
    ------
    cluster : dask_jobqueue.SLURMCluster
        Takes clients.
    problem : callable
        Says why no worker will come; "" while some may.

    Raises
    ------
    FileNotFoundError
        If there is no ``sbatch``.
    MissingDependencyError
        If dask-jobqueue or ``openssl`` is missing.
    ValueError
        If the profile is too small for the study, or Slurm refuses its jobs.
    """
    check_profile(profile, needs)
    if shutil.which("sbatch") is None:
        raise FileNotFoundError(
            "There is no program `sbatch` here: run the sweep where jobs of Slurm are "
            "submitted, such as the login node, or take the engine local or dask."
        )
    jobqueue = _import_jobqueue(folder / SCRATCH)
    (folder / "slurm").mkdir(exist_ok=True)
    _ask_slurm(profile, job_script(profile, needs, folder), folder)
    encryption = make_encryption(folder) if profile.encryption else None
    if encryption is None:
        on_event(
            "connections to workers are not encrypted: anyone who reaches the "
            "scheduler's port can run code in your name"
        )
    options = {
        "port": profile.scheduler_port,
        "protocol": "tls://" if encryption else "tcp://",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
    }
    with jobqueue.SLURMCluster(
        job_cls=_job_class(jobqueue, profile, needs, folder, on_event),
        cores=1,
        processes=1,
        memory=f"{profile.memory_gib}GiB",
        interface=profile.interface,
        security=security_of(encryption) if encryption else None,
        scheduler_options=options,
        silence_logs=False,
        name="neurovis",
    ) as cluster:
        jobs = _Jobs(cluster, profile, folder, on_event)
        if profile.min_workers is None:
            cluster.scale(profile.workers)
        else:
            cluster.adapt(minimum=profile.min_workers, maximum=profile.workers)
        with repeated(jobs.replace_ended, _CHECK_S):
            yield cluster, jobs.problem


def _import_jobqueue(scratch: Path) -> Any:
    """Import dask-jobqueue without the file that it leaves in the home folder."""
    import dask

    place = dask.config.PATH
    dask.config.PATH = str(scratch / "dask")
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingDependencyError(
            "Sweeps on Slurm need the package dask-jobqueue, which is not installed. "
            'Run: pip install "neurovis[cluster]"'
        ) from error
    finally:
        dask.config.PATH = place
    return dask_jobqueue


def _ask_slurm(profile: SlurmProfile, script: str, folder: Path) -> None:
    """Raise unless Slurm would take the job."""
    path = folder / "slurm" / "job.sh"
    write_text(path, script)
    done = _call("sbatch", "--test-only", str(path))
    if done.returncode != 0:
        raise ValueError(
            f"Slurm refuses the jobs of profile {profile.name!r}: "
            f"{' '.join(done.stderr.split())} The script is {path}."
        )


def _call(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_COMMAND_S,
        check=False,
    )


def _job_class(
    jobqueue: Any,
    profile: SlurmProfile,
    needs: WorkerNeeds,
    folder: Path,
    on_event: Callable[[str], None],
) -> Any:
    """Return the class of jobs: our script, kept in the folder, failures told."""

    class WorkerJob(jobqueue.slurm.SLURMJob):  # type: ignore[misc]
        def job_script(self) -> str:
            return job_script(
                profile, needs, folder, address=self.scheduler, worker=str(self.name)
            )

        @contextmanager
        def job_file(self) -> Iterator[str]:
            path = folder / "slurm" / f"{self.name}.sh"
            write_text(path, self.job_script())
            yield str(path)
            path.unlink(missing_ok=True)

        async def _submit_job(self, script_filename: str) -> Any:
            try:
                return await super()._submit_job(script_filename)
            except RuntimeError as error:
                on_event(f"Slurm took no job: {' '.join(str(error).split())}")
                raise

    return WorkerJob


@dataclass
class _Jobs:
    """The jobs of one cluster, as the queue shows them."""

    cluster: Any
    profile: SlurmProfile
    folder: Path
    on_event: Callable[[str], None]
    answered: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    n_silent: int = 0
    not_before_s: float = 0.0
    queue_told: str = ""
    last_log: Path = field(default=Path())

    def problem(self) -> str:
        """Say why no worker will come, or nothing."""
        if self.n_silent < _MAX_SILENT:
            return ""
        return (
            f"{self.n_silent} jobs of Slurm ended and no worker answered from them. "
            f"The log {self.last_log} ends with:\n{last_lines(self.last_log)}"
        )

    def replace_ended(self) -> None:
        """Submit a job for each that is no longer in the queue."""
        jobs = {name: job.job_id for name, job in list(self.cluster.workers.items())}
        workers = self.cluster.scheduler_info["workers"].values()
        present = {worker["name"] for worker in workers}
        self.answered |= {job for name, job in jobs.items() if name in present and job}
        queue = _read_queue()
        if queue is None:  # Slurm itself is away; jobs may well run
            return
        if not self.answered:
            self._tell_queue([queue[job] for job in jobs.values() if job in queue])
        # A job without a number is one that Slurm did not take.
        gone = {name: job for name, job in jobs.items() if job not in queue}
        new = {job or name for name, job in gone.items()} - self.ended
        self.ended |= new
        for job in sorted(new & set(jobs.values())):
            self.last_log = self.folder / "slurm" / f"{job}.log"
            self.on_event(
                f"job {job} of Slurm ended and is replaced; its log {self.last_log} "
                f"says: {_why_ended(self.last_log)}"
            )
        if new & self.answered:
            self.n_silent = 0
        elif new:
            self.n_silent += len(new)
            pause_s = min(_MAX_PAUSE_S, _CHECK_S * 2**self.n_silent)
            self.not_before_s = time.monotonic() + pause_s
        if time.monotonic() < self.not_before_s:
            return
        for name, job in gone.items():
            self.ended.discard(job or name)
            self.cluster.loop.add_callback(self.cluster.workers.pop, name, None)
        # Opens what is planned and not there: Dask by itself would not.
        n_planned = len(self.cluster.worker_spec)
        adaptive = self.profile.min_workers is not None
        self.cluster.scale(n_planned if adaptive else self.profile.workers)

    def _tell_queue(self, states: list[str]) -> None:
        counts = Counter(states).items()
        text = ", ".join(f"{count} {state}" for state, count in sorted(counts))
        if text and text != self.queue_told:
            self.queue_told = text
            self.on_event(f"waiting for a first worker; jobs of Slurm: {text}")


def _why_ended(log: Path) -> str:
    """Return what Slurm says in a log, such as a time limit, or its last line."""
    said = [line for line in last_lines(log, 100).splitlines() if "slurmstepd" in line]
    return said[-1] if said else last_lines(log, 1)


def _read_queue() -> dict[str, str] | None:
    """Return the state of each of the user's jobs by number; None when not told."""
    user = str(os.getuid())
    try:
        done = _call("squeue", "--noheader", f"--user={user}", "--format=%i %T (%r)")
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    return {row[0]: row[1].removesuffix(" (None)") for row in rows if len(row) == 2}
