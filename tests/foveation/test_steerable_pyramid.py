"""Steerable pyramid."""

import numpy as np
import pytest
import torch

from neurovis.core.rng import generator
from neurovis.foveation.pyramid_masks import fourier_masks
from neurovis.foveation.steerable_pyramid import (
    Coefficients,
    SteerablePyramid,
    crop,
    paste,
)


def images(*shape, seed=0, dtype=torch.float64):
    values = generator(seed, "pyramid", *shape).standard_normal(shape)
    return torch.as_tensor(values, dtype=dtype)


def reference(shape, n_scales, n_orientations, *, is_complex, tight_frame):
    from plenoptic.process import SteerablePyramidFreq

    return SteerablePyramidFreq(
        shape,
        height=n_scales,
        order=n_orientations - 1,
        is_complex=is_complex,
        tight_frame=tight_frame,
    ).double()


def as_list(found):
    return [found.highpass, *found.bands, found.lowpass]


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("tight_frame", [False, True])
@pytest.mark.parametrize(
    ("shape", "n_scales", "n_orientations"),
    [((32, 32), 3, 4), ((48, 80), 2, 3), ((64, 32), 1, 2), ((40, 56), 3, 6)],
)
def test_coefficients_are_those_of_plenoptic(
    shape, n_scales, n_orientations, is_complex, tight_frame
):
    kind = {"is_complex": is_complex, "tight_frame": tight_frame}
    theirs = reference(shape, n_scales, n_orientations, **kind)
    ours = SteerablePyramid(
        shape,
        n_scales=n_scales,
        n_orientations=n_orientations,
        masks="table",
        dtype=torch.float64,
        **kind,
    )
    x = images(2, 3, *shape)
    expected = theirs(x)
    found = ours.analyse(x)
    for ours_, theirs_ in zip(as_list(found), expected.values(), strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-12, atol=1e-12)
    back = theirs.recon_pyr(expected)
    # The reference goes back through single precision.
    torch.testing.assert_close(ours.synthesise(found), back, rtol=0, atol=1e-6)


@pytest.mark.parametrize("is_complex", [False, True])
def test_sides_that_do_not_halve_are_treated_as_in_plenoptic(is_complex):
    kind = {"is_complex": is_complex, "tight_frame": False}
    x = images(1, 1, 50, 38)
    expected = reference((50, 38), 2, 4, **kind)(x)
    ours = SteerablePyramid(
        (50, 38), n_scales=2, masks="table", dtype=torch.float64, **kind
    )
    for a, b in zip(as_list(ours.analyse(x)), expected.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Reconstruction will not be perfect")
def test_odd_sides_are_treated_as_in_plenoptic_by_the_tables():
    kind = {"is_complex": True, "tight_frame": True}
    x = images(1, 2, 33, 41)
    expected = reference((33, 41), 1, 4, **kind)(x)
    ours = SteerablePyramid(
        (33, 41), n_scales=1, masks="table", dtype=torch.float64, **kind
    ).analyse(x)
    torch.testing.assert_close(ours.bands[0], expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        ours.highpass, expected["residual_highpass"], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("tight_frame", [False, True])
@pytest.mark.parametrize("shape", [(64, 64), (33, 47), (50, 38), (32, 100)])
def test_exact_masks_reconstruct_exactly(shape, is_complex, tight_frame):
    pyramid = SteerablePyramid(
        shape,
        n_scales=3,
        n_orientations=5,
        is_complex=is_complex,
        tight_frame=tight_frame,
        dtype=torch.float64,
    )
    x = images(2, 1, *shape)
    back = pyramid.synthesise(pyramid.analyse(x))
    assert (back - x).abs().max() < 1e-12


@pytest.mark.parametrize("is_complex", [False, True])
def test_tight_frame_keeps_energy(is_complex):
    pyramid = SteerablePyramid(
        (64, 48),
        n_scales=3,
        is_complex=is_complex,
        tight_frame=True,
        dtype=torch.float64,
    )
    x = images(1, 1, 64, 48)
    found = pyramid.analyse(x)
    energy = sum(float(part.abs().square().sum()) for part in as_list(found))
    assert energy == pytest.approx(float(x.square().sum()), rel=1e-12)


@pytest.mark.parametrize("masks", ["exact", "table"])
def test_squares_of_masks_sum_to_one(masks):
    planes = fourier_masks((48, 64), 2, 4, masks)
    total = planes.residual**2
    kept = [*planes.highs, np.ones_like(planes.lows[-1])]
    for low, high in zip(planes.lows, kept, strict=True):
        wide = np.zeros_like(total)
        h, w = low.shape
        rows, columns = (
            np.r_[0 : (n + 1) // 2, whole - n // 2 : whole]
            for n, whole in zip((h, w), total.shape, strict=True)
        )
        wide[np.ix_(rows, columns)] = (low * high) ** 2
        total = total + wide
    np.testing.assert_allclose(total, 1, atol=1e-15 if masks == "exact" else 2e-5)


@pytest.mark.parametrize("n_orientations", [2, 3, 4, 7])
def test_squares_of_angular_masks_sum_to_one(n_orientations):
    planes = fourier_masks((32, 32), 1, n_orientations, "exact")
    np.testing.assert_allclose((planes.angular[0] ** 2).sum(0), 1, atol=1e-14)


def test_exact_masks_follow_the_formulas():
    planes = fourier_masks((64, 64), 2, 3, "exact")
    y, x = 5, -9  # of 64 cycles per image side
    rho, angle = np.hypot(x, y) / 32, np.arctan2(y, x)
    high0 = abs(np.cos(np.pi / 2 * np.clip(np.log2(rho), -1, 0)))
    high1 = abs(np.cos(np.pi / 2 * np.clip(np.log2(rho) + 1, -1, 0)))
    low = np.sqrt(1 - high0**2)
    assert planes.residual[y, x] == pytest.approx(high0, abs=1e-15)
    assert planes.lows[0][y, x] == pytest.approx(low, abs=1e-15)
    assert planes.highs[0][y, x] == pytest.approx(high1, abs=1e-15)
    c = np.sqrt(2**4 * 4 / (3 * 24))
    expected = [c * np.cos(angle - np.pi * b / 3) ** 2 for b in range(3)]
    np.testing.assert_allclose(planes.angular[0][:, y, x], expected, atol=1e-15)


def test_complex_bands_hold_the_real_ones_and_their_quadrature():
    x = images(1, 1, 32, 32)
    options = {"n_scales": 2, "dtype": torch.float64}
    real = SteerablePyramid((32, 32), is_complex=False, **options).analyse(x)
    whole = SteerablePyramid((32, 32), **options).analyse(x)
    for a, b in zip(real.bands, whole.bands, strict=True):
        torch.testing.assert_close(a, b.real, rtol=0, atol=1e-14)
        same = b.imag.square().sum((-2, -1))
        torch.testing.assert_close(a.square().sum((-2, -1)), same)


def test_synthesis_ignores_imaginary_parts():
    pyramid = SteerablePyramid((32, 32), n_scales=2, dtype=torch.float64)
    found = pyramid.analyse(images(1, 1, 32, 32))
    real = tuple(torch.complex(b.real, torch.ones_like(b.real)) for b in found.bands)
    changed = Coefficients(found.highpass, real, found.lowpass)
    torch.testing.assert_close(pyramid.synthesise(changed), pyramid.synthesise(found))


def test_a_grating_lies_in_the_band_of_its_orientation_and_scale():
    n = 64
    rows = torch.arange(n, dtype=torch.float64)[:, None]
    vertical_frequency = torch.cos(2 * np.pi * 8 * rows / n).expand(1, 1, n, n)
    pyramid = SteerablePyramid((n, n), n_scales=3, dtype=torch.float64)
    # Its direction in Fourier space is pi/2, that of band 2.
    found = pyramid.analyse(vertical_frequency)
    energy = found.bands[1].abs().square().sum((0, 1, 3, 4))
    assert energy.argmax() == 2
    assert energy[0] < 1e-20 * energy[2]
    assert found.highpass.abs().max() < 1e-12


def test_images_of_a_batch_and_channels_do_not_mix():
    pyramid = SteerablePyramid((256, 256), dtype=torch.float32)
    x = images(3, 3, 256, 256, dtype=torch.float32)  # large: one by one
    whole = pyramid.analyse(x)
    alone = pyramid.analyse(x[1:2, 2:])
    for a, b in zip(as_list(whole), as_list(alone), strict=True):
        assert a[1:2, 2:].shape == b.shape
        torch.testing.assert_close(
            a[1:2, 2:], b, rtol=0, atol=2e-5 * float(b.abs().max())
        )


def test_float32_is_near_float64():
    x = images(1, 1, 64, 64)
    fine = SteerablePyramid((64, 64), tight_frame=True, dtype=torch.float64)
    coarse = SteerablePyramid((64, 64), tight_frame=True)
    for a, b in zip(
        as_list(fine.analyse(x)), as_list(coarse.analyse(x.float())), strict=True
    ):
        assert b.dtype in (torch.float32, torch.complex64)
        assert (a - b).abs().max() < 1e-5


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("tight_frame", [False, True])
def test_gradients_of_analysis_and_synthesis_are_right(is_complex, tight_frame):
    pyramid = SteerablePyramid(
        (10, 8),
        n_scales=1,
        n_orientations=3,
        is_complex=is_complex,
        tight_frame=tight_frame,
        dtype=torch.float64,
    )

    def analyse(x):
        return tuple(as_list(pyramid.analyse(x)))

    def synthesise(high, band, low):
        return pyramid.synthesise(Coefficients(high, (band,), low))

    x = images(1, 2, 10, 8).requires_grad_()
    assert torch.autograd.gradcheck(analyse, (x,))
    parts = [part.detach().requires_grad_() for part in analyse(x)]
    assert torch.autograd.gradcheck(synthesise, parts)


def test_pyramid_without_scales_is_two_residuals():
    pyramid = SteerablePyramid((16, 16), n_scales=0, dtype=torch.float64)
    x = images(1, 1, 16, 16)
    found = pyramid.analyse(x)
    assert found.bands == ()
    torch.testing.assert_close(pyramid.synthesise(found), x)


@pytest.mark.parametrize("is_half", [False, True])
def test_crop_keeps_low_frequencies(is_half):
    x = images(3, 12, 16)
    transform = torch.fft.rfft2 if is_half else torch.fft.fft2
    found = crop(transform(x), (5, 8), is_half=is_half)
    whole = torch.fft.fft2(x)
    rows, columns = [0, 1, 2, -2, -1], [0, 1, 2, 3, -4, -3, -2, -1]
    expected = whole[:, rows][:, :, columns[:5] if is_half else columns]
    if is_half:  # half a cycle per pixel of the small image: either sign
        expected[..., 4] = whole[:, rows][..., 4]
    torch.testing.assert_close(found, expected)


def test_paste_is_the_adjoint_of_crop():
    large = torch.fft.rfft2(images(12, 16))
    small = torch.fft.rfft2(images(6, 8, seed=1))
    cut = crop(large, (6, 8), is_half=True)
    left = (cut.conj() * small).sum()
    right = (large.conj() * paste(small, torch.zeros_like(large), (12, 16))).sum()
    torch.testing.assert_close(left, right)


def test_to_the_same_device_is_the_same_object():
    pyramid = SteerablePyramid((16, 16), n_scales=1)
    assert pyramid.to("cpu") is pyramid


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    pyramid = SteerablePyramid((64, 48), n_scales=3, dtype=torch.float64)
    x = images(2, 3, 64, 48)
    there = pyramid.to("cuda")
    found = there.analyse(x.cuda())
    for a, b in zip(as_list(pyramid.analyse(x)), as_list(found), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=1e-11)
    assert (there.synthesise(found).cpu() - x).abs().max() < 1e-12


FROZEN = [
    -0.21590241975036223,
    0.07921748791910986,
    0.2711626826200373,
    2.465470428844106,
]


def test_some_coefficients_are_as_before():
    y, x = np.mgrid[:32, :32]
    image = torch.as_tensor(np.sin(x * y / 40) + x / 32)[None, None]
    found = SteerablePyramid(
        (32, 32), n_scales=2, tight_frame=True, dtype=torch.float64
    ).analyse(image)
    numbers = [
        found.highpass[0, 0, 31, 30],
        found.bands[0][0, 0, 1, 20, 25].real,
        found.bands[1][0, 0, 2, 9, 9].imag,
        found.lowpass[0, 0, 4, 4],
    ]
    np.testing.assert_allclose(numbers, FROZEN, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (16, 16), "n_scales": 3}, "at most 2"),
        ({"shape": (16,)}, "height, width"),
        ({"shape": (16, 16.5), "n_scales": 1}, "whole number"),
        ({"shape": (64, 64), "n_orientations": 1}, "n_orientations"),
        ({"shape": (64, 64), "n_orientations": 17}, "n_orientations"),
        ({"shape": (64, 64), "masks": "tables"}, "Did you mean 'table'"),
        ({"shape": (64, 64), "dtype": torch.float16}, "dtype"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SteerablePyramid(**arguments)


def test_bad_images_are_refused():
    pyramid = SteerablePyramid((16, 16), n_scales=1)
    with pytest.raises(TypeError, match="Tensor"):
        pyramid.analyse(np.zeros((1, 1, 16, 16)))
    with pytest.raises(ValueError, match=r"\(B, C, 16, 16\)"):
        pyramid.analyse(torch.zeros(1, 16, 16))
    with pytest.raises(TypeError, match="float32"):
        pyramid.analyse(torch.zeros(1, 1, 16, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match="on cpu"):
        pyramid.analyse(torch.zeros(1, 1, 16, 16, device="meta"))


def test_bad_coefficients_are_refused():
    pyramid = SteerablePyramid((16, 16), n_scales=1)
    found = pyramid.analyse(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="from `analyse`"):
        pyramid.synthesise(Coefficients(found.highpass, (), found.lowpass))
