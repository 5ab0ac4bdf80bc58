"""The folder of a sweep: keys, states, records and logs of jobs."""

import logging
import os
from dataclasses import replace

import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import write_json
from neurovis.core.store import lock
from tasks.study import Job, Resources, Study
from tasks.sweep_jobs import run_job
from tasks.sweep_keys import hash_content, key_jobs
from tasks.sweep_records import (
    Attempt,
    SweepFolder,
    job_scores,
    log_to,
    read_sweep,
    write_sweep,
)

QUICK = Job(
    "search-asymmetry",
    model="chance",
    options={"conditions": ["curve_in_lines"], "trials": 1, "n_bootstrap": 5},
)


def keyed_of(*jobs):
    return key_jobs(Study("s", tuple(jobs)))


def test_a_key_depends_on_content_and_not_on_paths_or_resources(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text("same" if name != "c" else "other")
    jobs = [Job("encoding", data=f"nsd:{tmp_path / name}") for name in "abc"]
    one, two, other = keyed_of(*jobs)
    assert one.key == two.key != other.key
    larger = replace(jobs[0], resources=Resources(memory_gib=9))
    assert keyed_of(larger)[0].key == one.key
    assert keyed_of(replace(jobs[0], seed=1))[0].key != one.key


def test_paths_inside_models_and_options_count_by_their_content(tmp_path):
    (tmp_path / "w").write_text("weights")
    texts = [
        f"timm:resnet50@{tmp_path / 'w'}:layer3:gap",
        {"name": "eccnet", "weights": str(tmp_path / "w")},
    ]
    before = [each.key for each in keyed_of(*(Job("encoding", model=t) for t in texts))]
    (tmp_path / "w").write_text("other weights")
    after = [each.key for each in keyed_of(*(Job("encoding", model=t) for t in texts))]
    assert not set(before) & set(after)
    parts = keyed_of(Job("encoding", model=texts[0]))[0].parts
    assert parts["job"]["model"] == (
        f"timm:resnet50@sha256={hash_content(tmp_path / 'w')}:layer3:gap"
    )


def test_a_hash_of_a_folder_sees_names_content_and_ends_of_large_files(tmp_path):
    file = tmp_path / "data" / "inside" / "x"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    hashes = {hash_content(tmp_path / "data")}
    file.write_bytes(b"abd")
    hashes.add(hash_content(tmp_path / "data"))
    file.rename(file.with_name("y"))
    hashes.add(hash_content(tmp_path / "data"))
    with file.open("wb") as large:
        large.truncate(65 * 2**20)
    hashes.add(hash_content(tmp_path / "data"))
    with file.open("r+b") as large:
        large.seek(-1, os.SEEK_END)
        large.write(b"1")
    hashes.add(hash_content(tmp_path / "data"))
    assert len(hashes) == 5


def test_what_a_sweep_is_to_do_comes_back_equal(tmp_path):
    model = {"name": "eccnet", "label": "é"}
    jobs = (QUICK, Job("encoding", model=model, subject=1, region="V1"))
    study = Study("s", jobs, {"short": {"cores": 1}})
    write_sweep(SweepFolder(tmp_path), study, key_jobs(study), "local:2")
    folder, again, engine = read_sweep(tmp_path)
    assert (folder.root, again, engine) == (tmp_path, study, "local:2")
    assert [each.key for each in key_jobs(again)] == [k.key for k in key_jobs(study)]


def test_a_folder_without_a_sweep_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        read_sweep(tmp_path)
    write_json(tmp_path / "run.json", {"task": "rsa"})
    with pytest.raises(FileNotFoundError, match="a run of rsa, no sweep"):
        read_sweep(tmp_path)
    write_json(tmp_path / "run.json", {"task": "sweep"})
    with pytest.raises(DataCorruptError, match="not the call of a sweep"):
        read_sweep(tmp_path)


def test_a_job_goes_from_waiting_to_finished_and_is_computed_once(tmp_path):
    folder = SweepFolder(tmp_path)
    keyed = keyed_of(QUICK)[0]
    assert folder.state(keyed) == "waiting"
    first = run_job(str(tmp_path), keyed)
    assert (first.state, first.computed, first.error) == ("finished", True, "")
    assert folder.state(keyed) == "finished"
    second = run_job(str(tmp_path), keyed)
    assert (second.state, second.computed) == ("finished", False)
    [attempt] = folder.attempts(keyed.name)
    assert attempt.state == "finished"
    assert attempt.pid == os.getpid()
    assert attempt.peak_mib > 50
    log = folder.log(keyed.name).read_text()
    assert log.count("attempt 1") == 1
    assert "finished after" in log


def test_a_job_that_fails_tells_its_error_and_can_be_tried_again(tmp_path):
    folder = SweepFolder(tmp_path)
    bad = replace(QUICK, options={**QUICK.options, "conditions": ["no_such"]})
    keyed = keyed_of(bad)[0]
    outcome = run_job(str(tmp_path), keyed)
    assert outcome.state == folder.state(keyed) == "failed"
    assert outcome.error.startswith("ValueError: `conditions` must be one of")
    assert "Traceback" in folder.log(keyed.name).read_text()
    run_job(str(tmp_path), keyed)
    assert [each.state for each in folder.attempts(keyed.name)] == ["failed"] * 2


def test_states_tell_jobs_that_run_from_jobs_that_were_lost(tmp_path):
    folder = SweepFolder(tmp_path)
    keyed = keyed_of(QUICK)[0]
    folder.write_attempts(keyed.name, [Attempt("now", "host", 1)])
    assert folder.state(keyed) == "interrupted"
    (tmp_path / "store").mkdir()
    with lock(folder.store.root / keyed.key):
        assert folder.state(keyed) == "running"
    # Left by a killed process.
    (folder.store.root / f"{keyed.key}.lock").write_text("{}")
    assert folder.state(keyed) == "interrupted"


def test_scores_of_finished_jobs_are_read_in_the_order_of_the_study(tmp_path):
    study = Study("s", (replace(QUICK, seed=1), QUICK, replace(QUICK, seed=2)))
    keyed = key_jobs(study)
    write_sweep(SweepFolder(tmp_path), study, keyed, "local")
    for each in keyed[:2]:
        run_job(str(tmp_path), each)
    found = job_scores(tmp_path)
    assert [name for name, _ in found] == [each.name for each in keyed[:2]]
    assert [set(score.table["seed"]) for _, score in found] == [{1}, {0}]


def test_a_damaged_record_is_named(tmp_path):
    folder = SweepFolder(tmp_path)
    write_json(folder.record("x"), [{"when": 1}])
    with pytest.raises(DataCorruptError, match=r"x\.json is no record"):
        folder.attempts("x")


def test_a_worker_with_other_code_refuses_the_job(tmp_path):
    keyed = keyed_of(QUICK)[0]
    other = replace(keyed, parts={**keyed.parts, "code": "0" * 64})
    with pytest.raises(RuntimeError, match="other source code of neurovis"):
        run_job(str(tmp_path), other)
    assert not (tmp_path / "store").exists()


def test_a_log_gets_messages_and_warnings_of_its_block_alone(tmp_path):
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    with log_to(tmp_path / "a" / "job.log"):
        logging.getLogger("inside").info("said")
    logging.getLogger("outside").warning("not said")
    assert (list(root.handlers), root.level) == before
    text = (tmp_path / "a" / "job.log").read_text()
    assert "INFO inside: said" in text
    assert "not said" not in text
