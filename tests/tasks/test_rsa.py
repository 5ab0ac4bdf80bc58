"""RSA of published matrices: what is found, chosen and compared."""

import json

import numpy as np
import pytest

from analysis.multiple_tests import fdr_adjusted
from analysis.rdms import make_rdm
from analysis.rsa import compare_rdms, rdm_ceiling
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.files import read_table
from neurovis.core.types import SCORE_COLUMNS, Score
from tasks.feature_specs import parse_features
from tasks.rsa import run_rsa
from tasks.rsa_scores import BEST, LAYER, OPTIMISTIC, PACKAGED, depths_of
from tasks.rsa_targets import load_targets
from tests.tasks.rsa_examples import (
    CALL,
    DATA,
    LAYERS,
    MODELS,
    N_PAIRS,
    NETWORK,
    TRUE_LAYER,
    N,
    rows_of,
)


@pytest.mark.parametrize("region", ["human IT", "monkey IT"])
def test_the_layer_that_a_region_was_made_of_explains_it_best(rsa_run, region):
    best = rows_of(rsa_run, region=region, condition=BEST).set_index("model")
    assert best["value"].idxmax() == NETWORK
    row = best.loc[NETWORK]
    assert row["layer"] == TRUE_LAYER
    assert row["chosen_share"] > 0.9
    assert row["ci_low"] > 0
    assert row["p_value"] == pytest.approx(1 / 50)
    assert row["value"] == pytest.approx(row["ceiling_low"], abs=0.12) or np.isnan(
        row["ceiling_low"]
    )


def test_values_are_those_of_the_building_blocks(rsa_run, objects):
    targets = load_targets(DATA.format(objects), source="human IT")
    (target,) = targets
    network = load_backbone("timm:test_vit", "seeded:0")
    found = extract_features(network, target.data.responses.pictures, list(LAYERS))
    layers = rows_of(rsa_run, region="human IT", condition=LAYER, model=NETWORK)
    ceiling = rdm_ceiling(target.rdms)
    assert layers["layer"].tolist() == list(LAYERS)
    for _, row in layers.iterrows():
        similar = compare_rdms(make_rdm(found[row["layer"]]), target.rdms)
        assert row["value"] == pytest.approx(similar.mean(), abs=1e-9)
        assert row["ceiling_low"] == pytest.approx(ceiling.lower)
        assert row["ceiling_high"] == pytest.approx(ceiling.upper)
        share = row["value"] / row["ceiling_low"]
        assert row["value_over_ceiling"] == pytest.approx(share)
        assert row["chance_low"] < 0 < row["chance_high"] < 0.2
        assert row["n"] == N
        assert row["n_subjects"] == 3


def test_depth_kind_and_marks_tell_what_a_model_is(rsa_run):
    layers = rows_of(rsa_run, region="human IT", condition=LAYER)
    of_network = layers[layers["model"] == NETWORK]
    # Two poolings of one layer are at one depth.
    assert of_network["depth"].tolist() == [0.0, 1.0, 1.0]
    assert of_network["kind"].eq("network").all()
    assert of_network["untrained"].all()
    colour = layers[layers["model"] == "control:colour"]
    assert colour["kind"].eq("control").all()
    assert colour["depth"].isna().all()
    assert not colour["untrained"].any()
    notes = json.loads((rsa_run / "provenance.json").read_text())["notes"]
    assert f"{NETWORK}: untrained weights (seeded:0)" in notes


def test_models_of_the_data_are_baselines_but_not_of_themselves(rsa_run):
    packaged = rows_of(rsa_run, kind=PACKAGED, condition=BEST)
    of_monkey = packaged[packaged["region"] == "monkey IT"]["model"]
    assert "monkeyIT (of the data)" not in set(of_monkey)
    of_people = packaged[packaged["region"] == "human IT"]["model"]
    assert set(of_people) == {f"{m} (of the data)" for m in MODELS}
    notes = json.loads((rsa_run / "provenance.json").read_text())["notes"]
    assert any("the model monkeyIT of the data is the same" in note for note in notes)


def test_the_largest_value_is_marked_and_not_below_the_fair_one(rsa_run):
    for region in ("human IT", "monkey IT"):
        table = rows_of(rsa_run, region=region)
        layers = table[table["condition"] == LAYER]
        top = table[table["condition"] == OPTIMISTIC].set_index("model")
        largest = layers.groupby("model")["value"].max()
        np.testing.assert_allclose(top["value"], largest[top.index])
        assert top["ci_low"].isna().all()


def test_false_discovery_rates_are_over_layers_and_over_models(rsa_run):
    for condition in (LAYER, BEST):
        rows = rows_of(rsa_run, region="human IT", condition=condition)
        np.testing.assert_allclose(rows["p_fdr"], fdr_adjusted(rows["p_value"]))


def test_pairs_hold_every_subject_and_subjects_with_each_other(rsa_run, objects):
    pairs = read_table(rsa_run / "pairs.parquet")
    (target,) = load_targets(DATA.format(objects), source="human IT")
    mine = pairs[pairs["region"] == "human IT"]
    layers = rows_of(rsa_run, region="human IT", condition=LAYER)
    means = mine[mine["kind"] != "between subjects"].groupby(["model", "layer"])
    for (model, layer), part in means:
        row = layers[(layers["model"] == model) & (layers["layer"] == layer)]
        assert len(part) == 3
        assert part["value"].mean() == pytest.approx(row["value"].iloc[0])
    between = mine[mine["kind"] == "between subjects"]
    expected = compare_rdms(target.rdms, target.rdms)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(between["value"], expected)


def test_comparisons_are_differences_of_the_chosen_layers(rsa_run):
    table = read_table(rsa_run / "comparisons.parquet")
    table = table[table["region"] == "monkey IT"]
    best = rows_of(rsa_run, region="monkey IT", condition=BEST).set_index("model")
    n = len(best)
    assert len(table) == n * (n - 1) // 2
    for _, row in table.iterrows():
        a, b = best.loc[row["model_a"]], best.loc[row["model_b"]]
        assert row["difference"] == pytest.approx(a["value"] - b["value"])
        assert (row["layer_a"], row["layer_b"]) == (a["layer"], b["layer"])
    np.testing.assert_allclose(table["p_fdr"], fdr_adjusted(table["p_value"]))
    assert set(table["over"]) == {"images"}


def test_differences_of_few_subjects_are_told_for_these_subjects_too(rsa_run):
    table = read_table(rsa_run / "comparisons.parquet")
    people = table[table["region"] == "human IT"]
    pair = (people["model_a"] == NETWORK) & (people["model_b"] == "control:colour")
    both, fixed = people[pair].to_dict("records")
    assert both["over"] == "images and subjects"
    assert fixed["over"] == "images"
    assert both["difference"] == fixed["difference"] > 0.2
    # Three subjects, 92 stimuli: what is sure for these is less so for others.
    assert both["degrees_of_freedom"] == 2
    assert fixed["degrees_of_freedom"] == 91
    assert fixed["p_value"] < 0.001
    assert fixed["p_value"] < both["p_value"]
    for _, part in people.groupby("over"):
        np.testing.assert_allclose(part["p_fdr"], fdr_adjusted(part["p_value"]))


def test_what_is_resampled_can_be_chosen(objects, tmp_path):
    run_rsa(
        DATA.format(objects),
        ["control:colour"],
        tmp_path,
        source="human IT",
        over="images",
        **CALL,
    )
    assert rows_of(tmp_path, condition=BEST)["over"].eq("images").all()
    table = read_table(tmp_path / "comparisons.parquet")
    assert set(table["over"]) == {"images"}
    assert not table.duplicated(["model_a", "model_b"]).any()


def test_tables_have_the_columns_of_all_scores(rsa_run):
    table = Score.load(rsa_run).table
    assert list(table.columns[: len(SCORE_COLUMNS)]) == list(SCORE_COLUMNS)
    assert set(table["condition"]) == {LAYER, BEST, OPTIMISTIC}
    assert table["metric"].unique().tolist() == ["rsa_spearman"]
    assert not table["simulated"].any()


def test_matrices_are_kept_with_their_names(rsa_run, objects):
    (target,) = load_targets(DATA.format(objects), source="human IT")
    with np.load(rsa_run / "rdms.npz") as file:
        np.testing.assert_allclose(
            file["human IT mean/subjects"], target.rdms, rtol=1e-6
        )
        names = file["human IT mean/layer_names"].tolist()
        assert names[0] == f"{NETWORK} {LAYERS[0]}"
        assert file["human IT mean/layers"].shape == (len(names), N_PAIRS)
        assert file["human IT mean/stimulus_id"].tolist() == target.stimulus_id
        assert len(file["human IT mean/category"]) == N


def test_depth_follows_the_network_and_not_the_order_of_the_request():
    network = load_backbone("squeezenet1_0", "seeded:0")
    spec = parse_features("squeezenet1_0@seeded:0:fire9:gap,conv1:gap,fire4:gap")
    expected = {"fire9:gap": 1.0, "conv1:gap": 0.0, "fire4:gap": 0.5}
    assert depths_of(spec, network) == expected
    one = parse_features("squeezenet1_0@seeded:0:fire4:gap,fire4:grid2")
    assert np.isnan([*depths_of(one, network).values()]).all()
    joined = parse_features("squeezenet1_0@seeded:0:both=conv1:gap+fire9:gap,fire2:gap")
    assert depths_of(joined, network) == {"both": 1.0, "fire2:gap": 0.0}
