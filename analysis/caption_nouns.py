"""The nouns and concepts that a caption names, and those of a table of captions.

Nouns are looked up in tables by default; a tagger of parts of speech is an option.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from analysis.concept_words import CONCEPTS, PEOPLE, singular
from neurovis.core.checks import check_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Tagger = Callable[[list[str]], Sequence[tuple[str, str]]]
"""Gives each word of a caption its part of speech, as (word, tag) pairs."""

Finder = Callable[[str], tuple[str, ...]]
"""Finds nouns, or concepts, in a caption."""

_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_TOKEN = re.compile(rf"{_WORD.pattern}|[^\w\s]")
_POSSESSIVE = re.compile(r"['’]s$")


# --------------------------------------------------------------- one caption


def split_words(caption: str) -> tuple[str, ...]:
    """Split a caption into lower-case words.

    Parameters
    ----------
    caption : str
        Text in natural order.

    Returns
    -------
    tuple of str
        Words without punctuation and without "'s"; a word with a hyphen is one.

    Examples
    --------
    >>> split_words("A man's T-shirt , on 2 dogs .")
    ('a', 'man', 't-shirt', 'on', '2', 'dogs')
    """
    return tuple(_POSSESSIVE.sub("", word) for word in _WORD.findall(caption.lower()))


def caption_nouns(
    caption: str,
    *,
    nouns: Collection[str] | None = None,
    tagger: Tagger | None = None,
) -> tuple[str, ...]:
    """Return the nouns of a caption.

    Parameters
    ----------
    caption : str
        Text in natural order.
    nouns : collection of str, optional
        Nouns and phrases that count; by default those of `CONCEPTS` and `PEOPLE`, or
        all that the tagger finds.
    tagger : callable, optional
        Tells the parts of speech of a list of words as (word, tag) pairs, such as
        `analysis.noun_tagger.load_noun_tagger` gives. By default a word is a noun if
        it is in the table. A tagger finds single words, no phrases.

    Returns
    -------
    tuple of str
        Singular, lower case, in the order of the caption, as often as they occur.

    Raises
    ------
    TypeError
        If `caption` or `nouns` is of another kind.
    ValueError
        If `nouns` is empty or the tagger does not return one pair per word.

    Examples
    --------
    >>> caption_nouns("Two women eat hot dogs on a park bench .")
    ('woman', 'hot dog', 'park', 'bench')
    """
    return noun_finder(nouns, tagger)(_check_caption(caption))


def named_concepts(
    caption: str, concepts: Mapping[str, Collection[str]] = CONCEPTS
) -> tuple[str, ...]:
    """Return the concepts that a caption names.

    Parameters
    ----------
    caption : str
        Text in natural order.
    concepts : mapping of str to collection of str, default CONCEPTS
        Nouns or phrases of each concept; a plural matches its singular.

    Returns
    -------
    tuple of str
        Concepts in the order of their first noun, then in that of `concepts`.

    Raises
    ------
    TypeError
        If `caption` is no text or the nouns of a concept are one text.
    ValueError
        If there is no concept, or one has no noun.

    Examples
    --------
    >>> named_concepts("Pizzas beside a dog", {"animal": ["dog"], "food": ["pizza"]})
    ('food', 'animal')
    """
    return concept_finder(concepts)(_check_caption(caption))


def noun_finder(
    nouns: Collection[str] | None = None, tagger: Tagger | None = None
) -> Finder:
    """Make a function that finds the nouns of captions.

    Parameters
    ----------
    nouns : collection of str, optional
        As for `caption_nouns`.
    tagger : callable, optional
        As for `caption_nouns`.

    Returns
    -------
    callable
        Called with a caption, returns its nouns.

    Raises
    ------
    TypeError, ValueError
        If `nouns` is one text, or empty.

    Examples
    --------
    >>> find = noun_finder(["dog"])
    >>> find("Dogs chase a dog"), find("a cat")
    (('dog', 'dog'), ())
    """
    if tagger is not None:
        known = None if nouns is None else _term_table({"noun": nouns}).concepts
        return lambda caption: tuple(
            noun
            for noun in _tagged_nouns(caption, tagger)
            if known is None or noun in known
        )
    table = _known_nouns() if nouns is None else _term_table({"noun": nouns})
    return lambda caption: table.find(split_words(caption))


def concept_finder(concepts: Mapping[str, Collection[str]]) -> Finder:
    """Make a function that finds the concepts of captions.

    Parameters
    ----------
    concepts : mapping of str to collection of str
        As for `named_concepts`.

    Returns
    -------
    callable
        Called with a caption, returns the concepts it names, each once.

    Raises
    ------
    TypeError, ValueError
        As `named_concepts`.

    Examples
    --------
    >>> concept_finder({"food": ["pizza"]})("a pizza and a pizza")
    ('food',)
    """
    table = _known_concepts() if concepts is CONCEPTS else _term_table(concepts)

    def find(caption: str) -> tuple[str, ...]:
        terms = table.find(split_words(caption))
        named = (concept for term in terms for concept in table.concepts[term])
        return tuple(dict.fromkeys(named))

    return find


@dataclass(frozen=True)
class _TermTable:
    """Nouns and phrases to look for.

    Parameters
    ----------
    concepts : mapping of str to tuple of str
        Concepts of each term, in the order of the concepts.
    longest : mapping of str to int
        First word of each phrase, and the words of the longest that starts so.
    """

    concepts: Mapping[str, tuple[str, ...]]
    longest: Mapping[str, int]

    def find(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Find terms; the longest phrase counts, and its words count only there."""
        found = []
        at = 0
        while at < len(words):
            step = 1
            longest = min(self.longest.get(words[at], 1), len(words) - at)
            for n in range(longest, 0, -1):
                *before, last = words[at : at + n]
                term = " ".join([*before, last])
                if term not in self.concepts:
                    term = " ".join([*before, singular(last)])
                if term in self.concepts:
                    found.append(term)
                    step = n
                    break
            at += step
        return tuple(found)


def _term_table(concepts: Mapping[str, Collection[str]]) -> _TermTable:
    if not concepts:
        raise ValueError("`concepts` is empty: at least one concept is needed.")
    found: dict[str, dict[str, None]] = {}
    longest: dict[str, int] = {}
    for concept, nouns in concepts.items():
        if isinstance(nouns, str):
            raise TypeError(
                f"The nouns of {concept!r} must be a collection; got the text "
                f"{nouns!r}. Write [{nouns!r}]."
            )
        if not len(nouns):
            raise ValueError(f"There are no nouns of {concept!r}: give at least one.")
        for noun in nouns:
            words = split_words(noun)
            if not words:
                raise ValueError(f"{noun!r}, of {concept!r}, is no word.")
            found.setdefault(" ".join(words), {})[concept] = None
            longest[words[0]] = max(longest.get(words[0], 1), len(words))
    return _TermTable({term: tuple(of) for term, of in found.items()}, longest)


# Made once: a caption is looked up sooner than the tables are made.


@cache
def _known_concepts() -> _TermTable:
    return _term_table(CONCEPTS)


@cache
def _known_nouns() -> _TermTable:
    every = [*CONCEPTS.values(), PEOPLE]
    return _term_table({"noun": [noun for part in every for noun in part]})


def _tagged_nouns(caption: str, tagger: Tagger) -> list[str]:
    tokens = _TOKEN.findall(caption)
    tagged = list(tagger(tokens))
    if len(tagged) != len(tokens):
        raise ValueError(
            f"`tagger` must return one (word, tag) pair for each of {len(tokens)} "
            f"words; it returned {len(tagged)}."
        )
    nouns: list[str] = []
    for word, tag in tagged:
        # Tags of the Penn Treebank tell singular from plural; universal ones do not.
        if tag in ("NN", "NNP"):
            nouns += split_words(word)
        elif tag in ("NNS", "NNPS", "NOUN", "PROPN"):
            nouns += [singular(part) for part in split_words(word)]
    return nouns


def _check_caption(caption: Any) -> str:
    if not isinstance(caption, str):
        raise TypeError(f"A caption must be text; got {type(caption).__name__}.")
    return caption


# -------------------------------------------------------- a table of captions


@dataclass(frozen=True)
class CaptionTerms:
    """What each caption of a table names.

    Parameters
    ----------
    units : ndarray, shape (n_units,)
        Units, sorted; also those without a caption.
    unit : ndarray of int64, shape (n_captions,)
        Place in `units` of each caption that is there, in rising order.
    terms : tuple of str
        Nouns or concepts that may be named.
    counts : scipy.sparse.csr_array of float64, shape (n_captions, n_terms)
        How often each caption names each term.
    """

    units: NDArray[Any]
    unit: IntArray
    terms: tuple[str, ...]
    counts: Any

    @property
    def n_captions(self) -> IntArray:
        """Captions of each unit."""
        return np.bincount(self.unit, minlength=len(self.units)).astype(np.int64)

    def per_unit(self, values: FloatArray) -> FloatArray:
        """Add up a number per caption within units.

        Parameters
        ----------
        values : ndarray of float64, shape (n_captions,)
            One number per caption.

        Returns
        -------
        ndarray of float64, shape (n_units,)
            Sums; 0 without captions.
        """
        sums = np.zeros(len(self.units))
        np.add.at(sums, self.unit, values)
        return sums

    def unit_shares(self) -> Any:
        """Compute the share of each unit's captions that name each term.

        Returns
        -------
        scipy.sparse.csr_array of float64, shape (n_units, n_terms)
            Shares, 0..1; 0 for a unit without captions, where they are undefined.
        """
        weight = 1 / self.n_captions[self.unit]
        rows, shape = np.arange(len(self.unit)), (len(self.units), len(self.unit))
        mean = sparse.csr_array((weight, (self.unit, rows)), shape=shape)
        return (mean @ (self.counts > 0).astype(np.float64)).tocsr()

    def defined_shares(self) -> FloatArray:
        """Return `unit_shares` as a dense array.

        Returns
        -------
        ndarray of float64, shape (n_units, n_terms)
            Shares, 0..1; NaN for a unit without captions.
        """
        shares: FloatArray = self.unit_shares().toarray()
        shares[self.n_captions == 0] = np.nan
        return shares


def read_captions(
    captions: pd.DataFrame, find: Finder, terms: Iterable[str] | None = None
) -> CaptionTerms:
    """Find what the captions of a table name.

    Equal captions are looked at once.

    Parameters
    ----------
    captions : DataFrame
        `unit` and `caption`; a missing caption (None or NaN) is left out.
    find : callable
        Such as `noun_finder` and `concept_finder` make.
    terms : iterable of str, optional
        All terms, in the order wanted; by default those that occur, sorted.

    Returns
    -------
    CaptionTerms
        What they name.

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        If a column or a unit is missing.

    Examples
    --------
    >>> table = pd.DataFrame({"unit": [3, 1, 1], "caption": ["a dog", "a cat", None]})
    >>> read = read_captions(table, noun_finder(["cat", "dog"]))
    >>> read.terms, read.units.tolist(), read.unit_shares().toarray().tolist()
    (('cat', 'dog'), [1, 3], [[1.0, 0.0], [0.0, 1.0]])
    """
    check_columns("captions", captions.columns, ["unit", "caption"])
    if captions["unit"].isna().any():
        raise ValueError("`captions` has rows without a unit.")
    unit, units = pd.factorize(captions["unit"], sort=True)
    text, texts = pd.factorize(captions["caption"])
    found = [find(_check_caption(caption)) for caption in texts]
    if terms is None:
        terms = sorted({term for part in found for term in part})
    terms = tuple(terms)
    place = {term: i for i, term in enumerate(terms)}
    columns = [place[term] for part in found for term in part]
    lengths = [len(part) for part in found]
    rows = np.repeat(np.arange(len(found)), lengths)
    shape = (len(found), len(terms))
    # Terms that occur twice in a caption add up.
    counts = sparse.csr_array((np.ones(len(columns)), (rows, columns)), shape=shape)
    there = np.flatnonzero(text >= 0)
    there = there[np.argsort(unit[there], kind="stable")]
    return CaptionTerms(
        np.asarray(units), unit[there].astype(np.int64), terms, counts[text[there]]
    )
