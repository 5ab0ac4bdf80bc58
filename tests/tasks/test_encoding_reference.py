"""Reference values of two small data sets, by public functions."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.metrics import pearson_r
from neurovis.core.files import read_json
from neurovis.fitting.ridge import RidgeCV
from tasks.brain_sources import load_brain, split_rows
from tasks.encoding import fit_encoding
from tasks.encoding_run import load_encoding
from tasks.feature_specs import load_features, parse_features

ALPHAS = (1e2, 1e3, 1e4, 1e5)
REGIONS = ("EVC", "OPA", "PPA", "LOC", "PFS", "OFA", "FFA")


@pytest.fixture(scope="module")
def objects(data_folder):
    folder = data_folder / "objects_fmri"
    reference = read_json(folder / "reference_values.json")["values"]
    (brain,) = load_brain(f"objects-fmri:{folder}")
    return brain, reference


@pytest.mark.parametrize("name", ["alexnet_pcs", "word2vec_pcs"])
def test_objects_are_predicted_as_their_recipe_says(objects, name):
    # The recipe standardises features over all 65 rows, left-out ones included.
    brain, reference = objects
    X = brain.features[name].astype(float)
    X = (X - X.mean(0)) / X.std(0)
    Y = brain.responses.betas.astype(float)
    predicted = np.empty_like(Y)
    for split in split_rows(brain.responses, "leave-one-out"):
        ridge = RidgeCV([10.0], cv=2, device="cpu")
        ridge.fit(X[split.train], Y[split.train])
        predicted[split.test] = ridge.predict(X[split.test])
    r = pearson_r(Y, predicted)
    for region in REGIONS:
        found = r[brain.responses.in_region(region)].mean()
        assert found == pytest.approx(reference[name][region], abs=5.1e-5), region


def test_objects_without_leaks_differ_in_the_third_digit(objects, tmp_path):
    # Here means and standard deviations are those of the other 64 rows.
    brain, reference = objects
    names = ["alexnet_pcs", "word2vec_pcs"]
    fit_encoding(
        [brain],
        [f"given:{name}" for name in names],
        tmp_path,
        alphas=[10.0],
        n_permutations=9,
        n_bootstrap=9,
        keep_models=False,
        device="cpu",
    )
    means = load_encoding(tmp_path).units.groupby(["model", "region"])["r"].mean()
    gaps = [
        abs(means[name, region] - reference[name][region])
        for name in names
        for region in REGIONS
    ]
    assert 2e-5 < max(gaps) < 2e-3


def reproduce(data_folder, recording, n_pictures=None):
    """The recipe: one penalty for all neurons, from the last fifth of training rows."""
    weights = (
        data_folder / "imagenet_backbones" / "squeezenet1_0_deepcompressed.safetensors"
    )
    (brain,) = load_brain(
        f"v4-images:{data_folder / 'v4_images'}", subjects=[recording]
    )
    if n_pictures is not None:
        few = brain.responses.select_stimuli(np.arange(n_pictures))
        brain = replace(brain, responses=few)
    spec = parse_features(f"squeezenet1_0@{weights}:fire5:grid3", resize="squash")
    X = load_features(spec, brain)["fire5:grid3"]
    (split,) = split_rows(brain.responses, "every-5")
    Y = brain.responses.betas
    n_train = len(split.train)
    held = np.arange(int(0.8 * n_train), n_train)
    ridge = RidgeCV(
        ALPHAS,
        cv=[held],
        scoring="correlation",
        selection="shared",
        standardize=True,
        device="cpu",
    ).fit(X[split.train], Y[split.train])
    r = pearson_r(Y[split.test], ridge.predict(X[split.test]))
    return ridge, r


def test_v4_is_predicted_by_few_pictures_as_it_was_before(data_folder):
    # Numbers of our own, from the first 60 of 640 pictures.
    ridge, r = reproduce(data_folder, "210325", 60)
    assert set(ridge.alphas_) == {1e4}
    found = [r.mean(), np.median(r)]
    assert found == pytest.approx([0.34821, 0.37813], abs=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("recording", ["210325", "190923", "201025", "210621"])
def test_v4_is_predicted_as_its_recipe_says(data_folder, recording):
    path = data_folder / "v4_images" / "reference_values.json"
    reference = read_json(path)["values"][recording]
    ridge, r = reproduce(data_folder, recording)
    assert set(ridge.alphas_) == {reference["best_lambda"]}
    assert r.mean() == pytest.approx(reference["encoding_mean_r"], abs=6e-5)
    assert np.median(r) == pytest.approx(reference["encoding_median_r"], abs=6e-5)
