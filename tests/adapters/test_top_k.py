"""Sparse activations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurovis.adapters.top_k import keep_top_k


def tokens(seed=0, shape=(2, 3, 4, 10)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(st.floats(0.01, 1.0), st.sampled_from(["magnitude", "value"]))
def test_each_token_keeps_its_largest_channels_and_no_others(share, by):
    x = tokens()
    kept = keep_top_k(x, share, by=by)
    k = max(1, round(share * 10))
    strength = np.abs(x) if by == "magnitude" else x
    for one, was, key in zip(
        kept.reshape(-1, 10), x.reshape(-1, 10), strength.reshape(-1, 10), strict=True
    ):
        expected = np.zeros(10, np.float32)
        best = np.argsort(key)[-k:]
        expected[best] = was[best]
        np.testing.assert_array_equal(one, expected)


def test_each_channel_keeps_its_largest_places():
    x = tokens()
    kept = keep_top_k(x, 0.25, per="channel")
    assert ((kept != 0).sum(axis=(1, 2)) == 3).all()
    flat, was = kept.reshape(2, 12, 10), np.abs(x.reshape(2, 12, 10))
    least = np.where(flat != 0, np.abs(flat), np.inf).min(axis=1)
    dropped = np.where(flat == 0, was, 0).max(axis=1)
    assert (least > dropped).all()


def test_all_is_kept_with_a_share_of_1_and_ties_are_kept_together():
    x = tokens()
    np.testing.assert_array_equal(keep_top_k(x, 1.0), x)
    np.testing.assert_array_equal(keep_top_k(np.ones((1, 1, 4)), 0.25), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0}, "above 0"),
        ({"share": 1.5}, "within"),
        ({"per": "picture"}, "`per`"),
        ({"by": "size"}, "`by`"),
        ({"tokens": np.ones((2, 2))}, "rows, columns"),
    ],
)
def test_a_faulty_argument_is_told(change, message):
    with pytest.raises(ValueError, match=message):
        keep_top_k(**({"tokens": tokens(), "share": 0.5} | change))
