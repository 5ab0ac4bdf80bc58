"""The noise that a diffusion model was trained with, from a scheduler's description."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurovis.core.checks import check_option, check_whole
from neurovis.generation.noise_levels import PREDICTIONS

SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DPMSolverSDEScheduler",
    "DEISMultistepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers of diffusers whose noise is told by betas alone: the models of any of them
can be sampled by any other."""

_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
_SPACINGS = ("linspace", "leading", "trailing")

# Of what a scheduler's file tells only this is the model's own; the rest is a choice
# of the sampler.
_BETAS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
_NOISE = (
    *_BETAS,
    "prediction_type",
    "timestep_spacing",
    "steps_offset",
    "set_alpha_to_one",
    "variance_type",
)


def read_scheduler(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what a description tells of the noise; needs no other package.

    Parameters
    ----------
    config : mapping
        Content of ``scheduler_config.json``.
    path : Path
        That file, for messages.

    Returns
    -------
    dict
        Arguments for any scheduler of diffusers.

    Raises
    ------
    TypeError, ValueError
        If it is a scheduler, a noise or a prediction that cannot be sampled.
    """
    kind, schedule = config.get("_class_name"), config.get("beta_schedule")
    told = schedule in _BETA_SCHEDULES or config.get("trained_betas") is not None
    if kind not in SCHEDULERS or not told or config.get("use_flow_sigmas"):
        raise ValueError(
            f"{path} describes {kind!r} with the beta_schedule {schedule!r}, whose "
            "noise is not one that this suite can sample from. Supported are "
            f"{', '.join(SCHEDULERS)} with a beta_schedule of "
            f"{', '.join(_BETA_SCHEDULES)}, or trained_betas; flow matching is not."
        )
    known = {name: config[name] for name in _NOISE if config.get(name) is not None}
    prediction = known.get("prediction_type", "epsilon")
    check_option(f"prediction_type of {path}", prediction, PREDICTIONS)
    spacing = known.get("timestep_spacing", "leading")
    check_option(f"timestep_spacing of {path}", spacing, _SPACINGS)
    n_steps = known.get("num_train_timesteps", 1000)
    check_whole(f"num_train_timesteps of {path}", n_steps, low=1)
    check_whole(f"steps_offset of {path}", known.get("steps_offset", 0), low=0, high=1)
    return known


def check_betas(known: Mapping[str, Any], path: Path) -> None:
    """Raise unless the betas can be those of noise; needs diffusers.

    Parameters
    ----------
    known : mapping
        From `read_scheduler`.
    path : Path
        File of the description, for messages.

    Raises
    ------
    ValueError
        If they are no numbers above 0 and up to 1, one per step.
    """
    # Slow to import, and needed here only.
    from diffusers import DDIMScheduler

    own = {name: known[name] for name in _BETAS if name in known}
    try:
        scheduler: Any = DDIMScheduler(**own)
        betas, n_steps = scheduler.betas, scheduler.config.num_train_timesteps
        cause = None
        sound = betas.shape == (n_steps,) and bool(((betas > 0) & (betas <= 1)).all())
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        cause, sound = error, False
    if not sound:
        if "trained_betas" in own:
            own["trained_betas"] = "..."
        raise ValueError(
            f"{path} tells betas that cannot be used: numbers above 0 and up to 1 are "
            f"needed, one for each of num_train_timesteps; it has {own}. Get the file "
            "again."
        ) from cause
