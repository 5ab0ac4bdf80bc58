"""Figures of oddity experiments with distorted pictures, one axes each.

In the manner of `analysis.plots`: every function draws on the axes it is given, or on
those of a new figure, and returns the axes. Tables are those of
`analysis.disrt.disrt_scores`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.disrt import CHANCE, CHOSEN, EXTRA_COLUMNS, LEVEL, strengths_of
from analysis.plot_style import (
    GREY,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    looks_of,
    new_axes,
    number_text,
    set_title,
)
from neurovis.core.checks import check_columns, check_option
from neurovis.core.types import SCORE_COLUMNS

Picture = NDArray[np.uint8]

_STRENGTH_LABELS = {
    "patch_shuffle": "Patches along a side",
    "blend_shuffle": "Patches along a side",
    "local_shuffle": "Displacement (patches)",
}
_GAP = 0.06


def plot_oddity_strength(
    scores: pd.DataFrame,
    *,
    distortion: str,
    layers: Mapping[str, str],
    kind: str = "oddity",
    ax: Axes | None = None,
) -> Axes:
    """Plot accuracy against the strength of a distortion.

    Parameters
    ----------
    scores : DataFrame
        Score table.
    distortion : str
        Which distortion.
    layers : mapping of str to str
        Layer of each model that is shown.
    kind : {"oddity", "control"}
        Which trials.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Share correct with 95 % intervals; lines mark chance and the threshold.

    Raises
    ------
    ValueError
        If a column is missing or there is no such distortion.
    """
    rows = _accuracies(scores, kind)
    check_option("distortion", distortion, list(rows["distortion"].dropna().unique()))
    rows = rows[(rows["distortion"] == distortion) & rows["top_k"].isna()]
    strengths = strengths_of(rows, distortion)
    looks = looks_of(rows)
    ax = new_axes(ax, (4.2, 3.0 + 0.2 * len(looks)))
    _reference_lines(ax)
    entries = {}
    for i, look in enumerate(looks):
        own = rows[
            (rows["model"] == look.subject) & (rows["layer"] == layers[look.subject])
        ].sort_values("strength")
        # Side by side on the logarithmic axis.
        shift = 2 ** (_GAP * (i - (len(looks) - 1) / 2))
        entries[f"{look.label}, {layers[look.subject]}"] = ax.errorbar(
            own["strength"] * shift,
            own["value"],
            yerr=interval_bars(own),
            color=look.colour,
            marker=look.marker,
            markersize=6,
            linewidth=1.6,
            elinewidth=1.1,
            markerfacecolor="white" if look.untrained else look.colour,
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(strengths), [f"{strength:g}" for strength in strengths])
    ax.minorticks_off()
    ax.set_ylim(-0.03, 1.05)
    ax.set_xlabel(_STRENGTH_LABELS.get(distortion, "Strength"))
    ax.set_ylabel("Share correct")
    set_title(ax, f"{distortion.replace('_', ' ')}, {kind} trials")
    finish(ax)
    legend_below(ax, entries)
    return ax


def plot_oddity_layers(scores: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Plot the mean accuracy of every layer, in oddity and control trials.

    Parameters
    ----------
    scores : DataFrame
        Score table.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row per layer: filled marks are oddity trials, open ones control trials.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    _accuracies(scores, "oddity")
    rows = scores[
        (scores["metric"] == "accuracy")
        & (scores["condition"] == "all")
        & (scores["layer"] != CHOSEN)
    ]
    places = rows[["model", "layer", "top_k"]].drop_duplicates().reset_index(drop=True)
    ax = new_axes(ax, (6.2, 1.5 + 0.34 * len(places)))
    looks = {look.subject: look for look in looks_of(rows)}
    labels = []
    entries: dict[str, Any] = {}
    for place, (model, layer, top_k) in enumerate(places.itertuples(index=False)):
        look = looks[str(model)]
        share = "" if np.isnan(top_k) else f", {100 * top_k:g} % active"
        labels.append(f"{look.label}, {layer}{share}")
        same = (rows["model"] == model) & (rows["layer"] == layer)
        same &= rows["top_k"].isna() if np.isnan(top_k) else rows["top_k"] == top_k
        for kind, face in (("control", "white"), ("oddity", look.colour)):
            own = rows[same & (rows["kind"] == kind)]
            entries[f"{kind} trials"] = ax.errorbar(
                own["value"],
                [place] * len(own),
                xerr=interval_bars(own),
                color=look.colour,
                marker=look.marker,
                markersize=7,
                linestyle="none",
                markerfacecolor=face,
            )
    ax.axvline(CHANCE, color=GREY, linestyle=(0, (2, 2)), linewidth=1)
    ax.text(CHANCE + 0.01, -0.72, "chance", color=GREY, fontsize=TEXT_PT - 1)
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.set_ylim(len(labels) - 0.5, -1.0)
    ax.set_xlim(-0.03, 1.05)
    ax.set_xlabel("Share correct, mean over conditions")
    finish(ax, grid="x")
    legend_below(ax, dict(sorted(entries.items(), reverse=True)), columns=2)
    return ax


def plot_oddity_trials(
    trials: Sequence[tuple[str, Sequence[Picture]]], *, ax: Axes | None = None
) -> Axes:
    """Show the three pictures of some trials, one trial per row.

    Parameters
    ----------
    trials : sequence of tuple of str and sequence of ndarray of uint8
        Name of the condition, and the odd picture followed by the others, all of one
        size (H, W, 3).
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Pictures in a grid.

    Raises
    ------
    ValueError
        If there is no trial, or sizes differ.
    """
    if not trials or len({p.shape for _, row in trials for p in row}) != 1:
        raise ValueError("`trials` must hold pictures of one size.")
    height, width = trials[0][1][0].shape[:2]
    gap = max(width // 20, 1)
    columns = max(len(row) for _, row in trials)
    sheet = np.full(
        ((height + gap) * len(trials) - gap, (width + gap) * columns - gap, 3),
        255,
        np.uint8,
    )
    for i, (_, row) in enumerate(trials):
        for j, picture in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            sheet[top : top + height, left : left + width] = picture
    ax = new_axes(ax, (1.9 + 1.2 * columns, 0.2 + 1.2 * len(trials)))
    ax.imshow(sheet, interpolation="nearest")
    middles = [i * (height + gap) + height / 2 for i in range(len(trials))]
    names = [name.replace("_", " ") for name, _ in trials]
    ax.set_yticks(middles, names, parse_math=False, fontsize=TEXT_PT)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def shares_text(row: pd.Series) -> str:
    """Write a share with its interval in percent.

    Parameters
    ----------
    row : Series
        `value`, `ci_low`, `ci_high`, 0..1.

    Returns
    -------
    str
        Such as "62 [57, 67] %".

    Examples
    --------
    >>> shares_text(pd.Series({"value": 0.5, "ci_low": 0.4, "ci_high": 0.61}))
    '50 [40, 61] %'
    """
    value, low, high = (100 * float(row[n]) for n in ("value", "ci_low", "ci_high"))
    if np.isnan(value):
        return "undefined"
    limits = ""
    if not np.isnan(low):
        limits = f" [{number_text(low, 0)}, {number_text(high, 0)}]"
    return f"{number_text(value, 0)}{limits} %"


def _accuracies(scores: pd.DataFrame, kind: str) -> pd.DataFrame:
    check_columns("scores", scores.columns, [*SCORE_COLUMNS, *EXTRA_COLUMNS])
    check_option("kind", kind, ("oddity", "control"))
    return scores[(scores["metric"] == "accuracy") & (scores["kind"] == kind)]


def _reference_lines(ax: Axes) -> None:
    for level, style in ((CHANCE, (0, (2, 2))), (LEVEL, (0, (6, 3)))):
        ax.axhline(level, color=GREY, linestyle=style, linewidth=1)
