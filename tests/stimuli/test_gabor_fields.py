"""Gabor patches and contours among them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli.gabor_fields import (
    contour_display,
    draw_contour_field,
    make_contour_fields,
    place_contour_field,
)
from stimuli.gabors import draw_gabors


def distances(field):
    places = np.column_stack([field.x_deg, field.y_deg])
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    apart[np.diag_indices(len(places))] = np.inf
    return apart


# ---------------------------------------------------------------------- patches


@settings(max_examples=20)
@given(
    st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 180), st.floats(0, 360),
    st.floats(0, 1), st.sampled_from([16.0, 33.0]),
)  # fmt: skip
def test_a_patch_is_its_formula_at_the_centres_of_pixels(x, y, theta, phase, c, px):
    image = draw_gabors(
        x, y, theta, phase_deg=phase, contrast=c, size_deg=4.0, px_per_deg=px
    ).image
    n = round(4 * px)
    for row, column in ((n // 2, n // 2), (n // 3, 2 * n // 3), (n // 2, n // 2 - 3)):
        dx = (column - (n - 1) / 2) / px - x
        dy = ((n - 1) / 2 - row) / px - y
        along = dx * math.cos(math.radians(theta)) + dy * math.sin(math.radians(theta))
        envelope = math.exp(-(dx**2 + dy**2) / (2 * 0.18**2))
        wave = math.cos(2 * math.pi * along / 0.25 + math.radians(phase))
        assert image[row, column] == pytest.approx(
            0.5 * (1 + c * envelope * wave), abs=2e-4
        )


def test_orientation_0_has_vertical_bars_and_wavelength_is_in_degrees():
    image = draw_gabors(0.0, 0.0, 0.0, sigma_deg=2.0, size_deg=2.0, px_per_deg=64).image
    np.testing.assert_allclose(image[10], image[-11], atol=1e-9)  # a mirror
    row = image[64] - 0.5
    crossings = np.flatnonzero(np.diff(np.sign(row)) != 0)
    assert np.diff(crossings).mean() * 2 / 64 == pytest.approx(0.25, rel=0.02)


def test_patches_add():
    both = draw_gabors([-1.0, 1.0], [0.0, 0.0], [0.0, 90.0]).image
    first = draw_gabors(-1.0, 0.0, 0.0).image
    second = draw_gabors(1.0, 0.0, 90.0).image
    np.testing.assert_allclose(both, first + second - 0.5, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"px_per_deg": 6}, "2 at least"),
        ({"contrast": 1.5}, "contrast"),
        ({"theta_deg": [0.0, 1.0]}, "theta_deg"),
        ({"sigma_deg": 0}, "sigma_deg"),
    ],
)
def test_a_faulty_patch_is_told(change, message):
    with pytest.raises(ValueError, match=message):
        draw_gabors(**({"x_deg": 0.0, "y_deg": 0.0} | change))


# ----------------------------------------------------------------------- fields


@pytest.mark.parametrize("angle", [0.0, 30.0, 75.0])
@pytest.mark.parametrize("grid", [8, 16])
def test_a_field_has_all_patches_and_none_overlap(angle, grid):
    for seed in range(3):
        field = place_contour_field(
            grid=grid, path_length=3 * grid // 4, path_angle_deg=angle, seed=seed
        )
        assert len(field.x_deg) == grid**2
        assert field.on_path.sum() == 3 * grid // 4
        assert distances(field).min() >= 0.65 - 1e-9
        assert max(np.abs(field.x_deg).max(), np.abs(field.y_deg).max()) <= grid / 2


@pytest.mark.parametrize("angle", [0.0, 15.0, 45.0, 75.0])
def test_directions_along_the_path_change_by_the_path_angle(angle):
    field = place_contour_field(path_angle_deg=angle, seed=5)
    x, y = field.x_deg[field.on_path], field.y_deg[field.on_path]
    steps = np.hypot(np.diff(x), np.diff(y))
    np.testing.assert_allclose(steps, 1.0, atol=1e-6)
    bars = (field.theta_deg[field.on_path] + 90) % 180
    change = np.abs((np.diff(bars) + 90) % 180 - 90)
    np.testing.assert_allclose(change, angle, atol=1e-4)
    # A step lies half-way between the directions of its two patches.
    ways = np.degrees(np.arctan2(np.diff(y), np.diff(x)))
    apart = np.abs((ways - bars[:-1] + 90) % 180 - 90)
    np.testing.assert_allclose(apart, angle / 2, atol=1e-4)


def test_a_closed_contour_is_a_ring_with_tangential_patches():
    field = place_contour_field(closed=True, seed=2)
    x, y = field.x_deg[field.on_path], field.y_deg[field.on_path]
    cx, cy = x.mean(), y.mean()
    radius = np.hypot(x - cx, y - cy)
    np.testing.assert_allclose(radius, 1 / (2 * math.sin(math.pi / 12)), rtol=1e-6)
    outward = np.degrees(np.arctan2(y - cy, x - cx))
    apart = (outward - field.theta_deg[field.on_path] + 90) % 180 - 90
    np.testing.assert_allclose(apart, 0, atol=1e-4)


def test_a_control_has_the_same_places_and_background():
    there, gone = (place_contour_field(present=p, seed=4) for p in (True, False))
    for name in ("x_deg", "y_deg", "phase_deg", "on_path"):
        np.testing.assert_array_equal(getattr(there, name), getattr(gone, name))
    off = ~there.on_path
    np.testing.assert_array_equal(there.theta_deg[off], gone.theta_deg[off])
    assert (there.theta_deg[~off] != gone.theta_deg[~off]).all()


def test_orientation_jitter_turns_patches_no_further():
    exact, loose = (
        place_contour_field(orientation_jitter_deg=j, seed=1) for j in (0.0, 20.0)
    )
    apart = (exact.theta_deg - loose.theta_deg + 90) % 180 - 90
    assert 5 < np.abs(apart[exact.on_path]).max() <= 20


def test_pairs_are_matched_in_luminance_and_contrast_and_are_reproducible():
    make = {"path_angles_deg": (15.0,), "n_fields": 2, "grid": 8, "path_length": 6}
    first, again, other = (make_contour_fields(**make, seed=s) for s in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    for pair in range(2):
        images = [contour_display(first.table.iloc[2 * pair + k]).image for k in (0, 1)]
        means, spreads = ([f(i) for i in images] for f in (np.mean, np.std))
        assert means[0] == pytest.approx(means[1], abs=1e-3)
        assert spreads[0] == pytest.approx(spreads[1], rel=0.03)
        assert images[0].mean() == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("px_per_deg", [16.0, 30.0])
def test_the_mask_of_the_path_is_in_degrees(px_per_deg):
    display = draw_contour_field(
        grid=8, path_length=6, path_angle_deg=0, px_per_deg=px_per_deg
    )
    area = display.masks["path"].sum() / px_per_deg**2
    assert area == pytest.approx(6 * math.pi * 0.36**2, rel=0.03)
    assert display.size_deg == (8.0, 8.0)


def test_a_path_without_room_is_told():
    with pytest.raises(ValueError, match="No room"):
        place_contour_field(grid=6, path_length=30, path_angle_deg=0)
    with pytest.raises(ValueError, match="min_distance_deg"):
        place_contour_field(min_distance_deg=0.9)
