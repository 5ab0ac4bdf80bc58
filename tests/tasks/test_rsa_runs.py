"""Runs of RSA: resumed, refused, reported, damaged."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.store import Store
from neurovis.core.types import Score
from neurovis.core.unit_responses import save_responses
from tasks.feature_specs import parse_features
from tasks.reports import finish_run
from tasks.rsa import run_rsa
from tasks.rsa_targets import load_targets
from tests.tasks.rsa_examples import CALL, DATA, FEATURES, NETWORK, contents


def test_a_finished_run_is_left_as_it_is(rsa_run, objects):
    before = contents(rsa_run)
    keys = Store(rsa_run / "parts" / "rsa").keys()
    sources = ["human IT", "monkey IT"]
    run_rsa(DATA.format(objects), FEATURES, rsa_run, source=sources, **CALL)
    assert contents(rsa_run) == before
    assert Store(rsa_run / "parts" / "rsa").keys() == keys


def test_another_run_in_the_same_folder_is_refused(rsa_run, objects):
    with pytest.raises(ValueError, match="holds a run with compare='spearman'"):
        run_rsa(DATA.format(objects), FEATURES, rsa_run, compare="cosine", **CALL)


def test_another_run_is_told_before_data_are_loaded(rsa_run, objects, monkeypatch):
    monkeypatch.setattr("tasks.rsa.load_targets", None)
    with pytest.raises(ValueError, match="holds a run with seed=0"):
        run_rsa(
            DATA.format(objects),
            FEATURES,
            rsa_run,
            source=["human IT", "monkey IT"],
            seed=1,
            **CALL,
        )


def test_a_damaged_entry_of_the_store_is_computed_again(rsa_run, objects, tmp_path):
    shutil.copytree(rsa_run, tmp_path / "run")
    for path in (tmp_path / "run" / "parts" / "rsa").rglob("*.*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:50])
    sources = ["human IT", "monkey IT"]
    run_rsa(DATA.format(objects), FEATURES, tmp_path / "run", source=sources, **CALL)
    assert contents(tmp_path / "run") == contents(rsa_run)


@pytest.mark.slow
def test_a_killed_run_ends_with_identical_tables(objects, tmp_path):
    features = [f"{NETWORK}:blocks.1:mean", "control:colour"]
    code = "from neurovis.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "rsa"]
    command += ["--data", DATA.format(objects), "--out", str(tmp_path / "killed")]
    for spec in features:
        command += ["--features", spec]
    command += ["--source", "monkey IT", "--source", "behaviour"]
    command += ["--bootstrap", "20", "--permutations", "20", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    parts = Store(tmp_path / "killed" / "parts" / "rsa")
    try:
        while process.poll() is None and not parts.keys():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=50) == -signal.SIGKILL
    finally:
        process.kill()
    for name in ("killed", "straight"):
        run_rsa(
            DATA.format(objects),
            features,
            tmp_path / name,
            source=["monkey IT", "behaviour"],
            resize="squash",
            n_bootstrap=20,
            n_permutations=20,
            device="cpu",
        )
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_the_report_tells_ranking_ceiling_and_marks(rsa_run):
    lines = finish_run(rsa_run)
    assert lines[-1] == f"report {rsa_run / 'report.html'}"
    assert any("human IT (RSA)" in line and "Ceiling: " in line for line in lines)
    first = lines.index(next(line for line in lines if "human IT (RSA)" in line)) + 1
    assert lines[first].split()[:2] == ["timm:test_vit", "(untrained)"]
    text = (rsa_run / "report.html").read_text(encoding="utf-8")
    for words in (
        "timm:test_vit (untrained)",
        "optimistic",
        "(of the data)” came with the data",
        "p can be small where limits include 0",
        "untrained weights (seeded:0)",
        "leave one subject out",
        "images",
    ):
        assert words in text, words
    names = sorted(path.name for path in (rsa_run / "figures").iterdir())
    assert len(names) == 9
    assert sum("differences_stimuli" in name for name in names) == 1
    assert sum("matrices" in name for name in names) == 2


def test_a_report_of_an_unfinished_run_says_what_to_do(tmp_path):
    (tmp_path / "run.json").write_text('{"task": "rsa"}')
    with pytest.raises(FileNotFoundError, match=r"neurovis run rsa --out"):
        finish_run(tmp_path)


def test_damaged_matrices_are_told(rsa_run, tmp_path):
    for path in rsa_run.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    cut = (tmp_path / "rdms.npz").read_bytes()[:200]
    (tmp_path / "rdms.npz").write_bytes(cut)
    with pytest.raises(DataCorruptError, match=r"rdms\.npz"):
        finish_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measure": "cityblock"}, "`measure` must be one of"),
        ({"compare": "kendall"}, "`compare` must be one of"),
        ({"over": "voxels"}, "`over` must be one of"),
        ({"source": "humn IT"}, "Did you mean 'human IT'"),
        ({"source": "model"}, "`source` must be one of"),
        ({"subjects": ["9"]}, "`subject of"),
        ({"regions": ["V4"]}, "`regions` are for responses of units"),
        ({"measure": "crossnobis"}, "needs single trials"),
        ({"stimuli": 3}, "`stimuli`"),
        ({"n_bootstrap": 0}, "`n_bootstrap`"),
        ({"seed": -1}, "`seed`"),
        ({"features": [f"{NETWORK}:blocks.77"]}, "no layer 'blocks.77'"),
        ({"features": []}, "`features` is empty"),
        ({"features": ["control:gabor", "control:gabor"]}, "two sets called"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_written(
    objects, tmp_path, change, message
):
    call = {"features": ["control:colour"]} | change
    with pytest.raises(ValueError, match=message):
        run_rsa(DATA.format(objects), call.pop("features"), tmp_path / "run", **call)
    assert not (tmp_path / "run").exists()


def test_units_take_no_source_and_too_few_stimuli_are_refused(units, tmp_path):
    data, features, responses, _ = units
    with pytest.raises(ValueError, match="`source` is for published matrices"):
        run_rsa(data, [features], tmp_path / "run", source="human IT")
    few = responses.select_stimuli(np.arange(20))
    save_responses(tmp_path / "few", few)
    with pytest.raises(ValueError, match="has 5 stimuli"):
        load_targets(f"responses:{tmp_path / 'few'}")


def test_text_takes_the_rule_of_resizing_and_specs_keep_theirs(objects, tmp_path):
    spec = parse_features("control:colour:statistics", label="own")
    run_rsa(
        DATA.format(objects),
        [spec, "control:colour:statistics"],
        tmp_path,
        source="monkey IT",
        resize="squash",
        **CALL,
    )
    call = Score.load(tmp_path).provenance.call
    assert [s["resize"] for s in call["features"]] == [None, "squash"]
