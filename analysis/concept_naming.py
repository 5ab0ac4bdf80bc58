"""Whether captions of units name the concept that the units are known to stand for.

The truth comes from a simulation or a localiser; chance from permuting it. Undefined
is NaN.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.caption_nouns import concept_finder, read_captions
from analysis.concept_words import CONCEPTS
from analysis.stats import percentile_interval, wilson_interval
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SCORE_COLUMNS = (
    "concept",
    "n_units",
    "rate",
    "low",
    "high",
    "chance",
    "chance_low",
    "chance_high",
    "p_value",
)
"""Columns of `naming_scores`."""

_ALL = "all"


def concept_rate(
    captions: Sequence[str | None],
    true_concepts: Sequence[str],
    concepts: Mapping[str, Collection[str]] = CONCEPTS,
) -> float:
    """Compute the share of captions that name their true concept.

    Parameters
    ----------
    captions : sequence of str
        Captions; missing ones are left out.
    true_concepts : sequence of str
        Concept that each caption should name, one of `concepts`.
    concepts : mapping of str to collection of str, default CONCEPTS
        Nouns or phrases of each concept.

    Returns
    -------
    float
        Share, 0..1; NaN without captions.

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        If lengths differ or a true concept is unknown.

    Examples
    --------
    >>> concept_rate(["a dog", "a sofa"], ["animal", "food"])
    0.5
    """
    if len(captions) != len(true_concepts):
        raise ValueError(
            f"`captions` has {len(captions)} entries but `true_concepts` has "
            f"{len(true_concepts)}: each caption needs its concept."
        )
    for concept in true_concepts:
        check_option("true_concepts", concept, tuple(concepts))
    table = pd.DataFrame({"unit": range(len(captions)), "caption": list(captions)})
    said = read_captions(table, concept_finder(concepts), concepts)
    label = pd.Index(said.terms).get_indexer(pd.Index(true_concepts))[said.unit]
    if not len(label):
        return float("nan")
    return float((said.counts.toarray()[np.arange(len(label)), label] > 0).mean())


def concept_hits(
    captions: pd.DataFrame,
    true_concepts: Mapping[Any, str],
    concepts: Mapping[str, Collection[str]] = CONCEPTS,
) -> pd.DataFrame:
    """Compute how often each unit's captions name its true concept.

    Parameters
    ----------
    captions : DataFrame
        `unit` and `caption`.
    true_concepts : mapping of unit to str, or Series
        Concept that the captions of a unit should name, one of `concepts`. Units
        that are not in it, or are without a caption, are left out.
    concepts : mapping of str to collection of str, default CONCEPTS
        Nouns or phrases of each concept.

    Returns
    -------
    DataFrame
        One row per unit, sorted: `unit`, `true_concept`, `n_captions` and `hit` (share
        of the captions that name the true concept, whatever else they name, 0..1).

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        If a column is missing, a true concept is unknown, or no captioned unit has one.

    Examples
    --------
    >>> table = pd.DataFrame({"unit": [0, 1], "caption": ["a red bus", "a bowl"]})
    >>> concept_hits(table, {0: "vehicle", 1: "face"})["hit"].tolist()
    [1.0, 0.0]
    """
    units, n_captions, label, shares = _labelled(captions, true_concepts, concepts)
    return pd.DataFrame(
        {
            "unit": units,
            "true_concept": np.array(list(concepts), object)[label],
            "n_captions": n_captions,
            "hit": shares[np.arange(len(label)), label],
        }
    )


def naming_scores(
    captions: pd.DataFrame,
    true_concepts: Mapping[Any, str],
    concepts: Mapping[str, Collection[str]] = CONCEPTS,
    *,
    n_permutations: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the naming of true concepts with that of permuted ones.

    The rate is the mean of `concept_hits` over units. Chance is its mean over all
    permutations of the true concepts over the units, which takes the captions as they
    are: who names people in every caption has a high chance for people.

    Parameters
    ----------
    captions : DataFrame
        `unit` and `caption`.
    true_concepts : mapping of unit to str, or Series
        As for `concept_hits`.
    concepts : mapping of str to collection of str, default CONCEPTS
        Nouns or phrases of each concept.
    n_permutations : int, default 1000
        Random permutations, >= 1.
    level : float, default 0.95
        Coverage of the intervals aimed at, 0..1.
    seed : int, default 0
        Seed of the permutations.

    Returns
    -------
    DataFrame
        One row per true concept in the order of `concepts`, then "all", with the
        columns `SCORE_COLUMNS`: `n_units`, `rate` (0..1) with its Wilson interval
        `low`, `high`; `chance`, exact, and the central interval of the permutations
        `chance_low`, `chance_high`; `p_value` (one-sided: share of permutations, the
        data among them, with at least this rate).

    Raises
    ------
    TypeError
        If a caption is no text.
    ValueError
        As `concept_hits`, if a concept is called "all", or an option is out of range.

    Notes
    -----
    Units are taken as independent. Where hits are shares of several repeats, the
    Wilson interval is a little too wide. Neighbouring voxels are not independent:
    there it is too narrow.

    Examples
    --------
    >>> texts = ["a cat", "a dog", "a pizza", "a cake"]
    >>> table = pd.DataFrame({"unit": range(4), "caption": texts})
    >>> scores = naming_scores(table, dict(enumerate(["animal"] * 2 + ["food"] * 2)))
    >>> scores[["concept", "rate", "chance"]].values.tolist()
    [['food', 1.0, 0.5], ['animal', 1.0, 0.5], ['all', 1.0, 0.5]]
    """
    check_whole("n_permutations", n_permutations, low=1)
    check_between("level", level, low=0, high=1)
    if _ALL in concepts:
        raise ValueError(f"`concepts` must not have one that is called {_ALL!r}.")
    _, _, label, shares = _labelled(captions, true_concepts, concepts)
    place, label = np.unique(label, return_inverse=True)
    names = np.array(list(concepts), object)[place]
    shares = shares[:, place]
    n_units = np.bincount(label)
    n_all = np.append(n_units, n_units.sum())

    def rates(label: IntArray) -> FloatArray:
        hit = shares[np.arange(len(label)), label]
        sums = np.bincount(label, hit, minlength=len(names))
        return np.append(sums, sums.sum()) / n_all

    rate = rates(label)
    rng = generator(seed, "naming scores")
    draws = np.stack([rates(rng.permutation(label)) for _ in range(n_permutations)])
    means = shares.mean(axis=0)
    low, high = wilson_interval(np.clip(rate, 0, 1) * n_all, n_all, level=level)
    chance_low, chance_high = percentile_interval(draws.T, level=level)
    # Equal sums may differ in their last digit.
    as_high = (draws >= rate - 1e-12).sum(axis=0)
    columns = (
        [*names, _ALL],
        n_all,
        rate,
        low,
        high,
        np.append(means, means @ n_units / n_units.sum()),
        chance_low,
        chance_high,
        (1 + as_high) / (1 + n_permutations),
    )
    return pd.DataFrame(dict(zip(SCORE_COLUMNS, columns, strict=True)))


def _labelled(
    captions: pd.DataFrame,
    true_concepts: Mapping[Any, str],
    concepts: Mapping[str, Collection[str]],
) -> tuple[NDArray[Any], IntArray, IntArray, FloatArray]:
    """Return units with a caption and a true concept: what they name, and should."""
    truth = {unit: name for unit, name in true_concepts.items() if not pd.isna(name)}
    for name in dict.fromkeys(truth.values()):
        check_option("true_concepts", name, tuple(concepts))
    said = read_captions(captions, concept_finder(concepts), concepts)
    wanted = [truth.get(unit) for unit in said.units.tolist()]
    label = pd.Index(said.terms).get_indexer(pd.Index(wanted, dtype=object))
    used = (label >= 0) & (said.n_captions > 0)
    if not used.any():
        raise ValueError(
            "No unit with a caption is in `true_concepts`, whose keys must be units, "
            f"such as {next(iter(said.units.tolist()), 'none')!r}."
        )
    shares = said.defined_shares()[used]
    return said.units[used], said.n_captions[used], label[used], shares
