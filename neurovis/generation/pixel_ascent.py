"""Images that drive an encoder without any idea of what images look like: a control.

Gradient ascent on pixels raises what an encoder predicts far above any real image, and
tells nothing of a brain: see Erhan et al. (2009), Visualizing higher-layer features of
a deep network.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import exact_float32


def ascend_pixels(
    objective: Callable[[Tensor], Tensor],
    seeds: Sequence[int],
    size_px: tuple[int, int],
    *,
    n_steps: int = 100,
    learning_rate: float = 0.05,
    device: str | torch.device = "cpu",
) -> NDArray[np.uint8]:
    """Climb from noise to images with a large objective.

    Parameters
    ----------
    objective : callable
        From images, float32 (n, 3, H, W) of 0..1, to numbers (n,); gradients flow.
    seeds : sequence of int
        One per image: seed of the noise it starts from.
    size_px : tuple of int
        Height and width.
    n_steps : int, default 100
        Steps of Adam.
    learning_rate : float, default 0.05
        Its rate, in units of the logit of a level.
    device : str or torch.device, default "cpu"
        Where to compute.

    Returns
    -------
    ndarray of uint8, shape (n, H, W, 3)
        Images; a level is the logistic function of what is optimised.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    FloatingPointError
        If a gradient is not finite.
    """
    check_whole("n_steps", n_steps, low=1)
    check_between("learning_rate", learning_rate, low=0)
    if not len(seeds):
        raise ValueError("`seeds` must hold at least one number; got none.")
    starts = [
        torch.randn(3, *size_px, generator=torch.Generator().manual_seed(int(seed)))
        for seed in seeds
    ]
    logits = (0.5 * torch.stack(starts)).to(device).requires_grad_(True)
    optimiser = torch.optim.Adam([logits], lr=learning_rate)
    with exact_float32(), torch.enable_grad():
        for step in range(n_steps):
            # Adam scales the gradient of each pixel: images do not meet in the sum.
            loss = -objective(torch.sigmoid(logits)).sum()
            (logits.grad,) = torch.autograd.grad(loss, logits)
            if not torch.isfinite(logits.grad).all():
                raise FloatingPointError(
                    f"A gradient of the objective is not finite at step {step + 1}: "
                    "check the encoder, or make the rate smaller."
                )
            optimiser.step()
    levels = (torch.sigmoid(logits.detach()) * 255).round().byte().cpu()
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())
