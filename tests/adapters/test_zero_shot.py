"""A judge that reads texts: its answers are those of open_clip itself."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.zero_shot import CATEGORY_NAMES, TEMPLATES, load_zero_shot
from neurovis.core.errors import DataCorruptError, MissingDependencyError

open_clip = pytest.importorskip("open_clip")

MODEL = "tiny-judge-of-tests"
COCA = "tiny-coca-judge-of-tests"
NAME, COCA_NAME = f"open_clip:{MODEL}", f"open_clip:{COCA}"
SIDE = 32
WORDS = {"cat": ("a cat", "a kitten"), "car": ("a car",), "sea": ("the sea", "water")}
SENTENCES = ("a photo of {}.", "{}")


@pytest.fixture(scope="module", autouse=True)
def _tiny_models(tmp_path_factory):
    """A CLIP and a CoCa for pictures of 32 pixels and embeddings of 24 values."""
    home = tmp_path_factory.mktemp("open_clip")
    vision = {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16}
    text = {"context_length": 12, "width": 32, "heads": 2, "layers": 1}
    plain = {
        "embed_dim": 24,
        "vision_cfg": {**vision, "patch_size": 8},
        "text_cfg": text,
    }
    pooled = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    coca = {
        "embed_dim": 24,
        "vision_cfg": {**vision, "patch_size": 8, **pooled},
        "text_cfg": {**text, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**text, "vocab_size": 49408, "attn_pooler_heads": 2},
        "custom_text": True,
    }
    for name, config in ((MODEL, plain), (COCA, coca)):
        path = home / f"{name}.json"
        path.write_text(json.dumps(config))
        open_clip.add_model_config(path)


def whole_model(name=MODEL, seed=1):
    """A model with weights that open_clip drew, and a temperature of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(name, pretrained=None).eval()
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
        for name, value in model.named_parameters():
            if name == "text_decoder.text_projection":  # open_clip leaves it undrawn
                value.fill_(0.0)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of both models, as open_clip names them."""
    home = tmp_path_factory.mktemp("weights")
    found = {}
    for name in (MODEL, COCA):
        found[name] = home / f"{name}.safetensors"
        save_file(whole_model(name).state_dict(), found[name])
    return found


@pytest.fixture(scope="module")
def judge(files):
    return load_zero_shot(NAME, files[MODEL], names=WORDS, templates=SENTENCES)


def pictures(n=5, size=(SIDE, SIDE)):
    draw = np.random.default_rng(0)
    return list(draw.integers(0, 256, (n, *size, 3), dtype=np.uint8))


def judged_by_open_clip(name, shown, words, sentences):
    """Shares and embeddings by open_clip's own towers, transforms and tokenizer."""
    model = whole_model(name)
    transform = open_clip.image_transform(SIDE, is_train=False)
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        images = torch.stack([transform(Image.fromarray(one)) for one in shown])
        seen = model.encode_image(images, normalize=True)
        texts = []
        for own in words.values():
            told = [sentence.format(word) for word in own for sentence in sentences]
            mean = model.encode_text(tokenizer(told), normalize=True).mean(0)
            texts.append(mean / mean.norm())
        logits = model.logit_scale.exp() * seen @ torch.stack(texts).T
    return logits.softmax(-1).numpy(), seen.numpy()


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize("size", [(SIDE, SIDE), (50, 70), (90, 40)])
@pytest.mark.parametrize("name", [MODEL, COCA])
def test_shares_and_embeddings_are_those_of_open_clip(files, name, size):
    shown = pictures(4, size)
    judge = load_zero_shot(
        f"open_clip:{name}", files[name], names=WORDS, templates=SENTENCES
    )
    shares, seen = judge.name_classes(shown)
    expected, embedded = judged_by_open_clip(name, shown, WORDS, SENTENCES)
    assert (shares.dtype, shares.shape) == (np.float64, (4, 3))
    assert (seen.dtype, seen.shape) == (np.float32, (4, 24))
    np.testing.assert_allclose(shares, expected, atol=1e-5)
    np.testing.assert_allclose(seen, embedded, atol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-6)
    # What is tested is not a share of one third each.
    assert np.ptp(expected) > 0.01
    assert judge.classes == ("cat", "car", "sea")
    assert judge.temperature == pytest.approx(np.exp(3))
    assert judge.trained


def test_texts_of_a_class_are_averaged_as_directions(judge, files):
    model, tokenizer = whole_model(), open_clip.get_tokenizer(MODEL)
    told = [s.format(w) for w in WORDS["cat"] for s in SENTENCES]
    rows = [model.encode_text(tokenizer([text]))[0] for text in told]
    mean = torch.stack([row / row.norm() for row in rows]).mean(0)
    torch.testing.assert_close(judge.texts[0], mean / mean.norm(), atol=1e-6, rtol=0)
    torch.testing.assert_close(judge.texts.norm(dim=1), torch.ones(3))
    other = load_zero_shot(NAME, files[MODEL], names=WORDS, templates=["{}"])
    assert (other.texts - judge.texts).abs().max() > 1e-3


def test_braces_of_other_kinds_in_names_and_templates_are_text(files):
    names = {"a": ["{x}"], "b": ["b"]}
    found = load_zero_shot(NAME, files[MODEL], names=names, templates=["{0} and {}"])
    model, tokenizer = whole_model(), open_clip.get_tokenizer(MODEL)
    row = model.encode_text(tokenizer(["{0} and {x}"]))[0]
    torch.testing.assert_close(found.texts[0], row / row.norm(), atol=1e-6, rtol=0)


def test_a_picture_is_judged_alike_in_any_company(judge):
    shown = pictures(70)
    shares, seen = judge.name_classes(np.stack(shown))
    for at in (0, 31, 32, 69):
        one, alone = judge.name_classes(shown[at : at + 1])
        np.testing.assert_allclose(one[0], shares[at], atol=1e-5)
        np.testing.assert_allclose(alone[0], seen[at], atol=1e-5)
    back, _ = judge.name_classes(shown[::-1])
    np.testing.assert_allclose(back[::-1], shares, atol=1e-5)


def test_judging_leaves_gradients_precision_and_random_numbers_as_they_are(
    judge, files
):
    before = torch.get_rng_state()
    precision = torch.get_float32_matmul_precision()
    loaded = load_zero_shot(NAME, files[MODEL])
    loaded.name_classes(pictures(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_float32_matmul_precision() == precision
    assert torch.is_grad_enabled()
    assert not any(p.requires_grad for p in judge.module.parameters())
    assert not judge.texts.requires_grad
    assert not any(m.training for m in judge.module.modules())


def test_the_five_categories_are_asked_for_by_default(files):
    found = load_zero_shot(NAME, files[MODEL])
    assert found.classes == ("face", "place", "body", "word", "food")
    shares, _ = found.name_classes(pictures(3))
    expected, _ = judged_by_open_clip(MODEL, pictures(3), CATEGORY_NAMES, TEMPLATES)
    np.testing.assert_allclose(shares, expected, atol=1e-5)


# ---------------------------------------------------------------------- weights


def test_random_weights_are_said_to_be_untrained_and_follow_the_seed():
    first = load_zero_shot(NAME, "seeded:3")
    assert not first.trained
    assert first.network_hash == load_backbone(NAME, "seeded:3").weights_hash
    assert load_zero_shot(NAME, "seeded:3").fingerprint == first.fingerprint
    other = load_zero_shot(NAME, "seeded:4")
    assert other.network_hash != first.network_hash
    assert not torch.equal(other.texts, first.texts)


def test_the_vision_tower_is_the_one_that_guides_would_read(files, judge):
    backbone = load_backbone(NAME, files[MODEL])
    assert judge.network_hash == backbone.weights_hash
    assert judge.preprocessing == backbone.preprocessing


def test_fingerprints_tell_all_that_answers_depend_on(judge):
    marks = {judge.fingerprint}
    for change in (
        {"classes": ("cat", "car", "lake")},
        {"temperature": 1.0},
        {"texts": judge.texts.flip(0)},
        {"preprocessing": replace(judge.preprocessing, resize="squash")},
    ):
        marks.add(replace(judge, **change).fingerprint)
    assert len(marks) == 5
    assert replace(judge, name="renamed").fingerprint == judge.fingerprint


@pytest.mark.parametrize("kind", ["one element", "half precision"])
def test_weights_of_other_forms_give_the_same_answers(files, judge, tmp_path, kind):
    state = whole_model().state_dict()
    if kind == "one element":
        state["logit_scale"] = state["logit_scale"].reshape(1)
    else:
        state = {name: value.half() for name, value in state.items()}
    save_file(state, tmp_path / "w.safetensors")
    found = load_zero_shot(
        NAME, tmp_path / "w.safetensors", names=WORDS, templates=SENTENCES
    )
    shares, _ = found.name_classes(pictures())
    atol = 1e-6 if kind == "one element" else 0.01
    np.testing.assert_allclose(shares, judge.name_classes(pictures())[0], atol=atol)


def test_devices_are_asked_for_as_everywhere(files, judge):
    found = load_zero_shot(
        NAME, files[MODEL], names=WORDS, templates=SENTENCES, device="auto"
    )
    assert found.texts.device == next(found.module.parameters()).device
    shares, _ = found.name_classes(pictures())
    np.testing.assert_allclose(shares, judge.name_classes(pictures())[0], atol=1e-4)
    with pytest.raises(ValueError, match="`device` must be one of"):
        load_zero_shot(NAME, files[MODEL], device="tpu")


# -------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"names": {"cat": ["a cat"]}}, ValueError, "at least two classes"),
        ({"names": {"cat": ["a cat"], "car": []}}, ValueError, "at least once"),
        ({"names": {"cat": "a cat", "car": ["a car"]}}, TypeError, "`cat` must be a"),
        ({"templates": ["a photo"]}, ValueError, "'{}' once.*got 'a photo'"),
        ({"templates": ["{} and {}"]}, ValueError, "'{}' once.*got '{} and {}'"),
        ({"templates": []}, ValueError, "at least one"),
        ({"templates": "a photo of {}"}, TypeError, "`templates` must be a list"),
    ],
)
def test_words_that_cannot_be_asked_for_are_refused(files, options, error, message):
    with pytest.raises(error, match=message):
        load_zero_shot(NAME, files[MODEL], **options)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("timm:test_vit", "seeded:0", "networks read texts; got 'timm:test_vit'"),
        ("compact_vgg", "seeded:0", "must be 'open_clip:...'"),
        (f"{NAME}s", "seeded:0", f"Did you mean '{MODEL}'"),
        ("open_clip:ViT-B-32.openal", "seeded:0", "Did you mean 'openai'"),
        (NAME, "seeded:x", "must look like 'seeded:0'"),
    ],
)
def test_networks_that_cannot_judge_are_refused(name, weights, message):
    with pytest.raises(ValueError, match=message):
        load_zero_shot(name, weights)


@pytest.mark.parametrize("prefix", ["", "visual."])
def test_a_vision_tower_alone_is_refused(tmp_path, prefix):
    tower = whole_model().visual.state_dict()
    path = tmp_path / "tower.safetensors"
    save_file({f"{prefix}{name}": value for name, value in tower.items()}, path)
    load_backbone(NAME, path)
    with pytest.raises(ValueError, match=r"tower\.safetensors holds one tower alone"):
        load_zero_shot(NAME, path)


def test_weights_that_are_missing_damaged_or_of_another_model_are_refused(
    files, tmp_path
):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_zero_shot(NAME, tmp_path / "absent.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(files[MODEL].read_bytes()[:-10])
    with pytest.raises(DataCorruptError, match="cut"):
        load_zero_shot(NAME, cut)
    with pytest.raises(ValueError, match=r"do not fit: \d+ missing"):
        load_zero_shot(NAME, files[COCA])


def test_what_is_no_picture_is_refused(judge):
    with pytest.raises(ValueError, match="`images` is empty"):
        judge.name_classes([])
    with pytest.raises(TypeError, match="picture"):
        judge.name_classes([np.zeros((SIDE, SIDE, 3))])


def test_without_open_clip_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as if not installed
    with pytest.raises(MissingDependencyError, match=r"neurovis\[clip\]"):
        load_zero_shot(NAME, "seeded:0")
