"""What maps of the brain share: colours of values, lines of regions, marks.

Undefined values have no colour: what lies below shows, cortex in grey.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke
from numpy.typing import ArrayLike, NDArray

from analysis.plot_style import GREY, PALETTE, TEXT_PT
from neurovis.core.checks import check_between

SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"
HIDDEN_COLOUR = "#C4C4C4"
"""Colour of undefined and hidden values where no cortex is drawn."""

_LINE_PT = 1.5
_EDGES = ("white", "#1A1A1A")
_N_COLOURS = 256


@dataclass(frozen=True)
class ColourScale:
    """Which colour a value has.

    Parameters
    ----------
    norm : Normalize
        Ends of the scale.
    cmap : Colormap
        Colours; values nearer to 0 than `threshold` are grey.
    threshold : float
        Values nearer to 0 are hidden, >= 0.
    extend : {"neither", "min", "max", "both"}
        On which sides values lie beyond the ends.
    """

    norm: Normalize
    cmap: Colormap
    threshold: float
    extend: str

    def shown(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Tell which values have a colour: defined, and not below the threshold.

        Parameters
        ----------
        values : array_like of float
            Any numbers.

        Returns
        -------
        ndarray of bool
            In the same shape.
        """
        array = np.asarray(values, np.float64)
        return np.asarray(np.abs(array) >= self.threshold)

    def colours(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the colour of each value.

        Parameters
        ----------
        values : array_like of float, shape (n,)
            Any numbers.

        Returns
        -------
        ndarray of float64, shape (n, 4)
            Red, green, blue and alpha, 0..1; alpha is 0 where nothing is shown.
        """
        array = np.asarray(values, np.float64)
        colours: NDArray[np.float64] = np.array(self.cmap(self.norm(array)))
        colours[~self.shown(array)] = 0
        return colours


def make_colour_scale(
    values: ArrayLike,
    *,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    symmetric: bool = False,
    threshold: float = 0.0,
) -> ColourScale:
    """Choose the colours of a map.

    Parameters
    ----------
    values : array_like of float
        All values of the map; those not finite do not count.
    cmap : str or Colormap, optional
        "viridis", or "RdBu_r" when `symmetric`, by default.
    vmin, vmax : float, optional
        Ends of the scale; those of the values by default.
    symmetric : bool, default False
        Centre the scale on 0; `vmin` must then be left out.
    threshold : float, default 0
        Hide values nearer to 0 than this.

    Returns
    -------
    ColourScale
        With ends of 0 and 1 where no value is defined.

    Raises
    ------
    ValueError
        If the ends or the colour map make no scale.

    Examples
    --------
    >>> scale = make_colour_scale([-1, 3, np.nan], symmetric=True)
    >>> scale.norm.vmin, scale.norm.vmax, scale.extend
    (-3.0, 3.0, 'neither')
    """
    numbers = np.asarray(values, np.float64)
    defined = numbers[np.isfinite(numbers)]
    hidden_below = float(check_between("threshold", threshold, low=0))
    for name, end in (("vmin", vmin), ("vmax", vmax)):
        if end is not None:
            check_between(name, end)
    if symmetric and vmin is not None:
        raise ValueError("`vmin` follows from `vmax` when `symmetric`: leave it out.")
    if symmetric:
        high = np.abs(defined).max(initial=0.0) if vmax is None else vmax
        low = -high
    else:
        low = (defined.min() if len(defined) else 0.0) if vmin is None else vmin
        high = (defined.max() if len(defined) else 1.0) if vmax is None else vmax
    if low == high and (vmin is None or vmax is None):
        # One value only: any width will do, as long as it is in the middle.
        low, high = low - 0.5, high + 0.5
    if not low < high:
        raise ValueError(
            f"`vmin` must lie below `vmax`; the scale has {low} to {high}."
        )
    colours = _colour_map(cmap or (DIVERGING if symmetric else SEQUENTIAL))
    if hidden_below:
        steps = np.linspace(low, high, _N_COLOURS)
        table = colours(np.linspace(0, 1, _N_COLOURS))
        table[np.abs(steps) < hidden_below] = ListedColormap([HIDDEN_COLOUR])(0)
        colours = ListedColormap(table)
    beyond = [bool((defined < low).any()), bool((defined > high).any())]
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    norm = Normalize(float(low), float(high))
    return ColourScale(norm, colours, hidden_below, extend[beyond[0], beyond[1]])


def _colour_map(cmap: str | Colormap) -> Colormap:
    if isinstance(cmap, Colormap):
        return cmap
    if cmap not in colormaps:
        raise ValueError(f"`cmap` {cmap!r} is no colour map of matplotlib.")
    return colormaps[cmap]


def cortex_colours(
    scale: ColourScale, values: ArrayLike, sulcal_depth: ArrayLike
) -> NDArray[np.float64]:
    """Return the colour of each vertex of a surface.

    Parameters
    ----------
    scale : ColourScale
        Colours of values.
    values : array_like of float, shape (n_vertices,)
        The map.
    sulcal_depth : array_like of float, shape (n_vertices,)
        Above 0 in sulci.

    Returns
    -------
    ndarray of float64, shape (n_vertices, 3)
        Red, green and blue, 0..1; where no value is shown grey, darker in sulci.
    """
    depth = np.clip(np.asarray(sulcal_depth, np.float64) / 0.4, -1, 1)
    cortex = np.repeat((0.66 - 0.11 * depth)[:, None], 3, axis=1)
    shown = scale.shown(values)
    return np.where(shown[:, None], scale.colours(values)[:, :3], cortex)


def draw_colour_bar(ax: Axes, scale: ColourScale, label: str, grey: str) -> None:
    """Draw the colour bar of a map into its own axes.

    Parameters
    ----------
    ax : Axes
        Filled by the bar.
    scale : ColourScale
        Colours.
    label : str
        What the values are, with unit.
    grey : str
        What a place without colour means; "" for nothing.
    """
    bar = ax.figure.colorbar(
        ScalarMappable(scale.norm, scale.cmap), cax=ax, extend=scale.extend
    )
    bar.outline.set_visible(False)
    ax.tick_params(labelsize=TEXT_PT - 1, color=GREY)
    ax.set_ylabel(label, fontsize=TEXT_PT, parse_math=False)
    ax.annotate(
        grey,
        (0, -0.09),
        xycoords="axes fraction",
        va="top",
        fontsize=TEXT_PT - 2,
        color=GREY,
        parse_math=False,
        annotation_clip=False,
    )


def region_lines(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the look of the outline of each region.

    Parameters
    ----------
    names : sequence of str
        At most twelve regions.

    Returns
    -------
    list of dict
        Keywords of `Line2D`: six colours with a white edge, then with a black one.

    Raises
    ------
    ValueError
        If there are more regions than looks.
    """
    limit = 2 * len(PALETTE)
    if len(names) > limit:
        raise ValueError(
            f"At most {limit} outlines can be told apart; got {len(names)} regions. "
            "Choose some, or draw several figures."
        )
    looks = []
    for i in range(len(names)):
        again, colour = divmod(i, len(PALETTE))
        edge = withStroke(linewidth=_LINE_PT + 1.4, foreground=_EDGES[again])
        looks.append(
            {
                "color": PALETTE[colour],
                "linewidth": _LINE_PT,
                "path_effects": [edge, Normal()],
            }
        )
    return looks


def legend_lines(n_regions: int) -> int:
    """Return how many lines the legend of so many regions takes.

    Parameters
    ----------
    n_regions : int
        Number of regions.

    Returns
    -------
    int
        Lines of up to six names.

    Examples
    --------
    >>> legend_lines(7)
    2
    """
    return -(-n_regions // len(PALETTE))


def region_legend(figure: Figure, names: Sequence[str], bottom: float) -> None:
    """List the regions at the lower edge of a figure.

    Parameters
    ----------
    figure : Figure
        Where.
    names : sequence of str
        As for `region_lines`.
    bottom : float
        Height of its lower edge, as share of the figure.
    """
    if not names:
        return
    n_columns = -(-len(names) // legend_lines(len(names)))
    # Legends are filled column by column, but read line by line.
    order = [i for c in range(n_columns) for i in range(c, len(names), n_columns)]
    looks = region_lines(names)
    legend = figure.legend(
        [Line2D([], [], **looks[i]) for i in order],
        [names[i] for i in order],
        loc="lower center",
        bbox_to_anchor=(0.5, bottom),
        ncols=n_columns,
        frameon=False,
        fontsize=TEXT_PT - 1,
        handlelength=1.8,
        columnspacing=1.4,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def write_heading(figure: Figure, title: str, note: str, top: float) -> None:
    """Write a title at the left and a framed note at the right of the upper edge.

    Parameters
    ----------
    figure : Figure
        Where.
    title : str
        What is shown.
    note : str
        What must not be overlooked, such as "simulated data".
    top : float
        Height of the upper edge of the text, as share of the figure.
    """
    if title:
        figure.text(
            0.012, top, title, fontsize=TEXT_PT + 1.5, va="top", parse_math=False
        )
    if note:
        figure.text(
            0.988,
            top,
            note,
            fontsize=TEXT_PT,
            fontweight="bold",
            color=PALETTE[1],
            va="top",
            ha="right",
            parse_math=False,
            bbox={"facecolor": "white", "edgecolor": PALETTE[1], "pad": 2.5},
        )
