"""Accuracies, biases and verdicts from answers that are written by hand."""

import numpy as np
import pandas as pd
import pytest

from neurovis.core.types import SCORE_COLUMNS
from tasks.foveation_predictions import COLUMNS
from tasks.foveation_scores import (
    accuracies,
    as_conflicts,
    biases,
    confusions,
    directions,
    majority_accuracy,
    published_claims,
    score_rows,
)
from tasks.foveation_systems import SYSTEMS

N, N_CLASSES = 40, 4
LABELS = np.arange(N) % N_CLASSES
OPTIONS = {"n_bootstrap": 200, "seed": 0}


def cell(experiment, system, condition, right, *, run=0, level=1, value=np.nan):
    """Answers of one network to one test; of wrong ones the true class is third."""
    right = np.broadcast_to(np.asarray(right, bool), N)
    return pd.DataFrame(
        {
            "experiment": experiment,
            "system": system,
            "run": run,
            "epoch": 5,
            "condition": condition,
            "level": level,
            "value": value,
            "stimulus_id": [f"p{i}" for i in range(N)],
            "label": LABELS,
            "predicted": np.where(right, LABELS, (LABELS + 1) % N_CLASSES),
            "rank": np.where(right, 1, 3),
            "other": -1,
        }
    )[list(COLUMNS)]


def first(n):
    """Right for the first n pictures."""
    return np.arange(N) < n


def generalisation(shares, n_runs=6):
    return pd.concat(
        [
            cell("generalisation", system, shown, first(n), run=run)
            for system, n in shares.items()
            for shown in shares
            for run in range(n_runs)
        ]
    )


# ----------------------------------------------------------------- accuracies


def test_accuracies_are_shares_of_pictures_with_runs_alike():
    table = pd.concat(
        [
            cell("occlusion", "texture", "scotoma", first(n), run=run, level=z, value=v)
            for z, v, counts in ((1, 0.0, (40, 30)), (2, 0.1, (10, 4)))
            for run, n in enumerate(counts)
        ]
    )
    found = accuracies(table, N_CLASSES, k=1, **OPTIONS)
    assert found["accuracy"].tolist() == [70 / 80, 14 / 80]
    assert found["k"].tolist() == [1, 1]
    assert found["chance"].tolist() == [0.25, 0.25]
    assert found["value"].tolist() == [0, 0.1]
    assert found["n_runs"].tolist() == [2, 2]
    assert found["sd_runs_published"].round(9).tolist() == [5 / 40, 3 / 40]
    assert (found["ci_low"] < found["accuracy"]).all()
    assert (found["ci_high"] > found["accuracy"]).all()
    third = accuracies(table, N_CLASSES, k=3, **OPTIONS)
    assert third["accuracy"].tolist() == [1, 1]
    assert third["chance"].tolist() == [0.75, 0.75]


def test_confusions_are_shares_of_the_pictures_of_a_class():
    names = ("a", "b", "c", "d")
    table = generalisation({"texture": 20})
    found = confusions(table, names).set_index(["label", "predicted"])["share"]
    for i, name in enumerate(names):
        for j, other in enumerate(names):
            expected = 0.5 if j in (i, (i + 1) % 4) else 0.0
            assert found[name, other] == expected


def test_the_majority_is_that_of_training():
    train, test = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2, 1])
    assert majority_accuracy(train, test) == 0.4


# --------------------------------------------------------------- cue conflicts


def conflict(system, peripheral, run=0, experiment="window-conflict"):
    """Answers that go from the class around to the class in the centre."""
    parts = []
    for level, share in enumerate(peripheral, 1):
        one = cell(experiment, system, "window", first(0), run=run, level=level,
                   value=(level - 1) / (len(peripheral) - 1))  # fmt: skip
        other = (LABELS + 2) % N_CLASSES
        around = np.arange(N) < round(share * N)
        answer = np.where(around, LABELS, other)
        parts.append(one.assign(other=other, predicted=answer))
    return pd.concat(parts)


def test_biases_are_where_the_curves_cross():
    table = pd.concat(
        [
            conflict("texture", [1.0, 0.25, 0.0]),
            conflict("reference", [1.0, 0.75, 0.0]),
            conflict("uniform-blur", [1.0, 0.75, 0.75]),
        ]
    )
    found = biases(table, **OPTIONS).set_index("system")
    # Lead of the peripheral class: 1 to -0.5 over half the axis; 0.5 to -1.
    assert found.loc["texture", "cross_over"] == pytest.approx(0.5 * 1 / 1.5)
    assert found.loc["reference", "cross_over"] == pytest.approx(0.5 + 0.5 * 0.5 / 1.5)
    assert np.isnan(found.loc["uniform-blur", "cross_over"])
    assert set(found["experiment"]) == {"window-conflict"}
    assert set(found["epoch"]) == {5}
    assert (found["n_images"] == N).all()


def test_levels_of_one_size_count_once():
    table = conflict("texture", [1.0, 0.25, 0.0])
    small = table[table["level"] == 2].assign(level=4)
    both = pd.concat([table, small])
    assert len(as_conflicts(both)) == len(as_conflicts(table)) == 3 * N
    one, other = (biases(t, **OPTIONS) for t in (table, both))
    pd.testing.assert_frame_equal(one, other)


# ------------------------------------------------------------------- directions


def test_claims_are_those_of_the_abstract():
    claims = published_claims()
    counts = pd.Series([c.number for c in claims]).value_counts().to_dict()
    expected = {"1a": 1, "1b": 2, "2a": 3, "2b": 3, "2c": 3, "3a": 4, "3b": 4}
    assert counts == expected
    assert {c.first for c in claims} == {"texture", "foveated-blur"}
    for claim in claims:
        assert {claim.first, claim.second} <= set(SYSTEMS)
        assert claim.first in claim.text
        assert claim.second in claim.text
    expected = {"iid": {0, 1}, "high-pass": {1}, "low-pass": {-1}, "occlusion": {1},
                "cross-over": {-1}}  # fmt: skip
    for measure, signs in expected.items():
        assert {c.expected for c in claims if c.measure == measure} == signs


def verdicts(table):
    found = directions(table, 64, **OPTIONS)
    return found.set_index(["number", "first", "second"])


def test_own_test_pictures_are_compared_for_equality_and_for_more():
    shares = {"reference": 30, "texture": 30, "uniform-blur": 8, "foveated-blur": 30}
    table = generalisation(shares)
    # What the others are right about elsewhere must not count.
    elsewhere = table["system"] != table["condition"]
    table.loc[elsewhere, ["predicted", "rank"]] = [9, 4]
    found = verdicts(table)
    assert len(found) == 3
    equal = found.loc["1a", "texture", "reference"]
    assert (equal["difference"], equal["verdict"]) == (0, "holds")
    more = found.loc["1b", "texture", "uniform-blur"]
    assert more["difference"] == pytest.approx(22 / 40)
    assert (more["verdict"], more["n_images"], more["n_runs"]) == ("holds", N, 6)
    assert 0 < more["ci_low"] < more["difference"] < more["ci_high"]
    same = found.loc["1b", "texture", "foveated-blur"]
    assert (same["difference"], same["verdict"]) == (0, "undecided")


@pytest.mark.parametrize(
    ("texture", "reference", "blur", "equal", "more"),
    [
        (40, 10, 40, "fails", "undecided"),
        (10, 40, 30, "fails", "reversed"),
        (20, 18, 4, "undecided", "holds"),
    ],
)
def test_verdicts_follow_the_interval(texture, reference, blur, equal, more):
    shares = {"texture": texture, "reference": reference, "foveated-blur": blur}
    found = verdicts(generalisation(shares))["verdict"]
    assert found["1a", "texture", "reference"] == equal
    assert found["1b", "texture", "foveated-blur"] == more


def test_filters_are_judged_by_what_is_lost_against_the_unfiltered_picture():
    rows = []
    # Level 1, then two levels; the reference is better throughout but loses more. The
    # last cut-off is beyond the 32 cycles that pictures of 64 px can hold.
    cutoffs = (np.nan, 20.0, 31.0, 33.0)
    counts = {
        ("texture", "high-pass"): (24, 20, 16, 0),
        ("reference", "high-pass"): (40, 24, 20, 40),
        ("texture", "low-pass"): (24, 4, 0, 40),
        ("reference", "low-pass"): (40, 40, 36, 0),
        ("texture", "high-pass, grey"): (40, 40, 40, 40),
        ("reference", "high-pass, grey"): (0, 0, 0, 0),
    }
    for (system, family), numbers in counts.items():
        for level, (n, cutoff) in enumerate(zip(numbers, cutoffs, strict=True), 1):
            one = cell("spatial-frequency", system, family, first(n), level=level)
            rows.append(one.assign(value=cutoff))
    found = verdicts(pd.concat(rows))
    high = found.loc["2a", "texture", "reference"]
    assert high["difference"] == pytest.approx((18 - 24) / 40 - (22 - 40) / 40)
    assert high["verdict"] == "holds"
    low = found.loc["2b", "texture", "reference"]
    assert low["difference"] == pytest.approx((2 - 24) / 40 - (38 - 40) / 40)
    assert low["verdict"] == "holds"
    assert len(found) == 2
    beyond = pd.concat(rows).query("level in (1, 4)")
    assert directions(beyond, 64, **OPTIONS).empty


def test_occlusion_is_judged_on_the_plotted_levels():
    rows = []
    for system, inside, outside in (("texture", 30, 0), ("uniform-blur", 12, 40)):
        for kind in ("scotoma", "left2right"):
            for level in range(1, 18):
                n = inside if 2 <= level <= 8 else outside
                rows.append(cell("occlusion", system, kind, first(n), level=level))
    found = verdicts(pd.concat(rows)).loc["2c", "texture", "uniform-blur"]
    assert found["difference"] == pytest.approx(18 / 40)
    assert found["verdict"] == "holds"


def test_a_smaller_cross_over_is_the_stronger_bias():
    table = pd.concat(
        [
            conflict("texture", [1.0, 0.25, 0.0]),
            conflict("reference", [1.0, 0.75, 0.0]),
            conflict("uniform-blur", [1.0, 1.0, 1.0]),
        ]
    )
    found = verdicts(table)
    less = found.loc["3a", "texture", "reference"]
    assert less["difference"] == pytest.approx(1 / 3 - 2 / 3)
    assert less["verdict"] == "holds"
    none = found.loc["3a", "texture", "uniform-blur"]
    assert np.isnan(none["difference"])
    assert none["verdict"] == "undecided"
    swapped = table.assign(
        system=table["system"].map(
            {"texture": "reference", "reference": "texture", "uniform-blur": "x"}
        )
    )
    assert verdicts(swapped)["verdict"].tolist() == ["reversed"]


def test_p_values_are_adjusted_over_all_claims():
    shares = {"reference": 28, "texture": 30, "uniform-blur": 8, "foveated-blur": 24}
    found = directions(generalisation(shares), 64, **OPTIONS)
    order = found["p_value"].to_numpy()
    n = len(order)
    ranks = order.argsort().argsort() + 1
    expected = [
        min(order[j] * n / ranks[j] for j in range(n) if order[j] >= p) for p in order
    ]
    np.testing.assert_allclose(found["p_fdr"], np.minimum(expected, 1))
    assert (found["p_value"] > 0).all()


def test_claims_without_their_systems_or_experiments_are_left_out():
    assert directions(generalisation({"texture": 20}), 64, **OPTIONS).empty
    two = directions(generalisation({"texture": 20, "reference": 20}), 64, **OPTIONS)
    assert two["number"].tolist() == ["1a"]


# ------------------------------------------------------------------------ scores


def test_scores_have_the_common_columns_and_both_measures():
    accuracy = accuracies(generalisation({"texture": 20}), N_CLASSES, k=1, **OPTIONS)
    bias = biases(conflict("texture", [1.0, 0.25, 0.0]), **OPTIONS)
    table = score_rows(accuracy, bias, stimuli="drawings", task="foveation", seed=3)
    assert list(table.columns)[: len(SCORE_COLUMNS)] == list(SCORE_COLUMNS)
    assert table["metric"].tolist() == ["top1_accuracy", "cross_over"]
    assert table["value"].tolist() == pytest.approx([0.5, 1 / 3])
    assert table["condition"].tolist() == ["texture", "window"]
    assert set(table["stimuli"]) == {"drawings"}
    assert np.isnan(table["chance"].iloc[1])
    alone = score_rows(accuracy, pd.DataFrame(), stimuli="x", task="y", seed=0)
    assert alone["metric"].tolist() == ["top1_accuracy"]
