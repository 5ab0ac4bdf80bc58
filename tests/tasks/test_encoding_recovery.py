"""Encoding models find what a simulated brain was made of."""

import numpy as np
import pytest

from analysis.metrics import noise_normalised
from data_loaders.synthetic import n_pictures, simulate_nsd
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.files import read_json, read_table
from stimuli.category_pictures import make_category_pictures
from tasks.encoding import fit_encoding
from tasks.feature_specs import parse_features

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NETWORK = "squeezenet1_0@seeded:0"
TRUTH = {
    "prf-visualrois:V1": "conv1:gap",
    "prf-visualrois:V2": "fire3:gap",
    "prf-visualrois:hV4": "fire5:gap",
    "floc-faces": "fire9:gap",
}
LAYERS = list(TRUTH.values())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Fit all layers to a brain whose regions are mixtures of one layer each."""
    folder = tmp_path_factory.mktemp("recovery")
    drawn = make_category_pictures(n_pictures(1, 3), size_px=64, seed=5)
    network = load_backbone("squeezenet1_0", "seeded:0", resize="squash")
    layers = extract_features(network, drawn.images, LAYERS)
    root = simulate_nsd(
        folder / "nsd",
        drawn.images,
        drawn.table,
        n_subjects=1,
        n_sessions=3,
        n_shared=200,
        volume_shape=(24, 28, 22),
        spaces=("func1pt8mm",),
        picture_px=64,
        seed=5,
        region_features={
            region.rpartition(":")[2]: layers[layer] for region, layer in TRUTH.items()
        },
    )
    fit_encoding(
        f"nsd:{root}",
        [parse_features(f"{NETWORK}:{','.join(LAYERS)}", resize="squash")],
        folder / "fit",
        regions=[*TRUTH, "floc-places"],
        keep_models=False,
        device="cpu",
    )
    return folder / "fit"


def test_each_region_is_assigned_the_layer_that_it_was_made_of(run):
    layers = read_table(run / "layers.parquet")
    units = read_table(run / "units.parquet")
    for region, truth in TRUTH.items():
        family, _, label = region.rpartition(":")
        column = family or label
        names = {"V1": ["V1v", "V1d"], "V2": ["V2v", "V2d"]}.get(label, [label])
        inside = units[column].isin(names) if family else units[column].fillna("") != ""
        means = units[inside].groupby("layer")[["cv_score", "r"]].mean()
        assert means["cv_score"].idxmax() == truth, region
        assert means["r"].idxmax() == truth, region
    chosen = layers[layers["chosen"]].set_index("region")["layer"]
    assert chosen["V1v"] == chosen["V1d"] == "conv1:gap"
    assert chosen["V2v"] == chosen["V2d"] == "fire3:gap"
    assert chosen["hV4"] == "fire5:gap"


def test_the_true_layer_explains_nearly_all_that_can_be_and_no_more(run):
    units = read_table(run / "units.parquet")
    shares = {}
    for region, truth in TRUTH.items():
        family, _, label = region.rpartition(":")
        if not family:
            continue
        names = {"V1": ["V1v", "V1d"], "V2": ["V2v", "V2d"]}.get(label, [label])
        rows = units[units[family].isin(names) & (units["layer"] == truth)]
        assert (rows["ceiling_kind"] == "ncsnr").all()
        good = rows[rows["ceiling"] > 0.2]
        assert len(good) > 5
        shares[label] = float((good["r"] ** 2).sum() / good["ceiling"].sum())
        # Errors of r and of the ceiling of a unit, at 200 test pictures.
        single = noise_normalised(good["r"].to_numpy(), good["ceiling"].to_numpy())
        assert np.quantile(single, 0.95) < 1.35, label
    assert all(0.8 < share < 1.05 for share in shares.values()), shares


def test_untrained_and_simulated_parts_are_said_to_be_so(run):
    units = read_table(run / "units.parquet")
    assert units["untrained"].all()
    notes = " ".join(read_json(run / "provenance.json")["notes"])
    assert "untrained" in notes
    assert "imulated" in notes
