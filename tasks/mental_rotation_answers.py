"""Answers of models to pairs of block figures, and what was fitted for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neurovis.core.files import sha256_json
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from stimuli.block_sets import TRUTHS
from tasks.mental_rotation_latent import LatentModel, latent_matches
from tasks.mental_rotation_readouts import (
    Threshold,
    chance_answers,
    embedding_evidence,
    fit_threshold,
    ideal_answers,
    settings_of,
    siamese_evidence,
    threshold_at,
)
from tasks.mental_rotation_trials import TASK, RotationTrials, trial_rows
from tasks.mental_rotation_voxels import search_rotation, voxel_matches
from tasks.picture_features import PictureModel

LATENT_MODEL = "latent rotation"
"""`model` of the network whose volumes are turned."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers of one observer to the test pairs.

    Parameters
    ----------
    trials : DataFrame
        The columns of `tasks.mental_rotation_trials.TRIAL_COLUMNS`.
    subject : str
        Who answered.
    known : Threshold
        What was fitted on training pairs.
    """

    trials: pd.DataFrame
    subject: str
    known: Threshold

    @property
    def fit(self) -> dict[str, Any]:
        """The fit as a row for `tasks.mental_rotation_scores.rotation_scores`."""
        return {
            "subject": self.subject,
            "threshold": self.known.value,
            "training_accuracy": self.known.balanced_accuracy,
        }


def network_answers(
    trials: RotationTrials,
    model: PictureModel,
    layer: str,
    views: tuple[NDArray[np.float32], NDArray[np.float32]],
    readout: str,
    *,
    stimuli: str,
    epochs: int,
    folder: Path,
    seed: int,
    device: torch.device,
    parts: Store,
) -> Answers:
    """Let the embeddings of a network answer.

    Parameters
    ----------
    trials : RotationTrials
        Pairs.
    model : PictureModel
        Whose embeddings they are.
    layer : str
        Of which layer.
    views : tuple of two ndarray of float32, shape (n_pairs, n_features)
        Embeddings of left and right views of all pairs, those of the training first.
    readout : {"embedding", "siamese"}
        How they are compared.
    stimuli : str
        Content hash of the pictures.
    epochs : int
        Of the comparing head.
    folder : Path
        Folder for checkpoints of heads.
    seed : int
        Of the head.
    device : torch.device
        Where to train it.
    parts : Store
        Where finished parts are kept.

    Returns
    -------
    Answers
        Of this layer, by this readout.
    """
    training, same = _split(trials)
    identity = {
        "task": TASK,
        "code": code_fingerprint(),
        "readout": readout,
        "model": model.identity,
        "layer": layer,
        "stimuli": stimuli,
        "seed": seed,
        "training": int(training.sum()),
    }

    def compute() -> dict[str, NDArray[Any]]:
        if readout == "embedding":
            return {"evidence": embedding_evidence(*views)}
        mark = sha256_json({**identity, **settings_of(epochs)})
        evidence = siamese_evidence(
            *views,
            same,
            training,
            epochs=epochs,
            seed=seed,
            device=device,
            folder=folder / mark[:16],
        )
        return {"evidence": evidence}

    if readout == "siamese":
        identity |= settings_of(epochs)
    evidence = parts.get_or_compute(identity, compute)["evidence"]
    if readout == "embedding":
        known = fit_threshold(evidence[training], same[training])
    else:  # the head was trained to say "same" above 0
        known = threshold_at(0.0, evidence[training], same[training])
    subject = f"{model.title} {layer}, {readout}"
    table = _decided(
        trials.test,
        evidence[~training] > known.value,
        evidence=evidence[~training],
        rt_or_cost=-evidence[~training],
        rt_ms=np.nan,
        seed=seed,
        subject=subject,
        model=model.title,
        layer=layer,
        readout=readout,
        kind=model.kind,
        untrained=model.untrained,
    )
    return Answers(table, subject, known)


def voxel_answers(
    trials: RotationTrials,
    noise: float,
    resolution: int,
    *,
    seed: int,
    device: torch.device,
    parts: Store,
) -> Answers:
    """Let noisy volumes of the objects answer.

    Parameters
    ----------
    trials : RotationTrials
        Pairs.
    noise : float
        Standard deviation of what is added to each voxel.
    resolution : int
        Voxels along each axis.
    seed : int
        Of the noise.
    device : torch.device
        Where to compute.
    parts : Store
        Where finished parts are kept.

    Returns
    -------
    Answers
        Of the surrogate.
    """
    both = trials.both
    identity = {
        "task": TASK,
        "code": code_fingerprint(),
        "readout": "voxel",
        "pairs": sha256_json(plain_rows(both)),
        "noise": noise,
        "resolution": resolution,
        "seed": seed,
    }

    def compute() -> dict[str, NDArray[Any]]:
        found = voxel_matches(
            both, noise=noise, resolution=resolution, seed=seed, device=device
        )
        return {"matches": found}

    matches = parts.get_or_compute(identity, compute)["matches"]
    return _turned(
        trials,
        matches,
        seed=seed,
        subject="voxel rotation",
        model="voxel rotation",
        readout="voxel",
        kind="surrogate",
    )


def latent_answers(
    trials: RotationTrials,
    model: LatentModel,
    *,
    seed: int,
    device: torch.device,
    parts: Store,
) -> Answers:
    """Let the turned volumes of a network answer.

    Parameters
    ----------
    trials : RotationTrials
        Pairs of objects that the network has not been trained on.
    model : LatentModel
        The network.
    seed : int
        Of the run, for the table.
    device : torch.device
        Where to compute.
    parts : Store
        Where finished parts are kept.

    Returns
    -------
    Answers
        Of the network.

    Raises
    ------
    ValueError
        If an object was trained on.
    """
    both = trials.both
    identity = {
        "task": TASK,
        "code": code_fingerprint(),
        "readout": "latent",
        "pairs": sha256_json(plain_rows(both)),
        "weights": model.weights_hash,
    }

    def compute() -> dict[str, NDArray[Any]]:
        return {"matches": latent_matches(both, model.network, device=device)}

    return _turned(
        trials,
        parts.get_or_compute(identity, compute)["matches"],
        seed=seed,
        subject=LATENT_MODEL,
        model=LATENT_MODEL,
        readout="latent",
        kind="network",
        untrained=model.untrained,
    )


def baseline_answers(
    trials: RotationTrials, asked: Sequence[str], seed: int
) -> list[pd.DataFrame]:
    """Return the answers of those who look at no picture.

    Parameters
    ----------
    trials : RotationTrials
        Pairs.
    asked : sequence of str
        Readouts; "ideal" and "chance" count.
    seed : int
        Of the coin.

    Returns
    -------
    list of DataFrame
        One per baseline, with the columns of
        `tasks.mental_rotation_trials.TRIAL_COLUMNS`.
    """
    answers = {
        "ideal": ideal_answers(trials.test),
        "chance": chance_answers(list(trials.test["pair"]), seed),
    }
    return [
        _decided(
            trials.test,
            answer == "same",
            evidence=np.nan,
            rt_or_cost=np.nan,
            rt_ms=np.nan,
            seed=seed,
            subject=name,
            model=name,
            readout=name,
            kind="baseline",
        )
        for name, answer in answers.items()
        if name in asked
    ]


def plain_rows(table: pd.DataFrame) -> list[Any]:
    """Return the rows of a table as JSON has them.

    Parameters
    ----------
    table : DataFrame
        Any table.

    Returns
    -------
    list of dict
        One per row; None for NaN.
    """
    values = table.astype(object).where(table.notna(), None)
    return list(values.to_dict("records"))


def _split(trials: RotationTrials) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pairs are of the training, and which show the same object."""
    both = trials.both
    training = (both["split"] == "training").to_numpy()
    return training, (both["truth"] == "same").to_numpy()


def _turned(
    trials: RotationTrials, matches: NDArray[np.float64], *, subject: str, **more: Any
) -> Answers:
    """Decide by the best match, and time by the first one."""
    training, same = _split(trials)
    best = matches.max(axis=1)
    known = fit_threshold(best[training], same[training])
    search = search_rotation(matches[~training], known.value)
    table = _decided(
        trials.test,
        search.found,
        evidence=best[~training],
        rt_or_cost=search.rt_ms,
        rt_ms=search.rt_ms,
        subject=subject,
        **more,
    )
    return Answers(table, subject, known)


def _decided(
    pairs: pd.DataFrame, says_same: NDArray[np.bool_], **more: Any
) -> pd.DataFrame:
    response = np.where(says_same, *TRUTHS).astype(object)
    correct = response == pairs["truth"].to_numpy(object)
    return trial_rows(pairs, response=response, correct=correct, **more)
