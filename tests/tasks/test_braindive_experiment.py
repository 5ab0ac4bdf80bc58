"""The whole BrainDiVE experiment, small, with a generator that knows nothing."""

import shutil
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from neurovis.adapters.image_generators import load_image_generator
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import read_image
from neurovis.core.types import Score
from tasks.braindive import MANIFEST
from tasks.braindive_experiment import (
    ASCENT,
    PERMUTED,
    REAL,
    REAL_BEST,
    SUPPRESSED,
    DiveSettings,
    condition_name,
    run_braindive,
)
from tasks.braindive_scores import BEST_QUARTER, GUIDED, METRICS, UNGUIDED
from tests.generation.toy_generators import unet_generator

SETTINGS = DiveSettings(
    n_images=4,
    n_controls=2,
    scale=3.0,
    scales=(0.5, 30.0),
    n_steps=2,
    copies=2,
    shift_px=1,
    noise_sd=0.05,
    n_drawn=100,
    n_candidates=60,
    epochs=1,
)
CALL = {"settings": SETTINGS, "seed": 2, "device": "cpu", "n_bootstrap": 50}
SWEEPS = ("sweep 0.5", "sweep 30")
FEW = (*SWEEPS, SUPPRESSED, PERMUTED, ASCENT, REAL, REAL_BEST)
TABLES = ("looks", "labels", "encoders", "scores")


@pytest.fixture(scope="module")
def generator():
    return load_image_generator("sketch:seeded:pixel:0")


@pytest.fixture(scope="module")
def run(generator, tmp_path_factory):
    """A finished run and its score; not to be changed."""
    folder = tmp_path_factory.mktemp("braindive") / "run"
    return folder, run_braindive(generator, folder, **CALL)


@pytest.fixture(scope="module")
def looks(run):
    return read_table(run[0] / "looks.parquet")


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ------------------------------------------------------------------ what is there


def test_every_condition_has_its_images_for_every_region(looks):
    counts = pd.crosstab(looks["condition"], looks["region"])
    assert set(counts.columns) == set(CATEGORIES)
    assert (counts.loc[[UNGUIDED, GUIDED]] == 4).all(axis=None)
    assert (counts.loc[list(FEW)] == 2).all(axis=None)
    assert len(counts) == 2 + len(FEW)
    assert not looks.duplicated(["condition", "region", "seed"]).any()
    assert looks[list(METRICS)].notna().all(axis=None)


def test_strengths_are_conditions_of_their_own(looks, run):
    scales = looks.groupby("condition")["scale"].unique()
    expected = {UNGUIDED: 0, GUIDED: 3, SUPPRESSED: -3, PERMUTED: 3}
    expected |= {"sweep 0.5": 0.5, "sweep 30": 30}
    for condition, scale in expected.items():
        assert scales[condition].tolist() == [scale]
    for condition in (ASCENT, REAL, REAL_BEST):
        assert np.isnan(scales[condition]).all()
    table = run[1].table
    own = table[(table["region"] == "all") & (table["metric"] == "judge_accuracy")]
    assert own["model"].tolist() == [
        UNGUIDED,
        GUIDED,
        *(name for name in FEW if name not in (REAL, REAL_BEST)),
        REAL_BEST,
        REAL,
        BEST_QUARTER,
    ]


def test_images_of_all_conditions_have_seeds_of_the_run(run, looks):
    manifest = read_table(run[0] / MANIFEST)
    assert len(manifest) == 4 + 5 * 4 + 4 * 5 * 2
    unguided = manifest[manifest["condition"] == "unguided"]
    assert unguided["seed"].tolist() == [2000, 2001, 2002, 2003]
    name = condition_name(PERMUTED, "face", 3.0)
    assert name == "permuted-regions-face-3"
    permuted = manifest[manifest["condition"] == name]
    assert permuted["seed"].tolist() == [2000, 2001]
    # Each image has a permutation of its own.
    assert permuted["settings"].nunique() == 2
    guided = manifest[manifest["condition"] == "guided-face-3"]
    assert len(set(guided["settings"])) == 1
    generated = looks[~looks["condition"].isin([ASCENT, REAL, REAL_BEST])]
    assert set(generated["seed"]) == {2000, 2001, 2002, 2003}


def test_unguided_images_are_the_same_for_all_regions(looks):
    own = looks[looks["condition"] == UNGUIDED]
    for _, part in own.groupby("seed"):
        assert len(set(part["judge_label"])) == 1
        assert len(set(part["judge_confidence"])) == 1
        hits = part.set_index("region")["judge_accuracy"]
        assert hits.sum() == 1
        assert hits[part["judge_label"].iloc[0]] == 1


def test_guidance_changes_images_and_its_strength_matters(run):
    folder = run[0]

    def image(condition):
        return read_image(folder / "images" / condition / f"{2000:012d}.png").astype(
            int
        )

    plain, guided = image("unguided"), image("guided-face-3")
    stronger, suppressed = image("sweep-face-30"), image("suppressed-face--3")
    assert np.abs(guided - plain).max() > 0
    assert np.abs(stronger - plain).mean() > np.abs(guided - plain).mean()
    assert np.abs(suppressed - guided).max() > 0


def test_pixel_ascent_drives_its_guide_above_real_pictures(looks):
    means = looks.groupby("condition")["guide_activation"].mean()
    assert means[ASCENT] > means[REAL_BEST]
    assert means[ASCENT] > means[REAL] + 1


def test_real_pictures_are_shared_by_regions_unless_they_are_the_best(looks):
    real = looks[looks["condition"] == REAL]
    for _, part in real.groupby("seed"):
        assert len(set(part["judge_confidence"])) == 1
    best = looks[looks["condition"] == REAL_BEST]
    assert best.groupby("seed")["judge_confidence"].nunique().max() > 1


def test_scores_are_those_of_the_looks(run, looks):
    table = run[1].table
    assert (table["value"].notna() | (table["metric"] == "diversity")).all()
    for condition in (GUIDED, ASCENT, "sweep 30"):
        own = looks[(looks["condition"] == condition) & (looks["region"] == "body")]
        cell = table[
            (table["model"] == condition)
            & (table["region"] == "body")
            & (table["metric"] == "heldout_activation")
        ]
        assert cell["value"].item() == pytest.approx(own["heldout_activation"].mean())
    labels = read_table(run[0] / "labels.parquet")
    sums = labels.groupby(["condition", "region"])["share"].sum()
    np.testing.assert_allclose(sums, 1)
    assert set(labels["label"]) == set(CATEGORIES)


def test_encoders_are_told_beside_their_ceiling(run):
    table = read_table(run[0] / "encoders.parquet")
    assert table["encoder"].tolist() == ["guide"] * 6 + ["held-out"] * 6
    assert table["subject"].tolist() == ["sim01"] * 6 + ["sim02"] * 6
    assert table["region"].tolist() == [*CATEGORIES, "all"] * 2
    assert table["ceiling"].between(0.5, 1).all()


def test_notes_say_that_all_is_simulated_untrained_and_weak(run):
    notes = run[1].provenance.notes
    assert any("Simulated brains" in note for note in notes)
    assert any("untrained weights" in note for note in notes)
    assert any("random weights" in note for note in notes)
    # Networks that saw 100 drawings once know little.
    assert sum("of its ceiling" in note for note in notes) == 2
    call = read_json(run[0] / "run.json")
    assert call["settings"] == {**asdict(SETTINGS), "scales": [0.5, 30.0]}
    assert call["generator"] == "sketch:seeded:pixel:0"


# --------------------------------------------------------------------- resuming


def test_a_finished_run_is_read_again_with_equal_tables(run, generator):
    folder, score = run
    before = contents(folder)
    again = run_braindive(generator, folder, **CALL)
    pd.testing.assert_frame_equal(again.table, score.table)
    after = contents(folder)
    assert sorted(before) == sorted(after)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"provenance.json"}
    pd.testing.assert_frame_equal(Score.load(folder).table, score.table)


@pytest.mark.slow
def test_a_run_of_which_parts_are_lost_ends_with_equal_tables(run, generator, tmp_path):
    folder, score = run
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    for name in TABLES:
        (part / f"{name}.parquet").unlink()
    shutil.rmtree(part / "parts")
    shutil.rmtree(part / "networks" / "judge")
    shutil.rmtree(part / "images" / "sweep-body-30")
    shutil.rmtree(part / "images" / "unguided")
    again = run_braindive(generator, part, batch_size=3, **CALL)
    pd.testing.assert_frame_equal(again.table, score.table)
    for name in TABLES:
        file = f"{name}.parquet"
        assert (part / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": replace(SETTINGS, scale=2.0)}, "settings"),
        ({"settings": replace(SETTINGS, epochs=2)}, "settings"),
        ({"seed": 3}, "seed=2"),
        ({"n_bootstrap": 51}, "n_bootstrap=50"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(run, generator, change, message):
    before = contents(run[0])
    with pytest.raises(ValueError, match=message):
        run_braindive(generator, run[0], **(CALL | change))
    assert contents(run[0]) == before


def test_another_generator_is_refused(run):
    other = load_image_generator("sketch:seeded:pixel:1")
    with pytest.raises(ValueError, match="generator="):
        run_braindive(other, run[0], **CALL)


# -------------------------------------------------------------------- bad input


def test_generators_of_other_sizes_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="32 x 32"):
        run_braindive(unet_generator(size_px=(8, 8)), tmp_path / "a", **CALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 5_000_000}, "seed"),
        ({"n_bootstrap": 1}, "n_bootstrap"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_calls_are_refused_before_anything_is_written(
    generator, tmp_path, change, message
):
    with pytest.raises(ValueError, match=message):
        run_braindive(generator, tmp_path / "a", **(CALL | change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_images": 3}, "n_images"),
        ({"n_controls": 97}, "n_controls"),
        ({"n_controls": 1}, "n_controls"),
        ({"n_drawn": 99}, "n_drawn"),
        ({"n_candidates": 95}, "n_candidates"),
        ({"epochs": 0}, "epochs"),
        ({"scale": 0.0}, "above 0"),
        ({"scale": -3.0}, "scale"),
        ({"scales": (0.0,)}, "above 0"),
        ({"scales": (100.0,)}, "must differ"),
        ({"scales": (1.0, 1.0)}, "must differ"),
        ({"scales": (1.0, 1.0000001)}, "six digits"),
        ({"n_steps": 0}, "n_steps"),
        ({"sampler": "euler"}, "sampler"),
        ({"copies": 0}, "copies"),
        ({"shift_px": -1}, "shift_px"),
        ({"noise_sd": -0.1}, "noise_sd"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DiveSettings(**options)
