"""Sweeps whose jobs, workers or schedulers fail."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import psutil
import pytest

from neurovis.core.files import read_table
from tasks.study import Job, Study
from tasks.sweep import TIMES_TABLE, run_sweep
from tasks.sweep_jobs import run_job
from tasks.sweep_keys import key_jobs
from tasks.sweep_records import SweepFolder
from tests.tasks.dask_here import running_dask, wait_until

QUICK = Job(
    "search-asymmetry",
    model="chance",
    options={"conditions": ["curve_in_lines"], "trials": 1, "n_bootstrap": 5},
)


def study_of(n):
    return Study("s", tuple(replace(QUICK, seed=seed) for seed in range(n)))


def tries(folder):
    """Return how often each job was begun, and how often it was finished."""
    times = read_table(folder / TIMES_TABLE)
    finished = times["state"] == "finished"
    return Counter(times["job"]), Counter(times.loc[finished, "job"])


def n_finished(folder):
    return len(SweepFolder(folder).store.keys())


def test_a_worker_with_other_code_refuses_the_job(tmp_path, told):
    keyed = key_jobs(study_of(1))[0]
    other = replace(keyed, parts={**keyed.parts, "code": "0" * 64})
    with pytest.raises(RuntimeError, match="other source code of neurovis") as error:
        run_job(str(tmp_path), other)
    assert not (tmp_path / "store").exists()
    told("a worker that runs another version of neurovis", error.value)


def test_a_job_that_is_finished_is_never_computed_again(tmp_path, told):
    keyed = key_jobs(study_of(1))[0]
    assert run_job(str(tmp_path), keyed).computed
    assert not run_job(str(tmp_path), keyed).computed
    assert len(SweepFolder(tmp_path).attempts(keyed.name)) == 1
    told(
        "a finished job is asked for again", "its result is found, nothing is computed"
    )


def test_a_damaged_result_is_noticed_and_computed_again(tmp_path, told):
    keyed = key_jobs(study_of(1))[0]
    run_job(str(tmp_path), keyed)
    file = SweepFolder(tmp_path).store.get_folder(keyed.key) / "scores.parquet"
    before = file.read_bytes()
    file.write_bytes(before[:-8])
    assert run_job(str(tmp_path), keyed).computed
    assert file.read_bytes() == before
    told(
        "the result of a finished job was cut afterwards",
        "the checksum differs: the job is computed again, with the same bytes",
    )


def test_a_job_that_fails_is_told_and_stops_no_other(tmp_path, told):
    wrong = replace(QUICK, options={**QUICK.options, "conditions": ["no_such"]})
    outcomes = [run_job(str(tmp_path), k) for k in key_jobs(Study("s", (wrong, QUICK)))]
    assert [each.state for each in outcomes] == ["failed", "finished"]
    told("a job raises an error in the middle of a sweep", outcomes[0].error)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, told, how):
    out = tmp_path / "out"
    script = (
        "import sys\nfrom tasks.sweep import run_sweep\n"
        "from tests.faults.test_sweeps import study_of\n"
        f"run_sweep(study_of(16), {str(out)!r}, engine='local:1')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    while n_finished(out) < 3:
        assert child.poll() is None
        time.sleep(0.02)
    os.kill(child.pid, how)
    child.wait(60)
    done = n_finished(out)
    assert 3 <= done < 16
    result = run_sweep(study_of(16), out, engine="local:1")
    assert result.n_found >= done
    assert result.n_found + result.n_computed == 16
    assert set(tries(out)[1].values()) == {1}
    name = signal.Signals(how).name
    told(
        f"{name} to a sweep in the middle",
        "given the same command it goes on: no finished job is computed again",
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_scheduler_that_dies_ends_the_sweep_and_loses_nothing(tmp_path, told):
    out = tmp_path / "out"

    def end(scheduler):
        wait_until(lambda: n_finished(out) >= 2, 120)
        scheduler.kill()

    with running_dask(tmp_path, 1, tags="MEMORY_GIB=2") as (address, processes):
        killer = threading.Thread(target=end, args=(processes[0],))
        killer.start()
        with pytest.raises(ConnectionError, match="The scheduler was lost") as error:
            run_sweep(study_of(60), out, engine=f"dask:{address}")
        killer.join()
    result = run_sweep(study_of(60), out, engine="local:1")
    assert result.n_found >= 2
    assert result.n_found + result.n_computed == 60
    assert set(tries(out)[1].values()) == {1}
    told("the scheduler is killed during a sweep", error.value)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_that_stands_still_holds_back_its_own_job_alone(tmp_path, told):
    out, stopped = tmp_path / "out", []
    study = study_of(10)
    folder = SweepFolder(out)

    def stop_one():
        def running():
            return [k for k in key_jobs(study) if folder.state(k) == "running"]

        wait_until(lambda: n_finished(out) >= 1 and running(), 120)
        pid = folder.attempts(running()[0].name)[-1].pid
        stopped.append(psutil.Process(pid))
        stopped[0].suspend()
        try:
            wait_until(lambda: n_finished(out) >= 9, 200)
        finally:
            stopped[0].resume()

    with running_dask(tmp_path, 2, tags="MEMORY_GIB=2") as (address, _):
        stopper = threading.Thread(target=stop_one)
        stopper.start()
        result = run_sweep(study, out, engine=f"dask:{address}")
        stopper.join()
    assert stopped
    assert (result.n_computed, result.failed) == (10, ())
    assert set(tries(out)[0].values()) == {1}
    told(
        "one of two workers is so slow that it stands still",
        "the other does all other jobs; no job is done twice",
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_needs_more_memory_than_its_worker_has_fails_alone(tmp_path, told):
    hungry = replace(QUICK, options={**QUICK.options, "trials": 100_000})
    study = Study("s", (hungry, QUICK))
    limit = ("prlimit", f"--data={3 * 2**29}")
    with running_dask(tmp_path, 1, tags="MEMORY_GIB=2", prefix=limit) as (address, _):
        result = run_sweep(study, tmp_path / "out", engine=f"dask:{address}")
    assert result.n_computed == 1
    [(name, error)] = result.failed
    assert name == key_jobs(study)[0].name
    assert error.startswith("MemoryError") or "memory" in error
    told("a job that needs more memory than its worker has", error)
