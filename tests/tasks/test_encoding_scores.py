"""Scores of units and regions against brute force."""

import numpy as np
import pytest
from scipy import stats

from tasks.encoding_scores import score_units

DRAWS = {"n_permutations": 60, "n_bootstrap": 50, "seed": 3}


def make_pair(n=30, n_units=4, seed=0):
    rng = np.random.default_rng(seed)
    measured = rng.standard_normal((n, n_units)) + 5
    predicted = 0.5 * measured + rng.standard_normal((n, n_units)) * [0.1, 1, 5, 50]
    return measured.astype(np.float32), predicted.astype(np.float32)


def brute(measured, predicted):
    r = [stats.pearsonr(a, b)[0] for a, b in zip(measured.T, predicted.T, strict=True)]
    rest = ((measured - predicted) ** 2).sum(0)
    return np.array(r), 1 - rest / ((measured - measured.mean(0)) ** 2).sum(0)


def test_scores_are_averages_over_groups():
    y, p = make_pair()
    groups = [np.arange(12), np.arange(12, 30)]
    found = score_units(y, p, groups, **DRAWS)
    both = [brute(y[g].astype(float), p[g].astype(float)) for g in groups]
    np.testing.assert_allclose(found.r, np.mean([b[0] for b in both], 0), atol=1e-9)
    np.testing.assert_allclose(found.r2, np.mean([b[1] for b in both], 0), atol=1e-9)


def test_samples_score_as_repeated_rows_would():
    y, p = make_pair()
    n = len(y)
    found = score_units(y, p, [np.arange(n)], **DRAWS)
    # The same counts, laid out as rows.
    from tasks.encoding_scores import _counts

    counts = _counts(3, 0, n, 50).astype(int)
    assert (counts.sum(axis=1) == n).all()
    for i in (0, 17, 49):
        rows = np.repeat(np.arange(n), counts[i])
        r, r2 = brute(y[rows].astype(float), p[rows].astype(float))
        np.testing.assert_allclose(found.drawn_r[i], r, atol=1e-5)
        np.testing.assert_allclose(found.drawn_r2[i], r2, rtol=1e-4)


def test_p_values_count_permutations_of_pictures():
    y, p = make_pair()
    n = len(y)
    found = score_units(y, p, [np.arange(n)], **DRAWS)
    from tasks.encoding_scores import _orders

    orders = _orders(3, 0, n, 60)
    null = np.array([brute(y[o].astype(float), p.astype(float))[0] for o in orders])
    np.testing.assert_allclose(found.permuted_r, null, atol=1e-5)
    expected = (1 + (null >= found.r).sum(0)) / 61
    np.testing.assert_allclose(found.p, expected)
    assert found.p[0] == pytest.approx(1 / 61)


def test_p_values_of_nothing_are_even_and_draws_do_not_depend_on_units():
    rng = np.random.default_rng(1)
    y, p = rng.standard_normal((2, 40, 300))
    found = score_units(y, p, [np.arange(40)], n_permutations=99, n_bootstrap=5)
    assert stats.kstest(found.p, "uniform").pvalue > 0.01
    few = score_units(
        y[:, 7:9], p[:, 7:9], [np.arange(40)], n_permutations=99, n_bootstrap=5
    )
    np.testing.assert_array_equal(few.permuted_r, found.permuted_r[:, 7:9])
    np.testing.assert_allclose(few.drawn_r, found.drawn_r[:, 7:9], atol=1e-6)


def test_limits_cover_the_truth_as_often_as_they_say():
    rho, hits = 0.6, 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        y = rng.standard_normal((80, 1))
        p = rho * y + np.sqrt(1 - rho**2) * rng.standard_normal((80, 1))
        found = score_units(
            y, p, [np.arange(80)], n_permutations=0, n_bootstrap=200, seed=seed
        )
        low, high = np.quantile(found.drawn_r, [0.025, 0.975])
        hits += low <= rho <= high
    assert 0.88 < hits / 150 < 0.99


def test_what_is_constant_is_undefined_and_nothing_else():
    y, p = make_pair()
    p[:, 0], y[:, 1], y[4, 2] = 3.0, 7.0, np.nan
    found = score_units(y, p, [np.arange(30)], **DRAWS)
    assert np.isnan(found.r).tolist() == [True, True, True, False]
    assert np.isnan(found.p).tolist() == [True, True, True, False]
    assert np.isnan(found.r2).tolist() == [False, True, True, False]
    assert np.isnan(found.permuted_r[:, :3]).all()
    assert np.isnan(found.drawn_r[:, :3]).all()
    assert np.isfinite(found.drawn_r[:, 3]).all()
    none = score_units(y, p, [np.arange(30)], n_permutations=0, n_bootstrap=5)
    assert none.permuted_r.shape == (0, 4)
    assert np.isnan(none.p).all()
