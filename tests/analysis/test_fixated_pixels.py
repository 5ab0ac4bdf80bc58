"""Positions become pixels by one rule, and groups keep every fixation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.fixated_pixels import (
    FixatedPixels,
    check_maps,
    fixated_pixels,
    map_blocks,
    mean_per_map,
    values_at,
)

SHAPE = (3, 5)
POINTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(st.just(np.nan), st.floats(-2, 7)),
        st.one_of(st.just(np.nan), st.floats(-2, 5)),
    ),
    max_size=12,
)


def _pixels(points, **options):
    index, x, y = np.reshape(points, (-1, 3)).T
    return fixated_pixels(x, y, SHAPE, map_index=index.astype(int), n_maps=4, **options)


@given(POINTS)
def test_a_position_hits_the_pixel_that_covers_it(points):
    pixels = _pixels(points)
    found = [
        (index, i, row, column)
        for i, (index, x, y) in enumerate(points)
        for row in range(SHAPE[0])
        for column in range(SHAPE[1])
        if column <= x < column + 1 and row <= y < row + 1
    ]
    columns = (pixels.map_index, pixels.source, pixels.row, pixels.column)
    assert list(zip(*columns, strict=True)) == sorted(found)


@given(POINTS)
def test_every_fixation_is_kept_or_counted_as_dropped(points):
    pixels = _pixels(points)
    given_to_each = np.bincount([p[0] for p in points], minlength=4)
    np.testing.assert_array_equal(pixels.n_fixations + pixels.n_dropped, given_to_each)


@given(POINTS)
def test_clipping_moves_to_the_nearest_pixel_and_drops_only_unknown(points):
    pixels = _pixels(points, off_screen="clip")
    known = [i for i, p in enumerate(points) if np.isfinite(p).all()]
    assert sorted(pixels.source) == known
    for i, row, column in zip(pixels.source, pixels.row, pixels.column, strict=True):
        _, x, y = points[i]
        assert column == min(max(int(np.floor(x)), 0), SHAPE[1] - 1)
        assert row == min(max(int(np.floor(y)), 0), SHAPE[0] - 1)


@pytest.mark.parametrize(
    ("x", "column"), [(0.0, 0), (0.999, 0), (1.0, 1), (4.999999, 4)]
)
def test_pixel_edges_belong_to_the_right_hand_pixel(x, column):
    assert fixated_pixels([x], [0.0], SHAPE).column.tolist() == [column]


@pytest.mark.parametrize("x", [-1e-9, 5.0, np.inf, -np.inf, np.nan])
def test_positions_beyond_the_edge_are_dropped(x):
    pixels = fixated_pixels([x, 2.0], [0.0, 0.0], SHAPE)
    assert pixels.column.tolist() == [2]
    assert pixels.n_dropped.tolist() == [1]


def test_selecting_and_pooling_keep_rows_and_sources_together():
    pixels = _pixels([(2, 4, 1), (0, 1, 1), (2, 0, 2), (3, 9, 9), (0, 3, 0)])
    chosen = pixels.select([2, 3, 0, 2])
    assert chosen.map_index.tolist() == [0, 0, 2, 2, 3, 3]
    assert chosen.source.tolist() == [0, 2, 1, 4, 0, 2]
    assert chosen.column.tolist() == [4, 0, 1, 3, 4, 0]
    assert chosen.n_dropped.tolist() == [0, 1, 0, 0]
    pooled = pixels.select(np.array([True, False, True, True])).pool()
    assert pooled.n_fixations.tolist() == [4]
    assert pooled.n_dropped.tolist() == [1]
    assert pooled.source.tolist() == [1, 4, 0, 2]


def test_distinct_keeps_one_of_equal_pixels_per_map():
    pixels = _pixels([(1, 2, 0), (1, 2, 0), (0, 2, 0), (1, 1, 0)])
    once = pixels.distinct()
    assert once.map_index.tolist() == [0, 1, 1]
    assert once.column.tolist() == [2, 1, 2]


def test_rescaling_moves_pixel_centres():
    pixels = fixated_pixels([0, 1, 2, 3], [0, 0, 1, 1], (2, 4))
    larger = pixels.rescale((4, 8))
    assert larger.column.tolist() == [1, 3, 5, 7]
    assert larger.row.tolist() == [1, 1, 3, 3]
    assert larger.rescale((2, 4)).column.tolist() == [0, 1, 2, 3]


def test_values_are_read_from_the_map_of_the_group():
    pixels = fixated_pixels([1, 0, 1], [0, 1, 1], (2, 2), map_index=[1, 1, 0])
    maps = np.arange(8.0).reshape(2, 2, 2)
    own = values_at(check_maps("pred", maps, pixels), pixels)
    assert own.tolist() == [3, 5, 6]
    shared = values_at(check_maps("pred", maps[0], pixels), pixels)
    assert shared.tolist() == [3, 1, 2]


def test_means_are_undefined_without_fixations():
    pixels = fixated_pixels([1, 0], [0, 1], (2, 2), map_index=[0, 0], n_maps=2)
    mean = mean_per_map(np.array([1.0, 2.0]), pixels)
    np.testing.assert_array_equal(mean, [1.5, np.nan])


def test_blocks_cover_each_map_once_and_repeat_a_single_one():
    many, one = np.arange(9 * 100_000.0).reshape(9, -1), np.ones((1, 100_000), int)
    parts, blocks, ones = zip(*map_blocks(many, one), strict=True)
    assert [p.start for p in parts] == [0, 2, 4, 6, 8]
    np.testing.assert_array_equal(np.concatenate(blocks), many)
    assert {b.shape for b in ones} == {(1, 100_000)}
    assert {b.dtype for b in ones} == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"y_px": [0.0]}, ValueError, r"`y_px` must have shape \(2\)"),
        ({"map_index": [0]}, ValueError, r"`map_index` must have shape"),
        ({"map_index": [0, 3], "n_maps": 3}, ValueError, r"within \[0, 2\]"),
        ({"map_index": [0, -1]}, ValueError, "one of 1 maps; got -1 to 0"),
        ({"shape": (3, 0)}, ValueError, "height and width in whole pixels"),
        ({"shape": (3.0, 2.0)}, ValueError, "height and width in whole pixels"),
        ({"shape": (3, 4, 5)}, ValueError, r"`shape` must have shape \(2\)"),
        ({"off_screen": "wrap"}, ValueError, "'drop', 'clip'; got 'wrap'"),
    ],
)
def test_wrong_arguments_are_named(change, error, words):
    good = {"x_px": [0.0, 1.0], "y_px": [0.0, 1.0], "shape": SHAPE}
    with pytest.raises(error, match=words):
        fixated_pixels(**{**good, **change})


def test_pixels_built_by_hand_are_checked():
    pixels = fixated_pixels([0, 1], [0, 0], (1, 2), map_index=[0, 1])
    parts = (pixels.row, pixels.column, (1, 2), pixels.n_dropped, pixels.source)
    with pytest.raises(ValueError, match="`map_index` must ascend"):
        FixatedPixels(pixels.map_index[::-1], *parts)
    with pytest.raises(ValueError, match=r"`column` must be within \[0, 0\]"):
        FixatedPixels(pixels.map_index, *parts[:2], (1, 1), *parts[3:])


@pytest.mark.parametrize(
    ("maps", "error", "words"),
    [
        (np.ones((2, 3)), ValueError, "2 x 3 pixels .* 3 x 5: resample"),
        (np.ones((3, *SHAPE)), ValueError, "3 maps but there are 2 groups"),
        (np.ones(5), ValueError, r"shape \(H, W\), one map, or .*; got \(5,\)"),
        (np.ones((0, 5)), ValueError, r"got \(0, 5\)"),
        (np.ones(SHAPE, complex), TypeError, "real numbers; got dtype complex128"),
        (np.full(SHAPE, "a"), TypeError, "real numbers; got dtype <U1"),
    ],
)
def test_maps_that_do_not_fit_are_refused(maps, error, words):
    pixels = fixated_pixels([0, 1], [0, 1], SHAPE, map_index=[0, 1])
    with pytest.raises(error, match=words):
        check_maps("pred", maps, pixels)
