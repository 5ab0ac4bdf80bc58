"""Search slopes, means, the asymmetry index and the F test of two lines."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from analysis.psychophysics import (
    asymmetry_index,
    bootstrap_slopes,
    condition_means,
    fixations_to_rt_ms,
    nested_f_test,
    search_slopes,
)

SET_SIZES = (3, 6, 9)
SLOPES = st.floats(-200, 200)


def _trials(rt_of, n=30, seed=0, subject="m", condition="c"):
    rng = np.random.default_rng(seed)
    set_size = np.repeat(SET_SIZES, n)
    return pd.DataFrame(
        {
            "subject": subject,
            "condition": condition,
            "set_size": set_size,
            "rt_ms": rt_of(set_size, rng),
        }
    )


def _noisy(slope, intercept=500.0, sd=100.0, **options):
    return _trials(
        lambda n, rng: intercept + slope * n + rng.normal(0, sd, len(n)), **options
    )


def test_fixations_become_times_with_the_published_line():
    assert fixations_to_rt_ms([0, 1, 2.5]) == pytest.approx(
        [376.271, 628.63, 1007.1685]
    )
    with pytest.raises(ValueError, match="must be >= 0"):
        fixations_to_rt_ms([1, -1])


def test_slope_of_a_perfect_line_is_exact():
    row = search_slopes(_trials(lambda n, _: 541.0 + 96.0 * n)).iloc[0]
    assert row["slope_ms_per_item"] == pytest.approx(96, abs=1e-10)
    assert row["intercept_ms"] == pytest.approx(541, abs=1e-9)
    assert row["slope_se"] == pytest.approx(0, abs=1e-9)
    assert (row["n_set_sizes"], row["n_trials"]) == (3, 90)


def test_slope_matches_scipy_on_the_means():
    table = _noisy(20.0, n=7)
    # Unequal numbers of trials: the means still weigh the same.
    table = table.drop(index=[0, 1, 2, 20])
    means = table.groupby("set_size")["rt_ms"].mean()
    line = oracle.linregress(list(means.index), means)
    row = search_slopes(table, n_bootstrap=0).iloc[0]
    assert row["slope_ms_per_item"] == pytest.approx(line.slope)
    assert row["intercept_ms"] == pytest.approx(line.intercept)
    assert row["slope_se"] == pytest.approx(line.stderr)
    assert np.isnan(row["slope_ci_low"])


def test_slope_of_equal_means_is_zero_and_not_rounding():
    # The means of 30 and of 36 copies of this number differ in the last bit.
    values = {3: 30, 6: 36, 9: 31}
    rows = [
        {"set_size": n, "rt_ms": 628.63} for n, k in values.items() for _ in range(k)
    ]
    table = pd.DataFrame(rows).assign(subject="m", condition="c")
    row = search_slopes(table).iloc[0]
    assert row["slope_ms_per_item"] == 0
    assert (bootstrap_slopes(table) == 0).all()


def test_line_through_one_set_size_is_undefined():
    table = _noisy(10.0).query("set_size == 3")
    row = search_slopes(table).iloc[0]
    undefined = ["slope_ms_per_item", "intercept_ms", "slope_se", "slope_ci_low"]
    assert row[undefined].isna().all()
    assert row["n_set_sizes"] == 1


def test_two_set_sizes_have_a_slope_without_standard_error():
    row = search_slopes(_noisy(10.0).query("set_size != 6")).iloc[0]
    assert row["slope_ci_low"] < row["slope_ms_per_item"] < row["slope_ci_high"]
    assert np.isnan(row["slope_se"])


def test_one_trial_per_set_size_has_no_interval():
    row = search_slopes(_noisy(10.0, n=1)).iloc[0]
    assert np.isfinite(row["slope_ms_per_item"])
    assert row[["slope_ci_low", "slope_ci_high"]].isna().all()


def test_bootstrap_error_of_a_slope_matches_theory():
    table = _noisy(20.0, n=200)
    draws = bootstrap_slopes(table, n_bootstrap=4000)[0]
    x = np.array(SET_SIZES) - np.mean(SET_SIZES)
    variances = table.groupby("set_size")["rt_ms"].var(ddof=0).to_numpy() / 200
    expected = np.sqrt((x**2 * variances).sum()) / (x**2).sum()
    assert draws.std() == pytest.approx(expected, rel=0.05)


def test_slope_interval_covers_the_truth_as_often_as_it_says():
    tables = [_noisy(25.0, sd=200.0, seed=i, subject=str(i)) for i in range(300)]
    rows = search_slopes(pd.concat(tables), n_bootstrap=400)
    covered = (rows["slope_ci_low"] <= 25) & (rows["slope_ci_high"] >= 25)
    assert 0.90 <= covered.mean() <= 0.98
    assert rows["slope_ms_per_item"].mean() == pytest.approx(25, abs=1)


def test_slopes_of_fixation_counts_are_recovered():
    def counts(n, rng):
        return fixations_to_rt_ms(1 + rng.poisson(0.2 * n))

    row = search_slopes(_trials(counts, n=4000)).iloc[0]
    assert row["slope_ms_per_item"] == pytest.approx(0.2 * 252.359, rel=0.03)


def test_other_conditions_and_order_do_not_change_an_interval():
    one, two = _noisy(20.0), _noisy(50.0, seed=1, condition="d")
    alone = search_slopes(one, seed=3)
    both = search_slopes(pd.concat([two, one]), seed=3)
    pd.testing.assert_frame_equal(
        both[both["condition"] == "c"].reset_index(drop=True), alone
    )
    assert not alone.equals(search_slopes(one, seed=4))


def test_bootstrap_draws_are_those_of_the_intervals():
    table = pd.concat([_noisy(20.0), _noisy(50.0, seed=1, condition="d")])
    rows = search_slopes(table, n_bootstrap=500, seed=2)
    draws = bootstrap_slopes(table, n_bootstrap=500, seed=2)
    assert draws.shape == (2, 500)
    np.testing.assert_allclose(np.quantile(draws, 0.025, axis=1), rows["slope_ci_low"])


def test_the_trial_table_is_not_changed():
    table = _noisy(20.0)
    copy = table.copy(deep=True)
    search_slopes(table)
    condition_means(table)
    pd.testing.assert_frame_equal(table, copy)


def test_means_have_the_published_standard_error():
    table = _noisy(20.0, n=8)
    rows = condition_means(table)
    assert rows["set_size"].tolist() == [3, 6, 9]
    for row in rows.itertuples():
        values = table.loc[table["set_size"] == row.set_size, "rt_ms"]
        assert row.mean == pytest.approx(values.mean())
        assert row.sem == pytest.approx(values.std(ddof=0) / np.sqrt(8))
        assert row.ci_low < row.mean < row.ci_high
        assert row.n_trials == 8


def test_mean_interval_covers_the_truth_as_often_as_it_says():
    tables = [_noisy(0.0, seed=i, subject=str(i)) for i in range(150)]
    rows = condition_means(pd.concat(tables), n_bootstrap=400)
    covered = (rows["ci_low"] <= 500) & (rows["ci_high"] >= 500)
    assert 0.90 <= covered.mean() <= 0.98


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop(columns="rt_ms"), "lacks the columns \\['rt_ms'\\]"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.assign(rt_ms=np.nan), "undefined values"),
        (lambda t: t.assign(condition=None), "undefined values"),
    ],
)
def test_tables_that_cannot_be_fitted_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        search_slopes(change(_noisy(20.0)))


@given(SLOPES, SLOPES)
def test_index_is_within_bounds_and_antisymmetric(a, b):
    index = float(asymmetry_index(a, b))
    if a <= 0 and b <= 0:
        assert np.isnan(index)
        assert asymmetry_index(a, b, undefined="zero") == 0
    else:
        assert -1 <= index <= 1
        assert index == -float(asymmetry_index(b, a))
        assert index == asymmetry_index(a, b, undefined="zero")


@given(st.floats(0.1, 200), st.floats(0.1, 200), st.floats(0.1, 10))
def test_index_does_not_depend_on_the_unit(a, b, scale):
    assert asymmetry_index(scale * a, scale * b) == pytest.approx(
        float(asymmetry_index(a, b)), abs=1e-9
    )


def test_index_of_negative_slopes_is_clipped():
    assert asymmetry_index([10.0, -3.0], [-10.0, 4.0]).tolist() == [1.0, -1.0]
    assert np.isnan(asymmetry_index(np.nan, 3.0, undefined="zero"))
    with pytest.raises(ValueError, match="undefined"):
        asymmetry_index(1.0, 1.0, undefined="skip")


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 1), st.integers(300, 900)),
        min_size=8,
        max_size=30,
    )
)
def test_f_test_matches_statsmodels(trials):
    x, task, y = (np.array(v, float) for v in zip(*trials, strict=True))
    if len(set(task)) < 2:
        return
    full = np.column_stack([np.ones_like(x), x, task, task * x])
    result = nested_f_test(x, y, task)
    if np.linalg.matrix_rank(full) < 4:
        assert np.isnan([result.f, result.p_value]).all()
        return
    reference = sm.OLS(y, full).fit()
    if np.isfinite(result.f) and reference.ssr > 1e-6:
        f, p, df = reference.compare_f_test(sm.OLS(y, full[:, :2]).fit())
        assert result.f == pytest.approx(f, rel=1e-6, abs=1e-6)
        assert result.p_value == pytest.approx(p, rel=1e-6, abs=1e-9)
        assert (result.df_numerator, result.df_denominator) == (df, len(y) - 4)


def test_f_test_of_noise_has_uniform_p_values():
    rng = np.random.default_rng(0)
    x, task = np.tile(np.repeat(SET_SIZES, 10), 2), np.repeat(["a", "b"], 30)
    p = [nested_f_test(x, rng.normal(size=60), task).p_value for _ in range(400)]
    assert oracle.kstest(p, "uniform").pvalue > 0.01


def test_f_test_of_exact_lines():
    x, task = np.tile([1, 2, 3, 4], 2), np.repeat([0, 1], 4)
    same = nested_f_test(x, 376.271 + 10.1 * x, task)
    assert np.isnan([same.f, same.p_value]).all()
    different = nested_f_test(x, 376.271 + 10.1 * x + 50 * task, task)
    assert (different.f, different.p_value) == (np.inf, 0)


def test_f_test_needs_two_tasks_and_two_set_sizes():
    with pytest.raises(ValueError, match="two labels; got 1"):
        nested_f_test([1, 2, 3], [1, 2, 3], ["a", "a", "a"])
    one = nested_f_test([4] * 6, [1, 2, 3, 4, 5, 6], list("ababab"))
    assert np.isnan(one.f)
