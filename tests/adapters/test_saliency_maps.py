"""Maps of where people look: saliency, spectral residual, centre, chance."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.signal import convolve2d

from neurovis.adapters import saliency_maps
from neurovis.adapters.saliency_maps import (
    MAP_MODELS,
    centre_map,
    load_map_model,
    saliency_map,
    spectral_residual_map,
)
from neurovis.core.pictures import read_image


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# --------------------------------------------------------------------- saliency


def bright_among_dim(odd):
    """Fifteen dim squares and a bright one on grey; row and column of that one."""
    image = np.full((240, 240, 3), 128, np.uint8)
    for number in range(16):
        top, left = (60 * n + 20 for n in divmod(number, 4))
        image[top : top + 20, left : left + 20] = 255 if number == odd else 150
    return image, divmod(odd, 4)


@pytest.mark.parametrize("odd", [0, 6, 11])
def test_the_odd_item_is_the_most_salient(odd):
    image, cell = bright_among_dim(odd)
    saliency = saliency_map(image, background=128)
    assert saliency.shape == image.shape[:2]
    assert saliency.min() >= 0
    row, column = divmod(int(saliency.argmax()), 240)
    assert (row // 60, column // 60) == cell


@pytest.mark.parametrize("background", [None, 90])
def test_nothing_is_salient_on_a_bare_display(background):
    image = np.full((70, 90, 3), 90, np.uint8)
    assert not saliency_map(image, background=background).any()


SIDES = st.integers(1, 30)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 99))
@settings(max_examples=60)
def test_resizing_is_the_linear_zoom_of_scipy(old, new, seed):
    values = np.random.default_rng(seed).random(old)
    factors = [n / m for m, n in zip(old, new, strict=True)]
    expected = ndimage.zoom(values, factors, order=1, mode="nearest", grid_mode=True)
    found = saliency_maps._resize(values, new)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


@given(st.tuples(SIDES, SIDES), st.integers(3, 9), st.integers(0, 99))
@settings(max_examples=60)
def test_the_largest_nearby_is_the_maximum_filter_of_scipy(shape, size, seed):
    # Few levels: many ties.
    values = np.random.default_rng(seed).integers(0, 9, shape).astype(float)
    expected = ndimage.maximum_filter(values, size)
    np.testing.assert_array_equal(saliency_maps._largest_nearby(values, size), expected)


def test_levels_are_blurred_and_halved():
    values = np.random.default_rng(0).random((90, 75))
    levels = saliency_maps._pyramid(values)
    expected = values
    for level in range(1, 2 + len(levels)):
        expected = ndimage.gaussian_filter(expected, 1.0, mode="nearest")[::2, ::2]
        if level >= 2:
            np.testing.assert_allclose(levels[level - 2], expected, atol=1e-15)


def test_saliency_keeps_the_numbers_it_had():
    image = cv2.resize(noise(12, 16, 3), (160, 120), interpolation=cv2.INTER_CUBIC)
    image = np.clip(image, 0, 255).astype(np.uint8)
    saliency = saliency_map(image)
    found = [saliency.mean(), saliency.std(), *saliency[20::40, 30::50].ravel()]
    frozen = [0.07148, 0.02501, 0.05354, 0.07971, 0.06363, 0.02497, 0.07856, 0.0856]
    frozen += [0.04601, 0.09331, 0.06796]
    # Ties of local maxima hang on the last digit: other machines may differ a little.
    np.testing.assert_allclose(found, frozen, rtol=0.02)


# ------------------------------------------------------------ spectral residual


def plain_spectral_residual(image):
    """The published steps one by one, with the amplitude and phase apart."""
    grey = image.astype(float) @ [0.299, 0.587, 0.114]
    size = (64, round(grey.shape[0] * 64 / grey.shape[1]))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    spectrum = np.fft.fft2(small)
    log_amplitude, phase = np.log(np.abs(spectrum)), np.angle(spectrum)
    mean = convolve2d(log_amplitude, np.ones((3, 3)) / 9, "same", "wrap")
    back = np.fft.ifft2(np.exp(log_amplitude - mean + 1j * phase))
    energy = np.abs(back) ** 2
    taps = np.exp(-(np.arange(-10, 11) ** 2) / (2 * 2.5**2))
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    blurred = convolve2d(energy, kernel, "same", "fill")
    return cv2.resize(blurred, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("shape", [(96, 128), (150, 200), (300, 192)])
def test_the_spectral_residual_is_that_of_the_published_steps(shape):
    image = noise(*shape, 3, seed=2)
    expected = plain_spectral_residual(image)
    found = spectral_residual_map(image)
    np.testing.assert_allclose(found, expected, atol=1e-9 * expected.max())


def test_a_patch_of_another_texture_stands_out():
    rng = np.random.default_rng(5)
    stripes = 128 + 60 * np.sin(np.arange(256) / 3)
    image = np.tile(stripes, (192, 1)) + rng.normal(0, 4, (192, 256))
    image[120:150, 60:90] = image[120:150, 60:90].T
    image = np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    row, column = divmod(int(spectral_residual_map(image).argmax()), 256)
    assert 105 <= row < 165
    assert 45 <= column < 105


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (90, 2), (40, 30)])
def test_small_pictures_have_a_map(shape):
    for kind in MAP_MODELS:
        saliency = load_map_model(kind).saliency(noise(*shape, 3))
        assert saliency.shape == shape
        assert np.isfinite(saliency).all()


def test_a_uniform_picture_has_no_spectral_residual():
    assert not spectral_residual_map(np.full((60, 80, 3), 77, np.uint8)).any()


@given(st.integers(0, 99))
@settings(max_examples=10)
def test_the_spectral_residual_does_not_depend_on_contrast(seed):
    # Amplitudes of all frequencies, so also their local mean, scale alike.
    image = noise(48, 64, 3, seed=seed) // 2 * 2
    np.testing.assert_allclose(
        spectral_residual_map(image), spectral_residual_map(image // 2), rtol=1e-6
    )


# ----------------------------------------------------------------------- models


@pytest.mark.parametrize("kind", MAP_MODELS)
def test_models_map_a_picture_and_leave_it_alone(kind):
    model = load_map_model(kind, label="mine")
    image = noise(50, 70, 3)
    before = image.copy()
    saliency = model.saliency(image)
    assert (saliency.dtype, saliency.shape) == (np.float64, (50, 70))
    assert saliency.min() >= 0
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(model.saliency(image), saliency)
    assert (model.name, model.notes) == ("mine", ())
    assert model.identity == load_map_model(kind).identity == {"observer": kind}


def test_centre_and_chance_do_not_see_the_picture():
    for kind in ("centre", "chance"):
        model = load_map_model(kind)
        one, two = (model.saliency(noise(9, 12, 3, seed=s)) for s in (0, 1))
        np.testing.assert_array_equal(one, two)
    assert (load_map_model("chance").saliency(noise(4, 5, 3)) == 1).all()
    centre = centre_map((9, 13))
    assert (centre[4, 6], centre.argmax()) == (1, 4 * 13 + 6)
    np.testing.assert_allclose(centre, centre[::-1, ::-1], atol=1e-15)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`kind`.*Did you mean 'saliency'"):
        load_map_model("salience")
    with pytest.raises(TypeError, match="`image` must have dtype uint8"):
        load_map_model("centre").saliency(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="`image` must have shape"):
        spectral_residual_map(np.zeros((4, 4), np.uint8))


def test_maps_of_a_real_picture_are_those_that_were_checked(data_folder):
    image = read_image(data_folder / "osie" / "stimuli" / "1001.jpg")
    places = ([80, 195, 210, 430], [370, 150, 780, 230])
    checked = {
        "saliency": [0.08664, 0.03794, 0.1628, 0.06082, 0.127, 0.08509],
        "spectral-residual": [
            4.887e-4,
            3.01e-4,
            8.638e-4,
            2.808e-4,
            7.915e-4,
            8.338e-4,
        ],
    }
    for kind, expected in checked.items():
        saliency = load_map_model(kind).saliency(image)
        found = [saliency.mean(), saliency.std(), *saliency[places]]
        np.testing.assert_allclose(found, expected, rtol=0.02)
