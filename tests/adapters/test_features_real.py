"""Features of real networks and pictures: published numbers, by other means."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

from data_loaders.source_files import ZipPictures
from data_loaders.v4_images import load_v4_images
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features

SQUEEZENET = "squeezenet1_0_deepcompressed.safetensors"
NETWORKS = {"squeezenet1_0": SQUEEZENET, "darknet_tiny": "darknet_tiny.safetensors"}


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "imagenet_backbones"


@pytest.fixture(scope="module")
def reference(folder):
    values = json.loads((folder / "reference_values.json").read_text())
    with np.load(folder / "reference_io.npz") as arrays:
        return values, dict(arrays)


@pytest.fixture(scope="module")
def objects(data_folder):
    names = tuple(f"images/{i:02d}.png" for i in range(92))
    return ZipPictures(data_folder / "objects92" / "images.zip", names)


def load(folder, name, **options):
    return load_backbone(name, folder / NETWORKS[name], **options)


def squeezenet_by_hand(state, x, last):
    """Activations up to a fire module, from functions only."""

    def layer(x, name, **options):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    def pool(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = pool(layer(x, "conv1", stride=2).relu())
    for number in range(2, 10):
        if number in (5, 9):
            x = pool(x)
        name = f"fire{number}"
        x = layer(x, f"{name}.squeeze1x1").relu()
        wide = layer(x, f"{name}.expand3x3", padding=1)
        x = torch.cat([layer(x, f"{name}.expand1x1"), wide], 1).relu()
        if name == last:
            return x
    raise ValueError(last)


def squashed_bgr(pictures, side):
    """Whole pictures at the size of SqueezeNet's input, as its recipes say."""
    rows = []
    for picture in pictures:
        image = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        rows.append(np.asarray(image, np.float32)[..., ::-1] - (104, 117, 123))
    return torch.from_numpy(np.stack(rows).transpose(0, 3, 1, 2).astype(np.float32))


def close(found, expected, tolerance=2e-6):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


# --------------------------------------------------------------- published numbers


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_classes_of_stored_pictures_are_the_published_ones(
    folder, reference, name
):
    values, arrays = reference
    backbone = load(folder, name)
    assert backbone.preprocessing.scaled_px == (256, 256)
    (found,) = extract_features(backbone, arrays["images_uint8"], ["logits"]).values()
    expected = arrays[f"{name.partition('_')[0].removesuffix('1')}_logits"]
    close(found, expected, 1e-5)
    best = np.argsort(-found, axis=1)[:, :5]
    published = values["top5_on_reference_images"]
    assert best.tolist() == published[NETWORKS[name].partition(".")[0]]


def test_torchvisions_network_with_the_same_weights_has_the_same_layers(
    folder, reference, tmp_path
):
    _, arrays = reference
    names = json.loads((folder / "squeezenet_to_torchvision_names.json").read_text())
    state = load_file(folder / SQUEEZENET)
    theirs = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        theirs[f"{names[layer]}.{kind}"] = value
    save_file(theirs, tmp_path / "renamed.safetensors")
    backbone = load_backbone(
        "torchvision:squeezenet1_0", tmp_path / "renamed.safetensors"
    )
    ours = load(folder, "squeezenet1_0")
    # The same pixels, and the padding of the Caffe network.
    backbone = replace(backbone, preprocessing=ours.preprocessing)
    backbone.module.classifier[1].padding = (1, 1)
    pairs = {
        "conv1:grid5": "features.1:grid5",
        "fire5:grid3": "features.7:grid3",
        "fire9:flat": "features.12:flat",
        "conv10:gap": "classifier.2:gap",
        "logits": "classifier.3:flat",
    }
    pictures = arrays["images_uint8"][:4]
    first = extract_features(ours, pictures, list(pairs))
    second = extract_features(backbone, pictures, list(pairs.values()))
    for layer, other in pairs.items():
        close(second[other], first[layer])
    close(second["classifier.3:flat"], arrays["squeezenet_logits"][:4], 1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "layers"),
    [("squeezenet1_0", ["fire5", "fire9"]), ("darknet_tiny", ["conv10", "conv15"])],
)
def test_layers_of_squashed_objects_are_as_near_to_it_as_published(
    data_folder, folder, reference, objects, name, layers
):
    backbone = load(folder, name, resize="squash")
    found = extract_features(backbone, objects, [f"{layer}:flat" for layer in layers])
    with np.load(data_folder / "objects92" / "rdms.npz") as arrays:
        brains = {key: arrays[key] for key in ("humanIT_mean", "monkeyIT_mean")}
    key = "rsa_spearman_objects92_flattened_activations_1_minus_pearson"
    published = reference[0][key][NETWORKS[name].partition(".")[0]]
    pairs = np.triu_indices(92, 1)
    for layer in layers:
        distances = 1 - np.corrcoef(found[f"{layer}:flat"].astype(np.float64))[pairs]
        for brain, rdm in brains.items():
            r = spearmanr(distances, rdm).statistic
            assert r == pytest.approx(published[layer][brain], abs=6e-5)


# -------------------------------------------------------------- squashed pictures


@pytest.mark.parametrize(
    ("name", "side"), [("squeezenet1_0", 227), ("darknet_tiny", 224)]
)
def test_squashed_pictures_are_those_of_pillow(folder, objects, name, side):
    rule = load(folder, name, resize="squash").preprocessing
    wide = np.ascontiguousarray(objects[7][:120])
    for picture in (objects[0], wide):
        image = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(rule.prepare(picture), np.asarray(image))


def test_layers_of_squashed_pictures_are_those_of_plain_convolutions(folder, objects):
    pictures = [objects[i] for i in (3, 40, 77)]
    backbone = load(folder, "squeezenet1_0", resize="squash")
    with torch.inference_mode():
        maps = squeezenet_by_hand(
            load_file(folder / SQUEEZENET), squashed_bgr(pictures, 227), "fire5"
        )
    layers = ["fire5:grid3", "fire5:gap", "fire5:flat"]
    grid, gap, flat = extract_features(backbone, pictures, layers).values()
    assert grid.shape == (3, 2304)
    close(grid, F.adaptive_avg_pool2d(maps, 3).flatten(1))
    close(gap, maps.mean((2, 3)))
    close(flat, maps.flatten(1))
    # Channel by channel: nine cells of the first one come first.
    cells = maps[:, 0, :9, :9].mean((1, 2))
    np.testing.assert_allclose(grid[:, 0], cells, rtol=1e-5)


# ------------------------------------------------------------------- invariance


@pytest.mark.parametrize("name", NETWORKS)
def test_order_and_batches_change_layers_of_real_networks_by_rounding(
    folder, objects, name
):
    layers = {
        "squeezenet1_0": ["conv1:grid4", "fire5:grid3", "fire9:flat", "logits"],
        "darknet_tiny": ["conv2:grid4", "conv10:gap", "conv15:flat", "logits"],
    }[name]
    backbone = load(folder, name, resize="squash")
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    pictures = [objects[11 * i] for i in range(8)]
    whole = extract_features(backbone, pictures, layers, batch_size=8)
    single = extract_features(backbone, pictures, layers, batch_size=1)
    mixed = extract_features(
        backbone, [pictures[i] for i in order], layers, batch_size=3
    )
    for layer in layers:
        close(single[layer], whole[layer])
        close(mixed[layer], whole[layer][order])


# --------------------------------------------------------------- neurons of V4


def correlate(first, second):
    first, second = first - first.mean(0), second - second.mean(0)
    norms = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    return (first * second).sum(0) / norms


def ridge(train, responses, test, penalty):
    mean = responses.mean(0)
    gram = train @ train.T + penalty * np.eye(len(train))
    return test @ (train.T @ np.linalg.solve(gram, responses - mean)) + mean


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fire5_predicts_neurons_as_well_as_published(data_folder, folder):
    data = load_v4_images(data_folder / "v4_images", "210325")
    published = json.loads(
        (data_folder / "v4_images" / "reference_values.json").read_text()
    )["values"]["210325"]
    backbone = load(folder, "squeezenet1_0", resize="squash")
    found = extract_features(backbone, data.pictures, ["fire5:grid3"])["fire5:grid3"]
    assert found.shape == (640, 2304)
    is_test = np.arange(640) % 5 == 4
    rows, responses = found.astype(np.float64), np.asarray(data.betas, np.float64)
    train, known = rows[~is_test], responses[~is_test]
    mean, spread = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / spread, (rows[is_test] - mean) / spread
    cut = int(0.8 * len(train))
    scores = {
        penalty: correlate(
            ridge(train[:cut], known[:cut], train[cut:], penalty), known[cut:]
        ).mean()
        for penalty in (1e2, 1e3, 1e4, 1e5)
    }
    best = max(scores, key=scores.get)
    r = correlate(ridge(train, known, test, best), responses[is_test])
    assert best == published["best_lambda"]
    assert round(r.mean(), 4) == published["encoding_mean_r"]
    assert round(np.median(r), 4) == published["encoding_median_r"]


# ------------------------------------------------------------------- controls


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("gabor", [f"cycles{f}:grid4" for f in (4, 8, 16, 32)]),
        (
            "pyramid",
            [f"{n}:grid4" for n in ("highpass", "level1", "level4", "lowpass")],
        ),
        ("colour", ["lab:grid4", "statistics"]),
    ],
)
def test_controls_tell_natural_pictures_apart(data_folder, kind, layers):
    pictures = load_v4_images(data_folder / "v4_images", "190923").pictures[:40]
    found = extract_features(load_backbone(f"control:{kind}"), pictures, layers)
    for layer in layers:
        assert np.isfinite(found[layer]).all()
        spread = found[layer].std(axis=0)
        assert (spread > 0.01 * np.abs(found[layer]).mean(axis=0)).all()
