"""A preparation that is killed, or runs out of disk, ends as one that was not."""

import errno
import inspect
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data_loaders.beta_files import open_beta_file
from data_loaders.beta_preparation import BetaPart, Recording, prepare_responses
from neurovis.core.brain_space import VolumeSpace

GRID = (10, 12, 8)


def open_recording(folder):
    """Every other voxel of all sessions in a folder; three trials per image."""
    files = tuple(open_beta_file(path) for path in sorted(folder.glob("betas*")))
    space = VolumeSpace("func", files[0].grid)
    places = np.arange(0, space.n_units, 2)
    n = files[0].n_trials
    ids = np.random.default_rng(0).permutation(np.arange(len(files) * n) // 3)
    trials = pd.DataFrame(
        {
            "stimulus_id": [f"{i:05d}" for i in ids],
            "session": np.repeat(np.arange(len(files)), n) + 1,
            "file": np.repeat(np.arange(len(files)), n),
            "row": np.tile(np.arange(n), len(files)),
        }
    )
    part = BetaPart(files, places)
    return Recording("made", "s1", (part,), trials, space.locate(places), space=space)


# One process imports what is needed; every attempt is a fork of it.
PRELUDE = f"""
import errno, json, os, random, shutil, signal, sys, time
from pathlib import Path

import numpy as np
import pandas as pd

from data_loaders.beta_files import open_beta_file
from data_loaders.beta_preparation import BetaPart, Recording, prepare_responses
from neurovis.core.brain_space import VolumeSpace

{inspect.getsource(open_recording)}

def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


folder = Path(sys.argv[1])
recording = open_recording(folder)
"""


def make_files(folder, suffix, n_sessions=3, n_trials=40):
    """Write sessions with a few voxels that are incomplete."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for s in range(n_sessions):
        values = rng.integers(-3000, 3000, (*GRID, n_trials)).astype(np.int16)
        values[:, s] = 0
        path = folder / f"betas{s}{suffix}"
        if suffix == ".npy":
            np.save(path, values)
        else:
            nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return open_recording(folder)


def contents(store):
    """All files but remembered hashes, which tell times, and locks that are free."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
        and path.parent.name != "hashes"
        and not path.name.startswith(".probe.part-")
        and path.suffix != ".lock"
    }


def run(code, folder, *arguments, **options):
    return subprocess.run(
        [
            sys.executable,
            "-c",
            PRELUDE + textwrap.dedent(code),
            str(folder),
            *arguments,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


# ------------------------------------------------------------------------ kills

KILLS = """
def attempt(name, n_calls, units_per_block):
    child = os.fork()
    if child:
        return child
    calls = []

    def counted(function):
        def call(*arguments, **options):
            # Before a file gets its name, and before every piece that is written.
            calls.append(function)
            if len(calls) == n_calls:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return call

    for call in ("fsync", "pwrite", "rename", "replace", "truncate", "rmdir"):
        setattr(os, call, counted(getattr(os, call)))
    prepare_responses(
        recording, store=folder / name, units_per_block=units_per_block
    )
    os._exit(0)


assert wait(attempt("whole", None, None)) == 0
start = time.monotonic()
assert wait(attempt("timed", None, 37)) == 0
duration = time.monotonic() - start
draw, codes = random.Random(int(sys.argv[2])), []
while 0 not in codes:
    # Blocks of another size each time, as when another amount of memory is given.
    size = draw.choice([20, 37, 64])
    # The first two kills come for sure, since they wait for no time.
    if len(codes) % 3 < 2:
        child = attempt("killed", draw.randint(1, 4 + 2 * len(codes)), size)
    else:
        child = attempt("killed", None, size)
        # Longer and longer, because a busy machine may need that.
        time.sleep(draw.uniform(0, 0.4) * (1 + len(codes) / 10) * duration)
        os.kill(child, signal.SIGKILL)
    codes.append(wait(child))
    assert codes[-1] in (0, -signal.SIGKILL), codes
print(len(codes))
"""


@pytest.mark.parametrize("suffix", [".npy", ".nii.gz"])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_kills_at_any_moment_or_write_change_no_byte(tmp_path, suffix, seed):
    make_files(tmp_path, suffix)
    done = run(KILLS, tmp_path, str(seed))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2
    whole = contents(tmp_path / "whole")
    assert len(whole) == 5
    assert contents(tmp_path / "killed") == whole
    assert contents(tmp_path / "timed") == whole


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3, 13))
def test_many_more_kills_change_no_byte(tmp_path, seed):
    make_files(tmp_path, ".nii.gz" if seed % 2 else ".npy", n_sessions=5)
    done = run(KILLS, tmp_path, str(seed))
    assert done.returncode == 0, done.stderr
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "killed") == whole


def test_what_was_done_before_a_kill_is_not_done_again(tmp_path):
    recording = make_files(tmp_path, ".npy")
    code = """
    sync, calls = os.fsync, []
    def counted(handle):
        calls.append(handle)
        # A block is synchronised, then its record, then the folder of that.
        if len(calls) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)
    prepare_responses(recording, store=folder / "warm", units_per_block=48)
    os.fsync = counted
    prepare_responses(recording, store=folder / "store", units_per_block=48)
    """
    # Hashes of three files, two calls each; then seven blocks of three calls.
    done = run(code, tmp_path, str(6 + 3 * 7 + 1))
    assert done.returncode == -9, done.stderr
    (work,) = (tmp_path / "store").glob("*.work")
    assert len(list((work / "blocks").iterdir())) == 7
    times = {p.name: p.stat().st_mtime_ns for p in (work / "blocks").iterdir()}
    done_bytes = (work / "entry" / "betas.npy").read_bytes()[128:][: 4 * 40 * 200]
    record = pd.read_parquet(work / "blocks" / min(times))
    assert list(record) == ["kept", "ncsnr", "n_incomplete_sessions", "n_saturated"]
    found = prepare_responses(recording, store=tmp_path / "store")
    n_kept = found.n_units
    assert 0 < n_kept < 480
    assert contents(tmp_path / "store") == contents(tmp_path / "warm")
    assert found.betas.tobytes(order="F")[: len(done_bytes)] == done_bytes


@pytest.mark.parametrize(
    "damage",
    [
        lambda w: (w / "entry" / "betas.npy").write_bytes(b"x" * 1000),
        lambda w: (w / "entry" / "betas.npy").unlink(),
        lambda w: (w / "blocks" / "000000048.parquet").write_bytes(b"x"),
        lambda w: (w / "blocks" / "000000048.parquet").unlink(),
        lambda w: (w / "entry" / "units.parquet").write_bytes(b"x"),
    ],
)
def test_damaged_work_is_done_again(tmp_path, damage):
    recording = make_files(tmp_path, ".npy")
    code = """
    rename = Path.rename
    def rename_or_die(path, target):
        if path.name == "entry":
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)
    Path.rename = rename_or_die
    prepare_responses(recording, store=folder / "store", units_per_block=48)
    """
    assert run(code, tmp_path).returncode == -9
    (work,) = (tmp_path / "store").glob("*.work")
    damage(work)
    prepare_responses(recording, store=tmp_path / "store")
    prepare_responses(recording, store=tmp_path / "straight")
    assert contents(tmp_path / "store") == contents(tmp_path / "straight")


@pytest.mark.slow
def test_two_processes_at_once_make_one_result(tmp_path):
    recording = make_files(tmp_path, ".nii.gz")
    code = """
    while not (folder / "go").exists():
        time.sleep(0.001)
    found = prepare_responses(recording, store=folder / "store", units_per_block=30)
    print(found.fingerprints["betas"])
    """
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(3)]
    (tmp_path / "go").touch()
    ended = [process.communicate(timeout=50) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    alone = prepare_responses(recording)
    marks = {out.strip() for out, _ in ended}
    assert marks == {alone.fingerprints["betas"]}
    prepare_responses(recording, store=tmp_path / "straight")
    assert contents(tmp_path / "store") == contents(tmp_path / "straight")


# ---------------------------------------------------------------------- no room


@pytest.mark.parametrize("suffix", [".npy", ".nii.gz"])
def test_a_limit_of_file_size_is_one_clear_error_and_the_work_goes_on(tmp_path, suffix):
    recording = make_files(tmp_path, suffix)
    store = tmp_path / "store"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OSError, match="no room left in") as caught:
            prepare_responses(recording, store=store, units_per_block=48)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert "call again" in str(caught.value)
    (work,) = store.glob("*.work")
    # A block of the result takes up to 8 kB, what is unpacked of a session 38 kB.
    n_blocks = len(list((work / "blocks").iterdir()))
    assert n_blocks in (range(3, 10) if suffix == ".npy" else [0])
    assert [*(work / "unpacked").iterdir()] == []
    prepare_responses(recording, store=store)
    prepare_responses(recording, store=tmp_path / "straight")
    assert contents(store) == contents(tmp_path / "straight")


FULL = """
disk, found = folder / "disk", []
for size in ("96k", "160k", "2m"):
    if os.system(f"mount -o remount,size={size} {disk}"):
        sys.exit("cannot remount")
    try:
        prepare_responses(recording, store=disk / "store", units_per_block=24)
        found.append("done")
    except OSError as error:
        found.append([errno.errorcode.get(error.errno), str(error)])
    found.append(len([*disk.glob("store/*.work/blocks/*.parquet")]))
shutil.copytree(disk / "store", folder / "store")
print(json.dumps(found))
"""


def test_a_full_disk_is_one_clear_error_and_the_work_goes_on(tmp_path):
    recording = make_files(tmp_path, ".npy")
    (tmp_path / "disk").mkdir()
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed: no private file system can be mounted")
    space = [unshare, "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=96k tmpfs {tmp_path / 'disk'}"
    trial = subprocess.run([*space, "sh", "-c", mount], capture_output=True, text=True)
    if trial.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {trial.stderr.strip()}")
    shell = f'{mount} && exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        [*space, "sh", "-c", shell, sys.executable, PRELUDE + FULL, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, n_first, second, n_second, last, n_last = json.loads(done.stdout)
    for code, message in (first, second):
        assert code == "ENOSPC"
        assert "no room left in" in message
        assert "call again" in message
    assert 0 < n_first < n_second
    assert (last, n_last) == ("done", 0)
    prepare_responses(recording, store=tmp_path / "straight")
    assert contents(tmp_path / "store") == contents(tmp_path / "straight")
