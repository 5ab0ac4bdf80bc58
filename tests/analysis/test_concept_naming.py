"""Whether captions name their true concepts."""

import itertools

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from analysis.caption_words import (
    concept_hits,
    concept_rate,
    named_concepts,
    naming_scores,
)
from analysis.concept_naming import SCORE_COLUMNS

TWO = {"animal": ["dog", "cat"], "food": ["cake", "pizza"], "word": ["sign"]}


def _table(captions, units=None):
    units = range(len(captions)) if units is None else units
    return pd.DataFrame({"unit": list(units), "caption": captions})


def test_the_rate_is_the_share_of_captions_that_name_their_concept():
    captions = ["a dog", "cats", "a cake", "nothing", "a dog eats a cake"]
    truth = ["animal", "food", "food", "food", "food"]
    assert concept_rate(captions, truth, TWO) == 3 / 5
    assert concept_rate([*captions, None], [*truth, "food"], TWO) == 3 / 5
    assert np.isnan(concept_rate([], [], TWO))
    assert np.isnan(concept_rate([None], ["food"], TWO))


def test_hits_are_shares_of_the_captions_of_a_unit():
    table = _table(
        ["a dog", "a cake", "a cat", "a sign", None, "a dog"], [3, 3, 3, 1, 7, 9]
    )
    hits = concept_hits(table, pd.Series({1: "word", 3: "animal", 7: "food"}), TWO)
    assert hits["unit"].tolist() == [1, 3]  # 7 has no caption, 9 no concept
    assert hits["true_concept"].tolist() == ["word", "animal"]
    assert hits["n_captions"].tolist() == [1, 3]
    assert hits["hit"].tolist() == pytest.approx([1, 2 / 3])


def test_scores_by_concept_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    words = ["a dog", "a cake", "a dog with a cake", "a sign", "fog"]
    captions = rng.choice(words, 60)
    truth = dict(enumerate(rng.choice(list(TWO), 20)))
    table = _table(captions, np.repeat(np.arange(20), 3))
    scores = naming_scores(table, truth, TWO, n_permutations=200)
    assert scores.columns.tolist() == list(SCORE_COLUMNS)
    assert scores["concept"].tolist() == [*TWO, "all"]
    hits = concept_hits(table, truth, TWO)
    for row in scores.itertuples():
        own = hits if row.concept == "all" else hits[hits.true_concept == row.concept]
        assert row.n_units == len(own)
        assert row.rate == pytest.approx(own["hit"].mean())
        want = proportion_confint(own["hit"].sum(), len(own), method="wilson")
        assert (row.low, row.high) == pytest.approx(want)


def test_chance_is_the_mean_over_all_permutations():
    captions = ["a dog", "a dog and a cake", "a sign", "a dog", "pizza", "fog"]
    truth = ["animal", "animal", "animal", "food", "food", "word"]
    scores = naming_scores(_table(captions), dict(enumerate(truth)), TWO)
    named = [named_concepts(caption, TWO) for caption in captions]
    orders = itertools.permutations(truth)
    rates = [np.mean([t in n for t, n in zip(p, named, strict=True)]) for p in orders]
    last = scores.iloc[-1]
    assert last["rate"] == 3 / 6
    assert last["chance"] == pytest.approx(np.mean(rates))
    exact = np.mean(np.array(rates) >= 3 / 6 - 1e-12)
    assert last["p_value"] == pytest.approx(exact, abs=0.05)
    by_concept = scores.set_index("concept")["chance"]
    # Three of six captions name an animal, two food, one a word.
    assert by_concept["animal"] == pytest.approx(3 / 6)
    assert by_concept["food"] == pytest.approx(2 / 6)
    assert by_concept["word"] == pytest.approx(1 / 6)


def test_permuted_truth_scores_at_chance_and_the_truth_far_above():
    rng = np.random.default_rng(1)
    truth = rng.choice(list(TWO), 300)
    captions = [f"a {TWO[name][0]}" for name in truth]
    good = naming_scores(_table(captions), dict(enumerate(truth)), TWO).iloc[-1]
    assert good["rate"] == 1
    assert good["chance_high"] < 0.45
    assert good["p_value"] == pytest.approx(1 / 1001)
    shuffled = dict(enumerate(rng.permutation(truth)))
    bad = naming_scores(_table(captions), shuffled, TWO).iloc[-1]
    assert bad["chance_low"] <= bad["rate"] <= bad["chance_high"]
    assert bad["p_value"] > 0.02


def test_captions_that_name_everything_are_no_evidence():
    everything = "a dog, a cake and a sign"
    truth = dict(enumerate(["animal", "food", "word"] * 4))
    scores = naming_scores(_table([everything] * 12), truth, TWO)
    assert (scores["rate"] == 1).all()
    assert (scores["chance"] == 1).all()
    assert (scores["p_value"] == 1).all()


def test_the_order_of_rows_does_not_matter_and_the_seed_repeats():
    rng = np.random.default_rng(2)
    table = _table(rng.choice(["a dog", "a cake", "fog"], 40), np.arange(40) % 10)
    truth = dict(enumerate(rng.choice(["animal", "food"], 10)))
    one = naming_scores(table, truth, TWO, seed=3)
    mixed = table.sample(frac=1, random_state=0)
    turned = dict(reversed(truth.items()))
    pd.testing.assert_frame_equal(one, naming_scores(mixed, turned, TWO, seed=3))
    other = naming_scores(table, truth, TWO, seed=4)
    assert one["chance"].equals(other["chance"])
    assert not one["p_value"].equals(other["p_value"])


ONE = _table(["a dog"])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: concept_rate(["a"], [], TWO), "has 1 entries but `true_concepts`"),
        (lambda: concept_rate(["a"], ["anmal"], TWO), "Did you mean 'animal'"),
        (lambda: concept_hits(ONE, {0: "anmal"}, TWO), "Did you mean 'animal'"),
        (lambda: concept_hits(ONE, {"0": "animal"}, TWO), "such as 0"),
        (lambda: concept_hits(ONE, {0: None}, TWO), "No unit with a caption"),
        (lambda: concept_hits(_table([None]), {0: "food"}, TWO), "No unit with a cap"),
        (lambda: naming_scores(ONE, {0: "all"}, {"all": ["a"]}), "called 'all'"),
        (lambda: naming_scores(ONE, {0: "food"}, n_permutations=0), "n_permutations"),
        (lambda: naming_scores(ONE, {0: "food"}, level=2), "`level` must be"),
    ],
)
def test_wrong_arguments_are_told(call, match):
    with pytest.raises(ValueError, match=match):
        call()
