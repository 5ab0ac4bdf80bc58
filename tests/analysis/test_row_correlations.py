"""Correlations of all rows with all rows against SciPy, loops and enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as oracle

from analysis import stats
from analysis.row_correlations import (
    correlate_rows,
    midranks,
    rank_codes,
    unit_rows,
)

MEASURES = ("pearson", "spearman", "kendall_tau_a", "rho_a", "cosine")


@st.composite
def stacks(draw, most=12, largest=5):
    """Two stacks of rows with many ties."""
    n = draw(st.integers(2, most))
    values = st.integers(-largest, largest).map(float)
    sizes = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return tuple(draw(arrays(np.float64, (k, n), elements=values)) for k in sizes)


def plain_tau_a(x, y):
    n = len(x)
    signs = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    return signs.sum() / (n * (n - 1))


@given(stacks())
def test_pearson_and_spearman_are_those_of_pairs_of_rows(pair):
    x, y = pair
    for measure, one in (("pearson", stats.pearson_r), ("spearman", stats.spearman_r)):
        expected = one(x[:, None], y[None])
        found = correlate_rows(x, y, measure)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@given(stacks())
def test_kendall_counts_pairs_of_values_exactly(pair):
    x, y = pair
    expected = [[plain_tau_a(a, b) for b in y] for a in x]
    assert correlate_rows(x, y, "kendall_tau_a").tolist() == expected


@pytest.mark.parametrize("n", [31, 32, 33, 64, 65, 100, 129, 1500])
@pytest.mark.parametrize("n_values", [2, 7, 10**9])
def test_kendall_is_exact_for_every_length_and_number_of_ties(n, n_values):
    rng = np.random.default_rng(n)
    x, y = rng.integers(0, n_values, (2, 2, n)).astype(float)
    expected = [[plain_tau_a(a, b) for b in y] for a in x]
    assert correlate_rows(x, y, "kendall_tau_a").tolist() == expected


def test_kendall_without_ties_is_that_of_scipy():
    x, y = np.random.default_rng(0).standard_normal((2, 500))
    expected = oracle.kendalltau(x, y).statistic
    assert correlate_rows(x, y, "kendall_tau_a")[0, 0] == pytest.approx(expected)


@given(stacks(most=6, largest=1))
@settings(max_examples=30)
def test_rho_a_is_the_mean_over_all_ways_to_break_ties(pair):
    x, y = pair[0][0], pair[1][0]

    def broken(values):
        orders = itertools.permutations(range(len(values)))
        ranks = [np.argsort(np.lexsort((order, values))) for order in orders]
        return np.array(ranks, float)

    expected = stats.pearson_r(broken(x)[:, None], broken(y)[None]).mean()
    assert correlate_rows(x, y, "rho_a")[0, 0] == pytest.approx(expected, abs=1e-12)


@given(stacks())
def test_cosine_is_its_definition(pair):
    x, y = pair
    found = correlate_rows(x, y, "cosine")
    for i, j in np.ndindex(found.shape):
        length = np.linalg.norm(x[i]) * np.linalg.norm(y[j])
        if length == 0:
            assert np.isnan(found[i, j])
        else:
            assert found[i, j] == pytest.approx(x[i] @ y[j] / length, abs=1e-12)


@given(stacks(), st.randoms(use_true_random=False))
def test_the_order_of_values_does_not_matter(pair, random):
    x, y = pair
    order = list(range(x.shape[1]))
    random.shuffle(order)
    for measure in MEASURES:
        found = correlate_rows(x[:, order], y[:, order], measure)
        expected = correlate_rows(x, y, measure)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_row_without_ties_goes_with_itself_exactly(measure):
    x = np.random.default_rng(1).standard_normal(200)
    found = correlate_rows(x, np.stack([x, -x]), measure)
    np.testing.assert_allclose(found, [[1, -1]], rtol=1e-15)


@pytest.mark.parametrize(
    ("measure", "constant"),
    [("pearson", np.nan), ("spearman", np.nan), ("kendall_tau_a", 0), ("rho_a", 0)],
)
def test_a_constant_row_is_undefined_or_no_better_than_chance(measure, constant):
    rows = np.stack([np.arange(5.0), np.full(5, 628.63)])
    found = correlate_rows(rows, np.arange(5.0), measure)
    np.testing.assert_allclose(found[:, 0], [1, constant])


@pytest.mark.parametrize("measure", MEASURES)
def test_nan_spoils_its_own_row_only(measure):
    x = np.random.default_rng(2).standard_normal((3, 50))
    x[1, 7] = np.nan
    found = correlate_rows(x, x, measure)
    undefined = np.isnan(found)
    assert undefined[1].all()
    assert undefined[:, 1].all()
    assert undefined.sum() == 5


def test_rows_of_one_value_are_undefined():
    for measure in MEASURES:
        assert np.isnan(correlate_rows([[1.0]], [[1.0], [2.0]], measure)).all()


def test_rows_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"one length.*\(2, 3\) and \(1, 4\)"):
        correlate_rows(np.zeros((2, 3)), np.zeros((1, 4)))


def test_an_unknown_measure_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'spearman'"):
        correlate_rows([1, 2], [1, 2], "spaerman")


@given(arrays(np.float64, (3, 9), elements=st.integers(-4, 4).map(float)))
def test_midranks_are_those_of_scipy(rows):
    np.testing.assert_array_equal(midranks(rows), oracle.rankdata(rows, axis=1))


@given(arrays(np.float64, (2, 9), elements=st.integers(-4, 4).map(float)))
def test_codes_keep_the_order_and_may_be_ranked_after_some_are_taken_out(rows):
    codes = rank_codes(rows)
    assert rank_codes(codes) is codes
    chosen = [0, 3, 3, 8, 5]
    expected = oracle.rankdata(rows[:, chosen], axis=1)
    np.testing.assert_array_equal(midranks(codes[:, chosen]), expected)


def test_whole_numbers_that_are_no_codes_are_ranked_too():
    rows = np.array([[10**15, 3, -7, 3]])
    assert midranks(rows).tolist() == [[4, 2.5, 1, 2.5]]


def test_unit_rows_have_correlations_as_products():
    rows = np.random.default_rng(3).standard_normal((4, 30)) + 5
    units = unit_rows(rows, centred=True)
    np.testing.assert_allclose(units @ units.T, np.corrcoef(rows), atol=1e-12)
