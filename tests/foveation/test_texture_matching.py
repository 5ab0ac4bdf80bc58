"""Local statistics of pyramids, measured and given."""

import numpy as np
import pytest
import torch

from neurovis.foveation.pooling import PoolingOperators
from neurovis.foveation.steerable_pyramid import SteerablePyramid
from neurovis.foveation.texture_matching import (
    Moments,
    local_covariance,
    local_moments,
    local_statistics,
    match_moments,
    match_statistics,
    orientation_maps,
)
from neurovis.foveation.windows import pooling_windows, window_matrix


def _noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def operators():
    return PoolingOperators(pooling_windows((64, 64), 0.6), 3)


@pytest.fixture(scope="module")
def one_window():
    return PoolingOperators(pooling_windows((32, 32), 0), 1)


def test_local_moments_match_a_dense_weighted_average(operators):
    maps = _noise(2, 3, 64, 64) + 0.5
    found = local_moments(operators, 0, maps)
    weights = window_matrix(operators.windows, np.float64).toarray()
    values = maps.double().flatten(2).numpy()
    for window, row in enumerate(weights):
        mean = np.average(values, axis=-1, weights=row)
        variance = np.average((values - mean[..., None]) ** 2, axis=-1, weights=row)
        np.testing.assert_allclose(found.mean[:, :, window], mean, atol=1e-5)
        np.testing.assert_allclose(found.variance[:, :, window], variance, atol=2e-5)


def test_local_covariance_matches_numpy(operators):
    magnitudes = _noise(1, 2, 4, 64, 64).abs()
    found = local_covariance(operators, 0, magnitudes)
    weights = window_matrix(operators.windows, np.float64).toarray()
    for window in (0, 5, len(weights) - 1):
        for channel in range(2):
            values = magnitudes[0, channel].double().flatten(1).numpy()
            wanted = np.cov(values, aweights=weights[window], ddof=0)
            np.testing.assert_allclose(found[0, channel, window], wanted, atol=1e-5)


def test_one_window_gets_exactly_the_moments_that_are_wanted(one_window):
    target = Moments(torch.tensor([[[0.3], [-2.0]]]), torch.tensor([[[0.04], [9.0]]]))
    matched = match_moments(one_window, 0, _noise(1, 2, 32, 32), target)
    found = local_moments(one_window, 0, matched)
    assert torch.allclose(found.mean, target.mean, atol=1e-5)
    assert torch.allclose(found.variance, target.variance, rtol=1e-4)


def test_maps_that_have_their_moments_stay_as_they_are(operators):
    maps = _noise(1, 2, 64, 64)
    matched = match_moments(operators, 0, maps, local_moments(operators, 0, maps))
    assert torch.allclose(matched, maps, atol=1e-5)


def test_what_is_flat_is_not_blown_up(operators):
    flat = torch.full((1, 1, 64, 64), 0.25) + 1e-4 * _noise(1, 1, 64, 64)
    other = torch.full((1, 1, 64, 64), 0.5)
    target = local_moments(operators, 0, other)
    matched = match_moments(operators, 0, flat, target)
    assert (matched - 0.5).abs().max() < 1e-3


@pytest.mark.parametrize("n_orientations", [2, 4, 6])
def test_orientation_maps_turn_one_covariance_into_the_other(n_orientations):
    a, b = (
        part @ part.mT / 20
        for part in _noise(2, 5, n_orientations, 20, seed=n_orientations).double()
    )
    maps = orientation_maps(a, b)
    eye = torch.eye(n_orientations)
    ridged = [
        part + 1e-2 * part.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * eye
        for part in (a, b)
    ]
    assert torch.allclose(maps @ ridged[0] @ maps, ridged[1], atol=1e-5)
    assert torch.allclose(maps, maps.mT)
    assert (torch.linalg.eigvalsh(maps) > 0).all()


def test_orientation_maps_between_equal_covariances_do_nothing():
    part = _noise(4, 9)
    covariance = part @ part.T
    found = orientation_maps(covariance, covariance)
    assert torch.allclose(found, torch.eye(4), atol=1e-5)


def test_orientation_maps_survive_what_does_not_vary():
    found = orientation_maps(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4))
    assert torch.allclose(found, torch.eye(4).expand(3, 4, 4), atol=1e-5)


@pytest.mark.parametrize("orientation_matching", [False, True])
def test_a_picture_given_its_own_statistics_stays_as_it_is(
    operators, orientation_matching
):
    image = _noise(1, 2, 64, 64).mul(0.1).add(0.5)
    pyramid = SteerablePyramid((64, 64), n_scales=2, tight_frame=True)
    coefficients = pyramid.analyse(image)
    target = local_statistics(
        operators, image, coefficients, orientation_matching=orientation_matching
    )
    again = pyramid.synthesise(match_statistics(operators, coefficients, target))
    assert (again - image).abs().max() < 2e-4


@pytest.mark.parametrize("orientation_matching", [False, True])
def test_rounds_of_matching_bring_statistics_near_those_wanted(
    operators, orientation_matching
):
    pyramid = SteerablePyramid((64, 64), n_scales=2, tight_frame=True)
    stripes = torch.sin(torch.arange(64) * 1.2).expand(1, 1, 64, 64)
    wanted = stripes * torch.linspace(0.05, 0.3, 64)[:, None]
    start = _noise(1, 1, 64, 64) * 0.1

    def measure(image):
        return local_statistics(
            operators, image, pyramid.analyse(image), orientation_matching=True
        )

    target = local_statistics(
        operators,
        wanted,
        pyramid.analyse(wanted),
        orientation_matching=orientation_matching,
    )
    image = start
    for _ in range(4):
        changed = match_statistics(operators, pyramid.analyse(image), target)
        image = pyramid.synthesise(changed)
    before, after = measure(start), measure(image)
    for level in range(2):
        errors = [
            (found.magnitudes[level].mean - target.magnitudes[level].mean).abs().mean()
            for found in (before, after)
        ]
        assert errors[1] < 0.5 * errors[0]
