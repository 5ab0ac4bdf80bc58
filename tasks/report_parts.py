"""What reports of runs have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plot_style import number_text
from analysis.report import ReportFigure, ReportTable
from neurovis.core.files import atomic_path
from tasks.runs import Run

NamedFigure = tuple[str, ReportFigure]


def figure_of(axes: Axes) -> Figure:
    """Return the figure that holds axes of its own.

    Parameters
    ----------
    axes : Axes
        What an axes-level function returned.

    Returns
    -------
    Figure
        Its figure.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)  # axes-level plots make a plain one
    return figure


def axes_grid(n: int, columns: int, size_in: tuple[float, float]) -> list[Axes]:
    """Return axes of a new figure, row by row; those not needed are blank.

    Parameters
    ----------
    n : int
        Axes wanted.
    columns : int
        Most axes side by side.
    size_in : tuple of float
        Width and height of one in inches.

    Returns
    -------
    list of Axes
        `n` axes.
    """
    columns = min(columns, n)
    rows = -(-n // columns)
    size = (size_in[0] * columns, size_in[1] * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid[n:]:
        axes.set_axis_off()
    return list(grid[:n])


def save_figures(folder: Path, figures: Sequence[NamedFigure]) -> None:
    """Write figures as ``figures/NAME.png``, each atomically.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    figures : sequence of tuple of str and ReportFigure
        Name and figure.
    """
    for name, item in figures:
        with atomic_path(folder / "figures" / f"{name}.png") as part:
            item.figure.savefig(part, dpi=150, format="png", facecolor="white")
        # The report draws it once more: its parts have their places now.
        item.figure.set_layout_engine("none")


def value_text(row: Any, digits: int) -> str:
    """Return a value with its 95 % interval as text.

    Parameters
    ----------
    row : mapping or Series
        `value`, `ci_low`, `ci_high`.
    digits : int
        Decimals.

    Returns
    -------
    str
        "undefined" for NaN.

    Examples
    --------
    >>> value_text({"value": 0.5, "ci_low": 0.4, "ci_high": 0.61}, 2)
    '0.50 [0.40, 0.61]'
    """
    value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    if np.isnan(value):
        return "undefined"
    text, *limits = (number_text(x, digits) for x in (value, low, high))
    return text if np.isnan(low) else f"{text} [{limits[0]}, {limits[1]}]"


def p_text(p: float) -> str:
    """Return a p value as text.

    Parameters
    ----------
    p : float
        0..1, or NaN.

    Returns
    -------
    str
        Three decimals, or "< 0.001"; a dash for NaN.

    Examples
    --------
    >>> p_text(0.0123), p_text(1e-9)
    ('0.012', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else number_text(p, 3)


def score_table(
    run: Run,
    metrics: dict[str, tuple[str, int]],
    *,
    caption: str,
    ceiling: bool = False,
) -> ReportTable:
    """Return a table with one row per observer and one column per metric.

    Parameters
    ----------
    run : Run
        A finished run.
    metrics : dict of str to tuple of str and int
        Metric to printed name and decimals; those that the run lacks are left out.
    caption : str
        Text above.
    ceiling : bool, default False
        Add a last row with the ceiling of each metric.

    Returns
    -------
    ReportTable
        Values with intervals; untrained models are marked.
    """
    scores = run.scores[run.scores["metric"].isin(metrics)]
    there = [m for m in metrics if (scores["metric"] == m).any()]
    rows = []
    for model, part in scores.groupby("model", sort=False):
        values = part.drop_duplicates("metric").set_index("metric")
        row = {"observer": "people" if model == "human" else run.mark(str(model))}
        for metric in there:
            text = "–"
            if metric in values.index:
                text = value_text(values.loc[metric], metrics[metric][1])
            row[metrics[metric][0]] = text
        rows.append(row)
    if ceiling:
        row = {"observer": "ceiling: people against people"}
        for metric in there:
            name, digits = metrics[metric]
            limits = scores.loc[scores["metric"] == metric, "ceiling_low"].dropna()
            row[name] = f"{limits.iloc[0]:.{digits}f}" if len(limits) else "–"
        rows.append(row)
    columns = ["observer", *(metrics[metric][0] for metric in there)]
    table = pd.DataFrame(rows, columns=columns)
    return ReportTable(table, caption=caption, headers={"observer": "Observer"})
