"""Guidance by encoders: against finite differences, and what must not matter."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from neurovis.adapters.braindive import (
    BrainGuidance,
    contrast_weights,
    region_weights,
)
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.sampling import SamplingSettings, sample_images
from tests.generation.toy_generators import gaussian_generator, unet_generator

pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

SHAPE, STEP = (3, 4, 4), 500
SIZE = int(np.prod(SHAPE))
N_UNITS = 5
RNG = np.random.default_rng(0)
READOUT = RNG.normal(0, 0.3, (SIZE, N_UNITS))
WEIGHTS = torch.tensor([0.5, 0.5, 0.0, 0.0, -0.25])
X = RNG.normal(0, 0.4, (2, *SHAPE))


def encoder(images):
    """A readout that is not linear, so that gradients depend on the image."""
    rows = images.flatten(1) @ torch.from_numpy(READOUT).to(images)
    return torch.tanh(rows)


def in_numpy(images):
    return np.tanh(images.reshape(len(images), -1) @ READOUT)


def noisy(n=2):
    if n <= 2:
        return torch.from_numpy(X[:n]).float()
    stream = torch.Generator().manual_seed(n)
    return 0.4 * torch.randn(n, *SHAPE, generator=stream)


def level_of(generator):
    return NoiseLevel(float(generator.denoiser.alphas[STEP]))


def guide(weights=WEIGHTS, **options):
    options = {"scale": 2.0} | options
    return BrainGuidance(options.pop("encoder", encoder), weights, **options)


def gradient_of(guided, eps, level):
    """What was subtracted from the noise, divided by its level."""
    return (eps - guided.eps) / level.noise


def plain_eps(generator, x, level):
    output = generator.denoise(x, STEP)
    return level.read(output, x, generator.prediction)[0]


# ---------------------------------------------------------------- the gradient


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("mix", ["sigma", "clean"])
@pytest.mark.parametrize("through", [True, False])
def test_the_gradient_is_that_of_finite_differences(prediction, mix, through):
    generator = gaussian_generator(0.2, 0.6, prediction)
    level = level_of(generator)
    signal, noise = level.signal, level.noise
    share = signal * 0.36 / (signal**2 * 0.36 + noise**2)

    def eps_of(x):
        return (x - signal * (0.2 + share * (x - signal * 0.2))) / noise

    fixed = eps_of(X)

    def objective(x):
        clean = (x - noise * (eps_of(x) if through else fixed)) / signal
        shown = clean if mix == "clean" else noise * clean + (1 - noise) * x
        return in_numpy(np.clip(shown / 2 + 0.5, 0, 1)) @ WEIGHTS.double().numpy()

    expected, small = np.zeros_like(X), 1e-6
    for place in np.ndindex(*SHAPE):
        moved = np.zeros(SHAPE)
        moved[place] = small
        slope = (objective(X + moved) - objective(X - moved)) / (2 * small)
        expected[(slice(None), *place)] = slope
    guidance = guide(mix=mix, through_denoiser=through)
    found = guidance.step(generator, noisy(), STEP, level)
    np.testing.assert_allclose(
        gradient_of(found, torch.from_numpy(fixed), level).numpy(),
        2.0 * expected,
        rtol=1e-3,
        atol=1e-5,
    )
    np.testing.assert_allclose(found.objective.numpy(), objective(X), atol=1e-6)
    np.testing.assert_allclose(
        found.norm.numpy(),
        2 * np.linalg.norm(expected.reshape(2, -1), axis=1),
        rtol=1e-3,
    )


def test_noise_and_clean_sample_belong_together():
    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    found = guide(scale=20.0).step(generator, x, STEP, level)
    torch.testing.assert_close(level.signal * found.clean + level.noise * found.eps, x)
    assert not found.eps.requires_grad
    assert not found.failed.any()


@given(scale=st.floats(0.01, 200), factor=st.sampled_from([0.25, 0.5, 2.0, -1.0]))
def test_scale_and_weights_are_one_factor(scale, factor):
    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    one = guide(scale=scale).step(generator, x, STEP, level)
    other = guide(WEIGHTS * factor, scale=scale / factor).step(
        generator, x, STEP, level
    )
    torch.testing.assert_close(one.eps, other.eps, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(factor * one.objective, other.objective)


def test_a_negative_scale_pushes_the_other_way():
    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    eps = plain_eps(generator, x, level)
    up, down = (
        guide(scale=scale).step(generator, x, STEP, level).eps for scale in (5.0, -5.0)
    )
    torch.testing.assert_close(up - eps, eps - down, rtol=1e-4, atol=1e-6)
    images = (level.clean(x, eps) / 2 + 0.5).clamp(0, 1)
    higher, lower = (
        guide().objective((level.clean(x, e) / 2 + 0.5).clamp(0, 1)) for e in (up, down)
    )
    assert (higher > guide().objective(images)).all()
    assert (lower < guide().objective(images)).all()


@pytest.mark.parametrize("options", [{}, {"scale_kind": "relative", "scale": 0.3}])
@pytest.mark.parametrize("copies", [1, 3])
def test_a_batch_equals_single_ones(options, copies):
    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy(4)
    guidance = guide(copies=copies, shift_px=1, noise_sd=0.1, **options)

    def streams(rows):
        return [torch.Generator().manual_seed(row) for row in rows]

    found = guidance.step(generator, x, STEP, level, streams=streams(range(4)))
    for i in range(4):
        alone = guidance.step(
            generator, x[i : i + 1], STEP, level, streams=streams([i])
        )
        for name in ("eps", "clean", "objective", "norm", "saturated"):
            one, other = getattr(alone, name)[0], getattr(found, name)[i]
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_moves_is_the_given_noise():
    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    plain = guide().step(generator, x, STEP, level)
    base = torch.full_like(x, 0.7)
    moved = guide().step(generator, x, STEP, level, base_eps=base)
    shift = plain.eps - plain_eps(generator, x, level)
    torch.testing.assert_close(moved.eps - base, shift, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved.clean, level.clean(x, moved.eps))


# ------------------------------------------------------------ scales and limits


@pytest.mark.parametrize("scale", [0.05, 1.0, -0.4])
@pytest.mark.parametrize("size", [1.0, 1e-25, 1e25])
def test_a_relative_scale_is_a_share_of_the_noise(scale, size):
    # However small or large the responses are.
    def sized(images):
        return encoder(images) * size

    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    eps = plain_eps(generator, x, level)
    guidance = guide(encoder=sized, scale=scale, scale_kind="relative")
    found = guidance.step(generator, x, STEP, level)
    shift = (found.eps - eps).flatten(1).norm(dim=1)
    share = shift / eps.flatten(1).norm(dim=1)
    torch.testing.assert_close(
        share, torch.full((2,), abs(scale) * level.noise), rtol=1e-4, atol=0
    )
    absolute = guide(scale=float(np.sign(scale))).step(generator, x, STEP, level)
    along = ((found.eps - eps) * (absolute.eps - eps)).flatten(1).sum(1)
    assert (along > 0).all()


def test_a_relative_scale_measures_the_given_noise():
    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    base = torch.full_like(x, 10.0)
    found = guide(scale=0.5, scale_kind="relative").step(
        generator, x, STEP, level, base_eps=base
    )
    norm = found.norm.float()
    torch.testing.assert_close(norm, 0.5 * base.flatten(1).norm(dim=1))


@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_long_gradients_are_shortened_and_short_ones_are_not(kind):
    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    free = guide(scale=1.5, scale_kind=kind).step(generator, x, STEP, level)
    assert free.norm[0] != free.norm[1]
    most = float(free.norm.mean())
    cut = guide(scale=1.5, scale_kind=kind, max_norm=most).step(
        generator, x, STEP, level
    )
    torch.testing.assert_close(
        cut.norm, free.norm.clamp(max=most), rtol=1e-5, atol=1e-7
    )
    eps = plain_eps(generator, x, level)
    directions = [
        nn.functional.normalize((eps - g.eps).flatten(1), dim=1) for g in (free, cut)
    ]
    torch.testing.assert_close(*directions, rtol=1e-3, atol=1e-4)


def test_a_gradient_of_nothing_stays_nothing():
    def flat(images):
        return torch.ones(len(images), N_UNITS) * images.sum() * 0

    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    for options in ({}, {"scale_kind": "relative"}, {"max_norm": 0.1}):
        found = guide(encoder=flat, **options).step(generator, x, STEP, level)
        torch.testing.assert_close(found.eps, plain_eps(generator, x, level))
        assert found.norm.tolist() == [0, 0]
        assert not found.failed.any()


@pytest.mark.parametrize(
    ("options", "share", "alpha_bar", "acts"),
    [
        ({}, 0.0, 0.5, True),
        ({}, 0.999, 0.5, True),
        ({"start": 0.2}, 0.1, 0.5, False),
        ({"start": 0.2}, 0.2, 0.5, True),
        ({"stop": 0.8}, 0.8, 0.5, False),
        ({"stop": 0.8}, 0.79, 0.5, True),
        ({"scale": 0.0}, 0.5, 0.5, False),
        ({}, 0.0, 9e-4, False),
        ({}, 0.0, 1e-3, True),
    ],
)
def test_guidance_acts_within_its_share_where_there_is_signal(
    options, share, alpha_bar, acts
):
    assert guide(**options).acts(share, NoiseLevel(alpha_bar)) is acts


# ---------------------------------------------------------------- what is seen


def test_no_gradient_flows_where_images_are_at_their_ends():
    generator = gaussian_generator(0.0, 1.0)
    level = NoiseLevel(0.9)
    x = torch.zeros(2, *SHAPE)
    x[0, 0], x[1] = 5.0, -9.0  # a third of the first image, all of the second
    found = guide(through_denoiser=False).step(generator, x, 95, level)
    assert found.saturated.tolist() == pytest.approx([1 / 3, 1.0])
    gradient = gradient_of(found, plain_eps_at(generator, x, 95, level), level)
    assert float(gradient[0, 0].abs().max()) == 0
    assert float(gradient[0, 1:].abs().min()) > 0
    assert found.norm[1] == 0
    assert not found.failed.any()


def plain_eps_at(generator, x, step, level):
    return level.read(generator.denoise(x, step), x, generator.prediction)[0]


def test_copies_are_shifted_noisy_images_over_which_is_averaged():
    seen = []

    def watching(images):
        seen.append(images.detach().clone())
        return encoder(images)

    stream = torch.Generator().manual_seed(0)
    images = torch.rand(3, *SHAPE, generator=stream)
    guidance = guide(encoder=watching, copies=40, shift_px=2, noise_sd=0.01)
    streams = [torch.Generator().manual_seed(i) for i in range(3)]
    found = guidance.objective(images, streams)
    assert len(seen) == 40
    expected = np.mean([in_numpy(s.numpy()) @ WEIGHTS.numpy() for s in seen], axis=0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    for number in range(3):
        padded = np.pad(images[number].numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
        shifts, noise = set(), []
        for copy in seen:
            rest = {
                (top, left): copy[number].numpy()
                - padded[:, top : top + 4, left : left + 4]
                for top in range(5)
                for left in range(5)
            }
            best = min(rest, key=lambda place: np.abs(rest[place]).max())
            shifts.add(best)
            noise.append(rest[best])
        assert np.std(noise) == pytest.approx(0.01, rel=0.1)
        assert np.abs(np.mean(noise)) < 0.001
        # 40 draws of 25 places.
        assert 14 <= len(shifts) <= 25


def test_copies_without_shift_and_noise_are_the_image():
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    streams = [torch.Generator().manual_seed(i) for i in range(2)]
    torch.testing.assert_close(
        guide(copies=3).objective(images, streams), guide().objective(images)
    )
    with pytest.raises(ValueError, match=r"one generator per image \(2\); got 1"):
        guide(copies=2).objective(images, streams[:1])


def test_units_of_weight_0_may_be_undefined():
    def partial(images):
        known = encoder(images)
        undefined = torch.full_like(known, torch.nan)
        return torch.where(WEIGHTS != 0, known, undefined)

    generator = gaussian_generator(0.2, 0.6)
    level, x = level_of(generator), noisy()
    whole, part = (
        guide(encoder=e).step(generator, x, STEP, level) for e in (encoder, partial)
    )
    assert torch.equal(whole.eps, part.eps)
    assert torch.equal(whole.objective, part.objective)
    assert not part.failed.any()


def test_a_gradient_that_is_not_finite_is_left_out_for_its_image_only():
    def broken(images):
        # The slope of a root at 0 is infinite.
        dark = (images.flatten(1).mean(1) > 0.5).float()
        return encoder(images) + torch.sqrt(dark * images.flatten(1).sum(1))[:, None]

    generator = gaussian_generator(0.0, 1.0)
    level = level_of(generator)
    x = torch.stack([torch.full(SHAPE, v) for v in (0.3, -0.3, 0.5)])
    found = guide(encoder=broken).step(generator, x, STEP, level)
    assert found.failed.tolist() == [False, True, False]
    eps = plain_eps(generator, x, level)
    torch.testing.assert_close(found.eps[1], eps[1])
    assert found.norm[1] == 0
    for i in (0, 2):
        alone = guide(encoder=broken).step(generator, x[i : i + 1], STEP, level)
        torch.testing.assert_close(found.eps[i], alone.eps[0])
        assert not torch.allclose(found.eps[i], eps[i])
    for options in ({"scale_kind": "relative", "scale": 0.1}, {"max_norm": 0.1}):
        other = guide(encoder=broken, **options).step(generator, x, STEP, level)
        assert torch.isfinite(other.eps).all()
        assert other.failed.tolist() == [False, True, False]


def test_encoders_of_another_shape_are_refused():
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    for wrong in (lambda x: encoder(x)[:, :3], lambda x: encoder(x)[0]):
        with pytest.raises(ValueError, match=r"must return the shape \(2, 5\)"):
            guide(encoder=wrong).objective(images)


def test_latents_are_decoded_before_they_are_seen():
    class Decoder(nn.Module):
        def forward(self, latents):
            return SimpleNamespace(sample=latents[:, :3].tanh())

    toy = gaussian_generator(0.2, 0.6, shape=(4, 4, 4))
    generator = ImageGenerator(
        "latent", toy.denoiser, Decoder(), toy.shape, toy.scheduler, scaling=0.5
    )
    level = level_of(generator)
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    guidance = guide(mix="clean", through_denoiser=False)
    found = guidance.step(generator, x, STEP, level)
    eps = plain_eps(generator, x, level)
    clean = level.clean(x, eps)
    images = (clean / 0.5)[:, :3].tanh() / 2 + 0.5
    np.testing.assert_allclose(
        found.objective.numpy(), in_numpy(images.numpy()) @ WEIGHTS.numpy(), atol=1e-5
    )
    gradient = gradient_of(found, eps, level)
    torch.testing.assert_close(gradient[:, 3], torch.zeros(2, 4, 4), rtol=0, atol=1e-6)


# ---------------------------------------------------------------- whole samples


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm-solver++"])
def test_guided_samples_drive_what_they_should_and_suppressed_ones_do_not(sampler):
    generator = gaussian_generator(0.0, 0.3, clean_limit=1.0)
    settings, ends = SamplingSettings(10, sampler), {}
    for scale in (-20.0, 0.0, 20.0):
        found = sample_images(
            generator, range(6), settings=settings, guidance=guide(scale=scale)
        )
        rows = found.images.transpose(0, 3, 1, 2) / 255
        ends[scale] = in_numpy(rows) @ WEIGHTS.numpy()
        assert np.isnan(found.objective).all() == (scale == 0)
    plain = sample_images(generator, range(6), settings=settings)
    again = sample_images(
        generator, range(6), settings=settings, guidance=guide(scale=0.0)
    )
    assert torch.equal(plain.samples, again.samples)
    assert (ends[20.0] > ends[0.0]).all()
    assert (ends[-20.0] < ends[0.0]).all()


def test_copies_do_not_change_which_noise_a_seed_has():
    # Guidance draws shifts and noise beside; with next to no strength nothing moves.
    generator = unet_generator()

    def to_units(images):
        return images.mean((2, 3))

    weak = BrainGuidance(
        to_units, torch.ones(3), scale=1e-9, copies=2, shift_px=1, noise_sd=0.1
    )
    settings = SamplingSettings(3, "ddpm")
    plain = sample_images(generator, [4], settings=settings)
    moved = sample_images(generator, [4], settings=settings, guidance=weak)
    torch.testing.assert_close(moved.samples, plain.samples, rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": float("inf")}, "scale"),
        ({"scale_kind": "relativ"}, "relative"),
        ({"mix": "noise"}, "mix"),
        ({"start": -0.1}, "start"),
        ({"stop": 1.1}, "stop"),
        ({"start": 0.5, "stop": 0.5}, "no step is guided"),
        ({"copies": 0}, "copies"),
        ({"shift_px": -1}, "shift_px"),
        ({"noise_sd": -0.1}, "noise_sd"),
        ({"max_norm": -1.0}, "max_norm"),
        ({"weights": torch.zeros(3)}, "not all 0"),
        ({"weights": torch.tensor([1.0, torch.nan])}, "finite"),
        ({"weights": torch.ones(2, 2)}, r"\(n_units,\)"),
        ({"weights": torch.ones(0)}, r"\(n_units,\)"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    weights = options.pop("weights", WEIGHTS)
    with pytest.raises(ValueError, match=message):
        guide(weights, **options)


# --------------------------------------------------------------------- weights


def test_weights_are_means_over_fitted_units():
    fitted = torch.tensor([True, False, True, True, False, True])
    asked = torch.tensor([True, True, True, False, False, False])
    for target in (asked, [0, 1, 2], np.array([0, 1, 2]), asked.numpy()):
        found = contrast_weights(6, target, fitted=fitted)
        assert found.tolist() == [0.5, 0, 0.5, 0, 0, 0]
        assert contrast_weights(6, target).tolist() == pytest.approx(
            [1 / 3, 1 / 3, 1 / 3, 0, 0, 0]
        )
    assert contrast_weights(3, [1, 1, 1]).tolist() == [0, 1, 0]


def test_a_contrast_subtracts_a_second_mean():
    fitted = torch.tensor([True, True, True, False])
    found = contrast_weights(4, [0, 1], against=[2, 3], ratio=0.5, fitted=fitted)
    assert found.tolist() == [0.5, 0.5, -0.5, 0]
    overlapping = contrast_weights(4, [0, 1], against=[1, 2])
    assert overlapping.tolist() == [0.5, 0, -0.5, 0]


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(0, 9))
def test_weights_sum_to_1(target, unfitted):
    fitted = torch.ones(10, dtype=torch.bool)
    fitted[unfitted] = False
    if set(target) == {unfitted}:
        with pytest.raises(ValueError, match="none of which"):
            contrast_weights(10, target, fitted=fitted)
        return
    found = contrast_weights(10, target, fitted=fitted)
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    assert set(torch.nonzero(found).ravel().tolist()) == set(target) - {unfitted}


@pytest.mark.parametrize(
    ("target", "against", "message"),
    [
        ([], (), "`target` holds no units"),
        (torch.zeros(4, dtype=torch.bool), (), "`target` holds no units"),
        ([3], (), "`target` has 1 units, none of which"),
        ([0], torch.zeros(4, dtype=torch.bool), "`against` holds no units"),
        ([0], [3], "`against` has 1 units"),
        ([4], (), "units of 0 to 3; got 4 to 4"),
        ([-1, 2], (), "got -1 to 2"),
        (torch.ones(5, dtype=torch.bool), (), "a mask of 4 units"),
        (torch.ones(4, 1, dtype=torch.bool), (), "a mask of 4 units"),
    ],
)
def test_regions_that_cannot_be_driven_are_refused(target, against, message):
    fitted = torch.tensor([True, True, True, False])
    with pytest.raises(ValueError, match=message):
        contrast_weights(4, target, against=against, fitted=fitted)


def test_masks_of_decimals_are_not_taken_for_numbers_of_units():
    with pytest.raises(TypeError, match="mask of bool"):
        contrast_weights(3, np.array([0.0, 1.0, 1.0]))


def test_regions_are_found_by_name():
    regions = {
        "face": np.array([True, True, False, False]),
        "place": np.array([False, False, True, True]),
        "none": np.zeros(4, bool),
    }
    found = region_weights(regions, "face", against="place", ratio=2.0)
    assert found.tolist() == [0.5, 0.5, -1, -1]
    with pytest.raises(ValueError, match=r"'fase'.*face"):
        region_weights(regions, "fase")
    with pytest.raises(ValueError, match=r"'plase'.*place"):
        region_weights(regions, "face", against="plase")
    with pytest.raises(ValueError, match="Region 'none': `target` holds no units"):
        region_weights(regions, "none")
    with pytest.raises(ValueError, match="Region 'face' against 'none': `against` hol"):
        region_weights(regions, "face", against="none")
    fitted = torch.tensor([False, False, True, True])
    with pytest.raises(ValueError, match=r"Region 'face'.*none of which"):
        region_weights(regions, "face", fitted=fitted)
