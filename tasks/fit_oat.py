"""One OAT, trained and kept: weights, curves and a card.

For judging OAT use `tasks.object_search`, which trains one per test set. This is for
the weights: to look with, to start from, to give away.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.plots_training import plot_learning_curves
from neurovis.adapters.oat import OAT, load_oat, shipped_name
from neurovis.adapters.oat_network import TARGET_POSITIONS
from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.device import resolve
from neurovis.core.files import atomic_path, sha256_file, write_json
from neurovis.core.provenance import collect
from neurovis.fitting.train import Training
from tasks.oat_looks import APPEARANCES, synthetic_looks
from tasks.oat_model import SIZES, oat_config, published_size_recipe, tuned_recipe
from tasks.oat_pretraining import Curriculum, pretrain_oat
from tasks.oat_training import OATRecipe, check_start, fit_oat
from tasks.object_search_data import trials_fingerprint
from tasks.object_search_inputs import Source, search_data, source_call, split_data
from tasks.report_parts import figure_of
from tasks.runs import begin_run

STARTS = ("none", "shipped")
WEIGHTS_FILE = "oat.safetensors"
# What cannot be chosen without data.
_FIXED: dict[str, Any] = {
    "size": "small",
    "start": "none",
    "appearance": "synthetic",
    "fold": 0,
    "learning_rate": None,
    "mirrors": [],
    "precision": "float32",
    "accumulate": 1,
}


def fit_oat_observer(
    out: str | Path,
    data: Source | None = None,
    *,
    size: str = "small",
    start: str | Path = "none",
    appearance: str = "synthetic",
    target_position: str = "none",
    fold: int = 0,
    epochs: int | None = None,
    learning_rate: float | None = None,
    mirrors: Sequence[str] = (),
    precision: str = "float32",
    accumulate: int = 1,
    seed: int = 0,
    device: str = "cpu",
) -> OAT:
    """Train an OAT and leave it in a folder.

    Interrupted, it resumes when called again and ends with equal weights.

    Parameters
    ----------
    out : str or Path
        Folder for ``oat.safetensors`` (read it with `neurovis.adapters.oat.load_oat`),
        ``curves.csv``, ``curves.png``, ``card.json`` and the checkpoints.
    data : str, Path or SimulatedSearch, optional
        Folder of the book covers, or a simulation; without it the network is trained
        on simulated searchers of random rules, as the shipped weights were.
    size : {"small", "published"}
        Architecture; "small" when there is no `data`.
    start : str or Path
        "none", "shipped", or a file of weights to start from.
    appearance : {"synthetic", "none"}
        What displays look like.
    target_position : {"none", "true"}
        Whether the network is told where the target is.
    fold : int, default 0
        Of the ten folds of displays, the one that is left out; the next one decides
        which weights are kept.
    epochs : int, optional
        The most epochs.
    learning_rate : float, optional
        Learning rate, > 0.
    mirrors : sequence of {"horizontal", "vertical"}
        See `tasks.oat_training.OATRecipe`.
    precision : {"float32", "mixed"}
        See `neurovis.fitting.settings.TrainSettings`.
    accumulate : int, default 1
        Batches per step.
    seed : int, default 0
        Seed of everything.
    device : str, default "cpu"
        Where to compute.

    Returns
    -------
    OAT
        The observer.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or cannot be chosen without `data`, or `out` holds
        another training.
    FileNotFoundError, DataCorruptError
        If data or weights are missing or damaged.
    PermissionError, NotADirectoryError
        If `out` cannot be written.
    """
    check_option("size", size, SIZES)
    check_option("appearance", appearance, APPEARANCES)
    check_option("target_position", target_position, TARGET_POSITIONS)
    check_whole("seed", seed, low=0)
    check_whole("fold", fold, low=0)
    if epochs is not None:
        check_whole("epochs", epochs, low=1)
    where = resolve(device)
    if str(start) not in STARTS:
        start = check_path("start", start).resolve()
    arguments: dict[str, Any] = {
        "task": "fit-oat",
        "data": None if data is None else source_call(data),
        "size": size,
        "start": str(start),
        "appearance": appearance,
        "target_position": target_position,
        "fold": fold,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "mirrors": list(mirrors),
        "precision": precision,
        "accumulate": accumulate,
        "seed": seed,
    }
    changes: dict[str, Any] = {"precision": precision, "accumulate": accumulate}
    changes |= {} if epochs is None else {"max_epochs": epochs}
    changes |= {} if learning_rate is None else {"learning_rate": learning_rate}
    if data is None:
        changed = [k for k, value in _FIXED.items() if arguments[k] != value]
        if changed:
            raise ValueError(
                "Without `data` the small network is trained on simulated searchers as "
                f"the shipped weights were: leave out `{changed[0]}`, or give data."
            )
        folder = begin_run(out, arguments)
        plan = Curriculum() if epochs is None else _shorter(epochs)
        observer, done = pretrain_oat(
            folder / "fit",
            target_position=target_position,
            curriculum=plan,
            seed=seed,
            device=device,
        )
        return _keep(folder, observer, done, arguments, {}, where)
    everything, splits = split_data(search_data(data, appearance), "fold10", seed=seed)
    check_whole("fold", fold, low=0, high=len(splits) - 1)
    training, validation, _ = splits[fold].divide(everything.trials)
    config = oat_config(size, appearance, target_position)
    recipe: OATRecipe = tuned_recipe(**changes)
    if size == "published":
        recipe = published_size_recipe(**changes)
    recipe = replace(recipe, mirrors=tuple(mirrors))
    began = _start(start, target_position)
    if began is not None:
        check_start(began, config)
    folder = begin_run(out, arguments)
    observer, done = fit_oat(
        training,
        validation,
        config=config,
        recipe=recipe,
        seed=seed,
        start=began,
        looks=synthetic_looks(0) if appearance == "synthetic" else None,
        folder=folder / "fit",
        device=device,
        notes=(
            f"Trained on {len(training)} trials of {everything.name} without "
            f"{splits[fold].name}; the licence of those data holds for these "
            "weights.",
            *everything.notes,
        ),
    )
    hashes = {
        "training": trials_fingerprint(training),
        "validation": trials_fingerprint(validation),
    }
    return _keep(folder, observer, done, arguments, hashes, where)


def _shorter(epochs: int) -> Curriculum:
    plan = Curriculum()
    return replace(
        plan, n_epochs=epochs, n_small=round(epochs * plan.n_small / plan.n_epochs)
    )


def _start(start: str | Path, target_position: str) -> OAT | None:
    if str(start) == "none":
        return None
    name = shipped_name(target_position) if str(start) == "shipped" else start
    return load_oat(weights=name, device="cpu")


def _keep(
    folder: Path,
    observer: OAT,
    done: Training,
    arguments: dict[str, Any],
    fingerprints: dict[str, str],
    device: torch.device,
) -> OAT:
    observer.save(folder / WEIGHTS_FILE)
    curves: pd.DataFrame = done.curves
    axes = plot_learning_curves(curves)
    with atomic_path(folder / "curves.png") as part:
        figure_of(axes).savefig(part, dpi=150, format="png", facecolor="white")
    provenance = collect(
        int(arguments["seed"]),
        device,
        fingerprints=fingerprints,
        call=arguments,
        notes=observer.notes,
    )
    best = None
    if "val_nats" in curves:
        best = float(curves.loc[curves["best"], "val_nats"].iloc[0])
    write_json(
        folder / "card.json",
        {
            "model": "OAT",
            "weights": WEIGHTS_FILE,
            "sha256": sha256_file(folder / WEIGHTS_FILE),
            "identity": observer.identity,
            "knows": observer.knows,
            "best_epoch": done.best_epoch,
            "n_epochs": done.n_epochs,
            "stopped": done.stopped,
            "validation_nats_per_token": best,
            "provenance": provenance.to_dict(),
        },
    )
    return observer
