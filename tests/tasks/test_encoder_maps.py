"""Maps as trained encoders read them: the same numbers as the stored features."""

import mmap

import numpy as np
import pandas as pd
import pytest

from neurovis.adapters.backbones import load_backbone
from neurovis.core.pictures import LazyPictures
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_sources import BrainData, split_rows
from tasks.encoder_maps import (
    JoinedRows,
    MapLayout,
    MapRows,
    channel_moments,
    joined_shape,
    kept_moments,
    map_sources,
)
from tasks.encoding_features import plan_features

NETWORK = "timm:test_vit@seeded:0"


def picture(number):
    rng = np.random.default_rng(number)
    return np.kron(
        rng.integers(0, 256, (5, 5, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)
    )


def make_data(n=6, repeats=2, **changes):
    """Single trials: each picture has several rows."""
    ids = [f"p{i % n}" for i in range(n * repeats)]
    stimuli = pd.DataFrame({"stimulus_id": ids, "n_repeats": 1})
    units = pd.DataFrame({"unit_id": ["a", "b"]})
    betas = np.random.default_rng(0).standard_normal((n * repeats, 2), np.float32)
    shown = LazyPictures(picture, [i % n for i in range(n * repeats)])
    responses = UnitResponses("tiny", "s", betas, stimuli, units, pictures=shown)
    return BrainData(responses, **changes)


def sources(features, tmp_path, data=None):
    data = data or make_data()
    splits = {data.name: split_rows(data.responses, "every-3")}
    (source,) = plan_features([features], [data], splits, store=tmp_path)[data.name]
    return source


def test_tokens_become_maps_place_by_place(tmp_path):
    source = sources(f"{NETWORK}:blocks.1:patches,blocks.1:grid2", tmp_path)
    tokens, grid = map_sources(source)
    channels, height, width = tokens.shape
    assert tokens.layouts[0].is_tokens
    assert height == width
    stored = source.load("blocks.1:patches", np.arange(0)).parts[0]
    maps = tokens.rows()[np.array([3])]
    for place in (0, 1, width, height * width - 1):
        row, column = divmod(place, width)
        token = stored[3].reshape(-1, channels)[place]
        np.testing.assert_array_equal(maps[0, :, row, column], token)
    # Pooled by the network's own reader, which knows the grid.
    halves = maps.reshape(1, channels, 2, height // 2, 2, width // 2).mean((3, 5))
    np.testing.assert_allclose(grid.rows()[np.array([3])], halves, atol=1e-5)


def test_queries_of_attention_and_vectors_are_read(tmp_path):
    source = sources(f"{NETWORK}:blocks.1:q.patches,blocks.1:cls", tmp_path)
    queries, vector = map_sources(source)
    assert queries.layouts[0].is_tokens
    assert queries.shape[0] == 64
    assert vector.shape == (64, 1, 1)


def test_tokens_with_a_class_token_are_refused(tmp_path):
    source = sources(f"{NETWORK}:blocks.1:flat", tmp_path)
    with pytest.raises(ValueError, match="which have no places in the picture"):
        map_sources(source)


def test_maps_of_a_cnn_keep_their_order(tmp_path):
    source = sources("timm:resnet18@seeded:0:layer2:grid4,layer2:flat", tmp_path)
    grid, whole = map_sources(source)
    assert grid.shape == (128, 4, 4)
    stored = source.load("layer2:flat", np.arange(0)).parts[0]
    maps = whole.rows()[np.array([1])][0]
    np.testing.assert_array_equal(maps.ravel(), stored[1])


def test_layers_side_by_side_need_one_grid(tmp_path):
    text = "timm:resnet18@seeded:0:both=layer2:grid4+layer3:grid4"
    (both,) = map_sources(sources(text, tmp_path))
    assert both.shape == (128 + 256, 4, 4)
    rows = both.rows()[np.arange(2)]
    assert rows.shape == (2, 384, 4, 4)
    odd = sources("timm:resnet18@seeded:0:both=layer2:grid4+layer3:grid2", tmp_path)
    with pytest.raises(ValueError, match=r"the grids \[\(2, 2\), \(4, 4\)\]"):
        map_sources(odd)


def test_features_that_came_with_the_data_need_the_shape_of_maps(tmp_path):
    values = np.arange(12 * 18, dtype=np.float32).reshape(12, 18)
    plain = make_data(features={"x": values})
    with pytest.raises(ValueError, match="are no maps: trained encoders need"):
        map_sources(sources("given:x", tmp_path, plain))
    data = make_data(features={"x": values}, map_shapes={"x": (2, 3, 3)})
    (maps,) = map_sources(sources("given:x", tmp_path, data))
    np.testing.assert_array_equal(maps.rows()[np.array([4])][0].ravel(), values[4])
    with pytest.raises(ValueError, match="shape"):
        make_data(features={"x": values}, map_shapes={"x": (2, 3, 4)})


def test_rows_come_in_the_order_asked_for_with_trials_of_one_picture(tmp_path):
    (maps,) = map_sources(sources("control:pixels:pixels:grid8", tmp_path))
    rows = maps.rows()
    assert rows.shape == (12, 3, 8, 8)
    everything = rows[np.arange(12)]
    np.testing.assert_array_equal(everything[:6], everything[6:])
    order = np.array([7, 1, 0, 11, 1])
    np.testing.assert_array_equal(rows[order], everything[order])
    np.testing.assert_array_equal(
        rows.take(order)[np.array([0, 3])], everything[[7, 11]]
    )
    pixels = load_backbone("control:pixels").preprocessing
    assert pixels.size_px == (128, 128)


def parts(n, layout, seed):
    rng = np.random.default_rng(seed)
    width = int(np.prod(layout.shape))
    return rng.normal(3, 2, (n, width)).astype(np.float32)


def test_subjects_stand_one_after_the_other():
    layout = MapLayout((2, 3, 4))
    both = [MapRows((parts(n, layout, n),), (layout,), np.arange(n)) for n in (5, 3)]
    joined = JoinedRows(tuple(both), "mark")
    everything = np.concatenate([m[np.arange(len(m))] for m in both])
    assert joined.shape == (8, 2, 3, 4)
    order = np.array([6, 0, 7, 4, 5])
    np.testing.assert_array_equal(joined[order], everything[order])


def test_moments_of_channels_are_those_of_all_places():
    layout = MapLayout((4, 3, 5), is_tokens=True)
    rows = MapRows((parts(150, layout, 0),), (layout,), np.arange(150))
    mean, scale = channel_moments(rows)
    everything = rows[np.arange(150)].astype(np.float64)
    np.testing.assert_allclose(mean, everything.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(scale, everything.std((0, 2, 3)), rtol=1e-5)


def test_a_channel_that_hardly_varies_is_not_blown_up():
    layout = MapLayout((2, 2, 2))
    values = parts(20, layout, 0)
    values[:, :4] = 7
    _, scale = channel_moments(MapRows((values,), (layout,), np.arange(20)))
    assert scale[0] == pytest.approx(1e-3 * scale[1] / np.sqrt(2), rel=1e-3)


def test_joined_shapes_add_channels():
    layouts = [MapLayout((2, 3, 3)), MapLayout((5, 3, 3), is_tokens=True)]
    assert joined_shape(layouts, "both") == (7, 3, 3)


# ----------------------------------------------------------------------- moments


def brute_moments(maps):
    values = maps[np.arange(len(maps))].astype(np.float64)
    return values.mean((0, 2, 3)), values.std((0, 2, 3))


@pytest.mark.parametrize("is_tokens", [False, True])
def test_moments_count_a_picture_as_often_as_it_has_rows(is_tokens, monkeypatch):
    layout, other = MapLayout((4, 3, 5), is_tokens), MapLayout((2, 3, 5))
    stored = (parts(9, layout, 0), parts(9, other, 1))
    rng = np.random.default_rng(2)
    members = tuple(
        MapRows(tuple(part + shift for part in stored), (layout, other), codes)
        for shift, codes in ((0, rng.integers(0, 9, 40)), (5, rng.integers(3, 7, 11)))
    )
    maps = JoinedRows(members, "mark")
    for at_once in (2**20, 150, 1):
        monkeypatch.setattr("tasks.encoder_maps._NUMBERS_AT_ONCE", at_once)
        mean, scale = channel_moments(maps)
        expected = brute_moments(maps)
        np.testing.assert_allclose(mean, expected[0], rtol=1e-6)
        np.testing.assert_allclose(scale, expected[1], rtol=1e-6)


def test_moments_lose_nothing_where_means_are_large():
    layout = MapLayout((3, 4, 4), is_tokens=True)
    values = parts(200, layout, 0)
    values += np.tile(np.float32([0, 3e3, -2e4]), 16)
    maps = MapRows((values,), (layout,), np.arange(200))
    _, scale = channel_moments(maps)
    np.testing.assert_allclose(scale, brute_moments(maps)[1], rtol=1e-6)


def test_channels_that_never_vary_have_one_small_scale():
    layout = MapLayout((3, 7, 7))
    values = np.repeat(np.float32([[0.1, 1e5 / 3, -2]]), 49, axis=1).repeat(99, axis=0)
    mean, scale = channel_moments(MapRows((values,), (layout,), np.arange(99)))
    assert mean.tolist() == values[0, ::49].tolist()
    assert scale.tolist() == [np.float32(1e-3)] * 3


def test_kept_moments_are_computed_once_for_the_same_rows(tmp_path, monkeypatch):
    layout = MapLayout((2, 3, 4))
    rows = MapRows((parts(5, layout, 0),), (layout,), np.arange(5))
    first = kept_moments(JoinedRows((rows,), "some rows"), tmp_path)
    for found, expected in zip(first, channel_moments(rows), strict=True):
        np.testing.assert_array_equal(found, expected)
    other = kept_moments(JoinedRows((rows.take(np.arange(2)),), "others"), tmp_path)
    assert not np.allclose(other[0], first[0])
    monkeypatch.setattr("tasks.encoder_maps.channel_moments", None)
    again = kept_moments(JoinedRows((rows,), "some rows"), tmp_path)
    for found, expected in zip(again, first, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(list((tmp_path / "moments").iterdir())) == 2


# ------------------------------------------------------------------------ reading


def test_tokens_stay_place_by_place_in_memory():
    layouts = (MapLayout((4, 3, 5), True), MapLayout((2, 3, 5), True))
    stored = tuple(parts(6, layout, k) for k, layout in enumerate(layouts))
    order = np.array([4, 1, 1, 5])
    for count in (1, 2):
        rows = MapRows(stored[:count], layouts[:count], np.arange(6)[::-1])
        pair = JoinedRows((rows, rows), "mark")
        for maps in (rows, JoinedRows((rows,), "mark"), pair):
            for some in (order, np.array([1, 2])):
                found = maps[some]
                assert found.transpose(0, 2, 3, 1).flags.c_contiguous
                expected = [
                    part[5 - some].reshape(len(some), 15, -1).transpose(0, 2, 1)
                    for part in stored[:count]
                ]
                expected = np.concatenate(expected, axis=1)
                np.testing.assert_array_equal(found.reshape(expected.shape), expected)
                found[:] = 0  # it is new, and may be changed
                np.testing.assert_array_equal(
                    maps[some].reshape(expected.shape), expected
                )


def test_files_are_read_as_arrays_are(tmp_path):
    layout = MapLayout((3, 20, 25), is_tokens=True)  # rows of 6000 bytes
    values = parts(40, layout, 0)
    np.save(tmp_path / "x.npy", values)
    lazy = np.load(tmp_path / "x.npy", mmap_mode="r")
    codes = np.random.default_rng(0).integers(0, 40, 60)
    one, two = (MapRows((part,), (layout,), codes) for part in (values, lazy))
    for rows in (np.arange(60), np.array([59, 0, 3]), np.array([7])):
        np.testing.assert_array_equal(one[rows], two[rows])
    for found, expected in zip(channel_moments(two), channel_moments(one), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_stored_features_are_maps_of_files_whose_rows_are_announced(
    tmp_path, monkeypatch
):
    (maps,) = map_sources(sources(f"{NETWORK}:blocks.1:patches", tmp_path))
    rows = maps.rows()
    told = []

    class File:
        """Takes the place of the map of a file."""

        def madvise(self, option, start, length):
            told.append((start, length))

    real, (part,) = mmap.mmap, rows.parts
    assert isinstance(part.base, real)
    row_bytes, first = part[0].nbytes, part.offset
    monkeypatch.setattr("tasks.encoder_maps.mmap.mmap", File)
    monkeypatch.setattr(np.memmap, "base", File(), raising=False)
    rows[np.array([0, 1, 4])]
    ends = [(start, start + length) for start, length in told]
    assert [stop for _, stop in ends] == [first + k * row_bytes for k in (2, 5)]
    assert all(start % mmap.PAGESIZE == 0 for start, _ in ends)
    assert ends[0][0] <= first
    assert ends[1][0] <= first + 4 * row_bytes


def test_arrays_of_other_shapes_have_another_identity(tmp_path):
    values = np.arange(12 * 18, dtype=np.float32).reshape(12, 18)
    marks = [
        map_sources(
            sources(
                "given:x",
                tmp_path,
                make_data(features={"x": values}, map_shapes={"x": shape}),
            )
        )[0].identity()
        for shape in ((2, 3, 3), (2, 9, 1))
    ]
    assert marks[0] != marks[1]
