"""Captions against transformers and full passes; captioners as files."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import GPT2LMHeadModel

from neurovis.adapters import captioner as captioner_module
from neurovis.adapters.captioner import (
    CARD_FILE,
    CONFIG_FILE,
    LAYOUT,
    MAPPER_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    load_captioner,
    save_captioner,
)
from neurovis.core.errors import DataCorruptError, MissingDependencyError
from neurovis.core.files import sha256_file
from tests.adapters.toy_captioners import (
    N_FEATURES,
    WORDS,
    make_captioner,
    make_language_model,
    make_mapper,
    make_tokenizer,
)

FILES = (CONFIG_FILE, MODEL_FILE, MAPPER_FILE, TOKENIZER_FILE)
STOP = WORDS.index(".")
LONGEST = 12


def draw_embeddings(n=16, seed=0):
    shape = (n, N_FEATURES)
    return 2 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def captioner():
    return make_captioner()


@pytest.fixture(scope="module")
def saved(tmp_path_factory, captioner):
    folder = tmp_path_factory.mktemp("captioners") / "toy"
    save_captioner(folder, captioner)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    """A captioner that may be damaged."""
    return shutil.copytree(saved, tmp_path / "copied")


def seal(folder):
    """Give the card the hashes of files that were changed."""
    path = folder / CARD_FILE
    card = json.loads(path.read_text())
    hashes = {name: sha256_file(folder / name) for name in FILES}
    path.write_text(json.dumps(card | {"sha256": hashes}))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# ------------------------------------------------------------------------ captions


def test_a_table_of_captions_has_one_row_per_embedding(captioner):
    found = captioner.caption(draw_embeddings(), max_tokens=LONGEST)
    assert list(found) == ["caption", "log_prob", "n_tokens", "finished"]
    assert found["log_prob"].dtype == np.float64
    assert found["n_tokens"].dtype == np.int64
    assert found["finished"].dtype == bool
    assert len(found) == 16
    assert found["caption"].nunique() > 8
    assert 0 < found["finished"].mean() < 1
    words = found["caption"].str.split()
    assert (words.str.len() == found["n_tokens"]).all()
    assert (found["n_tokens"][~found["finished"]] == LONGEST).all()
    ends = words.str[-1] == "."
    assert (ends == found["finished"]).all()
    assert all("." not in own[:-1] for own in words)
    assert (found["log_prob"] < 0).all()


@torch.no_grad()
def test_a_beam_of_one_is_what_transformers_writes(captioner):
    embeddings = draw_embeddings()
    found = captioner.caption(embeddings, beam=1, max_tokens=LONGEST)
    prefix = captioner.mapper(torch.from_numpy(embeddings))
    written = captioner.language_model.generate(
        inputs_embeds=prefix,
        attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
        max_new_tokens=LONGEST,
        do_sample=False,
        eos_token_id=STOP,
        pad_token_id=STOP,
    )
    for text, tokens in zip(found["caption"], written.tolist(), strict=True):
        if STOP in tokens:
            tokens = tokens[: tokens.index(STOP) + 1]
        assert text == " ".join(WORDS[token] for token in tokens)


@torch.no_grad()
def literal_caption(captioner, embedding, beam, longest):
    """The published search without a cache, one embedding at a time."""
    model = captioner.language_model
    prefix = captioner.mapper(torch.from_numpy(embedding)[None])[0]
    beams = [((), 0.0, 0, False)]
    for _ in range(longest):
        tried = []
        for text, total, length, ended in beams:
            if ended:
                tried.append((total / length, text, total, length, True))
                continue
            words = model.transformer.wte(torch.tensor(text, dtype=torch.long))
            given = torch.cat([prefix, words])[None]
            log_probs = model(inputs_embeds=given).logits[0, -1].double().log_softmax(0)
            for token, value in enumerate(log_probs.tolist()):
                grown, longer = total + value, length + 1
                new = (*text, token)
                tried.append((grown / longer, new, grown, longer, token == STOP))
        tried.sort(key=lambda one: -one[0])
        beams = [one[1:] for one in tried[:beam]]
        if all(one[3] for one in beams):
            break
    text, total, length, _ = beams[0]
    return " ".join(WORDS[token] for token in text), total / length


@pytest.mark.parametrize("beam", [2, 5, 20])
def test_captions_are_those_of_the_published_search(captioner, beam):
    embeddings = draw_embeddings(6, seed=1)
    found = captioner.caption(embeddings, beam=beam, max_tokens=8)
    for row, embedding in zip(found.itertuples(), embeddings, strict=True):
        text, log_prob = literal_caption(captioner, embedding, beam, 8)
        assert row.caption == text
        assert row.log_prob == pytest.approx(log_prob, abs=1e-5)


@pytest.mark.parametrize("beam", [1, 5])
def test_the_score_of_a_caption_is_that_of_one_full_pass(captioner, beam):
    embeddings = draw_embeddings(12, seed=2)
    found = captioner.caption(embeddings, beam=beam, max_tokens=LONGEST)
    scored = captioner.score(embeddings, list(found["caption"]))
    assert scored.dtype == np.float64
    np.testing.assert_allclose(scored, found["log_prob"], atol=1e-5)
    alone = captioner.score(embeddings, list(found["caption"]), batch_size=1)
    np.testing.assert_allclose(alone, scored, atol=1e-5)


def test_no_other_caption_of_the_table_fits_better(captioner):
    embeddings = draw_embeddings(8, seed=3)
    found = captioner.caption(embeddings, beam=20, max_tokens=LONGEST)
    shifted = [*found["caption"][1:], found["caption"][0]]
    other = captioner.score(embeddings, shifted)
    assert (found["log_prob"] >= other - 1e-5).mean() >= 0.75


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_captions_do_not_depend_on_the_batch(captioner, batch_size):
    embeddings = draw_embeddings()
    whole = captioner.caption(embeddings, max_tokens=LONGEST)
    parts = captioner.caption(embeddings, max_tokens=LONGEST, batch_size=batch_size)
    exact = ["caption", "n_tokens", "finished"]
    pd.testing.assert_frame_equal(parts[exact], whole[exact])
    np.testing.assert_allclose(parts["log_prob"], whole["log_prob"], atol=1e-5)


def test_a_batch_that_does_not_fit_is_halved(caplog):
    small = make_captioner()
    embeddings = draw_embeddings(10)
    expected = small.caption(embeddings, max_tokens=6)

    def refuse(module, given):
        if len(given[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    small.mapper.register_forward_pre_hook(refuse)
    found = small.caption(embeddings, max_tokens=6, batch_size=8)
    assert found["caption"].tolist() == expected["caption"].tolist()
    assert "batch size is now 2" in caplog.text


def test_embeddings_of_other_floats_say_the_same(captioner):
    embeddings = draw_embeddings(6).astype(np.float16)
    half = captioner.caption(embeddings, max_tokens=6)
    double = captioner.caption(embeddings.astype(np.float64), max_tokens=6)
    pd.testing.assert_frame_equal(half, double)


def test_the_length_of_an_embedding_matters(captioner):
    embeddings = draw_embeddings()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    found = captioner.caption(embeddings, max_tokens=LONGEST)["caption"]
    assert (found != captioner.caption(unit, max_tokens=LONGEST)["caption"]).any()


def test_captions_draw_no_random_numbers_and_keep_no_gradients():
    language_model = make_language_model().train()  # with dropout
    found = make_captioner(language_model=language_model)
    assert not found.language_model.training
    assert not found.mapper.training
    state = torch.get_rng_state()
    one = found.caption(draw_embeddings(4), max_tokens=6)
    assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(one, found.caption(draw_embeddings(4), max_tokens=6))
    assert all(value.grad is None for value in language_model.parameters())


def test_a_text_ends_at_its_first_full_stop(captioner):
    embeddings = draw_embeddings(3)
    whole = captioner.score(embeddings, ["a dog . a cat ."] * 3)
    assert np.array_equal(whole, captioner.score(embeddings, ["a dog ."] * 3))
    assert not np.allclose(whole, captioner.score(embeddings, ["a dog"] * 3))


@pytest.mark.parametrize(
    ("embeddings", "error", "message"),
    [
        (
            np.full((2, 6), np.nan),
            ValueError,
            "`embeddings` has 12 values that are not",
        ),
        (np.full((1, 6), np.inf), ValueError, "6 values that are not finite"),
        (np.zeros((2, 5)), ValueError, r"must have shape \(any, 6\); got \(2, 5\)"),
        (np.zeros(6), ValueError, r"must have shape \(any, 6\); got \(6,\)"),
        (np.zeros((0, 6)), ValueError, "`embeddings` is empty"),
        (np.zeros((2, 6), int), TypeError, "must be of floats; got int64"),
    ],
)
def test_embeddings_that_cannot_be_are_refused(captioner, embeddings, error, message):
    with pytest.raises(error, match=message):
        captioner.caption(embeddings)
    with pytest.raises(error, match=message):
        captioner.score(embeddings, ["a ."] * len(embeddings))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "`beam` must be within"),
        ({"max_tokens": 0}, "`max_tokens` must be within"),
        ({"max_tokens": 21}, "at most 20: .* has 24 positions, of which the prefix"),
        ({}, "at most 20: .* takes 4; got 67"),
        ({"max_tokens": 5, "batch_size": 0}, "`batch_size` must be within"),
        ({"max_tokens": 5, "batch_size": "all"}, "`batch_size` must be one of 'auto'"),
    ],
)
def test_an_option_out_of_range_is_refused(captioner, options, message):
    with pytest.raises(ValueError, match=message):
        captioner.caption(draw_embeddings(2), **options)


def test_the_longest_caption_fills_all_positions(captioner):
    assert captioner.most_tokens == 20
    found = captioner.caption(draw_embeddings(), max_tokens=20)
    assert found["n_tokens"].max() == 20


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("a .", TypeError, "must be a list of texts"),
        ([1, 2], TypeError, "must be a list of texts"),
        (["a ."], ValueError, "got 1 texts and 2 embeddings"),
        (["a .", ""], ValueError, "1 to 20 tokens for toy; '' has 0"),
        (["a .", "a " * 21], ValueError, "1 to 20 tokens for toy; .* has 21"),
    ],
)
def test_texts_that_cannot_be_scored_are_refused(captioner, texts, error, message):
    with pytest.raises(error, match=message):
        captioner.score(draw_embeddings(2), texts)


def test_weights_that_are_not_numbers_are_told():
    broken = make_captioner()
    nn.init.constant_(broken.language_model.transformer.ln_f.bias, float("nan"))
    with pytest.raises(ValueError, match="log-probabilities of the model are NaN"):
        broken.caption(draw_embeddings(2), max_tokens=5)


# --------------------------------------------------------------------------- parts


def test_parts_that_do_not_fit_each_other_are_refused():
    with pytest.raises(
        ValueError, match=r"gives vectors of 16 values, but .* reads 32"
    ):
        make_captioner(mapper=make_mapper(n_language=16))
    with pytest.raises(
        ValueError, match=r"prefix of 24 vectors, .* of the 24 positions"
    ):
        make_captioner(mapper=make_mapper(prefix_length=24))
    with pytest.raises(ValueError, match=r"has 10 tokens, but .* rows for 9"):
        make_captioner(tokenizer=make_tokenizer([*WORDS, "more"]))
    with pytest.raises(
        ValueError, match=r"`stop_token` must be within \[0, 8\]; got 9"
    ):
        make_captioner(stop_token=9)


def test_a_gap_in_the_words_counts_as_a_word():
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["new"])
    with pytest.raises(ValueError, match="has 10 tokens"):
        make_captioner(tokenizer=tokenizer)


def test_the_fingerprint_is_that_of_all_that_captions_depend_on(captioner):
    assert len(captioner.fingerprint) == 64
    assert make_captioner().fingerprint == captioner.fingerprint
    assert make_captioner(name="other", notes=()).fingerprint == captioner.fingerprint
    swapped = make_tokenizer([*WORDS[:-2], WORDS[-1], WORDS[-2]])
    others = [
        make_captioner(mapper=make_mapper(1)),
        make_captioner(language_model=make_language_model(1)),
        make_captioner(language_model=make_language_model(n_head=2)),
        make_captioner(tokenizer=swapped),
        make_captioner(stop_token=0),
    ]
    marks = {captioner.fingerprint, *(other.fingerprint for other in others)}
    assert len(marks) == 6
    assert make_captioner(fingerprint="told").fingerprint == "told"


def test_a_captioner_tells_what_it_is(captioner):
    assert captioner.n_features == N_FEATURES
    assert captioner.prefix_length == 4
    assert captioner.device == torch.device("cpu")
    assert captioner.to("cpu") is captioner


# --------------------------------------------------------------------------- files


def test_a_captioner_comes_back_as_it_was(saved, captioner, capfd):
    state = torch.get_rng_state()
    found = load_captioner(saved)
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert found.fingerprint == captioner.fingerprint
    for name in ("name", "stop_token", "embedding", "trained", "notes"):
        assert getattr(found, name) == getattr(captioner, name)
    embeddings = draw_embeddings()
    one, other = (c.caption(embeddings, max_tokens=9) for c in (found, captioner))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert not any(v.requires_grad for v in found.language_model.parameters())


def test_equal_captioners_give_equal_bytes(saved, tmp_path):
    again = tmp_path / "again"
    save_captioner(again, load_captioner(saved))
    save_captioner(again, load_captioner(again))  # in place
    assert sorted(p.name for p in again.iterdir()) == sorted([CARD_FILE, *FILES])
    for name in (CARD_FILE, *FILES):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_transformers_reads_the_language_model(saved, captioner, tmp_path):
    found = GPT2LMHeadModel.from_pretrained(saved).eval()
    vectors = torch.from_numpy(draw_embeddings(32)).reshape(2, -1, 32)
    expected = captioner.language_model(inputs_embeds=vectors).logits
    assert torch.equal(found(inputs_embeds=vectors).logits, expected)
    captioner.language_model.save_pretrained(tmp_path)
    theirs, ours = load_file(tmp_path / MODEL_FILE), load_file(saved / MODEL_FILE)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


@pytest.mark.parametrize(
    "parts",
    [
        {"mapper": make_mapper(prefix_length=12)},
        {"mapper": make_mapper(n_hidden=5)},
        {"language_model": make_language_model(tie_word_embeddings=False)},
        {"embedding": {}, "trained": True, "notes": ()},
    ],
    ids=["linear", "narrow", "untied", "unknown"],
)
def test_captioners_of_other_shapes_come_back(tmp_path, parts):
    captioner = make_captioner(**parts)
    save_captioner(tmp_path, captioner)
    found = load_captioner(tmp_path)
    assert found.fingerprint == captioner.fingerprint
    assert dict(found.embedding) == dict(captioner.embedding)
    assert found.trained == captioner.trained


def test_what_has_no_json_form_leaves_the_old_captioner(copied, captioner):
    wrong = make_captioner(embedding={"n_features": float("nan")})
    with pytest.raises(ValueError, match="JSON has no number nan"):
        save_captioner(copied, wrong)
    assert load_captioner(copied).fingerprint == captioner.fingerprint


def test_missing_parts_are_all_named(copied):
    for name in (MAPPER_FILE, TOKENIZER_FILE):
        (copied / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_captioner(copied)
    text = str(error.value)
    assert f"it lacks {MAPPER_FILE}, {TOKENIZER_FILE}." in text
    assert LAYOUT in text
    assert all(name in LAYOUT for name in (CARD_FILE, *FILES))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused(copied, name):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(bytes(data))
    with pytest.raises(
        DataCorruptError, match=f"{name} is missing or has another hash"
    ):
        load_captioner(copied)


@pytest.mark.parametrize("name", [MODEL_FILE, MAPPER_FILE])
def test_a_cut_file_that_was_sealed_is_refused(copied, name):
    path = copied / name
    path.write_bytes(path.read_bytes()[:-9])
    seal(copied)
    with pytest.raises(DataCorruptError, match=f"{name} is not a readable checkpoint"):
        load_captioner(copied)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"version": 2}, ValueError, "written in version 2 of the format"),
        ({"mapper": {"n_features": 6}}, DataCorruptError, "not a readable captioner"),
        ({"mapper": 3}, DataCorruptError, "not a readable captioner"),
        ({"embedding": None}, DataCorruptError, "not a readable captioner"),
        ({"stop_token": "."}, DataCorruptError, "not a readable captioner"),
        ({"stop_token": 1}, ValueError, "with token 1, but the tokenizer has 3"),
        ({"sha256": []}, DataCorruptError, "is not that of a captioner"),
    ],
)
def test_a_wrong_card_is_refused(copied, values, error, message):
    change(copied / CARD_FILE, **values)
    with pytest.raises(error, match=message):
        load_captioner(copied)


def test_a_damaged_card_is_refused(copied):
    (copied / CARD_FILE).write_text('{"version"')
    with pytest.raises(DataCorruptError, match=f"{CARD_FILE} is not a readable JSON"):
        load_captioner(copied)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*WORDS, "more"], "has 10 tokens, but the language model has rows for 9"),
        ([w for w in WORDS if w != "."], r"no word for '\.'"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(copied, words, message):
    (copied / TOKENIZER_FILE).write_text(make_tokenizer(words).to_str())
    seal(copied)
    with pytest.raises(ValueError, match=message):
        load_captioner(copied)


def test_weights_that_do_not_fit_the_description_are_refused(copied):
    change(copied / CONFIG_FILE, n_layer=3)
    seal(copied)
    with pytest.raises(ValueError, match=r"12 missing \(transformer\.h\.2\."):
        load_captioner(copied)


def test_a_mapper_of_another_language_model_is_refused(copied, tmp_path):
    other = make_language_model(n_embd=16)
    mapper = make_mapper(n_language=16)
    folder = tmp_path / "other"
    save_captioner(folder, make_captioner(language_model=other, mapper=mapper))
    shutil.copy(folder / MAPPER_FILE, copied / MAPPER_FILE)
    seal(copied)
    with pytest.raises(
        ValueError, match=f"{MAPPER_FILE} do not fit: 4 of another shap"
    ):
        load_captioner(copied)
    change(
        copied / CARD_FILE,
        mapper=json.loads((folder / CARD_FILE).read_text())["mapper"],
    )
    with pytest.raises(
        ValueError, match=r"gives vectors of 16 values, but .* reads 32"
    ):
        load_captioner(copied)


def test_another_kind_of_language_model_is_refused(copied):
    change(copied / CONFIG_FILE, model_type="llama")
    seal(copied)
    with pytest.raises(ValueError, match="must be one of 'gpt2'; got 'llama'"):
        load_captioner(copied)


@pytest.mark.parametrize("package", ["transformers", "tokenizers"])
def test_a_missing_package_is_told(saved, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"Captioners need {package}: pip"):
        load_captioner(saved)


@pytest.mark.parametrize("source", ["nowhere", "no/such/folder", "a b/c"])
def test_a_folder_that_is_not_there_is_told(source):
    with pytest.raises(FileNotFoundError, match="`source` must be an existing folder"):
        load_captioner(source)


def test_a_device_is_checked_first():
    with pytest.raises(ValueError, match="`device` must be one of"):
        load_captioner("nowhere", device="tpu")


# ------------------------------------------------------------- the suite and the hub


def test_the_captioner_of_the_suite_speaks():
    found = load_captioner("sketch")
    assert (found.name, found.trained, found.n_features) == ("sketch", True, 64)
    embeddings = np.random.default_rng(0).standard_normal((6, 64))
    told = found.caption(4 * embeddings / np.linalg.norm(embeddings, axis=1)[:, None])
    assert told["finished"].all()
    assert told["caption"].str.endswith(" .").all()
    scored = found.score(embeddings, list(told["caption"]))
    assert np.isfinite(scored).all()


def test_the_captioner_of_the_suite_is_verified(copied, captioner, monkeypatch):
    monkeypatch.setattr(captioner_module, "SHIPPED_FOLDER", str(copied))
    mark = sha256_file(copied / CARD_FILE)
    monkeypatch.setattr(captioner_module, "SHIPPED_SHA256", mark)
    assert load_captioner("sketch").fingerprint == captioner.fingerprint
    change(copied / CARD_FILE, notes=["Changed."])
    with pytest.raises(DataCorruptError, match="was changed: install neurovis again"):
        load_captioner("sketch")
    monkeypatch.setattr(captioner_module, "SHIPPED_FOLDER", "absent")
    with pytest.raises(FileNotFoundError, match="`neurovis train captioner`"):
        load_captioner("sketch")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_captioner_of_the_hub_comes_from_the_cache(cache, saved, captioner):
    place = cache / "models--owner--toy"
    shutil.copytree(saved, place / "snapshots" / ("a" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a" * 40)
    assert load_captioner("owner/toy").fingerprint == captioner.fingerprint
    (place / "snapshots" / ("a" * 40) / CARD_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"it lacks {CARD_FILE}"):
        load_captioner("owner/toy")


def test_a_captioner_that_is_not_in_the_cache_is_told_with_the_command(cache):
    with pytest.raises(FileNotFoundError) as error:
        load_captioner("owner/toy")
    text = str(error.value)
    assert f"no model 'owner/toy' in the cache ({cache})" in text
    assert f"hf download owner/toy --local-dir FOLDER --include '{CARD_FILE}'" in text
    assert LAYOUT in text
