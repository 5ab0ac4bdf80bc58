"""Figures of the Gestalt battery."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALETTE,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from neurovis.core.checks import check_columns
from neurovis.core.types import HUMAN_MODEL

_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "v", "P", "X", "p")
_VERDICTS = ("reversed", "undecided", "holds")
_VERDICT_COLOURS = ("#F3C6A5", "#F1F1F1", "#B7E0CF")
_COLUMNS = ("model", "layer", "untrained", "level", "value", "ci_low", "ci_high")


def plot_by_level(
    scores: pd.DataFrame,
    *,
    level: str,
    label: str,
    title: str = "",
    chance: float | None = None,
    log: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a measure over the levels of a factor, one line per model and layer.

    Parameters
    ----------
    scores : DataFrame
        Rows of one metric and condition: `model`, `layer`, `untrained`, `level`,
        `value`, `ci_low` and `ci_high`.
    level, label : str
        Texts at the axes.
    title : str, optional
        Text above.
    chance : float, optional
        Where a dashed line stands.
    log : bool, default False
        Logarithmic abscissa.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Colours are models, dashes and marks are layers; people are black.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("scores", scores.columns, _COLUMNS)
    ax = new_axes(ax, (4.8, 4.4))
    rows = scores[np.isfinite(scores["level"]) & np.isfinite(scores["value"])]
    models = list(dict.fromkeys(scores["model"]))
    entries = {}
    groups = list(rows.groupby(["model", "layer"], sort=False))
    levels = np.sort(rows["level"].unique())
    # Marks of one level stand side by side.
    step = float(np.diff(levels).min()) if len(levels) > 1 else 1.0
    for place, ((model, layer), part) in enumerate(groups):
        part = part.sort_values("level")
        own = [name for (name, _), _ in groups if name == model]
        before = [name for (name, _), _ in groups[:place] if name == model]
        human = model == HUMAN_MODEL
        colour = PALETTE[models.index(model) % len(PALETTE)]
        beside = place - (len(groups) - 1) / 2
        x = part["level"] + 0.05 * step * beside
        line = ax.errorbar(
            part["level"] * 1.04**beside if log else x,
            part["value"],
            yerr=interval_bars(part),
            color=HUMAN_COLOUR if human else colour,
            ls=_LINES[len(before) % len(_LINES)] if len(own) > 1 else "-",
            marker="D" if human else _MARKERS[len(before) % len(_MARKERS)],
            ms=4.5,
            lw=1.4,
            elinewidth=0.8,
        )
        name = "people" if human else str(model)
        if part["untrained"].iloc[0] and "untrained" not in name:
            name += " (untrained)"
        entries[f"{name} {layer}".strip()] = line
    if chance is not None:
        ax.axhline(chance, color=GREY, lw=1, ls=(0, (2, 2)))
    if log:
        ax.set_xscale("log")
    if len(levels):
        ax.set_xticks(levels, [f"{one:g}" for one in levels], fontsize=TEXT_PT)
        ax.minorticks_off()
    ax.set_xlabel(level)
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    if entries:
        legend_below(ax, entries, columns=2)
    return ax


def plot_verdicts(directions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw which layers do as people do, one column per model and layer.

    Parameters
    ----------
    directions : DataFrame
        `claim`, `model`, `layer`, `untrained`, `difference` and `verdict` ("holds",
        "reversed" or "undecided"), as `tasks.directions` has them.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Colours are verdicts, numbers the differences; a dash is undefined.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    needed = ("claim", "model", "layer", "untrained", "difference", "verdict")
    check_columns("directions", directions.columns, needed)
    claims = list(dict.fromkeys(directions["claim"]))
    keys = ["model", "layer", "untrained"]
    columns = list(
        directions[keys].drop_duplicates().itertuples(index=False, name=None)
    )
    size = (4.6 + 0.82 * len(columns), 2.0 + 0.34 * len(claims))
    ax = new_axes(ax, size)
    shades = np.full((len(claims), len(columns)), np.nan)
    for row in directions[[*keys, "claim", "verdict", "difference"]].itertuples(
        index=False
    ):
        model, layer, untrained, claim, verdict, difference = row
        i, j = claims.index(claim), columns.index((model, layer, untrained))
        shades[i, j] = _VERDICTS.index(str(verdict))
        text = _short(float(difference))
        ax.text(j, i, text, ha="center", va="center", fontsize=TEXT_PT - 1)
    ax.imshow(
        shades, cmap=ListedColormap(_VERDICT_COLOURS), vmin=0, vmax=2, aspect="auto"
    )
    names = []
    for model, layer, untrained in columns:
        mark = " (untrained)" if untrained and "untrained" not in str(model) else ""
        names.append(f"{model}{mark}\n{layer}")
    ax.set_xticks(range(len(columns)), names, rotation=40, ha="right", parse_math=False)
    ax.set_yticks(range(len(claims)), claims, parse_math=False)
    finish(ax)
    ax.grid(visible=False)
    ax.tick_params(length=0, labelsize=TEXT_PT - 1)
    patches = {
        name: ax.scatter([], [], marker="s", s=90, color=colour)
        for name, colour in zip(_VERDICTS[::-1], _VERDICT_COLOURS[::-1], strict=True)
    }
    legend_below(ax, patches, columns=3)
    return ax


def _short(value: float) -> str:
    """Return three significant digits at most."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return number_text(value, 3 if 0 < abs(value) < 0.1 else digits)
