"""The commands that make metamers and analyse answers about them."""

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from neurovis.cli import app, main
from neurovis.core.pictures import write_png
from neurovis.core.types import Score
from tasks.metamer_observers import answer_by_formula
from tasks.metamers import load_metamers

# The tests of each report draw its figures.
pytestmark = pytest.mark.usefixtures("undrawn_figures")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def pictures(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    write_png(tmp_path / "pictures" / "sea.png", picture)
    return tmp_path / "pictures"


def test_metamers_are_made_answered_and_reported(pictures, tmp_path):
    made, out = tmp_path / "set", tmp_path / "run"
    words = ["--scales", "0.5,0.9", "--model", "energy", "--steps", 3]
    words += ["--size-px", 32, "--px-per-deg", 2, "--fovea-deg", 2.5]
    words += ["--export", "jspsych", "--fixation", "10,20", "--seed", 3]
    done = run("stimuli", "metamers", pictures, "--out", made, *words)
    assert done.exit_code == 0, done.output
    assert "scale 0.5: " in done.output
    assert "of 2 samples converged; median error" in done.output
    assert f"5 pictures, 24 trials in {made}" in done.output
    design = load_metamers(made).design
    assert design.scales == (0.5, 0.9)
    assert design.fixation_px == (10.0, 20.0)
    assert (design.px_per_deg, design.fovea_deg, design.seed) == (2.0, 2.5, 3)
    assert (made / "jspsych" / "timeline.json").is_file()

    trials = load_metamers(made).trials
    true = {"original-sample": 0.4, "sample-sample": 0.6}
    answer_by_formula(trials, true, "ann").to_csv(tmp_path / "a.csv", index=False)
    words = ["--stimuli", made, "--responses", tmp_path / "a.csv"]
    words += ["--observers", "0.3,0.6", "--bootstrap", 20, "--device", "cpu"]
    done = run("run", "metamers", "--out", out, *words)
    assert done.exit_code == 0, done.output
    assert "  ann, original-sample: " in done.output
    assert "  simulated energy 0.6, sample-sample: " in done.output
    assert f"report {out / 'report.html'}" in done.output
    assert Score.load(out).provenance.call["n_bootstrap"] == 20
    assert run("report", out).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stimuli", "metamers", ".", "--scales", "a"], "`scales` must be numbers"),
        (["stimuli", "metamers", ".", "--fixation", "1"], "`fixation` must be two"),
        (["run", "metamers", "--observers", "x"], "`observers` must be numbers"),
        (["run", "metamers"], "Nobody answers"),
    ],
)
def test_wrong_options_give_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["neurovis", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")
