"""Readouts against loops over pixels, their gradients, and what training finds."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from neurovis.core.rng import generator
from neurovis.fitting import readouts_parts
from neurovis.fitting.readouts import FactorisedReadout, GaussianReadout
from neurovis.fitting.readouts_fit import fit_readout, split_groups
from neurovis.fitting.readouts_parts import read_points
from neurovis.fitting.train import TrainSettings

KINDS = ["full", "uncorrelated", "isotropic", "legacy"]
SHAPE = (3, 5, 7)


def draw(*shape, seed=0, dtype=torch.float32):
    values = generator(seed, "readouts", *shape).standard_normal(shape)
    return torch.from_numpy(values).to(dtype)


def filled(readout, seed=1):
    """The readout with random weights."""
    for k, value in enumerate(readout.parameters()):
        value.data = draw(*value.shape, seed=seed + k).to(value) * 0.4
    return readout


def plain_point(maps, x, y):
    """Bilinear values of one picture (channels, H, W) at one point, by loops."""
    _, height, width = maps.shape
    column, row = (x + 1) / 2 * (width - 1), (y + 1) / 2 * (height - 1)
    total = np.zeros(len(maps))
    for i in range(height):
        for j in range(width):
            share = max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j))
            total += share * maps[:, i, j]
    return total


def plain_gaussian(readout, maps, noise):
    mu, sigma = readout.mu.detach().numpy(), readout.sigma.detach().numpy()
    weights, bias = readout.features.detach().numpy(), readout.bias.detach().numpy()
    out = np.zeros((len(maps), len(mu)))
    for b in range(len(maps)):
        for n in range(len(mu)):
            epsilon = noise[b, n]
            moved = sigma[n] @ epsilon if sigma.ndim == 3 else sigma[n] * epsilon
            x, y = np.clip(np.clip(mu[n], -1, 1) + moved, -1, 1)
            out[b, n] = weights[n] @ plain_point(maps[b], x, y) + bias[n]
    return out


# ---------------------------------------------------------------------- Gaussian


@pytest.mark.parametrize("covariance", KINDS)
@pytest.mark.parametrize("shape", [SHAPE, (2, 1, 4), (2, 3, 1), (1, 1, 1)])
def test_gaussian_readout_equals_loops_over_pixels(covariance, shape):
    readout = filled(GaussianReadout(shape, 6, covariance=covariance)).double()
    readout._mu.data[0] = torch.tensor([1.0, -1.0])
    readout._mu.data[1] = torch.tensor([3.0, 1.0])
    readout._mu.data[2] = torch.tensor([0.0, 0.5])
    if covariance == "legacy":
        readout.sigma.data.abs_()
    maps = draw(4, *shape, dtype=torch.float64)
    noise = draw(4, 6, 2, seed=3, dtype=torch.float64)
    found = readout.eval()(maps).detach().numpy()
    expected = plain_gaussian(readout, maps.numpy(), 0 * noise.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    found = readout(maps, noise=noise).detach().numpy()
    expected = plain_gaussian(readout, maps.numpy(), noise.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert readout.mu[1].tolist() == [1, 1]


def test_points_agree_with_grid_sample():
    maps, points = draw(3, *SHAPE), draw(3, 9, 2, seed=2).clamp(-1, 1)
    table = maps.permute(0, 2, 3, 1).reshape(-1, 3)
    weights = draw(9, 3, seed=4)
    found = read_points(table, points, 5, 7, weights)
    values = functional.grid_sample(maps, points[:, :, None], align_corners=True)
    expected = (values[..., 0] * weights.T).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("covariance", KINDS)
def test_gradients_of_the_gaussian_readout(covariance):
    readout = filled(GaussianReadout(SHAPE, 3, covariance=covariance)).double()
    if covariance == "legacy":
        readout.sigma.data.abs_().add_(0.1)
    names = [name for name, _ in readout.named_parameters()]
    maps = draw(2, *SHAPE, dtype=torch.float64).requires_grad_()
    noise = 0.1 * draw(2, 3, 2, seed=3, dtype=torch.float64)

    def call(maps, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(readout, state, (maps,), {"noise": noise})

    inputs = [p.detach().clone().requires_grad_() for p in readout.parameters()]
    assert torch.autograd.gradcheck(call, (maps, *inputs))


def test_training_mode_samples_from_its_generator_and_evaluation_does_not():
    readout, maps = filled(GaussianReadout(SHAPE, 4)), draw(5, *SHAPE)
    state = torch.get_rng_state()

    def sampled(seed, module):
        return module(maps, generator=torch.Generator().manual_seed(seed))

    first = sampled(3, readout)
    assert torch.equal(first, sampled(3, readout))
    assert not torch.equal(first, sampled(4, readout))
    noise = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, readout(maps, noise=noise))
    assert torch.equal(torch.get_rng_state(), state)
    mean = copy.deepcopy(readout).eval()
    assert torch.equal(mean(maps), mean(maps))
    zero = torch.zeros(1, 4, 2)
    torch.testing.assert_close(mean(maps), readout(maps, noise=zero))
    readout.sample_per_image = False
    points = readout.locations(5, generator=torch.Generator().manual_seed(0))
    assert points.shape == (1, 4, 2)


def test_sampled_locations_have_the_covariance():
    readout = GaussianReadout(SHAPE, 2)
    readout._mu.data.zero_()
    readout.sigma.data = torch.tensor([[[0.1, 0.05], [0.0, 0.2]], [[0.1, 0], [0, 0.1]]])
    draws = torch.Generator().manual_seed(0)
    points = readout.locations(20_000, generator=draws).detach().double()
    for n in range(2):
        sigma = readout.sigma[n].detach().double()
        torch.testing.assert_close(
            points[:, n].T.cov(), sigma @ sigma.T, rtol=0.05, atol=2e-4
        )


def test_initial_values_follow_the_seed_and_the_published_ranges():
    for covariance, (mu_range, low, high) in {
        "full": (0.1, -1, 1),
        "uncorrelated": (0.1, 1, 1),
        "isotropic": (0.1, 1, 1),
        "legacy": (0.5, 0, 0.5),
    }.items():
        readout = GaussianReadout((4, 9, 9), 500, covariance=covariance)
        again = GaussianReadout((4, 9, 9), 500, covariance=covariance)
        other = GaussianReadout((4, 9, 9), 500, covariance=covariance, seed=1)
        assert torch.equal(readout.mu, again.mu)
        assert not torch.equal(readout.mu, other.mu)
        sigma = readout.sigma.detach()
        assert 0.9 * mu_range < readout.mu.abs().max().item() <= mu_range
        assert low <= sigma.min() <= sigma.max() <= high
        if low < high:
            assert sigma.max() - sigma.min() > 0.9 * (high - low)
        assert (readout.features == 0.25).all()
        assert (readout.bias == 0).all()
    start = GaussianReadout((4, 9, 9), 3, mean_response=[1, 2, 3]).bias
    assert start.tolist() == [1, 2, 3]
    assert GaussianReadout((4, 9, 9), 3, has_bias=False).bias is None


def test_legacy_sigma_and_all_mu_are_projected():
    readout = GaussianReadout(SHAPE, 2, covariance="legacy").eval()
    readout.sigma.data.fill_(-1)
    readout._mu.data.fill_(-4)
    maps = draw(1, *SHAPE)
    first = maps[:, :, 0, 0].mean().expand(1, 2)
    torch.testing.assert_close(readout(maps), first)
    assert (readout.sigma == 0).all()
    assert (readout.mu == -1).all()


def test_shifting_maps_moves_the_location_by_as_many_pixels():
    shape = (2, 9, 9)
    readout = filled(GaussianReadout(shape, 5)).eval()
    readout._mu.data.mul_(0.5).clamp_(-0.5, 0.5)
    maps = draw(3, *shape)
    moved = torch.roll(maps, (1, -2), (2, 3))
    there = copy.deepcopy(readout)
    there._mu.data += torch.tensor([-2.0, 1.0]) * 2 / 8
    torch.testing.assert_close(there(moved), readout(maps), rtol=1e-4, atol=1e-5)


def test_predicted_locations_come_from_centred_coordinates():
    places = draw(6, 3).double().numpy() * 40 + 7
    for hidden, n_layers in (((), 2), ((20,), 4), ((8, 8), 6)):
        readout = GaussianReadout(SHAPE, 6, coordinates=places, hidden=hidden)
        assert len(readout.predictor) == n_layers
        centred = places - places.mean(0)
        centred = centred / np.abs(centred).max()
        np.testing.assert_allclose(readout.coordinates, centred, rtol=1e-6)
        x = torch.from_numpy(centred).float()
        for k, layer in enumerate(readout.predictor):
            x = (
                torch.nn.functional.elu(x)
                if 0 < k < n_layers - 1 and k % 2
                else layer(x)
            )
        torch.testing.assert_close(readout.mu, x)
        assert "_mu" not in dict(readout.named_parameters())
        again = GaussianReadout(SHAPE, 6, coordinates=places, hidden=hidden)
        assert torch.equal(again.mu, readout.mu)
        readout(draw(2, *SHAPE), noise=torch.zeros(1, 6, 2)).sum().backward()
        assert float(readout.predictor[0].weight.grad.abs().sum()) > 0
    linear = GaussianReadout(SHAPE, 6, coordinates=places, has_tanh=False)
    assert len(linear.predictor) == 1


def test_regulariser_of_the_gaussian_readout():
    readout = filled(GaussianReadout(SHAPE, 4, weight=0.5))
    expected = 0.5 * readout.features.detach().abs().sum()
    torch.testing.assert_close(readout.regulariser().detach(), expected)


# -------------------------------------------------------------------- factorised


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("positive", [None, "clamp", "abs"])
def test_factorised_readout_equals_loops(normalise, positive):
    readout = filled(
        FactorisedReadout(SHAPE, 4, normalise=normalise, positive=positive)
    )
    maps = draw(3, *SHAPE)
    found = readout.double()(maps.double()).detach().numpy()
    masks = readout.spatial.detach().numpy()
    if normalise:
        masks = masks / (np.sqrt((masks**2).sum((1, 2), keepdims=True)) + 1e-6)
    if positive is not None:
        masks = np.abs(masks) if positive == "abs" else np.maximum(masks, 0)
    weights = readout.features.detach().numpy()
    assert (weights >= 0).all() == (positive == "clamp")
    expected = np.einsum("bchw,nhw,nc->bn", maps.numpy(), masks, weights)
    expected = expected + readout.bias.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(readout.masks().detach(), masks, rtol=1e-9)


def test_gradients_of_the_factorised_readout():
    readout = filled(FactorisedReadout(SHAPE, 3)).double()
    names = [name for name, _ in readout.named_parameters()]
    maps = draw(2, *SHAPE, dtype=torch.float64).requires_grad_()

    def call(maps, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(readout, state, (maps,))

    inputs = [p.detach().clone().requires_grad_() for p in readout.parameters()]
    assert torch.autograd.gradcheck(call, (maps, *inputs))


def test_clamped_entries_of_masks_keep_their_gradient():
    readout = FactorisedReadout((1, 1, 2), 1, normalise=False, positive="clamp")
    readout.spatial.data = torch.tensor([[[-1.0, 2.0]]])
    readout.features.data.fill_(1)
    out = readout(torch.tensor([[[[3.0, 5.0]]]]))
    assert out.item() == 10
    out.sum().backward()
    assert readout.spatial.grad.tolist() == [[[3, 5]]]


def test_both_penalties_of_the_factorised_readout():
    readout = filled(FactorisedReadout(SHAPE, 4, weight=2))
    masks = readout.masks().detach().abs().sum((1, 2))
    features = readout.features.detach().abs().sum(1)
    found = readout.regulariser().item()
    assert found == pytest.approx(2 * float((masks * features).sum()))
    readout.l1 = "published"
    expected = 2 * float((masks[:, None] * features[None]).sum())
    assert readout.regulariser().item() == pytest.approx(expected)


def test_initial_factors_are_small_and_follow_the_seed():
    readout = FactorisedReadout((40, 9, 9), 50)
    for value in (readout.spatial, readout.features):
        assert value.std().item() == pytest.approx(1e-3, rel=0.1)
    assert torch.equal(readout.spatial, FactorisedReadout((40, 9, 9), 50).spatial)


# -------------------------------------------------------------------------- both

FROZEN = [[-0.6463371, -0.6783599], [-0.5349506, -0.5185962], [-0.3166164, -0.1815069]]


def test_frozen_numbers():
    maps = torch.arange(24.0).reshape(1, 2, 3, 4).sin()
    noise = torch.tensor([[[0.3, -0.2], [1.0, 0.5]]])
    one = GaussianReadout((2, 3, 4), 2, seed=5)
    two = FactorisedReadout((2, 3, 4), 2, seed=5, init_noise=1.0)
    found = [one.eval()(maps), one(maps, noise=noise), two(maps)]
    for ours, theirs in zip(found, FROZEN, strict=True):
        np.testing.assert_allclose(ours.detach()[0], theirs, atol=2e-6)


@pytest.mark.parametrize("kind", [GaussianReadout, FactorisedReadout])
def test_pieces_of_units_change_neither_values_nor_gradients(kind, monkeypatch):
    readout, maps = filled(kind(SHAPE, 11)), draw(4, *SHAPE).requires_grad_()
    options = {"noise": draw(4, 11, 2, seed=8)} if kind is GaussianReadout else {}

    def run():
        readout.zero_grad()
        maps.grad = None
        out = readout(maps, **options)
        out.square().sum().backward()
        return [out.detach(), maps.grad, *(p.grad for p in readout.parameters())]

    whole = run()
    monkeypatch.setattr(readouts_parts, "_NUMBERS_AT_ONCE", 4 * 3 * 2)
    for one, other in zip(whole, run(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(readout(maps, **options), whole[0])


WRONG = [
    ({"in_shape": (3, 5)}, "`in_shape` must be"),
    ({"in_shape": (3, 5, 0)}, "`in_shape` must be within"),
    ({"n_units": 0}, "`n_units` must be within"),
    ({"covariance": "diagonal"}, "`covariance` must be one of"),
    ({"mu_range": 1.5}, "`mu_range` must be within"),
    ({"init_sigma": 0}, "`init_sigma` must be above 0"),
    ({"weight": -1}, "`weight` must be within"),
    ({"mean_response": [1.0]}, "`mean_response` must have shape"),
    ({"mean_response": np.ones(4), "has_bias": False}, "give one of the two"),
    ({"coordinates": np.ones((4, 3))}, "`coordinates` are the same"),
    ({"coordinates": np.eye(3)}, "`coordinates` must have shape"),
    ({"coordinates": np.eye(4), "hidden": [0]}, "`hidden` must be within"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_options_of_the_gaussian_readout_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianReadout(**{"in_shape": SHAPE, "n_units": 4, **options})


@pytest.mark.parametrize(
    "options", [{"positive": "yes"}, {"l1": "l2"}, {"init_noise": 0}]
)
def test_wrong_options_of_the_factorised_readout_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FactorisedReadout(SHAPE, 4, **options)


def test_maps_and_noise_of_other_shapes_are_refused():
    for kind in (GaussianReadout, FactorisedReadout):
        with pytest.raises(ValueError, match=r"`maps` must have shape \(n_im"):
            kind(SHAPE, 4)(draw(2, 3, 7, 5))
    readout = GaussianReadout(SHAPE, 4)
    for shape in ((2, 5, 2), (3, 4, 2), (4, 2)):
        with pytest.raises(ValueError, match="`noise` must"):
            readout(draw(2, *SHAPE), noise=draw(*shape))


# -------------------------------------------------------------------------- fits


def simulated(n=400, side=9, n_units=12, seed=0):
    """Smooth maps, and units that read them at known points."""
    rng = generator(seed, "simulated units")
    maps = torch.from_numpy(rng.standard_normal((n, 4, side, side))).float()
    kernel = torch.tensor([0.25, 0.5, 0.25])
    blur = (kernel[:, None] * kernel)[None, None].expand(4, 1, 3, 3)
    maps = functional.conv2d(maps, blur, padding=1, groups=4)
    maps = maps / maps.std()
    truth = GaussianReadout((4, side, side), n_units).eval()
    truth._mu.data = torch.from_numpy(rng.uniform(-0.7, 0.7, (n_units, 2))).float()
    truth.features.data = torch.from_numpy(rng.standard_normal((n_units, 4))).float()
    with torch.no_grad():
        y = truth(maps)
    noise = torch.from_numpy(rng.standard_normal(y.shape)).float()
    return maps, y + 0.3 * y.std(0) * noise, truth


def test_locations_of_simulated_units_are_recovered():
    maps, y, truth = simulated()
    start = GaussianReadout(truth.in_shape, 12, covariance="isotropic", init_sigma=0.4)
    settings = TrainSettings(max_epochs=45, learning_rate=0.03, schedule="cosine")
    readout, training = fit_readout(start, maps, y, settings=settings)
    error = (readout.mu - truth.mu).abs().detach()
    assert float(error.median()) < 0.04  # a pixel is 0.25
    assert float(training.curves["val_r"].max()) > 0.9
    assert not readout.training
    assert (start.features == 0.25).all()  # as it was


def test_a_factorised_readout_finds_the_pixel():
    maps, y, truth = simulated(n_units=6)
    settings = TrainSettings(max_epochs=60, learning_rate=0.02, patience=10)
    start = FactorisedReadout(truth.in_shape, 6)
    readout, training = fit_readout(start, maps, y, settings=settings, penalty=0.01)
    masks = readout.masks().detach().abs()
    line = torch.linspace(-1, 1, 9)
    mass = masks.square() / masks.square().sum((1, 2), keepdim=True)
    centre = torch.stack([(mass.sum(1) * line).sum(1), (mass.sum(2) * line).sum(1)], 1)
    assert float((centre - truth.mu.detach()).abs().median()) < 0.15
    assert float(training.curves["val_r"].max()) > 0.85


def test_the_curve_is_the_loss_that_the_docstring_names():
    maps, y, truth = simulated(n=60, n_units=3)
    start = filled(FactorisedReadout(truth.in_shape, 3, weight=0.7))
    settings = TrainSettings(max_epochs=1, learning_rate=1e-12)
    options = {"settings": settings, "batch_size": 100, "validation": 0.25}
    _, training = fit_readout(start, maps, y, penalty=0.2, **options)
    train, held = split_groups(60, None, 0.25, 0)
    error = (start(maps) - y).detach().square()
    expected = error[train].sum(1).mean() + 0.2 * start.regulariser()
    row = training.curves.iloc[0]
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert row["val_loss"] == pytest.approx(error[held].mean().item(), rel=1e-5)
    pairs = zip(start(maps)[held].T.detach(), y[held].T, strict=True)
    r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    assert row["val_r"] == pytest.approx(r, rel=1e-5)


def test_groups_stay_on_one_side():
    groups = generator(0, "sides").integers(0, 11, 70)
    train, held = split_groups(70, groups, 0.3, 4)
    assert sorted([*train, *held]) == list(range(70))
    assert not set(groups[train]) & set(groups[held])
    assert len(set(groups[held])) == 3
    assert len(split_groups(70, None, 0.001, 0)[1]) == 1
    assert len(split_groups(3, None, 0.999, 0)[0]) == 1


def test_a_fit_in_a_folder_is_read_again_and_arrays_equal_tensors(tmp_path):
    maps, y, truth = simulated(n=60, n_units=3)
    few = {"settings": TrainSettings(max_epochs=3, learning_rate=0.01), "seed": 2}
    start = GaussianReadout(truth.in_shape, 3)
    first, curves = fit_readout(start, maps, y, folder=tmp_path / "run", **few)
    again, _ = fit_readout(start, maps, y, folder=tmp_path / "run", **few)
    np.save(tmp_path / "maps.npy", maps.numpy())
    lazy = np.load(tmp_path / "maps.npy", mmap_mode="r")
    third, _ = fit_readout(start, lazy, y.numpy(), **few)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, third.state_dict()[name])
    assert curves.n_epochs == 3
    with pytest.raises(ValueError, match="another"):
        fit_readout(start, maps, 2 * y, folder=tmp_path / "run", **few)


def test_wrong_data_of_a_fit_are_refused():
    maps, y, truth = simulated(n=20, n_units=3)
    readout = GaussianReadout(truth.in_shape, 3)
    cases = {
        "`maps` must be an array": (maps[:, :3], y, {}),
        "`responses` must have shape": (maps, y[:, :2], {}),
        "`validation` must be": (maps, y, {"validation": 1.0}),
        "`penalty` must be": (maps, y, {"penalty": -1.0}),
        "`batch_size` must be": (maps, y, {"batch_size": 0}),
        "20 images": (maps, y, {"groups": [1, 2]}),
        "at least two": (maps, y, {"groups": [1] * 20}),
    }
    for message, (some, targets, options) in cases.items():
        with pytest.raises(ValueError, match=message):
            fit_readout(readout, some, targets, **options)
    y[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"1 units have NaN.*unit 1"):
        fit_readout(readout, maps, y)
    with pytest.raises(TypeError, match="`readout` must be"):
        fit_readout(torch.nn.Linear(2, 2), maps, y)
