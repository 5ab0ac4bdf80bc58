"""Embeddings and tokens of models that look at pictures."""

import numpy as np
import pytest

from neurovis.adapters.backbones import load_backbone
from neurovis.core.rng import generator
from tasks.picture_features import embed, picture_models, read_tokens

PICTURES = list(generator(0, "pictures").integers(0, 256, (3, 40, 40, 3), np.uint8))


def test_default_models_are_a_trained_one_an_untrained_one_and_pixels():
    models = picture_models()
    assert [m.title for m in models] == ["compact_vgg", "untrained", "control:pixels"]
    assert [m.untrained for m in models] == [False, True, False]
    assert [m.kind for m in models] == ["network", "network", "control"]
    again = picture_models(["default"])
    assert [m.identity for m in again] == [m.identity for m in models]


def test_layers_that_stand_side_by_side_are_one_vector():
    (model,) = picture_models(["a=control:pixels:both=pixels:grid2+pixels:grid4"])
    found = embed(model, PICTURES)
    assert found["both"].shape == (3, 3 * (4 + 16))


def test_tokens_of_a_map_are_the_map_itself():
    network = load_backbone("compact_vgg", resize="squash")
    tokens = read_tokens(network, PICTURES, "stage3")
    (model,) = picture_models(["compact_vgg:stage3:flat"])
    flat = embed(model, PICTURES)["stage3:flat"]
    maps = flat.reshape(3, tokens.shape[3], *tokens.shape[1:3])
    assert np.array_equal(tokens, maps.transpose(0, 2, 3, 1))


def test_tokens_of_a_transformer_are_its_patches_row_by_row():
    network = load_backbone("timm:test_vit", "seeded:0", resize="squash")
    tokens = read_tokens(network, PICTURES, "blocks.0")
    (model,) = picture_models(["timm:test_vit@seeded:0:blocks.0:patches"])
    flat = embed(model, PICTURES)["blocks.0:patches"]
    assert np.array_equal(tokens.reshape(3, -1), flat)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([], "empty"),
        (["given:words"], "networks or controls"),
        (["control:pixels:pixels:grid4"] * 2, "twice"),
        (["human=control:pixels:pixels:grid4"], "stands for people"),
    ],
)
def test_what_is_no_model_is_refused(models, words):
    with pytest.raises(ValueError, match=words):
        picture_models(models)


def test_a_layer_without_places_has_no_tokens():
    network = load_backbone("timm:test_vit", "seeded:0", resize="squash")
    with pytest.raises(ValueError, match="has no places"):
        read_tokens(network, PICTURES, "fc_norm")
