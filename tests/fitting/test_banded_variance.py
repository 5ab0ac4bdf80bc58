"""Unique and shared variance of feature spaces by banded ridge regression."""

from itertools import combinations

import numpy as np
import pytest

from neurovis.core.rng import generator
from neurovis.fitting.banded import BandedRidgeCV
from neurovis.fitting.banded_variance import fit_subsets, variance_by_space

TRAIN, TEST = slice(0, 500), slice(500, None)


def make_spaces(seed=0):
    """Two spaces that share half of their variance, and one of noise."""
    rng = generator(seed, "banded variance")
    own, common = rng.standard_normal((2, 900, 12)), rng.standard_normal((900, 12))
    spaces = {
        "edges": np.hstack([own[0], common]),
        "objects": np.hstack([own[1], common]),
        "noise": rng.standard_normal((900, 20)),
    }
    weights = rng.standard_normal((12, 3)) / np.sqrt(12)
    parts = np.stack([own[0] @ weights, own[1] @ weights, common @ weights])
    parts /= parts.std(1, keepdims=True)
    strength = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # (part, target)
    Y = (parts * np.sqrt(strength)[:, None]).sum(0)
    return spaces, Y + 0.5 * rng.standard_normal(Y.shape), strength


def rows(spaces, which):
    return {name: x[which] for name, x in spaces.items()}


def test_unique_and_shared_variance_are_recovered():
    spaces, Y, strength = make_spaces()
    settings = BandedRidgeCV(n_iter=12, device="cpu")
    models = fit_subsets(settings, rows(spaces, TRAIN), Y[TRAIN])
    found = variance_by_space(models, rows(spaces, TEST), Y[TEST])
    total = strength.sum(0) + 0.25
    expected = strength / total
    shared = found.parts["edges", "objects"]
    np.testing.assert_allclose(found.unique("edges"), expected[0], atol=0.08)
    np.testing.assert_allclose(found.unique("objects"), expected[1], atol=0.08)
    np.testing.assert_allclose(shared, expected[2], atol=0.08)
    np.testing.assert_allclose(found.unique("noise"), 0, atol=0.03)
    np.testing.assert_allclose(found.total, expected.sum(0), atol=0.08)
    whole = models["edges", "objects", "noise"]
    np.testing.assert_allclose(
        found.total, whole.score(rows(spaces, TEST), Y[TEST]), rtol=1e-12
    )


def test_each_combination_is_fitted_as_by_itself():
    spaces, Y, _ = make_spaces(1)
    small = rows(spaces, slice(80))
    settings = BandedRidgeCV([1, 30], n_iter=3, fit_intercept=False, device="cpu")
    models = fit_subsets(settings, small, Y[:80])
    names = list(spaces)
    subsets = [s for k in (1, 2, 3) for s in combinations(names, k)]
    assert list(models) == subsets
    alone = BandedRidgeCV([1, 30], n_iter=3, fit_intercept=False, device="cpu")
    alone.fit({name: small[name] for name in ("edges", "noise")}, Y[:80])
    np.testing.assert_array_equal(models["edges", "noise"].deltas_, alone.deltas_)
    assert not hasattr(settings, "deltas_")


def test_combinations_take_their_columns_of_given_gammas():
    spaces, Y, _ = make_spaces(1)
    small = list(rows(spaces, slice(80)).values())
    gammas = np.array([[1, 0, 0], [0.2, 0.3, 0.5], [0, 1, 0]])
    settings = BandedRidgeCV([1, 30], gammas=gammas, device="cpu")
    models = fit_subsets(settings, small, Y[:80, 0])
    assert models["2",].searched_gammas_.tolist() == [[0.5]]
    assert models["0", "2"].searched_gammas_.tolist() == [[1, 0], [0.2, 0.5]]
    parts = variance_by_space(models, small, Y[:80, 0])
    assert parts.total.shape == ()
    settings.set_params(gammas=gammas[[0, 2]])
    with pytest.raises(ValueError, match=r"no weight to the spaces \['2'\]"):
        fit_subsets(settings, small, Y[:80])


def test_missing_spaces_and_combinations_are_told():
    spaces, Y, _ = make_spaces(1)
    small = rows(spaces, slice(80))
    models = fit_subsets(BandedRidgeCV([1], n_iter=2, device="cpu"), small, Y[:80])
    del small["noise"]
    with pytest.raises(ValueError, match=r"also need \['noise'\]"):
        variance_by_space(models, small, Y[:80])
    del models["edges",]
    with pytest.raises(ValueError, match="it lacks"):
        variance_by_space(models, rows(spaces, slice(80)), Y[:80])
