"""Scenes of objects that hide each other."""

import numpy as np
import pytest
from scipy.ndimage import label as connected_parts
from scipy.stats import mode

from stimuli.display import to_8_bit
from stimuli.object_scenes import (
    CONDITIONS,
    draw_object_scene,
    make_object_scenes,
    patch_labels,
    patch_of_pixels,
    plan_scene,
    scene_labels,
)

FROZEN = [
    ("rectangle,polygon,rectangle,polygon", [3420, 186, 113, 282, 95], 1589272),
    (
        "rectangle,ellipse,rectangle,ellipse,ellipse",
        [3351, 79, 143, 108, 209, 206],
        1563141,
    ),
    (
        "ellipse,rectangle,rectangle,polygon,polygon",
        [3098, 261, 220, 170, 142, 205],
        1560441,
    ),
]


@pytest.fixture(scope="module")
def scenes():
    return make_object_scenes(4, size_px=96, seed=3)


def test_every_object_is_visible_and_labels_match_the_masks(scenes):
    for _, row in scenes.table.iterrows():
        display = draw_object_scene(row)
        labels = scene_labels(row)
        assert labels.dtype == np.int16
        assert labels.shape == (96, 96)
        np.testing.assert_array_equal(labels, display.geometry["labels"])
        assert set(np.unique(labels)) == set(range(row["n_objects"] + 1))
        for name, mask in display.masks.items():
            np.testing.assert_array_equal(mask, labels == int(name.split()[1]))
        assert 3 <= row["n_objects"] <= 6


def test_only_the_cut_object_of_occluded_scenes_is_in_two_large_parts(scenes):
    for _, row in scenes.table.iterrows():
        labels = scene_labels(row)
        for mark in range(1, row["n_objects"] + 1):
            parts, _ = connected_parts(labels == mark)
            large = (np.bincount(parts.ravel())[1:] > 0.002 * labels.size).sum()
            assert (large >= 2) == (mark == row["cut"])
        assert (row["cut"] > 0) == (row["condition"] == "occluded")


def test_twins_differ_in_place_only_and_other_objects_in_more(scenes):
    for _, row in scenes.table.iterrows():
        scene = plan_scene(row)
        assert (len(scene.twins) == 2) == (row["condition"] == "identical")
        looks = [(o.shape, o.colour, o.texture) for o in scene.objects]
        if scene.twins:
            one, other = (scene.objects[k - 1] for k in scene.twins)
            np.testing.assert_allclose(
                one.outline_deg - one.centre_deg, other.outline_deg - other.centre_deg
            )
            assert one.centre_deg != other.centre_deg
            assert looks[scene.twins[0] - 1] == looks[scene.twins[1] - 1]
        assert len(set(looks)) == len(looks) - bool(scene.twins)


def test_pixels_of_an_object_have_its_hue_and_change_with_the_label(scenes):
    row = scenes.table.iloc[0]
    scene, display = plan_scene(row), draw_object_scene(row)
    for mark, one in enumerate(scene.objects, start=1):
        inside = display.masks[f"object {mark}"]
        mean = display.image[inside].mean(axis=0)
        np.testing.assert_allclose(mean, one.colour, atol=0.2)


def test_scenes_are_the_same_in_any_set_and_of_any_size():
    long = make_object_scenes(3, size_px=64, seed=5)
    late = make_object_scenes(1, size_px=64, seed=5, first=2)
    for index in range(3):
        np.testing.assert_array_equal(late.load(index), long.load(6 + index))
    large = make_object_scenes(1, size_px=128, seed=5)
    for index in range(3):
        small = scene_labels(long.table.iloc[index])
        doubled = scene_labels(large.table.iloc[index])
        share = (np.kron(small, np.ones((2, 2), int)) == doubled).mean()
        assert share > 0.97
    other = make_object_scenes(1, size_px=64, seed=6)
    assert not np.array_equal(other.load(0), long.load(0))


def test_frozen_scene_keeps_its_objects_and_pixels():
    scenes = make_object_scenes(1, size_px=64)
    assert scenes.table["condition"].tolist() == list(CONDITIONS)
    for index, (shapes, visible, total) in enumerate(FROZEN):
        row = scenes.table.iloc[index]
        assert row["shapes"] == shapes
        assert np.bincount(scene_labels(row).ravel()).tolist() == visible
        levels = to_8_bit(draw_object_scene(row).image)
        assert int(levels.sum()) == pytest.approx(total, abs=200)


def test_patch_labels_are_the_mode_and_the_smallest_of_a_tie():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4, (12, 20)).astype(np.int16)
    found = patch_labels(image, (3, 5))
    for i in range(3):
        for j in range(5):
            patch = image[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            # scipy takes the smallest of equally frequent ones too.
            assert found[i, j] == mode(patch, axis=None).mode
    assert patch_labels(np.array([[3, 3, 0, 0]]), (1, 1)).tolist() == [[0]]


def test_sides_that_are_no_multiples_give_every_pixel_to_one_patch():
    patch = patch_of_pixels((10, 7), (3, 2))
    sizes = np.bincount(patch.ravel())
    assert sizes.tolist() == [16, 12, 12, 9, 12, 9]
    assert patch[0, 0] == 0
    assert patch[-1, -1] == 5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_per_condition": 0}, "n_per_condition"),
        ({"conditions": "distant"}, "distinct"),
        ({"conditions": ["distinct", "distinct"]}, "different names"),
        ({"size_px": 8}, "size_px"),
        ({"n_objects": (5, 3)}, "fewest"),
        ({"n_objects": (2, 3)}, "n_objects"),
    ],
)
def test_bad_requests_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_object_scenes(**kwargs)


def test_bad_labels_are_refused():
    with pytest.raises(TypeError, match="whole"):
        patch_labels(np.zeros((4, 4)), (2, 2))
    with pytest.raises(ValueError, match="0 or more"):
        patch_labels(np.full((4, 4), -1), (2, 2))
    with pytest.raises(ValueError, match="grid"):
        patch_labels(np.zeros((4, 4), int), (5, 2))
