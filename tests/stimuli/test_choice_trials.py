"""What is shown, asked and right in a choice experiment."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core.types import StimulusSet, Viewing
from stimuli.choice_trials import (
    PICTURE_COLUMNS,
    draw_orders,
    draw_triplets,
    make_choice_trials,
    order_of,
)
from stimuli.search_arrays import make_search_arrays
from stimuli.slope_arrays import make_slope_arrays


def pictures(n=4, **columns):
    table = pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(n)]} | columns)
    images = [np.full((4, 6, 3), 10 * i, np.uint8) for i in range(n)]
    return StimulusSet("levels", table, Viewing(30, 6, 4), images)


def test_one_picture_has_two_answers_from_a_column():
    made = pictures(kind=["cat", "dog", "dog", "cat"], size=[1.0, 2.0, np.nan, 4.0])
    trials = make_choice_trials(made, "2afc", answer_column="kind")
    assert trials.table["truth"].tolist() == ["cat", "dog", "dog", "cat"]
    assert trials.keys == {"cat": "f", "dog": "j"}
    assert trials.key_text == "f:cat|j:dog"
    assert trials.pictures == ((0,), (1,), (2,), (3,))
    assert trials.factors == ["kind", "size"]


def test_pairs_keep_the_order_of_the_table_and_their_truth():
    groups = pd.DataFrame(
        {"picture_1": ["s2", "s0"], "picture_2": ["s1", "s3"], "answer": ["s1", None]}
    ).assign(level=["low", "high"])
    trials = make_choice_trials(pictures(), "2afc", groups=groups)
    assert trials.table["stimulus_id"].tolist() == ["s2+s1", "s0+s3"]
    assert trials.table["truth"].tolist() == ["s1", None]
    assert trials.pictures == ((2, 1), (0, 3))
    assert trials.keys == {"left": "f", "right": "j"}
    assert trials.factors == ["level"]


def test_a_search_knows_where_the_target_is():
    made = make_slope_arrays("feature", set_sizes=[3], trials=2)
    trials = make_choice_trials(made, "search", reserved=("task", "trial"))
    assert Counter(trials.table["truth"]) == {"present": 2, "absent": 2}
    for box, (_, row) in zip(trials.boxes, made.table.iterrows(), strict=True):
        if row["target_present"]:
            left, top, right, bottom = box
            assert left <= row["target_left_px"] < right
            assert top <= row["target_top_px"] < bottom
        else:
            assert box is None
    assert "stimulus_task" in trials.factors
    assert "stimulus_trial" in trials.factors
    assert "items" not in trials.factors


def test_without_absent_targets_one_key_says_found():
    made = make_search_arrays("Ts", set_sizes=[3], trials=2)
    trials = make_choice_trials(made, "search")
    assert trials.keys == {"present": "space"}
    assert all(box is not None for box in trials.boxes)


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("3afc", {}, "`task` must be one of '2afc', 'search', 'odd-one-out'"),
        ("2afc", {}, "needs `answer_column`"),
        ("2afc", {"answer_column": "four"}, "two different answers.*it has 4"),
        ("2afc", {"answer_column": "gap"}, "no answer for 's1'"),
        ("2afc", {"answer_column": "kinds"}, "kinds"),
        ("search", {"answer_column": "kind"}, "True or 'present'.*got 'cat'"),
        ("odd-one-out", {}, "needs `groups`"),
    ],
)
def test_answers_that_do_not_fit_the_task_are_refused(task, given, message):
    made = pictures(
        kind=["cat", "dog"] * 2, four=list("abcd"), gap=["a", None, "b", "a"]
    )
    with pytest.raises(ValueError, match=message):
        make_choice_trials(made, task, **given)


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        ({"picture_1": ["s0"]}, "2afc", "picture_2"),
        ({"picture_1": ["s0"], "picture_2": ["s9"]}, "2afc", "'s9' in row 0"),
        ({"picture_1": ["s0"], "picture_2": ["s0"]}, "2afc", "with itself in row 0"),
        ({"picture_1": [], "picture_2": []}, "2afc", "no row"),
        (
            {"picture_1": ["s0"], "picture_2": ["s1"], "answer": ["s2"]},
            "2afc",
            "answer 's2' in row 0",
        ),
        (
            {"picture_1": ["s0"], "picture_2": ["s1"], "picture_3": ["s2"]},
            "2afc",
            "'2afc' shows two",
        ),
        ({"picture_1": ["s0"], "picture_2": ["s1"]}, "odd-one-out", "picture_3"),
        ({"picture_1": ["s0"], "picture_2": ["s1"]}, "search", "one display at a time"),
    ],
)
def test_groups_that_cannot_be_shown_are_refused(rows, task, message):
    with pytest.raises(ValueError, match=message):
        make_choice_trials(pictures(), task, groups=pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cat": "f"}, "must name the keys of"),
        ({"cat": "f", "dog": "F"}, "one key for two answers"),
        ({"cat": "f", "dog": "lefft"}, "Did you mean 'left'"),
        ({"cat": "f", "dog": "|"}, "one sign"),
    ],
)
def test_keys_that_cannot_be_told_apart_are_refused(keys, message):
    made = pictures(kind=["cat", "dog"] * 2)
    with pytest.raises(ValueError, match=message):
        make_choice_trials(made, "2afc", answer_column="kind", keys=keys)


def test_triplets_are_different_and_reproducible():
    names = [f"s{i}" for i in range(7)]
    drawn = draw_triplets(names, 35, seed=3)
    sets = {frozenset(row) for row in drawn.to_numpy().tolist()}
    assert sets == {frozenset(c) for c in itertools.combinations(names, 3)}
    few = draw_triplets(names, 5, seed=3)
    assert few.equals(draw_triplets(names, 5, seed=3))
    assert not few.equals(draw_triplets(names, 5, seed=4))
    assert list(few) == list(PICTURE_COLUMNS)
    with pytest.raises(ValueError, match="7 pictures have 35 triplets"):
        draw_triplets(names, 36)


@given(
    n_trials=st.integers(1, 13),
    n_places=st.integers(1, 3),
    n_repeats=st.integers(1, 4),
    seed=st.integers(0, 50),
)
def test_orders_hold_each_trial_once_per_repeat_and_balance_places(
    n_trials, n_places, n_repeats, seed
):
    orders = draw_orders(n_trials, n_places, n_repeats=n_repeats, n_orders=2, seed=seed)
    n_arrangements = len(list(itertools.permutations(range(n_places))))
    for order in orders:
        for repeat in range(n_repeats):
            part = order[repeat * n_trials : (repeat + 1) * n_trials]
            assert sorted(trial for trial, _ in part) == list(range(n_trials))
        counts = Counter(own for _, own in order)
        most = [counts[i] for i in range(n_arrangements)]
        assert max(most) - min(most) <= 1
        by_trial = defaultdict(list)
        for trial, own in order:
            by_trial[trial].append(own)
        if n_places > 1:
            for owns in by_trial.values():
                assert all(a != b for a, b in itertools.pairwise(owns))
    assert orders == draw_orders(
        n_trials, n_places, n_repeats=n_repeats, n_orders=2, seed=seed
    )


def test_participants_spread_over_the_orders():
    got = Counter(order_of(f"participant-{i}", 10) for i in range(2000))
    assert set(got) == set(range(10))
    assert min(got.values()) > 140
    assert order_of("", 2**32) == 0x811C9DC5  # the published offset of FNV-1a
    assert order_of("a", 2**32) == 0xE40C292C
