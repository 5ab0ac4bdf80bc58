"""Reaction times of people: filters, means, slopes and errors, real and simulated."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.reaction_times import (
    d_prime,
    error_summary,
    filter_rts,
    mean_slopes,
    rt_summary,
    subject_means,
    subject_slopes,
    vincentiles,
)
from neurovis.core.files import read_json


def _trials(rt_ms, **columns):
    base = {
        "subject": "a",
        "task": "t",
        "set_size": 3,
        "target_present": True,
        "error": 0,
    }
    return pd.DataFrame(base | columns | {"rt_ms": rt_ms})


def _people(n_subjects=6, n=30, seed=0):
    """People whose lines are known: subject i has slope 10 + i and intercept 400."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(n_subjects):
        for size in (3, 6, 12):
            noise = rng.normal(0, 20, n)
            rt = 400 + (10 + i) * size + noise - noise.mean()
            parts.append(_trials(rt, subject=i, set_size=size))
    return pd.concat(parts, ignore_index=True)


# ------------------------------------------------------------ the data of people


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "search_rt_wolfe2010"


@pytest.fixture(scope="module")
def real(folder):
    return pd.read_csv(folder / "trials.csv.gz")


@pytest.fixture(scope="module")
def reference(folder):
    return read_json(folder / "reference_values.json")


def _beside(table, rows):
    pairs = table.merge(pd.DataFrame(rows), how="inner", validate="one_to_one")
    assert len(pairs) == len(rows) == len(table)
    return pairs


@pytest.mark.paper
def test_means_and_medians_of_the_wolfe_data_are_those_of_the_reference(
    real, reference
):
    kept = filter_rts(real)
    assert kept.n_trials == reference["n_trials"] == 87811
    pairs = _beside(rt_summary(kept.trials), reference["mean_rt"])
    assert (pairs["mean_ms"].round(3) == pairs["mean"]).all()
    assert (pairs["median_ms"] == pairs["median"]).all()
    assert (pairs["n_trials"] == pairs["count"]).all()


@pytest.mark.paper
def test_slopes_of_the_wolfe_data_are_those_of_the_reference(real, reference):
    lines = mean_slopes(filter_rts(real).trials, n_bootstrap=0)
    pairs = _beside(lines, reference["slopes_ms_per_item"])
    assert (pairs["slope_ms_per_item"].round(3) == pairs["slope"]).all()
    assert (pairs["intercept_ms"].round(3) == pairs["intercept"]).all()
    assert pairs["n_subjects"].tolist() == [8, 8, 7, 7, 7, 7]


@pytest.mark.paper
def test_error_rates_of_the_wolfe_data_are_those_of_the_reference(real, reference):
    table = error_summary(real).set_index(["task", "set_size"])
    for row in reference["error_rate"]:
        name = "miss_rate" if row["target_present"] else "false_alarm_rate"
        got = table.loc[(row["task"], row["set_size"]), name]
        assert round(float(got), 5) == row["error"]


@pytest.mark.paper
def test_what_the_filter_drops_from_the_wolfe_data_is_known(real):
    kept = filter_rts(real)
    dropped = (kept.n_undefined, kept.n_wrong, kept.n_fast, kept.n_slow)
    assert dropped == (0, 2210, 15, 1)


# ---------------------------------------------------------------------- filters


def test_each_trial_is_dropped_for_its_first_reason():
    trials = _trials(
        [np.nan, np.nan, 100.0, 100.0, 200.0, 10_000.0, 10_001.0, 500.0],
        error=[0, 1, 1, 0, 0, 0, 0, 1],
    )
    kept = filter_rts(trials)
    assert kept.trials["rt_ms"].tolist() == [200.0, 10_000.0]
    assert (kept.n_undefined, kept.n_wrong, kept.n_fast, kept.n_slow) == (2, 2, 1, 1)
    assert (kept.n_trials, kept.n_kept) == (8, 2)
    everything = filter_rts(trials, 0, 1e9, correct_only=False)
    assert everything.n_kept == 6
    assert everything.n_wrong == 0


@pytest.mark.parametrize("flag", [bool, int, float, "boolean", "Int64"])
def test_flags_may_be_booleans_or_numbers(flag):
    trials = _trials([300.0, 400.0], error=pd.Series([1, 0]).astype(flag))
    assert filter_rts(trials).n_wrong == 1


def test_other_flags_and_limits_are_refused():
    with pytest.raises(ValueError, match="`error` must be 0 or 1"):
        filter_rts(_trials([300.0], error=2))
    with pytest.raises(ValueError, match="`error` must be 0 or 1"):
        filter_rts(_trials([300.0], error=np.nan))
    with pytest.raises(ValueError, match="high_ms"):
        filter_rts(_trials([300.0]), 500, 400)
    with pytest.raises(ValueError, match="lacks the columns"):
        filter_rts(pd.DataFrame({"rt_ms": [1.0]}))


def test_inputs_are_left_as_they_are():
    trials = _people(2, 3)
    before = trials.copy()
    filter_rts(trials)
    error_summary(trials)
    vincentiles(trials)
    mean_slopes(trials, n_bootstrap=5)
    pd.testing.assert_frame_equal(trials, before)


# ----------------------------------------------------------------- means, slopes


def test_lines_of_subjects_are_recovered():
    lines = subject_slopes(_people())
    assert lines["slope_ms_per_item"].to_numpy() == pytest.approx(10 + np.arange(6))
    assert lines["intercept_ms"].to_numpy() == pytest.approx(np.full(6, 400))
    assert lines["n_trials"].tolist() == [90] * 6


def test_slopes_match_numpy_polyfit_on_subject_means():
    trials = _people(4, 7, seed=3)
    trials["rt_ms"] += np.random.default_rng(4).exponential(100, len(trials))
    got = subject_slopes(trials).set_index("subject")["slope_ms_per_item"]
    for subject, part in subject_means(trials).groupby("subject"):
        expected = np.polyfit(part["set_size"], part["mean_ms"], 1)[0]
        assert got[subject] == pytest.approx(expected)


def test_group_slopes_are_means_over_subjects_with_an_interval_about_them():
    line = mean_slopes(_people(), seed=1).iloc[0]
    assert line["slope_ms_per_item"] == pytest.approx(12.5)
    assert 10 < line["slope_ci_low"] < 12 < 13 < line["slope_ci_high"] < 15
    spread = line["slope_ci_high"] - line["slope_ci_low"]
    assert spread == pytest.approx(
        2 * 1.96 * np.std(np.arange(6)) / np.sqrt(6), rel=0.1
    )


def test_what_is_not_determined_is_nan():
    one_size = mean_slopes(_trials([400.0, 500.0])).iloc[0]
    assert np.isnan(one_size["slope_ms_per_item"])
    assert one_size["n_subjects"] == 0
    one_subject = mean_slopes(_people(1)).iloc[0]
    assert one_subject["slope_ms_per_item"] == pytest.approx(10)
    assert np.isnan(one_subject["slope_ci_low"])
    assert np.isnan(rt_summary(_trials([400.0])).loc[0, "sd_ms"])


def test_people_of_two_tasks_are_two_people_whatever_their_labels():
    trials = pd.concat([_people(2), _people(3).assign(task="u")])
    assert mean_slopes(trials, n_bootstrap=0)["n_subjects"].tolist() == [2, 3]


# ----------------------------------------------------------------------- errors


def test_errors_are_misses_and_false_alarms():
    trials = _trials(
        500.0,
        target_present=[True] * 10 + [False] * 10,
        error=[1, 1, 1] + [0] * 7 + [1] + [0] * 9,
    )
    row = error_summary(trials, by=["task"]).iloc[0]
    assert (row["miss_rate"], row["false_alarm_rate"]) == (0.3, 0.1)
    assert row["miss_ci_low"] < 0.3 < row["miss_ci_high"]
    expected = stats.norm.ppf(7.5 / 11) - stats.norm.ppf(1.5 / 11)
    assert row["d_prime"] == pytest.approx(expected)
    assert (row["n_present"], row["n_absent"]) == (10, 10)


def test_errors_without_trials_of_one_kind_are_nan():
    row = error_summary(_trials([500.0, 600.0]), by=["task"]).iloc[0]
    assert row["miss_rate"] == 0
    assert np.isnan(
        row[["false_alarm_rate", "d_prime", "criterion"]].astype(float)
    ).all()
    assert row["n_absent"] == 0


@given(st.integers(0, 20), st.integers(0, 20))
def test_sensitivity_is_symmetric_and_finite(hits, alarms):
    there, criterion = d_prime(hits, 20, alarms, 20)
    back, other = d_prime(alarms, 20, hits, 20)
    assert there == pytest.approx(-back)
    assert criterion == pytest.approx(other)
    assert np.isfinite(there)
    assert (there > 0) == (hits > alarms)


def test_counts_beyond_their_trials_are_refused():
    with pytest.raises(ValueError, match="n_hits"):
        d_prime(3, 2, 0, 2)
    with pytest.raises(ValueError, match="n_false_alarms"):
        d_prime(1, 2, -1, 2)


# -------------------------------------------------------------------- quantiles


def test_vincentiles_are_means_of_quantiles_of_subjects():
    trials = _people(5, 40, seed=2)
    table = vincentiles(trials, quantiles=(0.1, 0.5))
    cell = table[(table["set_size"] == 6) & (table["quantile"] == 0.1)].iloc[0]
    each = [
        np.quantile(part["rt_ms"], 0.1)
        for _, part in trials[trials["set_size"] == 6].groupby("subject")
    ]
    assert cell["rt_ms"] == pytest.approx(np.mean(each))
    assert cell["sem_ms"] == pytest.approx(np.std(each, ddof=1) / np.sqrt(5))
    assert cell["n_subjects"] == 5


def test_vincentiles_keep_the_shape_that_pooling_blurs():
    rng = np.random.default_rng(0)
    trials = pd.concat(
        [_trials(rng.normal(mean, 10, 4000), subject=mean) for mean in (300, 900)]
    )
    table = vincentiles(trials, quantiles=(0.1, 0.9))["rt_ms"].to_numpy()
    assert np.diff(table)[0] == pytest.approx(2 * 1.2816 * 10, rel=0.05)
    with pytest.raises(ValueError, match="quantiles"):
        vincentiles(trials, quantiles=(1.2,))


def test_tables_are_plain_json_numbers_after_a_round_trip():
    table = error_summary(_people(2, 4))
    again = json.loads(table.to_json(orient="records"))
    assert [row["n_present"] for row in again] == [8, 8, 8]
