"""Noise covariance against definitions and known noise."""

import numpy as np
import pytest

from analysis.noise_covariance import estimate_noise_covariance


def smooth_covariance(n, length=5.0):
    distance = abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return 0.5 * np.eye(n) + 0.5 * np.exp(-distance / length)


def simulate(n_stimuli, n_repeats, n_features, seed=0):
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(smooth_covariance(n_features))
    noise = rng.standard_normal((n_stimuli, n_repeats, n_features)) @ root.T
    return noise + 3 * rng.standard_normal((n_stimuli, 1, n_features))


def test_without_shrinkage_it_is_the_pooled_covariance_of_repeats():
    trials = simulate(7, 3, 4)
    residuals = (trials - trials.mean(axis=1, keepdims=True)).reshape(-1, 4)
    found = estimate_noise_covariance(trials, shrinkage=0)
    np.testing.assert_allclose(found.covariance, residuals.T @ residuals / 14)
    assert (found.shrinkage, found.n_contrasts) == (0, 14)


def test_unequal_numbers_of_repeats_are_pooled_by_degrees_of_freedom():
    trials = simulate(6, 4, 3)
    trials[0, 1:] = np.nan  # a single repeat tells nothing
    trials[1, 2:] = np.nan
    trials[2, 0] = np.nan
    squares = np.zeros((3, 3))
    for stimulus in trials:
        rows = stimulus[~np.isnan(stimulus[:, 0])]
        centred = rows - rows.mean(axis=0)
        squares += centred.T @ centred
    found = estimate_noise_covariance(trials, shrinkage=0)
    np.testing.assert_allclose(found.covariance, squares / (0 + 1 + 2 + 3 * 3))


def test_what_stimuli_evoke_does_not_matter():
    trials = simulate(20, 3, 5)
    moved = trials + np.random.default_rng(1).standard_normal((20, 1, 5)) * 100
    first, second = (estimate_noise_covariance(t).covariance for t in (trials, moved))
    np.testing.assert_allclose(first, second, atol=1e-10)


def test_automatic_shrinkage_is_its_definition_pair_by_pair():
    trials = simulate(9, 2, 6, seed=3)
    z = (trials[:, 0] - trials[:, 1]) / np.sqrt(2)
    z = z / np.sqrt((z**2).mean(axis=0))
    errors = squares = 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                products = z[:, i] * z[:, j]
                errors += products.var(ddof=1) / len(z)
                squares += products.mean() ** 2
    found = estimate_noise_covariance(trials)
    assert found.shrinkage == pytest.approx(errors / squares)
    assert 0 < found.shrinkage < 1


def test_full_shrinkage_leaves_variances_alone():
    trials = simulate(9, 2, 4)
    variances = ((trials[:, 0] - trials[:, 1]) ** 2).mean(axis=0) / 2
    found = estimate_noise_covariance(trials, shrinkage=1)
    np.testing.assert_allclose(found.covariance, np.diag(variances))


def test_shrinkage_comes_nearer_to_the_truth_and_can_be_inverted():
    truth, trials = smooth_covariance(60), simulate(15, 2, 60, seed=4)
    plain, shrunk = (
        estimate_noise_covariance(trials, shrinkage=s).covariance for s in (0, "auto")
    )
    assert np.linalg.norm(shrunk - truth) < 0.7 * np.linalg.norm(plain - truth)
    assert np.linalg.matrix_rank(plain) == 15
    assert np.linalg.eigvalsh(shrunk)[0] > 0.05


def test_much_data_is_hardly_shrunk_and_recovers_the_truth():
    found = estimate_noise_covariance(simulate(3000, 3, 20))
    assert found.shrinkage < 0.01
    np.testing.assert_allclose(found.covariance, smooth_covariance(20), atol=0.06)


def test_independent_noise_is_shrunk_away():
    trials = np.random.default_rng(5).standard_normal((30, 2, 40))
    assert estimate_noise_covariance(trials).shrinkage > 0.9


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (np.zeros((3, 4)), r"\(n_stimuli, n_repeats, n_features\)"),
        (np.zeros((3, 1, 4)), "at least one stimulus with two repeats"),
        (np.where(np.arange(24).reshape(2, 3, 4) == 7, np.nan, 1.0), "1 values"),
    ],
)
def test_impossible_trials_are_refused(trials, message):
    with pytest.raises(ValueError, match=message):
        estimate_noise_covariance(trials)


@pytest.mark.parametrize(
    ("shrinkage", "message"), [(1.5, "within"), ("best", "'auto'")]
)
def test_impossible_shrinkage_is_refused(shrinkage, message):
    with pytest.raises(ValueError, match=message):
        estimate_noise_covariance(simulate(3, 2, 2), shrinkage=shrinkage)
