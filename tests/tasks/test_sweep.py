"""Sweeps on real engines: every job once, whatever happens to workers."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import psutil
import pytest

from neurovis.core.files import read_table, write_json
from tasks.study import Job, Resources, Study, read_study
from tasks.study_rehearsal import rehearse
from tasks.sweep import JOBS_TABLE, TIMES_TABLE, run_sweep
from tasks.sweep_records import SweepFolder, key_jobs
from tests.tasks.sweep_studies import write_study

QUICK = Job(
    "search-asymmetry",
    model="chance",
    options={"conditions": ["curve_in_lines"], "trials": 1, "n_bootstrap": 5},
)
WRONG = replace(QUICK, options={**QUICK.options, "conditions": ["no_such"]})


def kept(folder):
    """Return the bytes of all that must not depend on who computed it."""
    tables = [folder / "scores.parquet", folder / JOBS_TABLE]
    runs = [path for path in folder.glob("store/*/**/*") if path.is_file()]
    # Hosts, versions and paths; compared below by their content.
    runs = [path for path in runs if path.name not in ("provenance.json", "meta.json")]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted([*tables, *runs])
    }


def tries(folder):
    """Return how often each job was begun, and how often it was finished."""
    times = read_table(folder / TIMES_TABLE)
    begun = Counter(times["job"])
    return begun, Counter(times.loc[times["state"] == "finished", "job"])


def test_two_workers_share_jobs_and_a_second_sweep_computes_nothing(tmp_path):
    jobs = (QUICK, replace(QUICK, seed=1), WRONG, replace(QUICK, seed=2))
    study, told = Study("s", jobs), []
    result = run_sweep(study, tmp_path, engine="local:2", on_event=told.append)
    assert (result.n_jobs, result.n_found, result.n_computed) == (4, 0, 3)
    [(name, error)] = result.failed
    assert error.startswith("ValueError: `conditions` must be one of")
    assert any(name in line and "no_such" in line for line in told)
    scores = read_table(tmp_path / "scores.parquet")
    assert list(dict.fromkeys(scores["seed"])) == [0, 1, 2]
    jobs_table = read_table(tmp_path / JOBS_TABLE)
    assert list(jobs_table["state"]) == ["finished", "finished", "failed", "finished"]
    before = kept(tmp_path)

    # What failed is not tried again unless that is asked for; no worker is started.
    again = run_sweep(study, tmp_path, engine="dask:tcp://127.0.0.1:1")
    assert (again.n_found, again.n_computed, len(again.failed)) == (3, 0, 1)
    assert kept(tmp_path) == before
    assert set(tries(tmp_path)[0].values()) == {1}


def test_a_folder_with_another_run_is_refused_before_anything(tmp_path):
    write_json(tmp_path / "run.json", {"task": "rsa"})
    with pytest.raises(ValueError, match="holds a run of 'rsa'"):
        run_sweep(Study("s", (QUICK,)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_nothing_is_written_for_an_engine_that_is_unknown(tmp_path):
    with pytest.raises(ValueError, match="engine"):
        run_sweep(Study("s", (QUICK,)), tmp_path / "out", engine="cloud")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------- a scheduler that others started


@contextmanager
def dask_cluster(folder, n_workers, memory_gib=2):
    """Start a scheduler and workers as their own processes, as a user would."""
    file = folder / "scheduler.json"
    flags = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "dask.log").open("w") as log:
        dask = [sys.executable, "-m", "dask"]
        start = {"stdout": log, "stderr": log, "env": environment, "cwd": folder}
        scheduler = subprocess.Popen(
            [*dask, "scheduler", "--port", "0", *flags], **start
        )
        while not file.is_file():
            assert scheduler.poll() is None
            time.sleep(0.1)
        size = ["--nworkers", str(n_workers), "--nthreads", "1"]
        tags = ["--resources", f"MEMORY_GIB={memory_gib}"]
        workers = subprocess.Popen([*dask, "worker", *size, *tags, *flags], **start)
        try:
            yield json.loads(file.read_text())["address"], scheduler, workers
        finally:
            for process in (workers, scheduler):
                process.send_signal(signal.SIGCONT)
                process.terminate()
            for process in (workers, scheduler):
                process.wait(30)


def worker_processes(nanny):
    found = psutil.Process(nanny.pid).children(recursive=True)
    return [each for each in found if "spawn_main" in " ".join(each.cmdline())]


def kill_at_random(nanny, stop, killed, *, seed, every_s):
    """Kill a worker again and again, as bad luck or a full machine does."""
    draw = random.Random(seed)
    while not stop.wait(draw.uniform(0.5, 1.5) * every_s):
        try:
            victim = draw.choice(worker_processes(nanny))
            victim.kill()
            killed.append(victim.pid)
        except (psutil.Error, IndexError):
            continue


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_whose_workers_are_killed_at_random_ends_as_a_serial_one(tmp_path):
    study = read_study(write_study(tmp_path))
    assert len(study.jobs) >= 60
    assert len(study.tasks) == 3
    rehearse(study)
    serial, parallel = tmp_path / "serial", tmp_path / "parallel"
    run_sweep(study, serial, engine="local:1")

    stop, killed, told = threading.Event(), [], []
    with dask_cluster(tmp_path, 4) as (address, _, nanny):
        killer = threading.Thread(
            target=kill_at_random,
            args=(nanny, stop, killed),
            kwargs={"seed": 7, "every_s": 6},
        )
        killer.start()
        try:
            result = run_sweep(
                study, parallel, engine=f"dask:{address}", on_event=told.append
            )
        finally:
            stop.set()
            killer.join()
    assert (result.n_computed, result.failed) == (len(study.jobs), ())
    assert len(killed) >= 3
    assert kept(parallel) == kept(serial)
    begun, finished = tries(parallel)
    assert set(finished.values()) == {1}
    assert len(finished) == len(study.jobs)
    lost = sum(begun.values()) - len(study.jobs)
    assert 1 <= lost <= len(killed)
    # A third engine finds everything.
    again = run_sweep(study, parallel, engine="local:1")
    assert (again.n_found, again.n_computed) == (len(study.jobs), 0)
    assert kept(parallel) == kept(serial)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_that_is_interrupted_goes_on_where_it_stopped(tmp_path):
    study = Study("s", tuple(replace(QUICK, seed=seed) for seed in range(12)))
    script = (
        "from tests.tasks.test_sweep import *\n"
        "study = Study('s', tuple(replace(QUICK, seed=seed) for seed in range(12)))\n"
        f"if __name__ == '__main__':\n    run_sweep(study, {str(tmp_path)!r})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    while len(SweepFolder(tmp_path).store.keys()) < 3:
        assert child.poll() is None
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    done = len(SweepFolder(tmp_path).store.keys())
    assert done < 12
    result = run_sweep(study, tmp_path, engine="local:1")
    assert result.n_found >= done
    assert result.n_found + result.n_computed == 12
    assert set(tries(tmp_path)[1].values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_scheduler_that_dies_ends_the_sweep_and_loses_nothing(tmp_path):
    study = Study("s", tuple(replace(QUICK, seed=seed) for seed in range(40)))
    out = tmp_path / "out"

    def end(scheduler):
        while len(SweepFolder(out).store.keys()) < 2:
            time.sleep(0.05)
        scheduler.kill()

    with dask_cluster(tmp_path, 1) as (address, scheduler, _):
        killer = threading.Thread(target=end, args=(scheduler,))
        killer.start()
        with pytest.raises(ConnectionError, match="The scheduler was lost"):
            run_sweep(study, out, engine=f"dask:{address}")
        killer.join()
    result = run_sweep(study, out, engine="local:1")
    assert result.n_found >= 2
    assert result.n_found + result.n_computed == 40
    assert set(tries(out)[1].values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_hangs_holds_back_one_job_alone(tmp_path):
    study = Study("s", tuple(replace(QUICK, seed=seed) for seed in range(8)))
    out = tmp_path / "out"
    with dask_cluster(tmp_path, 2) as (address, _, nanny):
        while len(worker_processes(nanny)) < 2:
            time.sleep(0.1)
        stopped = []

        def stop_one():
            while not SweepFolder(out).store.keys():
                time.sleep(0.02)
            folder = SweepFolder(out)
            running = [k for k in key_jobs(study) if folder.state(k) == "running"]
            stopped.append(psutil.Process(folder.attempts(running[0].name)[-1].pid))
            stopped[0].suspend()
            while len(folder.store.keys()) < 7:
                time.sleep(0.05)
            stopped[0].resume()

        stopper = threading.Thread(target=stop_one)
        stopper.start()
        result = run_sweep(study, out, engine=f"dask:{address}")
        stopper.join()
    assert (result.n_computed, result.failed) == (8, ())
    assert set(tries(out)[0].values()) == {1}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_needs_more_memory_than_its_worker_has_fails_alone(tmp_path):
    hungry = replace(
        QUICK,
        options={**QUICK.options, "trials": 100_000},
        resources=Resources(memory_gib=1.2),
    )
    study = Study("s", (hungry, replace(QUICK, resources=Resources(memory_gib=1.2))))
    result = run_sweep(study, tmp_path, engine="local:1")
    assert result.n_computed == 1
    [(name, error)] = result.failed
    assert name.startswith("search-asymmetry-chance-seed0")
    assert "more memory than" in error or "emory" in error
    assert pd.notna(error)
