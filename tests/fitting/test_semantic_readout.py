"""The readout with moving masks against loops over pixels, and what it finds."""

import copy

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.nn import functional

from neurovis.core.rng import generator
from neurovis.fitting import readouts_parts
from neurovis.fitting.network_fit import fit_network
from neurovis.fitting.readouts import FactorisedReadout
from neurovis.fitting.semantic_readout import WARPS, SemanticSpatialReadout
from neurovis.fitting.train import TrainSettings

SHAPE = (3, 5, 7)
CONTEXT = (6, 3, 2)
KINDS = list(WARPS)


def draw(*shape, seed=0, dtype=torch.float32):
    values = generator(seed, "semantic readouts", *shape).standard_normal(shape)
    return torch.from_numpy(values).to(dtype)


def make(n_units=4, warp="affine", shape=SHAPE, seed=1, **options):
    """A readout with random weights that move masks by a pixel or so."""
    options = {"context_shape": CONTEXT, "n_context": 2, **options}
    readout = SemanticSpatialReadout(shape, n_units, warp=warp, **options)
    for k, (name, value) in enumerate(readout.named_parameters()):
        noise = draw(*value.shape, seed=seed + k)
        if name.endswith("warp.2.bias"):  # they start where nothing moves
            value.data += 0.2 * noise
        else:
            value.data = noise.abs() if name == "spatial" else 0.3 * noise
    return readout


def plain_head(head, context):
    first, _, last = (
        [p.detach().numpy() for p in layer.parameters()] for layer in head
    )
    return last[0] @ np.maximum(first[0] @ context + first[1], 0) + last[1]


def plain_theta(kind, numbers, height, width):
    """The map from output to input places, in pixels around the centre."""
    half = np.array([width, height]) / 2
    if kind == "rotation":
        angle = numbers[0]
        linear = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        return linear, np.zeros(2)
    if kind == "translation":
        return np.eye(2), numbers * half
    if kind == "scale":
        return np.diag(numbers), np.zeros(2)
    theta = numbers.reshape(2, 3)
    return theta[:, :2] * half[:, None] / half, theta[:, 2] * half


def plain_warp(image, kind, numbers):
    """One image, pixel by pixel, with the interpolation of scipy."""
    height, width = image.shape
    linear, shift = plain_theta(kind, numbers, height, width)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            x, y = linear @ (np.array([j, i]) - centre) + shift + centre
            place = [[y], [x]]
            out[i, j] = map_coordinates(image, place, order=1, mode="grid-constant")[0]
    return out


def plain_readout(readout, maps, context):
    masks = np.maximum(readout.spatial.detach().numpy(), 0)
    masks = masks / (np.sqrt((masks**2).sum((1, 2), keepdims=True)) + 1e-6)
    weights, bias = readout.features.detach().numpy(), readout.bias.detach().numpy()
    kernel, constant = (p.detach().numpy() for p in readout.reduce.parameters())
    out = np.zeros((len(maps), len(masks)))
    warped = np.zeros((len(maps), *masks.shape))
    for b in range(len(maps)):
        few = np.einsum("kc,chw->khw", kernel[:, :, 0, 0], context[b])
        few = (few + constant[:, None, None]).ravel()
        channels = maps[b]
        if readout.channel_warp is not None:
            numbers = plain_head(readout.channel_warp, few).reshape(len(channels), -1)
            pairs = zip(channels, numbers, strict=True)
            channels = np.stack([plain_warp(x, "affine", t) for x, t in pairs])
        for n in range(len(masks)):
            warped[b, n] = masks[n]
            if readout.mask_warp is not None:
                numbers = plain_head(readout.mask_warp, few).reshape(len(masks), -1)
                warped[b, n] = plain_warp(masks[n], readout.warp, numbers[n])
            for c in range(len(channels)):
                out[b, n] += weights[n, c] * (channels[c] * warped[b, n]).sum()
    return out + bias, warped


@pytest.mark.parametrize(
    ("warp", "warp_channels"),
    [*((kind, True) for kind in KINDS), *((kind, False) for kind in KINDS[:-1])],
)
def test_readout_equals_loops_over_pixels(warp, warp_channels):
    readout = make(warp=warp, warp_channels=warp_channels).double()
    maps = draw(3, *SHAPE, dtype=torch.float64)
    context = draw(3, *CONTEXT, seed=2, dtype=torch.float64)
    expected, warped = plain_readout(readout, maps.numpy(), context.numpy())
    found = readout(maps, context).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    found = readout.warped_masks(context).detach().numpy()
    np.testing.assert_allclose(found, warped, rtol=1e-10, atol=1e-12)
    some = readout.warped_masks(context, [3, 1]).detach().numpy()
    np.testing.assert_allclose(some, warped[:, [3, 1]], rtol=1e-10, atol=1e-12)
    still = readout.masks()[None].detach().numpy()
    assert (np.abs(warped - still).max() > 0.05) == (warp != "none")


def moved(kind, *numbers, mask=None, shape=(1, 8, 8)):
    """The mask of one unit after one transformation."""
    readout = SemanticSpatialReadout(shape, 1, warp=kind, context_shape=(1, 1, 1))
    readout.spatial.data.zero_()
    if mask is None:
        readout.spatial.data[0, 2, 5] = 1
    else:
        readout.spatial.data[0] = mask
    readout.mask_warp[2].bias.data = torch.tensor(numbers)
    return readout.warped_masks(torch.zeros(1, 1, 1, 1))[0, 0].detach()


def test_a_positive_shift_moves_the_mask_left_and_up():
    found = moved("translation", 2 * 2 / 8, 2 * 1 / 8)  # two pixels and one
    expected = torch.zeros(8, 8)
    expected[1, 3] = 1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_quarter_turn_is_one_of_pixels_also_where_maps_are_not_square():
    mask = draw(8, 8).abs()
    found = moved("rotation", np.pi / 2, mask=mask)
    expected = torch.rot90(mask / mask.norm())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    wide = torch.zeros(4, 8)
    wide[:, 2:6] = draw(4, 4, seed=3).abs()
    found = moved("rotation", np.pi / 2, mask=wide, shape=(1, 4, 8))
    expected = torch.zeros(4, 8)
    expected[:, 2:6] = torch.rot90(wide[:, 2:6] / wide.norm())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_scale_above_one_shrinks_the_mask_and_what_leaves_the_map_is_zero():
    whole = torch.ones(8, 8)
    found = moved("scale", 2.0, 1.0, mask=whole) * 8
    expected = torch.zeros(8, 8)
    expected[:, 2:6] = 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert moved("translation", 5.0, 0.0).sum() == 0


@pytest.mark.parametrize("warp", KINDS)
def test_at_the_start_it_is_a_factorised_readout_for_any_context(warp):
    readout = SemanticSpatialReadout(SHAPE, 4, warp=warp, init_noise=1.0)
    maps, context = draw(3, *SHAPE), 5 * draw(3, 4, 7, 7)
    fixed = FactorisedReadout(SHAPE, 4)
    fixed.spatial.data = readout.spatial.data.clamp(min=0)
    fixed.features.data = readout.features.data.clone()
    found = readout(maps, context)
    torch.testing.assert_close(found, fixed(maps), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(readout.masks(), fixed.masks())
    norms = readout.masks().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(4))


def test_masks_are_kept_positive_and_zeros_keep_their_gradient():
    readout = SemanticSpatialReadout((1, 1, 2), 1, warp="none", context_shape=(1, 1, 1))
    readout.spatial.data = torch.tensor([[[-1.0, 2.0]]])
    readout.features.data.fill_(1)
    out = readout(torch.tensor([[[[3.0, 5.0]]]]), torch.zeros(1, 1, 1, 1))
    assert out.item() == pytest.approx(5, rel=1e-5)
    assert readout.spatial.tolist() == [[[0, 2]]]
    out.sum().backward()
    assert readout.spatial.grad[0, 0, 0].item() == pytest.approx(1.5, rel=1e-5)


def test_context_is_averaged_to_seven_places_and_no_fewer():
    context = draw(3, 5, 14, 21)
    large = SemanticSpatialReadout(SHAPE, 4, context_shape=(5, 14, 21))
    for value in large.parameters():
        value.data = 0.3 * draw(*value.shape, seed=4)
    exact = SemanticSpatialReadout(SHAPE, 4, context_shape=(5, 7, 7))
    exact.load_state_dict(large.state_dict())
    maps, means = draw(3, *SHAPE), context.unflatten(2, (7, 2)).unflatten(4, (7, 3))
    means = means.mean((3, 5))
    torch.testing.assert_close(large(maps, context), exact(maps, means))
    # A convolution of one place and an average can change places.
    first = large.reduce(context).unflatten(2, (7, 2)).unflatten(4, (7, 3))
    torch.testing.assert_close(first.mean((3, 5)), exact.reduce(means))
    assert large.mask_warp[0].in_features == 4 * 49
    tall = SemanticSpatialReadout(SHAPE, 4, context_shape=(5, 9, 2), n_context=None)
    assert tall.mask_warp[0].in_features == 5 * 7 * 2
    assert tall.reduce is None
    assert tall(maps, draw(3, 5, 9, 2)).shape == (3, 4)


def test_gradients_equal_finite_differences():
    readout = make(3, n_context=None, context_shape=(2, 1, 2), hidden=4).double()
    names = [name for name, _ in readout.named_parameters()]
    maps = draw(2, *SHAPE, dtype=torch.float64).requires_grad_()
    context = draw(2, 2, 1, 2, seed=5, dtype=torch.float64)

    def run(maps, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(readout, state, (maps, context))

    inputs = [p.detach().clone().requires_grad_() for p in readout.parameters()]
    assert torch.autograd.gradcheck(run, (maps, *inputs))


@pytest.mark.parametrize("warp", KINDS)
def test_gradients_reach_every_parameter(warp):
    readout = make(warp=warp)
    readout(draw(3, *SHAPE), draw(3, *CONTEXT)).square().sum().backward()
    for name, value in readout.named_parameters():
        assert float(value.grad.abs().sum()) > 0, name
    start = SemanticSpatialReadout(SHAPE, 4, warp=warp, context_shape=CONTEXT)
    start(draw(3, *SHAPE), draw(3, *CONTEXT)).square().sum().backward()
    assert float(start.channel_warp[2].weight.grad.abs().sum()) > 0


def test_pieces_of_units_and_channels_change_neither_values_nor_gradients(monkeypatch):
    readout, maps = make(11), draw(4, *SHAPE).requires_grad_()
    context = draw(4, *CONTEXT)

    def run():
        readout.zero_grad()
        maps.grad = None
        out = readout(maps, context)
        out.square().sum().backward()
        return [out.detach(), maps.grad, *(p.grad for p in readout.parameters())]

    whole = run()
    sizes = []
    for n_units, pixels in ((4, 2 * 8), (1, 1)):
        monkeypatch.setattr(
            readouts_parts,
            "_NUMBERS_AT_ONCE",
            n_units * 4 * 35 * 8 if pixels > 1 else 1,
        )
        sampled = functional.grid_sample

        def counted(images, grid, sampled=sampled, **options):
            sizes.append(grid.numel())
            return sampled(images, grid, **options)

        with monkeypatch.context() as patch:
            patch.setattr(functional, "grid_sample", counted)
            parts = run()
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(readout(maps, context), whole[0])
        assert max(sizes) <= 5 * n_units * 4 * 35 * 2
        sizes.clear()


def test_pictures_are_read_with_their_own_context():
    readout, maps, context = make(), draw(4, *SHAPE), draw(4, *CONTEXT)
    order = [2, 0, 3, 1]
    found = readout(maps[order], context[order])
    torch.testing.assert_close(found, readout(maps, context)[order])
    for k in range(4):
        alone = readout(maps[k : k + 1], context[k : k + 1])
        torch.testing.assert_close(alone[0], readout(maps, context)[k])
    other = readout(maps, context.roll(1, 0))
    assert float((other - readout(maps, context)).detach().abs().max()) > 0.01


def test_regulariser_is_the_sum_of_absolute_features():
    readout = make(weight=0.5)
    expected = 0.5 * readout.features.detach().abs().sum()
    torch.testing.assert_close(readout.regulariser().detach(), expected)


def test_initial_values_follow_the_seed():
    options = {"context_shape": CONTEXT, "mean_response": np.arange(50)}
    one, again = (SemanticSpatialReadout((40, 9, 9), 50, **options) for _ in range(2))
    other = SemanticSpatialReadout((40, 9, 9), 50, seed=1, **options)
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        same = torch.equal(value, other.state_dict()[name])
        assert same == (
            name.endswith("warp.2.weight") or name.endswith("bias")
        ) or name.endswith(("warp.0.bias", "reduce.bias"))
    for value in (one.spatial, one.features):
        assert value.std().item() == pytest.approx(1e-3, rel=0.1)
    assert one.bias.tolist() == list(range(50))
    assert make(has_bias=False).bias is None


def test_bfloat16_moves_masks_by_nearly_as_much():
    readout, maps, context = make(), draw(3, *SHAPE), draw(3, *CONTEXT)
    with torch.no_grad():
        expected = readout(maps, context)
        with torch.autocast("cpu", torch.bfloat16):
            found = readout(maps, context)
    assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())


FROZEN = [-0.72710305, -0.09978306]


def test_frozen_numbers():
    readout = SemanticSpatialReadout((2, 3, 4), 2, seed=5, init_noise=1.0)
    readout.mask_warp[2].weight.data.fill_(0.1)
    readout.channel_warp[2].weight.data.fill_(-0.1)
    context = torch.arange(196.0).reshape(1, 4, 7, 7).cos()
    found = readout(torch.arange(24.0).reshape(1, 2, 3, 4).sin(), context)
    np.testing.assert_allclose(found.detach()[0], FROZEN, atol=2e-6)


WRONG = [
    ({"in_shape": (3, 5)}, "`in_shape` must be"),
    ({"n_units": 0}, "`n_units` must be within"),
    ({"context_shape": (4, 7)}, "`context_shape` must be"),
    ({"context_shape": (4, 0, 7)}, "`context_shape` must be within"),
    ({"n_context": 0}, "`n_context` must be within"),
    ({"hidden": 0}, "`hidden` must be within"),
    ({"warp": "rotate"}, "Did you mean 'rotation'"),
    ({"warp": "none", "warp_channels": False}, "use a FactorisedReadout"),
    ({"init_noise": 0}, "`init_noise` must be above 0"),
    ({"weight": -1}, "`weight` must be within"),
    ({"mean_response": [1.0]}, "`mean_response` must have shape"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SemanticSpatialReadout(**{"in_shape": SHAPE, "n_units": 4, **options})


def test_maps_and_contexts_of_other_shapes_are_refused():
    readout, maps, context = make(), draw(2, *SHAPE), draw(2, *CONTEXT)
    with pytest.raises(ValueError, match=r"`maps` must have shape \(n_im"):
        readout(maps.transpose(2, 3), context)
    for wrong in (context[:, :2], context[0], context[:, :, :2]):
        with pytest.raises(ValueError, match=r"`context` must have shape \(n_im"):
            readout(maps, wrong)
        with pytest.raises(ValueError, match=r"`context` must have shape \(n_im"):
            readout.warped_masks(wrong)
    with pytest.raises(ValueError, match="2 images and `context` 1"):
        readout(maps, context[:1])


def routed(n=500, side=9, n_units=6, seed=0, reach=0.5):
    """Smooth maps; units read a place that the context moves, up to `reach`."""
    rng = generator(seed, "routed units")
    maps = torch.from_numpy(rng.standard_normal((n, 3, side, side))).float()
    kernel = torch.tensor([0.25, 0.5, 0.25])
    blur = (kernel[:, None] * kernel)[None, None].expand(3, 1, 3, 3)
    maps = functional.conv2d(maps, blur, padding=1, groups=3)
    maps = maps / maps.std()
    context = torch.from_numpy(rng.uniform(-1, 1, (n, 2, 1, 1))).float()
    truth = SemanticSpatialReadout(
        (3, side, side),
        n_units,
        context_shape=(2, 1, 1),
        n_context=None,
        hidden=4,
        warp="translation",
        warp_channels=False,
    )
    line = torch.linspace(-1, 1, side)
    centre = torch.from_numpy(rng.uniform(-0.3, 0.3, (n_units, 2, 1))).float()
    across, down = (torch.exp(-((line - c) ** 2) / 0.08) for c in centre.unbind(1))
    truth.spatial.data = down[:, :, None] * across[:, None]
    truth.features.data = torch.from_numpy(rng.standard_normal((n_units, 3))).float()
    first, _, last = truth.mask_warp
    # ReLU(c) - ReLU(-c) = c
    first.weight.data = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    first.bias.data.zero_()
    ways = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]]).repeat(n_units, 1)
    last.weight.data = reach * ways
    with torch.no_grad():
        y = truth(maps, context)
    noise = torch.from_numpy(rng.standard_normal(y.shape)).float()
    return maps, context, y + 0.3 * y.std(0) * noise, truth


def test_moving_masks_are_found_where_the_place_depends_on_the_context():
    maps, context, y, truth = routed()
    settings = TrainSettings(
        max_epochs=30, learning_rate=0.02, schedule="cosine", monitor="r",
        more_is_better=True, patience=None,
    )  # fmt: skip
    options = {"settings": settings, "batch_size": 50, "validation": 0.2}
    start = SemanticSpatialReadout(
        truth.in_shape,
        6,
        context_shape=(2, 1, 1),
        warp="translation",
        warp_channels=False,
    )
    before = copy.deepcopy(start.state_dict())
    moving = fit_network(start, (maps, context), y, **options)
    fixed = fit_network(FactorisedReadout(truth.in_shape, 6), maps, y, **options)
    assert np.array_equal(moving.held, fixed.held)
    r = {k: f.training.curves["val_r"].max() for k, f in
         {"moving": moving, "fixed": fixed}.items()}  # fmt: skip
    assert r["moving"] > 0.9  # the ceiling is 0.96
    assert r["fixed"] < r["moving"] - 0.2
    # Masks lie where the true ones do, for new contexts.
    places = torch.tensor([[[[-0.8]], [[0.6]]], [[[0.9]], [[0.1]]]])
    centres = []
    for readout in (truth, moving.module):
        mass = readout.warped_masks(places).detach().square()
        mass = mass / mass.sum((2, 3), keepdim=True)
        line = torch.linspace(-1, 1, 9)
        pair = (mass.sum(2) * line).sum(2), (mass.sum(3) * line).sum(2)
        centres.append(torch.stack(pair))
    assert float((centres[0] - centres[1]).abs().median()) < 0.05  # a pixel is 0.25
    assert all(torch.equal(v, before[k]) for k, v in start.state_dict().items())
