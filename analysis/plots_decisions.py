"""Figures of decisions: people beside models, one axes each.

Tables are those of `tasks.decisions.run_decisions`. People are black: small diamonds
for each person, a large one for their mean.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALE,
    Look,
    finish,
    interval_bars,
    legend_below,
    looks_of,
    new_axes,
    set_title,
)
from analysis.psychometric import psychometric_rate
from neurovis.core.checks import check_columns
from neurovis.core.types import HUMAN_MODEL

PEOPLE = "mean of people"
"""What `subject` is in rows of the group."""


def plot_decision_accuracy(scores: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot the share of right answers of every observer, condition by condition.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows "accuracy" are used.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Conditions from left to right; the line is guessing.

    Raises
    ------
    ValueError
        If a column is missing or there is no such row.
    """
    rows = _rows(scores, "accuracy")
    cells = list(dict.fromkeys(rows["condition"]))
    conditions = [c for c in cells if c != "all"] or cells
    models = rows[(rows["model"] != HUMAN_MODEL) & (rows["subject"] != "chance")]
    looks = looks_of(models) if len(models) else []
    ax = new_axes(ax, (max(4.2, 1.4 + 0.85 * len(conditions)), 3.4 + 0.2 * len(looks)))
    for value in rows.loc[rows["subject"] == "chance", "value"]:
        ax.axhline(value, color=GREY, lw=1, ls=(0, (4, 2.2)))
    entries: dict[str, Any] = {}
    places = {name: k for k, name in enumerate(conditions)}
    people = rows[(rows["model"] == HUMAN_MODEL) & rows["condition"].isin(places)]
    each = people[people["subject"] != PEOPLE]
    if len(each):
        x = each["condition"].map(places).to_numpy(np.float64)
        order = each.groupby("condition").cumcount().to_numpy()
        spread = (order % 7 - 3) * 0.03
        entries["one person"] = ax.plot(
            x + spread, each["value"], "D", ms=3.2, color=HUMAN_COLOUR, alpha=0.35
        )[0]
    shift = np.linspace(-0.25, 0.25, len(looks) + 1) if looks else np.zeros(1)
    mean = people[people["subject"] == PEOPLE]
    if len(mean):
        entries["people on average"] = _points(
            ax, mean, places, HUMAN_COLOUR, "D", shift[0]
        )
    for look, step in zip(looks, shift[1:], strict=False):
        own = rows[(rows["subject"] == look.subject) & rows["condition"].isin(places)]
        entries[look.label] = _points(
            ax, own, places, look.colour, look.marker, float(step)
        )
    ax.set_xticks(range(len(conditions)), [_short(c) for c in conditions])
    ax.set_xlim(-0.5, len(conditions) - 0.5)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("Right answers (share)")
    common = {c.partition("=")[0] for c in conditions}
    if len(common) == 1 and "=" in conditions[0] and "," not in conditions[0]:
        ax.set_xlabel(common.pop().replace("_", " "))
    finish(ax)
    legend_below(ax, entries)
    return ax


def plot_shared_errors(scores: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot how far observers err on the same pictures as people.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows "error_consistency" are used.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row per model and per person; the band is the 95 % interval of people with
        each other, 0 is what independent observers have.

    Raises
    ------
    ValueError
        If a column is missing or there is no such row.
    """
    rows = _rows(scores, "error_consistency")
    group = rows[rows["subject"] == PEOPLE]
    shown = rows[rows["subject"] != PEOPLE]
    shown = pd.concat(
        [shown[shown["model"] != HUMAN_MODEL], shown[shown["model"] == HUMAN_MODEL]]
    )
    ax = new_axes(ax, (5.6, 1.4 + 0.3 * len(shown)))
    for row in group.to_dict("records"):
        ax.axvspan(row["ci_low"], row["ci_high"], color=PALE, alpha=0.6, zorder=0, lw=0)
        ax.axvline(row["value"], color=GREY, lw=1.2)
    ax.axvline(0, color=GREY, lw=1, ls=(0, (4, 2.2)))
    models = shown[shown["model"] != HUMAN_MODEL]
    looks = {look.subject: look for look in looks_of(models)} if len(models) else {}
    labels = []
    for place, row in enumerate(shown.to_dict("records")):
        look: Look | None = looks.get(str(row["subject"]))
        colour = HUMAN_COLOUR if look is None else look.colour
        labels.append(str(row["subject"]) if look is None else look.label)
        ax.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour, lw=1.8)
        marker = "D" if look is None else look.marker
        ax.plot(row["value"], place, marker, color=colour, ms=6)
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlabel("Error consistency with people (kappa)")
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_psychometric(
    curves: pd.DataFrame, *, level: str = "level", ax: Axes | None = None
) -> Axes:
    """Plot psychometric functions with the rates that they were fitted to.

    Parameters
    ----------
    curves : DataFrame
        Table of ``psychometric.parquet``: `subject`, `model`, `untrained`, `level`,
        `rate`, `function`, `location`, `slope`, `guess`, `lapse`, `threshold`.
    level : str, default "level"
        Text at the abscissa.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Level against share of right answers; people thin and black. Rates that do not
        rise have no line.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    needed = ["subject", "model", "level", "rate", "function", "location", "slope"]
    check_columns("curves", curves.columns, [*needed, "guess", "lapse", "threshold"])
    models = curves[curves["model"] != HUMAN_MODEL]
    looks = {look.subject: look for look in looks_of(models)} if len(models) else {}
    ax = new_axes(ax, (4.8, 3.6 + 0.2 * len(looks)))
    entries: dict[str, Any] = {}
    low, high = float(curves["level"].min()), float(curves["level"].max())
    logarithmic = bool((curves["function"] == "weibull").all())
    x = np.geomspace(low, high, 200) if logarithmic else np.linspace(low, high, 200)
    for subject, own in curves.groupby("subject", sort=False):
        look = looks.get(str(subject))
        colour = HUMAN_COLOUR if look is None else look.colour
        marker = "D" if look is None else look.marker
        faint = 0.35 if look is None else 1.0
        points = ax.plot(
            own["level"], own["rate"], marker, color=colour, ms=4, alpha=faint
        )[0]
        entries["one person" if look is None else look.label] = points
        fit = own.iloc[0]
        if np.isfinite(fit["threshold"]):
            rate = psychometric_rate(
                x,
                location=fit["location"],
                slope=fit["slope"],
                guess=fit["guess"],
                lapse=fit["lapse"],
                function=fit["function"],
            )
            ax.plot(x, rate, color=colour, lw=1.1 if look is None else 1.8, alpha=faint)
    ax.axhline(float(curves["guess"].iloc[0]), color=GREY, lw=1, ls=(0, (4, 2.2)))
    if logarithmic:
        ax.set_xscale("log")
        ticks = sorted(curves["level"].unique())
        ax.set_xticks(ticks, [f"{value:g}" for value in ticks])
        ax.set_xticks([], minor=True)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(level)
    ax.set_ylabel("Right answers (share)")
    finish(ax)
    legend_below(ax, entries)
    return ax


def plot_times_and_costs(
    times: pd.DataFrame, *, cost: str = "Cost of the model", ax: Axes | None = None
) -> Axes:
    """Plot the cost of a model against the time of people, condition by condition.

    Parameters
    ----------
    times : DataFrame
        One row per condition: `condition`, `rt_ms` and `cost`.
    cost : str
        Text at the ordinate.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Median time of people against mean cost.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("times", times.columns, ["condition", "rt_ms", "cost"])
    ax = new_axes(ax, (3.9, 3.2))
    ax.plot(times["rt_ms"], times["cost"], "o", color=HUMAN_COLOUR, ms=5)
    for row in times.to_dict("records"):
        ax.annotate(
            _short(str(row["condition"])),
            (row["rt_ms"], row["cost"]),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
        )
    ax.margins(0.15)
    ax.set_xlabel("Median time of people (ms)")
    ax.set_ylabel(cost)
    finish(ax, grid="both")
    set_title(ax, "")
    return ax


def _rows(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    needed = ["model", "subject", "metric", "condition", "value", "ci_low", "ci_high"]
    check_columns("scores", scores.columns, [*needed, "untrained"])
    rows = scores[scores["metric"] == metric]
    if rows.empty:
        raise ValueError(f"`scores` has no rows of {metric!r}.")
    return rows


def _points(
    ax: Axes,
    rows: pd.DataFrame,
    places: dict[str, int],
    colour: str,
    marker: str,
    shift: float,
) -> Any:
    x = rows["condition"].map(places).to_numpy(np.float64) + shift
    return ax.errorbar(
        x,
        rows["value"],
        yerr=interval_bars(rows),
        fmt=marker,
        color=colour,
        ms=6,
        lw=1.4,
    )


def _short(condition: str) -> str:
    """Values alone where there is one column, else one column per line."""
    parts = condition.split(", ")
    return (
        parts[0].partition("=")[2] or parts[0] if len(parts) == 1 else "\n".join(parts)
    )
