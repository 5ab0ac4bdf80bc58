"""Densities of fixations against scipy, sums written out, and their own rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from analysis.fixated_pixels import check_maps, fixated_pixels
from analysis.fixation_density import (
    density_at,
    fixation_counts,
    fixation_density,
    leave_one_out_density,
    to_density,
)

SHAPE = (9, 14)
SEEDS = st.integers(0, 2**32 - 1)


def _groups(seed, n_maps=4, most=8):
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(n_maps), rng.integers(0, most, n_maps))
    x, y = rng.random((2, len(index))) * np.array(SHAPE[::-1])[:, None]
    return fixated_pixels(x, y, SHAPE, map_index=index, n_maps=n_maps)


def _kernel(row, column, sigma):
    """One normalised kernel, pixel by pixel."""
    kernel = np.zeros(SHAPE)
    for r in range(SHAPE[0]):
        for c in range(SHAPE[1]):
            kernel[r, c] = np.exp(-((r - row) ** 2 + (c - column) ** 2) / 2 / sigma**2)
    return kernel / kernel.sum()


@given(SEEDS)
def test_counts_match_a_loop(seed):
    human = _groups(seed)
    counts = np.zeros((human.n_maps, *SHAPE))
    for i, r, c in zip(human.map_index, human.row, human.column, strict=True):
        counts[i, r, c] += 1
    np.testing.assert_array_equal(fixation_counts(human), counts)


@given(SEEDS, st.floats(0.3, 20))
def test_density_is_the_mean_of_kernels_with_sum_one(seed, sigma):
    human = _groups(seed)
    density = fixation_density(human, sigma)
    for i in range(human.n_maps):
        one = human.select([i])
        kernels = [_kernel(*at, sigma) for at in zip(one.row, one.column, strict=True)]
        expected = np.mean(kernels, axis=0) if kernels else np.full(SHAPE, np.nan)
        np.testing.assert_allclose(density[i], expected, rtol=1e-10, atol=1e-300)


def test_density_of_many_fixations_equals_that_of_few_in_parts():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 600)) * np.array(SHAPE[::-1])[:, None]
    whole = fixation_density(fixated_pixels(x, y, SHAPE), 1.7)[0]
    parts = fixated_pixels(x, y, SHAPE, map_index=np.arange(600) // 20)
    np.testing.assert_allclose(
        whole, fixation_density(parts, 1.7).mean(axis=0), rtol=1e-12
    )


def test_away_from_the_edge_the_density_is_that_of_scipy():
    human = fixated_pixels([50.2, 47.0], [40.9, 44.0], (90, 100))
    blurred = ndimage.gaussian_filter(
        fixation_counts(human)[0], 3.0, mode="constant", truncate=10
    )
    ours = fixation_density(human, 3.0)[0]
    np.testing.assert_allclose(ours, blurred / 2, rtol=1e-9, atol=1e-22)


@given(SEEDS, st.floats(0.3, 20), st.sampled_from([0.0, 0.25]))
def test_leaving_one_out_equals_the_pooled_density_of_the_others(seed, sigma, share):
    human = _groups(seed)
    density = leave_one_out_density(human, sigma, uniform=share)
    for i in range(human.n_maps):
        others = human.select(np.arange(human.n_maps) != i).pool()
        expected = fixation_density(others, sigma, uniform=share)[0]
        np.testing.assert_allclose(density[i], expected, rtol=1e-10, atol=1e-300)


def test_leaving_out_a_lone_fixation_leaves_no_rounding_noise():
    human = fixated_pixels([5, 795], [5, 595], (600, 800), map_index=[0, 1])
    others = leave_one_out_density(human, 24.0)[0]
    assert others.min() >= 0
    assert others[5, 5] < 1e-200
    assert others.argmax() == 595 * 800 + 795


def test_a_uniform_share_is_mixed_in_exactly():
    human = fixated_pixels([0], [0], (4, 5))
    plain = fixation_density(human, 1.0)
    mixed = fixation_density(human, 1.0, uniform=0.2)
    np.testing.assert_allclose(mixed, 0.8 * plain + 0.2 / 20, rtol=1e-14)
    assert fixation_density(human, 1.0, uniform=1)[0].tolist() == [[1 / 20] * 5] * 4


def test_groups_without_fixations_have_no_density():
    human = fixated_pixels([0], [0], (2, 2), map_index=[1], n_maps=2)
    assert np.isnan(fixation_density(human, 1.0, uniform=0.5)[0]).all()
    alone = leave_one_out_density(human, 1.0)
    assert np.isfinite(alone[0]).all()
    assert np.isnan(alone[1]).all()


@pytest.mark.parametrize("make", [fixation_density, leave_one_out_density])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sigma_px": 0}, r"`sigma_px` must be within \[0.001, inf\]; got 0"),
        ({"sigma_px": np.nan}, "`sigma_px` must be within"),
        ({"sigma_px": 1, "uniform": 1.5}, r"`uniform` must be within \[0, 1\]"),
    ],
)
def test_kernels_out_of_range_are_refused(make, options, words):
    with pytest.raises(ValueError, match=words):
        make(fixated_pixels([0], [0], (2, 2)), **options)


MAPS = arrays(np.float64, (2, 3, 4), elements=st.integers(-3, 9).map(float))


@given(MAPS)
def test_densities_follow_the_rule(maps):
    density = to_density(maps)
    assert density.shape == maps.shape
    for one, got in zip(maps, density, strict=True):
        shifted = one - min(one.min(), 0)
        total = shifted.sum()
        expected = shifted / total if total else np.full(one.shape, 1 / one.size)
        np.testing.assert_allclose(got, expected, rtol=1e-14)


@given(MAPS)
def test_density_at_fixations_is_read_from_the_density(maps):
    human = fixated_pixels([0, 3, 3, 1], [0, 2, 2, 1], (3, 4), map_index=[0, 0, 1, 1])
    rows = check_maps("maps", to_density(maps))
    np.testing.assert_allclose(
        density_at("maps", maps, human), rows[human.map_index, human.flat], rtol=1e-13
    )


def test_density_of_one_map_keeps_its_shape_and_its_nan():
    assert to_density(np.ones((2, 3), np.uint8)).tolist() == [[1 / 6] * 3] * 2
    assert np.isnan(to_density([[1.0, np.nan]])).all()
