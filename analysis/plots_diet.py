"""Figures of networks that grew up on different pictures.

Axes-level, as in `analysis.plots`: a function draws on the axes it is given, or on
those of a new figure, and returns the axes.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALETTE,
    TEXT_PT,
    finish,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from neurovis.core.checks import check_between, check_columns, check_option

FloatArray = NDArray[np.float64]

KINDS = ("diet", "untrained", "baseline")
"""What a row can be."""

_COLOURS = dict(zip(KINDS, (PALETTE[0], PALETTE[1], GREY), strict=True))
_LIMITS = ["ci_low", "ci_high"]
_DASHED = (0, (4, 2.2))
# Characters in a line below a column.
_LABEL = 14


def plot_diet_means(
    means: pd.DataFrame,
    networks: pd.DataFrame,
    *,
    people: float | None = None,
    published: Mapping[str, float] | None = None,
    label: str = "Mean asymmetry index",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean index of each diet, and every network.

    Parameters
    ----------
    means : DataFrame
        One row per diet or other observer, in order: `name`, `kind` (one of `KINDS`),
        `value`, `ci_low`, `ci_high` (NaN: no interval).
    networks : DataFrame
        One row per network: `name` (of its diet), `value`.
    people : float, optional
        Value of people, a broken line.
    published : mapping of str to float, optional
        Published value of a name, an open diamond.
    label : str
        Text at the abscissa.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are rows, by default.

    Returns
    -------
    Axes
        One line of the figure per row of `means`, the first at the top. Small dots are
        networks; what is not trained has open marks.

    Raises
    ------
    ValueError
        If a column is missing, a kind is unknown, or a network has no row.

    Examples
    --------
    >>> means = pd.DataFrame(
    ...     {"name": ["a"], "kind": "diet", "value": 0.5, "ci_low": 0, "ci_high": 1}
    ... )
    >>> networks = pd.DataFrame({"name": ["a", "a"], "value": [0.4, 0.6]})
    >>> plot_diet_means(means, networks, people=0.56).get_xlabel()
    'Mean asymmetry index'
    """
    check_columns("means", means.columns, ["name", "kind", "value", *_LIMITS])
    check_columns("networks", networks.columns, ["name", "value"])
    names = [str(name) for name in means["name"]]
    for kind in means["kind"].unique():
        check_option("kind", kind, KINDS)
    for name in networks["name"].unique():
        check_option("name of a network", name, tuple(names))
    known = dict(published or {})
    ax = new_axes(ax, (7.2, 1.9 + 0.42 * len(names)))
    numbers = means[["value", *_LIMITS]].to_numpy(np.float64)
    for y, (name, kind) in enumerate(zip(names, means["kind"], strict=True)):
        value, low, high = numbers[y]
        colour = _COLOURS[kind]
        own = networks.loc[networks["name"] == name, "value"].to_numpy(np.float64)
        ax.plot(own, np.full(len(own), y + 0.22), "o", color=colour, ms=4, alpha=0.7,
                mfc="white" if kind == "untrained" else colour, zorder=2)  # fmt: skip
        ax.plot([low, high], [y, y], color=colour, lw=1.8)
        ax.plot(value, y, "s" if kind == "baseline" else "o", color=colour, ms=7.5,
                mfc=colour if kind == "diet" else "white", zorder=3)  # fmt: skip
        if np.isnan(value):
            ax.text(0, y, " undefined", va="center", color=GREY, fontsize=TEXT_PT)
        if name in known:
            ax.plot(check_between("published", known[name]), y - 0.22, "D",
                    color=HUMAN_COLOUR, mfc="white", ms=5.5)  # fmt: skip
    if people is not None:
        ax.axvline(check_between("people", people), color=HUMAN_COLOUR, lw=1.3,
                   ls=_DASHED)  # fmt: skip
    ax.axvline(0, color=GREY, lw=1)
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(-1.04, 1.04)
    ax.set_xlabel(label)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    legend_below(ax, _legend(means, bool(known), people is not None), columns=3)
    return ax


def _legend(means: pd.DataFrame, published: bool, people: bool) -> dict[str, Any]:
    kinds = set(means["kind"])
    blue, orange = _COLOURS["diet"], _COLOURS["untrained"]
    entries: dict[str, Any] = {}
    if "diet" in kinds:
        entries["mean, 95 % interval"] = Line2D([], [], color=blue, marker="o", ms=7)
        entries["one network"] = Line2D([], [], color=blue, marker="o", ms=4, ls="")
    if "untrained" in kinds:
        entries["untrained"] = Line2D(
            [], [], color=orange, marker="o", mfc="white", ms=7
        )
    if "baseline" in kinds:
        entries["no network"] = Line2D(
            [], [], color=GREY, marker="s", mfc="white", ms=7
        )
    if published:
        entries["published"] = Line2D(
            [], [], color=HUMAN_COLOUR, marker="D", mfc="white", ms=5.5, ls=""
        )
    if people:
        entries["people"] = Line2D([], [], color=HUMAN_COLOUR, lw=1.3, ls=_DASHED)
    return entries


def plot_index_grid(
    indices: pd.DataFrame,
    *,
    n_references: int = 0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the asymmetry index of every observer in every experiment.

    Parameters
    ----------
    indices : DataFrame
        `name` (row), `experiment` (column; text) and `value` (-1..1; NaN where the
        index is undefined), both in order of first appearance.
    n_references : int, default 0
        A line is drawn below so many rows, such as those of people.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Matrix with values: blue where an observer is asymmetric as people are, red
        where the other way, hatched where the index is undefined.

    Raises
    ------
    ValueError
        If a column is missing, or a pair comes twice.

    Examples
    --------
    >>> table = pd.DataFrame({"name": ["a"], "experiment": ["T and L"], "value": 0.5})
    >>> [text.get_text() for text in plot_index_grid(table).texts]
    ['0.50']
    """
    check_columns("indices", indices.columns, ["name", "experiment", "value"])
    keys = ["name", "experiment"]
    if indices.duplicated(keys).any():
        twice = indices.loc[indices.duplicated(keys), keys].iloc[0].tolist()
        raise ValueError(
            f"`indices` has several values of {twice[0]!r} in {twice[1]!r}: keep one."
        )
    rows, columns = (list(indices[key].unique()) for key in keys)
    grid: FloatArray = np.full((len(rows), len(columns)), np.nan)
    for name, experiment, value in indices[[*keys, "value"]].itertuples(index=False):
        grid[rows.index(name), columns.index(experiment)] = value
    size = (2.6 + 1.05 * max(len(columns), 3), 1.1 + 0.42 * len(rows))
    ax = new_axes(ax, size)
    # Pale enough for dark text.
    ax.imshow(grid, cmap="RdBu", norm=Normalize(-1.7, 1.7), aspect="auto")
    for (i, j), value in np.ndenumerate(grid):
        if np.isnan(value):
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc="#F2F2F2", ec="#CCCCCC",
                                   hatch="///", lw=0))  # fmt: skip
        ax.text(j, i, number_text(value, 2), ha="center", va="center",
                fontsize=TEXT_PT, color=HUMAN_COLOUR)  # fmt: skip
    if n_references:
        ax.axhline(n_references - 0.5, color=HUMAN_COLOUR, lw=1.4)
    texts = [textwrap.fill(str(name), _LABEL) for name in columns]
    ax.set_xticks(range(len(columns)), texts, parse_math=False)
    ax.set_yticks(range(len(rows)), [str(name) for name in rows], parse_math=False)
    ax.tick_params(length=0, labelsize=TEXT_PT)
    ax.spines[:].set_visible(False)
    if title:
        set_title(ax, title)
    return ax
