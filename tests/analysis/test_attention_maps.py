"""Attention maps against plain loops, SciPy and torch, and maps of known shape."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from analysis.attention_maps import (
    attention_per_image,
    attention_summary,
    fields_from_attention,
    maps_of_query,
    picture_frame,
    upsample_attention,
)


def attend(n_images=4, n_queries=3, h=5, w=6, seed=0, sharpness=2.0):
    rng = np.random.default_rng(seed)
    maps = np.exp(sharpness * rng.normal(size=(n_images, n_queries, h, w)))
    return maps / maps.sum(axis=(-2, -1), keepdims=True)


def one_cell(cells, h=4, w=4):
    """One query that looks at one cell (row, column) of each image."""
    maps = np.zeros((len(cells), 1, h, w))
    for i, (row, column) in enumerate(cells):
        maps[i, 0, row, column] = 1
    return maps


SHAPES = st.tuples(*(st.integers(1, 4) for _ in range(4)), st.integers(0, 9))
FRAMES = st.sampled_from([(None, (0, 0)), ((40, 50), (0, 0)), ((40, 50), (2, 10))])


# ------------------------------------------------------------------ single maps


@given(SHAPES, FRAMES, st.sampled_from([1.0, 8.4]))
def test_measures_of_a_map_match_loops_over_cells(shape, frame, width):
    maps = attend(*shape)
    size, pad = frame
    n_images, n_queries, h, w = maps.shape
    height_px, width_px = size or (h, w)
    table = attention_per_image(maps, width=width, size=size, pad=pad)
    assert len(table) == n_images * n_queries
    for row in table.itertuples():
        own = maps[row.image, row.query]
        x, y = np.empty((h, w)), np.empty((h, w))
        for i in range(h):
            for j in range(w):
                x_px = (j + 0.5) * (width_px + pad[1]) / w
                y_px = (i + 0.5) * (height_px + pad[0]) / h
                x[i, j] = (x_px - width_px / 2) * width / width_px
                y[i, j] = (height_px / 2 - y_px) * width / width_px
        centre = (own * x).sum(), (own * y).sum()
        assert (row.x, row.y) == pytest.approx(centre, abs=1e-9)
        squares = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
        assert row.spread == pytest.approx(np.sqrt((own * squares).sum()), abs=1e-7)
        bits = entropy(own.ravel(), base=2)
        assert row.entropy_bits == pytest.approx(bits, abs=1e-9)
        assert row.peak_share == pytest.approx(own.max())


def test_rows_are_ordered_by_image_and_query_and_named():
    maps = attend(2, 3)
    table = attention_per_image(maps, names=["a", "b", "c"])
    assert table["image"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["query"].tolist() == ["a", "b", "c"] * 2
    alone = attention_per_image(maps[1:, 2:])
    assert table.loc[5, "x"] == pytest.approx(alone.loc[0, "x"])


def test_a_single_cell_is_a_place_without_spread_or_entropy():
    table = attention_per_image(one_cell([(0, 3)]), width=8)
    assert table.iloc[0, 2:].tolist() == [3.0, 3.0, 0.0, 0.0, 1.0]
    # Nothing is lost of a narrow map far from the centre of a large picture.
    far = attention_per_image(one_cell([(0, 999)], 1, 1000), width=1000)
    assert far.loc[0, ["x", "spread"]].tolist() == [499.5, 0.0]


def test_even_attention_has_the_largest_entropy_and_the_spread_of_a_square():
    n = 50
    row = attention_summary(np.full((1, 1, n, n), 1 / n**2)).iloc[0]
    assert row["entropy_bits"] == pytest.approx(np.log2(n**2))
    assert row["max_entropy_bits"] == pytest.approx(row["entropy_bits"])
    # 1/12 along each axis, of the continuous square less that of one cell.
    assert row["spread"] == pytest.approx(np.sqrt((1 - 1 / n**2) / 6))
    assert (row["x"], row["y"]) == pytest.approx((0, 0), abs=1e-12)


def test_padding_moves_the_centre_of_the_picture_not_of_the_grid():
    even = np.full((1, 1, 31, 31), 1 / 31**2)
    row = attention_per_image(even, size=(425, 425), pad=(9, 9)).iloc[0]
    assert (row["x"], row["y"]) == pytest.approx((4.5 / 425, -4.5 / 425))
    assert picture_frame((31, 31), (425, 425), (9, 9)).cell_height == 14
    wide = attention_per_image(one_cell([(0, 0)], 1, 2), size=(100, 300), width=6)
    assert wide.loc[0, ["x", "y"]].tolist() == [-1.5, 0.0]  # in one scale


@given(SHAPES)
def test_turned_pictures_have_turned_centres(shape):
    maps = attend(*shape)
    table = attention_per_image(maps)
    mirrored = attention_per_image(maps[..., ::-1])
    np.testing.assert_allclose(mirrored["x"], -table["x"], atol=1e-12)
    upside_down = attention_per_image(maps[..., ::-1, :])
    np.testing.assert_allclose(upside_down["y"], -table["y"], atol=1e-12)
    for other in (mirrored, upside_down):
        for column in ("spread", "entropy_bits", "peak_share"):
            np.testing.assert_allclose(other[column], table[column], atol=1e-9)


# ------------------------------------------------------------------ over images


@given(SHAPES)
def test_spread_and_entropy_of_the_mean_map_split_into_parts(shape):
    table = attention_summary(attend(*shape))
    np.testing.assert_allclose(
        table["spread"] ** 2,
        table["spread_per_image"] ** 2 + table["centre_scatter"] ** 2,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        table["entropy_bits"],
        table["entropy_bits_per_image"] + table["routing_bits"],
        atol=1e-9,
    )
    limit = np.log2(min(shape[0], shape[2] * shape[3]))
    assert table["routing_bits"].between(-1e-12, limit + 1e-9).all()
    assert (table["entropy_bits"] <= table["max_entropy_bits"] + 1e-9).all()


def test_summary_matches_the_table_of_images_and_the_mean_map():
    maps = attend(5, 2)
    summary = attention_summary(maps, names=["a", "b"], width=3)
    single = attention_per_image(maps, names=["a", "b"], width=3)
    of_mean = attention_per_image(maps.mean(axis=0)[None], width=3)
    for column in ("x", "y", "spread", "entropy_bits", "peak_share"):
        np.testing.assert_allclose(summary[column], of_mean[column])
    by_query = single.groupby("query")
    for column in ("entropy_bits", "peak_share"):
        expected = by_query[column].mean()
        np.testing.assert_allclose(summary[f"{column}_per_image"], expected)
    np.testing.assert_allclose(summary["x"], by_query["x"].mean())
    mean = maps.mean(axis=0)
    for j in range(2):
        divergences = [entropy(m[j].ravel(), mean[j].ravel(), base=2) for m in maps]
        found = summary["routing_bits"][j]
        assert found == pytest.approx(np.mean(divergences))
        ratio = found / entropy(mean[j].ravel(), base=2)
        assert summary["routing_index"][j] == pytest.approx(ratio)


def test_narrow_maps_at_other_places_are_routed_and_wide_ones_are_not():
    moving = one_cell([(0, 0), (0, 3), (3, 0), (3, 3)])
    steady = np.broadcast_to(moving.mean(axis=0), moving.shape)
    table = attention_summary(np.concatenate([moving, steady], axis=1))
    np.testing.assert_allclose(table["spread"], np.sqrt(2) * 0.375)
    np.testing.assert_allclose(table["routing_bits"], [2, 0], atol=1e-12)
    np.testing.assert_allclose(table["routing_index"], [1, 0], atol=1e-12)
    np.testing.assert_allclose(table["spread_per_image"], [0, np.sqrt(2) * 0.375])
    np.testing.assert_allclose(table["peak_share"], [0.25, 0.25])
    np.testing.assert_allclose(table["peak_share_per_image"], [1, 0.25])


def test_one_image_has_no_routing_and_one_place_no_index():
    row = attention_summary(attend(1, 1)).iloc[0]
    assert row["routing_bits"] == pytest.approx(0, abs=1e-12)
    fixed = attention_summary(one_cell([(1, 1), (1, 1)])).iloc[0]
    assert fixed["routing_bits"] == 0
    assert np.isnan(fixed["routing_index"])


def test_maps_with_nan_are_undefined_and_left_out_of_means():
    maps = attend(4, 2)
    lost = maps.copy()
    lost[1, 0, 2, 2] = np.nan
    table = attention_per_image(lost)
    bad = (table["image"] == 1) & (table["query"] == 0)
    assert table.loc[bad].iloc[:, 2:].isna().all(axis=None)
    assert not table.loc[~bad].isna().any(axis=None)
    summary = attention_summary(lost)
    assert summary["n_images"].tolist() == [3, 4]
    pd.testing.assert_frame_equal(summary[:1], attention_summary(maps[[0, 2, 3]])[:1])
    lost[:, 1] = np.nan
    none = attention_summary(lost).iloc[1]
    assert none["n_images"] == 0
    assert none.drop(["query", "n_images", "max_entropy_bits"]).isna().all()


def test_single_precision_is_read_and_sums_are_exact():
    maps = attend(3, 2, 31, 31).astype(np.float16)
    np.testing.assert_allclose(maps_of_query(maps, 1).sum(axis=1), 1, rtol=1e-14)
    coarse, fine = attention_summary(maps), attention_summary(attend(3, 2, 31, 31))
    np.testing.assert_allclose(coarse["x"], fine["x"], atol=1e-3)


# ------------------------------------------------------------------ pictures


@given(SHAPES, st.integers(1, 40), st.integers(1, 40))
def test_upsampled_maps_match_those_of_torch(shape, height, width):
    maps = attend(*shape)
    values = torch.from_numpy(maps * shape[2] * shape[3])
    size = (height, width)
    linear = torch.nn.functional.interpolate(values, size, mode="bilinear")
    found = upsample_attention(maps, size, method="linear")
    np.testing.assert_allclose(found, linear, atol=1e-9)
    exact = torch.nn.functional.interpolate(values, size, mode="nearest-exact")
    np.testing.assert_allclose(upsample_attention(maps, size), exact, atol=1e-9)


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_even_attention_is_one_everywhere(method):
    even = np.full((31, 31), 1 / 31**2)
    found = upsample_attention(even, (425, 300), pad=(9, 134), method=method)
    assert found.shape == (425, 300)
    np.testing.assert_allclose(found, 1)


def test_whole_cells_keep_the_mean_and_padding_is_cut_off():
    (own,) = attend(1, 1, 31, 31)[0]
    whole = upsample_attention(own, (434, 434))
    assert whole.mean() == pytest.approx(1)
    blocks = np.kron(own, np.ones((14, 14))) * 31**2
    np.testing.assert_allclose(whole, blocks)
    shown = upsample_attention(own, (425, 425), pad=(9, 9))
    np.testing.assert_array_equal(shown, whole[:425, :425])


def test_an_undefined_map_stays_undefined_alone():
    maps = attend(2, 1)
    maps[0, 0, 0, 0] = np.nan
    found = upsample_attention(maps, (7, 7), method="linear")
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


# ------------------------------------------------------------------ receptive fields


def test_centres_agree_with_the_fields_that_they_are_made_of():
    rng = np.random.default_rng(0)
    fields = pd.DataFrame(rng.uniform(-0.4, 0.4, (40, 2)), columns=["rf_x", "rf_y"])
    grid = (np.arange(31) + 0.5) / 31 - 0.5
    x, y = np.meshgrid(grid, -grid)
    away = [(x - f.rf_x) ** 2 + (y - f.rf_y) ** 2 for f in fields.itertuples()]
    maps = np.exp(-np.stack(away)[None] / (2 * 0.03**2))
    maps /= maps.sum(axis=(-2, -1), keepdims=True)
    found = fields_from_attention(attention_summary(maps), fields)
    assert found.n_used == 40
    assert min(found.r_x, found.r_y, found.r_eccentricity) > 0.99
    assert found.median_distance < 0.005
    assert found.median_distance_other == pytest.approx(0.4, abs=0.05)
    turned = fields[["rf_y", "rf_x"]].set_axis(["rf_x", "rf_y"], axis=1)
    assert fields_from_attention(attention_summary(maps), turned).r_x < 0.4


def test_distances_and_correlations_match_loops_over_defined_pairs():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 7, 2))
    a[2, 0] = b[5, 1] = np.nan
    summary = pd.DataFrame(a, columns=["x", "y"])
    fields = pd.DataFrame(b, columns=["rf_x", "rf_y"])
    found = fields_from_attention(summary, fields)
    used = [0, 1, 3, 4, 6]
    assert found.n_used == 5
    assert found.r_x == pytest.approx(np.corrcoef(a[used, 0], b[used, 0])[0, 1])
    assert found.r_y == pytest.approx(np.corrcoef(a[used, 1], b[used, 1])[0, 1])
    own = [np.linalg.norm(a[i] - b[i]) for i in used]
    other = [np.linalg.norm(a[i] - b[j]) for i in used for j in used if i != j]
    assert found.median_distance == pytest.approx(np.median(own))
    assert found.median_distance_other == pytest.approx(np.median(other))
    one = fields_from_attention(summary[:1], fields[:1])
    assert one.median_distance == pytest.approx(own[0])
    assert np.isnan([one.r_x, one.median_distance_other]).all()
    none = fields_from_attention(summary[2:3], fields[2:3])
    assert none.n_used == 0
    assert np.isnan(none.median_distance)


# ------------------------------------------------------------------ arguments


def test_arguments_that_do_not_fit_are_refused():
    maps = attend()
    with pytest.raises(ValueError, match="must have shape"):
        attention_summary(maps[0])
    with pytest.raises(ValueError, match="map with the sum 2"):
        attention_summary(2 * maps)
    with pytest.raises(ValueError, match="must hold shares that add up to 1"):
        attention_summary(maps - 0.1)
    with pytest.raises(ValueError, match="must hold numbers on a grid"):
        attention_summary(maps[..., :0])
    with pytest.raises(ValueError, match="name each of 3 queries once; got 2"):
        attention_summary(maps, names=["a", "b"])
    with pytest.raises(ValueError, match="3 names, 2 of them different"):
        attention_per_image(maps, names=["a", "b", "a"])
    with pytest.raises(ValueError, match="`width` must be above 0"):
        attention_summary(maps, width=0)
    with pytest.raises(ValueError, match="`size` is not given"):
        attention_summary(maps, pad=(9, 9))
    with pytest.raises(ValueError, match="`size` must be above 0"):
        attention_summary(maps, size=(0, 5))
    with pytest.raises(ValueError, match="`size` must be two numbers"):
        attention_summary(maps, size=425)
    with pytest.raises(ValueError, match="`pad` must be within"):
        attention_summary(maps, size=(5, 5), pad=(0, -1))
    with pytest.raises(ValueError, match="`method` must be one of"):
        upsample_attention(maps, (9, 9), method="cubic")
    with pytest.raises(ValueError, match="`size` must be a whole number"):
        upsample_attention(maps, (9.5, 9))
    with pytest.raises(ValueError, match=r"must have shape \(..., h, w\)"):
        upsample_attention([0.5, 0.5], (9, 9))
    summary = attention_summary(maps)
    with pytest.raises(ValueError, match="`fields` has 2 rows, but `summary` has 3"):
        fields_from_attention(summary, pd.DataFrame({"rf_x": [0, 0], "rf_y": [0, 0]}))
    with pytest.raises(ValueError, match="lacks the columns"):
        fields_from_attention(summary, summary)


def test_maps_are_not_changed():
    maps = attend()
    maps.setflags(write=False)
    attention_summary(maps)
    assert upsample_attention(maps, (9, 9)).shape == (4, 3, 9, 9)
