"""Pictures in pieces: permutations, seams, jitter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stimuli.category_pictures import draw_category_picture
from stimuli.patch_shuffles import blend_shuffle, local_shuffle, patch_shuffle


@pytest.fixture(scope="module")
def picture():
    return draw_category_picture("food", 1, size_px=64)


@given(n=st.sampled_from([2, 4, 8]), seed=st.integers(0, 1000))
def test_permutations_keep_every_pixel_and_every_patch(n, seed):
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    shuffled = patch_shuffle(image, n, seed=seed)
    height, width = 16 // n, 24 // n

    def patches(x):
        return [
            x[i * height : (i + 1) * height, j * width : (j + 1) * width].tobytes()
            for i in range(n)
            for j in range(n)
        ]

    assert sorted(patches(shuffled)) == sorted(patches(image))
    assert (shuffled != image).any()


def test_the_same_seed_and_key_give_the_same_bytes(picture):
    for shuffle, strength in (
        (patch_shuffle, 4),
        (blend_shuffle, 4),
        (local_shuffle, 1.0),
    ):
        made = shuffle(picture, strength, seed=1, key="a")
        assert made.tobytes() == shuffle(picture, strength, seed=1, key="a").tobytes()
        assert (made != shuffle(picture, strength, seed=1, key="b")).any()
        assert (made != shuffle(picture, strength, seed=2, key="a")).any()


def test_two_patches_a_side_have_no_order_that_stays():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for seed in range(60):
        assert (patch_shuffle(image, 2, seed=seed) != image).any()


def test_without_overlap_blending_is_shuffling(picture):
    np.testing.assert_array_equal(
        blend_shuffle(picture, 4, overlap=0, seed=3), patch_shuffle(picture, 4, seed=3)
    )


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_blended_patches_are_the_shuffled_ones_away_from_seams(picture, n):
    side = 64 // n
    margin = int(np.ceil(0.25 * side / 2))
    plain, blended = (f(picture, n, seed=5) for f in (patch_shuffle, blend_shuffle))
    inner = np.zeros(64, bool)
    for k in range(n):
        inner[k * side + margin : (k + 1) * side - margin] = True
    both = np.ix_(inner, inner)
    np.testing.assert_array_equal(blended[both], plain[both])


def test_blending_a_flat_picture_leaves_it_flat():
    flat = np.full((48, 32, 3), 77, np.uint8)
    for overlap in (0.1, 0.25, 0.5, 1.0):
        assert (blend_shuffle(flat, 4, overlap=overlap) == 77).all()


def test_blending_softens_the_seams(picture):
    def seam(x):
        rows = x.astype(float)
        return np.abs(rows[15::16][:-1] - rows[16::16]).mean()

    assert seam(blend_shuffle(picture, 4, seed=2)) < 0.6 * seam(
        patch_shuffle(picture, 4, seed=2)
    )


def test_jitter_takes_patches_from_no_farther_than_it_says():
    rows, columns = np.indices((64, 64))
    places = np.stack([rows, columns, rows], -1).astype(np.uint8)
    for jitter in (0.25, 0.5, 2.0):
        made = local_shuffle(places, jitter, n_patches=8, seed=4).astype(int)
        # The border mirrors: within the middle nothing is folded.
        moved = np.abs(made - places)[24:40, 24:40]
        assert 0 < moved.max() <= np.rint(8 * jitter)
        patch = (made - places)[24:32, 24:32]
        assert (patch == patch[0, 0]).all()


def test_no_jitter_is_no_change_and_more_is_more(picture):
    np.testing.assert_array_equal(local_shuffle(picture, 0.0), picture)
    likeness = [
        np.corrcoef(picture.ravel(), local_shuffle(picture, j, seed=1).ravel())[0, 1]
        for j in (0.25, 1.0, 4.0)
    ]
    assert likeness == sorted(likeness, reverse=True)


def test_wrong_grids_are_refused(picture):
    with pytest.raises(ValueError, match="must divide"):
        patch_shuffle(picture, 5)
    with pytest.raises(ValueError, match="n_patches"):
        blend_shuffle(picture, 1)
    with pytest.raises(ValueError, match="jitter"):
        local_shuffle(picture, -1)
    with pytest.raises(ValueError, match="overlap"):
        blend_shuffle(picture, 4, overlap=2)
    with pytest.raises(TypeError, match="uint8"):
        patch_shuffle(picture / 255, 4)
