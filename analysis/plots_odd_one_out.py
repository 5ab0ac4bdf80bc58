"""Figures of odd-one-out choices and of low-level against high-level triplets.

Every function draws on the axes it is given, or on those of a new figure, and returns
the axes. Tables are those of `tasks.odd_one_out` and `tasks.level_triplets`.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.plot_style import (
    GREY,
    HUMAN_COLOUR,
    PALE,
    PALETTE,
    TEXT_PT,
    finish,
    interval_bars,
    legend_below,
    new_axes,
    set_title,
)
from neurovis.core.checks import check_columns, check_option

_COLOURS = {
    "observer": HUMAN_COLOUR,
    "people": HUMAN_COLOUR,
    "embedding": PALETTE[0],
    "layer": PALETTE[0],
    "fitted": PALETTE[2],
    "simulated": PALETTE[3],
    "category": PALETTE[4],
}
_MARKERS = {"observer": "D", "people": "D", "fitted": "^", "category": "s"}
_CHANCE = 1 / 3


def plot_odd_one_out(
    scores: pd.DataFrame,
    *,
    subject: str,
    similarity: str = "dot",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how often observers, embeddings and categories choose as somebody does.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.odd_one_out.run_odd_one_out`.
    subject : str
        Whose choices are predicted.
    similarity : {"dot", "cosine"}
        Of embeddings.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        One row each, shares with 95 % intervals; the line is chance, the band the
        noise ceiling. Open marks: random weights.

    Raises
    ------
    ValueError
        If a column is missing or there is nothing about `subject`.
    """
    columns = ["model", "subject", "metric", "condition", "value", "ci_low", "ci_high"]
    check_columns("scores", scores.columns, [*columns, "kind", "untrained", "n"])
    check_option("similarity", similarity, ("dot", "cosine"))
    mine = scores[scores["subject"] == subject]
    held_out = f"{similarity}, held-out triplets"
    shown = mine["metric"].isin(["agreement", "agreement_informative"])
    shown |= (mine["metric"] == "accuracy") & mine["condition"].isin(
        [similarity, held_out]
    )
    rows = mine[shown].sort_values("value", ascending=False, kind="stable")
    if not len(rows):
        raise ValueError(f"`scores` has no choices about {subject!r}.")
    labels = []
    for row in rows.to_dict("records"):
        notes = ["untrained"] if row["untrained"] else []
        if row["metric"] == "agreement_informative":
            notes.append(f"where it tells, n={row['n']}")
        if row["condition"] == held_out:
            notes.append(f"held-out triplets, n={row['n']}")
        labels.append(row["model"] + (f" ({', '.join(notes)})" if notes else ""))
    ax = new_axes(ax, (6.6, 1.5 + 0.3 * len(rows)))
    ceiling = mine[(mine["metric"] == "noise_ceiling") & (mine["model"] == subject)]
    if len(ceiling):
        low, high = ceiling["value"].min(), ceiling["value"].max()
        ax.axvspan(low, high, color=PALE, zorder=0, label="ceiling")
        ax.text(high, -0.75, " ceiling", color=GREY, fontsize=TEXT_PT - 1, va="center")
    ax.axvline(_CHANCE, color=GREY, lw=1, ls=(0, (4, 2.2)))
    ax.text(_CHANCE, -0.75, " chance", color=GREY, fontsize=TEXT_PT - 1, va="center")
    _dots(ax, rows, labels)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"Share of triplets with the choice of: {subject}", parse_math=False)
    if title:
        set_title(ax, title)
    return ax


def plot_choice_likelihood(
    scores: pd.DataFrame, *, subject: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw how likely choices are under embeddings, before and after tuning.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.odd_one_out.run_odd_one_out`.
    subject : str
        Whose choices.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Negative log likelihood in nats, on a scale that ends at three times chance;
        the line is chance, log 3.

    Raises
    ------
    ValueError
        If a column is missing or there is no likelihood about `subject`.
    """
    columns = ["model", "subject", "metric", "condition", "value", "ci_low", "ci_high"]
    check_columns("scores", scores.columns, columns)
    mine = scores[(scores["subject"] == subject) & (scores["metric"] == "nll")]
    mine = mine[mine["condition"] != "guessing"]
    parts = {
        "temperature 1": mine["condition"].str.startswith("temperature 1"),
        "temperature of other triplets": mine["condition"].str.startswith(
            "temperature fitted"
        ),
    }
    names = list(dict.fromkeys(mine["model"]))
    if not names:
        raise ValueError(f"`scores` has no likelihood about {subject!r}.")
    ax = new_axes(ax, (6.6, 1.9 + 0.3 * len(names)))
    limit = 3 * np.log(3)
    entries = {}
    for number, (label, chosen) in enumerate(parts.items()):
        rows = mine[chosen].drop_duplicates("model").set_index("model").reindex(names)
        entry = ax.errorbar(
            rows["value"].clip(upper=limit),
            np.arange(len(names)) + 0.2 * number - 0.1,
            xerr=interval_bars(rows),
            fmt="os"[number],
            color=PALETTE[number],
            mfc="white" if number == 0 else PALETTE[number],
            ms=6,
            lw=1.4,
        )
        entries[label] = entry
    ax.axvline(np.log(3), color=GREY, lw=1, ls=(0, (4, 2.2)))
    ax.text(np.log(3), -0.72, " log 3", color=GREY, fontsize=TEXT_PT - 1, va="center")
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -1.0)
    ax.set_xlim(0, limit * 1.03)
    ax.set_xlabel("Negative log likelihood (nats per triplet)")
    if title:
        set_title(ax, title)
    finish(ax, grid="x")
    legend_below(ax, entries, columns=2)
    return ax


def plot_spose_curves(
    curves: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw how an embedding was fitted.

    Parameters
    ----------
    curves : DataFrame
        Of `neurovis.fitting.spose.SposeFit`: `epoch`, `nll`, `n_dimensions`, and
        `val_nll` where there was a validation.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Negative log likelihood of the choices in nats, and dimensions on the right.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("curves", curves.columns, ["epoch", "nll", "n_dimensions"])
    ax = new_axes(ax, (5.2, 3.6))
    lines = {"choices to learn from": ("nll", PALETTE[0], "-")}
    lines["other choices"] = ("val_nll", PALETTE[1], "-")
    entries = {}
    for label, (column, colour, style) in lines.items():
        if column in curves:
            (entries[label],) = ax.plot(
                curves["epoch"] + 1, curves[column], style, color=colour, lw=1.8
            )
    ax.axhline(np.log(3), color=GREY, lw=1, ls=(0, (4, 2.2)))
    right = ax.twinx()
    (entries["dimensions (right)"],) = right.plot(
        curves["epoch"] + 1, curves["n_dimensions"], color=GREY, lw=1.4
    )
    right.set_ylabel("Dimensions", fontsize=TEXT_PT + 0.5)
    right.set_ylim(0, 1.25 * max(float(curves["n_dimensions"].max()), 1.0))
    right.spines[["top", "left", "bottom"]].set_visible(False)
    right.spines["right"].set_color(GREY)
    right.tick_params(labelsize=TEXT_PT, color=GREY)
    ax.set_xlabel("Epochs")
    ax.set_ylabel("Negative log likelihood (nats)")
    if title:
        set_title(ax, title)
    finish(ax)
    ax.legend(
        list(entries.values()),
        list(entries),
        frameon=False,
        fontsize=TEXT_PT - 0.5,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.18),
        ncols=3,
    )
    return ax


def plot_level_shares(
    scores: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw which level wins in triplets where both disagree.

    Parameters
    ----------
    scores : DataFrame
        Of `tasks.level_triplets.run_level_triplets`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Share of choices of the picture that is more alike in the high layer, with
        95 % intervals; open marks have random weights.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    columns = ["subject", "metric", "condition", "value", "ci_low", "ci_high"]
    check_columns("scores", scores.columns, [*columns, "kind", "untrained"])
    chosen = (scores["metric"] == "choice_high") & (scores["condition"] == "conflict")
    rows = scores[chosen & scores["value"].notna()]
    marks = rows["untrained"] & ~rows["subject"].str.contains("untrained")
    labels = [
        str(name) + (" (untrained)" if mark else "")
        for name, mark in zip(rows["subject"], marks, strict=True)
    ]
    ax = new_axes(ax, (6.6, 1.4 + 0.3 * len(rows)))
    ax.axvline(0.5, color=GREY, lw=1, ls=(0, (4, 2.2)))
    _dots(ax, rows, labels)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("Conflict triplets: share that follows the high layer")
    if title:
        set_title(ax, title)
    return ax


def plot_level_plane(
    triplets: pd.DataFrame, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the triplets that were found by their two differences.

    Parameters
    ----------
    triplets : DataFrame
        Of `analysis.level_triplets.find_level_triplets`.
    title : str, optional
        Text above.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
        Difference in the low layer against that in the high layer.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    check_columns("triplets", triplets.columns, ["d_high", "d_low", "conflict"])
    ax = new_axes(ax, (4.6, 3.9))
    entries = {}
    conflict = triplets["conflict"].to_numpy(bool)
    for number, (label, mine) in enumerate(
        {"conflict": conflict, "congruent": ~conflict}.items()
    ):
        entries[f"{label} (n={int(mine.sum())})"] = ax.scatter(
            triplets["d_high"][mine],
            triplets["d_low"][mine],
            s=24,
            marker="os"[number],
            facecolor="white" if number else PALETTE[1],
            edgecolor=PALETTE[1 - number],
        )
    ax.axhline(0, color=GREY, lw=1)
    ax.set_xlabel("High layer: j more alike than i (r)")
    ax.set_ylabel("Low layer: j more alike than i (r)")
    if title:
        set_title(ax, title)
    finish(ax, grid="both")
    legend_below(ax, entries, columns=2)
    return ax


def _dots(ax: Axes, rows: pd.DataFrame, labels: list[str]) -> None:
    bars = interval_bars(rows)
    for place, row in enumerate(rows.to_dict("records")):
        colour = _COLOURS.get(str(row["kind"]), GREY)
        ax.errorbar(
            row["value"],
            place,
            xerr=None if bars is None else bars[:, [place]],
            fmt=_MARKERS.get(str(row["kind"]), "o"),
            color=colour,
            mfc="white" if row["untrained"] else colour,
            ms=6,
            lw=1.6,
        )
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.set_ylim(len(labels) - 0.4, -1.1)
    finish(ax, grid="x")
    ax.tick_params(axis="y", length=0)
