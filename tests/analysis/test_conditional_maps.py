"""Measures of the next fixation against loops and the polygon they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.conditional_maps import (
    conditional_auc,
    conditional_information_gain,
    conditional_nss,
)
from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_auc import auc

SEEDS = st.integers(0, 2**32 - 1)
SHAPE = (4, 5)


def _steps(seed, n=4):
    """Positive maps with ties and the pixel of the next fixation; the last has none."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(1, 9, (n, *SHAPE)) / 4
    row, column = (rng.integers(0, size, n) for size in SHAPE)
    x_px = np.append(column[:-1] + 0.5, -3.0)
    human = fixated_pixels(x_px, row, SHAPE, map_index=np.arange(n))
    return maps, human, list(zip(row[:-1], column[:-1], strict=True))


def _polygon_area(points):
    """Signed area by the sum over edges."""
    x, y = np.array(points).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@given(SEEDS)
def test_measures_match_loops(seed):
    maps, human, pixels = _steps(seed)
    baseline = np.arange(1.0, 21).reshape(SHAPE)
    gain = conditional_information_gain(maps, human, baseline)
    z, area = conditional_nss(maps, human), conditional_auc(maps, human)
    for i, pixel in enumerate(pixels):
        one = maps[i]
        p, b = one[pixel] / one.sum(), baseline[pixel] / baseline.sum()
        assert gain[i] == pytest.approx(np.log2(p / b), abs=1e-12)
        expected = (one[pixel] - one.mean()) / one.std(ddof=1)
        assert z[i] == pytest.approx(expected, abs=1e-12)
        alarms = ((one >= one[pixel]).sum() - 1) / (one.size - 1)
        # Closed under the curve: back along the axis of false alarms.
        corners = [(0, 0), (alarms, 1), (1, 1), (1, 0)]
        assert area[i] == pytest.approx(_polygon_area(corners), abs=1e-12)
    for values in (gain, z, area):
        assert np.isnan(values).tolist() == [False, False, False, True]


@given(SEEDS)
def test_without_ties_the_area_is_that_of_the_exact_one_shrunk(seed):
    rng = np.random.default_rng(seed)
    maps = rng.permuted(np.arange(40.0).reshape(2, 20), axis=1).reshape(2, *SHAPE)
    human = fixated_pixels([1, 3], [2, 0], SHAPE, map_index=[0, 1])
    expected = 0.5 + auc(maps, human) / 2
    np.testing.assert_allclose(conditional_auc(maps, human), expected, atol=1e-12)


@given(SEEDS, st.floats(0.01, 100))
def test_scale_does_not_matter(seed, scale):
    maps, human, _ = _steps(seed)
    baseline = np.ones(SHAPE)
    for values, scaled in (
        (conditional_nss(maps, human), conditional_nss(maps * scale, human)),
        (conditional_auc(maps, human), conditional_auc(maps * scale, human)),
        (
            conditional_information_gain(maps, human, baseline),
            conditional_information_gain(maps * scale, human, baseline * 3),
        ),
    ):
        np.testing.assert_allclose(values, scaled, atol=1e-9)


def test_a_constant_map_gains_nothing():
    flat = np.full((1, *SHAPE), 0.3)
    human = fixated_pixels([1], [1], SHAPE)
    assert conditional_nss(flat, human).tolist() == [0.0]
    assert conditional_auc(flat, human).tolist() == [0.5]
    gain = conditional_information_gain(flat, human, np.ones(SHAPE))
    assert gain.tolist() == pytest.approx([0.0], abs=1e-12)


# Made with this code when its means agreed with the golden files.
FROZEN = [0.5057307074214089, 0.5596713949550326, 0.7926829268292682]


def test_values_of_written_maps_stay():
    step, row, column = np.indices((3, 6, 7))
    maps = (1 + (3 * row * row + 5 * column + row * column + step) % 7) / 2
    baseline = 1.0 + (row[0] * 2 + column[0] * column[0]) % 5
    human = fixated_pixels([0, 3, 6], [1, 4, 0], (6, 7), map_index=[0, 1, 2])
    means = [
        conditional_information_gain(maps, human, baseline).mean(),
        conditional_nss(maps, human).mean(),
        conditional_auc(maps, human).mean(),
    ]
    assert means == pytest.approx(FROZEN, rel=1e-12)


def test_two_fixations_in_a_step_are_refused():
    human = fixated_pixels([0, 1, 2], [0, 0, 0], (1, 3), map_index=[0, 1, 1])
    maps = np.ones((2, 1, 3))
    for call in (
        lambda: conditional_information_gain(maps, human, maps),
        lambda: conditional_nss(maps, human),
        lambda: conditional_auc(maps, human),
    ):
        with pytest.raises(ValueError, match="2 fixations in group 1: each step"):
            call()
