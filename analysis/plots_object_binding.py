"""Figures of object binding: probes, distance, rank and ablation.

Every function draws on the axes it is given, or on those of a new figure, and returns
the axes. Tables are those of `tasks.object_binding`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plot_style import (
    GREY,
    MARKERS,
    PALETTE,
    TEXT_PT,
    fill_looks,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns

_COLUMNS = ["model", "layer", "probe", "metric", "condition", "value"]
_LOOKS = {
    "linear": (PALETTE[5], "o"),
    "diagonal": (PALETTE[2], "s"),
    "quadratic": (PALETTE[0], "D"),
    "class": (PALETTE[4], "^"),
    "identity": (PALETTE[3], "v"),
}
_BASELINES = {
    "distance": (":", "distance"),
    "colour": ((0, (5, 2)), "mean colour"),
}


def plot_binding_probes(
    scores: pd.DataFrame,
    *,
    condition: str = "all",
    grid: str | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how well the probes of all layers tell pairs apart.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.object_binding.run_object_binding`.
    condition : str, default "all"
        Which pairs.
    grid : str, optional
        Layers with this grid only, such as "8 x 8", and its baselines as lines; by
        default all layers, with the baselines as ticks of each.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Balanced accuracy with 95 % intervals over pictures; 0.5 is chance.

    Raises
    ------
    ValueError
        If a column is missing or there is nothing to draw.
    """
    check_columns("scores", scores.columns, [*_COLUMNS, "grid", "kind", "untrained"])
    rows = _plain(scores)
    rows = rows[
        (rows["metric"] == "balanced_accuracy") & (rows["condition"] == condition)
    ]
    if grid is not None:
        rows = rows[rows["grid"] == grid]
    shown = rows[rows["kind"] != "baseline"]
    names = list(dict.fromkeys(zip(shown["model"], shown["layer"], strict=True)))
    if not names:
        raise ValueError(f"`scores` has no layer for the condition {condition!r}.")
    ax = new_axes(ax, (6.8, 1.9 + 0.62 * len(names)))
    entries: dict[str, Any] = {}
    height = 0.7 / len(_LOOKS)
    for number, (probe, (colour, marker)) in enumerate(_LOOKS.items()):
        mine = shown[shown["probe"] == probe].set_index(["model", "layer"])
        mine = mine.reindex(pd.MultiIndex.from_tuples(names))
        entries[probe] = ax.errorbar(
            mine["value"],
            np.arange(len(names)) + (number - 2) * height,
            xerr=interval_bars(mine),
            fmt=marker,
            color=colour,
            ms=5.5,
            lw=1.3,
        )
    texts = []
    for place, (model, layer) in enumerate(names):
        own = shown[(shown["model"] == model) & (shown["layer"] == layer)].iloc[0]
        base = rows[(rows["kind"] == "baseline") & (rows["grid"] == own["grid"])]
        for probe, (style, label) in _BASELINES.items():
            for value in base.loc[base["probe"] == probe, "value"]:
                (line,) = ax.plot(
                    [value, value], [place - 0.42, place + 0.42], ls=style, c=GREY
                )
                entries[label] = line
        mark = own["untrained"] and "untrained" not in model
        texts.append(f"{model} {layer}" + (" (untrained)" if mark else ""))
    ax.axvline(0.5, color=GREY, lw=1)
    ax.set_yticks(range(len(names)), texts, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel("Balanced accuracy of pairs of different patches")
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    legend_below(ax, entries, columns=4)
    return ax


def plot_binding_distance(
    scores: pd.DataFrame,
    *,
    model: str,
    layer: str,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the accuracy of one layer by the distance of the patches.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.object_binding.run_object_binding`.
    model, layer : str
        Whose tokens.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Share of pairs judged rightly; the dotted line is a regression on distance
        alone, the dashed one on mean colours.

    Raises
    ------
    ValueError
        If a column is missing or the layer is not there.
    """
    check_columns("scores", scores.columns, [*_COLUMNS, "grid", "kind"])
    rows = _plain(scores)
    chosen = rows["condition"].str.startswith("distance ")
    rows = rows[chosen & (rows["metric"] == "accuracy_off_diagonal")]
    mine = rows[(rows["model"] == model) & (rows["layer"] == layer)]
    if not len(mine):
        raise ValueError(f"`scores` has no layer {layer!r} of {model!r} by distance.")
    base = rows[(rows["kind"] == "baseline") & (rows["grid"] == mine["grid"].iloc[0])]
    ax = new_axes(ax, (5.0, 3.9))
    entries: dict[str, Any] = {}
    for probe in ("linear", "diagonal", "quadratic"):
        colour, marker = _LOOKS[probe]
        part = mine[mine["probe"] == probe]
        entries[probe] = ax.errorbar(
            _middles(part),
            part["value"],
            yerr=interval_bars(part),
            color=colour,
            marker=marker,
            ms=5,
            lw=1.4,
        )
    for probe, (style, label) in _BASELINES.items():
        part = base[base["probe"] == probe]
        (entries[label],) = ax.plot(_middles(part), part["value"], ls=style, c=GREY)
    ax.set_xlabel("Distance of the patches (patches)")
    ax.set_ylabel("Share of pairs judged rightly")
    ax.set_ylim(0, 1.02)
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=3)
    return ax


def plot_binding_rank(
    scores: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw how much of the quadratic probe its largest eigenvalues carry.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.object_binding.run_object_binding`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Balanced accuracy against the number of eigenvalues that are kept; lines at the
        right end are the whole probe.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("scores", scores.columns, [*_COLUMNS, "rank", "ablation"])
    chosen = (scores["metric"] == "balanced_accuracy") & (scores["condition"] == "all")
    chosen &= scores["probe"] == "quadratic"
    cut = scores[chosen & scores["rank"].notna()]
    whole = _plain(scores[chosen])
    ax = new_axes(ax, (5.0, 3.9))
    names = list(dict.fromkeys(cut["model"] + " " + cut["layer"]))
    looks = list(zip(PALETTE, MARKERS, strict=False))
    entries = {}
    for name, (colour, marker) in fill_looks(names, {}, looks).items():
        part = cut[cut["model"] + " " + cut["layer"] == name].sort_values("rank")
        entries[name] = ax.errorbar(
            part["rank"],
            part["value"],
            yerr=interval_bars(part),
            color=colour,
            marker=marker,
            ms=5,
            lw=1.4,
        )
        full = whole[whole["model"] + " " + whole["layer"] == name]["value"]
        ax.plot([90, 130], [full.iloc[0]] * 2, color=colour, lw=2)
    ranks = sorted(set(cut["rank"].astype(int)))
    ax.set_xscale("log", base=2)
    ax.set_xticks([*ranks, 108], [*(str(r) for r in ranks), "all"])
    ax.minorticks_off()
    ax.axhline(0.5, color=GREY, lw=1)
    ax.set_xlabel("Eigenvalues of S that are kept")
    ax.set_ylabel("Balanced accuracy")
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=2)
    return ax


def plot_binding_ablation(
    scores: pd.DataFrame,
    *,
    metric: str = "class_accuracy",
    label: str = "Patches of the right class",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw what is lost when directions are taken out of the tokens.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.object_binding.run_object_binding`.
    metric : str, default "class_accuracy"
        That, or "balanced_accuracy" of pairs.
    label : str, optional
        Text at the y axis.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Full lines: the first eigenvectors of S; dashed: as many random directions.
        Single marks at the right end: what lies in them is exchanged among patches.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("scores", scores.columns, [*_COLUMNS, "ablation", "amount"])
    rows = scores[scores["ablation"].notna() & (scores["metric"] == metric)]
    rows = rows.assign(name=rows["model"] + " " + rows["layer"])
    ax = new_axes(ax, (5.0, 4.0))
    entries = {}
    names = list(dict.fromkeys(rows["name"]))
    for name, colour in fill_looks(names, {}, PALETTE).items():
        for what, style in (("binding", "-"), ("random", (0, (4, 2)))):
            part = rows[(rows["name"] == name) & (rows["ablation"] == what)]
            drawn = ax.errorbar(
                part["amount"],
                part["value"],
                yerr=interval_bars(part),
                ls=style,
                color=colour,
                marker="o",
                mfc=colour if what == "binding" else "white",
                ms=5,
                lw=1.4,
            )
            if what == "binding":
                entries[name] = drawn
            swapped = rows[
                (rows["name"] == name) & (rows["ablation"] == f"{what} shuffled")
            ]
            ax.plot(
                [1.25] * len(swapped),
                swapped["value"],
                "o",
                color=colour,
                mfc=colour if what == "binding" else "white",
                ms=5,
            )
    ax.set_xticks([0, 0.5, 1, 1.25], ["0", "half", "all", "exchanged"])
    ax.set_xlabel("Taken out of the tokens")
    ax.set_ylabel(label)
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=2)
    return ax


def plot_binding_spectrum(
    spectrum: pd.DataFrame,
    *,
    n_shown: int = 32,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the largest eigenvalues of the quadratic probes.

    Parameters
    ----------
    spectrum : DataFrame
        ``spectrum.parquet`` of a run: `model`, `layer`, `place`, `eigenvalue`.
    n_shown : int, default 32
        Eigenvalues of each layer.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Signed eigenvalues in the order of their size, as shares of the largest.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["model", "layer", "place", "eigenvalue"]
    check_columns("spectrum", spectrum.columns, columns)
    ax = new_axes(ax, (5.0, 3.9))
    entries = {}
    parts = list(spectrum.groupby(["model", "layer"], sort=False))
    looks = list(zip(PALETTE, MARKERS, strict=False))
    for number, ((model, layer), part) in enumerate(parts):
        colour, marker = looks[number % len(looks)]
        top = part[part["place"] <= n_shown]
        size = max(float(top["eigenvalue"].abs().max()), 1e-300)
        (entries[f"{model} {layer}"],) = ax.plot(
            top["place"], top["eigenvalue"] / size, marker, color=colour, ms=4.5
        )
    ax.axhline(0, color=GREY, lw=1)
    ax.set_xlabel("Place by size")
    ax.set_ylabel("Eigenvalue of S (share of the largest)")
    ax.tick_params(labelsize=TEXT_PT)
    if title:
        set_title(ax, title)
    finish(ax)
    legend_below(ax, entries, columns=2)
    return ax


def _plain(scores: pd.DataFrame) -> pd.DataFrame:
    """Return rows of whole probes on whole tokens."""
    known = [name for name in ("rank", "ablation") if name in scores]
    return scores[scores[known].isna().all(axis=1)]


def _middles(rows: pd.DataFrame) -> list[float]:
    edges = [text.removeprefix("distance ").split("-") for text in rows["condition"]]
    return [(float(low) + float(high)) / 2 for low, high in edges]
