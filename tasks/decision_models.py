"""What models answer on the trials of people: linear readouts, and odd pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.choices import choose_odd
from analysis.linear_readout import fit_linear_readout, group_folds
from neurovis.core.checks import suggest
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from tasks.decision_trials import JOINT
from tasks.picture_features import PictureModel, embed

N_ODD = 3


@dataclass(frozen=True)
class Questions:
    """What is asked of a model.

    Parameters
    ----------
    kind : {"answer", "odd"}
        An answer to one picture, or the odd one of three.
    table : DataFrame
        One row per question: `stimulus_id`; `truth` (the right answer; None if there
        is none) and, for answers, `group` (questions of a group are held out together).
    """

    kind: str
    table: pd.DataFrame


def questions_of(
    trials: pd.DataFrame,
    stimuli: StimulusSet,
    *,
    answer: str | None = None,
    groups: str | None = None,
) -> Questions:
    """Find out what people were asked.

    Parameters
    ----------
    trials : DataFrame
        Trials of `tasks.decision_trials.read_decisions`.
    stimuli : StimulusSet
        What was shown.
    answer : str, optional
        Column of the set with the right answer to one picture; by default what the
        column `truth` of the trials says.
    groups : str, optional
        Column of the set: pictures with one value are held out together.

    Returns
    -------
    Questions
        One per stimulus.

    Raises
    ------
    ValueError
        If pictures were shown in pairs, the right answer is not known, there are fewer
        than two answers, or a column is missing.
    """
    shown = trials.drop_duplicates("stimulus_id").set_index("stimulus_id")
    known = stimuli.table.set_index("stimulus_id")
    together = [i for i in shown.index if i not in known.index]
    counts = {len(identity.split(JOINT)) for identity in together}
    if together and (len(together) < len(shown) or counts != {N_ODD}):
        raise ValueError(
            "Models can answer questions about one picture, or about the odd one of "
            f"three; the trial {together[0]!r} shows {min(counts)}. Give trials of the "
            "model as a table instead."
        )
    truth = shown["truth"] if "truth" in shown else pd.Series(None, shown.index)
    if together:
        table = pd.DataFrame({"stimulus_id": shown.index, "truth": truth.to_numpy()})
        return Questions("odd", table)
    for name in (answer, groups):
        if name is not None and name not in known.columns:
            raise ValueError(
                f"The set {stimuli.name!r} has no column {name!r}."
                f"{suggest(name, known.columns)}"
            )
    if answer is not None:
        truth = known.loc[shown.index, answer]
    if truth.isna().any():
        raise ValueError(
            "Models learn from right answers, and "
            f"{truth.index[truth.isna().to_numpy()][0]!r} has none: name the column of "
            "the set that holds them with `answer`."
        )
    if truth.nunique() < 2:
        raise ValueError(
            f"All pictures have one right answer, {truth.iloc[0]!r}: there is nothing "
            "to tell apart."
        )
    held = known.loc[shown.index, groups] if groups else pd.Series(shown.index)
    table = pd.DataFrame(
        {
            "stimulus_id": shown.index,
            "truth": truth.astype(str).to_numpy(),
            "group": held.astype(str).to_numpy(),
        }
    )
    return Questions("answer", table)


def model_decisions(
    model: PictureModel,
    stimuli: StimulusSet,
    questions: Questions,
    *,
    n_folds: int = 5,
    seed: int = 0,
    device: Any = "cpu",
    store: str | Path | None = None,
) -> pd.DataFrame:
    """Let a model answer.

    Parameters
    ----------
    model : PictureModel
        From `tasks.picture_features.picture_models`.
    stimuli : StimulusSet
        Pictures.
    questions : Questions
        What is asked.
    n_folds : int, default 5
        Parts into which pictures are cut for answers.
    seed : int, default 0
        Of the parts.
    device : str or torch.device, default "cpu"
        Where networks run.
    store : str or Path, optional
        Folder for features.

    Returns
    -------
    DataFrame
        One row per question: `subject`, `model`, `untrained`, `stimulus_id`, `trial`,
        `response`, `correct` (NaN where nothing is right), `rt_ms` (NaN), `cost` and
        `layer`.

    Notes
    -----
    *Answers.* A linear readout of one layer learns the answers on all parts but one
    and answers the one left out. Layer and penalty are chosen by cross-validation
    within the parts that it learns from. The cost is the entropy of the probabilities
    in bits, 0 where the model is sure.

    *Odd pictures.* The picture whose cosine with the others is smallest, with every
    layer; nothing is learnt. The cost is 1 minus the margin. Rows of a model then come
    once per layer, as observers of their own.
    """
    places = {name: i for i, name in enumerate(stimuli.table["stimulus_id"])}
    if questions.kind == "odd":
        return _odd(model, stimuli, questions.table, places, device, store)
    rows = [places[name] for name in questions.table["stimulus_id"]]
    shown = [stimuli.load(row) for row in rows]
    features = embed(model, shown, device=device, store=store)
    return _answers(model, features, questions.table, n_folds, seed)


def _answers(
    model: PictureModel,
    features: dict[str, NDArray[np.float32]],
    table: pd.DataFrame,
    n_folds: int,
    seed: int,
) -> pd.DataFrame:
    truth = table["truth"].to_numpy(object)
    groups = table["group"].to_numpy(object)
    response = np.full(len(table), None, object)
    layer = np.full(len(table), "", object)
    cost = np.full(len(table), np.nan)
    folds = group_folds(groups, n_folds, generator(seed, "decisions", "folds"))
    for number in np.unique(folds):
        held = folds == number
        kept = ~held
        if len(set(truth[kept])) < 2:
            continue  # nothing to learn: no answer
        fits = {
            name: fit_linear_readout(
                rows[kept], truth[kept], groups=groups[kept], seed=seed
            )
            for name, rows in features.items()
        }
        best = min(fits, key=lambda name: np.nan_to_num(fits[name].cv_loss, nan=np.inf))
        probabilities = fits[best].probabilities(features[best][held])
        response[held] = np.asarray(fits[best].classes)[probabilities.argmax(axis=1)]
        shares = np.clip(probabilities, 1e-300, 1)
        cost[held] = -(shares * np.log2(shares)).sum(axis=1)
        layer[held] = best
    answered = np.array([value is not None for value in response])
    right = np.where(answered, (response == truth).astype(float), 0.0)
    return _rows(model, model.title, table, response, right, cost, layer)


def _odd(
    model: PictureModel,
    stimuli: StimulusSet,
    table: pd.DataFrame,
    places: dict[str, int],
    device: Any,
    store: str | Path | None,
) -> pd.DataFrame:
    names = [identity.split(JOINT) for identity in table["stimulus_id"]]
    used = sorted({name for three in names for name in three})
    features = embed(
        model, [stimuli.load(places[n]) for n in used], device=device, store=store
    )
    rows = np.array([[used.index(name) for name in three] for three in names])
    parts = []
    for layer, values in features.items():
        found = choose_odd(values[rows].astype(np.float64))
        response = np.array(
            [
                three[k] if k >= 0 else None
                for three, k in zip(names, found.picked, strict=True)
            ],
            object,
        )
        truth = table["truth"].to_numpy(object)
        known = pd.notna(truth)
        right = np.where(known, (response == truth).astype(float), np.nan)
        title = model.title if len(features) == 1 else f"{model.title} {layer}"
        layers = np.full(len(table), layer, object)
        parts.append(
            _rows(model, title, table, response, right, 1 - found.margin, layers)
        )
    return pd.concat(parts, ignore_index=True)


def _rows(
    model: PictureModel,
    title: str,
    table: pd.DataFrame,
    response: NDArray[Any],
    right: NDArray[np.float64],
    cost: NDArray[np.float64],
    layer: NDArray[Any],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": title,
            "model": title,
            "untrained": model.untrained,
            "stimulus_id": table["stimulus_id"].to_numpy(),
            "trial": np.arange(len(table)),
            "showing": 0,
            "truth": table["truth"].to_numpy(),
            "response": response,
            "correct": right,
            "rt_ms": np.nan,
            "cost": cost,
            "layer": layer,
        }
    )
