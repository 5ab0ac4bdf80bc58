"""Pictures with two views: made, turned, judged, and told."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from neurovis.adapters.image_generators import load_image_generator
from neurovis.core.files import read_json
from neurovis.core.types import Score
from neurovis.generation.sampling import SamplingSettings
from neurovis.generation.views import VIEWS, make_view
from tasks.anagrams import (
    ANAGRAM_COLUMNS,
    BOTH,
    FIRST,
    NEITHER,
    SECOND,
    AnagramSettings,
    run_anagrams,
    turn,
)
from tasks.anagrams_report import finish_anagrams
from tasks.braindive import load_generated

SMALL = AnagramSettings(
    n_images=3, n_drawn=100, epochs=1, sampling=SamplingSettings(3, "ddim")
)


@pytest.fixture(scope="module")
def generator():
    return load_image_generator("sketch:seeded:pixel:0")


@pytest.fixture(scope="module")
def done(generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("anagrams") / "run"
    return folder, run_anagrams(generator, folder, settings=SMALL, device="cpu")


@pytest.mark.parametrize("name", VIEWS)
def test_turning_pictures_moves_pixels_and_changes_none(name):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    view = make_view(name, 32)
    seen = turn(images, view)
    assert seen.dtype == np.uint8
    if name == "negate":
        assert (seen == 255 - images).all()
    elif name == "rotate-180":
        assert (seen == images[:, ::-1, ::-1]).all()
    else:
        pixels = [{tuple(p) for p in x.reshape(-1, 3)} for x in (seen[0], images[0])]
        assert pixels[0] == pixels[1]


def test_every_condition_is_judged_in_every_view(done):
    table = done[1].table
    assert list(table.columns[-len(ANAGRAM_COLUMNS) :]) == list(ANAGRAM_COLUMNS)
    shares = table[table["metric"] == "judge_accuracy"]
    assert shares["model"].unique().tolist() == [BOTH, FIRST, SECOND, NEITHER]
    for _, part in shares.groupby("model"):
        assert part["view"].tolist() == ["identity", "rotate-180", "both"]
        assert part["region"].tolist() == ["face", "place", "face+place"]
        value = part["value"].to_numpy()
        assert value[2] <= value[:2].min()
        assert (part["ci_low"] <= part["value"] + 1e-12).all()
        assert (part["ci_high"] >= part["value"] - 1e-12).all()
        assert part["n"].tolist() == [3, 3, 3]


def test_the_second_view_is_the_same_picture_turned(done, generator):
    folder, _ = done
    looks = pd.read_parquet(folder / "looks.parquet")
    manifest = pd.read_csv(folder / "manifest.csv")
    assert set(manifest["condition"]) == {
        "both-views", "first-view", "second-view", "unguided",
    }  # fmt: skip
    own = looks[looks["condition"] == NEITHER]
    assert own["file"].value_counts().tolist() == [2, 2, 2]
    shown = load_generated(folder, manifest[manifest["condition"] == "unguided"])
    assert shown.shape == (3, 32, 32, 3)


def test_guides_move_pictures_and_their_absence_does_not_name_a_strength(done):
    manifest = pd.read_csv(done[0] / "manifest.csv").set_index("condition")
    assert manifest.loc["unguided", "scale"].tolist() == [0, 0, 0]
    assert manifest.loc["both-views", "scale"].tolist() == [10, 10, 10]
    files = [manifest.loc[name, "sha256"].iloc[0] for name in manifest.index.unique()]
    assert len(set(files)) == 4


@pytest.mark.usefixtures("undrawn_figures")
def test_a_finished_run_is_read_and_another_is_refused(done, generator):
    folder, score = done
    again = run_anagrams(generator, folder, settings=SMALL, device="cpu")
    pd.testing.assert_frame_equal(again.table, score.table)
    pd.testing.assert_frame_equal(Score.load(folder).table, score.table)
    with pytest.raises(ValueError, match="holds a run with seed"):
        run_anagrams(generator, folder, settings=SMALL, seed=1, device="cpu")


def test_anti_segregation_moves_pictures_with_two_guides_and_no_others(
    done, generator, tmp_path
):
    folder, settings = tmp_path / "run", replace(SMALL, segregation=20.0)
    # The networks are the same: those of the other run are taken.
    shutil.copytree(done[0] / "networks", folder / "networks")
    run_anagrams(generator, folder, settings=settings, device="cpu")
    before, after = (pd.read_csv(run / "manifest.csv") for run in (done[0], folder))
    moved = before["sha256"] != after["sha256"]
    both = before["condition"] == "both-views"
    assert (moved == both).all()
    assert ((before["settings"] != after["settings"]) == both).all()
    finish_anagrams(folder)
    assert "anti-segregation 20;" in (folder / "report.html").read_text("utf-8")
    with pytest.raises(ValueError, match="segregation"):
        run_anagrams(generator, folder, settings=SMALL, device="cpu")


def test_what_is_untrained_and_simulated_is_told(done):
    notes = " ".join(read_json(done[0] / "provenance.json")["notes"])
    assert "Simulated brains" in notes
    assert "untrained weights" in notes


def test_the_report_tells_all_conditions(done):
    lines = finish_anagrams(done[0])
    told = [line for line in lines if line.startswith("Named as meant in both views")]
    assert [line.split(": ")[1].split(" 0.")[0] for line in told] == [
        BOTH, FIRST, SECOND, NEITHER,
    ]  # fmt: skip
    assert "Guiding both views is not distinguishable from every control." in lines
    assert "; anti-segregation" not in (done[0] / "report.html").read_text("utf-8")
    assert (done[0] / "figures" / "anagrams.png").is_file()


def test_latents_are_refused_before_anything_is_computed(tmp_path):
    latent = load_image_generator("sketch:seeded:latent:0")
    with pytest.raises(ValueError, match="pixel"):
        run_anagrams(latent, tmp_path / "out", settings=SMALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": ("identity", "identity")}, "two different names"),
        ({"views": ("identity", "turned")}, "turned"),
        ({"regions": ("face", "house")}, "house"),
        ({"regions": ("face",)}, "two different names"),
        ({"scale": -1}, "scale"),
        ({"segregation": -0.5}, "segregation"),
        ({"n_images": 1}, "n_images"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        AnagramSettings(**changes)
