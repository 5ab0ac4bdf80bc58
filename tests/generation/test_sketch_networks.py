"""Networks of the small generators: shapes, sizes, and what is undone exactly."""

import pytest
import torch
from diffusers import UNet2DModel

from neurovis.core.rng import own_torch_stream
from neurovis.generation.self_attention import find_attention
from neurovis.generation.sketch_networks import (
    LATENT_CHANNELS,
    LATENT_SIDE,
    SIDE_PX,
    PixelShuffleDecoder,
    ResidualBlock,
    SketchDecoder,
    SketchEncoder,
    latent_denoiser_config,
    pixel_denoiser_config,
)

CONFIGS = {"latent": latent_denoiser_config, "pixel": pixel_denoiser_config}


def n_weights(module):
    return sum(p.numel() for p in module.parameters())


def pictures(n=2):
    stream = torch.Generator().manual_seed(1)
    return 2 * torch.rand(n, 3, SIDE_PX, SIDE_PX, generator=stream) - 1


@pytest.fixture(scope="module")
def decoder():
    with own_torch_stream(0, "decoder"):
        return SketchDecoder().eval().requires_grad_(False)


def test_pictures_become_latents_and_pictures_again(decoder):
    with own_torch_stream(0, "encoder"):
        encoder = SketchEncoder()
    latents = encoder(pictures())
    assert latents.shape == (2, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    assert decoder(latents).shape == (2, 3, SIDE_PX, SIDE_PX)


def test_latents_are_told_in_standard_deviations_from_the_mean(decoder):
    stream = torch.Generator().manual_seed(2)
    raw = 3 * torch.randn(2, LATENT_CHANNELS, 8, 8, generator=stream) + 1
    mean, scale = raw.mean((0, 2, 3)), raw.std((0, 2, 3))
    torch.testing.assert_close(decoder(raw), decoder.from_raw(raw))
    decoder.mean.copy_(mean)
    decoder.scale.copy_(scale)
    standard = (raw - mean[:, None, None]) / scale[:, None, None]
    torch.testing.assert_close(
        decoder(standard), decoder.from_raw(raw), rtol=1e-4, atol=1e-5
    )
    # They are weights of the file, and no gradient changes them.
    assert {"mean", "scale"} <= set(decoder.state_dict())
    assert not {"mean", "scale"} & {name for name, _ in decoder.named_parameters()}
    decoder.mean.zero_()
    decoder.scale.fill_(1)


def test_a_block_without_weights_in_its_end_is_the_identity():
    block = ResidualBlock(16)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    x = torch.randn(2, 16, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)


def test_pixels_side_by_side_are_put_back_where_they_were():
    shown = pictures()
    packed = torch.nn.functional.pixel_unshuffle(shown, 2)
    assert packed.shape == (2, 12, 16, 16)
    assert torch.equal(PixelShuffleDecoder()(packed), shown)
    # Channel 4 c + 2 i + j holds the pixels of row i and column j of each 2 x 2.
    assert torch.equal(packed[:, 4 + 2 + 0], shown[:, 1, 1::2, 0::2])


@pytest.mark.parametrize("kind", CONFIGS)
def test_denoisers_keep_shapes_and_attend_in_their_middle(kind):
    config = CONFIGS[kind]()
    with own_torch_stream(0, "denoiser"):
        network = UNet2DModel(**config).eval().requires_grad_(False)
    shape = (2, config["in_channels"], config["sample_size"], config["sample_size"])
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = network(x, torch.tensor([10, 900])).sample
    assert found.shape == shape
    alone = network(x[1:], torch.tensor([900])).sample
    torch.testing.assert_close(found[1:], alone, rtol=1e-4, atol=1e-5)
    assert find_attention(network).heads > 1
    assert CONFIGS[kind]() is not config


def test_files_stay_small():
    # At 16 bits a weight: what the package may weigh.
    sizes = {}
    for kind, config in CONFIGS.items():
        with torch.device("meta"):
            sizes[kind] = 2 * n_weights(UNet2DModel(**config()))
    with torch.device("meta"):
        sizes["decoder"] = 2 * n_weights(SketchDecoder())
    assert sizes["latent"] + sizes["decoder"] < 8e6
    assert sizes["pixel"] < 4e6
