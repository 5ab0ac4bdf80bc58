"""From variances to noise ceilings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.core.noise_ceiling import (
    explainable_fraction,
    repeat_factor,
    signal_to_noise,
)

COUNTS = st.tuples(*[st.integers(0, 40)] * 3).filter(any)
RATIOS = st.floats(0, allow_infinity=True)


@given(COUNTS)
def test_kappa_is_the_published_formula(counts):
    a, b, c = counts
    expected = (a / 3 + b / 2 + c) / (a + b + c)
    ours = repeat_factor(np.repeat([3, 2, 1], counts))
    assert ours == pytest.approx(expected, rel=1e-12)


@given(RATIOS, COUNTS)
def test_the_ceiling_is_the_published_formula_and_a_share(ncsnr, counts):
    n_repeats = np.repeat([3, 2, 1], counts)
    ceiling = float(explainable_fraction(ncsnr, n_repeats))
    assert 0 <= ceiling <= 1
    if 1e-100 < ncsnr < 1e100:
        expected = ncsnr**2 / (ncsnr**2 + repeat_factor(n_repeats))
        assert ceiling == pytest.approx(expected, rel=1e-12)


def test_limits_of_the_ceiling():
    ceiling = explainable_fraction([0, np.inf, np.nan, 1], [1])
    np.testing.assert_array_equal(ceiling, [0, 1, np.nan, 0.5])


@given(st.floats(0.01, 10), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_one_more_trial_never_lowers_a_ceiling(ncsnr, n_repeats):
    more = [n_repeats[0] + 1, *n_repeats[1:]]
    assert explainable_fraction(ncsnr, more) > explainable_fraction(ncsnr, n_repeats)


@given(st.floats(0, 1e3), st.floats(1e-3, 1e3))
def test_the_ratio_gives_the_variances_back(signal, noise):
    ratio = float(signal_to_noise(noise, signal + noise))
    assert ratio**2 * noise == pytest.approx(signal, abs=1e-12 * (signal + noise))


def test_limits_of_the_ratio():
    ratio = signal_to_noise([1, 2, 0, 0, np.nan, 1], [3, 1, 1, 0, 1, np.nan])
    expected = [np.sqrt(2), 0, np.inf, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(ratio, expected)
    assert signal_to_noise(1e-320, 1e300) > 1e300


@pytest.mark.parametrize(
    ("noise", "total"), [([1, 2], [1]), ([-1.0], [1.0]), ([1.0], [-1.0])]
)
def test_impossible_variances_are_refused(noise, total):
    with pytest.raises(ValueError, match="one shape and be >= 0"):
        signal_to_noise(noise, total)


@pytest.mark.parametrize("n_repeats", [[], [[1, 2]], [0, 1], [np.nan], 3])
def test_impossible_numbers_of_repeats_are_refused(n_repeats):
    with pytest.raises(ValueError, match="one whole number >= 1 per evaluated image"):
        repeat_factor(n_repeats)


def test_a_negative_ratio_is_refused():
    with pytest.raises(ValueError, match=r"must be >= 0; got -0\.5"):
        explainable_fraction([0.1, -0.5, np.nan], [3])
