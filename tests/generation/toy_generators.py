"""Generators small enough to know what they must do."""

from types import SimpleNamespace

import diffusers
import torch
from torch import nn

from neurovis.core.rng import own_torch_stream
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import NoiseLevel

NOISE = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}


class GaussianDenoiser(nn.Module):
    """The best denoiser of independent normal numbers with one mean and spread."""

    def __init__(self, mean, spread, prediction):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean), requires_grad=False)
        self.spread, self.prediction = spread, prediction
        self.alphas = diffusers.DDIMScheduler(**NOISE).alphas_cumprod.double()
        self.seen = []

    def forward(self, x, step):
        self.seen.append((int(step), x.detach().clone()))
        level = NoiseLevel(float(self.alphas[int(step)]))
        power = level.signal**2 * self.spread**2 + level.noise**2
        share = level.signal * self.spread**2 / power
        clean = self.mean + share * (x - level.signal * self.mean)
        output = level.write(level.eps(x, clean), clean, self.prediction)
        return SimpleNamespace(sample=output)


def gaussian_generator(
    mean=0.2, spread=0.1, prediction="v_prediction", shape=(3, 4, 4), **more
):
    denoiser = GaussianDenoiser(mean, spread, prediction)
    scheduler = {**NOISE, "prediction_type": prediction}
    return ImageGenerator("toy", denoiser, None, shape, scheduler, **more)


def unet_generator(seed=0, channels=3, prediction="epsilon", **more):
    """A random U-net of 8 x 8 places, with attention in its middle."""
    with own_torch_stream(seed, "toy generator"):
        denoiser = diffusers.UNet2DModel(
            sample_size=8,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            attention_head_dim=8,
        )
    denoiser.eval().requires_grad_(False)
    scheduler = {"prediction_type": prediction, **more.pop("scheduler", {})}
    shape = (channels, 8, 8)
    return ImageGenerator("toy U-net", denoiser, None, shape, scheduler, **more)
