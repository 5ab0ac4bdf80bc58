"""Eidolons against a plain version, and what must hold for any of them."""

import numpy as np
import pytest
from scipy import ndimage

from stimuli import eidolons
from stimuli.category_pictures import draw_category_picture
from stimuli.eidolons import disarray, embed, scale_slices


@pytest.fixture(scope="module")
def picture():
    return draw_category_picture("object", 3, size_px=64) / 255


def blurred(frame, sigma):
    return ndimage.gaussian_filter(frame, sigma, mode="wrap", truncate=8)


def test_slices_of_scale_add_to_the_frame_blurred_a_little(picture):
    frame, _ = embed(255 * picture[..., 0])
    slices = scale_slices(frame)
    assert len(slices) == 12
    finest = blurred(frame, 2**-0.5)
    # A sampled kernel of 0.71 px differs a little from the exact one.
    np.testing.assert_allclose(sum(slices), finest, atol=1.5)
    np.testing.assert_allclose(slices[4], blurred(frame, 2**1.5) - blurred(frame, 4),
                               atol=1e-6)  # fmt: skip
    assert [abs(part.mean()) < 1e-9 for part in slices] == [True] * 11 + [False]


@pytest.mark.parametrize("coherence", [0.0, 0.3, 1.0])
def test_without_reach_nothing_moves(picture, coherence):
    grey = np.floor(255 * (picture @ [0.2125, 0.7154, 0.0721]) + 0.5)
    frame, middle = embed(grey)
    spectrum = np.fft.fft2(frame)
    rows, columns = (np.fft.fftfreq(side) for side in frame.shape)
    gain = np.exp(-((np.pi * np.hypot(rows[:, None], columns)) ** 2))
    expected = np.fft.ifft2(spectrum * gain).real[middle] / 255
    made = disarray(picture, 0, coherence, work_px=None)
    np.testing.assert_allclose(made, expected, atol=1e-9)


def test_a_frame_is_a_power_of_two_with_the_picture_mirrored_around():
    levels = np.arange(12.0).reshape(3, 4)
    frame, (rows, columns) = embed(levels)
    assert frame.shape == (8, 8)
    np.testing.assert_array_equal(frame[rows, columns], levels)
    assert frame[rows.start - 1, columns.start] == levels[0, 0]
    assert frame[rows.stop, columns.stop - 1] == levels[2, 3]
    assert embed(np.zeros((256, 256)))[0].shape == (512, 512)
    assert embed(np.zeros((224, 342)))[0].shape == (512, 1024)


def test_the_fields_have_the_stated_reach():
    fields = list(eidolons._coherent_fields((256, 256), 64.0, 3, True))
    scales = 2 ** ((np.arange(12) - 1) / 2)
    # Independent noises add their variances.
    expected = np.sqrt(np.cumsum((scales[::-1] / 64) ** 2))
    found = [np.sqrt((f.real.var() + f.imag.var()) / 2) for f in fields]
    np.testing.assert_allclose(found, expected, rtol=0.35)
    stream = np.random.default_rng(0)
    noise = eidolons._blurred_noise(stream, (256, 256), 10.0)
    assert noise.real.mean() == pytest.approx(0, abs=1e-12)
    assert (noise.real.std(), noise.imag.std()) == pytest.approx((1, 1))


def test_more_reach_leaves_less_of_the_picture(picture):
    plain = disarray(picture, 0, 1.0, work_px=None)
    likeness = [
        np.corrcoef(plain.ravel(), disarray(picture, reach, 1.0, work_px=None).ravel())[
            0, 1
        ]
        for reach in (1, 4, 16, 64)
    ]
    assert likeness[0] > 0.9
    assert likeness == sorted(likeness, reverse=True)


def test_coherent_displacements_keep_more_fine_contrast():
    picture = draw_category_picture("object", 8, size_px=128) / 255

    def sharpness(coherence, mixture="convex"):
        made = disarray(picture, 8, coherence, work_px=None, mixture=mixture)
        return np.abs(np.diff(made, axis=0)).max(axis=0).mean()

    assert sharpness(1.0) > 1.2 * sharpness(0.0)
    # In the snapshot larger numbers scatter more.
    assert sharpness(0.0, "snapshot") > sharpness(1.0, "snapshot")


def test_the_mixtures_agree_where_only_coherent_fields_count(picture):
    convex = disarray(picture, 6, 1.0, work_px=None, seed=2)
    snapshot = disarray(picture, 6, 0.0, work_px=None, mixture="snapshot", seed=2)
    np.testing.assert_array_equal(convex, snapshot)


def test_the_same_seed_gives_the_same_bytes(picture):
    first = disarray(picture, 5, 0.3, work_px=None, seed=1)
    assert first.tobytes() == disarray(picture, 5, 0.3, work_px=None, seed=1).tobytes()
    assert (first != disarray(picture, 5, 0.3, work_px=None, seed=2)).any()


def test_pictures_come_to_the_size_of_the_experiments():
    made = disarray(np.full((100, 80, 3), 0.5), 4, 1.0)
    assert made.shape == (256, 256)
    np.testing.assert_allclose(made, 128 / 255, atol=1e-9)


def test_frozen_numbers_of_one_eidolon():
    image = np.linspace(0, 1, 32 * 32).reshape(32, 32)
    made = disarray(image, 4, 0.5, work_px=None, seed=7)
    assert made.mean() == pytest.approx(0.4733056, abs=1e-6)
    assert made[5, 20] == pytest.approx(0.0928471, abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reach_px": -1},
        {"coherence": 1.5},
        {"grain_px": 0},
        {"mixture": "linear"},
        {"max_sigma_px": 1},
        {"seed": -1},
        {"work_px": 2},
    ],
)
def test_arguments_out_of_range_are_refused(wrong):
    arguments = {"reach_px": 1, "coherence": 1.0, "work_px": None} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        disarray(np.zeros((16, 16)), **arguments)
