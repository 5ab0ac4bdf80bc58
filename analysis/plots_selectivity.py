"""Figures of category selectivity, one axes each.

Tables and maps are those of `analysis.selectivity` and `analysis.selectivity_maps`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from analysis.plot_style import (
    GREY,
    PALE,
    PALETTE,
    TEXT_PT,
    finish,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from analysis.selectivity import Selectivity
from neurovis.core.checks import check_array, check_columns, check_option, check_whole

_HATCHES = ("", "//", "..", "xx", "\\\\", "++")
_MEASURES = {
    "d_prime": ("Mean d' of the units", 0.0),
    "auc": ("AUC against all other units", 0.5),
}


def plot_region_selectivity(
    agreement: pd.DataFrame,
    *,
    measure: str = "d_prime",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how selective the units of each region are for each category.

    Parameters
    ----------
    agreement : DataFrame
        `region`, `category`, `n_units` and the measure, one row per region and
        category, as `analysis.selectivity_maps.selectivity_agreement` gives.
    measure : {"d_prime", "auc"}
        What the bars are; of "d_prime" a tick is the mean of all other units, where
        `d_prime_others` is known.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure, as wide as there are bars, by default.

    Returns
    -------
    Axes
        Groups of bars per region with the number of its units, one colour and hatch
        per category, from 0 or from chance (0.5 of "auc"). An undefined value is a
        cross at the base.

    Raises
    ------
    ValueError
        If a column is missing, the measure is unknown, or a row comes twice.
    """
    check_option("measure", measure, tuple(_MEASURES))
    columns = ["region", "category", "n_units", measure]
    check_columns("agreement", agreement.columns, columns)
    if agreement.duplicated(["region", "category"]).any():
        raise ValueError(
            "`agreement` has several rows of one region and category: choose one "
            "subject or model."
        )
    regions = list(agreement["region"].unique())
    categories = list(agreement["category"].unique())
    table = agreement.set_index(["region", "category"])
    label, base = _MEASURES[measure]
    width = 0.8 / max(1, len(categories))
    ax = new_axes(
        ax, (max(4.2, 1.4 + 0.26 * len(regions) * (len(categories) + 1)), 3.8)
    )
    entries: dict[str, Any] = {}
    for k, category in enumerate(categories):
        rows = table.reindex([(region, category) for region in regions])
        values = rows[measure].to_numpy(np.float64)
        at = np.arange(len(regions)) + (k - (len(categories) - 1) / 2) * width
        entries[str(category)] = ax.bar(
            at,
            values - base,
            0.92 * width,
            bottom=base,
            color=PALETTE[k % len(PALETTE)],
            hatch=_HATCHES[k % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.4,
        )
        for place in at[np.isnan(values)]:
            ax.plot(place, base, "x", color=PALETTE[k % len(PALETTE)], clip_on=False)
        if measure == "d_prime" and "d_prime_others" in rows:
            others = rows["d_prime_others"].to_numpy(np.float64)
            ticks = ax.hlines(
                others, at - 0.46 * width, at + 0.46 * width, color="#1A1A1A", lw=1.8
            )
            if k == len(categories) - 1 and np.isfinite(others).any():
                entries["all other units"] = ticks
    ax.axhline(base, color=GREY, linewidth=1)
    sizes = agreement.groupby("region", sort=False)["n_units"].first()
    names = [f"{region}\n({sizes[region]:.0f})" for region in regions]
    ax.set_xticks(range(len(regions)), names, parse_math=False)
    ax.set_xlim(-0.6, len(regions) - 0.4)
    if measure == "auc":
        ax.set_ylim(0, 1)
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    ax.tick_params(axis="x", length=0)
    legend_below(ax, entries, columns=min(3, max(1, len(entries))))
    return ax


def plot_selectivity_histogram(
    selectivity: Selectivity,
    category: str,
    *,
    inside: ArrayLike | None = None,
    name: str = "region",
    n_bins: int = 40,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how d' for a category is distributed over units.

    Parameters
    ----------
    selectivity : Selectivity
        Of all units.
    category : str
        Which category.
    inside : array-like of bool, shape (n_units,), optional
        Units to set apart, such as those of a region.
    name : str, default "region"
        What these are called.
    n_bins : int, default 40
        Bins from the smallest to the largest d', with a border at 0.
    title : str, optional
        Text above; the category by default.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Shares of units per bin: all other units filled in grey, those set apart as an
        outline; each on its own adds up to 100 %. The legend tells numbers, medians and
        undefined units.

    Raises
    ------
    TypeError, ValueError
        If the category is unknown or `inside` is not a mask of the units.
    """
    values = selectivity.of(category)
    check_whole("n_bins", n_bins, low=2)
    apart = np.zeros(len(values), bool)
    if inside is not None:
        apart = check_array("inside", inside, shape=values.shape, dtype=bool)
    ax = new_axes(ax, (4.8, 3.4))
    known = values[np.isfinite(values)]
    reach = (min(known.min(), 0), max(known.max(), 0)) if known.any() else (-1.0, 1.0)
    step = (reach[1] - reach[0]) / n_bins
    edges = step * np.arange(np.floor(reach[0] / step), np.ceil(reach[1] / step) + 1)
    edges[[0, -1]] = min(edges[0], reach[0]), max(edges[-1], reach[1])
    entries: dict[str, Any] = {}
    groups = [("all units" if inside is None else "all other units", ~apart)]
    if inside is not None:
        groups.append((name, apart))
    for text, chosen in groups:
        own = values[chosen]
        there = own[np.isfinite(own)]
        share = 100 * np.histogram(there, edges)[0] / max(1, len(there))
        n_lost = len(own) - len(there)
        middle = float(np.median(there)) if len(there) else float("nan")
        lost = f", {n_lost} undefined" if n_lost else ""
        entry = f"{text}: median {number_text(middle, 2)}, n = {len(own)}{lost}"
        first = text == groups[0][0]
        entries[entry] = ax.stairs(
            share,
            edges,
            fill=first,
            color=PALE if first else PALETTE[0],
            linewidth=1.8,
        )
        ax.axvline(
            middle, ymax=0.05, color=GREY if first else PALETTE[0], lw=3, zorder=3
        )
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"d' for {category}", parse_math=False)
    ax.set_ylabel("Units (%)", fontsize=TEXT_PT)
    set_title(ax, title or category)
    finish(ax)
    legend_below(ax, entries)
    return ax
