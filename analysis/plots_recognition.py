"""Figures of recognition: networks beside people, picture by picture.

Axes-level, as in `analysis.plots`. People are black diamonds; networks that were run
are filled marks in colours, decisions that were published open grey ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    MARKERS,
    PALE,
    PALETTE,
    TEXT_PT,
    Look,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns
from neurovis.core.types import HUMAN_MODEL

_DOTTED = (0, (1.2, 1.6))
_BAND = "#E3E3E3"


def recognition_looks(observers: pd.DataFrame) -> dict[str, Look]:
    """Give each observer of a recognition run a look.

    Parameters
    ----------
    observers : DataFrame
        `model` ("people" or "human" for people), `kind` and `untrained`.

    Returns
    -------
    dict of str to Look
        By `model`, people first; without baselines.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["a@w"], "kind": ["network"], "untrained": [0]})
    >>> recognition_looks(table)["a@w"].label
    'a'
    """
    check_columns("observers", observers.columns, ["model", "kind", "untrained"])
    rows = observers[observers["kind"] != "baseline"].drop_duplicates("model")
    short = rows["model"].str.partition("@")[0]
    looks = {}
    n_run = n_published = 0
    for name, kind, untrained, start in zip(
        rows["model"], rows["kind"], rows["untrained"], short, strict=True
    ):
        if kind == "people":
            looks[name] = Look(name, "people", HUMAN_COLOUR, "D", True, False)
            continue
        label = start if (short == start).sum() == 1 else name
        label += " (untrained)" if untrained else ""
        if kind == "published":
            colour, place = GREY, n_published
            n_published += 1
        else:
            colour, place = PALETTE[n_run % len(PALETTE)], n_run
            n_run += 1
        mark = MARKERS[place % len(MARKERS)]
        if place >= len(MARKERS):
            mark = ("<", ">", "d", "h", "*")[place % 5]
        looks[name] = Look(name, label, colour, mark, False, bool(untrained))
    return dict(sorted(looks.items(), key=lambda item: not item[1].human))


def _style(look: Look, size: float = 6.5) -> dict[str, Any]:
    face = "white" if look.colour == GREY else look.colour
    return {
        "marker": look.marker,
        "color": look.colour,
        "markerfacecolor": face,
        "markersize": size + (1 if look.human else 0),
        "linestyle": "none",
    }


def _legend(ax: Axes, looks: Sequence[Look], columns: int) -> None:
    entries = {look.label: Line2D([], [], **_style(look)) for look in looks}
    legend_below(ax, entries, columns=columns)


def plot_shape_bias_by_category(
    table: pd.DataFrame,
    looks: Mapping[str, Look],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw what decides, shape or texture, for each category of the shape.

    Parameters
    ----------
    table : DataFrame
        `model`, `category` and `shape_bias`, as
        `analysis.shape_bias.shape_bias_by_category` gives.
    looks : mapping of str to Look
        Of the observers to draw.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row per category; upright lines are means over categories.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("table", table.columns, ["model", "category", "shape_bias"])
    ax = new_axes(ax, (5.8, 6.4))
    categories = sorted(table["category"].unique())
    place = {name: i for i, name in enumerate(categories)}
    drawn = [look for name, look in looks.items() if name in set(table["model"])]
    for look in reversed(drawn):
        own = table[table["model"] == look.subject]
        y = own["category"].map(place).to_numpy(float)
        front = look.colour != GREY
        ax.plot(own["shape_bias"], y, zorder=4 if front else 3, **_style(look))
        ax.axvline(
            float(own["shape_bias"].mean()),
            color=look.colour if front else PALE,
            lw=1.6 if front else 1.0,
            zorder=1,
        )
    ax.set_yticks(range(len(categories)), categories)
    ax.set_ylim(len(categories) - 0.4, -0.6)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("Decisions for the shape (share of decisions for shape or texture)")
    ax.text(0, -0.75, "texture", ha="left", va="bottom", color=GREY, fontsize=TEXT_PT)
    ax.text(1, -0.75, "shape", ha="right", va="bottom", color=GREY, fontsize=TEXT_PT)
    if title:
        ax.set_title(title, loc="center", fontsize=TEXT_PT + 1.5, parse_math=False)
    finish(ax, grid="y")
    _legend(ax, drawn, columns=3)
    return ax


def plot_consistency_by_experiment(
    scores: pd.DataFrame,
    looks: Mapping[str, Look],
    *,
    label: str = "Error consistency with people (kappa)",
    ax: Axes | None = None,
) -> Axes:
    """Draw a measure of agreement with people in each experiment.

    Parameters
    ----------
    scores : DataFrame
        Rows of one metric: `model` ("human" for people), `title` (of the row),
        `value`, `ci_low`, `ci_high`, `null_low` and `null_high`.
    looks : mapping of str to Look
        Of the observers to draw, people as "human".
    label : str
        Text at the abscissa.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row per title. Grey bands are people with each other (95 % interval over
        pictures); a light line under the networks is the widest of their intervals of
        independent errors.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["model", "title", "value", "ci_low", "ci_high", "null_low", "null_high"]
    check_columns("scores", scores.columns, columns)
    titles = list(scores["title"].unique())
    drawn = [look for name, look in looks.items() if name in set(scores["model"])]
    counts = scores[scores["model"].isin(looks)].groupby("title").size()
    # Rows with many observers are taller.
    heights = [max(1.0, 0.5 * int(counts.get(title, 1))) for title in titles]
    starts = np.concatenate([[0], np.cumsum(heights)])
    ax = new_axes(ax, (9.0, 1.6 + 0.25 * float(starts[-1])))
    order = {name: i for i, name in enumerate(looks)}
    for title, start, height in zip(titles, starts[:-1], heights, strict=True):
        rows = scores[scores["title"] == title]
        rows = rows[rows["model"].isin(looks)]
        rows = rows.sort_values("model", key=lambda names: names.map(order))
        networks = rows[rows["model"] != HUMAN_MODEL]
        people = rows[rows["model"] == HUMAN_MODEL]
        for low, high in people[["ci_low", "ci_high"]].to_numpy(float):
            ax.fill_betweenx([start, start + height], low, high, color=_BAND, lw=0)
        if len(networks):
            low, high = networks["null_low"].min(), networks["null_high"].max()
            ax.plot([low, high], [start + height - 0.06] * 2, color=PALE, lw=3)
        places = start + height * (np.arange(len(rows)) + 0.5) / max(len(rows), 1)
        for place, (_, row) in zip(places, rows.iterrows(), strict=True):
            look = looks[str(row["model"])]
            ax.plot([row["ci_low"], row["ci_high"]], [place] * 2,
                    color=look.colour, lw=1.2)  # fmt: skip
            ax.plot(row["value"], place, zorder=4, **_style(look, 5.5))
        ax.axhline(start + height, color="#EBEBEB", lw=0.8)
    ax.axvline(0, color=GREY, lw=1, ls=_DOTTED)
    middles = starts[:-1] + np.array(heights) / 2
    ax.set_yticks(middles, titles, parse_math=False)
    ax.set_ylim(float(starts[-1]), 0)
    ax.set_xlabel(label)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    _legend(ax, drawn, columns=3)
    return ax


def plot_condition_curves(
    scores: pd.DataFrame,
    looks: Mapping[str, Look],
    *,
    conditions: Sequence[str],
    excluded: Sequence[str] = (),
    chance: float | None = None,
    label: str = "Accuracy",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a measure against the conditions of one experiment.

    Parameters
    ----------
    scores : DataFrame
        Rows of one metric and experiment: `model`, `condition`, `value`, `ci_low` and
        `ci_high`.
    looks : mapping of str to Look
        Of the observers to draw, people as "human".
    conditions : sequence of str
        In order, from easy to hard.
    excluded : sequence of str, optional
        Conditions that means leave out: small ticks below.
    chance : float, optional
        A dotted line.
    label : str, default "Accuracy"
        Text at the ordinate.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Lines with 95 % intervals.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["model", "condition", "value", "ci_low", "ci_high"]
    check_columns("scores", scores.columns, columns)
    ax = new_axes(ax, (3.4, 2.8))
    place = {name: i for i, name in enumerate(conditions)}
    for name, look in looks.items():
        rows = scores[(scores["model"] == name) & scores["condition"].isin(place)]
        if rows.empty:
            continue
        rows = rows.assign(x=rows["condition"].map(place)).sort_values("x")
        bars = interval_bars(rows)
        style = _style(look, 4.5) | {"linestyle": "-"}
        ax.errorbar(rows["x"], rows["value"], yerr=bars, lw=1.4, elinewidth=1, **style)
    if chance is not None:
        ax.axhline(chance, color=GREY, lw=1, ls=_DOTTED)
    ax.set_xticks(range(len(conditions)), list(conditions), parse_math=False)
    longest = max(map(len, conditions), default=0)
    ax.tick_params(axis="x", rotation=45 if longest > 3 and len(conditions) > 4 else 0)
    for tick, name in zip(ax.get_xticklabels(), conditions, strict=True):
        tick.set_color("#A9A9A9" if name in excluded else "black")
    ax.set_xlim(-0.4, len(conditions) - 0.6)
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    for tick in ax.get_xticklabels():
        tick.set_fontsize(TEXT_PT - 1)
    return ax


def plot_kappa_matrix(
    names: Sequence[str],
    kappa: NDArray[np.float64],
    *,
    n_people: int,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the error consistency of every pair of observers.

    Parameters
    ----------
    names : sequence of str
        Observers, people first.
    kappa : ndarray of float64, shape (n, n)
        Of each pair; the diagonal is not drawn.
    n_people : int
        How many of them are people: lines stand between them and the others.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Dark cells err on the same pictures.

    Raises
    ------
    ValueError
        If the shape does not fit the names.
    """
    if kappa.shape != (len(names), len(names)):
        raise ValueError(
            f"`kappa` must have shape ({len(names)}, {len(names)}); got {kappa.shape}."
        )
    side = 1.8 + 0.24 * len(names)
    ax = new_axes(ax, (side + 1.0, side))
    shown = np.array(kappa, np.float64)
    np.fill_diagonal(shown, np.nan)
    most = float(np.nanmax(shown, initial=0.1))
    image = ax.imshow(shown, cmap="cividis_r", vmin=0, vmax=max(most, 0.1))
    ax.set_xticks(range(len(names)), list(names), rotation=90, parse_math=False)
    ax.set_yticks(range(len(names)), list(names), parse_math=False)
    ax.tick_params(length=0, labelsize=TEXT_PT - 1.5)
    ax.spines[:].set_visible(False)
    if 0 < n_people < len(names):
        ax.axhline(n_people - 0.5, color="white", lw=2.5)
        ax.axvline(n_people - 0.5, color="white", lw=2.5)
    if ax.figure is not None:
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.045, pad=0.02)
        bar.set_label("Error consistency (kappa)", fontsize=TEXT_PT)
        bar.ax.tick_params(labelsize=TEXT_PT - 1)
        bar.outline.set_visible(False)
    if title:
        set_title(ax, title)
    return ax


def plot_confusion(
    percent: pd.DataFrame,
    *,
    axis_labels: bool = True,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw which categories are answered for which.

    Parameters
    ----------
    percent : DataFrame
        Rows are responses, columns the truth, in percent of the truth, as
        `analysis.response_entropy.confusion_of_responses` gives.
    axis_labels : bool, default True
        Whether names stand at the ordinate.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Dark cells are frequent.
    """
    ax = new_axes(ax, (4.2, 4.2))
    ax.imshow(percent.to_numpy(np.float64), cmap="Greys", vmin=0, vmax=100)
    ax.set_xticks(range(percent.shape[1]), [str(c) for c in percent.columns],
                  rotation=90)  # fmt: skip
    rows = [str(r) for r in percent.index] if axis_labels else []
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, labelsize=TEXT_PT - 1.5)
    ax.spines[:].set_color(PALE)
    ax.set_xlabel("Truth (shape)", fontsize=TEXT_PT)
    if axis_labels:
        ax.set_ylabel("Response", fontsize=TEXT_PT)
    if title:
        set_title(ax, title)
    return ax
