"""Low- and high-pass pictures: kernel, rounding, cut-offs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from stimuli.frequency_filters import (
    HIGH_SIGMAS_PX,
    LOW_SIGMAS_PX,
    cutoff_cycles_per_px,
    filter_frequencies,
    filter_level,
    frequency_levels,
    grey_of,
    mean_rgb,
)

GREY = (0.298936, 0.587043, 0.114021)


@pytest.fixture
def picture():
    return np.random.default_rng(3).integers(0, 256, (23, 31, 3), np.uint8)


def blur_by_hand(image, sigma):
    """Two-dimensional kernel over a padded picture, pixel by pixel."""
    r = math.ceil(2 * sigma)
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(image.astype(float), ((r, r), (r, r), (0, 0)), mode="edge")
    out = np.empty(image.shape)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            part = padded[i : i + 2 * r + 1, j : j + 2 * r + 1]
            out[i, j] = (part * kernel[..., None]).sum(axis=(0, 1))
    return out


def to_8_bit(values):
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.4, 0.55, 1.0, 3.0, 40.0])
def test_low_pass_is_the_truncated_normalised_kernel_with_repeated_border(
    picture, sigma
):
    small = picture[:9, :8] if sigma == 40 else picture
    expected = to_8_bit(blur_by_hand(small, sigma))
    found = filter_frequencies(small, "low", sigma)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() < 1e-3


@pytest.mark.parametrize("sigma", [0.4, 1.5, 3.0])
def test_high_pass_is_the_rest_with_the_given_mean(picture, sigma):
    mean = np.array([0.45, 0.5, 0.4])
    detail = picture - blur_by_hand(picture, sigma)
    expected = to_8_bit(detail - detail.mean(axis=(0, 1)) + 255 * mean)
    found = filter_frequencies(picture, "high", sigma, mean_rgb=mean)
    assert (found != expected).mean() < 1e-3


def test_high_pass_pictures_have_the_given_mean():
    smooth = (127 + 60 * np.sin(np.arange(64) / 3)).astype(np.uint8)
    image = np.broadcast_to(smooth[:, None, None], (64, 48, 3))
    found = filter_frequencies(image, "high", 3.0, mean_rgb=[0.3, 0.5, 0.6])
    np.testing.assert_allclose(
        found.mean(axis=(0, 1)) / 255, [0.3, 0.5, 0.6], atol=0.002
    )


@pytest.mark.parametrize("family", ["low", "high"])
@pytest.mark.parametrize("grey", [False, True])
def test_a_stack_is_filtered_as_its_pictures(family, grey):
    stack = np.random.default_rng(0).integers(0, 256, (2, 3, 17, 12, 3), np.uint8)
    options = {"mean_rgb": [0.4, 0.5, 0.6], "grey": grey}
    whole = filter_frequencies(stack, family, 1.5, **options)
    for i in np.ndindex(2, 3):
        alone = filter_frequencies(stack[i], family, 1.5, **options)
        np.testing.assert_array_equal(whole[i], alone)


def test_rounding_is_half_away_from_zero_and_saturates():
    image = np.zeros((1, 2, 3), np.uint8)
    found = filter_frequencies(image, "high", 1.0, mean_rgb=[0.5 / 255, 126.5 / 255, 1])
    assert found[0, 0].tolist() == [1, 127, 255]


def test_level_one_is_the_picture_or_its_luminance(picture):
    same = filter_frequencies(picture, "low", None)
    np.testing.assert_array_equal(same, picture)
    assert not np.shares_memory(same, picture)
    grey = filter_level(picture, "high", 1, grey=True)
    expected = to_8_bit(picture.astype(float) @ GREY)
    for channel in range(3):
        np.testing.assert_array_equal(grey[..., channel], expected)


def test_grey_is_the_luminance_of_the_8_bit_result(picture):
    colour = filter_frequencies(picture, "low", 3.0)
    grey = filter_frequencies(picture, "low", 3.0, grey=True)
    np.testing.assert_array_equal(grey, grey_of(colour))


@given(st.integers(0, 255))
def test_luminance_of_grey_is_itself(value):
    assert (grey_of(np.full((1, 1, 3), value, np.uint8)) == value).all()


def test_cut_offs_are_where_the_gaussian_passes_half():
    for sigma in (1.0, 3.0, 15.0):
        f = cutoff_cycles_per_px(sigma)
        assert math.exp(-2 * (math.pi * sigma * f) ** 2) == pytest.approx(0.5)
    low = frequency_levels("low", px_per_deg=256 / 26)
    high = frequency_levels("high", px_per_deg=256 / 26)
    np.testing.assert_allclose(
        low["cutoff_cycles_per_image"][1:], [48, 16, 9.6, 6.9, 5.3, 3.2, 1.2], atol=0.06
    )
    np.testing.assert_allclose(
        high["cutoff_cycles_per_image"][1:],
        [16, 32, 48, 68.5, 87, 107, 120],
        rtol=0.005,
    )
    np.testing.assert_allclose(
        low["cutoff_cycles_per_deg"].iloc[[1, -1]], [1.85, 0.046], rtol=0.01
    )


def test_sigmas_scale_with_the_shorter_side():
    assert frequency_levels("low")["sigma_px"].tolist()[1:] == list(LOW_SIGMAS_PX)
    half = frequency_levels("high", size_px=128)["sigma_px"].tolist()
    assert np.isnan(half[0])
    assert half[1:] == [s / 2 for s in HIGH_SIGMAS_PX]
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    np.testing.assert_array_equal(
        filter_level(image, "low", 3), filter_frequencies(image, "low", 3 * 64 / 256)
    )


def test_mean_colour_counts_each_picture_alike():
    pictures = [np.zeros((2, 2, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)]
    assert mean_rgb(pictures).tolist() == [0.5, 0.5, 0.5]


def test_output_is_frozen():
    y, x = np.mgrid[:40, :40]
    image = np.stack([(7 * x + y * y) % 256, (x * y) % 256, (5 * y) % 256], -1)
    image = image.astype(np.uint8)
    low = filter_frequencies(image, "low", 3.0)
    high = filter_frequencies(image, "high", 0.7, mean_rgb=[0.46, 0.44, 0.4])
    assert low[[3, 20, 39], [5, 20, 39]].tolist() == [
        [51, 16, 16],
        [129, 129, 100],
        [114, 168, 189],
    ]
    assert high[[3, 20, 39], [5, 20, 39]].tolist() == [
        [117, 112, 102],
        [62, 112, 102],
        [38, 130, 103],
    ]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: filter_frequencies(p, "mid", 1.0), ValueError, "'low', 'high'"),
        (lambda p: filter_frequencies(p, "high", 1.0), ValueError, "validation"),
        (
            lambda p: filter_frequencies(p, "high", 1.0, mean_rgb=[120, 110, 100]),
            ValueError,
            "by 255",
        ),
        (lambda p: filter_frequencies(p, "low", 0), ValueError, "sigma_px"),
        (lambda p: filter_frequencies(p / 255, "low", 1.0), TypeError, "uint8"),
        (lambda p: filter_frequencies(p[..., 0], "low", 1.0), ValueError, "H, W, 3"),
        (lambda p: filter_level(p, "low", 9), ValueError, "level"),
        (lambda p: mean_rgb([]), ValueError, "empty"),
    ],
)
def test_wrong_arguments_are_told(picture, call, error, words):
    with pytest.raises(error, match=words):
        call(picture)


@pytest.mark.parametrize("sigma", [0.4, 0.45, 0.55])
def test_flat_parts_between_two_grey_levels_round_as_the_published_formula(sigma):
    # 255 * 0.7 = 178.5, and narrow kernels keep the mean: rounding errors decide.
    generator = np.random.default_rng(5)
    image = np.zeros((40, 48, 3), np.uint8)
    image[5:15, 10:30] = generator.integers(0, 256, (10, 20, 3), np.uint8)
    x = image.astype(float)
    detail = x - ndimage.gaussian_filter(
        x, (sigma, sigma, 0), mode="nearest", radius=(math.ceil(2 * sigma),) * 2 + (0,)
    )
    wanted = (detail - detail.mean((0, 1))) + 255 * np.array([0.7, 0.5, 0.3])
    found = filter_frequencies(image, "high", sigma, mean_rgb=[0.7, 0.5, 0.3])
    np.testing.assert_array_equal(found, np.floor(np.clip(wanted, 0, 255) + 0.5))
