"""Figures of dissimilarity matrices."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from analysis.plot_style import GREY, TEXT_PT, new_axes
from analysis.rsa import count_stimuli
from neurovis.core.checks import check_array

# Matrices stand side by side.
_TITLE_LENGTH = 28


def plot_rdm(
    rdm: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    title: str = "",
    ranks: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw a dissimilarity matrix.

    Parameters
    ----------
    rdm : array-like of float, shape (n_pairs,)
        Condensed RDM.
    groups : sequence of str, length n_stimuli, optional
        Category of each stimulus: stimuli are sorted by it, in order of first
        occurrence, and lines part the groups.
    title : str, optional
        Text above.
    ranks : bool, default True
        Draw ranks, from the most alike pair (dark) to the least (bright), so that
        matrices of different units can be compared; else the values.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Matrix; the diagonal and undefined pairs are blank.

    Raises
    ------
    ValueError
        If the RDM is not condensed, or `groups` has another length.
    """
    values = check_array("rdm", np.array(rdm, np.float64), shape=(None,))
    n = count_stimuli(len(values))
    if groups is not None and len(groups) != n:
        raise ValueError(f"`groups` has {len(groups)} entries for {n} stimuli.")
    known = np.isfinite(values)
    if ranks:
        values[known] = (rankdata(values[known]) - 1) / max(1, int(known.sum()) - 1)
    square = np.full((n, n), np.nan)
    i, j = np.triu_indices(n, 1)
    square[i, j] = square[j, i] = np.where(known, values, np.nan)
    names = list(dict.fromkeys(groups or ()))
    codes = np.array([names.index(g) for g in groups or ()], int)
    order = np.argsort(codes, kind="stable") if groups is not None else np.arange(n)
    ax = new_axes(ax, (3.1, 3.2))
    ax.imshow(square[np.ix_(order, order)], cmap="viridis", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    if groups is not None:
        edges = np.cumsum(np.bincount(codes, minlength=len(names)))
        middles = edges - np.bincount(codes, minlength=len(names)) / 2 - 0.5
        for edge in edges[:-1] - 0.5:
            ax.axhline(edge, color="white", lw=0.8)
            ax.axvline(edge, color="white", lw=0.8)
        ax.set_yticks(middles, names, fontsize=TEXT_PT - 2.5, parse_math=False)
    ax.tick_params(length=0)
    ax.spines[:].set_color(GREY)
    if title:
        wrapped = textwrap.fill(title, _TITLE_LENGTH)
        ax.set_title(wrapped, loc="left", fontsize=TEXT_PT - 0.5, parse_math=False)
    return ax
