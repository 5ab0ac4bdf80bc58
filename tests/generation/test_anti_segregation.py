"""Moving samples until views overlap: the maps, the step, and what sampling does."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neurovis.adapters.braindive import BrainGuidance
from neurovis.generation.anagrams import AnagramGuidance
from neurovis.generation.anti_segregation import (
    anti_segregation_step,
    map_objective,
)
from neurovis.generation.image_generator import ImageGenerator
from neurovis.generation.noise_combination import segregation_loss
from neurovis.generation.noise_levels import NoiseLevel
from neurovis.generation.noise_parts import make_parts
from neurovis.generation.sampling import (
    Adjusted,
    AdjustingGuidance,
    SamplingSettings,
    sample_images,
)
from neurovis.generation.sketch_networks import PixelShuffleDecoder
from neurovis.generation.views import VIEWS, make_view
from tests.generation.toy_generators import NOISE, gaussian_generator

# diffusers turns tensors into arrays in the manner of numpy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

SIDE = 32
SETTINGS = SamplingSettings(6, "ddim")
LEVEL = NoiseLevel(0.5)


class Denoiser(nn.Module):
    """Two smooth convolutions that know the step."""

    def __init__(self, channels):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(channels, 8, 3, padding=1)
            self.last = nn.Conv2d(8, channels, 3, padding=1)
        self.requires_grad_(False)

    def forward(self, x, step):
        inner = torch.tanh(self.first(x) + torch.as_tensor(step) / 1000)
        return SimpleNamespace(sample=0.3 * self.last(inner))


class Encoder(nn.Module):
    """Two units of a smooth network, with second derivatives."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first = nn.Conv2d(3, 6, 5, padding=2)
            self.last = nn.Linear(6 * (SIDE // 4) ** 2, 2)
        self.requires_grad_(False)

    def forward(self, images):
        inner = F.gelu(self.first(4 * images - 2))
        return self.last(F.avg_pool2d(inner**2, 4).flatten(1))


class Attention(Encoder):
    """The same, and attention over places in between."""

    def forward(self, images):
        tokens = F.avg_pool2d(self.first(4 * images - 2), 4).flatten(2).mT
        mixed = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.last(mixed.mT.flatten(1))


def make_generator(side=2, prediction="v_prediction"):
    """Return a generator of 32 x 32 pixels, of which side x side lie at one place."""
    channels, places = 3 * side**2, SIDE // side
    return ImageGenerator(
        "tiny",
        Denoiser(channels),
        None if side == 1 else PixelShuffleDecoder(),
        (channels, places, places),
        {**NOISE, "prediction_type": prediction},
        clean_limit=1.0,
    )


def guide(unit=0, encoder=None, **more):
    encoder = Encoder() if encoder is None else encoder
    return BrainGuidance(encoder, torch.eye(2)[unit], **{"scale": 3.0, **more})


def join(*names, guidances=None, settings=SETTINGS, **more):
    views = [make_view(name, SIDE) for name in names]
    if guidances is None:
        guidances = [guide(i % 2) for i in range(len(views))]
    return AnagramGuidance(views, guidances, settings, **more)


def draw(generator, n=3, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, *generator.shape, generator=stream)


def light(images, streams=()):
    """Drive the light of the upper left quarter: the gradient is known."""
    corner = images[..., : SIDE // 2, : SIDE // 2]
    return (corner**2).sum((1, 2, 3))


VIEW_PAIR = [make_view("identity", SIDE), make_view("rotate-180", SIDE)]
PAIR = [guide(0).objective, guide(1).objective]


def loss_of(generator, x, views=None, objectives=None, side=2):
    views = VIEW_PAIR if views is None else views
    objectives = PAIR if objectives is None else objectives
    maps = [
        map_objective(generator, x, 500, LEVEL, view, objective, side_px=side)
        for view, objective in zip(views, objectives, strict=True)
    ]
    return segregation_loss(torch.stack(maps)).detach().double()


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("name", VIEWS)
def test_maps_lie_where_the_view_takes_its_pixels_from(name, side):
    generator, view = make_generator(side), make_view(name, SIDE)
    x = draw(generator)
    found = map_objective(generator, x, 500, LEVEL, view, light, side_px=side)
    assert found.shape == (3, SIDE, SIDE)
    assert torch.allclose(found.sum((1, 2)), torch.ones(3))
    # By hand, pixel by pixel: the gradient of the light is twice the level.
    seen = F.pixel_unshuffle(view.apply(F.pixel_shuffle(x, side)), side)
    _, clean = LEVEL.read(generator.denoise(seen, 500), seen, "v_prediction")
    picture = generator.decode(clean).clamp(0, 1)
    slopes = 2 * picture.sum(1).numpy()
    slopes[:, SIDE // 2 :] = 0
    slopes[:, :, SIDE // 2 :] = 0
    expected = np.zeros((3, SIDE * SIDE), np.float32)
    expected[:, view.order.numpy().ravel()] = slopes.reshape(3, -1)
    expected /= expected.sum(1, keepdims=True)
    assert np.allclose(found.detach().reshape(3, -1).numpy(), expected, atol=1e-6)


def test_maps_are_those_of_the_next_step():
    generator, view = make_generator(), make_view("identity", SIDE)
    x = draw(generator)
    late = map_objective(generator, x, 100, LEVEL, view, light, side_px=2)
    early = map_objective(generator, x, 900, LEVEL, view, light, side_px=2)
    assert not torch.allclose(late, early, atol=1e-6)


def test_an_objective_that_ignores_the_picture_has_no_map():
    generator, view = make_generator(), make_view("identity", SIDE)
    x = draw(generator)

    def flat(images, streams=()):
        return 0 * images.sum((1, 2, 3))

    found = map_objective(generator, x, 500, LEVEL, view, flat, side_px=2)
    assert torch.isnan(found).all()


# ---------------------------------------------------------------- one step


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("names", [("identity", "rotate-180"), ("negate", "skew")])
def test_a_step_lowers_the_loss_of_every_sample(names, side, prediction):
    generator = make_generator(side, prediction)
    views = [make_view(name, SIDE) for name in names]
    x = draw(generator)
    found = anti_segregation_step(
        generator, x, 500, LEVEL, views, PAIR, rate=5.0, side_px=side
    )
    assert not found.failed.any()
    before = loss_of(generator, x, views, side=side)
    assert torch.allclose(found.loss, before)
    after = loss_of(generator, found.x, views, side=side)
    assert (after < before - 1e-5).all()


def test_the_gradient_is_that_of_finite_differences():
    generator = make_generator()
    x = draw(generator, n=2)
    moved = anti_segregation_step(
        generator, x, 500, LEVEL, VIEW_PAIR, PAIR, rate=1.0, side_px=2
    ).x
    slope = x - moved
    along = slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
    width = 0.05
    ends = [loss_of(generator, x + sign * width * along) for sign in (1, -1)]
    measured = (ends[0] - ends[1]) / (2 * width)
    expected = slope.flatten(1).norm(dim=1).double()
    assert torch.allclose(measured, expected, rtol=0.05)


def test_the_rate_is_the_factor_of_the_gradient():
    generator = make_generator()
    x = draw(generator)
    one, three, none = (
        anti_segregation_step(
            generator, x, 500, LEVEL, VIEW_PAIR, PAIR, rate=rate, side_px=2
        ).x
        for rate in (1.0, 3.0, 0.0)
    )
    assert torch.allclose(three - x, 3 * (one - x), atol=1e-6)
    assert (one != x).any()
    assert torch.equal(none, x)


def test_equal_objectives_overlap_fully_and_are_drawn_apart_to_the_target():
    generator = make_generator()
    x = draw(generator)
    same = [PAIR[0], PAIR[0]]
    views = [VIEW_PAIR[0]] * 2
    found = anti_segregation_step(
        generator, x, 500, LEVEL, views, same, rate=5.0, side_px=2
    )
    # |.5 - .05 - .5|: the paper wants a little less than full overlap of two views.
    assert torch.allclose(found.loss, torch.full((3,), 0.05, dtype=torch.float64))


@pytest.mark.parametrize("freeze", [True, False])
def test_linear_objectives_leave_samples_as_they_are(freeze):
    generator = make_generator()
    x = draw(generator)
    weights = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    weights.requires_grad_(not freeze)
    pair = [lambda images, streams, w=w: (w * images).sum((1, 2, 3)) for w in weights]
    found = anti_segregation_step(
        generator, x, 500, LEVEL, VIEW_PAIR, pair, rate=5.0, side_px=2
    )
    assert torch.equal(found.x, x)
    assert torch.isfinite(found.loss).all()
    assert not found.failed.any()


def test_networks_of_relu_alone_have_nothing_to_follow_and_norms_do():
    generator = make_generator()
    x = draw(generator)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        first, last = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)
    norm = nn.GroupNorm(4, 8)

    def moved(layer):
        def look(images):
            return last(F.relu(layer(first(images))).mean((2, 3)))

        pair = [guide(i, look).objective for i in range(2)]
        return anti_segregation_step(
            generator, x, 500, LEVEL, VIEW_PAIR, pair, rate=5.0, side_px=2
        ).x

    assert torch.equal(moved(nn.Identity()), x)
    assert ((moved(norm) - x).flatten(1).norm(dim=1) > 1e-4).all()


def test_attention_is_differentiated_twice():
    generator = make_generator()
    x = draw(generator)
    pair = [guide(i, Attention()).objective for i in range(2)]
    found = anti_segregation_step(
        generator, x, 500, LEVEL, VIEW_PAIR, pair, rate=5.0, side_px=2
    )
    before, after = (loss_of(generator, at, objectives=pair) for at in (x, found.x))
    assert (after < before).all()


def test_gradients_that_are_not_finite_are_told_and_not_followed():
    generator = make_generator()
    x = draw(generator)

    def blind(images, streams=()):
        factor = torch.tensor([1.0, torch.nan, torch.inf])
        return factor * PAIR[1](images)

    found = anti_segregation_step(
        generator, x, 500, LEVEL, VIEW_PAIR, [PAIR[0], blind], rate=5.0, side_px=2
    )
    plain = anti_segregation_step(
        generator, x, 500, LEVEL, VIEW_PAIR, PAIR, rate=5.0, side_px=2
    )
    assert found.failed.tolist() == [False, True, True]
    assert torch.equal(found.x[1:], x[1:])
    assert torch.allclose(found.x[0], plain.x[0], atol=1e-6)


def test_samples_without_a_map_are_told_and_left():
    generator = make_generator()
    x = draw(generator)

    def first_only(images, streams=()):
        return torch.tensor([1.0, 0.0, 1.0]) * PAIR[1](images)

    found = anti_segregation_step(
        generator, x, 500, LEVEL, VIEW_PAIR, [PAIR[0], first_only], rate=5.0, side_px=2
    )
    assert found.failed.tolist() == [False, True, False]
    assert torch.equal(found.x[1], x[1])
    assert torch.isfinite(found.x).all()


@pytest.mark.parametrize("rate", [-1, math.nan, math.inf])
def test_rates_that_cannot_be_are_refused(rate):
    generator = make_generator()
    with pytest.raises(ValueError, match="`rate` must be"):
        anti_segregation_step(
            generator, draw(generator), 500, LEVEL, VIEW_PAIR, PAIR, rate=rate
        )
    with pytest.raises(ValueError, match="`segregation_rate` must be"):
        join("identity", "negate", segregation_rate=rate)


def test_one_view_and_objectives_for_others_are_refused():
    generator = make_generator()
    x = draw(generator)
    for views, pair in ((VIEW_PAIR[:1], PAIR[:1]), (VIEW_PAIR, PAIR[:1])):
        with pytest.raises(ValueError, match="one per view, at least two; got 1 for"):
            anti_segregation_step(generator, x, 500, LEVEL, views, pair, rate=1.0)


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm-solver++"])
def test_a_rate_of_zero_changes_no_bit(sampler):
    generator, settings = make_generator(), SamplingSettings(6, sampler)
    still = join("identity", "rotate-180", settings=settings, segregation_rate=0.0)

    @dataclass(frozen=True)
    class Older:
        """The same guidance without a way to move samples."""

        scale: float = 1.0
        parameters: object = None
        acts = staticmethod(still.acts)
        step = staticmethod(still.step)

    assert isinstance(still, AdjustingGuidance)
    assert not isinstance(Older(), AdjustingGuidance)
    found, older = (
        sample_images(generator, [1, 2], settings=settings, guidance=guidance)
        for guidance in (still, Older())
    )
    assert torch.equal(found.samples, older.samples)
    assert np.array_equal(found.objective, older.objective, equal_nan=True)
    moved = join("identity", "rotate-180", settings=settings, segregation_rate=5.0)
    other = sample_images(generator, [1, 2], settings=settings, guidance=moved)
    assert (other.samples != found.samples).any()


def test_a_batch_of_four_is_four_single_images():
    generator = make_generator()
    pair = [guide(i, copies=2, shift_px=1, noise_sd=0.05) for i in range(2)]
    guidance = join("identity", "rotate-180", guidances=pair, segregation_rate=5.0)
    whole = sample_images(generator, range(4), settings=SETTINGS, guidance=guidance)
    for seed in range(4):
        alone = sample_images(generator, [seed], settings=SETTINGS, guidance=guidance)
        assert torch.allclose(alone.samples[0], whole.samples[seed], atol=1e-4)


def test_the_higher_the_rate_the_more_views_overlap_in_the_end():
    generator, losses = make_generator(), []
    for rate in (0.0, 5.0, 20.0, 100.0):
        guidance = join("identity", "rotate-180", segregation_rate=rate)
        found = sample_images(generator, range(6), settings=SETTINGS, guidance=guidance)
        maps = []
        for view, objective in zip(VIEW_PAIR, PAIR, strict=True):
            images = generator.decode(found.samples).clamp(0, 1)
            seen = view.apply_to_images(images).requires_grad_(True)
            (slope,) = torch.autograd.grad(objective(seen).sum(), seen)
            places = view.invert(slope.abs().sum(1, keepdim=True))[:, 0]
            maps.append(places / places.sum((1, 2), keepdim=True))
        losses.append(float(segregation_loss(torch.stack(maps)).mean()))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.75 * losses[0]


@dataclass
class Noted:
    """Moves samples by a constant, and keeps what it was given."""

    by: float = 0.0
    failed: tuple = (False, False)
    scale: float = 0.0
    parameters: object = None

    def __post_init__(self):
        self.calls = []

    def acts(self, share, level):
        return False

    def step(self, *args, **options):
        raise AssertionError("it never acts")

    def adjust(self, generator, x, step, level, *, share, streams=()):
        self.calls.append((x.clone(), int(step), level, share, len(streams)))
        failed = torch.tensor(self.failed)
        return Adjusted(x + self.by, torch.zeros(len(x)), failed)


def test_samples_are_moved_after_the_step_at_the_level_of_the_next():
    generator = gaussian_generator(0.2, 0.5)
    noted = Noted(0.01)
    found = sample_images(generator, [3, 4], settings=SETTINGS, guidance=noted)
    seen = generator.denoiser.seen
    steps = [step for step, _ in seen]
    assert [step for _, step, *_ in noted.calls] == steps[1:]
    shares = [share for *_, share, _ in noted.calls]
    assert shares == [k / 6 for k in range(1, 6)]
    assert [n for *_, n in noted.calls] == [2] * 5
    for (given, step, level, *_), (_, entered) in zip(
        noted.calls, seen[1:], strict=True
    ):
        assert torch.equal(entered, given + 0.01)
        alpha = float(generator.denoiser.alphas[step])
        assert level.alpha_bar == pytest.approx(alpha, rel=1e-5)
    # The last step is followed by nothing: its clean sample is the picture.
    assert torch.isfinite(found.samples).all()


def test_failed_moves_are_counted_among_all_gradients():
    generator = gaussian_generator(0.2, 0.5)
    with pytest.raises(FloatingPointError, match="5 of 10 gradients"):
        sample_images(
            generator, [3, 4], settings=SETTINGS, guidance=Noted(failed=(True, False))
        )


def test_few_failed_moves_are_counted_and_not_made():
    generator, calls = make_generator(), []

    class Once(Encoder):
        def forward(self, images):
            calls.append(len(images))
            factor = torch.ones(len(images), 1)
            # The first step has no signal and is not guided: this look is for a map.
            factor[2] = torch.nan if len(calls) == 2 else 1
            return factor * super().forward(images)

    encoder = Once()
    guidance = join(
        "identity", "negate", segregation_rate=5.0,
        guidances=[guide(0, encoder), guide(1, encoder)],
    )  # fmt: skip
    found = sample_images(generator, range(4), settings=SETTINGS, guidance=guidance)
    assert found.n_failed.tolist() == [0, 0, 1, 0]
    assert np.isfinite(found.objective[:, 1:]).all()
    assert torch.isfinite(found.samples).all()


@pytest.mark.parametrize(
    ("n_steps", "expected"), [(30, 26), (15, 13), (25, 21), (6, 5), (1, 0)]
)
def test_the_first_26_of_30_steps_are_followed_by_a_move(n_steps, expected):
    guidance = join("identity", "negate", segregation_rate=5.0)
    generator = make_generator()
    x = draw(generator, 1)
    moved = [
        guidance.adjust(generator, x, 500, LEVEL, share=k / n_steps) is not None
        for k in range(1, n_steps)
    ]
    assert sum(moved) == expected
    assert moved == sorted(moved, reverse=True)


def test_views_whose_guidance_rests_are_not_regarded():
    generator = make_generator()
    x = draw(generator)
    late = [guide(0), guide(1, start=0.5)]
    two = join("identity", "rotate-180", guidances=late, segregation_rate=5.0)
    assert two.adjust(generator, x, 500, LEVEL, share=0.4) is None
    found = two.adjust(generator, x, 500, LEVEL, share=0.6)
    expected = anti_segregation_step(
        generator, x, 500, LEVEL, VIEW_PAIR, PAIR, rate=5.0, side_px=2
    )
    assert torch.equal(found.x, expected.x)
    three = join(
        "identity", "negate", "rotate-180",
        guidances=[late[0], guide(0, scale=0.0), late[1]], segregation_rate=5.0,
    )  # fmt: skip
    found = three.adjust(generator, x, 500, LEVEL, share=0.6)
    assert torch.equal(found.x, expected.x)
    faint = NoiseLevel(1e-4)
    assert two.adjust(generator, x, 999, faint, share=0.6) is None


def test_the_rate_is_part_of_what_images_depend_on():
    told = [
        join("identity", "negate", **more).parameters
        for more in (
            {},
            {"segregation_rate": 5},
            {"segregation_rate": 5, "segregation_share": 0.5},
        )
    ]
    assert [t["segregation_rate"] for t in told] == [0.0, 5.0, 5.0]
    assert told[2]["segregation_share"] == 0.5
    assert told[0] != told[1] != told[2]


# ---------------------------------------------------------------- faults


def test_what_has_no_objective_cannot_be_kept_from_segregation():
    other = SimpleNamespace(scale=1, parameters={}, acts=None, step=None)
    with pytest.raises(TypeError, match=r"a method `objective`.*SimpleNamespace"):
        join("identity", "negate", guidances=[guide(), other], segregation_rate=1.0)
    assert join("identity", "negate", guidances=[guide(), other]).views


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match="`segregation_share` must be"):
        join("identity", "negate", segregation_share=share)


def test_one_view_and_parts_of_noise_cannot_be_kept_from_segregation():
    with pytest.raises(ValueError, match=r"1 view\(s\) and the rule 'mean'"):
        join("identity", segregation_rate=1.0)
    with pytest.raises(ValueError, match=r"2 view\(s\) and the rule 'sum'"):
        AnagramGuidance(
            make_parts("frequency", SIDE), [guide()] * 2, SETTINGS, "sum",
            segregation_rate=1.0,
        )  # fmt: skip
