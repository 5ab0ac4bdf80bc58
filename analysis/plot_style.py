"""The look that all figures share: colours, marks, axes, numbers.

Colours are those of Okabe and Ito (2008), told apart with any colour vision. People
are black diamonds; observers with untrained weights carry "(untrained)" in their label.
"""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neurovis.core.checks import check_columns
from neurovis.core.types import HUMAN_MODEL

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of observers, in their order in the table; used again after the sixth."""

# One more than colours: no two of the first forty observers look alike.
MARKERS = ("o", "s", "^", "v", "P", "X", "p")
HUMAN_COLOUR = "#1A1A1A"
GREY = "#6B6B6B"
PALE = "#D0D0D0"
TEXT_PT = 9.5
_LINE_LENGTH = 42

_T = TypeVar("_T")


@dataclass(frozen=True)
class Look:
    """How one observer looks in every figure.

    Parameters
    ----------
    subject : str
        Label in the table.
    label : str
        Label in the figure.
    colour, marker : str
        As matplotlib has them.
    human, untrained : bool
        What the observer is.
    """

    subject: str
    label: str
    colour: str
    marker: str
    human: bool
    untrained: bool


def looks_of(table: pd.DataFrame) -> list[Look]:
    """Give each observer of a score table a look, people first.

    Parameters
    ----------
    table : DataFrame
        Any rows with `subject`, `model` and `untrained` (bool).

    Returns
    -------
    list of Look
        People first, then the others in their order.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> table = pd.DataFrame({"subject": ["a"], "model": ["a"], "untrained": [True]})
    >>> looks_of(table)[0].label
    'a (untrained)'
    """
    columns = ["subject", "model", "untrained"]
    check_columns("table", table.columns, columns)
    rows = table[columns].drop_duplicates("subject")
    people = rows["model"] == HUMAN_MODEL
    looks = [
        Look(str(s), "people", HUMAN_COLOUR, "D", True, False)
        for s in rows.loc[people, "subject"]
    ]
    others = rows.loc[~people, ["subject", "untrained"]].to_numpy()
    for i, (subject, untrained) in enumerate(others):
        label = str(subject)
        if untrained and "untrained" not in label.lower():
            label += " (untrained)"
        colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        looks.append(Look(str(subject), label, colour, marker, False, bool(untrained)))
    return looks


def new_axes(ax: Axes | None, size_in: tuple[float, float] = (4.2, 3.4)) -> Axes:
    """Return the given axes, or those of a new figure without a window.

    Parameters
    ----------
    ax : Axes or None
        Axes of the caller.
    size_in : pair of float, default (4.2, 3.4)
        Width and height of a new figure in inches.

    Returns
    -------
    Axes
        Where to draw.

    Examples
    --------
    >>> new_axes(None, (3, 2)).figure.get_size_inches().tolist()
    [3.0, 2.0]
    """
    if ax is not None:
        return ax
    return Figure(figsize=size_in, layout="constrained").add_subplot()


def finish(ax: Axes, *, grid: Literal["x", "y", "both"] = "y") -> None:
    """Remove what carries no information, and set the sizes of text.

    Parameters
    ----------
    ax : Axes
        Axes with everything drawn.
    grid : {"x", "y", "both"}, default "y"
        Which faint lines help to read values.
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.grid(axis=grid, color="#EBEBEB", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=TEXT_PT, color=GREY)
    ax.xaxis.label.set_fontsize(TEXT_PT + 0.5)
    ax.yaxis.label.set_fontsize(TEXT_PT + 0.5)


def set_title(ax: Axes, text: str) -> None:
    """Write a title above the left end of the axes.

    Parameters
    ----------
    ax : Axes
        Axes to name.
    text : str
        Title; long ones are wrapped, dollar signs are taken as they are.
    """
    wrapped = textwrap.fill(text, _LINE_LENGTH)
    ax.set_title(wrapped, loc="left", fontsize=TEXT_PT + 1.5, parse_math=False)


def legend_below(
    ax: Axes, entries: Mapping[str, Any], *, columns: int = 1, title: str = ""
) -> None:
    """Put the legend below the axes, where it hides no data.

    Parameters
    ----------
    ax : Axes
        Axes with everything drawn.
    entries : mapping of str to artist
        What stands for what, in this order; long labels are wrapped.
    columns : int, default 1
        Entries side by side.
    title : str, optional
        Line above the entries.
    """
    figure = ax.get_figure()
    alone = figure is not None and len(figure.axes) == 1
    owner = figure if figure is not None and alone else ax
    place: dict[str, Any] = {"loc": "outside lower center"}
    if not alone:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
    legend = owner.legend(
        list(entries.values()),
        [textwrap.fill(label, _LINE_LENGTH) for label in entries],
        title=title or None,
        ncols=columns,
        frameon=False,
        fontsize=TEXT_PT - 0.5,
        title_fontsize=TEXT_PT - 0.5,
        handlelength=2.4,
        columnspacing=1.4,
        alignment="left",
        **place,
    )
    for text in [*legend.get_texts(), legend.get_title()]:
        text.set_parse_math(False)


def interval_bars(rows: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return the distances from `value` to `ci_low` and `ci_high`.

    Parameters
    ----------
    rows : DataFrame
        With `value`, `ci_low` and `ci_high`.

    Returns
    -------
    ndarray of float64, shape (2, n_rows), or None
        Lengths below and above, at least 0; None when no row has an interval.

    Examples
    --------
    >>> rows = pd.DataFrame({"value": [2.0], "ci_low": [1.5], "ci_high": [3.0]})
    >>> interval_bars(rows).tolist()
    [[0.5], [1.0]]
    """
    low = (rows["value"] - rows["ci_low"]).to_numpy(np.float64)
    high = (rows["ci_high"] - rows["value"]).to_numpy(np.float64)
    bars: NDArray[np.float64] = np.stack([low, high])
    # A percentile interval can lie beside a value at its bound.
    return None if np.isnan(bars).all() else np.maximum(bars, 0)


def number_text(value: float, digits: int = 1) -> str:
    """Write a number with fixed decimals and a true minus sign.

    Parameters
    ----------
    value : float
        Number; NaN gives a dash.
    digits : int, default 1
        Decimals.

    Returns
    -------
    str
        Text for people; never "−0.0".

    Examples
    --------
    >>> number_text(-0.04), number_text(-1.25, 2), number_text(float("nan"))
    ('0.0', '−1.25', '–')
    """
    if np.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return (text if float(text) else text.lstrip("-")).replace("-", "−")


def check_once(name: str, table: pd.DataFrame, keys: list[str]) -> None:
    """Refuse tables with several rows of one thing.

    Parameters
    ----------
    name : str
        Argument name for the message.
    table : DataFrame
        Table.
    keys : list of str
        Columns that tell things apart.

    Raises
    ------
    ValueError
        If one comes twice.
    """
    twice = table.duplicated(keys)
    if twice.any():
        told = ", ".join(str(value) for value in table.loc[twice, keys].iloc[0])
        raise ValueError(f"`{name}` has several rows of {told}: keep one.")


def fill_looks(
    names: Collection[str], known: Mapping[str, _T], others: Sequence[_T]
) -> dict[str, _T]:
    """Give each name its own look, and those that are not known others in turn.

    Parameters
    ----------
    names : collection of str
        Names, in order.
    known : mapping of str to object
        Looks that belong to a name in all figures.
    others : sequence of object
        Looks for the rest.

    Returns
    -------
    dict of str to object
        In the order of `names`.
    """
    rest = [name for name in names if name not in known]
    more = {name: others[i % len(others)] for i, name in enumerate(rest)}
    return {name: known[name] if name in known else more[name] for name in names}
