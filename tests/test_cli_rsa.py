"""The commands that compare models with brains by RSA, and that rank them."""

import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from neurovis.cli import app, main
from neurovis.core.types import Score
from neurovis.core.unit_responses import UnitResponses, save_responses

# The tests of each report draw its figures.
pytestmark = pytest.mark.usefixtures("undrawn_figures")

FEW = ["--bootstrap", "20", "--permutations", "20", "--device", "cpu"]


@pytest.fixture
def inputs(tmp_path):
    """Responses of units in a folder, and features in a file."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 6)).astype("f4")
    betas = features @ rng.normal(size=(6, 8)) + rng.normal(size=(40, 8))
    ids = [f"p{i:02d}" for i in range(40)]
    responses = UnitResponses(
        "tiny",
        "s1",
        betas.astype("f4"),
        pd.DataFrame({"stimulus_id": ids, "n_repeats": 1}),
        pd.DataFrame({"unit_id": [f"u{i}" for i in range(8)]}),
    )
    save_responses(tmp_path / "data", responses)
    np.savez(tmp_path / "model.npz", stimulus_id=np.array(ids), layer=features)
    return f"responses:{tmp_path / 'data'}", f"file:{tmp_path / 'model.npz'}"


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_rsa_prints_the_ranking_and_leaves_a_report(inputs, tmp_path):
    data, features = inputs
    out = tmp_path / "rsa"
    done = run("run", "rsa", "--data", data, "--features", features, "--out", out, *FEW)
    assert done.exit_code == 0, done.output
    assert "tiny: all units, s1 (RSA): Spearman r" in done.output
    assert f"report {out / 'report.html'}" in done.output
    call = Score.load(out).provenance.call
    assert (call["compare"], call["n_bootstrap"]) == ("spearman", 20)
    assert run("report", out).exit_code == 0
    assert "Debiased linear CKA" in (out / "report.html").read_text(encoding="utf-8")


def test_options_of_rsa_reach_the_run(inputs, tmp_path):
    data, features = inputs
    out = tmp_path / "rsa"
    words = ["--measure", "euclidean", "--compare", "rho_a", "--stimuli", "20"]
    words += ["--subject", "s1", "--resize", "own", "--seed", "3"]
    done = run(
        "run", "rsa", "--data", data, "--features", features, "--out", out, *words, *FEW
    )
    assert done.exit_code == 0, done.output
    call = Score.load(out).provenance.call
    told = [call[k] for k in ("measure", "compare", "stimuli", "subjects", "seed")]
    assert told == ["euclidean", "rho_a", 20, ["s1"], 3]


def test_a_ranking_prints_every_analysis(inputs, tmp_path):
    data, features = inputs
    out = tmp_path / "ranking"
    done = run(
        *("run", "brain-ranking", "--data", data, "--features", features),
        *("--out", out, "--store", tmp_path / "store", *FEW),
    )
    assert done.exit_code == 0, done.output
    assert "responses: all units, s1 (encoding): Pearson r" in done.output
    assert "responses: all units, s1 (RSA): Spearman r" in done.output
    assert (out / "report.html").is_file()
    assert (tmp_path / "store").is_dir()


def told(monkeypatch, capsys, *words):
    """Exit code and errors of the whole program."""
    monkeypatch.setattr(sys, "argv", ["neurovis", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("verb", ["rsa", "brain-ranking"])
def test_data_are_asked_for(verb, tmp_path, monkeypatch, capsys):
    words = ("run", verb, "--out", tmp_path / "run")
    code, error = told(monkeypatch, capsys, *words)
    assert code == 1
    assert "`--data` is needed" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["rsa", "brain-ranking"])
def test_an_unknown_set_is_told_in_one_line(verb, tmp_path, monkeypatch, capsys):
    words = ("run", verb, "--data", "objets92:.", "--out", tmp_path / "run")
    code, error = told(monkeypatch, capsys, *words)
    assert code == 1
    assert "Did you mean 'objects92'?" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("verb", ["rsa", "brain-ranking"])
def test_help_names_the_options(verb):
    done = run("run", verb, "--help")
    assert done.exit_code == 0
    for option in ("--data", "--features", "--source", "--roi", "--resize"):
        assert option in done.output
