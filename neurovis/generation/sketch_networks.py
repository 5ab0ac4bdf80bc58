"""Networks of the small generators that draw sketches of 32 x 32 pixels.

One denoises pixels that lie side by side as channels, the other the latents of an
autoencoder: the latter is Stable Diffusion (Rombach et al. 2022, arXiv:2112.10752) in
miniature.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE_PX = 32
"""Height and width of a sketch."""

LATENT_CHANNELS, LATENT_SIDE = 8, 8
WIDTHS = (24, 48, 64)
"""Channels of the autoencoder at 32, 16 and 8 places to a side."""

_GROUPS = 8


class ResidualBlock(nn.Module):
    """Two convolutions that add to what comes in.

    Parameters
    ----------
    width : int
        Channels, a multiple of 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(_GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what two convolutions make of the input.

        Parameters
        ----------
        x : Tensor of float32, shape (n, width, h, w)
            Input.

        Returns
        -------
        Tensor of float32, shape (n, width, h, w)
            Sum.
        """
        inner = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(inner)))


class SketchEncoder(nn.Module):
    """From pictures to latents; needed for training only."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.layers = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            ResidualBlock(second),
            nn.Conv2d(second, third, 3, stride=2, padding=1),
            ResidualBlock(third),
            nn.GroupNorm(_GROUPS, third),
            nn.SiLU(),
            nn.Conv2d(third, LATENT_CHANNELS, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Shorten pictures.

        Parameters
        ----------
        pictures : Tensor of float32, shape (n, 3, 32, 32), -1..1
            Pictures.

        Returns
        -------
        Tensor of float32, shape (n, 8, 8, 8)
            Latents.
        """
        return self.layers(pictures)


class SketchDecoder(nn.Module):
    """From standardised latents to pictures.

    Attributes
    ----------
    mean, scale : Tensor of float32, shape (8,)
        Mean and standard deviation of the latents of the training pictures: the
        generator works with latents in standard deviations from the mean.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("scale", torch.ones(LATENT_CHANNELS))
        self.layers = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, third, 3, padding=1),
            ResidualBlock(third),
            nn.Conv2d(third, 4 * second, 3, padding=1),
            nn.PixelShuffle(2),
            ResidualBlock(second),
            nn.Conv2d(second, 4 * first, 3, padding=1),
            nn.PixelShuffle(2),
            ResidualBlock(first),
            nn.GroupNorm(_GROUPS, first),
            nn.SiLU(),
            nn.Conv2d(first, 3, 3, padding=1),
        )

    def from_raw(self, latents: Tensor) -> Tensor:
        """Show latents as the encoder gives them.

        Parameters
        ----------
        latents : Tensor of float32, shape (n, 8, 8, 8)
            Latents, not standardised.

        Returns
        -------
        Tensor of float32, shape (n, 3, 32, 32)
            Pictures, about -1..1.
        """
        return self.layers(latents)

    def forward(self, latents: Tensor) -> Tensor:
        """Show standardised latents.

        Parameters
        ----------
        latents : Tensor of float32, shape (n, 8, 8, 8)
            In standard deviations from their mean.

        Returns
        -------
        Tensor of float32, shape (n, 3, 32, 32)
            Pictures, about -1..1.
        """
        scale, mean = (v[:, None, None] for v in (self.scale, self.mean))
        return self.layers(latents * scale + mean)


class PixelShuffleDecoder(nn.Module):
    """From 2 x 2 pixels that lie side by side as channels to pictures: no loss."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, latents: Tensor) -> Tensor:
        """Lay channels out as pixels.

        Parameters
        ----------
        latents : Tensor of float32, shape (n, 12, h, w)
            2 x 2 pixels at each place.

        Returns
        -------
        Tensor of float32, shape (n, 3, 2 h, 2 w)
            Pictures.
        """
        return F.pixel_shuffle(latents, 2)


def latent_denoiser_config() -> dict[str, Any]:
    """Return what ``diffusers.UNet2DModel`` is built from, for latents.

    Returns
    -------
    dict
        Keyword arguments.
    """
    return {
        "sample_size": LATENT_SIDE,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "layers_per_block": 1,
        "block_out_channels": (80, 104),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 8,
        "attention_head_dim": 26,
    }


def pixel_denoiser_config() -> dict[str, Any]:
    """Return what ``diffusers.UNet2DModel`` is built from, for pixels.

    Returns
    -------
    dict
        Keyword arguments.
    """
    return {
        "sample_size": SIDE_PX // 2,
        "in_channels": 12,
        "out_channels": 12,
        "layers_per_block": 1,
        "block_out_channels": (32, 64, 64),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "norm_num_groups": 8,
        "attention_head_dim": 16,
    }
