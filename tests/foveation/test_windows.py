"""Layouts and weights of pooling windows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.core.files import canonical_json
from neurovis.foveation.window_geometry import angle_values, mother_window
from neurovis.foveation.windows import (
    FOVEA_DEG,
    check_fixation,
    fovea_weight,
    freeman_windows,
    inner_weight,
    pixel_polar,
    pooling_windows,
    published_fovea_deg,
    ring_spacing,
    ring_values,
    ring_weights,
    window_matrix,
)


def brute_force(windows):
    """Every window at every pixel, one by one; the fovea is what is left."""
    height, width = windows.shape
    y, x = np.mgrid[:height, :width] + 0.5
    dx, dy = x - windows.fixation_px[0], y - windows.fixation_px[1]
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    maps = []
    for k in windows.rings:
        u = np.log(radius / windows.first_radius_px) / windows.log_spacing - k
        if k == windows.rings[-1]:
            u = np.where(u > 0, 0, u)
        for j in range(windows.n_angles):
            centre = windows.angle_start_rad + 2 * np.pi * j / windows.n_angles
            turn = np.angle(np.exp(1j * (angle - centre)))
            v = turn / (2 * np.pi / windows.n_angles)
            product = np.ones_like(u)
            for part in (u, v):
                flank = np.cos(np.pi * (np.abs(part) - 0.25)) ** 2
                value = np.where(np.abs(part) <= 0.25, 1.0, flank)
                product = product * np.where(np.abs(part) >= 0.75, 0.0, value)
            maps.append(product.ravel())
    maps = np.array(maps).reshape(len(maps), height * width)
    return np.vstack([1 - maps.sum(axis=0), maps])


@pytest.mark.parametrize("layout", [pooling_windows, freeman_windows])
@pytest.mark.parametrize("fixation", [None, (12.3, 31.9)])
def test_the_sparse_matrix_equals_windows_made_one_by_one(layout, fixation):
    windows = layout((40, 56), 0.7, fixation_px=fixation)
    expected = brute_force(windows)
    used = expected.max(axis=1) > 1e-12
    np.testing.assert_array_equal(np.flatnonzero(used), windows.grid_numbers)
    found = window_matrix(windows, np.float64).toarray()
    np.testing.assert_allclose(found, expected[used], atol=1e-12)


def test_windows_of_scale_04_are_those_of_the_published_stimuli():
    windows = pooling_windows((512, 512), 0.4)
    assert windows.n_windows == 187
    np.testing.assert_allclose(
        windows.ring_centres_px, [43.8, 65.1, 96.9, 144.1, 214.5, 319.1], atol=0.05
    )
    assert windows.n_angles == 31
    assert windows.fovea_radius_px == pytest.approx(35.87, abs=0.01)
    assert windows.log_spacing == pytest.approx(0.397380, abs=1e-6)
    assert pooling_windows((512, 512), 0.5).n_windows == 126


def test_half_the_size_has_the_same_windows_at_half_the_radius():
    whole, half = pooling_windows((512, 512), 0.4), pooling_windows((256, 256), 0.4)
    assert half.n_windows == whole.n_windows
    np.testing.assert_allclose(half.ring_centres_px, whole.ring_centres_px / 2)


@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    scale=st.floats(0.15, 2),
    x=st.floats(-0.2, 1.2),
    y=st.floats(-0.2, 1.2),
    transition=st.sampled_from([0.2, 0.5, 1.0]),
)
@settings(max_examples=40)
def test_weights_of_every_pixel_sum_to_one(height, width, scale, x, y, transition):
    windows = pooling_windows(
        (height, width),
        scale,
        fixation_px=(x * width, y * height),
        transition=transition,
    )
    matrix = window_matrix(windows, np.float64)
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=0)), 1, atol=1e-12)
    assert matrix.data.min() > 0
    assert np.diff(matrix.tocsc().indptr).max() <= 4
    assert (np.asarray(matrix.sum(axis=1)) > 0).all()
    total = fovea_weight(windows) + ring_weights(windows).sum(axis=0)
    np.testing.assert_allclose(total, 1, atol=1e-12)


def test_the_fovea_is_exactly_one_inside_and_zero_outside_of_ring_1():
    windows = pooling_windows((256, 256), 0.4)
    radius = pixel_polar(windows)[0].reshape(256, 256)
    weight = fovea_weight(windows)
    inner, outer = (17.935 * np.exp(sign * windows.log_spacing / 4) for sign in (-1, 1))
    assert (weight[radius < inner - 0.01] == 1).all()
    assert (weight[radius > outer + 0.01] == 0).all()
    assert weight[np.abs(radius - 17.935) < 0.3].mean() == pytest.approx(0.5, abs=0.03)
    dense = window_matrix(windows, np.float64)[0].toarray().reshape(256, 256)
    np.testing.assert_array_equal(dense, weight)


def test_the_full_width_of_a_ring_at_half_height_is_scale_times_radius():
    windows = pooling_windows((512, 512), 0.6)
    radius = np.linspace(1, 300, 300_000)
    values = ring_values(windows, radius)
    for i, centre in enumerate(windows.ring_centres_px[:-1]):
        inside = radius[values[:, i] >= 0.5]
        assert np.ptp(inside) == pytest.approx(0.6 * centre, abs=0.01)


def test_sectors_sum_to_one_and_repeat_after_a_turn():
    windows = pooling_windows((64, 64), 0.5)
    angle = np.linspace(-np.pi, np.pi, 1001)
    values = angle_values(windows, angle)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(
        values, angle_values(windows, angle + 2 * np.pi), atol=1e-11
    )
    centre = angle_values(windows, windows.angle_centres_rad)
    np.testing.assert_allclose(np.diag(centre), 1)


@given(shift=st.integers(-9, 9))
@settings(max_examples=10)
def test_moving_fixation_by_whole_pixels_moves_the_windows(shift):
    still = pooling_windows((60, 60), 0.6, fovea_deg=3)
    moved = pooling_windows((60, 60), 0.6, fovea_deg=3, fixation_px=(30 + shift, 30))
    a, b = fovea_weight(still), fovea_weight(moved)
    np.testing.assert_allclose(np.roll(a, shift, 1)[:, 10:-10], b[:, 10:-10], atol=1e-9)


@pytest.mark.parametrize("fixation", [None, (0, 0), (100.5, 7), (200, 40)])
def test_the_last_ring_is_the_last_that_covers_a_pixel_by_half(fixation):
    windows = pooling_windows((96, 160), 0.45, fixation_px=fixation)
    radius = pixel_polar(windows)[0]
    endless = replace(windows, layout="lcv", rings=tuple(range(1, 40)))
    reach = ring_values(endless, radius).max(axis=0)
    # A centre that lies beyond the picture is seen by its rising half only.
    further = ring_values(endless, radius.max()) >= 0.5
    assert windows.rings[-1] == endless.rings[int(np.flatnonzero(further).max())]
    assert reach[windows.rings[-1]] < 0.5


def test_scale_0_is_one_window_with_equal_weights():
    windows = pooling_windows((32, 40), 0)
    assert windows.n_windows == 1
    assert windows.rings == ()
    np.testing.assert_array_equal(window_matrix(windows).toarray(), 1)
    np.testing.assert_array_equal(fovea_weight(windows), 1)


def test_a_fovea_larger_than_the_picture_leaves_no_ring():
    windows = pooling_windows((32, 32), 0.4, fovea_deg=40)
    assert windows.n_windows == 1
    np.testing.assert_array_equal(fovea_weight(windows), 1)


def test_a_fixation_on_a_pixel_centre_is_no_special_case():
    windows = pooling_windows((33, 33), 0.5, fixation_px=(16.5, 16.5))
    assert fovea_weight(windows)[16, 16] == 1
    assert np.isfinite(window_matrix(windows).data).all()


def test_inner_weights_are_one_minus_the_outer_rings():
    windows = pooling_windows((80, 64), 0.4)
    rings = ring_weights(windows)
    for i, k in enumerate(windows.rings):
        expected = 1 - rings[i:].sum(axis=0)
        np.testing.assert_allclose(inner_weight(windows, k), expected, atol=1e-12)


def test_the_mother_window_and_its_translates_sum_to_one():
    x = np.linspace(-0.5, 0.5, 101)
    for transition in (0.1, 0.5, 1.0):
        total = sum(mother_window(x - k, transition) for k in (-1, 0, 1))
        np.testing.assert_allclose(total, 1, atol=1e-12)
    assert ring_spacing(0.5) == pytest.approx(0.494933, abs=1e-6)


def test_identity_is_json_and_tells_windows_apart():
    a, b = pooling_windows((64, 64), 0.4), pooling_windows((64, 64), 0.5)
    assert canonical_json(a.identity) != canonical_json(b.identity)
    assert canonical_json(a.identity) == canonical_json(
        pooling_windows((64, 64), 0.4).identity
    )


def test_weights_stay_as_they_were_when_frozen():
    matrix = window_matrix(pooling_windows((64, 64), 0.4), np.float64)
    assert matrix.nnz == 9170
    found = (matrix @ np.sin(np.arange(4096) + 1.0))[[0, 1, 60, 186]]
    expected = [0.019012452562, 1.624897286168, -1.801243183564, 0.379236674754]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (((64,), 0.4), {}, ValueError, "`shape` must be"),
        (((64, 1), 0.4), {}, ValueError, "`shape`"),
        (((64, 64), -0.1), {}, ValueError, "`scale`"),
        (((64, 64), 2.5), {}, ValueError, "`scale`"),
        (((64, 64), float("nan")), {}, ValueError, "`scale`"),
        (((64, 64), "0.4"), {}, TypeError, "`scale`"),
        (((64, 64), 0.4), {"px_per_deg": 0}, ValueError, "`px_per_deg`"),
        (((64, 64), 0.4), {"fixation_px": 3}, ValueError, "`fixation_px` must be"),
        (((64, 64), 0.4), {"fixation_px": (1, np.nan)}, ValueError, "`fixation_px`"),
        (((64, 64), 0.4), {"fovea_deg": 0}, ValueError, "`fovea_deg`"),
        (((64, 64), 0.4), {"aspect": 0}, ValueError, "`aspect`"),
        (((64, 64), 0.4), {"transition": 0}, ValueError, "`transition`"),
    ],
)
def test_bad_arguments_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        pooling_windows(*arguments, **options)


def test_published_windows_need_a_scale():
    with pytest.raises(ValueError, match="`scale`"):
        freeman_windows((64, 64), 0)


@pytest.mark.parametrize(
    ("scale", "published"),
    [(0.25, 377), (0.3, 301), (0.4, 187), (0.5, 126), (0.6, 103), (0.7, 91)],
)
def test_one_rule_gives_the_published_numbers_of_windows(scale, published):
    windows = pooling_windows((512, 512), scale, fovea_deg=published_fovea_deg(scale))
    entries = windows.entries
    plain = np.bincount(
        entries.window[entries.weight > 0.1], minlength=windows.n_windows
    )
    assert np.count_nonzero(plain >= 140) == published


def test_the_published_fovea_of_scale_04_is_the_default():
    assert published_fovea_deg(0.4) == pytest.approx(FOVEA_DEG, abs=1e-6)
    # Rings of wide windows are never narrower: what is left is the disc inside them.
    first_deg = 6 * 26 / 512
    assert published_fovea_deg(2) == pytest.approx(first_deg * (1 + np.sqrt(2)))


def test_a_fixation_is_two_finite_numbers():
    assert check_fixation(None, (4, 6)) == (3.0, 2.0)
    assert check_fixation(np.array([1, -2]), (4, 6)) == (1.0, -2.0)
    for wrong in (5, "ab", (1, 2, 3), (1, float("nan")), (1, None), [[1, 2]]):
        with pytest.raises(ValueError, match="`fixation_px` must be"):
            check_fixation(wrong, (4, 6))


def test_a_scale_of_endless_windows_is_refused():
    with pytest.raises(ValueError, match="`scale` must be 0 or at least"):
        pooling_windows((64, 64), 1e-9)
    assert pooling_windows((64, 64), 0.01).n_windows > 1000
