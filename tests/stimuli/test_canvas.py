"""Coverage against exact areas in fractions; invariances of the fill."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli.canvas import (
    FULL_COVERAGE,
    arc_outline,
    arc_points,
    cos_sin,
    disk_outline,
    paint,
    polygon_coverage,
    rectangle_outline,
    rotate_outline,
)

SIDE = 8
coordinate = st.floats(-2, SIDE + 2, allow_nan=False)
triangle = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=3)


def clipped_area(polygon, left, top):
    """Area of a polygon inside one pixel, by exact clipping at its four sides."""
    sides = [(0, left, 1), (0, left + 1, -1), (1, top, 1), (1, top + 1, -1)]
    for axis, limit, sign in sides:
        kept = []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            da, db = sign * (a[axis] - limit), sign * (b[axis] - limit)
            if da >= 0:
                kept.append(a)
            if da * db < 0:
                t = da / (da - db)
                kept.append(tuple(p + t * (q - p) for p, q in zip(a, b, strict=True)))
        polygon = kept
        if not polygon:
            return Fraction(0)
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in pairs)) / 2


def exact_coverage(outline):
    points = [(Fraction(float(x)), Fraction(float(y))) for x, y in outline]
    return np.array(
        [[float(clipped_area(points, x, y)) for x in range(SIDE)] for y in range(SIDE)]
    )


@settings(max_examples=60, deadline=None)
@given(triangle)
def test_coverage_of_a_triangle_is_its_exact_area_in_each_pixel(points):
    outline = np.array(points)
    coverage = polygon_coverage(outline, SIDE, SIDE) / FULL_COVERAGE
    assert np.abs(coverage - exact_coverage(outline)).max() < 0.01


def test_coverage_of_a_concave_outline_is_exact_on_the_grid():
    chevron = np.array([[1, 1], [7, 4], [1, 7], [3, 4]], float)
    coverage = polygon_coverage(chevron, SIDE, SIDE) / FULL_COVERAGE
    np.testing.assert_allclose(coverage, exact_coverage(chevron), atol=0.002)


@given(triangle, st.integers(-3, 3), st.integers(-3, 3))
def test_whole_pixel_shifts_move_the_coverage(points, right, down):
    outline = np.round(np.array(points) * 64) / 64
    there = polygon_coverage(outline + 4, SIDE + 8, SIDE + 8)
    moved = polygon_coverage(outline + 4 + (right, down), SIDE + 8, SIDE + 8)
    expected = np.roll(there, (down, right), axis=(0, 1))
    inner = slice(4, SIDE + 4)
    assert np.array_equal(moved[inner, inner], expected[inner, inner])


@given(triangle)
def test_order_of_corners_does_not_matter(points):
    outline = np.array(points)
    forward = polygon_coverage(outline, SIDE, SIDE)
    assert np.array_equal(forward, polygon_coverage(outline[::-1], SIDE, SIDE))
    assert np.array_equal(forward, polygon_coverage(outline[[1, 2, 0]], SIDE, SIDE))


@given(triangle)
def test_canvas_cuts_off_what_lies_outside(points):
    outline = np.array(points)
    whole = polygon_coverage(outline + 4, SIDE + 8, SIDE + 8)
    part = polygon_coverage(outline, SIDE, SIDE)
    assert np.array_equal(part, whole[4 : SIDE + 4, 4 : SIDE + 4])


@given(st.floats(1, 7))
def test_two_parts_with_a_common_edge_add_up_exactly(cut):
    whole = polygon_coverage(rectangle_outline(0.3, 1, 7.6, 6.2), SIDE, SIDE)
    left = polygon_coverage(rectangle_outline(0.3, 1, cut, 6.2), SIDE, SIDE)
    right = polygon_coverage(rectangle_outline(cut, 1, 7.6, 6.2), SIDE, SIDE)
    assert np.array_equal(left + right, whole)


@pytest.mark.parametrize("radius", [0.7, 3, 11.25, 19.9])
def test_disk_has_the_area_of_a_circle(radius):
    coverage = polygon_coverage(disk_outline(20, 20, radius), 40, 40)
    area = coverage.sum() / FULL_COVERAGE
    assert area == pytest.approx(math.pi * radius**2, abs=0.005 * 2 * math.pi * radius)
    assert coverage.max() == FULL_COVERAGE or radius < 1


def test_arc_has_the_area_of_a_band_with_two_half_disks():
    outline = arc_outline(20, 5, 15, 4, -120, -60)
    area = polygon_coverage(outline, 30, 40).sum() / FULL_COVERAGE
    expected = math.radians(60) * 15 * 4 + math.pi * 2**2
    assert area == pytest.approx(expected, rel=2e-3)


def test_arc_angles_run_counter_clockwise_as_seen():
    points = arc_points(0, 0, 1, 0, 90)
    assert points[0].tolist() == [1, 0]
    assert points[-1].tolist() == [0, -1]
    assert (points[1:-1, 1] < 0).all()


def test_rotation_by_ninety_degrees_turns_right_to_up():
    turned = rotate_outline(np.array([[3.0, 1.0]]), 90, 1, 1)
    assert turned.tolist() == [[1, -1]]


@given(st.floats(-720, 720))
def test_cos_sin_are_multiples_of_two_to_the_minus_30(angle):
    for value, exact in zip(
        cos_sin(angle),
        (math.cos(math.radians(angle)), math.sin(math.radians(angle))),
        strict=True,
    ):
        assert value == pytest.approx(exact, abs=2**-31)
        assert (value * 2**30).is_integer()


def test_paint_mixes_and_rounds_to_the_nearest_level():
    canvas = np.full((1, 3, 3), 10, np.uint8)
    coverage = np.array([[0, FULL_COVERAGE // 4, FULL_COVERAGE]])
    painted = paint(canvas, coverage, np.array([255, 10, 0]))
    assert painted.tolist() == [[[10, 10, 10], [71, 10, 8], [255, 10, 0]]]
    assert canvas.max() == 10
