"""What can be concluded about diets: judged differences, told in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plot_style import number_text
from neurovis.core.checks import check_columns
from neurovis.core.types import Score
from tasks.diet_measures import DEFINED_INDEX, MEAN_INDEX
from tasks.report_parts import p_text, value_text

FloatArray = NDArray[np.float64]

NATURAL, UNTRAINED = "natural", "untrained"
DIFFERENCES = (f"{MEAN_INDEX}_difference", f"{DEFINED_INDEX}_difference")
"""Metrics of the rows that compare two diets."""

ALPHA = 0.05
FEW_NETWORKS = 5
"""With fewer networks per diet it is said that intervals are wide."""


def verdict_of(row: Mapping[Any, Any]) -> str:
    """Judge a difference between two diets.

    Parameters
    ----------
    row : mapping
        `value`, `ci_low`, `ci_high`, `p_holm` and `published` (NaN if nobody
        published one).

    Returns
    -------
    str
        "undecided" unless the interval leaves out 0 and `p_holm` is at most 0.05;
        then "as published", "the other way" or, with nothing published, "differs".

    Examples
    --------
    >>> row = {"value": 0.5, "ci_low": 0.1, "ci_high": 0.9, "p_holm": 0.01}
    >>> verdict_of({**row, "published": 0.9}), verdict_of({**row, "published": -0.9})
    ('as published', 'the other way')
    """
    low, high, p = (float(row[name]) for name in ("ci_low", "ci_high", "p_holm"))
    if not ((low > 0 or high < 0) and p <= ALPHA):
        return "undecided"
    known = float(row["published"])
    if np.isnan(known) or known == 0:
        return "differs"
    return "as published" if known * float(row["value"]) > 0 else "the other way"


def conclusions(score: Score) -> list[str]:
    """Tell what the intervals allow to say, and no more.

    Parameters
    ----------
    score : Score
        What `tasks.diet.run_diet` returns.

    Returns
    -------
    list of str
        One sentence or two per diet, per difference from the natural diet, and per
        difference from no training; how fast targets were found; then what limits all
        of them.

    Raises
    ------
    ValueError
        If the table is not one of diets.
    """
    table = score.table
    columns = ["level", "published", "p_holm", "verdict", "seed_low", "freedom"]
    check_columns("table of scores", table.columns, columns)
    main = table[table["metric"] == MEAN_INDEX]
    diets = main[main["level"] == "diet"].to_dict("records")
    found = [_about_diet(row) for row in diets]
    rows = table[table["level"] == "difference"]
    judged = rows[rows["metric"] == DIFFERENCES[0]].to_dict("records")
    other = rows[rows["metric"] == DIFFERENCES[1]].set_index("model")["verdict"]
    found += [
        _about_difference(row, str(other.get(row["model"], ""))) for row in judged
    ]
    if diets:
        found += [_about_fixations(table), _about_doubt(diets)]
    return found


def _about_diet(row: Mapping[Any, Any]) -> str:
    value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    n = int(row["n_networks"])
    text = f"{row['model']}: mean asymmetry index {value_text(row, 2)}"
    text += " in one network" if n == 1 else f" over {n} networks ({_range(row)})"
    people = float(row["human_value"])
    if np.isnan(value) or np.isnan(low):
        return f"{text}; people {number_text(people, 2)}. No interval, no conclusion."
    if low > 0:
        sign = "Above 0: on average asymmetric in the sense of people."
    elif high < 0:
        sign = "Below 0: on average asymmetric in the opposite sense."
    else:
        sign = "Not distinguishable from no asymmetry."
    inside = "within" if low <= people <= high else "outside"
    return f"{text}; people {number_text(people, 2)}, {inside} the interval. {sign}"


def _range(row: Mapping[Any, Any]) -> str:
    low, high = (number_text(float(row[k]), 2) for k in ("seed_low", "seed_high"))
    return f"{low} to {high}"


def _about_difference(row: Mapping[Any, Any], other: str) -> str:
    first, second = str(row["model"]).split(" - ")
    value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    n = int(row["n"])
    size = f"difference {value_text(row, 2)}"
    if np.isnan(low):
        return f"{first} and {second}: {size}, no interval: undecided."
    p = p_text(float(row["p_holm"]))
    size += f", p {p if p.startswith('<') else '= ' + p}"
    size += f" after correction for {n} comparisons" if n > 1 else ""
    if row["verdict"] != "undecided":
        word = "larger" if value > 0 else "smaller"
        text = f"{first} has a {word} index than {second}: {size}"
    elif low > 0 or high < 0:
        text = f"{first} and {second}: {size}: the interval leaves out 0, but "
        text += "that does not outlast the correction"
    else:
        text = f"{first} is not distinguishable from {second}: {size}"
    text += _beside(row)
    if other and other != row["verdict"]:
        text += f" With undefined indices left out: {other}."
    return text


def _beside(row: Mapping[Any, Any]) -> str:
    """Return the published direction, and what this run says to it."""
    _, found, places = str(row["note"]).partition("published with Places365: ")
    more = f" ({places.replace('-', '−')} with Places365)" if found else ""
    if "differ in classes" in str(row["note"]):
        more = " (of networks that differ in their number of classes too)"
    published = float(row["published"])
    if np.isnan(published):
        if UNTRAINED in str(row["model"]):
            return "."
        return f"; not published: {row['verdict']}."
    sign = "+" if published > 0 else ""
    return f"; published {sign}{number_text(published, 2)}{more}: {row['verdict']}."


def _about_fixations(table: pd.DataFrame) -> str:
    """Tell how well observers search at all; slopes of guesses mean little."""
    is_all = table["condition"] == "all"
    rows = table[is_all & (table["metric"] == "mean_fixations")]
    told = [
        f"{row['model']} {number_text(float(row['value']), 1)}"
        for level in ("diet", "baseline")
        for row in rows[rows["level"] == level].to_dict("records")
    ]
    return f"Fixations per search (fewer: better): {', '.join(told)}."


def _about_doubt(rows: Sequence[Mapping[Any, Any]]) -> str:
    n = int(rows[0]["n_networks"])
    if n == 1:
        return (
            "One network per diet: intervals are over trials, and say nothing about "
            "networks that start from other weights."
        )
    freedom = [float(row["freedom"]) for row in rows if float(row["freedom"]) > 0]
    if not freedom:
        return "One trial per condition and set size: nothing has an interval."
    low, high = (number_text(end(freedom), 1) for end in (min, max))
    text = (
        f"Intervals are over {n} networks per diet and over trials, by the t "
        "distribution; degrees of freedom of the mean index, by Satterthwaite: "
        f"{low if low == high else f'{low} to {high}'}."
    )
    if n < FEW_NETWORKS:
        text += " They are wide: with so few networks only large differences can show."
    return text
