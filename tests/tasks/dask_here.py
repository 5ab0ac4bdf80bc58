"""A real Dask scheduler with workers on the loopback interface, for tests."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DASK = str(Path(sys.executable).with_name("dask"))
TAGS = "MEMORY_GIB=1,GPU=0"


@contextmanager
def running_dask(folder, n_workers=1, *, tags=TAGS, n_threads=1, prefix=()):
    """Run ``dask scheduler`` and ``dask worker``; yield the address and processes.

    The first process is the scheduler; `prefix` is a command that starts workers.
    """
    file = Path(folder) / "scheduler.json"
    with ExitStack() as stack:
        command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        command += ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
        processes = [stack.enter_context(_running(command, folder, "scheduler"))]
        address = wait_until(lambda: _address_in(file), 60)
        for number in range(n_workers):
            command = ["worker", address, "--host", "127.0.0.1", "--no-dashboard"]
            command += ["--nthreads", str(n_threads), "--name", f"mine-{number}"]
            command += ["--local-directory", str(folder), "--death-timeout", "20"]
            command += ["--resources", tags] if tags else []
            worker = _running(command, folder, f"mine-{number}", prefix)
            processes.append(stack.enter_context(worker))
        yield address, processes


@contextmanager
def _running(arguments, folder, name, prefix=()):
    with (Path(folder) / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*prefix, DASK, *arguments],
            env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(folder)},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address_in(file):
    # Dask writes the file in pieces.
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads(file.read_text())["address"]


def wait_until(true, seconds=30):
    """Wait for a function to return something true, and return it."""
    for _ in range(int(seconds / 0.1)):
        if found := true():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds} s: {true}")


def is_running(pid):
    """Tell whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
