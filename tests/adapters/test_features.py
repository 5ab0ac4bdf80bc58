"""Features of layers: the right numbers, the same in any grouping, kept and resumed."""

import errno
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    fingerprint_pictures,
    fit_principal_components,
)
from neurovis.adapters.projections import sparse_projection
from neurovis.core.feature_files import features_meta
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import torch_generator
from neurovis.core.store import lock

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
    # Two blank passes of 2 and 3 pictures tell the shapes. What is behind the second
    # layer runs in these only, and the second layer's own note comes after its hook.
    assert backbone.module.seen == [[2, 3, 4, 3], [2, 3], [2, 3]]


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


# ------------------------------------------------------------------ the store


class Watched(LazyPictures):
    """Notes which pictures are read."""

    def __init__(self, pictures):
        self.read = []
        super().__init__(self._take, range(len(pictures)))
        self._pictures = pictures

    def _take(self, index):
        self.read.append(index)
        return self._pictures[index]


def test_what_is_complete_is_not_computed_again(tmp_path, cnn, caplog):
    pictures = Watched(PICTURES)
    layers = ["layer1:gap", "layer2:gap"]
    options = {"store": tmp_path, "fingerprint": fingerprint_pictures(PICTURES)}
    extract_features(cnn, pictures, layers[:1], **options)
    assert sorted(pictures.read) == list(range(7))
    pictures.read.clear()
    with caplog.at_level(logging.INFO):
        extract_features(cnn, pictures, layers[:1], **options)
    assert pictures.read == []
    assert "already" in caplog.text
    both = extract_features(cnn, pictures, layers, **options)
    assert sorted(pictures.read) == list(range(7))
    plain = extract_features(cnn, PICTURES, layers)
    for layer in layers:
        np.testing.assert_array_equal(both[layer], plain[layer])


def test_the_key_depends_on_what_the_numbers_depend_on(tmp_path, cnn):
    def n_entries(backbone=cnn, pictures=PICTURES, layer="layer2:gap", **options):
        extract_features(backbone, pictures, [layer], store=tmp_path, **options)
        return len(list(tmp_path.iterdir()))

    assert n_entries() == 1
    assert n_entries(batch_size=2, shard_size=2) == 1
    assert n_entries(layer="layer2:grid1") == 2
    assert n_entries(pictures=PICTURES[::-1]) == 3
    assert n_entries(precision="autocast") == 4
    other = load_backbone("timm:test_resnet", "seeded:1", size_px=64)
    assert n_entries(other) == 5
    other = load_backbone("timm:test_resnet", "seeded:0", size_px=64, resize="squash")
    assert n_entries(other) == 6
    assert n_entries(projection={"layer2:gap": sparse_projection(48, 4)}) == 7
    assert n_entries(layer="layer2@1:gap") == 7


def test_the_entry_tells_how_it_came_about(tmp_path, cnn):
    extract_features(cnn, PICTURES, ["layer2:gap"], store=tmp_path)
    (entry,) = tmp_path.iterdir()
    meta = features_meta(tmp_path, entry.name)
    (source,) = meta["sources"]
    assert source["fingerprints"]["pictures"] == fingerprint_pictures(PICTURES)
    assert source["fingerprints"]["weights"] == cnn.weights_hash
    assert source["notes"] == ["timm:test_resnet: untrained weights (seeded:0)"]
    assert meta["parts"]["layer"]["path"] == "layer2"
    json.dumps(meta)


class Stopping(LazyPictures):
    """Fails when a picture is asked for, as a drive does that is pulled out."""

    def __init__(self, pictures, last):
        super().__init__(self._take, range(len(pictures)))
        self._pictures, self._last = pictures, last

    def _take(self, index):
        if index > self._last:
            raise OSError("the drive is gone")
        return self._pictures[index]


def test_a_failed_run_goes_on_at_its_last_shard(tmp_path, cnn):
    pictures = noise_pictures(20)
    layers = ["layer1:gap", "layer2:grid2"]
    options = {"store": tmp_path, "batch_size": 2, "shard_size": 4}
    options["fingerprint"] = fingerprint_pictures(pictures)
    with pytest.raises(OSError, match="the drive is gone"):
        extract_features(cnn, Stopping(pictures, 14), layers, **options)
    # A further layer has everything before it; the others go on.
    watched = Watched(pictures)
    found = extract_features(cnn, watched, layers, **options)
    assert min(watched.read) in (8, 12)
    plain = extract_features(cnn, pictures, layers, batch_size=2)
    for layer in layers:
        np.testing.assert_array_equal(found[layer], plain[layer])


@pytest.mark.parametrize("shard_size", [1, 5, 7])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(
    tmp_path, cnn, shard_size
):
    pictures = noise_pictures(20)
    layers = ["layer1:flat", "layer4:flat"]
    options = {"batch_size": 4, "shard_size": shard_size}
    options["fingerprint"] = fingerprint_pictures(pictures)
    with pytest.raises(OSError, match="gone"):
        extract_features(
            cnn, Stopping(pictures, 17), layers, store=tmp_path / "stopped", **options
        )
    for name in ("stopped", "whole"):
        extract_features(cnn, pictures, layers, store=tmp_path / name, **options)
    assert len(content(tmp_path / "whole")) == 2
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


def test_layers_that_stand_at_other_pictures_end_together(tmp_path, cnn):
    pictures = noise_pictures(12)
    options = {"store": tmp_path, "batch_size": 2, "shard_size": 4}
    options["fingerprint"] = fingerprint_pictures(pictures)
    with pytest.raises(OSError, match="gone"):
        extract_features(cnn, Stopping(pictures, 9), ["layer1:gap"], **options)
    layers = ["layer2:gap", "layer1:gap"]
    found = extract_features(cnn, pictures, layers, **options)
    plain = extract_features(cnn, pictures, layers, batch_size=2)
    for layer in layers:
        np.testing.assert_array_equal(found[layer], plain[layer])


def test_a_damaged_entry_is_computed_again(tmp_path, cnn, caplog):
    (first,) = extract_features(cnn, PICTURES, ["layer2:gap"], store=tmp_path).values()
    first = np.array(first)
    (path,) = tmp_path.glob("*/features.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        (found,) = extract_features(
            cnn, PICTURES, ["layer2:gap"], store=tmp_path
        ).values()
    assert "computing again" in caplog.text
    np.testing.assert_array_equal(found, first)


def test_of_a_damaged_entry_only_what_follows_the_damage_is_computed(tmp_path, cnn):
    pictures = Watched(noise_pictures(12))
    options = {"store": tmp_path, "batch_size": 2, "shard_size": 4}
    options["fingerprint"] = "12 pictures"
    layers = ["layer2:gap", "layer1:gap"]
    before = extract_features(cnn, pictures, layers, **options)
    before = {layer: np.array(values) for layer, values in before.items()}
    for path in tmp_path.glob("*/features.npy"):
        if np.load(path, mmap_mode="r").shape[1] == 48:
            data = bytearray(path.read_bytes())
            data[-1 - 4 * 48 * 4] ^= 1  # the last byte of the second shard
            path.write_bytes(data)
    pictures.read.clear()
    found = extract_features(cnn, pictures, layers, **options)
    assert sorted(pictures.read) == list(range(4, 12))
    for layer in layers:
        np.testing.assert_array_equal(found[layer], before[layer])
    assert len(list(tmp_path.iterdir())) == 2


class Filling(LazyPictures):
    """After some pictures files can grow no further, as on a full disk."""

    def __init__(self, pictures, last):
        super().__init__(self._take, range(len(pictures)))
        self._pictures, self._last = pictures, last

    def _take(self, index):
        if index == self._last:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        return self._pictures[index]


@pytest.mark.parametrize("last", [None, 9])
def test_a_full_disk_is_one_clear_error_and_the_run_goes_on(tmp_path, cnn, last):
    pictures = noise_pictures(16)
    layers = ["layer1:grid4"]  # 2 kB per picture
    options = {"batch_size": 2, "shard_size": 2, "fingerprint": "16 pictures"}
    store = tmp_path / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    watched = Watched(pictures) if last is None else Filling(pictures, last)
    if last is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="There is no room left in") as caught:
            extract_features(cnn, watched, layers, store=store, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    if last is None:
        assert watched.read == []  # it is said before any work
    for folder in (store, tmp_path / "whole"):
        extract_features(cnn, pictures, layers, store=folder, **options)
    assert content(store) == content(tmp_path / "whole")


def test_one_fingerprint_for_other_numbers_of_pictures_mixes_nothing(tmp_path, cnn):
    options = {"store": tmp_path, "fingerprint": "mine"}
    for n in (7, 4):
        found = extract_features(cnn, PICTURES[:n], ["layer2:gap"], **options)
        assert found["layer2:gap"].shape == (n, 48)


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path, cnn):
    extract_features(cnn, PICTURES, ["layer2:gap"], store=tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.rename(tmp_path / "elsewhere")
    with (
        lock(entry),
        pytest.raises(BlockingIOError, match=f'"pid": {os.getpid()}'),
    ):
        extract_features(cnn, PICTURES, ["layer2:gap"], store=tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from neurovis.adapters.control_features import load_control
from neurovis.adapters.features import extract_features
from neurovis.core.pictures import LazyPictures

def make(seed):
    if seed == int(sys.argv[2]):
        if len(sys.argv) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        Path(sys.argv[3]).touch()
        signal.pause()
    return np.random.default_rng(seed).integers(0, 256, (50, 50, 3), dtype=np.uint8)

extract_features(
    load_control("pyramid", size_px=64), LazyPictures(make, range(24)),
    ["level1:gap", "level2:flat"],
    batch_size=2, shard_size=5, store=sys.argv[1], fingerprint="24 pictures",
)
"""


def killed_command(folder, at, *flag):
    """Run in another process, which ends, or waits with a flag, at a picture."""
    return [sys.executable, "-c", KILLED, str(folder), str(at), *map(str, flag)]


def extract_24(folder):
    def make(seed):
        draw = np.random.default_rng(seed)
        return draw.integers(0, 256, (50, 50, 3), dtype=np.uint8)

    return extract_features(
        load_backbone("control:pyramid", size_px=64),
        *(LazyPictures(make, range(24)), ["level1:gap", "level2:flat"]),
        batch_size=2,
        shard_size=5,
        store=folder,
        fingerprint="24 pictures",
    )


def content(folder):
    return {p.parent.name: p.read_bytes() for p in Path(folder).glob("*/features.npy")}


def n_shards(folder):
    partial = list(folder.glob("*.partial"))
    return [len(json.loads((p / "meta.json").read_text())["shards"]) for p in partial]


def test_a_run_that_is_killed_twice_ends_with_the_same_bytes(tmp_path):
    for at in (12, 21):
        command = killed_command(tmp_path / "killed", at)
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL
    # Up to two batches are being prepared while those before are written.
    assert len(n_shards(tmp_path / "killed")) == 2
    assert set(n_shards(tmp_path / "killed")) <= {2, 3, 4}
    for name in ("killed", "whole"):
        extract_24(tmp_path / name)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert len(content(tmp_path / "whole")) == 2
    assert len(list((tmp_path / "killed").iterdir())) == 2


def test_another_process_that_writes_is_named_and_its_work_is_taken_on(tmp_path):
    flag, folder = tmp_path / "waiting", tmp_path / "store"
    with subprocess.Popen(killed_command(folder, 14, flag)) as writer:
        try:
            while not flag.exists():
                assert writer.poll() is None
                time.sleep(0.05)
            with pytest.raises(BlockingIOError, match=f'"pid": {writer.pid}'):
                extract_24(folder)
            assert len(list(folder.glob("*.partial"))) == 2
        finally:
            writer.kill()
    extract_24(folder)
    extract_24(tmp_path / "whole")
    assert content(folder) == content(tmp_path / "whole")


# ----------------------------------------------------------------- projections


def test_projected_features_are_projections_of_features(tmp_path, cnn):
    layers = ["layer1:flat", "layer2:gap"]
    projection = {"layer1:flat": sparse_projection(32 * 16 * 16, 20)}
    plain = extract_features(cnn, PICTURES, layers)
    for store in (None, tmp_path):
        found = extract_features(
            cnn, PICTURES, layers, projection=projection, batch_size=3, store=store
        )
        expected = projection["layer1:flat"].transform(plain["layer1:flat"])
        close(found["layer1:flat"], expected)
        close(found["layer2:gap"], plain["layer2:gap"])


def test_components_are_fitted_to_training_pictures_only(cnn):
    training, test = noise_pictures(30, 1), noise_pictures(5, 2)
    layers = ["layer1:grid4", "layer4:gap"]
    fits = fit_principal_components(cnn, training, layers, 6, batch_size=7)
    plain = extract_features(cnn, training, layers)
    found = extract_features(cnn, training, layers, projection=fits)
    for layer in layers:
        rows = plain[layer].astype(np.float64)
        close(fits[layer].mean, rows.mean(axis=0))
        assert fits[layer].n_images == 30
        assert np.abs(found[layer].mean(axis=0)).max() < 1e-4 * np.abs(rows).max()
    tested = extract_features(cnn, test, layers, projection=fits)
    assert {k: v.shape for k, v in tested.items()} == dict.fromkeys(layers, (5, 6))


def test_a_fit_depends_on_its_training_pictures_and_tells_them(cnn):
    training, test = noise_pictures(20, 1), noise_pictures(5, 2)
    fit = fit_principal_components(cnn, training, ["layer2:gap"], 4)["layer2:gap"]
    again = fit_principal_components(
        cnn, LazyPictures(training.__getitem__, range(20)), ["layer2:gap"], 4
    )["layer2:gap"]
    assert again.identity == fit.identity
    assert fit.source["pictures"] == fingerprint_pictures(training)
    leaky = fit_principal_components(cnn, training + test, ["layer2:gap"], 4)
    assert leaky["layer2:gap"].identity != fit.identity
    assert leaky["layer2:gap"].source["pictures"] != fit.source["pictures"]


def test_a_fit_to_pictures_that_are_held_out_is_refused(cnn):
    training, test = noise_pictures(20, 1), noise_pictures(5, 2)
    plain = fit_principal_components(cnn, training, ["layer2:gap"], 4)
    fits = fit_principal_components(cnn, training, ["layer2:gap"], 4, held_out=test)
    assert fits["layer2:gap"].identity == plain["layer2:gap"].identity
    mixed = [*training[:13], test[3].copy(), *training[13:]]
    message = r"`training_pictures\[13\]` is the same picture as `held_out\[3\]`"
    with pytest.raises(ValueError, match=message):
        fit_principal_components(cnn, mixed, ["layer2:gap"], 4, held_out=test)
    # One pixel makes another picture.
    mixed[13][0, 0, 0] ^= 1
    fit_principal_components(cnn, mixed, ["layer2:gap"], 4, held_out=test)


def test_fits_do_not_depend_on_the_batch_size(cnn):
    training = noise_pictures(23, 1)
    options = {"n_components": 3, "block_size": 5}
    first = fit_principal_components(
        cnn, training, ["layer2:gap"], batch_size=23, **options
    )["layer2:gap"]
    other = fit_principal_components(
        cnn, training, ["layer2:gap"], batch_size=4, **options
    )["layer2:gap"]
    np.testing.assert_allclose(first.components, other.components, atol=1e-3)
    np.testing.assert_allclose(first.variances, other.variances, rtol=1e-4)


def test_a_projection_of_another_layer_or_network_is_refused(cnn):
    layers = ["layer2:gap", "layer1:grid2"]
    fits = fit_principal_components(cnn, noise_pictures(10), ["layer2:gap"], 3)
    fit = fits["layer2:gap"]
    other = load_backbone("timm:test_resnet", "seeded:1", size_px=64)
    with pytest.raises(ValueError, match="fitted to another layer, network"):
        extract_features(other, PICTURES, layers, projection=fits)
    with pytest.raises(ValueError, match="fitted to another layer, network"):
        extract_features(
            cnn, PICTURES, layers[:1], projection=fits, precision="autocast"
        )
    with pytest.raises(ValueError, match="takes 48 features; the layer has 128"):
        extract_features(cnn, PICTURES, layers, projection={"layer1:grid2": fit})
    with pytest.raises(ValueError, match=r"not asked for\. Did you mean 'layer2:gap'"):
        extract_features(cnn, PICTURES, layers, projection={"layer2:gaps": fit})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 10}, "`n_components` must be within"),
        ({"n_components": 4, "block_size": 3}, "`block_size` must be within"),
        ({"n_components": 9, "layers": ["layer2:gap", "conv1.0:gap"]}, None),
        ({"n_components": 9, "layers": ["bn1:grid1", "lay:gap"]}, "no layer"),
    ],
)
def test_components_that_cannot_be_fitted_are_refused(cnn, options, message):
    given = {"layers": ["layer2:gap"]} | options
    if message is None:
        fit_principal_components(cnn, noise_pictures(10), **given)
        return
    with pytest.raises(ValueError, match=message):
        fit_principal_components(cnn, noise_pictures(10), **given)


def test_more_components_than_features_are_refused():
    backbone = load_backbone("control:colour", size_px=64)
    with pytest.raises(ValueError, match="28 features: 28 components"):
        fit_principal_components(backbone, noise_pictures(40), ["statistics"], 28)


# ---------------------------------------------------------------- fingerprints


def test_the_fingerprint_depends_on_pixels_sizes_and_order():
    first = fingerprint_pictures(PICTURES)
    assert fingerprint_pictures([p.copy() for p in PICTURES]) == first
    assert fingerprint_pictures(PICTURES[::-1]) != first
    assert fingerprint_pictures(PICTURES[:6]) != first
    other = [PICTURES[0].copy(), *PICTURES[1:]]
    other[0][0, 0, 0] ^= 1
    assert fingerprint_pictures(other) != first
    flat = [np.zeros((2, 6, 3), np.uint8)], [np.zeros((3, 4, 3), np.uint8)]
    assert fingerprint_pictures(flat[0]) != fingerprint_pictures(flat[1])
