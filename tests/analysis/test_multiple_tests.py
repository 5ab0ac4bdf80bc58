"""Corrections for many tests against statsmodels, SciPy and enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as oracle
from statsmodels.stats.multitest import multipletests

from analysis.multiple_tests import (
    fdr_adjusted,
    holm_adjusted,
    max_statistic_p,
    permutation_p,
    sign_flip_test,
)

P_VALUES = arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1))
METHODS = {"benjamini-hochberg": "fdr_bh", "benjamini-yekutieli": "fdr_by"}


def rng(seed=0):
    return np.random.default_rng(seed)


# ---------------------------------------------------------------------------- FDR


@pytest.mark.parametrize("method", METHODS)
@given(p=P_VALUES)
def test_adjusted_p_values_are_those_of_statsmodels_and_scipy(method, p):
    found = fdr_adjusted(p, method=method)
    expected = multipletests(p, method=METHODS[method])[1]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)
    short = METHODS[method].removeprefix("fdr_")
    other = oracle.false_discovery_control(p, method=short)
    np.testing.assert_allclose(found, other, rtol=1e-12, atol=1e-300)


@given(P_VALUES)
def test_adjusted_p_values_are_larger_and_keep_the_order(p):
    found = fdr_adjusted(p)
    assert (found >= p - 1e-15).all()
    assert (np.diff(found[p.argsort()]) >= 0).all()
    assert (fdr_adjusted(p, method="benjamini-yekutieli") >= found - 1e-15).all()


def test_undefined_tests_are_not_counted():
    p = np.array([[0.01, np.nan], [0.04, 0.03]])
    found = fdr_adjusted(p)
    np.testing.assert_allclose(found, [[0.03, np.nan], [0.04, 0.04]])
    assert np.isnan(fdr_adjusted([np.nan, np.nan])).all()
    assert fdr_adjusted([]).shape == (0,)


def test_the_rate_of_false_discoveries_is_kept():
    draws, rates = rng(1), []
    for _ in range(300):
        z = draws.standard_normal(200)
        z[:40] += 3
        found = fdr_adjusted(2 * oracle.norm.sf(abs(z))) <= 0.1
        rates.append(found[40:].sum() / max(found.sum(), 1))
    assert np.mean(rates) == pytest.approx(0.08, abs=0.015)  # 0.1 times 160 / 200


def test_impossible_p_values_are_refused():
    with pytest.raises(ValueError, match=r"within 0..1; got -0.1 to 0.5"):
        fdr_adjusted([-0.1, 0.5])
    with pytest.raises(ValueError, match="Did you mean 'benjamini-hochberg'"):
        fdr_adjusted([0.1], method="benjamini")


# -------------------------------------------------------------------- permutations


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_permutation_p_counts_arrangements(alternative):
    null = rng().standard_normal((500, 4))
    observed = null[0]
    turn = {"two-sided": abs, "greater": lambda x: x, "less": lambda x: -x}[alternative]
    expected = [(turn(null[:, k]) >= turn(observed[k])).mean() for k in range(4)]
    found = permutation_p(observed, null, alternative=alternative)
    assert found.tolist() == expected
    largest = turn(null).max(axis=1)
    expected = [(largest >= turn(observed[k])).mean() for k in range(4)]
    assert max_statistic_p(observed, null, alternative=alternative).tolist() == expected


def test_an_undefined_statistic_is_never_the_largest():
    null = rng().standard_normal((100, 3))
    null[:, 1] = np.nan
    found = max_statistic_p(null[0], null)
    expected = max_statistic_p(null[0, [0, 2]], null[:, [0, 2]])
    assert np.isnan(found[1])
    np.testing.assert_array_equal(found[[0, 2]], expected)
    assert np.isnan(permutation_p(null[0], null)[1])


def test_a_null_of_other_tests_is_refused():
    with pytest.raises(ValueError, match="`null` must have shape"):
        permutation_p([1.0], np.zeros((5, 2)))
    with pytest.raises(ValueError, match="`null` is empty"):
        max_statistic_p([1.0], np.zeros((0, 1)))


# ---------------------------------------------------------------------- sign flips


def plain_flips(values):
    signs = np.array(list(itertools.product([1, -1], repeat=len(values))))
    flipped = signs[:, :, None] * values
    means = flipped.mean(axis=1)
    with np.errstate(divide="ignore"):
        return means, means / (flipped.std(axis=1, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("statistic", ["t", "mean"])
def test_all_signs_are_those_of_enumeration(statistic, alternative):
    values = rng(2).standard_normal((7, 5)) * [1, 1, 5, 1, 1] + 0.4
    turn = {"two-sided": abs, "greater": lambda x: x, "less": lambda x: -x}[alternative]
    means, t = plain_flips(values)
    compared = turn(t if statistic == "t" else means)
    found = sign_flip_test(
        values, statistic=statistic, alternative=alternative, rng=rng()
    )
    assert (found.exact, found.n_permutations) == (True, 128)
    observed = t[0] if statistic == "t" else means[0]
    np.testing.assert_allclose(found.statistic, observed, rtol=1e-10)
    slack = 1e-9 * compared[0]
    alone = (compared >= compared[0] - abs(slack)).mean(axis=0)
    np.testing.assert_allclose(found.p_value, alone)
    largest = compared.max(axis=1)[:, None]
    family = (largest >= compared[0] - abs(slack)).mean(axis=0)
    np.testing.assert_allclose(found.p_family, family)


def test_one_test_is_that_of_scipy():
    values = rng(3).standard_normal(9) + 0.5
    expected = oracle.permutation_test(
        (values,), lambda x, axis: x.mean(axis), permutation_type="samples"
    )
    found = sign_flip_test(values, rng=rng())
    assert found.p_value[0] == pytest.approx(expected.pvalue)
    assert found.p_family[0] == found.p_value[0]
    t = oracle.ttest_1samp(values, 0).statistic
    assert found.statistic[0] == pytest.approx(t)


def test_random_signs_come_near_to_all_signs():
    values = rng(4).standard_normal((12, 6)) + 0.3
    exact = sign_flip_test(values, rng=rng())
    drawn = sign_flip_test(values, n_permutations=4000, rng=rng(1))
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.n_permutations == 4000
    np.testing.assert_allclose(drawn.p_value, exact.p_value, atol=0.03)
    np.testing.assert_allclose(drawn.p_family, exact.p_family, atol=0.03)


def test_random_signs_contain_the_data():
    values = np.full((40, 1), 1.0) + 0.1 * rng().standard_normal((40, 1))
    assert sign_flip_test(values, n_permutations=100, rng=rng()).p_value[0] == 0.01


def test_blocks_of_signs_do_not_change_the_result():
    values = rng(5).standard_normal((9, 20_000)) + 0.2
    found = sign_flip_test(values, rng=rng())  # 512 arrangements in several blocks
    expected = sign_flip_test(values[:, :10], rng=rng())
    np.testing.assert_array_equal(found.p_value[:10], expected.p_value)
    assert (found.p_family >= found.p_value).all()


def test_the_family_wise_error_is_kept_for_tests_that_go_together():
    draws, hits = rng(6), []
    for _ in range(200):
        common = draws.standard_normal((10, 1))
        values = draws.standard_normal((10, 15)) + common
        found = sign_flip_test(values, n_permutations=1024, rng=draws)
        hits.append(found.p_family.min() <= 0.1)
    assert 0.05 < np.mean(hits) < 0.16


def test_undefined_tests_are_nan_and_do_not_disturb_others():
    values = rng(7).standard_normal((6, 4))
    values[2, 1] = np.nan
    values[:, 3] = 0
    found = sign_flip_test(values, rng=rng())
    expected = sign_flip_test(values[:, [0, 2]], rng=rng())
    assert np.isnan(found.p_value).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(found.p_family[[0, 2]], expected.p_family)


def test_equal_differences_are_infinitely_far_from_zero():
    found = sign_flip_test(np.full((5, 1), 0.1), rng=rng())
    assert np.isposinf(found.statistic[0])
    assert found.p_value[0] == found.p_family[0] == 2 / 32


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="at least two subjects"):
        sign_flip_test([[1.0, 2.0]], rng=rng())
    with pytest.raises(ValueError, match="`alternative` must be one of"):
        sign_flip_test([1.0, 2.0], alternative="larger", rng=rng())
    with pytest.raises(ValueError, match="`statistic` must be one of"):
        sign_flip_test([1.0, 2.0], statistic="median", rng=rng())


@pytest.mark.parametrize("n", [1, 2, 6])
def test_holm_is_that_of_statsmodels(n):
    p = np.random.default_rng(n).random(n) ** 2
    expected = multipletests(p, method="holm")[1]
    np.testing.assert_allclose(holm_adjusted(p), expected)
    with_gap = holm_adjusted([*p, np.nan])
    np.testing.assert_allclose(with_gap, [*expected, np.nan])
