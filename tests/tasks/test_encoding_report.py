"""The report of a fit: whole, marked, and true to its tables."""

import re

import numpy as np
import pandas as pd
import pytest

from neurovis.core.brain_space import SurfaceSpace, VolumeSpace
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_sources import BrainData
from tasks.encoding import fit_encoding
from tasks.encoding_report import best_rows, finish_encoding, shown_regions
from tasks.encoding_run import load_encoding
from tasks.encoding_scores import WHOLE
from tasks.reports import finish_run

CALL = {"n_permutations": 19, "n_bootstrap": 20, "device": "cpu"}


def make_data(space=None, subject="s1", notes=(), n_units=30):
    rng = np.random.default_rng(3)
    features = {
        name: rng.standard_normal((60, 5)).astype(np.float32) for name in ("one", "two")
    }
    weights = rng.standard_normal((5, n_units))
    noise = rng.standard_normal((60, n_units))
    betas = (features["one"] @ weights + noise).astype(np.float32)
    units = pd.DataFrame({"unit_id": [f"u{i}" for i in range(n_units)]})
    if space is not None:
        units = space.locate(np.arange(n_units) * 3)
    units["area"] = ["V1", "V1", "V4"] * (n_units // 3)
    stimuli = pd.DataFrame(
        {"stimulus_id": [f"p{i}" for i in range(60)], "n_repeats": 1}
    )
    responses = UnitResponses(
        "tiny",
        subject,
        betas,
        stimuli,
        units.assign(ncsnr=1.5),
        ("area",),
        space,
        notes=notes,
    )
    return BrainData(responses, features=features)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two simulated subjects, one with a volume and one with a surface."""
    out = tmp_path_factory.mktemp("fit") / "run"
    note = ("Simulated data: nobody was measured.",)
    volume = make_data(VolumeSpace("func", (5, 5, 4)), notes=note)
    surface = make_data(SurfaceSpace("fsaverage", (162, 162)), "s2", notes=note)
    fit_encoding([volume, surface], ["given:one", "given:two"], out, **CALL)
    return out


@pytest.fixture(scope="module")
def told(finished):
    """What is told of the run, once its report is written."""
    return finish_run(finished)


def test_the_report_is_one_file_with_all_parts_and_marks(finished, told):
    html = (finished / "report.html").read_text(encoding="utf-8")
    for title in ("Scores of regions", "Layers", "Units", "Maps", "Provenance"):
        assert f">{title}<" in html
    assert "Simulated data: nobody was measured." in html
    assert "Simulated: " in html
    assert not re.search(r"(src|href)=\"https?://", html)
    names = {p.stem for p in (finished / "figures").glob("*.png")}
    assert {"layers", "distribution", "penalties", "best_layers_one"} <= names
    assert {"map_s1_one", "map_s1_two", "map_s2_one", "map_s2_two"} <= names
    assert (finished / "maps/s2/one/features_r.html").is_file()
    assert len(told) == 6
    assert told[1].startswith("  s1, simulated  one: 0.")
    assert told[-1] == f"report {finished / 'report.html'}"


def test_what_is_told_are_the_numbers_of_the_tables(finished, told):
    run = load_encoding(finished)
    for line in told[1:-1]:
        subject, model = re.match(r"  (s\d), simulated  (\w+):", line).groups()
        units = run.units[
            (run.units["subject"] == subject) & (run.units["model"] == model)
        ]
        assert f": {units['r'].mean():.3f} [" in line
        assert f"ceiling {np.sqrt(units['ceiling']).mean():.3f}" in line
    assert len(best_rows(run)) == len(run.units)
    assert shown_regions(run) == [("", WHOLE), ("area", "V1"), ("area", "V4")]


@pytest.mark.slow
def test_the_same_run_gives_the_same_report(finished, told):
    first = (finished / "report.html").read_bytes()
    assert finish_run(finished) == told
    assert (finished / "report.html").read_bytes() == first


def test_reports_of_joint_models_show_their_spaces(tmp_path):
    data = make_data()
    fit_encoding([data], ["given:one", "given:two"], tmp_path, method="banded", **CALL)
    finish_run(tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">Feature spaces<" in html
    assert "Maps" not in re.findall(r"<h2[^>]*>([^<]*)<", html)
    assert (tmp_path / "figures" / "spaces.png").is_file()


def test_folders_without_a_finished_fit_are_refused(tmp_path, finished):
    with pytest.raises(FileNotFoundError, match="holds no finished fit"):
        finish_encoding(tmp_path)
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"units\.parquet is missing"):
        finish_run(tmp_path)
