"""Groups of runs: their means, and how the first differs from every other.

Runs of a network stand for all that could have been trained; stimuli stand for others
of their kind. Both vary, and both are in the limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from neurovis.core.checks import check_array, check_columns

FloatArray = NDArray[np.float64]

KEYS = ("measure", "data", "metric", "region", "subject", "condition")
"""What tells one comparison of groups from another; single layers have their own."""

GROUP_COLUMNS = (
    *(*KEYS, "layer", "group", "kind", "untrained", "n_runs", "n", "value"),
    *("ci_low", "ci_high", "standard_error", "degrees_of_freedom", "over", "unit"),
)
DIFFERENCE_COLUMNS = (
    *(*KEYS, "layer", "group_a", "group_b", "n_runs_a", "n_runs_b", "n"),
    *("difference", "ci_low", "ci_high", "standard_error", "degrees_of_freedom"),
    *("p_value", "over", "unit"),
)
RUNS, STIMULI, BOTH = "runs", "stimuli", "runs and stimuli"
"""Values of `over`."""

_LEVEL = 0.975


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, with limits from the t distribution.

    Parameters
    ----------
    value : float
        Estimate.
    standard_error : float
        Its standard error; NaN where unknown.
    degrees_of_freedom : float
        Of the t distribution.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float

    @property
    def limits(self) -> tuple[float, float]:
        """95 % interval; NaN where unknown."""
        half = float(stats.t.ppf(_LEVEL, self.degrees_of_freedom))
        half *= self.standard_error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float:
        """Two-sided p of the value 0; NaN where unknown."""
        if not self.standard_error > 0:
            return float("nan")
        t = abs(self.value) / self.standard_error
        return float(2 * stats.t.sf(t, self.degrees_of_freedom))


def estimate_runs(
    first: ArrayLike,
    second: ArrayLike | None = None,
    *,
    fixed: tuple[bool, bool] = (False, False),
    stimuli: tuple[float, float] = (0.0, np.inf),
) -> Estimate:
    """Estimate a mean over runs, or the difference of two, from one value per run.

    The variance is the sum of that between runs over their number, and of the square
    of the given error due to stimuli. Values of runs that share their stimuli hold a
    part of the second already: the sum is rather too large than too small.

    Parameters
    ----------
    first : array-like of float, shape (n_runs,)
        One value per run.
    second : array-like of float, shape (n_other_runs,), optional
        Runs to be subtracted, other ones than the first.
    fixed : pair of bool
        Whether each group is a single model that has no runs, such as a control.
    stimuli : pair of float
        Standard error due to stimuli, and its degrees of freedom.

    Returns
    -------
    Estimate
        With degrees of freedom by Welch and Satterthwaite; its error is NaN where a
        group has a single run, or nothing varies.

    References
    ----------
    Welch (1947). Biometrika 34, 28-35. doi:10.1093/biomet/34.1-2.28

    Examples
    --------
    >>> found = estimate_runs([0.5, 0.6, 0.7], [0.1, 0.2, 0.3])
    >>> [round(float(x), 3) for x in (found.value, found.standard_error)]
    [0.4, 0.082]
    """
    groups = [check_array("first", np.asarray(first, np.float64), shape=(None,))]
    if second is not None:
        other = np.asarray(second, np.float64)
        groups.append(check_array("second", other, shape=(None,)))
    value = float(groups[0].mean() - (groups[1].mean() if second is not None else 0))
    parts = _run_parts(groups, fixed)
    parts.append((float(stimuli[0]) ** 2, float(stimuli[1])))
    return Estimate(value, *_combined(parts))


def estimate_crossed(
    first: ArrayLike,
    second: ArrayLike | None = None,
    *,
    fixed: tuple[bool, bool] = (False, False),
) -> Estimate:
    """Estimate a mean, or the difference of two, from every stimulus in every run.

    With I stimuli and S runs the variance is ``stimuli + runs - noise``: that of the
    means of stimuli over I, that of the means of runs over S, and the residual mean
    square over I S, which both hold. It is not below either of the two. Stimuli are
    the same in both groups, runs are not.

    Parameters
    ----------
    first : array-like of float, shape (n_stimuli, n_runs)
        Values, such as 1 for a hit and 0 for a miss.
    second : array-like of float, shape (n_stimuli, n_other_runs), optional
        Runs to be subtracted.
    fixed : pair of bool
        As `estimate_runs`.

    Returns
    -------
    Estimate
        As `estimate_runs`.

    Notes
    -----
    It is the closed form of `analysis.crossed_bootstrap`, for means.

    Examples
    --------
    >>> estimate_crossed([[1, 1, 0], [0, 1, 0], [1, 1, 1], [1, 0, 0]]).value
    0.5833333333333334
    """
    groups = [check_array("first", np.asarray(first, np.float64), shape=(None, None))]
    n = len(groups[0])
    if second is not None:
        other = np.asarray(second, np.float64)
        groups.append(check_array("second", other, shape=(n, None)))
    signs = (1.0, -1.0)
    rows = sum(s * g.mean(axis=1) for s, g in zip(signs, groups, strict=False))
    means = np.asarray(rows, np.float64)
    items = float(means.var(ddof=1)) / n if n > 1 else float("nan")
    runs = _run_parts([g.mean(axis=0) for g in groups], fixed)
    noise = 0.0
    for values in groups:
        if n > 1 and values.shape[1] > 1:
            rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True)
            rest += values.mean()
            square = (rest**2).sum() / ((n - 1) * (values.shape[1] - 1))
            noise += float(square) / values.size
    between = sum(part for part, _ in runs)
    error, freedom = _combined([*runs, (items, n - 1.0)])
    variance = max(items + between - noise, items, between)
    return Estimate(
        float(means.mean()), float(np.sqrt(variance)) if error >= 0 else error, freedom
    )


def _run_parts(
    groups: Sequence[FloatArray], fixed: tuple[bool, bool]
) -> list[tuple[float, float]]:
    """Return variance of the mean and degrees of freedom of each group of runs."""
    found = []
    for values, alone in zip(groups, fixed, strict=False):
        n = len(values)
        if n == 1:
            found.append((0.0, np.inf) if alone else (np.nan, np.nan))
        else:
            found.append((float(values.var(ddof=1)) / n, n - 1.0))
    return found


def _combined(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return standard error and degrees of freedom of a sum of variances."""
    variance = float(sum(part for part, _ in parts))
    if not variance > 0:
        # Equal values throughout do not mean that no other could be found.
        return float("nan"), float("nan")
    weight = sum(part**2 / freedom for part, freedom in parts)
    return float(np.sqrt(variance)), float(variance**2 / weight) if weight else np.inf


# --------------------------------------------------------------------- tables


def group_tables(
    scores: pd.DataFrame,
    hits: Mapping[tuple[str, str, str], FloatArray],
    comparisons: pd.DataFrame,
    first: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Average the runs of each group, and subtract every other from one.

    Parameters
    ----------
    scores : DataFrame
        Rows of `tasks.probes.run_probes`.
    hits : mapping of (str, str, str) to ndarray of float64, shape (n_stimuli,)
        By data, model and layer of the linear probe: 1 where a picture was named
        rightly, else 0. The layer chosen of each model is "".
    comparisons : DataFrame
        Paired differences of `tasks.brain_ranking.run_brain_ranking`.
    first : str
        Group that all others are subtracted from.

    Returns
    -------
    groups, differences : DataFrame
        With `GROUP_COLUMNS` and `DIFFERENCE_COLUMNS`. `over` tells what varies in the
        limits: "runs and stimuli", "stimuli" for controls, which have no runs, and
        "runs" where stimuli are not drawn, as gratings.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    needed = (*KEYS, "layer", "model", "group", "kind", "value", "standard_error")
    check_columns("scores", scores.columns, needed)
    means: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    # A chosen layer may differ from run to run: it is one comparison all the same.
    chosen = scores["condition"] != "layer"
    keyed = scores.assign(place=scores["layer"].where(~chosen, ""))
    for _, rows in keyed.groupby([*KEYS, "place"], sort=False, dropna=False):
        parts = [_Group(part, hits) for _, part in rows.groupby("group", sort=False)]
        means += [part.mean() for part in parts]
        for one in parts:
            if one.name == first:
                others = [other for other in parts if other.name != first]
                differences += [one.minus(other, comparisons) for other in others]
    return (
        pd.DataFrame(means, columns=list(GROUP_COLUMNS)),
        pd.DataFrame(differences, columns=list(DIFFERENCE_COLUMNS)),
    )


class _Group:
    """Rows of one comparison that belong to one group."""

    def __init__(
        self, rows: pd.DataFrame, hits: Mapping[tuple[str, str, str], FloatArray]
    ) -> None:
        self.first: Any = rows.iloc[0]
        self.name = str(self.first["group"])
        self.models = rows["model"].astype(str).tolist()
        self.values = rows["value"].to_numpy(np.float64)
        self.fixed = len(rows) == 1 and self.first["kind"] == "control"
        self.layers = list(dict.fromkeys(rows["layer"].astype(str)))
        errors = rows["standard_error"].to_numpy(np.float64)
        self.error = float(errors.mean())
        self.freedom = float(rows["degrees_of_freedom"].astype(float).min())
        data, place = str(self.first["data"]), str(self.first["place"])
        self.hits: FloatArray | None = None
        if self.first["measure"] == "probe":
            columns = [hits[data, model, place] for model in self.models]
            self.hits = np.column_stack(columns)

    @property
    def keys(self) -> dict[str, Any]:
        """What is compared."""
        return {name: self.first[name] for name in (*KEYS, "unit", "n")}

    @property
    def of_stimuli(self) -> bool:
        """Whether stimuli are drawn."""
        return bool(self.first["measure"] != "tuning")

    def mean(self) -> dict[str, Any]:
        """Return the mean of the runs."""
        fixed = (self.fixed, False)
        if self.hits is not None:
            found = estimate_crossed(self.hits, fixed=fixed)
        else:
            errors = (self.error, self.freedom) if self.of_stimuli else (0.0, np.inf)
            found = estimate_runs(self.values, fixed=fixed, stimuli=errors)
        low, high = found.limits
        return {
            **self.keys,
            "layer": ", ".join(self.layers),
            "group": self.name,
            "kind": self.first["kind"],
            "untrained": bool(self.first["untrained"]),
            "n_runs": len(self.models),
            "value": found.value,
            "ci_low": low,
            "ci_high": high,
            "standard_error": found.standard_error,
            "degrees_of_freedom": found.degrees_of_freedom,
            "over": self._over(self.fixed),
        }

    def minus(self, other: "_Group", comparisons: pd.DataFrame) -> dict[str, Any]:
        """Return the difference of the means."""
        fixed = (self.fixed, other.fixed)
        if self.hits is not None and other.hits is not None:
            found = estimate_crossed(self.hits, other.hits, fixed=fixed)
        else:
            errors = (0.0, np.inf)
            if self.of_stimuli:
                errors = self._paired_error(other, comparisons)
            found = estimate_runs(
                self.values, other.values, fixed=fixed, stimuli=errors
            )
        low, high = found.limits
        layers = dict.fromkeys((*self.layers, *other.layers))
        return {
            **self.keys,
            "layer": ", ".join(layers),
            "group_a": self.name,
            "group_b": other.name,
            "n_runs_a": len(self.models),
            "n_runs_b": len(other.models),
            "difference": found.value,
            "ci_low": low,
            "ci_high": high,
            "standard_error": found.standard_error,
            "degrees_of_freedom": found.degrees_of_freedom,
            "p_value": found.p_value,
            "over": self._over(self.fixed and other.fixed),
        }

    def _over(self, fixed: bool) -> str:
        if not self.of_stimuli:
            return RUNS
        return STIMULI if fixed else BOTH

    def _paired_error(
        self, other: "_Group", comparisons: pd.DataFrame
    ) -> tuple[float, float]:
        """Return the error of a difference due to stimuli, and its freedom.

        The error of a mean of paired differences is at most the mean of theirs.
        """
        if self.first["condition"] != "layer" and len(comparisons):
            rows = comparisons
            names = {"analysis": "measure", "over": "over"}
            for name in ("data", "analysis", "metric", "region", "subject", "over"):
                rows = rows[rows[name] == self.first[names.get(name, name)]]
            here, there = (rows["model_a"], rows["model_b"])
            pairs = (here.isin(self.models) & there.isin(other.models)) | (
                here.isin(other.models) & there.isin(self.models)
            )
            rows = rows[pairs]
            if len(rows) == len(self.models) * len(other.models):
                error = float(rows["standard_error"].mean(skipna=False))
                return error, float(rows["degrees_of_freedom"].min())
        # Unpaired, the error is rather too large: both saw the same stimuli.
        error = float(np.hypot(self.error, other.error))
        return error, min(self.freedom, other.freedom)
