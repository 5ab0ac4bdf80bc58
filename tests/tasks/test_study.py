"""Studies: what a file says becomes jobs, and what is wrong in it is said."""

from pathlib import Path

import pytest

from tasks.study import Job, Resources, make_study, read_study
from tasks.study_tasks import SWEEP_TASKS, check_options

SEARCH = {"run": "search-asymmetry", "models": ["chance", "saliency"]}


def study_of(*experiments, base=".", **more):
    return make_study({"name": "s", "experiments": [*experiments], **more}, base=base)


@pytest.fixture
def nsd(tmp_path):
    (tmp_path / "nsd").mkdir()
    return {"run": "encoding", "data": "nsd:nsd", "models": ["compact_vgg"]}


def test_every_cell_of_the_grid_is_one_job_in_the_order_of_the_file(nsd, tmp_path):
    nsd |= {"subjects": [1, "subj02"], "regions": ["V1", "FFA"], "seeds": [0, 5]}
    jobs = study_of(nsd, base=tmp_path).jobs
    cells = [(job.subject, job.region, job.seed) for job in jobs]
    assert cells == [
        (subject, region, seed)
        for subject in (1, "subj02")
        for region in ("V1", "FFA")
        for seed in (0, 5)
    ]
    assert {job.data for job in jobs} == {f"nsd:{(tmp_path / 'nsd').resolve()}"}
    assert jobs[-1].title == "encoding-compact_vgg-subj02-FFA-seed5"


def test_an_axis_at_the_top_is_for_the_experiments_that_have_it(nsd, tmp_path):
    study = study_of(SEARCH, nsd, base=tmp_path, subjects=[1, 2], seeds=[3])
    found = [(job.task, job.subject, job.seed) for job in study.jobs]
    assert found == [
        ("search-asymmetry", None, 3),
        ("search-asymmetry", None, 3),
        ("encoding", 1, 3),
        ("encoding", 2, 3),
    ]
    assert study.tasks == ["search-asymmetry", "encoding"]


def test_an_experiment_that_is_written_twice_gives_its_jobs_once():
    assert study_of(SEARCH, SEARCH).jobs == study_of(SEARCH).jobs


def test_resources_of_an_experiment_win_over_those_at_the_top():
    more = {"resources": {"memory_gib": 3, "minutes": 7}}
    own = {**SEARCH, "resources": {"minutes": 1, "gpus": 1}}
    needs = study_of(own, **more).jobs[0].resources
    assert needs == Resources(memory_gib=3, minutes=1, gpus=1)


def test_resources_are_no_part_of_what_a_job_means():
    one, two = Job("encoding"), Job("encoding", resources=Resources(memory_gib=9))
    assert one.meaning() == two.meaning()
    assert one.meaning() != Job("encoding", seed=1).meaning()


def test_a_model_may_be_a_table_with_a_label():
    model = {"name": "eccnet", "weights": "seeded:1", "label": "random eccnet"}
    job = study_of({**SEARCH, "models": [model]}).jobs[0]
    assert job.model == model
    assert job.title == "search-asymmetry-random_eccnet-seed0"


def test_paths_are_relative_to_the_file_and_absolute_in_jobs(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "shown").mkdir()
    (tmp_path / "w.safetensors").write_bytes(b"")
    file = tmp_path / "studies" / "study.toml"
    file.write_text(
        'name = "paths"\n'
        "[[experiments]]\n"
        'run = "search-asymmetry"\n'
        'models = [{name = "eccnet", weights = "../w.safetensors"}]\n'
        'options = {stimuli = "../shown"}\n'
    )
    job = read_study(file).jobs[0]
    assert job.model["weights"] == str((tmp_path / "w.safetensors").resolve())
    assert job.options["stimuli"] == str((tmp_path / "shown").resolve())


def test_titles_are_safe_names_of_files():
    job = Job("encoding", model="timm:a/b@../x", subject="../../etc", region="é\n")
    assert "/" not in job.title
    assert job.title == Path(job.title).name
    assert len(Job("encoding", model="x" * 999).title) == 100


WRONG = [
    ({}, "`name` must be a text"),
    ({"name": "s"}, r"at least one \[\[experiments\]\] table is needed"),
    ({"name": "s", "experiment": []}, "Did you mean 'experiments'"),
    ({"name": "s", "experiments": [{"run": "encodin"}]}, "Did you mean 'encoding'"),
    ({"name": "s", "experiments": [{**SEARCH, "seed": 1}]}, "Did you mean 'seeds'"),
    ({"name": "s", "experiments": [{**SEARCH, "seeds": 1}]}, "must be a list; got 1"),
    ({"name": "s", "experiments": [{**SEARCH, "seeds": [-1]}]}, "seeds"),
    ({"name": "s", "experiments": [{**SEARCH, "seeds": [1, 1]}]}, "more than once"),
    ({"name": "s", "experiments": [{**SEARCH, "subjects": [1]}]}, "takes no `subj"),
    ({"name": "s", "experiments": [{**SEARCH, "data": "x"}]}, "takes no `data`"),
    ({"name": "s", "experiments": [{"run": "search-asymmetry"}]}, "needs `models`"),
    (
        {"name": "s", "experiments": [{**SEARCH, "models": ["ecnet"]}]},
        "Did you mean 'eccnet'",
    ),
    (
        {"name": "s", "experiments": [{**SEARCH, "models": [{"label": "x"}]}]},
        "a table with `name`",
    ),
    (
        {"name": "s", "experiments": [{**SEARCH, "options": {"trial": 2}}]},
        "Did you mean 'trials'",
    ),
    (
        {"name": "s", "experiments": [{**SEARCH, "options": {"trials": "2"}}]},
        "option `trials` of search-asymmetry cannot be '2'",
    ),
    (
        {"name": "s", "experiments": [{**SEARCH, "options": {"seed": 2}}]},
        "option of search-asymmetry",
    ),
    (
        {"name": "s", "experiments": [{**SEARCH, "resources": {"memory": 2}}]},
        "Did you mean 'memory_gib'",
    ),
    (
        {"name": "s", "experiments": [{**SEARCH, "resources": {"memory_gib": 0}}]},
        "memory_gib",
    ),
    ({"name": "s", "experiments": [{**SEARCH, "resources": {"gpus": 2}}]}, "gpus"),
    ({"name": "s", "experiments": [SEARCH], "slurm": {"a": 1}}, "must be tables"),
    ({"name": "s", "experiments": [{"run": "encoding"}]}, "needs `data`"),
    (
        {"name": "s", "experiments": [{"run": "encoding", "data": "nsdd:x"}]},
        "must be NAME:PATH",
    ),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[w for _, w in WRONG])
def test_what_is_wrong_in_a_study_is_told_before_anything_runs(values, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make_study(values)


def test_missing_data_are_named_with_the_folder_that_was_looked_in(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no {tmp_path / 'gone'}"):
        study_of({"run": "encoding", "data": "nsd:gone"}, base=tmp_path)


def test_a_file_that_is_no_toml_is_named(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text("name = ")
    with pytest.raises(ValueError, match=r"study\.toml is not a TOML file"):
        read_study(file)
    with pytest.raises(FileNotFoundError, match="none"):
        read_study(tmp_path / "none.toml")


@pytest.mark.parametrize("task", SWEEP_TASKS)
def test_every_experiment_of_a_sweep_names_a_function_with_a_folder_and_a_seed(task):
    known = SWEEP_TASKS[task]
    assert known.has("out")
    settings = known.settings_class is not None
    assert known.has("seed") or settings
    assert known.has("device") or task in ("free-viewing",)
    assert "out" not in known.options()
    assert "seed" not in known.options()
    for argument in (known.models, known.data, known.settings):
        assert argument is None or known.has(argument) or settings
    with pytest.raises(ValueError, match="option of"):
        check_options(task, {"no_such_option": 1}, "here")
