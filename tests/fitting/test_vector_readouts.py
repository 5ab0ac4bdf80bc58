"""Linear readouts of maps and vectors against sums in plain NumPy."""

import numpy as np
import pytest
import torch

from neurovis.core.rng import generator
from neurovis.fitting.vector_readouts import LinearReadout, VectorReadout

SHAPE = (3, 5, 7)


def draw(*shape, seed=0):
    values = generator(seed, "vector readouts", *shape).standard_normal(shape)
    return torch.from_numpy(values).float()


def arrays(module):
    return [p.detach().numpy().astype(float) for p in module.parameters()]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_linear_readout_equals_loops_over_places(stride):
    readout, maps = LinearReadout(SHAPE, 4, width=2, stride=stride), draw(3, *SHAPE)
    kernel, constant = arrays(readout.convolution)
    weights, bias = arrays(readout.linear)
    padded = np.pad(maps.numpy().astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = range(0, 5, stride), range(0, 7, stride)
    few = np.zeros((3, 2, len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            patch = padded[:, :, row : row + 3, column : column + 3]
            few[:, :, i, j] = np.einsum("bchw,kchw->bk", patch, kernel) + constant
    expected = few.reshape(3, -1) @ weights.T + bias
    found = readout(maps).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "stride", "n"), [(31, 3, 11), (16, 2, 8), (7, 1, 7)])
def test_linear_readout_has_the_published_sizes(side, stride, n):
    readout = LinearReadout((8, side, side), 2, stride=stride)
    assert readout.linear.in_features == 256 * n * n
    assert readout.convolution.weight.shape == (256, 8, 3, 3)
    assert readout(draw(1, 8, side, side)).shape == (1, 2)


def test_penalty_is_the_sum_of_norms_that_are_not_squared():
    readout = LinearReadout(SHAPE, 5, width=2)
    norms = [np.sqrt((p**2).sum()) for p in arrays(readout)]
    assert len(norms) == 4
    expected = 0.02 * sum(norms)
    assert readout.regulariser().item() == pytest.approx(expected, rel=1e-5)
    # As published, with one last layer per hemisphere.
    side = np.array([9, 2, 9, 9, 2])
    apart = LinearReadout(SHAPE, 5, width=2, weight=0.5, parts=side)
    weights, bias = arrays(apart.linear)
    halves = [a[side == k] for a in (weights, bias) for k in (2, 9)]
    values = [*arrays(apart.convolution), *halves]
    expected = 0.5 * sum(np.sqrt((p**2).sum()) for p in values)
    assert apart.regulariser().item() == pytest.approx(expected, rel=1e-5)
    maps = draw(2, *SHAPE)
    assert torch.equal(apart(maps), readout(maps))


def test_gradients_reach_every_parameter_and_are_defined_at_zero():
    readout = LinearReadout(SHAPE, 5, width=2)
    readout(draw(2, *SHAPE)).square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in readout.parameters())
    readout.zero_grad()
    readout.linear.bias.data.zero_()
    readout.regulariser().backward()
    assert all(p.grad.isfinite().all() for p in readout.parameters())
    one = VectorReadout(3, 5)
    one(draw(2, 3)).square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in one.parameters())


def test_vector_readout_is_a_product_for_both_shapes():
    readout, vectors = VectorReadout(6, 4), draw(3, 6)
    weights, bias = arrays(readout)
    found = readout(vectors).detach().numpy()
    expected = vectors.numpy() @ weights.T + bias
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(readout(vectors[:, :, None, None]), readout(vectors))


def test_initial_weights_follow_the_seed_and_not_the_caller():
    for make in (
        lambda seed: LinearReadout(SHAPE, 4, width=2, seed=seed),
        lambda seed: VectorReadout(6, 4, seed=seed),
    ):
        state = torch.get_rng_state()
        one, again, other = make(0), make(0), make(1)
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in one.state_dict().items():
            assert torch.equal(value, again.state_dict()[name])
            assert not torch.equal(value, other.state_dict()[name])


WRONG = [
    ({"in_shape": (3, 5)}, ValueError, "`in_shape` must be"),
    ({"n_units": 0}, ValueError, "`n_units` must be within"),
    ({"width": 0}, ValueError, "`width` must be within"),
    ({"stride": 1.5}, ValueError, "`stride` must be a whole number"),
    ({"weight": -1}, ValueError, "`weight` must be within"),
    ({"parts": [0, 1]}, ValueError, "`parts` must have one entry per unit"),
    ({"parts": list("abab")}, TypeError, "`parts` must be whole numbers"),
]


@pytest.mark.parametrize(("options", "kind", "message"), WRONG)
def test_wrong_options_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        LinearReadout(**{"in_shape": SHAPE, "n_units": 4, **options})


def test_inputs_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`maps` must have shape \(n_im"):
        LinearReadout(SHAPE, 4, width=2)(draw(2, 3, 7, 5))
    readout = VectorReadout(6, 4)
    for shape in ((6,), (2, 5), (2, 6, 1), (2, 6, 2, 2)):
        with pytest.raises(ValueError, match="`vectors` must have shape"):
            readout(draw(*shape))
    with pytest.raises(ValueError, match="`n_features` must be within"):
        VectorReadout(0, 4)
