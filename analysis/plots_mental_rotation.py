"""Figures of mental rotation, one axes each.

In the manner of `analysis.plots`: every function draws on the axes it is given, or on
those of a new figure, and returns the axes. Tables have one row per observer, metric
and angle: `subject`, `model`, `untrained`, `metric`, `rotation`, `angle_deg`, `value`,
`ci_low` and `ci_high`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plot_style import (
    GREY,
    finish,
    interval_bars,
    legend_below,
    looks_of,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns, check_option

_NEEDED = (
    *("subject", "model", "untrained", "metric", "rotation", "angle_deg"),
    *("value", "ci_low", "ci_high"),
)
_CHANCE = 0.5


def plot_accuracy_by_angle(
    scores: pd.DataFrame,
    *,
    rotation: str,
    metric: str = "accuracy",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Plot the share of right answers against the angle between two views.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows of `metric` with an angle are used.
    rotation : str
        Which kind of rotation, such as "depth".
    metric : {"accuracy", "accuracy_same"}
        All pairs, or those of the same object.
    title : str, optional
        Text above; the rotation by default.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Angle in degrees, percent correct; the broken line is chance.

    Raises
    ------
    ValueError
        If a column or the rotation is missing, or `metric` is another one.
    """
    check_option("metric", metric, ("accuracy", "accuracy_same"))
    rows = _rows(scores, metric, rotation)
    percent = ["value", "ci_low", "ci_high"]
    rows = rows.assign(**{name: 100 * rows[name] for name in percent})
    ax = _lines(rows, ax, title or rotation.replace("-", " "))
    ax.axhline(100 * _CHANCE, color=GREY, lw=1.2, ls=(0, (4, 2.2)), zorder=0)
    ax.set_ylim(-4, 104)
    same = "same pairs, " if metric == "accuracy_same" else ""
    ax.set_ylabel(f"Correct ({same}%)")
    return ax


def plot_cost_by_angle(
    scores: pd.DataFrame, *, rotation: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Plot the cost of same pairs against the angle between two views.

    Costs have units of their own: each observer's are shown between the smallest (0)
    and the largest (1) of its means over both rotations.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows `mean_cost` are used. Observers without a cost are left
        out.
    rotation : str
        Which kind of rotation.
    title : str, optional
        Text above; the rotation by default.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Angle in degrees, cost as part of the observer's range.

    Raises
    ------
    ValueError
        If a column or the rotation is missing.
    """
    rows = _rows(scores, "mean_cost", rotation)
    every = scores[scores["metric"] == "mean_cost"].groupby("subject")["value"]
    low = rows["subject"].map(every.min())
    span = rows["subject"].map(every.max()) - low
    span = span.where(span > 0)
    scaled = {n: (rows[n] - low) / span for n in ("value", "ci_low", "ci_high")}
    rows = rows.assign(**scaled)
    rows = rows[rows["value"].notna()]
    ax = _lines(rows, ax, title or rotation.replace("-", " "))
    ax.set_ylabel("Cost of same pairs\n(part of the range)")
    return ax


def plot_rotation_slopes(
    scores: pd.DataFrame, *, metric: str = "cost_r2", ax: Axes | None = None
) -> Axes:
    """Plot one number per observer, in depth beside in the plane.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows of `metric` with a rotation and no angle are used.
    metric : str, default "cost_r2"
        Such as "cost_r2", "slope_ms_per_deg" or "error_growth".
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row per observer; a filled mark for depth, an open one for the plane, with
        95 % intervals.

    Raises
    ------
    ValueError
        If a column is missing, or no row has the metric.
    """
    check_columns("scores", scores.columns, _NEEDED)
    rows = scores[(scores["metric"] == metric) & scores["angle_deg"].isna()]
    rows = rows[rows["value"].notna() & (rows["rotation"] != "")]
    if rows.empty:
        raise ValueError(f"`scores` has no defined value of the metric {metric!r}.")
    looks = looks_of(rows)
    kinds: Sequence[str] = list(rows["rotation"].unique())
    ax = new_axes(ax, (6.6, 1.5 + 0.34 * len(looks)))
    entries: dict[str, Any] = {}
    for place, look in enumerate(looks):
        for k, kind in enumerate(kinds):
            own = rows[(rows["subject"] == look.subject) & (rows["rotation"] == kind)]
            if own.empty:
                continue
            height = place + 0.16 * (2 * k - len(kinds) + 1)
            bars = ax.errorbar(
                own["value"],
                [height] * len(own),
                xerr=interval_bars(own),
                fmt=look.marker,
                color=look.colour,
                markerfacecolor=look.colour if k == 0 else "white",
                markersize=6,
                elinewidth=1.3,
            )
            entries.setdefault(kind.replace("-", " "), bars)
    ax.set_yticks(range(len(looks)), [look.label for look in looks], parse_math=False)
    ax.set_ylim(len(looks) - 0.4, -0.6)
    ax.axvline(0, color=GREY, lw=1)
    finish(ax, grid="x")
    legend_below(ax, entries, columns=2)
    return ax


def _rows(scores: pd.DataFrame, metric: str, rotation: str) -> pd.DataFrame:
    check_columns("scores", scores.columns, _NEEDED)
    rows = scores[(scores["metric"] == metric) & scores["angle_deg"].notna()]
    check_option("rotation", rotation, list(rows["rotation"].unique()))
    return rows[rows["rotation"] == rotation]


def _lines(rows: pd.DataFrame, ax: Axes | None, title: str) -> Axes:
    looks = looks_of(rows)
    ax = new_axes(ax, (4.4, 2.9 + 0.22 * len(looks)))
    entries: dict[str, Any] = {}
    angles = np.sort(rows["angle_deg"].unique())
    least = np.diff(angles).min() if len(angles) > 1 else 10.0
    for i, look in enumerate(looks):
        line = rows[rows["subject"] == look.subject].sort_values("angle_deg")
        # A little beside each other, so that marks do not hide each other.
        shift = least * 0.07 * (i - (len(looks) - 1) / 2)
        entries[look.label] = ax.errorbar(
            line["angle_deg"].to_numpy(float) + shift,
            line["value"],
            yerr=interval_bars(line),
            color=look.colour,
            marker=look.marker,
            markersize=5,
            linewidth=1.6,
            elinewidth=0.9,
        )
    step = max(1, -(-len(angles) // 6))
    ax.set_xticks(angles[::step], [f"{angle:g}" for angle in angles[::step]])
    ax.set_xlabel("Angle between the views (degrees)")
    set_title(ax, title)
    finish(ax)
    legend_below(ax, entries)
    return ax
