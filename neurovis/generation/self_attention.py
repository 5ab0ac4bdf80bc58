"""Self-attention guidance: away from what a blurred look would predict.

References
----------
Hong, Lee, Jang and Kim (2023). Improving sample quality of diffusion models using
self-attention guidance. ICCV. arXiv:2210.00939.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import NoiseLevel

_KERNEL, _SIGMA = 9, 1.0
_LEAST_ATTENTION = 1.0


def find_attention(denoiser: nn.Module) -> Any:
    """Return the self-attention in the middle of a denoising network.

    Parameters
    ----------
    denoiser : torch.nn.Module
        A U-net of diffusers.

    Returns
    -------
    torch.nn.Module
        The first self-attention of its middle block.

    Raises
    ------
    ValueError
        If it has none.
    """
    block = getattr(denoiser, "mid_block", None)
    for module in () if block is None else block.modules():
        if hasattr(module, "to_q") and not getattr(module, "is_cross_attention", False):
            return module
    raise ValueError(
        "Self-attention guidance needs a U-net with self-attention in its middle "
        "block; this one has none: set it to 0."
    )


@contextmanager
def _received(attention: Any) -> Iterator[dict[str, Any]]:
    """Keep how much attention each place receives while the network runs."""
    kept: dict[str, Any] = {}

    def look(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = args[0] if args else kwargs["hidden_states"]
        if tokens.ndim == 4:
            kept["places"] = tuple(tokens.shape[-2:])
            tokens = tokens.flatten(2).transpose(1, 2)
        if module.group_norm is not None:
            tokens = module.group_norm(tokens.transpose(1, 2)).transpose(1, 2)
        query = module.head_to_batch_dim(module.to_q(tokens))
        key = module.head_to_batch_dim(module.to_k(tokens))
        shares = module.get_attention_scores(query, key).float()
        shares = shares.reshape(len(tokens), -1, *shares.shape[1:]).mean(1)
        kept["received"] = shares.sum(1)

    handle = attention.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield kept
    finally:
        handle.remove()


def blur(x: Tensor) -> Tensor:
    """Blur with a Gaussian of 9 x 9 places and a standard deviation of 1.

    Parameters
    ----------
    x : Tensor of float32, shape (n, C, h, w)
        Samples; smaller ones than 5 places get a smaller kernel.

    Returns
    -------
    Tensor of float32, shape (n, C, h, w)
        Mirrored at the edges.
    """
    for axis in (-2, -1):
        reach = min(_KERNEL // 2, x.shape[axis] - 1)
        places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-0.5 * (places / _SIGMA) ** 2)
        kernel = kernel / kernel.sum()
        x = x.movedim(axis, -1)
        shape = x.shape
        rows = F.pad(x.reshape(-1, 1, shape[-1]), (reach, reach), mode="reflect")
        x = F.conv1d(rows, kernel[None, None]).reshape(shape).movedim(-1, axis)
    return x


@torch.no_grad()
def self_attention_step(
    generator: ImageGenerator,
    x: Tensor,
    step: Tensor | int,
    level: NoiseLevel,
    *,
    scale: float,
) -> Tensor:
    """Return the prediction of noise, moved away from that for a degraded sample.

    Parameters
    ----------
    generator : ImageGenerator
        Denoises.
    x : Tensor of float32, shape (n, C, h, w)
        Noisy samples.
    step : Tensor or int
        Step of the noise.
    level : NoiseLevel
        Its signal and noise.
    scale : float
        Strength; .75 in BrainDiVE.

    Returns
    -------
    Tensor of float32, shape (n, C, h, w)
        ``eps + scale * (eps - eps_degraded)``.

    Raises
    ------
    ValueError
        If the network has no self-attention in its middle.

    Notes
    -----
    Where places receive more attention than they give (their column of the mean
    attention over heads sums to more than 1), the promised clean sample is blurred;
    then the same noise is added again.
    """
    attention = find_attention(generator.denoiser)
    with _received(attention) as kept:
        output = generator.denoise(x, step)
    eps, clean = level.read(output, x, generator.prediction)
    # With a prompt there are two halves, the one without it first.
    received = kept["received"][: len(x)]
    places = kept.get("places") or _places(received.shape[1], generator.shape)
    mask = (received > _LEAST_ATTENTION).float().reshape(len(x), 1, *places)
    mask = F.interpolate(mask, size=x.shape[-2:], mode="nearest")
    degraded = mask * blur(clean) + (1 - mask) * clean
    noisy = level.signal * degraded + level.noise * eps
    found = generator.denoise(noisy, step)
    eps_degraded, _ = level.read(found, noisy, generator.prediction)
    return eps + scale * (eps - eps_degraded)


def _places(n_tokens: int, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width of the middle block, which keeps proportions."""
    height = round((n_tokens * shape[1] / shape[2]) ** 0.5)
    return height, n_tokens // height
