"""Similarity of captions with what people wrote, and with what people judged."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.caption_nouns import split_words
from analysis.caption_similarity import (
    DocumentFrequencies,
    consensus_similarity,
    count_documents,
    noun_overlap,
)
from data_loaders.flickr8k import EXPERTS, load_flickr8k

CORPUS = [
    ["a dog runs on the grass", "the dog is running"],
    ["a man rides a wave", "a surfer on a wave", "a man surfs"],
    ["two dogs play with a ball", "a dog and a dog"],
    ["a red bus", "a bus in a street"],
]
WORDS = ["a", "dog", "man", "wave", "bus", "zorb"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)


def _plain(caption, references, frequencies):
    """The definition, word by word, with dictionaries."""

    def vector(text, n):
        words = split_words(text)
        grams = (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        return {
            gram: k
            * math.log(
                frequencies.n_documents / max(1, frequencies.counts.get(gram, 0))
            )
            for gram, k in Counter(grams).items()
        }

    orders = []
    for n in range(1, frequencies.max_n + 1):
        cosines = []
        for reference in references:
            a, b = vector(caption, n), vector(reference, n)
            norm_a = math.sqrt(sum(v * v for v in a.values()))
            norm_b = math.sqrt(sum(v * v for v in b.values()))
            if norm_a == norm_b == 0:
                continue
            dot = sum(v * b.get(gram, 0) for gram, v in a.items())
            cosines.append(dot / (norm_a * norm_b) if norm_a * norm_b else 0)
        if cosines:
            orders.append(np.mean(cosines))
    return np.mean(orders) if orders else np.nan


@given(
    st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3)), min_size=1),
    st.integers(1, 5),
)
@settings(max_examples=60)
def test_consensus_is_that_of_the_definition(cases, max_n):
    frequencies = count_documents(CORPUS, max_n=max_n)
    captions, references = [c for c, _ in cases], [r for _, r in cases]
    got = consensus_similarity(captions, references, frequencies=frequencies)
    want = [_plain(*case, frequencies) for case in cases]
    np.testing.assert_allclose(got, want, atol=1e-12)
    defined = got[~np.isnan(got)]
    assert ((defined >= 0) & (defined <= 1)).all()


def test_the_references_are_the_documents_by_default():
    captions = ["a dog on grass", "a man", "the bus"]
    known = count_documents(CORPUS[:3])
    got = consensus_similarity(captions, CORPUS[:3])
    want = consensus_similarity(captions, CORPUS[:3], frequencies=known)
    np.testing.assert_array_equal(got, want)


@given(TEXTS)
@settings(max_examples=30)
def test_a_caption_that_equals_its_references_has_the_most(text):
    known = count_documents(CORPUS)
    score = consensus_similarity([text], [[text, text]], frequencies=known)[0]
    # A text without words, or with words of no weight alone, says nothing.
    assert score == pytest.approx(1) or (np.isnan(score) and set(text) <= {"a", " "})


@given(TEXTS, TEXTS)
@settings(max_examples=30)
def test_similarity_is_symmetric(one, other):
    known = count_documents(CORPUS)
    got = consensus_similarity([one, other], [[other], [one]], frequencies=known)
    np.testing.assert_allclose(got[0], got[1])


def test_what_all_pictures_share_has_no_weight():
    everywhere = count_documents([["a dog"], ["a cat"], ["a bus"]])
    got = consensus_similarity(
        ["a dog", "dog", "a a"], [["a a dog"], ["a a dog"], ["a cow"]], frequencies=None
    )
    assert everywhere.counts["a"] == everywhere.n_documents == 3
    only_a = consensus_similarity(["a"], [["a"]], frequencies=everywhere)
    assert np.isnan(only_a[0])
    assert got[2] == 0


def test_rare_words_count_more_than_common_ones():
    known = count_documents([["a dog"], ["a dog"], ["a dog zorb"], ["a cat"]])
    references = [["a dog zorb"]] * 2
    rare, common = consensus_similarity(
        ["a zorb", "a dog"], references, frequencies=known
    )
    assert rare > common


def test_unseen_words_lower_the_similarity_and_never_break_it():
    known = count_documents(CORPUS)
    plain, strange, alien = consensus_similarity(
        ["a red bus", "a red bus quux", "quux"], [["a red bus"]] * 3, frequencies=known
    )
    assert plain == pytest.approx(1)
    assert 0 < strange < 1
    assert alien == 0


def test_without_references_nothing_is_known():
    known = count_documents(CORPUS)
    got = consensus_similarity(["a dog", "a dog"], [[], ["a dog"]], frequencies=known)
    np.testing.assert_allclose(got, [np.nan, 1])
    assert consensus_similarity([], [], frequencies=known).shape == (0,)
    np.testing.assert_array_equal(noun_overlap(["a dog"], [[]]), [np.nan])


def test_documents_are_counted_once_for_each_picture():
    known = count_documents(CORPUS, max_n=2)
    assert known.n_documents == 4
    assert known.counts["dog"] == 2
    assert known.counts["a wave"] == 1
    assert "a man rides" not in known.counts


@pytest.mark.parametrize(
    ("caption", "references", "want"),
    [
        ("a man on a bike", ["a man", "bikes and men"], (2 / 3 + 1) / 2),
        ("a dog", ["a cat"], 0),
        ("a dog and a dog", ["dogs"], 1),
        ("of", ["a dog"], 0),
        ("a dog", ["of", "a dog"], 1 / 2),
        ("of", ["the"], np.nan),
    ],
)
def test_nouns_overlap_as_counted_by_hand(caption, references, want):
    np.testing.assert_allclose(noun_overlap([caption], [references]), [want])


def test_nouns_of_a_table_or_a_tagger_overlap():
    zorbs = noun_overlap(["a zorb"], [["a zorb on grass"]], nouns=["zorb"])
    assert zorbs.tolist() == [1]
    both = noun_overlap(
        ["a zorb"], [["zorb grass"]], tagger=lambda words: [(w, "NN") for w in words]
    )
    assert both.tolist() == [1 / 2]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda f: f(["a"], []), ValueError, "1 entries but `references` has 0"),
        (lambda f: f(["a"], ["a"]), TypeError, r"`references` must .* Write \['a'\]"),
        (lambda f: f([3], [["a"]]), TypeError, "`captions` must .* got int"),
        (lambda f: f(["a"], [[None]]), TypeError, "`references` must .* NoneType"),
    ],
)
@pytest.mark.parametrize("measure", [consensus_similarity, noun_overlap])
def test_wrong_captions_are_told(measure, call, error, match):
    with pytest.raises(error, match=match):
        call(measure)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: count_documents([["a"]]), "`n_documents`"),
        (lambda: consensus_similarity(["a"], [["a"]]), "`n_documents`"),
        (lambda: count_documents(CORPUS, max_n=0), "`max_n`"),
        (lambda: DocumentFrequencies(2, {}, max_n=0), "`max_n`"),
        (
            lambda: consensus_similarity(
                ["a"], [["a"]], frequencies=DocumentFrequencies(2, {"a": 3})
            ),
            "more documents than there are: 3 of 2",
        ),
    ],
)
def test_wrong_frequencies_are_told(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# ------------------------------------------------- judgements of people


@pytest.fixture(scope="module")
def judged(data_folder):
    data = load_flickr8k(data_folder / "captions_flickr8k")
    captions, references = data.judged(data.expert)
    scores = data.expert[list(EXPERTS)].to_numpy()
    own = data.expert["caption_id"].str.rpartition("#")[0] == data.expert["image"]
    known = count_documents(list(data.texts("test").values()))
    measures = {
        "consensus": consensus_similarity(captions, references, frequencies=known),
        "nouns": noun_overlap(captions, references),
        "length": np.array([-len(split_words(c)) for c in captions], float),
    }
    return measures, scores, own.to_numpy()


def test_similarity_agrees_with_experts(judged):
    measures, scores, _ = judged
    mean = scores.mean(axis=1)
    tau = {k: stats.kendalltau(v, mean, variant="c")[0] for k, v in measures.items()}
    rho = {k: stats.spearmanr(v, mean)[0] for k, v in measures.items()}
    assert tau["consensus"] == pytest.approx(0.487, abs=0.003)
    assert rho["consensus"] == pytest.approx(0.640, abs=0.003)
    # Which nouns are named tells even more than how it is said.
    assert tau["nouns"] == pytest.approx(0.505, abs=0.01)
    assert rho["nouns"] == pytest.approx(0.718, abs=0.01)
    assert tau["length"] == pytest.approx(0.085, abs=0.003)


def test_agreement_is_that_of_published_protocols(judged):
    """Single scores of captions of other pictures: .44 is told of CIDEr (recalled)."""
    measures, scores, own = judged
    single = scores[~own].ravel()
    three = np.repeat(measures["consensus"][~own], scores.shape[1])
    tau = stats.kendalltau(three, single, variant="c")[0]
    assert len(single) == 3 * 4260
    assert tau == pytest.approx(0.444, abs=0.003)


def test_a_picture_is_told_from_another_by_its_own_captions(judged):
    measures, _, own = judged
    for name in ("consensus", "nouns"):
        higher = stats.mannwhitneyu(measures[name][own], measures[name][~own])
        area = higher.statistic / (own.sum() * (~own).sum())
        assert area > 0.9
