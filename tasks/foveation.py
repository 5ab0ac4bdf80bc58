"""What a foveated input does to a network: four systems, five experiments.

Deza and Konkle (2020), "Emergent properties of foveated perceptual systems",
arXiv:2006.07991: networks of one architecture are trained on pictures that went through
different first stages, and compared on generalisation, spatial frequencies, occlusion
and cue conflicts.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_loaders.class_pictures import ClassPictures
from neurovis.adapters.foveated_texture import TwoStageSystem, save_system
from neurovis.adapters.scene_classifier import ClassifierSpec, build_classifier
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.pictures import LazyPictures
from neurovis.core.provenance import collect
from neurovis.core.store import Store
from neurovis.core.types import Score
from neurovis.foveation.transforms import FoveationSettings, geometry
from stimuli.frequency_filters import mean_rgb
from stimuli.save import picture_hash
from tasks.foveation_data import DRAWINGS, SPLITS, open_classes, rows_of
from tasks.foveation_design import FoveationDesign
from tasks.foveation_predictions import TrainedRun, predict_sets
from tasks.foveation_scores import (
    CONFLICTS,
    accuracies,
    biases,
    confusions,
    directions,
    majority_accuracy,
    score_rows,
)
from tasks.foveation_stimuli import (
    TestSet,
    conflict_pairs,
    frequency_sets,
    generalisation_sets,
    occlusion_sets,
    square_sets,
    window_sets,
)
from tasks.foveation_systems import (
    SystemPictures,
    as_squares,
    match_systems,
    render_systems,
    spread,
)
from tasks.foveation_training import (
    LabelledPixels,
    Pixels,
    classifier_at,
    train_classifier,
)
from tasks.runs import begin_run

TASK = "foveation"
VERSION = 1
"""Raised when the same call gives other numbers."""

_TOP = 5


def run_foveation(
    data: str | Path | ClassPictures,
    out: str | Path = "results/foveation",
    design: FoveationDesign | None = None,
    *,
    device: str = "auto",
) -> Score:
    """Train foveated systems and their controls, and test them in five experiments.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    data : str, Path or ClassPictures
        Pictures in folders of their classes, or ``"drawings:N"``, as
        `tasks.foveation_data.open_classes` takes them.
    out : str or Path
        Folder for pictures, networks and tables.
    design : FoveationDesign, optional
        What is compared; the published design by default.
    device : str, default "auto"
        Where networks and transforms compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``: "top1_accuracy" and "top5_accuracy" of every
        system (`model`), experiment, condition and level, and "cross_over" of the cue
        conflicts, with 95 % intervals over runs and pictures, and `chance`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a class lacks pictures, or `out` holds another run.
    FileNotFoundError, DataCorruptError
        If pictures are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError, OSError
        If `out` cannot be written.

    Notes
    -----
    The folder gets ``systems.parquet`` (first stages, matched blurs), ``sets.parquet``
    (tests), ``answers/EXPERIMENT.parquet`` (every answer), ``accuracy.parquet``,
    ``bias.parquet``, ``confusion.parquet``, ``directions.parquet`` (which of the
    published directions hold here), ``curves.parquet`` (training), ``pictures/SYSTEM``
    (what the first stages made), and ``networks/SYSTEM_RUN`` (each whole system).

    References
    ----------
    Deza and Konkle (2020). Emergent properties of foveated perceptual systems.
    arXiv:2006.07991.
    """
    design = design or FoveationDesign()
    place = str(resolve(device))
    shown = open_classes(data, side_px=design.render_px, seed=design.seed)
    spec = ClassifierSpec(
        design.architecture,
        shown.classes,
        design.size_px,
        dict(design.architecture_options),
    )
    build_classifier(spec)  # refused before anything is made
    squares = as_squares(shown.pictures, design.render_px)
    geometry(design.texture, (design.render_px, design.render_px))
    marks = [picture_hash(picture) for picture in shown.pictures]
    source = sha256_json(
        [shown.table[["stimulus_id", "split", "label"]].to_numpy().tolist(), marks]
    )
    arguments = plain(
        {
            "task": TASK,
            "version": VERSION,
            "data": shown.name,
            "pictures": source,
            "classes": list(shown.classes),
            **design.parameters,
        }
    )
    rows = {split: rows_of(shown, split) for split in SPLITS}
    labels = shown.table["label"].to_numpy(np.int64)[rows["test"]]
    for experiment in set(design.experiments) & set(CONFLICTS):
        conflict_pairs(labels, experiment, pairing=design.pairing, seed=design.seed)
    folder = begin_run(out, arguments)
    with deterministic():
        some = spread(rows["train"], design.n_calibration)
        matched = match_systems(
            [squares[int(row)] for row in some],
            shown.table["stimulus_id"].iloc[some].tolist(),
            design.systems,
            texture=design.texture,
            sigma_px=design.sigma_px,
            factor=design.factor,
            seed=design.seed,
            device=device,
        )
        systems = render_systems(
            squares,
            shown.table,
            matched.settings,
            folder / "pictures",
            size_px=design.size_px,
            seed=design.seed,
            device=device,
        )
        runs, curves = _train(shown, rows, systems, matched.settings, spec, design,
                              folder, place)  # fmt: skip
        answers, sets = _test(shown, rows, systems, runs, design, folder, place)
    write_table(folder / "systems.parquet", matched.table)
    write_table(folder / "sets.parquet", sets)
    write_table(folder / "curves.parquet", curves)
    return _finish(answers, shown, rows, arguments, systems, design, folder, place)


def _labelled(
    one: SystemPictures,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    size_px: int,
) -> LabelledPixels:
    # Read when they are needed: a large set does not fit into memory.
    pictures = LazyPictures(one.pictures.__getitem__, [int(row) for row in rows])
    return LabelledPixels(Pixels(pictures, size_px), labels[rows])


def _train(
    shown: ClassPictures,
    rows: Mapping[str, NDArray[np.int64]],
    systems: Mapping[str, SystemPictures],
    settings: Mapping[str, FoveationSettings],
    spec: ClassifierSpec,
    design: FoveationDesign,
    folder: Path,
    device: str,
) -> tuple[list[TrainedRun], pd.DataFrame]:
    labels = shown.table["label"].to_numpy(np.int64)
    runs, curves = [], []
    last = design.training.settings.max_epochs
    for system, one in systems.items():
        learnt, judged = (
            _labelled(one, labels, rows[split], design.size_px)
            for split in ("train", "val")
        )
        for run in range(design.first_run, design.first_run + design.n_runs):
            home = folder / "training" / f"{system}_{run}"
            classifier, training = train_classifier(
                learnt,
                judged,
                spec,
                design.training,
                name=system,
                identity={"pictures": one.fingerprint},
                seed=design.seed,
                run=run,
                device=device,
                folder=home,
                snapshots=design.epochs,
            )
            kept = folder / "networks" / f"{system}_{run}"
            if not kept.exists():
                kept.parent.mkdir(exist_ok=True)
                whole = TwoStageSystem(
                    system, settings[system], classifier, design.render_px
                )
                save_system(whole, kept)
            curves.append(training.curves.assign(system=system, run=run))
            for epoch in design.epochs:
                network = classifier
                if epoch != last:
                    network = classifier_at(classifier, home, epoch)
                runs.append(TrainedRun(system, run, epoch, network))
    return runs, pd.concat(curves, ignore_index=True)


def _test(
    shown: ClassPictures,
    rows: Mapping[str, NDArray[np.int64]],
    systems: Mapping[str, SystemPictures],
    runs: Sequence[TrainedRun],
    design: FoveationDesign,
    folder: Path,
    device: str,
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Return answers by experiment, and the list of all tests."""
    test = rows["test"]
    labels = shown.table["label"].to_numpy(np.int64)[test]
    names = shown.table["stimulus_id"].iloc[test].tolist()
    store = Store(folder / "parts")
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in design.experiments}
    for system in systems:
        mine = [one for one in runs if one.system == system]
        for experiment in design.experiments:
            sets = _sets(experiment, system, systems, rows, labels, design)
            found = predict_sets(
                mine,
                sets,
                labels,
                names,
                fingerprints={
                    **{k: one.fingerprint for k, one in systems.items()},
                    "system": system,
                    "version": VERSION,
                },
                device=device,
                store=store,
                description=f"{experiment} {system}",
            )
            parts[experiment].append(found)
    answers = {k: pd.concat(p, ignore_index=True) for k, p in parts.items()}
    (folder / "answers").mkdir(exist_ok=True)
    for name, table in answers.items():
        write_table(folder / "answers" / f"{name}.parquet", table)
    keys = ["experiment", "condition", "level", "value"]
    listed = [table[keys].drop_duplicates() for table in answers.values()]
    return answers, pd.concat(listed, ignore_index=True)


def _sets(
    experiment: str,
    system: str,
    systems: Mapping[str, SystemPictures],
    rows: Mapping[str, NDArray[np.int64]],
    labels: NDArray[np.int64],
    design: FoveationDesign,
) -> list[TestSet]:
    own, size_px = systems[system], design.size_px

    def source(one: SystemPictures) -> Callable[[NDArray[np.int64]], Any]:
        return lambda some: one.rows(rows["test"][some])

    if experiment == "generalisation":
        return generalisation_sets({k: source(one) for k, one in systems.items()})
    if experiment == "spatial-frequency":
        judged = LazyPictures(own.pictures.__getitem__, rows["val"].tolist())
        coloured = any((p != p[..., :1]).any() for p in judged)
        return frequency_sets(source(own), size_px, mean_rgb(judged), grey=coloured)
    if experiment == "occlusion":
        return occlusion_sets(source(own), size_px)
    pairs = conflict_pairs(labels, experiment, pairing=design.pairing, seed=design.seed)
    if experiment == "square-conflict":
        return square_sets(source(own), size_px, pairs)
    shape = (design.render_px, design.render_px)
    px_per_deg, (x, y) = geometry(design.texture, shape)
    share = size_px / design.render_px
    return window_sets(
        source(own),
        size_px,
        pairs,
        scale=design.texture.scale,
        fovea_deg=design.texture.fovea_deg,
        px_per_deg=px_per_deg * share,
        fixation_px=(x * share, y * share),
    )


def _finish(
    answers: Mapping[str, pd.DataFrame],
    shown: ClassPictures,
    rows: Mapping[str, NDArray[np.int64]],
    arguments: dict[str, Any],
    systems: Mapping[str, SystemPictures],
    design: FoveationDesign,
    folder: Path,
    device: str,
) -> Score:
    n_classes = len(shown.classes)
    options = {"n_bootstrap": design.n_bootstrap, "seed": design.seed}
    last = design.epochs[-1]
    everything = pd.concat(answers.values(), ignore_index=True)
    tops = (1, _TOP) if n_classes > _TOP else (1,)
    accuracy = pd.concat(
        [accuracies(everything, n_classes, k=k, **options) for k in tops],
        ignore_index=True,
    )
    conflicts = everything[everything["experiment"].isin(CONFLICTS)]
    bias = biases(conflicts, **options) if len(conflicts) else pd.DataFrame()
    final = everything[everything["epoch"] == last]
    tables = {
        "accuracy": accuracy,
        "bias": bias,
        "directions": directions(final, design.size_px, **options),
    }
    if "generalisation" in answers:
        tables["confusion"] = confusions(answers["generalisation"], shown.classes)
    for name, table in tables.items():
        if len(table):
            write_table(folder / f"{name}.parquet", table)
    labels = shown.table["label"].to_numpy(np.int64)
    floor = majority_accuracy(labels[rows["train"]], labels[rows["test"]])
    counts = {split: len(rows[split]) for split in SPLITS}
    notes = [
        f"{n_classes} classes; {counts['train']} training, {counts['val']} validation "
        f"and {counts['test']} test pictures; {design.n_runs} runs per system.",
        f"Always naming the commonest class: {floor:.3f} correct; guessing: "
        f"{1 / n_classes:.3f}.",
        "Networks are trained from random weights on these pictures alone. The paper "
        "trained on 90 000 pictures of 20 kinds of scenes: directions that do not hold "
        "here are not refuted.",
    ]
    if shown.name == DRAWINGS:
        notes.append("Simulated data: drawings of six categories, no photographs.")
    provenance = collect(
        design.seed,
        device=device,
        fingerprints={
            "pictures": arguments["pictures"],
            **{f"system {k}": one.fingerprint for k, one in systems.items()},
        },
        call=arguments,
        notes=notes,
    )
    table = score_rows(accuracy, bias, stimuli=shown.name, task=TASK, seed=design.seed)
    score = Score(table, provenance)
    score.save(folder)
    return score
