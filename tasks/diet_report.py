"""The report of the diet experiment."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.plot_style import number_text
from analysis.plots_cue_conflict import plot_picture_grid
from analysis.plots_diet import plot_diet_means, plot_index_grid
from analysis.plots_training import plot_learning_curves
from analysis.report import ReportFigure, ReportTable, Section, write_report
from data_loaders.search_humans import load_published_asymmetry
from neurovis.core.files import check_writable_folder
from neurovis.core.pictures import read_image
from tasks.diet import DietRun, load_diet_run
from tasks.diet_measures import DEFINED_INDEX, MEAN_INDEX
from tasks.diet_scores import PUBLISHED_MODELS
from tasks.diet_verdicts import ALPHA, DIFFERENCES, UNTRAINED, conclusions
from tasks.report_parts import (
    NamedFigure,
    figure_of,
    p_text,
    save_figures,
    value_text,
)

_QUESTION = """\
People find some targets at once, and with target and distractors exchanged only \
slowly. Do such asymmetries come from the pictures that a visual system grew up with? \
Networks of one architecture were trained on the same pictures in several diets, and \
then searched the displays of the six experiments as eccNET, a model whose pooling \
grows with eccentricity.

Networks of one seed start from equal weights, and all search the same displays: \
differences between diets are paired by both. The asymmetry index of an experiment is \
positive when the harder condition is that of people, 1 at most; where no slope is \
above 0 it is undefined, and counts as 0 in the mean, as published."""
_SOURCES = """\
Experiments, people and published networks: Gupta, Zhang, Wu, Wolfe & Kreiman (2021), \
NeurIPS, arXiv:2106.02953. There, networks were VGG16 with labels: trained on ImageNet \
(natural, rotated) or 100 of its classes (lines, fisheye). Reaction times of people \
are means read from figures and regressions, so their index has no interval. Intervals \
from seeds crossed with trials: Schütt et al. (2023), eLife 12:e82566. Correction: \
Holm (1979), Scand. J. Stat. 6:65-70."""
_HOW = """\
Intervals are 95 %, over networks (seeds) and trials together. A difference is judged \
only if its interval leaves out 0 and its p value, corrected for the number of \
comparisons, is at most 0.05; otherwise it is undecided, which does not mean that \
there is none."""


def write_diet_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a finished run.

    Parameters
    ----------
    folder : str or Path
        What `tasks.diet.run_diet` wrote.

    Returns
    -------
    Path
        The report: one file that opens offline.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    run = load_diet_run(folder)
    check_writable_folder(run.folder)
    pictures, means, indices = _pictures(run), _means(run), _indices(run)
    training = _training(run)
    save_figures(run.folder, [*pictures, means, indices, training])
    call = run.provenance.call
    n = len(run.networks)
    sections = [
        Section("The question", _QUESTION),
        Section("The diets", figures=[item for _, item in pictures]),
        Section("What the data allow to say", "\n\n".join(conclusions(run.score))),
        Section(
            "Mean asymmetry",
            _HOW,
            figures=[means[1]],
            tables=[_mean_table(run), _difference_table(run)],
        ),
        Section(
            "Experiments",
            figures=[indices[1]],
            tables=[_experiment_table(run)],
        ),
        Section("Training", figures=[training[1]], tables=[_network_table(run)]),
        Section("Sources", _SOURCES),
    ]
    return write_report(
        run.folder / "report.html",
        title="Diets and search asymmetry",
        summary=(
            f"{len(run.diets)} diets, {call['n_seeds']} networks each ({n} trained "
            f"here); {_displays(run)}; seed {run.provenance.seed}."
        ),
        warnings=run.provenance.notes,
        sections=sections,
        provenance=run.provenance.to_dict(),
    )


def finish_diet(folder: str | Path) -> list[str]:
    """Write the report of a run and tell what the data allow to say.

    Parameters
    ----------
    folder : str or Path
        What `tasks.diet.run_diet` wrote.

    Returns
    -------
    list of str
        What limits the run, `tasks.diet_verdicts.conclusions`, and the path of the
        report.

    Raises
    ------
    FileNotFoundError, DataCorruptError
        If the folder holds no finished run, or a damaged one.
    """
    report = write_diet_report(folder)
    run = load_diet_run(folder)
    return [*run.provenance.notes, *conclusions(run.score), f"report {report}"]


def _displays(run: DietRun) -> str:
    own = run.trials[run.trials["subject"] == run.trials["subject"].iloc[0]]
    sizes = own.groupby(["condition", "set_size"]).size()
    least, most = int(sizes.min()), int(sizes.max())
    each = str(least) if least == most else f"{least} to {most}"
    n = own["experiment"].nunique()
    return f"{n} experiment{'s' if n > 1 else ''}, {each} displays per set size"


def _what(run: DietRun) -> str:
    """Return the words that keep a figure from being taken for more than it is."""
    n = int(run.networks["n_training"].iloc[0])
    kind = "synthetic pictures" if run.provenance.call["synthetic"] else "pictures"
    steps = run.provenance.call["recipe"]["settings"]["max_epochs"]
    steps *= run.provenance.call["recipe"]["steps_per_epoch"]
    return f"small networks: {n} {kind}, {steps} steps"


def _pictures(run: DietRun) -> list[NamedFigure]:
    paths = [run.folder / "examples" / f"{diet}.png" for diet in run.diets]
    if not all(path.is_file() for path in paths):
        return []
    figure = plot_picture_grid([[read_image(p) for p in paths]], columns=run.diets)
    item = ReportFigure(
        figure,
        alt=f"One picture in the diets {', '.join(run.diets)}",
        caption="One picture of the training as each diet shows it.",
        wide=True,
        image_format="png",
    )
    return [("diets", item)]


def _of(run: DietRun, metric: str, *levels: str) -> pd.DataFrame:
    table = run.score.table
    return table[(table["metric"] == metric) & table["level"].isin(levels)]


def _rows(run: DietRun) -> pd.DataFrame:
    """Return mean indices of diets, then of observers that are no networks."""
    rows = _of(run, MEAN_INDEX, "diet", "baseline")
    return rows.sort_values("level", key=lambda x: x != "diet", kind="stable")


def _kind(row: Any) -> str:
    if row["level"] == "baseline":
        return "baseline"
    return "untrained" if row["model"] == UNTRAINED else "diet"


def _means(run: DietRun) -> NamedFigure:
    rows = _rows(run)
    rows["name"] = rows["model"]
    rows["kind"] = [_kind(row) for row in rows.to_dict("records")]
    networks = _of(run, MEAN_INDEX, "network")
    told = rows.dropna(subset=["published"])
    people = float(_of(run, MEAN_INDEX, "people")["value"].iloc[0])
    axes = plot_diet_means(
        rows,
        networks.assign(name=networks["model"]),
        people=people,
        published=dict(zip(told["name"], told["published"], strict=True)),
        title=_what(run),
    )
    n = int(run.provenance.call["n_seeds"])
    over = "networks and trials" if n > 1 else "trials alone"
    item = ReportFigure(
        figure_of(axes),
        alt="Mean asymmetry index of each diet, its networks, people and baselines",
        caption=f"Mean asymmetry index over {_experiments(run)} experiments, "
        f"{_what(run)}; intervals are over {over}, those of observers without a "
        "network over trials. Published: large networks with labels.",
        wide=True,
    )
    return "mean_index", item


def _experiments(run: DietRun) -> int:
    return int(run.trials["experiment"].nunique())


def _indices(run: DietRun) -> NamedFigure:
    own = _of(run, "asymmetry_index", "diet")
    people = _of(run, "asymmetry_index", "people")
    names = dict(zip(people["experiment"], people["experiment_name"], strict=True))
    published = load_published_asymmetry()
    parts = [people.assign(name="people")]
    for diet in run.diets:
        rows = published[published["model"] == PUBLISHED_MODELS.get(diet, "")]
        rows = rows[rows["experiment"].isin(list(names))]
        if len(rows):
            parts.append(rows.assign(name=f"published, {diet}"))
    n_references = len(parts)
    table = pd.concat([*parts, own.assign(name=own["model"])], ignore_index=True)
    shown = table.assign(experiment=[f"{e} {names[e]}" for e in table["experiment"]])
    axes = plot_index_grid(shown, n_references=n_references, title=_what(run))
    item = ReportFigure(
        figure_of(axes),
        alt="Asymmetry index of people, published networks and diets by experiment",
        caption="Asymmetry index of each experiment, means over networks. Above the "
        f"line: people and published networks; below: {_what(run)}. Hatched: "
        "undefined in every network. Only the mean is published of lines and fisheye.",
        wide=True,
    )
    return "experiments", item


def _training(run: DietRun) -> NamedFigure:
    curves = run.curves.assign(fold=run.curves["seed"])
    axes = plot_learning_curves(
        curves,
        monitor="val_loss",
        label="Loss on pictures held out (nats)",
        groups="diet",
        training=False,
        title=_what(run),
    )
    item = ReportFigure(
        figure_of(axes),
        alt="Loss on pictures held out by epoch, one line per network",
        caption="Learning: one line per network. The task of one diet may be easier "
        "than that of another, so losses do not rank diets.",
    )
    return "training", item


def _mean_table(run: DietRun) -> ReportTable:
    table = run.score.table
    n = _experiments(run)
    rows = []
    for row in _rows(run).to_dict("records"):
        level = row["level"]
        is_own = (table["level"] == level) & (table["model"] == row["model"])
        own = table[is_own & (table["condition"] == "all")].set_index("metric")
        networks = _of(run, MEAN_INDEX, "network")
        values = networks.loc[networks["model"] == row["model"], "value"]
        rows.append(
            {
                "name": row["model"],
                "mean": value_text(row, 2),
                "networks": ", ".join(number_text(float(v), 2) for v in values) or "–",
                "published": number_text(float(row["published"]), 2),
                "defined": value_text(own.loc[DEFINED_INDEX], 2),
                "n_defined": number_text(
                    float(own["value"].get("n_defined_experiments", np.nan)), 1
                ),
                "polarity": number_text(
                    n * float(own["value"]["polarity_agreement"]), 1
                ),
                "r": value_text(own.loc["slope_pearson_r"], 2),
                "found": number_text(float(own["value"]["found_rate"]), 3),
                "fixations": number_text(float(own["value"]["mean_fixations"]), 2),
            }
        )
    people = float(_of(run, MEAN_INDEX, "people")["value"].iloc[0])
    return ReportTable(
        pd.DataFrame(rows),
        caption=f"Mean asymmetry index with its 95 % interval; people "
        f"{number_text(people, 2)}. {_what(run).capitalize()}. Mean of defined: "
        "experiments in which no slope is above 0 are left out. Slopes: correlation "
        "with those of people over conditions.",
        headers={
            "name": "Observer",
            "mean": "Mean index",
            "networks": "Networks",
            "published": "Published",
            "defined": "Mean of defined",
            "n_defined": f"Defined, of {n}",
            "polarity": f"As people, of {n}",
            "r": "Slopes: r",
            "found": "Found",
            "fixations": "Fixations",
        },
    )


def _difference_table(run: DietRun) -> ReportTable:
    rows = []
    main = _of(run, DIFFERENCES[0], "difference").to_dict("records")
    other = _of(run, DIFFERENCES[1], "difference").set_index("model")
    for row in main:
        published = float(row["published"])
        rows.append(
            {
                "pair": str(row["model"]).replace(" - ", " − "),
                "size": value_text(row, 2),
                "p": p_text(float(row["p_value"])),
                "holm": p_text(float(row["p_holm"])),
                "published": number_text(published, 2),
                "verdict": row["verdict"],
                "defined": value_text(other.loc[row["model"]], 2),
                "note": str(row["note"]),
            }
        )
    columns = {
        "pair": "Diets",
        "size": "Difference",
        "p": "p",
        "holm": "p (Holm)",
        "published": "Published",
        "verdict": "Here",
        "defined": "Difference of means of defined",
        "note": "Note",
    }
    return ReportTable(
        pd.DataFrame(rows, columns=list(columns)),
        caption="Differences of mean indices, paired by seed and display. Corrected "
        f"(Holm) over the comparisons with one diet; judged at {ALPHA:g}.",
        headers=columns,
    )


def _experiment_table(run: DietRun) -> ReportTable:
    own = _of(run, "asymmetry_index", "diet")
    own = own.assign(
        text=[
            f"{value_text(row, 2)} ({int(row['n'])})" if row["n"] else "undefined"
            for row in own.to_dict("records")
        ]
    )
    wide = own.pivot_table(
        index="model", columns="experiment", values="text", aggfunc="first", sort=False
    ).reset_index()
    wide.columns = ["model", *(f"experiment {e}" for e in wide.columns[1:])]
    return ReportTable(
        wide,
        caption="Asymmetry index of each experiment with its 95 % interval, and in "
        "how many networks it is defined.",
        headers={"model": "Diet"}
        | {name: name.capitalize() for name in wide.columns[1:]},
    )


def _network_table(run: DietRun) -> ReportTable:
    shown = run.networks.assign(sha256=run.networks["sha256"].str[:12])
    # Contrastive tasks have an accuracy too: of finding the other view of a picture.
    headers = {
        "diet": "Diet",
        "seed": "Seed",
        "sha256": "Weights",
        "n_training": "Pictures",
        "n_validation": "Held out",
        "n_epochs": "Epochs",
        "val_loss": "Loss, held out",
        "val_accuracy": "Accuracy, held out",
        "chance": "Guessing",
        "device": "Trained on",
    }
    return ReportTable(
        shown[list(headers)],
        caption="Networks. Accuracy is that of the training task on pictures held out: "
        "finding the other view of a picture or, with labels, naming its class.",
        headers=headers,
        formats={"val_loss": ".3f", "val_accuracy": ".3f", "chance": ".3f"},
    )
