"""Pictures of two classes, and who is paired with whom."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stimuli.cue_conflict import (
    balanced_pairs,
    decoy_pairs,
    published_pairs,
    square_conflict,
    window_conflict,
)

BLACK, WHITE = (np.full((4, 6, 3), v, np.uint8) for v in (0, 255))


def test_a_window_blends_and_rounds_half_up():
    rng = np.random.default_rng(0)
    image, decoy = rng.integers(0, 256, (2, 5, 7, 3), np.uint8)
    weight = rng.random((5, 7))
    found = window_conflict(image, decoy, weight)
    for i in range(5):
        for j in range(7):
            for c in range(3):
                a, b, f = float(image[i, j, c]), float(decoy[i, j, c]), weight[i, j]
                assert found[i, j, c] == int(b * f + a * (1 - f) + 0.5)
    assert (window_conflict(BLACK, WHITE, np.full((4, 6), 0.5)) == 128).all()


def test_weights_of_zero_and_one_give_the_pictures_themselves():
    rng = np.random.default_rng(1)
    image, decoy = rng.integers(0, 256, (2, 3, 4, 6, 3), np.uint8)
    np.testing.assert_array_equal(
        window_conflict(image, decoy, np.zeros((4, 6))), image
    )
    np.testing.assert_array_equal(window_conflict(image, decoy, np.ones((4, 6))), decoy)


def test_a_square_holds_the_inner_picture():
    found = square_conflict(WHITE, BLACK, 1)[..., 0]
    assert found.tolist() == [
        [0] * 6,
        [0, 0, 255, 255, 0, 0],
        [0, 0, 255, 255, 0, 0],
        [0] * 6,
    ]
    assert (square_conflict(WHITE, BLACK, 0) == 0).all()
    assert (square_conflict(WHITE, BLACK, 3) == 255).all()
    assert square_conflict(WHITE, BLACK, 1, point_px=(0, 0))[..., 0].sum() == 255


def test_decoys_are_of_the_next_class():
    table = decoy_pairs(20, range(4751, 4754))
    assert len(table) == 60
    assert table["image_number"].tolist()[:4] == [4751, 4752, 4753, 4751]
    assert (table["other_class"] == table["base_class"] % 20 + 1).all()


def test_the_published_sequence_has_twelve_pairs_of_one_class():
    table = published_pairs(20, range(4751, 5001))
    same = table[table["base_class"] == table["other_class"]]
    assert same["base_class"].unique().tolist() == [1]
    assert same["image_number"].tolist() == list(range(4770, 4991, 20))
    assert table["other_class"].tolist()[17:22] == [19, 20, 1, 2, 3]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=80), st.integers(0, 99))
def test_balanced_pairs_are_balanced(labels, seed):
    n = len(set(labels))
    if n < 2:
        with pytest.raises(ValueError, match="two classes"):
            balanced_pairs(labels, seed=seed)
        return
    table = balanced_pairs(labels, seed=seed)
    assert table["base"].tolist() == list(range(len(labels)))
    assert table["base_class"].tolist() == labels
    assert table["other_class"].tolist() == [labels[i] for i in table["other"]]
    assert (table["base_class"] != table["other_class"]).all()
    sizes = Counter(labels)
    pairs = Counter(zip(table["base_class"], table["other_class"], strict=True))
    for own, size in sizes.items():
        met = [pairs[own, other] for other in sizes if other != own]
        assert sum(met) == size
        assert max(met) - min(met) <= 1
    shown = Counter(table["other"])
    for kind in sizes:
        uses = [shown[i] for i, label in enumerate(labels) if label == kind]
        assert max(uses) - min(uses) <= 1


def test_classes_of_one_size_are_others_equally_often():
    table = balanced_pairs(np.repeat(np.arange(7), 10), seed=3)
    assert set(table["other_class"].value_counts()) == {10}
    assert set(table["other"].value_counts()) == {1}


def test_balanced_pairs_follow_the_seed():
    labels = ["a", "b", "c"] * 8
    first = balanced_pairs(labels, seed=1)
    assert first.equals(balanced_pairs(labels, seed=1))
    assert not first.equals(balanced_pairs(labels, seed=2))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: window_conflict(BLACK, WHITE, np.ones((6, 4))), ValueError, "shape"),
        (
            lambda: window_conflict(BLACK, WHITE, np.full((4, 6), 255)),
            ValueError,
            "by 255",
        ),
        (
            lambda: window_conflict(BLACK, WHITE[:3], np.ones((4, 6))),
            ValueError,
            "one shape",
        ),
        (
            lambda: window_conflict(BLACK / 2, WHITE, np.ones((4, 6))),
            TypeError,
            "uint8",
        ),
        (lambda: square_conflict(BLACK, WHITE, -1), ValueError, "half_px"),
        (lambda: published_pairs(1, [1]), ValueError, "n_classes"),
        (lambda: decoy_pairs(3, []), ValueError, "empty"),
    ],
)
def test_wrong_arguments_are_told(call, error, words):
    with pytest.raises(error, match=words):
        call()
