"""Where items stand: cells, rings, order, versions, areas."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli.search_arrays import (
    SEARCH_CONDITIONS,
    item_areas,
    make_search_arrays,
    target_area,
)
from stimuli.search_layouts import plan_layout

# paradigm: cells per side, cell, item, jitter (px), as published.
GRIDS = {
    "categorization": (4, 84, 69, 15),
    "curvature": (6, 56, 48, 8),
    "intersection": (3, 205, 177, 27),
    "lightning_dir": (4, 49, 31, 18),
}


@pytest.fixture(scope="module")
def published():
    """All displays as published: 1272 of seed 0."""
    return make_search_arrays()


@pytest.fixture(scope="module")
def many_rows():
    """Rows of several seeds, as dictionaries with the items decoded."""
    rows = []
    for seed in range(4):
        table = make_search_arrays(seed=seed).table
        rows += [
            row | {"items": json.loads(row["items"])}
            for row in table.to_dict("records")
        ]
    return rows


def test_degrees_give_the_published_pixels():
    for condition in SEARCH_CONDITIONS.values():
        layout = plan_layout(condition)
        assert (
            layout.viewing.width_px,
            layout.cell_px,
            layout.item_px,
            layout.jitter_px,
        ) == (
            condition.size_px,
            condition.cell_px,
            condition.item_px,
            condition.jitter_px,
        )


def test_published_items_cannot_leave_their_cell():
    for condition in SEARCH_CONDITIONS.values():
        assert condition.item_px + condition.jitter_px - 1 <= condition.cell_px
        assert condition.grid * condition.cell_px <= condition.size_px


# ------------------------------------------------------------------------ layouts


def test_published_set_has_1272_displays_in_the_published_order(published):
    table = published.table
    assert len(table) == 1272
    assert table["condition"].unique().tolist() == list(SEARCH_CONDITIONS)
    for name, rows in table.groupby("condition"):
        set_sizes = SEARCH_CONDITIONS[name].set_sizes
        trials = SEARCH_CONDITIONS[name].trials
        assert rows["set_size"].tolist() == list(np.repeat(set_sizes, trials))
        assert rows["trial"].tolist() == list(range(trials)) * len(set_sizes)
    assert table["stimulus_id"].iloc[33] == "curve_in_lines_n16_t003"


def test_every_display_has_one_target_and_its_set_size(many_rows):
    for row in many_rows:
        roles = [item["role"] for item in row["items"]]
        assert len(roles) == row["set_size"]
        assert roles.count("target") == 1
        target = row["items"][roles.index("target")]
        assert target["kind"] == row["target_kind"]
        assert target["version"] == row["target_version"]
        assert target["left"] == row["target_left_px"]
        assert target["top"] == row["target_top_px"]


def test_items_stay_in_cells_of_their_own(many_rows):
    for row in many_rows:
        grid, cell, side, jitter = GRIDS[row["paradigm"]]
        cells = set()
        for item in row["items"]:
            row_, down = divmod(item["top"], cell)
            column, right = divmod(item["left"], cell)
            assert max(row_, column) < grid
            assert min(down, right) >= 0
            assert max(down, right) < jitter
            assert item["width"] == item["height"] == side
            cells.add((row_, column))
        assert len(cells) == row["set_size"]


def test_layouts_use_every_cell_jitter_and_place_in_the_order(many_rows):
    for paradigm, (grid, cell, _, jitter) in GRIDS.items():
        rows = [row for row in many_rows if row["paradigm"] == paradigm]
        items = [item for row in rows for item in row["items"]]
        targets = [i for i in items if i["role"] == "target"]
        for group in (items, targets):
            counts = np.zeros((grid, grid))
            for item in group:
                counts[item["top"] // cell, item["left"] // cell] += 1
            expected = len(group) / grid**2
            # Cells of one display repel, so this bound is generous.
            assert ((counts - expected) ** 2 / expected).sum() < 3 * grid**2
        for edge in ("top", "left"):
            shifts = np.bincount([item[edge] % cell for item in items])
            assert len(shifts) == jitter
            assert shifts.min() > 0.8 * shifts.mean()


def test_target_takes_every_place_in_the_order(many_rows):
    places = [
        [item["role"] for item in row["items"]].index("target")
        for row in many_rows
        if row["set_size"] == 12
    ]
    counts = np.bincount(places, minlength=12)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 31.3  # p = 0.001


def test_items_of_each_condition_are_those_of_the_paradigm(many_rows):
    kinds = {
        "curve_in_lines": ("curve", "line"),
        "line_in_curves": ("line", "curve"),
        "non_cross": ("non_cross", "cross"),
        "cross": ("cross", "non_cross"),
        "Ts": ("T", "L"),
        "Ls": ("L", "T"),
    }
    versions = {
        "top_down": (1, {0}),
        "left_right": (3, {2}),
        "homo_t20": (-20, {0}),
        "homo_t0": (0, {-20}),
        "hetero_t0": (0, {-80, -60, -40, 20, 40, 60, 80, -20}),
        "hetero_t20": (-20, {-80, -60, -40, 20, 40, 60, 80, 0}),
    }
    seen = {}
    for row in many_rows:
        name = row["condition"]
        others = [i for i in row["items"] if i["role"] == "distractor"]
        if name in kinds:
            assert row["target_kind"] == kinds[name][0]
            assert {i["kind"] for i in others} <= {kinds[name][1]}
        else:
            assert row["target_version"] == versions[name][0]
            assert {i["kind"] for i in others} <= {row["target_kind"]}
        seen.setdefault(name, set()).update(i["version"] for i in others)
    for name, versions_seen in seen.items():
        assert versions_seen == versions.get(name, (0, {0, 1, 2, 3}))[1]


def test_curvature_items_cycle_through_four_orientations(many_rows):
    rows = [row for row in many_rows if row["paradigm"] == "curvature"]
    for row in rows:
        versions = [item["version"] for item in row["items"]]
        assert versions == [i % 4 for i in range(len(versions))]
    assert {row["target_version"] for row in rows} == {0, 1, 2, 3}


def test_stroke_items_draw_their_orientation_independently(many_rows):
    rows = [row for row in many_rows if row["paradigm"] == "intersection"]
    drawn = np.array(
        [[i["version"] for i in row["items"]] for row in rows if row["set_size"] == 9]
    )
    for column in drawn.T:
        counts = np.bincount(column, minlength=4)
        assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 21  # p = 1e-4
    assert (drawn[:, 0] == drawn[:, 1]).mean() == pytest.approx(0.25, abs=0.06)


def test_heterogeneous_distractors_repeat_only_when_all_have_come(many_rows):
    sizes = set()
    for row in many_rows:
        if row["condition"].startswith("hetero"):
            others = [i["version"] for i in row["items"] if i["role"] == "distractor"]
            counts = pd.Series(others, dtype=int).value_counts()
            whole, rest = divmod(len(others), 8)
            assert (counts == whole + 1).sum() == rest
            assert len(counts) == (8 if whole else rest)
            sizes.add(len(others))
    assert sizes == {0, 3, 7, 11}


def test_trial_does_not_depend_on_what_else_is_made(published):
    alone = make_search_arrays("cross", set_sizes=[6], trials=4).table
    among = published.table.query("condition == 'cross' and set_size == 6")
    pd.testing.assert_frame_equal(alone, among.head(4).reset_index(drop=True))


def test_seed_and_trial_change_the_layout():
    items = [
        make_search_arrays("Ts", set_sizes=[9], trials=3, seed=seed).table["items"]
        for seed in (0, 1)
    ]
    assert len({text for column in items for text in column}) == 6


def test_rendering_does_not_change_the_layout(published):
    smooth = make_search_arrays(rendering="smooth").table
    pd.testing.assert_frame_equal(
        smooth.drop(columns="rendering"), published.table.drop(columns="rendering")
    )


def boxes_touch(items):
    return any(
        abs(a["left"] - b["left"]) < a["width"]
        and abs(a["top"] - b["top"]) < a["height"]
        for k, a in enumerate(items)
        for b in items[:k]
    )


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(SEARCH_CONDITIONS)),
    st.integers(1, 16),
    st.floats(8, 80),
    st.floats(0.2, 2.5),
    st.floats(2, 12),
    st.floats(0, 0.5),
    st.integers(0, 1000),
)
def test_ring_items_never_touch_or_leave_the_display(
    name, set_size, px_per_deg, item_deg, radius, jitter_deg, seed
):
    try:
        stimuli = make_search_arrays(
            name,
            set_sizes=[set_size],
            trials=20,
            seed=seed,
            rendering="smooth",
            px_per_deg=px_per_deg,
            view_deg=24,
            item_deg=item_deg,
            eccentricity_deg=radius,
            jitter_deg=jitter_deg,
        )
    except ValueError as error:
        assert "eccentricity_deg" in str(error) or "item_deg" in str(error)  # noqa: PT017
        return
    for row in stimuli.table.to_dict("records"):
        items = json.loads(row["items"])
        assert not boxes_touch(items)
        for item in items:
            assert min(item["left"], item["top"]) >= 0
            assert item["left"] + item["width"] <= row["width_px"]
            assert item["top"] + item["height"] <= row["height_px"]
            middle = row["width_px"] / 2
            x = item["left"] + item["width"] / 2 - middle
            y = item["top"] + item["height"] / 2 - middle
            slack = math.sqrt(2) * (jitter_deg * px_per_deg + 0.5)
            assert math.hypot(x, y) == pytest.approx(
                radius * px_per_deg, abs=slack + 1e-6
            )


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(SEARCH_CONDITIONS)),
    st.integers(1, 9),
    st.floats(8, 80),
    st.integers(1, 10),
    st.floats(0.3, 3),
    st.none() | st.floats(0, 1),
)
def test_free_grid_items_stay_in_cells_of_their_own(
    name, set_size, px_per_deg, grid, item_deg, jitter_deg
):
    try:
        table = make_search_arrays(
            name,
            set_sizes=[set_size],
            trials=3,
            rendering="smooth",
            px_per_deg=px_per_deg,
            view_deg=20,
            grid=grid,
            item_deg=item_deg,
            jitter_deg=jitter_deg,
        ).table
    except ValueError as error:
        assert "grid" in str(error)  # noqa: PT017
        return
    for row in table.to_dict("records"):
        items = json.loads(row["items"])
        cell = int(row["cell_px"])
        first = {(i["top"] // cell, i["left"] // cell) for i in items}
        last = {
            ((i["top"] + i["height"] - 1) // cell, (i["left"] + i["width"] - 1) // cell)
            for i in items
        }
        assert first == last
        assert len(first) == set_size
        assert cell * grid <= row["width_px"]


def test_ring_steps_are_equal_and_turned_at_random():
    table = make_search_arrays(
        "top_down",
        set_sizes=[5],
        trials=40,
        rendering="smooth",
        px_per_deg=100,
        eccentricity_deg=2.5,
    ).table
    turns = []
    for items in map(json.loads, table["items"]):
        angles = np.degrees(
            [math.atan2(330 - i["top"] - 52, i["left"] + 52 - 330) for i in items]
        )
        steps = np.diff([*angles, angles[0]]) % 360
        np.testing.assert_allclose(steps, 72, atol=0.4)
        turns.append(angles[0] % 72)
    assert np.ptp(turns) > 60


def test_jitter_of_a_free_grid_is_centred_in_the_cell():
    table = make_search_arrays(
        "top_down",
        set_sizes=[4],
        trials=60,
        rendering="smooth",
        px_per_deg=20,
        view_deg=8,
        grid=2,
        item_deg=1,
        jitter_deg=0.5,
    ).table
    tops = {i["top"] % 80 for items in map(json.loads, table["items"]) for i in items}
    assert tops == set(range(25, 35))


# -------------------------------------------------------------------------- areas


def test_item_areas_are_all_cells_row_by_row():
    for name in ("curve_in_lines", "left_right", "cross", "homo_t0"):
        condition = SEARCH_CONDITIONS[name]
        row = make_search_arrays(name, trials=1).table.iloc[0]
        areas = item_areas(row)
        side, grid, cell = condition.size_px, condition.grid, condition.cell_px
        assert areas.shape == (grid**2, side, side)
        assert areas.dtype == np.bool_
        expected = np.full((side, side), -1)
        for index in range(grid**2):
            r, c = index // grid * cell, index % grid * cell
            expected[r : r + cell, c : c + cell] = index
        for index, area in enumerate(areas):
            assert np.array_equal(area, expected == index)


def test_target_area_is_the_cell_of_the_target(published):
    table = published.table.query("paradigm != 'lightning_dir'")
    for row in table.iloc[::60].to_dict("records"):
        area = target_area(row)
        cells = item_areas(row)
        middle = (
            row["target_top_px"] + row["target_height_px"] // 2,
            row["target_left_px"] + row["target_width_px"] // 2,
        )
        (index,) = np.flatnonzero(cells[:, middle[0], middle[1]])
        assert np.array_equal(area, cells[index])


def test_lighting_area_starts_at_the_item_and_ends_with_the_display(published):
    table = published.table.query("paradigm == 'lightning_dir'")
    clipped = 0
    for row in table.to_dict("records"):
        assert row["area_left_px"] == row["target_left_px"]
        assert row["area_top_px"] == row["target_top_px"]
        assert row["area_right_px"] == min(row["target_left_px"] + 49, 198)
        assert row["area_bottom_px"] == min(row["target_top_px"] + 49, 198)
        clipped += row["target_left_px"] + 49 > 198
    assert clipped > 0
    row = table.iloc[0]
    height = row["area_bottom_px"] - row["area_top_px"]
    width = row["area_right_px"] - row["area_left_px"]
    assert target_area(row).sum() == height * width


def test_ring_areas_are_the_boxes_of_the_items():
    row = make_search_arrays(
        "homo_t0",
        set_sizes=[8],
        trials=1,
        rendering="smooth",
        view_deg=16,
        eccentricity_deg=6,
        item_deg=1.5,
    ).table.iloc[0]
    items = json.loads(row["items"])
    areas = item_areas(row)
    assert areas.shape == (8, 480, 480)
    assert areas.sum(axis=0).max() == 1
    assert (areas.sum(axis=(1, 2)) == 45**2).all()
    roles = [item["role"] for item in items]
    assert np.array_equal(target_area(row), areas[roles.index("target")])
