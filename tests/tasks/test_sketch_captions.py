"""Captions of drawings: what they say is there, and can be seen."""

import colorsys
import sys
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest

from analysis.caption_words import named_concepts
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.errors import MissingDependencyError
from stimuli.category_pictures import FIGURES, make_category_pictures
from tasks.sketch_captions import (
    COLOUR_WORDS,
    CONCEPT_WORDS,
    KIND_WORDS,
    PAD,
    SIZE_WORDS,
    STOP,
    UNKNOWN,
    VOCABULARY,
    all_captions,
    caption_drawings,
    caption_tokenizer,
    category_captions,
    describe_drawings,
    kind_captions,
)
from tasks.sketch_training import draw_sketches

COLOURS = {word: (word,) for word in COLOUR_WORDS}
SIZES = {word: (word,) for word in SIZE_WORDS}


@pytest.fixture(scope="module")
def drawn():
    """Drawings of all kinds; not to be changed."""
    return draw_sketches(600, seed=11)


def one_drawing(**changes):
    row = {
        "stimulus_id": "food-00001",
        "category": "food",
        "kind": "fruit",
        "hue_deg": 0.0,
        "x_px": 16.0,
        "y_px": 16.0,
        "width_px": 22.0,
        "grey": False,
    }
    return pd.DataFrame([row | changes])


# ------------------------------------------------------------------------ words


@pytest.mark.parametrize("words", [CONCEPT_WORDS, KIND_WORDS], ids=["concept", "kind"])
def test_no_word_belongs_to_two(words):
    listed = [word for some in words.values() for word in some]
    assert len(set(listed)) == len(listed)


def test_words_are_there_for_every_category_and_kind_that_is_drawn():
    assert set(CONCEPT_WORDS) == set(CATEGORIES)
    kinds = {kind for category in CATEGORIES for kind in FIGURES[category]}
    assert set(KIND_WORDS) == kinds


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_caption_names_its_own_category_and_kind_only(category):
    for kind, colour, size in product(
        FIGURES[category], ("", *COLOUR_WORDS), ("", *SIZE_WORDS)
    ):
        texts = all_captions(kind, colour=colour, size=size)
        assert len(set(texts)) == len(texts) >= 4
        for text in texts:
            assert named_concepts(text, CONCEPT_WORDS) == (category,), text
            assert named_concepts(text, KIND_WORDS) == (kind,), text
            assert set(named_concepts(text, COLOURS)) <= {colour}, text
            assert set(named_concepts(text, SIZES)) <= {size}, text
            assert text.endswith(" .")
            assert text == " ".join(text.split())
            assert text == text.lower()
            assert text.count(".") == 1
            assert not set(text) & set("[]{}")
            words = text.split()
            # An article fits the word after it.
            for word, following in pairwise(words):
                if word in ("a", "an"):
                    assert (word == "an") == (following[0] in "aeiou"), text


@pytest.mark.parametrize("kind", ["fruit", "cake", "hat", "running", "landscape"])
def test_every_wording_tells_the_colour_where_there_is_one(kind):
    for text in all_captions(kind, colour="pink"):
        assert named_concepts(text, COLOURS) == ("pink",)


def test_texts_for_categories_are_those_of_their_kinds_in_every_colour_and_size():
    kinds, categories = kind_captions(), category_captions()
    assert tuple(categories) == tuple(CONCEPT_WORDS)
    assert set(kinds) == set(KIND_WORDS)
    assert kinds["room"] == all_captions("room")
    assert len(kinds["pizza"]) == 4 * 3
    assert len(kinds["fruit"]) == 4 * 3 * (1 + len(COLOUR_WORDS))
    assert "a small purple fruit ." in kinds["fruit"]
    for category, texts in categories.items():
        assert len(set(texts)) == len(texts)
        assert set(texts) == {
            text for kind in FIGURES[category] for text in kinds[kind]
        }


# ---------------------------------------------------------------- what is seen


@pytest.mark.parametrize(
    ("hue_deg", "word", "hills"),
    [
        (0, "red", "brown"),
        (13.9, "red", "brown"),
        (25, "orange", "green"),
        (55, "yellow", "green"),
        (110, "green", "turquoise"),
        (175, "turquoise", "blue"),
        (230, "blue", "purple"),
        (270, "purple", "purple"),
        (300, "pink", "red"),
        (344.9, "pink", "brown"),
        (350, "red", "brown"),
        (360, "red", "brown"),
    ],
)
def test_hues_have_names_and_hills_are_turned_and_dark(hue_deg, word, hills):
    fruit = describe_drawings(one_drawing(hue_deg=hue_deg))
    assert fruit["colour"].tolist() == [word]
    place = {"category": "place", "kind": "landscape", "width_px": 32.0}
    hill = describe_drawings(one_drawing(hue_deg=hue_deg, **place))
    assert hill["colour"].tolist() == [hills]


def hue_near(picture, x, y):
    """Hue and saturation of the mean colour of 3 x 3 pixels."""
    x, y = round(x), round(y)
    part = picture[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
    mean = part.float().mean((1, 2)).numpy() / 255
    hue, saturation, _ = colorsys.rgb_to_hsv(*mean.tolist())
    return 360 * hue, saturation


@pytest.mark.parametrize(
    ("kinds", "up"),
    [
        # Where the coloured part is, in half widths above the centre.
        (("fruit",), -0.2),
        (("standing", "running", "reaching"), 0.35),
        (("hat",), 0.65),
        (("cake",), 0.1),
    ],
)
def test_named_colours_are_those_of_the_pixels(drawn, kinds, up):
    pictures, table = drawn
    away = []
    for i in np.flatnonzero(table["kind"].isin(kinds)):
        row = table.loc[i]
        y = row["y_px"] - up * row["width_px"] / 2
        hue, saturation = hue_near(pictures[i], row["x_px"], y)
        if saturation > 0.15:
            away.append(abs((hue - row["hue_deg"] + 180) % 360 - 180))
    assert len(away) > 15
    assert np.median(away) < 20
    assert np.mean(np.array(away) < 45) > 0.75


@pytest.mark.parametrize("kind", ["room", "street", "one_line", "two_lines", "pizza"])
def test_colours_that_cannot_be_seen_are_not_told(drawn, kind):
    _, table = drawn
    seen = describe_drawings(table)
    assert (seen.loc[seen["kind"] == kind, "colour"] == "").all()


def test_shirts_outside_the_picture_and_grey_drawings_have_no_colour():
    face = {"category": "face", "kind": "long_hair", "width_px": 20.0}
    high = one_drawing(**face, y_px=21.0)
    low = one_drawing(**face, y_px=21.6)  # the shirt begins at 32.1
    grey = one_drawing(grey=True)
    seen = describe_drawings(pd.concat([high, low, grey]))
    assert seen["colour"].tolist() == ["red", "", ""]
    assert "shirt" not in caption_drawings(low)[0]


@pytest.mark.parametrize(
    ("width_px", "size"),
    [(18.5, "small"), (18.7, ""), (24.2, ""), (24.4, "large"), (31.9, "large")],
)
def test_sizes_are_told_at_the_ends_of_the_range(width_px, size):
    found = describe_drawings(one_drawing(width_px=width_px))
    assert found["size"].tolist() == [size]
    doubled = one_drawing(width_px=2 * width_px, y_px=32.0)
    assert describe_drawings(doubled, size_px=64)["size"].tolist() == [size]


def test_places_have_no_size():
    place = {"category": "place", "kind": "room", "width_px": 32.0}
    assert describe_drawings(one_drawing(**place))["size"].tolist() == [""]


# -------------------------------------------------------------------- captions


def test_captions_say_what_is_seen(drawn):
    _, table = drawn
    seen = describe_drawings(table)
    for text, row in zip(
        caption_drawings(table, seed=4), seen.itertuples(index=False), strict=True
    ):
        assert text in all_captions(row.kind, colour=row.colour, size=row.size)
    assert set(seen["kind"]) == set(KIND_WORDS)
    assert set(seen["size"]) == {"", *SIZE_WORDS}
    assert set(seen["colour"]) == {"", *COLOUR_WORDS}


def test_the_wording_depends_on_the_seed_and_the_drawing_alone(drawn):
    _, table = drawn
    first = caption_drawings(table, seed=4)
    assert caption_drawings(table, seed=4) == first
    assert caption_drawings(table[::-1], seed=4) == first[::-1]
    assert caption_drawings(table[100:110], seed=4) == first[100:110]
    other = caption_drawings(table, seed=5)
    # One in four wordings is the same by chance.
    alike = np.mean([a == b for a, b in zip(first, other, strict=True)])
    assert 0.17 < alike < 0.33


def test_every_wording_is_used(drawn):
    _, table = drawn
    rows = table[table["kind"] == "room"]
    found = {text for seed in range(5) for text in caption_drawings(rows, seed=seed)}
    assert found == set(all_captions("room"))


def test_drawings_that_have_no_captions_are_refused():
    with pytest.raises(ValueError, match="hue_deg"):
        describe_drawings(one_drawing().drop(columns="hue_deg"))
    with pytest.raises(ValueError, match="stimulus_id"):
        caption_drawings(one_drawing().drop(columns="stimulus_id"))
    with pytest.raises(ValueError, match="kind of a drawing"):
        caption_drawings(one_drawing(kind="mug", category="object"))
    with pytest.raises(ValueError, match="category of 'fruit'"):
        caption_drawings(one_drawing(category="face"))
    objects = make_category_pictures(6, size_px=32, categories="object", seed=0).table
    with pytest.raises(ValueError, match="kind of a drawing"):
        caption_drawings(objects)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "fruits"}, "Did you mean 'fruit'"),
        ({"kind": "fruit", "colour": "gren"}, "Did you mean 'green'"),
        ({"kind": "fruit", "size": "larg"}, "Did you mean 'large'"),
    ],
)
def test_unknown_words_are_refused_with_advice(options, message):
    with pytest.raises(ValueError, match=message):
        all_captions(**options)


# ------------------------------------------------------------------- tokenizer


def test_the_vocabulary_holds_every_word_once_in_fixed_order():
    words = {
        word
        for kind, colour, size in product(KIND_WORDS, COLOUR_WORDS, SIZE_WORDS)
        for text in all_captions(kind, colour=colour, size=size)
        for word in text.split()
    }
    assert VOCABULARY[:3] == (PAD, UNKNOWN, STOP)
    assert set(VOCABULARY[3:]) == words - {STOP}
    assert list(VOCABULARY[3:]) == sorted(VOCABULARY[3:])


def test_captions_come_back_from_their_tokens(drawn):
    _, table = drawn
    tokenizer = caption_tokenizer()
    assert tokenizer.get_vocab_size() == len(VOCABULARY)
    for text in caption_drawings(table, seed=0):
        tokens = tokenizer.encode(text).ids
        assert tokens == [VOCABULARY.index(word) for word in text.split()]
        assert tokenizer.decode(tokens) == text


def test_case_and_spaces_do_not_matter_and_other_words_are_unknown():
    tokenizer = caption_tokenizer()
    plain = tokenizer.encode("a red fruit .").ids
    assert tokenizer.encode("A  Red fruit.").ids == plain
    assert tokenizer.encode("a zebra .").tokens == ["a", UNKNOWN, "."]


def test_without_tokenizers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # as if not installed
    with pytest.raises(MissingDependencyError, match=r"neurovis\[generate\]"):
        caption_tokenizer()
