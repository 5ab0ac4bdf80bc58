"""Early areas of a simulated brain follow contrast, and no model beats the noise."""

import numpy as np
import pytest

from data_loaders.synthetic import n_pictures, simulate_nsd
from stimuli.category_pictures import make_category_pictures
from tasks.encoding import fit_encoding
from tasks.encoding_run import load_encoding


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_contrast_beats_colour_in_early_areas_and_stays_below_the_ceiling(tmp_path):
    drawn = make_category_pictures(n_pictures(1, 2), size_px=64)
    root = simulate_nsd(
        tmp_path / "nsd",
        list(drawn.images),
        drawn.table,
        n_subjects=1,
        n_sessions=2,
        volume_shape=(12, 14, 12),
        n_vertices=(162, 162),
        picture_px=64,
    )
    gabor = "control:gabor:energy=cycles4:grid8+cycles8:grid8"
    fit_encoding(
        f"nsd:{root}",
        [gabor, "control:colour"],
        tmp_path / "fit",
        regions=["early"],
        keep_models=False,
        n_permutations=99,
        n_bootstrap=200,
        device="cpu",
    )
    run = load_encoding(tmp_path / "fit")
    means = run.units.groupby(["model", "layer"])["r"].mean()
    best = means["control:gabor", "energy"]
    assert best > 0.45
    assert best > means["control:colour"].max() + 0.05
    scores = run.scores[run.scores["metric"] == "r_mean"]
    held = scores[scores["condition"] == "held-out pictures"]
    whole = held[held["region"] == "all units"]
    # The lower limit lies below the ceiling: nothing exceeds it beyond its error.
    assert (whole["ci_low"] < whole["ceiling_low"]).all()
    assert (whole["value"] < whole["ceiling_low"]).all()
    assert run.units["simulated"].all()
    assert np.isfinite(run.units["ceiling"]).all()
