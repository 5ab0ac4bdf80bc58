"""Similarities against scipy, choices against plain loops."""

import numpy as np
import pytest
from scipy.spatial import distance

from analysis.choices import (
    SIMILARITIES,
    choose_odd,
    choose_option,
    pick_largest,
    similarity,
    similarity_matrix,
)
from neurovis.core.rng import generator

SCIPY = {
    "cosine": lambda a, b: 1 - distance.cosine(a, b),
    "pearson": lambda a, b: np.corrcoef(a, b)[0, 1],
    "neg_euclidean": lambda a, b: -distance.euclidean(a, b),
    "dot": np.dot,
}


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_similarities_equal_those_of_scipy(kind):
    rows = generator(0, "rows").normal(size=(6, 9))
    matrix = similarity_matrix(rows, kind)
    for i in range(6):
        for j in range(6):
            expected = SCIPY[kind](rows[i], rows[j])
            assert similarity(rows[i], rows[j], kind) == pytest.approx(expected)
            # Distances from products lose digits where vectors nearly agree.
            assert matrix[i, j] == pytest.approx(expected, abs=1e-7)


def test_vectors_without_direction_have_no_cosine_and_no_correlation():
    assert np.isnan(similarity(np.zeros(3), np.ones(3), "cosine"))
    assert np.isnan(similarity(np.full(3, 0.1), [1.0, 2.0, 3.0], "pearson"))
    assert similarity(np.zeros(3), np.ones(3), "dot") == 0


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_odd_item_is_the_one_least_like_the_others(kind):
    items = generator(1, "items").normal(size=(40, 4, 7))
    found = choose_odd(items, kind)
    for trial, four in enumerate(items):
        means = [
            np.mean([SCIPY[kind](four[i], four[j]) for j in range(4) if j != i])
            for i in range(4)
        ]
        assert found.picked[trial] == np.argmin(means)
        ordered = np.sort(means)
        assert found.margin[trial] == pytest.approx(ordered[1] - ordered[0])


def test_option_most_like_the_probe_is_picked():
    rng = generator(2, "options")
    probe, options = rng.normal(size=(30, 5)), rng.normal(size=(30, 3, 5))
    picked = choose_option(probe, options, "pearson").picked
    for p, three, k in zip(probe, options, picked, strict=True):
        assert k == np.argmax([np.corrcoef(p, o)[0, 1] for o in three])


def test_ties_and_undefined_values_are_no_choice():
    found = pick_largest([[1.0, 1.0, 0.0], [np.nan, 1.0, 0.0], [0.0, 2.0, 1.0]])
    assert found.picked.tolist() == [-1, -1, 1]
    assert found.margin[0] == 0
    assert np.isnan(found.margin[1])
    assert found.margin[2] == 1


def test_equal_pictures_are_a_tie():
    same = np.ones((1, 3, 4))
    assert choose_odd(same).picked.tolist() == [-1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: similarity([1.0], [1.0, 2.0]), "as many features"),
        (lambda: similarity([1.0], [1.0], "cos"), "kind"),
        (lambda: choose_odd(np.ones((2, 2, 3))), "3 items per trial"),
        (lambda: pick_largest(np.ones((2, 1))), "2 options"),
        (lambda: choose_option(np.ones((2, 3)), np.ones((2, 2, 4))), "options"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
