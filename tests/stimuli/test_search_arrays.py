"""Conditions, layouts and displays of the search-asymmetry experiments."""

import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

from stimuli.search_arrays import (
    SEARCH_CONDITIONS,
    draw_search_array,
    draw_target,
    item_areas,
    make_search_arrays,
    target_area,
)
from stimuli.search_items import draw_item

# name: experiment, paradigm, label, set sizes, trials, saccades, ground, side, item.
PUBLISHED = {
    "curve_in_lines": (1, "curvature", "Curve", (8, 16, 32), 30, 37, 0, 339, 48),
    "line_in_curves": (1, "curvature", "Line", (8, 16, 32), 30, 37, 0, 339, 48),
    "top_down": (2, "lightning_dir", "Vertical", (1, 6, 12), 30, 17, 27, 198, 31),
    "left_right": (2, "lightning_dir", "Horizontal", (1, 6, 12), 30, 17, 27, 198, 31),
    "non_cross": (
        3,
        "intersection",
        "No Intersection",
        (3, 6, 9),
        36,
        10,
        255,
        615,
        177,
    ),
    "cross": (3, "intersection", "Cross", (3, 6, 9), 36, 10, 255, 615, 177),
    "Ts": (4, "intersection", "T", (3, 6, 9), 36, 10, 255, 615, 177),
    "Ls": (4, "intersection", "L", (3, 6, 9), 36, 10, 255, 615, 177),
    "homo_t20": (
        5,
        "categorization",
        "T: 20 (homo)",
        (1, 4, 8, 12),
        30,
        17,
        255,
        339,
        69,
    ),
    "homo_t0": (
        5,
        "categorization",
        "T: 0 (homo)",
        (1, 4, 8, 12),
        30,
        17,
        255,
        339,
        69,
    ),
    "hetero_t0": (
        6,
        "categorization",
        "T: 0 (hetero)",
        (1, 4, 8, 12),
        30,
        17,
        255,
        339,
        69,
    ),
    "hetero_t20": (
        6,
        "categorization",
        "T: 20 (hetero)",
        (1, 4, 8, 12),
        30,
        17,
        255,
        339,
        69,
    ),
}
# paradigm: view, grid, cell, jitter.
GRIDS = {
    "categorization": (11.3, 4, 84, 15),
    "curvature": (11.3, 6, 56, 8),
    "intersection": (20.5, 3, 205, 27),
    "lightning_dir": (6.6, 4, 49, 18),
}


@pytest.fixture(scope="module")
def published():
    """All displays as published: 1272 of seed 0."""
    return make_search_arrays()


# -------------------------------------------------------------------- conditions


def test_conditions_have_the_published_constants():
    assert list(SEARCH_CONDITIONS) == list(PUBLISHED)
    for name, condition in SEARCH_CONDITIONS.items():
        c = condition
        assert c.name == name
        assert PUBLISHED[name] == (
            c.experiment,
            c.paradigm,
            c.label,
            c.set_sizes,
            c.trials,
            c.max_saccades,
            c.background,
            c.size_px,
            c.item_px,
        )
        assert GRIDS[c.paradigm] == (c.view_deg, c.grid, c.cell_px, c.jitter_px)


def test_second_condition_of_each_experiment_is_the_harder_one():
    pairs = {}
    for condition in SEARCH_CONDITIONS.values():
        pairs.setdefault(condition.experiment, []).append(condition.harder_for_humans)
    assert pairs == {n: [False, True] for n in range(1, 7)}


def test_conditions_cannot_be_changed():
    with pytest.raises(TypeError):
        SEARCH_CONDITIONS["cross"] = SEARCH_CONDITIONS["Ts"]


# --------------------------------------------------------------------------- table


def test_target_position_is_given_in_degrees_with_y_up(published):
    for row in published.table.iloc[::100].to_dict("records"):
        x = row["target_left_px"] + row["target_width_px"] / 2
        y = row["target_top_px"] + row["target_height_px"] / 2
        assert row["target_x_deg"] == pytest.approx((x - row["width_px"] / 2) / 30)
        assert row["target_y_deg"] == pytest.approx((row["height_px"] / 2 - y) / 30)
        assert row["width_deg"] == pytest.approx(row["width_px"] / 30)


def test_degrees_do_not_depend_on_the_resolution():
    coarse, fine = (
        make_search_arrays(
            "cross",
            set_sizes=[6],
            trials=10,
            rendering="smooth",
            px_per_deg=px_per_deg,
            jitter_deg=0,
        ).table
        for px_per_deg in (30, 90)
    )
    for column in ("target_x_deg", "target_y_deg", "width_deg", "item_deg"):
        np.testing.assert_allclose(coarse[column], fine[column], atol=1 / 30)


def test_viewing_is_that_of_the_largest_display(published):
    viewing = published.viewing
    assert (viewing.px_per_deg, viewing.width_px, viewing.height_px) == (30, 615, 615)
    assert viewing.background == 255
    small = make_search_arrays("left_right", trials=1).viewing
    assert (small.width_px, small.background) == (198, 27)


def test_background_of_a_coloured_display_is_its_luma():
    stimuli = make_search_arrays(
        "Ts",
        set_sizes=[3],
        trials=1,
        rendering="smooth",
        foreground=(0, 0, 255),
        background=(255, 0, 0),
    )
    row = stimuli.table.iloc[0]
    assert (row["background"], row["background_rgb"]) == (76, "#ff0000")
    assert stimuli.load(0)[0, 0].tolist() == [255, 0, 0]
    colours = np.unique(stimuli.load(0).reshape(-1, 3), axis=0)
    assert colours[:, 1].max() == 0
    assert [0, 0, 255] in colours.tolist()


# ------------------------------------------------------------------------ pictures


def composed(row):
    """The display by hand: grey ground, items pasted in order."""
    side = PUBLISHED[row["condition"]][7]
    canvas = np.full((side, side), PUBLISHED[row["condition"]][6], np.uint8)
    for item in json.loads(row["items"]):
        picture = draw_item(item["kind"], item["version"])[..., 0]
        size = picture.shape[0]
        canvas[item["top"] : item["top"] + size, item["left"] : item["left"] + size] = (
            picture
        )
    return canvas


@pytest.mark.parametrize("name", SEARCH_CONDITIONS)
def test_display_is_the_ground_with_the_items_pasted(name):
    stimuli = make_search_arrays(name, trials=2, seed=5)
    for i, row in enumerate(stimuli.table.to_dict("records")):
        display = stimuli.load(i)
        assert (display == composed(row)[..., None]).all()
        target = draw_item(row["target_kind"], row["target_version"])
        assert np.array_equal(stimuli.targets[i], target)
        top, left = row["target_top_px"], row["target_left_px"]
        size = row["target_height_px"]
        assert np.array_equal(display[top : top + size, left : left + size], target)


@pytest.mark.parametrize("name", SEARCH_CONDITIONS)
def test_jpeg_equals_opencv_at_quality_95(name):
    plain = make_search_arrays(name, trials=1, seed=9)
    jpeg = make_search_arrays(name, trials=1, seed=9, jpeg=True)
    for before, after in (
        (plain.load(0), jpeg.load(0)),
        (plain.load(2), jpeg.load(2)),
        (plain.targets[2], jpeg.targets[2]),
    ):
        _, data = cv2.imencode(".jpg", before[..., 0], [cv2.IMWRITE_JPEG_QUALITY, 95])
        expected = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        assert after.shape == before.shape
        assert (after != expected[..., None]).sum() == 0


def test_lighting_target_is_bright_on_top_among_bright_bottoms():
    stimuli = make_search_arrays("top_down", set_sizes=[6], trials=3)
    for i, row in enumerate(stimuli.table.to_dict("records")):
        display = stimuli.load(i)[..., 0].astype(float)
        for item in json.loads(row["items"]):
            middle = item["left"] + 15
            upper = display[item["top"] + 5, middle]
            lower = display[item["top"] + 25, middle]
            assert (upper > lower) == (item["role"] == "target")


def test_a_row_alone_redraws_display_and_target():
    for options in (
        {},
        {"jpeg": True},
        {"rendering": "smooth", "px_per_deg": 21.7},
        {
            "rendering": "smooth",
            "view_deg": 12,
            "eccentricity_deg": 4,
            "item_deg": 1.1,
            "jitter_deg": 0.1,
            "foreground": (250, 180, 0),
            "background": 60,
        },
    ):
        stimuli = make_search_arrays(
            ["curve_in_lines", "top_down"], set_sizes=[8], trials=2, **options
        )
        text = stimuli.table.to_csv(index=False)
        for i, row in pd.read_csv(io.StringIO(text)).iterrows():
            assert np.array_equal(draw_search_array(row), stimuli.load(i))
            assert np.array_equal(draw_target(row), stimuli.targets[i])
            assert np.array_equal(target_area(row), target_area(stimuli.table.iloc[i]))
            assert np.array_equal(item_areas(row), item_areas(stimuli.table.iloc[i]))


def test_larger_items_of_a_free_layout_have_their_area_in_degrees():
    for px_per_deg in (17.3, 40):
        stimuli = make_search_arrays(
            "homo_t0",
            set_sizes=[4],
            trials=1,
            rendering="smooth",
            view_deg=20,
            item_deg=4.6,
            px_per_deg=px_per_deg,
        )
        dark = (255 - stimuli.load(0)[..., 0].astype(float)).sum() / 255
        # Twice the published bars of 0.3 by 2 degrees.
        assert dark / px_per_deg**2 == pytest.approx(4 * 0.6 * 4, rel=0.005)


def test_fingerprints_are_frozen():
    options = {"conditions": "all", "set_sizes": [3, 8], "trials": 1, "seed": 12}
    published = make_search_arrays(**options)
    smooth = make_search_arrays(**options, rendering="smooth", px_per_deg=20)
    ring = make_search_arrays(
        ["cross", "left_right"],
        set_sizes=[5],
        trials=2,
        rendering="smooth",
        view_deg=15,
        item_deg=2,
        eccentricity_deg=5,
        foreground=(255, 255, 0),
        background=(0, 0, 90),
    )
    fingerprints = [s.fingerprint[:16] for s in (published, smooth, ring)]
    assert fingerprints == ["5bf551e34d54457e", "27b96db12530a661", "4e79de5755b6e789"]


# -------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditions": "line_in_curve"}, "Did you mean 'line_in_curves'"),
        ({"conditions": []}, "`conditions` is empty"),
        ({"conditions": ["Ts", "Ts"]}, "names 'Ts' more than once"),
        ({"set_sizes": [40]}, "has 40, but a grid of 6 x 6 has 36 cells"),
        ({"set_sizes": []}, "at least one size"),
        ({"set_sizes": [3, 3]}, "none twice"),
        ({"set_sizes": [0]}, "`set_sizes` must be within"),
        ({"set_sizes": [2.5]}, "whole number"),
        ({"trials": 0}, "`trials` must be within"),
        ({"seed": -1}, "`seed` must be within"),
        ({"rendering": "smoth"}, "Did you mean 'smooth'"),
        ({"px_per_deg": 60}, "fixed `px_per_deg`. Use `rendering='smooth'`"),
        ({"item_deg": 1, "background": 0}, "fixed `item_deg`, `background`"),
        ({"rendering": "smooth", "item_deg": 3}, "no room for items of 3 deg"),
        ({"rendering": "smooth", "jitter_deg": 1}, "jitter of 1 deg"),
        ({"rendering": "smooth", "background": 255}, "nothing would be visible"),
        ({"rendering": "smooth", "background": (1, 2)}, "three RGB levels"),
        ({"rendering": "smooth", "foreground": 256}, "`foreground` must be within"),
        (
            {"rendering": "smooth", "foreground": (9, 0, 0), "jpeg": True},
            "grey pictures",
        ),
        ({"rendering": "smooth", "px_per_deg": 0.5}, "`px_per_deg` must be within"),
        ({"rendering": "smooth", "item_deg": 0.02}, "at least 2 are needed"),
        (
            {"rendering": "smooth", "grid": 2, "eccentricity_deg": 3},
            "exclude each other",
        ),
        ({"rendering": "smooth", "eccentricity_deg": 6}, "`eccentricity_deg` must be"),
        ({"rendering": "smooth", "eccentricity_deg": 4}, "could touch on a ring"),
        (
            {"rendering": "smooth", "eccentricity_deg": 1, "item_deg": 12},
            "does not fit into a display of 11.3 deg",
        ),
    ],
)
def test_wrong_arguments_say_what_to_do(options, message):
    options = {"conditions": "curve_in_lines"} | options
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make_search_arrays(**options)


def test_set_sizes_must_be_a_sequence():
    with pytest.raises(TypeError, match=r"such as \[8, 16\]; got 8"):
        make_search_arrays("Ts", set_sizes=8)


def test_suggested_eccentricity_is_enough():
    options = {
        "conditions": "homo_t0",
        "set_sizes": [10],
        "trials": 1,
        "rendering": "smooth",
        "view_deg": 40,
    }
    with pytest.raises(ValueError, match="could touch") as caught:
        make_search_arrays(**options, eccentricity_deg=3)
    suggested = float(str(caught.value).split(">= ")[1].split(",")[0])
    assert len(make_search_arrays(**options, eccentricity_deg=suggested)) == 1


def test_stimuli_do_not_import_torch():
    code = (
        "import sys, stimuli.search_arrays, stimuli.save, stimuli.export\n"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
