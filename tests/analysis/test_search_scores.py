"""The score table of search asymmetry experiments."""

import numpy as np
import pandas as pd
import pytest

from analysis.search_scores import EXTRA_COLUMNS, search_scores
from neurovis.core.files import read_table, write_table
from neurovis.core.types import SCORE_COLUMNS


@pytest.fixture(scope="module")
def scores(trials, human):
    return search_scores(trials, human, n_bootstrap=200, seed=5)


def _value(scores, subject, metric, condition):
    rows = scores[
        (scores["subject"] == subject)
        & (scores["metric"] == metric)
        & (scores["condition"] == condition)
    ]
    return rows["value"].item()


def test_table_has_the_common_columns_and_unique_claims(scores):
    assert list(scores.columns) == [*SCORE_COLUMNS, *EXTRA_COLUMNS]
    assert not scores.duplicated(["subject", "metric", "condition"]).any()
    assert scores["subject"].unique().tolist() == ["human mean", "alike", "flat"]
    assert set(scores.loc[scores["subject"] == "human mean", "model"]) == {"human"}
    assert set(scores["seed"]) == {5}


def test_table_has_every_claim_of_an_observer(scores):
    counts = scores[scores["subject"] == "alike"]["metric"].value_counts()
    assert counts.to_dict() == {
        "mean_rt_ms": 40,
        "mean_fixations": 40,
        "found_rate": 40,
        "slope_ms_per_item": 12,
        "intercept_ms": 12,
        "task_f": 6,
        "asymmetry_index": 6,
        "mean_asymmetry_index": 1,
        "slope_pearson_r": 1,
        "slope_spearman_r": 1,
        "slope_rmse_ms_per_item": 1,
        "rt_pearson_r": 1,
        "rt_rmse_ms": 1,
    }
    people = scores[scores["subject"] == "human mean"]["metric"].value_counts()
    assert people.to_dict() == {
        "mean_rt_ms": 40,
        "slope_ms_per_item": 12,
        "intercept_ms": 12,
        "asymmetry_index": 6,
        "mean_asymmetry_index": 1,
    }


def test_values_are_those_of_the_trials(scores, trials):
    part = trials.query("subject == 'flat' and condition == 'Ls' and set_size == 6")
    cell = "Ls/n=6"
    assert _value(scores, "flat", "mean_rt_ms", cell) == pytest.approx(
        part["rt_ms"].mean()
    )
    assert _value(scores, "flat", "mean_fixations", cell) == part["n_fixations"].mean()
    assert _value(scores, "flat", "found_rate", cell) == part["found"].mean()
    assert _value(scores, "human mean", "mean_rt_ms", cell) == 672
    assert _value(scores, "human mean", "slope_ms_per_item", "Ls") == pytest.approx(33)


def test_intervals_hold_their_values(scores):
    rows = scores[scores["ci_low"].notna()]
    # The index is a ratio: its percentile interval need not hold it.
    rows = rows[~rows["metric"].str.contains("index")]
    assert len(rows) > 250
    assert (rows["ci_low"] <= rows["value"] + 1e-9).all()
    assert (rows["ci_high"] >= rows["value"] - 1e-9).all()


def test_values_of_people_stand_beside_those_of_models(scores):
    rows = scores.query("metric == 'asymmetry_index' and condition == 'experiment 4'")
    assert rows["human_value"].tolist() == pytest.approx([19 / 47] * 3)
    assert scores.query("metric == 'found_rate'")["human_value"].isna().all()


def test_names_of_experiments_and_conditions_are_given(scores):
    row = scores.query("subject == 'flat' and condition == 'Ls/n=6'").iloc[0]
    names = ["experiment", "experiment_name", "label", "set_size"]
    assert row[names].tolist() == [4, "T versus L", "L", 6]
    overall = scores[scores["condition"] == "all"]
    assert overall[["experiment", "label", "set_size"]].isna().all(axis=None)


def test_no_ceiling_is_claimed_and_the_reason_is_given(scores):
    ceilings = ["ceiling_low", "ceiling_high", "value_over_ceiling"]
    assert scores[ceilings].isna().all(axis=None)
    assert scores["note"].str.contains("no noise ceiling").all()


def test_untrained_observers_are_marked_in_every_row(scores):
    assert scores.groupby("subject")["untrained"].unique().map(list).to_dict() == {
        "alike": [False],
        "flat": [True],
        "human mean": [False],
    }
    marked = scores["note"].str.contains("untrained weights")
    assert (marked == scores["untrained"]).all()


def test_same_seed_gives_equal_tables_and_another_seed_other_intervals(trials, human):
    few = trials[trials["experiment"] == 4]
    one = search_scores(few, human, n_bootstrap=50, seed=1)
    pd.testing.assert_frame_equal(
        one, search_scores(few, human, n_bootstrap=50, seed=1)
    )
    other = search_scores(few, human, n_bootstrap=50, seed=2)
    assert one["value"].equals(other["value"])
    assert not one["ci_low"].equals(other["ci_low"])


def test_other_observers_do_not_change_a_score(trials, human, scores):
    alone = search_scores(
        trials[trials["subject"] == "flat"], human, n_bootstrap=200, seed=5
    )
    pd.testing.assert_frame_equal(
        alone[alone["subject"] == "flat"].reset_index(drop=True),
        scores[scores["subject"] == "flat"].reset_index(drop=True),
    )


def test_table_survives_the_disk(scores, tmp_path):
    write_table(tmp_path / "scores.parquet", scores)
    pd.testing.assert_frame_equal(read_table(tmp_path / "scores.parquet"), scores)


def test_small_runs_have_the_claims_they_allow(trials, human):
    """One experiment, two set sizes, one trial each: nothing raises, much is NaN."""
    few = trials.query("subject == 'flat' and experiment == 4 and set_size != 6")
    few = few.groupby(["condition", "set_size"]).head(1)
    table = search_scores(few, human, n_bootstrap=20)
    model = table[table["subject"] == "flat"].set_index("metric")
    assert np.isnan(model.loc["slope_pearson_r", "ci_low"])
    assert model.loc["slope_ms_per_item", "ci_low"].isna().all()
    assert np.isfinite(model.loc["rt_rmse_ms", "value"])
    assert "mean over 1 of 6 experiments" in model.loc["mean_asymmetry_index", "note"]


def test_one_condition_alone_has_no_index(trials, human):
    one = trials.query("subject == 'alike' and condition == 'Ls'")
    table = search_scores(one, human, n_bootstrap=0)
    row = table.query("subject == 'alike' and metric == 'asymmetry_index'").iloc[0]
    assert np.isnan(row["value"])
    assert row["note"].startswith("undefined")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.drop(columns="found"), "lacks the columns \\['found'\\]"),
        (
            lambda t: t.query("model == 'flat'").assign(subject="human mean"),
            "give the observer another label",
        ),
        (lambda t: t.assign(subject="both"), "more than one `model`"),
        (lambda t: t.assign(rt_ms=np.inf), "undefined values"),
    ],
)
def test_tables_that_cannot_be_scored_are_refused(trials, human, change, match):
    with pytest.raises(ValueError, match=match):
        search_scores(change(trials), human, n_bootstrap=0)
