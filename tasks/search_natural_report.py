"""The report of a natural-search run: curves, saccades, scanpaths, provenance."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_density import fixation_density
from analysis.plots_gaze import (
    colours_of,
    plot_curves,
    plot_density,
    plot_scanpaths,
    plot_scores,
)
from analysis.report import ReportFigure, Section, write_report
from analysis.scene_search import saccade_histograms, saccade_sizes
from neurovis.core.files import check_writable_folder
from neurovis.core.types import HUMAN_MODEL
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    score_table,
)
from tasks.runs import Run, load_run
from tasks.search_natural import TASK, spread_rows
from tasks.search_scenes import Scenes, load_scenes

# Scenes of which scanpaths are drawn.
N_SHOWN = 6
_QUESTION = """\
People look for a small object in a picture. How many saccades does it take, how large \
are they, where do they go? Each model looked for the same targets in the same \
pictures, from the same starting point.

Trials of people were stopped after a number of saccades that was set beforehand: the \
share found by each saccade is the Kaplan-Meier estimate. Scanpaths of a model are \
compared with every human scanpath on the same display, without the first fixation, \
which was given, and cut to what the trial allowed. People are compared with each \
other, never with themselves. Chance is a person on another picture, or points \
anywhere."""
_SOURCES = """\
Interiors: Bujia, Sclar, Vita, Solovey & Kamienkowski (2022), Front. Syst. Neurosci. \
16:882315. ObjArr, Waldo, NaturalDesign: Zhang et al. (2018), Nat. Commun. 9:3730; \
Gupta et al. (2021), NeurIPS. ScanMatch: Cristino et al. (2010), 12 x 8 cells, \
threshold 3.5, no durations. MultiMatch: Dewhurst et al. (2012), without \
simplification. The saliency observer is of the kind of Itti, Koch & Niebur (1998)."""
_EFFICIENCY = {
    "found_rate": ("Found", 3),
    "found_auc": ("Mean of the curve", 3),
    "found_mismatch": ("Mismatch with people", 3),
    "difficulty_spearman_r": ("Difficulty: rank r", 2),
}
_SACCADES = {
    "saccade_mean_deg": ("Mean (deg)", 2),
    "saccade_median_deg": ("Median (deg)", 2),
    "saccade_wasserstein_deg": ("Wasserstein to people (deg)", 2),
    "saccade_ks": ("Kolmogorov-Smirnov", 3),
}
_SCANPATHS = {
    "scanmatch": ("ScanMatch", 3),
    "sequence_score": ("Sequence score", 3),
    "edit_distance_normalised": ("Edit distance (normalised; less is better)", 3),
    "multimatch_mean": ("MultiMatch, mean of shape", 3),
    "multimatch_direction": ("MultiMatch direction", 3),
    "multimatch_position": ("MultiMatch position", 3),
    "stde": ("STDE", 3),
    "dtw_px": ("DTW (px; less is better)", 0),
}


def write_natural_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.search_natural.run_search_natural`).

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its pictures are gone.
    """
    run = load_run(folder, TASK)
    check_writable_folder(run.folder)
    scenes = _scenes_of(run)
    curves = [_curve_figure(run), _size_figure(run, scenes)]
    pictures = [_scanpath_figure(run, scenes)]
    if scenes.people is not None:
        pictures.append(_density_figure(run, scenes))
    bars = [
        _bar_figure(run, metric, _SCANPATHS[metric][0])
        for metric in ("scanmatch", "multimatch_mean")
        if (run.scores["metric"] == metric).any()
    ]
    save_figures(run.folder, [*curves, *pictures, *bars])
    n_models = run.trials.loc[run.trials["model"] != HUMAN_MODEL, "model"].nunique()
    people = run.trials[run.trials["model"] == HUMAN_MODEL]
    return write_report(
        run.folder / "report.html",
        title=f"Natural search ({scenes.name}): models and people",
        summary=(
            f"{n_models} models, {len(scenes)} displays, {len(people)} trials of "
            f"{people['subject'].nunique()} people; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[
            Section("The question", _QUESTION),
            Section(
                "Finding the target",
                figures=[curves[0][1]],
                tables=[
                    score_table(
                        run,
                        _EFFICIENCY,
                        caption="Efficiency, with 95 % intervals over displays.",
                        ceiling=True,
                    )
                ],
            ),
            Section(
                "Saccades",
                figures=[curves[1][1]],
                tables=[
                    score_table(
                        run,
                        _SACCADES,
                        caption="Amplitudes, with 95 % intervals over displays.",
                        ceiling=True,
                    )
                ],
            ),
            Section(
                "Scanpaths",
                "One person and the models on displays spread over the set; the green "
                "box is the target, fixation 0 was given. MultiMatch favours smooth "
                "paths of any kind: read it beside ScanMatch.",
                figures=[*(item for _, item in pictures), *(i for _, i in bars)],
                tables=[
                    score_table(
                        run,
                        _SCANPATHS,
                        caption="Similarity to people, with 95 % intervals over "
                        "displays.",
                        ceiling=True,
                    )
                ],
            ),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_natural_run(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Share found, saccade size and ScanMatch of each observer; path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    """
    report = write_natural_report(folder)
    run = load_run(folder, TASK)
    wide = run.scores[run.scores["condition"].isna()].pivot_table(
        index="model", columns="metric", values="value", sort=False
    )
    columns = {
        "found_rate": "found",
        "saccade_mean_deg": "saccade deg",
        "scanmatch": "ScanMatch",
        "multimatch_mean": "MultiMatch",
    }
    there = [c for c in columns if c in wide.columns]
    lines = [f"{'':<30}" + "".join(f"{columns[c]:>13}" for c in there)]
    for model, row in wide.iterrows():
        values = "".join(
            f"{'-' if pd.isna(row[c]) else format(row[c], '.3f'):>13}" for c in there
        )
        lines.append(f"  {run.mark(str(model)):<28}{values}")
    return [*lines, f"report {report}"]


def _scenes_of(run: Run) -> Scenes:
    """Read the scenes of a run again, from its recorded call."""
    call = run.provenance.call
    scenes = load_scenes(
        call["data"],
        layout=call["layout"],
        dataset=call["dataset"],
        max_saccades=call["max_saccades"],
        px_per_deg=call["px_per_deg"],
    )
    if call["displays"] is not None:
        scenes = scenes.select(spread_rows(len(scenes), call["displays"]))
    return scenes


def _labels(run: Run) -> dict[str, str]:
    names = run.scores["model"].unique()
    return {n: "people" if n == HUMAN_MODEL else run.mark(n) for n in names}


def _curve_figure(run: Run) -> NamedFigure:
    rows = run.scores[run.scores["metric"] == "found_by_saccade"]
    axes = plot_curves(
        rows.assign(saccade=rows["condition"].astype(int)),
        x="saccade",
        xlabel="Saccades",
        ylabel="Share of targets found",
        labels=_labels(run),
    )
    axes.set_ylim(0, 1)
    item = ReportFigure(
        figure_of(axes),
        alt="Share of targets found by each saccade, models and people",
        caption="Cumulative performance; bands are 95 % intervals over displays.",
    )
    return "found_by_saccade", item


def _size_figure(run: Run, scenes: Scenes) -> NamedFigure:
    sizes = saccade_sizes(run.fixations, scenes.px_per_deg)
    axes = plot_curves(
        saccade_histograms(sizes, width_deg=1.0, seed=run.provenance.seed or 0),
        x="amplitude_deg",
        xlabel="Saccade amplitude (deg)",
        ylabel="Share of saccades",
        labels=_labels(run),
        steps=True,
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Distribution of saccade amplitudes, models and people",
        caption="Saccade amplitudes in bins of 1 deg; bands are 95 % intervals over "
        "displays.",
    )
    return "saccade_sizes", item


def _box(scenes: Scenes, display: str) -> NDArray[np.float64] | None:
    if scenes.people is None:
        return None
    row = scenes.people.stimuli.set_index("stimulus_id").loc[display]
    names = [f"target_{e}_px" for e in ("left", "top", "right", "bottom")]
    box = row[names].to_numpy(np.float64)
    return None if np.isnan(box).any() else box


def _scanpath_figure(run: Run, scenes: Scenes) -> NamedFigure:
    rows = spread_rows(len(scenes), min(N_SHOWN, len(scenes)))
    models = [n for n in run.fixations["model"].unique() if n != HUMAN_MODEL][:2]
    shown = [HUMAN_MODEL, *models]
    colours = colours_of(shown)
    grid = axes_grid(len(rows), 3, (4.2, 3.5))
    for axes, row in zip(grid, rows, strict=True):
        display = str(scenes.displays["stimulus_id"].iloc[row])
        here = run.fixations[run.fixations["stimulus_id"] == display]
        picture = scenes.make(row).image
        size = (picture.shape[1] * scenes.scale[0], picture.shape[0] * scenes.scale[1])
        paths = {}
        for name in shown:
            own = here[here["model"] == name]
            if len(own):
                first = own["subject"].iloc[0]
                paths[name] = own[own["subject"] == first].sort_values("fixation")
        plot_scanpaths(
            picture,
            paths,
            width_px=size[0],
            height_px=size[1],
            target_box=_box(scenes, display),
            colours=colours,
            title=display,
            ax=axes,
        )
    names = ", ".join(
        f"{'a person' if n == HUMAN_MODEL else run.mark(n)} {word}"
        for n, word in zip(shown, ("black", "blue", "orange"), strict=False)
    )
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"Scanpaths over {len(rows)} scenes: {names}",
        caption=f"Scanpaths: {names}.",
        wide=True,
        image_format="png",
    )
    return "scanpaths", item


def _density_figure(run: Run, scenes: Scenes) -> NamedFigure:
    """Where people looked, on the first of the shown displays."""
    rows = spread_rows(len(scenes), min(3, len(scenes)))
    grid = axes_grid(len(rows), 3, (4.2, 3.5))
    for axes, row in zip(grid, rows, strict=True):
        display = str(scenes.displays["stimulus_id"].iloc[row])
        here = run.fixations[run.fixations["stimulus_id"] == display]
        own = here[(here["model"] == HUMAN_MODEL) & (here["fixation"] > 0)]
        picture = scenes.make(row).image
        height = round(picture.shape[0] * scenes.scale[1])
        width = round(picture.shape[1] * scenes.scale[0])
        x, y = own["x_px"].to_numpy(), own["y_px"].to_numpy()
        sigma_px = scenes.px_per_deg  # one degree
        pixels = fixated_pixels(x, y, (height, width))
        density = fixation_density(pixels, sigma_px)[0]
        plot_density(density, picture=picture, x_px=x, y_px=y, title=display, ax=axes)
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"Density of human fixations over {len(rows)} scenes",
        caption="Fixations of all people but the given ones, and their density.",
        wide=True,
        image_format="png",
    )
    return "fixation_density", item


def _bar_figure(run: Run, metric: str, label: str) -> NamedFigure:
    axes = plot_scores(run.scores, metric=metric, label=label, labels=_labels(run))
    item = ReportFigure(
        figure_of(axes),
        alt=f"{label} of models, people and chance",
        caption=f"{label}; bars are 95 % intervals over displays.",
    )
    return metric, item
