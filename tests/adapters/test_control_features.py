"""Control features: against other implementations, and on known stimuli."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data_loaders.simulated_features import gabor_energy
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.control_features import (
    ColourStatistics,
    GaborEnergy,
    SteerablePyramid,
    load_control,
)
from neurovis.adapters.features import extract_features


def run(module, images):
    """Layers of float pictures (B, 3, H, W) of 0..1."""
    inputs = torch.from_numpy(np.array(images, np.float32))
    with torch.inference_mode():
        return [x.numpy() for x in module.eval()(inputs)]


def noise(n, side, seed=0):
    return np.random.default_rng(seed).random((n, 3, side, side))


def grating(side, cycles, degrees, phase=0.0):
    """Bars at an orientation, counter-clockwise from horizontal."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    angle = np.deg2rad(degrees + 90)
    wave = np.cos(2 * np.pi * cycles * (x * np.cos(angle) - y * np.sin(angle)) + phase)
    return np.broadcast_to(0.5 + 0.25 * wave, (1, 3, side, side))


# ----------------------------------------------------------------------- Gabor


def test_gabor_energy_is_that_of_an_independent_implementation():
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in pictures])
    # Their frequencies in cycles per picture of 8.4 degrees, nearly whole.
    expected = gabor_energy(grey)
    frequencies = [f * 8.4 for f in (1.9, 0.95, 0.48)]
    images = np.repeat(grey[:, None] / 255, 3, axis=1)
    energies = []
    for frequency in frequencies:
        module = GaborEnergy(64, frequencies=[8], n_orientations=4, border="wrap")
        cycles = np.fft.fftfreq(64, 1 / 64)
        angles = np.deg2rad(np.array([0, 45, 90, 135]) + 90)[:, None, None]
        right = cycles[None, None, :] - frequency * np.cos(angles)
        down = cycles[None, :, None] + frequency * np.sin(angles)
        squared = (right**2 + down**2) / (2 * (0.35 * frequency) ** 2)
        module.transfer8.copy_(torch.from_numpy(np.exp(-squared)))
        (energy,) = run(module, images)
        energies.append(energy.reshape(5, 4, 32, 2, 32, 2).mean((3, 5)))
    found = np.stack(energies, axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * expected.max())


def test_whole_frequencies_are_built_in_as_that_formula_says():
    module = GaborEnergy(64, frequencies=[8], n_orientations=4, border="wrap")
    cycles = np.fft.fftfreq(64, 1 / 64)
    for index, degrees in enumerate((0, 45, 90, 135)):
        angle = np.deg2rad(degrees + 90)
        right = cycles[None, :] - 8 * np.cos(angle)
        down = cycles[:, None] + 8 * np.sin(angle)
        expected = np.exp(-(right**2 + down**2) / (2 * (0.35 * 8) ** 2))
        np.testing.assert_allclose(module.transfer8[index], expected, atol=1e-6)


@pytest.mark.parametrize("cycles", [4, 8, 16, 32])
@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("border", ["mirror", "wrap"])
def test_a_grating_drives_its_own_frequency_and_orientation_most(cycles, index, border):
    module = GaborEnergy(128, border=border)
    layers = run(module, grating(128, cycles, 22.5 * index))
    energy = np.stack([layer.mean((0, 2, 3)) for layer in layers])
    frequency, orientation = np.unravel_index(energy.argmax(), energy.shape)
    assert (module.frequencies[frequency], orientation) == (cycles, index)


def test_energy_of_a_grating_does_not_depend_on_its_phase():
    module = GaborEnergy(64, frequencies=[8], border="wrap")
    energies = [run(module, grating(64, 8, 0, phase))[0][:, 0] for phase in (0, 1, 2)]
    # A quarter of the amplitude 0.25, squared, at every position.
    for energy in energies:
        np.testing.assert_allclose(energy, 0.125**2, rtol=1e-4)


def test_fewer_positions_lose_nothing_of_the_energy():
    images = noise(3, 128)
    (coarse,) = run(GaborEnergy(128, frequencies=[4], border="wrap"), images)
    fine = GaborEnergy(128, frequencies=[4], border="wrap")
    cycles = torch.fft.fftfreq(128, 1 / 128)
    angles = torch.deg2rad(22.5 * torch.arange(8) + 90)[:, None, None]
    right = cycles[None, None, :] - 4 * torch.cos(angles)
    down = cycles[None, :, None] + 4 * torch.sin(angles)
    fine.transfer4 = torch.exp(-(right**2 + down**2) / (2 * 1.4**2))
    (whole,) = run(fine, images)
    assert (coarse.shape, whole.shape) == ((3, 8, 32, 32), (3, 8, 128, 128))
    at = whole[..., ::4, ::4]
    np.testing.assert_allclose(coarse, at, rtol=0, atol=1e-5 * at.max())
    means = whole.mean((2, 3))
    np.testing.assert_allclose(coarse.mean((2, 3)), means, rtol=1e-5)


def test_energy_turns_with_the_picture():
    images = noise(2, 64)
    (energy,) = run(GaborEnergy(64, frequencies=[8], border="wrap"), images)
    # A quarter turn counter-clockwise; the circle of positions starts elsewhere.
    turned = np.rot90(images, axes=(2, 3))
    (found,) = run(GaborEnergy(64, frequencies=[8], border="wrap"), turned)
    expected = np.roll(np.rot90(energy, axes=(2, 3)), 4, axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * energy.max())


def test_a_ramp_has_less_energy_at_mirrored_than_at_wrapped_borders():
    ramp = np.broadcast_to(np.linspace(0, 1, 64), (1, 3, 64, 64))
    mirror, wrap = (
        run(GaborEnergy(64, frequencies=[8], border=border), ramp)[0].max()
        for border in ("mirror", "wrap")
    )
    assert mirror < 0.1 * wrap


# --------------------------------------------------------------------- pyramid


@pytest.fixture
def golden(request):
    folder = Path(request.config.getoption("--golden") or "none") / "foveation"
    if not folder.is_dir():
        pytest.skip("no golden folder with the family foveation: give --golden")
    return folder


def test_the_pyramid_is_that_of_plenoptic(golden):
    with np.load(golden / "steerable_complex_tight_32.npz") as arrays:
        reference = dict(arrays)
    image = reference["image"].squeeze()
    n_levels, n_orientations = int(reference["height"]), int(reference["order"]) + 1
    module = SteerablePyramid(
        *(32,), n_levels=n_levels, n_orientations=n_orientations, border="wrap"
    )
    high, *levels, low = run(module, np.repeat(image[None, None], 3, axis=1))
    mean = image.mean()
    close = {"rtol": 0, "atol": 1e-5 * np.abs(image).max()}
    expected = np.abs(reference["coef_residual_highpass"].squeeze())
    np.testing.assert_allclose(high[0, 0], expected, **close)
    for number, level in enumerate(levels):
        expected = np.abs(reference[f"coef_{number}"].squeeze())
        np.testing.assert_allclose(level[0], expected, **close)
    # Ours has no mean; an orthonormal transform scales it with the side.
    expected = reference["coef_residual_lowpass"].squeeze() - mean * 32 / low.shape[-1]
    np.testing.assert_allclose(low[0, 0], expected, **close)


def test_the_pyramid_keeps_the_energy():
    images = noise(3, 64)
    module = SteerablePyramid(64, border="wrap")
    high, *levels, low = run(module, images)
    luma = np.einsum("bchw,c->bhw", images, (0.299, 0.587, 0.114))
    luma -= luma.mean((1, 2), keepdims=True)
    kept = [np.square(x).sum((1, 2, 3)) for x in (high, *levels, low)]
    np.testing.assert_allclose(sum(kept), np.square(luma).sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("index", range(4))
def test_a_grating_drives_its_own_level_and_orientation_most(index):
    # Level 2 is centred on a quarter of Nyquist; orientations begin with vertical bars.
    module = SteerablePyramid(64, border="wrap")
    _, *levels, _ = run(module, grating(64, 8, 90 - 45 * index))
    energy = np.array([np.square(x).sum((0, 2, 3)) for x in levels])
    assert np.unravel_index(energy.argmax(), energy.shape) == (1, index)


@pytest.mark.parametrize("make", [GaborEnergy, SteerablePyramid])
def test_mirrored_borders_change_nothing_in_the_middle(make):
    images = noise(1, 128)
    wrap = run(make(128, border="wrap"), images)
    mirror = run(make(128, border="mirror"), images)
    for first, second in zip(wrap[:4], mirror[:4], strict=True):
        assert first.shape == second.shape
    # Fine filters do not reach from the border to the middle.
    fine = 3 if make is GaborEnergy else 1
    a, b = wrap[fine], mirror[fine]
    middle = slice(a.shape[-1] * 3 // 8, a.shape[-1] * 5 // 8)
    a, b = a[..., middle, middle], b[..., middle, middle]
    np.testing.assert_allclose(a, b, rtol=0, atol=0.01 * a.max())


# ---------------------------------------------------------------------- colour


def test_lab_is_that_of_opencv_within_the_steps_of_its_table():
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture[:8] //= 16  # dark colours, where the curve is a line
    expected = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab, _ = run(ColourStatistics(), picture.transpose(2, 0, 1)[None] / 255)
    np.testing.assert_allclose(lab[0].transpose(1, 2, 0), expected, atol=0.4)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_primaries_have_their_published_coordinates(rgb, lab):
    image = np.array(rgb).reshape(1, 3, 1, 1) / 255 * np.ones((1, 1, 4, 4))
    found, _ = run(ColourStatistics(), image)
    np.testing.assert_allclose(found[0, :, 0, 0], lab, atol=0.02)


def test_statistics_are_those_of_numpy():
    images = noise(3, 20)
    lab, statistics = run(ColourStatistics(), images)
    chroma = np.hypot(lab[:, 1], lab[:, 2])[:, None]
    values = np.concatenate([lab, chroma], 1).reshape(3, 4, -1).astype(np.float64)
    percentiles = np.percentile(values, (5, 25, 50, 75, 95), axis=2)
    expected = np.stack([values.mean(2), values.std(2), *percentiles], 2)
    np.testing.assert_allclose(
        statistics, expected.reshape(3, 28), rtol=1e-4, atol=1e-4
    )


def test_statistics_of_a_uniform_picture_are_finite_and_have_no_spread():
    _, statistics = run(ColourStatistics(), np.full((1, 3, 8, 8), 0.5))
    table = statistics.reshape(4, 7)
    assert np.isfinite(table).all()
    np.testing.assert_allclose(table[:, 1], 0, atol=1e-4)
    np.testing.assert_allclose(table[0, [0, 2, 6]], 53.39, atol=0.01)


# -------------------------------------------------------------------- as networks


@pytest.mark.parametrize("kind", ["gabor", "pyramid", "colour"])
def test_controls_are_read_like_networks_and_are_not_called_untrained(kind):
    backbone = load_backbone(f"control:{kind}", size_px=64)
    assert backbone.notes == ()
    assert backbone.identity == load_control(kind, size_px=64).identity
    assert backbone.identity != load_control(kind, size_px=128).identity
    layer = {"gabor": "cycles8", "pyramid": "level2", "colour": "lab"}[kind]
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (found,) = extract_features(backbone, [picture], [f"{layer}:flat"]).values()
    images = picture.transpose(2, 0, 1)[None] / 255
    index = {"gabor": 1, "pyramid": 2, "colour": 0}[kind]
    expected = run(backbone.module, images)[index].reshape(1, -1)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=2e-6 * np.abs(expected).max()
    )


def test_other_settings_make_another_identity():
    first = load_control("gabor", size_px=64).identity
    module = GaborEnergy(64, frequencies=(4, 8), n_orientations=6)
    other = load_control("gabor", size_px=64, module=module)
    assert other.identity != first
    picture = np.zeros((64, 64, 3), np.uint8)
    assert extract_features(other, [picture], ["cycles4:gap"])["cycles4:gap"].shape == (
        1,
        6,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaborEnergy(64, frequencies=[33]), "`frequency` must be within"),
        (lambda: GaborEnergy(64, frequencies=[3]), "multiple of 8"),
        (lambda: GaborEnergy(100), "multiple of 8"),
        (lambda: GaborEnergy(64, border="none"), "`border` must be one of"),
        (lambda: GaborEnergy(64, bandwidth=2), "`bandwidth` must be within"),
        (lambda: SteerablePyramid(60), "multiple of 64 for 4 levels"),
        (lambda: SteerablePyramid(64, n_orientations=1), "`n_orientations`"),
        (lambda: SteerablePyramid(64, border="wrp"), "Did you mean 'wrap'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
