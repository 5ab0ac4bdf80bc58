"""Prompts against the pipeline of diffusers, and images that grow like a text."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DModel,
)
from torch import nn

from neurovis.adapters.braindive import BrainGuidance
from neurovis.adapters.feature_inputs import Preprocessing, to_format
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.image_generators import encode_prompts, load_image_generator
from neurovis.adapters.prompted_generators import (
    ClipTowers,
    load_prompted,
    text_guidance,
    text_similarity,
    with_prompts,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.rng import own_torch_stream
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.sampling import SamplingSettings, sample_images
from tests.generation.test_diffusers_pipeline import (
    Readout,
    make_pipeline,
    make_unet,
    start,
)

# A solver of diffusers turns tensors into arrays in a way that NumPy will drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

PROMPTS = ["a cat", "two dogs"]
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Stable Diffusion whose random network listens to texts."""
    unet = make_unet()
    for name, weight in unet.named_parameters():
        if "attn2.to_" in name and name.endswith("weight"):
            weight.data *= 4
    found = tmp_path_factory.mktemp("pipelines") / "tiny"
    make_pipeline(unet=unet).save_pretrained(found)
    return found


@pytest.fixture(scope="module")
def pipeline(folder):
    found = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture(scope="module")
def generator(folder):
    return load_image_generator(folder)


@pytest.fixture(scope="module")
def embeddings(folder):
    return encode_prompts(folder, PROMPTS)


def sample(generator, seeds=SEEDS, sampler="ddim", n_steps=5, **options):
    settings = SamplingSettings(n_steps, sampler)
    return sample_images(generator, seeds, settings=settings, **options)


# ------------------------------------------------------------- against diffusers


@pytest.mark.parametrize(
    ("sampler", "guidance_scale"), [("ddim", 1.0), ("ddim", 7.5), ("dpm-solver++", 2.5)]
)
def test_images_equal_those_of_the_pipeline_of_diffusers(
    pipeline, generator, embeddings, sampler, guidance_scale
):
    own = pipeline.scheduler
    kind = {"ddim": DDIMScheduler, "dpm-solver++": DPMSolverMultistepScheduler}
    pipeline.scheduler = kind[sampler].from_config(own.config)
    options = {"num_inference_steps": 5, "guidance_scale": guidance_scale}
    plain = sample(generator, sampler=sampler).samples
    prompted = with_prompts(generator, embeddings, guidance_scale=guidance_scale)
    try:
        for prompt, one in zip(PROMPTS, prompted, strict=True):
            found = sample(one, sampler=sampler)
            assert (found.samples - plain).abs().max() > 0.01
            for i, seed in enumerate(SEEDS):
                latents, images = (
                    pipeline(prompt, latents=start(seed), output_type=kind, **options)
                    for kind in ("latent", "np")
                )
                error = (found.samples[i] - latents.images[0]).abs().max()
                assert error < 1e-4
                levels = np.abs(found.images[i] / 255 - images.images[0]).max()
                assert levels < 0.51 / 255 + 1e-4
    finally:
        pipeline.scheduler = own


def test_embeddings_of_texts_are_those_of_the_pipeline(pipeline, folder):
    texts = [*PROMPTS, "", "A  cat"]
    found = encode_prompts(folder, texts)
    assert (found.shape, found.dtype) == ((4, 16, 32), torch.float32)
    for text, row in zip(texts, found, strict=True):
        alone = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        expected = pipeline.encode_prompt(text, "cpu", **alone)[0]
        assert torch.equal(row, expected[0])


def test_a_text_does_not_depend_on_its_company(folder):
    together = encode_prompts(folder, [*PROMPTS, "a much longer one"])
    alone = torch.cat([encode_prompts(folder, [text]) for text in PROMPTS])
    assert torch.equal(together[:2], alone)


def test_what_is_cut_off_is_told(folder, caplog):
    long = "a" * 20
    found = encode_prompts(folder, ["a cat", long, long[:14]])
    assert len(caplog.records) == 1
    assert "has 22 tokens, and the text encoder reads 16: 'aaaa" in caplog.text
    assert torch.equal(found[1], found[2])


# ------------------------------------------------------------------- the formula


def test_the_prediction_is_that_of_classifier_free_guidance(generator, embeddings):
    (one, _) = with_prompts(generator, embeddings, guidance_scale=3.0)
    x = torch.cat([start(seed) for seed in SEEDS])
    unet = generator.denoiser
    plain = unet(x, 300, generator.condition.expand(2, -1, -1)).sample
    under = unet(x, 300, embeddings[:1].expand(2, -1, -1)).sample
    assert (under - plain).abs().max() > 1e-3
    expected = plain + 3 * (under - plain)
    torch.testing.assert_close(one.denoise(x, 300), expected, atol=1e-5, rtol=0)


def test_one_pass_of_the_network_predicts_both(generator, embeddings):
    (one, _) = with_prompts(generator, embeddings)
    calls = []
    handle = generator.denoiser.register_forward_pre_hook(
        lambda _, args: calls.append((tuple(args[0].shape), tuple(args[2].shape)))
    )
    try:
        one.denoise(start(0), 300)
    finally:
        handle.remove()
    assert calls == [((2, 4, 8, 8), (2, 16, 32))]


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++", "ddpm"])
def test_a_scale_of_0_equals_no_prompt_bit_for_bit(generator, embeddings, sampler):
    (one, _) = with_prompts(generator, embeddings, guidance_scale=0)
    found, expected = (sample(g, sampler=sampler) for g in (one, generator))
    assert torch.equal(found.samples, expected.samples)
    assert np.array_equal(found.images, expected.images)


def test_a_scale_of_1_predicts_under_the_prompt_alone(generator, embeddings):
    (one, _) = with_prompts(generator, embeddings, guidance_scale=1)
    other = replace(generator, condition=embeddings[:1])
    assert torch.equal(sample(one).samples, sample(other).samples)


def test_the_empty_prompt_changes_nothing(folder, generator):
    (one,) = load_prompted(folder, [""], guidance_scale=7.5)
    x = start(0)
    torch.testing.assert_close(
        one.denoise(x, 300), generator.denoise(x, 300), atol=1e-4, rtol=0
    )


def test_a_batch_equals_single_images(generator, embeddings):
    (one, _) = with_prompts(generator, embeddings)
    together = sample(one).samples
    for i, seed in enumerate(SEEDS):
        alone = sample(one, [seed]).samples
        assert (alone[0] - together[i]).abs().max() < 1e-4


def test_self_attention_sees_the_half_without_the_prompt(generator, embeddings):
    prompted = with_prompts(generator, embeddings[:1], guidance_scale=3.0)[0]
    settings = SamplingSettings(2, "ddim", self_attention=0.75)
    found = sample_images(prompted, SEEDS, settings=settings).samples
    for i, seed in enumerate(SEEDS):
        one = sample_images(prompted, [seed], settings=settings).samples
        assert (found[i] - one[0]).abs().max() < 1e-4
    without = sample_images(prompted, SEEDS, settings=SamplingSettings(2, "ddim"))
    assert (found - without.samples).abs().max() > 1e-3
    # Without a prompt all rows of the map are the half without it.
    plain = with_prompts(generator, embeddings[:1], guidance_scale=0.0)[0]
    pair = [
        sample_images(each, SEEDS, settings=settings).samples
        for each in (plain, generator)
    ]
    assert (pair[0] - pair[1]).abs().max() == 0


def test_half_precision_stays_near(folder, embeddings):
    half = load_image_generator(folder, precision="bfloat16")
    found, exact = (
        with_prompts(g, embeddings)[0].denoise(start(0), 300)
        for g in (half, load_image_generator(folder))
    )
    assert found.dtype == torch.float32
    pair = torch.stack([found.flatten(), exact.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.99


# ------------------------------------------------------------------ with a brain


def test_a_brain_guides_under_a_prompt(generator, embeddings):
    (one, _) = with_prompts(generator, embeddings)
    weights = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0])
    guide = BrainGuidance(Readout(), weights, 1.0, mix="clean")
    level, step = NoiseLevel(0.4), 300
    x = torch.cat([start(seed) for seed in SEEDS])
    found = guide.step(one, x, step, level)
    leaf = x.clone().requires_grad_(True)
    unet = generator.denoiser
    plain = unet(leaf, step, generator.condition.expand(2, -1, -1)).sample
    under = unet(leaf, step, embeddings[:1].expand(2, -1, -1)).sample
    eps = plain + 7.5 * (under - plain)
    clean = (leaf - 0.6**0.5 * eps) / 0.4**0.5
    guide.objective(generator.decode(clean).clamp(0, 1)).sum().backward()
    expected = leaf.grad.flatten(1).norm(dim=1)
    assert (expected > 1e-4).all()
    torch.testing.assert_close(found.norm.float(), expected, rtol=1e-3, atol=0)
    moved = eps.detach() - 0.6**0.5 * leaf.grad
    torch.testing.assert_close(found.eps, moved, atol=1e-4, rtol=0)


def test_guidance_raises_the_objective_under_a_prompt(generator, embeddings):
    (one, _) = with_prompts(generator, embeddings)
    weights = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0])
    values = []
    for scale in (60.0, 0.0, -60.0):
        guide = BrainGuidance(Readout(), weights, scale)
        images = sample(one, guidance=guide).images
        shown = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        values.append(guide.objective(shown).mean())
    assert values[0] > values[1] > values[2]


# ---------------------------------------------------------------------- identity


def test_prompts_keep_their_order_and_share_the_networks(folder, generator):
    texts = ["a cat", "two dogs", "a cat"]
    found = load_prompted(folder, texts)
    assert len(found) == 3
    assert found[0] is found[2]
    assert found[0].denoiser is found[1].denoiser
    expected = encode_prompts(folder, texts)
    assert torch.equal(torch.cat([one.prompt for one in found]), expected)
    assert {one.prompt_scale for one in found} == {7.5}
    assert found[0].to("cpu").prompt.shape == (1, 16, 32)


def test_fingerprints_tell_prompt_and_strength(generator, embeddings):
    marks = {generator.fingerprint}
    for scale in (0.0, 1.0, 7.5):
        for one in with_prompts(generator, embeddings, guidance_scale=scale):
            marks.add(one.fingerprint)
    assert len(marks) == 7
    again = with_prompts(generator, embeddings.clone(), guidance_scale=7)
    other = with_prompts(generator, embeddings[1:], guidance_scale=7.0)
    assert again[1].fingerprint == other[0].fingerprint


def test_reading_a_folder_is_quiet_and_draws_no_numbers(folder, caplog):
    before = torch.get_rng_state()
    (one,) = load_prompted(folder, ["a cat"])
    assert torch.equal(torch.get_rng_state(), before)
    assert caplog.text == ""
    assert not one.prompt.requires_grad


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompts": "a cat"}, TypeError, "`prompts` must be a list of texts"),
        ({"prompts": ["a cat", 3]}, TypeError, "`prompts` must be a list of texts"),
        ({"prompts": []}, ValueError, "at least one text"),
        ({"guidance_scale": float("nan")}, ValueError, "`guidance_scale`"),
        ({"guidance_scale": "7"}, TypeError, "`guidance_scale`"),
        ({"precision": "float64"}, ValueError, "`precision` must be one of"),
    ],
)
def test_options_are_checked_before_anything_is_read(tmp_path, options, error, message):
    options = {"prompts": PROMPTS} | options
    with pytest.raises(error, match=message):
        load_prompted(tmp_path / "absent", options.pop("prompts"), **options)


def test_models_without_texts_are_refused(embeddings):
    source, message = "sketch:seeded:latent:0", "trained without texts.*`text_guidance`"
    with pytest.raises(ValueError, match=message):
        load_prompted(source, PROMPTS)
    with pytest.raises(ValueError, match=message):
        with_prompts(load_image_generator(source), embeddings)


def test_a_folder_without_a_text_encoder_takes_no_prompts(tmp_path):
    UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    ).save_pretrained(tmp_path / "unet")
    DDIMScheduler().save_pretrained(tmp_path / "scheduler")
    with pytest.raises(ValueError, match="trained without texts"):
        load_prompted(tmp_path, PROMPTS)


@pytest.mark.parametrize("shape", [(16, 32), (1, 16, 24), (1, 15, 32)])
def test_embeddings_of_another_model_are_refused(generator, shape):
    with pytest.raises(ValueError, match=r"\(n_prompts, 16, 32\) for tiny; got"):
        with_prompts(generator, torch.zeros(shape))


def test_a_generator_takes_prompts_of_the_shape_of_its_condition(generator):
    with pytest.raises(ValueError, match="must have the shape of `condition`"):
        replace(generator, prompt=torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="toy looks at no text"):
        ImageGenerator(
            "toy", nn.Identity(), None, (3, 4, 4), {}, prompt=torch.zeros(1, 2, 3)
        )
    with pytest.raises(TypeError, match="`prompt_scale` must be a number"):
        replace(generator, prompt_scale="7")


def test_a_text_encoder_that_cannot_be_is_told(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "copied")
    path = copied / "text_encoder" / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"num_attention_heads": 5}))
    with pytest.raises(DataCorruptError, match="cannot be read as a CLIPTextModel"):
        encode_prompts(copied, PROMPTS)


# --------------------------------------------------------- guidance by a text


class Tower(nn.Module):
    """A small random network that looks at normalised pictures."""

    def __init__(self, seed=0, side=32):
        super().__init__()
        with own_torch_stream(seed, "tower"):
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 5, stride=2, padding=2),
                nn.ELU(),
                nn.Conv2d(8, 16, 3, stride=2, padding=1),
                nn.ELU(),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Linear(64, 12),
            )

    def forward(self, x):
        return self.layers(x)


def read_texts(texts):
    """Other directions for other words."""
    rows = []
    for text in texts:
        with own_torch_stream(len(text), "text", text):
            rows.append(3 * torch.randn(12))
    return torch.stack(rows)


def towers(seed=0, **options):
    rule = Preprocessing((32, 32), pixels=to_format((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    module = Tower(seed).eval().requires_grad_(False)
    backbone = Backbone("toy", module, rule, "toy", "seeded:0", False)
    return ClipTowers(backbone, read_texts, **options)


def images(n=4, side=32):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_cosines_are_those_of_the_embeddings():
    model, texts = towers(), ["a face", "a plate"]
    found = text_similarity(model, texts)(images())
    means, spreads = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    normal = (images() - means[:, None, None]) / spreads[:, None, None]
    rows = model.backbone.module(normal).double().numpy()
    words = read_texts(texts).double().numpy()
    expected = rows @ words.T
    expected /= np.outer(*(np.linalg.norm(v, axis=1) for v in (rows, words)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert found.shape == (4, 2)
    assert np.abs(expected).max() <= 1


def test_gradients_flow_from_the_cosine_to_the_pixels():
    shown = images(2).requires_grad_(True)
    encoder = text_similarity(towers(), ["a face"])
    encoder(shown).sum().backward()
    assert shown.grad.shape == shown.shape
    assert (shown.grad.flatten(1).norm(dim=1) > 1e-5).all()
    step = (
        1e-2
        * torch.randn(shown.shape, generator=torch.Generator().manual_seed(1))
        / shown.numel() ** 0.5
    )
    with torch.no_grad():
        difference = encoder(shown + step) - encoder(shown - step)
    expected = 2 * (shown.grad * step).flatten(1).sum(1)
    torch.testing.assert_close(difference[:, 0], expected, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("kind", ["latent", "pixel"])
def test_images_guided_by_a_text_are_more_like_it(kind):
    generator = load_image_generator(f"sketch:seeded:{kind}:0")
    encoder = text_similarity(towers(), ["a face"])
    values = []
    for scale in (0.3, 0.0, -0.3):
        guide = text_guidance(towers(), "a face", scale=scale, scale_kind="relative")
        found = sample(generator, [3], guidance=guide, n_steps=5).images
        shown = torch.from_numpy(found).permute(0, 3, 1, 2).float() / 255
        values.append(encoder(shown)[:, 0])
    assert (values[0] > values[1] + 0.01).all()
    assert (values[2] < values[1] - 0.01).all()


def test_text_guidance_is_brain_guidance_with_one_unit():
    guide = text_guidance(towers(), "a face", scale=5.0, mix="clean", copies=2)
    assert isinstance(guide, BrainGuidance)
    assert (guide.scale, guide.mix, guide.copies) == (5.0, "clean", 2)
    assert guide.weights.tolist() == [1.0]
    assert guide.encoder.texts == ("a face",)
    assert guide.encoder.directions.norm().item() == pytest.approx(1)
    assert not guide.encoder.directions.requires_grad
    plain = replace(guide, copies=1)
    expected = guide.encoder(images())[:, 0]
    torch.testing.assert_close(plain.objective(images()), expected)


def test_fingerprints_tell_texts_and_towers():
    marks = {
        text_guidance(towers(seed), text).encoder.fingerprint
        for seed in (0, 1)
        for text in ("a face", "a plate")
    }
    assert len(marks) == 4
    assert text_guidance(towers(), "a face").encoder.fingerprint in marks


def test_a_network_with_both_methods_is_as_good():
    class Both(Tower):
        embed_texts = staticmethod(read_texts)

        def embed_images(self, images):
            return self(images - 0.5)

    found, other = (
        text_similarity(Both(seed).eval(), ["a face", "a plate"]) for seed in (0, 1)
    )
    with torch.no_grad():
        rows = found.model(images() - 0.5)
        expected = F.cosine_similarity(rows[:, None], read_texts(found.texts), dim=2)
        torch.testing.assert_close(found(images()), expected)
    assert found.fingerprint != other.fingerprint


def test_images_are_brought_to_the_size_of_the_tower():
    fit = lambda shown, rule: F.interpolate(shown, size=rule.size_px)  # noqa: E731
    encoder = text_similarity(towers(fit=fit), ["a face"])
    small = images(2, 16)
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    plain = text_similarity(towers(), ["a face"])
    torch.testing.assert_close(encoder(small), plain(large))
    with pytest.raises(ValueError, match=r"\(n, 3, 32, 32\); got \(2, 3, 16, 16\)"):
        plain(small)


def test_towers_that_give_tokens_beside_the_embedding_are_read():
    model = towers()
    inner = model.backbone.module

    class WithTokens(nn.Module):
        def forward(self, x):
            return inner(x), x

    told = replace(model, backbone=replace(model.backbone, module=WithTokens().eval()))
    torch.testing.assert_close(
        told.embed_images(images()), model.embed_images(images())
    )


@pytest.mark.parametrize(
    ("texts", "rows", "message"),
    [
        ([], None, "at least one text"),
        (["a", "b"], torch.zeros(1, 12), r"must return the shape \(2, n_features\)"),
        (["a", "b"], torch.eye(2, 12) * torch.tensor([[1.0], [0]]), "of 'b' is not"),
        (["a"], torch.full((1, 12), torch.nan), "of 'a' is not finite"),
    ],
)
def test_texts_that_cannot_be_embedded_are_told(texts, rows, message):
    model = SimpleNamespace(embed_texts=lambda _: rows)
    with pytest.raises(ValueError, match=message):
        text_similarity(model, texts)


def test_a_text_alone_and_towers_that_do_not_match_are_told():
    with pytest.raises(TypeError, match="`texts` must be a list"):
        text_similarity(towers(), "a face")
    with pytest.raises(TypeError, match="`texts` must be a list"):
        text_guidance(towers(), None)
    model = SimpleNamespace(
        embed_texts=lambda _: torch.ones(1, 5), embed_images=towers().embed_images
    )
    with pytest.raises(ValueError, match=r"shape \(4, 5\).*got \(4, 12\)"):
        text_similarity(model, ["a face"])(images())
