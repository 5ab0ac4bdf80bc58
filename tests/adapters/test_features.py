"""Features of layers: the right numbers, the same in any grouping, kept and resumed."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer
from torchvision.models.feature_extraction import create_feature_extractor

from neurovis.adapters.backbones import Backbone, load_backbone
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_layers import parse_layer
from neurovis.adapters.features import (
    extract_features,
)
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import torch_generator

TOLERANCE = 2e-6


def noise_pictures(n, seed=0):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(40, 90, (n, 2))
    return [draw.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


PICTURES = noise_pictures(7)


def own(module, size=32, **options):
    """A backbone around a network of one's own, with seeded weights."""
    state = {
        name: value.float()
        if not value.is_floating_point()
        else 0.3 * torch.randn(value.shape, generator=torch_generator(0, name))
        for name, value in module.state_dict().items()
    }
    module.load_state_dict(state)
    rule = Preprocessing((size, size), "squash")
    return Backbone(
        "own", module.eval(), rule, "own", "seeded", trained=False, **options
    )


def small_transformer():
    module = VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=12,
        mlp_dim=16,
    )
    return own(module, prefix_tokens=1, class_token=True)


def small_swin():
    return own(SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4]))


class TokensFirst(nn.Module):
    """Attention over tokens with the pictures on the second axis."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 8, 8)
        self.attention = nn.MultiheadAttention(12, 2)
        self.norm = nn.LayerNorm(12)

    def forward(self, x):
        x = self.patch(x).flatten(2).permute(2, 0, 1)
        x = x + self.attention(x, x, value=x, need_weights=False)[0]
        return self.norm(x).mean(0)


# What the contract is tested on: a network and some of its layers.
KINDS = {
    "timm CNN": (
        lambda: load_backbone("timm:test_resnet", "seeded:0", size_px=64),
        ["conv1.0:grid3", "layer2:gap", "layer4:flat", "fc"],
    ),
    "timm ViT": (
        lambda: load_backbone("timm:test_vit", "seeded:0", size_px=64),
        ["blocks.0:cls", "blocks.3:patches", "blocks.3:q", "norm:grid2", "head"],
    ),
    "torchvision CNN": (
        lambda: load_backbone("torchvision:squeezenet1_1", "seeded:0", size_px=64),
        ["features.0:grid2", "features.4:gap", "classifier:flat"],
    ),
    "torchvision ViT": (
        small_transformer,
        ["encoder.layers.encoder_layer_1:v.cls", "encoder:mean", "heads.head"],
    ),
    "torchvision Swin": (small_swin, ["features.0:grid2", "features.1:gap", "head"]),
    "tokens first": (lambda: own(TokensFirst()), ["attention:mean", "norm:patches"]),
    "darknet": (
        lambda: load_backbone("darknet_tiny", "seeded:0", size_px=64),
        ["conv3:grid4", "conv15:flat", "logits"],
    ),
    "gabor": (
        lambda: load_backbone("control:gabor", size_px=64),
        ["cycles4:grid4", "cycles16:gap"],
    ),
    "pyramid": (
        lambda: load_backbone("control:pyramid", size_px=64),
        ["level1:grid4", "level3:flat", "lowpass:flat"],
    ),
    "colour": (
        lambda: load_backbone("control:colour", size_px=64),
        ["lab:grid3", "statistics"],
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    make, layers = KINDS[request.param]
    return make(), layers


@pytest.fixture(scope="module")
def vit():
    return load_backbone("timm:test_vit", "seeded:0", size_px=64)


@pytest.fixture(scope="module")
def cnn():
    return load_backbone("timm:test_resnet", "seeded:0", size_px=64)


def inputs(backbone, pictures):
    rule = backbone.preprocessing
    return rule.normalise(
        torch.from_numpy(np.stack([rule.prepare(p) for p in pictures]))
    )


def close(found, expected, tolerance=TOLERANCE):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


# -------------------------------------------------------------------- contract


def test_rows_are_pictures_and_numbers_are_float32(kind):
    backbone, layers = kind
    found = extract_features(backbone, PICTURES, layers)
    assert list(found) == layers
    for values in found.values():
        assert values.dtype == np.float32
        assert values.ndim == 2
        assert len(values) == 7
        assert np.isfinite(values).all()
        # Pictures differ, so do their features.
        assert (values.std(axis=0) > 0).any()


def test_the_same_call_gives_the_same_bits(kind):
    backbone, layers = kind
    first = extract_features(backbone, PICTURES, layers)
    again = extract_features(backbone, PICTURES, layers)
    for layer in layers:
        np.testing.assert_array_equal(first[layer], again[layer])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_batch_size_changes_rounding_only(kind, batch_size):
    backbone, layers = kind
    whole = extract_features(backbone, PICTURES, layers, batch_size=7)
    parts = extract_features(backbone, PICTURES, layers, batch_size=batch_size)
    for layer in layers:
        close(parts[layer], whole[layer])


def test_permuted_pictures_give_permuted_features(kind):
    backbone, layers = kind
    order = [4, 1, 6, 0, 2, 5, 3]
    whole = extract_features(backbone, PICTURES, layers, batch_size=3)
    mixed = [PICTURES[i] for i in order]
    permuted = extract_features(backbone, mixed, layers, batch_size=3)
    for layer in layers:
        close(permuted[layer], whole[layer][order])


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("timm:resnet18", ["conv1:grid7", "layer2:grid4", "layer4:flat", "fc"]),
        (
            "timm:vit_tiny_patch16_224",
            ["blocks.5:cls", "blocks.5:k.grid2", "blocks.11:patches", "head"],
        ),
        ("torchvision:alexnet", ["features.3:grid4", "features.12:flat"]),
    ],
)
def test_the_same_holds_for_networks_of_full_size(name, layers):
    backbone = load_backbone(name, "seeded:0", resize="squash")
    pictures, order = PICTURES[:5], [3, 0, 4, 2, 1]
    whole = extract_features(backbone, pictures, layers)
    single = extract_features(backbone, pictures, layers, batch_size=1)
    mixed = extract_features(
        backbone, [pictures[i] for i in order], layers, batch_size=2
    )
    for layer in layers:
        close(single[layer], whole[layer])
        close(mixed[layer], whole[layer][order])


def test_a_layer_is_the_same_alone_as_among_others(kind):
    backbone, layers = kind
    whole = extract_features(backbone, PICTURES, layers)
    for layer in layers:
        (alone,) = extract_features(backbone, PICTURES, [layer]).values()
        np.testing.assert_array_equal(alone, whole[layer])


def test_network_and_pictures_stay_as_they_were(kind):
    backbone, layers = kind
    before = [p.copy() for p in PICTURES]
    mark = backbone.weights_hash
    backbone.__dict__.pop("weights_hash")
    extract_features(backbone, PICTURES, layers)
    assert backbone.weights_hash == mark
    assert not any(m.training for m in backbone.module.modules())
    assert not any(m._forward_hooks for m in backbone.module.modules())
    for old, new in zip(before, PICTURES, strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_is_stored_is_what_is_returned_in_memory(kind, tmp_path):
    backbone, layers = kind
    plain = extract_features(backbone, PICTURES, layers, batch_size=3)
    stored = extract_features(backbone, PICTURES, layers, batch_size=3, store=tmp_path)
    for layer in layers:
        np.testing.assert_array_equal(stored[layer], plain[layer])
        assert isinstance(stored[layer], np.memmap)
        assert not stored[layer].flags.writeable
    assert len(list(tmp_path.iterdir())) == len(layers)


# -------------------------------------------------------------- the right numbers


def test_layers_of_a_cnn_are_those_of_torchvisions_own_reader():
    backbone = load_backbone("torchvision:squeezenet1_1", "seeded:0", size_px=64)
    nodes = ["features.0", "features.4", "features.7.expand3x3"]
    reader = create_feature_extractor(backbone.module, nodes)
    with torch.inference_mode():
        expected = reader(inputs(backbone, PICTURES))
    layers = [f"{node}:flat" for node in nodes[1:]]
    found = extract_features(backbone, PICTURES, layers)
    for node, layer in zip(nodes[1:], layers, strict=True):
        close(found[layer], expected[node].flatten(1))


def test_a_layer_before_an_in_place_rectification_keeps_its_negative_values():
    backbone = load_backbone("torchvision:squeezenet1_1", "seeded:0", size_px=64)
    assert backbone.module.features[1].inplace
    convolution = backbone.module.features[0]
    with torch.inference_mode():
        expected = convolution(inputs(backbone, PICTURES)).flatten(1)
    layers = ["features.0:flat", "features.1:flat"]
    before, after = extract_features(backbone, PICTURES, layers).values()
    close(before, expected)
    assert (before < 0).any()
    np.testing.assert_array_equal(after, np.maximum(before, 0))


def test_tokens_of_a_transformer_are_told_apart(vit):
    with torch.inference_mode():
        (tokens,) = vit.module.get_intermediate_layers(
            inputs(vit, PICTURES), n=[3], return_prefix_tokens=True
        )
    patches, prefix = tokens
    layers = [f"blocks.3:{c}" for c in ("cls", "patches", "mean", "flat", "grid2")]
    cls, flat, mean, everything, grid = extract_features(vit, PICTURES, layers).values()
    close(cls, prefix[:, 0])
    close(flat, patches.flatten(1))
    close(mean, patches.mean(1))
    close(everything, torch.cat([prefix, patches], 1).flatten(1))
    maps = patches.transpose(1, 2).reshape(7, 64, 4, 4)
    close(grid, F.adaptive_avg_pool2d(maps, 2).flatten(1))


def test_registers_are_no_patches():
    module = load_backbone("timm:test_vit", "seeded:0", size_px=64).module
    backbone = Backbone(
        *("registers", module, Preprocessing((64, 64), "squash"), "r", "s"),
        trained=False,
        prefix_tokens=5,
        class_token=True,
    )
    # 17 tokens are no grid after 5, nor altogether: nothing can be told apart.
    with pytest.raises(ValueError, match=r"write 'blocks\.0:flat'"):
        extract_features(backbone, PICTURES, ["blocks.0:patches"])


def test_before_the_class_token_is_added_all_tokens_are_patches():
    backbone = own(nn.Sequential(TokenMaker(), nn.Identity()), prefix_tokens=1)
    (found,) = extract_features(backbone, PICTURES, ["0:patches"]).values()
    assert found.shape == (7, 16 * 12)


class TokenMaker(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 8, 8)

    def forward(self, x):
        return self.patch(x).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("number", range(3))
def test_queries_keys_and_values_are_those_of_the_linear_layer(vit, number):
    part = "qkv"[number]
    block = vit.module.blocks[2]
    with torch.inference_mode():
        x = vit.module.patch_embed(inputs(vit, PICTURES))
        x = vit.module.norm_pre(vit.module._pos_embed(x))
        x = vit.module.blocks[:2](x)
        whole = block.attn.qkv(block.norm1(x))[..., 64 * number : 64 * (number + 1)]
    layers = [f"blocks.2:{part}", f"blocks.2.attn:{part}.cls"]
    layers += [f"blocks.2.attn.qkv:{part}.mean", f"blocks.2:{part}.grid4"]
    flat, cls, mean, grid = extract_features(vit, PICTURES, layers).values()
    close(flat, whole[:, 1:].flatten(1))
    close(cls, whole[:, 0])
    close(mean, whole[:, 1:].mean(1))
    close(grid, whole[:, 1:].transpose(1, 2).flatten(1))


@pytest.mark.parametrize("make", [small_transformer, lambda: own(TokensFirst())])
def test_queries_keys_and_values_give_back_the_output_of_multi_head_attention(make):
    backbone = make()
    has_class = backbone.class_token
    place = "encoder.layers.encoder_layer_0" if has_class else "attention"
    module = f"{place}.self_attention" if has_class else place
    layers = [f"{place}:{p}{c}" for p in "qkv" for c in ("", ".cls")[: 1 + has_class]]
    found = extract_features(backbone, PICTURES, [*layers, f"{module}:flat"])
    parts = []
    for p in "qkv":
        patches = torch.from_numpy(found[f"{place}:{p}"]).reshape(7, 16, 12)
        if has_class:
            cls = torch.from_numpy(found[f"{place}:{p}.cls"])
            patches = torch.cat([cls[:, None], patches], 1)
        parts.append(patches.unflatten(2, (2, 6)).transpose(1, 2))
    mixed = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
    with torch.inference_mode():
        expected = backbone.module.get_submodule(module).out_proj(mixed)
    close(found[f"{module}:flat"], expected.flatten(1), 1e-5)


def test_maps_with_channels_last_are_read_with_channels_first():
    backbone = small_swin()
    with torch.inference_mode():
        maps = backbone.module.features[0](inputs(backbone, PICTURES))
    assert maps.shape == (7, 8, 8, 12)
    layers = ["features.0:flat", "features.0:gap", "features.0:grid2"]
    flat, gap, grid = extract_features(backbone, PICTURES, layers).values()
    maps = maps.permute(0, 3, 1, 2)
    close(flat, maps.flatten(1))
    close(gap, maps.mean((2, 3)))
    close(grid, F.adaptive_avg_pool2d(maps, 2).flatten(1))


class Cube(nn.Module):
    def forward(self, x):
        return x[:, :, :3, :3]


def test_the_order_of_a_cube_must_be_told():
    backbone = own(nn.Sequential(Cube(), nn.Identity()))
    with pytest.raises(ValueError, match="'0:gap:channels-first'"):
        extract_features(backbone, PICTURES, ["0:gap"])
    first, last = extract_features(
        backbone, PICTURES, ["0:gap:channels-first", "0:gap:channels-last"]
    ).values()
    cube = inputs(backbone, PICTURES)[:, :, :3, :3]
    close(first, cube.mean((2, 3)))
    close(last, cube.mean((1, 2)))


def test_grids_are_means_over_parts_of_the_map(cnn):
    layers = ["layer1:flat", "layer1:gap", "layer1:grid1", "layer1:grid4"]
    flat, gap, one, four = extract_features(cnn, PICTURES, layers).values()
    maps = flat.reshape(7, 32, 16, 16).astype(np.float64)
    close(gap, maps.mean((2, 3)))
    close(one, maps.mean((2, 3)))
    close(four, maps.reshape(7, 32, 4, 4, 4, 4).mean((3, 5)).reshape(7, -1))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(x - 1) - 0.5).mean((2, 3))


def test_a_module_that_runs_twice_is_read_at_the_run_that_is_named():
    backbone = own(Twice())
    layers = ["relu@1:flat", "relu@2:flat"]
    first, second = extract_features(backbone, PICTURES, layers).values()
    x = inputs(backbone, PICTURES)
    close(first, (x - 1).relu().flatten(1))
    close(second, ((x - 1).relu() - 0.5).relu().flatten(1))
    with pytest.raises(ValueError, match=r"runs 2 times.*'relu@1' to 'relu@2'"):
        extract_features(backbone, PICTURES, ["relu:flat"])
    with pytest.raises(ValueError, match="no run 3 of 'relu'"):
        extract_features(backbone, PICTURES, ["relu@3:flat"])


# ------------------------------------------------------------------- one pass


class Counting(nn.Module):
    """Three layers that note the size of each batch."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 3) for _ in range(3))
        self.seen = [[], [], []]

    def forward(self, x):
        for layer, seen in zip(self.layers, self.seen, strict=True):
            x = layer(x)
            seen.append(len(x))
        return x


def test_one_pass_serves_all_layers_and_ends_after_the_last():
    backbone = own(Counting())
    layers = ["layers.0:gap", "layers.1:gap", "layers.1:grid2"]
    extract_features(backbone, PICTURES, layers, batch_size=4)
    # Two blank passes of 1 and 2 pictures tell the shapes. What is behind the second
    # layer runs in these only, and the second layer's own note comes after its hook.
    assert backbone.module.seen == [[1, 2, 4, 3], [1, 2], [1, 2]]


def test_hooks_are_gone_after_an_error():
    backbone = own(Counting())
    bad = [*PICTURES[:3], np.zeros((5, 5), np.uint8)]
    with pytest.raises(ValueError, match=r"`pictures\[3\]`.*got \(5, 5\)"):
        extract_features(backbone, bad, ["layers.0:gap"], batch_size=2)
    with pytest.raises(ValueError, match="no layer"):
        extract_features(backbone, PICTURES, ["layers.7:gap"])
    assert not any(m._forward_hooks for m in backbone.module.modules())


class Hungry(nn.Module):
    """Needs memory for no more than two pictures, after the blank passes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.sizes = []

    def forward(self, x):
        if x.any():
            self.sizes.append(len(x))
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return self.layer(x)


def test_a_batch_that_does_not_fit_is_halved_and_stays_so(caplog):
    backbone = own(Hungry())
    pictures = noise_pictures(12)
    with caplog.at_level(logging.WARNING):
        (found,) = extract_features(
            backbone, pictures, ["layer:gap"], batch_size=8
        ).values()
    assert backbone.module.sizes == [8, 4, 2, 2, 2, 2, 2, 2]
    assert "batch size is now 2" in caplog.text
    (plain,) = extract_features(
        backbone, pictures, ["layer:gap"], batch_size=1
    ).values()
    close(found, plain)


def test_a_single_picture_that_does_not_fit_is_said():
    class Greedy(Hungry):
        def forward(self, x):
            if x.any():
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.layer(x)

    with pytest.raises(MemoryError, match="alone does not fit"):
        extract_features(own(Greedy()), PICTURES, ["layer:gap"])


def test_autocast_is_close_and_still_returns_float32(cnn):
    layers = ["layer2:gap", "layer4:gap"]
    exact = extract_features(cnn, PICTURES, layers)
    mixed = extract_features(cnn, PICTURES, layers, precision="autocast")
    for layer in layers:
        assert mixed[layer].dtype == np.float32
        assert not np.array_equal(mixed[layer], exact[layer])
        close(mixed[layer], exact[layer], 0.05)


class Undefined(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x):
        total = x.flatten(1).sum(1, keepdim=True)
        return self.layer(torch.where(total == total.max(), torch.nan, total))


def test_values_that_are_not_finite_are_refused_with_their_picture():
    backbone = own(Undefined())
    totals = inputs(backbone, PICTURES).flatten(1).sum(1)
    worst = int(totals.argmax())
    with pytest.raises(ValueError, match=rf"'layer'.*not finite.*pictures\[{worst}\]"):
        extract_features(backbone, PICTURES, ["layer"])


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["blocks.3.atn:cls"], "Did you mean 'blocks.3.attn'"),
        (["blcks.3:cls"], "Did you mean 'blocks.3'"),
        (["blocks.3"], "'blocks.3:cls', 'blocks.3:patches', 'blocks.3:mean'"),
        (["blocks.3:gap"], "tokens of shape.*write 'blocks.3:cls'"),
        (["blocks.3:grid5"], "'blocks.3:grid1' to 'blocks.3:grid4'"),
        (["blocks.3:q.grid5"], "'blocks.3:q.grid1' to 'blocks.3:q.grid4'"),
        (["blocks.3:pathces"], "Did you mean 'patches'"),
        (["blocks.3:cls:channels-first"], "is for maps"),
        (["blocks:q"], "6 layers that make queries"),
        (["head:q"], "has no layers that make queries"),
        (["head:gap"], "a vector of shape.*write 'head:flat'"),
        (["blocks.0.attn.attn_drop:flat"], "does not run"),
        (["norm:cls", "norm:cls"], "names a layer twice"),
        ([], "`layers` is empty"),
    ],
)
def test_layers_that_make_no_sense_are_refused_with_what_does(vit, layers, message):
    with pytest.raises(ValueError, match=message):
        extract_features(vit, PICTURES, layers)


@pytest.mark.parametrize(
    "text", ["", ":gap", "a@0:gap", "a@x", "a:gap:channels-first:x", "a:grid0", "a:q.x"]
)
def test_requests_of_another_form_are_refused(text):
    with pytest.raises(ValueError, match="must look like"):
        parse_layer(text)


def test_windows_merged_with_pictures_are_refused():
    with pytest.raises(ValueError, match=r"no axis of pictures.*module around it"):
        extract_features(
            load_backbone("timm:test_maxvit", "seeded:0"),
            PICTURES[:1],
            ["stages.2.blocks.0.attn_block.attn.qkv:flat"],
        )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": "norm:cls"}, TypeError, "must be a list"),
        ({"layers": [3]}, TypeError, "named by text"),
        ({"pictures": []}, ValueError, "`pictures` is empty"),
        ({"pictures": [np.zeros((4, 4, 3))]}, TypeError, "uint8"),
        ({"precision": "half"}, ValueError, "`precision` must be one of"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be within"),
        ({"batch_size": "all"}, ValueError, "`batch_size` must be one of"),
        ({"shard_size": 0}, ValueError, "`shard_size` must be within"),
        ({"device": "gpu"}, ValueError, "`device` must be one of"),
    ],
)
def test_other_arguments_are_checked_first(vit, options, error, message):
    given = {"pictures": PICTURES, "layers": ["norm:cls"]} | options
    with pytest.raises(error, match=message):
        extract_features(vit, given.pop("pictures"), given.pop("layers"), **given)


def test_features_that_do_not_fit_into_memory_are_refused_at_once(vit):
    endless = LazyPictures(lambda _: PICTURES[0], range(10**10))
    with pytest.raises(MemoryError, match="Give a `store`, or pool or project"):
        extract_features(vit, endless, ["norm:patches"])
