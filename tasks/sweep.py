"""A sweep: all jobs of a study on an engine, in any order, each one once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import pandas as pd

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import check_writable_folder, read_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.store import lock
from neurovis.core.types import Score
from tasks.engine_workers import WorkerNeeds
from tasks.engines import EngineSpec, open_engine, parse_engine
from tasks.slurm_profile import read_profile
from tasks.study import Job, Study
from tasks.sweep_keys import KeyedJob, key_jobs
from tasks.sweep_records import Attempt, SweepFolder, now, write_sweep

if TYPE_CHECKING:  # a worker needs torch, and who asks does not
    from tasks.sweep_jobs import Outcome

logger = logging.getLogger(__name__)

JOBS_TABLE = "jobs.parquet"
TIMES_TABLE = "times.csv"
# A job that takes its worker down so often is not given to another one.
_MOST_LOSSES = 10
_LOOK_S = 1.0


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended.

    Parameters
    ----------
    n_jobs : int
        Jobs of the study.
    n_found : int
        Jobs that were finished before.
    n_computed : int
        Jobs that were finished now.
    failed : tuple of (str, str)
        Names and errors of jobs that failed, now or before.
    """

    n_jobs: int
    n_found: int
    n_computed: int
    failed: tuple[tuple[str, str], ...]


def run_sweep(
    study: Study,
    out: str | Path,
    *,
    engine: str = "local",
    again: bool = False,
    on_event: Callable[[str], None] | None = None,
) -> SweepResult:
    """Compute what is not yet finished of a study, and leave its tables.

    Interrupted, it goes on when called again, with any engine: finished jobs are found
    in the store of the folder, and jobs that were begun resume. A job that fails does
    not stop the others.

    Parameters
    ----------
    study : Study
        Jobs, see `tasks.study.read_study`.
    out : str or Path
        Folder that all workers see: ``scores.parquet`` (of all jobs), ``jobs.parquet``,
        ``times.csv``, ``provenance.json``, records and logs in ``jobs``, runs in
        ``store``.
    engine : str, default "local"
        Where to compute, see `tasks.engines.parse_engine`.
    again : bool, default False
        Also try jobs that failed before.
    on_event : callable, optional
        Gets one line for what a user should know at once.

    Returns
    -------
    SweepResult
        How it ended.

    Raises
    ------
    ValueError
        If the folder holds another kind of run, or the engine is unknown.
    PermissionError, FileExistsError, NotADirectoryError
        If the folder cannot be written.
    MissingDependencyError
        If the engine is not installed.
    ConnectionError
        If the scheduler cannot be reached, or is lost; what is finished is kept.
    """
    spec = parse_engine(engine)
    folder = open_folder(out)
    tell = on_event or logger.warning
    keyed = key_jobs(study)
    write_sweep(folder, study, keyed, engine)
    found = {each.name for each in keyed if _is_whole(folder, each)}
    todo = [
        each
        for each in keyed
        if each.name not in found and (again or folder.state(each) != "failed")
    ]
    if todo:
        _compute(todo, folder, study, spec, tell)
    states = {each.name: folder.state(each) for each in keyed}
    n_done = sum(state == "finished" for state in states.values())
    failed = tuple(
        (each.name, folder.attempts(each.name)[-1].error)
        for each in keyed
        if states[each.name] == "failed"
    )
    write_tables(folder, study, keyed)
    return SweepResult(len(keyed), len(found), n_done - len(found), failed)


def _is_whole(folder: SweepFolder, keyed: KeyedJob) -> bool:
    """Return whether a job is finished and its files are still those that it left."""
    if keyed.key not in folder.store:
        return False
    try:
        folder.store.get_folder(keyed.key)
    except DataCorruptError as error:
        logger.warning("computing again: %s", error)
        return False
    return True


def open_folder(out: str | Path) -> SweepFolder:
    """Open the folder of a sweep.

    Parameters
    ----------
    out : str or Path
        Folder; made when missing.

    Returns
    -------
    SweepFolder
        The folder.

    Raises
    ------
    ValueError
        If the folder holds another kind of run.
    PermissionError, FileExistsError, NotADirectoryError
        If the folder cannot be written.
    """
    root = check_writable_folder(out).absolute()
    if (root / "run.json").is_file():
        call = read_json(root / "run.json")
        task = call.get("task") if isinstance(call, dict) else None
        if task != "sweep":
            raise ValueError(
                f"{out} holds a run of {task!r}, and a sweep was asked for. Choose "
                "another folder, or remove this one."
            )
    return SweepFolder(root)


def needs_of(jobs: Sequence[Job]) -> WorkerNeeds:
    """Return what a worker must have that can do any of some jobs.

    Parameters
    ----------
    jobs : sequence of Job
        One or more.

    Returns
    -------
    WorkerNeeds
        The largest of each resource.
    """
    needs = [job.resources for job in jobs]
    return WorkerNeeds(
        threads=max(need.threads for need in needs),
        memory_gib=max(need.memory_gib for need in needs),
        gpus=max(need.gpus for need in needs),
        minutes=max(need.minutes or 0 for need in needs) or None,
    )


def _compute(
    todo: Sequence[KeyedJob],
    folder: SweepFolder,
    study: Study,
    spec: EngineSpec,
    tell: Callable[[str], None],
) -> None:
    needs = needs_of([each.job for each in todo])
    profile = read_profile(spec.profile, study.profiles) if spec.profile else None
    # Jobs that wait are what brings more workers, where their number follows the work.
    follows = profile is not None and profile.min_workers is not None
    n_planned = profile.workers if profile is not None and follows else 1
    engine = open_engine(
        spec, needs, folder=folder.root, profiles=study.profiles, on_event=tell
    )
    with engine as client, progress(len(todo), "sweep", unit="job") as bar:
        n_failed = 0
        for outcome in _outcomes(client, todo, folder, n_planned):
            if outcome.state == "failed":
                n_failed += 1
                bar.set_postfix(failed=n_failed)
                tell(f"failed: {outcome.name}: {outcome.error}")
            bar.update()


def _outcomes(
    client: Any, todo: Sequence[KeyedJob], folder: SweepFolder, n_planned: int
) -> "Iterator[Outcome]":
    """Give jobs to workers, few at a time, and yield how they ended."""
    from distributed.scheduler import KilledWorker

    from tasks.sweep_jobs import run_job

    waiting = list(reversed(todo))
    losses = dict.fromkeys((each.name for each in todo), 0)
    begun = {each.name: len(folder.attempts(each.name)) for each in todo}
    running: dict[str, tuple[KeyedJob, Any]] = {}
    ended: Queue[Any] = Queue()

    def submit(keyed: KeyedJob) -> None:
        needs = keyed.job.resources
        tags = {"MEMORY_GIB": needs.memory_gib} | ({"GPU": 1} if needs.gpus else {})
        future = client.submit(
            run_job,
            str(folder.root),
            keyed,
            # A name of its own for each try, since a scheduler remembers failures.
            key=f"{keyed.name}-{losses[keyed.name]}",
            resources=tags,
            pure=False,
        )
        running[future.key] = keyed, future  # a job whose future is gone is dropped
        future.add_done_callback(ended.put)

    while waiting or running:
        # None waits at a worker: one that is slow holds back nothing but its own job.
        n_workers = len(client.nthreads())
        while waiting and len(running) < max(n_workers, n_planned):
            submit(waiting.pop())
        try:
            future = ended.get(timeout=_LOOK_S)
        except Empty:  # workers may have come
            continue
        keyed, _ = running.pop(future.key)
        if future.status == "finished":
            outcome = future.result()
            # What is held lies on its worker, and is computed again with another one.
            future.release()
            yield outcome
            continue
        error = future.exception() if future.status == "error" else None
        if error is None:
            raise ConnectionError(
                "The scheduler was lost. Finished jobs are kept; run the same command "
                "again to go on, with this engine or another."
            )
        if not isinstance(error, KilledWorker):
            raise error
        losses[keyed.name] += 1
        lost = len(folder.attempts(keyed.name)) - begun[keyed.name]
        if max(lost, losses[keyed.name]) < _MOST_LOSSES:
            submit(keyed)
        else:
            yield _give_up(folder, keyed)


def _give_up(folder: SweepFolder, keyed: KeyedJob) -> "Outcome":
    from tasks.sweep_jobs import Outcome

    needed = keyed.job.resources.memory_gib
    error = (
        "Its workers died again and again. It may need more memory than "
        f"`memory_gib = {needed:g}`; its log tells how far it came."
    )
    attempt = Attempt(now(), "", 0, state="failed", error=error)
    folder.write_attempts(keyed.name, [*folder.attempts(keyed.name), attempt])
    return Outcome(keyed.name, "failed", error)


def write_tables(folder: SweepFolder, study: Study, keyed: Sequence[KeyedJob]) -> None:
    """Write the tables of a sweep from what is finished.

    Parameters
    ----------
    folder : SweepFolder
        Its folder.
    study : Study
        The study.
    keyed : sequence of KeyedJob
        All its jobs.

    Raises
    ------
    DataCorruptError
        If a finished job is damaged: a sweep computes it again.
    """
    store = folder.store
    rows, times, scores = [], [], []
    notes: list[str] = []
    fingerprints: dict[str, str] = {}
    for each in keyed:
        state = folder.state(each)
        rows.append({"job": each.name, **_columns(each.job), "state": state})
        for number, attempt in enumerate(folder.attempts(each.name), start=1):
            times.append({"job": each.name, "attempt": number, **asdict(attempt)})
        if state == "finished":
            score = Score.load(store.get_folder(each.key))
            scores.append(score.table.assign(job=each.name))
            fingerprints |= score.provenance.fingerprints
            notes += score.provenance.notes
    if n_missing := len(keyed) - len(scores):
        notes.append(f"{n_missing} of {len(keyed)} jobs of the sweep are not finished")
    columns = [field.name for field in fields(Attempt)]
    with lock(folder.root / JOBS_TABLE):
        write_table(folder.root / JOBS_TABLE, pd.DataFrame(rows))
        table = pd.DataFrame(times, columns=["job", "attempt", *columns])
        write_table(folder.root / TIMES_TABLE, table)
        if scores:
            call = {"task": "sweep", "name": study.name, "jobs": len(keyed)}
            provenance = collect(
                None,
                fingerprints=fingerprints,
                call=call,
                notes=list(dict.fromkeys(notes)),
            )
            table = pd.concat(scores, ignore_index=True)
            Score(table, provenance).save(folder.root)


def _columns(job: Job) -> dict[str, Any]:
    return {
        "task": job.task,
        "model": job.model_name,
        "subject": "" if job.subject is None else str(job.subject),
        "region": job.region or "",
        "seed": job.seed,
    }
