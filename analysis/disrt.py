"""Scores of oddity trials with intact and distorted pictures.

Of three pictures one is odd: the intact one among two distorted versions of it, or, in
control trials, a distorted one among two intact ones. An observer that only knows what
is intact, or only what differs most, fails in one of the two.

References
----------
Li et al. (2025). From local cues to global percepts. The trials here follow its
abstract; details are choices.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.stats import bootstrap, percentile_interval, wilson_interval
from neurovis.core.checks import check_array, check_between, check_columns
from neurovis.core.rng import generator
from neurovis.core.types import SCORE_COLUMNS

FloatArray = NDArray[np.float64]

CHANCE = 1 / 3
LEVEL = 2 / 3
"""Share of correct trials at the threshold: half-way between chance and perfect."""

CHOSEN = "chosen"
"""Layer in rows where the layer was chosen on other pictures."""

EXTRA_COLUMNS = (
    *("distortion", "strength", "kind", "top_k", "untrained", "chance"),
    *("chosen_layer", "censored"),
)

_GROUP = ["model", "layer", "top_k"]
# More undefined draws than that leave a threshold without an interval.
_MOST_UNDEFINED = 0.05


def threshold_strength(
    strengths: ArrayLike, accuracy: ArrayLike, *, level: float = LEVEL
) -> tuple[float, str]:
    """Find the strength of a distortion at which a share of trials is correct.

    Parameters
    ----------
    strengths : array_like of float, shape (n,)
        Strengths in rising order, > 0.
    accuracy : array_like of float, shape (n,)
        Share correct at each.
    level : float, default 2/3
        Share wanted, 0..1.

    Returns
    -------
    value : float
        Where the accuracy reaches the level first, on a line between the logarithms
        of neighbouring strengths; NaN where it never does.
    censored : {"", "at or below", "above"}
        Whether the value is a limit: the weakest strength was enough, or the
        strongest was not.

    Raises
    ------
    ValueError
        If strengths do not rise, or lengths differ.

    Examples
    --------
    >>> threshold_strength([2, 8], [1 / 3, 1.0])
    (4.0, '')
    >>> threshold_strength([2, 8], [0.9, 1.0])
    (2.0, 'at or below')
    """
    x = check_array("strengths", np.asarray(strengths, np.float64), shape=(None,))
    y = check_array("accuracy", np.asarray(accuracy, np.float64), shape=x.shape)
    check_between("level", level, low=0, high=1)
    if not len(x) or x[0] <= 0 or (np.diff(x) <= 0).any():
        raise ValueError(f"`strengths` must be above 0 and rise; got {x.tolist()}.")
    # The last bit of a mean decides nothing.
    reached = np.flatnonzero(y >= level - 1e-9)
    if not len(reached):
        return float("nan"), "above" if np.isfinite(y).all() else ""
    first = int(reached[0])
    if first == 0:
        return float(x[0]), "at or below"
    low, high = np.log2(x[first - 1]), np.log2(x[first])
    share = (level - y[first - 1]) / (y[first] - y[first - 1])
    return float(2 ** (low + share * (high - low))), ""


def disrt_scores(
    trials: pd.DataFrame, *, stimuli: str = "", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Score oddity trials of models.

    Parameters
    ----------
    trials : DataFrame
        One row per trial and layer: `model`, `layer`, `top_k` (share of units that
        were kept, NaN for all), `untrained` (bool), `kind` ("oddity" or "control"),
        `distortion`, `strength`, `condition`, `stimulus_id` (the picture) and
        `correct` (bool).
    stimuli : str, optional
        Name of the pictures.
    n_bootstrap : int, default 1000
        Resamples of the pictures.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    DataFrame
        `SCORE_COLUMNS` and `EXTRA_COLUMNS`. Metrics: "accuracy" per condition, and
        over all conditions that show all pictures ("all"), where there is also the
        layer `CHOSEN`: pictures are cut into two halves, and each is scored with the
        layer that is best in the other; "threshold_strength" of distortions with
        several strengths (`censored` says whether it is a limit);
        "accuracy_change" by keeping a share of the units.

    Raises
    ------
    ValueError
        If a column is missing or there is no trial.
    """
    needed = ["untrained", "kind", "distortion", "strength", "condition", "stimulus_id"]
    check_columns("trials", trials.columns, [*_GROUP, *needed, "correct"])
    if trials.empty:
        raise ValueError("`trials` is empty: there is nothing to score.")
    rows: list[dict[str, Any]] = []
    grids: dict[tuple[Any, ...], pd.DataFrame] = {}
    for keys, part in trials.groupby(
        [*_GROUP, "untrained", "kind"], sort=False, dropna=False
    ):
        told: Any = keys
        model, layer, top_k, untrained, kind = told
        base = {
            **{"model": model, "subject": model, "layer": layer, "top_k": top_k},
            **{"untrained": bool(untrained), "kind": kind},
        }
        grid = part.pivot_table(
            index="stimulus_id", columns="condition", values="correct", sort=False
        ).astype(float)
        share = "all" if np.isnan(top_k) else float(top_k)
        grids[model, layer, share, bool(untrained), kind] = grid
        rows += _condition_rows(base, part)
        rows += _whole_rows(base, grid, n_bootstrap, seed)
        if kind == "oddity":
            rows += _threshold_rows(base, part, grid, n_bootstrap, seed)
    rows += _chosen_rows(grids, n_bootstrap, seed)
    rows += _change_rows(grids, n_bootstrap, seed)
    table = pd.DataFrame(rows, columns=[*SCORE_COLUMNS, *EXTRA_COLUMNS])
    return table.assign(task="disrt", stimuli=stimuli, seed=seed)


def whole_accuracy(
    grid: pd.DataFrame, *, n_bootstrap: int, seed: int
) -> tuple[float, float, float]:
    """Average a grid over pictures and conditions, with an interval over pictures.

    Parameters
    ----------
    grid : DataFrame
        Values by picture (rows) and condition (columns), all defined.
    n_bootstrap : int
        Resamples of the pictures.
    seed : int
        Seed.

    Returns
    -------
    value, low, high : float
        Mean and 95 % interval; NaN where undefined.
    """
    values = grid.to_numpy(np.float64).mean(axis=1)
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    stream = generator(seed, "disrt", "pictures")
    draws = bootstrap(values, n_bootstrap=max(n_bootstrap, 1), rng=stream)
    low, high = percentile_interval(draws)
    return float(values.mean()), float(low), float(high)


def shown_everywhere(grid: pd.DataFrame) -> pd.DataFrame:
    """Return the conditions in which every picture was shown.

    Parameters
    ----------
    grid : DataFrame
        By picture and condition; NaN where a picture was not shown.

    Returns
    -------
    DataFrame
        Those columns; where there is none, the pictures that were shown in all.
    """
    whole = grid.dropna(axis=1)
    return whole if whole.shape[1] else grid.dropna(axis=0)


def _condition_rows(base: dict[str, Any], part: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for condition, own in part.groupby("condition", sort=False):
        right, n = int(own["correct"].sum()), len(own)
        low, high = wilson_interval(right, n)
        rows.append(
            _row(
                base,
                condition=condition,
                distortion=own["distortion"].iloc[0],
                strength=float(own["strength"].iloc[0]),
                value=right / n,
                ci_low=float(low),
                ci_high=float(high),
                n=n,
            )
        )
    return rows


def _whole_rows(
    base: dict[str, Any], grid: pd.DataFrame, n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    whole = shown_everywhere(grid)
    value, low, high = whole_accuracy(whole, n_bootstrap=n_bootstrap, seed=seed)
    return [
        _row(
            base,
            condition="all",
            value=value,
            ci_low=low,
            ci_high=high,
            n=int(whole.size),
        )
    ]


def _threshold_rows(
    base: dict[str, Any],
    part: pd.DataFrame,
    grid: pd.DataFrame,
    n_bootstrap: int,
    seed: int,
) -> list[dict[str, Any]]:
    rows = []
    for distortion, own in part.groupby("distortion", sort=False):
        known = own.drop_duplicates("condition").sort_values("strength")
        strengths = known["strength"].to_numpy(np.float64)
        if len(strengths) < 2:
            continue
        values = grid[known["condition"].tolist()].dropna().to_numpy(np.float64)
        value, censored = threshold_strength(strengths, values.mean(axis=0))
        stream = generator(seed, "disrt", "thresholds", str(distortion))
        resampled = bootstrap(values, n_bootstrap=max(n_bootstrap, 1), rng=stream)
        draws = np.array([threshold_strength(strengths, r)[0] for r in resampled])
        limits = (np.nan, np.nan)
        if np.isnan(draws).mean() <= _MOST_UNDEFINED and not censored:
            low, high = percentile_interval(draws[~np.isnan(draws)])
            limits = (float(low), float(high))
        rows.append(
            _row(
                base,
                metric="threshold_strength",
                condition=distortion,
                distortion=distortion,
                value=value,
                ci_low=limits[0],
                ci_high=limits[1],
                n=int(values.size),
                unit="patches",
                censored=censored,
                chance=np.nan,
            )
        )
    return rows


def _chosen_rows(
    grids: dict[tuple[Any, ...], pd.DataFrame], n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    rows = []
    models = dict.fromkeys((m, u) for m, _, share, u, _ in grids if share == "all")
    for model, untrained in models:
        layers = [
            layer
            for m, layer, share, _, kind in grids
            if m == model and share == "all" and kind == "oddity"
        ]
        names, grid = choose_layer(
            {a: grids[model, a, "all", untrained, "oddity"] for a in layers}
        )
        base = {
            **{"model": model, "subject": model, "layer": CHOSEN, "top_k": np.nan},
            **{"untrained": untrained, "kind": "oddity", "chosen_layer": names},
        }
        rows += _whole_rows(base, grid, n_bootstrap, seed)
    return rows


def choose_layer(
    grids: dict[str, pd.DataFrame],
) -> tuple[str, pd.DataFrame]:
    """Score each half of the pictures with the layer that is best in the other half.

    Parameters
    ----------
    grids : dict of str to DataFrame
        Correctness by picture and condition for each layer.

    Returns
    -------
    names : str
        Layers for pictures 0, 2, ... and 1, 3, ..., joined by " / " where they differ.
    grid : DataFrame
        Correctness with the layer of the half.

    Raises
    ------
    ValueError
        If there is no layer.
    """
    if not grids:
        raise ValueError("`grids` is empty: there is no layer to choose.")
    wholes = {layer: shown_everywhere(grid) for layer, grid in grids.items()}
    some = next(iter(wholes.values()))
    halves = [np.arange(start, len(some), 2) for start in (0, 1)]
    parts, names = [], []
    for own, other in (halves, halves[::-1]):
        means = {a: grid.iloc[other].to_numpy().mean() for a, grid in wholes.items()}
        # Without another half, the first layer.
        best = max(means, key=lambda a: means[a]) if len(other) else next(iter(means))
        parts.append(wholes[best].iloc[own])
        names.append(best)
    kept = [name for name, half in zip(names, halves, strict=True) if len(half)]
    joined = pd.concat(parts).loc[some.index]
    return " / ".join(dict.fromkeys(kept)), joined


def _change_rows(
    grids: dict[tuple[Any, ...], pd.DataFrame], n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for (model, layer, share, untrained, kind), grid in grids.items():
        if share in ("all", 1.0) or (model, layer, 1.0, untrained, kind) not in grids:
            continue
        change = grid - grids[model, layer, 1.0, untrained, kind]
        base = {
            **{"model": model, "subject": model, "layer": layer, "top_k": share},
            **{"untrained": untrained, "kind": kind, "metric": "accuracy_change"},
        }
        rows += [
            row | {"chance": np.nan}
            for row in _whole_rows(base, change, n_bootstrap, seed)
        ]
    return rows


def _row(base: dict[str, Any], **values: Any) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        "metric": "accuracy",
        "region": None,
        "unit": "proportion",
        "chance": CHANCE,
        "chosen_layer": "",
        "censored": "",
        "distortion": None,
        "strength": np.nan,
        "ceiling_low": np.nan,
        "ceiling_high": np.nan,
        "value_over_ceiling": np.nan,
        "ceiling_kind": None,
    }
    return fixed | base | values


def strengths_of(scores: pd.DataFrame, distortion: str) -> Sequence[float]:
    """Return the strengths of a distortion in a table of scores, in rising order.

    Parameters
    ----------
    scores : DataFrame
        From `disrt_scores`.
    distortion : str
        Name of the distortion.

    Returns
    -------
    sequence of float
        Without repetitions.
    """
    own = scores.loc[scores["distortion"] == distortion, "strength"].dropna()
    return sorted(own.unique().tolist())
