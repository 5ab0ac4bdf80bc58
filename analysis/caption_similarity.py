"""How similar a caption is to what people wrote: consensus of n-grams, and nouns.

References
----------
Vedantam, Zitnick and Parikh (2015). CIDEr: consensus-based image description
evaluation. CVPR. arXiv:1411.5726.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from analysis.caption_nouns import Tagger, noun_finder, split_words
from neurovis.core.checks import check_whole

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many documents n-grams occur.

    Parameters
    ----------
    n_documents : int
        Number of documents, >= 2; all captions of one picture are one document.
    counts : mapping of str to int
        Documents with each n-gram, its words joined by a space.
    max_n : int, default 4
        Words of the longest n-grams, >= 1.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    n_documents: int
    counts: Mapping[str, int]
    max_n: int = 4

    def __post_init__(self) -> None:
        check_whole("n_documents", self.n_documents, low=2)
        check_whole("max_n", self.max_n, low=1)


def count_documents(
    documents: Sequence[Sequence[str]], *, max_n: int = 4
) -> DocumentFrequencies:
    """Count the documents in which each n-gram occurs.

    Parameters
    ----------
    documents : sequence of sequences of str
        Captions of each picture, at least two pictures.
    max_n : int, default 4
        Words of the longest n-grams, >= 1.

    Returns
    -------
    DocumentFrequencies
        Counts of all n-grams of 1 to `max_n` words.

    Raises
    ------
    TypeError
        If a document is one text.
    ValueError
        If there are fewer than two documents, or `max_n` is below 1.

    Examples
    --------
    >>> known = count_documents([["a dog", "the dog"], ["a cat"]], max_n=2)
    >>> known.counts["dog"], known.counts["a"], known.counts["a dog"]
    (1, 2, 1)
    """
    check_whole("max_n", max_n, low=1)
    _check_captions("documents", documents)
    counts: Counter[str] = Counter()
    for captions in documents:
        words = [split_words(caption) for caption in captions]
        orders = range(1, max_n + 1)
        counts.update({gram for w in words for n in orders for gram in _grams(w, n)})
    return DocumentFrequencies(len(documents), counts, max_n)


def consensus_similarity(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
) -> FloatArray:
    """Compute the consensus of captions with reference captions (CIDEr).

    Each text is a vector of n-grams, ``count * log(n_documents / max(1, df))``, for
    each n from 1 to 4. The similarity is the cosine of caption and reference, mean over
    references, then over n. What all pictures share ("a") has no weight; an n-gram that
    no document has counts as if one had it.

    Parameters
    ----------
    captions : sequence of str, length n
        Captions to judge.
    references : sequence of sequences of str, length n
        What people wrote of each picture; without the caption itself, should it be
        one of them.
    frequencies : DocumentFrequencies, optional
        Of a large set of captions, such as `count_documents` gives. By default each
        caption's references are one document.

    Returns
    -------
    ndarray of float64, shape (n,)
        0..1; 1 for a caption that equals all its references. NaN without references,
        or where no text has an n-gram of any weight.

    Raises
    ------
    TypeError
        If a caption is no text, or references are one text.
    ValueError
        If lengths differ, or there are fewer than two documents.

    Notes
    -----
    Published CIDEr is ten times as large, counts an n with no n-gram in either text
    (captions of few words) as 0 where it is left out here, and is often computed as
    CIDEr-D, which also penalises other lengths. Words are not stemmed.

    On captions of Flickr8k that experts judged (4260 of other pictures, single scores)
    Kendall's tau-c is 0.44, that of `noun_overlap` 0.46.

    References
    ----------
    Vedantam, Zitnick and Parikh (2015). CVPR. arXiv:1411.5726.

    Examples
    --------
    >>> people = [["a dog runs", "a dog plays"], ["a red bus", "a bus"]]
    >>> consensus_similarity(["a dog runs", "a cat"], people).round(2).tolist()
    [0.67, 0.0]
    """
    _check_pairs(captions, references)
    if frequencies is None:
        frequencies = count_documents(references)
    texts = dict.fromkeys([*captions, *(r for refs in references for r in refs)])
    words = [split_words(text) for text in texts]
    place = {text: i for i, text in enumerate(texts)}
    pairs = [
        (i, place[caption], place[reference])
        for i, (caption, refs) in enumerate(zip(captions, references, strict=True))
        for reference in refs
    ]
    which, left, right = np.array(pairs, np.int64).reshape(-1, 3).T
    by_order = [
        _mean_by(which, _cosines(words, n, frequencies, left, right), len(captions))
        for n in range(1, frequencies.max_n + 1)
    ]
    scores = np.stack(by_order, axis=1).ravel()
    index = np.repeat(np.arange(len(captions)), frequencies.max_n)
    return _mean_by(index, scores, len(captions))


def noun_overlap(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    nouns: Collection[str] | None = None,
    tagger: Tagger | None = None,
) -> FloatArray:
    """Compute how much the nouns of captions overlap with those of references.

    The overlap with one reference is F1: twice the nouns in both over the sum of the
    nouns of each (Dice's coefficient); the result is the mean over references.

    Parameters
    ----------
    captions : sequence of str, length n
        Captions to judge.
    references : sequence of sequences of str, length n
        What people wrote of each picture.
    nouns : collection of str, optional
        Nouns that count, as for `analysis.caption_words.caption_nouns`.
    tagger : callable, optional
        As for `analysis.caption_words.caption_nouns`.

    Returns
    -------
    ndarray of float64, shape (n,)
        0..1; a reference counts only if it or the caption has a noun, and without any
        that counts the overlap is NaN.

    Raises
    ------
    TypeError
        If a caption is no text, or references are one text.
    ValueError
        If lengths differ.

    Examples
    --------
    >>> noun_overlap(["a man on a bike"], [["a man", "two men on bikes"]]).round(3)
    array([0.833])
    """
    _check_pairs(captions, references)
    find = noun_finder(nouns, tagger)
    texts = dict.fromkeys([*captions, *(r for refs in references for r in refs)])
    found = {text: frozenset(find(text)) for text in texts}
    index, scores = [], []
    for i, (caption, refs) in enumerate(zip(captions, references, strict=True)):
        for reference in refs:
            total = len(found[caption]) + len(found[reference])
            both = len(found[caption] & found[reference])
            index.append(i)
            scores.append(2 * both / total if total else np.nan)
    return _mean_by(
        np.array(index, np.int64), np.array(scores, np.float64), len(captions)
    )


def _cosines(
    words: Sequence[tuple[str, ...]],
    n: int,
    frequencies: DocumentFrequencies,
    left: IntArray,
    right: IntArray,
) -> FloatArray:
    """Return cosines of pairs of texts; NaN where neither has a weighted n-gram."""
    place: dict[str, int] = {}
    columns, rows = [], []
    for row, text in enumerate(words):
        for gram in _grams(text, n):
            columns.append(place.setdefault(gram, len(place)))
            rows.append(row)
    documents = np.array([max(1, frequencies.counts.get(g, 0)) for g in place])
    if np.any(documents > frequencies.n_documents):
        raise ValueError(
            "`frequencies` has an n-gram in more documents than there are: "
            f"{documents.max()} of {frequencies.n_documents}."
        )
    weight = np.log(frequencies.n_documents / documents)
    values = weight[columns] if columns else np.zeros(0)
    shape = (len(words), max(1, len(place)))
    vectors = sparse.csr_array((values, (rows, columns)), shape=shape)
    norm = np.sqrt(vectors.multiply(vectors).sum(axis=1))
    dot = vectors[left].multiply(vectors[right]).sum(axis=1)
    a, b = norm[left], norm[right]
    cosine = np.where((a == 0) & (b == 0), np.nan, 0.0)
    np.divide(dot, a * b, out=cosine, where=(a > 0) & (b > 0))
    return np.minimum(cosine, 1.0)


def _grams(words: tuple[str, ...], n: int) -> Iterator[str]:
    return (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))


def _mean_by(index: IntArray, values: FloatArray, n: int) -> FloatArray:
    defined = ~np.isnan(values)
    counts = np.bincount(index[defined], minlength=n)
    sums = np.bincount(index[defined], values[defined], minlength=n)
    return np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)


def _check_pairs(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(captions) != len(references):
        raise ValueError(
            f"`captions` has {len(captions)} entries but `references` has "
            f"{len(references)}: each caption needs its own."
        )
    _check_captions("captions", [captions])
    _check_captions("references", references)


def _check_captions(name: str, documents: Sequence[Sequence[str]]) -> None:
    for captions in documents:
        if isinstance(captions, str):
            raise TypeError(
                f"`{name}` must hold several captions for each picture; got the text "
                f"{captions!r}. Write [{captions!r}]."
            )
        wrong = [c for c in captions if not isinstance(c, str)]
        if wrong:
            raise TypeError(
                f"`{name}` must hold captions as text; got {type(wrong[0]).__name__}."
            )
