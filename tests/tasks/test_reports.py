"""The one door to reports: each kind of run finds its own."""

from importlib import import_module

import pytest

from neurovis.core.errors import DataCorruptError
from neurovis.core.files import write_json
from tasks import reports
from tasks.reports import finish_run
from tasks.run_config import DEFAULT_MODELS
from tasks.runs import begin_run
from tasks.search_asymmetry import run_search_asymmetry

TASKS = [*DEFAULT_MODELS, "free-viewing", "object-search"]


@pytest.mark.parametrize("task", TASKS)
def test_an_unfinished_run_of_each_kind_is_told_by_its_own_command(tmp_path, task):
    begin_run(tmp_path, {"task": task})
    with pytest.raises(FileNotFoundError, match=f"neurovis run {task} --out") as caught:
        finish_run(tmp_path)
    assert "no finished run: trials.parquet is missing" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("task", TASKS)
def test_every_experiment_has_a_report_that_can_be_called(task):
    module, name = reports._REPORTS[task]
    assert callable(getattr(import_module(module), name))


@pytest.mark.usefixtures("undrawn_figures")
def test_a_run_is_finished_by_the_report_of_its_experiment(tmp_path):
    run_search_asymmetry(
        ["chance"], tmp_path, conditions=["left_right"], trials=2, n_bootstrap=5
    )
    report, found = tmp_path / "report.html", []
    for folder in (tmp_path, str(tmp_path)):
        assert finish_run(folder)[-1] == f"report {report}"
        found.append(report.read_bytes())
    assert found[0] == found[1]


def test_a_folder_without_a_run_is_told(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"run\.json is missing"):
            finish_run(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"task": "search-slops"}, "Did you mean 'search-slopes'"),
        ({"task": None}, "must be one of 'search-asymmetry'.*got None"),
        ({}, "got None"),
    ],
)
def test_an_experiment_that_is_not_known_is_told(tmp_path, call, message):
    write_json(tmp_path / "run.json", call)
    with pytest.raises(ValueError, match=message):
        finish_run(tmp_path)


@pytest.mark.parametrize("text", ["[]", '"search-slopes"', "{", "null"])
def test_a_damaged_call_is_told(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataCorruptError, match=r"run\.json"):
        finish_run(tmp_path)
