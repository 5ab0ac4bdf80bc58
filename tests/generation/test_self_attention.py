"""Self-attention guidance, against attention and blurs computed in numpy."""

import diffusers
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import nn

from neurovis.core.rng import own_torch_stream
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.self_attention import (
    blur,
    find_attention,
    self_attention_step,
)
from tests.generation.toy_generators import gaussian_generator, unet_generator

LEVEL, STEP = NoiseLevel(0.3), 400


def with_text(seed=0, shape=(4, 8, 8)):
    """A random U-net that looks at an embedding, as that of Stable Diffusion."""
    with own_torch_stream(seed, "toy generator with text"):
        denoiser = diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=6,
            norm_num_groups=4,
            attention_head_dim=4,
        )
    stream = torch.Generator().manual_seed(9)
    return ImageGenerator(
        "toy with text",
        denoiser.eval().requires_grad_(False),
        None,
        shape,
        {"prediction_type": "v_prediction"},
        condition=torch.randn(1, 5, 6, generator=stream),
    )


def sharpened(generator, factor=12.0):
    """Make attention uneven: random networks attend to all places alike."""
    find_attention(generator.denoiser).to_q.weight.data *= factor
    return generator


CASES = {
    "without text": lambda: sharpened(unet_generator(1)),
    "with text": lambda: sharpened(with_text()),
    "with text, wide": lambda: sharpened(with_text(shape=(4, 8, 16))),
}


def noisy(shape, n=2):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(4))


def attention_in_numpy(generator, x):
    """Return the attention that places receive, from what the module was given."""
    module = find_attention(generator.denoiser)
    kept = {}

    def keep(module, args, kwargs, output):
        given = args[0] if args else kwargs["hidden_states"]
        kept["given"], kept["output"] = given.numpy(), output.numpy()

    handle = module.register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        generator.denoise(x, STEP)
    handle.remove()
    tokens, output = kept["given"], kept["output"]
    if tokens.ndim == 4:
        tokens = tokens.reshape(*tokens.shape[:2], -1).transpose(0, 2, 1)
        output = output.reshape(*output.shape[:2], -1).transpose(0, 2, 1)
    given, norm = tokens, module.group_norm
    if norm is not None:
        groups = np.split(tokens, norm.num_groups, axis=2)
        scaled = [
            (g - g.mean((1, 2), keepdims=True))
            / np.sqrt(g.var((1, 2), keepdims=True) + norm.eps)
            for g in groups
        ]
        tokens = np.concatenate(scaled, axis=2)
        tokens = tokens * norm.weight.numpy() + norm.bias.numpy()

    def project(layer):
        bias = 0 if layer.bias is None else layer.bias.numpy()
        flat = tokens @ layer.weight.numpy().T + bias
        return np.stack(np.split(flat, module.heads, axis=2), axis=1)

    query, key, value = (project(m) for m in (module.to_q, module.to_k, module.to_v))
    logits = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    # That these are the shares of the network shows in what it makes of them.
    mixed = np.concatenate(list((shares @ value).transpose(1, 0, 2, 3)), axis=2)
    layer = module.to_out[0]
    mixed = mixed @ layer.weight.numpy().T + layer.bias.numpy()
    if module.residual_connection:
        mixed = mixed + given
    mixed = mixed / module.rescale_output_factor
    np.testing.assert_allclose(mixed, output, rtol=1e-4, atol=1e-4)
    return shares.mean(1).sum(1)


def blur_in_scipy(x):
    for axis in (-2, -1):
        x = gaussian_filter1d(x, 1.0, axis=axis, mode="mirror", radius=4)
    return x


@pytest.mark.parametrize("case", CASES)
def test_the_prediction_is_that_of_numpy(case):
    generator = CASES[case]()
    x = noisy(generator.shape)
    received = attention_in_numpy(generator, x)
    height, width = generator.shape[1] // 2, generator.shape[2] // 2
    mask = (received > 1.0).reshape(len(x), 1, height, width)
    assert 0.1 < mask.mean() < 0.9
    mask = mask.repeat(2, axis=2).repeat(2, axis=3)
    signal, noise = np.sqrt(0.3), np.sqrt(0.7)
    with torch.no_grad():
        output = generator.denoise(x, STEP).numpy()

    def read(output, x):
        if generator.prediction == "epsilon":
            return output, (x - noise * output) / signal
        return signal * output + noise * x, signal * x - noise * output

    eps, clean = read(output, x.numpy())
    degraded = np.where(mask, blur_in_scipy(clean), clean)
    again = torch.from_numpy((signal * degraded + noise * eps).astype(np.float32))
    with torch.no_grad():
        other, _ = read(generator.denoise(again, STEP).numpy(), again.numpy())
    found = self_attention_step(generator, x, STEP, LEVEL, scale=0.75)
    np.testing.assert_allclose(
        found.numpy(), eps + 0.75 * (eps - other), rtol=1e-4, atol=1e-4
    )
    assert np.abs(eps - other).max() > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_a_scale_of_0_is_the_plain_prediction(case):
    generator = CASES[case]()
    x = noisy(generator.shape)
    with torch.no_grad():
        output = generator.denoise(x, STEP)
    eps, _ = LEVEL.read(output, x, generator.prediction)
    found = self_attention_step(generator, x, STEP, LEVEL, scale=0.0)
    assert torch.equal(found, eps)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_equals_single_ones_and_the_scale_is_linear(case):
    generator = CASES[case]()
    x = noisy(generator.shape, 3)
    some = [
        self_attention_step(generator, x, STEP, LEVEL, scale=s) for s in (0.0, 1.0, 2.5)
    ]
    torch.testing.assert_close(
        some[2] - some[0], 2.5 * (some[1] - some[0]), rtol=1e-3, atol=1e-4
    )
    for i in range(3):
        one = self_attention_step(generator, x[i : i + 1], STEP, LEVEL, scale=1.0)
        torch.testing.assert_close(one[0], some[1][i], rtol=1e-3, atol=1e-4)


def test_where_attention_is_even_nothing_changes():
    # Equal shares sum to 1 for every place, and 1 is not more than 1.
    generator = unet_generator(2)
    attention = find_attention(generator.denoiser)
    attention.to_q.weight.data.zero_()
    attention.to_q.bias.data.zero_()
    x = noisy(generator.shape)
    eps = generator.denoise(x, STEP)
    found = self_attention_step(generator, x, STEP, LEVEL, scale=3.0)
    torch.testing.assert_close(found, eps, rtol=1e-4, atol=1e-4)


def test_the_network_is_left_as_it_was_also_after_an_error():
    generator = unet_generator()
    attention = find_attention(generator.denoiser)
    x = noisy(generator.shape).requires_grad_(True)
    found = self_attention_step(generator, x, STEP, LEVEL, scale=1.0)
    assert not found.requires_grad
    assert not attention._forward_pre_hooks
    with pytest.raises(RuntimeError):
        self_attention_step(generator, x[:, :1], STEP, LEVEL, scale=1.0)
    assert not attention._forward_pre_hooks


def test_the_first_self_attention_of_the_middle_is_found():
    plain, texted = unet_generator().denoiser, with_text().denoiser
    assert find_attention(plain) is plain.mid_block.attentions[0]
    block = texted.mid_block.attentions[0].transformer_blocks[0]
    assert find_attention(texted) is block.attn1


@pytest.mark.parametrize("bare", [True, False])
def test_networks_without_attention_in_their_middle_are_refused(bare):
    network = gaussian_generator().denoiser if bare else nn.Module()
    if not bare:
        network.mid_block = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match="set it to 0"):
        find_attention(network)


@pytest.mark.parametrize("shape", [(1, 2, 5, 5), (2, 3, 9, 6), (1, 1, 32, 64)])
def test_the_blur_is_that_of_scipy(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = blur_in_scipy(x.double().numpy())
    np.testing.assert_allclose(blur(x).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_small_samples_are_blurred_with_smaller_kernels(side):
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = x.double().numpy()
    for axis in (-2, -1):
        if side > 1:
            expected = gaussian_filter1d(
                expected, 1.0, axis=axis, mode="mirror", radius=side - 1
            )
    found = blur(x)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    torch.testing.assert_close(blur(torch.ones_like(x)), torch.ones_like(x))
