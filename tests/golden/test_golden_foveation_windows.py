"""Pooling windows against the published codes (see the family's README).

Tolerances: rings 1e-4 and angles 2e-4, the first angle 5e-3 (an artefact of the
reference); counted areas 1 %, or 1 px; texture weights 2e-3; what the package
pooling-windows gives 1e-5; templates one grey level in a thousandth of the pixels.
The four corner pixels, zero in the reference, are left out.

The reference reads its windows from tables of steps of 0.001: windows narrower than
those of scale 0.4 (sectors: 0.25) are off by more, with the squared ratio of scales,
and pixels right at half height, or at the foot, fall on either side.
"""

from dataclasses import replace
from fnmatch import fnmatch

import numpy as np
import pytest

from neurovis.foveation.lcv_windows import (
    lcv_pool,
    lcv_project,
    lcv_windows,
    ring_norms,
    ring_widths,
    smallest_eccentricity_deg,
)
from neurovis.foveation.window_geometry import angle_values
from neurovis.foveation.windows import (
    IMAGE_DEG,
    fovea_templates,
    freeman_windows,
    inner_weight,
    pixel_polar,
    pooling_windows,
    ring_values,
    texture_weights,
    window_table,
)

FAMILY = "foveation"
PATTERNS = ("windows_freeman*", "windows_lcv*", "cue_window_templates*")


def find_cases(folder):
    """List (id, checker, arguments) for the files of this part."""
    checkers = dict(
        zip(PATTERNS, (check_freeman, check_lcv, check_templates), strict=True)
    )
    return [
        (path.stem, checker if path.suffix == ".npz" else check_unknown, (path,))
        for path in sorted(folder.iterdir())
        for pattern, checker in checkers.items()
        if fnmatch(path.name, pattern)
    ]


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


def test_golden_file(golden_case):
    _, checker, arguments = golden_case
    checker(*arguments)


def contents(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def on_grid(windows, values):
    """Values of the windows that exist, on the grid of rings and angles; else 0."""
    grid = np.zeros(len(windows.rings) * windows.n_angles)
    first = int(windows.has_fovea)
    grid[windows.grid_numbers[first:] - first] = np.asarray(values)[first:]
    return grid.reshape(len(windows.rings), -1)


def pixel_counts(windows, chosen):
    """Pixels of every window whose weight is chosen, on the grid."""
    window = windows.entries.window[chosen(windows.entries.weight)]
    return on_grid(windows, np.bincount(window, minlength=windows.n_windows))


def clipped_alpha(area_px, size):
    return np.tanh(1.281 * np.sqrt(area_px / 3.14) * IMAGE_DEG / size / 2)


def check_freeman(path):
    case = contents(path)
    size, scale = int(case.pop("image_size")), float(case.pop("scale"))
    windows = freeman_windows((size, size), scale)
    assert windows.first_radius_px == case.pop("r0_px")
    assert windows.n_angles == case.pop("n_theta")
    assert windows.log_spacing == pytest.approx(
        float(case.pop("log_spacing")), abs=1e-9
    )
    np.testing.assert_allclose(
        windows.ring_centres_px, case.pop("ring_centers_px"), rtol=1e-9
    )
    # The reference measures angles from the left meridian.
    turn = windows.angle_centres_rad - np.pi - case.pop("theta_centers_rad")
    assert np.abs((turn + np.pi) % (2 * np.pi) - np.pi).max() < 1e-9

    row, column = case.pop("sample_yx").T
    at_corner = np.isin(row, (0, size - 1)) & np.isin(column, (0, size - 1))
    keep = ~at_corner
    radius, angle = (part[row * size + column][keep] for part in pixel_polar(windows))
    rings, angles = ring_values(windows, radius), angle_values(windows, angle)
    narrow = max(1, 0.4 / scale)
    error = np.abs(rings - case.pop("ring_values")[keep])
    assert error.max() < 1e-4 * narrow**2
    error = np.abs(angles - case.pop("angle_values")[keep])
    assert error[:, 1:].max() < 2e-4 * max(1, 0.25 / scale) ** 2
    assert error[:, 0].max() < 5e-3 * max(1, 0.25 / scale)

    counted = on_grid(windows, window_table(windows)["area_in_image_px"])
    expected = case.pop("area_px_gt_half")
    at_half = pixel_counts(windows, lambda w: np.abs(w - 0.5) < 3e-4 * narrow**2)
    allowed = at_half + np.maximum(1, 0.01 * expected)
    assert (np.abs(counted - expected) <= allowed).all()
    alpha = on_grid(windows, texture_weights(windows, area="clipped"))
    # Few pixels: one more or less, allowed above, is more than the tolerance.
    explained = np.abs(clipped_alpha(counted, size) - clipped_alpha(expected, size))
    error = np.abs(alpha - case.pop("alpha_clipped"))
    assert (error <= 2e-3 + explained).all()
    expected = case.pop("area_px_gt_zero")
    any_weight = pixel_counts(windows, lambda w: w > 0)
    assert (any_weight <= expected + 1).all()
    # One step of the tables, on both sides.
    wide = replace(windows, transition=0.5 + 0.0125 * narrow)
    most = np.maximum(pixel_counts(wide, lambda w: w > 0), 1.03 * any_weight)
    assert (expected <= most + 1).all()
    means = [inner_weight(windows, k).mean() for k in windows.rings]
    tolerance = 1e-4 + 4 / size**2  # the corners
    np.testing.assert_allclose(means, case.pop("fovea_template_mean"), atol=tolerance)
    assert not case, f"not compared: {sorted(case)}"


def check_lcv(path):
    case = contents(path)
    profile = str(case.pop("window_type"))
    size, scale = int(case.pop("image_size")), float(case.pop("scaling"))
    edge = float(case.pop("max_eccentricity"))
    windows = lcv_windows(
        size,
        scale,
        min_eccentricity_deg=float(case.pop("min_eccentricity")),
        max_eccentricity_deg=edge,
        profile=profile,
    )
    assert windows.n_angles == case.pop("n_polar_windows")
    assert len(windows.rings) == case.pop("n_eccentricity_bands")
    smallest = smallest_eccentricity_deg(scale, windows.px_per_deg)
    expected = case.pop("calculated_min_eccentricity_degrees")
    np.testing.assert_allclose([smallest], expected, rtol=1e-6)
    np.testing.assert_allclose(ring_norms(windows), case.pop("norm_factor"), rtol=1e-5)
    table = ring_widths(windows)
    np.testing.assert_allclose(
        table["eccentricity_deg"], case.pop("central_eccentricity_degrees"), rtol=1e-9
    )
    for name in ("top", "half", "full"):
        for theirs, ours in (
            (f"width_deg_radial_{name}", f"radial_{name}_deg"),
            (f"width_deg_angular_{name}", f"angular_{name}_deg"),
            (f"area_deg2_{name}", f"area_{name}_deg2"),
        ):
            np.testing.assert_allclose(table[ours], case.pop(theirs), rtol=1e-6)

    row, column = case.pop("sample_yx").T
    sample = row * size + column
    radius, angle = (part[sample] for part in pixel_polar(windows))
    rings, angles = ring_values(windows, radius), angle_values(windows, angle)
    np.testing.assert_allclose(
        rings, case.pop("ecc_values_unnormalised"), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(angles, case.pop("angle_values"), rtol=0, atol=1e-5)
    assert isinstance(case.pop("pool_input_seed").item(), int)
    pooled = lcv_pool(windows, case.pop("pool_input"))
    expected = case.pop("pooled")
    scale_of = np.abs(expected).max(axis=-1, keepdims=True)
    assert (np.abs(pooled - expected) / scale_of).max() < 1e-5
    maps = lcv_project(windows, pooled)
    expected = case.pop("projected_sample")
    found = maps.reshape(*maps.shape[:2], -1)[..., sample]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert not case, f"not compared: {sorted(case)}"


def check_templates(path):
    case = contents(path)
    expected = case.pop("templates_uint8")
    size = expected.shape[1]
    scale = float(case.pop("scale", 0.4))
    bare = freeman_windows((size, size), scale)
    spacing = bare.log_spacing
    # Which rings are merged into the fovea follows from the mean of the first.
    inner = np.array([inner_weight(bare, k).mean() for k in bare.rings])
    first = bare.rings[int(np.abs(inner - case["mean"][1]).argmin())]
    fovea_px = bare.first_radius_px * np.exp((first - 0.5) * spacing)
    windows = pooling_windows(
        (size, size), scale, fovea_deg=fovea_px / (size / IMAGE_DEG)
    )
    templates = fovea_templates(windows)
    assert templates.shape == expected.shape
    means = templates.mean(axis=(1, 2))
    np.testing.assert_allclose(means, case.pop("mean"), atol=1e-4)
    np.testing.assert_allclose(means, case.pop("reference_axis"), atol=2e-4)
    levels = fovea_templates(windows, rounded=True).astype(int)
    difference = np.abs(levels - expected)
    difference[:, [0, 0, -1, -1], [0, -1, 0, -1]] = 0
    assert difference.max() <= 1
    assert (difference > 0).sum(axis=(1, 2)).max() <= 1e-3 * size**2
    assert not case, f"not compared: {sorted(case)}"
