"""From noise to images: one sampling loop for all generators, guided or not.

Every image has its own seed and its own stream of random numbers on the CPU, so that
neither the size of a batch nor the device changes which image belongs to a seed.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import exact_float32
from neurovis.core.rng import torch_generator
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_levels import LEAST_ALPHA_BAR, NoiseLevel
from neurovis.generation.self_attention import find_attention, self_attention_step

logger = logging.getLogger(__name__)

SAMPLERS = ("ddim", "ddpm", "dpm-solver++")
"""Ways from noise to an image, all with the noise schedule of the generator."""

MOST_SEED = 2**32 - 1
"""Largest seed of an image: streams of torch on the CPU keep no more of it."""

MOST_FAILED = 0.05
"""Share of gradients that may fail."""


class Guidance(Protocol):
    """What moves predictions: `neurovis.adapters.braindive.BrainGuidance`."""

    @property
    def scale(self) -> float:
        """Strength, for tables."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
        """What images depend on besides the encoder, as JSON values."""
        ...

    def acts(self, share: float, level: NoiseLevel) -> bool:
        """Tell whether a step is guided.

        Parameters
        ----------
        share : float
            Share of the steps that are done, 0..1.
        level : NoiseLevel
            Noise of the step.

        Returns
        -------
        bool
            Whether `step` is to be called.
        """
        ...

    def step(
        self,
        generator: ImageGenerator,
        x: Tensor,
        step: Tensor | int,
        level: NoiseLevel,
        *,
        base_eps: Tensor | None = None,
        streams: Sequence[torch.Generator] = (),
    ) -> Any:
        """Return the moved prediction.

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
            Noise that is moved; that of the network by default.
        streams : sequence of torch.Generator
            One per sample, on the CPU.

        Returns
        -------
        object
            With `eps`, `clean`, `objective`, `norm`, `saturated` and `failed`, as
            `neurovis.adapters.braindive.Guided` has them.
        """
        ...


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Samples that were moved between two steps.

    Parameters
    ----------
    x : Tensor of float32, shape (n, C, h, w)
        Noisy samples.
    loss : Tensor of float64, shape (n,)
        What the move should make smaller, before it.
    failed : Tensor of bool, shape (n,)
        Where the gradient was not finite, and the sample was left as it was.
    """

    x: Tensor
    loss: Tensor
    failed: Tensor


@runtime_checkable
class AdjustingGuidance(Protocol):
    """A guidance that may also move samples after the step of the scheduler."""

    def adjust(
        self,
        generator: ImageGenerator,
        x: Tensor,
        step: Tensor | int,
        level: NoiseLevel,
        *,
        share: float,
        streams: Sequence[torch.Generator] = (),
    ) -> Adjusted | None:
        """Return moved samples, or None to leave them; not called after the last step.

        Parameters
        ----------
        generator : ImageGenerator
            Denoises and decodes.
        x : Tensor of float32, shape (n, C, h, w)
            Noisy samples, as the scheduler made them.
        step : Tensor or int
            The step that comes next.
        level : NoiseLevel
            Its signal and noise, those of `x`.
        share : float
            Share of the steps that are done, 0..1.
        streams : sequence of torch.Generator
            One per sample, on the CPU.

        Returns
        -------
        Adjusted or None
            Samples.
        """
        ...


@dataclass(frozen=True)
class SamplingSettings:
    """How images are sampled.

    Parameters
    ----------
    n_steps : int, default 50
        Steps from noise to image.
    sampler : {"dpm-solver++", "ddim", "ddpm"}, default "dpm-solver++"
        Second-order DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095), DDIM without
        noise (Song et al. 2021, arXiv:2010.02502) or DDPM (Ho et al. 2020,
        arXiv:2006.11239).
    self_attention : float, default 0
        Strength of self-attention guidance; BrainDiVE used .75.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or the sampler unknown.
    """

    n_steps: int = 50
    sampler: str = "dpm-solver++"
    self_attention: float = 0.0

    def __post_init__(self) -> None:
        check_whole("n_steps", self.n_steps, low=1)
        check_option("sampler", self.sampler, SAMPLERS)
        check_between("self_attention", self.self_attention)


@dataclass(frozen=True, eq=False)
class Sampled:
    """Images and what was measured on the way.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W, 3)
        RGB.
    samples : Tensor of float32, shape (n, C, h, w)
        Before they were decoded, on the CPU.
    objective : ndarray of float64, shape (n, n_steps)
        Objective of the guidance at each step; NaN where it did not act.
    gradient_norm : ndarray of float64, shape (n, n_steps)
        Norm of the gradients.
    saturated : ndarray of float64, shape (n,)
        Share of the values of the images at 0 or 1.
    n_failed : ndarray of int64, shape (n,)
        Gradients that were not finite and left out.
    """

    images: NDArray[np.uint8]
    samples: Tensor
    objective: NDArray[np.float64]
    gradient_norm: NDArray[np.float64]
    saturated: NDArray[np.float64]
    n_failed: NDArray[np.int64]


def make_scheduler(generator: ImageGenerator, sampler: str) -> Any:
    """Return a scheduler of diffusers with the noise of a generator.

    Parameters
    ----------
    generator : ImageGenerator
        Whose noise.
    sampler : {"dpm-solver++", "ddim", "ddpm"}
        Which one.

    Returns
    -------
    diffusers.SchedulerMixin
        A fresh one: solvers of higher order remember earlier steps.

    Raises
    ------
    ValueError
        If the sampler is unknown.
    """
    check_option("sampler", sampler, SAMPLERS)
    # Slow to import, and needed here only.
    import diffusers

    known = {k: v for k, v in generator.scheduler.items() if not k.startswith("_")}
    # Cutting is done here, after guidance.
    known |= {"clip_sample": False, "thresholding": False}
    if sampler == "ddim":
        return diffusers.DDIMScheduler.from_config(known)
    if sampler == "ddpm":
        return diffusers.DDPMScheduler.from_config(known)
    solver = {"algorithm_type": "dpmsolver++", "solver_order": 2}
    return diffusers.DPMSolverMultistepScheduler.from_config({**known, **solver})


def sample_images(
    generator: ImageGenerator,
    seeds: Sequence[int],
    *,
    settings: SamplingSettings | None = None,
    guidance: Guidance | None = None,
    noise: Tensor | None = None,
) -> Sampled:
    """Sample one batch of images.

    Parameters
    ----------
    generator : ImageGenerator
        Denoises and decodes.
    seeds : sequence of int
        One per image, 0 to 2**32 - 1: the streams of torch keep 32 bits of a seed.
    settings : SamplingSettings, optional
        How to sample.
    guidance : Guidance, optional
        What moves the predictions, and samples too if it is an `AdjustingGuidance`.
    noise : Tensor of float32, shape (n, C, h, w), optional
        Where sampling starts; standard normal noise of the seeds by default.

    Returns
    -------
    Sampled
        Images in the order of the seeds.

    Raises
    ------
    ValueError
        If there are no seeds, one is out of range, there are more steps than the
        generator knows, `noise` has another shape, or self-attention is asked for and
        not there.
    FloatingPointError
        If samples or images are not finite, or more than 5 % of the gradients are not.
    """
    settings = SamplingSettings() if settings is None else settings
    if not len(seeds):
        raise ValueError("`seeds` must hold at least one number; got none.")
    whole = [check_whole("seeds", seed, low=0, high=MOST_SEED) for seed in seeds]
    scheduler = make_scheduler(generator, settings.sampler)
    n_known = int(scheduler.config.num_train_timesteps)
    if settings.n_steps > n_known:
        raise ValueError(
            f"`n_steps` of `settings` must be at most {n_known}, the steps that "
            f"{generator.name} was trained with; got {settings.n_steps}."
        )
    if settings.self_attention:
        find_attention(generator.denoiser)
    streams = [torch.Generator().manual_seed(seed) for seed in whole]
    # Shifts and noise of guidance have streams of their own: the same seed starts
    # from the same noise, and sees the same noise, guided or not.
    beside = [torch_generator(seed, "guidance") for seed in whole]
    with warnings.catch_warnings():
        # The solver of diffusers calls numpy in a way that numpy 2 advises against.
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler.set_timesteps(settings.n_steps)
    place = generator.device
    x = torch.stack([torch.randn(generator.shape, generator=s) for s in streams])
    if noise is not None:
        if noise.shape != x.shape:
            raise ValueError(
                f"`noise` must have the shape {tuple(x.shape)}, one per seed; got "
                f"{tuple(noise.shape)}."
            )
        x = noise.float()
    x = x.to(place)
    shape = (len(seeds), settings.n_steps)
    objective, norm = np.full(shape, np.nan), np.full(shape, np.nan)
    n_failed, n_adjusted = np.zeros(len(seeds), np.int64), 0
    steps = list(scheduler.timesteps)
    shares = [float(scheduler.alphas_cumprod[int(step)]) for step in steps]
    noise_levels = [NoiseLevel(share) for share in shares]
    with exact_float32():
        for i, (step, level) in enumerate(zip(steps, noise_levels, strict=True)):
            acts = guidance is not None and guidance.acts(i / settings.n_steps, level)
            base = None
            if settings.self_attention and level.alpha_bar >= LEAST_ALPHA_BAR:
                base = self_attention_step(
                    generator, x, step, level, scale=settings.self_attention
                )
            if acts:
                assert guidance is not None
                moved = guidance.step(
                    generator, x, step, level, base_eps=base, streams=beside
                )
                eps, clean = moved.eps, moved.clean
                objective[:, i] = moved.objective.cpu().numpy()
                norm[:, i] = moved.norm.cpu().numpy()
                n_failed += moved.failed.cpu().numpy()
            elif base is not None:
                eps, clean = base, level.clean(x, base)
            else:
                with torch.no_grad():
                    output = generator.denoise(x, step)
                eps, clean = level.read(output, x, generator.prediction)
            changed = acts or base is not None
            limit = generator.clean_limit
            if limit is not None:
                clean = clean.clamp(-limit, limit)
                eps = level.eps(x, clean)
                changed = True
            if changed:
                output = level.write(eps, clean, generator.prediction)
            x = _next(scheduler, output, step, x, streams)
            if isinstance(guidance, AdjustingGuidance) and i + 1 < len(steps):
                adjusted = guidance.adjust(
                    generator,
                    x,
                    steps[i + 1],
                    noise_levels[i + 1],
                    share=(i + 1) / settings.n_steps,
                    streams=beside,
                )
                if adjusted is not None:
                    x = adjusted.x
                    n_failed += adjusted.failed.cpu().numpy()
                    n_adjusted += len(seeds)
            if not torch.isfinite(x).all():
                raise FloatingPointError(
                    f"Samples are not finite after step {i + 1} of {settings.n_steps}: "
                    "make the scale of the guidance smaller, or compute in float32."
                )
    _judge_failures(n_failed, int((~np.isnan(norm)).sum()) + n_adjusted)
    with torch.no_grad():
        decoded = generator.decode(x)
    if not torch.isfinite(decoded).all():
        raise FloatingPointError(
            "Decoded images are not finite: compute in float32 or bfloat16."
        )
    levels = (decoded.clamp(0, 1) * 255).round().byte().cpu()
    images = levels.permute(0, 2, 3, 1).contiguous().numpy()
    ends = ((levels == 0) | (levels == 255)).flatten(1).double().mean(1).numpy()
    return Sampled(images, x.cpu(), objective, norm, ends, n_failed)


def _next(
    scheduler: Any, output: Tensor, step: Tensor, x: Tensor, streams: list[Any]
) -> Tensor:
    # Deterministic samplers take no generator, or ignore it.
    return scheduler.step(output, step, x, generator=streams).prev_sample


def _judge_failures(n_failed: NDArray[np.int64], n_gradients: int) -> None:
    total = int(n_failed.sum())
    if not total:
        return
    if total > MOST_FAILED * n_gradients:
        raise FloatingPointError(
            f"{total} of {n_gradients} gradients were not finite: check the encoder, "
            "make the scale smaller, or compute in float32 or bfloat16."
        )
    logger.warning(
        "%d of %d gradients were not finite and were left out", total, n_gradients
    )
