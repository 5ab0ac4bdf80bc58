"""Triplets that pull low-level and high-level similarity apart, and their scores."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

import analysis.level_triplets as level_triplets
from analysis.level_triplets import (
    agreement_cells,
    find_level_triplets,
    fit_level_weights,
    level_similarity,
)

UNIT = {"sd_high": 1.0, "sd_low": 1.0}


def matrices(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return [level_similarity(rng.standard_normal((n, 20))) for _ in "ab"]


def fitting_pairs(high, low, root, wanted, tolerance=0.01):
    """Every pair that fits, by the definition."""
    found = set()
    for i in range(len(high)):
        for j in range(len(high)):
            if len({i, j, root}) < 3:
                continue
            d_high = high[root, j] - high[root, i]
            d_low = low[root, j] - low[root, i]
            near = abs(d_high - wanted[0]) < tolerance
            if near and abs(d_low - wanted[1]) <= tolerance:
                found.add((i, j))
    return found


# -------------------------------------------------------------------- search


def test_similarity_is_that_of_numpy(monkeypatch):
    x = np.random.default_rng(0).normal(3, 2, (6, 50)).astype(np.float32)
    expected = np.corrcoef(x.astype(float))
    np.testing.assert_allclose(level_similarity(x), expected, atol=1e-12)
    monkeypatch.setattr(level_triplets, "_CHUNK", 42)  # seven features at once
    np.testing.assert_allclose(level_similarity(x), expected, atol=1e-12)


def test_a_constant_picture_has_no_similarity():
    x = np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 3.0], [1.0, 0.0, 2.0]])
    found = level_similarity(x)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:, 1:]).all()
    with pytest.raises(ValueError, match="not finite"):
        find_level_triplets(found, found)


def test_triplets_have_the_differences_that_were_wanted():
    high, low = matrices()
    found = find_level_triplets(high, low, n_loops=3)
    assert len(found) > 50
    i, j, root = (found[name].to_numpy() for name in ("i", "j", "root"))
    np.testing.assert_allclose(found["d_high"], high[root, j] - high[root, i])
    np.testing.assert_allclose(found["d_low"], low[root, j] - low[root, i])
    wanted = 0.5 * found["bin_high"] * high.std()
    assert (np.abs(found["d_high"] - wanted) < 0.01).all()
    sign = np.where(found["conflict"], -1, 1)
    wanted = sign * 0.5 * found["bin_low"] * low.std()
    assert (np.abs(found["d_low"] - wanted) <= 0.01).all()


def test_no_picture_is_used_twice():
    found = find_level_triplets(*matrices(), n_loops=4, n_roots=5)
    used = found[["root", "i", "j"]].to_numpy().ravel()
    assert len(set(used)) == len(used)


def test_half_of_the_triplets_are_in_conflict():
    found = find_level_triplets(*matrices(900), n_loops=6)
    n, k = len(found), found["conflict"].sum()
    assert n > 200
    assert abs(k / n - 0.5) < 3 * np.sqrt(0.25 / n)


def test_pairs_are_all_that_fit_and_drawn_uniformly(monkeypatch):
    high, low = matrices(40, seed=4)
    wanted = 0.5 * 2 * high.std(), -0.5 * 1 * low.std()
    others = np.arange(1, 40)
    expected = fitting_pairs(high, low, 0, wanted, 0.05)
    assert len(expected) >= 5
    rng = np.random.default_rng(0)
    for chunk in (2**22, 3):
        monkeypatch.setattr(level_triplets, "_CHUNK", chunk)
        drawn = [
            level_triplets._find_pair(high[0, 1:], low[0, 1:], wanted, 0.05, rng)
            for _ in range(60 * len(expected))
        ]
        pairs, counts = np.unique(others[np.array(drawn)], axis=0, return_counts=True)
        assert {tuple(pair) for pair in pairs.tolist()} == expected
        assert counts.min() > 25
        assert counts.max() < 110


def test_no_pair_that_fits_means_no_triplet():
    flat = np.full((30, 30), 0.5) + 0.5 * np.eye(30)
    assert find_level_triplets(flat, flat, n_loops=1).empty


def test_equal_seeds_give_equal_triplets():
    high, low = matrices(120)
    first, second, other = (
        find_level_triplets(high, low, n_loops=1, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)


def test_wrong_matrices_are_refused():
    high, low = matrices(10)
    with pytest.raises(ValueError, match="same"):
        find_level_triplets(high, low[:5, :5])
    with pytest.raises(ValueError, match="square"):
        find_level_triplets(high[:5], low)
    with pytest.raises(ValueError, match="symmetric"):
        find_level_triplets(np.triu(high), low)
    with pytest.raises(ValueError, match="tolerance"):
        find_level_triplets(high, low, tolerance=0)


# ------------------------------------------------------------------- weights


def simulated(n=3000, weights=(-0.5, 1.5, 0.8), seed=0):
    rng = np.random.default_rng(seed)
    d_high, d_low = rng.uniform(0, 2, n), rng.uniform(-2, 2, n)
    p = expit(weights[0] + weights[1] * d_high + weights[2] * d_low)
    return rng.random(n) < p, d_high, d_low


def test_weights_match_scikit_learn():
    chose, d_high, d_low = simulated(500)
    found = fit_level_weights(
        chose, d_high, d_low, sd_high=0.5, sd_low=2.0, n_bootstrap=10
    )
    design = np.stack([d_high / 0.5, d_low / 2.0], axis=1)
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(design, chose)
    np.testing.assert_allclose(
        [found.bias, found.high, found.low],
        [other.intercept_[0], *other.coef_[0]],
        atol=1e-5,
    )
    assert found.ratio == pytest.approx(found.high / found.low)


def test_known_weights_lie_in_their_intervals():
    truth = {"bias": -0.5, "high": 1.5, "low": 0.8, "ratio": 1.5 / 0.8}
    inside = {name: 0 for name in truth}
    for seed in range(20):
        found = fit_level_weights(
            *simulated(600, seed=seed), **UNIT, n_bootstrap=200, seed=seed
        )
        for name, value in truth.items():
            low, high = found.intervals[name]
            inside[name] += low <= value <= high
    assert min(inside.values()) >= 16


def test_observers_without_error_have_no_weights():
    _, d_high, d_low = simulated(200)
    for chose in (d_low > 0, np.ones(200, bool)):
        found = fit_level_weights(chose, d_high, d_low, **UNIT, n_bootstrap=10)
        assert np.isnan([found.bias, found.high, found.low, found.ratio]).all()
        assert np.isnan(found.intervals["high"]).all()


def test_agreement_is_counted_by_cells():
    trials = pd.DataFrame(
        {
            "bin_high": [1, 1, 1, 2],
            "bin_low": [1, 1, 1, 1],
            "conflict": [True, True, False, True],
            "agree": [True, False, True, True],
        }
    )
    table = agreement_cells(trials)
    assert table["n"].tolist() == [1, 2, 1]
    assert table["value"].tolist() == [1.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="agree"):
        agreement_cells(trials.drop(columns="agree"))
