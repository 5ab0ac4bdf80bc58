"""Anagrams: one picture that shows different things in different views.

At every step each view of the noisy sample is denoised under a guidance of its own; the
predictions are mapped back and combined to one.

References
----------
Geng, Park and Owens (2024). Visual anagrams: generating multi-view optical illusions
with diffusion models. CVPR. arXiv:2311.17919. Diffusion-based visual anagram as
multi-task learning (2025). WACV. arXiv:2412.02693.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurovis.core.checks import check_between, check_option
from neurovis.core.rng import torch_generator
from neurovis.generation.anti_segregation import (
    PUBLISHED_SHARE,
    HasObjective,
    anti_segregation_step,
)
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_combination import (
    PUBLISHED_STEPS,
    balance_weights,
    check_baselines,
    combine_noise,
    to_alignments,
)
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.sampling import (
    Adjusted,
    Guidance,
    SamplingSettings,
    make_scheduler,
)
from neurovis.generation.self_attention import self_attention_step
from neurovis.generation.sketch_networks import PixelShuffleDecoder
from neurovis.generation.views import NoiseView

RULES = ("mean", "alternate", "sum")
"""Ways to combine what was predicted for views."""


@dataclass(frozen=True, eq=False)
class GuidedViews:
    """What the guidances of all views made of one step.

    Parameters
    ----------
    eps, clean : Tensor of float32, shape (n, C, h, w)
        Combined noise, and the clean sample that follows.
    objective, norm, saturated : Tensor of float64, shape (n,)
        Means over the views that were guided; NaN if none was.
    failed : Tensor of bool, shape (n,)
        Where the gradient of any view was not finite.
    objectives : Tensor of float64, shape (k, n)
        Of each view; NaN where it was not guided.
    weights : Tensor of float64, shape (k, n)
        Of each view, before rectification.
    """

    eps: Tensor
    clean: Tensor
    objective: Tensor
    norm: Tensor
    saturated: Tensor
    failed: Tensor
    objectives: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class _Unguided:
    """What was predicted for a view whose guidance does not act."""

    eps: Tensor
    clean: Tensor
    objective: Tensor
    norm: Tensor
    saturated: Tensor
    failed: Tensor


@dataclass(frozen=True, eq=False)
class AnagramGuidance:
    """How several guidances, one for each view, make one picture.

    Parameters
    ----------
    views : sequence of NoiseView
        Views or, for hybrids, parts of the noise. "identity" is the picture itself.
    guidances : sequence of Guidance
        One per view, in its frame.
    settings : SamplingSettings
        Those with which images are sampled: guidances start and stop by them.
        Self-attention guidance acts on each view.
    rule : {"mean", "alternate", "sum"}, default "mean"
        Weighted mean of all views, one view after the other, or the sum of parts.
    weights : sequence of float, optional
        Of views in the mean; equal by default.
    balance : bool, default False
        Multiply the weights by `balance_weights`, from the objectives of the step.
    baselines : sequence of (float, float), optional
        See `to_alignments`; for balancing.
    rectify : bool, default True
        Whether the mean gets its variance back: see `combine_noise`.
    segregation_rate : float, default 0
        Rate of `anti_segregation_step`, which moves samples between steps so that
        views draw on the same places; 0 leaves them.
    segregation_share : float, default 26/30
        Share of the steps, from the first, after which samples are moved.

    Raises
    ------
    TypeError, ValueError
        If there is not one guidance per view, sizes differ, an option does not go with
        the rule, a number is out of range, views are not orthogonal, parts do not sum
        to the whole, or anti-segregation lacks a second view or an objective.

    Notes
    -----
    Only for generators that denoise pixels: places of latents have insides that do not
    turn or flip with them. A view is denoised at every step, also where its guidance
    does not act. It counts with its fixed weight then. Anti-segregation regards views
    whose guidance acts at the next step, if there are two or more.

    References
    ----------
    arXiv:2311.17919; arXiv:2412.02693.
    """

    views: Sequence[NoiseView]
    guidances: Sequence[Guidance]
    settings: SamplingSettings = field(default_factory=SamplingSettings)
    rule: str = "mean"
    weights: Sequence[float] | None = None
    balance: bool = False
    baselines: Sequence[tuple[float, float]] | None = None
    rectify: bool = True
    segregation_rate: float = 0.0
    segregation_share: float = PUBLISHED_SHARE

    def __post_init__(self) -> None:
        check_option("rule", self.rule, RULES)
        if not len(self.views) or len(self.views) != len(self.guidances):
            raise ValueError(
                "`guidances` must hold one per view, at least one; got "
                f"{len(self.guidances)} for {len(self.views)} views."
            )
        if self.rule != "mean" and (self.weights is not None or self.balance):
            raise ValueError(
                f"`weights` and `balance` are for the rule 'mean'; got {self.rule!r}."
            )
        if self.weights is not None:
            for weight in self.weights:
                check_between("weights", weight, low=0)
            if len(self.weights) != len(self.views) or not sum(self.weights):
                raise ValueError(
                    f"`weights` must hold one per view ({len(self.views)}), not all 0; "
                    f"got {list(self.weights)}."
                )
        if self.baselines is not None:
            check_baselines(self.baselines, len(self.views))
        check_between("segregation_rate", self.segregation_rate, low=0)
        check_between("segregation_share", self.segregation_share, low=0, high=1)
        if self.segregation_rate:
            self._check_segregation()
        check_views(self.views, parts=self.rule == "sum")

    def _check_segregation(self) -> None:
        if self.rule == "sum" or len(self.views) < 2:
            raise ValueError(
                "`segregation_rate` is for two views or more that swap pixels: set it "
                f"to 0 for {len(self.views)} view(s) and the rule {self.rule!r}."
            )
        for guidance in self.guidances:
            if not isinstance(guidance, HasObjective):
                raise TypeError(
                    "`segregation_rate` needs guidances with a method `objective`, "
                    "whose gradients tell where a view draws; got a "
                    f"{type(guidance).__name__}. Set it to 0."
                )

    @property
    def scale(self) -> float:
        """Largest strength of a view, for tables."""
        return max(guidance.scale for guidance in self.guidances)

    @property
    def parameters(self) -> dict[str, Any]:
        """What images depend on besides encoders, as JSON values."""
        return {
            "views": [view.parameters for view in self.views],
            "guidances": [guidance.parameters for guidance in self.guidances],
            "rule": self.rule,
            "weights": None if self.weights is None else [*map(float, self.weights)],
            "balance": self.balance,
            "baselines": self.baselines and [[*map(float, b)] for b in self.baselines],
            "rectify": self.rectify,
            "segregation_rate": float(self.segregation_rate),
            "segregation_share": float(self.segregation_share),
        }

    def acts(self, share: float, level: NoiseLevel) -> bool:
        """Tell that every step combines views, guided or not.

        Parameters
        ----------
        share : float
            Share of the steps that are done, 0..1.
        level : NoiseLevel
            Noise of the step.

        Returns
        -------
        bool
            True.
        """
        return True

    def step(
        self,
        generator: ImageGenerator,
        x: Tensor,
        step: Tensor | int,
        level: NoiseLevel,
        *,
        base_eps: Tensor | None = None,
        streams: Sequence[torch.Generator] = (),
    ) -> GuidedViews:
        """Return the combined prediction of noise.

        Parameters
        ----------
        generator : ImageGenerator
            Denoises pixels, or pixels that lie side by side as channels.
        x : Tensor of float32, shape (n, C, h, w)
            Noisy samples.
        step : Tensor or int
            Step of the noise, one of those of `settings`.
        level : NoiseLevel
            Its signal and noise.
        base_eps : Tensor, shape (n, C, h, w), optional
            Prediction that self-attention guidance made for the picture itself. Each
            view gets one of its own.
        streams : sequence of torch.Generator
            Random numbers for the guidances, one stream per sample.

        Returns
        -------
        GuidedViews
            Noise, clean sample, and what was measured.

        Raises
        ------
        ValueError
            If the generator denoises latents, pictures are not of the size of the
            views, or the step is none of the settings.
        """
        side = pixels_per_place(generator)
        n_done = self._n_done(generator, step)
        scale = self.settings.self_attention
        if base_eps is not None and not scale:
            raise ValueError(
                "`base_eps` came, but `settings` have no self-attention guidance: give "
                "the settings with which images are sampled."
            )
        n_views = len(self.views)
        chosen = list(range(n_views))
        if self.rule == "alternate":
            chosen = [n_done % n_views]
        share = n_done / self.settings.n_steps
        found, noises, cleans = [], [], []
        for i in chosen:
            view, guidance = self.views[i], self.guidances[i]
            seen = F.pixel_unshuffle(view.apply(F.pixel_shuffle(x, side)), side)
            base = None
            if scale:
                base = self_attention_step(generator, seen, step, level, scale=scale)
            if guidance.acts(share, level):
                look = guidance.step(
                    generator, seen, step, level, base_eps=base, streams=streams
                )
            else:
                look = _predict(generator, seen, step, level, base)
            found.append(look)
            noises.append(view.map_noise_back(F.pixel_shuffle(look.eps, side)))
            cleans.append(view.map_noise_back(F.pixel_shuffle(look.clean, side)))
        objectives = torch.full((n_views, len(x)), torch.nan, dtype=torch.float64)
        objectives[chosen] = torch.stack([look.objective for look in found])
        weights = self._weigh(objectives, share, chosen)
        shares = weights[chosen]
        plain = combine_noise(torch.stack(noises), shares, rectify=False)
        moved = plain
        if self.rectify and self.rule == "mean":
            moved = combine_noise(torch.stack(noises), shares)
        # Where next to no signal is left, clean samples would be lost on the way from
        # the noise: theirs are combined, and moved as the noise was.
        clean = combine_noise(torch.stack(cleans), shares, rectify=False)
        clean = clean + level.clean(torch.zeros_like(plain), moved - plain)
        return GuidedViews(
            F.pixel_unshuffle(moved, side),
            F.pixel_unshuffle(clean, side),
            objectives.nanmean(0),
            torch.stack([look.norm for look in found]).nanmean(0),
            torch.stack([look.saturated for look in found]).nanmean(0),
            torch.stack([look.failed for look in found]).any(0),
            objectives,
            weights,
        )

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
        """Return samples whose views draw more on the same places.

        Parameters
        ----------
        generator : ImageGenerator
            Denoises pixels, or pixels that lie side by side as channels.
        x : Tensor of float32, shape (n, C, h, w)
            Noisy samples.
        step : Tensor or int
            The step that comes next.
        level : NoiseLevel
            Its signal and noise.
        share : float
            Share of the steps that are done, 0..1.
        streams : sequence of torch.Generator
            Random numbers for the objectives, one stream per sample.

        Returns
        -------
        Adjusted or None
            Samples; None without anti-segregation, late, or with fewer than two views
            that are guided.

        Raises
        ------
        ValueError
            If the generator denoises latents.
        """
        if not self.segregation_rate or share > self.segregation_share:
            return None
        views, objectives = [], []
        for view, guidance in zip(self.views, self.guidances, strict=True):
            if isinstance(guidance, HasObjective) and guidance.acts(share, level):
                views.append(view)
                objectives.append(guidance.objective)
        if len(views) < 2:
            return None
        return anti_segregation_step(
            generator,
            x,
            step,
            level,
            views,
            objectives,
            rate=self.segregation_rate,
            side_px=pixels_per_place(generator),
            streams=streams,
        )

    def _n_done(self, generator: ImageGenerator, step: Tensor | int) -> int:
        scheduler = make_scheduler(generator, self.settings.sampler)
        scheduler.set_timesteps(self.settings.n_steps)
        steps = [int(known) for known in scheduler.timesteps]
        if int(step) not in steps:
            raise ValueError(
                f"`step` {int(step)} is none of the {len(steps)} of `settings`: give "
                "those with which images are sampled."
            )
        return steps.index(int(step))

    def _weigh(self, objectives: Tensor, share: float, chosen: list[int]) -> Tensor:
        """Return weights of views, shape (k, n)."""
        n_views = len(self.views)
        fixed = torch.zeros(n_views, dtype=torch.float64)
        fixed[chosen] = 1
        if self.weights is not None:
            fixed = torch.tensor(self.weights, dtype=torch.float64)
        if self.rule == "mean":
            fixed = fixed / fixed.sum()
        shares = fixed.to(objectives.device)[:, None].expand(objectives.shape)
        if not self.balance:
            return shares
        known = torch.isfinite(objectives).all(0)
        alignments = to_alignments(objectives.nan_to_num(), self.baselines)
        balanced = shares * balance_weights(alignments, PUBLISHED_STEPS * share)
        return torch.where(known, balanced / balanced.sum(0), shares)


def _predict(
    generator: ImageGenerator,
    seen: Tensor,
    step: Tensor | int,
    level: NoiseLevel,
    base: Tensor | None,
) -> _Unguided:
    if base is None:
        with torch.no_grad():
            output = generator.denoise(seen, step)
        eps, clean = level.read(output, seen, generator.prediction)
    else:
        eps, clean = base, level.clean(seen, base)
    nothing = torch.full((len(seen),), torch.nan, dtype=torch.float64)
    failed = torch.zeros(len(seen), dtype=torch.bool, device=seen.device)
    return _Unguided(eps, clean, nothing, nothing, nothing, failed)


def check_views(views: Sequence[NoiseView], *, parts: bool = False) -> None:
    """Raise unless views fit together and can make an anagram.

    Parameters
    ----------
    views : sequence of NoiseView
        One or more.
    parts : bool, default False
        Whether they are parts of the noise.

    Raises
    ------
    ValueError
        If sizes differ, a view cannot be undone or changes the length of samples, or
        parts do not sum to the whole.
    """
    names = [view.name for view in views]
    sizes = [view.size_px for view in views]
    if len(set(sizes)) != 1:
        raise ValueError(f"Views must be of one size; {names} are of {sizes} px.")
    size_px = views[0].size_px
    noise = torch.randn(1, 3, size_px, size_px, generator=torch_generator(0, "views"))
    if parts:
        whole = torch.stack([view.map_noise_back(noise) for view in views]).sum(0)
        if not torch.allclose(whole, noise, atol=1e-4):
            raise ValueError(
                f"Parts must sum to the whole for the rule 'sum'; {names} do "
                "not. Take all parts of a family: see `make_parts`."
            )
        return
    for view in views:
        seen = view.apply(noise)
        same = torch.allclose(seen.norm(), noise.norm(), rtol=1e-4)
        if not same or not torch.allclose(view.map_noise_back(seen), noise, atol=1e-4):
            raise ValueError(
                f"The view {view.name!r} is not orthogonal: white noise would not stay "
                "white noise, or it cannot be undone. Parts need the rule 'sum'."
            )


def pixels_per_place(generator: ImageGenerator) -> int:
    """Return how many pixels to a side a generator denoises at one place.

    Parameters
    ----------
    generator : ImageGenerator
        Of pictures.

    Returns
    -------
    int
        1, or more if pixels lie side by side as channels.

    Raises
    ------
    ValueError
        If it denoises latents.
    """
    decoder = generator.decoder
    if decoder is None:
        return 1
    if isinstance(decoder, PixelShuffleDecoder):
        return 2
    if isinstance(decoder, nn.PixelShuffle):
        return decoder.upscale_factor
    raise ValueError(
        f"Anagrams need a generator that denoises pixels; {generator.name!r} denoises "
        f"latents of a {type(decoder).__name__}, which do not turn or flip with their "
        "places. Take a pixel generator."
    )
