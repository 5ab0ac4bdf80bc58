"""Figures of letter identification: crowding curves, critical spacings, Navon figures.

Axes-level, as in `analysis.plots`: a function draws on the axes it is given, or on
those of a new figure, and returns the axes. Tables are those of
`tasks.letter_scores.letter_scores`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.plot_style import (
    GREY,
    PALETTE,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    looks_of,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns

_COLUMNS = (
    *("model", "subject", "layer", "metric", "condition", "value", "ci_low", "ci_high"),
    *("arrangement", "spacing_deg", "asked", "untrained", "chosen", "test", "side"),
)
_ARRANGEMENTS = {
    "inner": (PALETTE[5], "v"),
    "outer": (PALETTE[1], "^"),
    "radial": (PALETTE[0], "o"),
    "tangential": (PALETTE[2], "s"),
    "all": (PALETTE[3], "P"),
}
_DODGE = 1.012  # arrangements stand a little beside each other
_CHANCE = "chance"
_SINGLE = "single"


def plot_crowding(
    scores: pd.DataFrame, *, model: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Plot the accuracy of a model against the spacing of flankers.

    Parameters
    ----------
    scores : DataFrame
        Scores of a run; of the model, the layer that was chosen on training pictures.
    model : str
        Which model.
    title : str, optional
        Text above; model and layer by default.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Spacing in degrees (logarithmic), accuracy; lines for single letters and for
        chance.

    Raises
    ------
    ValueError
        If a column or the model is missing.
    """
    rows = _chosen(scores, model, "crowding")
    rows = rows[rows["metric"] == "accuracy"]
    ax = new_axes(ax, (4.4, 3.9))
    entries: dict[str, Any] = {}
    flanked = rows[rows["condition"] != _SINGLE]
    groups = list(flanked.groupby("arrangement", sort=False))
    for i, (arrangement, part) in enumerate(groups):
        colour, marker = _ARRANGEMENTS[str(arrangement)]
        part = part.sort_values("spacing_deg")
        beside = _DODGE ** (i - (len(groups) - 1) / 2)
        entries[str(arrangement)] = ax.errorbar(
            part["spacing_deg"] * beside, part["value"], interval_bars(part),
            color=colour,
            marker=marker, ms=5.5, lw=1.6, elinewidth=1, capsize=0,
        )  # fmt: skip
    for level, name, style in (
        (rows.loc[rows["condition"] == _SINGLE, "value"], "single letters", "-"),
        (_chance(scores, "crowding"), "chance", ":"),
    ):
        entries[name] = ax.axhline(float(level.iloc[0]), color=GREY, ls=style, lw=1.3)
    ax.set_xscale("log")
    ax.set_xticks(sorted(flanked["spacing_deg"].unique()))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", length=0)
    ax.set_xlabel("Spacing, centre to centre (degrees)")
    ax.set_ylabel("Accuracy")
    ax.set_ylim(-0.03, 1.03)
    set_title(ax, title or _name(rows))
    finish(ax)
    legend_below(ax, entries, columns=3)
    return ax


def plot_navon(
    scores: pd.DataFrame, *, model: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Plot the accuracy of a model with the two levels of Navon figures.

    Parameters
    ----------
    scores : DataFrame
        Scores of a run; of the model, the layer that was chosen on training pictures.
    model : str
        Which model.
    title : str, optional
        Text above; model and layer by default.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Conditions side by side, large and small letter in two colours, and a line for
        chance.

    Raises
    ------
    ValueError
        If a column or the model is missing.
    """
    rows = _chosen(scores, model, "navon")
    rows = rows[rows["metric"] == "accuracy"]
    rows = rows.assign(kind=[str(c).split(",")[0] for c in rows["condition"]])
    rows["kind"] = rows["kind"].str.replace(
        "neutral_(global|local)", "neutral", regex=True
    )
    kinds = [
        kind
        for kind in (_SINGLE, "neutral", "congruent", "incongruent")
        if (rows["kind"] == kind).any()
    ]
    ax = new_axes(ax, (4.4, 3.9))
    entries: dict[str, Any] = {}
    for level, name, colour, shift in (
        ("global", "large letter", PALETTE[0], -0.2),
        ("local", "small letters", PALETTE[1], 0.2),
    ):
        part = rows[rows["asked"] == level].set_index("kind")
        part = part[~part.index.duplicated()].reindex(kinds)
        x = np.arange(len(kinds)) + shift
        entries[name] = ax.bar(x, part["value"], width=0.36, color=colour)
        bars = interval_bars(part)
        if bars is not None:
            ax.errorbar(x, part["value"], bars, fmt="none", ecolor="#1A1A1A", lw=1)
    chance = float(_chance(scores, "navon").iloc[0])
    entries["chance"] = ax.axhline(chance, color=GREY, ls=":", lw=1.3)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set_ylabel("Accuracy")
    ax.set_ylim(0, 1.03)
    set_title(ax, title or _name(rows))
    finish(ax)
    legend_below(ax, entries, columns=3)
    return ax


def plot_letter_layers(
    scores: pd.DataFrame,
    *,
    metric: str,
    condition: str = "",
    label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Plot one measure of all layers of all models.

    Parameters
    ----------
    scores : DataFrame
        Scores of a run.
    metric : str
        Which metric, such as "critical_spacing_deg" or "precedence".
    condition : str, optional
        Which condition, such as "radial".
    label : str, optional
        What the abscissa is.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row per layer with its 95 % interval; filled marks are the layers that were
        chosen on training pictures. Undefined values are told in words.

    Raises
    ------
    ValueError
        If a column is missing or there is no such row.
    """
    check_columns("scores", scores.columns, _COLUMNS)
    wanted = (scores["metric"] == metric) & (scores["condition"] == condition)
    rows = scores[wanted]
    if rows.empty:
        raise ValueError(f"`scores` has no rows {metric!r} of condition {condition!r}.")
    looks = {look.subject: look for look in looks_of(rows)}
    ax = new_axes(ax, (5.6, 1.1 + 0.32 * len(rows)))
    words = {
        "below": "below all tested spacings",
        "above": "above all tested spacings",
    }
    for place, (_, row) in enumerate(rows.iterrows()):
        look = looks[str(row["subject"])]
        if not np.isfinite(row["value"]):
            text = words.get(str(row["side"]), "undefined")
            ax.text(0.02, place, text, va="center", color=GREY, fontsize=TEXT_PT,
                    transform=ax.get_yaxis_transform())  # fmt: skip
            continue
        if np.isfinite(row["ci_low"]):
            ax.plot([row["ci_low"], row["ci_high"]], [place] * 2, color=look.colour,
                    lw=1.8)  # fmt: skip
        ax.plot(row["value"], place, look.marker, color=look.colour, ms=7,
                mfc=look.colour if row["chosen"] else "white")  # fmt: skip
    names = [
        f"{looks[str(row['subject'])].label}  {row['layer']}"
        for _, row in rows.iterrows()
    ]
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    if "spacing" not in metric:
        ax.axvline(0, color=GREY, lw=1)
    ax.set_xlabel(label or metric.replace("_", " "))
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax


def _chosen(scores: pd.DataFrame, model: str, test: str) -> pd.DataFrame:
    check_columns("scores", scores.columns, _COLUMNS)
    mine = (scores["model"] == model) & (scores["test"] == test)
    rows = scores[mine & scores["chosen"].astype(bool)]
    if rows.empty:
        raise ValueError(f"`scores` has no rows of {model!r} in the test {test!r}.")
    return rows


def _chance(scores: pd.DataFrame, test: str) -> "pd.Series[float]":
    mine = (scores["model"] == _CHANCE) & (scores["test"] == test)
    return scores.loc[mine, "value"]


def _name(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    look = looks_of(rows)[0]
    return f"{look.label}, {first['layer']}"
