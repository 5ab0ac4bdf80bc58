"""Scores of mental rotation: accuracy and cost by angle, slopes, intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import percentile_interval
from neurovis.core.checks import check_columns, check_whole
from neurovis.core.rng import generator
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS
from stimuli.block_sets import TRUTHS
from tasks.directions import Direction, direction_row, directions_table
from tasks.mental_rotation_trials import TASK, TRIAL_COLUMNS
from tasks.mental_rotation_voxels import MS_AT_0, MS_PER_DEG

FloatArray = NDArray[np.float64]

EXTRA_COLUMNS = ("readout", "rotation", "angle_deg", "kind", "untrained")
"""Beside `SCORE_COLUMNS`."""

ALL = "all"

UNITS = {
    "accuracy": "proportion",
    "accuracy_same": "proportion",
    "mean_cost": "cost",
    "cost_slope": "cost/deg",
    "cost_intercept": "cost",
    "cost_r2": "proportion",
    "cost_growth": "SD/180 deg",
    "slope_ms_per_deg": "ms/deg",
    "slope_ratio": "ratio",
    "different_minus_same": "cost",
    "different_minus_same_sd": "SD",
    "error_growth": "proportion/180 deg",
    "threshold": "evidence",
    "training_accuracy": "proportion",
}
"""Of each metric. A cost is in ms where it is a time."""

LINEAR_R2 = 0.9

_SHEPARD = "Shepard & Metzler (1971), doi:10.1126/science.171.3972.701"
_COOPER = "Cooper & Shepard (1973), doi:10.3758/BF03198104"
_GANIS = "Ganis & Kievit (2015), doi:10.5334/jopd.ai"

_GROWS = {
    "depth": Direction(
        "depth: cost of same pairs grows with angle",
        "about 1.0 s at 0 to 4.4 s at 180 degrees, 17 to 18 ms/degree (recalled)",
        _SHEPARD,
    ),
    "picture-plane": Direction(
        "picture plane: cost of same pairs grows with angle",
        "as steep as in depth; letters: 0.5 s upright to 1.0 s at 180 degrees, curved",
        f"{_SHEPARD}; {_COOPER}",
    ),
}
_LINEAR = {
    kind: Direction(
        f"{kind.replace('-', ' ')}: r² of the line above {LINEAR_R2}",
        "a straight line through the means of nine or ten angles",
        _SHEPARD,
    )
    for kind in _GROWS
}
_ERRORS = {
    kind: Direction(
        f"{kind.replace('-', ' ')}: errors in same pairs grow with angle",
        "error rates rise linearly with angle (turned about the vertical axis)",
        _GANIS,
    )
    for kind in _GROWS
}
_DIFFERENT = Direction(
    "different pairs cost more than same pairs",
    "mirror images about 3.8 s, same pairs 1 to 4.4 s (recalled)",
    f"{_SHEPARD}; {_GANIS}",
)


@dataclass(frozen=True, eq=False)
class _Cells:
    """Means of one observer, first of all units, then of every resample.

    `correct` and `cost` have the axes draw, rotation, angle, truth (same, different).
    """

    rotations: list[str]
    angles: FloatArray
    correct: FloatArray
    cost: FloatArray
    trials: NDArray[np.int64]
    overall: FloatArray
    spread: float
    timed: bool


def rotation_scores(
    trials: pd.DataFrame,
    fits: pd.DataFrame | None = None,
    *,
    stimuli: str = "",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score observers of block figures.

    Parameters
    ----------
    trials : DataFrame
        Answers to test pairs, with the columns of
        `tasks.mental_rotation_trials.TRIAL_COLUMNS`; several observers, told apart by
        `subject` (all people together are one).
    fits : DataFrame, optional
        What was fitted on training pairs: `subject`, `threshold`, `training_accuracy`.
    stimuli : str, optional
        Name of the pictures.
    n_bootstrap : int, default 1000
        Resamples for intervals: of objects, or of people where people answered.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    DataFrame
        The columns of `SCORE_COLUMNS` and `EXTRA_COLUMNS`, one row per observer,
        metric (`UNITS`), and condition: "all", a rotation, or rotation and angle.

    Raises
    ------
    ValueError
        If a column is missing or there is no trial.

    Notes
    -----
    Means of cost are over correct trials where the cost is a time (`rt_ms`), and over
    all trials otherwise: a similarity does not depend on the answer. Lines are fitted
    by least squares to the means of same pairs, one per angle. `slope_ms_per_deg` is
    the slope after the cost was mapped to times by the line ``a + b cost``, b >= 0,
    that fits the means of people best (those in `trials`, or else 1000 ms + 17.5 ms
    per degree, which are recalled); both rotations have the same map. It says how
    much of people's slope the cost can carry, not how fast a model is. "SD" is the
    standard deviation of the costs of an observer over its trials.
    """
    check_columns("trials", trials.columns, TRIAL_COLUMNS)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    if trials.empty:
        raise ValueError("`trials` is empty: there is nothing to score.")
    people = trials[trials["model"] == HUMAN_MODEL]
    reference = _cells(people, "subject", 0, seed) if len(people) else None
    rows: list[dict[str, Any]] = []
    names = trials["subject"].where(trials["model"] != HUMAN_MODEL, HUMAN_MODEL)
    for subject, part in trials.groupby(names, sort=False):
        human = part["model"].iloc[0] == HUMAN_MODEL
        cells = _cells(part, "subject" if human else "object", n_bootstrap, seed)
        first = part.iloc[0]
        shared = {
            **{name: first[name] for name in ("model", "layer", "readout", "kind")},
            "subject": "human mean" if human else subject,
            "untrained": bool(first["untrained"]),
        }
        rows += [{**shared, **row} for row in _rows(cells, reference)]
        own = None if fits is None else fits[fits["subject"] == subject]
        if own is not None and len(own):
            rows += [
                {**shared, "metric": name, "value": float(own[name].iloc[0])}
                for name in ("threshold", "training_accuracy")
            ]
    table = pd.DataFrame(rows)
    table = table.assign(
        stimuli=stimuli,
        task=TASK,
        region="",
        condition=table["condition"].fillna(ALL),
        rotation=table["rotation"].fillna(""),
        ceiling_low=1.0 * table["metric"].isin(["accuracy", "accuracy_same"]),
        seed=seed,
        unit=table["metric"].map(UNITS),
    )
    table["ceiling_low"] = table["ceiling_low"].where(table["ceiling_low"] > 0)
    table["ceiling_high"] = table["ceiling_low"]
    table["value_over_ceiling"] = table["value"] / table["ceiling_low"]
    kinds = pd.Series("ideal observer", table.index, dtype="str")
    table["ceiling_kind"] = kinds.where(table["ceiling_low"].notna())
    table["n"] = table["n"].fillna(0).astype(int)
    return table[[*SCORE_COLUMNS, *EXTRA_COLUMNS]]


def rotation_directions(scores: pd.DataFrame) -> pd.DataFrame:
    """Hold scores against what people do.

    Parameters
    ----------
    scores : DataFrame
        From `rotation_scores`.

    Returns
    -------
    DataFrame
        The columns of `tasks.directions.COLUMNS`, for observers that have a cost.
    """
    rows = []
    kinds = ("network", "control", "surrogate")
    for _, part in scores[scores["kind"].isin(kinds)].groupby("subject", sort=False):
        by = {(row["metric"], row["condition"]): row for row in part.to_dict("records")}
        for metric, claims in (
            ("cost_growth", _GROWS),
            ("cost_r2", _LINEAR),
            ("error_growth", _ERRORS),
            ("different_minus_same_sd", {ALL: _DIFFERENT}),
        ):
            for condition, direction in claims.items():
                row = by.get((metric, condition))
                if row is None:
                    continue
                less = LINEAR_R2 if metric == "cost_r2" else 0.0
                rows.append(
                    direction_row(
                        direction,
                        model=f"{row['model']}, {row['readout']}",
                        layer=str(row["layer"]),
                        value=float(row["value"]) - less,
                        interval=(row["ci_low"] - less, row["ci_high"] - less),
                        untrained=bool(row["untrained"]),
                        n=int(row["n"]),
                    )
                )
    return directions_table(rows)


def _cells(part: pd.DataFrame, unit: str, n_bootstrap: int, seed: int) -> _Cells:
    """Return the means of one observer and of resamples of its units."""
    rotations = list(part["rotation"].unique())
    angles = np.sort(part["angle_deg"].unique())
    units, names = pd.factorize(part[unit])
    shape = (len(names), len(rotations), len(angles), len(TRUTHS))
    place = (
        units,
        part["rotation"].map(rotations.index).to_numpy(),
        np.searchsorted(angles, part["angle_deg"]),
        part["truth"].map(TRUTHS.index).to_numpy(),
    )
    correct = part["correct"].to_numpy(bool)
    cost = part["rt_or_cost"].to_numpy(np.float64)
    timed = bool(part["rt_ms"].notna().any())
    counted = np.isfinite(cost) & (correct | (not timed))
    sums = np.zeros((4, *shape))
    for total, values in zip(
        sums,
        (np.ones(len(part)), correct, counted, np.where(counted, cost, 0.0)),
        strict=True,
    ):
        np.add.at(total, place, values)
    n = len(names)
    weights = np.ones((1, n))
    if n_bootstrap and n > 1:
        rng = generator(seed, TASK, "bootstrap", n)
        draws = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
        weights = np.vstack([weights, draws])
    weighted = np.tensordot(weights, sums, axes=(1, 1)).swapaxes(0, 1)
    trials, right, n_costs, costs = weighted
    overall = right.sum(axis=(1, 2, 3)) / trials.sum(axis=(1, 2, 3))
    return _Cells(
        rotations,
        angles,
        _ratio(right, trials),
        _ratio(costs, n_costs),
        sums[0].sum(axis=0).astype(np.int64),
        overall,
        float(np.std(cost[counted])) if counted.any() else np.nan,
        timed,
    )


def _rows(cells: _Cells, reference: _Cells | None) -> list[dict[str, Any]]:
    same, n = cells.cost[..., 0], cells.trials
    rows = [_row("accuracy", cells.overall, n=n.sum())]
    slopes: dict[str, FloatArray] = {}
    scale = _time_scale(cells, reference)
    spread = cells.spread if cells.spread > 0 else np.nan
    for k, rotation in enumerate(cells.rotations):
        at: dict[str, Any] = {"rotation": rotation, "condition": rotation}
        accuracy = np.nanmean(cells.correct[:, k], axis=(1, 2))
        rows.append(_row("accuracy", accuracy, n=n[k].sum(), **at))
        for a, angle in enumerate(cells.angles):
            here = {**at, "condition": f"{rotation} {angle:g}", "angle_deg": angle}
            both = np.mean(cells.correct[:, k, a], axis=1)
            rows.append(_row("accuracy", both, n=n[k, a].sum(), **here))
            own = cells.correct[:, k, a, 0]
            rows.append(_row("accuracy_same", own, n=n[k, a, 0], **here))
            rows.append(_row("mean_cost", same[:, k, a], n=n[k, a, 0], **here))
        slope, intercept, r2 = _lines(cells.angles, same[:, k])
        errors = _lines(cells.angles, 1 - cells.correct[:, k, :, 0])[0]
        n_same = n[k, :, 0].sum()
        slopes[rotation] = slope
        for metric, values in (
            ("cost_slope", slope),
            ("cost_intercept", intercept),
            ("cost_r2", r2),
            ("cost_growth", 180 * slope / spread),
            ("slope_ms_per_deg", scale * slope),
            ("error_growth", 180 * errors),
        ):
            rows.append(_row(metric, values, n=n_same, **at))
        more = _nanmean(cells.cost[:, k, :, 1], 1) - _nanmean(same[:, k], 1)
        rows.append(_row("different_minus_same", more, n=n[k].sum(), **at))
    if set(slopes) >= {"depth", "picture-plane"}:
        ratio = _ratio(slopes["depth"], slopes["picture-plane"])
        rows.append(_row("slope_ratio", ratio, n=n[..., 0].sum()))
    more = _nanmean(cells.cost[..., 1], (1, 2)) - _nanmean(same, (1, 2))
    rows.append(_row("different_minus_same", more, n=n.sum()))
    return [*rows, _row("different_minus_same_sd", more / spread, n=n.sum())]


def _row(metric: str, draws: FloatArray, **more: Any) -> dict[str, Any]:
    low, high = np.nan, np.nan
    if len(draws) > 1:
        limits = percentile_interval(draws[1:])
        low, high = (float(limit) for limit in limits)
    row = {"metric": metric, "value": float(draws[0]), "ci_low": low, "ci_high": high}
    return {**row, "condition": ALL, "rotation": "", "angle_deg": np.nan, **more}


def _ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    undefined = np.full(np.shape(a), np.nan)
    return np.asarray(np.divide(a, b, out=undefined, where=b != 0))


def _nanmean(values: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """Return means of what is defined; NaN where nothing is."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis))


def _lines(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return slope, intercept and r² of lines through (x, y), one per row of y.

    Undefined values are left out. r² is undefined where all values agree.
    """
    known = np.isfinite(y)
    n = known.sum(axis=-1)
    at, value = (np.where(known, v, 0.0) for v in (np.broadcast_to(x, y.shape), y))
    mean_x, mean_y = _ratio(at.sum(-1), n), _ratio(value.sum(-1), n)
    dx = np.where(known, at - mean_x[..., None], 0.0)
    dy = np.where(known, value - mean_y[..., None], 0.0)
    # Differences below this are rounding of equal values.
    dy = np.where(np.abs(dy) > 1e-12 * np.abs(mean_y)[..., None], dy, 0.0)
    sxx, sxy, syy = (np.asarray(v.sum(-1)) for v in (dx * dx, dx * dy, dy * dy))
    slope = _ratio(sxy, sxx)
    r2 = np.minimum(_ratio(sxy**2, sxx * syy), 1.0)
    return slope, mean_y - slope * mean_x, r2


def _time_scale(cells: _Cells, reference: _Cells | None) -> FloatArray:
    """Return milliseconds per unit of cost, one per draw: 1 where cost is a time."""
    n_draws = len(cells.cost)
    if cells.timed:
        return np.ones(n_draws)
    times = np.tile(MS_AT_0 + MS_PER_DEG * cells.angles, (len(cells.rotations), 1))
    if reference is not None:
        for k, rotation in enumerate(cells.rotations):
            if rotation in reference.rotations:
                own = reference.cost[0, reference.rotations.index(rotation), :, 0]
                times[k] = np.interp(cells.angles, reference.angles, own)
    # Cost is the abscissa here: times are what is predicted.
    cost = cells.cost[..., 0].reshape(n_draws, -1)
    wanted = np.broadcast_to(times.reshape(-1), cost.shape)
    known = np.isfinite(cost) & np.isfinite(wanted)
    n = known.sum(axis=1)
    x = np.where(known, cost, 0.0)
    y = np.where(known, wanted, 0.0)
    dx = np.where(known, x - _ratio(x.sum(1), n)[:, None], 0.0)
    dy = np.where(known, y - _ratio(y.sum(1), n)[:, None], 0.0)
    return np.maximum(_ratio((dx * dy).sum(1), (dx * dx).sum(1)), 0.0)
