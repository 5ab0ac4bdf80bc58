"""Figures of experiments with metamers, one axes each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.abx_discrimination import proportion_correct
from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    MARKERS,
    PALETTE,
    TEXT_PT,
    finish,
    legend_below,
    new_axes,
    set_title,
)
from analysis.stats import wilson_interval
from neurovis.core.checks import check_columns, check_option
from neurovis.core.types import HUMAN_MODEL

_FIT_COLUMNS = ("model", "subject", "comparison", "critical_scale", "ci_low", "ci_high")
_CHANCE = 0.5


def plot_abx_curves(
    psychometric: pd.DataFrame,
    fits: pd.DataFrame,
    comparison: str,
    *,
    decision: str = "published",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how often pictures are told apart, against the scale of their windows.

    Parameters
    ----------
    psychometric : DataFrame
        `model`, `subject`, `comparison`, `scale`, `n_correct`, `n_trials`.
    fits : DataFrame
        `model`, `subject`, `comparison`, `critical_scale`, `ci_low`, `ci_high`,
        `gain`, `lapse`.
    comparison : str
        Which comparison.
    decision : str, default "published"
        As of `analysis.abx_discrimination.proportion_correct`.
    title : str, optional
        Text above; the comparison by default.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Shares of correct answers with Wilson intervals, people together as black
        diamonds; one fitted curve per person (thin) and observer. Curves of undefined
        critical scale are left out.

    Raises
    ------
    ValueError
        If a column is missing, or nobody was asked for this comparison.
    """
    columns = ["model", "subject", "comparison", "scale", "n_correct", "n_trials"]
    check_columns("psychometric", psychometric.columns, columns)
    check_columns("fits", fits.columns, [*_FIT_COLUMNS, "gain", "lapse"])
    check_option("comparison", comparison, psychometric["comparison"].unique().tolist())
    points = psychometric[psychometric["comparison"] == comparison]
    own = fits[fits["comparison"] == comparison]
    ax = new_axes(ax, (4.6, 3.6))
    reach = points["scale"].max() * 1.04
    along = np.linspace(points["scale"].min() * 0.8, reach, 300)
    entries: dict[str, Any] = {}
    looks = _looks(points)
    for k, (model, colour, marker) in enumerate(looks):
        some = points[points["model"] == model]
        cells = some.groupby("scale")[["n_correct", "n_trials"]].sum()
        share = (cells["n_correct"] / cells["n_trials"]).to_numpy()
        low, high = wilson_interval(cells["n_correct"], cells["n_trials"])
        is_human = model == HUMAN_MODEL
        n = some["subject"].nunique()
        label = f"people, n = {n}" if is_human else str(model)
        entries[label] = ax.errorbar(
            # Side by side, so that equal shares stay apart.
            cells.index.to_numpy() + 0.012 * reach * (k - (len(looks) - 1) / 2),
            share,
            np.maximum([share - low, high - share], 0),
            fmt=marker,
            color=colour,
            markersize=5.5,
            elinewidth=1,
            zorder=3,
        )
        for _, fit in own[own["model"] == model].iterrows():
            if np.isnan(fit["critical_scale"]):
                continue
            p = proportion_correct(
                along,
                fit["critical_scale"],
                fit["gain"],
                lapse=fit["lapse"],
                decision=decision,
            )
            thin = is_human and n > 1
            ax.plot(along, p, color=colour, lw=0.8 if thin else 1.8, alpha=0.75)
    ax.axhline(_CHANCE, color=GREY, lw=1, ls=":")
    ax.set_ylim(min(0.4, _lowest(ax)), 1.02)
    ax.set_xlim(0, reach)
    ax.set_xlabel("Scale of the windows of the model")
    ax.set_ylabel("Share of correct answers")
    set_title(ax, title or comparison)
    finish(ax)
    legend_below(ax, entries, columns=2)
    return ax


def plot_critical_scales(
    fits: pd.DataFrame,
    *,
    means: pd.DataFrame | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the critical scale of every observer, with intervals.

    Parameters
    ----------
    fits : DataFrame
        `model`, `subject`, `comparison`, `critical_scale`, `ci_low`, `ci_high`.
    means : DataFrame, optional
        The same columns, of groups: drawn below, larger.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure, as high as there are observers, by default.

    Returns
    -------
    Axes
        One row per observer, one colour and mark per comparison; "undefined" where
        answers did not tell the critical scale.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("fits", fits.columns, _FIT_COLUMNS)
    comparisons = list(fits["comparison"].unique())
    table = fits
    if means is not None and len(means):
        check_columns("means", means.columns, _FIT_COLUMNS)
        human = fits["model"] == HUMAN_MODEL
        table = pd.concat([fits[human], means, fits[~human]], ignore_index=True)
    n_means = 0 if means is None else len(means["subject"].unique())
    subjects = list(table["subject"].unique())
    ax = new_axes(ax, (5.2, 1.6 + 0.34 * len(subjects)))
    entries: dict[str, Any] = {}
    group = set() if means is None or not n_means else set(means["subject"])
    for k, comparison in enumerate(comparisons):
        rows = table[table["comparison"] == comparison].set_index("subject")
        rows = rows.reindex(subjects)
        shift = 0.26 * (k - (len(comparisons) - 1) / 2)
        at = np.arange(len(subjects)) + shift
        value = rows["critical_scale"].to_numpy(np.float64)
        colour = PALETTE[k % len(PALETTE)]
        for i, subject in enumerate(subjects):
            big = subject in group
            limits = rows[["ci_low", "ci_high"]].to_numpy(np.float64)[i]
            ax.plot(limits, [at[i]] * 2, color=colour, lw=2.6 if big else 1.3)
            (mark,) = ax.plot(
                value[i],
                at[i],
                MARKERS[k % len(MARKERS)],
                color=colour,
                markersize=9 if big else 6,
                ls="none",
            )
            entries.setdefault(comparison, mark)
            there = subject in set(rows.index[rows["model"].notna()])
            if there and np.isnan(value[i]):
                ax.text(
                    0.01,
                    at[i],
                    "undefined",
                    color=colour,
                    fontsize=TEXT_PT - 1.5,
                    va="center",
                    transform=ax.get_yaxis_transform(),
                )
    ax.set_yticks(range(len(subjects)), subjects, parse_math=False)
    ax.set_ylim(len(subjects) - 0.4, -0.6)
    ax.set_xlim(0, max(0.1, np.nanmax([*_numbers(table), 0]) * 1.06))
    ax.set_xlabel("Critical scale")
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    legend_below(ax, entries, columns=2)
    return ax


def plot_descent(
    curves: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw how the loss of samples fell while they were refined.

    Parameters
    ----------
    curves : DataFrame
        `stimulus_id`, `scale`, `step`, `loss` (> 0), one row per sample and step.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One line per sample on a logarithmic axis, coloured by scale.

    Raises
    ------
    ValueError
        If a column is missing, or there are no rows.
    """
    columns = ["stimulus_id", "scale", "step", "loss"]
    check_columns("curves", curves.columns, columns)
    if curves.empty:
        raise ValueError("`curves` has no rows: nothing was refined.")
    ax = new_axes(ax)
    entries: dict[str, Any] = {}
    for k, (scale, part) in enumerate(curves.groupby("scale")):
        colour = PALETTE[k % len(PALETTE)]
        for _, one in part.groupby("stimulus_id"):
            (line,) = ax.plot(one["step"], one["loss"], color=colour, lw=1, alpha=0.7)
            entries.setdefault(f"scale {scale:g}", line)
    ax.set_yscale("log")
    ax.set_xlabel("Step")
    ax.set_ylabel("Squared relative error, summed")
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=3)
    return ax


def plot_picture_rows(
    pictures: Sequence[Sequence[NDArray[np.uint8] | None]],
    labels: Sequence[Sequence[str]],
    *,
    fixation_px: tuple[float, float] | None = None,
    side_in: float = 2.0,
) -> Figure:
    """Lay out pictures in rows, such as an original and its samples.

    Parameters
    ----------
    pictures : sequence of sequence of ndarray of uint8, shape (H, W, 3), or None
        Rows of equal length; None leaves a gap.
    labels : sequence of sequence of str
        Text above each picture.
    fixation_px : tuple of float, optional
        Point to mark in every picture, (x, y).
    side_in : float, default 2
        Width of a picture in inches.

    Returns
    -------
    Figure
        A figure without axes marks.

    Raises
    ------
    ValueError
        If there is nothing to draw, or rows differ in length.
    """
    lengths = {len(row) for row in [*pictures, *labels]}
    if len(lengths) != 1 or 0 in lengths or len(pictures) != len(labels):
        raise ValueError(
            "`pictures` and `labels` must be rows of one length; got rows of "
            f"{sorted(lengths)}."
        )
    n, columns = len(pictures), lengths.pop()
    size = (side_in * columns, (side_in + 0.35) * n)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n, columns, squeeze=False)
    for axes_row, row, texts in zip(grid, pictures, labels, strict=True):
        for ax, picture, text in zip(axes_row, row, texts, strict=True):
            ax.set_axis_off()
            if picture is None:
                continue
            # Edges at whole pixels, as in the house frame.
            height, width = picture.shape[:2]
            ax.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
            ax.set_title(text, fontsize=TEXT_PT, loc="left", parse_math=False)
            if fixation_px is not None:
                ax.plot(*fixation_px, "+", color=PALETTE[1], markersize=8, mew=1.6)
    return figure


# ------------------------------------------------------------------------ private


def _looks(points: pd.DataFrame) -> list[tuple[Any, str, str]]:
    models = list(points["model"].unique())
    others = [model for model in models if model != HUMAN_MODEL]
    looks = [(HUMAN_MODEL, HUMAN_COLOUR, "D")] if HUMAN_MODEL in models else []
    for i, model in enumerate(others):
        looks.append((model, PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]))
    return looks


def _lowest(ax: Axes) -> float:
    return float(ax.dataLim.y0) - 0.02


def _numbers(table: pd.DataFrame) -> list[float]:
    values = table[["critical_scale", "ci_high"]].to_numpy(np.float64).ravel()
    return [float(value) for value in values if np.isfinite(value)]
