"""Networks by name: their own preprocessing, their weights, their layers."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform
from torch import nn
from torchvision import models

from neurovis.adapters.backbones import Backbone, list_layers, load_backbone
from neurovis.adapters.classifiers import load_classifier
from neurovis.adapters.feature_inputs import INTERPOLATIONS, Preprocessing
from neurovis.adapters.feature_networks import load_small_network
from neurovis.adapters.trunk_weights import load_trunk
from neurovis.adapters.trunks import INPUT_FORMATS, to_pixels
from neurovis.core.errors import MissingDependencyError
from neurovis.core.tensors import hash_state_dict

needs_open_clip = pytest.mark.skipif(
    find_spec("open_clip") is None, reason="open_clip is not installed"
)
SIZES = [(50, 50), (61, 40), (40, 83), (200, 317), (33, 200)]


def noise(size, seed=0):
    """A picture with structure at all scales, so that resampling matters."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (*size, 3), dtype=np.uint8)


def a_stream():
    return torch.Generator().manual_seed(0)


def as_input(rule, picture):
    return rule.normalise(torch.from_numpy(rule.prepare(picture)[None]))[0]


# --------------------------------------------------------------- preprocessing


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("crop_mode", "resize"),
    [("center", "crop"), ("squash", "squash"), ("border", "pad")],
)
@pytest.mark.parametrize("input_px", [(32, 32), (24, 40)])
@pytest.mark.parametrize("share", [1.0, 0.875])
def test_pictures_are_prepared_as_timm_prepares_them(
    size, crop_mode, resize, input_px, share
):
    theirs = create_transform(
        (3, *input_px),
        interpolation="bicubic",
        crop_pct=share,
        crop_mode=crop_mode,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
    )
    scaled = tuple(int(side / share) for side in input_px)
    rule = Preprocessing(input_px, resize, scaled, "bicubic", fill=(128, 102, 76))
    picture = noise(size)
    expected = theirs(Image.fromarray(picture)).permute(1, 2, 0)
    expected = expected * torch.tensor((0.2, 0.3, 0.4)) + torch.tensor((0.5, 0.4, 0.3))
    np.testing.assert_array_equal(rule.prepare(picture), (255 * expected).round())


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_resnet"])
def test_a_timm_network_brings_its_own_preprocessing(name):
    backbone = load_backbone(name, "seeded:0")
    config = timm.data.resolve_model_data_config(backbone.module)
    theirs = create_transform(**config)
    for size in SIZES:
        picture = noise(size)
        expected = theirs(Image.fromarray(picture))
        torch.testing.assert_close(
            as_input(backbone.preprocessing, picture), expected, atol=1e-6, rtol=0
        )


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("squeezenet1_1", models.SqueezeNet1_1_Weights.DEFAULT),
        ("mobilenet_v2.IMAGENET1K_V1", models.MobileNet_V2_Weights.IMAGENET1K_V1),
        ("mobilenet_v2.IMAGENET1K_V2", models.MobileNet_V2_Weights.IMAGENET1K_V2),
    ],
)
def test_a_torchvision_network_brings_the_preprocessing_of_its_weights(name, entry):
    rule = load_backbone(f"torchvision:{name}", "seeded:0").preprocessing
    for size in SIZES:
        picture = noise(size)
        expected = entry.transforms()(Image.fromarray(picture))
        torch.testing.assert_close(as_input(rule, picture), expected, atol=1e-6, rtol=0)


def test_small_networks_get_the_channels_and_scale_they_were_trained_on():
    picture = np.full((256, 256, 3), (10, 20, 30), np.uint8)
    squeeze = load_backbone("squeezenet1_0", "seeded:0").preprocessing
    assert as_input(squeeze, picture)[:, 0, 0].tolist() == [
        30 - 104,
        20 - 117,
        10 - 123,
    ]
    darknet = load_backbone("darknet_tiny", "seeded:0").preprocessing
    expected = torch.tensor([10, 20, 30]) / 255
    torch.testing.assert_close(as_input(darknet, picture)[:, 5, 7], expected)


@pytest.mark.parametrize("pixels", list(INPUT_FORMATS))
def test_normalised_bits_are_those_of_the_trunks_for_bytes_and_floats(pixels):
    rule = Preprocessing((20, 31), "squash", pixels=INPUT_FORMATS[pixels])
    images = torch.from_numpy(np.stack([noise((20, 31), seed) for seed in range(3)]))
    expected = to_pixels(images, INPUT_FORMATS[pixels])
    for given in (images, images.float()):
        before = given.clone()
        found = rule.normalise(given)
        assert found.dtype == torch.float32
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(found, expected)
        assert torch.equal(given, before)


def test_a_picture_of_the_right_size_is_not_resampled():
    picture = noise((32, 40))
    for resize in ("crop", "squash", "pad", "none"):
        rule = Preprocessing((32, 40), resize)
        np.testing.assert_array_equal(rule.prepare(picture), picture)


def test_padding_shows_all_of_the_picture_on_the_fill():
    picture = np.full((10, 20, 3), 200, np.uint8)
    found = Preprocessing((20, 20), "pad", fill=(1, 2, 3)).prepare(picture)
    assert (found[5:15] == 200).all()
    assert (found[:5] == (1, 2, 3)).all()
    assert (found[15:] == (1, 2, 3)).all()


def test_squashing_shows_all_of_the_picture():
    picture = noise((64, 96))
    rule = load_backbone("timm:test_vit", "seeded:0", resize="squash").preprocessing
    image = Image.fromarray(picture).resize((160, 160), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(rule.prepare(picture), np.asarray(image))


@pytest.mark.parametrize("name", list(INTERPOLATIONS))
def test_every_interpolation_is_that_of_pillow(name):
    picture = noise((30, 30))
    rule = Preprocessing((16, 16), "squash", interpolation=name)
    expected = Image.fromarray(picture).resize((16, 16), INTERPOLATIONS[name])
    np.testing.assert_array_equal(rule.prepare(picture), np.asarray(expected))


def test_without_resizing_another_size_is_refused():
    rule = Preprocessing((16, 16), "none")
    with pytest.raises(ValueError, match=r"have \(16, 16\) pixels.*got \(16, 17\)"):
        rule.prepare(noise((16, 17)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": "stretch"}, "`resize` must be one of"),
        ({"interpolation": "cubic"}, "Did you mean 'bicubic'"),
        ({"resize_px": (16, 31)}, "nothing to cut out"),
        ({"size_px": (0, 5)}, "must be within"),
    ],
)
def test_impossible_preprocessing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**({"size_px": (32, 32)} | options))


# --------------------------------------------------------------------- weights

CHEAP = ["timm:test_vit", "timm:test_resnet", "torchvision:squeezenet1_1"]


@pytest.mark.parametrize(
    "name", [*CHEAP, "darknet_tiny", "sketch_clip", "squeezenet1_0"]
)
def test_seeded_weights_depend_on_the_seed_only_and_are_said_to_be_untrained(name):
    torch.rand(3)
    before = torch.get_rng_state()
    first = load_backbone(name, "seeded:0")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert load_backbone(name, "seeded:0").weights_hash == first.weights_hash
    assert load_backbone(name, "seeded:1").weights_hash != first.weights_hash
    assert first.notes == (f"{name}: untrained weights (seeded:0)",)
    assert not first.trained
    assert not any(m.training for m in first.module.modules())


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_are_read_from_a_file(tmp_path, name, suffix):
    twin = load_backbone(name, "seeded:3")
    path = tmp_path / f"mine.{suffix}"
    state = twin.module.state_dict()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    backbone = load_backbone(name, path)
    assert backbone.weights_hash == twin.weights_hash
    assert backbone.identity == twin.identity
    assert (backbone.trained, backbone.notes) == (True, ())
    assert backbone.weights_name == path.name


def test_a_timm_file_needs_no_head_and_may_have_one_for_other_classes(tmp_path):
    twin = load_backbone("timm:test_vit", "seeded:3")
    state = twin.module.state_dict()
    bare = {k: v for k, v in state.items() if not k.startswith("head.")}
    other = bare | {"head.weight": torch.ones(7, 64), "head.bias": torch.zeros(7)}
    for number, given in enumerate((bare, other)):
        save_file(given, tmp_path / f"{number}.safetensors")
        backbone = load_backbone("timm:test_vit", tmp_path / f"{number}.safetensors")
        found = backbone.module.state_dict()
        assert hash_state_dict(found) == hash_state_dict(given)


def test_positions_of_a_transformer_are_resampled_for_another_size(tmp_path):
    twin = load_backbone("timm:test_vit", "seeded:3")
    save_file(twin.module.state_dict(), tmp_path / "a.safetensors")
    backbone = load_backbone("timm:test_vit", tmp_path / "a.safetensors", size_px=96)
    assert backbone.preprocessing.size_px == (96, 96)
    assert backbone.preprocessing.scaled_px == (100, 100)  # the same share, 0.95
    images = torch.rand(2, 3, 96, 96, generator=a_stream())
    (found,) = backbone.features(images, ["norm:patches"]).values()
    assert found.shape == (2, 36 * 64)
    kept = backbone.module.get_submodule("blocks.0.mlp.fc1").weight
    assert torch.equal(kept, twin.module.get_submodule("blocks.0.mlp.fc1").weight)


@pytest.mark.parametrize("name", CHEAP)
def test_weights_of_another_network_are_refused(tmp_path, name):
    save_file({"conv9.weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"do not fit: \d+ missing .*1 unexpected"):
        load_backbone(name, tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("timm:test_vit", "model.safetensors"),
        ("torchvision:resnet18", "resnet18-f37072fd.pth"),
    ],
)
def test_published_weights_that_are_not_here_are_named(
    monkeypatch, tmp_path, name, file
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=f"needs? the file {file}"):
        load_backbone(name)


def test_the_identity_tells_weights_and_preprocessing_apart():
    first = load_backbone("timm:test_resnet", "seeded:0").identity
    assert load_backbone("timm:test_resnet", "seeded:0").identity == first
    for name, options in (
        ("test_resnet", {"resize": "squash"}),
        ("test_resnet", {"size_px": 96}),
        ("test_vit", {}),
    ):
        other = load_backbone(f"timm:{name}", "seeded:0", **options)
        assert other.identity != first
    json.dumps(first)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet50", "seeded:0", "'timm:...'"),
        ("squeezenet", "seeded:0", "Did you mean 'squeezenet1_0'"),
        ("tim:resnet50", "seeded:0", "Did you mean 'timm'"),
        ("timm:resnet5O", "seeded:0", "Did you mean 'resnet50'"),
        ("torchvision:resnet5O", "seeded:0", "Did you mean 'resnet50'"),
        ("torchvision:r3d_18", "seeded:0", "image network"),
        ("torchvision:resnet50.V1", "seeded:0", "IMAGENET1K_V1"),
        ("control:gabr", None, "Did you mean 'gabor'"),
        ("control:gabor", "seeded:0", "has no weights"),
        ("squeezenet1_0", None, "none were given"),
        ("timm:test_vit", "seeded:x", "must look like 'seeded:0'"),
    ],
)
def test_unknown_names_are_refused_with_advice(name, weights, message):
    with pytest.raises(ValueError, match=message):
        load_backbone(name, weights)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="must be within"):
        load_backbone("timm:test_resnet", "seeded:0", size_px=0)
    with pytest.raises(ValueError, match="square"):
        load_backbone("control:gabor", size_px=(64, 128))
    with pytest.raises(ValueError, match="Did you mean 'squash'"):
        load_backbone("timm:test_resnet", "seeded:0", resize="sqash")


# ------------------------------------------------------------------- open_clip


def test_without_open_clip_the_extra_is_named_and_other_sources_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as if not installed
    with pytest.raises(MissingDependencyError, match=r"install 'neurovis\[clip\]'"):
        load_backbone("open_clip:ViT-B-32", "seeded:0")
    assert load_backbone("timm:test_vit", "seeded:0").class_token


@needs_open_clip
@pytest.mark.skipif(find_spec("transformers") is not None, reason="nothing is missing")
def test_a_text_tower_of_another_package_is_named():
    with pytest.raises(MissingDependencyError, match=r"install 'neurovis\[generate\]'"):
        load_backbone("open_clip:roberta-ViT-B-32", "seeded:0")


@needs_open_clip
@pytest.mark.parametrize(
    ("name", "prefix", "layers", "widths"),
    [
        (
            "ViT-S-32-alt",
            *(1, ["transformer.resblocks.3:q.cls", "ln_post:mean"], [384, 384]),
        ),
        ("RN50", 0, ["layer2:grid3", "attnpool"], [4608, 1024]),
        ("MobileCLIP-S1", 0, ["trunk.stages.3:gap"], [512]),
    ],
)
def test_each_kind_of_tower_of_open_clip_is_read(caplog, name, prefix, layers, widths):
    backbone = load_backbone(f"open_clip:{name}", "seeded:0")
    assert caplog.text == ""  # nobody asked for published weights
    assert (backbone.prefix_tokens, backbone.class_token) == (prefix, prefix == 1)
    again = load_backbone(f"open_clip:{name}", "seeded:0")
    assert again.weights_hash == backbone.weights_hash
    images = torch.rand(2, 3, *backbone.preprocessing.size_px, generator=a_stream())
    with torch.inference_mode():
        found = backbone.features(images, layers)
    assert [v.shape[1] for v in found.values()] == widths


@needs_open_clip
@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("ViT-B-3", "seeded:0", "Did you mean 'ViT-B-32'"),
        ("ViT-B-32.openal", "seeded:0", "Did you mean 'openai'"),
        ("ViT-B-32.openai", None, "needs `weights`.*Published are"),
        ("ViT-S-32-alt", None, "Published are none"),
    ],
)
def test_towers_of_open_clip_that_cannot_be_had_are_refused(name, weights, message):
    with pytest.raises(ValueError, match=message):
        load_backbone(f"open_clip:{name}", weights)


@needs_open_clip
def test_the_size_of_a_tower_of_open_clip_stays():
    with pytest.raises(ValueError, match=r"`size_px`.*cannot be changed"):
        load_backbone("open_clip:ViT-S-32-alt", "seeded:0", size_px=96)


@needs_open_clip
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_vision_tower_of_open_clip_is_read_with_its_preprocessing(tmp_path):
    import open_clip

    twin = load_backbone("open_clip:ViT-B-32.openai", "seeded:0")
    state = {f"visual.{k}": v for k, v in twin.module.state_dict().items()}
    path = tmp_path / "clip.safetensors"
    save_file(state | {"logit_scale": torch.zeros(1)}, path)
    backbone = load_backbone("open_clip:ViT-B-32.openai", path)
    assert backbone.weights_hash == twin.weights_hash
    assert "quick GELU" in backbone.architecture
    _, _, theirs = open_clip.create_model_and_transforms(
        "ViT-B-32", pretrained=None, force_quick_gelu=True
    )
    picture = noise((300, 400))
    expected = theirs(Image.fromarray(picture))
    ours = as_input(backbone.preprocessing, picture)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    inside = "transformer.resblocks.3"
    layers = [f"{inside}:cls", f"{inside}:q.cls", f"{inside}:patches"]
    images = torch.rand(2, 3, 224, 224, generator=a_stream())
    with torch.no_grad():
        found = backbone.features(images, layers)
    assert [v.shape[1] for v in found.values()] == [768, 768, 49 * 768]
    with pytest.raises(ValueError, match=r"open_clip:ViT-B-32\.openai"):
        load_backbone("open_clip:ViT-B-32", path)


# -------------------------------------------------------------- small networks

FILES = {
    "squeezenet1_0": "squeezenet1_0_deepcompressed",
    "darknet_tiny": "darknet_tiny",
}


@pytest.mark.parametrize("name", FILES)
def test_layers_of_real_networks_give_the_published_statistics(data_folder, name):
    folder = data_folder / "imagenet_backbones"
    values = json.loads((folder / "reference_values.json").read_text())
    expected = values["layer_statistics_reference_image_0"][FILES[name]]
    with np.load(folder / "reference_io.npz") as arrays:
        pictures = arrays["images_uint8"]
        logits = arrays[f"{name.partition('_')[0].removesuffix('1')}_logits"]
    backbone = load_backbone(name, folder / f"{FILES[name]}.safetensors")
    rule = backbone.preprocessing
    images = torch.from_numpy(np.stack([rule.prepare(p) for p in pictures]))
    images = images.permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        layers = [f"{layer}:flat" for layer in expected]
        found = backbone.features(images, [*layers, "logits"])
    shapes = list_layers(backbone).set_index("layer")["shape"]
    for layer, entry in expected.items():
        row = found[f"{layer}:flat"][0].double()
        assert list(shapes[layer]) == entry["shape"]
        statistics = [row.mean(), row.std(correction=0), row.max()]
        wanted = [entry[key] for key in ("mean", "std", "max")]
        np.testing.assert_allclose(statistics, wanted, rtol=1e-4, atol=1e-5)
    scale = np.abs(logits).max()
    np.testing.assert_allclose(found["logits"], logits, rtol=0, atol=1e-5 * scale)
    classifier = load_classifier(name, str(folder / f"{FILES[name]}.safetensors"))
    prepared = torch.from_numpy(np.stack([rule.prepare(p) for p in pictures]))
    np.testing.assert_allclose(
        found["logits"], classifier.logits(prepared), rtol=0, atol=1e-5 * scale
    )


def test_darknet_layers_are_the_stages_of_its_trunk():
    # The trunk pads all borders alike, as this network does.
    trunk = load_trunk("darknet_tiny", "seeded:4")
    images = torch.from_numpy(np.stack([noise((64, 64), s) for s in range(2)]))
    network = load_small_network("darknet_tiny", "seeded:4")
    x = trunk.preprocess(images)
    stage = trunk.run_stage(0, x)
    torch.testing.assert_close(network.get_submodule("conv1")(x), stage)
    stage = trunk.run_stage(1, nn.functional.max_pool2d(stage, 2))
    with torch.no_grad():
        found = network[:3](x)
    torch.testing.assert_close(found, stage)


# ---------------------------------------------------------------------- layers


def test_the_list_of_layers_tells_shapes_and_choices():
    table = list_layers(load_backbone("timm:test_vit", "seeded:0")).set_index("layer")
    assert table.loc["patch_embed.proj", "shape"] == (64, 10, 10)
    assert table.loc["blocks.2", "shape"] == (101, 64)
    choices = "cls, patches, mean, grid1..grid10, flat, q, k, v"
    assert table.loc["blocks.2", "choices"] == choices
    assert table.loc["head", "choices"] == "flat"
    assert "does not run" in table.loc["blocks.0.attn.attn_drop", "note"]


def test_a_layer_that_runs_twice_is_listed_twice():
    table = list_layers(load_backbone("torchvision:resnet18", "seeded:0"))
    names = set(table["layer"])
    assert {"layer1.0.relu@1", "layer1.0.relu@2", "layer1.0"} <= names
    assert "layer1.0.relu" not in names


def test_every_listed_layer_can_be_read_as_listed():
    backbone = load_backbone("timm:test_vit", "seeded:0")
    table = list_layers(backbone)
    layers, shapes = [], []
    for row in table[table["choices"] != ""].itertuples():
        layers.append(f"{row.layer}:flat")
        shapes.append(int(np.prod(row.shape)))
        if ", q" in row.choices:
            layers.append(f"{row.layer}:q")
            shapes.append(100 * 64)
    with torch.inference_mode():
        found = backbone.features(torch.zeros(1, 3, 160, 160), layers)
    assert [v.shape[1] for v in found.values()] == shapes


def test_features_of_tensors_normalise_once_and_let_gradients_flow():
    backbone = load_backbone("timm:test_resnet", "seeded:0", size_px=64)
    picture = noise((64, 64))
    images = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    images.requires_grad_(True)
    (found,) = backbone.features(images, ["layer2:gap"]).values()
    rule = replace(backbone.preprocessing, resize="none")
    with torch.no_grad():
        x = backbone.module.conv1(as_input(rule, picture)[None])
        x = backbone.module.act1(backbone.module.bn1(x))
        x = backbone.module.layer2(backbone.module.layer1(backbone.module.maxpool(x)))
    torch.testing.assert_close(found, x.mean((2, 3)), atol=1e-6, rtol=1e-5)
    found.sum().backward()
    assert images.grad.abs().sum() > 0


def test_tensors_of_another_size_are_refused():
    backbone = load_backbone("timm:test_resnet", "seeded:0")
    with pytest.raises(ValueError, match=r"must have shape \(B, 3, 160, 160\)"):
        backbone.features(torch.zeros(1, 3, 64, 64), ["layer2:gap"])


def test_a_network_in_training_mode_is_refused():
    rule = Preprocessing((8, 8))
    with pytest.raises(ValueError, match="evaluation mode"):
        Backbone("mine", nn.Dropout(), rule, "mine", "none", trained=True)
