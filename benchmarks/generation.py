"""Time guided and unguided images per minute, against the pipelines of diffusers.

    diffusers  DDIMPipeline (StableDiffusionPipeline with a text encoder) with the same
               networks, noise, steps and bounds, decoded; compared with `plain` first
    plain      our loop
    guided     BrainDiVE as published: gradients flow through the denoiser
    fixed      the prediction of the denoiser counts as fixed
    copies     as guided, averaged over four shifted and noisy copies

The guide is a small convolutional network of random weights with 200 linear units: what
is timed is diffusion, decoding and their gradients. All run in this process on the same
threads, interleaved, DDIM without self-attention; medians of CPU seconds (on a GPU of
wall seconds, and torch's peak memory beyond the weights).

    OMP_NUM_THREADS=1 python benchmarks/generation.py [--images 16] [--batch 16]
        [--generator sketch:latent] [--steps 25] [--repeats 3] [--only plain,guided]
    python benchmarks/generation.py --device cuda --batch 256 --images 256
    python benchmarks/generation.py --device cuda --precision float16 --batch 4 \\
        --images 4 --steps 50 --generator FOLDER [--gradient-checkpointing]

Without the shipped weights `sketch:latent` is replaced by random ones, which take as
long.
"""

import argparse
import statistics
import time
from functools import partial
from itertools import pairwise

import torch
from diffusers import DDIMPipeline, DDIMScheduler, StableDiffusionPipeline
from torch import nn

from neurovis.adapters.braindive import BrainGuidance, contrast_weights
from neurovis.adapters.image_generators import load_image_generator
from neurovis.core.device import exact_float32
from neurovis.core.rng import own_torch_stream
from neurovis.generation.sampling import SamplingSettings, sample_images

N_UNITS = 200
GUIDES = {
    "guided": {},
    "fixed": {"through_denoiser": False},
    "copies": {"copies": 4, "shift_px": 2, "noise_sd": 0.05},
}


def make_guide(device):
    widths = (3, 32, 64, 64)
    layers = []
    with own_torch_stream(0, "generation benchmark"):
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.ReLU()]
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        network = nn.Sequential(*layers, *pooled, nn.Linear(64, N_UNITS))
    return network.eval().requires_grad_(False).to(device)


def make_peer(generator):
    """Return a pipeline of diffusers with the networks of a generator."""
    limit = generator.clean_limit
    noise = {"clip_sample": limit is not None, "clip_sample_range": limit or 1.0}
    scheduler = DDIMScheduler.from_config({**generator.scheduler, **noise})
    if generator.condition is None:
        pipeline = DDIMPipeline(generator.denoiser, scheduler)
    else:
        pipeline = StableDiffusionPipeline(
            unet=generator.denoiser,
            vae=generator.decoder.inner,
            text_encoder=None,
            tokenizer=None,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run_peer(pipeline, generator, seeds, n_steps):
    """Return images of 0..1, and samples where the pipeline tells them."""
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]
    with exact_float32(), torch.no_grad():
        if generator.condition is None:
            # It takes the samples for pictures, and cuts them at their ends.
            cut = pipeline(
                batch_size=len(seeds),
                generator=streams,
                num_inference_steps=n_steps,
                use_clipped_model_output=True,
                output_type="pt",
            ).images
            decoded = generator.decode(2 * cut.float() - 1).clamp(0, 1)
            return decoded.cpu(), cut.float().cpu()
        start = torch.stack(
            [torch.randn(generator.shape, generator=s) for s in streams]
        )
        condition = generator.condition.to(generator.dtype)
        images = pipeline(
            prompt_embeds=condition.expand(len(seeds), -1, -1),
            latents=start.to(generator.device, generator.dtype),
            num_inference_steps=n_steps,
            guidance_scale=0.0,
            output_type="pt",
        ).images
    return images.float().cpu(), None


def check_equal(found, images, samples):
    """Raise unless both loops gave the same."""
    if samples is None:
        ours = torch.from_numpy(found.images).permute(0, 3, 1, 2) / 255
        error, most = (ours - images).abs().max(), 1.5 / 255
    else:
        error = ((found.samples / 2 + 0.5).clamp(0, 1) - samples).abs().max()
        most = 1e-3
    print(f"largest difference to diffusers: {error:.1e}")
    if not error < most:
        raise AssertionError(f"plain sampling differs from diffusers by {error:.1e}")


def timed(call, device):
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    clock = time.perf_counter if on_gpu else time.process_time
    start = clock()
    result = call()
    if not on_gpu:
        return clock() - start, 0.0, result
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    return clock() - start, peak / 2**30, result


def in_batches(call, seeds, batch):
    return [call(seeds[i : i + batch]) for i in range(0, len(seeds), batch)]


def load(source, **options):
    try:
        return load_image_generator(source, **options)
    except FileNotFoundError:
        if source != "sketch:latent":
            raise
        return load_image_generator("sketch:seeded:latent:0", **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", default="sketch:latent")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--only", default=",".join(["diffusers", "plain", *GUIDES]))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    options = parser.parse_args()
    generator = load(
        options.generator,
        device=options.device,
        precision=options.precision,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    place = generator.device
    encoder, weights = make_guide(place), contrast_weights(N_UNITS, range(40))
    settings = SamplingSettings(options.steps, "ddim")
    sample = partial(sample_images, generator, settings=settings)
    peer = partial(run_peer, make_peer(generator), generator, n_steps=options.steps)
    calls = {"diffusers": peer, "plain": sample}
    for name, choice in GUIDES.items():
        guidance = BrainGuidance(encoder, weights, options.scale, **choice)
        calls[name] = partial(sample, guidance=guidance)
    calls = {name: calls[name] for name in options.only.split(",")}
    print(
        f"{generator.name}, {options.images} images in batches of {options.batch}, "
        f"{options.steps} steps, {place}, {options.precision}, "
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )
    seeds = range(options.images)
    first = seeds[: min(2, len(seeds))]
    for call in calls.values():  # warms up
        call(first)
    if {"diffusers", "plain"} <= set(calls) and options.precision == "float32":
        check_equal(sample(first), *peer(first))
    seconds = {name: [] for name in calls}
    peaks = dict.fromkeys(calls, 0.0)
    for _ in range(options.repeats):
        for name, call in calls.items():
            spent, peak, _ = timed(
                partial(in_batches, call, seeds, options.batch), place
            )
            seconds[name].append(spent)
            peaks[name] = max(peaks[name], peak)
    print("\n| loop | s per image | images per minute | over plain | peak, GiB |")
    print("|---|---|---|---|---|")
    for name, values in seconds.items():
        each = statistics.median(values) / options.images
        pairs = zip(values, seconds.get("plain", ()), strict=False)
        ratios = [a / b for a, b in pairs]
        over = f"{statistics.median(ratios):.2f}" if ratios else ""
        peak = f"{peaks[name]:.2f}" if peaks[name] else ""
        print(f"| {name} | {each:.3f} | {60 / each:.1f} | {over} | {peak} |")


if __name__ == "__main__":
    main()
