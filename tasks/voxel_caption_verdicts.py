"""What can be concluded about captions of units, in plain sentences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plot_style import number_text
from neurovis.adapters.brainscuba import PROJECTION
from neurovis.core.checks import check_columns
from tasks.braindive_verdicts import compare_rows
from tasks.brainscuba_verdicts import MEAN_SHARE, RETRIEVAL, bank_use, listed
from tasks.report_parts import p_text, value_text
from tasks.voxel_caption_scores import ALL, LOCALISER

TRUTHS: Mapping[str, str] = {
    "regions": "the region that a unit lies in",
    LOCALISER: "what its encoder prefers among pictures of a localiser",
}
"""Who told what units prefer, in words."""

NAMING = "naming_rate"
_LEVEL = 0.05

Row = dict[str, Any]


def caption_conclusions(
    scores: pd.DataFrame, effective_numbers: NDArray[np.float64], *, n_bank: int
) -> list[str]:
    """Tell what the limits allow to say, and no more.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.voxel_caption_scores.caption_scores` returns.
    effective_numbers : ndarray of float64, shape (n_units,)
        Pictures that count, of each unit.
    n_bank : int
        Pictures that a projection is made of.

    Returns
    -------
    list of str
        Sentences about known preferences, people, repeats and the pictures that
        count; those that the tables have nothing for are left out.

    Raises
    ------
    ValueError
        If the table lacks columns.
    """
    needed = ["condition", "region", "metric", "value", "ci_low", "ci_high", "n"]
    needed += ["chance", "p_value", "truth"]
    check_columns("table of scores", scores.columns, needed)
    found = []
    for truth in TRUTHS:
        found += _about_naming(scores, truth)
    return [
        *found,
        *_about_people(scores),
        *_about_repeats(scores),
        *_about_bank(effective_numbers, n_bank),
    ]


def naming_rows(scores: pd.DataFrame, truth: str) -> pd.DataFrame:
    """Return how often known preferences are named.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.voxel_caption_scores.caption_scores` returns.
    truth : str
        Who told them: "regions" or "localiser".

    Returns
    -------
    DataFrame
        One row per condition and concept (`region`).
    """
    return scores[(scores["metric"] == NAMING) & (scores["truth"] == truth)]


def region_rows(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a summary of captions by region.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.voxel_caption_scores.caption_scores` returns.
    metric : str
        Which one.

    Returns
    -------
    DataFrame
        One row per region, "all" first.
    """
    return scores[scores["metric"] == metric]


def _records(table: pd.DataFrame) -> list[Row]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _about_naming(scores: pd.DataFrame, truth: str) -> list[str]:
    rows = _records(naming_rows(scores, truth))
    whole = {str(row["condition"]): row for row in rows if row["region"] == ALL}
    if PROJECTION not in whole:
        return []
    main = whole.pop(PROJECTION)
    text = f"Known preferences, told by {TRUTHS[truth]}: named in "
    text += f"{value_text(main, 2)} of the captions of a unit, mean of "
    text += f"{int(main['n'])} units; chance {number_text(float(main['chance']), 2)}, "
    text += f"p {_p(main)}."
    own = [row for row in rows if row["condition"] == PROJECTION]
    own = [row for row in own if row["region"] != ALL]
    at_chance = [str(row["region"]) for row in own if row["p_value"] > _LEVEL]
    if len(own) > 1 and at_chance:
        text += f" Not above chance (p > {_LEVEL:g}, uncorrected): {listed(at_chance)}."
    words = {1: "more often than", -1: "less often than"}
    told = []
    for name, row in whole.items():
        sign = compare_rows(main, row)
        relation = words.get(sign or 0, "not distinguishable from")
        told.append(f"{relation} {name} ({value_text(row, 2)})")
    if told:
        text += f" By limits that exclude each other: {'; '.join(told)}."
    return [text]


def _p(row: Row) -> str:
    text = p_text(float(row["p_value"]))
    return text if text.startswith("<") else f"= {text}"


def _about_people(scores: pd.DataFrame) -> list[str]:
    rows = [
        row
        for row in _records(region_rows(scores, "people_share_mean"))
        if not np.isnan(row["value"])
    ]
    whole = [row for row in rows if row["region"] == ALL]
    if not whole:
        return []
    text = f"People are named in {value_text(whole[0], 2)} of the captions of a unit"
    rest = [row for row in rows if row["region"] != ALL]
    if len(rest) > 1:
        most = max(rest, key=lambda row: row["value"])
        least = min(rest, key=lambda row: row["value"])
        text += f": most in {most['region']}, {value_text(most, 2)}, least in "
        text += f"{least['region']}, {value_text(least, 2)}"
    return [f"{text}."]


def _about_repeats(scores: pd.DataFrame) -> list[str]:
    return [
        "Two repeats, from different parts of the bank, name the same set of concepts "
        f"in {value_text(row, 2)} of pairs (mean over units)."
        for row in _records(region_rows(scores, "concept_agreement_mean"))
        if row["region"] == ALL and not np.isnan(row["value"])
    ]


def _about_bank(effective_numbers: NDArray[np.float64], n_bank: int) -> list[str]:
    known = effective_numbers[np.isfinite(effective_numbers)]
    if not len(known):
        return []
    uses = [bank_use(float(number), n_bank) for number in known]
    text = f"Pictures that count: {number_text(float(np.median(known)), 1)} of {n_bank}"
    text += " (median of units)."
    for use, warning in (
        (
            "retrieval",
            f"count {RETRIEVAL:g} pictures or fewer: their captions are those of the "
            "nearest picture (retrieval)",
        ),
        (
            "mean",
            f"count {number_text(100 * MEAN_SHARE, 0)} % of the bank or more: their "
            "captions are those of the mean picture, and tell little about them",
        ),
    ):
        share = uses.count(use) / len(uses)
        if share:
            text += f" Warning: {number_text(100 * share, 1)} % of units {warning}."
    return [text]
