"""What one glance sees, computed in parts, against a pass of the whole window."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neurovis.adapters.eccentric_pooling import same_pool
from neurovis.adapters.gaze_window import GazeWindow
from neurovis.adapters.map_parts import content_boxes
from neurovis.adapters.trunk_weights import load_trunk
from neurovis.adapters.trunks import full_pass

BACKGROUND = 27
# The parts differ from the whole in the order of float32 sums only.
OF_MAXIMUM = 1e-5
# So few that a small window reaches over the fovea and has several rings.
PX_PER_DEG = 8.0
TRUNKS = {
    "vgg16": "seeded:3/8",
    "squeezenet1_0": "seeded:3",
    "darknet_tiny": "seeded:3",
}


@pytest.fixture(scope="module")
def trunks():
    return {name: load_trunk(name, weights) for name, weights in TRUNKS.items()}


@pytest.fixture(scope="module")
def window(trunks):
    """The window that most tests look through."""
    return GazeWindow(trunks["vgg16"], 128, BACKGROUND, px_per_deg=PX_PER_DEG)


def bare(height, width):
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def items(height=60, width=72):
    """A display with three items of random pixels, one at the border."""
    image = bare(height, width)
    draw = np.random.default_rng(5)
    for top, left, side in ((0, 4, 9), (22, 50, 14), (44, 10, 12)):
        image[top : top + side, left : left + side] = draw.integers(
            0, 256, (side, side, 3)
        )
    return image


def texture(height=70, width=70):
    """Dots on a lattice: more connected parts than are searched for boxes."""
    image = bare(height, width)
    image[2::5, 3::6] = np.random.default_rng(6).integers(0, 256, 3)
    return image


def one_pixel():
    image = bare(50, 40)
    image[31, 17] = (255, 0, 90)
    return image


def embed(window, image, fixation):
    """The window around a fixation as one picture."""
    half = window.side // 2
    height, width = (n + 2 * window.side for n in image.shape[:2])
    padded = np.full((height, width, 3), window.background, np.uint8)
    rows, columns = (slice(window.side, window.side + n) for n in image.shape[:2])
    padded[rows, columns] = image
    top, left = (window.side + f - half for f in fixation)
    return padded[top : top + window.side, left : left + window.side]


@torch.inference_mode()
def whole(window, image, fixation):
    """Features of the last three stages from a pass of the whole window."""
    pixels = torch.from_numpy(embed(window, image, fixation)[None].copy())
    stages, _ = full_pass(window.trunk, pixels, window.rules)
    features = []
    for halvings, x in zip((2, 1, 0), stages[-3:], strict=True):
        for _ in range(halvings):
            x = same_pool(x, 2, window.kind)
        features.append(x[0])
    return features


def assert_close(found, expected):
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= OF_MAXIMUM * theirs.abs().max()


# Fixations within, at all corners of, and (published: clipped to it) on the far border
# of a display of 60 x 72.
PLACES = [(30, 36), (0, 0), (0, 71), (59, 0), (59, 71), (60, 72)]


@pytest.mark.parametrize("fixation", PLACES)
def test_parts_equal_the_whole_at_any_fixation(window, fixation):
    found = window.see(items(), fixation)
    assert_close(found, whole(window, items(), fixation))


@pytest.mark.parametrize("kind", ["average", "max"])
@pytest.mark.parametrize("eccentric", [True, False])
@pytest.mark.parametrize("name", TRUNKS)
def test_parts_equal_the_whole_for_every_trunk_and_pooling(
    trunks, name, eccentric, kind
):
    window = GazeWindow(
        trunks[name],
        140,
        BACKGROUND,
        eccentric=eccentric,
        kind=kind,
        px_per_deg=PX_PER_DEG,
    )
    for image, fixation in ((items(), (12, 61)), (items(150, 160), (90, 20))):
        found = window.see(image, fixation)
        assert_close(found, whole(window, image, fixation))


@pytest.mark.parametrize("side", [16, 34, 50, 96, 98, 126, 204])
@pytest.mark.parametrize("name", TRUNKS)
def test_parts_equal_the_whole_for_windows_of_any_even_side(trunks, name, side):
    window = GazeWindow(trunks[name], side, BACKGROUND, px_per_deg=4.0)
    found = window.see(items(), (20, 50))
    assert_close(found, whole(window, items(), (20, 50)))


@pytest.mark.parametrize(
    ("image", "fixation"),
    [
        (bare(40, 40), (20, 20)),
        (one_pixel(), (25, 20)),
        (one_pixel(), (49, 39)),
        (texture(), (35, 35)),
        (texture(), (69, 0)),
        (np.random.default_rng(7).integers(0, 256, (64, 64, 3), np.uint8), (32, 32)),
        (np.random.default_rng(8).integers(0, 256, (200, 300, 3), np.uint8), (9, 290)),
        (np.zeros((128, 128, 3), np.uint8), (64, 64)),
        (np.zeros((30, 10, 3), np.uint8), (15, 5)),
    ],
    ids=[
        "empty display",
        "one pixel",
        "one pixel from the corner",
        "texture",
        "texture from the corner",
        "noise",
        "noise beyond the window",
        "display of the size of the window",
        "another background",
    ],
)
def test_parts_equal_the_whole_for_any_display(window, image, fixation):
    assert_close(window.see(image, fixation), whole(window, image, fixation))


def test_the_texture_has_more_parts_than_are_searched_for_boxes():
    image = texture()
    n_dots = int((image != BACKGROUND).any(-1).sum())
    assert n_dots > 64
    rows, columns = np.nonzero((image != BACKGROUND).any(-1))
    hull = ((rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1))
    assert content_boxes(image, BACKGROUND, 0) == [hull]


def test_a_display_out_of_sight_is_not_seen(window):
    image = bare(300, 300)
    image[:40, :40] = 255
    for ours, expected in zip(
        window.see(image, (290, 290)), window.surround.seen, strict=True
    ):
        assert torch.equal(ours, expected[0])


def test_what_is_seen_of_many_equals_one_by_one(window):
    images = [items(), bare(50, 50), texture(), one_pixel(), items(90, 80)]
    fixations = [(0, 71), (25, 25), (10, 60), (31, 17), (45, 40)]
    many = window.see_many(images, fixations)
    for row, (image, fixation) in enumerate(zip(images, fixations, strict=True)):
        assert_close([x[row] for x in many], window.see(image, fixation))


@pytest.mark.parametrize("name", TRUNKS)
def test_parts_that_run_together_see_the_same(trunks, name):
    # As on an accelerator: parts are grown to common sizes and batched.
    window = GazeWindow(
        trunks[name], 140, BACKGROUND, px_per_deg=PX_PER_DEG, together=True
    )
    images = [items(), one_pixel(), items(150, 160), bare(9, 9), items()]
    fixations = [(0, 71), (31, 17), (75, 80), (4, 4), (59, 0)]
    many = window.see_many(images, fixations)
    for row, (image, fixation) in enumerate(zip(images, fixations, strict=True)):
        assert_close([x[row] for x in many], whole(window, image, fixation))


def test_looking_changes_neither_display_nor_surround(window):
    image = items()
    before = image.copy()
    surround = [x.clone() for x in window.surround.maps + window.surround.pooled]
    first = window.see(image, (5, 5))
    np.testing.assert_array_equal(image, before)
    after = window.surround.maps + window.surround.pooled
    assert all(torch.equal(a, b) for a, b in zip(surround, after, strict=True))
    window.see(texture(), (69, 69))
    again = window.see(image, (5, 5))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_eccentric_windows_are_felt_far_from_gaze(trunks):
    seen = {
        eccentric: GazeWindow(
            trunks["vgg16"], 128, BACKGROUND, eccentric=eccentric, px_per_deg=PX_PER_DEG
        ).see(items(), (59, 71))
        for eccentric in (True, False)
    }
    # Stage 3 comes before the first eccentric pooling.
    assert torch.equal(seen[True][0], seen[False][0])
    for ours, uniform in zip(seen[True][1:], seen[False][1:], strict=True):
        assert (ours - uniform).abs().max() > 0.01 * uniform.abs().max()


# -------------------------------------------------------------- content boxes


@settings(max_examples=200)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 25), st.integers(1, 25), st.just(3))),
    st.integers(0, 30),
    st.integers(0, 9),
)
def test_boxes_hold_every_pixel_that_differs(noise, margin, rarity):
    image = np.where(noise % (rarity + 1) == 0, noise, BACKGROUND)[..., :3]
    boxes = content_boxes(image.astype(np.uint8), BACKGROUND, margin)
    differs = (image != BACKGROUND).any(-1)
    held = np.zeros(differs.shape, bool)
    for (top, bottom), (left, right) in boxes:
        assert 0 <= top < bottom <= image.shape[0]
        assert 0 <= left < right <= image.shape[1]
        # No box is larger than what it holds.
        part = differs[top:bottom, left:right]
        assert part[0].any()
        assert part[-1].any()
        assert part[:, 0].any()
        assert part[:, -1].any()
        held[top:bottom, left:right] = True
    assert held[differs].all()
    assert bool(boxes) == bool(differs.any())


def test_a_bare_display_has_no_boxes():
    assert content_boxes(bare(20, 30), BACKGROUND, 5) == []


def test_boxes_are_merged_only_where_context_costs_more():
    image = bare(20, 200)
    image[5:8, 5:8] = image[5:8, 12:15] = image[5:8, 190:193] = 0
    far = ((5, 8), (190, 193))
    apart = [((5, 8), (5, 8)), ((5, 8), (12, 15)), far]
    assert sorted(content_boxes(image, BACKGROUND, 0)) == apart
    assert sorted(content_boxes(image, BACKGROUND, 4)) == [((5, 8), (5, 15)), far]
    assert content_boxes(image, BACKGROUND, 500) == [((5, 8), (5, 193))]


def test_a_difference_in_one_colour_is_content():
    image = bare(9, 9)
    image[4, 6, 2] += 1
    assert content_boxes(image, BACKGROUND, 3) == [((4, 5), (6, 7))]
