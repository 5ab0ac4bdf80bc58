"""The commands that write experiments for people and read their answers."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from neurovis.cli_people import export_app, import_app
from neurovis.core.files import read_table
from neurovis.core.types import StimulusSet, Viewing
from stimuli.jspsych_library import PACKAGES, cache_folder
from stimuli.save import save_stimuli


def call(app, *arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    table = pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(5)]})
    table["kind"] = ["cat", "dog"] * 2 + ["cat"]
    images = [np.full((2, 2, 3), i, np.uint8) for i in range(5)]
    made = StimulusSet("levels", table, Viewing(30, 2, 2), images)
    folder = tmp_path_factory.mktemp("sets") / "levels"
    return save_stimuli(made, folder, progress=False)


def test_an_experiment_for_the_browser_is_written(saved, tmp_path):
    if not all((cache_folder() / p.file_name).is_file() for p in PACKAGES):
        pytest.skip("no jsPsych in the cache: tests/stimuli fill it with npm")
    out = tmp_path / "web"
    lines = call(
        export_app,
        *("jspsych", saved, "--task", "odd-one-out", "--draw", 6, "--out", out),
        *("--library", cache_folder(), "--stimulus-frames", 12, "--mask", "noise"),
        *("--refresh-hz", 0, "--keep", ""),
    )
    assert lines[0] == str(out / "index.html")
    assert "consent.html" in lines[1]
    design = json.loads((out / "design.json").read_text())
    assert len(design["trials"]) == 6
    assert design["timing"]["refresh_hz"] is None
    assert design["timing"]["stimulus_frames"] == 12


def test_conditions_for_psychopy_are_written_and_their_results_read(saved, tmp_path):
    out = tmp_path / "psychopy"
    lines = call(
        export_app,
        *("psychopy", saved, "--task", "2afc", "--answer-column", "kind"),
        *("--keys", "cat=left,dog=right", "--out", out),
    )
    assert lines == [str(out / "conditions.csv")]
    table = pd.read_csv(out / "conditions.csv")
    assert table["corrAns"].tolist() == ["left", "right"] * 2 + ["left"]
    played = table.assign(participant="ann").assign(
        **{
            "key_resp.keys": "left",
            "key_resp.rt": 0.75,
            "key_resp.corr": [1, 0, 1, 0, 1],
        }
    )
    played.to_csv(tmp_path / "ann.csv", index=False)
    trials = tmp_path / "trials.parquet"
    lines = call(
        import_app,
        *("psychopy", tmp_path / "ann.csv", "--stimuli", saved, "--out", trials),
    )
    assert lines[0] == "ann: 5 trials, 60.0% right, median 750 ms"
    assert lines[1] == f"5 trials of 1 participants in {trials}"
    read = read_table(trials)
    assert read["response"].tolist() == ["cat"] * 5
    assert read["correct"].tolist() == [True, False, True, False, True]


def test_plain_results_of_the_browser_are_read(tmp_path):
    rows = [
        {"who": "a", "stimulus": "s0", "response": "f", "rt": 0.5, "type": "trial"},
        {"who": "a", "stimulus": "hello", "response": " ", "rt": 2, "type": "page"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    lines = call(
        import_app,
        *("jspsych", tmp_path / "a.json", "--out", tmp_path / "trials.csv"),
        *("--column", "subject=who", "--where", "type=trial", "--time-unit", "s"),
    )
    assert lines[0] == "a: 1 trials, no truth, median 500 ms"
    assert read_table(tmp_path / "trials.csv")["rt_ms"].tolist() == [500.0]


@pytest.mark.parametrize(
    ("app", "arguments", "message"),
    [
        (export_app, ["--keys", "cat,dog"], "`keys` must be NAME=VALUE; got 'cat'"),
        (export_app, ["--draw", "3", "--groups", "g.csv"], "both tell the triplets"),
        (import_app, ["--where", "trial"], "`where` must be NAME=VALUE"),
    ],
)
def test_impossible_options_are_told(saved, tmp_path, app, arguments, message):
    verb = ["psychopy", saved, "--out", tmp_path / "out.csv"]
    if app is export_app:
        verb += ["--task", "2afc"]
    with pytest.raises(ValueError, match=message):
        call(app, *verb, *arguments)
    assert list(tmp_path.iterdir()) == []
