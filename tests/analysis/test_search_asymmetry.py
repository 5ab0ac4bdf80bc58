"""Indices of asymmetry and agreement with people."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle

from analysis.psychophysics import bootstrap_slopes, condition_means, search_slopes
from analysis.search_asymmetry import (
    asymmetry_indices,
    human_slopes,
    mean_asymmetry_indices,
    rt_agreement,
    slope_agreement,
    task_tests,
)

LINE = ("subject", "experiment", "condition")


@pytest.fixture(scope="module")
def lines(human):
    return human_slopes(human)


@pytest.fixture(scope="module")
def slopes(trials):
    return search_slopes(trials, by=LINE, n_bootstrap=0)


def _model(lines, slopes, subject="m"):
    return lines.assign(subject=subject, slope_ms_per_item=slopes)


def test_slopes_of_people_are_the_published_ones(lines):
    slope = lines.set_index("condition")["slope_ms_per_item"]
    published = {
        "curve_in_lines": 0.8,
        "cross": 96,
        "non_cross": 45,
        "Ls": 33,
        "Ts": 14,
    }
    assert slope[list(published)].to_dict() == pytest.approx(published)
    assert lines["condition"].tolist()[:2] == ["curve_in_lines", "line_in_curves"]


def test_people_agree_with_themselves(lines, human):
    people = lines.assign(subject="people")
    row = slope_agreement(people, lines).iloc[0]
    assert row["pearson_r"] == pytest.approx(1)
    assert row["spearman_r"] == pytest.approx(1)
    assert row[["regression_slope", "rmse"]].tolist() == pytest.approx([1, 0])
    assert row["p_within"] == 1 / 64
    index = asymmetry_indices(people, lines)["asymmetry_index"]
    expected = [0.809, 0.701, 0.362, 0.404, 0.611, 0.500]
    assert index.tolist() == pytest.approx(expected, abs=5e-4)
    mean = mean_asymmetry_indices(people, lines)["mean_asymmetry_index"]
    assert mean.tolist() == pytest.approx([0.564], abs=5e-4)
    means = human.rename(columns={"rt_ms": "mean"}).assign(subject="people")
    assert rt_agreement(means, human)["rmse"].tolist() == [0]


def test_exchanged_conditions_turn_every_index_around(lines):
    swapped = lines["slope_ms_per_item"].to_numpy().reshape(6, 2)[:, ::-1].ravel()
    straight = asymmetry_indices(lines.assign(subject="a"), lines)
    turned = asymmetry_indices(_model(lines, swapped), lines)
    np.testing.assert_allclose(
        turned["asymmetry_index"], -straight["asymmetry_index"], rtol=1e-12
    )


def test_order_of_rows_does_not_matter(slopes, lines):
    shuffled = slopes.sample(frac=1, random_state=0)
    for measure in (asymmetry_indices, slope_agreement):
        by = ["subject", "experiment"] if measure is asymmetry_indices else ["subject"]
        one = measure(slopes, lines).sort_values(by, ignore_index=True)
        two = measure(shuffled, lines).sort_values(by, ignore_index=True)
        pd.testing.assert_frame_equal(one, two)


def test_known_slopes_are_recovered(many_trials, lines):
    options = {"by": LINE, "n_bootstrap": 300}
    draws = bootstrap_slopes(many_trials, **options)
    slopes = search_slopes(many_trials, **options)
    table = asymmetry_indices(slopes, lines, draws=draws).set_index("subject")
    truth = asymmetry_indices(lines.assign(subject="alike"), lines)["asymmetry_index"]
    alike = table.loc["alike"]
    assert (alike["ci_low"].to_numpy() <= truth).sum() >= 5
    assert (alike["ci_high"].to_numpy() >= truth).sum() >= 5
    mean = mean_asymmetry_indices(slopes, lines, draws=draws).set_index("subject")
    assert mean.loc["flat", "ci_low"] < 0 < mean.loc["flat", "ci_high"]
    low, high = mean.loc["alike", ["ci_low", "ci_high"]]
    assert low < truth.mean() < high
    assert high - low < 0.4
    agreement = slope_agreement(slopes, lines).set_index("subject").loc["alike"]
    assert agreement["pearson_r"] > 0.98
    assert agreement["regression_slope"] == pytest.approx(1, abs=0.1)
    assert agreement["p_conditions"] < 0.001
    assert agreement["p_within"] <= 2 / 64


def test_index_interval_covers_the_truth_as_often_as_it_says(lines):
    rng = np.random.default_rng(0)
    truth = {"Ts": 14.0, "Ls": 33.0}
    pair = lines[lines["experiment"] == 4]
    size = np.tile(np.repeat([3, 6, 9], 36), 2)
    condition = np.repeat(list(truth), 108)
    slope = np.array([truth[c] for c in condition])
    tables = []
    for i in range(100):
        rt = 500 + slope * size + rng.normal(0, 80, len(size))
        row = {"subject": f"{i}", "experiment": 4, "condition": condition}
        tables.append(pd.DataFrame(row | {"set_size": size, "rt_ms": rt}))
    table = pd.concat(tables, ignore_index=True)
    options = {"by": LINE, "n_bootstrap": 400}
    indices = asymmetry_indices(
        search_slopes(table, **options), pair, draws=bootstrap_slopes(table, **options)
    )
    covered = (indices["ci_low"] <= 19 / 47) & (indices["ci_high"] >= 19 / 47)
    assert 0.90 <= covered.mean() <= 0.99


def test_undefined_index_counts_as_zero_only_in_the_mean(lines):
    values = lines["slope_ms_per_item"].to_numpy().copy()
    values[:2] = [0.0, -3.0]
    model = _model(lines, values)
    assert np.isnan(asymmetry_indices(model, lines)["asymmetry_index"].iloc[0])
    published = asymmetry_indices(model, lines, undefined="zero")["asymmetry_index"]
    assert published.iloc[0] == 0
    mean = mean_asymmetry_indices(model, lines).iloc[0]
    assert mean["mean_asymmetry_index"] == pytest.approx(published.mean())
    assert (mean["n_experiments"], mean["n_undefined"]) == (6, 1)
    strict = mean_asymmetry_indices(model, lines, undefined="nan").iloc[0]
    assert np.isnan(strict["mean_asymmetry_index"])


def test_index_of_half_an_experiment_is_undefined(lines):
    model = lines.assign(subject="m").query("condition != 'Ls'")
    table = asymmetry_indices(model, lines).set_index("experiment")
    assert np.isnan(table.loc[4, "asymmetry_index"])
    assert table["asymmetry_index"].notna().sum() == 5


def test_agreement_matches_scipy(slopes, lines):
    row = slope_agreement(slopes, lines).set_index("subject").loc["flat"]
    pairs = slopes.query("subject == 'flat'").merge(lines, on=["condition"])
    x, y = pairs["slope_ms_per_item_y"], pairs["slope_ms_per_item_x"]
    pearson, line = oracle.pearsonr(x, y), oracle.linregress(x, y)
    assert row["pearson_r"] == pytest.approx(pearson.statistic)
    assert row["pearson_p"] == pytest.approx(pearson.pvalue)
    assert row["spearman_r"] == pytest.approx(oracle.spearmanr(x, y).statistic)
    assert row["regression_slope"] == pytest.approx(line.slope)
    assert row["regression_intercept"] == pytest.approx(line.intercept)
    assert row["rmse"] == pytest.approx(np.sqrt(((x - y) ** 2).mean()))
    assert row["n"] == 12


def test_constant_slopes_have_no_correlation(lines, human):
    row = slope_agreement(_model(lines, 0.0), lines).iloc[0]
    undefined = ["pearson_r", "ci_low", "p_conditions", "p_within", "spearman_r"]
    assert row[undefined].isna().all()
    assert np.isfinite(row["rmse"])
    means = human.assign(subject="m", mean=628.63)
    assert np.isnan(rt_agreement(means, human)["pearson_r"].iloc[0])


def test_conditions_with_other_set_sizes_are_not_exchanged(human):
    means = human.assign(subject="m", mean=human["rt_ms"] + 10)
    part = means.query("not (condition == 'Ls' and set_size == 3)")
    row = rt_agreement(part, human).iloc[0]
    assert np.isnan(row["p_within"])
    assert row["rmse"] == pytest.approx(10)


def test_unknown_conditions_are_refused(lines, human):
    model = _model(lines, 1.0)
    with pytest.raises(ValueError, match=r"no value for 1 rows.*'Qs'"):
        slope_agreement(model.replace({"condition": {"Ls": "Qs"}}), lines)
    with pytest.raises(ValueError, match="no experiment 7"):
        asymmetry_indices(model.replace({"experiment": {6: 7}}), lines)
    with pytest.raises(ValueError, match="two conditions with different slopes"):
        asymmetry_indices(model, lines.assign(slope_ms_per_item=3.0))
    with pytest.raises(ValueError, match="`draws` must have shape \\(12, any\\)"):
        asymmetry_indices(model, lines, draws=np.zeros((3, 10)))


def test_task_test_finds_the_asymmetry_that_is_there(many_trials):
    tests = task_tests(many_trials).set_index(["subject", "experiment"])["p_value"]
    assert len(tests) == 12
    assert (tests["alike"][[2, 3, 4, 6]] < 0.001).all()
    assert tests["flat"].min() > 0.001


def test_task_tests_of_single_conditions_are_empty(trials):
    tests = task_tests(trials[trials["condition"] == "Ls"])
    assert len(tests) == 0
    assert "p_value" in tests


def test_means_and_slopes_give_the_same_agreement_in_any_order(trials, human):
    means = condition_means(trials, by=LINE, n_bootstrap=0)
    one = rt_agreement(means, human)
    two = rt_agreement(means[::-1], human).sort_values("subject", ignore_index=True)
    pd.testing.assert_frame_equal(one.sort_values("subject", ignore_index=True), two)
