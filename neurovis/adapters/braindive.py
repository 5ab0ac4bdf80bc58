"""BrainDiVE: brain activity, as an encoder predicts it, steers a diffusion model.

At every step the clean image that the noisy one promises is decoded and shown to a
differentiable encoder; the gradient of a weighted sum of its units moves the predicted
noise.

References
----------
Luo, Henderson, Wehbe and Tarr (2023). Brain diffusion for visual exploration: cortical
discovery using large scale generative models. NeurIPS 36. arXiv:2306.03089.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_between, check_option, check_whole, suggest
from neurovis.core.files import sha256_bytes
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import LEAST_ALPHA_BAR, NoiseLevel

Encoder = Callable[[Tensor], Tensor]
"""From images, float32 (n, 3, H, W) of 0..1, to responses (n, n_units)."""

Units = Sequence[int] | Tensor | NDArray[Any]
"""Numbers of units, or a mask of bool."""

SCALES = ("absolute", "relative")
MIXES = ("sigma", "clean")


def contrast_weights(
    n_units: int,
    target: Units,
    *,
    against: Units = (),
    ratio: float = 1.0,
    fitted: Tensor | None = None,
) -> Tensor:
    """Return weights of units for the mean of a region, or a contrast of two.

    Parameters
    ----------
    n_units : int
        Units of the encoder.
    target : sequence of int, or array or Tensor of bool
        Units to drive: their numbers, or a mask of shape (n_units,).
    against : sequence of int, or array or Tensor of bool, default ()
        Units whose mean is subtracted.
    ratio : float, default 1
        Factor of that second mean.
    fitted : Tensor of bool, shape (n_units,), optional
        Units that the encoder knows. Others are left out before means are taken, so
        that they do not dilute them.

    Returns
    -------
    Tensor of float32, shape (n_units,)
        They sum to 1, or with `against` to ``1 - ratio``.

    Raises
    ------
    TypeError
        If units are told by numbers with decimals.
    ValueError
        If a region is empty or out of range, or none of its units is known.

    Examples
    --------
    >>> contrast_weights(4, [0, 1], against=[3], ratio=0.5).tolist()
    [0.5, 0.5, 0.0, -0.5]
    """
    check_whole("n_units", n_units, low=1)
    total = _mean_of("target", target, n_units, fitted)
    if len(against):
        total = total - ratio * _mean_of("against", against, n_units, fitted)
    return total


def _mean_of(name: str, units: Units, n_units: int, fitted: Tensor | None) -> Tensor:
    chosen = _copied(units)
    if chosen.is_floating_point() and chosen.numel():
        raise TypeError(
            f"`{name}` must hold whole numbers of units, or be a mask of bool; got "
            f"{chosen.dtype}."
        )
    if chosen.dtype == torch.bool:
        if chosen.shape != (n_units,):
            raise ValueError(
                f"`{name}` must be a mask of {n_units} units; got the shape "
                f"{tuple(chosen.shape)}."
            )
        mask = chosen.clone()
    else:
        numbers = chosen.long().flatten()
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < n_units:
            raise ValueError(
                f"`{name}` must hold units of 0 to {n_units - 1}; got "
                f"{int(numbers.min())} to {int(numbers.max())}."
            )
        mask = torch.zeros(n_units, dtype=torch.bool)
        mask[numbers] = True
    n_asked = int(mask.sum())
    if fitted is not None:
        mask &= fitted.cpu()
    if not mask.any():
        found = f"has {n_asked} units, none of which the encoder was fitted to"
        raise ValueError(
            f"`{name}` {found if n_asked else 'holds no units'}: nothing could be "
            "driven. Choose a region that overlaps with the fitted units."
        )
    return mask.float() / mask.sum()


def _copied(units: Units) -> Tensor:
    # Masks of tables cannot be written to, and torch warns of sharing them.
    return units.cpu() if isinstance(units, Tensor) else torch.tensor(units)


def region_weights(
    regions: Mapping[str, Any],
    target: str,
    *,
    against: str | None = None,
    ratio: float = 1.0,
    fitted: Tensor | None = None,
) -> Tensor:
    """Return `contrast_weights` of named regions.

    Parameters
    ----------
    regions : mapping of str to array-like of bool, shape (n_units,)
        Masks by name.
    target : str
        Region to drive.
    against : str, optional
        Region to spare.
    ratio : float, default 1
        Factor of its mean.
    fitted : Tensor of bool, shape (n_units,), optional
        Units that the encoder knows.

    Returns
    -------
    Tensor of float32, shape (n_units,)
        Weights.

    Raises
    ------
    ValueError
        If a name is unknown or a region has no fitted unit.
    """
    masks = []
    for name in (target, against):
        if name is None:
            continue
        if name not in regions:
            raise ValueError(
                f"There is no region {name!r}.{suggest(name, sorted(regions))}"
            )
        masks.append(_copied(regions[name]).bool())
    own = masks[0]
    try:
        return contrast_weights(
            len(own),
            own,
            against=masks[1] if len(masks) > 1 else (),
            ratio=ratio,
            fitted=fitted,
        )
    except ValueError as error:
        beside = "" if against is None else f" against {against!r}"
        raise ValueError(f"Region {target!r}{beside}: {error}") from error


@dataclass(frozen=True, eq=False)
class Guided:
    """What guidance made of one step.

    Parameters
    ----------
    eps, clean : Tensor of float32, shape (n, C, h, w)
        Predicted noise after guidance, and the clean sample that follows.
    objective : Tensor of float64, shape (n,)
        Weighted sum of predicted responses to the promised images.
    norm : Tensor of float64, shape (n,)
        Norm of the gradient, after scaling and cutting.
    saturated : Tensor of float64, shape (n,)
        Share of the values of the promised image that lie outside 0..1, where no
        gradient flows.
    failed : Tensor of bool, shape (n,)
        Where the gradient was not finite, and was replaced by 0.
    """

    eps: Tensor
    clean: Tensor
    objective: Tensor
    norm: Tensor
    saturated: Tensor
    failed: Tensor


@dataclass(frozen=True, eq=False)
class BrainGuidance:
    """How predicted brain activity steers a diffusion model, whatever samples it.

    Parameters
    ----------
    encoder : callable
        From images, float32 (n, 3, H, W) of 0..1, to responses, (n, n_units); gradients
        flow through it.
    weights : Tensor of float32, shape (n_units,)
        What is driven: see `contrast_weights`. Negative weights suppress.
    scale : float, default 130
        Strength, in units of the objective; negative values suppress. With "relative"
        the norm of the gradient as a share of that of the predicted noise.
    scale_kind : {"absolute", "relative"}, default "absolute"
        What `scale` means.
    mix : {"sigma", "clean"}, default "sigma"
        Which image is shown to the encoder: ``noise * clean + (1 - noise) * x`` as
        published, or the promised clean one.
    through_denoiser : bool, default True
        Let gradients flow through the denoising network, as published. Without, its
        prediction counts as fixed, which saves most of the memory.
    start, stop : float, default 0 and 1
        Share of the steps from and up to which guidance acts.
    copies : int, default 1
        Shifted and noisy copies of the image over which the objective is averaged.
    shift_px : int, default 0
        Copies are shifted by up to so many pixels; edges are repeated.
    noise_sd : float, default 0
        Standard deviation of the noise added to copies, for levels of 0..1.
    max_norm : float, optional
        Longer gradients are shortened to this norm, for each sample.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or `weights` are empty, all zero or not finite.

    Notes
    -----
    With ``g = scale * d objective / d x`` the noise becomes ``eps - noise * g``. The
    objective is summed over a batch, so that the size of the batch does not matter.
    """

    encoder: Encoder
    weights: Tensor
    scale: float = 130.0
    scale_kind: str = "absolute"
    mix: str = "sigma"
    through_denoiser: bool = True
    start: float = 0.0
    stop: float = 1.0
    copies: int = 1
    shift_px: int = 0
    noise_sd: float = 0.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        check_between("scale", self.scale)
        check_option("scale_kind", self.scale_kind, SCALES)
        check_option("mix", self.mix, MIXES)
        check_between("start", self.start, low=0, high=1)
        check_between("stop", self.stop, low=0, high=1)
        if self.start >= self.stop:
            raise ValueError(
                f"`start` must be below `stop`, or no step is guided; got {self.start} "
                f"and {self.stop}."
            )
        check_whole("copies", self.copies, low=1)
        check_whole("shift_px", self.shift_px, low=0)
        check_between("noise_sd", self.noise_sd, low=0)
        if self.max_norm is not None:
            check_between("max_norm", self.max_norm, low=0)
        if self.weights.ndim != 1 or not len(self.weights):
            raise ValueError(
                f"`weights` must have the shape (n_units,); got "
                f"{tuple(self.weights.shape)}."
            )
        if not torch.isfinite(self.weights).all() or not self.weights.any():
            raise ValueError(
                "`weights` must be finite and not all 0: see `contrast_weights`."
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """All that images depend on but the encoder, as JSON values."""
        told = {k: v for k, v in vars(self).items() if k not in ("encoder", "weights")}
        own = self.weights.detach().float().cpu().contiguous().numpy()
        return {**told, "weights": sha256_bytes(own.tobytes())}

    def acts(self, share: float, level: NoiseLevel) -> bool:
        """Tell whether a step is guided.

        Parameters
        ----------
        share : float
            Share of the steps that are done, 0..1.
        level : NoiseLevel
            Noise of the step; where there is next to no signal nothing is guided.

        Returns
        -------
        bool
            Whether `step` is to be called.
        """
        inside = self.start <= share < self.stop
        return inside and self.scale != 0 and level.alpha_bar >= LEAST_ALPHA_BAR

    def objective(
        self, images: Tensor, streams: Sequence[torch.Generator] = ()
    ) -> Tensor:
        """Return the weighted sum of responses to images; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, H, W), 0..1
            What the encoder sees.
        streams : sequence of torch.Generator
            One per image, on the CPU: draws of shifts and noise, if copies are made.

        Returns
        -------
        Tensor of float32, shape (n,)
            Mean over copies.
        """
        plain = self.copies == 1 and not self.shift_px and not self.noise_sd
        total = torch.zeros(len(images), device=images.device)
        for _ in range(self.copies):
            seen = images if plain else self._copy(images, streams)
            responses = self.encoder(seen).float()
            if responses.shape != (len(images), len(self.weights)):
                raise ValueError(
                    f"`encoder` must return the shape ({len(images)}, "
                    f"{len(self.weights)}); got {tuple(responses.shape)}."
                )
            # Units of weight 0 may be unfitted (NaN).
            used = self.weights.to(responses.device) != 0
            total = total + responses[:, used] @ self.weights.to(responses)[used]
        return total / self.copies

    def _copy(self, images: Tensor, streams: Sequence[torch.Generator]) -> Tensor:
        if len(streams) != len(images):
            raise ValueError(
                f"`streams` must hold one generator per image ({len(images)}); got "
                f"{len(streams)}."
            )
        reach, (height, width) = self.shift_px, images.shape[-2:]
        padded = F.pad(images, (reach,) * 4, mode="replicate") if reach else images
        kept = []
        for image, stream in zip(padded, streams, strict=True):
            top, left = torch.randint(0, 2 * reach + 1, (2,), generator=stream).tolist()
            shifted = image[:, top : top + height, left : left + width]
            noise = torch.randn(shifted.shape, generator=stream)
            kept.append(shifted + self.noise_sd * noise.to(shifted))
        return torch.stack(kept)

    def step(
        self,
        generator: ImageGenerator,
        x: Tensor,
        step: Tensor | int,
        level: NoiseLevel,
        *,
        base_eps: Tensor | None = None,
        streams: Sequence[torch.Generator] = (),
    ) -> Guided:
        """Return the guided prediction of noise.

        Parameters
        ----------
        generator : ImageGenerator
            Denoises and decodes.
        x : Tensor of float32, shape (n, C, h, w)
            Noisy samples.
        step : Tensor or int
            Step of the noise, as the network takes it.
        level : NoiseLevel
            Its signal and noise.
        base_eps : Tensor, shape (n, C, h, w), optional
            Prediction of the noise that is moved, if something else changed it first;
            that of the network by default.
        streams : sequence of torch.Generator
            See `objective`.

        Returns
        -------
        Guided
            Noise, clean sample, and what was measured.
        """
        with torch.enable_grad():
            leaf = x.detach().float().requires_grad_(True)
            with torch.set_grad_enabled(self.through_denoiser):
                output = generator.denoise(leaf, step)
            if not self.through_denoiser:
                # What counts as fixed is the noise, not the velocity.
                fixed, _ = level.read(output, x, generator.prediction)
                eps, clean = fixed, level.clean(leaf, fixed)
            else:
                eps, clean = level.read(output, leaf, generator.prediction)
            shown = clean
            if self.mix == "sigma":
                shown = level.noise * clean + (1 - level.noise) * leaf
            decoded = generator.decode(shown)
            saturated = ((decoded < 0) | (decoded > 1)).flatten(1).float().mean(1)
            objective = self.objective(decoded.clamp(0, 1), streams)
            # The scale comes before the backward pass: small gradients vanish in 16
            # bits.
            factor = self.scale if self.scale_kind == "absolute" else 1.0
            gradient = torch.autograd.grad((factor * objective).sum(), leaf)[0]
        base = eps.detach() if base_eps is None else base_eps
        gradient, failed = self._bounded(gradient.detach(), base)
        moved = base - level.noise * gradient
        return Guided(
            moved,
            level.clean(x, moved),
            objective.detach().cpu().double(),
            _norms(gradient),
            saturated.cpu().double(),
            failed,
        )

    def _bounded(self, gradient: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        failed = ~torch.isfinite(gradient).flatten(1).all(1)
        gradient = torch.where(failed[:, None, None, None], 0, gradient)
        norm = _norms(gradient)
        factor = torch.ones_like(norm)
        if self.scale_kind == "relative":
            length = _norms(eps)
            factor = torch.where(norm > 0, self.scale * length / norm, 0)
        if self.max_norm is not None:
            length = factor.abs() * norm
            most = torch.where(length > self.max_norm, self.max_norm / length, 1)
            factor = factor * most
        return gradient * factor.to(gradient)[:, None, None, None], failed


def _norms(x: Tensor) -> Tensor:
    # Squares of small or large gradients leave the range of float32, and not every
    # device knows float64.
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1).cpu().double(), dim=1)
    return norms
