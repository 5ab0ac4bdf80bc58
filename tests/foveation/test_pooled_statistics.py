"""Statistics in pooling windows."""

import math

import numpy as np
import pytest
import torch

from neurovis.core.files import canonical_json
from neurovis.foveation.pooled_statistics import PooledStatistics
from neurovis.foveation.portilla_simoncelli import PortillaSimoncelli
from neurovis.foveation.pyramid_parts import (
    PyramidParts,
    half_neighbourhood,
    lag_products,
)
from neurovis.foveation.steerable_pyramid import SteerablePyramid
from neurovis.foveation.windows import pooling_windows
from stimuli.category_pictures import make_category_pictures


def noise(*shape, dtype=torch.float64, seed=0):
    """Smoothed noise in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.rand(shape, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.avg_pool2d(white, 3, 1, 1)
    return (0.5 * white + 0.5 * smooth).to(dtype)


def whole(shape, **options):
    """Statistics of the whole image as one window."""
    return PooledStatistics(pooling_windows(shape, 0), **options)


@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
@pytest.mark.parametrize("n_orientations", [4, 3])
def test_one_window_over_everything_gives_the_global_statistics(shape, n_orientations):
    options = {
        "n_scales": 3,
        "n_orientations": n_orientations,
        "neighbourhood": 5,
    }
    images = noise(2, 2, *shape)
    model = whole(shape, **options)
    ours = {name: value[:, :, 0] for name, value in model(images).items()}
    theirs = PortillaSimoncelli(shape, dtype=torch.float64, **options)(images)
    lags = [(i + 2, j + 2) for i, j in model.lags]
    rows, columns = np.tril_indices(n_orientations, -1)

    def at_lags(values):
        return torch.stack([values[:, :, i, j] for i, j in lags], 2)

    magnitudes = at_lags(theirs.auto_correlation_magnitude)
    pairs = theirs.cross_orientation_correlation_magnitude[:, :, rows, columns]
    mean, variance, skew, kurtosis = theirs.pixel_statistics.unbind(-1)[:4]
    n = math.prod(shape)
    expected = {
        "pixel_mean": mean,
        # The global variance divides by n - 1.
        "pixel_variance": variance * (n - 1) / n,
        "pixel_skew": skew * (n / (n - 1)) ** 1.5,
        "pixel_kurtosis": kurtosis * (n / (n - 1)) ** 2,
        "magnitude_std": theirs.magnitude_std,
        "auto_correlation_magnitude": magnitudes,
        "cross_orientation_correlation_magnitude": pairs,
        "cross_scale_correlation_magnitude": theirs.cross_scale_correlation_magnitude,
        "cross_scale_correlation_real": theirs.cross_scale_correlation_real,
        "std_reconstructed": theirs.std_reconstructed,
        "skew_reconstructed": theirs.skew_reconstructed,
        "kurtosis_reconstructed": theirs.kurtosis_reconstructed,
        "auto_correlation_reconstructed": at_lags(
            theirs.auto_correlation_reconstructed
        ),
        "var_highpass_residual": theirs.var_highpass_residual[..., 0],
    }
    assert set(ours) - set(expected) == {"magnitude_mean"}
    for name, value in expected.items():
        np.testing.assert_allclose(
            ours[name], value, rtol=1e-10, atol=1e-11, err_msg=name
        )


def test_each_window_gives_weighted_averages():
    windows = pooling_windows((64, 64), 0.6, fixation_px=(30, 25), fovea_deg=4)
    model = PooledStatistics(windows, n_scales=2, neighbourhood=3)
    images = noise(1, 1, 64, 64)
    found = {name: value[0, 0] for name, value in model(images).items()}
    pyramid = SteerablePyramid((64, 64), n_scales=2, dtype=torch.float64)
    bands = [band[0, 0].numpy() for band in pyramid.analyse(images).bands]
    pixels = images[0, 0].numpy()
    wide = np.zeros((4, 64, 64), complex)
    # Coarse bands at the fine size, by zeros around their spectra.
    wide[:, 16:48, 16:48] = np.fft.fftshift(np.fft.fft2(bands[1]), (-2, -1))
    coarse = np.fft.ifft2(np.fft.ifftshift(wide, (-2, -1)))
    doubled = np.abs(coarse) * np.exp(2j * np.angle(coarse))
    weights = [
        model.operators.spread(level, torch.eye(windows.n_windows).double()[None])
        for level in (0, 1)
    ]
    checked = [0, 5, 20, windows.n_windows - 1]
    for i in checked:
        shares = [w[0, i].numpy() / w[0, i].numpy().sum() for w in weights]
        mean = (shares[0] * pixels).sum()
        variance = (shares[0] * (pixels - mean) ** 2).sum()
        third = (shares[0] * (pixels - mean) ** 3).sum()
        assert found["pixel_mean"][i] == pytest.approx(mean)
        assert found["pixel_variance"][i] == pytest.approx(variance)
        assert found["pixel_skew"][i] == pytest.approx(third / variance**1.5)
        for level, share in enumerate(shares):
            size = np.abs(bands[level])
            means = (share * size).sum(axis=(1, 2))
            spread = np.sqrt((share * size**2).sum(axis=(1, 2)) - means**2)
            np.testing.assert_allclose(found["magnitude_mean"][i, :, level], means)
            np.testing.assert_allclose(found["magnitude_std"][i, :, level], spread)
            lag = model.lags.index((1, 0))
            moved = np.roll(size, -1, axis=1)
            product = (share * size * moved).sum(axis=(1, 2))
            ours = found["auto_correlation_magnitude"][i, lag, :, level]
            expected = (product - means**2) / spread**2
            np.testing.assert_allclose(ours[ours.isfinite()], expected[ours.isfinite()])
            ours = found["cross_orientation_correlation_magnitude"][i, 1, level]
            product = (share * size[2] * size[0]).sum() - means[2] * means[0]
            if ours.isfinite():
                assert ours == pytest.approx(product / spread[2] / spread[0])
        share, fine = shares[0], bands[0]
        size = np.abs(fine[1]), np.abs(coarse[3])
        first, second = ((share * s).sum() for s in size)
        own = [np.sqrt((share * s**2).sum() - (share * s).sum() ** 2) for s in size]
        expected = ((share * size[0] * size[1]).sum() - first * second) / math.prod(own)
        ours = found["cross_scale_correlation_magnitude"][i, 1, 3, 0]
        assert ours == pytest.approx(expected)
        real = fine[1].real
        for column, other in ((3, doubled[3].real), (7, doubled[3].imag)):
            root = np.sqrt((share * real**2).sum() * (share * other**2).sum())
            expected = (share * real * other).sum() / root
            ours = found["cross_scale_correlation_real"][i, 1, column, 0]
            assert ours == pytest.approx(expected)


def test_energy_is_the_mean_squared_magnitude_of_each_band():
    windows = pooling_windows((32, 32), 0.8)
    model = PooledStatistics(windows, model="energy", n_scales=2)
    images = noise(2, 3, 32, 32)
    found = model(images)
    assert list(found) == ["pixel_mean", "energy"]
    bands = SteerablePyramid((32, 32), n_scales=2, dtype=torch.float64).analyse(images)
    for level in (0, 1):
        for o in range(4):
            energy = bands.bands[level][:, :, o].abs().square()
            expected = model.operators.pool(level, energy)
            np.testing.assert_allclose(found["energy"][..., o, level], expected)


def test_luminance_is_the_mean_alone_for_any_shape():
    windows = pooling_windows((37, 50), 0.8)
    images = noise(1, 2, 37, 50)
    found = PooledStatistics(windows, model="luminance")(images)
    expected = PooledStatistics(windows, model="luminance").operators.pool(0, images)
    assert list(found) == ["pixel_mean"]
    assert torch.equal(found["pixel_mean"], expected)


def test_scaling_contrast_changes_amplitudes_only():
    model = PooledStatistics(
        pooling_windows((64, 64), 0.6), n_scales=2, neighbourhood=3
    )
    images = noise(1, 1, 64, 64)
    plain, scaled = model(images), model(0.5 * images + 0.2)
    for name, value in plain.items():
        factor, offset = 1.0, 0.0
        if name == "pixel_mean":
            factor, offset = 0.5, 0.2
        elif name in ("pixel_variance", "var_highpass_residual"):
            factor = 0.25
        elif name.startswith(("magnitude", "std")):
            factor = 0.5
        np.testing.assert_allclose(
            scaled[name], factor * value + offset, rtol=1e-6, atol=1e-8, err_msg=name
        )


def test_float32_agrees_with_float64_on_a_picture():
    picture = make_category_pictures(1, size_px=128).load(0)
    images = torch.from_numpy(picture / 255).movedim(2, 0)[None]
    model = PooledStatistics(pooling_windows((128, 128), 0.5), n_scales=3)
    double, single = model(images), model(images.float())
    for name, value in double.items():
        assert single[name].dtype == torch.float32
        both = value.isfinite() & single[name].isfinite()
        assert both.sum() >= 0.98 * value.isfinite().sum()
        error = (single[name] - value)[both].abs().quantile(0.99)
        assert error < 1e-3 * value[both].abs().max(), name


def test_small_windows_have_no_higher_statistics_there():
    model = PooledStatistics(
        pooling_windows((64, 64), 0.4), n_scales=3, neighbourhood=5
    )
    found = model(noise(1, 1, 64, 64))
    squares, sums = model.operators.window_squares, model.operators.window_sums
    few = torch.from_numpy(sums[3] ** 2 / squares[3] < 8)
    assert few.any()
    assert found["skew_reconstructed"][0, 0, few, 3].isnan().all()
    assert found["skew_reconstructed"][0, 0, ~few, 3].isfinite().all()
    for name in ("pixel_mean", "magnitude_mean", "magnitude_std", "std_reconstructed"):
        assert found[name].isfinite().all()


def test_flat_images_are_undefined_where_nothing_varies_and_gradients_stay_finite():
    images = noise(1, 1, 64, 64)
    images[..., 32:] = 0.5
    images.requires_grad_()
    model = PooledStatistics(
        pooling_windows((64, 64), 0.8), n_scales=2, neighbourhood=3
    )
    found = model(images)
    assert found["pixel_skew"].isnan().any()
    assert (found["pixel_variance"] >= 0).all()
    total = sum(torch.nan_to_num(value).sum() for value in found.values())
    total.backward()
    assert images.grad.isfinite().all()
    blank = model(torch.full((1, 1, 64, 64), 0.5))
    assert blank["pixel_skew"].isnan().all()
    assert blank["magnitude_std"].max() < 1e-6


def test_gradients_are_those_of_differences():
    model = whole((16, 16), n_scales=1, neighbourhood=3)
    images = noise(1, 1, 16, 16).requires_grad_()

    def total(x):
        return torch.stack([value.square().sum() for value in model(x).values()])

    assert torch.autograd.gradcheck(total, images, atol=1e-4, fast_mode=True)


def test_channels_and_images_do_not_mix():
    model = PooledStatistics(
        pooling_windows((32, 32), 0.8), n_scales=2, neighbourhood=3
    )
    images = noise(2, 3, 32, 32)
    together = model(images)
    alone = model(images[1:, 2:])
    for name, value in together.items():
        np.testing.assert_allclose(value[1:, 2:], alone[name], rtol=1e-9, atol=1e-12)


def test_the_vector_is_named():
    model = PooledStatistics(
        pooling_windows((32, 32), 0.8), n_scales=2, neighbourhood=3
    )
    values = model(noise(1, 2, 32, 32))
    table, vector = model.table(values), model.vector(values)
    assert vector.shape == (1, 2, len(table))
    row = table.query("statistic == 'magnitude_std' and window == 7").index[3]
    expected = values["magnitude_std"][0, 1, 7].flatten()[3]
    assert vector[0, 1, row] == expected


def test_statistics_stay_as_they_were_when_frozen():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    image = 0.5 + 0.3 * torch.sin(x * y / 40) + 0.1 * torch.cos(x / 2 + y)
    model = PooledStatistics(
        pooling_windows((32, 32), 0.8), n_scales=2, neighbourhood=3
    )
    found = model(image.double()[None, None])
    values = [float(torch.nan_to_num(value).abs().mean()) for value in found.values()]
    expected = [5.144890e-01, 2.305074e-02, 3.163000e-01, 1.593462e00, 1.889640e-01]
    expected += [4.105119e-02, 5.865988e-01, 2.149701e-01, 2.954628e-01, 1.848549e-01]
    expected += [5.257519e-01, 1.429034e-01, 7.310883e-01, 1.296443e-01, 1.939112e-04]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_half_a_neighbourhood_holds_one_lag_of_each_pair():
    lags = half_neighbourhood(7)
    assert len(lags) == 24
    assert len({*lags, *((-i, -j) for i, j in lags)}) == 48
    assert half_neighbourhood(1) == []


@pytest.mark.parametrize("lags", [[(1, -2), (0, 0)], [(-2, 1)], [(0, 0)]])
def test_lag_products_wrap_around(lags):
    maps = noise(2, 6, 5).requires_grad_()
    found = lag_products(maps, lags)
    for i, (down, right) in enumerate(lags):
        moved = torch.roll(maps, (-down, -right), (1, 2))
        assert torch.allclose(found[:, i], maps * moved)
    assert torch.autograd.gradcheck(lambda x: lag_products(x, lags), maps)


def test_parts_are_the_bands_of_the_pyramid():
    images = noise(1, 2, 32, 48)
    parts = PyramidParts((32, 48), 2, 4, "exact")
    pyramid = SteerablePyramid((32, 48), n_scales=2, dtype=torch.float64)
    expected = pyramid.analyse(images)
    scales = list(parts.scales(images))
    assert len(scales) == 3
    for scale, band in zip(scales, expected.bands, strict=False):
        np.testing.assert_allclose(scale.bands[:, :, :4], band, atol=1e-12)
    np.testing.assert_allclose(parts.highpass(images), expected.highpass, atol=1e-12)
    # The sum of all but the high-pass residual, without the mean.
    low = images - images.mean((-2, -1), keepdim=True)
    low = low - parts.highpass(parts.highpass(images))
    np.testing.assert_allclose(scales[0].low, low, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "textures"}, "`model` must be .* Did you mean 'texture'"),
        ({"n_scales": 0}, "`n_scales`"),
        ({"n_orientations": 1}, "`n_orientations`"),
        ({"neighbourhood": 4}, "`neighbourhood` must be odd"),
        ({"masks": "exactly"}, "`masks` must be"),
        ({"n_scales": 6}, "divisible by 2"),
        ({"n_scales": 3}, "leave 4 samples"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PooledStatistics(pooling_windows((32, 32), 0.5), **options)


def test_wrong_images_are_named():
    model = PooledStatistics(pooling_windows((32, 32), 0.5), n_scales=2)
    with pytest.raises(ValueError, match="`images` must have shape"):
        model(torch.zeros(1, 1, 32, 33))
    with pytest.raises(TypeError, match=r"float32 or float64 tensor; got torch\.uint8"):
        model(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
    with pytest.raises(TypeError, match="got ndarray"):
        model(np.zeros((1, 1, 32, 32)))


def test_identity_is_json_and_tells_models_apart():
    windows = pooling_windows((32, 32), 0.5)
    a, b = (PooledStatistics(windows, n_scales=n, neighbourhood=3) for n in (1, 2))
    assert canonical_json(a.identity) != canonical_json(b.identity)


@pytest.mark.parametrize("model", ["texture", "energy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flat_image_has_no_amplitude_at_all(model, dtype):
    statistics = PooledStatistics(
        pooling_windows((64, 64), 0.6), model=model, n_scales=3
    )
    found = statistics(torch.full((1, 1, 64, 64), 0.4, dtype=dtype))
    names = [
        name
        for name in found
        if name == "energy" or "std" in name or "var" in name or name.startswith("mag")
    ]
    assert len(names) == (1 if model == "energy" else 5)
    for name in names:
        assert (found[name] == 0).all(), name


def test_a_pixel_that_is_not_a_number_leaves_no_number_in_filtered_statistics():
    statistics = PooledStatistics(pooling_windows((32, 32), 0.8), n_scales=2)
    images = noise(1, 1, 32, 32)
    images[..., 3, 4] = torch.nan
    found = statistics(images)
    for name in ("magnitude_std", "std_reconstructed", "var_highpass_residual"):
        assert found[name].isnan().all(), name


@pytest.mark.parametrize("model", ["texture", "energy", "luminance"])
def test_a_first_call_in_inference_mode_leaves_gradients_possible(model):
    statistics = PooledStatistics(
        pooling_windows((32, 32), 0.8), model=model, n_scales=2
    )
    images = noise(1, 1, 32, 32)
    with torch.inference_mode():
        statistics(images)
    images.requires_grad_()
    torch.nan_to_num(statistics.vector(statistics(images))).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad != 0).any()


def test_no_images_are_refused():
    statistics = PooledStatistics(pooling_windows((32, 32), 0.8), n_scales=2)
    with pytest.raises(ValueError, match="`images` is empty"):
        statistics(torch.zeros(0, 1, 32, 32))
