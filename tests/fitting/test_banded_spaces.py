"""Draws of gammas, and how feature spaces are named and matched."""

import numpy as np
import pytest
import torch

from neurovis.fitting.banded_spaces import (
    check_gammas,
    check_spaces,
    draw_gammas,
    join_spaces,
    match_spaces,
    prepare_spaces,
    space_grams,
    weighted_gram,
)


@pytest.mark.parametrize("n_iter", [1, 2, 7, 20])
@pytest.mark.parametrize("n_spaces", [1, 2, 5])
def test_draws_are_the_published_ones(n_iter, n_spaces):
    state = np.random.RandomState(100)
    half = (n_iter + 1) // 2
    sparse = state.dirichlet(np.full(n_spaces, 0.1), half)
    uniform = state.dirichlet(np.full(n_spaces, 1.0), half)
    expected = np.empty((2 * half, n_spaces))
    expected[0::2], expected[1::2] = sparse, uniform
    expected[0] = 1 / n_spaces
    found = draw_gammas(n_iter, n_spaces, 100)
    np.testing.assert_array_equal(found, expected[:n_iter])
    np.testing.assert_allclose(found.sum(1), 1)


def test_draws_keep_their_numbers():
    found = draw_gammas(4, 3, seed=1)
    expected = FROZEN_DRAW
    np.testing.assert_allclose(found, expected, rtol=1e-12)


FROZEN_DRAW = [
    [1 / 3, 1 / 3, 1 / 3],
    [0.09686822293904386, 0.8913709237611802, 0.011760853299775975],
    [0.00019016042659505717, 0.36583045436062805, 0.6339793852127769],
    [0.44975687230976796, 0.21882169606407578, 0.33142143162615617],
]


def test_drawing_leaves_the_global_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_gammas(10, 3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2), "`n_iter` must be within"),
        ((2.5, 2), "`n_iter` must be a whole number"),
        ((2, 0), "`n_spaces` must be within"),
        ((2, 2, 2**32), "`seed` must be within"),
        ((2, 2, None), "`seed` must be a number"),
    ],
)
def test_bad_draws_are_told(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        draw_gammas(*arguments)


@pytest.mark.parametrize("bad", [[[np.nan, 1]], [[np.inf, 1]], [[-0.1, 1]], [[0, 0]]])
def test_gammas_out_of_range_are_told(bad):
    with pytest.raises(ValueError, match="0 or more, and above 0 for some space"):
        check_gammas(bad, 2)


@pytest.mark.parametrize("bad", [[1, 0], [[1, 0, 0]], np.empty((0, 2))])
def test_gammas_of_another_shape_are_told(bad):
    with pytest.raises(ValueError, match=r"`gammas` must have shape \(n_iter, 2\)"):
        check_gammas(bad, 2)


def test_gammas_are_copied():
    given = np.ones((1, 2))
    check_gammas(given, 2)[0] = 5
    assert given.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        (np.ones((4, 3)), r"For one space use \[X\]"),
        ([], "no feature spaces"),
        ({}, "no feature spaces"),
        ({1: np.ones((4, 3))}, "must be text"),
        ([np.ones((4, 3)), np.ones((5, 3))], "one number of samples"),
        ([np.ones((4, 3)), np.ones(4)], "Feature space '1': .*Reshape"),
        ([np.ones((4, 0))], "Feature space '0': `X` is empty"),
        ([np.array([["a"], ["b"]])], "Feature space '0': `X` must be real"),
        ([np.ones((4, 3), complex)], "Feature space '0': `X` must be real"),
    ],
)
def test_bad_spaces_are_told(spaces, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check_spaces(spaces)


def test_new_rows_are_matched_by_name():
    a, b = np.zeros((3, 1)), np.ones((3, 2))
    fitted = check_spaces({"a": a, "b": b})
    found = match_spaces({"b": b[:2], "a": a[:2]}, fitted)
    assert found.widths == (1, 2)
    assert found.n_samples == 2
    with pytest.raises(ValueError, match="2 feature spaces, but had 1 in `fit`"):
        match_spaces([a, b], check_spaces([a]))
    with pytest.raises(TypeError, match="`Xs` must be a list"):
        match_spaces({"0": a}, check_spaces([a]))


def test_weighted_gram_is_that_of_the_joined_features():
    rng = np.random.default_rng(0)
    spaces = check_spaces([rng.standard_normal((9, p)) for p in (4, 2, 7)])
    cpu = torch.device("cpu")
    gamma = torch.tensor([0.5, 0.0, 3.0], dtype=torch.float64)
    for options in ({"centre": False}, {"centre": True}):
        for standardize in (False, True):
            ready = prepare_spaces(spaces, cpu, standardize=standardize, **options)
            grams = space_grams(ready, spaces.names, torch.float64)
            blocks = join_spaces(ready, gamma).blocks(torch.float64)
            x = torch.cat([block for _, block in blocks], 1)
            torch.testing.assert_close(weighted_gram(grams, gamma), x @ x.T)
            assert (x[:, 4:6] == 0).all()
