"""What captions of units name: nouns and concepts, by unit, region and repeat.

A table of captions has one row per caption: `unit` (anything that can be sorted),
`caption` (text, or missing where there is none) and, where asked for, `repeat`. A
unit's captions of several repeats count with equal shares, so that a unit counts once
whatever the number of its captions. Undefined is NaN.

References
----------
Luo, Henderson, Tarr and Wehbe (2024). BrainSCUBA: fine-grained natural language
captions of visual cortex selectivity. ICLR. arXiv:2310.04420.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.caption_nouns import (
    CaptionTerms,
    Tagger,
    caption_nouns,
    concept_finder,
    named_concepts,
    noun_finder,
    read_captions,
    split_words,
)
from analysis.concept_naming import concept_hits, concept_rate, naming_scores
from analysis.concept_words import CONCEPTS, PEOPLE
from analysis.stats import wilson_interval
from neurovis.core.checks import check_between, check_columns, check_whole

__all__ = [
    "CONCEPTS",
    "PEOPLE",
    "caption_nouns",
    "concept_hits",
    "concept_rate",
    "concept_shares",
    "named_concepts",
    "naming_scores",
    "noun_table",
    "people_share",
    "repeat_agreement",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NOUN_COLUMNS = (
    "region",
    "noun",
    "n_units",
    "n_naming",
    "share",
    "low",
    "high",
    "share_elsewhere",
    "low_elsewhere",
    "high_elsewhere",
    "log_odds_ratio",
    "log_odds_low",
    "log_odds_high",
)
"""Columns of `noun_table`."""


def concept_shares(
    captions: pd.DataFrame, concepts: Mapping[str, Collection[str]] = CONCEPTS
) -> pd.DataFrame:
    """Compute the share of each unit's captions that name each concept.

    Parameters
    ----------
    captions : DataFrame
        `unit` and `caption`.
    concepts : mapping of str to collection of str, default CONCEPTS
        Nouns or phrases of each concept.

    Returns
    -------
    DataFrame
        One row per unit, sorted: `unit`, `n_captions`, and one column per concept,
        float64, 0..1; NaN for units without a caption.

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        If a column is missing, or a concept is called "unit" or "n_captions".

    Examples
    --------
    >>> table = pd.DataFrame({"unit": [7, 7], "caption": ["a dog", "a cat and a car"]})
    >>> shares = concept_shares(table, {"animal": ["dog", "cat"], "vehicle": ["car"]})
    >>> shares.values.tolist()
    [[7.0, 2.0, 1.0, 0.5]]
    """
    for name in ("unit", "n_captions"):
        if name in concepts:
            raise ValueError(f"`concepts` must not have one that is called {name!r}.")
    said = read_captions(captions, concept_finder(concepts), concepts)
    counts = pd.DataFrame({"unit": said.units, "n_captions": said.n_captions})
    shares = pd.DataFrame(said.defined_shares(), columns=list(concepts))
    return pd.concat([counts, shares], axis=1)


def people_share(
    captions: pd.DataFrame,
    people: Collection[str] = PEOPLE,
    *,
    nouns: Collection[str] | None = None,
    tagger: Tagger | None = None,
) -> pd.DataFrame:
    """Compute how much of what a unit's captions name are people.

    Parameters
    ----------
    captions : DataFrame
        `unit` and `caption`.
    people : collection of str, default PEOPLE
        Nouns for people.
    nouns : collection of str, optional
        Nouns that count, as for `caption_nouns`; `people` always do.
    tagger : callable, optional
        As for `caption_nouns`.

    Returns
    -------
    DataFrame
        One row per unit, sorted: `unit`, `n_captions` (captions with a noun),
        `caption_share` (share of these that name people, 0..1) and `noun_share` (share
        of all their nouns that are people, 0..1). Both are NaN where no caption has a
        noun.

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        If a column is missing or `people` is empty.

    Notes
    -----
    `noun_share` depends on the nouns that are known: without a tagger a noun that is
    not in the table does not count.

    Examples
    --------
    >>> table = pd.DataFrame({"unit": 0, "caption": ["a man on a bike", "a tree"]})
    >>> people_share(table)[["caption_share", "noun_share"]].round(3).values.tolist()
    [[0.5, 0.333]]
    """
    noun_finder(people)  # checks them
    if tagger is None and nouns is None:
        nouns = [noun for part in CONCEPTS.values() for noun in part]
    if nouns is not None:
        nouns = [*nouns, *people]
    said = read_captions(captions, noun_finder(nouns, tagger))
    known = {" ".join(split_words(noun)) for noun in people}
    is_person = np.array([term in known for term in said.terms], np.float64)
    n_people, n_nouns = said.counts @ is_person, said.counts.sum(axis=1)
    n_captions = said.per_unit(n_nouns > 0)
    return pd.DataFrame(
        {
            "unit": said.units,
            "n_captions": n_captions.astype(np.int64),
            "caption_share": _ratio(said.per_unit(n_people > 0), n_captions),
            "noun_share": _ratio(said.per_unit(n_people), said.per_unit(n_nouns)),
        }
    )


def repeat_agreement(
    captions: pd.DataFrame,
    concepts: Mapping[str, Collection[str]] = CONCEPTS,
    *,
    nouns: Collection[str] | None = None,
    tagger: Tagger | None = None,
) -> pd.DataFrame:
    """Compute how well the repeats of a unit agree in what they name.

    Parameters
    ----------
    captions : DataFrame
        `unit`, `repeat` and `caption`.
    concepts : mapping of str to collection of str, default CONCEPTS
        Nouns or phrases of each concept.
    nouns : collection of str, optional
        As for `caption_nouns`.
    tagger : callable, optional
        As for `caption_nouns`; concepts are found by their tables all the same.

    Returns
    -------
    DataFrame
        One row per unit, sorted: `unit`, `n_captions`, `concept_agreement` (share of
        pairs of repeats that name the same set of concepts, 0..1) and `noun_jaccard`
        (mean over pairs of the nouns in both over the nouns in either, 0..1). A pair
        that names nothing at all does not count; NaN where no pair counts.

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        If a column is missing, or a unit has a repeat twice.

    Examples
    --------
    >>> texts = ["a man with a dog", "a woman and a dog", "a dog"]
    >>> table = pd.DataFrame({"unit": 0, "repeat": [0, 1, 2], "caption": texts})
    >>> two = {"person": ["man", "woman"], "animal": ["dog"]}
    >>> repeat_agreement(table, two).round(3).values.tolist()
    [[0.0, 3.0, 0.333, 0.444]]
    """
    check_columns("captions", captions.columns, ["unit", "repeat", "caption"])
    twice = captions.duplicated(["unit", "repeat"])
    if twice.any():
        first = captions[twice].iloc[0]
        raise ValueError(
            f"`captions` has repeat {first['repeat']} of unit {first['unit']} more "
            "than once: each is one caption."
        )
    said = read_captions(captions, concept_finder(concepts), concepts)
    unit, shared, either = _pairs(said)
    columns = {
        "unit": said.units,
        "n_captions": said.n_captions,
        "concept_agreement": _mean_by(unit, shared == either, len(said.units)),
    }
    worded = read_captions(captions, noun_finder(nouns, tagger))
    unit, shared, either = _pairs(worded)
    jaccard = _mean_by(unit, shared / either, len(said.units))
    return pd.DataFrame({**columns, "noun_jaccard": jaccard})


def _pairs(said: CaptionTerms) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return unit, shared terms and all terms of each pair of captions of a unit."""
    named = (said.counts > 0).astype(np.float64)
    size = named.sum(axis=1)
    most = int(said.n_captions.max(initial=0))
    parts = []
    # Captions of a unit follow each other: pairs are rows at a distance.
    for lag in range(1, most):
        first = np.flatnonzero(said.unit[lag:] == said.unit[:-lag])
        shared = named[first].multiply(named[first + lag]).sum(axis=1)
        either = size[first] + size[first + lag] - shared
        counts = either > 0
        parts.append((said.unit[first][counts], shared[counts], either[counts]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    unit, shared, either = (np.concatenate(part) for part in zip(*parts, strict=True))
    return unit, shared, either


def noun_table(
    captions: pd.DataFrame,
    regions: Mapping[str, Iterable[Hashable]],
    *,
    nouns: Collection[str] | None = None,
    tagger: Tagger | None = None,
    min_units: int = 1,
    level: float = 0.95,
) -> pd.DataFrame:
    """Count the nouns of each region, and find those that are typical of it.

    A noun of all captions is frequent everywhere. The log odds ratio compares the
    region with all other captioned units: ``log(a / b) - log(c / d)``, where a and b
    are the units that do and do not name the noun in the region, c and d those
    elsewhere, and 1/2 is added to each (Haldane, 1956). Sorted by its lower limit,
    typical nouns that are no accident of a few units come first.

    Parameters
    ----------
    captions : DataFrame
        `unit` and `caption`. With several captions a unit names a noun to the share of
        its captions that have it.
    regions : mapping of str to iterable of units
        Units of each region; regions may overlap, and units without a caption do not
        count.
    nouns : collection of str, optional
        As for `caption_nouns`.
    tagger : callable, optional
        As for `caption_nouns`.
    min_units : int, default 1
        Nouns that fewer units of the region name in any caption are left out, >= 1.
    level : float, default 0.95
        Coverage of the intervals aimed at, 0..1.

    Returns
    -------
    DataFrame
        One row per region and noun, regions in their order, nouns by falling
        `log_odds_low` (by `share` if it is undefined), with the columns
        `NOUN_COLUMNS`: `n_units` (captioned units of the region), `n_naming` (of these,
        units with the noun in any caption), `share` (mean share of captions, 0..1) with
        its Wilson interval `low`, `high`, the same elsewhere, and the log odds ratio
        with its normal interval (Gart and Zweifel, 1967). What needs units elsewhere
        is NaN where there are none.

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        If a column is missing, there is no region, or an option is out of range.

    Notes
    -----
    Units are taken as independent, as in `naming_scores`.

    References
    ----------
    Haldane (1956). Annals of Human Genetics 20, 309-311.
    doi:10.1111/j.1469-1809.1955.tb01285.x. Gart and Zweifel (1967). Biometrika 54,
    181-187. doi:10.1093/biomet/54.1-2.181.

    Examples
    --------
    >>> texts = ["a man smiles", "a woman", "a man in a room", "a room"]
    >>> table = pd.DataFrame({"unit": range(4), "caption": texts})
    >>> nouns = noun_table(table, {"FFA": [0, 1], "PPA": [2, 3]})
    >>> nouns[["region", "noun", "share", "share_elsewhere"]].values.tolist()[-2:]
    [['PPA', 'room', 1.0, 0.0], ['PPA', 'man', 0.5, 0.5]]
    """
    if not regions:
        raise ValueError("`regions` is empty: at least one region is needed.")
    check_whole("min_units", min_units, low=1)
    check_between("level", level, low=0, high=1)
    said = read_captions(captions, noun_finder(nouns, tagger))
    spoken = said.n_captions > 0
    shares = said.unit_shares()
    named = (shares > 0).astype(np.float64)
    sums = shares.sum(axis=0)
    parts = []
    for region, units in regions.items():
        inside = spoken & pd.Index(said.units).isin(list(units))
        n, n_else = int(inside.sum()), int((spoken & ~inside).sum())
        k, n_naming = inside @ shares, inside @ named
        kept = n_naming >= min_units
        # Sums of thirds can leave the range by their last digit.
        k_else = np.clip(sums - k, 0, n_else)[kept]
        k = np.clip(k, 0, n)[kept]
        ratio, spread = _log_odds_ratio(k, n, k_else, n_else)
        half = stats.norm.ppf((1 + level) / 2) * spread
        low, high = wilson_interval(k, n, level=level)
        low_else, high_else = wilson_interval(k_else, n_else, level=level)
        columns = (
            region,
            np.array(said.terms, object)[kept],
            n,
            n_naming[kept].astype(np.int64),
            k / max(n, 1),
            low,
            high,
            _ratio(k_else, np.full(len(k), n_else)),
            low_else,
            high_else,
            ratio,
            ratio - half,
            ratio + half,
        )
        table = pd.DataFrame(dict(zip(NOUN_COLUMNS, columns, strict=True)))
        order = ["log_odds_low", "share"]
        parts.append(table.sort_values(order, ascending=False, kind="stable"))
    return pd.concat(parts, ignore_index=True)


def _log_odds_ratio(
    k: FloatArray, n: int, k_else: FloatArray, n_else: int
) -> tuple[FloatArray, FloatArray]:
    """Return log odds ratios and their standard errors; NaN without units elsewhere."""
    cells = np.stack([k, n - k, k_else, n_else - k_else]) + 0.5
    ratio = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    spread = np.sqrt((1 / cells).sum(axis=0))
    undefined = np.nan if n_else == 0 else 0.0
    return ratio + undefined, spread


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> FloatArray:
    out = np.full(len(whole), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


def _mean_by(unit: IntArray, values: NDArray[Any], n_units: int) -> FloatArray:
    counts = np.bincount(unit, minlength=n_units)
    return _ratio(np.bincount(unit, values, minlength=n_units), counts)
