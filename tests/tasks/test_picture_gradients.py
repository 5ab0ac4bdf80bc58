"""Fitted models in torch: the same predictions, and gradients that are right."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.brain_encoder import BrainEncoderConfig
from neurovis.adapters.braindive import region_weights
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.projections import PrincipalComponents, sparse_projection
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.pictures import LazyPictures
from neurovis.core.unit_responses import UnitResponses
from tasks.brain_encoder import fit_brain_encoder
from tasks.brain_sources import BrainData
from tasks.encoder_model import load_encoder, save_encoder
from tasks.encoder_options import EncoderOptions
from tasks.encoder_predict import load_picture_model
from tasks.encoding import fit_encoding
from tasks.encoding_run import model_folder
from tasks.feature_specs import parse_features
from tasks.picture_gradients import (
    differentiate,
    load_gradient_encoder,
    unit_regions,
)
from tasks.picture_networks import (
    OUTPUT,
    fit_to_input,
    prepare_pictures,
    project_rows,
    read_network,
)

NETWORK = "compact_vgg@seeded:3/8"
TOKENS = "timm:test_vit@seeded:0"
CALL = {"n_permutations": 2, "n_bootstrap": 2, "device": "cpu"}
OPTIONS = EncoderOptions(
    "transformer", BrainEncoderConfig(width=8, n_heads=2, feedforward=16), core="small"
)
N = 24
UNITS = pd.DataFrame(
    {
        "unit_id": list("abcd"),
        "region": ["V1v", "V1d", "hV4", ""],
        "floc": ["", None, "FFA-1", "FFA-1"],
    }
)


def picture(number, side=128):
    """Coarse patches: resampling and pooling leave much of them."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((side // 4, side // 4, 1), np.uint8))


def make_data(side=128):
    rng = np.random.default_rng(0)
    seen = np.stack([picture(i, side)[:: side // 4, :: side // 4] for i in range(N)])
    betas = seen.reshape(N, -1) @ rng.standard_normal((48, 4)) / 300
    betas = (betas + 0.1 * rng.standard_normal((N, 4))).astype(np.float32)
    betas[:, 3] = 1  # nothing to fit
    responses = UnitResponses(
        "tiny",
        "s1",
        betas,
        pd.DataFrame({"stimulus_id": [f"p{i:02d}" for i in range(N)], "n_repeats": 1}),
        UNITS,
        families=("region", "floc"),
        pictures=LazyPictures(lambda number: picture(number, side), range(N)),
    )
    return BrainData(responses)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of one model of each kind; not to be changed."""
    home = tmp_path_factory.mktemp("models")
    layers = "stage2:grid3,both=stage3:grid2+stage5:gap"
    fit_encoding(
        [make_data()], [f"{NETWORK}:{layers}"], home / "pca", n_components=6, **CALL
    )
    sparse = {"n_components": 9, "projection": "sparse"}
    fit_encoding(
        [make_data()], [f"{NETWORK}:stage1:grid4"], home / "sparse", **sparse, **CALL
    )
    squashed = parse_features(f"{TOKENS}:blocks.2:cls,blocks.1:grid2", resize="squash")
    fit_encoding([make_data(160)], [squashed], home / "tokens", **CALL)
    banded = {"method": "banded", "n_iter": 2, "cv": 2}
    features = [f"{NETWORK}:stage2:gap,stage4:gap", "control:colour:lab:grid4"]
    fit_encoding([make_data()], features, home / "banded", **banded, **CALL)
    fields = {"method": "fwrf", "cv": 2, "n_maps": 5, "n_sigmas": 2}
    fields["smallest_sigma"] = 0.2
    maps = f"{NETWORK}:stage3:grid8,stage4:flat"
    fit_encoding([make_data()], [maps], home / "fields", **fields, **CALL)
    fast = {"settings": {"max_epochs": 2}, "options": OPTIONS, **CALL}
    fit_brain_encoder(
        [make_data()],
        [f"{NETWORK}:stage3:grid4"],
        home / "encoder",
        readouts=["transformer", "semantic-spatial"],
        context=f"{NETWORK}:stage4:grid2",
        **fast,
    )
    patches = [replace(squashed, layers=("blocks.1:q.patches",))]
    fit_brain_encoder(
        [make_data(160)], patches, home / "patches", readouts=["masks"], **fast
    )
    pixels = ["control:pixels:pixels:grid16"]
    fit_brain_encoder([make_data()], pixels, home / "core", readouts=["masks"], **fast)

    def where(run, *names):
        return model_folder(home / run, "s1", *names)

    return {
        "components": where("pca", NETWORK, "stage2:grid3"),
        "side by side": where("pca", NETWORK, "both"),
        "sparse": where("sparse", NETWORK, "stage1:grid4"),
        "class token": where("tokens", TOKENS, "blocks.2:cls"),
        "grid of tokens": where("tokens", TOKENS, "blocks.1:grid2"),
        "banded": where("banded", f"{NETWORK} + control:colour", "all layers"),
        "fields": where("fields", NETWORK, "all layers"),
        "transformer": where("encoder", "transformer", "stage3:grid4"),
        "two maps": where("encoder", "semantic-spatial", "stage3:grid4"),
        "patches": where("patches", "masks", "blocks.1:q.patches"),
        "core": where("core", "masks with a small core", "pixels:grid16"),
    }


KINDS = (
    *("components", "side by side", "sparse", "class token", "grid of tokens"),
    *("banded", "fields", "transformer", "two maps", "patches", "core"),
)


def side_of(kind):
    return 160 if kind in ("class token", "grid of tokens", "patches") else 128


def as_images(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def known_path(folder, pictures, store):
    """Predictions as they are made for pictures everywhere else."""
    model = load_picture_model(folder)
    return model.look(pictures, store=store, fingerprint="tested").predict()


# ----------------------------------------------------------------- predictions


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_the_input_size_are_predicted_as_everywhere_else(
    models, kind, tmp_path
):
    pictures = [picture(100 + i, side_of(kind)) for i in range(3)]
    expected = known_path(models[kind], pictures, tmp_path)
    encoder = load_gradient_encoder(models[kind])
    assert encoder.fitted.tolist() == [True, True, True, False]
    assert encoder.known.tolist() == [True] * 3 + [np.isfinite(expected[0, 3])]
    assert np.isfinite(expected[:, :3]).all()
    assert np.ptp(expected[:, :3], axis=0).max() > 1e-2
    found = encoder(as_images(pictures))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(encoder.predict(pictures), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["side by side", "class token", "core"])
def test_pictures_of_other_sizes_are_predicted_as_everywhere_else(
    models, kind, tmp_path
):
    tall = np.concatenate([picture(7, 96), picture(8, 96)])
    expected = known_path(models[kind], [tall, picture(9, 200)], tmp_path)
    encoder = load_gradient_encoder(models[kind])
    found = encoder.predict([tall, picture(9, 200)])
    np.testing.assert_allclose(found[:, :3], expected[:, :3], atol=1e-5)
    # Not rounded, and bilinear: near, but not the same.
    shown = torch.cat(
        [encoder(as_images([tall])), encoder(as_images([picture(9, 200)]))]
    )
    spread = np.abs(expected[:, :3]).max()
    np.testing.assert_allclose(shown[:, :3], expected[:, :3], atol=0.1 * spread)


def test_an_array_of_pictures_is_predicted_in_parts_and_batches_do_not_matter(models):
    encoder = load_gradient_encoder(models["components"])
    pictures = np.stack([picture(i) for i in range(35)])
    found = encoder.predict(pictures)
    assert found.shape == (35, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(encoder.predict(pictures[33:]), found[33:], atol=1e-5)
    images = as_images(pictures[:4])
    singly = torch.cat([encoder(image[None]) for image in images])
    np.testing.assert_allclose(singly, encoder(images), atol=1e-5)


def test_spaces_of_one_network_are_read_in_one_pass(models):
    encoder = load_gradient_encoder(models["banded"])
    assert len(encoder.spaces) == 3
    assert len(encoder.readers) == 2
    reader = encoder.readers[encoder.spaces[0].reader]
    calls = []
    first = reader.backbone.module.get_submodule("stage1")
    hook = first.register_forward_hook(lambda *_: calls.append(1))
    encoder(as_images([picture(1)]))
    hook.remove()
    assert len(calls) == 1


# ------------------------------------------------------------------- gradients


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(models, kind):
    encoder = load_gradient_encoder(models[kind])
    for reader in encoder.readers:
        reader.backbone.module.double()
    rng = np.random.default_rng(5)
    pictures = [picture(200 + i, side_of(kind)) for i in range(2)]
    images = 0.1 + 0.8 * as_images(pictures).double()
    images = images + 0.02 * torch.from_numpy(rng.standard_normal(images.shape))
    weights = torch.from_numpy(rng.standard_normal((2, 3)))

    def objective(x):
        return (encoder(x)[:, encoder.fitted].double() * weights).sum()

    leaf = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective(leaf), leaf)
    assert torch.isfinite(gradient).all()
    norm = gradient.norm()
    assert norm > 0
    step = 3e-3 * gradient / norm
    slope = (objective(images + step) - objective(images - step)) / 6e-3
    assert float(slope) == pytest.approx(float(norm), rel=0.02)


def test_gradients_of_regions_come_from_their_fitted_units_alone(models):
    encoder = load_gradient_encoder(models["two maps"])
    images = as_images([picture(3)]).requires_grad_(True)
    with pytest.raises(ValueError, match="no region 'PPA'"):
        region_weights(encoder.regions, "PPA", fitted=encoder.fitted)
    weights = region_weights(encoder.regions, "FFA-1", fitted=encoder.fitted)
    assert weights.tolist() == [0, 0, 1, 0]
    found = encoder(images)
    assert torch.isnan(found[0]).tolist() == [False] * 3 + [True]
    (gradient,) = torch.autograd.grad(found[0, 2], images, retain_graph=True)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    (nothing,) = torch.autograd.grad(found[0, 3], images, allow_unused=True)
    assert nothing is None or not nothing.any()


def test_weights_of_models_are_frozen_and_networks_can_be_shared(models):
    networks = {}
    first = load_gradient_encoder(models["components"], networks=networks)
    second = load_gradient_encoder(models["fields"], networks=networks)
    (module,) = {id(b.module): b.module for b in networks.values()}.values()
    assert not any(p.requires_grad for p in module.parameters())
    assert first.readers[0].backbone is second.readers[0].backbone
    images = as_images([picture(3)])
    assert not first(images).requires_grad
    again = differentiate(load_picture_model(models["components"]))
    np.testing.assert_array_equal(first(images), again(images))


def test_an_encoder_tells_what_it_is(models):
    encoder = load_gradient_encoder(models["transformer"])
    assert encoder.name == "s1 transformer stage3:grid4"
    assert encoder.fingerprint == sha256_file(models["transformer"] / "encoder.json")
    assert encoder.n_units == 4
    assert encoder.units["unit_id"].tolist() == list("abcd")
    assert any("untrained weights" in note for note in encoder.notes)
    assert any("terms of both" in note for note in encoder.notes)
    assert len(set(encoder.notes)) == len(encoder.notes)
    assert encoder.regions["V1"].tolist() == [True, True, False, False]


# --------------------------------------------------------------------- regions


def test_regions_are_known_by_all_their_names():
    found = unit_regions(UNITS, ["region", "floc"])
    expected = {
        "region": [1, 1, 1, 0],
        "V1v": [1, 0, 0, 0],
        "region:V1v": [1, 0, 0, 0],
        "V1": [1, 1, 0, 0],
        "region:V1": [1, 1, 0, 0],
        "hV4": [0, 0, 1, 0],
        "floc": [0, 0, 1, 1],
        "FFA": [0, 0, 1, 1],
        "floc:FFA-1": [0, 0, 1, 1],
    }
    for name, mask in expected.items():
        assert found[name].dtype == bool
        assert found[name].flags.writeable
        assert found[name].astype(int).tolist() == mask, name
    assert "" not in found
    assert unit_regions(UNITS, []) == {}


def test_a_label_of_two_families_needs_its_family():
    units = pd.DataFrame({"unit_id": list("ab"), "one": ["x", ""], "two": ["", "x"]})
    found = unit_regions(units, ["one", "two"])
    assert sorted(found) == ["one", "one:x", "two", "two:x"]
    with pytest.raises(ValueError, match="lacks the columns"):
        unit_regions(units, ["three"])
    units = pd.DataFrame({"unit_id": list("ab"), "one": ["two", ""], "two": ["", "x"]})
    assert unit_regions(units, ["one", "two"])["two"].tolist() == [False, True]


# --------------------------------------------------------------------- resizing


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (90, 41), (31, 33), (200, 17)])
@pytest.mark.parametrize("scaled", [None, (40, 40), (48, 40)])
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_images_are_fitted_as_pictures_are_but_for_rounding(size, scaled, resize):
    fill = (255, 10, 20)
    rule = Preprocessing((32, 32), resize, scaled, "bilinear", fill=fill)
    shown = noise(*size)
    expected = prepare_pictures([shown], rule).permute(0, 3, 1, 2).float()
    found = 255 * fit_to_input(as_images([shown]), rule)
    assert found.shape == (1, 3, 32, 32)
    # Pillow rounds twice: after rows and after columns.
    assert (found - expected).abs().max() <= 1.01


def test_enlarging_needs_no_blur_and_shrinking_without_it_is_as_published():
    small, large = as_images([noise(20, 20)]), as_images([noise(64, 64)])
    rule = Preprocessing((32, 32), "squash")
    options = {"mode": "bilinear", "align_corners": False}
    for antialias in (True, False):
        found = fit_to_input(small, rule, antialias=antialias)
        torch.testing.assert_close(found, F.interpolate(small, (32, 32), **options))
    found = fit_to_input(large, rule, antialias=False)
    torch.testing.assert_close(found, F.interpolate(large, (32, 32), **options))
    blurred = fit_to_input(large, rule)
    assert blurred.var() < 0.7 * found.var()
    kept = fit_to_input(large, Preprocessing((64, 64)))
    assert torch.equal(kept, large)


def test_the_encoder_blurs_unless_it_is_told_not_to(models):
    images = as_images([noise(256, 256)])
    blurred = load_gradient_encoder(models["components"])(images)
    sharp = load_gradient_encoder(models["components"], antialias=False)(images)
    options = {"mode": "bilinear", "align_corners": False}
    shown = F.interpolate(images, (128, 128), **options)
    torch.testing.assert_close(
        sharp, load_gradient_encoder(models["components"])(shown)
    )
    assert (blurred - sharp).abs()[:, :3].max() > 1e-3


def test_gradients_reach_images_of_any_size_everywhere_that_is_seen(models):
    encoder = load_gradient_encoder(models["components"])
    images = as_images([noise(96, 160)]).requires_grad_(True)
    (gradient,) = torch.autograd.grad(encoder(images)[:, :3].sum(), images)
    seen = gradient.abs().sum((0, 1))
    # The centre square, but for what the network does not pool.
    assert (seen[:, 40:120] > 0).float().mean() > 0.7
    assert not seen[:, :30].any()
    assert not seen[:, 130:].any()


def test_sizes_that_cannot_be_are_refused():
    rule = Preprocessing((32, 32), "none")
    kept = as_images([noise(32, 32)])
    assert fit_to_input(kept, rule) is kept
    with pytest.raises(ValueError, match=r"must have \(32, 32\) pixels"):
        fit_to_input(as_images([noise(32, 33)]), rule)
    with pytest.raises(ValueError, match=r"`pictures\[1\]`: Pictures must have"):
        prepare_pictures([noise(32, 32), noise(8, 8)], rule)


# ------------------------------------------------------------ parts, bad input


def test_projections_of_tensors_are_those_of_arrays():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((5, 40)).astype(np.float32)
    mean = rng.standard_normal(40).astype(np.float32)
    directions = np.linalg.qr(rng.standard_normal((40, 3)))[0].T.astype(np.float32)
    spread = np.array([3.0, 2.0, 1.0])
    components = PrincipalComponents(mean, directions, spread, 9.0, 50)
    for one in (components, sparse_projection(40, 6, seed=1)):
        given = torch.from_numpy(rows).requires_grad_(True)
        found = project_rows(one, "cpu")(given)
        np.testing.assert_allclose(found.detach(), one.transform(rows), atol=1e-5)
        (gradient,) = torch.autograd.grad(found[:, 0].sum(), given)
        unit = np.eye(40, dtype=np.float32)
        slope = one.transform(unit)[:, 0] - one.transform(0 * unit)[:, 0]
        np.testing.assert_allclose(gradient[0], slope, atol=1e-5)
    with pytest.raises(TypeError, match="SparseProjection or PrincipalComponents"):
        project_rows("pca", "cpu")


def test_the_output_of_a_network_is_read_if_it_is_a_vector():
    backbone = load_backbone("timm:test_vit", "seeded:0")
    reader = read_network(backbone, [OUTPUT, "blocks.1:cls", OUTPUT])
    images = as_images([picture(1, 160), picture(2, 160)])
    found = reader(images)
    assert reader.sizes == {"blocks.1:cls": 64, OUTPUT: 1000}
    pixels = 255 * images.permute(0, 2, 3, 1)
    expected = backbone.module(backbone.preprocessing.normalise(pixels))
    torch.testing.assert_close(found[OUTPUT], expected)
    known = backbone.features(images, ["blocks.1:cls"])["blocks.1:cls"]
    torch.testing.assert_close(found["blocks.1:cls"], known)
    maps = load_backbone("compact_vgg", "seeded:0/8")
    with pytest.raises(ValueError, match=r"no vector but \(24, 8, 8\) per picture"):
        read_network(maps, [OUTPUT])
    with pytest.raises(ValueError, match="has no layer 'stage9'"):
        read_network(maps, ["stage9:gap"])


def test_images_of_another_kind_are_refused(models):
    encoder = load_gradient_encoder(models["components"])
    with pytest.raises(TypeError, match=r"got torch\.uint8.*`predict`"):
        encoder(torch.zeros(1, 3, 128, 128, dtype=torch.uint8))
    with pytest.raises(TypeError, match="got ndarray"):
        encoder(np.zeros((1, 3, 128, 128), np.float32))
    for shape in [(3, 128, 128), (1, 128, 128, 3)]:
        with pytest.raises(ValueError, match=r"must have shape \(n, 3, H, W\)"):
            encoder(torch.zeros(shape))
    with pytest.raises(ValueError, match="`pictures` is empty"):
        encoder.predict([])
    with pytest.raises(TypeError, match=r"`pictures\[0\]`.*dtype"):
        encoder.predict([np.zeros((128, 128, 3), np.float32)])


def test_models_that_are_missing_damaged_or_of_other_networks_are_refused(
    models, tmp_path
):
    with pytest.raises(FileNotFoundError, match="holds no encoding model"):
        load_gradient_encoder(tmp_path)
    copy = tmp_path / "model"
    shutil.copytree(models["components"], copy)
    meta = json.loads((copy / "model.json").read_text())
    changed = json.loads(json.dumps(meta))
    changed["features"]["spaces"][0]["name"] = "control:colour"
    (copy / "model.json").write_text(json.dumps(changed))
    with pytest.raises((ValueError, TypeError), match="control:colour"):
        load_gradient_encoder(copy)
    (copy / "model.json").write_text(json.dumps(meta))
    (copy / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataCorruptError, match="cut or changed"):
        load_gradient_encoder(copy)


def test_an_encoder_without_fitted_units_is_refused(models, tmp_path):
    encoder = load_encoder(models["two maps"])
    save_encoder(tmp_path, replace(encoder, columns=np.full(4, -1)))
    with pytest.raises(ValueError, match="no unit that was fitted"):
        load_gradient_encoder(tmp_path)
