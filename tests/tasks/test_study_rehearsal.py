"""Rehearsals: what a job would refuse is told before anything is computed."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.study import Job, Study, make_study
from tasks.study_rehearsal import rehearse
from tasks.study_tasks import SWEEP_TASKS
from tests.faults.verbs import make_inputs
from tests.tasks.sweep_studies import write_study

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


FEATURES = {"models": ["compact_vgg:stage1:gap"]}
NSD = {"data": "nsd:nsd", "subjects": [1], "regions": ["V1v"]}
IMAGES = {"data": "made/classes"}
PIXELS = {"models": ["small=control:pixels:pixels:grid8"]}
# One job of every experiment that needs no fitted model and no stimuli made before.
EXPERIMENTS = {
    "search-asymmetry": {"models": ["eccnet"], "options": QUICK},
    "search-natural": {"models": ["centre"], "data": "made/scenes"},
    "search-slopes": {
        "models": ["chance"],
        "data": "made/people",
        "options": {"tasks": ["feature"]},
    },
    "free-viewing": {"models": ["centre"], "data": "made/osie"},
    "object-search": {"models": ["chance_uniform"], "data": "simulated"},
    "encoding": {**FEATURES, **NSD},
    "brain-encoder": {
        "data": "simulated:content",
        "options": {"readout": "transformer", "n_runs": 2},
    },
    "clip-encoder": {**NSD, "models": ["sketch_clip"]},
    "rsa": {**FEATURES, **NSD},
    "brain-ranking": {**FEATURES, "data": "nsd:nsd", "regions": ["V1v"]},
    "probes": {"models": ["compact_vgg"], "options": {"grating_px": 64}},
    "foveation": {
        "data": "drawings:5",
        "models": ["reference"],
        "options": {"recipe": "compact", "experiments": ["generalisation"]},
    },
    "recognition": {"models": ["squeezenet1_0@seeded:0"], "data": "simulated"},
    "mental-rotation": {**PIXELS, "options": {"n_objects": 4}},
    "gestalt": {**PIXELS, "options": {"tests": ["lower-region"]}},
    "disrt": {**PIXELS, "data": "made/many"},
    "letter-identification": PIXELS,
    "object-binding": {"models": ["compact_vgg:stage3"]},
    "attentive-probing": {"models": ["compact_vgg:stage4"], "data": "made/classes"},
    "diet": {**IMAGES, "models": ["natural"], "options": {"trials": 1}},
    "braindive": {
        "models": ["sketch:latent"],
        "options": {"n_images": 4, "n_controls": 2},
    },
    "brainscuba": {"models": ["sketch_clip"], "options": {"n_brains": 1}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_study(folder)
    make_inputs(folder, "observers")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", EXPERIMENTS)
def test_a_job_of_every_experiment_reaches_its_folder(task, data):
    values = {"name": task, "experiments": [{"run": task, **EXPERIMENTS[task]}]}
    study = make_study(values, base=data)
    rehearse(study)
    assert len(study.jobs) == 1
    wrong = replace(study.jobs[0], options={"n_bootstrap": -1})
    with pytest.raises(ValueError, match="1 of 1 jobs that were checked cannot run"):
        rehearse(Study("s", (wrong,)))


def test_every_experiment_is_rehearsed_or_needs_what_others_made():
    assert set(SWEEP_TASKS) - set(EXPERIMENTS) == {"localiser", "metamers"}
