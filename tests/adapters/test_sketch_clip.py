"""The small CLIP: its towers, its files, and the weights that come with the suite."""

import json
import math
from importlib import resources

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from neurovis.adapters import sketch_clip as module
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.captioner import load_captioner
from neurovis.adapters.sketch_clip import (
    N_FEATURES,
    PIXELS,
    SHIPPED,
    SHIPPED_SHA256,
    SketchClip,
    build_sketch_clip,
    load_sketch_clip,
    save_sketch_clip,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.tensors import hash_state_dict
from tasks.captioner_parts import (
    draw_captioned,
    embed_pictures,
    judge_captions,
    judge_clip,
    mark_words,
    nearest_texts,
)
from tasks.captioner_training import CaptionerRecipe
from tasks.sketch_captions import VOCABULARY, category_captions

WORDS = (".", "a", "blue", "fruit", "red", "room")

# Frozen on 2026-11-22 (torch 2.15, CPU): the first values of embeddings of a grey ramp
# and of a text, and what is measured on 500 drawings of seed 4321.
IMAGE_VALUES = [0.0961306, -0.0348656, -0.1928447, 0.1671016]
TEXT_VALUES = [0.0071607, 0.2619189, 0.0809774, -0.3255412]
CATEGORY, KIND = 1.0, 0.986
NORM_MEAN, NORM_SD = 2.288, 0.8625
# Shares of 200 captions of such drawings.
CAPTIONS = {
    "category_right": 1.0,
    "kind_right": 0.985,
    "colour_right": 0.876,
    "size_right": 0.919,
}


def small(seed=0):
    return build_sketch_clip(WORDS, seed).eval().requires_grad_(False)


def some_images(n=3, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 32, 32, generator=stream)


def ramp():
    across = torch.linspace(0, 1, 32).expand(32, 32)
    return torch.stack([across, across.T, torch.full((32, 32), 0.5)])[None]


@pytest.fixture(scope="module")
def trained_norms():
    """A network whose normalisations are not those of the start; not to be changed."""
    network = build_sketch_clip(WORDS, 3)
    with torch.no_grad():
        for _ in range(3):
            network.embed_images(some_images(16, seed=5))
        for norm in network.norms:
            norm.weight.copy_(torch.linspace(0.5, 1.5, len(norm.weight)))
            norm.bias.copy_(torch.linspace(-0.2, 0.3, len(norm.bias)))
    return network.eval().requires_grad_(False)


# ---------------------------------------------------------------------- towers


def convolve(x, kernel, bias):
    """3 x 3 convolution with zeros around, in float64."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    parts = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.einsum("chwij,ocij->ohw", parts, kernel) + bias[:, None, None]


def test_the_image_tower_is_what_it_says(trained_norms):
    network = trained_norms
    state = {n: v.double().numpy() for n, v in network.state_dict().items()}
    image = some_images(1, seed=2)
    mean, std = (np.array(v)[:, None, None] for v in (PIXELS.mean, PIXELS.std))
    x = (255 * image[0].double().numpy() - mean) / std
    for i in range(4):
        x = convolve(x, state[f"layers.{i}.weight"], state[f"layers.{i}.bias"])
        part = {
            n: state[f"norms.{i}.{n}"][:, None, None]
            for n in ("running_mean", "running_var", "weight", "bias")
        }
        x = (x - part["running_mean"]) / np.sqrt(part["running_var"] + 1e-5)
        x = np.maximum(x * part["weight"] + part["bias"], 0)
        if i < 3:
            n, height, width = x.shape
            x = x.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4))
    expected = state["image_head.weight"] @ x.mean((1, 2)) + state["image_head.bias"]
    found = network.embed_images(image)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_the_text_tower_is_what_it_says():
    network = small()
    state = {n: v.double().numpy() for n, v in network.state_dict().items()}
    mean = state["words.weight"][[1, 4, 3]].mean(0)
    hidden = state["text_hidden.weight"] @ mean + state["text_hidden.bias"]
    hidden = [h * 0.5 * (1 + math.erf(h / math.sqrt(2))) for h in hidden]
    expected = state["text_head.weight"] @ hidden + state["text_head.bias"]
    found = network.embed_texts(["a red fruit ."])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_order_case_signs_and_unknown_words_do_not_matter():
    network = small()
    texts = ["a red fruit .", "Fruit: a RED", "a red zebra-fruit!", "a red fruit"]
    found = network.embed_texts([*texts, "a blue fruit"])
    for other in found[1:4]:
        torch.testing.assert_close(other, found[0])
    assert not torch.allclose(found[4], found[0], atol=1e-4)
    # A word that is there twice counts twice.
    assert not torch.allclose(network.embed_texts(["a red red fruit"])[0], found[0])


def test_embeddings_do_not_depend_on_what_is_embedded_with_them(trained_norms):
    images = some_images(5)
    together = trained_norms.embed_images(images)
    for i in range(5):
        alone = trained_norms.embed_images(images[i : i + 1])[0]
        torch.testing.assert_close(alone, together[i], atol=1e-5, rtol=0)
    network = small()
    texts = ["red", "a blue room .", "fruit fruit a"]
    together = network.embed_texts(texts)
    for i, text in enumerate(texts):
        alone = network.embed_texts([text])[0]
        torch.testing.assert_close(alone, together[i], atol=1e-6, rtol=0)


def test_nothing_gives_nothing():
    network = small()
    assert network.embed_images(torch.zeros(0, 3, 32, 32)).shape == (0, N_FEATURES)
    assert network.embed_texts([]).shape == (0, N_FEATURES)


def test_gradients_reach_images_and_words():
    network = build_sketch_clip(WORDS, 0).eval()
    images = some_images().requires_grad_()
    both = network.embed_images(images) * network.embed_texts(["a red room"] * 3)
    (network.scale * both.sum()).backward()
    assert float(images.grad.abs().sum()) > 0
    rows = network.words.weight.grad.abs().sum(1)
    assert (rows > 0).tolist() == [word in ("a", "red", "room") for word in WORDS]
    assert float(network.log_scale.grad.abs()) > 0


def test_the_scale_begins_as_that_of_clip_and_ends_at_100():
    network = small()
    assert float(network.scale) == pytest.approx(1 / 0.07, rel=2e-3)
    with torch.no_grad():
        network.log_scale.fill_(9.0)
    assert float(network.scale) == pytest.approx(100, rel=1e-2)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 31, 32), (1, 1, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(n, 3, 32, 32\)"):
        small().embed_images(torch.zeros(shape))


def test_texts_without_a_known_word_are_refused():
    network = small()
    with pytest.raises(ValueError, match="the words of 'zebras run'"):
        network.embed_texts(["a fruit", "zebras run"])
    with pytest.raises(ValueError, match="Did you mean 'fruit'"):
        network.embed_texts(["fruits"])
    with pytest.raises(ValueError, match=r"words of ' \. '"):
        network.embed_texts([" . "])
    with pytest.raises(TypeError, match="list of texts"):
        network.embed_texts("a fruit")


@pytest.mark.parametrize("words", [(), ("a", "red", "a")])
def test_vocabularies_that_cannot_be_are_refused(words):
    with pytest.raises(ValueError, match="different words"):
        SketchClip(words)


# ----------------------------------------------------------------------- files


def test_seeds_decide_weights_and_the_caller_does_not_notice():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    hashes = [hash_state_dict(small(seed).state_dict()) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_gives_back_what_was_saved(tmp_path, trained_norms):
    path = tmp_path / "mine.safetensors"
    about = {"notes": ["a note"], "recipe": {"epochs": 3}}
    save_sketch_clip(path, trained_norms.state_dict(), WORDS, about)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = load_sketch_clip(path, sha256=sha256_file(path))
    assert torch.equal(torch.get_rng_state(), before)
    assert found.vocabulary == WORDS
    assert found.notes == ("a note",)
    assert found.trained
    assert found.about["recipe"] == {"epochs": 3}
    assert not any(part.training for part in found.modules())
    assert not any(value.requires_grad for value in found.parameters())
    images, texts = some_images(), ["a blue room"]
    assert torch.equal(found.embed_images(images), trained_norms.embed_images(images))
    assert torch.equal(found.embed_texts(texts), trained_norms.embed_texts(texts))
    other = tmp_path / "again.safetensors"
    save_sketch_clip(other, found.state_dict(), WORDS, about)
    assert other.read_bytes() == path.read_bytes()


def test_states_that_do_not_fit_are_not_saved(tmp_path):
    state = small().state_dict()
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=r"words\.weight"):
        save_sketch_clip(path, state, (*WORDS, "more"), {})
    with pytest.raises(ValueError, match="suffix"):
        save_sketch_clip(tmp_path / "a.pt", state, WORDS, {})
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_sketch_clip(path, small().state_dict(), WORDS, {})
    whole = path.read_bytes()
    with pytest.raises(DataCorruptError, match="SHA-256"):
        load_sketch_clip(path, sha256="0" * 64)
    path.write_bytes(whole[:-100])
    with pytest.raises(DataCorruptError, match="truncated"):
        load_sketch_clip(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_sketch_clip(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="suffix of weights"):
        load_sketch_clip(__file__)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no description of a small CLIP"):
        load_sketch_clip(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"vocabulary": ["a", "a"]}'])
def test_descriptions_that_are_none_are_told(tmp_path, text):
    path = tmp_path / "a.safetensors"
    save_file(small().state_dict(), path, metadata={"sketch_clip": text})
    with pytest.raises(DataCorruptError, match="none of a small CLIP"):
        load_sketch_clip(path)


def test_weights_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    text = json.dumps({"vocabulary": list(WORDS)})
    state = small().state_dict()
    del state["text_head.bias"]
    save_file(state, path, metadata={"sketch_clip": text})
    with pytest.raises(ValueError, match=r"1 missing \(text_head.bias\)"):
        load_sketch_clip(path)


@pytest.mark.parametrize("weights", ["seeded:", "seeded:x", "seeded:1/8"])
def test_seeds_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="must look like 'seeded:0'"):
        load_sketch_clip(weights)


# -------------------------------------------------------------------- backbone


def test_the_backbone_reads_pictures_as_the_network_does():
    backbone = load_backbone("sketch_clip", "seeded:4")
    assert not backbone.trained
    assert backbone.notes == ("sketch_clip: untrained weights (seeded:4)",)
    rule = backbone.preprocessing
    assert (rule.size_px, rule.resize) == ((32, 32), "squash")
    images = (255 * some_images()).byte()
    normalised = rule.normalise(images.permute(0, 2, 3, 1))
    network = load_sketch_clip("seeded:4")
    with torch.no_grad():
        found = backbone.module(normalised)
        expected = network.embed_images(images.float() / 255)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert backbone.weights_hash == hash_state_dict(network.state_dict())
    # Pictures of any size become what it looks at, whole.
    assert rule.prepare(np.zeros((40, 70, 3), np.uint8)).shape == (32, 32, 3)


def test_backbones_take_files_and_tell_what_they_are(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_sketch_clip(path, small().state_dict(), WORDS, {"notes": ["a note"]})
    backbone = load_backbone("sketch_clip", path)
    assert backbone.trained
    assert backbone.weights_name == "mine.safetensors"
    assert backbone.notes == ("sketch_clip: a note",)
    assert load_backbone("sketch_clip").weights_name == "shipped"
    with pytest.raises(ValueError, match="Did you mean 'sketch_clip'"):
        load_backbone("sketch_clp")


# --------------------------------------------------------------------- shipped


def test_the_shipped_file_is_the_one_that_is_checked_and_tells_how_it_came_about():
    with resources.as_file(resources.files("neurovis.adapters") / SHIPPED) as path:
        assert sha256_file(path) == SHIPPED_SHA256
        assert path.stat().st_size < 1_000_000
        state = load_file(path)
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["sketch_clip"])
    network = load_sketch_clip()
    assert hash_state_dict(network.state_dict()) == hash_state_dict(state)
    assert network.about == about
    assert about["seed"] == 0
    assert about["recipe"] == CaptionerRecipe().parameters
    assert network.vocabulary == VOCABULARY
    assert network.trained
    assert "trained here on 20000 drawings" in network.notes[0]
    assert load_backbone("sketch_clip").weights_hash == hash_state_dict(state)


def test_the_shipped_network_embeds_as_it_did():
    network = load_sketch_clip()
    image = network.embed_images(ramp())[0, :4]
    text = network.embed_texts(["a large green fruit with a leaf ."])[0, :4]
    assert image.tolist() == pytest.approx(IMAGE_VALUES, abs=1e-4)
    assert text.tolist() == pytest.approx(TEXT_VALUES, abs=1e-4)


def test_the_shipped_network_names_new_drawings_by_texts_and_random_ones_do_not():
    drawn = draw_captioned(500, seed=4321)
    found = judge_clip(load_sketch_clip(), drawn)
    assert found["category"] == pytest.approx(CATEGORY, abs=0.01)
    assert found["kind"] == pytest.approx(KIND, abs=0.02)
    norms = embed_pictures(load_sketch_clip(), drawn.pictures).norm(dim=1)
    assert float(norms.mean()) == pytest.approx(NORM_MEAN, rel=0.01)
    assert float(norms.std()) == pytest.approx(NORM_SD, rel=0.05)
    # Five categories in turn: chance is one in five.
    shares = [
        judge_clip(load_sketch_clip(f"seeded:{seed}"), drawn)["category"]
        for seed in range(3)
    ]
    assert all(0.15 < share < 0.25 for share in shares)


def test_names_are_those_of_the_nearest_texts():
    network = load_sketch_clip()
    embedded = embed_pictures(network, draw_captioned(40, seed=5).pictures)
    texts = category_captions()
    scores = []
    for some in texts.values():
        rows = network.embed_texts(some).double().numpy()
        cosine = embedded.double().numpy() @ rows.T / np.linalg.norm(rows, axis=1)
        scores.append(cosine.max(1))
    expected = np.array(list(texts))[np.argmax(scores, axis=0)]
    assert nearest_texts(network, embedded, texts).tolist() == expected.tolist()


def test_words_of_captions_are_read_as_the_training_read_them():
    drawn = draw_captioned(30, n_wordings=2, seed=8)
    network = load_sketch_clip()
    for tokens in drawn.tokens:
        texts = [" ".join(VOCABULARY[i] for i in row if i) for row in tokens.tolist()]
        expected = network.embed_tokens(tokens, mark_words(tokens))
        torch.testing.assert_close(network.embed_texts(texts), expected)


def test_the_shipped_file_is_found_by_its_hash(monkeypatch):
    monkeypatch.setattr(module, "SHIPPED_SHA256", "1" * 64)
    with pytest.raises(DataCorruptError, match="SHA-256"):
        load_sketch_clip()


# ----------------------------------------------------------- shipped captioner


def test_the_shipped_captioner_belongs_to_the_shipped_network():
    captioner = load_captioner("sketch")
    assert captioner.trained
    assert captioner.notes == load_sketch_clip().notes
    mark = load_backbone("sketch_clip").weights_hash
    assert captioner.embedding["weights_hash"] == mark
    assert captioner.embedding["network"] == "sketch_clip"
    tokens = captioner.tokenizer.get_vocab()
    assert sorted(tokens, key=tokens.__getitem__) == list(VOCABULARY)
    folder = resources.files("neurovis.adapters") / "sketch_captioner"
    with resources.as_file(folder) as path:
        total = sum(file.stat().st_size for file in path.iterdir())
        assert total < 2_000_000
        # Read as it is shipped: no precision is lost on the way.
        state = load_file(path / "model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_the_shipped_captioner_says_what_is_on_new_drawings():
    drawn = draw_captioned(200, seed=4321)
    embedded = embed_pictures(load_sketch_clip(), drawn.pictures).numpy()
    captioner = load_captioner("sketch")
    found = captioner.caption(embedded)
    assert found["finished"].all()
    shares = judge_captions(found["caption"], drawn.seen)
    assert shares == pytest.approx(CAPTIONS, abs=0.021)
    # What it says of an embedding is likelier than what it says of the next one.
    own = captioner.score(embedded, found["caption"].tolist())
    other = captioner.score(embedded, np.roll(found["caption"], 1).tolist())
    assert np.mean(own > other) > 0.98
    np.testing.assert_allclose(own, found["log_prob"], atol=1e-4)
