"""What models predict for trials that they were not fitted on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurovis.adapters.object_tokens import token_nats
from neurovis.core.checks import check_between
from neurovis.core.object_scanpaths import (
    FittedScanpathModel,
    ObjectScanpathModel,
    ObjectTrial,
    TokenModel,
    check_cells,
)
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from tasks.object_search_data import ObjectSearchData, Split, trials_fingerprint
from tasks.object_search_scores import TrialScores, at_centres, score_trials

# Observer, display, number of the scanpath, objects, and one value for each.
ObjectPath = tuple[str, str, int, NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True)
class Predictions:
    """What one model said about the trials that it was tested on.

    Parameters
    ----------
    samples : DataFrame
        One row per fixation made: `stimulus_id`, `split`, `sample`, `fixation`,
        `cell` (int); empty for models that make no scanpaths.
    tokens : DataFrame
        One row per token of human scanpaths: `subject`, `stimulus_id`, `token` (int,
        from 0), `nats`; empty for models without probabilities.
    """

    samples: pd.DataFrame
    tokens: pd.DataFrame


def predict_trials(
    model: ObjectScanpathModel,
    data: ObjectSearchData,
    splits: Sequence[Split],
    *,
    n_samples: int = 10,
    seed: int = 0,
    store: Store | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> Predictions:
    """Fit a model to each split and let it predict what it has not seen.

    Parameters
    ----------
    model : ObjectScanpathModel
        The model; it makes one sample per display when its samples do not differ.
    data : ObjectSearchData
        Human trials.
    splits : sequence of Split
        How they are divided.
    n_samples : int, default 10
        Scanpaths per display, >= 1.
    seed : int, default 0
        Seed of fit and samples.
    store : Store, optional
        Where finished splits are kept; with it an interrupted run resumes.
    advance : callable
        Called with 1 after each split.

    Returns
    -------
    Predictions
        For all test trials.

    Raises
    ------
    ValueError
        If `n_samples` is below 1, or a scanpath leaves its display.
    """
    check_between("n_samples", n_samples, low=1)
    n_samples = int(n_samples) if model.stochastic else 1
    code = code_fingerprint()
    parts = []
    for split in splits:
        training, validation, test = split.divide(data.trials)

        def compute(
            training: list[ObjectTrial] = training,
            validation: list[ObjectTrial] = validation,
            test: list[ObjectTrial] = test,
        ) -> pd.DataFrame:
            fitted = model.fit(training, validation, seed=seed)
            return _predict_split(fitted, model.name, test, n_samples, seed)

        if store is None:
            table = compute()
        else:
            key = {
                "task": "object predictions",
                "code": code,
                "observer": dict(model.identity),
                "training": trials_fingerprint(training),
                "validation": trials_fingerprint(validation),
                "test": trials_fingerprint(test),
                "n_samples": n_samples,
                "seed": seed,
            }
            table = store.get_or_compute(key, compute)
        parts.append(table.assign(split=split.name))
        advance(1)
    table = pd.concat(parts, ignore_index=True)
    made = table["sample"] >= 0
    names = ["stimulus_id", "split", "sample", "fixation", "cell"]
    tokens = table.loc[~made].rename(columns={"fixation": "token"})
    return Predictions(
        table.loc[made, names].reset_index(drop=True),
        tokens[["subject", "stimulus_id", "token", "nats"]].reset_index(drop=True),
    )


def _predict_split(
    fitted: Any, name: str, test: Sequence[ObjectTrial], n_samples: int, seed: int
) -> pd.DataFrame:
    """One table of samples (`sample` from 0) and tokens (`sample` -1)."""
    paths: list[ObjectPath] = []
    if isinstance(fitted, FittedScanpathModel):
        displays = {t.display.stimulus_id: t.display for t in test}
        for stimulus, display in displays.items():
            for number, cells in enumerate(fitted.sample(display, n_samples, seed)):
                cells = check_cells(f"sample of {name}", cells, display.n_cells)
                nothing = np.full(len(cells), np.nan)
                paths.append(("", stimulus, number, cells, nothing))
    if isinstance(fitted, TokenModel):
        for trial in test:
            who = trial.subject, trial.display.stimulus_id
            paths.append((*who, -1, trial.tokens, token_nats(fitted, trial)))
    if not paths:
        raise TypeError(
            f"{name}: `fit` must return an object with `sample`, "
            "`token_probabilities`, or both."
        )
    return long_table(paths)


def long_table(paths: Sequence[ObjectPath]) -> pd.DataFrame:
    """Write scanpaths below each other.

    Parameters
    ----------
    paths : sequence of tuple
        Observer, display, number of the scanpath, objects (n,) and one value each.

    Returns
    -------
    DataFrame
        `subject`, `stimulus_id`, `sample`, `fixation` (from 0), `cell`, `nats`.
    """
    subject, stimulus, sample, cells, nats = zip(*paths, strict=True)
    lengths = [len(path) for path in cells]
    return pd.DataFrame(
        {
            "subject": np.repeat(subject, lengths),
            "stimulus_id": np.repeat(stimulus, lengths),
            "sample": np.repeat(sample, lengths),
            "fixation": np.concatenate([np.arange(n) for n in lengths]),
            "cell": np.concatenate(cells),
            "nats": np.concatenate(nats),
        }
    )


def sampled_trials(
    name: str, samples: pd.DataFrame, data: ObjectSearchData
) -> list[ObjectTrial]:
    """Return the scanpaths of a model as trials.

    Parameters
    ----------
    name : str
        Name of the model, which becomes the observer.
    samples : DataFrame
        As in `Predictions`, at least one row.
    data : ObjectSearchData
        Human trials on the same displays.

    Returns
    -------
    list of ObjectTrial
        One per scanpath, in the order of the table.
    """
    displays = {t.display.stimulus_id: t.display for t in data.trials}
    starts = np.flatnonzero(samples["fixation"] == 0)
    paths = np.split(samples["cell"].to_numpy(), starts[1:])
    stimuli = samples["stimulus_id"].iloc[starts]
    return [
        ObjectTrial(displays[stimulus], name, path)
        for stimulus, path in zip(stimuli, paths, strict=True)
    ]


def score_samples(
    name: str, samples: pd.DataFrame, data: ObjectSearchData, splits: Sequence[Split]
) -> TrialScores:
    """Compare the scanpaths of a model with the trials that they were made for.

    Parameters
    ----------
    name : str
        Name of the model.
    samples : DataFrame
        As in `Predictions`.
    data : ObjectSearchData
        Human trials.
    splits : sequence of Split
        How they were divided: each trial gets the scanpaths of its own split.

    Returns
    -------
    TrialScores
        In the order of `data.trials`, human fixations at the centres of objects.
    """
    pred = sampled_trials(name, samples, data)
    made_in = samples.loc[samples["fixation"] == 0, "split"]
    of_test: dict[tuple[str, str], list[int]] = {}
    for place, (split, trial) in enumerate(zip(made_in, pred, strict=True)):
        of_test.setdefault((split, trial.display.stimulus_id), []).append(place)
    pairs = [
        (place, trial)
        for split in splits
        for trial in split.test
        for place in of_test[split.name, data.trials[trial].display.stimulus_id]
    ]
    human = at_centres(data.trials)
    return score_trials(pred, human, np.array(pairs, np.int64).reshape(-1, 2))
