"""A captioner trained on captions of people checks the decoder on real language.

The captions of a picture are said from texts about it: the prefix is made from four of
its captions, and what is said is compared with the fifth. Of the pictures of the test
part nothing was trained.
"""

from collections import Counter
from dataclasses import dataclass, replace

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
MEASURES = ("consensus_similarity", "noun_overlap")


@dataclass(frozen=True, eq=False)
class Flickr:
    """A trained captioner, and pictures of the test part."""

    captioner: Captioner
    known: list[list[str]]  # captions that were trained, by picture
    pictures: list[list[str]]  # captions of the test part, by picture
    embeddings: np.ndarray  # for each of these: the other captions of its picture
    said: pd.DataFrame  # of every picture, beam of 5

    @property
    def withheld(self):
        """Which caption of each picture its prefix does not know."""
        return np.arange(N_PICTURES) % CAPTIONS_PER_IMAGE

    @property
    def prefixes(self):
        return self.embeddings[np.arange(N_PICTURES), self.withheld]


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
    pictures = [pictures[i] for i in rows]
    embeddings = embed_others(embedding, pictures)
    made = Flickr(captioner, known, pictures, embeddings, pd.DataFrame())
    return replace(made, said=captioner.caption(made.prefixes, beam=5))


@pytest.fixture(scope="module")
def scores(flickr):
    """How well captions fit the withheld caption of a picture, one row per picture.

    Columns: measure, and what was compared.
    """
    own = [[c[k]] for c, k in zip(flickr.pictures, flickr.withheld, strict=True)]
    other = own[N_PICTURES // 2 :] + own[: N_PICTURES // 2]
    known = [caption for captions in flickr.known for caption in captions]
    drawn = generator(0, "captions of others").integers(len(known), size=N_PICTURES)
    frequent, _ = Counter(known).most_common(1)[0]
    said = flickr.said["caption"].tolist()
    # The next caption of the picture stands for what a second person would say.
    person = [
        captions[(k + 1) % CAPTIONS_PER_IMAGE]
        for captions, k in zip(flickr.pictures, flickr.withheld, strict=True)
    ]
    pairs = {
        "own": (said, own),
        "another picture": (said, other),
        "most frequent caption": ([frequent] * N_PICTURES, own),
        "random caption": ([known[i] for i in drawn], own),
        "person": (person, own),
    }
    frequencies = count_documents(flickr.known)
    table = pd.DataFrame(
        {
            (measure, name): (
                consensus_similarity(*pair, frequencies=frequencies)
                if measure == "consensus_similarity"
                else noun_overlap(*pair)
            )
            for measure in MEASURES
            for name, pair in pairs.items()
        }
    )
    for column in table:
        values = table[column].dropna()
        low, high = bootstrap_ci(values, rng=generator(0, "interval"))
        print(*column, f"{values.mean():.4f} [{low:.4f}, {high:.4f}], n {len(values)}")
    return table


def test_captions_are_new_sentences_that_end_by_themselves(flickr):
    said = flickr.said
    assert said["finished"].mean() >= 0.99
    assert said["caption"].str.fullmatch(r"[^.]+\.").mean() >= 0.99
    assert 8 < said["n_tokens"].mean() < 14  # of people: 12.6
    assert said["n_tokens"].max() < 40
    # The captioner neither says the same of all nor what it has read.
    assert said["caption"].nunique() > 0.75 * N_PICTURES
    known = {caption for captions in flickr.known for caption in captions}
    assert said["caption"].isin(known).mean() < 0.2
    print(said["caption"].iloc[::25].to_string())


def test_a_beam_finds_likelier_captions_than_the_likeliest_next_token(flickr):
    greedy = flickr.captioner.caption(flickr.prefixes, beam=1)
    gain = flickr.said["log_prob"] - greedy["log_prob"]
    print(f"gain {gain.mean():.3f}, not worse {(gain >= -1e-6).mean():.3f}")
    assert (gain >= -1e-6).mean() >= 0.95
    assert gain.mean() > 0.05


@pytest.mark.parametrize("measure", MEASURES)
def test_captions_fit_their_picture_nearly_as_well_as_those_of_people(scores, measure):
    table = scores[measure]
    for name in ("another picture", "most frequent caption", "random caption"):
        gain = (table["own"] - table[name]).dropna()
        low, _ = bootstrap_ci(gain, rng=generator(0, "interval"))
        assert low > 0.5 * table["own"].mean()
    assert table["own"].mean() > 0.75 * table["person"].mean()


def test_captions_of_people_are_likelier_after_the_prefix_of_their_picture(flickr):
    texts = [caption for captions in flickr.pictures for caption in captions]
    n_tokens = [len(e.ids) for e in flickr.captioner.tokenizer.encode_batch(texts)]

    def mean_log_probs(embeddings):
        return flickr.captioner.score(embeddings.reshape(len(texts), -1), texts)

    own = mean_log_probs(flickr.embeddings)
    other = mean_log_probs(np.roll(flickr.embeddings, N_PICTURES // 2, axis=0))
    own_perplexity, other_perplexity = (
        np.exp(-np.average(values, weights=n_tokens)) for values in (own, other)
    )
    print(f"perplexity {own_perplexity:.1f}, of another {other_perplexity:.1f}")
    assert own_perplexity < 26
    assert other_perplexity > 2.5 * own_perplexity
    assert (own > other).mean() > 0.95


def test_a_caption_is_as_likely_read_as_said(flickr):
    read = flickr.captioner.score(flickr.prefixes, flickr.said["caption"].tolist())
    # The search may say a word in pieces that the tokenizer would not make of it.
    assert np.isclose(read, flickr.said["log_prob"], atol=1e-5).mean() >= 0.97


def test_single_pictures_get_the_captions_of_a_batch(flickr):
    single = flickr.captioner.caption(flickr.prefixes[:16], batch_size=1)
    together = flickr.said.iloc[:16]
    pd.testing.assert_frame_equal(single, together, rtol=0, atol=1e-5)


def test_a_captioner_from_disk_says_the_same(flickr, tmp_path):
    save_captioner(tmp_path / "flickr8k", flickr.captioner)
    read = load_captioner(tmp_path / "flickr8k")
    assert read.fingerprint == flickr.captioner.fingerprint
    again = read.caption(flickr.prefixes[:16])
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
    prefixes = flickr.captioner.mapper(torch.from_numpy(flickr.prefixes))
    found = _generate(flickr.captioner, prefixes, 1)
    assert found == list(_search(flickr.captioner, prefixes, 1).tokens)


@torch.inference_mode()
def test_the_longer_search_of_transformers_finds_hardly_more(flickr):
    captioner, rows = flickr.captioner, flickr.prefixes[:100]
    prefixes = captioner.mapper(torch.from_numpy(rows))
    # The same mean per token; but there texts that have ended take no place in the
    # beam, and others grow as long as there is room.
    options = {"length_penalty": 1.0, "early_stopping": "never"}
    theirs = _generate(captioner, prefixes, 5, **options)
    ours = _search(captioner, prefixes, 5)
    texts = [captioner.tokenizer.decode(list(tokens)) for tokens in theirs]
    loss = captioner.score(rows, texts) - ours.log_prob
    equal = np.mean([a == b for a, b in zip(theirs, ours.tokens, strict=True)])
    print(f"equal {equal:.3f}, loss mean {loss.mean():.4f}, most {loss.max():.4f}")
    assert equal >= 0.85
    assert loss.min() > -1e-5
    assert loss.mean() < 0.01
