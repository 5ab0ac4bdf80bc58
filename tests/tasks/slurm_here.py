"""A real Slurm of one node on this machine, for tests."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scancel", "sinfo", "squeue", "srun")
N_CPUS = 8
# No munge, no control groups and no accounting: one user on one machine. The node says
# that it has more processors than there are, so that two workers fit on one.
CONFIGURATION = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
KillWait=2
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory={mib}
PartitionName=short Nodes=node1 Default=YES MaxTime=01:00:00 State=UP
"""


@contextmanager
def running_slurm(folder):
    """Run slurmctld and slurmd in `folder`; commands find them by SLURM_CONF."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        pytest.skip(f"no {missing[0]} on PATH: apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs as root only: run the tests as root")
    configuration = Path(folder) / "slurm.conf"
    for name in ("state", "spool"):
        (Path(folder) / name).mkdir()
    controller_port, node_port = _free_ports(2)
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname(),
            folder=folder,
            controller_port=controller_port,
            node_port=node_port,
            n_cpus=N_CPUS,
            mib=_memory_mib(),
        )
    )
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(configuration))
        for name, arguments in (
            ("slurmctld", ["-D"]),
            ("slurmd", ["-D", "-N", "node1"]),
        ):
            stack.enter_context(_running([program(name), *arguments], folder, name))
        stack.callback(_cancel_all)
        _wait_until_idle(folder)
        yield configuration


def slurm(*command):
    """Run a command of Slurm and return what it prints."""
    done = subprocess.run(
        [program(command[0]), *command[1:]],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout


def jobs():
    """Numbers of the jobs that run or wait."""
    return slurm("squeue", "--noheader", "--format", "%i").split()


def program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def _running(command, folder, name):
    with (Path(folder) / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(folder):
    state = ""
    for _ in range(100):
        found = subprocess.run(
            [program("sinfo"), "--noheader", "--format", "%T"],
            capture_output=True,
            text=True,
        )
        state = (found.stdout or found.stderr).strip()
        if state == "idle":
            return
        time.sleep(0.2)
    logs = [p.read_text()[-2000:] for p in sorted(Path(folder).glob("slurm*.log"))]
    pytest.fail(f"Slurm did not become idle: {state}\n" + "\n".join(logs))


def _cancel_all():
    slurm("scancel", "--user", "root")
    for _ in range(100):
        if not jobs():
            return
        time.sleep(0.2)


def _free_ports(n_ports):
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(closing(socket.socket())) for _ in range(n_ports)
        ]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _memory_mib():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
