"""Figures of captions of units: what they name by region, and what stands behind.

Axes-level, as in `analysis.plots`; conditions look as in `analysis.plots_captions`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALE,
    PALETTE,
    TEXT_PT,
    check_once,
    finish,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from analysis.plots_captions import caption_looks, place_aside
from neurovis.core.checks import check_array, check_between, check_columns, check_whole

FloatArray = NDArray[np.float64]

_LIMITS = ["ci_low", "ci_high"]
_MANY_BINS = 40


def plot_concept_rates(
    rows: pd.DataFrame,
    *,
    label: str = "Captions that name the concept (share)",
    legend: bool = True,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how often captions name what units are known to prefer, with chance.

    Parameters
    ----------
    rows : DataFrame
        `condition`, `concept`, `n`, `value`, `ci_low`, `ci_high`, `chance`,
        `chance_low`, `chance_high`; both in order of first appearance.
    label : str
        Text at the abscissa.
    legend : bool, default True
        Whether conditions are named below.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default, as high as there are rows.

    Returns
    -------
    Axes
        One group of marks with 95 % intervals per concept, the first at the top; the
        pale bar behind a mark is chance, its 95 % interval over permutations.

    Raises
    ------
    ValueError
        If a column is missing, or a condition comes twice with one concept.

    Examples
    --------
    >>> rows = pd.DataFrame({"condition": ["projection"], "concept": "face", "n": 9})
    >>> rows = rows.assign(value=0.9, ci_low=0.7, ci_high=1.0, chance=0.2)
    >>> ax = plot_concept_rates(rows.assign(chance_low=0.1, chance_high=0.3))
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['face (9)']
    """
    keys = ["condition", "concept"]
    bounds = ["chance", "chance_low", "chance_high"]
    check_columns("rows", rows.columns, [*keys, "n", "value", *_LIMITS, *bounds])
    check_once("rows", rows, keys)
    conditions, concepts = (
        [str(name) for name in rows[key].drop_duplicates()] for key in keys
    )
    looks = caption_looks(conditions)
    aside = 1.25 * place_aside(len(conditions))
    ax = new_axes(ax, (6.4, 1.6 + len(concepts) * (0.2 + 0.15 * len(conditions))))
    height = 0.8 * (aside[1] - aside[0] if len(aside) > 1 else 0.5)
    for row in rows.to_dict("records"):
        colour, mark, filled = looks[str(row["condition"])]
        y = concepts.index(str(row["concept"]))
        y += aside[conditions.index(str(row["condition"]))]
        ax.barh(y, row["chance_high"] - row["chance_low"], height, row["chance_low"],
                color=PALE, zorder=1)  # fmt: skip
        ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, lw=1.6, zorder=2)
        ax.plot(row["value"], y, mark, color=colour, ms=6, zorder=3,
                mfc=colour if filled else "white")  # fmt: skip
    for place in range(1, len(concepts)):
        ax.axhline(place - 0.5, color=PALE, lw=0.8)
    counts = rows.groupby("concept", sort=False)["n"].max()
    names = [f"{name} ({int(counts[name])})" for name in concepts]
    ax.set_yticks(range(len(concepts)), names, parse_math=False)
    ax.set_ylim(len(concepts) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel(label)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    if legend:
        entries: dict[str, Any] = {}
        for name, (colour, mark, filled) in looks.items():
            face = colour if filled else "white"
            entries[name] = Line2D([], [], color=colour, marker=mark, ms=6, mfc=face)
        entries["chance (95 %)"] = Patch(color=PALE)
        legend_below(ax, entries, columns=2)
    return ax


def plot_region_shares(
    rows: pd.DataFrame, *, label: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw a share of captions in each region.

    Parameters
    ----------
    rows : DataFrame
        `region`, `n`, `value` (0..1), `ci_low`, `ci_high`, in the order of drawing;
        the region "all" stands apart from the others.
    label : str
        Text at the abscissa.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default, as high as there are regions.

    Returns
    -------
    Axes
        Bars with 95 % intervals, the first region at the top; in brackets the number
        of units. An undefined share is told in words.

    Raises
    ------
    ValueError
        If a column is missing, there are no rows, or a region comes twice.

    Examples
    --------
    >>> rows = pd.DataFrame({"region": ["all", "EBA"], "n": [90, 12]})
    >>> rows = rows.assign(value=[0.3, 0.8], ci_low=0.2, ci_high=0.9)
    >>> ax = plot_region_shares(rows, label="People (share)")
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['all (90)', 'EBA (12)']
    """
    check_columns("rows", rows.columns, ["region", "n", "value", *_LIMITS])
    if rows.empty:
        raise ValueError("`rows` has no region.")
    check_once("rows", rows, ["region"])
    ax = new_axes(ax, (6.0, 1.1 + 0.27 * len(rows)))
    for y, row in enumerate(rows.to_dict("records")):
        colour = HUMAN_COLOUR if row["region"] == "all" else PALETTE[0]
        if np.isnan(row["value"]):
            ax.text(0.01, y, "undefined", va="center", color=GREY,
                    fontsize=TEXT_PT - 1)  # fmt: skip
            continue
        ax.barh(y, row["value"], 0.68, color=colour, alpha=0.35, lw=0, zorder=2)
        ax.plot([row["value"]] * 2, [y - 0.34, y + 0.34], color=colour, lw=1.8,
                zorder=3)  # fmt: skip
        ax.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, lw=1.6, zorder=3)
    names = [f"{r} ({int(n)})" for r, n in zip(rows["region"], rows["n"], strict=True)]
    ax.set_yticks(range(len(rows)), names, parse_math=False)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, max(0.1, 1.04 * float(np.nanmax([*rows["ci_high"], 0]))))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel(label)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_effective_numbers(
    values: ArrayLike,
    *,
    n_bank: int,
    retrieval: float,
    mean: float,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how many pictures of a bank stand behind the captions of units.

    Parameters
    ----------
    values : array_like of float, shape (n_units,)
        Effective numbers of pictures, 1 to `n_bank`; NaN is left out.
    n_bank : int
        Pictures of the bank, >= 2.
    retrieval : float
        Up to this number a caption is taken for that of the nearest picture.
    mean : float
        From this number on it is taken for that of the mean picture.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Histogram on a logarithmic abscissa; both zones are shaded, and named with the
        share of units in them.

    Raises
    ------
    TypeError, ValueError
        If no value is defined, or limits are not in order.

    Examples
    --------
    >>> ax = plot_effective_numbers([3, 5, 1.2], n_bank=2000, retrieval=2, mean=1000)
    >>> [text.get_text().splitlines()[0] for text in ax.texts]
    ['retrieval', 'mean picture']
    """
    numbers = check_array("values", np.asarray(values, np.float64), shape=(None,))
    check_whole("n_bank", n_bank, low=2)
    check_between("retrieval", retrieval, low=1)
    check_between("mean", mean, low=retrieval, high=n_bank)
    known: FloatArray = numbers[np.isfinite(numbers)]
    if not len(known):
        raise ValueError("`values` has no number that is defined.")
    ax = new_axes(ax, (5.2, 3.4))
    # What rounding has carried beyond an end is counted at it.
    known = np.clip(known, 1, n_bank)
    n_bins = int(np.clip(3 * np.sqrt(len(known)), 16, _MANY_BINS))
    edges = np.geomspace(1, n_bank, n_bins + 1)
    edges[[0, -1]] = 1, n_bank
    ax.set_xscale("log")
    zones = (
        ("retrieval", 1.0, retrieval, (known <= retrieval).mean(), "left"),
        ("mean picture", mean, float(n_bank), (known >= mean).mean(), "right"),
    )
    ax.hist(known, edges.tolist(), color=PALETTE[0], alpha=0.75, zorder=2)
    # Room for the names of the zones.
    ax.set_ylim(top=1.28 * ax.get_ylim()[1])
    for name, low, high, share, side in zones:
        ax.axvspan(low, high, color=PALETTE[4], alpha=0.18, lw=0, zorder=0)
        text = f"{name}\n{number_text(100 * float(share), 0)} % of units"
        ax.annotate(text, (low if side == "left" else high, 0.98),
                    (4 if side == "left" else -4, 0), textcoords="offset points",
                    xycoords=ax.get_xaxis_transform(), ha=side, va="top", color=GREY,
                    fontsize=TEXT_PT - 1, linespacing=1.15)  # fmt: skip
    ax.axvline(float(np.median(known)), 0, 0.8, color=HUMAN_COLOUR, lw=1.3, zorder=3)
    ticks = [1.0, *(10.0**k for k in range(1, 12) if 10.0**k < 0.6 * n_bank), n_bank]
    ax.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set_xlim(1 / 1.05, 1.05 * n_bank)
    ax.set_xlabel("Effective number of pictures; last tick: all of the bank")
    ax.set_ylabel("Units")
    if title:
        set_title(ax, title)
    finish(ax)
    return ax
