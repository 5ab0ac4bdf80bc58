"""Intervals and tests against scipy, enumeration and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as oracle

from analysis.stats import (
    bootstrap,
    bootstrap_ci,
    jackknife_pearson_ci,
    pearson_p,
    pearson_r,
    percentile_interval,
    permutation_test,
    spearman_r,
    wilson_interval,
)

PAIRS = arrays(np.float64, (2, 8), elements=st.integers(-50, 50).map(float))


def _rng(seed=0):
    return np.random.default_rng(seed)


@given(PAIRS)
def test_correlations_match_scipy(pairs):
    x, y = pairs
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(pearson_r(x, y))
        assert np.isnan(spearman_r(x, y))
        return
    pearson = oracle.pearsonr(x, y)
    assert pearson_r(x, y) == pytest.approx(pearson.statistic, abs=1e-12)
    assert spearman_r(x, y) == pytest.approx(
        oracle.spearmanr(x, y).statistic, abs=1e-12
    )
    if abs(pearson.statistic) < 0.999999:
        assert pearson_p(float(pearson.statistic), 8) == pytest.approx(
            pearson.pvalue, rel=1e-6
        )


@given(PAIRS, st.floats(0.01, 100), st.floats(-1000, 1000))
def test_pearson_ignores_scale_and_shift(pairs, scale, shift):
    x, y = pairs
    changed, r = pearson_r(x, y * scale + shift), pearson_r(x, y)
    np.testing.assert_allclose(changed, r, atol=1e-7)


def test_correlation_with_rounding_noise_is_undefined():
    noise = 628.63 + np.array([0, 1, 0, -1]) * 1e-13
    assert np.isnan(pearson_r([1, 2, 3, 4], noise))


def test_correlation_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="must be pairs"):
        pearson_r([1, 2, 3], [1, 2])


def test_correlation_of_a_perfect_line_has_p_zero_and_of_two_points_none():
    assert pearson_p(1.0, 12) == 0
    assert np.isnan(pearson_p(0.5, 2))
    assert np.isnan(pearson_p(np.nan, 12))


def test_percentile_interval_leaves_few_undefined_draws_out():
    draws = np.arange(1000.0)
    low, high = percentile_interval(draws)
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]))
    draws[::50] = np.nan
    low, high = percentile_interval(draws)
    assert (low, high) == pytest.approx(np.nanquantile(draws, [0.025, 0.975]))


def test_percentile_interval_with_many_undefined_draws_is_undefined():
    draws = np.arange(2000.0).reshape(2, 1000)
    draws[1, :60] = np.nan
    low, high = percentile_interval(draws)
    assert np.isfinite(low[0])
    assert np.isnan([low[1], high[1]]).all()


def test_percentile_interval_refuses_an_impossible_level():
    with pytest.raises(ValueError, match="level"):
        percentile_interval([1.0, 2.0], level=95)


def test_bootstrap_error_matches_theory():
    values = _rng(1).normal(size=200)
    draws = bootstrap(values, n_bootstrap=20_000, rng=_rng())
    assert draws.mean() == pytest.approx(values.mean(), abs=3e-3)
    assert draws.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.02)


def test_bootstrap_agrees_with_scipy():
    values = _rng(2).exponential(size=40)
    low, high = bootstrap_ci(values, np.median, n_bootstrap=20_000, rng=_rng())
    reference = oracle.bootstrap(
        (values,), np.median, n_resamples=20_000, method="percentile", rng=_rng(5)
    ).confidence_interval
    assert low == pytest.approx(reference.low, abs=0.02)
    assert high == pytest.approx(reference.high, abs=0.02)


def test_bootstrap_resamples_rows_together():
    rows = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    draws = bootstrap(rows, n_bootstrap=50, rng=_rng())
    np.testing.assert_allclose(draws[:, 1], 10 * draws[:, 0])


def test_bootstrap_of_one_unit_is_undefined():
    assert np.isnan(bootstrap([4.0], n_bootstrap=5, rng=_rng())).all()
    assert np.isnan(bootstrap_ci([4.0], rng=_rng())).all()


@pytest.mark.parametrize(
    ("values", "match"), [([], "empty"), ([1.0, np.nan], "not finite")]
)
def test_bootstrap_refuses_what_it_cannot_resample(values, match):
    with pytest.raises(ValueError, match=match):
        bootstrap(values, rng=_rng())


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says():
    rng = _rng(3)
    covered = 0
    for _ in range(400):
        low, high = bootstrap_ci(rng.normal(size=30), n_bootstrap=400, rng=rng)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 400 <= 0.98


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(1, 40))
def test_wilson_interval_matches_scipy(successes, extra):
    n = successes + extra
    low, high = wilson_interval([successes, n], [n, n], level=0.9)
    for i, k in enumerate((successes, n)):
        reference = oracle.binomtest(k, n).proportion_ci(0.9, method="wilson")
        assert low[i] == pytest.approx(reference.low, abs=1e-12)
        assert high[i] == pytest.approx(reference.high, abs=1e-12)


def test_wilson_interval_without_trials_is_undefined():
    assert np.isnan(wilson_interval(0, 0)).all()
    with pytest.raises(ValueError, match="within 0 and `n_trials`"):
        wilson_interval(3, 2)


def test_exact_permutation_p_is_that_of_enumeration():
    x, y = _rng(4).normal(size=(2, 6))
    result = permutation_test(x, y, rng=_rng())
    observed = abs(np.corrcoef(x, y)[0, 1])
    values = [
        abs(np.corrcoef(x, y[list(order)])[0, 1])
        for order in itertools.permutations(range(6))
    ]
    assert result.exact
    assert result.n_permutations == 720
    assert result.p_value == np.mean(np.array(values) >= observed - 1e-12)


def test_exact_permutation_within_pairs_is_that_of_enumeration():
    x, y = _rng(5).normal(size=(2, 12))
    groups = np.repeat(np.arange(6), 2)
    result = permutation_test(x, y, groups=groups, rng=_rng())
    values = []
    for swaps in itertools.product([False, True], repeat=6):
        order = np.arange(12).reshape(6, 2)
        order[list(swaps)] = order[list(swaps), ::-1]
        values.append(abs(np.corrcoef(x, y[order.ravel()])[0, 1]))
    observed = abs(np.corrcoef(x, y)[0, 1])
    assert result.n_permutations == 64
    assert result.p_value == np.mean(np.array(values) >= observed - 1e-12)


def test_units_move_together_and_in_order():
    seen = []

    def record(x, ys):
        seen.append(ys)
        return pearson_r(x, ys)

    y = np.arange(4.0)
    permutation_test(y, y, record, units=["b", "b", "a", "a"], rng=_rng())
    arrangements = {tuple(row) for row in seen[-1]}
    assert arrangements == {(0.0, 1.0, 2.0, 3.0), (2.0, 3.0, 0.0, 1.0)}


def test_random_permutations_agree_with_scipy():
    x = _rng(6).normal(size=12)
    y = 0.6 * x + _rng(7).normal(size=12)
    result = permutation_test(x, y, rng=_rng())
    reference = oracle.permutation_test(
        (y,),
        lambda permuted, axis: pearson_r(x, permuted),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=9_999,
        rng=_rng(8),
    )
    assert not result.exact
    assert result.n_permutations == 10_000
    assert result.p_value == pytest.approx(reference.pvalue, abs=0.015)


def test_permutation_p_is_uniform_without_a_relation():
    rng = _rng(9)
    groups = np.repeat(np.arange(6), 2)
    p = [
        permutation_test(*rng.normal(size=(2, 12)), groups=groups, rng=rng).p_value
        for _ in range(300)
    ]
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)
    assert 0.02 <= np.mean(np.array(p) <= 0.05 + 1e-9) <= 0.09


def test_permutation_of_a_constant_is_undefined():
    result = permutation_test([1.0, 2.0], [3.0, 3.0], rng=_rng())
    assert np.isnan([result.statistic, result.p_value]).all()


def test_units_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="only units of one length"):
        permutation_test([1, 2, 3], [1, 2, 4], units=[0, 0, 1], rng=_rng())


@pytest.mark.parametrize(("rho", "shared"), [(0.0, 0.0), (0.5, 0.6)])
def test_jackknife_interval_covers_with_paired_conditions(rho, shared):
    rng = _rng(10)
    clusters = np.repeat(np.arange(6), 2)
    mix = np.linalg.cholesky([[1, rho], [rho, 1]]).T
    covered = 0
    for _ in range(500):
        common = np.repeat(rng.normal(size=(6, 2)), 2, axis=0)
        single = rng.normal(size=(12, 2))
        pairs = (np.sqrt(shared) * common + np.sqrt(1 - shared) * single) @ mix
        low, high = jackknife_pearson_ci(*pairs.T, clusters)
        covered += low <= rho <= high
    assert 0.91 <= covered / 500 <= 0.99


def test_jackknife_interval_matches_a_loop():
    x, y = _rng(11).normal(size=(2, 12))
    clusters = np.tile(list("abcdef"), 2)
    z = []
    for k in "abcdef":
        keep = [i for i in range(12) if clusters[i] != k]
        z.append(np.arctanh(np.corrcoef(x[keep], y[keep])[0, 1]))
    error = np.sqrt(5 / 6 * sum((v - np.mean(z)) ** 2 for v in z))
    half = oracle.t.ppf(0.975, 5) * error
    centre = np.arctanh(np.corrcoef(x, y)[0, 1])
    expected = np.tanh([centre - half, centre + half])
    np.testing.assert_allclose(jackknife_pearson_ci(x, y, clusters), expected)


@pytest.mark.parametrize(
    ("y", "clusters"),
    [([1, 2, 3, 5], [0, 0, 1, 1]), ([1, 1, 1, 1], [0, 1, 2, 3])],
)
def test_jackknife_interval_is_undefined_without_variation(y, clusters):
    assert np.isnan(jackknife_pearson_ci([1, 2, 3, 4], y, clusters)).all()


def test_an_interval_of_no_draws_is_undefined():
    low, high = percentile_interval(np.zeros((3, 0)))
    assert low.shape == high.shape == (3,)
    assert np.isnan([low, high]).all()
