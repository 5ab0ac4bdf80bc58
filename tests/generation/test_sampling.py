"""One sampling loop for all generators: against diffusers, formulas, and itself."""

import logging
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.sampling import (
    SAMPLERS,
    SamplingSettings,
    make_scheduler,
    sample_images,
)
from tests.generation.toy_generators import (
    NOISE,
    gaussian_generator,
    unet_generator,
)

# diffusers turns tensors into arrays in the manner of numpy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

SEEDS = [3, 11]


class Push:
    """Moves the predicted noise by a constant, and tells what it was given."""

    def __init__(self, by=0.0, failed=lambda call, n: torch.zeros(n, dtype=torch.bool)):
        self.by, self.failed, self.calls, self.draws = by, failed, [], []

    def acts(self, share, level):
        return True

    def step(self, generator, x, step, level, *, base_eps=None, streams=()):
        self.draws.append(
            torch.stack([torch.randn(generator.shape, generator=s) for s in streams])
        )
        failed = self.failed(len(self.calls), len(x))
        self.calls.append((x.clone(), int(step), level, base_eps))
        output = generator.denoise(x, step)
        eps, _ = level.read(output, x, generator.prediction)
        eps = (eps if base_eps is None else base_eps) - self.by
        number = torch.arange(len(x), dtype=torch.float64)
        return SimpleNamespace(
            eps=eps,
            clean=level.clean(x, eps),
            objective=number + len(self.calls),
            norm=torch.full((len(x),), abs(self.by), dtype=torch.float64),
            failed=failed,
        )


def starts(seeds, shape):
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]
    return streams, torch.stack([torch.randn(shape, generator=s) for s in streams])


# ------------------------------------------------------------- against diffusers


def test_ddpm_equals_the_pipeline_of_diffusers():
    generator = unet_generator()
    scheduler = diffusers.DDPMScheduler(clip_sample=False)
    pipeline = diffusers.DDPMPipeline(generator.denoiser, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    streams = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    expected = pipeline(
        2, generator=streams, num_inference_steps=6, output_type="np"
    ).images
    found = sample_images(generator, SEEDS, settings=SamplingSettings(6, "ddpm"))
    decoded = (found.samples / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(decoded, expected, atol=1e-6)
    assert np.abs(found.images - 255 * expected).max() < 0.51


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_limit_for_clean_samples_is_the_cutting_of_diffusers(sampler, prediction):
    generator = unet_generator(
        prediction=prediction, clean_limit=0.7, scheduler={"beta_end": 0.03}
    )
    kind = {"ddim": diffusers.DDIMScheduler, "ddpm": diffusers.DDPMScheduler}[sampler]
    scheduler = kind(
        beta_end=0.03,
        prediction_type=prediction,
        clip_sample=True,
        clip_sample_range=0.7,
    )
    scheduler.set_timesteps(5)
    more = {"use_clipped_model_output": True} if sampler == "ddim" else {}
    streams, x = starts(SEEDS, generator.shape)
    for step in scheduler.timesteps:
        output = generator.denoise(x, step)
        x = scheduler.step(output, step, x, generator=streams, **more).prev_sample
    found = sample_images(generator, SEEDS, settings=SamplingSettings(5, sampler))
    torch.testing.assert_close(found.samples, x, rtol=1e-4, atol=1e-4)


def test_the_solver_equals_a_loop_with_the_scheduler_of_diffusers():
    generator = unet_generator()
    scheduler = diffusers.DPMSolverMultistepScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02
    )
    scheduler.set_timesteps(7)
    _, x = starts(SEEDS, generator.shape)
    for step in scheduler.timesteps:
        output = generator.denoise(x, step)
        x = scheduler.step(output, step, x).prev_sample
    noise = {"beta_start": 1e-4, "beta_end": 0.02}
    own = unet_generator(scheduler=noise)
    found = sample_images(own, SEEDS, settings=SamplingSettings(7, "dpm-solver++"))
    torch.testing.assert_close(found.samples, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_schedulers_have_the_noise_of_the_generator_and_cut_nothing(sampler):
    noise = {"beta_start": 0.002, "beta_end": 0.01, "num_train_timesteps": 500}
    noise |= {"clip_sample": True, "thresholding": True, "_class_name": "Other"}
    scheduler = make_scheduler(unet_generator(scheduler=noise), sampler)
    alphas = np.cumprod(1 - np.linspace(0.002, 0.01, 500))
    np.testing.assert_allclose(scheduler.alphas_cumprod, alphas, rtol=1e-5)
    assert not scheduler.config.get("clip_sample", False)
    assert not scheduler.config.thresholding


# ---------------------------------------------------------------- known truth


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("sampler", "most"), [("ddim", 0.03), ("dpm-solver++", 0.005)])
def test_deterministic_samplers_stretch_the_noise_of_normal_data(
    sampler, most, prediction
):
    # The flow from standard noise to normal data is linear: mean + spread * noise.
    generator = gaussian_generator(0.2, 0.5, prediction)
    found = sample_images(generator, SEEDS, settings=SamplingSettings(40, sampler))
    _, noise = starts(SEEDS, generator.shape)
    torch.testing.assert_close(found.samples, 0.2 + 0.5 * noise, rtol=0, atol=3 * most)
    assert float((found.samples - 0.2 - 0.5 * noise).abs().mean()) < most


def test_ddpm_draws_from_the_distribution_of_normal_data():
    generator = gaussian_generator(-0.3, 0.5, shape=(3, 16, 16))
    found = sample_images(generator, range(20), settings=SamplingSettings(40, "ddpm"))
    values = found.samples.numpy().ravel()
    assert values.mean() == pytest.approx(-0.3, abs=0.03)
    assert values.std() == pytest.approx(0.5, rel=0.1)
    _, noise = starts(range(20), generator.shape)
    assert abs(np.corrcoef(values, noise.numpy().ravel())[0, 1]) < 0.1


# ----------------------------------------------------------- seeds and batches


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("attention", [0.0, 0.75])
def test_seeds_and_not_batches_decide_images(sampler, attention):
    generator = unet_generator()
    settings = SamplingSettings(4, sampler, attention)
    together = sample_images(generator, [5, 1, 2**32 - 1], settings=settings)
    for i, seed in enumerate([5, 1, 2**32 - 1]):
        alone = sample_images(generator, [seed], settings=settings)
        torch.testing.assert_close(
            alone.samples[0], together.samples[i], rtol=1e-4, atol=2e-4
        )
    again = sample_images(generator, [5, 1, 2**32 - 1], settings=settings)
    assert np.array_equal(again.images, together.images)
    assert torch.equal(again.samples, together.samples)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guided_and_unguided_images_see_equal_noise(sampler):
    generator = unet_generator()
    settings = SamplingSettings(4, sampler)
    plain = sample_images(generator, SEEDS, settings=settings)
    still, moved = Push(0.0), Push(0.1)
    same = sample_images(generator, SEEDS, settings=settings, guidance=still)
    other = sample_images(generator, SEEDS, settings=settings, guidance=moved)
    # What guidance draws changes nothing.
    torch.testing.assert_close(same.samples, plain.samples, rtol=1e-5, atol=1e-5)
    _, noise = starts(SEEDS, generator.shape)
    for push in (still, moved):
        assert torch.equal(push.calls[0][0], noise)
        assert torch.equal(torch.stack(push.draws), torch.stack(still.draws))
    assert not torch.allclose(other.samples, plain.samples, atol=1e-3)


def test_streams_of_guidance_are_unlike_those_of_the_noise():
    generator = gaussian_generator(shape=(3, 16, 16))
    push = Push()
    sample_images(
        generator, [1, 2], settings=SamplingSettings(2, "ddpm"), guidance=push
    )
    _, noise = starts([1, 2], generator.shape)
    own = torch.cat(push.draws)
    rows = torch.cat([own, noise]).flatten(1)
    r = np.corrcoef(rows.numpy())
    assert np.abs(r - np.eye(len(r))).max() < 0.15
    alone = Push()
    sample_images(generator, [2], settings=SamplingSettings(2, "ddpm"), guidance=alone)
    assert torch.equal(alone.draws[0][0], push.draws[0][1])


def test_torch_keeps_32_bits_of_a_seed_and_so_do_images():
    generator = gaussian_generator()
    for seed in (-1, 2**32, 1.5):
        with pytest.raises(ValueError, match="seeds"):
            sample_images(generator, [seed])
    with pytest.raises(ValueError, match="at least one"):
        sample_images(generator, [])


# ------------------------------------------------------------------- guidance


def test_a_constant_push_shifts_the_end_of_ddim_as_computed_by_hand():
    generator = unet_generator()
    push = Push(0.05)
    settings = SamplingSettings(6, "ddim")
    found = sample_images(generator, SEEDS, settings=settings, guidance=push)
    _, x = starts(SEEDS, generator.shape)
    alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    steps = [830, 664, 498, 332, 166, 0]
    for step, end in zip(steps, [*steps[1:], None], strict=True):
        eps = generator.denoise(x, step) - 0.05
        share = alphas[step]
        after = 1.0 if end is None else alphas[end]
        clean = (x - (1 - share) ** 0.5 * eps) / share**0.5
        x = after**0.5 * clean + (1 - after) ** 0.5 * eps
    torch.testing.assert_close(found.samples, x, rtol=1e-4, atol=1e-4)


def test_guidance_is_given_the_level_of_each_step_and_its_measures_are_kept():
    generator, push = gaussian_generator(), Push(0.25)
    found = sample_images(
        generator, SEEDS, settings=SamplingSettings(5, "ddim"), guidance=push
    )
    alphas = generator.denoiser.alphas
    for _, step, level, base in push.calls:
        assert level.alpha_bar == pytest.approx(float(alphas[step]), abs=1e-7)
        assert base is None
    assert [step for _, step, *_ in push.calls] == [999, 799, 599, 399, 199]
    np.testing.assert_array_equal(
        found.objective, np.arange(1.0, 6) + np.arange(2.0)[:, None]
    )
    np.testing.assert_array_equal(found.gradient_norm, np.full((2, 5), 0.25))
    assert found.n_failed.tolist() == [0, 0]


def test_steps_without_guidance_have_no_measures():
    class Late(Push):
        def acts(self, share, level):
            assert isinstance(level, NoiseLevel)
            self.shares = [*getattr(self, "shares", []), share]
            return share >= 0.5

    push = Late()
    found = sample_images(
        gaussian_generator(), SEEDS, settings=SamplingSettings(4), guidance=push
    )
    assert push.shares == [0, 0.25, 0.5, 0.75]
    assert np.isnan(found.objective[:, :2]).all()
    assert not np.isnan(found.objective[:, 2:]).any()
    plain = sample_images(gaussian_generator(), SEEDS, settings=SamplingSettings(4))
    assert np.isnan(plain.objective).all()
    assert np.isnan(plain.gradient_norm).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("limit", [0.3, 1.0])
def test_clean_samples_end_within_their_limit(sampler, limit):
    generator = gaussian_generator(0.0, 1.0, clean_limit=limit)
    found = sample_images(
        generator, SEEDS, settings=SamplingSettings(8, sampler), guidance=Push(-0.4)
    )
    assert float(found.samples.abs().max()) <= limit + 1e-4
    assert float(found.samples.abs().max()) > 0.9 * limit
    free = sample_images(
        gaussian_generator(0.0, 1.0),
        SEEDS,
        settings=SamplingSettings(8, sampler),
        guidance=Push(-0.4),
    )
    assert float(free.samples.abs().max()) > 1.0


def test_a_wide_limit_changes_nothing():
    settings = SamplingSettings(6, "dpm-solver++")
    free, wide = (
        sample_images(gaussian_generator(clean_limit=limit), SEEDS, settings=settings)
        for limit in (None, 50.0)
    )
    torch.testing.assert_close(free.samples, wide.samples, rtol=1e-4, atol=1e-4)


def test_weak_self_attention_changes_little_even_where_there_is_no_signal():
    # The first of these steps has a signal of 5e-5.
    generator = unet_generator(prediction="v_prediction", scheduler=NOISE)
    plain, weak, strong = (
        sample_images(generator, SEEDS, settings=SamplingSettings(5, "ddim", scale))
        for scale in (0.0, 1e-7, 5.0)
    )
    torch.testing.assert_close(weak.samples, plain.samples, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(strong.samples, plain.samples, atol=1e-3)


def test_guidance_starts_from_what_self_attention_made():
    generator, push = unet_generator(), Push()
    settings = SamplingSettings(3, "ddim", 0.75)
    guided = sample_images(generator, SEEDS, settings=settings, guidance=push)
    plain = sample_images(generator, SEEDS, settings=settings)
    assert all(base is not None for *_, base in push.calls)
    torch.testing.assert_close(guided.samples, plain.samples, rtol=1e-5, atol=1e-5)


def test_self_attention_that_is_not_there_is_refused_at_once():
    generator = gaussian_generator()
    with pytest.raises(ValueError, match="set it to 0"):
        sample_images(generator, [0], settings=SamplingSettings(1, "ddim", 0.5))
    assert not generator.denoiser.seen


# --------------------------------------------------------------------- faults


def test_few_failed_gradients_are_counted_and_told(caplog):
    def failed(call, n):
        return torch.tensor([call == 3, False])

    with caplog.at_level(logging.WARNING):
        found = sample_images(
            gaussian_generator(),
            SEEDS,
            settings=SamplingSettings(10),
            guidance=Push(failed=failed),
        )
    assert found.n_failed.tolist() == [1, 0]
    assert "1 of 20 gradients" in caplog.text


def test_more_than_a_twentieth_of_failed_gradients_is_an_error():
    def failed(call, n):
        return torch.tensor([call in (2, 3), False])

    with pytest.raises(FloatingPointError, match="2 of 20 gradients"):
        sample_images(
            gaussian_generator(),
            SEEDS,
            settings=SamplingSettings(10),
            guidance=Push(failed=failed),
        )


def test_samples_that_are_not_finite_are_an_error_with_the_step():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(1.0))

        def forward(self, x, step):
            infinite = torch.full_like(x, torch.inf)
            return SimpleNamespace(sample=infinite if step < 500 else x)

    generator = ImageGenerator("broken", Broken(), None, (3, 4, 4), NOISE)
    with pytest.raises(FloatingPointError, match="after step 3 of 4"):
        sample_images(generator, [0], settings=SamplingSettings(4, "ddim"))


def test_images_that_decode_to_nothing_are_an_error():
    class Overflow(nn.Module):
        def forward(self, x):
            return x * torch.inf

    toy = gaussian_generator()
    generator = ImageGenerator(
        "overflow", toy.denoiser, Overflow(), toy.shape, toy.scheduler
    )
    with pytest.raises(FloatingPointError, match="Decoded images"):
        sample_images(generator, [0], settings=SamplingSettings(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": 2.5}, "n_steps"),
        ({"sampler": "euler"}, "sampler"),
        ({"self_attention": float("nan")}, "self_attention"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingSettings(**options)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm-solver++"])
def test_more_steps_than_the_generator_was_trained_with_are_refused(sampler):
    settings = SamplingSettings(1001, sampler)
    with pytest.raises(ValueError, match=r"at most 1000, .* got 1001"):
        sample_images(gaussian_generator(), [0], settings=settings)


# --------------------------------------------------------------------- images


def test_levels_are_rounded_and_ends_are_counted():
    class Ramp(nn.Module):
        """Pictures of known levels, whatever comes."""

        def forward(self, x):
            levels = torch.tensor([-3.0, 0.0, 127.4, 127.6, 255.0, 400.0, 1.0, 2.0])
            shown = (levels / 255 * 2 - 1).reshape(1, 1, 2, 4)
            return shown.expand(len(x), 3, 2, 4)

    toy = gaussian_generator()
    generator = ImageGenerator(
        "ramp", toy.denoiser, Ramp(), toy.shape, toy.scheduler, size_px=(2, 4)
    )
    found = sample_images(generator, SEEDS, settings=SamplingSettings(2))
    expected = np.array([[0, 0, 127, 128], [255, 255, 1, 2]], np.uint8)
    assert found.images.dtype == np.uint8
    assert found.images.shape == (2, 2, 4, 3)
    for channel in range(3):
        assert np.array_equal(found.images[1, ..., channel], expected)
    assert found.saturated.tolist() == [0.5, 0.5]
    assert found.images.flags.c_contiguous


def test_sampling_does_not_touch_the_default_stream_of_torch():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    sample_images(unet_generator(), [0], settings=SamplingSettings(2, "ddpm"))
    assert torch.equal(torch.get_rng_state(), before)


def test_sampling_starts_from_given_noise():
    toy = unet_generator()
    settings = SamplingSettings(3, "ddim")
    noise = torch.stack(
        [
            torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(k))
            for k in (4, 5)
        ]
    )
    own = sample_images(toy, [4, 5], settings=settings)
    given = sample_images(toy, [0, 1], settings=settings, noise=noise)
    assert (own.images == given.images).all()
    with pytest.raises(ValueError, match=r"`noise` must have the shape \(1, 3, 8, 8\)"):
        sample_images(toy, [0], settings=settings, noise=noise)
