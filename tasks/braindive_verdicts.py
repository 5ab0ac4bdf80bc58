"""What can be concluded about images that should drive regions, in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from neurovis.core.checks import check_columns
from tasks.braindive_experiment import ASCENT, PERMUTED, REAL_BEST, SUPPRESSED
from tasks.braindive_scores import BEST_QUARTER, GUIDED, UNGUIDED
from tasks.report_parts import value_text

SWEEP = "sweep"
"""How the names of conditions with another strength begin."""

ALL = "all"
"""Region of rows that are means over regions."""

_HELDOUT, _JUDGE = "heldout_activation", "judge_accuracy"
_LIMITS = ("ci_low", "ci_high")


def conclusions(scores: pd.DataFrame, labels: pd.DataFrame) -> list[str]:
    """Tell what the intervals allow to say, and no more.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.braindive_scores.braindive_scores` returns.
    labels : DataFrame
        What `tasks.braindive_scores.label_shares` returns.

    Returns
    -------
    list of str
        Sentences about guidance, its controls, its strength, and what the generator
        draws by itself; those about conditions that the tables lack are left out.

    Raises
    ------
    ValueError
        If a table lacks columns.
    """
    needed = ["model", "region", "metric", "value", "ci_low", "ci_high", "scale"]
    check_columns("table of scores", scores.columns, [*needed, "n", "excludes"])
    check_columns("labels", labels.columns, ["condition", "region", "label", "share"])
    return [
        *_about_guidance(scores),
        *_about_choice(scores),
        *_about_suppression(scores),
        *_about_permutation(scores),
        *_about_ascent(scores),
        *_about_strength(scores),
        *_about_prior(scores, labels),
    ]


def region_names(scores: pd.DataFrame) -> list[str]:
    """Return the regions of a table of scores, in order.

    Parameters
    ----------
    scores : DataFrame
        With `region`.

    Returns
    -------
    list of str
        Without the mean.
    """
    return [str(name) for name in scores["region"].unique() if name != ALL]


def strength_rows(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return what was measured at each strength of guidance.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.braindive_scores.braindive_scores` returns.
    metric : str
        Which measure.

    Returns
    -------
    DataFrame
        Rows of guided images with all strengths, weakest first.
    """
    model = scores["model"].astype(str)
    guided = (model == GUIDED) | model.str.startswith(SWEEP)
    own = scores[guided & (scores["metric"] == metric)]
    return own.sort_values("scale", kind="stable")


def score_row(
    scores: pd.DataFrame, model: str, metric: str, region: str = ALL
) -> dict[str, Any] | None:
    """Return one row of a table of scores.

    Parameters
    ----------
    scores : DataFrame
        What `tasks.braindive_scores.braindive_scores` returns.
    model, metric, region : str
        Condition, measure, and region.

    Returns
    -------
    dict or None
        None where there is none.
    """
    is_own = (scores["model"] == model) & (scores["metric"] == metric)
    rows = scores[is_own & (scores["region"] == region)].to_dict("records")
    return {str(key): value for key, value in rows[0].items()} if rows else None


def compare_rows(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> int | None:
    """Compare two values by their intervals.

    Parameters
    ----------
    first, second : mapping
        `ci_low` and `ci_high`.

    Returns
    -------
    int or None
        1 where the first is larger and the intervals exclude each other, -1 where it
        is smaller, 0 where they overlap, None where one is undefined.

    Examples
    --------
    >>> compare_rows({"ci_low": 2, "ci_high": 3}, {"ci_low": 0, "ci_high": 1})
    1
    """
    limits = [float(row[key]) for row in (first, second) for key in _LIMITS]
    if np.isnan(limits).any():
        return None
    return int(limits[0] > limits[3]) - int(limits[1] < limits[2])


def _about_guidance(scores: pd.DataFrame) -> list[str]:
    found, regions = [], region_names(scores)
    for metric, what in (
        (_HELDOUT, "Held-out brain: its predicted activation is larger"),
        (_JUDGE, "Judge: it sees the preferred category more often"),
    ):
        told: dict[int | None, list[str]] = {1: [], 0: [], -1: [], None: []}
        for region in regions:
            pair = _pair(scores, (GUIDED, UNGUIDED), metric, region)
            if pair is None:
                continue
            sign = compare_rows(*pair)
            values = f" ({value_text(pair[0], 2)} against {value_text(pair[1], 2)})"
            told[sign].append(region if sign == 1 else region + values)
        if not any(told.values()):
            continue
        text = f"{what} for guided than for unguided images, with intervals that "
        text += f"exclude each other, in {len(told[1])} of {len(regions)} regions"
        text += f" ({', '.join(told[1])})" if told[1] else ""
        for sign, word in ((0, "overlapping"), (-1, "smaller"), (None, "undefined")):
            text += f"; {word} in {', '.join(told[sign])}" if told[sign] else ""
        means = _pair(scores, (GUIDED, UNGUIDED), metric)
        if means is not None:
            text += f". Mean of regions: {value_text(means[0], 2)} against "
            text += value_text(means[1], 2)
        found.append(text + ".")
    return found


def _about_choice(scores: pd.DataFrame) -> list[str]:
    pair = _pair(scores, (BEST_QUARTER, GUIDED), _HELDOUT)
    if pair is None:
        return []
    words = {
        1: "is larger than that of all guided images",
        0: "is not distinguishable from that of all guided images",
        -1: "is smaller than that of all guided images",
    }
    return [
        "Held-out activation of the quarter that the guide prefers "
        f"{_or_undefined(words, compare_rows(*pair))}: {value_text(pair[0], 2)} "
        f"against {value_text(pair[1], 2)}."
    ]


def _about_suppression(scores: pd.DataFrame) -> list[str]:
    pair = _pair(scores, (SUPPRESSED, UNGUIDED), _HELDOUT)
    if pair is None:
        return []
    words = {
        -1: "lowers held-out activation",
        0: "does not change held-out activation so that it could be told",
        1: "raises held-out activation, which it should not",
    }
    return [
        f"Guidance with the sign turned {_or_undefined(words, compare_rows(*pair))}: "
        f"{value_text(pair[0], 2)} against {value_text(pair[1], 2)} of unguided images."
    ]


def _about_permutation(scores: pd.DataFrame) -> list[str]:
    row = score_row(scores, PERMUTED, _JUDGE)
    if row is None:
        return []
    regions = region_names(scores)
    chance = 1 / len(regions)
    low, high = float(row["ci_low"]), float(row["ci_high"])
    if np.isnan(low):
        verdict = "has no interval"
    elif low <= chance <= high:
        verdict = "includes chance"
    else:
        verdict = "does not include chance: this control fails"
    each = [score_row(scores, PERMUTED, _JUDGE, region) for region in regions]
    inside = sum(x is not None and x["ci_low"] <= chance <= x["ci_high"] for x in each)
    return [
        "Permuted regions: the judge sees the category in "
        f"{value_text(row, 2)} of the images; the interval {verdict} "
        f"({number_text(chance, 2)}). By region, {inside} of {len(regions)} intervals "
        "include it."
    ]


def _about_ascent(scores: pd.DataFrame) -> list[str]:
    pair = _pair(scores, (ASCENT, UNGUIDED), _HELDOUT)
    own = _pair(scores, (ASCENT, GUIDED), "guide_activation")
    if pair is None or own is None:
        return []
    words = {
        1: "it transfers: held-out activation is above that of unguided images",
        0: "it does not transfer: held-out activation is not distinguishable from that "
        "of unguided images",
        -1: "it does not transfer: held-out activation is below that of unguided "
        "images",
    }
    text = f"Pixel ascent reaches {value_text(own[0], 2)} by the guide itself (guided "
    text += f"images {value_text(own[1], 2)}"
    real = score_row(scores, REAL_BEST, "guide_activation")
    text += f", best real ones {value_text(real, 2)}" if real is not None else ""
    text += f"), and {_or_undefined(words, compare_rows(*pair))}, "
    text += f"{value_text(pair[0], 2)} against {value_text(pair[1], 2)}."
    seen = score_row(scores, ASCENT, _JUDGE)
    if seen is not None:
        text += f" The judge sees the category in {value_text(seen, 2)} of its images."
    return [text]


def _about_strength(scores: pd.DataFrame) -> list[str]:
    """Tell where held-out activation peaks, and what the guide says there."""
    tables = [strength_rows(scores, x) for x in (_HELDOUT, "guide_activation")]
    heldout, guide = (
        table[(table["region"] == ALL) & table["value"].notna()].to_dict("records")
        for table in tables
    )
    if len(heldout) < 3 or len(guide) < 3:
        return []
    top = int(np.argmax([row["value"] for row in heldout]))
    peak, first, last = heldout[top], heldout[0], heldout[-1]
    text = f"Strength: held-out activation is largest at scale {peak['scale']:g}, "
    text += f"{value_text(peak, 2)}"
    if top in (0, len(heldout) - 1):
        side = "smallest" if top == 0 else "largest"
        text += f", the {side} scale that was tried: no peak between scales is shown."
    else:
        text += f"; it is {value_text(first, 2)} at {first['scale']:g} and "
        text += f"{value_text(last, 2)} at {last['scale']:g}. "
        ends = {compare_rows(end, peak) for end in (first, last)}
        text += (
            "Both intervals lie below that of the peak: an inverted U."
            if ends == {-1}
            else "Not both intervals lie below that of the peak: an inverted U is not "
            "certain."
        )
    best = guide[int(np.argmax([row["value"] for row in guide]))]
    text += f" The guide's own prediction is largest at scale {best['scale']:g}, "
    text += value_text(best, 2)
    if best["scale"] > peak["scale"]:
        text += ": it keeps rising beyond the peak, and does not tell where to stop."
    elif best["scale"] == peak["scale"]:
        text += ": at the same scale."
    else:
        text += ": at a smaller scale."
    return [text]


def _about_prior(scores: pd.DataFrame, labels: pd.DataFrame) -> list[str]:
    own = labels[labels["condition"] == UNGUIDED]
    if own.empty:
        return []
    own = own[own["region"] == own["region"].iloc[0]]
    chance = 1 / len(own)
    row = score_row(scores, UNGUIDED, _JUDGE, str(own["region"].iloc[0]))
    n = "" if row is None else f" of {int(row['n'])} images"
    told = [
        f"{label} {number_text(float(share), 2)}"
        for label, share in zip(own["label"], own["share"], strict=True)
    ]
    rare = own.loc[own["share"] < chance / 2, "label"].tolist()
    text = f"Unguided, the judge sees {', '.join(told)}{n}. "
    if rare:
        text += f"Rarely drawn: {', '.join(rare)}. Guidance can hardly make what the "
        text += "generator seldom makes."
    else:
        text += "No category is rarer than half of an equal share."
    return [text]


def _pair(
    scores: pd.DataFrame, models: Sequence[str], metric: str, region: str = ALL
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    first, second = (score_row(scores, model, metric, region) for model in models)
    return None if first is None or second is None else (first, second)


def _or_undefined(words: Mapping[int, str], sign: int | None) -> str:
    return "cannot be judged" if sign is None else words[sign]
