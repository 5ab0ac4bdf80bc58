"""Displays for search slopes are what their tables say."""

import json
import subprocess
import sys

import numpy as np
import pytest

from neurovis.core.observers import SearchTrial
from stimuli.slope_arrays import (
    SLOPE_TASKS,
    draw_slope_array,
    draw_slope_target,
    item_areas,
    make_slope_arrays,
    target_area,
)
from stimuli.slope_items import draw_slope_item, equalise_luminance, luminance


@pytest.fixture(scope="module")
def stimuli():
    return make_slope_arrays(trials=3)


def _items(row):
    return json.loads(row["items"])


def _find(stimuli, **wanted):
    table = stimuli.table
    for name, value in wanted.items():
        table = table[table[name] == value]
    return int(table.index[0])


# ------------------------------------------------------------------------ table


def test_one_display_for_each_task_size_presence_and_trial(stimuli):
    table = stimuli.table
    cells = table.groupby(["task", "set_size", "target_present"]).size()
    assert len(cells) == 3 * 4 * 2
    assert (cells == 3).all()
    assert table["stimulus_id"].is_unique
    assert sorted(table["set_size"].unique()) == [3, 6, 12, 18]
    assert (table["condition"].str.endswith("present") == table["target_present"]).all()


def test_geometry_is_that_of_the_experiment_at_30_px_per_deg(stimuli):
    row = stimuli.table.iloc[0]
    assert (row["width_px"], row["cell_px"], row["grid"]) == (675, 135, 5)
    sizes = {
        (item["kind"], item["width"], item["height"])
        for _, r in stimuli.table.iterrows()
        for item in _items(r)
    }
    assert sizes == {
        ("vertical", 30, 105),
        ("horizontal", 105, 30),
        ("digit_2", 45, 81),
        ("digit_5", 45, 81),
    }


def test_items_are_those_of_the_task(stimuli):
    for _, row in stimuli.table.iterrows():
        items = _items(row)
        assert len(items) == row["set_size"]
        targets = [item for item in items if item["role"] == "target"]
        assert len(targets) == row["target_present"]
        looks = [(i["kind"], i["rgb"]) for i in items if i["role"] == "distractor"]
        red, green = "#ff0000", "#00ff00"
        if row["task"] == "feature":
            assert set(looks) == {("vertical", green)}
            assert all((t["kind"], t["rgb"]) == ("vertical", red) for t in targets)
        elif row["task"] == "conjunction":
            n_green = looks.count(("vertical", green))
            n_red = looks.count(("horizontal", red))
            assert n_green + n_red == len(looks)
            assert abs(n_green - n_red) <= 1
            assert all((t["kind"], t["rgb"]) == ("vertical", red) for t in targets)
        else:
            assert {kind for kind, _ in looks} == {"digit_5"}
            assert all(t["kind"] == "digit_2" for t in targets)


def test_the_odd_distractor_of_a_conjunction_is_of_either_kind():
    many = make_slope_arrays("conjunction", set_sizes=[3], trials=40, present=False)
    greens = [
        sum(item["kind"] == "vertical" for item in _items(row))
        for _, row in many.table.iterrows()
    ]
    assert set(greens) == {1, 2}


def test_items_stand_in_distinct_cells_and_stay_apart(stimuli):
    for _, row in stimuli.table.iterrows():
        cell = row["cell_px"]
        items = _items(row)
        assert len({(i["row"], i["column"]) for i in items}) == len(items)
        for item in items:
            left, top = item["column"] * cell, item["row"] * cell
            # 0.1 degrees to every border of the cell: 0.2 between neighbours.
            assert left + 3 <= item["left"]
            assert item["left"] + item["width"] <= left + cell - 3
            assert top + 3 <= item["top"]
            assert item["top"] + item["height"] <= top + cell - 3


def test_target_columns_say_where_the_target_is_and_are_nan_without(stimuli):
    places = [c for c in stimuli.table if c.startswith("area_")]
    places += ["target_left_px", "target_top_px", "target_x_deg", "target_y_deg"]
    for _, row in stimuli.table.iterrows():
        if not row["target_present"]:
            assert row[places].isna().all()
            continue
        target = next(i for i in _items(row) if i["role"] == "target")
        assert row["area_left_px"] == target["column"] * 135
        assert row["area_bottom_px"] == (target["row"] + 1) * 135
        assert (row["target_left_px"], row["target_top_px"]) == (
            target["left"],
            target["top"],
        )
        x_px, y_px = stimuli.viewing.to_px(row["target_x_deg"], row["target_y_deg"])
        assert x_px == pytest.approx(target["left"] + target["width"] / 2)
        assert y_px == pytest.approx(target["top"] + target["height"] / 2)


def test_a_display_does_not_depend_on_what_else_is_made(stimuli):
    alone = make_slope_arrays(
        "conjunction", set_sizes=[12], trials=2, present=False, seed=0
    )
    row = alone.table.iloc[1]
    same = stimuli.table.set_index("stimulus_id").loc[row["stimulus_id"]]
    assert row["items"] == same["items"]
    other = make_slope_arrays("conjunction", set_sizes=[12], trials=2, seed=1)
    assert other.table.iloc[1]["items"] != row["items"]


def test_every_cell_is_used_about_equally_often():
    many = make_slope_arrays("feature", set_sizes=[6], trials=400)
    cells = [
        (i["row"], i["column"]) for _, r in many.table.iterrows() for i in _items(r)
    ]
    counts = np.unique(cells, axis=0, return_counts=True)[1]
    # 800 displays, 6 of 25 cells: 192 on average, sd 12.
    assert len(counts) == 25
    assert abs(counts - 192).max() < 60


def test_displays_are_frozen():
    table = make_slope_arrays("conjunction", set_sizes=[3], trials=1).table
    item = _items(table.iloc[0])[0]
    assert (item["kind"], item["role"]) == ("vertical", "target")
    assert (item["row"], item["column"], item["left"], item["top"]) == (4, 0, 45, 552)


# --------------------------------------------------------------------- pictures


def test_a_display_is_its_items_on_black(stimuli):
    i = _find(stimuli, task="conjunction", set_size=12, target_present=True)
    image, row = stimuli.load(i), stimuli.table.iloc[i]
    expected = np.zeros((675, 675, 3), np.uint8)
    for item in _items(row):
        rows = slice(item["top"], item["top"] + item["height"])
        columns = slice(item["left"], item["left"] + item["width"])
        expected[rows, columns] = (
            (255, 0, 0) if "ff0000" in item["rgb"] else (0, 255, 0)
        )
    assert (image == expected).all()
    assert (draw_slope_array(row) == image).all()


def test_a_two_is_a_mirrored_five():
    ground = np.zeros((81, 45, 3), np.uint8)
    two, five = (
        draw_slope_item(
            ground, kind, (1.5, 2.7), (255,) * 3, px_per_deg=30, stroke_deg=0.3
        )
        for kind in ("digit_2", "digit_5")
    )
    assert (two[:, ::-1] == five).all()
    assert (two[::-1] == five).all()
    assert set(np.unique(two)) == {0, 255}
    # Three lying strokes and two upright ones between them, 9 px thick.
    assert (two[..., 0] > 0).sum() == 3 * 45 * 9 + 2 * 27 * 9
    assert two[20, [4, 40], 0].tolist() == [0, 255]
    assert two[60, [4, 40], 0].tolist() == [255, 0]


@pytest.mark.parametrize("scale", [7.3, 17.3, 41.9])
def test_light_is_kept_at_any_scale(scale):
    sizes = {"vertical": (1.0, 3.5), "horizontal": (3.5, 1.0), "digit_5": (1.5, 2.7)}
    for kind, size in sizes.items():
        box = np.ceil(np.array(size[::-1]) * scale).astype(int)
        ground = np.zeros((*box, 3), np.uint8)
        drawn = draw_slope_item(
            ground, kind, size, (250,) * 3, px_per_deg=scale, stroke_deg=0.3
        )
        area = 3.5 if kind != "digit_5" else 3 * 1.5 * 0.3 + 2 * 0.9 * 0.3
        assert drawn[..., 0].sum() / 250 == pytest.approx(area * scale**2, rel=0.02)


def test_target_pictures_show_the_target_alone(stimuli):
    for task, ink, side in (
        ("feature", (255, 0, 0), 113),
        ("conjunction", (255, 0, 0), 113),
        ("spatial_configuration", (255, 255, 255), 89),
    ):
        pictures = []
        for present in (True, False):
            i = _find(stimuli, task=task, target_present=present)
            pictures.append(stimuli.targets[i])
            row = stimuli.table.iloc[i]
            assert (draw_slope_target(row) == pictures[-1]).all()
        assert pictures[0].shape == (side, side, 3)
        assert (pictures[0] == pictures[1]).all()
        lit = pictures[0].any(axis=2)
        assert (pictures[0][lit] == ink).all()
        # A margin of 4 px at both ends.
        assert not lit[:4].any()
        assert not lit[-4:].any()
        assert lit[4].any()
        assert lit[-5].any()


def test_the_target_picture_is_the_target_of_the_display(stimuli):
    i = _find(stimuli, task="spatial_configuration", set_size=6, target_present=True)
    row, image = stimuli.table.iloc[i], stimuli.load(i)
    top, left = int(row["target_top_px"]), int(row["target_left_px"])
    shown = image[top : top + 81, left : left + 45]
    picture = stimuli.targets[i]
    assert (picture[4:85, 22:67] == shown).all()


def test_equal_luminance_darkens_the_brighter_colour():
    red, green = equalise_luminance((255, 0, 0), (0, 255, 0))
    assert (red, green) == ((255, 0, 0), (0, 148, 0))
    assert luminance(green) == pytest.approx(luminance(red), rel=0.01)
    assert equalise_luminance((10, 10, 10), (10, 10, 10)) == ((10, 10, 10),) * 2
    stimuli = make_slope_arrays("feature", trials=1, equal_luminance=True)
    assert {i["rgb"] for i in _items(stimuli.table.iloc[0])} == {"#ff0000", "#009400"}


def test_other_grounds_and_colours_are_drawn():
    stimuli = make_slope_arrays(
        "feature", set_sizes=[3], trials=1, background=40, red=(9, 8, 7), green=200
    )
    levels = {tuple(p) for p in stimuli.load(0).reshape(-1, 3).tolist()}
    assert levels == {(40, 40, 40), (9, 8, 7), (200, 200, 200)}
    assert stimuli.viewing.background == 40


# ------------------------------------------------------------------------ areas


def test_areas_are_cells_of_items_and_fit_a_search_trial(stimuli):
    for i in (0, 3, len(stimuli) - 1):
        row = stimuli.table.iloc[i]
        areas, target = item_areas(row), target_area(row)
        assert areas.shape == (row["set_size"], 675, 675)
        assert (areas.sum(axis=(1, 2)) == 135**2).all()
        assert areas.sum(axis=0).max() == 1
        for area, item in zip(areas, _items(row), strict=True):
            centre = (
                item["top"] + item["height"] // 2,
                item["left"] + item["width"] // 2,
            )
            assert area[centre]
            assert item["role"] != "target" or (area == target).all()
        assert target.sum() == 135**2 * row["target_present"]
        trial = SearchTrial(
            row["stimulus_id"], stimuli.load(i), stimuli.targets[i], target, areas
        )
        assert trial.item_areas.shape == areas.shape


# -------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": "features"}, "Did you mean 'feature'"),
        ({"tasks": []}, "at least one value"),
        ({"tasks": ["feature", "feature"]}, "none twice"),
        ({"set_sizes": [26]}, "25 cells"),
        ({"set_sizes": [0]}, r"within \[1"),
        ({"set_sizes": 3}, "sequence"),
        ({"trials": 0}, r"within \[1"),
        ({"present": []}, "at least one value"),
        ({"jitter_deg": 1.1}, "do not hold feature items of 3.5 deg"),
        ({"bar_deg": (1.0, 5.0)}, "Use a larger `field_deg`"),
        ({"bar_deg": 1.0}, "width and height"),
        ({"stroke_deg": 0.6}, "stroke_deg"),
        ({"background": 300}, "background"),
        ({"digit_colour": 0}, "nothing would be visible"),
        ({"red": (0, 255, 0)}, "give two colours"),
        ({"red": (0, 0, 1), "background": 1, "green": 1}, "nothing would be visible"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_slope_arrays(**options)


def test_tasks_are_named_once():
    assert SLOPE_TASKS == ("feature", "conjunction", "spatial_configuration")


def test_no_torch_is_imported():
    code = "import sys, stimuli.slope_arrays; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0
