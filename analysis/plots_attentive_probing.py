"""Figures of attentive probing: accuracies of readouts, and what queries gain.

Every function draws on the axes it is given, or on those of a new figure, and returns
the axes. Tables are those of `tasks.attentive_probing`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plot_style import (
    GREY,
    PALETTE,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns

_COLUMNS = [
    *("model", "layer", "probe", "metric", "value", "ci_low", "ci_high"),
    *("untrained", "chance"),
]
_LOOKS = {
    "efficient": (PALETTE[0], "D"),
    "linear": (PALETTE[1], "o"),
    "linear, class token": (PALETTE[4], "s"),
    "nearest neighbours": (PALETTE[2], "^"),
}


def plot_probe_accuracies(
    scores: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw how well pictures are classified by each readout of each layer.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.attentive_probing.run_attentive_probing`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Accuracies with 95 % intervals; the line is the share of the most frequent
        class.

    Raises
    ------
    ValueError
        If a column is missing or there is no accuracy.
    """
    check_columns("scores", scores.columns, _COLUMNS)
    rows = scores[scores["metric"] == "accuracy"]
    names = _names(rows)
    ax = new_axes(ax, (6.6, 1.9 + 0.55 * len(names)))
    entries: dict[str, Any] = {}
    shown = [probe for probe in _LOOKS if (rows["probe"] == probe).any()]
    for number, probe in enumerate(shown):
        colour, marker = _LOOKS[probe]
        mine = rows[rows["probe"] == probe].set_index(["model", "layer"])
        mine = mine.reindex(pd.MultiIndex.from_tuples(list(names)))
        entries[probe] = ax.errorbar(
            mine["value"],
            np.arange(len(names)) + 0.16 * (number - (len(shown) - 1) / 2),
            xerr=interval_bars(mine),
            fmt=marker,
            color=colour,
            ms=6,
            lw=1.4,
        )
    ax.axvline(float(rows["chance"].iloc[0]), color=GREY, lw=1, ls=(0, (4, 2.2)))
    ax.set_xlim(0, 1.02)
    _label(ax, list(names.values()), "Accuracy on tested pictures", title)
    legend_below(ax, entries, columns=4)
    return ax


def plot_probe_gains(
    scores: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw what the efficient probe gains over the linear probe.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.attentive_probing.run_attentive_probing`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Differences of accuracy with 95 % intervals over pictures and seeds.

    Raises
    ------
    ValueError
        If a column is missing or there is no difference.
    """
    check_columns("scores", scores.columns, _COLUMNS)
    rows = scores[
        (scores["metric"] == "gain_over_linear") & (scores["probe"] == "efficient")
    ]
    names = _names(rows)
    ax = new_axes(ax, (6.6, 1.3 + 0.4 * len(names)))
    ax.errorbar(
        rows["value"],
        np.arange(len(rows)),
        xerr=interval_bars(rows),
        fmt="D",
        color=PALETTE[0],
        ms=6,
        lw=1.4,
    )
    ax.axvline(0, color=GREY, lw=1)
    _label(ax, list(names.values()), "Accuracy above the linear probe", title)
    return ax


def _names(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    if not len(rows):
        raise ValueError("`scores` has nothing to draw.")
    found = {}
    for row in rows.to_dict("records"):
        told = row["untrained"] and "untrained" not in row["model"]
        text = f"{row['model']} {row['layer']}" + (" (untrained)" if told else "")
        found[row["model"], row["layer"]] = text
    return found


def _label(ax: Axes, names: list[str], text: str, title: str) -> None:
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel(text)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
