"""What captions of units name: by unit, region and repeat."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.proportion import proportion_confint

from analysis.caption_words import (
    CONCEPTS,
    NOUN_COLUMNS,
    PEOPLE,
    caption_nouns,
    concept_shares,
    named_concepts,
    noun_table,
    people_share,
    repeat_agreement,
)

TEXTS = [
    "a man with a dog",
    "two women and their dogs",
    "a dog",
    "a cake on a table",
    "a man eats cake",
    "of the and",
]


def _table(captions, units=None):
    units = range(len(captions)) if units is None else units
    return pd.DataFrame({"unit": list(units), "caption": captions})


def _random(n_units, n_repeats, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    texts = rng.choice(np.array([*TEXTS, None], object), n_units * n_repeats)
    units = np.repeat(np.arange(n_units), n_repeats)
    repeats = np.tile(np.arange(n_repeats), n_units)
    return pd.DataFrame({"unit": units, "repeat": repeats, "caption": texts})


# ------------------------------------------------------------------ concepts


def test_concept_shares_have_a_column_for_each_concept():
    table = _table(["a man", "a dog and a man", None], [0, 0, 1])
    shares = concept_shares(table)
    assert shares.columns.tolist() == ["unit", "n_captions", *CONCEPTS]
    assert shares["person"].tolist()[0] == 1
    assert shares["animal"].tolist()[0] == 0.5
    assert shares["n_captions"].tolist() == [2, 0]
    assert shares.loc[1, list(CONCEPTS)].isna().all()


@pytest.mark.parametrize("name", ["unit", "n_captions"])
def test_a_concept_with_the_name_of_a_column_is_refused(name):
    with pytest.raises(ValueError, match=f"called '{name}'"):
        concept_shares(_table(["a dog"]), {name: ["dog"]})


# -------------------------------------------------------------------- people


def test_shares_of_captions_and_of_nouns_are_told_apart():
    table = _table(
        ["a man with a dog and a ball", "a tree", "nothing", "of", None],
        [0, 0, 0, 1, 2],
    )
    people = people_share(table)
    assert people["unit"].tolist() == [0, 1, 2]
    assert people["n_captions"].tolist() == [2, 0, 0]
    np.testing.assert_array_equal(people["caption_share"], [1 / 2, np.nan, np.nan])
    np.testing.assert_array_equal(people["noun_share"], [1 / 4, np.nan, np.nan])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_people_shares_are_those_of_a_loop(seed):
    table = _random(12, 4, seed)
    people = people_share(table).set_index("unit")
    for unit, part in table.groupby("unit"):
        nouns = [caption_nouns(text) for text in part["caption"].dropna()]
        nouns = [found for found in nouns if found]
        named = [any(noun in PEOPLE for noun in found) for found in nouns]
        flat = [noun in PEOPLE for found in nouns for noun in found]
        want = (np.mean(named), np.mean(flat)) if nouns else (np.nan, np.nan)
        got = people.loc[unit, ["caption_share", "noun_share"]]
        np.testing.assert_allclose(got.to_numpy(float), want)


def test_words_for_people_count_beyond_the_table_of_nouns():
    table = _table(["an astronaut and a dog"])
    assert people_share(table)["noun_share"].tolist() == [0]
    assert people_share(table, ["astronaut"])["noun_share"].tolist() == [0.5]
    only = people_share(table, ["astronaut"], nouns=["moon"])
    assert only["noun_share"].tolist() == [1]


def test_a_tagger_finds_nouns_that_no_table_has():
    def tagger(words):
        return [(word, "NN" if word in ("man", "zorb") else "X") for word in words]

    table = _table(["a man in a zorb with a dog"])
    assert people_share(table, tagger=tagger)["noun_share"].tolist() == [0.5]
    alone = people_share(table, nouns=["dog"], tagger=tagger)
    assert alone["noun_share"].tolist() == [1]


def test_no_words_for_people_are_refused():
    with pytest.raises(ValueError, match="no nouns"):
        people_share(_table(["a man"]), [])


# ------------------------------------------------------------------- repeats


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=15)
def test_agreement_is_that_of_a_loop_over_pairs(seed, n_repeats):
    table = _random(10, n_repeats, seed).sample(frac=1, random_state=seed)
    got = repeat_agreement(table).set_index("unit")
    for unit, part in table.groupby("unit"):
        same, jaccard = [], []
        for one, other in itertools.combinations(part["caption"].dropna(), 2):
            a, b = set(named_concepts(one)), set(named_concepts(other))
            if a | b:
                same.append(a == b)
            a, b = set(caption_nouns(one)), set(caption_nouns(other))
            if a | b:
                jaccard.append(len(a & b) / len(a | b))
        want = [np.mean(pairs) if pairs else np.nan for pairs in (same, jaccard)]
        row = got.loc[unit, ["concept_agreement", "noun_jaccard"]]
        np.testing.assert_allclose(row.to_numpy(float), want)


def test_one_repeat_agrees_with_nothing_and_equal_ones_wholly():
    table = pd.DataFrame(
        {
            "unit": [0, 1, 1, 2, 2, 3, 3],
            "repeat": [0, 0, 1, 0, 1, 0, 1],
            "caption": ["a dog", "a dog", "dogs", "of", "the", "a man", "a cake"],
        }
    )
    got = repeat_agreement(table)
    want = [np.nan, 1, np.nan, 0]
    np.testing.assert_array_equal(got["concept_agreement"], want)
    np.testing.assert_array_equal(got["noun_jaccard"], want)
    assert got["n_captions"].tolist() == [1, 2, 2, 2]


def test_a_repeat_that_stands_twice_is_refused():
    table = _random(3, 2)
    with pytest.raises(ValueError, match=r"repeat 1 of unit 2 more than once"):
        repeat_agreement(pd.concat([table, table.iloc[-1:]]))
    with pytest.raises(ValueError, match=r"lacks the columns \['repeat'\]"):
        repeat_agreement(table.drop(columns="repeat"))


# ------------------------------------------------------------------- regions


def test_typical_nouns_come_before_frequent_ones():
    # Everyone names people; only the food region names food.
    rng = np.random.default_rng(0)
    food = [f"a man with a {w}" for w in rng.choice(["cake", "pizza"], 50)]
    rest = [f"a man with a {w}" for w in rng.choice(["dog", "ball", "tree"], 100)]
    nouns = noun_table(_table(food + rest), {"food": range(50), "rest": range(50, 150)})
    assert nouns.columns.tolist() == list(NOUN_COLUMNS)
    first = nouns[nouns["region"] == "food"]
    assert set(first["noun"][:2]) == {"cake", "pizza"}
    assert first["noun"].iloc[2] == "man"
    man = first[first["noun"] == "man"].iloc[0]
    assert (man["share"], man["share_elsewhere"]) == (1, 1)
    assert man["log_odds_low"] < 0 < man["log_odds_high"]
    assert (first["log_odds_low"][:2] > 1).all()
    assert (nouns["region"].drop_duplicates() == ["food", "rest"]).all()


def test_counts_and_intervals_are_those_of_statsmodels():
    table = _random(40, 1, 5)
    said = table.dropna()
    regions = {"a": range(15), "b": range(10, 30)}
    nouns = noun_table(table, regions, level=0.9)
    for row in nouns.itertuples():
        inside = said["unit"].isin(list(regions[row.region]))
        named = said["caption"].map(lambda text, n=row.noun: n in caption_nouns(text))
        k, n = int((named & inside).sum()), int(inside.sum())
        k_else, n_else = int((named & ~inside).sum()), int((~inside).sum())
        assert (row.n_units, row.n_naming) == (n, k)
        assert row.share == pytest.approx(k / n)
        assert row.share_elsewhere == pytest.approx(k_else / n_else)
        want = proportion_confint(k, n, alpha=0.1, method="wilson")
        assert (row.low, row.high) == pytest.approx(want)
        want = proportion_confint(k_else, n_else, alpha=0.1, method="wilson")
        assert (row.low_elsewhere, row.high_elsewhere) == pytest.approx(want)
        cells = np.array([[k, n - k], [k_else, n_else - k_else]]) + 0.5
        known = Table2x2(cells, shift_zeros=False)
        assert row.log_odds_ratio == pytest.approx(known.log_oddsratio)
        want = known.log_oddsratio_confint(0.1)
        assert (row.log_odds_low, row.log_odds_high) == pytest.approx(want)


def test_a_unit_counts_once_whatever_the_number_of_its_captions():
    table = _table(["a dog", "a dog", "a cat", "a dog", "a cat"], [0, 0, 0, 1, 2])
    nouns = noun_table(table, {"one": [0, 1]}).set_index("noun")
    assert nouns.loc["dog", "share"] == pytest.approx((2 / 3 + 1) / 2)
    assert nouns.loc["cat", "share"] == pytest.approx((1 / 3) / 2)
    assert nouns.loc["cat", "n_naming"] == 1
    assert nouns["n_units"].tolist() == [2, 2]


def test_without_units_elsewhere_nouns_go_by_their_share():
    nouns = noun_table(_table(["a dog", "a dog and a cat"]), {"all": [0, 1]})
    assert nouns["noun"].tolist() == ["dog", "cat"]
    assert nouns["share"].tolist() == [1, 0.5]
    undefined = [*NOUN_COLUMNS[NOUN_COLUMNS.index("share_elsewhere") :]]
    assert nouns[undefined].isna().all(axis=None)


def test_rare_nouns_and_regions_without_captions_are_left_out():
    table = _table(["a dog", "a dog", "a cat", None])
    nouns = noun_table(table, {"a": [0, 1, 2], "b": [3, 77]}, min_units=2)
    assert nouns[["region", "noun"]].to_numpy().tolist() == [["a", "dog"]]
    assert nouns["n_units"].tolist() == [3]
    assert noun_table(_table(["of"]), {"a": [0]}).empty


def test_a_tagger_and_a_table_of_nouns_are_used():
    table = _table(["a zorb", "a dog"])
    nouns = noun_table(table, {"a": [0, 1]}, nouns=["zorb"])
    assert nouns["noun"].tolist() == ["zorb"]
    nouns = noun_table(
        table, {"a": [0]}, tagger=lambda words: [(word, "NN") for word in words]
    )
    assert sorted(nouns["noun"]) == ["a", "zorb"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"regions": {}}, "`regions` is empty"),
        ({"min_units": 0}, "`min_units`"),
        ({"level": -1}, "`level`"),
        ({"nouns": []}, "no nouns"),
    ],
)
def test_wrong_options_are_told(options, match):
    with pytest.raises(ValueError, match=match):
        noun_table(_table(["a dog"]), **{"regions": {"a": [0]}, **options})
