"""The inverse error covariance against a dense one, and the covariance itself."""

import numpy as np
import pytest

from analysis.rdm_whitening import solve_whitening
from analysis.rdms import make_crossnobis_rdm


def dense_covariance(n, noise):
    i, j = np.triu_indices(n, 1)
    contrasts = np.zeros((len(i), n))
    contrasts[np.arange(len(i)), i] = 1
    contrasts[np.arange(len(i)), j] = -1
    return (contrasts @ noise @ contrasts.T) ** 2


def random_noise(n, seed=0):
    root = np.random.default_rng(seed).standard_normal((n, n + 2))
    return root @ root.T


@pytest.mark.parametrize("n", [2, 3, 4, 9])
@pytest.mark.parametrize("kind", ["equal", "variances", "full"])
def test_solution_is_that_of_the_dense_covariance(n, kind):
    noise = random_noise(n)
    given_noise = {"equal": None, "variances": noise.diagonal(), "full": noise}[kind]
    whole = np.eye(n) if kind == "equal" else noise
    whole = np.diag(noise.diagonal()) if kind == "variances" else whole
    rows = np.random.default_rng(1).standard_normal((3, n * (n - 1) // 2))
    expected = np.linalg.solve(dense_covariance(n, whole), rows.T).T
    found = solve_whitening(rows, np.triu_indices(n, 1), given_noise)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_missing_pairs_leave_rows_and_columns_of_the_covariance_out(seed):
    n, rng = 8, np.random.default_rng(seed)
    i, j = np.triu_indices(n, 1)
    used = rng.random(len(i)) < 0.6
    rows = rng.standard_normal((2, used.sum()))
    covariance = dense_covariance(n, np.eye(n))[np.ix_(used, used)]
    expected = np.linalg.solve(covariance, rows.T).T
    found = solve_whitening(rows, (i[used], j[used]))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_distances_without_signal_have_this_covariance():
    n, n_features, n_draws = 5, 20, 4000
    noise = np.diag([1.0, 2.0, 1.0, 0.5, 1.0]) + 0.3
    root = np.linalg.cholesky(noise)
    rng = np.random.default_rng(0)
    trials = rng.standard_normal((n_draws, 2, n, n_features))
    trials = np.einsum("ij,dpjf->dipf", root, trials)
    rdms = np.stack([make_crossnobis_rdm(t) for t in trials])
    # The mean over features of products of two independent partitions.
    expected = dense_covariance(n, noise) / n_features
    errors = np.cov(rdms.T) - expected
    assert abs(errors).max() < 0.07 * expected.max()
    assert abs(rdms.mean(axis=0)).max() < 0.04


def test_noise_that_does_not_tell_stimuli_apart_is_refused():
    noise = random_noise(4)
    noise[:, 1] = noise[:, 0]
    noise[1] = noise[0]
    with pytest.raises(ValueError, match="not positive definite"):
        solve_whitening(np.ones((1, 6)), np.triu_indices(4, 1), noise)


def test_noise_with_missing_pairs_is_refused():
    i, j = np.triu_indices(4, 1)
    with pytest.raises(ValueError, match="needs all pairs of stimuli, 6 for 4"):
        solve_whitening(np.ones((1, 5)), (i[1:], j[1:]), np.eye(4))


def test_noise_of_other_stimuli_is_refused():
    with pytest.raises(ValueError, match=r"must have shape \(4, 4\)"):
        solve_whitening(np.ones((1, 6)), np.triu_indices(4, 1), np.eye(5))
