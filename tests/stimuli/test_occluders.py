"""Occluders: areas, symmetry, points off the centre."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stimuli.occluders import (
    KINDS,
    N_LEVELS,
    occlude,
    occlusion_levels,
    occlusion_mask,
    square_half_px,
    square_mask,
)


def published_mask(kind, level):
    """The recipe for 256 px as it was written down."""
    z, mask = level, np.zeros((256, 256), bool)
    area = 16 * (z - 1) * 256
    if kind == "scotoma":
        d = math.ceil(math.sqrt(area) / 2)
        mask[128 - d : 128 + d, 128 - d : 128 + d] = True
    elif kind == "glaucoma":
        b = math.ceil(math.sqrt(65536 - area) / 2)
        mask[:] = True
        mask[128 - b : 128 + b, 128 - b : 128 + b] = False
    elif kind == "left2right":
        mask[:, : 16 * (z - 1)] = True
    else:
        mask[: 16 * (z - 1)] = True
    return mask


@pytest.mark.parametrize("kind", KINDS)
def test_masks_at_256_are_the_published_ones(kind):
    for level in range(1, N_LEVELS + 1):
        np.testing.assert_array_equal(
            occlusion_mask(kind, level, (256, 256)), published_mask(kind, level)
        )


@given(st.sampled_from(KINDS), st.integers(1, 17), st.integers(8, 300))
def test_any_size_hides_about_the_nominal_share(kind, level, size):
    mask = occlusion_mask(kind, level, (size, size))
    nominal = (level - 1) / 16
    # A square is at most two pixels too wide, and never too small.
    assert abs(mask.mean() - nominal) <= (4 * size + 4) / size**2
    covered = mask.mean() if kind == "scotoma" else 1 - mask.mean()
    if kind in ("scotoma", "glaucoma"):
        assert covered >= (nominal if kind == "scotoma" else 1 - nominal) - 1e-12
    if level in (1, 17):
        assert mask.mean() == nominal


@given(st.sampled_from(KINDS[:2]), st.integers(1, 17), st.integers(1, 60))
def test_squares_are_symmetric_at_the_centre(kind, level, size):
    mask = occlusion_mask(kind, level, (size, size))
    np.testing.assert_array_equal(mask, mask[::-1])
    np.testing.assert_array_equal(mask, mask[:, ::-1])
    np.testing.assert_array_equal(mask, mask.T)


@pytest.mark.parametrize("kind", KINDS)
def test_higher_levels_hide_all_that_lower_ones_hide(kind):
    masks = [occlusion_mask(kind, level, (90, 120)) for level in range(1, 18)]
    assert not masks[0].any()
    assert masks[-1].all()
    for less, more in pairwise(masks):
        assert not (less & ~more).any()
        assert more.sum() > less.sum()


def test_a_square_off_the_centre_moves_and_is_cut_at_the_border():
    at = occlusion_mask("scotoma", 2, (64, 64), point_px=(40, 20))
    rows, columns = np.flatnonzero(at.any(axis=1)), np.flatnonzero(at.any(axis=0))
    assert (rows[0], rows[-1]) == (12, 27)
    assert (columns[0], columns[-1]) == (32, 47)
    corner = occlusion_mask("scotoma", 2, (64, 64), point_px=(0, 0))
    assert corner.sum() == 64
    seen = ~occlusion_mask("glaucoma", 16, (64, 64), point_px=(64, 64))
    assert seen.sum() == 64
    assert seen[56:, 56:].all()


def test_true_shares_are_listed():
    table = occlusion_levels((256, 256))
    assert len(table) == 4 * 17
    scotoma = table[table["kind"] == "scotoma"].set_index("level")["share"]
    assert scotoma[3] == 0.129150390625
    assert scotoma[17] == 1.0
    sides = table[table["kind"] == "left2right"]
    np.testing.assert_array_equal(sides["share"], sides["nominal_share"])
    half = occlusion_levels((256, 256), point_px=(0, 128)).set_index(["kind", "level"])
    assert half.loc[("scotoma", 5), "share"] == 0.125


def test_occluders_are_grey_and_leave_the_rest():
    images = np.random.default_rng(0).integers(0, 100, (2, 16, 16, 3), np.uint8)
    mask = occlusion_mask("top2bottom", 5, (16, 16))
    found = occlude(images, mask)
    assert (found[:, :4] == 128).all()
    np.testing.assert_array_equal(found[:, 4:], images[:, 4:])
    assert (occlude(images[0], mask, grey_level=0)[:4] == 0).all()
    assert images.max() < 100


def test_half_sides_are_exact_where_roots_are_whole():
    assert square_half_px(5, 256) == 64
    assert square_half_px(5, 1_000_000) == 250_000
    assert square_half_px(5, 4) == 1
    assert square_half_px(2, 5) == 1.5  # side 2 lies on no pixels of the middle
    assert square_mask(square_half_px(2, 5), (5, 5)).sum() == 9


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: occlusion_mask("blob", 1, (8, 8)), ValueError, "scotoma"),
        (lambda: occlusion_mask("scotoma", 18, (8, 8)), ValueError, "level"),
        (lambda: occlusion_mask("scotoma", 0, (8, 8)), ValueError, "level"),
        (lambda: occlusion_mask("scotoma", 1, (8, 8, 3)), ValueError, "shape"),
        (
            lambda: occlusion_mask("left2right", 2, (8, 8), point_px=(4, 4)),
            ValueError,
            "Leave it out",
        ),
        (lambda: square_mask(-1, (8, 8)), ValueError, "half_px"),
        (lambda: square_mask(1, (8, 8), point_px=(np.nan, 0)), ValueError, "finite"),
        (
            lambda: occlude(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), bool)),
            ValueError,
            r"\(4, 5\)",
        ),
        (
            lambda: occlude(np.zeros((4, 4, 3)), np.zeros((4, 4), bool)),
            TypeError,
            "uint8",
        ),
    ],
)
def test_wrong_arguments_are_told(call, error, words):
    with pytest.raises(error, match=words):
        call()
