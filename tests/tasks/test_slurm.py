"""Slurm: profiles, scripts, and a real one with workers as its jobs."""

import os
import re
import shlex
import tempfile
from pathlib import Path

import pytest

from tasks.engine_workers import WorkerNeeds
from tasks.engines import open_engine, parse_engine
from tasks.slurm_profile import SlurmProfile, job_script, read_profile
from tests.tasks.dask_here import wait_until
from tests.tasks.slurm_here import jobs, running_slurm, slurm

ENTRIES = {"memory_gib": 8, "walltime": "12:00:00", "workers": 4}
NEEDS = WorkerNeeds(threads=2, memory_gib=6, gpus=1, minutes=90)
FULL = SlurmProfile(
    name="full",
    memory_gib=8.5,
    walltime="1-12:00:30",
    workers=4,
    cores=3,
    gpus_per_worker=1,
    partition="gpu",
    account="lab-7",
    prologue=("module load cuda", "source '/a b/env/bin/activate'"),
    directives=("--constraint=a100",),
    python="/a b/python",
    interface="ib0",
)


# --------------------------------------------------------------------- profiles


def test_profile_is_read_from_a_file_and_from_a_study(tmp_path):
    file = tmp_path / "my profile.toml"
    file.write_text(
        'memory_gib = 8\nwalltime = "12:00:00"\nworkers = 4\n'
        'prologue = ["module load x"]\n'
    )
    here = read_profile(str(file))
    there = read_profile("p", {"p": ENTRIES | {"prologue": ["module load x"]}})
    assert here.prologue == there.prologue == ("module load x",)
    assert (here.workers, here.memory_gib, here.minutes) == (4, 8, 720.0)
    assert FULL.minutes == 36 * 60 + 0.5


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"waltime": "1:00:00"}, ValueError, "Did you mean 'walltime'"),
        ({"name": "x"}, ValueError, "entry of the Slurm profile 'p'"),
        ({"walltime": None}, ValueError, "must be text such as '12:00:00'"),
        ({"walltime": "12h"}, ValueError, "must be text such as '12:00:00'"),
        ({"walltime": "1:75:00"}, ValueError, "must be text such as"),
        ({"memory_gib": "8"}, TypeError, "'p': `memory_gib` must be a number"),
        ({"memory_gib": 0.1}, ValueError, "`memory_gib` must be within"),
        ({"workers": 0}, ValueError, "`workers` must be within"),
        ({"workers": 2.5}, ValueError, "`workers` must be a whole number"),
        ({"min_workers": 5}, ValueError, r"`min_workers` must be within \[0, 4\]"),
        ({"cores": True}, TypeError, "`cores` must be a number"),
        ({"gpus_per_worker": -1}, ValueError, "`gpus_per_worker` must be within"),
        ({"scheduler_port": 70_000}, ValueError, "`scheduler_port` must be within"),
        ({"encryption": "yes"}, TypeError, "`encryption` must be true or false"),
        ({"partition": "a b"}, ValueError, "`partition` must be one word"),
        ({"account": ""}, ValueError, "`account` must be one word"),
        ({"python": 3}, ValueError, "`python` must be a path"),
        ({"prologue": "module load x"}, TypeError, "`prologue` must be a list"),
        ({"prologue": ["a\nb"]}, ValueError, "`prologue` must be lines"),
        ({"directives": ["constraint=x"]}, ValueError, "such as '--constraint=a100'"),
    ],
)
def test_wrong_entries_of_a_profile_are_explained(change, error, words):
    with pytest.raises(error, match=words):
        read_profile("p", {"p": ENTRIES | change})


def test_missing_profiles_and_entries_are_named(tmp_path):
    with pytest.raises(KeyError, match=r"no table \[slurm.bg\]; it has big.*'big'"):
        read_profile("bg", {"big": ENTRIES})
    with pytest.raises(FileNotFoundError, match="must be an existing file"):
        read_profile(str(tmp_path / "no.toml"))
    with pytest.raises(ValueError, match="lacks `memory_gib`, `workers`"):
        read_profile("p", {"p": {"walltime": "1:00:00"}})
    with pytest.raises(TypeError, match="a table of entries is needed"):
        read_profile("p", {"p": 3})
    wrong = tmp_path / "p.toml"
    wrong.write_text("memory_gib = = 8")
    with pytest.raises(ValueError, match="is not a TOML file"):
        read_profile(str(wrong))


def test_profile_too_small_for_the_study_is_refused_with_all_reasons():
    small = SlurmProfile("small", memory_gib=4, walltime="1:00:00", workers=1)
    words = (
        "`cores` gives 1 threads and a job needs 2; `memory_gib` gives 4 GiB and a job "
        "needs 6; `gpus_per_worker` gives 0 CUDA devices and a job needs 1; `walltime` "
        "gives 60 minutes and a job needs 90"
    )
    with pytest.raises(ValueError, match=re.escape(words)):
        job_script(small, NEEDS, "/out")


# ---------------------------------------------------------------------- scripts


def test_script_asks_for_what_the_profile_says():
    lines = job_script(FULL, NEEDS, "/data/my sweep 100%").splitlines()
    assert lines[0] == "#!/bin/bash"
    asked = [line.removeprefix("#SBATCH ") for line in lines if line[:7] == "#SBATCH"]
    assert asked == [
        "--job-name=neurovis",
        '--output="/data/my sweep 100%%/slurm/%j.log"',
        "--partition=gpu",
        "--account=lab-7",
        "--ntasks=1",
        "--cpus-per-task=3",
        "--mem=8704M",
        "--time=1-12:00:30",
        "--gres=gpu:1",
        "--constraint=a100",
    ]
    # What the user adds comes first, so that it cannot change the number of threads.
    prologue = lines.index("module load cuda")
    assert lines[prologue + 1] == "source '/a b/env/bin/activate'"
    assert lines.index("export OMP_NUM_THREADS=2") > prologue
    command = shlex.split(lines[-1])
    assert command[:5] == [
        *("exec", "/a b/python", "-P", "-m", "distributed.cli.dask_worker")
    ]
    assert command[5] == "tls://SCHEDULER:PORT"
    for option, value in {
        "--nthreads": "1",
        "--resources": "MEMORY_GIB=8.5,GPU=1",
        "--memory-limit": "8448MiB",
        "--local-directory": "/data/my sweep 100%/scratch",
        "--interface": "ib0",
        "--tls-key": "/data/my sweep 100%/scratch/certificate/key.pem",
    }.items():
        assert command[command.index(option) + 1] == value


def test_own_request_for_gpus_replaces_ours():
    values = FULL.__dict__ | {"directives": ("--gres=gpu:a100:1",), "encryption": False}
    script = job_script(SlurmProfile(**values), NEEDS, "/out")
    assert script.count("--gres") == 1
    assert "--tls" not in script
    assert "tcp://SCHEDULER:PORT" in script


def test_folder_that_slurm_cannot_name_is_refused():
    with pytest.raises(ValueError, match="no quotes and backslashes"):
        job_script(FULL, NEEDS, '/data/"quoted"')


def test_slurm_engine_without_slurm_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(FileNotFoundError, match=r"no program `sbatch` here.*login node"),
        open_engine(
            parse_engine("slurm:p"),
            WorkerNeeds(),
            folder=tmp_path / "out",
            profiles={"p": ENTRIES},
            on_event=print,
        ),
    ):
        pass
    assert list((tmp_path / "out").iterdir()) == []


# ----------------------------------------------------------------- a real Slurm


@pytest.fixture(scope="module")
def real_slurm():
    # Sockets of Slurm have short names only: pytest's folders are too long for them.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running_slurm(folder):
        yield Path(folder)


SMALL = {
    "memory_gib": 1,
    "walltime": "00:10:00",
    "workers": 2,
    "partition": "short",
    "interface": "lo",
}


def open_slurm(folder, told, **entries):
    return open_engine(
        parse_engine("slurm:p"),
        WorkerNeeds(memory_gib=1),
        folder=folder,
        profiles={"p": SMALL | entries},
        on_event=told.append,
    )


def where(seconds):
    """A job that tells in which job of Slurm it runs."""

    def job(number):
        import os
        import time

        time.sleep(seconds)
        return number, os.environ["SLURM_JOB_ID"], os.environ["OMP_NUM_THREADS"]

    return job


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_slurm_runs_what_it_is_given(real_slurm):
    assert slurm("srun", "--mem=50", "hostname").strip() == os.uname().nodename
    number = slurm("sbatch", "--mem=50", "--output=/dev/null", "--wrap", "sleep 600")
    (job,) = re.findall(r"\d+", number)
    assert job in jobs()
    slurm("scancel", job)
    assert wait_until(lambda: job not in jobs())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_jobs_of_slurm_are_two_workers_and_a_cancelled_one_is_replaced(
    real_slurm, tmp_path
):
    folder = tmp_path / "a sweep ä"
    told = []
    with open_slurm(folder, told) as client:
        client.wait_for_workers(2, timeout=60)
        first = jobs()
        assert len(first) == 2
        tasks = client.map(where(4), range(2), resources={"MEMORY_GIB": 1})
        wait_until(lambda: all(client.processing().values()))
        slurm("scancel", first[0])
        done = client.gather(tasks)
        assert [number for number, _, _ in done] == [0, 1]
        assert {threads for _, _, threads in done} == {"1"}
        assert first[0] not in {job for _, job, _ in done}
        # Two workers again, the second in a new job.
        wait_until(lambda: first[0] not in jobs() and len(jobs()) == 2, 60)
        client.wait_for_workers(2, timeout=60)
        assert set(jobs()) - set(first)
    assert wait_until(lambda: jobs() == [])
    text = "\n".join(told)
    assert "was lost; its jobs go to others" in text
    assert re.search(rf"job {first[0]} of Slurm ended and is replaced.*CANCELLED", text)
    assert sorted(p.name for p in folder.iterdir()) == ["scheduler.log", "slurm"]
    assert {f"{job}.log" for job in first} < {
        p.name for p in (folder / "slurm").iterdir()
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_number_of_jobs_follows_the_work(real_slurm, tmp_path):
    told = []
    with open_slurm(tmp_path / "out", told, min_workers=1) as client:
        assert len(jobs()) == 1
        tasks = client.map(where(3), range(6), resources={"MEMORY_GIB": 1}, pure=False)
        wait_until(lambda: len(jobs()) == 2, 60)
        assert len({job for _, job, _ in client.gather(tasks)}) == 2
        del tasks
        wait_until(lambda: len(jobs()) == 1, 60)
    assert wait_until(lambda: jobs() == [])
