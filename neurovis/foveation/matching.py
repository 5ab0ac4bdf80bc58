"""Blurs that lose as much of pictures as another transform does.

Two transforms are compared fairly when both leave pictures equally like the originals
(Deza & Konkle 2020, arXiv:2006.07991). One parameter is found for a whole set of
pictures, never one for each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.image_similarity import grey, mse, ssim
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.log import progress
from neurovis.foveation.transforms import ImageTransform

FloatArray = NDArray[np.float64]

CRITERIA = ("ssim", "mse")
"""Structural similarity, and mean squared error, of grey pictures in [0, 1]."""

# For the bar of progress only: 2 ends and a dozen halvings.
_USUAL_STEPS = 14


@dataclass(frozen=True)
class Match:
    """A parameter that makes transforms alike, and how it was found.

    Parameters
    ----------
    parameter : float
        What was found.
    criterion : str
        One of `CRITERIA`.
    target, found : float
        Mean of the criterion over the pictures: that wanted, and that at `parameter`.
    tolerance : float
        Largest difference of both that was accepted.
    per_image : ndarray of float64, shape (n_images,)
        Criterion of each picture at `parameter`.
    evaluations : DataFrame
        One row per parameter that was tried, in order: `parameter`, `mean`, `sd`
        (over pictures), `low` and `high` (of what then was the bracket).
    """

    parameter: float
    criterion: str
    target: float
    found: float
    tolerance: float
    per_image: FloatArray
    evaluations: pd.DataFrame

    @property
    def identity(self) -> dict[str, Any]:
        """What was matched how, as JSON values."""
        return {
            "parameter": self.parameter,
            "criterion": self.criterion,
            "target": self.target,
            "found": self.found,
            "tolerance": self.tolerance,
            "n_images": len(self.per_image),
        }


def image_fidelity(
    transform: ImageTransform,
    images: Tensor | Sequence[Tensor],
    *,
    criterion: str = "ssim",
    keys: Sequence[str | int] | None = None,
    seed: int = 0,
    batch_size: int = 8,
    device: torch.device | None = None,
) -> FloatArray:
    """Compare each picture with what a transform makes of it.

    Parameters
    ----------
    transform : callable
        Takes pictures, keys and seed, as transforms of stage 1 do.
    images : Tensor, or sequence of Tensor of shape (3, H, W)
        Pictures, float32 in [0, 1].
    criterion : {"ssim", "mse"}
        Of grey pictures in [0, 1].
    keys : sequence of (str or int), optional
        Identity of each picture, for random numbers of its own.
    seed : int, default 0
        Seed of the random numbers.
    batch_size : int, default 8
        Pictures that are transformed together.
    device : torch.device, optional
        Where they are transformed; by default where they are.

    Returns
    -------
    ndarray of float64, shape (n_images,)
        The criterion: 1 (SSIM) or 0 (squared error) where nothing is lost.

    Raises
    ------
    ValueError
        If there are no pictures, or not one key for each.

    Examples
    --------
    >>> from neurovis.foveation.blur import UniformBlur
    >>> checks = (torch.arange(32 * 32) + torch.arange(32 * 32) // 32) % 2
    >>> image = checks.float().reshape(1, 1, 32, 32).expand(1, 3, 32, 32)
    >>> image_fidelity(UniformBlur((32, 32), 2), image, criterion="mse").round(3)
    array([0.25])
    """
    check_option("criterion", criterion, CRITERIA)
    check_whole("batch_size", batch_size, low=1)
    if len(images) == 0:
        raise ValueError("`images` must hold at least one picture; got none.")
    if keys is not None and len(keys) != len(images):
        raise ValueError(
            f"`keys` must hold one key per picture: {len(images)}; got {len(keys)}."
        )
    values = []
    for where, batch in _batches(images, batch_size):
        batch = batch if device is None else batch.to(device)
        part = None if keys is None else keys[where]
        with torch.no_grad():
            made = transform(batch, keys=part, seed=seed)
        before, after = (
            grey(each.cpu().numpy(), channel_axis=1) for each in (batch, made)
        )
        values.append(
            ssim(before, after, data_range=1)
            if criterion == "ssim"
            else mse(before, after)
        )
    return np.concatenate(values)


def _batches(
    images: Tensor | Sequence[Tensor], batch_size: int
) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(images), batch_size):
        where = slice(start, start + batch_size)
        part = images[where]
        yield where, part if isinstance(part, Tensor) else torch.stack(list(part))


def match_blur(
    make: Callable[[float], ImageTransform],
    images: Tensor | Sequence[Tensor],
    target: float | ImageTransform,
    *,
    low: float,
    high: float,
    criterion: str = "ssim",
    tolerance: float = 1e-3,
    keys: Sequence[str | int] | None = None,
    seed: int = 0,
    batch_size: int = 8,
    device: torch.device | None = None,
) -> Match:
    """Find the parameter of a blur that loses as much as another transform.

    The mean of the criterion over all pictures is brought to that of the target by
    bisection.

    Parameters
    ----------
    make : callable
        Makes a transform from the parameter, the more of which the less is kept:
        ``lambda sigma: UniformBlur(shape, sigma)``, or ``blur.with_factor`` of a
        `FoveatedBlur`.
    images : Tensor, or sequence of Tensor of shape (3, H, W)
        Pictures to match on, float32 in [0, 1]; dozens, of the kind that will be used.
    target : float or callable
        Mean of the criterion that is wanted, or a transform whose mean is taken.
    low, high : float
        Parameters between which it lies.
    criterion : {"ssim", "mse"}
        Of grey pictures in [0, 1].
    tolerance : float, default 1e-3
        Largest difference of the means that is accepted, > 0.
    keys : sequence of (str or int), optional
        Identity of each picture, for random numbers of its own.
    seed : int, default 0
        Seed of the random numbers of the target.
    batch_size : int, default 8
        Pictures that are transformed together; changes no result on the CPU.
    device : torch.device, optional
        Where they are transformed; by default where they are.

    Returns
    -------
    Match
        The parameter and all evaluations.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the target does not lie between what `low`
        and `high` give.

    Examples
    --------
    >>> from neurovis.foveation.blur import UniformBlur
    >>> images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> blurred = UniformBlur((64, 64), 1.5)
    >>> found = match_blur(
    ...     lambda sigma: UniformBlur((64, 64), sigma), images, blurred, low=0, high=4
    ... )
    >>> round(found.parameter, 1)
    1.5
    """
    check_option("criterion", criterion, CRITERIA)
    check_between("tolerance", tolerance, low=1e-12)
    check_between("low", low)
    check_between("high", high, low=low)

    def measure(transform: ImageTransform) -> FloatArray:
        return image_fidelity(
            transform,
            images,
            criterion=criterion,
            keys=keys,
            seed=seed,
            batch_size=batch_size,
            device=device,
        )

    if callable(target):
        wanted = float(measure(target).mean())
    else:
        wanted = float(check_between("target", target, low=-1))
    rows = []
    # Of SSIM more is alike; of squared error less is.
    sign = 1 if criterion == "ssim" else -1
    with progress(_USUAL_STEPS, "matching", unit="step") as bar:

        def evaluate(parameter: float, bracket: tuple[float, float]) -> FloatArray:
            values = measure(make(parameter))
            spread = (float(values.mean()), float(values.std()))
            rows.append((parameter, *spread, *bracket))
            bar.set_postfix({"parameter": parameter, criterion: spread[0]})
            bar.update(1)
            return values

        ends = (float(low), float(high))
        best_parameter, best = ends[0], evaluate(ends[0], ends)
        last = evaluate(ends[1], ends)
        if (
            not sign * last.mean() - tolerance
            <= sign * wanted
            <= (sign * best.mean() + tolerance)
        ):
            raise ValueError(
                f"The target {wanted:.4g} ({criterion}) is out of reach: it is "
                f"{best.mean():.4g} at `low` = {low:g} and {last.mean():.4g} at `high` "
                f"= {high:g}. Widen them; `low` must be the weaker blur."
            )
        if abs(last.mean() - wanted) < abs(best.mean() - wanted):
            best_parameter, best = ends[1], last
        while abs(best.mean() - wanted) > tolerance:
            middle = (ends[0] + ends[1]) / 2
            if middle in ends:
                raise ValueError(
                    f"`tolerance` = {tolerance:g} cannot be met: the {criterion} jumps "
                    f"from one side of {wanted:.6g} to the other at {middle:g}. Give a "
                    "larger one."
                )
            best_parameter, best = middle, evaluate(middle, ends)
            keeps_too_much = sign * best.mean() > sign * wanted
            ends = (middle, ends[1]) if keeps_too_much else (ends[0], middle)
    columns = ["parameter", "mean", "sd", "low", "high"]
    return Match(
        best_parameter,
        criterion,
        wanted,
        float(best.mean()),
        tolerance,
        best,
        pd.DataFrame(rows, columns=columns),
    )
