"""The free-viewing experiment: pictures, tables, folders, resuming, the report."""

import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.free_viewing import CALIBRATED, CENTRE_BIAS, JOINT_MODEL, METRICS
from neurovis.adapters.saliency_maps import load_map_model
from neurovis.core.files import read_table, write_table
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS, Score
from tasks.free_viewing import load_viewed_pictures, run_free_viewing
from tasks.free_viewing_report import finish_free_viewing
from tasks.runs import load_run

MODELS = ["saliency", "spectral-residual", "centre"]
TABLES = ("trials.parquet", "calibration.parquet", "scores.parquet", "provenance.json")
CALL = {"sigma_px": 4.0, "seed": 2, "n_bootstrap": 200}
HEIGHT, WIDTH = 48, 64


def place_of(number):
    """Row and column of what is to see in a picture."""
    return np.random.default_rng(number).integers((8, 8), (HEIGHT - 8, WIDTH - 8))


def write_osie(folder, n_pictures=14, n_observers=6, size=(HEIGHT, WIDTH)):
    """A folder as that of OSIE: noise with a bright patch, at which people look."""
    (folder / "stimuli").mkdir(parents=True)
    names = [f"{1001 + i}.jpg" for i in range(n_pictures)]
    parts = []
    for number, name in enumerate(names):
        draw = np.random.default_rng((1, number))
        picture = draw.integers(90, 130, (*size, 3)).astype(np.uint8)
        row, column = place_of(number)
        picture[row - 3 : row + 4, column - 3 : column + 4] = 250
        Image.fromarray(picture).save(folder / "stimuli" / name, quality=95)
        n = 5 * n_observers
        x = np.where(draw.random(n) < 0.8, draw.normal(column, 3, n), WIDTH / 2)
        y = np.where(draw.random(n) < 0.8, draw.normal(row, 3, n), HEIGHT / 2)
        table = {
            "image": name,
            "subject": np.repeat(np.arange(n_observers), 5) + 1,
            "index": np.tile(np.arange(5), n_observers),
            # MATLAB counts from 1.
            "x": (x + draw.normal(0, 1, n)).clip(0.5, WIDTH - 0.5) + 0.5,
            "y": (y + draw.normal(0, 1, n)).clip(0.5, HEIGHT - 0.5) + 0.5,
            "duration_ms": 200,
        }
        parts.append(pd.DataFrame(table))
    write_table(folder / "fixations.parquet", pd.concat(parts, ignore_index=True))
    images = pd.DataFrame({"image": names, "width": size[1], "height": size[0]})
    images = images.assign(n_subjects=n_observers)
    images["test_split70"] = (np.arange(n_pictures) % 7 == 0).astype(int)
    write_table(folder / "images.csv", images)
    return folder


@dataclass(frozen=True)
class Oracle:
    """Knows where the patch is."""

    name: str = "oracle"
    notes: tuple[str, ...] = ("oracle: knows the place of the patch",)

    @property
    def identity(self):
        return {"observer": "oracle", "version": 1}

    def saliency(self, image):
        flat = image.astype(float).sum(-1)
        bright = np.argwhere(flat > 600).mean(0)
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        near = np.exp(-((y - bright[0]) ** 2 + (x - bright[1]) ** 2) / (2 * 3.5**2))
        middle = np.hypot(y - HEIGHT / 2, x - WIDTH / 2)
        return 0.8**2 * near + 0.05 + 0.3 * np.exp(-(middle**2) / 8)


def run(data, out, models=MODELS, **changes):
    return run_free_viewing(models, data, out, **(CALL | changes))


def tables(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Fourteen small pictures and six people; not to be changed."""
    return write_osie(tmp_path_factory.mktemp("data") / "osie")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A small run; not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "small"
    run(data, folder, [*MODELS, Oracle()], optional_metrics=["auc_judd", "auc_borji"])
    return folder


# ----------------------------------------------------------------------- tables


def test_a_run_leaves_one_row_per_model_and_picture(finished):
    trials = load_run(finished, "free-viewing").trials
    names = [*MODELS, "oracle", "chance", CENTRE_BIAS, "human", JOINT_MODEL]
    assert trials["model"].unique().tolist() == names
    assert (trials.groupby("model")["stimulus_id"].nunique() == 14).all()
    assert len(trials) == 14 * len(names)
    assert trials["n_fixations"].eq(30).all()
    assert sorted(trials["fold"].unique()) == list(range(10))
    own = trials[trials["model"] == "oracle"]
    assert np.isfinite(own[[*METRICS, "auc_judd", "auc_borji"]]).all(axis=None)


def test_scores_have_ceilings_chance_and_provenance(finished):
    score = Score.load(finished)
    table = score.table
    assert list(table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert set(table["task"]) == {"free-viewing"}
    assert table["stimuli"].str.fullmatch("osie:[0-9a-f]{12}").all()
    values = table.pivot_table(index="model", columns="metric", values="value")
    chance = values.loc["chance"]
    assert (chance["nss"], chance["auc"], chance["sauc"]) == (0, 0.5, 0.5)
    assert chance[CALIBRATED] == 0
    assert values.loc[CENTRE_BIAS, "information_gain"] == 0
    nss = table[table["metric"] == "nss"].set_index("model")
    assert (nss["ceiling_low"] == nss["value"]["human"]).all()
    assert (nss["ceiling_high"] > nss["ceiling_low"]).all()
    assert (nss["ci_low"].drop("chance") < nss["value"].drop("chance")).all()
    provenance = score.provenance
    assert "oracle: knows the place of the patch" in provenance.notes
    assert any("kernel of 4 px" in note for note in provenance.notes)
    assert {"pictures", "fixations", "model saliency"} <= set(provenance.fingerprints)
    assert provenance.call["optional_metrics"] == ["auc_borji", "auc_judd"]


def test_a_model_of_the_true_density_comes_near_the_ceiling(finished):
    table = Score.load(finished).table
    share = table.set_index(["model", "metric"])["value_over_ceiling"]
    for metric in ("nss", CALIBRATED):
        assert 0.85 < share["oracle", metric] < 1.15
        assert share["oracle", metric] > share["centre", metric] + 0.3
    value = table.set_index(["model", "metric"])["value"]
    assert value["oracle", "auc"] > 0.97 * value["human", "auc"]


def test_a_finished_run_is_not_computed_again(data, finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")

    class Stubborn(Oracle):
        def saliency(self, image):
            raise AssertionError("computed again")

    before = tables(copy)
    options = {"optional_metrics": ["auc_judd", "auc_borji"]}
    run(data, copy, [*MODELS, Stubborn()], **options)
    assert tables(copy) == before


def test_chance_is_added_once(data, tmp_path):
    chance = load_map_model("chance", label="nothing")
    score = run(data, tmp_path / "a", ["centre", chance], images=2)
    names = set(score.table["model"])
    assert names == {"centre", "nothing", CENTRE_BIAS, "human"}


KILLED = """
import os, runpy, signal, sys
here = runpy.run_path(sys.argv[3])

class Dying(here["Oracle"]):
    left = 12
    def saliency(self, image):
        Dying.left -= 1
        if Dying.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().saliency(image)

here["run"](sys.argv[1], sys.argv[2], ["centre", Dying()])
"""


@pytest.mark.slow
def test_a_killed_run_ends_with_identical_tables(data, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(data), str(out), __file__]
    ended = subprocess.run(command, timeout=50, check=False)
    assert ended.returncode == -signal.SIGKILL
    kept = Store(out / "parts").keys()
    # One block of five observers, and the first of the next.
    assert len(kept) == 6
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load_run(out)
    run(data, out, ["centre", Oracle()])
    run(data, tmp_path / "straight", ["centre", Oracle()])
    assert tables(out) == tables(tmp_path / "straight")
    assert set(kept) < set(Store(out / "parts").keys())


# --------------------------------------------------------------------- pictures


def test_some_pictures_are_spread_and_all_serve_the_centre_bias(data):
    some = load_viewed_pictures(data, images=4)
    assert some.names == ("1001.jpg", "1004.jpg", "1008.jpg", "1011.jpg")
    assert some.viewing.human.n_maps == 14
    assert len(set(some.viewing.fold[some.rows])) == 4
    np.testing.assert_allclose(some.viewing.centre_bias.sum(axis=(1, 2)), 1)
    test = load_viewed_pictures(data, images="test70")
    assert test.names == ("1001.jpg", "1008.jpg")
    assert load_viewed_pictures(data).fingerprint != some.fingerprint


def test_predictions_for_a_picture_do_not_know_its_fixations(data, tmp_path):
    other = shutil.copytree(data, tmp_path / "osie")
    fixations = read_table(other / "fixations.parquet")
    mine = fixations["image"] == "1003.jpg"
    fixations.loc[mine, ["x", "y"]] = 3.0
    write_table(other / "fixations.parquet", fixations)
    found = []
    for number, folder in enumerate((data, other)):
        run(folder, tmp_path / str(number), ["saliency"])
        weights = read_table(tmp_path / str(number) / "calibration.parquet")
        viewing = load_viewed_pictures(folder, seed=2, sigma_px=4.0).viewing
        fold = viewing.fold[2]
        own = (weights["model"] == "saliency") & (weights["fold"] == fold)
        found.append((viewing.bias_of(2), weights.loc[own, "weight"], weights))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert not found[0][2].equals(found[1][2])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"models": []}, "`models` must be a list with at least one"),
        ({"models": "centre"}, "`models` must be a list"),
        ({"models": ["center"]}, r"`models`.*Did you mean 'centre'"),
        ({"models": ["centre", "centre"]}, "Two models are called 'centre'"),
        ({"models": [load_map_model("centre", label="human")]}, "stands for people"),
        ({"models": [load_map_model("centre", label=CENTRE_BIAS)]}, "row of the tab"),
        ({"images": 15}, r"`images` must be within \[1, 14\]; got 15"),
        ({"images": "test7"}, r"`images`.*Did you mean 'test70'"),
        ({"sigma_px": 0}, "`sigma_px` must be within"),
        ({"optional_metrics": ["auk"]}, "`optional_metrics` must be one of"),
        ({"n_bootstrap": -1}, "`n_bootstrap`"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    data, tmp_path, changes, match
):
    changes = dict(changes)
    models = changes.pop("models", MODELS)
    with pytest.raises(ValueError, match=match):
        run(data, tmp_path / "out", models, **changes)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_run_is_refused(data, finished):
    with pytest.raises(ValueError, match="holds a run with models="):
        run(data, finished)


def test_pictures_must_be_there_and_fit(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "osie")
    Image.new("RGB", (20, 30)).save(folder / "stimuli" / "1002.jpg")
    with pytest.raises(ValueError, match=r"1002\.jpg has 20 x 30 pixels but its fix"):
        run(folder, tmp_path / "a", ["saliency"])
    (folder / "stimuli" / "1005.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 pictures are not in .*1005\.jpg"):
        run(folder, tmp_path / "b")
    images = read_table(folder / "images.csv")
    images.loc[3, "width"] = 640
    write_table(folder / "images.csv", images)
    with pytest.raises(ValueError, match="must have one size"):
        run(folder, tmp_path / "c")
    write_table(folder / "images.csv", images.assign(width=64, test_split70=0))
    with pytest.raises(ValueError, match="needs the column `test_split70`"):
        run(folder, tmp_path / "d", images="test70")


def test_a_map_of_another_size_is_refused(data, tmp_path):
    class Wrong(Oracle):
        def saliency(self, image):
            return np.zeros((3, 3))

    with pytest.raises(ValueError, match=r"map of oracle for 1001\.jpg.*\(48, 64\)"):
        run(data, tmp_path / "out", [Wrong()])


# ----------------------------------------------------------------------- report


def test_the_report_tells_figures_and_is_one_file(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    lines = finish_free_viewing(folder)
    assert lines[-1] == f"report {folder / 'report.html'}"
    values = load_run(folder).scores.set_index(["model", "metric"])["value"]
    by_name = {line.split()[0]: line.split() for line in lines[1:-1]}
    assert by_name["people"][1] == f"{values['human', 'nss']:.3f}"
    assert by_name["oracle"][-1] == f"{values['oracle', CALIBRATED]:.3f}"
    html = (folder / "report.html").read_text(encoding="utf-8")
    figures = {path.stem for path in (folder / "figures").iterdir()}
    expected = {"nss", "auc", "sauc", "cc", "sim", "kl", CALIBRATED, "calibration"}
    expected |= {"examples", "centre_bias", "best_pictures", "worst_pictures"}
    assert figures == expected
    assert html.count("<img") == len(expected)
    assert not re.search(r"(?:src|href)=\"https?:", html)
    for text in ("AUC-Judd", "Shuffled AUC", "knows the place", "Kümmerer"):
        assert text in html


# ------------------------------------------------------------------ the real data


@pytest.mark.slow
def test_people_models_and_chance_on_real_pictures(data_folder, tmp_path):
    models = ["saliency", "spectral-residual", "centre"]
    score = run_free_viewing(
        models, data_folder / "osie", tmp_path / "out", images=8, n_bootstrap=200
    )
    value = score.table.set_index(["model", "metric"])["value"]
    assert score.table["n"].eq(8).all()
    for metric in ("nss", "auc", "cc", "sim"):
        order = ["human", CENTRE_BIAS, "chance"]
        ranked = [value[name, metric] for name in order]
        assert ranked == sorted(ranked, reverse=True)
    assert value["chance", "kl"] > value[CENTRE_BIAS, "kl"] > value["human", "kl"]
    # The centre explains nothing beyond other pictures.
    assert abs(value[CENTRE_BIAS, "sauc"] - 0.5) < 0.05
    for name in ("saliency", "spectral-residual"):
        assert value[name, "sauc"] > 0.62
        assert 0.1 < value[name, CALIBRATED] < value["human", CALIBRATED] - 1
    people = [value["human", m] for m in ("nss", "auc", "sauc", "information_gain")]
    np.testing.assert_allclose(people, [3.398, 0.925, 0.875, 1.961], rtol=2e-3)
    assert value["chance", "information_gain"] < -0.3
    notes = score.provenance.notes
    assert "The centre bias has a kernel of 24 px, chosen on other folds." in notes
