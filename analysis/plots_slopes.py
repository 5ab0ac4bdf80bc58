"""Figures of search-slope experiments, one axes each.

In the manner of `analysis.plots`: every function draws on the axes it is given, or on
those of a new figure, and returns the axes. Tables are those of
`analysis.slope_scores.slope_scores`. Displays with a target have filled marks and full
lines, those without open marks and broken lines; observers stand a little beside each
other.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from analysis.plot_style import (
    GREY,
    PALE,
    PALETTE,
    Look,
    finish,
    interval_bars,
    legend_below,
    looks_of,
    new_axes,
    number_text,
    set_title,
)
from analysis.rt_fits import RtFit
from analysis.slope_scores import EXTRA_COLUMNS
from neurovis.core.checks import check_array, check_between, check_columns, check_option
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS

FloatArray = NDArray[np.float64]

_BROKEN = (0, (4, 2.2))
_PRESENCES = ((True, "present"), (False, "absent"))


def plot_rt_slopes(
    scores: pd.DataFrame, *, task: str, rule: str, ax: Axes | None = None
) -> Axes:
    """Plot mean reaction time against set size, searchers beside people.

    The legend gives the slopes with and without a target of each observer.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows `mean_rt_ms` and `slope_ms_per_item` are used.
    task : str
        Which search task, such as "conjunction".
    rule : str
        Quitting rule of the searchers.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Set size in items, reaction time in ms.

    Raises
    ------
    ValueError
        If a column, the task or the rule is missing.
    """
    means = _rows(scores, "mean_rt_ms", task, rule)
    slopes = _rows(scores, "slope_ms_per_item", task, rule)
    looks = looks_of(means)
    ax = new_axes(ax, (4.2, 2.9 + 0.2 * len(looks)))
    entries = {}
    for look, shift in _dodged(looks):
        entry = _lines(ax, means, look, shift)
        texts = [
            number_text(_of(slopes, look, there)["value"].sum(min_count=1))
            for there, _ in _PRESENCES
        ]
        entries[f"{look.label}: {' and '.join(texts)}"] = entry
    ax.set_ylabel("Reaction time (ms)")
    _set_sizes(ax, means)
    set_title(ax, _title(task, rule))
    finish(ax)
    key = "Slopes in ms/item; full: target present, broken: absent"
    legend_below(ax, entries, title=key)
    return ax


def plot_error_rates(
    scores: pd.DataFrame, *, task: str, rule: str, ax: Axes | None = None
) -> Axes:
    """Plot error rates against set size, searchers beside people.

    Misses have full lines, false alarms broken ones. Searchers have no false alarms
    by construction; theirs are not drawn.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows `error_rate` are used.
    task : str
        Which search task.
    rule : str
        Quitting rule of the searchers.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Set size in items, errors in percent.

    Raises
    ------
    ValueError
        If a column, the task or the rule is missing.
    """
    rates = _rows(scores, "error_rate", task, rule)
    percent = ["value", "ci_low", "ci_high"]
    rates = rates.assign(**{name: 100 * rates[name] for name in percent})
    looks = looks_of(rates)
    drawn = rates[rates["target_present"] | (rates["model"] == HUMAN_MODEL)]
    ax = new_axes(ax, (4.2, 2.9 + 0.2 * len(looks)))
    entries = {
        look.label: _lines(ax, drawn, look, shift) for look, shift in _dodged(looks)
    }
    ax.set_ylabel("Errors (%)")
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    _set_sizes(ax, rates)
    set_title(ax, _title(task, rule))
    finish(ax)
    legend_below(ax, entries, title="Full: misses, broken: false alarms")
    return ax


def plot_rt_distribution(
    rt_ms: ArrayLike,
    *,
    fits: tuple[RtFit, ...] = (),
    searcher_ms: ArrayLike | None = None,
    searcher: str = "searcher",
    bin_ms: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Plot the reaction times of people as a histogram, with fitted densities.

    The times of a searcher are few distinct numbers: they are drawn as stems whose
    height is the share of its correct answers, on an axis of their own at the right.

    Parameters
    ----------
    rt_ms : array-like of float, shape (n,)
        Reaction times of people in ms.
    fits : tuple of RtFit, optional
        Distributions fitted to them; undefined ones are left out.
    searcher_ms : array-like of float, shape (m,), optional
        Reaction times of a searcher in ms.
    searcher : str, default "searcher"
        Its label.
    bin_ms : float, optional
        Width of the bins in ms; by the rule of Freedman and Diaconis by default.
    title : str, optional
        Shown above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Reaction time in ms, trials of people in percent per 100 ms.

    Raises
    ------
    ValueError
        If there are no times, or one is not finite.
    """
    rt = _times("rt_ms", rt_ms)
    own = None if searcher_ms is None else _times("searcher_ms", searcher_ms)
    if bin_ms is not None:
        check_between("bin_ms", bin_ms, low=1e-6)
    ax = new_axes(ax, (4.6, 3.6))
    end = float(np.quantile(rt, 0.995))
    shown = rt[rt <= end]
    edges = np.histogram_bin_edges(shown, "fd") if len(shown) > 1 else np.array([end])
    if bin_ms is not None or len(edges) > 200 or len(edges) < 2:
        width = bin_ms or max((end - float(rt.min())) / 40, 1.0)
        n_bins = int((end - float(rt.min())) / width) + 1
        edges = float(rt.min()) + width * np.arange(n_bins + 1)
    share = np.histogram(rt, edges)[0] / len(rt) / np.diff(edges)
    entries: dict[str, Any] = {}
    entries["people"] = ax.stairs(
        100 * 100 * share, edges, fill=True, facecolor=PALE, edgecolor=GREY
    )
    x = np.linspace(edges[0], edges[-1], 400)
    for i, fit in enumerate(fits):
        if fit.distribution is not None:
            entries[fit.family] = ax.plot(
                x,
                100 * 100 * fit.distribution.pdf(x),
                color=PALETTE[(i + 1) % len(PALETTE)],
                linestyle=("-", _BROKEN)[i % 2],
                linewidth=1.8,
            )[0]
    if own is not None:
        times, counts = np.unique(own, return_counts=True)
        beside = ax.twinx()
        entries[searcher] = beside.vlines(
            times, 0, 100 * counts / len(own), color=PALETTE[0], linewidth=2.2
        )
        beside.plot(times, 100 * counts / len(own), "o", color=PALETTE[0], ms=5)
        beside.set_ylabel(f"Displays of {searcher} (%)", color=PALETTE[0])
        beside.set_ylim(0, max(100 * counts.max() / len(own) * 1.08, 1))
        beside.spines[["top", "left", "bottom"]].set_visible(False)
        beside.tick_params(colors=PALETTE[0])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("Reaction time (ms)")
    ax.set_ylabel("Trials of people\n(% per 100 ms)")
    set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=2)
    return ax


def _rows(scores: pd.DataFrame, metric: str, task: str, rule: str) -> pd.DataFrame:
    """Return the rows of one metric and task: people, and searchers under a rule."""
    check_columns("scores", scores.columns, [*SCORE_COLUMNS, *EXTRA_COLUMNS])
    rows = scores[scores["metric"] == metric]
    if rows.empty:
        raise ValueError(
            f"`scores` must have rows with the metric {metric!r}; it has "
            f"{sorted(scores['metric'].unique())}."
        )
    check_option("task", task, list(rows["search_task"].unique()))
    check_option("rule", rule, list(rows["rule"].dropna().unique()))
    wanted = (rows["model"] == HUMAN_MODEL) | (rows["rule"] == rule)
    rows = rows[(rows["search_task"] == task) & wanted]
    return rows.assign(target_present=rows["target_present"].astype(bool))


def _of(rows: pd.DataFrame, look: Look, there: bool) -> pd.DataFrame:
    """Return the rows of one observer with or without a target."""
    return rows[(rows["subject"] == look.subject) & (rows["target_present"] == there)]


def _dodged(looks: list[Look]) -> list[tuple[Look, float]]:
    """Give each observer a shift in items, so that marks do not hide each other."""
    middle = (len(looks) - 1) / 2
    step = min(0.2, 1.2 / len(looks))
    return [(look, step * (i - middle)) for i, look in enumerate(looks)]


def _lines(ax: Axes, rows: pd.DataFrame, look: Look, shift: float) -> Any:
    """Draw both lines of an observer; return the one that stands in a legend."""
    drawn = []
    for there, _ in _PRESENCES:
        line = _of(rows, look, there).sort_values("set_size")
        if len(line):
            bars = ax.errorbar(
                line["set_size"].to_numpy(float) + shift,
                line["value"],
                yerr=interval_bars(line),
                color=look.colour,
                linestyle="-" if there else _BROKEN,
                linewidth=1.8,
                marker=look.marker,
                markersize=6,
                markerfacecolor=look.colour if there else "white",
                markeredgewidth=1.5,
                elinewidth=1.4,
            )
            drawn.append(bars)
    return drawn[0]


def _set_sizes(ax: Axes, rows: pd.DataFrame) -> None:
    ax.set_xticks(sorted(int(size) for size in rows["set_size"].unique()))
    ax.set_xlabel("Set size (items)")


def _title(task: str, rule: str) -> str:
    name = task.replace("_", " ").capitalize()
    return f"{name} search ({rule.replace('_', ' ')})"


def _times(name: str, values: ArrayLike) -> FloatArray:
    times = check_array(
        name, np.asarray(values, np.float64), shape=(None,), finite=True
    )
    if not len(times):
        raise ValueError(f"`{name}` is empty: at least one time is needed.")
    return times
