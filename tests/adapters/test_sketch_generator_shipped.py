"""The generators that come with the suite: what they are, and that they draw."""

from importlib import resources

import pytest
import torch

from neurovis.adapters.image_generators import load_image_generator
from neurovis.adapters.sketch_generator import KINDS, SHIPPED, load_sketch_generator
from neurovis.core.files import sha256_file
from neurovis.generation.sampling import SamplingSettings, sample_images
from tasks.sketch_training import (
    SketchRecipe,
    draw_sketches,
    noise_shares,
    to_signed,
    velocity_loss,
)

# Frozen on 2026-11-22 (torch 2.15, CPU): mean levels of red, green and blue of the
# first four seeds, ten steps of DDIM, and the loss on drawings of another seed.
CHANNEL_MEANS = {"latent": [0.5356, 0.5443, 0.5021], "pixel": [0.4981, 0.4602, 0.4276]}
PIXEL_LOSS = 0.0891


def test_the_shipped_files_are_small_and_have_the_hashes_that_are_checked():
    total = 0
    for name, known in SHIPPED.values():
        with resources.as_file(resources.files("neurovis.adapters") / name) as path:
            assert sha256_file(path) == known
            total += path.stat().st_size
    assert total < 8_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_files_tell_how_they_came_about(kind):
    found = load_sketch_generator(f"shipped-{kind}")
    assert found.kind == kind
    assert found.about["seed"] == 0
    assert found.about["recipe"] == SketchRecipe(kind).parameters
    assert found.notes == (
        f"A small generator ({kind}), trained here on 24000 drawings made by a "
        "program: no photographs.",
    )
    assert load_image_generator(f"sketch:{kind}").trained


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_generators_draw_what_they_drew(kind):
    generator = load_image_generator(f"sketch:{kind}")
    found = sample_images(generator, range(4), settings=SamplingSettings(10, "ddim"))
    means = found.images.mean((0, 1, 2)) / 255
    assert means.tolist() == pytest.approx(CHANNEL_MEANS[kind], abs=0.01)
    # Four different pictures, with something on each.
    assert len({image.tobytes() for image in found.images}) == 4
    assert (found.images.std((1, 2)).max(1) > 5).all()


def test_the_pixel_generator_takes_noise_from_new_drawings():
    drawn, _ = draw_sketches(100, seed=4321)
    clean = torch.nn.functional.pixel_unshuffle(to_signed(drawn), 2)
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(clean.shape, generator=draw)
    steps = torch.arange(100) * 10
    losses = {}
    for name in ("shipped-pixel", "seeded:pixel:0"):
        denoiser = load_sketch_generator(name).denoiser
        with torch.no_grad():
            loss = velocity_loss(denoiser, clean, steps, noise, noise_shares())
        losses[name] = float(loss)
    assert losses["shipped-pixel"] == pytest.approx(PIXEL_LOSS, abs=0.005)
    # Who predicts nothing loses the variance of what is asked.
    assert losses["seeded:pixel:0"] > 0.5
