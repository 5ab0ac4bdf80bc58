"""Folders of finished comparisons whose answers are drawn from known shares."""

import numpy as np
import pandas as pd

from neurovis.core.files import plain, write_json, write_table
from neurovis.core.pictures import write_png
from neurovis.core.provenance import collect
from neurovis.core.types import Score
from stimuli.category_pictures import make_category_pictures
from tasks.foveation_design import FoveationDesign
from tasks.foveation_predictions import COLUMNS
from tasks.foveation_scores import (
    CONFLICTS,
    accuracies,
    biases,
    confusions,
    directions,
    score_rows,
)
from tasks.foveation_stimuli import (
    conflict_pairs,
    frequency_sets,
    generalisation_sets,
    occlusion_sets,
    square_sets,
    window_sets,
)
from tasks.foveation_systems import SYSTEMS
from tasks.foveation_training import compact_recipe

SHARES = {"reference": 0.7, "texture": 0.69, "uniform-blur": 0.55, "foveated-blur": 0.6}
"""Share of the pictures of its own kind that each system is right about."""
CROSSES = {"reference": 0.5, "texture": 0.2, "uniform-blur": 0.5, "foveated-blur": 0.25}
"""Size of the centre at which each system names both classes equally often."""
SIZE = 32


def classes_of(n_classes):
    return [f"class {chr(97 + i)}" for i in range(n_classes)]


def sets_of(experiment, systems, labels):
    if experiment == "generalisation":
        return generalisation_sets(dict.fromkeys(systems))
    if experiment == "spatial-frequency":
        return frequency_sets(None, SIZE, np.full(3, 0.5))
    if experiment == "occlusion":
        return occlusion_sets(None, SIZE)[::4]
    pairs = conflict_pairs(labels, experiment, pairing="balanced", seed=0)
    if experiment == "square-conflict":
        return square_sets(None, SIZE, pairs)
    return window_sets(
        None, SIZE, pairs, scale=0.4, fovea_deg=1.82165, px_per_deg=SIZE / 26
    )


def share_of(one, system, guess):
    best = SHARES[system]
    if one.experiment == "generalisation" and one.condition != system:
        best -= 0.15
    if one.experiment == "occlusion":
        best *= 1 - one.value
    if one.experiment == "spatial-frequency" and one.level > 1:
        best *= 1 - one.level / 9
    return max(best, guess)


def answer(one, system, labels, names, run, epoch, share, n_classes, rng):
    n = len(labels)
    guesses = rng.integers(0, n_classes, n)
    sure = rng.random(n) < share
    truth = labels
    if one.others is not None:
        # The centre wins as often as the surround where it has this size.
        reach = np.log(0.5) / np.log(np.sqrt(CROSSES[system]))
        centre = rng.random(n) < np.sqrt(one.value) ** reach
        truth = np.where(centre, one.others, labels)
    predicted = np.where(sure, truth, guesses)
    rank = np.where(predicted == labels, 1, rng.integers(2, n_classes + 1, n))
    others = np.full(n, -1) if one.others is None else one.others
    columns = (one.experiment, system, run, epoch, one.condition, one.level, one.value)
    columns = (*columns, names, labels, predicted, rank, others)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def write_run(
    folder,
    *,
    systems=SYSTEMS,
    experiments=("generalisation", "occlusion", "window-conflict"),
    n_classes=6,
    per_class=8,
    n_runs=2,
    epochs=(),
    n_epochs=4,
    pictures=False,
    n_bootstrap=20,
    notes=("A note of the run.",),
):
    """Write the tables of a run whose networks are simulated."""
    design = FoveationDesign(
        systems=systems, experiments=experiments, architecture="timm:resnet10t",
        recipe=compact_recipe(n_epochs), n_runs=n_runs, epochs=epochs,
        render_px=SIZE, size_px=SIZE, n_bootstrap=n_bootstrap,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    classes, guess = classes_of(n_classes), 1 / n_classes
    labels = np.repeat(np.arange(n_classes), per_class)
    names = [f"{i:04d}" for i in range(len(labels))]  # they read as numbers
    answers = {}
    for experiment in experiments:
        sets = sets_of(experiment, systems, labels)
        parts = []
        for system in systems:
            for run in range(n_runs):
                for epoch in design.epochs:
                    learnt = (epoch / n_epochs) ** 0.4
                    for one in sets:
                        top = share_of(one, system, guess)
                        share = (guess + learnt * (top - guess) - guess) / (1 - guess)
                        args = (one, system, labels, names, run, epoch, share)
                        parts.append(answer(*args, n_classes, rng))
        answers[experiment] = pd.concat(parts, ignore_index=True)
        (folder / "answers").mkdir(parents=True, exist_ok=True)
        write_table(folder / "answers" / f"{experiment}.parquet", answers[experiment])
    options = {"n_bootstrap": n_bootstrap, "seed": 0}
    every = pd.concat(answers.values(), ignore_index=True)
    tops = (1, 5) if n_classes > 5 else (1,)
    accuracy = pd.concat([accuracies(every, n_classes, k=k, **options) for k in tops])
    conflicts = every[every["experiment"].isin(CONFLICTS)]
    bias = biases(conflicts, **options) if len(conflicts) else pd.DataFrame()
    final = every[every["epoch"] == n_epochs]
    widths = {"uniform-blur": ("sigma_px", 2.0), "foveated-blur": ("factor", 0.15)}
    stages = [
        (s, *widths.get(s, ("", np.nan)), 0.7, 0.05, 0.7, 8, s in widths)
        for s in systems
    ]
    tables = {
        "systems": pd.DataFrame(
            stages,
            columns=["system", "parameter", "value", "ssim", "ssim_sd", "ssim_target",
                     "n_images", "matched"],
        ),
        "curves": pd.DataFrame(
            [
                (s, run, e, 2 - e / 8 + run / 20, 2.1 - e / 9, guess + e / 20, e == 0)
                for s in systems
                for run in range(n_runs)
                for e in range(n_epochs)
            ],
            columns=["system", "run", "epoch", "loss", "val_loss", "val_accuracy",
                     "best"],
        ),
        "accuracy": accuracy,
        "bias": bias,
        "directions": directions(final, SIZE, **options),
    }  # fmt: skip
    if "generalisation" in answers:
        tables["confusion"] = confusions(answers["generalisation"], classes)
    for name, table in tables.items():
        if len(table):
            write_table(folder / f"{name}.parquet", table.reset_index(drop=True))
    if pictures:
        write_pictures(folder, systems, names)
    call = plain({"task": "foveation", "version": 1, "data": "simulated"})
    call |= {"classes": classes, **design.parameters}
    write_json(folder / "run.json", call)
    rows = score_rows(accuracy, bias, stimuli="simulated", task="foveation", seed=0)
    provenance = collect(0, call=call, notes=list(notes))
    Score(rows, provenance).save(folder)
    return folder


def write_pictures(folder, systems, names):
    """Write one picture per name and system."""
    made = make_category_pictures(len(names), size_px=SIZE, seed=0)
    for i, system in enumerate(systems):
        home = folder / "pictures" / system
        (home / "pictures").mkdir(parents=True, exist_ok=True)
        for picture, name in zip(made.images, names, strict=False):
            write_png(home / "pictures" / f"{name}.png", np.roll(picture, i, axis=1))
        paths = [f"pictures/{name}.png" for name in names]
        table = pd.DataFrame({"stimulus_id": names, "path": paths})
        table.to_csv(home / "pictures.csv", index=False)
