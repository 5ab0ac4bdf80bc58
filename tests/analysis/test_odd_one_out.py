"""Odd-one-out choices, their likelihood, predicted similarity, and agreement."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

import analysis.odd_one_out as odd_one_out
from analysis.odd_one_out import (
    calibration_error,
    check_triplets,
    choice_nll,
    choice_probabilities,
    fit_temperature,
    odd_one_out_accuracy,
    odd_one_out_choices,
    pair_similarities,
    predicted_similarity,
)
from analysis.simulated_triplets import (
    draw_triplets,
    simulate_choices,
    sparse_embedding,
)
from analysis.triplet_agreement import (
    category_choices,
    category_embedding,
    choice_agreement,
    share_of,
    triplet_ceiling,
)


def embedding(n=12, d=5, seed=0):
    return np.random.default_rng(seed).gamma(0.6, 0.7, (n, d))


def all_triplets(n):
    return np.array(list(combinations(range(n), 3)))


def plain_similarity(x):
    """The published formula, one pair and one other object at a time."""
    n = len(x)
    e = np.exp(x @ x.T)
    found = np.eye(n)
    for i in range(n):
        for j in range(n):
            if i != j:
                found[i, j] = np.mean(
                    [
                        e[i, j] / (e[i, j] + e[i, k] + e[j, k])
                        for k in range(n)
                        if k not in (i, j)
                    ]
                )
    return found


# ------------------------------------------------------------------- choices


def test_frozen_numbers_of_a_seeded_embedding():
    x, rows = embedding(), all_triplets(12)
    assert odd_one_out_choices(x, rows)[:8].tolist() == [2, 2, 2, 2, 2, 1, 0, 2]
    first = [0.4958064651, 0.2641556206, 0.2400379143]
    np.testing.assert_allclose(choice_probabilities(x, rows)[0], first, atol=1e-9)
    assert choice_nll(x, rows) == pytest.approx(1.6464725529519415, abs=1e-12)
    assert odd_one_out_accuracy(x, rows) == pytest.approx(47 / 220)
    row = [1.0, 0.3972418075, 0.284847219]
    np.testing.assert_allclose(predicted_similarity(x)[0, :3], row, atol=1e-9)


@pytest.mark.parametrize("kind", ["dot", "cosine", "pearson", "neg_euclidean"])
def test_choices_match_a_loop_over_triplets(kind):
    x, rows = embedding(seed=3), all_triplets(12)

    def similar(a, b):
        if kind == "dot":
            return a @ b
        if kind == "neg_euclidean":
            return -np.sqrt(((a - b) ** 2).sum())
        if kind == "pearson":
            return np.corrcoef(a, b)[0, 1]
        return a @ b / np.sqrt((a @ a) * (b @ b))

    expected = []
    for i, j, k in rows:
        values = {2: similar(x[i], x[j]), 1: similar(x[i], x[k])}
        values[0] = similar(x[j], x[k])
        expected.append(max(values, key=values.get))
    assert odd_one_out_choices(x, rows, kind).tolist() == expected


def test_ties_are_no_choice_and_wrong():
    same = np.ones((3, 2))
    assert odd_one_out_choices(same, [[0, 1, 2]]).tolist() == [-1]
    # Pairs 01 and 02 are equally and most similar.
    two_best = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert odd_one_out_choices(two_best, [[0, 1, 2]]).tolist() == [-1]
    assert odd_one_out_accuracy(two_best, [[0, 1, 2]]) == 0
    # The two least similar pairs may be equal.
    clear = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert odd_one_out_choices(clear, [[0, 1, 2]]).tolist() == [2]


def test_undefined_similarities_are_no_choice():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1]])
    assert odd_one_out_choices(x, [[0, 1, 2]], "cosine").tolist() == [-1]
    assert odd_one_out_choices(x, [[0, 1, 2]], "dot").tolist() == [0]


@given(st.permutations([0, 1, 2]), st.integers(0, 100))
@settings(max_examples=25)
def test_the_odd_object_does_not_depend_on_the_order(order, seed):
    x = np.random.default_rng(seed).normal(size=(3, 4))
    rows = np.array([[0, 1, 2], order])
    first, second = odd_one_out_choices(x, rows)
    assert rows[0][first] == rows[1][second]


def test_many_triplets_are_worked_through_in_parts(monkeypatch):
    x, rows = embedding(), all_triplets(12)
    whole = pair_similarities(x, rows)
    monkeypatch.setattr(odd_one_out, "_CHUNK", 35)  # seven triplets at once
    np.testing.assert_array_equal(pair_similarities(x, rows), whole)


def test_likelihood_matches_scikit_learn():
    x, rows = embedding(seed=5), all_triplets(12)
    p = choice_probabilities(x, rows, 0.7)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    expected = log_loss(np.zeros(len(rows)), p, labels=[0, 1, 2])
    assert choice_nll(x, rows, 0.7) == pytest.approx(expected)


def test_no_information_has_the_likelihood_of_guessing():
    assert choice_nll(np.zeros((4, 2)), all_triplets(4)) == pytest.approx(np.log(3))


# --------------------------------------------------------------- temperature


def test_temperature_of_simulated_choices_is_recovered():
    x = sparse_embedding(30, 6, share=0.6)
    rows = simulate_choices(x, draw_triplets(30, 20_000), temperature=1.7)
    found = fit_temperature(x, rows)
    assert found == pytest.approx(1.7, rel=0.05)
    other = minimize_scalar(
        lambda t: choice_nll(x, rows, t), bounds=(0.5, 5), method="bounded"
    )
    assert choice_nll(x, rows, found) <= other.fun + 1e-9


def test_temperature_does_not_depend_on_a_scale_of_the_embedding():
    x = sparse_embedding(20, 4, share=0.7)
    rows = simulate_choices(x, draw_triplets(20, 2000))
    ratio = fit_temperature(3 * x, rows) / fit_temperature(x, rows)
    assert ratio == pytest.approx(9, rel=1e-4)


def test_temperature_of_equal_similarities_is_undefined():
    assert np.isnan(fit_temperature(np.ones((3, 2)), [[0, 1, 2]]))


def test_calibration_of_known_probabilities():
    # 0.8 twice, once right; 0.5 once, right: |0.5 - 0.8| 2/3 + |1 - 0.5| 1/3.
    p = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]]
    assert calibration_error(p, n_bins=10) == pytest.approx(0.2 + 0.5 / 3)


def test_true_probabilities_are_calibrated():
    x = sparse_embedding(30, 6, share=0.6)
    rows = simulate_choices(x, draw_triplets(30, 40_000))
    assert calibration_error(choice_probabilities(x, rows)) < 0.02
    assert calibration_error(choice_probabilities(x, rows, 0.25)) > 0.1


# ------------------------------------------------------- predicted similarity


@pytest.mark.parametrize("block", [1, 3, 5, 128])
def test_predicted_similarity_matches_a_plain_loop(block, monkeypatch):
    monkeypatch.setattr(odd_one_out, "_BLOCK", block)
    x = embedding(13, 4, seed=7)
    found = predicted_similarity(x)
    np.testing.assert_allclose(found, plain_similarity(x), atol=1e-12)
    np.testing.assert_array_equal(found, found.T)


def test_predicted_similarity_of_large_products_stays_exact():
    x = embedding(9, 3, seed=2) * 40
    logits = (x @ x.T).astype(np.longdouble)
    n = len(x)
    expected = np.eye(n)
    for i, j in combinations(range(n), 2):
        parts = [
            1
            / (
                1
                + np.exp(np.minimum(logits[i, k] - logits[i, j], 11_000))
                + np.exp(np.minimum(logits[j, k] - logits[i, j], 11_000))
            )
            for k in range(n)
            if k not in (i, j)
        ]
        expected[i, j] = expected[j, i] = np.mean(parts)
    assert np.ptp(logits) > 600
    np.testing.assert_allclose(predicted_similarity(x), expected, atol=1e-10)


def test_predicted_similarity_is_the_share_of_choices():
    # The three pairs of a triplet share one choice.
    x = embedding(8, 3)
    off_diagonal = predicted_similarity(x)[~np.eye(8, dtype=bool)]
    assert off_diagonal.sum() / 2 == pytest.approx(8 * 7 / 6)
    assert predicted_similarity(np.ones((5, 2)))[0, 1] == pytest.approx(1 / 3)


def test_predicted_similarity_does_not_change_its_input():
    x = embedding()
    before = x.copy()
    predicted_similarity(x)
    np.testing.assert_array_equal(x, before)


# ----------------------------------------------------------------- agreement


def test_agreement_does_not_depend_on_the_order_of_the_pair():
    rows = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    others = np.array([[1, 0, 2], [5, 4, 3], [7, 6, 8]])
    assert choice_agreement(rows, others).value == pytest.approx(2 / 3)
    assert choice_agreement(rows, rows).value == 1


def test_agreement_interval_is_that_of_a_bootstrap():
    right = np.random.default_rng(0).random(2171) < 0.4574
    found = share_of(right, n_bootstrap=4000)
    se = np.sqrt(found.value * (1 - found.value) / len(right))
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * se, rel=0.06)
    assert found.ci_low < found.value < found.ci_high
    assert np.isnan(share_of([]).value)
    assert np.isnan(share_of([True]).ci_low)


def test_other_objects_are_refused_with_their_row():
    rows = [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="Row 1 of"):
        choice_agreement(rows, [[0, 1, 2], [3, 4, 6]])
    with pytest.raises(ValueError, match="2 triplets, but"):
        choice_agreement(rows, [[0, 1, 2]])


def test_ceiling_of_repeated_answers_by_hand():
    # One triplet, answers a a b: others of a: {a, b} -> 1/2 each; of b: {a, a} -> 0.
    rows = [[0, 1, 2], [1, 0, 2], [0, 2, 1]]
    found = triplet_ceiling(rows)
    assert (found.low, found.high) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (found.n_triplets, found.n_answers) == (1, 3)
    assert np.isnan(triplet_ceiling([[0, 1, 2]]).high)


def test_the_generator_lies_between_the_bounds_of_the_ceiling():
    x = sparse_embedding(20, 5, share=0.6)
    repeated = np.repeat(draw_triplets(20, 300), 30, axis=0)
    rows = simulate_choices(x, repeated)
    ceiling = triplet_ceiling(rows)
    best = choice_probabilities(x, repeated).max(axis=1).mean()
    assert ceiling.low - 0.01 < best < ceiling.high + 0.01


def test_categories_choose_only_where_one_pair_shares_one():
    labels = ["a", "a", "b", "", "", "b"]
    rows = [[0, 1, 2], [0, 2, 5], [2, 0, 5], [0, 3, 4], [0, 2, 3]]
    assert category_choices(labels, rows).tolist() == [2, 0, 1, -1, -1]
    x = category_embedding(labels)
    assert odd_one_out_choices(x, rows).tolist() == [2, 0, 1, -1, -1]


def test_simulated_choices_have_the_probabilities_of_the_embedding():
    x = np.array([[1.0, 0.0], [0.8, 0.3], [0.1, 1.0]])
    rows = simulate_choices(x, np.tile([[0, 1, 2]], (30_000, 1)))
    p = choice_probabilities(x, [[0, 1, 2]])[0]
    shares = [(rows[:, 2] == odd).mean() for odd in (2, 1, 0)]
    np.testing.assert_allclose(shares, p, atol=0.01)


def test_drawn_triplets_are_uniform():
    rows = np.sort(draw_triplets(5, 20_000), axis=1)
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == 10
    np.testing.assert_allclose(counts / 20_000, 0.1, atol=0.01)


# ----------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("triplets", "error", "text"),
    [
        ([[0, 1]], ValueError, "shape"),
        ([[0.0, 1.0, 2.0]], TypeError, "whole numbers"),
        ([[0, 1, 9]], ValueError, "within 0 and 3"),
        ([[0, 1, -1]], ValueError, "within 0 and 3"),
        ([[0, 1, 2], [3, 1, 3]], ValueError, "row 1"),
        (np.empty((0, 3), int), ValueError, "empty"),
    ],
)
def test_wrong_triplets_are_refused(triplets, error, text):
    with pytest.raises(error, match=text):
        check_triplets(triplets, 4)


def test_wrong_numbers_are_refused():
    x = embedding(4, 2)
    with pytest.raises(ValueError, match="temperature"):
        choice_probabilities(x, [[0, 1, 2]], 0)
    with pytest.raises(ValueError, match="not finite"):
        choice_nll(np.full((4, 2), np.nan), [[0, 1, 2]])
    with pytest.raises(ValueError, match="3 objects"):
        predicted_similarity(x[:2])
    with pytest.raises(ValueError, match="kind"):
        odd_one_out_choices(x, [[0, 1, 2]], "dotty")
    with pytest.raises(ValueError, match="probabilities"):
        calibration_error([[0.5, 0.1, 0.1]])
