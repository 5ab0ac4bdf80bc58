"""Parts of noise sum to the whole; blurs against SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

from neurovis.generation.noise_parts import PARTS, NoisePart, make_parts


def draw_noise(n=2, size_px=64, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, size_px, size_px, generator=stream)


def split(family, x):
    return [part.map_noise_back(x) for part in make_parts(family, x.shape[-1])]


def blur(x, sigma_px, reach):
    """Return a Gaussian blur by SciPy, mirrored without the edge pixel itself."""
    sigmas, radii = (0, 0, sigma_px, sigma_px), (0, 0, reach, reach)
    return gaussian_filter(x.double().numpy(), sigmas, mode="mirror", radius=radii)


@pytest.mark.parametrize("size_px", [32, 64, 96])
@pytest.mark.parametrize("family", PARTS)
def test_parts_sum_to_the_whole(family, size_px):
    x = draw_noise(size_px=size_px)
    assert torch.allclose(sum(split(family, x)), x, atol=2e-6)
    assert len(split(family, x)) == len(PARTS[family])


@pytest.mark.parametrize("family", PARTS)
def test_parts_are_linear(family):
    x, y = draw_noise(size_px=32), draw_noise(size_px=32, seed=1)
    parts = zip(
        split(family, 2 * x - 3 * y), split(family, x), split(family, y), strict=True
    )
    for both, one, other in parts:
        assert torch.allclose(both, 2 * one - 3 * other, atol=1e-5)


@pytest.mark.parametrize(("size_px", "reach"), [(64, 16), (32, 8), (256, 66)])
def test_the_low_frequencies_are_a_gaussian_blur(size_px, reach):
    x = draw_noise(1, size_px)
    low, high = split("frequency", x)
    expected = blur(x, 2 * size_px / 64, reach)
    assert np.allclose(low, expected, atol=1e-6)
    assert np.allclose(high, x.numpy() - expected, atol=1e-6)


def test_three_bands_are_two_blurs_one_after_the_other():
    x = draw_noise(1)
    fine = blur(x, 1, 12)
    coarse = blur(torch.from_numpy(fine), 2, 12)
    expected = (coarse, fine - coarse, x.numpy() - fine)
    for found, band in zip(split("three-bands", x), expected, strict=True):
        assert np.allclose(found, band, atol=1e-6)


def test_grey_is_the_mean_of_the_channels():
    x = draw_noise()
    grey, colour = split("colour", x)
    assert torch.allclose(grey, x.mean(1, keepdim=True).expand_as(x))
    assert colour.mean(1).abs().max() < 1e-6


@pytest.mark.parametrize(("size_px", "taps"), [(64, 7), (32, 3)])
def test_the_blur_of_motion_is_diagonal(size_px, taps):
    x = draw_noise(1, size_px)
    kernel = np.eye(taps)[None, None] / taps
    expected = convolve(x.double().numpy(), kernel, mode="mirror")
    assert np.allclose(split("motion", x)[0], expected, atol=1e-6)


def test_scale_gives_two_halves():
    x = draw_noise()
    for part in split("scale", x):
        assert torch.equal(part, x / 2)


@pytest.mark.parametrize("family", PARTS)
def test_the_network_sees_everything_and_an_observer_the_part(family):
    x = draw_noise(size_px=32)
    images = x.sigmoid()
    for part in make_parts(family, 32):
        assert part.apply(x) is x
        seen = part.apply_to_images(images)
        decoded = part.map_noise_back(2 * images - 1) / 2 + 0.5
        assert torch.allclose(seen, decoded, atol=1e-6)


def test_a_part_without_filters_is_the_whole():
    x = draw_noise(size_px=8)
    assert torch.equal(NoisePart("all", 8).map_noise_back(x), x)


@pytest.mark.parametrize(
    ("family", "size_px", "error", "message"),
    [
        ("frequencies", 64, ValueError, "Did you mean 'frequency'"),
        ("motion", 18, ValueError, "at least 19 for this blur; got 18"),
        ("frequency", 3, ValueError, "at least 4 for this blur; got 3"),
        ("colour", "64", TypeError, "`size_px` must be a number"),
    ],
)
def test_parts_that_cannot_be_are_refused(family, size_px, error, message):
    with pytest.raises(error, match=message):
        make_parts(family, size_px)


@pytest.mark.parametrize("size_px", [4, 19])
def test_the_least_sizes_of_the_messages_work(size_px):
    family = "frequency" if size_px == 4 else "motion"
    x = draw_noise(size_px=size_px)
    assert torch.allclose(sum(split(family, x)), x, atol=1e-6)


def test_samples_of_another_size_are_refused():
    part = make_parts("frequency", 32)[0]
    for call in (part.apply, part.map_noise_back, part.apply_to_images):
        with pytest.raises(ValueError, match=r"'low' needs the shape \(n, C, 32, 32\)"):
            call(torch.zeros(1, 3, 16, 16))
    with pytest.raises(TypeError, match="Divide 8-bit pictures by 255"):
        part.apply_to_images(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
