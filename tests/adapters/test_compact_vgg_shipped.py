"""The weights that come with the suite: what they are, and that they see."""

from importlib import resources

import numpy as np
import pytest

from analysis.tuning import grating_tuning, tuning_summary
from neurovis.adapters import load_model
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.compact_vgg import SHIPPED, SHIPPED_SHA256, load_compact
from neurovis.adapters.features import extract_features
from neurovis.core.files import sha256_file
from stimuli.category_pictures import make_category_pictures
from stimuli.gratings import FREQUENCIES_CPD, ORIENTATIONS_DEG, make_gratings
from stimuli.search_arrays import make_search_arrays
from tasks.search_asymmetry import run_searches

# Frozen on 2026-11-22 (torch 2.15, CPU).
FEATURE_MEANS = {"stage3:gap": 0.2750, "stage4:gap": 0.3602, "stage5:gap": 0.3745}
LANDINGS = {
    "cross_n03_t000": [(307.5, 307.5), (76.5, 507.5)],
    "cross_n09_t000": [(307.5, 307.5), (315.5, 300.5), (467.5, 85.5)],
    "top_down_n06_t000": [(99.5, 99.5), (28.5, 60.5)],
    "top_down_n12_t000": [(99.5, 99.5), (28.5, 107.5)],
}
UNTRAINED = ("seeded:0", "seeded:1", "seeded:2")


def summary(weights, layer, stride):
    """Tuning of the units in the middle of a map."""
    network = load_backbone("compact_vgg", weights, size_px=64)
    gratings = make_gratings(size_px=64, n_phases=4)
    maps = extract_features(network, gratings.images, [f"{layer}:flat"])
    axes = (len(ORIENTATIONS_DEG), len(FREQUENCIES_CPD), 4)
    side = 64 // stride
    rows = maps[f"{layer}:flat"].reshape(*axes, -1, side, side)
    centre = rows[..., side // 2, side // 2]
    responses = np.moveaxis(centre, -1, 0).astype(float)
    table = grating_tuning(responses, ORIENTATIONS_DEG, FREQUENCIES_CPD)
    return tuning_summary(table).iloc[0]


def test_the_shipped_file_is_small_and_has_the_hash_that_is_checked():
    source = resources.files("neurovis.adapters") / SHIPPED
    with resources.as_file(source) as path:
        assert sha256_file(path) == SHIPPED_SHA256
        assert path.stat().st_size < 2_000_000


def test_the_shipped_file_tells_how_it_came_about():
    found = load_compact("shipped")
    assert found.trained
    about = {k: found.about[k] for k in ("objective", "diet", "seed", "recipe")}
    assert about == {
        "objective": "selfsup",
        "diet": "natural",
        "seed": 0,
        "recipe": "compact",
    }
    assert found.notes == (
        "compact network trained here on 630 pictures of OSIE without labels",
    )


def test_features_of_the_shipped_network_are_the_frozen_ones():
    drawn = make_category_pictures(60, size_px=64, seed=11)
    network = load_backbone("compact_vgg", size_px=64)
    found = extract_features(network, [drawn.load(0)], list(FEATURE_MEANS))
    means = {layer: float(values.mean()) for layer, values in found.items()}
    assert means == pytest.approx(FEATURE_MEANS, abs=2e-3)


def test_search_with_the_shipped_network_lands_where_it_did():
    displays = make_search_arrays(["top_down", "cross"], trials=1, seed=0)
    rows = np.flatnonzero(displays.table["stimulus_id"].isin(LANDINGS)).tolist()
    model = load_model("eccnet", device="cpu")
    found = run_searches([model], displays.select(rows)).scanpaths
    for name, expected in LANDINGS.items():
        path = found.loc[found["stimulus_id"] == name, ["x_px", "y_px"]]
        assert path.apply(tuple, axis=1).tolist() == expected


def test_shipped_units_are_tuned_to_orientation_where_untrained_ones_are_not():
    trained = summary("shipped", "stage3", 4)
    controls = [summary(weights, "stage3", 4) for weights in UNTRAINED]
    best = min(control["circular_variance_median"] for control in controls)
    assert trained["circular_variance_median"] < best - 0.15
    best = max(control["closed_bandwidth_share"] for control in controls)
    assert trained["closed_bandwidth_share"] > best


def test_phase_matters_less_to_late_shipped_units_than_to_untrained_ones():
    trained = summary("shipped", "stage4", 8)
    controls = [summary(weights, "stage4", 8) for weights in UNTRAINED]
    assert trained["simple_share"] < 0.2
    assert min(control["simple_share"] for control in controls) > 0.25
