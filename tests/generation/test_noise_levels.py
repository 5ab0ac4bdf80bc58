"""Algebra of noise levels, against numpy and against the schedulers of diffusers."""

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurovis.generation.noise_levels import PREDICTIONS, NoiseLevel

SHAPE = (2, 3, 4, 5)


def draw(seed=0):
    stream = torch.Generator().manual_seed(seed)
    clean, eps = torch.randn((2, *SHAPE), generator=stream, dtype=torch.float64)
    return clean, eps


def mixed(level, clean, eps):
    return level.signal * clean + level.noise * eps


@given(st.floats(0, 1))
def test_signal_and_noise_are_the_sides_of_a_right_angle(alpha_bar):
    level = NoiseLevel(alpha_bar)
    assert level.signal**2 + level.noise**2 == pytest.approx(1, abs=1e-15)
    assert level.signal**2 == pytest.approx(alpha_bar, abs=1e-15)
    assert 0 <= level.signal <= 1
    assert 0 <= level.noise <= 1


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("alpha_bar", [1e-6, 0.004, 0.25, 0.7, 0.9999])
def test_what_is_written_is_read_again(prediction, alpha_bar):
    level, (clean, eps) = NoiseLevel(alpha_bar), draw()
    x = mixed(level, clean, eps)
    output = level.write(eps, clean, prediction)
    found_eps, found_clean = level.read(output, x, prediction)
    torch.testing.assert_close(found_eps, eps, rtol=0, atol=1e-9)
    torch.testing.assert_close(found_clean, clean, rtol=0, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("alpha_bar", [0.01, 0.5, 0.99])
def test_any_output_reads_as_parts_of_the_noisy_sample(prediction, alpha_bar):
    level, (output, x) = NoiseLevel(alpha_bar), draw(1)
    eps, clean = level.read(output, x, prediction)
    torch.testing.assert_close(mixed(level, clean, eps), x)
    torch.testing.assert_close(level.write(eps, clean, prediction), output)


def test_predictions_are_those_of_the_formulas_in_numpy():
    level = NoiseLevel(0.36)
    x, output = np.array([1.0, -0.5]), np.array([0.3, 2.0])
    told = {
        "epsilon": (output, (x - 0.8 * output) / 0.6),
        "sample": ((x - 0.6 * output) / 0.8, output),
        "v_prediction": (0.6 * output + 0.8 * x, 0.6 * x - 0.8 * output),
    }
    for prediction, expected in told.items():
        tensors = torch.from_numpy(output), torch.from_numpy(x)
        found = level.read(*tensors, prediction)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.numpy(), other, rtol=1e-14)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("step", [0, 250, 500, 980])
def test_clean_samples_are_those_that_diffusers_promises(prediction, step):
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        clip_sample=False,
    )
    scheduler.set_timesteps(1000)
    level = NoiseLevel(float(scheduler.alphas_cumprod[step]))
    output, x = (t.float() for t in draw(2))
    promised = scheduler.step(output, step, x).pred_original_sample
    _, clean = level.read(output, x, prediction)
    torch.testing.assert_close(clean, promised, rtol=1e-4, atol=1e-4)


def test_noisy_samples_and_velocities_are_those_of_diffusers():
    scheduler = diffusers.DDPMScheduler()
    clean, eps = (t.float() for t in draw(3))
    steps = torch.tensor([600, 600])
    level = NoiseLevel(float(scheduler.alphas_cumprod[600]))
    noisy = scheduler.add_noise(clean, eps, steps)
    torch.testing.assert_close(mixed(level, clean, eps), noisy)
    velocity = scheduler.get_velocity(clean, eps, steps)
    torch.testing.assert_close(level.write(eps, clean, "v_prediction"), velocity)


def test_without_signal_or_noise_everything_stays_finite():
    clean, eps = draw(4)
    nothing, whole = NoiseLevel(0.0), NoiseLevel(1.0)
    assert (nothing.signal, nothing.noise) == (0.0, 1.0)
    # The least signal is 1e-4.
    torch.testing.assert_close(nothing.clean(clean, eps), (clean - eps) * 1e4)
    torch.testing.assert_close(whole.eps(clean, eps), (clean - eps) * 1e4)
    for prediction in PREDICTIONS:
        for level in (nothing, whole):
            found = level.read(eps, clean, prediction)
            assert all(torch.isfinite(part).all() for part in found)


def test_gradients_pass_through():
    level, (output, x) = NoiseLevel(0.25), draw(5)
    x.requires_grad_(True)
    _, clean = level.read(output, x, "epsilon")
    (gradient,) = torch.autograd.grad(clean.sum(), x)
    torch.testing.assert_close(gradient, torch.full(SHAPE, 2.0, dtype=torch.float64))


@pytest.mark.parametrize("alpha_bar", [-1e-9, 1.1, float("nan"), float("inf")])
def test_shares_beyond_0_to_1_are_refused(alpha_bar):
    with pytest.raises(ValueError, match="alpha_bar"):
        NoiseLevel(alpha_bar)


def test_unknown_predictions_are_refused_with_a_suggestion():
    clean, eps = draw()
    with pytest.raises(ValueError, match="epsilon"):
        NoiseLevel(0.5).read(eps, clean, "epsilom")
    with pytest.raises(ValueError, match="prediction"):
        NoiseLevel(0.5).write(eps, clean, "flow")
