"""Images that drive a region of a fitted encoder: measured, resumed, refused."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from neurovis.core.files import read_json, read_table
from neurovis.core.pictures import read_image
from neurovis.generation.sampling import SamplingSettings
from tasks.braindive import MANIFEST
from tasks.braindive_drive import GuideSettings, drive_region
from tasks.braindive_experiment import REAL, REAL_BEST
from tasks.braindive_scores import BEST_QUARTER
from tasks.picture_gradients import load_gradient_encoder
from tests.generation.toy_generators import gaussian_generator
from tests.tasks.drive_examples import (
    NETWORK,
    PIXELS,
    colour_judge,
    colour_trials,
    fit_colours,
    picture,
)

GUIDE = GuideSettings(scale=0.4, scale_kind="relative")
SEEDS = (0, 1, 2, 3, 4, 9)


def toy(**more):
    options = {"shape": (3, 8, 8), "size_px": (8, 8), "fingerprint": "toy"} | more
    return gaussian_generator(0.0, 0.4, **options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two brains: one read of pixels, one of a small network."""
    home = tmp_path_factory.mktemp("encoders")
    guide = fit_colours(home / "guide", f"{PIXELS}:pixels:grid16")
    other = fit_colours(home / "other", f"{NETWORK}:stage1:grid2", subject="s2", seed=1)
    return guide, other


@pytest.fixture(scope="module")
def encoder(folders):
    return load_gradient_encoder(folders[0])


@pytest.fixture(scope="module")
def heldout(folders):
    return load_gradient_encoder(folders[1])


@pytest.fixture(scope="module")
def drive(encoder, heldout):
    """Drive the region red by the first brain, watched by the second and a judge."""

    def drive(out, **changes):
        options = {
            "region": "red",
            "seeds": SEEDS,
            "guide": GUIDE,
            "sampling": SamplingSettings(3, "ddim"),
            "heldout": heldout,
            "judge": colour_judge(),
            "category": "red",
            "n_bootstrap": 50,
        } | changes
        made = options.pop("generator", None) or toy()
        return drive_region(made, options.pop("encoder", encoder), out, **options)

    return drive


@pytest.fixture(scope="module")
def run(drive, tmp_path_factory):
    """A finished run, not to be changed, and its score."""
    out = tmp_path_factory.mktemp("drive") / "run"
    return out, drive(out)


def looks_of(out, condition=None):
    table = read_table(out / "looks.parquet")
    return table if condition is None else table[table["condition"] == condition]


def shown(out, table):
    return [read_image(out / file) for file in table["file"]]


def value_of(score, model, metric, region="red", column="value"):
    table = score.table
    own = (table["model"] == model) & (table["metric"] == metric)
    (found,) = table.loc[own & (table["region"] == region), column]
    return found


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --------------------------------------------------------------------- measures


def test_each_image_is_measured_by_everybody(run, encoder, heldout):
    out, _ = run
    table = looks_of(out)
    assert table["condition"].tolist() == ["unguided"] * 6 + ["guided"] * 6
    assert table["seed"].tolist() == [*SEEDS, *SEEDS]
    assert table["scale"].tolist() == [0.0] * 6 + [0.4] * 6
    assert (table["region"] == "red").all()
    images = shown(out, table)
    # Units a and b are the region.
    for column, brain in (("guide", encoder), ("heldout", heldout)):
        expected = brain.predict(images)[:, :2].mean(axis=1)
        np.testing.assert_allclose(table[f"{column}_activation"], expected, atol=1e-6)
    colours = np.stack(images).mean((1, 2))
    named = np.array(["red", "green", "blue"])[colours.argmax(axis=1)]
    assert table["judge_label"].tolist() == named.tolist()
    assert table["judge_accuracy"].tolist() == (named == "red").astype(float).tolist()
    rows = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    shares = np.exp(5 * rows) / np.exp(5 * rows).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(table["judge_confidence"], shares.max(1), atol=1e-6)
    edges = [np.isin(image, (0, 255)).mean() for image in images]
    np.testing.assert_allclose(table["saturated_share"], edges, atol=1e-12)
    unknown = ["second_judge_accuracy", "off_target_activation"]
    assert table[unknown].isna().all(axis=None)


def test_scores_summarise_these_measures(run):
    out, score = run
    table = score.table
    assert table["task"].unique().tolist() == ["braindive-drive"]
    guided, unguided = looks_of(out, "guided"), looks_of(out, "unguided")
    for metric in ("guide_activation", "heldout_activation", "judge_accuracy"):
        pair = [part[metric].to_numpy() for part in (guided, unguided)]
        assert value_of(score, "guided", metric) == pytest.approx(pair[0].mean())
        assert value_of(score, "unguided", metric) == pytest.approx(pair[1].mean())
        gap = pair[0] - pair[1]
        difference = ("guided - unguided", f"{metric}_difference")
        assert value_of(score, *difference) == pytest.approx(gap.mean())
        p = stats.wilcoxon(gap).pvalue if gap.any() else np.nan
        found = value_of(score, *difference, column="p_value")
        assert found == pytest.approx(p, nan_ok=True)
    best = guided.nlargest(1, "guide_activation")
    assert value_of(score, BEST_QUARTER, "heldout_activation") == pytest.approx(
        best["heldout_activation"].iloc[0]
    )
    assert np.isnan(value_of(score, "guided", "off_target_activation"))
    assert value_of(score, "guided", "diversity") > 0
    labels = read_table(out / "labels.parquet")
    sums = labels.groupby("condition")["share"].sum()
    assert sums.tolist() == pytest.approx([1, 1])


def test_guided_images_drive_both_brains(run):
    _, score = run
    for metric in ("guide_activation", "heldout_activation"):
        gap = ("guided - unguided", f"{metric}_difference")
        assert value_of(score, *gap, column="ci_low") > 0.05
        assert value_of(score, *gap, column="p_value") < 0.05


def test_activations_are_in_the_unit_of_the_responses(run, drive, tmp_path):
    _, score = run
    units = score.table.set_index("metric")["unit"]
    for metric in ("guide_activation", "heldout_activation_difference"):
        assert set(units.loc[[metric]]) == {"spikes/s"}
    assert set(units.loc[["judge_accuracy"]]) == {"share"}
    alone = drive(tmp_path, heldout=None, judge=None, category=None)
    units = alone.table.set_index("metric")["unit"]
    assert set(units.loc[["heldout_activation"]]) == {""}


def test_a_negative_strength_suppresses(run, drive, tmp_path):
    score = drive(tmp_path, guide=replace(GUIDE, scale=-0.4))
    gap = ("guided - unguided", "heldout_activation_difference")
    assert value_of(score, *gap, column="ci_high") < -0.05
    unguided = looks_of(tmp_path, "unguided")
    pd.testing.assert_frame_equal(unguided, looks_of(run[0], "unguided"))


def test_a_difference_of_regions_is_driven_and_measured(
    drive, encoder, heldout, tmp_path
):
    score = drive(tmp_path, against="blue", ratio=0.5)
    table = looks_of(tmp_path)
    images = shown(tmp_path, table)
    for column, brain in (("guide", encoder), ("heldout", heldout)):
        found = brain.predict(images)
        expected = found[:, :2].mean(axis=1) - 0.5 * found[:, 2]
        np.testing.assert_allclose(table[f"{column}_activation"], expected, atol=1e-6)
    gap = ("guided - unguided", "heldout_activation_difference")
    assert value_of(score, *gap, column="ci_low") > 0


def test_units_that_were_not_fitted_do_not_dilute_a_region(run, drive, tmp_path):
    # The region "warm" has the units of "red" and one that never varied.
    drive(tmp_path, region="warm")
    first, second = looks_of(run[0]), looks_of(tmp_path)
    pd.testing.assert_frame_equal(
        first.drop(columns="region"), second.drop(columns="region")
    )
    for file in first["file"]:
        assert (run[0] / file).read_bytes() == (tmp_path / file).read_bytes()


def test_what_nobody_looked_at_is_undefined(drive, tmp_path):
    score = drive(tmp_path, heldout=None, judge=None, category=None)
    table = looks_of(tmp_path)
    columns = ["heldout_activation", "judge_accuracy", "judge_confidence"]
    assert table[columns].isna().all(axis=None)
    assert (table["judge_label"] == "").all()
    assert not (tmp_path / "labels.parquet").exists()
    for metric in ("heldout_activation", "judge_accuracy", "diversity"):
        assert np.isnan(value_of(score, "guided", metric))
    gap = ("guided - unguided", "judge_accuracy_difference")
    assert np.isnan(value_of(score, *gap))
    assert np.isfinite(value_of(score, "guided", "guide_activation"))


def test_a_single_image_can_be_made(drive, tmp_path):
    score = drive(tmp_path, seeds=[7])
    assert not score.table["metric"].str.endswith("_difference").any()
    assert value_of(score, "guided", "guide_activation", column="n") == 1
    assert np.isnan(value_of(score, "guided", "guide_activation", column="ci_low"))


# ---------------------------------------------------------------------- resuming


def test_an_interrupted_run_ends_with_equal_bytes(run, drive, tmp_path):
    whole = contents(run[0])
    out = shutil.copytree(run[0], tmp_path / "run")
    for name in ("looks.parquet", "labels.parquet", "scores.parquet"):
        (out / name).unlink()
    manifest = read_table(out / MANIFEST)
    # Made, but not told; told, but gone; told, but cut.
    manifest.drop(index=2).to_csv(out / MANIFEST, index=False)
    (out / manifest["file"][4]).unlink()
    cut = out / manifest["file"][8]
    cut.write_bytes(cut.read_bytes()[:-9])
    drive(out)
    found = contents(out)
    assert set(found) == set(whole)
    changed = {name for name in whole if found[name] != whole[name]}
    # Rows were added in another order, and a run tells when it was made.
    assert changed <= {MANIFEST, "provenance.json"}
    before, after = (
        read_table(folder / MANIFEST).sort_values(["condition", "seed"])
        for folder in (run[0], out)
    )
    pd.testing.assert_frame_equal(
        before.reset_index(drop=True), after.reset_index(drop=True)
    )


def test_batches_change_no_image(run, drive, tmp_path):
    drive(tmp_path, batch_size=2)
    for file in looks_of(tmp_path)["file"]:
        assert (tmp_path / file).read_bytes() == (run[0] / file).read_bytes()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"region": "blue"}, "region"),
        ({"seeds": (0, 1)}, "seeds"),
        ({"guide": replace(GUIDE, scale=0.5)}, "guide"),
        ({"sampling": SamplingSettings(4, "ddim")}, "sampling"),
        ({"heldout": None}, "heldout"),
        ({"judge": colour_judge(temperature=1.0)}, "observers"),
        ({"category": "blue"}, "category"),
        ({"against": "blue"}, "against"),
        ({"generator": toy(fingerprint="another")}, "fingerprint"),
    ],
)
def test_a_folder_of_other_settings_is_refused_and_kept(run, drive, change, name):
    before = contents(run[0])
    with pytest.raises(ValueError, match=f"holds a run with {name}="):
        drive(run[0], **change)
    assert contents(run[0]) == before


# ------------------------------------------------------------------ real pictures


@pytest.fixture(scope="module")
def with_real(drive, tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "run"
    return out, drive(out, measured=colour_trials(), n_real=3)


def test_real_pictures_are_looked_at_by_the_same_observers(
    with_real, run, encoder, heldout
):
    out, _ = with_real
    plain = looks_of(run[0])
    table = looks_of(out)
    pd.testing.assert_frame_equal(table[: len(plain)], plain)
    real = table[len(plain) :]
    assert real["condition"].tolist() == [REAL] * 3 + [REAL_BEST] * 3
    assert real["seed"].tolist() == [0, 1, 2] * 2
    kept = read_table(out / "real_pictures.csv")
    assert set(kept["stimulus_id"]) <= {f"p{i:02d}" for i in range(4, 40, 5)}
    images = shown(out, real)
    for image, name in zip(images, kept["stimulus_id"], strict=True):
        np.testing.assert_array_equal(image, picture(int(name[1:])))
    for column, brain in (("guide", encoder), ("heldout", heldout)):
        expected = brain.predict(images)[:, :2].mean(axis=1)
        np.testing.assert_allclose(real[f"{column}_activation"], expected, atol=1e-6)
    colours = np.stack(images).mean((1, 2))
    named = np.array(["red", "green", "blue"])[colours.argmax(axis=1)]
    assert real["judge_label"].tolist() == named.tolist()


def test_measured_responses_are_told_beside_predicted_ones(with_real, run):
    out, score = with_real
    table = looks_of(out)
    assert table["measured_activation"][:12].isna().all()
    for condition in (REAL, REAL_BEST):
        own = looks_of(out, condition)["measured_activation"]
        found = value_of(score, condition, "measured_activation")
        assert found == pytest.approx(own.mean())
        limits = [
            value_of(score, condition, "measured_activation", column=column)
            for column in ("ci_low", "ci_high")
        ]
        assert own.min() <= limits[0] <= found <= limits[1] <= own.max()
    for condition in ("guided", "unguided"):
        assert np.isnan(value_of(score, condition, "measured_activation"))
    units = score.table.set_index("metric")["unit"]
    assert set(units.loc[["measured_activation"]]) == {"spikes/s"}
    # Units respond to mean red, and noise is small.
    kept = read_table(out / "real_pictures.csv")
    red = [picture(int(name[1:]))[..., 0].mean() / 255 for name in kept["stimulus_id"]]
    np.testing.assert_allclose(kept["measured_activation"], red, atol=0.1)
    assert kept["n_chosen_by"].tolist() == kept["n_measured"].tolist() == [2] * 6
    assert "measured_activation" not in set(run[1].table["metric"])
    plain = run[1].table
    same = score.table[score.table["model"].isin(plain["model"].unique())]
    same = same[same["metric"] != "measured_activation"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        same.drop(columns="stimuli"), plain.drop(columns="stimuli")
    )


def test_a_run_with_real_pictures_resumes_and_is_no_other(with_real, drive):
    out, _ = with_real
    before = contents(out)
    drive(out, measured=colour_trials(), n_real=3)
    after = contents(out)
    del before["provenance.json"], after["provenance.json"]
    assert after == before
    for change in ({}, {"measured": colour_trials(6), "n_real": 3}):
        with pytest.raises(ValueError, match="holds a run with real="):
            drive(out, **change)


def test_trials_that_cannot_be_used_leave_nothing(drive, tmp_path):
    for measured, n, message in (
        (colour_trials(), 5, "5 would be more than half of the 8 pictures"),
        (colour_trials(1), 3, "more than half of the 0 pictures"),
        (colour_trials(subject="s2"), 3, "Trials are those of s2"),
    ):
        with pytest.raises(ValueError, match=message):
            drive(tmp_path / "out", measured=measured, n_real=n)
    assert not (tmp_path / "out").exists()


def test_it_is_told_where_real_pictures_may_have_been_fitted_to(
    with_real, drive, tmp_path
):
    word = "may have been fitted to the real pictures"
    notes = read_json(with_real[0] / "provenance.json")["notes"]
    assert not any(word in note for note in notes)
    drive(tmp_path, measured=colour_trials(held_out=None), n_real=20)
    notes = read_json(tmp_path / "provenance.json")["notes"]
    assert any(word in note for note in notes)


# ------------------------------------------------------------------------- notes


def test_notes_tell_what_limits_the_run(run, drive, tmp_path, heldout, folders):
    notes = read_json(run[0] / "provenance.json")["notes"]
    assert notes[0].startswith("Predicted activation is a statement of a model")
    own = [note for note in notes if "untrained" in note]
    assert own == [f"Held-out encoder: {NETWORK}: untrained weights (seeded:3/8)"]
    assert not any("no evidence" in note for note in notes)
    out = tmp_path / "alone"
    made = toy(trained=False, notes=("A note of the generator.",))
    drive(out, generator=made, heldout=None, judge=None, category=None)
    notes = read_json(out / "provenance.json")["notes"]
    assert "A note of the generator." in notes
    assert "toy: untrained weights" in notes
    assert any("Nobody but the guide" in note for note in notes)
    assert len(set(notes)) == len(notes)


def test_observers_that_share_a_network_or_are_untrained_are_told(
    drive, encoder, tmp_path
):
    home = fit_colours(tmp_path / "fit", f"{PIXELS}:pixels:grid4", subject="s3", seed=2)
    same = load_gradient_encoder(home)
    judge = colour_judge(trained=False)
    drive(tmp_path / "out", heldout=same, judge=judge)
    notes = read_json(tmp_path / "out" / "provenance.json")["notes"]
    assert any("looks through a network that guides" in note for note in notes)
    assert "judge colours: untrained weights" in notes


def test_provenance_has_the_fingerprints_of_all(run, encoder, heldout):
    provenance = run[1].provenance
    assert provenance.fingerprints == {
        "generator": "toy",
        "encoder": encoder.fingerprint,
        "heldout": heldout.fingerprint,
        "judge": colour_judge().fingerprint,
    }
    call = provenance.call
    assert call["encoder"] == "s1 control:pixels pixels:grid16"
    assert (call["region"], call["against"], call["category"]) == ("red", None, "red")
    assert call["guide"]["scale"] == 0.4
    assert read_json(run[0] / "run.json") == call


# --------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": "rde"}, r"`encoder` s1 .*no region 'rde'.*Did you mean 'red'"),
        ({"region": "flat"}, r"'flat'.*has 1 units, none of which .* was fitted to"),
        ({"against": "bleu"}, r"no region 'bleu'.*Did you mean 'blue'"),
        ({"against": "flat"}, r"`against` has 1 units, none of which"),
        ({"against": "red"}, "not all 0"),
        ({"category": None}, "`category` must be one of 'red', 'green', 'blue'"),
        ({"category": "rde"}, "Did you mean 'red'"),
        ({"judge": None}, "`category` needs a `judge`.*got 'red' alone"),
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "different numbers"),
        ({"seeds": (-1,)}, "`seeds` must be"),
        ({"n_bootstrap": 1}, "`n_bootstrap` must be"),
        ({"guide": GuideSettings(start=0.5, stop=0.2)}, "`start` must be below `stop`"),
        ({"guide": GuideSettings(mix="both")}, "`mix` must be one of"),
    ],
)
def test_calls_that_make_no_sense_leave_nothing(drive, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        drive(tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_a_held_out_brain_without_the_region_is_refused(drive, tmp_path):
    regions = ("green", "green", "blue", "flat")
    home = fit_colours(
        tmp_path / "fit", f"{PIXELS}:pixels:grid4", subject="s3", regions=regions
    )
    other = load_gradient_encoder(home)
    with pytest.raises(ValueError, match=r"`heldout` s3 .*no region 'red'"):
        drive(tmp_path / "out", heldout=other)
    assert not (tmp_path / "out").exists()


def test_nobody_judges_their_own_work(drive, folders, encoder, heldout, tmp_path):
    with pytest.raises(ValueError, match="`heldout` is the encoder that guides"):
        drive(tmp_path, heldout=load_gradient_encoder(folders[0]))
    module = heldout.readers[0].backbone.module
    judge = colour_judge(name="twin", module=module)
    with pytest.raises(ValueError, match="`judge` twin is the network that guides"):
        drive(tmp_path, encoder=heldout, heldout=encoder, judge=judge)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_on_another_device_is_refused(drive, tmp_path):
    made = toy()
    made.denoiser.mean = torch.nn.Parameter(made.denoiser.mean.to("meta"), False)
    with pytest.raises(ValueError, match="device of the generator, meta; it is on cpu"):
        drive(tmp_path, generator=made)
    assert list(tmp_path.iterdir()) == []
