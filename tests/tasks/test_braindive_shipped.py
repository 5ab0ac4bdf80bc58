"""What the shipped generator must show: section by section, in short and by others."""

import pandas as pd
import pytest

from neurovis.adapters.image_generators import load_image_generator
from neurovis.core.files import read_table
from tasks.braindive_experiment import (
    ASCENT,
    PERMUTED,
    REAL_BEST,
    SUPPRESSED,
    DiveSettings,
    run_braindive,
)
from tasks.braindive_scores import BEST_QUARTER, GUIDED, UNGUIDED

SETTINGS = DiveSettings(
    n_images=24,
    n_controls=12,
    scales=(3.0, 1e6),
    n_drawn=3000,
    n_candidates=400,
    epochs=10,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run with the shipped generator, and its means over regions."""
    folder = tmp_path_factory.mktemp("shipped") / "run"
    score = run_braindive(
        load_image_generator("sketch:latent"),
        folder,
        settings=SETTINGS,
        seed=3,
        device="cpu",
        n_bootstrap=500,
    )
    own = score.table[score.table["region"] == "all"]
    means = own.pivot_table("value", "model", "metric")
    return folder, score, means


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_guided_images_drive_a_brain_and_a_judge_that_did_not_guide(run):
    _, _, means = run
    gain = means.loc[GUIDED] - means.loc[UNGUIDED]
    assert gain["guide_activation"] > 0.3
    assert gain["heldout_activation"] > 0.2
    assert gain["heldout_activation"] < gain["guide_activation"]
    accuracy = means["judge_accuracy"]
    assert accuracy[GUIDED] >= 2 * accuracy[UNGUIDED]
    assert (
        means["heldout_activation"][BEST_QUARTER] > means["heldout_activation"][GUIDED]
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_controls_do_not_drive_them(run):
    _, _, means = run
    heldout, accuracy = means["heldout_activation"], means["judge_accuracy"]
    assert heldout[SUPPRESSED] < heldout[UNGUIDED] - 0.1
    assert accuracy[SUPPRESSED] < 0.1
    assert accuracy[PERMUTED] == pytest.approx(0.2, abs=0.15)
    assert means["guide_activation"][ASCENT] > 2 * means["guide_activation"][REAL_BEST]
    assert heldout[ASCENT] == pytest.approx(heldout[UNGUIDED], abs=0.3)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_more_strength_helps_until_it_breaks_the_images(run):
    _, _, means = run
    for metric in ("heldout_activation", "judge_accuracy"):
        values = means[metric]
        assert values["sweep 3"] < values[GUIDED]
        assert values["sweep 1e+06"] < values[GUIDED]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_encoders_come_near_their_ceiling_and_no_note_says_otherwise(run):
    folder, score, _ = run
    table = read_table(folder / "encoders.parquet")
    whole = table[table["region"] == "all"]
    assert (whole["test_r"] / whole["ceiling"]).min() > 0.85
    assert not any("ceiling" in note for note in score.provenance.notes)
    assert pd.notna(whole["test_r"]).all()
