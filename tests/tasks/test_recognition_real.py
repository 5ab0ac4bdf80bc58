"""Real people and networks: the numbers that came with the data."""

import json

import numpy as np
import pytest

from analysis.shape_bias import shape_bias
from data_loaders.texture_shape import load_texture_shape
from neurovis.adapters.sixteen_way import load_sixteen_way
from neurovis.core.files import read_table
from neurovis.core.types import Score
from tasks.recognition import run_recognition
from tasks.recognition_parts import Settings, picture_parts
from tasks.recognition_report import write_recognition_report
from tasks.recognition_verdicts import recognition_directions

THREE = ("cue-conflict", "edge", "silhouette")
NETWORKS = {
    "squeezenet1_0": "squeezenet1_0_deepcompressed",
    "darknet_tiny": "darknet_tiny",
}
SHAPE_BIAS = "shape_bias_texture_shape_included_conflict_images_mean_class_probability"
OBSERVER_NAMES = ("alexnet", "googlenet", "vgg")


@pytest.fixture(scope="module")
def tables(data_folder, tmp_path_factory):
    """People and published networks where both answered; no network is run."""
    out = tmp_path_factory.mktemp("recognition") / "run"
    run_recognition(
        data_folder / "model_vs_human", out, experiments=THREE, n_bootstrap=0
    )
    return out


@pytest.fixture(scope="module")
def scores(tables):
    table = Score.load(tables).table
    return table.set_index(["stimuli", "condition", "metric", "model", "subject"])[
        "value"
    ].sort_index()


@pytest.fixture(scope="module")
def reference(data_folder):
    return load_texture_shape(data_folder / "texture_shape").reference


def test_shape_biases_of_people_and_networks_are_those_of_the_data(scores, reference):
    found = scores["cue-conflict", "all", "shape_bias"]
    for name, expected in reference["shape_bias_per_observer"].items():
        model = name if name in OBSERVER_NAMES else "human"
        assert found[model, name].item() == pytest.approx(expected, abs=5e-5), name


@pytest.mark.parametrize(
    ("experiment", "key"),
    [("edge", "accuracy_edges"), ("silhouette", "accuracy_silhouettes")],
)
def test_accuracies_are_those_of_the_data(scores, reference, experiment, key):
    found = scores[experiment, "all", "ood_accuracy"]
    for name, expected in reference[key].items():
        model = name if name in OBSERVER_NAMES else "human"
        # Four digits, halves rounded to even.
        assert found[model, name].item() == pytest.approx(expected, abs=6e-5), name


def test_people_by_category_are_those_of_the_data(data_folder, tmp_path, reference):
    run_recognition(
        None,
        tmp_path / "run",
        images=data_folder / "texture_shape",
        experiments="cue-conflict",
        n_bootstrap=0,
    )
    table = read_table(tmp_path / "run" / "shape_bias.parquet")
    own = table[table["model"] == "people"].set_index("category")["shape_bias"]
    expected = reference["human_by_shape_category"]
    assert own.round(4).to_dict() == pytest.approx(expected, abs=1e-4)
    rows = Score.load(tmp_path / "run").table
    pooled = rows[(rows["metric"] == "shape_bias") & (rows["subject"] == "people")]
    assert pooled["value"].item() == pytest.approx(reference["human_pooled"], abs=5e-5)


def test_published_consistencies_are_found(scores):
    kappa = scores["cue-conflict", "all", "error_consistency"]
    assert kappa["alexnet", "alexnet"].item() == pytest.approx(0.113173, abs=1e-6)
    assert kappa["resnet50", "resnet50"].item() == pytest.approx(0.067433, abs=1e-6)
    assert kappa["human", "people"].item() == pytest.approx(0.331052, abs=1e-6)


def test_published_directions_hold_for_every_published_network(tables):
    parts = picture_parts(read_table(tables / "trials.parquet"))
    observers = read_table(tables / "observers.parquet")
    table = recognition_directions(parts, observers, Settings(100, 0))
    assert not (table["verdict"] == "reversed").any()
    nearer = table[table["claim"].str.contains("silhouettes than with cue")]
    assert len(nearer) == 5
    assert (nearer["verdict"] == "holds").all()
    biases = table[table["claim"].str.startswith("shape bias of people")]
    assert len(biases) == 9
    assert (biases["verdict"] == "holds").all()
    stylized = table[table["model"] == "resnet50-train-60-epochs"]
    assert stylized["claim"].str.contains("trained on ImageNet").sum() == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_a_few_pictures_are_answered_as_by_the_reference(data_folder, name):
    """One picture in twenty: the counts are frozen, the whole is tested below."""
    stimuli = load_texture_shape(data_folder / "texture_shape").stimuli["cue-conflict"]
    few = stimuli.select(range(0, 320, 20))
    weights = data_folder / "imagenet_backbones" / f"{NETWORKS[name]}.safetensors"
    table = load_sixteen_way(name, weights, device="cpu").decide(few).table
    bias = shape_bias(table["response"], few.table["shape"], few.table["texture"])
    found = (round(16 * bias.fraction_shape), round(16 * bias.fraction_texture))
    assert found == {"squeezenet1_0": (1, 7), "darknet_tiny": (1, 9)}[name]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_networks_beside_people(data_folder, tmp_path):
    backbones = data_folder / "imagenet_backbones"
    out = tmp_path / "run"
    score = run_recognition(
        data_folder / "model_vs_human",
        out,
        images=data_folder / "texture_shape",
        models=[
            f"{name}={name}@{backbones / file}.safetensors"
            for name, file in NETWORKS.items()
        ],
        n_bootstrap=100,
        device="cpu",
    )
    reference = json.loads((backbones / "reference_values.json").read_text())
    trials = read_table(out / "trials.parquet")
    for name, file in NETWORKS.items():
        expected = reference[SHAPE_BIAS][file]
        own = trials[trials["subject"] == name]
        own = own[own["experiment"] == "cue-conflict"]
        bias = shape_bias(own["response"], own["truth"], own["texture"])
        assert round(bias.fraction_shape * bias.n) == expected["shape"]
        assert round(bias.fraction_texture * bias.n) == expected["texture"]
        assert bias.n_conflict == expected["n"]
        assert bias.shape_bias == pytest.approx(expected["shape_bias"], abs=5e-5)
    benchmark = read_table(out / "benchmark.parquet")
    people = benchmark[
        (benchmark["scope"] == "17 experiments") & (benchmark["model"] == "people")
    ].iloc[0]
    # Measured while the data were prepared (model-vs-human, 85 120 trials).
    assert people["error_consistency"] == pytest.approx(0.43121637586, abs=1e-9)
    assert people["observed_consistency"] == pytest.approx(0.808542366947, abs=1e-9)
    assert people["accuracy_difference"] == pytest.approx(0.006565571649, abs=1e-9)
    assert people["ood_accuracy"] == pytest.approx(0.722814688375, abs=1e-9)
    table = score.table
    kappas = table[
        (table["metric"] == "error_consistency") & table["model"].isin(NETWORKS)
    ]
    kappas = kappas[kappas["condition"] == "all"]
    assert set(kappas.loc[kappas["stimuli"] == "cue-conflict (320 of 1280)", "n"]) == {
        320
    }
    same = kappas[kappas["stimuli"] == "cue-conflict (320 of 1280)"]["ceiling_low"]
    assert np.allclose(same, 0.372046, atol=1e-6)
    assert (kappas["value"] < kappas["ceiling_low"]).all()
    assert write_recognition_report(out).stat().st_size > 50_000
