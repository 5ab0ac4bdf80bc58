"""Alignments of symbols against rapidfuzz and plain loops."""

import numpy as np
import pytest
from rapidfuzz.distance import LCSseq, Levenshtein

from analysis import symbol_alignment
from analysis.scanpath_sets import check_pairs
from analysis.scanpath_symbols import pack_symbols
from analysis.symbol_alignment import (
    alignment_scores,
    common_subsequence_lengths,
    edit_distances,
    prefix_alignment_scores,
)

ORACLES = (
    (edit_distances, Levenshtein.distance),
    (common_subsequence_lengths, LCSseq.similarity),
)


def random_strings(seed, lengths, n_kinds):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, n_kinds, n).tolist() for n in lengths]


def counts(function, a, b, n_kinds):
    pairs = check_pairs(None, len(a), len(b))
    return function(pack_symbols(a), pack_symbols(b), pairs, n_kinds)


@pytest.mark.parametrize(("function", "oracle"), ORACLES)
@pytest.mark.parametrize("n_kinds", [1, 2, 5, 90])
def test_counts_match_rapidfuzz_across_word_borders(function, oracle, n_kinds):
    a = random_strings(0, [0, 1, 2, 7, 31, 63, 64, 65, 127, 128, 129, 200], n_kinds)
    b = random_strings(1, [0, 1, 3, 20, 62, 64, 66, 128, 130, 193], n_kinds)
    expected = [oracle(p, q) for p in a for q in b]
    np.testing.assert_array_equal(counts(function, a, b, n_kinds), expected)


@pytest.mark.parametrize(("function", "oracle"), ORACLES)
def test_counts_do_not_depend_on_blocks_or_order(function, oracle, monkeypatch):
    a = random_strings(2, range(30), 6)
    b = random_strings(3, range(90, 0, -3), 6)
    values = counts(function, a, b, 6)
    pairs = check_pairs(None, len(a), len(b))
    shuffled = np.random.default_rng(0).permutation(len(pairs))[:200]
    again = function(pack_symbols(a), pack_symbols(b), pairs[shuffled], 6)
    np.testing.assert_array_equal(again, values[shuffled])
    for pairs_at_once, table in ((50, 2**20), (2**13, 100)):
        monkeypatch.setattr(symbol_alignment, "_BIT_PAIRS", pairs_at_once)
        monkeypatch.setattr(symbol_alignment, "_BIT_TABLE", table)
        np.testing.assert_array_equal(counts(function, a, b, 6), values)


def plain_scores(a, b, gains, gap):
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0], table[0] = gap * np.arange(len(a) + 1), gap * np.arange(len(b) + 1)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            table[i + 1, j + 1] = max(
                table[i, j] + gains[p, q], table[i, j + 1] + gap, table[i + 1, j] + gap
            )
    return table


@pytest.mark.parametrize("gap", [0.0, -0.4])
def test_alignment_scores_match_a_loop(gap):
    # Gains without symmetry: a swapped pair would show.
    gains = np.random.default_rng(4).normal(size=(7, 7))
    a, b = random_strings(5, range(1, 15), 7), random_strings(6, [3, 1, 17, 8], 7)
    pairs = check_pairs(None, len(a), len(b))
    final, best = alignment_scores(
        pack_symbols(a), pack_symbols(b), pairs, gains, gap=gap
    )
    tables = [plain_scores(p, q, gains, gap) for p in a for q in b]
    np.testing.assert_allclose(final, [t[-1, -1] for t in tables], rtol=1e-12)
    np.testing.assert_allclose(best, [t.max() for t in tables], rtol=1e-12)


def test_prefix_scores_match_loops_over_beginnings():
    gains = 3.5 - np.abs(np.subtract.outer(np.arange(9), np.arange(9)))
    a, b = random_strings(7, [1, 4, 11], 9), random_strings(8, [6, 2, 13, 1], 9)
    pairs = check_pairs(None, len(a), len(b))
    scores = prefix_alignment_scores(pack_symbols(a), pack_symbols(b), pairs, gains)
    assert scores.shape == (12, 11)
    for row, (i, j) in zip(scores, pairs, strict=True):
        n = min(len(a[i]), len(b[j]))
        expected = [
            plain_scores(a[i][:k], b[j][:k], gains, 0.0)[-1, -1]
            for k in range(1, n + 1)
        ]
        np.testing.assert_allclose(row[:n], expected, rtol=1e-13)
        assert np.isnan(row[n:]).all()
