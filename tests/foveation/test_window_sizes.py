"""Areas, texture weights and templates of pooling windows."""

import numpy as np
import pytest

from neurovis.foveation.lcv_windows import lcv_windows
from neurovis.foveation.window_sizes import half_height_area
from neurovis.foveation.windows import (
    fovea_templates,
    freeman_windows,
    pooling_windows,
    texture_weights,
    window_matrix,
    window_table,
)


def test_texture_weights_are_those_published_for_scale_04():
    windows = pooling_windows((512, 512), 0.4)
    table = window_table(windows).assign(alpha=texture_weights(windows))
    rings = table.groupby("ring")[["alpha", "area_px"]].first()
    expected = [0, 0.221, 0.323, 0.461, 0.630, 0.800, 0.928]
    # Published areas are counted, and the border clips some windows of ring 5.
    np.testing.assert_allclose(rings["alpha"], expected, atol=2e-3)
    areas = [150, 334, 738, 1633, 3577, 8004]
    np.testing.assert_allclose(rings["area_px"].iloc[1:], areas, rtol=0.011)
    assert (table.groupby("ring")["alpha"].std().dropna() < 1e-12).all()


def test_analytic_areas_agree_with_counts_where_windows_are_whole():
    windows = pooling_windows((512, 512), 0.5)
    table = window_table(windows)
    whole = table[table["ring"].between(2, len(windows.rings) - 1)]
    ratio = whole["area_in_image_px"] / whole["area_px"]
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert table["area_px"][0] == pytest.approx(table["area_in_image_px"][0], rel=0.01)


def test_the_constant_of_the_half_height_area_is_that_derived_for_scale_04():
    windows = pooling_windows((512, 512), 0.4)
    cell = windows.log_spacing * 2 * np.pi / windows.n_angles
    assert half_height_area(windows) / cell == pytest.approx(0.976, abs=5e-4)


def test_clipped_weights_vanish_where_the_last_ring_is_outside():
    windows = pooling_windows((512, 512), 0.4)
    table = window_table(windows)
    alpha = texture_weights(windows, area="clipped")
    last = alpha[table["ring"] == 6]
    assert last.min() == 0
    assert last.max() == pytest.approx(0.86, abs=0.02)
    inner = table["ring"].between(1, 4).to_numpy()
    plain = texture_weights(windows)
    np.testing.assert_allclose(alpha[inner], plain[inner], atol=0.02)


def test_counted_areas_ignore_that_the_last_ring_is_extended():
    closed, free = pooling_windows((256, 256), 0.4), freeman_windows((256, 256), 0.4)
    a, b = window_table(closed), window_table(free)
    shift = 4  # rings 1 to 4 are the fovea of the first
    a, b = a[a["ring"] == 6], b[b["ring"] == 6 + shift]
    assert abs(a["area_in_image_px"].to_numpy() - b["area_in_image_px"]).max() <= 6


def test_texture_weights_grow_with_d_and_are_0_for_0():
    windows = pooling_windows((64, 64), 0.4)
    assert texture_weights(windows, d=0).max() == 0
    low, high = (texture_weights(windows, d=d)[1:] for d in (0.5, 2))
    assert (low < high).all()
    assert high.max() < 1


def test_table_gives_places_and_widths_in_degrees():
    windows = pooling_windows((260, 260), 0.5)
    table = window_table(windows)
    assert len(table) == windows.n_windows
    np.testing.assert_allclose(
        table["radial_width_deg"][1:], 0.5 * table["eccentricity_deg"][1:]
    )
    assert table["eccentricity_deg"][0] == 0
    assert np.isnan(table["polar_deg"][0])
    assert table["radial_width_deg"][0] == pytest.approx(2 * 1.82165)
    sums = np.asarray(window_matrix(windows, np.float64).sum(axis=1)).ravel()
    np.testing.assert_allclose(table["weight_px"], sums)
    # The window's centre of mass lies where the table says (y up).
    y, x = np.mgrid[:260, :260] + 0.5 - 130
    matrix = window_matrix(windows, np.float64)
    centre = [matrix @ part.ravel() / sums for part in (x, -y)]
    for row in (3, 40, 60):
        angle = np.degrees(np.arctan2(centre[1][row], centre[0][row])) % 360
        assert angle == pytest.approx(table["polar_deg"][row], abs=1)
        distance = np.hypot(centre[0][row], centre[1][row]) / 10
        assert distance == pytest.approx(table["eccentricity_deg"][row], rel=0.06)


def test_templates_grow_from_nothing_to_everything():
    windows = pooling_windows((256, 256), 0.4)
    maps = fovea_templates(windows)
    assert maps.shape == (8, 256, 256)
    assert (np.diff(maps, axis=0) >= -1e-12).all()
    expected = [0, 0.0155, 0.0343, 0.0759, 0.168, 0.3718, 0.8077, 1]
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), expected, atol=4e-4)
    levels = fovea_templates(windows, rounded=True)
    assert levels.dtype == np.uint8
    assert np.abs(levels / 255 - maps).max() <= 0.5 / 255 + 1e-12


def test_open_windows_have_no_templates():
    with pytest.raises(ValueError, match="must have a fovea"):
        fovea_templates(lcv_windows(32, 0.5))


def test_bad_options_are_named():
    windows = pooling_windows((32, 32), 0.5)
    with pytest.raises(ValueError, match="`area` must be"):
        texture_weights(windows, area="clip")
    with pytest.raises(ValueError, match="`d`"):
        texture_weights(windows, d=-1)
