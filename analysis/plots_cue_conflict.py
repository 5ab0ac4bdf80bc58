"""Figures of cue conflicts: whether the centre or the surround decides.

Axes-level, as in `analysis.plots`; systems look as in `analysis.plots_foveation`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALE,
    TEXT_PT,
    finish,
    new_axes,
    set_title,
)
from analysis.plots_foveation import DASHED, DOTTED, system_looks
from neurovis.core.checks import check_columns

FloatArray = NDArray[np.float64]

_LIMITS = ["ci_low", "ci_high"]


def plot_conflict_curves(
    curves: pd.DataFrame,
    *,
    bias: Mapping[str, Any] | pd.Series | None = None,
    chance: float | None = None,
    top: float = 1.0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how often one system names the class of the centre or of the surround.

    Parameters
    ----------
    curves : DataFrame
        `run`, `foveal_weight` (0..1), `peripheral` and `foveal` (shares of answers) of
        one system, as `analysis.cue_conflict.conflict_curves` gives.
    bias : mapping, optional
        `cross_over`, `ci_low` and `ci_high`, drawn where the curves meet.
    chance : float, optional
        A dotted line.
    top : float, default 1
        Largest value of the ordinate.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Means over runs, thick (full: centre, broken: surround), and runs, thin. The
        abscissa is linear in the radius of the centre; lines are straight in its area,
        where the cross-over is found.

    Raises
    ------
    ValueError
        If a column is missing, or there are several systems.
    """
    sides = {"peripheral": DASHED, "foveal": "-"}
    check_columns("curves", curves.columns, ["run", "foveal_weight", *sides])
    systems = list(curves["system"].unique()) if "system" in curves else [""]
    if len(systems) != 1:
        raise ValueError(f"`curves` must be of one system; got {systems}.")
    ax = new_axes(ax, (3.4, 3.0))
    colour = system_looks([str(systems[0])])[str(systems[0])][0]
    levels = np.unique(curves["foveal_weight"].to_numpy(np.float64))
    fine = np.unique(np.append(np.linspace(0, 1, 101) ** 2, levels))
    fine = fine[(fine >= levels[0]) & (fine <= levels[-1])]
    meeting = np.nan
    met = np.nan if bias is None else float(bias["cross_over"])
    for side, style in sides.items():
        wide = curves.pivot_table(index="foveal_weight", columns="run", values=side)
        if wide.shape[1] > 1:
            for run in wide:
                line = np.interp(fine, wide.index, wide[run])
                ax.plot(fine, line, color=colour, lw=0.6, ls=style, alpha=0.35)
        mean = wide.mean(axis=1)
        ax.plot(fine, np.interp(fine, mean.index, mean), color=colour, lw=2, ls=style)
        ax.plot(mean.index, mean, ".", color=colour, ms=6)
        meeting = float(np.interp(met, mean.index, mean))
    if bias is not None and np.isfinite(met):
        low, high = (float(bias[name]) for name in _LIMITS)
        if np.isfinite(low) and np.isfinite(high):
            ax.plot([low, high], [meeting] * 2, color=HUMAN_COLOUR, lw=1.6, zorder=5)
        ax.plot(met, meeting, "D", color=HUMAN_COLOUR, mec="white", ms=7, zorder=6)
        ax.vlines(met, 0, meeting, color=HUMAN_COLOUR, lw=1, ls=DOTTED)
    if chance is not None:
        ax.axhline(chance, color=GREY, lw=1.1, ls=DOTTED)
    ax.set_xscale("function", functions=(_root, _squared))
    ax.set_xticks([0, 0.05, 0.2, 0.4, 0.7, 1], ["0", "5", "20", "40", "70", "100"])
    ax.set_xlim(0, 1)
    ax.set_ylim(0, top)
    ax.set_xlabel("Size of the centre (% of the picture)")
    ax.set_ylabel("Answers (share)")
    if title:
        set_title(ax, title)
    finish(ax)
    return ax


def _root(x: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(x, 0))


def _squared(x: FloatArray) -> FloatArray:
    return np.square(x)


def plot_cross_overs(
    bias: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the cross-overs of all systems in one cue conflict.

    Parameters
    ----------
    bias : DataFrame
        `system`, `cross_over`, `ci_low` and `ci_high`, one row per system, as
        `analysis.cue_conflict.central_bias` gives.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Points with 95 % intervals; an open point has no interval, and words stand
        where there is no cross-over.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["system", "cross_over", *_LIMITS]
    check_columns("bias", bias.columns, columns)
    ax = new_axes(ax, (5.2, 1.3 + 0.42 * len(bias)))
    looks = system_looks([str(name) for name in bias["system"]])
    for place, row in enumerate(bias[columns].itertuples(index=False)):
        system, value, low, high = row
        colour, mark = looks[str(system)]
        if not np.isfinite(value):
            ax.text(0.01, place, "no cross-over", va="center", color=GREY,
                    fontsize=TEXT_PT - 0.5)  # fmt: skip
            continue
        known = np.isfinite(low) and np.isfinite(high)
        if known:
            ax.plot([low, high], [place, place], color=colour, lw=2)
        else:
            right = value > 0.6
            ax.text(value + (-0.03 if right else 0.03), place, "no interval",
                    va="center", ha="right" if right else "left", color=GREY,
                    fontsize=TEXT_PT - 0.5)  # fmt: skip
        ax.plot(value, place, mark, color=colour, ms=8, mfc=None if known else "white")
    ax.set_yticks(range(len(bias)), list(looks), parse_math=False)
    ax.set_ylim(len(bias) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    ax.set_xlabel("Cross-over (share of the picture); left: stronger central bias")
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_picture_grid(
    pictures: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    side_in: float = 1.9,
) -> Figure:
    """Show pictures in rows and columns.

    Parameters
    ----------
    pictures : sequence of sequence of ndarray of uint8, shape (H, W, 3)
        Rows of pictures, all of one length.
    columns, rows : sequence of str, optional
        Names above and at the left.
    side_in : float, default 1.9
        Width of a picture in inches.

    Returns
    -------
    Figure
        The pictures.

    Raises
    ------
    ValueError
        If there is no picture, or rows differ in length.
    """
    lengths = {len(row) for row in pictures}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"`pictures` must be rows of equally many; got lengths {sorted(lengths)}."
        )
    n_rows, n_columns = len(pictures), lengths.pop()
    above = 0.22 * max((name.count("\n") + 1 for name in columns), default=0)
    size = (side_in * n_columns + 0.4, side_in * n_rows + above)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for (i, j), axes in np.ndenumerate(grid):
        axes.imshow(pictures[i][j], interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(PALE)
        if i == 0 and columns:
            axes.set_title(columns[j], fontsize=TEXT_PT, parse_math=False)
        if j == 0 and rows:
            axes.set_ylabel(rows[i], fontsize=TEXT_PT, parse_math=False)
    return figure
