"""Anti-segregation: samples are moved until all views draw on the same places.

Views of an anagram tend to share the picture out: each draws on a part of its own, and
what the others draw remains beside it.

References
----------
Diffusion-based visual anagram as multi-task learning (2025). WACV. arXiv:2412.02693.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from neurovis.core.checks import check_between
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_combination import segregation_loss
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.sampling import Adjusted
from neurovis.generation.views import NoiseView

PUBLISHED_SHARE = 26 / 30
"""Share of the steps after which samples were moved: the first 26 of 30."""

Objective = Callable[[Tensor, Sequence[torch.Generator]], Tensor]
"""From pictures, float32 (n, 3, H, W) of 0..1, and streams of random numbers, one per
picture, to what is driven, (n,)."""


@runtime_checkable
class HasObjective(Protocol):
    """A guidance that drives a number: `neurovis.adapters.braindive.BrainGuidance`."""

    def objective(
        self, images: Tensor, streams: Sequence[torch.Generator] = ()
    ) -> Tensor:
        """Return what is driven; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, H, W), 0..1
            What is seen.
        streams : sequence of torch.Generator
            One per image, on the CPU.

        Returns
        -------
        Tensor of float32, shape (n,)
            Of each image.
        """
        ...


def map_objective(
    generator: ImageGenerator,
    x: Tensor,
    step: Tensor | int,
    level: NoiseLevel,
    view: NoiseView,
    objective: Objective,
    *,
    side_px: int = 1,
    streams: Sequence[torch.Generator] = (),
) -> Tensor:
    """Return where in the picture the objective of a view has its content.

    Parameters
    ----------
    generator : ImageGenerator
        Denoises pixels, or pixels that lie side by side as channels.
    x : Tensor of float32, shape (n, C, h, w)
        Noisy samples; gradients can flow.
    step : Tensor or int
        Step of the noise.
    level : NoiseLevel
        Its signal and noise.
    view : NoiseView
        What the network and the objective see.
    objective : callable
        See `Objective`.
    side_px : int, default 1
        Pixels to a side at one place: `neurovis.generation.anagrams.pixels_per_place`.
    streams : sequence of torch.Generator
        One per sample, for the objective.

    Returns
    -------
    Tensor of float32, shape (n, size_px, size_px)
        Size of the gradient of the objective with respect to the promised clean picture
        (values outside 0..1 are cut first), summed over colours, in the frame of the
        picture: views are undone, without their sign. Sums to 1; NaN where the gradient
        is 0 everywhere.
    """
    with torch.enable_grad():
        leaf = x if x.requires_grad else x.detach().requires_grad_(True)
        seen = F.pixel_unshuffle(view.apply(F.pixel_shuffle(leaf, side_px)), side_px)
        output = generator.denoise(seen, step)
        _, clean = level.read(output, seen, generator.prediction)
        picture = generator.decode(clean).clamp(0, 1)
        # The fast kinds of attention can be differentiated once only.
        with sdpa_kernel(SDPBackend.MATH):
            total = objective(picture, streams).sum()
            slope = torch.autograd.grad(total, picture, create_graph=True)[0]
        size = slope.abs().sum(1, keepdim=True)
        places = view.map_noise_back(size).abs()[:, 0]
        shares: Tensor = places / places.sum((1, 2), keepdim=True)
    return shares


def anti_segregation_step(
    generator: ImageGenerator,
    x: Tensor,
    step: Tensor | int,
    level: NoiseLevel,
    views: Sequence[NoiseView],
    objectives: Sequence[Objective],
    *,
    rate: float,
    side_px: int = 1,
    streams: Sequence[torch.Generator] = (),
) -> Adjusted:
    """Move samples so that the places on which views draw overlap.

    Parameters
    ----------
    generator : ImageGenerator
        Denoises pixels, or pixels that lie side by side as channels.
    x : Tensor of float32, shape (n, C, h, w)
        Noisy samples.
    step : Tensor or int
        Step of their noise: the one that comes next.
    level : NoiseLevel
        Its signal and noise.
    views : sequence of NoiseView
        Two or more that swap pixels.
    objectives : sequence of callable
        One per view.
    rate : float
        Factor of the gradient, >= 0.
    side_px : int, default 1
        Pixels to a side at one place: `neurovis.generation.anagrams.pixels_per_place`.
    streams : sequence of torch.Generator
        One per sample, for the objectives.

    Returns
    -------
    Adjusted
        Samples after one step of gradient descent, the loss before it, and where the
        gradient was not finite: these samples are left as they are.

    Raises
    ------
    TypeError, ValueError
        If the rate is negative, there are fewer than two views, or not one objective
        per view.

    Notes
    -----
    The loss is `neurovis.generation.noise_combination.segregation_loss` of the maps of
    `map_objective`. In the paper maps are those of attention to words, and the rate is
    5. Guidance by an encoder has no words: here maps tell where the objectives depend
    on the picture. Maps of attention to words are not offered.

    The step follows second derivatives of the objectives. Where these are 0 samples
    stay as they are: for linear objectives, and almost everywhere for networks of
    convolutions, ReLU and pooling alone. Norms of layers or of groups, attention, GELU
    and embeddings of length 1 have them. Where the network has ReLU, the maps jump as
    well, which no gradient tells: with a small network of ReLU and group norms a single
    step lowered the loss of most samples by a tenth, and finished pictures were no
    better.

    Gradients flow through the denoiser, whatever the guidance does, and the
    intermediate results of all views are kept at once.

    References
    ----------
    arXiv:2412.02693.
    """
    check_between("rate", rate, low=0)
    if len(views) < 2 or len(views) != len(objectives):
        raise ValueError(
            "`objectives` must hold one per view, at least two; got "
            f"{len(objectives)} for {len(views)} views."
        )
    with torch.enable_grad():
        leaf = x.detach().float().requires_grad_(True)
        maps = [
            map_objective(
                generator, leaf, step, level, view, objective,
                side_px=side_px, streams=streams,
            )
            for view, objective in zip(views, objectives, strict=True)
        ]  # fmt: skip
        loss = segregation_loss(torch.stack(maps))
        slope = torch.zeros_like(leaf)
        if loss.requires_grad:
            slope = torch.autograd.grad(
                loss.sum(), leaf, allow_unused=True, materialize_grads=True
            )[0]
    loss = loss.detach()
    failed = ~torch.isfinite(slope).flatten(1).all(1) | ~torch.isfinite(loss)
    moved = x - rate * torch.where(failed[:, None, None, None], 0, slope)
    return Adjusted(moved, loss.cpu().double(), failed)
