"""The transformer brain encoder against torch's own attention, and what it learns."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neurovis.adapters.brain_encoder import (
    BrainEncoder,
    BrainEncoderConfig,
    load_published_state,
)
from neurovis.adapters.brain_encoder_layers import sine_positions
from neurovis.adapters.unit_queries import UnitQueries, queries_from_masks
from neurovis.core.rng import generator, torch_generator
from neurovis.fitting.train import TrainSettings, train

TINY = BrainEncoderConfig(n_heads=2, feedforward=12, dropout=0.0)
OVERLAPS = UnitQueries(
    ("a", "b", "c"), 5, [[1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 1, 0, 1, 0]]
)
SHAPE = (8, 3, 5)


def draw(*shape, seed=0):
    values = generator(seed, "brain encoder", *shape).standard_normal(shape)
    return torch.from_numpy(values)


def filled(encoder, seed=1):
    """The encoder in float64 with random weights everywhere, norms too."""
    encoder = encoder.double()
    for k, value in enumerate(encoder.parameters()):
        value.data += 0.4 * draw(*value.shape, seed=seed + k)
    return encoder


def one_each(n):
    return UnitQueries(tuple(map(str, range(n))), n)


# ---------------------------------------------------- from torch's own components


class PlainLayer(nn.Module):
    """A layer of self-attention (encoder) or of attention to patches (decoder)."""

    def __init__(self, width, config, attention):
        super().__init__()
        self.attention = attention
        setattr(
            self,
            attention,
            nn.MultiheadAttention(width, config.n_heads, batch_first=True),
        )
        self.linear1 = nn.Linear(width, config.feedforward)
        self.linear2 = nn.Linear(config.feedforward, width)
        for name in ("norm1", "norm2", "norm3"):
            setattr(self, name, nn.LayerNorm(width))
        self.first = config.norm_first

    def attend(self, query, key, value):
        return getattr(self, self.attention)(query, key, value, need_weights=True)

    def feed(self, x):
        return self.linear2(torch.relu(self.linear1(x)))

    def encode(self, x, pos):
        source = self.norm1(x) if self.first else x
        mixed, shares = self.attend(source + pos, source + pos, source)
        x = x + mixed
        if self.first:
            return x + self.feed(self.norm2(x)), shares
        x = self.norm1(x)
        return self.norm2(x + self.feed(x)), shares

    def decode(self, target, queries, memory, pos):
        normed = self.norm1(target)
        mixed, shares = self.attend(normed + queries, memory + pos, memory)
        if self.first:
            target = target + mixed
            return target + self.feed(self.norm3(target)), shares
        target = self.norm2(normed + mixed)
        return self.norm3(target + self.feed(target)), shares


class PlainStack(nn.Module):
    def __init__(self, width, config, attention, n):
        super().__init__()
        layers = [PlainLayer(width, config, attention) for _ in range(n)]
        self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)


class Plain(nn.Module):
    """The encoder as it is told: every unit from every query, then masked."""

    def __init__(self, ours):
        super().__init__()
        config, width = ours.config, ours.query_embed.shape[1]
        if ours.input_proj is not None:
            self.input_proj = nn.Conv2d(ours.in_shape[0], width, 1)
        sizes = {"encoder": config.n_encoder_layers, "decoder": config.n_decoder_layers}
        self.encoder, self.decoder = (
            PlainStack(width, config, attention, n)
            for attention, n in zip(
                ("self_attn", "multihead_attn"), sizes.values(), strict=True
            )
        )
        self.query_embed = nn.Parameter(torch.empty(ours.query_embed.shape))
        self.units = nn.Linear(width, ours.n_units)
        self.double()
        state = dict(ours.state_dict())
        back = torch.argsort(ours.readout.order)
        for part in ("weight", "bias"):
            state[f"units.{part}"] = state.pop(f"readout.{part}")[back]
        lacking, unknown = self.load_state_dict(state, strict=False)
        assert not unknown
        assert all("norm" in name for name in lacking)
        self.config = config
        self.pos = sine_positions(*ours.in_shape[1:], width).double()
        mask = ours.queries.mask
        mask = np.eye(ours.n_units) if mask is None else mask.astype(float)
        self.mask = torch.from_numpy(mask)

    def forward(self, maps):
        if hasattr(self, "input_proj"):
            maps = self.input_proj(maps)
        batch, width, *_ = maps.shape
        memory = maps.reshape(batch, width, -1).permute(0, 2, 1)
        kept, patch_shares = [memory], []
        for layer in self.encoder.layers:
            memory, shares = layer.encode(memory, self.pos)
            kept.append(self.encoder.norm(memory) if self.config.norm_first else memory)
            patch_shares.append(shares)
        place = self.config.encoder_output
        memory = kept[1:][place] if len(kept) > 1 else kept[0]
        queries = self.query_embed.expand(batch, -1, -1)
        target, shares_of = torch.zeros_like(queries), []
        for layer in self.decoder.layers:
            target, shares = layer.decode(target, queries, memory, self.pos)
            shares_of.append(shares)
        tokens = self.decoder.norm(target)
        raw = self.units(tokens).transpose(1, 2)  # (batch, units, queries)
        out = (raw * self.mask.T).sum(dim=-1)
        return out, tokens, shares_of, patch_shares


@st.composite
def architectures(draw_from):
    n_heads = draw_from(st.sampled_from([1, 2, 4]))
    channels = 8 if draw_from(st.booleans()) else 12
    width = draw_from(st.sampled_from([None, 8, 16]))
    n_encoder_layers = draw_from(st.integers(0, 2))
    low, high = -n_encoder_layers, n_encoder_layers - 1
    config = BrainEncoderConfig(
        width=width,
        n_heads=n_heads,
        feedforward=draw_from(st.sampled_from([3, 10])),
        dropout=0.0,
        norm_first=draw_from(st.booleans()),
        n_encoder_layers=n_encoder_layers,
        n_decoder_layers=draw_from(st.integers(1, 3)),
        encoder_output=draw_from(st.integers(low, high)) if n_encoder_layers else -1,
    )
    shape = channels, draw_from(st.integers(1, 5)), draw_from(st.integers(1, 5))
    kind = draw_from(st.sampled_from(["overlaps", "hemispheres", "units"]))
    if kind == "units":
        queries = one_each(draw_from(st.integers(1, 7)))
    elif kind == "hemispheres":
        sides = {"lh": np.ones((1, 3)), "rh": np.ones((1, 4))}
        queries = queries_from_masks(sides)
    else:
        random = np.random.default_rng(draw_from(st.integers(0, 10**6)))
        n = draw_from(st.integers(1, 4))
        sides = {side: random.random((n, 5)) < 0.5 for side in ("lh", "rh")}
        queries = queries_from_masks(sides)
    return config, shape, queries


@settings(max_examples=60)
@given(architectures(), st.integers(1, 8), st.booleans())
def test_encoder_equals_one_made_of_torch_components(made, at_once, training):
    config, shape, queries = made
    ours = filled(BrainEncoder(shape, queries, config, queries_at_once=at_once))
    plain = Plain(ours)
    ours.train(training)
    maps = draw(3, *shape, seed=9).requires_grad_()
    copied = maps.detach().clone().requires_grad_()
    found, (wanted, tokens, shares, patch_shares) = ours(maps), plain(copied)

    def close(ours, theirs, name):
        np.testing.assert_allclose(
            ours.detach(), theirs.detach(), rtol=1e-6, atol=1e-6, err_msg=name
        )

    close(found, wanted, "predictions")
    close(ours.tokens(maps), tokens, "tokens")
    looks = torch.stack(shares)
    close(ours.attention(maps).flatten(-2), looks.float(), "attention")
    if patch_shares:
        mixed = torch.stack(patch_shares).float()
        close(ours.patch_attention(maps), mixed, "attention of patches")
    else:
        assert ours.patch_attention(maps).shape == (0, 3, looks.shape[-1],
                                                    looks.shape[-1])  # fmt: skip
    pull = draw(*found.shape, seed=5)
    found.backward(pull)
    wanted.backward(pull)
    close(maps.grad, copied.grad, "gradient of maps")
    theirs = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        other = theirs[name.replace("readout.", "units.")].grad
        if name.startswith("readout."):
            other = other[ours.readout.order]
        if parameter.grad is None or other is None:  # a layer after the one looked at
            assert name.startswith("encoder.layers.")
            assert parameter.grad is other
            continue
        close(parameter.grad, other, name)


# ------------------------------------------------------------------------ blocks


def value_and_gradients(encoder, maps, seed=0):
    encoder.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch_generator(seed).get_state())
        out = encoder(maps)
    pull = draw(*out.shape, seed=4).to(out)
    out.backward(pull)
    gradients = {k: p.grad.clone() for k, p in encoder.named_parameters()}
    return out.detach(), gradients, (out.detach() * pull).sum()


@pytest.mark.parametrize("queries", [OVERLAPS, one_each(7)], ids=["regions", "units"])
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_blocks_of_queries_change_neither_predictions_nor_gradients(queries, at_once):
    config = BrainEncoderConfig(
        n_heads=2, feedforward=12, dropout=0.0, n_decoder_layers=2
    )
    whole = filled(BrainEncoder(SHAPE, queries, config))
    parts = BrainEncoder(SHAPE, queries, config, queries_at_once=at_once).double()
    parts.load_state_dict(whole.state_dict())
    maps = draw(2, *SHAPE)
    one, wanted, _ = value_and_gradients(whole, maps)
    for training in (True, False):
        out, found, _ = value_and_gradients(parts.train(training), maps)
        assert torch.allclose(out, one, atol=1e-12)
        for name, gradient in found.items():
            assert torch.allclose(gradient, wanted[name], atol=1e-12), name


@pytest.mark.parametrize("queries", [OVERLAPS, one_each(5)], ids=["regions", "units"])
def test_blocks_computed_again_drop_the_same_entries(queries):
    config = BrainEncoderConfig(n_heads=2, feedforward=12, dropout=0.4)
    encoder = filled(BrainEncoder(SHAPE, queries, config, queries_at_once=2))
    maps = draw(2, *SHAPE)
    out, gradients, _ = value_and_gradients(encoder, maps, seed=3)
    again, _, _ = value_and_gradients(encoder, maps, seed=3)
    assert torch.equal(out, again)
    other, _, _ = value_and_gradients(encoder, maps, seed=4)
    assert not torch.allclose(out, other)
    steps = {k: draw(*g.shape, seed=7) for k, g in gradients.items()}
    slope = sum((steps[k] * g).sum() for k, g in gradients.items())
    values, size = [], 1e-6
    for sign in (1, -1):
        moved = copy.deepcopy(encoder)
        for name, parameter in moved.named_parameters():
            parameter.data += sign * size * steps[name]
        values.append(value_and_gradients(moved, maps, seed=3)[2])
    assert ((values[0] - values[1]) / (2 * size)).item() == pytest.approx(
        slope.item(), rel=1e-5
    )


def test_nothing_is_dropped_in_evaluation():
    encoder = BrainEncoder(SHAPE, OVERLAPS, BrainEncoderConfig(n_heads=2, dropout=0.9))
    maps = draw(2, *SHAPE).float()
    encoder.eval()
    assert torch.equal(encoder(maps), encoder(maps))
    encoder.train()
    assert not torch.equal(encoder(maps), encoder(maps))


# -------------------------------------------------------------- units and queries


def test_permuting_units_permutes_predictions():
    random = np.random.default_rng(0)
    mask = random.random((4, 30)) < 0.5
    mask[0] |= ~mask.any(axis=0)
    order = random.permutation(30)
    maps = draw(2, *SHAPE)
    one = filled(BrainEncoder(SHAPE, UnitQueries(tuple("abcd"), 30, mask), TINY))
    two = BrainEncoder(SHAPE, UnitQueries(tuple("abcd"), 30, mask[:, order]), TINY)
    two = two.double()
    state = {k: v for k, v in one.state_dict().items() if "readout" not in k}
    two.load_state_dict(state, strict=False)
    back = torch.argsort(one.readout.order)
    weight, bias = one.readout.weight[back], one.readout.bias[back]
    two.readout.load_units(weight[order], bias[order])
    assert torch.allclose(two(maps), one(maps)[:, order], atol=1e-12)


def test_permuting_queries_permutes_tokens_and_attention_only():
    order = [2, 0, 1]
    names = tuple(OVERLAPS.names[i] for i in order)
    moved = UnitQueries(names, 5, OVERLAPS.mask[order])
    one = filled(BrainEncoder(SHAPE, OVERLAPS, TINY))
    two = BrainEncoder(SHAPE, moved, TINY).double()
    state = {k: v for k, v in one.state_dict().items() if "readout" not in k}
    state["query_embed"] = state["query_embed"][order]
    two.load_state_dict(state, strict=False)
    back = torch.argsort(one.readout.order)
    two.readout.load_units(one.readout.weight[back], one.readout.bias[back])
    maps = draw(2, *SHAPE)
    assert torch.allclose(two(maps), one(maps), atol=1e-12)
    assert torch.allclose(two.tokens(maps), one.tokens(maps)[:, order], atol=1e-12)
    assert torch.allclose(two.attention(maps), one.attention(maps)[:, :, order])


def test_pictures_of_a_batch_do_not_see_each_other():
    encoder = filled(BrainEncoder(SHAPE, OVERLAPS, TINY))
    maps = draw(4, *SHAPE)
    alone = torch.cat([encoder(one[None]) for one in maps])
    assert torch.allclose(encoder(maps), alone, atol=1e-12)


# --------------------------------------------------------------------- attention


def test_attention_sums_to_one_in_every_layer():
    config = BrainEncoderConfig(n_heads=4, n_encoder_layers=2, n_decoder_layers=3)
    encoder = BrainEncoder((16, 4, 6), OVERLAPS, config)
    maps = 5 * draw(2, 16, 4, 6).float()
    found = encoder.eval().attention(maps)
    assert found.shape == (3, 2, 3, 4, 6)
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(dim=(-2, -1)), torch.ones(3, 2, 3), atol=1e-5)
    assert (found >= 0).all()
    patches = encoder.patch_attention(maps)
    assert patches.shape == (2, 2, 24, 24)
    assert torch.allclose(patches.sum(dim=-1), torch.ones(2, 2, 24), atol=1e-5)


def looking(shape, looked_for):
    """An encoder whose query i looks for looked_for[i], a key."""
    config = BrainEncoderConfig(n_heads=1)
    encoder = BrainEncoder(shape, one_each(len(looked_for)), config).eval()
    width = shape[0]
    part = encoder.decoder.layers[0].multihead_attn
    with torch.no_grad():
        part.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
        encoder.query_embed.copy_(20 * torch.stack(looked_for))
    return encoder


def test_map_i_of_attention_is_where_query_i_looks():
    shape = (16, 4, 6)
    places = [17, 3, 20]
    codes = sine_positions(4, 6, 16)
    encoder = looking(shape, [codes[p] for p in places])
    found = encoder.attention(torch.zeros(2, *shape))[0]
    assert found.flatten(-2).argmax(dim=-1).tolist() == [places] * 2
    assert (found.flatten(-2).amax(dim=-1) > 0.5).all()


def test_a_query_follows_its_feature_from_picture_to_picture():
    shape = (16, 4, 6)
    feature = torch.zeros(16)
    feature[5] = 1.0
    encoder = looking(shape, [feature, torch.zeros(16)])
    maps = torch.zeros(2, *shape)
    maps[0, 5, 3, 1] = maps[1, 5, 0, 4] = 9.0
    found = encoder.attention(maps)[0]
    assert found[0, 0].argmax().item() == 3 * 6 + 1
    assert found[1, 0].argmax().item() == 4
    # The other query looks for nothing, and so everywhere.
    assert torch.allclose(found[:, 1], torch.full((2, 4, 6), 1 / 24))


# ---------------------------------------------------------- weights: start, state


def test_seed_alone_decides_the_start_and_torch_is_left_alone():
    config = BrainEncoderConfig(width=16, n_heads=2, n_encoder_layers=1)
    before = torch.get_rng_state()
    first = BrainEncoder(SHAPE, OVERLAPS, config, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.rand(5)
        second = BrainEncoder(SHAPE, OVERLAPS, config, seed=3).state_dict()
    other = BrainEncoder(SHAPE, OVERLAPS, config, seed=4).state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[k], second[k]) for k in first)
    drawn = [k for k in first if not torch.equal(first[k], other[k])]
    still = set(first) - set(drawn)
    assert all("norm" in k or k.endswith(("proj_bias", "out_proj.bias")) for k in still)


def test_weights_start_in_the_published_ranges():
    config = BrainEncoderConfig(width=32, n_heads=2, feedforward=48, n_encoder_layers=1)
    queries = one_each(400)
    encoder = BrainEncoder((20, 3, 3), queries, config)
    for name, value in encoder.state_dict().items():
        if "norm" in name:
            assert (value == float(name.endswith("weight"))).all()
        elif name == "query_embed":
            assert value.std().item() == pytest.approx(1, abs=0.03)
        elif name.endswith(("in_proj_bias", "out_proj.bias")):
            assert (value == 0).all()
        else:
            is_layer = name.startswith(("encoder.", "decoder."))
            if is_layer and value.ndim == 2:
                bound = math.sqrt(6 / sum(value.shape))
            else:
                n_inputs = 20 if name.startswith("input_proj") else 32
                n_inputs = 48 if "linear2" in name else n_inputs
                bound = n_inputs**-0.5
            assert value.abs().max() <= bound
            assert value.abs().max() > 0.8 * bound, name


def test_state_of_an_encoder_makes_another_equal():
    config = BrainEncoderConfig(width=12, n_heads=2, n_encoder_layers=1)
    one = filled(BrainEncoder(SHAPE, OVERLAPS, config, seed=1))
    two = BrainEncoder(SHAPE, OVERLAPS, config, seed=2).double()
    two.load_state_dict(one.state_dict())
    maps = draw(2, *SHAPE)
    assert torch.equal(one.eval()(maps), two.eval()(maps))
    assert not {"positions", "readout.sets"} & set(one.state_dict())


def test_number_of_parameters_of_the_published_architecture():
    sides = {s: np.arange(n) % 25 == np.arange(25)[:, None]
             for s, n in (("lh", 19_004), ("rh", 20_544))}  # fmt: skip
    with torch.device("meta"):
        encoder = BrainEncoder((768, 31, 31), queries_from_masks(sides))
    n = sum(p.numel() for p in encoder.parameters())
    layer = 4 * 768**2 + 4 * 768 + 2 * 768 * 1024 + 1024 + 768 + 3 * 2 * 768
    assert n == 50 * 768 + layer + 39_548 * 769


def test_mixed_precision_stays_near_float32():
    encoder = BrainEncoder((16, 6, 6), OVERLAPS, BrainEncoderConfig(n_heads=4)).eval()
    maps = draw(4, 16, 6, 6).float()
    whole = encoder(maps)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(maps)
    assert found.isfinite().all()
    assert (found - whole).abs().max() < 0.05 * whole.abs().max()


FROZEN = {
    "regions": [
        [0.23614252, 1.0065272, 0.10682738, 0.5809166, -0.6873592],
        [0.19686142, 0.99614006, 0.00560844, 0.5943461, -0.71862614],
    ],
    "units": [
        [-0.43978214, -0.7131461, 0.18479387, 0.0903469, 0.8238672],
        [-0.4813662, -0.673856, 0.21849684, 0.10681614, 0.820868],
    ],
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_seeded_encoder_predicts_what_it_always_did(name):
    queries = {"regions": OVERLAPS, "units": one_each(5)}[name]
    config = BrainEncoderConfig(
        width=16, n_heads=4, feedforward=24, n_encoder_layers=1, n_decoder_layers=2
    )
    maps = torch.sin(torch.arange(2 * 8 * 3 * 5.0)).view(2, *SHAPE)
    found = BrainEncoder(SHAPE, queries, config, seed=7).eval()(maps)
    np.testing.assert_allclose(found.detach(), FROZEN[name], atol=1e-5)


# ------------------------------------------------------------- published weights


def published(encoder, n_left):
    """The state of an encoder as the public code would name it."""
    state = {}
    back = torch.argsort(encoder.readout.order)
    for name, value in encoder.state_dict().items():
        if name == "query_embed":
            state["query_embed.weight"] = value
        elif name.startswith("readout."):
            for side, units in (("lh", back[:n_left]), ("rh", back[n_left:])):
                state[f"{side}_embed.0.{name[8:]}"] = value[units]
        elif name.startswith("input_proj"):
            state[name] = value
        else:
            state[f"transformer.{name}"] = value
    state["transformer.decoder.layers.0.self_attn.in_proj_bias"] = torch.zeros(3)
    state["transformer.decoder.layers.0.norm2.weight"] = torch.zeros(3)
    return state


@pytest.mark.parametrize("width", [None, 16])
def test_published_state_gives_the_encoder_back(width):
    config = BrainEncoderConfig(width=width, n_heads=2, feedforward=12, dropout=0.0,
                                n_encoder_layers=1, n_decoder_layers=2)  # fmt: skip
    one = BrainEncoder(SHAPE, OVERLAPS, config, seed=5).eval()
    for number, value in enumerate(one.parameters()):
        value.data += 0.1 * draw(*value.shape, seed=number).float()
    two = load_published_state(published(one, 2), SHAPE, OVERLAPS, n_heads=2)
    assert not two.training
    maps = draw(2, *SHAPE).float()
    assert torch.equal(two(maps), one(maps))


def without(name):
    return lambda state: state.pop(name)


def changed(name, value):
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("query_embed.weight"), "must hold the weights of a transformer"),
        (lambda state: state.clear(), "must hold the weights of a transformer"),
        (without("transformer.decoder.norm.bias"), "'decoder.norm.bias' is missing"),
        (changed("backbone.weight", torch.zeros(1)), "'backbone.weight' is missing"),
        (changed("query_embed.weight", torch.zeros(4, 8)), "'query_embed'"),
        (without("lh_embed.0.bias"), "'lh_embed.0.weight'"),
        (without("rh_embed.0.weight"), "'rh_embed.0.weight'"),
        (changed("rh_embed.0.weight", torch.zeros(3, 7)), "'rh_embed.0.weight'"),
        (changed("lh_embed.0.bias", torch.zeros(3)), "'lh_embed.0.weight'"),
        (
            lambda state: [state.pop(f"lh_embed.0.{k}") for k in ("weight", "bias")],
            "'3 units for 5' is missing",
        ),
    ],
)
def test_a_published_state_that_does_not_fit_is_refused(change, message):
    state = published(BrainEncoder(SHAPE, OVERLAPS, TINY), 2)
    change(state)
    with pytest.raises(ValueError, match=message):
        load_published_state(state, SHAPE, OVERLAPS, n_heads=2)


def test_published_weights_for_other_maps_are_refused():
    state = published(BrainEncoder(SHAPE, OVERLAPS, TINY), 2)
    with pytest.raises(ValueError, match="another shape"):
        load_published_state(state, (16, 3, 5), OVERLAPS, n_heads=2)


# ------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 1}, "`width`"),
        ({"n_heads": 0}, "`n_heads`"),
        ({"feedforward": 1.5}, "`feedforward`"),
        ({"dropout": 1}, "`dropout` must be below 1"),
        ({"n_encoder_layers": -1}, "`n_encoder_layers`"),
        ({"n_decoder_layers": 0}, "`n_decoder_layers`"),
        ({"n_encoder_layers": 2, "encoder_output": 2}, "`encoder_output`"),
    ],
)
def test_an_architecture_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BrainEncoderConfig(**options)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"3 heads \(`n_heads`\) must divide it"):
        BrainEncoder(SHAPE, OVERLAPS, BrainEncoderConfig(n_heads=3))
    with pytest.raises(ValueError, match="must be even"):
        BrainEncoder((7, 3, 5), OVERLAPS, BrainEncoderConfig(n_heads=1))
    with pytest.raises(ValueError, match="`queries_at_once`"):
        BrainEncoder(SHAPE, OVERLAPS, TINY, queries_at_once=0)
    encoder = BrainEncoder(SHAPE, OVERLAPS, TINY)
    for call in (encoder, encoder.tokens, encoder.attention, encoder.patch_attention):
        with pytest.raises(ValueError, match=r"\(B, 8, 3, 5\); got \(2, 8, 5, 3\)"):
            call(torch.zeros(2, 8, 5, 3))


# ---------------------------------------------------------------------- recovery


def test_training_finds_where_units_look():
    shape, places, n = (16, 4, 5), [13, 6], 2000
    maps = 0.3 * draw(n + 100, *shape).float()
    # Each unit hears channel 2 at one place, through noise.
    at = maps.flatten(2)[:, 2, places]
    y = at / 0.3 + 0.3 * draw(n + 100, 2, seed=1).float()
    encoder = BrainEncoder(
        shape,
        UnitQueries(("first", "second"), 2, np.eye(2)),
        BrainEncoderConfig(n_heads=1, feedforward=16, dropout=0.0),
    )
    found = train(
        encoder,
        lambda epoch: [slice(i, i + 50) for i in range(0, n, 50)],
        lambda module, rows: ((module(maps[rows]) - y[rows]).square().sum(), 50),
        settings=TrainSettings(
            max_epochs=15, learning_rate=1e-2, optimiser="adamw", schedule="cosine"
        ),
    )
    encoder.load_state_dict(found.state)
    encoder.eval()
    looks = encoder.attention(maps[n:])[0].flatten(-2).mean(dim=0)
    assert looks.argmax(dim=-1).tolist() == places
    assert (looks[[0, 1], places] > 0.5).all()
    with torch.no_grad():
        predicted = encoder(maps[n:])
    for unit in range(2):
        r = np.corrcoef(predicted[:, unit], at[n:, unit])[0, 1]
        assert r > 0.65
