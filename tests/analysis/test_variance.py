"""Unique and shared variance against their definitions and known contributions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.metrics import pearson_r, r_squared
from analysis.variance import (
    partition_predictions,
    partition_variance,
    split_pearson_r,
    split_r_squared,
)

SHARES = st.floats(-1, 1).map(lambda x: round(x, 3))


def combinations_of(names):
    sizes = range(1, len(names) + 1)
    return [c for size in sizes for c in itertools.combinations(names, size)]


def fit(features, y, n_train):
    """Predict held-out rows by ordinary least squares."""
    weights, *_ = np.linalg.lstsq(features[:n_train], y[:n_train], rcond=None)
    return features[n_train:] @ weights


# ----------------------------------------------------------- inclusion, exclusion


@given(SHARES, SHARES, SHARES)
def test_two_spaces_follow_the_textbook(a, b, ab):
    found = partition_variance({"a": a, "b": b, ("a", "b"): ab})
    assert found.unique("a") == pytest.approx(ab - b, abs=1e-12)
    assert found.unique("b") == pytest.approx(ab - a, abs=1e-12)
    assert found.shared("a", "b") == pytest.approx(a + b - ab, abs=1e-12)
    assert found.total == ab


@given(st.lists(SHARES, min_size=7, max_size=7))
def test_three_spaces_follow_the_textbook(shares):
    keys = combinations_of("abc")
    r = {"".join(key): share for key, share in zip(keys, shares, strict=True)}
    found = partition_variance(dict(zip(keys, shares, strict=True)))
    parts = {"".join(key): part for key, part in found.parts.items()}
    expected = {
        "a": r["abc"] - r["bc"],
        "b": r["abc"] - r["ac"],
        "c": r["abc"] - r["ab"],
        "ab": r["ac"] + r["bc"] - r["c"] - r["abc"],
        "ac": r["ab"] + r["bc"] - r["b"] - r["abc"],
        "bc": r["ab"] + r["ac"] - r["a"] - r["abc"],
        "abc": r["a"] + r["b"] + r["c"] - r["ab"] - r["ac"] - r["bc"] + r["abc"],
    }
    for key, part in expected.items():
        assert parts[key] == pytest.approx(part, abs=1e-12)


@pytest.mark.parametrize("n_spaces", [1, 2, 3, 4, 5])
def test_areas_of_a_venn_diagram_are_found_again(n_spaces):
    names = "abcde"[:n_spaces]
    rng = np.random.default_rng(n_spaces)
    areas = {key: rng.random(3) for key in combinations_of(names)}
    explained = {
        spaces: sum(area for key, area in areas.items() if set(key) & set(spaces))
        for spaces in combinations_of(names)
    }
    found = partition_variance(explained)
    assert list(found.parts) == list(areas)
    for key, area in areas.items():
        np.testing.assert_allclose(found.parts[key], area, atol=1e-12)
        inside = [a for k, a in areas.items() if set(key) <= set(k)]
        np.testing.assert_allclose(found.shared(*key), sum(inside), atol=1e-12)
    np.testing.assert_allclose(sum(found.parts.values()), found.total)
    np.testing.assert_allclose(found.shared("a"), explained[("a",)])


def test_known_contributions_are_recovered_from_held_out_data():
    rng = np.random.default_rng(0)
    n, n_train, n_units = 6000, 3000, 4
    own_a, own_b, common = rng.standard_normal((3, n))
    spaces = {
        "a": np.column_stack([own_a, common]),
        "b": np.column_stack([common + 0 * own_a, own_b]),
    }
    noise = rng.standard_normal((n, n_units))
    signal = np.sqrt(0.1) * own_a + np.sqrt(0.2) * own_b + np.sqrt(0.3) * common
    y = signal[:, None] + np.sqrt(0.4) * noise
    predictions = {
        key: fit(np.column_stack([spaces[k] for k in key]), y, n_train)
        for key in combinations_of("ab")
    }
    found = partition_predictions(y[n_train:], predictions)
    np.testing.assert_allclose(found.unique("a"), 0.1, atol=0.03)
    np.testing.assert_allclose(found.unique("b"), 0.2, atol=0.03)
    np.testing.assert_allclose(found.shared("b", "a"), 0.3, atol=0.03)
    np.testing.assert_allclose(found.total, 0.6, atol=0.03)


def test_suppression_is_kept_as_a_negative_share():
    rng = np.random.default_rng(1)
    signal, clutter = rng.standard_normal((2, 4000))
    spaces = {"a": (signal + clutter)[:, None], "b": clutter[:, None]}
    y = signal[:, None]
    predictions = {
        key: fit(np.column_stack([spaces[k] for k in key]), y, 2000)
        for key in combinations_of("ab")
    }
    found = partition_predictions(y[2000:], predictions)
    assert found.shared("a", "b")[0] == pytest.approx(-0.5, abs=0.05)
    assert found.unique("b")[0] == pytest.approx(0.5, abs=0.05)


def test_names_may_come_in_any_order_and_form():
    first = partition_variance({"a": 0.2, "b": 0.3, ("a", "b"): 0.4})
    second = partition_variance(
        {frozenset("ba"): 0.4, ("a",): 0.2, frozenset("b"): 0.3}
    )
    for key, part in first.parts.items():
        names = tuple(name for name in second.spaces if name in key)
        assert second.parts[names] == part


def test_undefined_units_stay_undefined():
    found = partition_variance(
        {"a": [0.1, np.nan], "b": [0.2, 0.1], ("a", "b"): [0.3, 0.1]}
    )
    assert np.isnan(found.unique("b")).tolist() == [False, True]
    assert np.isfinite(found.unique("a")).all()


def test_incomplete_or_unequal_models_are_refused():
    with pytest.raises(ValueError, match=r"3 models; it lacks \[\('a', 'b'\)\]"):
        partition_variance({"a": 0.1, "b": 0.2})
    with pytest.raises(ValueError, match="twice"):
        partition_variance({"a": 0.1, ("a",): 0.2})
    with pytest.raises(ValueError, match=r"shapes \[\(1,\), \(2,\)\]"):
        partition_variance({"a": [0.1], "b": [0.2], ("a", "b"): [0.3, 0.4]})
    with pytest.raises(ValueError, match="every combination"):
        partition_variance({})
    found = partition_variance({"edges": 0.1})
    with pytest.raises(KeyError, match="Did you mean 'edges'"):
        found.unique("edge")


# ---------------------------------------------------------------- product measure

PREDICTIONS = arrays(
    np.float64,
    st.tuples(st.integers(2, 4), st.integers(2, 9), st.integers(1, 3)),
    elements=st.integers(-9, 9).map(float),
)


def centred_r_squared(y, prediction):
    centre = prediction - prediction.mean(axis=0) + y.mean(axis=0)
    return r_squared(y, centre)


@given(PREDICTIONS)
def test_shares_add_up_to_the_joint_score(stack):
    y, predictions = stack[0] + 3, stack[1:]
    total = predictions.sum(axis=0)
    found = split_r_squared(y, predictions)
    np.testing.assert_allclose(
        found.sum(axis=0), centred_r_squared(y, total), atol=1e-9
    )
    found = split_pearson_r(y, predictions)
    np.testing.assert_allclose(found.sum(axis=0), pearson_r(y, total), atol=1e-9)


def test_shares_are_those_of_the_loop_over_spaces():
    rng = np.random.default_rng(2)
    y, predictions = rng.standard_normal((30, 4)), rng.standard_normal((3, 30, 4))
    r2, r = split_r_squared(y, predictions), split_pearson_r(y, predictions)
    for unit in range(4):
        truth = y[:, unit] - y[:, unit].mean()
        parts = [p[:, unit] - p[:, unit].mean() for p in predictions]
        whole = sum(parts)
        for k, part in enumerate(parts):
            # Its product with the residual and the measurement, as in Pratt (1987).
            own = part @ truth + part @ (truth - whole)
            assert r2[k, unit] == pytest.approx(own / (truth @ truth))
            length = np.sqrt((whole @ whole) * (truth @ truth))
            assert r[k, unit] == pytest.approx(part @ truth / length)


def test_offsets_belong_to_no_space():
    rng = np.random.default_rng(3)
    y, predictions = rng.standard_normal((30, 2)), rng.standard_normal((2, 30, 2))
    moved = predictions + np.array([100.0, -30.0])[:, None, None]
    for split in (split_r_squared, split_pearson_r):
        expected = split(y, predictions)
        np.testing.assert_allclose(split(y + 5, moved), expected, atol=1e-10)


def test_unrelated_spaces_get_what_they_explain_alone():
    rng = np.random.default_rng(4)
    a, b, noise = rng.standard_normal((3, 200_000, 1))
    y = 2 * a + b + 2 * noise
    found = split_r_squared(y, [2 * a, b])
    np.testing.assert_allclose(found, [[4 / 9], [1 / 9]], atol=0.01)


def test_many_units_in_blocks_are_those_one_by_one():
    rng = np.random.default_rng(5)
    y = rng.standard_normal((300, 5000)).astype(np.float32)
    predictions = rng.standard_normal((3, 300, 5000)).astype(np.float32)
    found = split_r_squared(y, predictions)
    chosen = [0, 1700, 4999]
    expected = split_r_squared(y[:, chosen], predictions[:, :, chosen])
    np.testing.assert_allclose(found[:, chosen], expected, rtol=1e-10)


def test_constant_or_missing_values_are_undefined():
    y = np.tile(np.arange(5.0)[:, None], (1, 4))
    predictions = np.stack([y, y])
    y[:, 1] = 628.63
    y[2, 2] = np.nan
    predictions[:, :, 3] = 1
    found = split_r_squared(y, predictions)
    assert np.isnan(found[0]).tolist() == [False, True, True, False]
    assert found[:, 3].tolist() == [0, 0]
    assert np.isnan(split_pearson_r(y, predictions)[0]).tolist() == [False, *[True] * 3]
    assert np.isnan(split_r_squared(y[:1], predictions[:, :1])).all()


def test_predictions_of_other_rows_are_refused():
    with pytest.raises(
        ValueError, match=r"`predictions` must have shape \(any, 5, 2\)"
    ):
        split_r_squared(np.zeros((5, 2)), np.zeros((3, 4, 2)))
