"""Schedulers and workers that die, stall or differ."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from distributed.client import FutureCancelledError

from tasks.engine_workers import WorkerNeeds
from tasks.engines import open_engine, parse_engine
from tests.tasks.dask_here import is_running, running_dask, wait_until
from tests.tasks.slurm_here import jobs, running_slurm

ROOT = Path(__file__).parents[2]
NEEDS = WorkerNeeds(memory_gib=0.5)
TAGS = {"MEMORY_GIB": 0.5}


def open_here(text, folder, told=None, **options):
    say = [].append if told is None else told.append
    return open_engine(
        parse_engine(text), NEEDS, folder=folder / "out", on_event=say, **options
    )


def refused(text, folder, error, words, **options):
    """The message of an engine that cannot be opened; nothing is left of it."""
    with pytest.raises(error, match=words) as info, open_here(text, folder, **options):
        pass
    left = {path.name for path in (folder / "out").iterdir()}
    assert left <= {"scheduler.log", "workers", "slurm"}
    return re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", str(info.value))


def note_and_wait(folder, seconds):
    """A job that leaves a line for each time it is begun, and one when it is done."""
    begun, done = str(folder / "begun.txt"), str(folder / "done.txt")

    def job(number):
        import os
        import time

        with open(begun, "a") as file:  # noqa: PTH123
            file.write(f"{number} {os.getpid()} {os.getppid()}\n")
        # Sleeps end by themselves when a stalled process goes on; work does not.
        for _ in range(int(seconds / 0.1)):
            time.sleep(0.1)
        with open(done, "a") as file:  # noqa: PTH123
            file.write(f"{number}\n")
        return number

    return job


def begun(folder):
    """Number, process and parent of each beginning."""
    file = folder / "begun.txt"
    lines = file.read_text().splitlines() if file.is_file() else []
    return [tuple(map(int, line.split())) for line in lines]


# --------------------------------------------------------------- no scheduler


def test_nobody_answers_at_the_address(told, tmp_path):
    saw = refused(
        *("dask:tcp://127.0.0.1:9", tmp_path, ConnectionError),
        *("No Dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s.*firewall",),
        connect_s=0.5,
    )
    told("a sweep on the address of a scheduler that does not run", saw)


def test_cut_scheduler_file_is_named(told, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text('{"type": "Scheduler", "addr')
    saw = refused(f"dask:{file}", tmp_path, OSError, "is not a readable JSON file")
    told("the file of a scheduler, cut in the middle", saw)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scheduler_without_workers_is_refused(told, tmp_path):
    with running_dask(tmp_path, n_workers=0) as (address, _):
        words = r"has no workers\. Start some by: dask worker"
        saw = refused(f"dask:{address}", tmp_path, ConnectionError, words, connect_s=2)
    told("a scheduler that runs and has no workers", saw)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scheduler_that_dies_ends_the_jobs_at_once(told, tmp_path):
    with (
        running_dask(tmp_path) as (address, processes),
        open_here(f"dask:{address}", tmp_path, connect_s=60) as client,
    ):
        job = client.submit(note_and_wait(tmp_path, 600), 1, resources=TAGS)
        wait_until(lambda: begun(tmp_path))
        processes[0].kill()
        with pytest.raises(FutureCancelledError, match="scheduler-connection-lost"):
            job.result(timeout=30)
        assert client.status != "running"
    told(
        "a scheduler that is killed while a job runs",
        "jobs that are not done are given back within seconds, as lost; what they left "
        "in the store stays",
    )


# ------------------------------------------------------- workers that differ


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("options", "happened", "words"),
    [
        (
            {"tags": None},
            "workers that were started without saying what they have",
            r"None of the 1 worker\(s\) .*--resources \"MEMORY_GIB=0.5\"",
        ),
        (
            {"n_threads": 2},
            "a worker that was started with two threads",
            "has 2 threads: jobs would share its process",
        ),
    ],
    ids=["no tags", "two threads"],
)
def test_workers_started_otherwise_are_refused(
    told, tmp_path, options, happened, words
):
    with running_dask(tmp_path, **options) as (address, _):
        where = f"dask:{address}"
        told(happened, refused(where, tmp_path, ValueError, words, connect_s=60))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_worker_with_other_source_code_is_refused(told, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    for package in ("neurovis", "stimuli", "data_loaders", "analysis", "tasks"):
        shutil.copytree(ROOT / package, copy / package)
    with (copy / "tasks" / "runs.py").open("a") as file:
        file.write("# one line more\n")
    monkeypatch.setenv("PYTHONPATH", str(copy))
    with running_dask(tmp_path) as (address, _):
        monkeypatch.delenv("PYTHONPATH")
        words = "runs other source code of neurovis .* Start the workers anew"
        saw = refused(f"dask:{address}", tmp_path, ValueError, words, connect_s=60)
    saw = re.sub(r"\([0-9a-f]{12}, [0-9a-f]{12} here\)", "(HASH, HASH here)", saw)
    told("a worker whose copy of neurovis has one line more", saw)


@contextmanager
def hidden_from_workers(folder):
    """Let processes of ``dask worker`` find nothing in a folder."""
    probe = ["unshare", "--mount", "true"]
    if not shutil.which("unshare") or subprocess.run(probe, check=False).returncode:
        pytest.skip("no right to hide a folder from a process: run the tests as root")
    folder.mkdir()
    yield ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs x "{folder}"; exec "$@"']


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_worker_that_does_not_see_the_folder_is_refused(told, tmp_path):
    with (
        hidden_from_workers(tmp_path / "out") as prefix,
        running_dask(tmp_path, prefix=[*prefix, "sh"]) as (address, _),
    ):
        words = "does not see the folder .*all workers share, under the same path"
        where = f"dask:{address}"
        saw = refused(where, tmp_path, FileNotFoundError, words, connect_s=60)
    told("a worker on a machine that does not have the folder of `--out`", saw)


# ------------------------------------------------------- workers that die


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_job_of_a_killed_worker_is_done_by_another(told, tmp_path):
    events = []
    with open_here("local:2", tmp_path, events) as client:
        client.wait_for_workers(2, timeout=60)
        tasks = client.map(note_and_wait(tmp_path, 2), [1, 2], resources=TAGS)
        wait_until(lambda: len(begun(tmp_path)) == 2)
        os.kill(begun(tmp_path)[0][1], signal.SIGKILL)
        assert client.gather(tasks) == [1, 2]
        client.wait_for_workers(2, timeout=60)
    lost = begun(tmp_path)[0][0]
    assert sorted(number for number, _, _ in begun(tmp_path)) == sorted([1, 2, lost])
    assert sorted((tmp_path / "done.txt").read_text().split()) == ["1", "2"]
    (event,) = [event for event in events if "was lost" in event]
    told("a worker that is killed (SIGKILL) in the middle of a job", _plain(event))


def _plain(event):
    return re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", event)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_worker_killed_with_its_keeper_is_started_again(told, tmp_path):
    events = []
    with open_here("local:1", tmp_path, events) as client:
        task = client.submit(note_and_wait(tmp_path, 2), 1, resources=TAGS)
        wait_until(lambda: begun(tmp_path))
        _, worker, keeper = begun(tmp_path)[0]
        os.kill(keeper, signal.SIGKILL)
        assert task.result(timeout=120) == 1
        assert len(begun(tmp_path)) == 2
        assert not is_running(worker)
    (event,) = [event for event in events if "started again" in event]
    told("a worker killed with the process that watches it", event.partition(";")[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_job_of_a_stalled_worker_is_done_by_another(told, tmp_path):
    events = []
    limit = {"distributed.scheduler.worker-ttl": "2s"}
    with dask.config.set(limit), open_here("local:2", tmp_path, events) as client:
        client.wait_for_workers(2, timeout=60)
        tasks = client.map(note_and_wait(tmp_path, 1), [1, 2], resources=TAGS)
        wait_until(lambda: len(begun(tmp_path)) == 2)
        number, stalled, _ = begun(tmp_path)[0]
        os.kill(stalled, signal.SIGSTOP)
        assert client.gather(tasks) == [1, 2]
        again = [process for each, process, _ in begun(tmp_path) if each == number]
        assert again[0] == stalled
        assert len(again) == 2
        assert again[1] != stalled
        # It is not left behind, to do the job a second time when it wakes up.
        wait_until(lambda: not is_running(stalled))
    assert sorted((tmp_path / "done.txt").read_text().split()) == ["1", "2"]
    told(
        "a worker that stands still (SIGSTOP) and answers no more",
        "after five minutes it is ended and started again, and its job is done by "
        "another; the job is done once",
    )


# ------------------------------------------------- the one who started them


SWEEP = """
import sys
from pathlib import Path
from tasks.engines import WorkerNeeds, open_engine, parse_engine
from tests.faults.test_engines import note_and_wait
folder = Path(sys.argv[2])
with open_engine(
    parse_engine(sys.argv[1]),
    WorkerNeeds(memory_gib=0.5),
    folder=folder / "out",
    profiles={"p": {"memory_gib": 1, "walltime": "1:00:00", "workers": 2,
                    "interface": "lo"}},
    on_event=lambda text: None,
) as client:
    client.wait_for_workers(2)
    client.gather(client.map(note_and_wait(folder, 600), [1, 2]))
"""


@contextmanager
def sweep(engine, folder):
    """A process that runs two endless jobs; yielded when both were begun."""
    home = folder / "home"
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP, engine, str(folder)],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home), "TMPDIR": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(begun(folder)) == 2 or process.poll() is not None, 90)
        yield process
    finally:
        process.kill()
        process.communicate()


def processes_of(folder):
    """Workers and those who watch them."""
    return [process for _, *both in begun(folder) for process in both]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interrupted_sweep_ends_its_workers(told, tmp_path):
    with sweep("local:2", tmp_path) as process:
        running = processes_of(tmp_path)
        assert len(running) == 4
        assert all(map(is_running, running))
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
    assert not any(map(is_running, running))
    assert said.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert "distributed - " not in said
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"scheduler.log", "workers"}
    # It reached the one at the keyboard only, who then ended the others in order.
    logs = (tmp_path / "out" / "workers").glob("*.log")
    assert not any("SIGINT" in log.read_text() for log in logs)
    told(
        "Ctrl-C while local workers run jobs",
        "the workers end, their scratch folder is removed, Dask says nothing",
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_sweep_leaves_no_workers_behind(told, tmp_path):
    with sweep("local:2", tmp_path) as process:
        running = processes_of(tmp_path)
        assert len(running) == 4
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(is_running, running)), 90)
    told(
        "SIGKILL of the sweep itself while local workers run jobs",
        "the workers find nobody to report to and end by themselves",
    )


# -------------------------------------------------------------------- Slurm


@pytest.fixture(scope="module")
def real_slurm():
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running_slurm(folder):
        yield


PROFILE = {"memory_gib": 1, "walltime": "1:00:00", "workers": 3, "interface": "lo"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_that_slurm_refuses_are_told_in_its_words(told, tmp_path, real_slurm):
    for entries, happened, words in (
        (
            {"partition": "gpus"},
            "a profile with a partition that Slurm does not have",
            "refuses the jobs of profile 'p': .*invalid partition specified: gpus",
        ),
        (
            {"memory_gib": 9000},
            "a profile that asks for more memory than any node has",
            "refuses the jobs of profile 'p': .*",
        ),
    ):
        profiles = {"p": PROFILE | entries}
        saw = refused("slurm:p", tmp_path, ValueError, words, profiles=profiles)
        assert jobs() == []
        told(happened, saw)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_that_end_at_once_are_told_with_their_log(told, tmp_path, real_slurm):
    profiles = {"p": PROFILE | {"prologue": ["source no-such-environment || exit 3"]}}
    words = r"(?s)jobs of Slurm ended and no worker answered.*no-such-environment: No"
    saw = refused("slurm:p", tmp_path, ChildProcessError, words, profiles=profiles)
    assert wait_until(lambda: jobs() == [])
    told("jobs of Slurm that fail before a worker starts", saw)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_sweep_leaves_no_jobs_of_slurm_behind(told, tmp_path, real_slurm):
    with sweep("slurm:p", tmp_path) as process:
        assert len(jobs()) == 2
        process.kill()
        process.wait()
        wait_until(lambda: jobs() == [], 120)
    told(
        "SIGKILL of the sweep itself while jobs of Slurm run",
        "their workers find nobody to report to and the jobs end by themselves",
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interrupted_sweep_cancels_its_jobs_of_slurm(told, tmp_path, real_slurm):
    with sweep("slurm:p", tmp_path) as process:
        assert len(jobs()) == 2
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert wait_until(lambda: jobs() == [], 10)
    assert "distributed - " not in said
    # dask-jobqueue would copy its settings there.
    assert not (tmp_path / "home" / ".config" / "dask").exists()
    told("Ctrl-C while jobs of Slurm run", "the jobs are cancelled")
