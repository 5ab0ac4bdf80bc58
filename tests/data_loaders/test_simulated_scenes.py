"""Simulated scenes: what is written where, and what pictures show."""

from dataclasses import replace

import numpy as np
import pytest

from data_loaders.simulated_scenes import (
    CATEGORIES,
    SceneStyle,
    make_scenes,
    pool_boxes,
)

SMALL = {"grid": (10, 12), "n_channels": 9, "n_categories": 4}


def cells_of(scenes):
    """Box of each object in cells: scene, category, x0, y0, x1, y1."""
    found = []
    for i, k in np.argwhere(scenes.present):
        x0, y0, x1, y1 = (scenes.boxes[i, k] / scenes.style.cell_px).astype(int)
        found.append((i, k, x0, y0, x1, y1))
    return found


# ------------------------------------------------------------------- maps


def test_maps_hold_the_codes_within_the_boxes_and_nothing_beyond():
    scenes = make_scenes(40, **SMALL, seed=3)
    silent = SceneStyle(category_gain=0, code_gain=0)
    background = make_scenes(40, **SMALL, style=silent, seed=3).maps
    expected = np.zeros(scenes.maps.shape)
    for i, k, x0, y0, x1, y1 in cells_of(scenes):
        code = 5 * scenes.category_codes[k]
        for number, axis in zip(scenes.codes[i, k], scenes.code_axes, strict=True):
            code = code + 3 * number * axis
        for row in range(y0, y1):
            for column in range(x0, x1):
                expected[i, :, row, column] += code
    np.testing.assert_allclose(scenes.maps - background, expected, atol=1e-5)


def test_directions_are_unit_vectors_at_right_angles():
    scenes = make_scenes(2, **SMALL, style=SceneStyle(n_code=5))
    axes = np.concatenate([scenes.category_codes, scenes.code_axes])
    np.testing.assert_allclose(axes @ axes.T, np.eye(9), atol=1e-12)


@pytest.mark.parametrize("smoothness", [0.0, 0.7, 2.0])
def test_the_background_has_variance_one_and_the_smoothness_asked_for(smoothness):
    style = SceneStyle(category_gain=0, code_gain=0, smoothness=smoothness)
    maps = make_scenes(300, grid=(12, 12), n_channels=8, style=style).maps
    assert maps.var() == pytest.approx(1, abs=0.03)
    # White noise through a Gaussian is correlated by a wider Gaussian.
    expected = np.exp(-1 / (4 * smoothness**2)) if smoothness else 0.0
    for axis in (2, 3):
        beside = (maps * np.roll(maps, 1, axis)).mean()
        assert beside == pytest.approx(expected, abs=0.04)


def test_codes_are_standard_normal_and_undefined_without_an_object():
    scenes = make_scenes(500, **SMALL)
    assert (np.isnan(scenes.codes).any(axis=2) == ~scenes.present).all()
    assert (np.isnan(scenes.boxes).all(axis=2) == ~scenes.present).all()
    codes = scenes.codes[scenes.present]
    assert np.abs(codes.mean(axis=0)).max() < 0.1
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.1)


# ----------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("style", "grid"),
    [
        (SceneStyle(), (12, 12)),
        (SceneStyle(object_cells=(1, 5), max_objects=2), (10, 13)),
        (SceneStyle(object_cells=(5, 5), max_objects=2), (5, 20)),
        (SceneStyle(object_cells=(2, 2), max_objects=4), (4, 9)),
        (SceneStyle(object_cells=(1, 1), max_objects=1), (1, 2)),
    ],
)
def test_objects_lie_within_the_scene_and_never_overlap(style, grid):
    scenes = make_scenes(200, grid=grid, n_channels=8, style=style, seed=1)
    filled = np.zeros((200, *grid), int)
    for i, _, x0, y0, x1, y1 in cells_of(scenes):
        assert 0 <= x0 < x1 <= grid[1]
        assert 0 <= y0 < y1 <= grid[0]
        assert x1 - x0 == y1 - y0
        assert style.object_cells[0] <= x1 - x0 <= style.object_cells[1]
        filled[i, y0:y1, x0:x1] += 1
    assert filled.max() == 1
    counts = scenes.present.sum(axis=1)
    assert set(counts) == set(range(1, style.max_objects + 1))


def test_numbers_of_objects_categories_and_places_are_equally_frequent():
    style = SceneStyle(object_cells=(3, 3))
    scenes = make_scenes(3000, grid=(12, 12), n_channels=7, style=style, seed=2)
    shares = np.bincount(scenes.present.sum(axis=1))[1:] / 3000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    np.testing.assert_allclose(scenes.present.mean(axis=0), 0.5, atol=0.03)
    alone = scenes.boxes[scenes.present.sum(axis=1) == 1]
    x0 = alone[..., 0][~np.isnan(alone[..., 0])] / 8
    np.testing.assert_allclose(np.bincount(x0.astype(int)) / len(x0), 0.1, atol=0.04)


# ------------------------------------------------------------------ seeds


def test_a_seed_gives_the_same_scenes_bit_for_bit():
    one, again = (make_scenes(6, **SMALL, seed=5) for _ in range(2))
    for name in ("maps", "boxes", "codes", "category_codes", "code_axes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    for a, b in zip(one.pictures, again.pictures, strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_scenes(6, **SMALL, seed=6)
    assert not (other.maps == one.maps).any()
    assert (other.pictures[0] != one.pictures[0]).any()


def test_a_scene_does_not_depend_on_how_many_there_are():
    few, many = make_scenes(3, **SMALL, seed=5), make_scenes(9, **SMALL, seed=5)
    np.testing.assert_array_equal(few.maps, many.maps[:3])
    np.testing.assert_array_equal(few.boxes, many.boxes[:3])
    np.testing.assert_array_equal(few.pictures[2], many.pictures[2])


# --------------------------------------------------------------- pictures


def test_pictures_show_the_objects_in_their_boxes_and_grey_clutter_elsewhere():
    style = SceneStyle(cell_px=10)
    scenes = make_scenes(12, n_categories=8, style=style)
    for i, picture in enumerate(scenes.pictures):
        assert picture.shape == (120, 120, 3)
        assert picture.dtype == np.uint8
        outside = np.ones(picture.shape[:2], bool)
        for k in np.flatnonzero(scenes.present[i]):
            x0, y0, x1, y1 = scenes.boxes[i, k].astype(int)
            outside[y0:y1, x0:x1] = False
            colour = 128 + 110 * np.tanh(scenes.codes[i, k] / 1.5)
            near = np.abs(picture[y0:y1, x0:x1] - colour).max(axis=2) <= 0.5
            assert near.mean() > 0.1
            # The shape reaches the edges of its box, or nearly.
            black = (picture[y0:y1, x0:x1] == 0).all(axis=2)
            rows, columns = (np.flatnonzero(black.any(axis=a)) for a in (1, 0))
            for places in (rows, columns):
                assert places[0] <= 0.15 * (y1 - y0)
                assert places[-1] >= 0.8 * (y1 - y0)
        beyond = picture[outside]
        assert (beyond == beyond[:, :1]).all()
        assert beyond.std() > 1


def test_each_category_has_a_shape_of_its_own():
    style = SceneStyle(max_objects=1, object_cells=(6, 6))
    scenes = make_scenes(100, n_categories=8, style=style, seed=4)
    shapes = {}
    for i, k, *_ in cells_of(scenes):
        x0, y0, x1, y1 = scenes.boxes[i, k].astype(int)
        black = (scenes.pictures[i][y0:y1, x0:x1] == 0).all(axis=2)
        shapes.setdefault(CATEGORIES[k], black)
    assert set(shapes) == set(CATEGORIES)
    for a in CATEGORIES:
        for b in CATEGORIES:
            assert a == b or (shapes[a] != shapes[b]).sum() > 50


def test_codes_of_other_lengths_have_colours_too():
    for n_code in (1, 5):
        scenes = make_scenes(
            2, n_categories=1, style=SceneStyle(max_objects=1, n_code=n_code)
        )
        x0, y0, x1, y1 = scenes.boxes[0, 0].astype(int)
        middle = scenes.pictures[0][(y0 + y1) // 2, (x0 + x1) // 2]
        told = np.zeros(3)
        told[: min(3, n_code)] = scenes.codes[0, 0, :3]
        np.testing.assert_array_equal(
            middle, np.rint(128 + 110 * np.tanh(told / 1.5)).astype(np.uint8)
        )


# ---------------------------------------------------------------- pooling


def test_pooling_averages_the_cells_of_the_box():
    scenes = make_scenes(30, **SMALL, seed=9)
    for k, category in enumerate(scenes.categories):
        pooled = pool_boxes(scenes, category)
        assert (np.isnan(pooled).all(axis=1) == ~scenes.present[:, k]).all()
        for i, of, x0, y0, x1, y1 in cells_of(scenes):
            if of == k:
                cells = [
                    scenes.maps[i, :, row, column].astype(float)
                    for row in range(y0, y1)
                    for column in range(x0, x1)
                ]
                expected = np.mean(cells, axis=0)
                np.testing.assert_allclose(pooled[i], expected, atol=1e-5)


def test_an_unknown_category_is_refused():
    scenes = make_scenes(1, n_categories=2, style=SceneStyle(max_objects=2))
    with pytest.raises(ValueError, match="must be one of 'disc', 'square'; got 'star'"):
        pool_boxes(scenes, "star")


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_images": 0}, r"`n_images` must be within \[1, inf\]; got 0"),
        ({"grid": (12,)}, r"`grid` must have shape \(2\)"),
        ({"grid": (12, 0)}, r"`grid` must be within \[1"),
        ({"grid": (8, 11)}, "`grid` 8 x 11 is too small: 3 objects of 4 x 4 cells"),
        ({"grid": (3, 90)}, "`grid` 3 x 90 is too small"),
        ({"n_categories": 9}, r"`n_categories` must be within \[1, 8\]; got 9"),
        ({"n_categories": 2}, "`max_objects` must be at most `n_categories`, 2"),
        ({"n_channels": 6}, "`n_channels` must be at least 7: one for each of 4"),
        ({"n_channels": 0}, r"`n_channels` must be within \[1"),
        ({"seed": -1}, "`seed` must be 0 or more"),
        ({"seed": 0.5}, "`seed` must be an int"),
    ],
)
def test_arguments_out_of_range_are_refused(options, match):
    with pytest.raises((TypeError, ValueError), match=match):
        make_scenes(**({"n_images": 2} | options))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_objects": 0}, "`max_objects` must be within"),
        ({"max_objects": 1.5}, "`max_objects` must be a whole number"),
        ({"object_cells": (4, 3)}, r"`object_cells` must be within \[4, inf\]; got 3"),
        ({"object_cells": (0, 3)}, "`object_cells` must be within"),
        ({"object_cells": 3}, r"`object_cells` must have shape \(2\)"),
        ({"n_code": 0}, "`n_code` must be within"),
        ({"category_gain": -1}, "`category_gain` must be within"),
        ({"code_gain": np.nan}, "`code_gain` must be within"),
        ({"smoothness": "1"}, "`smoothness` must be a number; got str"),
        ({"cell_px": 0}, "`cell_px` must be within"),
    ],
)
def test_a_style_out_of_range_is_refused(options, match):
    with pytest.raises((TypeError, ValueError), match=match):
        replace(SceneStyle(), **options)
