"""Figures of search experiments, one axes each.

Every function draws on the axes it is given, or on those of a new figure, and returns
the axes. Nothing here touches pyplot or its state. Tables are those of
`analysis.search_scores.search_scores`; colours and marks those of
`analysis.plot_style`.
"""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    HUMAN_MODEL,
    PALE,
    PALETTE,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    looks_of,
    new_axes,
    number_text,
)
from neurovis.core.checks import (
    check_array,
    check_between,
    check_columns,
    check_image,
    check_option,
)
from neurovis.core.types import SCORE_COLUMNS

_HALO = withStroke(linewidth=3.6, foreground="white")
_USED_COLUMNS = (
    *("experiment", "experiment_name", "label", "set_size"),
    *("human_value", "untrained"),
)


def plot_rt_by_set_size(
    scores: pd.DataFrame, *, experiment: int, ax: Axes | None = None
) -> Axes:
    """Plot mean reaction time against set size, observers beside people.

    The condition that is harder for people is drawn with filled marks and a full line,
    the other with open marks and a broken line. The legend gives the slopes.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows `mean_rt_ms` and `slope_ms_per_item` are used.
    experiment : int
        Which experiment.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Set size in items, reaction time in ms.

    Raises
    ------
    ValueError
        If a column or the experiment is missing, or people are not in the table.
    """
    means = _rows(scores, "mean_rt_ms")
    slopes = _rows(scores, "slope_ms_per_item")
    check_option("experiment", experiment, sorted(set(means["experiment"].dropna())))
    means = means[means["experiment"] == experiment]
    slopes = slopes[slopes["experiment"] == experiment]
    people = slopes[slopes["model"] == HUMAN_MODEL].sort_values(
        "value", ascending=False
    )
    if people.empty:
        raise ValueError("`scores` must have the rows of people (model 'human').")
    ax = new_axes(ax)
    observers = looks_of(means)
    # The legend fills columns first: the harder condition left, the easier one right.
    for is_easier, label in enumerate(people["label"]):
        for observer in observers:
            of_line = means["label"].eq(label) & means["subject"].eq(observer.subject)
            line = means[of_line].sort_values("set_size")
            if line.empty:
                continue
            slope = slopes[
                slopes["label"].eq(label) & slopes["subject"].eq(observer.subject)
            ]["value"].item()
            ax.errorbar(
                line["set_size"].to_numpy(float),
                line["value"],
                yerr=interval_bars(line),
                color=observer.colour,
                linestyle=(0, (4, 2.2)) if is_easier else "-",
                linewidth=1.8,
                marker=observer.marker,
                markersize=6,
                markerfacecolor="white" if is_easier else observer.colour,
                markeredgewidth=1.5,
                elinewidth=1.2,
                label=f"{observer.label}, {label}: {number_text(slope)} ms/item",
            )
    ax.set_xticks(sorted(means["set_size"].unique()))
    ax.set_xlabel("Set size (items)")
    ax.set_ylabel("Reaction time (ms)")
    ax.set_title(
        str(means["experiment_name"].iloc[0]), loc="left", fontsize=TEXT_PT + 1.5
    )
    finish(ax)
    legend_below(ax, columns=2 if len(observers) <= 2 else 1)
    return ax


def plot_asymmetry_indices(
    scores: pd.DataFrame,
    *,
    published: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the asymmetry index of each experiment, observers beside people.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows `asymmetry_index` are used.
    published : DataFrame, optional
        Published indices to show as open grey squares: `model`, `metric`,
        `experiment`, `value`; rows of people are left out. Choose few models.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Asymmetry index, -1..1; an undefined index is marked with a cross at 0.

    Raises
    ------
    ValueError
        If a column is missing or there are no such rows.
    """
    table = _rows(scores, "asymmetry_index")
    names = table.drop_duplicates("experiment").sort_values("experiment")
    place = {e: i for i, e in enumerate(names["experiment"])}
    observers = looks_of(table)
    known = _published(published, "asymmetry_index")
    known = known[known["experiment"].isin(list(place))]
    models = list(known["model"].unique())
    ax = new_axes(ax, (8.2, 4.2))
    offsets = _offsets(len(observers) + len(models))
    for observer, offset in zip(observers, offsets, strict=False):
        part = table[table["subject"] == observer.subject]
        x = part["experiment"].map(place).to_numpy(float) + offset
        value = part["value"].to_numpy(float)
        ax.errorbar(
            x,
            value,
            yerr=interval_bars(part),
            label=observer.label,
            markersize=7.5,
            linestyle="none",
            color=observer.colour,
            marker=observer.marker,
            markerfacecolor="white" if observer.untrained else observer.colour,
            markeredgewidth=1.6,
            elinewidth=1.6,
        )
        none = np.isnan(value)
        ax.plot(
            x[none], np.zeros(none.sum()), "x", color=observer.colour, clip_on=False
        )
    for model, offset in zip(models, offsets[len(observers) :], strict=True):
        part = known[known["model"] == model]
        x = part["experiment"].map(place).to_numpy(float) + offset
        ax.plot(
            x,
            part["value"],
            linestyle="none",
            markersize=7,
            markerfacecolor="white",
            markeredgecolor=GREY,
            markeredgewidth=1.5,
            marker="sDov^"[models.index(model) % 5],
            label=f"{model} (published)",
        )
    ax.axhline(0, color=GREY, linewidth=1, zorder=0)
    ax.set_xticks(list(place.values()))
    ax.set_xticklabels(
        [
            f"{e}\n{textwrap.fill(str(n), 14)}"
            for e, n in zip(names["experiment"], names["experiment_name"], strict=True)
        ]
    )
    ax.set_xlim(-0.5, len(place) - 0.5)
    ax.set_ylim(-1.12, 1.12)
    ax.set_yticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    ax.set_ylabel("Asymmetry index\n(above 0: as people)")
    ax.set_xlabel("Experiment")
    finish(ax)
    legend_below(ax, columns=4)
    return ax


def plot_mean_asymmetry(
    scores: pd.DataFrame,
    *,
    published: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the mean asymmetry index of observers, people and published models as bars.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows `mean_asymmetry_index` are used.
    published : DataFrame, optional
        Published means to show as grey bars: `model`, `metric`, `value`; rows of
        people are left out.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are bars, by default.

    Returns
    -------
    Axes
        Bars from the largest mean at the top to the smallest; bars of untrained
        models are hatched, undefined means come last and have no bar.

    Raises
    ------
    ValueError
        If a column is missing or there are no such rows.
    """
    table = _rows(scores, "mean_asymmetry_index")
    bars: list[dict[str, Any]] = []
    for observer in looks_of(table):
        row = table[table["subject"] == observer.subject].iloc[0]
        bars.append(
            {
                "label": observer.label,
                "value": float(row["value"]),
                "low": float(row["ci_low"]),
                "high": float(row["ci_high"]),
                "colour": observer.colour,
                "hatch": "////" if observer.untrained else "",
            }
        )
    known = _published(published, "mean_asymmetry_index")
    bars += [
        {
            "label": f"{row.model} (published)",
            "value": float(row.value),
            "low": np.nan,
            "high": np.nan,
            "colour": PALE,
            "hatch": "",
        }
        for row in known.itertuples()
    ]
    bars.sort(key=lambda b: -np.inf if np.isnan(b["value"]) else b["value"])
    ax = new_axes(ax, (6.4, 0.9 + 0.34 * len(bars)))
    for y, bar in enumerate(bars):
        ax.barh(
            y,
            bar["value"],
            height=0.68,
            color="white" if bar["hatch"] else bar["colour"],
            edgecolor=bar["colour"],
            hatch=bar["hatch"],
            linewidth=1.2,
        )
        if not np.isnan(bar["low"]):
            # A white rim keeps the interval visible on a dark bar.
            line = ax.plot([bar["low"], bar["high"]], [y, y], color=GREY, linewidth=2)
            line[0].set_path_effects([_HALO])
        ax.annotate(
            number_text(bar["value"], 2),
            (1.02, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=TEXT_PT,
            annotation_clip=False,
        )
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(range(len(bars)), [b["label"] for b in bars])
    ax.set_ylim(-0.6, len(bars) - 0.4)
    ends = [b[k] for b in bars for k in ("value", "low", "high")]
    ax.set_xlim(min(-0.05, np.nanmin([*ends, 0]) - 0.05), 1.0)
    ax.set_xlabel("Mean asymmetry index")
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_slope_scatter(
    scores: pd.DataFrame, *, subject: str, ax: Axes | None = None
) -> Axes:
    """Plot the search slopes of one observer against those of people.

    The two conditions of an experiment are joined and carry its number; the harder
    condition of people is the filled mark. The broken line is equality.

    Parameters
    ----------
    scores : DataFrame
        Score table; the rows `slope_ms_per_item` and `slope_pearson_r` are used.
    subject : str
        Label of the observer.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Slopes in ms per item.

    Raises
    ------
    ValueError
        If a column, the rows or the observer are missing.
    """
    table = _rows(scores, "slope_ms_per_item")
    check_option("subject", subject, list(table["subject"].unique()))
    observer = next(o for o in looks_of(table) if o.subject == subject)
    table = table[table["subject"] == subject]
    ax = new_axes(ax, (4.6, 4.4))
    values = table[["human_value", "value", "ci_low", "ci_high"]].to_numpy(float)
    low, high = min(0.0, np.nanmin(values)), np.nanmax(values)
    edge = [low, high]
    ax.plot(edge, edge, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
    for experiment, pair in table.groupby("experiment"):
        pair = pair.sort_values("human_value", ascending=False)
        x, y = pair["human_value"].to_numpy(float), pair["value"].to_numpy(float)
        ax.plot(x, y, color=observer.colour, linewidth=1.2, alpha=0.45, zorder=1)
        ax.errorbar(
            x,
            y,
            yerr=interval_bars(pair),
            linestyle="none",
            color=observer.colour,
            elinewidth=1.2,
            zorder=1,
        )
        filled = [observer.colour] + ["white"] * (len(x) - 1)
        ax.scatter(
            x, y, s=46, c=filled, edgecolors=observer.colour, linewidths=1.5, zorder=2
        )
        note = ax.annotate(
            str(experiment),
            (x[0], y[0]),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=TEXT_PT,
            fontweight="bold",
        )
        note.set_path_effects([_HALO])
    ax.set_xlabel("Slope of people (ms/item)")
    ax.set_ylabel(f"Slope of {observer.label} (ms/item)")
    agreement = _rows(scores, "slope_pearson_r")
    r = agreement.loc[agreement["subject"] == subject, "value"].item()
    ax.set_title(
        f"{observer.label}: r = {number_text(r, 2)}", loc="left", fontsize=TEXT_PT + 1.5
    )
    finish(ax, grid="both")
    return ax


def plot_search_display(
    image: NDArray[np.uint8],
    scanpath: pd.DataFrame,
    *,
    target_box: ArrayLike | None = None,
    item_boxes: ArrayLike | None = None,
    px_per_deg: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a search display with numbered fixations.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The display.
    scanpath : DataFrame
        Fixations of one observer on this display: `fixation` (0 is the initial one),
        `x_px`, `y_px` (pixels from the top-left corner, y down).
    target_box : array-like of float, shape (4,), optional
        Left, top, right and bottom edge of the target in px; drawn in green.
    item_boxes : array-like of float, shape (n_items, 4), optional
        Edges of the items in px; drawn thin and grey.
    px_per_deg : float, optional
        With it a bar of one degree of visual angle is drawn under the display.
    title : str, optional
        Shown above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Pixels, y down, without ticks.

    Raises
    ------
    TypeError, ValueError
        If the image is not a picture, a column is missing, or a box has not four
        edges.
    """
    height, width = check_image("image", image).shape[:2]
    check_columns("scanpath", scanpath.columns, ["fixation", "x_px", "y_px"])
    path = scanpath.sort_values("fixation")
    ax = new_axes(ax, (4.2, 4.2 * height / width + 0.5))
    ax.imshow(image, extent=(0, width, height, 0))
    if item_boxes is not None:
        boxes = check_array("item_boxes", item_boxes, shape=(None, 4), finite=True)
        for box in boxes:
            ax.add_patch(_box(box, GREY, 0.8))
    if target_box is not None:
        box = check_array("target_box", target_box, shape=(4,), finite=True)
        ax.add_patch(_box(box, PALETTE[2], 2.4))
    x, y = path["x_px"].to_numpy(float), path["y_px"].to_numpy(float)
    line = ax.plot(x, y, color=PALETTE[1], linewidth=1.8, solid_capstyle="round")[0]
    line.set_path_effects([_HALO])
    # The place of the initial fixation is given, not chosen: it is drawn open.
    start = path["fixation"].to_numpy() == 0
    faces = np.where(start, "white", PALETTE[1])
    ax.scatter(x, y, s=190, c=faces, edgecolors="white", linewidths=1.2, zorder=3)
    ax.scatter(
        x[start],
        y[start],
        s=150,
        c="white",
        edgecolors=PALETTE[1],
        linewidths=1.8,
        zorder=3,
    )
    for number, xi, yi, first in zip(path["fixation"], x, y, start, strict=True):
        ax.annotate(
            str(number),
            (xi, yi),
            ha="center",
            va="center_baseline",
            fontsize=TEXT_PT,
            fontweight="bold",
            color=PALETTE[1] if first else "white",
            zorder=4,
        )
    if px_per_deg is not None:
        _degree_bar(ax, px_per_deg, width, height)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, loc="left", fontsize=TEXT_PT + 1.5)
    for spine in ax.spines.values():
        spine.set_color(PALE)
    return ax


def _rows(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of one metric; raise when there are none."""
    check_columns("scores", scores.columns, [*SCORE_COLUMNS, *_USED_COLUMNS])
    rows = scores[scores["metric"] == metric]
    if rows.empty:
        raise ValueError(
            f"`scores` must have rows with the metric {metric!r}; it has "
            f"{sorted(scores['metric'].unique())}."
        )
    return rows


def _published(published: pd.DataFrame | None, metric: str) -> pd.DataFrame:
    """Return the published rows of one metric, without people."""
    columns = ["model", "metric", "experiment", "value"]
    if published is None:
        return pd.DataFrame(columns=columns)
    check_columns("published", published.columns, columns)
    asked = (published["metric"] == metric) & (published["model"] != HUMAN_MODEL)
    return published[asked]


def _offsets(n: int) -> NDArray[np.float64]:
    """Return places of n marks side by side around one tick."""
    return (np.arange(n) - (n - 1) / 2) * min(0.14, 0.7 / max(n, 1))


def _box(edges: Any, colour: str, width: float) -> Rectangle:
    left, top, right, bottom = (float(e) for e in edges)
    box = Rectangle(
        (left, top),
        right - left,
        bottom - top,
        fill=False,
        edgecolor=colour,
        linewidth=width,
    )
    box.set_path_effects([withStroke(linewidth=width + 1.6, foreground="white")])
    return box


def _degree_bar(ax: Axes, px_per_deg: float, width: int, height: int) -> None:
    """Draw a bar of one degree below the lower left corner of the display."""
    share = check_between("px_per_deg", px_per_deg, low=1e-6) / width
    options: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
    ax.plot([0, share], [-0.03, -0.03], color=HUMAN_COLOUR, linewidth=2, **options)
    ax.text(share + 0.02, -0.03, "1°", va="center", fontsize=TEXT_PT, **options)
