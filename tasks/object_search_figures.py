"""The figures of an object-search run: curves, scores, folds, training, displays."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.plot_style import GREY, finish, interval_bars, legend_below, new_axes
from analysis.plots_gaze import colours_of, plot_curves, plot_scores
from analysis.plots_objects import plot_attention_steps, plot_object_scanpaths
from analysis.plots_training import plot_learning_curves
from analysis.report import ReportFigure
from neurovis.core.object_scanpaths import KNOWLEDGE
from neurovis.core.types import HUMAN_MODEL
from tasks.object_search_scores import LEAVE_ONE_OUT, LEAVE_ONE_OUT_RAW
from tasks.object_search_tables import SHOWN, TOLD, ObjectRun
from tasks.report_parts import NamedFigure, axes_grid, figure_of

MEASURES = {
    "SS": "Sequence score",
    "ScanMatch": "ScanMatch",
    "nats_per_token": "Nats per token (less is better)",
}
"""Measures that have figures, as they stand on axes."""
NATS_TO_BEAT = ("displacement_tokens", "displacement_jump_tokens")
N_DISPLAYS, N_PEOPLE, N_MODELS = 3, 2, 4
_N_ATTENTIVE, _N_ATTENDED = 2, 2
_STEPS_SHOWN = 3
# Vivid covers would hide scanpaths: share of white over them.
_PALE = 0.6


def curve_figures(made: ObjectRun) -> list[NamedFigure]:
    """Draw target fixation probability, one figure for each kind of knowledge.

    Parameters
    ----------
    made : ObjectRun
        A run.

    Returns
    -------
    list of tuple of str and ReportFigure
        Those of whom models are compared with are in all.
    """
    curves = made.table("curves.parquet")
    figures = []
    for knows in KNOWLEDGE:
        names = made.models.loc[made.models["knows"] == knows, "baseline"]
        part = curves[curves["model"].isin(names)]
        if part.empty:
            continue
        axes = plot_curves(
            pd.concat([part, curves[curves["model"] == HUMAN_MODEL]]),
            x="n",
            xlabel="Fixation",
            ylabel="Target fixated by then",
            labels={name: made.label(name) for name in (HUMAN_MODEL, *names)},
            title=f"Told {TOLD[knows]}",
        )
        axes.set_ylim(0, 1.02)
        item = ReportFigure(
            figure_of(axes),
            alt=f"Target fixation probability of models told {TOLD[knows]}",
            caption=f"Models that are told {TOLD[knows]}, and {made.who}. Bands are "
            "95\u00a0% intervals over displays.",
        )
        figures.append((f"curves_{knows}", item))
    return figures


def score_figures(made: ObjectRun) -> list[NamedFigure]:
    """Draw the measures of `MEASURES`, models in their order.

    Parameters
    ----------
    made : ObjectRun
        A run.

    Returns
    -------
    list of tuple of str and ReportFigure
        Those that some model has.
    """
    figures = []
    for metric, short, rows in _measured(made):
        axes = plot_scores(
            rows,
            metric=metric,
            label=MEASURES[metric],
            labels={name: made.label(name) for name in rows["model"]},
            ceiling_text=f"{made.who}, leave one out",
        )
        if metric == "nats_per_token":
            axes.invert_yaxis()  # the best on top, as for the others
        alone = metric in ("SS", "ScanMatch")
        compared = "are compared with each other" if alone else "give no probabilities"
        item = ReportFigure(
            figure_of(axes),
            alt=f"{short} of models" + (f" and {made.who}" if alone else ""),
            caption=f"{short}, with 95\u00a0% intervals over displays; the best is on "
            f"top. {made.who.capitalize()} {compared}.",
        )
        figures.append((f"bars_{metric}", item))
    return figures


def fold_figures(made: ObjectRun, folds: pd.DataFrame) -> list[NamedFigure]:
    """Draw one dot per fold and model, and the mean over all with its interval.

    Parameters
    ----------
    made : ObjectRun
        A run.
    folds : DataFrame
        ``folds.csv``.

    Returns
    -------
    list of tuple of str and ReportFigure
        One per measure of `MEASURES` that some model has; none where there is one
        fold.
    """
    figures: list[NamedFigure] = []
    if len(set(folds["split"])) < 2:
        return figures
    for metric, short, rows in _measured(made):
        colours = colours_of(list(rows["model"]))  # those of `score_figures`
        if made.own:
            few = (HUMAN_MODEL, *made.own, *SHOWN, *NATS_TO_BEAT)
            rows = rows[rows["model"].isin(few)]
        up = metric != "nats_per_token"
        rows = rows.sort_values("value", ascending=up, kind="stable")
        ax = new_axes(None, (4.6, 1.4 + 0.32 * len(rows)))
        names = list(rows["model"])
        bars = interval_bars(rows)
        for place, model in enumerate(names):
            key = LEAVE_ONE_OUT if model == HUMAN_MODEL else model
            own = folds[(folds["model"] == key) & (folds["metric"] == metric)]
            ax.plot(
                own["value"],
                np.full(len(own), place - 0.22),
                "o",
                color=colours[model],
                ms=4,
                mew=0,
                alpha=0.45,
            )
            ax.errorbar(
                rows["value"].iloc[place],
                place + 0.12,
                xerr=None if bars is None else bars[:, place : place + 1],
                fmt="D",
                color=colours[model],
                ms=5,
                elinewidth=1.5,
            )
        labels = [made.label(model) for model in names]
        ax.set_yticks(range(len(rows)), labels, parse_math=False)
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.set_xlabel(MEASURES[metric])
        finish(ax, grid="x")
        entries = {
            "one fold": Line2D([], [], color=GREY, marker="o", ms=4, ls="", alpha=0.6),
            "all trials": Line2D([], [], color=GREY, marker="D", ms=5),
        }
        legend_below(ax, entries, columns=2)
        item = ReportFigure(
            figure_of(ax),
            alt=f"{short} of each fold and model",
            caption=f"{short}: one dot per fold; the diamond is the mean over all "
            "trials with its 95\u00a0% interval over displays. The best on top.",
        )
        figures.append((f"folds_{metric}", item))
    return figures


def _measured(made: ObjectRun) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Measures that some model has: key, name in words, and rows with people."""
    scores = made.run.scores
    scores = scores[(scores["model"] != LEAVE_ONE_OUT_RAW) & scores["value"].notna()]
    for metric, name in MEASURES.items():
        rows = scores[scores["metric"] == metric]
        if len(rows):
            people = {"model": {LEAVE_ONE_OUT: HUMAN_MODEL}}
            yield metric, name.split(" (")[0], rows.replace(people)


def learning_figures(made: ObjectRun) -> list[NamedFigure]:
    """Draw how the networks were trained.

    Parameters
    ----------
    made : ObjectRun
        A run.

    Returns
    -------
    list of tuple of str and ReportFigure
        One figure, or none where nothing was trained.
    """
    curves = made.table("learning.csv")
    if curves.empty or "val_nats" not in curves:
        return []
    nats = made.models.set_index("baseline")["nats_per_token"].dropna()
    beaten = {name: float(nats[name]) for name in NATS_TO_BEAT if name in nats}
    axes = plot_learning_curves(curves, groups="model", baselines=beaten)
    lines = " Broken lines: simple models of tokens on the test sets." if beaten else ""
    item = ReportFigure(
        figure_of(axes),
        alt="Training loss and nats of the validation by epoch",
        caption="Nats per token by epoch, one line per fold. Dropout makes the "
        "training loss larger than that of the same weights in use." + lines,
    )
    return [("learning", item)]


def attention_figures(made: ObjectRun) -> list[NamedFigure]:
    """Draw what networks attend to and expect along scanpaths.

    Parameters
    ----------
    made : ObjectRun
        A run.

    Returns
    -------
    list of tuple of str and ReportFigure
        At most two displays for each of two networks; none where none has attention.
    """
    seen = made.table("attention.parquet")
    figures = []
    unseen = "" if made.leaks else ", which it had not learnt from"
    paths = {(t.subject, t.display.stimulus_id): t.cells for t in made.data.trials}
    for m, model in enumerate(_first(seen["model"], _N_ATTENTIVE)):
        part = seen[seen["model"] == model]
        for d, stimulus in enumerate(_first(part["stimulus_id"], _N_ATTENDED)):
            rows = part[part["stimulus_id"] == stimulus]
            rows = rows.sort_values(["token", "cell"])
            subject = str(rows["subject"].iloc[0])
            cells = paths[subject, stimulus]
            attention, probability = (
                rows[value].to_numpy(float).reshape(len(cells) + 1, -1)
                for value in ("attention", "probability")
            )
            steps = np.linspace(0, len(cells), _STEPS_SHOWN).round()
            picture = made.picture(stimulus)
            axes = plot_attention_steps(
                made.displays[stimulus],
                attention,
                probability,
                cells,
                steps=[int(step) for step in steps],
                picture=picture,
            )
            item = ReportFigure(
                figure_of(axes[0]),
                alt=f"Attention and predictions of {model} on {stimulus}",
                caption=f"{model} on {stimulus}, along the scanpath of {made.one} "
                f"{subject}{unseen}. Above: attention of the "
                "last layer of the decoder, mean over its heads; below: probability "
                "of the next fixation. Attention is no proof of what the network uses.",
                wide=True,
                image_format="svg" if picture is None else "png",
            )
            figures.append((f"attention_{m + 1}_{d + 1}", item))
    return figures


def _first(values: pd.Series, n: int) -> list[str]:
    return list(dict.fromkeys(values))[:n]


def scanpath_figures(made: ObjectRun) -> list[NamedFigure]:
    """Draw scanpaths of a few observers and models, one figure per display.

    Parameters
    ----------
    made : ObjectRun
        A run.

    Returns
    -------
    list of tuple of str and ReportFigure
        Displays spread over those that models were tested on.
    """
    paths = made.run.fixations
    names = shown_models(made)
    tested = sorted(set(paths.loc[paths["model"] != HUMAN_MODEL, "stimulus_id"]))
    places = np.linspace(0, len(tested) - 1, min(N_DISPLAYS, len(tested))).round()
    figures = []
    for number, stimulus in enumerate(tested[int(place)] for place in places):
        here = paths[paths["stimulus_id"] == stimulus]
        picture = made.picture(stimulus)
        if picture is not None:
            picture = (255 * _PALE + (1 - _PALE) * picture).astype(np.uint8)
        shown = _first_paths(here, names, made.one)
        grid = axes_grid(len(shown), min(3, len(shown)), (3.9, 2.95))
        colours = colours_of([HUMAN_MODEL, *names])
        for axes, (label, model, cells) in zip(grid, shown, strict=True):
            plot_object_scanpaths(
                made.displays[stimulus],
                {label: cells},
                picture=picture,
                colours={label: colours[model]},
                title=f"{label} ({len(cells)})",
                ax=axes,
            )
        item = ReportFigure(
            figure_of(grid[0]),
            alt=f"Scanpaths on {stimulus}: {', '.join(label for label, *_ in shown)}",
            caption=f"Display {stimulus}. In brackets, the number of fixations.",
            wide=True,
            image_format="svg" if picture is None else "png",
        )
        figures.append((f"scanpaths_{number + 1}", item))
    return figures


def shown_models(made: ObjectRun) -> list[str]:
    """Choose models whose scanpaths are drawn.

    Parameters
    ----------
    made : ObjectRun
        A run.

    Returns
    -------
    list of str
        At most four that made scanpaths: those that are no baselines, then the
        heuristics of `SHOWN`, then others.
    """
    there = set(made.run.fixations["model"])
    order = [*made.own, *SHOWN, *made.models["baseline"]]
    return [name for name in dict.fromkeys(order) if name in there][:N_MODELS]


def _first_paths(
    here: pd.DataFrame, names: Sequence[str], one: str
) -> list[tuple[str, str, NDArray[np.int64]]]:
    """Label, model and objects of some scanpaths on one display."""
    people = here[here["model"] == HUMAN_MODEL]
    rows = [
        (f"{one} {who}", HUMAN_MODEL, people[people["subject"] == who])
        for who in _first(people["subject"], N_PEOPLE)
    ]
    for name in names:
        part = here[here["model"] == name]
        if len(part):
            first = part.iloc[0]
            own = (part["trial"] == first["trial"]) & (part["split"] == first["split"])
            rows.append((name, name, part[own]))
    return [
        (label, model, part.sort_values("fixation")["cell"].to_numpy(np.int64))
        for label, model, part in rows
    ]
