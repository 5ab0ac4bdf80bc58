"""Odd-one-out choices, predicted similarities and agreement (see the README).

Tolerance: 1e-8 for the embedding, exact for the counts of the sample.
"""

import json
from fnmatch import fnmatch
from itertools import combinations

import numpy as np
import pytest

from analysis.odd_one_out import (
    choice_nll,
    choice_probabilities,
    odd_one_out_accuracy,
    odd_one_out_choices,
    predicted_similarity,
)
from analysis.triplet_agreement import category_choices, choice_agreement
from data_loaders.things_triplets import CATEGORIES, load_things_triplets
from neurovis.fitting.spose_loss import order_dimensions

FAMILY = "behaviour"
PATTERNS = ("spose.json", "oddoneout_sample.json")


def find_cases(folder):
    """List (id, checker, arguments) for the files of this part."""
    checkers = dict(zip(PATTERNS, (check_spose, check_sample), strict=True))
    return [
        (path.stem, checker, (path,))
        for path in sorted(folder.iterdir())
        for pattern, checker in checkers.items()
        if fnmatch(path.name, pattern)
    ]


def check_unknown(path):
    pytest.fail(f"{path} is not of the form that the README describes")


def test_golden_file(golden_case, request):
    _, checker, arguments = golden_case
    if checker is check_sample:
        arguments = (*arguments, request.getfixturevalue("data_folder"))
    checker(*arguments)


def close(ours, theirs, name):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8, err_msg=name)


def check_spose(path):
    content = json.loads(path.read_text())
    cases = content.pop("cases")
    assert cases
    assert not content
    for case in cases:
        text = case.pop("W")
        assert text == "numpy default_rng(seed).gamma(0.6,0.7,(12,5))"
        w = np.random.default_rng(case.pop("seed")).gamma(0.6, 0.7, (12, 5))
        close(w[0, 0], case.pop("W00"), "W00")
        similarity = predicted_similarity(w)
        # The file has ten decimals.
        close(similarity[0], case.pop("rsm_row0"), "rsm_row0")
        close(similarity.sum(), case.pop("rsm_sum"), "rsm_sum")
        triplets = np.array(list(combinations(range(len(w)), 3)))
        assert len(triplets) == case.pop("n_triplets")
        for name, kind in (("odd_dot_first20", "dot"), ("odd_cos_first20", "cosine")):
            assert odd_one_out_choices(w, triplets[:20], kind).tolist() == case.pop(
                name
            )
        probabilities = choice_probabilities(w, triplets[:3])
        close(probabilities, case.pop("probs_first3"), "probs_first3")
        nll = case.pop("nll_dot_if_third_is_odd")
        close(choice_nll(w, triplets), nll, "nll")
        accuracy = case.pop("accuracy_if_third_is_odd")
        close(odd_one_out_accuracy(w, triplets), accuracy, "accuracy")
        order = case.pop("dimension_order_by_L1")
        assert order_dimensions(w).tolist() == order
        assert not case, f"not compared: {sorted(case)}"


def check_sample(path, data_folder):
    content = json.loads(path.read_text())
    data = load_things_triplets(data_folder / "things_oddoneout_sample")
    people = data.observers["people"]
    gpt4, chatgpt = data.observers["gpt4"], data.observers["chatgpt3.5"]
    assert content.pop("n") == len(people)
    for name, pair in {
        "human_vs_gpt4": (people, gpt4),
        "human_vs_chatgpt35": (people, chatgpt),
        "gpt4_vs_chatgpt35": (gpt4, chatgpt),
    }.items():
        assert choice_agreement(*pair).value == content.pop(name), name
    for column, name in CATEGORIES.items():
        counts = content.pop(name)
        chosen = category_choices(data.concepts[column].tolist(), people)
        right = chosen[chosen >= 0] == 2
        assert len(right) == counts.pop("n_informative")
        assert right.sum() == counts.pop("agree_with_human")
        assert right.mean() == counts.pop("rate")
        assert not counts
    assert not content, f"not compared: {sorted(content)}"
