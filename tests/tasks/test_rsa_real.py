"""Published matrices and recordings: the numbers that came with them."""

import json

import numpy as np
import pytest

from neurovis.core.files import read_table
from neurovis.core.types import Score
from tasks.rsa import run_rsa
from tasks.rsa_scores import BEST, LAYER, PACKAGED
from tasks.rsa_targets import load_targets

CALL = {"n_bootstrap": 20, "n_permutations": 20, "n_splits": 5, "device": "cpu"}
FLATTENED = "rsa_spearman_objects92_flattened_activations_1_minus_pearson"


@pytest.fixture(scope="module")
def objects(data_folder):
    return data_folder / "objects92"


@pytest.fixture(scope="module")
def people(objects, tmp_path_factory):
    """Colours beside the mean of human IT and beside its three subjects."""
    folder = tmp_path_factory.mktemp("objects")
    for name, subjects in (("mean", ["mean", "pooled"]), ("each", None)):
        run_rsa(
            f"objects92:{objects}",
            ["control:colour"],
            folder / name,
            source=["human IT", "monkey IT"],
            subjects=subjects,
            **CALL,
        )
    return folder


@pytest.fixture(scope="module")
def reference(objects):
    return json.loads((objects / "reference_values.json").read_text())


def test_monkey_and_human_it_agree_as_published(people, reference):
    table = Score.load(people / "mean").table
    rows = table[(table["region"] == "human IT") & (table["condition"] == LAYER)]
    values = rows.set_index("model")["value"]
    expected = reference["spearman_monkey_vs_humanmean"]
    assert values["monkeyIT (of the data)"] == pytest.approx(expected, abs=1e-4)
    expected = reference["spearman_humanmean_vs_animacy"]
    assert values["animacy (of the data)"] == pytest.approx(expected, abs=1e-4)


def test_subjects_agree_with_each_other_as_published(people, reference):
    pairs = read_table(people / "each" / "pairs.parquet")
    between = pairs[pairs["kind"] == "between subjects"]["value"]
    expected = reference["spearman_between_subjects"]
    np.testing.assert_allclose(between, expected, atol=1e-4)


def test_models_of_the_data_are_in_the_order_of_the_paper(people):
    table = Score.load(people / "each").table
    rows = table[(table["region"] == "human IT") & (table["condition"] == BEST)]
    packaged = rows[rows["kind"] == PACKAGED].set_index("model")["value"]
    assert packaged.idxmax() == "animacy (of the data)"
    assert packaged["animacy (of the data)"] > 2 * packaged["V1 (of the data)"]
    assert rows["ceiling_low"].iloc[0] == pytest.approx(0.3668, abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_layers_agree_with_it_as_published(data_folder, objects, tmp_path):
    """Flattened activations, pictures scaled without cutting, 1 - Pearson, Spearman."""
    folder = data_folder / "imagenet_backbones"
    reference = json.loads((folder / "reference_values.json").read_text())[FLATTENED]
    files = {
        "squeezenet1_0": "squeezenet1_0_deepcompressed",
        "darknet_tiny": "darknet_tiny",
    }
    features = [
        f"{name}@{folder / file}.safetensors:"
        + ",".join(f"{layer}:flat" for layer in reference[file])
        for name, file in files.items()
    ]
    score = run_rsa(
        f"objects92:{objects}",
        features,
        tmp_path / "run",
        source=["human IT", "monkey IT"],
        subjects=["mean", "pooled"],
        resize="squash",
        **CALL,
    )
    table = score.table[score.table["condition"] == LAYER]
    n = 0
    for region, key in (("human IT", "humanIT_mean"), ("monkey IT", "monkeyIT_mean")):
        for name, file in files.items():
            rows = table[
                (table["region"] == region) & (table["model"] == f"{name}@{file}")
            ]
            values = rows.set_index("layer")["value"]
            for layer, expected in reference[file].items():
                assert values[f"{layer}:flat"] == pytest.approx(expected[key], abs=6e-5)
                n += 1
    assert n == 24


def test_repeats_of_a_recording_bound_what_can_be_reached(data_folder):
    data = f"v4-images:{data_folder / 'v4_images'}"
    (target,) = load_targets(data, subjects=["210325"], stimuli=100)
    assert target.subject == "PE 210325"
    assert 0.8 < target.repeat_ceiling < 0.95
    (other,) = load_targets(data, subjects=["190923"], stimuli=100)
    assert np.isnan(other.repeat_ceiling)


def test_crossnobis_of_a_recording_is_free_of_the_noise_of_its_trials(data_folder):
    data = f"v4-images:{data_folder / 'v4_images'}"
    found = {
        measure: load_targets(data, measure=measure, subjects=["210325"], stimuli=60)
        for measure in ("crossnobis", "squared_euclidean")
    }
    free, plain = (targets[0].rdms for targets in found.values())
    assert free.shape == (1, 1770)
    # Noise of averages of about 8 trials lifts all plain distances alike.
    assert 0.5 < free.mean() / plain.mean() < 0.9
    assert np.corrcoef(free[0], plain[0])[0, 1] > 0.9
    with pytest.raises(ValueError, match="needs single trials"):
        load_targets(data, measure="crossnobis", subjects=["190923"], stimuli=60)
