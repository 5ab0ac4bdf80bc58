"""Figures of images that should drive a region.

Axes-level, as in `analysis.plots`: a function draws on the axes it is given, or on
those of a new figure, and returns the axes. A condition has one colour and mark in all
figures; what nobody guided is grey, real pictures are black.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    MARKERS,
    PALE,
    PALETTE,
    TEXT_PT,
    check_once,
    fill_looks,
    finish,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_image,
    check_option,
    check_whole,
)

FloatArray = NDArray[np.float64]

MEAN = "mean"
"""Name of the mean over regions."""

_DASHED = (0, (4, 2.2))
_LIMITS = ["ci_low", "ci_high"]
# Colour, mark, and whether the mark is filled.
_KNOWN = {
    "unguided": (GREY, "o", True),
    "guided": (PALETTE[0], "o", True),
    "guided, best quarter": (PALETTE[0], "o", False),
    "suppressed": (PALETTE[2], "v", True),
    "permuted regions": (PALETTE[3], "X", True),
    "pixel ascent": (PALETTE[1], "^", True),
    "real, random": (HUMAN_COLOUR, "D", False),
    "real, best measured": (HUMAN_COLOUR, "D", True),
}
_OTHERS = [(PALETTE[4], mark, True) for mark in MARKERS[3:]]
# Of the space between two pictures, and below one for a line of text.
_GAP, _TEXT_ROW = 0.06, 0.2


def condition_looks(conditions: Collection[str]) -> dict[str, tuple[str, str, bool]]:
    """Give each condition its colour and mark, the same in all figures.

    Parameters
    ----------
    conditions : collection of str
        Names, in order.

    Returns
    -------
    dict of str to tuple
        Colour and marker, as matplotlib has them, and whether the mark is filled.

    Examples
    --------
    >>> condition_looks(["guided"])["guided"]
    ('#0072B2', 'o', True)
    """
    return fill_looks(conditions, _KNOWN, _OTHERS)


def condition_legend(figure: Figure, conditions: Collection[str]) -> None:
    """Put one legend of the conditions below all axes of a figure.

    Parameters
    ----------
    figure : Figure
        Figure with everything drawn.
    conditions : collection of str
        Names, in order.
    """
    legend = figure.legend(
        list(_condition_entries(conditions).values()),
        list(conditions),
        loc="outside lower center",
        ncols=min(4, max(2, round(figure.get_size_inches()[0] / 3))),
        frameon=False,
        fontsize=TEXT_PT,
        columnspacing=2.0,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _condition_entries(conditions: Collection[str]) -> dict[str, Any]:
    entries = {}
    for name, (colour, mark, filled) in condition_looks(conditions).items():
        face = colour if filled else "white"
        entries[name] = Line2D([], [], color=colour, marker=mark, ms=6, mfc=face)
    return entries


def plot_conditions(
    rows: pd.DataFrame,
    *,
    label: str,
    chance: float | None = None,
    legend: bool = True,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw what was measured under each condition, region by region.

    Parameters
    ----------
    rows : DataFrame
        `condition`, `region` (`MEAN` for the mean over regions), `value`, `ci_low`,
        `ci_high` (NaN: no interval); conditions and regions in order of first
        appearance. A condition may lack regions.
    label : str
        Text at the abscissa.
    chance : float, optional
        A broken upright line.
    legend : bool, default True
        Whether conditions are named below; see `condition_legend` for several axes.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default, as high as there are conditions and
        regions.

    Returns
    -------
    Axes
        One group of marks with 95 % intervals per region, the first at the top; the
        mean over regions stands on a band.

    Raises
    ------
    ValueError
        If a column is missing, or a condition has several values of a region.

    Examples
    --------
    >>> rows = pd.DataFrame({"condition": ["guided"], "region": ["face"]})
    >>> rows = rows.assign(value=0.6, ci_low=0.5, ci_high=0.7)
    >>> ax = plot_conditions(rows, label="Judge sees the category", chance=0.2)
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['face']
    """
    keys = ["condition", "region"]
    check_columns("rows", rows.columns, [*keys, "value", *_LIMITS])
    check_once("rows", rows, keys)
    conditions, regions = (
        [str(name) for name in rows[key].drop_duplicates()] for key in keys
    )
    looks = condition_looks(conditions)
    ax = new_axes(ax, (7.2, 1.5 + len(regions) * (0.25 + 0.16 * len(conditions))))
    places = (np.arange(len(conditions)) - (len(conditions) - 1) / 2) * 0.84
    places /= max(len(conditions), 1)
    for place, name in enumerate(regions):
        if name == MEAN:
            ax.axhspan(place - 0.5, place + 0.5, color="#F3F3F3", lw=0, zorder=0)
        elif place:
            ax.axhline(place - 0.5, color=PALE, lw=0.8)
    for row in rows.to_dict("records"):
        colour, mark, filled = looks[str(row["condition"])]
        y = regions.index(str(row["region"]))
        y += places[conditions.index(str(row["condition"]))]
        value, low, high = (float(row[key]) for key in ("value", *_LIMITS))
        ax.plot([low, high], [y, y], color=colour, lw=1.6, zorder=2)
        ax.plot(value, y, mark, color=colour, ms=6, zorder=3,
                mfc=colour if filled else "white")  # fmt: skip
        if np.isnan(value):
            ax.text(0.01, y, f"{row['condition']}: undefined", va="center", color=GREY,
                    fontsize=TEXT_PT - 1.5, parse_math=False,
                    transform=ax.get_yaxis_transform())  # fmt: skip
    if chance is not None:
        ax.axvline(check_between("chance", chance), color=HUMAN_COLOUR, lw=1.2,
                   ls=_DASHED, zorder=1)  # fmt: skip
    ax.set_yticks(range(len(regions)), regions, parse_math=False)
    ax.set_ylim(len(regions) - 0.5, -0.5)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel(label)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    if legend:
        entries = _condition_entries(conditions)
        if chance is not None:
            entries["chance"] = Line2D([], [], color=HUMAN_COLOUR, lw=1.2, ls=_DASHED)
        legend_below(ax, entries, columns=3)
    return ax


def plot_strength(
    rows: pd.DataFrame,
    *,
    metrics: Mapping[str, str],
    unguided: pd.DataFrame | None = None,
    chance: float | None = None,
    label: str,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw what was measured against the strength of guidance.

    Parameters
    ----------
    rows : DataFrame
        `metric`, `region` (`MEAN` for the mean over regions), `scale` (> 0), `value`,
        `ci_low`, `ci_high`.
    metrics : mapping of str to str
        What to draw: metric and printed name, at most three.
    unguided : DataFrame, optional
        `metric`, `value`, `ci_low`, `ci_high` of images without guidance: a broken
        line with a band.
    chance : float, optional
        A dotted line.
    label : str
        Text at the ordinate.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Strength on a logarithmic abscissa. Thick lines with marks are means over
        regions with 95 % bands, thin ones single regions; with one metric these are
        named at their ends.

    Raises
    ------
    ValueError
        If a column is missing, a scale is not above 0, a pair comes twice, or there
        are no metrics or too many.

    Examples
    --------
    >>> rows = pd.DataFrame({"metric": "z", "region": MEAN, "scale": [1.0, 3.0]})
    >>> rows = rows.assign(value=[0.2, 0.4], ci_low=0.1, ci_high=0.5)
    >>> plot_strength(rows, metrics={"z": "held-out"}, label="z").get_xscale()
    'log'
    """
    keys = ["metric", "region", "scale"]
    check_columns("rows", rows.columns, [*keys, "value", *_LIMITS])
    check_option("number of `metrics`", len(metrics), (1, 2, 3))
    own = rows[rows["metric"].isin(list(metrics))].sort_values("scale", kind="stable")
    check_once("rows", own, keys)
    if not (own["scale"] > 0).all():
        raise ValueError(
            "`scale` must be above 0 on a logarithmic axis; got "
            f"{sorted(set(own.loc[~(own['scale'] > 0), 'scale']))}."
        )
    ax = new_axes(ax, (5.4, 4.2))
    entries: dict[str, Any] = {}
    ends: list[tuple[float, float, str]] = []
    for (metric, name), colour, mark in zip(
        metrics.items(), PALETTE, ("o", "s", "^"), strict=False
    ):
        part = own[own["metric"] == metric]
        for region, line in part.groupby("region", sort=False):
            known = line.dropna(subset=["value"])
            x, y = (known[key].to_numpy(np.float64) for key in ("scale", "value"))
            if region == MEAN:
                low, high = (known[key].to_numpy(np.float64) for key in _LIMITS)
                ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
                ax.plot(x, y, color=colour, marker=mark, ms=6, lw=2.2, zorder=4)
            else:
                ax.plot(x, y, color=colour, lw=0.9, alpha=0.55, zorder=2)
                if len(known):
                    ends.append((float(y[-1]), float(x[-1]), str(region)))
        entries[f"{name}, mean of regions"] = Line2D(
            [], [], color=colour, marker=mark, ms=6, lw=2.2
        )
        if unguided is not None:
            check_columns("unguided", unguided.columns, ["metric", "value", *_LIMITS])
            for row in unguided[unguided["metric"] == metric].to_dict("records"):
                ax.axhspan(row["ci_low"], row["ci_high"], color=colour, alpha=0.1, lw=0)
                ax.axhline(row["value"], color=colour, lw=1.3, ls=_DASHED)
    entries["one region"] = Line2D([], [], color=GREY, lw=0.9)
    if unguided is not None:
        entries["unguided"] = Line2D([], [], color=GREY, lw=1.3, ls=_DASHED)
    if chance is not None:
        ax.axhline(check_between("chance", chance), color=HUMAN_COLOUR, lw=1.2, ls=":")
        entries["chance"] = Line2D([], [], color=HUMAN_COLOUR, lw=1.2, ls=":")
    ax.set_xscale("log")
    scales = sorted(set(own["scale"]))
    ax.set_xticks(scales, [f"{scale:g}" for scale in scales])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("Scale of guidance")
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    if len(metrics) == 1:
        _name_ends(ax, ends)
    legend_below(ax, entries, columns=2)
    return ax


def _name_ends(ax: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Name lines at their right ends, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    step, last = 0.055 * (high - low), -np.inf
    for y, x, name in sorted(ends):
        last = max(y, last + step)
        ax.annotate(name, (x, last), (7, 0), textcoords="offset points", va="center",
                    fontsize=TEXT_PT - 1, color=GREY, parse_math=False,
                    annotation_clip=False)  # fmt: skip


def plot_label_matrix(
    shares: pd.DataFrame,
    *,
    n_references: int = 0,
    label: str = "What the judge sees",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how often a judge sees each category in each set of images.

    Parameters
    ----------
    shares : DataFrame
        `name` (row), `label` (column), `share` (0..1; NaN is a dash), rows and columns
        in order of first appearance.
    n_references : int, default 0
        A line is drawn below so many rows, such as that of images that nobody guided.
    label : str
        Text below the columns.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Matrix with numbers; where row and column have one name, the cell is framed.

    Raises
    ------
    ValueError
        If a column is missing, a share is out of range, or a pair comes twice.

    Examples
    --------
    >>> table = pd.DataFrame({"name": ["face"], "label": ["face"], "share": [0.62]})
    >>> [text.get_text() for text in plot_label_matrix(table).texts]
    ['0.62']
    """
    keys = ["name", "label"]
    check_columns("shares", shares.columns, [*keys, "share"])
    check_whole("n_references", n_references, low=0)
    check_once("shares", shares, keys)
    for value in shares["share"].dropna():
        check_between("share", value, low=0, high=1)
    names, labels = ([str(x) for x in shares[key].drop_duplicates()] for key in keys)
    grid: FloatArray = np.full((len(names), len(labels)), np.nan)
    for name, column, value in shares[[*keys, "share"]].itertuples(index=False):
        grid[names.index(str(name)), labels.index(str(column))] = value
    ax = new_axes(ax, (1.9 + 0.85 * len(labels), 1.3 + 0.42 * len(names)))
    # Pale enough for dark text.
    ax.imshow(grid, cmap="Blues", norm=Normalize(0, 1.7), aspect="auto")
    for (i, j), value in np.ndenumerate(grid):
        ax.text(j, i, number_text(value, 2), ha="center", va="center",
                fontsize=TEXT_PT, color=HUMAN_COLOUR)  # fmt: skip
        if names[i] == labels[j]:
            ax.add_patch(Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False,
                                   ec=PALETTE[1], lw=1.6))  # fmt: skip
    if n_references:
        ax.axhline(n_references - 0.5, color=HUMAN_COLOUR, lw=1.4)
    ax.set_xticks(range(len(labels)), labels, parse_math=False)
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.tick_params(length=0, labelsize=TEXT_PT)
    ax.set_xlabel(label, fontsize=TEXT_PT + 0.5)
    ax.spines[:].set_visible(False)
    if title:
        set_title(ax, title)
    return ax


def plot_contact_sheet(
    pictures: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    rows: Sequence[str],
    texts: Sequence[Sequence[str]] = (),
    side_in: float = 0.85,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Show many small pictures, each with a line of text.

    Parameters
    ----------
    pictures : sequence of sequence of ndarray of uint8, shape (H, W, 3)
        Rows of pictures of one size, all rows of one length.
    rows : sequence of str
        Name of each row.
    texts : sequence of sequence of str, optional
        What stands below each picture, as `pictures`.
    side_in : float, default 0.85
        Width of a picture in a new figure, in inches.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Pictures enlarged without smoothing: a pixel stays a square.

    Raises
    ------
    TypeError, ValueError
        If there is no picture, rows differ in length, pictures in size, or there are
        other numbers of names or texts.
    """
    lengths = {len(row) for row in pictures}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"`pictures` must be rows of equally many; got lengths {sorted(lengths)}."
        )
    n_rows, n_columns = len(pictures), lengths.pop()
    sizes = {check_image("pictures", x).shape for row in pictures for x in row}
    if len(sizes) != 1:
        raise ValueError(f"`pictures` must have one size; got {sorted(sizes)}.")
    check_array("rows", np.array(rows), shape=(n_rows,))
    if len(texts) and [len(row) for row in texts] != [n_columns] * n_rows:
        raise ValueError(
            f"`texts` must have {n_rows} rows of {n_columns}, as `pictures`."
        )
    check_between("side_in", side_in, low=0.1)
    height = sizes.pop()
    aspect = height[0] / height[1]
    step = aspect + _GAP + (_TEXT_ROW if len(texts) else 0)
    ax = new_axes(ax, (side_in * (n_columns * (1 + _GAP)) + 1.5,
                       side_in * n_rows * step + 0.45))  # fmt: skip
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            x, y = j * (1 + _GAP), i * step
            ax.imshow(picture, extent=(x, x + 1, y + aspect, y),
                      interpolation="nearest")  # fmt: skip
            if len(texts):
                ax.text(x + 0.5, y + aspect + 0.02, texts[i][j], ha="center", va="top",
                        fontsize=TEXT_PT - 2.5, color=GREY,
                        parse_math=False)  # fmt: skip
    ax.set_xlim(-0.02, n_columns * (1 + _GAP) - _GAP + 0.02)
    ax.set_ylim(n_rows * step, -0.02)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks(
        [i * step + aspect / 2 for i in range(n_rows)], list(rows), parse_math=False
    )
    ax.tick_params(length=0, labelsize=TEXT_PT - 1)
    ax.spines[:].set_visible(False)
    if title:
        set_title(ax, title)
    return ax
