"""Generators from the suite, from folders of diffusers and from the hub's cache."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
    VQModel,
)
from diffusers.models.resnet import ResnetBlock2D
from safetensors.torch import load_file, save_file
from torch import nn

from neurovis.adapters.image_generators import LAYOUT, load_image_generator
from neurovis.adapters.sketch_generator import (
    load_sketch_generator,
    save_sketch_generator,
)
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.rng import own_torch_stream
from neurovis.generation.sampling import (
    SamplingSettings,
    make_scheduler,
    sample_images,
)
from tests.generation.test_diffusers_pipeline import (
    NOISE,
    make_autoencoder,
    make_pipeline,
    make_unet,
)

WEIGHTS = "diffusion_pytorch_model.safetensors"


def make_plain_unet(channels=3, **changes):
    options = {
        "sample_size": 8,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
    }
    with own_torch_stream(1, "unet"):
        return UNet2DModel(**(options | changes)).eval()


def make_vq(**changes):
    options = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 3,
        "num_vq_embeddings": 16,
        "scaling_factor": 0.5,
    }
    with own_torch_stream(0, "vq"):
        return VQModel(**(options | changes)).eval()


def save_parts(folder, scheduler=None, **parts):
    """Write networks into folders of their names."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    scheduler = DDIMScheduler(**NOISE) if scheduler is None else scheduler
    scheduler.save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    """A folder in the shape of Stable Diffusion."""
    folder = tmp_path_factory.mktemp("pipelines") / "tiny-diffusion"
    make_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def copied(stable, tmp_path):
    """A folder of that kind that may be damaged."""
    return shutil.copytree(stable, tmp_path / "copied")


@pytest.fixture(scope="module")
def generator(stable):
    return load_image_generator(stable)


def change(path, **values):
    """Change what a file of JSON tells."""
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | values))


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------- small generators


@pytest.mark.parametrize(
    ("kind", "shape", "limit"),
    [("latent", (8, 8, 8), 2.5), ("pixel", (12, 16, 16), 1.0)],
)
def test_a_sketch_generator_is_told_as_what_it_is(kind, shape, limit):
    found = load_image_generator(f"sketch:seeded:{kind}:0")
    assert found.name == f"sketch:seeded:{kind}:0"
    assert found.shape == shape
    assert found.size_px == (32, 32)
    assert found.clean_limit == limit
    assert found.scaling == 1
    assert found.prediction == "v_prediction"
    assert found.condition is None
    assert not found.trained
    assert found.notes == (f"A small generator ({kind}) with random weights (seed 0).",)
    assert re.fullmatch("[0-9a-f]{64}", found.fingerprint)
    assert found.dtype == torch.float32
    own = load_sketch_generator(f"seeded:{kind}:0")
    x = draw(2, *shape)
    assert torch.equal(found.denoise(x, 400), own.denoiser(x, 400).sample)
    assert torch.equal(found.decode(x), own.decoder(x) / 2 + 0.5)


@pytest.mark.parametrize("kind", ["latent", "pixel"])
def test_a_sketch_generator_samples_pictures_within_its_limit(kind):
    found = load_image_generator(f"sketch:seeded:{kind}:0")
    settings = SamplingSettings(3, "ddim")
    sampled = sample_images(found, [0, 1], settings=settings)
    assert sampled.images.shape == (2, 32, 32, 3)
    assert sampled.images.dtype == np.uint8
    assert sampled.samples.abs().max() <= found.clean_limit + 1e-6
    assert (sampled.images[0] != sampled.images[1]).any()


def test_the_fingerprint_is_of_the_weights(tmp_path):
    seeds = [
        load_image_generator(f"sketch:seeded:latent:{seed}").fingerprint
        for seed in (0, 0, 1)
    ]
    assert seeds[0] == seeds[1] != seeds[2]
    own = load_sketch_generator("seeded:latent:0")
    path = tmp_path / "own.safetensors"
    states = [part.state_dict() for part in (own.denoiser, own.decoder)]
    states[1]["mean"] += 1
    save_sketch_generator(path, "latent", *states, {"notes": ["moved"]})
    found = load_image_generator(f"sketch:{path}")
    assert found.fingerprint not in seeds
    assert found.trained
    assert found.notes == ("moved",)
    assert found.decoder.mean.tolist() == [1.0] * 8


def test_unknown_sketches_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_image_generator(f"sketch:{tmp_path / 'absent.safetensors'}")
    with pytest.raises(ValueError, match="must look like 'seeded:latent:0'"):
        load_image_generator("sketch:seeded:voxel:0")


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "auto"])
def test_weights_have_the_precision_that_was_asked_for(precision):
    found = load_image_generator("sketch:seeded:latent:0", precision=precision)
    expected = torch.float32 if precision == "auto" else getattr(torch, precision)
    assert found.dtype == expected
    assert {p.dtype for p in found.decoder.parameters()} == {expected}
    x = draw(1, 8, 8, 8)
    assert found.denoise(x, 10).dtype == found.decode(x).dtype == torch.float32


# --------------------------------------------------------------- Stable Diffusion


def test_a_folder_of_stable_diffusion_is_read_whole(stable, generator):
    assert generator.name == "tiny-diffusion"
    assert generator.shape == (4, 8, 8)
    assert generator.size_px == (16, 16)
    assert generator.scaling == pytest.approx(0.18215)
    assert generator.clean_limit is None
    assert generator.prediction == "epsilon"
    assert generator.trained
    pipeline = make_pipeline()
    nothing = pipeline.encode_prompt("", "cpu", 1, do_classifier_free_guidance=False)[0]
    assert nothing.std() > 0.1
    assert torch.equal(generator.condition, nothing)
    z = draw(2, 4, 8, 8)
    with torch.no_grad():
        expected = pipeline.vae.decode(z / 0.18215).sample
    assert torch.equal(generator.decode(z), expected / 2 + 0.5)
    scheduler = make_scheduler(generator, "ddim")
    known = DDIMScheduler.from_pretrained(stable / "scheduler")
    assert torch.equal(scheduler.alphas_cumprod, known.alphas_cumprod)
    assert scheduler.config.steps_offset == 1


def test_nothing_can_be_trained_and_encoders_are_gone(generator):
    assert not generator.condition.requires_grad
    for part in (generator.denoiser, generator.decoder):
        assert not any(layer.training for layer in part.modules())
        assert not any(weight.requires_grad for weight in part.parameters())
    names = [name for name, _ in generator.decoder.named_parameters()]
    assert names
    assert not any("encoder" in name or ".quant_conv" in name for name in names)


def test_reading_a_folder_is_quiet_and_draws_no_numbers(stable, caplog):
    before = torch.get_rng_state()
    load_image_generator(stable)
    assert torch.equal(torch.get_rng_state(), before)
    assert caplog.text == ""


def test_the_shift_of_latents_is_respected(copied):
    change(copied / "vae" / "config.json", shift_factor=0.25, scaling_factor=2.0)
    found = load_image_generator(copied)
    z = draw(2, 4, 8, 8)
    with torch.no_grad():
        expected = make_autoencoder().decode(z / 2 + 0.25).sample / 2 + 0.5
    assert torch.equal(found.decode(z), expected)


def test_gradients_flow_through_the_decoder_as_through_that_of_diffusers(generator):
    x = draw(1, 4, 8, 8).requires_grad_(True)
    (generator.decode(x) ** 2).sum().backward()
    leaf = x.detach().clone().requires_grad_(True)
    ((make_autoencoder().decode(leaf / 0.18215).sample / 2 + 0.5) ** 2).sum().backward()
    assert x.grad.abs().max() > 0
    assert torch.allclose(x.grad, leaf.grad, rtol=1e-5, atol=1e-8)


def test_weights_of_16_bits_alone_are_found(copied, generator):
    for name in ("unet", "vae"):
        path = copied / name / WEIGHTS
        half = {n: v.half() for n, v in load_file(path).items()}
        save_file(half, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
        path.unlink()
    found = load_image_generator(copied)
    assert found.dtype == torch.float32
    for name, value in found.denoiser.state_dict().items():
        assert torch.equal(value, generator.denoiser.state_dict()[name].half().float())


def test_weights_in_several_files_are_found(copied, generator):
    (copied / "unet" / WEIGHTS).unlink()
    make_unet().save_pretrained(copied / "unet", max_shard_size="100KB")
    assert len(list((copied / "unet").glob("*.safetensors"))) > 1
    assert load_image_generator(copied).fingerprint == generator.fingerprint


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_another_precision_has_another_fingerprint(stable, generator, precision):
    found = load_image_generator(stable, precision=precision)
    assert found.dtype == getattr(torch, precision)
    assert found.fingerprint != generator.fingerprint
    assert found.condition.dtype == torch.float32


@pytest.mark.parametrize("kind", ["stable", "sketch"])
def test_checkpointing_computes_twice_and_gives_the_same_gradients(stable, kind):
    source = stable if kind == "stable" else "sketch:seeded:latent:0"
    gradients, calls = [], []
    for checkpointing in (False, True):
        found = load_image_generator(source, gradient_checkpointing=checkpointing)
        parts = [found.denoiser] + [found.decoder] * (kind == "stable")
        counts = [0] * len(parts)
        for i, part in enumerate(parts):
            inner = next(m for m in part.modules() if isinstance(m, ResnetBlock2D))

            def count(*_, i=i, counts=counts):
                counts[i] += 1

            inner.register_forward_pre_hook(count)
        x = draw(1, *found.shape).requires_grad_(True)
        found.decode(x - found.denoise(x, 300)).square().sum().backward()
        gradients.append(x.grad)
        calls.append(counts)
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-7)
    assert calls == [[1] * len(parts), [2] * len(parts)]


# ------------------------------------------------------------ unconditional models


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_pixel_model_samples_as_the_pipelines_of_diffusers(tmp_path, sampler, flat):
    unet = make_plain_unet()
    kind = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}[sampler]
    scheduler = kind(variance_type="fixed_large") if sampler == "ddpm" else kind()
    pipe = {"ddim": DDIMPipeline, "ddpm": DDPMPipeline}[sampler](unet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    if flat:
        for name in ("unet", "scheduler"):
            for path in (tmp_path / name).iterdir():
                path.rename(tmp_path / path.name)
            (tmp_path / name).rmdir()
    found = load_image_generator(tmp_path)
    assert found.shape == (3, 8, 8)
    assert found.size_px == (8, 8)
    assert found.decoder is None
    assert found.condition is None
    assert found.clean_limit == 1
    options = {"use_clipped_model_output": True} if sampler == "ddim" else {}
    streams = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    expected = pipe(
        batch_size=2,
        generator=streams,
        num_inference_steps=5,
        output_type="np",
        **options,
    ).images
    sampled = sample_images(found, [3, 4], settings=SamplingSettings(5, sampler))
    assert np.abs(sampled.images / 255 - expected).max() < 0.51 / 255 + 1e-4
    assert expected.std() > 0.05


@pytest.mark.parametrize("indexed", [False, True])
def test_a_latent_model_with_codes_is_decoded_as_by_diffusers(tmp_path, indexed):
    vq, unet = make_vq(), make_plain_unet()
    save_parts(tmp_path, unet=unet, vqvae=vq)
    if indexed:
        index = {"vqvae": ["diffusers", "VQModel"], "_class_name": "LDMPipeline"}
        (tmp_path / "model_index.json").write_text(json.dumps(index))
    found = load_image_generator(tmp_path, gradient_checkpointing=True)
    assert found.shape == (3, 8, 8)
    assert found.size_px == (16, 16)
    assert found.scaling == 0.5
    assert found.clean_limit is None
    z = draw(2, 3, 8, 8)
    with torch.no_grad():
        expected = vq.decode(z / 0.5).sample / 2 + 0.5
    assert torch.equal(found.decode(z), expected)
    z.requires_grad_(True)
    found.decode(z).sum().backward()
    assert z.grad.abs().max() > 0
    if indexed:
        shutil.rmtree(tmp_path / "vqvae")
        with pytest.raises(FileNotFoundError, match=r"lacks vqvae/config\.json"):
            load_image_generator(tmp_path)


def test_a_latent_model_without_text_is_cut_where_its_file_says_so(tmp_path):
    parts = {"unet": make_plain_unet(4), "vae": make_autoencoder()}
    cut = NOISE | {"clip_sample": True, "clip_sample_range": 3.0}
    found = load_image_generator(save_parts(tmp_path, DDIMScheduler(**cut), **parts))
    assert found.condition is None
    assert found.clean_limit == 3
    assert found.size_px == (16, 16)


def test_latents_without_an_autoencoder_are_no_pictures(tmp_path):
    save_parts(tmp_path, unet=make_plain_unet(4))
    with pytest.raises(ValueError, match=r"denoise pixels \(3 channels\); it deno"):
        load_image_generator(tmp_path)


# --------------------------------------------------------------------- the noise


@pytest.mark.parametrize(
    "kind",
    [
        DDIMScheduler,
        DDPMScheduler,
        DPMSolverMultistepScheduler,
        EulerDiscreteScheduler,
        PNDMScheduler,
        UniPCMultistepScheduler,
    ],
)
def test_the_noise_is_read_whatever_the_scheduler_is(copied, generator, kind):
    known = {n: NOISE[n] for n in ("beta_start", "beta_end", "beta_schedule")}
    kind(**known, prediction_type="v_prediction").save_pretrained(copied / "scheduler")
    found = load_image_generator(copied)
    assert found.prediction == "v_prediction"
    shares = make_scheduler(generator, "ddim").alphas_cumprod
    for sampler in ("ddim", "ddpm", "dpm-solver++"):
        scheduler = make_scheduler(found, sampler)
        assert torch.equal(scheduler.alphas_cumprod, shares)
        assert scheduler.config.prediction_type == "v_prediction"


def test_choices_of_the_sampler_are_left_out(copied):
    scheduler = copied / "scheduler" / "scheduler_config.json"
    change(scheduler, use_karras_sigmas=True, solver_order=3, thresholding=True)
    found = load_image_generator(copied)
    assert "use_karras_sigmas" not in found.scheduler
    solver = make_scheduler(found, "dpm-solver++").config
    assert not solver.use_karras_sigmas
    assert solver.solver_order == 2


@pytest.mark.parametrize("whole", [True, False])
def test_flow_matching_is_refused(copied, whole):
    FlowMatchEulerDiscreteScheduler().save_pretrained(copied / "scheduler")
    if not whole:  # as published ones are, which have no U-net
        shutil.rmtree(copied / "unet")
    message = r"FlowMatchEulerDiscreteScheduler.*DDIMScheduler, PNDMScheduler"
    with pytest.raises(ValueError, match=message):
        load_image_generator(copied)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prediction_type": "flow_prediction"}, "prediction_type of .*'v_prediction'"),
        ({"beta_schedule": "sigmoid"}, "whose noise is not one"),
        ({"use_flow_sigmas": True}, "whose noise is not one"),
        ({"_class_name": "NoSuchScheduler"}, "describes 'NoSuchScheduler'"),
        ({"timestep_spacing": "even"}, "timestep_spacing of .*; got 'even'"),
        ({"beta_end": 3.0}, "tells betas that cannot be used"),
        ({"trained_betas": [0.1, 0.2]}, "tells betas that cannot be used"),
    ],
)
def test_other_noise_is_refused(copied, values, message):
    change(copied / "scheduler" / "scheduler_config.json", **values)
    with pytest.raises(ValueError, match=message):
        load_image_generator(copied)


# ---------------------------------------------------------------- what is missing


PARTS = [
    "unet/config.json",
    f"unet/{WEIGHTS}",
    "vae/config.json",
    f"vae/{WEIGHTS}",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "scheduler/scheduler_config.json",
]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_named_with_the_layout(copied, part):
    (copied / part).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_image_generator(copied)
    assert f"{copied} is no whole generator: it lacks {part}.\n" in str(error.value)
    assert LAYOUT in str(error.value)


def test_all_that_is_missing_is_named_at_once(copied):
    for part in ("vae", "tokenizer", "scheduler"):
        shutil.rmtree(copied / part)
    names = [part for part in PARTS if part.startswith(("vae", "tok", "sched"))]
    with pytest.raises(FileNotFoundError) as error:
        load_image_generator(copied)
    assert all(name in str(error.value) for name in names)
    assert not any(f"{name}," in str(error.value) for name in set(PARTS) - set(names))


def test_the_index_alone_tells_what_is_missing(copied):
    for path in copied.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with pytest.raises(FileNotFoundError) as error:
        load_image_generator(copied)
    assert all(name in str(error.value) for name in PARTS)


def test_pickled_weights_are_not_read(copied):
    path = copied / "unet" / WEIGHTS
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(FileNotFoundError, match=r"lacks unet/.*\.bin files could run"):
        load_image_generator(copied)


@pytest.mark.parametrize("source", ["", "not/there/at-all", "/not/there", "sd-2"])
def test_a_missing_folder_is_told_with_the_layout(source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    source = source or str(tmp_path / "absent")
    with pytest.raises(FileNotFoundError) as error:
        load_image_generator(source)
    assert f"{source} is not there" in str(error.value)
    assert LAYOUT in str(error.value)


def test_an_empty_folder_is_no_generator(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"it lacks unet/config\.json, sched"):
        load_image_generator(tmp_path)


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_a_missing_package_is_told(stable, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = rf'need {package}: pip install "neurovis\[generate\]"'
    with pytest.raises(MissingDependencyError, match=message):
        load_image_generator(stable)


# ------------------------------------------------------------------------ the hub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def put(cache, name, folder):
    """Put a model into the cache, as a download leaves it."""
    place = cache / f"models--{name.replace('/', '--')}"
    commit = "a" * 40
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return place / "snapshots" / commit


def test_a_model_of_the_hub_comes_from_the_cache(cache, stable, generator):
    put(cache, "owner/tiny", stable)
    found = load_image_generator("owner/tiny")
    assert found.name == "owner/tiny"
    assert found.fingerprint == generator.fingerprint


def test_what_lacks_in_the_cache_is_named(cache, stable):
    place = put(cache, "owner/tiny", stable)
    (place / "vae" / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=f"it lacks vae/{WEIGHTS}"):
        load_image_generator("owner/tiny")


def test_a_model_that_is_not_there_is_told_with_the_command(cache):
    with pytest.raises(FileNotFoundError) as error:
        load_image_generator("owner/tiny")
    text = str(error.value)
    assert "no model 'owner/tiny' in the cache" in text
    assert str(cache) in text
    assert "downloads are off (local_files_only=True" in text
    assert "hf download owner/tiny --local-dir FOLDER --include '*.json'" in text
    assert LAYOUT in text


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "NEUROVIS_OFFLINE"])
def test_the_environment_forbids_downloads(cache, monkeypatch, variable):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("NEUROVIS_OFFLINE", raising=False)
    monkeypatch.setenv(variable, "on")
    with pytest.raises(FileNotFoundError, match=rf"downloads are off .*{variable}"):
        load_image_generator("owner/tiny", local_files_only=False)


def test_a_download_that_fails_is_told(cache, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.delenv("NEUROVIS_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    # As HF_HUB_OFFLINE=1 does: no test may look for a server.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"the download failed \(.*Error: "):
        load_image_generator("owner/tiny", local_files_only=False)


# ---------------------------------------------------------------------- bad input


def test_options_are_checked_first(tmp_path):
    with pytest.raises(ValueError, match="`precision` must be one of 'float32'"):
        load_image_generator(tmp_path / "absent", precision="float64")
    with pytest.raises(ValueError, match="`device` must be one of"):
        load_image_generator(tmp_path / "absent", device="tpu")


@pytest.mark.parametrize(
    ("part", "name", "message"),
    [
        ("unet", "SD3Transformer2DModel", "'UNet2DConditionModel', 'UNet2DModel'"),
        ("vae", "AsymmetricAutoencoderKL", "'AutoencoderKL', 'VQModel'"),
    ],
)
def test_other_networks_are_refused(copied, part, name, message):
    change(copied / part / "config.json", _class_name=name)
    with pytest.raises(ValueError, match=rf"{part}.*must be one of {message}; got"):
        load_image_generator(copied)


def test_other_text_encoders_are_refused(copied):
    change(copied / "text_encoder" / "config.json", architectures=["T5EncoderModel"])
    with pytest.raises(ValueError, match="must be one of 'CLIPTextModel'; got 'T5"):
        load_image_generator(copied)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_unet(num_class_embeds=3), r"needs more .*num_class_embeds=3\)"),
        (lambda: make_unet(in_channels=9), "takes 9 channels and gives 4"),
        (lambda: make_unet(in_channels=8, out_channels=8), "4 channels, but .* 8:"),
        (lambda: make_unet(cross_attention_dim=24), "of 24 numbers, .* gives 32"),
        (lambda: make_unet(sample_size=None), "must tell the sample_size"),
    ],
)
def test_parts_that_do_not_fit_together_are_told(copied, make, message):
    shutil.rmtree(copied / "unet")
    make().save_pretrained(copied / "unet")
    with pytest.raises(ValueError, match=message) as error:
        load_image_generator(copied)
    assert not isinstance(error.value, OSError)


def test_a_tokenizer_with_more_words_than_the_encoder_is_told(copied):
    path = copied / "tokenizer" / "tokenizer.json"
    text = path.read_text()
    told = json.loads(text)
    first = told["model"]["vocab"].pop("<s>")
    assert first == 0
    told["model"]["vocab"]["<s>"] = 5000
    path.write_text(json.dumps(told).replace('"ids": [0]', '"ids": [5000]'))
    with pytest.raises(DataCorruptError, match="cannot be read as a tokenizer"):
        load_image_generator(copied)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("part", [f"unet/{WEIGHTS}", "text_encoder/model.safetensors"])
def test_cut_weights_are_damaged(copied, part, share):
    path = copied / part
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataCorruptError, match=f"{path.parent} cannot be read as a "):
        load_image_generator(copied)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_weights_that_lack_are_not_replaced_by_random_ones(copied, part):
    path = copied / part / WEIGHTS
    state = load_file(path)
    del state[sorted(state)[0]]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(DataCorruptError, match="1 are missing or of another shape"):
        load_image_generator(copied)


def test_weights_of_another_shape_are_told(copied):
    path = copied / "unet" / WEIGHTS
    state = load_file(path)
    state["conv_in.bias"] = torch.zeros(5)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(DataCorruptError, match=re.escape(str(copied / "unet"))):
        load_image_generator(copied)


def test_weights_that_are_not_used_are_logged(copied, caplog):
    path = copied / "unet" / WEIGHTS
    save_file(load_file(path) | {"more.bias": torch.zeros(5)}, path, {"format": "pt"})
    found = load_image_generator(copied)
    assert isinstance(found.denoiser, nn.Module)
    assert "holds 1 weights that are not used" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]"])
@pytest.mark.parametrize("part", ["unet/config.json", "model_index.json"])
def test_damaged_descriptions_are_told(copied, part, text):
    (copied / part).write_text(text)
    with pytest.raises(DataCorruptError, match=re.escape(part)):
        load_image_generator(copied)
