"""Similarity of pictures against scikit-image, plain loops and entropy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.image_similarity import grey, mse, mutual_information, ssim

LEVELS = arrays(np.uint8, (12, 13), elements=st.integers(0, 255))
# A correlated pair that any machine can draw again.
GRID = np.add.outer(7 * np.arange(40), 13 * np.arange(36))
FIRST = (GRID % 101 * 2).astype(np.uint8)
SECOND = ((GRID % 101 * 2 + GRID % 17) // 2).astype(np.uint8)


@pytest.mark.parametrize(("dtype", "data_range"), [(np.uint8, 255), (np.float64, 1)])
def test_ssim_is_that_of_scikit_image_over_the_valid_region(dtype, data_range):
    from skimage.metrics import structural_similarity

    a, b = ((x / 255 * data_range).astype(dtype) for x in (FIRST, SECOND))
    _, whole = structural_similarity(
        a.astype(float),
        b.astype(float),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert ssim(a, b) == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-12)


def test_measures_of_a_known_pair_stay_the_same():
    assert ssim(FIRST, SECOND) == pytest.approx(0.66997700394, abs=1e-10)
    assert mse(FIRST, SECOND) == pytest.approx(2989.0166666667, abs=1e-9)
    assert mutual_information(FIRST, SECOND) == pytest.approx(4.90913233448, abs=1e-10)
    published = mutual_information(FIRST, SECOND, binning="published")
    assert published == pytest.approx(2.84148934083, abs=1e-10)


def test_a_stack_gives_one_value_per_picture():
    a, b = np.stack([FIRST, SECOND, FIRST]), np.stack([SECOND, SECOND, FIRST])
    for measure in (ssim, mse, mutual_information):
        values = measure(a.reshape(3, 1, 40, 36), b.reshape(3, 1, 40, 36))
        assert values.shape == (3, 1)
        alone = [measure(x, y) for x, y in zip(a, b, strict=True)]
        np.testing.assert_array_equal(values[:, 0], alone)
    assert ssim(a[:0], b[:0]).shape == (0,)


@given(LEVELS, LEVELS)
def test_ssim_is_symmetric_and_at_most_one(a, b):
    value = ssim(a, b)
    assert -1 <= value <= 1 + 1e-12
    assert value == pytest.approx(ssim(b, a), abs=1e-12)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)


def test_more_noise_means_less_similarity():
    noise = np.random.default_rng(0).normal(0, 1, FIRST.shape)
    values = [ssim(FIRST, FIRST + s * noise, data_range=255) for s in (0, 5, 20, 80)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1


def test_ssim_keeps_small_variances_far_from_zero():
    a, b = FIRST.astype(float), SECOND.astype(float)
    near, far = (ssim(a + d, b + d, data_range=255) for d in (1e5, 1e8))
    # Both luminance terms are 1 to 1e-6: contrast and structure are left.
    assert far == pytest.approx(near, abs=1e-5)


def test_flat_pictures_without_constants_are_undefined():
    flat = np.full((12, 12), 7.0)
    assert np.isnan(ssim(flat, flat, data_range=255, k=(0, 0)))
    assert ssim(flat, flat, data_range=255) == 1


def test_mse_is_the_mean_of_squares():
    difference = FIRST.astype(float) - SECOND
    assert mse(FIRST, SECOND) == (difference**2).mean()
    assert mse(FIRST, FIRST) == 0


def test_not_a_number_gives_not_a_number():
    broken = FIRST / 255
    broken[0, 0] = np.nan
    whole = FIRST / 255
    assert np.isnan(mse(whole, broken))
    assert np.isnan(mse(whole, np.where(np.isnan(broken), np.inf, broken)))
    assert np.isnan(ssim(whole, broken))
    assert np.isnan(mutual_information(whole, broken))


# --------------------------------------------------------------------- information


def plain_information(a, b, n_bins, binning):
    """The published program, cell by cell."""
    size = a.size
    single, joint = [np.zeros(n_bins) for _ in range(2)], np.zeros((n_bins, n_bins))
    places = []
    for p, image in zip(single, (a, b), strict=True):
        low, high = float(image.min()), float(image.max())
        rows = []
        for value in image.ravel().astype(float):
            place = int(np.ceil((value - low) / (high - low) * n_bins)) - 1
            place = min(max(place, 0), n_bins - 1)
            p[place] += 1 / size
            rounded = int((value - low) * (n_bins - 1) / (high - low) + 0.5)
            rows.append(rounded if binning == "published" else place)
        places.append(rows)
    for i, j in zip(*places, strict=True):
        joint[i, j] += 1 / size
    total = 0.0
    for i, j in zip(*np.nonzero(joint), strict=True):
        if single[0][i] * single[1][j] > 1e-12:
            total += joint[i, j] * np.log2(joint[i, j] / single[0][i] / single[1][j])
    return total


@pytest.mark.parametrize("binning", ["published", "consistent"])
@pytest.mark.parametrize("n_bins", [2, 9, 256])
def test_information_is_that_of_a_loop_over_pixels(binning, n_bins):
    ours = mutual_information(FIRST, SECOND, n_bins=n_bins, binning=binning)
    theirs = plain_information(FIRST, SECOND, n_bins, binning)
    assert ours == pytest.approx(theirs, abs=1e-10)


@given(LEVELS, LEVELS)
def test_consistent_information_lies_between_zero_and_the_entropy(a, b):
    value = mutual_information(a, b, n_bins=16)
    entropy = mutual_information(a, a, n_bins=16)
    assert -1e-9 <= value <= entropy + 1e-9
    assert value == pytest.approx(mutual_information(b, a, n_bins=16), abs=1e-9)


def test_information_of_a_picture_with_itself_is_its_entropy():
    image = np.repeat(np.arange(4), 4).reshape(4, 4)
    assert mutual_information(image, image) == 2
    assert mutual_information(image, 255 - 10 * image) == 2


def test_a_flat_picture_informs_of_nothing():
    flat = np.full(FIRST.shape, 3)
    assert mutual_information(FIRST, flat) == 0
    assert mutual_information(flat, flat, binning="published") == 0


def test_information_finds_what_was_mixed_in():
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2, (200, 200))
    flipped = np.where(rng.random(bits.shape) < 0.11, 1 - bits, bits)
    # A binary symmetric channel loses the entropy of its errors.
    kept = 1 + 0.11 * np.log2(0.11) + 0.89 * np.log2(0.89)
    assert mutual_information(bits, flipped, n_bins=2) == pytest.approx(kept, abs=0.02)


# ------------------------------------------------------------------------- arguments


def test_grey_weighs_the_channels_wherever_they_are():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    expected = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
    np.testing.assert_allclose(grey(image), expected, rtol=1e-14)
    np.testing.assert_array_equal(
        grey(image.transpose(2, 0, 1), channel_axis=0), grey(image)
    )
    with pytest.raises(ValueError, match="3 channels on axis -1"):
        grey(image.transpose(2, 0, 1))
    with pytest.raises(ValueError, match="`channel_axis` must be an axis"):
        grey(image, channel_axis=3)


@pytest.mark.parametrize("measure", [mse, ssim, mutual_information])
def test_pictures_of_two_sizes_are_refused(measure):
    with pytest.raises(ValueError, match=r"one shape; got \(40, 36\) and \(40, 35\)"):
        measure(FIRST, SECOND[:, :-1])
    with pytest.raises(ValueError, match="H and W > 0"):
        measure(FIRST[0], SECOND[0])


def test_the_range_of_other_numbers_must_be_given():
    with pytest.raises(ValueError, match=r"`data_range` must be given.*0 to 200"):
        ssim(FIRST.astype(float), SECOND.astype(float))
    with pytest.raises(ValueError, match="`data_range` must be given"):
        ssim(FIRST, SECOND / 255)
    with pytest.raises(ValueError, match="above 0"):
        ssim(FIRST, SECOND, data_range=0)
    given_range = ssim(FIRST.astype(float), SECOND, data_range=255)
    assert given_range == pytest.approx(ssim(FIRST, SECOND), abs=1e-12)


def test_pictures_below_the_window_are_refused():
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(FIRST[:10], SECOND[:10])


def test_bad_options_of_information_are_refused():
    with pytest.raises(ValueError, match="`n_bins`"):
        mutual_information(FIRST, SECOND, n_bins=1)
    with pytest.raises(ValueError, match="`binning`"):
        mutual_information(FIRST, SECOND, binning="matlab")
