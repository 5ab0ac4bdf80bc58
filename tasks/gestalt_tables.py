"""Scores and directions of the Gestalt battery, from its trials."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.gestalt import (
    attraction_from_evidence,
    fit_attraction,
    threshold_of_curve,
)
from analysis.stats import percentile_interval, wilson_interval
from neurovis.core.checks import check_columns
from neurovis.core.files import read_table
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS
from tasks.directions import direction_row, directions_table
from tasks.gestalt_directions import DIRECTIONS

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray, FloatArray], FloatArray]

PEOPLE_COLUMNS = ("subject", "test", "condition", "level", "correct")
"""Of a table of people's trials; `correct` is 0 or 1 as in `TRIAL_COLUMNS`."""

OWN_COLUMNS = ("test", "kind", "untrained", "level", "chance", "p_value")
"""Of scores, beside `SCORE_COLUMNS`."""


def gestalt_tables(
    trials: pd.DataFrame, *, stimuli: Mapping[str, str], n_bootstrap: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute scores and directions of all models.

    Parameters
    ----------
    trials : DataFrame
        With `tasks.gestalt_reading.TRIAL_COLUMNS`.
    stimuli : mapping of str to str
        Name of the stimuli of each test.
    n_bootstrap : int
        Resamples of displays, within levels.
    seed : int
        Of the resamples.

    Returns
    -------
    scores : DataFrame
        `SCORE_COLUMNS` and `OWN_COLUMNS`.
    directions : DataFrame
        `tasks.directions.COLUMNS`.
    """
    scores: list[dict[str, Any]] = []
    directions: list[dict[str, Any]] = []
    for (model, layer, test), part in trials.groupby(
        ["model", "layer", "test"], sort=False
    ):
        first = part.iloc[0]
        known = {
            "model": model,
            "subject": model,
            "layer": layer,
            "test": test,
            "stimuli": stimuli[str(test)],
            "kind": first["kind"],
            "untrained": bool(first["untrained"]),
        }
        rng = generator(seed, "gestalt", str(model), str(layer), str(test))
        rows, found = _SUMMARIES[str(test)](part, n_bootstrap, rng)
        scores += [{**known, **row} for row in rows]
        directions += [
            direction_row(
                DIRECTIONS[name],
                model=str(model),
                layer=str(layer),
                untrained=bool(first["untrained"]),
                value=row["value"],
                interval=(row["ci_low"], row["ci_high"]),
                n=row["n"],
            )
            for name, row in found.items()
        ]
    return score_frame(scores, seed), directions_table(directions)


def score_frame(rows: list[dict[str, Any]], seed: int) -> pd.DataFrame:
    """Put rows into a table of scores.

    Parameters
    ----------
    rows : list of dict
        Some of the columns.
    seed : int
        Of the run.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS` and `OWN_COLUMNS`.
    """
    table = pd.DataFrame(rows).reindex(columns=[*SCORE_COLUMNS, *OWN_COLUMNS])
    for name in ("region", "unit", "ceiling_kind"):
        text = table[name].astype(object)
        table[name] = text.where(text.notna(), "")
    return table.assign(task="gestalt", seed=seed)


def people_scores(people: pd.DataFrame) -> list[dict[str, Any]]:
    """Compute the shares of people's trials, by test, condition and level.

    Parameters
    ----------
    people : DataFrame
        With `PEOPLE_COLUMNS`.

    Returns
    -------
    list of dict
        Rows for `score_frame`: all people pooled, Wilson's limits over trials.
    """
    rows = []
    keys = ["test", "condition", "level"]
    for (test, condition, level), part in people.groupby(keys, dropna=False):
        row = _share(part["correct"].to_numpy(float), f"{condition}")
        rows.append(
            {
                **row,
                "model": HUMAN_MODEL,
                "subject": HUMAN_MODEL,
                "layer": "",
                "test": test,
                "stimuli": "people",
                "kind": "people",
                "untrained": False,
                "level": level,
            }
        )
    return rows


def read_people(people: Any) -> pd.DataFrame:
    """Read people's trials.

    Parameters
    ----------
    people : str, Path or DataFrame
        ``.csv`` or ``.parquet`` with `PEOPLE_COLUMNS`, or such a table.

    Returns
    -------
    DataFrame
        With `PEOPLE_COLUMNS`.

    Raises
    ------
    ValueError
        If a column is missing, a test is unknown, or `correct` is not 0 or 1.
    FileNotFoundError, DataCorruptError
        If the file is missing or damaged.
    """
    table = people if isinstance(people, pd.DataFrame) else read_table(people)
    check_columns("people", table.columns, PEOPLE_COLUMNS)
    unknown = set(table["test"]) - set(_SUMMARIES)
    if unknown:
        raise ValueError(
            f"`people` has the test {sorted(map(str, unknown))[0]!r}; known are "
            f"{', '.join(_SUMMARIES)}."
        )
    answers = pd.to_numeric(table["correct"], errors="coerce")
    if not answers.isin((0, 1)).all():
        raise ValueError("`people` must have 0 or 1 in the column `correct`.")
    return table[list(PEOPLE_COLUMNS)].assign(correct=answers.astype(float))


# ------------------------------------------------------------------- statistics


def _draws(
    level: FloatArray, n_bootstrap: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return rows of resamples, drawn within levels."""
    index = np.empty((n_bootstrap, len(level)), np.int64)
    keys = np.where(np.isnan(level), -1.0, level)
    for one in np.unique(keys):
        own = np.flatnonzero(keys == one)
        index[:, own] = own[rng.integers(0, len(own), (n_bootstrap, len(own)))]
    return index


def _row(
    metric: str,
    condition: str,
    values: FloatArray,
    levels: FloatArray,
    statistic: Statistic,
    n_bootstrap: int,
    rng: np.random.Generator,
    **more: Any,
) -> dict[str, Any]:
    """Return a score with its interval; undefined rows are left out."""
    usable = np.isfinite(values)
    x, y = levels[usable], values[usable]
    row: dict[str, Any] = {"metric": metric, "condition": condition, "n": len(y)}
    row |= {"value": np.nan, "ci_low": np.nan, "ci_high": np.nan, **more}
    if len(y) == 0:
        return row
    row["value"] = float(statistic(x[None], y[None])[0])
    if len(y) > 1:
        index = _draws(x, n_bootstrap, rng)
        low, high = percentile_interval(statistic(x[index], y[index]))
        row |= {"ci_low": float(low), "ci_high": float(high)}
    return row


def _mean(_: FloatArray, y: FloatArray) -> FloatArray:
    return np.asarray(y.mean(axis=1))


def _slope(x: FloatArray, y: FloatArray) -> FloatArray:
    dx = x - x.mean(axis=1, keepdims=True)
    size = (dx**2).sum(axis=1)
    return np.asarray((dx * y).sum(axis=1) / np.where(size > 0, size, np.nan))


def _share(correct: FloatArray, condition: str, **more: Any) -> dict[str, Any]:
    usable = correct[np.isfinite(correct)]
    low, high = wilson_interval(usable.sum(), len(usable))
    return {
        "metric": "accuracy",
        "condition": condition,
        "value": float(usable.mean()) if len(usable) else np.nan,
        "ci_low": float(low),
        "ci_high": float(high),
        "n": len(usable),
        **more,
    }


def _shares(part: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    """Return shares of all trials of a condition, and by level."""
    rows = []
    for condition, own in part.groupby("condition", sort=False):
        chance = float(own["chance"].mean())
        rows.append(
            _share(own["correct"].to_numpy(float), str(condition), chance=chance)
        )
        for level, some in own.groupby("level"):
            row = _share(some["correct"].to_numpy(float), str(condition), level=level)
            rows.append({**row, "chance": float(some["chance"].mean())})
    return [{**row, "metric": metric} for row in rows]


def _above_chance(part: pd.DataFrame) -> FloatArray:
    """Return right answers minus chance; no choice is as good as chance."""
    right = part["correct"].to_numpy(float)
    chance = part["chance"].to_numpy(float)
    return np.where((part["response"] == "").to_numpy(), 0.0, right - chance)


def _over_chance(above: FloatArray) -> dict[str, Any]:
    """Return a share minus its chance of 0.5, with Wilson's limits.

    A bootstrap has no width where all trials agree.
    """
    usable = above[np.isfinite(above)]
    n = len(usable)
    low, high = wilson_interval((usable + 0.5).sum(), n)
    value = float(usable.mean()) if n else np.nan
    limits = {"ci_low": float(low) - 0.5, "ci_high": float(high) - 0.5}
    return {"value": value, **limits, "n": n}


# ------------------------------------------------------------------------ tests

Summary = tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]


def _columns(part: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    return part["level"].to_numpy(float), part["value"].to_numpy(float)


def _illusory(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    rows, found = [], {}
    for condition, own in part.groupby("condition", sort=False):
        level, value = _columns(own)
        text = str(condition)
        whole = _row("ic_index", text, value, level, _mean, n, rng, chance=0.0)
        slope = _row("ic_index_slope", text, value, level, _slope, n, rng, chance=0.0)
        rows += [whole, slope]
        for one, some in own.groupby("level"):
            x, y = _columns(some)
            rows.append(
                _row("ic_index", text, y, x, _mean, n, rng, level=one, chance=0.0)
            )
        if condition == "tokens":
            found = {"index": whole, "index_slope": slope}
    return rows, found


def _fill_in(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    level, value = _columns(part)
    whole = _row("fill_in_index", "surface", value, level, _mean, n, rng, chance=0.0)
    rows = [whole]
    for one, some in part.groupby("level"):
        x, y = _columns(some)
        more = {"level": one, "chance": 0.0, "p_value": float(some["p_value"].iloc[0])}
        rows.append(_row("fill_in_index", "surface", y, x, _mean, n, rng, **more))
    return rows, {"fill_in": whole}


def _fat_thin(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    rows = _shares(part, "accuracy")
    for condition, own in part.groupby("condition", sort=False):
        rows.append(_threshold(own, str(condition), n, rng))
    conditions = list(dict.fromkeys(part["condition"]))
    most, least = conditions[-2], conditions[0]
    found = {
        "support": _difference(part, most, least, n, rng),
        "local": _difference(part, "illusory 0.5", "local 0.5", n, rng),
    }
    return rows, found


def _threshold(
    own: pd.DataFrame, condition: str, n: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the tilt of 75 % right answers; draws are binomial at each tilt."""
    groups = own.groupby("level")["correct"]
    share, count = groups.mean().to_numpy(float), groups.size().to_numpy(float)
    levels = np.array(sorted(own["level"].unique()), np.float64)
    value = threshold_of_curve(levels, share, count)
    draws = rng.binomial(count.astype(int), share, (n, len(share))) / count
    low, high = percentile_interval(
        [threshold_of_curve(levels, one, count) for one in draws]
    )
    return {
        "metric": "threshold_deg",
        "condition": condition,
        "value": value,
        "ci_low": float(low),
        "ci_high": float(high),
        "n": len(own),
        "unit": "deg",
    }


def _difference(
    part: pd.DataFrame,
    first: str,
    second: str,
    n: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return how much better one condition is than another."""
    two = [_above_chance(part[part["condition"] == one]) for one in (first, second)]
    draws = [
        values[rng.integers(0, len(values), (n, len(values)))].mean(axis=1)
        for values in two
    ]
    low, high = percentile_interval(draws[0] - draws[1])
    return {
        "value": float(two[0].mean() - two[1].mean()),
        "ci_low": float(low),
        "ci_high": float(high),
        "n": len(two[0]) + len(two[1]),
    }


def _proximity(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    rows = _shares(part, "chose_nearer")
    level, value = _columns(part)

    def slopes(x: FloatArray, y: FloatArray) -> FloatArray:
        return np.array(
            [attraction_from_evidence(*one).s for one in zip(x, y, strict=True)]
        )

    main = _row("attraction_s", "dots", value, level, slopes, n, rng, chance=0.0)
    chosen = part["correct"].notna().to_numpy()
    hard = fit_attraction(level[chosen], value[chosen] > 0) if chosen.any() else None
    rows += [
        main,
        {
            "metric": "attraction_s_of_choices",
            "condition": "dots",
            "value": np.nan if hard is None else hard.s,
            "n": int(chosen.sum()),
            "chance": 0.0,
        },
    ]
    return rows, {"attraction": main}


def _similarity(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    rows = _shares(part, "chose_nearer")
    names = list(dict.fromkeys(part["condition"]))
    plain = part[part["condition"] == names[0]]
    shifts = []
    for name in names[1:]:
        own = part[part["condition"] == name]
        shift = own["value"].to_numpy(float) - plain["value"].to_numpy(float)
        level = own["level"].to_numpy(float)
        shifts.append((level, shift))
        rows.append(
            _row("similarity_shift", name, shift, level, _mean, n, rng, chance=0.0)
        )
    level, shift = (np.concatenate(parts) for parts in zip(*shifts, strict=True))
    whole = _row("similarity_shift", "all", shift, level, _mean, n, rng, chance=0.0)
    return [*rows, whole], {"similarity": whole}


def _closure(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    rows = _shares(part, "accuracy")
    slopes, draws = {}, {}
    for condition, own in part.groupby("condition", sort=False):
        x, y = own["level"].to_numpy(float), own["rt_or_cost"].to_numpy(float)
        usable = np.isfinite(y)
        x, y = x[usable], y[usable]
        slope = _row("cost_per_item", str(condition), y, x, _slope, n, rng)
        rows.append(slope)
        slopes[condition] = slope
        index = _draws(x, n, rng)
        draws[condition] = _slope(x[index], y[index]) if len(y) else np.full(n, np.nan)
    low, high = percentile_interval(draws["open"] - draws["closed"])
    difference = {
        "metric": "cost_per_item",
        "condition": "open minus closed",
        "value": slopes["open"]["value"] - slopes["closed"]["value"],
        "ci_low": float(low),
        "ci_high": float(high),
        "n": len(part),
    }
    return [*rows, difference], {"closure": difference}


def _contours(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    rows = _shares(part, "accuracy")
    own = part[part["condition"] == "open"]
    level = own["level"].to_numpy(float)
    above = _above_chance(own)
    easy = level <= 30
    found = {
        "contour": _over_chance(above[easy]),
        "contour_slope": _row("", "", above, level, _slope, n, rng),
    }
    slope = {**found["contour_slope"], "metric": "accuracy_slope", "condition": "open"}
    return [*rows, slope], found


def _convexity(part: pd.DataFrame, n: int, rng: np.random.Generator) -> Summary:
    rows = _shares(part, "chose_convex")
    own = part[part["condition"] == "homogeneous"]
    level = own["level"].to_numpy(float)
    above = own["correct"].to_numpy(float) - 0.5
    found = {
        "convex": _over_chance(above),
        "convex_slope": _row("", "", above, level, _slope, n, rng),
    }
    slope = {**found["convex_slope"], "metric": "convex_slope"}
    return [*rows, {**slope, "condition": "homogeneous"}], found


def _lower(part: pd.DataFrame, *_: Any) -> Summary:
    rows = _shares(part, "chose_lower")
    above = part["correct"].to_numpy(float) - 0.5
    return rows, {"lower": _over_chance(above)}


def _border(part: pd.DataFrame, *_: Any) -> Summary:
    rows = _shares(part, "accuracy")
    return rows, {"border": _over_chance(_above_chance(part))}


_SUMMARIES: Mapping[
    str, Callable[[pd.DataFrame, int, np.random.Generator], Summary]
] = {
    "illusory-contours": _illusory,
    "fill-in": _fill_in,
    "fat-thin": _fat_thin,
    "proximity": _proximity,
    "similarity": _similarity,
    "closure": _closure,
    "contours": _contours,
    "convexity": _convexity,
    "lower-region": _lower,
    "border-ownership": _border,
}
