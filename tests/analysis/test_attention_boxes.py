"""Attention in boxes against counting of fine pixels, and against other images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.attention_boxes import box_guidance, mass_in_boxes
from analysis.attention_maps import upsample_attention


def attend(n_images=4, n_queries=3, h=5, w=6, seed=0):
    rng = np.random.default_rng(seed)
    maps = np.exp(2 * rng.normal(size=(n_images, n_queries, h, w)))
    return maps / maps.sum(axis=(-2, -1), keepdims=True)


def draw_boxes(n, height, width, seed=0):
    rng = np.random.default_rng(seed)
    boxes = []
    for _ in range(n):
        x = np.sort(rng.choice(width + 1, 2, replace=False))
        y = np.sort(rng.choice(height + 1, 2, replace=False))
        boxes.append([x[0], y[0], x[1], y[1]])
    return np.array(boxes, float)


@given(st.integers(0, 50), st.sampled_from([(0, 0), (5, 8)]))
def test_mass_and_area_match_counts_of_pixels(seed, pad):
    size = (20, 28)
    h, w = (5, 6) if pad == (5, 8) else (4, 7)
    maps = attend(3, 2, h, w, seed=seed)
    boxes = draw_boxes(3, *size, seed=seed)
    table = mass_in_boxes(maps, boxes, size, pad=pad)
    n_pixels = (size[0] + pad[0]) * (size[1] + pad[1])
    # Twelve subpixels along each side: no border of a cell lies within one.
    fine = 12
    shares = upsample_attention(
        maps, tuple(fine * n for n in size), pad=(fine * pad[0], fine * pad[1])
    )
    for row in table.itertuples():
        x0, y0, x1, y1 = (fine * boxes[row.image]).astype(int)
        inside = shares[row.image, row.query, y0:y1, x0:x1]
        assert row.mass == pytest.approx(inside.sum() / n_pixels / fine**2)
        area = (x1 - x0) * (y1 - y0) / fine**2 / n_pixels
        assert row.area == pytest.approx(area)
        assert row.ratio == pytest.approx(row.mass / row.area)


def test_mass_of_other_images_is_the_mean_of_their_maps_in_this_box():
    maps, boxes = attend(4, 2), draw_boxes(4, 50, 60)
    table = mass_in_boxes(maps, boxes, (50, 60), names=["a", "b"])
    for i in range(4):
        others = [k for k in range(4) if k != i]
        same_box = np.repeat(boxes[i][None], 3, axis=0)
        alone = mass_in_boxes(maps[others], same_box, (50, 60), names=["a", "b"])
        for query in "ab":
            here = table[(table["image"] == i) & (table["query"] == query)]
            expected = alone.loc[alone["query"] == query, "mass"].mean()
            assert here["mass_other"].iloc[0] == pytest.approx(expected)


def test_even_attention_has_ratio_one_and_the_whole_picture_all_mass():
    even = np.full((2, 1, 31, 31), 1 / 31**2)
    boxes = [[10.5, 33, 99, 222.2], [0, 0, 425, 425]]
    table = mass_in_boxes(even, boxes, (425, 425), pad=(9, 9))
    np.testing.assert_allclose(table["ratio"], 1)
    assert table["area"][1] == pytest.approx((425 / 434) ** 2)
    whole = mass_in_boxes(attend(1), [[0, 0, 60, 50]], (50, 60))
    np.testing.assert_allclose(whole[["mass", "area", "ratio"]], 1)


@given(st.integers(0, 50), st.integers(1, 59))
def test_parts_of_a_box_add_up(seed, cut):
    maps = attend(1, 1, seed=seed)
    both = [[[0, 7, cut, 41]], [[cut, 7, 60, 41]], [[0, 7, 60, 41]]]
    left, right, whole = (mass_in_boxes(maps, b, (50, 60)).iloc[0] for b in both)
    for column in ("mass", "area"):
        assert left[column] + right[column] == pytest.approx(whole[column])


def test_what_lies_outside_the_picture_does_not_count():
    maps = attend(3, 1)
    boxes = [[-30, -5, 20, 25], [0, 0, 20, 25], [70, 0, 90, 50]]
    table = mass_in_boxes(np.repeat(maps[:1], 3, axis=0), boxes, (50, 60))
    assert table["mass"][0] == pytest.approx(table["mass"][1])
    assert table["mass"][2] == table["area"][2] == 0
    assert np.isnan(table["ratio"][2])
    # Nor does the padding.
    boxes = [[40, 30, 99, 99], [40, 30, 60, 50]]
    table = mass_in_boxes(maps[[0, 0]], boxes, (50, 60), pad=(10, 12))
    assert table["mass"][0] == pytest.approx(table["mass"][1])
    assert table["area"][0] == pytest.approx(400 / (60 * 72))


def test_images_without_objects_and_maps_with_nan_are_undefined():
    maps, boxes = attend(5, 2), draw_boxes(5, 50, 60)
    kept = [0, 2, 4]
    boxes[[1, 3]] = np.nan
    table = mass_in_boxes(maps, boxes, (50, 60))
    lost = table["image"].isin([1, 3])
    measures = ["mass", "area", "ratio", "mass_other"]
    assert table.loc[lost, measures].isna().all(axis=None)
    alone = mass_in_boxes(maps[kept], boxes[kept], (50, 60))
    np.testing.assert_allclose(table.loc[~lost, measures], alone[measures])
    maps[2, 1, 0, 0] = np.nan
    partly = mass_in_boxes(maps, boxes, (50, 60))
    bad = (partly["image"] == 2) & (partly["query"] == 1)
    missing = partly.loc[bad, ["mass", "ratio", "mass_other"]]
    assert missing.isna().all(axis=None)
    first = mass_in_boxes(maps[[0, 4]], boxes[[0, 4]], (50, 60))
    expected = first.loc[first["query"] == 1, "mass_other"].iloc[0]
    assert partly["mass_other"][1] == pytest.approx(expected)
    guided = box_guidance(maps, boxes, (50, 60), rng=np.random.default_rng(0))
    assert guided["n_images"].tolist() == [3, 2]
    same = box_guidance(
        maps[[0, 4]], boxes[[0, 4]], (50, 60), rng=np.random.default_rng(0)
    )
    assert guided["mass"][1] == pytest.approx(same["mass"][1])
    assert guided["mass_other"][1] == pytest.approx(same["mass_other"][1])


def test_a_single_object_has_no_other_images_and_none_no_mass():
    maps, boxes = attend(2, 1), np.full((2, 4), np.nan)
    none = box_guidance(maps, boxes, (50, 60), rng=np.random.default_rng(0)).iloc[0]
    assert none["n_images"] == 0
    assert none.drop(["query", "n_images"]).isna().all()
    boxes[0] = [0, 0, 10, 10]
    one = box_guidance(maps, boxes, (50, 60), rng=np.random.default_rng(0)).iloc[0]
    assert one["mass"] > 0
    assert one[["mass_other", "p_value"]].isna().all()
    assert mass_in_boxes(maps, boxes, (50, 60))["mass_other"].isna().all()


def followed(n, seed, follows):
    """Maps of one query that looks at the box of its image, or at any place."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 8, (n, 2))
    looked = cells if follows else rng.integers(0, 8, (n, 2))
    maps = np.full((n, 1, 8, 8), 0.5 / 64)
    maps[np.arange(n), 0, looked[:, 0], looked[:, 1]] += 0.5
    boxes = np.column_stack([cells[:, ::-1], cells[:, ::-1] + 1]) * 10.0
    return maps, boxes


def test_following_is_found_and_a_liking_for_a_place_is_not():
    maps, boxes = followed(40, 0, follows=True)
    central = np.full((40, 1, 8, 8), 0.0)
    central[:, :, 3:5, 3:5] = 0.25
    boxes[:] = [30, 30, 50, 50]  # objects in the centre, where it always looks
    same = box_guidance(central, boxes, (80, 80), rng=np.random.default_rng(0)).iloc[0]
    assert same["ratio"] == pytest.approx(16)
    assert same["mass_other"] == pytest.approx(same["mass"])
    assert same["p_value"] == 1
    maps, boxes = followed(40, 0, follows=True)
    found = box_guidance(maps, boxes, (80, 80), rng=np.random.default_rng(0)).iloc[0]
    assert found["mass"] == pytest.approx(0.5 + 0.5 / 64)
    assert found["mass_other"] == pytest.approx(1 / 64, abs=0.01)
    assert found["p_value"] == pytest.approx(1 / 1001)


def test_p_values_of_attention_at_random_are_even():
    p = [
        box_guidance(
            *followed(30, seed, follows=False),
            (80, 80),
            n_permutations=99,
            rng=np.random.default_rng(seed),
        )["p_value"][0]
        for seed in range(200)
    ]
    # Ties make the test careful; by chance 10 of 200 lie below 0.05, 2 s.d. are 6.
    assert 0 < np.sum(np.array(p) <= 0.05) <= 18


def test_arrangements_are_those_of_the_generator():
    maps, boxes = attend(6, 2), draw_boxes(6, 50, 60)
    a, b = (
        box_guidance(maps, boxes, (50, 60), rng=np.random.default_rng(4))
        for _ in range(2)
    )
    assert a.equals(b)
    rng = np.random.default_rng(4)
    orders = rng.permuted(np.tile(np.arange(6), (60, 1)), axis=1)
    by_hand = []
    for order in orders:
        moved = mass_in_boxes(maps[order], boxes, (50, 60))
        by_hand.append(moved.loc[moved["query"] == 0, "mass"].mean())
    few = box_guidance(
        maps, boxes, (50, 60), n_permutations=60, rng=np.random.default_rng(4)
    )
    at_least = (np.array(by_hand) >= few["mass"][0] - 1e-12).sum()
    assert few["p_value"][0] == pytest.approx((1 + at_least) / 61)


def test_boxes_that_do_not_fit_are_refused():
    maps, rng = attend(2), np.random.default_rng(0)
    good = [0, 0, 10, 10]
    for bad in ([10, 0, 0, 10], [0, 5, 10, 5], [0, np.nan, 9, 9], [0, 0, np.inf, 9]):
        with pytest.raises(ValueError, match="or NaN alone; image 1 has"):
            mass_in_boxes(maps, [good, bad], (50, 60))
    with pytest.raises(ValueError, match=r"`boxes` must have shape \(2, 4\)"):
        mass_in_boxes(maps, [good], (50, 60))
    with pytest.raises(ValueError, match="`n_permutations` must be within"):
        box_guidance(maps, [good, good], (50, 60), n_permutations=0, rng=rng)
    with pytest.raises(ValueError, match="add up to 1"):
        box_guidance(3 * maps, [good, good], (50, 60), rng=rng)
