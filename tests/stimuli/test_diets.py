"""Diets: inverses, lines in their places, the warp by brute force, kept spectra."""

import io
import math
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import integrate, ndimage

from stimuli.diets import (
    DIETS,
    draw_lines,
    feed,
    fisheye,
    fisheye_radius,
    rotate_90,
    scramble_phase,
    upside_down,
)

SHAPES = [(8, 8), (9, 14), (33, 20), (64, 64), (65, 51)]


def noise(shape, seed=3, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (*shape, 3), np.uint8)


def smooth(height, width):
    """A colour picture made of whole numbers: the same on every machine."""
    y, x = np.mgrid[:height, :width]
    channels = [(7 * x + y * y // 8) % 200, (x * y // 4) % 180, (3 * y + x) % 256]
    return np.stack(channels, -1).astype(np.uint8)


@pytest.mark.parametrize("diet", DIETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_diet_gives_a_new_contiguous_picture_and_leaves_its_own(diet, shape):
    picture = noise(shape)
    before = picture.copy()
    fed = feed(picture, diet)
    assert fed.dtype == np.uint8
    assert fed.shape[:2] == (shape[::-1] if diet == "rotated-90" else shape)
    assert fed.flags.c_contiguous
    assert fed.flags.writeable
    assert not np.shares_memory(fed, picture)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(feed(picture, diet), fed)


@pytest.mark.parametrize("shape", SHAPES)
def test_diets_are_the_plain_functions(shape):
    picture = noise(shape)
    np.testing.assert_array_equal(feed(picture, "natural"), picture)
    np.testing.assert_array_equal(feed(picture, "rotated-90"), rotate_90(picture))
    np.testing.assert_array_equal(feed(picture, "upside-down"), upside_down(picture))
    np.testing.assert_array_equal(feed(picture, "fisheye"), fisheye(picture))
    np.testing.assert_array_equal(
        feed(picture, "phase-scrambled", key="a", seed=2),
        scramble_phase(picture, key="a", seed=2),
    )


# ------------------------------------------------------------------- turning


def test_four_quarter_turns_and_two_half_turns_are_none():
    picture = noise((13, 21))
    np.testing.assert_array_equal(upside_down(upside_down(picture)), picture)
    np.testing.assert_array_equal(rotate_90(rotate_90(picture)), upside_down(picture))
    turned = picture
    for _ in range(4):
        turned = rotate_90(turned)
    np.testing.assert_array_equal(turned, picture)


def test_a_quarter_turn_is_counter_clockwise():
    picture = noise((8, 11))
    turned = rotate_90(picture)
    for row, column in [(0, 0), (3, 10), (7, 5)]:
        assert (turned[10 - column, row] == picture[row, column]).all()


def test_upside_down_and_flipped_pictures_are_mirror_images():
    picture = noise((8, 11))
    np.testing.assert_array_equal(upside_down(picture)[:, ::-1], picture[::-1])


# --------------------------------------------------------------------- lines


def black_runs(flags):
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(int), 0]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def test_lines_of_published_pictures_are_in_both_directions_over_the_whole_picture():
    picture = noise((256, 361), low=1)
    lined = feed(picture, "lines")
    black = (lined == 0).all(axis=-1)
    starts = range(45, 361, 50)
    assert black_runs(black.all(axis=1)) == [(i, i + 5) for i in starts if i < 256]
    assert black_runs(black.all(axis=0)) == [(i, i + 5) for i in starts]
    by_hand = picture.copy()
    for start in starts:
        by_hand[start : start + 5] = 0
        by_hand[:, start : start + 5] = 0
    np.testing.assert_array_equal(lined, by_hand)
    np.testing.assert_array_equal(draw_lines(picture), by_hand)


def test_lines_scale_with_the_short_side():
    lined = feed(noise((160, 128), low=1), "lines")
    black = (lined == 0).all(axis=-1)
    # 22.5 and 2.5 are rounded up.
    assert black_runs(black.all(axis=0)) == [(i, i + 3) for i in range(23, 128, 25)]
    assert black_runs(black.all(axis=1)) == [(i, i + 3) for i in range(23, 160, 25)]
    large = feed(noise((512, 512), low=1), "lines")
    runs = black_runs((large == 0).all(axis=(1, 2)))
    assert runs == [(i, i + 10) for i in range(90, 512, 100)]
    tiny = (feed(noise((8, 8), low=1), "lines") == 0).all(axis=(1, 2))
    assert tiny.tolist() == [False, True] * 4


# ------------------------------------------------------------------- fisheye


@pytest.mark.parametrize("ratio", [1.5, 10.0, 100.0])
def test_the_radius_solves_its_differential_equation(ratio):
    half = 112.0
    rate = math.log(ratio) / half
    step = 2 * (1 - ratio**-0.5) / math.log(ratio)
    at = np.linspace(0, half, 17)
    solved = integrate.solve_ivp(
        lambda _, r: step * np.exp(rate * r / 2),
        (0, half),
        [0.0],
        t_eval=at,
        rtol=1e-10,
        atol=1e-10,
    ).y[0]
    radius = fisheye_radius(at, half, max_ratio=ratio)
    np.testing.assert_allclose(radius, solved, atol=1e-6)
    assert radius[0] == 0
    assert radius[-1] == pytest.approx(half)


def test_the_radius_is_that_of_the_published_steps():
    # Published: r[i + 1] = r[i] + step * exp(a r[i] / 2), step tuned to end at R.
    half, n = 128, 128
    rate = math.log(10) / half
    low, high = 0.1, 1.0
    for _ in range(60):
        step = (low + high) / 2
        radii = [0.0]
        for _ in range(n):
            radii.append(radii[-1] + step * math.exp(rate * radii[-1] / 2))
        low, high = (step, high) if radii[-1] < half else (low, step)
    ours = fisheye_radius(np.arange(n + 1.0), half)
    assert np.abs(ours - radii).max() < 0.35
    assert step == pytest.approx(0.594, abs=0.004)


@given(st.floats(1.001, 500), st.floats(4, 600))
def test_scale_falls_by_the_root_of_the_ratio_from_centre_to_border(ratio, half):
    ends = np.array([0.0, half])
    small = 1e-6 * half
    inner, outer = (
        fisheye_radius(ends + d, half, max_ratio=ratio) for d in (0.0, -small)
    )
    centre = fisheye_radius(small, half, max_ratio=ratio) / small
    border = (inner[1] - outer[1]) / small
    assert border / centre == pytest.approx(math.sqrt(ratio), rel=1e-3)
    assert centre <= 1 <= border * (1 + 1e-6)
    steps = np.diff(fisheye_radius(np.linspace(0, half, 50), half, max_ratio=ratio))
    assert (np.diff(steps) > -1e-9 * half).all()


def test_a_ratio_of_one_changes_nothing_and_the_outside_is_infinite():
    picture = noise((21, 30))
    np.testing.assert_array_equal(fisheye(picture, max_ratio=1), picture)
    far = fisheye_radius(np.array([1.0, 1.4, 1.6]), 1.0)
    assert np.isfinite(far).tolist() == [True, True, False]


@pytest.mark.parametrize("shape", [(24, 24), (24, 31), (31, 24), (23, 17)])
def test_fisheye_is_the_padded_square_pixel_by_pixel(shape):
    picture = noise(shape)
    height, width = shape
    half = max(shape) / 2
    rate = math.log(10) / half
    expected = np.zeros((*shape, 3))
    for i in range(height):
        for j in range(width):
            y, x = i - (height - 1) / 2, j - (width - 1) / 2
            warped = math.hypot(y, x)
            share = 1 - (1 - 10**-0.5) * warped / half
            if share <= 0:
                continue
            zoom = -2 / rate * math.log(share) / warped if warped else 0
            y, x = zoom * y, zoom * x
            if abs(y) > height / 2 or abs(x) > width / 2:
                continue
            place = [[y + (height - 1) / 2], [x + (width - 1) / 2]]
            for c in range(3):
                expected[i, j, c] = ndimage.map_coordinates(
                    picture[..., c].astype(float), place, order=1, mode="nearest"
                )[0]
    np.testing.assert_array_equal(fisheye(picture), np.floor(expected + 0.5))


def test_grey_stays_within_the_circle_and_corners_are_black():
    for shape in [(64, 64), (65, 65), (48, 96)]:
        warped = fisheye(np.full((*shape, 3), 77, np.uint8))
        y, x = np.mgrid[: shape[0], : shape[1]]
        radius = np.hypot(y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2)
        assert (warped[radius <= max(shape) / 2 - 0.5] == 77).all()
        assert (warped[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
        assert set(np.unique(warped)) == {0, 77}


def test_fisheye_is_radially_symmetric():
    picture = noise((40, 40))
    warped = fisheye(picture)
    np.testing.assert_array_equal(fisheye(rotate_90(picture)), rotate_90(warped))
    np.testing.assert_array_equal(fisheye(picture[:, ::-1].copy()), warped[:, ::-1])


def test_fisheye_magnifies_the_centre():
    y, x = np.mgrid[:128, :128] - 63.5
    disk = np.repeat((255 * (np.hypot(y, x) < 20))[..., None], 3, -1).astype(np.uint8)
    area = (fisheye(disk)[..., 0] > 127).sum() / (disk[..., 0] > 127).sum()
    # r = 20 is seen at r' = R (1 - exp(-a r / 2)) / (1 - 10**-0.5).
    seen = 64 * (1 - 10 ** (-20 / 128)) / (1 - 10**-0.5)
    assert area == pytest.approx((seen / 20) ** 2, rel=0.03)
    assert area > 1.9


# ---------------------------------------------------------------- scrambling


@pytest.mark.parametrize("shape", [(64, 64), (61, 48), (48, 63)])
def test_scrambling_keeps_amplitudes_and_relations_of_channels(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = [
        120 + 18 * np.sin(x / 3 + c) * np.cos(y / (4 + c)) + 8 * np.sin(y / 2 - c)
        for c in range(3)
    ]
    picture = np.stack(waves, -1).astype(np.uint8)
    scrambled = scramble_phase(picture, key=5)
    assert scrambled.min() > 0  # nothing is clipped
    assert scrambled.max() < 255
    before, after = (np.fft.fft2(p, axes=(0, 1)) for p in (picture, scrambled))
    error = np.linalg.norm(np.abs(after) - np.abs(before), axis=(0, 1))
    before[0, 0] = after[0, 0] = 0
    total = np.linalg.norm(before, axis=(0, 1))
    assert (error / total).max() < 0.03  # rounding to 8 bits alone
    np.testing.assert_allclose(scrambled.mean((0, 1)), picture.mean((0, 1)), atol=0.05)
    # Where there is amplitude, phases move by the same angle in all channels.
    strong = np.abs(before).min(axis=-1) > 60 * math.sqrt(shape[0] * shape[1] / 12)
    assert strong.sum() > 4
    turn = np.angle(after[strong] / before[strong])
    relative = np.angle(np.exp(1j * (turn - turn[:, :1])))
    assert np.abs(relative).max() < 0.1
    assert turn.std() > 1


def test_large_amplitudes_are_kept_within_one_percent():
    picture = (120 + 0.25 * (noise((96, 80), seed=1).astype(float) - 128)).astype(
        np.uint8
    )
    amplitudes = [
        np.abs(np.fft.fft2(p, axes=(0, 1))) for p in (picture, scramble_phase(picture))
    ]
    energy = [np.sqrt((a**2).sum()) for a in amplitudes]
    assert energy[1] == pytest.approx(energy[0], rel=1e-3)
    error = np.linalg.norm(amplitudes[1] - amplitudes[0]) / energy[0]
    assert error < 0.01


def test_grey_stays_grey_and_flat_stays_flat():
    grey = np.repeat(noise((32, 40))[..., :1], 3, axis=-1)
    scrambled = scramble_phase(grey)
    assert (scrambled == scrambled[..., :1]).all()
    assert (scrambled != grey).mean() > 0.9
    flat = np.full((9, 12, 3), [3, 90, 255], np.uint8)
    np.testing.assert_array_equal(scramble_phase(flat), flat)


def test_noise_belongs_to_key_and_seed():
    picture = noise((24, 24), low=90, high=160)
    first = scramble_phase(picture, key="a", seed=1)
    np.testing.assert_array_equal(scramble_phase(picture, key="a", seed=1), first)
    for key, seed in [("b", 1), ("a", 2), (0, 1)]:
        other = scramble_phase(picture, key=key, seed=seed)
        assert (other != first).mean() > 0.9


def test_white_noise_scrambles_evenly():
    # The phase that is added has no preferred value.
    picture = np.full((64, 64, 3), 64, np.uint8)
    picture[32, 32] = 255
    turns = []
    for key in range(4):
        spectrum = np.fft.fft2(scramble_phase(picture, key=key)[..., 0])
        shift = np.fft.fft2(picture[..., 0].astype(float))
        turns.append(np.angle(spectrum / shift)[1:32, 1:].ravel())
    counts = np.histogram(np.concatenate(turns), 8, (-np.pi, np.pi))[0]
    expected = counts.sum() / 8
    assert ((counts - expected) ** 2 / expected).sum() < 24


def test_few_values_of_photographs_are_clipped(data_folder):
    path = data_folder / "scenes15" / "images.zip"
    with zipfile.ZipFile(path) as file:
        names = [n for n in file.namelist() if n.endswith((".jpg", ".png"))][::200]
        shots = [Image.open(io.BytesIO(file.read(n))).convert("RGB") for n in names]
    pictures = [np.asarray(shot) for shot in shots]
    assert len(pictures) > 5
    scrambled = [scramble_phase(p, key=i) for i, p in enumerate(pictures)]
    at_bounds = np.mean([((p == 0) | (p == 255)).mean() for p in scrambled])
    assert 0.005 < at_bounds < 0.15
    kept = [s.std() / p.std() for s, p in zip(scrambled, pictures, strict=True)]
    assert 0.85 < np.mean(kept) <= 1


# -------------------------------------------------------------------- frozen


def test_output_is_frozen():
    picture = smooth(48, 64)
    at = ([3, 20, 40], [5, 33, 60])
    assert feed(picture, "rotated-90")[5, 3].tolist() == picture[3, 58].tolist()
    assert fisheye(picture)[at].tolist() == FISHEYE
    scrambled = scramble_phase(picture, key="frozen", seed=1)[at].astype(int)
    # Fourier transforms of machines may differ where a value is rounded.
    assert np.abs(scrambled - SCRAMBLED).max() <= 1


FISHEYE = [[27, 2, 10], [84, 147, 96], [30, 74, 182]]
SCRAMBLED = [[48, 98, 196], [28, 105, 73], [95, 70, 95]]


# -------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: feed(p, "natual"), ValueError, "Did you mean 'natural'"),
        (lambda p: feed(p / 255, "natural"), TypeError, "uint8"),
        (lambda p: feed(p[..., 0], "lines"), ValueError, "shape"),
        (lambda p: feed(p[:7], "fisheye"), ValueError, "at least 8 x 8"),
        (lambda p: feed(p, "phase-scrambled", seed=-1), ValueError, "seed"),
        (lambda p: feed(p, "phase-scrambled", key=1.5), TypeError, "keys"),
        (lambda p: rotate_90(p[:, :4]), ValueError, "larger picture"),
        (lambda p: upside_down(p.astype(float)), TypeError, "uint8"),
        (lambda p: draw_lines(p, spacing_px=5), ValueError, "width_px"),
        (lambda p: draw_lines(p, spacing_px=1), ValueError, "spacing_px"),
        (lambda p: draw_lines(p, first_px=-1), ValueError, "first_px"),
        (lambda p: draw_lines(p, width_px=2.5), ValueError, "whole"),
        (lambda p: fisheye(p, max_ratio=0.5), ValueError, "max_ratio"),
        (lambda p: fisheye_radius(1.0, 0.0), ValueError, "half_px"),
    ],
)
def test_wrong_arguments_are_told(call, error, words):
    with pytest.raises(error, match=words):
        call(noise((16, 20)))
