"""Displays in degrees: sizes, luminances, 8 bits, sets."""

import math

import numpy as np
import pandas as pd
import pytest

from stimuli.display import (
    Display,
    coverage,
    display_set,
    fill,
    ground,
    lay,
    pixel_centres,
    size_px,
    stroke,
    stroke_coverage,
    to_8_bit,
)
from stimuli.outlines import disc, rectangle, regular_polygon, sector, turn


def area_of(outline):
    """Area of a polygon by the shoelace formula."""
    x, y = outline.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@pytest.mark.parametrize("px_per_deg", [7.3, 16, 32, 55.5])
@pytest.mark.parametrize(
    "outline",
    [
        disc(1.2, x_deg=0.3, y_deg=-0.4),
        rectangle(2.0, 0.25, angle_deg=30, x_deg=-1),
        sector(1.0, 45, 315),
        regular_polygon(5, 1.5, inner_radius_deg=0.7, angle_deg=11),
    ],
    ids=["disc", "bar", "pacman", "star"],
)
def test_area_in_square_degrees_is_the_same_at_any_resolution(outline, px_per_deg):
    cover = coverage(outline, size_px(6, px_per_deg), px_per_deg)
    assert cover.sum() / px_per_deg**2 == pytest.approx(area_of(outline), rel=0.01)


@pytest.mark.parametrize("px_per_deg", [10, 32, 47.7])
def test_extent_in_degrees_is_right_within_one_pixel(px_per_deg):
    cover = coverage(rectangle(3.0, 1.5, x_deg=0.5), size_px(7, px_per_deg), px_per_deg)
    x, y = pixel_centres(cover.shape, px_per_deg)
    columns, rows = np.flatnonzero(cover.any(axis=0)), np.flatnonzero(cover.any(axis=1))
    assert x[0, columns[-1]] - x[0, columns[0]] == pytest.approx(
        3.0, abs=1.001 / px_per_deg
    )
    assert y[rows[0], 0] - y[rows[-1], 0] == pytest.approx(1.5, abs=1.001 / px_per_deg)


def test_up_is_up_and_right_is_right():
    picture = ground(4, 8, 0.0)
    fill(picture, disc(0.4, x_deg=1.0, y_deg=1.5), 1.0, 8)
    row, column = np.unravel_index(np.argmax(picture), picture.shape)
    assert row < picture.shape[0] / 2 < picture.shape[1] * 0.6 < column


def test_centre_of_mass_is_where_it_was_asked_for():
    cover = coverage(disc(0.7, x_deg=0.31, y_deg=-0.83), (224, 224), 32)
    x, y = pixel_centres(cover.shape, 32)
    assert (cover * x).sum() / cover.sum() == pytest.approx(0.31, abs=1e-3)
    assert (cover * y).sum() / cover.sum() == pytest.approx(-0.83, abs=1e-3)


def test_luminance_inside_is_exactly_what_was_asked_for():
    picture = ground(4, 16)
    fill(picture, rectangle(2, 2), 0.75, 16)
    assert picture[32, 32] == 0.75
    assert picture[0, 0] == 0.5
    assert set(np.unique(picture)) == {0.5, 0.75}  # edges fall between pixels


def test_colours_are_laid_channel_by_channel():
    picture = ground(2, 8, (0.1, 0.2, 0.3))
    fill(picture, rectangle(1, 1), (0.9, 0.8, 0.7), 8)
    assert picture[8, 8].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert picture[0, 0].tolist() == [0.1, 0.2, 0.3]


def test_half_covered_pixels_get_the_mean():
    picture = np.zeros((1, 2))
    lay(picture, np.array([[0.5, 1.0]]), 0.8)
    assert picture.tolist() == [[0.4, 0.8]]


def test_straight_stroke_is_a_bar():
    line = stroke_coverage([(-1, 0), (1, 0)], 0.25, (128, 128), 32)
    bar = coverage(rectangle(2, 0.25), (128, 128), 32)
    assert np.array_equal(line, bar)


def test_closed_stroke_encloses_and_does_not_fill():
    cover = stroke_coverage(regular_polygon(4, 1), 0.1, (96, 96), 32, closed=True)
    assert cover[48, 48] == 0
    assert cover.sum() / 32**2 == pytest.approx(4 * math.sqrt(2) * 0.1, rel=0.03)
    again = ground(3, 32)
    stroke(again, regular_polygon(4, 1), 0.1, 0.0, 32, closed=True)
    assert np.allclose(0.5 - again, cover / 2)


def test_a_point_drawn_as_a_stroke_is_a_dot():
    cover = stroke_coverage([(0, 0), (0, 0)], 0.5, (64, 64), 32)
    assert cover.sum() / 32**2 == pytest.approx(math.pi / 16, rel=0.01)


def test_what_lies_beyond_the_picture_is_cut_off():
    assert coverage(disc(1, x_deg=50), (32, 32), 8).sum() == 0
    half = coverage(disc(1, x_deg=2), (32, 32), 8)
    assert half.sum() / 64 == pytest.approx(math.pi / 2, rel=0.01)


def test_turning_keeps_distances_from_the_fixed_point():
    points = turn(rectangle(1, 2), 37, x_deg=0.2, y_deg=0.1)
    before = np.hypot(*(rectangle(1, 2) - (0.2, 0.1)).T)
    assert np.allclose(np.hypot(*(points - (0.2, 0.1)).T), before)


@pytest.mark.parametrize("bad", [-0.01, 1.2, np.nan])
def test_luminance_out_of_range_is_refused_not_clipped(bad):
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        to_8_bit(np.array([[0.5, bad]]))


def test_8_bit_levels_are_rounded_half_up():
    levels = to_8_bit(np.array([[0.0, 0.5, 1.0, 127.4 / 255]]))
    assert levels[0, :, 0].tolist() == [0, 128, 255, 127]


@pytest.mark.parametrize(
    ("size", "px_per_deg", "words"),
    [(0, 32, "size_deg"), (7, 0, "px_per_deg"), (7000, 32, "8192")],
)
def test_sizes_that_make_no_picture_are_refused(size, px_per_deg, words):
    with pytest.raises(ValueError, match=words):
        ground(size, px_per_deg)


def test_a_set_draws_rows_when_they_are_asked_for():
    drawn = []

    def draw(row):
        drawn.append(row["stimulus_id"])
        picture = ground((4, 2), 10)
        fill(picture, disc(row["radius_deg"]), 0.0, 10)
        return Display(picture, 10)

    table = pd.DataFrame({"stimulus_id": ["a", "b"], "radius_deg": [0.2, 0.6]})
    made = display_set("discs", table, draw, size_deg=(4, 2), px_per_deg=10)
    assert drawn == []
    assert made.load(1).shape == (20, 40, 3)
    assert drawn == ["b"]
    assert (made.viewing.width_px, made.viewing.background) == (40, 128)
    assert made.fingerprint == made.select([0, 1]).fingerprint


def test_size_of_a_display_is_in_degrees():
    assert Display(ground((4, 2), 10), 10).size_deg == (4.0, 2.0)
