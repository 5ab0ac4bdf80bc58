"""Figures of encoding models, one axes each.

Tables are those that `tasks.encoding.fit_encoding` leaves. Subjects are averaged and
shown as thin lines or small marks; limits are drawn where there is one subject.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.patches import Patch, Rectangle

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
    number_text,
    set_title,
)
from neurovis.core.checks import check_columns, check_option

_N_BINS = 30
_MOST_TICKS = 14


def model_labels(table: pd.DataFrame) -> dict[str, str]:
    """Return what models are called in figures: untrained ones are marked.

    Parameters
    ----------
    table : DataFrame
        With `model` and `untrained`.

    Returns
    -------
    dict of str to str
        In the order of the table.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["a", "b"], "untrained": [True, False]})
    >>> model_labels(table)
    {'a': 'a (untrained)', 'b': 'b'}
    """
    check_columns("table", table.columns, ["model", "untrained"])
    marked = table.groupby("model", sort=False)["untrained"].any()
    return {
        str(name): f"{name} (untrained)" if untrained else str(name)
        for name, untrained in marked.items()
    }


def plot_layer_scores(
    scores: pd.DataFrame,
    *,
    region: str,
    family: str = "",
    metric: str = "r_mean",
    label: str = "Mean r of held-out pictures",
    title: str = "",
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Plot the score of each layer of each model in one region, with its ceiling.

    Parameters
    ----------
    scores : DataFrame
        Table of scores: rows of one metric and region are used, those of chance
        (``condition`` "permuted pictures") as a band.
    region, family : str
        Which units.
    metric : str, default "r_mean"
        Which score.
    label : str, optional
        Name of the score, with unit.
    title : str, optional
        Above the axes; the region by default.
    legend : bool, default True
        Name models below.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Layers in their order; of several models they are numbered from 1. An undefined
        score is left out.

    Raises
    ------
    ValueError
        If a column, the metric or the region is missing.
    """
    needed = ["model", "subject", "layer", "family", "region", "metric", "condition"]
    numbers = ["value", "ci_low", "ci_high", "ceiling_low", "untrained"]
    check_columns("scores", scores.columns, [*needed, *numbers])
    check_option("metric", metric, list(scores["metric"].unique()))
    rows = scores[(scores["metric"] == metric) & (scores["family"] == family)]
    check_option("region", region, list(rows["region"].unique()))
    here = rows[rows["region"] == region]
    is_chance = here["condition"] == "permuted pictures"
    chance, values = here[is_chance], here[~is_chance]
    names = model_labels(values)
    ax = new_axes(ax, (4.6, 3.3))
    if len(chance):
        low, high = chance["ci_low"].min(), chance["ci_high"].max()
        ax.axhspan(low, high, color=PALE, alpha=0.55, linewidth=0, zorder=0.5)
    ax.axhline(0, color=GREY, linewidth=1, zorder=1)
    entries: dict[str, Any] = {}
    layers: list[str] = []
    for i, (name, text) in enumerate(names.items()):
        own = values[values["model"] == name]
        layers = list(own["layer"].unique())
        aside = 0.05 * (i - (len(names) - 1) / 2)  # so that limits do not hide another
        place = {layer: k + 1 + aside for k, layer in enumerate(layers)}
        colour = PALETTE[i % len(PALETTE)]
        subjects = list(own["subject"].unique())
        mean = own.groupby("layer", sort=False)["value"].mean()
        for subject in subjects if len(subjects) > 1 else ():
            line = own[own["subject"] == subject]
            x = line["layer"].map(place)
            ax.plot(x, line["value"], color=colour, linewidth=0.8, alpha=0.45)
        errors = interval_bars(own) if len(subjects) == 1 else None
        entries[text] = ax.errorbar(
            [place[str(layer)] for layer in mean.index],
            mean.to_numpy(),
            yerr=errors,
            color=colour,
            marker=MARKERS[i % len(MARKERS)],
            markersize=6,
            linewidth=1.8,
            elinewidth=1.3,
            markerfacecolor="white" if "(untrained)" in text else colour,
            markeredgewidth=1.5,
        )
    ceiling = values["ceiling_low"].mean()
    if np.isfinite(ceiling):
        entries["noise ceiling"] = ax.axhline(
            ceiling, color="#1A1A1A", linestyle=(0, (5, 2)), linewidth=1.3
        )
    n_most = int(values.groupby("model")["layer"].nunique().max())
    if len(names) == 1 and n_most <= _MOST_TICKS:
        texts = [layer or "features" for layer in layers]
        ax.set_xticks(range(1, n_most + 1), texts, rotation=45, ha="right")
        ax.set_xlabel("Layer")
    else:
        step = max(1, -(-n_most // _MOST_TICKS))
        ax.set_xticks(range(1, n_most + 1, step))
        ax.set_xlabel("Layer, in order" if n_most > 1 else "Layer")
    ax.set_xlim(0.5, n_most + 0.5)
    ax.set_ylabel(label, parse_math=False)
    set_title(ax, title or region)
    finish(ax)
    if legend:
        if len(chance):
            entries["chance (permuted pictures)"] = Patch(facecolor=PALE)
        legend_below(ax, entries)
    return ax


def plot_score_distribution(
    units: pd.DataFrame,
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Plot how r is distributed over units, beside the largest r that noise allows.

    Parameters
    ----------
    units : DataFrame
        Rows of units of one layer of each model: `model`, `untrained`, `r`, `ceiling`.
    labels : mapping of str to str, optional
        Printed names of models, such as with the layer; `model_labels` by default.
    title : str, optional
        Above the axes.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Outlines per model with a tick at the median; the roots of the ceilings are
        filled in grey. The legend counts undefined units.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("units", units.columns, ["model", "untrained", "r", "ceiling"])
    names = dict(labels or model_labels(units))
    ax = new_axes(ax, (4.8, 3.3 + 0.32 * max(0, len(names) - 3)))  # legend below
    r = units["r"].to_numpy(np.float64)
    low = min(-0.2, float(np.nanmin(r, initial=0.0)))
    edges = np.linspace(low, 1, _N_BINS + 1)
    entries: dict[str, Any] = {}
    one = units[units["model"] == units["model"].iloc[0]] if len(units) else units
    limit = np.sqrt(one["ceiling"].to_numpy(np.float64))
    if np.isfinite(limit).any():
        counts = np.histogram(limit[np.isfinite(limit)], edges)[0]
        entries["largest r that noise allows"] = ax.stairs(
            counts, edges, fill=True, color=PALE
        )
    for i, (name, text) in enumerate(names.items()):
        own = units.loc[units["model"] == name, "r"].to_numpy(np.float64)
        known = own[np.isfinite(own)]
        colour = PALETTE[i % len(PALETTE)]
        counts = np.histogram(known, edges)[0]
        n_lost = len(own) - len(known)
        lost = f", {n_lost} undefined" if n_lost else ""
        middle = float(np.median(known)) if len(known) else float("nan")
        entry = f"{text}: median {number_text(middle, 2)}, n = {len(own)}{lost}"
        entries[entry] = ax.stairs(counts, edges, color=colour, linewidth=1.8)
        if len(known):
            ax.plot(
                [middle, middle],
                [0, 0.06 * max(counts.max(), 1)],
                color=colour,
                linewidth=3,
                solid_capstyle="butt",
            )
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("r of held-out pictures")
    ax.set_ylabel("Units")
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries)
    return ax


def plot_best_layers(
    layers: pd.DataFrame,
    *,
    model: str,
    regions: list[tuple[str, str]] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Plot the score of the layer that cross-validation chose in each region.

    Parameters
    ----------
    layers : DataFrame
        Table of layers: `model`, `subject`, `family`, `region`, `layer`, `n_units`,
        `r`, `ceiling_r`, `chosen`, `untrained`.
    model : str
        Which model.
    regions : list of tuple of str, optional
        Families and regions to show; all by default.
    title : str, optional
        Above the axes; the model by default.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are bars, by default.

    Returns
    -------
    Axes
        One bar per region, the mean over subjects, with the layer that most subjects
        chose; a mark at the ceiling, small points for subjects. An undefined score is
        a cross at 0.

    Raises
    ------
    ValueError
        If a column or the model is missing.
    """
    needed = ["model", "subject", "family", "region", "layer", "n_units", "r"]
    check_columns("layers", layers.columns, [*needed, "ceiling_r", "chosen"])
    check_option("model", model, list(layers["model"].unique()))
    own = layers[(layers["model"] == model) & layers["chosen"]]
    keys = list(own[["family", "region"]].drop_duplicates().itertuples(index=False))
    places = [(str(f), str(r)) for f, r in keys]
    wanted = regions if regions is not None else places
    places = [place for place in wanted if place in places]
    ax = new_axes(ax, (5.8, 1.2 + 0.32 * len(places)))
    for y, (family, region) in enumerate(places):
        rows = own[(own["family"] == family) & (own["region"] == region)]
        middle = rows["r"].mean()
        layer = rows["layer"].mode().iloc[0] or "features"
        n_same = int((rows["layer"] == rows["layer"].mode().iloc[0]).sum())
        if np.isnan(middle):
            ax.plot(0, y, "x", color=PALETTE[0], clip_on=False)
        ax.barh(y, middle, height=0.6, color=PALETTE[0], alpha=0.85)
        if len(rows) > 1:
            ax.plot(rows["r"], [y] * len(rows), "o", color="#1A1A1A", markersize=2.6)
        ceiling = rows["ceiling_r"].mean()
        ax.plot([ceiling, ceiling], [y - 0.38, y + 0.38], color=GREY, linewidth=2)
        of = f" ({n_same} of {len(rows)})" if len(rows) > 1 else ""
        ax.annotate(
            f"{layer}{of}",
            (1.02, y),
            xycoords=("axes fraction", "data"),
            fontsize=TEXT_PT - 1.5,
            va="center",
            annotation_clip=False,
            parse_math=False,
        )
    sizes = own.groupby(["family", "region"], sort=False)["n_units"].mean()
    names = [f"{region} ({sizes[family, region]:.0f})" for family, region in places]
    ax.set_yticks(range(len(places)), names, parse_math=False)
    ax.set_ylim(len(places) - 0.4, -0.6)
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_xlabel("Mean r of held-out pictures; grey mark: noise ceiling")
    set_title(ax, title or model_labels(own)[model])
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_penalties(
    units: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Plot which penalties units chose, and how many chose an end of the grid.

    Parameters
    ----------
    units : DataFrame
        Rows of units of one layer of each model: `model`, `untrained`, `alpha`,
        `at_smallest`, `at_largest`.
    title : str, optional
        Above the axes.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Histograms over powers of ten, one outline per model; the legend tells the
        shares of units at the ends: many at an end say that the grid is too short.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    needed = ["model", "untrained", "alpha", "at_smallest", "at_largest"]
    check_columns("units", units.columns, needed)
    ax = new_axes(ax, (4.8, 3.3))
    power = np.log10(units["alpha"].to_numpy(np.float64))
    known = power[np.isfinite(power)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    edges = np.arange(np.floor(2 * low) / 2 - 0.25, high + 0.75, 0.5)
    entries: dict[str, Any] = {}
    for i, (name, text) in enumerate(model_labels(units).items()):
        own = units[units["model"] == name]
        values = np.log10(own["alpha"].to_numpy(np.float64))
        counts = np.histogram(values[np.isfinite(values)], edges)[0]
        ends = [100 * own[c].mean() for c in ("at_smallest", "at_largest")]
        entry = (
            f"{text}: {ends[0]:.0f} % at the smallest, {ends[1]:.0f} % at the largest"
        )
        entries[entry] = ax.stairs(
            counts, edges, color=PALETTE[i % len(PALETTE)], linewidth=1.8
        )
    ax.set_ylim(bottom=0)
    ax.set_xlabel("Penalty, power of ten")
    ax.set_ylabel("Units")
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries)
    return ax


def plot_space_shares(
    shares: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Plot how much of R2 each feature space of a joint model brings in each region.

    Parameters
    ----------
    shares : DataFrame
        One row per region and space: `region`, `space`, `r2_share` (mean over units).
    title : str, optional
        Above the axes.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are bars, by default.

    Returns
    -------
    Axes
        Bars per region, one colour per space. Shares below 0 are drawn as they are.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("shares", shares.columns, ["region", "space", "r2_share"])
    regions = list(shares["region"].unique())
    spaces = list(shares["space"].unique())
    ax = new_axes(ax, (5.8, 1.4 + 0.16 * len(regions) * (len(spaces) + 1)))
    height = 0.8 / len(spaces)
    wide = shares.pivot_table(index="region", columns="space", values="r2_share")
    entries: dict[str, Any] = {}
    for k, space in enumerate(spaces):
        at = np.arange(len(regions)) + (k - (len(spaces) - 1) / 2) * height
        values = wide.reindex(index=regions, columns=[space])[space]
        colour = PALETTE[k % len(PALETTE)]
        entries[str(space)] = ax.barh(at, values, 0.9 * height, color=colour)
    ax.set_yticks(range(len(regions)), regions, parse_math=False)
    ax.set_ylim(len(regions) - 0.4, -0.6)
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_xlabel("Share of variance, by the product measure")
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    legend_below(ax, entries)
    return ax


def plot_receptive_fields(
    units: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Plot where in the picture units look: centres, and circles of one sigma.

    Parameters
    ----------
    units : DataFrame
        Rows of units: `rf_x` (to the right), `rf_y` (upwards) and `rf_sigma`, in sides
        of the picture from its centre. Undefined ones are left out.
    title : str, optional
        Above the axes.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One circle per distinct field; the area of its centre grows with the number of
        units that have it. The square is the picture.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["rf_x", "rf_y", "rf_sigma"]
    check_columns("units", units.columns, columns)
    fields = units[columns].dropna().value_counts(sort=False).reset_index()
    ax = new_axes(ax, (3.6, 3.6))
    x, y, sigma, n = (fields[c].to_numpy(np.float64) for c in [*columns, "count"])
    ax.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor=GREY))
    circles = EllipseCollection(
        2 * sigma,
        2 * sigma,
        np.zeros_like(sigma),
        units="xy",
        offsets=np.column_stack([x, y]),
        offset_transform=ax.transData,
        facecolors="none",
        edgecolors=PALETTE[0],
        linewidths=0.9,
        alpha=0.45,
    )
    ax.add_collection(circles)
    area = 50 * n / max(n, default=1)
    ax.scatter(x, y, s=4 + area, color=PALETTE[1], alpha=0.7, linewidths=0, zorder=3)
    # Outer centres may lie beyond the picture.
    ax.set(xlim=(-0.65, 0.65), ylim=(-0.65, 0.65))
    ax.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
    ax.set_aspect("equal")
    ax.set_xlabel("Right of the centre (sides)")
    ax.set_ylabel("Above the centre (sides)")
    if title:
        set_title(ax, title)
    finish(ax, grid="both")
    return ax
