"""Make textures that have given statistics: gradient descent from noise."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_option, check_whole
from neurovis.core.rng import torch_generator
from neurovis.foveation.image_batches import full_precision
from neurovis.foveation.portilla_simoncelli import PortillaSimoncelli
from neurovis.foveation.pyramid_masks import Masks, Size
from neurovis.foveation.texture_statistics import TextureStatistics

# Families whose numbers differ by orders of magnitude between scales: each number
# counts relative to itself.
_SPREADS = ("std_reconstructed", "magnitude_std", "var_highpass_residual")
# A family whose numbers are all near 0 (as the skews of a symmetric texture) is not
# compared relative to less than this root mean square.
_LEAST_RMS = 0.1
_RANGE_WEIGHT = 0.1


def texture_loss(target: TextureStatistics, found: TextureStatistics) -> Tensor:
    """Return how far statistics are from a target.

    The mean over families of the squared relative distance,
    ``|found - target|² / |target|²``. Least and greatest pixel are a family of their
    own that weighs a tenth, as their gradient comes from single pixels.

    Parameters
    ----------
    target, found : TextureStatistics
        Of the same sizes, (B, C, ...); B or C may be 1 in either.

    Returns
    -------
    Tensor, shape (B, C)
        0 if all are equal; NaN entries of the target do not count. Gradients pass.

    Raises
    ------
    ValueError
        If numbers of scales, orientations or lags differ.

    Examples
    --------
    >>> from neurovis.foveation.portilla_simoncelli import portilla_simoncelli
    >>> found = portilla_simoncelli(torch.rand(2, 1, 128, 128))
    >>> texture_loss(found, found).flatten().tolist()
    [0.0, 0.0]
    """
    distances, weights = [], []
    for name, (wanted, got, weight) in _families(target, found).items():
        known = ~wanted.isnan()
        wanted = wanted.where(known, 0)
        difference = (got.where(known, 0) - wanted).square()
        if name in _SPREADS:
            tiny = torch.finfo(wanted.dtype).tiny
            distance = (difference / wanted.square().clamp(min=tiny)).sum(-1)
            distance = distance / known.sum(-1).clamp(min=1)
        else:
            least = _LEAST_RMS**2 * known.sum(-1).clamp(min=1)
            distance = difference.sum(-1) / wanted.square().sum(-1).maximum(least)
        distances.append(weight * distance)
        weights.append(weight)
    return torch.stack(distances).sum(0) / sum(weights)


def _families(
    target: TextureStatistics, found: TextureStatistics
) -> dict[str, tuple[Tensor, Tensor, float]]:
    families = {}
    ours = found.arrays()
    for name, wanted in target.arrays().items():
        if wanted.shape[2:] != ours[name].shape[2:]:
            raise ValueError(
                f"`target` and `found` must have the same sizes; {name} has "
                f"{tuple(wanted.shape[2:])} and {tuple(ours[name].shape[2:])}. Use the "
                "same numbers of scales, orientations and lags."
            )
        a, b = wanted.flatten(2), ours[name].flatten(2)
        if name == "pixel_statistics":
            families["range"] = (a[..., 4:], b[..., 4:], _RANGE_WEIGHT)
            a, b = a[..., :4], b[..., :4]
        if a.shape[-1]:
            families[name] = (a, b, 1.0)
    return families


def synthesise_texture(
    target: TextureStatistics,
    shape: Size,
    *,
    n_steps: int = 20,
    seed: int = 0,
    optimiser: Literal["lbfgs", "adam"] = "lbfgs",
    masks: Masks = "exact",
) -> tuple[Tensor, NDArray[np.float64]]:
    """Make textures with given statistics.

    Starts from Gaussian noise of the mean and variance of the pixels, and descends
    the gradient of `texture_loss`, every image by itself.

    Parameters
    ----------
    target : TextureStatistics
        Of B images of C channels; dtype and device are those of the result.
    shape : tuple of int
        (H, W) of the textures in pixels; need not be that of the originals.
    n_steps : int, default 20
        Steps: up to 20 evaluations each with "lbfgs", one with "adam".
    seed : int, default 0
        Of the noise.
    optimiser : {"lbfgs", "adam"}
        L-BFGS with a strong Wolfe line search, or Adam with a step of 0.01 of grey
        value.
    masks : {"exact", "table"}
        As of the target.

    Returns
    -------
    textures : Tensor, shape (B, C, H, W)
        Grey values are not clipped.
    curve : ndarray of float64, shape (n_steps + 1, B)
        Loss before, and after every step, summed over channels.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, as `PortillaSimoncelli`, or mean or variance
        of the target are not finite.

    Examples
    --------
    >>> from neurovis.foveation.portilla_simoncelli import portilla_simoncelli
    >>> options = {"n_scales": 2, "neighbourhood": 5}
    >>> stripes = torch.sin(torch.arange(32.0)).expand(1, 1, 32, 32)
    >>> target = portilla_simoncelli(stripes, **options)
    >>> texture, curve = synthesise_texture(target, (32, 32), n_steps=2)
    >>> bool(curve[-1, 0] < curve[0, 0])
    True
    """
    check_whole("n_steps", n_steps, low=1)
    check_option("optimiser", optimiser, ("lbfgs", "adam"))
    pixels = target.pixel_statistics
    if not bool(pixels[..., :2].isfinite().all()):
        raise ValueError("`target` must have a finite mean and variance of pixels.")
    model = PortillaSimoncelli(
        shape,
        n_scales=target.n_scales,
        n_orientations=target.n_orientations,
        neighbourhood=target.neighbourhood,
        masks=masks,
        dtype=pixels.dtype,
        device=pixels.device,
    )
    textures, curves = [], []
    with full_precision(pixels.device):
        for item in range(len(pixels)):
            part = {k: v[item : item + 1].detach() for k, v in target.arrays().items()}
            wanted = TextureStatistics(**part)
            noise = torch.randn(
                (1, pixels.shape[1], *model.shape),
                generator=torch_generator(seed, "texture synthesis", item),
            )
            mean, variance = wanted.pixel_statistics[..., :2, None, None].unbind(2)
            image = mean + variance.sqrt() * noise.to(pixels)
            texture, curve = _descend(model, wanted, image, n_steps, optimiser)
            textures.append(texture)
            curves.append(curve)
    return torch.cat(textures), np.stack(curves, 1)


def _descend(
    model: PortillaSimoncelli,
    target: TextureStatistics,
    image: Tensor,
    n_steps: int,
    optimiser: str,
) -> tuple[Tensor, NDArray[np.float64]]:
    image = image.detach().requires_grad_()
    method: torch.optim.Optimizer
    if optimiser == "adam":
        method = torch.optim.Adam([image], lr=0.01)
    else:
        method = torch.optim.LBFGS(
            [image],
            max_iter=20,
            history_size=20,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

    def evaluate() -> Any:
        method.zero_grad()
        loss = texture_loss(target, model(image)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    step: Callable[..., Any] = method.step
    # A step tells the loss where it began, so the last one is evaluated after all.
    curve = [float(step(evaluate)) for _ in range(n_steps)]
    with torch.no_grad():
        curve.append(float(texture_loss(target, model(image)).sum()))
    return image.detach(), np.array(curve)
