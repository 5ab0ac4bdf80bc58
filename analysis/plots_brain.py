"""Figures of regions of the brain: medians of a measure, distributions of ceilings."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

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
from neurovis.core.checks import check_columns, check_option
from neurovis.core.regions import region_labels, region_mask

_N_BINS = 25


def plot_region_bars(
    table: pd.DataFrame,
    *,
    measure: str,
    by: str = "",
    ceiling: str = "",
    label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Plot the median of a measure in each region, with quartiles and ceilings.

    Parameters
    ----------
    table : DataFrame
        One row per region and measure (and `by`): `family`, `region`, `measure`,
        `n_units`, `median`, `q25`, `q75`, as `analysis.regions` makes it.
    measure : str
        Which rows are drawn as bars.
    by : str, optional
        Column of models or subjects that stand side by side.
    ceiling : str, optional
        Which value of `measure` holds the ceilings, drawn as grey bands from quartile
        to quartile with a mark at the median.
    label : str, optional
        Name of the measure with unit; `measure` by default.
    title : str, optional
        Above the axes.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are bars, by default.

    Returns
    -------
    Axes
        Regions from top to bottom in the order of the table, with their number of
        units, each family below its name. Lines reach from quartile to quartile; an
        undefined median is a cross at 0.

    Raises
    ------
    ValueError
        If a column or measure is missing, or a region has several rows.
    """
    keys = ["family", "region", *([by] if by else [])]
    needed = [*keys, "measure", "n_units", "median", "q25", "q75"]
    check_columns("table", table.columns, needed)
    known = list(table["measure"].unique())
    for name, option in (("measure", measure), ("ceiling", ceiling)):
        if option or name == "measure":
            check_option(name, option, known)
    bars = table[table["measure"] == measure]
    limits = table[table["measure"] == ceiling] if ceiling else table.iloc[:0]
    for rows in (bars, limits):
        if rows.duplicated(keys).any():
            first = rows.loc[rows.duplicated(keys), keys].iloc[0].to_dict()
            raise ValueError(
                f"`table` has several rows of {first}: choose one, or tell them apart "
                "by the column `by`."
            )
    groups = list(bars[by].unique()) if by else [""]
    ticks: list[tuple[float, str]] = []
    place: dict[tuple[str, str], float] = {}
    y = 0.0
    for family, part in bars.groupby("family", sort=False):
        ticks.append((y, str(family)))
        for region, rows in part.groupby("region", sort=False):
            y += 1
            place[str(family), str(region)] = y
            sizes = rows["n_units"].unique()
            size = f" ({int(sizes[0])})" if len(sizes) == 1 else ""
            ticks.append((y, f"{region}{size}"))
        y += 1.4
    ax = new_axes(ax, (5.6, 1.0 + 0.3 * y * (1 + 0.25 * (len(groups) - 1))))
    height = 0.78 / len(groups)
    entries = {}
    for g, group in enumerate(groups):
        colour = PALETTE[g % len(PALETTE)]
        for rows, is_ceiling in ((limits, True), (bars, False)):
            chosen = rows[rows[by] == group] if by else rows
            for _, row in chosen.iterrows():
                middle = place.get((str(row["family"]), str(row["region"])))
                if middle is None:
                    continue
                at = middle + (g - (len(groups) - 1) / 2) * height
                numbers = row[["median", "q25", "q75"]].to_numpy(float)
                (_draw_ceiling if is_ceiling else _draw_bar)(
                    ax, at, height, numbers, colour
                )
        if by:
            entries[str(group)] = Patch(facecolor=colour)
    if ceiling:
        entries["ceiling (median and quartiles)"] = Patch(
            facecolor=PALE, edgecolor=GREY, linewidth=1.2
        )
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks([t for t, _ in ticks], [t for _, t in ticks], parse_math=False)
    for text, (at, _) in zip(ax.get_yticklabels(), ticks, strict=True):
        text.set_fontweight("normal" if at in place.values() else "bold")
    ax.set_ylim(y - 0.8, -0.7)
    ax.set_xlabel(label or measure, parse_math=False)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    if entries:
        legend_below(ax, entries, columns=2)
    return ax


def _draw_ceiling(
    ax: Axes, y: float, height: float, numbers: NDArray[np.float64], colour: str
) -> None:
    """Draw a ceiling as a band with a mark at its median."""
    median, low, high = numbers
    if np.isnan(median):
        return
    ax.barh(y, high - low, left=low, height=height, color=PALE, zorder=1.5)
    ends = [y - height / 2, y + height / 2]
    ax.plot([median, median], ends, color=GREY, linewidth=1.4, zorder=1.6)


def _draw_bar(
    ax: Axes, y: float, height: float, numbers: NDArray[np.float64], colour: str
) -> None:
    """Draw a median as a bar with its quartiles."""
    median, low, high = numbers
    if np.isnan(median):
        ax.plot(0, y, "x", color=colour, zorder=3, clip_on=False)
        return
    ax.barh(y, median, height=0.55 * height, color=colour, zorder=2)
    ax.plot([low, high], [y, y], color="#1A1A1A", linewidth=1.4, zorder=3)


def plot_ceiling_histogram(
    units: pd.DataFrame,
    families: Sequence[str] = (),
    *,
    regions: Sequence[str] | None = None,
    column: str = "ncsnr",
    label: str = "Noise-ceiling signal-to-noise ratio",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Plot how a number of each unit, such as its ncsnr, is distributed in regions.

    Parameters
    ----------
    units : DataFrame
        One row per unit: `column` and the families.
    families : sequence of str, optional
        Columns of labels.
    regions : sequence of str, optional
        Rows of the figure, see `neurovis.core.regions.region_mask`; all labels of all
        families by default.
    column : str, default "ncsnr"
        Number of each unit; NaN is undefined.
    label : str, optional
        Name of the number with unit.
    title : str, optional
        Above the axes.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are rows, by default.

    Returns
    -------
    Axes
        One histogram per row, all units first, each scaled to its highest bin, with a
        line at the median. At the right stand the median, the number of units and how
        many of them are undefined or infinite, which are in no bin.

    Raises
    ------
    KeyError, ValueError
        If a column or region is missing.
    """
    check_columns("units", units.columns, [column, *families])
    values = units[column].to_numpy(np.float64)
    if regions is None:
        labels = region_labels(units, families)
        regions = [f"{f}:{name}" for f, known in labels.items() for name in known]
    masks = {"all units": np.ones(len(units), np.bool_)}
    for region in regions:
        masks[region] = region_mask(units, families, region)
    finite = values[np.isfinite(values)]
    low, high = min(finite.min(initial=0.0), 0.0), finite.max(initial=0.0)
    edges = np.linspace(low, high if high > low else low + 1, _N_BINS + 1)
    ax = new_axes(ax, (6.2, 0.9 + 0.42 * len(masks)))
    for y, (name, mask) in enumerate(masks.items()):
        inside = values[mask]
        counted = inside[np.isfinite(inside)]
        counts = np.histogram(counted, edges)[0]
        heights = 0.82 * counts / max(counts.max(), 1)
        colour = GREY if name == "all units" else PALETTE[0]
        ax.stairs(y - heights, edges, baseline=y, fill=True, color=colour, alpha=0.55)
        ax.stairs(y - heights, edges, baseline=y, color=colour, linewidth=1)
        median = np.median(counted) if len(counted) else np.nan
        ax.plot([median, median], [y, y - 0.82], color="#1A1A1A", linewidth=1.6)
        n_lost = len(inside) - len(counted)
        text = f"median {number_text(float(median), 2)}, n = {len(inside)}"
        ax.annotate(
            text + (f"\n{n_lost} undefined or infinite" if n_lost else ""),
            (1.02, y - 0.05),
            xycoords=("axes fraction", "data"),
            fontsize=TEXT_PT - 1.5,
            va="bottom",
            annotation_clip=False,
        )
    plain = [name.rpartition(":")[2] for name in masks]
    names = [
        short if plain.count(short) == 1 else name
        for short, name in zip(plain, masks, strict=True)
    ]
    wrapped = [textwrap.fill(name, 24) for name in names]
    ax.set_yticks(np.arange(len(masks)) - 0.2, wrapped, parse_math=False)
    ax.set_ylim(len(masks) - 0.85, -1.0)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(label, parse_math=False)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax
