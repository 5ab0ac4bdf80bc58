"""Simulated searches, pictures and finished runs of the diet experiment."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from analysis.psychophysics import fixations_to_rt_ms
from analysis.search_asymmetry import human_slopes
from data_loaders.search_humans import load_human_rt, load_published_asymmetry
from neurovis.adapters.compact_vgg import WIDTHS
from neurovis.core.files import write_json, write_table
from neurovis.core.pictures import write_png
from neurovis.core.provenance import collect
from neurovis.core.types import FIXATION_COLUMNS, Score
from neurovis.fitting.views import ViewSettings
from stimuli.category_pictures import make_category_pictures
from tasks.backbone_recipe import compact_recipe
from tasks.diet_scores import diet_scores

# Slope of the two conditions of an experiment together, fixations per item.
STEEP = 0.2


@cache
def human_means():
    """Mean reaction times of people and their lines; not to be changed."""
    human = load_human_rt()
    return human, human_slopes(human)


def searches(name, diet, seed, indices, *, n=4, noise=0.0):
    """Searches of one observer with a known index in each of six experiments.

    An index of None stands for two flat lines.
    """
    human, lines = human_means()
    hard = lines.loc[lines.groupby("experiment")["slope_ms_per_item"].idxmax()]
    sign = np.where(human["condition"].isin(hard["condition"]), 1, -1)
    known = dict(zip(range(1, 7), indices, strict=True))
    index = human["experiment"].map(known).astype(float).to_numpy()
    slope = np.where(np.isnan(index), 0, STEEP / 2 * (1 + sign * index))
    table = human.assign(slope=slope).drop(columns="rt_ms")
    table = table.loc[table.index.repeat(n)].reset_index(drop=True)
    count = 20 + table["slope"] * table["set_size"]
    if noise:
        rng = np.random.default_rng([seed or 0, *diet.encode()])
        count = count + noise * rng.standard_normal(len(table))
    return table.drop(columns="slope").assign(
        subject=name,
        model=name,
        diet=diet,
        seed=pd.array([seed] * len(table), dtype="Int64"),
        untrained=diet == "untrained",
        stimulus_id=[f"d{i:04d}" for i in range(len(table))],
        trial=np.arange(len(table)) % n,
        n_fixations=count,
        rt_ms=fixations_to_rt_ms(count),
        found=True,
    )


def many_searches(diets, *, seeds=(0, 1, 2), chance=False, **options):
    """Searches of networks: `diets` gives the indices of a diet and seed."""
    parts = [
        searches(f"{diet} seed {seed}", diet, seed, of(seed), **options)
        for diet, of in diets.items()
        for seed in seeds
    ]
    if chance:
        parts.append(searches("chance", "", None, [0.1, -0.1] * 3, **options))
    return pd.concat(parts, ignore_index=True)


def scores_of(trials, **options):
    options = {"n_bootstrap": 300, "seed": 0} | options
    human, _ = human_means()
    return diet_scores(trials, human, load_published_asymmetry(), **options)


def rows_of(table, level, metric):
    rows = table[(table["level"] == level) & (table["metric"] == metric)]
    return rows.set_index("model")


def small_recipe():
    """A recipe for seconds: two steps, networks of an eighth of the width."""
    recipe = compact_recipe().shortened(1)
    return replace(
        recipe,
        views=ViewSettings(size_px=32),
        batch_size=4,
        steps_per_epoch=2,
        short_px=48,
        widths=tuple(width // 8 for width in WIDTHS),
        settings=replace(recipe.settings, precision="float32", warmup_steps=0),
    )


def write_pictures(folder, n=12):
    folder.mkdir(parents=True)
    drawings = make_category_pictures(n, size_px=64)
    for i in range(n):
        write_png(folder / f"{i:02d}.png", drawings.load(i))
    return folder


def write_run(folder, trials, *, diets, n_seeds, synthetic=False, pictures=True):
    """Leave what a finished run leaves, from simulated searches."""
    rows, curves = [], []
    for diet in diets:
        for seed in range(n_seeds):
            loss = 4.0 - np.arange(6) / 10 + seed / 20
            rows.append(
                {
                    "diet": diet,
                    "seed": seed,
                    "sha256": f"{seed}" * 64,
                    "n_training": 630,
                    "n_validation": 70,
                    "n_epochs": 6,
                    "val_loss": loss[-1],
                    "val_accuracy": 0.5,
                    "chance": 1 / 139,
                    "device": "cpu",
                }
            )
            known = np.where(np.arange(6) == 5, loss, np.nan)
            last = np.arange(6) == 5
            curve = {"epoch": range(6), "loss": loss, "val_loss": known, "best": last}
            curves.append(pd.DataFrame(curve).assign(diet=diet, seed=seed))
    folder.mkdir(parents=True)
    call = {
        "task": "diet",
        "seed": 0,
        "diets": list(diets),
        "n_seeds": n_seeds,
        "recipe": small_recipe().parameters,
        "synthetic": synthetic,
    }
    write_json(folder / "run.json", call)
    write_table(folder / "networks.parquet", pd.DataFrame(rows))
    write_table(folder / "curves.parquet", pd.concat(curves, ignore_index=True))
    write_table(folder / "trials.parquet", trials)
    fixations = pd.DataFrame(columns=list(FIXATION_COLUMNS))
    write_table(folder / "fixations.parquet", fixations)
    if pictures:
        (folder / "examples").mkdir()
        for i, diet in enumerate(diets):
            shown = np.full((24, 32, 3), 40 * i, np.uint8)
            write_png(folder / "examples" / f"{diet}.png", shown)
    provenance = collect(0, call=call, notes=["A note of the run."])
    Score(scores_of(trials), provenance).save(folder)
    return folder
