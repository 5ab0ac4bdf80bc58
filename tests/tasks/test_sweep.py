"""Sweeps on real engines: every job once, whatever happens to workers."""

import random
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace

import psutil
import pytest
from distributed import Client

from neurovis.core.files import read_table, write_json
from tasks.study import Job, Study, read_study
from tasks.study_rehearsal import rehearse
from tasks.sweep import JOBS_TABLE, TIMES_TABLE, run_sweep
from tests.tasks.dask_here import running_dask, wait_until
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


@pytest.mark.slow
@pytest.mark.timeout(900)
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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_result_that_was_damaged_is_computed_again(tmp_path):
    study = Study("s", (QUICK, replace(QUICK, seed=1)))
    run_sweep(study, tmp_path, engine="local:1")
    before = kept(tmp_path)
    [damaged, *_] = sorted(tmp_path.glob("store/*/scores.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    result = run_sweep(study, tmp_path, engine="local:1")
    assert (result.n_found, result.n_computed, result.failed) == (1, 1, ())
    assert kept(tmp_path) == before


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

TAGS = "MEMORY_GIB=2"


def worker_processes(nannies):
    """Return the processes that compute; each nanny starts one, again and again."""
    found = []
    for nanny in nannies:
        with suppress(psutil.Error):
            found += [
                each
                for each in psutil.Process(nanny.pid).children(recursive=True)
                if "spawn_main" in " ".join(each.cmdline())
            ]
    return found


@contextmanager
def dask_cluster(folder, n_workers):
    """Start a scheduler and workers as a user would, and wait until all are there."""
    with running_dask(folder, n_workers, tags=TAGS) as (address, processes):
        scheduler, *nannies = processes
        wait_until(lambda: len(worker_processes(nannies)) == n_workers, 120)
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=120)
        yield address, scheduler, nannies


def kill_at_random(nannies, stop, killed, *, seed, every_s):
    """Kill a worker again and again, as bad luck or a full machine does."""
    draw = random.Random(seed)
    while not stop.wait(draw.uniform(0.5, 1.5) * every_s):
        try:
            victim = draw.choice(worker_processes(nannies))
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
    with dask_cluster(tmp_path, 4) as (address, _, nannies):
        killer = threading.Thread(
            target=kill_at_random,
            args=(nannies, stop, killed),
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
