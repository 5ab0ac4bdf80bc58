"""Shelves are what their tables say, and displays show what shelves show."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.core.object_displays import FreeDisplay, ObjectDisplay
from stimuli.save import load_stimuli, save_stimuli
from stimuli.shelf_covers import cover_features, draw_cover
from stimuli.shelf_displays import (
    draw_shelf,
    draw_shelf_target,
    make_shelves,
    shelf_display,
    shelf_displays,
)
from stimuli.shelf_layouts import SMALLEST_COVER_PX, check_fits

SMALL = {"rows": (2, 3), "cols": (3, 5), "size_px": (400, 300), "targets_per_shelf": 2}


@pytest.fixture(scope="module", params=["grid", "free"])
def stimuli(request):
    return make_shelves(4, layout=request.param, facings=(1, 3), seed=3, **SMALL)


def _boxes(row):
    return np.array(json.loads(row["boxes"]))


def _products(row):
    return np.array(json.loads(row["products"]))


# -------------------------------------------------------------------------- table


def test_one_row_for_each_shelf_and_target():
    table = make_shelves().table
    assert len(table) == 20 * 4
    assert table["stimulus_id"].is_unique
    groups = table.groupby("shelf", sort=False)
    assert (groups.size() == 4).all()
    assert (groups["target_cell"].nunique() == 4).all()
    assert (table["target"] == np.tile(range(4), 20)).all()
    # What belongs to the shelf is the same in all of its rows.
    of_shelf = ["shelf_seed", "boxes", "products", "rows", "cols", "n_cells"]
    assert (groups[of_shelf].agg(lambda v: len(set(v))) == 1).all(axis=None)
    assert table["shelf_seed"].nunique() == 20
    assert set(table["rows"]) == {3, 4, 5, 6}
    assert table["cols"].min() >= 7
    assert table["cols"].max() <= 14
    assert (table["rows"] * table["cols"] == table["n_cells"]).all()
    assert (table["n_products"] == table["n_cells"]).all()


def test_numbers_are_drawn_within_their_ranges_for_every_board():
    options = {"rows": (1, 4), "cols": (2, 5), "targets_per_shelf": 1}
    table = make_shelves(30, layout="free", **options).table
    boards = [
        np.unique(_boxes(row)[:, 3], return_counts=True)[1].tolist()
        for _, row in table.iterrows()
    ]
    assert {len(b) for b in boards} == {1, 2, 3, 4}
    assert {n for b in boards for n in b} == {2, 3, 4, 5}
    assert table["n_cells"].tolist() == [sum(b) for b in boards]
    assert table["cols"].tolist() == [max(b) for b in boards]


def test_a_shelf_does_not_depend_on_how_many_are_made(stimuli):
    layout = stimuli.table["layout"][0]
    more = make_shelves(7, layout=layout, facings=(1, 3), seed=3, **SMALL)
    pd.testing.assert_frame_equal(more.table.iloc[: len(stimuli)], stimuli.table)
    assert all((more.load(i) == stimuli.load(i)).all() for i in range(3))
    other = make_shelves(4, layout=layout, facings=(1, 3), seed=4, **SMALL)
    assert (other.table["shelf_seed"] != stimuli.table["shelf_seed"]).all()


@pytest.mark.parametrize("layout", ["grid", "free"])
def test_further_targets_leave_the_shelf_as_it_is(layout):
    options = SMALL | {"layout": layout}
    two = make_shelves(2, **options).table
    four = make_shelves(2, **(options | {"targets_per_shelf": 4})).table
    kept = four[four["target"] < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, two)


def test_shelves_are_frozen():
    found = []
    for layout in ("grid", "free"):
        made = make_shelves(
            2, layout=layout, n_products=6, facings=2, **(SMALL | {"rows": 3})
        )
        text = made.table.to_csv(index=False, lineterminator="\n").encode()
        found.append(hashlib.sha256(text + made.load(2).tobytes()).hexdigest()[:16])
    assert found == ["ede1385ea7bcc921", "d3ffeb968c9c67c6"]


def test_every_place_is_searched_about_equally_often():
    table = make_shelves(
        500, rows=2, cols=3, targets_per_shelf=2, size_px=(200, 150)
    ).table
    counts = table["target_cell"].value_counts()
    # 1000 targets in 6 places: 167 on average, sd at most 12.
    assert len(counts) == 6
    assert (counts - 1000 / 6).abs().max() < 55


# ----------------------------------------------------------------------- products


@pytest.mark.parametrize("layout", ["grid", "free"])
@pytest.mark.parametrize("n_products", [None, 4, 5, 100])
def test_the_target_is_on_its_shelf_once(layout, n_products):
    stimuli = make_shelves(
        4, layout=layout, n_products=n_products, facings=(1, 4), **SMALL
    )
    for row, display in zip(
        stimuli.table.to_dict("records"),
        shelf_displays(stimuli, appearance="pictures", size_px=(20, 32)),
        strict=True,
    ):
        same = (display.appearance == display.appearance[row["target_cell"]]).all(
            axis=(1, 2, 3)
        )
        assert same.sum() == 1
        products = _products(row)
        assert (products == products[row["target_cell"]]).sum() == 1
        assert len(set(products.tolist())) == row["n_products"]
        if n_products is not None:
            assert products.max() < n_products


def test_facings_are_neighbours_on_one_board_and_stop_at_targets():
    options = {"rows": 4, "cols": 9, "facings": 3, "targets_per_shelf": 3}
    table = make_shelves(10, **options).table
    for _, rows in table.groupby("shelf"):
        row, targets = rows.iloc[0], set(rows["target_cell"])
        products = _products(row).reshape(4, 9)
        expected, number = [], 0
        for board in range(4):
            run = 0
            for col in range(9):
                alone = board * 9 + col in targets
                if col == 0 or alone or run == 3 or (board * 9 + col - 1) in targets:
                    number += 1
                    run = 0
                expected.append(number - 1)
                run += 1
        assert products.ravel().tolist() == expected


def test_products_come_again_only_when_all_were_used():
    row = make_shelves(1, rows=4, cols=10, n_products=14, targets_per_shelf=4).table
    products = _products(row.iloc[0])
    others = products[products >= 4]
    assert len(others) == 36
    counts = np.bincount(others, minlength=14)[4:]
    assert set(counts.tolist()) == {3, 4}
    assert len(set(others[:10].tolist())) == 10


# -------------------------------------------------------------------------- boxes


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["grid", "free"]),
    st.tuples(st.integers(1, 6), st.integers(0, 3)),
    st.tuples(st.integers(1, 12), st.integers(0, 4)),
    st.tuples(st.integers(90, 1000), st.integers(90, 800)),
    st.integers(0, 10**6),
)
def test_boxes_lie_apart_and_inside_in_reading_order(layout, rows, cols, size, seed):
    rows, cols = (rows[0], sum(rows)), (cols[0], sum(cols))
    options = {"rows": rows, "cols": cols, "layout": layout, "size_px": size}
    options |= {"targets_per_shelf": 1, "seed": seed}
    try:
        check_fits(layout, rows[1], cols[1], size)
    except ValueError:
        with pytest.raises(ValueError, match="is too small for"):
            make_shelves(1, **options)
        return
    row = make_shelves(1, **options).table.iloc[0]
    boxes = _boxes(row)
    assert len(boxes) == row["n_cells"]
    left, top, right, bottom = boxes.T
    assert min(left.min(), top.min()) >= 0
    assert right.max() <= size[0]
    assert bottom.max() + row["board_px"] <= size[1]
    assert (right - left).min() >= SMALLEST_COVER_PX
    assert (bottom - top).min() >= SMALLEST_COVER_PX
    covered = np.zeros((size[1], size[0]), int)
    for x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] += 1
    for y in set(bottom.tolist()):
        covered[y : y + row["board_px"]] += 1
    assert covered.max() == 1
    assert (np.lexsort([left, bottom]) == np.arange(len(boxes))).all()
    display = shelf_display(row, appearance=None)
    assert display.cells_at(*display.centres_px.T).tolist() == list(range(len(boxes)))
    assert display.target_cell == row["target_cell"] < display.n_cells


def test_free_sizes_vary_and_grid_sizes_do_not():
    for layout, fewest in (("grid", 1), ("free", 20)):
        row = make_shelves(1, layout=layout, rows=4, cols=9).table.iloc[0]
        boxes = _boxes(row)
        sizes = {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes.tolist()}
        assert (len(sizes) == 1) == (layout == "grid")
        assert len(sizes) >= fewest


# ----------------------------------------------------------------------- pictures


def test_the_shelf_shows_the_covers_of_its_objects(stimuli):
    for i in (0, 3):
        row, shelf = stimuli.table.iloc[i], stimuli.load(i)
        assert shelf.shape == (300, 400, 3)
        assert (draw_shelf(row) == shelf).all()
        rest = np.ones(shelf.shape[:2], bool)
        for (x0, y0, x1, y1), product in zip(
            _boxes(row).tolist(), _products(row).tolist(), strict=True
        ):
            cover = draw_cover(
                product, seed=int(row["shelf_seed"]), size_px=(x1 - x0, y1 - y0)
            )
            assert (shelf[y0:y1, x0:x1] == cover).all()
            rest[y0:y1, x0:x1] = False
        assert set(np.unique(shelf[rest])) == {132, 182, 232}


def test_appearance_is_in_the_order_of_the_boxes(stimuli):
    row, shelf = stimuli.table.iloc[1], stimuli.load(1)
    display = shelf_display(row)
    crops = [
        cover_features(shelf[None, y0:y1, x0:x1])[0] for x0, y0, x1, y1 in _boxes(row)
    ]
    apart = np.abs(np.array(crops)[:, None] - display.appearance).mean(axis=2)
    # The nearest is the cover itself, or another facing of it, which looks the same.
    nearest = _products(row)[apart.argmin(axis=1)]
    assert nearest.tolist() == _products(row).tolist()
    assert display.appearance.dtype == np.float32
    assert display.appearance.shape == (row["n_cells"], 120)


def test_pictures_are_covers_at_the_wanted_size(stimuli):
    row = stimuli.table.iloc[0]
    display = shelf_display(row, appearance="pictures", size_px=(31, 50))
    assert display.appearance.shape == (row["n_cells"], 50, 31, 3)
    for cell, product in enumerate(_products(row).tolist()):
        cover = draw_cover(product, seed=int(row["shelf_seed"]), size_px=(31, 50))
        assert (display.appearance[cell] == cover).all()
    features = shelf_display(row, size_px=(31, 50)).appearance
    assert (features == cover_features(display.appearance)).all()


def test_the_target_picture_is_the_target_as_shown(stimuli):
    for i in range(3):
        row = stimuli.table.iloc[i]
        x0, y0, x1, y1 = _boxes(row)[row["target_cell"]]
        assert (stimuli.targets[i] == stimuli.load(i)[y0:y1, x0:x1]).all()
        assert (draw_shelf_target(row) == stimuli.targets[i]).all()
        edges = [row[f"target_{e}_px"] for e in ("left", "top", "right", "bottom")]
        assert edges == [x0, y0, x1, y1]


def test_dark_shelves_have_lighter_boards():
    made = make_shelves(1, background=20, **SMALL)
    assert made.viewing.background == 20
    row, shelf = made.table.iloc[0], made.load(0)
    bottom = _boxes(row)[0, 3]
    assert shelf[bottom, 0].tolist() == [70] * 3
    assert shelf[bottom + row["board_px"] - 1, 0].tolist() == [120] * 3
    assert shelf[0, 0].tolist() == [20] * 3


# ----------------------------------------------------------------------- displays


def test_displays_are_grids_or_free_with_the_boxes_of_the_table(stimuli):
    displays = shelf_displays(stimuli, appearance=None)
    assert [d.stimulus_id for d in displays] == stimuli.table["stimulus_id"].tolist()
    for (_, row), display in zip(stimuli.table.iterrows(), displays, strict=True):
        boxes = _boxes(row)
        assert (display.centres_px == (boxes[:, :2] + boxes[:, 2:]) / 2).all()
        assert (display.width_px, display.height_px) == (400, 300)
        if row["layout"] == "grid":
            assert isinstance(display, ObjectDisplay)
            assert (display.rows, display.cols) == (row["rows"], row["cols"])
            # A cover lies in the cell that a gaze on it is counted for.
            assert (display.boxes_px[:, :2] <= boxes[:, :2]).all()
            assert (display.boxes_px[:, 2:] >= boxes[:, 2:]).all()
        else:
            assert isinstance(display, FreeDisplay)
            assert (display.boxes_px == boxes).all()


def test_rows_of_a_shelf_share_their_appearance_and_equal_the_single_ones(stimuli):
    displays = shelf_displays(stimuli, size_px=(10, 16))
    for k in range(0, len(displays), 2):
        assert displays[k].appearance is displays[k + 1].appearance
    for (_, row), display in zip(stimuli.table.iterrows(), displays, strict=True):
        alone = shelf_display(row, size_px=(10, 16))
        assert alone.fingerprint == display.fingerprint
        assert shelf_display(dict(row), size_px=(10, 16)).fingerprint == (
            display.fingerprint
        )


def test_a_saved_set_is_drawn_and_displayed_from_its_table(stimuli, tmp_path):
    loaded = load_stimuli(save_stimuli(stimuli, tmp_path / "set"), verify=True)
    assert loaded.fingerprint == stimuli.fingerprint
    row = loaded.table.iloc[1]
    assert (draw_shelf(row) == stimuli.load(1)).all()
    for one, other in zip(
        shelf_displays(loaded, size_px=(10, 16)),
        shelf_displays(stimuli, size_px=(10, 16)),
        strict=True,
    ):
        assert one.fingerprint == other.fingerprint


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_shelves": 0}, "n_shelves"),
        ({"rows": (5, 3)}, r"`rows` must run from the lowest .* Swap the two"),
        ({"cols": (9, 8)}, "`cols` must run"),
        ({"cols": (7, 8, 9)}, "`cols` must be a whole number or a pair"),
        ({"cols": "7"}, "must be a number; got str"),
        ({"rows": 0}, r"within \[1"),
        ({"facings": (0, 2)}, "`facings`"),
        ({"targets_per_shelf": 0}, "targets_per_shelf"),
        ({"rows": (1, 3), "cols": (3, 9)}, "smallest shelf has 1 x 3 objects"),
        ({"n_products": 4}, "at least 5, one for each of 4 targets"),
        ({"layout": "gird"}, "Did you mean 'grid'"),
        ({"size_px": (100, 1050)}, "grid layout: covers could have less than 8 px"),
        ({"size_px": (1680, 60)}, "too small for 6 `rows`"),
        ({"layout": "free", "cols": (7, 90)}, "in the free layout"),
        ({"seed": -1}, "seed"),
        ({"px_per_deg": 0}, "px_per_deg"),
        ({"background": 256}, "background"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_shelves(**options)


def test_as_many_products_as_targets_are_enough_for_a_shelf_of_targets():
    made = make_shelves(2, rows=1, cols=3, targets_per_shelf=3, n_products=3)
    assert sorted(_products(made.table.iloc[0]).tolist()) == [0, 1, 2]


def test_wrong_displays_are_refused():
    made = make_shelves(1, **SMALL)
    row = made.table.iloc[0]
    with pytest.raises(ValueError, match="Did you mean 'pictures'"):
        shelf_display(row, appearance="picture")
    with pytest.raises(ValueError, match="`appearance` must be one of"):
        shelf_displays(made, appearance="none")
    with pytest.raises(ValueError, match="`size_px` must be two"):
        shelf_display(row, size_px=93)
    with pytest.raises(ValueError, match="`row` lacks the columns"):
        draw_shelf(row.drop("boxes"))
    with pytest.raises(ValueError, match="`row` lacks the columns"):
        shelf_display(dict(row.drop("products")))
