"""Tuning of units to gratings, model by model and unit by unit.

Tables are those of `analysis.tuning`. As in `analysis.plots`, an axes-level function
draws on the axes it is given, or on those of a new figure, and returns the axes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from analysis.plot_style import (
    GREY,
    PALETTE,
    TEXT_PT,
    finish,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from analysis.plots_gaze import colours_of
from analysis.tuning import grating_tuning
from neurovis.core.checks import check_columns, check_option, check_whole

FloatArray = NDArray[np.float64]

_MEASURES = {
    "circular_variance": ("Circular variance of orientation", (0.0, 1.0)),
    "half_width_deg": ("Half-width of orientation tuning (deg)", (0.0, 90.0)),
    "bandwidth_octaves": ("Bandwidth of frequency tuning (octaves)", (0.0, None)),
    "modulation_ratio": ("Modulation ratio F1 / F0", (0.0, 2.0)),
}
_UNTRAINED = "(untrained)"
_AXES = ("orientation", "frequency")


def plot_tuning(
    tables: Mapping[str, pd.DataFrame],
    *,
    measure: str = "circular_variance",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the cumulative distribution of a measure of tuning, one line per model.

    A label with "(untrained)" is drawn broken, in the colour of the label without it.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Label, and what `analysis.tuning.grating_tuning` returned; at least one.
    measure : {"circular_variance", "half_width_deg", "bandwidth_octaves", \
"modulation_ratio"}
        Column to draw.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Share of the responsive units whose value is at most that of the abscissa.
        Units in which the measure is undefined count, but are never reached: a line
        that ends at 0.6 tells that it is defined in 60 % of them. The legend has their
        median, and how many they are of all units.

    Raises
    ------
    ValueError
        If there is no table, a column is missing, or the measure is unknown.

    Examples
    --------
    >>> table = pd.DataFrame({"responsive": True, "circular_variance": [0.2, 0.8]})
    >>> ax = plot_tuning({"natural": table})
    >>> ax.lines[0].get_xydata().tolist()
    [[0.0, 0.0], [0.2, 0.5], [0.8, 1.0], [1.0, 1.0]]
    """
    check_option("measure", measure, tuple(_MEASURES))
    if not tables:
        raise ValueError("`tables` is empty: at least one model is needed.")
    for name, table in tables.items():
        check_columns(f"tables[{name!r}]", table.columns, ["responsive", measure])
    colours = colours_of([_trained_name(name) for name in tables])
    ax = new_axes(ax, (5.0, 3.5 + 0.2 * len(tables)))
    label, (low, high) = _MEASURES[measure]
    known = {name: _defined(table, measure) for name, table in tables.items()}
    if high is None:
        largest = max(
            (values[-1] for values in known.values() if len(values)), default=1
        )
        high = max(1.0, 1.05 * float(largest))
    entries: dict[str, Any] = {}
    for name, table in tables.items():
        values, n = known[name], int(table["responsive"].astype(bool).sum())
        share = np.arange(1, len(values) + 1) / max(1, n)
        x = np.concatenate([[low], values, [high]])
        y = np.concatenate([[0.0], share, share[-1:] if len(share) else [0.0]])
        untrained = "untrained" in name.lower()
        (line,) = ax.step(
            x,
            y,
            where="post",
            color=colours[_trained_name(name)],
            lw=1.8,
            ls="--" if untrained else "-",
            zorder=2 if untrained else 3,
        )
        digits = 1 if measure == "half_width_deg" else 2
        median = number_text(
            float(np.median(values)) if len(values) else np.nan, digits
        )
        entries[f"{name}: {median}, {len(values)} of {len(table)}"] = line
    ax.set_xlim(low, high)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(label)
    ax.set_ylabel("Share of responsive units")
    if title:
        set_title(ax, title)
    finish(ax, grid="both")
    legend_below(ax, entries, title="Model: median, units with a value of all")
    return ax


def plot_tuning_curves(
    responses: ArrayLike,
    orientations_deg: ArrayLike,
    frequencies_cpd: ArrayLike,
    *,
    over: str = "orientation",
    n_units: int = 12,
    columns: int = 4,
    title: str = "",
) -> Figure:
    """Draw the tuning curves of the units that are best tuned to orientation.

    Parameters
    ----------
    responses, orientations_deg, frequencies_cpd : array-like
        As in `analysis.tuning.grating_tuning`.
    over : {"orientation", "frequency"}
        Abscissa; the other is the preferred one of the unit.
    n_units : int, default 12
        Units to draw, >= 1, fewer if fewer respond: those of least circular variance,
        least first.
    columns : int, default 4
        Panels side by side, >= 1.
    title : str, optional
        Text above.

    Returns
    -------
    Figure
        One panel per unit: the response averaged over phases as a share of its peak
        (dots and line; the first orientation comes again 180 degrees on), half of the
        peak (grey line), the number of the unit, and its circular variance (CV) or
        bandwidth in octaves.

    Raises
    ------
    TypeError, ValueError
        As `grating_tuning`, if an option is wrong, or if no unit responds.

    Examples
    --------
    >>> angles = np.arange(0, 180, 30.0)
    >>> bars = np.exp(2 * np.cos(np.radians(2 * (angles - 60))))
    >>> responses = np.ones((1, 6, 1, 4)) * bars[:, None, None]
    >>> len(plot_tuning_curves(responses, angles, [4]).axes)
    1
    """
    check_option("over", over, _AXES)
    n_units = check_whole("n_units", n_units, low=1)
    columns = check_whole("columns", columns, low=1)
    table = grating_tuning(responses, orientations_deg, frequencies_cpd)
    order = table[table["responsive"]].sort_values("circular_variance", kind="stable")
    best = order.head(n_units)
    if best.empty:
        raise ValueError(
            "`responses` has no responsive unit: nothing varies with the gratings."
        )
    means = np.asarray(responses, np.float64).mean(axis=-1)
    angles = np.asarray(orientations_deg, np.float64) % 180
    frequencies = np.asarray(frequencies_cpd, np.float64)
    columns = min(columns, len(best))
    n_rows = -(-len(best) // columns)
    figure = Figure(
        figsize=(1.7 * columns + 0.8, 1.5 * n_rows + 0.8), layout="constrained"
    )
    grid = figure.subplots(n_rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, (_, row) in zip(grid.ravel(), best.iterrows(), strict=False):
        unit = int(row["unit"])
        at_angle = int(np.flatnonzero(angles == row["preferred_orientation_deg"])[0])
        at_frequency = int(
            np.flatnonzero(frequencies == row["preferred_frequency_cpd"])[0]
        )
        if over == "orientation":
            curve, x = _closed(means[unit, :, at_frequency], angles)
            note = f"CV {number_text(row['circular_variance'], 2)}"
        else:
            curve, x = means[unit, at_angle], frequencies
            note = f"{number_text(row['bandwidth_octaves'])} oct."
        _draw_curve(place, x, curve / row["peak_response"], f"{unit}: {note}")
    for i, place in enumerate(grid.ravel()):
        place.set_visible(i < len(best))
        # The lowest panel that is shown in its column.
        place.tick_params(labelbottom=i + columns >= len(best))
    _set_abscissa(grid, over, frequencies)
    figure.supylabel("Response / peak", fontsize=TEXT_PT + 0.5)
    words = {"orientation": "Orientation of the bars (deg)",
             "frequency": "Cycles per degree"}  # fmt: skip
    figure.supxlabel(words[over], fontsize=TEXT_PT + 0.5)
    if title:
        figure.suptitle(title, fontsize=TEXT_PT + 1.5, parse_math=False)
    return figure


def _trained_name(name: str) -> str:
    return name.replace(_UNTRAINED, "").strip() or name


def _defined(table: pd.DataFrame, measure: str) -> FloatArray:
    """Return the values of responsive units that have one, in growing order."""
    values = table.loc[table["responsive"].astype(bool), measure].to_numpy(np.float64)
    return np.sort(values[~np.isnan(values)])


def _closed(curve: FloatArray, angles: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Repeat the value of the first orientation after the last."""
    first = int(angles.argmin())
    return np.append(curve, curve[first]), np.append(angles, angles[first] + 180)


def _draw_curve(ax: Axes, x: FloatArray, y: FloatArray, text: str) -> None:
    order = np.argsort(x)
    ax.axhline(0.5, color=GREY, lw=0.8)
    ax.plot(x[order], y[order], color=PALETTE[0], lw=1.4, marker="o", ms=3)
    ax.set_title(text, loc="left", fontsize=TEXT_PT - 1.5)
    finish(ax)
    ax.tick_params(labelsize=TEXT_PT - 2)


def _set_abscissa(grid: NDArray[Any], over: str, frequencies: FloatArray) -> None:
    first = grid.flat[0]
    first.set_ylim(0, 1.08)
    if over == "orientation":
        # The curve ends at most one step beyond 180.
        first.set_xlim(-6, float(first.lines[-1].get_xdata().max()) + 6)
        first.set_xticks([0, 90, 180])
        return
    first.set_xscale("log", base=2)
    ticks = np.unique([frequencies.min(), frequencies.max()])
    first.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    for ax in grid.flat:
        ax.xaxis.minorticks_off()
