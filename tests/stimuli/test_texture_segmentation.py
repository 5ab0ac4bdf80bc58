"""Textures differ where they should, and their elements never touch."""

import math

import numpy as np
import pytest
from scipy import ndimage

from stimuli.texture_segmentation import ANSWERS, draw_texture, make_textures


@pytest.mark.parametrize(
    ("element", "inner"), [("L", "+"), ("T", "L"), ("L", "X"), ("bar", "bar")]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_two_elements_touch(element, inner, seed):
    display = draw_texture(
        element=element, region_element=inner, n_cells=10, px_per_deg=60,
        region_column=3, region_row=1, seed=seed,
    )  # fmt: skip
    ink = display.image < 0.5 - 1e-9
    # Also diagonal neighbours count as touching.
    _, n = ndimage.label(ink, np.ones((3, 3)))
    assert n == 100
    edges = [ink[0], ink[-1], ink[:, 0], ink[:, -1]]
    assert not np.concatenate(edges).any()


@pytest.mark.parametrize("px_per_deg", [20.0, 32.0, 47.3])
def test_the_area_has_its_size_at_any_scale(px_per_deg):
    display = draw_texture(px_per_deg=px_per_deg, region_columns=4, region_rows=8)
    rows, columns = (np.flatnonzero(display.masks["region"].any(k)) for k in (1, 0))
    assert abs(len(columns) - 4 * 0.7 * px_per_deg) <= 1
    assert abs(len(rows) - 8 * 0.7 * px_per_deg) <= 1
    assert abs(display.image.shape[0] - 14 * 0.7 * px_per_deg) <= 0.5


def test_elements_have_the_length_and_thickness_of_their_strokes():
    display = draw_texture(
        element="bar", region_element="bar", orientation_deg=0.0, px_per_deg=100,
        jitter_deg=0.0, n_cells=4, region_columns=0, region_rows=0, region_column=0,
        region_row=0,
    )  # fmt: skip
    ink = (0.5 - display.image).sum() / 0.5 / 100**2
    assert ink == pytest.approx(16 * 0.45 * 0.05, rel=1e-6)  # half a line more per end
    assert not display.masks["region"].any()


def test_shifts_are_within_the_jitter_and_spread_over_it():
    display = draw_texture(n_cells=20, region_column=8, region_row=6, seed=2)
    centres = (np.arange(20) - 9.5) * 0.7
    x = display.geometry["x_deg"].reshape(20, 20) - centres
    y = display.geometry["y_deg"].reshape(20, 20) + centres[:, None]
    for shifts in (x, y):
        assert np.abs(shifts).max() <= 0.15
        assert np.abs(shifts).max() > 0.14


def test_bars_inside_are_turned_by_the_difference():
    display = draw_texture(
        element="bar", region_element="bar", orientation_deg=30.0,
        orientation_difference_deg=40.0, n_cells=12, region_column=4, region_row=2,
    )  # fmt: skip
    inside = display.geometry["inside"]
    np.testing.assert_allclose(display.geometry["angle_deg"][inside], 70.0)
    np.testing.assert_allclose(display.geometry["angle_deg"][~inside], 30.0)
    assert inside.sum() == 32


def test_noise_of_orientation_has_the_spread_that_is_asked_for():
    display = draw_texture(
        element="bar", region_element="bar", orientation_deg=0.0,
        orientation_sd_deg=10.0, n_cells=25, cell_deg=1.0,
    )  # fmt: skip
    angles = display.geometry["angle_deg"]
    assert abs(angles.std() - 10) < 3 * 10 / math.sqrt(2 * len(angles))
    assert abs(angles.mean()) < 3 * 10 / math.sqrt(len(angles))


@pytest.mark.parametrize("task", ["orientation", "location"])
def test_answers_tell_where_the_area_is(task):
    stimuli = make_textures([("L", "+")], task=task, repeats=2)
    assert set(stimuli.table["answer"]) == set(ANSWERS[task])
    middle = 7 * 0.7
    for row in stimuli.table.to_dict("records"):
        columns, rows = row["region_columns"], row["region_rows"]
        if task == "orientation":
            assert (rows > columns) == (row["answer"] == "vertical")
            assert abs(row["region_column"] + columns / 2 - 7) <= 0.5
        else:
            x = (row["region_column"] + columns / 2) * 0.7 - middle
            y = middle - (row["region_row"] + rows / 2) * 0.7
            assert (x < 0) == row["answer"].endswith("left")
            assert (y > 0) == row["answer"].startswith("upper")


def test_the_same_seed_gives_the_same_bytes_and_another_other_ones():
    one, again, other = (
        make_textures([("L", "+")], n_cells=10, seed=seed) for seed in (3, 3, 4)
    )
    assert one.load(0).tobytes() == again.load(0).tobytes()
    assert one.load(0).tobytes() != other.load(0).tobytes()
    # A picture does not depend on what else is made.
    more = make_textures([("T", "L"), ("L", "+")], n_cells=10, seed=3)
    assert more.load(2).tobytes() == one.load(0).tobytes()


def test_conditions_of_bars_are_all_combinations():
    table = make_textures(
        [("bar", "bar")], orientation_differences_deg=[10, 30],
        orientation_sds_deg=[0, 20], repeats=2,
    ).table  # fmt: skip
    assert len(table) == 2 * 2 * 2 * 2
    assert set(table["condition"]) == {
        f"bar_in_bar_d{d}_sd{s}" for d in (10, 30) for s in (0, 20)
    }
    assert table["stimulus_id"].is_unique


def test_what_cannot_be_is_refused_before_anything_is_drawn():
    with pytest.raises(ValueError, match=r"`pairs` must be one of .*got 'l'"):
        make_textures([("l", "+")])
    with pytest.raises(ValueError, match=r"leaves the grid of 6 x 6. Use a larger"):
        make_textures([("L", "+")], n_cells=6)
    with pytest.raises(ValueError, match="Elements touch each other"):
        draw_texture(length_deg=1.2, n_cells=4, region_columns=1, region_rows=1,
                     region_column=0, region_row=0)  # fmt: skip
    with pytest.raises(ValueError, match="`orientation_sd_deg` must be within"):
        draw_texture(orientation_sd_deg=-1.0)
