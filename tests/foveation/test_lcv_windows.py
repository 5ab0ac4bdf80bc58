"""The layout of the package pooling-windows, and its averages."""

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
from neurovis.foveation.windows import window_matrix

PROFILES = ["cosine", "gaussian"]


@pytest.mark.parametrize("profile", PROFILES)
def test_averages_equal_sums_over_the_matrix(profile):
    windows = lcv_windows(32, 0.6, profile=profile)
    images = np.random.default_rng(0).random((2, 3, 32, 32))
    matrix = window_matrix(windows, np.float64)
    pooled = lcv_pool(windows, images)
    norms = np.repeat(ring_norms(windows), windows.n_angles)
    expected = images.reshape(6, -1) @ matrix.T.toarray()
    used = windows.grid_numbers
    np.testing.assert_allclose(
        pooled.reshape(6, -1)[:, used], expected * norms[used], rtol=1e-4, atol=1e-6
    )
    unused = np.setdiff1d(np.arange(len(norms)), used)
    assert np.abs(pooled.reshape(6, -1)[:, unused]).max(initial=0) < 1e-6
    back = lcv_project(windows, pooled)
    np.testing.assert_allclose(
        back.reshape(6, -1),
        pooled.reshape(6, -1)[:, used] @ matrix.toarray(),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_the_ring_of_reference_has_weights_that_sum_to_one(profile):
    windows = lcv_windows(128, 0.5, profile=profile)
    pooled = lcv_pool(windows, np.ones((1, 1, 128, 128)))
    rings = pooled.reshape(len(windows.rings), -1)
    assert rings[len(windows.rings) // 3].mean() == pytest.approx(1)


def test_layout_counts_are_those_of_the_package():
    cosine, gaussian = (lcv_windows(64, 0.5, profile=p) for p in PROFILES)
    assert (cosine.n_angles, len(cosine.rings)) == (25, 8)
    assert (gaussian.n_angles, len(gaussian.rings)) == (60, 23)
    assert not cosine.has_fovea
    assert smallest_eccentricity_deg(0.5, 64 / 26) == pytest.approx(1.29656241)
    assert lcv_windows(64, 0.4).n_angles == 32


def test_widths_follow_eccentricity():
    table = ring_widths(lcv_windows(64, 0.5))
    ratio = table["radial_half_deg"] / table["eccentricity_deg"]
    np.testing.assert_allclose(ratio, 0.5)
    assert (table["radial_top_deg"] < table["radial_half_deg"]).all()
    assert (table["radial_half_deg"] < table["radial_full_deg"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "square"}, "`profile` must be"),
        ({"min_eccentricity_deg": 20}, "`min_eccentricity_deg`"),
        ({"max_eccentricity_deg": 0}, "`max_eccentricity_deg`"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        lcv_windows(32, 0.5, **options)


def test_wrong_shapes_are_named():
    windows = lcv_windows(32, 0.5)
    with pytest.raises(ValueError, match="`images` must have shape"):
        lcv_pool(windows, np.zeros((1, 1, 32, 31)))
    with pytest.raises(ValueError, match="`pooled` must have shape"):
        lcv_project(windows, np.zeros((1, 1, 3)))
