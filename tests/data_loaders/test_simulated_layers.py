"""Regions of simulated brains that respond to given features."""

import numpy as np
import pandas as pd
import pytest

from data_loaders.nsd import load_nsd
from data_loaders.simulated_layers import check_region_features
from data_loaders.synthetic import SimulatedBrain, n_pictures, simulate_nsd
from neurovis.core.files import read_json, read_table
from stimuli.category_pictures import make_category_pictures

N = n_pictures(1, 1)
QUIET = SimulatedBrain(ncsnr=5.0, drift_share=0.0, session_gain=0.0)


@pytest.fixture(scope="module")
def pictures():
    return make_category_pictures(N, size_px=32, seed=3)


def features_of(n_features, seed):
    return np.random.default_rng(seed).standard_normal((N, n_features))


def simulate(folder, pictures, region_features, **options):
    return simulate_nsd(
        folder / "nsd",
        pictures.images,
        pictures.table,
        n_subjects=1,
        n_sessions=1,
        spaces=("func1pt8mm",),
        picture_px=32,
        brain=QUIET,
        region_features=region_features,
        **options,
    )


def explained(responses, inside, features):
    """Share of the variance of units that a linear fit to features explains."""
    betas = np.asarray(responses.betas[:, inside], np.float64)
    betas = betas - betas.mean(0)
    order = responses.stimuli["nsd_id"].to_numpy()
    x = features[order] - features[order].mean(0)
    rest = betas - x @ np.linalg.lstsq(x, betas, rcond=None)[0]
    return 1 - (rest**2).sum(0) / (betas**2).sum(0)


def test_units_of_a_region_are_mixtures_of_its_features_and_of_no_others(
    tmp_path, pictures
):
    early, late = features_of(6, 0), features_of(8, 1)
    root = simulate(tmp_path, pictures, {"V1": early, "floc-faces": late})
    responses = load_nsd(root, 1)
    for region, own, other in (("V1", early, late), ("floc-faces", late, early)):
        inside = responses.in_region(region)
        if region == "V1":
            inside = responses.in_region("prf-visualrois:V1")
        clean = inside & (responses.units["ncsnr"] > 3).to_numpy()
        assert clean.sum() > 10
        assert np.median(explained(responses, clean, own)) > 0.95
        assert np.median(explained(responses, clean, other)) < 0.1
    truth = read_table(root / "neurovis_simulation" / "subj01_func1pt8mm.parquet")
    assert set(truth["features"]) == {"", "V1", "floc-faces"}
    driven = truth[truth["features"] == "V1"]
    assert set(driven["prf-visualrois"]) == {"V1v", "V1d"}
    assert driven["rf_x_deg"].isna().all()
    assert driven["energy_share"].isna().all()
    others = truth[(truth["features"] == "") & (truth["ncsnr"] > 0)]
    assert others["energy_share"].notna().all()
    settings = read_json(root / "neurovis_simulation.json")["settings"]
    assert settings["region_features"]["V1"]["n_features"] == 6


def test_a_unit_of_two_regions_follows_the_first(tmp_path, pictures):
    both = {"floc-faces": features_of(5, 2), "floc-words": features_of(5, 3)}
    root = simulate(tmp_path, pictures, both)
    truth = read_table(root / "neurovis_simulation" / "subj01_func1pt8mm.parquet")
    overlap = truth[(truth["floc-faces"] != "") & (truth["floc-words"] != "")]
    assert len(overlap)
    assert set(overlap["features"]) == {"floc-faces"}


def test_features_are_standardised_and_constant_ones_are_zero():
    values = np.column_stack([np.arange(4.0), np.full(4, 7.0)])
    found = check_region_features({"V1": values}, 4)["V1"]
    assert found.shape == (2, 4)
    assert not found[1].any()
    np.testing.assert_allclose([found[0].mean(), found[0].std()], [0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"V1": np.ones((3, 2))}, r"region_features\['V1'\]"),
        ({"V1": np.full((N, 2), np.nan)}, "not finite"),
        ({"V9": features_of(2, 0)}, "region 'V9'"),
        ({"V1": np.ones((N, 2))}, "does not vary"),
        ({"V1": features_of(2, 0), "V1v": features_of(2, 1)}, "no units of its own"),
    ],
)
def test_wrong_features_leave_nothing_behind(tmp_path, pictures, features, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path, pictures, features)
    assert not (tmp_path / "nsd").exists()


def test_labels_of_atlases_that_drive_nothing_are_refused(tmp_path, pictures):
    wrong = {"streams": pd.DataFrame(features_of(2, 0)).to_numpy()}
    with pytest.raises(ValueError, match="region 'streams'"):
        simulate(tmp_path, pictures, wrong)
