"""Figures of probes: runs of groups beside controls, and layer by layer.

Axes-level, as in `analysis.plots`: a function draws on the axes it is given, or on
those of a new figure, and returns the axes.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.plot_style import (
    GREY,
    MARKERS,
    PALE,
    PALETTE,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns

CONTROL = "control"
"""`kind` of models without weights: they are lines, as they have no runs."""

_BROKEN = (0, (4, 2.2))
_DOTTED = (0, (1, 1.3))
_NEEDED = ("model", "group", "kind", "untrained", "value")
_SPREAD = 0.16
_NEAR = 0.05  # share of the axis


def plot_probe_groups(
    scores: pd.DataFrame,
    means: pd.DataFrame,
    *,
    label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw every run of every group, with the mean of each group and its limits.

    Controls are broken lines with their names at the right, a dotted line is what
    chance reaches, and the noise ceiling a grey band.

    Parameters
    ----------
    scores : DataFrame
        One row per model, of one metric: `model`, `group`, `kind` ("network" or
        "control"), `untrained` (bool), `value`; perhaps `ceiling_low`,
        `ceiling_high` and `chance_high`, of which the mean over the rows is drawn.
    means : DataFrame
        `group`, `value`, `ci_low`, `ci_high` (NaN where unknown).
    label : str, optional
        What the ordinate is.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Groups from left to right, in their order; untrained ones are hollow.

    Raises
    ------
    ValueError
        If a column is missing, a model comes twice, or there is no network.

    Examples
    --------
    >>> scores = pd.DataFrame({"model": ["a", "b"], "group": ["new", "old"]})
    >>> scores = scores.assign(kind="network", untrained=[False, True], value=[2.0, 1])
    >>> means = scores.assign(ci_low=float("nan"), ci_high=float("nan"))
    >>> ax = plot_probe_groups(scores, means)
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['new', 'old']
    """
    networks = _networks(scores)
    check_columns("means", means.columns, ("group", "value", "ci_low", "ci_high"))
    if scores["model"].duplicated().any():
        twice = scores.loc[scores["model"].duplicated(), "model"].iloc[0]
        raise ValueError(
            f"`scores` has the model {twice!r} twice: pass the rows of one metric and "
            "one layer, or those of chosen layers."
        )
    names = [str(name) for name in networks["group"].unique()]
    colours = _colours(names)
    ax = new_axes(ax, (1.8 + 0.9 * len(names), 3.4))
    _draw_band(ax, scores)
    for place, name in enumerate(names):
        rows = networks[networks["group"] == name]
        values = rows["value"].to_numpy(np.float64)
        shifts = np.linspace(-_SPREAD, _SPREAD, len(values)) if len(values) > 1 else 0
        hollow = bool(rows["untrained"].any())
        ax.plot(
            *(place + shifts + np.zeros(len(values)), values),
            marker="o",
            ls="",
            ms=5.5,
            color=colours[name],
            mfc="white" if hollow else colours[name],
        )
        _draw_mean(ax, place, means[means["group"] == name], colours[name])
    _draw_controls(ax, scores)
    ax.set_xticks(range(len(names)), names, parse_math=False)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.set_ylabel(label, parse_math=False)
    if title:
        set_title(ax, title)
    finish(ax)
    return ax


def plot_probe_layers(
    scores: pd.DataFrame,
    *,
    label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric layer by layer: a thin line per run, a thick one per group.

    Parameters
    ----------
    scores : DataFrame
        One row per model and layer: `model`, `group`, `kind`, `untrained`, `layer`,
        `value`. Controls are the best of their layers, as lines.
    label : str, optional
        What the ordinate is.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Layers from left to right, in order of first appearance; lines of untrained
        networks are broken.

    Raises
    ------
    ValueError
        If a column is missing, a layer of a model comes twice, or there is no network.

    Examples
    --------
    >>> scores = pd.DataFrame({"layer": ["one", "two"], "value": [0.25, 0.5]})
    >>> scores = scores.assign(model="a", group="new", kind="network", untrained=False)
    >>> plot_probe_layers(scores).lines[-1].get_ydata().tolist()
    [0.25, 0.5]
    """
    networks = _networks(scores)
    check_columns("scores", scores.columns, ("layer",))
    if scores.duplicated(["model", "layer"]).any():
        twice = scores[scores.duplicated(["model", "layer"])].iloc[0]
        raise ValueError(
            f"`scores` has the layer {twice['layer']!r} of {twice['model']!r} twice: "
            "pass the rows of one metric."
        )
    layers = [str(name) for name in networks["layer"].unique()]
    place = {name: k for k, name in enumerate(layers)}
    names = [str(name) for name in networks["group"].unique()]
    colours = _colours(names)
    ax = new_axes(ax, (2.2 + 0.5 * len(layers), 3.6))
    entries: dict[str, Any] = {}
    for k, name in enumerate(names):
        rows = networks[networks["group"] == name]
        style = _BROKEN if rows["untrained"].any() else "-"
        look: dict[str, Any] = {"color": colours[name], "ls": style}
        for _, run in rows.groupby("model", sort=False):
            x = [place[str(layer)] for layer in run["layer"]]
            ax.plot(x, run["value"].to_numpy(np.float64), lw=0.8, alpha=0.6, **look)
        mean = rows.groupby("layer", sort=False)["value"].mean()
        x = [place[str(layer)] for layer in mean.index]
        mark = MARKERS[k % len(MARKERS)]
        ax.plot(x, mean.to_numpy(np.float64), lw=2, marker=mark, ms=5, **look)
        entries[name] = Line2D([], [], lw=2, marker=mark, ms=5, **look)
    controls = scores[scores["kind"] == CONTROL]
    best = controls.sort_values("value").drop_duplicates("model", keep="last")
    _draw_controls(ax, best)
    ax.set_xticks(range(len(layers)), layers, rotation=45, ha="right", parse_math=False)
    ax.set_xlim(-0.4, len(layers) - 0.6)
    ax.set_ylabel(label, parse_math=False)
    if title:
        set_title(ax, title)
    finish(ax)
    figure = ax.get_figure()
    if figure is not None and len(figure.axes) == 1:
        legend_below(ax, entries, columns=2)
    else:
        # Rotated names of layers take the room below.
        ax.legend(
            entries.values(), entries, frameon=False, fontsize=TEXT_PT - 1.5, loc="best"
        )
    return ax


def _networks(scores: pd.DataFrame) -> pd.DataFrame:
    check_columns("scores", scores.columns, _NEEDED)
    networks = scores[scores["kind"] != CONTROL]
    if networks.empty:
        raise ValueError("`scores` has no network: at least one row is needed.")
    return networks


def _colours(names: list[str]) -> dict[str, str]:
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(names)}


def _draw_mean(ax: Axes, place: int, mean: pd.DataFrame, colour: str) -> None:
    """Draw the mean of a group with its limits, right of its runs."""
    if mean.empty:
        return
    row = mean.iloc[:1]
    x, y = place + 2 * _SPREAD, row["value"].to_numpy(np.float64)
    bars = interval_bars(row)
    ax.errorbar(
        [x], y, yerr=bars, fmt="_", color=colour, ms=12, mew=2.2, elinewidth=1.4
    )


def _draw_band(ax: Axes, scores: pd.DataFrame) -> None:
    """Draw ceiling and chance, where they are known."""
    limits = {
        name: float(scores[name].astype(float).mean()) if name in scores else np.nan
        for name in ("ceiling_low", "ceiling_high", "chance_high")
    }
    low, high = limits["ceiling_low"], limits["ceiling_high"]
    if np.isfinite(low):
        ax.axhspan(low, max(low, high), color=PALE, lw=1, zorder=0)
    if np.isfinite(limits["chance_high"]):
        ax.axhline(limits["chance_high"], color=GREY, lw=1, ls=_DOTTED, zorder=1)


def _draw_controls(ax: Axes, scores: pd.DataFrame) -> None:
    """Draw lines with names, one name beside the other where lines are near."""
    controls = scores[(scores["kind"] == CONTROL) & scores["value"].notna()]
    values = controls["value"].to_numpy(np.float64)
    for value in values:
        ax.axhline(value, color=GREY, lw=1.1, ls=_BROKEN, zorder=1)
    low, high = ax.get_ylim()
    at = -np.inf
    texts: dict[float, list[str]] = {}
    for k in np.argsort(values, kind="stable"):
        if values[k] - at > _NEAR * (high - low):
            at = float(values[k])
        name = str(controls["model"].iloc[k]).removeprefix("control:")
        texts.setdefault(at, []).append(name)
    for value, names in texts.items():
        ax.annotate(
            ", ".join(names),
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color=GREY,
            fontsize=TEXT_PT - 1.5,
            parse_math=False,
        )
