"""Checkpoints in the shape of CLIPCap become captioners that say the same."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neurovis.adapters.captioner import (
    CARD_FILE,
    CONFIG_FILE,
    TOKENIZER_FILE,
    load_captioner,
)
from neurovis.adapters.clipcap import NETWORK, convert_clipcap
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import sha256_file
from neurovis.core.rng import own_torch_stream
from tests.adapters.toy_captioners import (
    N_FEATURES,
    WORDS,
    make_captioner,
    make_language_model,
    make_mapper,
    make_tokenizer,
)


class Perceptron(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        one, two = (nn.Linear(*sizes[k : k + 2]) for k in (0, 1))
        self.model = nn.Sequential(one, nn.Tanh(), two)

    def forward(self, embeddings):
        return self.model(embeddings)


class ClipCap(nn.Module):
    """What CLIPCap trains, under its names."""

    def __init__(self, mapper, language_model):
        super().__init__()
        self.clip_project, self.gpt = mapper, language_model


def make_clipcap(length=3, **changes):
    language_model = make_language_model(2, **changes).eval()
    n_language = language_model.config.n_embd
    with own_torch_stream(0, "clipcap"):
        if length > 10:
            mapper = nn.Linear(N_FEATURES, length * n_language)
        else:
            sizes = N_FEATURES, length * n_language // 2, length * n_language
            mapper = Perceptron(*sizes)
    return ClipCap(mapper, language_model)


def old_state(model):
    """Weights with the masks that older versions of transformers kept."""
    state = model.state_dict()
    n_positions = model.gpt.config.n_positions
    for k in range(model.gpt.config.n_layer):
        start = f"gpt.transformer.h.{k}.attn."
        shape = (1, 1, n_positions, n_positions)
        state[f"{start}bias"] = torch.ones(shape, dtype=torch.uint8).tril()
        state[f"{start}masked_bias"] = torch.tensor(-1e4)
    return state


def write_language_model(folder, language_model, words=WORDS, **changes):
    folder.mkdir()
    told = language_model.config.to_dict() | changes
    (folder / CONFIG_FILE).write_text(json.dumps(told))
    (folder / TOKENIZER_FILE).write_text(make_tokenizer(words).to_str())
    return folder


@pytest.fixture
def model():
    return make_clipcap()


@pytest.fixture
def source(model, tmp_path):
    path = tmp_path / "coco_prefix-009.pt"
    torch.save(old_state(model), path)
    return path


@pytest.fixture
def language(model, tmp_path):
    return write_language_model(tmp_path / "gpt2", model.gpt)


def draw_embeddings(n=8):
    shape = (n, N_FEATURES)
    return 2 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize(("length", "n_hidden"), [(3, 48), (10, 160), (12, 0)])
def test_a_converted_checkpoint_says_what_its_parts_say(tmp_path, length, n_hidden):
    model = make_clipcap(length)
    torch.save(old_state(model), tmp_path / "model.pt")
    language = write_language_model(tmp_path / "gpt2", model.gpt)
    state = torch.get_rng_state()
    found = convert_clipcap(
        tmp_path / "model.pt", tmp_path / "out", language_model=language
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert found.prefix_length == length
    assert found.mapper.n_hidden == n_hidden
    embeddings = draw_embeddings()
    prefix = model.clip_project(torch.from_numpy(embeddings)).view(-1, length, 32)
    assert torch.equal(found.mapper(torch.from_numpy(embeddings)), prefix)
    mapper = make_mapper(prefix_length=length)
    own = model.clip_project.state_dict()
    mapper.load_state_dict(
        {n: own[n.replace("layers.", "model.")] for n in mapper.state_dict()}
        if n_hidden
        else {n: own[n.replace("layers.0.", "")] for n in mapper.state_dict()}
    )
    direct = make_captioner(mapper=mapper, language_model=model.gpt)
    expected = direct.caption(embeddings, max_tokens=9)
    told = found.caption(embeddings, max_tokens=9)
    pd.testing.assert_frame_equal(told, expected, check_exact=True)
    assert told["caption"].nunique() > 2
    assert load_captioner(tmp_path / "out").fingerprint == found.fingerprint
    assert found.fingerprint == direct.fingerprint


def test_a_converted_checkpoint_tells_what_it_is(source, language, tmp_path):
    found = convert_clipcap(
        source,
        tmp_path / "out",
        language_model=language,
        name="coco",
        sha256=sha256_file(source)[:12],
    )
    card = json.loads((tmp_path / "out" / CARD_FILE).read_text())
    assert card["embedding"] == {"network": NETWORK, "n_features": N_FEATURES}
    assert (found.name, found.trained) == ("coco", True)
    assert found.stop_token == WORDS.index(".")
    assert found.notes == (
        "coco was converted from the CLIPCap checkpoint coco_prefix-009.pt.",
    )


def test_a_last_layer_of_its_own_is_kept(tmp_path):
    model = make_clipcap(tie_word_embeddings=False)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    # As the published GPT-2 tells it.
    language = write_language_model(
        tmp_path / "gpt2", model.gpt, tie_word_embeddings=True
    )
    convert_clipcap(tmp_path / "model.pt", tmp_path / "out", language_model=language)
    found = load_captioner(tmp_path / "out").language_model
    assert torch.equal(found.lm_head.weight, model.gpt.lm_head.weight)
    assert not torch.equal(found.lm_head.weight, found.transformer.wte.weight)


def test_the_smallest_gpt2_needs_no_description(tmp_path):
    model = make_clipcap(1, n_embd=768, n_layer=1, n_head=12)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    language = write_language_model(tmp_path / "gpt2", model.gpt)
    rule = {"language_model": language}
    one = convert_clipcap(tmp_path / "model.pt", tmp_path / "one", **rule)
    (language / CONFIG_FILE).unlink()
    other = convert_clipcap(tmp_path / "model.pt", tmp_path / "other", **rule)
    assert one.fingerprint == other.fingerprint


def test_the_heads_of_other_models_must_be_told(source, language, tmp_path):
    (language / CONFIG_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json, and the number"):
        convert_clipcap(source, tmp_path / "out", language_model=language)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embd": 64}, "n_embd 64 instead of 32"),
        (
            {"n_layer": 12, "vocab_size": 7},
            "vocab_size 7 instead of 9, n_layer 12 inst",
        ),
        ({"n_positions": 1024}, "n_positions 1024 instead of 24"),
    ],
)
def test_another_language_model_is_refused(source, model, tmp_path, changes, message):
    language = write_language_model(tmp_path / "other", model.gpt, **changes)
    with pytest.raises(ValueError, match=message):
        convert_clipcap(source, tmp_path / "out", language_model=language)
    assert not (tmp_path / "out" / CARD_FILE).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*WORDS, "more"], "has 10 tokens, but the language model has rows for 9"),
        (["a", "cat"], r"no word for '\.'"),
    ],
)
def test_another_tokenizer_is_refused(source, model, tmp_path, words, message):
    language = write_language_model(tmp_path / "other", model.gpt, words)
    with pytest.raises(ValueError, match=message):
        convert_clipcap(source, tmp_path / "out", language_model=language)


def renamed(state, old, new):
    return {name.replace(old, new): value for name, value in state.items()}


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (
            lambda s: s | {"clip_project.prefix_const": torch.zeros(10, 32)},
            "has a transformer as its mapper, which is not supported",
        ),
        (
            lambda s: renamed(s, "clip_project.model", "clip_project.linear"),
            r"has an unknown mapper \(linear\.0\.bias",
        ),
        (lambda s: renamed(s, "clip_project", "other"), r"called clip_project\.\.\."),
        (lambda s: renamed(s, "gpt.", "bert."), r"called gpt\.\.\."),
        (
            lambda s: {n: v for n, v in s.items() if "wte" not in n},
            r"gpt\.transformer\.wte\.weight is missing or no matrix",
        ),
        (
            lambda s: {n: v for n, v in s.items() if "h.1.mlp.c_fc" not in n},
            r"2 missing \(transformer\.h\.1\.mlp\.c_fc",
        ),
        (
            lambda s: s | {"clip_project.model.2.weight": torch.zeros(95, 48)},
            "gives 95 values, which are no whole number of word vectors",
        ),
        (
            lambda s: s | {"clip_project.model.2.bias": torch.zeros(95)},
            r"1 of another shape \(layers\.2\.bias",
        ),
        (lambda s: {}, r"none of its 0 tensors"),
        (lambda s: s | {"epoch": 9}, "must hold tensors by name"),
    ],
)
def test_another_checkpoint_is_refused(model, language, tmp_path, alter, message):
    path = tmp_path / "altered.pt"
    torch.save(alter(dict(old_state(model))), path)
    with pytest.raises(ValueError, match=message):
        convert_clipcap(path, tmp_path / "out", language_model=language)
    assert not (tmp_path / "out" / CARD_FILE).exists()


def test_a_cut_or_changed_checkpoint_is_refused(source, language, tmp_path):
    with pytest.raises(DataCorruptError, match="but 00000000 is expected"):
        convert_clipcap(source, tmp_path, language_model=language, sha256="0" * 8)
    source.write_bytes(source.read_bytes()[:-50])
    with pytest.raises(DataCorruptError, match="is not a readable checkpoint"):
        convert_clipcap(source, tmp_path, language_model=language)


def test_a_missing_language_model_is_told(source, language, tmp_path, monkeypatch):
    from huggingface_hub import constants

    with pytest.raises(FileNotFoundError, match="`language_model` must be an existing"):
        convert_clipcap(source, tmp_path, language_model=tmp_path / "nowhere")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(FileNotFoundError, match="no model 'owner/gpt2' in the cache"):
        convert_clipcap(source, tmp_path, language_model="owner/gpt2")
    (language / TOKENIZER_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=rf"has no {TOKENIZER_FILE}"):
        convert_clipcap(source, tmp_path, language_model=language)
