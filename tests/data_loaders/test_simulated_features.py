"""What drives simulated responses."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import dblquad

from data_loaders.simulated_features import (
    FREQUENCIES_CPD,
    ORIENTATIONS_DEG,
    PICTURE_DEG,
    energy_signals,
    gabor_energy,
    luminance,
    picture_signals,
    receptive_fields,
    square_picture,
    standardised,
)


def grating(cpd, orientation_deg, side_px=64):
    """Bars at an angle counter-clockwise from horizontal."""
    deg = (np.arange(side_px) + 0.5) / side_px * PICTURE_DEG
    x, y = deg[None, :], -deg[:, None]
    across = np.deg2rad(orientation_deg + 90)
    phase = 2 * np.pi * cpd * (x * np.cos(across) + y * np.sin(across))
    return np.rint(127.5 + 100 * np.sin(phase)).astype(np.uint8)


@pytest.mark.parametrize("j", range(4))
@pytest.mark.parametrize("i", range(3))
def test_a_grating_drives_its_own_filter_most(i, j):
    grey = grating(FREQUENCIES_CPD[i], ORIENTATIONS_DEG[j])[None]
    energy = gabor_energy(grey)[0].mean(axis=(2, 3))
    assert np.unravel_index(energy.argmax(), energy.shape) == (i, j)
    assert energy[i, j] > 3 * np.sort(energy.ravel())[-2]


def test_energy_is_local_and_zero_without_contrast():
    grey = np.full((2, 64, 64), 90, np.uint8)
    grey[1, 16:32, 32:48] = grating(1.9, 90)[16:32, 32:48]
    flat, patch = gabor_energy(grey).sum(axis=(1, 2))
    assert flat.max() < 1e-9
    row, column = np.unravel_index(patch.argmax(), patch.shape)
    assert 7 <= row <= 16
    assert 15 <= column <= 24
    assert patch[24:, :8].max() < 0.02 * patch.max()


def test_receptive_fields_integrate_a_gaussian_over_cells():
    x, y, size = np.array([1.1]), np.array([-2.3]), np.array([0.6])
    field = receptive_fields(x, y, size)[0].reshape(32, 32)
    row, column = np.unravel_index(field.argmax(), field.shape)
    cell = PICTURE_DEG / 32
    left, top = -PICTURE_DEG / 2 + column * cell, -PICTURE_DEG / 2 + row * cell
    expected, _ = dblquad(
        lambda v, u: np.exp(-((u - 1.1) ** 2 + (v + 2.3) ** 2) / (2 * 0.36)),
        left,
        left + cell,
        top,
        top + cell,
    )
    assert field[row, column] == pytest.approx(expected / (2 * np.pi * 0.36), rel=1e-5)
    assert field.sum() == pytest.approx(1, abs=2e-3)
    assert row < 16 < column  # above and to the right of the middle


def test_a_receptive_field_beyond_the_border_keeps_only_what_is_inside():
    field = receptive_fields(*np.array([[4.2], [0.0], [0.5]]))
    assert field.sum() == pytest.approx(0.5, abs=1e-6)


def test_rows_are_standardised_and_constant_ones_become_zero():
    rows = np.array([[1, 2, 3, 4], [5, 5, 5, 5], [0, 0, 0, 0]], np.float32)
    found = standardised(rows)
    assert found[0].mean() == pytest.approx(0, abs=1e-6)
    assert found[0].std() == pytest.approx(1, abs=1e-6)
    assert (found[1:] == 0).all()


def units(**columns):
    one = {
        "rf_x_deg": 2.0,
        "rf_y_deg": -2.0,
        "rf_size_deg": 0.5,
        "frequency_cpd": 1.9,
        "orientation_deg": 90.0,
        "energy_share": 1.0,
    }
    return pd.DataFrame([one | columns])


def test_a_unit_responds_to_contrast_inside_its_field_only():
    grey = np.full((3, 64, 64), 128, np.uint8)
    grey[1, 8:24, 40:56] = grating(1.9, 90)[8:24, 40:56]  # upper right
    grey[2, 40:56, 8:24] = grating(1.9, 90)[40:56, 8:24]  # lower left
    signal = energy_signals(units(), grey, [0, 1, 2])[0]
    assert signal.argmax() == 1
    assert abs(signal[2] - signal[0]) < 0.05 * (signal[1] - signal[0])


def test_a_unit_prefers_its_orientation_by_a_factor_that_is_declared():
    grey = np.stack([grating(1.9, 90), grating(1.9, 0), np.full((64, 64), 128)])
    best, other, none = energy_signals(units(), grey.astype(np.uint8), [0, 1, 2])[0]
    # Half of the energy from the preferred orientation, half from the mean of four.
    assert (best - none) / (other - none) == pytest.approx(np.sqrt(5), rel=0.1)


def test_category_and_energy_share_the_variance_as_declared():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (400, 64, 64)).astype(np.uint8)
    category = np.arange(400) % 4
    weights = np.array([[1.0, 0.2, 0.1, 0.0]], np.float32)
    order = np.arange(400)
    signal = picture_signals(units(energy_share=0.2), weights, grey, category, order)
    by_category = standardised(weights[:, category])[0]
    assert np.corrcoef(signal[0], by_category)[0, 1] ** 2 == pytest.approx(
        0.8, abs=0.06
    )
    alone = picture_signals(units(), weights, grey, category, order)
    assert abs(np.corrcoef(alone[0], by_category)[0, 1]) < 0.15


def test_pictures_are_cut_to_their_central_square():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 10:50] = 200
    assert (square_picture(picture, 40) == 200).all()
    assert square_picture(picture, 64).shape == (64, 64, 3)
    assert luminance(square_picture(picture, 40)).tolist() == [[200] * 64] * 64


def test_what_is_not_a_picture_is_refused():
    with pytest.raises(TypeError, match="`pictures` must have dtype uint8"):
        square_picture(np.zeros((4, 4, 3)), 16)
