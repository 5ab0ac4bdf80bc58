"""Rehearsals: what a job would refuse is told before anything is computed."""

from pathlib import Path

import pytest

from tasks.study import Job, Study, make_study
from tasks.study_rehearsal import rehearse

QUICK = {"conditions": ["curve_in_lines"], "trials": 1}


def test_a_study_that_can_run_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiments = [
        {"run": "search-asymmetry", "models": ["chance", "saliency"], "options": QUICK},
        {"run": "object-search", "data": "simulated", "models": ["chance_uniform"]},
    ]
    study = make_study({"name": "s", "experiments": experiments, "seeds": [0, 1]})
    rehearse(study, store=tmp_path / "features")
    assert list(tmp_path.iterdir()) == []


def test_every_job_that_cannot_run_is_named_at_once():
    jobs = (
        Job("search-asymmetry", model="chance", options={"conditions": ["line"]}),
        Job("search-asymmetry", model="chance", options=QUICK),
        Job("object-search", model="no_such", data="simulated"),
    )
    with pytest.raises(ValueError, match="2 of 3 jobs that were checked") as error:
        rehearse(Study("s", jobs))
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert "search-asymmetry-chance-seed0: `conditions` must be one of" in lines[1]
    assert "object-search-no_such-seed0: `models` must be one of" in lines[2]


def test_each_value_of_an_axis_is_checked_but_not_every_combination(tmp_path):
    jobs = [
        Job("object-search", model=model, seed=seed, data="simulated")
        for model in ("chance_uniform", "wrong")
        for seed in range(50)
    ]
    with pytest.raises(ValueError, match="1 of 2 jobs"):
        rehearse(Study("s", tuple(jobs)))


def test_weights_that_are_missing_come_to_light(tmp_path):
    model = {"name": "eccnet", "weights": str(Path(tmp_path) / "none.safetensors")}
    job = Job("search-asymmetry", model=model, options=QUICK)
    with pytest.raises(ValueError, match=r"none\.safetensors"):
        rehearse(Study("s", (job,)))
