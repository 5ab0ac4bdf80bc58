"""One picture under several views: what is combined, and what sampling makes of it."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurovis.adapters.braindive import BrainGuidance
from neurovis.generation.anagrams import AnagramGuidance, check_views, pixels_per_place
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_combination import balance_weights, to_alignments
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.noise_parts import make_parts
from neurovis.generation.sampling import SamplingSettings, make_scheduler, sample_images
from neurovis.generation.self_attention import self_attention_step
from neurovis.generation.sketch_networks import PixelShuffleDecoder, SketchDecoder
from neurovis.generation.views import VIEWS, make_view

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}
SETTINGS = SamplingSettings(n_steps=5, sampler="ddim")
SIDE = 32


class Denoiser(nn.Module):
    """Two convolutions that know the step."""

    def __init__(self, channels):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(channels, 8, 3, padding=1)
            self.last = nn.Conv2d(8, channels, 3, padding=1)
        self.requires_grad_(False)

    def forward(self, x, step):
        inner = torch.tanh(self.first(x) + torch.as_tensor(step) / 1000)
        return SimpleNamespace(sample=self.last(inner))


def make_generator(side=2, prediction="v_prediction", clean_limit=1.0):
    """Return a generator of 32 x 32 pixels, of which side x side lie at one place."""
    channels, places = 3 * side**2, SIDE // side
    return ImageGenerator(
        "tiny",
        Denoiser(channels),
        None if side == 1 else PixelShuffleDecoder(),
        (channels, places, places),
        {**SCHEDULER, "prediction_type": prediction},
        clean_limit=clean_limit,
    )


def look_at(images):
    """Return two units: light in the upper half, and red in the lower one."""
    upper = images[:, :, : SIDE // 2].mean((1, 2, 3))
    lower = images[:, 0, SIDE // 2 :].mean((1, 2))
    return torch.stack([upper, lower], 1)


def guide(unit=0, **more):
    weights = torch.eye(2)[unit]
    return BrainGuidance(look_at, weights, **{"scale": 2000.0, **more})


def join(*names, settings=SETTINGS, guidances=None, **more):
    views = [make_view(name, SIDE) for name in names]
    if guidances is None:
        guidances = [guide(i % 2) for i in range(len(views))]
    return AnagramGuidance(views, guidances, settings, **more)


def begin(generator, n=3, index=2, settings=SETTINGS):
    """Return noisy samples, the step of some index, and its level."""
    scheduler = make_scheduler(generator, settings.sampler)
    scheduler.set_timesteps(settings.n_steps)
    step = scheduler.timesteps[index]
    stream = torch.Generator().manual_seed(1)
    x = torch.randn(n, *generator.shape, generator=stream)
    return x, step, NoiseLevel(float(scheduler.alphas_cumprod[int(step)]))


def streams_of(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# ---------------------------------------------------------------- one view


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("rule", ["mean", "alternate", "sum"])
def test_one_identity_view_is_the_plain_guidance_bit_for_bit(rule, side, prediction):
    generator = make_generator(side, prediction)
    x, step, level = begin(generator)
    plain = guide().step(generator, x, step, level)
    found = join("identity", rule=rule).step(generator, x, step, level)
    for name in ("eps", "clean", "objective", "norm", "saturated", "failed"):
        assert torch.equal(getattr(found, name), getattr(plain, name)), name
    assert torch.equal(found.objectives, plain.objective[None])
    assert torch.equal(found.weights, torch.ones(1, 3, dtype=torch.float64))


# diffusers converts a tensor in a way that NumPy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm-solver++"])
def test_sampling_with_one_identity_view_is_plain_sampling_bit_for_bit(sampler):
    generator = make_generator()
    settings = SamplingSettings(n_steps=5, sampler=sampler)
    # It stops early, averages noisy copies, and does not act on the first step.
    plain = guide(stop=0.6, copies=2, shift_px=2, noise_sd=0.1)
    anagram = join("identity", guidances=[plain], settings=settings)
    expected = sample_images(generator, [3, 4], settings=settings, guidance=plain)
    found = sample_images(generator, [3, 4], settings=settings, guidance=anagram)
    assert torch.equal(found.samples, expected.samples)
    assert np.array_equal(found.objective, expected.objective, equal_nan=True)
    assert np.isnan(found.objective).any(0).tolist() == [True, False, False, True, True]


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("side", [1, 2])
def test_one_view_is_the_plain_guidance_of_the_viewed_sample(name, side):
    generator, view = make_generator(side), make_view(name, SIDE)
    x, step, level = begin(generator)
    seen = F.pixel_unshuffle(view.apply(F.pixel_shuffle(x, side)), side)
    plain = guide().step(generator, seen, step, level)
    found = join(name).step(generator, x, step, level)
    back = F.pixel_unshuffle(view.invert(F.pixel_shuffle(plain.eps, side)), side)
    assert torch.equal(found.eps, back)
    assert torch.allclose(found.clean, level.clean(x, back), atol=1e-5)
    assert torch.equal(found.objective, plain.objective)


# ---------------------------------------------------------------- several views


def test_the_mean_of_two_views_is_rectified_noise():
    generator = make_generator()
    x, step, level = begin(generator)
    names = ("identity", "rotate-180")
    noises = [join(n, guidances=[guide(i)]).step(generator, x, step, level).eps.double()
              for i, n in enumerate(names)]  # fmt: skip
    lengths = [v.flatten(1).norm(dim=1) for v in noises]
    rho = (noises[0] * noises[1]).flatten(1).sum(1) / (lengths[0] * lengths[1])
    factor = 1 / (0.3**2 + 0.7**2 + 2 * 0.3 * 0.7 * rho).sqrt()
    expected = factor[:, None, None, None] * (0.3 * noises[0] + 0.7 * noises[1])
    found = join(*names, weights=[3, 7]).step(generator, x, step, level)
    assert (factor > 1).all()
    assert torch.allclose(found.eps.double(), expected, atol=1e-6)
    assert torch.allclose(found.clean, level.clean(x, found.eps), atol=1e-5)
    plain = join(*names, weights=[3, 7], rectify=False).step(generator, x, step, level)
    assert torch.allclose(
        plain.eps.double(), 0.3 * noises[0] + 0.7 * noises[1], atol=1e-6
    )


def test_measures_are_means_over_views_and_kept_for_each():
    generator = make_generator()
    x, step, level = begin(generator)
    found = join("identity", "negate").step(generator, x, step, level)
    alone = [
        join(name, guidances=[guide(i)]).step(generator, x, step, level)
        for i, name in enumerate(("identity", "negate"))
    ]
    for i in range(2):
        assert torch.equal(found.objectives[i], alone[i].objective)
    for name in ("objective", "norm", "saturated"):
        mean = (getattr(alone[0], name) + getattr(alone[1], name)) / 2
        assert torch.allclose(getattr(found, name), mean)


def test_views_take_turns_when_they_alternate():
    generator = make_generator()
    guidance = join("identity", "vertical-flip", rule="alternate")
    for index in range(4):
        x, step, level = begin(generator, index=index)
        found = guidance.step(generator, x, step, level)
        unit = index % 2
        name = ("identity", "vertical-flip")[unit]
        alone = join(name, guidances=[guide(unit)]).step(generator, x, step, level)
        assert torch.equal(found.eps, alone.eps)
        expected = torch.eye(2, dtype=torch.float64)[unit]
        assert torch.equal(found.weights[:, 0], expected)
        assert torch.isnan(found.objectives[1 - unit]).all()


@pytest.mark.parametrize("family", ["frequency", "three-bands", "colour", "scale"])
def test_parts_under_one_guidance_sum_to_the_plain_guidance(family):
    generator, parts = make_generator(), make_parts(family, SIDE)
    x, step, level = begin(generator)
    found = AnagramGuidance(parts, [guide()] * len(parts), SETTINGS, "sum")
    found = found.step(generator, x, step, level)
    plain = guide().step(generator, x, step, level)
    assert torch.allclose(found.eps, plain.eps, atol=1e-5)
    assert torch.allclose(found.clean, plain.clean, atol=1e-4)


def test_each_part_is_moved_by_its_own_guidance():
    generator, parts = make_generator(), make_parts("frequency", SIDE)
    x, step, level = begin(generator)
    pair = [guide(0), guide(1)]
    found = AnagramGuidance(parts, pair, SETTINGS, "sum").step(
        generator, x, step, level
    )
    expected = sum(
        part.map_noise_back(F.pixel_shuffle(g.step(generator, x, step, level).eps, 2))
        for part, g in zip(parts, pair, strict=True)
    )
    assert torch.allclose(F.pixel_shuffle(found.eps, 2), expected, atol=1e-6)


def test_a_view_without_guidance_is_still_denoised():
    generator = make_generator()
    x, step, level = begin(generator)
    idle = guide(scale=0.0)
    found = join("identity", "rotate-cw", guidances=[guide(), idle])
    found = found.step(generator, x, step, level)
    alone = join("rotate-cw", guidances=[idle]).step(generator, x, step, level)
    assert torch.isnan(found.objectives[1]).all()
    assert torch.equal(found.objective, found.objectives[0])
    assert torch.isnan(alone.objective).all()
    assert torch.isnan(alone.norm).all()
    view = make_view("rotate-cw", SIDE)
    seen = F.pixel_unshuffle(view.apply(F.pixel_shuffle(x, 2)), 2)
    eps, _ = level.read(generator.denoise(seen, step), seen, generator.prediction)
    expected = F.pixel_unshuffle(view.invert(F.pixel_shuffle(eps, 2)), 2)
    assert torch.equal(alone.eps, expected)
    assert found.weights[:, 0].tolist() == [0.5, 0.5]


def test_clean_samples_survive_a_step_without_signal():
    generator = make_generator()
    x, step, level = begin(generator, index=0)
    assert level.signal < 1e-4
    guidance = join("identity", "rotate-cw")
    found = guidance.step(generator, x, step, level)
    cleans = []
    for name in ("identity", "rotate-cw"):
        view = make_view(name, SIDE)
        seen = F.pixel_unshuffle(view.apply(F.pixel_shuffle(x, 2)), 2)
        _, clean = level.read(generator.denoise(seen, step), seen, "v_prediction")
        cleans.append(view.invert(F.pixel_shuffle(clean, 2)))
    expected = F.pixel_unshuffle((cleans[0] + cleans[1]) / 2, 2)
    assert torch.allclose(found.clean, expected, atol=0.01)


def test_failed_gradients_of_any_view_are_told():
    generator = make_generator()
    x, step, level = begin(generator)

    def blind(images):
        return look_at(images) * torch.tensor([torch.nan, 1.0, 1.0])[:, None]

    pair = [guide(), replace(guide(), encoder=blind)]
    found = join("identity", "negate", guidances=pair).step(generator, x, step, level)
    assert found.failed.tolist() == [True, False, False]
    assert torch.isfinite(found.eps).all()


# ---------------------------------------------------------------- balancing


@pytest.mark.parametrize("index", [1, 4])
def test_balanced_weights_follow_objectives_and_steps(index):
    generator = make_generator()
    x, step, level = begin(generator, index=index)
    baselines = [(0.5, 0.1), (0.4, 0.05)]
    guidance = join(
        "identity", "negate", weights=[1, 2], balance=True, baselines=baselines
    )
    found = guidance.step(generator, x, step, level)
    alignments = to_alignments(found.objectives, baselines)
    wanted = torch.tensor([[1.0], [2.0]]) * balance_weights(alignments, 30 * index / 5)
    assert torch.allclose(found.weights, wanted / wanted.sum(0))
    assert (found.weights[0] != 1 / 3).all()


def test_views_without_objectives_keep_their_fixed_weights():
    generator = make_generator()
    x, step, level = begin(generator)
    pair = [guide(), guide(1, scale=0.0)]
    guidance = join("identity", "negate", guidances=pair, weights=[1, 3], balance=True)
    found = guidance.step(generator, x, step, level)
    assert found.weights[:, 0].tolist() == [0.25, 0.75]


# ---------------------------------------------------------------- sampling


def test_a_batch_of_four_is_four_single_images():
    generator = make_generator()
    guidance = join("identity", "rotate-180", balance=True)
    whole = sample_images(generator, range(4), settings=SETTINGS, guidance=guidance)
    for seed in range(4):
        alone = sample_images(generator, [seed], settings=SETTINGS, guidance=guidance)
        assert torch.allclose(alone.samples[0], whole.samples[seed], atol=1e-4)
        assert np.allclose(
            alone.objective, whole.objective[seed], atol=1e-4, equal_nan=True
        )


def test_a_real_network_draws_one_picture_for_two_views():
    from diffusers import UNet2DModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet2DModel(
            sample_size=SIDE // 2,
            in_channels=12,
            out_channels=12,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
        )
    generator = replace(make_generator(), denoiser=network.eval().requires_grad_(False))
    settings = replace(SETTINGS, self_attention=0.75)
    view = make_view("rotate-180", SIDE)
    # Both want the upper half of what they see to be light, so that the whole becomes.
    anagram = join("identity", "rotate-180", guidances=[guide()] * 2, settings=settings)
    found = sample_images(generator, [0, 1], settings=settings, guidance=anagram)
    plain = sample_images(generator, [0, 1], settings=settings)
    for images in (found.images, plain.images):
        assert images.shape == (2, SIDE, SIDE, 3)

    def light(sampled, seen):
        images = torch.from_numpy(sampled.images).movedim(3, 1) / 255
        return look_at(seen(images))[:, 0]

    for seen in (lambda images: images, view.apply_to_images):
        assert (light(found, seen) > light(plain, seen) + 0.02).all()


def test_guidance_of_two_views_raises_both_objectives():
    generator = make_generator()
    # Upper half light as it is, and upper half dark upside down: the lower half dark.
    pair = [guide(0), guide(0, scale=-2000.0)]
    guidance = join("identity", "vertical-flip", guidances=pair)
    found = sample_images(generator, [0, 1], settings=SETTINGS, guidance=guidance)
    plain = sample_images(generator, [0, 1], settings=SETTINGS)
    halves = [s.images.reshape(2, 2, -1).mean(2) for s in (found, plain)]
    assert (halves[0][:, 0] > halves[1][:, 0] + 5).all()
    assert (halves[0][:, 1] < halves[1][:, 1] - 5).all()


def test_self_attention_guidance_acts_on_what_each_view_sees():
    from diffusers import UNet2DModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet2DModel(
            sample_size=SIDE // 2,
            in_channels=12,
            out_channels=12,
            layers_per_block=1,
            block_out_channels=(8,),
            norm_num_groups=4,
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            attention_head_dim=8,
        )
    generator = replace(make_generator(), denoiser=network.eval().requires_grad_(False))
    settings = replace(SETTINGS, self_attention=0.75)
    x, step, level = begin(generator)
    view = make_view("rotate-cw", SIDE)
    seen = F.pixel_unshuffle(view.apply(F.pixel_shuffle(x, 2)), 2)
    base = self_attention_step(generator, seen, step, level, scale=0.75)
    expected = F.pixel_unshuffle(view.invert(F.pixel_shuffle(base, 2)), 2)
    own = self_attention_step(generator, x, step, level, scale=0.75)
    idle = join("rotate-cw", guidances=[guide(scale=0.0)], settings=settings)
    found = idle.step(generator, x, step, level, base_eps=own)
    assert torch.equal(found.eps, expected)
    moved = join("rotate-cw", settings=settings)
    moved = moved.step(generator, x, step, level, base_eps=own)
    plain = guide().step(generator, seen, step, level, base_eps=base).eps
    back = F.pixel_unshuffle(view.invert(F.pixel_shuffle(plain, 2)), 2)
    assert torch.equal(moved.eps, back)


# ---------------------------------------------------------------- faults


@dataclass(frozen=True)
class Wrong:
    """A view that a picture does not survive."""

    name: str
    there: object
    back: object
    size_px: int = SIDE

    def apply(self, x):
        return self.there(x)

    def map_noise_back(self, output):
        return self.back(output)

    def apply_to_images(self, images):
        return self.there(images)


def turn(x, degrees):
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    theta = torch.tensor([[[c, -s, 0], [s, c, 0]]], dtype=x.dtype).expand(len(x), 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


@pytest.mark.parametrize(
    "view",
    [
        Wrong("white-balance", lambda x: 1.5 * x, lambda x: x / 1.5),
        Wrong("blur", lambda x: F.avg_pool2d(x, 3, 1, 1), lambda x: x),
        Wrong("turn", lambda x: turn(x, 30), lambda x: turn(x, -30)),
        Wrong("shift", lambda x: x.roll(1, 3), lambda x: x),
    ],
    ids=lambda view: view.name,
)
def test_views_that_are_not_orthogonal_are_refused(view):
    with pytest.raises(ValueError, match=f"The view '{view.name}' is not orthogonal"):
        AnagramGuidance([view], [guide()])


def test_parts_need_to_be_whole_and_the_rule_sum():
    parts = make_parts("three-bands", SIDE)
    with pytest.raises(ValueError, match="Parts need the rule 'sum'"):
        check_views(parts)
    with pytest.raises(ValueError, match=r"\['low', 'middle'\] do not"):
        check_views(parts[:2], parts=True)
    with pytest.raises(ValueError, match="Parts must sum to the whole"):
        check_views([make_view("identity", SIDE)] * 2, parts=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rule": "median"}, "`rule` must be one of 'mean'"),
        ({"guidances": [guide()]}, "one per view, at least one; got 1 for 2"),
        ({"weights": [1]}, r"one per view \(2\)"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": [1, -1]}, "`weights` must be within"),
        ({"rule": "alternate", "weights": [1, 1]}, "for the rule 'mean'"),
        ({"rule": "alternate", "balance": True}, "for the rule 'mean'"),
        ({"baselines": [(0, 1)]}, r"per view \(2\); got 1"),
    ],
)
def test_options_that_cannot_be_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        join("identity", "negate", **more)


def test_no_views_and_views_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="got 0 for 0 views"):
        AnagramGuidance([], [])
    pair = [make_view("identity", 32), make_view("identity", 64)]
    with pytest.raises(ValueError, match=r"are of \[32, 64\] px"):
        AnagramGuidance(pair, [guide()] * 2)


def test_generators_of_latents_are_refused():
    generator = replace(make_generator(), decoder=SketchDecoder())
    x, step, level = begin(generator)
    with pytest.raises(ValueError, match="'tiny' denoises latents of a SketchDecoder"):
        join("identity").step(generator, x, step, level)


@pytest.mark.parametrize(
    ("decoder", "side"),
    [(None, 1), (PixelShuffleDecoder(), 2), (nn.PixelShuffle(4), 4)],
)
def test_decoders_that_only_sort_pixels_are_known(decoder, side):
    generator = replace(make_generator(), decoder=decoder)
    assert pixels_per_place(generator) == side
    latents = torch.arange(3 * side**2 * 4).reshape(1, -1, 2, 2).float()
    shown = latents if decoder is None else decoder(latents)
    assert torch.equal(F.pixel_unshuffle(shown, side), latents)


def test_views_of_another_size_are_refused():
    generator = make_generator()
    x, step, level = begin(generator)
    guidance = AnagramGuidance([make_view("identity", 64)], [guide()], SETTINGS)
    with pytest.raises(ValueError, match=r"shape \(n, C, 64, 64\); got \(3, 3, 32, 32"):
        guidance.step(generator, x, step, level)


def test_settings_other_than_those_of_the_sampling_are_refused():
    generator = make_generator()
    x, _, level = begin(generator)
    with pytest.raises(ValueError, match="`step` 998 is none of the 5 of `settings`"):
        join("identity").step(generator, x, 998, level)
    x, step, level = begin(generator)
    with pytest.raises(ValueError, match="`settings` have no self-attention"):
        join("identity").step(generator, x, step, level, base_eps=x)
