"""From 1000 classes to sixteen categories."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from analysis.sixteen_classes import (
    CATEGORIES,
    CLASS_INDICES,
    RULES,
    sixteen_class_decisions,
    sixteen_class_probabilities,
)
from data_loaders.model_vs_human import CATEGORY_NAMES


def drawn(n=50, seed=0):
    logits = 2 * np.random.default_rng(seed).standard_normal((n, 1000))
    return softmax(logits, axis=1)


def test_categories_have_their_counts_and_no_class_in_common():
    assert CATEGORIES == tuple(sorted(CATEGORIES)) == CATEGORY_NAMES
    counts = [len(members) for members in CLASS_INDICES.values()]
    assert counts == [1, 4, 2, 49, 5, 7, 3, 6, 4, 3, 109, 2, 2, 1, 1, 8]
    members = [i for group in CLASS_INDICES.values() for i in group]
    assert len(set(members)) == len(members) == 207
    assert 0 <= min(members) <= max(members) < 1000
    # Indices are not what they were taken from: hens, cheetahs and toy trucks are out.
    assert not {7, 9, 86, 269, 286 + 1, 888} & set(members)


def test_members_are_those_of_the_data_set(data_folder):
    path = data_folder / "imagenet_backbones" / "sixteen_class_indices.json"
    wanted = json.loads(path.read_text())
    assert {name: list(m) for name, m in CLASS_INDICES.items()} == wanted


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_what_a_loop_does(rule):
    probabilities = drawn()
    got = sixteen_class_probabilities(probabilities, rule)
    join = {"mean": np.mean, "sum": np.sum, "max": np.max}[rule]
    for row, values in zip(probabilities, got, strict=True):
        wanted = [join([row[i] for i in CLASS_INDICES[name]]) for name in CATEGORIES]
        np.testing.assert_allclose(values, wanted, rtol=1e-12)
    decided = sixteen_class_decisions(probabilities, rule)
    assert decided.tolist() == [CATEGORIES[i] for i in got.argmax(axis=1)]


def test_decisions_of_seeded_numbers_stay_as_they_are():
    # Frozen: they agreed with the reference values when they were written.
    probabilities = drawn(6)
    words = {rule: sixteen_class_decisions(probabilities, rule) for rule in RULES}
    assert words["mean"].tolist() == [
        "dog",
        "bicycle",
        "elephant",
        "dog",
        "car",
        "keyboard",
    ]
    assert words["sum"].tolist() == ["dog"] * 6
    assert words["max"].tolist() == ["dog", "bird", "dog", "dog", "dog", "bird"]
    first = sixteen_class_probabilities(probabilities)[0, :3]
    np.testing.assert_allclose(
        first, [1.2083967e-05, 0.000248260046, 0.000885534152], atol=1e-9
    )


def test_a_sure_network_is_believed_and_ties_go_to_the_first():
    sure = np.eye(1000)[[members[-1] for members in CLASS_INDICES.values()]]
    for rule in RULES:
        assert sixteen_class_decisions(sure, rule).tolist() == list(CATEGORIES)
    outside = np.eye(1000)[[0]]
    assert sixteen_class_decisions(outside).tolist() == ["airplane"]
    assert sixteen_class_decisions(np.zeros((0, 1000))).shape == (0,)


def test_half_precision_is_near_enough():
    exact = drawn()
    half = sixteen_class_probabilities(exact.astype(np.float16))
    np.testing.assert_allclose(half, sixteen_class_probabilities(exact), atol=1e-4)


def test_what_are_no_probabilities_is_refused():
    with pytest.raises(ValueError, match="Take the softmax"):
        sixteen_class_decisions(np.random.default_rng(0).normal(size=(3, 1000)))
    with pytest.raises(ValueError, match="sums from 2000"):
        sixteen_class_decisions(np.full((1, 1000), 2.0))
    with pytest.raises(ValueError, match=r"shape \(any, 1000\)"):
        sixteen_class_decisions(np.ones(1000) / 1000)
    with pytest.raises(ValueError, match="not finite"):
        sixteen_class_decisions(np.full((1, 1000), np.nan))
    with pytest.raises(ValueError, match="`rule` must be one of"):
        sixteen_class_decisions(drawn(1), "median")
