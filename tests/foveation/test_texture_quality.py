"""Measures of how a texture keeps local statistics."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from neurovis.foveation.lcv_windows import lcv_windows
from neurovis.foveation.texture_quality import texture_quality
from neurovis.foveation.windows import (
    fovea_weight,
    pooling_windows,
    ring_weights,
    window_matrix,
)

ERRORS = {
    "magnitude_mean_error",
    "magnitude_sd_error",
    "orientation_correlation_error",
    "kurtosis_error",
    "pixel_sd_error",
    "pixel_skew_error",
}
WINDOWS = pooling_windows((64, 64), 0.6)


def _pictures(n_images=1, seed=0):
    generator = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(
        generator.standard_normal((n_images, 3, 64, 64)), (0, 0, 1, 1)
    )
    loud = np.linspace(0.2, 1, 64)  # not the same everywhere
    return torch.from_numpy(np.clip(0.5 + 0.4 * noise * loud, 0, 1)).float()


def _values(table, image=0):
    rows = table[(table["image"] == image) & table["ring"].isna()]
    return rows.set_index("measure")["value"]


def test_a_picture_compared_with_itself_has_no_error():
    pictures = _pictures()
    table = texture_quality(pictures, pictures, WINDOWS)
    values = _values(table)
    assert set(values.index) == ERRORS | {"fine_correlation", "fine_energy"}
    assert (values[sorted(ERRORS)] == 0).all()
    assert values["fine_energy"] == 1
    assert values["fine_correlation"] == pytest.approx(1)
    rings = table[table["measure"] == "distortion"]
    assert rings["ring"].tolist() == list(range(len(WINDOWS.rings) + 1))
    assert (rings["value"] == 0).all()


def test_rows_of_a_batch_are_those_of_each_picture():
    before, after = _pictures(2), _pictures(2, seed=1)
    table = texture_quality(before, after, WINDOWS)
    alone = texture_quality(before[1:], after[1:], WINDOWS)
    np.testing.assert_allclose(
        table.loc[table["image"] == 1, "value"], alone["value"], rtol=1e-12
    )


def test_blur_costs_magnitude_and_fine_energy():
    before = _pictures()
    blurred = ndimage.gaussian_filter(before.numpy(), (0, 0, 2, 2))
    values = _values(texture_quality(before, torch.from_numpy(blurred), WINDOWS))
    assert values["fine_energy"] < 0.3
    assert values["magnitude_mean_error"] > 0.3
    assert 0.1 < values["fine_correlation"] < 1


def test_errors_of_pixels_match_a_dense_computation():
    before, after = _pictures(), _pictures(seed=3)
    values = _values(texture_quality(before, after, WINDOWS, min_area_px=30))
    weights = window_matrix(WINDOWS, np.float64).toarray()
    kept = (weights > 0.5).sum(axis=1) >= 30
    kept[0] = False
    found = []
    for images in (before, after):
        grey = np.tensordot((0.299, 0.587, 0.114), images[0].double().numpy(), 1)
        rows = []
        for row in weights[kept]:
            mean = np.average(grey.ravel(), weights=row)
            centred = grey.ravel() - mean
            sd = np.sqrt(np.average(centred**2, weights=row))
            rows.append([sd, np.average(centred**3, weights=row) / sd**3])
        found.append(np.array(rows))
    errors = np.abs(found[1] - found[0]).mean(axis=0) / found[0].std(axis=0)
    assert values["pixel_sd_error"] == pytest.approx(errors[0], rel=1e-6)
    assert values["pixel_skew_error"] == pytest.approx(errors[1], rel=1e-6)


def test_distortion_is_the_weighted_difference_in_a_ring():
    before, after = _pictures(), _pictures(seed=4)
    table = texture_quality(before, after, WINDOWS)
    rings = table[table["measure"] == "distortion"].set_index("ring")["value"]
    change = (before - after)[0].abs().mean(dim=0).numpy()
    for ring, weight in enumerate([fovea_weight(WINDOWS), *ring_weights(WINDOWS)]):
        assert rings[ring] == pytest.approx(np.average(change, weights=weight))


def test_what_cannot_be_measured_is_nan():
    flat = torch.full((1, 3, 64, 64), 0.5)
    values = _values(texture_quality(flat, flat, WINDOWS))
    assert np.isnan(values["fine_correlation"])
    assert np.isnan(values["fine_energy"])
    assert np.isnan(values["kurtosis_error"])


def test_bad_arguments_are_refused():
    pictures = _pictures(2)
    with pytest.raises(ValueError, match="must be as many pictures; got 2 and 1"):
        texture_quality(pictures, pictures[:1], WINDOWS)
    with pytest.raises(ValueError, match="must have a fovea and rings"):
        texture_quality(pictures, pictures, pooling_windows((64, 64), 0))
    with pytest.raises(ValueError, match="must have a fovea and rings"):
        texture_quality(pictures, pictures, lcv_windows(64, 0.5))
    with pytest.raises(ValueError, match="must have shape"):
        texture_quality(pictures, pictures, pooling_windows((32, 32), 0.5))


def test_rings_without_a_pixel_have_no_distortion():
    windows = pooling_windows((64, 64), 0.6, fixation_px=(-300, 0))
    pictures = _pictures()
    table = texture_quality(pictures, pictures, windows)
    distortion = table.loc[table["measure"] == "distortion", "value"]
    reached = ring_weights(windows).any(axis=(1, 2))
    assert not reached.all()
    assert distortion.iloc[1:].isna().tolist() == (~reached).tolist()
