"""Manipulations of pictures: contrasts, filters, phases, colours, sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from neurovis.core.types import StimulusSet
from stimuli.category_pictures import make_category_pictures
from stimuli.colour_opponency import false_colour
from stimuli.frequency_filters import cutoff_cycles_per_px
from stimuli.manipulated_sets import (
    MANIPULATIONS,
    ManipulationOptions,
    make_manipulated,
    manipulate,
)
from stimuli.manipulations import (
    MEAN_GREY,
    add_salt_and_pepper,
    add_uniform_noise,
    band_pass,
    cutoff_sigma_px,
    high_pass,
    low_pass,
    reduce_contrast,
    rgb_to_grey,
    rotate_quarter,
)
from stimuli.monitor_gamma import MONITOR_GAMMA
from stimuli.phase_scrambling import (
    count_draws,
    equalise_power,
    match_noise,
    mean_amplitude_spectrum,
    scramble_phase,
)


@pytest.fixture(scope="module")
def photograph():
    """Smooth colours with a disc, 224 px."""
    y, x = np.mgrid[:224, :224] / 224
    red = 0.5 + 0.3 * np.sin(9 * x + 4 * y)
    green = 0.45 + 0.25 * np.cos(11 * x * y)
    blue = 0.3 + 0.4 * x * (1 - y) + 0.2 * (np.hypot(x - 0.6, y - 0.4) < 0.2)
    return np.stack([red, green, blue], -1)


@pytest.fixture(scope="module")
def natural():
    """Grey noise with amplitudes of 1/f, which no manipulation here clips."""
    stream = np.random.default_rng(5)
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128))
    f[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(stream.standard_normal((128, 128))) / f)
    return 0.5 + 0.08 * field / field.std()


def test_frozen_numbers_of_one_small_picture():
    x = np.arange(48, dtype=float).reshape(4, 4, 3) / 47
    assert reduce_contrast(x, 0.3).std() == pytest.approx(0.08827223, abs=1e-8)
    noisy = add_uniform_noise(x, 0.1, seed=42)
    assert noisy[0, :2] == pytest.approx([0.33039483, 0.46477861], abs=1e-8)
    assert low_pass(x, 1.0)[1, 1] == pytest.approx(0.38254582, abs=1e-8)
    assert scramble_phase(x, 60, seed=1)[0, 0] == pytest.approx(0.02656308, abs=1e-8)
    flat = np.full((2, 2, 3), (0.2, 0.5, 0.7))
    assert false_colour(flat)[0, 0] * 255 == pytest.approx([164, 118, 0])


@given(contrast=st.floats(0, 1), seed=st.integers(0, 99))
def test_contrast_scales_deviations_from_mid_grey(contrast, seed):
    image = np.random.default_rng(seed).random((6, 5, 3))
    reduced = reduce_contrast(image, contrast)
    expected = contrast * (rgb_to_grey(image) - 0.5)
    np.testing.assert_allclose(reduced - 0.5, expected, atol=1e-15)


def test_michelson_contrast_is_the_one_that_was_asked_for():
    checks = np.indices((8, 8)).sum(0) % 2.0
    reduced = reduce_contrast(checks, 0.15)
    low, high = reduced.min(), reduced.max()
    assert (high - low) / (high + low) == pytest.approx(0.15)


def test_uniform_noise_is_uniform_and_repeats_with_its_seed(photograph):
    noisy = add_uniform_noise(photograph, 0.2, seed=7)
    noise = noisy - reduce_contrast(photograph, 0.3)
    assert np.abs(noise).max() <= 0.2
    assert noise.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.01)
    again = add_uniform_noise(photograph, 0.2, seed=7)
    assert again.tobytes() == noisy.tobytes()
    assert (add_uniform_noise(photograph, 0.2, seed=8) != noisy).any()


def test_salt_and_pepper_share_the_pixels_that_change(photograph):
    noisy = add_salt_and_pepper(photograph, 0.2, seed=3)
    assert (noisy == 1).mean() == pytest.approx(0.1, abs=0.01)
    assert (noisy == 0).mean() == pytest.approx(0.1, abs=0.01)
    untouched = (noisy > 0) & (noisy < 1)
    np.testing.assert_array_equal(
        noisy[untouched], reduce_contrast(photograph, 0.3)[untouched]
    )


def test_low_pass_is_a_gaussian_with_grey_around(photograph):
    grey = rgb_to_grey(photograph)
    radius = 12
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / 3) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    around = np.pad(grey, radius, constant_values=MEAN_GREY)
    patch = around[100 : 100 + 2 * radius + 1, 0 : 2 * radius + 1]
    assert low_pass(photograph, 3)[100, 0] == pytest.approx((patch * kernel).sum())
    np.testing.assert_array_equal(low_pass(photograph, 0), grey)


def test_high_pass_has_the_published_mean_and_takes_what_low_pass_leaves(photograph):
    kept = high_pass(photograph, 1.5)
    assert kept.mean() == pytest.approx(MEAN_GREY)
    detail = rgb_to_grey(photograph) - low_pass(photograph, 1.5)
    np.testing.assert_allclose(kept - kept.mean(), detail - detail.mean(), atol=1e-12)
    np.testing.assert_array_equal(
        high_pass(photograph, np.inf), rgb_to_grey(photograph)
    )


def test_half_of_the_amplitude_passes_at_the_cut_off():
    cycles, px_per_deg = 4.0, 32.0
    sigma = cutoff_sigma_px(cycles, px_per_deg)
    assert px_per_deg * cutoff_cycles_per_px(sigma) == pytest.approx(cycles)
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * cycles * np.arange(256) / px_per_deg)
    passed = low_pass(np.tile(wave, (64, 1)), sigma)[32, 64:192]
    assert np.ptp(passed) / np.ptp(wave) == pytest.approx(0.5, abs=0.003)


def test_bands_an_octave_apart_add_to_the_picture(natural):
    centres = 64 * 2.0 ** np.arange(-9, 1)
    mean = natural.mean()
    total = sum(band_pass(natural, f, 128) - mean for f in centres)
    spectrum = np.abs(np.fft.rfft2(total - (natural - mean)))
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)) * 128
    # Beyond the last centre there is no next band.
    inside = (radius <= 64) & (radius > 0)
    assert spectrum[inside].max() < 1e-9 * np.abs(np.fft.rfft2(natural)).max()


def test_a_band_passes_its_centre_whole_and_half_an_octave_beside_by_half():
    x = np.arange(512) / 64
    for cycles, share in (
        (8.0, 1.0),
        (8 * 2**0.5, 0.5),
        (8 / 2**0.5, 0.5),
        (16.0, 0.0),
    ):
        # Whole waves only: others leak.
        cycles = round(cycles * 8) / 8
        wave = np.tile(0.5 + 0.3 * np.sin(2 * np.pi * cycles * x), (4, 1))
        passed = band_pass(wave, 8, 64).std() / wave.std()
        assert passed == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotations_follow_the_published_flips(photograph, angle):
    grey = rgb_to_grey(photograph[:, :200])
    expected = {0: grey, 90: grey.T[::-1], 180: grey[::-1, ::-1], 270: grey[::-1].T}
    np.testing.assert_array_equal(
        rotate_quarter(photograph[:, :200], angle), expected[angle]
    )


@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (64, 33)])
def test_symmetric_scrambling_is_real_and_keeps_contrast_and_mean(natural, shape):
    image = natural[: shape[0], : shape[1]]
    n = count_draws(shape)
    assert n == ((shape[0] - 1 + shape[0] % 2) * (shape[1] - 1 + shape[1] % 2)) // 2
    scrambled = scramble_phase(image, 180, variant="symmetric", seed=2)
    assert scrambled.mean() == pytest.approx(image.mean())
    assert scrambled.std() == pytest.approx(image.std(), rel=1e-9)
    before, after = (np.abs(np.fft.fft2(p)) for p in (image, scrambled))
    np.testing.assert_allclose(after, before, atol=1e-9 * before.max())
    assert np.corrcoef(image.ravel(), scrambled.ravel())[0, 1] < 0.5


def test_reference_scrambling_equals_a_literal_loop(natural):
    image, width = natural[:16, :16], 90
    draws = np.random.RandomState(4).random_sample(112)
    shifted = np.fft.fftshift(np.fft.fft2(image))
    amplitude, phase = np.abs(shifted), np.angle(shifted)
    block = phase[1:, 1:].ravel()
    for i in range(112):
        turn = (2 * draws[i] - 1) * np.pi * width / 180
        block[i] += turn
        block[113 + i] -= turn
    phase[1:, 1:] = block.reshape(15, 15)
    made = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase)))
    np.testing.assert_allclose(
        scramble_phase(image, width, seed=4), made.real.clip(0, 1), atol=1e-12
    )
    assert np.abs(made.imag).max() > 1e-3


def test_reference_scrambling_loses_the_contrast_that_theory_tells(natural):
    for width in (30, 60, 90, 180):
        ratios = [
            scramble_phase(natural, width, seed=seed).std() / natural.std()
            for seed in range(30)
        ]
        w = np.deg2rad(width)
        expected = np.sqrt((1 + (np.sin(w) / w) ** 2) / 2)
        assert np.sqrt(np.mean(np.square(ratios))) == pytest.approx(expected, abs=0.02)


def test_equalised_pictures_have_the_mean_amplitudes(natural):
    others = [np.roll(natural, k, axis=0) * 0.8 + 0.1 for k in (3, 9)] + [natural.T]
    wanted = mean_amplitude_spectrum(others)
    found = equalise_power(natural, wanted)
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(found)))
    np.testing.assert_allclose(amplitude, wanted, atol=1e-9 * wanted.max())
    own = mean_amplitude_spectrum([natural])
    np.testing.assert_allclose(equalise_power(natural, own), natural, atol=1e-12)


def test_matched_noise_has_the_spectrum_but_not_the_picture(natural):
    noise = match_noise(natural, seed=1)
    before, after = (np.abs(np.fft.rfft2(p)) for p in (natural, noise))
    np.testing.assert_allclose(after, before, atol=1e-9 * before.max())
    assert noise.tobytes() == match_noise(natural, seed=1).tobytes()
    assert abs(np.corrcoef(natural.ravel(), noise.ravel())[0, 1]) < 0.5


def test_false_colours_twice_are_the_colours_where_the_monitor_can_show_them():
    stream = np.random.default_rng(0)
    image = np.round(255 * (0.55 + 0.04 * stream.random((8, 8, 3)))) / 255
    once = false_colour(image)
    assert np.abs(false_colour(once) - image).max() <= 2 / 255
    assert np.abs(once - image).max() > 3 / 255


def test_false_colours_take_the_nearest_level_of_any_table():
    table = np.sort(np.random.default_rng(3).random(256))
    table[10] = table[11]
    image = np.random.default_rng(4).random((5, 4, 3))
    found = false_colour(image, table) * 255
    assert (found == np.round(found)).all()
    assert not (found == 11).any()
    np.testing.assert_allclose(
        false_colour(image, table), false_colour(np.round(255 * image) / 255, table)
    )


def test_the_packaged_monitor_is_the_published_one(data_folder):
    from data_loaders.stimulus_constants import load_stimulus_constants

    constants = load_stimulus_constants(data_folder / "geirhos_stimulus_constants")
    np.testing.assert_array_equal(constants.gamma, MONITOR_GAMMA)
    assert constants.mean_amplitude.shape == (224, 224)
    assert not MONITOR_GAMMA.flags.writeable


def test_damaged_constants_are_refused(tmp_path):
    from data_loaders.stimulus_constants import load_stimulus_constants
    from neurovis.core.errors import DataCorruptError

    with pytest.raises(FileNotFoundError, match="x_gamma"):
        load_stimulus_constants(tmp_path)
    np.save(tmp_path / "x_gamma_function.npy", np.linspace(0, 1, 256)[:, None])
    (tmp_path / "mean_power_spectrum_grey.npy").write_bytes(b"cut")
    with pytest.raises(DataCorruptError, match=r"mean_power.*224"):
        load_stimulus_constants(tmp_path)
    np.save(tmp_path / "mean_power_spectrum_grey.npy", np.full((224, 224), np.nan))
    with pytest.raises(DataCorruptError, match="finite"):
        load_stimulus_constants(tmp_path)


@pytest.mark.parametrize("manipulation", sorted(MANIPULATIONS))
def test_every_published_condition_makes_a_picture(manipulation):
    pictures = make_category_pictures(1, size_px=32, seed=1)
    options = ManipulationOptions(work_px=None)
    made = make_manipulated(pictures, manipulation, seed=3, options=options)
    assert made.table["condition"].tolist() == list(MANIPULATIONS[manipulation])
    assert {"source_id", "experiment", "category"} <= set(made.table)
    again = make_manipulated(pictures, manipulation, seed=3, options=options)
    np.testing.assert_array_equal(made.load(len(made) - 1), again.load(len(made) - 1))
    assert all(picture.shape == (32, 32, 3) for picture in made.images)


def test_undistorted_conditions_are_the_grey_or_coloured_picture():
    picture = make_category_pictures(1, size_px=32).load(0) / 255
    grey = rgb_to_grey(picture)
    plain = {
        **{"colour": "bw", "contrast": "c100", "high-pass": "inf", "low-pass": "0"},
        **{"phase-scrambling": "0", "power-equalisation": "0", "rotation": "0"},
    }
    for manipulation, level in plain.items():
        made = manipulate(picture, manipulation, level)
        np.testing.assert_allclose(made, grey, atol=1e-12)
    for manipulation, level in (("colour", "cr"), ("false-colour", "True")):
        np.testing.assert_array_equal(manipulate(picture, manipulation, level), picture)


def test_pictures_without_a_set_get_names_and_their_own_noise():
    grey = [np.full((16, 16, 3), 128, np.uint8)] * 2
    made = make_manipulated(grey, "uniform-noise", ["0.1", "0.2"])
    assert isinstance(made, StimulusSet)
    assert made.table["stimulus_id"].iloc[1] == "p00000_uniform-noise_0.2"
    assert (made.load(0) != made.load(2)).any()


def test_cut_offs_in_cycles_per_degree_use_the_set():
    pictures = make_category_pictures(1, size_px=64)
    per_deg = pictures.viewing.px_per_deg
    made = make_manipulated(pictures, "low-pass", "2cpd").load(0)
    sigma = cutoff_sigma_px(2, per_deg)
    expected = np.floor(255 * low_pass(pictures.load(0) / 255, sigma) + 0.5)
    np.testing.assert_array_equal(made[..., 0], expected)
    with pytest.raises(ValueError, match="px_per_deg"):
        manipulate(np.ones((8, 8, 3)), "low-pass", "2cpd")


@pytest.mark.parametrize(
    ("manipulation", "level"),
    [
        ("contrast", "c101"),
        ("contrast", "50"),
        ("low-pass", "-1"),
        ("low-pass", "0cpd"),
        ("high-pass", "0"),
        ("phase-scrambling", "181"),
        ("rotation", "45"),
        ("eidolonI", "1-3-10"),
        ("eidolonII", "1-3-0"),
        ("salt-and-pepper", "1.5"),
        ("false-colour", "true"),
    ],
)
def test_levels_of_another_form_are_refused_before_anything_is_made(
    manipulation, level
):
    grey = [np.full((16, 16, 3), 128, np.uint8)]
    with pytest.raises(ValueError, match="no level"):
        make_manipulated(grey, manipulation, level)


def test_bad_pictures_and_options_are_told_clearly():
    with pytest.raises(ValueError, match="Divide 8-bit"):
        rgb_to_grey(np.full((4, 4, 3), 200))
    with pytest.raises(ValueError, match="shape"):
        rgb_to_grey(np.zeros((4, 4, 4)))
    with pytest.raises(ValueError, match="not finite"):
        rgb_to_grey(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="half the"):
        band_pass(np.zeros((8, 8)), 40, 64)
    with pytest.raises(ValueError, match="mean_amplitude"):
        equalise_power(np.zeros((8, 8)), np.zeros((9, 8)))
    with pytest.raises(ValueError, match="draws"):
        scramble_phase(np.zeros((8, 8)), 30, draws=[0.5])
    with pytest.raises(ValueError, match="Did you mean"):
        manipulate(np.zeros((8, 8, 3)), "contrasts", "c10")
    with pytest.raises(ValueError, match="different conditions"):
        make_manipulated([np.zeros((8, 8, 3), np.uint8)], "colour", ["cr", "cr"])
    with pytest.raises(ValueError, match="empty"):
        make_manipulated([], "colour")
    with pytest.raises(ValueError, match="needed for 'pow'"):
        manipulate(np.zeros((8, 8, 3)), "power-equalisation", "pow")


def test_filters_agree_with_an_independent_blur(photograph):
    # Where the border is far, any treatment of it gives the same.
    other = ndimage.gaussian_filter(rgb_to_grey(photograph), 5, mode="nearest")
    np.testing.assert_allclose(
        low_pass(photograph, 5)[30:-30, 30:-30], other[30:-30, 30:-30], atol=1e-12
    )
