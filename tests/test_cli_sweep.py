"""`neurovis sweep`, as users call it."""

import sys

import pytest

from neurovis.cli import main
from tasks.study import read_study
from tasks.sweep_jobs import run_job
from tasks.sweep_keys import key_jobs
from tasks.sweep_records import SweepFolder, write_sweep

STUDY = """
name = "tiny"
seeds = [0, 1]
[[experiments]]
run = "search-asymmetry"
models = ["chance"]
options = {conditions = ["curve_in_lines"], trials = 1, n_bootstrap = 5}
"""


def call(*words, capsys):
    """Run the command line in this process; return exit code, output and errors."""
    old, sys.argv = sys.argv, ["neurovis", "sweep", *map(str, words)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = old
    told = capsys.readouterr()
    return code or 0, told.out, told.err


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(STUDY)
    return file


def test_a_dry_run_estimates_and_leaves_nothing(study, tmp_path, capsys):
    words = (study, "--dry-run", "--engine", "local:2", "--out", tmp_path / "out")
    code, out, err = call(*words, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "search-asymmetry: 2 jobs, 0 finished; each about 5 min, 1.5 GiB memory, "
        "2 MiB disk (a rough guess)",
        "2 jobs to do, 2 at a time: about 5 min, 3 GiB memory, 4 MiB disk",
        "nothing was computed (--dry-run)",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [study.name]


def test_the_word_run_may_be_left_out(study, tmp_path, capsys):
    words = (study, "--dry-run", "--no-rehearsal", "--engine", "local:1")
    assert call(*words, capsys=capsys) == call("run", *words, capsys=capsys)


def test_a_job_that_cannot_run_is_told_before_anything(study, tmp_path, capsys):
    study.write_text(STUDY.replace("curve_in_lines", "curve_in_line"))
    code, out, err = call(study, "--out", tmp_path / "out", capsys=capsys)
    assert (code, out) == (1, "")
    assert "1 of 1 jobs that were checked cannot run; nothing was computed" in err
    assert "Did you mean 'curve_in_lines'?" in err
    assert not (tmp_path / "out" / "run.json").exists()


def test_status_tells_what_is_finished_and_what_failed(study, tmp_path, capsys):
    folder = SweepFolder(tmp_path / "out")
    read = read_study(study)
    write_sweep(folder, read, key_jobs(read), "local:1")
    first = key_jobs(read)[0]
    run_job(str(folder.root), first)
    code, out, err = call("status", folder.root, capsys=capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == (
        "tiny: 2 jobs: 1 finished, 0 failed, 0 running, 0 interrupted, 1 waiting"
    )
    assert lines[1].startswith("1 job to do, 1 at a time: about ")

    wrong = tmp_path / "wrong.toml"
    wrong.write_text(STUDY.replace("curve_in_lines", "curve_in_line"))
    other = read_study(wrong)
    write_sweep(folder, other, key_jobs(other), "local:1")
    run_job(str(folder.root), key_jobs(other)[0])
    _, out, _ = call("status", folder.root, capsys=capsys)
    assert "2 jobs: 0 finished, 1 failed, 0 running, 0 interrupted, 1 waiting" in out
    assert "failed: search-asymmetry-chance-seed0-" in out
    assert ": ValueError: `conditions` must be one of" in out
    assert "1 further results are of other jobs, data or source code" in out
    assert f"try again: neurovis sweep retry {folder.root}" in out


@pytest.mark.parametrize("verb", ["status", "retry"])
def test_a_folder_without_a_sweep_is_told(verb, tmp_path, capsys):
    code, out, err = call(verb, tmp_path, capsys=capsys)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path} holds no sweep")
