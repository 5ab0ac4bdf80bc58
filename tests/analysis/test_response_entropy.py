"""Response entropy and the confusion of categories."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import confusion_matrix

from analysis.response_entropy import (
    confusion_of_responses,
    mean_response_entropy,
    response_entropy,
)
from analysis.sixteen_classes import CATEGORIES

three = ["car", "cat", "dog"]
trials = st.lists(
    st.tuples(st.sampled_from([*three, "na"]), st.sampled_from(three)),
    min_size=1,
    max_size=50,
)


@given(trials)
@settings(max_examples=40)
def test_entropy_is_that_of_the_shares_of_all_trials(rows):
    response, truth = zip(*rows, strict=True)
    shares = [response.count(name) / len(rows) for name in set(truth)]
    wanted = -sum(p * np.log2(p) for p in shares if p > 1e-5)
    assert response_entropy(response, truth) == pytest.approx(wanted, abs=1e-12)


def test_entropy_is_that_of_scipy_when_all_answers_count():
    rng = np.random.default_rng(0)
    truth = np.repeat(CATEGORIES, 10)
    response = rng.choice(CATEGORIES, p=rng.dirichlet(np.ones(16)), size=160)
    counts = [np.sum(response == name) for name in CATEGORIES]
    got = response_entropy(response, truth)
    assert got == pytest.approx(stats.entropy(counts, base=2), abs=1e-12)
    assert response_entropy(truth, truth) == 4
    assert response_entropy(["dog"] * 160, truth) == 0
    assert np.isnan(response_entropy([], []))
    # Answers that are never right, and none at all, are in no share.
    half = np.where(np.arange(160) % 2, "na", truth)
    assert response_entropy(half, truth) == pytest.approx(0.5 * np.log2(32))


def test_entropy_is_averaged_over_observers():
    table = pd.DataFrame(
        {
            "subject": ["a"] * 4 + ["b"] * 4,
            "truth": ["cat", "dog"] * 4,
            "response": ["cat", "dog"] * 2 + ["cat"] * 4,
            "condition": "x",
        }
    )
    got = mean_response_entropy(table, by=["condition"])
    assert got.to_dict("records") == [
        {"condition": "x", "entropy_bits": 0.5, "n_observers": 2}
    ]
    with pytest.raises(ValueError, match="'truth'"):
        mean_response_entropy(table.drop(columns="truth"), by=["condition"])


@given(trials)
@settings(max_examples=30)
def test_confusion_is_that_of_scikit_learn(rows):
    response, truth = zip(*rows, strict=True)
    names = ["na", *three]
    counts = confusion_matrix(truth, response, labels=names).T[:, 1:]
    got = confusion_of_responses(response, truth, three, with_na=True)
    assert got.index.tolist() == names
    assert got.columns.tolist() == three
    with np.errstate(invalid="ignore"):
        wanted = 100 * counts / counts.sum(axis=0)
        without = 100 * counts[1:] / counts[1:].sum(axis=0)
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    shown = confusion_of_responses(response, truth, three)
    np.testing.assert_allclose(shown, without, atol=1e-12)
    for table in (got, shown):
        total = table.sum(min_count=1).dropna()
        np.testing.assert_allclose(total, 100, rtol=1e-12)


def test_confusion_refuses_what_is_no_category():
    with pytest.raises(ValueError, match="'horse', which is not in"):
        confusion_of_responses(["horse"], ["cat"])
    with pytest.raises(ValueError, match="`truth` has 'na'"):
        confusion_of_responses(["cat"], ["na"])
    with pytest.raises(ValueError, match="`response` must have shape"):
        confusion_of_responses(["cat"], ["cat", "dog"])
    sixteen = confusion_of_responses([None, "cat"], ["cat", "cat"], with_na=True)
    assert sixteen.shape == (17, 16)
    assert sixteen["cat"].dropna().loc[["na", "cat"]].tolist() == [50, 50]
    assert sixteen["dog"].isna().all()
