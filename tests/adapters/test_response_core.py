"""Cores learnt from responses: rotations, torch's own layers, simulated units."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from neurovis.adapters.response_core import (
    CoreConfig,
    ResponseCore,
    halve,
    published_core,
    small_core,
    to_input,
)
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.train import train


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=shape)).float()


def unsettle(core, seed=0):
    """Give biases and the statistics of norms values as after training."""
    draws = torch.Generator().manual_seed(seed)
    state = core.state_dict()
    for name, value in state.items():
        drawn = torch.rand(value.shape, generator=draws)
        if name.endswith(("bias", "running_mean")):
            state[name] = drawn - 0.5
        elif "norms" in name and value.is_floating_point():
            state[name] = drawn + 0.5
    core.load_state_dict(state)
    return core


def by_field(maps, n):
    return maps.unflatten(1, (-1, n))


def quarter(maps):
    return torch.rot90(maps, 1, (-2, -1))


# ------------------------------------------------------------------- rotations

TURNING = {
    "8": CoreConfig((5, 3, 3), (3, 4, 3), 8, (0, 1)),
    "4": CoreConfig((3, 5), (4, 3), 4, (0,), nonlinearity="elu"),
    "12": CoreConfig((3, 3), (2, 2), 12, (1,), has_batch_norm=False),
    "pixels": CoreConfig((5, 3, 3), (3, 4, 3), 4, (0, 1), filters="pixels"),
    "elu, no norm": CoreConfig((5, 3), (3, 3), 8, (), False, "elu"),
}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("config", TURNING.values(), ids=TURNING)
def test_a_quarter_turn_turns_the_maps_and_moves_orientations_on(config, mode):
    core = unsettle(ResponseCore(config, seed=1)).train(mode == "train")
    pictures, n = draw(2, 3, 24, 24), config.n_orientations
    expected = quarter(by_field(core(pictures), n)).roll(n // 4, 2)
    turned = by_field(core(quarter(pictures)), n)
    atol = 1e-4 * expected.abs().max().item()
    torch.testing.assert_close(turned, expected, rtol=0, atol=atol)
    # Not because all orientations were the same.
    assert (turned - expected.roll(1, 2)).abs().max() > 0.1 * expected.abs().max()


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_pooled_orientations_only_turn(pooling):
    config = replace(TURNING["8"], orientation_pooling=pooling)
    core = unsettle(ResponseCore(config)).eval()
    pictures = draw(2, 3, 16, 16)
    maps = core(pictures)
    assert maps.shape == (2, *config.map_shape(16)) == (2, 3, 4, 4)
    torch.testing.assert_close(core(quarter(pictures)), quarter(maps))
    all_kept = unsettle(ResponseCore(TURNING["8"])).eval()(pictures)
    reduce = {"max": torch.amax, "mean": torch.mean}[pooling]
    torch.testing.assert_close(maps, reduce(by_field(all_kept, 8), 2))


def smooth_pictures(degrees, side=64, highest=0.1):
    """Sums of gratings, in cycles per pixel below `highest`, turned exactly."""
    rng = np.random.default_rng(1)
    steps = np.arange(side) - (side - 1) / 2
    x, y = np.meshgrid(steps, -steps)
    pictures = np.zeros((3, 3, side, side))
    for picture in pictures.reshape(-1, side, side):
        for _ in range(12):
            frequency = 2 * np.pi * highest * np.sqrt(rng.uniform(0.02, 1))
            angle = rng.uniform(0, 2 * np.pi) + np.radians(degrees)
            along = x * np.cos(angle) + y * np.sin(angle)
            picture += np.cos(frequency * along + rng.uniform(0, 2 * np.pi))
    return torch.from_numpy(pictures).float() / 6**0.5


def turned_by(maps, degrees):
    """Turn maps counter-clockwise by interpolation."""
    angle, side = math.radians(degrees), maps.shape[-1]
    steps = (torch.arange(side) - (side - 1) / 2) / (side / 2)
    y, x = torch.meshgrid(steps, steps, indexing="ij")  # y points down
    cos, sin = math.cos(angle), math.sin(angle)
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], -1)
    grid = grid.expand(len(maps), -1, -1, -1)
    return functional.grid_sample(maps, grid, mode="bicubic", align_corners=False)


def agreement(one, other):
    """Correlation over channels and the central disc, each channel less its mean."""
    side = one.shape[-1]
    steps = torch.arange(side) - (side - 1) / 2
    disc = steps[:, None] ** 2 + steps[None] ** 2 < (side / 4) ** 2
    one, other = (m[..., disc] - m[..., disc].mean((0, 2), True) for m in (one, other))
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


def test_interpolation_turns_smooth_pictures_as_they_were_drawn():
    for degrees in (30, 45, 90):
        turned = turned_by(smooth_pictures(0), degrees)
        assert agreement(turned, smooth_pictures(degrees)) > 0.999


@pytest.mark.parametrize(("n", "degrees"), [(8, 45), (12, 30)])
def test_other_rotations_are_kept_nearly_and_better_than_by_a_plain_core(n, degrees):
    config = CoreConfig((5, 3, 3), (6, 6, 6), n, (0,))
    n_parameters = sum(p.numel() for p in ResponseCore(config).parameters())
    plain_config = {8: (10, 10, 10), 12: (12, 12, 13)}[n]
    plain_config = CoreConfig((5, 3, 3), plain_config, 1, (0,), filters="pixels")
    n_plain = sum(p.numel() for p in ResponseCore(plain_config).parameters())
    assert n_plain == pytest.approx(n_parameters, rel=0.05)
    pictures, turned_pictures = smooth_pictures(0), smooth_pictures(degrees)
    for seed in range(3):
        with torch.no_grad():
            core, plain = (ResponseCore(c, seed=seed) for c in (config, plain_config))
            maps, seen = core(pictures), core(turned_pictures)
            kept = [
                agreement(by_field(turned_by(maps, degrees), n).roll(step, 2)
                          .flatten(1, 2), seen)
                for step in range(-1, 2)
            ]  # fmt: skip
            by_plain = agreement(
                turned_by(plain(pictures), degrees), plain(turned_pictures)
            )
        assert kept[2] > 0.95  # one orientation on, counter-clockwise
        assert max(kept[:2]) < 0.9
        assert by_plain < 0.8


# -------------------------------------------------------- against other layers


class Plain(nn.Module):
    """An ordinary network of torch's layers."""

    def __init__(self, config):
        super().__init__()
        self.config, layers, before = config, [], 3
        for size, after in zip(config.kernels, config.n_fields, strict=True):
            layers.append(nn.Conv2d(before, after, size, padding=size // 2, bias=False))
            layers.append(nn.BatchNorm2d(after))
            before = after
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in range(self.config.n_layers):
            x = torch.relu(self.layers[2 * layer + 1](self.layers[2 * layer](x)))
            if layer in self.config.halve_after:
                x = halve(x)
        return x


def test_with_one_orientation_it_is_an_ordinary_network_that_learns_alike():
    config = CoreConfig((5, 3, 3), (4, 6, 5), 1, (0, 2), filters="pixels")
    core, plain = unsettle(ResponseCore(config, seed=2)), Plain(config)
    with torch.no_grad():
        for layer, size in enumerate(config.kernels):
            weight = core.convolutions[layer].weight
            shape = (*weight.shape[:2], size, size)
            plain.layers[2 * layer].weight.copy_(weight.reshape(shape))
            state = core.norms[layer].state_dict()
            plain.layers[2 * layer + 1].load_state_dict(state)
    pictures = draw(4, 3, 16, 20)
    for mode in (False, True):
        core.train(mode), plain.train(mode)
        torch.testing.assert_close(core(pictures), plain(pictures))
    core(pictures).square().sum().backward()
    plain(pictures).square().sum().backward()
    for layer in range(3):
        mine = core.convolutions[layer].weight.grad.flatten()
        their = plain.layers[2 * layer].weight.grad.flatten()
        torch.testing.assert_close(mine, their, rtol=1e-3, atol=1e-3)
        ours, theirs = core.norms[layer], plain.layers[2 * layer + 1]
        torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_a_small_core_of_one_orientation_is_an_ordinary_network():
    core = ResponseCore(small_core(6, 1))
    n_weights = 6 * 3 * 25 + 3 * 6 * 6 * 9 + 4 * 2 * 6
    assert sum(p.numel() for p in core.parameters()) == n_weights
    assert small_core(6, 1).filters == "pixels"
    assert small_core(6, 4).filters == "steerable"


def test_halving_matches_a_loop_over_blocks():
    maps = draw(2, 3, 8, 6).numpy().astype(np.float64)
    expected = np.zeros((2, 3, 4, 3))
    for row in range(4):
        for column in range(3):
            total = 0.0
            for y in range(8):
                for x in range(6):
                    far = np.array([y - 2 * row - 0.5, x - 2 * column - 0.5])
                    if np.abs(far).max() < 2:
                        share = np.exp(-(far @ far) / (2 * 0.66**2))
                        expected[:, :, row, column] += share * maps[:, :, y, x]
                        total += share
            expected[:, :, row, column] /= total
    halved = halve(torch.from_numpy(maps)).numpy()
    np.testing.assert_allclose(halved, expected, rtol=0, atol=1e-12)


def test_orientations_of_a_field_share_the_statistics_of_batch_norm():
    core = ResponseCore(CoreConfig((3,), (2,), 8), seed=4)
    pictures = draw(5, 3, 12, 12)
    linear = by_field(core.convolutions[0](pictures), 8)
    mean, variance = linear.mean((0, 2, 3, 4)), linear.var((0, 2, 3, 4), correction=0)
    shape = (1, 2, 1, 1, 1)
    expected = (linear - mean.reshape(shape)) / (variance.reshape(shape) + 1e-5).sqrt()
    maps = by_field(core(pictures), 8)
    torch.testing.assert_close(maps, expected.relu(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(core.norms[0].running_mean, 0.1 * mean)


@pytest.mark.parametrize("nonlinearity", ["relu", "elu"])
@pytest.mark.parametrize("filters", ["steerable", "pixels"])
def test_maps_neither_vanish_nor_explode_at_the_start_without_norm(
    filters, nonlinearity
):
    config = CoreConfig(
        (3,) * 5, (48,) * 5, 4, (), False, nonlinearity, "none", filters
    )
    for seed in range(3):
        core, maps = ResponseCore(config, seed=seed), draw(2, 3, 32, 32)
        for convolution in core.convolutions:
            maps = convolution(maps)
            square = maps[..., 5:-5, 5:-5].square().mean().item()
            maps = getattr(functional, nonlinearity)(maps)
        assert 0.2 < square < 8


# -------------------------------------------------------- sizes, seeds, learning


def test_the_published_core_has_its_published_sizes():
    config = published_core()
    assert config.kernels == (5, 5, 3, 3, 3, 3, 3, 3)
    assert (config.n_layers, config.n_channels) == (8, 384)
    assert config.map_shape(224) == (384, 28, 28)
    core = ResponseCore(config)
    # 13 members for a kernel of 5 pixels, 4 for one of 3; two numbers per norm.
    filters = 48 * 3 * 13 + 48 * 48 * 8 * 13 + 6 * 48 * 48 * 8 * 4
    assert sum(p.numel() for p in core.parameters()) == filters + 8 * 2 * 48


@pytest.mark.parametrize("config", [*TURNING.values(), small_core(3, 8)])
def test_maps_have_the_promised_shape_and_every_parameter_a_gradient(config):
    core = ResponseCore(config)
    maps = core(draw(2, 3, 16, 16))
    assert maps.shape == (2, *config.map_shape(16))
    assert maps.dtype == torch.float32
    # Not the plain sum: batch norm makes that a constant.
    (maps * draw(*maps.shape, seed=1)).sum().backward()
    for name, parameter in core.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_initial_weights_and_maps_depend_on_the_seed_only():
    state = torch.get_rng_state()
    cores = [ResponseCore(small_core(2), seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (core(draw(2, 3, 16, 16)) for core in cores)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    # Layers of one size differ too.
    one, other = cores[0].convolutions[2:]
    assert not torch.allclose(one.weight, other.weight)


def test_pictures_of_a_batch_do_not_meet_in_evaluation():
    core = unsettle(ResponseCore(small_core(3))).eval()
    pictures = draw(4, 3, 16, 24)
    kept = pictures.clone()
    alone = torch.cat([core(picture[None]) for picture in pictures])
    torch.testing.assert_close(core(pictures), alone)
    assert torch.equal(pictures, kept)


def test_what_is_saved_is_all_that_was_learnt():
    core = unsettle(ResponseCore(small_core(2), seed=0)).eval()
    again = ResponseCore(small_core(2), seed=9).eval()
    again.load_state_dict(core.state_dict())
    pictures = draw(1, 3, 16, 16)
    assert torch.equal(core(pictures), again(pictures))


def test_an_architecture_comes_back_from_json():
    config = replace(small_core(4, 12, n_layers=3), nonlinearity="elu")
    assert CoreConfig(**json.loads(json.dumps(asdict(config)))) == config
    assert CoreConfig([5.0, 3], [2, 2.0], 8.0) == CoreConfig((5, 3), (2, 2), 8)
    core = ResponseCore(CoreConfig([5.0], [2.0], 8.0))
    assert core(torch.ones(1, 3, 4, 4)).shape == (1, 16, 4, 4)


def oriented_energy(grey, n_units=8, frequency=0.18, sigma=2.0):
    """Mean energy of Gabors in quadrature, one orientation per unit."""
    steps = np.arange(-5, 6)
    x, y = np.meshgrid(steps, -steps)
    units = []
    for unit in range(n_units):
        angle = np.pi * unit / n_units
        phase = 2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle))
        wave = np.exp(1j * phase - (x**2 + y**2) / (2 * sigma**2))
        pair = torch.from_numpy(np.stack([wave.real, wave.imag]))[:, None]
        response = functional.conv2d(grey[:, None].double(), pair, padding=5)
        units.append(response.square().sum(1).mean((1, 2)))
    return torch.stack(units, 1)


def oriented_noise(n_pictures, side=16):
    """Grey pictures of band-limited noise, each with an orientation and contrast."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.fft.fftfreq(side), -np.fft.fftfreq(side))
    band = np.exp(-((np.hypot(x, y) - 0.18) ** 2) / (2 * 0.06**2))
    preferred = rng.uniform(0, np.pi, (n_pictures, 1, 1))
    tuning = np.exp(1.5 * np.cos(2 * (np.arctan2(y, x) - preferred)))
    white = rng.normal(size=(n_pictures, side, side))
    noise = np.fft.ifft2(np.fft.fft2(white) * band * tuning).real
    noise *= rng.uniform(15, 50, (n_pictures, 1, 1)) / noise.std((1, 2), keepdims=True)
    return np.clip(127.5 + noise, 0, 255).round().astype(np.uint8)


class Units(nn.Module):
    """A core, and units that weigh the means of its maps."""

    def __init__(self, config, n_units):
        super().__init__()
        self.core = ResponseCore(config, seed=1)
        self.weigh = nn.Linear(config.n_channels, n_units)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, pictures):
        return self.weigh(self.core(pictures).mean((2, 3)))


def test_a_core_learns_simulated_units_of_oriented_energy():
    pictures = to_input(oriented_noise(300)[..., None].repeat(3, -1), 16)
    responses = oriented_energy(pictures.mean(1))
    responses = ((responses - responses.mean(0)) / responses.std(0)).float()
    config = CoreConfig((7, 3), (2, 2), 8, (0,))

    def batches(epoch):
        order = np.random.default_rng(epoch).permutation(240)
        return [torch.from_numpy(part) for part in np.split(order, 12)]

    def loss(module, at):
        error = module(pictures[at]) - responses[at]
        return error.square().sum(), error.numel()

    settings = TrainSettings(15, learning_rate=0.03, schedule="cosine")
    units = Units(config, 8)
    trained = train(units, batches, loss, settings=settings)
    units.load_state_dict(trained.state)
    with torch.no_grad():
        predicted = units.eval()(pictures[240:])
    for unit in range(8):
        r = np.corrcoef(predicted[:, unit], responses[240:, unit])[0, 1]
        assert r > 0.97, unit


# ----------------------------------------------------------------------- input


def test_pictures_become_input_from_minus_one_to_one():
    black, white = (np.full((9, 9, 3), v, np.uint8) for v in (0, 255))
    coloured = np.zeros((4, 8, 3), np.uint8)
    coloured[..., 1] = 51
    x = to_input([black, white, coloured], 6)
    assert x.shape == (3, 3, 6, 6)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert x[0].unique().tolist() == [-1]
    assert x[1].unique().tolist() == [1]
    assert x[2, 1].unique().tolist() == pytest.approx([51 / 127.5 - 1])
    assert x[2, 0].unique().tolist() == [-1]


def test_pictures_of_the_right_size_are_not_resampled():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    expected = pictures.transpose(0, 3, 1, 2) / 127.5 - 1
    found = to_input(pictures, 8).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    turned = to_input(np.rot90(pictures, axes=(1, 2)), 8)
    assert torch.equal(turned, quarter(to_input(pictures, 8)))


def test_padding_is_mid_grey():
    x = to_input([np.zeros((4, 8, 3), np.uint8)], 8, resize="pad")
    assert x[0, :, 0].unique().tolist() == pytest.approx([0.5 / 127.5])
    assert x[0, :, 4].unique().tolist() == [-1]


# ---------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kernels": ()}, ValueError, "`kernels` must name at least one layer"),
        ({"kernels": 5}, TypeError, "`kernels` must be a tuple.*got 5"),
        ({"kernels": (5, 4)}, ValueError, "`kernels` must be odd.*Use 3 or 5"),
        ({"kernels": (5, 17)}, ValueError, r"`kernels` must be within \[1, 15\]"),
        ({"kernels": (5, 2.5)}, ValueError, "`kernels` must be a whole number"),
        ({"kernels": (5, 0)}, ValueError, "`kernels` must be within"),
        ({"n_fields": (4,)}, ValueError, "one number per layer, 2 .*got .4,"),
        ({"n_fields": (4, 0)}, ValueError, "`n_fields` must be within"),
        ({"n_fields": 4}, TypeError, "`n_fields` must be a tuple"),
        ({"n_orientations": 0}, ValueError, "`n_orientations` must be within"),
        ({"n_orientations": "8"}, TypeError, "`n_orientations` must be a number"),
        ({"halve_after": (2,)}, ValueError, r"`halve_after` must be within \[0, 1\]"),
        ({"halve_after": (1, 0)}, ValueError, "`halve_after` must name each"),
        ({"halve_after": (0, 0)}, ValueError, "`halve_after` must name each"),
        ({"nonlinearity": "rele"}, ValueError, "Did you mean 'relu'"),
        ({"orientation_pooling": "sum"}, ValueError, "'none', 'max', 'mean'; got"),
        ({"filters": "gabor"}, ValueError, "must be one of 'steerable', 'pixels'"),
        ({"filters": "pixels"}, ValueError, "must be 1, 2 or 4.*got 8"),
    ],
)
def test_a_wrong_architecture_gets_one_clear_error(change, error, message):
    with pytest.raises(error, match=message):
        CoreConfig(**({"kernels": (5, 3), "n_fields": (4, 4)} | change))


def test_a_small_core_of_one_layer_is_refused():
    with pytest.raises(ValueError, match="`n_layers` must be within"):
        small_core(n_layers=1)


@pytest.mark.parametrize("side", [18, 0, 16.5])
def test_a_side_that_cannot_be_halved_is_refused(side):
    with pytest.raises(ValueError, match="`side_px` must be"):
        small_core().map_shape(side)


def test_what_is_no_architecture_is_refused():
    with pytest.raises(TypeError, match="`config` must be a CoreConfig"):
        ResponseCore({"kernels": (3,)})


@pytest.mark.parametrize(
    "shape", [(3, 16, 16), (1, 1, 16, 16), (1, 3, 16, 18), (1, 3, 0, 16), (0, 3, 8, 8)]
)
def test_pictures_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 4, because maps are halved 2"):
        ResponseCore(small_core(2))(torch.zeros(shape))


def test_pictures_of_bytes_are_refused():
    with pytest.raises(TypeError, match=r"must be floats.*torch.uint8. `to_input`"):
        ResponseCore(small_core(2))(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(1, 2, 5, 4), (1, 2, 4, 3), (2, 4, 4)])
def test_maps_that_have_no_half_are_refused(shape):
    with pytest.raises(ValueError, match="even sides"):
        halve(torch.zeros(shape))


@pytest.mark.parametrize(
    ("pictures", "side", "error", "message"),
    [
        ([], 8, ValueError, "`pictures` must hold at least one picture"),
        ([np.zeros((4, 4, 3))], 8, TypeError, "must have dtype uint8"),
        ([np.zeros((4, 4), np.uint8)], 8, ValueError, "must have shape"),
        ([np.zeros((4, 4, 3), np.uint8)], 0, ValueError, "`side_px` must be within"),
    ],
)
def test_wrong_pictures_are_refused(pictures, side, error, message):
    with pytest.raises(error, match=message):
        to_input(pictures, side)
