"""The store: found by content, shared by processes, checked when read."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_json, write_json
from neurovis.core.store import Store, lock

PARTS = {"stimuli": "3f2a", "layer": "block5", "version": 1}
ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3).T,
    "number": np.float32(3),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 4)),
}

# A process that computes one entry; it says when it begins and ends on demand.
WORKER = """
import logging, sys, time
from pathlib import Path
import numpy as np
from neurovis.core.store import Store
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
folder, name = Path(sys.argv[1]), sys.argv[2]
def compute():
    (folder / f"begun-{name}").touch()
    while not (folder / f"go-{name}").exists():
        time.sleep(0.01)
    return {"by": np.frombuffer(name.encode(), np.uint8)}
parts = {"stimuli": "3f2a", "layer": "block5", "version": 1}
value = Store(folder / "store").get_or_compute(parts, compute)
print(bytes(value["by"]).decode())
"""


def start_worker(folder, name):
    command = [sys.executable, "-c", WORKER, str(folder), name]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)


@pytest.fixture
def workers():
    """Start workers; none outlives the test."""
    started = []

    def start(folder, name):
        started.append(start_worker(folder, name))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def flip_last_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


# ----------------------------------------------------------------------- keys


def test_a_key_is_the_hash_of_its_parts_in_any_order():
    shuffled = dict(reversed(PARTS.items()))
    assert Store.key(**PARTS) == Store.key(**shuffled) == sha256_json(PARTS)


def test_any_other_part_gives_another_key():
    others = [
        {**PARTS, "version": 2},
        {**PARTS, "version": "1"},
        {**PARTS, "version": 1.0},
        {**PARTS, "dtype": "float32"},
        {"stimuli": "3f2a", "layer": "block5"},
    ]
    keys = {Store.key(**parts) for parts in [PARTS, *others]}
    assert len(keys) == 6


def test_parts_without_meaning_are_refused():
    with pytest.raises(ValueError, match="at least one part"):
        Store.key()
    with pytest.raises(TypeError, match="JSON"):
        Store.key(model=object())


# -------------------------------------------------------------------- entries


def test_arrays_come_back_with_shape_and_dtype(tmp_path):
    store = Store(tmp_path)
    found = store.get(store.put(PARTS, ARRAYS))
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape


def test_a_table_comes_back_equal(tmp_path):
    table = pd.DataFrame({"x": [0.5, np.nan], "word": ["a", None]})
    store = Store(tmp_path)
    found = store.get(store.put(PARTS, table))
    pd.testing.assert_frame_equal(found, table)


def test_entries_are_listed_with_their_parts(tmp_path):
    store = Store(tmp_path / "not yet")
    assert store.keys() == []
    other = {**PARTS, "layer": "block4"}
    keys = [store.put(parts, {"a": np.zeros(1)}) for parts in (PARTS, other)]
    assert store.keys() == sorted(keys)
    assert [store.parts(key) for key in keys] == [PARTS, other]


def test_nothing_but_the_entry_stays_on_disk(tmp_path):
    store = Store(tmp_path)
    key = store.put(PARTS, ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == [key]
    inside = sorted(p.name for p in (tmp_path / key).iterdir())
    assert inside == ["arrays.safetensors", "meta.json"]
    assert len({path.stat().st_mode for path in (tmp_path / key).iterdir()}) == 1


def test_equal_entries_have_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        Store(tmp_path / folder).put(PARTS, ARRAYS)
    key = Store.key(**PARTS)
    for name in ("arrays.safetensors", "meta.json"):
        first, second = (tmp_path / f / key / name for f in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_an_unknown_key_is_a_key_error(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "notes").mkdir()
    for key in (Store.key(**PARTS), "notes", "", ".."):
        with pytest.raises(KeyError, match="no entry"):
            store.get(key)
    assert store.keys() == []


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.array(["text"])},
        {"a": np.array([object()])},
        {"a": np.zeros(2, complex)},
        [1, 2],
        None,
    ],
)
def test_values_that_cannot_be_stored_are_refused_and_leave_nothing(tmp_path, value):
    with pytest.raises(TypeError, match="must"):
        Store(tmp_path).get_or_compute(PARTS, lambda: value)
    assert list(tmp_path.iterdir()) == []


def test_put_replaces_an_older_entry(tmp_path):
    store = Store(tmp_path)
    store.put(PARTS, {"a": np.zeros(2)})
    key = store.put(PARTS, pd.DataFrame({"x": [1]}))
    assert store.get(key)["x"].tolist() == [1]
    assert store.keys() == [key]


# ------------------------------------------------------------------ computing


def test_a_result_is_computed_once_and_then_read(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return pd.DataFrame({"x": [1.5, np.nan]})

    first = Store(tmp_path).get_or_compute(PARTS, compute)
    second = Store(tmp_path).get_or_compute(PARTS, compute)
    pd.testing.assert_frame_equal(first, second)
    assert len(calls) == 1


def test_a_failed_computation_stores_nothing_and_frees_the_lock(tmp_path):
    store = Store(tmp_path)

    def fail():
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        store.get_or_compute(PARTS, fail)
    assert list(tmp_path.iterdir()) == []
    assert store.get_or_compute(PARTS, lambda: ARRAYS)["mask"].tolist() == [True, False]


def test_a_folder_that_cannot_be_written_is_refused_before_computing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    calls = []
    with pytest.raises(NotADirectoryError, match="is a file"):
        Store(tmp_path / "file").get_or_compute(PARTS, lambda: calls.append(1))
    assert calls == []


def spoil_meta(entry):
    meta = json.loads((entry / "meta.json").read_text())
    write_json(entry / "meta.json", {"parts": meta["parts"]})


def spoil_parts(entry):
    meta = json.loads((entry / "meta.json").read_text())
    write_json(entry / "meta.json", meta | {"parts": {"layer": "another"}})


def spoil_file_name(entry):
    meta = json.loads((entry / "meta.json").read_text())
    write_json(entry / "meta.json", meta | {"file": "../../secret"})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: flip_last_byte(entry / "arrays.safetensors"),
        lambda entry: truncate(entry / "arrays.safetensors"),
        lambda entry: (entry / "arrays.safetensors").unlink(),
        lambda entry: truncate(entry / "meta.json"),
        lambda entry: (entry / "meta.json").unlink(),
        spoil_meta,
        spoil_parts,
        spoil_file_name,
    ],
    ids=[
        "byte",
        "cut",
        "no file",
        "cut meta",
        "no meta",
        "fields",
        "parts",
        "file name",
    ],
)
def test_a_damaged_entry_is_named_and_then_computed_again(tmp_path, caplog, spoil):
    store = Store(tmp_path)
    key = store.put(PARTS, {"a": np.arange(50.0)})
    spoil(tmp_path / key)
    with pytest.raises(DataCorruptError, match=key):
        store.get(key)
    with caplog.at_level(logging.WARNING):
        again = store.get_or_compute(PARTS, lambda: {"a": np.arange(3.0)})
    assert again["a"].tolist() == [0, 1, 2]
    assert store.get(key)["a"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == [key]
    assert "computing again" in caplog.text


def test_leftovers_of_a_killed_writer_are_ignored_and_removed(tmp_path):
    store = Store(tmp_path)
    key = Store.key(**PARTS)
    for rest in (f"{key}.part-99999", f"{key}.part-{os.getpid()}"):
        (tmp_path / rest).mkdir()
        (tmp_path / rest / "arrays.safetensors").write_bytes(b"half")
    assert store.keys() == []
    store.get_or_compute(PARTS, lambda: ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == [key]


# -------------------------------------------------------------------- locking


def test_a_lock_names_its_holder_and_refuses_a_second_one(tmp_path):
    target = tmp_path / "a.txt"
    with lock(target):
        holder = json.loads((tmp_path / "a.txt.lock").read_text())
        assert holder == {"pid": os.getpid(), "host": socket.gethostname()}
        message = f'held by another writer.*"pid": {os.getpid()}'
        with pytest.raises(BlockingIOError, match=message), lock(target, wait=False):
            pass
    assert list(tmp_path.iterdir()) == []
    with lock(target, wait=False):
        assert (tmp_path / "a.txt.lock").exists()


def test_a_lock_file_without_a_living_holder_is_taken_over(tmp_path):
    stale = tmp_path / "a.txt.lock"
    stale.write_text('{"pid": 4194304, "host": "elsewhere", "longer": "than ours"}' * 2)
    with lock(tmp_path / "a.txt", wait=False):
        assert json.loads(stale.read_text())["pid"] == os.getpid()
    assert not stale.exists()


def test_a_lock_is_freed_after_an_error(tmp_path):
    def fail():
        with lock(tmp_path / "a.txt"):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_threads_that_share_a_lock_take_turns(tmp_path):
    inside, most, turns = [], [], []

    def work():
        for _ in range(30):
            with lock(tmp_path / "a.txt"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                turns.append(1)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(turns) == 120
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_waits_and_reads_instead_of_computing(tmp_path, workers):
    first = workers(tmp_path, "first")
    wait_for(tmp_path / "begun-first")
    second = workers(tmp_path, "second")
    told = second.stderr.readline()
    assert "waiting for" in told
    assert f'"pid": {first.pid}' in told
    (tmp_path / "go-first").touch()
    assert first.communicate()[0] == "first\n"
    assert second.communicate()[0] == "first\n"
    assert not (tmp_path / "begun-second").exists()
    key = Store.key(**PARTS)
    assert [p.name for p in (tmp_path / "store").iterdir()] == [key]
    arrays = load_file(tmp_path / "store" / key / "arrays.safetensors")
    assert arrays["by"].tobytes() == b"first"


def test_the_lock_of_a_killed_process_goes_to_the_one_that_waits(tmp_path, workers):
    first = workers(tmp_path, "first")
    wait_for(tmp_path / "begun-first")
    second = workers(tmp_path, "second")
    assert "waiting for" in second.stderr.readline()
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    (tmp_path / "go-second").touch()
    assert second.communicate()[0] == "second\n"
    assert [p.name for p in (tmp_path / "store").iterdir()] == [Store.key(**PARTS)]


def test_the_lock_file_of_a_killed_process_does_not_stop_a_later_one(tmp_path, workers):
    first = workers(tmp_path, "first")
    wait_for(tmp_path / "begun-first")
    first.kill()
    first.wait()
    key = Store.key(**PARTS)
    left = (tmp_path / "store" / f"{key}.lock").read_text()
    assert json.loads(left)["pid"] == first.pid
    found = Store(tmp_path / "store").get_or_compute(PARTS, lambda: ARRAYS)
    assert found["number"] == 3
    assert [p.name for p in (tmp_path / "store").iterdir()] == [key]


def test_a_child_that_outlives_the_lock_does_not_keep_it(tmp_path):
    # A forked worker inherits the handle of the lock file.
    code = f"""
import os, signal, threading, time
from neurovis.core.store import lock
target = {str(tmp_path / "a.txt")!r}
done = threading.Event()
def wait():
    with lock(target):
        done.set()
with lock(target):
    child = os.fork()
    if child == 0:
        time.sleep(50)
        os._exit(0)
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    early = done.is_set()
late = done.wait(20)
os.kill(child, signal.SIGKILL)
thread.join()
print(early, late)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False True\n", done.stderr


def _fill(folder):
    (folder / "inside").mkdir(exist_ok=True)
    (folder / "scores.txt").write_text("0.5")
    (folder / "inside" / "more.txt").write_text("x")


def test_files_are_filled_once_and_then_found(tmp_path):
    store, calls = Store(tmp_path / "store"), []

    def fill(folder):
        calls.append(folder)
        _fill(folder)

    parts = {"job": 1}
    folder = store.get_or_fill(parts, fill)
    assert store.get_or_fill(parts, fill) == folder == store.root / store.key(**parts)
    assert len(calls) == 1
    assert (folder / "inside" / "more.txt").read_text() == "x"
    assert store.parts(store.key(**parts)) == parts
    assert store.key(**parts) in store
    assert sorted(p.name for p in store.root.iterdir()) == [store.key(**parts)]


def test_an_interrupted_filling_finds_what_it_left(tmp_path):
    store, parts = Store(tmp_path), {"job": 1}

    def interrupted(folder):
        (folder / "half.txt").write_text("first half")
        (folder / "table.part-71").write_text("torn")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_or_fill(parts, interrupted)
    assert store.key(**parts) not in store
    assert store.keys() == []
    found = []
    folder = store.get_or_fill(parts, lambda folder: found.extend(folder.iterdir()))
    assert {path.name for path in found} == {"half.txt", "table.part-71"}
    assert {path.name for path in folder.iterdir()} == {"half.txt", "meta.json"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "scores.txt").write_text("0.6"),
        lambda folder: (folder / "inside" / "more.txt").unlink(),
        lambda folder: (folder / "new.txt").write_text(""),
        lambda folder: (folder / "meta.json").write_text("{}"),
        lambda folder: (folder / "meta.json").unlink(),
    ],
    ids=["changed", "missing", "added", "no parts", "no meta"],
)
def test_damaged_files_are_named_and_then_filled_again(tmp_path, caplog, spoil):
    store, parts = Store(tmp_path), {"job": 1}
    folder = store.get_or_fill(parts, _fill)
    spoil(folder)
    with pytest.raises(DataCorruptError, match="is damaged"):
        store.get_folder(folder.name)
    assert store.get_or_fill(parts, _fill) == folder
    assert "computing again" in caplog.text
    assert (store.get_folder(folder.name) / "scores.txt").read_text() == "0.5"


def test_an_entry_of_files_is_no_table(tmp_path):
    store = Store(tmp_path)
    key = store.get_or_fill({"job": 1}, _fill).name
    with pytest.raises(DataCorruptError, match="not that of an entry"):
        store.get(key)
    with pytest.raises(KeyError, match="no entry"):
        store.get_folder("0" * 64)
