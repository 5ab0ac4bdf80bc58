"""Shape bias: the definition, its intervals, and frozen values of real observers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.shape_bias import (
    ShapeBias,
    shape_bias,
    shape_bias_by_category,
    shape_bias_interval,
)

names = st.sampled_from(["cat", "dog", "car"])
trials = st.lists(
    st.tuples(st.sampled_from(["cat", "dog", "car", "na"]), names, names),
    min_size=1,
    max_size=40,
)


@given(trials)
@settings(max_examples=40)
def test_shape_bias_is_what_a_loop_counts(rows):
    by_shape = sum(r == s for r, s, t in rows if s != t)
    by_texture = sum(r == t for r, s, t in rows if s != t)
    got = shape_bias(*zip(*rows, strict=True))
    assert got.n == len(rows)
    assert got.n_conflict == sum(s != t for _, s, t in rows)
    assert got.fraction_shape == by_shape / len(rows)
    assert got.fraction_texture == by_texture / len(rows)
    if by_shape + by_texture:
        assert got.shape_bias == by_shape / (by_shape + by_texture)
        # What holds the other way round when the cues are exchanged.
        other = shape_bias(*zip(*[(r, t, s) for r, s, t in rows], strict=True))
        assert got.shape_bias == pytest.approx(1 - other.shape_bias)
    else:
        assert np.isnan(got.shape_bias)


@given(trials)
@settings(max_examples=40)
def test_categories_add_up_to_the_whole(rows):
    columns = list(zip(*rows, strict=True))
    table = shape_bias_by_category(*columns)
    assert table["category"].tolist() == sorted(set(columns[1]))
    whole = shape_bias(*columns)
    for name in ("n", "n_conflict"):
        assert table[name].sum() == getattr(whole, name)
    n_shape = (table["fraction_shape"] * table["n"]).sum()
    assert n_shape == pytest.approx(whole.fraction_shape * whole.n)


def test_values_of_known_counts_stay_as_they_are():
    # A person and AlexNet on the 1280 pictures; frozen, equal to the reference values.
    for n_shape, n_texture, wanted in (
        (829, 33, 0.961716937355),
        (283, 376, 0.429438543247),
    ):
        rest = 1200 - n_shape - n_texture
        response = (
            ["cat"] * n_shape + ["dog"] * n_texture + ["car"] * rest + ["cat"] * 80
        )
        got = shape_bias(response, ["cat"] * 1280, ["dog"] * 1200 + ["cat"] * 80)
        assert got.shape_bias == pytest.approx(wanted, abs=1e-12)
        assert (got.fraction_shape, got.n_conflict) == (n_shape / 1280, 1200)


def test_missing_answers_decide_for_neither():
    got = shape_bias(
        pd.array(["cat", pd.NA, "na", "dog"], dtype="str"),
        ["cat"] * 4,
        ["dog", "dog", "dog", "cat"],
    )
    assert got == ShapeBias(0.25, 0.0, 1.0, 4, 3)
    empty = shape_bias([], [], [])
    assert (empty.n, empty.n_conflict) == (0, 0)
    assert np.isnan([empty.fraction_shape, empty.shape_bias]).all()
    assert shape_bias_by_category([], [], []).empty


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="`texture` must have shape"):
        shape_bias(["cat"], ["cat"], ["dog", "dog"])
    with pytest.raises(ValueError, match="`shape` has 1 missing"):
        shape_bias(["cat"], [None], ["dog"])
    columns = (["cat"] * 2, ["cat"] * 2, ["dog"] * 2)
    with pytest.raises(ValueError, match="`over` must be one of"):
        shape_bias_interval(*columns, over="people")
    with pytest.raises(ValueError, match="`image_id` must have shape"):
        shape_bias_interval(*columns, image_id=["a"])
    with pytest.raises(ValueError, match="`observer` has 1 missing"):
        shape_bias_interval(*columns, observer=["a", None])
    with pytest.raises(ValueError, match="`n_bootstrap` must be within"):
        shape_bias_interval(*columns, n_bootstrap=0)


def decisions(n_images, observers, *, seed, spread_images=0.0):
    """Simulate decisions: observers have a chance of shape, pictures shift it."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(size=n_images) * spread_images
    chance = 1 / (
        1 + np.exp(-(np.log(np.divide(observers, 1 - observers)))[:, None] - shift)
    )
    shape = rng.random(chance.shape) < chance
    image, who = np.meshgrid(np.arange(n_images), np.arange(len(observers)))
    response = np.where(shape, "cat", "dog").ravel()
    n = response.size
    return (response, ["cat"] * n, ["dog"] * n), image.ravel(), who.ravel()


def test_intervals_over_images_cover_the_chance_of_one_observer():
    covered = []
    for seed in range(60):
        columns, image, _ = decisions(100, np.array([0.7]), seed=seed)
        low, high = shape_bias_interval(*columns, image_id=image, n_bootstrap=300)
        covered.append(low <= 0.7 <= high)
    assert 0.86 <= np.mean(covered) <= 1


def test_what_is_drawn_widens_the_interval():
    people = np.array([0.2, 0.4, 0.6, 0.8])
    columns, image, who = decisions(80, people, seed=0, spread_images=2.0)
    width = {}
    for over in ("images", "observers", "both"):
        low, high = shape_bias_interval(
            *columns, image_id=image, observer=who, over=over
        )
        width[over] = high - low
        assert 0 < low < high < 1
    assert width["both"] > width["observers"] > width["images"] > 0
    # Answers to one picture go together: as many trials apart would promise more.
    apart = shape_bias_interval(*columns)
    assert apart[1] - apart[0] < width["images"]
    again = shape_bias_interval(*columns, image_id=image, observer=who, over="both")
    assert again[1] - again[0] == width["both"]


def test_one_observer_or_one_picture_gives_no_interval():
    columns = (["cat", "dog"], ["cat"] * 2, ["dog"] * 2)
    assert np.isnan(shape_bias_interval(*columns, over="observers")).all()
    assert np.isnan(shape_bias_interval(*columns, image_id=["a", "a"])).all()
    assert np.isnan(shape_bias_interval([], [], [])).all()
    nothing = shape_bias_interval(["na"] * 9, ["cat"] * 9, ["dog"] * 9)
    assert np.isnan(nothing).all()
