"""Nouns and concepts of captions, and of tables of captions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.caption_nouns import (
    caption_nouns,
    concept_finder,
    named_concepts,
    noun_finder,
    read_captions,
    split_words,
)
from analysis.concept_words import CONCEPTS

SMALL = {"animal": ["dog", "bear"], "food": ["hot dog", "cake"], "warm": ["hot dog"]}


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", ()),
        (" . , !", ()),
        ("The dog's ball", ("the", "dog", "ball")),
        ("THE DOGS’ balls", ("the", "dogs", "balls")),
        ("a t-shirt , size 42", ("a", "t-shirt", "size", "42")),
        ("a café_bar", ("a", "café", "bar")),
        ("it isn't", ("it", "isn't")),
    ],
)
def test_captions_are_split_into_words(caption, words):
    assert split_words(caption) == words


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("Two men and three women play soccer", ("man", "woman", "soccer")),
        ("People with dogs on the beach .", ("person", "dog", "beach")),
        ("a man , a man and a MAN", ("man", "man", "man")),
        ("a person eats hot dogs", ("person", "hot dog")),
        ("a teddy bear on a bed", ("teddy bear", "bed")),
        ("wine glasses beside a man with glasses", ("wine glass", "man", "glasses")),
        ("a stop sign by the train station", ("stop sign", "train station")),
        ("a boat on a body of water", ("boat", "body of water")),
        ("oranges on an orange plate", ("oranges", "plate")),
        ("a number of skis and numbers", ("ski", "numbers")),
        ("nothing at all", ()),
    ],
)
def test_default_nouns_of_captions(caption, nouns):
    assert caption_nouns(caption) == nouns


def test_a_table_of_ones_own_replaces_the_default():
    assert caption_nouns("A zorb and two Zorbs", nouns=["Zorb"]) == ("zorb", "zorb")
    assert caption_nouns("a dog", nouns=["zorb"]) == ()


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("a dog", ("animal",)),
        ("Hot dogs", ("food", "warm")),
        ("a hot dog and a dog", ("food", "warm", "animal")),
        ("a bear eats cakes", ("animal", "food")),
        ("a hot plate", ()),
        ("", ()),
    ],
)
def test_phrases_take_their_words_and_words_may_have_several_concepts(caption, named):
    assert named_concepts(caption, SMALL) == named


def test_the_longest_phrase_counts():
    terms = {"short": ["a b"], "long": ["a b c"], "word": ["b", "c"]}
    assert named_concepts("a b c", terms) == ("long",)
    assert named_concepts("a b b", terms) == ("short", "word")
    assert named_concepts("a c", terms) == ("word",)


def test_default_concepts_name_what_localisers_show():
    assert named_concepts("A close up of a woman smiling")[:2] == ("face", "body")
    assert named_concepts("A kitchen")[0] == "place"
    assert "word" in named_concepts("A street sign that says stop")
    assert "place" not in named_concepts("A street sign that says stop")
    assert named_concepts("A plate of pizza")[1:] == ("food",)


def _tagger(words):
    tags = {"man": "NN", "Dogs": "NNS", "glass": "NN", "watch": "VBP", "Buses": "NOUN"}
    return [(word, tags.get(word, ".")) for word in words]


def test_a_tagger_decides_what_is_a_noun():
    caption = "man , Dogs watch glass . Buses"
    assert caption_nouns(caption, tagger=_tagger) == ("man", "dog", "glass", "bus")
    found = caption_nouns(caption, tagger=_tagger, nouns=["dog", "watch"])
    assert found == ("dog",)


def test_the_tagger_sees_words_and_signs_as_they_are_written():
    seen = []

    def tagger(words):
        seen.append(words)
        return [(word, "X") for word in words]

    caption_nouns("A man's T-shirt, blue.", tagger=tagger)
    assert seen == [["A", "man's", "T-shirt", ",", "blue", "."]]


def test_a_tagger_that_loses_words_is_refused():
    with pytest.raises(ValueError, match=r"for each of 2 words; it returned 1\."):
        caption_nouns("a dog", tagger=lambda words: [("a", "DT")])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: caption_nouns(3), TypeError, "must be text; got int"),
        (lambda: caption_nouns("a", nouns="dog"), TypeError, r"Write \['dog'\]"),
        (lambda: caption_nouns("a", nouns=[]), ValueError, "no nouns of 'noun'"),
        (lambda: named_concepts(None), TypeError, "must be text; got NoneType"),
        (lambda: named_concepts("a", {}), ValueError, "`concepts` is empty"),
        (lambda: named_concepts("a", {"x": []}), ValueError, "no nouns of 'x'"),
        (lambda: named_concepts("a", {"x": "dog"}), TypeError, "nouns of 'x' must be"),
        (lambda: named_concepts("a", {"x": ["!"]}), ValueError, "'!', of 'x', is no"),
    ],
)
def test_wrong_arguments_are_told(call, error, match):
    with pytest.raises(error, match=match):
        call()


# -------------------------------------------------------- a table of captions

CAPTIONS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.one_of(
            st.none(),
            st.lists(st.sampled_from(["dog", "dogs", "cake", "hot", "a", "."])).map(
                " ".join
            ),
        ),
    ),
    min_size=1,
)


@given(CAPTIONS)
@settings(max_examples=60)
def test_shares_are_those_of_a_loop(rows):
    table = pd.DataFrame(rows, columns=["unit", "caption"])
    said = read_captions(table, concept_finder(SMALL), SMALL)
    assert said.units.tolist() == sorted(set(table["unit"]))
    assert (np.diff(said.unit) >= 0).all()
    shares = said.defined_shares()
    for i, unit in enumerate(said.units):
        texts = [text for u, text in rows if u == unit and text is not None]
        assert said.n_captions[i] == len(texts)
        for j, concept in enumerate(SMALL):
            named = [concept in named_concepts(text, SMALL) for text in texts]
            want = np.mean(named) if named else np.nan
            np.testing.assert_allclose(shares[i, j], want, atol=1e-12)


def test_nouns_are_counted_and_units_of_any_kind_are_sorted():
    table = pd.DataFrame(
        {
            "unit": ["b", "a", "b"],
            "caption": ["a cat and cats", "a dog", np.nan],
        }
    )
    said = read_captions(table, noun_finder())
    assert said.terms == ("cat", "dog")
    assert said.units.tolist() == ["a", "b"]
    assert said.counts.toarray().tolist() == [[0.0, 1.0], [2.0, 0.0]]
    assert said.unit_shares().toarray().tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert said.per_unit(np.array([3.0, 5.0])).tolist() == [3.0, 5.0]


def test_captions_without_any_term_have_none():
    table = pd.DataFrame({"unit": [0, 1], "caption": ["", "of the"]})
    said = read_captions(table, noun_finder())
    assert said.terms == ()
    assert said.n_captions.tolist() == [1, 1]
    assert said.unit_shares().shape == (2, 0)


@pytest.mark.parametrize(
    ("table", "error", "match"),
    [
        ({"unit": [0]}, ValueError, r"lacks the columns \['caption'\]"),
        ({"unit": [None], "caption": ["a"]}, ValueError, "rows without a unit"),
        ({"unit": [0], "caption": [3]}, TypeError, "must be text; got int"),
    ],
)
def test_wrong_tables_are_told(table, error, match):
    with pytest.raises(error, match=match):
        read_captions(pd.DataFrame(table), noun_finder())


def test_people_wrote_captions_whose_nouns_are_known(data_folder):
    path = data_folder / "captions_flickr8k" / "captions.csv.gz"
    captions = pd.read_csv(path)
    said = read_captions(
        captions.rename(columns={"image": "unit"}), concept_finder(CONCEPTS), CONCEPTS
    )
    assert said.counts.shape == (40_000, len(CONCEPTS))
    silent = said.counts.sum(axis=1) == 0
    assert silent.mean() < 0.004
    shares = dict(zip(said.terms, (said.counts > 0).mean(axis=0), strict=True))
    assert shares["person"] == pytest.approx(0.746, abs=0.005)
    assert shares["animal"] == pytest.approx(0.275, abs=0.005)
    assert shares["food"] < 0.02
