"""Alignments of many pairs of symbol sequences at once: gains and edits.

Needleman-Wunsch scores run over anti-diagonals as in `analysis.alignment`. Edit
distances and common subsequences hold 64 cells of a column in the bits of one number,
and take a few operations per column.

`pairs` are whole numbers of shape (n_pairs, 2), which pred sequence and which human
one. Pairs for which an answer is undefined are for the caller to leave out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.alignment import PairPool, antidiagonals, ending_pairs
from analysis.scanpath_symbols import SymbolSet

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BitArray = NDArray[np.uint64]

_WORD = 64
# Pairs of a block whose cells are bits, and numbers in its table of matches.
_BIT_PAIRS, _BIT_TABLE = 2**13, 2**21


def alignment_scores(
    pred: SymbolSet,
    human: SymbolSet,
    pairs: IntArray,
    substitution: FloatArray,
    *,
    gap: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Compute Needleman-Wunsch scores: of whole sequences, and the best of beginnings.

    ``F(i, j) = max(F(i-1, j-1) + S(a_i, b_j), F(i-1, j) + gap, F(i, j-1) + gap)``
    with ``F(i, 0) = i gap`` and ``F(0, j) = j gap``.

    Parameters
    ----------
    pred, human : SymbolSet
        Sequences of whole numbers below ``len(substitution)``, not empty.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which sequences to align.
    substitution : ndarray of float64, shape (n_kinds, n_kinds)
        S, gain of pairing a symbol of pred (row) with one of human (column).
    gap : float, default 0
        Gain of a symbol left unpaired, <= 0.

    Returns
    -------
    final : ndarray of float64, shape (n_pairs,)
        F of the last cell.
    best : ndarray of float64, shape (n_pairs,)
        Largest F.

    Examples
    --------
    >>> from analysis.scanpath_symbols import pack_symbols
    >>> a, b = pack_symbols([[0, 1, 1]]), pack_symbols([[0, 2]])
    >>> final, best = alignment_scores(a, b, np.array([[0, 0]]), np.eye(3), gap=-1.0)
    >>> final, best
    (array([0.]), array([1.]))
    """
    final = np.empty(len(pairs))
    best = np.empty(len(pairs))
    for block, a, b, n, m, table in _substitutions(pred, human, pairs, substitution):
        ending = ending_pairs(n, m)
        largest = np.zeros((a.shape[0] + 1, a.shape[1]))
        for d, scores in _scores(a, b, table, gap):
            if d in ending:
                here = ending[d]
                final[block[here]] = scores[n[here], here]
            if gap:
                np.maximum(largest, scores, out=largest)
        best[block] = largest.max(axis=0)
    # Without gap costs F never falls along a row or a column.
    return final, best if gap else final.copy()


def prefix_alignment_scores(
    pred: SymbolSet, human: SymbolSet, pairs: IntArray, substitution: FloatArray
) -> FloatArray:
    """Compute Needleman-Wunsch scores of equally long beginnings, without gap costs.

    Parameters
    ----------
    pred, human : SymbolSet
        Sequences of whole numbers below ``len(substitution)``, not empty.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which sequences to align.
    substitution : ndarray of float64, shape (n_kinds, n_kinds)
        Gain of pairing a symbol of pred (row) with one of human (column).

    Returns
    -------
    ndarray of float64, shape (n_pairs, longest)
        ``F(k, k)`` for k = 1, 2, ... (see `alignment_scores`); NaN where one of the
        sequences is shorter.

    Examples
    --------
    >>> from analysis.scanpath_symbols import pack_symbols
    >>> a, b = pack_symbols([[0, 1, 1]]), pack_symbols([[0, 2]])
    >>> prefix_alignment_scores(a, b, np.array([[0, 0]]), np.eye(3))
    array([[1., 1.]])
    """
    prefixes = np.full((len(pairs), min(pred.longest, human.longest)), np.nan)
    for block, a, b, n, _, table in _substitutions(pred, human, pairs, substitution):
        for d, scores in _scores(a, b, table, 0.0):
            k = d // 2
            if d % 2 == 0 and k < len(a):
                reached = n > k
                prefixes[block[reached], k] = scores[k + 1, reached]
    return prefixes


def _substitutions(
    pred: SymbolSet, human: SymbolSet, pairs: IntArray, substitution: FloatArray
) -> Iterator[tuple[Any, ...]]:
    """Yield blocks of pairs whose symbols add up to places in a table of gains."""
    n_kinds = len(substitution)
    # Padding has a kind of its own, which is never worth pairing.
    table = np.full((n_kinds + 1, n_kinds + 1), -np.inf)
    table[:-1, :-1] = substitution
    width = max(pred.longest, human.longest)
    codes = []
    for each, factor in ((pred, n_kinds + 1), (human, 1)):
        padded = np.full((1, len(each), width), n_kinds * factor, np.int64)
        inside = each.inside[:, :width]
        padded[0, :, : inside.shape[1]][inside] = each.symbols[:, :width][inside]
        padded[0, :, : inside.shape[1]][inside] *= factor
        codes.append(padded)
    pool = PairPool.of(codes[0], codes[1], pred.n_symbols, human.n_symbols, pairs)
    for block in pool.blocks(np.arange(len(pairs))):
        a, b, n, m = pool.gather(block)
        yield block, a[:, 0], b[:, 0], n, m, table.reshape(-1)


def _scores(
    a: IntArray, b: IntArray, table: FloatArray, gap: float
) -> Iterator[tuple[int, FloatArray]]:
    """Yield d and F of the cells (i, d - i), counted from 0, in row i + 1."""
    (n, size), m = a.shape, len(b)
    before, last, new = np.zeros((3, n + 1, size))
    places, gains = np.empty((n, size), np.int64), np.empty((n, size))
    last[:2] = gap
    for d, rows, below, columns in antidiagonals(n, m):
        at, gain = places[rows], gains[rows]
        np.add(a[rows], b[columns], out=at)
        table.take(at, out=gain, mode="clip")
        np.add(gain, before[rows], out=gain)
        np.maximum(last[rows], last[below], out=new[below])
        if gap:
            np.add(new[below], gap, out=new[below])
            new[0] = gap * (d + 2)
            new[d + 2 : d + 3] = gap * (d + 2)
        np.maximum(gain, new[below], out=new[below])
        yield d, new
        before, last, new = last, new, before


@dataclass(frozen=True)
class _BitBlock:
    """Pairs with the cells of a column as bits, by falling length of the long ones."""

    pairs: NDArray[np.intp]
    n_short: IntArray
    n_long: IntArray
    matches: BitArray  # (n_words, n_numbers): where a short sequence has a symbol
    places: IntArray  # (longest, n_block): number of the match of each long symbol

    def columns(self) -> Iterator[tuple[int, IntArray]]:
        """Yield how many pairs have a further long symbol, and its places."""
        alive = np.searchsorted(-self.n_long, -np.arange(len(self.places)), "left")
        for k, place in zip(alive.tolist(), self.places, strict=True):
            yield k, place[:k]


def _bit_blocks(
    pred: SymbolSet, human: SymbolSet, pairs: IntArray, n_kinds: int
) -> Iterator[_BitBlock]:
    """Split pairs into blocks with a table of matches of bounded size."""
    a, b = pred.symbols[None], human.symbols[None]
    pool = PairPool.of(a, b, pred.n_symbols, human.n_symbols, pairs)
    codes, lengths = pool.values[:, 0], pool.n_values
    words = np.maximum(-(-lengths[pool.short] // _WORD), 1)
    order = np.lexsort((pool.short, words))
    while len(order):
        window = order[:_BIT_PAIRS]
        owner = np.cumsum(np.diff(pool.short[window], prepend=-1) != 0) - 1
        numbers = (owner + 1) * n_kinds * words[window]
        size = max(int(np.searchsorted(numbers, _BIT_TABLE, "right")), 1)
        order, window, owner = order[size:], window[:size], owner[:size]
        sequences = pool.short[window[np.diff(owner, prepend=-1) != 0]]
        shape = (int(words[window[-1]]), len(sequences), n_kinds)
        matches = np.zeros(shape, np.uint64)
        for i in range(int(lengths[sequences].max())):
            has = np.flatnonzero(lengths[sequences] > i)
            bit = np.uint64(1 << i % _WORD)
            matches[i // _WORD, has, codes[i, sequences[has]]] |= bit
        n_long = lengths[pool.long[window]]
        falling = np.argsort(-n_long, kind="stable")
        block, n_long = window[falling], n_long[falling]
        places = codes[: n_long.max()].take(pool.long[block], axis=1)
        places += owner[falling] * n_kinds
        n_short = lengths[pool.short[block]]
        yield _BitBlock(block, n_short, n_long, matches.reshape(shape[0], -1), places)


def common_subsequence_lengths(
    pred: SymbolSet, human: SymbolSet, pairs: IntArray, n_kinds: int
) -> IntArray:
    """Compute lengths of longest common subsequences.

    Bits that are zero mark the rows where the length grows, after Hyyrö (2004),
    Bit-parallel LCS-length computation revisited.

    Parameters
    ----------
    pred, human : SymbolSet
        Sequences of whole numbers below `n_kinds`.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which sequences to compare.
    n_kinds : int
        Number of possible symbols.

    Returns
    -------
    ndarray of int64, shape (n_pairs,)
        Symbols of the longest sequence contained in both with gaps.

    Examples
    --------
    >>> from analysis.scanpath_symbols import pack_symbols
    >>> a, b = pack_symbols([[0, 1, 2, 1]]), pack_symbols([[1, 0, 1]])
    >>> common_subsequence_lengths(a, b, np.array([[0, 0]]), 3)
    array([2])
    """
    lengths = np.empty(len(pairs), np.int64)
    for block in _bit_blocks(pred, human, pairs, n_kinds):
        n_words, size = len(block.matches), len(block.pairs)
        same = np.full((n_words, size), ~np.uint64(0))
        common, total = np.empty((2, size), np.uint64)
        for k, place in block.columns():
            u, t = common[:k], total[:k]
            carry = None
            for word in range(n_words):
                v = same[word, :k]
                block.matches[word].take(place, out=u, mode="clip")
                np.bitwise_and(u, v, out=u)
                np.add(v, u, out=t)
                if n_words > 1:
                    full = t < u
                    if carry is not None:
                        t += carry
                        full |= t < carry
                    carry = full.astype(np.uint64)
                np.bitwise_xor(v, u, out=v)
                np.bitwise_or(v, t, out=v)
        grown = np.bitwise_count(~same).sum(axis=0, dtype=np.int64)
        lengths[block.pairs] = grown
    return lengths


def edit_distances(
    pred: SymbolSet, human: SymbolSet, pairs: IntArray, n_kinds: int
) -> IntArray:
    """Compute Levenshtein distances: fewest insertions, deletions, substitutions.

    Bits mark the rows where the distance rises and falls by one, after Myers (1999),
    doi:10.1145/316542.316550, and Hyyrö (2003).

    Parameters
    ----------
    pred, human : SymbolSet
        Sequences of whole numbers below `n_kinds`.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Which sequences to compare.
    n_kinds : int
        Number of possible symbols.

    Returns
    -------
    ndarray of int64, shape (n_pairs,)
        Number of edits.

    Examples
    --------
    >>> from analysis.scanpath_symbols import pack_symbols
    >>> a, b = pack_symbols([[0, 1, 2, 1]]), pack_symbols([[1, 0, 1]])
    >>> edit_distances(a, b, np.array([[0, 0]]), 3)
    array([2])
    """
    distances = np.empty(len(pairs), np.int64)
    one, top = np.uint64(1), np.uint64(_WORD - 1)
    for block in _bit_blocks(pred, human, pairs, n_kinds):
        n_words, size = len(block.matches), len(block.pairs)
        rises = np.full((n_words, size), ~np.uint64(0))
        falls = np.zeros((n_words, size), np.uint64)
        for k, place in block.columns():
            # The distance rises by one along the first row, above the first word.
            up: BitArray | np.uint64 = one
            down: BitArray | np.uint64 = np.uint64(0)
            for word in range(n_words):
                p, q = rises[word, :k], falls[word, :k]
                equal = block.matches[word].take(place)
                vertical = equal | q
                equal |= down
                level = (((equal & p) + p) ^ p) | equal
                right_up = q | ~(level | p)
                right_down = p & level
                next_up, next_down = right_up >> top, right_down >> top
                right_up = (right_up << one) | up
                right_down = (right_down << one) | down
                np.bitwise_or(right_down, ~(vertical | right_up), out=p)
                np.bitwise_and(right_up, vertical, out=q)
                up, down = next_up, next_down
        rows = np.clip(block.n_short - _WORD * np.arange(n_words)[:, None], 0, _WORD)
        # A shift by a whole word is undefined: make the mask in two steps.
        used = np.where(
            rows > 0,
            ~np.uint64(0) >> (_WORD - np.maximum(rows, 1)).astype(np.uint64),
            np.uint64(0),
        )
        grown = np.bitwise_count(rises & used).sum(axis=0, dtype=np.int64)
        grown -= np.bitwise_count(falls & used).sum(axis=0, dtype=np.int64)
        distances[block.pairs] = block.n_long + grown
    return distances
