"""Workers on this machine: processes of their own that are started again when they die.

Scheduler and workers listen on the loopback interface alone. A worker is started as on
a cluster, by a command: it does not import the script of the user, Ctrl-C does not
reach it, and what it prints goes to a log.
"""

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.engine_workers import (
    SCRATCH,
    Encryption,
    WorkerNeeds,
    last_lines,
    make_encryption,
    repeated,
    security_of,
    worker_command,
    worker_variables,
)

LOOPBACK = "127.0.0.1"
_GIB = 2**30
_CHECK_S = 1.0
# A process that dies younger than this is not started again at once.
_YOUNG_S = 20.0
_STOP_S = 10.0


@dataclass(frozen=True)
class LocalPlan:
    """Workers that fit on this machine.

    Parameters
    ----------
    devices : tuple of str
        For each worker the value of ``CUDA_VISIBLE_DEVICES``; "" for none.
    memory_gib : float
        Memory of each worker in GiB.
    """

    devices: tuple[str, ...]
    memory_gib: float


def plan_local_workers(
    n_workers: int | None,
    needs: WorkerNeeds,
    *,
    n_processors: int,
    memory_gib: float,
    devices: tuple[str, ...],
) -> LocalPlan:
    """Say how many workers run and what each gets.

    Parameters
    ----------
    n_workers : int or None
        Workers that the user asked for; None for as many as fit.
    needs : WorkerNeeds
        The largest that a job needs.
    n_processors : int
        Processors of the machine.
    memory_gib : float
        Memory of the machine in GiB.
    devices : tuple of str
        CUDA devices of the machine, as ``CUDA_VISIBLE_DEVICES`` names them.

    Returns
    -------
    LocalPlan
        Equal shares of the memory. Workers with CUDA devices come first; jobs that
        need none see none on the others.

    Raises
    ------
    ValueError
        If jobs need more than there is.
    """
    if needs.gpus > len(devices):
        raise ValueError(
            f"Jobs of this study need {needs.gpus} CUDA device(s) each and this "
            f"machine has {len(devices)}. Take an engine whose workers have them "
            "(slurm:PROFILE with `gpus_per_worker`), or set `gpus = 0`."
        )
    fit_memory = int(memory_gib / needs.memory_gib + 1e-9)
    if n_workers is None:
        n_workers = max(1, min(n_processors // needs.threads, fit_memory))
    if n_workers > fit_memory:
        raise ValueError(
            f"{n_workers} worker(s) x {needs.memory_gib:g} GiB are "
            f"{n_workers * needs.memory_gib:g} GiB and this machine has "
            f"{memory_gib:.1f} GiB. Ask for at most {fit_memory} worker(s), or for "
            "less memory per job."
        )
    own: list[str] = []
    if needs.gpus:
        groups = range(0, len(devices) - needs.gpus + 1, needs.gpus)
        own = [",".join(devices[first : first + needs.gpus]) for first in groups]
    visible = [*own, *[""] * n_workers][:n_workers]
    share = max(needs.memory_gib, math.floor(100 * memory_gib / n_workers) / 100)
    return LocalPlan(tuple(visible), share)


def cuda_devices(variables: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the CUDA devices that this process may use.

    Parameters
    ----------
    variables : mapping of str to str
        The environment, by default that of this process.

    Returns
    -------
    tuple of str
        Names for ``CUDA_VISIBLE_DEVICES``.
    """
    import torch

    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [d.strip() for d in variables.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    named = [d for d in named if d] or [str(number) for number in range(n_devices)]
    return tuple(named[:n_devices])


@contextmanager
def local_scheduler(
    n_workers: int | None,
    needs: WorkerNeeds,
    folder: Path,
    on_event: Callable[[str], None],
) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Run a scheduler and workers on this machine.

    Parameters
    ----------
    n_workers : int or None
        Workers; None for as many as fit.
    needs : WorkerNeeds
        The largest that a job needs.
    folder : Path
        Folder of the sweep: logs go to ``workers``.
    on_event : callable
        Takes sentences for the user.

    Yields
    ------
    cluster : distributed.SpecCluster
        Takes clients.
    problem : callable
        Says why no worker will come; "" while some may.

    Raises
    ------
    ValueError
        If jobs need more than this machine has.
    """
    import distributed
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    plan = plan_local_workers(
        n_workers,
        needs,
        n_processors=CPU_COUNT,
        memory_gib=MEMORY_LIMIT / _GIB,
        devices=cuda_devices() if needs.gpus else (),
    )
    if len(plan.devices) * needs.threads > CPU_COUNT:
        on_event(
            f"{len(plan.devices)} workers x {needs.threads} thread(s) share "
            f"{CPU_COUNT} processor(s)"
        )
    encryption = None
    if shutil.which("openssl"):
        encryption = make_encryption(folder)
    else:
        on_event(
            "no program `openssl`: connections to workers are not encrypted, and other "
            "users of this machine can reach them"
        )
    security = security_of(encryption)
    options = {
        "host": LOOPBACK,
        "port": 0,
        "protocol": "tls://" if encryption else "tcp://",
        "security": security,
        "dashboard": False,
        "dashboard_address": f"{LOOPBACK}:0",
    }
    scheduler = {"cls": distributed.Scheduler, "options": options}
    start: Any = distributed.SpecCluster
    with (
        start(scheduler=scheduler, security=security, name="neurovis") as cluster,
        _processes(
            cluster.scheduler_address, plan, needs, folder, encryption, on_event
        ) as problem,
    ):
        yield cluster, problem


@dataclass
class _Slot:
    process: "subprocess.Popen[bytes]"
    started_s: float


@contextmanager
def _processes(
    address: str,
    plan: LocalPlan,
    needs: WorkerNeeds,
    folder: Path,
    encryption: Encryption | None,
    on_event: Callable[[str], None],
) -> Iterator[Callable[[], str]]:
    logs = folder / "workers"
    logs.mkdir(exist_ok=True)
    slots: list[_Slot] = []

    def start(number: int) -> _Slot:
        command = worker_command(
            address,
            f"worker-{number}",
            python=sys.executable,
            memory_gib=plan.memory_gib,
            limit_gib=plan.memory_gib,
            gpus=needs.gpus if plan.devices[number] else 0,
            scratch=folder / SCRATCH,
            encryption=encryption,
        )
        command += ["--host", LOOPBACK, "--dashboard-address", f"{LOOPBACK}:0"]
        variables = worker_variables(needs.threads)
        variables["CUDA_VISIBLE_DEVICES"] = plan.devices[number]
        with (logs / f"worker-{number}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the one who started us
            )
        return _Slot(process, time.monotonic())

    def problem() -> str:
        if any(slot.process.poll() is None for slot in slots):
            return ""
        return (
            f"No worker could be started. The log {logs / 'worker-0.log'} ends with:\n"
            f"{last_lines(logs / 'worker-0.log')}"
        )

    def start_again() -> None:
        for number, slot in enumerate(slots):
            code = slot.process.poll()
            if code is None or time.monotonic() - slot.started_s < _YOUNG_S:
                continue
            log = logs / f"worker-{number}.log"
            on_event(
                f"worker-{number} ended with code {code} and is started again; its log "
                f"{log} ends with: {last_lines(log, 1)}"
            )
            slots[number] = start(number)

    with ExitStack() as stack:
        stack.callback(_stop, slots)
        slots.extend(start(number) for number in range(len(plan.devices)))
        stack.enter_context(repeated(start_again, _CHECK_S))
        yield problem


def _stop(slots: list[_Slot]) -> None:
    for slot in slots:
        slot.process.terminate()
    end_s = time.monotonic() + _STOP_S
    for slot in slots:
        with suppress(subprocess.TimeoutExpired):
            slot.process.wait(max(0.0, end_s - time.monotonic()))
    for slot in slots:
        if slot.process.poll() is None:
            slot.process.kill()
        slot.process.wait()
