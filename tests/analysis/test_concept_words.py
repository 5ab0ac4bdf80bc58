"""Nouns of concepts, and their singular forms."""

import pytest

from analysis.concept_words import CONCEPTS, PEOPLE, singular

PLURALS = {
    "men": "man",
    "women": "woman",
    "policemen": "policeman",
    "businesswomen": "businesswoman",
    "schoolchildren": "schoolchild",
    "people": "person",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "dogs": "dog",
    "buses": "bus",
    "houses": "house",
    "horses": "horse",
    "dresses": "dress",
    "glasses": "glass",
    "benches": "bench",
    "beaches": "beach",
    "brushes": "brush",
    "boxes": "box",
    "mustaches": "mustache",
    "axes": "axe",
    "puppies": "puppy",
    "movies": "movie",
    "hoodies": "hoodie",
    "ties": "tie",
    "potatoes": "potato",
    "shoes": "shoe",
    "canoes": "canoe",
    "leaves": "leaf",
    "knives": "knife",
    "scarves": "scarf",
    "waves": "wave",
    "gloves": "glove",
    "sizes": "size",
    "vases": "vase",
    "skis": "ski",
    "bikinis": "bikini",
    "tvs": "tv",
    "t-shirts": "t-shirt",
}


@pytest.mark.parametrize(("plural", "one"), PLURALS.items())
def test_plurals_become_singular(plural, one):
    assert singular(plural) == one


@pytest.mark.parametrize("one", sorted({*PLURALS.values()}))
def test_a_singular_stays(one):
    assert singular(one) == one


@pytest.mark.parametrize(
    "word", ["grass", "tennis", "bus", "lens", "jeans", "scissors", "woods", "s", "as"]
)
def test_words_that_only_look_like_plurals_stay(word):
    assert singular(word) == word


def test_the_tables_hold_singulars_but_for_words_of_the_plural():
    last = {noun.split()[-1] for nouns in CONCEPTS.values() for noun in nouns}
    changed = {word for word in last if singular(word) != word}
    # "glasses" are worn, "oranges" are eaten, "numbers" are read.
    assert changed == {"glasses", "oranges", "numbers"}


@pytest.mark.parametrize("concept", CONCEPTS)
def test_nouns_are_lower_case_and_stand_once(concept):
    nouns = CONCEPTS[concept]
    assert len(set(nouns)) == len(nouns) > 5
    assert all(noun == noun.lower().strip() for noun in nouns)


def test_localiser_categories_are_there_and_people_count_for_faces_and_bodies():
    assert list(CONCEPTS)[:5] == ["face", "body", "place", "word", "food"]
    assert CONCEPTS["person"] == PEOPLE
    for noun in ("man", "woman", "person", "child"):
        assert noun in CONCEPTS["face"]
        assert noun in CONCEPTS["body"]
    assert "surfer" in CONCEPTS["body"]
    assert "surfer" not in CONCEPTS["face"]
    assert {"crowd", "player", "boy"} <= set(PEOPLE)
    # Places, writing and food have no word in common with one another or with people.
    parts = [set(CONCEPTS[name]) for name in ("place", "word", "food", "person")]
    assert len(set.union(*parts)) == sum(map(len, parts))
