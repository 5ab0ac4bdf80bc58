"""Balancing, rectification and overlap: published numbers, and plain NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurovis.generation.noise_combination import (
    balance_weights,
    combine_noise,
    correlate_noises,
    rectification,
    segregation_loss,
    to_alignments,
)

POSITIVE = st.floats(0.01, 10)


def draw_noises(k=2, n=3, size_px=32, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(k, n, 3, size_px, size_px, generator=stream)


# ---------------------------------------------------------------- balancing


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, (0.4, 0.6)), (15, (0.35247, 0.64753)), (29, (0.31058, 0.68942))],
)
def test_balancing_gives_the_published_numbers(step, expected):
    alignments = np.array([0.3, 0.2])
    found = balance_weights(torch.from_numpy(alignments), step).numpy()
    powers = alignments ** (-1 - step / 30)
    assert found == pytest.approx(powers / powers.sum(), abs=1e-12)
    assert found == pytest.approx(expected, abs=5e-6)


@given(st.lists(POSITIVE, min_size=2, max_size=4), st.floats(0, 30))
def test_weights_sum_to_one_and_favour_the_least_expressed(alignments, step):
    found = balance_weights(torch.tensor(alignments, dtype=torch.float64), step)
    assert float(found.sum()) == pytest.approx(1)
    assert found.argmax() == int(np.argmin(alignments))
    later = balance_weights(torch.tensor(alignments, dtype=torch.float64), step + 1)
    assert later.max() >= found.max() - 1e-12


def test_samples_are_balanced_one_by_one():
    alignments = torch.tensor([[0.3, 1.0], [0.2, 3.0]])
    found = balance_weights(alignments, 15)
    for i in range(2):
        assert torch.allclose(found[:, i], balance_weights(alignments[:, i], 15))


@pytest.mark.parametrize("wrong", [0.0, -0.1, float("nan")])
def test_alignments_that_are_not_positive_are_refused(wrong):
    with pytest.raises(ValueError, match="must be positive: see `to_alignments`"):
        balance_weights(torch.tensor([0.3, wrong]), 0)


@pytest.mark.parametrize("step", [-1, float("nan")])
def test_steps_before_the_first_are_refused(step):
    with pytest.raises(ValueError, match="`step` must be within"):
        balance_weights(torch.tensor([0.3, 0.2]), step)


def test_alignments_are_positive_and_rise_with_the_objective():
    objectives = torch.linspace(-800, 800, 1601, dtype=torch.float64)[None]
    found = to_alignments(objectives)[0]
    assert (found > 0).all()
    assert (found.diff() >= 0).all()
    assert float(found[800]) == pytest.approx(np.log(2))
    assert float(found[-1]) == 800
    assert torch.isfinite(balance_weights(found, 30)).all()


def test_a_baseline_makes_objectives_z_scores():
    objectives = torch.tensor([[3.0, 5.0], [10.0, -10.0]])
    found = to_alignments(objectives, [(3, 2), (0, 10)])
    assert torch.equal(found, to_alignments(torch.tensor([[0.0, 1.0], [1.0, -1.0]])))


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        ([(0, 1)], r"per view \(2\); got 1"),
        ([(0, 1), (0, 0)], "must not be 0"),
        ([(0, 1), (float("nan"), 1)], "`baselines` must be within"),
        ([(0, 1), (0, -1)], "`baselines` must be within"),
    ],
)
def test_baselines_that_cannot_be_are_refused(baselines, message):
    with pytest.raises(ValueError, match=message):
        to_alignments(torch.zeros(2, 3), baselines)


# ---------------------------------------------------------------- rectification


def correlations(rho, k=2):
    return torch.full((k, k), rho, dtype=torch.float64).fill_diagonal_(1)


@pytest.mark.parametrize(
    ("weights", "rho", "expected"),
    [
        ((0.4, 0.6), 0.4, 1.18511366),
        ((0.5, 0.5), 0.4, 1.19522861),
        ((0.4, 0.6), 1.0, 1.0),
        ((0.5, 0.5), 0.0, np.sqrt(2)),
    ],
)
def test_rectification_gives_the_published_numbers(weights, rho, expected):
    weights = torch.tensor(weights, dtype=torch.float64)
    found = rectification(weights, correlations(rho))
    assert float(found) == pytest.approx(expected, abs=1e-8)


@given(st.lists(POSITIVE, min_size=1, max_size=4))
def test_equal_predictions_need_no_rectification(weights):
    weights = torch.tensor(weights, dtype=torch.float64)
    found = rectification(weights / weights.sum(), correlations(1.0, len(weights)))
    assert float(found) == pytest.approx(1)


def test_views_that_cancel_each_other_stay_finite():
    noise = draw_noises(1)
    found = combine_noise(torch.cat([noise, -noise]), torch.tensor([0.5, 0.5]))
    assert torch.equal(found, torch.zeros_like(found))


def test_correlations_are_those_of_numpy():
    noises = draw_noises(3, 2, 8)
    noises[1] += noises[0]
    found = correlate_noises(noises)
    for i in range(2):
        flat = noises[:, i].flatten(1).double().numpy()
        lengths = np.sqrt((flat**2).mean(1))
        expected = flat @ flat.T / flat.shape[1] / np.outer(lengths, lengths)
        assert np.allclose(found[..., i], expected, atol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 0.7)])
def test_combined_noise_has_unit_variance(rho, weights):
    noises = draw_noises(n=16)
    noises[1] = rho * noises[0] + np.sqrt(1 - rho**2) * noises[1]
    weights = torch.tensor(weights)
    found = combine_noise(noises, weights)
    assert float(found.var()) == pytest.approx(1, rel=0.02)
    expected = sum(w**2 for w in weights) + 2 * weights.prod() * rho
    without = combine_noise(noises, weights, rectify=False)
    assert float(without.var()) == pytest.approx(float(expected), rel=0.02)


def test_noise_of_unit_length_is_rectified_as_published():
    noises = draw_noises(n=1).double()
    one, other = (v / v.square().mean().sqrt() for v in noises)
    other = other - one * (one * other).mean()
    other = 0.4 * one + np.sqrt(1 - 0.16) * other / other.square().mean().sqrt()
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    found = combine_noise(torch.stack([one, other]), weights)
    assert torch.allclose(found, 1.18511366 * (0.4 * one + 0.6 * other), atol=1e-7)


def test_equal_noise_of_any_length_is_left_as_it_is():
    noise = 0.9 * draw_noises(1)
    found = combine_noise(noise.expand(2, -1, -1, -1, -1), torch.tensor([0.5, 0.5]))
    assert torch.equal(found, noise[0])


def test_one_prediction_comes_back_bit_for_bit():
    noise = draw_noises(1)
    assert torch.equal(combine_noise(noise, torch.ones(1)), noise[0])


def test_samples_are_combined_one_by_one():
    noises = draw_noises(2, 4)
    weights = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.9, 0.8, 0.5, 0.1]])
    found = combine_noise(noises, weights)
    for i in range(4):
        alone = combine_noise(noises[:, i : i + 1], weights[:, i])
        assert torch.allclose(found[i], alone[0], atol=1e-6)


@pytest.mark.parametrize(("k", "shape"), [(2, (3,)), (2, (2, 4)), (2, (3, 2))])
def test_weights_of_another_shape_are_refused(k, shape):
    with pytest.raises(ValueError, match=r"\(k,\) or \(k, n\); got"):
        combine_noise(draw_noises(k), torch.ones(shape))


# ---------------------------------------------------------------- segregation


def test_the_overlap_of_two_maps_gives_the_published_number():
    maps = torch.tensor([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]]).reshape(2, 1, 1, 4)
    assert segregation_loss(maps).tolist() == pytest.approx([0.2], abs=1e-6)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_segregation_is_that_of_numpy(k):
    maps = draw_noises(k, 3)[:, :, 0].abs()
    a, losses = maps.double().numpy(), []
    for i in range(k):
        for j in range(i):
            shared = np.minimum(a[i], a[j]).sum((1, 2)) / (a[i] + a[j]).sum((1, 2))
            losses.append(abs(0.5 - 0.05 * (k - 1) - shared))
    assert segregation_loss(maps).numpy() == pytest.approx(np.mean(losses, 0), abs=1e-6)


def test_a_step_along_the_gradient_brings_maps_together():
    maps = torch.tensor([[0.5, 0.5, 0.1, 0], [0, 0.4, 0.5, 0.1]]).reshape(2, 1, 1, 4)
    maps.requires_grad_()
    loss = segregation_loss(maps)
    (slope,) = torch.autograd.grad(loss.sum(), maps)
    closer = (maps - 0.05 * slope).clamp(min=0)
    assert segregation_loss(closer) < loss - 0.01


def test_empty_maps_have_no_overlap_that_is_defined():
    maps = torch.rand(2, 2, 3, 3)
    maps[:, 0] = 0
    found = segregation_loss(maps)
    assert torch.isnan(found).tolist() == [True, False]


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.ones(1, 1, 2, 2), "two views or more"),
        (torch.ones(2, 2, 2), r"shape \(k, n, h, w\)"),
        (-torch.ones(2, 1, 2, 2), "must not be negative"),
    ],
)
def test_maps_that_cannot_be_are_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        segregation_loss(maps)
