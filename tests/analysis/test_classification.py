"""Accuracies: ranks, crossed intervals, paired differences, confusions."""

import numpy as np
import pandas as pd
import pytest

from analysis.classification import (
    accuracy_by_run,
    accuracy_differences,
    accuracy_table,
    chance_level,
    confusion_matrix,
    hits_at,
    make_predictions,
    rank_of_label,
)


def simulate(rng, shares, *, n_images=60, n_runs=5, n_classes=4):
    """Runs of systems; pictures differ in difficulty."""
    easy = rng.normal(0, 0.1, n_images)
    parts = []
    for system, share in shares.items():
        lucky = rng.normal(0, 0.03, n_runs)
        for run in range(n_runs):
            hit = rng.random(n_images) < share + easy + lucky[run]
            label = np.arange(n_images) % n_classes
            parts.append(
                pd.DataFrame(
                    {
                        "system": system,
                        "run": run,
                        "condition": "iid",
                        "level": np.nan,
                        "stimulus_id": [f"p{i:03d}" for i in range(n_images)],
                        "label": label,
                        "predicted": np.where(hit, label, (label + 1) % n_classes),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_ranks_agree_with_a_stable_sort():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (200, 9)).astype(float)
    labels = rng.integers(0, 9, 200)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = 1 + np.argmax(order == labels[:, None], axis=1)
    np.testing.assert_array_equal(rank_of_label(scores, labels), expected)


def test_predictions_of_scores_agree_with_their_ranks():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(50, 6)), rng.integers(0, 6, 50)
    ids = [str(i) for i in range(50)]
    table = make_predictions(scores, labels, ids, system="net", run=3, level=2)
    right = table["predicted"] == table["label"]
    np.testing.assert_array_equal(right, table["rank"] == 1)
    np.testing.assert_array_equal(hits_at(table), right)
    np.testing.assert_array_equal(hits_at(table.drop(columns="rank")), right)
    top3 = [
        label in np.argsort(-s)[:3] for s, label in zip(scores, labels, strict=True)
    ]
    np.testing.assert_array_equal(hits_at(table, 3), top3)
    assert hits_at(table, 6).all()


def test_accuracies_agree_with_counting_by_hand():
    table = simulate(np.random.default_rng(2), {"a": 0.6, "b": 0.4}, n_runs=3)
    shuffled = table.sample(frac=1, random_state=0)
    runs = accuracy_by_run(shuffled).set_index(["system", "run"])["accuracy"]
    for (system, run), part in table.groupby(["system", "run"]):
        hits = sum(r.label == r.predicted for r in part.itertuples())
        assert runs[(system, run)] == pytest.approx(hits / 60)
    found = accuracy_table(shuffled, n_classes=4, n_bootstrap=0).set_index("system")
    for system in "ab":
        row = found.loc[system]
        assert row["accuracy"] == pytest.approx(runs[system].mean())
        assert row["sd_runs_published"] == pytest.approx(np.std(runs[system], ddof=0))
        assert (row["n_images"], row["n_runs"], row["chance"]) == (60, 3, 0.25)
        assert np.isnan(row["ci_low"])


def test_accuracies_of_classes_average_to_the_accuracy():
    table = simulate(np.random.default_rng(3), {"a": 0.5})
    by = ("system", "condition", "level", "label")
    classes = accuracy_table(table, by=by, n_bootstrap=0)
    assert classes["n_images"].tolist() == [15] * 4
    whole = accuracy_table(table, n_bootstrap=0)["accuracy"].iloc[0]
    assert classes["accuracy"].mean() == pytest.approx(whole)


def test_intervals_do_not_depend_on_other_cells_or_order():
    table = simulate(np.random.default_rng(4), {"a": 0.6, "b": 0.4})
    both = accuracy_table(table, n_bootstrap=50, seed=5)
    alone = accuracy_table(
        table[table["system"] == "b"].sample(frac=1, random_state=1),
        n_bootstrap=50,
        seed=5,
    )
    pd.testing.assert_frame_equal(both[1:].reset_index(drop=True), alone)


def test_intervals_hold_more_than_the_noise_of_one_source():
    table = simulate(np.random.default_rng(5), {"a": 0.6})
    width = {}
    for over in ("both", "images", "runs"):
        row = accuracy_table(table, over=over, n_bootstrap=300).iloc[0]
        assert row["ci_low"] < row["accuracy"] < row["ci_high"]
        width[over] = row["ci_high"] - row["ci_low"]
    # Quantiles of t with few runs are wide, so compare with the same freedom.
    assert width["both"] > width["runs"] * 0.99


def test_one_run_has_an_interval_over_images_only():
    table = simulate(np.random.default_rng(6), {"a": 0.6}, n_runs=1)
    both = accuracy_table(table, n_bootstrap=50).iloc[0]
    assert np.isnan([both["ci_low"], both["ci_high"]]).all()
    images = accuracy_table(table, over="images", n_bootstrap=50).iloc[0]
    assert images["ci_low"] < images["accuracy"] < images["ci_high"]


def test_a_true_difference_is_found_and_no_difference_is_not():
    table = simulate(np.random.default_rng(7), {"a": 0.75, "b": 0.4, "c": 0.4})
    apart = accuracy_differences(table, "a", "b", n_bootstrap=300).iloc[0]
    by_hand = accuracy_table(table, n_bootstrap=0).set_index("system")["accuracy"]
    assert apart["difference"] == pytest.approx(by_hand["a"] - by_hand["b"])
    assert 0.1 < apart["ci_low"] < apart["difference"] < apart["ci_high"]
    assert apart["p_value"] < 0.01
    same = accuracy_differences(table, "b", "c", n_bootstrap=300).iloc[0]
    assert same["ci_low"] < 0 < same["ci_high"]
    assert same["p_value"] > 0.05
    back = accuracy_differences(table, "b", "a", n_bootstrap=300).iloc[0]
    assert back["difference"] == -apart["difference"]
    assert back["ci_low"] == pytest.approx(-apart["ci_high"])


def test_pairing_narrows_the_interval_of_equal_systems():
    table = simulate(np.random.default_rng(8), {"a": 0.6})
    twin = pd.concat([table, table.assign(system="b")])
    row = accuracy_differences(twin, "a", "b", n_bootstrap=50).iloc[0]
    assert (row["difference"], row["ci_low"], row["ci_high"]) == (0, 0, 0)


@pytest.mark.slow
def test_intervals_cover_the_true_accuracy_of_new_runs_and_images():
    rng = np.random.default_rng(9)
    covered = 0
    for i in range(120):
        table = simulate(rng, {"a": 0.6}, n_images=60, n_runs=8)
        row = accuracy_table(table, n_bootstrap=200, seed=i).iloc[0]
        covered += row["ci_low"] <= 0.6 <= row["ci_high"]
    assert 0.90 <= covered / 120 <= 1.0


def test_confusions_are_counted_by_true_and_predicted_class():
    table = simulate(np.random.default_rng(10), {"a": 0.5})
    found = confusion_matrix(table, [3, 1, 0, 2])
    for i, true in enumerate([3, 1, 0, 2]):
        for j, named in enumerate([3, 1, 0, 2]):
            rows = (table["label"] == true) & (table["predicted"] == named)
            assert found[i, j] == rows.sum()
    share = confusion_matrix(table, [3, 1, 0, 2, "none"], share=True)
    np.testing.assert_allclose(share[:4].sum(axis=1), 1)
    assert np.isnan(share[4]).all()


def test_chance_is_guesses_over_classes():
    assert chance_level(20) == 0.05
    assert chance_level(15, 5) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: accuracy_table(t.iloc[1:]), ValueError, "same pictures"),
        (lambda t: accuracy_table(pd.concat([t, t])), ValueError, "comes twice"),
        (lambda t: accuracy_table(t.iloc[:0]), ValueError, "no rows"),
        (lambda t: accuracy_table(t, k=2), ValueError, "rank"),
        (lambda t: accuracy_table(t, over="all"), ValueError, "over"),
        (lambda t: accuracy_table(t.drop(columns="run")), ValueError, "run"),
        (lambda t: accuracy_differences(t, "a", "d"), ValueError, "second"),
        (
            lambda t: accuracy_differences(
                t[(t["system"] == "a") | (t["run"] < 4)], "a", "b"
            ),
            ValueError,
            "same pictures and runs",
        ),
        (lambda t: confusion_matrix(t, [0, 1, 2]), ValueError, "not in `classes`"),
        (lambda t: confusion_matrix(t, [0, 0]), ValueError, "repeats"),
        (lambda t: rank_of_label([[0.0, np.nan]], [0]), ValueError, "finite"),
        (lambda t: rank_of_label([[0.0, 1.0]], [2]), ValueError, "columns"),
        (lambda t: rank_of_label([[0.0, 1.0]], [0.5]), TypeError, "whole"),
        (lambda t: chance_level(4, 5), ValueError, "k"),
    ],
)
def test_wrong_arguments_are_told(call, error, words):
    table = simulate(np.random.default_rng(0), {"a": 0.6, "b": 0.4})
    with pytest.raises(error, match=words):
        call(table)
