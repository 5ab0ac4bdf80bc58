"""Captions of simulated voxels: what is captioned, controls, resuming, acceptance."""

from dataclasses import replace

import numpy as np
import pytest

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.brainscuba import BASELINES, PROJECTION
from neurovis.adapters.captioner import load_captioner
from neurovis.core.files import read_table, sha256_file
from tasks import brainscuba_experiment
from tasks.brainscuba_experiment import ScubaSettings, run_brainscuba
from tasks.brainscuba_scores import CHOSEN, PICTURES, SHUFFLED

SMALL = ScubaSettings(
    noise_sds=(0.3, 1.0),
    inverse_temperatures=(10.0, 150.0),
    n_voxels=4,
    n_training=400,
    n_bank=150,
    n_repeats=3,
    n_brains=1,
    beam=2,
)
CALL = {"device": "cpu", "n_bootstrap": 20}
TABLES = ("captions.parquet", "encoders.parquet", "scores.parquet")


@pytest.fixture(scope="module")
def network():
    return load_backbone("sketch_clip")


@pytest.fixture(scope="module")
def done(tmp_path_factory, network):
    out = tmp_path_factory.mktemp("scuba") / "run"
    return out, run_brainscuba(network, None, out, settings=SMALL, **CALL)


def rates(score, noise_sd):
    rows = score.table[
        (score.table["metric"] == "naming_rate")
        & (score.table["region"] == "all")
        & score.table["brain"].isna()
        & (score.table["noise_sd"] == noise_sd)
    ]
    # The last inverse temperature is the one that is compared.
    return rows.drop_duplicates("condition", keep="last").set_index("condition")


def test_every_voxel_is_captioned_under_every_condition(done):
    table = read_table(done[0] / "captions.parquet")
    n = 2 * 5 * SMALL.n_voxels  # two levels of noise
    counts = table.groupby(["condition", "repeat"]).size().to_dict()
    assert counts[PROJECTION, 0] == 2 * n  # two inverse temperatures
    assert all(counts[PROJECTION, repeat] == n for repeat in (1, 2, 3))
    for name in (*BASELINES, SHUFFLED, PICTURES, PROJECTION + CHOSEN):
        assert counts[name, 0] == n
    assert table["correct"].dtype == bool
    named = [
        region in text.split(",")
        for region, text in zip(table["region"], table["named"], strict=True)
    ]
    assert table["correct"].tolist() == named


def test_voxels_of_little_noise_are_named_and_controls_are_not(done):
    found = rates(done[1], 0.3)
    assert found.loc[PROJECTION, "value"] > 0.75
    assert found.loc[PICTURES, "value"] > 0.9
    for name in (SHUFFLED, "random image"):
        assert found.loc[name, "ci_low"] < 0.2 < found.loc[name, "ci_high"]


def test_encoders_reach_most_of_their_ceiling(done):
    encoders = read_table(done[0] / "encoders.parquet")
    assert len(encoders) == 4  # two penalties, two levels of noise
    ratio = encoders["test_r"] / encoders["ceiling"]
    assert ratio.between(0.6, 1.05).all()


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_ends_with_equal_tables(
    tmp_path, done, network, monkeypatch
):
    own, calls = brainscuba_experiment._caption_brain, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return own(*arguments)

    monkeypatch.setattr(brainscuba_experiment, "_caption_brain", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_brainscuba(network, None, tmp_path, settings=SMALL, **CALL)
    assert not (tmp_path / "captions.parquet").exists()
    run_brainscuba(network, None, tmp_path, settings=SMALL, **CALL)
    assert len(calls) == 3  # the first level of noise is not computed again
    for name in TABLES:
        assert sha256_file(tmp_path / name) == sha256_file(done[0] / name)


def test_no_drawing_of_the_bank_was_shown_to_the_brain(network):
    shown = brainscuba_experiment._show(network, SMALL, 0, 0, "cpu")
    assert len(shown.bank) == SMALL.n_bank
    seen = {row.tobytes() for row in shown.embeddings}
    assert not seen & {row.tobytes() for row in shown.bank}
    np.testing.assert_allclose(np.linalg.norm(shown.units, axis=1), 1, rtol=1e-5)


def test_a_network_of_another_size_is_refused(tmp_path):
    other = load_backbone("compact_vgg", "seeded:0")
    with pytest.raises(ValueError, match="looks at"):
        run_brainscuba(other, None, tmp_path / "out", settings=SMALL, **CALL)


def test_a_captioner_of_another_network_is_refused(tmp_path):
    seeded = load_backbone("sketch_clip", "seeded:0")
    with pytest.raises(ValueError, match="different networks cannot be mixed"):
        run_brainscuba(seeded, None, tmp_path / "out", settings=SMALL, **CALL)


def test_an_untrained_network_and_captioner_are_noted(tmp_path):
    seeded = load_backbone("sketch_clip", "seeded:0")
    captioner = replace(load_captioner("sketch"), embedding={}, fingerprint="")
    settings = replace(
        SMALL, noise_sds=(1.0,), inverse_temperatures=(150.0,), n_voxels=2, beam=1
    )
    score = run_brainscuba(seeded, captioner, tmp_path, settings=settings, **CALL)
    assert any("untrained" in note for note in score.provenance.notes)
    assert any("nothing about a brain" in note for note in score.provenance.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inverse_temperature": 7.0}, "inverse_temperature"),
        ({"noise_sds": ()}, "noise_sds"),
        ({"noise_sds": (1.0, 1.0)}, "noise_sds"),
        ({"penalty": 0.0}, "penalty"),
        ({"n_repeats": 1}, "n_repeats"),
        ({"n_bank": 3}, "n_bank"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_projections_name_concepts_and_beat_raw_weights_at_high_noise(
    tmp_path, network
):
    settings = ScubaSettings(inverse_temperatures=(1.0, 150.0))
    score = run_brainscuba(network, None, tmp_path, settings=settings, seed=5, **CALL)
    middle, high = rates(score, 1.0), rates(score, 3.0)
    assert middle.loc[PROJECTION, "value"] >= 0.9
    gain = high.loc[PROJECTION, "value"] - high.loc["raw weights", "value"]
    assert gain >= 0.2
    for found in (middle, high):
        for name in (SHUFFLED, "random image"):
            assert found.loc[name, "ci_low"] < 0.2 < found.loc[name, "ci_high"]
