"""What a run tells beside its scores: folds, statistics, learning, attention."""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
import pandas as pd

from analysis.policy_statistics import policy_statistics
from neurovis.core.files import read_table
from neurovis.core.object_scanpaths import ObjectScanpathModel, ObjectTrial
from neurovis.core.types import HUMAN_MODEL
from tasks.oat_model import OATModel, has_drawing_twin
from tasks.object_predictions import Predictions, sampled_trials
from tasks.object_search_data import ObjectSearchData, Split
from tasks.object_search_scores import TrialScores

FOLD_MEASURES = ("SS", "nFED", "ScanMatch", "MM_avg")
# Displays of which attention is kept, and the fixations of the trial that is shown.
_SHOWN_DISPLAYS, _SHOWN_LENGTHS = 3, (5, 9)


def fold_values(
    data: ObjectSearchData,
    splits: Sequence[Split],
    scores: Mapping[str, TrialScores],
    tokens: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Average scores over the trials of every test set.

    Parameters
    ----------
    data : ObjectSearchData
        The tested trials, in the order of `scores`.
    splits : sequence of Split
        How they are divided.
    scores : mapping of str to TrialScores
        By model.
    tokens : mapping of str to DataFrame
        Nats of tokens by model, as in `tasks.object_predictions.Predictions`.

    Returns
    -------
    DataFrame
        `model`, `split`, `metric` (some of the measures, `nats_per_token`), `value`,
        `n` (trials or tokens).
    """
    rows = []
    names = [(t.subject, t.display.stimulus_id) for t in data.trials]
    for split in splits:
        own = pd.MultiIndex.from_tuples([names[i] for i in split.test])
        for model, each in scores.items():
            part = each.table.iloc[split.test]
            for metric in FOLD_MEASURES:
                values = part[metric].dropna()
                rows.append((model, split.name, metric, values.mean(), len(values)))
        for model, table in tokens.items():
            if len(table):
                key = pd.MultiIndex.from_frame(table[["subject", "stimulus_id"]])
                nats = table.loc[key.isin(own), "nats"]
                value = nats.mean()
                rows.append((model, split.name, "nats_per_token", value, len(nats)))
    return pd.DataFrame(rows, columns=["model", "split", "metric", "value", "n"])


def statistics_table(
    data: ObjectSearchData, predictions: Mapping[str, Predictions]
) -> pd.DataFrame:
    """Describe how people and models move and stop.

    Parameters
    ----------
    data : ObjectSearchData
        Human trials.
    predictions : mapping of str to Predictions
        By model.

    Returns
    -------
    DataFrame
        `model` ("human" first), and the columns of
        `analysis.policy_statistics.policy_statistics`.
    """
    tables = [policy_statistics(data.trials).assign(model=HUMAN_MODEL)]
    for name, made in predictions.items():
        if len(made.samples):
            trials = sampled_trials(name, made.samples, data)
            tables.append(policy_statistics(trials).assign(model=name))
    table = pd.concat(tables, ignore_index=True)
    return table[["model", *(c for c in table.columns if c != "model")]]


def learning_curves(
    models: Sequence[ObjectScanpathModel],
    data: ObjectSearchData,
    splits: Sequence[Split],
    seed: int,
) -> pd.DataFrame:
    """Read how the networks of a run were trained.

    Parameters
    ----------
    models : sequence of ObjectScanpathModel
        Models; those that keep no curves are left out.
    data : ObjectSearchData
        All trials.
    splits : sequence of Split
        How they are divided.
    seed : int
        Seed of the fits.

    Returns
    -------
    DataFrame
        `model`, `fold`, and the columns of the curves (see
        `neurovis.fitting.train.Training`); empty if no model was trained.
    """
    tables = []
    for model in models:
        if not _is_shown(model, models) or model.recipe is None:
            continue
        for split in splits:
            training, validation, _ = split.divide(data.trials)
            folder = model.fit_folder(training, validation, seed)
            if folder is not None:
                curves = read_table(folder / "curves.csv")
                tables.append(curves.assign(model=model.name, fold=split.name))
    if not tables:
        return pd.DataFrame({"model": [], "fold": [], "epoch": []})
    table = pd.concat(tables, ignore_index=True)
    return table[["model", "fold", *(c for c in table if c not in ("model", "fold"))]]


def attention_table(
    models: Sequence[ObjectScanpathModel],
    data: ObjectSearchData,
    splits: Sequence[Split],
    seed: int,
) -> pd.DataFrame:
    """Keep what networks attend to and expect along some human scanpaths.

    Parameters
    ----------
    models : sequence of ObjectScanpathModel
        Models; those without attention are left out.
    data : ObjectSearchData
        All trials.
    splits : sequence of Split
        The first is shown: networks that did not see these trials.
    seed : int
        Seed of the fits.

    Returns
    -------
    DataFrame
        `model`, `subject`, `stimulus_id`, `token` (int, from 0), `cell` (int; the
        number of objects stands for the target token and for the end), `attention`
        (of the last layer, mean over heads), `probability`.
    """
    columns = ["model", "subject", "stimulus_id", "token", "cell"]
    tables = [pd.DataFrame(columns=[*columns, "attention", "probability"])]
    training, validation, test = splits[0].divide(data.trials)
    shown = _shown_trials(test)
    for model in models:
        if not _is_shown(model, models):
            continue
        observer = model.fit(training, validation, seed=seed)
        for trial in shown:
            attention = observer.attention(trial.display, trial.cells)[-1]
            given = observer.token_probabilities(trial.display, trial.cells)
            token, cell = np.indices(given.shape)
            tables.append(
                pd.DataFrame(
                    {
                        "model": model.name,
                        "subject": trial.subject,
                        "stimulus_id": trial.display.stimulus_id,
                        "token": token.ravel(),
                        "cell": cell.ravel(),
                        "attention": attention.ravel(),
                        "probability": given.ravel(),
                    }
                )
            )
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _is_shown(
    model: ObjectScanpathModel, models: Sequence[ObjectScanpathModel]
) -> TypeGuard[OATModel]:
    """Whether it is an OAT, and not the greedy form of another one here."""
    return isinstance(model, OATModel) and not has_drawing_twin(model, models)


def _shown_trials(test: Sequence[ObjectTrial]) -> list[ObjectTrial]:
    """One trial of middle length on each of some displays, found on the target."""
    low, high = _SHOWN_LENGTHS
    chosen: dict[str, ObjectTrial] = {}
    for trial in sorted(test, key=lambda t: (t.display.stimulus_id, t.subject)):
        found = trial.cells[-1] == trial.display.target_cell
        if low <= len(trial.cells) <= high and found:
            chosen.setdefault(trial.display.stimulus_id, trial)
    return list(chosen.values())[:_SHOWN_DISPLAYS]
