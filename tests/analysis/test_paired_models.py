"""Means and paired differences over cells: subjects first, then seeds."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.multiple_tests import fdr_adjusted
from analysis.paired_models import compare_cells, mean_over_cells

LIMITS = ("ci_low", "ci_high", "ceiling_low", "ceiling_high", "value_over_ceiling")


def make_cells(values, **columns):
    """Values of shape (models, subjects, seeds) as a table."""
    values = np.asarray(values, float)
    model, subject, seed = np.indices(values.shape).reshape(3, -1)
    table = pd.DataFrame(
        {
            "board": "one",
            "model": [f"m{i:05d}" for i in model],
            "subject": [f"s{i}" for i in subject],
            "seed": seed,
            "value": values.ravel(),
        }
    )
    return table.assign(**dict.fromkeys(LIMITS, np.nan)).assign(**columns)


def compare(cells, **options):
    return compare_cells(cells, board=["board"], family=["board"], **options)


def test_a_mean_is_over_subjects_of_means_over_seeds_with_the_interval_of_t():
    values = np.random.default_rng(0).normal(size=(1, 5, 3))
    cells = make_cells(values)
    # Somebody has one seed only: every subject counts the same.
    cells = cells.drop(cells.index[[1, 2]])
    means = [values[0, 0, 0], *values[0, 1:].mean(axis=1)]
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    row = mean_over_cells(cells, ["model"]).iloc[0]
    assert row["value"] == pytest.approx(np.mean(means))
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(expected))
    assert row[["over", "n_cells", "n_subjects", "n_seeds"]].tolist() == [
        *("subjects", 13, 5, 3)
    ]


def test_of_one_subject_the_interval_is_over_seeds():
    values = np.random.default_rng(1).normal(size=(1, 1, 4))
    row = mean_over_cells(make_cells(values), ["model"]).iloc[0]
    expected = stats.ttest_1samp(values.ravel(), 0).confidence_interval(0.95)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(expected))
    assert row["over"] == "seeds"


def test_one_cell_keeps_its_own_interval_and_so_do_seeds_that_change_nothing():
    for n_seeds, note in ((1, "one cell"), (3, "3 seeds gave one value")):
        cells = make_cells(np.full((1, 1, n_seeds), 0.4), ci_low=0.3, ci_high=0.6)
        row = mean_over_cells(cells, ["model"]).iloc[0]
        assert row["value"] == pytest.approx(0.4)
        assert row[["ci_low", "ci_high"]].tolist() == [0.3, 0.6]
        assert row["over"] == "within the run"
        assert row["interval_note"] == f"{note}: interval of the run"


def test_subjects_that_all_agree_have_no_interval():
    row = mean_over_cells(make_cells(np.full((1, 3, 1), 0.2)), ["model"]).iloc[0]
    assert np.isnan([row["ci_low"], row["ci_high"]]).all()
    assert row["interval_note"] == "all subjects gave one value: no interval"


def test_undefined_values_are_counted_and_left_out():
    cells = make_cells([[[1.0], [np.nan], [3.0]], [[np.nan]] * 3])
    found = mean_over_cells(cells, ["model"])
    assert found["value"].tolist()[0] == 2
    assert np.isnan(found["value"].iloc[1])
    assert found["n_undefined"].tolist() == [1, 3]
    assert found["n_cells"].tolist() == [2, 0]
    assert found["interval_note"].iloc[1] == "no defined value"


def test_shares_of_ceilings_are_averaged_and_never_cut():
    cells = make_cells([[[1.0], [2.0]]], ceiling_low=1.0, ceiling_high=1.2)
    cells["value_over_ceiling"] = [1.0, 2.0]
    row = mean_over_cells(cells, ["model"]).iloc[0]
    told = row[["ceiling_low", "ceiling_high", "value_over_ceiling"]]
    assert told.tolist() == [1, 1.2, 1.5]


@pytest.mark.parametrize(("n_subjects", "n_seeds"), [(2, 1), (4, 3), (8, 2), (1, 5)])
def test_95_percent_of_intervals_hold_the_truth(n_subjects, n_seeds):
    rng = np.random.default_rng([n_subjects, n_seeds])
    n = 3000
    # All seeds are of the one subject that the statement is about.
    between = 0.0 if n_subjects == 1 else 1.0
    values = 0.3 + between * rng.normal(size=(n, n_subjects, 1))
    values = values + 0.5 * rng.normal(size=(n, n_subjects, n_seeds))
    found = mean_over_cells(make_cells(values), ["model"])
    held = (found["ci_low"] <= 0.3) & (found["ci_high"] >= 0.3)
    assert held.mean() == pytest.approx(0.95, abs=0.015)  # 3.8 standard errors


def test_differences_are_those_of_a_paired_t_and_of_all_sign_flips():
    values = np.random.default_rng(2).normal([[[0]], [[1]], [[0]]], size=(3, 6, 2))
    found = compare(make_cells(values)).set_index(["model_a", "model_b"])
    means = values.mean(axis=2)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        row = found.loc[(f"m{a:05d}", f"m{b:05d}")]
        own = means[a] - means[b]
        expected = stats.ttest_rel(means[a], means[b]).confidence_interval(0.95)
        assert row["difference"] == pytest.approx(own.mean())
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(expected))
        signs = np.array(list(product((-1, 1), repeat=6)))
        as_far = np.abs(signs @ own) >= np.abs(own.sum()) - 1e-9
        assert row["p_value"] == pytest.approx(as_far.mean())
    assert found["p_fdr"].tolist() == fdr_adjusted(found["p_value"]).tolist()


def test_known_differences_are_recovered():
    rng = np.random.default_rng(3)
    truth = np.array([0.5, 0.3, 0.3])
    hard = rng.normal(scale=0.5, size=(1, 10, 1))  # some subjects are noisier
    values = truth[:, None, None] + hard + rng.normal(scale=0.05, size=(3, 10, 3))
    found = compare(make_cells(values))
    assert found["difference"].to_numpy() == pytest.approx([0.2, 0.2, 0], abs=0.03)
    assert (found["p_fdr"] < 0.01).tolist() == [True, True, False]
    # The spread between subjects is common to both, and far larger.
    alone = mean_over_cells(make_cells(values), ["model"])
    assert (alone["ci_high"] - alone["ci_low"]).min() > 0.3
    assert (found["ci_high"] - found["ci_low"]).max() < 0.07


def test_where_nothing_is_there_p_is_small_as_often_as_it_says():
    cells = make_cells(np.random.default_rng(4).normal(size=(2, 1000 * 6, 2)))
    cells["board"] = (cells["subject"].str[1:].astype(int) // 6).astype(str)
    p = compare(cells)["p_value"]
    # Of six subjects the smallest p is 1 / 32.
    assert (p <= 1 / 32).mean() == pytest.approx(1 / 32, abs=0.02)
    assert (p <= 0.5).mean() == pytest.approx(0.5, abs=0.05)


def test_seeds_of_two_subjects_are_not_twenty_subjects():
    values = np.random.default_rng(5).normal([[[5]], [[0]]], size=(2, 2, 10))
    row = compare(make_cells(values)).iloc[0]
    assert row["p_value"] == 0.5
    assert row["interval_note"] == "2 subjects: p cannot be below 0.5"
    assert row[["n_cells", "n_subjects"]].tolist() == [20, 2]


def test_of_one_subject_signs_are_flipped_seed_by_seed():
    values = np.random.default_rng(6).normal([[[5]], [[0]]], size=(2, 1, 6))
    row = compare(make_cells(values)).iloc[0]
    assert row[["p_value", "over", "interval_note"]].tolist() == [1 / 32, "seeds", ""]


def test_seeds_that_change_nothing_are_no_evidence():
    row = compare(make_cells([[[0.5] * 10], [[0.4] * 10]])).iloc[0]
    assert row["difference"] == pytest.approx(0.1)
    assert np.isnan(row[["ci_low", "ci_high", "p_value", "p_fdr"]].astype(float)).all()
    note = "10 seeds, one value: no interval and no test"
    assert row["interval_note"] == note


def test_models_are_compared_on_common_cells_alone():
    values = np.array([[[1.0], [2.0], [90.0]], [[0.0], [0.0], [np.nan]]])
    cells = make_cells(values)
    for table in (cells, cells.dropna(subset="value")):
        row = compare(table).iloc[0]
        assert row[["difference", "n_cells"]].tolist() == [1.5, 2]
    apart = make_cells([[[1.0], [np.nan]], [[np.nan], [1.0]]])
    row = compare(apart).iloc[0]
    assert np.isnan(row["difference"])
    assert row[["n_cells", "interval_note"]].tolist() == [0, "no common cell"]


def test_equal_models_do_not_differ():
    values = np.random.default_rng(7).normal(size=(1, 4, 1)).repeat(2, axis=0)
    row = compare(make_cells(values)).iloc[0]
    assert row[["difference", "p_value", "p_fdr"]].tolist() == [0, 1, 1]


def test_p_values_are_adjusted_over_all_boards_of_a_family():
    rng = np.random.default_rng(8)
    parts = [make_cells(rng.normal(size=(3, 6, 1))).assign(board=b) for b in "xy"]
    cells = pd.concat(parts).assign(metric="r")
    found = compare_cells(cells, board=["metric", "board"], family=["metric"])
    assert found["p_fdr"].tolist() == fdr_adjusted(found["p_value"]).tolist()
    apart = compare(cells)
    expected = [fdr_adjusted(p) for _, p in apart.groupby("board")["p_value"]]
    assert apart["p_fdr"].tolist() == np.concatenate(expected).tolist()


def test_the_order_of_rows_and_other_models_change_nothing():
    # Sixteen subjects have more arrangements than are drawn.
    cells = make_cells(np.random.default_rng(9).normal(size=(4, 16, 1)))
    mixed = cells.sample(frac=1, random_state=0)
    found = compare(cells, n_permutations=200)
    pd.testing.assert_frame_equal(compare(mixed, n_permutations=200), found)
    means = mean_over_cells(cells, ["model"])
    pd.testing.assert_frame_equal(mean_over_cells(mixed, ["model"]), means)
    two = compare(cells[cells["model"].isin(["m00000", "m00001"])], n_permutations=200)
    kept = found.columns.drop("p_fdr")
    pd.testing.assert_frame_equal(two[kept], found.loc[:0, kept])
    assert not found["p_value"].equals(compare(cells, n_permutations=100)["p_value"])


def test_a_cell_that_comes_twice_is_refused():
    cells = make_cells(np.ones((2, 2, 1)))
    twice = pd.concat([cells, cells.iloc[:1]])
    for function in (compare, lambda table: mean_over_cells(table, ["model"])):
        with pytest.raises(ValueError, match=r"several rows of .*m00000, s0, 0"):
            function(twice)
    with pytest.raises(ValueError, match="'value'"):
        compare(cells.drop(columns="value"))


def test_a_single_model_has_no_pairs():
    found = compare(make_cells(np.ones((1, 2, 1))))
    assert len(found) == 0
    assert list(found.columns[:3]) == ["board", "model_a", "model_b"]
    assert found["p_fdr"].dtype == np.float64
