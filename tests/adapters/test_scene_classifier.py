"""Classifiers of scenes: random weights, input, files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from neurovis.adapters.scene_classifier import (
    MEAN,
    STD,
    ClassifierSpec,
    SceneClassifier,
    build_classifier,
    load_classifier_folder,
    normalise,
    save_classifier,
    to_input,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.tensors import hash_state_dict

TINY = {"channels": [8, 8, 8, 8], "stem_type": ""}
SPEC = ClassifierSpec("timm:resnet10t", ("sea", "wood", "town"), 32, TINY)


@pytest.fixture(scope="module")
def network():
    return build_classifier(SPEC, seed=1, run=2)


def pictures(n, height=40, width=32):
    return list(
        np.random.default_rng(n).integers(0, 256, (n, height, width, 3), np.uint8)
    )


def test_weights_depend_on_seed_and_run_alone(network):
    before = torch.get_rng_state()
    hashes = {
        key: hash_state_dict(
            build_classifier(SPEC, seed=key[0], run=key[1]).state_dict()
        )
        for key in ((1, 2), (1, 3), (2, 2))
    }
    assert torch.equal(torch.get_rng_state(), before)
    assert hashes[1, 2] == hash_state_dict(network.state_dict())
    assert len(set(hashes.values())) == 3


@pytest.mark.parametrize(
    ("architecture", "layer", "shape"),
    [
        ("alexnet", "classifier.6.weight", (20, 4096)),
        ("torchvision:resnet18", "fc.weight", (20, 512)),
    ],
)
def test_published_networks_end_in_twenty_classes(architecture, layer, shape):
    spec = ClassifierSpec(architecture, tuple(map(str, range(20))), 64)
    assert build_classifier(spec).state_dict()[layer].shape == shape


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"architecture": "keras:vgg"}, "source of the architecture"),
        ({"architecture": "timm:"}, "must look like 'resnet18'"),
        ({"classes": ("a",)}, "at least 2 distinct names"),
        ({"classes": ("a", "a")}, "at least 2 distinct names"),
        ({"size_px": 4}, "`size_px` must be within"),
    ],
)
def test_specifications_that_make_no_sense_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        ClassifierSpec(**{"architecture": "resnet18", "classes": ("a", "b"), **values})


@pytest.mark.parametrize(
    ("architecture", "size", "options", "match"),
    [
        ("resnet19", 32, {}, "Did you mean 'resnet1"),
        ("timm:resnet10x", 32, {}, "Did you mean 'resnet10t'"),
        ("resnet18", 32, {"depth": 3}, "cannot be built with `options`"),
        ("alexnet", 32, {}, "does not take pictures of 32 px"),
        ("googlenet", 96, {"init_weights": False}, "aux_logits"),
    ],
)
def test_networks_that_cannot_be_built_are_named(architecture, size, options, match):
    spec = ClassifierSpec(architecture, ("a", "b"), size, options)
    with pytest.raises(ValueError, match=match):
        build_classifier(spec)


def test_input_of_the_right_size_is_not_changed():
    shown = pictures(3, 32, 32)
    found = to_input(shown, 32)
    assert (found.dtype, found.shape) == (torch.uint8, (3, 3, 32, 32))
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), np.stack(shown))


def test_input_is_resized_as_pillow_does():
    shown = pictures(2, 50, 70)
    found = to_input(shown, 32).permute(0, 2, 3, 1).numpy().astype(int)
    for one, picture in zip(found, shown, strict=True):
        small = Image.fromarray(picture).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.abs(one - np.asarray(small).astype(int)).max() <= 1


def test_what_is_no_picture_is_refused():
    with pytest.raises(TypeError, match="`image`"):
        to_input([np.zeros((4, 4, 3))], 8)
    with pytest.raises(ValueError, match="`image`"):
        to_input([np.zeros((4, 4), np.uint8)], 8)


def test_pixels_are_normalised_as_for_imagenet():
    pixels = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    found = normalise(pixels)
    assert found.dtype == torch.float32
    expected = pixels.double().numpy() / 255
    expected -= np.array((0.485, 0.456, 0.406))[:, None, None]
    expected /= np.array((0.229, 0.224, 0.225))[:, None, None]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert (MEAN, STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_answers_are_those_of_the_network_whatever_the_batch(network):
    classifier = SceneClassifier("net", SPEC, network)
    pixels = to_input(pictures(5), 32)
    found = classifier.logits(pixels, batch_size=2)
    with torch.no_grad():
        whole = network(normalise(pixels))
    torch.testing.assert_close(found, whole, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(found, classifier.logits(pixels), atol=2e-6, rtol=1e-5)
    assert classifier.logits(pixels[:0]).shape == (0, 3)
    assert not network.training


@pytest.mark.parametrize(
    "pixels",
    [torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 31, dtype=torch.uint8)],
)
def test_answers_need_8_bit_pictures_of_the_right_size(network, pixels):
    with pytest.raises(TypeError, match="as `to_input` makes them"):
        SceneClassifier("net", SPEC, network).logits(pixels)


def test_a_classifier_comes_back_from_its_folder(network, tmp_path):
    made = SceneClassifier("net", SPEC, network, {"n_epochs": 3})
    untrained = SceneClassifier("net", SPEC, network)
    assert untrained.notes == ("net: untrained weights",)
    save_classifier(made, tmp_path / "net", {"kept": [1, 2]})
    assert len({path.stat().st_mode for path in (tmp_path / "net").iterdir()}) == 1
    found, extra = load_classifier_folder(tmp_path / "net")
    assert extra == {"kept": [1, 2]}
    assert (found.name, found.spec, found.training) == ("net", SPEC, {"n_epochs": 3})
    assert (found.identity, found.notes) == (made.identity, ())
    pixels = to_input(pictures(2), 32)
    assert torch.equal(found.logits(pixels), made.logits(pixels))
    with pytest.raises(FileExistsError):
        save_classifier(made, tmp_path / "net")


@pytest.mark.parametrize(
    "damage", ["cut weights", "other weights", "name", "list", "text"]
)
def test_damaged_folders_are_refused(network, tmp_path, damage):
    made = SceneClassifier("net", SPEC, network)
    folder = save_classifier(made, tmp_path / "net")
    weights, about = folder / "model.safetensors", folder / "classifier.json"
    if damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "other weights":
        other = SceneClassifier("net", SPEC, build_classifier(SPEC, run=1))
        save_classifier(other, tmp_path / "other")
        weights.write_bytes((tmp_path / "other" / weights.name).read_bytes())
    elif damage == "name":
        values = json.loads(about.read_text())
        about.write_text(json.dumps({**values, "name": "other"}))
    else:
        about.write_text("[1]" if damage == "list" else "{")
    with pytest.raises(DataCorruptError):
        load_classifier_folder(folder)


def test_missing_folders_and_files_are_named(network, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_classifier_folder(tmp_path / "absent")
    folder = save_classifier(SceneClassifier("net", SPEC, network), tmp_path / "net")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_classifier_folder(folder)
