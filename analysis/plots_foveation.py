"""Figures of foveated systems: their training and their accuracies.

Axes-level, as in `analysis.plots`: a function draws on the axes it is given, or on
those of a new figure, and returns the axes. A system has one colour and mark in all
figures.
"""

from collections.abc import Collection, Mapping
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
    finish,
    new_axes,
    number_text,
    set_title,
)
from neurovis.core.checks import check_columns, check_option

FloatArray = NDArray[np.float64]

DASHED = (0, (4, 2.2))
DOTTED = (0, (1, 1.3))
_KNOWN = {
    "reference": (PALETTE[0], "o"),
    "texture": (PALETTE[1], "s"),
    "uniform-blur": (PALETTE[3], "^"),
    "foveated-blur": (PALETTE[2], "v"),
}
_OTHERS = tuple(zip(PALETTE[4:], MARKERS[4:], strict=False))
_LIMITS = ["ci_low", "ci_high"]


def system_looks(systems: Collection[str]) -> dict[str, tuple[str, str]]:
    """Give each system its colour and mark, the same in all figures.

    Parameters
    ----------
    systems : collection of str
        Names, in order.

    Returns
    -------
    dict of str to tuple of str
        Colour and marker, as matplotlib has them.

    Examples
    --------
    >>> system_looks(["texture"])["texture"]
    ('#D55E00', 's')
    """
    rest = [name for name in systems if name not in _KNOWN]
    more = {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(rest)}
    return {name: _KNOWN.get(name) or more[name] for name in systems}


def system_legend(
    figure: Figure, names: Mapping[str, str], *, others: Mapping[str, Any] | None = None
) -> None:
    """Put the legend of the systems below all axes of a figure.

    Parameters
    ----------
    figure : Figure
        Figure with everything drawn.
    names : mapping of str to str
        Printed name of each system, in order.
    others : mapping of str to artist, optional
        Further entries.
    """
    looks = system_looks(list(names))
    entries: dict[str, Any] = {
        names[system]: Line2D([], [], color=colour, marker=mark, ms=5.5, lw=1.8)
        for system, (colour, mark) in looks.items()
    }
    entries.update(others or {})
    legend = figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=2 if figure.get_size_inches()[0] < 10 else 3,
        frameon=False,
        fontsize=TEXT_PT,
        handlelength=2.6,
        columnspacing=2.0,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def plot_training_runs(
    curves: pd.DataFrame,
    *,
    measure: str,
    label: str,
    chance: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how runs of all systems learnt: thin lines are runs, thick ones means.

    Parameters
    ----------
    curves : DataFrame
        `system`, `run`, `epoch` (from 0) and the measure, one row per epoch.
    measure : str
        Column to draw.
    label : str
        Text at the ordinate.
    chance : float, optional
        A broken line.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Against the number of epochs done, from 1.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("curves", curves.columns, ["system", "run", "epoch", measure])
    ax = new_axes(ax)
    names = [str(name) for name in curves["system"].unique()]
    for system, (colour, mark) in system_looks(names).items():
        own = curves[curves["system"] == system]
        wide = own.pivot_table(index="epoch", columns="run", values=measure)
        done = wide.index.to_numpy() + 1
        if wide.shape[1] > 1:
            ax.plot(done, wide, color=colour, lw=0.7, alpha=0.45)
        ends = [0, len(done) - 1] if len(done) else []
        ax.plot(done, wide.mean(axis=1), color=colour, marker=mark, ms=5, lw=1.8,
                markevery=ends)  # fmt: skip
    if chance is not None:
        ax.axhline(chance, color=GREY, lw=1.1, ls=DASHED)
        ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.set_xlabel("Epochs")
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    return ax


def plot_system_curves(
    table: pd.DataFrame,
    *,
    x: str,
    x_label: str,
    measure: str = "accuracy",
    label: str = "Correct (share)",
    logarithmic: bool = False,
    unchanged: str = "left",
    top: float = 1.0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a measure of all systems against a level of what was done to pictures.

    Parameters
    ----------
    table : DataFrame
        `system`, `x`, the measure, `ci_low`, `ci_high` (the band), and `chance` for a
        broken line, one row per system and level. A row whose `x` is NaN is what was
        not changed.
    x : str
        Column of the abscissa, above 0 if `logarithmic`.
    x_label : str
        Text at the abscissa.
    measure : str, default "accuracy"
        Column of the ordinate.
    label : str, default "Correct (share)"
        Text at the ordinate.
    logarithmic : bool, default False
        Kind of the abscissa.
    unchanged : {"left", "right"}
        End of a logarithmic abscissa at which unchanged pictures stand.
    top : float, default 1
        Largest value of the ordinate; the smallest is 0.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One line per system; a dotted piece leads to the unchanged pictures.

    Raises
    ------
    ValueError
        If a column is missing, or an option is unknown.
    """
    check_columns("table", table.columns, ["system", x, measure, *_LIMITS])
    check_option("unchanged", unchanged, ("left", "right"))
    ax = new_axes(ax)
    names = [str(name) for name in table["system"].unique()]
    levels = np.unique(table[x].dropna().to_numpy(np.float64))
    edge = np.nan
    if len(levels) and table[x].isna().any():
        edge = levels[0] / 1.7 if unchanged == "left" else levels[-1] * 1.7
    for system, (colour, mark) in system_looks(names).items():
        own = table[table["system"] == system]
        rows = own[own[x].notna()].sort_values(x)
        at, value = (rows[name].to_numpy(np.float64) for name in (x, measure))
        low, high = (rows[name].to_numpy(np.float64) for name in _LIMITS)
        ax.fill_between(at, low, high, color=colour, alpha=0.13, lw=0)
        ax.plot(at, value, color=colour, marker=mark, ms=4.5, lw=1.7)
        whole = own[own[x].isna()]
        if len(whole) and len(rows):
            first = float(whole[measure].iloc[0])
            near = 0 if unchanged == "left" else -1
            pair = ([edge, at[near]], [first, value[near]])
            ax.plot(*pair, color=colour, lw=1.2, ls=DOTTED)
            limits = [[max(first - whole["ci_low"].iloc[0], 0)],
                      [max(whole["ci_high"].iloc[0] - first, 0)]]  # fmt: skip
            ax.errorbar(edge, first, limits, color=colour, marker=mark, ms=5.5,
                        mfc="white", lw=1, alpha=0.9)  # fmt: skip
    if "chance" in table and table["chance"].notna().any():
        ax.axhline(float(table["chance"].iloc[0]), color=GREY, lw=1.1, ls=DASHED)
    if logarithmic:
        _log_ticks(ax, levels, edge)
    else:
        whole_numbers = bool((levels == np.rint(levels)).all())
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=whole_numbers))
    ax.set_ylim(0, top)
    ax.set_xlabel(x_label)
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    return ax


def _log_ticks(ax: Axes, levels: FloatArray, edge: float) -> None:
    """Name levels that have room, and the place of unchanged pictures."""
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    # Coarse levels first: fine ones crowd on this axis.
    named: list[float] = [] if np.isnan(edge) else [edge]
    for level in [levels[-1], *levels] if len(levels) else []:
        if all(abs(np.log2(level / other)) > 0.55 for other in named):
            named.append(level)
    texts = ["none" if p == edge else number_text(p, int(p < 10)) for p in named]
    ax.set_xticks(named, texts)


def plot_generalisation(
    accuracy: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the accuracy of every system on the pictures of every system.

    Parameters
    ----------
    accuracy : DataFrame
        `system` (trained on), `condition` (tested on), `accuracy`, `ci_low`,
        `ci_high`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Matrix with values and 95 % intervals; framed cells are i.i.d.: trained and
        tested on pictures of one kind.

    Raises
    ------
    ValueError
        If a column is missing, or a pair comes twice.
    """
    keys = ["system", "condition"]
    check_columns("accuracy", accuracy.columns, [*keys, "accuracy", *_LIMITS])
    if accuracy.duplicated(keys).any():
        raise ValueError(
            "`accuracy` has several rows of one system and condition: choose one epoch "
            "and one number of guesses."
        )
    learnt, tested = (list(accuracy[key].unique()) for key in keys)
    ax = new_axes(ax, (1.3 + 0.92 * len(tested), 1.2 + 0.68 * len(learnt)))
    cells = accuracy.set_index(keys)
    grid = np.full((len(learnt), len(tested)), np.nan)
    pairs = accuracy[[*keys, "accuracy"]].itertuples(index=False)
    for system, condition, value in pairs:
        grid[learnt.index(system), tested.index(condition)] = value
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    span = max(high - low, 0.05)
    # Pale enough for dark text.
    norm = Normalize(low - 0.3 * span, high + 0.9 * span)
    ax.imshow(grid, cmap="Blues", norm=norm, aspect="auto")
    for (i, j), value in np.ndenumerate(grid):
        if np.isnan(value):
            continue
        row = cells.loc[(learnt[i], tested[j])]
        own = learnt[i] == tested[j]
        limits = ", ".join(number_text(float(row[name]), 2) for name in _LIMITS)
        middle: dict[str, Any] = {"ha": "center", "va": "center", "color": HUMAN_COLOUR}
        ax.text(j, i - 0.14, number_text(float(value), 3), fontsize=TEXT_PT + 1,
                fontweight="bold" if own else "normal", **middle)  # fmt: skip
        if np.isfinite(row[_LIMITS].to_numpy(np.float64)).all():
            ax.text(j, i + 0.2, f"[{limits}]", fontsize=TEXT_PT - 2, **middle)
        if own:
            ax.add_patch(Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False,
                                   ec=HUMAN_COLOUR, lw=1.6))  # fmt: skip
    ax.set_xticks(range(len(tested)), [_broken(str(n)) for n in tested])
    ax.set_yticks(range(len(learnt)), [_broken(str(n)) for n in learnt])
    ax.set_xlabel("Tested on", fontsize=TEXT_PT + 0.5)
    ax.set_ylabel("Trained on", fontsize=TEXT_PT + 0.5)
    ax.tick_params(length=0, labelsize=TEXT_PT)
    ax.spines[:].set_visible(False)
    if title:
        set_title(ax, title)
    return ax


def _broken(name: str) -> str:
    return name.replace("-", "-\n", 1)


def plot_own_accuracy(
    accuracy: pd.DataFrame,
    *,
    majority: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the accuracy of each system on test pictures of its own kind.

    Parameters
    ----------
    accuracy : DataFrame
        `system`, `accuracy`, `ci_low`, `ci_high` and `chance`, one row per system.
    majority : float, optional
        Share of the commonest class, a dotted line.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Bars with 95 % intervals; a broken line is chance.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["system", "accuracy", *_LIMITS, "chance"]
    check_columns("accuracy", accuracy.columns, columns)
    ax = new_axes(ax, (4.4, 3.6))
    names = [str(name) for name in accuracy["system"]]
    value, low, high, chance = (
        accuracy[name].to_numpy(np.float64) for name in columns[1:]
    )
    looks = system_looks(names)
    places = np.arange(len(names))
    ax.bar(places, value, 0.66, color=[looks[name][0] for name in names], alpha=0.85)
    limits = np.maximum(np.stack([value - low, high - value]), 0)
    ax.errorbar(places, value, limits, fmt="none", ecolor=HUMAN_COLOUR, lw=1.3)
    lines = [("guessing", float(chance[0]), DASHED)] if len(chance) else []
    if majority is not None:
        lines.append(("commonest class", majority, DOTTED))
    for text, height, style in lines:
        ax.axhline(height, color=GREY, lw=1.3, ls=style, label=text)
    ax.set_xticks(places, [_broken(name) for name in names], parse_math=False)
    ax.set_ylim(0, _top_of(np.append(value, high)))
    ax.set_ylabel("Correct (share)")
    if title:
        set_title(ax, title)
    finish(ax)
    ax.tick_params(axis="x", length=0)
    if lines:
        ax.legend(frameon=False, fontsize=TEXT_PT - 1, loc="upper center", ncols=2,
                  bbox_to_anchor=(0.5, -0.18))  # fmt: skip
    return ax


def _top_of(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(min(1.0, 1.08 * known.max())) if len(known) else 1.0


def plot_confusion(
    confusion: pd.DataFrame,
    *,
    top: float = 1.0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw which classes one system takes for which.

    Parameters
    ----------
    confusion : DataFrame
        `label`, `predicted` and `share` of the pictures of the label.
    top : float, default 1
        Share that is darkest.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Matrix; rows are true classes. Shares in per cent are written into matrices of
        up to ten classes.

    Raises
    ------
    ValueError
        If a column is missing, or a pair comes twice.
    """
    check_columns("confusion", confusion.columns, ["label", "predicted", "share"])
    classes = [str(name) for name in confusion["label"].unique()]
    if confusion.duplicated(["label", "predicted"]).any():
        raise ValueError(
            "`confusion` has several rows of one label and answer: choose one system, "
            "epoch and condition."
        )
    wide = confusion.pivot_table(index="label", columns="predicted", values="share")
    grid = wide.reindex(index=classes, columns=classes).to_numpy(np.float64)
    n = len(classes)
    ax = new_axes(ax, (2.4 + 0.2 * n, 2.2 + 0.2 * n))
    ax.imshow(grid, cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
    if n <= 10:
        for (i, j), share in np.ndenumerate(grid):
            colour = "white" if share > 0.55 * top else HUMAN_COLOUR
            ax.text(j, i, number_text(100 * share, 0), ha="center", va="center",
                    fontsize=TEXT_PT - 1.5, color=colour)  # fmt: skip
    size = TEXT_PT - (1 if n <= 10 else 2.5)
    ax.set_xticks(range(n), classes, rotation=90, fontsize=size, parse_math=False)
    ax.set_yticks(range(n), classes, fontsize=size, parse_math=False)
    ax.set_xlabel("Answer", fontsize=TEXT_PT)
    ax.set_ylabel("True class", fontsize=TEXT_PT)
    ax.tick_params(length=0)
    ax.spines[:].set_color(PALE)
    if title:
        set_title(ax, title)
    return ax
