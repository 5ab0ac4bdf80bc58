"""Covers are the same everywhere, at any size, and differ between products."""

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neurovis.core.rng import generator
from stimuli.shelf_covers import (
    COVER_PX,
    PICTURE_KINDS,
    _design,
    _Figure,
    check_size_px,
    cover_features,
    draw_cover,
    draw_covers,
)


@pytest.fixture(scope="module")
def covers():
    return draw_covers(range(300), seed=5)


# ------------------------------------------------------------------------- covers


def test_a_cover_is_its_key_and_seed(covers):
    assert covers.shape == (300, 150, 93, 3)
    assert covers.dtype == np.uint8
    assert (draw_cover(17, seed=5) == covers[17]).all()
    assert (draw_covers([17, 3, 17], seed=5) == covers[[17, 3, 17]]).all()
    assert (draw_cover(17, seed=6) != covers[17]).any()
    assert (draw_cover("17", seed=5) != covers[17]).any()


def test_covers_are_frozen_to_the_last_level():
    drawn = [draw_covers(range(20), size_px=size) for size in ((93, 150), (7, 11))]
    found = [hashlib.sha256(d.tobytes()).hexdigest()[:16] for d in drawn]
    assert found == ["04f217c482a57ea0", "577e206b5bab9ecd"]


def test_no_two_of_many_products_look_alike(covers):
    assert len({c.tobytes() for c in covers}) == 300
    features = cover_features(covers)
    apart = np.abs(features[:, None] - features).mean(axis=2)
    np.fill_diagonal(apart, np.inf)
    # Mean difference of levels over the thumbnail: at least 10 of 255.
    assert apart.min() * 127.5 > 10


def test_hues_go_all_around(covers):
    hsv = np.array([Image.fromarray(c).convert("HSV") for c in covers])
    hue = np.array([np.bincount(h[..., 0].ravel() // 32, minlength=8) for h in hsv])
    assert set(hue.argmax(axis=1)) == set(range(8))


def test_every_kind_of_picture_comes():
    figures = Counter(
        shape.kind
        for key in range(200)
        for shape in _design(generator(0, "cover", key)).shapes
        if isinstance(shape, _Figure)
    )
    assert set(figures) == {"disc", "ring", "triangle", "diamond"}
    assert len(PICTURE_KINDS) == 8
    # One in eight, some with a second figure inside.
    assert min(figures.values()) > 10


def test_a_small_cover_is_a_large_one_seen_from_afar():
    large = draw_covers(range(40), size_px=(186, 300)).astype(float)
    small = draw_covers(range(40), size_px=(31, 50)).astype(float)
    means = large.reshape(40, 50, 6, 31, 6, 3).mean(axis=(2, 4))
    # Straight edges are exact areas; slopes and meeting edges are near them.
    assert np.abs(means - small).mean() < 1.0
    assert np.quantile(np.abs(means - small), 0.99) < 20


def test_discs_are_round_at_any_proportions():
    for key in range(200):
        last = _design(generator(0, "cover", key)).shapes[-1]
        if isinstance(last, _Figure) and last.kind == "disc" and last.radius_x > 0.15:
            break
    for width, height in ((93, 150), (200, 150), (93, 400)):
        picture = draw_cover(key, size_px=(width, height))
        colour = (np.array(last.colour) * 255 + 0.5).astype(int)
        y, x = np.nonzero((np.abs(picture.astype(int) - colour) <= 1).all(axis=2))
        near = np.hypot(x + 0.5 - last.x * width, y + 0.5 - last.y * height)
        radius = min(last.radius_x * width, last.radius_y * height)
        inside = near < radius - 1
        assert inside.sum() == pytest.approx(np.pi * (radius - 1) ** 2, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(st.integers(0, 2**60), st.text(min_size=1, max_size=8)),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_any_cover_can_be_drawn_at_any_size(key, width, height):
    picture = draw_cover(key, size_px=(width, height))
    assert picture.shape == (height, width, 3)
    assert (picture == draw_cover(key, size_px=(width, height))).all()


def test_a_dark_line_runs_around_the_cover(covers):
    edge = covers[:, [0, -1]].mean()
    assert edge < 0.7 * covers[:, [3, -4]].mean()


# ----------------------------------------------------------------------- features


def test_features_are_the_means_of_cells():
    covers = draw_covers(range(6), size_px=(10, 16))
    means = covers.reshape(6, 8, 2, 5, 2, 3).astype(float).mean(axis=(2, 4))
    expected = (means / 127.5 - 1).reshape(6, 120)
    assert cover_features(covers).dtype == np.float32
    assert np.allclose(cover_features(covers), expected, atol=1e-6)


def test_pixels_on_a_border_count_by_area():
    picture = np.zeros((1, 2, 3, 3), np.uint8)
    picture[0, :, 1] = 255
    features = cover_features(picture, grid=(2, 1))
    # The middle column of three is shared: a third of each half.
    assert np.allclose(features, 2 / 3 - 1)
    finer = cover_features(picture, grid=(6, 1)).reshape(6, 3)[:, 0]
    assert finer.tolist() == [-1, -1, 1, 1, -1, -1]


def test_features_agree_with_means_over_a_finer_raster(covers):
    # 465 x 1200 px are whole cells of 93 x 150 px each.
    fine = covers[:4].repeat(5, axis=2).repeat(8, axis=1).astype(np.float64)
    means = fine.reshape(4, 8, 150, 5, 93, 3).mean(axis=(2, 4))
    expected = (means / 127.5 - 1).reshape(4, 120)
    assert np.allclose(cover_features(covers[:4]), expected, atol=1e-6)


def test_features_of_a_picture_do_not_depend_on_the_others(covers):
    together = cover_features(covers[:7])
    alone = np.concatenate([cover_features(c[None]) for c in covers[:7]])
    assert (together == alone).all()
    assert np.abs(together).max() <= 1


def test_no_pictures_have_no_features():
    assert cover_features(np.zeros((0, 4, 4, 3), np.uint8)).shape == (0, 120)
    assert draw_covers([]).shape == (0, COVER_PX[1], COVER_PX[0], 3)


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_cover(1.5), "whole numbers"),
        (lambda: draw_cover(1, seed=-1), "seed"),
        (lambda: draw_cover(1, size_px=5), "two whole numbers"),
        (lambda: draw_cover(1, size_px=(5, 0)), r"`size_px` must be within \[1"),
        (lambda: draw_covers([1], size_px=(5.5, 3)), "whole number"),
        (lambda: cover_features(np.zeros((4, 4, 3), np.uint8)), "shape"),
        (lambda: cover_features(np.zeros((1, 4, 4, 3))), "dtype"),
        (lambda: cover_features(np.zeros((1, 0, 4, 3), np.uint8)), "empty"),
        (
            lambda: cover_features(np.zeros((1, 4, 4, 3), np.uint8), grid=(0, 1)),
            "`grid`",
        ),
        (lambda: check_size_px("grid", (1, 2, 3)), "`grid` must be two"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_no_torch_is_imported():
    code = "import sys, stimuli.shelf_displays; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0
