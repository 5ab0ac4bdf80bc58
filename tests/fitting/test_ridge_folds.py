"""Folds: consecutive, grouped and explicit ones, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from neurovis.fitting.ridge_folds import (
    check_leakage,
    contiguous_folds,
    group_numbers,
    grouped_folds,
    make_folds,
    sort_by_fold,
)


@given(st.data())
def test_contiguous_folds_are_those_of_scikit_learn(data):
    n = data.draw(st.integers(2, 60))
    k = data.draw(st.integers(2, n))
    theirs = [held for _, held in KFold(k).split(np.zeros(n))]
    for ours, expected in zip(contiguous_folds(n, k), theirs, strict=True):
        np.testing.assert_array_equal(ours, expected)


@given(st.data())
def test_a_group_is_never_split_and_each_row_is_held_out_once(data):
    groups = data.draw(st.lists(st.integers(0, 9), min_size=4, max_size=50))
    n_groups = len(set(groups))
    if n_groups < 2:
        return
    k = data.draw(st.integers(2, n_groups))
    folds = make_folds(k, len(groups), groups)
    assert sorted(np.concatenate(folds)) == list(range(len(groups)))
    names = [set(np.array(groups)[fold]) for fold in folds]
    assert sum(map(len, names)) == n_groups
    sizes = [len(name) for name in names]
    assert max(sizes) - min(sizes) <= 1
    check_leakage(folds, groups)


@given(st.integers(2, 40), st.data())
def test_one_row_per_group_gives_consecutive_folds(n, data):
    k = data.draw(st.integers(2, n))
    groups = [f"image {i}" for i in data.draw(st.permutations(range(n)))]
    for ours, plain in zip(
        grouped_folds(groups, k), contiguous_folds(n, k), strict=True
    ):
        np.testing.assert_array_equal(ours, plain)


def test_groups_are_numbered_by_first_appearance_whatever_their_type():
    expected = [0, 1, 0, 2]
    for groups in (["b", "a", "b", "c"], [7, 3, 7, 9], [2.5, 1.0, 2.5, 0.0]):
        assert group_numbers(groups).tolist() == expected
        assert group_numbers(np.array(groups)).tolist() == expected


def test_forms_of_explicit_folds_agree():
    held = [[4, 0], [1], [5, 3]]
    rest = [np.setdiff1d(np.arange(7), fold) for fold in held]
    expected = [np.array(fold) for fold in held]
    pairs = [(train, np.array(fold)) for train, fold in zip(rest, held, strict=True)]
    number = np.full(7, -1)  # row 2 and 6 are always trained on
    for k, fold in enumerate(held):
        number[fold] = k
    for form in (held, expected, tuple(held), iter(held), pairs, number):
        for found, fold in zip(make_folds(form, 7), expected, strict=True):
            np.testing.assert_array_equal(np.sort(found), np.sort(fold))


def test_numbers_of_folds_may_have_gaps():
    folds = make_folds(np.array([5, -1, 2, 5]), 4)
    assert [fold.tolist() for fold in folds] == [[2], [0, 3]]


def test_sorting_by_fold_puts_rows_that_are_never_held_out_last():
    order = sort_by_fold([np.array([3, 1]), np.array([4])], 6)
    assert order.order.tolist() == [3, 1, 4, 0, 2, 5]
    assert order.slices == [slice(0, 2), slice(2, 3)]
    assert not order.is_identity
    assert sort_by_fold(contiguous_folds(6, 4), 6).is_identity


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ([[0, 2], [1, 3]], "'cat' has rows in fold 0 and in fold 1; 2 groups"),
        ([[0], [2]], "'cat' has rows in fold 0 and in no fold"),
        ([[0, 1, 2]], "'dog' has rows in fold 0 and in no fold"),
    ],
)
def test_a_group_on_both_sides_of_a_fold_is_refused_by_name(folds, words):
    groups = ["cat", "cat", "dog", "dog"]
    if folds == [[0, 2], [1, 3]]:
        words = words.replace("2 groups", "2 groups are split")
    with pytest.raises(ValueError, match=f"Group {words}"):
        make_folds(folds, 4, groups)
    found = make_folds(folds, 4, groups, group_leakage="allow")
    assert [fold.tolist() for fold in found] == folds


@pytest.mark.parametrize(
    ("cv", "error", "words"),
    [
        (1, ValueError, "`cv` must be 2 folds or more"),
        (0, ValueError, "`cv` must be 2 folds or more"),
        (7, ValueError, "7 folds, but there are 6 samples"),
        (True, TypeError, "`cv` must be a number of folds"),
        (None, TypeError, "`cv` must be a number of folds"),
        (2.0, TypeError, "`cv` must be a number of folds"),
        ("five", TypeError, "`cv` must be a number of folds"),
        (object(), TypeError, "which rows are held out"),
        ([], ValueError, "no folds"),
        ([[], [1]], ValueError, "Fold 0 of `cv` holds out 0 of 6"),
        ([range(6)], ValueError, "Fold 0 of `cv` holds out 6 of 6"),
        ([[0, 1], [6]], ValueError, "Fold 1 of `cv` has rows from 6 to 6"),
        ([[-1, 2]], ValueError, "rows from -1 to 2"),
        ([[0, 1], [1, 2]], ValueError, "Row 1 is held out 2 times"),
        ([[0, 0]], ValueError, "Row 0 is held out 2 times"),
        ([[0.0, 1.0]], TypeError, "vector of row numbers"),
        ([[True, False] * 3], TypeError, "vector of row numbers"),
        ([[[0, 1]]], TypeError, "vector of row numbers"),
        (np.array([0, 1]), ValueError, "6 numbers are needed; got 2"),
        (np.full(6, -1), ValueError, "no folds"),
        ([(np.arange(2), np.arange(2, 4))], ValueError, "Drop the unused rows"),
    ],
)
def test_wrong_folds_are_refused_with_advice(cv, error, words):
    with pytest.raises(error, match=words):
        make_folds(cv, 6)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (list("aabbc"), "one entry per sample; got 5 entries for 6"),
        ([1, 1, 1, 2, 2, 2], "2 distinct groups"),
        ([0.0, 1.0, np.nan, 2.0, 3.0, 4.0], "undefined entries"),
        (np.zeros((6, 2)), "one entry per sample"),
    ],
)
def test_wrong_groups_are_refused(groups, words):
    with pytest.raises(ValueError, match=words):
        make_folds(3, 6, groups)


def test_unknown_policy_of_leakage_is_refused():
    with pytest.raises(ValueError, match="`group_leakage` must be one of"):
        make_folds(2, 4, group_leakage="ignore")
