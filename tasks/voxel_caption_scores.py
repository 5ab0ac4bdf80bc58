"""What the captions of units say: words by unit and region, against what is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.caption_nouns import Tagger
from analysis.caption_words import (
    concept_shares,
    naming_scores,
    noun_table,
    people_share,
    repeat_agreement,
)
from analysis.selectivity import EXCLUDED, category_selectivity
from analysis.stats import percentile_interval
from data_loaders.category_pictures import CategoryPictures, load_category_pictures
from neurovis.adapters.brainscuba import PROJECTION
from neurovis.adapters.features import fingerprint_pictures
from neurovis.core.brain_space import read_space
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS
from tasks.clip_encoder_model import ClipEncoder
from tasks.encoding_maps import write_unit_maps
from tasks.localiser_scores import kept_pictures
from tasks.picture_gradients import load_gradient_encoder, unit_regions

ALL = "all"
LOCALISER = "localiser"

REGION_CONCEPTS: Mapping[str, str] = {
    "floc-faces": "face",
    "floc-bodies": "body",
    "floc-places": "place",
    "floc-words": "word",
    "food": "food",
}
"""What families of regions were found to prefer."""

DOMAIN_CONCEPTS: Mapping[str, str] = {
    "faces": "face",
    "face": "face",
    "bodies": "body",
    "body": "body",
    "places": "place",
    "place": "place",
    "characters": "word",
    "words": "word",
    "word": "word",
    "food": "food",
}
"""What the pictures of a localiser show, by the names that localisers have for it."""

CAPTION_COLUMNS = ("chance", "chance_low", "chance_high", "p_value", "truth")
"""Columns beside those of all scores; `truth` says who told what units prefer:
"regions" or "localiser"."""

MAPPED = ("people_share", "people_noun_share", "effective_number", "concept_agreement")
"""Columns of the table of units that become maps, beside a share for each concept."""

_LEAST_UNITS = 5
_SUMMARIES: Mapping[str, tuple[str, Callable[..., Any], str]] = {
    "people_share_mean": ("people_share", np.mean, "share"),
    "people_noun_share_mean": ("people_noun_share", np.mean, "share"),
    "concept_agreement_mean": ("concept_agreement", np.mean, "share"),
    "noun_jaccard_mean": ("noun_jaccard", np.mean, "share"),
    "effective_number_median": ("effective_number", np.median, "pictures"),
    "cosine_mean": ("cosine", np.mean, "cosine"),
}


@dataclass(frozen=True, eq=False)
class LocalisedUnits:
    """What an encoder prefers among the pictures of a localiser.

    Parameters
    ----------
    table : DataFrame
        One row per unit of the encoder: `preferred` (a concept, "" where there is
        none) and ``d_prime_CONCEPT``.
    note : str
        What a reader must know.
    fingerprint : str
        SHA-256 over the pictures.
    """

    table: pd.DataFrame
    note: str
    fingerprint: str


def localise_units(
    model: ClipEncoder,
    pictures: str | Path | CategoryPictures,
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> LocalisedUnits:
    """Show pictures of a localiser to an encoder of embeddings.

    Parameters
    ----------
    model : ClipEncoder
        As it was read from its folder.
    pictures : str, Path or CategoryPictures
        Pictures, or their folder: see
        `data_loaders.category_pictures.load_category_pictures`.
    weights : str or Path, optional
        Weights of its network, if they lie elsewhere by now.
    device : str or torch.device, default "cpu"
        Where the network runs.

    Returns
    -------
    LocalisedUnits
        Domains of the localiser that no concept stands for are among those that others
        are compared with, and are nobody's preference.

    Raises
    ------
    ValueError
        If the encoder was not read from a folder, or less than two domains are those of
        concepts.
    FileNotFoundError, DataCorruptError
        If pictures or weights are missing or damaged.
    """
    if model.home is None:
        raise ValueError(
            "`encoder` must be a folder for `localiser`: its network is read from it."
        )
    shown = pictures
    if not isinstance(shown, CategoryPictures):
        shown = load_category_pictures(shown)
    rows = kept_pictures(shown.table, list(EXCLUDED))
    domains = shown.table["domain"].iloc[rows].astype(str).tolist()
    known = {name: DOMAIN_CONCEPTS.get(name.lower()) for name in dict.fromkeys(domains)}
    concepts = {name: concept for name, concept in known.items() if concept}
    if len(concepts) < 2:
        raise ValueError(
            f"`localiser` must show at least two of {', '.join(DOMAIN_CONCEPTS)}; "
            f"{shown.name} shows {', '.join(known)}."
        )
    looking = load_gradient_encoder(model.home, weights=weights, device=device)
    some = [shown.pictures[int(row)] for row in rows]
    responses = looking.predict(some)
    found = category_selectivity(responses, domains)
    preferred = found.preferred()["category"].map(concepts)
    columns: dict[str, Any] = {"preferred": preferred.fillna("").to_numpy(object)}
    for name, concept in concepts.items():
        columns[f"d_prime_{concept}"] = found.of(name)
    note = (
        "Preferences among localiser pictures are those of the encoder, whose weights "
        "the captions come from: nobody was measured with these pictures."
    )
    return LocalisedUnits(pd.DataFrame(columns), note, fingerprint_pictures(some))


def unit_words(
    told: pd.DataFrame,
    units: pd.DataFrame,
    *,
    families: Sequence[str],
    concepts: Mapping[str, Sequence[str]],
    people: Sequence[str],
    tagger: Tagger | None = None,
    localised: LocalisedUnits | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count the words in the captions of each unit and each region.

    Parameters
    ----------
    told : DataFrame
        Captions, as `tasks.voxel_captions.caption_voxels` makes them.
    units : DataFrame
        Captioned units, with `unit`, `unit_id` and a column per family.
    families : sequence of str
        Columns that hold labels of regions.
    concepts : mapping of str to sequence of str
        Nouns of each concept.
    people : sequence of str
        Nouns for people.
    tagger : callable, optional
        As `analysis.caption_words.caption_nouns`; by default nouns are those of
        `concepts`.
    localised : LocalisedUnits, optional
        What units prefer in pictures of a localiser.

    Returns
    -------
    units : DataFrame
        The rows of `units` with `n_captions`, `people_share` (share of captions that
        name people, of those with a noun), `people_noun_share` (share of their nouns),
        ``names_CONCEPT`` (share of captions), `concept` (named most often; "" for
        none), `concept_agreement` and `noun_jaccard` of repeats, medians of
        `effective_number` and `cosine`, and what the localiser told.
    nouns : DataFrame
        `analysis.caption_words.noun_table` of each region of at least five units.
    """
    own = told[told["condition"] == PROJECTION]
    listed = [noun for words in concepts.values() for noun in words]
    nouns: Any = {"nouns": listed} if tagger is None else {"tagger": tagger}
    people_told = people_share(own, people, **nouns).set_index("unit")
    shares = concept_shares(own, concepts).set_index("unit")
    agreement = repeat_agreement(own, concepts, **nouns).set_index("unit")
    medians = own.groupby("unit")[["effective_number", "cosine"]].median()
    names = list(concepts)
    most = shares[names].to_numpy(np.float64)
    is_named = np.nan_to_num(most).max(axis=1) > 0
    top = np.array(names, object)[np.nan_to_num(most).argmax(axis=1)]
    columns = {
        "n_captions": shares["n_captions"],
        "people_share": people_told["caption_share"],
        "people_noun_share": people_told["noun_share"],
        "concept": pd.Series(np.where(is_named, top, ""), shares.index),
        **{f"names_{name}": shares[name] for name in names},
        "concept_agreement": agreement["concept_agreement"],
        "noun_jaccard": agreement["noun_jaccard"],
        "effective_number": medians["effective_number"],
        "cosine": medians["cosine"],
    }
    unit = units["unit"].to_numpy()
    found = {name: column.loc[unit].to_numpy() for name, column in columns.items()}
    if localised is not None:
        found |= {
            str(name): column.to_numpy()[unit]
            for name, column in localised.table.items()
        }
    words = units.reset_index(drop=True).assign(**found)
    table = noun_table(own, caption_regions(words, families), **nouns)
    return words, table


def caption_regions(
    words: pd.DataFrame, families: Sequence[str]
) -> dict[str, list[int]]:
    """Return the units of all, and of each region of at least five.

    Parameters
    ----------
    words : DataFrame
        Table of units, with `unit` and the columns of families.
    families : sequence of str
        Columns that hold labels of regions.

    Returns
    -------
    dict of str to list of int
        Units by region: "all" first, then families and their labels.
    """
    found = {ALL: words["unit"].tolist()}
    masks = unit_regions(words, families)
    for name, mask in masks.items():
        # Told by their own names where one family alone has them.
        is_double = ":" in name and name.partition(":")[2] in masks
        if int(mask.sum()) >= _LEAST_UNITS and not is_double:
            found[name] = words.loc[mask, "unit"].tolist()
    return found


def caption_scores(
    told: pd.DataFrame,
    words: pd.DataFrame,
    *,
    families: Sequence[str],
    concepts: Mapping[str, Sequence[str]],
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise captions by region, and compare them with what units should prefer.

    Parameters
    ----------
    told : DataFrame
        Captions, as `tasks.voxel_captions.caption_voxels` makes them.
    words : DataFrame
        Table of units of `unit_words`.
    families : sequence of str
        Columns that hold labels of regions.
    concepts : mapping of str to sequence of str
        Nouns of each concept.
    n_permutations : int, default 1000
        Permutations of units, for chance.
    n_bootstrap : int, default 1000
        Resamples of units, for limits.
    seed : int, default 0
        Seed of draws.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS` and `CAPTION_COLUMNS`. Of each region means over units of
        `people_share`, `people_noun_share`, `concept_agreement`, `noun_jaccard`, and
        `cosine`, and the median of `effective_number`; and of each condition
        `naming_rate`: the share of captions that name the concept that the region, or
        the localiser, stands for. `region` is the concept there, or "all". Chance is
        that of permuted units.

    Notes
    -----
    Limits are over units. Neighbouring units are not independent, so that limits are
    too narrow for conclusions about other brains.
    """
    rows: list[dict[str, Any]] = []
    by_unit = words.set_index("unit")
    for region, members in caption_regions(words, families).items():
        part = by_unit.loc[members]
        for metric, (column, centre, _) in _SUMMARIES.items():
            values = part[column].to_numpy(np.float64)
            values = values[np.isfinite(values)]
            rows.append(
                {
                    "condition": PROJECTION,
                    "region": region,
                    "metric": metric,
                    **_limits(values, centre, n_bootstrap, seed),
                }
            )
    truths = {"regions": _region_truth(words, families, concepts)}
    if "preferred" in words:
        told_by = by_unit["preferred"]
        truths[LOCALISER] = dict(told_by[told_by.isin(list(concepts))])
    for truth, of_unit in truths.items():
        if not of_unit:
            continue
        for condition, own in told.groupby("condition", sort=False):
            named = naming_scores(
                own[["unit", "caption"]],
                of_unit,
                {name: list(nouns) for name, nouns in concepts.items()},
                n_permutations=max(n_permutations, 1),
                seed=seed,
            )
            rows += [
                {
                    "condition": condition,
                    "region": row["concept"],
                    "metric": "naming_rate",
                    "value": row["rate"],
                    "ci_low": row["low"],
                    "ci_high": row["high"],
                    "n": row["n_units"],
                    "truth": truth,
                    **{k: row[k] for k in CAPTION_COLUMNS[:4]},
                }
                for row in named.to_dict("records")
            ]
    table = pd.DataFrame(rows).reindex(columns=[*SCORE_COLUMNS, *CAPTION_COLUMNS])
    units = {name: unit for name, (_, _, unit) in _SUMMARIES.items()}
    return table.assign(
        model=table["condition"],
        unit=table["metric"].map(units | {"naming_rate": "share"}),
        truth=table["truth"].astype(object).where(table["truth"].notna(), ""),
    )


def _limits(
    values: NDArray[np.float64], centre: Callable[..., Any], n_bootstrap: int, seed: int
) -> dict[str, Any]:
    if not len(values):
        return {"value": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n": 0}
    rng = generator(seed, "caption scores")
    drawn = [
        centre(values[rng.integers(0, len(values), len(values))])
        for _ in range(n_bootstrap)
    ]
    low, high = percentile_interval(np.array(drawn))
    return {
        "value": float(centre(values)),
        "ci_low": float(low),
        "ci_high": float(high),
        "n": len(values),
    }


def _region_truth(
    words: pd.DataFrame,
    families: Sequence[str],
    concepts: Mapping[str, Sequence[str]],
) -> dict[Any, str]:
    """Return what units should prefer, by their regions; none for units of several."""
    found: dict[Any, set[str]] = {}
    for family in families:
        labels = words[family].astype(object).where(words[family].notna(), "")
        for unit, label in zip(words["unit"], labels, strict=True):
            # A region may be called by what it prefers.
            concept = REGION_CONCEPTS.get(family, str(label))
            if label != "" and concept in concepts:
                found.setdefault(unit, set()).add(concept)
    return {unit: next(iter(own)) for unit, own in found.items() if len(own) == 1}


def write_caption_maps(
    folder: Path, model: ClipEncoder, words: pd.DataFrame
) -> list[Path]:
    """Write maps of what captions say, where units have a place in the brain.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    model : ClipEncoder
        Whose units.
    words : DataFrame
        Table of units of `unit_words`.

    Returns
    -------
    list of Path
        Files below ``maps``: none without places.
    """
    space = read_space(model.training.get("space"))
    if space is None:
        return []
    own = [str(name) for name in words]
    names = [*MAPPED, *(name for name in own if name.startswith("names_"))]
    values: dict[str, NDArray[np.float64]] = {}
    for name in names:
        column = np.full(model.n_units, np.nan)
        column[words["unit"].to_numpy()] = words[name].to_numpy(np.float64)
        values[name] = column
    return write_unit_maps(folder / "maps", values, model.units, space)
