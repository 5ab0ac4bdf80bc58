"""A captioner trained on captions of people checks the decoder on real language.

The captions of a picture are said from texts about it: the prefix is made from four of
its captions, and what is said is compared with the fifth. Of the pictures of the test
part nothing was trained.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.caption_similarity import (
    consensus_similarity,
    count_documents,
    noun_overlap,
)
from analysis.stats import bootstrap_ci
from data_loaders.flickr8k import CAPTIONS_PER_IMAGE, load_flickr8k
from neurovis.adapters.captioner import Captioner, load_captioner, save_captioner
from neurovis.adapters.captioner_networks import PrefixedLanguageModel
from neurovis.core.rng import generator
from neurovis.generation.beam_search import search_beams
from tests.tasks.flickr_captioner import (
    MAX_TOKENS,
    embed_others,
    fit_text_embedding,
    train_language_captioner,
    write_sentence,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_PICTURES = 400


@dataclass(frozen=True, eq=False)
class Flickr:
    """A trained captioner, and what it says of pictures of the test part."""

    captioner: Captioner
    known: list[list[str]]  # captions that were trained, by picture
    withheld: list[str]  # the caption of each picture that its prefix does not know
    person: list[str]  # another one, which a second person would say
    embeddings: np.ndarray  # of each picture: the mean of its other captions
    said: pd.DataFrame


@pytest.fixture(scope="module")
def flickr(data_folder):
    data = load_flickr8k(data_folder / "captions_flickr8k")
    known, pictures = (
        [[write_sentence(caption) for caption in own] for own in data.texts(s).values()]
        for s in ("train", "test")
    )
    embedding = fit_text_embedding([caption for own in known for caption in own])
    captioner = train_language_captioner(known, embedding)
    rows = generator(0, "test pictures").permutation(len(pictures))[:N_PICTURES]
    pictures = [pictures[row] for row in rows]
    # The order of captions is not random: each place is withheld as often.
    place = np.arange(N_PICTURES) % CAPTIONS_PER_IMAGE
    beside = (place + 1) % CAPTIONS_PER_IMAGE
    others = embed_others(embedding, pictures)[np.arange(N_PICTURES), place]
    return Flickr(
        captioner,
        known,
        [own[k] for own, k in zip(pictures, place, strict=True)],
        [own[k] for own, k in zip(pictures, beside, strict=True)],
        others,
        captioner.caption(others, beam=5),
    )


def _of_another(values):
    return [*values[N_PICTURES // 2 :], *values[: N_PICTURES // 2]]


@pytest.fixture(scope="module")
def scores(flickr):
    """How well captions fit withheld ones, by measure and kind: a row per picture."""
    known = [caption for captions in flickr.known for caption in captions]
    frequent, _ = Counter(known).most_common(1)[0]
    drawn = generator(0, "captions of others").integers(len(known), size=N_PICTURES)
    said = flickr.said["caption"].tolist()
    pairs = {
        "said": (said, flickr.withheld),
        "person": (flickr.person, flickr.withheld),
        "of another picture": (said, _of_another(flickr.withheld)),
        "most frequent": ([frequent] * N_PICTURES, flickr.withheld),
        "random": ([known[i] for i in drawn], flickr.withheld),
    }
    frequencies = count_documents(flickr.known)
    found = {}
    for kind, (captions, withheld) in pairs.items():
        references = [[caption] for caption in withheld]
        found["consensus", kind] = consensus_similarity(
            captions, references, frequencies=frequencies
        )
        found["nouns", kind] = noun_overlap(captions, references)
    return pd.DataFrame(found)


def test_captions_are_new_sentences_that_end_by_themselves(flickr):
    said = flickr.said
    assert said["finished"].mean() >= 0.99
    assert said["caption"].str.fullmatch(r"[^.]+\.").mean() >= 0.99
    assert 8 < said["n_tokens"].mean() < 14  # of people: 12.6
    assert said["n_tokens"].max() < 40
    # The captioner neither says the same of all nor what it has read.
    assert said["caption"].nunique() > 0.7 * N_PICTURES
    known = {caption for captions in flickr.known for caption in captions}
    assert said["caption"].isin(known).mean() < 0.2


def test_a_beam_finds_likelier_captions_than_the_likeliest_next_token(flickr):
    greedy = flickr.captioner.caption(flickr.embeddings, beam=1)
    gain = flickr.said["log_prob"] - greedy["log_prob"]
    assert (gain >= -1e-6).mean() >= 0.95
    assert gain.mean() > 0.05


@pytest.mark.parametrize("measure", ["consensus", "nouns"])
def test_captions_fit_their_picture_nearly_as_well_as_those_of_people(scores, measure):
    table = scores[measure]
    for kind in ("of another picture", "most frequent", "random"):
        gain = (table["said"] - table[kind]).dropna()
        low, _ = bootstrap_ci(gain, rng=generator(0, "interval"))
        assert low > 0.4 * table["said"].mean()
    assert table["said"].mean() > 0.6 * table["person"].mean()


def test_captions_of_people_are_likelier_after_the_prefix_of_their_picture(flickr):
    texts, encode = flickr.withheld, flickr.captioner.tokenizer.encode_batch
    n_tokens = [len(encoded.ids) for encoded in encode(texts)]
    own, other = (
        flickr.captioner.score(embeddings, texts)
        for embeddings in (flickr.embeddings, np.stack(_of_another(flickr.embeddings)))
    )
    own_perplexity, other_perplexity = (
        np.exp(-np.average(values, weights=n_tokens)) for values in (own, other)
    )
    assert own_perplexity < 28
    assert other_perplexity > 2.5 * own_perplexity
    assert (own > other).mean() > 0.95


def test_a_caption_is_as_likely_read_as_said(flickr):
    read = flickr.captioner.score(flickr.embeddings, flickr.said["caption"].tolist())
    # The search may say a word in pieces that the tokenizer would not make of it.
    assert np.isclose(read, flickr.said["log_prob"], atol=1e-5).mean() >= 0.97


def test_single_pictures_get_the_captions_of_a_batch(flickr):
    single = flickr.captioner.caption(flickr.embeddings[:16], batch_size=1)
    together = flickr.said.iloc[:16]
    pd.testing.assert_frame_equal(single, together, rtol=0, atol=1e-5)


def test_a_captioner_from_disk_says_the_same(flickr, tmp_path):
    save_captioner(tmp_path / "flickr8k", flickr.captioner)
    read = load_captioner(tmp_path / "flickr8k")
    assert read.fingerprint == flickr.captioner.fingerprint
    again = read.caption(flickr.embeddings[:16])
    pd.testing.assert_frame_equal(again, flickr.said.iloc[:16], rtol=0, atol=1e-5)


# ------------------------------------------------------ as transformers decodes


def _search(captioner, prefixes, beam):
    model = PrefixedLanguageModel(captioner.language_model, prefixes)
    stop = captioner.stop_token
    return search_beams(model, stop_token=stop, beam=beam, max_tokens=MAX_TOKENS)


def _generate(captioner, prefixes, beam, **options):
    """Return the tokens that transformers finds, each with its full stop."""
    stop = captioner.stop_token
    found = captioner.language_model.generate(
        inputs_embeds=prefixes,
        attention_mask=torch.ones(prefixes.shape[:2], dtype=torch.int64),
        max_new_tokens=MAX_TOKENS,
        do_sample=False,
        num_beams=beam,
        eos_token_id=stop,
        pad_token_id=stop,
        **options,
    )
    ends = [(*row, stop).index(stop) + 1 for row in found.tolist()]
    return [tuple(row[:n]) for row, n in zip(found.tolist(), ends, strict=True)]


@torch.inference_mode()
def test_the_likeliest_next_tokens_are_those_of_transformers(flickr):
    prefixes = flickr.captioner.mapper(torch.from_numpy(flickr.embeddings))
    found = _generate(flickr.captioner, prefixes, 1)
    assert found == list(_search(flickr.captioner, prefixes, 1).tokens)


@torch.inference_mode()
def test_the_longer_search_of_transformers_finds_hardly_more(flickr):
    captioner, rows = flickr.captioner, flickr.embeddings[:100]
    prefixes = captioner.mapper(torch.from_numpy(rows))
    # The same mean per token; but there texts that have ended take no place in the
    # beam, and others grow as long as there is room.
    options = {"length_penalty": 1.0, "early_stopping": "never"}
    theirs = _generate(captioner, prefixes, 5, **options)
    ours = _search(captioner, prefixes, 5)
    texts = [captioner.tokenizer.decode(list(tokens)) for tokens in theirs]
    loss = captioner.score(rows, texts) - ours.log_prob
    equal = np.mean([a == b for a, b in zip(theirs, ours.tokens, strict=True)])
    assert equal >= 0.8
    assert -1e-5 < loss.mean() < 0.02
    assert (loss < -1e-5).mean() <= 0.03
