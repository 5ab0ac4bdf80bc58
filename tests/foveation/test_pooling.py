"""Averages in windows and back, at every level of a pyramid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.foveation.lcv_windows import lcv_windows
from neurovis.foveation.pooling import PoolingOperators
from neurovis.foveation.steerable_pyramid import SteerablePyramid
from neurovis.foveation.windows import (
    fovea_weight,
    pooling_windows,
    window_matrix,
)


def noise(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype)


def level_weights(windows, level):
    """Windows averaged over the pixels nearest to each sample, one by one."""
    height, width = windows.shape
    full = window_matrix(windows, np.float64).toarray().reshape(-1, height, width)
    step = 2**level
    h, w = -(-height // step), -(-width // step)
    found = np.zeros((len(full), h, w))
    count = np.zeros((h, w))
    for y in range(height):
        for x in range(width):
            i = min((y + step // 2) // step, h - 1)
            j = min((x + step // 2) // step, w - 1)
            found[:, i, j] += full[:, y, x]
            count[i, j] += 1
    return found / count


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("shape", [(32, 48), (37, 30)])
def test_pool_and_spread_equal_weighted_means(level, shape):
    windows = pooling_windows(shape, 0.6, fixation_px=(20, 11))
    operators = PoolingOperators(windows, 4)
    weights = level_weights(windows, level)
    flat = weights.reshape(len(weights), -1)
    maps = noise(2, 3, *weights.shape[1:])
    found = operators.pool(level, maps)
    expected = maps.numpy().reshape(2, 3, -1) @ flat.T / flat.sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    values = noise(2, 3, operators.n_windows)
    found = operators.spread(level, values)
    expected = values.numpy() @ flat / flat.sum(axis=0)
    np.testing.assert_allclose(found.reshape(2, 3, -1), expected, atol=1e-12)
    np.testing.assert_allclose(operators.window_sums[level], flat.sum(axis=1))
    squares = (flat**2).sum(axis=1)
    np.testing.assert_allclose(operators.window_squares[level], squares)


def test_float32_is_as_accurate_as_float32_can_be():
    windows = pooling_windows((128, 128), 0.4)
    operators = PoolingOperators(windows, 1)
    maps = noise(1, 5, 128, 128) + 3
    single, double = (operators.pool(0, m) for m in (maps.float(), maps))
    assert single.dtype == torch.float32
    assert (single - double).abs().max() < 4e-6  # means are about 3


@given(value=st.floats(-100, 100), level=st.integers(0, 2))
@settings(max_examples=10)
def test_constants_pass_through(value, level):
    operators = PoolingOperators(pooling_windows((32, 32), 0.5), 3)
    side = 32 >> level
    maps = torch.full((1, 1, side, side), value, dtype=torch.float64)
    pooled = operators.pool(level, maps)
    np.testing.assert_allclose(pooled, value, atol=1e-9)
    np.testing.assert_allclose(operators.spread(level, pooled), value, atol=1e-9)


def test_gradients_are_those_of_the_sums():
    operators = PoolingOperators(pooling_windows((16, 16), 1.0), 2)
    maps = noise(1, 2, 8, 8).requires_grad_()
    values = noise(1, 2, operators.n_windows).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: operators.pool(1, x), maps)
    assert torch.autograd.gradcheck(lambda x: operators.spread(1, x), values)
    assert torch.autograd.gradgradcheck(lambda x: operators.pool(1, x) ** 2, maps)


@pytest.mark.parametrize("company", [2, 3, 8, 17])
def test_a_map_has_the_same_bits_alone_and_in_company(company):
    operators = PoolingOperators(pooling_windows((64, 64), 0.4), 2)
    maps = noise(1, company, 64, 64, dtype=torch.float32)
    values = noise(1, company, operators.n_windows, dtype=torch.float32)
    for i in range(company):
        alone = operators.pool(0, maps[:, i : i + 1])
        assert torch.equal(alone, operators.pool(0, maps)[:, i : i + 1])
        alone = operators.spread(0, values[:, i : i + 1])
        assert torch.equal(alone, operators.spread(0, values)[:, i : i + 1])


def test_windows_lie_where_the_samples_of_the_pyramid_lie():
    # A blob at fixation must stay in the centre of the fovea at every level.
    fixation = (40.0, 24.0)
    windows = pooling_windows((64, 64), 0.5, fixation_px=fixation)
    operators = PoolingOperators(windows, 4)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    blob = torch.exp(-((x + 0.5 - 40) ** 2 + (y + 0.5 - 24) ** 2) / 60)
    low = SteerablePyramid((64, 64), n_scales=3).analyse(blob[None, None]).lowpass
    weight = torch.zeros(1, 1, operators.n_windows)
    weight[..., 0] = 1
    fovea = operators.spread(3, weight)[0, 0]
    grid = torch.arange(8.0)

    def centre(image):
        image = image.clamp(min=0)
        return [float((image.sum(a) * grid).sum() / image.sum()) for a in (0, 1)]

    for ours, blobs in zip(centre(fovea), centre(low[0, 0]), strict=True):
        assert ours == pytest.approx(blobs, abs=0.2)


def test_the_fovea_spreads_by_its_weight():
    windows = pooling_windows((48, 48), 0.4)
    operators = PoolingOperators(windows, 1)
    values = torch.zeros(1, 1, operators.n_windows, dtype=torch.float64)
    values[..., 0] = 1
    found = operators.spread(0, values)[0, 0]
    np.testing.assert_allclose(found, fovea_weight(windows), atol=1e-12)


def test_pixels_without_windows_get_0():
    operators = PoolingOperators(lcv_windows(32, 0.5, min_eccentricity_deg=3), 1)
    found = operators.spread(0, torch.ones(1, 1, operators.n_windows))[0, 0]
    assert found[16, 16] == 0
    assert found[1, 16] == pytest.approx(1)
    pooled = operators.pool(0, torch.ones(1, 1, 32, 32))
    assert torch.allclose(pooled, torch.ones_like(pooled))


def test_moving_the_weights_early_changes_nothing():
    windows = pooling_windows((32, 32), 0.5)
    maps = noise(1, 2, 16, 16, dtype=torch.float32)
    early = PoolingOperators(windows, 2).to("cpu")
    assert torch.equal(early.pool(1, maps), PoolingOperators(windows, 2).pool(1, maps))


def test_wrong_maps_are_named():
    operators = PoolingOperators(pooling_windows((32, 32), 0.5), 2)
    with pytest.raises(ValueError, match=r"`maps` of level 1 .* \(B, C, 16, 16\)"):
        operators.pool(1, torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="`values` must have shape"):
        operators.spread(0, torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match="`level` must be within"):
        operators.pool(2, torch.zeros(1, 1, 8, 8))
    with pytest.raises(TypeError, match="float32 or float64"):
        operators.pool(0, torch.zeros(1, 1, 32, 32, dtype=torch.int64))
    with pytest.raises(ValueError, match="`n_levels` 9 is too many"):
        PoolingOperators(pooling_windows((32, 32), 0.5), 9)
    with pytest.raises(ValueError, match="`n_levels`"):
        PoolingOperators(pooling_windows((32, 32), 0.5), 0)
