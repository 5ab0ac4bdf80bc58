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
    PALE,
    PALETTE,
    TEXT_PT,
    Look,
    finish,
    interval_bars,
    legend_below,
    looks_of,
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
)
from neurovis.core.types import HUMAN_MODEL, SCORE_COLUMNS

_HALO = withStroke(linewidth=3.6, foreground="white")
_BROKEN = (0, (4, 2.2))
_USED_COLUMNS = (
    *("experiment", "experiment_name", "label", "set_size"),
    *("human_value", "untrained"),
)


def plot_rt_by_set_size(
    scores: pd.DataFrame, *, experiment: int, ax: Axes | None = None
) -> Axes:
    """Plot mean reaction time against set size, observers beside people.

    The condition that is harder for people has filled marks and full lines, the other
    one open marks and broken lines. The legend gives both slopes of each observer.

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
    known = sorted({int(e) for e in means["experiment"]})
    check_option("experiment", experiment, known)
    means = means[means["experiment"] == experiment]
    slopes = _rows(scores, "slope_ms_per_item")
    slopes = slopes[slopes["experiment"] == experiment]
    looks = looks_of(means)
    people = slopes[slopes["model"] == HUMAN_MODEL]
    if people.empty:
        raise ValueError("`scores` must have the rows of people (model 'human').")
    ax = new_axes(ax, (4.2, 2.9 + 0.2 * len(looks)))
    labels = list(people.sort_values("value", ascending=False)["label"])
    entries: dict[str, Any] = {}
    for look in looks:
        both = []
        for is_easier, label in enumerate(labels):
            line = _of(means, look, label).sort_values("set_size")
            both.append(_of(slopes, look, label)["value"].sum(min_count=1))
            drawn = ax.errorbar(
                line["set_size"].to_numpy(float),
                line["value"],
                yerr=interval_bars(line),
                color=look.colour,
                linestyle=_BROKEN if is_easier else "-",
                linewidth=1.8,
                marker=look.marker,
                markersize=6,
                markerfacecolor="white" if is_easier else look.colour,
                markeredgewidth=1.5,
                elinewidth=1.4,
            )
            if not is_easier:
                entry = drawn
        text = " and ".join(number_text(slope) for slope in both)
        entries[f"{look.label}: {text}"] = entry
    ax.set_xticks(sorted(means["set_size"].unique()))
    ax.set_xlabel("Set size (items)")
    ax.set_ylabel("Reaction time (ms)")
    set_title(ax, str(means["experiment_name"].iloc[0]))
    finish(ax)
    key = "Slopes in ms/item; full: {}, broken: {}".format(*labels)
    legend_below(ax, entries, title=key)
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
        Published indices to show as open grey marks: `model`, `metric`,
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
    looks = looks_of(table)
    known = _published(published, "asymmetry_index")
    known = known[known["experiment"].isin(list(place))]
    models = list(known["model"].unique())
    n_marks = len(looks) + len(models)
    offsets = (np.arange(n_marks) - (n_marks - 1) / 2) * min(0.15, 0.76 / n_marks)
    ax = new_axes(ax, (8.4, 4.2))
    entries: dict[str, Any] = {}
    for i in range(1, len(place), 2):
        ax.axvspan(i - 0.5, i + 0.5, color="#F5F5F5", linewidth=0, zorder=0)
    ax.axhline(0, color=GREY, linewidth=1, zorder=1)
    for look, offset in zip(looks, offsets, strict=False):
        part = table[table["subject"] == look.subject]
        x = part["experiment"].map(place).to_numpy(float) + offset
        y = part["value"].to_numpy(float)
        entries[look.label] = ax.errorbar(
            x,
            y,
            yerr=interval_bars(part),
            color=look.colour,
            linestyle="none",
            marker=look.marker,
            markersize=7,
            markerfacecolor="white" if look.untrained else look.colour,
            markeredgewidth=1.6,
            elinewidth=1.6,
        )
        undefined = x[np.isnan(y)]
        ax.plot(undefined, np.zeros(len(undefined)), "x", color=look.colour)
    for i, model in enumerate(models):
        part = known[known["model"] == model]
        entries[f"{model} (published)"] = ax.plot(
            part["experiment"].map(place).to_numpy(float) + offsets[len(looks) + i],
            part["value"],
            color=GREY,
            linestyle="none",
            marker=("s", "o", "D", "^", "v", "p", "h", "8")[i % 8],
            markersize=6.5,
            markerfacecolor="none",
            markeredgewidth=1.4,
        )[0]
    wrapped = [textwrap.fill(str(n), 15) for n in names["experiment_name"]]
    ticks = [f"{e}\n{n}" for e, n in zip(place, wrapped, strict=True)]
    ax.set_xticks(range(len(place)), ticks, parse_math=False)
    ax.set_xlim(-0.5, len(place) - 0.5)
    ax.set_ylim(-1.12, 1.12)
    ax.set_yticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    ax.set_ylabel("Asymmetry index\n(above 0: as people)")
    finish(ax)
    legend_below(ax, entries, columns=3)
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
    known = _published(published, "mean_asymmetry_index").assign(ci_low=np.nan)
    looks = looks_of(table)
    styles: list[tuple[str, str, bool]] = [
        *((look.label, look.colour, look.untrained) for look in looks),
        *((f"{model} (published)", PALE, False) for model in known["model"]),
    ]
    order = table.set_index("subject").loc[[look.subject for look in looks]]
    columns = ["value", "ci_low", "ci_high"]
    numbers = np.vstack(
        [
            order[columns].to_numpy(float),
            known.assign(ci_high=np.nan)[columns].to_numpy(float),
        ]
    )
    # Undefined means last, and the largest at the top.
    rank = np.argsort(np.nan_to_num(numbers[:, 0], nan=-np.inf), kind="stable")
    ax = new_axes(ax, (6.4, 0.9 + 0.32 * len(styles)))
    for y, i in enumerate(rank):
        value, low, high = numbers[i]
        _, colour, untrained = styles[i]
        ax.barh(
            y,
            value,
            height=0.66,
            facecolor="white" if untrained else colour,
            edgecolor=colour,
            hatch="////" if untrained else "",
            linewidth=1.2,
        )
        line = ax.plot([low, high], [y, y], color=GREY, linewidth=1.8)[0]
        line.set_path_effects([_HALO])
        ax.annotate(
            number_text(value, 2),
            (1.02, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=TEXT_PT,
            annotation_clip=False,
        )
    ax.axvline(0, color=GREY, linewidth=1)
    names = [textwrap.fill(styles[i][0], 32) for i in rank]
    ax.set_yticks(range(len(rank)), names, parse_math=False)
    ax.set_ylim(-0.6, len(rank) - 0.4)
    ends = np.nanmin(numbers, initial=0.0), np.nanmax(numbers, initial=0.0)
    ax.set_xlim(ends[0] - 0.05, ends[1] + 0.05)
    ax.set_xlabel("Mean asymmetry index")
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_slope_scatter(
    scores: pd.DataFrame, *, subject: str, ax: Axes | None = None
) -> Axes:
    """Plot the search slopes of one observer against those of people.

    The two conditions of an experiment are joined by a line with its number; the one
    that is harder for people is filled. The broken line is equality.

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
    agreement = _rows(scores, "slope_pearson_r")
    check_option("subject", subject, list(agreement["subject"].unique()))
    look = next(o for o in looks_of(table) if o.subject == subject)
    table = table[table["subject"] == subject]
    ax = new_axes(ax, (4.2, 4.0))
    values = table[["human_value", "value", "ci_low", "ci_high"]].to_numpy(float)
    ends = [np.nanmin(values, initial=0.0), np.nanmax(values, initial=0.0)]
    ax.plot(ends, ends, color=GREY, linestyle=_BROKEN, linewidth=1, zorder=1)
    for experiment, part in table.groupby("experiment"):
        pair = part.sort_values("human_value", ascending=False)
        x, y = pair["human_value"].to_numpy(float), pair["value"].to_numpy(float)
        ax.plot(x, y, color=look.colour, linewidth=1.4, alpha=0.4, zorder=2)
        ax.errorbar(x, y, yerr=interval_bars(pair), color=look.colour, linestyle="none")
        faces = [look.colour] + ["white"] * (len(x) - 1)
        ax.scatter(x, y, s=44, c=faces, edgecolors=look.colour, lw=1.5, zorder=3)
        note = ax.annotate(
            str(experiment),
            (x.mean(), y.mean()),
            ha="center",
            va="center",
            fontsize=TEXT_PT,
            fontweight="bold",
        )
        note.set_path_effects([_HALO])
    r = agreement.loc[agreement["subject"] == subject, "value"].item()
    ax.set_xlabel("Slope of people (ms/item)")
    ax.set_ylabel("Slope of model (ms/item)")
    set_title(ax, f"{look.label}: r = {number_text(r, 2)}")
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
    ax = new_axes(ax, (4.2, 4.2 * height / width + 0.4))
    ax.imshow(image, extent=(0, width, height, 0))
    if item_boxes is not None:
        boxes = check_array("item_boxes", item_boxes, shape=(None, 4), finite=True)
        for box in boxes:
            ax.add_patch(_box(box, GREY, 0.8))
    if target_box is not None:
        box = check_array("target_box", target_box, shape=(4,), finite=True)
        ax.add_patch(_box(box, PALETTE[2], 2.4))
    path = scanpath.sort_values("fixation")
    x, y = path["x_px"].to_numpy(float), path["y_px"].to_numpy(float)
    line = ax.plot(x, y, color=PALETTE[1], linewidth=1.8)[0]
    line.set_path_effects([_HALO])
    for number, xi, yi in zip(path["fixation"], x, y, strict=True):
        # The place of the initial fixation is given, not chosen: it is drawn open.
        face, ink = ("white", PALETTE[1]) if number == 0 else (PALETTE[1], "white")
        mark = ax.plot(xi, yi, "o", color=face, ms=13, mec=PALETTE[1], mew=1.6)[0]
        mark.set_path_effects([_HALO])
        ax.annotate(
            str(number),
            (xi, yi),
            color=ink,
            ha="center",
            va="center_baseline",
            fontsize=TEXT_PT - 0.5,
            fontweight="bold",
        )
    if px_per_deg is not None:
        share = check_between("px_per_deg", px_per_deg, low=1e-6) / width
        under: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
        ax.plot([0, share], [-0.03, -0.03], color=HUMAN_COLOUR, linewidth=2, **under)
        ax.text(share + 0.02, -0.03, "1°", va="center", fontsize=TEXT_PT, **under)
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    ax.spines[:].set_color(PALE)
    set_title(ax, title)
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


def _of(rows: pd.DataFrame, look: Look, label: str) -> pd.DataFrame:
    """Return the rows of one observer in the condition with this label."""
    return rows[(rows["subject"] == look.subject) & (rows["label"] == label)]


def _published(published: pd.DataFrame | None, metric: str) -> pd.DataFrame:
    """Return the published rows of one metric, without people."""
    columns = ["model", "metric", "experiment", "value"]
    if published is None:
        return pd.DataFrame(columns=columns)
    check_columns("published", published.columns, columns)
    asked = (published["metric"] == metric) & (published["model"] != HUMAN_MODEL)
    return published[asked]


def _box(edges: ArrayLike, colour: str, linewidth: float) -> Rectangle:
    """Return the outline of left, top, right and bottom edges."""
    left, top, right, bottom = np.asarray(edges, float).tolist()
    box = Rectangle(
        (left, top),
        right - left,
        bottom - top,
        fill=False,
        edgecolor=colour,
        linewidth=linewidth,
    )
    rim = withStroke(linewidth=linewidth + 1.6, foreground="white")
    box.set_path_effects([rim])
    return box
