"""Figures of captions of simulated voxels: what they name, by noise and temperature.

Axes-level, as in `analysis.plots`: a function draws on the axes it is given, or on
those of a new figure, and returns the axes. A condition has one colour and mark in all
figures; what should name nothing is grey, pictures themselves are black.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    MARKERS,
    PALETTE,
    TEXT_PT,
    check_once,
    fill_looks,
    finish,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_between, check_columns

FloatArray = NDArray[np.float64]

_LIMITS = ["ci_low", "ci_high"]
_DASHED, _DOTTED = (0, (4, 2.2)), (0, (1, 1.6))
_DASHES = (_DASHED, _DOTTED, (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
# Colour, mark, and whether the mark is filled.
_KNOWN = {
    "projection": (PALETTE[0], "o", True),
    "raw weights": (PALETTE[1], "s", True),
    "raw weights, mean norm": (PALETTE[1], "s", False),
    "nearest image": (PALETTE[2], "^", True),
    "random image": (GREY, "X", True),
    "shuffled responses": (GREY, "v", False),
    "pictures": (HUMAN_COLOUR, "D", False),
}
_OTHERS = [(PALETTE[4], mark, True) for mark in MARKERS]
_SPREAD = 0.62


def caption_looks(conditions: Collection[str]) -> dict[str, tuple[str, str, bool]]:
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
    >>> caption_looks(["projection"])["projection"]
    ('#0072B2', 'o', True)
    """
    return fill_looks(conditions, _KNOWN, _OTHERS)


def place_aside(n: int) -> FloatArray:
    """Tell how far the marks of conditions stand aside of the middle.

    Parameters
    ----------
    n : int
        Conditions.

    Returns
    -------
    ndarray of float64, shape (n,)
        In steps of the axis, ascending.

    Examples
    --------
    >>> place_aside(4).round(2).tolist()
    [-0.31, -0.1, 0.1, 0.31]
    """
    if n == 1:
        return np.zeros(1)
    return np.linspace(-1, 1, n) * _SPREAD / 2 * min(1, (n - 1) / 3)


def plot_naming_rates(
    rows: pd.DataFrame,
    *,
    parts: pd.DataFrame | None = None,
    part: str = "one brain",
    chance: float | None = None,
    label: str = "Captions that name the concept (share)",
    columns: int = 3,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how often captions name a known concept, against noise.

    Parameters
    ----------
    rows : DataFrame
        `condition`, `noise_sd`, `value`, `ci_low`, `ci_high` (NaN: no interval);
        conditions in order of first appearance.
    parts : DataFrame, optional
        `condition`, `noise_sd`, `value` of parts of the data, such as single brains:
        small marks.
    part : str, default "one brain"
        What a small mark is.
    chance : float, optional
        A broken line.
    label : str
        Text at the ordinate.
    columns : int, default 3
        Names side by side in the legend.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Levels of noise at equal steps, each condition a little aside of the others,
        with 95 % intervals.

    Raises
    ------
    ValueError
        If a column is missing, or a condition comes twice at one noise.

    Examples
    --------
    >>> rows = pd.DataFrame({"condition": "projection", "noise_sd": [3.0, 0.3]})
    >>> ax = plot_naming_rates(rows.assign(value=0.9, ci_low=0.8, ci_high=1.0))
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['0.3', '3']
    """
    keys = ["condition", "noise_sd"]
    check_columns("rows", rows.columns, [*keys, "value", *_LIMITS])
    check_once("rows", rows, keys)
    conditions = [str(name) for name in rows["condition"].drop_duplicates()]
    levels = sorted(set(rows["noise_sd"]))
    looks = caption_looks(conditions)
    aside = place_aside(len(conditions))
    ax = new_axes(ax, (6.6, 4.8))
    entries: dict[str, Any] = {}
    for shift, name in zip(aside, conditions, strict=True):
        colour, mark, filled = looks[name]
        own = rows[rows["condition"] == name].sort_values("noise_sd")
        x = np.searchsorted(levels, own["noise_sd"]) + shift
        line: dict[str, Any] = {"color": colour, "marker": mark, "ms": 6.5}
        line["mfc"] = colour if filled else "white"
        ax.vlines(x, own["ci_low"], own["ci_high"], color=colour, lw=1.6, zorder=3)
        ax.plot(x, own["value"], color=colour, lw=1.1, alpha=0.5, zorder=2)
        ax.plot(x, own["value"], ls="none", zorder=4, **line)
        entries[name] = Line2D([], [], ls="none", **line)
        if parts is not None:
            check_columns("parts", parts.columns, [*keys, "value"])
            some = parts[parts["condition"] == name]
            x = np.searchsorted(levels, some["noise_sd"]) + shift + 0.035
            ax.plot(x, some["value"], ".", color=colour, ms=4.5, alpha=0.6, zorder=2)
    if parts is not None:
        entries[part] = Line2D([], [], color=GREY, marker=".", ms=4.5, ls="none")
    _draw_chance(ax, chance, entries)
    _name_steps(ax, levels, "Noise of voxels (SD)")
    ax.set_ylabel(label)
    ax.set_ylim(-0.03, 1.03)
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=columns)
    return ax


def plot_inverse_temperatures(
    rows: pd.DataFrame,
    *,
    label: str,
    baselines: pd.DataFrame | None = None,
    bounds: Mapping[str, float] | None = None,
    chance: float | None = None,
    marked: float | None = None,
    logarithmic: bool = False,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw what depends on the inverse temperature of a projection.

    Parameters
    ----------
    rows : DataFrame
        `noise_sd`, `inverse_temperature`, `value`, `ci_low`, `ci_high`.
    label : str
        Text at the ordinate.
    baselines : DataFrame, optional
        `condition`, `noise_sd`, `value` of what has no temperature: broken lines in
        the colour of the noise; at most four conditions.
    bounds : mapping of str to float, optional
        Values that are named by grey lines.
    chance : float, optional
        A broken black line.
    marked : float, optional
        An inverse temperature that is marked by a pale band.
    logarithmic : bool, default False
        Whether the ordinate is; the abscissa has equal steps.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One line with 95 % intervals per level of noise.

    Raises
    ------
    ValueError
        If a column is missing, a pair comes twice, or there are too many baselines.

    Examples
    --------
    >>> rows = pd.DataFrame({"noise_sd": 1.0, "inverse_temperature": [1.0, 150.0]})
    >>> rows = rows.assign(value=[0.4, 1.0], ci_low=0.3, ci_high=1.0)
    >>> ax = plot_inverse_temperatures(rows, label="Share")
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['1', '150']
    """
    keys = ["noise_sd", "inverse_temperature"]
    check_columns("rows", rows.columns, [*keys, "value", *_LIMITS])
    check_once("rows", rows, keys)
    levels, steps = (sorted(set(rows[key])) for key in keys)
    colours = _level_colours(len(levels))
    ax = new_axes(ax, (5.4, 4.6))
    if logarithmic:
        ax.set_yscale("log")
    entries: dict[str, Any] = {}
    aside = 0.35 * place_aside(len(levels))
    for shift, level, colour in zip(aside, levels, colours, strict=True):
        own = rows[rows["noise_sd"] == level].sort_values("inverse_temperature")
        x = np.searchsorted(steps, own["inverse_temperature"]) + shift
        ax.vlines(x, own["ci_low"], own["ci_high"], color=colour, lw=1.5, zorder=3)
        look: dict[str, Any] = {"color": colour, "marker": "o", "ms": 5.5, "lw": 1.8}
        ax.plot(x, own["value"], zorder=4, **look)
        entries[f"projection, noise {level:g}"] = Line2D([], [], **look)
    if baselines is not None:
        _draw_baselines(ax, baselines, dict(zip(levels, colours, strict=True)), entries)
    known = bounds or {}
    for name, value in known.items():
        ax.axhline(value, color=GREY, lw=1, zorder=1)
        # Lines fall from the upper left to the lower right.
        is_low = value == min(known.values())
        ax.annotate(name, (0.01 if is_low else 0.99, value), (0, 2),
                    xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                    ha="left" if is_low else "right", va="bottom",
                    fontsize=TEXT_PT - 1.5, color=GREY, parse_math=False)  # fmt: skip
    if marked is not None and marked in steps:
        place = steps.index(marked)
        ax.axvspan(place - 0.3, place + 0.3, color="#F1F1F1", lw=0, zorder=0)
    _draw_chance(ax, chance, entries)
    _name_steps(ax, steps, "Inverse temperature")
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=2)
    return ax


def _draw_baselines(
    ax: Axes,
    baselines: pd.DataFrame,
    colours: Mapping[float, str],
    entries: dict[str, Any],
) -> None:
    check_columns("baselines", baselines.columns, ["condition", "noise_sd", "value"])
    names = list(dict.fromkeys(baselines["condition"]))
    if len(names) > len(_DASHES):
        raise ValueError(
            f"`baselines` may have {len(_DASHES)} conditions; got {len(names)}."
        )
    for name, dashes in zip(names, _DASHES, strict=False):
        for row in baselines[baselines["condition"] == name].to_dict("records"):
            colour = colours.get(row["noise_sd"], GREY)
            ax.axhline(row["value"], color=colour, lw=1.3, ls=dashes, zorder=2)
        entries[str(name)] = Line2D([], [], color=GREY, lw=1.3, ls=dashes)


def _level_colours(n: int) -> list[str]:
    """Return colours of ordered levels, from dark to light, none too pale."""
    return [
        to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.15, 0.85, n))
    ]


def _name_steps(ax: Axes, steps: Sequence[float], label: str) -> None:
    ax.set_xticks(range(len(steps)), [f"{step:g}" for step in steps])
    ax.set_xlim(-0.5, len(steps) - 0.5)
    ax.set_xlabel(label)


def _draw_chance(ax: Axes, chance: float | None, entries: dict[str, Any]) -> None:
    if chance is None:
        return
    value = check_between("chance", chance, low=0, high=1)
    ax.axhline(value, color=HUMAN_COLOUR, lw=1.2, ls=_DASHED, zorder=1)
    entries["chance"] = Line2D([], [], color=HUMAN_COLOUR, lw=1.2, ls=_DASHED)
