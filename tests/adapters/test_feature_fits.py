"""Projections of layers: fitted to training pictures and to nothing else."""

import numpy as np
import pytest

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import (
    extract_features,
    fingerprint_pictures,
    fit_principal_components,
)
from neurovis.adapters.projections import sparse_projection
from neurovis.core.pictures import LazyPictures


def noise_pictures(n, seed=0):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(40, 90, (n, 2))
    return [draw.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


PICTURES = noise_pictures(7)


@pytest.fixture(scope="module")
def cnn():
    return load_backbone("timm:test_resnet", "seeded:0", size_px=64)


def close(found, expected, tolerance=2e-6):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


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
