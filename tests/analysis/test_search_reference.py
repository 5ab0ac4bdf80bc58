"""Numbers of Gupta et al. (2021), from their trials, to the printed precision.

Every published number has ten significant digits; it is compared as printed.
"""

import numpy as np
import pandas as pd
import pytest

from analysis.psychophysics import condition_means, fixations_to_rt_ms, search_slopes
from analysis.search_asymmetry import (
    asymmetry_indices,
    human_slopes,
    mean_asymmetry_indices,
    rt_agreement,
    slope_agreement,
    task_tests,
)
from analysis.search_scores import search_scores
from data_loaders.search_humans import load_human_rt, load_published_trials

pytestmark = pytest.mark.paper

LINE = ("subject", "experiment", "condition")
HUMAN = load_human_rt()
HUMAN_LINES = human_slopes(HUMAN)
OPTIONS = {"by": LINE, "n_bootstrap": 0}


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "visual_search"


@pytest.fixture(scope="module")
def published_trials(folder):
    table = load_published_trials(folder)
    return table.assign(rt_ms=fixations_to_rt_ms(table["n_fixations"]))


@pytest.fixture(scope="module")
def slopes(published_trials):
    return search_slopes(published_trials, **OPTIONS)


def _assert_as_printed(got, printed):
    """Ten significant digits agree: half a unit of the last one, and rounding."""
    got, printed = np.asarray(got, float), np.asarray(printed, float)
    assert np.isfinite(got).all()
    assert (np.abs(got - printed) <= 5.1e-10 * np.abs(printed) + 1e-11).all()


def _join(table, reference, keys):
    reference = reference.rename(columns={"model": "subject"})
    pairs = table.merge(reference, on=keys, validate="one_to_one")
    assert len(pairs) == len(reference)
    return pairs


def test_means_of_every_model_and_cell(published_trials, folder):
    reference = pd.read_csv(folder / "asymmetry_conditions.csv")
    counts = condition_means(published_trials, value="n_fixations", **OPTIONS)
    times = condition_means(published_trials, **OPTIONS)
    keys = [*LINE, "set_size"]
    counts = _join(counts, reference, keys)
    _assert_as_printed(counts["mean"], counts["mean_fixations"])
    _assert_as_printed(counts["sem"], counts["sem_fixations"])
    assert (counts["n_trials_x"] == counts["n_trials_y"]).all()
    assert len(counts) == 12 * 40
    times = _join(times, reference, keys)
    _assert_as_printed(times["mean"], times["rt_ms"])
    _assert_as_printed(times["sem"], 252.359 * times["sem_fixations"])
    people = times.merge(HUMAN, on=["condition", "set_size"])
    _assert_as_printed(people["rt_ms_y"], people["human_rt_ms"])
    found = published_trials.groupby(keys)["found"].sum()
    assert (
        found[pd.MultiIndex.from_frame(times[keys])] == times["n_found"].array
    ).all()
    hits = published_trials[published_trials["found"]]
    only = condition_means(hits, value="n_fixations", **OPTIONS)
    only = _join(only, reference.dropna(subset="mean_fixations_found_only"), keys)
    _assert_as_printed(only["mean"], only["mean_fixations_found_only"])


def test_slopes_of_every_model_and_condition(slopes, folder):
    reference = pd.read_csv(folder / "asymmetry_slopes.csv")
    pairs = _join(slopes, reference, list(LINE))
    _assert_as_printed(pairs["slope_ms_per_item"], pairs["model_slope_ms_per_item"])
    _assert_as_printed(pairs["intercept_ms"], pairs["model_intercept_ms"])
    people = HUMAN_LINES.merge(reference, on=["experiment", "condition"])
    _assert_as_printed(people["slope_ms_per_item"], people["human_slope_ms_per_item"])
    _assert_as_printed(people["intercept_ms"], people["human_intercept_ms"])


def test_indices_of_every_model_and_experiment(slopes, folder):
    reference = pd.read_csv(folder / "asymmetry_index.csv")
    everyone = pd.concat([slopes, HUMAN_LINES.assign(subject="human")])
    table = asymmetry_indices(everyone, HUMAN_LINES, undefined="zero")
    pairs = _join(table, reference, ["subject", "experiment"])
    _assert_as_printed(pairs["asymmetry_index"], pairs["index"])
    labels = HUMAN.drop_duplicates("condition").set_index("condition")["label"]
    harder = pairs["harder"].map(labels)
    assert harder.tolist() == pairs["harder_condition_for_humans"].tolist()


def test_summary_of_every_model(published_trials, slopes, folder):
    reference = pd.read_csv(folder / "asymmetry_model_summary.csv").set_index("model")
    models = reference.drop(index="human")
    everyone = pd.concat([slopes, HUMAN_LINES.assign(subject="human")])
    mean = mean_asymmetry_indices(everyone, HUMAN_LINES).set_index("subject")
    _assert_as_printed(
        mean["mean_asymmetry_index"][reference.index], reference["mean_asymmetry_index"]
    )
    options = {"n_permutations": 10}
    by_slope = slope_agreement(slopes, HUMAN_LINES, **options).set_index("subject")
    by_slope = by_slope.loc[models.index]
    for name, column in {
        "pearson_r": "slope_pearson_r",
        "pearson_p": "slope_pearson_p",
        "spearman_r": "slope_spearman_rho",
        "regression_slope": "slope_reg_slope",
        "regression_intercept": "slope_reg_intercept",
        "rmse": "slope_rmse",
        "n": "n_conditions",
    }.items():
        _assert_as_printed(by_slope[name], models[column])
    means = condition_means(published_trials, **OPTIONS)
    by_time = rt_agreement(means, HUMAN, **options).set_index("subject")
    by_time = by_time.loc[models.index]
    for name, column in {
        "pearson_r": "rt_pearson_r",
        "pearson_p": "rt_pearson_p",
        "rmse": "rt_rmse_ms",
        "n": "n_points",
    }.items():
        _assert_as_printed(by_time[name], models[column])


def test_f_tests_of_every_model_and_experiment(published_trials, folder):
    reference = pd.read_csv(folder / "asymmetry_anova.csv")
    pairs = _join(task_tests(published_trials), reference, ["subject", "experiment"])
    # In four experiments all trials have one RT: there is nothing to test, and what
    # the file has there is the ratio of two rounding errors.
    keys = ["subject", "experiment"]
    spread = published_trials.groupby(keys)["rt_ms"].agg(np.ptp)
    empty = spread[pd.MultiIndex.from_frame(pairs[keys])].array == 0
    assert empty.sum() == 4
    assert pairs.loc[empty, ["f", "p_value"]].isna().all(axis=None)
    pairs = pairs[~empty]
    _assert_as_printed(pairs["f"], pairs["F"])
    # p values reach 1e-300: they are compared relative to themselves.
    np.testing.assert_allclose(pairs["p_value"], pairs["p"], rtol=1e-8, atol=0)
    assert (pairs["df_numerator"] == pairs["df_num"]).all()
    assert (pairs["df_denominator"] == pairs["df_den"]).all()


def test_numbers_of_eccnet_as_printed_in_the_paper(slopes):
    eccnet = slopes[slopes["subject"] == "eccNET"].set_index("condition")
    printed = {
        "curve_in_lines": 0.00,
        "line_in_curves": 4.43,
        "top_down": 0,
        "left_right": 8.09,
        "non_cross": 32.71,
        "cross": 96.97,
        "Ts": 11.68,
        "Ls": 99.31,
        "homo_t20": 100.39,
        "homo_t0": 0,
        "hetero_t0": 1.62,
        "hetero_t20": 13.86,
    }
    got = eccnet["slope_ms_per_item"].round(2).to_dict()
    assert got == pytest.approx(printed, abs=1e-9)
    agreement = slope_agreement(slopes, HUMAN_LINES).set_index("subject").loc["eccNET"]
    assert round(agreement["pearson_r"], 3) == 0.400
    assert round(agreement["pearson_p"], 3) == 0.197
    index = asymmetry_indices(slopes, HUMAN_LINES).query("subject == 'eccNET'")
    assert index["asymmetry_index"].round(3).tolist() == pytest.approx(
        [1.0, 1.0, 0.495, 0.789, -1.0, 0.791]
    )


def test_score_table_holds_the_published_indices(published_trials, folder):
    two = published_trials[published_trials["model"].isin(["eccNET", "eccNET_lines"])]
    scores = search_scores(two, HUMAN, n_bootstrap=100)
    reference = pd.read_csv(folder / "asymmetry_model_summary.csv").set_index("model")
    for metric in ("slope_pearson_r", "rt_pearson_r", "rt_rmse_ms"):
        rows = scores[scores["metric"] == metric].set_index("subject")["value"]
        _assert_as_printed(rows, reference.loc[rows.index, metric])
    mean = scores[scores["metric"] == "mean_asymmetry_index"].set_index("subject")
    _assert_as_printed(
        mean.loc[["eccNET", "eccNET_lines"], "value"],
        reference.loc[["eccNET", "eccNET_lines"], "mean_asymmetry_index"],
    )
    # Both slopes of one experiment are 0 for this model: no index, 0 in the mean.
    assert "1 counted as 0" in mean.loc["eccNET_lines", "note"]
    single = scores.query("metric == 'asymmetry_index' and subject == 'eccNET_lines'")
    assert single["value"].isna().sum() == 1
