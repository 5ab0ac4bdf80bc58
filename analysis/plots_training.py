"""Learning curves of trained models.

Axes-level, as in `analysis.plots`: the function draws on the axes it is given, or on
those of a new figure, and returns the axes.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALETTE,
    TEXT_PT,
    finish,
    legend_below,
    new_axes,
    number_text,
    set_title,
)
from analysis.plots_gaze import colours_of
from neurovis.core.checks import check_between, check_columns
from neurovis.core.types import HUMAN_MODEL

FloatArray = NDArray[np.float64]

_BROKEN = (0, (4, 2.2))
_DOTTED = (0, (1, 1.3))


def plot_learning_curves(
    curves: pd.DataFrame,
    *,
    monitor: str = "val_nats",
    label: str = "nats per token",
    groups: str | None = None,
    baselines: Mapping[str, float] | None = None,
    training: bool = True,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw training loss and validation by epoch.

    Full lines are the validation, dotted ones the training loss; a dot marks the epoch
    whose weights were kept.

    Parameters
    ----------
    curves : DataFrame
        One row per epoch: `epoch`, `loss` (of the training), the column `monitor`
        (NaN where there was no validation), `best` (bool), as in
        ``Training.curves``. With a column `fold`, each fold has lines of its own.
    monitor : str, default "val_nats"
        Column of the validation.
    label : str, default "nats per token"
        What the ordinate is, with its unit.
    groups : str, optional
        Column whose values have colours of their own, such as "model". By default,
        and for "fold", all lines have one colour.
    baselines : mapping of str to float, optional
        Values of other models, as broken lines with names at the right; people are
        black.
    training : bool, default True
        Draw the training loss too: it must have the unit of the monitor.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        The curves.

    Raises
    ------
    TypeError, ValueError
        If a column is missing, an epoch comes twice in a line, the table is empty, or
        a baseline is no finite number.

    Examples
    --------
    >>> table = pd.DataFrame({"epoch": [0, 1], "loss": [3, 2], "best": [False, True]})
    >>> ax = plot_learning_curves(table.assign(val_nats=[3.1, 2.5]))
    >>> ax.lines[-1].get_xydata().tolist()
    [[1.0, 2.5]]
    """
    own = [groups] if groups else []
    needed = ["epoch", monitor, "best", *(["loss"] if training else []), *own]
    check_columns("curves", curves.columns, needed)
    if curves.empty:
        raise ValueError("`curves` is empty: at least one epoch is needed.")
    lines = {name: check_between(f"baselines[{name!r}]", value)
             for name, value in (baselines or {}).items()}  # fmt: skip
    keys = [k for k in dict.fromkeys([*own, "fold"]) if k in curves.columns]
    _check_once(curves, keys)
    coloured = groups if groups != "fold" else None
    names = [str(n) for n in curves[coloured].unique()] if coloured else [""]
    colours = colours_of(names) if coloured else {"": PALETTE[0]}
    ax = new_axes(ax, (5.4, 3.4 + 0.2 * len(names)))
    runs = curves.groupby(keys, sort=False, dropna=False) if keys else [("", curves)]
    parts = [run.sort_values("epoch") for _, run in runs]
    thin = len(parts) > len(names)
    best = []
    for part in parts:
        colour = colours[str(part[coloured].iloc[0]) if coloured else ""]
        best.append(_draw_run(ax, part, monitor, colour, thin, training))
    _draw_baselines(ax, lines)
    ax.set_xlabel("Epoch")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if title:
        set_title(ax, title)
    finish(ax)
    entries = {n: Line2D([], [], color=colours[n], lw=2) for n in names if coloured}
    key = GREY if coloured else PALETTE[0]
    entries["validation"] = Line2D([], [], color=key, lw=1.8)
    if training:
        entries["training loss"] = Line2D([], [], color=key, lw=1.4, ls=_DOTTED)
    kept = pd.concat(best)
    if len(kept):
        dot = Line2D([], [], color=key, marker="o", mec="white", ms=7, ls="")
        entries[_best_text(kept, monitor)] = dot
    legend_below(ax, entries, columns=3 if len(entries) == 3 else 2)
    return ax


def _check_once(curves: pd.DataFrame, keys: list[str]) -> None:
    """Refuse tables in which several runs would become one line."""
    twice = curves.duplicated([*keys, "epoch"])
    if twice.any():
        epoch = curves.loc[twice, "epoch"].iloc[0]
        raise ValueError(
            f"`curves` holds epoch {epoch} more than once in one line: runs must "
            "differ in `fold`, or in the column named by `groups`."
        )


def _draw_run(
    ax: Axes, part: pd.DataFrame, monitor: str, colour: str, thin: bool, training: bool
) -> pd.DataFrame:
    """Draw one run; return the row of its best epoch."""
    mark = "." if len(part) == 1 else None
    if training:
        width = 0.8 if thin else 1.4
        ax.plot(part["epoch"], part["loss"], color=colour, lw=width, ls=_DOTTED,
                alpha=0.6 if thin else 0.9, marker=mark)  # fmt: skip
    # Epochs without a validation are passed over, not gaps.
    known = part[part[monitor].notna()]
    ax.plot(known["epoch"], known[monitor], color=colour, lw=0.9 if thin else 1.8,
            alpha=0.75 if thin else 1.0, marker=mark)  # fmt: skip
    best = known[known["best"].astype(bool)]
    ax.plot(best["epoch"], best[monitor], "o", color=colour, mec="white",
            ms=5 if thin else 7, zorder=4)  # fmt: skip
    return best


def _best_text(best: pd.DataFrame, monitor: str) -> str:
    first, last = int(best["epoch"].min()), int(best["epoch"].max())
    if len(best) == 1:
        return f"best: epoch {first}, {number_text(float(best[monitor].iloc[0]), 3)}"
    epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    return f"best: {epochs}"


def _draw_baselines(ax: Axes, baselines: Mapping[str, float]) -> None:
    """Draw broken lines with names at the right, moved apart where they are near."""
    ordered = sorted(baselines.items(), key=lambda item: item[1])
    for name, value in ordered:
        ax.axhline(value, color=_colour_of(name), lw=1.1, ls=_BROKEN, zorder=1.5)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    # The layout, which is not made yet, leaves about two thirds of the height.
    height_in = 0.65 * ax.bbox.height / ax.figure.dpi
    places = _apart(
        np.array([(value - low) / (high - low) for _, value in ordered]),
        1.25 * TEXT_PT / 72 / height_in,
    )
    for (name, value), place in zip(ordered, places, strict=True):
        ax.annotate(
            f"{name} {number_text(value, 2)}",
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            fontsize=TEXT_PT - 1,
            color=_colour_of(name),
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkA": 1,
                        "shrinkB": 0},
            parse_math=False,
        )  # fmt: skip


def _colour_of(name: str) -> str:
    people = name == HUMAN_MODEL or name.startswith("people")
    return HUMAN_COLOUR if people else GREY


def _apart(places: FloatArray, gap: float) -> FloatArray:
    """Move growing places as little as needed to lie `gap` apart.

    Least squares: places less their ranks must not fall, so runs that do are pooled.
    """
    blocks: list[list[float]] = []
    for rank, place in enumerate(places):
        blocks.append([place - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, n = blocks.pop()
            before, m = blocks.pop()
            blocks.append([(mean * n + before * m) / (n + m), n + m])
    shift = np.repeat([b[0] for b in blocks], [int(b[1]) for b in blocks])
    return shift + gap * np.arange(len(places))
