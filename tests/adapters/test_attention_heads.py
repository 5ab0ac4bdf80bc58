"""Attention heads of vision transformers: the right maps, and nothing left behind."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from neurovis.adapters.attention_heads import (
    head_gradients,
    head_outputs,
    prepare_images,
    stream_attention,
)
from neurovis.adapters.backbones import Backbone, load_backbone
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.head_layers import attention_layers
from neurovis.core.device import resolve
from neurovis.core.rng import own_torch_stream

KINDS = {
    "plain": "test_vit",
    "three heads": "vit_tiny_patch16_224",
    "distilled": "deit_tiny_distilled_patch16_224",
    "registers": "vit_medium_patch16_reg4_gap_256",
    "rotary": "eva02_tiny_patch14_224",
}
PREFIX = {
    "plain": (1, True),
    "three heads": (1, True),
    "distilled": (2, True),
    "registers": (4, False),
    "rotary": (1, True),
}


def network(kind="plain", rows=2, columns=3, **options):
    """A network of two layers whose attention is far from even."""
    name = KINDS[kind]
    side = 14 if "patch14" in name else 16
    options = {"num_classes": 5, "depth": 2, "img_size": (side * rows, side * columns)}
    if kind == "plain":
        options["dynamic_img_size"] = False
    with own_torch_stream(0, kind):
        module = timm.create_model(name, **options).eval()
        for path, value in module.named_parameters():
            if "attn" in path or "head" in path or "embed" in path:
                value.data = value.data + 0.2 * torch.randn(value.shape)
            if "gamma" in path:  # some start with almost no attention at all
                value.data = torch.ones_like(value)
    prefix, has_class = PREFIX[kind]
    return Backbone(
        f"timm:{name}",
        module,
        Preprocessing((side * rows, side * columns), "squash"),
        name,
        "seeded",
        trained=False,
        prefix_tokens=prefix,
        class_token=has_class,
    )


def images(backbone, n=3):
    draw = np.random.default_rng(1)
    noise = [draw.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(n)]
    return prepare_images(backbone, noise)


def inputs(backbone, batch):
    return backbone.preprocessing.normalise(torch.from_numpy(batch))


def hooks(module):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()
    )


@pytest.fixture(scope="module")
def plain():
    return network()


def by_hand(backbone, batch):
    """The maps of the first layer, from queries and keys."""
    module = backbone.module
    first = module.blocks[0]
    seen = []
    handle = first.attn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        module(inputs(backbone, batch))
    handle.remove()
    tokens = seen[0]
    n, n_tokens, width = tokens.shape
    n_heads = first.attn.num_heads
    q, k, _ = (
        torch.nn.functional.linear(tokens, first.attn.qkv.weight, first.attn.qkv.bias)
        .detach()
        .reshape(n, n_tokens, 3, n_heads, width // n_heads)
        .permute(2, 0, 3, 1, 4)
    )
    scores = torch.einsum("bhic,bhjc->bhij", q, k) / (width // n_heads) ** 0.5
    exponents = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    return (exponents / exponents.sum(dim=-1, keepdim=True)).numpy()


@pytest.mark.parametrize("kind", ["plain", "three heads", "distilled", "registers"])
def test_maps_are_those_of_queries_and_keys(kind):
    backbone = network(kind)
    batch = images(backbone)
    layers = attention_layers(backbone)
    assert [layer.path for layer in layers] == ["blocks.0.attn", "blocks.1.attn"]
    n_tokens = 6 + PREFIX[kind][0]
    assert {(one.n_tokens, one.grid) for one in layers} == {(n_tokens, (2, 3))}
    maps = list(stream_attention(backbone, batch, batch_size=2))
    assert len(maps) == 3
    wanted = by_hand(backbone, batch)
    found = np.stack([one["blocks.0.attn"] for one in maps])
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert found.std() > 0.02
    for one in maps:
        for attention in one.values():
            np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)


def test_rotary_attention_has_maps_too():
    backbone = network("rotary")
    found = next(stream_attention(backbone, images(backbone, 1)))
    assert found["blocks.1.attn"].shape == (3, 7, 7)
    np.testing.assert_allclose(found["blocks.1.attn"].sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_outputs_without_pruning_are_those_of_the_network(kind):
    backbone = network(kind)
    batch = images(backbone)
    with torch.inference_mode():
        wanted = backbone.module(inputs(backbone, batch)).numpy()
    np.testing.assert_allclose(head_outputs(backbone, batch).logits, wanted, atol=1e-6)
    all_kept = {
        one.path: np.ones(one.n_heads, bool) for one in attention_layers(backbone)
    }
    kept = head_outputs(backbone, batch, kept=all_kept)
    np.testing.assert_allclose(kept.logits, wanted, atol=1e-6)
    assert (kept.cls is None) == (not PREFIX[kind][1])


@pytest.mark.parametrize("kind", ["plain", "three heads", "distilled", "registers"])
def test_a_head_left_out_is_one_whose_projection_weights_are_zero(kind):
    backbone = network(kind)
    batch = images(backbone)
    layer = attention_layers(backbone)[1]
    kept = np.arange(layer.n_heads) != 1
    pruned = head_outputs(backbone, batch, kept={layer.path: kept})
    linear = backbone.module.blocks[1].attn.proj
    before = linear.weight.data.clone()
    part = slice(layer.head_width, 2 * layer.head_width)
    linear.weight.data[:, part] = 0
    zeroed = head_outputs(backbone, batch)
    linear.weight.data.copy_(before)
    np.testing.assert_allclose(pruned.logits, zeroed.logits, atol=1e-5)
    if PREFIX[kind][1]:
        np.testing.assert_allclose(pruned.cls, zeroed.cls, atol=1e-5)
    whole = head_outputs(backbone, batch)
    assert np.abs(pruned.logits - whole.logits).max() > 1e-3


def test_a_head_alone_and_the_others_add_up_before_the_bias(plain):
    """The projection is linear, so parts of heads add up to the whole."""
    batch = images(plain)
    layer = attention_layers(plain)[0]
    seen = []
    linear = plain.module.blocks[0].attn.proj
    handle = linear.register_forward_hook(lambda m, i, o: seen.append(o - m.bias))
    for kept in ([True, True], [True, False], [False, True]):
        head_outputs(plain, batch, kept={layer.path: kept})
    handle.remove()
    # Each call looks at a grey picture first.
    whole, first, second = (seen[i].numpy() for i in (1, 3, 5))
    np.testing.assert_allclose(first + second, whole, atol=1e-5)


def test_gradients_are_the_limit_of_differences(plain):
    batch = images(plain)
    targets = np.array([4, 0, 2])
    found = head_gradients(plain, batch, targets, batch_size=2)
    module = plain.module.double()
    layer = attention_layers(network())[1]

    def losses(factor):
        def scale(_, args):
            x = args[0].clone()
            x[..., : layer.head_width] *= factor
            return (x,)

        handle = module.blocks[1].attn.proj.register_forward_pre_hook(scale)
        with torch.inference_mode():
            logits = module(inputs(plain, batch).double())
        handle.remove()
        wanted = torch.from_numpy(targets)
        return nn.functional.cross_entropy(logits, wanted, reduction="none").numpy()

    try:
        slope = (losses(1 + 1e-5) - losses(1 - 1e-5)) / 2e-5
    finally:
        module.float()
    np.testing.assert_allclose(found[layer.path][:, 0], slope, rtol=2e-3, atol=1e-5)
    assert found[layer.path].shape == (3, 2)


def test_gradients_take_the_answer_of_the_network_by_default(plain):
    batch = images(plain)
    said = head_outputs(plain, batch).logits.argmax(axis=1)
    given = head_gradients(plain, batch, said)
    for path, values in head_gradients(plain, batch).items():
        np.testing.assert_array_equal(values, given[path])


def test_nothing_stays_behind_even_after_an_error(plain):
    module = plain.module
    before = hooks(module), [block.attn.fused_attn for block in module.blocks]
    assert all(before[1])
    batch = images(plain)
    next(stream_attention(plain, batch))
    head_outputs(plain, batch, kept={"blocks.0.attn": [True, False]})
    head_gradients(plain, batch)

    def fail(*_):
        raise RuntimeError("a layer that fails")

    handle = module.blocks[1].mlp.register_forward_pre_hook(fail)
    for call in (
        attention_layers,
        lambda b: list(stream_attention(b, batch)),
        lambda b: head_outputs(b, batch, kept={"blocks.0.attn": [True, False]}),
        lambda b: head_gradients(b, batch),
    ):
        with pytest.raises(RuntimeError, match="a layer that fails"):
            call(plain)
    handle.remove()
    assert before == (hooks(module), [b.attn.fused_attn for b in module.blocks])
    assert all(parameter.grad is None for parameter in module.parameters())


def test_grouping_does_not_change_the_numbers(plain):
    batch = images(plain, 5)
    one = head_outputs(plain, batch, batch_size=1)
    many = head_outputs(plain, batch, batch_size=5)
    np.testing.assert_allclose(one.logits, many.logits, atol=5e-6)


@pytest.mark.parametrize(
    "name", ["resnet18", "test_convnext", "swin_tiny_patch4_window7_224", "pvt_v2_b0"]
)
def test_other_networks_are_refused_with_what_is_supported(name):
    backbone = load_backbone(f"timm:{name}", "seeded:0")
    with pytest.raises(ValueError, match="Supported are vision transformers of timm"):
        attention_layers(backbone)


def test_a_network_without_classes_has_class_tokens_only():
    backbone = network()
    backbone.module.reset_classifier(0)
    batch = images(backbone)
    outputs = head_outputs(backbone, batch)
    assert outputs.logits is None
    assert outputs.cls.shape == (3, 64)
    with pytest.raises(ValueError, match="has no classes"):
        head_gradients(backbone, batch)


def test_wrong_arguments_are_told(plain):
    batch = images(plain)
    with pytest.raises(ValueError, match="layer of `kept`"):
        head_outputs(plain, batch, kept={"blocks.9.attn": [True, False]})
    with pytest.raises(ValueError, match="must have shape \\(2\\)"):
        head_outputs(plain, batch, kept={"blocks.0.attn": [True]})
    with pytest.raises(TypeError, match="dtype bool"):
        head_outputs(plain, batch, kept={"blocks.0.attn": [1, 0]})
    with pytest.raises(ValueError, match="`images` must have shape"):
        list(stream_attention(plain, batch[:, 1:]))
    with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
        head_gradients(plain, batch, [0, 1, 5])
    with pytest.raises(ValueError, match="`pictures` is empty"):
        prepare_images(plain, [])


@pytest.mark.gpu
def test_a_gpu_gives_the_same_maps_and_effects(plain):
    batch = images(plain)
    device = resolve("cuda")
    for here, there in zip(
        stream_attention(plain, batch),
        stream_attention(plain, batch, device=device),
        strict=True,
    ):
        for path, attention in here.items():
            np.testing.assert_allclose(there[path], attention, atol=1e-5)
    kept = {"blocks.0.attn": [True, False]}
    here, there = (
        head_outputs(plain, batch, kept=kept, device=place)
        for place in (torch.device("cpu"), device)
    )
    np.testing.assert_allclose(there.logits, here.logits, atol=1e-4)
    one, other = head_gradients(plain, batch), head_gradients(
        plain, batch, device=device
    )  # fmt: skip
    for path, values in one.items():
        np.testing.assert_allclose(other[path], values, atol=1e-4)
