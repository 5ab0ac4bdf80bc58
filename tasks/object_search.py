"""Search among objects: how well models foretell which objects people look at.

Observers looked for one book cover among 84. Models learn from some displays, make
scanpaths on others, and each is compared with every human scanpath there; beside them
stand simple heuristics and the agreement of people. Models that give probabilities are
also scored by the nats per token of human scanpaths.

What a model is told of the target (nothing, whether the fixated object is it, or where
it is) is part of every table: compare models only with those that know as much.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.search_efficiency import BEHAVIOURS
from data_loaders.gaze import GazeData
from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import resolve
from neurovis.core.files import write_table
from neurovis.core.log import progress
from neurovis.core.object_scanpaths import ObjectScanpathModel
from neurovis.core.store import Store
from neurovis.core.types import FIXATION_COLUMNS, HUMAN_MODEL, Score
from tasks.oat_model import OATModel, has_drawing_twin
from tasks.object_models import MODELS, object_models
from tasks.object_predictions import (
    Predictions,
    long_table,
    predict_trials,
    score_samples,
)
from tasks.object_search_data import (
    ObjectSearchData,
    object_search_data,
    tested_trials,
    trials_fingerprint,
)
from tasks.object_search_extras import (
    attention_table,
    fold_values,
    learning_curves,
    statistics_table,
)
from tasks.object_search_inputs import Source, search_data, source_call, split_data
from tasks.object_search_scores import (
    LEAVE_ONE_OUT,
    LEAVE_ONE_OUT_RAW,
    PAIR_MEASURES,
    SEARCH_MEASURES,
    TrialScores,
    found_curve,
    leave_one_out_scores,
    score_rows,
    summarise_tokens,
    summarise_trials,
)
from tasks.runs import Run, begin_run, load_run, run_provenance, save_run

TASK = "object-search"
NAT_MEASURES = ("nats_per_token", "perplexity")

_CLAIMS = (*PAIR_MEASURES, *BEHAVIOURS, *SEARCH_MEASURES)


def human_leave_one_out(gaze: GazeData, *, raw_positions: bool = False) -> pd.DataFrame:
    """Compare each human trial with those of the other observers of its display.

    Parameters
    ----------
    gaze : GazeData
        From `data_loaders.amazon_covers.load_amazon_covers`.
    raw_positions : bool, default False
        Take the positions where people looked, instead of the centres of the objects.

    Returns
    -------
    DataFrame
        One row per trial of at most 55 fixations: `subject`, `stimulus_id`, `collage`,
        `n_pairs`, means over the other observers of
        `tasks.object_search_scores.PAIR_MEASURES`, and the trial's own behaviour.

    Raises
    ------
    ValueError
        If a column of that loader is missing.
    """
    data = object_search_data(gaze)
    table = leave_one_out_scores(data.trials, raw_positions=raw_positions).table
    numbers = gaze.stimuli.set_index("stimulus_id")["collage"]
    table.insert(2, "collage", table["stimulus_id"].map(numbers))
    return table


def run_object_search(
    data: Source,
    out: str | Path,
    *,
    models: Sequence[ObjectScanpathModel | str] = MODELS,
    seed: int = 0,
    n_samples: int = 10,
    folds: str = "fold10",
    n_splits: int | None = None,
    appearance: str = "none",
    target_position: str = "none",
    epochs: int | None = None,
    n_bootstrap: int = 1000,
    device: str = "cpu",
) -> Score:
    """Run the experiment and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    data : str, Path or SimulatedSearch
        Folder of the data, see `data_loaders.amazon_covers.load_amazon_covers`, or
        a simulation that stands for people.
    out : str or Path
        Folder for ``scores.parquet`` (tidy), ``models.csv`` (one row per model, with
        standard errors), ``folds.csv`` (per test set), ``statistics.csv`` (how each
        moves and stops), ``tfp_curves.csv`` and ``curves.parquet`` (with intervals),
        ``trials.parquet`` (each model against each human trial),
        ``fixations.parquet`` (scanpaths of models and people), ``learning.csv``,
        ``attention.parquet``, ``provenance.json``, trained weights in ``fits`` and
        the kept parts of the run.
    models : sequence of ObjectScanpathModel or str
        Models, or names as `tasks.object_models.object_models` takes them; all
        heuristics by default.
    seed : int, default 0
        Seed of fits, samples and bootstrap.
    n_samples : int, default 10
        Scanpaths per display of models whose samples differ.
    folds : {"fold10", "fold_target", "observer", "trial", "published"}
        What is left out, see `tasks.object_search_data.search_splits`. The last two
        LEAK, see `tasks.object_search_data.published_search`.
    n_splits : int, optional
        Use the first so many splits only; people are scored on the same trials.
    appearance : {"none", "synthetic"}
        Whether displays have generated covers.
    target_position : {"none", "true"}
        Whether OAT is told where the target is.
    epochs : int, optional
        The most epochs of training of OAT.
    n_bootstrap : int, default 1000
        Resamples of displays for standard errors.
    device : str, default "cpu"
        Where OAT is trained and run.

    Returns
    -------
    Score
        Every measure of every model and of people, each left out in turn. A greedy
        OAT has nats of its own only where the one that draws from the same network is
        not among the models: they are equal.

    Raises
    ------
    ValueError
        If an argument is wrong, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError
        If the data are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.
    """
    check_between("n_samples", n_samples, low=1)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    check_whole("seed", seed, low=0)
    observers = object_models(
        models,
        appearance=appearance,
        target_position=target_position,
        folder=Path(out) / "fits",
        device=device,
        epochs=epochs,
    )
    everything, splits = split_data(
        search_data(data, appearance), folds, n_splits=n_splits, seed=seed
    )
    arguments = {
        "task": TASK,
        "models": [
            {"name": m.name, "knows": m.knows, **dict(m.identity)} for m in observers
        ],
        "data": source_call(data),
        "folds": folds,
        "n_splits": n_splits,
        "appearance": appearance,
        "target_position": target_position,
        "n_samples": int(n_samples),
        "seed": seed,
        "n_bootstrap": int(n_bootstrap),
    }
    folder = begin_run(out, arguments)
    store = Store(folder / "parts")
    with progress(len(observers) * len(splits), "predicting", unit="fold") as bar:
        predictions = {
            model.name: predict_trials(
                model,
                everything,
                splits,
                n_samples=n_samples,
                seed=seed,
                store=store,
                advance=bar.update,
            )
            for model in observers
        }
    tested, tests = tested_trials(everything, splits)
    scores = {
        LEAVE_ONE_OUT: leave_one_out_scores(tested.trials),
        LEAVE_ONE_OUT_RAW: leave_one_out_scores(tested.trials, raw_positions=True),
    }
    for name, made in predictions.items():
        if len(made.samples):
            scores[name] = score_samples(name, made.samples, tested, tests)
    # A greedy model has the nats of the one that draws from the same network.
    tokens = {
        model.name: predictions[model.name].tokens
        for model in observers
        if not has_drawing_twin(model, observers)
    }
    fingerprint = trials_fingerprint(tested.trials)
    rows, summaries = _score_table(
        scores,
        tokens,
        n_bootstrap=int(n_bootstrap),
        seed=seed,
        stimuli=f"{tested.name}:{fingerprint[:12]}",
        condition=folds,
    )
    write_table(folder / "models.csv", _wide(summaries, observers, int(n_samples)))
    curves = _curves(scores, int(n_bootstrap), seed)
    write_table(folder / "curves.parquet", curves)
    wide = curves.pivot_table(index="n", columns="model", values="value", sort=False)
    write_table(folder / "tfp_curves.csv", wide.reset_index())
    write_table(folder / "folds.csv", fold_values(tested, tests, scores, tokens))
    write_table(folder / "statistics.csv", statistics_table(tested, predictions))
    learning = learning_curves(observers, everything, splits, seed)
    write_table(folder / "learning.csv", learning)
    seen = attention_table(observers, everything, splits, seed)
    write_table(folder / "attention.parquet", seen)
    provenance = run_provenance(
        observers,
        arguments,
        device=_used_device(observers, device),
        fingerprints={"trials": fingerprint},
        notes=[
            *tested.notes,
            "Heuristics and token baselines learn from the validation fold too: they "
            "have nothing to validate.",
        ],
    )
    score = Score(rows, provenance)
    trials = [each.table.assign(model=name) for name, each in scores.items()]
    save_run(
        folder,
        trials=pd.concat(trials, ignore_index=True),
        score=score,
        fixations=_fixation_table(tested, predictions),
    )
    return score


def _used_device(models: Sequence[ObjectScanpathModel], device: str) -> object:
    """Return where networks compute; heuristics always use the CPU."""
    has_network = any(isinstance(model, OATModel) for model in models)
    return resolve(device) if has_network else "cpu"


def _score_table(
    scores: dict[str, TrialScores],
    tokens: dict[str, pd.DataFrame],
    *,
    n_bootstrap: int,
    seed: int,
    **shared: str | int,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    people = scores[LEAVE_ONE_OUT]
    summaries: dict[str, pd.DataFrame] = {}
    for name in dict.fromkeys([*scores, *tokens]):
        parts = []
        if name in scores:
            parts.append(
                summarise_trials(
                    scores[name], people, n_bootstrap=n_bootstrap, seed=seed
                )
            )
        if name in tokens and len(tokens[name]):
            parts.append(
                summarise_tokens(tokens[name], n_bootstrap=n_bootstrap, seed=seed)
            )
        summaries[name] = pd.concat(parts, ignore_index=True)
    ceiling = summaries[LEAVE_ONE_OUT]
    rows = [
        score_rows(name, summary, ceiling, task=TASK, seed=seed, **shared)
        for name, summary in summaries.items()
    ]
    return pd.concat(rows, ignore_index=True), summaries


def _wide(
    summaries: dict[str, pd.DataFrame],
    observers: Sequence[ObjectScanpathModel],
    n_samples: int,
) -> pd.DataFrame:
    """One row per model: every measure with its standard error."""
    known = {model.name: model for model in observers}
    rows = []
    for name, summary in summaries.items():
        row: dict[str, Any] = {"baseline": name, "knows": HUMAN_MODEL, "n_samples": 0}
        if name in known:
            stochastic = known[name].stochastic
            row["knows"] = known[name].knows
            row["n_samples"] = n_samples if stochastic else 1
        claims = summary.set_index("metric")
        if "SS" not in claims.index:
            row["n_samples"] = 0
        claims = claims.reindex([*_CLAIMS, *NAT_MEASURES])
        for metric, value, error in claims[["value", "se"]].itertuples():
            row |= {metric: value, f"{metric}_se": error}
        rows.append(row)
    return pd.DataFrame(rows)


def _curves(
    scores: dict[str, TrialScores], n_bootstrap: int, seed: int
) -> pd.DataFrame:
    """Probability that the target was fixated by step n: people, then models."""
    people = {HUMAN_MODEL: scores[LEAVE_ONE_OUT]}
    tables = [
        found_curve(each, n_bootstrap=n_bootstrap, seed=seed).assign(model=name)
        for name, each in (people | scores).items()
    ]
    return pd.concat(tables, ignore_index=True)


def _fixation_table(
    data: ObjectSearchData, predictions: dict[str, Predictions]
) -> pd.DataFrame:
    """Long table: people where they looked, models at the centres of objects."""
    centres = {t.display.stimulus_id: t.display.centres_px for t in data.trials}
    nothing = np.full(max(len(t.cells) for t in data.trials), np.nan)
    people = long_table(
        [
            (t.subject, t.display.stimulus_id, 0, t.cells, nothing[: len(t.cells)])
            for t in data.trials
        ]
    )
    xy = np.concatenate([np.asarray(t.xy_px) for t in data.trials])
    tables = [people.assign(model=HUMAN_MODEL, split="", x_px=xy[:, 0], y_px=xy[:, 1])]
    for name, made in predictions.items():
        part = made.samples
        places = zip(part["stimulus_id"], part["cell"], strict=True)
        xy = np.array([centres[s][c] for s, c in places]).reshape(-1, 2)
        where = {"x_px": xy[:, 0], "y_px": xy[:, 1]}
        tables.append(part.assign(model=name, subject=name, **where))
    table = pd.concat(tables, ignore_index=True).rename(columns={"sample": "trial"})
    names = [*FIXATION_COLUMNS, "model", "trial", "split", "cell"]
    return table.assign(duration_ms=np.nan).reindex(columns=names)


def load_object_run(folder: str | Path) -> Run:
    """Read the tables of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run.

    Returns
    -------
    Run
        Its tables.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    ValueError
        If it holds a run of another experiment.
    """
    return load_run(folder, TASK)
