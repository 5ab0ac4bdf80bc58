"""Engines: where the jobs of a sweep run, each given as a connected Dask client.

``local:4`` starts workers on this machine, ``dask:tcp://host:8786`` takes those of a
scheduler that runs, ``slurm:PROFILE`` submits them as jobs of Slurm. A worker of any
of them is a process that does one job at a time and says what it has by the tags
``MEMORY_GIB`` and ``GPU``: jobs are sent by ``client.submit(..., resources={...})``.
"""

import logging
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from neurovis.core.checks import check_option, check_path
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.files import check_writable_folder, read_json
from tasks.engine_workers import SCRATCH, WorkerNeeds
from tasks.local_workers import local_scheduler
from tasks.scheduler_checks import check_tags, check_workers
from tasks.slurm_profile import read_profile
from tasks.slurm_workers import slurm_scheduler

KINDS = ("local", "dask", "slurm")
SCHEDULER_LOG = "scheduler.log"
"""File, in the folder of the sweep, of what Dask says."""

_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://([^\s/:\[\]]+|\[[^\s/\[\]]+\]):\d{1,5}")
_CONNECT_S = 10.0
_CONFIGURATION = {
    # A worker that is killed is no fault of the jobs that waited for it.
    "distributed.scheduler.allowed-failures": 10,
    # Pages for browsers: nobody asked for an open port.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_LOGGERS = ("distributed", "tornado", "asyncio", "bokeh", "dask_jobqueue")


@dataclass(frozen=True)
class EngineSpec:
    """An engine, as `parse_engine` reads it.

    Parameters
    ----------
    kind : {"local", "dask", "slurm"}
        Who runs the workers.
    n_workers : int, optional
        Workers of "local"; as many as fit by default.
    address : str, optional
        Address of a scheduler, or its file, of "dask".
    profile : str, optional
        Name or file of a profile, of "slurm".
    """

    kind: Literal["local", "dask", "slurm"]
    n_workers: int | None = None
    address: str | None = None
    profile: str | None = None


def parse_engine(text: str) -> EngineSpec:
    """Read an engine from its text.

    Parameters
    ----------
    text : str
        "local", "local:4", "dask:tcp://host:8786", "dask:FILE.json" (what
        ``dask scheduler --scheduler-file`` writes), "slurm:NAME" or
        "slurm:FILE.toml".

    Returns
    -------
    EngineSpec
        The parts.

    Raises
    ------
    ValueError
        If the text is none of these.

    Examples
    --------
    >>> parse_engine("local:4").n_workers
    4
    >>> parse_engine("dask:tcp://host:8786").address
    'tcp://host:8786'
    """
    kind, colon, rest = text.partition(":")
    check_option("engine", kind, KINDS)
    if kind == "local":
        if not colon:
            return EngineSpec("local")
        if not (rest.isascii() and rest.isdigit() and int(rest) > 0):
            raise ValueError(
                f"The engine 'local' takes a number of workers >= 1, such as local:4; "
                f"got {text!r}."
            )
        return EngineSpec("local", n_workers=int(rest))
    if kind == "dask":
        if not (_ADDRESS.fullmatch(rest) or rest.endswith(".json")):
            raise ValueError(
                "The engine 'dask' takes the address of a scheduler with its port, "
                f"dask:tcp://host:8786, or its file, dask:FILE.json; got {text!r}."
            )
        return EngineSpec("dask", address=rest)
    if not rest.strip():
        raise ValueError(
            "The engine 'slurm' takes a profile: slurm:NAME for the table [slurm.NAME] "
            f"of the study, or slurm:FILE.toml; got {text!r}."
        )
    return EngineSpec("slurm", profile=rest)


@contextmanager
def open_engine(
    spec: EngineSpec,
    needs: WorkerNeeds,
    *,
    folder: Path,
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
    on_event: Callable[[str], None],
    connect_s: float = _CONNECT_S,
) -> Iterator[Any]:
    """Connect to workers, starting them first where the engine is ours.

    Workers that die are started again, and Dask gives their jobs to others; what it
    says goes to ``scheduler.log`` in the folder. A result lies on its worker as long as
    its future is held, and is computed again when that worker dies: fetch results when
    they are there, and release the futures.

    Parameters
    ----------
    spec : EngineSpec
        Which engine.
    needs : WorkerNeeds
        The largest that a job of the study needs.
    folder : Path
        Folder of the sweep; all workers must see it.
    profiles : mapping of str to mapping, optional
        Tables ``[slurm.NAME]`` of the study.
    on_event : callable
        Takes sentences for the user; called from other threads too.
    connect_s : float, default 10
        How long a scheduler that runs may take to answer, in seconds.

    Yields
    ------
    distributed.Client
        Connected, with a worker at least. It is closed, and what was started is ended,
        when the block is left. It is not the default client of the process: give its
        loop to ``as_completed(futures, loop=client.loop)``.

    Raises
    ------
    ChildProcessError
        If no worker can be started.
    ConnectionError
        If no scheduler answers, or it has no workers.
    FileNotFoundError
        If a file is missing, there is no Slurm, or a worker does not see the folder.
    KeyError
        If there is no such profile.
    MissingDependencyError
        If a package is missing.
    ValueError
        If the workers cannot do the jobs.
    """
    _check_installed()
    import dask
    import distributed

    profile = read_profile(spec.profile, profiles) if spec.profile else None
    folder = check_writable_folder(Path(folder).absolute())
    with ExitStack() as stack:
        stack.enter_context(_logs_in(folder / SCHEDULER_LOG))
        scratch = stack.enter_context(_scratch_in(folder))
        stack.enter_context(
            dask.config.set({**_CONFIGURATION, "temporary-directory": str(scratch)})
        )
        if spec.kind == "dask":
            address, client = _connect(cast(str, spec.address), connect_s)
            stack.enter_context(client)
            _wait_for_workers(client, connect_s, address)
            check_tags(
                client.scheduler_info()["workers"], needs, on_event, address=address
            )
            check_workers(client, folder, on_event, address=address)
        else:
            if profile is None:
                engine = local_scheduler(spec.n_workers, needs, folder, on_event)
            else:
                engine = slurm_scheduler(profile, needs, folder, on_event)
            cluster, problem = stack.enter_context(engine)
            connect: Any = distributed.Client
            client = stack.enter_context(connect(cluster, set_as_default=False))
            _wait_for_first(client, problem)
            if profile is not None:
                check_workers(client, folder, on_event, address="Slurm")
        client.subscribe_topic("all", _teller(on_event))
        yield client


def _check_installed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Sweeps need the package distributed, which is not installed. Run: pip "
            'install "neurovis[cluster]"'
        ) from error


def _connect(address: str, connect_s: float) -> tuple[str, Any]:
    import distributed

    if address.endswith(".json"):
        path = check_path("engine", address)
        content = read_json(path)
        if not isinstance(content, dict) or "address" not in content:
            raise DataCorruptError(
                f"{path} is no file of a scheduler: it has no `address`. Make it by: "
                f"dask scheduler --scheduler-file {path}"
            )
        address = str(content["address"])
    connect: Any = distributed.Client
    try:
        client = connect(address, timeout=connect_s, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"No Dask scheduler answers at {address} within {connect_s:g} s. Start one "
            "by: dask scheduler (it prints its address), and see that no firewall lies "
            "between."
        ) from error
    return address, client


def _wait_for_workers(client: Any, connect_s: float, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=connect_s)
    except TimeoutError as error:
        raise ConnectionError(
            f"The scheduler at {address} has no workers. Start some by: dask worker "
            f'{address} --nthreads 1 --resources "MEMORY_GIB=8"'
        ) from error


def _wait_for_first(client: Any, problem: Callable[[], str]) -> None:
    """Wait for a worker as long as one may come."""
    while not client.scheduler_info()["workers"]:
        if reason := problem():
            raise ChildProcessError(reason)
        time.sleep(0.1)


def _teller(on_event: Callable[[str], None]) -> Callable[[tuple[float, Any]], None]:
    """Return what turns the scheduler's events into sentences."""

    def tell(event: tuple[float, Any]) -> None:
        _, what = event
        if what.get("action") == "remove-worker" and not what.get("expected"):
            on_event(f"worker {what['worker']} was lost; its jobs go to others")

    return tell


@contextmanager
def _scratch_in(folder: Path) -> Iterator[Path]:
    scratch = folder / SCRATCH
    scratch.mkdir(exist_ok=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        # A scheduler puts its folder before all others, for good.
        sys.path[:] = [p for p in sys.path if not p.startswith(str(scratch))]


@contextmanager
def _logs_in(path: Path) -> Iterator[None]:
    """Send what Dask logs to a file instead of the terminal."""
    names = [
        name
        for name in logging.root.manager.loggerDict
        if name.partition(".")[0] in _LOGGERS
    ]
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    kept = []
    for name in {*names, *_LOGGERS}:
        logger = logging.getLogger(name)
        kept.append((logger, logger.handlers[:], logger.propagate))
        top = name in _LOGGERS
        logger.handlers[:] = [handler] if top else []
        logger.propagate = not top
    try:
        yield
    finally:
        for logger, handlers, propagate in kept:
            logger.handlers[:] = handlers
            logger.propagate = propagate
        handler.close()
