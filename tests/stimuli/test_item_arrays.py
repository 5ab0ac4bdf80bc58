"""Search displays: what is stated is what is drawn."""

import json

import numpy as np
import pytest

from neurovis.core.observers import SearchTrial
from stimuli.item_arrays import (
    BAR_DEG,
    SEARCHES,
    draw_item_array,
    item_areas,
    make_item_arrays,
    target_area,
)
from stimuli.item_layouts import place_items
from stimuli.slope_items import luminance, parse_rgb


def _items(row):
    return json.loads(row["items"])


@pytest.mark.parametrize("layout", ["grid", "ring", "random"])
def test_no_items_overlap_or_leave_the_display(layout):
    stimuli = make_item_arrays(set_sizes=[16], trials=1, layout=layout)
    for row in stimuli.table.to_dict("records"):
        display = draw_item_array(row)
        masks = [m for name, m in display.masks.items() if name.startswith("item")]
        assert len(masks) == row["set_size"] == 16
        assert np.sum(masks, axis=0).max() == 1
        for x, y in ((item["x_deg"], item["y_deg"]) for item in _items(row)):
            assert max(abs(x), abs(y)) + row["item_reach_deg"] <= 6.0
        if (layout, row["task"]) != ("random", "gabor_tilt"):  # discs in boxes
            assert item_areas(row).sum(axis=0).max() == 1


def test_targets_are_counted_and_where_they_are_said_to_be():
    stimuli = make_item_arrays(set_sizes=[1, 4], trials=2)
    for i, row in enumerate(stimuli.table.to_dict("records")):
        items = _items(row)
        targets = [item for item in items if item["role"] == "target"]
        assert len(items) == row["set_size"]
        assert len(targets) == row["target_present"]
        area = target_area(row)
        if not targets:
            assert not area.any()
            assert np.isnan(row["target_x_deg"])
            continue
        mask = draw_item_array(row).masks["target"]
        assert area[mask].all()
        rows, columns = (np.flatnonzero(mask.any(axis=k)) for k in (1, 0))
        x = ((columns[0] + columns[-1] + 1) / 2 - mask.shape[1] / 2) / 32
        assert x == pytest.approx(row["target_x_deg"], abs=0.04)
        assert rows[0] >= row["target_top_px"]
        assert columns[-1] < row["target_right_px"]
        SearchTrial("id", stimuli.load(i), stimuli.targets[i], area, item_areas(row))


def test_only_the_target_looks_as_it_does():
    for row in make_item_arrays(set_sizes=[8], trials=3).table.to_dict("records"):
        looks = [
            (item["role"], item["kind"], item.get("rgb"), item["angle_deg"])
            for item in _items(row)
        ]
        others = {look[1:] for look in looks if look[0] == "distractor"}
        for look in looks:
            if look[0] == "target" and row["task"] != "TvsL":
                assert look[1:] not in others
        if row["task"] == "conjunction":
            red = sum(look[2] == row["red_rgb"] for look in looks if "d" in look[0])
            assert 3 <= red <= 5
            # Each distractor shares one feature with the target.
            shared = {(rgb == row["red_rgb"], angle == 0) for _, rgb, angle in others}
            assert shared == {(True, False), (False, True)}


def test_colours_are_equal_in_luminance():
    table = make_item_arrays(["feature"], set_sizes=[4], trials=1).table
    red, green = (luminance(parse_rgb(table[f"{c}_rgb"][0])) for c in ("red", "green"))
    assert green == pytest.approx(red, rel=0.01)
    other = make_item_arrays(
        ["feature"], set_sizes=[4], trials=1, equal_luminance=False
    ).table
    assert parse_rgb(other["green_rgb"][0]) == (0, 255, 0)


@pytest.mark.parametrize("px_per_deg", [20.0, 32.0, 45.5])
def test_items_have_their_size_at_any_scale(px_per_deg):
    stimuli = make_item_arrays(
        ["feature", "TvsL", "2vs5"], set_sizes=[4], trials=1, present=[True],
        px_per_deg=px_per_deg,
    )  # fmt: skip
    for row in stimuli.table.to_dict("records"):
        display = draw_item_array(row)
        for name, mask in display.masks.items():
            sides = [len(np.flatnonzero(mask.any(axis=k))) for k in (0, 1)]
            wanted = BAR_DEG if row["task"] == "feature" else (1.0, 1.0)
            for side, deg in zip(sides, wanted, strict=True):
                assert abs(side - deg * px_per_deg) <= 1, (row["task"], name)


def test_gabor_patches_have_the_contrast_and_tilt_that_are_stated():
    stimuli = make_item_arrays(
        ["gabor_tilt"], set_sizes=[4], trials=1, present=[True], gabor_contrast=0.6,
        px_per_deg=64, tilt_deg=15,
    )  # fmt: skip
    row = stimuli.table.iloc[0]
    image = draw_item_array(row).image[..., 0]
    assert image.max() == pytest.approx(0.5 * 1.6, abs=0.01)
    assert [i["angle_deg"] for i in _items(row) if i["role"] == "target"] == [15]
    # Along the bars of the target the wave is constant, across it turns over.
    x, y = row["target_x_deg"], row["target_y_deg"]

    def level(along, across):
        turn = np.radians(15)
        dx = across * np.cos(turn) - along * np.sin(turn)
        dy = across * np.sin(turn) + along * np.cos(turn)
        side = image.shape[0] / 2
        return image[int(side - (y + dy) * 64), int(side + (x + dx) * 64)]

    assert level(0.15, 0) > 0.6
    assert level(0, 0.125) < 0.4


def test_the_junction_of_an_l_moves_with_its_offset():
    def stem(offset):
        row = make_item_arrays(
            ["TvsL"], set_sizes=[1], trials=1, present=[False], junction_offset=offset
        ).table.iloc[0]
        mask = draw_item_array(row).masks["item_00"]
        rows, columns = (np.flatnonzero(mask.any(axis=k)) for k in (1, 0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        box = np.rot90(box, -round(_items(row)[0]["angle_deg"] / 90))
        return np.flatnonzero(box[3]).mean() / box.shape[1]

    assert stem(0.1) == pytest.approx(0.1, abs=0.03)
    assert stem(0.3) == pytest.approx(0.3, abs=0.03)


def test_a_display_depends_on_its_identity_and_the_seed_only():
    alone = make_item_arrays(["2vs5"], set_sizes=[8], trials=1)
    among = make_item_arrays(set_sizes=[4, 8], trials=2)
    at = among.table.index[among.table["stimulus_id"] == alone.table["stimulus_id"][0]]
    assert among.load(int(at[0])).tobytes() == alone.load(0).tobytes()
    other = make_item_arrays(["2vs5"], set_sizes=[8], trials=1, seed=1)
    assert other.load(0).tobytes() != alone.load(0).tobytes()


def test_the_target_picture_shows_the_target_of_the_display():
    stimuli = make_item_arrays(["TvsL"], set_sizes=[4], trials=1, present=[True])
    row = stimuli.table.iloc[0]
    wanted = stimuli.targets[0]
    mask = draw_item_array(row).masks["target"]
    ink = wanted.min(axis=2) < 64
    assert ink.sum() == pytest.approx(mask.sum(), rel=0.06)  # edges lie elsewhere


@pytest.mark.parametrize("layout", ["ring", "random"])
def test_centres_are_as_far_apart_as_asked(layout):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        places = np.array(place_items(12, layout=layout, min_spacing_deg=1.8, rng=rng))
        steps = places[:, None] - places[None]
        distance = np.hypot(steps[..., 0], steps[..., 1])
        assert distance[~np.eye(12, dtype=bool)].min() >= 1.8 - 1e-9
        if layout == "ring":
            np.testing.assert_allclose(np.hypot(*places.T), 4.5, atol=1e-6)


def test_all_set_sizes_of_the_grid_can_be_made():
    table = make_item_arrays(["QvsO"], set_sizes=[1, 4, 8, 16, 24, 32], trials=1).table
    assert [len(_items(row)) for _, row in table.iterrows()] == list(table["set_size"])
    assert set(SEARCHES) >= set(table["task"])


def test_what_does_not_fit_is_refused_with_what_would():
    with pytest.raises(ValueError, match=r"has 37, but 12 deg hold 6 x 6 cells"):
        make_item_arrays(["QvsO"], set_sizes=[37])
    with pytest.raises(ValueError, match=r"`ring_radius_deg` of 7.66 or more"):
        make_item_arrays(["QvsO"], set_sizes=[32], layout="ring")
    with pytest.raises(ValueError, match="do not fit into 12 deg"):
        make_item_arrays(["QvsO"], set_sizes=[80], layout="random")
    with pytest.raises(ValueError, match=r"can overlap below 1.41"):
        make_item_arrays(["QvsO"], layout="random", min_spacing_deg=1.2)
    with pytest.raises(ValueError, match=r"must be one of .*Did you mean 'TvsL'"):
        make_item_arrays(["TvL"])
    with pytest.raises(ValueError, match=r"Cells of 1.5 deg do not hold items"):
        make_item_arrays(["QvsO"], cell_deg=1.5)
