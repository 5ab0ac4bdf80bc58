"""Figures of models ranked on brain data: layers, best layers, paired differences.

A network with random weights has the colour of its trained twin, with a broken line or
an open bar.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    MARKERS,
    PALE,
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

_BROKEN = (0, (4, 2.2))
_DOTTED = (0, (1.2, 1.6))
_MUTED = "#A9A9A9"
_LABEL_LENGTH = 36
_LAYER_COLUMNS = ("model", "layer", "depth", "value", "ci_low", "ci_high", "untrained")
_BOUNDS = ("ceiling_low", "ceiling_high", "chance_low", "chance_high")
# Of models without depth, whose lines say nothing about layers.
_LEVEL_COLOURS = ("#8C564B", "#5B5B5B", "#9A8700", "#3E6E6E")


def model_labels(table: pd.DataFrame) -> dict[str, str]:
    """Return printed names of models, as short as they stay distinct.

    Parameters
    ----------
    table : DataFrame
        `model`, such as "squeezenet1_0@weights", and `untrained`.

    Returns
    -------
    dict of str to str
        The part before "@", with "(untrained)" where weights are random; the full name
        where two would be the same.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["a@w", "a@seeded:0"], "untrained": [False, 1]})
    >>> list(model_labels(table).values())
    ['a', 'a (untrained)']
    """
    check_columns("table", table.columns, ["model", "untrained"])
    rows = table[["model", "untrained"]].drop_duplicates("model")
    full = dict(zip(rows["model"], rows["untrained"].astype(bool), strict=True))

    def mark(text: str, untrained: bool) -> str:
        marked = untrained and "untrained" not in text.lower()
        return f"{text} (untrained)" if marked else text

    short = {name: mark(name.partition("@")[0], u) for name, u in full.items()}
    told = list(short.values())
    return {
        name: text if told.count(text) == 1 else mark(name, full[name])
        for name, text in short.items()
    }


def model_colours(models: Collection[str]) -> dict[str, str]:
    """Give each architecture a colour; what has one name before "@" shares it.

    Parameters
    ----------
    models : collection of str
        Names, such as "squeezenet1_0@seeded:0".

    Returns
    -------
    dict of str to str
        Colours.

    Examples
    --------
    >>> colours = model_colours(["a@w", "b@w", "a@seeded:0"])
    >>> colours["a@w"] == colours["a@seeded:0"] != colours["b@w"]
    True
    """
    stems = list(dict.fromkeys(name.partition("@")[0] for name in models))
    place = {stem: PALETTE[i % len(PALETTE)] for i, stem in enumerate(stems)}
    return {name: place[name.partition("@")[0]] for name in models}


def plot_layer_curves(
    layers: pd.DataFrame,
    *,
    ylabel: str,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw scores of layers against their relative depth, one line per model.

    Parameters
    ----------
    layers : DataFrame
        One row per layer: `model`, `layer`, `depth` (0..1; NaN where a model has no
        order of layers: then its largest value is a dotted line), `value`, `ci_low`,
        `ci_high`, `untrained`; `ceiling_low`, `ceiling_high`, `chance_low` and
        `chance_high` are drawn as bands where they are known.
    ylabel : str
        Name of the score, with unit.
    labels : mapping of str to str, optional
        Printed names of models; `model_labels` by default.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Lines with bands of intervals.

    Raises
    ------
    ValueError
        If a column is missing or there are no rows.
    """
    check_columns("layers", layers.columns, [*_LAYER_COLUMNS, *_BOUNDS])
    if layers.empty:
        raise ValueError("`layers` has no rows.")
    told = model_labels(layers) | dict(labels or {})
    names = list(dict.fromkeys(layers["model"]))
    has_depth = layers.groupby("model")["depth"].apply(lambda d: d.notna().all())
    deep = [name for name in names if has_depth[name]]
    level = [name for name in names if not has_depth[name]]
    colours = model_colours(deep)
    ax = new_axes(ax, (6.4, 3.5 + 0.14 * len(names)))
    entries: dict[str, Any] = _draw_bounds(ax, layers)
    for place, name in enumerate(deep):
        part = layers[layers["model"] == name].sort_values("depth", kind="stable")
        x, y = part["depth"].to_numpy(float), part["value"].to_numpy(float)
        untrained = bool(part["untrained"].iloc[0])
        (line,) = ax.plot(
            x,
            y,
            color=colours[name],
            lw=1.8,
            ls=_BROKEN if untrained else "-",
            marker=MARKERS[place % len(MARKERS)],
            ms=5,
            mfc="white" if untrained else colours[name],
            zorder=3,
        )
        low, high = part["ci_low"].to_numpy(float), part["ci_high"].to_numpy(float)
        ax.fill_between(x, low, high, color=colours[name], alpha=0.13, lw=0, zorder=2)
        entries[told[name]] = line
    for place, name in enumerate(level):
        value = float(layers.loc[layers["model"] == name, "value"].max())
        colour = _LEVEL_COLOURS[place % len(_LEVEL_COLOURS)]
        ls = (_DOTTED, (0, (5, 1.4, 1.2, 1.4)))[place // len(_LEVEL_COLOURS) % 2]
        line = ax.axhline(value, color=colour, lw=1.7, ls=ls, zorder=2.5)
        entries[f"{told[name]} (no depth)"] = line
    ax.set_xlim(-0.03, 1.03)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["first", "¼", "½", "¾", "last"])
    ax.set_xlabel("Place among the layers of the model")
    ax.set_ylabel(ylabel)
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=2)
    return ax


def _draw_bounds(
    ax: Axes, rows: pd.DataFrame, *, across: bool = False
) -> dict[str, Any]:
    """Draw ceiling and chance over values on y, or on x."""
    span, line = (ax.axvspan, ax.axvline) if across else (ax.axhspan, ax.axhline)
    entries: dict[str, Any] = {}
    # One ceiling for all models; chance differs a little from layer to layer.
    low, high = (rows[name].median() for name in ("ceiling_low", "ceiling_high"))
    if np.isfinite(low) and np.isfinite(high):
        if high > low:
            span(low, high, color=PALE, lw=0, alpha=0.75, zorder=0.5)
            entries["noise ceiling"] = Patch(facecolor=PALE, alpha=0.75)
        else:
            entries["noise ceiling"] = line(
                low, color=HUMAN_COLOUR, lw=1.2, ls=_BROKEN, zorder=1
            )
    low, high = (rows[name].median() for name in ("chance_low", "chance_high"))
    if np.isfinite(low) and np.isfinite(high):
        span(low, high, color="#F3E3C3", lw=0, zorder=0.6)
        entries["chance (95 %)"] = Patch(facecolor="#F3E3C3")
    line(0, color=GREY, lw=1, zorder=1)
    return entries


def plot_model_ranking(
    best: pd.DataFrame,
    *,
    xlabel: str,
    optimistic: pd.DataFrame | None = None,
    muted: Collection[str] = (),
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the score of the best layer of each model as bars, largest on top.

    Parameters
    ----------
    best : DataFrame
        One row per model: `model`, `layer`, `value`, `ci_low`, `ci_high`,
        `untrained`, and the bounds as in `plot_layer_curves`.
    xlabel : str
        Name of the score, with unit.
    optimistic : DataFrame, optional
        `model` and `value` of layers that were chosen on the data they are scored on:
        open marks.
    muted : collection of str, optional
        Models drawn in grey.
    labels : mapping of str to str, optional
        Printed names of models; `model_labels` by default.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are models, by default.

    Returns
    -------
    Axes
        Bars with intervals, open ones for random weights; none for undefined scores.

    Raises
    ------
    ValueError
        If a column is missing or a model has several rows.
    """
    columns = ["model", "layer", "value", "ci_low", "ci_high", "untrained", *_BOUNDS]
    check_columns("best", best.columns, columns)
    if best["model"].duplicated().any():
        name = best.loc[best["model"].duplicated(), "model"].iloc[0]
        raise ValueError(f"`best` has several rows of {name!r}: choose one.")
    told = model_labels(best) | dict(labels or {})
    colours = model_colours([name for name in best["model"] if name not in muted])
    rows = best.sort_values("value", na_position="first", kind="stable")
    ax = new_axes(ax, (6.8, 1.5 + 0.42 * len(rows)))
    entries = _draw_bounds(ax, rows, across=True)
    bars = interval_bars(rows)
    luck = {} if optimistic is None else dict(optimistic[["model", "value"]].to_numpy())
    for place, (_, row) in enumerate(rows.iterrows()):
        colour = colours.get(row["model"], _MUTED)
        ax.barh(
            place,
            row["value"],
            height=0.62,
            facecolor="white" if row["untrained"] else colour,
            edgecolor=colour,
            linewidth=1.4,
            zorder=2,
        )
        if bars is not None:
            ax.errorbar(
                row["value"],
                place,
                xerr=bars[:, place : place + 1],
                fmt="none",
                color=HUMAN_COLOUR,
                elinewidth=1.4,
                zorder=3,
            )
        best_of_all = luck.get(row["model"], np.nan)
        ax.plot(
            best_of_all, place, "d", color=HUMAN_COLOUR, mfc="white", ms=5, zorder=4
        )
        ax.annotate(
            number_text(float(row["value"]), 3),
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT_PT - 1,
            color=GREY,
        )
    if luck:
        entries["largest of all layers (optimistic)"] = Line2D(
            [], [], marker="d", ls="none", color=HUMAN_COLOUR, mfc="white", ms=5
        )
    if rows["untrained"].any():
        entries["untrained"] = Patch(facecolor="white", edgecolor=GREY, linewidth=1.4)
    shown = [
        _two_lines(told[row["model"]], str(row["layer"])) for _, row in rows.iterrows()
    ]
    ax.set_yticks(range(len(rows)), shown, parse_math=False, fontsize=TEXT_PT - 0.5)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(xlabel)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0, labelsize=TEXT_PT - 0.5)
    legend_below(ax, entries, columns=2)
    return ax


def plot_difference_matrix(
    comparisons: pd.DataFrame,
    *,
    order: list[str],
    label: str,
    labels: Mapping[str, str] | None = None,
    alpha: float = 0.05,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the paired differences of all models, row minus column.

    Parameters
    ----------
    comparisons : DataFrame
        One row per pair: `model_a`, `model_b`, `difference` (a minus b), `p_fdr`.
    order : list of str
        Models from top to bottom and from left to right.
    label : str
        Name of the difference, with unit.
    labels : mapping of str to str, optional
        Printed names of models.
    alpha : float, default 0.05
        Differences with `p_fdr` below it are bold, the others pale.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Matrix; the diagonal and undefined differences are blank.

    Raises
    ------
    ValueError
        If a column is missing, or a pair of the order.
    """
    columns = ["model_a", "model_b", "difference", "p_fdr"]
    check_columns("comparisons", comparisons.columns, columns)
    n = len(order)
    place = {name: i for i, name in enumerate(order)}
    difference, p = np.full((n, n), np.nan), np.full((n, n), np.nan)
    for a, b, value, q in comparisons[columns].itertuples(index=False):
        if a in place and b in place:
            i, j = place[a], place[b]
            difference[i, j], difference[j, i] = value, -value
            p[i, j] = p[j, i] = q
    told = {name: (labels or {}).get(name, name) for name in order}
    ax = new_axes(ax, (2.9 + 0.52 * n, 2.5 + 0.42 * n))
    largest = float(np.nanmax(np.abs(difference), initial=0)) or 1.0
    norm = Normalize(-largest, largest)
    shown = np.where(p < alpha, difference, np.nan)
    image = ax.imshow(shown, cmap="RdBu_r", norm=norm, aspect="auto")
    _write_cells(ax, difference, p, alpha, largest)
    names = [_shortened(told[name]) for name in order]
    ax.set_xticks(
        range(n),
        names,
        rotation=38,
        ha="right",
        rotation_mode="anchor",
        parse_math=False,
    )
    ax.set_yticks(range(n), names, parse_math=False)
    figure = ax.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=ax, fraction=0.04, pad=0.02)
        bar.set_label(label, fontsize=TEXT_PT)
        bar.ax.tick_params(labelsize=TEXT_PT - 1)
        bar.outline.set_visible(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=TEXT_PT - 1)
    ax.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=PALE, linewidth=0.6)
    ax.tick_params(which="minor", length=0)
    if title:
        set_title(ax, title)
    return ax


def _write_cells(
    ax: Axes,
    difference: NDArray[np.float64],
    p: NDArray[np.float64],
    alpha: float,
    largest: float,
) -> None:
    size = TEXT_PT - (1.5 if len(difference) < 10 else 3.2)
    for (i, j), value in np.ndenumerate(difference):
        if np.isnan(value):
            continue
        certain = p[i, j] < alpha
        dark = certain and abs(value) > 0.62 * largest
        ax.text(
            j,
            i,
            number_text(float(value), 2),
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold" if certain else "normal",
            color="white" if dark else (HUMAN_COLOUR if certain else GREY),
        )


def _two_lines(name: str, layer: str) -> str:
    short = _shortened(layer)
    return f"{name}\n{short}" if short else name


def _shortened(text: str) -> str:
    """Cut text in the middle: names differ at their ends too."""
    if len(text) <= _LABEL_LENGTH:
        return text
    half = _LABEL_LENGTH // 2 - 1
    return f"{text[:half]} … {text[-half:]}"
