"""Mappers, GPT-2 after a prefix with and without its cache, and what is refused."""

import re
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import DynamicCache

from neurovis.adapters.captioner_networks import (
    PrefixedLanguageModel,
    PrefixMapper,
    build_language_model,
    find_stop_token,
    mean_log_probs,
    read_mapper,
    read_tokenizer,
    select_rows,
)
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from tests.adapters.toy_captioners import (
    WORDS,
    make_language_model,
    make_mapper,
    make_tokenizer,
)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def language_model():
    return make_language_model().eval()


def described(model):
    """What the two files of a language model hold."""
    return model.config.to_dict(), dict(model.state_dict())


# ------------------------------------------------------------------------ mappers


def test_a_mapper_is_a_perceptron_with_a_hyperbolic_tangent():
    mapper = make_mapper(prefix_length=3)
    one, _, two = mapper.layers
    weights = [v.detach().double().numpy() for v in (one.weight, two.weight)]
    shifts = [v.detach().double().numpy() for v in (one.bias, two.bias)]
    given = draw(5, 6)
    hidden = np.tanh(given.double().numpy() @ weights[0].T + shifts[0])
    expected = (hidden @ weights[1].T + shifts[1]).reshape(5, 3, 32)
    assert weights[0].shape == (48, 6)
    found = mapper(given).detach().numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "n_hidden", "expected"),
    [(10, None, 160), (11, None, 0), (4, 192, 192), (4, 0, 0), (11, 7, 7)],
)
def test_long_prefixes_have_no_hidden_layer_unless_it_is_asked_for(
    length, n_hidden, expected
):
    mapper = make_mapper(prefix_length=length, n_hidden=n_hidden)
    assert mapper.n_hidden == expected
    assert len(mapper.layers) == (3 if expected else 1)
    assert mapper(draw(2, 6)).shape == (2, length, 32)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 32, 4, None), "`n_features` must be within"),
        ((6, 2.5, 4, None), "`n_language` must be a whole number"),
        ((6, 32, 0, None), "`prefix_length` must be within"),
        ((6, 32, 4, -1), "`n_hidden` must be within"),
    ],
)
def test_a_size_out_of_range_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        PrefixMapper(*sizes[:3], n_hidden=sizes[3])


def test_a_mapper_that_does_not_fit_its_sizes_is_refused(tmp_path):
    path = tmp_path / "mapper.safetensors"
    mapper = make_mapper()
    save_file(mapper.state_dict(), path)
    sizes = {"n_features": 6, "n_language": 32, "prefix_length": 4, "n_hidden": 64}
    state = torch.get_rng_state()
    found = read_mapper(path, sizes)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found(draw(2, 6)), mapper(draw(2, 6)))
    assert not any(value.requires_grad for value in found.parameters())
    with pytest.raises(ValueError, match=r"4 of another shape \(layers\.0\.weight"):
        read_mapper(path, sizes | {"n_features": 7, "n_hidden": 60, "prefix_length": 3})


# ------------------------------------------------------------- GPT-2 after a prefix


def full_log_probs(language_model, prefix, texts):
    """Log-probabilities of the next token by one pass over everything, no cache."""
    rows = []
    for vectors, text in zip(prefix, texts, strict=True):
        words = language_model.transformer.wte(torch.tensor(text, dtype=torch.long))
        logits = language_model(
            inputs_embeds=torch.cat([vectors, words])[None], use_cache=False
        ).logits
        rows.append(logits[0, -1].double().log_softmax(0))
    return torch.stack(rows)


@torch.no_grad()
def test_cached_answers_are_those_of_a_full_pass(language_model):
    prefix = draw(3, 4, 32)
    model = PrefixedLanguageModel(language_model, prefix)
    texts, source = [(), (), ()], [0, 1, 2]
    rng = np.random.default_rng(0)
    found = model.start()
    for n_rows in (3, 7, 5, 9, 2, 4):
        expected = full_log_probs(language_model, prefix[source], texts)
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
        rows = rng.integers(len(texts), size=n_rows)
        tokens = rng.integers(len(WORDS), size=n_rows)
        texts = [(*texts[r], t) for r, t in zip(rows, tokens.tolist(), strict=True)]
        source = [source[r] for r in rows]
        found = model.advance(torch.from_numpy(rows), torch.from_numpy(tokens))
        assert found.shape == (n_rows, len(WORDS))
    first = model.start()
    expected = full_log_probs(language_model, prefix, [()] * 3)
    torch.testing.assert_close(first.double(), expected, atol=1e-5, rtol=0)


def test_rows_of_tuples_are_selected_as_rows_of_a_cache():
    pairs = [(draw(3, 4, 5, 8, seed=k), draw(3, 4, 5, 8, seed=9 + k)) for k in (0, 1)]
    cache, rows = DynamicCache(), torch.tensor([2, 0, 0, 1, 2])
    for k, pair in enumerate(pairs):
        cache.update(*(part.clone() for part in pair), k)
    found = select_rows(cache, rows)
    tuples = select_rows(tuple(pairs), rows)
    for k, pair in enumerate(pairs):
        layer = found.layers[k]
        for part, new, own in zip(
            pair, (layer.keys, layer.values), tuples[k], strict=True
        ):
            assert torch.equal(own, part[rows])
            assert torch.equal(new, part[rows])


@torch.no_grad()
def test_likelihoods_do_not_depend_on_the_other_texts(language_model):
    prefix = draw(4, 4, 32)
    texts = [[1, 2, 3], [5], [0, 0, 0, 4, 4, 8, 3], [2, 3]]
    found = mean_log_probs(language_model, prefix, texts)
    for k, text in enumerate(texts):
        each = [
            full_log_probs(language_model, prefix[k : k + 1], [text[:i]])[0, token]
            for i, token in enumerate(text)
        ]
        assert found[k] == pytest.approx(float(torch.stack(each).mean()), abs=1e-5)
        alone = mean_log_probs(language_model, prefix[k : k + 1], [text])
        assert alone[0] == pytest.approx(found[k], abs=1e-6)


# ------------------------------------------------------------------------ building


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_is_built_as_it_was(tmp_path, tied):
    model = make_language_model(3, tie_word_embeddings=tied).eval()
    told, state = described(model)
    before = torch.get_rng_state()
    found = build_language_model(told, state, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not found.training
    assert not any(value.requires_grad for value in found.parameters())
    vectors = draw(2, 5, 32)
    assert torch.equal(
        found(inputs_embeds=vectors).logits, model(inputs_embeds=vectors).logits
    )
    shared = found.lm_head.weight is found.transformer.wte.weight
    assert shared == tied
    if tied:
        del state["lm_head.weight"]
        again = build_language_model(told, state, tmp_path)
        assert torch.equal(again.lm_head.weight, model.lm_head.weight)


def test_weights_of_16_bits_become_float32(tmp_path):
    told, state = described(make_language_model())
    half = {name: value.half() for name, value in state.items()}
    found = build_language_model(told, half, tmp_path)
    assert {value.dtype for value in found.parameters()} == {torch.float32}
    assert torch.equal(found.lm_head.weight, half["lm_head.weight"].float())


def test_another_kind_of_network_is_refused(tmp_path):
    told, state = described(make_language_model())
    with pytest.raises(
        ValueError, match=r"model_type of .* must be one of 'gpt2'; got"
    ):
        build_language_model(told | {"model_type": "opt"}, state, tmp_path)


@pytest.mark.parametrize(
    "change", [{"n_head": 5}, {"activation_function": "none"}, {"n_embd": "wide"}]
)
def test_a_description_that_cannot_be_built_is_refused(tmp_path, change):
    told, state = described(make_language_model())
    message = "cannot be read as the language model of a captioner"
    with pytest.raises(DataCorruptError, match=message):
        build_language_model(told | change, state, tmp_path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    told, state = described(make_language_model())
    fewer = {n: v for n, v in state.items() if "h.1.ln_1" not in n}
    with pytest.raises(
        ValueError, match=r"2 missing \(transformer\.h\.1\.ln_1\.weight"
    ):
        build_language_model(told, fewer, tmp_path)
    with pytest.raises(ValueError, match=r"1 unexpected \(more\)"):
        build_language_model(told, state | {"more": torch.zeros(1)}, tmp_path)
    with pytest.raises(ValueError, match=r"1 of another shape \(transformer\.wpe"):
        build_language_model(told | {"n_positions": 20}, state, tmp_path)


@pytest.mark.parametrize(
    ("package", "read"),
    [
        ("transformers", lambda path: build_language_model({}, {}, path)),
        ("tokenizers", read_tokenizer),
    ],
)
def test_a_missing_package_is_told(tmp_path, monkeypatch, package, read):
    monkeypatch.setitem(sys.modules, package, None)
    message = rf'Captioners need {package}: pip install "neurovis\[generate\]"'
    with pytest.raises(MissingDependencyError, match=message):
        read(tmp_path / "tokenizer.json")


# ----------------------------------------------------------------------- tokenizers


def byte_tokenizer():
    """Bytes as words, as GPT-2 spells them, and one word of two letters."""
    letters = {word: i for i, word in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    letters["at"] = len(letters)
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[("a", "t")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_a_tokenizer_is_read_as_it_was(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer = byte_tokenizer()
    path.write_text(tokenizer.to_str(), encoding="utf-8")
    found = read_tokenizer(path)
    text = "a café at sea."
    assert found.encode(text).ids == tokenizer.encode(text).ids
    assert found.decode(found.encode(text).ids) == text


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": {"type": "X"}}'])
def test_a_damaged_tokenizer_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(DataCorruptError, match=f"{re.escape(str(path))} is not a read"):
        read_tokenizer(path)


def test_a_missing_tokenizer_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="`tokenizer` must be an existing file"):
        read_tokenizer(tmp_path / "tokenizer.json")


def test_the_stop_token_is_the_first_one_of_a_full_stop():
    assert find_stop_token(make_tokenizer()) == WORDS.index(".")
    tokenizer = byte_tokenizer()
    assert find_stop_token(tokenizer) == tokenizer.token_to_id(".")


def test_a_tokenizer_without_a_full_stop_is_refused():
    with pytest.raises(ValueError, match=r"no word for '\.', which ends captions"):
        find_stop_token(make_tokenizer(["a", "cat"]))
    bytes_only = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    with pytest.raises(ValueError, match=r"it makes \[\] of it"):
        find_stop_token(bytes_only)
