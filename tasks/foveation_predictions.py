"""What trained systems answer to every picture of every test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.classification import rank_of_label
from neurovis.adapters.scene_classifier import SceneClassifier, to_input
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from tasks.foveation_stimuli import TestSet, batches_of

_BATCH = 64

COLUMNS = (
    *("experiment", "system", "run", "epoch", "condition", "level", "value"),
    *("stimulus_id", "label", "predicted", "rank", "other"),
)
"""Columns of the tables of answers; `label` and `predicted` are classes from 0,
`rank` is the place of the true class from 1, and `other` is the class in the centre
of a cue conflict, -1 elsewhere."""


@dataclass(frozen=True)
class TrainedRun:
    """One trained network of one system.

    Parameters
    ----------
    system : str
        First stage that it was trained on.
    run : int
        Number of the repetition.
    epoch : int
        Epochs of training.
    classifier : SceneClassifier
        The network.
    """

    system: str
    run: int
    epoch: int
    classifier: SceneClassifier


def predict_sets(
    runs: Sequence[TrainedRun],
    sets: Sequence[TestSet],
    labels: NDArray[np.int64],
    stimulus_ids: Sequence[str],
    *,
    fingerprints: Mapping[str, Any],
    device: str = "cpu",
    store: Store | None = None,
    description: str = "testing",
) -> pd.DataFrame:
    """Show test sets to networks, each picture made once for all of them.

    Parameters
    ----------
    runs : sequence of TrainedRun
        Networks of one input size.
    sets : sequence of TestSet
        Test sets with one picture per label.
    labels : ndarray of int64, shape (n_pictures,)
        True classes from 0.
    stimulus_ids : sequence of str, shape (n_pictures,)
        Identities of the pictures.
    fingerprints : mapping
        What the pictures depend on, as JSON values.
    device : str, default "cpu"
        Where networks compute.
    store : Store, optional
        Where finished test sets are kept; with it a killed run goes on.
    description : str, default "testing"
        Word before the progress bar.

    Returns
    -------
    DataFrame
        The columns of `COLUMNS`: test sets in their order, within them networks.
    """
    code = code_fingerprint()
    marks = [
        {**one.classifier.identity, "run": one.run, "epoch": one.epoch} for one in runs
    ]
    parts = []
    with progress(len(sets), description, unit="set") as bar:
        for test in sets:

            def compute(test: TestSet = test) -> pd.DataFrame:
                return _answers(runs, test, labels, device)

            if store is None:
                found = compute()
            else:
                key = {
                    "code": code,
                    "networks": marks,
                    "pictures": dict(fingerprints),
                    "labels": labels.tolist(),
                    "test": [test.experiment, test.condition, test.level],
                    "others": None if test.others is None else test.others.tolist(),
                }
                found = store.get_or_compute(key, compute)
            n = len(labels)
            parts.append(
                pd.DataFrame(
                    {
                        "experiment": test.experiment,
                        "system": np.repeat([one.system for one in runs], n),
                        "run": np.repeat([one.run for one in runs], n),
                        "epoch": np.repeat([one.epoch for one in runs], n),
                        "condition": test.condition,
                        "level": test.level,
                        "value": test.value,
                        "stimulus_id": np.tile(
                            np.asarray(stimulus_ids, object), len(runs)
                        ),
                        "label": np.tile(labels, len(runs)),
                        "predicted": found["predicted"].to_numpy(),
                        "rank": found["rank"].to_numpy(),
                        "other": np.tile(
                            np.full(n, -1) if test.others is None else test.others,
                            len(runs),
                        ),
                    }
                )
            )
            bar.update()
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _answers(
    runs: Sequence[TrainedRun],
    test: TestSet,
    labels: NDArray[np.int64],
    device: str,
) -> pd.DataFrame:
    predicted: list[list[NDArray[Any]]] = [[] for _ in runs]
    ranks: list[list[NDArray[Any]]] = [[] for _ in runs]
    for rows in batches_of(len(labels), _BATCH):
        pictures = test.make(rows)
        pixels = to_input(pictures, runs[0].classifier.spec.size_px)
        for index, one in enumerate(runs):
            logits = one.classifier.logits(pixels, batch_size=_BATCH, device=device)
            scores = logits.numpy().astype(np.float64)
            predicted[index].append(scores.argmax(axis=1))
            ranks[index].append(rank_of_label(scores, labels[rows]))
    return pd.DataFrame(
        {
            "predicted": np.concatenate([np.concatenate(p) for p in predicted]),
            "rank": np.concatenate([np.concatenate(r) for r in ranks]),
        }
    )
