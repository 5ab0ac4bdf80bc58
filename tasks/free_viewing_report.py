"""The report of a free-viewing run: maps, measures, ceilings, provenance."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.fixation_density import fixation_density
from analysis.free_viewing import CALIBRATED
from analysis.map_calibration import N_BINS
from analysis.plot_style import number_text
from analysis.plots_gaze import (
    plot_curves,
    plot_density,
    plot_scanpaths,
    plot_scores,
)
from analysis.report import ReportFigure, ReportTable, Section, write_report
from neurovis.adapters.saliency_maps import MAP_MODELS, MapModel
from neurovis.core.files import check_writable_folder, read_table
from neurovis.core.types import HUMAN_MODEL
from tasks.free_viewing import TASK, ViewedPictures, load_viewed_pictures
from tasks.report_parts import (
    NamedFigure,
    axes_grid,
    figure_of,
    save_figures,
    score_table,
)
from tasks.runs import Run, load_run

# Pictures drawn with maps, pictures drawn at each end of the best model, and models.
N_EXAMPLES = 3
N_EXTREMES = 3
N_MAPS = 2
_QUESTION = """\
People look at pictures freely. Which maps, made from the picture alone, say where \
they look? Each measure asks it in another way: the value of the map at fixations \
(NSS), whether fixations rank above other places (AUC) or above places that were \
fixated in other pictures (shuffled AUC, which gives no credit for the centre), \
likeness to the density of all fixations (CC, SIM, KL), and how many bits per fixation \
the map says beyond where people look in any picture (information gain).

A map of saliency is no density. For the calibrated information gain each of 32 ranks \
of a map got a weight on the centre bias. Weights and centre bias were fitted on the \
pictures of other folds. The ceiling is people: each observer predicted from all \
others, and for CC, SIM and KL one half of the observers from the other half, whose \
densities are rougher than that of all."""
_SOURCES = """\
OSIE: Xu, Jiang, Wang, Kankanhalli & Zhao (2014), J. Vis. 14(1):28. Saliency is of the \
kind of Itti, Koch & Niebur (1998); spectral residual: Hou & Zhang (2007). NSS: Peters \
et al. (2005). Shuffled AUC: Tatler, Baddeley & Gilchrist (2005), exact, against the \
fixations on all other pictures. Information gain: Kümmerer, Wallis & Bethge (2015)."""
_FIXATIONS = {
    "nss": ("NSS (sd)", 3),
    "auc": ("AUC", 3),
    "sauc": ("Shuffled AUC", 3),
    CALIBRATED: ("Information gain (bits)", 3),
    "information_gain": ("Gain, not calibrated (bits)", 3),
}
_DENSITIES = {
    "cc": ("CC", 3),
    "sim": ("SIM", 3),
    "kl": ("KL (nats; less is better)", 3),
    "auc_judd": ("AUC-Judd", 3),
    "auc_borji": ("AUC-Borji", 3),
}
_BARS = ("nss", "auc", "sauc", CALIBRATED, "cc", "sim", "kl")


def write_free_viewing_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run (see `tasks.free_viewing.run_free_viewing`).

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
    call = run.provenance.call
    options = {name: call[name] for name in ("images", "sigma_px", "seed")}
    pictures = load_viewed_pictures(call["data"], **options)
    models = _best_models(run)
    bars = [_bar_figure(run, metric) for metric in _BARS]
    weights = _weight_figure(run)
    bias = _bias_figure(pictures)
    examples = _example_figure(pictures, models)
    extremes = _extreme_figures(run, pictures, models[:1])
    save_figures(run.folder, [examples, bias, weights, *bars, *extremes])
    n_people = len(np.unique(pictures.viewing.observer))
    n_fixations = int(pictures.viewing.human.n_fixations[pictures.rows].sum())
    return write_report(
        run.folder / "report.html",
        title="Free viewing (OSIE): maps and people",
        summary=(
            f"{len(call['models'])} models, {len(pictures)} pictures, {n_people} "
            f"observers, {n_fixations} fixations; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=[
            Section("The question", _QUESTION),
            Section("Pictures and maps", figures=[examples[1], bias[1]]),
            Section(
                "Scores of fixations",
                figures=[item for _, item in bars[:4]],
                tables=[_table(run, _FIXATIONS)],
            ),
            Section(
                "Likeness of densities",
                figures=[item for _, item in bars[4:]],
                tables=[_table(run, _DENSITIES)],
            ),
            Section(
                "Calibration",
                "How much more likely than under the centre bias a pixel is looked at, "
                "by its rank in the map.",
                figures=[weights[1]],
            ),
            *(
                [Section("Best and worst pictures", figures=[i for _, i in extremes])]
                if extremes
                else []
            ),
            Section("Sources", _SOURCES),
        ],
        provenance=run.provenance.to_dict(),
    )


def finish_free_viewing(folder: str | Path) -> list[str]:
    """Write the report of a run and tell the main figures in words.

    Parameters
    ----------
    folder : str or Path
        Folder of a finished run.

    Returns
    -------
    list of str
        Measures of each model, of people and of chance; path of the report.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run, or its pictures are gone.
    """
    report = write_free_viewing_report(folder)
    run = load_run(folder, TASK)
    wide = run.scores.pivot_table(
        index="model", columns="metric", values="value", sort=False
    )
    columns = {
        "nss": "NSS",
        "auc": "AUC",
        "sauc": "sAUC",
        "cc": "CC",
        "sim": "SIM",
        "kl": "KL",
        CALIBRATED: "IG bits",
    }
    there = [c for c in columns if c in wide.columns]
    lines = [f"{'':<24}" + "".join(f"{columns[c]:>9}" for c in there)]
    for model, row in wide.iterrows():
        values = "".join(f"{number_text(row[c], 3):>9}" for c in there)
        lines.append(f"  {_label(run, str(model)):<22}{values}")
    return [*lines, f"report {report}"]


def _label(run: Run, model: str) -> str:
    return "people" if model == HUMAN_MODEL else run.mark(model)


def _best_models(run: Run) -> list[MapModel]:
    """Models that can be built again by name, best calibrated gain first."""
    rows = run.scores[run.scores["metric"] == CALIBRATED]
    gain = rows.set_index("model")["value"]
    known = [
        MapModel(record["identity"]["observer"], record["name"])
        for record in run.provenance.call["models"]
        if set(record["identity"]) == {"observer"}
        and record["identity"]["observer"] in MAP_MODELS
    ]
    varied = [m for m in known if m.kind != "chance"]
    order = sorted(varied, key=lambda m: -np.nan_to_num(gain[m.name], nan=-np.inf))
    return order[:N_MAPS]


def _table(run: Run, metrics: dict[str, tuple[str, int]]) -> ReportTable:
    return score_table(
        run,
        metrics,
        caption="Means over pictures with 95 % intervals over pictures. People are "
        "the ceiling.",
    )


def _bar_figure(run: Run, metric: str) -> NamedFigure:
    label = (_FIXATIONS | _DENSITIES)[metric][0]
    halves = metric in ("cc", "sim", "kl")
    names = run.scores["model"].unique()
    axes = plot_scores(
        run.scores,
        metric=metric,
        label=label,
        labels={name: _label(run, name) for name in names},
        ceiling_text="people, half by half" if halves else "people, leave one out",
    )
    item = ReportFigure(
        figure_of(axes),
        alt=f"{label} of models, centre bias, people and chance",
        caption=f"{label}; bars are 95 % intervals over pictures.",
    )
    return metric, item


def _weight_figure(run: Run) -> NamedFigure:
    """Weights of the ranks of each map; bands are the range over folds."""
    table = read_table(run.folder / "calibration.parquet")
    folds = table.groupby(["model", "bin"], sort=False)["weight"]
    curves = pd.DataFrame(
        {"value": folds.mean(), "ci_low": folds.min(), "ci_high": folds.max()}
    ).reset_index()
    curves["rank"] = (curves["bin"] + 0.5) / N_BINS
    axes = plot_curves(
        curves,
        x="rank",
        xlabel="Rank of the pixel in the map",
        ylabel="Times the centre bias",
        labels={name: _label(run, name) for name in curves["model"].unique()},
        steps=True,
    )
    axes.set_ylim(bottom=0)
    item = ReportFigure(
        figure_of(axes),
        alt="Weight of each rank of the maps after calibration",
        caption=f"Weights of {N_BINS} ranks; bands are the range over folds.",
    )
    return "calibration", item


def _bias_figure(pictures: ViewedPictures) -> NamedFigure:
    axes = plot_density(pictures.viewing.centre_bias[0], title="Centre bias")
    item = ReportFigure(
        figure_of(axes),
        alt="Density of fixations over all pictures but those of the first fold",
        caption="Centre bias of the first fold: the density of all fixations on the "
        "pictures of the other folds.",
        image_format="png",
    )
    return "centre_bias", item


def _example_figure(pictures: ViewedPictures, models: list[MapModel]) -> NamedFigure:
    shown = np.arange(min(N_EXAMPLES, len(pictures))) * len(pictures)
    indices = (shown // min(N_EXAMPLES, len(pictures))).tolist()
    n_columns = 2 + len(models)
    grid = axes_grid(len(indices) * n_columns, n_columns, (2.3, 1.95))
    for place, index in enumerate(indices):
        own = grid[place * n_columns : (place + 1) * n_columns]
        image = pictures.load(index)
        _draw_fixations(pictures, index, image, own[0])
        pixels = pictures.viewing.human.select([int(pictures.rows[index])])
        density = fixation_density(pixels, pictures.viewing.sigma_px)[0]
        plot_density(density, picture=image, title="people", ax=own[1])
        for axes, model in zip(own[2:], models, strict=True):
            saliency = model.saliency(image)
            plot_density(saliency, picture=image, title=model.name, ax=axes)
    names = ", ".join(model.name for model in models)
    item = ReportFigure(
        figure_of(grid[0]),
        alt=f"{len(indices)} pictures with fixations, their density and maps: {names}",
        caption="Pictures spread over the set with the fixations of all observers, "
        f"the density of these, and maps of the best models ({names}).",
        wide=True,
        image_format="png",
    )
    return "examples", item


def _draw_fixations(
    pictures: ViewedPictures, index: int, image: NDArray[np.uint8], axes: Axes
) -> None:
    height, width = image.shape[:2]
    plot_scanpaths(
        image,
        {},
        width_px=width,
        height_px=height,
        title=pictures.names[index],
        ax=axes,
    )
    x, y = _positions(pictures, index)
    axes.scatter(x, y, s=9, c="#56B4E9", ec="white", lw=0.4, zorder=3)


def _positions(pictures: ViewedPictures, index: int) -> tuple[Any, Any]:
    """Centres of the fixated pixels of one picture."""
    pixels = pictures.viewing.human.select([int(pictures.rows[index])])
    return pixels.column + 0.5, pixels.row + 0.5


def _extreme_figures(
    run: Run, pictures: ViewedPictures, models: list[MapModel]
) -> list[NamedFigure]:
    """Pictures that the best model predicts best, and worst."""
    if not models:
        return []
    model = models[0]
    by_model = run.trials.set_index(["model", "stimulus_id"])[CALIBRATED]
    gains, people = by_model[model.name], by_model[HUMAN_MODEL]
    order = gains.dropna().sort_values(kind="stable").index
    n = min(N_EXTREMES, len(order) // 2)
    figures = []
    for name, chosen in (("best", order[::-1][:n]), ("worst", order[:n])):
        if not n:
            continue
        grid = axes_grid(2 * n, n, (2.8, 2.35))
        for column, picture in enumerate(chosen):
            index = pictures.names.index(picture)
            image = pictures.load(index)
            _draw_fixations(pictures, index, image, grid[column])
            own, theirs = (number_text(g[picture], 2) for g in (gains, people))
            title = f"{own} bits (people {theirs})"
            saliency = model.saliency(image)
            plot_density(saliency, picture=image, title=title, ax=grid[n + column])
        item = ReportFigure(
            figure_of(grid[0]),
            alt=f"{n} pictures that {model.name} predicts {name}, with its maps",
            caption=f"Pictures of the {'largest' if name == 'best' else 'smallest'} "
            f"calibrated information gain of {model.name}: fixations, and its maps.",
            wide=True,
            image_format="png",
        )
        figures.append((f"{name}_pictures", item))
    return figures
