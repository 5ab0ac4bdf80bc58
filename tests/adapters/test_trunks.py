"""Trunks against the networks they are parts of, and weights that do not fit."""

import csv
import io
import re
import zipfile

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.vgg import cfgs, make_layers

from neurovis.adapters.classifiers import load_classifier
from neurovis.adapters.trunk_weights import (
    darknet_tiny_shapes,
    fold_batch_norm,
    load_trunk,
    seeded_state,
    squeezenet_shapes,
    vgg16_shapes,
)
from neurovis.adapters.trunks import (
    INPUT_FORMATS,
    ConvLayer,
    full_pass,
    pooling_rules,
    to_pixels,
)
from neurovis.adapters.weights import convert_keras_h5
from neurovis.core.errors import DataCorruptError

# Places of the convolutions among torchvision's features.
TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
CLASSIFIERS = {
    "squeezenet1_0": ("squeezenet1_0_deepcompressed.safetensors", slice(14, 241)),
    "darknet_tiny": ("darknet_tiny.safetensors", slice(16, 240)),
}


def kernels(shapes):
    return [name.removesuffix(".weight") for name in shapes if name.endswith("weight")]


def pictures(n=2, side=64, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.integers(0, 256, (n, side, side, 3), np.uint8))


def layers_of(trunk):
    return [layer for stage in trunk.stages for layer in stage]


@pytest.fixture(scope="module")
def vgg16():
    """Random weights of the whole VGG16, with Keras names."""
    return seeded_state(vgg16_shapes(), 11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vgg16):
    """Those weights as files of several kinds, and weights of another network."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(vgg16, folder / "keras_names.safetensors")
    names = kernels(vgg16)
    renamed = {
        f"features.{place}.{part}": vgg16[f"{name}.{part}"]
        for name, place in zip(names, TORCHVISION, strict=True)
        for part in ("weight", "bias")
    }
    save_file(renamed, folder / "torchvision_names.safetensors")
    with h5py.File(folder / "keras.h5", "w") as file:
        for name in names:
            kernel = vgg16[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            file[f"{name}/{name}/kernel:0"] = kernel
            file[f"{name}/{name}/bias:0"] = vgg16[f"{name}.bias"].numpy()
    other = seeded_state(squeezenet_shapes(), 0)
    save_file(other, folder / "squeezenet.safetensors")
    data = (folder / "squeezenet.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(data[: len(data) // 2])
    return folder


# -------------------------------------------------------------- random weights


def test_random_weights_are_the_same_numbers_everywhere():
    state = seeded_state(vgg16_shapes(8), 0)
    found = [
        state["block1_conv1.weight"][0, 0, 0, 0],
        state["block1_conv1.weight"][5, 2, 1, 0],
        state["block1_conv1.bias"][0],
        state["block5_conv3.weight"][7, 3, 2, 1],
        state["block5_conv3.bias"][11],
    ]
    expected = [0.48011422, 0.26580748, -0.01702041, 0.00051430, -0.72422695]
    np.testing.assert_allclose(found, expected, atol=5e-9)
    trunk = load_trunk("vgg16", "seeded:0/8")
    assert trunk.weights_hash.startswith("8604d2d84d064db9")


def test_random_kernels_keep_the_variance_of_their_input():
    state = seeded_state(vgg16_shapes(2), 4)
    for name in kernels(state):
        kernel = state[f"{name}.weight"]
        fan_in = kernel[0].numel()
        spread = float(kernel.std()) * np.sqrt(fan_in / 2)
        assert spread == pytest.approx(1, abs=4 / np.sqrt(2 * kernel.numel()))


def test_a_layer_draws_from_its_own_stream():
    first, second = (seeded_state(vgg16_shapes(16), seed) for seed in (0, 1))
    names = kernels(first)
    # Layer l of seed 1 has the stream of layer l + 1 of seed 0.
    draw = np.random.RandomState(5)
    shape = first[f"{names[5]}.weight"].shape
    kernel = draw.randn(3, 3, shape[1], shape[0]) * np.sqrt(2 / (9 * shape[1]))
    found = first[f"{names[5]}.weight"].permute(2, 3, 1, 0).numpy()
    np.testing.assert_array_equal(found, kernel.astype(np.float32))
    found = second[f"{names[5]}.weight"]
    assert not torch.equal(found, first[f"{names[5]}.weight"])


def test_the_global_stream_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    seeded_state(vgg16_shapes(16), 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    "weights",
    [
        "seeded:",
        "seeded:x",
        "seeded:-1",
        "seeded:1.5",
        "seeded:0/3",
        "seeded:0/",
        "seeded:0/8/2",
        "seeded: 1",
        "seeded:²",
        "seeded:99999999999",
    ],
)
def test_misspelt_random_weights_are_refused(weights):
    with pytest.raises(ValueError, match=re.escape(f"got {weights!r}")) as caught:
        load_trunk("vgg16", weights)
    assert "'seeded:0/8'" in str(caught.value)


def test_only_vgg16_has_small_twins():
    with pytest.raises(ValueError, match=r"only vgg16.*'seeded:3' for darknet_tiny"):
        load_trunk("darknet_tiny", "seeded:3/8")


def test_random_weights_are_said_to_be_untrained(folder):
    assert not load_trunk("vgg16", "seeded:0/16").trained
    trunk = load_trunk("squeezenet1_0", str(folder / "squeezenet.safetensors"))
    assert trunk.trained
    assert trunk.weights_name == "squeezenet.safetensors"


# ------------------------------------------------------------------ one network


def test_geometry_of_the_three_trunks():
    found = {
        name: (trunk.strides, trunk.pool_window, len(layers_of(trunk)))
        for name, trunk in (
            ("vgg16", load_trunk("vgg16", "seeded:0/16")),
            ("squeezenet1_0", load_trunk("squeezenet1_0")),
            ("darknet_tiny", load_trunk("darknet_tiny")),
        )
    }
    assert found == {
        "vgg16": ((1, 2, 4, 8, 16), 2, 13),
        "squeezenet1_0": ((2, 4, 8, 16), 3, 17),
        "darknet_tiny": ((1, 2, 4, 8, 16), 2, 15),
    }


@torch.inference_mode()
def torchvision_features(state, pixels):
    """Outputs of the five poolings of torchvision's VGG16."""
    network = make_layers(cfgs["D"])
    for name, place in zip(kernels(state), TORCHVISION, strict=True):
        network[place].weight.copy_(state[f"{name}.weight"])
        network[place].bias.copy_(state[f"{name}.bias"])
    pooled, x = [], pixels
    for layer in network:
        x = layer(x)
        if isinstance(layer, torch.nn.MaxPool2d):
            pooled.append(x)
    return pooled


def test_vgg16_equals_that_of_torchvision(vgg16):
    trunk = load_trunk("vgg16", "seeded:11")
    rules = pooling_rules(trunk, eccentric=False, kind="max")
    with torch.inference_mode():
        _, pooled = full_pass(trunk, pictures(), rules)
    expected = torchvision_features(vgg16, trunk.preprocess(pictures()))
    for ours, theirs in zip(pooled, expected, strict=True):
        assert (ours - theirs).abs().max() <= 2e-6 * theirs.abs().max()


def test_keras_weights_are_the_same_before_and_after_conversion(folder, vgg16):
    path = folder / "converted.safetensors"
    convert_keras_h5(folder / "keras.h5", path)
    converted = load_trunk("vgg16", str(path))
    direct = load_trunk("vgg16", "seeded:11")
    assert converted.weights_hash == direct.weights_hash
    assert converted.trained
    assert converted.pixels == INPUT_FORMATS["caffe-bgr"]
    for ours, theirs in zip(layers_of(converted), layers_of(direct), strict=True):
        assert torch.equal(ours.weights[0], theirs.weights[0])
        assert torch.equal(ours.biases[0], theirs.biases[0])


def test_torchvision_names_need_to_be_told_what_pixels_they_expect(folder):
    path = str(folder / "torchvision_names.safetensors")
    with pytest.raises(ValueError, match="give `preprocessing`") as caught:
        load_trunk("vgg16", path)
    assert all(name in str(caught.value) for name in INPUT_FORMATS)
    for name in ("imagenet", "caffe-rgb"):
        trunk = load_trunk("vgg16", path, preprocessing=name)
        assert trunk.pixels == INPUT_FORMATS[name]
        assert trunk.weights_hash == load_trunk("vgg16", "seeded:11").weights_hash


def test_an_unknown_preprocessing_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'imagenet'"):
        load_trunk("vgg16", "seeded:0/16", preprocessing="imagnet")


@pytest.mark.parametrize(
    ("backbone", "file", "error", "message"),
    [
        ("vgg16", "squeezenet", ValueError, r"26 missing \(block1_conv1.*another arch"),
        (
            "darknet_tiny",
            "squeezenet",
            ValueError,
            r"75 missing.*50 unexpected",
        ),
        ("squeezenet1_0", "keras_names", ValueError, r"52 missing.*26 unexpected"),
        ("squeezenet1_0", "truncated", DataCorruptError, "truncated or damaged"),
        ("vgg16", "truncated", DataCorruptError, "truncated or damaged"),
        ("vgg16", "absent", FileNotFoundError, "`weights` must be an existing file"),
        ("darknet_tiny", "absent", FileNotFoundError, "`weights` must be an existing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, backbone, file, error, message):
    with pytest.raises(error, match=message):
        load_trunk(backbone, str(folder / f"{file}.safetensors"))


def test_weights_of_a_small_twin_do_not_pass_for_the_network(tmp_path):
    path = tmp_path / "small.safetensors"
    save_file(seeded_state(vgg16_shapes(8), 0), path)
    with pytest.raises(ValueError, match=r"26 of another shape .*\(8, 3, 3, 3\) inst"):
        load_trunk("vgg16", str(path))


@pytest.mark.parametrize("weights", ["imagenet-caffe", "somewhere"])
def test_small_networks_take_a_file_or_a_seed(weights):
    with pytest.raises(ValueError, match=r"'seeded:N' or the path"):
        load_trunk("darknet_tiny", weights)


def test_an_unknown_backbone_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'vgg16'"):
        load_trunk("vgg19")


# ----------------------------------------------------------------------- layers


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("caffe-bgr", (30 - 103.939, 20 - 116.779, 10 - 123.68)),
        ("imagenet", ((10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, None)),
        ("unit", (10 / 255, 20 / 255, 30 / 255)),
        ("squeezenet", (30 - 104, 20 - 117, 10 - 123)),
    ],
)
def test_pixels_become_what_each_network_expects(name, first):
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).expand(1, 2, 3, 3)
    x = to_pixels(image, INPUT_FORMATS[name])
    assert x.shape == (1, 3, 2, 3)
    assert x.dtype == torch.float32
    for channel, expected in enumerate(first):
        if expected is not None:
            assert x[0, channel, 1, 2] == pytest.approx(expected, abs=1e-5)


def test_branches_of_a_layer_are_concatenated_on_the_same_pixels():
    draw = torch.Generator().manual_seed(0)
    one, three = (torch.randn(n, 4, k, k, generator=draw) for n, k in ((2, 1), (5, 3)))
    biases = tuple(torch.randn(n, generator=draw) for n in (2, 5))
    x = torch.randn(1, 4, 9, 8, generator=draw)
    layer = ConvLayer((one, three), biases, leak=0.1)
    assert layer.halo == 1
    conv = torch.nn.functional.conv2d
    expected = torch.cat([conv(x[..., 1:-1, 1:-1], one), conv(x, three)], 1)
    expected = expected + torch.cat(biases)[:, None, None]
    expected = torch.where(expected > 0, expected, 0.1 * expected)
    torch.testing.assert_close(layer(x), expected)


def test_folded_batch_normalisation_equals_that_of_torch():
    draw = torch.Generator().manual_seed(1)
    state = {
        name: torch.rand(shape, generator=draw) + 0.1
        for name, shape in darknet_tiny_shapes().items()
    }
    x = torch.randn(2, 16, 12, 12, generator=draw)
    kernel, bias = fold_batch_norm(state, 4)
    conv = torch.nn.functional.conv2d
    norm = torch.nn.BatchNorm2d(128, eps=1e-3).eval()
    parts = ("weight", "bias", "running_mean", "running_var")
    norm.load_state_dict(
        {part: state[f"bn4.{part}"] for part in parts}
        | {"num_batches_tracked": torch.tensor(0)}
    )
    with torch.inference_mode():
        expected = norm(conv(x, state["conv4.weight"], padding=1))
    found = conv(x, kernel, bias, padding=1)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


# ------------------------------------------------------------- real weights


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_are_those_of_the_published_networks(data_folder, name):
    file, crop = CLASSIFIERS[name]
    folder = data_folder / "imagenet_backbones"
    with np.load(folder / "reference_io.npz") as arrays:
        images = arrays["images_uint8"]
        expected = arrays[f"{name.removesuffix('1_0').split('_')[0]}_logits"]
    images = torch.from_numpy(images[:, crop, crop])
    logits = load_classifier(name, str(folder / file)).logits(images).numpy()
    assert np.abs(logits - expected).max() <= 1e-3 * np.abs(expected).max()
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_trunks_of_real_weights_see_what_the_networks_see(data_folder, name):
    file, _ = CLASSIFIERS[name]
    path = str(data_folder / "imagenet_backbones" / file)
    with np.load(data_folder / "imagenet_backbones" / "reference_io.npz") as arrays:
        images = torch.from_numpy(arrays["images_uint8"][:2])
    trunk = load_trunk(name, path)
    rules = pooling_rules(trunk, eccentric=False, kind="max")
    with torch.inference_mode():
        stages, _ = full_pass(trunk, images, rules)
    assert stages[-1].shape == (2, {"s": 512, "d": 128}[name[0]], 16, 16)
    assert torch.isfinite(stages[-1]).all()
    if name == "darknet_tiny":  # padded like the network: its head gives its logits
        network = load_classifier(name, path).network
        head = torch.nn.functional.conv2d(stages[-1], *network.last).mean((2, 3))
        expected = load_classifier(name, path).logits(images)
        assert (head - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.paper
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "top1", "top5"),
    [("squeezenet1_0", 0.660, 0.828), ("darknet_tiny", 0.684, 0.884)],
)
def test_accuracy_on_real_pictures_is_the_stated_one(data_folder, name, top1, top5):
    folder = data_folder / "imagenet_samples"
    text = (folder / "labels.csv").read_text(encoding="utf-8")
    labels = list(csv.DictReader(io.StringIO(text)))
    file, crop = CLASSIFIERS[name]
    classifier = load_classifier(name, str(data_folder / "imagenet_backbones" / file))
    hits = []
    with zipfile.ZipFile(folder / "images.zip") as archive:
        for row in labels:
            data = archive.read(row["file"])
            with Image.open(io.BytesIO(data)) as picture:
                image = np.asarray(picture.convert("RGB"))[crop, crop]
            logits = classifier.logits(torch.from_numpy(image[None].copy()))[0]
            best = logits.topk(5).indices.tolist()
            hits.append([best[0] == int(row["class_index"])])
            hits[-1].append(int(row["class_index"]) in best)
    # Decoders of JPEG differ by a grey level here and there: one picture may tip.
    assert len(hits) == 250
    np.testing.assert_allclose(np.mean(hits, 0), [top1, top5], atol=1 / 250 + 1e-9)
