"""A tiny random Stable Diffusion from a folder: against diffusers, guided, by batch."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerFast,
)

from neurovis.adapters.braindive import BrainGuidance
from neurovis.adapters.image_generators import load_image_generator
from neurovis.core.rng import own_torch_stream
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.sampling import SamplingSettings, sample_images

# A solver of diffusers turns tensors into arrays in a way that NumPy will drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
SPREAD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
SEEDS = [3, 4, 5, 6]
SAMPLERS = ("ddim", "dpm-solver++")


def make_tokenizer(length=16):
    """Bytes as words, with a mark at the start and at the end."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: i for i, word in enumerate(["<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="</s>",
        model_max_length=length,
    )


def make_unet(**changes):
    options = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
    }
    with own_torch_stream(0, "unet"):
        return UNet2DConditionModel(**(options | changes)).eval()


def make_autoencoder(**changes):
    options = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
        "sample_size": 16,
    }
    with own_torch_stream(0, "autoencoder"):
        return AutoencoderKL(**(options | changes)).eval()


def make_pipeline(*, unet=None, vae=None, noise=None):
    tokenizer = make_tokenizer()
    text = CLIPTextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=len(tokenizer),
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    with own_torch_stream(0, "text"):
        encoder = CLIPTextModel(text).eval()
    return StableDiffusionPipeline(
        unet=unet or make_unet(),
        vae=vae or make_autoencoder(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(**(NOISE | (noise or {}))),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pipeline, and the folder that it was saved to."""
    folder = tmp_path_factory.mktemp("pipelines") / "tiny"
    make_pipeline().save_pretrained(folder)
    # As any user has it: what the classes choose by default differs from what a file
    # tells.
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, folder


@pytest.fixture(scope="module")
def pipeline(saved):
    return saved[0]


@pytest.fixture(scope="module")
def generator(saved):
    return load_image_generator(saved[1])


class Readout(nn.Module):
    """Five units that are linear in coarse colours."""

    def __init__(self):
        super().__init__()
        draws = torch.randn(5, 48, generator=torch.Generator().manual_seed(1))
        self.register_buffer("weight", draws)

    def forward(self, images):
        return F.adaptive_avg_pool2d(images, 4).flatten(1) @ self.weight.T


class Clip(nn.Module):
    """Seven units that are linear in the embedding of a random CLIP vision tower."""

    def __init__(self):
        super().__init__()
        config = CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=24,
            patch_size=8,
            projection_dim=24,
        )
        with own_torch_stream(0, "clip"):
            self.tower = CLIPVisionModelWithProjection(config).eval()
            self.units = nn.Linear(24, 7)
        self.requires_grad_(False)

    def forward(self, images):
        seen = F.interpolate(images, size=(24, 24), mode="bilinear")
        found = self.tower(pixel_values=(seen - MEAN) / SPREAD).image_embeds
        return self.units(F.normalize(found, dim=1))


def guidance(encoder=None, scale=20.0, **options):
    encoder = Readout() if encoder is None else encoder
    n_units = 7 if isinstance(encoder, Clip) else 5
    weights = torch.zeros(n_units)
    weights[:2] = 0.5
    return BrainGuidance(encoder, weights, scale, **options)


def sample(generator, seeds=SEEDS, sampler="ddim", n_steps=5, **options):
    settings = SamplingSettings(n_steps, sampler)
    return sample_images(generator, seeds, settings=settings, **options)


def start(seed, shape=(4, 8, 8)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))[None]


def solver(pipeline, sampler):
    if sampler == "ddim":
        return DDIMScheduler.from_config(pipeline.scheduler.config)
    return DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)


# ------------------------------------------------------------------ against diffusers


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_unguided_sampling_equals_the_pipeline_of_diffusers(
    pipeline, generator, sampler, guidance_scale
):
    found = sample(generator, SEEDS[:2], sampler)
    own = pipeline.scheduler
    pipeline.scheduler = solver(pipeline, sampler)
    options = {"num_inference_steps": 5, "guidance_scale": guidance_scale}
    try:
        for i, seed in enumerate(SEEDS[:2]):
            latents, images = (
                pipeline("", latents=start(seed), output_type=kind, **options).images
                for kind in ("latent", "np")
            )
            assert latents.std() > 0.5
            assert (found.samples[i] - latents[0]).abs().max() < 1e-4
            assert np.abs(found.images[i] / 255 - images[0]).max() < 0.51 / 255 + 1e-4
    finally:
        pipeline.scheduler = own


def published_loop(pipeline, encoder, weights, scale, seed, n_steps):
    """Section 1.3 with the parts of diffusers, one image."""
    unet, vae = pipeline.unet, pipeline.vae
    tokens = pipeline.tokenizer(
        "", padding="max_length", max_length=16, return_tensors="pt"
    )
    with torch.no_grad():
        nothing = pipeline.text_encoder(tokens.input_ids)[0]
    scheduler = solver(pipeline, "dpm-solver++")
    scheduler.set_timesteps(n_steps)
    x = start(seed)
    for step in scheduler.timesteps:
        alpha_bar = scheduler.alphas_cumprod[step]
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        x = x.detach().requires_grad_(True)
        eps = unet(x, step, nothing).sample
        clean = (x - noise * eps) / signal
        mixed = noise * clean + (1 - noise) * x
        image = (vae.decode(mixed / 0.18215).sample / 2 + 0.5).clamp(0, 1)
        loss = -scale * (encoder(image) * weights).sum()
        gradient = -torch.autograd.grad(loss, x)[0]
        with torch.no_grad():
            x = scheduler.step(eps - noise * gradient, step, x).prev_sample
    return x.detach()


@pytest.mark.parametrize("make", [Readout, Clip])
def test_guided_sampling_equals_the_published_loop(pipeline, generator, make):
    encoder = make()
    guide = guidance(encoder, 130.0)
    found = sample(generator, SEEDS[:2], "dpm-solver++", guidance=guide).samples
    plain = sample(generator, SEEDS[:2], "dpm-solver++").samples
    for i, seed in enumerate(SEEDS[:2]):
        mine = published_loop(pipeline, encoder, guide.weights, 130.0, seed, 5)
        moved = (found[i] - plain[i]).abs().max()
        assert moved > 1e-2
        assert (found[i] - mine[0]).abs().max() < 1e-4


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("step", [1, 401, 981])
def test_the_clean_sample_is_that_of_the_scheduler(prediction, step):
    scheduler = DDIMScheduler(**NOISE, prediction_type=prediction)
    scheduler.set_timesteps(50)
    draw = torch.Generator().manual_seed(step)
    x, output = (torch.randn(2, 4, 8, 8, generator=draw) for _ in range(2))
    level = NoiseLevel(float(scheduler.alphas_cumprod[step]))
    eps, clean = level.read(output, x, prediction)
    expected = scheduler.step(output, step, x).pred_original_sample
    assert torch.allclose(clean, expected, rtol=1e-5, atol=1e-5)
    # The noise and the clean sample make up the noisy one.
    again = level.signal * clean + level.noise * eps
    assert torch.allclose(again, x, atol=1e-5)
    assert torch.allclose(level.write(eps, clean, prediction), output, atol=1e-4)


# --------------------------------------------------------------------- identities


@pytest.mark.parametrize("make", [Readout, Clip])
@pytest.mark.parametrize("sampler", [*SAMPLERS, "ddpm"])
def test_gradients_are_finite_and_not_0(generator, make, sampler):
    found = sample(generator, SEEDS[:2], sampler, guidance=guidance(make(), 130.0))
    assert found.gradient_norm.shape == (2, 5)
    assert np.isfinite(found.gradient_norm).all()
    assert (found.gradient_norm > 1e-6).all()
    assert np.isfinite(found.objective).all()
    assert found.n_failed.tolist() == [0, 0]


@pytest.mark.parametrize("sampler", [*SAMPLERS, "ddpm"])
@pytest.mark.parametrize("options", [{}, {"copies": 2, "shift_px": 2, "noise_sd": 0.1}])
def test_a_batch_of_four_equals_four_single_runs(generator, sampler, options):
    guide = guidance(**options)
    together = sample(generator, SEEDS, sampler, guidance=guide)
    for i, seed in enumerate(SEEDS):
        alone = sample(generator, [seed], sampler, guidance=guide)
        assert (together.samples[i] - alone.samples[0]).abs().max() < 1e-4
        assert together.objective[i] == pytest.approx(alone.objective[0], abs=1e-4)
    assert (together.samples[0] - together.samples[1]).abs().max() > 0.5


@pytest.mark.parametrize("sampler", [*SAMPLERS, "ddpm"])
def test_a_scale_of_0_equals_unguided_sampling_bit_for_bit(generator, sampler):
    plain = sample(generator, sampler=sampler)
    found = sample(generator, sampler=sampler, guidance=guidance(scale=0.0))
    assert torch.equal(found.samples, plain.samples)
    assert np.array_equal(found.images, plain.images)


def test_half_the_scale_with_twice_the_weights_is_the_same(generator):
    guide = guidance()
    twice = replace(guide, weights=2 * guide.weights, scale=guide.scale / 2)
    one, other = (sample(generator, guidance=g) for g in (guide, twice))
    assert torch.equal(one.samples, other.samples)
    assert other.objective == pytest.approx(2 * one.objective, rel=1e-6)


def test_the_other_sign_lowers_the_objective(generator):
    values = []
    for scale in (60.0, 0.0, -60.0):
        guide = guidance(scale=scale)
        images = sample(generator, guidance=guide, n_steps=8).images
        shown = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        values.append(guide.objective(shown).numpy())
    raised, plain, lowered = values
    assert (raised > plain).all()
    assert (lowered < plain).all()


def test_minus_the_scale_equals_minus_the_weights(generator):
    guide = guidance()
    one = sample(generator, guidance=replace(guide, scale=-guide.scale))
    other = sample(generator, guidance=replace(guide, weights=-guide.weights))
    assert torch.equal(one.samples, other.samples)


# ------------------------------------------------------------------- predictions


class Rewritten(nn.Module):
    """The same network, which tells the velocity or the clean sample instead."""

    def __init__(self, inner, shares, prediction):
        super().__init__()
        self.inner, self.shares, self.prediction = inner, shares, prediction

    def forward(self, x, step, condition):
        eps = self.inner(x, step, condition).sample
        share = self.shares[int(step)]
        signal, noise = share.sqrt(), (1 - share).sqrt()
        clean = (x - noise * eps) / signal
        told = clean if self.prediction == "sample" else signal * eps - noise * clean
        return SimpleNamespace(sample=told)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("sampler", [*SAMPLERS, "ddpm"])
@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_one_network_gives_the_same_images_whatever_it_predicts(
    generator, prediction, sampler, guided
):
    shares = DDIMScheduler(**NOISE).alphas_cumprod
    other = replace(
        generator,
        denoiser=Rewritten(generator.denoiser, shares, prediction),
        scheduler={**generator.scheduler, "prediction_type": prediction},
    )
    options = {"guidance": guidance()} if guided else {}
    one = sample(generator, SEEDS[:2], sampler, **options).samples
    again = sample(other, SEEDS[:2], sampler, **options).samples
    assert (one - again).abs().max() < 1e-4
    if guided:
        plain = sample(generator, SEEDS[:2], sampler).samples
        assert (one - plain).abs().max() > 1e-2


# ------------------------------------------------------------------------ options


@pytest.mark.parametrize("mix", ["sigma", "clean"])
@pytest.mark.parametrize("through", [True, False])
def test_gradients_are_those_of_the_formula(generator, mix, through):
    guide = guidance(scale=1.0, mix=mix, through_denoiser=through)
    level, step = NoiseLevel(0.4), 300
    x = torch.cat([start(seed) for seed in (1, 2)])
    found = guide.step(generator, x, step, level)
    leaf = x.clone().requires_grad_(True)
    unet, condition = generator.denoiser, generator.condition.expand(2, -1, -1)
    eps = unet(leaf, step, condition).sample
    plain = eps.detach()
    eps = eps if through else plain
    clean = (leaf - 0.6**0.5 * eps) / 0.4**0.5
    shown = clean if mix == "clean" else 0.6**0.5 * clean + (1 - 0.6**0.5) * leaf
    decoded = generator.decoder.inner.decode(shown / 0.18215).sample / 2 + 0.5
    guide.objective(decoded.clamp(0, 1)).sum().backward()
    expected = leaf.grad.flatten(1).norm(dim=1)
    assert (expected > 1e-4).all()
    assert torch.allclose(found.norm.float(), expected, rtol=1e-4)
    moved = plain - 0.6**0.5 * leaf.grad
    assert torch.allclose(found.eps, moved, atol=1e-6)
    assert torch.allclose(found.clean, level.clean(x, moved), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"through_denoiser": False}, {"mix": "clean"}], ids=str
)
def test_cheaper_guidance_raises_the_objective_too(generator, options):
    guide = guidance(scale=60.0, **options)
    values = []
    for options in ({}, {"guidance": guide}):
        images = sample(generator, n_steps=8, **options).images
        shown = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        values.append(guide.objective(shown).mean())
    assert values[1] > values[0] + 0.01


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_16_bits_run_on_the_cpu_and_stay_near_32(saved, generator, precision):
    half = load_image_generator(saved[1], precision=precision)
    assert half.dtype == getattr(torch, precision)
    assert next(half.decoder.parameters()).dtype == half.dtype
    x = start(1)
    assert half.denoise(x, 300).dtype == half.decode(x).dtype == torch.float32
    guide = guidance()
    found, exact = (sample(g, SEEDS[:2], guidance=guide) for g in (half, generator))
    assert np.isfinite(found.gradient_norm).all()
    pair = torch.stack([found.samples.flatten(), exact.samples.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.999
    assert found.objective == pytest.approx(exact.objective, abs=0.05)


def test_self_attention_guidance_takes_the_self_attention_of_the_middle(generator):
    settings = SamplingSettings(4, "ddim", self_attention=0.75)
    found = sample_images(generator, SEEDS[:2], settings=settings).samples
    plain = sample(generator, SEEDS[:2], n_steps=4).samples
    assert torch.isfinite(found).all()
    assert (found - plain).abs().max() > 1e-3


# ------------------------------------------------------------------- worked example


class Constant(nn.Module):
    """Says .3 whatever it sees, but can be asked for device and type."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.3), requires_grad=False)

    def forward(self, x, step):
        return SimpleNamespace(sample=self.level.expand_as(x))


class Kept(nn.Module):
    """One unit with the derivative .01 to the noisy sample; keeps what it sees."""

    def forward(self, images):
        self.seen = images.detach()
        # An image is z / 4 + .5, and z changes by 1.8660254 with x.
        return images.flatten(1).sum(1, keepdim=True) * (0.01 * 4 / 1.8660254)


def test_the_worked_example_of_the_published_code():
    generator = ImageGenerator(
        *("toy", Constant(), nn.Identity(), (1, 1, 1), {}), scaling=2.0
    )
    encoder = Kept()
    guide = BrainGuidance(encoder, torch.ones(1), 130.0)
    x, level = torch.ones(1, 1, 1, 1), NoiseLevel(0.25)
    found = guide.step(generator, x, 500, level)
    unguided = level.clean(x, torch.full_like(x, 0.3))
    assert unguided.item() == pytest.approx(1.4803848, abs=1e-6)
    mixed = 4 * (encoder.seen.item() - 0.5)
    assert mixed == pytest.approx(1.4160254, abs=1e-6)
    assert found.norm.item() == pytest.approx(1.3, abs=1e-6)
    assert found.eps.item() == pytest.approx(-0.8258330, abs=1e-6)
