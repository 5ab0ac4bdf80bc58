"""Error consistency of two observers, of many, and the benchmark values."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from analysis.error_consistency import (
    CONSISTENCY_COLUMNS,
    accuracy,
    consistency_bounds,
    consistency_table,
    error_consistency,
    expected_consistency,
    kappa_under_independence,
    observed_consistency,
)
from analysis.recognition_benchmark import (
    METRICS,
    benchmark_ranks,
    benchmark_summary,
    consistency_by_condition,
)

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def observers(n_images, accuracies, *, seed=0, difficulty=0.0):
    """Correct answers of simulated observers who share how hard pictures are."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n_images) * difficulty
    bias = [stats.norm.ppf(p) * np.sqrt(1 + difficulty**2) for p in accuracies]
    return [rng.normal(size=n_images) < b - hard for b in bias]


def trials_of(
    correct, names, *, human=True, experiment="e", condition="0", excluded=False
):
    """Make a table of trials from one row of answers per observer."""
    return pd.concat(
        pd.DataFrame(
            {
                "subject": name,
                "image_id": [f"p{i:04d}" for i in range(len(row))],
                "correct": row,
                "is_human": human,
                "experiment": experiment,
                "condition": condition,
                "excluded": excluded,
            }
        )
        for name, row in zip(names, correct, strict=True)
    )


# ------------------------------------------------------------------ two observers


def test_a_missing_answer_is_an_error():
    truth = ["cat", "dog", "cat", "cat", "cat"]
    given = ["cat", "cat", "na", None, float("nan")]
    assert accuracy(given, truth) == 0.2
    assert accuracy(pd.array(["cat", pd.NA], dtype="str"), ["cat", "cat"]) == 0.5
    assert accuracy(["na"], ["na"]) == 0
    assert np.isnan(accuracy([], []))
    with pytest.raises(ValueError, match="`response` must have shape"):
        accuracy(["cat"], truth)


@given(answers)
@settings(max_examples=40)
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = np.array(pairs).T
    got = error_consistency(first, second)
    if len({*first.tolist(), *second.tolist()}) == 1:
        assert got == 1  # there it is undefined
    else:
        assert got == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


@given(answers, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_kappa_is_symmetric_whole_for_oneself_and_blind_to_order(pairs, random):
    first, second = np.array(pairs).T
    assert error_consistency(first, first) == 1
    assert error_consistency(first, second) == error_consistency(second, first)
    order = list(range(len(pairs)))
    random.shuffle(order)
    assert error_consistency(first[order], second[order]) == error_consistency(
        first, second
    )


@given(answers)
@settings(max_examples=40)
def test_observed_consistency_keeps_to_its_bounds(pairs):
    first, second = np.array(pairs).T
    observed = observed_consistency(first, second)
    low, high = consistency_bounds(first.mean(), second.mean())
    assert low - 1e-12 <= observed <= high + 1e-12
    brute = sum(a == b for a, b in pairs) / len(pairs)
    assert observed == pytest.approx(brute, abs=1e-15)


def test_bounds_are_reached():
    right = np.arange(20) < 15
    assert observed_consistency(right, np.arange(20) < 10) == 0.75
    assert observed_consistency(right, np.arange(20) >= 10) == 0.25
    assert consistency_bounds(0.75, 0.5) == (0.25, 0.75)


def test_independent_observers_have_kappa_zero_on_average():
    rng = np.random.default_rng(3)
    first = rng.random((800, 160)) < 0.8
    second = rng.random((800, 160)) < 0.6
    kappas = [error_consistency(a, b) for a, b in zip(first, second, strict=True)]
    assert abs(np.mean(kappas)) < 2 * np.std(kappas) / np.sqrt(800)
    observed = np.mean(first == second)
    assert expected_consistency(0.8, 0.6) == pytest.approx(observed, abs=0.01)


def test_the_null_interval_holds_the_kappas_of_independent_observers():
    rng = np.random.default_rng(5)
    first, second = rng.random((2, 3000, 160)) < np.array([0.9, 0.7])[:, None, None]
    kappas = [error_consistency(a, b) for a, b in zip(first, second, strict=True)]
    low, high = kappa_under_independence(0.9, 0.7, 160)
    assert np.mean((np.array(kappas) >= low) & (np.array(kappas) <= high)) == (
        pytest.approx(0.95, abs=0.02)
    )
    assert (low, high) == kappa_under_independence(0.9, 0.7, 160)
    wide = kappa_under_independence(0.9, 0.7, 160, level=0.99)
    assert wide[0] < low < 0 < high < wide[1]
    near_ceiling = kappa_under_independence(0.98, 0.98, 160)
    assert near_ceiling[1] - near_ceiling[0] > high - low
    assert kappa_under_independence(1, 1, 10, n_samples=10) == (1, 1)


def test_values_of_known_counts_stay_as_they_are():
    # Two people of the colour experiment; frozen, and equal to the reference values.
    first = np.repeat([True, True, False, False], [561, 31, 21, 27])
    second = np.repeat([True, False, True, False], [561, 31, 21, 27])
    assert observed_consistency(first, second) == 0.91875
    chance = expected_consistency(first.mean(), second.mean())
    assert chance == pytest.approx(0.84796875, abs=1e-15)
    assert error_consistency(first, second) == pytest.approx(0.465570400822, abs=1e-12)


def test_what_cannot_be_is_refused():
    assert np.isnan(error_consistency([], []))
    assert np.isnan(observed_consistency([], []))
    with pytest.raises(ValueError, match="2 trials but `correct_second` has 1"):
        error_consistency([True, False], [True])
    with pytest.raises(ValueError, match="must be true or false for every trial"):
        error_consistency([0.5], [True])
    with pytest.raises(ValueError, match="must be true or false for every trial"):
        observed_consistency([True], [None])
    with pytest.raises(ValueError, match="`accuracy_second` must be within"):
        expected_consistency(0.5, 1.5)
    with pytest.raises(ValueError, match="`n` must be within"):
        kappa_under_independence(0.5, 0.5, 0)


# ------------------------------------------------------------------ many observers


def test_the_table_has_the_values_of_each_pair():
    rows = observers(150, [0.9, 0.7, 0.5], difficulty=1.0)
    table = consistency_table(trials_of(rows, "abc"))
    assert list(table.columns) == ["experiment", "condition", *CONSISTENCY_COLUMNS]
    pairs = list(zip(table["first"], table["second"], strict=True))
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    by_name = dict(zip("abc", rows, strict=True))
    for row in table.itertuples():
        one, other = by_name[row.first], by_name[row.second]
        assert row.kappa == pytest.approx(error_consistency(one, other), abs=1e-14)
        assert row.observed == observed_consistency(one, other)
        assert row.expected == pytest.approx(
            expected_consistency(one.mean(), other.mean()), abs=1e-15
        )
        assert (row.n, row.accuracy_first, row.accuracy_second) == (
            150,
            one.mean(),
            other.mean(),
        )
    assert table[["ci_low", "ci_high", "null_low", "null_high"]].isna().all(axis=None)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_the_order_of_trials_does_not_matter(seed):
    trials = trials_of(observers(40, [0.8, 0.6, 0.7]), "abc")
    mixed = trials.sample(frac=1, random_state=seed)
    one = consistency_table(trials).set_index(["first", "second"])
    for (first, second), row in (
        consistency_table(mixed).set_index(["first", "second"]).iterrows()
    ):
        key = (first, second) if (first, second) in one.index else (second, first)
        assert row["kappa"] == pytest.approx(one.loc[key, "kappa"], abs=1e-14)


def test_pairs_are_chosen_and_taken_once():
    trials = trials_of(observers(30, [0.8] * 4), "abcd")

    def pairs(**chosen):
        table = consistency_table(trials, by=(), **chosen)
        return list(zip(table["first"], table["second"], strict=True))

    assert pairs(first=["c"]) == [("c", "a"), ("c", "b"), ("c", "d")]
    assert pairs(first=["a", "b"], second=["a", "b", "c"]) == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    with pytest.raises(ValueError, match="`first` names 'ab', who is no subject"):
        pairs(first=["ab"])
    with pytest.raises(TypeError, match="must be a sequence of names"):
        pairs(first="a")
    with pytest.raises(ValueError, match="no two of the observers"):
        pairs(first=["a"], second=["a"])


def test_other_pictures_or_repeated_ones_are_refused_by_name():
    trials = trials_of(observers(5, [0.8, 0.6]), ["ann", "bob"])
    other = trials.replace({"image_id": {"p0003": "q"}}).iloc[5:]
    with pytest.raises(
        ValueError, match=r"'ann' and 'bob' did not see .* 'e', '0': 2 .* 'p0003' \('a"
    ):
        consistency_table(pd.concat([trials.iloc[:5], other]))
    with pytest.raises(ValueError, match=r"1 were seen by one .* 'p0004' \('ann'\)"):
        consistency_table(trials.iloc[:9])
    with pytest.raises(ValueError, match="'bob' saw the picture 'p0004' more than"):
        consistency_table(pd.concat([trials, trials.iloc[9:]]))
    # Only pairs that are asked for must fit.
    third = trials_of(observers(5, [0.9]), ["cat"])
    assert (
        len(
            consistency_table(
                pd.concat([trials.iloc[:9], third]), first=["ann"], second=["cat"]
            )
        )
        == 1
    )
    with pytest.raises(ValueError, match="missing image_id"):
        consistency_table(trials.replace({"image_id": {"p0003": None}}))
    with pytest.raises(ValueError, match="must be true or false"):
        consistency_table(trials.assign(correct=pd.array([None] * 10, "boolean")))
    with pytest.raises(ValueError, match="'condition'"):
        consistency_table(trials.drop(columns="condition"))
    with pytest.raises(ValueError, match="`by` must name other columns"):
        consistency_table(trials, by=["subject"])


def test_intervals_cover_the_truth_and_do_not_depend_on_other_pairs():
    rng = np.random.default_rng(0)
    # Chances of both, only one, only the other, none: kappa is known.
    share = np.array([0.55, 0.15, 0.1, 0.2])
    p1, p2 = 0.7, 0.65
    chance = p1 * p2 + (1 - p1) * (1 - p2)
    truth = (0.75 - chance) / (1 - chance)
    parts = []
    for run in range(100):
        kind = rng.choice(4, size=200, p=share)
        rows = [(kind == 0) | (kind == 1), (kind == 0) | (kind == 2)]
        parts.append(trials_of(rows, "ab", condition=f"{run}"))
    table = consistency_table(pd.concat(parts), n_bootstrap=400)
    covered = (table["ci_low"] <= truth) & (table["ci_high"] >= truth)
    assert 0.88 <= covered.mean() <= 0.99
    alone = consistency_table(parts[3], n_bootstrap=400)
    assert_frame_equal(alone, table.iloc[[3]].reset_index(drop=True))
    null = consistency_table(parts[3], n_null=500).iloc[0]
    assert (null["null_low"], null["null_high"]) == kappa_under_independence(
        null["accuracy_first"], null["accuracy_second"], 200, n_samples=500
    )


# ------------------------------------------------------------------ benchmark


def benchmark_trials(seed=0):
    """Three people and two networks in two experiments, one with three conditions."""
    parts = []
    for experiment, condition, excluded in (
        ("noise", "0.0", True),
        ("noise", "0.1", False),
        ("noise", "0.2", False),
        ("edge", "0", False),
    ):
        rows = observers(
            60, [0.8, 0.7, 0.75, 0.6, 0.4], seed=seed + len(parts), difficulty=1
        )
        names = {"experiment": experiment, "condition": condition}
        names |= {"excluded": excluded}
        parts.append(trials_of(rows[:3], ["s1", "s2", "s3"], **names))
        parts.append(trials_of(rows[3:], ["net", "weak"], human=False, **names))
    return pd.concat(parts, ignore_index=True)


def brute_force(trials, maker):
    """The benchmark values as loops over conditions, people and experiments."""
    used = trials[~trials["excluded"]]
    people = ["s1", "s2", "s3"]
    totals = []
    for _, part in used.groupby("experiment", sort=False):
        wide = {
            condition: own.pivot_table(
                index="image_id", columns="subject", values="correct"
            ).astype(bool)
            for condition, own in part.groupby("condition")
        }
        if maker == "humans":
            pairs = [("s1", "s2"), ("s1", "s3"), ("s2", "s3")]
            pooled = part[part["is_human"]]["correct"].mean()
        else:
            pairs = [(maker, person) for person in people]
            pooled = part[part["subject"] == maker]["correct"].mean()
        per_pair = []
        for a, b in pairs:
            per_condition = [
                (
                    (own[a].mean() - own[b].mean()) ** 2,
                    np.mean(own[a] == own[b]),
                    cohen_kappa_score(own[a], own[b]),
                )
                for own in wide.values()
            ]
            per_pair.append(np.mean(per_condition, axis=0))
        totals.append([pooled, *np.mean(per_pair, axis=0)])
    return np.mean(totals, axis=0)


def whole(summary, maker):
    rows = summary[
        (summary["decision_maker"] == maker) & (summary["experiment"] == "all")
    ]
    return rows.set_index("metric").loc[list(METRICS), "value"].to_numpy()


@pytest.mark.parametrize("maker", ["humans", "net", "weak"])
def test_benchmark_values_are_those_of_plain_loops(maker):
    trials = benchmark_trials()
    got = whole(benchmark_summary(trials), maker)
    np.testing.assert_allclose(got, brute_force(trials, maker), atol=1e-13)
    only = benchmark_summary(trials, decision_makers=[maker])
    np.testing.assert_array_equal(got, whole(only, maker))
    counts = only[only["experiment"] == "all"].iloc[0]
    assert (counts["n_experiments"], counts["n_conditions"]) == (2, 3)
    assert counts["n_pairs"] == 6
    assert only["ci_low"].isna().all()


def test_a_copy_of_a_person_is_as_consistent_as_that_person():
    trials = benchmark_trials()
    person = trials[trials["subject"] == "s2"]
    copy = person.assign(subject="copy", is_human=False)
    summary = benchmark_summary(pd.concat([trials, copy]), decision_makers=["copy"])
    rows = summary.set_index(["experiment", "metric"])["value"]
    table = consistency_table(
        trials[(trials["experiment"] == "edge") & trials["is_human"]], first=["s2"]
    )
    wanted = (1 + table["kappa"].sum()) / 3
    assert rows["edge", "error_consistency"] == pytest.approx(wanted, abs=1e-14)
    assert (
        rows["edge", "ood_accuracy"]
        == person[person["experiment"] == "edge"]["correct"].mean()
    )


def test_benchmark_intervals_move_with_what_is_drawn():
    trials = benchmark_trials()
    widths = {}
    for over in ("images", "humans", "both"):
        table = benchmark_summary(trials, over=over, n_bootstrap=300)
        assert (table["ci_low"] <= table["ci_high"]).all()
        again = benchmark_summary(trials, over=over, n_bootstrap=300)
        assert_frame_equal(table, again)
        row = table[
            (table["decision_maker"] == "net")
            & (table["experiment"] == "all")
            & (table["metric"] == "error_consistency")
        ].iloc[0]
        widths[over] = row["ci_high"] - row["ci_low"]
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        people = table[(table["decision_maker"] == "humans")]
        assert people["ci_low"].notna().all()  # always a pair to compare
    assert widths["both"] > max(widths["images"], widths["humans"]) > 0
    accuracies = benchmark_summary(
        trials, decision_makers=["net"], over="humans", n_bootstrap=50
    )
    fixed = accuracies[accuracies["metric"] == "ood_accuracy"]
    # Other people do not change what a network answered.
    assert (fixed["ci_low"] == fixed["value"]).all()


def test_bootstrapped_pictures_give_the_spread_of_new_ones():
    values = [
        whole(benchmark_summary(benchmark_trials(100 * run)), "net")[3]
        for run in range(24)
    ]
    table = benchmark_summary(
        benchmark_trials(), decision_makers=["net"], n_bootstrap=500
    )
    row = table[table["metric"] == "error_consistency"].iloc[-1]
    width = (row["ci_high"] - row["ci_low"]) / (2 * 1.96)
    assert width == pytest.approx(np.std(values), rel=0.4)


def test_ranks_average_three_ranks():
    ranks = benchmark_ranks(benchmark_summary(benchmark_trials()))
    assert set(ranks["decision_maker"]) == {"humans", "net", "weak"}
    three = ranks[[f"rank_{metric}" for metric in METRICS[1:]]]
    assert ranks["mean_rank"].tolist() == three.mean(axis=1).tolist()
    assert ranks["mean_rank"].is_monotonic_increasing
    expected = stats.rankdata(ranks["accuracy_difference"])
    assert ranks["rank_accuracy_difference"].tolist() == expected.tolist()
    expected = stats.rankdata(-ranks["observed_consistency"])
    assert ranks["rank_observed_consistency"].tolist() == expected.tolist()
    trials = benchmark_trials()
    fewer = trials[(trials["subject"] != "weak") | (trials["experiment"] == "edge")]
    with pytest.raises(ValueError, match=r"'weak' have other experiments .*'noise'"):
        benchmark_ranks(benchmark_summary(fewer))


def test_the_benchmark_refuses_what_it_cannot_compare():
    trials = benchmark_trials()
    part = trials[(trials["subject"] != "net") | (trials["condition"] != "0.2")]
    with pytest.raises(ValueError, match="'net' has no trials in the condition '0"):
        benchmark_summary(part)
    with pytest.raises(ValueError, match=r"names 'nets', .* Did you mean 'net'"):
        benchmark_summary(trials, decision_makers=["nets"])
    with pytest.raises(ValueError, match="has no person"):
        benchmark_summary(trials[~trials["is_human"]])
    with pytest.raises(ValueError, match="'s1' is the name of a network and of"):
        benchmark_summary(trials.replace({"subject": {"net": "s1"}}))
    lone = trials[trials["subject"].isin(["s1", "net"])]
    assert set(benchmark_summary(lone)["decision_maker"]) == {"net"}
    with pytest.raises(ValueError, match="two people"):
        benchmark_summary(lone, decision_makers=["humans"])
    with pytest.raises(ValueError, match="`over` must be one of"):
        benchmark_summary(trials, over="people")


def test_consistency_by_condition_keeps_excluded_conditions():
    trials = benchmark_trials()
    table = consistency_by_condition(trials)
    assert len(table) == 4 * 3
    row = table[
        (table["condition"] == "0.0") & (table["decision_maker"] == "humans")
    ].iloc[0]
    own = trials[(trials["condition"] == "0.0") & trials["is_human"]]
    pairs = consistency_table(own)
    assert row["error_consistency"] == pytest.approx(pairs["kappa"].mean(), abs=1e-14)
    assert row["accuracy"] == own["correct"].mean()
    assert (row["n_images"], row["n_pairs"]) == (60, 3)
    # The mean over observers of their means to the others.
    means = [
        pairs[(pairs["first"] == s) | (pairs["second"] == s)]["kappa"].mean()
        for s in ("s1", "s2", "s3")
    ]
    assert row["error_consistency"] == pytest.approx(np.mean(means), abs=1e-14)
