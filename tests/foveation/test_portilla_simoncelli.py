"""Texture statistics of Portilla and Simoncelli, and textures made from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from neurovis.core.rng import generator
from neurovis.foveation.band_moments import band_moments, lag_waves, lags_of, power
from neurovis.foveation.portilla_simoncelli import (
    PortillaSimoncelli,
    portilla_simoncelli,
)
from neurovis.foveation.steerable_pyramid import SteerablePyramid
from neurovis.foveation.texture_statistics import TextureStatistics, statistics_table
from neurovis.foveation.texture_synthesis import synthesise_texture, texture_loss


def textures(*shape, seed=0, dtype=torch.float64):
    noise = generator(seed, "textures", *shape).standard_normal(shape)
    blur = ndimage.gaussian_filter(noise, (0, 0, 1.5, 0.8), mode="wrap")
    return torch.as_tensor(0.5 + 0.3 * np.tanh(3 * blur), dtype=dtype)


def assert_same(a, b, **tolerance):
    for name, array in a.arrays().items():
        torch.testing.assert_close(
            array, b.arrays()[name], equal_nan=True, msg=lambda m, n=name: f"{n}: {m}",
            **tolerance,
        )  # fmt: skip


# ----------------------------------------------------------------- the reference code


@pytest.mark.parametrize(
    ("shape", "n_scales", "n_orientations", "width"),
    [
        ((64, 64), 3, 4, 7),
        ((96, 64), 2, 3, 5),
        ((48, 80), 1, 2, 3),
        ((64, 96), 4, 4, 4),
        ((64, 64), 2, 6, 9),
    ],
)
def test_statistics_are_those_of_plenoptic(shape, n_scales, n_orientations, width):
    from plenoptic.models import PortillaSimoncelli as Reference

    theirs = Reference(
        shape,
        n_scales=n_scales,
        n_orientations=n_orientations,
        spatial_corr_width=width,
    ).double()
    options = {
        "n_scales": n_scales,
        "n_orientations": n_orientations,
        "neighbourhood": width,
    }
    images = textures(2, 2, *shape)
    expected = theirs(images)
    found = portilla_simoncelli(images, masks="table", **options)
    # The reference builds its low-pass images in single precision.
    torch.testing.assert_close(found.vector(), expected, rtol=1e-6, atol=1e-6)
    precise = ~found.table["statistic"].str.endswith("reconstructed").to_numpy()
    torch.testing.assert_close(
        found.vector()[..., precise], expected[..., precise], rtol=1e-10, atol=1e-10
    )
    for name, array in theirs.convert_to_dict(expected).items():
        ours = found.arrays()[name]
        assert ours.shape == array.shape
        torch.testing.assert_close(ours.isnan(), array.isnan())
    scales = [str(scale) for scale in theirs._representation_scales]
    assert found.table["scale"].tolist() == scales


def test_gradients_are_those_of_plenoptic():
    from plenoptic.models import PortillaSimoncelli as Reference

    theirs = Reference((64, 64), n_scales=2).double()
    ours = PortillaSimoncelli((64, 64), n_scales=2, masks="table", dtype=torch.float64)
    gradients = []
    for model in (theirs, lambda x: ours(x).vector()):
        x = textures(1, 2, 64, 64).requires_grad_()
        vector = model(x)
        weights = torch.linspace(-1, 2, vector.shape[-1], dtype=torch.float64)
        (vector * weights).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


# -------------------------------------------------------------------------- brute force


def test_statistics_follow_from_the_bands_of_the_pyramid():
    """Everything again, from the coefficients, with loops."""
    image = textures(1, 1, 32, 48)
    options = {"n_scales": 2, "n_orientations": 3}
    found = portilla_simoncelli(image, neighbourhood=5, **options)
    pyramid = SteerablePyramid((32, 48), dtype=torch.float64, **options)
    coefficients = pyramid.analyse(image)
    bands = [band[0, 0].numpy() for band in coefficients.bands]

    def lags(x, n=5):
        shifts = [(dy, dx) for dy in range(n) for dx in range(n)]
        values = [
            (x * np.roll(x, (n // 2 - dy, n // 2 - dx), (0, 1))).mean()
            for dy, dx in shifts
        ]
        return np.reshape(values, (n, n))

    def check(name, index, value):
        array = found.arrays()[name][0, 0].numpy()
        np.testing.assert_allclose(array[index], value, rtol=1e-9, atol=1e-12)

    for s, scale in enumerate(bands):
        magnitudes = np.abs(scale)
        magnitudes = magnitudes - magnitudes.mean((1, 2), keepdims=True)
        for o, magnitude in enumerate(magnitudes):
            check("magnitude_std", (o, s), magnitude.std())
            ours = found.auto_correlation_magnitude[0, 0, :, :, o, s].numpy()
            kept = ~np.isnan(ours)
            assert kept.sum() == 12
            expected = lags(magnitude) / magnitude.var()
            np.testing.assert_allclose(ours[kept], expected[kept], rtol=1e-9)
            for p in range(o):
                value = np.corrcoef(magnitude.ravel(), magnitudes[p].ravel())[0, 1]
                index = (o, p, s)
                check("cross_orientation_correlation_magnitude", index, value)
    # The coarser scale at the size of the finer one.
    spectrum = np.fft.fftshift(np.fft.fft2(bands[1]), (1, 2))
    wide = np.pad(spectrum, ((0, 0), (8, 8), (12, 12)))
    coarse = np.fft.ifft2(np.fft.ifftshift(wide, (1, 2)))
    doubled = np.abs(coarse) * np.exp(2j * np.angle(coarse))
    for o in range(3):
        fine = np.abs(bands[0][o]).ravel()
        real = bands[0][o].real.ravel()
        for p in range(3):
            value = np.corrcoef(fine, np.abs(coarse[p]).ravel())[0, 1]
            check("cross_scale_correlation_magnitude", (o, p, 0), value)
            for q, part in ((p, doubled[p].real), (p + 3, doubled[p].imag)):
                part = part.ravel()
                value = real @ part / np.sqrt((real @ real) * (part @ part))
                check("cross_scale_correlation_real", (o, q, 0), value)
    check("var_highpass_residual", 0, (coefficients.highpass.numpy() ** 2).mean())
    # The low-pass images, by leaving out the finer coefficients.
    low = coefficients.lowpass - coefficients.lowpass.mean()
    for level in range(3):
        kept = [b if s >= level else 0 * b for s, b in enumerate(coefficients.bands)]
        partial = replace(
            coefficients,
            highpass=0 * coefficients.highpass,
            bands=tuple(kept),
            lowpass=low,
        )
        whole = np.fft.fftshift(np.fft.fft2(pyramid.synthesise(partial)[0, 0]))
        h, w = 32 >> level, 48 >> level
        cut = whole[16 - h // 2 : 16 + h // 2, 24 - w // 2 : 24 + w // 2]
        x = np.fft.ifft2(np.fft.ifftshift(cut)).real
        check("std_reconstructed", level, x.std())
        check("skew_reconstructed", level, (x**3).mean() / x.std() ** 3)
        check("kurtosis_reconstructed", level, (x**4).mean() / x.var() ** 2)
        ours = found.auto_correlation_reconstructed[0, 0, :, :, level].numpy()
        kept = ~np.isnan(ours)
        np.testing.assert_allclose(ours[kept], (lags(x) / x.var())[kept], rtol=1e-8)


def test_pixel_statistics_are_moments():
    x = textures(1, 1, 32, 32)
    found = portilla_simoncelli(x, n_scales=2).pixel_statistics[0, 0]
    flat = x.numpy().ravel()
    z = flat - flat.mean()
    variance = flat.var(ddof=1)
    expected = [
        flat.mean(),
        variance,
        (z**3).mean() / variance**1.5,
        (z**4).mean() / variance**2,
        flat.min(),
        flat.max(),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("size", [(8, 12), (9, 7)])
def test_lags_are_means_of_products_of_shifted_images(size):
    x = textures(1, 1, *size)[0, 0]
    waves = lag_waves(size, 5, torch.float64, torch.device("cpu"))
    found = lags_of(power(torch.fft.rfft2(x)), waves)
    for row in range(5):
        for column in range(5):
            shifted = x.roll((row - 2, column - 2), (0, 1))
            torch.testing.assert_close(found[row, column], (x * shifted).mean())


@pytest.mark.parametrize("n", [2, 4])
def test_gradients_of_moments_are_right(n):
    values = generator(0, "bands").standard_normal((2, 1, 2, 4, 6, 8))
    bands = torch.complex(*torch.as_tensor(values)).requires_grad_()
    waves = lag_waves((6, 8), 3, torch.float64, torch.device("cpu"))
    assert torch.autograd.gradcheck(lambda z: band_moments(z, n, waves), (bands,))


def test_gradient_where_a_band_vanishes_is_finite():
    x = torch.zeros(1, 1, 64, 64)
    x[..., 32] = 1
    x.requires_grad_()
    model = PortillaSimoncelli((64, 64), n_scales=2)
    found = model(x)
    found.magnitude_std.sum().backward()
    assert x.grad.isfinite().all()


# --------------------------------------------------------------------------- properties


def test_shifts_leave_statistics_alone():
    model = PortillaSimoncelli((64, 64), n_scales=3, dtype=torch.float64)
    x = textures(1, 1, 64, 64)
    a, b = model(x), model(x.roll((8, -16), (-2, -1)))
    assert_same(a, b, rtol=1e-9, atol=1e-9)
    # A shift by one pixel is none by whole pixels of coarser scales.
    c = model(x.roll((1, 1), (-2, -1)))
    first = a.table["scale"].isin(["0", "pixel_statistics"]).to_numpy()
    across = a.table["statistic"].str.startswith("cross_scale").to_numpy()
    at = torch.from_numpy(first & ~across)
    torch.testing.assert_close(
        a.vector()[..., at], c.vector()[..., at], rtol=1e-9, atol=1e-9
    )
    everything = ~a.table["statistic"].isin(
        ["skew_reconstructed", "kurtosis_reconstructed"]
    ).to_numpy(copy=True)
    torch.testing.assert_close(
        a.vector()[..., everything],
        c.vector()[..., everything],
        rtol=0.02,
        atol=0.02,
    )


def test_contrast_scales_spreads_only():
    model = PortillaSimoncelli((64, 64), n_scales=2, dtype=torch.float64)
    x = textures(1, 1, 64, 64)
    a, b = model(x).arrays(), model(3 * x - 0.7).arrays()
    for name in a:
        factor = {"std_reconstructed": 3, "magnitude_std": 3}.get(name, 1)
        factor = 9 if name == "var_highpass_residual" else factor
        if name != "pixel_statistics":
            expected = factor * a[name]
            torch.testing.assert_close(
                b[name], expected, equal_nan=True, rtol=1e-8, atol=1e-9
            )
    scaled = a["pixel_statistics"] * torch.tensor([3, 9, 1, 1, 3, 3.0])
    scaled = scaled + torch.tensor([-0.7, 0, 0, 0, -0.7, -0.7])
    torch.testing.assert_close(b["pixel_statistics"], scaled, rtol=1e-6, atol=1e-6)


def test_inverted_contrast_turns_skews_around():
    model = PortillaSimoncelli((64, 64), n_scales=2, dtype=torch.float64)
    x = textures(1, 1, 64, 64).square()
    a, b = model(x), model(1 - x)
    torch.testing.assert_close(a.skew_reconstructed, -b.skew_reconstructed)
    torch.testing.assert_close(a.kurtosis_reconstructed, b.kurtosis_reconstructed)
    torch.testing.assert_close(a.magnitude_std, b.magnitude_std)


def test_transposition_reflects_orientations():
    """Direction angle becomes pi/2 - angle: bands 0 1 2 3 become 2 1 0 3."""
    model = PortillaSimoncelli((64, 64), n_scales=2, dtype=torch.float64)
    x = textures(1, 1, 64, 64)
    a, b = model(x), model(x.mT)
    order = [2, 1, 0, 3]
    torch.testing.assert_close(a.magnitude_std[:, :, order], b.magnitude_std)
    torch.testing.assert_close(
        a.cross_scale_correlation_magnitude[:, :, order][:, :, :, order],
        b.cross_scale_correlation_magnitude,
    )
    torch.testing.assert_close(a.std_reconstructed, b.std_reconstructed)


def test_batch_and_channels_do_not_matter():
    model = PortillaSimoncelli((64, 64), n_scales=2, dtype=torch.float64)
    x = textures(3, 2, 64, 64)
    whole = model(x).vector()
    for b in range(3):
        for c in range(2):
            alone = model(x[b : b + 1, c : c + 1]).vector()
            torch.testing.assert_close(whole[b, c], alone[0, 0], rtol=1e-10, atol=1e-12)


def test_float32_is_near_float64():
    x = textures(1, 1, 128, 128)
    fine, coarse = (portilla_simoncelli(y).vector() for y in (x, x.float()))
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse.double(), fine, rtol=1e-4, atol=1e-4)


def test_constant_image_has_no_correlations():
    found = portilla_simoncelli(torch.full((1, 1, 96, 96), 0.3), n_scales=2)
    for name, array in found.arrays().items():
        if "correlation" in name or name.startswith(("skew", "kurtosis")):
            assert array.isnan().all(), name
    pixels = found.pixel_statistics[0, 0]
    torch.testing.assert_close(pixels[[0, 4, 5]], torch.full((3,), 0.3))
    assert pixels[2:4].isnan().all()
    assert found.std_reconstructed.abs().max() < 1e-6


def test_constant_image_leaves_others_of_the_batch_alone():
    x = textures(2, 1, 64, 64)
    x[0] = 0.25
    whole = portilla_simoncelli(x, n_scales=2)
    alone = portilla_simoncelli(x[1:], n_scales=2)
    torch.testing.assert_close(whole.vector()[1:], alone.vector())
    assert whole.vector()[0].isnan().sum() > 200


def test_image_without_low_frequencies_has_gaussian_low_pass():
    x = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    x[..., ::2, ::2], x[..., 1::2, 1::2] = 1, 1  # a checkerboard
    found = portilla_simoncelli(x, n_scales=2)
    assert found.skew_reconstructed.tolist() == [[[0, 0, 0]]]
    assert found.kurtosis_reconstructed.tolist() == [[[3, 3, 3]]]


def test_some_statistics_are_as_before():
    y, x = np.mgrid[:64, :64]
    image = torch.as_tensor(np.sin(x * y / 40) + x / 64)[None, None]
    vector = portilla_simoncelli(image, n_scales=3).vector()[0, 0]
    np.testing.assert_allclose(vector[::60], FROZEN, rtol=1e-8)


FROZEN = [
    0.5407477272420659,
    0.9275331804636794,
    0.8724174892850874,
    0.9154648423828866,
    0.9016274768475694,
    2.97407088653201,
    0.35372579584151165,
    0.24109929137609276,
    0.006476229122688948,
]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    model = PortillaSimoncelli((64, 64), n_scales=2, dtype=torch.float64)
    x = textures(2, 3, 64, 64)
    there = model.to("cuda")(x.cuda()).vector()
    torch.testing.assert_close(there.cpu(), model(x).vector(), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------- names and order


def test_vector_has_710_and_337_numbers():
    assert (~statistics_table()["redundant"]).sum() == 710
    assert (~statistics_table(3, 4, 5)["redundant"]).sum() == 337


def test_vector_comes_back():
    found = portilla_simoncelli(textures(2, 3, 64, 64), n_scales=3, neighbourhood=6)
    again = TextureStatistics.from_vector(found.vector(), n_scales=3, neighbourhood=6)
    assert_same(found, again, rtol=0, atol=0)


def test_table_names_the_numbers_of_the_vector():
    found = portilla_simoncelli(textures(1, 1, 64, 64), n_scales=3, neighbourhood=5)
    table, vector = found.table.reset_index(drop=True), found.vector()[0, 0]
    row = table.query("statistic == 'magnitude_std' and scale == '1'")
    at = row.index[row["orientation"] == 2].item()
    assert vector[at] == found.magnitude_std[0, 0, 2, 1]
    name = "cross_scale_correlation_real"
    at = table.query(f"statistic == '{name}' and scale == '0'")
    at = at.index[(at["row"] == 1) & (at["column"] == 6)].item()
    assert vector[at] == found.cross_scale_correlation_real[0, 0, 1, 6, 0]


def test_vector_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"\(B, C, 710\)"):
        TextureStatistics.from_vector(torch.zeros(1, 1, 700))


# ---------------------------------------------------------------------------- synthesis


def test_loss_is_zero_for_equal_statistics_only():
    a = portilla_simoncelli(textures(1, 1, 64, 64), n_scales=2)
    b = portilla_simoncelli(textures(1, 1, 64, 64, seed=1), n_scales=2)
    assert texture_loss(a, a).tolist() == [[0.0]]
    assert texture_loss(a, b).item() > 1e-4


def test_loss_counts_spreads_relative_to_themselves():
    a = portilla_simoncelli(textures(1, 1, 64, 64), n_scales=2)
    b = replace(a, magnitude_std=1.1 * a.magnitude_std)
    # One of eleven families and the range, which weighs a tenth.
    assert texture_loss(a, b).item() == pytest.approx(0.01 / 11.1, rel=1e-9)
    pixels = a.pixel_statistics.clone()
    pixels[..., 4:] *= 1.1
    c = replace(a, pixel_statistics=pixels)
    assert texture_loss(a, c).item() == pytest.approx(0.001 / 11.1, rel=1e-9)


def test_loss_of_other_sizes_is_refused():
    x = textures(1, 1, 64, 64)
    with pytest.raises(ValueError, match="same sizes"):
        texture_loss(
            portilla_simoncelli(x, n_scales=2), portilla_simoncelli(x, n_scales=3)
        )


@pytest.mark.parametrize(("optimiser", "n_steps"), [("lbfgs", 4), ("adam", 60)])
def test_synthesis_approaches_the_target(optimiser, n_steps):
    x = textures(1, 1, 32, 32, dtype=torch.float32)
    options = {"n_scales": 2, "neighbourhood": 5}
    target = portilla_simoncelli(x, **options)
    made, curve = synthesise_texture(
        target, (32, 48), n_steps=n_steps, optimiser=optimiser
    )
    assert made.shape == (1, 1, 32, 48)
    assert curve.shape == (n_steps + 1, 1)
    assert curve[-1, 0] < (1e-3 if optimiser == "lbfgs" else 0.2) * curve[0, 0]
    found = portilla_simoncelli(made, **options)
    assert texture_loss(target, found).item() == pytest.approx(curve[-1, 0], rel=1e-3)


def test_synthesis_depends_on_the_seed_only():
    x = textures(2, 1, 32, 32, dtype=torch.float32)
    target = portilla_simoncelli(x, n_scales=2)
    make = {"shape": (32, 32), "n_steps": 1, "optimiser": "adam"}
    a, curves = synthesise_texture(target, **make)
    assert curves.shape == (2, 2)
    assert torch.equal(a, synthesise_texture(target, **make)[0])
    assert not torch.equal(a, synthesise_texture(target, **make, seed=1)[0])
    first = TextureStatistics(**{k: v[:1] for k, v in target.arrays().items()})
    torch.testing.assert_close(a[:1], synthesise_texture(first, **make)[0])


# ------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (64, 64)}, "fewer than the neighbourhood"),
        ({"shape": (72, 64), "n_scales": 4, "neighbourhood": 3}, "divisible by"),
        ({"shape": (64, 64), "n_scales": 0}, "n_scales"),
        ({"shape": (64, 64), "n_scales": 2, "n_orientations": 1}, "n_orientations"),
        ({"shape": (64, 64), "n_scales": 2, "neighbourhood": 0}, "neighbourhood"),
        ({"shape": (64, 64), "n_scales": 2, "masks": "tabel"}, "Did you mean 'table'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PortillaSimoncelli(**arguments)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        portilla_simoncelli(torch.zeros(64, 64))
    with pytest.raises(ValueError, match="dtype"):
        portilla_simoncelli(torch.zeros(1, 1, 128, 128, dtype=torch.int64))
    model = PortillaSimoncelli((64, 64), n_scales=2)
    with pytest.raises(ValueError, match=r"\(B, C, 64, 64\)"):
        model(torch.zeros(1, 1, 32, 32))


def test_target_without_variance_is_refused():
    target = portilla_simoncelli(textures(1, 1, 32, 32), n_scales=2)
    pixels = target.pixel_statistics * torch.nan
    with pytest.raises(ValueError, match="finite mean and variance"):
        synthesise_texture(replace(target, pixel_statistics=pixels), (32, 32))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_pixel_that_is_not_finite_leaves_no_number(value):
    images = textures(1, 2, 32, 32)
    images[0, 1, 3, 4] = value
    model = PortillaSimoncelli(
        (32, 32), n_scales=2, neighbourhood=3, dtype=torch.float64
    )
    vector = model(images).vector()
    assert vector[0, 1].isnan().all()
    torch.testing.assert_close(vector[:, :1], model(images[:, :1]).vector())


def test_mixed_precision_of_the_caller_changes_nothing():
    images = textures(1, 1, 32, 32, dtype=torch.float32)
    model = PortillaSimoncelli((32, 32), n_scales=2, neighbourhood=3)
    plain = model(images).vector()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (model(images).vector() == plain).all()
