"""Maps as trained encoders read them: the same numbers as the stored features."""

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
