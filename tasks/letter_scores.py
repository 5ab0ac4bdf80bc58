"""Scores of letter identification, and what they say beside what people do."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.letter_measures import accuracy_draws, critical_spacing, navon_effects
from analysis.stats import percentile_interval
from neurovis.core.types import SCORE_COLUMNS
from tasks.directions import Direction, direction_row, directions_table
from tasks.letter_sets import NAVON_LETTERS, SINGLE

FloatArray = NDArray[np.float64]
Draws = Mapping[tuple[str, str], FloatArray]

OWN_COLUMNS = (
    *("test", "arrangement", "spacing_deg", "asked", "kind", "untrained", "chosen"),
    "side",
)
"""Beside `SCORE_COLUMNS`."""

CHANCE = {"crowding": 0.1, "navon": 1 / len(NAVON_LETTERS)}
CHANCE_MODEL = "chance"

_BOUMA = "Bouma 1970, doi:10.1038/226177a0 (recalled)"
_PELLI = "Pelli, Palomares and Majaj 2004, doi:10.1167/4.12.12 (recalled)"
_NAVON = "Navon 1977, doi:10.1016/0010-0285(77)90012-3 (recalled)"
_DIRECTIONS = {
    "flanked": Direction(
        "single letters above letters with near radial flankers",
        "flankers within about half the eccentricity hurt",
        _BOUMA,
    ),
    "spacing": Direction(
        "far radial flankers above near ones",
        "identification recovers with spacing",
        _BOUMA,
    ),
    "radial": Direction(
        "tangential flankers above radial ones",
        "critical spacing is about twice as large along the radius",
        _PELLI,
    ),
    "outer": Direction(
        "inner flanker above outer one",
        "an outer flanker hurts more than an inner one",
        _PELLI,
    ),
    "precedence": Direction(
        "large letter above small ones",
        "the large letter is named 50 to 100 ms faster",
        _NAVON,
    ),
    "interference_local": Direction(
        "small letters worse within another large one",
        "slowed by about 50 ms",
        _NAVON,
    ),
    "asymmetry": Direction(
        "more interference with small letters than with the large one",
        "hardly any interference with the large letter",
        _NAVON,
    ),
}


def letter_scores(
    trials: pd.DataFrame, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Score the answers of all models.

    Parameters
    ----------
    trials : DataFrame
        ``trials.parquet`` of a run: one row per answer.
    n_bootstrap : int, default 1000
        Resamples of pictures for intervals.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS` and `OWN_COLUMNS`, rows for every layer of every model and for
        "chance". Metrics: "accuracy" (condition "single", or arrangement and spacing;
        in Navon figures condition and level asked for); "critical_spacing_deg" and
        "critical_spacing_over_eccentricity" by arrangement (NaN with `side` "below"
        or "above" where it lies outside the tested spacings); "precedence",
        "interference_global", "interference_local" and "asymmetry". Intervals are
        those of other pictures.
    """
    rows: list[dict[str, Any]] = []
    keys = ["model", "layer", "test"]
    for (model, layer, test), part in trials.groupby(keys, sort=False):
        first = part.iloc[0]
        shared = {
            "model": model,
            "layer": layer,
            "test": test,
            "kind": first["kind"],
            "untrained": bool(first["untrained"]),
            "chosen": bool(first["chosen"]),
        }
        draws = accuracy_draws(part, n_bootstrap=n_bootstrap, seed=seed)
        scored = _accuracy_rows(part, draws)
        scored += _spacing_rows(part, draws) if test == "crowding" else []
        scored += _effect_rows(part, draws) if test == "navon" else []
        rows += [{**shared, **row} for row in scored]
    rows += [
        {
            "model": CHANCE_MODEL,
            "test": test,
            "kind": "baseline",
            "untrained": False,
            "chosen": True,
            "metric": "accuracy",
            "value": CHANCE[test],
            "n": 0,
        }
        for test in trials["test"].unique()
    ]
    table = pd.DataFrame(rows).assign(
        task="letter-identification", stimuli="letters", seed=seed
    )
    table["subject"] = table["model"]
    table["unit"] = table["metric"].map({"critical_spacing_deg": "deg"}).fillna("")
    return table.reindex(columns=[*SCORE_COLUMNS, *OWN_COLUMNS])


def letter_directions(
    trials: pd.DataFrame, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Hold the answers of all models against what people do.

    Parameters
    ----------
    trials : DataFrame
        ``trials.parquet`` of a run.
    n_bootstrap : int, default 1000
        Resamples of pictures for intervals.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DataFrame
        As `tasks.directions.directions_table`: one row per claim and model, with the
        layer that was chosen on training pictures. Numbers are differences of
        accuracies.
    """
    rows = []
    chosen = trials[trials["chosen"]]
    for (model, test), part in chosen.groupby(["model", "test"], sort=False):
        draws = accuracy_draws(part, n_bootstrap=n_bootstrap, seed=seed)
        found = (
            _crowding_effects(part, draws)
            if test == "crowding"
            else navon_effects(draws)
        )
        for name, values in found.items():
            if name not in _DIRECTIONS:
                continue
            low, high = percentile_interval(values[1:])
            rows.append(
                direction_row(
                    _DIRECTIONS[name],
                    model=str(model),
                    layer=str(part["layer"].iloc[0]),
                    value=float(values[0]),
                    interval=(float(low), float(high)),
                    untrained=bool(part["untrained"].iloc[0]),
                    n=part["stimulus_id"].nunique(),
                )
            )
    return directions_table(rows)


def _accuracy_rows(part: pd.DataFrame, draws: Draws) -> list[dict[str, Any]]:
    cells = {
        (str(condition), str(asked)): own
        for (condition, asked), own in part.groupby(["condition", "asked"], sort=False)
    }
    rows = []
    for (condition, asked), values in draws.items():
        own = cells[condition, asked]
        crowded = own["test"].iloc[0] == "crowding" and condition != SINGLE
        rows.append(
            {
                "metric": "accuracy",
                "condition": condition if not asked else f"{condition}, {asked}",
                "asked": asked,
                "arrangement": own["arrangement"].iloc[0] if crowded else None,
                "spacing_deg": own["spacing_deg"].iloc[0] if crowded else np.nan,
                "n": len(own),
                **_interval(values),
            }
        )
    return rows


def _curves(part: pd.DataFrame) -> dict[str, list[tuple[float, str]]]:
    """Return spacings and conditions of each arrangement, near ones first."""
    flanked = part[part["condition"] != SINGLE]
    cells = flanked.drop_duplicates("condition")
    return {
        str(arrangement): sorted(
            zip(own["spacing_deg"].astype(float), own["condition"], strict=True)
        )
        for arrangement, own in cells.groupby("arrangement", sort=False)
    }


def _spacing_rows(part: pd.DataFrame, draws: Draws) -> list[dict[str, Any]]:
    eccentricity = float(part["eccentricity_deg"].iloc[0])
    single = draws[SINGLE, ""]
    rows = []
    for arrangement, cells in _curves(part).items():
        spacings = [spacing for spacing, _ in cells]
        curve = np.array([draws[condition, ""] for _, condition in cells])
        found = [
            critical_spacing(
                spacings,
                curve[:, i],
                chance=CHANCE["crowding"],
                asymptote=float(single[i]),
            )
            for i in range(curve.shape[1])
        ]
        values = np.array([one.spacing for one in found])
        shared = {
            "condition": arrangement,
            "arrangement": arrangement,
            "asked": "",
            "side": found[0].side,
            "n": int((part["arrangement"] == arrangement).sum()),
        }
        rows += [
            {"metric": name, **shared, **_interval(values / unit)}
            for name, unit in (
                ("critical_spacing_deg", 1.0),
                (
                    "critical_spacing_over_eccentricity",
                    eccentricity if eccentricity > 0 else np.nan,
                ),
            )
        ]
    return rows


def _effect_rows(part: pd.DataFrame, draws: Draws) -> list[dict[str, Any]]:
    n = int(part["condition"].isin(["congruent", "incongruent"]).sum())
    return [
        {"metric": name, "condition": "", "n": n, **_interval(values)}
        for name, values in navon_effects(draws).items()
    ]


def _crowding_effects(part: pd.DataFrame, draws: Draws) -> dict[str, FloatArray]:
    """Return differences of accuracies, as far as the arrangements are there."""
    curves = _curves(part)
    accuracy = {
        name: np.array([draws[condition, ""] for _, condition in cells])
        for name, cells in curves.items()
    }
    found = {}
    if "radial" in accuracy:
        found["flanked"] = draws[SINGLE, ""] - accuracy["radial"][0]
        if len(accuracy["radial"]) > 1:
            found["spacing"] = accuracy["radial"][-1] - accuracy["radial"][0]
    for name, better, worse in (
        ("radial", "tangential", "radial"),
        ("outer", "inner", "outer"),
    ):
        if better in accuracy and worse in accuracy:
            found[name] = accuracy[better].mean(axis=0) - accuracy[worse].mean(axis=0)
    return found


def _interval(values: FloatArray) -> dict[str, float]:
    low, high = percentile_interval(values[1:])
    return {"value": float(values[0]), "ci_low": float(low), "ci_high": float(high)}
