"""Many processes on one entry of the store."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.store import Store, lock

PARTS = {"stimuli": "3f2a", "layer": "block5", "version": 1}
KEY = Store.key(**PARTS)
VALUES = np.arange(2000.0)
SHA256 = hashlib.sha256(VALUES.tobytes()).hexdigest()

# One process imports the store; those that ask are its children, and begin together
# when all are there. A file tells who computed. It prints what the children read, and
# what else it had to import.
CROWD = """
import hashlib, os, signal, sys, time
from pathlib import Path
import numpy as np
from neurovis.core.store import Store

folder, kind, n, wait_s = Path(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:])
parts = {"stimuli": "3f2a", "layer": "block5", "version": 1}
store = Store(folder / "store")

def compute():
    (folder / f"computed-{os.getpid()}").touch()
    time.sleep(wait_s)
    return {"value": np.arange(2000.0)}

def fill(work):
    np.save(work / "value.npy", compute()["value"])

def ask():
    if kind == "fill":
        return np.load(store.get_or_fill(parts, fill) / "value.npy")
    if kind == "put":
        for _ in range(20):
            store.put(parts, {"value": np.arange(2000.0)})
            found = store.get_or_compute(parts, compute)["value"]
        return found
    return store.get_or_compute(parts, compute)["value"]

children = []
for number in range(int(n)):
    child = os.fork()
    if not child:
        (folder / f"ready-{number}").touch()
        while not (folder / "go").exists():
            time.sleep(0.001)
        sha = hashlib.sha256(ask().tobytes()).hexdigest()
        (folder / f"read-{number}").write_text(sha)
        os._exit(0)
    children.append(child)
while len(list(folder.glob("ready-*"))) < n:
    time.sleep(0.001)
(folder / "go").touch()
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [0] * len(children), codes
print("torch" in sys.modules)
"""


def start(folder, kind="compute", n=1, wait_s=0.0):
    """Let so many processes ask for one entry."""
    command = [sys.executable, "-c", CROWD, folder, kind, n, wait_s]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*map(str, command)], **pipes, start_new_session=True)


def crowd(folder, kind="compute", n=8, wait_s=0.1):
    """Return how many computed, and what all have read."""
    for path in folder.glob("computed-*"):  # by a process that was killed
        path.unlink()
    (folder / "ready-0").unlink(missing_ok=True)
    (folder / "go").unlink(missing_ok=True)
    with start(folder, kind, n, wait_s) as process:
        output, errors = process.communicate(timeout=50)
    assert (process.returncode, output) == (0, "False\n"), errors
    read = [path.read_text() for path in folder.glob("read-*")]
    assert len(read) == n
    return len(list(folder.glob("computed-*"))), set(read)


@pytest.fixture
def held(tmp_path):
    """A process that computes for long; the one that ends it is the test."""
    process = start(tmp_path, wait_s=60)
    deadline = time.monotonic() + 50
    while not list(tmp_path.glob("computed-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    (holder,) = (int(p.name.split("-")[1]) for p in tmp_path.glob("computed-*"))
    yield holder
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def contents(folder):
    """All files below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def compute_alone(root):
    return Store(root).get_or_compute(PARTS, lambda: {"value": VALUES})


def fill_alone(root):
    fill = partial(np.save, arr=VALUES)
    return Store(root).get_or_fill(PARTS, lambda work: fill(work / "value.npy"))


def assert_as_alone(folder):
    """The store holds what one undisturbed process writes, and nothing else."""
    compute_alone(folder / "alone")
    assert contents(folder / "store") == contents(folder / "alone")


# ------------------------------------------------------------------- one computes


@pytest.mark.parametrize("n", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_of_many_processes_one_computes_and_all_read_the_same(tmp_path, told, n):
    assert crowd(tmp_path, n=n) == (1, {SHA256})
    assert_as_alone(tmp_path)
    told(
        f"{n} processes ask for one missing entry at once",
        f"one computes; all {n} read the same bytes, those of a process alone",
    )


@pytest.mark.slow
def test_of_many_processes_one_fills_a_folder(tmp_path, told):
    assert crowd(tmp_path, "fill") == (1, {SHA256})
    left = sorted(contents(tmp_path / "store"))
    assert left == [f"{KEY}/meta.json", f"{KEY}/value.npy"]
    told(
        "eight processes want one folder of files filled at once",
        "one fills it; all read the same bytes",
    )


def test_processes_that_replace_an_entry_never_show_a_half_one(tmp_path, told):
    _, read = crowd(tmp_path, "put", n=4, wait_s=0)
    assert read == {SHA256}
    assert_as_alone(tmp_path)
    told(
        "four processes replace one entry again and again, and read it in between",
        "whole entries only",
    )


# --------------------------------------------------------------------- dead holders


def test_the_entry_of_a_killed_process_is_computed_by_one_of_eight(
    tmp_path, told, held
):
    os.kill(held, signal.SIGKILL)
    left = json.loads((tmp_path / "store" / f"{KEY}.lock").read_text())
    assert left == {"pid": held, "host": socket.gethostname()}
    assert crowd(tmp_path) == (1, {SHA256})
    assert_as_alone(tmp_path)
    told(
        "the process that computes is killed (SIGKILL); its lock file stays",
        "one of eight others computes; the lock file is gone",
    )


def test_garbage_in_a_lock_file_stops_nobody(tmp_path, told):
    (tmp_path / "store").mkdir()
    stale = tmp_path / "store" / f"{KEY}.lock"
    for garbage in (b"", b"\xff\x00" * 5000, b'{"pid": 1}', b"<!DOCTYPE html>"):
        stale.write_bytes(garbage)
        with lock(tmp_path / "store" / KEY, wait=False):
            assert json.loads(stale.read_text())["pid"] == os.getpid()
        assert not stale.exists()
    stale.write_bytes(b"\xff\x00" * 5000)
    compute_alone(tmp_path / "store")
    assert_as_alone(tmp_path)
    told(
        "a lock file with garbage was left behind",
        "the next process takes it over, and removes it at the end",
    )


def test_who_must_not_wait_is_told_who_holds_the_lock(tmp_path, told, held):
    store = Store(tmp_path / "store")
    found = store.get_or_compute({"layer": "x"}, lambda: {"a": VALUES})
    np.testing.assert_array_equal(found["a"], VALUES)
    told("another process computes another entry", "no waiting")
    target = store.root / KEY
    with (
        pytest.raises(BlockingIOError, match=f'"pid": {held}, "host"') as caught,
        lock(target, wait=False),
    ):
        pass
    assert target.with_name(f"{KEY}.lock").exists()
    os.kill(held, 0)  # it was at work all the time
    text = str(caught.value).replace(str(held), "71")
    told(
        "a living process writes what a second one must not wait for",
        text.replace(socket.gethostname(), "node7"),
    )


# ------------------------------------------------------------------ damaged entries


@pytest.mark.parametrize(
    "kind", ["compute", pytest.param("fill", marks=pytest.mark.slow)]
)
def test_a_damaged_entry_is_computed_once_more_for_eight_readers(tmp_path, told, kind):
    (compute_alone if kind == "compute" else fill_alone)(tmp_path / "store")
    whole = contents(tmp_path / "store")
    (path,) = (p for p in (tmp_path / "store" / KEY).iterdir() if p.suffix != ".json")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    store = Store(tmp_path / "store")
    with pytest.raises(DataCorruptError, match=KEY) as caught:
        store.get(KEY) if kind == "compute" else store.get_folder(KEY)
    assert crowd(tmp_path, kind) == (1, {SHA256})
    assert contents(tmp_path / "store") == whole
    told("a byte of an entry is flipped, and the entry is read", caught.value)
    told(
        "eight processes ask for the damaged entry at once",
        "one computes it again; all read the right bytes",
    )
