"""Fixed masks per query against plain sums, their memory, and what they learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurovis.adapters.mask_encoder import MaskEncoder
from neurovis.adapters.unit_queries import UnitQueries, queries_from_masks
from neurovis.core.rng import generator
from neurovis.fitting.train import TrainSettings, train

OVERLAPS = UnitQueries(
    ("a", "b", "c"), 5, [[1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 1, 0, 1, 0]]
)
SHAPE = (6, 3, 5)


def draw(*shape, seed=0):
    values = generator(seed, "mask encoder", *shape).standard_normal(shape)
    return torch.from_numpy(values)


def one_each(n):
    return UnitQueries(tuple(map(str, range(n))), n)


def filled(encoder, seed=1):
    """The encoder in float64 with random weights."""
    encoder = encoder.double()
    for k, value in enumerate(encoder.parameters()):
        value.data = draw(*value.shape, seed=seed + k)
    return encoder


def plain(encoder, maps):
    """Predictions unit by unit, query by query and place by place."""
    maps = maps.detach().numpy()
    if encoder.input_proj is not None:
        kernel = encoder.input_proj.weight.detach().numpy()[:, :, 0, 0]
        maps = np.einsum("dc,bchw->bdhw", kernel, maps)
        maps = maps + encoder.input_proj.bias.detach().numpy()[:, None, None]
    scores = np.exp(encoder.masks.detach().numpy())
    order = encoder.readout.order.tolist()
    weights = encoder.readout.weight.detach().numpy()
    mask = encoder.queries.mask
    mask = np.eye(encoder.n_units) if mask is None else mask
    out = np.zeros((len(maps), encoder.n_units))
    for unit in range(encoder.n_units):
        row = order.index(unit)
        for query in np.flatnonzero(mask[:, unit]):
            shares = scores[query] / scores[query].sum()
            for place, share in enumerate(shares):
                seen = maps[:, :, place // maps.shape[3], place % maps.shape[3]]
                out[:, unit] += share * seen @ weights[row]
            out[:, unit] += encoder.readout.bias[row].item()
    return out


# ------------------------------------------------------------------ predictions


@pytest.mark.parametrize("width", [None, 4])
@pytest.mark.parametrize(
    "queries",
    [
        OVERLAPS,
        one_each(5),
        queries_from_masks({"lh": np.ones((1, 2)), "rh": np.ones((1, 3))}),
    ],
    ids=["regions", "units", "hemispheres"],
)
def test_predictions_are_weighted_sums_over_places(queries, width):
    encoder = filled(MaskEncoder(SHAPE, queries, width=width))
    maps = draw(2, *SHAPE)
    found = encoder(maps).detach().numpy()
    np.testing.assert_allclose(found, plain(encoder, maps), atol=1e-12)


def test_units_read_the_tokens_of_their_queries():
    encoder = filled(MaskEncoder(SHAPE, OVERLAPS))
    maps = draw(2, *SHAPE)
    tokens = encoder.tokens(maps)
    assert tokens.shape == (2, 3, 6)
    assert torch.equal(encoder(maps), encoder.readout(tokens))
    units = filled(MaskEncoder(SHAPE, one_each(4)))
    found = units.readout(units.tokens(maps))
    assert torch.allclose(units(maps), found, atol=1e-12)


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 9))
def test_blocks_of_units_change_neither_predictions_nor_gradients(n, at_once):
    whole = filled(MaskEncoder(SHAPE, one_each(n), width=4))
    parts = MaskEncoder(SHAPE, one_each(n), width=4, queries_at_once=at_once).double()
    parts.load_state_dict(whole.state_dict())
    maps, pull = draw(2, *SHAPE), draw(2, n, seed=3)
    wanted = whole(maps)
    wanted.backward(pull)
    for training in (True, False):
        parts.train(training).zero_grad()
        found = parts(maps)
        found.backward(pull)
        assert torch.allclose(found, wanted, atol=1e-12)
        for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
            assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_training_in_blocks_never_keeps_tokens_of_all_units():
    n, maps = 64, draw(10, *SHAPE).float()

    def n_kept(at_once):
        sizes = []

        def keep(tensor):
            sizes.append(tensor.numel())
            return tensor

        encoder = MaskEncoder(SHAPE, one_each(n), queries_at_once=at_once)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoder(maps).sum().backward()
        return sum(sizes)

    tokens = 10 * n * SHAPE[0]
    assert n_kept(8) < tokens < n_kept(n)


# --------------------------------------------------------------------- attention


def test_attention_is_the_same_in_every_picture_and_sums_to_one():
    encoder = filled(MaskEncoder(SHAPE, OVERLAPS, width=4)).float()
    encoder.masks.data[1, 2 * 5 + 3] = 50.0
    found = encoder.attention(draw(4, *SHAPE).float())
    assert found.shape == (1, 4, 3, 3, 5)
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(dim=(-2, -1)), torch.ones(1, 4, 3))
    assert torch.equal(found[:, 0], found[:, 3])
    assert found[0, 2, 1, 2, 3].item() == pytest.approx(1)


# --------------------------------------------------------------- weights, faults


def test_vertex_queries_have_the_published_number_of_parameters():
    with torch.device("meta"):
        encoder = MaskEncoder((768, 31, 31), one_each(39_548))
    assert sum(p.numel() for p in encoder.parameters()) == 68_418_040


def test_seed_alone_decides_the_start_and_torch_is_left_alone():
    before = torch.get_rng_state()
    first = MaskEncoder(SHAPE, OVERLAPS, width=4, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    again = MaskEncoder(SHAPE, OVERLAPS, width=4, seed=3).state_dict()
    other = MaskEncoder(SHAPE, OVERLAPS, width=4, seed=4).state_dict()
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert not torch.equal(value, other[name])


def test_masks_start_even_and_weights_in_the_usual_ranges():
    encoder = MaskEncoder((9, 8, 8), one_each(300), width=16)
    shares = encoder.attention(torch.zeros(1, 9, 8, 8))
    assert (shares * 64 - 1).abs().max() < 0.01
    assert encoder.masks.std().item() == pytest.approx(1e-3, rel=0.03)
    for parameters, bound in ((encoder.readout, 1 / 4), (encoder.input_proj, 1 / 3)):
        largest = max(p.abs().max().item() for p in parameters.parameters())
        assert 0.9 * bound < largest <= bound


def test_a_seeded_encoder_predicts_what_it_always_did():
    maps = torch.sin(torch.arange(2 * 6 * 3 * 5.0)).view(2, *SHAPE)
    found = MaskEncoder(SHAPE, OVERLAPS, width=4, seed=7)(maps)
    wanted = [
        [0.4612992, 1.2847073, -0.3033719, -0.1996253, -0.5545581],
        [0.48816, 1.256188, -0.31736, -0.142425, -0.514648],
    ]
    np.testing.assert_allclose(found.detach(), wanted, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`in_shape`"):
        MaskEncoder((6, 0, 5), OVERLAPS)
    with pytest.raises(ValueError, match="`width`"):
        MaskEncoder(SHAPE, OVERLAPS, width=0)
    with pytest.raises(ValueError, match="`queries_at_once`"):
        MaskEncoder(SHAPE, OVERLAPS, queries_at_once=0)
    for queries in (OVERLAPS, one_each(3)):
        encoder = MaskEncoder(SHAPE, queries)
        for call in (encoder, encoder.tokens, encoder.attention):
            with pytest.raises(ValueError, match=r"\(B, 6, 3, 5\); got \(2, 6, 5, 3\)"):
                call(torch.zeros(2, 6, 5, 3))


# ---------------------------------------------------------------------- recovery


def test_training_finds_the_place_and_the_channel_of_each_unit():
    places, channels, n = [4, 11], [2, 5], 600
    maps = draw(n, *SHAPE).float()
    y = maps.flatten(2)[:, channels, places] + 0.3 * draw(n, 2, seed=1).float()
    encoder = MaskEncoder(SHAPE, one_each(2))
    found = train(
        encoder,
        lambda epoch: [slice(i, i + 50) for i in range(0, n, 50)],
        lambda module, rows: ((module(maps[rows]) - y[rows]).square().sum(), 50),
        settings=TrainSettings(max_epochs=40, learning_rate=0.05, schedule="cosine"),
    )
    encoder.load_state_dict(found.state)
    looks = encoder.attention(maps[:1])[0, 0].flatten(-2)
    assert looks.argmax(dim=-1).tolist() == places
    assert (looks[[0, 1], places] > 0.8).all()
    weights = encoder.readout.weight.detach()
    assert weights.abs().argmax(dim=-1).tolist() == channels
    assert found.curves["loss"].iloc[-1] < 2 * 0.3**2 * 1.3
