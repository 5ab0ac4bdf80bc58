"""The linear readout against scikit-learn, and what it must not do."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from analysis.linear_readout import PENALTIES, fit_linear_readout
from neurovis.core.rng import generator


def clusters(n=60, n_features=8, n_classes=3, apart=2.0, seed=0):
    rng = generator(seed, "clusters")
    labels = np.arange(n) % n_classes
    means = rng.normal(0, apart, (n_classes, n_features))
    return means[labels] + rng.normal(size=(n, n_features)), labels


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("n_features", [4, 200])
def test_probabilities_equal_those_of_scikit_learn(n_classes, n_features):
    x, y = clusters(n_features=n_features, n_classes=n_classes)
    other, _ = clusters(n=20, n_features=n_features, n_classes=n_classes, seed=1)
    own = fit_linear_readout(x, y, penalties=(10.0,))
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000)
    theirs.fit(scaler.transform(x), y)
    expected = theirs.predict_proba(scaler.transform(other))
    assert np.allclose(own.probabilities(other), expected, atol=2e-4)
    assert own.penalty == 10.0
    assert np.isnan(own.cv_loss)


def test_labels_come_back_as_they_were_given():
    x, y = clusters()
    names = np.array(["cat", "dog", "bird"])[y]
    readout = fit_linear_readout(x, names)
    assert readout.classes == ("bird", "cat", "dog")
    assert (readout.predict(x) == names).mean() > 0.95
    assert readout.penalty in PENALTIES


def test_noise_gets_the_strongest_penalties_and_signal_weak_ones():
    rng = generator(3, "noise")
    noise = fit_linear_readout(rng.normal(size=(60, 30)), np.arange(60) % 2)
    x, y = clusters(apart=3.0)
    signal = fit_linear_readout(x, y)
    assert noise.penalty >= 1e3 > signal.penalty
    assert noise.cv_loss > 0.6
    assert signal.cv_loss < 0.1


def test_groups_are_held_out_together():
    # Each group has its own label and its own feature: nothing carries over.
    rng = generator(4, "groups")
    groups = np.repeat(np.arange(20), 5)
    labels = rng.permutation(np.arange(20) % 2)[groups]
    x = np.eye(20)[groups] + 0.01 * rng.normal(size=(100, 20))
    leaky = fit_linear_readout(x, labels)
    sound = fit_linear_readout(x, labels, groups=groups)
    assert leaky.cv_loss < 0.1
    assert sound.cv_loss > 0.6


def test_constant_features_carry_no_weight():
    x, y = clusters()
    padded = np.column_stack([x, np.full(len(x), 7.3)])
    readout = fit_linear_readout(padded, y)
    assert np.array_equal(readout.weights[:, -1], np.zeros(3))
    plain = fit_linear_readout(x, y)
    assert np.allclose(readout.probabilities(padded), plain.probabilities(x), atol=1e-6)


def test_without_varying_features_the_shares_of_classes_remain():
    readout = fit_linear_readout(np.ones((4, 3)), ["a", "a", "a", "b"])
    assert np.allclose(readout.probabilities(np.ones((1, 3))), [[0.75, 0.25]])


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (np.ones((3, 2)), ["a", "a", "a"], "two classes"),
        (np.ones((3, 2)), ["a", "b"], "labels"),
        (np.array([[np.nan], [1.0]]), ["a", "b"], "features"),
    ],
)
def test_what_cannot_be_learnt_is_refused(features, labels, words):
    with pytest.raises(ValueError, match=words):
        fit_linear_readout(features, labels)
