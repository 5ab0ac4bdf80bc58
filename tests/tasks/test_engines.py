"""Engines: their texts, what fits, and real workers."""

import json
import logging
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from neurovis.core.errors import MissingDependencyError
from neurovis.core.provenance import source_fingerprint
from tasks.engine_workers import WorkerNeeds, last_lines, worker_command
from tasks.engines import EngineSpec, open_engine, parse_engine
from tasks.local_workers import plan_local_workers
from tasks.scheduler_checks import check_tags
from tests.tasks.dask_here import running_dask

# ------------------------------------------------------------------------ texts


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("local", EngineSpec("local")),
        ("local:4", EngineSpec("local", n_workers=4)),
        ("dask:tcp://host:8786", EngineSpec("dask", address="tcp://host:8786")),
        ("dask:tls://[::1]:99", EngineSpec("dask", address="tls://[::1]:99")),
        ("dask:a folder/s.json", EngineSpec("dask", address="a folder/s.json")),
        ("slurm:big", EngineSpec("slurm", profile="big")),
        ("slurm:a/b.toml", EngineSpec("slurm", profile="a/b.toml")),
    ],
)
def test_text_of_an_engine_is_read(text, spec):
    assert parse_engine(text) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("locl:2", "Did you mean 'local'"),
        ("local:", "a number of workers >= 1"),
        ("local:0", "a number of workers >= 1"),
        ("local:²", "a number of workers >= 1"),
        ("local:two", "a number of workers >= 1"),
        ("dask", "address of a scheduler with its port"),
        ("dask:host:8786", "dask:tcp://host:8786"),
        ("dask:tcp://host", "with its port"),
        ("dask:http://host:80", "with its port"),
        ("slurm", r"slurm:NAME for the table \[slurm.NAME\]"),
        ("slurm: ", "slurm:FILE.toml"),
    ],
)
def test_wrong_text_of_an_engine_is_explained(text, words):
    with pytest.raises(ValueError, match=words):
        parse_engine(text)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"threads": 0}, "`threads` must be within"),
        ({"threads": 1.5}, "`threads` must be a whole number"),
        ({"memory_gib": 0}, "`memory_gib` must be within"),
        ({"gpus": -1}, "`gpus` must be within"),
        ({"minutes": 0}, "`minutes` must be within"),
    ],
)
def test_needs_that_cannot_be_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        WorkerNeeds(**values)


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(MissingDependencyError, match=r'install "neurovis\[cluster\]"'),
        open_engine(
            parse_engine("local"),
            WorkerNeeds(),
            folder=tmp_path / "out",
            on_event=print,
        ),
    ):
        pass
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------- what fits


def plan(n_workers, needs, *, n_processors=8, memory_gib=32.0, devices=()):
    return plan_local_workers(
        n_workers,
        needs,
        n_processors=n_processors,
        memory_gib=memory_gib,
        devices=devices,
    )


@pytest.mark.parametrize(
    ("needs", "n_workers"),
    [
        (WorkerNeeds(memory_gib=1), 8),  # processors are the limit
        (WorkerNeeds(threads=4, memory_gib=1), 2),
        (WorkerNeeds(memory_gib=10), 3),  # memory is
        (WorkerNeeds(threads=99, memory_gib=1), 1),
    ],
)
def test_as_many_workers_run_as_fit(needs, n_workers):
    assert len(plan(None, needs).devices) == n_workers


def test_memory_is_shared_and_holds_the_largest_job():
    assert plan(3, WorkerNeeds(memory_gib=2)).memory_gib == 10.66
    needs = WorkerNeeds(memory_gib=32 / 3)
    assert plan(3, needs).memory_gib >= needs.memory_gib


def test_workers_beyond_the_memory_are_refused_with_numbers():
    words = r"4 worker\(s\) x 10 GiB are 40 GiB and this machine has 32.0 GiB.*most 3"
    with pytest.raises(ValueError, match=words):
        plan(4, WorkerNeeds(memory_gib=10))
    with pytest.raises(ValueError, match="at most 0"):
        plan(None, WorkerNeeds(memory_gib=33))


def test_each_gpu_belongs_to_one_worker_and_others_see_none():
    devices = ("0", "1", "GPU-a")
    one = plan(4, WorkerNeeds(gpus=1), devices=devices)
    assert one.devices == ("0", "1", "GPU-a", "")
    assert plan(1, WorkerNeeds(gpus=1), devices=devices).devices == ("0",)
    assert plan(3, WorkerNeeds(gpus=2), devices=devices).devices == ("0,1", "", "")
    assert plan(2, WorkerNeeds(), devices=devices).devices == ("", "")


def test_a_study_that_needs_gpus_is_refused_where_there_are_none():
    with pytest.raises(ValueError, match=r"need 1 CUDA device\(s\) each and .* has 0"):
        plan(1, WorkerNeeds(gpus=1))


def test_command_of_a_worker_says_what_it_has():
    command = worker_command(
        "tcp://host:1",
        "w",
        python="/env/bin/python",
        memory_gib=7.5,
        limit_gib=7.25,
        gpus=2,
        scratch=Path("/a b"),
        encryption=None,
        interface="ib0",
    )
    assert command[:5] == [
        *("/env/bin/python", "-P", "-m", "distributed.cli.dask_worker"),
        "tcp://host:1",
    ]
    options = dict(pairwise(command))
    assert options["--nthreads"] == "1"
    assert options["--resources"] == "MEMORY_GIB=7.5,GPU=2"
    assert options["--memory-limit"] == "7424MiB"
    assert options["--local-directory"] == "/a b"
    assert options["--interface"] == "ib0"
    assert not [word for word in command if word.startswith("--tls")]


def test_end_of_a_log_is_shown(tmp_path):
    log = tmp_path / "a.log"
    assert last_lines(log) == "(empty)"
    log.write_bytes("eins\n\nzwei\ndr\xe4i\n\n".encode("latin-1"))
    assert last_lines(log, 2) == "zwei\ndr\ufffdi"


def worker(memory_gib=None, gpus=None, n_threads=1):
    tags = {"MEMORY_GIB": memory_gib, "GPU": gpus}
    tags = {name: value for name, value in tags.items() if value is not None}
    return {"name": "w", "nthreads": n_threads, "resources": tags}


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ([worker()], r"None of the 1 .*--resources \"MEMORY_GIB=4,GPU=1\""),
        ([worker(8)], "has MEMORY_GIB=4,GPU=1"),
        ([worker(2, 1)], "has MEMORY_GIB=4,GPU=1"),
        ([worker(8, 0), worker(2, 1)], "None of the 2"),
        ([worker(8, 1), worker(8, 1, 4)], "has 4 threads: jobs would share"),
    ],
)
def test_workers_without_what_jobs_need_are_refused(workers, words):
    needs = WorkerNeeds(memory_gib=4, gpus=1)
    with pytest.raises(ValueError, match=words):
        check_tags(dict(enumerate(workers)), needs, print, address="tcp://h:1")


def test_workers_that_get_no_jobs_are_told():
    told = []
    workers = dict(enumerate([worker(8), worker(), worker(4)]))
    check_tags(workers, WorkerNeeds(memory_gib=4), told.append, address="tcp://h:1")
    assert told == [
        "1 of 3 workers of tcp://h:1 lack MEMORY_GIB=4: the largest jobs do not run "
        "there"
    ]


# ---------------------------------------------------------------- real workers


def look():
    """A job that tells where it runs."""

    def job():
        import os
        import sys

        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NEUROVIS_PROGRESS")
        sys.stdout.write("said by a job\n")
        return os.getpid(), [os.environ.get(n) for n in names], sys.path

    return job


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_local_workers_do_jobs_and_leave_logs_only(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a sweep ä"
    handlers = logging.getLogger("distributed").handlers[:]
    environment = dict(os.environ)
    before = sys.path[:]
    needs = WorkerNeeds(threads=2, memory_gib=0.5)
    told = []
    with open_engine(
        parse_engine("local:2"), needs, folder=folder, on_event=told.append
    ) as client:
        client.wait_for_workers(2, timeout=60)
        workers = client.scheduler_info()["workers"].values()
        assert sorted(w["name"] for w in workers) == ["worker-0", "worker-1"]
        assert {w["nthreads"] for w in workers} == {1}
        assert all(w["resources"]["MEMORY_GIB"] >= 0.5 for w in workers)
        assert all(w["host"] == "127.0.0.1" for w in workers)
        key = folder / "scratch" / "certificate" / "key.pem"
        assert key.stat().st_mode & 0o077 == 0
        jobs = [
            client.submit(look(), pure=False, resources={"MEMORY_GIB": 0.5})
            for _ in range(6)
        ]
        pids, seen, paths = zip(*client.gather(jobs), strict=True)
        assert os.getpid() not in pids
        assert set(map(tuple, seen)) == {("2", "", "0")}
        # A folder `analysis` here would hide ours.
        assert not {"", str(tmp_path)} & {place for path in paths for place in path}
    assert sorted(p.name for p in folder.iterdir()) == ["scheduler.log", "workers"]
    assert (
        "said by a job"
        in (folder / "workers" / "worker-0.log").read_text()
        + (folder / "workers" / "worker-1.log").read_text()
    )
    assert all("share" in text for text in told)
    assert logging.getLogger("distributed").handlers == handlers
    assert dict(os.environ) == environment
    assert sys.path == before
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""


QUIET = """
import sys
from itertools import pairwise
from pathlib import Path
from tasks.engines import WorkerNeeds, open_engine, parse_engine
with open_engine(
    parse_engine("local:1"),
    WorkerNeeds(memory_gib=0.5),
    folder=Path(sys.argv[1]),
    on_event=lambda text: None,
) as client:
    assert client.submit(sum, (1, 2)).result() == 3
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_script_without_a_main_guard_prints_nothing_and_leaves_its_home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    script = tmp_path / "script.py"
    script.write_text(QUIET)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "out"],
        env=os.environ | {"HOME": str(home), "TMPDIR": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert list(home.iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {"home", "out", "script.py"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_scheduler_that_runs_is_joined_by_address_and_by_file(tmp_path):
    with running_dask(tmp_path) as (address, _):
        for text in (f"dask:{address}", f"dask:{tmp_path}/scheduler.json"):
            with open_engine(
                parse_engine(text),
                WorkerNeeds(memory_gib=1),
                folder=tmp_path / "out",
                on_event=print,
                connect_s=60,
            ) as client:
                job = client.submit(look(), resources={"MEMORY_GIB": 1})
                assert job.result()[0] != os.getpid()
    assert {p.name for p in (tmp_path / "out").iterdir()} <= {"scheduler.log"}


def test_source_fingerprint_follows_the_source(tmp_path, monkeypatch):
    read_anew = source_fingerprint.__wrapped__
    mine = read_anew()
    assert mine == source_fingerprint()
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "stimuli", raising=False)
    other = read_anew()
    assert other != mine
    (tmp_path / "stimuli" / "more.py").write_text("x = 1\n")
    assert read_anew() not in {mine, other}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_local_engine_uses_the_gpus_that_there_are(tmp_path):
    import torch

    if not torch.cuda.is_available():
        with (
            pytest.raises(ValueError, match="this machine has 0"),
            open_engine(
                parse_engine("local:1"),
                WorkerNeeds(gpus=1),
                folder=tmp_path / "out",
                on_event=print,
            ),
        ):
            pass
        assert list((tmp_path / "out").iterdir()) == []
        return
    with open_engine(
        parse_engine("local:2"),
        WorkerNeeds(gpus=1, memory_gib=2),
        folder=tmp_path / "out",
        on_event=print,
    ) as client:
        job = client.submit(look(), resources={"GPU": 1})
        assert job.result()[1][1] != ""


def test_scheduler_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "s.json"
    file.write_text(json.dumps([1]))
    with (
        pytest.raises(OSError, match="is no file of a scheduler"),
        open_engine(
            parse_engine(f"dask:{file}"),
            WorkerNeeds(),
            folder=tmp_path / "out",
            on_event=print,
        ),
    ):
        pass
    assert list((tmp_path / "out").iterdir()) == []
