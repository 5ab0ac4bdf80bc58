"""Shapes with textures: masks, fills, quilts, sets."""

import numpy as np
import pytest
from scipy import ndimage

from stimuli.category_outlines import SHAPES, draw_silhouette
from stimuli.category_textures import TEXTURES, draw_texture
from stimuli.shape_texture import (
    category_of,
    generated_shapes,
    generated_textures,
    make_shape_texture_set,
    mask_fill,
    show_edges,
    show_silhouette,
)
from stimuli.texture_quilting import extend_texture

SIXTEEN = (
    *("airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat"),
    *("chair", "clock", "dog", "elephant", "keyboard", "knife", "oven", "truck"),
)


@pytest.fixture(scope="module")
def shapes():
    return generated_shapes(size_px=64)


def test_the_categories_are_the_published_sixteen():
    assert SHAPES == TEXTURES == SIXTEEN


@pytest.mark.parametrize("category", SIXTEEN)
def test_silhouettes_lie_within_the_picture_at_any_size(category):
    areas = []
    for size in (64, 192):
        mask = draw_silhouette(category, size_px=size)
        assert mask.dtype == bool
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert not edge.any()
        areas.append(mask.mean())
    assert 0.03 < areas[1] < 0.7
    assert areas[0] == pytest.approx(areas[1], rel=0.15)


def test_exemplars_differ_and_repeat():
    first = draw_silhouette("dog", size_px=64, number=1, seed=2)
    again = draw_silhouette("dog", size_px=64, number=1, seed=2)
    assert first.tobytes() == again.tobytes()
    assert (first != draw_silhouette("dog", size_px=64, number=2, seed=2)).any()
    grain = draw_texture("dog", size_px=64, number=1, seed=2)
    assert (
        grain.tobytes() == draw_texture("dog", size_px=64, number=1, seed=2).tobytes()
    )
    assert (grain != draw_texture("dog", size_px=64, seed=2)).any()


@pytest.mark.parametrize("category", SIXTEEN)
def test_textures_are_colours_with_contrast(category):
    texture = draw_texture(category, size_px=96)
    assert texture.shape == (96, 96, 3)
    assert texture.min() >= 0
    assert texture.max() <= 1
    assert texture.std(axis=(0, 1)).max() > 0.03


def test_textures_can_be_told_apart_by_their_mean_colour_and_grain():
    from stimuli.manipulations import rgb_to_grey

    def features(category, number):
        texture = draw_texture(category, size_px=64, number=number)
        grey = rgb_to_grey(texture)
        slopes = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)]
        return np.array([*texture.mean(axis=(0, 1)), *slopes])

    known = np.array([features(name, 0) for name in TEXTURES])
    right = [
        int(np.argmin(((known - features(name, 1)) ** 2).sum(axis=1))) == i
        for i, name in enumerate(TEXTURES)
    ]
    assert np.mean(right) > 0.9


def test_the_texture_lies_inside_the_mask_and_the_grey_outside(shapes):
    mask, texture = shapes["bear1"], draw_texture("clock", size_px=64)
    shown = mask_fill(mask, texture)
    np.testing.assert_array_equal(shown[mask], texture[mask])
    assert (shown[~mask] == 0.7614).all()


def test_silhouettes_and_edges_are_binary_and_edges_are_one_pixel_thick(shapes):
    for mask in shapes.values():
        np.testing.assert_array_equal(show_silhouette(mask), np.where(mask, 0, 1))
        edges = show_edges(mask)
        assert set(np.unique(edges)) == {0.0, 1.0}
        line = edges == 0
        # Every pixel of the line belongs to the shape and touches what does not.
        outside = np.pad(~mask, 1, constant_values=True)
        touches = (
            outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2]
            | outside[1:-1, 2:]
        )  # fmt: skip
        np.testing.assert_array_equal(line, mask & touches)
        filled = ndimage.binary_fill_holes(line)
        assert (filled | ~mask).all()


def test_the_set_pairs_every_shape_with_every_texture():
    made = make_shape_texture_set(size_px=32)
    table = made.table
    assert len(made) == 256
    assert table["conflict"].sum() == 240
    assert (table["category"] != table["texture_category"]).sum() == 240
    assert table["stimulus_id"].iloc[1] == "airplane1-bear1"
    assert len(make_shape_texture_set(size_px=32, include_same=False)) == 240
    assert made.viewing.background == 194
    row = int(table.index[table["stimulus_id"] == "cat1-truck1"][0])
    mask = draw_silhouette("cat", size_px=32)
    texture = np.floor(255 * draw_texture("truck", size_px=32) + 0.5)
    np.testing.assert_array_equal(made.load(row)[mask], texture[mask])
    np.testing.assert_array_equal(made.load(row), made.load(row))


@pytest.mark.parametrize("kind", ["silhouette", "edge"])
def test_shapes_alone_are_black_on_white(kind):
    made = make_shape_texture_set(kind=kind, size_px=32)
    assert len(made) == 16
    assert set(np.unique(made.load(3))) == {0, 255}
    assert not made.table["conflict"].any()
    assert made.table["texture"].isna().all()


def test_masks_and_exemplars_of_ones_own_are_taken():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    texture = np.random.default_rng(0).random((25, 30, 3))
    made = make_shape_texture_set({"brick2": mask}, {"moss7": texture}, seed=4)
    shown = made.load(0)
    assert made.table["conflict"].tolist() == [True]
    assert (shown[~mask] == 194).all()
    levels = {tuple(p) for p in np.floor(255 * texture + 0.5).reshape(-1, 3).tolist()}
    assert {tuple(p) for p in shown[mask].tolist()} <= levels


def test_quilts_hold_pixels_of_the_exemplar_and_repeat_with_their_seed():
    exemplar = draw_texture("elephant", size_px=48)
    quilt = extend_texture(exemplar, (100, 70), seed=3)
    assert quilt.shape == (100, 70, 3)
    assert quilt.tobytes() == extend_texture(exemplar, (100, 70), seed=3).tobytes()
    known = {tuple(p) for p in exemplar.reshape(-1, 3).tolist()}
    assert {tuple(p) for p in quilt.reshape(-1, 3).tolist()} <= known


def test_seams_of_a_quilt_are_softer_than_those_of_tiles():
    exemplar = draw_texture("cat", size_px=48)[:46, :47]

    def worst_step(fill, seed=0):
        grown = extend_texture(exemplar, (140, 140), fill=fill, seed=seed)
        return np.abs(np.diff(grown, axis=1)).mean(axis=(0, 2)).max()

    inside = np.abs(np.diff(exemplar, axis=1)).mean(axis=(0, 2)).max()
    quilts = np.mean([worst_step("quilt", seed) for seed in range(3)])
    assert quilts < worst_step("tile")
    assert worst_step("mirror") <= inside * 1.01


def test_tiles_repeat_the_exemplar():
    exemplar = np.random.default_rng(1).random((5, 7, 3))
    tiled = extend_texture(exemplar, (12, 16), fill="tile")
    np.testing.assert_array_equal(tiled[5:10, 7:14], exemplar)
    mirrored = extend_texture(exemplar, (10, 14), fill="mirror")
    np.testing.assert_array_equal(mirrored[5:, 7:], exemplar[::-1, ::-1])
    np.testing.assert_array_equal(
        extend_texture(exemplar, (3, 4), fill="tile"), exemplar[:3, :4]
    )


def test_categories_are_names_without_numbers():
    assert category_of("elephant12") == "elephant"
    with pytest.raises(ValueError, match="bear1"):
        category_of("bear-1")


def test_what_does_not_fit_is_refused(shapes):
    texture = draw_texture("cat", size_px=64)
    with pytest.raises(TypeError, match="bool"):
        mask_fill(np.ones((64, 64)), texture)
    with pytest.raises(ValueError, match="no pixel inside"):
        mask_fill(np.zeros((64, 64), bool), texture)
    with pytest.raises(ValueError, match="shape"):
        mask_fill(shapes["cat1"], texture[:30])
    with pytest.raises(ValueError, match="Divide 8-bit"):
        make_shape_texture_set(shapes, {"cat1": 255 * texture})
    with pytest.raises(ValueError, match="one size"):
        make_shape_texture_set(
            {"a1": np.ones((4, 4), bool), "b1": np.ones((5, 4), bool)}
        )
    with pytest.raises(ValueError, match="another category"):
        make_shape_texture_set(
            {"cat1": shapes["cat1"]}, {"cat2": texture}, include_same=False
        )
    with pytest.raises(ValueError, match="patch_px"):
        extend_texture(texture, (9, 9), patch_px=65)
    with pytest.raises(ValueError, match="empty"):
        make_shape_texture_set(textures={})
    assert set(generated_textures(2, size_px=16)) >= {"cat1", "cat2"}
