"""Efficient probing: forward pass, fit, choice, and neighbours."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import KNeighborsClassifier

from analysis.linear_readout import fit_linear_readout
from analysis.nearest_neighbours import predict_by_neighbours
from neurovis.fitting.efficient_probe import (
    EfficientProbeSettings,
    efficient_attention,
    efficient_pool,
    map_similarity,
)
from neurovis.fitting.efficient_probe_fit import (
    choose_efficient_probe,
    fit_efficient_probe,
)

SMALL = EfficientProbeSettings(
    n_queries=2, n_epochs=60, batch_size=32, learning_rate=0.02
)


def marked_pictures(n=160, n_tokens=16, n_channels=8, seed=0):
    """One token has a mark; what it carries besides is the class, the rest is noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    tokens = rng.normal(size=(n, n_tokens, n_channels))
    places = rng.integers(n_tokens, size=n)
    tokens[..., 0] *= 0.1
    tokens[np.arange(n), places, 0] = 5.0
    tokens[np.arange(n), places, 1] = 2.0 * (2 * labels - 1)
    return tokens, np.array(["left", "right"])[labels], places


def test_forward_pass_is_the_formula_query_by_query():
    rng = np.random.default_rng(1)
    x, q = rng.normal(size=(3, 5, 6)), rng.normal(size=(2, 6))
    v = rng.normal(size=(4, 6))
    pooled, attention = efficient_pool(x, q, v), efficient_attention(x, q)
    for b in range(3):
        for m in range(2):
            weights = np.exp(x[b] @ q[m] / np.sqrt(6))
            weights /= weights.sum()
            np.testing.assert_allclose(attention[b, m], weights, atol=1e-12)
            group = weights @ (x[b] @ v.T)[:, 2 * m : 2 * m + 2]
            np.testing.assert_allclose(pooled[b, 2 * m : 2 * m + 2], group, atol=1e-12)


def test_frozen_numbers_of_the_forward_pass():
    rng = np.random.default_rng(0)
    rng.standard_normal(5 * 8 + 8 * 8 + 1 + 8)
    x, q = rng.standard_normal((2, 6, 8)), rng.standard_normal((2, 8))
    v = rng.standard_normal((8, 8))
    pooled = efficient_pool(x, q, v)
    np.testing.assert_allclose(
        pooled[0, :3], [-2.1473686091, 0.8721863027, -0.4402425682], atol=1e-8
    )
    attention = efficient_attention(x, q)
    np.testing.assert_allclose(
        attention[0, 0, :2], [0.0728312256, 0.0621937464], atol=1e-8
    )


def test_equal_queries_have_equal_maps_and_map_similarity_is_a_mean_cosine():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 5, 4))
    same = efficient_attention(x, np.tile(rng.normal(size=4), (3, 1)))
    np.testing.assert_allclose(map_similarity(same), 1)
    maps = rng.random((2, 3, 5))
    pairs = np.triu_indices(3, 1)
    expected = [cosine_similarity(one)[pairs].mean() for one in maps]
    np.testing.assert_allclose(map_similarity(maps), expected)
    assert np.isnan(map_similarity(maps[:, :1])).all()


def test_order_of_tokens_does_not_matter():
    rng = np.random.default_rng(3)
    x, q, v = rng.normal(size=(2, 7, 4)), rng.normal(size=(2, 4)), np.eye(4)
    order = rng.permutation(7)
    np.testing.assert_allclose(
        efficient_pool(x[:, order], q, v), efficient_pool(x, q, v), atol=1e-12
    )


def test_the_head_finds_a_marked_token_that_the_mean_hides():
    tokens, labels, places = marked_pictures()
    train, test = slice(0, 120), slice(120, 160)
    head = fit_efficient_probe(tokens[train], labels[train], settings=SMALL)
    accuracy = (head.predict(tokens[test]) == labels[test]).mean()
    mean = tokens.mean(axis=1)
    linear = fit_linear_readout(mean[train], labels[train]).predict(mean[test])
    assert accuracy > 0.9
    assert accuracy > (linear == labels[test]).mean() + 0.1
    best = head.attention(tokens[test]).argmax(axis=-1)
    assert (best == places[test][:, None]).any(axis=1).mean() > 0.9


def test_fits_are_repeatable_and_rates_are_chosen_within_the_training_pictures():
    tokens, labels, _ = marked_pictures(60)
    short = EfficientProbeSettings(n_queries=2, reduction=2, n_epochs=4, batch_size=16)
    first = fit_efficient_probe(tokens, labels, settings=short, seed=1)
    again = fit_efficient_probe(tokens, labels, settings=short, seed=1)
    np.testing.assert_array_equal(first.queries, again.queries)
    assert first.values.shape == (4, 8)
    probe, table = choose_efficient_probe(
        tokens, labels, rates=(1e-6, 2e-2), decays=(0.0,), settings=SMALL
    )
    assert table["chosen"].tolist() == [False, True]
    assert probe.settings.learning_rate == 2e-2
    assert table["held_loss"].idxmin() == 1
    assert probe.curves["loss"].iloc[-1] < 0.5 * probe.curves["loss"].iloc[0]


def test_neighbours_vote_as_those_of_sklearn():
    rng = np.random.default_rng(4)
    train, test = rng.normal(size=(50, 6)), rng.normal(size=(20, 6))
    labels = np.array(list("abc"))[rng.integers(3, size=50)]
    peer = KNeighborsClassifier(
        7, metric="cosine", weights=lambda d: np.exp(-d / 0.1), algorithm="brute"
    ).fit(train, labels)
    found = predict_by_neighbours(train, labels, test, n_neighbours=7, temperature=0.1)
    assert found.tolist() == peer.predict(test).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: efficient_attention(np.ones((1, 2, 3)), np.ones((1, 2))), "queries"),
        (
            lambda: efficient_pool(np.ones((1, 2, 3)), np.ones((2, 3)), np.eye(3)),
            "must divide",
        ),
        (lambda: efficient_attention(np.full((1, 2, 2), np.nan), np.eye(2)), "finite"),
        (lambda: fit_efficient_probe(np.ones((4, 2, 32)), ["a"] * 4), "one only"),
        (
            lambda: fit_efficient_probe(np.ones((4, 2, 9)), list("abab")),
            "must divide",
        ),
        (
            lambda: choose_efficient_probe(np.ones((3, 2, 32)), list("aab")),
            "two pictures",
        ),
        (
            lambda: choose_efficient_probe(np.ones((4, 2, 32)), list("aabb"), rates=()),
            "one value",
        ),
        (lambda: EfficientProbeSettings(n_queries=0), "n_queries"),
        (
            lambda: predict_by_neighbours(np.eye(2), list("ab"), np.ones((1, 3))),
            "test",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
