"""Differences between systems beside the directions that were published."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plot_style import (
    GREY,
    PALETTE,
    TEXT_PT,
    finish,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns

_COLOURS = {
    "holds": PALETTE[2],
    "reversed": PALETTE[1],
    "fails": PALETTE[1],
    "undecided": GREY,
}
_MARKERS = {"holds": "o", "reversed": "X", "fails": "X", "undecided": "o"}


def plot_directions(
    directions: pd.DataFrame,
    *,
    equal_within: float = 0.05,
    label: str = "Difference, first minus second system",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw differences between systems beside what was published.

    Parameters
    ----------
    directions : DataFrame
        `claim` (text), `expected` (1, -1; 0 for equality), `difference`, `ci_low`,
        `ci_high` and `verdict` ("holds", "reversed", "fails" or "undecided").
    equal_within : float, default 0.05
        Half the width of the band of equality.
    label : str
        Text at the abscissa.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row per claim with its 95 % interval; pale areas are what was published.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["claim", "expected", "difference", "ci_low", "ci_high", "verdict"]
    check_columns("directions", directions.columns, columns)
    ax = new_axes(ax, (9.4, 1.2 + 0.31 * len(directions)))
    sizes = np.abs(directions[["difference", "ci_low", "ci_high"]].to_numpy(np.float64))
    reach = float(np.max(sizes[np.isfinite(sizes)], initial=equal_within))
    reach = min(1.1 * reach, 1.0)
    for place, row in enumerate(directions[columns].itertuples(index=False)):
        _, expected, value, low, high, verdict = row
        start, stop = (
            (-equal_within, equal_within) if expected == 0 else (0, expected * reach)
        )
        ax.barh(place, stop - start, 0.86, left=start, color="#EEF3F7", zorder=0)
        colour = _COLOURS.get(str(verdict), GREY)
        if not np.isfinite(value):
            ax.text(0, place, " undefined", va="center", color=GREY, fontsize=TEXT_PT)
            continue
        if np.isfinite(low) and np.isfinite(high):
            ax.plot([low, high], [place, place], color=colour, lw=1.8)
        ax.plot(value, place, _MARKERS.get(str(verdict), "o"), color=colour,
                mfc="white" if verdict == "undecided" else colour, ms=7)  # fmt: skip
    ax.axvline(0, color=GREY, lw=1)
    texts = [str(text) for text in directions["claim"]]
    ax.set_yticks(range(len(texts)), texts, parse_math=False)
    ax.set_ylim(len(texts) - 0.4, -0.6)
    ax.set_xlim(-reach, reach)
    ax.set_xlabel(label)
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax
