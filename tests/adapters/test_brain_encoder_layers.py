"""Codes of places, and units read from tokens, against plain formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.adapters.brain_encoder_layers import (
    TokenReadout,
    flatten_maps,
    sine_positions,
)
from neurovis.adapters.unit_queries import UnitQueries
from neurovis.core.rng import generator


def draw(*shape, seed=0):
    values = generator(seed, "brain encoder layers", *shape).standard_normal(shape)
    return torch.from_numpy(values)


# --------------------------------------------------------------- codes of places


@settings(max_examples=20)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9))
def test_positions_follow_the_formula_place_by_place(height, width, quarter):
    n_features = 2 * quarter
    found = sine_positions(height, width, n_features)
    assert found.dtype == torch.float32
    assert found.shape == (height * width, n_features)
    half = n_features // 2
    for place in range(height * width):
        row, column = divmod(place, width)
        for part, at, n in ((0, row, height), (half, column, width)):
            angle = (at + 1) / (n + 1e-6) * 2 * math.pi
            for i in range(half):
                turn = angle / 10_000 ** (2 * (i // 2) / half)
                wanted = math.cos(turn) if i % 2 else math.sin(turn)
                assert found[place, part + i].item() == pytest.approx(wanted, abs=2e-6)


def test_every_place_has_a_code_that_is_most_like_itself():
    codes = sine_positions(6, 9, 32)
    assert torch.equal((codes @ codes.T).argmax(dim=1), torch.arange(54))


def test_maps_are_listed_row_by_row():
    maps = draw(2, 3, 4, 5)
    found = flatten_maps(maps, (3, 4, 5))
    assert torch.equal(found[1, 2 * 5 + 3], maps[1, :, 2, 3])
    with pytest.raises(ValueError, match=r"\(B, 3, 5, 4\); got \(2, 3, 4, 5\)"):
        flatten_maps(maps, (3, 5, 4))
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\)"):
        flatten_maps(maps[0], (3, 4, 5))


# ----------------------------------------------------------------------- readout


def literal(tokens, weight, bias, mask):
    """Every unit from every query, then masked and summed over queries."""
    raw = tokens @ weight.T + bias
    return (raw * mask).sum(dim=1)


@st.composite
def masks(draw_from):
    n_queries = draw_from(st.integers(1, 5))
    sets = st.lists(st.booleans(), min_size=n_queries, max_size=n_queries).filter(any)
    columns = draw_from(st.lists(sets, min_size=1, max_size=12))
    return np.array(columns).T


@settings(max_examples=60)
@given(masks())
def test_readout_equals_every_query_for_every_unit_then_masked(mask):
    n_queries, n_units = mask.shape
    queries = UnitQueries(tuple(map(str, range(n_queries))), n_units, mask)
    readout = TokenReadout(queries, 6).double()
    weight, bias = draw(n_units, 6), draw(n_units, seed=1)
    readout.load_units(weight, bias)
    weight.requires_grad_()
    bias.requires_grad_()
    ours = draw(3, n_queries, 6, seed=2).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    found = readout(ours)
    expected = literal(theirs, weight, bias, torch.from_numpy(mask))
    assert torch.allclose(found, expected, atol=1e-12)
    pull = draw(*found.shape, seed=3)
    found.backward(pull)
    expected.backward(pull)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)
    assert torch.allclose(readout.weight.grad, weight.grad[readout.order], atol=1e-12)
    assert torch.allclose(readout.bias.grad, bias.grad[readout.order], atol=1e-12)


def test_a_constant_counts_once_for_every_query_of_a_unit():
    queries = UnitQueries(("a", "b", "c"), 3, [[1, 1, 0], [0, 1, 1], [0, 1, 0]])
    readout = TokenReadout(queries, 2)
    readout.load_units(torch.zeros(3, 2), torch.tensor([1.0, 10.0, 100.0]))
    assert readout(torch.zeros(1, 3, 2)).tolist() == [[1.0, 30.0, 100.0]]


def test_readout_of_single_units_reads_each_unit_from_its_own_token():
    readout = TokenReadout(UnitQueries(("a", "b", "c"), 3), 4).double()
    weight, bias, tokens = draw(3, 4), draw(3, seed=1), draw(2, 3, 4, seed=2)
    readout.load_units(weight, bias)
    raw = tokens @ weight.T + bias
    assert torch.allclose(readout(tokens), torch.diagonal(raw, dim1=1, dim2=2))


def test_readout_holds_no_prediction_of_every_query_for_every_unit():
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                sizes.append(found.numel())
            return found

    n_queries, n_units, width, batch = 20, 500, 8, 4
    mask = np.arange(n_units) % n_queries == np.arange(n_queries)[:, None]
    queries = UnitQueries(tuple(map(str, range(n_queries))), n_units, mask)
    readout = TokenReadout(queries, width)
    readout.load_units(torch.ones(n_units, width), torch.ones(n_units))
    tokens = torch.zeros(batch, n_queries, width, requires_grad=True)
    with Sizes():
        readout(tokens).sum().backward()
    assert max(sizes) == n_units * width  # weights; n_queries * n_units is 10 000
