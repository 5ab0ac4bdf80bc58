"""The network of OAT: layers, tokens, causality, and what it is told of the target."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from neurovis.adapters.oat_appearance import AppearanceCNN
from neurovis.adapters.oat_decoding import CachedDecoder
from neurovis.adapters.oat_layers import (
    DecoderLayer,
    EncoderLayer,
    ObjectAttention,
    sinusoids,
)
from neurovis.adapters.oat_network import (
    OATConfig,
    OATNetwork,
    object_batch,
    published_config,
    small_config,
)
from neurovis.adapters.oat_positions import position_codes
from neurovis.core.object_displays import FreeDisplay, regular_display

TINY = OATConfig(
    appearance="none",
    appearance_width=16,
    position_width=48,
    feedforward=32,
    n_encoder_layers=2,
    n_decoder_layers=2,
)
N_FEATURES = 5


def tiny(**changes):
    return replace(TINY, **changes)


def grid(name="a", rows=3, cols=4, target=5, features=False, seed=0):
    display = regular_display(
        name,
        rows=rows,
        cols=cols,
        size_px=(100.0 * cols, 100.0 * rows),
        target_cell=target,
    )
    if not features:
        return display
    looks = np.random.default_rng(seed).standard_normal((rows * cols, N_FEATURES))
    return replace(display, appearance=looks.astype(np.float32))


def logits_of(config, display, cells, seed=1):
    network = OATNetwork(config, seed).eval()
    with torch.inference_mode():
        found = network(
            object_batch([display], config), torch.tensor([cells]), torch.tensor([0])
        )
    return found[0]


def random_tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------- parameters


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_published_architecture_has_the_published_numbers_of_parameters():
    network = OATNetwork(published_config())
    assert n_parameters(network.encoder) == 6_311_936
    assert n_parameters(network.decoder) == 10_518_528
    assert network.appearance is not None
    assert n_parameters(network.appearance) == 374_752
    assert n_parameters(network.pointer.objects) * 2 == 1_050_624
    assert n_parameters(network.pointer.tokens) * 2 == 1_050_624
    assert n_parameters(network.pointer.readout) == 3
    assert n_parameters(network) == 18_255_843


def test_weights_depend_on_the_seed_only_and_draw_nothing_from_the_caller():
    torch.manual_seed(1)
    one = OATNetwork(TINY, 0).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = OATNetwork(TINY, 0).state_dict(), OATNetwork(TINY, 1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(
        one["pointer.readout.weight"], other["pointer.readout.weight"]
    )


def test_weights_of_matrices_have_the_bounds_of_xavier():
    network = OATNetwork(published_config())
    for name, value in network.named_parameters():
        if value.dim() > 1:
            area = value[0, 0].numel() if value.dim() > 2 else 1
            bound = (6 / ((value.shape[0] + value.shape[1]) * area)) ** 0.5
            assert value.abs().max() <= bound, name
            assert value.numel() < 100 or value.abs().max() > 0.9 * bound, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"appearance": "crop"}, "Did you mean 'crops'"),
        ({"target_position": "false"}, "target_position"),
        ({"appearance": "features"}, "`n_features`"),
        ({"n_heads": 3}, "must be even and a multiple of `n_heads`, 3"),
        ({"n_decoder_layers": 0}, "`n_decoder_layers`"),
        ({"position_width": 2}, "`position_width`"),
        ({"dropout": 1.0}, "`dropout`"),
        ({"feedforward": 8.5}, "`feedforward` must be a whole number"),
    ],
)
def test_architectures_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        published_config(**changes)


# ----------------------------------------------------- layers against PyTorch's


def load_into(theirs, ours):
    theirs.load_state_dict(ours.state_dict())
    return theirs.eval(), ours.eval()


def seeded(module, seed=0):
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)
    return module


@pytest.mark.parametrize("masked", [False, True])
def test_encoder_layer_equals_that_of_pytorch(masked):
    theirs, ours = load_into(
        nn.TransformerEncoderLayer(32, 4, 48, 0.1, batch_first=True),
        seeded(EncoderLayer(32, 4, 48, 0.1)),
    )
    tokens = random_tokens(3, 7, 32)
    there = torch.arange(7) < torch.tensor([[7], [4], [1]])
    expected = theirs(tokens, src_key_padding_mask=~there if masked else None)
    found = ours(tokens, there[:, None, None] if masked else None)
    kept = there if masked else torch.ones_like(there)
    torch.testing.assert_close(found[kept], expected[kept], rtol=0, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_decoder_layer_equals_that_of_pytorch(masked):
    theirs, ours = load_into(
        nn.TransformerDecoderLayer(32, 4, 48, 0.1, batch_first=True),
        seeded(DecoderLayer(32, 4, 48, 0.1)),
    )
    tokens, objects = random_tokens(3, 6, 32), random_tokens(3, 9, 32, seed=1)
    there = torch.arange(9) < torch.tensor([[9], [4], [1]])
    expected = theirs(
        tokens,
        objects,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(6),
        tgt_is_causal=True,
        memory_key_padding_mask=~there if masked else None,
    )
    keys, values = ours.multihead_attn.project(objects, 1, 2)
    found = ours(tokens, (keys, values), there[:, None, None] if masked else None)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_gradients_of_the_encoder_layer_equal_those_of_pytorch():
    theirs, ours = load_into(
        nn.TransformerEncoderLayer(32, 4, 48, 0.0, batch_first=True),
        seeded(EncoderLayer(32, 4, 48, 0.0)),
    )
    tokens = random_tokens(2, 5, 32)
    for layer in (theirs, ours):
        layer.train()
        (
            layer(tokens) if layer is theirs else layer(tokens, None)
        ).sin().sum().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-4, rtol=1e-4)


def test_dropout_changes_training_and_not_evaluation():
    network = OATNetwork(tiny(dropout=0.5), 0)
    batch, cells = object_batch([grid()], TINY), torch.tensor([[1, 2, 3]])
    display = torch.tensor([0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network.train()
        one, other = (network(batch, cells, display) for _ in range(2))
        assert (one - other).abs()[..., :-1].min() > 0
    network.eval()
    one, other = (network(batch, cells, display) for _ in range(2))
    assert torch.equal(one, other)


def test_object_attention_equals_the_definition_element_by_element():
    width, n_heads, n_tokens, n_objects = 16, 2, 3, 4
    attention = seeded(ObjectAttention(width, n_heads))
    decoded = random_tokens(1, n_tokens, width)
    encoded = random_tokens(1, n_objects + 1, width, seed=1)
    with torch.inference_mode():
        found = attention(decoded, attention.project(encoded), None)
    state = {k: v.double().numpy() for k, v in attention.state_dict().items()}
    h_d, h_e = decoded[0].double().numpy(), encoded[0].double().numpy()
    for token in range(n_tokens):
        for target in range(n_objects + 2):
            logit = state["readout.bias"][0]
            for head in range(n_heads):
                mapped = (
                    state[f"tokens.{head}.weight"] @ h_d[token]
                    + state[f"tokens.{head}.bias"]
                )
                score = 0.0  # of padding
                if target <= n_objects:
                    score = mapped @ (
                        state[f"objects.{head}.weight"] @ h_e[target]
                        + state[f"objects.{head}.bias"]
                    )
                logit += state["readout.weight"][0, head] * score / width**0.5
            assert found[0, token, target].item() == pytest.approx(logit, abs=1e-5)


def test_appearance_network_has_the_published_sizes():
    cnn = AppearanceCNN().eval()
    pictures = random_tokens(2, 3, 150, 93)
    hidden = nn.functional.max_pool2d(cnn.conv1(pictures).relu(), 5)
    assert hidden.shape == (2, 16, 29, 17)
    hidden = nn.functional.max_pool2d(cnn.conv2(hidden).relu(), 3)
    assert hidden.shape == (2, 32, 9, 5)
    torch.testing.assert_close(cnn(pictures), cnn.linear(hidden.flatten(1)))


def test_order_is_coded_by_the_sinusoids_of_the_transformer():
    codes = sinusoids(2, 4, 6)
    for row, place in enumerate(range(2, 6)):
        for k in range(3):
            angle = place / 10000 ** (2 * k / 6)
            assert codes[row, 2 * k].item() == pytest.approx(np.sin(angle), abs=1e-6)
            assert codes[row, 2 * k + 1].item() == pytest.approx(
                np.cos(angle), abs=1e-6
            )


# ----------------------------------------------------------------------- tokens


def features_config(**changes):
    return tiny(appearance="features", n_features=N_FEATURES, **changes)


@pytest.mark.parametrize("told", ["none", "true"])
def test_tokens_are_look_and_place_and_the_target_token_comes_last(told):
    config = features_config(target_position=told)
    display = grid(rows=6, cols=14, target=20, features=True)
    network = OATNetwork(config).eval()
    with torch.inference_mode():
        objects, fixated = network.embed(object_batch([display], config))
        looks = network.appearance(torch.from_numpy(display.appearance))
        start_look = network.appearance(torch.ones(1, N_FEATURES))
    assert objects.shape == fixated.shape == (1, 85, 64)

    def code(row, col, flag):
        return torch.from_numpy(position_codes([[row, col]], [flag], width=48))[0]

    for cell in (0, 19, 20, 83):
        row, col = divmod(cell, 14)
        token = torch.cat([looks[cell], code(row, col, 0)])
        torch.testing.assert_close(objects[0, cell], token)
        flag = int(told == "true" and cell == 20)
        token = torch.cat([looks[cell], code(row, col, flag)])
        torch.testing.assert_close(fixated[0, cell], token)
    place = (1, 6, 1) if told == "true" else (3, 7, 1)
    torch.testing.assert_close(objects[0, 84], torch.cat([looks[20], code(*place)]))
    start = torch.cat([start_look[0], code(3, 7, 0)])
    torch.testing.assert_close(fixated[0, 84], start)


def test_in_a_mixed_batch_the_target_token_follows_the_last_object():
    config = features_config()
    small, large = (
        grid("s", 2, 2, 1, features=True),
        grid("l", 3, 4, 5, features=True, seed=1),
    )
    network = OATNetwork(config).eval()
    with torch.inference_mode():
        alone, _ = network.embed(object_batch([small], config))
        mixed, _ = network.embed(object_batch([large, small], config))
    torch.testing.assert_close(mixed[1, :5], alone[0])
    assert object_batch([small], config).mask is None
    mask = object_batch([large, small], config).mask
    assert mask is not None
    assert mask.sum(dim=1).tolist() == [13, 5]


# -------------------------------------------------- causality, end, and padding


@pytest.mark.parametrize("place", range(5))
def test_a_fixation_changes_later_tokens_only(place):
    cells = [3, 7, 1, 1, 0]
    other = list(cells)
    other[place] = 9
    before, after = (logits_of(TINY, grid(), c)[:, :-1] for c in (cells, other))
    changed = (before - after).abs().amax(dim=1)
    torch.testing.assert_close(
        changed[: place + 1], torch.zeros(place + 1), rtol=0, atol=1e-6
    )
    assert changed[place + 1 :].min() > 1e-4


def test_the_order_of_earlier_fixations_matters():
    one, other = (logits_of(TINY, grid(), c)[-1, :-1] for c in ([3, 7, 1], [7, 3, 1]))
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("row", [0, 7, 12])
def test_each_class_points_at_its_object_and_the_end_at_the_target_token(row):
    network = OATNetwork(TINY).eval()
    encoded, decoded = random_tokens(1, 13, 64), random_tokens(1, 4, 64, seed=1)
    changed = encoded.clone()
    changed[0, row] += 1.0
    with torch.inference_mode():
        before, after = (
            network.pointer(decoded, network.pointer.project(e), None)
            for e in (encoded, changed)
        )
    moved = (before != after)[0].any(dim=0)
    assert moved.nonzero().flatten().tolist() == [row]


def test_logit_of_padding_is_the_bias_of_the_readout():
    network = OATNetwork(TINY, 1)
    found = logits_of(TINY, grid(), [0, 5, 2])
    assert found.shape == (4, 14)
    assert (found[:, -1] == network.pointer.readout.bias).all()


def test_displays_in_one_batch_do_not_see_each_other():
    config = features_config()
    displays = [
        grid("s", 2, 2, 1, features=True),
        grid("l", 3, 4, 5, features=True, seed=1),
        FreeDisplay(
            "f",
            [[0, 0, 9, 9], [20, 5, 28, 30], [50, 1, 70, 8]],
            80,
            40,
            2,
            np.eye(3, N_FEATURES, dtype=np.float32),
        ),
    ]
    paths = [[0, 3, 3], [11, 5], [2]]
    network = OATNetwork(config).eval()
    cells = torch.tensor([[0, 3, 3], [11, 5, 0], [2, 0, 0], [1, 1, 1]])
    with torch.inference_mode():
        mixed = network(
            object_batch(displays, config), cells, torch.tensor([0, 1, 2, 1])
        )
    for row, (display, path) in enumerate(zip(displays, paths, strict=True)):
        alone = logits_of(config, display, path, seed=0)
        n, length = display.n_cells, len(path) + 1
        torch.testing.assert_close(
            mixed[row, :length, : n + 1], alone[:, : n + 1], rtol=0, atol=1e-5
        )
        assert (mixed[row, :length, n + 1 : -1] == -torch.inf).all()


def test_attention_of_the_decoder_sums_to_1_and_leaves_out_padding():
    network = OATNetwork(TINY).eval()
    displays, looks = [grid("s", 2, 2, 1), grid("l")], []
    with torch.inference_mode():
        network(
            object_batch(displays, TINY),
            torch.tensor([[0, 1], [2, 3]]),
            torch.tensor([0, 1]),
            looks,
        )
    assert len(looks) == 2
    for layer in looks:
        assert layer.shape == (2, 3, 13)
        torch.testing.assert_close(layer.sum(dim=2), torch.ones(2, 3))
        assert (layer[0, :, 5:] == 0).all()
        assert (layer[1] > 0).all()


# ----------------------------------------------- what it is told of the target


CELLS = [3, 5, 7, 0, 11, 5]


def test_without_looks_and_position_nothing_depends_on_the_target():
    found = [logits_of(TINY, grid(target=t), CELLS) for t in range(12)]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_without_looks_a_free_display_does_not_tell_the_target_either():
    boxes = np.random.default_rng(0).uniform(0, 300, (6, 2))
    boxes = np.hstack([boxes, boxes + 30])
    found = [
        logits_of(TINY, FreeDisplay("f", boxes, 400, 400, t), [3, 5, 2, 0])
        for t in range(6)
    ]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_told_the_position_all_tokens_depend_on_the_target():
    config = tiny(target_position="true")
    one, other = (logits_of(config, grid(target=t), CELLS) for t in (2, 9))
    assert (one - other).abs()[:, :-1].amax(dim=1).min() > 1e-4


def test_told_the_position_a_fixated_target_is_marked():
    # The object's own token is the same in both; only its flag as a fixation differs.
    config, display = tiny(target_position="true"), grid(target=5)
    network = OATNetwork(config).eval()
    batch = object_batch([display], config)
    with torch.inference_mode():
        objects, fixated = network.embed(batch)
    same = (objects[0, :12] == fixated[0, :12]).all(dim=1)
    assert (~same).nonzero().flatten().tolist() == [5]


def test_a_double_of_the_target_cannot_be_told_from_it():
    config = features_config()
    display = grid(features=True, target=5)
    looks = display.appearance.copy()
    looks[9] = looks[5]
    one, other = (
        logits_of(config, replace(display, appearance=looks, target_cell=t), CELLS)
        for t in (5, 9)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    different = logits_of(
        config, replace(display, appearance=looks, target_cell=4), CELLS
    )
    assert (one - different).abs().max() > 1e-3


def test_by_its_look_the_target_is_distinguished():
    # Exchanging two objects is seen, also if neither is the target.
    config, display = features_config(), grid(features=True, target=5)
    order = np.arange(12)
    order[[2, 5]] = order[[5, 2]]
    moved = replace(display, appearance=display.appearance[order], target_cell=2)
    one, other = logits_of(config, display, [0]), logits_of(config, moved, [0])
    assert (one - other).abs().max() > 1e-4


# -------------------------------------------------------------- objects anywhere


def lattice(rows, cols, side, target=1):
    row, col = np.divmod(np.arange(rows * cols), cols)
    corner = np.column_stack([col, row]) * side
    boxes = np.hstack([corner + 0.1 * side, corner + 0.9 * side])
    return FreeDisplay("a", boxes, cols * side, rows * side, target)


@pytest.mark.parametrize("told", ["none", "true"])
def test_objects_on_a_square_lattice_are_a_grid(told):
    config = tiny(target_position=told)
    free, same = lattice(3, 5, 40.0), grid(rows=3, cols=5, target=1)
    torch.testing.assert_close(
        object_batch([free], config).codes, object_batch([same], config).codes
    )
    torch.testing.assert_close(
        logits_of(config, free, [3, 14]),
        logits_of(config, same, [3, 14]),
        rtol=0,
        atol=1e-5,
    )


def test_with_even_numbers_of_rows_the_middle_of_the_lattice_is_between_cells():
    # A grid's start is the cell right of and below the middle, as published.
    free = object_batch([lattice(2, 4, 40.0)], TINY).codes[0]
    same = object_batch([grid(rows=2, cols=4, target=1)], TINY).codes[0]
    torch.testing.assert_close(free[:8], same[:8])
    between = position_codes([[0.5, 1.5]], [0], width=48)[0]
    torch.testing.assert_close(free[9], torch.from_numpy(between))
    assert (free[9] - same[9]).abs().max() > 0.1


def test_on_a_lattice_of_oblong_cells_places_are_true_to_scale():
    boxes = lattice(3, 3, 40.0).boxes_px * [1, 2, 1, 2]
    free = FreeDisplay("a", boxes, 120, 240, 1)
    step = np.diff(free.coordinates.reshape(3, 3, 2)[:, 0, 0])
    np.testing.assert_allclose(step, 80 / free.pitch_px)
    same = object_batch([grid(rows=3, cols=3, target=1)], TINY).codes
    assert (object_batch([free], TINY).codes - same).abs().max() > 0.1


# ------------------------------------------------------------------ cached steps


@pytest.mark.parametrize("config", [TINY, small_config(appearance="none")])
def test_decoding_token_by_token_gives_the_logits_of_the_whole(config):
    network = OATNetwork(config, 3).eval()
    displays = [grid("s", 2, 2, 1), grid("l")]
    draw = np.random.default_rng(0)
    # More tokens than the cache has room for at first.
    paths = [[draw.integers(n, size=40) for _ in range(3)] for n in (4, 12)]
    cells = torch.from_numpy(np.array(paths))
    batch = object_batch(displays, config)
    with torch.inference_mode():
        whole = network(batch, cells.flatten(0, 1), torch.tensor([0, 0, 0, 1, 1, 1]))
        whole = whole.unflatten(0, (2, 3))
        decoder = CachedDecoder(network, batch)
        found = [decoder.step(torch.full((2, 1), 12)).expand(2, 3, -1)]
        decoder.keep(torch.arange(2), torch.zeros(2, 3, dtype=torch.int64))
        found += [decoder.step(cells[:, :, k]) for k in range(40)]
    torch.testing.assert_close(torch.stack(found, dim=2), whole, rtol=0, atol=1e-5)


def test_kept_scanpaths_go_on_as_before():
    network, batch = OATNetwork(TINY).eval(), object_batch([grid("b"), grid()], TINY)
    cells = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    with torch.inference_mode():
        one, other = (CachedDecoder(network, batch) for _ in range(2))
        for decoder in (one, other):
            decoder.step(torch.full((2, 1), 12))
            decoder.keep(torch.arange(2), torch.zeros(2, 4, dtype=torch.int64))
            decoder.step(cells)
        expected = one.step(cells)
        slots = torch.tensor([[3, 1]])
        other.keep(torch.tensor([1]), slots)
        found = other.step(cells[1:].gather(1, slots))
    torch.testing.assert_close(found[0], expected[1, [3, 1]], rtol=0, atol=1e-6)


# -------------------------------------------------------------------- refusals


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="`displays` is empty"):
        object_batch([], TINY)


def test_a_display_with_more_columns_than_codes_is_refused():
    with pytest.raises(ValueError, match="too many rows or columns"):
        object_batch([grid(rows=1, cols=17, target=0)], TINY)
